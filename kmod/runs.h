/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which pages a handle has pinned, in the order of the range: runs of pages that follow each other
 * in memory, eight bytes a run. What was unpinned in between is a hole, so offsets stay.
 */
#ifndef PINION_RUNS_H
#define PINION_RUNS_H

#include <linux/mm.h>
#include <linux/types.h>

#define RUN_BITS 24
#define RUN_MOST ((1UL << RUN_BITS) - 1)
#define RUN_HOLE ((1ULL << (64 - RUN_BITS)) - 1)

struct pinion_runs {
	u64 *run; /* page frame number << RUN_BITS | pages */
	unsigned int nr;
	unsigned int room;
	unsigned int closed; /* so many of the first are not made longer */
	unsigned long pages; /* that are pinned */
};

static inline unsigned long run_pfn(u64 run)
{
	return run >> RUN_BITS;
}

static inline unsigned long run_pages(u64 run)
{
	return run & RUN_MOST;
}

static inline bool run_is_hole(u64 run)
{
	return run >> RUN_BITS == RUN_HOLE;
}

void pinion_runs_free(struct pinion_runs *runs);
/* Gives back what was reserved in advance, if there is memory for it. */
void pinion_runs_trim(struct pinion_runs *runs);

/*
 * Appends at most RUN_MOST pages; what follows the last run makes that longer, whole or not at all,
 * unless it is closed.
 * After an error runs->pages says how many were taken. EOVERFLOW: there are too many references.
 */
int pinion_runs_append(struct pinion_runs *runs, u64 pfn, unsigned long n);
/* EFAULT if there is a zero page among them. */
int pinion_runs_append_pages(struct pinion_runs *runs, struct page **pages, unsigned long n);

/* What becomes of runs from which pages are taken. */
struct pinion_cut {
	struct pinion_runs rest; /* what the runs are then, with the hole */
	struct pinion_runs touched; /* the runs of before that lose pages */
	struct pinion_runs kept; /* what of these stays */
	struct pinion_runs gone; /* what of these goes */
};

/*
 * ENOENT if there is a hole already, EINVAL if a folio would be cut that was pinned as one. Of runs
 * that are not touched none is merged, so that an index that was given them can give them back.
 */
int pinion_runs_cut(const struct pinion_runs *runs, unsigned long first, unsigned long n,
		    bool by_folio, struct pinion_cut *cut);
void pinion_cut_free(struct pinion_cut *cut);

/* Unpins every page; each folio once if that is how it was pinned. The runs stay. */
void pinion_runs_unpin(const struct pinion_runs *runs, bool dirty, bool by_folio);

/* Calls for every folio of the runs, with how many of its pages; stops at what is not 0. */
int pinion_runs_each_folio(const struct pinion_runs *runs,
			   int (*call)(struct folio *folio, unsigned long pages, void *arg),
			   void *arg);

#endif
