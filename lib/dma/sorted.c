/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sorted list: an array of buckets by their first keys, in each an array of pairs. A bucket
 * that is full gives to a neighbour before a new one is opened; one that is nearly empty joins one.
 */
#include "sorted_priv.h"

#define FULL SORTED_BUCKET
/* A full bucket gives to a neighbour that has no more than this. */
#define LENDS_TO 48u
/* A bucket of so few joins a neighbour of so few. */
#define FEW   16u
#define JOINS 32u

/*
 * Between buckets
 */

/* The last n of a bucket to the front of the next one. */
static void move_right(struct sorted *list, size_t at, uint32_t n)
{
	struct sorted_bucket *from = list->top->bucket[at], *to = list->top->bucket[at + 1];
	uint32_t slot = sorted_open_gap(to, to->start, n), i;

	for (i = from->end - n; i < from->end; i++)
		sorted_put(to, slot++, from->key[i], from->value[i]);
	sorted_close_gap(from, from->end - n, n);
	sorted_renew(list, at);
	sorted_renew(list, at + 1);
}

/* The first n of a bucket to the end of the one before. */
static void move_left(struct sorted *list, size_t at, uint32_t n)
{
	struct sorted_bucket *from = list->top->bucket[at], *to = list->top->bucket[at - 1];
	uint32_t slot = sorted_open_gap(to, to->end, n), i;

	for (i = from->start; i < from->start + n; i++)
		sorted_put(to, slot++, from->key[i], from->value[i]);
	sorted_close_gap(from, from->start, n);
	sorted_renew(list, at - 1);
	if (from->start < from->end)
		sorted_renew(list, at);
}

/*
 * No bucket to open, and the neighbours are full or nearly: every bucket up to one with room hands
 * one pair on. There is such a bucket, or the caller has not reserved.
 */
static struct sorted_at pass_on(struct sorted *list, struct sorted_at at)
{
	size_t last = at.bucket, first = at.bucket;

	while (last < list->top->end && sorted_count_of(list, last) == FULL)
		last++;
	if (last < list->top->end) {
		if (at.slot == FULL)
			at = (struct sorted_at){at.bucket + 1, 0};
		for (; last > at.bucket; last--)
			move_right(list, last - 1, 1);
		return at;
	}
	while (sorted_count_of(list, first) == FULL)
		first--;
	for (; first < at.bucket; first++)
		move_left(list, first + 1, 1);
	return at;
}

/* Where a pair goes whose place is in a full bucket. */
static struct sorted_at make_place(struct sorted *list, struct sorted_at at)
{
	size_t bucket = at.bucket;
	bool left = bucket > list->top->start, right = bucket + 1 < list->top->end;
	uint32_t n, slot;

	/* At an end no pair is moved: a run in ascending order leaves full buckets behind. */
	if (at.slot == FULL && right && sorted_count_of(list, bucket + 1) < FULL)
		return (struct sorted_at){bucket + 1, list->top->bucket[bucket + 1]->start};
	if ((at.slot == FULL || at.slot == 0) && list->spare) {
		slot = FULL - at.slot;
		return (struct sorted_at){
			sorted_open_bucket(list, bucket + (slot == 0), slot), slot};
	}
	if (left && sorted_count_of(list, bucket - 1) <= LENDS_TO) {
		n = (FULL - sorted_count_of(list, bucket - 1)) / 2;
		move_left(list, bucket, n);
		if (at.slot > n)
			return at;
		slot = list->top->bucket[bucket - 1]->end - n;
		return (struct sorted_at){bucket - 1, slot + at.slot};
	}
	if (right && sorted_count_of(list, bucket + 1) <= LENDS_TO) {
		n = (FULL - sorted_count_of(list, bucket + 1)) / 2;
	} else if (list->spare) {
		n = FULL / 2;
		bucket = sorted_open_bucket(list, bucket + 1, FULL / 4) - 1;
	} else {
		return pass_on(list, at);
	}
	move_right(list, bucket, n);
	if (at.slot <= FULL - n)
		return (struct sorted_at){bucket, at.slot};
	slot = list->top->bucket[bucket + 1]->start;
	return (struct sorted_at){bucket + 1, slot + at.slot - (FULL - n)};
}

static void join_neighbour(struct sorted *list, size_t at)
{
	if (at + 1 < list->top->end && sorted_count_of(list, at + 1) <= JOINS)
		at++;
	else if (at == list->top->start || sorted_count_of(list, at - 1) > JOINS)
		return;
	move_left(list, at, sorted_count_of(list, at));
	sorted_close_bucket(list, at);
}

/*
 * Pairs
 */

/* Is the first pair of a bucket above (key, value)? */
static bool starts_above(const struct sorted_top *top, size_t at, uint64_t key, uint64_t value)
{
	const struct sorted_bucket *bucket = top->bucket[at];

	return top->first[at] > key ||
	       (top->first[at] == key && bucket->value[bucket->start] > value);
}

/* The last bucket that starts at or before a pair, or the first. There is one. */
static size_t bucket_of(const struct sorted_top *top, uint64_t key, uint64_t value)
{
	size_t low = sorted_search_top(top, key), high, middle;

	if (low < top->start)
		return top->start;
	if (low >= top->end)
		low = top->end - 1;
	if (!starts_above(top, low, key, value))
		return low;
	/* Pairs with one key may fill many buckets. */
	for (high = low + 1, low = top->start; low < high;) {
		middle = low + (high - low) / 2;
		if (starts_above(top, middle, key, value))
			high = middle;
		else
			low = middle + 1;
	}
	return low > top->start ? low - 1 : low;
}

/* Does a pair belong into the bucket of the last search? */
static bool is_near(const struct sorted *list, uint64_t key, uint64_t value)
{
	const struct sorted_top *top = list->top;
	const uint64_t *first = &top->first[list->near.bucket];

	/* The slots behind the last bucket hold UINT64_MAX. */
	return first[0] <= key && key < first[1] && list->near.bucket >= top->start &&
	       (first[0] < key || !starts_above(top, list->near.bucket, key, value));
}

/*
 * Runs go on at the place behind the last one, which is never the first slot of all. Other pairs
 * with the same key are for the search.
 */
static bool goes_on(const struct sorted_bucket *bucket, uint32_t slot, uint64_t key, uint64_t value)
{
	if (slot < bucket->start || slot > bucket->end || bucket->key[slot - 1] >= key)
		return false;
	return slot == bucket->end || bucket->key[slot] > key ||
	       (bucket->key[slot] == key && bucket->value[slot] == value);
}

/* In the last bucket that starts before it; there it may be behind all others. */
struct sorted_at sorted_place(struct sorted *list, uint64_t key, uint64_t value)
{
	const struct sorted_top *top = list->top;
	const struct sorted_bucket *bucket;
	uint32_t slot;

	if (!list->count)
		return (struct sorted_at){top ? top->end : 0, 0};
	if (is_near(list, key, value)) {
		bucket = top->bucket[list->near.bucket];
		if (goes_on(bucket, list->near.slot + 1, key, value)) {
			list->near.slot++;
			return list->near;
		}
	} else {
		list->near.bucket = bucket_of(top, key, value);
		bucket = top->bucket[list->near.bucket];
	}
	slot = (uint32_t)sorted_behind(bucket, key);
	/* Pairs with this key that are not below the value; and none is, in the first bucket. */
	while (slot > bucket->start && bucket->key[slot - 1] == key &&
		bucket->value[slot - 1] >= value)
		slot--;
	list->near.slot = slot > bucket->start ? slot : bucket->start;
	return list->near;
}

/* Put a pair at an end with room; or false. */
static bool add_at_end(
	struct sorted_bucket *bucket, struct sorted_at at, uint64_t key, uint64_t value)
{
	if (at.slot == bucket->end && at.slot < FULL) {
		sorted_put(bucket, at.slot, key, value);
		sorted_store(&bucket->end, at.slot + 1);
		return true;
	}
	return false;
}

void sorted_add(struct sorted *list, struct sorted_at at, uint64_t key, uint64_t value)
{
	struct sorted_bucket *bucket;

	if (!list->count)
		at = (struct sorted_at){
			sorted_open_bucket(list, list->top->end, FULL / 2), FULL / 2};
	else if (sorted_count_of(list, at.bucket) == FULL)
		at = make_place(list, at);
	bucket = list->top->bucket[at.bucket];
	if (!add_at_end(bucket, at, key, value)) {
		at.slot = sorted_open_gap(bucket, at.slot, 1);
		sorted_put(bucket, at.slot, key, value);
	}
	list->near = at;
	list->count++;
	sorted_raise(list, at.bucket, key, value);
	if (at.slot == bucket->start)
		sorted_put_first(list, at.bucket, key);
}

/* After the last pair of a bucket, or many, went. */
static void tidy(struct sorted *list, size_t at)
{
	if (!sorted_count_of(list, at))
		sorted_close_bucket(list, at);
	else
		join_neighbour(list, at);
}

void sorted_remove(struct sorted *list, struct sorted_at at)
{
	struct sorted_top *top = list->top;
	struct sorted_bucket *bucket = top->bucket[at.bucket];
	bool heaviest =
		sorted_reaches_over(list, at.bucket) &&
		top->weight[at.bucket] == list->weigh(bucket->key[at.slot], bucket->value[at.slot]);

	if (at.slot == bucket->start) {
		sorted_store(&bucket->start, at.slot + 1);
		sorted_put_key(bucket, at.slot, 0);
	} else {
		sorted_close_gap(bucket, at.slot, 1);
	}
	list->count--;
	if (bucket->start < bucket->end)
		sorted_put_top(top, at.bucket, bucket->key[bucket->start]);
	if (heaviest)
		sorted_tighten(list, at.bucket, sorted_highest(list, bucket));
	if (bucket->end - bucket->start <= FEW)
		tidy(list, at.bucket);
}

void sorted_set(struct sorted *list, struct sorted_at at, uint64_t key, uint64_t value)
{
	struct sorted_bucket *bucket = list->top->bucket[at.bucket];

	sorted_put(bucket, at.slot, key, value);
	sorted_raise(list, at.bucket, key, value);
	if (at.slot == bucket->start)
		sorted_put_first(list, at.bucket, key);
}

struct sorted_at sorted_find(struct sorted *list, uint64_t key, uint64_t value)
{
	struct sorted_at at = sorted_place(list, key, value);

	if (sorted_is(list, at) && at.slot == list->top->bucket[at.bucket]->end)
		return sorted_front(list, at.bucket + 1);
	return at;
}

struct sorted_at sorted_first(const struct sorted *list)
{
	return list->top ? sorted_front(list, list->top->start) : (struct sorted_at){0, 0};
}

struct sorted_at sorted_last(const struct sorted *list)
{
	return sorted_prev(list, (struct sorted_at){list->top ? list->top->end : 0, 0});
}

struct sorted_at sorted_next(const struct sorted *list, struct sorted_at at)
{
	if (at.slot + 1 < list->top->bucket[at.bucket]->end)
		return (struct sorted_at){at.bucket, at.slot + 1};
	return sorted_front(list, at.bucket + 1);
}

struct sorted_at sorted_prev(const struct sorted *list, struct sorted_at at)
{
	const struct sorted_top *top = list->top;

	if (!top)
		return (struct sorted_at){SORTED_NONE, 0};
	if (at.slot > top->bucket[at.bucket]->start)
		return (struct sorted_at){at.bucket, at.slot - 1};
	if (at.bucket <= top->start)
		return (struct sorted_at){SORTED_NONE, 0};
	return (struct sorted_at){at.bucket - 1, top->bucket[at.bucket - 1]->end - 1};
}
