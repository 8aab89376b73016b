/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Free IOVAs: first fit over a sorted list of free runs, whose buckets know their longest run.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "iova_space.h"

/* Longest, less 1: a run may have 2^64 bytes. */
static uint64_t weigh_run(uint64_t first, uint64_t last)
{
	return last - first;
}

static int add_run(struct iova_space *space, uint64_t first, uint64_t last)
{
	if (sorted_reserve(&space->runs, space->runs.count + 1))
		return -ENOMEM;
	sorted_add(&space->runs, sorted_place(&space->runs, first, last), first, last);
	space->free += last - first + 1;
	return 0;
}

static bool ranges_ordered(const struct pn_iova_range *ranges, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (ranges[i].first > ranges[i].last ||
			(i && ranges[i].first <= ranges[i - 1].last))
			return false;
	}
	return true;
}

int iova_space_init(
	struct iova_space *space, const struct pn_iova_range *ranges, unsigned int count)
{
	unsigned int i;

	memset(space, 0, sizeof(*space));
	space->runs.weigh = weigh_run;
	space->window.last = UINT64_MAX;
	if (!ranges_ordered(ranges, count))
		return -EINVAL;
	if (!count)
		return 0;
	space->ranges = calloc(count, sizeof(*ranges));
	if (!space->ranges)
		return -ENOMEM;
	memcpy(space->ranges, ranges, count * sizeof(*ranges));
	space->range_count = count;
	for (i = 0; i < count; i++) {
		if (add_run(space, ranges[i].first, ranges[i].last)) {
			iova_space_free(space);
			return -ENOMEM;
		}
	}
	return 0;
}

void iova_space_free(struct iova_space *space)
{
	sorted_free(&space->runs);
	free(space->ranges);
	memset(space, 0, sizeof(*space));
}

/* The range that holds all of [iova, iova + len). */
static const struct pn_iova_range *range_of(
	const struct iova_space *space, uint64_t iova, uint64_t len)
{
	unsigned int i;

	if (!len || iova > UINT64_MAX - (len - 1))
		return NULL;
	for (i = 0; i < space->range_count; i++) {
		if (iova >= space->ranges[i].first && iova + (len - 1) <= space->ranges[i].last)
			return &space->ranges[i];
	}
	return NULL;
}

/* The last run that starts at or before an address. */
static struct sorted_at run_before(struct iova_space *space, uint64_t iova)
{
	struct sorted_at at = sorted_find(&space->runs, iova, UINT64_MAX);

	if (sorted_is(&space->runs, at) && sorted_key(&space->runs, at) == iova)
		return at;
	return sorted_prev(&space->runs, at);
}

static bool run_holds(const struct iova_space *space, struct sorted_at at, uint64_t last)
{
	return sorted_is(&space->runs, at) && sorted_value(&space->runs, at) >= last;
}

bool iova_space_valid(const struct iova_space *space, uint64_t iova, uint64_t len)
{
	return range_of(space, iova, len) != NULL;
}

bool iova_space_is_free(struct iova_space *space, uint64_t iova, uint64_t len)
{
	return iova_space_valid(space, iova, len) &&
	       run_holds(space, run_before(space, iova), iova + (len - 1));
}

/*
 * Room in the list for one piece more to be taken, and for all to be given back in any order. With
 * R runs, N pieces and B ranges: giving k pieces back makes no more than R + k + B runs, as a piece
 * may lie across borders that came later; and when k are back, N - k pieces and B ranges lie
 * between the runs, so there are no more than N - k + 2B. The mean of the two bounds the lesser.
 */
static int make_room(struct iova_space *space, size_t pieces)
{
	size_t runs = space->runs.count + pieces, taken = space->pieces + pieces;
	size_t most = (runs + taken + 3 * (size_t)space->range_count) / 2 + 1;

	return sorted_reserve(&space->runs, most > runs ? most : runs);
}

/* Take [first, last] out of the run that holds it. There is room for a second run, which comes
 * next to it. */
static void cut(struct iova_space *space, struct sorted_at at, uint64_t first, uint64_t last)
{
	struct sorted *runs = &space->runs;
	uint64_t run_first = sorted_key(runs, at), run_last = sorted_value(runs, at);

	space->free -= last - first + 1;
	if (first == run_first && last == run_last) {
		sorted_remove(runs, at);
	} else if (first == run_first) {
		sorted_set(runs, at, last + 1, run_last);
	} else {
		sorted_set(runs, at, run_first, first - 1);
		at.slot++;
		if (last < run_last)
			sorted_add(runs, at, last + 1, run_last);
	}
}

int iova_space_take(struct iova_space *space, uint64_t iova, uint64_t len)
{
	struct sorted_at at;

	if (!iova_space_valid(space, iova, len))
		return -EINVAL;
	at = run_before(space, iova);
	if (!run_holds(space, at, iova + (len - 1)))
		return -EEXIST;
	if (make_room(space, 1))
		return -ENOMEM;
	cut(space, at, iova, iova + (len - 1));
	space->pieces++;
	return 0;
}

/* The lowest aligned address of a run that has room for len in a window; false: there is none. */
static bool fits(struct pn_iova_range window, uint64_t first, uint64_t last, uint64_t len,
	uint64_t align, uint64_t *iova)
{
	uint64_t start = first < PN_PAGE_4K ? PN_PAGE_4K : first;

	start = start < window.first ? window.first : start;
	last = last > window.last ? window.last : last;
	if (start > UINT64_MAX - (align - 1))
		return false;
	start = pn_align_up(start, align);
	if (start > last || last - start < len - 1)
		return false;
	*iova = start;
	return true;
}

static bool find_run(struct iova_space *space, uint64_t len, uint64_t align, struct sorted_at *at,
	uint64_t *iova)
{
	struct sorted *runs = &space->runs;
	uint64_t first, last, longest;
	size_t bucket;

	*at = sorted_heavy(runs, 0, len - 1);
	while (sorted_is(runs, *at)) {
		longest = 0;
		for (bucket = at->bucket; sorted_is(runs, *at) && at->bucket == bucket;
			*at = sorted_next(runs, *at)) {
			first = sorted_key(runs, *at);
			last = sorted_value(runs, *at);
			if (fits(space->window, first, last, len, align, iova))
				return true;
			longest = last - first > longest ? last - first : longest;
		}
		sorted_tighten(runs, bucket, longest);
		*at = sorted_heavy(runs, bucket + 1, len - 1);
	}
	return false;
}

int iova_space_find(struct iova_space *space, uint64_t len, uint64_t align, uint64_t *iova)
{
	struct sorted_at at;

	if (!len || !pn_is_pow2(align))
		return -EINVAL;
	return find_run(space, len, align, &at, iova) ? 0 : -ENOSPC;
}

int iova_space_alloc(struct iova_space *space, uint64_t len, uint64_t align, uint64_t *iova)
{
	struct sorted_at at;
	uint64_t start;

	if (!len || !pn_is_pow2(align))
		return -EINVAL;
	if (!find_run(space, len, align, &at, &start))
		return -ENOSPC;
	if (make_room(space, 1))
		return -ENOMEM;
	cut(space, at, start, start + (len - 1));
	space->pieces++;
	*iova = start;
	return 0;
}

/* Does a run overlap [first, last] of a range, or is it next to it in that range? */
static bool joins(const struct iova_space *space, const struct pn_iova_range *range,
	struct sorted_at at, uint64_t first, uint64_t last)
{
	uint64_t run_first, run_last;

	if (!sorted_is(&space->runs, at))
		return false;
	run_first = sorted_key(&space->runs, at);
	run_last = sorted_value(&space->runs, at);
	if (run_first > range->last || run_last < range->first)
		return false;
	return (run_first <= last || run_first - 1 == last) &&
	       (run_last >= first || run_last + 1 == first);
}

/* Make [first, last], which is within a range, free, as one run with what it joins. */
static void make_free(
	struct iova_space *space, const struct pn_iova_range *range, uint64_t first, uint64_t last)
{
	struct sorted *runs = &space->runs;
	struct sorted_at at = run_before(space, first), next;
	uint64_t next_first, next_last;

	if (!joins(space, range, at, first, last)) {
		next = sorted_is(runs, at) ? sorted_next(runs, at) : sorted_first(runs);
		if (!joins(space, range, next, first, last)) {
			add_run(space, first, last);
			return;
		}
		at = next;
	}
	first = sorted_key(runs, at) < first ? sorted_key(runs, at) : first;
	last = sorted_value(runs, at) > last ? sorted_value(runs, at) : last;
	space->free += (last - first) - (sorted_value(runs, at) - sorted_key(runs, at));
	for (;;) {
		next = sorted_next(runs, at);
		if (!joins(space, range, next, first, last))
			break;
		next_first = sorted_key(runs, next);
		next_last = sorted_value(runs, next);
		/* What the two have in common is counted already. */
		space->free -= (next_last < last ? next_last : last) - next_first + 1;
		sorted_set(runs, at, first, next_last > last ? next_last : last);
		sorted_remove(runs, next);
		/* No other run is next to this one. */
		if (next_last >= last)
			return;
		at = run_before(space, first);
	}
	sorted_set(runs, at, first, last);
}

void iova_space_give_back(struct iova_space *space, uint64_t iova, uint64_t len)
{
	uint64_t last = iova + (len - 1), from, to;
	unsigned int i;

	if (!len || last < iova)
		return;
	for (i = 0; i < space->range_count && space->ranges[i].first <= last; i++) {
		if (space->ranges[i].last < iova)
			continue;
		from = iova > space->ranges[i].first ? iova : space->ranges[i].first;
		to = last < space->ranges[i].last ? last : space->ranges[i].last;
		make_free(space, &space->ranges[i], from, to);
	}
	if (space->pieces)
		space->pieces--;
}

/* Take addresses that another set of ranges had. */
static int take_over(struct iova_space *space, uint64_t first, uint64_t last)
{
	const struct pn_iova_range *range;
	unsigned int i;
	uint64_t to;

	for (i = 0; i < space->range_count; i++) {
		range = &space->ranges[i];
		if (range->last < first)
			continue;
		if (range->first > first)
			break;
		to = last < range->last ? last : range->last;
		if (sorted_reserve(&space->runs, space->runs.count + 1))
			return -ENOMEM;
		cut(space, run_before(space, first), first, to);
		if (to == last)
			return 0;
		first = to + 1;
	}
	return -EINVAL;
}

/* All that is taken in one range of the old space. */
static int take_range_over(
	struct iova_space *space, struct iova_space *old, const struct pn_iova_range *range)
{
	struct sorted_at at = sorted_find(&old->runs, range->first, 0);
	uint64_t first = range->first;
	int ret;

	for (; sorted_is(&old->runs, at); at = sorted_next(&old->runs, at)) {
		if (sorted_key(&old->runs, at) > range->last)
			break;
		if (sorted_key(&old->runs, at) > first) {
			ret = take_over(space, first, sorted_key(&old->runs, at) - 1);
			if (ret)
				return ret;
		}
		if (sorted_value(&old->runs, at) == range->last)
			return 0;
		first = sorted_value(&old->runs, at) + 1;
	}
	return take_over(space, first, range->last);
}

int iova_space_set_ranges(
	struct iova_space *space, const struct pn_iova_range *ranges, unsigned int count)
{
	struct iova_space other;
	unsigned int i;
	int ret;

	ret = iova_space_init(&other, ranges, count);
	for (i = 0; i < space->range_count && !ret; i++)
		ret = take_range_over(&other, space, &space->ranges[i]);
	if (!ret) {
		other.pieces = space->pieces;
		ret = make_room(&other, 0);
	}
	if (ret) {
		iova_space_free(&other);
		return ret;
	}
	iova_space_free(space);
	*space = other;
	return 0;
}

uint64_t iova_space_free_bytes(const struct iova_space *space)
{
	return !space->free && space->runs.count ? UINT64_MAX : space->free;
}

uint64_t iova_space_largest(struct iova_space *space)
{
	uint64_t less_one = sorted_heaviest(&space->runs);

	if (!space->runs.count || less_one == UINT64_MAX)
		return space->runs.count ? UINT64_MAX : 0;
	return less_one + 1;
}
