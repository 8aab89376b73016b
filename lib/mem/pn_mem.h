/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory for DMA: regions (runs of hugepages or small pages), the machine's hugepage inventory, and
 * a heap that cuts a mapped region into blocks. Nothing here maps memory for a device; that is
 * pn_dma.h.
 */
#ifndef PN_MEM_H
#define PN_MEM_H

#include "pn_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A run of memory that can be mapped for DMA. */
struct pn_region;
/** Hands out blocks of one region that is mapped at one run of IOVAs. */
struct pn_heap;

#define PN_PAGE_4K (UINT64_C(1) << 12)
#define PN_PAGE_2M (UINT64_C(1) << 21)
#define PN_PAGE_1G (UINT64_C(1) << 30)

/** No preference for a NUMA node. */
#define PN_NODE_ANY (-1)

/** Where the pages of a region come from. */
enum pn_backing {
	/** Decided by the library: a hugetlb memfd (a hugetlbfs mount where memfd_create() is
	 * forbidden) if pages are free, else 4 KiB pages. */
	PN_BACKING_AUTO,
	PN_BACKING_HUGETLB_MEMFD, /**< memfd_create(MFD_HUGETLB): needs no mount and no privilege */
	PN_BACKING_HUGETLBFS,     /**< an unlinked file on a mounted hugetlbfs */
	PN_BACKING_MEMFD,         /**< 4 KiB pages of a plain memfd */
};

/** What is wanted of a region. Start from PN_REGION_OPTS_INIT. */
struct pn_region_opts {
	uint64_t page_size;      /**< bytes: PN_PAGE_4K, _2M, _1G, or 0 for the library's choice */
	enum pn_backing backing; /**< PN_BACKING_AUTO unless a kind is demanded */
	int numa_node;           /**< node that the pages must come from, or PN_NODE_ANY */
	const char *hugetlbfs_path; /**< directory on a hugetlbfs mount, or NULL: find one in
				       /proc/mounts */
	const char *name; /**< shown in reports; at most 31 bytes count; NULL is "region" */
};

#define PN_REGION_OPTS_INIT                                 \
	{                                                   \
		0, PN_BACKING_AUTO, PN_NODE_ANY, NULL, NULL \
	}

/** What a region is. Pointers belong to the region. */
struct pn_region_info {
	void *vaddr;             /**< first byte */
	uint64_t size;           /**< bytes, a multiple of page_size */
	uint64_t page_size;      /**< bytes */
	enum pn_backing backing; /**< never PN_BACKING_AUTO */
	int numa_node; /**< node of the first page as the kernel tells it, or PN_NODE_ANY if it does
			  not */
	const char *name;
	/** Why the library's choice fell on 4 KiB pages, with the hugepages that were missing; else
	 * "". */
	const char *note;
};

/**
 * Create a region: every page is reserved, placed and written to before this returns, so neither a
 * DMA mapping of it nor a later touch can meet a missing page or the shared zero page.
 *
 * With page_size 0 the largest of 1 GiB and 2 MiB that divides the size well and has enough free
 * pages is taken; if there are none, 4 KiB pages, and the region's note and the log
 * (PN_LOG_WARNING) say so. A page size that was asked for is never replaced by another. The region
 * is not inherited by fork() (MADV_DONTFORK).
 *
 * @param[out] out the region; the caller owns it
 * @param bytes    wanted size; rounded up to a multiple of the page size
 * @param opts     what is wanted; NULL is PN_REGION_OPTS_INIT
 * @return 0; -EINVAL for a size of 0 or one that overflows, an unknown page size or backing;
 * -ENOMEM when there are not enough pages (the text says how many there are, and the command that
 * reserves more), or, on 4 KiB pages, when MemAvailable or memory.max of the control group leaves
 * less; -EFBIG when RLIMIT_FSIZE is smaller; another negative errno of the system call that failed.
 * Thread-safety: any thread.
 */
PN_API int pn_region_create(
	struct pn_region **out, uint64_t bytes, const struct pn_region_opts *opts);

/**
 * Give a region back to the kernel.
 * @return 0; -EBUSY while a domain or a heap still uses it (nothing is freed then).
 * Thread-safety: any thread; no other call may use the region meanwhile.
 */
PN_API int pn_region_destroy(struct pn_region *region);

/** Fill in what a region is. Thread-safety: any thread. */
PN_API void pn_region_get_info(const struct pn_region *region, struct pn_region_info *info);

/** A short name of a backing: "hugetlb-memfd", "hugetlbfs", "memfd", "auto". */
PN_API const char *pn_backing_name(enum pn_backing backing);

/** Hugepages of one size on one node, in pages. */
struct pn_hugepages {
	uint64_t page_size; /**< bytes */
	int numa_node;      /**< PN_NODE_ANY for the whole machine */
	uint64_t total;     /**< in the pool (nr_hugepages) */
	uint64_t free;      /**< not allocated (free_hugepages) */
	uint64_t reserved;  /**< promised to mappings, not allocated yet (resv_hugepages); 0 for one
			       node */
};

/**
 * Read the hugepage pool of one size from /sys/kernel/mm/hugepages or /sys/devices/system/node.
 *
 * @param[out] out   the numbers
 * @param page_size  bytes
 * @param numa_node  a node, or PN_NODE_ANY for the machine
 * @return 0; -ENOENT if the kernel has no pool of that size (or no such node); -EIO if a file does
 * not parse.
 */
PN_API int pn_hugepages_read(struct pn_hugepages *out, uint64_t page_size, int numa_node);

/**
 * Create a heap over a region that is mapped for DMA as one run.
 *
 * @param[out] out the heap; the caller owns it
 * @param region   memory; stays in use (pn_region_destroy() gives -EBUSY) until the heap is
 * destroyed
 * @param iova     IOVA of the region's first byte
 * @return 0 or -ENOMEM.
 */
PN_API int pn_heap_create(struct pn_heap **out, struct pn_region *region, uint64_t iova);

/**
 * Destroy a heap. Blocks still handed out become invalid.
 * @return 0; -EBUSY if blocks are still handed out (the text says how many and how many bytes);
 * nothing is freed then.
 */
PN_API int pn_heap_destroy(struct pn_heap *heap);

/**
 * Take a block of zeroed memory.
 *
 * @param heap   the heap
 * @param bytes  size, not 0
 * @param align  alignment of address and IOVA, a power of two (0: 64, a cache line)
 * @param[out] iova IOVA of the block; may be NULL
 * @return the block, or NULL: pn_error() says how much is free and the largest run.
 * Thread-safety: any thread. Not for the data path.
 */
PN_API void *pn_heap_alloc(struct pn_heap *heap, uint64_t bytes, uint64_t align, uint64_t *iova);

/**
 * Give a block back. NULL is allowed.
 * @return 0; -EINVAL if the address is not that of a block of this heap (nothing changes).
 */
PN_API int pn_heap_free(struct pn_heap *heap, void *block);

/** Bytes not handed out; largest (may be NULL) gets the largest contiguous run. */
PN_API uint64_t pn_heap_available(struct pn_heap *heap, uint64_t *largest);

#ifdef __cplusplus
}
#endif

#endif
