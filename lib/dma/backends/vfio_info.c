/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFIO_IOMMU_GET_INFO and the limits made of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base_priv.h"
#include "vfio_container.h"
#include "vfio_info.h"

int vfio_info_read(int fd, struct vfio_iommu_type1_info **out, uint32_t *have)
{
	struct vfio_iommu_type1_info *info = NULL, *more;
	uint32_t size = sizeof(*info) + 256;
	int ret;

	/* The kernel says how much room it wants; that can grow between two calls when a group
	 * joins. */
	for (;;) {
		more = realloc(info, size);
		if (!more) {
			ret = pn_fail(ENOMEM, "no memory for %u bytes of IOMMU information", size);
			goto free_info;
		}
		info = more;
		memset(info, 0, size);
		info->argsz = size;
		if (ioctl(fd, VFIO_IOMMU_GET_INFO, info)) {
			ret = pn_fail(errno, "VFIO_IOMMU_GET_INFO: %s", strerror(errno));
			goto free_info;
		}
		if (info->argsz <= size)
			break;
		if (info->argsz > 1u << 20) {
			ret = pn_fail(EPROTO, "VFIO_IOMMU_GET_INFO wants %u bytes", info->argsz);
			goto free_info;
		}
		size = info->argsz;
	}
	*out = info;
	*have = size;
	return 0;

free_info:
	free(info);
	return ret;
}

const void *vfio_info_cap(
	const struct vfio_iommu_type1_info *info, uint32_t have, uint16_t id, size_t size)
{
	const struct vfio_info_cap_header *header;
	uint32_t at, hops;

	if (!(info->flags & VFIO_IOMMU_INFO_CAPS))
		return NULL;
	at = info->cap_offset;
	for (hops = 0; at && hops < 64; hops++) {
		if (at < sizeof(*info) || at % 4 || at > have || have - at < sizeof(*header))
			return NULL;
		header = (const void *)((const char *)info + at);
		if (header->id == id)
			return have - at >= size ? header : NULL;
		at = header->next;
	}
	return NULL;
}

uint64_t vfio_info_page_sizes(const struct vfio_iommu_type1_info *info)
{
	uint64_t sizes = info->flags & VFIO_IOMMU_INFO_PGSIZES ? info->iova_pgsizes : 4096;

	return sizes ? sizes : 4096;
}

/* Copied out, as it need not be aligned. */
static struct pn_iova_range range_at(const void *cap, uint32_t i)
{
	struct vfio_iova_range range;

	memcpy(&range,
		(const char *)cap +
			offsetof(struct vfio_iommu_type1_info_cap_iova_range, iova_ranges) +
			i * sizeof(range),
		sizeof(range));
	return (struct pn_iova_range){range.start, range.end};
}

static int take_ranges(
	const struct vfio_iommu_type1_info *info, uint32_t have, struct pn_backend_limits *limits)
{
	const size_t head = offsetof(struct vfio_iommu_type1_info_cap_iova_range, iova_ranges);
	uint32_t i, count, room;
	const void *cap;

	cap = vfio_info_cap(info, have, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, head);
	if (!cap)
		return pn_fail(EOPNOTSUPP,
			"the kernel does not say which IOVAs are valid (Linux 5.4 and newer do)");
	memcpy(&count,
		(const char *)cap + offsetof(struct vfio_iommu_type1_info_cap_iova_range, nr_iovas),
		sizeof(count));
	room = (uint32_t)((have - (size_t)((const char *)cap - (const char *)info) - head) /
			  sizeof(struct vfio_iova_range));
	if (!count || count > room)
		return pn_fail(
			EPROTO, "VFIO_IOMMU_GET_INFO: %u IOVA ranges in room for %u", count, room);
	limits->ranges = calloc(count, sizeof(*limits->ranges));
	if (!limits->ranges)
		return pn_fail(ENOMEM, "no memory for %u IOVA ranges", count);
	for (i = 0; i < count; i++) {
		limits->ranges[i] = range_at(cap, i);
		if (limits->ranges[i].first > limits->ranges[i].last ||
			(i && limits->ranges[i].first <= limits->ranges[i - 1].last)) {
			free(limits->ranges);
			limits->ranges = NULL;
			return pn_fail(
				EPROTO, "VFIO_IOMMU_GET_INFO: IOVA range %u makes no sense", i);
		}
	}
	limits->range_count = count;
	return 0;
}

int vfio_container_limits(struct vfio_container *container, struct pn_backend_limits *limits)
{
	const struct vfio_iommu_type1_info_dma_avail *avail;
	struct vfio_iommu_type1_info *info;
	uint32_t have;
	int ret;

	ret = vfio_info_read(container->fd, &info, &have);
	if (ret)
		return ret;
	ret = take_ranges(info, have, limits);
	if (ret)
		goto free_info;
	limits->page_sizes = vfio_info_page_sizes(info);
	avail = vfio_info_cap(info, have, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, sizeof(*avail));
	limits->entries_left = avail && avail->avail != UINT32_MAX ? avail->avail : UINT64_MAX;
free_info:
	free(info);
	return ret;
}
