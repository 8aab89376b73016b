/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The buckets of a sorted list: the array that orders them, the spare ones, and their weights.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sorted_priv.h"

#define FULL       SORTED_BUCKET
#define CACHE_LINE 64u
/* Slots of a top that stay free: one before the first bucket, one behind the last. */
#define BORDERS 2u

/* What is in the free slots of a top. Nothing is ever stored in it. */
static const _Alignas(CACHE_LINE) struct sorted_bucket nothing;

static struct sorted_bucket *no_bucket(void)
{
	return (struct sorted_bucket *)(uintptr_t)&nothing;
}

/*
 * Room
 */

static int grow_top(struct sorted *list)
{
	struct sorted_top *old = list->top, *top;
	size_t room = old ? old->room * 2 : SORTED_BUCKET, weights = list->weigh ? room : 0, i;
	size_t guides = room / SORTED_LINE,
	       words = room + guides + weights + weights / SORTED_BUCKET;
	size_t bytes = sizeof(*top) + words * sizeof(top->first[0]) + room * sizeof(*top->bucket);

	bytes = (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
	top = aligned_alloc(CACHE_LINE, bytes);
	if (!top)
		return -ENOMEM;
	memset(top, 0, bytes);
	memset(top->first, 0xff, (room + guides) * sizeof(top->first[0]));
	top->outgrown = old;
	top->room = room;
	top->start = top->end = old ? old->start : 1;
	top->guide = top->first + room;
	top->weight = top->guide + guides;
	top->peak = top->weight + weights;
	top->bucket = (struct sorted_bucket **)(void *)(top->first + words);
	for (i = 0; i < room; i++)
		top->bucket[i] = no_bucket();
	if (old) {
		top->end = old->end;
		memcpy(top->first, old->first, top->end * sizeof(top->first[0]));
		memcpy(top->guide, old->guide, guides / 2 * sizeof(*top->guide));
		memcpy(top->bucket, old->bucket, top->end * sizeof(struct sorted_bucket *));
		memcpy(top->weight, old->weight, weights / 2 * sizeof(*top->weight));
		memcpy(top->peak, old->peak, weights / 2 / SORTED_BUCKET * sizeof(*top->peak));
	} else {
		sorted_put_top(top, 0, 0);
	}
	sorted_store(&list->top, top);
	return 0;
}

/* Its values stay as they are, for readers that are there still. */
static void put_spare(struct sorted *list, struct sorted_bucket *bucket)
{
	sorted_store(&bucket->key[0], (uint64_t)(uintptr_t)list->spare);
	list->spare = bucket;
}

static struct sorted_bucket *take_spare(struct sorted *list)
{
	struct sorted_bucket *bucket = list->spare;

	if (bucket)
		list->spare = (struct sorted_bucket *)(uintptr_t)bucket->key[0];
	return bucket;
}

static int add_bucket(struct sorted *list)
{
	struct sorted_bucket *bucket;

	if ((!list->top || list->buckets + BORDERS >= list->top->room) && grow_top(list))
		return -ENOMEM;
	bucket = aligned_alloc(CACHE_LINE, sizeof(*bucket));
	if (!bucket)
		return -ENOMEM;
	memset(bucket, 0, sizeof(*bucket));
	put_spare(list, bucket);
	list->buckets++;
	return 0;
}

int sorted_grow(struct sorted *list, size_t count)
{
	size_t buckets = count / SORTED_BUCKET + (count % SORTED_BUCKET != 0);

	while (list->buckets < buckets) {
		if (add_bucket(list))
			return -ENOMEM;
	}
	/* One to open. Without it the pairs still find room, but have to be moved farther. */
	if (!list->spare)
		add_bucket(list);
	return 0;
}

void sorted_free(struct sorted *list)
{
	struct sorted_bucket *bucket;
	struct sorted_top *top;
	size_t i;

	for (i = list->top ? list->top->start : 0; list->top && i < list->top->end; i++)
		free(list->top->bucket[i]);
	while ((bucket = take_spare(list)))
		free(bucket);
	while ((top = list->top)) {
		list->top = top->outgrown;
		free(top);
	}
	list->buckets = list->count = 0;
}

/*
 * Weights
 */

static void renew_peaks(struct sorted *list, size_t from, size_t to)
{
	struct sorted_top *top = list->top;
	size_t group, i, end;
	uint64_t peak;

	for (group = from / SORTED_BUCKET; list->weigh && group <= to / SORTED_BUCKET; group++) {
		i = group * SORTED_BUCKET;
		peak = 0;
		for (end = i + SORTED_BUCKET; i < end; i++)
			peak = top->weight[i] > peak ? top->weight[i] : peak;
		sorted_store(&top->peak[group], peak);
	}
}

void sorted_tighten(struct sorted *list, size_t bucket, uint64_t weight)
{
	struct sorted_top *top = list->top;
	uint64_t old = top->weight[bucket], peak = top->peak[bucket / SORTED_BUCKET];

	if (weight == old)
		return;
	sorted_store(&top->weight[bucket], weight);
	if (weight >= peak)
		sorted_store(&top->peak[bucket / SORTED_BUCKET], weight);
	else if (old == peak)
		renew_peaks(list, bucket, bucket);
}

uint64_t sorted_highest(const struct sorted *list, const struct sorted_bucket *bucket)
{
	uint64_t weight, found = 0;
	uint32_t i;

	for (i = bucket->start; i < bucket->end; i++) {
		weight = list->weigh(bucket->key[i], bucket->value[i]);
		found = weight > found ? weight : found;
	}
	return found;
}

/* After pairs have come to and gone from a bucket. */
void sorted_renew(struct sorted *list, size_t at)
{
	struct sorted_bucket *bucket = list->top->bucket[at];

	sorted_put_top(list->top, at, bucket->key[bucket->start]);
	if (list->weigh)
		sorted_tighten(list, at, sorted_highest(list, bucket));
}

/* A bucket has a new first key: that of the one before may have been kept in vain. */
void sorted_put_first(struct sorted *list, size_t at, uint64_t key)
{
	struct sorted_top *top = list->top;

	sorted_put_top(top, at, key);
	if (at > top->start && sorted_reaches_over(list, at - 1))
		sorted_tighten(list, at - 1, sorted_highest(list, top->bucket[at - 1]));
}

struct sorted_at sorted_heavy(const struct sorted *list, size_t bucket, uint64_t weight)
{
	const struct sorted_top *top = list->top;

	if (!top)
		return (struct sorted_at){0, 0};
	if (bucket < top->start)
		bucket = top->start;
	while (bucket < top->end) {
		if (bucket % SORTED_BUCKET == 0 && top->peak[bucket / SORTED_BUCKET] < weight)
			bucket += SORTED_BUCKET;
		else if (top->weight[bucket] >= weight)
			return sorted_front(list, bucket);
		else
			bucket++;
	}
	return sorted_front(list, top->end);
}

uint64_t sorted_heaviest(struct sorted *list)
{
	const struct sorted_top *top = list->top;
	uint64_t heaviest, exact;
	size_t i, at;

	if (!top || top->start == top->end)
		return 0;
	for (;;) {
		heaviest = 0;
		for (i = 0; i < top->room / SORTED_BUCKET; i++)
			heaviest = top->peak[i] > heaviest ? top->peak[i] : heaviest;
		at = sorted_heavy(list, 0, heaviest).bucket;
		exact = sorted_highest(list, top->bucket[at]);
		if (exact == heaviest)
			return heaviest;
		sorted_tighten(list, at, exact);
	}
}

size_t sorted_heavy_before(const struct sorted_top *top, size_t bucket, uint64_t weight)
{
	while (bucket) {
		if (bucket % SORTED_BUCKET == 0 &&
			sorted_load(&top->peak[bucket / SORTED_BUCKET - 1]) < weight)
			bucket -= SORTED_BUCKET;
		else if (sorted_load(&top->weight[--bucket]) >= weight)
			return bucket;
	}
	return SORTED_NONE;
}

/*
 * Slots of the top
 */

static void copy_slot(struct sorted *list, size_t from, size_t to)
{
	struct sorted_top *top = list->top;

	sorted_store(&top->bucket[to], top->bucket[from]);
	if (list->weigh)
		sorted_store(&top->weight[to], top->weight[from]);
	sorted_put_top(top, to, top->first[from]);
}

static void free_slot(struct sorted *list, size_t at, uint64_t first)
{
	struct sorted_top *top = list->top;

	sorted_put_top(top, at, first);
	sorted_store(&top->bucket[at], no_bucket());
	if (list->weigh)
		sorted_store(&top->weight[at], 0);
}

/* Move all buckets so that there is as much room on one side as on the other; how far right. */
static size_t centre(struct sorted *list)
{
	struct sorted_top *top = list->top;
	size_t start = top->start, end = top->end, i;
	size_t to = (top->room - (end - start)) / 2, by = to - start;

	if (to < start) {
		for (i = start; i < end; i++)
			copy_slot(list, i, i + by);
		for (i = end + by; i < end; i++)
			free_slot(list, i, UINT64_MAX);
	} else {
		for (i = end; i-- > start;)
			copy_slot(list, i, i + by);
		for (i = start; i < to; i++)
			free_slot(list, i, 0);
	}
	sorted_store(&top->start, to);
	sorted_store(&top->end, end + by);
	renew_peaks(list, to < start ? to : start, (to < start ? end : end + by) - 1);
	return by;
}

/* A spare bucket into the order, for pairs from a slot on: before the one that is there. Its first
 * key and its weight are for the caller. Where it has come to be. */
size_t sorted_open_bucket(struct sorted *list, size_t at, uint32_t slot)
{
	struct sorted_top *top = list->top;
	struct sorted_bucket *bucket = take_spare(list);
	bool left = at - top->start < top->end - at;
	size_t i, from, to;

	if (left ? top->start == 1 : top->end == top->room - 1) {
		at += centre(list);
		left = left && top->start > 1;
	}
	sorted_clear(bucket, slot);
	if (left) {
		from = top->start - 1;
		to = --at;
		for (i = from; i < at; i++)
			copy_slot(list, i + 1, i);
		sorted_store(&top->start, from);
	} else {
		from = at;
		to = top->end;
		for (i = to; i > at; i--)
			copy_slot(list, i - 1, i);
		sorted_store(&top->end, to + 1);
	}
	sorted_store(&top->bucket[at], bucket);
	if (list->weigh)
		sorted_store(&top->weight[at], 0);
	renew_peaks(list, from, to);
	return at;
}

void sorted_close_bucket(struct sorted *list, size_t at)
{
	struct sorted_top *top = list->top;
	struct sorted_bucket *bucket = top->bucket[at];
	size_t start = top->start, last = top->end - 1, i;

	if (at - start < last - at) {
		for (i = at; i > start; i--)
			copy_slot(list, i - 1, i);
		free_slot(list, start, 0);
		sorted_store(&top->start, start + 1);
		renew_peaks(list, start, at);
	} else {
		for (i = at; i < last; i++)
			copy_slot(list, i + 1, i);
		free_slot(list, last, UINT64_MAX);
		sorted_store(&top->end, last);
		renew_peaks(list, at, last);
	}
	put_spare(list, bucket);
}
