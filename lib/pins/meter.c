/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The unprivileged meter for user->locked_vm, which no file shows: a child with limits of its own
 * searches for the smallest that lets a call through which the kernel compares with that counter.
 * io_uring has one, MSG_ZEROCOPY another, for where io_uring is not allowed.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/capability.h>

#include "base_priv.h"
#include "meter_priv.h"

/* linux/close_range.h, Linux 5.9. */
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#define UNSHARE_FDS (1u << 1)

/* In the order in which they are tried. */
static const struct way {
	enum pn_observer observer;
	int (*measure)(const struct rlimit *limit, uint64_t *pages);
} ways[] = {
	{PN_OBSERVER_METER, pn_meter_io_uring},
	{PN_OBSERVER_METER_ZEROCOPY, pn_meter_zerocopy},
};
#define WAYS PN_ARRAY_SIZE(ways)

/* In memory that parent and child share: what there is when the child ends, whoever ended it. */
struct result {
	int err;    /* of the child itself */
	size_t way; /* the one it is at, or came to an end with */
	int errs[WAYS];
	uint64_t pages;
};

/*
 * The child. Locks may be in an undefined state that belong to threads which are not there: system
 * calls only from here on.
 */

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

/*
 * A table of fds of its own with nothing in it. It began with the caller's own table, so no file is
 * held here that the caller closes meanwhile: the kernel does not copy what it is to close, beyond
 * the first 64 (fs/file.c:sane_fdtable_size()).
 */
static int leave_fds(void)
{
	if (!syscall(SYS_close_range, 0u, ~0u, UNSHARE_FDS))
		return 0;
	return unshare(CLONE_FILES) ? -errno : 0;
}

int pn_meter_fits(const struct pn_meter_trial *trial, uint64_t limit)
{
	struct rlimit now = {limit << 12, trial->limit.rlim_max};

	return setrlimit(RLIMIT_MEMLOCK, &now) ? -errno : trial->once(trial);
}

/* The smallest limit that lets the trial through is the counter and what the trial costs. */
int pn_meter_search(const struct pn_meter_trial *trial, uint64_t *pages)
{
	rlim_t hard = trial->limit.rlim_max;
	uint64_t low = 0, high, middle,
		 most = hard == RLIM_INFINITY ? UINT64_C(1) << 40 : hard >> 12;
	int ret;

	for (high = most < 1024 ? most : 1024;; high = high > most / 4 ? most : high * 4) {
		ret = pn_meter_fits(trial, high);
		if (ret < 0)
			return ret;
		if (ret)
			break;
		if (high == most) {
			*pages = most >= trial->cost ? most - trial->cost + 1 : 0;
			return -ERANGE;
		}
		low = high;
	}
	while (high - low > 1) {
		middle = low + (high - low) / 2;
		ret = pn_meter_fits(trial, middle);
		if (ret < 0)
			return ret;
		if (ret)
			high = middle;
		else
			low = middle;
	}
	*pages = high >= trial->cost ? high - trial->cost : 0;
	return 0;
}

/* Before a ring is made or a socket charged: both ask whether their maker is exempt. */
static int prepare(struct rlimit *limit)
{
	int ret = leave_fds();

	if (!ret)
		ret = drop_ipc_lock();
	if (!ret && getrlimit(RLIMIT_MEMLOCK, limit))
		ret = -errno;
	if (ret)
		return ret;
	/* The most there is, as newer kernels charge a ring itself. */
	limit->rlim_cur = limit->rlim_max;
	return setrlimit(RLIMIT_MEMLOCK, limit) ? -errno : 0;
}

/* From way number result->way on. */
static void child(struct result *result)
{
	struct rlimit limit;

	result->err = prepare(&limit);
	if (result->err)
		_exit(0);
	/* Until it is known otherwise: a filter may end the process at any call. */
	for (;; result->way++) {
		result->errs[result->way] = -EIO;
		result->errs[result->way] = ways[result->way].measure(&limit, &result->pages);
		if (!result->errs[result->way] || result->errs[result->way] == -ERANGE ||
			result->way + 1 == WAYS)
			_exit(0);
	}
}

/*
 * The caller
 */

/* Whether it is the first that cannot be used, or (after it) the second. */
static const char *why_not(int err)
{
	switch (err) {
	case -ENOSYS:
		return "this kernel has no such call, or a seccomp filter hides it";
	case -EPERM:
	case -EACCES:
		return "it is not allowed to this process (sysctl kernel.io_uring_disabled, or a "
		       "seccomp filter)";
	case -EIO:
		return "the child was ended at it (a seccomp filter)";
	case -EOPNOTSUPP:
		return "this kernel does not compare it with the limit";
	default:
		return strerror(-err);
	}
}

static int fail_range(void)
{
	return pn_fail(ERANGE, "user->locked_vm is at or above the hard RLIMIT_MEMLOCK, or so near "
			       "to it that it cannot be measured exactly");
}

static int conclude(struct result *result, struct pn_figure *figure)
{
	int err = result->errs[result->way];

	if (result->err)
		return pn_fail(-result->err, "user->locked_vm cannot be measured: %s",
			strerror(-result->err));
	/* No ring for want of room under the limit: that much is known. */
	if (err && err != -ERANGE && result->errs[0] == -ENOMEM)
		return pn_fail(ENOMEM,
			"user->locked_vm cannot be measured: no ring of io_uring could be made "
			"(ENOMEM: the limit, or no memory), and MSG_ZEROCOPY cannot be used: %s",
			why_not(err));
	if (err && err != -ERANGE) {
		pn_fail(-result->errs[0],
			"user->locked_vm cannot be measured: io_uring cannot be used: %s",
			why_not(result->errs[0]));
		return pn_fail_append(result->errs[0], "; MSG_ZEROCOPY neither: %s", why_not(err));
	}
	figure->pages = result->pages;
	figure->observer = ways[result->way].observer;
	return err ? fail_range() : 0;
}

/* Have a child do it; 1 if it was ended by a signal. No exit signal: an application's SIGCHLD
 * handler and its wait() calls never see this child. */
static int run_child(struct result *result)
{
	sigset_t all, before;
	int status = 0, err;
	long pid;

	/* The application's handlers are not for the child. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = syscall(SYS_clone, (unsigned long)CLONE_FILES, NULL, NULL, NULL, NULL);
	if (pid == 0)
		child(result);
	err = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid < 0)
		return pn_explain_fork(err, "user->locked_vm cannot be measured: no child");
	while (waitpid((pid_t)pid, &status, (int)__WCLONE) < 0) {
		if (errno != EINTR)
			break;
	}
	return WIFSIGNALED(status);
}

int pn_meter_measure(struct pn_figure *figure)
{
	struct result *result;
	int ret;

	*figure = (struct pn_figure){0, PN_OBSERVER_NONE};
	result = mmap(
		NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (result == MAP_FAILED)
		return pn_fail(errno, "user->locked_vm cannot be measured: no memory: %s",
			strerror(errno));
	result->err = -EIO;
	do
		ret = run_child(result);
	/* Ended at one way, it may come through at the next. */
	while (ret > 0 && !result->err && ++result->way < WAYS);
	if (result->way == WAYS)
		result->way = WAYS - 1;
	if (ret >= 0)
		ret = conclude(result, figure);
	munmap(result, sizeof(*result));
	return ret;
}

int pn_meter_user_locked(uint64_t *pages)
{
	struct pn_figure figure;
	int ret = pn_meter_measure(&figure);

	*pages = figure.pages;
	return ret;
}
