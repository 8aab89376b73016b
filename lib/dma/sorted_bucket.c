/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pairs of one bucket of a sorted list: gaps are opened and closed on the side where fewer
 * pairs have to move.
 */
#include "sorted_priv.h"

#define FULL SORTED_BUCKET

/* Move the pairs in [from, to) left or right by n slots. */
static void move_left_by(struct sorted_bucket *bucket, uint32_t from, uint32_t to, uint32_t n)
{
	for (; from < to; from++)
		sorted_put(bucket, from - n, bucket->key[from], bucket->value[from]);
}

static void move_right_by(struct sorted_bucket *bucket, uint32_t from, uint32_t to, uint32_t n)
{
	while (to-- > from)
		sorted_put(bucket, to + n, bucket->key[to], bucket->value[to]);
}

/*
 * The side with fewer pairs has no room: it gets half the room of the other, at the price of moving
 * all pairs, and the next ones find room where they come.
 */
static uint32_t centre_pairs(struct sorted_bucket *bucket, uint32_t slot, uint32_t n)
{
	uint32_t start = bucket->start, end = bucket->end, by, i;

	if (start == end)
		return slot;
	if (slot - start >= end - slot && end + n > FULL && start > n) {
		by = (start + n) / 2;
		move_left_by(bucket, start, end, by);
		for (i = end - by; i < end; i++)
			sorted_put_key(bucket, i, UINT64_MAX);
		by = -by;
	} else if (slot - start < end - slot && start < n && FULL - end > n) {
		by = (FULL - end + n) / 2;
		move_right_by(bucket, start, end, by);
		for (i = start; i < start + by; i++)
			sorted_put_key(bucket, i, 0);
	} else {
		return slot;
	}
	sorted_store(&bucket->start, start + by);
	sorted_store(&bucket->end, end + by);
	return slot + by;
}

/* Room for n pairs before the one in a slot, counted already; where it is. The caller fills it. */
uint32_t sorted_open_gap(struct sorted_bucket *bucket, uint32_t slot, uint32_t n)
{
	uint32_t start, end, left;

	slot = centre_pairs(bucket, slot, n);
	start = bucket->start;
	end = bucket->end;
	if (start >= n && (slot - start < end - slot || end + n > FULL))
		left = n;
	else if (end + n <= FULL)
		left = 0;
	else
		left = start;
	if (left) {
		move_left_by(bucket, start, slot, left);
		sorted_store(&bucket->start, start - left);
	}
	if (left < n) {
		move_right_by(bucket, slot, end, n - left);
		sorted_store(&bucket->end, end + (n - left));
	}
	return slot - left;
}

void sorted_close_gap(struct sorted_bucket *bucket, uint32_t slot, uint32_t n)
{
	uint32_t start = bucket->start, end = bucket->end, i;

	if (slot - start < end - slot - n) {
		sorted_store(&bucket->start, start + n);
		move_right_by(bucket, start, slot, n);
		for (i = start; i < start + n; i++)
			sorted_put_key(bucket, i, 0);
	} else {
		sorted_store(&bucket->end, end - n);
		move_left_by(bucket, slot + n, end, n);
		for (i = end - n; i < end; i++)
			sorted_put_key(bucket, i, UINT64_MAX);
	}
}

/* Make a spare bucket ready for pairs from a slot on. */
void sorted_clear(struct sorted_bucket *bucket, uint32_t start)
{
	uint32_t i;

	for (i = 0; i < FULL; i++)
		sorted_put_key(bucket, i, i < start ? 0 : UINT64_MAX);
	sorted_store(&bucket->start, start);
	sorted_store(&bucket->end, start);
}
