/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The model's address spaces: what is mapped, which pages are pinned for it, and the counters they
 * are charged to.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vfio_model_priv.h"

#define SPACES  16
#define RECORDS 8192
#define COPIES  64
#define BARS    8
#define DIRTY   1024

static struct space spaces[SPACES];
static struct pages records[RECORDS];
static unsigned int next_record;
static struct {
	uint64_t vaddr, len;
} bars[BARS];
static unsigned int bar_count;
static struct {
	const struct space *space;
	uint64_t page;
} dirty[DIRTY];
static unsigned int dirty_count;

struct space *space_new(bool type1)
{
	struct space *space = spaces;

	while (space->live)
		if (++space == spaces + SPACES)
			abort();
	memset(space, 0, offsetof(struct space, maps));
	space->live = true;
	space->type1 = type1;
	space->number = (unsigned int)(space - spaces);
	return space;
}

void space_free(struct space *space)
{
	while (space->count)
		space_remove(space, &space->maps[space->count - 1]);
	dirty_clear(space, 0, UINT64_MAX);
	space->live = false;
}

void spaces_forget(void)
{
	for (size_t i = 0; i < SPACES; i++)
		spaces[i].live = false;
	for (size_t i = 0; i < RECORDS; i++)
		records[i].live = false;
	next_record = bar_count = dirty_count = 0;
}

/* Memory. */

void model_bar(const void *vaddr, uint64_t len)
{
	if (bar_count == BARS)
		abort();
	bars[bar_count].vaddr = (uint64_t)(uintptr_t)vaddr;
	bars[bar_count++].len = len;
}

bool memory_is_device(uint64_t vaddr, uint64_t len)
{
	for (size_t i = 0; i < bar_count; i++)
		if (vaddr < bars[i].vaddr + bars[i].len && bars[i].vaddr < vaddr + len)
			return true;
	return false;
}

/* Is memory there? */
static bool memory_is_there(const struct map *map)
{
	static unsigned char present[1 << 16];

	return map->len / 4096 <= sizeof(present) &&
	       !mincore((void *)(uintptr_t)map->vaddr, map->len, present);
}

/* Which IOVAs are valid. */

static bool is_in(const struct device *device, const struct space *space)
{
	const struct container *container = device->group->container;

	if (space->type1)
		return container && container->iommu_set && container->space == space;
	return device->hwpt && device->hwpt->ioas->space == space;
}

static unsigned int ranges_of(const struct device *device, const struct vfio_iova_range **ranges)
{
	*ranges = device->range_count ? device->ranges : model.ranges;
	return device->range_count ? device->range_count : model.range_count;
}

static unsigned int intersect(struct vfio_iova_range *list, unsigned int count,
	const struct vfio_iova_range *with, unsigned int with_count)
{
	struct vfio_iova_range result[MODEL_RANGES];
	unsigned int used = 0;

	for (unsigned int i = 0; i < count; i++)
		for (unsigned int j = 0; j < with_count; j++) {
			uint64_t start =
				list[i].start > with[j].start ? list[i].start : with[j].start;
			uint64_t end = list[i].end < with[j].end ? list[i].end : with[j].end;

			if (start > end)
				continue;
			if (used == MODEL_RANGES)
				abort();
			result[used++] = (struct vfio_iova_range){start, end};
		}
	memcpy(list, result, used * sizeof(*list));
	return used;
}

unsigned int space_ranges(const struct space *space, struct vfio_iova_range *ranges)
{
	const struct vfio_iova_range *more;
	unsigned int count = 1, more_count;

	ranges[0] = (struct vfio_iova_range){0, UINT64_MAX};
	for (size_t i = 0; i < model_device_count; i++) {
		if (!is_in(&model_devices[i], space))
			continue;
		more_count = ranges_of(&model_devices[i], &more);
		count = intersect(ranges, count, more, more_count);
	}
	return count;
}

static bool within(
	const struct vfio_iova_range *ranges, unsigned int count, uint64_t iova, uint64_t len)
{
	for (unsigned int i = 0; i < count; i++)
		if (iova >= ranges[i].start && iova + (len - 1) <= ranges[i].end)
			return true;
	return false;
}

bool space_fits(const struct space *space, const struct device *device)
{
	const struct vfio_iova_range *ranges;
	unsigned int count = ranges_of(device, &ranges);

	for (size_t i = 0; i < space->count; i++)
		if (!within(ranges, count, space->maps[i].iova, space->maps[i].len))
			return false;
	return true;
}

bool space_valid(const struct space *space, uint64_t iova, uint64_t len)
{
	struct vfio_iova_range ranges[MODEL_RANGES];
	unsigned int count = space_ranges(space, ranges);

	return within(ranges, count, iova, len);
}

/* Charges. */

struct pages *pages_new(enum account account, bool writable)
{
	for (unsigned int tries = 0; tries < RECORDS; tries++) {
		struct pages *pages = &records[next_record++ % RECORDS];

		if (pages->live)
			continue;
		memset(pages, 0, sizeof(*pages));
		pages->live = true;
		pages->refs = 1;
		pages->account = account;
		pages->exempt = model.cap_ipc_lock;
		pages->writable = writable;
		pages->mm = model.mm;
		return pages;
	}
	abort();
}

void pages_put(struct pages *pages)
{
	if (!--pages->refs)
		pages->live = false;
}

static uint64_t *limited(enum account account)
{
	switch (account) {
	case ACCOUNT_USER:
		return &model.user;
	case ACCOUNT_NONE:
		return NULL;
	default:
		return &model.locked;
	}
}

/* Take pages off; a process that is gone has taken its own counters along. */
static void uncharge(struct pages *pages, uint64_t count)
{
	uint64_t *counter = limited(pages->account);
	bool alive = pages->mm == model.mm;

	pages->charged -= count;
	if (counter && (alive || pages->account == ACCOUNT_USER))
		*counter -= count;
	if (pages->account != ACCOUNT_TYPE1 && alive)
		model.pinned -= count;
}

static int charge(struct pages *pages, uint64_t count)
{
	uint64_t *counter = limited(pages->account);

	if (pages->mm != model.mm)
		return -EFAULT;
	if (counter && !(pages->account == ACCOUNT_TYPE1 && pages->exempt) &&
		*counter + count > model.limit)
		return -ENOMEM;
	if (counter)
		*counter += count;
	if (pages->account != ACCOUNT_TYPE1)
		model.pinned += count;
	pages->charged += count;
	return 0;
}

struct run {
	uint64_t first, end;
};

static size_t collect(const struct pages *pages, struct run *runs)
{
	size_t count = 0, at;

	for (size_t i = 0; i < SPACES; i++)
		for (size_t j = 0; spaces[i].live && j < spaces[i].count; j++) {
			const struct map *map = &spaces[i].maps[j];

			if (map->pages != pages || !map->filled)
				continue;
			if (count == COPIES)
				abort();
			for (at = count++; at && runs[at - 1].first > map->start; at--)
				runs[at] = runs[at - 1];
			runs[at] = (struct run){map->start, map->start + map->len};
		}
	return count;
}

/* Pages that the filled maps need, each counted once. */
static uint64_t wanted(const struct pages *pages, const struct map *map)
{
	struct run runs[COPIES];
	uint64_t bytes = 0, end = 0;
	size_t count;

	if (pages->uncharged)
		return 0;
	if (pages->refs == 1)
		return map->filled ? map->len / 4096 : 0;
	count = collect(pages, runs);
	for (size_t i = 0; i < count; i++) {
		if (runs[i].end <= end)
			continue;
		bytes += runs[i].end - (runs[i].first > end ? runs[i].first : end);
		end = runs[i].end;
	}
	return bytes / 4096;
}

static void empty(struct map *map)
{
	uint64_t want;

	if (!map->filled)
		return;
	map->filled = false;
	want = wanted(map->pages, map);
	uncharge(map->pages, map->pages->charged - want);
}

/* Pin what a map needs. */
static int fill(const struct space *space, struct map *map)
{
	struct pages *pages = map->pages;
	uint64_t want;
	int ret;

	if (map->filled)
		return 0;
	if (!pages->file && pages->mm == model.mm && !memory_is_there(map))
		return -EFAULT;
	if (!pages->file && memory_is_device(map->vaddr, map->len)) {
		if (!space->type1)
			return -EFAULT;
		pages->uncharged = true;
	}
	map->filled = true;
	want = wanted(pages, map);
	ret = charge(pages, want - pages->charged);
	if (ret)
		map->filled = false;
	return ret;
}

int pages_change_owner(struct pages *pages, bool check)
{
	uint64_t count = pages->charged, *counter = limited(pages->account);

	if (pages->mm == model.mm)
		return 0;
	if (check && !model.cap_ipc_lock && *counter + count > model.limit)
		return -ENOMEM;
	/* The old process is gone, and its own counters with it; the user is the same. */
	if (counter && pages->account != ACCOUNT_USER)
		*counter += count;
	if (pages->account != ACCOUNT_TYPE1)
		model.pinned += count;
	pages->mm = model.mm;
	pages->exempt = model.cap_ipc_lock;
	return 0;
}

/* Maps. */

size_t space_at(const struct space *space, uint64_t iova)
{
	size_t low = 0, high = space->count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct map *map = &space->maps[middle];

		if (map->iova + (map->len - 1) < iova)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct map *space_find(struct space *space, uint64_t iova)
{
	size_t at = space_at(space, iova);

	return at < space->count && space->maps[at].iova <= iova ? &space->maps[at] : NULL;
}

bool space_overlaps(const struct space *space, uint64_t iova, uint64_t len)
{
	size_t at = space_at(space, iova);

	return at < space->count && space->maps[at].iova <= iova + (len - 1);
}

static void take_out(struct space *space, struct map *map)
{
	size_t at = (size_t)(map - space->maps);

	space->count--;
	memmove(map, map + 1, (space->count - at) * sizeof(*map));
}

int space_add(struct space *space, const struct map *map)
{
	size_t at = space_at(space, map->iova);
	struct map *slot = &space->maps[at];
	int ret = 0;

	if (space->count == MODEL_MAPS)
		abort();
	memmove(slot + 1, slot, (space->count - at) * sizeof(*slot));
	space->count++;
	*slot = *map;
	slot->filled = slot->invalid = false;
	if (space->domains)
		ret = fill(space, slot);
	if (ret)
		take_out(space, slot);
	return ret;
}

void space_remove(struct space *space, struct map *map)
{
	struct pages *pages = map->pages;

	empty(map);
	dirty_clear(space, map->iova, map->len);
	take_out(space, map);
	pages_put(pages);
}

int space_add_domain(struct space *space)
{
	int ret = 0;
	size_t i;

	for (i = 0; !ret && i < space->count && !space->domains; i++)
		ret = fill(space, &space->maps[i]);
	if (ret) {
		while (i--)
			empty(&space->maps[i]);
		return ret;
	}
	space->domains++;
	return 0;
}

void space_remove_domain(struct space *space)
{
	if (--space->domains)
		return;
	for (size_t i = 0; i < space->count; i++)
		empty(&space->maps[i]);
}

int space_unmap_iommufd(struct space *space, uint64_t first, uint64_t last, uint64_t *bytes)
{
	size_t at;

	*bytes = 0;
	while ((at = space_at(space, first)) < space->count) {
		struct map *map = &space->maps[at];
		uint64_t map_last = map->iova + (map->len - 1);

		if (map->iova > last)
			break;
		if (map->iova < first || map_last > last)
			return -ENOENT;
		*bytes += map->len;
		space_remove(space, map);
		if (map_last >= last)
			break;
		first = map_last + 1;
	}
	return 0;
}

/* What devices wrote. */

void model_write(uint64_t iova, uint64_t len)
{
	for (size_t i = 0; i < SPACES; i++)
		for (uint64_t page = iova / 4096; page <= (iova + (len - 1)) / 4096; page++) {
			struct map *map =
				spaces[i].live ? space_find(&spaces[i], page * 4096) : NULL;

			if (!map || !(map->flags & VFIO_DMA_MAP_FLAG_WRITE) ||
				dirty_is(&spaces[i], page * 4096))
				continue;
			if (dirty_count == DIRTY)
				abort();
			dirty[dirty_count].space = &spaces[i];
			dirty[dirty_count++].page = page;
		}
}

void dirty_clear(const struct space *space, uint64_t iova, uint64_t len)
{
	for (unsigned int i = 0; i < dirty_count;) {
		if (dirty[i].space == space && dirty[i].page * 4096 >= iova &&
			dirty[i].page * 4096 - iova < len)
			dirty[i] = dirty[--dirty_count];
		else
			i++;
	}
}

bool dirty_is(const struct space *space, uint64_t iova)
{
	for (unsigned int i = 0; i < dirty_count; i++)
		if (dirty[i].space == space && dirty[i].page == iova / 4096)
			return true;
	return false;
}

/* For the tests. */

size_t model_list(struct model_mapping *list, size_t room)
{
	size_t count = 0;

	for (size_t i = 0; i < SPACES; i++)
		for (size_t j = 0; spaces[i].live && j < spaces[i].count; j++) {
			const struct map *map = &spaces[i].maps[j];

			if (count < room)
				list[count] = (struct model_mapping){spaces[i].number, map->iova,
					map->vaddr, map->len, map->flags, map->pages->file,
					map->filled, map->invalid};
			count++;
		}
	return count;
}

size_t model_maps(void)
{
	return model_list(NULL, 0);
}

uint64_t model_bytes(void)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < SPACES; i++)
		for (size_t j = 0; spaces[i].live && j < spaces[i].count; j++)
			bytes += spaces[i].maps[j].len;
	return bytes;
}

bool model_has(uint64_t iova, const void *vaddr, uint64_t len, uint32_t flags)
{
	for (size_t i = 0; i < SPACES; i++) {
		const struct map *map = spaces[i].live ? space_find(&spaces[i], iova) : NULL;

		if (map && map->iova == iova && map->len == len && map->flags == flags &&
			memory_is_at(map, (uint64_t)(uintptr_t)vaddr))
			return true;
	}
	return false;
}
