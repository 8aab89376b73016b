/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dirty pages of native iommufd: the IOMMU sets a bit where a device has written, and reading
 * clears it.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base_priv.h"
#include "iommufd_abi.h"
#include "iommufd_priv.h"

int iommufd_hwpt_track(struct iommufd_file *file, uint32_t hwpt, bool on)
{
	struct iommufd_hwpt_set_dirty_tracking set = {.size = sizeof(set),
		.flags = on ? IOMMUFD_HWPT_DIRTY_TRACKING_ENABLE : 0,
		.hwpt_id = hwpt};

	return ioctl(file->fd, IOMMUFD_HWPT_SET_DIRTY_TRACKING, &set) ? -errno : 0;
}

int iommufd_dirty_set(struct iommufd *ctx, bool on)
{
	struct iommufd_hwpt *hwpt, *done;
	int ret;

	if (!ctx->track)
		return pn_fail(EOPNOTSUPP,
			"native iommufd tracks dirty pages only in a domain that was made with "
			"dirty_tracking");
	for (hwpt = ctx->hwpts; hwpt; hwpt = hwpt->next) {
		ret = iommufd_hwpt_track(ctx->file, hwpt->id, on);
		if (!ret)
			continue;
		pn_fail(-ret, "%s dirty tracking (IOMMU_HWPT_SET_DIRTY_TRACKING): %s",
			on ? "starting" : "stopping", strerror(-ret));
		for (done = ctx->hwpts; done != hwpt; done = done->next)
			if (iommufd_hwpt_track(ctx->file, done->id, !on))
				ctx->unsettled = true;
		return ret;
	}
	ctx->dirty = on;
	return 0;
}

static int fail_read(int err, uint64_t iova, uint64_t len, uint64_t page_size)
{
	if (err == EINVAL)
		return pn_fail(EINVAL,
			"the kernel gives no dirty bitmap of IOVA %#" PRIx64 ", %" PRIu64
			" bytes, in pages of %" PRIu64
			" (IOMMU_HWPT_GET_DIRTY_BITMAP): they must be multiples of the page size",
			iova, len, page_size);
	return pn_fail(err,
		"reading dirty pages of IOVA %#" PRIx64 " (IOMMU_HWPT_GET_DIRTY_BITMAP): %s", iova,
		strerror(err));
}

int iommufd_dirty_read(
	struct iommufd *ctx, uint64_t iova, uint64_t len, uint64_t page_size, uint64_t *bitmap)
{
	struct iommufd_hwpt_get_dirty_bitmap get;
	const struct iommufd_hwpt *hwpt;
	uint64_t pages;

	if (!ctx->dirty)
		return pn_fail(EINVAL, "dirty tracking is off");
	if (!len || !pn_is_pow2(page_size) || (iova | len) & (page_size - 1))
		return fail_read(EINVAL, iova, len, page_size);
	/* Bits are only ever set (lib/iova_bitmap.c), so that all page tables add up. */
	for (hwpt = ctx->hwpts; hwpt; hwpt = hwpt->next) {
		get = (struct iommufd_hwpt_get_dirty_bitmap){.size = sizeof(get),
			.hwpt_id = hwpt->id,
			.iova = iova,
			.length = len,
			.page_size = page_size,
			.data = (uint64_t)(uintptr_t)bitmap};
		if (ioctl(ctx->file->fd, IOMMUFD_HWPT_GET_DIRTY_BITMAP, &get))
			return fail_read(errno, iova, len, page_size);
	}
	pages = len / page_size;
	if (pages % 64)
		bitmap[pages / 64] &= (UINT64_C(1) << pages % 64) - 1;
	return 0;
}
