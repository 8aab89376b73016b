/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The container's ioctls, as both VFIO's type1 driver and iommufd's compatibility layer answer them
 * (vfio_iommu_type1.c; iommufd/vfio_compat.c).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/vfio.h>

#include "base_priv.h"
#include "vfio_container.h"
#include "vfio_group.h"
#include "vfio_node.h"

int vfio_container_open(struct vfio_container *container, const struct pn_backend_request *request,
	const char *usual, unsigned long type)
{
	struct vfio_iommu_type1_info info = {.argsz = sizeof(info)};
	char name[VFIO_NODE_NAME];
	int ret;

	memset(container, 0, sizeof(*container));
	container->type = type;
	vfio_node_name(request, usual, name);
	container->fd = vfio_node_get(request, usual, "no such node");
	if (container->fd < 0)
		return container->fd;
	ret = ioctl(container->fd, VFIO_GET_API_VERSION);
	if (ret < 0) {
		ret = pn_fail(request->use_fd ? EINVAL : errno,
			"%s is no VFIO container: VFIO_GET_API_VERSION: %s", name, strerror(errno));
		goto close_fd;
	}
	if (ret != VFIO_API_VERSION) {
		ret = pn_fail(EPROTO, "%s speaks VFIO version %d, Pinion speaks %d", name, ret,
			VFIO_API_VERSION);
		goto close_fd;
	}
	if (ioctl(container->fd, VFIO_CHECK_EXTENSION, type) != 1) {
		ret = pn_fail(EOPNOTSUPP, "%s does not offer %s", name,
			type == VFIO_NOIOMMU_IOMMU
				? "VFIO_NOIOMMU_IOMMU: the kernel has no CONFIG_VFIO_NOIOMMU, or "
				  "vfio's parameter enable_unsafe_noiommu_mode is off"
				: "VFIO_TYPE1v2_IOMMU");
		goto close_fd;
	}
	/* Answered only by one that has a group: its mappings would not be in our index. */
	if (request->use_fd && !ioctl(container->fd, VFIO_IOMMU_GET_INFO, &info)) {
		ret = pn_fail(
			EBUSY, "%s is in use as a container already: hand in a new one", name);
		goto close_fd;
	}
	return 0;

close_fd:
	close(container->fd);
	return ret;
}

void vfio_container_close(struct vfio_container *container)
{
	close(container->fd);
}

static bool is_noiommu(const struct vfio_container *container)
{
	return container->type == VFIO_NOIOMMU_IOMMU;
}

static int fail_set_container(
	const struct vfio_container *container, int err, const struct pn_dma_device *device)
{
	if (err == EPERM && is_noiommu(container))
		return pn_fail(err,
			"group %d of device %s cannot join the container: a device without an "
			"IOMMU needs CAP_SYS_RAWIO",
			device->group, device->address);
	if (err == EPERM)
		return pn_fail(err,
			"group %d of device %s cannot join the container: interrupts are not "
			"remapped on this machine; turn interrupt remapping on in the firmware, or "
			"accept the risk: modprobe vfio_iommu_type1 allow_unsafe_interrupts=1 "
			"(iommufd: "
			"iommufd.allow_unsafe_interrupts=1)",
			device->group, device->address);
	return pn_fail(err, "group %d of device %s cannot join the container: %s", device->group,
		device->address, strerror(err));
}

/* The group of a device: already in the container, or opened and taken in. */
static int group_get(struct vfio_container *container, const struct pn_dma_device *device,
	struct vfio_group **out)
{
	struct vfio_group *group;
	int ret;

	for (group = container->groups; group; group = group->next) {
		if (group->id == device->group) {
			*out = group;
			return device->use_fd
				       ? vfio_group_check(device, is_noiommu(container), device->fd)
				       : 0;
		}
	}
	group = calloc(1, sizeof(*group));
	if (!group)
		return pn_fail(ENOMEM, "no memory for a group");
	group->id = device->group;
	group->handed_in = device->use_fd;
	group->fd = vfio_group_open(device, is_noiommu(container));
	if (group->fd < 0) {
		ret = group->fd;
		goto free_group;
	}
	if (ioctl(group->fd, VFIO_GROUP_SET_CONTAINER, &container->fd)) {
		ret = pn_fail_append(fail_set_container(container, errno, device),
			" (VFIO_GROUP_SET_CONTAINER)");
		goto close_fd;
	}
	group->next = container->groups;
	container->groups = group;
	*out = group;
	return 0;

close_fd:
	close(group->fd);
free_group:
	free(group);
	return ret;
}

/*
 * Close a group that no device uses; closing takes it out of the container. One that was handed in
 * is open elsewhere too and has to be taken out.
 */
static void group_put(struct vfio_container *container, struct vfio_group *group)
{
	struct vfio_group **at;
	bool stuck;

	if (group->devices)
		return;
	stuck = group->handed_in && ioctl(group->fd, VFIO_GROUP_UNSET_CONTAINER);
	if (stuck)
		pn_log(PN_LOG_WARNING,
			"group %d, handed in, stays in its container (%s): somebody has a copy of "
			"a device's fd",
			group->id, strerror(errno));
	for (at = &container->groups; *at != group; at = &(*at)->next)
		;
	*at = group->next;
	close(group->fd);
	free(group);
	/* A type1 container forgets its IOMMU with its last group; iommufd does not mind being told
	 * again. */
	if (!container->groups && !stuck)
		container->iommu_set = false;
}

/*
 * A group that was closed is still in the container, and the container has its IOMMU, as long as
 * something holds a device of the group open: a region of a BAR, a copy of an fd
 * (vfio/group.c:vfio_group_fops_release). It holds no mappings: they went with the last device.
 */
static bool has_iommu(const struct vfio_container *container)
{
	struct vfio_iommu_type1_info info = {.argsz = sizeof(info)};

	return !is_noiommu(container) && !ioctl(container->fd, VFIO_IOMMU_GET_INFO, &info);
}

static int set_iommu(struct vfio_container *container, const struct pn_dma_device *device)
{
	int err;

	if (container->iommu_set)
		return 0;
	/* Always v2: v1 makes iommufd give up large IOMMU pages
	 * (vfio_compat.c:iommufd_vfio_set_iommu). */
	if (ioctl(container->fd, VFIO_SET_IOMMU, container->type)) {
		err = errno;
		if (err == EPERM)
			return pn_fail_append(
				fail_set_container(container, EPERM, device), " (VFIO_SET_IOMMU)");
		/* vfio/container.c:vfio_ioctl_set_iommu: once only. */
		if (err != EINVAL || !has_iommu(container))
			return pn_fail(err,
				"device %s: the container takes no IOMMU (VFIO_SET_IOMMU): %s",
				device->address, strerror(err));
	}
	container->iommu_set = true;
	return 0;
}

static int fail_get_device(int err, const struct pn_dma_device *device)
{
	switch (err) {
	case EACCES:
		return pn_fail(err, VFIO_FAIL_TOKEN, device->address,
			device->use_vf_token ? "this is not the one" : "none was given");
	case EBUSY:
		return pn_fail(err,
			"device %s is in use, or another device of its group %d is driven by the "
			"kernel",
			device->address, device->group);
	case EPERM:
		return pn_fail(err, "device %s may not be opened: interrupts must be remapped",
			device->address);
	case ENODEV:
		return pn_fail(err, "device %s is not bound to vfio-pci any more", device->address);
	case ENOTTY:
	case EINVAL:
		if (device->use_vf_token)
			return pn_fail(err,
				"device %s takes no VF token: it is neither a virtual function of "
				"a device on vfio-pci nor such a device",
				device->address);
		return pn_fail(err,
			"device %s cannot be opened (%s): vfio-pci refuses it; see dmesg",
			device->address, strerror(err));
	default:
		return pn_fail(err, "opening device %s: %s", device->address, strerror(err));
	}
}

/* drivers/vfio/pci/vfio_pci_core.c, vfio_pci_core_match(): the address, and what else there is. */
static void device_name(const struct pn_dma_device *device, char name[80])
{
	const uint8_t *t = device->vf_token;

	snprintf(name, 80, "%s", device->address);
	if (device->use_vf_token)
		snprintf(name, 80,
			"%s vf_token=%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
			"%02x%02x%02x%02x%02x%02x",
			device->address, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9],
			t[10], t[11], t[12], t[13], t[14], t[15]);
}

int vfio_container_attach(
	struct vfio_container *container, const struct pn_dma_device *device, int *device_fd)
{
	struct vfio_device *entry;
	struct vfio_group *group = NULL;
	char name[80];
	int ret;

	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return pn_fail(ENOMEM, "no memory for a device");
	ret = group_get(container, device, &group);
	if (ret)
		goto free_entry;
	ret = set_iommu(container, device);
	if (ret)
		goto put_group;
	device_name(device, name);
	entry->fd = ioctl(group->fd, VFIO_GROUP_GET_DEVICE_FD, name);
	if (entry->fd < 0) {
		ret = pn_fail_append(fail_get_device(errno, device), " (VFIO_GROUP_GET_DEVICE_FD)");
		goto put_group;
	}
	group->devices++;
	entry->group = group;
	snprintf(entry->address, sizeof(entry->address), "%s", device->address);
	entry->next = container->devices;
	container->devices = entry;
	*device_fd = entry->fd;
	return 0;

put_group:
	group_put(container, group);
free_entry:
	free(entry);
	return ret;
}

/*
 * Unmap a range, or with VFIO_DMA_UNMAP_FLAG_ALL everything. The kernel writes down how much it
 * removed when it has done so (vfio_iommu_type1_unmap_dma, iommufd_vfio_unmap_dma): an EFAULT may
 * mean that only this failed, so it is asked again, and removes nothing then.
 * Returns 0 or a negative errno, and the bytes removed. No text.
 */
static int unmap(struct vfio_container *container, uint32_t flags, uint64_t iova, uint64_t *len)
{
	struct vfio_iommu_type1_dma_unmap args;
	uint64_t wanted = *len;
	bool again = false;

	for (;; again = true) {
		args = (struct vfio_iommu_type1_dma_unmap){
			.argsz = sizeof(args), .flags = flags, .iova = iova, .size = wanted};
		if (!ioctl(container->fd, VFIO_IOMMU_UNMAP_DMA, &args))
			break;
		if (!again && errno != EFAULT)
			return -errno;
		/* Refused for another reason, the second question was not answered either. */
		if (again)
			return errno == ENOENT ? 0 : -EFAULT;
	}
	*len = again && !args.size ? wanted : args.size;
	return 0;
}

static int unmap_all(struct vfio_container *container)
{
	uint64_t len = 0;

	/* Linux 5.12 and newer. */
	if (ioctl(container->fd, VFIO_CHECK_EXTENSION, VFIO_UNMAP_ALL) == 0)
		return 0;
	return unmap(container, VFIO_DMA_UNMAP_FLAG_ALL, 0, &len);
}

int vfio_container_detach(struct vfio_container *container, int device_fd)
{
	struct vfio_device **at, *entry;
	int ret = 0;

	for (at = &container->devices; *at && (*at)->fd != device_fd; at = &(*at)->next)
		;
	entry = *at;
	if (!entry)
		return 0;
	if (entry == container->devices && !entry->next && !is_noiommu(container))
		ret = unmap_all(container);
	*at = entry->next;
	close(entry->fd);
	entry->group->devices--;
	group_put(container, entry->group);
	free(entry);
	return ret;
}

int vfio_container_map(struct vfio_container *container, const struct pn_backend_map *map)
{
	struct vfio_iommu_type1_dma_map request = {
		.argsz = sizeof(request), .vaddr = map->vaddr, .iova = map->iova, .size = map->len};

	if (map->prot & PN_PROT_READ)
		request.flags |= VFIO_DMA_MAP_FLAG_READ;
	if (map->prot & PN_PROT_WRITE)
		request.flags |= VFIO_DMA_MAP_FLAG_WRITE;
	return ioctl(container->fd, VFIO_IOMMU_MAP_DMA, &request) ? -errno : 0;
}

int vfio_container_unmap(struct vfio_container *container, uint64_t iova, uint64_t len)
{
	uint64_t removed = len;
	int ret = unmap(container, 0, iova, &removed);

	if (ret)
		return ret;
	/* Less is not what was asked for. */
	return removed == len ? 0 : -EIO;
}
