/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unmapping: every backend gives the same answers, whatever its kernel would do with a range that
 * cuts a mapping, holds gaps or holds nothing; queued or not. And unmapping everything.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_fixture.h"
#include "vfio_model_abi.h"

static unsigned int unmap_calls(void)
{
	return model_calls_of(VFIO_IOMMU_UNMAP_DMA) + model_calls_of(K_IOAS_UNMAP);
}

/* Mappings of pages [0,2), [2,4), [6,7), [9,12) of an area, and what is between them. */
#define AREA AT(0x10000)

static void map_area(struct fixture *fixture)
{
	map_at(fixture, 0, 2, AREA);
	map_at(fixture, 2, 2, AREA + 2 * PAGE);
	map_at(fixture, 4, 1, AREA + 6 * PAGE);
	map_at(fixture, 5, 3, AREA + 9 * PAGE);
}

/* Pages of the area that a mapping begins and ends at. */
static bool is_border(unsigned int page)
{
	return page != 1 && page != 3 && page != 10 && page != 11;
}

static unsigned int mappings_in(unsigned int first, unsigned int end)
{
	static const unsigned int begins[] = {0, 2, 6, 9}, ends[] = {2, 4, 7, 12};
	unsigned int count = 0;

	for (size_t i = 0; i < 4; i++)
		count += begins[i] >= first && ends[i] <= end;
	return count;
}

static void every_range(struct fixture *fixture)
{
	for (unsigned int first = 0; first < 14; first++)
		for (unsigned int end = first + 1; end <= 14; end++) {
			uint64_t iova = AREA + first * PAGE, len = (end - first) * PAGE;
			unsigned int inside = mappings_in(first, end);

			if (!is_border(first) || !is_border(end)) {
				REFUSED(fixture->domain, EINVAL,
					pn_domain_unmap(fixture->domain, iova, len));
				continue;
			}
			if (!inside) {
				REFUSED(fixture->domain, ENOENT,
					pn_domain_unmap(fixture->domain, iova, len));
				continue;
			}
			assert_int_equal(pn_domain_unmap(fixture->domain, iova, len), 0);
			assert_int_equal(info_of(fixture->domain).mappings, 4 - inside);
			check_domain(fixture->domain);
			assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
			map_area(fixture);
		}
}

static void every_range_has_the_same_answer_everywhere(void **state)
{
	struct fixture *fixture = *state;
	int fd;

	map_area(fixture);
	every_range(fixture);
	fd = attach_to(fixture->domain, &nic0);
	every_range(fixture);
	pn_domain_detach(fixture->domain, fd);
}

static void ranges_that_are_none(void **state)
{
	struct fixture *fixture = *state;
	int fd = attach_to(fixture->domain, &nic0);

	map_area(fixture);
	for (int attached = 1; attached >= 0; attached--) {
		REFUSED(fixture->domain, EINVAL, pn_domain_unmap(fixture->domain, AREA, 0));
		REFUSED(fixture->domain, EINVAL, pn_domain_unmap(fixture->domain, AREA + 1, PAGE));
		REFUSED(fixture->domain, EINVAL,
			pn_domain_unmap(fixture->domain, AREA, 2 * PAGE - 1));
		REFUSED(fixture->domain, EINVAL,
			pn_domain_unmap(fixture->domain, AREA + 1, 2 * PAGE - 1));
		REFUSED(fixture->domain, EINVAL,
			pn_domain_unmap(fixture->domain, AREA, UINT64_MAX - AREA + 2));
		REFUSED(fixture->domain, EINVAL,
			pn_domain_unmap(fixture->domain, UINT64_MAX - PAGE + 1, 2 * PAGE));
		REFUSED(fixture->domain, ENOENT,
			pn_domain_unmap(fixture->domain, UINT64_MAX - PAGE + 1, PAGE));
		REFUSED(fixture->domain, ENOENT, pn_domain_unmap(fixture->domain, 0, PAGE));
		if (attached)
			pn_domain_detach(fixture->domain, fd);
	}
	/* All that there can be, and one that ends with the last address. */
	assert_int_equal(pn_domain_unmap(fixture->domain, AREA, UINT64_MAX - AREA + 1), 0);
	assert_maps(fixture->domain, 0, 0);
	map_area(fixture);
	assert_int_equal(pn_domain_unmap(fixture->domain, 0, UINT64_MAX), 0);
	assert_maps(fixture->domain, 0, 0);
}

static void unmapping_all_takes_the_queue_too(void **state)
{
	struct fixture *fixture = *state;
	int fd;

	assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	map_area(fixture);
	assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	assert_maps(fixture->domain, 0, 0);
	fd = attach_to(fixture->domain, &nic0);
	assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	for (int round = 0; round < 3; round++) {
		map_area(fixture);
		assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
		assert_maps(fixture->domain, 0, 0);
		assert_int_equal(model.locked + model.user + model.pinned, 0);
	}
	pn_domain_detach(fixture->domain, fd);
	/* The region is free again. */
	assert_int_equal(pn_region_destroy(fixture->region), 0);
	fixture->region = NULL;
}

static void an_unmap_gives_the_iova_and_the_entry_back(void **state)
{
	struct fixture *fixture = *state;
	uint64_t left;
	int fd;

	model.entries = 8;
	fd = attach_to(fixture->domain, &nic0);
	left = info_of(fixture->domain).entries_left;
	map_area(fixture);
	assert_int_equal(
		info_of(fixture->domain).entries_left, left == UINT64_MAX ? UINT64_MAX : left - 4);
	assert_int_equal(pn_domain_unmap(fixture->domain, AREA, 4 * PAGE), 0);
	assert_int_equal(
		info_of(fixture->domain).entries_left, left == UINT64_MAX ? UINT64_MAX : left - 2);
	map_at(fixture, 0, 4, AREA);
	assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	assert_true(info_of(fixture->domain).entries_left == left);
	pn_domain_detach(fixture->domain, fd);
}

static void a_kernel_that_keeps_mappings_is_not_believed(void **state)
{
	struct fixture *fixture = *state;
	int fd = attach_to(fixture->domain, &nic0);

	map_area(fixture);
	model.unmap_nothing = true;
	stale_error();
	assert_true(pn_domain_unmap(fixture->domain, AREA, 2 * PAGE) < 0);
	assert_true(has_reason());
	stale_error();
	assert_true(pn_domain_unmap_all(fixture->domain) < 0);
	assert_true(has_reason());
	model.unmap_nothing = false;
	assert_int_equal(model_maps(), 4);
	assert_int_equal(info_of(fixture->domain).mappings, 4);
	assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	assert_int_equal(model_maps(), 0);
	pn_domain_detach(fixture->domain, fd);
}

/* What the kernel is asked to remove is what was mapped, piece by piece or everything. */
static void no_more_calls_than_mappings(void **state)
{
	struct fixture *fixture = *state;
	int fd = attach_to(fixture->domain, &nic0);

	map_area(fixture);
	model_forget_calls();
	assert_int_equal(pn_domain_unmap(fixture->domain, AREA, 14 * PAGE), 0);
	assert_true(unmap_calls() <= 4);
	map_area(fixture);
	model_forget_calls();
	assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	assert_true(unmap_calls() <= 4);
	pn_domain_detach(fixture->domain, fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_EACH(every_range_has_the_same_answer_everywhere),
		ON_EACH(ranges_that_are_none),
		ON_EACH(unmapping_all_takes_the_queue_too),
		ON_EACH(an_unmap_gives_the_iova_and_the_entry_back),
		ON_EACH(a_kernel_that_keeps_mappings_is_not_believed),
		ON_EACH(no_more_calls_than_mappings),
	};

	return fixture_run(tests);
}
