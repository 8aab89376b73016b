/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The container's ioctls, as both VFIO's type1 driver and iommufd's compatibility layer answer them
 * (vfio_iommu_type1.c; iommufd/vfio_compat.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/vfio.h>

#include "base_priv.h"
#include "vfio_container.h"
#include "vfio_group.h"

struct vfio_group {
	struct vfio_group *next;
	int id;
	int fd;
	unsigned int devices;
};

struct vfio_device {
	struct vfio_device *next;
	struct vfio_group *group;
	int fd;
};

/*
 * include/uapi/linux/iommufd.h, IOMMU_OPTION. Debian 12's headers are older than that file, and
 * this is all that is needed of it here.
 */
struct iommu_option {
	uint32_t size;
	uint32_t option_id;
	uint16_t op;
	uint16_t reserved;
	uint32_t object_id;
	uint64_t val64;
};

#define IOMMU_OPTION             _IO(';', 0x87)
#define IOMMU_OPTION_RLIMIT_MODE 0
#define IOMMU_OPTION_OP_GET      1

bool vfio_node_is_iommufd(int fd, bool *mm)
{
	struct iommu_option option = {.size = sizeof(option),
		.option_id = IOMMU_OPTION_RLIMIT_MODE,
		.op = IOMMU_OPTION_OP_GET};

	/* A type1 container answers EINVAL or ENOTTY to a request that it does not know. */
	if (ioctl(fd, IOMMU_OPTION, &option))
		return false;
	*mm = option.val64 == 1;
	return true;
}

int vfio_node_open(const char *node, const char *what)
{
	struct stat st;
	int fd = open(node, O_RDWR | O_CLOEXEC), err = errno;

	if (fd >= 0)
		return fd;
	if (err == EACCES && !stat(node, &st))
		return pn_fail(err,
			"%s is owned by %u:%u with mode %04o, and this process (uid %u) may not "
			"open it; as root: "
			"chmod 0666 %s (it gives no access to a device by itself)",
			node, (unsigned int)st.st_uid, (unsigned int)st.st_gid,
			(unsigned int)st.st_mode & 07777u, (unsigned int)geteuid(), node);
	if (err == ENOENT || err == ENODEV || err == ENXIO)
		return pn_fail(err, "%s is not there: %s", node, what);
	return pn_fail(err, "%s cannot be opened: %s", node, strerror(err));
}

int vfio_container_open(struct vfio_container *container, const char *node)
{
	int ret;

	memset(container, 0, sizeof(*container));
	container->fd = vfio_node_open(node, "no such node");
	if (container->fd < 0)
		return container->fd;
	ret = ioctl(container->fd, VFIO_GET_API_VERSION);
	if (ret < 0) {
		ret = pn_fail(errno, "%s does not answer VFIO_GET_API_VERSION: %s", node,
			strerror(errno));
		goto close_fd;
	}
	if (ret != VFIO_API_VERSION) {
		ret = pn_fail(EPROTO, "%s speaks VFIO version %d, Pinion speaks %d", node, ret,
			VFIO_API_VERSION);
		goto close_fd;
	}
	if (ioctl(container->fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1) {
		ret = pn_fail(EOPNOTSUPP, "%s does not offer VFIO_TYPE1v2_IOMMU", node);
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

static int fail_set_container(int err, const struct pn_dma_device *device)
{
	if (err == EPERM)
		return pn_fail(err,
			"group %d of device %s cannot join the container: interrupts are not "
			"remapped on this "
			"machine; turn interrupt remapping on in the firmware, or accept the risk: "
			"modprobe "
			"vfio_iommu_type1 allow_unsafe_interrupts=1 (iommufd: "
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
			return 0;
		}
	}
	group = calloc(1, sizeof(*group));
	if (!group)
		return pn_fail(ENOMEM, "no memory for a group");
	group->id = device->group;
	group->fd = vfio_group_open(device);
	if (group->fd < 0) {
		ret = group->fd;
		goto free_group;
	}
	if (ioctl(group->fd, VFIO_GROUP_SET_CONTAINER, &container->fd)) {
		ret = fail_set_container(errno, device);
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

/* Close a group that no device uses; closing takes it out of the container. */
static void group_put(struct vfio_container *container, struct vfio_group *group)
{
	struct vfio_group **at;

	if (group->devices)
		return;
	for (at = &container->groups; *at != group; at = &(*at)->next)
		;
	*at = group->next;
	close(group->fd);
	free(group);
	/* A type1 container forgets its IOMMU with its last group; iommufd does not mind being told
	 * again. */
	if (!container->groups)
		container->iommu_set = false;
}

static int set_iommu(struct vfio_container *container, const struct pn_dma_device *device)
{
	if (container->iommu_set)
		return 0;
	/* Always v2: v1 makes iommufd give up large IOMMU pages
	 * (vfio_compat.c:iommufd_vfio_set_iommu). */
	if (ioctl(container->fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)) {
		if (errno == EPERM)
			return fail_set_container(EPERM, device);
		return pn_fail(errno, "VFIO_SET_IOMMU for device %s: %s", device->address,
			strerror(errno));
	}
	container->iommu_set = true;
	return 0;
}

static int fail_get_device(int err, const struct pn_dma_device *device)
{
	switch (err) {
	case EBUSY:
		return pn_fail(err,
			"device %s is in use, or another device of its group %d is driven by the "
			"kernel",
			device->address, device->group);
	case EPERM:
		return pn_fail(err,
			"device %s may not be opened: a VF of a PF that vfio-pci drives needs its "
			"VF token, "
			"and interrupts must be remapped",
			device->address);
	case ENODEV:
		return pn_fail(err, "device %s is not bound to vfio-pci any more", device->address);
	case ENOTTY:
	case EINVAL:
		return pn_fail(err,
			"device %s cannot be opened (%s): vfio-pci refuses it; see dmesg",
			device->address, strerror(err));
	default:
		return pn_fail(err, "opening device %s: %s", device->address, strerror(err));
	}
}

int vfio_container_attach(
	struct vfio_container *container, const struct pn_dma_device *device, int *device_fd)
{
	struct vfio_device *entry;
	struct vfio_group *group = NULL;
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
	entry->fd = ioctl(group->fd, VFIO_GROUP_GET_DEVICE_FD, device->address);
	if (entry->fd < 0) {
		ret = fail_get_device(errno, device);
		goto put_group;
	}
	group->devices++;
	entry->group = group;
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

static int unmap_all(struct vfio_container *container)
{
	struct vfio_iommu_type1_dma_unmap all = {
		.argsz = sizeof(all), .flags = VFIO_DMA_UNMAP_FLAG_ALL};

	/* Linux 5.12 and newer. */
	if (ioctl(container->fd, VFIO_CHECK_EXTENSION, VFIO_UNMAP_ALL) == 0)
		return 0;
	return ioctl(container->fd, VFIO_IOMMU_UNMAP_DMA, &all) ? -errno : 0;
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
	if (entry == container->devices && !entry->next)
		ret = unmap_all(container);
	*at = entry->next;
	close(entry->fd);
	entry->group->devices--;
	group_put(container, entry->group);
	free(entry);
	return ret;
}

int vfio_container_map(struct vfio_container *container, uint64_t iova, uint64_t vaddr,
	uint64_t len, unsigned int prot)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map), .vaddr = vaddr, .iova = iova, .size = len};

	if (prot & PN_PROT_READ)
		map.flags |= VFIO_DMA_MAP_FLAG_READ;
	if (prot & PN_PROT_WRITE)
		map.flags |= VFIO_DMA_MAP_FLAG_WRITE;
	return ioctl(container->fd, VFIO_IOMMU_MAP_DMA, &map) ? -errno : 0;
}

int vfio_container_unmap(struct vfio_container *container, uint64_t iova, uint64_t len)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .iova = iova, .size = len};

	if (ioctl(container->fd, VFIO_IOMMU_UNMAP_DMA, &unmap))
		return -errno;
	/* The kernel says how much it removed; less is not what was asked for. */
	return unmap.size == len ? 0 : -EIO;
}

/* A capability of the chain behind VFIO_IOMMU_GET_INFO, checked to lie in the buffer with size
 * bytes; or NULL. */
static const void *find_cap(
	const struct vfio_iommu_type1_info *info, uint32_t have, uint16_t id, size_t size)
{
	const struct vfio_info_cap_header *header;
	uint32_t at, hops;

	if (!(info->flags & VFIO_IOMMU_INFO_CAPS))
		return NULL;
	at = info->cap_offset;
	for (hops = 0; at && hops < 64; hops++) {
		if (at < sizeof(*info) || at % 4 || at > have || have - at < sizeof(*header))
			return NULL;
		header = (const void *)((const char *)info + at);
		if (header->id == id)
			return have - at >= size ? header : NULL;
		at = header->next;
	}
	return NULL;
}

/* Copied out: iommufd puts this capability behind one of 12 bytes, so its 64-bit numbers are not
 * aligned. */
static struct pn_iova_range range_at(const void *cap, uint32_t i)
{
	struct vfio_iova_range range;

	memcpy(&range,
		(const char *)cap +
			offsetof(struct vfio_iommu_type1_info_cap_iova_range, iova_ranges) +
			i * sizeof(range),
		sizeof(range));
	return (struct pn_iova_range){range.start, range.end};
}

static int take_ranges(
	const struct vfio_iommu_type1_info *info, uint32_t have, struct pn_backend_limits *limits)
{
	const size_t head = offsetof(struct vfio_iommu_type1_info_cap_iova_range, iova_ranges);
	uint32_t i, count, room;
	const void *cap;

	cap = find_cap(info, have, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, head);
	if (!cap)
		return pn_fail(EOPNOTSUPP,
			"the kernel does not say which IOVAs are valid (Linux 5.4 and newer do)");
	memcpy(&count,
		(const char *)cap + offsetof(struct vfio_iommu_type1_info_cap_iova_range, nr_iovas),
		sizeof(count));
	room = (uint32_t)((have - (size_t)((const char *)cap - (const char *)info) - head) /
			  sizeof(struct vfio_iova_range));
	if (!count || count > room)
		return pn_fail(
			EPROTO, "VFIO_IOMMU_GET_INFO: %u IOVA ranges in room for %u", count, room);
	limits->ranges = calloc(count, sizeof(*limits->ranges));
	if (!limits->ranges)
		return pn_fail(ENOMEM, "no memory for %u IOVA ranges", count);
	for (i = 0; i < count; i++) {
		limits->ranges[i] = range_at(cap, i);
		if (limits->ranges[i].first > limits->ranges[i].last ||
			(i && limits->ranges[i].first <= limits->ranges[i - 1].last)) {
			free(limits->ranges);
			limits->ranges = NULL;
			return pn_fail(
				EPROTO, "VFIO_IOMMU_GET_INFO: IOVA range %u makes no sense", i);
		}
	}
	limits->range_count = count;
	return 0;
}

int vfio_container_limits(struct vfio_container *container, struct pn_backend_limits *limits)
{
	const struct vfio_iommu_type1_info_dma_avail *avail;
	struct vfio_iommu_type1_info *info = NULL, *more;
	uint32_t have, size = sizeof(*info) + 256;
	int ret;

	/* The kernel says how much room it wants; that can grow between two calls when a group
	 * joins. */
	for (;;) {
		more = realloc(info, size);
		if (!more) {
			ret = pn_fail(ENOMEM, "no memory for %u bytes of IOMMU information", size);
			goto out;
		}
		info = more;
		memset(info, 0, size);
		info->argsz = size;
		if (ioctl(container->fd, VFIO_IOMMU_GET_INFO, info)) {
			ret = pn_fail(errno, "VFIO_IOMMU_GET_INFO: %s", strerror(errno));
			goto out;
		}
		if (info->argsz <= size)
			break;
		if (info->argsz > 1u << 20) {
			ret = pn_fail(EPROTO, "VFIO_IOMMU_GET_INFO wants %u bytes", info->argsz);
			goto out;
		}
		size = info->argsz;
	}
	have = size;
	ret = take_ranges(info, have, limits);
	if (ret)
		goto out;
	limits->page_sizes = info->flags & VFIO_IOMMU_INFO_PGSIZES ? info->iova_pgsizes : 4096;
	if (!limits->page_sizes)
		limits->page_sizes = 4096;
	avail = find_cap(info, have, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, sizeof(*avail));
	limits->entries_left = avail && avail->avail != UINT32_MAX ? avail->avail : UINT64_MAX;
out:
	free(info);
	return ret;
}
