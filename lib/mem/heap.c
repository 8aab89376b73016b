/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A heap over mapped regions: blocks for descriptor rings, packet pools and whatever else a device
 * reads or writes. It can be asked for blocks with their IOVAs, and grows from a source.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap_priv.h"

static int check_region(const struct pn_region *region)
{
	if (region->backing == PN_BACKING_DEVICE)
		return pn_fail(EOPNOTSUPP,
			"a heap hands out memory; region \"%s\" is a part of a BAR", region->name);
	if (!region->writable)
		return pn_fail(EACCES, "a heap writes to its blocks; region \"%s\" is read only",
			region->name);
	return 0;
}

/* Under the lock. */
static struct heap_part *find_part(const struct pn_heap *heap, const struct pn_region *region)
{
	struct heap_part *part = heap->parts;

	while (part && part->region != region)
		part = part->next;
	return part;
}

/* At the end, so that the first region is used first. Under the lock. */
static void append(struct pn_heap *heap, struct heap_part *part)
{
	struct heap_part **link = &heap->parts;

	while (*link)
		link = &(*link)->next;
	__atomic_store_n(link, part, __ATOMIC_RELEASE);
}

static int add_region(struct pn_heap *heap, struct pn_region *region, uint64_t iova, bool grown)
{
	struct heap_part *part;
	int ret = check_region(region);

	if (ret)
		return ret;
	part = pn_heap_part_new(region, iova);
	if (!part)
		return pn_fail(ENOMEM, "no memory for the books of a heap");
	part->grown = grown;
	pthread_mutex_lock(&heap->lock);
	if (find_part(heap, region)) {
		ret = pn_fail(EEXIST, "the heap has region \"%s\" already", region->name);
	} else {
		/* Not before it is known that no blocks are there. */
		if (heap->opts.check)
			pn_heap_check_fill(part, 0, part->size);
		pn_region_get(region);
		append(heap, part);
		heap->grown += grown;
	}
	pthread_mutex_unlock(&heap->lock);
	if (ret)
		pn_heap_part_free(part);
	return ret;
}

int pn_heap_add(struct pn_heap *heap, struct pn_region *region, uint64_t iova)
{
	return add_region(heap, region, iova, false);
}

int pn_heap_create_with(struct pn_heap **out, struct pn_region *region, uint64_t iova,
	const struct pn_heap_opts *opts)
{
	struct pn_heap *heap;
	int ret;

	if (region && check_region(region))
		return region->backing == PN_BACKING_DEVICE ? -EOPNOTSUPP : -EACCES;
	heap = aligned_alloc(_Alignof(struct pn_heap), sizeof(*heap));
	if (!heap)
		return pn_fail(ENOMEM, "no memory for the books of a heap");
	memset(heap, 0, sizeof(*heap));
	heap->opts = *opts;
	if (opts->source)
		heap->source = *opts->source;
	pthread_mutex_init(&heap->lock, NULL);
	pthread_mutex_init(&heap->grow, NULL);
	for (unsigned int i = 0; i < HEAP_SLOTS; i++)
		pthread_mutex_init(&heap->slots[i].lock, NULL);
	ret = region ? add_region(heap, region, iova, false) : 0;
	if (ret)
		pn_heap_destroy(heap);
	else
		*out = heap;
	return ret;
}

int pn_heap_create(struct pn_heap **out, struct pn_region *region, uint64_t iova)
{
	static const struct pn_heap_opts usual = PN_HEAP_OPTS_INIT;

	return pn_heap_create_with(out, region, iova, &usual);
}

/* Blocks, and their bytes; small ones as well. Under the lock. */
static uint64_t count_blocks(const struct pn_heap *heap, uint64_t *bytes)
{
	uint64_t blocks = heap->blocks;

	*bytes = heap->bytes;
	for (unsigned int i = 0; i < HEAP_SLOTS; i++) {
		blocks += __atomic_load_n(&heap->slots[i].blocks, __ATOMIC_RELAXED);
		*bytes += __atomic_load_n(&heap->slots[i].bytes, __ATOMIC_RELAXED);
	}
	return blocks;
}

/* For messages: what the heap is on. Under the lock. */
static const char *name_of(const struct pn_heap *heap, char text[64])
{
	const struct heap_part *named = NULL;
	unsigned int count = 0;

	for (const struct heap_part *part = heap->parts; part; part = part->next) {
		if (!part->region)
			continue;
		named = part;
		count++;
	}
	if (count == 1)
		snprintf(text, 64, "region \"%s\"", named->region->name);
	else
		snprintf(text, 64, "%u regions", count);
	return text;
}

/* Of a part without blocks: nobody can find it any more. Under the lock. */
static struct pn_region *detach(struct heap_part *part)
{
	struct pn_region *region = part->region;

	__atomic_store_n(&part->region, NULL, __ATOMIC_RELEASE);
	pn_region_put(region);
	return region;
}

/* Empty, and not part of the heap any more, or NULL. Under the lock. */
static struct heap_part *take_empty(struct pn_heap *heap)
{
	for (struct heap_part *part = heap->parts; part; part = part->next) {
		if (part->region && part->grown && !part->blocks)
			return part;
	}
	return NULL;
}

int pn_heap_trim(struct pn_heap *heap)
{
	int count = 0, ret = 0;

	pn_heap_small_drain(heap);
	pthread_mutex_lock(&heap->grow);
	while (!ret) {
		struct pn_region *region = NULL;
		struct heap_part *part;

		pthread_mutex_lock(&heap->lock);
		part = take_empty(heap);
		if (part)
			region = detach(part);
		pthread_mutex_unlock(&heap->lock);
		if (!part)
			break;
		ret = heap->source.shrink(heap->source.arg, region, part->iova);
		pthread_mutex_lock(&heap->lock);
		if (ret) {
			pn_region_get(region);
			__atomic_store_n(&part->region, region, __ATOMIC_RELEASE);
		} else {
			heap->shrunk++;
			count++;
		}
		pthread_mutex_unlock(&heap->lock);
	}
	pthread_mutex_unlock(&heap->grow);
	return ret ? ret : count;
}

static void free_parts(struct pn_heap *heap)
{
	struct heap_part *part, *next;

	for (part = heap->parts; part; part = next) {
		next = part->next;
		if (part->region)
			pn_region_put(part->region);
		pn_heap_part_free(part);
	}
}

int pn_heap_destroy(struct pn_heap *heap)
{
	uint64_t blocks, bytes;
	struct slab *spare;
	char name[64];

	if (!heap)
		return 0;
	blocks = count_blocks(heap, &bytes);
	if (blocks)
		return pn_fail(EBUSY,
			"the heap on %s still has %" PRIu64 " blocks (%" PRIu64
			" bytes) handed out",
			name_of(heap, name), blocks, bytes);
	if (heap->source.shrink) {
		int ret = pn_heap_trim(heap);

		if (ret < 0)
			return ret;
	}
	pn_heap_small_drain(heap);
	free_parts(heap);
	while ((spare = heap->spare)) {
		heap->spare = spare->next;
		free(spare);
	}
	for (unsigned int i = 0; i < HEAP_SLOTS; i++)
		pthread_mutex_destroy(&heap->slots[i].lock);
	pthread_mutex_destroy(&heap->grow);
	pthread_mutex_destroy(&heap->lock);
	if (heap->source.close)
		heap->source.close(heap->source.arg);
	free(heap->hash);
	free(heap);
	return 0;
}

int pn_heap_remove(struct pn_heap *heap, struct pn_region *region)
{
	struct heap_part *part;
	int ret = 0;

	pn_heap_small_drain(heap);
	pthread_mutex_lock(&heap->lock);
	part = find_part(heap, region);
	if (!region || !part)
		ret = pn_fail(ENOENT, "the heap does not have that region");
	else if (part->blocks)
		ret = pn_fail(EBUSY, "%u blocks of region \"%s\" are still handed out",
			part->blocks, region->name);
	else
		detach(part);
	pthread_mutex_unlock(&heap->lock);
	return ret;
}

struct heap_part *pn_heap_part_of(const struct pn_heap *heap, const void *address)
{
	struct heap_part *part = __atomic_load_n(&heap->parts, __ATOMIC_ACQUIRE);
	uintptr_t at = (uintptr_t)address;

	for (; part; part = __atomic_load_n(&part->next, __ATOMIC_ACQUIRE)) {
		if (at - (uintptr_t)part->vaddr < part->size &&
			__atomic_load_n(&part->region, __ATOMIC_ACQUIRE))
			return part;
	}
	return NULL;
}

static uint64_t available(const struct pn_heap *heap, uint64_t *largest)
{
	uint64_t sum = 0;

	*largest = 0;
	for (const struct heap_part *part = heap->parts; part; part = part->next) {
		if (part->region)
			sum += pn_heap_part_available(part, largest);
	}
	return sum;
}

static uint64_t total(const struct pn_heap *heap, uint32_t *regions)
{
	uint64_t bytes = 0;

	for (const struct heap_part *part = heap->parts; part; part = part->next) {
		if (!part->region)
			continue;
		bytes += part->size;
		++*regions;
	}
	return bytes;
}

static int fail_full(struct pn_heap *heap, const struct pn_heap_want *want, uint64_t align)
{
	uint64_t sum, largest, all;
	uint32_t regions = 0;
	char name[64];

	pthread_mutex_lock(&heap->lock);
	sum = available(heap, &largest);
	all = total(heap, &regions);
	name_of(heap, name);
	pthread_mutex_unlock(&heap->lock);
	return pn_fail(ENOMEM,
		"%" PRIu64 " bytes of DMA memory aligned to %" PRIu64
		" were asked for%s, but of the %" PRIu64 " bytes of %s %" PRIu64
		" are free, the largest run %" PRIu64 ": make the region larger",
		want->bytes, align, want->node_only ? " on one NUMA node" : "", all, name, sum,
		largest);
}

/* Of a whole extent: its books, under the lock. */
static int keep_books(struct pn_heap *heap, struct extent *extent, uint64_t asked, uint64_t front)
{
	extent->asked = asked;
	extent->front = front;
	if (pn_heap_hash_add(heap, extent)) {
		pn_heap_release(extent);
		return -ENOMEM;
	}
	heap->blocks++;
	heap->allocs++;
	heap->bytes += extent->len;
	if (heap->bytes > heap->peak)
		heap->peak = heap->bytes;
	if (extent->len <= HEAP_SMALL_MAX)
		__atomic_store_n(&heap->small_blocks, heap->small_blocks + 1, __ATOMIC_RELAXED);
	return 0;
}

/* In a heap that checks, under the lock. Damage is counted and said, and the block is as good as
 * any. */
static void arm(struct pn_heap *heap, struct extent *extent)
{
	if (pn_heap_check_free(extent)) {
		pn_log(PN_LOG_ERROR, "%s", pn_error());
		heap->damaged++;
	}
	pn_heap_check_arm(extent);
}

/* Not from a slab. 0; -ENOSPC: no room; -ENOMEM: no memory for the books. */
static int alloc_extent(struct pn_heap *heap, const struct pn_heap_want *want, uint64_t align,
	struct extent **out, uint64_t *need)
{
	struct want room = {.align = align,
		.step = 1,
		.numa_node = want->numa_node,
		.node_only = want->node_only};
	uint64_t front = 0;
	bool nomem = false;
	int ret = 0;

	if (heap->opts.check) {
		room.bytes = pn_heap_check_room(want->bytes, align, &front);
		room.align = front;
	} else {
		room.bytes = pn_align_up(want->bytes, HEAP_ALIGN);
	}
	/* Regions begin at pages. */
	*need = room.bytes + (room.align > PN_PAGE_4K ? room.align : 0);
	pthread_mutex_lock(&heap->lock);
	*out = pn_heap_carve(heap, &room, &nomem);
	if (!*out)
		ret = nomem ? -ENOMEM : -ENOSPC;
	else
		ret = keep_books(heap, *out, want->bytes, front);
	if (!ret && heap->opts.check)
		arm(heap, *out);
	pthread_mutex_unlock(&heap->lock);
	if (ret == -ENOMEM)
		pn_fail(ENOMEM, "no memory for the books of a heap");
	return ret;
}

/* Ask the source for a region with room for that. 0, or its errno; -ENOSPC: there is no source. */
static int grow(struct pn_heap *heap, uint64_t need)
{
	struct pn_region *region = NULL;
	uint64_t iova = 0;
	int ret;

	if (!heap->source.grow)
		return -ENOSPC;
	ret = heap->source.grow(heap->source.arg, need, &region, &iova);
	if (ret)
		return pn_fail_prefix(ret == -ENOSPC ? -ENOMEM : ret, "the heap cannot grow: ");
	ret = add_region(heap, region, iova, true);
	if (ret)
		heap->source.shrink(heap->source.arg, region, iova);
	return ret;
}

/* With one thread at a time growing: what another has just added may do. */
static int alloc_growing(
	struct pn_heap *heap, const struct pn_heap_want *want, uint64_t align, struct extent **out)
{
	uint64_t need;
	int ret;

	pthread_mutex_lock(&heap->grow);
	ret = alloc_extent(heap, want, align, out, &need);
	if (ret == -ENOSPC) {
		ret = grow(heap, need);
		if (!ret)
			ret = alloc_extent(heap, want, align, out, &need);
	}
	pthread_mutex_unlock(&heap->grow);
	return ret;
}

/* From the whole of the heap, with all that can be made free. NULL: said why. */
static void *alloc_large(struct pn_heap *heap, const struct pn_heap_want *want, uint64_t align,
	struct heap_part **part)
{
	struct extent *extent = NULL;
	uint64_t need;
	int ret = alloc_extent(heap, want, align, &extent, &need);

	if (ret == -ENOSPC && pn_heap_small_drain(heap))
		ret = alloc_extent(heap, want, align, &extent, &need);
	if (ret == -ENOSPC)
		ret = alloc_growing(heap, want, align, &extent);
	if (!ret) {
		*part = extent->part;
		return extent->part->vaddr + extent->offset + extent->front;
	}
	pthread_mutex_lock(&heap->lock);
	heap->failures++;
	pthread_mutex_unlock(&heap->lock);
	if (ret == -ENOSPC)
		fail_full(heap, want, align);
	return NULL;
}

/* More than any heap can have, so that sums below do not wrap. */
#define HEAP_MOST (UINT64_C(1) << 48)

void *pn_heap_take(struct pn_heap *heap, const struct pn_heap_want *want, uint64_t *iova)
{
	uint64_t align = want->align ? want->align : HEAP_ALIGN;
	struct heap_part *part = NULL;
	void *block = NULL;

	if (!want->bytes || !pn_is_pow2(align)) {
		pn_fail(EINVAL,
			"a block of %" PRIu64 " bytes aligned to %" PRIu64
			" was asked for; the size must not be 0, the alignment a power of two",
			want->bytes, align);
		return NULL;
	}
	if (want->bytes > HEAP_MOST || align > HEAP_MOST) {
		fail_full(heap, want, align);
		return NULL;
	}
	if (pn_heap_is_small(heap, want->bytes, align)) {
		const struct want small = {.bytes = want->bytes,
			.align = align,
			.step = 1,
			.numa_node = want->numa_node,
			.node_only = want->node_only};

		block = pn_heap_small_alloc(heap, &small, &part);
	}
	if (!block)
		block = alloc_large(heap, want, align, &part);
	if (!block)
		return NULL;
	if (iova)
		*iova = part->iova + (uint64_t)((char *)block - part->vaddr);
	if (!want->dirty)
		memset(block, 0, want->bytes);
	return block;
}

void *pn_heap_alloc(struct pn_heap *heap, uint64_t bytes, uint64_t align, uint64_t *iova)
{
	struct pn_heap_want want = PN_HEAP_WANT_INIT;

	want.bytes = bytes;
	want.align = align;
	return pn_heap_take(heap, &want, iova);
}

static void release(struct pn_heap *heap, struct extent *extent)
{
	heap->blocks--;
	heap->frees++;
	heap->bytes -= extent->len;
	if (extent->len <= HEAP_SMALL_MAX)
		__atomic_store_n(&heap->small_blocks, heap->small_blocks - 1, __ATOMIC_RELAXED);
	pn_heap_release(extent);
}

static int free_extent(struct pn_heap *heap, struct heap_part *part, uint64_t offset)
{
	struct extent *extent;
	int ret = 0;

	pthread_mutex_lock(&heap->lock);
	extent = pn_heap_hash_find(heap, part, offset, true);
	if (!extent) {
		pthread_mutex_unlock(&heap->lock);
		return -EINVAL;
	}
	if (heap->opts.check) {
		ret = pn_heap_check_block(extent);
		heap->damaged += ret != 0;
		pn_heap_check_fill(part, extent->offset, extent->len);
	}
	release(heap, extent);
	pthread_mutex_unlock(&heap->lock);
	return ret;
}

int pn_heap_free(struct pn_heap *heap, void *block)
{
	struct heap_part *part;
	uint64_t offset = 0;
	int ret = -EINVAL;
	char name[64];

	if (!block)
		return 0;
	part = pn_heap_part_of(heap, block);
	if (part) {
		struct slab *slab;

		offset = (uint64_t)((char *)block - part->vaddr);
		slab = pn_heap_slab_at(part, offset);
		ret = slab ? pn_heap_small_free(heap, slab, offset)
			   : free_extent(heap, part, offset);
	}
	if (ret != -EINVAL)
		return ret;
	pthread_mutex_lock(&heap->lock);
	name_of(heap, name);
	pthread_mutex_unlock(&heap->lock);
	return pn_fail(EINVAL, "%p is not a block of the heap on %s", block, name);
}

uint64_t pn_heap_available(struct pn_heap *heap, uint64_t *largest)
{
	uint64_t sum, most;

	pn_heap_small_drain(heap);
	pthread_mutex_lock(&heap->lock);
	sum = available(heap, &most);
	pthread_mutex_unlock(&heap->lock);
	if (largest)
		*largest = most;
	return sum;
}

void pn_heap_get_stats(struct pn_heap *heap, struct pn_heap_stats *stats)
{
	*stats = (struct pn_heap_stats){0};
	pthread_mutex_lock(&heap->lock);
	stats->bytes = total(heap, &stats->regions);
	stats->free = available(heap, &stats->free_run);
	stats->blocks = count_blocks(heap, &stats->used);
	stats->used_peak = heap->peak;
	stats->allocs = heap->allocs;
	stats->frees = heap->frees;
	stats->failures = heap->failures;
	stats->grown = heap->grown;
	stats->shrunk = heap->shrunk;
	stats->damaged = heap->damaged;
	pthread_mutex_unlock(&heap->lock);
	for (unsigned int i = 0; i < HEAP_SLOTS; i++) {
		stats->allocs += __atomic_load_n(&heap->slots[i].allocs, __ATOMIC_RELAXED);
		stats->frees += __atomic_load_n(&heap->slots[i].frees, __ATOMIC_RELAXED);
	}
	if (stats->bytes > stats->used + stats->free)
		stats->free_small = stats->bytes - stats->used - stats->free;
}

int pn_heap_check(struct pn_heap *heap)
{
	int ret = 0;

	if (!heap->opts.check)
		return pn_fail(EOPNOTSUPP, "the heap was not made to check");
	pthread_mutex_lock(&heap->lock);
	for (struct heap_part *part = heap->parts; part && !ret; part = part->next) {
		struct extent *extent = part->region ? part->first : NULL;

		for (; extent && !ret; extent = extent->after)
			ret = extent->used ? pn_heap_check_block(extent)
					   : pn_heap_check_free(extent);
	}
	heap->damaged += ret != 0;
	pthread_mutex_unlock(&heap->lock);
	return ret;
}

const struct pn_region *pn_heap_region(const struct pn_heap *heap, const void *block)
{
	const struct heap_part *part = pn_heap_part_of(heap, block);

	return part ? part->region : NULL;
}
