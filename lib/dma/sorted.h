/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A sorted list of pairs of 64-bit words, in buckets: the store of the mapping index and of the
 * free IOVAs. One thread at a time changes it. Others may search it meanwhile, under a sequence
 * count of the user's: what they find may be torn, but every word of it was right once and all of
 * it stays readable until sorted_free().
 */
#ifndef PN_DMA_SORTED_H
#define PN_DMA_SORTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SORTED_BUCKET 64u
#define SORTED_NONE   SIZE_MAX

/*
 * What readers see is loaded and stored in one piece, with acquire and release order. So the load
 * of a sequence count that follows is not done earlier, and it is not older than what was seen;
 * without fences, which ThreadSanitizer does not know.
 */
#define sorted_load(word)         __atomic_load_n(word, __ATOMIC_ACQUIRE)
#define sorted_store(word, value) __atomic_store_n(word, value, __ATOMIC_RELEASE)

#define SORTED_LINE 8u /* words in a cache line */

/*
 * The pairs are in the slots from start on, up to end; there is room on both sides, so that a pair
 * that comes or goes moves the fewer of its neighbours. It is aligned to cache lines: a search
 * reads the first, then one of the keys, then one of the values.
 */
struct sorted_bucket {
	uint64_t guide[SORTED_LINE - 1]; /* the first key of each line but the first */
	uint32_t start;
	uint32_t end;
	uint64_t key[SORTED_BUCKET];   /* 0 before the first, UINT64_MAX behind the last */
	uint64_t value[SORTED_BUCKET]; /* elsewhere: one that was there, or 0 */
};

_Static_assert(sizeof(struct sorted_bucket) % 64 == 0, "whole cache lines");

/*
 * The buckets in order, with free slots on both sides, one at least. When there is no room for
 * more, a larger copy takes its place.
 */
struct sorted_top {
	struct sorted_top *outgrown; /* kept for readers */
	size_t room;                 /* slots: SORTED_BUCKET or twice, four times ... that */
	size_t start;
	size_t end;
	struct sorted_bucket **bucket; /* in free slots: one without pairs */
	uint64_t *weight; /* the highest in each bucket, or more, see below; 0 in free slots */
	uint64_t *peak;   /* the highest in each SORTED_BUCKET slots */
	uint64_t *guide;  /* what is first in each cache line of the following */
	/* Key of each bucket; in free slots 0 before, UINT64_MAX behind them. */
	_Alignas(64) uint64_t first[];
};

/* A place in the list. It is lost when the list changes. */
struct sorted_at {
	size_t bucket;
	uint32_t slot;
};

struct sorted {
	struct sorted_top *top;      /* NULL before there is room for anything */
	struct sorted_bucket *spare; /* each has the next one's address for its first key */
	size_t buckets;              /* in use and spare */
	size_t count;                /* pairs */
	/* The place of the last search or addition, where the next one looks first. */
	struct sorted_at near;
	/* Of what pairs are searched for besides their order; NULL: of nothing. */
	uint64_t (*weigh)(uint64_t key, uint64_t value);
	/*
	 * When a heavy pair goes, its bucket keeps its weight until sorted_tighten(). With reach,
	 * a weight is the last key that a pair covers: it is kept as long only as it does not
	 * reach the next bucket.
	 */
	bool reach;
};

/*
 * Room for count pairs in all, those that are there included. 0 or -ENOMEM; readers notice nothing
 * and places stay.
 */
int sorted_grow(struct sorted *list, size_t count);
static inline int sorted_reserve(struct sorted *list, size_t count)
{
	return list->spare && count <= list->buckets * SORTED_BUCKET ? 0 : sorted_grow(list, count);
}
/* Pairs are ordered by key, then by value; no pair may be there twice. This is where one goes, */
struct sorted_at sorted_place(struct sorted *list, uint64_t key, uint64_t value);
/* and this puts it there. There must be room. Behind a pair at a place is {bucket, slot + 1}. */
void sorted_add(struct sorted *list, struct sorted_at at, uint64_t key, uint64_t value);
void sorted_remove(struct sorted *list, struct sorted_at at);
/* Change a pair so that it keeps its place, and the place is not lost. */
void sorted_set(struct sorted *list, struct sorted_at at, uint64_t key, uint64_t value);
void sorted_free(struct sorted *list);

/* The first pair that is not below (key, value). */
struct sorted_at sorted_find(struct sorted *list, uint64_t key, uint64_t value);
struct sorted_at sorted_first(const struct sorted *list);
struct sorted_at sorted_last(const struct sorted *list);
struct sorted_at sorted_next(const struct sorted *list, struct sorted_at at);
struct sorted_at sorted_prev(const struct sorted *list, struct sorted_at at);
/*
 * The first pair of the first bucket, from this one on, in which one may have at least this weight;
 * behind the last, if there is none.
 */
struct sorted_at sorted_heavy(const struct sorted *list, size_t bucket, uint64_t weight);
/* All pairs of a bucket were looked at, and this is the highest weight. */
void sorted_tighten(struct sorted *list, size_t bucket, uint64_t weight);
/* The highest weight; 0 if the list is empty. It tightens. */
uint64_t sorted_heaviest(struct sorted *list);

static inline bool sorted_is(const struct sorted *list, struct sorted_at at)
{
	return list->top && at.bucket < list->top->end;
}

static inline uint64_t sorted_key(const struct sorted *list, struct sorted_at at)
{
	return list->top->bucket[at.bucket]->key[at.slot];
}

static inline uint64_t sorted_value(const struct sorted *list, struct sorted_at at)
{
	return list->top->bucket[at.bucket]->value[at.slot];
}

/* Is the pair of the last search still where it was? No other pair has its value. */
static inline bool sorted_is_near(const struct sorted *list, uint64_t value)
{
	const struct sorted_bucket *bucket;

	if (!sorted_is(list, list->near))
		return false;
	bucket = list->top->bucket[list->near.bucket];
	return list->near.slot >= bucket->start && list->near.slot < bucket->end &&
	       bucket->value[list->near.slot] == value;
}

/*
 * For readers beside a change. Every slot of the top has a bucket. A value is 0, or one that was
 * put there once. start and end are no more than the number of slots, whatever they have become.
 */

/*
 * The last of so many ascending keys that is not above this one; the first, if none is. It compiles
 * to conditional moves: no branch depends on a key, so that searches one after another overlap in
 * the processor.
 */
static inline const uint64_t *sorted_step(const uint64_t *at, size_t half, uint64_t key)
{
	return sorted_load(&at[half]) <= key ? at + half : at;
}

/* Of one cache line of keys. */
static inline const uint64_t *sorted_search_line(const uint64_t *at, uint64_t key)
{
	at = sorted_step(at, 4, key);
	at = sorted_step(at, 2, key);
	return sorted_step(at, 1, key);
}

/* The line whose first key is the last that is not above this one; the first, if none is. */
static inline size_t sorted_search_guide(const struct sorted_bucket *bucket, uint64_t key)
{
	/* As if the first key were there before it; it is never looked at. */
	size_t line = sorted_load(&bucket->guide[3]) <= key ? 4 : 0;

	line += sorted_load(&bucket->guide[line + 1]) <= key ? 2 : 0;
	return line + (sorted_load(&bucket->guide[line]) <= key);
}

/* The last slot with a key not above this one; the first, if there is none. */
static inline size_t sorted_search(const struct sorted_bucket *bucket, uint64_t key)
{
	size_t line = sorted_search_guide(bucket, key) * SORTED_LINE;

	__builtin_prefetch(&bucket->value[line]);
	return (size_t)(sorted_search_line(&bucket->key[line], key) - bucket->key);
}

static inline size_t sorted_search_top(const struct sorted_top *top, uint64_t key)
{
	const uint64_t *at = top->guide;
	size_t half;

	for (half = top->room / SORTED_LINE / 2; half >= SORTED_LINE; half /= 2)
		at = sorted_step(at, half, key);
	at = sorted_search_line(at, key);
	at = &top->first[(size_t)(at - top->guide) * SORTED_LINE];
	return (size_t)(sorted_search_line(at, key) - top->first);
}

/* The slot behind the last pair whose key is not above this one; no more than start: none is. */
static inline size_t sorted_behind(const struct sorted_bucket *bucket, uint64_t key)
{
	size_t last = sorted_search(bucket, key);
	size_t slot = last + (sorted_load(&bucket->key[last]) <= key);
	size_t end = sorted_load(&bucket->end);

	/* What is behind the last one compares as a key of UINT64_MAX. */
	return slot < end ? slot : end;
}

/* The value of the last pair whose key is not above this one, or 0. It finds none for UINT64_MAX.
 */
static inline uint64_t sorted_floor(const struct sorted *list, uint64_t key)
{
	const struct sorted_top *top = sorted_load(&list->top);
	const struct sorted_bucket *bucket;

	if (!top || key == UINT64_MAX)
		return 0;
	/* Before the first one is a slot with a bucket of zeros. */
	bucket = sorted_load(&top->bucket[sorted_search_top(top, key)]);
	return sorted_load(&bucket->value[sorted_search(bucket, key)]);
}

/* The last bucket before this one in which a pair may have at least this weight, or SORTED_NONE. */
size_t sorted_heavy_before(const struct sorted_top *top, size_t bucket, uint64_t weight);

#endif
