/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening devices. The kernel is what keeps a device with one client: a node that is bound to an
 * iommufd, or a group that is open, cannot be had a second time while any copy of its file is open.
 * So each is bound here, before it is handed out: a copy that a client kept back is worth nothing
 * once it is bound anew.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "iommufd.h"
#include "pinion.h"
#include "vfio.h"

#define PCI_BASE_CLASS_BRIDGE 0x06u

#define CONTAINER "/dev/vfio/vfio"
#define IOMMUFD   "/dev/iommu"

/* VFIO_DEVICE_RESET gives EAGAIN while somebody holds the device's lock for a moment. */
#define RESET_TRIES    20
#define RESET_PAUSE_NS 10000000L

static int open_node(const char *node, struct why *why)
{
	int fd = open(node, O_RDWR | O_CLOEXEC), err = errno;

	if (fd >= 0)
		return fd;
	if (err == EACCES)
		return because(why, err,
			"pinion-broker may not open %s: it must be root's, as it is when nobody "
			"was granted it (pinion revoke)",
			node);
	if (err == EBUSY)
		return because(why, err, "%s is in use: somebody has it open", node);
	return because(why, err, "%s: %s", node, strerror(err));
}

/* must: it is refused if it has none. */
static int reset(int fd, const char *device, bool must, struct why *why)
{
	const struct timespec pause = {0, RESET_PAUSE_NS};
	struct vfio_device_info info = {.argsz = sizeof(info)};
	int err;

	if (ioctl(fd, VFIO_DEVICE_GET_INFO, &info)) {
		err = errno;
		return because(why, err, "%s: VFIO_DEVICE_GET_INFO: %s", device, strerror(err));
	}
	if (!(info.flags & VFIO_DEVICE_FLAGS_RESET) && !must)
		return 0;
	if (!(info.flags & VFIO_DEVICE_FLAGS_RESET))
		return because(why, EOPNOTSUPP,
			"%s has no reset (cat /sys/bus/pci/devices/%s/reset_method): what its last "
			"user left in it goes to the next, which the policy must say (without "
			"reset)",
			device, device);
	for (int i = 0; i < RESET_TRIES; i++) {
		if (!ioctl(fd, VFIO_DEVICE_RESET))
			return 0;
		err = errno;
		if (err != EAGAIN)
			break;
		nanosleep(&pause, NULL);
	}
	return because(why, err, "%s: VFIO_DEVICE_RESET: %s", device, strerror(err));
}

static int find(const char *device, struct pn_pci_info *info, struct why *why)
{
	int ret = pn_pci_find(device, info);

	if (ret)
		return because(why, -ret, "%s", pn_error());
	if (!info->group_node[0] && !info->cdev_node[0])
		return because(why, ENXIO, "%s is not bound to vfio-pci but to %s: pinion bind %s",
			device, info->driver[0] ? info->driver : "no driver", device);
	return 0;
}

/*
 * iommufd
 */

/* The accounting is set before anything is in the file: later it would be EBUSY. */
static int open_iommufd(bool per_user, struct why *why)
{
	struct iommufd_option option = {.size = sizeof(option),
		.option_id = IOMMUFD_OPTION_RLIMIT_MODE,
		.op = IOMMUFD_OPTION_OP_SET,
		.val64 = !per_user};
	int fd = open_node(IOMMUFD, why), err;

	if (fd < 0 || !ioctl(fd, IOMMUFD_OPTION, &option))
		return fd;
	err = errno;
	close(fd);
	return because(why, err, "IOMMU_OPTION_RLIMIT_MODE of %s: %s", IOMMUFD, strerror(err));
}

static int bind_device(
	int iommufd, const struct pn_pci_info *info, uint32_t *dev_id, struct why *why)
{
	struct iommufd_device_bind bind = {.argsz = sizeof(bind), .iommufd = iommufd};
	int fd = open_node(info->cdev_node, why), err;

	if (fd < 0)
		return fd;
	if (!ioctl(fd, IOMMUFD_DEVICE_BIND, &bind)) {
		*dev_id = bind.out_devid;
		return fd;
	}
	err = errno;
	close(fd);
	/* Open a second time: EINVAL. By its group, or another of its group elsewhere: EBUSY. */
	if (err == EINVAL || err == EBUSY)
		return because(why, EBUSY,
			"%s is in use: a program has it, or has kept a copy of a file of it, or a "
			"device of its group %d is elsewhere (as root: fuser -v %s %s)",
			info->address, info->iommu_group, info->cdev_node, info->group_node);
	return because(why, err, "%s cannot be bound to an iommufd (VFIO_DEVICE_BIND_IOMMUFD): %s",
		info->address, strerror(err));
}

static int take_cdev(struct handout *handout, const struct vfio_wish *wish, struct why *why)
{
	const char *device = wish->devices[handout->count];
	uint32_t *dev_id = &handout->dev_id[handout->count];
	bool must_reset;
	struct pn_pci_info info;
	int fd, ret;

	ret = find(device, &info, why);
	if (ret)
		return ret;
	if (!info.cdev_node[0])
		return because(why, ENODEV,
			"%s has no node in /dev/vfio/devices (CONFIG_VFIO_DEVICE_CDEV, Linux "
			"6.6): ask for type1",
			device);
	fd = bind_device(handout->fds[0], &info, dev_id, why);
	if (fd < 0)
		return fd;
	must_reset = !wish->without_reset[handout->count];
	ret = wish->only_look ? 0 : reset(fd, device, must_reset, why);
	if (ret) {
		close(fd);
		return ret;
	}
	handout->fds[1 + handout->count++] = fd;
	return 0;
}

static int open_with_iommufd(struct handout *handout, const struct vfio_wish *wish, struct why *why)
{
	int ret;

	ret = handout->fds[0] = open_iommufd(wish->per_user, why);
	if (ret < 0)
		return ret;
	ret = 0;
	for (unsigned int i = 0; !ret && i < wish->count; i++)
		ret = take_cdev(handout, wish, why);
	if (ret)
		vfio_close(handout);
	return ret;
}

/*
 * type1
 */

/*
 * Whoever has the file of a group can open each device in it that vfio-pci has, or is given as long
 * as it is open. Bridges it cannot have; with a driver of the kernel's, the group is not viable.
 */
static bool comes_along(const struct pn_pci_info *info)
{
	uint32_t kind = info->class_code >> 16;

	return kind != PCI_BASE_CLASS_BRIDGE &&
	       (info->group_node[0] || !info->driver[0] || !strcmp(info->driver, "pci-stub"));
}

/* The group goes as a whole. */
static int check_group(
	const struct pn_pci_info *info, const struct vfio_wish *wish, struct why *why)
{
	struct pn_pci_info other;
	struct dirent *entry;
	char folder[64];
	int ret = 0;
	DIR *dir;

	snprintf(folder, sizeof(folder), "/sys/kernel/iommu_groups/%d/devices", info->iommu_group);
	dir = opendir(folder);
	if (!dir)
		return because(why, errno, "%s: %s", folder, strerror(errno));
	while (!ret && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || !strcmp(entry->d_name, info->address))
			continue;
		if (pn_pci_find(entry->d_name, &other) || !comes_along(&other) ||
			wish->granted(wish->arg, other.address))
			continue;
		ret = because(why, EACCES,
			"%s shares IOMMU group %d with %s, which the policy does not grant: on "
			"type1 a group goes as a whole",
			info->address, info->iommu_group, other.address);
	}
	closedir(dir);
	return ret;
}

static int check_status(int group, const struct pn_pci_info *info, struct why *why)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};

	if (ioctl(group, VFIO_GROUP_GET_STATUS, &status))
		return because(why, errno, "VFIO_GROUP_GET_STATUS of %s: %s", info->group_node,
			strerror(errno));
	if (status.flags & VFIO_GROUP_FLAGS_VIABLE)
		return 0;
	return because(why, EPERM,
		"group %d of %s is not viable: a driver of the kernel's has another device in it",
		info->iommu_group, info->address);
}

/* Open the device in a container of our own, reset it, and take it apart again. */
static int reset_in_group(int group, const struct pn_pci_info *info, bool must, struct why *why)
{
	int container, device, err, ret;

	container = open_node(CONTAINER, why);
	if (container < 0)
		return container;
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container)) {
		err = errno;
		close(container);
		return because(why, err, "VFIO_GROUP_SET_CONTAINER of %s: %s", info->group_node,
			strerror(err));
	}
	device = ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)
			 ? -1
			 : ioctl(group, VFIO_GROUP_GET_DEVICE_FD, info->address);
	if (device < 0) {
		err = errno;
		ret = because(why, err, "opening %s in its group %d: %s", info->address,
			info->iommu_group, strerror(err));
	} else {
		ret = reset(device, info->address, must, why);
		close(device);
	}
	if (ioctl(group, VFIO_GROUP_UNSET_CONTAINER) && !ret)
		ret = because(why, errno, "VFIO_GROUP_UNSET_CONTAINER of %s: %s", info->group_node,
			strerror(errno));
	close(container);
	return ret;
}

/* The group of a device that was asked for before it is open already. */
static int open_group(const struct pn_pci_info *info, const struct handout *handout,
	const struct vfio_wish *wish, struct why *why)
{
	struct pn_pci_info other;
	int fd, ret;

	for (unsigned int i = 0; i < handout->count; i++) {
		if (pn_pci_find(wish->devices[i], &other) || other.iommu_group != info->iommu_group)
			continue;
		fd = fcntl(handout->fds[1 + i], F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? because(why, errno, "copying a file: %s", strerror(errno)) : fd;
	}
	fd = open_node(info->group_node, why);
	if (fd < 0)
		return fd;
	ret = check_status(fd, info, why);
	if (ret) {
		close(fd);
		return ret;
	}
	return fd;
}

static int take_group(struct handout *handout, const struct vfio_wish *wish, struct why *why)
{
	const char *device = wish->devices[handout->count];
	struct pn_pci_info info;
	bool must_reset;
	int fd, ret;

	ret = find(device, &info, why);
	if (ret)
		return ret;
	if (strstr(info.group_node, "noiommu"))
		return because(
			why, ENXIO, "%s is in VFIO's no-IOMMU mode: nothing confines it", device);
	ret = check_group(&info, wish, why);
	if (ret)
		return ret;
	fd = open_group(&info, handout, wish, why);
	if (fd < 0)
		return fd;
	must_reset = !wish->without_reset[handout->count];
	ret = wish->only_look ? 0 : reset_in_group(fd, &info, must_reset, why);
	if (ret) {
		close(fd);
		return ret;
	}
	handout->fds[1 + handout->count++] = fd;
	return 0;
}

/* Is the container type1's? Where iommufd provides it, it charges in another way. */
static int open_container(struct why *why)
{
	struct iommufd_option option = {.size = sizeof(option),
		.option_id = IOMMUFD_OPTION_RLIMIT_MODE,
		.op = IOMMUFD_OPTION_OP_GET};
	int fd = open_node(CONTAINER, why);

	if (fd < 0 || ioctl(fd, IOMMUFD_OPTION, &option))
		return fd;
	close(fd);
	return because(why, EOPNOTSUPP,
		"%s is iommufd's on this kernel, not type1's: ask for iommufd", CONTAINER);
}

static int open_with_type1(struct handout *handout, const struct vfio_wish *wish, struct why *why)
{
	int ret;

	if (wish->per_user)
		return because(why, EOPNOTSUPP,
			"the policy grants memory per user, and type1 charges the process: ask for "
			"iommufd");
	ret = handout->fds[0] = open_container(why);
	if (ret < 0)
		return ret;
	ret = 0;
	for (unsigned int i = 0; !ret && i < wish->count; i++)
		ret = take_group(handout, wish, why);
	if (ret)
		vfio_close(handout);
	return ret;
}

/*
 * Both
 */

/* iommufd takes the node of the machine, and one of the device's own. */
static enum pn_broker_backend choose(const struct vfio_wish *wish)
{
	struct pn_pci_info info;

	if (wish->backend != PN_BROKER_FIRST)
		return wish->backend;
	if (access(IOMMUFD, F_OK))
		return PN_BROKER_TYPE1;
	if (!pn_pci_find(wish->devices[0], &info) && info.group_node[0] && !info.cdev_node[0])
		return PN_BROKER_TYPE1;
	return PN_BROKER_IOMMUFD;
}

int vfio_open(struct handout *handout, const struct vfio_wish *wish, struct why *why)
{
	*handout = (struct handout){.backend = choose(wish)};
	return handout->backend == PN_BROKER_TYPE1 ? open_with_type1(handout, wish, why)
						   : open_with_iommufd(handout, wish, why);
}

void vfio_close(struct handout *handout)
{
	/* Devices first: what is bound to the address space lets go of it. */
	for (; handout->count; handout->count--)
		close(handout->fds[handout->count]);
	close(handout->fds[0]);
}

static bool grant_all(const void *arg, const char *device)
{
	(void)arg;
	(void)device;
	return true;
}

int vfio_reclaim(enum pn_broker_backend backend, const char *device, struct why *why)
{
	char devices[1][PN_BROKER_ADDRESS] = {""};
	struct vfio_wish wish = {.backend = backend,
		.only_look = true,
		.count = 1,
		.devices = devices,
		.granted = grant_all};
	struct handout handout;
	int ret;

	snprintf(devices[0], sizeof(devices[0]), "%s", device);
	ret = vfio_open(&handout, &wish, why);
	if (!ret)
		vfio_close(&handout);
	return ret;
}
