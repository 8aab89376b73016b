/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small blocks, out of slabs: a thread takes them from those of its slot, under a lock that it
 * hardly ever shares, and gives them back to the slab that they are from.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "heap_priv.h"

/* So many small blocks are cut one by one before slabs are worth their size. */
#define SLABS_FROM 32u

/* Each class is at most a fifth larger than what is asked of it, from the sixth on. */
static const uint16_t class_sizes[HEAP_CLASSES] = {
	64, 128, 192, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048};

/* The class for a block, whose blocks all have its alignment; HEAP_CLASSES: none. */
static unsigned int class_of(uint64_t bytes, uint64_t align)
{
	for (unsigned int class = 0; class < HEAP_CLASSES; class ++) {
		if (class_sizes[class] >= bytes && class_sizes[class] % align == 0)
			return class;
	}
	return HEAP_CLASSES;
}

bool pn_heap_is_small(const struct pn_heap *heap, uint64_t bytes, uint64_t align)
{
	return bytes <= HEAP_SMALL_MAX && align <= HEAP_SMALL_MAX && !heap->opts.check;
}

/* Threads differ in where their own variables are. */
static unsigned int own_slot(void)
{
	static __thread char here;
	uint64_t at = (uint64_t)(uintptr_t)&here >> 8;

	return (unsigned int)(at * UINT64_C(0x9e3779b97f4a7c15) >> 40) % HEAP_SLOTS;
}

static uint64_t slab_index(uint64_t offset)
{
	return offset / HEAP_SLAB;
}

struct slab *pn_heap_slab_at(const struct heap_part *part, uint64_t offset)
{
	if (!part->slabs)
		return NULL;
	return __atomic_load_n(&part->slabs[slab_index(offset)], __ATOMIC_ACQUIRE);
}

static struct slab *spare_or_new(struct pn_heap *heap)
{
	struct slab *slab = heap->spare;

	if (slab)
		heap->spare = slab->next;
	else
		slab = malloc(sizeof(*slab));
	return slab;
}

/* Under the heap's lock; and back, under it as well. */
static struct slab *slab_take(struct pn_heap *heap, int numa_node)
{
	/* A node, if one is asked for, and no other: else each block would need a new one. */
	const struct want want = {.bytes = HEAP_SLAB,
		.align = HEAP_ALIGN,
		.step = HEAP_SLAB,
		.numa_node = numa_node,
		.node_only = true};
	struct slab *slab = spare_or_new(heap);
	struct extent *extent;
	bool nomem;

	if (!slab)
		return NULL;
	extent = pn_heap_carve(heap, &want, &nomem);
	if (extent && !extent->part->slabs) {
		pn_heap_release(extent);
		extent = NULL;
	}
	if (!extent) {
		slab->next = heap->spare;
		heap->spare = slab;
		return NULL;
	}
	extent->slab = true;
	memset(slab, 0, sizeof(*slab));
	slab->extent = extent;
	return slab;
}

static void slab_put(struct pn_heap *heap, struct slab *slab)
{
	struct extent *extent = slab->extent;

	__atomic_store_n(&extent->part->slabs[slab_index(extent->offset)], NULL, __ATOMIC_RELEASE);
	pn_heap_release(extent);
	slab->next = heap->spare;
	heap->spare = slab;
}

static void list_add(struct slot *slot, struct slab *slab)
{
	struct slab **list = &slot->partial[slab->class];

	slab->prev = NULL;
	slab->next = *list;
	if (*list)
		(*list)->prev = slab;
	*list = slab;
}

static void list_remove(struct slot *slot, struct slab *slab)
{
	if (slab->next)
		slab->next->prev = slab->prev;
	if (slab->prev)
		slab->prev->next = slab->next;
	else
		slot->partial[slab->class] = slab->next;
}

/* One more slab for a slot, under its lock; NULL: no room. */
static struct slab *slab_new(
	struct pn_heap *heap, unsigned int slot, unsigned int class, const struct want *want)
{
	struct slab *slab;

	pthread_mutex_lock(&heap->lock);
	slab = slab_take(heap, want->numa_node);
	pthread_mutex_unlock(&heap->lock);
	if (!slab)
		return NULL;
	slab->slot = slot;
	slab->class = class;
	slab->size = class_sizes[class];
	slab->count = slab->free = (unsigned int)(HEAP_SLAB / slab->size);
	list_add(&heap->slots[slot], slab);
	/* From here on a block's address finds it. */
	__atomic_store_n(&slab->extent->part->slabs[slab_index(slab->extent->offset)], slab,
		__ATOMIC_RELEASE);
	return slab;
}

/* A slab of this slot on the node that is wanted. */
static struct slab *find_partial(
	const struct slot *slot, unsigned int class, const struct want *want)
{
	struct slab *slab = slot->partial[class];

	if (want->numa_node == PN_NODE_ANY)
		return slab;
	while (slab && slab->extent->part->numa_node != want->numa_node)
		slab = slab->next;
	return slab;
}

/* Its first free block; there is one. */
static uint64_t take_block(struct slab *slab)
{
	unsigned int word = 0, bit;

	while (!~slab->used[word])
		word++;
	bit = (unsigned int)__builtin_ctzll(~slab->used[word]);
	slab->used[word] |= UINT64_C(1) << bit;
	slab->free--;
	return slab->extent->offset + (uint64_t)(64 * word + bit) * slab->size;
}

/* Counters of a slot are its lock holder's to change, and anybody's to read. */
static void count(uint64_t *counter, uint64_t by)
{
	__atomic_store_n(counter, *counter + by, __ATOMIC_RELAXED);
}

/* Are there so many that slabs pay? Once they do, they stay. */
static bool slabs_pay(struct pn_heap *heap)
{
	if (__atomic_load_n(&heap->small, __ATOMIC_RELAXED))
		return true;
	if (__atomic_load_n(&heap->small_blocks, __ATOMIC_RELAXED) < SLABS_FROM)
		return false;
	__atomic_store_n(&heap->small, true, __ATOMIC_RELAXED);
	return true;
}

void *pn_heap_small_alloc(struct pn_heap *heap, const struct want *want, struct heap_part **part)
{
	unsigned int class = class_of(want->bytes, want->align), own = own_slot();
	struct slot *slot = &heap->slots[own];
	struct slab *slab;
	void *block = NULL;

	if (class == HEAP_CLASSES || !slabs_pay(heap))
		return NULL;
	pthread_mutex_lock(&slot->lock);
	slab = find_partial(slot, class, want);
	if (!slab)
		slab = slab_new(heap, own, class, want);
	if (slab) {
		*part = slab->extent->part;
		block = (*part)->vaddr + take_block(slab);
		if (!slab->free)
			list_remove(slot, slab);
		count(&slot->blocks, 1);
		count(&slot->bytes, slab->size);
		count(&slot->allocs, 1);
	}
	pthread_mutex_unlock(&slot->lock);
	return block;
}

/* Without blocks: kept if it is the slot's last with a free one. Under the slot's lock. */
static void give_back(struct pn_heap *heap, struct slot *slot, struct slab *slab)
{
	if (!slab->next && !slab->prev)
		return;
	list_remove(slot, slab);
	pthread_mutex_lock(&heap->lock);
	slab_put(heap, slab);
	pthread_mutex_unlock(&heap->lock);
}

int pn_heap_small_free(struct pn_heap *heap, struct slab *slab, uint64_t offset)
{
	struct slot *slot = &heap->slots[slab->slot];
	uint64_t within = offset % HEAP_SLAB, bit;
	int ret = -EINVAL;

	pthread_mutex_lock(&slot->lock);
	if (within % slab->size || within / slab->size >= slab->count)
		goto out;
	within /= slab->size;
	bit = UINT64_C(1) << within % 64;
	if (!(slab->used[within / 64] & bit))
		goto out;
	slab->used[within / 64] &= ~bit;
	if (!slab->free++)
		list_add(slot, slab);
	count(&slot->blocks, (uint64_t)-1);
	count(&slot->bytes, -(uint64_t)slab->size);
	count(&slot->frees, 1);
	if (slab->free == slab->count)
		give_back(heap, slot, slab);
	ret = 0;
out:
	pthread_mutex_unlock(&slot->lock);
	return ret;
}

static bool drain_class(struct pn_heap *heap, struct slot *slot, unsigned int class)
{
	struct slab *slab = slot->partial[class], *next;
	bool any = false;

	for (; slab; slab = next) {
		next = slab->next;
		if (slab->free < slab->count)
			continue;
		list_remove(slot, slab);
		pthread_mutex_lock(&heap->lock);
		slab_put(heap, slab);
		pthread_mutex_unlock(&heap->lock);
		any = true;
	}
	return any;
}

bool pn_heap_small_drain(struct pn_heap *heap)
{
	bool any = false;

	if (!__atomic_load_n(&heap->small, __ATOMIC_RELAXED))
		return false;
	for (unsigned int i = 0; i < HEAP_SLOTS; i++) {
		struct slot *slot = &heap->slots[i];

		pthread_mutex_lock(&slot->lock);
		for (unsigned int class = 0; class < HEAP_CLASSES; class ++)
			any |= drain_class(heap, slot, class);
		pthread_mutex_unlock(&slot->lock);
	}
	return any;
}
