/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The model's devices as iommufd has them (iommufd/device.c, vfio/device_cdev.c of Linux 6.12):
 * bound to a file, attached to a page table, by their own nodes or through their groups.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vfio_model_abi.h"
#include "vfio_model_priv.h"

/* The file that owns the group's DMA, and the page table that its devices share. */
static const struct device *sibling(const struct device *device, bool attached)
{
	for (size_t i = 0; i < model_device_count; i++) {
		const struct device *other = &model_devices[i];

		if (other != device && other->group == device->group && other->iommufd &&
			(!attached || other->hwpt))
			return other;
	}
	return NULL;
}

int device_bind(struct device *device, struct iommufd *iommufd)
{
	const struct device *other = sibling(device, false);
	struct object *object;

	if (!device->group->viable)
		return -EBUSY;
	if (other && other->iommufd != iommufd)
		return -EPERM;
	object = object_new(iommufd, OBJECT_DEVICE);
	object->users = 1;
	device->object = object;
	device->iommufd = iommufd;
	iommufd->refs++;
	return 0;
}

void device_unbind(struct device *device)
{
	struct iommufd *iommufd = device->iommufd;

	device_detach(device);
	device->object->users = 0;
	object_destroy(iommufd, device->object);
	device->object = NULL;
	device->iommufd = NULL;
	iommufd_put(iommufd);
}

static int attach_to(struct device *device, struct object *hwpt)
{
	const struct device *other = sibling(device, true);

	if (other && other->hwpt != hwpt)
		return -EINVAL;
	if (!space_fits(hwpt->ioas->space, device))
		return -EADDRINUSE;
	device->hwpt = hwpt;
	hwpt->users++;
	device->object->users++;
	return 0;
}

/* An IOAS: any of the page tables that were made for it by itself, else a new one. */
static int attach_automatic(struct device *device, struct object *ioas, struct object **out)
{
	struct iommufd *iommufd = device->iommufd;
	struct object *hwpt;
	int ret;

	for (size_t i = 0; i < OBJECTS; i++) {
		hwpt = &iommufd->objects[i];
		if (hwpt->type != OBJECT_HWPT || hwpt->ioas != ioas || !hwpt->automatic)
			continue;
		ret = attach_to(device, hwpt);
		if (!ret)
			*out = hwpt;
		if (ret != -EINVAL)
			return ret;
	}
	/* The device's reserved ranges are looked at before anything is pinned. */
	if (!space_fits(ioas->space, device))
		return -EADDRINUSE;
	ret = hwpt_new(iommufd, ioas, false, &hwpt);
	if (ret)
		return ret;
	hwpt->automatic = true;
	ret = attach_to(device, hwpt);
	if (ret)
		object_destroy(iommufd, hwpt);
	else
		*out = hwpt;
	return ret;
}

int device_attach(struct device *device, struct object **pt)
{
	switch ((*pt)->type) {
	case OBJECT_IOAS:
		return attach_automatic(device, *pt, pt);
	case OBJECT_HWPT:
		return attach_to(device, *pt);
	default:
		return -EINVAL;
	}
}

void device_detach(struct device *device)
{
	struct object *hwpt = device->hwpt;

	if (!hwpt)
		return;
	device->hwpt = NULL;
	device->object->users--;
	if (!--hwpt->users && hwpt->automatic)
		object_destroy(device->iommufd, hwpt);
}

static int check_bind_token(const struct k_device_bind *args)
{
	struct k_device_bind_token with;
	const uint8_t *t;
	char text[40];

	if (!(args->flags & K_BIND_TOKEN))
		return model_check_token(NULL);
	if (args->argsz < sizeof(with))
		return -EINVAL;
	memcpy(&with, args, sizeof(with));
	t = (const uint8_t *)(uintptr_t)with.token;
	snprintf(text, sizeof(text),
		"%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", t[0], t[1],
		t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], t[10], t[11], t[12], t[13], t[14],
		t[15]);
	return model_check_token(text);
}

static int bind_cdev(struct file *file, struct k_device_bind *args)
{
	struct device *device = file->device;
	struct file *target;
	int ret;

	if (args->argsz < sizeof(*args) || args->iommufd < 0 ||
		args->flags & ~(model.bind_token ? K_BIND_TOKEN : 0))
		return -EINVAL;
	ret = model.bind_token ? check_bind_token(args) : 0;
	if (ret)
		return ret;
	if (device->group->opened)
		return -EBUSY;
	if (file->bound)
		return -EINVAL;
	target = model_file(args->iommufd);
	if (!target || target->kind != KIND_IOMMUFD)
		return -EBADFD;
	if (device->opens)
		return -EINVAL;
	ret = device_bind(device, target->iommufd);
	if (ret)
		return ret;
	device->opens = 1;
	device->group->cdevs++;
	file->bound = true;
	args->out_id = object_id(device->iommufd, device->object);
	return 0;
}

static int attach_cdev(struct device *device, struct k_device_attach *args)
{
	struct object *pt;
	int ret;

	if (args->argsz < sizeof(*args) || args->flags)
		return -EINVAL;
	pt = object_get(device->iommufd, args->pt, OBJECT_NONE);
	if (!pt)
		return -ENOENT;
	if (device->hwpt) {
		/* A change of page tables, which nobody here makes. */
		model.unknown++;
		return -EINVAL;
	}
	ret = device_attach(device, &pt);
	if (!ret)
		args->pt = object_id(device->iommufd, pt);
	return ret;
}

/* What every PCI device answers, as far as anybody here asks. */
int device_ioctl(unsigned long request, void *arg)
{
	struct vfio_device_info *info = arg;

	if (request != VFIO_DEVICE_GET_INFO) {
		model.unknown++;
		return -ENOTTY;
	}
	if (info->argsz < 20)
		return -EINVAL;
	info->flags = VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI;
	info->num_regions = VFIO_PCI_NUM_REGIONS;
	info->num_irqs = VFIO_PCI_NUM_IRQS;
	return 0;
}

int cdev_ioctl(struct file *file, unsigned long request, void *arg)
{
	const struct k_device_detach *detach = arg;

	if (request == K_DEVICE_BIND)
		return bind_cdev(file, arg);
	if (!file->bound)
		return -EINVAL;
	switch (request) {
	case K_DEVICE_ATTACH:
		return attach_cdev(file->device, arg);
	case K_DEVICE_DETACH:
		if (detach->argsz < sizeof(*detach) || detach->flags)
			return -EINVAL;
		device_detach(file->device);
		return 0;
	default:
		return device_ioctl(request, arg);
	}
}

void cdev_close(struct file *file)
{
	if (!file->bound)
		return;
	file->device->opens = 0;
	file->device->group->cdevs--;
	device_unbind(file->device);
}
