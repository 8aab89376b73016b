/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Explanations of refused mappings, with the counters really filled: the text names the counter,
 * what is charged, the limit, what is missing and the command that mends it; and when the limit is
 * not what stood in the way, it does not blame it.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "pins_priv.h"

static const struct pn_charge_rule by_process = {"type1", "process (mm)",
	PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED), PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED),
	PN_COUNTER_MM_LOCKED};
static const struct pn_charge_rule by_user = {"iommufd-compat", "user",
	PN_COUNTER_BIT(PN_COUNTER_USER_LOCKED) | PN_COUNTER_BIT(PN_COUNTER_MM_PINNED),
	PN_COUNTER_BIT(PN_COUNTER_MM_PINNED), PN_COUNTER_USER_LOCKED};

#define CHECK(condition)                                                                    \
	do {                                                                                \
		if (!(condition)) {                                                         \
			fprintf(stderr, "%d: %s (%s)\n", __LINE__, #condition, pn_error()); \
			_exit(1);                                                           \
		}                                                                           \
	} while (0)

/* Is a number in the text by itself, not within another? */
static bool says(uint64_t number)
{
	char text[24];
	size_t size = (size_t)snprintf(text, sizeof(text), "%ju", (uintmax_t)number);

	for (const char *at = pn_error(); (at = strstr(at, text)); at++)
		if ((at == pn_error() || !strchr("0123456789", at[-1])) &&
			(!at[size] || !strchr("0123456789", at[size])))
			return true;
	return false;
}

static void limit_to(uint64_t pages)
{
	struct rlimit limit = {pages * 4096, pages * 4096};

	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
}

static void lock_pages(size_t pages)
{
	/* Not by way of mlock(), which AddressSanitizer leaves out. */
	void *run = mmap(
		NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(run != MAP_FAILED && !syscall(SYS_mlock, run, pages * 4096));
}

static void register_pages(size_t pages)
{
	struct io_uring_params params = {0};
	int ring = (int)syscall(SYS_io_uring_setup, 1, &params);
	struct iovec run = {NULL, pages * 4096};

	run.iov_base =
		mmap(NULL, run.iov_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(ring >= 0 && run.iov_base != MAP_FAILED);
	CHECK(!madvise(run.iov_base, run.iov_len, MADV_NOHUGEPAGE));
	memset(run.iov_base, 1, run.iov_len);
	CHECK(!syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &run, 1));
}

/* What a ring of one entry is charged itself: nothing, but two pages on Linux 6.14 to 6.18. */
static size_t ring_pages(void)
{
	struct io_uring_params params = {0};
	struct rlimit limit, none;
	int ring;

	CHECK(!getrlimit(RLIMIT_MEMLOCK, &limit));
	none = limit;
	none.rlim_cur = 0;
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &none));
	ring = (int)syscall(SYS_io_uring_setup, 1, &params);
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	return ring < 0 ? 2 : 0;
}

/* The meter's own ring, where rings are charged, is let go of a little after its end. */
static void settle(void)
{
	usleep(60000);
}

/* Another one for each child: io_uring lets go of charges after the end of a process. */
static uid_t unused_uid(void)
{
	return 3000000 + (uid_t)getpid() % 1000000;
}

static bool become(uid_t uid)
{
	/* All capabilities go with it. */
	return !setresuid(uid, uid, uid);
}

static void run_child(void (*body)(void))
{
	int status;
	pid_t child;

	if (geteuid()) {
		print_message("skipped: only root can become a user without other processes\n");
		skip();
	}
	child = fork();
	if (!child) {
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void process_is_full(void)
{
	CHECK(become(unused_uid()));
	CHECK(!pn_exempt_now());
	limit_to(64);
	lock_pages(50);
	CHECK(pn_explain_enomem(&by_process, 31, 0, "mapping THIS") == -ENOMEM);
	CHECK(strstr(pn_error(), "mapping THIS"));
	CHECK(strstr(pn_error(), "mm->locked_vm"));
	CHECK(says(50) && says(64) && says(31));
	/* Missing: 50 + 31 - 64. */
	CHECK(says(17));
	CHECK(strstr(pn_error(), "ulimit") || strstr(pn_error(), "prlimit"));
	/* One page fits: something else stood in the way. */
	CHECK(pn_explain_enomem(&by_process, 14, 0, "mapping THIS") == -ENOMEM);
	CHECK(!strstr(pn_error(), "prlimit") && !strstr(pn_error(), "ulimit"));
	CHECK(pn_explain_enomem(&by_process, 15, 0, "mapping THIS") == -ENOMEM);
	CHECK(strstr(pn_error(), "prlimit") || strstr(pn_error(), "ulimit"));
}

static void the_process_counter(void **state)
{
	(void)state;
	run_child(process_is_full);
}

static void user_is_full(void)
{
	CHECK(become(unused_uid()));
	limit_to(64);
	register_pages(40 - ring_pages());
	lock_pages(10);
	CHECK(pn_explain_enomem(&by_user, 30, 0, "mapping THIS") == -ENOMEM);
	CHECK(strstr(pn_error(), "user->locked_vm"));
	CHECK(says(40) && says(64) && says(30) && says(6));
	CHECK(strstr(pn_error(), "ulimit") || strstr(pn_error(), "prlimit"));
	settle();
	CHECK(pn_explain_enomem(&by_user, 24, 0, "mapping THIS") == -ENOMEM);
	CHECK(!strstr(pn_error(), "prlimit") && !strstr(pn_error(), "ulimit"));
	settle();
	CHECK(pn_explain_enomem(&by_user, 25, 0, "mapping THIS") == -ENOMEM);
	CHECK(strstr(pn_error(), "prlimit") || strstr(pn_error(), "ulimit"));
	/* At its hard limit the counter can only be bounded; a limit it is all the same. */
	settle();
	limit_to(40);
	CHECK(pn_explain_enomem(&by_user, 1, 0, "mapping THIS") == -ENOMEM);
	CHECK(strstr(pn_error(), "user->locked_vm"));
	CHECK(says(40));
	CHECK(strstr(pn_error(), "ulimit") || strstr(pn_error(), "prlimit"));
}

static void the_user_counter(void **state)
{
	struct io_uring_params params = {0};
	int ring = (int)syscall(SYS_io_uring_setup, 1, &params);

	(void)state;
	if (ring < 0) {
		print_message("skipped: io_uring: %s\n", strerror(errno));
		skip();
	}
	close(ring);
	run_child(user_is_full);
}

static void limit_of_zero(void)
{
	CHECK(become(unused_uid()));
	limit_to(0);
	CHECK(pn_explain_enomem(&by_process, 1, 0, "mapping THIS") == -ENOMEM);
	CHECK(strstr(pn_error(), "mm->locked_vm") && says(0) && says(1));
	CHECK(pn_explain_enomem(&by_user, 1, 0, "mapping THIS") == -ENOMEM);
	CHECK(strstr(pn_error(), "user->locked_vm") && says(0) && says(1));
	CHECK(pn_explain_enomem(&by_process, UINT64_MAX / 4096, 0, "mapping THIS") == -ENOMEM);
	CHECK(strstr(pn_error(), "mm->locked_vm"));
}

static void no_limit_at_all(void **state)
{
	(void)state;
	run_child(limit_of_zero);
}

static void exempt(void)
{
	CHECK(pn_exempt_now());
	CHECK(pn_explain_enomem(&by_process, UINT64_C(1) << 40, 0, "mapping THIS") == -ENOMEM);
	CHECK(strstr(pn_error(), "mapping THIS") && strstr(pn_error(), "CAP_IPC_LOCK"));
	CHECK(!strstr(pn_error(), "ulimit"));
}

static void the_limit_does_not_bind_everyone(void **state)
{
	(void)state;
	run_child(exempt);
}

static void a_state_is_read(void **state)
{
	struct pn_proc_state self, none;
	uint64_t start = 1;

	(void)state;
	assert_int_equal(pn_proc_read(getpid(), &self), 0);
	assert_int_equal(self.uid, getuid());
	assert_true(self.counters_known && self.limit_known);
	assert_string_equal(self.comm, program_invocation_short_name);
	assert_int_equal(pn_proc_start_time(getpid(), &start), 0);
	assert_int_equal(start, self.start_time);
	/* A kernel thread has no counters. */
	if (!pn_proc_read(2, &none))
		assert_false(none.counters_known);
	assert_int_equal(pn_proc_read(0x7fffffff, &none), -ESRCH);
	assert_int_equal(pn_proc_start_time(0x7fffffff, &start), -ESRCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_process_counter),
		cmocka_unit_test(the_user_counter),
		cmocka_unit_test(no_limit_at_all),
		cmocka_unit_test(the_limit_does_not_bind_everyone),
		cmocka_unit_test(a_state_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
