/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finding free IOVAs against a naive search: the lowest that the ranges, the alignment and the
 * mappings leave; and which ranges hold a run.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "index.h"

#define PAGE UINT64_C(4096)
#define TOP  UINT64_MAX

static void put(struct index *index, uint64_t iova, uint64_t len)
{
	struct mapping *mapping = calloc(1, sizeof(*mapping));

	assert_non_null(mapping);
	mapping->iova = mapping->vaddr = iova;
	mapping->len = len;
	assert_int_equal(index_add(index, mapping), 0);
}

static void clear(struct index *index)
{
	while (index->count) {
		struct mapping *mapping = index->by_iova[0];

		index_remove(index, mapping);
		free(mapping);
	}
	index_free(index);
}

static void valid_runs_lie_in_one_range(void **state)
{
	const struct pn_iova_range ranges[] = {{0, 0xffff}, {0x10000, 0x1ffff}, {TOP - 0xfff, TOP}};

	(void)state;
	assert_true(iova_valid(ranges, 3, 0, 0x10000));
	assert_true(iova_valid(ranges, 3, 0xffff, 1));
	assert_false(iova_valid(ranges, 1, 0, 0x10001));
	assert_false(iova_valid(ranges, 3, 0x20000, 1));
	assert_false(iova_valid(ranges, 3, 0x1ffff, 2));
	assert_true(iova_valid(ranges, 3, TOP - 0xfff, 0x1000));
	assert_false(iova_valid(ranges, 3, TOP - 0xfff, 0x1001));
	assert_false(iova_valid(ranges, 3, TOP, 2));
	assert_false(iova_valid(ranges, 3, 0x8000, TOP));
	assert_false(iova_valid(ranges, 0, 0, 1));
	assert_true(iova_valid(&(struct pn_iova_range){0, TOP}, 1, 1, TOP));
}

static void edges(void **state)
{
	const struct pn_iova_range top = {TOP - 4 * PAGE + 1, TOP}, all = {0, TOP},
				   one = {PAGE, 2 * PAGE - 1}, odd = {PAGE + 1, 3 * PAGE};
	struct index index = {0};
	uint64_t iova = 77;

	(void)state;
	assert_int_equal(iova_find(&index, &top, 1, 4 * PAGE, PAGE, &iova), 0);
	assert_true(iova == TOP - 4 * PAGE + 1);
	assert_int_equal(iova_find(&index, &top, 1, 5 * PAGE, PAGE, &iova), -ENOSPC);
	assert_int_equal(iova_find(&index, &top, 1, PAGE, PN_PAGE_1G, &iova), -ENOSPC);
	assert_int_equal(iova_find(&index, &all, 1, PAGE, PAGE, &iova), 0);
	assert_int_equal(iova, 0);
	assert_int_equal(iova_find(&index, &one, 1, PAGE, PAGE, &iova), 0);
	assert_int_equal(iova, PAGE);
	assert_int_equal(iova_find(&index, &one, 1, 2 * PAGE, PAGE, &iova), -ENOSPC);
	assert_int_equal(iova_find(&index, &odd, 1, PAGE, PAGE, &iova), 0);
	assert_int_equal(iova, 2 * PAGE);
	assert_int_equal(iova_find(&index, &odd, 1, 2 * PAGE, PAGE, &iova), -ENOSPC);
	assert_int_equal(iova_find(&index, NULL, 0, PAGE, PAGE, &iova), -ENOSPC);
	put(&index, TOP - PAGE + 1, PAGE);
	assert_int_equal(iova_find(&index, &top, 1, 3 * PAGE, PAGE, &iova), 0);
	assert_true(iova == TOP - 4 * PAGE + 1);
	assert_int_equal(iova_find(&index, &top, 1, 4 * PAGE, PAGE, &iova), -ENOSPC);
	put(&index, TOP - 4 * PAGE + 1, 3 * PAGE);
	assert_int_equal(iova_find(&index, &top, 1, PAGE, PAGE, &iova), -ENOSPC);
	put(&index, 0, PAGE);
	assert_int_equal(iova_find(&index, &all, 1, PAGE, PN_PAGE_2M, &iova), 0);
	assert_int_equal(iova, PN_PAGE_2M);
	clear(&index);
}

static uint64_t next(void)
{
	static uint64_t seed = 0xdeadbeefcafe;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed >> 11;
}

/* Pages that are free, one char a page. */
#define SPACE 256u

static int naive(const char *free_pages, uint64_t pages, uint64_t align, uint64_t *iova)
{
	for (uint64_t at = 0; at + pages <= SPACE; at += align) {
		uint64_t run = 0;

		while (run < pages && free_pages[at + run])
			run++;
		if (run == pages) {
			*iova = at * PAGE;
			return 0;
		}
	}
	return -ENOSPC;
}

static void random_spaces(void **state)
{
	(void)state;
	for (int round = 0; round < 20000; round++) {
		struct index index = {0};
		struct pn_iova_range ranges[4];
		unsigned int count = 0;
		char free_pages[SPACE] = {0};
		uint64_t at = next() % 8, pages, align, found = 1, want = 2;
		int result, expected;

		while (count < 4 && at < SPACE - 1) {
			uint64_t len = 1 + next() % (SPACE - at) / (1 + next() % 4);

			ranges[count++] = (struct pn_iova_range){at * PAGE, (at + len) * PAGE - 1};
			for (uint64_t i = 0; i < len; i++)
				free_pages[at + i] = 1;
			at += len + 1 + next() % 32;
		}
		for (at = next() % 16; at < SPACE - 8; at += next() % 32) {
			uint64_t len = 1 + next() % 8;

			put(&index, at * PAGE, len * PAGE);
			for (uint64_t i = 0; i < len; i++)
				free_pages[at + i] = 0;
			at += len;
		}
		pages = 1 + next() % (next() % 2 ? 4 : 64);
		align = UINT64_C(1) << next() % 5;
		expected = naive(free_pages, pages, align, &want);
		result = iova_find(&index, ranges, count, pages * PAGE, align * PAGE, &found);
		assert_int_equal(result, expected);
		if (!result)
			assert_int_equal(found, want);
		clear(&index);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(valid_runs_lie_in_one_range),
		cmocka_unit_test(edges),
		cmocka_unit_test(random_spaces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
