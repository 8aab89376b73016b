/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which pages devices wrote to: type1, where all that is pinned counts; native iommufd, where the
 * IOMMU knows; ranges, page sizes and bitmaps; beginning and end.
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

#define BIG (UINT64_C(2) << 20)

/* The fixture's domain again, for tracking. */
static void for_tracking(struct fixture *fixture)
{
	const struct pn_domain_opts opts = {.dirty_tracking = true};

	assert_int_equal(pn_domain_destroy(fixture->domain), 0);
	fixture->domain = NULL;
	assert_int_equal(new_domain(&fixture->domain, fixture->backend, &opts), 0);
}

static int read_at(struct fixture *fixture, uint64_t iova, uint64_t pages, uint64_t *bits)
{
	return pn_domain_dirty_read(fixture->domain, iova, pages * PAGE, PAGE, bits);
}

static void it_begins_and_ends(void **state)
{
	struct fixture *fixture = *state;
	uint64_t bits = 0;
	int fd, round;

	for_tracking(fixture);
	map_at(fixture, 0, 4, AT(0x10000));
	REFUSED(fixture->domain, ENODEV, pn_domain_dirty_start(fixture->domain));
	for (round = 0; round < 3; round++) {
		fd = attach_to(fixture->domain, &nic0);
		assert_false(info_of(fixture->domain).dirty);
		REFUSED(fixture->domain, EINVAL, pn_domain_dirty_stop(fixture->domain));
		REFUSED(fixture->domain, EINVAL, read_at(fixture, AT(0x10000), 4, &bits));
		assert_int_equal(pn_domain_dirty_start(fixture->domain), 0);
		assert_true(info_of(fixture->domain).dirty);
		REFUSED(fixture->domain, EALREADY, pn_domain_dirty_start(fixture->domain));
		assert_int_equal(read_at(fixture, AT(0x10000), 4, &bits), 0);
		/* By itself with the last device, the other times by asking. */
		if (round) {
			assert_int_equal(pn_domain_dirty_stop(fixture->domain), 0);
			assert_false(info_of(fixture->domain).dirty);
			REFUSED(fixture->domain, EINVAL, read_at(fixture, AT(0x10000), 4, &bits));
			assert_int_equal(pn_domain_dirty_start(fixture->domain), 0);
		}
		pn_domain_detach(fixture->domain, fd);
		assert_false(info_of(fixture->domain).dirty);
		assert_maps(fixture->domain, 1, 4);
	}
}

static void it_stays_with_other_devices(void **state)
{
	struct fixture *fixture = *state;
	int fd[3];

	for_tracking(fixture);
	map_at(fixture, 0, 4, AT(0x10000));
	fd[0] = attach_to(fixture->domain, &nic0);
	assert_int_equal(pn_domain_dirty_start(fixture->domain), 0);
	fd[1] = attach_to(fixture->domain, &nic1);
	fd[2] = attach_to(fixture->domain, &nic2);
	assert_true(info_of(fixture->domain).dirty);
	map_at(fixture, 4, 4, AT(0x20000));
	assert_maps(fixture->domain, 2, 8);
	pn_domain_detach(fixture->domain, fd[0]);
	pn_domain_detach(fixture->domain, fd[2]);
	assert_true(info_of(fixture->domain).dirty);
	assert_int_equal(pn_domain_dirty_stop(fixture->domain), 0);
	pn_domain_detach(fixture->domain, fd[1]);
}

static void ranges_are_whole_mappings(void **state)
{
	static const struct {
		uint64_t page, pages;
		bool good;
	} rows[] = {
		{0, 2, true},
		{2, 3, true},
		{0, 5, true},
		{8, 1, true},
		{0, 1, false},
		{1, 1, false},
		{1, 4, false},
		{0, 4, false},
		{0, 6, false},
		{0, 9, false},
		{5, 1, false},
		{5, 4, false},
		{8, 2, false},
		{20, 1, false},
	};
	struct fixture *fixture = *state;
	uint64_t bits;
	int fd;

	for_tracking(fixture);
	map_at(fixture, 0, 2, AT(0x10000));
	map_at(fixture, 2, 3, AT(0x12000));
	map_at(fixture, 8, 1, AT(0x18000));
	fd = attach_to(fixture->domain, &nic0);
	assert_int_equal(pn_domain_dirty_start(fixture->domain), 0);
	for (size_t i = 0; i < PN_ARRAY_SIZE(rows); i++) {
		uint64_t iova = AT(0x10000) + rows[i].page * PAGE;

		if (rows[i].good)
			assert_int_equal(read_at(fixture, iova, rows[i].pages, &bits), 0);
		else
			REFUSED(fixture->domain, EINVAL,
				read_at(fixture, iova, rows[i].pages, &bits));
	}
	REFUSED(fixture->domain, EINVAL, read_at(fixture, AT(0x10000), 0, &bits));
	REFUSED(fixture->domain, EINVAL, read_at(fixture, AT(0x10001), 2, &bits));
	REFUSED(fixture->domain, EINVAL,
		pn_domain_dirty_read(fixture->domain, AT(0x10000), UINT64_MAX, PAGE, &bits));
	REFUSED(fixture->domain, EINVAL,
		pn_domain_dirty_read(fixture->domain, AT(0x10000), 2 * PAGE, 0, &bits));
	REFUSED(fixture->domain, EINVAL,
		pn_domain_dirty_read(fixture->domain, AT(0x10000), 2 * PAGE, 512, &bits));
	REFUSED(fixture->domain, EINVAL,
		pn_domain_dirty_read(fixture->domain, AT(0x10000), 2 * PAGE, 8192, &bits));
	REFUSED(fixture->domain, EINVAL,
		pn_domain_dirty_read(fixture->domain, AT(0x10000), 2 * PAGE, 3 * PAGE, &bits));
	REFUSED(fixture->domain, EINVAL,
		pn_domain_dirty_read(fixture->domain, AT(0x10000), 2 * PAGE, BIG, &bits));
	pn_domain_detach(fixture->domain, fd);
}

/* All words, and no more than those. */
static void the_bitmap_is_written_whole(void **state)
{
	struct fixture *fixture = *state;
	struct pn_region *region;
	uint64_t bits[6], iova = AT(0x100000);
	int fd;

	for_tracking(fixture);
	fd = attach_to(fixture->domain, &nic0);
	assert_int_equal(new_region(&region, 300), 0);
	for (uint64_t pages = 60; pages <= 260; pages += 4) {
		uint64_t words = (pages + 63) / 64;

		assert_int_equal(
			pn_domain_map(fixture->domain, region, 0, pages * PAGE, PN_PROT_RW, &iova),
			0);
		if (pages == 60)
			assert_int_equal(pn_domain_dirty_start(fixture->domain), 0);
		memset(bits, 0xa5, sizeof(bits));
		assert_int_equal(read_at(fixture, iova, pages, bits), 0);
		for (uint64_t page = 0; page < words * 64; page++)
			assert_int_equal(bits[page / 64] >> page % 64 & 1,
				page < pages && is_type1(fixture));
		assert_true(bits[words] == UINT64_C(0xa5a5a5a5a5a5a5a5));
		assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	}
	assert_int_equal(pn_region_destroy(region), 0);
	pn_domain_detach(fixture->domain, fd);
}

/* It does not forget, and knows no pages above the smallest. */
static void type1_takes_all_for_written(void **state)
{
	struct fixture *fixture = *state;
	uint64_t bits;
	int fd = attach_to(fixture->domain, &nic0);

	map_at(fixture, 0, 4, AT(0x10000));
	/* Nobody had to say so before. */
	assert_int_equal(pn_domain_dirty_start(fixture->domain), 0);
	map_at(fixture, 4, 3, AT(0x14000));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(read_at(fixture, AT(0x10000), 7, &bits), 0);
		assert_int_equal(bits, 0x7f);
	}
	assert_int_equal(read_at(fixture, AT(0x14000), 3, &bits), 0);
	assert_int_equal(bits, 7);
	pn_domain_detach(fixture->domain, fd);
}

static void the_iommu_knows_and_forgets(void **state)
{
	struct fixture *fixture = *state;
	uint64_t bits;
	int fd;

	for_tracking(fixture);
	map_at(fixture, 0, 4, AT(0x10000));
	map_at(fixture, 4, 60, AT(0x14000));
	fd = attach_to(fixture->domain, &nic0);
	model_write(AT(0x10000), 2 * PAGE);
	assert_int_equal(pn_domain_dirty_start(fixture->domain), 0);
	/* What was before does not count. */
	assert_int_equal(read_at(fixture, AT(0x10000), 64, &bits), 0);
	assert_int_equal(bits, 0);
	model_write(AT(0x11fff), 2);
	model_write(AT(0x4f000), PAGE);
	assert_int_equal(read_at(fixture, AT(0x10000), 64, &bits), 0);
	assert_true(bits == (UINT64_C(6) | UINT64_C(1) << 63));
	assert_int_equal(read_at(fixture, AT(0x10000), 64, &bits), 0);
	assert_int_equal(bits, 0);
	/* Bits count from the range's beginning; what is not read is not forgotten. */
	model_write(AT(0x13000), 3 * PAGE);
	assert_int_equal(read_at(fixture, AT(0x14000), 60, &bits), 0);
	assert_int_equal(bits, 3);
	assert_int_equal(read_at(fixture, AT(0x10000), 4, &bits), 0);
	assert_int_equal(bits, 8);
	/* A mapping that is made again is clean. */
	model_write(AT(0x10000), PAGE);
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x10000), 4 * PAGE), 0);
	map_at(fixture, 0, 4, AT(0x10000));
	assert_int_equal(read_at(fixture, AT(0x10000), 4, &bits), 0);
	assert_int_equal(bits, 0);
	pn_domain_detach(fixture->domain, fd);
}

static void larger_pages_have_one_bit(void **state)
{
	struct fixture *fixture = *state;
	struct pn_region *region;
	uint64_t bits = 0, iova = AT(8 * BIG);
	int fd;

	for_tracking(fixture);
	fd = attach_to(fixture->domain, &nic0);
	assert_int_equal(new_region(&region, 3 * BIG / PAGE), 0);
	assert_int_equal(pn_domain_map(fixture->domain, region, 0, 3 * BIG, PN_PROT_RW, &iova), 0);
	assert_int_equal(pn_domain_dirty_start(fixture->domain), 0);
	model_write(iova + 2 * BIG + 5 * PAGE, 1);
	model_write(iova, 3);
	assert_int_equal(pn_domain_dirty_read(fixture->domain, iova, 3 * BIG, BIG, &bits), 0);
	assert_int_equal(bits, 5);
	assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	pn_domain_detach(fixture->domain, fd);
}

static void it_must_be_asked_for_beforehand(void **state)
{
	struct fixture *fixture = *state;
	int fd = attach_to(fixture->domain, &nic0);

	REFUSED(fixture->domain, EOPNOTSUPP, pn_domain_dirty_start(fixture->domain));
	assert_non_null(strstr(refused_reason, "dirty_tracking"));
	pn_domain_detach(fixture->domain, fd);
}

static void an_iommu_that_cannot(void **state)
{
	struct fixture *fixture = *state;
	int fd = -1, result;

	model.dirty = false;
	for_tracking(fixture);
	map_at(fixture, 0, 4, AT(0x10000));
	stale_error();
	result = pn_domain_attach(fixture->domain, &nic0, &fd);
	/* Told at once, or when it is to begin. */
	if (result) {
		assert_int_equal(result, -EOPNOTSUPP);
		assert_true(has_reason());
		assert_maps(fixture->domain, 1, 4);
		return;
	}
	REFUSED(fixture->domain, EOPNOTSUPP, pn_domain_dirty_start(fixture->domain));
	pn_domain_detach(fixture->domain, fd);
}

/* A second address space beside it tracks by itself. */
static void each_address_space_has_its_own(void **state)
{
	struct fixture *fixture = *state;
	struct pn_domain_opts opts = {.dirty_tracking = true};
	struct pn_domain *other;
	uint64_t bits, iova = AT(0x900000);
	int fd[2];

	for_tracking(fixture);
	opts.beside = fixture->domain;
	assert_int_equal(new_domain(&other, "iommufd", &opts), 0);
	fd[0] = attach_to(fixture->domain, &nic0);
	fd[1] = attach_to(other, &nic2);
	map_at(fixture, 0, 4, AT(0x10000));
	assert_int_equal(pn_domain_map(other, fixture->region, 0, 4 * PAGE, PN_PROT_RW, &iova), 0);
	assert_int_equal(pn_domain_dirty_start(fixture->domain), 0);
	assert_false(info_of(other).dirty);
	assert_int_equal(pn_domain_dirty_start(other), 0);
	model_write(AT(0x11000), 1);
	model_write(iova + 2 * PAGE, 1);
	assert_int_equal(read_at(fixture, AT(0x10000), 4, &bits), 0);
	assert_int_equal(bits, 2);
	assert_int_equal(pn_domain_dirty_read(other, iova, 4 * PAGE, PAGE, &bits), 0);
	assert_int_equal(bits, 4);
	pn_domain_detach(other, fd[1]);
	pn_domain_detach(fixture->domain, fd[0]);
	assert_int_equal(pn_domain_destroy(other), 0);
}

#define BOTH(test) ON("type1", test, fixture_type1), ON("iommufd", test, fixture_iommufd)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(it_begins_and_ends),
		BOTH(it_stays_with_other_devices),
		BOTH(ranges_are_whole_mappings),
		BOTH(the_bitmap_is_written_whole),
		ON("type1", type1_takes_all_for_written, fixture_type1),
		ON("iommufd", the_iommu_knows_and_forgets, fixture_iommufd),
		ON("iommufd", larger_pages_have_one_bit, fixture_iommufd),
		ON("iommufd", it_must_be_asked_for_beforehand, fixture_iommufd),
		ON("iommufd", an_iommu_that_cannot, fixture_iommufd),
		ON("iommufd", each_address_space_has_its_own, fixture_iommufd),
	};

	return fixture_run(tests);
}
