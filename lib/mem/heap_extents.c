/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The extents of a heap: which are free, by size, and which are used, by address. Finding room and
 * giving it back take the same few steps however many extents there are; only a request that hardly
 * fits is looked for one by one, so that what fits anywhere is found.
 */
#include <errno.h>
#include <stdlib.h>

#include "heap_priv.h"

/* So many of the shortest that could do are tried, as an exact fit leaves nothing over. */
#define EXACT_TRIES 8

struct place {
	unsigned int row, column;
};

/* The list that an extent of this length belongs in. */
static struct place place_of(uint64_t len)
{
	uint64_t units = len / HEAP_ALIGN;
	unsigned int log;

	if (units < HEAP_COLUMNS)
		return (struct place){0, (unsigned int)units};
	log = 63u - (unsigned int)__builtin_clzll(units);
	return (struct place){log - 4, (unsigned int)(units >> (log - 5)) - HEAP_COLUMNS};
}

/* The first list whose extents all have at least this length. */
static struct place place_above(uint64_t len)
{
	uint64_t units = len / HEAP_ALIGN;
	unsigned int log;

	if (units >= HEAP_COLUMNS) {
		log = 63u - (unsigned int)__builtin_clzll(units);
		units += (UINT64_C(1) << (log - 5)) - 1;
	}
	return place_of(units * HEAP_ALIGN);
}

/* The first list from this one on that has an extent; false: none has. */
static bool next_list(const struct heap_part *part, struct place *at)
{
	uint32_t columns;
	uint64_t rows;

	if (at->row >= HEAP_ROWS)
		return false;
	columns = part->columns[at->row] & (uint32_t)(UINT64_MAX << at->column);
	if (!columns) {
		rows = at->row + 1 < HEAP_ROWS ? part->rows & UINT64_MAX << (at->row + 1) : 0;
		if (!rows)
			return false;
		at->row = (unsigned int)__builtin_ctzll(rows);
		columns = part->columns[at->row];
	}
	at->column = (unsigned int)__builtin_ctz(columns);
	return true;
}

static void list_add(struct extent *extent)
{
	struct heap_part *part = extent->part;
	struct place at = place_of(extent->len);
	struct extent **list = &part->lists[at.row][at.column];

	extent->prev = NULL;
	extent->next = *list;
	if (*list)
		(*list)->prev = extent;
	*list = extent;
	part->columns[at.row] |= 1u << at.column;
	part->rows |= UINT64_C(1) << at.row;
}

static void list_remove(struct extent *extent)
{
	struct heap_part *part = extent->part;
	struct place at = place_of(extent->len);

	if (extent->next)
		extent->next->prev = extent->prev;
	if (extent->prev) {
		extent->prev->next = extent->next;
		return;
	}
	part->lists[at.row][at.column] = extent->next;
	if (extent->next)
		return;
	part->columns[at.row] &= ~(1u << at.column);
	if (!part->columns[at.row])
		part->rows &= ~(UINT64_C(1) << at.row);
}

static struct extent *extent_new(struct heap_part *part, uint64_t offset, uint64_t len)
{
	struct extent *extent = calloc(1, sizeof(*extent));

	if (extent) {
		extent->part = part;
		extent->offset = offset;
		extent->len = len;
	}
	return extent;
}

struct heap_part *pn_heap_part_new(struct pn_region *region, uint64_t iova)
{
	struct heap_part *part = calloc(1, sizeof(*part));

	if (!part)
		return NULL;
	part->region = region;
	part->vaddr = region->vaddr;
	part->size = pn_align_down(region->size, HEAP_ALIGN);
	part->iova = iova;
	part->numa_node = region->numa_node;
	part->first = extent_new(part, 0, part->size);
	/* Blocks of a slab are aligned in it: it has to begin at a page, for the device as well. */
	if (!(((uint64_t)(uintptr_t)part->vaddr | iova) & (PN_PAGE_4K - 1)))
		part->slabs = calloc(part->size / HEAP_SLAB + 1, sizeof(struct slab *));
	if (!part->first) {
		free(part->slabs);
		free(part);
		return NULL;
	}
	list_add(part->first);
	return part;
}

void pn_heap_part_free(struct heap_part *part)
{
	struct extent *extent, *after;

	for (extent = part->first; extent; extent = after) {
		after = extent->after;
		free(extent);
	}
	free(part->slabs);
	free(part);
}

/*
 * Where a block would start in a free extent, or UINT64_MAX. Both the address and the IOVA have to
 * be aligned; when they differ by less than the alignment demands, no place does.
 */
static uint64_t start_in(const struct extent *extent, const struct want *want)
{
	const struct heap_part *part = extent->part;
	uint64_t base = (uint64_t)(uintptr_t)part->vaddr, start;

	start = want->step > 1 ? pn_align_up(extent->offset, want->step)
			       : pn_align_up(base + extent->offset, want->align) - base;
	if ((part->iova + start) & (want->align - 1) || (base + start) & (want->align - 1))
		return UINT64_MAX;
	if (start < extent->offset || start - extent->offset > extent->len)
		return UINT64_MAX;
	if (extent->len - (start - extent->offset) < want->bytes)
		return UINT64_MAX;
	return start;
}

/* A good fit at once: one so long that the block fits however the extent is aligned. */
static struct extent *find_good(const struct heap_part *part, const struct want *want)
{
	uint64_t slack = (want->step > want->align ? want->step : want->align) - 1, need;
	struct place at;

	need = want->bytes + pn_align_down(slack, HEAP_ALIGN);
	if (need < want->bytes || need > part->size)
		return NULL;
	at = place_above(need);
	return next_list(part, &at) ? part->lists[at.row][at.column] : NULL;
}

static struct extent *find_in_list(
	const struct heap_part *part, struct place at, const struct want *want, unsigned int tries)
{
	struct extent *extent = part->lists[at.row][at.column];

	for (; extent && tries; extent = extent->next, tries--) {
		if (start_in(extent, want) != UINT64_MAX)
			return extent;
	}
	return NULL;
}

/* Every extent that is long enough, shortest first. */
static struct extent *find_any(const struct heap_part *part, const struct want *want)
{
	struct place at = place_of(want->bytes);

	while (next_list(part, &at)) {
		struct extent *extent = find_in_list(part, at, want, UINT32_MAX);

		if (extent)
			return extent;
		if (++at.column == HEAP_COLUMNS)
			at = (struct place){at.row + 1, 0};
	}
	return NULL;
}

static struct extent *find(const struct heap_part *part, const struct want *want)
{
	struct extent *extent;

	if (want->bytes > part->size)
		return NULL;
	extent = find_in_list(part, place_of(want->bytes), want, EXACT_TRIES);
	if (extent)
		return extent;
	extent = find_good(part, want);
	if (extent && start_in(extent, want) != UINT64_MAX)
		return extent;
	return find_any(part, want);
}

/* Put a new extent behind another. */
static void insert_after(struct extent *extent, struct extent *new)
{
	new->before = extent;
	new->after = extent->after;
	if (new->after)
		new->after->before = new;
	extent->after = new;
}

/* Cut [start, start + bytes) out of a free extent; NULL: no memory, and nothing has changed. */
static struct extent *cut(struct extent *extent, uint64_t start, uint64_t bytes)
{
	uint64_t head = start - extent->offset;
	uint64_t tail = extent->len - head - bytes;
	struct extent *block = extent, *rest = NULL;

	if (tail) {
		rest = extent_new(extent->part, start + bytes, tail);
		if (!rest)
			return NULL;
	}
	if (head) {
		block = extent_new(extent->part, start, bytes);
		if (!block) {
			free(rest);
			return NULL;
		}
	}
	list_remove(extent);
	if (head) {
		extent->len = head;
		list_add(extent);
		insert_after(extent, block);
	}
	block->len = bytes;
	if (rest) {
		insert_after(block, rest);
		list_add(rest);
	}
	block->used = true;
	block->part->blocks++;
	return block;
}

static struct extent *carve_from(struct heap_part *part, const struct want *want, bool *nomem)
{
	struct extent *extent = find(part, want), *block;

	if (!extent)
		return NULL;
	block = cut(extent, start_in(extent, want), want->bytes);
	if (!block)
		*nomem = true;
	return block;
}

struct extent *pn_heap_carve(struct pn_heap *heap, const struct want *want, bool *nomem)
{
	const bool choosy = want->numa_node != PN_NODE_ANY;
	struct extent *block;

	*nomem = false;
	/* First the node that was asked for, then the others. */
	for (int other = 0; other <= (choosy && !want->node_only); other++) {
		for (struct heap_part *part = heap->parts; part; part = part->next) {
			if (!part->region ||
				(choosy && (part->numa_node != want->numa_node) != (bool)other))
				continue;
			block = carve_from(part, want, nomem);
			if (block || *nomem)
				return block;
		}
	}
	return NULL;
}

/* Join a free extent with the one behind it, if that is free. */
static void join(struct extent *extent)
{
	struct extent *after = extent->after;

	if (!after || after->used)
		return;
	list_remove(after);
	extent->len += after->len;
	extent->after = after->after;
	if (extent->after)
		extent->after->before = extent;
	free(after);
}

void pn_heap_release(struct extent *extent)
{
	struct extent *before = extent->before;

	extent->used = extent->slab = false;
	extent->part->blocks--;
	join(extent);
	if (before && !before->used) {
		list_remove(before);
		before->len += extent->len;
		before->after = extent->after;
		if (before->after)
			before->after->before = before;
		free(extent);
		extent = before;
	}
	list_add(extent);
}

static size_t hash_of(const struct pn_heap *heap, const struct heap_part *part, uint64_t offset)
{
	uint64_t key = (uint64_t)(uintptr_t)part->vaddr / HEAP_ALIGN + offset / HEAP_ALIGN;

	return (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (heap->hash_size - 1);
}

/* The block begins behind the red zone in front of it. */
static uint64_t block_offset(const struct extent *extent)
{
	return extent->offset + extent->front;
}

static void hash_grow(struct pn_heap *heap)
{
	size_t old_size = heap->hash_size, size = old_size ? 2 * old_size : 64;
	struct extent **old = heap->hash, **hash = calloc(size, sizeof(struct extent *));

	/* Without it the chains become longer. */
	if (!hash)
		return;
	heap->hash = hash;
	heap->hash_size = size;
	for (size_t i = 0; i < old_size; i++) {
		struct extent *extent = old[i], *next;

		for (; extent; extent = next) {
			size_t at = hash_of(heap, extent->part, block_offset(extent));

			next = extent->next;
			extent->next = hash[at];
			hash[at] = extent;
		}
	}
	free(old);
}

int pn_heap_hash_add(struct pn_heap *heap, struct extent *extent)
{
	size_t at;

	if (heap->hash_used == heap->hash_size)
		hash_grow(heap);
	if (!heap->hash_size)
		return -ENOMEM;
	at = hash_of(heap, extent->part, block_offset(extent));
	extent->next = heap->hash[at];
	heap->hash[at] = extent;
	heap->hash_used++;
	return 0;
}

struct extent *pn_heap_hash_find(
	struct pn_heap *heap, const struct heap_part *part, uint64_t offset, bool take)
{
	struct extent **link;

	if (!heap->hash_size)
		return NULL;
	for (link = &heap->hash[hash_of(heap, part, offset)]; *link; link = &(*link)->next) {
		struct extent *extent = *link;

		if (extent->part != part || block_offset(extent) != offset)
			continue;
		if (take) {
			*link = extent->next;
			heap->hash_used--;
		}
		return extent;
	}
	return NULL;
}

uint64_t pn_heap_part_available(const struct heap_part *part, uint64_t *largest)
{
	uint64_t sum = 0;

	for (const struct extent *extent = part->first; extent; extent = extent->after) {
		if (extent->used)
			continue;
		sum += extent->len;
		if (extent->len > *largest)
			*largest = extent->len;
	}
	return sum;
}
