/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dirty pages of VFIO's type1 (VFIO_IOMMU_DIRTY_PAGES). It tracks in software: every page of a
 * mapping that is pinned counts as written (vfio_iommu_type1.c:update_user_bitmap).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base_priv.h"
#include "vfio_container.h"
#include "vfio_info.h"

/* What the kernel's dirty tracking can do. */
static int read_caps(
	struct vfio_container *container, struct vfio_iommu_type1_info_cap_migration *caps)
{
	struct vfio_iommu_type1_info *info;
	const void *cap;
	uint32_t have;
	int ret;

	ret = vfio_info_read(container->fd, &info, &have);
	if (ret)
		return ret;
	cap = vfio_info_cap(info, have, VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, sizeof(*caps));
	if (cap)
		memcpy(caps, cap, sizeof(*caps));
	free(info);
	if (!cap || !caps->pgsize_bitmap)
		return pn_fail(EOPNOTSUPP,
			"this kernel's type1 does not track dirty pages (Linux 5.8 and newer do)");
	return 0;
}

int vfio_dirty_set(struct vfio_container *container, bool on)
{
	struct vfio_iommu_type1_dirty_bitmap dirty = {.argsz = sizeof(dirty),
		.flags = on ? VFIO_IOMMU_DIRTY_PAGES_FLAG_START : VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP};
	struct vfio_iommu_type1_info_cap_migration caps;
	int ret;

	ret = read_caps(container, &caps);
	if (ret)
		return ret;
	if (!ioctl(container->fd, VFIO_IOMMU_DIRTY_PAGES, &dirty))
		return 0;
	if (errno == ENOMEM)
		return pn_fail(ENOMEM,
			"the kernel has no memory for the bitmaps of dirty pages (a bit for every "
			"page that is mapped; VFIO_IOMMU_DIRTY_PAGES)");
	return pn_fail(errno, "%s dirty tracking (VFIO_IOMMU_DIRTY_PAGES): %s",
		on ? "starting" : "stopping", strerror(errno));
}

static int check_read(const struct vfio_iommu_type1_info_cap_migration *caps, uint64_t iova,
	uint64_t len, uint64_t page_size, uint64_t *bytes)
{
	uint64_t smallest = caps->pgsize_bitmap & -caps->pgsize_bitmap;

	if (page_size != smallest)
		return pn_fail(EINVAL,
			"type1 tracks dirty pages of %" PRIu64 " bytes only, not of %" PRIu64,
			smallest, page_size);
	if (!len || (iova | len) & (page_size - 1))
		return pn_fail(EINVAL,
			"IOVA %#" PRIx64 " and length %#" PRIx64 " of a dirty bitmap must be "
			"multiples of %" PRIu64 ", the length not 0",
			iova, len, page_size);
	*bytes = (len / page_size + 63) / 64 * sizeof(uint64_t);
	/* It cannot be split here: the kernel refuses a range that cuts a mapping. */
	if (*bytes > caps->max_dirty_bitmap_size)
		return pn_fail(EINVAL,
			"a dirty bitmap of %" PRIu64 " bytes is more than the kernel gives at "
			"once, %llu: read mapping by mapping",
			*bytes, (unsigned long long)caps->max_dirty_bitmap_size);
	return 0;
}

int vfio_dirty_read(struct vfio_container *container, uint64_t iova, uint64_t len,
	uint64_t page_size, uint64_t *bitmap)
{
	struct vfio_iommu_type1_info_cap_migration caps;
	uint64_t bytes = 0, pages,
		 request[(sizeof(struct vfio_iommu_type1_dirty_bitmap) +
				 sizeof(struct vfio_iommu_type1_dirty_bitmap_get)) /
			 sizeof(uint64_t)] = {0};
	struct vfio_iommu_type1_dirty_bitmap *dirty = (void *)request;
	struct vfio_iommu_type1_dirty_bitmap_get *get = (void *)dirty->data;
	int ret;

	ret = read_caps(container, &caps);
	if (!ret)
		ret = check_read(&caps, iova, len, page_size, &bytes);
	if (ret)
		return ret;
	dirty->argsz = sizeof(request);
	dirty->flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
	get->iova = iova;
	get->size = len;
	get->bitmap.pgsize = page_size;
	get->bitmap.size = bytes;
	get->bitmap.data = (void *)bitmap;
	if (ioctl(container->fd, VFIO_IOMMU_DIRTY_PAGES, dirty)) {
		if (errno == EINVAL)
			return pn_fail(EINVAL,
				"the kernel gives no dirty bitmap of IOVA %#" PRIx64 ", %" PRIu64
				" bytes: tracking is off, or the range cuts a mapping "
				"(VFIO_IOMMU_DIRTY_PAGES)",
				iova, len);
		return pn_fail(errno,
			"reading dirty pages of IOVA %#" PRIx64 " (VFIO_IOMMU_DIRTY_PAGES): %s",
			iova, strerror(errno));
	}
	/* Behind its last page the kernel may leave bits of an earlier, shifted copy. */
	pages = len / page_size;
	if (pages % 64)
		bitmap[pages / 64] &= (UINT64_C(1) << pages % 64) - 1;
	return 0;
}
