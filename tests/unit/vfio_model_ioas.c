/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The model's IOASes: mapping, copying, unmapping, valid ranges, and the process that pays
 * (iommufd/ioas.c and io_pagetable.c of Linux 6.12, with the requests that came later).
 */
#include <errno.h>
#include <string.h>

#include "vfio_model_ioas.h"
#include "vfio_model_priv.h"

/* Mapping. */

static int check_range(const struct space *space, uint64_t iova, uint64_t len)
{
	/* Before there is a page table, nothing needs to be aligned. */
	uint64_t page = space->domains ? 4096 : 1;

	if (!len || len & (page - 1) || iova & (page - 1))
		return -EINVAL;
	if (iova + (len - 1) < iova)
		return -EOVERFLOW;
	if (!space_valid(space, iova, len))
		return -EINVAL;
	return space_overlaps(space, iova, len) ? -EEXIST : 0;
}

int ioas_map(struct iommufd *iommufd, struct space *space, const struct map *map, int fd)
{
	enum account account = model.cap_ipc_lock ? ACCOUNT_NONE
			       : iommufd->mm      ? ACCOUNT_MM
						  : ACCOUNT_USER;
	struct map new = *map;
	const struct file *file = model_file(fd);
	int ret;

	if (!map->len)
		return -EINVAL;
	if (map->vaddr + map->len < map->vaddr)
		return -EOVERFLOW;
	ret = check_range(space, map->iova, map->len);
	if (ret)
		return ret;
	/* The IOMMU driver's answer: only when there is one. */
	if (!map->flags && space->domains)
		return -EINVAL;
	new.pages = pages_new(account, map->flags & VFIO_DMA_MAP_FLAG_WRITE);
	new.pages->file = fd >= 0;
	new.pages->uncharged = file && file->kind == KIND_DMABUF;
	ret = space_add(space, &new);
	if (ret)
		pages_put(new.pages);
	return ret;
}

static uint32_t prot_of(uint32_t flags)
{
	return (flags & K_MAP_READ ? VFIO_DMA_MAP_FLAG_READ : 0u) |
	       (flags & K_MAP_WRITE ? VFIO_DMA_MAP_FLAG_WRITE : 0u);
}

/* 0, or why flags and numbers of a map or copy are wrong. */
static int check_flags(uint32_t flags, uint64_t iova, uint64_t length)
{
	if (flags & ~(K_MAP_FIXED | K_MAP_READ | K_MAP_WRITE))
		return -EOPNOTSUPP;
	if (iova == UINT64_MAX || length == UINT64_MAX)
		return -EOVERFLOW;
	return flags & (K_MAP_READ | K_MAP_WRITE) ? 0 : -EINVAL;
}

/* The lowest hole, aligned as the length is; not IOVA 0. */
static int choose(const struct space *space, uint64_t length, uint64_t *iova)
{
	struct vfio_iova_range ranges[MODEL_RANGES];
	unsigned int count = space_ranges(space, ranges);
	uint64_t at;

	for (unsigned int i = 0; i < count; i++)
		for (at = ranges[i].start ? ranges[i].start : 4096;
			at <= ranges[i].end && ranges[i].end - at >= length - 1; at += 4096) {
			if (space_overlaps(space, at, length))
				continue;
			*iova = at;
			return 0;
		}
	return -ENOSPC;
}

int ioas_do_map(struct iommufd *iommufd, struct k_ioas_map *args)
{
	struct object *ioas = object_get(iommufd, args->id, OBJECT_IOAS);
	int ret = check_flags(args->flags, args->iova, args->length);
	struct map map = {.iova = args->iova,
		.vaddr = args->vaddr,
		.len = args->length,
		.flags = prot_of(args->flags)};

	if (args->reserved)
		return -EOPNOTSUPP;
	if (ret)
		return ret;
	if (!ioas)
		return -ENOENT;
	if (!(args->flags & K_MAP_FIXED))
		ret = choose(ioas->space, args->length, &map.iova);
	if (!ret)
		ret = ioas_map(iommufd, ioas->space, &map, -1);
	if (!ret)
		args->iova = map.iova;
	return ret;
}

/* memfd_pin_folios(): files of memory, and only what is in them. */
static int check_file(int fd, uint64_t start, uint64_t length)
{
	const struct file *file = model_file(fd);
	struct stat stat;

	if (file && file->kind == KIND_DMABUF)
		return model.map_dmabuf ? 0 : -EINVAL;
	if (file || model_real_fstat(fd, &stat))
		return file ? -EINVAL : -EBADF;
	if (!S_ISREG(stat.st_mode) || start > (uint64_t)stat.st_size ||
		length > (uint64_t)stat.st_size - start)
		return -EINVAL;
	return 0;
}

int ioas_do_map_file(struct iommufd *iommufd, struct k_ioas_map_file *args)
{
	struct object *ioas = object_get(iommufd, args->id, OBJECT_IOAS);
	int ret = check_flags(args->flags, args->iova, args->length);
	struct map map = {.iova = args->iova, .len = args->length, .flags = prot_of(args->flags)};

	if (!ret && !ioas)
		ret = -ENOENT;
	if (!ret)
		ret = check_file(args->fd, args->start, args->length);
	if (!ret && !(args->flags & K_MAP_FIXED))
		ret = choose(ioas->space, args->length, &map.iova);
	if (ret)
		return ret;
	memory_of_file(&map, args->fd, args->start);
	ret = ioas_map(iommufd, ioas->space, &map, args->fd);
	if (!ret)
		args->iova = map.iova;
	return ret;
}

/* Pieces of the source, one map each; all or none. */
static int copy_pieces(struct space *from, struct space *to, const struct k_ioas_copy *args)
{
	uint64_t done = 0;
	int ret = 0;

	while (!ret && done < args->length) {
		const struct map *source = space_find(from, args->from_iova + done);
		struct map map = *source;
		uint64_t skip = args->from_iova + done - source->iova;

		map.iova = args->to_iova + done;
		map.vaddr += skip;
		map.start += skip;
		map.offset += skip;
		map.len -= skip;
		if (map.len > args->length - done)
			map.len = args->length - done;
		map.flags = prot_of(args->flags);
		if (map.flags & VFIO_DMA_MAP_FLAG_WRITE && !map.pages->writable)
			ret = -EPERM;
		map.pages->refs++;
		if (!ret)
			ret = space_add(to, &map);
		if (ret)
			pages_put(map.pages);
		else
			done += map.len;
	}
	while (ret && done) {
		struct map *map = space_find(to, args->to_iova + done - 1);

		done -= map->len;
		space_remove(to, map);
	}
	return ret;
}

int ioas_do_copy(struct iommufd *iommufd, struct k_ioas_copy *args)
{
	struct object *from = object_get(iommufd, args->from, OBJECT_IOAS);
	struct object *to = object_get(iommufd, args->to, OBJECT_IOAS);
	int ret = check_flags(args->flags, args->to_iova, args->length);
	uint64_t at = args->from_iova, last = args->from_iova + (args->length - 1);

	if (ret)
		return ret;
	if (!from || !to)
		return -ENOENT;
	if (!args->length)
		return -EINVAL;
	if (last < at)
		return -EOVERFLOW;
	for (;;) {
		const struct map *map = space_find(from->space, at);

		if (!map)
			return -ENOENT;
		if (map->iova + (map->len - 1) >= last)
			break;
		at = map->iova + map->len;
	}
	if (!(args->flags & K_MAP_FIXED))
		ret = choose(to->space, args->length, &args->to_iova);
	else
		ret = check_range(to->space, args->to_iova, args->length);
	return ret ? ret : copy_pieces(from->space, to->space, args);
}

int ioas_do_unmap(struct iommufd *iommufd, struct k_ioas_unmap *args)
{
	struct object *ioas = object_get(iommufd, args->id, OBJECT_IOAS);
	bool all = !args->iova && args->length == UINT64_MAX;
	uint64_t last = all ? UINT64_MAX : args->iova + (args->length - 1), bytes = 0;
	int ret = 0;

	if (!ioas)
		return -ENOENT;
	if (!all && (args->iova == UINT64_MAX || args->length == UINT64_MAX))
		return -EOVERFLOW;
	if (!args->length)
		return -EINVAL;
	if (last < args->iova)
		return -EOVERFLOW;
	if (!model.unmap_nothing)
		ret = space_unmap_iommufd(ioas->space, args->iova, last, &bytes);
	if (!ret && !bytes && !all && !model.unmap_nothing)
		ret = -ENOENT;
	if (!ret)
		args->length = bytes;
	return ret;
}

int ioas_do_ranges(struct iommufd *iommufd, struct k_ioas_ranges *args)
{
	struct object *ioas = object_get(iommufd, args->id, OBJECT_IOAS);
	struct vfio_iova_range truth[MODEL_RANGES];
	const struct vfio_iova_range *list = truth;
	struct k_range *to = (struct k_range *)(uintptr_t)args->ranges;
	uint32_t room = args->count, count;

	if (args->reserved)
		return -EOPNOTSUPP;
	if (!ioas)
		return -ENOENT;
	count = space_ranges(ioas->space, truth);
	args->alignment = ioas->space->domains ? 4096 : 1;
	args->count = count;
	if (model.native_ranges) {
		list = model.native_ranges;
		count = model.native_count;
		args->count = model.native_said;
		args->alignment = model.native_alignment;
	}
	for (uint32_t i = 0; i < count && i < room; i++)
		to[i] = (struct k_range){list[i].start, list[i].end};
	return args->count > room ? -EMSGSIZE : 0;
}

/* Every record of pages once. */
static bool for_pages(struct iommufd *iommufd, bool (*visit)(struct pages *pages))
{
	bool all = true;

	for (size_t i = 0; i < OBJECTS; i++) {
		const struct object *ioas = &iommufd->objects[i];

		for (size_t at = 0; ioas->type == OBJECT_IOAS && at < ioas->space->count; at++)
			all &= visit(ioas->space->maps[at].pages);
	}
	return all;
}

static bool is_file(struct pages *pages)
{
	pages->counted = false;
	return pages->file;
}

static uint64_t to_move[ACCOUNT_NONE + 1];

static bool add_up(struct pages *pages)
{
	if (!pages->counted && pages->mm != model.mm)
		to_move[pages->account] += pages->charged;
	pages->counted = true;
	return true;
}

static bool move(struct pages *pages)
{
	pages_change_owner(pages, false);
	return true;
}

/* A process for all of the file's mappings; only those of files can move. The new one is charged
 * for all before the old one is let off. */
int ioas_do_change_process(struct iommufd *iommufd)
{
	memset(to_move, 0, sizeof(to_move));
	if (!for_pages(iommufd, is_file))
		return -EINVAL;
	for_pages(iommufd, add_up);
	if (to_move[ACCOUNT_USER] && model.user + to_move[ACCOUNT_USER] > model.limit)
		return -ENOMEM;
	if (to_move[ACCOUNT_MM] && model.locked + to_move[ACCOUNT_MM] > model.limit)
		return -ENOMEM;
	for_pages(iommufd, move);
	return 0;
}
