/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Native iommufd with devices that the kernel only pretends to have (CONFIG_IOMMUFD_TEST): an IOMMU
 * that tracks dirty pages, and many ranges of IOVAs. Interface:
 * drivers/iommu/iommufd/iommufd_test.h of Linux 6.12.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "iommufd_abi.h"
#include "iommufd_priv.h"
#include "tests.h"

#define TEST_CMD           IOMMUFD_IOCTL(0xa0)
#define OP_ADD_RESERVED    1u
#define OP_MOCK_DOMAIN     2u
#define OP_DIRTY           13u
#define MOCK_PAGE          UINT64_C(2048)
#define MOCK_APERTURE      (UINT64_C(1) << 24)
#define MOCK_APERTURE_LAST ((UINT64_C(1) << 31) - 1)

struct test_cmd {
	uint32_t size;
	uint32_t op;
	uint32_t id;
	uint32_t reserved;
	union {
		struct {
			uint64_t start, length;
		} add_reserved;
		struct {
			uint32_t device, hwpt, bound;
		} mock_domain;
		struct {
			uint32_t flags;
			uint64_t iova, length, page_size, bits, dirty;
		} dirty;
	};
	uint32_t last;
};

static int command(struct iommufd *ctx, struct test_cmd *cmd)
{
	cmd->size = sizeof(*cmd);
	if (!ioctl(ctx->file->fd, TEST_CMD, cmd))
		return 0;
	printf("test command %u: %s\n", cmd->op, strerror(errno));
	return -errno;
}

static void add_hwpt(struct iommufd *ctx, uint32_t device)
{
	struct iommufd_hwpt_alloc alloc = {.size = sizeof(alloc),
		.flags = IOMMUFD_HWPT_ALLOC_DIRTY_TRACKING,
		.dev_id = device,
		.pt_id = ctx->ioas};
	struct iommufd_hwpt *hwpt = calloc(1, sizeof(*hwpt));

	CHECK(!ioctl(ctx->file->fd, IOMMUFD_HWPT_ALLOC, &alloc));

	hwpt->id = alloc.out_hwpt_id;
	hwpt->next = ctx->hwpts;
	ctx->hwpts = hwpt;
}

/* The device of this page table writes to a page. */
static void write_page(struct iommufd *ctx, const struct iommufd_hwpt *hwpt, uint64_t iova)
{
	uint64_t bit = 1;
	struct test_cmd cmd = {.op = OP_DIRTY,
		.id = hwpt->id,
		.dirty = {.iova = iova,
			.length = MOCK_PAGE,
			.page_size = MOCK_PAGE,
			.bits = (uint64_t)(uintptr_t)&bit}};

	CHECK(!command(ctx, &cmd));
	CHECK(cmd.dirty.dirty == 1);
}

/* Asking for page sizes leaves the file's VFIO-compat interface as it was. */
static void check_compat(const struct pn_backend *backend, struct iommufd *ctx)
{
	struct iommufd_vfio_ioas request = {.size = sizeof(request), .op = IOMMUFD_VFIO_IOAS_GET};
	struct pn_backend_limits limits = {0};
	struct iommufd_ioas_alloc other = {.size = sizeof(other)};

	CHECK(ioctl(ctx->file->fd, IOMMUFD_VFIO_IOAS, &request) && errno == ENODEV);
	CHECK(!ioctl(ctx->file->fd, IOMMUFD_IOAS_ALLOC, &other));
	request.op = IOMMUFD_VFIO_IOAS_SET;
	request.ioas_id = other.out_ioas_id;
	CHECK(!ioctl(ctx->file->fd, IOMMUFD_VFIO_IOAS, &request));
	CHECK(!backend->limits(ctx, &limits));
	/* Those of the pretended IOMMU, not of an address space without one. */
	CHECK(limits.page_sizes == PAGE);
	free(limits.ranges);
	request.op = IOMMUFD_VFIO_IOAS_GET;
	request.ioas_id = 0;
	CHECK(!ioctl(ctx->file->fd, IOMMUFD_VFIO_IOAS, &request));
	CHECK(request.ioas_id == other.out_ioas_id);
	CHECK(!iommufd_destroy_object(ctx->file, other.out_ioas_id));
}

static void check_limits(const struct pn_backend *backend, struct iommufd *ctx)
{
	struct pn_backend_limits limits = {0};
	struct test_cmd reserve = {.op = OP_ADD_RESERVED, .id = ctx->ioas};

	CHECK(!backend->limits(ctx, &limits));
	printf("%u ranges, %#llx to %#llx, page sizes %#llx\n", limits.range_count,
		(unsigned long long)limits.ranges[0].first,
		(unsigned long long)limits.ranges[0].last, (unsigned long long)limits.page_sizes);
	CHECK(limits.range_count == 1 && limits.ranges[0].first == MOCK_APERTURE &&
		limits.ranges[0].last == MOCK_APERTURE_LAST);
	/* Sub-pages of the CPU's page are not shown: as through the VFIO interface. */
	CHECK((limits.page_sizes & -limits.page_sizes) == PAGE);
	free(limits.ranges);
	/* More than there is room for at first. */
	for (uint64_t i = 0; i < 100; i++) {
		reserve.add_reserved.start = (UINT64_C(1) << 30) + i * 4 * PAGE;
		reserve.add_reserved.length = PAGE;
		CHECK(!command(ctx, &reserve));
	}
	CHECK(!backend->limits(ctx, &limits));
	CHECK(limits.range_count == 101);
	CHECK(limits.ranges[100].last == MOCK_APERTURE_LAST);
	free(limits.ranges);
}

static void check_dirty(const struct pn_backend *backend, struct iommufd *ctx)
{
	uint64_t bits[2] = {0, 0};
	struct iommufd_hwpt *one = ctx->hwpts, *two = ctx->hwpts->next;

	CHECK(backend->dirty_read(ctx, MOCK_APERTURE, 70 * PAGE, PAGE, bits) == -EINVAL);
	CHECK(!backend->dirty_set(ctx, true));
	write_page(ctx, one, MOCK_APERTURE);
	write_page(ctx, one, MOCK_APERTURE + 5 * PAGE + MOCK_PAGE);
	write_page(ctx, two, MOCK_APERTURE + 69 * PAGE);
	write_page(ctx, two, MOCK_APERTURE + 5 * PAGE);
	CHECK(!backend->dirty_read(ctx, MOCK_APERTURE, 70 * PAGE, PAGE, bits));
	CHECK(bits[0] == (1 | 1 << 5) && bits[1] == 1 << 5);
	/* Read is forgotten. */
	memset(bits, 0, sizeof(bits));
	CHECK(!backend->dirty_read(ctx, MOCK_APERTURE, 70 * PAGE, PAGE, bits));
	CHECK(!bits[0] && !bits[1]);
	/* In other pages. */
	write_page(ctx, two, MOCK_APERTURE + 3 * PAGE);
	CHECK(!backend->dirty_read(ctx, MOCK_APERTURE, 64 * PAGE, 2 * PAGE, bits));
	CHECK(bits[0] == 2 && !bits[1]);
	CHECK(backend->dirty_read(ctx, MOCK_APERTURE + PAGE, 64 * PAGE, 2 * PAGE, bits) == -EINVAL);
	CHECK(backend->dirty_read(ctx, MOCK_APERTURE, 64 * PAGE, 3 * PAGE, bits) == -EINVAL);
	CHECK(backend->dirty_read(ctx, MOCK_APERTURE, 64 * PAGE, 0, bits) == -EINVAL);
	CHECK(!backend->dirty_set(ctx, false));
	CHECK(backend->dirty_read(ctx, MOCK_APERTURE, 70 * PAGE, PAGE, bits) == -EINVAL);
}

void test_mock(void)
{
	const struct pn_backend *backend = backend_find();
	struct pn_backend_request request = {.node = "/dev/iommu", .dirty_tracking = true};
	struct test_cmd device = {.op = OP_MOCK_DOMAIN};
	struct pn_region *region = region_new(70);
	struct pn_backend_map map = {.iova = MOCK_APERTURE,
		.vaddr = (uint64_t)(uintptr_t)region_bytes(region),
		.len = 70 * PAGE,
		.prot = PN_PROT_RW,
		.page_size = PAGE,
		.fd = -1};
	struct iommufd_hwpt *hwpt;
	struct iommufd *ctx;
	void *opaque;

	CHECK(!backend->open(&opaque, &request));
	ctx = opaque;
	device.id = ctx->ioas;
	CHECK(!command(ctx, &device));
	CHECK(!backend->map(ctx, &map));
	check_limits(backend, ctx);
	check_compat(backend, ctx);
	add_hwpt(ctx, device.mock_domain.bound);
	add_hwpt(ctx, device.mock_domain.bound);
	check_dirty(backend, ctx);
	CHECK(!backend->unmap(ctx, MOCK_APERTURE, 70 * PAGE));
	while ((hwpt = ctx->hwpts)) {
		ctx->hwpts = hwpt->next;
		CHECK(!iommufd_destroy_object(ctx->file, hwpt->id));
		free(hwpt);
	}
	CHECK(!iommufd_destroy_object(ctx->file, device.mock_domain.device));
	backend->close(ctx);
	CHECK(!pn_region_destroy(region));
}
