/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the DMA layer share.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_fixture.h"

struct pn_dma_device nic0, nic1, nic2;
const char *ledgers;
char refused_reason[PN_ERROR_MAX];
unsigned int reports_every = 16;

int __wrap_pn_meter_measure(struct pn_figure *figure);

/* What is measured where the kernel says ENOMEM: the model's counter, and at once. */
int __wrap_pn_meter_measure(struct pn_figure *figure)
{
	*figure = (struct pn_figure){model.user, PN_OBSERVER_METER};
	return 0;
}

static void add_device(struct pn_dma_device *device, const char *address, int group)
{
	int cdev = model_device(address, group);

	memset(device, 0, sizeof(*device));
	snprintf(device->address, sizeof(device->address), "%s", address);
	device->group = group;
	snprintf(device->cdev, sizeof(device->cdev), "/dev/vfio/devices/vfio%d", cdev);
}

void fixture_machine(void)
{
	model_setup(NULL);
	model.ranges[0].end = AT(0xfedfffff);
	model.ranges[1].start = AT(0xfef00000);
	add_device(&nic0, "0000:00:02.0", 5);
	add_device(&nic1, "0000:00:02.1", 5);
	add_device(&nic2, "0000:00:03.0", 6);
}

int new_region(struct pn_region **out, uint64_t pages)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;

	opts.page_size = PN_PAGE_4K;
	return pn_region_create(out, pages * PAGE, &opts);
}

int new_domain(struct pn_domain **out, const char *backend, const struct pn_domain_opts *opts)
{
	struct pn_domain_opts mine = {0};

	if (opts)
		mine = *opts;
	mine.backend = backend;
	mine.ledger_dir = ledgers;
	*out = NULL;
	return pn_domain_create(out, &mine);
}

static int setup(void **state, const char *backend, bool files)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct pn_region_info info;

	fixture_machine();
	model.map_file = model.change_process = files;
	if (!fixture || new_region(&fixture->region, PAGES) ||
		new_domain(&fixture->domain, backend, NULL)) {
		fprintf(stderr, "%s\n", pn_error());
		return -1;
	}
	fixture->backend = backend;
	pn_region_get_info(fixture->region, &info);
	fixture->base = info.vaddr;
	*state = fixture;
	return 0;
}

int fixture_type1(void **state)
{
	return setup(state, "type1", true);
}

int fixture_compat(void **state)
{
	return setup(state, "iommufd-compat", true);
}

int fixture_iommufd(void **state)
{
	return setup(state, "iommufd", true);
}

int fixture_iommufd_old(void **state)
{
	return setup(state, "iommufd", false);
}

int fixture_end(void **state)
{
	struct fixture *fixture = *state;
	int err = 0;

	model_calm();
	if (fixture->domain)
		err |= pn_domain_destroy(fixture->domain);
	if (fixture->region)
		err |= pn_region_destroy(fixture->region);
	free(fixture);
	return err ? err : model_teardown(NULL);
}

bool is_type1(const struct fixture *fixture)
{
	return !strcmp(fixture->backend, "type1");
}

struct pn_domain_info info_of(struct pn_domain *domain)
{
	struct pn_domain_info info;

	memset(&info, 0xff, sizeof(info));
	pn_domain_get_info(domain, &info);
	return info;
}

int attach_to(struct pn_domain *domain, const struct pn_dma_device *device)
{
	int fd = -1;

	assert_int_equal(pn_domain_attach(domain, device, &fd), 0);
	assert_true(fd >= 0);
	return fd;
}

void map_at(struct fixture *fixture, uint64_t page, uint64_t pages, uint64_t iova)
{
	uint64_t got = iova;

	assert_int_equal(pn_domain_map(fixture->domain, fixture->region, page * PAGE, pages * PAGE,
				 PN_PROT_RW, &got),
		0);
	if (iova != PN_IOVA_ANY)
		assert_int_equal(got, iova);
}

bool takes_addresses(const struct fixture *fixture)
{
	struct pn_domain_info info = info_of(fixture->domain);
	uint64_t first = (uintptr_t)fixture->base, last = first + PAGES * PAGE - 1;

	for (unsigned int i = 0; i < info.range_count; i++)
		if (first >= info.ranges[i].first && last <= info.ranges[i].last)
			return true;
	return false;
}

/* Agreement. */

struct totals {
	uint64_t mappings, bytes, charged, in_kernel;
};

static uint32_t flags_of(enum pn_prot prot)
{
	return (prot & PN_PROT_READ ? VFIO_DMA_MAP_FLAG_READ : 0u) |
	       (prot & PN_PROT_WRITE ? VFIO_DMA_MAP_FLAG_WRITE : 0u);
}

static struct totals walk(struct pn_domain *domain, bool attached)
{
	struct totals totals = {0};
	struct pn_mapping_info mapping;
	uint64_t at = 0;

	while (!pn_domain_next(domain, at, &mapping)) {
		assert_true(mapping.iova >= at && mapping.len);
		assert_int_equal(mapping.queued, !attached);
		if (attached)
			assert_true(model_has(
				mapping.iova, mapping.vaddr, mapping.len, flags_of(mapping.prot)));
		else
			assert_int_equal(mapping.charged, 0);
		totals.mappings++;
		totals.bytes += mapping.len;
		totals.charged += mapping.charged;
		totals.in_kernel += attached;
		at = mapping.iova + mapping.len;
		if (!at)
			break;
	}
	return totals;
}

/* The reports say what the walk says, and that is what the kernel has charged. */
static void check_charges(struct pn_domain *const *domains, size_t count, uint64_t charged)
{
	bool type1 = !strcmp(info_of(domains[0]).backend, "type1");
	enum pn_counter counter = type1 ? PN_COUNTER_MM_LOCKED : PN_COUNTER_MM_PINNED;
	static unsigned int checks;
	uint64_t pages = 0;

	assert_int_equal(charged, type1 ? model.locked : model.pinned);
	if (checks++ % reports_every)
		return;
	for (size_t i = 0; i < count; i++) {
		struct pn_pins_report *report;

		/* All of a process's domains whose ledgers are in the usual places, and this one.
		 */
		assert_int_equal(pn_domain_pins(domains[i], false, &report), 0);
		assert_true(report->process_count >= 1);
		pages += report->processes[0].predicted[counter];
		pn_pins_report_free(report);
	}
	assert_int_equal(pages, charged);
}

void check_domains(struct pn_domain *const *domains, size_t count)
{
	struct totals all = {0};

	for (size_t i = 0; i < count; i++) {
		struct pn_domain_info info = info_of(domains[i]);
		struct totals totals = walk(domains[i], info.devices > 0);

		assert_false(info.damaged);
		assert_int_equal(info.mappings, totals.mappings);
		assert_int_equal(info.bytes, totals.bytes);
		all.charged += totals.charged;
		all.in_kernel += totals.in_kernel;
	}
	assert_int_equal(model_maps(), all.in_kernel);
	check_charges(domains, count, all.charged);
}

void check_domain(struct pn_domain *domain)
{
	check_domains(&domain, 1);
}

void assert_maps(struct pn_domain *domain, uint64_t mappings, uint64_t pages)
{
	struct pn_domain_info info = info_of(domain);

	assert_int_equal(info.mappings, mappings);
	assert_int_equal(info.bytes, pages * PAGE);
	check_domain(domain);
}

/* Snapshots. */

struct snapshot snapshot_of(struct pn_domain *domain)
{
	struct snapshot snapshot = {.kernel = model_state()};
	struct pn_mapping_info mapping;
	struct pn_domain_info info;
	uint64_t at = 0;

	if (!domain)
		return snapshot;
	info = info_of(domain);
	snapshot.mappings = info.mappings;
	snapshot.bytes = info.bytes;
	snapshot.entries_left = info.entries_left;
	snapshot.devices = info.devices;
	snapshot.range_count = info.range_count;
	snapshot.damaged = info.damaged;
	snapshot.dirty = info.dirty;
	snapshot.limits_known = info.limits_known;
	while (!pn_domain_next(domain, at, &mapping)) {
		snapshot.sum = snapshot.sum * 31 + mapping.iova;
		snapshot.sum = snapshot.sum * 31 + (uintptr_t)mapping.vaddr;
		snapshot.sum = snapshot.sum * 31 + mapping.len;
		snapshot.sum = snapshot.sum * 31 + mapping.prot * 2u + mapping.queued;
		snapshot.charged += mapping.charged;
		at = mapping.iova + mapping.len;
		if (!at)
			break;
	}
	return snapshot;
}

bool snapshot_equal(const struct snapshot *a, const struct snapshot *b)
{
	return model_state_equal(&a->kernel, &b->kernel) && a->mappings == b->mappings &&
	       a->bytes == b->bytes && a->entries_left == b->entries_left && a->sum == b->sum &&
	       a->charged == b->charged && a->devices == b->devices &&
	       a->range_count == b->range_count && a->damaged == b->damaged &&
	       a->dirty == b->dirty && a->limits_known == b->limits_known;
}

void stale_error(void)
{
	pn_fail(EPROTO, "stale");
}

bool has_reason(void)
{
	return strcmp(pn_error(), "stale") && pn_error()[0];
}

const char *reason(void)
{
	static char text[PN_ERROR_MAX];

	snprintf(text, sizeof(text), "%s", pn_error());
	return text;
}
