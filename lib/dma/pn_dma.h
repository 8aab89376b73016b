/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA mappings: a domain is one IOVA address space, filled through one backend (VFIO type1,
 * iommufd, iommufd's VFIO-compat interface, ...); devices are attached to it by pn_pci.h, regions
 * (pn_mem.h) are mapped into it here.
 *
 * Every function may be called from any thread. Maps, unmaps and attaches of one domain wait for
 * each other; lookups wait for nothing. A child made by fork() has the parent's domains in its
 * memory but may not use them: -EPERM. A domain that was destroyed gives -EINVAL where that can be
 * seen, which a debug build (meson: b_ndebug=false, the default) always does.
 */
#ifndef PN_DMA_H
#define PN_DMA_H

#include "pn_base.h"
#include "pn_mem.h"
#include "pn_pins.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One IOVA address space with one backend. */
struct pn_domain;

/** What a device may do with a mapping. */
enum pn_prot {
	PN_PROT_READ = 1, /**< the device may read the memory */
	/** The device may write the memory. Alone, it keeps devices from reading only where the
	 * IOMMU can: VT-d lets them read as well before Linux 6.19. */
	PN_PROT_WRITE = 2,
	PN_PROT_RW = 3,
};

/** Let the library choose the IOVA. */
#define PN_IOVA_ANY UINT64_MAX

/** One way to fill a domain, as found on this machine by this process. */
struct pn_backend_info {
	const char *name;    /**< "iommufd", "iommufd-compat", "type1", "noiommu", "none" */
	const char *summary; /**< one line */
	bool available;
	bool automatic;   /**< "auto" may choose it; the others have to be named */
	char reason[256]; /**< why not, and what mends it; "" if available */
	char node[40];    /**< the file it would open */
};

/**
 * Look at the backends in the order in which "auto" tries them; then those that must be named.
 *
 * @param index 0, 1, ...
 * @param[out] info what was found
 * @return 0; -ENOENT when index is past the last.
 */
PN_API int pn_backend_get(unsigned int index, struct pn_backend_info *info);

/** Which counter an iommufd charges (IOMMU_OPTION_RLIMIT_MODE); type1 always charges the process.
 */
enum pn_accounting {
	PN_ACCOUNTING_ANY,     /**< as the backend has it */
	PN_ACCOUNTING_USER,    /**< user->locked_vm: the sum over all processes of the user */
	PN_ACCOUNTING_PROCESS, /**< mm->locked_vm. Setting it needs CAP_SYS_RESOURCE, unless whoever
				  opened the file handed in has set it */
};

/** What PN_IOVA_ANY means in a domain. */
enum pn_iova_mode {
	PN_IOVA_VA_FIRST, /**< the virtual address where that is valid and free, else as below */
	PN_IOVA_ALLOCATE, /**< the lowest free run that is aligned well */
	PN_IOVA_VA_ONLY,  /**< the virtual address, or -ENOSPC */
};

/** What is wanted of a domain. Zeroed: backend "auto", the backend's usual node, a ledger in the
 * usual place. */
struct pn_domain_opts {
	/** A backend's name, or several separated by commas: the first of them that is available.
	 * NULL or "auto": the first in the library's order. */
	const char *backend;
	const char *node; /**< file to open instead of the backend's usual one, or NULL */
	/** Directory of the ledger, or NULL: see doc/pins.md. */
	const char *ledger_dir;
	/** fd is an open file to use instead of opening a node: /dev/iommu, or /dev/vfio/vfio, as
	 * another process sent it (SCM_RIGHTS). The domain keeps a copy (F_DUPFD_CLOEXEC); the
	 * caller closes its own. Nobody else may use that file for mappings. */
	bool use_fd;
	int fd;
	enum pn_accounting accounting;
	enum pn_iova_mode iova_mode;
	/** Bits of an IOVA that every device of the domain can send, 12 to 64; 0: 64. A device may
	 * narrow it further: pn_pci_set_dma_bits(). */
	unsigned int iova_bits;
	/** Devices are attached so that pn_domain_dirty_start() can work. Native iommufd needs to
	 * know it beforehand; type1 does not. */
	bool dirty_tracking;
	/** An address space in the same iommufd as this domain (both backend "iommufd"). Mappings
	 * of exactly the same memory in both are pinned and charged once (IOMMU_IOAS_COPY), if the
	 * later one lets devices do no more. It may be destroyed first. */
	struct pn_domain *beside;
};

/**
 * Create a domain. It opens the backend's node; nothing is pinned until a device is attached.
 *
 * @param[out] out the domain; the caller owns it
 * @param opts     NULL is zeroed options
 * @return 0; -EINVAL for an unknown backend (the text lists them) or options that exclude each
 * other; -ENODEV if no backend is available (the text says why for each); -EACCES, -ENOENT ... when
 * the one asked for is not, with what mends it; -EPERM when the accounting may not be set, -EBUSY
 * when it is too late for that, -EOPNOTSUPP when the backend has no such accounting; -EBADF or
 * -EINVAL if fd is not the backend's file; -ENOMEM. Kernel: VFIO_GET_API_VERSION,
 * VFIO_CHECK_EXTENSION; IOMMU_IOAS_ALLOC, IOMMU_OPTION.
 */
PN_API int pn_domain_create(struct pn_domain **out, const struct pn_domain_opts *opts);

/**
 * Destroy a domain, with its mappings. NULL is allowed.
 * @return 0; -EBUSY while devices are attached, -EPERM in a forked child (nothing changes then).
 */
PN_API int pn_domain_destroy(struct pn_domain *domain);

/**
 * Map part of a region: one mapping.
 *
 * With no device attached the mapping is queued: it costs and pins nothing until the first device
 * is attached, and that attach makes it or fails. Until then the kernel cannot say which IOVAs are
 * valid: those that Pinion chooses are from 4 GiB to 2^39 - 1 (with iova_bits of 32 and less, from
 * 1 MiB on); any other that the caller demands is taken, and the attach refuses it if the kernel
 * or the device would. An IOVA given out stays valid across detach and attach. Kernel:
 * VFIO_IOMMU_MAP_DMA; IOMMU_IOAS_MAP, _MAP_FILE (for regions with a file, where the kernel has it)
 * or _COPY.
 *
 * @param domain  the domain
 * @param region  the memory; stays in use until it is unmapped
 * @param offset  first byte in the region, a multiple of 4096
 * @param len     bytes, a multiple of 4096, not 0
 * @param prot    PN_PROT_*
 * @param[in,out] iova in: the IOVA wanted, or PN_IOVA_ANY (see enum pn_iova_mode; a chosen one is
 * aligned so that the IOMMU can use large pages, if there is room); out: the IOVA
 * @return 0; -EINVAL (alignment, range, protection, an IOVA outside the valid ranges); -EEXIST (the
 * IOVA range overlaps a mapping); -ENOSPC (no IOVAs left, or the backend's entry budget used up);
 * -ENOMEM (the limit: the text names the counter, what is charged, the limit and the command that
 * raises it); -EACCES or -EPERM (the device may write, and the region's file is not open for
 * writing or is sealed against it); -EOPNOTSUPP (memory that this backend cannot map: a BAR on
 * iommufd, pages that do not lie together on noiommu); -EFAULT (the kernel cannot pin this memory);
 * -EIO (the domain is damaged); -EBUSY (it was handed over). Where the IOMMU's smallest page is
 * above 4096, offset and len must be multiples of that. Nothing changes on failure.
 */
PN_API int pn_domain_map(struct pn_domain *domain, struct pn_region *region, uint64_t offset,
	uint64_t len, enum pn_prot prot, uint64_t *iova);

/** How a heap of domains grows. Start from PN_DOMAIN_HEAP_OPTS_INIT. */
struct pn_domain_heap_opts {
	struct pn_region_opts region; /**< of the regions that it makes; texts are copied */
	uint64_t step; /**< bytes: it grows by multiples of this power of two; 0: 2 MiB, or a page
			  if that is larger */
	uint64_t max;  /**< bytes of all its regions; 0: as much as limits and memory allow */
	bool check;    /**< as of struct pn_heap_opts */
};

#define PN_DOMAIN_HEAP_OPTS_INIT                 \
	{                                        \
		PN_REGION_OPTS_INIT, 0, 0, false \
	}

/**
 * A heap that has no memory yet, and makes regions when it is asked for blocks: each is mapped in
 * all of the domains, at the same IOVAs, for reading and writing, and stays so until
 * pn_heap_trim() or pn_heap_destroy(), which unmaps what no block is in. A mapping that the limit
 * does not allow is the reason that pn_heap_alloc() gives.
 *
 * @param[out] out the heap; the caller owns it, and destroys it before the domains
 * @param domains  count of them; not 0
 * @return 0; -EINVAL; -ENOMEM. Thread-safety: any thread.
 */
PN_API int pn_domain_heap(struct pn_heap **out, struct pn_domain *const *domains, size_t count,
	const struct pn_domain_heap_opts *opts);

/**
 * Ask what a mapping would be charged and whether that fits under the limit now. Nothing is mapped,
 * no child is made; some microseconds.
 *
 * What is left is asked of the kernel with a call that it compares with the same counter and then
 * refuses either way (observer "trial"): mmap(MAP_LOCKED) of a file that has no mmap for
 * mm->locked_vm; for user->locked_vm sendmsg(MSG_ZEROCOPY) on a socket without a connection, which
 * charges what it asks for while it runs, sees 2 pages and more, and at most 2 GiB. Where that is
 * not allowed it is /proc ("proc"), or not known. What others charge in between is their doing:
 * only the mapping itself gives certainty.
 *
 * @param region, offset, len, prot as for pn_domain_map()
 * @param[out] out what it meets
 * @return 0, whether it fits or not; -EINVAL, -EACCES, -EPERM, -EIO and -EBUSY as pn_domain_map().
 */
PN_API int pn_domain_preflight(struct pn_domain *domain, struct pn_region *region, uint64_t offset,
	uint64_t len, enum pn_prot prot, struct pn_preflight *out);

/** Part of a region. */
struct pn_segment {
	struct pn_region *region;
	uint64_t offset; /**< bytes, a multiple of 4096 */
	uint64_t len;    /**< bytes, a multiple of 4096, not 0 */
};

/**
 * Map several segments one behind another in one run of IOVAs: all, or none.
 *
 * Segments that go on where the one before them ends in the same region become one mapping, and so
 * one entry of the backend's budget: map what belongs together with one call. If PN_IOVA_ANY falls
 * on virtual addresses, it does so only when the segments follow each other there too.
 *
 * @param segments count of them, not 0; not kept
 * @param[in,out] iova of the first byte, as for pn_domain_map()
 * @return as pn_domain_map(). Nothing changes on failure; should the roll-back fail, the text says
 * so and the domain is damaged.
 */
PN_API int pn_domain_map_segments(struct pn_domain *domain, const struct pn_segment *segments,
	size_t count, enum pn_prot prot, uint64_t *iova);

/**
 * Remove mappings. The range must cover whole mappings (pn_domain_next() shows them), at least one,
 * and no part of another: no backend cuts a mapping, whatever its kernel could.
 *
 * Kernel: VFIO_IOMMU_UNMAP_DMA, IOMMU_IOAS_UNMAP. The device must not use the range any more.
 * @return 0; -EINVAL if the range cuts a mapping or is none; -ENOENT if it holds none; a negative
 * errno of the kernel. Nothing changes on failure: what was unmapped is mapped again, and if that
 * fails the domain is damaged and the text says so.
 */
PN_API int pn_domain_unmap(struct pn_domain *domain, uint64_t iova, uint64_t len);

/**
 * Remove every mapping, queued ones too.
 * @return 0, also if there is none; a negative errno of the kernel, as pn_domain_unmap().
 */
PN_API int pn_domain_unmap_all(struct pn_domain *domain);

/**
 * IOVA of a virtual address that is mapped for len bytes without a gap in IOVAs.
 * @return 0 or -ENOENT. Takes no lock and waits for no map or unmap; O(log n).
 */
PN_API int pn_domain_iova(
	struct pn_domain *domain, const void *vaddr, uint64_t len, uint64_t *iova);

/** Virtual address of an IOVA that is mapped for len bytes without a gap in virtual addresses.
 * @return 0 or -ENOENT. Takes no lock and waits for no map or unmap; O(log n). */
PN_API int pn_domain_vaddr(struct pn_domain *domain, uint64_t iova, uint64_t len, void **vaddr);

/** One mapping, as the kernel holds it. */
struct pn_mapping_info {
	uint64_t iova;
	uint64_t len; /**< bytes */
	void *vaddr;
	struct pn_region *region;
	enum pn_prot prot;
	bool queued;      /**< not in the kernel: no device is attached */
	uint64_t charged; /**< 4 KiB pages; 0 while queued, for BARs, and where another mapping of
			     the same memory pays */
};

/**
 * Walk the mappings in order of IOVA.
 * @param iova an address; 0 to begin, then the last mapping's iova + len (stop when that is 0)
 * @param[out] info the first mapping that ends behind iova
 * @return 0; -ENOENT when there is none.
 */
PN_API int pn_domain_next(struct pn_domain *domain, uint64_t iova, struct pn_mapping_info *info);

/** A run of IOVAs, both ends included. */
struct pn_iova_range {
	uint64_t first;
	uint64_t last;
};

/** What a domain is. Pointers belong to the domain. */
struct pn_domain_info {
	const char *backend;
	const char *node;   /**< the file that the backend opened; "" for one handed in */
	const char *chosen; /**< for "auto": why this one, and why not those before it; else "" */
	struct pn_charge_rule charge;
	bool exempt;          /**< the process has CAP_IPC_LOCK (in the initial user namespace) */
	unsigned int devices; /**< attached */
	bool damaged; /**< a roll-back or the last detach failed: the kernel may hold more than the
			 index says */
	bool limits_known;   /**< the four fields below come from the kernel (a device has been
				attached) */
	uint64_t page_sizes; /**< mask of IOMMU page sizes, bytes */
	/** Mappings that can still be made; UINT64_MAX: no limit, or no device is attached. */
	uint64_t entries_left;
	unsigned int range_count;
	/** Valid IOVAs, sorted: what the IOMMU takes for all devices of the domain, within the
	 * narrowest device's bits; a conservative guess until limits_known. Valid until the next
	 * attach, detach or pn_pci_set_dma_bits(). */
	const struct pn_iova_range *ranges;
	uint64_t mappings; /**< in the index */
	uint64_t bytes;    /**< in the index */
	bool dirty;        /**< dirty tracking is on */
};

/** Fill in what a domain is. A domain that may not be used gives zeroes and "" for the texts. */
PN_API void pn_domain_get_info(struct pn_domain *domain, struct pn_domain_info *info);

/**
 * Report the calling process: this domain, whose ledger may be in memory only, and its other
 * domains whose ledgers are in the usual directories. See pn_pins_report_create().
 * @param measure_user also measure user->locked_vm
 * @return 0; -ENOMEM.
 */
PN_API int pn_domain_pins(struct pn_domain *domain, bool measure_user, struct pn_pins_report **out);

/**
 * Begin to record which pages devices write to.
 *
 * type1 tracks in software: every page that is mapped counts as written, read-only ones too, as the
 * kernel cannot know better. Native iommufd asks the IOMMU, and only if the domain was made
 * with dirty_tracking. Kernel: VFIO_IOMMU_DIRTY_PAGES_FLAG_START, IOMMU_HWPT_SET_DIRTY_TRACKING.
 * @return 0; -EOPNOTSUPP (this backend, kernel or IOMMU cannot: the text says which); -ENODEV (no
 * device is attached); -EALREADY.
 */
PN_API int pn_domain_dirty_start(struct pn_domain *domain);

/** End it. @return 0; -EINVAL if it was not on; a negative errno of the kernel. It ends with the
 * last detach by itself. */
PN_API int pn_domain_dirty_stop(struct pn_domain *domain);

/**
 * Read which pages of a range were written, and forget it (type1 does not forget: see above).
 *
 * The range must consist of whole mappings without a gap.
 * @param iova, len the range in bytes
 * @param page_size bytes a bit stands for; one of the IOMMU's page sizes. type1 takes the smallest
 * only
 * @param[out] bitmap bit i of word i / 64 is page i; (len / page_size + 63) / 64 words, all of them
 * written
 * @return 0; -EINVAL (range, page size; tracking is off); -EOPNOTSUPP; a negative errno of the
 * kernel. Kernel: VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP, IOMMU_HWPT_GET_DIRTY_BITMAP.
 */
PN_API int pn_domain_dirty_read(struct pn_domain *domain, uint64_t iova, uint64_t len,
	uint64_t page_size, uint64_t *bitmap);

/**
 * Make a domain ready to be taken over by the program that this process executes next, while its
 * devices go on.
 *
 * Every region mapped must have a file (pn_region_create(), pn_region_from_fd()). Devices keep
 * running; pins and IOVAs stay. Afterwards the domain refuses everything but lookups, info and
 * cancelling, and its files are inherited through execve(). Kernel: VFIO_DMA_UNMAP_FLAG_VADDR
 * (type1 v2, Linux 5.12); native iommufd with IOMMU_IOAS_MAP_FILE and IOMMU_IOAS_CHANGE_PROCESS
 * (Linux 6.14).
 * @param[out] state_fd a file that describes the domain, to be inherited too (no FD_CLOEXEC); hand
 * its number to the new program
 * @return 0; -EOPNOTSUPP (not on this kernel or backend, or a region without a file: the text says
 * which); -EBUSY (handed over already); -ENODEV (no device is attached). Nothing changes on
 * failure.
 */
PN_API int pn_domain_handover(struct pn_domain *domain, int *state_fd);

/** The other program could not be executed: use the domain again. Closes state_fd on success.
 * @return 0; -EINVAL if it was not handed over, or not with this state_fd, which stays open then; a
 * negative errno of the kernel: it is still handed over then, and this can be tried again. */
PN_API int pn_domain_handover_cancel(struct pn_domain *domain, int state_fd);

/**
 * Take over a domain in the new program: its memory is mapped again (at the old virtual addresses
 * if they are free), the charges move to this process, devices can be had by pn_pci_takeover().
 * IOVAs are what they were. pn_domain_next() finds mappings and regions; the regions belong to the
 * caller (pn_region_destroy() after they are unmapped). Kernel: VFIO_DMA_MAP_FLAG_VADDR,
 * IOMMU_IOAS_CHANGE_PROCESS.
 * @param[out] out the domain; the caller owns it
 * @param state_fd what pn_domain_handover() gave; closed on success
 * @param ledger_dir as in struct pn_domain_opts
 * @return 0; -EBADF (no such file); -EINVAL (it makes no sense, or is of another process); -ENOMEM
 * (the limit of this process: the text says); a negative errno of the kernel. On failure what was
 * inherited stays open, so that it can be tried again.
 */
PN_API int pn_domain_takeover(struct pn_domain **out, int state_fd, const char *ledger_dir);

#ifdef __cplusplus
}
#endif

#endif
