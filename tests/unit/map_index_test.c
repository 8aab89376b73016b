/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mapping index against a naive array: order, look-ups both ways, runs over neighbours, virtual
 * addresses that overlap, both ends of the numbers, and when memory is out.
 */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "map_index.h"
#include "sorted_check.h"

#define PAGE UINT64_C(4096)

static struct map_index map_index;

static int setup(void **state)
{
	(void)state;
	map_index_init(&map_index);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	allocations_fail(0);
	map_index_free(&map_index);
	return 0;
}

static struct mapping *put(uint64_t iova, uint64_t vaddr, uint64_t len)
{
	struct mapping *mapping = map_index_new(&map_index);

	assert_non_null(mapping);
	mapping_place(mapping, iova, vaddr, len);
	assert_int_equal(map_index_add(&map_index, mapping), 0);
	return mapping;
}

static void take(struct mapping *mapping)
{
	map_index_remove(&map_index, mapping);
	map_index_drop(&map_index, mapping);
}

static void check_index(void)
{
	const struct mapping *mapping;
	uint64_t bytes = 0;
	size_t count = 0;

	sorted_check(&map_index.by_iova);
	sorted_check(&map_index.by_vaddr);
	test_check(map_index.by_iova.count == map_index.by_vaddr.count);
	mapping = map_index_first(&map_index);
	for (; mapping; mapping = map_index_next(&map_index, mapping)) {
		bytes += mapping->len;
		count++;
	}
	test_check(count == map_index_count(&map_index));
	test_check(bytes == map_index.bytes);
	test_check(!(map_index.changes & 1));
}

#define assert_iova(vaddr, len, want)                                                 \
	do {                                                                          \
		uint64_t found_ = 77;                                                 \
		assert_int_equal(map_index_iova(&map_index, vaddr, len, &found_), 0); \
		assert_true(found_ == (want));                                        \
	} while (0)

#define assert_vaddr(iova, len, want)                                                 \
	do {                                                                          \
		uint64_t found_ = 77;                                                 \
		assert_int_equal(map_index_vaddr(&map_index, iova, len, &found_), 0); \
		assert_true(found_ == (want));                                        \
	} while (0)

#define assert_no_iova(vaddr, len)                                                          \
	do {                                                                                \
		uint64_t found_ = 77;                                                       \
		assert_int_equal(map_index_iova(&map_index, vaddr, len, &found_), -ENOENT); \
		assert_int_equal(found_, 77);                                               \
	} while (0)

#define assert_no_vaddr(iova, len)                                                          \
	do {                                                                                \
		uint64_t found_ = 77;                                                       \
		assert_int_equal(map_index_vaddr(&map_index, iova, len, &found_), -ENOENT); \
		assert_int_equal(found_, 77);                                               \
	} while (0)

static void records_are_small(void **state)
{
	(void)state;
	assert_true(sizeof(struct mapping) <= 56);
}

static void nothing_is_found_in_nothing(void **state)
{
	(void)state;
	for (int round = 0; round < 2; round++) {
		assert_no_iova(0, 1);
		assert_no_iova(UINT64_MAX, 1);
		assert_no_vaddr(0, 1);
		assert_no_vaddr(UINT64_MAX, 1);
		assert_null(map_index_first(&map_index));
		assert_null(map_index_last(&map_index));
		assert_null(map_index_at_or_after(&map_index, 0));
		check_index();
		/* Nor in an index that has become empty. */
		take(put(PAGE, PAGE, PAGE));
	}
}

static void both_ends_of_the_numbers(void **state)
{
	const uint64_t top = UINT64_MAX - PAGE + 1;
	struct mapping *low = put(0, top, PAGE), *high = put(top, 0, PAGE);

	(void)state;
	assert_vaddr(0, 1, top);
	assert_vaddr(PAGE - 1, 1, UINT64_MAX);
	assert_vaddr(top, PAGE, 0);
	assert_vaddr(UINT64_MAX, 1, PAGE - 1);
	assert_iova(0, PAGE, top);
	assert_iova(UINT64_MAX, 1, PAGE - 1);
	assert_no_iova(PAGE, 1);
	assert_no_vaddr(PAGE, 1);
	/* No run goes on over the end of the numbers, on either side. */
	assert_no_iova(0, PAGE + 1);
	assert_no_vaddr(0, PAGE + 1);
	assert_no_iova(UINT64_MAX, 2);
	assert_no_vaddr(UINT64_MAX, 2);
	assert_no_iova(UINT64_MAX, UINT64_MAX);
	assert_no_vaddr(1, UINT64_MAX);
	assert_no_iova(0, 0);
	assert_no_vaddr(top, 0);
	assert_ptr_equal(map_index_at_or_after(&map_index, PAGE - 1), low);
	assert_ptr_equal(map_index_at_or_after(&map_index, PAGE), high);
	assert_ptr_equal(map_index_at_or_after(&map_index, UINT64_MAX), high);
	assert_ptr_equal(map_index_last(&map_index), high);
	assert_ptr_equal(map_index_prev(&map_index, high), low);
	assert_null(map_index_next(&map_index, high));
	assert_null(map_index_prev(&map_index, low));
	take(high);
	assert_no_vaddr(UINT64_MAX, 1);
	assert_null(map_index_at_or_after(&map_index, PAGE));
	check_index();
	take(low);
	put(PAGE, top, PAGE);
	put(2 * PAGE, 0, PAGE);
	assert_no_iova(top, PAGE + 1);
	assert_no_vaddr(PAGE, PAGE + 1);
}

static void one_mapping_of_everything(void **state)
{
	(void)state;
	put(0, 0, UINT64_MAX);
	assert_iova(0, UINT64_MAX, 0);
	assert_vaddr(UINT64_MAX - 1, 1, UINT64_MAX - 1);
	assert_no_iova(UINT64_MAX, 1);
	assert_no_iova(1, UINT64_MAX);
	assert_no_vaddr(UINT64_MAX, 1);
}

static void neighbours_are_one_run(void **state)
{
	struct mapping *hole = NULL;

	(void)state;
	for (uint64_t i = 0; i < 1000; i++) {
		struct mapping *mapping = put((10 + i) * PAGE, (5000 + i) * PAGE, PAGE);

		hole = i == 500 ? mapping : hole;
	}
	assert_iova(5000 * PAGE, 1000 * PAGE, 10 * PAGE);
	assert_vaddr(10 * PAGE + 5, 1000 * PAGE - 5, 5000 * PAGE + 5);
	assert_no_iova(5000 * PAGE, 1000 * PAGE + 1);
	assert_no_vaddr(10 * PAGE + 5, 1000 * PAGE - 4);
	assert_no_iova(5000 * PAGE, UINT64_MAX);
	take(hole);
	assert_iova(5000 * PAGE, 500 * PAGE, 10 * PAGE);
	assert_no_iova(5000 * PAGE, 500 * PAGE + 1);
	assert_no_vaddr(10 * PAGE, 500 * PAGE + 1);
	assert_vaddr(511 * PAGE, 499 * PAGE, 5501 * PAGE);
	/* Another page in the place: IOVAs go on there, virtual addresses do not; then the reverse.
	 */
	hole = put(510 * PAGE, 9000 * PAGE, PAGE);
	assert_no_vaddr(509 * PAGE, PAGE + 1);
	take(hole);
	hole = put(9000 * PAGE, 5500 * PAGE, PAGE);
	assert_no_iova(5499 * PAGE, PAGE + 1);
	take(hole);
	put(510 * PAGE, 5500 * PAGE, PAGE);
	assert_iova(5000 * PAGE, 1000 * PAGE, 10 * PAGE);
	/* Virtual addresses go on in the next mapping, IOVAs with a gap. */
	put(1011 * PAGE, 6000 * PAGE, PAGE);
	assert_no_iova(5999 * PAGE, PAGE + 1);
	assert_no_vaddr(1009 * PAGE, PAGE + 1);
}

/* The same memory several times: the one whose run is long enough answers. */
static void one_page_mapped_often(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 300; i++)
		put((2 + 2 * i) * PAGE, 7 * PAGE, PAGE);
	put(5000 * PAGE, 7 * PAGE, 2 * PAGE);
	put(6000 * PAGE, 6 * PAGE, 2 * PAGE);
	put(6002 * PAGE, 8 * PAGE, 5 * PAGE);
	for (uint64_t i = 0; i < 300; i++)
		put((8000 + 2 * i) * PAGE, 7 * PAGE, PAGE);
	assert_iova(7 * PAGE, 2 * PAGE, 5000 * PAGE);
	assert_iova(7 * PAGE, 3 * PAGE, 6001 * PAGE);
	assert_iova(7 * PAGE + 9, 6 * PAGE - 9, 6001 * PAGE + 9);
	assert_no_iova(7 * PAGE, 6 * PAGE + 1);
	check_index();
	while (map_index_count(&map_index))
		take(map_index_first(&map_index));
	check_index();
}

/* A large mapping below many small ones, which end before the address. */
static void found_behind_many_others(void **state)
{
	struct mapping *all = put(UINT64_C(1) << 40, PAGE, PAGE << 20);

	(void)state;
	for (uint64_t i = 1; i < 20000; i++)
		put(i * PAGE, (2 + 2 * i) * PAGE, PAGE);
	assert_iova((PAGE << 20) - PAGE, PAGE, (UINT64_C(1) << 40) + (PAGE << 20) - 2 * PAGE);
	assert_iova(40001 * PAGE, PAGE, (UINT64_C(1) << 40) + 40000 * PAGE);
	assert_iova(20000 * PAGE, 2 * PAGE, (UINT64_C(1) << 40) + 19999 * PAGE);
	assert_iova(20000 * PAGE, PAGE, 9999 * PAGE);
	take(all);
	assert_no_iova(40001 * PAGE, PAGE);
	assert_no_iova(20000 * PAGE, 2 * PAGE);
	assert_iova(20000 * PAGE, PAGE, 9999 * PAGE);
	check_index();
}

static void no_memory_changes_nothing(void **state)
{
	unsigned int refused = 0;
	uint64_t found;

	(void)state;
	for (unsigned int i = 0; i < 20000; i++) {
		uint64_t iova = (i * 7919 % 20011) * PAGE, vaddr = (i * 104729 % 20021) * PAGE;
		struct mapping *mapping;

		for (unsigned int fails = 1; fails; fails++) {
			allocations_fail(fails);
			mapping = map_index_new(&map_index);
			if (!mapping) {
				refused++;
				continue;
			}
			mapping_place(mapping, iova, vaddr, PAGE);
			if (!map_index_add(&map_index, mapping))
				break;
			refused++;
			assert_int_equal(map_index_count(&map_index), i);
			assert_int_equal(map_index.bytes, i * PAGE);
			assert_int_equal(map_index_vaddr(&map_index, iova, 1, &found), -ENOENT);
			assert_int_equal(map_index_iova(&map_index, vaddr, 1, &found), -ENOENT);
			map_index_drop(&map_index, mapping);
		}
		allocations_fail(0);
		assert_vaddr(iova, PAGE, vaddr);
		assert_iova(vaddr, PAGE, iova);
	}
	check_index();
	assert_true(refused > 100);
}

static void what_is_reserved_cannot_fail(void **state)
{
	uint64_t page = 0;

	(void)state;
	test_seed();
	for (test_operation = 0; test_operation < 200; test_operation++) {
		size_t n = test_below(700);
		unsigned int fails = (unsigned int)test_below(30);

		allocations_fail(fails);
		if (map_index_reserve(&map_index, n)) {
			test_check(fails && allocations_made() >= fails);
			allocations_fail(0);
			test_check(!map_index_reserve(&map_index, n));
		}
		allocations_fail(ALL_FAIL);
		for (; n; n--) {
			struct mapping *mapping = map_index_new(&map_index);

			test_check(mapping != NULL);
			page += test_below(2) + 1;
			mapping_place(mapping, page * PAGE, test_below(1 << 20) * PAGE, PAGE);
			test_check(!map_index_add(&map_index, mapping));
		}
		allocations_fail(0);
		check_index();
		for (n = test_below(600); n && map_index_count(&map_index); n--) {
			struct mapping *at =
				map_index_at_or_after(&map_index, test_below(page + 1) * PAGE);

			take(at ? at : map_index_first(&map_index));
		}
	}
	test_check(map_index_reserve(&map_index, SIZE_MAX) == -ENOMEM);
	check_index();
}

static void a_record_comes_back_clean(void **state)
{
	struct mapping *mapping = put(PAGE, PAGE, PAGE), *again;

	(void)state;
	mapping->region = (struct pn_region *)(void *)mapping;
	mapping->link = mapping;
	mapping->slot = 9;
	mapping->prot = mapping->counters = mapping->flags = 3;
	mapping->in_kernel = true;
	take(mapping);
	again = map_index_new(&map_index);
	assert_ptr_equal(again, mapping);
	assert_null(again->region);
	assert_null(again->link);
	assert_int_equal(again->slot + again->prot + again->counters + again->flags, 0);
	assert_false(again->in_kernel);
	map_index_drop(&map_index, again);
}

/* The naive one. */
#define MOST 400
static struct mapping *naive[MOST];
static size_t naive_count;

static bool naive_run(const struct mapping *mapping, uint64_t offset, uint64_t len)
{
	uint64_t done = mapping->len - offset;

	while (done < len) {
		const struct mapping *next = NULL;

		for (size_t i = 0; i < naive_count && !next; i++)
			if (naive[i]->iova == mapping->iova + mapping->len &&
				naive[i]->vaddr == mapping->vaddr + mapping->len)
				next = naive[i];
		if (!next || !next->iova || !next->vaddr)
			return false;
		mapping = next;
		done += mapping->len;
	}
	return true;
}

/* Of those that hold vaddr and go on, none starts later than the one that answered. */
static void check_iova(uint64_t vaddr, uint64_t len)
{
	uint64_t found = 0, latest = 0;
	bool any = false, among = false;
	int ret = map_index_iova(&map_index, vaddr, len, &found);

	for (size_t i = 0; i < naive_count; i++) {
		uint64_t offset = vaddr - naive[i]->vaddr;

		if (offset >= naive[i]->len || !naive_run(naive[i], offset, len))
			continue;
		if (!any || naive[i]->vaddr > latest)
			among = false;
		latest = !any || naive[i]->vaddr > latest ? naive[i]->vaddr : latest;
		any = true;
		if (naive[i]->vaddr == latest && naive[i]->iova + offset == found)
			among = true;
	}
	test_check(any ? !ret && among : ret == -ENOENT);
}

static void check_vaddr(uint64_t iova, uint64_t len)
{
	uint64_t found = 0;
	int ret = map_index_vaddr(&map_index, iova, len, &found);

	for (size_t i = 0; i < naive_count; i++) {
		uint64_t offset = iova - naive[i]->iova;

		if (offset >= naive[i]->len)
			continue;
		if (naive_run(naive[i], offset, len))
			test_check(!ret && found == naive[i]->vaddr + offset);
		else
			test_check(ret == -ENOENT);
		return;
	}
	test_check(ret == -ENOENT);
}

static void check_neighbours(uint64_t iova)
{
	struct mapping *found = map_index_at_or_after(&map_index, iova), *best = NULL;
	struct mapping *next = NULL, *prev = NULL, *last = NULL;

	for (size_t i = 0; i < naive_count; i++) {
		struct mapping *at = naive[i];

		if (mapping_iova_last(at) >= iova && (!best || at->iova < best->iova))
			best = at;
		last = !last || at->iova > last->iova ? at : last;
	}
	test_check(found == best);
	test_check(map_index_last(&map_index) == last);
	for (size_t i = 0; best && i < naive_count; i++) {
		struct mapping *at = naive[i];

		if (at->iova > best->iova && (!next || at->iova < next->iova))
			next = at;
		if (at->iova < best->iova && (!prev || at->iova > prev->iova))
			prev = at;
	}
	test_check(!best || map_index_next(&map_index, best) == next);
	test_check(!best || map_index_prev(&map_index, best) == prev);
}

static bool naive_free(uint64_t iova, uint64_t len)
{
	for (size_t i = 0; i < naive_count; i++)
		if (iova <= mapping_iova_last(naive[i]) && naive[i]->iova <= iova + (len - 1))
			return false;
	return true;
}

/* Often the continuation of one that is there, in both addresses or nearly so. */
static void add_one(uint64_t iova, uint64_t vaddr)
{
	uint64_t len = PAGE * (1 + test_below(test_below(16) ? 4 : 200));
	const struct mapping *before;

	if (naive_count && test_below(2)) {
		before = naive[test_below(naive_count)];
		iova = before->iova + before->len + (test_below(8) ? 0 : PAGE);
		vaddr = before->vaddr + before->len + (test_below(8) ? 0 : PAGE);
	}
	if (iova > UINT64_MAX - (len - 1) || vaddr > UINT64_MAX - (len - 1) ||
		!naive_free(iova, len))
		return;
	naive[naive_count++] = put(iova, vaddr, len);
}

static void remove_one(void)
{
	size_t at = test_below(naive_count);

	take(naive[at]);
	naive[at] = naive[--naive_count];
}

/* Addresses are dense, so that virtual addresses overlap much; from a base up. */
static void random_changes_and_look_ups(uint64_t base, unsigned int operations)
{
	const uint64_t pages = 1500;
	bool grow = true;

	naive_count = 0;
	for (; operations; operations--, test_operation++) {
		uint64_t iova = base + test_below(pages * PAGE);
		uint64_t vaddr = base + test_below(pages * PAGE);
		uint64_t len = test_below(4) ? 1 + test_below(2 * PAGE) : test_below(40 * PAGE);

		if (naive_count == MOST || !naive_count)
			grow = !naive_count;
		switch (test_below(8)) {
		case 0:
			if (naive_count < MOST && (grow || test_below(4) == 0))
				add_one(iova & -PAGE, vaddr & -PAGE);
			break;
		case 1:
			if (naive_count && (!grow || test_below(4) == 0))
				remove_one();
			break;
		case 2:
		case 3:
			check_vaddr(iova, len);
			break;
		case 4:
			check_neighbours(iova);
			break;
		default:
			check_iova(vaddr, len);
		}
		if (test_operation % 4096 == 0)
			check_index();
	}
	check_index();
}

static void random_at_the_bottom(void **state)
{
	(void)state;
	test_seed();
	random_changes_and_look_ups(0, test_scale(200000));
}

static void random_at_the_top(void **state)
{
	(void)state;
	test_seed();
	random_changes_and_look_ups(UINT64_MAX - 1500 * PAGE + 1, test_scale(200000));
}

/* As many as a program may have and more, in an order without order. */
static void a_million(void **state)
{
	const uint64_t count = test_scale(1000000), step = 786433;
	uint64_t found;

	(void)state;
	if (count <= step)
		skip();
	for (uint64_t i = 0; i < count; i++) {
		uint64_t at = i * step % count;

		put((1 + at) * PAGE, (count + 2 * at) * PAGE, PAGE);
	}
	check_index();
	for (uint64_t at = 0; at < count; at++) {
		assert_vaddr((1 + at) * PAGE, PAGE, (count + 2 * at) * PAGE);
		assert_iova((count + 2 * at) * PAGE, PAGE, (1 + at) * PAGE);
	}
	assert_no_vaddr((1 + count) * PAGE, 1);
	assert_no_iova((count + 1) * PAGE, 1);
	for (uint64_t i = 0; i < count; i++) {
		uint64_t at = i * step % count;

		if (at % 3)
			take(map_index_at_or_after(&map_index, (1 + at) * PAGE));
	}
	check_index();
	for (uint64_t at = 0; at < count; at++)
		assert_int_equal(map_index_vaddr(&map_index, (1 + at) * PAGE, 1, &found),
			at % 3 ? -ENOENT : 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(records_are_small),
		TEST(nothing_is_found_in_nothing),
		TEST(both_ends_of_the_numbers),
		TEST(one_mapping_of_everything),
		TEST(neighbours_are_one_run),
		TEST(one_page_mapped_often),
		TEST(found_behind_many_others),
		TEST(no_memory_changes_nothing),
		TEST(what_is_reserved_cannot_fail),
		TEST(a_record_comes_back_clean),
		TEST(random_at_the_bottom),
		TEST(random_at_the_top),
		TEST(a_million),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
