/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * doc/writing-a-backend.md, followed: the toy backend in place of the library's, through the public
 * interface.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "toy_backend.h"

/* Instead of backends/table.c. */
const struct pn_backend *const pn_backends[] = {&pn_backend_toy, NULL};

static struct pn_domain *domain;
static struct pn_region *region;

static int set_up(void **state)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;

	(void)state;
	opts.page_size = PN_PAGE_4K;
	return pn_region_create(&region, 16 * PN_PAGE_4K, &opts) || pn_domain_create(&domain, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	return pn_domain_destroy(domain) || pn_region_destroy(region);
}

static void is_found_and_chosen(void **state)
{
	struct pn_backend_info backend;
	struct pn_domain_info info;

	(void)state;
	assert_int_equal(pn_backend_get(0, &backend), 0);
	assert_string_equal(backend.name, "toy");
	assert_true(backend.available);
	pn_domain_get_info(domain, &info);
	assert_string_equal(info.backend, "toy");
	assert_true(info.limits_known);
	assert_int_equal(info.entries_left, TOY_MAPS);
	assert_int_equal(info.range_count, 1);
	assert_int_equal(info.ranges[0].last, UINT32_MAX);
}

static void maps_looks_up_and_unmaps(void **state)
{
	struct pn_mapping_info mapping;
	struct pn_region_info info;
	uint64_t iova = PN_IOVA_ANY, found;
	void *vaddr;

	(void)state;
	pn_region_get_info(region, &info);
	assert_int_equal(pn_domain_map(domain, region, 0, 4 * PN_PAGE_4K, PN_PROT_RW, &iova), 0);
	assert_in_range(iova, PN_PAGE_4K, UINT32_MAX);
	assert_int_equal(pn_domain_iova(domain, (char *)info.vaddr + 5000, 100, &found), 0);
	assert_int_equal(found, iova + 5000);
	assert_int_equal(pn_domain_vaddr(domain, iova, 16384, &vaddr), 0);
	assert_ptr_equal(vaddr, info.vaddr);
	assert_int_equal(pn_domain_next(domain, 0, &mapping), 0);
	assert_false(mapping.queued);
	assert_int_equal(mapping.charged, 0);
	assert_int_equal(pn_domain_unmap(domain, iova, PN_PAGE_4K), -EINVAL);
	assert_int_equal(pn_domain_unmap(domain, iova, 4 * PN_PAGE_4K), 0);
}

static void its_limits_are_kept(void **state)
{
	uint64_t iova = UINT64_C(1) << 33;
	struct pn_domain_info info;

	(void)state;
	assert_int_equal(pn_domain_map(domain, region, 0, PN_PAGE_4K, PN_PROT_RW, &iova), -EINVAL);
	for (unsigned int i = 0; i < TOY_MAPS; i++) {
		iova = PN_IOVA_ANY;
		assert_int_equal(pn_domain_map(domain, region, i * PN_PAGE_4K, PN_PAGE_4K,
					 PN_PROT_READ, &iova),
			0);
	}
	pn_domain_get_info(domain, &info);
	assert_int_equal(info.entries_left, 0);
	iova = PN_IOVA_ANY;
	assert_int_equal(
		pn_domain_map(domain, region, 0, PN_PAGE_4K, PN_PROT_READ, &iova), -ENOSPC);
	assert_int_equal(pn_domain_unmap_all(domain), 0);
}

static void takes_no_device(void **state)
{
	const struct pn_dma_device device = {.address = "0000:00:02.0", .group = 1, .fd = -1};
	int fd;

	(void)state;
	assert_int_equal(pn_domain_attach(domain, &device, &fd), -EOPNOTSUPP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_found_and_chosen),
		cmocka_unit_test(maps_looks_up_and_unmaps),
		cmocka_unit_test(its_limits_are_kept),
		cmocka_unit_test(takes_no_device),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
