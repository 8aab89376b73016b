/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Handing a type1 container over to a new program: its mappings stay while virtual addresses end
 * (VFIO_DMA_UNMAP_FLAG_VADDR) and get new ones, and a new owner, there (VFIO_DMA_MAP_FLAG_VADDR;
 * vfio_iommu_type1.c:vfio_change_dma_owner).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/vfio.h>

#include "base_priv.h"
#include "inherited.h"
#include "vfio_container.h"

/*
 * The virtual addresses of a range, or of everything, end. An EFAULT may mean that they have, and
 * only the kernel's answer could not be written: asked again it then says that they had ended
 * (EINVAL, vfio_dma_do_unmap). 0 or a negative errno; -EFAULT: it is not known. No text.
 */
static int drop_vaddr(struct vfio_container *container, uint32_t flags, uint64_t iova, uint64_t len)
{
	struct vfio_iommu_type1_dma_unmap args = {.argsz = sizeof(args),
		.flags = flags | VFIO_DMA_UNMAP_FLAG_VADDR,
		.iova = iova,
		.size = len};

	if (!ioctl(container->fd, VFIO_IOMMU_UNMAP_DMA, &args))
		return 0;
	if (errno != EFAULT)
		return -errno;
	args.size = len;
	if (!ioctl(container->fd, VFIO_IOMMU_UNMAP_DMA, &args))
		return 0;
	return errno == EINVAL ? 0 : -EFAULT;
}

int vfio_handover_suspend(struct vfio_container *container)
{
	int ret;

	/* Says no before a group has joined, too (vfio_iommu_type1_check_extension). */
	if (ioctl(container->fd, VFIO_CHECK_EXTENSION, VFIO_UPDATE_VADDR) != 1)
		return pn_fail(EOPNOTSUPP,
			"this kernel's type1 cannot hand mappings over (VFIO_UPDATE_VADDR: Linux "
			"5.12 and newer; not with mediated devices)");
	ret = drop_vaddr(container, VFIO_DMA_UNMAP_FLAG_ALL, 0, 0);
	if (ret)
		return pn_fail(-ret,
			"taking the virtual addresses from all mappings (VFIO_IOMMU_UNMAP_DMA): %s",
			strerror(-ret));
	return 0;
}

/* 0 or a negative errno. No text. */
static int set_vaddr(struct vfio_container *container, const struct pn_backend_map *map)
{
	struct vfio_iommu_type1_dma_map request = {.argsz = sizeof(request),
		.flags = VFIO_DMA_MAP_FLAG_VADDR,
		.vaddr = map->vaddr,
		.iova = map->iova,
		.size = map->len};

	return ioctl(container->fd, VFIO_IOMMU_MAP_DMA, &request) ? -errno : 0;
}

int vfio_handover_suspend_map(struct vfio_container *container, const struct pn_backend_map *map)
{
	return drop_vaddr(container, 0, map->iova, map->len);
}

int vfio_handover_resume_map(struct vfio_container *container, const struct pn_backend_map *map)
{
	int ret = set_vaddr(container, map);

	/* It has an address already: an earlier try to take over got this far. */
	if (ret == -EINVAL && !vfio_handover_suspend_map(container, map))
		ret = set_vaddr(container, map);
	if (!ret)
		return 0;
	return pn_fail(-ret,
		"giving IOVA %#" PRIx64 ", %" PRIu64
		" bytes, a new virtual address (VFIO_IOMMU_MAP_DMA): %s",
		map->iova, map->len, strerror(-ret));
}

/* All files of a container inherited, or none of them. */
static int inherit_all(struct vfio_container *container, bool inherit)
{
	const struct vfio_device *device;
	const struct vfio_group *group;
	int ret = handover_inherit(container->fd, inherit);

	for (group = container->groups; group && !ret; group = group->next)
		ret = handover_inherit(group->fd, inherit);
	for (device = container->devices; device && !ret; device = device->next)
		ret = handover_inherit(device->fd, inherit);
	return ret;
}

int vfio_handover_resume(struct vfio_container *container)
{
	return inherit_all(container, false);
}

static int append(json_t *array, json_t *entry)
{
	return entry && !json_array_append_new(array, entry) ? 0 : -ENOMEM;
}

int vfio_handover_save(struct vfio_container *container, json_t *state)
{
	json_t *groups = json_array(), *devices = json_array();
	const struct vfio_device *device;
	const struct vfio_group *group;
	int ret = groups && devices ? 0 : -ENOMEM;

	for (group = container->groups; group && !ret; group = group->next)
		ret = append(groups, json_pack("{si si sb}", "id", group->id, "fd", group->fd,
					     "handed_in", (int)group->handed_in));
	for (device = container->devices; device && !ret; device = device->next)
		ret = append(devices, json_pack("{ss si si}", "address", device->address, "group",
					      device->group->id, "fd", device->fd));
	if (!ret && (json_object_set_new(state, "file", json_integer(container->fd)) ||
			    json_object_set_new(
				    state, "iommu_set", json_boolean(container->iommu_set)) ||
			    json_object_set(state, "groups", groups) ||
			    json_object_set(state, "devices", devices)))
		ret = -ENOMEM;
	json_decref(groups);
	json_decref(devices);
	if (ret)
		return pn_fail(ENOMEM, "no memory for the state of a container");
	ret = inherit_all(container, true);
	if (ret)
		(void)inherit_all(container, false);
	return ret;
}

/* Is one of the files before it named twice? Both owners would close it. */
static bool is_taken(const struct vfio_container *container, int fd)
{
	const struct vfio_device *device;
	const struct vfio_group *group;

	if (fd == container->fd)
		return true;
	for (group = container->groups; group; group = group->next) {
		if (group->fd == fd)
			return true;
	}
	for (device = container->devices; device; device = device->next) {
		if (device->fd == fd)
			return true;
	}
	return false;
}

static struct vfio_group *group_by_id(struct vfio_container *container, uint32_t id)
{
	struct vfio_group *group = container->groups;

	while (group && (uint32_t)group->id != id)
		group = group->next;
	return group;
}

static int restore_group(struct vfio_container *container, const json_t *state)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	struct vfio_group *group = calloc(1, sizeof(*group));
	uint32_t id;
	int ret;

	if (!group)
		return pn_fail(ENOMEM, "no memory for a group");
	ret = handover_get_u32(state, "id", &id);
	if (!ret)
		ret = handover_get_fd(state, "fd", &group->fd);
	if (!ret)
		ret = handover_get_bool(state, "handed_in", &group->handed_in);
	if (!ret &&
		(id > INT32_MAX || group_by_id(container, id) || is_taken(container, group->fd)))
		ret = pn_fail(EINVAL, "the state of the domain has a wrong group %u", id);
	if (!ret && (ioctl(group->fd, VFIO_GROUP_GET_STATUS, &status) ||
			    !(status.flags & VFIO_GROUP_FLAGS_CONTAINER_SET)))
		ret = pn_fail(EINVAL, "file descriptor %d is no IOMMU group in a container (%u)",
			group->fd, id);
	if (ret) {
		free(group);
		return ret;
	}
	group->id = (int)id;
	group->next = container->groups;
	container->groups = group;
	return 0;
}

static int restore_device(struct vfio_container *container, const json_t *state)
{
	struct vfio_device *device = calloc(1, sizeof(*device));
	uint32_t id = 0;
	int ret;

	if (!device)
		return pn_fail(ENOMEM, "no memory for a device");
	ret = handover_get_u32(state, "group", &id);
	if (!ret)
		ret = handover_get_fd(state, "fd", &device->fd);
	if (!ret)
		ret = handover_get_address(state, device->address);
	if (!ret)
		ret = handover_check_device(device->fd, device->address);
	device->group = group_by_id(container, id);
	if (!ret && (!device->group || is_taken(container, device->fd)))
		ret = pn_fail(EINVAL,
			"the state of the domain has device %s with a group (%u) or a file (%d) "
			"that it cannot have",
			device->address, id, device->fd);
	if (ret) {
		free(device);
		return ret;
	}
	device->group->devices++;
	device->next = container->devices;
	container->devices = device;
	return 0;
}

void vfio_handover_forget(struct vfio_container *container)
{
	struct vfio_device *device;
	struct vfio_group *group;

	while ((device = container->devices)) {
		container->devices = device->next;
		free(device);
	}
	while ((group = container->groups)) {
		container->groups = group->next;
		free(group);
	}
}

/* Lists are kept in the order in which they were. */
static int restore_list(struct vfio_container *container, const json_t *state, const char *key,
	int (*restore)(struct vfio_container *container, const json_t *state))
{
	const json_t *list = handover_get_array(state, key);
	size_t i;
	int ret;

	if (!list)
		return -EINVAL;
	for (i = json_array_size(list); i-- > 0;) {
		ret = restore(container, json_array_get(list, i));
		if (ret)
			return ret;
	}
	return 0;
}

int vfio_handover_restore(struct vfio_container *container, const json_t *state)
{
	int ret;

	memset(container, 0, sizeof(*container));
	container->type = VFIO_TYPE1v2_IOMMU;
	ret = handover_get_fd(state, "file", &container->fd);
	if (!ret)
		ret = handover_get_bool(state, "iommu_set", &container->iommu_set);
	if (!ret && (ioctl(container->fd, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
			    ioctl(container->fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1))
		ret = pn_fail(EINVAL, "file descriptor %d is no VFIO container", container->fd);
	if (!ret)
		ret = restore_list(container, state, "groups", restore_group);
	if (!ret)
		ret = restore_list(container, state, "devices", restore_device);
	if (!ret)
		ret = inherit_all(container, false);
	if (ret)
		vfio_handover_forget(container);
	return ret;
}
