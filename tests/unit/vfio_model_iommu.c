/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The model's containers: mappings, who is charged, what the container's ioctls answer.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "vfio_model_priv.h"

#define CONTAINERS 64

/* IOMMU_OPTION of iommufd: its header is newer than the oldest distribution supported. */
#define MODEL_IOMMU_OPTION _IO(';', 0x87)
struct model_iommu_option {
	uint32_t size;
	uint32_t option_id;
	uint16_t op;
	uint16_t reserved;
	uint32_t object_id;
	uint64_t val64;
};

/* None of the model's memory is from malloc(), which tests make fail. */
static struct container containers[CONTAINERS];

struct container *model_container_new(bool iommufd, bool mm)
{
	struct container *container = containers;

	while (container->live)
		if (++container == containers + CONTAINERS)
			return NULL;
	memset(container, 0, sizeof(*container));
	container->live = true;
	container->iommufd = iommufd;
	container->mm = mm;
	container->files = 1;
	return container;
}

void model_containers_forget(void)
{
	memset(containers, 0, sizeof(containers));
}

void model_containers_sum(size_t *maps, uint64_t *sum)
{
	for (size_t i = 0; i < CONTAINERS; i++)
		for (size_t at = 0; containers[i].live && at < containers[i].count; at++) {
			const struct map *map = &containers[i].maps[at];

			(*maps)++;
			*sum += (map->iova * 31 + map->vaddr) * 31 + map->len * 7 + map->flags;
		}
}

/* Charges. */

static uint64_t map_pages(const struct map *map)
{
	return map->len / 4096;
}

int model_charge(struct container *container, uint64_t pages)
{
	uint64_t *limited = container->iommufd && !container->mm ? &model.user : &model.locked;

	if (*limited + pages > model.limit)
		return ENOMEM;
	*limited += pages;
	if (container->iommufd)
		model.pinned += pages;
	return 0;
}

void model_uncharge(struct container *container, uint64_t pages)
{
	*(container->iommufd && !container->mm ? &model.user : &model.locked) -= pages;
	if (container->iommufd)
		model.pinned -= pages;
}

uint64_t model_container_pages(const struct container *container)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < container->count; i++)
		pages += map_pages(&container->maps[i]);
	return pages;
}

/* Does the kernel hold pages for its mappings now? */
static bool pins_now(const struct container *container)
{
	return container->iommufd ? container->devices > 0 : true;
}

void model_drop_maps(struct container *container)
{
	if (pins_now(container))
		model_uncharge(container, model_container_pages(container));
	container->count = 0;
}

void model_container_put(struct container *container)
{
	if (container->files || container->groups)
		return;
	model_drop_maps(container);
	container->live = false;
}

/* Mappings. */

static bool in_ranges(uint64_t first, uint64_t last)
{
	for (unsigned int i = 0; i < model.range_count; i++)
		if (first >= model.ranges[i].start && last <= model.ranges[i].end)
			return true;
	return false;
}

static int do_map(struct container *container, const struct vfio_iommu_type1_dma_map *args)
{
	struct map map = {args->iova, args->vaddr, args->size, args->flags};
	static unsigned char pages[1 << 16];
	int err = 0;

	if (!container->ready)
		return container->iommufd ? ENODEV : EINVAL;
	if (args->argsz < sizeof(*args) ||
		(args->flags & ~(uint32_t)(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)))
		return EINVAL;
	if (!args->size || ((args->iova | args->vaddr | args->size) & 4095) || !args->flags)
		return EINVAL;
	if (args->iova + args->size - 1 < args->iova || args->vaddr + args->size - 1 < args->vaddr)
		return container->iommufd ? EOVERFLOW : EINVAL;
	for (size_t i = 0; i < container->count; i++) {
		const struct map *old = &container->maps[i];

		if (map.iova <= old->iova + (old->len - 1) && old->iova <= map.iova + (map.len - 1))
			return EEXIST;
	}
	if (!container->iommufd && container->count >= model.entries)
		return ENOSPC;
	if (container->count >= MODEL_MAPS)
		return ENOMEM;
	if (!in_ranges(map.iova, map.iova + (map.len - 1)))
		return EINVAL;
	if (map_pages(&map) > sizeof(pages) ||
		mincore((void *)(uintptr_t)map.vaddr, map.len, pages))
		err = EFAULT;
	if (!err && pins_now(container))
		err = model_charge(container, map_pages(&map));
	if (!err)
		container->maps[container->count++] = map;
	return err;
}

static int do_unmap(struct container *container, struct vfio_iommu_type1_dma_unmap *args)
{
	bool all = args->flags & VFIO_DMA_UNMAP_FLAG_ALL;
	uint64_t first = args->iova, last = args->iova + (args->size - 1), bytes = 0;

	if (!container->ready)
		return container->iommufd ? ENODEV : EINVAL;
	if (args->argsz < offsetof(struct vfio_iommu_type1_dma_unmap, data) ||
		(args->flags & ~(uint32_t)VFIO_DMA_UNMAP_FLAG_ALL))
		return EINVAL;
	if (all ? args->iova || args->size : !args->size || ((args->iova | args->size) & 4095))
		return EINVAL;
	if (all) {
		first = 0;
		last = UINT64_MAX;
	}
	if (last < first)
		return container->iommufd ? EOVERFLOW : EINVAL;
	for (size_t i = 0; i < container->count; i++) {
		const struct map *map = &container->maps[i];
		uint64_t map_last = map->iova + (map->len - 1);

		if (map->iova > last || map_last < first)
			continue;
		if (map->iova < first || map_last > last) {
			if (container->iommufd)
				args->size = 0;
			return container->iommufd ? ENOENT : EINVAL;
		}
	}
	for (size_t i = 0; !model.unmap_nothing && i < container->count;) {
		struct map *map = &container->maps[i];

		if (map->iova < first || map->iova > last) {
			i++;
			continue;
		}
		bytes += map->len;
		if (pins_now(container))
			model_uncharge(container, map_pages(map));
		*map = container->maps[--container->count];
	}
	args->size = bytes;
	return 0;
}

static size_t true_caps(const struct container *container, unsigned char *buf)
{
	struct {
		struct vfio_info_cap_header header;
		uint32_t nr_iovas, reserved;
		struct vfio_iova_range ranges[MODEL_RANGES];
	} iovas = {{VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1, 0}, model.range_count, 0, {{0}}};
	struct vfio_iommu_type1_info_dma_avail avail = {
		{VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, 0}, UINT32_MAX};
	size_t size = 16 + model.range_count * sizeof(model.ranges[0]);
	uint32_t at = sizeof(struct vfio_iommu_type1_info);

	if (!container->iommufd)
		avail.avail = model.entries - (uint32_t)container->count;
	memcpy(iovas.ranges, model.ranges, sizeof(model.ranges));
	iovas.header.next = at + (uint32_t)size;
	memcpy(buf, &iovas, size);
	memcpy(buf + size, &avail, sizeof(avail));
	return size + ((sizeof(avail) + 7) & ~(size_t)7);
}

static int do_info(const struct container *container, struct vfio_iommu_type1_info *info)
{
	unsigned char truth[512];
	const void *caps = truth;
	size_t size, room = info->argsz;

	if (!container->ready)
		return container->iommufd ? ENODEV : EINVAL;
	if (room < 16)
		return EINVAL;
	memset(truth, 0, sizeof(truth));
	size = true_caps(container, truth);
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
	if (container->iommufd || room < sizeof(*info) + size)
		info->argsz = (uint32_t)(sizeof(*info) + size);
	return 0;
}

static int check_extension(const struct container *container, unsigned long extension)
{
	switch (extension) {
	case VFIO_TYPE1_IOMMU:
	case VFIO_UNMAP_ALL:
		return 1;
	case VFIO_TYPE1v2_IOMMU:
		return !model.no_v2;
	case VFIO_TYPE1_NESTING_IOMMU:
		return !container->iommufd;
	case VFIO_DMA_CC_IOMMU:
		return container->iommufd && !container->ready ? -ENODEV : 0;
	default:
		return 0;
	}
}

int model_container_ioctl(struct container *container, unsigned long request, void *arg)
{
	struct model_iommu_option *option = arg;
	unsigned long value = (unsigned long)(uintptr_t)arg;

	switch (request) {
	case VFIO_GET_API_VERSION:
		return 0;
	case VFIO_CHECK_EXTENSION:
		return check_extension(container, value);
	case VFIO_SET_IOMMU:
		model.last_set_iommu = (unsigned int)value;
		if (container->iommufd)
			return !container->ready ? -ENODEV : value == 1 || value == 3 ? 0 : -EINVAL;
		if (!container->groups || container->ready ||
			check_extension(container, value) != 1)
			return -EINVAL;
		container->ready = true;
		return 0;
	case VFIO_IOMMU_GET_INFO:
		return -do_info(container, arg);
	case VFIO_IOMMU_MAP_DMA:
		return -do_map(container, arg);
	case VFIO_IOMMU_UNMAP_DMA:
		return -do_unmap(container, arg);
	case MODEL_IOMMU_OPTION:
		if (!container->iommufd)
			return -EINVAL;
		if (option->size < sizeof(*option) || option->option_id || option->op != 1)
			return -EOPNOTSUPP;
		option->val64 = container->mm;
		return 0;
	default:
		model.unknown++;
		return container->iommufd ? -ENOTTY : -EINVAL;
	}
}

size_t model_maps(void)
{
	return model_state().maps;
}

uint64_t model_bytes(void)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < CONTAINERS; i++)
		if (containers[i].live)
			bytes += model_container_pages(&containers[i]) * 4096;
	return bytes;
}

bool model_has(uint64_t iova, const void *vaddr, uint64_t len, uint32_t flags)
{
	for (size_t i = 0; i < CONTAINERS; i++)
		for (size_t at = 0; containers[i].live && at < containers[i].count; at++) {
			const struct map *map = &containers[i].maps[at];

			if (map->iova == iova && map->vaddr == (uint64_t)(uintptr_t)vaddr &&
				map->len == len && map->flags == flags)
				return true;
		}
	return false;
}
