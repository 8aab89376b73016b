/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory for DMA: regions (runs of hugepages or small pages, allocated here or handed in), the
 * machine's hugepage inventory, and a heap that cuts a mapped region into blocks. Nothing here maps
 * memory for a device; that is pn_dma.h.
 */
#ifndef PN_MEM_H
#define PN_MEM_H

#include "pn_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A run of memory that can be mapped for DMA. */
struct pn_region;
/** Hands out blocks of regions, each of which is mapped at one run of IOVAs. */
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
	PN_BACKING_RANGE,         /**< addresses of the application: pn_region_from_range() */
	PN_BACKING_FILE,          /**< a file that was handed in: pn_region_from_fd() */
	PN_BACKING_DEVICE,        /**< a part of a BAR: pn_pci_bar_region() */
};

/** What is wanted of a region. Start from PN_REGION_OPTS_INIT. */
struct pn_region_opts {
	uint64_t page_size;      /**< bytes: PN_PAGE_4K, _2M, _1G, or 0 for the library's choice */
	enum pn_backing backing; /**< PN_BACKING_AUTO unless a kind is demanded */
	int numa_node;           /**< node that the pages must come from, or PN_NODE_ANY */
	const char *hugetlbfs_path; /**< directory on a hugetlbfs mount, or NULL: find one in
				       /proc/mounts */
	const char *name; /**< shown in reports; at most 31 bytes count; NULL is "region" */
	/** Devices shall read only. For memory that is handed in; pn_region_create() refuses it. */
	bool read_only;
	/** Let children of fork() have the memory too: no MADV_DONTFORK. A fork() while private
	 * memory is pinned copies it, and fails with ENOMEM where hugepages for the copy are
	 * missing. */
	bool keep_on_fork;
	/** New memory: nothing is mapped in the 64 KiB before and behind it, so that a program that
	 * goes on over its end gets a SIGSEGV there. (A device has nothing mapped there anyway.) */
	bool guard;
	/** New memory: threads that bring its pages in, on its node; 0: one for each GiB, as far as
	 * there are processors. */
	unsigned int populate_threads;
	/** New memory: called by the thread that makes the region, now and then, with the bytes
	 * that are there and the size; the last time both are the same. */
	void (*progress)(void *arg, uint64_t done, uint64_t size);
	void *progress_arg;
};

#define PN_REGION_OPTS_INIT                                                                     \
	{                                                                                       \
		0, PN_BACKING_AUTO, PN_NODE_ANY, NULL, NULL, false, false, false, 0, NULL, NULL \
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
	/** Why the library's choice fell on 4 KiB pages, with the hugepages that were missing; of
	 * memory that was handed in, what can still go wrong with it; else "". */
	const char *note;
	bool writable; /**< a device may be let write there */
	/** 4 KiB pages that were still the shared zero page when the region was made, which only
	 * private memory that cannot be written to has: see the note, and doc/pins.md. Before Linux
	 * 6.7 it is the most that there can be. UINT64_MAX: /proc/self/pagemap may not be read. */
	uint64_t zero_pages;
};

/**
 * Create a region: every page is reserved, placed and written to before this returns, so neither a
 * DMA mapping of it nor a later touch can meet a missing page or the shared zero page.
 *
 * With page_size 0 the largest of 1 GiB and 2 MiB that divides the size well and has enough free
 * pages is taken; if there are none, 4 KiB pages, and the region's note and the log
 * (PN_LOG_WARNING) say so. A page size that was asked for is never replaced by another. The region
 * is not inherited by fork() (MADV_DONTFORK) unless opts->keep_on_fork.
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
 * Make a region of addresses that the application has mapped itself. The memory stays the
 * application's: it must stay mapped as it is until pn_region_destroy(), which does not unmap it.
 *
 * The whole range must be mapped readable. The region is writable if all of it is, and
 * opts->read_only is not set. Its page size is that of its hugetlb pages if it consists of whole
 * ones of one size, else 4096. Every page is brought in before this returns; private memory that is
 * writable is written to (MADV_POPULATE_WRITE, nothing changes in it), so that neither the shared
 * zero page nor one that is still to be copied is pinned. Pages brought in stay when this fails.
 *
 * A child of fork() does not get the range (MADV_DONTFORK): nothing that it needs may lie there,
 * nor in the rest of a hugepage that the range begins or ends in. pn_region_destroy() undoes that
 * where the range was not so before; of two regions over the same range, the one that was made
 * first must be destroyed last.
 *
 * Refused are mappings of devices (VM_IO, VM_PFNMAP: see pn_pci_bar_region()), secret memory
 * (memfd_secret()), and, unless opts->read_only, writable shared mappings of files other than those
 * of tmpfs, hugetlbfs and memfd_create(): the kernel pins none of these for good. A private mapping
 * that cannot be written to is taken; the region's note says what a device may see, and zero_pages
 * how many of its pages are the shared zero page.
 *
 * Kernel: /proc/self/smaps, /proc/self/mountinfo, MADV_POPULATE_WRITE and MADV_POPULATE_READ (Linux
 * 5.14), MADV_DONTFORK.
 *
 * @param[out] out the region; the caller owns it
 * @param vaddr    first byte, a multiple of 4096
 * @param len      bytes, a multiple of 4096
 * @param opts     name, read_only, keep_on_fork; page_size, if not 0, must be the one found;
 * backing must be PN_BACKING_AUTO or _RANGE, hugetlbfs_path NULL; numa_node is not looked at. NULL
 * is PN_REGION_OPTS_INIT
 * @return 0; -EINVAL for a range that is empty, not of whole pages or wraps, or for options that do
 * not fit; -EFAULT if part of it is not mapped or not readable (the text says where it begins), or
 * lies behind the end of its file; -EOPNOTSUPP for memory that cannot be pinned, and on kernels
 * before 5.14; -ENOMEM when bringing it in needs more memory than there is; -EIO when what /proc
 * says makes no sense; another negative errno of the system call that failed.
 * Thread-safety: any thread; the range must not be changed meanwhile.
 */
PN_API int pn_region_from_range(
	struct pn_region **out, void *vaddr, uint64_t len, const struct pn_region_opts *opts);

/**
 * Make a region of a part of a memory file: a memfd, or a file on tmpfs or hugetlbfs. Who has the
 * file too shares the memory.
 *
 * The region keeps a duplicate of fd, so the caller may close its own. The part is mapped where
 * regions are put (an address that is valid as an IOVA), and every page of it is brought in. Who
 * can make the file shorter can make the process end by SIGBUS; F_SEAL_SHRINK forbids that, and the
 * region's note says when it is missing.
 *
 * Unless opts->read_only, fd must be open for reading and writing, and the file must carry neither
 * F_SEAL_WRITE nor F_SEAL_FUTURE_WRITE. A seal that is added later keeps what devices can write to
 * already, but no new writable mapping for one is made.
 *
 * Kernel: fstat, fstatfs, F_GET_SEALS, F_DUPFD_CLOEXEC, MADV_POPULATE_WRITE and MADV_POPULATE_READ
 * (Linux 5.14), MADV_DONTFORK.
 *
 * @param[out] out the region; the caller owns it
 * @param fd       the file; stays the caller's
 * @param offset   of the part's first byte, a multiple of the file's page size
 * @param len      bytes, a multiple of the file's page size; must end within the file
 * @param opts     as for pn_region_from_range(), with PN_BACKING_FILE in place of _RANGE
 * @return 0; -EINVAL for an offset or length that is no multiple, is empty or leaves the file (the
 * text has the numbers), or for options that do not fit; -EBADF if fd is not open; -EACCES if it is
 * not open as it must be; -EPERM when a seal forbids to write; -EOPNOTSUPP for any other type of
 * file, and on kernels before 5.14; -ENOMEM and -ENOSPC when bringing the pages in needs more
 * memory, hugepages or room in the file system than there is; another negative errno of the system
 * call that failed.
 * Thread-safety: any thread.
 */
PN_API int pn_region_from_fd(struct pn_region **out, int fd, uint64_t offset, uint64_t len,
	const struct pn_region_opts *opts);

/**
 * Is the memory of a region still what it was when the region was made? What is pinned stays
 * pinned, and devices go on using it, when the application unmaps, replaces or discards its own
 * view of it: they then see other pages than the process.
 *
 * Compared are the mappings of the region's addresses: where there are any, file, offset,
 * readable and writable, shared or private, and that MADV_DONTFORK still holds (unless
 * opts->keep_on_fork), which is lost with a mapping. Then the pages: that each page of private
 * memory, and of hugepages, is there or in swap; that a memory file is still as long, and has no
 * hole there.
 *
 * It cannot see: private memory replaced by a mapping of the same kind whose pages have all been
 * touched, if MADV_DONTFORK was set on that too or was not wanted; memory discarded (MADV_DONTNEED)
 * or moved away (MREMAP_DONTUNMAP) and touched again since; a hole made in shared memory of a range
 * (MADV_REMOVE, fallocate()) unless it is of hugepages, or in a file and filled again since; pages
 * of a private file mapping that cannot be written to. Of a BAR it compares the mapping only. Where
 * /proc/self/pagemap may not be read (a program with file capabilities) presence is not checked. It
 * takes no lock: what changes while it looks may be seen or not.
 *
 * Reads /proc/self/smaps as far as the region, and 8 bytes for each page: not for the data path.
 *
 * @return 0; -ESTALE if not (the text has the first address that differs, and what differs there);
 * -EIO when what /proc says makes no sense; another negative errno of reading /proc.
 * Thread-safety: any thread.
 */
PN_API int pn_region_check(const struct pn_region *region);

/**
 * Give a region back to the kernel; memory of the application's own stays as it is.
 * @return 0; -EBUSY while a domain, a heap or a pin (pn_region_pin.h) still uses it (nothing is
 * freed then). Thread-safety: any thread; no other call may use the region meanwhile.
 */
PN_API int pn_region_destroy(struct pn_region *region);

/** Fill in what a region is. Thread-safety: any thread. */
PN_API void pn_region_get_info(const struct pn_region *region, struct pn_region_info *info);

/** A short name of a backing: "hugetlb-memfd", "hugetlbfs", "memfd", "range", "file", "device",
 * "auto". */
PN_API const char *pn_backing_name(enum pn_backing backing);

/** Hugepages of one size on one node, in pages. */
struct pn_hugepages {
	uint64_t page_size; /**< bytes */
	int numa_node;      /**< PN_NODE_ANY for the whole machine */
	uint64_t total;     /**< in the pool (nr_hugepages) */
	uint64_t free;      /**< not allocated (free_hugepages) */
	uint64_t reserved;  /**< promised to mappings, not allocated yet (resv_hugepages); 0 for one
			       node */
	uint64_t surplus; /**< of total, made beyond the pool's size: they go when they are free */
	uint64_t overcommit; /**< how many of those there may be; 0 for one node */
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
 * Read all pools: of each size, from the smallest on, first that of the machine, then those of its
 * nodes.
 *
 * @param[out] out room for so many
 * @return how many there are, of which room are written; 0 if the kernel has none; -EIO.
 */
PN_API int pn_hugepages_list(struct pn_hugepages *out, unsigned int room);

/** What control groups (v2) leave this process of hugepages of one size. */
struct pn_hugepages_limit {
	char path[600];     /**< of the group that leaves least, below /sys/fs/cgroup */
	bool reservation;   /**< its hugetlb.SIZE.rsvd.max, not hugetlb.SIZE.max */
	uint64_t max, used; /**< bytes */
	uint64_t left;      /**< bytes */
};

/**
 * Find the tightest of the limits of the process's control group and those above it.
 * @return 0; -ENOENT if there is none, or it cannot be seen. No error text.
 */
PN_API int pn_hugepages_room(struct pn_hugepages_limit *out, uint64_t page_size);

/**
 * Where a heap gets more memory from when it is full, and gives it back when it has too much;
 * that of pn_domain_heap() maps what it makes. The functions run in the thread that asked the
 * heap, one at a time, and must not call that heap.
 */
struct pn_heap_source {
	/**
	 * @param bytes       that one block needs, its alignment included: the region has at least
	 *                    this many
	 * @param[out] region writable memory, mapped for DMA as one run
	 * @param[out] iova   IOVA of its first byte
	 * @return 0, or a negative errno with its reason
	 */
	int (*grow)(void *arg, uint64_t bytes, struct pn_region **region, uint64_t *iova);
	/** Take a region back that grow() made. @return 0, or a negative errno with its reason: it
	 * stays in the heap then. */
	int (*shrink)(void *arg, struct pn_region *region, uint64_t iova);
	void (*close)(void *arg); /**< the heap is gone; may be NULL */
	void *arg;
};

/** How a heap is to work. Start from PN_HEAP_OPTS_INIT. */
struct pn_heap_opts {
	/** Look for what programs do wrong: 64 bytes or more before and behind each block are
	 * watched, and so is memory that is free. Costs memory, and time for every byte. */
	bool check;
	const struct pn_heap_source *source; /**< copied; NULL: the heap does not grow by itself */
};

#define PN_HEAP_OPTS_INIT   \
	{                   \
		false, NULL \
	}

/**
 * Create a heap over a region that is mapped for DMA as one run.
 *
 * @param[out] out the heap; the caller owns it
 * @param region   memory; stays in use (pn_region_destroy() gives -EBUSY) until the heap is
 * destroyed. Nobody else may write to it
 * @param iova     IOVA of the region's first byte
 * @return 0; -EACCES if the region is not writable; -EOPNOTSUPP for a part of a BAR; -ENOMEM.
 */
PN_API int pn_heap_create(struct pn_heap **out, struct pn_region *region, uint64_t iova);

/**
 * The same with options, and, if region is NULL, without memory: it comes with pn_heap_add(), or
 * from the source when it is needed.
 */
PN_API int pn_heap_create_with(struct pn_heap **out, struct pn_region *region, uint64_t iova,
	const struct pn_heap_opts *opts);

/**
 * Destroy a heap, and give what its source made back to it.
 * @return 0; -EBUSY if blocks are still handed out (the text says how many and how many bytes), or
 * the error of the source: then it is as it was, but for regions that are given back already.
 */
PN_API int pn_heap_destroy(struct pn_heap *heap);

/**
 * Add a region, mapped as one run. Blocks never reach over the end of a region.
 * @return 0; -EEXIST if the heap has it; as pn_heap_create(). Thread-safety: any thread.
 */
PN_API int pn_heap_add(struct pn_heap *heap, struct pn_region *region, uint64_t iova);

/**
 * Take a region out of the heap.
 * @return 0; -ENOENT if the heap does not have it; -EBUSY if blocks of it are handed out (the text
 * says how many). Thread-safety: any thread.
 */
PN_API int pn_heap_remove(struct pn_heap *heap, struct pn_region *region);

/**
 * Give all regions of the source's back to it that have no block.
 * @return how many; or the error of the source, when no more can be given back.
 * Thread-safety: any thread.
 */
PN_API int pn_heap_trim(struct pn_heap *heap);

/**
 * Take a block of zeroed memory.
 *
 * @param heap   the heap
 * @param bytes  size, not 0
 * @param align  alignment of address and IOVA, a power of two (0: 64, a cache line)
 * @param[out] iova IOVA of the block; may be NULL
 * @return the block, or NULL: pn_error() says how much is free and the largest run.
 * Thread-safety: any thread. Blocks of up to 2 KiB come from memory that threads seldom share, once
 * there are some dozens of them; longer ones take a lock of the heap's.
 */
PN_API void *pn_heap_alloc(struct pn_heap *heap, uint64_t bytes, uint64_t align, uint64_t *iova);

/** A block that is wanted. Start from PN_HEAP_WANT_INIT. */
struct pn_heap_want {
	uint64_t bytes;
	uint64_t align; /**< as of pn_heap_alloc() */
	int numa_node;  /**< from a region on this node, if one has room; PN_NODE_ANY */
	bool node_only; /**< from no other node */
	bool dirty;     /**< not zeroed: what is in it is left over from others */
};

#define PN_HEAP_WANT_INIT                       \
	{                                       \
		0, 0, PN_NODE_ANY, false, false \
	}

/** As pn_heap_alloc(). */
PN_API void *pn_heap_take(struct pn_heap *heap, const struct pn_heap_want *want, uint64_t *iova);

/**
 * Give a block back. NULL is allowed.
 * @return 0; -EINVAL if the address is not that of a block of this heap (nothing changes); -EUCLEAN
 * if a heap that checks finds that somebody wrote before or behind the block (the text says where;
 * it has been given back all the same). Thread-safety: any thread.
 */
PN_API int pn_heap_free(struct pn_heap *heap, void *block);

/**
 * Bytes that blocks can be had of without growing; largest (may be NULL) gets the longest run of
 * them. Not counted is what is free among small blocks. Thread-safety: any thread.
 */
PN_API uint64_t pn_heap_available(struct pn_heap *heap, uint64_t *largest);

/** What a heap holds and has done. */
struct pn_heap_stats {
	uint32_t regions;
	uint64_t bytes;      /**< of all regions */
	uint64_t used;       /**< of them in blocks, with what rounding and checking add */
	uint64_t used_peak;  /**< the most so far, but for small blocks */
	uint64_t free;       /**< as pn_heap_available() */
	uint64_t free_run;   /**< its longest */
	uint64_t free_small; /**< free among small blocks */
	uint64_t blocks;     /**< handed out */
	uint64_t allocs, frees, failures;
	uint64_t grown, shrunk; /**< regions, by the source */
	uint64_t damaged;       /**< times that checking found something */
};

/** Read them. Thread-safety: any thread; what other threads do meanwhile may be counted in part. */
PN_API void pn_heap_get_stats(struct pn_heap *heap, struct pn_heap_stats *stats);

/**
 * Look at every block of a heap that checks, and at what is free.
 * @return 0; -EUCLEAN, with a text that says where somebody wrote; -EOPNOTSUPP if the heap does not
 * check. Thread-safety: any thread; writes elsewhere than in blocks are taken for damage.
 */
PN_API int pn_heap_check(struct pn_heap *heap);

#ifdef __cplusplus
}
#endif

#endif
