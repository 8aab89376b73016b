/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A heap over one mapped region: blocks for descriptor rings and packet pools, taken at set-up
 * time, not on the data path. Its books are kept outside the region, where no device can write.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "mem_priv.h"

#define HEAP_ALIGN 64u

/* A run of the region. All runs together, in order of offset, cover it without gap or overlap. */
struct extent {
	struct extent *next;
	uint64_t offset;
	uint64_t len;
	bool used;
};

struct pn_heap {
	pthread_mutex_t lock;
	struct pn_region *region;
	uint64_t iova;
	struct extent *first;
};

static struct extent *extent_new(uint64_t offset, uint64_t len, struct extent *next)
{
	struct extent *extent = calloc(1, sizeof(*extent));

	if (extent) {
		extent->offset = offset;
		extent->len = len;
		extent->next = next;
	}
	return extent;
}

int pn_heap_create(struct pn_heap **out, struct pn_region *region, uint64_t iova)
{
	struct pn_heap *heap;

	if (region->backing == PN_BACKING_DEVICE)
		return pn_fail(EOPNOTSUPP,
			"a heap hands out memory; region \"%s\" is a part of a BAR", region->name);
	if (!region->writable)
		return pn_fail(EACCES, "a heap writes to its blocks; region \"%s\" is read only",
			region->name);
	heap = calloc(1, sizeof(*heap));
	if (!heap)
		goto no_memory;
	heap->first = extent_new(0, region->size, NULL);
	if (!heap->first)
		goto no_memory;
	pthread_mutex_init(&heap->lock, NULL);
	heap->region = region;
	heap->iova = iova;
	pn_region_get(region);
	*out = heap;
	return 0;

no_memory:
	free(heap);
	return pn_fail(ENOMEM, "no memory for the books of a heap");
}

int pn_heap_destroy(struct pn_heap *heap)
{
	uint64_t blocks = 0, bytes = 0;
	struct extent *extent, *next;

	if (!heap)
		return 0;
	for (extent = heap->first; extent; extent = extent->next) {
		if (extent->used) {
			blocks++;
			bytes += extent->len;
		}
	}
	if (blocks)
		return pn_fail(EBUSY,
			"the heap on region \"%s\" still has %" PRIu64 " blocks (%" PRIu64
			" bytes) handed out",
			heap->region->name, blocks, bytes);
	for (extent = heap->first; extent; extent = next) {
		next = extent->next;
		free(extent);
	}
	pn_region_put(heap->region);
	pthread_mutex_destroy(&heap->lock);
	free(heap);
	return 0;
}

/*
 * Where a block would start in a free run, or UINT64_MAX. Both the address and the IOVA have to be
 * aligned; when they differ by less than the alignment demands, no place does and the run is passed
 * over.
 */
static uint64_t place(
	const struct pn_heap *heap, const struct extent *extent, uint64_t bytes, uint64_t align)
{
	uint64_t base = (uint64_t)(uintptr_t)heap->region->vaddr;
	uint64_t start = pn_align_up(base + extent->offset, align) - base;

	if ((heap->iova + start) & (align - 1))
		return UINT64_MAX;
	if (start < extent->offset || start - extent->offset > extent->len)
		return UINT64_MAX;
	if (extent->len - (start - extent->offset) < bytes)
		return UINT64_MAX;
	return start;
}

/* Cut [start, start + bytes) out of a free run; 0 or -ENOMEM with nothing changed. */
static int carve(struct extent *extent, uint64_t start, uint64_t bytes)
{
	uint64_t head = start - extent->offset;
	uint64_t tail = extent->len - head - bytes;
	struct extent *block = extent, *rest = NULL;

	if (tail) {
		rest = extent_new(start + bytes, tail, extent->next);
		if (!rest)
			return -ENOMEM;
	}
	if (head) {
		block = extent_new(start, bytes, rest ? rest : extent->next);
		if (!block) {
			free(rest);
			return -ENOMEM;
		}
		extent->len = head;
		extent->next = block;
	} else {
		block->len = bytes;
		if (rest)
			block->next = rest;
	}
	block->used = true;
	return 0;
}

static uint64_t available(const struct pn_heap *heap, uint64_t *largest)
{
	const struct extent *extent;
	uint64_t sum = 0, most = 0;

	for (extent = heap->first; extent; extent = extent->next) {
		if (extent->used)
			continue;
		sum += extent->len;
		if (extent->len > most)
			most = extent->len;
	}
	if (largest)
		*largest = most;
	return sum;
}

void *pn_heap_alloc(struct pn_heap *heap, uint64_t bytes, uint64_t align, uint64_t *iova)
{
	uint64_t start = UINT64_MAX, sum, largest;
	struct extent *extent;
	void *block = NULL;

	if (!align)
		align = HEAP_ALIGN;
	if (!bytes || !pn_is_pow2(align)) {
		pn_fail(EINVAL,
			"a block of %" PRIu64 " bytes aligned to %" PRIu64
			" was asked for; the size must not be 0, the alignment a power of two",
			bytes, align);
		return NULL;
	}
	pthread_mutex_lock(&heap->lock);
	sum = available(heap, &largest);
	if (bytes > largest)
		goto full;
	/* Whole cache lines: two blocks never share one. */
	bytes = pn_align_up(bytes, HEAP_ALIGN);
	for (extent = heap->first; extent; extent = extent->next) {
		if (extent->used)
			continue;
		start = place(heap, extent, bytes, align);
		if (start != UINT64_MAX)
			break;
	}
	if (!extent)
		goto full;
	if (carve(extent, start, bytes)) {
		pn_fail(ENOMEM, "no memory for the books of a heap");
		goto out;
	}
	block = (char *)heap->region->vaddr + start;
	if (iova)
		*iova = heap->iova + start;
	memset(block, 0, bytes);
	goto out;

full:
	pn_fail(ENOMEM,
		"%" PRIu64 " bytes of DMA memory aligned to %" PRIu64
		" were asked for, but of the %" PRIu64 " bytes of region \"%s\" %" PRIu64
		" are free, the largest run %" PRIu64 ": make the region larger",
		bytes, align, heap->region->size, heap->region->name, sum, largest);
out:
	pthread_mutex_unlock(&heap->lock);
	return block;
}

/* Join a free run with the free run after it. */
static void merge_next(struct extent *extent)
{
	struct extent *next = extent->next;

	if (!next || extent->used || next->used)
		return;
	extent->len += next->len;
	extent->next = next->next;
	free(next);
}

int pn_heap_free(struct pn_heap *heap, void *block)
{
	struct extent *extent, *before = NULL;
	uint64_t offset;
	int ret = 0;

	if (!block)
		return 0;
	offset = (uint64_t)(uintptr_t)block - (uint64_t)(uintptr_t)heap->region->vaddr;
	pthread_mutex_lock(&heap->lock);
	for (extent = heap->first; extent && extent->offset != offset; extent = extent->next)
		before = extent;
	if (!extent || !extent->used) {
		ret = pn_fail(EINVAL, "%p is not a block of the heap on region \"%s\"", block,
			heap->region->name);
	} else {
		extent->used = false;
		merge_next(extent);
		if (before)
			merge_next(before);
	}
	pthread_mutex_unlock(&heap->lock);
	return ret;
}

uint64_t pn_heap_available(struct pn_heap *heap, uint64_t *largest)
{
	uint64_t sum;

	pthread_mutex_lock(&heap->lock);
	sum = available(heap, largest);
	pthread_mutex_unlock(&heap->lock);
	return sum;
}
