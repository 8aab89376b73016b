/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of lib/mem: what the DMA layer and the heap may do with a region.
 */
#ifndef PN_MEM_PRIV_H
#define PN_MEM_PRIV_H

#include "pn_mem.h"

struct pn_region {
	void *vaddr;
	uint64_t size;
	uint64_t page_size;
	enum pn_backing backing;
	int numa_node;
	int fd;
	unsigned int users; /* mappings and heaps; changed atomically */
	char name[32];
	char note[256];
};

/* Keep a region from being destroyed, and let it go again. */
void pn_region_get(struct pn_region *region);
void pn_region_put(struct pn_region *region);

/* Find a mounted hugetlbfs with this page size that the caller may write to. 0 or -ENOENT. */
int pn_hugetlbfs_find(uint64_t page_size, char *path, size_t size);
/* Page size of the hugetlbfs that a directory is on, or 0 if it is not on one. */
uint64_t pn_hugetlbfs_page_size(const char *path);

/* "2 MiB", "1 GiB", "4 KiB" for the page sizes, else a number of bytes; text belongs to buf. */
const char *pn_size_text(uint64_t bytes, char buf[32]);

#endif
