/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Domains that have something in common: one file of the kernel, one region, one handing over; and
 * what is left of that when one of them goes.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_fixture.h"
#include "iommufd_abi.h"

#define ROUNDS 200

static struct fixture *shared;
static bool stop;

static void *map_and_unmap(void *arg)
{
	uint64_t iova;

	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		iova = AT(0x100000);
		if (!pn_domain_map(shared->domain, shared->region, 0, PAGE, PN_PROT_RW, &iova))
			pn_domain_unmap(shared->domain, iova, PAGE);
	}
	return NULL;
}

/* A map looks for equal mappings in the domains beside it, which may be going. */
static void one_beside_another_comes_and_goes(void **state)
{
	struct pn_domain_opts opts = {0};
	struct pn_domain *other;
	pthread_t thread;
	uint64_t iova;
	int fd;

	shared = *state;
	stop = false;
	opts.beside = shared->domain;
	fd = attach_to(shared->domain, &nic0);
	assert_int_equal(pthread_create(&thread, NULL, map_and_unmap, NULL), 0);
	for (int i = 0; i < ROUNDS; i++) {
		assert_int_equal(new_domain(&other, NULL, &opts), 0);
		iova = AT(0x200000);
		assert_int_equal(
			pn_domain_map(other, shared->region, 0, PAGE, PN_PROT_RW, &iova), 0);
		assert_int_equal(pn_domain_destroy(other), 0);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	pn_domain_detach(shared->domain, fd);
}

static bool is_inherited(int fd)
{
	int flags = fcntl(fd, F_GETFD);

	return flags >= 0 && !(flags & FD_CLOEXEC);
}

static unsigned int inherited(void)
{
	unsigned int count = 0;

	for (int fd = 3; fd < 1024; fd++)
		count += is_inherited(fd);
	return count;
}

/* Two domains with the same memory are handed over; what is undone for one is not for the other. */
static void two_are_handed_over(void **state)
{
	struct fixture *fixture = *state;
	unsigned int before = inherited(), both;
	struct pn_domain *other;
	uint64_t iova = AT(0x100000);
	int first, second, fd, fd2;

	assert_int_equal(new_domain(&other, fixture->backend, NULL), 0);
	map_at(fixture, 0, 4, AT(0));
	assert_int_equal(pn_domain_map(other, fixture->region, 0, 4 * PAGE, PN_PROT_RW, &iova), 0);
	fd = attach_to(fixture->domain, &nic0);
	fd2 = attach_to(other, &nic2);
	assert_int_equal(pn_domain_handover(fixture->domain, &first), 0);
	both = inherited();
	assert_int_equal(pn_domain_handover(other, &second), 0);
	assert_int_equal(pn_domain_handover_cancel(fixture->domain, first), 0);
	/* As many as the first alone had: its container or iommufd, groups, device, copy, state. */
	assert_int_equal(inherited(), both);
	assert_true(is_inherited(second) && is_inherited(fd2) && !is_inherited(fd));
	assert_int_equal(pn_domain_handover_cancel(other, second), 0);
	assert_int_equal(inherited(), before);
	pn_domain_detach(fixture->domain, fd);
	pn_domain_detach(other, fd2);
	assert_int_equal(pn_domain_destroy(other), 0);
}

/* Its devices are closed after all: nothing is inherited, and no domain stands beside it before. */
static void a_handed_over_one_ends(void **state)
{
	struct fixture *fixture = *state;
	struct pn_domain_opts opts = {.beside = fixture->domain};
	unsigned int before = inherited();
	struct pn_domain *other;
	int fd, state_fd;

	map_at(fixture, 0, 1, AT(0));
	fd = attach_to(fixture->domain, &nic0);
	assert_int_equal(pn_domain_device_fd(fixture->domain, nic0.address), -EBUSY);
	assert_int_equal(pn_domain_handover(fixture->domain, &state_fd), 0);
	assert_true(inherited() > before);
	assert_int_equal(pn_domain_device_bits(fixture->domain, fd, 40), -EBUSY);
	if (!is_type1(fixture))
		assert_int_equal(new_domain(&other, NULL, &opts), -EBUSY);
	pn_domain_detach(fixture->domain, fd);
	assert_int_equal(inherited(), before);
	close(state_fd);
}

static void a_name_that_is_no_text(void **state)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct fixture *fixture = *state;
	struct pn_region *region;
	uint64_t iova = AT(0);
	int fd, state_fd;

	/* Cut within a letter of two bytes. */
	opts.name = "123456789012345678901234567890\xc3\xa9";
	opts.page_size = PN_PAGE_4K;
	assert_int_equal(pn_region_create(&region, 4 * PAGE, &opts), 0);
	assert_int_equal(pn_domain_map(fixture->domain, region, 0, PAGE, PN_PROT_RW, &iova), 0);
	fd = attach_to(fixture->domain, &nic0);
	assert_int_equal(pn_domain_handover(fixture->domain, &state_fd), 0);
	assert_int_equal(pn_domain_handover_cancel(fixture->domain, state_fd), 0);
	pn_domain_detach(fixture->domain, fd);
	assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	assert_int_equal(pn_region_destroy(region), 0);
}

/* The words are those of this failure, whatever was said before. */
static void the_kernel_does_not_support_it(void **state)
{
	struct fixture *fixture = *state;
	uint64_t iova = AT(0);
	int fd = attach_to(fixture->domain, &nic0);

	pn_fail(EINVAL, "TEXT OF AN OLD FAILURE");
	model.rules[0] = (struct model_rule){
		.request = VFIO_IOMMU_MAP_DMA, .nth = 1, .times = 1, .err = EOPNOTSUPP};
	model.rules[1] = (struct model_rule){
		.request = IOMMUFD_IOAS_MAP_FILE, .nth = 1, .times = 1, .err = EOPNOTSUPP};
	assert_int_equal(
		pn_domain_map(fixture->domain, fixture->region, 0, PAGE, PN_PROT_RW, &iova),
		-EOPNOTSUPP);
	assert_null(strstr(pn_error(), "OLD"));
	assert_non_null(
		strstr(pn_error(), is_type1(fixture) ? "VFIO_IOMMU_MAP_DMA" : "IOMMU_IOAS"));
	model_calm();
	pn_domain_detach(fixture->domain, fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON("iommufd", one_beside_another_comes_and_goes, fixture_iommufd),
		ON("type1", two_are_handed_over, fixture_type1),
		ON("iommufd", two_are_handed_over, fixture_iommufd),
		ON("type1", a_handed_over_one_ends, fixture_type1),
		ON("iommufd", a_handed_over_one_ends, fixture_iommufd),
		ON("type1", a_name_that_is_no_text, fixture_type1),
		ON("iommufd", a_name_that_is_no_text, fixture_iommufd),
		ON("type1", the_kernel_does_not_support_it, fixture_type1),
		ON("iommufd", the_kernel_does_not_support_it, fixture_iommufd),
	};

	return fixture_run(tests);
}
