/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mapping index: two sorted arrays of the same mappings, searched by halving.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "index.h"

static int make_room(struct index *index)
{
	size_t room = index->room ? index->room * 2 : 16;
	struct mapping **list;
	uint64_t *lasts;

	if (index->count < index->room)
		return 0;
	list = realloc(index->by_iova, room * sizeof(*list));
	if (!list)
		return -ENOMEM;
	index->by_iova = list;
	list = realloc(index->by_vaddr, room * sizeof(*list));
	if (!list)
		return -ENOMEM;
	index->by_vaddr = list;
	lasts = realloc(index->vaddr_last, room * sizeof(*lasts));
	if (!lasts)
		return -ENOMEM;
	index->vaddr_last = lasts;
	index->room = room;
	return 0;
}

size_t index_at_or_after(const struct index *index, uint64_t iova)
{
	size_t low = 0, high = index->count, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (mapping_iova_last(index->by_iova[middle]) < iova)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Position of the first mapping whose virtual address is above vaddr. */
static size_t vaddr_after(const struct index *index, uint64_t vaddr)
{
	size_t low = 0, high = index->count, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (index->by_vaddr[middle]->vaddr <= vaddr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void renew_lasts(struct index *index, size_t from)
{
	uint64_t last = from ? index->vaddr_last[from - 1] : 0, own;
	size_t i;

	for (i = from; i < index->count; i++) {
		own = mapping_vaddr_last(index->by_vaddr[i]);
		if (own > last)
			last = own;
		index->vaddr_last[i] = last;
	}
}

static void insert(struct mapping **list, size_t count, size_t at, struct mapping *mapping)
{
	memmove(&list[at + 1], &list[at], (count - at) * sizeof(*list));
	list[at] = mapping;
}

static void take_out(struct mapping **list, size_t count, size_t at)
{
	memmove(&list[at], &list[at + 1], (count - at - 1) * sizeof(*list));
}

int index_add(struct index *index, struct mapping *mapping)
{
	size_t at;
	int ret = make_room(index);

	if (ret)
		return ret;
	insert(index->by_iova, index->count, index_at_or_after(index, mapping->iova), mapping);
	at = vaddr_after(index, mapping->vaddr);
	insert(index->by_vaddr, index->count, at, mapping);
	index->count++;
	index->bytes += mapping->len;
	renew_lasts(index, at);
	return 0;
}

void index_remove(struct index *index, struct mapping *mapping)
{
	size_t at = vaddr_after(index, mapping->vaddr);

	/* Several may start at one address; this one is among those before. */
	while (index->by_vaddr[--at] != mapping)
		;
	take_out(index->by_vaddr, index->count, at);
	take_out(index->by_iova, index->count, index_at_or_after(index, mapping->iova));
	index->count--;
	index->bytes -= mapping->len;
	renew_lasts(index, at);
}

void index_free(struct index *index)
{
	free(index->by_iova);
	free(index->by_vaddr);
	free(index->vaddr_last);
}

struct mapping *index_by_iova(const struct index *index, uint64_t iova)
{
	size_t at = index_at_or_after(index, iova);

	if (at == index->count || index->by_iova[at]->iova > iova)
		return NULL;
	return index->by_iova[at];
}

struct mapping *index_next_by_vaddr(const struct index *index, uint64_t vaddr, size_t *at)
{
	/* *at counts down; it is one more than the position of what was given out last, 0 at first.
	 */
	size_t next = *at ? *at - 1 : vaddr_after(index, vaddr);

	while (next-- && index->vaddr_last[next] >= vaddr) {
		if (mapping_vaddr_last(index->by_vaddr[next]) < vaddr)
			continue;
		*at = next + 1;
		return index->by_vaddr[next];
	}
	return NULL;
}
