/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's fail-nth: arming, disarming, and sweeping through an operation.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fail_nth.h"
#include "pinion.h"

/* Far more than any operation has; a sweep that gets here does not end by itself. */
#define MOST 5000u

int fail_nth_open(void)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int set(int fd, unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	return pwrite(fd, text, (size_t)len, 0) == len ? 0 : -errno;
}

int fail_nth_arm(int fd, unsigned int nth)
{
	return set(fd, nth);
}

/*
 * The file holds what is left to count. Reading and writing it can fail by injection too, as they
 * copy to and from this process; when they do, nothing had failed before.
 */
int fail_nth_disarm(int fd)
{
	char text[16] = "";
	bool fired;
	int ret;

	if (pread(fd, text, sizeof(text) - 1, 0) < 0) {
		if (errno != EFAULT)
			return -errno;
		return set(fd, 0);
	}
	fired = strtoul(text, NULL, 10) == 0;
	ret = set(fd, 0);
	if (ret == -EFAULT)
		ret = set(fd, 0);
	return ret ? ret : fired;
}

static bool wrong(const struct fail_op *op, unsigned int nth, const char *what, int err)
{
	printf("%s, failure %u: %s: %s; %s\n", op->name, nth, what, strerror(-err), pn_error());
	return false;
}

/* A run that succeeded is taken back. */
static bool take_back(const struct fail_op *op, void *arg, unsigned int nth)
{
	int ret = op->undo(arg);

	if (ret)
		return wrong(op, nth, "cannot be taken back", ret);
	return op->unchanged(arg) || wrong(op, nth, "something changed when it was taken back", 0);
}

/*
 * What an allocation and a copy answer that fail by injection, and what iommufd_get_object() does,
 * which is a failure point of its own in kernels with CONFIG_IOMMUFD_TEST (iommufd_should_fail()).
 */
static bool injected(int ret)
{
	return ret == -ENOMEM || ret == -EFAULT || ret == -ENOENT;
}

/* One failure point: 1 refused, 0 survived, -1 wrong; *past if there is none. */
static int step(int fd, const struct fail_op *op, void *arg, unsigned int nth, bool *past)
{
	int ret, fired;

	ret = fail_nth_arm(fd, nth);
	if (ret)
		return wrong(op, nth, "cannot be armed", ret) - 1;
	ret = op->run(arg);
	fired = fail_nth_disarm(fd);
	if (fired < 0)
		return wrong(op, nth, "cannot be disarmed", fired) - 1;
	*past = !fired;
	if (!ret)
		return take_back(op, arg, nth) ? 0 : -1;
	if (!fired || (!op->any_error && !injected(ret)))
		return wrong(op, nth, fired ? "another error" : "fails without a failure", ret) - 1;
	if (!op->unchanged(arg))
		return wrong(op, nth, "something changed though it failed", ret) - 1;
	ret = op->run(arg);
	if (ret)
		return wrong(op, nth, "fails afterwards too", ret) - 1;
	return take_back(op, arg, nth) ? 1 : -1;
}

int fail_nth_sweep(int fd, const struct fail_op *op, void *arg)
{
	unsigned int nth, survived = 0;
	int refused = 0;
	bool past = false;
	int ret;

	/* Once without, so that memory of the process and of the library is there. */
	ret = op->run(arg);
	if (ret)
		return wrong(op, 0, "fails", ret) - 1;
	if (!take_back(op, arg, 0))
		return -1;
	for (nth = 1; nth <= MOST && !past; nth++) {
		ret = step(fd, op, arg, nth, &past);
		if (ret < 0)
			return -1;
		refused += ret;
		survived += !ret && !past;
	}
	printf("%s: %d refused, %u survived\n", op->name, refused, survived);
	return past ? refused : -1;
}
