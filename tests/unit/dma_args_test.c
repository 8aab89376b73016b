/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arguments that make no sense, of every kind and to every function of a domain: refused with the
 * errno of the contract and a reason, and nothing changes. With mappings, with and without a
 * device.
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

#define END (PAGES * PAGE)

static void each_way(struct fixture *fixture, void (*check)(struct fixture *fixture))
{
	int fd;

	map_at(fixture, 0, 4, AT(0x40000));
	check(fixture);
	fd = attach_to(fixture->domain, &nic0);
	check(fixture);
	pn_domain_detach(fixture->domain, fd);
	check(fixture);
	assert_maps(fixture->domain, 1, 4);
}

static int map(
	struct fixture *fixture, uint64_t offset, uint64_t len, unsigned int prot, uint64_t iova)
{
	uint64_t got = iova;
	int ret = pn_domain_map(
		fixture->domain, fixture->region, offset, len, (enum pn_prot)prot, &got);

	/* "Nothing changes on failure". */
	if (ret)
		assert_true(got == iova);
	return ret;
}

static void check_maps(struct fixture *fixture)
{
	static const struct {
		uint64_t offset, len;
		unsigned int prot;
		uint64_t iova;
		int err;
	} rows[] = {
		{0, 0, 3, AT(0x10000), EINVAL},
		{1, PAGE, 3, AT(0x10000), EINVAL},
		{512, PAGE, 3, AT(0x10000), EINVAL},
		{0, 1, 3, AT(0x10000), EINVAL},
		{0, PAGE + 1, 3, AT(0x10000), EINVAL},
		{0, PAGE - 1, 3, AT(0x10000), EINVAL},
		{0, PAGE, 3, AT(0x10001), EINVAL},
		{0, PAGE, 3, AT(0x10800), EINVAL},
		{0, PAGE, 0, AT(0x10000), EINVAL},
		{0, PAGE, 4, AT(0x10000), EINVAL},
		{0, PAGE, 5, AT(0x10000), EINVAL},
		{0, PAGE, 7, AT(0x10000), EINVAL},
		{0, PAGE, 0x80000003, AT(0x10000), EINVAL},
		{0, END + PAGE, 3, AT(0x10000), EINVAL},
		{END, PAGE, 3, AT(0x10000), EINVAL},
		{END + PAGE, PAGE, 3, AT(0x10000), EINVAL},
		{PAGE, END, 3, AT(0x10000), EINVAL},
		{PAGE, UINT64_MAX - PAGE + 1, 3, AT(0x10000), EINVAL},
		{UINT64_MAX - PAGE + 1, PAGE, 3, AT(0x10000), EINVAL},
		{UINT64_MAX - PAGE + 1, 2 * PAGE, 3, AT(0x10000), EINVAL},
		{0, UINT64_MAX - PAGE + 1, 3, AT(0x10000), EINVAL},
		{0, UINT64_MAX, 3, AT(0x10000), EINVAL},
		{UINT64_MAX, 1, 3, PN_IOVA_ANY, EINVAL},
		{0, 0, 3, PN_IOVA_ANY, EINVAL},
		{0, 2 * PAGE, 3, UINT64_MAX - PAGE + 1, EINVAL},
		{0, 2 * PAGE, 3, AT(0x3f000), EEXIST},
		{0, PAGE, 3, AT(0x40000), EEXIST},
		{0, PAGE, 3, AT(0x43000), EEXIST},
		{0, 8 * PAGE, 3, AT(0x3e000), EEXIST},
		{0, END, 3, AT(0x43000), EEXIST},
	};

	for (size_t i = 0; i < PN_ARRAY_SIZE(rows); i++)
		REFUSED(fixture->domain, rows[i].err,
			map(fixture, rows[i].offset, rows[i].len, rows[i].prot, rows[i].iova));
	REFUSED(fixture->domain, EINVAL,
		pn_domain_map(
			fixture->domain, NULL, 0, PAGE, PN_PROT_RW, &(uint64_t){AT(0x10000)}));
	REFUSED(fixture->domain, EINVAL,
		pn_domain_map(fixture->domain, fixture->region, 0, PAGE, PN_PROT_RW, NULL));
}

static void bad_maps(void **state)
{
	each_way(*state, check_maps);
}

/* Reserved for interrupts: only the kernel can know. */
static void iovas_that_the_kernel_reserves(void **state)
{
	struct fixture *fixture = *state;
	int fd = attach_to(fixture->domain, &nic0);

	REFUSED(fixture->domain, EINVAL, map(fixture, 0, PAGE, 3, AT(0xfee00000)));
	REFUSED(fixture->domain, EINVAL, map(fixture, 0, PAGE, 3, AT(0xfeeff000)));
	REFUSED(fixture->domain, EINVAL, map(fixture, 0, 2 * PAGE, 3, AT(0xfedff000)));
	REFUSED(fixture->domain, EINVAL, map(fixture, 0, 2 * PAGE, 3, AT(0xfeeff000)));
	REFUSED(fixture->domain, EINVAL, map(fixture, 0, PAGE, 3, UINT64_MAX - PAGE + 1));
	REFUSED(fixture->domain, EINVAL, map(fixture, 0, PAGE, 3, UINT64_C(1) << 63));
	REFUSED(fixture->domain, EINVAL, map(fixture, 0, PAGE, 3, UINT64_C(1) << 48));
	REFUSED(fixture->domain, EINVAL, map(fixture, 0, 2 * PAGE, 3, (UINT64_C(1) << 48) - PAGE));
	assert_int_equal(map(fixture, 0, PAGE, 3, AT(0xfedff000)), 0);
	assert_int_equal(map(fixture, 0, PAGE, 3, AT(0xfef00000)), 0);
	assert_maps(fixture->domain, 2, 2);
	pn_domain_detach(fixture->domain, fd);
}

/* Before a device is attached any may be demanded; the attach refuses what the kernel would. */
static void iovas_demanded_beforehand(void **state)
{
	static const uint64_t bad[] = {
		AT(0xfee00000), UINT64_C(1) << 48, UINT64_C(1) << 63, UINT64_MAX - PAGE + 1};
	struct fixture *fixture = *state;
	int fd;

	assert_int_equal(map(fixture, 0, PAGE, 3, 0), 0);
	assert_int_equal(map(fixture, 0, PAGE, 3, AT(0x10000)), 0);
	assert_int_equal(map(fixture, 0, PAGE, 3, (UINT64_C(1) << 48) - PAGE), 0);
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		assert_int_equal(map(fixture, 0, PAGE, 3, bad[i]), 0);
		assert_int_equal(pn_domain_attach(fixture->domain, &nic0, &fd), -EINVAL);
		assert_non_null(strstr(pn_error(), "is outside what the IOMMU"));
		assert_int_equal(pn_domain_unmap(fixture->domain, bad[i], PAGE), 0);
	}
	/* What Pinion chooses is still where every IOMMU takes it. */
	for (size_t i = 0; i < 3; i++) {
		uint64_t iova = PN_IOVA_ANY;

		assert_int_equal(pn_domain_map(fixture->domain, fixture->region, i * PAGE, PAGE,
					 PN_PROT_RW, &iova),
			0);
		assert_in_range(iova, UINT64_C(1) << 32, (UINT64_C(1) << 39) - 1);
	}
	fd = attach_to(fixture->domain, &nic0);
	assert_maps(fixture->domain, 6, 6);
	pn_domain_detach(fixture->domain, fd);
}

static void check_lookups(struct fixture *fixture)
{
	uint64_t iova = 77;
	struct pn_mapping_info mapping;
	void *vaddr = &iova;

	REFUSED(fixture->domain, ENOENT, pn_domain_iova(fixture->domain, fixture->base, 0, &iova));
	REFUSED(fixture->domain, ENOENT,
		pn_domain_iova(fixture->domain, fixture->base, UINT64_MAX, &iova));
	REFUSED(fixture->domain, ENOENT,
		pn_domain_iova(fixture->domain, fixture->base, 4 * PAGE + 1, &iova));
	REFUSED(fixture->domain, ENOENT,
		pn_domain_iova(fixture->domain, fixture->base - 1, 2, &iova));
	REFUSED(fixture->domain, ENOENT, pn_domain_iova(fixture->domain, NULL, 1, &iova));
	REFUSED(fixture->domain, ENOENT,
		pn_domain_iova(fixture->domain, (void *)UINTPTR_MAX, 1, &iova));
	REFUSED(fixture->domain, ENOENT,
		pn_domain_iova(fixture->domain, (void *)UINTPTR_MAX, UINT64_MAX, &iova));
	assert_int_equal(iova, 77);
	REFUSED(fixture->domain, ENOENT, pn_domain_vaddr(fixture->domain, AT(0x40000), 0, &vaddr));
	REFUSED(fixture->domain, ENOENT,
		pn_domain_vaddr(fixture->domain, AT(0x40000), UINT64_MAX, &vaddr));
	REFUSED(fixture->domain, ENOENT,
		pn_domain_vaddr(fixture->domain, AT(0x40000), 4 * PAGE + 1, &vaddr));
	REFUSED(fixture->domain, ENOENT, pn_domain_vaddr(fixture->domain, AT(0x3ffff), 1, &vaddr));
	REFUSED(fixture->domain, ENOENT, pn_domain_vaddr(fixture->domain, AT(0x44000), 1, &vaddr));
	REFUSED(fixture->domain, ENOENT, pn_domain_vaddr(fixture->domain, 0, 1, &vaddr));
	REFUSED(fixture->domain, ENOENT,
		pn_domain_vaddr(fixture->domain, UINT64_MAX, UINT64_MAX, &vaddr));
	assert_ptr_equal(vaddr, &iova);
	REFUSED(fixture->domain, ENOENT, pn_domain_next(fixture->domain, AT(0x44000), &mapping));
	REFUSED(fixture->domain, ENOENT, pn_domain_next(fixture->domain, UINT64_MAX, &mapping));
	/* Within it, it is the first that ends behind. */
	assert_int_equal(pn_domain_next(fixture->domain, AT(0x43fff), &mapping), 0);
	assert_true(mapping.iova == AT(0x40000));
	assert_int_equal(pn_domain_next(fixture->domain, AT(0x3ffff), &mapping), 0);
	assert_true(mapping.iova == AT(0x40000));
}

static void bad_lookups(void **state)
{
	each_way(*state, check_lookups);
}

static void check_tracking(struct fixture *fixture)
{
	uint64_t bits = 0;
	bool attached = info_of(fixture->domain).devices > 0;

	/* It is off. */
	REFUSED(fixture->domain, EINVAL, pn_domain_dirty_stop(fixture->domain));
	REFUSED(fixture->domain, EINVAL,
		pn_domain_dirty_read(fixture->domain, AT(0x40000), 4 * PAGE, PAGE, &bits));
	if (!attached)
		REFUSED(fixture->domain, ENODEV, pn_domain_dirty_start(fixture->domain));
	assert_int_equal(bits, 0);
}

static void tracking_that_is_off(void **state)
{
	struct fixture *fixture = *state;

	if (!strcmp(fixture->backend, "iommufd-compat"))
		return;
	each_way(fixture, check_tracking);
}

static void check_handover(struct fixture *fixture)
{
	int fd = -7;

	REFUSED(fixture->domain, EINVAL, pn_domain_handover_cancel(fixture->domain, 0));
	REFUSED(fixture->domain, EINVAL, pn_domain_handover_cancel(fixture->domain, -1));
	if (!info_of(fixture->domain).devices && strcmp(fixture->backend, "iommufd-compat") != 0 &&
		model.map_file)
		REFUSED(fixture->domain, ENODEV, pn_domain_handover(fixture->domain, &fd));
	assert_int_equal(fd, -7);
}

static void handing_over_what_cannot_be(void **state)
{
	each_way(*state, check_handover);
}

static void devices_that_make_no_sense(void **state)
{
	struct fixture *fixture = *state;
	struct pn_dma_device device;
	int fd = -7;

	map_at(fixture, 0, 4, AT(0x40000));
	device = nic0;
	device.group = 99;
	snprintf(device.cdev, sizeof(device.cdev), "/dev/vfio/devices/vfio99");
	REFUSED(fixture->domain, ENOENT, pn_domain_attach(fixture->domain, &device, &fd));
	device.group = -1;
	device.cdev[0] = '\0';
	stale_error();
	assert_true(pn_domain_attach(fixture->domain, &device, &fd) < 0);
	assert_true(has_reason());
	device = nic0;
	device.use_fd = true;
	device.fd = -1;
	stale_error();
	assert_true(pn_domain_attach(fixture->domain, &device, &fd) < 0);
	assert_true(has_reason());
	device.fd = 0;
	stale_error();
	assert_true(pn_domain_attach(fixture->domain, &device, &fd) < 0);
	assert_true(has_reason());
	assert_int_equal(fd, -7);
	assert_maps(fixture->domain, 1, 4);
	/* An fd that is none of its devices' is left alone. */
	pn_domain_detach(fixture->domain, -1);
	pn_domain_detach(fixture->domain, 0);
	pn_domain_detach(fixture->domain, INT32_MAX);
	assert_int_equal(pn_domain_device_fd(fixture->domain, nic0.address), -ENOENT);
	assert_int_equal(pn_domain_device_fd(fixture->domain, ""), -ENOENT);
}

static void no_domain_at_all(void **state)
{
	struct fixture *fixture = *state;
	struct pn_domain_info info;
	struct pn_mapping_info mapping;
	struct pn_pins_report *report;
	uint64_t iova = AT(0), bits;
	int fd;
	void *vaddr;

	assert_int_equal(pn_domain_map(NULL, fixture->region, 0, PAGE, PN_PROT_RW, &iova), -EINVAL);
	assert_int_equal(
		pn_domain_map_segments(
			NULL, &(struct pn_segment){fixture->region, 0, PAGE}, 1, PN_PROT_RW, &iova),
		-EINVAL);
	assert_int_equal(pn_domain_unmap(NULL, 0, PAGE), -EINVAL);
	assert_int_equal(pn_domain_unmap_all(NULL), -EINVAL);
	assert_int_equal(pn_domain_iova(NULL, fixture->base, 1, &iova), -EINVAL);
	assert_int_equal(pn_domain_vaddr(NULL, 0, 1, &vaddr), -EINVAL);
	assert_int_equal(pn_domain_next(NULL, 0, &mapping), -EINVAL);
	assert_int_equal(pn_domain_pins(NULL, false, &report), -EINVAL);
	assert_int_equal(pn_domain_dirty_start(NULL), -EINVAL);
	assert_int_equal(pn_domain_dirty_stop(NULL), -EINVAL);
	assert_int_equal(pn_domain_dirty_read(NULL, 0, PAGE, PAGE, &bits), -EINVAL);
	assert_int_equal(pn_domain_handover(NULL, &fd), -EINVAL);
	assert_int_equal(pn_domain_handover_cancel(NULL, 0), -EINVAL);
	pn_domain_get_info(NULL, &info);
	assert_true(!info.mappings && !info.devices && !info.backend[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_EACH(bad_maps),
		ON_EACH(iovas_that_the_kernel_reserves),
		ON_EACH(iovas_demanded_beforehand),
		ON_EACH(bad_lookups),
		ON_EACH(tracking_that_is_off),
		ON_EACH(handing_over_what_cannot_be),
		ON_EACH(devices_that_make_no_sense),
		ON("type1", no_domain_at_all, fixture_type1),
	};

	return fixture_run(tests);
}
