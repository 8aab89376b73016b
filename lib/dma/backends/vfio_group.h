/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * IOMMU groups: their node opened, or taken as another process handed it in, with the reason when
 * it cannot be used.
 */
#ifndef PN_VFIO_GROUP_H
#define PN_VFIO_GROUP_H

#include "dma_priv.h"

/*
 * The file of a device's group, seen to be viable: /dev/vfio/GROUP (noiommu: /dev/vfio/noiommu-
 * GROUP), or a copy of the fd that came with the device. The fd, or a negative errno with the
 * reason.
 */
int vfio_group_open(const struct pn_dma_device *device, bool noiommu);

/* As sysfs shows it: 0, or -EPERM with the devices that are in the way. */
int vfio_group_check_viable(const struct pn_dma_device *device);

/* See that an fd which came with a device is of the group's node. 0 or -EINVAL with the reason. */
int vfio_group_check(const struct pn_dma_device *device, bool noiommu, int fd);

/* What VFIO says of a wrong VF token, or none: the device, and a reason. */
#define VFIO_FAIL_TOKEN                                                                     \
	"device %s asks for a VF token, which it shares with its physical function or its " \
	"virtual "                                                                          \
	"functions, and %s: open it with the one that was set ('pinion vf create' shows it)"

#endif
