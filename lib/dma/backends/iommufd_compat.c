/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * iommufd used as a VFIO container (iommufd/vfio_compat.c): on /dev/iommu, or on /dev/vfio/vfio
 * where iommufd provides that. Charges user->locked_vm, or mm->locked_vm where its accounting mode
 * says so, and mm->pinned_vm always (iommufd/pages.c:do_update_pinned); with CAP_IPC_LOCK only the
 * last.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base_priv.h"
#include "vfio_container.h"

#define NODE      "/dev/iommu"
#define VFIO_NODE "/dev/vfio/vfio"

struct compat {
	struct vfio_container container;
	bool mm; /* accounting by process */
};

static int try_node(const char *node, char *found, size_t found_size)
{
	bool mm, iommufd;
	int fd;

	snprintf(found, found_size, "%s", node);
	fd = vfio_node_open(node,
		"this kernel has no iommufd (CONFIG_IOMMUFD), or its module is not loaded (as "
		"root: modprobe "
		"iommufd), or it was not handed into this container (--device /dev/iommu)");
	if (fd < 0)
		return fd;
	iommufd = vfio_node_is_iommufd(fd, &mm);
	close(fd);
	if (!iommufd)
		return pn_fail(EOPNOTSUPP, "%s is not iommufd's: use type1", node);
	return 0;
}

static int compat_probe(const char *node, char *found, size_t found_size)
{
	struct vfio_container container;
	char reason[PN_ERROR_MAX];
	int ret;

	ret = try_node(node ? node : NODE, found, found_size);
	if (ret && !node) {
		/* The other name that iommufd may have. The reason kept is that of its own node. */
		snprintf(reason, sizeof(reason), "%s", pn_error());
		if (try_node(VFIO_NODE, found, found_size)) {
			snprintf(found, found_size, "%s", NODE);
			return pn_fail(-ret, "%s", reason);
		}
		ret = 0;
	}
	if (ret)
		return ret;
	ret = vfio_container_open(&container, found);
	if (!ret)
		vfio_container_close(&container);
	return ret;
}

static int compat_open(void **ctx, const char *node)
{
	struct compat *compat = calloc(1, sizeof(*compat));
	int ret;

	if (!compat)
		return pn_fail(ENOMEM, "no memory for a container");
	ret = vfio_container_open(&compat->container, node);
	if (ret)
		goto free_compat;
	if (!vfio_node_is_iommufd(compat->container.fd, &compat->mm)) {
		ret = pn_fail(EOPNOTSUPP, "%s is not iommufd's", node);
		goto close_container;
	}
	*ctx = compat;
	return 0;

close_container:
	vfio_container_close(&compat->container);
free_compat:
	free(compat);
	return ret;
}

static void compat_close(void *ctx)
{
	struct compat *compat = ctx;

	vfio_container_close(&compat->container);
	free(compat);
}

static int compat_attach(void *ctx, const struct pn_dma_device *device, int *device_fd)
{
	struct compat *compat = ctx;

	return vfio_container_attach(&compat->container, device, device_fd);
}

static int compat_detach(void *ctx, int device_fd)
{
	struct compat *compat = ctx;

	return vfio_container_detach(&compat->container, device_fd);
}

static int compat_map(void *ctx, uint64_t iova, uint64_t vaddr, uint64_t len, unsigned int prot)
{
	struct compat *compat = ctx;

	return vfio_container_map(&compat->container, iova, vaddr, len, prot);
}

static int compat_unmap(void *ctx, uint64_t iova, uint64_t len)
{
	struct compat *compat = ctx;

	return vfio_container_unmap(&compat->container, iova, len);
}

static int compat_limits(void *ctx, struct pn_backend_limits *limits)
{
	struct compat *compat = ctx;

	return vfio_container_limits(&compat->container, limits);
}

static void compat_charge(void *ctx, struct pn_charge_rule *rule)
{
	const struct compat *compat = ctx;

	rule->path = "iommufd-compat";
	rule->accounting = compat->mm ? "process (mm)" : "user";
	rule->limited = compat->mm ? PN_COUNTER_MM_LOCKED : PN_COUNTER_USER_LOCKED;
	rule->counters = PN_COUNTER_BIT(rule->limited) | PN_COUNTER_BIT(PN_COUNTER_MM_PINNED);
	rule->exempt_counters = PN_COUNTER_BIT(PN_COUNTER_MM_PINNED);
}

extern const struct pn_backend pn_backend_iommufd_compat;
const struct pn_backend pn_backend_iommufd_compat = {
	.name = "iommufd-compat",
	.summary = "iommufd through its VFIO container interface; charges the user, or the process",
	.probe = compat_probe,
	.open = compat_open,
	.close = compat_close,
	.attach = compat_attach,
	.detach = compat_detach,
	.map = compat_map,
	.unmap = compat_unmap,
	.limits = compat_limits,
	.charge = compat_charge,
};
