/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Free IOVAs: edges, ranges that change, when memory is out, and a bound on fragmentation.
 */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "iova_space_check.h"
#include "sorted_check.h"

#define PAGE UINT64_C(4096)
#define TOP  UINT64_MAX
#define GIB  (UINT64_C(1) << 30)

static struct iova_space space;

static int teardown(void **state)
{
	(void)state;
	allocations_fail(0);
	iova_space_free(&space);
	return 0;
}

static void start(const struct pn_iova_range *ranges, unsigned int count)
{
	iova_space_free(&space);
	assert_int_equal(iova_space_init(&space, ranges, count), 0);
}

static void assert_alloc(uint64_t len, uint64_t align, uint64_t want)
{
	uint64_t iova = 77;

	assert_int_equal(iova_space_alloc(&space, len, align, &iova), 0);
	assert_true(iova == want);
}

static void assert_no_alloc(uint64_t len, uint64_t align, int err)
{
	uint64_t iova = 77;

	assert_int_equal(iova_space_alloc(&space, len, align, &iova), err);
	assert_int_equal(iova, 77);
}

static void bad_ranges(void **state)
{
	const struct pn_iova_range turned[] = {{2, 1}}, unsorted[] = {{10, 20}, {0, 5}},
				   overlap[] = {{0, 10}, {10, 20}};

	(void)state;
	assert_int_equal(iova_space_init(&space, turned, 1), -EINVAL);
	assert_int_equal(iova_space_init(&space, unsorted, 2), -EINVAL);
	assert_int_equal(iova_space_init(&space, overlap, 2), -EINVAL);
	start(overlap, 1);
	assert_int_equal(iova_space_set_ranges(&space, overlap, 2), -EINVAL);
	assert_true(iova_space_free_bytes(&space) == 11);
	start(NULL, 0);
	assert_no_alloc(1, 1, -ENOSPC);
	assert_int_equal(iova_space_take(&space, 0, 1), -EINVAL);
	assert_true(iova_space_free_bytes(&space) == 0 && iova_space_largest(&space) == 0);
}

static void valid_runs_lie_in_one_range(void **state)
{
	const struct pn_iova_range ranges[] = {{0, 0xffff}, {0x10000, 0x1ffff}, {TOP - 0xfff, TOP}};

	(void)state;
	start(ranges, 3);
	assert_true(iova_space_valid(&space, 0, 0x10000));
	assert_true(iova_space_valid(&space, 0xffff, 1));
	assert_false(iova_space_valid(&space, 0xffff, 2));
	assert_false(iova_space_valid(&space, 0, 0x10001));
	assert_false(iova_space_valid(&space, 0x20000, 1));
	assert_false(iova_space_valid(&space, 0x1ffff, 2));
	assert_true(iova_space_valid(&space, TOP - 0xfff, 0x1000));
	assert_false(iova_space_valid(&space, TOP - 0xfff, 0x1001));
	assert_false(iova_space_valid(&space, TOP, 2));
	assert_false(iova_space_valid(&space, 0, 0));
	assert_false(iova_space_valid(&space, 0x8000, TOP));
	/* Neighbours in two ranges stay two runs. */
	assert_int_equal(iova_space_take(&space, 0x8000, 0x8000), 0);
	assert_int_equal(iova_space_take(&space, 0x10000, 0x8000), 0);
	assert_int_equal(iova_space_take(&space, 0x8000, 1), -EEXIST);
	assert_false(iova_space_is_free(&space, 0x7fff, 2));
	iova_space_give_back(&space, 0x8000, 0x8000);
	iova_space_give_back(&space, 0x10000, 0x8000);
	assert_int_equal(space.runs.count, 3);
	assert_no_alloc(0x10001, 1, -ENOSPC);
	assert_true(iova_space_is_free(&space, 0x7fff, 2));
	assert_true(iova_space_largest(&space) == 0x10000);
}

static void everything(void **state)
{
	const struct pn_iova_range all = {0, TOP};

	(void)state;
	start(&all, 1);
	assert_true(iova_space_free_bytes(&space) == TOP && iova_space_largest(&space) == TOP);
	assert_true(iova_space_valid(&space, 0, TOP) && iova_space_valid(&space, 1, TOP));
	assert_int_equal(iova_space_take(&space, 0, TOP), 0);
	assert_true(iova_space_free_bytes(&space) == 1 && iova_space_largest(&space) == 1);
	assert_int_equal(iova_space_take(&space, TOP, 1), 0);
	assert_true(iova_space_free_bytes(&space) == 0);
	assert_no_alloc(1, 1, -ENOSPC);
	iova_space_give_back(&space, TOP, 1);
	assert_alloc(1, 1, TOP);
	iova_space_give_back(&space, TOP, 1);
	iova_space_give_back(&space, 0, TOP);
	assert_true(iova_space_free_bytes(&space) == TOP);
	assert_int_equal(space.runs.count, 1);
	/* What is no range is left alone. */
	iova_space_give_back(&space, TOP, 2);
	iova_space_give_back(&space, 5, 0);
	assert_int_equal(space.runs.count, 1);
}

static void page_0_only_on_demand(void **state)
{
	const struct pn_iova_range low = {0, 4 * PAGE - 1}, odd = {1, PAGE - 1};

	(void)state;
	start(&low, 1);
	assert_alloc(1, 1, PAGE);
	assert_no_alloc(4 * PAGE, PAGE, -ENOSPC);
	assert_int_equal(iova_space_take(&space, 0, PAGE), 0);
	iova_space_give_back(&space, 0, PAGE);
	assert_alloc(PAGE, PAGE, 2 * PAGE);
	assert_no_alloc(PAGE, 4 * PAGE, -ENOSPC);
	start(&odd, 1);
	assert_no_alloc(1, 1, -ENOSPC);
	assert_int_equal(iova_space_take(&space, 1, PAGE - 1), 0);
}

static void alignment(void **state)
{
	const struct pn_iova_range top = {TOP - 4 * PAGE + 1, TOP}, odd = {PAGE + 1, 3 * PAGE},
				   high = {GIB + 1, 4 * GIB - 2}, last = {TOP - GIB + 1, TOP};

	(void)state;
	start(&top, 1);
	assert_no_alloc(PAGE, GIB, -ENOSPC);
	assert_no_alloc(5 * PAGE, PAGE, -ENOSPC);
	assert_no_alloc(0, PAGE, -EINVAL);
	assert_no_alloc(PAGE, 0, -EINVAL);
	assert_no_alloc(PAGE, 3 * PAGE, -EINVAL);
	assert_no_alloc(TOP, UINT64_C(1) << 63, -ENOSPC);
	assert_alloc(4 * PAGE, PAGE, TOP - 4 * PAGE + 1);
	start(&odd, 1);
	assert_no_alloc(2 * PAGE, PAGE, -ENOSPC);
	assert_alloc(PAGE, PAGE, 2 * PAGE);
	assert_alloc(1, PAGE, 3 * PAGE);
	start(&high, 1);
	/* A length that is no multiple of the alignment leaves the rest to others. */
	assert_alloc(GIB + PAGE, GIB, 2 * GIB);
	assert_no_alloc(GIB, GIB, -ENOSPC);
	assert_alloc(GIB / 2, GIB / 2, GIB + GIB / 2);
	assert_alloc(PAGE, PAGE, GIB + PAGE);
	assert_alloc(GIB / 2, GIB / 4, 3 * GIB + GIB / 4);
	start(&last, 1);
	assert_alloc(GIB, GIB, TOP - GIB + 1);
}

static void coalescing(void **state)
{
	const struct pn_iova_range range = {0, 100 * PAGE - 1};

	(void)state;
	start(&range, 1);
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(iova_space_take(&space, i * PAGE, PAGE), 0);
	for (uint64_t i = 0; i < 100; i += 2)
		iova_space_give_back(&space, i * PAGE, PAGE);
	assert_int_equal(space.runs.count, 50);
	assert_true(iova_space_largest(&space) == PAGE);
	/* With the one before, with the one behind, with both. */
	iova_space_give_back(&space, 99 * PAGE, PAGE);
	assert_int_equal(space.runs.count, 50);
	iova_space_give_back(&space, PAGE, PAGE);
	assert_int_equal(space.runs.count, 49);
	assert_true(iova_space_largest(&space) == 3 * PAGE);
	/* What is free already, in part or all of it, or lies outside, does no harm. */
	iova_space_give_back(&space, 50 * PAGE, 20 * PAGE);
	assert_true(iova_space_largest(&space) == 21 * PAGE);
	iova_space_give_back(&space, 50 * PAGE, PAGE);
	iova_space_give_back(&space, 200 * PAGE, PAGE);
	sorted_check(&space.runs);
	iova_space_give_back(&space, 0, 200 * PAGE);
	assert_int_equal(space.runs.count, 1);
	assert_true(iova_space_free_bytes(&space) == 100 * PAGE);
}

static void ranges_change(void **state)
{
	const struct pn_iova_range wide[] = {{0, 0xffff}, {0x20000, 0xfffff}},
				   narrow[] = {{0x1000, 0x2fff}, {0x30000, 0x3ffff}},
				   split[] = {{0, 0x1fff}, {0x2000, 0x37fff}, {0x38000, TOP}};

	(void)state;
	start(wide, 2);
	assert_int_equal(iova_space_take(&space, 0x1000, 0x1000), 0);
	assert_int_equal(iova_space_take(&space, 0x30000, 0x10000), 0);
	assert_int_equal(iova_space_take(&space, 0xff000, 0x1000), 0);
	assert_int_equal(iova_space_set_ranges(&space, narrow, 2), -EINVAL);
	assert_true(iova_space_free_bytes(&space) == 0xf0000 - 0x12000);
	iova_space_give_back(&space, 0xff000, 0x1000);
	assert_int_equal(iova_space_set_ranges(&space, narrow, 2), 0);
	assert_true(iova_space_free_bytes(&space) == 0x1000);
	assert_false(iova_space_valid(&space, 0, 1));
	assert_int_equal(iova_space_set_ranges(&space, NULL, 0), -EINVAL);
	/* A border through what is taken: given back, it is two runs. */
	assert_int_equal(iova_space_set_ranges(&space, split, 3), 0);
	assert_int_equal(iova_space_take(&space, 0x38000, 1), -EEXIST);
	assert_int_equal(space.runs.count, 3);
	assert_true(iova_space_free_bytes(&space) == TOP - 0x11000 + 1);
	iova_space_give_back(&space, 0x30000, 0x10000);
	iova_space_give_back(&space, 0x1000, 0x1000);
	assert_int_equal(space.runs.count, 3);
	assert_true(iova_space_free_bytes(&space) == TOP);
	assert_int_equal(space.pieces, 0);
	assert_int_equal(iova_space_set_ranges(&space, wide, 2), 0);
	assert_int_equal(iova_space_set_ranges(&space, NULL, 0), 0);
	assert_no_alloc(PAGE, PAGE, -ENOSPC);
}

static const struct pn_iova_range vtd[] = {{0, 0xfedfffff}, {0xfef00000, (UINT64_C(1) << 48) - 1}};

/* Pieces of one page with none free between them, or with one, as memory runs out now and then. */
static void fill(uint64_t pieces, bool gaps)
{
	for (uint64_t i = 0; i < pieces; i++) {
		uint64_t iova = GIB * 8 + i * PAGE * (gaps ? 2 : 1);
		size_t runs = space.runs.count;

		for (unsigned int fails = 1;; fails++) {
			int ret;

			allocations_fail(fails);
			ret = iova_space_take(&space, iova, PAGE);
			allocations_fail(0);
			if (!ret)
				break;
			assert_int_equal(ret, -ENOMEM);
			assert_true(iova_space_is_free(&space, iova, PAGE));
			assert_int_equal(space.runs.count, runs);
			assert_int_equal(space.pieces, i);
		}
	}
	sorted_check(&space.runs);
}

static void giving_back_needs_no_memory(void **state)
{
	const uint64_t pieces = 20000;

	(void)state;
	for (unsigned int round = 0; round < 6; round++) {
		bool gaps = round % 2;

		start(vtd, 2);
		fill(pieces, gaps);
		allocations_fail(ALL_FAIL);
		/* Every second, then the others; or without order; or from the end. */
		for (uint64_t i = 0; i < pieces; i++) {
			uint64_t at = round / 2 == 0   ? i * 2 % pieces + i * 2 / pieces
				      : round / 2 == 1 ? i * 7919 % pieces
						       : pieces - 1 - i;

			iova_space_give_back(&space, GIB * 8 + at * PAGE * (gaps ? 2 : 1), PAGE);
		}
		assert_int_equal(space.pieces, 0);
		assert_int_equal(space.runs.count, 2);
		assert_true(iova_space_free_bytes(&space) == (UINT64_C(1) << 48) - 0x100000);
		sorted_check(&space.runs);
		allocations_fail(0);
	}
}

/*
 * Borders come to lie in pieces, which then make two runs when they are given back: of each five
 * pages of a range the first and the last belong to such pieces.
 */
static void borders_need_no_memory(void **state)
{
	static struct pn_iova_range borders[600];
	const struct pn_iova_range whole = {GIB, GIB + 3000 * PAGE - 1};

	(void)state;
	start(&whole, 1);
	for (uint64_t i = 0; i < 3000; i += 5) {
		for (uint64_t page = i + 1; page < i + 4; page++)
			assert_int_equal(iova_space_take(&space, GIB + page * PAGE, PAGE), 0);
		if (i < 2995)
			assert_int_equal(
				iova_space_take(&space, GIB + (i + 4) * PAGE, 2 * PAGE), 0);
		borders[i / 5] = (struct pn_iova_range){GIB + i * PAGE, GIB + (i + 5) * PAGE - 1};
	}
	assert_int_equal(iova_space_set_ranges(&space, borders, 600), 0);
	assert_int_equal(space.runs.count, 2);
	allocations_fail(ALL_FAIL);
	for (uint64_t i = 0; i < 3000; i += 5) {
		if (i < 2995)
			iova_space_give_back(&space, GIB + (i + 4) * PAGE, 2 * PAGE);
		iova_space_give_back(&space, GIB + (i + 2) * PAGE, PAGE);
	}
	assert_int_equal(space.runs.count, 1800);
	for (uint64_t i = 0; i < 3000; i += 5) {
		iova_space_give_back(&space, GIB + (i + 1) * PAGE, PAGE);
		iova_space_give_back(&space, GIB + (i + 3) * PAGE, PAGE);
	}
	assert_int_equal(space.runs.count, 600);
	assert_int_equal(space.pieces, 0);
	assert_true(iova_space_free_bytes(&space) == 3000 * PAGE);
	sorted_check(&space.runs);
}

static void each_allocation_of_new_ranges(void **state)
{
	const struct pn_iova_range other[] = {{PAGE, 4 * GIB - 1}, {4 * GIB, 900 * GIB}};
	unsigned int refused = 0;
	bool hit = true;

	(void)state;
	start(vtd, 2);
	fill(5000, true);
	for (unsigned int fails = 1; hit; fails++) {
		uint64_t bytes = iova_space_free_bytes(&space);
		int ret;

		allocations_fail(fails);
		ret = iova_space_set_ranges(&space, other, 2);
		hit = allocations_made() >= fails;
		allocations_fail(0);
		sorted_check(&space.runs);
		assert_int_equal(space.pieces, 5000);
		assert_int_equal(space.runs.count, 2 + 5000);
		assert_true(iova_space_valid(&space, 0, PAGE) == (ret != 0));
		if (ret) {
			assert_int_equal(ret, -ENOMEM);
			assert_true(iova_space_free_bytes(&space) == bytes);
			refused++;
		} else {
			assert_int_equal(iova_space_set_ranges(&space, vtd, 2), 0);
		}
	}
	/* The others were for more room than it takes. */
	assert_true(refused >= 3);
	allocations_fail(ALL_FAIL);
	assert_int_equal(iova_space_set_ranges(&space, other, 2), -ENOMEM);
	for (uint64_t i = 0; i < 5000; i++)
		iova_space_give_back(&space, GIB * 8 + i * PAGE * 2, PAGE);
	assert_int_equal(space.runs.count, 2);
}

static void each_allocation_of_init(void **state)
{
	bool hit = true;

	(void)state;
	for (unsigned int fails = 1; hit; fails++) {
		int ret;

		allocations_fail(fails);
		ret = iova_space_init(&space, vtd, 2);
		hit = allocations_made() >= fails;
		allocations_fail(0);
		assert_true(ret ? ret == -ENOMEM && hit : space.runs.count == 2);
		iova_space_free(&space);
	}
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(bad_ranges),
		TEST(valid_runs_lie_in_one_range),
		TEST(everything),
		TEST(page_0_only_on_demand),
		TEST(alignment),
		TEST(coalescing),
		TEST(ranges_change),
		TEST(giving_back_needs_no_memory),
		TEST(borders_need_no_memory),
		TEST(each_allocation_of_new_ranges),
		TEST(each_allocation_of_init),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
