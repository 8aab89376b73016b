/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mapping index of a domain: what is mapped where, ordered by IOVA and by virtual address. It
 * is the truth; the kernel is brought to match it. One thread at a time changes it, with the
 * domain's lock held; any number look addresses up meanwhile without a lock.
 */
#ifndef PN_DMA_MAP_INDEX_H
#define PN_DMA_MAP_INDEX_H

#include "pn_dma.h"
#include "sorted.h"

/*
 * One mapping. Readers without the lock may look at the first three fields at any time, also of a
 * record that has been dropped: mapping_place() writes them, nothing else. The others belong to the
 * holder of the lock.
 */
struct mapping {
	uint64_t iova;
	uint64_t vaddr;
	uint64_t len;
	struct pn_region *region;
	void *link;    /* for the domain's use; the pool's while it has the record */
	uint32_t slot; /* in the ledger */
	uint8_t prot;
	uint8_t counters; /* charged to; 0 while queued */
	bool in_kernel;
	uint8_t flags; /* for the domain's use */
};

struct map_index {
	uint64_t changes; /* odd while a change is under way */
	struct sorted by_iova;
	struct sorted by_vaddr;
	struct mapping *unused;
	size_t unused_count;
	struct mapping_slab *slabs;
	uint64_t bytes;
};

static inline uint64_t mapping_iova_last(const struct mapping *mapping)
{
	return mapping->iova + (mapping->len - 1);
}

static inline uint64_t mapping_vaddr_last(const struct mapping *mapping)
{
	return mapping->vaddr + (mapping->len - 1);
}

/* Say what a record maps; it is not in the index. len is not 0, and neither range wraps. */
static inline void mapping_place(
	struct mapping *mapping, uint64_t iova, uint64_t vaddr, uint64_t len)
{
	sorted_store(&mapping->iova, iova);
	sorted_store(&mapping->vaddr, vaddr);
	sorted_store(&mapping->len, len);
}

void map_index_init(struct map_index *index);
/* With all records, in the index or not; when there are no readers any more. */
void map_index_free(struct map_index *index);

/* A record, zeroed but for its place, or NULL: no memory. The pool keeps what it has got. */
struct mapping *map_index_new(struct map_index *index);
/* Give a record back that is not in the index. */
void map_index_drop(struct map_index *index, struct mapping *mapping);
/* Afterwards n calls of map_index_new() and map_index_add() cannot fail. 0 or -ENOMEM. */
int map_index_reserve(struct map_index *index, size_t n);
/* 0, or -ENOMEM with nothing changed. The IOVAs must be free. O(log n). */
int map_index_add(struct map_index *index, struct mapping *mapping);
/* Take it out; the caller has the record. O(log n). */
void map_index_remove(struct map_index *index, struct mapping *mapping);

/*
 * In order of IOVA; NULL: there is none. O(log n) each, and less near the last one: the index
 * remembers where that was.
 */
struct mapping *map_index_at_or_after(struct map_index *index, uint64_t iova);
struct mapping *map_index_first(const struct map_index *index);
struct mapping *map_index_last(const struct map_index *index);
struct mapping *map_index_next(struct map_index *index, const struct mapping *mapping);
struct mapping *map_index_prev(struct map_index *index, const struct mapping *mapping);

static inline size_t map_index_count(const struct map_index *index)
{
	return index->by_iova.count;
}

/*
 * The IOVA at which [vaddr, vaddr + len) is mapped, without the lock. Mappings count as one run
 * where both addresses go on; when several hold vaddr, the one that starts last is tried first. The
 * answer was right at a moment during the call. It waits only while another thread is inside
 * map_index_add() or map_index_remove(), and starts again when one came in between; a run of very
 * many mappings can so be made to take long.
 *
 * 0 or -ENOENT (also for a len of 0). O(log n) and the length of the run, where virtual addresses
 * do not overlap.
 */
int map_index_iova(const struct map_index *index, uint64_t vaddr, uint64_t len, uint64_t *iova);
/* Likewise the virtual address behind [iova, iova + len). */
int map_index_vaddr(const struct map_index *index, uint64_t iova, uint64_t len, uint64_t *vaddr);

#endif
