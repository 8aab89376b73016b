/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Domains against a model of the kernel: queued mappings, attach, replay and detach, which IOVAs
 * are given out, what is refused, and that whatever is refused changes nothing. Every test runs on
 * each backend.
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
#include "dma_priv.h"
#include "vfio_model.h"

#define PAGE  UINT64_C(4096)
#define PAGES 64u
/* In what a domain takes for valid before a kernel has told it. */
#define AT(iova) (UINT64_C(0x100000000) + (iova))

struct fixture {
	const char *backend;
	struct pn_domain *domain;
	struct pn_region *region;
	char *base;
};

static const struct pn_dma_device nic0 = {"0000:00:02.0", 5}, nic1 = {"0000:00:02.1", 5},
				  nic2 = {"0000:00:03.0", 6};
static const char *ledgers;

static int new_region(struct pn_region **out, uint64_t pages)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;

	opts.page_size = PN_PAGE_4K;
	return pn_region_create(out, pages * PAGE, &opts);
}

static int new_domain(struct pn_domain **out, const char *backend)
{
	struct pn_domain_opts opts = {backend, NULL, ledgers};

	return pn_domain_create(out, &opts);
}

static int setup_backend(void **state, const char *backend)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct pn_region_info info;

	model_setup(NULL);
	model.ranges[0].end = AT(0xfedfffff);
	model.ranges[1].start = AT(0xfef00000);
	model_device(nic0.address, nic0.group);
	model_device(nic1.address, nic1.group);
	model_device(nic2.address, nic2.group);
	if (!fixture || new_region(&fixture->region, PAGES) ||
		new_domain(&fixture->domain, backend)) {
		fprintf(stderr, "%s\n", pn_error());
		return -1;
	}
	fixture->backend = backend;
	pn_region_get_info(fixture->region, &info);
	fixture->base = info.vaddr;
	*state = fixture;
	return 0;
}

static int setup_type1(void **state)
{
	return setup_backend(state, "type1");
}

static int setup_compat(void **state)
{
	return setup_backend(state, "iommufd-compat");
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	int err = 0;

	if (fixture->domain)
		err |= pn_domain_destroy(fixture->domain);
	if (fixture->region)
		err |= pn_region_destroy(fixture->region);
	free(fixture);
	return err ? err : model_teardown(NULL);
}

static struct pn_domain_info info_of(struct pn_domain *domain)
{
	struct pn_domain_info info;

	memset(&info, 0xff, sizeof(info));
	pn_domain_get_info(domain, &info);
	return info;
}

/* The ledger predicts what the model has charged. (With CAP_IPC_LOCK iommufd charges only
 * mm->pinned_vm.) */
static void assert_charges_recorded(struct pn_domain *domain, const char *backend)
{
	enum pn_counter counter =
		!strcmp(backend, "type1") ? PN_COUNTER_MM_LOCKED : PN_COUNTER_MM_PINNED;
	struct pn_pins_report *report;
	uint64_t predicted;

	assert_int_equal(pn_domain_pins(domain, false, &report), 0);
	predicted = report->processes[0].predicted[counter];
	pn_pins_report_free(report);
	assert_int_equal(predicted, counter == PN_COUNTER_MM_LOCKED ? model.locked : model.pinned);
}

static void assert_maps(struct pn_domain *domain, uint64_t mappings, uint64_t pages)
{
	struct pn_domain_info info = info_of(domain);

	assert_int_equal(info.mappings, mappings);
	assert_int_equal(info.bytes, pages * PAGE);
	assert_charges_recorded(domain, info.backend);
	if (info.devices) {
		assert_int_equal(model_maps(), mappings);
		assert_int_equal(model_bytes(), pages * PAGE);
	} else {
		assert_int_equal(model.locked + model.user + model.pinned, 0);
	}
}

static uint64_t charged(const struct fixture *fixture)
{
	return !strcmp(fixture->backend, "type1") ? model.locked : model.user;
}

static void map_at(struct fixture *fixture, uint64_t page, uint64_t pages, uint64_t iova)
{
	uint64_t got = iova;

	assert_int_equal(pn_domain_map(fixture->domain, fixture->region, page * PAGE, pages * PAGE,
				 PN_PROT_RW, &got),
		0);
	if (iova != PN_IOVA_ANY)
		assert_int_equal(got, iova);
}

/* An operation that fails with err, freshly explained, and changes neither side. */
#define REFUSED(fixture, err, call)                                                           \
	do {                                                                                  \
		struct model_state refused_before = model_state(), refused_after;             \
		struct pn_domain_info refused_info = info_of((fixture)->domain);              \
                                                                                              \
		pn_fail(EPROTO, "stale");                                                     \
		assert_int_equal(call, -(err));                                               \
		assert_string_not_equal(pn_error(), "stale");                                 \
		assert_string_not_equal(pn_error(), "");                                      \
		refused_after = model_state();                                                \
		assert_true(model_state_equal(&refused_before, &refused_after));              \
		assert_int_equal(info_of((fixture)->domain).bytes, refused_info.bytes);       \
		assert_int_equal(info_of((fixture)->domain).mappings, refused_info.mappings); \
		assert_int_equal(info_of((fixture)->domain).devices, refused_info.devices);   \
	} while (0)

static void queued_mappings_cost_nothing_and_follow_the_devices(void **state)
{
	struct fixture *fixture = *state;
	uint64_t any = PN_IOVA_ANY;
	int fd = -1;

	assert_int_equal(
		pn_domain_map(fixture->domain, fixture->region, 0, 4 * PAGE, PN_PROT_RW, &any), 0);
	map_at(fixture, 8, 2, AT(0x100000));
	assert_maps(fixture->domain, 2, 6);
	assert_false(info_of(fixture->domain).limits_known);
	for (int round = 0; round < 3; round++) {
		assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd), 0);
		assert_true(fd >= 0);
		assert_int_equal(model_open_devices(), 1);
		assert_maps(fixture->domain, 2, 6);
		assert_true(model_has(any, fixture->base, 4 * PAGE, 3));
		assert_true(model_has(AT(0x100000), fixture->base + 8 * PAGE, 2 * PAGE, 3));
		assert_int_equal(charged(fixture), 6);
		assert_true(info_of(fixture->domain).limits_known);
		assert_int_equal(info_of(fixture->domain).page_sizes, 0x40201000);
		assert_int_equal(info_of(fixture->domain).range_count, 2);
		assert_int_equal(model.last_set_iommu, VFIO_TYPE1v2_IOMMU);
		pn_domain_detach(fixture->domain, fd);
		assert_int_equal(model_open_devices(), 0);
		assert_maps(fixture->domain, 2, 6);
	}
}

static void mappings_made_and_removed_between_attaches_are_replayed(void **state)
{
	struct fixture *fixture = *state;
	int fd;

	map_at(fixture, 0, 1, AT(0x10000));
	assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd), 0);
	map_at(fixture, 1, 1, AT(0x20000));
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x10000), PAGE), 0);
	assert_maps(fixture->domain, 1, 1);
	pn_domain_detach(fixture->domain, fd);
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x20000), PAGE), 0);
	map_at(fixture, 2, 3, AT(0x30000));
	assert_int_equal(pn_domain_attach(fixture->domain, &nic2, &fd), 0);
	assert_maps(fixture->domain, 1, 3);
	assert_true(model_has(AT(0x30000), fixture->base + 2 * PAGE, 3 * PAGE, 3));
	pn_domain_detach(fixture->domain, fd);
}

static void protections_reach_the_kernel(void **state)
{
	struct fixture *fixture = *state;
	int fd;

	assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd), 0);
	for (unsigned int prot = 1; prot <= 3; prot++) {
		uint64_t iova = AT(prot * 0x10000);

		assert_int_equal(pn_domain_map(fixture->domain, fixture->region, prot * PAGE, PAGE,
					 (enum pn_prot)prot, &iova),
			0);
		assert_true(model_has(iova, fixture->base + prot * PAGE, PAGE,
			(prot & PN_PROT_READ ? VFIO_DMA_MAP_FLAG_READ : 0u) |
				(prot & PN_PROT_WRITE ? VFIO_DMA_MAP_FLAG_WRITE : 0u)));
	}
	pn_domain_detach(fixture->domain, fd);
}

static void identity_is_preferred_and_an_allocated_iova_is_free_and_valid(void **state)
{
	struct fixture *fixture = *state;
	uint64_t first = PN_IOVA_ANY, second = PN_IOVA_ANY;
	int fd;

	assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd), 0);
	assert_int_equal(
		pn_domain_map(fixture->domain, fixture->region, 0, 4 * PAGE, PN_PROT_RW, &first),
		0);
	assert_true(first == (uintptr_t)fixture->base);
	assert_int_equal(pn_domain_map(fixture->domain, fixture->region, 2 * PAGE, 4 * PAGE,
				 PN_PROT_RW, &second),
		0);
	assert_true(second + 4 * PAGE <= first || second >= first + 4 * PAGE);
	assert_int_equal(second % PAGE, 0);
	assert_maps(fixture->domain, 2, 8);
	pn_domain_detach(fixture->domain, fd);
}

static void a_narrow_iommu_gets_allocated_iovas(void **state)
{
	struct fixture *fixture = *state;
	uint64_t iova = PN_IOVA_ANY;
	int fd;

	model.ranges[0] = (struct vfio_iova_range){AT(0x1000), AT(0xffff)};
	model.ranges[1] = (struct vfio_iova_range){AT(0x20000), AT(0x2ffff)};
	assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd), 0);
	assert_int_equal(
		pn_domain_map(fixture->domain, fixture->region, 0, 15 * PAGE, PN_PROT_RW, &iova),
		0);
	assert_int_equal(iova, AT(0x1000));
	iova = PN_IOVA_ANY;
	assert_int_equal(
		pn_domain_map(fixture->domain, fixture->region, 0, 16 * PAGE, PN_PROT_RW, &iova),
		0);
	assert_int_equal(iova, AT(0x20000));
	iova = PN_IOVA_ANY;
	REFUSED(fixture, ENOSPC,
		pn_domain_map(fixture->domain, fixture->region, 0, PAGE, PN_PROT_RW, &iova));
	pn_domain_detach(fixture->domain, fd);
}

static void an_attach_whose_iommu_cannot_hold_the_queue_fails_whole(void **state)
{
	struct fixture *fixture = *state;
	int fd = -1;

	map_at(fixture, 0, 1, AT(0x10000));
	map_at(fixture, 1, 1, AT(0x80000000));
	model.ranges[0] = (struct vfio_iova_range){0, AT(0xfffff)};
	model.range_count = 1;
	REFUSED(fixture, EINVAL, pn_domain_attach(fixture->domain, &nic0, &fd));
	model_group_open_error(nic2.group, EACCES);
	REFUSED(fixture, EACCES, pn_domain_attach(fixture->domain, &nic2, &fd));
	model.ranges[0].end = AT(UINT32_MAX);
	model.rules[0] = (struct model_rule){VFIO_IOMMU_MAP_DMA, 2, 1, ENOMEM, 0};
	REFUSED(fixture, ENOMEM, pn_domain_attach(fixture->domain, &nic0, &fd));
	assert_maps(fixture->domain, 2, 2);
	assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd), 0);
	assert_maps(fixture->domain, 2, 2);
	pn_domain_detach(fixture->domain, fd);
}

static int map_args(
	struct fixture *fixture, uint64_t offset, uint64_t len, unsigned int prot, uint64_t iova)
{
	uint64_t got = iova;
	int err = pn_domain_map(
		fixture->domain, fixture->region, offset, len, (enum pn_prot)prot, &got);

	/* "Nothing changes on failure". */
	if (err)
		assert_true(got == iova);
	return err;
}

static void bad_arguments(struct fixture *fixture)
{
	const uint64_t end = PAGES * PAGE;

	REFUSED(fixture, EINVAL, map_args(fixture, 0, 0, 3, AT(0x10000)));
	REFUSED(fixture, EINVAL, map_args(fixture, 1, PAGE, 3, AT(0x10000)));
	REFUSED(fixture, EINVAL, map_args(fixture, 0, PAGE + 1, 3, AT(0x10000)));
	REFUSED(fixture, EINVAL, map_args(fixture, 0, PAGE, 3, AT(0x10001)));
	REFUSED(fixture, EINVAL, map_args(fixture, 0, PAGE, 0, AT(0x10000)));
	REFUSED(fixture, EINVAL, map_args(fixture, 0, PAGE, 4, AT(0x10000)));
	REFUSED(fixture, EINVAL, map_args(fixture, 0, PAGE, 7, AT(0x10000)));
	REFUSED(fixture, EINVAL, map_args(fixture, 0, end + PAGE, 3, AT(0x10000)));
	REFUSED(fixture, EINVAL, map_args(fixture, end, PAGE, 3, AT(0x10000)));
	REFUSED(fixture, EINVAL, map_args(fixture, PAGE, end, 3, AT(0x10000)));
	REFUSED(fixture, EINVAL, map_args(fixture, PAGE, UINT64_MAX - PAGE + 1, 3, AT(0x10000)));
	REFUSED(fixture, EINVAL,
		map_args(fixture, UINT64_MAX - PAGE + 1, 2 * PAGE, 3, AT(0x10000)));
	REFUSED(fixture, EINVAL, map_args(fixture, 0, 2 * PAGE, 3, UINT64_MAX - PAGE + 1));
	REFUSED(fixture, EINVAL, map_args(fixture, 0, 2 * PAGE, 3, AT(0xfee00000)));
	REFUSED(fixture, EINVAL, map_args(fixture, 0, 2 * PAGE, 3, AT(0xfedff000)));
	REFUSED(fixture, EEXIST, map_args(fixture, 0, 2 * PAGE, 3, AT(0x3f000)));
	REFUSED(fixture, EEXIST, map_args(fixture, 0, PAGE, 3, AT(0x43000)));
	REFUSED(fixture, EEXIST, map_args(fixture, 0, 8 * PAGE, 3, AT(0x3e000)));
	REFUSED(fixture, EINVAL, pn_domain_unmap(fixture->domain, AT(0x40000), PAGE));
	REFUSED(fixture, EINVAL, pn_domain_unmap(fixture->domain, AT(0x41000), 3 * PAGE));
	REFUSED(fixture, EINVAL, pn_domain_unmap(fixture->domain, 0, AT(0x41000)));
	REFUSED(fixture, EINVAL, pn_domain_unmap(fixture->domain, AT(0x40001), 4 * PAGE));
	REFUSED(fixture, EINVAL, pn_domain_unmap(fixture->domain, AT(0x40000), 4 * PAGE - 1));
	REFUSED(fixture, EINVAL, pn_domain_unmap(fixture->domain, AT(0x40000), UINT64_MAX));
	REFUSED(fixture, ENOENT, pn_domain_unmap(fixture->domain, AT(0x44000), PAGE));
	REFUSED(fixture, ENOENT, pn_domain_unmap(fixture->domain, 0, AT(0x40000)));
	REFUSED(fixture, EINVAL, pn_domain_unmap(fixture->domain, AT(0x40000), 0));
	assert_maps(fixture->domain, 1, 4);
}

static void bad_arguments_are_refused_and_change_nothing(void **state)
{
	struct fixture *fixture = *state;
	int fd;

	map_at(fixture, 0, 4, AT(0x40000));
	assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd), 0);
	bad_arguments(fixture);
	pn_domain_detach(fixture->domain, fd);
	bad_arguments(fixture);
}

static void a_range_of_whole_mappings_and_gaps_is_unmapped(void **state)
{
	struct fixture *fixture = *state;
	int fd;

	for (int attached = 0; attached < 2; attached++) {
		if (attached)
			assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd), 0);
		map_at(fixture, 0, 2, AT(0x10000));
		map_at(fixture, 2, 2, AT(0x12000));
		map_at(fixture, 4, 1, AT(0x18000));
		map_at(fixture, 5, 1, AT(0x30000));
		REFUSED(fixture, EINVAL, pn_domain_unmap(fixture->domain, AT(0x11000), 0x10000));
		REFUSED(fixture, EINVAL, pn_domain_unmap(fixture->domain, AT(0xf000), 0x4000));
		assert_int_equal(pn_domain_unmap(fixture->domain, AT(0xf000), 0x10000), 0);
		assert_maps(fixture->domain, 1, 1);
		assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x30000), PAGE), 0);
		assert_maps(fixture->domain, 0, 0);
	}
	pn_domain_detach(fixture->domain, fd);
}

static void an_unmap_that_the_kernel_cuts_short_is_rolled_back(void **state)
{
	struct fixture *fixture = *state;
	struct model_state before, after;
	int fd;

	assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd), 0);
	for (uint64_t i = 0; i < 4; i++)
		map_at(fixture, i, 1, AT(0x10000) + i * PAGE);
	before = model_state();
	for (unsigned int nth = 1; nth <= 4; nth++) {
		model.rules[0] = (struct model_rule){VFIO_IOMMU_UNMAP_DMA, nth, 1, EIO, 0};
		pn_fail(EPROTO, "stale");
		assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x10000), 4 * PAGE), -EIO);
		assert_string_not_equal(pn_error(), "stale");
		assert_int_equal(model.rules[0].seen, nth);
		after = model_state();
		assert_true(model_state_equal(&before, &after));
		assert_false(info_of(fixture->domain).damaged);
		assert_maps(fixture->domain, 4, 4);
		model_calm();
	}
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x10000), 4 * PAGE), 0);
	assert_maps(fixture->domain, 0, 0);
	pn_domain_detach(fixture->domain, fd);
}

static void a_failed_roll_back_is_told(void **state)
{
	struct fixture *fixture = *state;
	uint64_t iova;
	int fd;

	assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd), 0);
	for (uint64_t i = 0; i < 4; i++)
		map_at(fixture, i, 1, AT(0x10000) + i * PAGE);
	model.rules[0] = (struct model_rule){VFIO_IOMMU_UNMAP_DMA, 3, 1, EIO, 0};
	model.rules[1] = (struct model_rule){VFIO_IOMMU_MAP_DMA, 1, 100, ENOMEM, 0};
	pn_fail(EPROTO, "stale");
	assert_true(pn_domain_unmap(fixture->domain, AT(0x10000), 4 * PAGE) < 0);
	assert_string_not_equal(pn_error(), "stale");
	model_calm();
	assert_true(info_of(fixture->domain).damaged);
	/* What the kernel still holds can still be looked up. */
	assert_int_equal(pn_domain_iova(fixture->domain, fixture->base + 3 * PAGE, PAGE, &iova), 0);
	assert_int_equal(iova, AT(0x13000));
	pn_domain_detach(fixture->domain, fd);
	assert_int_equal(model_maps(), 0);
}

static void a_kernel_that_unmaps_nothing_is_not_believed(void **state)
{
	struct fixture *fixture = *state;
	int fd;

	assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd), 0);
	map_at(fixture, 0, 1, AT(0x10000));
	model.unmap_nothing = true;
	assert_true(pn_domain_unmap(fixture->domain, AT(0x10000), PAGE) < 0);
	model.unmap_nothing = false;
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x10000), PAGE), 0);
	assert_maps(fixture->domain, 0, 0);
	pn_domain_detach(fixture->domain, fd);
}

static void the_limit_is_hit_exactly(void **state)
{
	struct fixture *fixture = *state;
	uint64_t iova = AT(0x90000);
	int fd;

	model.limit = 8;
	map_at(fixture, 0, 8, AT(0x10000));
	map_at(fixture, 8, 1, AT(0x20000));
	REFUSED(fixture, ENOMEM, pn_domain_attach(fixture->domain, &nic0, &fd));
	assert_maps(fixture->domain, 2, 9);
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x20000), PAGE), 0);
	assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd), 0);
	assert_int_equal(charged(fixture), 8);
	REFUSED(fixture, ENOMEM,
		pn_domain_map(fixture->domain, fixture->region, 0, PAGE, PN_PROT_RW, &iova));
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x10000), 8 * PAGE), 0);
	assert_int_equal(charged(fixture), 0);
	pn_domain_detach(fixture->domain, fd);
}

static void devices_share_groups_and_the_container(void **state)
{
	struct fixture *fixture = *state;
	int fd[3];

	map_at(fixture, 0, 4, AT(0x10000));
	assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd[0]), 0);
	assert_int_equal(pn_domain_attach(fixture->domain, &nic1, &fd[1]), 0);
	assert_int_equal(pn_domain_attach(fixture->domain, &nic2, &fd[2]), 0);
	assert_int_equal(info_of(fixture->domain).devices, 3);
	assert_int_equal(model_open_fds(), 1 + 2 + 3);
	assert_int_equal(charged(fixture), 4);
	assert_maps(fixture->domain, 1, 4);
	REFUSED(fixture, EBUSY, pn_domain_destroy(fixture->domain));
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(model_open_devices(), 3 - i);
		assert_maps(fixture->domain, 1, 4);
		pn_domain_detach(fixture->domain, fd[i]);
	}
	/* The last one to stay may be of any group. */
	assert_int_equal(pn_domain_attach(fixture->domain, &nic2, &fd[2]), 0);
	assert_int_equal(pn_domain_attach(fixture->domain, &nic1, &fd[1]), 0);
	pn_domain_detach(fixture->domain, fd[2]);
	assert_maps(fixture->domain, 1, 4);
	assert_int_equal(pn_domain_attach(fixture->domain, &nic2, &fd[2]), 0);
	pn_domain_detach(fixture->domain, fd[1]);
	pn_domain_detach(fixture->domain, fd[2]);
	assert_maps(fixture->domain, 1, 4);
}

static void a_device_is_attached_once(void **state)
{
	struct fixture *fixture = *state;
	int fd, second;

	assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd), 0);
	REFUSED(fixture, EBUSY, pn_domain_attach(fixture->domain, &nic0, &second));
	pn_domain_detach(fixture->domain, fd);
	/* An fd that is none of its devices' is left alone. */
	pn_domain_detach(fixture->domain, 0);
	assert_int_equal(info_of(fixture->domain).devices, 0);
	assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd), 0);
	pn_domain_detach(fixture->domain, fd);
}

static void two_domains_do_not_mix(void **state)
{
	struct fixture *fixture = *state;
	struct pn_domain *other;
	uint64_t iova = AT(0x10000);
	int fd[2], third;

	assert_int_equal(new_domain(&other, fixture->backend), 0);
	map_at(fixture, 0, 1, AT(0x10000));
	assert_int_equal(
		pn_domain_map(other, fixture->region, PAGE, 2 * PAGE, PN_PROT_RW, &iova), 0);
	assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd[0]), 0);
	assert_int_equal(pn_domain_attach(other, &nic2, &fd[1]), 0);
	assert_true(model_has(AT(0x10000), fixture->base, PAGE, 3));
	assert_true(model_has(AT(0x10000), fixture->base + PAGE, 2 * PAGE, 3));
	assert_int_equal(charged(fixture), 3);
	REFUSED(fixture, EBUSY, pn_domain_attach(other, &nic1, &third));
	pn_domain_detach(fixture->domain, fd[0]);
	assert_int_equal(charged(fixture), 2);
	pn_domain_detach(other, fd[1]);
	assert_int_equal(pn_domain_destroy(other), 0);
	assert_maps(fixture->domain, 1, 1);
}

static void a_region_is_in_use_while_it_is_mapped(void **state)
{
	struct fixture *fixture = *state;

	map_at(fixture, 0, 1, AT(0x10000));
	map_at(fixture, 0, 1, AT(0x20000));
	assert_int_equal(pn_region_destroy(fixture->region), -EBUSY);
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x10000), PAGE), 0);
	assert_int_equal(pn_region_destroy(fixture->region), -EBUSY);
	assert_int_equal(pn_domain_destroy(fixture->domain), 0);
	fixture->domain = NULL;
	assert_int_equal(pn_region_destroy(fixture->region), 0);
	fixture->region = NULL;
}

#define BOTH(test)                                                           \
	{"type1: " #test, test, setup_type1, teardown, NULL},                \
	{                                                                    \
		"iommufd-compat: " #test, test, setup_compat, teardown, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(queued_mappings_cost_nothing_and_follow_the_devices),
		BOTH(mappings_made_and_removed_between_attaches_are_replayed),
		BOTH(protections_reach_the_kernel),
		BOTH(identity_is_preferred_and_an_allocated_iova_is_free_and_valid),
		BOTH(a_narrow_iommu_gets_allocated_iovas),
		BOTH(an_attach_whose_iommu_cannot_hold_the_queue_fails_whole),
		BOTH(bad_arguments_are_refused_and_change_nothing),
		BOTH(a_range_of_whole_mappings_and_gaps_is_unmapped),
		BOTH(an_unmap_that_the_kernel_cuts_short_is_rolled_back),
		BOTH(a_failed_roll_back_is_told),
		BOTH(a_kernel_that_unmaps_nothing_is_not_believed),
		BOTH(the_limit_is_hit_exactly),
		BOTH(devices_share_groups_and_the_container),
		BOTH(a_device_is_attached_once),
		BOTH(two_domains_do_not_mix),
		BOTH(a_region_is_in_use_while_it_is_mapped),
	};
	int failed;

	ledgers = model_directory();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	return failed + model_directory_end();
}
