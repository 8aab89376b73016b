/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Handing a native iommufd over to a new program: mappings of files stay, and their charge moves
 * (IOMMU_IOAS_CHANGE_PROCESS, Linux 6.14).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base_priv.h"
#include "inherited.h"
#include "iommufd_abi.h"
#include "iommufd_priv.h"
#include "vfio_node.h"

/* 0 or a negative errno. No text. */
static int change_process(struct iommufd *ctx)
{
	struct iommufd_ioas_change_process change = {.size = sizeof(change)};

	return ioctl(ctx->file->fd, IOMMUFD_IOAS_CHANGE_PROCESS, &change) ? -errno : 0;
}

int iommufd_suspend(struct iommufd *ctx)
{
	unsigned int users;
	int ret;

	pthread_mutex_lock(&ctx->file->lock);
	users = ctx->file->users;
	pthread_mutex_unlock(&ctx->file->lock);
	if (users > 1)
		return pn_fail(EOPNOTSUPP,
			"the domain shares its iommufd with another one (beside), and charges move "
			"for all of them: hand over one that stands alone");
	/* To ourselves, which changes nothing: the kernel says whether it could to another. */
	ret = change_process(ctx);
	switch (ret) {
	case 0:
		return 0;
	case -ENOTTY:
		return pn_fail(EOPNOTSUPP,
			"not on this kernel: native iommufd hands over from Linux 6.14 on "
			"(IOMMU_IOAS_CHANGE_PROCESS); type1 can");
	case -EINVAL:
		return pn_fail(EOPNOTSUPP,
			"something is mapped by its address, or by a dma-buf: native iommufd hands "
			"over only memory that is mapped by its file (IOMMU_IOAS_CHANGE_PROCESS)");
	default:
		return pn_fail(-ret, "IOMMU_IOAS_CHANGE_PROCESS: %s", strerror(-ret));
	}
}

/* All files of a context inherited, or none of them. */
static int inherit_all(struct iommufd *ctx, bool inherit)
{
	const struct iommufd_device *device;
	int ret = handover_inherit(ctx->file->fd, inherit);

	for (device = ctx->devices; device && !ret; device = device->next)
		ret = handover_inherit(device->fd, inherit);
	return ret;
}

int iommufd_resume(struct iommufd *ctx)
{
	int ret = change_process(ctx);

	if (ret == -ENOMEM && !ctx->file->mm)
		return pn_fail(ENOMEM,
			"the charges cannot move to this process (IOMMU_IOAS_CHANGE_PROCESS): "
			"while they do, the kernel counts "
			"them twice for the user, so that RLIMIT_MEMLOCK has to leave room for all "
			"mappings once more; raise it, or let the iommufd account by process");
	if (ret == -ENOMEM)
		return pn_fail(ENOMEM, "the charges cannot move to this process "
				       "(IOMMU_IOAS_CHANGE_PROCESS): RLIMIT_MEMLOCK "
				       "leaves no room for "
				       "all mappings; raise it");
	if (ret)
		return pn_fail(-ret,
			"moving the charges to this process "
			"(IOMMU_IOAS_CHANGE_PROCESS): %s",
			strerror(-ret));
	return inherit_all(ctx, false);
}

static int append(json_t *array, json_t *entry)
{
	return entry && !json_array_append_new(array, entry) ? 0 : -ENOMEM;
}

int iommufd_save(struct iommufd *ctx, json_t *state)
{
	json_t *hwpts = json_array(), *devices = json_array();
	const struct iommufd_device *device;
	const struct iommufd_hwpt *hwpt;
	int ret = hwpts && devices ? 0 : -ENOMEM;

	for (hwpt = ctx->hwpts; hwpt && !ret; hwpt = hwpt->next)
		ret = append(hwpts, json_integer(hwpt->id));
	/* An IOAS and a page table never have the same id: 0 is nobody's. */
	for (device = ctx->devices; device && !ret; device = device->next)
		ret = append(devices, json_pack("{ss si sI sI}", "address", device->address, "fd",
					      device->fd, "id", (json_int_t)device->dev_id, "hwpt",
					      (json_int_t)(device->hwpt ? device->hwpt->id : 0)));
	if (!ret && (json_object_set_new(state, "file", json_integer(ctx->file->fd)) ||
			    json_object_set_new(state, "ioas", json_integer(ctx->ioas)) ||
			    json_object_set_new(state, "track", json_boolean(ctx->track)) ||
			    json_object_set_new(state, "dirty", json_boolean(ctx->dirty)) ||
			    json_object_set(state, "hwpts", hwpts) ||
			    json_object_set(state, "devices", devices)))
		ret = -ENOMEM;
	json_decref(hwpts);
	json_decref(devices);
	if (ret)
		return pn_fail(ENOMEM, "no memory for the state of an iommufd");
	ret = inherit_all(ctx, true);
	if (ret)
		(void)inherit_all(ctx, false);
	return ret;
}

/*
 * Restore
 */

static struct iommufd_hwpt *hwpt_by_id(struct iommufd *ctx, uint32_t id)
{
	struct iommufd_hwpt *hwpt = ctx->hwpts;

	while (hwpt && hwpt->id != id)
		hwpt = hwpt->next;
	return hwpt;
}

static int restore_hwpts(struct iommufd *ctx, const json_t *state)
{
	const json_t *list = handover_get_array(state, "hwpts"), *entry;
	struct iommufd_hwpt *hwpt;
	size_t i;

	if (!list)
		return -EINVAL;
	for (i = json_array_size(list); i-- > 0;) {
		entry = json_array_get(list, i);
		if (json_integer_value(entry) <= 0 || json_integer_value(entry) > UINT32_MAX ||
			hwpt_by_id(ctx, (uint32_t)json_integer_value(entry)))
			return pn_fail(EINVAL, "the state of the domain has a wrong page table");
		hwpt = calloc(1, sizeof(*hwpt));
		if (!hwpt)
			return pn_fail(ENOMEM, "no memory for a page table");
		hwpt->id = (uint32_t)json_integer_value(entry);
		hwpt->next = ctx->hwpts;
		ctx->hwpts = hwpt;
	}
	return 0;
}

static bool is_taken(const struct iommufd *ctx, int file, int fd)
{
	const struct iommufd_device *device = ctx->devices;

	while (device && device->fd != fd)
		device = device->next;
	return device || fd == file;
}

static int restore_device(struct iommufd *ctx, int file, const json_t *state)
{
	struct iommufd_device *device = calloc(1, sizeof(*device));
	uint32_t hwpt = 0;
	int ret;

	if (!device)
		return pn_fail(ENOMEM, "no memory for a device");
	ret = handover_get_fd(state, "fd", &device->fd);
	if (!ret)
		ret = handover_get_u32(state, "id", &device->dev_id);
	if (!ret)
		ret = handover_get_u32(state, "hwpt", &hwpt);
	if (!ret)
		ret = handover_get_address(state, device->address);
	if (!ret)
		ret = handover_check_device(device->fd, device->address);
	device->hwpt = hwpt ? hwpt_by_id(ctx, hwpt) : NULL;
	if (!ret && ((hwpt && !device->hwpt) || is_taken(ctx, file, device->fd)))
		ret = pn_fail(EINVAL,
			"the state of the domain has device %s with a page table (%u) or a file "
			"(%d) that it cannot have",
			device->address, hwpt, device->fd);
	if (ret) {
		free(device);
		return ret;
	}
	if (device->hwpt)
		device->hwpt->devices++;
	device->next = ctx->devices;
	ctx->devices = device;
	return 0;
}

void iommufd_forget(struct iommufd *ctx)
{
	struct iommufd_device *device;
	struct iommufd_hwpt *hwpt;

	while ((device = ctx->devices)) {
		ctx->devices = device->next;
		free(device);
	}
	while ((hwpt = ctx->hwpts)) {
		ctx->hwpts = hwpt->next;
		free(hwpt);
	}
}

static int restore_members(struct iommufd *ctx, const json_t *state, int *fd, bool *mm)
{
	struct iommufd_ioas_iova_ranges ranges = {.size = sizeof(ranges)};
	const json_t *list;
	size_t i;
	int ret;

	ret = handover_get_fd(state, "file", fd);
	if (!ret && !vfio_node_is_iommufd(*fd, mm))
		ret = pn_fail(EINVAL, "file descriptor %d is not iommufd's", *fd);
	if (!ret)
		ret = handover_get_u32(state, "ioas", &ctx->ioas);
	ranges.ioas_id = ctx->ioas;
	/* No room for any: what is asked is whether there is such an IOAS. */
	if (!ret && ioctl(*fd, IOMMUFD_IOAS_IOVA_RANGES, &ranges) && errno != EMSGSIZE)
		ret = pn_fail(EINVAL, "the iommufd (file descriptor %d) has no address space %u",
			*fd, ctx->ioas);
	if (!ret)
		ret = handover_get_bool(state, "track", &ctx->track);
	if (!ret)
		ret = handover_get_bool(state, "dirty", &ctx->dirty);
	if (!ret)
		ret = restore_hwpts(ctx, state);
	if (ret)
		return ret;
	list = handover_get_array(state, "devices");
	if (!list)
		return -EINVAL;
	for (i = json_array_size(list); i-- > 0 && !ret;)
		ret = restore_device(ctx, *fd, json_array_get(list, i));
	return ret;
}

int iommufd_restore(struct iommufd *ctx, const json_t *state)
{
	bool mm = false;
	int fd = -1, ret;

	ret = restore_members(ctx, state, &fd, &mm);
	if (!ret)
		ret = iommufd_file_new(&ctx->file, fd, "", mm);
	if (ret)
		goto forget;
	ret = inherit_all(ctx, false);
	if (!ret)
		return 0;
	pthread_mutex_destroy(&ctx->file->lock);
	free(ctx->file);
forget:
	iommufd_forget(ctx);
	return ret;
}
