/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFIO_DEVICE_GET_REGION_INFO: where a region is in the device's file, how large it is, what may be
 * mapped of it. The capability chain behind the structure is walked without trusting it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base_priv.h"
#include "pci_priv.h"

/* Larger than any answer: the sparse areas of a BAR are a few dozen. */
#define INFO_MAX (1U << 20)
/* The size that the kernel asks for can grow between two calls; it settles at once. */
#define INFO_TRIES 4

static int take_sparse(const unsigned char *cap, size_t room, struct pn_pci_region *region)
{
	struct vfio_region_info_cap_sparse_mmap sparse;
	size_t bytes;

	if (region->sparse)
		return pn_fail(EIO, "the kernel gives two lists of mappable areas for one region");
	if (room < sizeof(sparse))
		return pn_fail(EIO, "the list of mappable areas is cut: %zu of %zu bytes", room,
			sizeof(sparse));
	memcpy(&sparse, cap, sizeof(sparse));
	if (sparse.nr_areas > (room - sizeof(sparse)) / sizeof(region->areas[0]))
		return pn_fail(EIO, "the list of mappable areas is cut: %u areas in %zu bytes",
			sparse.nr_areas, room);
	region->sparse = true;
	if (!sparse.nr_areas)
		return 0;
	bytes = sparse.nr_areas * sizeof(region->areas[0]);
	region->areas = malloc(bytes);
	if (!region->areas)
		return pn_fail(ENOMEM, "no memory for %u mappable areas", sparse.nr_areas);
	memcpy(region->areas, cap + sizeof(sparse), bytes);
	region->area_count = sparse.nr_areas;
	return 0;
}

static int take_capability(
	uint16_t id, const unsigned char *cap, size_t room, struct pn_pci_region *region)
{
	switch (id) {
	case VFIO_REGION_INFO_CAP_SPARSE_MMAP:
		return take_sparse(cap, room, region);
	case VFIO_REGION_INFO_CAP_MSIX_MAPPABLE:
		region->msix_mappable = true;
		return 0;
	default:
		return 0;
	}
}

/*
 * Each capability must stand behind the one before it, as the kernel builds them
 * (vfio_info_cap_add()): a chain that only goes forward has no cycle.
 */
static int walk_capabilities(
	const unsigned char *buf, size_t size, uint32_t offset, struct pn_pci_region *region)
{
	size_t floor = sizeof(struct vfio_region_info);
	struct vfio_info_cap_header header;
	int err;

	while (offset) {
		if (offset < floor || offset > size || size - offset < sizeof(header))
			return pn_fail(EIO,
				"capability of a region at byte %u is outside %zu to "
				"%zu: the kernel's answer makes no sense",
				offset, floor, size);
		memcpy(&header, buf + offset, sizeof(header));
		err = take_capability(header.id, buf + offset, size - offset, region);
		if (err)
			return err;
		floor = offset + sizeof(header);
		offset = header.next;
	}
	return 0;
}

int pn_pci_region_parse(const void *buf, size_t size, struct pn_pci_region *region)
{
	struct vfio_region_info info;
	int err;

	memset(region, 0, sizeof(*region));
	if (size < sizeof(info))
		return pn_fail(EIO, "region information of %zu bytes is cut", size);
	memcpy(&info, buf, sizeof(info));
	region->flags = info.flags;
	region->size = info.size;
	region->offset = info.offset;
	if (!(info.flags & VFIO_REGION_INFO_FLAG_CAPS))
		return 0;
	err = walk_capabilities(buf, size, info.cap_offset, region);
	if (err)
		pn_pci_region_free(region);
	return err;
}

/* Get the structure with all its capabilities; the caller frees it. */
static int read_info(struct pn_pci_device *dev, uint32_t index, struct vfio_region_info **out,
	uint32_t *out_size)
{
	uint32_t size = sizeof(struct vfio_region_info), wanted;
	struct vfio_region_info *info;
	int err;

	for (int i = 0; i < INFO_TRIES; i++) {
		info = calloc(1, size);
		if (!info)
			return pn_fail(
				ENOMEM, "no memory for %u bytes of region information", size);
		info->argsz = size;
		info->index = index;
		if (ioctl(dev->fd, VFIO_DEVICE_GET_REGION_INFO, info) < 0) {
			err = errno;
			free(info);
			return pn_fail(err, "VFIO_DEVICE_GET_REGION_INFO of region %u: %s", index,
				strerror(err));
		}
		wanted = info->argsz;
		if (wanted <= size) {
			*out = info;
			*out_size = size;
			return 0;
		}
		free(info);
		if (wanted > INFO_MAX)
			return pn_fail(EIO,
				"the kernel wants %u bytes for the information of "
				"region %u, more than the %u that make sense",
				wanted, index, INFO_MAX);
		size = wanted;
	}
	return pn_fail(EIO, "the size of the information of region %u does not settle (%u bytes)",
		index, size);
}

int pn_pci_region_get(struct pn_pci_device *dev, uint32_t index, struct pn_pci_region *region)
{
	struct vfio_region_info *info = NULL;
	uint32_t size = 0;
	int err;

	memset(region, 0, sizeof(*region));
	if (index >= dev->region_count)
		return 0;
	err = read_info(dev, index, &info, &size);
	if (!err) {
		err = pn_pci_region_parse(info, size, region);
		free(info);
	}
	if (err)
		return pn_fail_prefix(err, "%s: ", dev->info.address);
	return 0;
}

void pn_pci_region_free(struct pn_pci_region *region)
{
	free(region->areas);
	memset(region, 0, sizeof(*region));
}
