/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VFIO container: the ioctls that VFIO's own type1 driver and iommufd's compatibility layer have
 * in common, and what only VFIO's has (dirty pages, new virtual addresses).
 */
#ifndef PN_VFIO_CONTAINER_H
#define PN_VFIO_CONTAINER_H

#include "dma_priv.h"

struct vfio_group {
	struct vfio_group *next;
	int id;
	int fd;
	bool handed_in; /* others have copies of the fd: closing it ends nothing */
	unsigned int devices;
};

struct vfio_device {
	struct vfio_device *next;
	struct vfio_group *group;
	int fd;
	char address[16];
};

struct vfio_container {
	int fd;
	unsigned long type; /* VFIO_TYPE1v2_IOMMU or VFIO_NOIOMMU_IOMMU */
	bool iommu_set;
	struct vfio_group *groups;
	struct vfio_device *devices;
};

/* usual: the node that is opened when the request names and brings none. */
int vfio_container_open(struct vfio_container *container, const struct pn_backend_request *request,
	const char *usual, unsigned long type);
void vfio_container_close(struct vfio_container *container);

int vfio_container_attach(
	struct vfio_container *container, const struct pn_dma_device *device, int *device_fd);
int vfio_container_detach(struct vfio_container *container, int device_fd);
int vfio_container_map(struct vfio_container *container, const struct pn_backend_map *map);
int vfio_container_unmap(struct vfio_container *container, uint64_t iova, uint64_t len);
int vfio_container_limits(struct vfio_container *container, struct pn_backend_limits *limits);

/* Dirty pages: VFIO's type1 only. */
int vfio_dirty_set(struct vfio_container *container, bool on);
int vfio_dirty_read(struct vfio_container *container, uint64_t iova, uint64_t len,
	uint64_t page_size, uint64_t *bitmap);

/* Handing over to another program: VFIO's type1 only. */
int vfio_handover_suspend(struct vfio_container *container);
int vfio_handover_suspend_map(struct vfio_container *container, const struct pn_backend_map *map);
int vfio_handover_resume_map(struct vfio_container *container, const struct pn_backend_map *map);
int vfio_handover_resume(struct vfio_container *container);
int vfio_handover_save(struct vfio_container *container, json_t *state);
int vfio_handover_restore(struct vfio_container *container, const json_t *state);
/* Forget groups and devices without closing their files. */
void vfio_handover_forget(struct vfio_container *container);

#endif
