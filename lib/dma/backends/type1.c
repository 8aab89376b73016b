/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFIO type1: the container that vfio_iommu_type1 fills. Charges mm->locked_vm of the mapping
 * process when it maps, with CAP_IPC_LOCK too, but then without a limit
 * (vfio_iommu_type1.c:vfio_lock_acct). Always asks for VFIO_TYPE1v2_IOMMU.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base_priv.h"
#include "vfio_container.h"

#define NODE "/dev/vfio/vfio"

static int type1_probe(const char *node, char *found, size_t found_size)
{
	struct vfio_container container;
	bool iommufd, mm;
	int ret;

	if (!node)
		node = NODE;
	snprintf(found, found_size, "%s", node);
	ret = vfio_node_open(node, "load the module (as root: modprobe vfio-pci), or, in a "
				   "container, hand the node in "
				   "(--device /dev/vfio/vfio)");
	if (ret < 0)
		return ret;
	iommufd = vfio_node_is_iommufd(ret, &mm);
	close(ret);
	if (iommufd)
		return pn_fail(EOPNOTSUPP,
			"%s is provided by iommufd on this kernel, not by vfio_iommu_type1: use "
			"iommufd-compat",
			node);
	ret = vfio_container_open(&container, node);
	if (!ret)
		vfio_container_close(&container);
	return ret;
}

static int type1_open(void **ctx, const char *node)
{
	struct vfio_container *container = malloc(sizeof(*container));
	int ret;

	if (!container)
		return pn_fail(ENOMEM, "no memory for a container");
	ret = vfio_container_open(container, node);
	if (ret)
		free(container);
	else
		*ctx = container;
	return ret;
}

static void type1_close(void *ctx)
{
	vfio_container_close(ctx);
	free(ctx);
}

static int type1_attach(void *ctx, const struct pn_dma_device *device, int *device_fd)
{
	return vfio_container_attach(ctx, device, device_fd);
}

static int type1_detach(void *ctx, int device_fd)
{
	return vfio_container_detach(ctx, device_fd);
}

static int type1_map(void *ctx, uint64_t iova, uint64_t vaddr, uint64_t len, unsigned int prot)
{
	return vfio_container_map(ctx, iova, vaddr, len, prot);
}

static int type1_unmap(void *ctx, uint64_t iova, uint64_t len)
{
	return vfio_container_unmap(ctx, iova, len);
}

static int type1_limits(void *ctx, struct pn_backend_limits *limits)
{
	return vfio_container_limits(ctx, limits);
}

static void type1_charge(void *ctx, struct pn_charge_rule *rule)
{
	(void)ctx;
	rule->path = "type1";
	rule->accounting = "process (mm)";
	rule->counters = PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED);
	rule->exempt_counters = PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED);
	rule->limited = PN_COUNTER_MM_LOCKED;
}

extern const struct pn_backend pn_backend_type1;
const struct pn_backend pn_backend_type1 = {
	.name = "type1",
	.summary = "VFIO container filled by vfio_iommu_type1; charges the process",
	.probe = type1_probe,
	.open = type1_open,
	.close = type1_close,
	.attach = type1_attach,
	.detach = type1_detach,
	.map = type1_map,
	.unmap = type1_unmap,
	.limits = type1_limits,
	.charge = type1_charge,
};
