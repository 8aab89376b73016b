/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files behind backends: opened by name or handed in by another process, recognised, checked.
 */
#ifndef PN_VFIO_NODE_H
#define PN_VFIO_NODE_H

#include "dma_priv.h"

#define VFIO_NODE    "/dev/vfio/vfio"
#define IOMMUFD_NODE "/dev/iommu"

/* Room for vfio_node_name(). */
#define VFIO_NODE_NAME 64

/*
 * What a request's file is called in messages: the node's path (usual: when none is asked for), or
 * that it was handed in.
 */
const char *vfio_node_name(
	const struct pn_backend_request *request, const char *usual, char buf[VFIO_NODE_NAME]);

/*
 * The node's file, or a copy of the one handed in: an fd, or a negative errno with the reason.
 * missing: what to do when there is no such node.
 */
int vfio_node_get(const struct pn_backend_request *request, const char *usual, const char *missing);

/* A copy (F_DUPFD_CLOEXEC) of a file that was handed in; what: whose it is. fd or a negative errno
 * with the reason. */
int vfio_node_copy(int fd, const char *what);

/*
 * Whether this file is iommufd's: /dev/iommu, or /dev/vfio/vfio where iommufd provides it
 * (CONFIG_IOMMUFD_VFIO_CONTAINER). mm: its accounting is by process.
 */
bool vfio_node_is_iommufd(int fd, bool *mm);

/*
 * Is it the device file with the number that this attribute of sysfs shows? 0, also where sysfs
 * does not show it; -EINVAL. No text.
 */
int vfio_node_check(int fd, const char *attribute);

#endif
