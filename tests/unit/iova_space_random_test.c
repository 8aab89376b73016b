/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Free IOVAs against a naive model, a million random operations over several sets of ranges; and
 * how much room fragments can cost at most. PINION_TEST_SEED gives other numbers, PN_TEST_SCALE
 * more or fewer.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "iova_space_check.h"
#include "sorted_check.h"

#define TOP UINT64_MAX
#define GIB (UINT64_C(1) << 30)

struct set {
	unsigned int count;
	struct pn_iova_range ranges[MODEL_RANGES];
	uint64_t unit;           /* smallest page */
	unsigned int longest;    /* lengths up to unit << this */
	unsigned int operations; /* of a million */
};

static struct iova_space space;
static struct model model;

static uint64_t some_len(const struct set *set)
{
	uint64_t len = set->unit << test_below(set->longest + 1);

	/* A power of two, about as much, or less than a page of the IOMMU. */
	switch (test_below(8)) {
	case 0:
		return 1 + test_below(len);
	case 1:
	case 2:
		return (1 + test_below(len / set->unit)) * set->unit;
	default:
		return len;
	}
}

/* An address at, or near, something: a piece, the end of a range, anything. */
static uint64_t some_address(const struct set *set)
{
	const struct pn_iova_range *range = &model.ranges[test_below(model.range_count)];
	const struct piece *piece;

	switch (test_below(8)) {
	case 0:
		return test_random();
	case 1:
		return range->last - test_below(4) * set->unit + 1;
	case 2:
		return range->first + test_below(4) * set->unit;
	case 3:
	case 4:
		return (range->first + test_random() % ((range->last - range->first) | 1)) &
		       -set->unit;
	default:
		if (!model.count)
			return range->first;
		piece = &model.pieces[test_below(model.count)];
		return test_below(2) ? piece->last + 1 + test_below(2) * set->unit
				     : piece->first - test_below(3) * set->unit;
	}
}

static void alloc_one(const struct set *set)
{
	uint64_t len = some_len(set), iova = 1, want = 1;
	uint64_t align = set->unit << test_below(set->longest + 1);
	int expected;

	align = test_below(3) ? set->unit : align;
	expected = model_alloc(&model, len, align, &want);
	test_check(iova_space_alloc(&space, len, align, &iova) == expected);
	test_check(iova == want);
	if (!expected)
		model_add(&model, iova, len);
}

static void take_one(const struct set *set)
{
	uint64_t iova = some_address(set), len = test_below(50) ? some_len(set) : test_random();
	int expected = model_take(&model, iova, len);

	test_check(iova_space_valid(&space, iova, len) == (expected != -EINVAL));
	test_check(iova_space_is_free(&space, iova, len) == !expected);
	test_check(iova_space_take(&space, iova, len) == expected);
	if (!expected)
		model_add(&model, iova, len);
}

static void give_back(size_t at)
{
	struct piece piece = model.pieces[at];

	iova_space_give_back(&space, piece.first, piece.last - piece.first + 1);
	model_remove(&model, at);
}

static void set_ranges(const struct pn_iova_range *ranges, unsigned int count)
{
	int expected = model_set_ranges(&model, ranges, count);

	test_check(iova_space_set_ranges(&space, ranges, count) == expected);
	if (expected)
		return;
	memcpy(model.ranges, ranges, count * sizeof(*ranges));
	model.range_count = count;
}

/* A border is set, moved or taken away; or all is as it was at first. */
static void change_ranges(const struct set *set)
{
	struct pn_iova_range ranges[MODEL_RANGES];
	unsigned int count = model.range_count, at = (unsigned int)test_below(count);
	uint64_t cut;

	memcpy(ranges, model.ranges, sizeof(ranges));
	cut = some_address(set);
	switch (test_below(4)) {
	case 0:
		if (count == MODEL_RANGES || cut <= ranges[at].first || cut > ranges[at].last)
			return;
		memmove(&ranges[at + 1], &ranges[at], (count - at) * sizeof(ranges[0]));
		count++;
		ranges[at].last = cut - 1;
		ranges[at + 1].first = test_below(2) ? cut : ranges[at + 1].last;
		break;
	case 1:
		if (cut < ranges[at].first || (at + 1 < count && cut >= ranges[at + 1].first))
			return;
		ranges[at].last = cut;
		break;
	case 2:
		memmove(&ranges[at], &ranges[at + 1], (count - at - 1) * sizeof(ranges[0]));
		count--;
		break;
	default:
		memcpy(ranges, set->ranges, sizeof(ranges));
		count = set->count;
	}
	if (count)
		set_ranges(ranges, count);
}

static void operate(const struct set *set, bool *grow)
{
	if (!model.count || model.count == MODEL_PIECES || test_below(20000) == 0)
		*grow = !model.count || (model.count < MODEL_PIECES && test_below(2));
	if (test_below(500) == 0) {
		change_ranges(set);
		return;
	}
	if (model.count < MODEL_PIECES && test_below(4) < (*grow ? 3 : 1)) {
		if (test_below(2))
			alloc_one(set);
		else
			take_one(set);
	} else if (model.count) {
		give_back(test_below(model.count));
	}
}

static void random_operations(void **state)
{
	const struct set *set = *state;
	uint64_t operations = test_scale(set->operations);
	bool grow = true;

	test_seed();
	memset(&model, 0, sizeof(model));
	memcpy(model.ranges, set->ranges, sizeof(model.ranges));
	model.range_count = set->count;
	test_check(!iova_space_init(&space, set->ranges, set->count));
	for (; test_operation < operations; test_operation++) {
		operate(set, &grow);
		if (test_operation % 1000 == 0)
			model_check(&model, &space);
	}
	model_check(&model, &space);
	while (model.count)
		give_back(test_below(model.count));
	model_check(&model, &space);
	set_ranges(set->ranges, set->count);
	model_check(&model, &space);
	test_check(space.runs.count == set->count);
	iova_space_free(&space);
}

/*
 * Pieces of a power of two, from 4 KiB to 1 GiB, aligned to their length, no more than LIVE bytes
 * at once: whatever the order, with the lowest free run for each they never need more than BOUND.
 *
 * Let A(k) be the highest address at which a piece of size k or a smaller one ever ended. When one
 * of size k + 1 is put behind A(k), every aligned block of its size below it is in use, and those
 * behind A(k) only by pieces as large or larger, so wholly. They are LIVE bytes at most with the
 * new one; so A(k + 1) is no more than A(k), rounded up to the block, and LIVE. The rounding is
 * less than 2 GiB for all sizes.
 */
#define SMALLEST 12u
#define LARGEST  30u
#define LIVE     (GIB * 2)
#define BASE     (GIB * 4)
#define BOUND    ((LARGEST - SMALLEST + 1) * LIVE + 2 * GIB)

struct block {
	uint64_t iova;
	unsigned int size;
};

static struct block *blocks;
static size_t block_count;
static uint64_t live, highest;

static void get_block(unsigned int size)
{
	uint64_t len = UINT64_C(1) << size, iova = 0;

	test_check(!iova_space_alloc(&space, len, len, &iova));
	test_check(iova % len == 0);
	highest = iova + len > highest ? iova + len : highest;
	blocks[block_count++] = (struct block){iova, size};
	live += len;
	test_operation++;
}

static void put_block(size_t at)
{
	struct block block = blocks[at];

	iova_space_give_back(&space, block.iova, UINT64_C(1) << block.size);
	live -= UINT64_C(1) << block.size;
	blocks[at] = blocks[--block_count];
	test_operation++;
}

static void fill(unsigned int size)
{
	while (live + (UINT64_C(1) << size) <= LIVE)
		get_block(size);
}

/* The worst that can be done by hand: of each block of twice the size, one piece stays. */
static void thin_out(unsigned int size)
{
	static unsigned char stays[(BASE + BOUND) >> (SMALLEST + 1)];
	size_t count = (BASE + BOUND) >> (size + 1), i = 0;
	uint64_t block;

	memset(stays, 0, count);
	while (i < block_count) {
		block = blocks[i].iova >> (size + 1);
		if (!stays[block]) {
			stays[block] = 1;
			i++;
		} else {
			put_block(i);
		}
	}
}

static void fragments_cost_no_more_than_the_bound(void **state)
{
	const struct pn_iova_range range = {BASE, BASE + BOUND - 1};
	unsigned int rounds = test_scale(300000);

	(void)state;
	test_seed();
	blocks = malloc((LIVE >> SMALLEST) * sizeof(*blocks));
	assert_non_null(blocks);
	block_count = 0;
	live = highest = 0;
	test_check(!iova_space_init(&space, &range, 1));
	for (unsigned int size = SMALLEST; size <= LARGEST; size++) {
		fill(size);
		thin_out(size);
	}
	sorted_check(&space.runs);
	for (; rounds; rounds--) {
		unsigned int size = SMALLEST + (unsigned int)test_below(LARGEST - SMALLEST + 1);

		while (block_count && live + (UINT64_C(1) << size) > LIVE)
			put_block(test_below(block_count));
		get_block(size);
	}
	sorted_check(&space.runs);
	test_check(highest <= BASE + BOUND);
	while (block_count)
		put_block(test_below(block_count));
	test_check(space.runs.count == 1 && iova_space_free_bytes(&space) == BOUND);
	iova_space_free(&space);
	free(blocks);
}

int main(void)
{
	static struct set vtd = {2, {{0, 0xfedfffff}, {0xfef00000, (UINT64_C(1) << 48) - 1}}, 4096,
				  18, 300000},
			  narrow = {1, {{0, (UINT64_C(1) << 28) - 1}}, 4096, 14, 250000},
			  large_pages = {3,
				  {{0, 0x7fffffff}, {0x80200000, 0xfeffffff},
					  {UINT64_C(1) << 32, (UINT64_C(1) << 34) - 1}},
				  65536, 14, 200000},
			  top = {2, {{1 << 20, 0xffffffff}, {TOP - 64 * GIB + 1, TOP}}, 4096, 18,
				  150000},
			  all = {1, {{0, TOP}}, 4096, 51, 50000},
			  bytes = {4, {{0, 4999}, {5000, 9999}, {12000, 12000}, {TOP - 3000, TOP}},
				  1, 9, 50000};
	const struct CMUnitTest tests[] = {
		{"VT-d", random_operations, NULL, NULL, &vtd},
		{"28 bits", random_operations, NULL, NULL, &narrow},
		{"pages of 64 KiB", random_operations, NULL, NULL, &large_pages},
		{"up to the last address", random_operations, NULL, NULL, &top},
		{"all addresses", random_operations, NULL, NULL, &all},
		{"single addresses", random_operations, NULL, NULL, &bytes},
		cmocka_unit_test(fragments_cost_no_more_than_the_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
