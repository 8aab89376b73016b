/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of the meter of user->locked_vm: a search over limits that a child sets itself, and
 * the calls that the kernel refuses by that counter alone.
 */
#ifndef PN_METER_PRIV_H
#define PN_METER_PRIV_H

#include <sys/resource.h>

#include "pins_priv.h"

/* A call that is charged a few pages of user->locked_vm for its own time. */
struct pn_meter_trial {
	struct rlimit limit; /* the hard one is the most that can be tried */
	uint64_t cost;       /* pages */
	int fd;
	const void *page;
	/* 1: it was let through; 0: refused by the limit; or a negative errno. */
	int (*once)(const struct pn_meter_trial *trial);
};

/*
 * In the child, which may share locks in an undefined state with threads that are not there: system
 * calls only.
 */

/* Does the trial go through under a soft limit of so many pages? 1, 0 or a negative errno. */
int pn_meter_fits(const struct pn_meter_trial *trial, uint64_t limit);
/* The counter, or -ERANGE and the least that it can be; or another negative errno. */
int pn_meter_search(const struct pn_meter_trial *trial, uint64_t *pages);

/* One page of fixed buffers, with io_uring. Results as above; -ENOMEM: not even a ring could be
 * made, and the least is the hard limit. */
int pn_meter_io_uring(const struct rlimit *limit, uint64_t *pages);
/* One byte sent with MSG_ZEROCOPY. */
int pn_meter_zerocopy(const struct rlimit *limit, uint64_t *pages);

/*
 * The socket that the trial with MSG_ZEROCOPY is made on, and the trial: 1 if so many pages (2 to
 * PN_ZEROCOPY_MOST) fit under the caller's own soft limit, 0 if not, or a negative errno. Nothing
 * is sent, nothing stays charged.
 */
#define PN_ZEROCOPY_LEAST 2u
#define PN_ZEROCOPY_MOST  (UINT64_C(0x7ffff) + 1)
int pn_zerocopy_open(void);
int pn_zerocopy_fits(int fd, uint64_t pages);

#endif
