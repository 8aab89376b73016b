/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The model's containers of VFIO's own: the type1 driver (vfio_iommu_type1.c of Linux 6.12), as its
 * second version behaves, and the one without an IOMMU (container.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vfio_model_priv.h"

#define CONTAINERS 16

#define MAP_FLAGS (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE | VFIO_DMA_MAP_FLAG_VADDR)

static struct container containers[CONTAINERS];

struct container *container_new(void)
{
	struct container *container = containers;

	while (container->live)
		if (++container == containers + CONTAINERS)
			abort();
	memset(container, 0, sizeof(*container));
	container->live = true;
	container->refs = 1;
	return container;
}

void containers_forget(void)
{
	memset(containers, 0, sizeof(containers));
}

void container_put(struct container *container)
{
	if (!--container->refs)
		container->live = false;
}

/* Groups. */

static bool all_fit(const struct container *container, const struct group *group)
{
	for (size_t i = 0; i < model_device_count; i++)
		if (model_devices[i].group == group &&
			!space_fits(container->space, &model_devices[i]))
			return false;
	return true;
}

static bool any_invalid(const struct space *space)
{
	for (size_t i = 0; i < space->count; i++)
		if (space->maps[i].invalid)
			return true;
	return false;
}

int container_add_group(struct container *container, struct group *group)
{
	if (group->noiommu && !model.cap_sys_rawio)
		return -EPERM;
	if (container->groups && container->noiommu != group->noiommu)
		return -EPERM;
	if (!group->noiommu && !group->viable)
		return -EBUSY;
	if (container->space && any_invalid(container->space))
		return -EBUSY;
	if (container->space && !all_fit(container, group))
		return -EINVAL;
	container->noiommu = group->noiommu;
	container->groups++;
	container->refs++;
	group->container = container;
	return 0;
}

void container_remove_group(struct container *container)
{
	if (!--container->groups) {
		if (container->space)
			space_free(container->space);
		container->space = NULL;
		container->iommu_set = false;
	}
	container_put(container);
}

/* What the driver that would be asked says; before SET_IOMMU every driver is asked in turn. */
static int check_extension(const struct container *container, unsigned long extension)
{
	bool none = container->noiommu && container->groups;

	if (extension == VFIO_NOIOMMU_IOMMU)
		return model.noiommu && (none || !container->groups);
	if (none || !model.type1)
		return 0;
	switch (extension) {
	case VFIO_TYPE1_IOMMU:
	case VFIO_TYPE1_NESTING_IOMMU:
	case VFIO_UNMAP_ALL:
		return 1;
	case VFIO_TYPE1v2_IOMMU:
		return !model.no_v2;
	case VFIO_UPDATE_VADDR:
		return container->space && !model.no_update_vaddr;
	default:
		return 0;
	}
}

static int set_iommu(struct container *container, unsigned long type)
{
	model.last_set_iommu = (unsigned int)type;
	if (!container->groups || container->iommu_set)
		return -EINVAL;
	if (check_extension(container, type) != 1)
		return -ENODEV;
	if (container->noiommu && !model.cap_sys_rawio)
		return -EPERM;
	if (!container->noiommu && type != VFIO_TYPE1_IOMMU && type != VFIO_TYPE1v2_IOMMU &&
		type != VFIO_TYPE1_NESTING_IOMMU)
		return -EINVAL;
	container->iommu_set = true;
	if (!container->noiommu) {
		container->space = space_new(true);
		container->space->domains = 1;
	}
	return 0;
}

/* Mapping. */

static uint64_t smallest_page(void)
{
	uint64_t page = model.page_sizes & -model.page_sizes;

	return page < 4096 ? 4096 : page;
}

static int set_vaddr(struct space *space, const struct vfio_iommu_type1_dma_map *args)
{
	struct map *map;
	int ret;

	if (!space_overlaps(space, args->iova, args->size))
		return -ENOENT;
	map = &space->maps[space_at(space, args->iova)];
	if (!map->invalid || map->iova != args->iova || map->len != args->size)
		return -EINVAL;
	ret = pages_change_owner(map->pages, true);
	if (ret)
		return ret;
	map->vaddr = args->vaddr;
	map->invalid = false;
	return 0;
}

static int map_dma(struct space *space, const struct vfio_iommu_type1_dma_map *args)
{
	struct map map = {
		.iova = args->iova, .vaddr = args->vaddr, .len = args->size, .flags = args->flags};
	uint64_t page = smallest_page();
	bool vaddr = args->flags & VFIO_DMA_MAP_FLAG_VADDR;
	int ret;

	if (args->argsz < sizeof(*args) || args->flags & ~(uint32_t)MAP_FLAGS)
		return -EINVAL;
	if (!args->flags || (vaddr && args->flags != VFIO_DMA_MAP_FLAG_VADDR))
		return -EINVAL;
	if (!args->size || (args->iova | args->vaddr | args->size) & (page - 1))
		return -EINVAL;
	if (args->iova + (args->size - 1) < args->iova ||
		args->vaddr + (args->size - 1) < args->vaddr)
		return -EINVAL;
	if (vaddr)
		return set_vaddr(space, args);
	if (space_overlaps(space, args->iova, args->size))
		return -EEXIST;
	if (space->count >= model.entries)
		return -ENOSPC;
	if (!space_valid(space, args->iova, args->size))
		return -EINVAL;
	map.pages = pages_new(ACCOUNT_TYPE1, args->flags & VFIO_DMA_MAP_FLAG_WRITE);
	ret = space_add(space, &map);
	if (ret)
		pages_put(map.pages);
	return ret;
}

/* The second version's rule: both ends must be those of mappings, or in none. */
static bool cuts(struct space *space, uint64_t first, uint64_t last)
{
	const struct map *map = space_find(space, first);

	if (map && map->iova != first)
		return true;
	map = space_find(space, last);
	return map && map->iova + (map->len - 1) != last;
}

/* VFIO_DMA_UNMAP_FLAG_VADDR: all of them, or none if one is invalid already. */
static int drop_vaddr(struct space *space, uint64_t first, uint64_t last, uint64_t *bytes)
{
	size_t from = space_at(space, first), at;

	for (at = from; at < space->count && space->maps[at].iova <= last; at++) {
		if (space->maps[at].invalid) {
			while (at-- > from)
				space->maps[at].invalid = false;
			*bytes = 0;
			return -EINVAL;
		}
		space->maps[at].invalid = true;
		*bytes += space->maps[at].len;
	}
	return 0;
}

static int unmap_range(
	struct space *space, uint32_t flags, uint64_t first, uint64_t last, uint64_t *bytes)
{
	size_t at;

	if (!(flags & VFIO_DMA_UNMAP_FLAG_ALL) && cuts(space, first, last))
		return -EINVAL;
	if (flags & VFIO_DMA_UNMAP_FLAG_VADDR)
		return drop_vaddr(space, first, last, bytes);
	if (model.unmap_nothing)
		return 0;
	while ((at = space_at(space, first)) < space->count && space->maps[at].iova <= last) {
		*bytes += space->maps[at].len;
		space_remove(space, &space->maps[at]);
	}
	return 0;
}

static int unmap_dma(struct space *space, struct vfio_iommu_type1_dma_unmap *args)
{
	const uint32_t known = VFIO_DMA_UNMAP_FLAG_ALL | VFIO_DMA_UNMAP_FLAG_VADDR;
	uint64_t page = smallest_page(), first = args->iova, last, bytes = 0;
	int ret;

	if (args->argsz < offsetof(struct vfio_iommu_type1_dma_unmap, data) || args->flags & ~known)
		return -EINVAL;
	if (args->iova & (page - 1))
		return -EINVAL;
	last = first + (args->size - 1);
	if (args->flags & VFIO_DMA_UNMAP_FLAG_ALL) {
		if (args->iova || args->size)
			return -EINVAL;
		last = UINT64_MAX;
	} else if (!args->size || args->size & (page - 1) || last < first) {
		return -EINVAL;
	}
	ret = unmap_range(space, args->flags, first, last, &bytes);
	if (!ret)
		args->size = bytes;
	return ret;
}

/* Dirty tracking. */

static int dirty_bitmap(struct space *space, const struct vfio_iommu_type1_dirty_bitmap_get *get)
{
	uint64_t page = smallest_page(), last = get->iova + (get->size - 1), at, bit;
	uint64_t *words = (uint64_t *)(uintptr_t)get->bitmap.data;

	if (get->iova + get->size < get->iova)
		return -EINVAL;
	if (!get->bitmap.size || get->bitmap.size < (get->size / page + 63) / 64 * 8)
		return -EINVAL;
	if (get->bitmap.pgsize != page || get->iova & (page - 1) || !get->size ||
		get->size & (page - 1))
		return -EINVAL;
	if (!space->tracking || cuts(space, get->iova, last))
		return -EINVAL;
	/* An IOMMU that keeps no record: whatever is pinned counts as written. */
	for (at = get->iova; at <= last; at += page) {
		bit = (at - get->iova) / page;
		if (space_find(space, at))
			words[bit / 64] |= UINT64_C(1) << bit % 64;
	}
	return 0;
}

static int dirty_pages(struct space *space, struct vfio_iommu_type1_dirty_bitmap *args)
{
	struct vfio_iommu_type1_dirty_bitmap_get get;

	if (args->argsz < sizeof(*args))
		return -EINVAL;
	switch (args->flags) {
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_START:
		space->tracking = true;
		return 0;
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP:
		space->tracking = false;
		return 0;
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP:
		if (args->argsz - sizeof(*args) < sizeof(get))
			return -EINVAL;
		memcpy(&get, args->data, sizeof(get));
		return dirty_bitmap(space, &get);
	default:
		return -EINVAL;
	}
}

/* Information. */

static size_t append(unsigned char *buf, size_t used, const void *cap, size_t size, bool last)
{
	struct vfio_info_cap_header header;

	memcpy(buf + used, cap, size);
	memcpy(&header, buf + used, sizeof(header));
	size = (size + 7) & ~(size_t)7;
	header.next = last ? 0 : (uint32_t)(sizeof(struct vfio_iommu_type1_info) + used + size);
	memcpy(buf + used, &header, sizeof(header));
	return used + size;
}

static size_t true_caps(const struct space *space, unsigned char *buf)
{
	struct vfio_iommu_type1_info_cap_migration migration = {
		.header = {VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, 1, 0},
		.pgsize_bitmap = smallest_page(),
		.max_dirty_bitmap_size = 256u << 20};
	struct vfio_iommu_type1_info_dma_avail avail = {
		{VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, 0}, UINT32_MAX};
	struct {
		struct vfio_info_cap_header header;
		uint32_t nr_iovas, reserved;
		struct vfio_iova_range ranges[MODEL_RANGES];
	} iovas = {{VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1, 0}, 0, 0, {{0}}};
	size_t used = 0;

	if (space->type1) {
		used = append(buf, used, &migration, sizeof(migration), false);
		avail.avail = model.entries - (uint32_t)space->count;
	}
	used = append(buf, used, &avail, sizeof(avail), false);
	iovas.nr_iovas = space_ranges(space, iovas.ranges);
	return append(buf, used, &iovas, 16 + iovas.nr_iovas * sizeof(iovas.ranges[0]), true);
}

int model_get_info(struct space *space, struct vfio_iommu_type1_info *info)
{
	unsigned char truth[512];
	const void *caps = truth;
	size_t size, room = info->argsz;

	if (room < 16)
		return -EINVAL;
	memset(truth, 0, sizeof(truth));
	size = true_caps(space, truth);
	if (model.caps) {
		caps = model.caps;
		size = model.caps_size;
	}
	info->flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
	info->iova_pgsizes = model.page_sizes;
	if (room >= sizeof(*info))
		info->cap_offset = 0;
	if (room >= sizeof(*info) + size) {
		memcpy((unsigned char *)info + sizeof(*info), caps, size);
		info->cap_offset = model.cap_offset ? model.cap_offset : (uint32_t)sizeof(*info);
	}
	if (!space->type1 || room < sizeof(*info) + size)
		info->argsz = (uint32_t)(sizeof(*info) + size);
	return 0;
}

int container_ioctl(struct container *container, unsigned long request, void *arg)
{
	unsigned long value = (unsigned long)(uintptr_t)arg;

	switch (request) {
	case VFIO_GET_API_VERSION:
		return VFIO_API_VERSION;
	case VFIO_CHECK_EXTENSION:
		return check_extension(container, value);
	case VFIO_SET_IOMMU:
		return set_iommu(container, value);
	default:
		break;
	}
	if (!container->iommu_set)
		return -EINVAL;
	if (container->noiommu)
		return -ENOTTY;
	switch (request) {
	case VFIO_IOMMU_GET_INFO:
		return model_get_info(container->space, arg);
	case VFIO_IOMMU_MAP_DMA:
		return map_dma(container->space, arg);
	case VFIO_IOMMU_UNMAP_DMA:
		return unmap_dma(container->space, arg);
	case VFIO_IOMMU_DIRTY_PAGES:
		return dirty_pages(container->space, arg);
	default:
		model.unknown++;
		return -ENOTTY;
	}
}
