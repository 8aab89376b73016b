/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VFIO container and the groups and devices in it: what the backends that speak the container's
 * ioctls share, whether VFIO's own type1 driver or iommufd answers them.
 */
#ifndef PN_VFIO_CONTAINER_H
#define PN_VFIO_CONTAINER_H

#include "dma_priv.h"

struct vfio_group;
struct vfio_device;

struct vfio_container {
	int fd;
	bool iommu_set;
	struct vfio_group *groups;
	struct vfio_device *devices;
};

/* Open a node as a container that takes VFIO_TYPE1v2_IOMMU. 0 or a negative errno with the reason.
 */
int vfio_container_open(struct vfio_container *container, const char *node);
void vfio_container_close(struct vfio_container *container);

int vfio_container_attach(
	struct vfio_container *container, const struct pn_dma_device *device, int *device_fd);
/*
 * Close a device, and its group with the last device in it. Before the last device of all goes,
 * every mapping is removed: vfio_iommu_type1 would drop them with its last group, but only when the
 * last copy of the group's fd is closed, and a child that fork() made may hold one; iommufd would
 * keep them, and pin them again for the next device. A negative errno: they could not be removed.
 * The device is closed all the same.
 */
int vfio_container_detach(struct vfio_container *container, int device_fd);

int vfio_container_map(struct vfio_container *container, uint64_t iova, uint64_t vaddr,
	uint64_t len, unsigned int prot);
int vfio_container_unmap(struct vfio_container *container, uint64_t iova, uint64_t len);
int vfio_container_limits(struct vfio_container *container, struct pn_backend_limits *limits);

/* Is this open node iommufd's? *mm: it accounts by process (IOMMU_OPTION_RLIMIT_MODE = 1), not by
 * user. */
bool vfio_node_is_iommufd(int fd, bool *mm);

/* Open a node and say in words why it cannot be. The fd, or a negative errno. */
int vfio_node_open(const char *node, const char *what);

#endif
