/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The free IOVAs of a domain: a list of free runs in order of address, in the ranges that the
 * kernel says are valid. Neighbours are always one run, unless a border between two ranges is
 * between them: the kernel takes no mapping across one. For the holder of the domain's lock.
 *
 * What fragments can cost: pieces whose lengths are powers of two from s to S, each aligned to its
 * length, L bytes at once at most, never reach further into an empty range than
 * (1 + log2(S / s)) * L + 2 * S bytes, in whatever order they come and go.
 */
#ifndef PN_DMA_IOVA_SPACE_H
#define PN_DMA_IOVA_SPACE_H

#include "pn_dma.h"
#include "sorted.h"

struct iova_space {
	struct sorted runs; /* first and last address of each */
	struct pn_iova_range *ranges;
	unsigned int range_count;
	uint64_t free; /* bytes, modulo 2^64 */
	size_t pieces; /* taken and not given back */
	/* Where iova_space_find() looks; what is taken may lie elsewhere. All, after init. */
	struct pn_iova_range window;
};

/* All of the ranges, which are sorted and disjoint, are free. 0, -EINVAL, -ENOMEM. */
int iova_space_init(
	struct iova_space *space, const struct pn_iova_range *ranges, unsigned int count);
/*
 * Other ranges from now on; what is taken stays taken. 0; -EINVAL if a taken address is in none of
 * them (or they are not sorted and disjoint), -ENOMEM: then nothing has changed. O(n log n).
 */
int iova_space_set_ranges(
	struct iova_space *space, const struct pn_iova_range *ranges, unsigned int count);
void iova_space_free(struct iova_space *space);

/* Does one range hold all of it? */
bool iova_space_valid(const struct iova_space *space, uint64_t iova, uint64_t len);
/* And is it free? */
bool iova_space_is_free(struct iova_space *space, uint64_t iova, uint64_t len);

/* Exactly this. 0; -EINVAL: not within one range; -EEXIST: not all free; -ENOMEM. */
int iova_space_take(struct iova_space *space, uint64_t iova, uint64_t len);
/*
 * The lowest run of len bytes at a multiple of align, a power of two, that is free and in the
 * window. Never in the first 4096 bytes: an IOVA of 0 looks like no address. 0; -EINVAL for a len
 * of 0 or such an align; -ENOSPC: there is none.
 */
int iova_space_find(struct iova_space *space, uint64_t len, uint64_t align, uint64_t *iova);
/* The same, and take it; -ENOMEM. */
int iova_space_alloc(struct iova_space *space, uint64_t len, uint64_t align, uint64_t *iova);
/*
 * What one take or one alloc gave, whole. It cannot fail: taking makes room in the list for all
 * that may come back, in any order. What is free already stays free, what is not valid is left out.
 */
void iova_space_give_back(struct iova_space *space, uint64_t iova, uint64_t len);

/* Bytes; UINT64_MAX where it would be one more. */
uint64_t iova_space_free_bytes(const struct iova_space *space);
uint64_t iova_space_largest(struct iova_space *space);

#endif
