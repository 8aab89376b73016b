/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What Pinion costs on top of the kernel's map and unmap calls: dma_map BACKEND DEVICE ROUNDS. The
 * same address space is filled in turn by a bare loop of ioctls and by the library (A B A B ...),
 * which was handed the bare loop's file. One line a round of "CASE ns-a-mapping ns-a-mapping", the
 * bare loop's first; tests/bench/dma-map starts it in a VM and makes ratios of it. Not a test: it
 * fails only if something cannot be done.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "../../lib/dma/backends/iommufd_abi.h"
#include "pinion.h"

#define SMALL_COUNT 65000u

static int container = -1;
static bool native;
static uint32_t ioas;
static struct pn_domain *domain;
static struct pn_region *region;
static char *base;

/* One case: count mappings of len bytes, stride bytes apart, each at IOVA = VA. */
struct bench {
	const char *name;
	uint64_t count, len, stride;
};

static void give_up(const char *what)
{
	fprintf(stderr, "dma_map: %s: %s\n", what, pn_error()[0] ? pn_error() : strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void bare_map(uint64_t address, uint64_t len)
{
	struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = address,
		.iova = address,
		.size = len};
	struct iommufd_ioas_map own = {.size = sizeof(own),
		.flags = IOMMUFD_MAP_FIXED_IOVA | IOMMUFD_MAP_WRITEABLE | IOMMUFD_MAP_READABLE,
		.ioas_id = ioas,
		.user_va = address,
		.length = len,
		.iova = address};

	if (native ? ioctl(container, IOMMUFD_IOAS_MAP, &own)
		   : ioctl(container, VFIO_IOMMU_MAP_DMA, &map))
		give_up("bare map");
}

static void bare_unmap(uint64_t address, uint64_t len)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .iova = address, .size = len};
	struct iommufd_ioas_unmap own = {
		.size = sizeof(own), .ioas_id = ioas, .iova = address, .length = len};

	if (native ? ioctl(container, IOMMUFD_IOAS_UNMAP, &own)
		   : ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap))
		give_up("bare unmap");
}

static void run_bare(const struct bench *bench, uint64_t *map_ns, uint64_t *unmap_ns)
{
	uint64_t start = now(), middle, i;

	for (i = 0; i < bench->count; i++)
		bare_map((uintptr_t)base + i * bench->stride, bench->len);
	middle = now();
	for (i = 0; i < bench->count; i++)
		bare_unmap((uintptr_t)base + i * bench->stride, bench->len);
	*unmap_ns = (now() - middle) / bench->count;
	*map_ns = (middle - start) / bench->count;
}

static void run_pinion(const struct bench *bench, uint64_t *map_ns, uint64_t *unmap_ns)
{
	uint64_t start = now(), middle, iova, i;

	for (i = 0; i < bench->count; i++) {
		iova = PN_IOVA_ANY;
		if (pn_domain_map(domain, region, i * bench->stride, bench->len, PN_PROT_RW, &iova))
			give_up("pn_domain_map");
	}
	middle = now();
	for (i = 0; i < bench->count; i++) {
		if (pn_domain_unmap(domain, (uintptr_t)base + i * bench->stride, bench->len))
			give_up("pn_domain_unmap");
	}
	*unmap_ns = (now() - middle) / bench->count;
	*map_ns = (middle - start) / bench->count;
}

static void run(const struct bench *bench, unsigned int rounds)
{
	uint64_t bare[2], ours[2];
	unsigned int round;

	/* The first round is for the caches and is not printed. */
	for (round = 0; round <= rounds; round++) {
		run_bare(bench, &bare[0], &bare[1]);
		run_pinion(bench, &ours[0], &ours[1]);
		if (!round)
			continue;
		printf("map-%s %" PRIu64 " %" PRIu64 "\n", bench->name, bare[0], ours[0]);
		printf("unmap-%s %" PRIu64 " %" PRIu64 "\n", bench->name, bare[1], ours[1]);
		fflush(stdout);
	}
}

/* The heap that SMALL_COUNT mappings take. */
static void print_memory(const struct bench *bench)
{
	size_t before = mallinfo2().uordblks;
	uint64_t iova, i;

	for (i = 0; i < bench->count; i++) {
		iova = PN_IOVA_ANY;
		if (pn_domain_map(domain, region, i * bench->stride, bench->len, PN_PROT_RW, &iova))
			give_up("pn_domain_map");
	}
	printf("heap-bytes-a-mapping %.1f\n",
		(double)(mallinfo2().uordblks - before) / (double)bench->count);
	if (pn_domain_unmap_all(domain))
		give_up("pn_domain_unmap_all");
}

static void make_region(uint64_t bytes, uint64_t page_size)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region_info info;

	opts.page_size = page_size;
	if (region && pn_region_destroy(region))
		give_up("pn_region_destroy");
	if (pn_region_create(&region, bytes, &opts))
		give_up("pn_region_create");
	pn_region_get_info(region, &info);
	base = info.vaddr;
}

/* The library's IOAS in the file that it was handed: the only one. */
static void find_ioas(void)
{
	struct iommufd_ioas_iova_ranges ask = {.size = sizeof(ask)};

	for (ask.ioas_id = 1; ask.ioas_id < 64; ask.ioas_id++) {
		ask.num_iovas = 0;
		if (!ioctl(container, IOMMUFD_IOAS_IOVA_RANGES, &ask) || errno == EMSGSIZE) {
			ioas = ask.ioas_id;
			return;
		}
	}
	give_up("no IOAS");
}

int main(int argc, char **argv)
{
	const struct bench one = {"1x1G", 1, PN_PAGE_1G, PN_PAGE_1G},
			   many = {"512x2M", 512, PN_PAGE_2M, PN_PAGE_2M},
			   small = {"65000x4K", SMALL_COUNT, PN_PAGE_4K, 2 * PN_PAGE_4K};
	struct pn_domain_opts opts = {.use_fd = true};
	struct pn_pci_device *device;
	unsigned int rounds;

	if (argc != 4)
		return 2;
	opts.backend = argv[1];
	rounds = (unsigned int)strtoul(argv[3], NULL, 10);
	native = !strcmp(argv[1], "iommufd");
	container = open(
		strcmp(argv[1], "type1") ? "/dev/iommu" : "/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (container < 0)
		give_up("opening the container");
	opts.fd = container;
	if (pn_domain_create(&domain, &opts))
		give_up("pn_domain_create");
	if (pn_pci_open(&device, argv[2], domain))
		give_up("pn_pci_open");
	if (native)
		find_ioas();
	make_region(PN_PAGE_1G, PN_PAGE_2M);
	run(&one, rounds);
	run(&many, rounds);
	make_region(SMALL_COUNT * 2 * PN_PAGE_4K, PN_PAGE_4K);
	/* Before anything else has filled the index's pools. */
	print_memory(&small);
	run(&small, rounds);
	pn_pci_close(device);
	if (pn_domain_destroy(domain) || pn_region_destroy(region))
		give_up("ending");
	return 0;
}
