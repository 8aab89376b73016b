/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sets of page ranges, to see how often a page is charged: the pages of all ranges together, less
 * those of their union, are charged once too often.
 */
#ifndef PN_REPORT_SPANS_H
#define PN_REPORT_SPANS_H

#include <stddef.h>
#include <stdint.h>

/* Pages start to end - 1 of a file, or (device and inode 0) of an address space. */
struct span {
	uint64_t device, inode;
	uint64_t start, end;
};

struct spans {
	struct span *list;
	size_t count, room;
};

/* 0 or -ENOMEM. */
int spans_add(struct spans *spans, const struct span *span);
int spans_add_all(struct spans *spans, const struct spans *more);
void spans_free(struct spans *spans);

/* Make it a union: sorted, nothing twice. Returns how many pages were there more than once: each
 * as often as it was beyond the first. */
uint64_t spans_unite(struct spans *spans);

#endif
