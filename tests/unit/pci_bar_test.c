/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The BARs of an open device, against a small model of VFIO (pci_model.h): what is mapped of them,
 * the MSI-X table and what is sparse left out, and what a kernel or a device says that is not so.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base_priv.h"
#include "dma_priv.h"
#include "pci_fake.h"
#include "pci_model.h"
#include "pci_priv.h"

/*
 * BARs
 */

static void maps_a_bar_once(void **state)
{
	struct pn_pci_device *dev = must_open();
	struct pn_bar bar, again;

	(void)state;
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), 0);
	assert_int_equal(bar.size, 128 * 1024);
	((volatile uint32_t *)bar.addr)[0x5400 / 4] = 0x12345678;
	assert_int_equal(pn_pci_bar_map(dev, 0, &again), 0);
	assert_ptr_equal(bar.addr, again.addr);
	assert_int_equal(model.addresses, 128 * 1024);
	pn_pci_close(dev);

	dev = must_open();
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), 0);
	assert_int_equal(((volatile uint32_t *)bar.addr)[0x5400 / 4], 0x12345678);
	pn_pci_close(dev);
}

static void rounds_a_small_bar_to_its_page(void **state)
{
	struct pn_pci_device *dev = must_open();
	struct pn_bar bar;

	(void)state;
	model.regions[5] = (struct model_region){256, 0, RWM, {0}, 0};
	assert_int_equal(pn_pci_bar_map(dev, 5, &bar), 0);
	assert_int_equal(bar.size, 256);
	assert_int_equal(model.addresses, PAGE);
	pn_pci_close(dev);
}

static void maps_a_read_only_bar_read_only(void **state)
{
	struct pn_pci_device *dev = must_open();
	struct pn_bar bar;
	int pipe_fds[2];

	(void)state;
	model.regions[1] = (struct model_region){
		PAGE, 0, VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_MMAP, {0}, 0};
	assert_int_equal(pn_pci_bar_map(dev, 1, &bar), 0);
	assert_true(readable(bar.addr));
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(write(pipe_fds[1], "x", 1), 1);
	assert_int_equal(read(pipe_fds[0], (void *)(uintptr_t)bar.addr, 1), -1);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	pn_pci_close(dev);
}

static void refuses_bars_that_cannot_be_mapped(void **state)
{
	struct pn_pci_device *dev = must_open();
	struct pn_bar bar;

	(void)state;
	assert_int_equal(pn_pci_bar_map(dev, 6, &bar), -EINVAL);
	assert_int_equal(pn_pci_bar_map(dev, UINT32_MAX, &bar), -EINVAL);
	assert_int_equal(pn_pci_bar_map(dev, 1, &bar), -ENOENT);

	model.regions[2] = (struct model_region){32, 0, RW, {0}, 0};
	poke32(PCI_BASE_ADDRESS_2, 0xc000 | PCI_BASE_ADDRESS_SPACE_IO);
	assert_int_equal(pn_pci_bar_map(dev, 2, &bar), -EOPNOTSUPP);
	assert_error_has("I/O ports");
	assert_null(bar.addr);
	assert_int_equal(bar.size, 32);

	model.regions[3] = (struct model_region){256, 0, RW, {0}, 0};
	assert_int_equal(pn_pci_bar_map(dev, 3, &bar), -EOPNOTSUPP);
	assert_error_has("pci=resource_alignment=12@" ADDRESS);

	model.regions[4] = (struct model_region){PAGE, 0, RW, {0}, 0};
	assert_int_equal(pn_pci_bar_map(dev, 4, &bar), -EOPNOTSUPP);
	pn_pci_close(dev);
}

static void distrusts_sizes_and_offsets(void **state)
{
	static const struct {
		uint64_t size, skew;
	} bad[] = {
		{UINT64_MAX, 0},
		{PTRDIFF_MAX, 0},
		{PAGE, 1},
		{PAGE, PAGE - 1},
		{PAGE, (UINT64_C(1) << 63) - PAGE},
		{PAGE, UINT64_C(1) << 63},
	};
	struct pn_pci_device *dev = must_open();
	struct pn_bar bar;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		model.regions[0] = (struct model_region){bad[i].size, bad[i].skew, RWM, {0}, 0};
		assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
		assert_null(bar.addr);
		assert_int_equal(model.addresses, 0);
	}
	pn_pci_close(dev);
}

/* A device with fewer regions than BARs could be has no such BAR; nothing is asked. */
static void asks_for_no_region_beyond_the_last(void **state)
{
	struct pn_pci_region region;
	struct pn_pci_device *dev = must_open();

	(void)state;
	assert_int_equal(pn_pci_region_get(dev, VFIO_PCI_NUM_REGIONS, &region), 0);
	assert_int_equal(region.size, 0);
	pn_pci_close(dev);
}

/*
 * Sparse areas and the MSI-X table
 */

static void maps_sparse_areas_in_place(void **state)
{
	static const struct vfio_region_sparse_mmap_area areas[] = {
		{0, PAGE}, {2 * PAGE, 0}, {3 * PAGE, 2 * PAGE}};
	struct pn_pci_device *dev = must_open();
	volatile unsigned char *base;
	struct pn_bar bar;

	(void)state;
	model.regions[0] = (struct model_region){8 * PAGE, 0, RWM, {0}, 0};
	add_sparse(&model.regions[0], 3, areas, 3);
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), 0);
	base = bar.addr;
	for (unsigned int page = 0; page < 8; page++)
		assert_int_equal(readable(base + page * PAGE), page == 0 || page == 3 || page == 4);
	assert_int_equal(__real_pwrite64(model.fd, "\x5a", 1, 4 * PAGE + 7), 1);
	assert_int_equal(base[4 * PAGE + 7], 0x5a);
	pn_pci_close(dev);
}

static void distrusts_sparse_areas(void **state)
{
	static const struct vfio_region_sparse_mmap_area bad[] = {
		{1, PAGE},
		{0, PAGE - 1},
		{8 * PAGE, PAGE},
		{7 * PAGE, 2 * PAGE},
		{UINT64_MAX - PAGE + 1, PAGE},
		{PAGE, UINT64_MAX - PAGE + 1},
	};
	struct vfio_region_sparse_mmap_area areas[2] = {{0, PAGE}};
	struct pn_pci_device *dev = must_open();
	struct pn_bar bar;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		model.regions[0] = (struct model_region){8 * PAGE, 0, RWM, {0}, 0};
		areas[1] = bad[i];
		add_sparse(&model.regions[0], 2, areas, 2);
		assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
		assert_error_has("not whole pages of BAR 0");
		assert_int_equal(model.addresses, 0);
	}
	/* An empty list: nothing may be mapped. */
	model.regions[0] = (struct model_region){8 * PAGE, 0, RWM, {0}, 0};
	add_sparse(&model.regions[0], 0, NULL, 0);
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EOPNOTSUPP);
	assert_int_equal(bar.size, 8 * PAGE);
	assert_int_equal(model.addresses, 0);
	/* Lists that are cut. */
	model.regions[0] = (struct model_region){8 * PAGE, 0, RWM, {0}, 0};
	add_sparse(&model.regions[0], 3, areas, 2);
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
	assert_error_has("3 areas");
	model.regions[0].caps_size = 0;
	add_sparse(&model.regions[0], UINT32_MAX, areas, 2);
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
	model.regions[0].caps_size = 0;
	add_cap(&model.regions[0], VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0, NULL, 0);
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
	assert_error_has("is cut");
	pn_pci_close(dev);
}

static void leaves_the_msix_table_out(void **state)
{
	struct pn_pci_device *dev = must_open();
	volatile unsigned char *base;
	struct pn_bar bar;

	(void)state;
	/* 300 vectors from the middle of page 2 take 4800 bytes: pages 2 and 3. */
	put_msix(300, 0, 2 * PAGE + 2048);
	model.regions[0] = (struct model_region){8 * PAGE, 0, RWM, {0}, 0};
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), 0);
	base = bar.addr;
	for (unsigned int page = 0; page < 8; page++)
		assert_int_equal(readable(base + page * PAGE), page != 2 && page != 3);
	pn_pci_close(dev);

	/* The kernel says that it does not mind. */
	dev = must_open();
	add_cap(&model.regions[0], VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 0, NULL, 0);
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), 0);
	base = bar.addr;
	for (unsigned int page = 0; page < 8; page++)
		assert_true(readable(base + page * PAGE));
	pn_pci_close(dev);
}

static void places_the_msix_hole(void **state)
{
	struct pn_pci_device *dev = must_open();
	volatile unsigned char *base;
	struct pn_bar bar;

	(void)state;
	put_msix(5, 3, 0);
	model.regions[3] = (struct model_region){4 * PAGE, 0, RWM, {0}, 0};
	assert_int_equal(pn_pci_bar_map(dev, 3, &bar), 0);
	base = bar.addr;
	assert_false(readable(base));
	assert_true(readable(base + PAGE));
	/* A table in another BAR is no matter. */
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), 0);
	assert_true(readable(bar.addr));

	/* The BAR holds nothing else. */
	put_msix(5, 4, 0);
	model.regions[4] = (struct model_region){PAGE, 0, RWM, {0}, 0};
	assert_int_equal(pn_pci_bar_map(dev, 4, &bar), -EOPNOTSUPP);
	assert_error_has("no page of BAR 4");
	/* A device that lies. */
	put_msix(257, 4, 0);
	assert_int_equal(pn_pci_bar_map(dev, 4, &bar), -EIO);
	assert_error_has("leaves BAR 4");
	put_msix(1, 4, 0xfffffff8);
	assert_int_equal(pn_pci_bar_map(dev, 4, &bar), -EIO);
	pn_pci_close(dev);
}

/*
 * The capability chain
 */

static void walks_only_forward(void **state)
{
	const uint32_t info = sizeof(struct vfio_region_info);
	const uint32_t header = sizeof(struct vfio_info_cap_header);
	struct pn_pci_device *dev = must_open();
	struct model_region *region = &model.regions[0];
	struct pn_bar bar;

	(void)state;
	/* Unknown ones are passed over. */
	add_cap(region, 99, info + header, NULL, 0);
	add_cap(region, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 0, NULL, 0);
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), 0);
	pn_pci_close(dev);

	dev = must_open();
	const uint32_t bad[] = {1, info - 1, info, info + 1, info + header - 1, info + header + 1,
		info + 2 * header, UINT32_MAX, UINT32_MAX - header};

	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		region->caps_size = 0;
		add_cap(region, 99, bad[i], NULL, 0);
		add_cap(region, 99, 0, NULL, 0);
		assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
		assert_error_has("makes no sense");
	}
	region->caps_size = 0;
	add_cap(region, 99, info + header, NULL, 0);
	add_cap(region, 99, info, NULL, 0);
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
	pn_pci_close(dev);
}

static void bounds_what_the_kernel_asks_for(void **state)
{
	struct pn_pci_device *dev = must_open();
	struct pn_bar bar;

	(void)state;
	model.absurd_argsz = UINT32_MAX;
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
	model.absurd_argsz = 0;
	model.growing_argsz = true;
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
	assert_error_has("does not settle");
	model.growing_argsz = false;
	pn_pci_close(dev);
}

/* Whatever stands in the buffer, the parser stays in it: run with a sanitizer. */
static void survives_random_answers(void **state)
{
	struct pn_pci_region region;
	unsigned int seed = 7;
	unsigned char *buf;
	uint32_t words[4];
	size_t size;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		size = (size_t)rand_r(&seed) % 160;
		buf = __real_malloc(size ? size : 1);
		assert_non_null(buf);
		for (size_t j = 0; j < size; j++)
			buf[j] = (unsigned char)(rand_r(&seed) % 4);
		/* Mostly a chain that leads somewhere. */
		words[1] = VFIO_REGION_INFO_FLAG_CAPS;
		words[3] = sizeof(struct vfio_region_info) + (uint32_t)(rand_r(&seed) % 32);
		if (size >= sizeof(struct vfio_region_info)) {
			memcpy(buf + 4, &words[1], 4);
			memcpy(buf + 12, &words[3], 4);
		}
		for (size_t j = words[3] + 4; j + 4 <= size; j += 16) {
			words[0] = (uint32_t)(j + 12);
			memcpy(buf + j, &words[0], 4);
		}
		if (!pn_pci_region_parse(buf, size, &region)) {
			assert_true(region.area_count <= size / sizeof(region.areas[0]));
			pn_pci_region_free(&region);
		}
		free(buf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MODEL(maps_a_bar_once),
		MODEL(rounds_a_small_bar_to_its_page),
		MODEL(maps_a_read_only_bar_read_only),
		MODEL(refuses_bars_that_cannot_be_mapped),
		MODEL(distrusts_sizes_and_offsets),
		MODEL(asks_for_no_region_beyond_the_last),
		MODEL(maps_sparse_areas_in_place),
		MODEL(distrusts_sparse_areas),
		MODEL(leaves_the_msix_table_out),
		MODEL(places_the_msix_hole),
		MODEL(walks_only_forward),
		MODEL(bounds_what_the_kernel_asks_for),
		MODEL(survives_random_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
