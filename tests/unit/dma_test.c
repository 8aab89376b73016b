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
#include "dma_fixture.h"
#include "vfio_model_abi.h"

static uint64_t charged(const struct fixture *fixture)
{
	return is_type1(fixture) ? model.locked : model.user;
}

static bool is_native(const struct fixture *fixture)
{
	return !strcmp(fixture->backend, "iommufd");
}

/* Calls that map fail; whichever request the backend makes. */
static void fail_maps(const struct fixture *fixture, unsigned int nth, unsigned int times, int err)
{
	model.rules[0] = (struct model_rule){!is_native(fixture) ? VFIO_IOMMU_MAP_DMA
					     : model.map_file    ? K_IOAS_MAP_FILE
								 : K_IOAS_MAP,
		nth, times, err, 0};
}

static void fail_unmaps(
	const struct fixture *fixture, unsigned int nth, unsigned int times, int err)
{
	model.rules[1] = (struct model_rule){
		is_native(fixture) ? K_IOAS_UNMAP : VFIO_IOMMU_UNMAP_DMA, nth, times, err, 0};
}

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
		if (!is_native(fixture))
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
	REFUSED(fixture->domain, ENOSPC,
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
	REFUSED(fixture->domain, EINVAL, pn_domain_attach(fixture->domain, &nic0, &fd));
	model_group_open_error(nic2.group, EACCES);
	model_cdev_open_error(2, EACCES);
	REFUSED(fixture->domain, EACCES, pn_domain_attach(fixture->domain, &nic2, &fd));
	model.ranges[0].end = AT(UINT32_MAX);
	fail_maps(fixture, 2, 1, ENOMEM);
	REFUSED(fixture->domain, ENOMEM, pn_domain_attach(fixture->domain, &nic0, &fd));
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

	REFUSED(fixture->domain, EINVAL, map_args(fixture, 0, 0, 3, AT(0x10000)));
	REFUSED(fixture->domain, EINVAL, map_args(fixture, 1, PAGE, 3, AT(0x10000)));
	REFUSED(fixture->domain, EINVAL, map_args(fixture, 0, PAGE + 1, 3, AT(0x10000)));
	REFUSED(fixture->domain, EINVAL, map_args(fixture, 0, PAGE, 3, AT(0x10001)));
	REFUSED(fixture->domain, EINVAL, map_args(fixture, 0, PAGE, 0, AT(0x10000)));
	REFUSED(fixture->domain, EINVAL, map_args(fixture, 0, PAGE, 4, AT(0x10000)));
	REFUSED(fixture->domain, EINVAL, map_args(fixture, 0, PAGE, 7, AT(0x10000)));
	REFUSED(fixture->domain, EINVAL, map_args(fixture, 0, end + PAGE, 3, AT(0x10000)));
	REFUSED(fixture->domain, EINVAL, map_args(fixture, end, PAGE, 3, AT(0x10000)));
	REFUSED(fixture->domain, EINVAL, map_args(fixture, PAGE, end, 3, AT(0x10000)));
	REFUSED(fixture->domain, EINVAL,
		map_args(fixture, PAGE, UINT64_MAX - PAGE + 1, 3, AT(0x10000)));
	REFUSED(fixture->domain, EINVAL,
		map_args(fixture, UINT64_MAX - PAGE + 1, 2 * PAGE, 3, AT(0x10000)));
	REFUSED(fixture->domain, EINVAL, map_args(fixture, 0, 2 * PAGE, 3, UINT64_MAX - PAGE + 1));
	REFUSED(fixture->domain, EINVAL, map_args(fixture, 0, 2 * PAGE, 3, AT(0xfee00000)));
	REFUSED(fixture->domain, EINVAL, map_args(fixture, 0, 2 * PAGE, 3, AT(0xfedff000)));
	REFUSED(fixture->domain, EEXIST, map_args(fixture, 0, 2 * PAGE, 3, AT(0x3f000)));
	REFUSED(fixture->domain, EEXIST, map_args(fixture, 0, PAGE, 3, AT(0x43000)));
	REFUSED(fixture->domain, EEXIST, map_args(fixture, 0, 8 * PAGE, 3, AT(0x3e000)));
	REFUSED(fixture->domain, EINVAL, pn_domain_unmap(fixture->domain, AT(0x40000), PAGE));
	REFUSED(fixture->domain, EINVAL, pn_domain_unmap(fixture->domain, AT(0x41000), 3 * PAGE));
	REFUSED(fixture->domain, EINVAL, pn_domain_unmap(fixture->domain, 0, AT(0x41000)));
	REFUSED(fixture->domain, EINVAL, pn_domain_unmap(fixture->domain, AT(0x40001), 4 * PAGE));
	REFUSED(fixture->domain, EINVAL,
		pn_domain_unmap(fixture->domain, AT(0x40000), 4 * PAGE - 1));
	REFUSED(fixture->domain, EINVAL, pn_domain_unmap(fixture->domain, AT(0x40000), UINT64_MAX));
	REFUSED(fixture->domain, ENOENT, pn_domain_unmap(fixture->domain, AT(0x44000), PAGE));
	REFUSED(fixture->domain, ENOENT, pn_domain_unmap(fixture->domain, 0, AT(0x40000)));
	REFUSED(fixture->domain, EINVAL, pn_domain_unmap(fixture->domain, AT(0x40000), 0));
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
		REFUSED(fixture->domain, EINVAL,
			pn_domain_unmap(fixture->domain, AT(0x11000), 0x10000));
		REFUSED(fixture->domain, EINVAL,
			pn_domain_unmap(fixture->domain, AT(0xf000), 0x4000));
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
		fail_unmaps(fixture, nth, 1, EIO);
		stale_error();
		assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x10000), 4 * PAGE), -EIO);
		assert_true(has_reason());
		assert_int_equal(model.rules[1].seen, nth);
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
	fail_unmaps(fixture, 3, 1, EIO);
	fail_maps(fixture, 1, 100, ENOMEM);
	stale_error();
	assert_true(pn_domain_unmap(fixture->domain, AT(0x10000), 4 * PAGE) < 0);
	assert_true(has_reason());
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
	REFUSED(fixture->domain, ENOMEM, pn_domain_attach(fixture->domain, &nic0, &fd));
	assert_maps(fixture->domain, 2, 9);
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x20000), PAGE), 0);
	assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd), 0);
	assert_int_equal(charged(fixture), 8);
	REFUSED(fixture->domain, ENOMEM,
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
	assert_int_equal(model_open_fds(), is_native(fixture) ? 1 + 3 : 1 + 2 + 3);
	assert_int_equal(charged(fixture), 4);
	assert_maps(fixture->domain, 1, 4);
	REFUSED(fixture->domain, EBUSY, pn_domain_destroy(fixture->domain));
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
	REFUSED(fixture->domain, EBUSY, pn_domain_attach(fixture->domain, &nic0, &second));
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

	assert_int_equal(new_domain(&other, fixture->backend, NULL), 0);
	map_at(fixture, 0, 1, AT(0x10000));
	assert_int_equal(
		pn_domain_map(other, fixture->region, PAGE, 2 * PAGE, PN_PROT_RW, &iova), 0);
	assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd[0]), 0);
	assert_int_equal(pn_domain_attach(other, &nic2, &fd[1]), 0);
	assert_true(model_has(AT(0x10000), fixture->base, PAGE, 3));
	assert_true(model_has(AT(0x10000), fixture->base + PAGE, 2 * PAGE, 3));
	assert_int_equal(charged(fixture), 3);
	/* Of its group another device is in the first one: the group's node is taken, or the
	 * kernel says whose it is. */
	REFUSED(other, is_native(fixture) ? EPERM : EBUSY, pn_domain_attach(other, &nic1, &third));
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_EACH(queued_mappings_cost_nothing_and_follow_the_devices),
		ON_EACH(mappings_made_and_removed_between_attaches_are_replayed),
		ON_EACH(protections_reach_the_kernel),
		ON_EACH(identity_is_preferred_and_an_allocated_iova_is_free_and_valid),
		ON_EACH(a_narrow_iommu_gets_allocated_iovas),
		ON_EACH(an_attach_whose_iommu_cannot_hold_the_queue_fails_whole),
		ON_EACH(bad_arguments_are_refused_and_change_nothing),
		ON_EACH(a_range_of_whole_mappings_and_gaps_is_unmapped),
		ON_EACH(an_unmap_that_the_kernel_cuts_short_is_rolled_back),
		ON_EACH(a_failed_roll_back_is_told),
		ON_EACH(a_kernel_that_unmaps_nothing_is_not_believed),
		ON_EACH(the_limit_is_hit_exactly),
		ON_EACH(devices_share_groups_and_the_container),
		ON_EACH(a_device_is_attached_once),
		ON_EACH(two_domains_do_not_mix),
		ON_EACH(a_region_is_in_use_while_it_is_mapped),
	};

	return fixture_run(tests);
}
