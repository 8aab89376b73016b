/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which IOVAs a domain gives out and takes: its modes, the bits that devices can send, ranges that
 * several devices leave, pages of the IOMMU above 4 KiB, and how many mappings the kernel takes.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_fixture.h"
#include "mem_priv.h"

/* In place of the fixture's domain, one with these options. */
static void again(struct fixture *fixture, const struct pn_domain_opts *opts)
{
	assert_int_equal(pn_domain_destroy(fixture->domain), 0);
	fixture->domain = NULL;
	assert_int_equal(new_domain(&fixture->domain, fixture->backend, opts), 0);
}

static int map_any(struct fixture *fixture, uint64_t page, uint64_t pages, uint64_t *iova)
{
	*iova = PN_IOVA_ANY;
	return pn_domain_map(
		fixture->domain, fixture->region, page * PAGE, pages * PAGE, PN_PROT_RW, iova);
}

static int map_to(struct fixture *fixture, uint64_t page, uint64_t pages, uint64_t iova)
{
	return pn_domain_map(
		fixture->domain, fixture->region, page * PAGE, pages * PAGE, PN_PROT_RW, &iova);
}

static uint64_t va(const struct fixture *fixture, uint64_t page)
{
	return (uintptr_t)fixture->base + page * PAGE;
}

static void set_ranges(uint64_t first, uint64_t last)
{
	model.ranges[0] = (struct vfio_iova_range){first, last};
	model.range_count = 1;
}

static void virtual_addresses_come_first(void **state)
{
	struct fixture *fixture = *state;
	uint64_t iova;
	int fd = -1;

	for (int attached = 0; attached < 2; attached++) {
		if (attached)
			fd = attach_to(fixture->domain, &nic0);
		if (!takes_addresses(fixture))
			continue;
		assert_int_equal(map_any(fixture, 0, 4, &iova), 0);
		assert_true(iova == va(fixture, 0));
		/* It is taken, or in part. */
		assert_int_equal(map_any(fixture, 0, 4, &iova), 0);
		assert_true(iova + 4 * PAGE <= va(fixture, 0) || iova >= va(fixture, 4));
		assert_int_equal(map_any(fixture, 3, 2, &iova), 0);
		assert_true(iova + 2 * PAGE <= va(fixture, 0) || iova >= va(fixture, 5));
		assert_int_equal(map_any(fixture, 4, 1, &iova), 0);
		assert_true(iova == va(fixture, 4));
		assert_maps(fixture->domain, 4, 11);
		assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	}
	pn_domain_detach(fixture->domain, fd);
}

static void the_lowest_free_run_is_allocated(void **state)
{
	const struct pn_domain_opts opts = {.iova_mode = PN_IOVA_ALLOCATE};
	struct fixture *fixture = *state;
	uint64_t iova;
	int fd;

	set_ranges(AT(0x1000), AT(0x8fff));
	again(fixture, &opts);
	fd = attach_to(fixture->domain, &nic0);
	for (uint64_t i = 0; i < 8; i++) {
		assert_int_equal(map_any(fixture, i, 1, &iova), 0);
		assert_true(iova == AT(0x1000) + i * PAGE);
	}
	REFUSED(fixture->domain, ENOSPC, map_any(fixture, 8, 1, &iova));
	assert_true(iova == PN_IOVA_ANY);
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x3000), 2 * PAGE), 0);
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x6000), PAGE), 0);
	REFUSED(fixture->domain, ENOSPC, map_any(fixture, 8, 3, &iova));
	assert_int_equal(map_any(fixture, 8, 1, &iova), 0);
	assert_true(iova == AT(0x3000));
	/* An IOVA that is asked for is had all the same. */
	assert_int_equal(map_to(fixture, 9, 1, AT(0x6000)), 0);
	pn_domain_detach(fixture->domain, fd);
}

/* What is mapped of it decides, not what the region's pages could fill: small maps of memory in
 * 1 GiB pages lie one behind another, at the same place in an IOMMU's page as in memory. */
static void small_maps_of_large_pages_waste_nothing(void **state)
{
	static const uint64_t sizes[] = {PAGE, 16 * PAGE, PN_PAGE_2M};
	const struct pn_domain_opts opts = {.iova_mode = PN_IOVA_ALLOCATE};
	struct fixture *fixture = *state;
	uint64_t iova, offset, page_size;
	struct pn_region *region;
	int result;

	again(fixture, &opts);
	assert_int_equal(new_region(&region, 2 * PN_PAGE_2M / PAGE), 0);
	offset = -(uintptr_t)region->vaddr & (PN_PAGE_2M - 1);
	page_size = region->page_size;
	region->page_size = PN_PAGE_1G;
	for (size_t i = 0; i < PN_ARRAY_SIZE(sizes); i++) {
		uint64_t first = UINT64_MAX, end = 0;

		/* So that the lowest free IOVA is no place for a large page. */
		iova = PN_IOVA_ANY;
		assert_int_equal(
			pn_domain_map(fixture->domain, region, 0, PAGE, PN_PROT_RW, &iova), 0);
		for (unsigned int count = 0; count < 1000; count++) {
			iova = PN_IOVA_ANY;
			result = pn_domain_map(
				fixture->domain, region, offset, sizes[i], PN_PROT_RW, &iova);
			if (result)
				fail_msg("map %u of %ju bytes: %s", count, (uintmax_t)sizes[i],
					pn_error());
			if (sizes[i] == PN_PAGE_2M)
				assert_true(!(iova & (PN_PAGE_2M - 1)));
			first = iova < first ? iova : first;
			end = iova + sizes[i] > end ? iova + sizes[i] : end;
		}
		assert_int_equal(end - first, 1000 * sizes[i]);
		assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	}
	region->page_size = page_size;
	assert_int_equal(pn_region_destroy(region), 0);
}

/* Alignment is for the IOMMU's large pages: where no run is aligned so, a smaller one does. */
static void what_fits_is_allocated(void **state)
{
	const struct pn_domain_opts opts = {.iova_mode = PN_IOVA_ALLOCATE};
	const uint64_t len = PN_PAGE_2M + PN_PAGE_2M / 4, lens[] = {len, 3 * PN_PAGE_2M / 2};
	struct fixture *fixture = *state;
	struct pn_region *region;
	uint64_t iova, page_size;
	int fd;

	/* 3 MiB, from the middle of a large page on. */
	set_ranges(AT(PN_PAGE_2M / 2), AT(2 * PN_PAGE_2M) - 1);
	again(fixture, &opts);
	assert_int_equal(new_region(&region, lens[1] / PAGE), 0);
	page_size = region->page_size;
	fd = attach_to(fixture->domain, &nic0);
	for (size_t i = 0; i < PN_ARRAY_SIZE(lens); i++) {
		for (unsigned int large = 0; large < 2; large++) {
			region->page_size = large ? PN_PAGE_1G : page_size;
			iova = PN_IOVA_ANY;
			assert_int_equal(pn_domain_map(fixture->domain, region, 0, lens[i],
						 PN_PROT_RW, &iova),
				0);
			assert_true(iova >= AT(PN_PAGE_2M / 2));
			assert_true(iova + lens[i] <= AT(2 * PN_PAGE_2M));
			assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
		}
	}
	region->page_size = page_size;
	pn_domain_detach(fixture->domain, fd);
	assert_int_equal(pn_region_destroy(region), 0);
}

static void nothing_but_virtual_addresses(void **state)
{
	const struct pn_domain_opts opts = {.iova_mode = PN_IOVA_VA_ONLY};
	struct fixture *fixture = *state;
	uint64_t iova;
	int fd;

	again(fixture, &opts);
	for (int attached = 0; attached < 2; attached++) {
		if (attached)
			fd = attach_to(fixture->domain, &nic0);
		/* Before a device has told what it takes, any is queued. */
		if (attached && !takes_addresses(fixture)) {
			REFUSED(fixture->domain, ENOSPC, map_any(fixture, 0, 2, &iova));
			continue;
		}
		assert_int_equal(map_any(fixture, 0, 2, &iova), 0);
		assert_true(iova == va(fixture, 0));
		REFUSED(fixture->domain, ENOSPC, map_any(fixture, 1, 2, &iova));
		assert_true(iova == PN_IOVA_ANY);
		assert_int_equal(map_to(fixture, 0, 2, AT(0x10000)), 0);
		assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	}
	pn_domain_detach(fixture->domain, fd);
	set_ranges(AT(0), AT(0xfffff));
	fd = attach_to(fixture->domain, &nic0);
	REFUSED(fixture->domain, ENOSPC, map_any(fixture, 0, 2, &iova));
	pn_domain_detach(fixture->domain, fd);
}

static void options_that_make_no_sense(void **state)
{
	struct fixture *fixture = *state;
	struct pn_domain_opts opts = {.iova_bits = 11};
	struct pn_domain *domain;

	REFUSED(fixture->domain, EINVAL, new_domain(&domain, fixture->backend, &opts));
	opts.iova_bits = 65;
	REFUSED(fixture->domain, EINVAL, new_domain(&domain, fixture->backend, &opts));
	opts.iova_bits = 1;
	REFUSED(fixture->domain, EINVAL, new_domain(&domain, fixture->backend, &opts));
	opts = (struct pn_domain_opts){.iova_mode = (enum pn_iova_mode)7};
	REFUSED(fixture->domain, EINVAL, new_domain(&domain, fixture->backend, &opts));
	opts = (struct pn_domain_opts){.accounting = (enum pn_accounting)7};
	REFUSED(fixture->domain, EINVAL, new_domain(&domain, fixture->backend, &opts));
}

static void few_bits_of_an_iova(void **state)
{
	static const unsigned int bits[] = {64, 48, 40, 33, 32, 20, 13};
	struct fixture *fixture = *state;
	uint64_t iova;
	int fd;

	model.ranges[0].start = 0x1000;
	for (size_t i = 0; i < PN_ARRAY_SIZE(bits); i++) {
		struct pn_domain_opts opts = {.iova_bits = bits[i]};
		uint64_t last = bits[i] == 64 ? UINT64_MAX : (UINT64_C(1) << bits[i]) - 1;
		struct pn_domain_info info;

		again(fixture, &opts);
		/* Before a device is there, it is a guess: but not above. */
		if (!map_any(fixture, 0, 1, &iova)) {
			assert_true(iova + PAGE - 1 <= last);
			assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
		}
		fd = attach_to(fixture->domain, &nic0);
		info = info_of(fixture->domain);
		assert_true(info.range_count > 0);
		assert_true(info.ranges[info.range_count - 1].last <= last);
		assert_true(info.ranges[0].first == 0x1000);
		if (last < AT(0xfedfffff))
			assert_true(info.ranges[0].last == last);
		assert_int_equal(map_any(fixture, 0, 1, &iova), 0);
		assert_true(iova + PAGE - 1 <= last);
		if (last < AT(0xfedfffff)) {
			assert_int_equal(map_to(fixture, 2, 1, last + 1 - PAGE),
				iova == last + 1 - PAGE ? -EEXIST : 0);
			REFUSED(fixture->domain, EINVAL, map_to(fixture, 3, 1, last + 1));
			REFUSED(fixture->domain, EINVAL, map_to(fixture, 3, 2, last + 1 - PAGE));
		}
		pn_domain_detach(fixture->domain, fd);
	}
}

static void a_device_narrows_the_ranges_while_it_is_there(void **state)
{
	struct fixture *fixture = *state;
	int fd[2] = {attach_to(fixture->domain, &nic0), attach_to(fixture->domain, &nic2)};
	unsigned int count = info_of(fixture->domain).range_count;

	assert_int_equal(map_to(fixture, 0, 1, AT(0)), 0);
	/* 2^33 is above what is mapped. */
	assert_int_equal(pn_domain_device_bits(fixture->domain, fd[0], 33), 0);
	assert_true(
		info_of(fixture->domain).ranges[info_of(fixture->domain).range_count - 1].last ==
		(UINT64_C(1) << 33) - 1);
	REFUSED(fixture->domain, EINVAL, map_to(fixture, 1, 1, UINT64_C(1) << 33));
	REFUSED(fixture->domain, ERANGE, pn_domain_device_bits(fixture->domain, fd[1], 32));
	REFUSED(fixture->domain, ERANGE, pn_domain_device_bits(fixture->domain, fd[0], 12));
	REFUSED(fixture->domain, EINVAL, pn_domain_device_bits(fixture->domain, fd[0], 11));
	REFUSED(fixture->domain, EINVAL, pn_domain_device_bits(fixture->domain, fd[0], 65));
	REFUSED(fixture->domain, EINVAL, pn_domain_device_bits(fixture->domain, fd[0], 0));
	REFUSED(fixture->domain, EINVAL, pn_domain_device_bits(fixture->domain, -1, 40));
	REFUSED(fixture->domain, EINVAL, pn_domain_device_bits(fixture->domain, 0, 40));
	/* The narrowest counts, whichever it is; a device may be set wider again. */
	assert_int_equal(pn_domain_device_bits(fixture->domain, fd[1], 36), 0);
	REFUSED(fixture->domain, EINVAL, map_to(fixture, 1, 1, UINT64_C(1) << 33));
	assert_int_equal(pn_domain_device_bits(fixture->domain, fd[0], 64), 0);
	assert_int_equal(map_to(fixture, 1, 1, UINT64_C(1) << 33), 0);
	REFUSED(fixture->domain, EINVAL, map_to(fixture, 2, 1, UINT64_C(1) << 36));
	pn_domain_detach(fixture->domain, fd[1]);
	assert_int_equal(info_of(fixture->domain).range_count, count);
	assert_int_equal(map_to(fixture, 2, 1, UINT64_C(1) << 36), 0);
	assert_maps(fixture->domain, 3, 3);
	pn_domain_detach(fixture->domain, fd[0]);
}

/* What a device that narrows the ranges left behind does not fit it when it comes back; then it
 * is not narrow yet. */
static void bits_end_with_the_device(void **state)
{
	struct fixture *fixture = *state;
	int fd = attach_to(fixture->domain, &nic0);

	assert_int_equal(pn_domain_device_bits(fixture->domain, fd, 32), 0);
	REFUSED(fixture->domain, EINVAL, map_to(fixture, 0, 1, AT(0)));
	pn_domain_detach(fixture->domain, fd);
	assert_int_equal(map_to(fixture, 0, 1, AT(0)), 0);
	fd = attach_to(fixture->domain, &nic0);
	REFUSED(fixture->domain, ERANGE, pn_domain_device_bits(fixture->domain, fd, 32));
	assert_int_equal(pn_domain_device_bits(fixture->domain, fd, 33), 0);
	pn_domain_detach(fixture->domain, fd);
}

static void devices_leave_what_all_of_them_take(void **state)
{
	static const struct vfio_iova_range narrow[] = {
		{0x10000, 0xfffff}, {0x200000, AT(0xfeefffff)}, {AT(0xff000000), AT(0xff0fffff)}};
	static const struct pn_iova_range want[] = {
		{0x10000, 0xfffff}, {0x200000, AT(0xfedfffff)}, {AT(0xff000000), AT(0xff0fffff)}};
	struct fixture *fixture = *state;
	struct pn_domain_info info;
	int fd[2], second = -1;

	model_device_ranges(nic2.address, narrow, 3);
	fd[0] = attach_to(fixture->domain, &nic0);
	assert_int_equal(map_to(fixture, 0, 1, AT(0xff100000)), 0);
	stale_error();
	assert_true(pn_domain_attach(fixture->domain, &nic2, &second) < 0);
	assert_true(has_reason());
	assert_maps(fixture->domain, 1, 1);
	assert_int_equal(info_of(fixture->domain).devices, 1);
	assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	fd[1] = attach_to(fixture->domain, &nic2);
	info = info_of(fixture->domain);
	assert_int_equal(info.range_count, 3);
	assert_memory_equal(info.ranges, want, sizeof(want));
	REFUSED(fixture->domain, EINVAL, map_to(fixture, 0, 2, 0xff000));
	REFUSED(fixture->domain, EINVAL, map_to(fixture, 0, 1, 0x100000));
	REFUSED(fixture->domain, EINVAL, map_to(fixture, 0, 1, AT(0xfef00000)));
	assert_int_equal(map_to(fixture, 0, 1, 0xff000), 0);
	assert_int_equal(map_to(fixture, 0, 1, AT(0xff0ff000)), 0);
	assert_maps(fixture->domain, 2, 2);
	pn_domain_detach(fixture->domain, fd[1]);
	assert_int_equal(info_of(fixture->domain).range_count, 2);
	assert_int_equal(map_to(fixture, 0, 1, 0x100000), 0);
	pn_domain_detach(fixture->domain, fd[0]);
}

static void a_queue_that_a_device_cannot_reach(void **state)
{
	struct fixture *fixture = *state;
	int fd;

	assert_int_equal(map_to(fixture, 0, 1, AT(0x10000)), 0);
	assert_int_equal(map_to(fixture, 1, 1, AT(0x20000)), 0);
	set_ranges(AT(0), AT(0x1ffff));
	REFUSED(fixture->domain, EINVAL, pn_domain_attach(fixture->domain, &nic0, &fd));
	assert_non_null(strstr(refused_reason, "0x100020000"));
	set_ranges(AT(0), AT(0x20fff));
	fd = attach_to(fixture->domain, &nic0);
	assert_maps(fixture->domain, 2, 2);
	pn_domain_detach(fixture->domain, fd);
}

static void pages_of_the_iommu_above_4_kib(void **state)
{
	struct fixture *fixture = *state;
	uint64_t iova;
	int fd;

	model.page_sizes = 0x20010000;
	if (!is_type1(fixture)) {
		/* iommufd takes no such IOMMU. */
		REFUSED(fixture->domain, EINVAL, pn_domain_attach(fixture->domain, &nic0, &fd));
		return;
	}
	assert_int_equal(map_to(fixture, 0, 1, AT(0x10000)), 0);
	REFUSED(fixture->domain, EINVAL, pn_domain_attach(fixture->domain, &nic0, &fd));
	assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	assert_int_equal(map_to(fixture, 0, 16, AT(0x11000)), 0);
	REFUSED(fixture->domain, EINVAL, pn_domain_attach(fixture->domain, &nic0, &fd));
	assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	fd = attach_to(fixture->domain, &nic0);
	assert_int_equal(info_of(fixture->domain).page_sizes, 0x20010000);
	REFUSED(fixture->domain, EINVAL, map_to(fixture, 0, 1, AT(0x10000)));
	REFUSED(fixture->domain, EINVAL, map_to(fixture, 1, 16, AT(0x10000)));
	REFUSED(fixture->domain, EINVAL, map_to(fixture, 0, 17, AT(0x10000)));
	REFUSED(fixture->domain, EINVAL, map_to(fixture, 0, 16, AT(0x11000)));
	/* Where a sanitizer lets the kernel place memory, it need not begin with such a page. */
	if ((uintptr_t)fixture->base & 0xffff) {
		REFUSED(fixture->domain, EINVAL, map_to(fixture, 0, 16, AT(0x10000)));
		pn_domain_detach(fixture->domain, fd);
		return;
	}
	assert_int_equal(map_to(fixture, 0, 16, AT(0x10000)), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(map_any(fixture, 16, 16, &iova), 0);
		assert_int_equal(iova & 0xffff, 0);
	}
	assert_maps(fixture->domain, 3, 48);
	pn_domain_detach(fixture->domain, fd);
}

static void the_entry_budget_is_used_to_the_last(void **state)
{
	const struct pn_segment apart[] = {
		{((struct fixture *)*state)->region, 0, PAGE},
		{((struct fixture *)*state)->region, 2 * PAGE, PAGE},
	};
	const struct pn_segment together[] = {
		{((struct fixture *)*state)->region, 0, PAGE},
		{((struct fixture *)*state)->region, PAGE, PAGE},
	};
	struct fixture *fixture = *state;
	uint64_t iova = AT(0x90000);
	int fd;

	model.entries = 3;
	assert_true(info_of(fixture->domain).entries_left == UINT64_MAX);
	fd = attach_to(fixture->domain, &nic0);
	if (!is_type1(fixture)) {
		assert_true(info_of(fixture->domain).entries_left == UINT64_MAX);
		for (uint64_t i = 0; i < 5; i++)
			assert_int_equal(map_to(fixture, i, 1, AT(i * 0x10000)), 0);
		pn_domain_detach(fixture->domain, fd);
		return;
	}
	assert_int_equal(info_of(fixture->domain).entries_left, 3);
	assert_int_equal(map_to(fixture, 0, 1, AT(0)), 0);
	assert_int_equal(map_to(fixture, 1, 1, AT(0x10000)), 0);
	assert_int_equal(info_of(fixture->domain).entries_left, 1);
	REFUSED(fixture->domain, ENOSPC,
		pn_domain_map_segments(fixture->domain, apart, 2, PN_PROT_RW, &iova));
	assert_non_null(strstr(refused_reason, "dma_entry_limit"));
	assert_int_equal(
		pn_domain_map_segments(fixture->domain, together, 2, PN_PROT_RW, &iova), 0);
	assert_int_equal(info_of(fixture->domain).entries_left, 0);
	model_forget_calls();
	REFUSED(fixture->domain, ENOSPC, map_to(fixture, 2, 1, AT(0x20000)));
	assert_non_null(strstr(refused_reason, "dma_entry_limit"));
	assert_int_equal(model_calls_of(VFIO_IOMMU_MAP_DMA), 0);
	assert_maps(fixture->domain, 3, 4);
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0), PAGE), 0);
	assert_int_equal(map_to(fixture, 2, 1, AT(0x20000)), 0);
	pn_domain_detach(fixture->domain, fd);
	/* Queued there is no limit; attaching there is. */
	if (!map_to(fixture, 3, 1, AT(0x30000))) {
		REFUSED(fixture->domain, ENOSPC, pn_domain_attach(fixture->domain, &nic0, &fd));
		assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x20000), PAGE), 0);
	}
	fd = attach_to(fixture->domain, &nic0);
	assert_int_equal(info_of(fixture->domain).entries_left, 0);
	pn_domain_detach(fixture->domain, fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_EACH(virtual_addresses_come_first),
		ON_EACH(the_lowest_free_run_is_allocated),
		ON_EACH(what_fits_is_allocated),
		ON("type1", small_maps_of_large_pages_waste_nothing, fixture_type1),
		ON_EACH(nothing_but_virtual_addresses),
		ON_EACH(options_that_make_no_sense),
		ON_EACH(few_bits_of_an_iova),
		ON_EACH(a_device_narrows_the_ranges_while_it_is_there),
		ON_EACH(bits_end_with_the_device),
		ON_EACH(devices_leave_what_all_of_them_take),
		ON_EACH(a_queue_that_a_device_cannot_reach),
		ON_EACH(pages_of_the_iommu_above_4_kib),
		ON_EACH(the_entry_budget_is_used_to_the_last),
	};

	return fixture_run(tests);
}
