/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The meter of user->locked_vm against a known charge: pages that a child of an unused uid has
 * registered with io_uring. Exact, every time; and no trace of its child is left.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <setjmp.h>
#include <signal.h>
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

static volatile sig_atomic_t children;

static void on_child(int number)
{
	(void)number;
	children++;
}

/* In the child: cmocka's assertions would run on in two processes. */
#define CHECK(condition)                                                                    \
	do {                                                                                \
		if (!(condition)) {                                                         \
			fprintf(stderr, "%d: %s (%s)\n", __LINE__, #condition, pn_error()); \
			_exit(1);                                                           \
		}                                                                           \
	} while (0)

/* Charge so many pages to user->locked_vm until the process ends. */
static bool fill(size_t pages)
{
	struct io_uring_params params = {0};
	int ring = (int)syscall(SYS_io_uring_setup, 1, &params);
	struct iovec run = {NULL, pages * 4096};

	run.iov_base =
		mmap(NULL, run.iov_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ring < 0 || run.iov_base == MAP_FAILED ||
		madvise(run.iov_base, run.iov_len, MADV_NOHUGEPAGE))
		return false;
	memset(run.iov_base, 1, run.iov_len);
	return !syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &run, 1);
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
	/* It goes with the process: its end would come later than close(). */
	return ring < 0 ? 2 : 0;
}

/* Where rings are charged, that of the last measurement is let go of a little after its end. */
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
	struct io_uring_params params = {0};
	int status, ring;
	pid_t child;

	if (geteuid()) {
		print_message("skipped: only root can become a user without other processes\n");
		skip();
	}
	ring = (int)syscall(SYS_io_uring_setup, 1, &params);
	if (ring < 0) {
		print_message("skipped: io_uring: %s\n", strerror(errno));
		skip();
	}
	close(ring);
	child = fork();
	if (!child) {
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void is_zero_then_exact(void)
{
	static const size_t steps[] = {1, 2, 29, 96};
	struct sigaction action = {.sa_handler = on_child};
	struct rlimit limit, after;
	uint64_t pages = 77, sum = 0, ring;

	CHECK(become(unused_uid()));
	CHECK(!sigaction(SIGCHLD, &action, NULL));
	CHECK(!getrlimit(RLIMIT_MEMLOCK, &limit));
	ring = ring_pages();
	if (ring)
		settle();
	CHECK(pn_meter_user_locked(&pages) == 0);
	if (pages)
		fprintf(stderr, "%ju, not 0\n", (uintmax_t)pages);
	CHECK(pages == 0);
	for (size_t i = 0; i < PN_ARRAY_SIZE(steps); i++) {
		CHECK(fill(steps[i]));
		sum += steps[i] + ring;
		for (int round = 0; round < (ring ? 5 : 20); round++) {
			CHECK(pn_meter_user_locked(&pages) == 0);
			for (int wait = 0; ring && pages > sum && wait < 30; wait++) {
				settle();
				CHECK(pn_meter_user_locked(&pages) == 0);
			}
			if (pages != sum)
				fprintf(stderr, "%ju, not %ju\n", (uintmax_t)pages, (uintmax_t)sum);
			CHECK(pages == sum);
		}
	}
	CHECK(!getrlimit(RLIMIT_MEMLOCK, &after));
	CHECK(limit.rlim_cur == after.rlim_cur && limit.rlim_max == after.rlim_max);
	CHECK(waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD);
	CHECK(children == 0);
}

static void the_value_is_exact(void **state)
{
	(void)state;
	run_child(is_zero_then_exact);
}

/* The soft limit of the caller does not bound it; the hard one does. */
static void at_the_limits(void)
{
	struct rlimit limit = {64 * 4096, 64 * 4096};
	uint64_t pages = 77;

	CHECK(become(unused_uid()));
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	CHECK(fill(40 - ring_pages()));
	limit.rlim_cur = 0;
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	CHECK(pn_meter_user_locked(&pages) == 0);
	CHECK(pages == 40);
	settle();
	limit.rlim_max = 40 * 4096;
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	CHECK(pn_meter_user_locked(&pages) == -ERANGE);
	CHECK(pages == 40);
	CHECK(*pn_error());
	limit.rlim_max = 0;
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	CHECK(pn_meter_user_locked(&pages) == -ERANGE);
	CHECK(pages == 0);
}

static void the_hard_limit_bounds_it(void **state)
{
	(void)state;
	run_child(at_the_limits);
}

static void with_capabilities(void)
{
	uint64_t pages = 77;
	int result = pn_meter_user_locked(&pages);

	/* CAP_IPC_LOCK is dropped in the meter's child, or it says why not. */
	CHECK(result == 0 || (result < 0 && *pn_error()));
	CHECK(pn_exempt_now());
}

static void a_privileged_caller_may_ask(void **state)
{
	(void)state;
	run_child(with_capabilities);
}

static void many_fds(void)
{
	uint64_t pages = 77;
	int lowest = dup(1), after;

	close(lowest);
	CHECK(become(unused_uid()));
	for (int i = 0; i < 50; i++)
		CHECK(pn_meter_user_locked(&pages) == 0);
	after = dup(1);
	CHECK(after == lowest);
}

static void it_leaves_no_file_open(void **state)
{
	(void)state;
	run_child(many_fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_value_is_exact),
		cmocka_unit_test(the_hard_limit_bounds_it),
		cmocka_unit_test(a_privileged_caller_may_ask),
		cmocka_unit_test(it_leaves_no_file_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
