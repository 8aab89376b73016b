/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of lib/mem: what the DMA layer, the PCI layer and the heap may do with a region, and
 * what its own files share.
 */
#ifndef PN_MEM_PRIV_H
#define PN_MEM_PRIV_H

#include <sys/types.h>

#include "pn_mem.h"

/* A mapping of this process: what /proc/self/smaps tells, or what it told once. */
struct pn_vma {
	uint64_t start, end; /* addresses; end is the first behind it */
	uint64_t offset;     /* of start in the file; 0 without one */
	uint64_t inode;      /* 0: anonymous memory */
	dev_t device;        /* of the file system */
	uint64_t page_size;  /* bytes */
	bool read, write, shared;
	bool hugetlb;
	bool io;        /* VM_IO or VM_PFNMAP: no memory */
	bool dont_fork; /* VM_DONTCOPY */
	bool secret;    /* memfd_secret() */
	bool locked;    /* VM_LOCKED: mlock(), MAP_LOCKED */
};

struct pn_vmas {
	struct pn_vma *list; /* malloc'ed; in order of address, disjoint */
	size_t count;
};

struct pn_region {
	void *vaddr;
	uint64_t size;
	uint64_t page_size;
	enum pn_backing backing;
	int numa_node;
	/* The memory file, of which the region is the part at offset; or a dma-buf; -1: neither. */
	int fd;
	uint64_t offset;
	bool dma_buf;   /* fd is a dma-buf of exactly this range of a BAR */
	uint64_t guard; /* bytes before and behind it that are nobody's */
	bool writable;
	bool dont_fork;        /* kept from children by us */
	uint64_t zero_pages;   /* which were the zero page when it was made, at most */
	struct pn_vmas vmas;   /* what was mapped there from the start */
	unsigned int *holders; /* of a device's BARs: see struct pn_region_device */
	unsigned int users;    /* mappings and heaps; changed atomically */
	char name[32];
	char note[256];
};

/* Keep a region from being destroyed, and let it go again. */
void pn_region_get(struct pn_region *region);
void pn_region_put(struct pn_region *region);

/*
 * To be asked before a device gets write access. 0; -EACCES if the region is read only; -EPERM if
 * its file has been sealed since (F_SEAL_WRITE, F_SEAL_FUTURE_WRITE), which the kernel does not
 * look at when it maps by file (IOMMU_IOAS_MAP_FILE) or through a mapping made before.
 */
int pn_region_check_write(const struct pn_region *region);

/* pn_region_from_fd() at this address if it is free, else anywhere; NULL: anywhere. */
int pn_region_from_fd_at(struct pn_region **out, int fd, uint64_t offset, uint64_t len,
	const struct pn_region_opts *opts, void *wanted);

/* A part of a device's file that is to be a region. */
struct pn_region_device {
	int fd;          /* of the device; not kept: the mapping keeps the file open */
	uint64_t offset; /* in that file */
	uint64_t len;
	bool writable;
	int dma_buf; /* of the same bytes, or -1; the region's on success */
	int numa_node;
	/* How many regions and others share this number, which is malloc'ed, changed atomically,
	 * and freed by the last; the caller has counted this region in. */
	unsigned int *holders;
	const char *name, *note;
};

/* For lib/pci. 0 or a negative errno; the caller keeps dma_buf and its count on failure. */
int pn_region_from_device(struct pn_region **out, const struct pn_region_device *device);

/*
 * create.c, place.c: making regions
 */

/* A region with no memory yet; freed with free() alone until it has any. NULL: no memory. */
struct pn_region *pn_region_new(enum pn_backing backing, const struct pn_region_opts *opts);

/* Do the options fit memory that is handed in, with the page size found? 0 or -EINVAL. */
int pn_region_check_opts(
	const struct pn_region_opts *opts, enum pn_backing backing, uint64_t page_size);

/*
 * Map size bytes at offset of a file, shared, at an address that serves as an IOVA too: one that
 * equals the offset modulo 1 GiB, so that large pages of the file stay large. Failing that,
 * anywhere. MAP_FAILED with errno on failure.
 */
void *pn_map_somewhere(uint64_t size, int prot, int fd, uint64_t offset);

/* The same with so many bytes before and behind that nothing is in, and no access works. */
#define PN_GUARD (UINT64_C(64) << 10)
void *pn_map_guarded(uint64_t size, int prot, int fd, uint64_t offset, uint64_t guard);
void pn_unmap_guarded(void *vaddr, uint64_t size, uint64_t guard);

/* populate.c: bring in every page of new memory by writing. 0 or a negative errno; hugetlb answers
 * a missing page with EFAULT. No error text. */
int pn_region_populate(const struct pn_region *region, const struct pn_region_opts *opts);

/* The node that the page at an address is on, or PN_NODE_ANY. */
int pn_node_of(void *vaddr);

/* madvise(MADV_POPULATE_WRITE) or _READ. 0 or a negative errno; no error text. */
int pn_populate(void *vaddr, uint64_t len, bool write);

/* Are there that many bytes of memory left for 4 KiB pages? 0 or -ENOMEM. */
int pn_memory_check(uint64_t bytes);

/* room.c: the process's own control group (v2), below /sys/fs/cgroup: 0; -ENOENT; -ENOMEM: it is so
 * full that no file can be opened. And the one above a group, false at the top. No error text. */
int pn_cgroup_own(char *group, size_t size);
bool pn_cgroup_up(char *group);

/* A control group with a limit of its own. */
struct pn_cgroup_room {
	char path[600];     /* of it, below /sys/fs/cgroup */
	uint64_t max, used; /* bytes: memory.max, memory.current */
	uint64_t left;      /* bytes, the page cache counted as left */
	uint64_t oom;       /* how often nothing was left (memory.events); 0 if not known */
};

/* Of the process's own control group (v2) and those above it, the one that leaves least. 0; -ENOENT
 * if none has a limit, or that cannot be seen; -ENOMEM as above. No error text. */
int pn_cgroup_room(struct pn_cgroup_room *tightest);
/* MemAvailable of the machine in bytes; UINT64_MAX: not known. */
uint64_t pn_memory_available(void);

/* MADV_DONTFORK for a region that is one mapping, unless the options say otherwise. A child must
 * neither share DMA memory by surprise nor make fork() copy pinned pages. */
int pn_region_keep_from_children(struct pn_region *region, const struct pn_region_opts *opts);

/* from_range.c: give the children the range again, as far as it is still there. */
void pn_range_release(const struct pn_region *region);

/* Expect the region's memory to be this one mapping of a file, as it has just been made. */
int pn_region_expect_file(struct pn_region *region, int fd, uint64_t offset);

/*
 * vmas.c: what is mapped
 */

/* Read the mappings that meet [start, end), cut to it. The caller frees list. */
int pn_vmas_read(uint64_t start, uint64_t end, struct pn_vmas *vmas);

/* The first address of expected at which now has nothing, or something else; expected->end if it is
 * all the same. what: in words, if not. Whether it is kept from children is compared on wish. */
uint64_t pn_vma_differs(const struct pn_vma *expected, const struct pn_vmas *now, bool dont_fork,
	const char **what);

/* Read a text file of /proc line by line. */
struct pn_lines {
	int fd;
	size_t at, len;
	char buf[4096];
};

/* 0 or a negative errno. No error text. */
int pn_lines_open(struct pn_lines *lines, const char *path);
/* The next line, without its end, cut to size. 1; 0 at the end of the file; a negative errno. No
 * error text. */
int pn_lines_next(struct pn_lines *lines, char *line, size_t size);
void pn_lines_close(struct pn_lines *lines);

/*
 * pages.c: which pages are there
 */

/* Pages found by a walk, and the address of the first of them. */
struct pn_page_count {
	uint64_t count, first;
};

/*
 * Count the pages of private memory that are not there, nor in swap; step is the page size.
 * -EACCES, -EPERM or -ENOENT if /proc/self/pagemap cannot be opened; another negative errno. No
 * error text.
 */
int pn_pages_absent(uint64_t start, uint64_t end, uint64_t step, struct pn_page_count *absent);
/* The same for those that a write would have to allocate: absent ones, zero pages and copies. */
int pn_pages_to_copy(uint64_t start, uint64_t end, struct pn_page_count *pages);
/* The same for anonymous pages that are there and that others have too, or the zero page. */
int pn_pages_not_own(uint64_t start, uint64_t end, struct pn_page_count *pages);
/* zero.c: the pages of anonymous memory that are the zero page; exact: not maybe fewer. As above.
 */
int pn_pages_zero(uint64_t start, uint64_t end, struct pn_page_count *pages, bool *exact);
/* Of a shared mapping: pages that are not in memory. 0 or a negative errno; no error text. */
int pn_pages_uncached(uint64_t start, uint64_t end, struct pn_page_count *pages);

/*
 * hugepages.c, filesystem.c
 */

/* Find a mounted hugetlbfs with this page size that the caller may write to. 0 or -ENOENT. */
int pn_hugetlbfs_find(uint64_t page_size, char *path, size_t size);
/* Page size of the hugetlbfs that a directory is on, or 0 if it is not on one. */
uint64_t pn_hugetlbfs_page_size(const char *path);

/* Say why a region of hugepages cannot be had, with the pool's numbers and the command that
 * enlarges it. Returns -err, or that the pool cannot be read. */
int pn_fail_no_hugepages(int err, uint64_t bytes, uint64_t page_size, int node);

/*
 * Can pages of a writable shared mapping of a file on this file system be pinned for good
 * (FOLL_LONGTERM, mm/gup.c:writable_file_mapping_allowed())? type: the file system's, or "". 0;
 * -EOPNOTSUPP; another negative errno if that cannot be found out.
 */
int pn_filesystem_pins(dev_t device, char type[32]);

/* "2 MiB", "1 GiB", "4 KiB" for the page sizes, else a number of bytes; text belongs to buf. */
const char *pn_size_text(uint64_t bytes, char buf[32]);

/* heap.c. The region that a block lies in; NULL: no block of this heap. */
const struct pn_region *pn_heap_region(const struct pn_heap *heap, const void *block);

#endif
