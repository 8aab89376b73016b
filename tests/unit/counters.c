/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Filling the kernel's counters, and forbidding its calls.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <cmocka.h>

#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>

#include "counters.h"

const struct pn_charge_rule by_process = {"type1", "process (mm)",
	PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED), PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED),
	PN_COUNTER_MM_LOCKED};
const struct pn_charge_rule by_user = {"iommufd-compat", "user",
	PN_COUNTER_BIT(PN_COUNTER_USER_LOCKED) | PN_COUNTER_BIT(PN_COUNTER_MM_PINNED),
	PN_COUNTER_BIT(PN_COUNTER_MM_PINNED), PN_COUNTER_USER_LOCKED};

static int new_ring(void)
{
	struct io_uring_params params = {0};

	return (int)syscall(SYS_io_uring_setup, 1, &params);
}

void run_child(void (*body)(void))
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

void run_child_with_io_uring(void (*body)(void))
{
	int ring = new_ring();

	if (ring < 0) {
		print_message("skipped: io_uring: %s\n", strerror(errno));
		skip();
	}
	close(ring);
	run_child(body);
}

void become_nobody(void)
{
	uid_t uid = 3000000 + (uid_t)getpid() % 1000000;

	CHECK(!setresuid(uid, uid, uid));
	CHECK(!pn_exempt_now());
}

void limit_to(uint64_t pages)
{
	struct rlimit limit = {pages * 4096, pages * 4096};

	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
}

static void *some_pages(size_t pages)
{
	void *run = mmap(
		NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(run != MAP_FAILED);
	return run;
}

void lock_pages(size_t pages)
{
	/* Not by way of mlock(), which AddressSanitizer leaves out. */
	CHECK(!syscall(SYS_mlock, some_pages(pages), pages * 4096));
}

void register_pages(size_t pages)
{
	struct iovec run = {some_pages(pages), pages * 4096};
	int ring = new_ring();

	CHECK(ring >= 0);
	CHECK(!madvise(run.iov_base, run.iov_len, MADV_NOHUGEPAGE));
	memset(run.iov_base, 1, run.iov_len);
	CHECK(!syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &run, 1));
}

size_t ring_pages(void)
{
	struct rlimit limit, none;
	int ring;

	CHECK(!getrlimit(RLIMIT_MEMLOCK, &limit));
	none = limit;
	none.rlim_cur = 0;
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &none));
	ring = new_ring();
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	/* It goes with the process: its end would come later than close(). */
	return ring < 0 ? 2 : 0;
}

void settle(void)
{
	usleep(60000);
}

void forbid(long number, int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K,
			err ? SECCOMP_RET_ERRNO | (unsigned int)err : SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {PN_ARRAY_SIZE(code), code};

	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

bool says(uint64_t number)
{
	char text[24];
	size_t size = (size_t)snprintf(text, sizeof(text), "%ju", (uintmax_t)number);

	for (const char *at = pn_error(); (at = strstr(at, text)); at++)
		if ((at == pn_error() || !strchr("0123456789", at[-1])) &&
			(!at[size] || !strchr("0123456789", at[size])))
			return true;
	return false;
}

bool tells(const char *text)
{
	return strstr(pn_error(), text);
}
