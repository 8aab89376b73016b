/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Backends on the real kernel: backends TEST BACKEND EDU [OTHER]. EDU is an edu device, OTHER any
 * second one, both bound to vfio-pci. Prints "ok" or what is wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests.h"

int failures;
const char *backend_name;
struct pn_dma_device edu_device, other_device;

const struct pn_backend *backend_find(void)
{
	for (unsigned int i = 0; pn_backends[i]; i++) {
		if (!strcmp(pn_backends[i]->name, backend_name))
			return pn_backends[i];
	}
	return NULL;
}

struct pn_region *region_new(uint64_t pages)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region *region = NULL;

	opts.page_size = PN_PAGE_4K;
	CHECK(!pn_region_create(&region, pages * PAGE, &opts));
	return region;
}

uint8_t *region_bytes(const struct pn_region *region)
{
	struct pn_region_info info;

	pn_region_get_info(region, &info);
	return info.vaddr;
}

struct pn_domain_info domain_info(struct pn_domain *domain)
{
	struct pn_domain_info info;

	pn_domain_get_info(domain, &info);
	return info;
}

bool dma_works(int device_fd, struct pn_region *region, uint64_t iova, uint64_t pages)
{
	uint8_t *bytes = region_bytes(region), *last = bytes + (pages - 1) * PAGE;
	struct edu edu;
	bool ok;

	if (edu_start(&edu, device_fd))
		return false;
	memset(bytes, 0, pages * PAGE);
	for (unsigned int i = 0; i < 64; i++)
		bytes[i] = (uint8_t)(i * 7 + 1);
	ok = edu_copy(&edu, iova, iova + (pages - 1) * PAGE + 128, 64) &&
	     !memcmp(bytes, last + 128, 64) && !last[127] && !last[192];
	edu_stop(&edu);
	return ok;
}

/* Queued, attached, mapped more, unmapped, detached, attached again: charges and real DMA. */
static void test_life(void)
{
	struct pn_domain_opts opts = {.backend = backend_name};
	struct pn_region *first = region_new(16), *second = region_new(8);
	uint64_t one = PN_IOVA_ANY, two = PN_IOVA_ANY;
	struct pn_domain_info info;
	struct pn_domain *domain;
	struct counters before;
	int fd = -1;

	CHECK(!pn_domain_create(&domain, &opts));
	before = counters_now();
	CHECK(!pn_domain_map(domain, first, 0, 16 * PAGE, PN_PROT_RW, &one));
	info = domain_info(domain);
	CHECK(!strcmp(info.charge.path, backend_name));
	CHECK(counters_grew(&before, &info.charge, false, 0));
	CHECK(!pn_domain_attach(domain, &edu_device, &fd));
	info = domain_info(domain);
	CHECK(counters_grew(&before, &info.charge, false, 16));
	CHECK(dma_works(fd, first, one, 16));

	CHECK(!pn_domain_map(domain, second, PAGE, 7 * PAGE, PN_PROT_READ, &two));
	CHECK(counters_grew(&before, &info.charge, false, 23));
	CHECK(pn_domain_unmap(domain, one, PAGE) == -EINVAL);
	CHECK(!pn_domain_unmap(domain, two, 7 * PAGE));
	CHECK(counters_grew(&before, &info.charge, false, 16));

	pn_domain_detach(domain, fd);
	CHECK(counters_grew(&before, &info.charge, false, 0));
	CHECK(!pn_domain_attach(domain, &edu_device, &fd));
	CHECK(counters_grew(&before, &info.charge, false, 16));
	CHECK(dma_works(fd, first, one, 16));
	pn_domain_detach(domain, fd);
	CHECK(!pn_domain_destroy(domain));
	CHECK(counters_grew(&before, &info.charge, false, 0));
	CHECK(!pn_region_destroy(first) && !pn_region_destroy(second));
}

/* Two devices in one domain are charged once, and the last one takes the mappings along. */
static void test_two_devices(void)
{
	struct pn_domain_opts opts = {.backend = backend_name};
	struct pn_region *region = region_new(8);
	uint64_t iova = PN_IOVA_ANY;
	struct pn_domain_info info;
	struct pn_domain *domain;
	struct counters before;
	int first = -1, second = -1, again = -1;

	CHECK(!pn_domain_create(&domain, &opts));
	before = counters_now();
	CHECK(!pn_domain_attach(domain, &other_device, &first));
	CHECK(!pn_domain_map(domain, region, 0, 8 * PAGE, PN_PROT_RW, &iova));
	CHECK(!pn_domain_attach(domain, &edu_device, &second));
	info = domain_info(domain);
	CHECK(info.devices == 2);
	CHECK(counters_grew(&before, &info.charge, false, 8));
	CHECK(dma_works(second, region, iova, 8));
	/* The same device in another domain: refused in words, and nothing changes. */
	{
		struct pn_domain *rival;

		CHECK(!pn_domain_create(&rival, &opts));
		CHECK(pn_domain_attach(rival, &edu_device, &again) < 0);
		CHECK(strstr(pn_error(), edu_device.address));
		CHECK(!pn_domain_destroy(rival));
	}
	pn_domain_detach(domain, first);
	CHECK(counters_grew(&before, &info.charge, false, 8));
	CHECK(dma_works(second, region, iova, 8));
	pn_domain_detach(domain, second);
	CHECK(counters_grew(&before, &info.charge, false, 0));
	CHECK(!pn_domain_destroy(domain));
	CHECK(!pn_region_destroy(region));
}

/* A refused attach leaves nothing, and works when what stood in the way is gone. */
static void test_limit(void)
{
	struct rlimit limit = {16 * PAGE, 16 * PAGE};
	struct pn_domain_opts opts = {.backend = backend_name};
	struct pn_region *region = region_new(32);
	uint64_t iova = PN_IOVA_ANY, more = PN_IOVA_ANY;
	struct pn_domain_info info;
	struct pn_domain *domain;
	struct counters before;
	int fd = -1;

	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	CHECK(!pn_domain_create(&domain, &opts));
	before = counters_now();
	CHECK(!pn_domain_map(domain, region, 0, 17 * PAGE, PN_PROT_RW, &iova));
	info = domain_info(domain);
	CHECK(pn_domain_attach(domain, &edu_device, &fd) == -ENOMEM);
	CHECK(counters_grew(&before, &info.charge, false, 0));
	CHECK(!pn_domain_unmap(domain, iova, 17 * PAGE));
	CHECK(!pn_domain_map(domain, region, 0, 12 * PAGE, PN_PROT_RW, &iova));
	CHECK(!pn_domain_attach(domain, &edu_device, &fd));
	CHECK(pn_domain_map(domain, region, 12 * PAGE, 5 * PAGE, PN_PROT_RW, &more) == -ENOMEM);
	CHECK(counters_grew(&before, &info.charge, false, 12));
	CHECK(!pn_domain_map(domain, region, 12 * PAGE, 4 * PAGE, PN_PROT_RW, &more));
	CHECK(counters_grew(&before, &info.charge, false, 16));
	pn_domain_detach(domain, fd);
	CHECK(counters_grew(&before, &info.charge, false, 0));
	CHECK(!pn_domain_destroy(domain));
	CHECK(!pn_region_destroy(region));
}

/* What the kernel says of IOVAs and page sizes, and that all backends hear the same of it. */
static void test_limits(void)
{
	struct pn_domain_opts opts = {.backend = backend_name};
	struct pn_domain_info info;
	struct pn_domain *domain;
	int fd = -1;

	CHECK(!pn_domain_create(&domain, &opts));
	CHECK(!pn_domain_attach(domain, &edu_device, &fd));
	info = domain_info(domain);
	CHECK(info.limits_known && info.range_count);
	printf("page sizes %#llx", (unsigned long long)info.page_sizes);
	for (unsigned int i = 0; i < info.range_count; i++)
		printf(", %#llx to %#llx", (unsigned long long)info.ranges[i].first,
			(unsigned long long)info.ranges[i].last);
	printf(", %s entries\n", info.entries_left == UINT64_MAX ? "any" : "limited");
	pn_domain_detach(domain, fd);
	CHECK(!pn_domain_destroy(domain));
}

/* A dma-buf of the first pages of BAR 0 (VFIO_DEVICE_FEATURE_DMA_BUF, Linux 6.19), or -1. */
static int bar_dmabuf(int device_fd, uint64_t len)
{
	struct {
		uint32_t argsz, flags;
		uint32_t region, open_flags, export_flags, ranges;
		uint64_t offset, length;
	} request = {.argsz = sizeof(request),
		.flags = 11 | VFIO_DEVICE_FEATURE_GET,
		.region = VFIO_PCI_BAR0_REGION_INDEX,
		.open_flags = O_RDWR | O_CLOEXEC,
		.ranges = 1,
		.length = len};

	return ioctl(device_fd, VFIO_DEVICE_FEATURE, &request);
}

/* The device reads its own first register, at the IOVA of its BAR. */
static bool bar_readable(
	const struct pn_backend *backend, void *ctx, struct edu *edu, uint64_t iova)
{
	struct pn_region *region = region_new(1);
	struct pn_backend_map map = {.iova = UINT64_C(1) << 33,
		.vaddr = (uint64_t)(uintptr_t)region_bytes(region),
		.len = PAGE,
		.prot = PN_PROT_RW,
		.page_size = PAGE,
		.fd = -1};
	uint32_t first = *(volatile uint32_t *)edu->registers, got = 0;

	CHECK(!backend->map(ctx, &map));
	CHECK(edu_copy(edu, iova, map.iova, sizeof(got)));
	memcpy(&got, region_bytes(region), sizeof(got));
	CHECK(!backend->unmap(ctx, map.iova, PAGE));
	CHECK(!pn_region_destroy(region));
	return got == first;
}

/* type1 maps a BAR by its address, and charges nothing for it. */
static void bar_type1(const struct pn_backend *backend, void *ctx, struct pn_backend_map *map,
	const struct pn_charge_rule *rule, struct edu *edu)
{
	struct counters before = counters_now();

	CHECK(!backend->map(ctx, map) && map->uncharged);
	CHECK(counters_grew(&before, rule, false, 0));
	CHECK(bar_readable(backend, ctx, edu, map->iova));
	CHECK(!backend->unmap(ctx, map->iova, map->len));
}

/* iommufd says that it cannot, but by a dma-buf where the kernel has them. */
static void bar_iommufd(const struct pn_backend *backend, void *ctx, struct pn_backend_map *map,
	const struct pn_charge_rule *rule, struct edu *edu, int dmabuf)
{
	struct counters before = counters_now();

	CHECK(backend->map(ctx, map) == -EOPNOTSUPP && !map->uncharged);
	CHECK(strstr(pn_error(), "type1"));
	map->dmabuf = true;
	CHECK(backend->map(ctx, map) == -EOPNOTSUPP);
	if (dmabuf < 0 || strcmp(backend_name, "iommufd") != 0)
		return;
	puts("by a dma-buf");
	map->fd = dmabuf;
	CHECK(!backend->map(ctx, map) && map->uncharged);
	CHECK(counters_grew(&before, rule, false, 0));
	CHECK(bar_readable(backend, ctx, edu, map->iova));
	/*
	 * Turning memory decoding off, as a reset does, takes the pages out of the IOMMU for good
	 * (vfio_pci_dmabuf.c:vfio_pci_dma_buf_move); the kernel keeps the empty mapping.
	 */
	CHECK(edu_memory(edu, false) && edu_memory(edu, true));
	CHECK(!backend->unmap(ctx, map->iova, map->len));
	CHECK(!backend->map(ctx, map));
	CHECK(bar_readable(backend, ctx, edu, map->iova));
	CHECK(!backend->unmap(ctx, map->iova, map->len));
}

static void test_bar(void)
{
	const struct pn_backend *backend = backend_find();
	struct pn_backend_request request = {.node = NULL};
	struct pn_backend_map map = {.iova = UINT64_C(1) << 32,
		.len = 16 * PAGE,
		.prot = PN_PROT_RW,
		.device = true,
		.page_size = PAGE,
		.fd = -1};
	struct pn_charge_rule rule;
	char found[40];
	struct edu edu;
	int fd = -1, dmabuf;
	void *ctx;

	CHECK(!backend->probe(&request, found, sizeof(found)));
	request.node = found;
	CHECK(!backend->open(&ctx, &request));
	CHECK(!backend->attach(ctx, &edu_device, &fd));
	CHECK(!edu_start(&edu, fd));
	backend->charge(ctx, &rule);
	map.vaddr = (uint64_t)(uintptr_t)edu.registers;
	dmabuf = bar_dmabuf(fd, map.len);
	if (!strcmp(backend_name, "type1"))
		bar_type1(backend, ctx, &map, &rule, &edu);
	else
		bar_iommufd(backend, ctx, &map, &rule, &edu, dmabuf);
	if (dmabuf >= 0)
		close(dmabuf);
	edu_stop(&edu);
	CHECK(!backend->detach(ctx, fd));
	backend->close(ctx);
}

/* By its file, memory that this process may not write is refused before a device may. */
static void test_read_only(void)
{
	const struct pn_backend *backend = backend_find();
	struct pn_backend_request request = {.node = NULL};
	struct pn_backend_map map = {
		.iova = UINT64_C(1) << 32, .len = 4 * PAGE, .prot = PN_PROT_RW, .page_size = PAGE};
	int fd = -1, file = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char found[40], path[40];
	void *ctx, *memory;

	CHECK(!backend->probe(&request, found, sizeof(found)));
	request.node = found;
	CHECK(!backend->open(&ctx, &request));
	CHECK(!backend->attach(ctx, &edu_device, &fd));
	CHECK(!ftruncate(file, 4 * PAGE));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	map.fd = open(path, O_RDONLY | O_CLOEXEC);
	memory = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, map.fd, 0);
	CHECK(memory != MAP_FAILED);
	map.vaddr = (uint64_t)(uintptr_t)memory;
	/* By its address: EFAULT. */
	CHECK(backend->map(ctx, &map) < 0);
	map.prot = PN_PROT_READ;
	CHECK(!backend->map(ctx, &map));
	CHECK(!backend->unmap(ctx, map.iova, map.len));
	map.prot = PN_PROT_RW;
	CHECK(!fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	close(map.fd);
	map.fd = file;
	CHECK(backend->map(ctx, &map) < 0);
	munmap(memory, 4 * PAGE);
	close(file);
	CHECK(!backend->detach(ctx, fd));
	backend->close(ctx);
}

static void test_dirty(void)
{
	struct pn_domain_opts opts = {.backend = backend_name};
	struct pn_region *region = region_new(96);
	uint64_t one = UINT64_C(1) << 32, two = one + 70 * PAGE, bits[2];
	struct pn_domain *domain;
	int fd = -1;

	CHECK(!pn_domain_create(&domain, &opts));
	CHECK(pn_domain_dirty_start(domain) < 0);
	CHECK(!pn_domain_map(domain, region, 0, 70 * PAGE, PN_PROT_RW, &one));
	CHECK(!pn_domain_attach(domain, &edu_device, &fd));
	/* Tracking is off. */
	CHECK(pn_domain_dirty_read(domain, one, 70 * PAGE, PAGE, bits) == -EINVAL);
	CHECK(!pn_domain_dirty_start(domain));
	CHECK(!pn_domain_map(domain, region, 70 * PAGE, 20 * PAGE, PN_PROT_READ, &two));
	/* Twice: the kernel's bitmaps are used again, and must leave nothing behind the end. */
	for (int i = 0; i < 2; i++) {
		CHECK(!pn_domain_dirty_read(domain, one, 90 * PAGE, PAGE, bits));
		CHECK(bits[0] == UINT64_MAX);
		/* Pages that no device may write count too: printed, as it surprises. */
		printf("70 pages to write, 20 to read: second word %#llx\n",
			(unsigned long long)bits[1]);
		CHECK((bits[1] & 0x3f) == 0x3f && bits[1] >> 26 == 0);
		CHECK(!pn_domain_dirty_read(domain, two, 20 * PAGE, PAGE, bits));
		CHECK(bits[0] >> 20 == 0);
	}
	CHECK(pn_domain_dirty_read(domain, one, 64 * PAGE, PAGE, bits) == -EINVAL);
	CHECK(strstr(pn_error(), "whole mappings"));
	CHECK(pn_domain_dirty_read(domain, one, 90 * PAGE, 512 * PAGE, bits) == -EINVAL);
	CHECK(strstr(pn_error(), "2097152"));
	CHECK(!pn_domain_dirty_stop(domain));
	CHECK(pn_domain_dirty_read(domain, one, 70 * PAGE, PAGE, bits) == -EINVAL);
	pn_domain_detach(domain, fd);
	CHECK(!pn_domain_destroy(domain));
	CHECK(!pn_region_destroy(region));
}

/* iommufd here: an IOMMU that tracks nothing is said at attach; compat never can. */
static void test_no_dirty(void)
{
	struct pn_domain_opts opts = {.backend = backend_name, .dirty_tracking = true};
	struct pn_domain *domain;
	int fd = -1;

	if (!strcmp(backend_name, "iommufd-compat")) {
		CHECK(pn_domain_create(&domain, &opts) == -EOPNOTSUPP);
		CHECK(strstr(pn_error(), "dirty"));
		return;
	}
	CHECK(!pn_domain_create(&domain, &opts));
	CHECK(pn_domain_attach(domain, &edu_device, &fd) == -EOPNOTSUPP);
	CHECK(strstr(pn_error(), "dirty"));
	CHECK(!pn_domain_destroy(domain));
	/* Nothing holds the device. */
	opts.dirty_tracking = false;
	CHECK(!pn_domain_create(&domain, &opts));
	CHECK(!pn_domain_attach(domain, &edu_device, &fd));
	CHECK(pn_domain_dirty_start(domain) == -EOPNOTSUPP);
	pn_domain_detach(domain, fd);
	CHECK(!pn_domain_destroy(domain));
}

static void test_none(void)
{
	struct pn_domain_opts opts = {.backend = "none"};
	struct pn_region *region = region_new(8);
	uint64_t iova = PN_IOVA_ANY;
	struct pn_domain_info info;
	struct pn_domain *domain;
	struct counters before = counters_now();
	int fd = -1;

	CHECK(!pn_domain_create(&domain, &opts));
	CHECK(!pn_domain_map(domain, region, 0, 8 * PAGE, PN_PROT_RW, &iova));
	info = domain_info(domain);
	CHECK(info.charge.counters == 0 && info.mappings == 1);
	CHECK(counters_grew(&before, &info.charge, false, 0));
	CHECK(pn_domain_attach(domain, &edu_device, &fd) == -EOPNOTSUPP);
	CHECK(strstr(pn_error(), edu_device.address));
	CHECK(!pn_domain_unmap(domain, iova, 8 * PAGE));
	CHECK(!pn_domain_destroy(domain));
	CHECK(!pn_region_destroy(region));
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {{"life", test_life}, {"two-devices", test_two_devices}, {"limit", test_limit},
		{"limits", test_limits}, {"bar", test_bar}, {"read-only", test_read_only},
		{"dirty", test_dirty}, {"no-dirty", test_no_dirty}, {"none", test_none},
		{"handed-in", test_handed_in}, {"wrong-files", test_wrong_files},
		{"accounting", test_accounting}, {"beside", test_beside},
		{"handover", test_handover}, {"no-handover", test_no_handover}, {"mock", test_mock},
		{"noiommu", test_noiommu}, {"noiommu-user", test_noiommu_user},
		{"noiommu-refused", test_noiommu_refused}};

	if (argc < 4)
		return 2;
	backend_name = argv[2];
	edu_device = machine_device(argv[3]);
	if (argc > 4)
		other_device = machine_device(argv[4]);
	for (unsigned int i = 0; i < PN_ARRAY_SIZE(tests); i++) {
		if (strcmp(tests[i].name, argv[1]) != 0)
			continue;
		tests[i].run();
		puts(failures ? "failed" : "ok");
		return failures != 0;
	}
	return 2;
}
