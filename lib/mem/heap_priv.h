/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of a heap. Its memory is cut into extents (heap_extents.c), of which some are slabs of
 * small blocks that threads take without meeting (heap_small.c); with checking, each block stands
 * between two red zones (heap_check.c). The books of all that are outside of the memory, where no
 * device can write.
 *
 * Locks, in the order in which they are taken: grow, a slot's, the heap's.
 */
#ifndef PN_HEAP_PRIV_H
#define PN_HEAP_PRIV_H

#include <pthread.h>

#include "base_priv.h"
#include "mem_priv.h"

/* A cache line: no two blocks share one. */
#define HEAP_ALIGN 64u

/*
 * Free extents are listed by size: a row for each power of two, cut into equal columns. A list has
 * sizes that differ by less than one in HEAP_COLUMNS, so one that is long enough is found by
 * looking at two words (two-level segregated fit: Masmano, Ripoll, Crespo, Real, ECRTS 2004).
 */
#define HEAP_ROWS    42u /* 2^47 bytes, the largest region, in units of HEAP_ALIGN */
#define HEAP_COLUMNS 32u

/* Small blocks: by classes of sizes, out of slabs. */
#define HEAP_SMALL_MAX 2048u
#define HEAP_CLASSES   16u
#define HEAP_SLAB      (UINT64_C(64) << 10)
#define HEAP_SLOTS     64u

/* A run of a region. Those of a region cover it without gap or overlap. */
struct extent {
	struct heap_part *part;
	uint64_t offset, len;
	struct extent *before, *after; /* by address; NULL at the ends of the region */
	struct extent *prev,
		*next;  /* free: in the list of its size; used: next by address's hash */
	uint64_t asked; /* used: bytes that the caller wanted */
	uint64_t front; /* used: bytes in front of the block that are a red zone */
	bool used;
	bool slab; /* used, by small blocks */
};

/* A region of the heap. It stays in the list when it is removed, so that the list can be walked
 * without a lock. */
struct heap_part {
	struct heap_part *next;
	struct pn_region *region; /* NULL: removed */
	char *vaddr;
	uint64_t size, iova;
	int numa_node;
	bool grown; /* by the heap's source, which it can be given back to */
	unsigned int blocks;
	struct extent *first;
	uint64_t rows;
	uint32_t columns[HEAP_ROWS];
	struct extent *lists[HEAP_ROWS][HEAP_COLUMNS];
	struct slab **slabs; /* by offset; NULL: none of this part may be one */
};

struct slab {
	struct slab *prev, *next; /* of those of its slot and class that have a free block */
	struct extent *extent;
	unsigned int slot;
	unsigned int class;
	unsigned int size;        /* of a block, bytes */
	unsigned int count, free; /* blocks */
	uint64_t used[HEAP_SLAB / HEAP_ALIGN / 64];
};

/* Which threads share one is a matter of luck, but they are seldom two. */
struct slot {
	pthread_mutex_t lock;
	struct slab *partial[HEAP_CLASSES];
	/* Of small blocks only; read without the lock. */
	uint64_t blocks, bytes;
	uint64_t allocs, frees;
} __attribute__((aligned(64)));

struct pn_heap {
	struct slot slots[HEAP_SLOTS];
	pthread_mutex_t lock;
	pthread_mutex_t grow;
	struct heap_part *parts;
	struct extent **hash; /* used extents by address, but for slabs */
	size_t hash_size, hash_used;
	struct slab *spare; /* slabs without memory: kept, as somebody may still look at one */
	bool small;         /* slabs are in use */
	struct pn_heap_opts opts;
	struct pn_heap_source source;
	/* All but small blocks. */
	uint64_t blocks, bytes;
	uint64_t allocs, frees, failures, peak;
	uint64_t grown, shrunk, damaged;
	unsigned int small_blocks; /* of them those that could be in slabs */
};

/* What is to be found room for. */
struct want {
	uint64_t bytes, align; /* align: of address and IOVA */
	uint64_t step;         /* of the offset in the region; 1: any */
	int numa_node;
	bool node_only;
};

/* heap_extents.c; all under the heap's lock. */
struct heap_part *pn_heap_part_new(struct pn_region *region, uint64_t iova);
void pn_heap_part_free(struct heap_part *part);
/* Room for a block, taken; NULL: there is none, or (nomem set) no memory for the books. */
struct extent *pn_heap_carve(struct pn_heap *heap, const struct want *want, bool *nomem);
void pn_heap_release(struct extent *extent);
int pn_heap_hash_add(struct pn_heap *heap, struct extent *extent);
/* The block's extent, which is taken out as well if asked. */
struct extent *pn_heap_hash_find(
	struct pn_heap *heap, const struct heap_part *part, uint64_t offset, bool take);
uint64_t pn_heap_part_available(const struct heap_part *part, uint64_t *largest);

/* heap.c: the part that an address lies in, or NULL. No lock. */
struct heap_part *pn_heap_part_of(const struct pn_heap *heap, const void *address);

/* heap_small.c */
bool pn_heap_is_small(const struct pn_heap *heap, uint64_t bytes, uint64_t align);
void *pn_heap_small_alloc(struct pn_heap *heap, const struct want *want, struct heap_part **part);
/* The slab at an address, or NULL. */
struct slab *pn_heap_slab_at(const struct heap_part *part, uint64_t offset);
/* 0, or -EINVAL if there is no such block. No error text. */
int pn_heap_small_free(struct pn_heap *heap, struct slab *slab, uint64_t offset);
/* Give back slabs without blocks. Returns whether there was one. */
bool pn_heap_small_drain(struct pn_heap *heap);

/* heap_check.c: red zones. */
uint64_t pn_heap_check_room(uint64_t bytes, uint64_t align, uint64_t *front);
void pn_heap_check_fill(struct heap_part *part, uint64_t offset, uint64_t len);
void pn_heap_check_arm(const struct extent *extent);
/* 0, or -EUCLEAN with a text: somebody wrote in front of the block, or behind it. */
int pn_heap_check_block(const struct extent *extent);
/* The same of an extent that is free. */
int pn_heap_check_free(const struct extent *extent);

#endif
