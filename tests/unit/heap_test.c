/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The heap against a naive model: alignment, zeroed blocks, reuse, merging, what is refused, and
 * that no two blocks overlap, whatever the order and from several threads.
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

#include "base_priv.h"
#include "pn_mem.h"

#define SIZE (UINT64_C(4) << 20)
#define IOVA UINT64_C(0x123400000000)

static struct pn_region *region;
static struct pn_heap *heap;
static char *base;

static int setup(void **state)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region_info info;

	(void)state;
	opts.page_size = PN_PAGE_4K;
	if (pn_region_create(&region, SIZE, &opts) || pn_heap_create(&heap, region, IOVA))
		return -1;
	pn_region_get_info(region, &info);
	base = info.vaddr;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return pn_heap_destroy(heap) || pn_region_destroy(region);
}

static char *take(uint64_t bytes, uint64_t align)
{
	uint64_t iova = 0;
	char *block = pn_heap_alloc(heap, bytes, align, &iova);

	if (!block)
		return NULL;
	assert_true(block >= base && block + bytes <= base + SIZE);
	assert_int_equal(iova - IOVA, block - base);
	assert_int_equal((uintptr_t)block % (align ? align : 64), 0);
	assert_int_equal(iova % (align ? align : 64), 0);
	return block;
}

static void everything_is_there_at_first_and_again_at_last(void **state)
{
	uint64_t largest = 0;
	char *whole;

	(void)state;
	assert_int_equal(pn_heap_available(heap, &largest), SIZE);
	assert_int_equal(largest, SIZE);
	whole = take(SIZE, 4096);
	assert_ptr_equal(whole, base);
	assert_int_equal(pn_heap_available(heap, &largest), 0);
	assert_int_equal(largest, 0);
	assert_null(take(1, 1));
	assert_int_equal(pn_heap_free(heap, whole), 0);
	assert_int_equal(pn_heap_available(heap, NULL), SIZE);
}

static void alignments_are_kept(void **state)
{
	void *blocks[64];
	unsigned int count = 0;

	(void)state;
	for (uint64_t align = 1; align <= UINT64_C(1) << 20; align <<= 1) {
		blocks[count] = take(align == 1 ? 1 : 3, align);
		assert_non_null(blocks[count++]);
		blocks[count] = take(17, 0);
		assert_non_null(blocks[count++]);
	}
	while (count)
		assert_int_equal(pn_heap_free(heap, blocks[--count]), 0);
	assert_int_equal(pn_heap_available(heap, NULL), SIZE);
}

static void bad_requests_are_refused(void **state)
{
	static const struct {
		uint64_t bytes, align;
	} bad[] = {{0, 64}, {64, 3}, {64, 65}, {64, UINT64_MAX}, {SIZE + 1, 64}, {UINT64_MAX, 0},
		{UINT64_MAX, 64}, {UINT64_MAX - 62, 64}, {UINT64_MAX - SIZE, 1},
		{64, UINT64_C(1) << 63}, {UINT64_C(1) << 63, UINT64_C(1) << 63}};

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		pn_fail(EPROTO, "stale");
		assert_null(pn_heap_alloc(heap, bad[i].bytes, bad[i].align, NULL));
		assert_string_not_equal(pn_error(), "stale");
		assert_string_not_equal(pn_error(), "");
	}
	assert_int_equal(pn_heap_available(heap, NULL), SIZE);
}

static void exhaustion_is_told_with_numbers(void **state)
{
	char *first = take(SIZE / 4, 4096), *second = take(SIZE / 4, 4096), text[32];

	(void)state;
	assert_int_equal(pn_heap_free(heap, first), 0);
	assert_null(take(SIZE - 1, 64));
	snprintf(text, sizeof(text), "%ju", (uintmax_t)(SIZE / 4 * 3));
	assert_non_null(strstr(pn_error(), text));
	snprintf(text, sizeof(text), "%ju", (uintmax_t)(SIZE / 2));
	assert_non_null(strstr(pn_error(), text));
	assert_int_equal(pn_heap_free(heap, second), 0);
}

static void blocks_are_zeroed_again(void **state)
{
	(void)state;
	for (int round = 0; round < 50; round++) {
		size_t bytes = 1 + (size_t)round * 977;
		char *block = take(bytes, 64);

		for (size_t i = 0; i < bytes; i++)
			assert_int_equal(block[i], 0);
		memset(block, 0xa5, bytes);
		assert_int_equal(pn_heap_free(heap, block), 0);
	}
}

static void neighbours_merge_in_every_order(void **state)
{
	static const int orders[6][3] = {
		{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
	uint64_t largest;

	(void)state;
	for (int order = 0; order < 6; order++) {
		char *blocks[3];

		for (int i = 0; i < 3; i++)
			blocks[i] = take(SIZE / 4, 4096);
		for (int i = 0; i < 3; i++)
			assert_int_equal(pn_heap_free(heap, blocks[orders[order][i]]), 0);
		assert_int_equal(pn_heap_available(heap, &largest), SIZE);
		assert_int_equal(largest, SIZE);
	}
}

static void the_first_fit_is_reused(void **state)
{
	char *first = take(4096, 4096), *second = take(4096, 4096), *third = take(4096, 4096);

	(void)state;
	assert_int_equal(pn_heap_free(heap, first), 0);
	assert_int_equal(pn_heap_free(heap, third), 0);
	assert_ptr_equal(take(4096, 4096), first);
	assert_int_equal(pn_heap_free(heap, first), 0);
	assert_int_equal(pn_heap_free(heap, second), 0);
}

static void what_is_no_block_is_not_freed(void **state)
{
	char *block = take(4096, 4096), *hole = take(4096, 4096);
	char outside;
	void *bad[] = {base - 64, base + SIZE, block + 1, block + 64, block + 4095, &outside, hole,
		base + SIZE - 64};

	(void)state;
	assert_int_equal(pn_heap_free(heap, hole), 0);
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		pn_fail(EPROTO, "stale");
		assert_int_equal(pn_heap_free(heap, bad[i]), -EINVAL);
		assert_string_not_equal(pn_error(), "stale");
		assert_int_equal(pn_heap_available(heap, NULL), SIZE - 4096);
	}
	assert_int_equal(pn_heap_free(heap, NULL), 0);
	assert_int_equal(pn_heap_free(heap, block), 0);
	assert_int_equal(pn_heap_free(heap, block), -EINVAL);
	assert_int_equal(pn_heap_available(heap, NULL), SIZE);
}

static void use_is_counted(void **state)
{
	char *block = take(128, 64);

	(void)state;
	assert_int_equal(pn_heap_destroy(heap), -EBUSY);
	assert_non_null(strstr(pn_error(), "1 "));
	assert_non_null(strstr(pn_error(), "128"));
	assert_int_equal(pn_region_destroy(region), -EBUSY);
	memset(block, 1, 128);
	assert_int_equal(pn_heap_free(heap, block), 0);
	assert_int_equal(pn_region_destroy(region), -EBUSY);
}

struct block {
	unsigned char *at;
	uint64_t bytes;
	unsigned char fill;
};

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

/* Every byte of a block is its own: a fill that someone else wrote over shows at the free. */
static int random_operations(uint64_t seed, unsigned int operations)
{
	struct block blocks[200];
	size_t count = 0;
	int wrong = 0;

	for (unsigned int i = 0; i < operations; i++) {
		struct block *block = &blocks[count ? next(&seed) % count : 0];

		if (count < 200 && (!count || next(&seed) % 2)) {
			uint64_t align = UINT64_C(1) << next(&seed) % 13, iova = 0;

			block = &blocks[count];
			block->bytes = 1 + next(&seed) % (next(&seed) % 8 ? 600 : 60000);
			block->fill = (unsigned char)seed;
			block->at = pn_heap_alloc(heap, block->bytes, align, &iova);
			if (!block->at)
				continue;
			count++;
			wrong += (uintptr_t)block->at % align != 0;
			wrong += iova - IOVA != (uint64_t)(block->at - (unsigned char *)base);
			wrong += block->at + block->bytes > (unsigned char *)base + SIZE;
			wrong += block->at[0] || block->at[block->bytes - 1] ||
				 block->at[block->bytes / 2];
			memset(block->at, block->fill, block->bytes);
		} else {
			wrong += block->at[0] != block->fill ||
				 memcmp(block->at, block->at + 1, block->bytes - 1);
			wrong += pn_heap_free(heap, block->at) != 0;
			*block = blocks[--count];
		}
	}
	while (count)
		wrong += pn_heap_free(heap, blocks[--count].at) != 0;
	return wrong;
}

static void random_blocks_do_not_overlap(void **state)
{
	uint64_t largest;

	(void)state;
	assert_int_equal(random_operations(0x9e3779b97f4a7c15, scale(200000)), 0);
	assert_int_equal(pn_heap_available(heap, &largest), SIZE);
	assert_int_equal(largest, SIZE);
}

static void *work(void *arg)
{
	return (void *)(intptr_t)random_operations(*(uint64_t *)arg, scale(20000));
}

static void threads_do_not_share_blocks(void **state)
{
	uint64_t seeds[4] = {11, 222, 3333, 44444}, largest;
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, &seeds[i]), 0);
	for (int i = 0; i < 4; i++) {
		void *wrong;

		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
	assert_int_equal(pn_heap_available(heap, &largest), SIZE);
	assert_int_equal(largest, SIZE);
}

/* An IOVA that is less aligned than the address cannot give what is more aligned than itself. */
static void odd_iovas(void **state)
{
	struct pn_heap *odd;
	uint64_t iova;

	(void)state;
	assert_int_equal(pn_heap_create(&odd, region, IOVA + 4096), 0);
	for (uint64_t align = 4096; align <= 65536; align *= 2) {
		char *block = pn_heap_alloc(odd, 64, align, &iova);

		if (!block)
			continue;
		assert_int_equal((uintptr_t)block % align, 0);
		assert_int_equal(iova % align, 0);
		assert_int_equal(iova - IOVA - 4096, block - base);
		assert_int_equal(pn_heap_free(odd, block), 0);
	}
	assert_int_equal(pn_heap_destroy(odd), 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(everything_is_there_at_first_and_again_at_last),
		TEST(alignments_are_kept),
		TEST(bad_requests_are_refused),
		TEST(exhaustion_is_told_with_numbers),
		TEST(blocks_are_zeroed_again),
		TEST(neighbours_merge_in_every_order),
		TEST(the_first_fit_is_reused),
		TEST(what_is_no_block_is_not_freed),
		TEST(use_is_counted),
		TEST(random_blocks_do_not_overlap),
		TEST(threads_do_not_share_blocks),
		TEST(odd_iovas),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
