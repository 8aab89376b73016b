/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How often each page is pinned by one owner, so that a page is charged with its first pin and
 * given back with its last.
 *
 * Pages are kept in chunks of 2 MiB. A chunk that every pin covers whole is one slot of an
 * xarray; one that some pin covers in part has a table.
 * Only adding allocates: taking away never fails.
 */
#ifndef PINION_INDEX_H
#define PINION_INDEX_H

#include <linux/mutex.h>
#include <linux/xarray.h>

#include "runs.h"

struct pinion_index {
	struct mutex lock; /* chunks, pages */
	struct xarray chunks;
	unsigned long pages; /* with at least one pin */
};

int pinion_index_start(void);
void pinion_index_stop(void);

void pinion_index_init(struct pinion_index *index);
void pinion_index_destroy(struct pinion_index *index);

/* Asked before others see what is added, of which fresh pages had no pin; an error undoes it. */
struct pinion_toll {
	int (*call)(void *arg, unsigned long fresh);
	void *arg;
};

/*
 * Counts the pages of the runs; *fresh is how many of them had no pin. All or nothing. toll or
 * NULL; called with the lock held.
 */
int pinion_index_add(struct pinion_index *index, const struct pinion_runs *runs,
		     const struct pinion_toll *toll, unsigned long *fresh);
/* Takes runs away that were added. How many pages have no pin left. */
unsigned long pinion_index_del(struct pinion_index *index, const struct pinion_runs *runs);
/* Is there a pin on this page, or on any page of these? */
bool pinion_index_has(struct pinion_index *index, unsigned long pfn);
bool pinion_index_overlaps(struct pinion_index *index, const struct pinion_runs *runs);

#endif
