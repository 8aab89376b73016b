/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Native iommufd: address spaces (IOAS) of /dev/iommu, devices by their own nodes. Memory with a
 * file is mapped by that file where the kernel can (IOMMU_IOAS_MAP_FILE). Charges as iommufd-compat
 * does; dma-bufs of BARs cost nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base_priv.h"
#include "iommufd_abi.h"
#include "iommufd_priv.h"
#include "vfio_node.h"

#define DEVICES "/dev/vfio/devices"

/*
 * Probe and open
 */

/* A device that this process may open, by its own node. Without one, group nodes may do. */
static int check_devices(void)
{
	struct dirent *entry;
	unsigned int count = 0;
	bool granted = false;
	char path[64];
	DIR *dir;

	dir = opendir(DEVICES);
	while (dir && !granted && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "vfio", 4) != 0)
			continue;
		snprintf(path, sizeof(path), DEVICES "/%.32s", entry->d_name);
		granted = !faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS);
		count++;
	}
	if (dir)
		closedir(dir);
	if (granted)
		return 0;
	if (!count)
		return pn_fail(ENODEV,
			"no device has a node in " DEVICES ": none is bound to vfio-pci, or the "
			"kernel has no such nodes (CONFIG_VFIO_DEVICE_CDEV, Linux 6.6), or none "
			"was handed into this container");
	return pn_fail(EACCES,
		"of %u device nodes in " DEVICES " this process (uid %u) may open none; as root: "
		"pinion grant DEVICE --user %u",
		count, (unsigned int)geteuid(), (unsigned int)geteuid());
}

static int fail_alloc(int err, const char *name)
{
	if (err == ENOTTY)
		return pn_fail(
			EINVAL, "%s is not iommufd's (it does not answer IOMMU_OPTION)", name);
	if (err == EPERM)
		return pn_fail(err,
			"%s makes no address space (IOMMU_IOAS_ALLOC): not permitted; the seccomp "
			"filter of a container must allow ioctl() on it",
			name);
	return pn_fail(
		err, "%s makes no address space (IOMMU_IOAS_ALLOC): %s", name, strerror(err));
}

/* 0 or a negative errno with the reason. */
static int alloc_ioas(int fd, const char *name, uint32_t *id)
{
	struct iommufd_ioas_alloc alloc = {.size = sizeof(alloc)};

	if (ioctl(fd, IOMMUFD_IOAS_ALLOC, &alloc))
		return fail_alloc(errno, name);
	*id = alloc.out_ioas_id;
	return 0;
}

/* What was handed in is left as it is while only looking. */
static int open_file(const struct pn_backend_request *request, bool looking, bool *mm)
{
	enum pn_accounting wanted = request->accounting;
	char name[VFIO_NODE_NAME];
	int fd, ret;

	vfio_node_name(request, IOMMUFD_NODE, name);
	fd = vfio_node_get(request, IOMMUFD_NODE,
		"this kernel has no iommufd (CONFIG_IOMMUFD), or its module is not loaded (as "
		"root: modprobe iommufd), or it was not handed into this container (--device "
		"/dev/iommu)");
	if (fd < 0)
		return fd;
	if (!vfio_node_is_iommufd(fd, mm)) {
		ret = pn_fail(request->use_fd ? EINVAL : EOPNOTSUPP,
			"%s is not iommufd's (it does not answer IOMMU_OPTION)", name);
		goto close_fd;
	}
	if (looking && request->use_fd)
		wanted = PN_ACCOUNTING_ANY;
	ret = iommufd_accounting(fd, name, wanted, mm);
	if (!ret)
		return fd;
close_fd:
	close(fd);
	return ret;
}

static int native_probe(const struct pn_backend_request *request, char *found, size_t found_size)
{
	struct iommufd_destroy destroy = {.size = sizeof(destroy)};
	const struct iommufd *beside = request->beside;
	char name[VFIO_NODE_NAME];
	bool mm;
	int fd, ret;

	vfio_node_name(request, IOMMUFD_NODE, name);
	snprintf(found, found_size, "%s",
		beside            ? beside->file->node
		: request->use_fd ? ""
				  : name);
	if (beside)
		return 0;
	fd = open_file(request, true, &mm);
	if (fd < 0)
		return fd;
	ret = alloc_ioas(fd, name, &destroy.id);
	if (!ret)
		(void)ioctl(fd, IOMMUFD_DESTROY, &destroy);
	close(fd);
	if (!ret && !request->use_fd)
		ret = check_devices();
	return ret;
}

static int get_file(struct iommufd *ctx, const struct pn_backend_request *request)
{
	struct iommufd *beside = request->beside;
	char name[VFIO_NODE_NAME];
	bool mm;
	int fd, ret;

	if (beside) {
		ret = iommufd_accounting(
			beside->file->fd, "the other domain's iommufd", request->accounting, &mm);
		if (!ret)
			ctx->file = iommufd_file_get(beside->file);
		return ret;
	}
	fd = open_file(request, false, &mm);
	if (fd < 0)
		return fd;
	ret = iommufd_file_new(&ctx->file, fd,
		request->use_fd ? "" : vfio_node_name(request, IOMMUFD_NODE, name), mm);
	if (ret)
		close(fd);
	return ret;
}

static int native_open(void **out, const struct pn_backend_request *request)
{
	struct iommufd *ctx = calloc(1, sizeof(*ctx));
	char name[VFIO_NODE_NAME];
	int ret;

	if (!ctx)
		return pn_fail(ENOMEM, "no memory for an address space");
	ctx->track = request->dirty_tracking;
	ret = get_file(ctx, request);
	if (ret)
		goto free_ctx;
	ret = alloc_ioas(ctx->file->fd, vfio_node_name(request, IOMMUFD_NODE, name), &ctx->ioas);
	if (ret)
		goto put_file;
	*out = ctx;
	return 0;

put_file:
	iommufd_file_put(ctx->file);
free_ctx:
	free(ctx);
	return ret;
}

static void native_close(void *opaque)
{
	struct iommufd *ctx = opaque;
	int ret;

	/* The file may live on: with another context, or with who handed it in. */
	ret = iommufd_destroy_object(ctx->file, ctx->ioas);
	if (ret)
		pn_log(PN_LOG_WARNING, "an address space stays in the iommufd: %s", strerror(-ret));
	iommufd_file_put(ctx->file);
	free(ctx);
}

/*
 * Map
 */

static uint32_t map_flags(const struct pn_backend_map *map)
{
	return IOMMUFD_MAP_FIXED_IOVA |
	       (map->prot & PN_PROT_READ ? (uint32_t)IOMMUFD_MAP_READABLE : 0) |
	       (map->prot & PN_PROT_WRITE ? (uint32_t)IOMMUFD_MAP_WRITEABLE : 0);
}

/* memfd_pin_folios() takes files of these only. */
static bool is_memory_file(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && (fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC);
}

/*
 * The kernel looks at neither when it maps by a file; by address, the protection of the mapping in
 * memory would stop a device from writing.
 */
static int check_writable(const struct pn_backend_map *map)
{
	int flags, seals;

	if (!(map->prot & PN_PROT_WRITE))
		return 0;
	flags = fcntl(map->fd, F_GETFL);
	if (flags < 0)
		return -errno;
	if ((flags & O_ACCMODE) != O_RDWR)
		return -EACCES;
	seals = fcntl(map->fd, F_GET_SEALS);
	return seals > 0 && seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) ? -EPERM : 0;
}

static int map_file(struct iommufd *ctx, struct pn_backend_map *map)
{
	struct iommufd_ioas_map_file request = {.size = sizeof(request),
		.flags = map_flags(map),
		.ioas_id = ctx->ioas,
		.fd = map->fd,
		.start = map->fd_offset,
		.length = map->len,
		.iova = map->iova};
	int ret;

	map->call = "IOMMU_IOAS_MAP_FILE";
	ret = map->dmabuf ? 0 : check_writable(map);
	if (ret)
		return ret;
	if (ioctl(ctx->file->fd, IOMMUFD_IOAS_MAP_FILE, &request))
		return -errno;
	map->uncharged = map->dmabuf;
	return 0;
}

static int map_address(struct iommufd *ctx, const struct pn_backend_map *map)
{
	struct iommufd_ioas_map request = {.size = sizeof(request),
		.flags = map_flags(map),
		.ioas_id = ctx->ioas,
		.user_va = map->vaddr,
		.length = map->len,
		.iova = map->iova};

	return ioctl(ctx->file->fd, IOMMUFD_IOAS_MAP, &request) ? -errno : 0;
}

static int map_device(struct iommufd *ctx, struct pn_backend_map *map)
{
	int ret;

	if (!map->dmabuf || map->fd < 0)
		return pn_fail(EOPNOTSUPP,
			"iommufd maps device memory (a BAR) by its dma-buf only, and there is none "
			"(the kernel exports one from Linux 6.19 on); type1 maps it by address");
	ret = ctx->file->maps_files ? map_file(ctx, map) : -EINVAL;
	if (ret == -EINVAL)
		return pn_fail(EOPNOTSUPP,
			"this kernel's iommufd maps no dma-buf of a BAR (Linux 6.19 and newer do); "
			"type1 maps the BAR by address");
	return ret;
}

/*
 * The kernel's answer is the last step of its calls (iommufd_ucmd_respond): an EFAULT may mean that
 * only this failed, after what was asked has been done.
 */

static int native_unmap(void *opaque, uint64_t iova, uint64_t len)
{
	struct iommufd *ctx = opaque;
	uint64_t removed = len;
	int ret = iommufd_unmap(ctx, iova, &removed);

	/* Removed the first time, it is not there the second time. */
	if (ret == -EFAULT) {
		ret = iommufd_unmap(ctx, iova, &removed);
		if (ret == -ENOENT)
			return 0;
		/* Refused for another reason, the second question was not answered either. */
		if (ret)
			return -EFAULT;
	}
	if (ret)
		return ret;
	/* Less is not what was asked for. */
	return removed == len ? 0 : -EIO;
}

/* What a map or copy returned; with EFAULT, what it may have made is removed. */
static int settle(struct iommufd *ctx, const struct pn_backend_map *map, int ret)
{
	int err;

	if (ret != -EFAULT)
		return ret;
	err = native_unmap(ctx, map->iova, map->len);
	if (err && err != -ENOENT)
		ctx->unsettled = true;
	return ret;
}

static int native_map(void *opaque, struct pn_backend_map *map)
{
	struct iommufd *ctx = opaque;
	int ret;

	if (map->device || map->dmabuf)
		ret = map_device(ctx, map);
	else if (ctx->file->maps_files && map->fd >= 0 && is_memory_file(map->fd))
		ret = map_file(ctx, map);
	else
		ret = map_address(ctx, map);
	return settle(ctx, map, ret);
}

static int native_copy(
	void *opaque, void *from_opaque, uint64_t from_iova, struct pn_backend_map *map)
{
	struct iommufd *ctx = opaque, *from = from_opaque;
	struct iommufd_ioas_copy request = {.size = sizeof(request),
		.flags = map_flags(map),
		.dst_ioas_id = ctx->ioas,
		.src_ioas_id = from->ioas,
		.length = map->len,
		.dst_iova = map->iova,
		.src_iova = from_iova};

	map->call = "IOMMU_IOAS_COPY";
	if (ctx->file != from->file)
		return -EINVAL;
	return settle(ctx, map, ioctl(ctx->file->fd, IOMMUFD_IOAS_COPY, &request) ? -errno : 0);
}

/*
 * Limits and charge
 */

static int check_ranges(const struct iommufd_ioas_iova_ranges *request,
	const struct iommufd_iova_range *ranges, uint32_t room)
{
	uint64_t alignment = request->out_iova_alignment;
	uint32_t i;

	if (!request->num_iovas || request->num_iovas > room)
		return pn_fail(EPROTO, "IOMMU_IOAS_IOVA_RANGES: %u ranges in room for %u",
			request->num_iovas, room);
	if (!pn_is_pow2(alignment))
		return pn_fail(EPROTO, "IOMMU_IOAS_IOVA_RANGES: an alignment of %llu",
			(unsigned long long)alignment);
	for (i = 0; i < request->num_iovas; i++) {
		if (ranges[i].start > ranges[i].last ||
			(i && ranges[i].start <= ranges[i - 1].last))
			return pn_fail(
				EPROTO, "IOMMU_IOAS_IOVA_RANGES: range %u makes no sense", i);
	}
	return 0;
}

static int take_ranges(
	struct pn_backend_limits *limits, const struct iommufd_iova_range *ranges, uint32_t count)
{
	uint32_t i;

	limits->ranges = calloc(count, sizeof(*limits->ranges));
	if (!limits->ranges)
		return pn_fail(ENOMEM, "no memory for %u IOVA ranges", count);
	for (i = 0; i < count; i++)
		limits->ranges[i] = (struct pn_iova_range){ranges[i].start, ranges[i].last};
	limits->range_count = count;
	return 0;
}

static int native_limits(void *opaque, struct pn_backend_limits *limits)
{
	struct iommufd *ctx = opaque;
	struct iommufd_ioas_iova_ranges request = {0};
	struct iommufd_iova_range *ranges = NULL, *more;
	uint32_t room = 16;
	int ret;

	/* The kernel says how much room it wants; that can grow between two calls. */
	for (;;) {
		more = reallocarray(ranges, room, sizeof(*ranges));
		if (!more) {
			ret = pn_fail(ENOMEM, "no memory for %u IOVA ranges", room);
			goto free_ranges;
		}
		ranges = more;
		request = (struct iommufd_ioas_iova_ranges){.size = sizeof(request),
			.ioas_id = ctx->ioas,
			.num_iovas = room,
			.allowed_iovas = (uint64_t)(uintptr_t)ranges};
		if (!ioctl(ctx->file->fd, IOMMUFD_IOAS_IOVA_RANGES, &request))
			break;
		if (errno != EMSGSIZE) {
			ret = pn_fail(errno, "IOMMU_IOAS_IOVA_RANGES: %s", strerror(errno));
			goto free_ranges;
		}
		if (request.num_iovas <= room || request.num_iovas > 1u << 16) {
			ret = pn_fail(EPROTO, "IOMMU_IOAS_IOVA_RANGES wants room for %u ranges",
				request.num_iovas);
			goto free_ranges;
		}
		room = request.num_iovas;
	}
	ret = check_ranges(&request, ranges, room);
	if (!ret)
		ret = take_ranges(limits, ranges, request.num_iovas);
	if (ret)
		goto free_ranges;
	limits->page_sizes = iommufd_file_page_sizes(ctx->file, ctx->ioas,
		request.out_iova_alignment > 4096 ? request.out_iova_alignment : 4096);
	limits->entries_left = UINT64_MAX;
free_ranges:
	free(ranges);
	return ret;
}

static void native_charge(void *opaque, struct pn_charge_rule *rule)
{
	const struct iommufd *ctx = opaque;

	iommufd_charge_rule(ctx->file->mm, "iommufd", rule);
}

/*
 * The rest is in iommufd_device.c, iommufd_dirty.c and iommufd_handover.c.
 */

static int native_attach(void *ctx, const struct pn_dma_device *device, int *device_fd)
{
	return iommufd_attach(ctx, device, device_fd);
}

static int native_detach(void *ctx, int device_fd)
{
	return iommufd_detach(ctx, device_fd);
}

static int native_dirty_set(void *ctx, bool on)
{
	return iommufd_dirty_set(ctx, on);
}

static int native_dirty_read(
	void *ctx, uint64_t iova, uint64_t len, uint64_t page_size, uint64_t *bitmap)
{
	return iommufd_dirty_read(ctx, iova, len, page_size, bitmap);
}

static int native_suspend(void *ctx)
{
	return iommufd_suspend(ctx);
}

/* Mappings of files have no virtual address that could end. */
static int native_resume_map(void *ctx, const struct pn_backend_map *map)
{
	(void)ctx;
	(void)map;
	return 0;
}

static int native_resume(void *ctx)
{
	return iommufd_resume(ctx);
}

static int native_save(void *ctx, json_t *state)
{
	return iommufd_save(ctx, state);
}

static int native_restore(void **out, const json_t *state)
{
	struct iommufd *ctx = calloc(1, sizeof(*ctx));
	int ret;

	if (!ctx)
		return pn_fail(ENOMEM, "no memory for an address space");
	ret = iommufd_restore(ctx, state);
	if (ret)
		free(ctx);
	else
		*out = ctx;
	return ret;
}

static bool native_stuck(void *ptr)
{
	const struct iommufd *ctx = ptr;

	return ctx->stuck || ctx->unsettled;
}

static void native_abandon(void *ptr)
{
	struct iommufd *ctx = ptr;

	iommufd_forget(ctx);
	iommufd_file_abandon(ctx->file);
	free(ctx);
}

extern const struct pn_backend pn_backend_iommufd;
const struct pn_backend pn_backend_iommufd = {
	.name = "iommufd",
	.summary = "iommufd and the devices' own nodes; charges the user, or the process",
	.map_call = "IOMMU_IOAS_MAP",
	.unmap_call = "IOMMU_IOAS_UNMAP",
	.probe = native_probe,
	.open = native_open,
	.close = native_close,
	.attach = native_attach,
	.detach = native_detach,
	.stuck = native_stuck,
	.map = native_map,
	.unmap = native_unmap,
	.copy = native_copy,
	.limits = native_limits,
	.charge = native_charge,
	.dirty_set = native_dirty_set,
	.dirty_read = native_dirty_read,
	.suspend = native_suspend,
	.resume_map = native_resume_map,
	.resume = native_resume,
	.save = native_save,
	.restore = native_restore,
	.abandon = native_abandon,
};
