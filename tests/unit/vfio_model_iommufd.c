/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The model's iommufd: its objects and its own requests (drivers/iommu/iommufd of Linux 6.12, with
 * IOMMU_IOAS_MAP_FILE of 6.13 and IOMMU_IOAS_CHANGE_PROCESS of 6.14).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vfio_model_ioas.h"
#include "vfio_model_priv.h"

#define IOMMUFDS 16

static struct iommufd iommufds[IOMMUFDS];

struct iommufd *iommufd_new(bool vfio_node)
{
	struct iommufd *iommufd = iommufds;

	while (iommufd->live)
		if (++iommufd == iommufds + IOMMUFDS)
			abort();
	memset(iommufd, 0, sizeof(*iommufd));
	iommufd->live = true;
	iommufd->vfio_node = iommufd->mm = vfio_node;
	iommufd->refs = 1;
	return iommufd;
}

void iommufds_forget(void)
{
	memset(iommufds, 0, sizeof(iommufds));
}

/* Without the IOAS that the first group brings with it: that stays as long as the file. */
unsigned int iommufds_objects(void)
{
	unsigned int count = 0;

	for (size_t i = 0; i < IOMMUFDS; i++)
		for (size_t at = 0; iommufds[i].live && at < OBJECTS; at++) {
			const struct object *object = &iommufds[i].objects[at];

			count += object->type != OBJECT_NONE &&
				 !(object->type == OBJECT_IOAS && object->automatic);
		}
	return count;
}

/* Leaves of the graph first. */
void iommufd_put(struct iommufd *iommufd)
{
	bool left = true;

	if (--iommufd->refs)
		return;
	while (left) {
		left = false;
		for (size_t i = 0; i < OBJECTS; i++) {
			if (iommufd->objects[i].type == OBJECT_NONE)
				continue;
			left = true;
			object_destroy(iommufd, &iommufd->objects[i]);
		}
	}
	iommufd->live = false;
}

/* Objects. */

struct object *object_new(struct iommufd *iommufd, enum object_type type)
{
	struct object *object = iommufd->objects;

	while (object->type != OBJECT_NONE)
		if (++object == iommufd->objects + OBJECTS)
			abort();
	memset(object, 0, sizeof(*object));
	object->type = type;
	return object;
}

uint32_t object_id(const struct iommufd *iommufd, const struct object *object)
{
	return (uint32_t)(object - iommufd->objects) + 1;
}

struct object *object_get(struct iommufd *iommufd, uint32_t id, enum object_type type)
{
	struct object *object = id && id <= OBJECTS ? &iommufd->objects[id - 1] : NULL;

	if (!object || object->type == OBJECT_NONE)
		return NULL;
	return type == OBJECT_NONE || type == object->type ? object : NULL;
}

int object_destroy(struct iommufd *iommufd, struct object *object)
{
	if (object->users)
		return -EBUSY;
	if (object->type == OBJECT_IOAS) {
		space_free(object->space);
		if (iommufd->vfio_ioas == object)
			iommufd->vfio_ioas = NULL;
	} else if (object->type == OBJECT_HWPT) {
		space_remove_domain(object->ioas->space);
		object->ioas->users--;
	}
	object->type = OBJECT_NONE;
	return 0;
}

struct object *ioas_new(struct iommufd *iommufd)
{
	struct object *ioas = object_new(iommufd, OBJECT_IOAS);

	ioas->space = space_new(false);
	return ioas;
}

int hwpt_new(struct iommufd *iommufd, struct object *ioas, bool dirty, struct object **out)
{
	int ret;

	/* iopt_table_add_domain(): pages smaller than the processor's, or none. */
	if ((model.page_sizes & -model.page_sizes) > 4096)
		return -EINVAL;
	ret = space_add_domain(ioas->space);
	if (ret)
		return ret;
	*out = object_new(iommufd, OBJECT_HWPT);
	(*out)->ioas = ioas;
	(*out)->dirty = dirty;
	ioas->users++;
	return 0;
}

/* Options. */

static int rlimit_mode(struct iommufd *iommufd, struct k_option *args)
{
	if (args->id)
		return -EOPNOTSUPP;
	if (args->op == K_OPTION_GET) {
		args->value = iommufd->mm;
		return 0;
	}
	if (args->op != K_OPTION_SET)
		return -EOPNOTSUPP;
	if (!model.cap_sys_resource)
		return -EPERM;
	for (size_t i = 0; i < OBJECTS; i++)
		if (iommufd->objects[i].type != OBJECT_NONE)
			return -EBUSY;
	if (args->value > 1)
		return -EINVAL;
	iommufd->mm = args->value;
	return 0;
}

static int huge_pages(struct iommufd *iommufd, struct k_option *args)
{
	struct object *ioas = object_get(iommufd, args->id, OBJECT_IOAS);

	if (!ioas)
		return -ENOENT;
	if (args->op == K_OPTION_GET) {
		args->value = !ioas->space->huge_pages_off;
		return 0;
	}
	if (args->op != K_OPTION_SET)
		return -EOPNOTSUPP;
	if (args->value > 1)
		return -EINVAL;
	if (!args->value && ioas->space->domains && ioas->space->count)
		return -EINVAL;
	ioas->space->huge_pages_off = !args->value;
	return 0;
}

static int do_option(struct iommufd *iommufd, struct k_option *args)
{
	if (args->reserved)
		return -EOPNOTSUPP;
	switch (args->option) {
	case K_OPTION_RLIMIT_MODE:
		return rlimit_mode(iommufd, args);
	case K_OPTION_HUGE_PAGES:
		return huge_pages(iommufd, args);
	default:
		return -EOPNOTSUPP;
	}
}

static int do_vfio_ioas(struct iommufd *iommufd, struct k_vfio_ioas *args)
{
	struct object *ioas;

	if (args->reserved)
		return -EOPNOTSUPP;
	switch (args->op) {
	case K_VFIO_IOAS_GET:
		if (!iommufd->vfio_ioas)
			return -ENODEV;
		args->id = object_id(iommufd, iommufd->vfio_ioas);
		return 0;
	case K_VFIO_IOAS_SET:
		ioas = object_get(iommufd, args->id, OBJECT_IOAS);
		if (!ioas)
			return -ENOENT;
		iommufd->vfio_ioas = ioas;
		return 0;
	case K_VFIO_IOAS_CLEAR:
		iommufd->vfio_ioas = NULL;
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

/* Page tables and what was written. */

static int do_hwpt_alloc(struct iommufd *iommufd, struct k_hwpt_alloc *args)
{
	bool dirty = args->flags & K_HWPT_DIRTY_TRACKING;
	struct object *ioas, *hwpt;
	int ret;

	if (args->reserved)
		return -EOPNOTSUPP;
	if (!args->data_type != !args->data_len)
		return -EINVAL;
	if (!object_get(iommufd, args->device, OBJECT_DEVICE))
		return -ENOENT;
	ioas = object_get(iommufd, args->pt, OBJECT_IOAS);
	if (!ioas)
		return -EINVAL;
	if (args->flags & ~K_HWPT_DIRTY_TRACKING || args->data_type || (dirty && !model.dirty))
		return -EOPNOTSUPP;
	ret = hwpt_new(iommufd, ioas, dirty, &hwpt);
	if (!ret)
		args->out_id = object_id(iommufd, hwpt);
	return ret;
}

static int do_hw_info(struct iommufd *iommufd, struct k_hw_info *args)
{
	if (args->flags || args->reserved)
		return -EOPNOTSUPP;
	if (!object_get(iommufd, args->device, OBJECT_DEVICE))
		return -ENOENT;
	args->data_len = 0;
	args->out_type = 0;
	args->out_capabilities = model.dirty;
	return 0;
}

static int do_set_dirty(struct iommufd *iommufd, const struct k_hwpt_set_dirty *args)
{
	struct object *hwpt = object_get(iommufd, args->id, OBJECT_HWPT);

	if (args->flags & ~K_DIRTY_ENABLE)
		return -EOPNOTSUPP;
	if (!hwpt)
		return -ENOENT;
	if (!hwpt->dirty)
		return -EOPNOTSUPP;
	hwpt->tracking = args->flags & K_DIRTY_ENABLE;
	if (hwpt->tracking)
		dirty_clear(hwpt->ioas->space, 0, UINT64_MAX);
	return 0;
}

static int do_get_dirty(struct iommufd *iommufd, const struct k_hwpt_get_dirty *args)
{
	struct object *hwpt = object_get(iommufd, args->id, OBJECT_HWPT);
	uint64_t last = args->iova + (args->length - 1), page = args->page_size, bit;
	uint64_t *words = (uint64_t *)(uintptr_t)args->data;

	if (args->flags & ~K_DIRTY_NO_CLEAR || args->reserved)
		return -EOPNOTSUPP;
	if (!hwpt)
		return -ENOENT;
	if (!args->length)
		return -EINVAL;
	if (last < args->iova)
		return -EOVERFLOW;
	if ((args->iova | (last + 1)) & 4095 || !page || (args->iova | (last + 1)) & (page - 1))
		return -EINVAL;
	if (!hwpt->dirty)
		return -EOPNOTSUPP;
	/* Linux 6.12 drops what the driver says: tracking that is off gives an empty bitmap. */
	for (uint64_t at = args->iova; hwpt->tracking && at <= last; at += 4096) {
		bit = (at - args->iova) / page;
		if (dirty_is(hwpt->ioas->space, at))
			words[bit / 64] |= UINT64_C(1) << bit % 64;
	}
	if (hwpt->tracking && !(args->flags & K_DIRTY_NO_CLEAR))
		dirty_clear(hwpt->ioas->space, args->iova, args->length);
	return 0;
}

/* The frame of every request: sizes first, as iommufd_fops_ioctl() has it. */

union request {
	struct k_destroy destroy;
	struct k_ioas_alloc alloc;
	struct k_ioas_copy copy;
	struct k_ioas_ranges ranges;
	struct k_ioas_map map;
	struct k_ioas_map_file map_file;
	struct k_ioas_unmap unmap;
	struct k_option option;
	struct k_vfio_ioas vfio_ioas;
	struct k_hwpt_alloc hwpt_alloc;
	struct k_hw_info hw_info;
	struct k_hwpt_set_dirty set_dirty;
	struct k_hwpt_get_dirty get_dirty;
	struct k_change_process change_process;
	unsigned char bytes[64];
};

static int execute(struct iommufd *iommufd, unsigned long number, union request *args)
{
	struct object *object;

	switch (number) {
	case K_DESTROY:
		object = object_get(iommufd, args->destroy.id, OBJECT_NONE);
		return object ? object_destroy(iommufd, object) : -ENOENT;
	case K_IOAS_ALLOC:
		if (args->alloc.flags)
			return -EOPNOTSUPP;
		args->alloc.out_id = object_id(iommufd, ioas_new(iommufd));
		return 0;
	case K_IOAS_COPY:
		return ioas_do_copy(iommufd, &args->copy);
	case K_IOAS_RANGES:
		return ioas_do_ranges(iommufd, &args->ranges);
	case K_IOAS_MAP:
		return ioas_do_map(iommufd, &args->map);
	case K_IOAS_MAP_FILE:
		return ioas_do_map_file(iommufd, &args->map_file);
	case K_IOAS_UNMAP:
		return ioas_do_unmap(iommufd, &args->unmap);
	case K_OPTION:
		return do_option(iommufd, &args->option);
	case K_VFIO_IOAS:
		return do_vfio_ioas(iommufd, &args->vfio_ioas);
	case K_HWPT_ALLOC:
		return do_hwpt_alloc(iommufd, &args->hwpt_alloc);
	case K_GET_HW_INFO:
		return do_hw_info(iommufd, &args->hw_info);
	case K_HWPT_SET_DIRTY:
		return do_set_dirty(iommufd, &args->set_dirty);
	case K_HWPT_GET_DIRTY:
		return do_get_dirty(iommufd, &args->get_dirty);
	default:
		return ioas_do_change_process(iommufd);
	}
}

static const struct {
	unsigned long number;
	uint32_t size, least;
} table[] = {
	{K_DESTROY, sizeof(struct k_destroy), 8},
	{K_IOAS_ALLOC, sizeof(struct k_ioas_alloc), 12},
	{K_IOAS_COPY, sizeof(struct k_ioas_copy), 40},
	{K_IOAS_RANGES, sizeof(struct k_ioas_ranges), 32},
	{K_IOAS_MAP, sizeof(struct k_ioas_map), 40},
	{K_IOAS_UNMAP, sizeof(struct k_ioas_unmap), 24},
	{K_OPTION, sizeof(struct k_option), 24},
	{K_VFIO_IOAS, sizeof(struct k_vfio_ioas), 12},
	{K_HWPT_ALLOC, sizeof(struct k_hwpt_alloc), 24},
	{K_GET_HW_INFO, sizeof(struct k_hw_info), 32},
	{K_HWPT_SET_DIRTY, sizeof(struct k_hwpt_set_dirty), 16},
	{K_HWPT_GET_DIRTY, sizeof(struct k_hwpt_get_dirty), 48},
	{K_IOAS_MAP_FILE, sizeof(struct k_ioas_map_file), 40},
	{K_IOAS_CHANGE_PROCESS, sizeof(struct k_change_process), 8},
};

static bool is_known(unsigned long number)
{
	if (number == K_IOAS_MAP_FILE)
		return model.map_file;
	return number != K_IOAS_CHANGE_PROCESS || model.change_process;
}

int iommufd_ioctl(struct iommufd *iommufd, unsigned long number, void *arg)
{
	union request args;
	uint32_t given;
	int ret;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (table[i].number != number)
			continue;
		if (!is_known(number))
			return -ENOTTY;
		memcpy(&given, arg, sizeof(given));
		if (given < table[i].least)
			return -EINVAL;
		for (uint32_t at = table[i].size; at < given; at++)
			if (((const unsigned char *)arg)[at])
				return -E2BIG;
		if (given > table[i].size)
			given = table[i].size;
		memset(&args, 0, sizeof(args));
		memcpy(&args, arg, given);
		ret = execute(iommufd, number, &args);
		/* What is told on failure: only how many ranges there are. */
		if (!ret || (number == K_IOAS_RANGES && ret == -EMSGSIZE))
			memcpy(arg, &args, given);
		return ret;
	}
	return compat_ioctl(iommufd, number, arg);
}
