/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The model's IOMMU groups (vfio/group.c of Linux 6.12): joining a container or an iommufd, and
 * devices that are opened through their group.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "vfio_model_priv.h"

int group_open(struct group *group)
{
	struct file file = {.kind = KIND_GROUP, .group = group};

	if (group->open_err)
		return -group->open_err;
	if (group->noiommu && !model.cap_sys_rawio)
		return -EPERM;
	if (group->opened || group->cdevs)
		return -EBUSY;
	group->opened = true;
	group->refs = 1;
	return model_new_fd(&file);
}

static void leave(struct group *group)
{
	if (group->container)
		container_remove_group(group->container);
	if (group->iommufd)
		iommufd_put(group->iommufd);
	group->container = NULL;
	group->iommufd = NULL;
}

void group_put(struct group *group)
{
	if (--group->refs)
		return;
	leave(group);
	group->opened = false;
}

static int set_container(struct group *group, int fd)
{
	struct file *file = model_file(fd);

	if (group->container || group->iommufd)
		return -EINVAL;
	if (fd < 0)
		return -EBADF;
	if (file && file->kind == KIND_CONTAINER)
		return container_add_group(file->container, group);
	if (file && file->kind == KIND_IOMMUFD)
		return compat_add_group(file->iommufd, group);
	return -EBADFD;
}

static struct device *find(const struct group *group, const char *name)
{
	for (size_t i = 0; i < model_device_count; i++)
		if (model_devices[i].group == group && !strcmp(model_devices[i].address, name))
			return &model_devices[i];
	return NULL;
}

static int first_open(struct device *device)
{
	struct iommufd *iommufd = device->group->iommufd;
	struct object *pt;
	int ret;

	if (!iommufd)
		return 0;
	if (device->group->noiommu)
		return !model.cap_sys_rawio || iommufd->vfio_ioas ? -EPERM : 0;
	ret = device_bind(device, iommufd);
	if (ret)
		return ret;
	pt = iommufd->vfio_ioas;
	ret = pt ? device_attach(device, &pt) : -ENODEV;
	if (ret)
		device_unbind(device);
	return ret;
}

/* drivers/vfio/pci/vfio_pci_core.c, vfio_pci_validate_vf_token() */
int model_check_token(const char *token)
{
	if (!model.vf_token)
		return token ? -EINVAL : 0;
	return token && !strcasecmp(token, model.vf_token) ? 0 : -EACCES;
}

static int get_device(struct group *group, const char *name)
{
	struct file file = {.kind = KIND_DEVICE};
	char address[16], token[40] = "";
	int ret, words;

	words = sscanf(name, "%15s vf_token=%39s", address, token);
	file.device = find(group, address);
	if (!file.device)
		return -ENODEV;
	ret = model_check_token(words == 2 ? token : NULL);
	if (ret)
		return ret;
	if (!group->iommufd && (!group->container || !group->container->iommu_set))
		return -EINVAL;
	if (!file.device->opens) {
		ret = first_open(file.device);
		if (ret)
			return ret;
	}
	file.device->opens++;
	group->refs++;
	return model_new_fd(&file);
}

void group_close_device(struct device *device)
{
	if (!--device->opens && device->iommufd)
		device_unbind(device);
	group_put(device->group);
}

int group_ioctl(struct group *group, unsigned long request, void *arg)
{
	struct vfio_group_status *status = arg;
	bool joined = group->container || group->iommufd;
	int fd;

	switch (request) {
	case VFIO_GROUP_GET_STATUS:
		if (status->argsz < sizeof(*status))
			return -EINVAL;
		status->flags = (joined || group->viable ? VFIO_GROUP_FLAGS_VIABLE : 0u) |
				(joined ? VFIO_GROUP_FLAGS_CONTAINER_SET : 0u);
		return 0;
	case VFIO_GROUP_SET_CONTAINER:
		memcpy(&fd, arg, sizeof(fd));
		return set_container(group, fd);
	case VFIO_GROUP_UNSET_CONTAINER:
		if (!joined)
			return -EINVAL;
		if (group->container && group->refs > 1)
			return -EBUSY;
		leave(group);
		return 0;
	case VFIO_GROUP_GET_DEVICE_FD:
		return get_device(group, arg);
	default:
		model.unknown++;
		return -ENOTTY;
	}
}
