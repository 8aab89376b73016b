/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Has the kernel fail the Nth thing that can fail in what the calling thread asks of it
 * (Documentation/fault-injection, "fail-nth"), one N after the other, until a call gets through.
 * tests/vm/guest/fault-injection says what can fail.
 */
#ifndef PROGRAMS_FAIL_NTH_H
#define PROGRAMS_FAIL_NTH_H

#include <stdbool.h>

/** Open the calling thread's file. @return a file descriptor, or a negative errno. */
int fail_nth_open(void);

/** From now on the nth failure point that this thread passes fails, once. @return 0 or -errno. */
int fail_nth_arm(int fd, unsigned int nth);

/** Nothing fails any more. @return 1 if something did since it was armed, 0 if not, or -errno. */
int fail_nth_disarm(int fd);

/** Something that is done with one failure after the other in it. */
struct fail_op {
	const char *name;
	/** @return 0, or a negative errno: then all is as it was before. */
	int (*run)(void *arg);
	/** Takes back what a run did that succeeded. Nothing fails meanwhile. @return 0 or -errno.
	 */
	int (*undo)(void *arg);
	/** After a run that failed, and after undo: is all as it was? Prints what is not. */
	bool (*unchanged)(void *arg);
	/** The error of a run that failed may be any; else it is -ENOMEM or -EFAULT. */
	bool any_error;
};

/**
 * Sweep through the failure points of an operation. At each, the run fails and changes nothing, and
 * then the same run without a failure succeeds; or it succeeds in spite of the failure.
 * Prints a line "NAME: N refused, M survived", or what is wrong.
 *
 * @return how many runs were refused; -1 if something is wrong.
 */
int fail_nth_sweep(int fd, const struct fail_op *op, void *arg);

#endif
