/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mapping index against a naive array: look-ups by IOVA and by virtual address, where ranges of
 * virtual addresses overlap, at both ends of the numbers, and when memory is out.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "index.h"

/* Wrapped: realloc, malloc, calloc. */
static bool no_memory;

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);

void *__wrap_realloc(void *old, size_t size)
{
	return no_memory ? NULL : __real_realloc(old, size);
}

static struct mapping *make(uint64_t iova, uint64_t vaddr, uint64_t len)
{
	struct mapping *mapping = calloc(1, sizeof(*mapping));

	assert_non_null(mapping);
	mapping->iova = iova;
	mapping->vaddr = vaddr;
	mapping->len = len;
	return mapping;
}

/* The index forgets its mappings when it is freed; here they go as well. */
static void clear(struct index *index)
{
	while (index->count) {
		struct mapping *mapping = index->by_iova[0];

		index_remove(index, mapping);
		free(mapping);
	}
	index_free(index);
}

static void an_empty_index_holds_nothing(void **state)
{
	struct index index = {0};

	(void)state;
	assert_null(index_by_iova(&index, 0));
	assert_null(index_by_iova(&index, UINT64_MAX));
	assert_null(index_by_vaddr(&index, 0));
	assert_null(index_by_vaddr(&index, UINT64_MAX));
	assert_int_equal(index_at_or_after(&index, 0), 0);
	clear(&index);
}

static void both_ends_of_the_numbers(void **state)
{
	struct index index = {0};
	struct mapping *low = make(0, 0, 4096);
	struct mapping *high = make(UINT64_MAX - 4095, UINT64_MAX - 4095, 4096);

	(void)state;
	assert_int_equal(index_add(&index, high), 0);
	assert_int_equal(index_add(&index, low), 0);
	assert_ptr_equal(index_by_iova(&index, 0), low);
	assert_ptr_equal(index_by_iova(&index, 4095), low);
	assert_null(index_by_iova(&index, 4096));
	assert_null(index_by_iova(&index, UINT64_MAX - 4096));
	assert_ptr_equal(index_by_iova(&index, UINT64_MAX - 4095), high);
	assert_ptr_equal(index_by_iova(&index, UINT64_MAX), high);
	assert_ptr_equal(index_by_vaddr(&index, 0), low);
	assert_null(index_by_vaddr(&index, 4096));
	assert_null(index_by_vaddr(&index, UINT64_MAX - 4096));
	assert_int_equal(index_at_or_after(&index, 4095), 0);
	assert_int_equal(index_at_or_after(&index, 4096), 1);
	assert_int_equal(index_at_or_after(&index, UINT64_MAX), 1);
	assert_int_equal(index.bytes, 8192);
	index_remove(&index, high);
	free(high);
	assert_null(index_by_iova(&index, UINT64_MAX));
	assert_null(index_by_vaddr(&index, UINT64_MAX));
	assert_int_equal(index_at_or_after(&index, 4096), 1);
	clear(&index);
}

static void the_last_virtual_address(void **state)
{
	struct index index = {0};
	struct mapping *high = make(0, UINT64_MAX - 4095, 4096), *found;

	(void)state;
	assert_int_equal(index_add(&index, high), 0);
	found = index_by_vaddr(&index, UINT64_MAX);
	clear(&index);
	assert_ptr_equal(found, high);
}

static void one_mapping_of_everything(void **state)
{
	struct index index = {0};
	struct mapping *all = make(0, 0, UINT64_MAX);

	(void)state;
	assert_int_equal(index_add(&index, all), 0);
	assert_ptr_equal(index_by_iova(&index, UINT64_MAX - 1), all);
	assert_ptr_equal(index_by_vaddr(&index, UINT64_MAX - 1), all);
	assert_null(index_by_iova(&index, UINT64_MAX));
	assert_null(index_by_vaddr(&index, UINT64_MAX));
	clear(&index);
}

static void no_memory_changes_nothing(void **state)
{
	struct index index = {0};
	struct mapping *kept[100] = {0}, *mapping;
	unsigned int refused = 0;

	(void)state;
	for (unsigned int i = 0; i < 100; i++) {
		mapping = make(i * 8192, (i * 37 % 100) * 4096, 4096);
		no_memory = true;
		if (index_add(&index, mapping)) {
			no_memory = false;
			refused++;
			assert_int_equal(index.count, i);
			assert_int_equal(index.bytes, i * 4096);
			assert_null(index_by_iova(&index, mapping->iova));
			assert_null(index_by_vaddr(&index, mapping->vaddr));
			assert_int_equal(index_add(&index, mapping), 0);
		}
		no_memory = false;
		kept[i] = mapping;
		for (unsigned int k = 0; k <= i; k++) {
			assert_ptr_equal(index_by_iova(&index, kept[k]->iova), kept[k]);
			assert_ptr_equal(index_by_vaddr(&index, kept[k]->vaddr), kept[k]);
		}
	}
	assert_int_not_equal(refused, 0);
	clear(&index);
}

/* The naive one. */
#define MAX 300
static struct mapping *naive[MAX];
static size_t naive_count;

static struct mapping *naive_iova(uint64_t iova)
{
	for (size_t i = 0; i < naive_count; i++)
		if (iova - naive[i]->iova < naive[i]->len)
			return naive[i];
	return NULL;
}

static bool naive_vaddr(uint64_t vaddr)
{
	for (size_t i = 0; i < naive_count; i++)
		if (vaddr - naive[i]->vaddr < naive[i]->len)
			return true;
	return false;
}

/* What index_at_or_after() finds: the lowest mapping whose last IOVA is not below. */
static struct mapping *naive_after(uint64_t iova)
{
	struct mapping *best = NULL;

	for (size_t i = 0; i < naive_count; i++)
		if (mapping_iova_last(naive[i]) >= iova && (!best || naive[i]->iova < best->iova))
			best = naive[i];
	return best;
}

static bool naive_free(uint64_t iova, uint64_t len)
{
	for (size_t i = 0; i < naive_count; i++)
		if (iova <= mapping_iova_last(naive[i]) && naive[i]->iova <= iova + (len - 1))
			return false;
	return true;
}

static uint64_t next(void)
{
	static uint64_t seed = 0x9e3779b97f4a7c15;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed >> 11;
}

static unsigned int scale(unsigned int full)
{
	const char *text = getenv("PN_TEST_SCALE");
	double factor = text ? atof(text) : 1;

	return factor > 0 ? (unsigned int)(full * factor) + 1 : full;
}

static void check_order(const struct index *index)
{
	uint64_t end = 0, bytes = 0;

	assert_int_equal(index->count, naive_count);
	for (size_t i = 0; i < index->count; i++) {
		const struct mapping *at = index->by_vaddr[i];

		bytes += at->len;
		end = at->vaddr + at->len > end ? at->vaddr + at->len : end;
		assert_true(!i || index->by_iova[i - 1]->iova < index->by_iova[i]->iova);
		assert_true(!i || index->by_vaddr[i - 1]->vaddr <= at->vaddr);
	}
	assert_int_equal(index->bytes, bytes);
}

static void random_changes_and_look_ups(void **state)
{
	struct index index = {0};
	unsigned int operations = scale(300000);
	/* Addresses are dense, so that ranges of virtual addresses overlap much. */
	const uint64_t space = UINT64_C(4096) * 1200;

	(void)state;
	for (unsigned int i = 0; i < operations; i++) {
		uint64_t iova = next() % space, vaddr = next() % space, kind = next() % 8;

		if (kind == 0 && naive_count < MAX) {
			uint64_t len = 4096 * (1 + next() % (next() % 16 ? 4 : 300));

			iova &= ~UINT64_C(4095);
			vaddr &= ~UINT64_C(4095);
			if (!naive_free(iova, len))
				continue;
			naive[naive_count++] = make(iova, vaddr, len);
			assert_int_equal(index_add(&index, naive[naive_count - 1]), 0);
		} else if (kind == 1 && naive_count && next() % 8 < 7) {
			size_t at = next() % naive_count;

			index_remove(&index, naive[at]);
			free(naive[at]);
			naive[at] = naive[--naive_count];
		} else if (kind < 4) {
			assert_ptr_equal(index_by_iova(&index, iova), naive_iova(iova));
		} else if (kind < 7) {
			const struct mapping *found = index_by_vaddr(&index, vaddr);

			assert_true(naive_vaddr(vaddr) == (found != NULL));
			assert_true(!found || vaddr - found->vaddr < found->len);
		} else {
			const struct mapping *after = naive_after(iova);
			size_t at = index_at_or_after(&index, iova);

			assert_ptr_equal(at < index.count ? index.by_iova[at] : NULL, after);
		}
		if (i % 1000 == 0)
			check_order(&index);
	}
	check_order(&index);
	clear(&index);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_index_holds_nothing),
		cmocka_unit_test(both_ends_of_the_numbers),
		cmocka_unit_test(the_last_virtual_address),
		cmocka_unit_test(one_mapping_of_everything),
		cmocka_unit_test(no_memory_changes_nothing),
		cmocka_unit_test(random_changes_and_look_ups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
