/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Kinds of memory in a domain: the application's own, files that were handed in, what devices may
 * only read or what is sealed, BARs; each on each backend, and how it reaches the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_fixture.h"
#include "mem_priv.h"
#include "vfio_model_abi.h"

static bool is_native(const struct fixture *fixture)
{
	return !strcmp(fixture->backend, "iommufd");
}

static int map_region(struct fixture *fixture, struct pn_region *region, unsigned int prot)
{
	uint64_t iova = AT(0x900000);

	return pn_domain_map(fixture->domain, region, 0, 4 * PAGE, (enum pn_prot)prot, &iova);
}

static void unmap_region(struct fixture *fixture)
{
	assert_int_equal(pn_domain_unmap(fixture->domain, AT(0x900000), 4 * PAGE), 0);
}

static void *anonymous(uint64_t pages)
{
	void *memory = mmap(
		NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(memory != MAP_FAILED);
	return memory;
}

/* Without a file it goes by its address, with one by the file where the kernel can. */
static void memory_of_the_application(void **state)
{
	struct fixture *fixture = *state;
	void *memory = anonymous(4);
	struct pn_region *region;
	int fd;

	assert_int_equal(pn_region_from_range(&region, memory, 4 * PAGE, NULL), 0);
	assert_int_equal(map_region(fixture, region, PN_PROT_RW), 0);
	fd = attach_to(fixture->domain, &nic0);
	model_forget_calls();
	map_at(fixture, 0, 4, AT(0x10000));
	if (is_native(fixture)) {
		assert_int_equal(model_calls_of(K_IOAS_MAP), !model.map_file);
		if (model.map_file)
			assert_int_equal(model_calls_of(K_IOAS_MAP_FILE), 1);
	}
	unmap_region(fixture);
	model_forget_calls();
	assert_int_equal(map_region(fixture, region, PN_PROT_RW), 0);
	if (is_native(fixture)) {
		assert_int_equal(model_calls_of(K_IOAS_MAP), 1);
		assert_int_equal(model_calls_of(K_IOAS_MAP_FILE), 0);
	}
	assert_maps(fixture->domain, 2, 8);
	assert_int_equal(pn_region_destroy(region), -EBUSY);
	unmap_region(fixture);
	assert_int_equal(pn_region_destroy(region), 0);
	munmap(memory, 4 * PAGE);
	pn_domain_detach(fixture->domain, fd);
}

/* A part of a file: the kernel is told the right bytes of it. */
static void a_part_of_a_file(void **state)
{
	struct fixture *fixture = *state;
	int file = memfd_create("handed in", MFD_CLOEXEC | MFD_ALLOW_SEALING), fd;
	struct pn_region_info info;
	struct pn_region *region;

	assert_int_equal(ftruncate(file, 16 * PAGE), 0);
	assert_int_equal(pn_region_from_fd(&region, file, 8 * PAGE, 6 * PAGE, NULL), 0);
	close(file);
	pn_region_get_info(region, &info);
	fd = attach_to(fixture->domain, &nic0);
	for (uint64_t page = 0; page <= 2; page++) {
		uint64_t iova = AT(0x900000);

		assert_int_equal(pn_domain_map(fixture->domain, region, page * PAGE, 4 * PAGE,
					 PN_PROT_RW, &iova),
			0);
		assert_true(model_has(iova, (char *)info.vaddr + page * PAGE, 4 * PAGE, 3));
		assert_maps(fixture->domain, 1, 4);
		unmap_region(fixture);
	}
	assert_int_equal(pn_region_destroy(region), 0);
	pn_domain_detach(fixture->domain, fd);
}

static void what_may_only_be_read(void **state)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct fixture *fixture = *state;
	void *memory = anonymous(4);
	struct pn_region *region;
	int fd;

	opts.read_only = true;
	assert_int_equal(pn_region_from_range(&region, memory, 4 * PAGE, &opts), 0);
	for (int attached = 0; attached < 2; attached++) {
		if (attached)
			fd = attach_to(fixture->domain, &nic0);
		REFUSED(fixture->domain, EACCES, map_region(fixture, region, PN_PROT_RW));
		REFUSED(fixture->domain, EACCES, map_region(fixture, region, PN_PROT_WRITE));
		assert_int_equal(map_region(fixture, region, PN_PROT_READ), 0);
		assert_maps(fixture->domain, 1, 4);
		unmap_region(fixture);
	}
	assert_int_equal(pn_region_destroy(region), 0);
	munmap(memory, 4 * PAGE);
	pn_domain_detach(fixture->domain, fd);
}

static void what_was_sealed_since(void **state)
{
	static const int seals[] = {F_SEAL_FUTURE_WRITE};
	struct fixture *fixture = *state;
	struct pn_region *region;
	int file, fd = attach_to(fixture->domain, &nic0);

	for (size_t i = 0; i < PN_ARRAY_SIZE(seals); i++) {
		file = memfd_create("handed in", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		assert_int_equal(ftruncate(file, 4 * PAGE), 0);
		assert_int_equal(pn_region_from_fd(&region, file, 0, 4 * PAGE, NULL), 0);
		assert_int_equal(map_region(fixture, region, PN_PROT_RW), 0);
		assert_int_equal(fcntl(file, F_ADD_SEALS, seals[i]), 0);
		/* What is mapped stays. */
		assert_maps(fixture->domain, 1, 4);
		unmap_region(fixture);
		REFUSED(fixture->domain, EPERM, map_region(fixture, region, PN_PROT_RW));
		REFUSED(fixture->domain, EPERM, map_region(fixture, region, PN_PROT_WRITE));
		assert_int_equal(map_region(fixture, region, PN_PROT_READ), 0);
		unmap_region(fixture);
		assert_int_equal(pn_region_destroy(region), 0);
		close(file);
	}
	pn_domain_detach(fixture->domain, fd);
}

/* A queued mapping is looked at again when a device is attached. */
static void what_was_sealed_while_it_was_queued(void **state)
{
	struct fixture *fixture = *state;
	struct pn_region *region;
	int fd, file = memfd_create("handed in", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(ftruncate(file, 4 * PAGE), 0);
	assert_int_equal(pn_region_from_fd(&region, file, 0, 4 * PAGE, NULL), 0);
	assert_int_equal(map_region(fixture, region, PN_PROT_RW), 0);
	assert_int_equal(fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	REFUSED(fixture->domain, EPERM, pn_domain_attach(fixture->domain, &nic0, &fd));
	unmap_region(fixture);
	assert_int_equal(map_region(fixture, region, PN_PROT_READ), 0);
	fd = attach_to(fixture->domain, &nic0);
	unmap_region(fixture);
	pn_domain_detach(fixture->domain, fd);
	assert_int_equal(pn_region_destroy(region), 0);
	close(file);
}

static void memory_that_has_gone(void **state)
{
	struct fixture *fixture = *state;
	char *memory = anonymous(4);
	struct pn_region *region;
	int fd = attach_to(fixture->domain, &nic0);

	assert_int_equal(pn_region_from_range(&region, memory, 4 * PAGE, NULL), 0);
	munmap(memory + 2 * PAGE, PAGE);
	REFUSED(fixture->domain, EFAULT, map_region(fixture, region, PN_PROT_RW));
	pn_domain_detach(fixture->domain, fd);
	/* Queued it is not looked at; an attach finds out, and changes nothing. */
	assert_int_equal(map_region(fixture, region, PN_PROT_RW), 0);
	REFUSED(fixture->domain, EFAULT, pn_domain_attach(fixture->domain, &nic0, &fd));
	unmap_region(fixture);
	assert_int_equal(pn_region_destroy(region), 0);
	munmap(memory, 4 * PAGE);
}

/* A part of a BAR as lib/pci makes it: a file stands for the device's. */
static struct pn_region *new_bar(int dma_buf, bool writable)
{
	int file = memfd_create("device", MFD_CLOEXEC);
	unsigned int *holders = calloc(1, sizeof(*holders));
	struct pn_region_device device = {
		file, 0, 4 * PAGE, writable, dma_buf, PN_NODE_ANY, holders, "BAR 0", ""};
	struct pn_region *region = NULL;
	struct pn_region_info info;

	assert_int_equal(ftruncate(file, 4 * PAGE), 0);
	assert_non_null(holders);
	*holders = 1;
	assert_int_equal(pn_region_from_device(&region, &device), 0);
	close(file);
	pn_region_get_info(region, &info);
	model_bar(info.vaddr, 4 * PAGE);
	return region;
}

static void a_bar_on_type1(void **state)
{
	struct fixture *fixture = *state;
	struct pn_region *bar = new_bar(-1, true);
	struct pn_mapping_info mapping;
	int fd = attach_to(fixture->domain, &nic0);

	model.limit = 0;
	assert_int_equal(map_region(fixture, bar, PN_PROT_RW), 0);
	assert_int_equal(pn_domain_next(fixture->domain, 0, &mapping), 0);
	assert_int_equal(mapping.charged, 0);
	assert_false(mapping.queued);
	assert_maps(fixture->domain, 1, 4);
	assert_int_equal(model.locked, 0);
	pn_domain_detach(fixture->domain, fd);
	/* With the queue, too. */
	fd = attach_to(fixture->domain, &nic0);
	assert_maps(fixture->domain, 1, 4);
	unmap_region(fixture);
	assert_int_equal(pn_region_destroy(bar), 0);
	pn_domain_detach(fixture->domain, fd);
}

static void a_bar_where_there_is_no_way(void **state)
{
	struct fixture *fixture = *state;
	struct pn_region *bar = new_bar(-1, true);
	int fd = attach_to(fixture->domain, &nic0);

	REFUSED(fixture->domain, EOPNOTSUPP, map_region(fixture, bar, PN_PROT_RW));
	map_at(fixture, 0, 4, AT(0x10000));
	pn_domain_detach(fixture->domain, fd);
	/* In the queue already, or when a device comes. */
	if (!map_region(fixture, bar, PN_PROT_RW)) {
		REFUSED(fixture->domain, EOPNOTSUPP, pn_domain_attach(fixture->domain, &nic0, &fd));
		unmap_region(fixture);
	}
	fd = attach_to(fixture->domain, &nic0);
	assert_maps(fixture->domain, 1, 4);
	pn_domain_detach(fixture->domain, fd);
	assert_int_equal(pn_region_destroy(bar), 0);
}

static void a_bar_by_its_dmabuf(void **state)
{
	struct fixture *fixture = *state;
	struct pn_region *bar = new_bar(model_dmabuf(), true);
	struct pn_mapping_info mapping;
	int fd = attach_to(fixture->domain, &nic0);

	model.limit = 0;
	model.map_dmabuf = false;
	REFUSED(fixture->domain, EOPNOTSUPP, map_region(fixture, bar, PN_PROT_RW));
	model.map_dmabuf = true;
	model_forget_calls();
	assert_int_equal(map_region(fixture, bar, PN_PROT_RW), 0);
	assert_int_equal(model_calls_of(K_IOAS_MAP_FILE), 1);
	assert_int_equal(model.user + model.pinned, 0);
	assert_int_equal(pn_domain_next(fixture->domain, 0, &mapping), 0);
	assert_int_equal(mapping.charged, 0);
	assert_int_equal(model_maps(), 1);
	pn_domain_detach(fixture->domain, fd);
	fd = attach_to(fixture->domain, &nic0);
	assert_int_equal(model_maps(), 1);
	unmap_region(fixture);
	assert_int_equal(pn_region_destroy(bar), 0);
	pn_domain_detach(fixture->domain, fd);
}

static void a_bar_that_may_only_be_read(void **state)
{
	struct fixture *fixture = *state;
	struct pn_region *bar = new_bar(-1, false);
	int fd = attach_to(fixture->domain, &nic0);

	REFUSED(fixture->domain, EACCES, map_region(fixture, bar, PN_PROT_RW));
	assert_int_equal(map_region(fixture, bar, PN_PROT_READ), 0);
	unmap_region(fixture);
	assert_int_equal(pn_region_destroy(bar), 0);
	pn_domain_detach(fixture->domain, fd);
}

/* Segments of different kinds in one run; one of them cannot be, and none is. */
static void kinds_in_one_run(void **state)
{
	struct fixture *fixture = *state;
	void *memory = anonymous(4);
	struct pn_region *own, *bar = new_bar(-1, true);
	struct pn_segment segments[3];
	uint64_t iova = AT(0x900000);
	int result, fd = attach_to(fixture->domain, &nic0);

	assert_int_equal(pn_region_from_range(&own, memory, 4 * PAGE, NULL), 0);
	segments[0] = (struct pn_segment){fixture->region, 0, 2 * PAGE};
	segments[1] = (struct pn_segment){own, 0, PAGE};
	segments[2] = (struct pn_segment){bar, 0, 2 * PAGE};
	assert_int_equal(
		pn_domain_map_segments(fixture->domain, segments, 2, PN_PROT_RW, &iova), 0);
	assert_maps(fixture->domain, 2, 3);
	assert_int_equal(pn_domain_unmap(fixture->domain, iova, 3 * PAGE), 0);
	if (is_type1(fixture)) {
		result = pn_domain_map_segments(fixture->domain, segments, 3, PN_PROT_RW, &iova);
		assert_int_equal(result, 0);
		assert_maps(fixture->domain, 3, 5);
		assert_int_equal(model.locked, 3);
		assert_int_equal(pn_domain_unmap(fixture->domain, iova, 5 * PAGE), 0);
	} else {
		REFUSED(fixture->domain, EOPNOTSUPP,
			pn_domain_map_segments(fixture->domain, segments, 3, PN_PROT_RW, &iova));
	}
	assert_int_equal(pn_region_destroy(own), 0);
	assert_int_equal(pn_region_destroy(bar), 0);
	munmap(memory, 4 * PAGE);
	pn_domain_detach(fixture->domain, fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_EACH(memory_of_the_application),
		ON_EACH(a_part_of_a_file),
		ON_EACH(what_may_only_be_read),
		ON_EACH(what_was_sealed_since),
		ON_EACH(what_was_sealed_while_it_was_queued),
		ON_EACH(memory_that_has_gone),
		ON("type1", a_bar_on_type1, fixture_type1),
		ON("iommufd-compat", a_bar_where_there_is_no_way, fixture_compat),
		ON("iommufd", a_bar_where_there_is_no_way, fixture_iommufd),
		ON("iommufd without MAP_FILE", a_bar_where_there_is_no_way, fixture_iommufd_old),
		ON("iommufd", a_bar_by_its_dmabuf, fixture_iommufd),
		ON("type1", a_bar_that_may_only_be_read, fixture_type1),
		ON_EACH(kinds_in_one_run),
	};

	return fixture_run(tests);
}
