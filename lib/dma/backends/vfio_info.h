/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFIO_IOMMU_GET_INFO: what a container, or an iommufd asked like one, says of its IOMMU.
 */
#ifndef PN_VFIO_INFO_H
#define PN_VFIO_INFO_H

#include <linux/vfio.h>

#include "dma_priv.h"

/* All of it, in memory that the caller frees; have: its bytes. 0 or a negative errno with the
 * reason. */
int vfio_info_read(int fd, struct vfio_iommu_type1_info **out, uint32_t *have);

/*
 * A capability of the chain, checked to lie in the buffer with size bytes; or NULL. Not aligned:
 * iommufd puts one behind another of 12 bytes.
 */
const void *vfio_info_cap(
	const struct vfio_iommu_type1_info *info, uint32_t have, uint16_t id, size_t size);

/* Page sizes, at least 4096, whatever the kernel says. */
uint64_t vfio_info_page_sizes(const struct vfio_iommu_type1_info *info);

#endif
