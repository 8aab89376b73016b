/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A part of a BAR as a region, for DMA of other devices to this one: checked against what may be
 * mapped of the BAR, with a dma-buf where the kernel has them.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base_priv.h"
#include "mem_priv.h"
#include "pci_priv.h"

/*
 * VFIO_DEVICE_FEATURE_DMA_BUF of include/uapi/linux/vfio.h (Linux 6.19), which Debian 12's headers
 * do not have: a struct vfio_device_feature with this behind it, here with one range.
 */
#define FEATURE_DMA_BUF 11u

struct dma_buf_request {
	uint32_t argsz, feature; /* struct vfio_device_feature */
	uint32_t region_index;
	uint32_t open_flags;
	uint32_t flags;
	uint32_t range_count;
	uint64_t offset;
	uint64_t length;
};

_Static_assert(offsetof(struct dma_buf_request, region_index) ==
		       offsetof(struct vfio_device_feature, data),
	"the same");

static int check_range(struct pn_pci_device *dev, unsigned int bar,
	const struct pn_pci_region *region, uint64_t offset, uint64_t len)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), end = pn_align_up(region->size, page);
	uint64_t reach;
	int err;

	if (!len || (offset | len) & (page - 1))
		return pn_fail(EINVAL,
			"%s: %" PRIu64 " bytes at 0x%" PRIx64 " of BAR %u are not whole pages of "
			"%" PRIu64,
			dev->info.address, len, offset, bar, page);
	if (offset > end || len > end - offset)
		return pn_fail(EINVAL,
			"%s: %" PRIu64 " bytes at 0x%" PRIx64 " leave BAR %u, which has %" PRIu64,
			dev->info.address, len, offset, bar, region->size);
	err = pn_pci_bar_reach(dev, bar, region, offset, &reach);
	if (err)
		return err;
	if (reach - offset < len)
		return pn_fail(EOPNOTSUPP,
			"%s: %" PRIu64 " bytes at 0x%" PRIx64 " of BAR %u cannot be a region: from "
			"0x%" PRIx64 " on VFIO does not let it be mapped (the MSI-X table, or what "
			"its driver keeps to itself)",
			dev->info.address, len, offset, bar, reach);
	return 0;
}

/* Get a dma-buf of the part; with none and a note if the kernel has none for it, that is 0 too. */
static int get_dma_buf(struct pn_pci_device *dev, struct pn_region_device *part, unsigned int bar,
	uint64_t offset, char note[160])
{
	struct dma_buf_request request = {
		.argsz = sizeof(request),
		.feature = VFIO_DEVICE_FEATURE_GET | FEATURE_DMA_BUF,
		.region_index = bar,
		.open_flags = O_CLOEXEC | (part->writable ? O_RDWR : O_RDONLY),
		.range_count = 1,
		.offset = offset,
		.length = part->len,
	};
	int err;

	note[0] = '\0';
	part->dma_buf = ioctl(dev->fd, VFIO_DEVICE_FEATURE, &request);
	if (part->dma_buf >= 0)
		return 0;
	err = errno;
	/* No such feature; not for this driver; not for this BAR (pcim_p2pdma_provider()). */
	if (err != ENOTTY && err != EOPNOTSUPP && err != EINVAL)
		return pn_fail(
			err, "%s: a dma-buf of BAR %u: %s", dev->info.address, bar, strerror(err));
	snprintf(note, 160,
		"without a dma-buf, which native iommufd needs: the kernel answers \"%s\"",
		strerror(err));
	return 0;
}

/* Count one more region in. */
static int hold(struct pn_pci_device *dev)
{
	if (!dev->bar_holders) {
		dev->bar_holders = calloc(1, sizeof(*dev->bar_holders));
		if (!dev->bar_holders)
			return pn_fail(ENOMEM, "no memory for a region");
		*dev->bar_holders = 1;
	}
	__atomic_add_fetch(dev->bar_holders, 1, __ATOMIC_RELAXED);
	return 0;
}

static void leave(struct pn_pci_device *dev)
{
	__atomic_sub_fetch(dev->bar_holders, 1, __ATOMIC_RELAXED);
}

static int make_region(struct pn_pci_device *dev, unsigned int bar,
	const struct pn_pci_region *region, uint64_t offset, uint64_t len, struct pn_region **out)
{
	char name[32], note[160];
	struct pn_region_device part = {
		.fd = dev->fd,
		.offset = region->offset + offset,
		.len = len,
		.writable = region->flags & VFIO_REGION_INFO_FLAG_WRITE,
		.numa_node = dev->info.numa_node,
		.name = name,
		.note = note,
	};
	int err;

	snprintf(name, sizeof(name), "%s BAR %u", dev->info.address, bar);
	err = get_dma_buf(dev, &part, bar, offset, note);
	if (err)
		return err;
	err = hold(dev);
	if (err)
		goto close_dma_buf;
	part.holders = dev->bar_holders;
	err = pn_region_from_device(out, &part);
	if (!err)
		return 0;
	leave(dev);
close_dma_buf:
	if (part.dma_buf >= 0)
		close(part.dma_buf);
	return err;
}

int pn_pci_bar_region(struct pn_pci_device *dev, unsigned int bar, uint64_t offset, uint64_t len,
	struct pn_region **out)
{
	struct pn_pci_region region;
	struct pn_bar mapped;
	int err;

	/* This checks what the kernel says of the BAR, too. */
	err = pn_pci_bar_map(dev, bar, &mapped);
	if (!err)
		err = pn_pci_region_get(dev, bar, &region);
	if (err)
		return err;
	err = check_range(dev, bar, &region, offset, len);
	if (!err)
		err = make_region(dev, bar, &region, offset, len, out);
	pn_pci_region_free(&region);
	return err;
}

void pn_pci_bar_regions_leave(struct pn_pci_device *dev)
{
	unsigned int left;

	if (!dev->bar_holders)
		return;
	left = __atomic_sub_fetch(dev->bar_holders, 1, __ATOMIC_ACQ_REL);
	if (left)
		pn_log(PN_LOG_WARNING,
			"closing %s: %u regions of its BARs are left, and the kernel holds the "
			"device until they are destroyed",
			dev->info.address, left);
	else
		free(dev->bar_holders);
	dev->bar_holders = NULL;
}
