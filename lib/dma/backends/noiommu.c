/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFIO's no-IOMMU mode: the device is VFIO's, its DMA is nobody's. An IOVA is a physical address,
 * nothing keeps the device within what is mapped, nothing is pinned and nothing is charged. For
 * machines without an IOMMU and programs with CAP_SYS_RAWIO, and CAP_SYS_ADMIN or the companion
 * module, for physical addresses.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base_priv.h"
#include "pins_priv.h"
#include "vfio_container.h"
#include "vfio_node.h"

#define MODULE    "/sys/module/vfio"
#define PARAMETER MODULE "/parameters/enable_unsafe_noiommu_mode"

/* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_FRAME   ((UINT64_C(1) << 55) - 1)

static int check_request(const struct pn_backend_request *request)
{
	char text[8];
	ssize_t size;

	if (!pn_capable_now(CAP_SYS_RAWIO))
		return pn_fail(EPERM, "without an IOMMU a device reaches all memory: noiommu is "
				      "for programs with "
				      "CAP_SYS_RAWIO only (root)");
	if (request->beside)
		return pn_fail(EOPNOTSUPP, "noiommu has nothing to share: a domain beside another "
					   "takes native iommufd");
	if (request->accounting != PN_ACCOUNTING_ANY)
		return pn_fail(EOPNOTSUPP, "noiommu pins nothing and charges nobody");
	if (request->dirty_tracking)
		return pn_fail(EOPNOTSUPP, "noiommu does not track dirty pages");
	size = pn_read_file(PARAMETER, text, sizeof(text));
	if (size == -ENOENT && !access(MODULE, F_OK))
		return pn_fail(EOPNOTSUPP,
			"this kernel's VFIO has no no-IOMMU mode (CONFIG_VFIO_NOIOMMU)");
	if (size > 0 && text[0] != 'Y')
		return pn_fail(EOPNOTSUPP,
			"VFIO's no-IOMMU mode is off; as root, before the device is bound to "
			"vfio-pci: echo 1 > " PARAMETER " (it taints the kernel)");
	return 0;
}

static int noiommu_probe(const struct pn_backend_request *request, char *found, size_t found_size)
{
	struct vfio_container container;
	char name[VFIO_NODE_NAME];
	int ret;

	vfio_node_name(request, VFIO_NODE, name);
	snprintf(found, found_size, "%s", request->use_fd ? "" : name);
	ret = check_request(request);
	if (!ret)
		ret = vfio_container_open(&container, request, VFIO_NODE, VFIO_NOIOMMU_IOMMU);
	if (!ret)
		vfio_container_close(&container);
	return ret;
}

static int noiommu_open(void **ctx, const struct pn_backend_request *request)
{
	struct vfio_container *container;
	int ret;

	ret = check_request(request);
	if (ret)
		return ret;
	container = malloc(sizeof(*container));
	if (!container)
		return pn_fail(ENOMEM, "no memory for a container");
	ret = vfio_container_open(container, request, VFIO_NODE, VFIO_NOIOMMU_IOMMU);
	if (ret)
		free(container);
	else
		*ctx = container;
	return ret;
}

static void noiommu_close(void *ctx)
{
	vfio_container_close(ctx);
	free(ctx);
}

static int noiommu_attach(void *ctx, const struct pn_dma_device *device, int *device_fd)
{
	char path[64], name[32];

	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/name", device->group);
	/* vfio/group.c:vfio_noiommu_group_alloc names it so; other groups mostly have no name. */
	if (!access("/sys/kernel/iommu_groups", F_OK) &&
		(pn_read_file(path, name, sizeof(name)) < 0 || strcmp(name, "vfio-noiommu") != 0))
		return pn_fail(EOPNOTSUPP,
			"device %s is not in VFIO's no-IOMMU mode (group %d): with an IOMMU use "
			"iommufd, iommufd-compat or type1; without one, turn the mode on (echo 1 "
			"> " PARAMETER ") and bind the device to vfio-pci again",
			device->address, device->group);
	return vfio_container_attach(ctx, device, device_fd);
}

static int noiommu_detach(void *ctx, int device_fd)
{
	return vfio_container_detach(ctx, device_fd);
}

/*
 * Physical addresses
 */

static int read_frame(int fd, uint64_t vaddr, uint64_t small, uint64_t *frame)
{
	uint64_t entry, physical;

	if (pread(fd, &entry, sizeof(entry), (off_t)(vaddr / small * sizeof(entry))) !=
		(ssize_t)sizeof(entry))
		return pn_fail(EIO, "/proc/self/pagemap cannot be read at %#" PRIx64, vaddr);
	if (!(entry & PAGEMAP_PRESENT))
		return pn_fail(EFAULT, "there is no memory at %#" PRIx64, vaddr);
	*frame = entry & PAGEMAP_FRAME;
	if (!*frame && !pn_module_physical(vaddr, &physical))
		*frame = physical / small;
	if (!*frame)
		return pn_fail(EPERM,
			"the kernel does not tell physical addresses (/proc/self/pagemap): that "
			"takes CAP_SYS_ADMIN, or the companion module and the right to "
			"open " PN_MODULE_NODE);
	return 0;
}

static int fail_apart(const struct pn_backend_map *map, uint64_t vaddr)
{
	return pn_fail(EOPNOTSUPP,
		"the memory does not lie together: the page of %" PRIu64 " bytes at offset %" PRIu64
		" is elsewhere in physical memory than the one before it; map it page by page, or "
		"use larger pages",
		map->page_size, vaddr - map->vaddr);
}

/* Where a range lies in physical memory, if that is one run that stays. */
static int find_physical(const struct pn_backend_map *map, uint64_t *physical)
{
	uint64_t small = (uint64_t)sysconf(_SC_PAGESIZE), end = map->vaddr + map->len;
	uint64_t at, frame = 0;
	int fd, ret = 0;

	if (map->device || map->page_size <= small || !pn_is_pow2(map->page_size))
		return pn_fail(EOPNOTSUPP,
			"noiommu maps hugepages only: the kernel may move pages of %" PRIu64
			" bytes to other physical addresses%s",
			small, map->device ? "; a BAR is none" : " at any time");
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return pn_fail(errno, "/proc/self/pagemap: %s", strerror(errno));
	for (at = map->vaddr; at < end && !ret;
		at = pn_align_down(at, map->page_size) + map->page_size) {
		ret = read_frame(fd, at, small, &frame);
		if (ret)
			break;
		if (at == map->vaddr)
			*physical = frame * small + (at & (small - 1));
		else if (frame * small != *physical + (at - map->vaddr))
			ret = fail_apart(map, at);
	}
	close(fd);
	return ret;
}

static int noiommu_place(void *ctx, const struct pn_backend_map *map, uint64_t *iova)
{
	(void)ctx;
	return find_physical(map, iova);
}

static int noiommu_map(void *ctx, struct pn_backend_map *map)
{
	uint64_t physical = 0;
	int ret;

	(void)ctx;
	/* The device would write to the memory of somebody else. */
	ret = find_physical(map, &physical);
	if (ret)
		return ret;
	if (map->iova != physical)
		return pn_fail(EOPNOTSUPP,
			"without an IOMMU the IOVA of memory is its physical address, %#" PRIx64
			", and cannot be %#" PRIx64 ": map it with PN_IOVA_ANY",
			physical, map->iova);
	map->uncharged = true;
	return 0;
}

static int noiommu_unmap(void *ctx, uint64_t iova, uint64_t len)
{
	(void)ctx;
	(void)iova;
	(void)len;
	return 0;
}

static int noiommu_limits(void *ctx, struct pn_backend_limits *limits)
{
	(void)ctx;
	limits->ranges = calloc(1, sizeof(*limits->ranges));
	if (!limits->ranges)
		return pn_fail(ENOMEM, "no memory for a range");
	limits->ranges[0].last = UINT64_MAX;
	limits->range_count = 1;
	limits->page_sizes = 4096;
	limits->entries_left = UINT64_MAX;
	return 0;
}

extern const struct pn_backend pn_backend_noiommu;
const struct pn_backend pn_backend_noiommu = {
	.name = "noiommu",
	.summary = "VFIO without an IOMMU: physical addresses, no protection; charges nobody",
	.map_call = "no call",
	.unmap_call = "no call",
	.named_only = true,
	.noiommu = true,
	.live = true,
	.probe = noiommu_probe,
	.open = noiommu_open,
	.close = noiommu_close,
	.attach = noiommu_attach,
	.detach = noiommu_detach,
	.map = noiommu_map,
	.unmap = noiommu_unmap,
	.place = noiommu_place,
	.limits = noiommu_limits,
};
