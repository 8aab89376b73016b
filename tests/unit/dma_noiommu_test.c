/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Backends without an IOMMU: noiommu, whose IOVAs are physical addresses, and none, for ports in
 * software. They must be named, charge nobody, and map at once.
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

#include "base_priv.h"
#include "dma_fixture.h"
#include "mem_priv.h"

/* Hugepages: there may be none here, so plain memory says that it is. */
#define HUGE          PN_PAGE_2M
#define FRAME(number) (UINT64_C(0x123400) * PAGE + (number)*HUGE)

static struct pn_dma_device card;

/* The first three hugepages lie together, the next two elsewhere, the last by itself. */
static int setup_noiommu(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct pn_region_info info;

	fixture_machine();
	model.noiommu = model.cap_sys_rawio = true;
	model_noiommu_device("0000:00:09.0", 0);
	card = (struct pn_dma_device){.address = "0000:00:09.0", .group = 0};
	if (!fixture || new_region(&fixture->region, 6 * HUGE / PAGE))
		return -1;
	fixture->region->page_size = HUGE;
	pn_region_get_info(fixture->region, &info);
	fixture->base = info.vaddr;
	fixture->backend = "noiommu";
	model_frames(fixture->base, 3 * HUGE, FRAME(0) / PAGE);
	model_frames(fixture->base + 3 * HUGE, 2 * HUGE, FRAME(100) / PAGE);
	model_frames(fixture->base + 5 * HUGE, HUGE, FRAME(90) / PAGE);
	if (new_domain(&fixture->domain, "noiommu", NULL))
		fprintf(stderr, "%s\n", pn_error());
	*state = fixture;
	return fixture->domain ? 0 : -1;
}

static int setup_none(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct pn_region_info info;

	fixture_machine();
	if (!fixture || new_region(&fixture->region, PAGES) ||
		new_domain(&fixture->domain, "none", NULL))
		return -1;
	pn_region_get_info(fixture->region, &info);
	fixture->base = info.vaddr;
	fixture->backend = "none";
	*state = fixture;
	return 0;
}

static int map_bytes(struct fixture *fixture, uint64_t offset, uint64_t len, uint64_t *iova)
{
	return pn_domain_map(fixture->domain, fixture->region, offset, len, PN_PROT_RW, iova);
}

static int map_any(struct fixture *fixture, uint64_t offset, uint64_t len, uint64_t *iova)
{
	*iova = PN_IOVA_ANY;
	return map_bytes(fixture, offset, len, iova);
}

static void iovas_are_physical_addresses(void **state)
{
	struct fixture *fixture = *state;
	struct pn_mapping_info mapping;
	uint64_t iova, found;
	void *vaddr;
	int fd;

	assert_int_equal(map_any(fixture, 0, 3 * HUGE, &iova), 0);
	assert_true(iova == FRAME(0));
	assert_int_equal(map_any(fixture, 4 * HUGE, HUGE, &iova), 0);
	assert_true(iova == FRAME(101));
	fd = attach_to(fixture->domain, &card);
	/* A part of one, which is where its page is. */
	assert_int_equal(map_any(fixture, 5 * HUGE + 16 * PAGE, 4 * PAGE, &iova), 0);
	assert_true(iova == FRAME(90) + 16 * PAGE);
	for (uint64_t at = 0; !pn_domain_next(fixture->domain, at, &mapping);
		at = mapping.iova + mapping.len) {
		assert_int_equal(mapping.charged, 0);
		assert_false(mapping.queued);
	}
	assert_int_equal(
		pn_domain_iova(fixture->domain, fixture->base + 4 * HUGE + 5, 1, &found), 0);
	assert_true(found == FRAME(101) + 5);
	assert_int_equal(pn_domain_vaddr(fixture->domain, found, PAGE, &vaddr), 0);
	assert_ptr_equal(vaddr, fixture->base + 4 * HUGE + 5);
	assert_int_equal(model.locked + model.user + model.pinned, 0);
	assert_int_equal(info_of(fixture->domain).mappings, 3);
	assert_int_equal(pn_domain_unmap(fixture->domain, FRAME(0), 3 * HUGE), 0);
	pn_domain_detach(fixture->domain, fd);
	assert_int_equal(info_of(fixture->domain).mappings, 2);
	assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	assert_int_equal(info_of(fixture->domain).mappings, 0);
}

static void only_that_iova_can_be_had(void **state)
{
	struct fixture *fixture = *state;
	uint64_t iova = FRAME(0);

	assert_int_equal(map_bytes(fixture, 0, HUGE, &iova), 0);
	for (int i = 0; i < 3; i++) {
		const uint64_t others[] = {FRAME(2), FRAME(1) + PAGE, AT(0x200000)};

		iova = others[i];
		stale_error();
		assert_true(map_bytes(fixture, HUGE, HUGE, &iova) < 0);
		assert_true(has_reason());
		assert_true(iova == others[i]);
	}
	/* The same memory twice would be the same IOVAs twice. */
	REFUSED(fixture->domain, EEXIST, map_any(fixture, 0, 2 * HUGE, &iova));
	assert_true(iova == PN_IOVA_ANY);
	assert_int_equal(info_of(fixture->domain).mappings, 1);
}

static void memory_that_does_not_lie_together(void **state)
{
	struct fixture *fixture = *state;
	uint64_t iova;

	REFUSED(fixture->domain, EOPNOTSUPP, map_any(fixture, 2 * HUGE, 2 * HUGE, &iova));
	REFUSED(fixture->domain, EOPNOTSUPP, map_any(fixture, 4 * HUGE, 2 * HUGE, &iova));
	REFUSED(fixture->domain, EOPNOTSUPP, map_any(fixture, 0, 6 * HUGE, &iova));
	assert_true(iova == PN_IOVA_ANY);
	assert_int_equal(map_any(fixture, 2 * HUGE, HUGE, &iova), 0);
	assert_int_equal(map_any(fixture, 3 * HUGE, 2 * HUGE, &iova), 0);
}

/* The kernel may move small pages at any time. */
static void small_pages_are_refused(void **state)
{
	struct fixture *fixture = *state;
	struct pn_region *region;
	uint64_t iova = PN_IOVA_ANY;

	assert_int_equal(new_region(&region, 4), 0);
	REFUSED(fixture->domain, EOPNOTSUPP,
		pn_domain_map(fixture->domain, region, 0, PAGE, PN_PROT_RW, &iova));
	assert_int_equal(pn_region_destroy(region), 0);
}

static void segments_follow_each_other_or_not_at_all(void **state)
{
	struct fixture *fixture = *state;
	struct pn_segment apart[] = {{fixture->region, 0, HUGE}, {fixture->region, 3 * HUGE, HUGE}},
			  together[] = {{fixture->region, 0, HUGE}, {fixture->region, HUGE, HUGE}};
	uint64_t iova = PN_IOVA_ANY;

	stale_error();
	assert_true(pn_domain_map_segments(fixture->domain, apart, 2, PN_PROT_RW, &iova) < 0);
	assert_true(has_reason());
	assert_true(iova == PN_IOVA_ANY);
	assert_int_equal(info_of(fixture->domain).mappings, 0);
	assert_int_equal(
		pn_domain_map_segments(fixture->domain, together, 2, PN_PROT_RW, &iova), 0);
	assert_true(iova == FRAME(0));
	assert_int_equal(info_of(fixture->domain).mappings, 1);
}

static void rights_and_the_mode_are_needed(void **state)
{
	struct fixture *fixture = *state;
	int fd;

	model.cap_sys_rawio = false;
	REFUSED(fixture->domain, EPERM, pn_domain_attach(fixture->domain, &card, &fd));
	model.cap_sys_rawio = true;
	/* A device with an IOMMU does not mix. */
	stale_error();
	assert_true(pn_domain_attach(fixture->domain, &nic0, &fd) < 0);
	assert_true(has_reason());
	assert_int_equal(pn_domain_destroy(fixture->domain), 0);
	fixture->domain = NULL;
	model.noiommu = false;
	stale_error();
	assert_true(new_domain(&fixture->domain, "noiommu", NULL) < 0);
	assert_non_null(strstr(pn_error(), "enable_unsafe_noiommu_mode"));
}

static void devices_of_noiommu_elsewhere(void **state)
{
	static const char *const names[] = {"type1", "iommufd-compat", "iommufd"};
	struct fixture *fixture = *state;
	struct pn_domain *domain;
	int fd = -1;

	(void)fixture;
	for (size_t i = 0; i < PN_ARRAY_SIZE(names); i++) {
		assert_int_equal(new_domain(&domain, names[i], NULL), 0);
		stale_error();
		assert_true(pn_domain_attach(domain, &card, &fd) < 0);
		assert_true(has_reason());
		assert_int_equal(model_open_devices(), 0);
		assert_int_equal(fd, -1);
		assert_int_equal(pn_domain_destroy(domain), 0);
	}
}

static void nothing_tracks_or_hands_over(void **state)
{
	struct fixture *fixture = *state;
	const struct pn_domain_opts dirty = {.dirty_tracking = true},
				    process = {.accounting = PN_ACCOUNTING_USER},
				    beside = {.beside = fixture->domain};
	struct pn_domain *other;
	int file;

	stale_error();
	assert_true(pn_domain_dirty_start(fixture->domain) < 0);
	assert_true(has_reason());
	assert_true(pn_domain_handover(fixture->domain, &file) < 0);
	assert_true(new_domain(&other, fixture->backend, &dirty) < 0);
	assert_true(new_domain(&other, fixture->backend, &process) < 0);
	assert_true(new_domain(&other, fixture->backend, &beside) < 0);
	assert_true(has_reason());
}

/* None: an address space without devices, live from the beginning. */
static void software_has_an_address_space(void **state)
{
	struct fixture *fixture = *state;
	struct pn_pins_report *report;
	struct pn_mapping_info mapping;
	uint64_t iova = PN_IOVA_ANY, other = AT(0x10000);
	int fd = -1;
	void *vaddr;

	assert_int_equal(map_bytes(fixture, 0, 4 * PAGE, &iova), 0);
	assert_true(iova == (uintptr_t)fixture->base);
	assert_int_equal(map_bytes(fixture, 0, 4 * PAGE, &other), 0);
	assert_int_equal(pn_domain_vaddr(fixture->domain, other, 4 * PAGE, &vaddr), 0);
	assert_ptr_equal(vaddr, fixture->base);
	assert_int_equal(pn_domain_next(fixture->domain, 0, &mapping), 0);
	assert_false(mapping.queued);
	assert_int_equal(mapping.charged, 0);
	REFUSED(fixture->domain, EEXIST, map_bytes(fixture, 8 * PAGE, 4 * PAGE, &other));
	REFUSED(fixture->domain, EINVAL, pn_domain_unmap(fixture->domain, other, PAGE));
	REFUSED(fixture->domain, EOPNOTSUPP, pn_domain_attach(fixture->domain, &nic0, &fd));
	assert_int_equal(pn_domain_pins(fixture->domain, false, &report), 0);
	for (int counter = 0; counter < PN_COUNTER_MAX; counter++)
		assert_int_equal(report->processes[0].predicted[counter], 0);
	pn_pins_report_free(report);
	assert_int_equal(pn_domain_unmap(fixture->domain, other, 4 * PAGE), 0);
	assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	assert_int_equal(model.calls, 0);
	assert_int_equal(pn_region_destroy(fixture->region), 0);
	fixture->region = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON("noiommu", iovas_are_physical_addresses, setup_noiommu),
		ON("noiommu", only_that_iova_can_be_had, setup_noiommu),
		ON("noiommu", memory_that_does_not_lie_together, setup_noiommu),
		ON("noiommu", small_pages_are_refused, setup_noiommu),
		ON("noiommu", segments_follow_each_other_or_not_at_all, setup_noiommu),
		ON("noiommu", rights_and_the_mode_are_needed, setup_noiommu),
		ON("noiommu", devices_of_noiommu_elsewhere, setup_noiommu),
		ON("noiommu", nothing_tracks_or_hands_over, setup_noiommu),
		ON("none", nothing_tracks_or_hands_over, setup_none),
		ON("none", software_has_an_address_space, setup_none),
	};

	return fixture_run(tests);
}
