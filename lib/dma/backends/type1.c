/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFIO type1: the container that vfio_iommu_type1 fills. Charges mm->locked_vm of the mapping
 * process when it maps, with CAP_IPC_LOCK too, but then without a limit
 * (vfio_iommu_type1.c:vfio_lock_acct); nothing for BARs. Always asks for VFIO_TYPE1v2_IOMMU.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <linux/vfio.h>

#include "base_priv.h"
#include "vfio_container.h"
#include "vfio_node.h"

static int check_request(const struct pn_backend_request *request)
{
	if (request->beside)
		return pn_fail(EOPNOTSUPP,
			"type1 has one address space a container: a domain beside another takes "
			"native iommufd");
	if (request->accounting == PN_ACCOUNTING_USER)
		return pn_fail(EOPNOTSUPP,
			"type1 always charges the process: accounting by user takes iommufd");
	return 0;
}

static int type1_probe(const struct pn_backend_request *request, char *found, size_t found_size)
{
	struct vfio_container container;
	char name[VFIO_NODE_NAME];
	bool iommufd, mm;
	int ret;

	vfio_node_name(request, VFIO_NODE, name);
	snprintf(found, found_size, "%s", request->use_fd ? "" : name);
	ret = check_request(request);
	if (ret)
		return ret;
	ret = vfio_node_get(request, VFIO_NODE,
		"load the module (as root: modprobe vfio-pci), or, in a container, hand the node "
		"in (--device /dev/vfio/vfio)");
	if (ret < 0)
		return ret;
	iommufd = vfio_node_is_iommufd(ret, &mm);
	close(ret);
	if (iommufd)
		return pn_fail(request->use_fd ? EINVAL : EOPNOTSUPP,
			"%s is provided by iommufd on this kernel, not by vfio_iommu_type1: use "
			"iommufd-compat",
			name);
	ret = vfio_container_open(&container, request, VFIO_NODE, VFIO_TYPE1v2_IOMMU);
	if (!ret)
		vfio_container_close(&container);
	return ret;
}

static int type1_open(void **ctx, const struct pn_backend_request *request)
{
	struct vfio_container *container;
	int ret;

	ret = check_request(request);
	if (ret)
		return ret;
	container = malloc(sizeof(*container));
	if (!container)
		return pn_fail(ENOMEM, "no memory for a container");
	ret = vfio_container_open(container, request, VFIO_NODE, VFIO_TYPE1v2_IOMMU);
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

static int type1_map(void *ctx, struct pn_backend_map *map)
{
	int ret = vfio_container_map(ctx, map);

	/* vfio_pin_pages_remote() counts no page without a struct page. */
	if (!ret)
		map->uncharged = map->device;
	return ret;
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

static int type1_dirty_set(void *ctx, bool on)
{
	return vfio_dirty_set(ctx, on);
}

static int type1_dirty_read(
	void *ctx, uint64_t iova, uint64_t len, uint64_t page_size, uint64_t *bitmap)
{
	return vfio_dirty_read(ctx, iova, len, page_size, bitmap);
}

static int type1_suspend(void *ctx)
{
	return vfio_handover_suspend(ctx);
}

static int type1_resume_map(void *ctx, const struct pn_backend_map *map)
{
	return vfio_handover_resume_map(ctx, map);
}

static int type1_suspend_map(void *ctx, const struct pn_backend_map *map)
{
	return vfio_handover_suspend_map(ctx, map);
}

static int type1_resume(void *ctx)
{
	return vfio_handover_resume(ctx);
}

static int type1_save(void *ctx, json_t *state)
{
	return vfio_handover_save(ctx, state);
}

static int type1_restore(void **ctx, const json_t *state)
{
	struct vfio_container *container = malloc(sizeof(*container));
	int ret;

	if (!container)
		return pn_fail(ENOMEM, "no memory for a container");
	ret = vfio_handover_restore(container, state);
	if (ret)
		free(container);
	else
		*ctx = container;
	return ret;
}

static void type1_abandon(void *ctx)
{
	vfio_handover_forget(ctx);
	free(ctx);
}

extern const struct pn_backend pn_backend_type1;
const struct pn_backend pn_backend_type1 = {
	.name = "type1",
	.summary = "VFIO container filled by vfio_iommu_type1; charges the process",
	.map_call = "VFIO_IOMMU_MAP_DMA",
	.unmap_call = "VFIO_IOMMU_UNMAP_DMA",
	.probe = type1_probe,
	.open = type1_open,
	.close = type1_close,
	.attach = type1_attach,
	.detach = type1_detach,
	.map = type1_map,
	.unmap = type1_unmap,
	.limits = type1_limits,
	.charge = type1_charge,
	.dirty_set = type1_dirty_set,
	.dirty_read = type1_dirty_read,
	.suspend = type1_suspend,
	.resume_map = type1_resume_map,
	.suspend_map = type1_suspend_map,
	.resume = type1_resume,
	.save = type1_save,
	.restore = type1_restore,
	.abandon = type1_abandon,
};
