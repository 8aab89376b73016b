/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mapping index of a domain: what is mapped where, ordered by IOVA and by virtual address. It
 * is the truth; the kernel is brought to match it.
 */
#ifndef PN_DMA_INDEX_H
#define PN_DMA_INDEX_H

#include "pn_dma.h"

struct mapping {
	uint64_t iova;
	uint64_t vaddr;
	uint64_t len;
	struct pn_region *region;
	uint32_t slot;     /* in the ledger */
	uint32_t counters; /* charged to; 0 while queued */
	uint8_t prot;
	bool in_kernel;
};

struct index {
	struct mapping **by_iova;
	struct mapping **by_vaddr;
	/* Highest last address of by_vaddr[0..i]: ranges of virtual addresses may overlap. */
	uint64_t *vaddr_last;
	size_t count;
	size_t room;
	uint64_t bytes;
};

static inline uint64_t mapping_vaddr_last(const struct mapping *mapping)
{
	return mapping->vaddr + (mapping->len - 1);
}

static inline uint64_t mapping_iova_last(const struct mapping *mapping)
{
	return mapping->iova + (mapping->len - 1);
}

/* 0 or -ENOMEM with nothing changed. The IOVAs must be free. The index owns the mapping from then
 * on. */
int index_add(struct index *index, struct mapping *mapping);
/* Take it out; the caller owns it again. */
void index_remove(struct index *index, struct mapping *mapping);
void index_free(struct index *index);

/* Position of the first mapping that ends at or behind an IOVA; count if there is none. O(log n).
 */
size_t index_at_or_after(const struct index *index, uint64_t iova);
/* The mapping that holds an IOVA, or NULL. O(log n). */
struct mapping *index_by_iova(const struct index *index, uint64_t iova);
/*
 * The mappings that hold a virtual address, one after another: *at is 0 at first and belongs to the
 * function. NULL: no more. O(log n) while ranges of virtual addresses do not overlap.
 */
struct mapping *index_next_by_vaddr(const struct index *index, uint64_t vaddr, size_t *at);

/* The first of them, or NULL. */
static inline struct mapping *index_by_vaddr(const struct index *index, uint64_t vaddr)
{
	size_t at = 0;

	return index_next_by_vaddr(index, vaddr, &at);
}

/* A free run of IOVAs within the ranges, lowest first; 0 or -ENOSPC. */
int iova_find(const struct index *index, const struct pn_iova_range *ranges, unsigned int count,
	uint64_t len, uint64_t align, uint64_t *iova);
/* Does one range hold all of it? */
bool iova_valid(
	const struct pn_iova_range *ranges, unsigned int count, uint64_t iova, uint64_t len);

#endif
