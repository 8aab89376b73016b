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
#include <sys/ioctl.h>
#include <unistd.h>

#include "base_priv.h"
#include "iommufd_abi.h"
#include "iommufd_file.h"
#include "vfio_container.h"
#include "vfio_node.h"

struct compat {
	struct vfio_container container;
	bool mm;        /* accounting by process */
	bool handed_in; /* others have copies of the fd: closing it ends nothing */
};

static int check_request(const struct pn_backend_request *request)
{
	if (request->beside)
		return pn_fail(EOPNOTSUPP,
			"iommufd-compat has one address space a file: a domain beside another "
			"takes native iommufd");
	if (request->dirty_tracking)
		return pn_fail(EOPNOTSUPP,
			"iommufd-compat does not track dirty pages: type1 does, and native iommufd "
			"where the IOMMU can");
	return 0;
}

static int try_node(
	const struct pn_backend_request *request, const char *usual, char *found, size_t found_size)
{
	char name[VFIO_NODE_NAME];
	bool mm, iommufd;
	int fd;

	vfio_node_name(request, usual, name);
	snprintf(found, found_size, "%s", request->use_fd ? "" : name);
	fd = vfio_node_get(request, usual,
		"this kernel has no iommufd (CONFIG_IOMMUFD), or its module is not loaded (as "
		"root: modprobe iommufd), or it was not handed into this container (--device "
		"/dev/iommu)");
	if (fd < 0)
		return fd;
	iommufd = vfio_node_is_iommufd(fd, &mm);
	close(fd);
	if (!iommufd)
		return pn_fail(request->use_fd ? EINVAL : EOPNOTSUPP,
			"%s is not iommufd's (it does not answer IOMMU_OPTION): use type1", name);
	return 0;
}

/* A container that accounts as wanted. What was handed in is left as it is while only looking. */
static int open_container(
	struct compat *compat, const struct pn_backend_request *request, bool looking)
{
	enum pn_accounting wanted = request->accounting;
	char name[VFIO_NODE_NAME];
	int ret;

	if (looking && request->use_fd)
		wanted = PN_ACCOUNTING_ANY;
	ret = vfio_container_open(&compat->container, request, IOMMUFD_NODE, VFIO_TYPE1v2_IOMMU);
	if (ret)
		return ret;
	ret = iommufd_accounting(compat->container.fd, vfio_node_name(request, IOMMUFD_NODE, name),
		wanted, &compat->mm);
	if (ret)
		vfio_container_close(&compat->container);
	return ret;
}

static int compat_probe(const struct pn_backend_request *request, char *found, size_t found_size)
{
	struct pn_backend_request chosen = *request;
	char reason[PN_ERROR_MAX];
	struct compat compat;
	int ret;

	ret = try_node(request, IOMMUFD_NODE, found, found_size);
	if (ret && !request->node && !request->use_fd) {
		/* The other name that iommufd may have. The reason kept is that of its own node. */
		snprintf(reason, sizeof(reason), "%s", pn_error());
		if (try_node(request, VFIO_NODE, found, found_size)) {
			snprintf(found, found_size, "%s", IOMMUFD_NODE);
			return pn_fail(-ret, "%s", reason);
		}
		ret = 0;
	}
	if (!ret)
		ret = check_request(request);
	if (ret)
		return ret;
	chosen.node = found;
	ret = open_container(&compat, &chosen, true);
	if (!ret)
		vfio_container_close(&compat.container);
	return ret;
}

static int compat_open(void **ctx, const struct pn_backend_request *request)
{
	struct compat *compat;
	int ret;

	ret = check_request(request);
	if (ret)
		return ret;
	compat = calloc(1, sizeof(*compat));
	if (!compat)
		return pn_fail(ENOMEM, "no memory for a container");
	compat->handed_in = request->use_fd;
	ret = open_container(compat, request, false);
	if (ret)
		free(compat);
	else
		*ctx = compat;
	return ret;
}

/* VFIO_GROUP_SET_CONTAINER made an address space, which lasts as long as the file is open anywhere
 * (vfio_compat.c:iommufd_vfio_compat_ioas_create). */
static void destroy_ioas(struct compat *compat)
{
	struct iommufd_vfio_ioas made = {.size = sizeof(made), .op = IOMMUFD_VFIO_IOAS_GET};
	struct iommufd_destroy destroy = {.size = sizeof(destroy)};

	if (ioctl(compat->container.fd, IOMMUFD_VFIO_IOAS, &made))
		return;
	destroy.id = made.ioas_id;
	if (ioctl(compat->container.fd, IOMMUFD_DESTROY, &destroy))
		pn_log(PN_LOG_WARNING, "an address space stays in the iommufd handed in: %s",
			strerror(errno));
}

static void compat_close(void *ctx)
{
	struct compat *compat = ctx;

	if (compat->handed_in)
		destroy_ioas(compat);
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

static int compat_map(void *ctx, struct pn_backend_map *map)
{
	struct compat *compat = ctx;

	if (map->device)
		return pn_fail(EOPNOTSUPP,
			"iommufd-compat pins no device memory (a BAR): type1 does, and native "
			"iommufd a dma-buf of one");
	return vfio_container_map(&compat->container, map);
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

	iommufd_charge_rule(compat->mm, "iommufd-compat", rule);
}

extern const struct pn_backend pn_backend_iommufd_compat;
const struct pn_backend pn_backend_iommufd_compat = {
	.name = "iommufd-compat",
	.summary = "iommufd through its VFIO container interface; charges the user, or the process",
	.map_call = "VFIO_IOMMU_MAP_DMA",
	.unmap_call = "VFIO_IOMMU_UNMAP_DMA",
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
