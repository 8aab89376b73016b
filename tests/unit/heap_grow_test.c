/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Heaps of several regions: added, removed, grown from a source and given back to it, by node; red
 * zones; every allocation of the books failing in turn; and how full a heap can be after millions
 * of random operations.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "failing_alloc.h"
#include "heap_priv.h"

#define SIZE (UINT64_C(1) << 20)
#define IOVA UINT64_C(0x123400000000)

/* A source that makes regions, until it has made enough or is told to fail. */
static struct source {
	unsigned int made, alive, most;
	int grow_error, shrink_error;
	unsigned int closed;
} source;

static struct pn_region *new_region(uint64_t size, const char *name)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region *region;

	opts.page_size = PN_PAGE_4K;
	opts.name = name;
	return pn_region_create(&region, size, &opts) ? NULL : region;
}

static int grow(void *arg, uint64_t bytes, struct pn_region **region, uint64_t *iova)
{
	struct source *from = arg;

	if (from->grow_error)
		return pn_fail(-from->grow_error, "the source is told to fail");
	if (from->alive == from->most)
		return pn_fail(ENOMEM, "the source has no more");
	*region = new_region(bytes > SIZE ? pn_align_up(bytes, SIZE) : SIZE, "grown");
	if (!*region)
		return -ENOMEM;
	*iova = IOVA + from->made++ * (UINT64_C(1) << 30);
	from->alive++;
	return 0;
}

static int shrink(void *arg, struct pn_region *region, uint64_t iova)
{
	struct source *from = arg;

	assert_true(iova >= IOVA);
	if (from->shrink_error)
		return pn_fail(-from->shrink_error, "the source takes nothing back");
	from->alive--;
	return pn_region_destroy(region);
}

static void close_source(void *arg)
{
	((struct source *)arg)->closed++;
}

static struct pn_heap *grown_heap(bool check)
{
	struct pn_heap_source functions = {grow, shrink, close_source, &source};
	struct pn_heap_opts opts = {.check = check, .source = &functions};
	struct pn_heap *heap;

	source = (struct source){.most = 8};
	assert_int_equal(pn_heap_create_with(&heap, NULL, 0, &opts), 0);
	return heap;
}

static void grows_and_gives_back(void **state)
{
	struct pn_heap *heap = grown_heap(false);
	struct pn_heap_stats stats;
	char *blocks[8];
	uint64_t iova, largest;

	(void)state;
	assert_int_equal(source.alive, 0);
	assert_int_equal(pn_heap_available(heap, &largest), 0);
	for (int i = 0; i < 8; i++) {
		blocks[i] = pn_heap_alloc(heap, SIZE - 4096, 4096, &iova);
		assert_non_null(blocks[i]);
		assert_int_equal(iova & 4095, 0);
	}
	assert_int_equal(source.alive, 8);
	assert_null(pn_heap_alloc(heap, SIZE, 64, NULL));
	assert_non_null(strstr(pn_error(), "the heap cannot grow"));
	assert_non_null(strstr(pn_error(), "no more"));
	assert_int_equal(pn_heap_free(heap, blocks[3]), 0);
	assert_int_equal(pn_heap_free(heap, blocks[5]), 0);
	assert_int_equal(pn_heap_trim(heap), 2);
	assert_int_equal(source.alive, 6);
	/* What is gone has no blocks. */
	assert_int_equal(pn_heap_free(heap, blocks[3]), -EINVAL);
	assert_int_equal(pn_heap_destroy(heap), -EBUSY);
	pn_heap_get_stats(heap, &stats);
	assert_int_equal(stats.regions, 6);
	assert_int_equal(stats.grown, 8);
	assert_int_equal(stats.shrunk, 2);
	assert_int_equal(stats.failures, 1);
	assert_int_equal(stats.used, 6 * (SIZE - 4096));
	for (int i = 0; i < 8; i++) {
		if (i != 3 && i != 5)
			assert_int_equal(pn_heap_free(heap, blocks[i]), 0);
	}
	assert_int_equal(pn_heap_destroy(heap), 0);
	assert_int_equal(source.alive, 0);
	assert_int_equal(source.closed, 1);
}

static void one_block_may_need_more_than_a_step(void **state)
{
	struct pn_heap *heap = grown_heap(false);
	char *block = pn_heap_alloc(heap, 5 * SIZE + 1, SIZE, NULL);

	(void)state;
	assert_non_null(block);
	assert_int_equal((uintptr_t)block % SIZE, 0);
	assert_int_equal(source.alive, 1);
	memset(block, 1, 5 * SIZE + 1);
	assert_int_equal(pn_heap_free(heap, block), 0);
	assert_int_equal(pn_heap_destroy(heap), 0);
}

static void a_source_that_fails_changes_nothing(void **state)
{
	struct pn_heap *heap = grown_heap(false);
	struct pn_heap_stats stats;
	char *block;

	(void)state;
	source.grow_error = -EPERM;
	assert_null(pn_heap_alloc(heap, 64, 64, NULL));
	assert_non_null(strstr(pn_error(), "told to fail"));
	source.grow_error = 0;
	block = pn_heap_alloc(heap, 64, 64, NULL);
	assert_non_null(block);
	assert_int_equal(pn_heap_free(heap, block), 0);
	source.shrink_error = -EIO;
	assert_int_equal(pn_heap_trim(heap), -EIO);
	assert_int_equal(pn_heap_destroy(heap), -EIO);
	/* It still has its memory. */
	block = pn_heap_alloc(heap, SIZE, 64, NULL);
	assert_non_null(block);
	assert_int_equal(source.made, 1);
	pn_heap_get_stats(heap, &stats);
	assert_int_equal(stats.regions, 1);
	assert_int_equal(pn_heap_free(heap, block), 0);
	source.shrink_error = 0;
	assert_int_equal(pn_heap_destroy(heap), 0);
}

static void *take_and_give(void *arg)
{
	struct pn_heap *heap = arg;
	intptr_t wrong = 0;

	for (int round = 0; round < 50; round++) {
		char *blocks[4];

		for (int i = 0; i < 4; i++)
			blocks[i] = pn_heap_alloc(heap, SIZE / 2, 64, NULL);
		for (int i = 0; i < 4; i++)
			wrong += pn_heap_free(heap, blocks[i]) != 0;
		if (round % 8 == 0)
			wrong += pn_heap_trim(heap) < 0;
	}
	return (void *)wrong;
}

/* Four threads grow and trim one heap: never more than it needs, and nothing left over. */
static void threads_grow_one_heap(void **state)
{
	struct pn_heap *heap = grown_heap(false);
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, heap), 0);
	for (int i = 0; i < 4; i++) {
		void *wrong;

		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
	assert_true(source.alive <= 8);
	assert_int_equal(pn_heap_destroy(heap), 0);
	assert_int_equal(source.alive, 0);
}

static void regions_come_and_go(void **state)
{
	struct pn_region *first = new_region(SIZE, "first"), *second = new_region(SIZE, "second");
	struct pn_heap *heap;
	char *one, *two;
	uint64_t iova;

	(void)state;
	assert_int_equal(pn_heap_create(&heap, first, IOVA), 0);
	assert_int_equal(pn_heap_add(heap, first, IOVA), -EEXIST);
	assert_int_equal(pn_heap_remove(heap, second), -ENOENT);
	assert_int_equal(pn_heap_remove(heap, NULL), -ENOENT);
	assert_int_equal(pn_heap_add(heap, second, 2 * IOVA), 0);
	assert_int_equal(pn_region_destroy(second), -EBUSY);
	one = pn_heap_alloc(heap, SIZE, 64, &iova);
	assert_int_equal(iova, IOVA);
	two = pn_heap_alloc(heap, SIZE, 64, &iova);
	assert_int_equal(iova, 2 * IOVA);
	assert_int_equal(pn_heap_remove(heap, second), -EBUSY);
	assert_non_null(strstr(pn_error(), "1 blocks of region \"second\""));
	assert_null(pn_heap_alloc(heap, 64, 64, NULL));
	assert_non_null(strstr(pn_error(), "2 regions"));
	assert_int_equal(pn_heap_free(heap, two), 0);
	assert_int_equal(pn_heap_remove(heap, second), 0);
	assert_int_equal(pn_region_destroy(second), 0);
	assert_null(pn_heap_alloc(heap, 64, 64, NULL));
	assert_int_equal(pn_heap_free(heap, one), 0);
	assert_int_equal(pn_heap_destroy(heap), 0);
	assert_int_equal(pn_region_destroy(first), 0);
}

/* Nodes are made up, as most machines have one. */
static void blocks_come_from_the_node(void **state)
{
	struct pn_region *regions[3];
	struct pn_heap *heap;
	struct pn_heap_want want = PN_HEAP_WANT_INIT;
	uint64_t iova;
	void *block, *small[200];

	(void)state;
	for (int i = 0; i < 3; i++) {
		regions[i] = new_region(SIZE, "node");
		regions[i]->numa_node = i;
	}
	assert_int_equal(pn_heap_create(&heap, regions[0], IOVA), 0);
	assert_int_equal(pn_heap_add(heap, regions[1], 2 * IOVA), 0);
	assert_int_equal(pn_heap_add(heap, regions[2], 3 * IOVA), 0);
	want.bytes = SIZE;
	want.numa_node = 1;
	block = pn_heap_take(heap, &want, &iova);
	assert_int_equal(iova, 2 * IOVA);
	want.node_only = true;
	assert_null(pn_heap_take(heap, &want, &iova));
	assert_non_null(strstr(pn_error(), "on one NUMA node"));
	want.node_only = false;
	want.bytes = 64;
	/* No room on that node: from another. */
	assert_int_equal(pn_heap_free(heap, pn_heap_take(heap, &want, &iova)), 0);
	assert_int_equal(iova, IOVA);
	want.numa_node = 2;
	for (int i = 0; i < 200; i++) {
		small[i] = pn_heap_take(heap, &want, &iova);
		assert_true(iova >= 3 * IOVA && iova < 3 * IOVA + SIZE);
	}
	for (int i = 0; i < 200; i++)
		assert_int_equal(pn_heap_free(heap, small[i]), 0);
	assert_int_equal(pn_heap_free(heap, block), 0);
	assert_int_equal(pn_heap_destroy(heap), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pn_region_destroy(regions[i]), 0);
}

static void dirty_blocks_are_not_zeroed(void **state)
{
	struct pn_region *region = new_region(SIZE, "dirty");
	struct pn_heap_want want = PN_HEAP_WANT_INIT;
	struct pn_heap *heap;
	char *block;

	(void)state;
	assert_int_equal(pn_heap_create(&heap, region, IOVA), 0);
	block = pn_heap_alloc(heap, SIZE, 64, NULL);
	memset(block, 0x5c, SIZE);
	assert_int_equal(pn_heap_free(heap, block), 0);
	want.bytes = SIZE;
	want.dirty = true;
	block = pn_heap_take(heap, &want, NULL);
	assert_int_equal(block[0], 0x5c);
	assert_int_equal(block[SIZE - 1], 0x5c);
	assert_int_equal(pn_heap_free(heap, block), 0);
	assert_int_equal(pn_heap_destroy(heap), 0);
	assert_int_equal(pn_region_destroy(region), 0);
}

/* Many small ones: they are in slabs now, and every mistake is found as in a large one. */
static void small_blocks(void **state)
{
	struct pn_region *region = new_region(SIZE, "small");
	struct pn_heap *heap;
	struct pn_heap_stats stats;
	char *blocks[600];
	uint64_t largest;

	(void)state;
	assert_int_equal(pn_heap_create(&heap, region, IOVA), 0);
	for (unsigned int i = 0; i < 600; i++) {
		uint64_t bytes = 1 + i * 37 % 1000, align = UINT64_C(1) << i % 8, iova;

		blocks[i] = pn_heap_alloc(heap, bytes, align, &iova);
		assert_non_null(blocks[i]);
		assert_int_equal((uintptr_t)blocks[i] % align, 0);
		assert_int_equal(iova - IOVA, blocks[i] - (char *)region->vaddr);
		assert_int_equal(blocks[i][0] | blocks[i][bytes - 1], 0);
		memset(blocks[i], (int)i, bytes);
	}
	pn_heap_get_stats(heap, &stats);
	assert_int_equal(stats.blocks, 600);
	assert_int_equal(stats.used + stats.free + stats.free_small, SIZE);
	assert_true(stats.free_small > 0);
	assert_int_equal(pn_heap_free(heap, blocks[599] + 64), -EINVAL);
	assert_int_equal(pn_heap_free(heap, blocks[599] + 1), -EINVAL);
	assert_int_equal(pn_heap_remove(heap, region), -EBUSY);
	for (unsigned int i = 0; i < 600; i++) {
		assert_int_equal((unsigned char)blocks[i][0], i & 255);
		assert_int_equal(pn_heap_free(heap, blocks[i]), 0);
		assert_int_equal(pn_heap_free(heap, blocks[i]), -EINVAL);
	}
	assert_int_equal(pn_heap_available(heap, &largest), SIZE);
	assert_int_equal(largest, SIZE);
	assert_int_equal(pn_heap_destroy(heap), 0);
	assert_int_equal(pn_region_destroy(region), 0);
}

/* A block that takes all there is gets what slabs held without need. */
static void slabs_make_room(void **state)
{
	struct pn_region *region = new_region(SIZE, "slabs");
	struct pn_heap *heap;
	void *blocks[400], *whole;

	(void)state;
	assert_int_equal(pn_heap_create(&heap, region, IOVA), 0);
	for (int i = 0; i < 400; i++)
		blocks[i] = pn_heap_alloc(heap, 1500, 64, NULL);
	for (int i = 0; i < 400; i++)
		assert_int_equal(pn_heap_free(heap, blocks[i]), 0);
	whole = pn_heap_alloc(heap, SIZE, 64, NULL);
	assert_non_null(whole);
	assert_int_equal(pn_heap_free(heap, whole), 0);
	assert_int_equal(pn_heap_destroy(heap), 0);
	assert_int_equal(pn_region_destroy(region), 0);
}

static struct pn_heap *checking_heap(struct pn_region *region)
{
	struct pn_heap_opts opts = {.check = true};
	struct pn_heap *heap;

	assert_int_equal(pn_heap_create_with(&heap, region, IOVA, &opts), 0);
	return heap;
}

static uint64_t damage(struct pn_heap *heap)
{
	struct pn_heap_stats stats;

	pn_heap_get_stats(heap, &stats);
	return stats.damaged;
}

static void writes_beside_a_block_are_found(void **state)
{
	static const struct {
		uint64_t bytes, align;
		int64_t at; /* from the block's first byte */
		const char *text;
	} cases[] = {
		{100, 64, -1, "1 bytes before the block"},
		{100, 64, -64, "64 bytes before"},
		{100, 4096, -4096, "4096 bytes before"},
		{100, 64, 100, "0 bytes behind the end"},
		{100, 64, 127, "27 bytes behind"},
		{64, 64, 64, "0 bytes behind"},
		{64, 64, 127, "63 bytes behind"},
		{70000, 64, 70001, "1 bytes behind"},
	};
	struct pn_region *region = new_region(SIZE, "red");
	struct pn_heap *heap = checking_heap(region);

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
		char *block = pn_heap_alloc(heap, cases[i].bytes, cases[i].align, NULL);

		memset(block, 0xff, cases[i].bytes);
		assert_int_equal(pn_heap_check(heap), 0);
		block[cases[i].at] ^= 1;
		assert_int_equal(pn_heap_check(heap), -EUCLEAN);
		assert_int_equal(pn_heap_free(heap, block), -EUCLEAN);
		assert_non_null(strstr(pn_error(), cases[i].text));
		assert_int_equal(damage(heap), 2 * (i + 1));
		assert_int_equal(pn_heap_check(heap), 0);
		assert_int_equal(pn_heap_free(heap, block), -EINVAL);
	}
	assert_int_equal(pn_heap_available(heap, NULL), SIZE);
	assert_int_equal(pn_heap_destroy(heap), 0);
	assert_int_equal(pn_region_destroy(region), 0);
}

static void writes_to_free_memory_are_found(void **state)
{
	struct pn_region *region = new_region(SIZE, "red");
	struct pn_heap *heap = checking_heap(region);
	char *block = pn_heap_alloc(heap, 1000, 64, NULL), *again;

	(void)state;
	assert_int_equal(pn_heap_free(heap, block), 0);
	block[500] = 7;
	assert_int_equal(pn_heap_check(heap), -EUCLEAN);
	assert_non_null(strstr(pn_error(), "where no block is"));
	assert_int_equal(damage(heap), 1);
	/* The block that gets the place is none the worse for it. */
	again = pn_heap_alloc(heap, 1000, 64, NULL);
	assert_ptr_equal(again, block);
	assert_int_equal(damage(heap), 2);
	assert_int_equal(again[500], 0);
	assert_int_equal(pn_heap_free(heap, again), 0);
	assert_int_equal(pn_heap_check(heap), 0);
	assert_int_equal(pn_heap_destroy(heap), 0);
	assert_int_equal(pn_region_destroy(region), 0);
}

/* What is refused overwrites no block with the pattern of free memory. */
static void a_region_is_added_once(void **state)
{
	struct pn_region *region = new_region(PN_PAGE_2M, "once");
	struct pn_heap *heap = checking_heap(region);
	unsigned char *block = pn_heap_alloc(heap, 256, 64, NULL);

	(void)state;
	assert_non_null(block);
	memset(block, 0x11, 256);
	assert_int_equal(pn_heap_add(heap, region, 0), -EEXIST);
	for (unsigned int i = 0; i < 256; i++)
		assert_int_equal(block[i], 0x11);
	assert_int_equal(pn_heap_check(heap), 0);
	assert_int_equal(pn_heap_free(heap, block), 0);
	assert_int_equal(pn_heap_destroy(heap), 0);
	assert_int_equal(pn_region_destroy(region), 0);
}

static void others_do_not_check(void **state)
{
	struct pn_region *region = new_region(SIZE, "plain");
	struct pn_heap *heap;

	(void)state;
	assert_int_equal(pn_heap_create(&heap, region, IOVA), 0);
	assert_int_equal(pn_heap_check(heap), -EOPNOTSUPP);
	assert_int_equal(pn_heap_destroy(heap), 0);
	assert_int_equal(pn_region_destroy(region), 0);
}

/* Some of all that a heap does; the number of calls that failed for want of memory. */
static unsigned int use_it(struct pn_region *region, struct pn_region *more)
{
	struct pn_heap *heap;
	unsigned int failed = 0;
	void *blocks[100];

	if (pn_heap_create(&heap, region, IOVA))
		return 1;
	failed += pn_heap_add(heap, more, 2 * IOVA) != 0;
	for (int i = 0; i < 100; i++) {
		blocks[i] = pn_heap_alloc(heap, i < 80 ? 100 : 5000, i < 80 ? 64 : 4096, NULL);
		failed += !blocks[i];
	}
	for (int i = 0; i < 100; i++)
		assert_int_equal(pn_heap_free(heap, blocks[i]), 0);
	assert_int_equal(pn_heap_available(heap, NULL), heap->parts->next ? 2 * SIZE : SIZE);
	assert_int_equal(pn_heap_destroy(heap), 0);
	return failed;
}

static void every_allocation_may_fail(void **state)
{
	struct pn_region *region = new_region(SIZE, "one"), *more = new_region(SIZE, "two");
	unsigned int count;

	(void)state;
	allocations = 0;
	assert_int_equal(use_it(region, more), 0);
	count = allocations;
	assert_true(count > 30);
	for (unsigned int i = 1; i <= count; i++) {
		allocations = 0;
		failing_allocation = i;
		use_it(region, more);
		failing_allocation = 0;
		assert_int_equal(region->users, 0);
		assert_int_equal(more->users, 0);
	}
	assert_int_equal(pn_region_destroy(region), 0);
	assert_int_equal(pn_region_destroy(more), 0);
}

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed >> 11;
}

static unsigned int scale(unsigned int full)
{
	const char *text = getenv("PN_TEST_SCALE");
	double factor = text ? atof(text) : 1;

	return factor > 0 ? (unsigned int)(full * factor) + 1 : full;
}

#define LIVE_MAX 8192

struct live {
	char *at;
	uint64_t bytes;
};

/* As many short as long: each power of two from 64 bytes to 64 KiB is as likely. */
static uint64_t some_size(uint64_t *seed)
{
	uint64_t top = UINT64_C(64) << next(seed) % 11;

	return top / 2 + 1 + next(seed) % (top / 2);
}

/*
 * However long blocks of all sizes come and go, 64 KiB can be had as long as no more than four
 * fifths of the heap are in use: what is lost to fragments is bounded. PN_TEST_SCALE=20 makes it
 * ten million operations.
 */
static void fragments_are_bounded(void **state)
{
	const uint64_t size = UINT64_C(32) << 20, most = size / 5 * 4;
	struct pn_region *region = new_region(size, "fragments");
	struct live *live = calloc(LIVE_MAX, sizeof(*live));
	uint64_t seed = 0x243f6a8885a308d3, used = 0, largest;
	unsigned int count = 0, operations = scale(500000);
	struct pn_heap *heap;

	(void)state;
	assert_int_equal(pn_heap_create(&heap, region, IOVA), 0);
	for (unsigned int i = 0; i < operations; i++) {
		uint64_t bytes = some_size(&seed);
		bool full = count == LIVE_MAX || used + bytes > most;

		/* Near the bound, up and down in long waves. */
		if (!full && (!count || next(&seed) % 100 < (i / 20000 % 4 ? 60 : 35))) {
			struct live *block = &live[count];

			*block = (struct live){
				pn_heap_alloc(heap, bytes, UINT64_C(1) << next(&seed) % 9, NULL),
				pn_align_up(bytes, HEAP_ALIGN)};
			if (!block->at)
				fail_msg("operation %u: %s; %ju are in use", i, pn_error(),
					(uintmax_t)used);
			used += block->bytes;
			count++;
		} else {
			struct live *block = &live[next(&seed) % count];

			if (pn_heap_free(heap, block->at))
				fail_msg("operation %u: %s", i, pn_error());
			used -= block->bytes;
			*block = live[--count];
		}
	}
	while (count)
		assert_int_equal(pn_heap_free(heap, live[--count].at), 0);
	assert_int_equal(pn_heap_available(heap, &largest), size);
	assert_int_equal(largest, size);
	assert_int_equal(pn_heap_destroy(heap), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	free(live);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_and_gives_back),
		cmocka_unit_test(one_block_may_need_more_than_a_step),
		cmocka_unit_test(a_source_that_fails_changes_nothing),
		cmocka_unit_test(threads_grow_one_heap),
		cmocka_unit_test(regions_come_and_go),
		cmocka_unit_test(blocks_come_from_the_node),
		cmocka_unit_test(dirty_blocks_are_not_zeroed),
		cmocka_unit_test(small_blocks),
		cmocka_unit_test(slabs_make_room),
		cmocka_unit_test(writes_beside_a_block_are_found),
		cmocka_unit_test(writes_to_free_memory_are_found),
		cmocka_unit_test(a_region_is_added_once),
		cmocka_unit_test(others_do_not_check),
		cmocka_unit_test(every_allocation_may_fail),
		cmocka_unit_test(fragments_are_bounded),
	};

	return cmocka_run_group_tests_name("heap_grow", tests, NULL, NULL);
}
