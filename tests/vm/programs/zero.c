/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that nobody has written to, mapped for a device that may only read it, and written to
 * then: what the device sees. Through the kernel's call alone, which on Linux 6.1 pins the shared
 * zero page, and through the library. See ways.h.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <linux/vfio.h>

#include "ways.h"

#define RAW_IOVA (UINT64_C(1) << 33)

/* mm/internal.h:gup_must_unshare() looks at pages that are not anonymous since Linux 6.2. */
static bool pins_zero_pages(void)
{
	unsigned int major = 0, minor = 0;
	struct utsname name;

	CHECK(!uname(&name) && sscanf(name.release, "%u.%u", &major, &minor) == 2);
	return major < 6 || (major == 6 && minor < 2);
}

static void *untouched(int prot)
{
	void *memory = mmap(NULL, 2 * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	return memory;
}

static bool saw_zeros(const struct rig *rig)
{
	static const unsigned char zeros[LEN];

	return !memcmp(rig->seen, zeros, LEN);
}

/* What a program gets that asks the kernel itself: VFIO_IOMMU_MAP_DMA on the domain's own file. */
static void case_raw(struct rig *rig)
{
	struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ,
		.iova = RAW_IOVA,
		.size = 2 * PAGE};
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .iova = RAW_IOVA, .size = 2 * PAGE};
	struct pn_domain_opts opts = {.use_fd = true};
	void *memory = untouched(PROT_READ | PROT_WRITE);
	bool right;

	CHECK(!pn_domain_destroy(rig->domain));
	opts.fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	CHECK(opts.fd >= 0 && !create_domain(rig, opts));
	open_device(rig);
	if (failures)
		return;
	map.vaddr = (uintptr_t)memory;
	CHECK(!ioctl(opts.fd, VFIO_IOMMU_MAP_DMA, &map));
	/* The page through which the device is seen is one; zero pages are not counted. */
	CHECK(charged() == (pins_zero_pages() ? 1 : 3));
	fill(memory, 2 * PAGE);
	right = device_reads(rig, RAW_IOVA, memory, LEN);
	CHECK(right == !pins_zero_pages() && (right || saw_zeros(rig)));
	CHECK(!ioctl(opts.fd, VFIO_IOMMU_UNMAP_DMA, &unmap));
	close_domain(rig);
	close(opts.fd);
	munmap(memory, 2 * PAGE);
}

/* The device sees what is written after the mapping, and every page is charged. */
static void check_right(struct rig *rig, struct pn_region *region)
{
	struct pn_region_info info;
	uint64_t iova;

	open_device(rig);
	if (failures)
		return;
	pn_region_get_info(region, &info);
	CHECK(info.zero_pages == 0 && !info.note[0]);
	iova = map_whole(rig, region, PN_PROT_READ);
	check_full(rig);
	fill(info.vaddr, 2 * PAGE);
	CHECK(device_reads(rig, iova, info.vaddr, LEN));
	CHECK(device_reads(rig, iova + PAGE, (char *)info.vaddr + PAGE, LEN));
	check_full(rig);
	close_domain(rig);
	CHECK(!pn_region_destroy(region));
}

static void case_region(struct rig *rig)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region *region;

	opts.page_size = PN_PAGE_4K;
	CHECK(!pn_region_create(&region, 2 * PAGE, &opts));
	if (!failures)
		check_right(rig, region);
}

static void case_range(struct rig *rig)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region *region;

	opts.read_only = true;
	CHECK(!pn_region_from_range(&region, untouched(PROT_READ | PROT_WRITE), 2 * PAGE, &opts));
	if (!failures)
		check_right(rig, region);
}

/* What cannot be written to is said to be zero pages, and behaves as was said. */
static void case_told(struct rig *rig)
{
	void *memory = untouched(PROT_READ);
	struct pn_region *region;
	struct pn_region_info info;
	uint64_t iova;
	bool right;

	CHECK(!pn_region_from_range(&region, memory, 2 * PAGE, NULL));
	open_device(rig);
	if (failures)
		return;
	pn_region_get_info(region, &info);
	CHECK(info.zero_pages == 2 && strstr(info.note, "2 pages") &&
		strstr(info.note, "shared zero page"));
	iova = map_whole(rig, region, PN_PROT_READ);
	CHECK(charged() == (pins_zero_pages() ? 1 : 3));
	CHECK(!mprotect(memory, 2 * PAGE, PROT_READ | PROT_WRITE));
	fill(memory, 2 * PAGE);
	right = device_reads(rig, iova, memory, LEN);
	CHECK(right == !pins_zero_pages() && (right || saw_zeros(rig)));
	CHECK(!pn_domain_unmap_all(rig->domain));
	edu_close(&rig->edu);
	CHECK(charged() == 0 && !pn_domain_destroy(rig->domain));
	CHECK(!pn_region_destroy(region));
	munmap(memory, 2 * PAGE);
}

static const struct way ways[] = {
	{"raw", case_raw}, {"region", case_region}, {"range", case_range}, {"told", case_told}};

int main(int argc, char **argv)
{
	return run_way(argc, argv, ways, sizeof(ways) / sizeof(ways[0]));
}
