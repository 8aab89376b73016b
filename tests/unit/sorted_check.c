/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The order of a sorted list, looked at from outside, and the tools of the random tests.
 */
#include <inttypes.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "sorted_check.h"

uint64_t test_operation;
static uint64_t seed, state;
static unsigned int allocations, failing;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);

/* Any thread allocates; who says which fails is alone meanwhile. */
static bool allocation_fails(void)
{
	return __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED) == failing ||
	       failing == ALL_FAIL;
}

void *__wrap_malloc(size_t size)
{
	return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return allocation_fails() ? NULL : __real_aligned_alloc(align, size);
}

void allocations_fail(unsigned int number)
{
	allocations = 0;
	failing = number;
}

unsigned int allocations_made(void)
{
	return allocations;
}

uint64_t test_seed(void)
{
	const char *text = getenv("PINION_TEST_SEED");

	seed = text ? strtoull(text, NULL, 0) : 1;
	state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	test_operation = 0;
	return seed;
}

uint64_t test_random(void)
{
	uint64_t mixed = state += UINT64_C(0x9e3779b97f4a7c15);

	mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
	return mixed ^ (mixed >> 31);
}

uint64_t test_below(uint64_t limit)
{
	return test_random() % limit;
}

unsigned int test_scale(unsigned int full)
{
	const char *text = getenv("PN_TEST_SCALE");
	double factor = text ? atof(text) : 1;

	return factor > 0 ? (unsigned int)(full * factor) + 1 : full;
}

void test_failed(const char *file, int line, const char *condition)
{
	fail_msg("%s:%d: %s, at operation %" PRIu64 " with PINION_TEST_SEED=%" PRIu64, file, line,
		condition, test_operation, seed);
}

/* Its weight, exactly. */
static uint64_t check_bucket(const struct sorted *list, size_t at)
{
	const struct sorted_bucket *bucket = list->top->bucket[at];
	uint64_t heaviest = 0, weight;

	test_check(bucket->start < bucket->end && bucket->end <= SORTED_BUCKET);
	test_check(list->top->first[at] == bucket->key[bucket->start]);
	for (uint32_t i = SORTED_LINE; i < SORTED_BUCKET; i += SORTED_LINE)
		test_check(bucket->guide[i / SORTED_LINE - 1] == bucket->key[i]);
	for (uint32_t i = 0; i < SORTED_BUCKET; i++) {
		if (i < bucket->start || i >= bucket->end) {
			test_check(bucket->key[i] == (i < bucket->start ? 0 : UINT64_MAX));
			continue;
		}
		if (i > bucket->start)
			test_check(bucket->key[i - 1] < bucket->key[i] ||
				   (bucket->key[i - 1] == bucket->key[i] &&
					   bucket->value[i - 1] < bucket->value[i]));
		weight = list->weigh ? list->weigh(bucket->key[i], bucket->value[i]) : 0;
		heaviest = weight > heaviest ? weight : heaviest;
	}
	return heaviest;
}

/* The weight that the list keeps of a bucket. */
static void check_weight(const struct sorted *list, size_t at, uint64_t heaviest)
{
	const struct sorted_top *top = list->top;

	test_check(top->weight[at] >= heaviest);
	if (list->reach && at + 1 < top->end && top->weight[at] >= top->first[at + 1])
		test_check(top->weight[at] == heaviest);
}

static void check_neighbours(const struct sorted_bucket *left, const struct sorted_bucket *right)
{
	uint32_t last = left->end - 1, first = right->start;

	test_check(
		left->key[last] < right->key[first] ||
		(left->key[last] == right->key[first] && left->value[last] < right->value[first]));
}

static void check_free_slot(const struct sorted *list, size_t at)
{
	const struct sorted_top *top = list->top;

	test_check(top->first[at] == (at < top->start ? 0 : UINT64_MAX));
	test_check(top->bucket[at] && top->bucket[at]->start == 0 && top->bucket[at]->end == 0);
	test_check(!list->weigh || top->weight[at] == 0);
}

void sorted_check(const struct sorted *list)
{
	const struct sorted_top *top = list->top;
	const struct sorted_bucket *spare;
	size_t count = 0, buckets = 0, i;
	uint64_t peak = 0, weight;

	if (!top) {
		test_check(!list->count && !list->buckets && !list->spare);
		return;
	}
	test_check(list->buckets + 2 <= top->room);
	test_check(top->start > 0 && top->start <= top->end && top->end < top->room);
	for (i = 0; i < top->room; i += SORTED_LINE)
		test_check(top->guide[i / SORTED_LINE] == top->first[i]);
	for (i = 0; i < top->room; i++) {
		if (i < top->start || i >= top->end) {
			check_free_slot(list, i);
		} else {
			weight = check_bucket(list, i);
			if (list->weigh)
				check_weight(list, i, weight);
			count += top->bucket[i]->end - top->bucket[i]->start;
			buckets++;
		}
		if (i > top->start && i < top->end)
			check_neighbours(top->bucket[i - 1], top->bucket[i]);
		if (!list->weigh)
			continue;
		peak = i % SORTED_BUCKET == 0 || top->weight[i] > peak ? top->weight[i] : peak;
		if ((i + 1) % SORTED_BUCKET == 0)
			test_check(top->peak[i / SORTED_BUCKET] == peak);
	}
	test_check(count == list->count);
	for (spare = list->spare; spare;
		spare = (const struct sorted_bucket *)(uintptr_t)spare->key[0])
		buckets++;
	test_check(buckets == list->buckets);
}
