/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the sorted list share: pairs in a bucket (sorted_bucket.c), buckets in the top
 * and their weights (sorted_top.c).
 */
#ifndef PN_DMA_SORTED_PRIV_H
#define PN_DMA_SORTED_PRIV_H

#include "sorted.h"

static inline void sorted_put_top(struct sorted_top *top, size_t at, uint64_t first)
{
	sorted_store(&top->first[at], first);
	if (at % SORTED_LINE == 0)
		sorted_store(&top->guide[at / SORTED_LINE], first);
}

static inline void sorted_put_key(struct sorted_bucket *bucket, uint32_t slot, uint64_t key)
{
	sorted_store(&bucket->key[slot], key);
	if (slot % SORTED_LINE == 0 && slot)
		sorted_store(&bucket->guide[slot / SORTED_LINE - 1], key);
}

static inline void sorted_put(
	struct sorted_bucket *bucket, uint32_t slot, uint64_t key, uint64_t value)
{
	sorted_store(&bucket->value[slot], value);
	sorted_put_key(bucket, slot, key);
}

static inline uint32_t sorted_count_of(const struct sorted *list, size_t at)
{
	return list->top->bucket[at]->end - list->top->bucket[at]->start;
}

/* The first pair of a bucket, or behind the last. */
static inline struct sorted_at sorted_front(const struct sorted *list, size_t bucket)
{
	return (struct sorted_at){bucket, list->top->bucket[bucket]->start};
}

/*
 * Room for n pairs before the one in a slot, counted already; where it is. The caller fills it.
 */
uint32_t sorted_open_gap(struct sorted_bucket *bucket, uint32_t slot, uint32_t n);
/* Take the n pairs from a slot on out. */
void sorted_close_gap(struct sorted_bucket *bucket, uint32_t slot, uint32_t n);
/* Make a spare bucket ready for pairs from a slot on. */
void sorted_clear(struct sorted_bucket *bucket, uint32_t start);

/*
 * A spare bucket into the order, for pairs from a slot on: before the one that is there. Its first
 * key and its weight are for the caller. Where it has come to be; others may have moved.
 */
size_t sorted_open_bucket(struct sorted *list, size_t at, uint32_t slot);
/* An empty one out of the order. */
void sorted_close_bucket(struct sorted *list, size_t at);

/* Does the weight of a bucket make searches in the next one look here? */
static inline bool sorted_reaches_over(const struct sorted *list, size_t at)
{
	const struct sorted_top *top = list->top;

	return list->reach && at + 1 < top->end && top->weight[at] >= top->first[at + 1];
}

/* The highest weight in a bucket. */
uint64_t sorted_highest(const struct sorted *list, const struct sorted_bucket *bucket);
/* After pairs have come to and gone from a bucket: its first key and its weight. */
void sorted_renew(struct sorted *list, size_t at);
/* A bucket has a new first key: the weight of the one before may have been kept in vain. */
void sorted_put_first(struct sorted *list, size_t at, uint64_t key);

/* A pair came: no look at the others. */
static inline void sorted_raise(struct sorted *list, size_t at, uint64_t key, uint64_t value)
{
	uint64_t weight;

	if (!list->weigh)
		return;
	weight = list->weigh(key, value);
	if (weight > list->top->weight[at])
		sorted_tighten(list, at, weight);
}

#endif
