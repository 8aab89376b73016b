/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Translating addresses in a domain, both ways: within a mapping, over neighbours, where there is a
 * gap, and where several mappings hold the same memory.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dma_fixture.h"

static struct pn_domain *domain;
static struct pn_region *region;
static char *base;

static int setup(void **state)
{
	struct pn_region_info info;

	(void)state;
	fixture_machine();
	if (new_region(&region, PAGES) || new_domain(&domain, "type1", NULL))
		return -1;
	pn_region_get_info(region, &info);
	base = info.vaddr;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (pn_domain_destroy(domain) || pn_region_destroy(region))
		return -1;
	return model_teardown(NULL);
}

static void map_pages(uint64_t page, uint64_t pages, uint64_t iova)
{
	assert_int_equal(
		pn_domain_map(domain, region, page * PAGE, pages * PAGE, PN_PROT_RW, &iova), 0);
}

static void addresses_are_translated_over_adjacent_mappings(void **state)
{
	uint64_t iova;
	void *vaddr;

	(void)state;
	map_pages(0, 2, AT(0x10000));
	map_pages(2, 2, AT(0x12000));
	map_pages(4, 1, AT(0x20000));
	map_pages(10, 1, AT(0x21000));
	assert_int_equal(pn_domain_iova(domain, base + 5, 4 * PAGE - 5, &iova), 0);
	assert_int_equal(iova, AT(0x10005));
	assert_int_equal(pn_domain_iova(domain, base + 4 * PAGE - 1, 1, &iova), 0);
	assert_int_equal(iova, AT(0x13fff));
	/* Adjacent in memory, not in IOVAs; and the other way round. */
	assert_int_equal(pn_domain_iova(domain, base + 3 * PAGE, 2 * PAGE, &iova), -ENOENT);
	assert_int_equal(pn_domain_vaddr(domain, AT(0x20000), 2 * PAGE, &vaddr), -ENOENT);
	assert_int_equal(pn_domain_vaddr(domain, AT(0x10fff), 0x3001, &vaddr), 0);
	assert_ptr_equal(vaddr, base + 0xfff);
	assert_int_equal(pn_domain_vaddr(domain, AT(0x10fff), 0x3002, &vaddr), -ENOENT);
	assert_int_equal(pn_domain_vaddr(domain, AT(0xffff), 2, &vaddr), -ENOENT);
	assert_int_equal(pn_domain_vaddr(domain, AT(0x10000), UINT64_MAX, &vaddr), -ENOENT);
	assert_int_equal(pn_domain_iova(domain, base, UINT64_MAX, &iova), -ENOENT);
	assert_int_equal(pn_domain_iova(domain, base + 6 * PAGE, 1, &iova), -ENOENT);
	assert_int_equal(pn_domain_iova(domain, base - 1, 1, &iova), -ENOENT);
}

static void overlapping_memory_is_translated_by_whichever_mapping_holds_it_all(void **state)
{
	uint64_t iova;

	(void)state;
	map_pages(0, 16, AT(0x100000));
	map_pages(4, 1, AT(0x10000));
	map_pages(8, 12, AT(0x200000));
	assert_int_equal(pn_domain_iova(domain, base + 4 * PAGE, 2 * PAGE, &iova), 0);
	assert_int_equal(iova, AT(0x104000));
	assert_int_equal(pn_domain_iova(domain, base + 8 * PAGE, 12 * PAGE, &iova), 0);
	assert_int_equal(iova, AT(0x200000));
	assert_int_equal(pn_domain_iova(domain, base, 16 * PAGE, &iova), 0);
	assert_int_equal(iova, AT(0x100000));
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(addresses_are_translated_over_adjacent_mappings),
		TEST(overlapping_memory_is_translated_by_whichever_mapping_holds_it_all),
	};

	return fixture_run(tests);
}
