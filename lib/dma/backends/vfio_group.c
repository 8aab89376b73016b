/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * IOMMU groups: the node of one, and what stands in the way when it cannot be used.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/vfio.h>

#include "base_priv.h"
#include "pins_priv.h"
#include "vfio_group.h"
#include "vfio_node.h"

static int fail_denied(int err, const char *node, const struct pn_dma_device *device)
{
	struct stat st;

	if (stat(node, &st))
		return pn_fail(err, "%s of device %s may not be opened: %s", node, device->address,
			strerror(err));
	return pn_fail(err,
		"group %d of device %s: %s is owned by %u:%u with mode %04o, and this process (uid "
		"%u) may not open it; as root: pinion grant %s --user %u (--persist keeps it)",
		device->group, device->address, node, (unsigned int)st.st_uid,
		(unsigned int)st.st_gid, (unsigned int)st.st_mode & 07777u, (unsigned int)geteuid(),
		device->address, (unsigned int)geteuid());
}

static int fail_open(int err, const char *node, const struct pn_dma_device *device)
{
	switch (err) {
	case EACCES:
		return fail_denied(err, node, device);
	case EPERM:
		return pn_fail(err,
			"%s of device %s: not permitted; a group without an IOMMU (noiommu) needs "
			"CAP_SYS_RAWIO, and "
			"a container must allow the device node (cgroup devices)",
			node, device->address);
	case EBUSY:
		pn_fail(err,
			"group %d of device %s is open already: another process or another domain "
			"uses a device of that group, or a region of a BAR of one is left; end it "
			"(as root: fuser -v %s shows which)",
			device->group, device->address, node);
		return pn_explain_openers(-err, node);
	case ENOENT:
	case ENXIO:
	case ENODEV:
		return pn_fail(err,
			"%s of device %s is not there: bind the device to vfio-pci, or, in a "
			"container, hand the node "
			"in (--device %s)",
			node, device->address, node);
	default:
		return pn_fail(
			err, "opening %s of device %s: %s", node, device->address, strerror(err));
	}
}

/* vfio_main.c:vfio_dev_driver_allowed and drivers that need no DMA of their own. */
static bool driver_is_harmless(const char *driver)
{
	static const char *const names[] = {"vfio-pci", "pci-stub", "pcieport", "shpchp"};
	size_t i;

	for (i = 0; i < PN_ARRAY_SIZE(names); i++) {
		if (!strcmp(driver, names[i]))
			return true;
	}
	return false;
}

/* Devices of the group that a driver of the kernel's has; their number. */
static unsigned int list_in_the_way(const struct pn_dma_device *device, char *list, size_t size)
{
	char path[128], link[400], driver[64];
	unsigned int count = 0;
	struct dirent *entry;
	size_t used = 0;
	DIR *dir;

	list[0] = '\0';
	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/devices", device->group);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)) && used < size) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(link, sizeof(link), "%s/%s/driver", path, entry->d_name);
		if (pn_link_name(link, driver, sizeof(driver)) || driver_is_harmless(driver))
			continue;
		used += (size_t)snprintf(list + used, size - used, "%s%s (driver %s)",
			count++ ? ", " : "", entry->d_name, driver);
	}
	if (dir)
		closedir(dir);
	return count;
}

static int fail_not_viable(const struct pn_dma_device *device)
{
	char list[400];

	list_in_the_way(device, list, sizeof(list));
	return pn_fail(EPERM,
		"group %d of device %s is not viable: in the way: %s; all devices of a group go "
		"together; as root: pinion bind --group %s",
		device->group, device->address,
		list[0] ? list : "a device bound to a kernel driver (sysfs does not show which)",
		device->address);
}

int vfio_group_check_viable(const struct pn_dma_device *device)
{
	char list[400];

	return list_in_the_way(device, list, sizeof(list)) ? fail_not_viable(device) : 0;
}

static void group_name(const struct pn_dma_device *device, bool noiommu, char buf[24])
{
	snprintf(buf, 24, "%s%d", noiommu ? "noiommu-" : "", device->group);
}

int vfio_group_check(const struct pn_dma_device *device, bool noiommu, int fd)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	char name[24], attribute[64];

	group_name(device, noiommu, name);
	snprintf(attribute, sizeof(attribute), "/sys/class/vfio/%s/dev", name);
	if (!vfio_node_check(fd, attribute) && !ioctl(fd, VFIO_GROUP_GET_STATUS, &status))
		return 0;
	return pn_fail(EINVAL,
		"file descriptor %d, handed in for device %s, is not of its group's node "
		"/dev/vfio/%s",
		device->fd, device->address, name);
}

static int group_file(const struct pn_dma_device *device, bool noiommu, const char *node)
{
	char what[48];
	int fd, ret;

	if (!device->use_fd) {
		fd = open(node, O_RDWR | O_CLOEXEC);
		return fd < 0 ? fail_open(errno, node, device) : fd;
	}
	snprintf(what, sizeof(what), "group of device %s", device->address);
	fd = vfio_node_copy(device->fd, what);
	if (fd < 0)
		return fd;
	ret = vfio_group_check(device, noiommu, fd);
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

int vfio_group_open(const struct pn_dma_device *device, bool noiommu)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	char name[24], node[40];
	int fd, ret;

	if (device->group < 0)
		return pn_fail(ENODEV, "device %s has no IOMMU group", device->address);
	group_name(device, noiommu, name);
	snprintf(node, sizeof(node), "/dev/vfio/%s", name);
	fd = group_file(device, noiommu, node);
	if (fd < 0)
		return fd;
	if (ioctl(fd, VFIO_GROUP_GET_STATUS, &status)) {
		ret = pn_fail(errno, "VFIO_GROUP_GET_STATUS of %s: %s", node, strerror(errno));
		goto close_fd;
	}
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE)) {
		ret = fail_not_viable(device);
		goto close_fd;
	}
	if (device->use_fd && status.flags & VFIO_GROUP_FLAGS_CONTAINER_SET) {
		ret = pn_fail(EBUSY,
			"group %d of device %s, handed in, is in a container already: one of "
			"another domain, or of who handed it in",
			device->group, device->address);
		goto close_fd;
	}
	return fd;

close_fd:
	close(fd);
	return ret;
}
