/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several segments mapped with one call: one run of IOVAs, as few mappings as the memory allows,
 * all or none.
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

#define MANY 1000u

static unsigned int map_calls(void)
{
	return model_calls_of(VFIO_IOMMU_MAP_DMA) + model_calls_of(K_IOAS_MAP) +
	       (model.map_file ? model_calls_of(K_IOAS_MAP_FILE) : 0);
}

/* Runs of pages of the fixture's region: first page, pages. */
struct part {
	uint64_t page, pages;
};

static int map_parts(
	struct fixture *fixture, const struct part *parts, size_t count, uint64_t *iova)
{
	struct pn_segment segments[8];

	for (size_t i = 0; i < count; i++)
		segments[i] = (struct pn_segment){
			fixture->region, parts[i].page * PAGE, parts[i].pages * PAGE};
	return pn_domain_map_segments(fixture->domain, segments, count, PN_PROT_RW, iova);
}

/* Each page of the parts is at its place behind iova. */
static void assert_run(
	struct fixture *fixture, const struct part *parts, size_t count, uint64_t iova)
{
	void *vaddr;

	for (size_t i = 0; i < count; i++) {
		for (uint64_t page = 0; page < parts[i].pages; page++, iova += PAGE) {
			assert_int_equal(pn_domain_vaddr(fixture->domain, iova, PAGE, &vaddr), 0);
			assert_ptr_equal(vaddr, fixture->base + (parts[i].page + page) * PAGE);
		}
	}
}

static void what_goes_on_becomes_one_mapping(void **state)
{
	static const struct {
		struct part parts[6];
		size_t count;
		unsigned int mappings;
	} cases[] = {
		{{{0, 1}}, 1, 1},
		{{{0, 2}, {2, 1}, {3, 5}}, 3, 1},
		{{{0, 2}, {3, 1}}, 2, 2},
		{{{2, 2}, {0, 2}}, 2, 2},
		{{{0, 2}, {2, 2}, {5, 1}, {6, 1}, {8, 1}}, 5, 3},
		{{{0, 2}, {0, 2}}, 2, 2},
		{{{0, 4}, {3, 4}}, 2, 2},
		{{{5, 1}, {4, 1}, {3, 1}, {2, 1}, {1, 1}, {0, 1}}, 6, 6},
		{{{0, 1}, {1, 1}, {0, 2}, {2, 1}}, 4, 2},
	};
	struct fixture *fixture = *state;
	int fd = -1;

	for (int attached = 0; attached < 2; attached++) {
		if (attached)
			fd = attach_to(fixture->domain, &nic0);
		for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++) {
			uint64_t iova = AT(0x40000), pages = 0;

			for (size_t at = 0; at < cases[i].count; at++)
				pages += cases[i].parts[at].pages;
			model_forget_calls();
			assert_int_equal(
				map_parts(fixture, cases[i].parts, cases[i].count, &iova), 0);
			assert_true(iova == AT(0x40000));
			assert_run(fixture, cases[i].parts, cases[i].count, iova);
			assert_maps(fixture->domain, cases[i].mappings, pages);
			if (attached)
				assert_int_equal(map_calls(), cases[i].mappings);
			/* As one range. */
			assert_int_equal(pn_domain_unmap(fixture->domain, iova, pages * PAGE), 0);
			assert_maps(fixture->domain, 0, 0);
		}
	}
	pn_domain_detach(fixture->domain, fd);
}

static void mappings_of_several_calls_stay_apart(void **state)
{
	static const struct part parts[] = {{0, 2}, {2, 2}, {6, 1}};
	struct fixture *fixture = *state;
	uint64_t iova = AT(0x10000);
	int fd = attach_to(fixture->domain, &nic0);

	map_at(fixture, 10, 1, AT(0x8000));
	map_at(fixture, 11, 1, AT(0x9000));
	assert_maps(fixture->domain, 2, 2);
	assert_int_equal(map_parts(fixture, parts, 3, &iova), 0);
	assert_maps(fixture->domain, 4, 7);
	/* One mapping is not cut where its segments met; two are two. */
	REFUSED(fixture->domain, EINVAL, pn_domain_unmap(fixture->domain, AT(0x10000), 2 * PAGE));
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x14000), PAGE), 0);
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x10000), 4 * PAGE), 0);
	assert_maps(fixture->domain, 2, 2);
	pn_domain_detach(fixture->domain, fd);
}

static void virtual_addresses_only_where_they_follow(void **state)
{
	static const struct part together[] = {{0, 2}, {2, 2}}, apart[] = {{8, 2}, {11, 1}},
				 backwards[] = {{21, 1}, {20, 1}};
	struct fixture *fixture = *state;
	uint64_t iova;
	int fd = -1;

	for (int attached = 0; attached < 2; attached++) {
		if (attached)
			fd = attach_to(fixture->domain, &nic0);
		if (!takes_addresses(fixture))
			continue;
		iova = PN_IOVA_ANY;
		assert_int_equal(map_parts(fixture, together, 2, &iova), 0);
		assert_true(iova == (uintptr_t)fixture->base);
		iova = PN_IOVA_ANY;
		assert_int_equal(map_parts(fixture, apart, 2, &iova), 0);
		assert_true(iova != (uintptr_t)fixture->base + 8 * PAGE);
		assert_run(fixture, apart, 2, iova);
		iova = PN_IOVA_ANY;
		assert_int_equal(map_parts(fixture, backwards, 2, &iova), 0);
		assert_true(iova != (uintptr_t)fixture->base + 21 * PAGE);
		assert_run(fixture, backwards, 2, iova);
		assert_maps(fixture->domain, 5, 9);
		assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	}
	pn_domain_detach(fixture->domain, fd);
}

static void virtual_addresses_or_nothing(void **state)
{
	static const struct part together[] = {{0, 2}, {2, 2}}, apart[] = {{8, 2}, {11, 1}};
	const struct pn_domain_opts opts = {.iova_mode = PN_IOVA_VA_ONLY};
	struct fixture *fixture = *state;
	uint64_t iova = PN_IOVA_ANY;
	int fd;

	assert_int_equal(pn_domain_destroy(fixture->domain), 0);
	assert_int_equal(new_domain(&fixture->domain, fixture->backend, &opts), 0);
	fd = attach_to(fixture->domain, &nic0);
	REFUSED(fixture->domain, ENOSPC, map_parts(fixture, apart, 2, &iova));
	assert_true(iova == PN_IOVA_ANY);
	assert_int_equal(map_parts(fixture, together, 2, &iova), 0);
	assert_true(iova == (uintptr_t)fixture->base);
	pn_domain_detach(fixture->domain, fd);
}

static void segments_of_several_regions(void **state)
{
	struct fixture *fixture = *state;
	struct pn_segment segments[4];
	struct pn_region *other;
	struct pn_region_info info;
	uint64_t iova = PN_IOVA_ANY, second;
	void *vaddr;
	int fd = attach_to(fixture->domain, &nic0);

	assert_int_equal(new_region(&other, 4), 0);
	pn_region_get_info(other, &info);
	segments[0] = (struct pn_segment){fixture->region, 62 * PAGE, 2 * PAGE};
	segments[1] = (struct pn_segment){other, 0, PAGE};
	segments[2] = (struct pn_segment){other, PAGE, 2 * PAGE};
	segments[3] = (struct pn_segment){fixture->region, 0, PAGE};
	assert_int_equal(
		pn_domain_map_segments(fixture->domain, segments, 4, PN_PROT_READ, &iova), 0);
	assert_maps(fixture->domain, 3, 6);
	assert_int_equal(pn_domain_vaddr(fixture->domain, iova + 2 * PAGE, 3 * PAGE, &vaddr), 0);
	assert_ptr_equal(vaddr, info.vaddr);
	assert_int_equal(pn_domain_vaddr(fixture->domain, iova, 3 * PAGE, &vaddr), -ENOENT);
	assert_int_equal(pn_domain_iova(fixture->domain, fixture->base, PAGE, &second), 0);
	assert_true(second == iova + 5 * PAGE);
	assert_int_equal(pn_region_destroy(other), -EBUSY);
	assert_int_equal(pn_domain_unmap(fixture->domain, iova, 6 * PAGE), 0);
	assert_int_equal(pn_region_destroy(other), 0);
	pn_domain_detach(fixture->domain, fd);
}

static void a_run_fits_as_a_whole_or_not(void **state)
{
	static const struct part parts[] = {{0, 2}, {4, 2}, {8, 2}};
	struct fixture *fixture = *state;
	uint64_t iova;
	int fd = attach_to(fixture->domain, &nic0);

	for (int attached = 1; attached >= 0; attached--) {
		map_at(fixture, 20, 1, AT(0x15000));
		for (uint64_t page = 0; page <= 12; page++) {
			iova = AT(0xb000) + page * PAGE;
			if (iova + 6 * PAGE > AT(0x15000) && iova < AT(0x16000)) {
				REFUSED(fixture->domain, EEXIST,
					map_parts(fixture, parts, 3, &iova));
				continue;
			}
			assert_int_equal(map_parts(fixture, parts, 3, &iova), 0);
			assert_int_equal(pn_domain_unmap(fixture->domain, iova, 6 * PAGE), 0);
		}
		/* Over the end of a valid range, and from where none is into the next one. */
		for (uint64_t page = 1; attached && page < 6; page++) {
			iova = AT(0xfee00000) - page * PAGE;
			REFUSED(fixture->domain, EINVAL, map_parts(fixture, parts, 3, &iova));
			iova = AT(0xfef00000) - page * PAGE;
			REFUSED(fixture->domain, EINVAL, map_parts(fixture, parts, 3, &iova));
		}
		assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
		if (attached)
			pn_domain_detach(fixture->domain, fd);
	}
}

static void bad_segments_change_nothing(void **state)
{
	struct fixture *fixture = *state;
	const struct pn_segment good = {fixture->region, 0, PAGE};
	const struct pn_segment bad[] = {
		{fixture->region, 1, PAGE},
		{fixture->region, 0, PAGE + 1},
		{fixture->region, 0, 0},
		{fixture->region, PAGES * PAGE, PAGE},
		{fixture->region, PAGE, PAGES * PAGE},
		{fixture->region, UINT64_MAX - PAGE + 1, 2 * PAGE},
		{fixture->region, PAGE, UINT64_MAX - PAGE + 1},
		{NULL, 0, PAGE},
	};
	uint64_t iova;
	int fd = attach_to(fixture->domain, &nic0);

	for (int attached = 1; attached >= 0; attached--) {
		for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++)
			for (size_t place = 0; place < 3; place++) {
				struct pn_segment list[3] = {good, good, good};

				list[place] = bad[i];
				iova = place ? AT(0x10000) : PN_IOVA_ANY;
				REFUSED(fixture->domain, EINVAL,
					pn_domain_map_segments(
						fixture->domain, list, 3, PN_PROT_RW, &iova));
				assert_true(iova == (place ? AT(0x10000) : PN_IOVA_ANY));
			}
		iova = AT(0x10000);
		REFUSED(fixture->domain, EINVAL,
			pn_domain_map_segments(fixture->domain, &good, 0, PN_PROT_RW, &iova));
		REFUSED(fixture->domain, EINVAL,
			pn_domain_map_segments(fixture->domain, NULL, 1, PN_PROT_RW, &iova));
		REFUSED(fixture->domain, EINVAL,
			pn_domain_map_segments(fixture->domain, &good, 1, (enum pn_prot)0, &iova));
		REFUSED(fixture->domain, EINVAL,
			pn_domain_map_segments(fixture->domain, &good, 1, (enum pn_prot)4, &iova));
		REFUSED(fixture->domain, EINVAL,
			pn_domain_map_segments(fixture->domain, &good, 1, PN_PROT_RW, NULL));
		iova = AT(0x10001);
		REFUSED(fixture->domain, EINVAL,
			pn_domain_map_segments(fixture->domain, &good, 1, PN_PROT_RW, &iova));
		if (attached)
			pn_domain_detach(fixture->domain, fd);
	}
}

static void a_refused_run_leaves_nothing(void **state)
{
	static const struct part parts[] = {{0, 2}, {4, 2}, {8, 2}, {12, 2}, {16, 2}};
	struct fixture *fixture = *state;
	uint64_t iova;
	int fd = attach_to(fixture->domain, &nic0);

	/* The limit is hit by each of them in turn. */
	for (model.limit = 0; model.limit < 10; model.limit++) {
		iova = AT(0x10000);
		REFUSED(fixture->domain, ENOMEM, map_parts(fixture, parts, 5, &iova));
	}
	assert_int_equal(map_parts(fixture, parts, 5, &iova), 0);
	assert_maps(fixture->domain, 5, 10);
	pn_domain_detach(fixture->domain, fd);
}

static void very_many_segments(void **state)
{
	static struct pn_segment segments[MANY];
	struct fixture *fixture = *state;
	uint64_t iova = PN_IOVA_ANY;
	void *vaddr;
	int fd = attach_to(fixture->domain, &nic0);

	for (unsigned int i = 0; i < MANY; i++)
		segments[i] = (struct pn_segment){fixture->region, (i * 7 % PAGES) * PAGE, PAGE};
	assert_int_equal(
		pn_domain_map_segments(fixture->domain, segments, MANY, PN_PROT_RW, &iova), 0);
	assert_maps(fixture->domain, MANY, MANY);
	for (unsigned int i = 0; i < MANY; i++) {
		assert_int_equal(
			pn_domain_vaddr(fixture->domain, iova + i * PAGE, PAGE, &vaddr), 0);
		assert_ptr_equal(vaddr, fixture->base + segments[i].offset);
	}
	assert_int_equal(pn_domain_unmap(fixture->domain, iova, MANY * PAGE), 0);
	/* And in order: one. */
	for (unsigned int i = 0; i < PAGES; i++)
		segments[i] = (struct pn_segment){fixture->region, i * PAGE, PAGE};
	iova = PN_IOVA_ANY;
	assert_int_equal(
		pn_domain_map_segments(fixture->domain, segments, PAGES, PN_PROT_RW, &iova), 0);
	assert_maps(fixture->domain, 1, PAGES);
	pn_domain_detach(fixture->domain, fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_EACH(what_goes_on_becomes_one_mapping),
		ON_EACH(mappings_of_several_calls_stay_apart),
		ON_EACH(virtual_addresses_only_where_they_follow),
		ON_EACH(virtual_addresses_or_nothing),
		ON_EACH(segments_of_several_regions),
		ON_EACH(a_run_fits_as_a_whole_or_not),
		ON_EACH(bad_segments_change_nothing),
		ON_EACH(a_refused_run_leaves_nothing),
		ON_EACH(very_many_segments),
	};

	return fixture_run(tests);
}
