/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices of native iommufd: their own node, /dev/vfio/devices/vfioN, bound to the file and
 * attached to the address space.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base_priv.h"
#include "pins_priv.h"
#include "iommufd_abi.h"
#include "iommufd_priv.h"
#include "vfio_group.h"
#include "vfio_node.h"

/*
 * The device's node
 */

static int fail_open(int err, const struct pn_dma_device *device)
{
	unsigned int uid = (unsigned int)geteuid();
	struct stat st;

	if (err == EACCES && !stat(device->cdev, &st))
		return pn_fail(err,
			"device %s: %s is owned by %u:%u with mode %04o, and this process (uid %u) "
			"may not open it; as root: pinion grant %s --user %u (--persist keeps it)",
			device->address, device->cdev, (unsigned int)st.st_uid,
			(unsigned int)st.st_gid, (unsigned int)st.st_mode & 07777u, uid,
			device->address, uid);
	if (err == EPERM)
		return pn_fail(err,
			"%s of device %s: not permitted; a container must allow the node (--device "
			"%s)",
			device->cdev, device->address, device->cdev);
	if (err == ENOENT || err == ENXIO || err == ENODEV)
		return pn_fail(err,
			"%s of device %s is not there: bind the device to vfio-pci, or, in a "
			"container, hand the node in (--device %s)",
			device->cdev, device->address, device->cdev);
	return pn_fail(
		err, "opening %s of device %s: %s", device->cdev, device->address, strerror(err));
}

/* The attribute of sysfs with the number of the device's node; "": not shown. */
static void find_attribute(const char *address, char path[128])
{
	struct dirent *entry;
	char folder[64];
	DIR *dir;

	path[0] = '\0';
	snprintf(folder, sizeof(folder), "/sys/bus/pci/devices/%s/vfio-dev", address);
	dir = opendir(folder);
	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "vfio", 4) == 0)
			snprintf(path, 128, "%s/%.32s/dev", folder, entry->d_name);
	}
	if (dir)
		closedir(dir);
}

static int open_node(const struct pn_dma_device *device)
{
	char attribute[128], what[40];
	int fd;

	if (device->use_fd) {
		snprintf(what, sizeof(what), "device %s", device->address);
		fd = vfio_node_copy(device->fd, what);
	} else if (!device->cdev[0]) {
		fd = pn_fail(ENODEV,
			"device %s has no node in /dev/vfio/devices: this kernel gives it none "
			"(CONFIG_VFIO_DEVICE_CDEV, Linux 6.6; never without an IOMMU); use "
			"iommufd-compat",
			device->address);
	} else {
		fd = open(device->cdev, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			fd = fail_open(errno, device);
	}
	if (fd < 0)
		return fd;
	find_attribute(device->address, attribute);
	if (!attribute[0] || !vfio_node_check(fd, attribute))
		return fd;
	close(fd);
	if (device->use_fd)
		return pn_fail(EINVAL,
			"file descriptor %d, handed in for device %s, is not of the node that "
			"%s shows",
			device->fd, device->address, attribute);
	return pn_fail(EINVAL, "%s is not the node of device %s that %s shows", device->cdev,
		device->address, attribute);
}

/*
 * Bind
 */

static int fail_bind(int err, const struct pn_dma_device *device)
{
	const char *address = device->address;
	char node[32];

	/* The kernel says EBUSY or, of interrupts that a group does not isolate, EPERM. */
	if ((err == EPERM || err == EBUSY) && vfio_group_check_viable(device))
		return -EPERM;
	switch (err) {
	case EACCES:
		return pn_fail(err, VFIO_FAIL_TOKEN, address,
			device->use_vf_token ? "this is not the one" : "none was given");
	case EPERM:
		return pn_fail(err,
			"device %s cannot be bound to an iommufd: interrupts are not remapped on "
			"this machine; turn interrupt remapping on in the firmware, or accept the "
			"risk: as root, echo 1 > "
			"/sys/module/iommufd/parameters/allow_unsafe_interrupts",
			address);
	case EBUSY:
		snprintf(node, sizeof(node), "/dev/vfio/%d", device->group);
		pn_fail(err,
			"device %s is in use: its group %d is open through %s (as root: "
			"fuser -v %s), or another device of the group is driven by the "
			"kernel, by another process or by another domain",
			address, device->group, node, node);
		return pn_explain_openers(-err, node);
	case EINVAL:
		if (device->use_fd)
			return pn_fail(err,
				"device %s: the file handed in is bound to an iommufd of before, "
				"for as long as anybody has it open, or the device is open a "
				"second time: close all, open its node anew and hand that in",
				address);
		pn_fail(err,
			"device %s is in use by another process or domain (as root: fuser -v %s), "
			"or is not coherent with caches",
			address, device->cdev);
		return pn_explain_openers(-err, device->cdev);
	case ENOTTY:
		return pn_fail(device->use_fd ? EINVAL : err,
			"device %s: the file is no device of VFIO's", address);
	case ENODEV:
		return pn_fail(err, "device %s is not bound to vfio-pci any more", address);
	case ENOMEM:
		return pn_fail(err, "the kernel has no memory to bind device %s", address);
	default:
		return pn_fail(err, "binding device %s to an iommufd: %s", address, strerror(err));
	}
}

/* 0 or an errno. A kernel that knows no token refuses the flag, and opens the device without. */
static int request_bind(
	int fd, const struct pn_dma_device *device, struct iommufd_device_bind *bind)
{
	struct iommufd_device_bind_token with;

	if (device->use_vf_token) {
		with = (struct iommufd_device_bind_token){
			.bind = *bind, .token = (uintptr_t)device->vf_token};
		with.bind.argsz = sizeof(with);
		with.bind.flags = IOMMUFD_DEVICE_BIND_TOKEN;
		if (!ioctl(fd, IOMMUFD_DEVICE_BIND, &with)) {
			bind->out_devid = with.bind.out_devid;
			return 0;
		}
		if (errno != EINVAL)
			return errno;
	}
	return ioctl(fd, IOMMUFD_DEVICE_BIND, bind) ? errno : 0;
}

/* Bound by who handed it in: is the iommufd of then this one? It answers for its own devices. */
static int check_bound(
	struct iommufd *ctx, struct iommufd_device *entry, const struct pn_dma_device *device)
{
	struct iommufd_hw_info info = {.size = sizeof(info), .dev_id = device->bound_id};

	if (ioctl(ctx->file->fd, IOMMUFD_GET_HW_INFO, &info))
		return pn_fail(EINVAL,
			"device %s is not bound to the iommufd that was handed in with it, as "
			"device %u (IOMMU_GET_HW_INFO): %s",
			device->address, device->bound_id, strerror(errno));
	entry->dev_id = device->bound_id;
	return 0;
}

static int bind_device(
	struct iommufd *ctx, struct iommufd_device *entry, const struct pn_dma_device *device)
{
	struct iommufd_device_bind bind = {.argsz = sizeof(bind), .iommufd = ctx->file->fd};
	struct iommufd_bound *bound = NULL;
	struct stat st;
	int err;

	if (device->bound)
		return check_bound(ctx, entry, device);
	if (fstat(entry->fd, &st))
		return pn_fail(errno, "device %s: %s", device->address, strerror(errno));
	if (device->use_fd) {
		bound = calloc(1, sizeof(*bound));
		if (!bound)
			return pn_fail(ENOMEM, "no memory for a device");
	}
	err = request_bind(entry->fd, device, &bind);
	if (!err) {
		entry->dev_id = bind.out_devid;
		if (!bound)
			return 0;
		bound->node = st.st_rdev;
		bound->dev_id = bind.out_devid;
		iommufd_file_note_bound(ctx->file, bound);
		return 0;
	}
	free(bound);
	/* One that was handed in may still be bound to this very file, as we left it. */
	if (err == EINVAL && device->use_fd &&
		iommufd_file_is_bound(ctx->file, st.st_rdev, &entry->dev_id))
		return 0;
	return pn_fail_append(fail_bind(err, device), " (VFIO_DEVICE_BIND_IOMMUFD)");
}

/*
 * Attach
 */

#define ATTACH "VFIO_DEVICE_ATTACH_IOMMUFD_PT"

static int explain_attach(int err, const struct pn_dma_device *device)
{
	const char *address = device->address;

	switch (err) {
	case EADDRINUSE:
		return pn_fail(err,
			"device %s cannot be attached: a mapping lies at IOVAs that are reserved "
			"for it (/sys/kernel/iommu_groups/%d/reserved_regions)",
			address, device->group);
	case EBUSY:
		return pn_fail(err, "device %s cannot be attached: its group %d is in use", address,
			device->group);
	case EINVAL:
		return pn_fail(err,
			"device %s cannot be attached: another device of its group %d is in "
			"another address space, or its IOMMU cannot take this one",
			address, device->group);
	case ENOMEM:
		return pn_fail(err,
			"device %s cannot be attached: the kernel has no memory for its page table "
			"(memory.max of the control group counts it), or what is mapped exceeds "
			"RLIMIT_MEMLOCK",
			address);
	default:
		return pn_fail(err, "attaching device %s: %s", address, strerror(err));
	}
}

/* call: what failed. */
static int fail_attach(int err, const struct pn_dma_device *device, const char *call)
{
	return pn_fail_append(explain_attach(err, device), " (%s)", call);
}

/* 0 or a negative errno. No text. */
static int attach_to(struct iommufd_device *entry, uint32_t pt_id)
{
	struct iommufd_device_attach attach = {.argsz = sizeof(attach), .pt_id = pt_id};

	return ioctl(entry->fd, IOMMUFD_DEVICE_ATTACH, &attach) ? -errno : 0;
}

int iommufd_destroy_object(struct iommufd_file *file, uint32_t id)
{
	struct iommufd_destroy destroy = {.size = sizeof(destroy), .id = id};

	return ioctl(file->fd, IOMMUFD_DESTROY, &destroy) ? -errno : 0;
}

static int alloc_hwpt(struct iommufd *ctx, const struct iommufd_device *entry,
	const struct pn_dma_device *device, uint32_t *id)
{
	struct iommufd_hwpt_alloc alloc = {.size = sizeof(alloc),
		.flags = IOMMUFD_HWPT_ALLOC_DIRTY_TRACKING,
		.dev_id = entry->dev_id,
		.pt_id = ctx->ioas};

	if (!ioctl(ctx->file->fd, IOMMUFD_HWPT_ALLOC, &alloc)) {
		*id = alloc.out_hwpt_id;
		return 0;
	}
	if (errno == EOPNOTSUPP)
		return pn_fail(EOPNOTSUPP,
			"the IOMMU of device %s cannot track dirty pages (or this kernel has no "
			"driver for that): make the domain without dirty_tracking, or on type1",
			device->address);
	if (errno == ENOTTY)
		return pn_fail(EOPNOTSUPP,
			"this kernel's iommufd cannot track dirty pages (Linux 6.7 and newer can): "
			"make the domain without dirty_tracking, or on type1");
	return fail_attach(errno, device, "IOMMU_HWPT_ALLOC");
}

/* A page table of its own kind for the device; tracked from the start when others are. */
static int attach_new_hwpt(
	struct iommufd *ctx, struct iommufd_device *entry, const struct pn_dma_device *device)
{
	struct iommufd_hwpt *hwpt = calloc(1, sizeof(*hwpt));
	int ret;

	if (!hwpt)
		return pn_fail(ENOMEM, "no memory for a page table");
	ret = alloc_hwpt(ctx, entry, device, &hwpt->id);
	if (ret)
		goto free_hwpt;
	if (ctx->dirty) {
		ret = iommufd_hwpt_track(ctx->file, hwpt->id, true);
		if (ret) {
			pn_fail(-ret,
				"tracking dirty pages of device %s "
				"(IOMMU_HWPT_SET_DIRTY_TRACKING): %s",
				device->address, strerror(-ret));
			goto destroy;
		}
	}
	ret = attach_to(entry, hwpt->id);
	if (ret) {
		fail_attach(-ret, device, ATTACH);
		goto destroy;
	}
	hwpt->devices = 1;
	hwpt->next = ctx->hwpts;
	ctx->hwpts = hwpt;
	entry->hwpt = hwpt;
	return 0;

destroy:
	/* Left over, it would have memory mapped for nobody. */
	if (iommufd_destroy_object(ctx->file, hwpt->id))
		ctx->stuck = true;
free_hwpt:
	free(hwpt);
	return ret;
}

static int attach_tracked(
	struct iommufd *ctx, struct iommufd_device *entry, const struct pn_dma_device *device)
{
	struct iommufd_hwpt *hwpt;
	int ret;

	for (hwpt = ctx->hwpts; hwpt; hwpt = hwpt->next) {
		ret = attach_to(entry, hwpt->id);
		/* Not one for its IOMMU. */
		if (ret == -EINVAL)
			continue;
		if (ret)
			return fail_attach(-ret, device, ATTACH);
		hwpt->devices++;
		entry->hwpt = hwpt;
		return 0;
	}
	return attach_new_hwpt(ctx, entry, device);
}

int iommufd_attach(struct iommufd *ctx, const struct pn_dma_device *device, int *device_fd)
{
	struct iommufd_device *entry;
	int ret;

	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return pn_fail(ENOMEM, "no memory for a device");
	snprintf(entry->address, sizeof(entry->address), "%s", device->address);
	entry->fd = open_node(device);
	if (entry->fd < 0) {
		ret = entry->fd;
		goto free_entry;
	}
	ret = bind_device(ctx, entry, device);
	if (ret)
		goto close_fd;
	if (ctx->track) {
		ret = attach_tracked(ctx, entry, device);
	} else {
		ret = attach_to(entry, ctx->ioas);
		if (ret)
			fail_attach(-ret, device, ATTACH);
	}
	if (ret)
		goto close_fd;
	entry->next = ctx->devices;
	ctx->devices = entry;
	*device_fd = entry->fd;
	return 0;

close_fd:
	close(entry->fd);
free_entry:
	free(entry);
	return ret;
}

/* 0 or a negative errno. No text. */
static int put_hwpt(struct iommufd *ctx, struct iommufd_hwpt *hwpt)
{
	struct iommufd_hwpt **at;
	int ret;

	if (!hwpt || --hwpt->devices)
		return 0;
	for (at = &ctx->hwpts; *at != hwpt; at = &(*at)->next)
		;
	*at = hwpt->next;
	ret = iommufd_destroy_object(ctx->file, hwpt->id);
	free(hwpt);
	return ret;
}

int iommufd_unmap(struct iommufd *ctx, uint64_t iova, uint64_t *len)
{
	struct iommufd_ioas_unmap request = {
		.size = sizeof(request), .ioas_id = ctx->ioas, .iova = iova, .length = *len};

	if (ioctl(ctx->file->fd, IOMMUFD_IOAS_UNMAP, &request))
		return -errno;
	*len = request.length;
	return 0;
}

/* An EFAULT may mean that only the answer was lost: asked again, nothing is there. */
static int unmap_all(struct iommufd *ctx)
{
	uint64_t len = UINT64_MAX;
	int ret = iommufd_unmap(ctx, 0, &len);

	if (ret == -EFAULT)
		ret = iommufd_unmap(ctx, 0, &len);
	return ret == -ENOENT ? 0 : ret;
}

int iommufd_detach(struct iommufd *ctx, int device_fd)
{
	struct iommufd_device_detach detach = {.argsz = sizeof(detach)};
	struct iommufd_device **at, *entry;
	int ret = 0, err;

	for (at = &ctx->devices; *at && (*at)->fd != device_fd; at = &(*at)->next)
		;
	entry = *at;
	if (!entry)
		return 0;
	/* The kernel would keep the mappings, though not the pins, for the next device. */
	if (entry == ctx->devices && !entry->next)
		ret = unmap_all(ctx);
	*at = entry->next;
	/* Closing does it too, unless somebody has a copy of the fd. */
	(void)ioctl(entry->fd, IOMMUFD_DEVICE_DETACH, &detach);
	close(entry->fd);
	err = put_hwpt(ctx, entry->hwpt);
	ret = ret ? ret : err;
	free(entry);
	if (!ctx->devices)
		ctx->dirty = ctx->unsettled = false;
	return ret;
}
