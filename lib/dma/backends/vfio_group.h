/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening an IOMMU group's node, with the reason when it cannot be.
 */
#ifndef PN_VFIO_GROUP_H
#define PN_VFIO_GROUP_H

#include "dma_priv.h"

/* Open /dev/vfio/GROUP of a device and see that the group is viable. The fd, or a negative errno
 * with the reason. */
int vfio_group_open(const struct pn_dma_device *device);

#endif
