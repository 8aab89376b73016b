/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Address spaces beside each other in one iommufd: what is mapped in several is pinned and charged
 * once, as long as one of them has it; which is unmapped, detached or destroyed first does not
 * matter; and index, ledger and reports say so.
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

#define A AT(0x10000)
#define B AT(0x900000)

/* A second domain beside the fixture's. */
static struct pn_domain *beside(struct fixture *fixture, struct pn_domain *of)
{
	struct pn_domain_opts opts = {.beside = of};
	struct pn_domain *domain;

	assert_int_equal(new_domain(&domain, fixture->backend, &opts), 0);
	return domain;
}

static void map_in(struct pn_domain *domain, struct fixture *fixture, uint64_t page, uint64_t pages,
	uint64_t iova)
{
	assert_int_equal(pn_domain_map(domain, fixture->region, page * PAGE, pages * PAGE,
				 PN_PROT_RW, &iova),
		0);
}

static uint64_t charged_at(struct pn_domain *domain, uint64_t iova)
{
	struct pn_mapping_info mapping;

	assert_int_equal(pn_domain_next(domain, iova, &mapping), 0);
	assert_true(mapping.iova == iova);
	return mapping.charged;
}

/* Both agree with the kernel, which has charged so much. */
static void check_both(struct pn_domain *one, struct pn_domain *other, uint64_t pages)
{
	struct pn_domain *list[2] = {one, other};

	check_domains(list, 2);
	assert_int_equal(model.user, pages);
	assert_int_equal(model.pinned, pages);
}

static void what_is_in_both_is_charged_once(void **state)
{
	struct fixture *fixture = *state;
	struct pn_domain *one = fixture->domain, *other = beside(fixture, one);
	int fd[2] = {attach_to(one, &nic0), attach_to(other, &nic2)};

	map_in(one, fixture, 0, 8, A);
	check_both(one, other, 8);
	model_forget_calls();
	map_in(other, fixture, 0, 8, B);
	assert_int_equal(model_calls_of(K_IOAS_COPY), 1);
	check_both(one, other, 8);
	assert_int_equal(charged_at(one, A) + charged_at(other, B), 8);
	/* Something that is not in the other is paid for. */
	map_in(other, fixture, 16, 4, B + 0x100000);
	check_both(one, other, 12);
	assert_int_equal(charged_at(other, B + 0x100000), 4);
	pn_domain_detach(one, fd[0]);
	pn_domain_detach(other, fd[1]);
	assert_int_equal(pn_domain_destroy(other), 0);
}

static void the_charge_stays_until_the_last_is_unmapped(void **state)
{
	struct fixture *fixture = *state;
	struct pn_domain *one = fixture->domain, *other = beside(fixture, one);
	int fd[2] = {attach_to(one, &nic0), attach_to(other, &nic2)};

	for (int order = 0; order < 2; order++) {
		map_in(one, fixture, 0, 8, A);
		map_in(other, fixture, 0, 8, B);
		assert_int_equal(order ? pn_domain_unmap(one, A, 8 * PAGE)
				       : pn_domain_unmap(other, B, 8 * PAGE),
			0);
		check_both(one, other, 8);
		/* Who is left pays. */
		assert_int_equal(order ? charged_at(other, B) : charged_at(one, A), 8);
		assert_int_equal(order ? pn_domain_unmap(other, B, 8 * PAGE)
				       : pn_domain_unmap(one, A, 8 * PAGE),
			0);
		check_both(one, other, 0);
	}
	pn_domain_detach(one, fd[0]);
	pn_domain_detach(other, fd[1]);
	assert_int_equal(pn_domain_destroy(other), 0);
}

static void a_limit_for_one_is_enough_for_both(void **state)
{
	struct fixture *fixture = *state;
	struct pn_domain *one = fixture->domain, *other = beside(fixture, one);
	int fd[2] = {attach_to(one, &nic0), attach_to(other, &nic2)};
	uint64_t iova = B + 0x100000;

	model.limit = 8;
	map_in(one, fixture, 0, 8, A);
	map_in(other, fixture, 0, 8, B);
	check_both(one, other, 8);
	REFUSED(other, ENOMEM,
		pn_domain_map(other, fixture->region, 8 * PAGE, PAGE, PN_PROT_RW, &iova));
	check_both(one, other, 8);
	pn_domain_detach(one, fd[0]);
	check_both(one, other, 8);
	pn_domain_detach(other, fd[1]);
	check_both(one, other, 0);
	assert_int_equal(pn_domain_destroy(other), 0);
}

static void queues_come_and_go_with_devices(void **state)
{
	struct fixture *fixture = *state;
	struct pn_domain *one = fixture->domain, *other = beside(fixture, one);
	int first, second;

	map_in(one, fixture, 0, 8, A);
	map_in(other, fixture, 0, 8, B);
	check_both(one, other, 0);
	for (int round = 0; round < 3; round++) {
		first = attach_to(one, &nic0);
		check_both(one, other, 8);
		second = attach_to(other, &nic2);
		check_both(one, other, 8);
		assert_int_equal(charged_at(one, A) + charged_at(other, B), 8);
		if (round % 2)
			pn_domain_detach(one, first);
		else
			pn_domain_detach(other, second);
		check_both(one, other, 8);
		assert_int_equal(round % 2 ? charged_at(other, B) : charged_at(one, A), 8);
		if (round % 2)
			pn_domain_detach(other, second);
		else
			pn_domain_detach(one, first);
		check_both(one, other, 0);
	}
	assert_int_equal(pn_domain_destroy(other), 0);
}

static void either_is_destroyed_first(void **state)
{
	struct fixture *fixture = *state;
	struct pn_domain *one, *other;
	int fd[2];

	for (int order = 0; order < 2; order++) {
		one = fixture->domain;
		other = beside(fixture, one);
		fd[0] = attach_to(one, &nic0);
		fd[1] = attach_to(other, &nic2);
		map_in(one, fixture, 0, 8, A);
		map_in(other, fixture, 0, 8, B);
		pn_domain_detach(order ? other : one, fd[order]);
		assert_int_equal(pn_domain_destroy(order ? other : one), 0);
		fixture->domain = order ? one : other;
		assert_maps(fixture->domain, 1, 8);
		assert_int_equal(model.user, 8);
		/* What is left works on, with its device. */
		map_in(fixture->domain, fixture, 20, 2, AT(0x40000));
		assert_int_equal(model.user, 10);
		pn_domain_detach(fixture->domain, fd[!order]);
		assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
		fd[0] = attach_to(fixture->domain, &nic0);
		pn_domain_detach(fixture->domain, fd[0]);
	}
}

static void three_beside_each_other(void **state)
{
	struct fixture *fixture = *state;
	struct pn_domain *list[3] = {fixture->domain, NULL, NULL};
	const struct pn_dma_device *devices[3] = {&nic0, &nic2, NULL};
	struct pn_dma_device third = nic2;
	int fd[3], order[3] = {1, 0, 2};

	third.group = 7;
	memcpy(third.address, "0000:00:04.0", 13);
	snprintf(third.cdev, sizeof(third.cdev), "/dev/vfio/devices/vfio%d",
		model_device(third.address, 7));
	devices[2] = &third;
	list[1] = beside(fixture, list[0]);
	list[2] = beside(fixture, list[1]);
	for (int i = 0; i < 3; i++) {
		fd[i] = attach_to(list[i], devices[i]);
		map_in(list[i], fixture, 0, 8, A + (uint64_t)i * 0x100000);
		check_domains(list, 3);
		assert_int_equal(model.user, 8);
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pn_domain_unmap_all(list[order[i]]), 0);
		check_domains(list, 3);
		assert_int_equal(model.user, i == 2 ? 0 : 8);
	}
	for (int i = 0; i < 3; i++)
		pn_domain_detach(list[i], fd[i]);
	assert_int_equal(pn_domain_destroy(list[1]), 0);
	assert_int_equal(pn_domain_destroy(list[2]), 0);
}

/* What the kernel cannot copy is mapped, and paid for. */
static void what_is_not_the_same_is_not_shared(void **state)
{
	struct fixture *fixture = *state;
	struct pn_domain *one = fixture->domain, *other = beside(fixture, one);
	int fd[2] = {attach_to(one, &nic0), attach_to(other, &nic2)};
	uint64_t iova = A;

	/* May only be read there: no page that may be written is made of it. */
	assert_int_equal(pn_domain_map(one, fixture->region, 0, 4 * PAGE, PN_PROT_READ, &iova), 0);
	iova = B;
	assert_int_equal(pn_domain_map(other, fixture->region, 0, 4 * PAGE, PN_PROT_RW, &iova), 0);
	assert_true(model_has(B, fixture->base, 4 * PAGE, 3));
	check_domains((struct pn_domain *[]){one, other}, 2);
	/* Twice in one domain is twice, as without a second. */
	assert_int_equal(pn_domain_unmap_all(one), 0);
	assert_int_equal(pn_domain_unmap_all(other), 0);
	map_in(one, fixture, 0, 4, A);
	/* Less restrictive to more: shared or not, the device may only read. */
	iova = B;
	assert_int_equal(
		pn_domain_map(other, fixture->region, 0, 4 * PAGE, PN_PROT_READ, &iova), 0);
	assert_true(model_has(B, fixture->base, 4 * PAGE, VFIO_DMA_MAP_FLAG_READ));
	check_domains((struct pn_domain *[]){one, other}, 2);
	pn_domain_detach(one, fd[0]);
	pn_domain_detach(other, fd[1]);
	assert_int_equal(pn_domain_destroy(other), 0);
}

/* Parts of what the other has, and more than it has. */
static void parts_and_more(void **state)
{
	static const struct {
		uint64_t page, pages;
	} rows[] = {{0, 4}, {4, 4}, {2, 4}, {7, 1}, {6, 4}, {8, 8}, {0, 16}};
	struct fixture *fixture = *state;
	struct pn_domain *one = fixture->domain, *other = beside(fixture, one);
	int fd[2] = {attach_to(one, &nic0), attach_to(other, &nic2)};

	map_in(one, fixture, 0, 8, A);
	for (size_t i = 0; i < PN_ARRAY_SIZE(rows); i++) {
		map_in(other, fixture, rows[i].page, rows[i].pages, B);
		assert_true(
			model_has(B, fixture->base + rows[i].page * PAGE, rows[i].pages * PAGE, 3));
		check_domains((struct pn_domain *[]){one, other}, 2);
		/* The part stays when the whole goes. */
		assert_int_equal(pn_domain_unmap_all(one), 0);
		check_domains((struct pn_domain *[]){one, other}, 2);
		map_in(one, fixture, 0, 8, A);
		check_domains((struct pn_domain *[]){one, other}, 2);
		assert_int_equal(pn_domain_unmap_all(other), 0);
		check_both(one, other, 8);
	}
	pn_domain_detach(one, fd[0]);
	pn_domain_detach(other, fd[1]);
	assert_int_equal(pn_domain_destroy(other), 0);
}

static void a_copy_that_fails_changes_nothing(void **state)
{
	static const int errs[] = {ENOMEM, EFAULT, EINVAL, EBUSY};
	struct fixture *fixture = *state;
	struct pn_domain *one = fixture->domain, *other = beside(fixture, one);
	int fd[2] = {attach_to(one, &nic0), attach_to(other, &nic2)};
	uint64_t iova = B;
	int result;

	map_in(one, fixture, 0, 8, A);
	for (size_t i = 0; i < PN_ARRAY_SIZE(errs); i++) {
		model.rules[0] = (struct model_rule){K_IOAS_COPY, 1, 100, errs[i], 0};
		stale_error();
		result = pn_domain_map(other, fixture->region, 0, 8 * PAGE, PN_PROT_RW, &iova);
		model_calm();
		/* It may have mapped it without sharing; then that is paid for. */
		if (result)
			assert_true(has_reason());
		check_both(one, other, result ? 8 : 16);
		assert_int_equal(pn_domain_unmap_all(other), 0);
	}
	pn_domain_detach(one, fd[0]);
	pn_domain_detach(other, fd[1]);
	assert_int_equal(pn_domain_destroy(other), 0);
}

static void only_one_iommufd_has_several(void **state)
{
	struct fixture *fixture = *state;
	struct pn_domain_opts opts = {.beside = fixture->domain};
	struct pn_domain *other;

	/* Two kinds do not go together, and no other file may be asked for. */
	REFUSED(fixture->domain, EINVAL, new_domain(&other, "type1", &opts));
	REFUSED(fixture->domain, EINVAL, new_domain(&other, "iommufd-compat", &opts));
	opts.use_fd = true;
	REFUSED(fixture->domain, EINVAL, new_domain(&other, "iommufd", &opts));
	opts.use_fd = false;
	opts.node = "/dev/iommu";
	if (new_domain(&other, "iommufd", &opts) == 0)
		assert_int_equal(pn_domain_destroy(other), 0);
	assert_int_equal(new_domain(&other, "type1", NULL), 0);
	opts = (struct pn_domain_opts){.beside = other};
	{
		struct pn_domain *third;

		REFUSED(other, EINVAL, new_domain(&third, "type1", &opts));
		REFUSED(other, EINVAL, new_domain(&third, "iommufd", &opts));
	}
	assert_int_equal(pn_domain_destroy(other), 0);
}

#define BOTH(test)                            \
	ON("iommufd", test, fixture_iommufd), \
		ON("iommufd without MAP_FILE", test, fixture_iommufd_old)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(what_is_in_both_is_charged_once),
		BOTH(the_charge_stays_until_the_last_is_unmapped),
		BOTH(a_limit_for_one_is_enough_for_both),
		BOTH(queues_come_and_go_with_devices),
		BOTH(either_is_destroyed_first),
		BOTH(three_beside_each_other),
		BOTH(what_is_not_the_same_is_not_shared),
		BOTH(parts_and_more),
		BOTH(a_copy_that_fails_changes_nothing),
		BOTH(only_one_iommufd_has_several),
	};

	reports_every = 1;
	return fixture_run(tests);
}
