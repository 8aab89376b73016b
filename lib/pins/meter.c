/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The unprivileged meter for user->locked_vm, which no file shows.
 * io_uring_register(IORING_REGISTER_BUFFERS) of one page adds one to that counter if counter + 1 <=
 * soft RLIMIT_MEMLOCK of the caller (io_uring/rsrc.c:__io_account_mem), so the smallest limit that
 * lets it succeed is the counter plus one. A child does this, with limits of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/io_uring.h>

#include "base_priv.h"
#include "pins_priv.h"

struct result {
	int err;
	uint64_t pages;
};

/* The child may share locks in an undefined state with threads that are not there: system calls
 * only from here on. */

static int drop_ipc_lock(void)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data))
		return -errno;
	data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
	if (syscall(SYS_capset, &header, data))
		return -errno;
	return 0;
}

/* 1: a page more fits under this limit; 0: it does not; or a negative errno. */
static int fits(int ring, const struct iovec *page, const struct rlimit *limit, uint64_t pages)
{
	struct rlimit now = {pages << 12, limit->rlim_max};

	if (setrlimit(RLIMIT_MEMLOCK, &now))
		return -errno;
	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, page, 1))
		return errno == ENOMEM ? 0 : -errno;
	if (syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0))
		return -errno;
	return 1;
}

/* Search for the smallest limit that fits, between low (does not) and high (does). */
static int search(
	int ring, const struct iovec *page, const struct rlimit *limit, struct result *result)
{
	uint64_t low = 0, high, middle;
	uint64_t most =
		limit->rlim_max == RLIM_INFINITY ? UINT64_C(1) << 40 : limit->rlim_max >> 12;
	int ret;

	result->pages = most;
	for (high = most < 1024 ? most : 1024;; high = high > most / 4 ? most : high * 4) {
		ret = fits(ring, page, limit, high);
		if (ret < 0)
			return ret;
		if (ret)
			break;
		if (high == most)
			return -ERANGE;
		low = high;
	}
	while (high - low > 1) {
		middle = low + (high - low) / 2;
		ret = fits(ring, page, limit, middle);
		if (ret < 0)
			return ret;
		if (ret)
			high = middle;
		else
			low = middle;
	}
	result->pages = high - 1;
	return 0;
}

/*
 * Pages that a ring is charged: none up to Linux 6.12, its own memory on newer kernels
 * (io_uring/memmap.c). A second ring like the first shows it. Rings are freed late: a measurement
 * within half a second of another sees the rings of that one on such kernels.
 */
static int ring_charge(
	int ring, const struct iovec *page, const struct rlimit *limit, uint64_t with_one)
{
	struct io_uring_params params = {0};
	struct result result = {0, 0};
	int second, ret;

	if (setrlimit(RLIMIT_MEMLOCK, limit))
		return -errno;
	second = (int)syscall(SYS_io_uring_setup, 1, &params);
	if (second < 0)
		return errno == ENOMEM ? -ERANGE : -errno;
	ret = fits(ring, page, limit, with_one + 1);
	if (ret)
		return ret < 0 ? ret : 0;
	ret = search(ring, page, limit, &result);
	if (ret)
		return ret;
	return result.pages > with_one && result.pages - with_one <= with_one
		       ? (int)(result.pages - with_one)
		       : 0;
}

static void child(int out)
{
	struct io_uring_params params = {0};
	struct result result = {0, 0};
	struct rlimit limit;
	struct iovec page;
	int ring, ret;

	/* Before the ring is made: it remembers whether its maker was exempt
	 * (io_uring.c:io_uring_create). */
	result.err = drop_ipc_lock();
	if (result.err)
		goto done;
	if (getrlimit(RLIMIT_MEMLOCK, &limit)) {
		result.err = -errno;
		goto done;
	}
	page.iov_len = 4096;
	page.iov_base = mmap(NULL, page.iov_len, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (page.iov_base == MAP_FAILED) {
		result.err = -errno;
		goto done;
	}
	/* The most there is, as newer kernels charge the ring itself. */
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_MEMLOCK, &limit);
	ring = (int)syscall(SYS_io_uring_setup, 1, &params);
	if (ring < 0) {
		result.err = errno == ENOMEM ? -ERANGE : -errno;
		result.pages = limit.rlim_max >> 12;
		goto done;
	}
	result.err = search(ring, &page, &limit, &result);
	if (!result.err) {
		ret = ring_charge(ring, &page, &limit, result.pages);
		if (ret < 0) {
			result.err = ret;
			result.pages = limit.rlim_max >> 12;
		} else {
			result.pages -= (uint64_t)ret;
		}
	}
done:
	while (write(out, &result, sizeof(result)) < 0 && errno == EINTR)
		;
	_exit(0);
}

static int fail_meter(int err)
{
	switch (err) {
	case -ENOSYS:
		return pn_fail(ENOSYS, "user->locked_vm cannot be measured: this kernel has no "
				       "io_uring (or a seccomp filter "
				       "hides it)");
	case -EPERM:
	case -EACCES:
		return pn_fail(-err, "user->locked_vm cannot be measured: io_uring is not allowed "
				     "to this process (sysctl "
				     "kernel.io_uring_disabled, or a seccomp filter)");
	case -ERANGE:
		return pn_fail(ERANGE, "user->locked_vm is at or above the hard RLIMIT_MEMLOCK, so "
				       "it cannot be measured "
				       "exactly");
	default:
		return pn_fail(-err, "user->locked_vm cannot be measured: %s", strerror(-err));
	}
}

int pn_meter_user_locked(uint64_t *pages)
{
	struct result result = {-EIO, 0};
	int fds[2], status;
	ssize_t got;
	long pid;

	if (pipe2(fds, O_CLOEXEC))
		return fail_meter(-errno);
	/* No exit signal: an application's SIGCHLD handler and its wait() calls never see this
	 * child. */
	pid = syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);
	if (pid == 0) {
		close(fds[0]);
		child(fds[1]);
	}
	close(fds[1]);
	if (pid < 0) {
		result.err = -errno;
		close(fds[0]);
		return fail_meter(result.err);
	}
	do
		got = read(fds[0], &result, sizeof(result));
	while (got < 0 && errno == EINTR);
	close(fds[0]);
	while (waitpid((pid_t)pid, &status, (int)__WCLONE) < 0 && errno == EINTR)
		;
	if (got != (ssize_t)sizeof(result))
		result.err = -EIO;
	*pages = result.pages;
	return result.err ? fail_meter(result.err) : 0;
}
