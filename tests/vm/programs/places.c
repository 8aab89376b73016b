/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where memory is mapped, as a device sees it: segments in one run, IOVAs chosen and demanded, and
 * a device that reaches few of them or is opened by a file. See ways.h.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ways.h"

/* Where no mapping is by itself: neither a virtual address nor low. */
#define HIGH (UINT64_C(1) << 33)
/* Messages of interrupts go here: no IOVA. */
#define MSI UINT64_C(0xfee00000)

/*
 * Segments
 */

#define SEGMENTS 7u

/* The device reads and writes across every border, and all there is between them. */
static void check_run(const struct rig *rig, const struct pn_segment *segments, uint64_t iova)
{
	char *at[SEGMENTS], expected[SEGMENTS * PAGE];
	struct pn_region_info info;
	unsigned int i;

	for (i = 0; i < SEGMENTS; i++) {
		pn_region_get_info(segments[i].region, &info);
		at[i] = (char *)info.vaddr + segments[i].offset;
		fill(at[i], PAGE);
		memcpy(expected + i * PAGE, at[i], PAGE);
	}
	CHECK(device_reads(rig, iova, expected, LEN));
	for (i = 0; i + 1 < SEGMENTS; i++)
		CHECK(device_reads(rig, iova + i * PAGE + LEN, expected + i * PAGE + LEN,
			PAGE - LEN + PAGE / 4));
	CHECK(device_reads(rig, iova + i * PAGE + LEN, expected + i * PAGE + LEN, LEN));
	/* One transfer, from the middle of one page to the middle of another far away. */
	for (i = 0; i + 1 < SEGMENTS; i++) {
		fill(rig->seen, PAGE);
		CHECK(!edu_read(&rig->edu, rig->witness_iova, 0, LEN));
		CHECK(!edu_write(&rig->edu, iova + (i + 1) * PAGE - LEN / 2, 0, LEN));
		CHECK(!memcmp(at[i] + PAGE - LEN / 2, rig->seen, LEN / 2));
		CHECK(!memcmp(at[i + 1], rig->seen + LEN / 2, LEN / 2));
	}
}

/* Those that follow each other are one mapping, the last; the IOVAs have no gap. There is the
 * witness beside them. */
static void check_merged(const struct rig *rig, const struct pn_segment *segments, uint64_t iova)
{
	struct pn_mapping_info map;
	struct pn_region_info info;
	uint64_t at = iova, pages;
	unsigned int i;

	for (i = 0; i + 1 < SEGMENTS; i++, at += map.len) {
		pages = i + 2 < SEGMENTS ? 1 : 2;
		CHECK(!pn_domain_next(rig->domain, at, &map));
		pn_region_get_info(segments[i].region, &info);
		CHECK(map.iova == at && map.len == pages * PAGE && map.charged == pages);
		CHECK(map.region == segments[i].region && !map.queued && map.prot == PN_PROT_RW);
		CHECK(map.vaddr == (char *)info.vaddr + segments[i].offset);
	}
	CHECK(at == iova + SEGMENTS * PAGE && mappings(rig) == SEGMENTS);
}

static void case_segments(struct rig *rig)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	uint64_t iova = PN_IOVA_ANY, more = PN_IOVA_ANY;
	void *memory =
		mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct pn_region *region, *range;
	struct pn_region_info info;

	opts.page_size = PN_PAGE_4K;
	CHECK(!pn_region_create(&region, (uint64_t)16 * PAGE, &opts));
	CHECK(!pn_region_from_range(&range, memory, 2 * PAGE, NULL));
	open_device(rig);
	if (failures)
		return;

	struct pn_segment segments[SEGMENTS + 1] = {{region, 9 * PAGE, PAGE},
		{region, 3 * PAGE, PAGE}, {range, PAGE, PAGE}, {region, 12 * PAGE, PAGE},
		{range, 0, PAGE}, {region, 5 * PAGE, PAGE}, {region, 6 * PAGE, PAGE},
		{region, 0, PAGE}};

	/* One too many: the kernel refuses the last mapping, and those before it go away again. */
	CHECK(pn_domain_map_segments(rig->domain, segments, SEGMENTS + 1, PN_PROT_RW, &more) ==
		-ENOMEM);
	CHECK(more == PN_IOVA_ANY && charged() == 1 && charged_by_mappings(rig) == 1);
	CHECK(mappings(rig) == 1);

	CHECK(!pn_domain_map_segments(rig->domain, segments, SEGMENTS, PN_PROT_RW, &iova));
	if (failures)
		return;
	pn_region_get_info(region, &info);
	CHECK(iova != (uintptr_t)info.vaddr + segments[0].offset);
	check_merged(rig, segments, iova);
	check_run(rig, segments, iova);
	check_full(rig);
	more = iova + SEGMENTS * PAGE;
	CHECK(pn_domain_map_segments(rig->domain, segments, 2, PN_PROT_RW, &more) == -ENOMEM);
	more = iova - PAGE;
	CHECK(pn_domain_map_segments(rig->domain, segments, 2, PN_PROT_RW, &more) == -EEXIST);
	CHECK(mappings(rig) == SEGMENTS);

	CHECK(pn_domain_unmap(rig->domain, iova, (SEGMENTS - 1) * PAGE) == -EINVAL);
	CHECK(pn_domain_unmap(rig->domain, iova + 6 * PAGE, PAGE) == -EINVAL);
	CHECK(pn_domain_unmap(rig->domain, iova, PAGE / 2) == -EINVAL);
	check_merged(rig, segments, iova);
	check_full(rig);
	CHECK(!pn_domain_unmap(rig->domain, iova, SEGMENTS * PAGE));
	CHECK(charged() == 1 && charged_by_mappings(rig) == 1 && mappings(rig) == 1);
	/* Together they lie at their virtual addresses only if they follow each other there. */
	more = PN_IOVA_ANY;
	CHECK(!pn_domain_map_segments(rig->domain, segments + 5, 2, PN_PROT_RW, &more));
	CHECK(more == (uintptr_t)info.vaddr + segments[5].offset && mappings(rig) == 2);
	close_domain(rig);
	CHECK(!pn_region_destroy(region) && !pn_region_destroy(range));
	munmap(memory, 2 * PAGE);
}

/*
 * Where
 */

#define NARROW (UINT64_C(1) << 28)

static uint64_t last_valid(const struct rig *rig)
{
	struct pn_domain_info info;

	pn_domain_get_info(rig->domain, &info);
	return info.range_count ? info.ranges[info.range_count - 1].last : 0;
}

static struct pn_region *two_pages(struct pn_region_info *info)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region *region = NULL;

	opts.page_size = PN_PAGE_4K;
	CHECK(!pn_region_create(&region, 2 * PAGE, &opts));
	if (region)
		pn_region_get_info(region, info);
	return region;
}

/* A device that sends 28 bits says so; a mapping that it cannot reach is in the way. */
static void case_dma_bits(struct rig *rig)
{
	uint64_t high = HIGH, iova;
	struct pn_region_info info;
	struct pn_region *region = two_pages(&info);

	CHECK(!edu_open(&rig->edu, rig->device, rig->domain));
	if (failures)
		return;
	CHECK(last_valid(rig) > HIGH);
	CHECK(!pn_domain_map(rig->domain, region, 0, PAGE, PN_PROT_RW, &high));
	CHECK(pn_pci_set_dma_bits(rig->edu.device, 28) == -ERANGE);
	CHECK(strstr(pn_error(), "0x200000000"));
	CHECK(last_valid(rig) > HIGH && mappings(rig) == 1 && charged() == 1);
	CHECK(!pn_domain_unmap(rig->domain, high, PAGE));
	CHECK(pn_pci_set_dma_bits(rig->edu.device, 11) == -EINVAL);
	CHECK(pn_pci_set_dma_bits(rig->edu.device, 65) == -EINVAL);
	CHECK(!pn_pci_set_dma_bits(rig->edu.device, 28));
	CHECK(last_valid(rig) == NARROW - 1);

	map_witness(rig);
	iova = map_whole(rig, region, PN_PROT_RW);
	CHECK(iova <= NARROW - 2 * PAGE && rig->witness_iova <= NARROW - PAGE);
	check_reached(rig, iova, info.vaddr, info.size);
	CHECK(pn_domain_map(rig->domain, region, 0, PAGE, PN_PROT_RW, &high) == -EINVAL);
	check_full(rig);

	/* It can be taken back, and the bits are the device's: they go with it. */
	CHECK(!pn_pci_set_dma_bits(rig->edu.device, 64) && last_valid(rig) > HIGH);
	CHECK(!pn_pci_set_dma_bits(rig->edu.device, 28) && last_valid(rig) == NARROW - 1);
	edu_close(&rig->edu);
	CHECK(last_valid(rig) > HIGH && mappings(rig) == 2);
	close_domain(rig);
	CHECK(!pn_region_destroy(region));
}

/* The same said beforehand: what is queued has such an IOVA already. */
static void case_iova_bits(struct rig *rig)
{
	uint64_t high = HIGH, iova;
	struct pn_region_info info;
	struct pn_region *region = two_pages(&info);

	CHECK(!pn_domain_destroy(rig->domain));
	CHECK(create_domain(rig, (struct pn_domain_opts){.iova_bits = 11}) == -EINVAL);
	CHECK(create_domain(rig, (struct pn_domain_opts){.iova_bits = 65}) == -EINVAL);
	CHECK(!create_domain(rig, (struct pn_domain_opts){.iova_bits = 28}));
	if (failures)
		return;
	CHECK(last_valid(rig) == NARROW - 1);
	iova = map_whole(rig, region, PN_PROT_RW);
	CHECK(iova <= NARROW - 2 * PAGE && charged() == 0);
	CHECK(pn_domain_map(rig->domain, region, 0, PAGE, PN_PROT_RW, &high) == -EINVAL);
	open_device(rig);
	CHECK(last_valid(rig) == NARROW - 1 && rig->witness_iova <= NARROW - PAGE);
	check_reached(rig, iova, info.vaddr, info.size);
	check_full(rig);
	close_domain(rig);
	CHECK(!pn_region_destroy(region));
}

static void case_exact(struct rig *rig)
{
	uint64_t exact = HIGH, msi = MSI, beyond = UINT64_C(1) << 60, odd = HIGH + 1, next;
	struct pn_region_info info;
	struct pn_region *region = two_pages(&info);
	struct pn_mapping_info map;

	CHECK(!pn_domain_map(rig->domain, region, 0, PAGE, PN_PROT_RW, &exact) && exact == HIGH);
	CHECK(!pn_domain_unmap_all(rig->domain) && mappings(rig) == 0);
	open_device(rig);
	if (failures)
		return;
	CHECK(!pn_domain_map(rig->domain, region, 0, 2 * PAGE, PN_PROT_RW, &exact));
	CHECK(exact == HIGH);
	check_reached(rig, exact, info.vaddr, info.size);
	next = HIGH + PAGE;
	CHECK(pn_domain_map(rig->domain, region, 0, PAGE, PN_PROT_RW, &next) == -EEXIST);
	CHECK(pn_domain_map(rig->domain, region, 0, PAGE, PN_PROT_RW, &msi) == -EINVAL);
	CHECK(pn_domain_map(rig->domain, region, 0, PAGE, PN_PROT_RW, &beyond) == -EINVAL);
	CHECK(pn_domain_map(rig->domain, region, 0, PAGE, PN_PROT_RW, &odd) == -EINVAL);
	CHECK(next == HIGH + PAGE && msi == MSI && odd == HIGH + 1);
	next = HIGH + 2 * PAGE;
	CHECK(!pn_domain_map(rig->domain, region, 0, PAGE, PN_PROT_RW, &next));
	check_reached(rig, next, info.vaddr, PAGE);
	check_full(rig);

	CHECK(!pn_domain_unmap_all(rig->domain));
	CHECK(charged() == 0 && mappings(rig) == 0);
	CHECK(pn_domain_next(rig->domain, 0, &map) == -ENOENT);
	CHECK(!pn_domain_unmap_all(rig->domain));
	/* Everything is free again. */
	map_witness(rig);
	CHECK(!pn_domain_map(rig->domain, region, 0, 2 * PAGE, PN_PROT_RW, &exact));
	check_reached(rig, exact, info.vaddr, info.size);
	close_domain(rig);
	CHECK(!pn_region_destroy(region));
}

static void check_mode(struct rig *rig, enum pn_iova_mode mode)
{
	struct pn_region_info info;
	struct pn_region *region = two_pages(&info);
	uint64_t vaddr = (uintptr_t)info.vaddr, iova, again = PN_IOVA_ANY;

	CHECK(!create_domain(rig, (struct pn_domain_opts){.iova_mode = mode}));
	open_device(rig);
	if (failures)
		return;
	CHECK((rig->witness_iova == (uintptr_t)rig->seen) == (mode != PN_IOVA_ALLOCATE));
	iova = map_whole(rig, region, PN_PROT_RW);
	CHECK((iova == vaddr) == (mode != PN_IOVA_ALLOCATE));
	check_reached(rig, iova, info.vaddr, info.size);
	/* The same memory again. */
	if (mode == PN_IOVA_VA_ONLY) {
		CHECK(pn_domain_map(rig->domain, region, 0, 2 * PAGE, PN_PROT_RW, &again) ==
			-ENOSPC);
		again = HIGH;
	}
	CHECK(!pn_domain_map(rig->domain, region, 0, 2 * PAGE, PN_PROT_RW, &again));
	CHECK(again != iova && again != vaddr);
	check_reached(rig, again, info.vaddr, info.size);
	check_full_at(rig, 2 * HIGH);
	close_domain(rig);
	CHECK(!pn_region_destroy(region));
}

static void case_modes(struct rig *rig)
{
	CHECK(!pn_domain_destroy(rig->domain));
	check_mode(rig, PN_IOVA_VA_FIRST);
	check_mode(rig, PN_IOVA_ALLOCATE);
	check_mode(rig, PN_IOVA_VA_ONLY);
}

/* The device is opened by someone else, who closes the file afterwards. */
static void case_open_fd(struct rig *rig)
{
	struct pn_region_info info;
	struct pn_region *region = two_pages(&info);
	int wrong = open("/dev/null", O_RDWR | O_CLOEXEC), fd;
	struct pn_pci_info pci;

	CHECK(!pn_pci_find(rig->device, &pci));
	CHECK(edu_open_fd(&rig->edu, rig->device, rig->domain, wrong) == -EINVAL);
	close(wrong);
	fd = open(strcmp(rig->backend, "iommufd") ? pci.group_node : pci.cdev_node,
		O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK(!edu_open_fd(&rig->edu, rig->device, rig->domain, fd));
	if (failures)
		return;
	CHECK(!close(fd));
	map_witness(rig);
	check_reached(rig, map_whole(rig, region, PN_PROT_RW), info.vaddr, info.size);
	check_full(rig);
	close_domain(rig);
	CHECK(!pn_region_destroy(region));
}

/* What a forked child lets go of is not its own. */
static void let_go_in_a_child(struct rig *rig)
{
	int status = -1;
	pid_t child = fork();

	if (!child) {
		pn_pci_close(rig->edu.device);
		_exit(pn_domain_unmap_all(rig->domain) != -EPERM ||
			pn_domain_destroy(rig->domain) != -EPERM);
	}
	CHECK(child > 0 && waitpid(child, &status, 0) == child && !status);
}

/* The parent's device and mappings go on. */
static void case_child(struct rig *rig)
{
	struct pn_region_info info;
	struct pn_region *region = two_pages(&info);
	uint64_t iova;

	open_device(rig);
	iova = map_whole(rig, region, PN_PROT_RW);
	let_go_in_a_child(rig);
	check_reached(rig, iova, info.vaddr, info.size);
	check_full(rig);
	CHECK(!pn_domain_unmap(rig->domain, iova, info.size));
	iova = map_whole(rig, region, PN_PROT_RW);
	check_reached(rig, iova, info.vaddr, info.size);
	close_domain(rig);
	CHECK(!pn_region_destroy(region));
}

/* A region of a BAR keeps its closed device's group in the container; another device joins. */
static void case_left_bar(struct rig *rig)
{
	const char *others = getenv("PINION_EDUS"), *other = others ? strchr(others, ' ') : NULL;
	struct pn_region_info info;
	struct pn_region *region = two_pages(&info), *bar = NULL;
	struct pn_pci_device *device = NULL;
	uint64_t iova;

	CHECK(other && !pn_pci_open(&device, other + 1, rig->domain));
	CHECK(device && !pn_pci_bar_region(device, 0, 0, PAGE, &bar));
	if (failures)
		return;
	pn_pci_close(device);
	open_device(rig);
	iova = map_whole(rig, region, PN_PROT_RW);
	check_reached(rig, iova, info.vaddr, info.size);
	check_full(rig);
	close_domain(rig);
	CHECK(!pn_region_destroy(bar) && !pn_region_destroy(region));
}

static const struct way ways[] = {{"segments", case_segments}, {"dma-bits", case_dma_bits},
	{"iova-bits", case_iova_bits}, {"exact", case_exact}, {"modes", case_modes},
	{"open-fd", case_open_fd}, {"child", case_child}, {"left-bar", case_left_bar}};

int main(int argc, char **argv)
{
	return run_way(argc, argv, ways, sizeof(ways) / sizeof(ways[0]));
}
