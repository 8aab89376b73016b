/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA mappings: a domain is one IOVA address space, filled through one backend (VFIO type1,
 * iommufd's VFIO-compat interface); devices are attached to it by pn_pci.h, regions are mapped into
 * it here.
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
	PN_PROT_READ = 1,  /**< the device may read the memory */
	PN_PROT_WRITE = 2, /**< the device may write the memory */
	PN_PROT_RW = 3,
};

/** Let the library choose the IOVA. */
#define PN_IOVA_ANY UINT64_MAX

/** One way to fill a domain, as found on this machine by this process. */
struct pn_backend_info {
	const char *name;    /**< "type1", "iommufd-compat" */
	const char *summary; /**< one line */
	bool available;
	char reason[256]; /**< why not, and what mends it; "" if available */
	char node[40];    /**< the file it would open */
};

/**
 * Look at the backends in the order in which "auto" tries them.
 *
 * @param index 0, 1, ...
 * @param[out] info what was found
 * @return 0; -ENOENT when index is past the last.
 * Thread-safety: any thread.
 */
PN_API int pn_backend_get(unsigned int index, struct pn_backend_info *info);

/** What is wanted of a domain. Zeroed: backend "auto", the backend's usual node, a ledger in the
 * usual place. */
struct pn_domain_opts {
	const char
		*backend; /**< a backend's name, or NULL or "auto": the first that is available */
	const char *node; /**< file to open instead of the backend's usual one, or NULL */
	const char *ledger_dir; /**< directory of the ledger, or NULL: see doc/pins.md */
};

/**
 * Create a domain. It opens the backend's node; nothing is pinned until a device is attached.
 *
 * @param[out] out the domain; the caller owns it
 * @param opts     NULL is zeroed options
 * @return 0; -EINVAL for an unknown backend (the text lists them); -ENODEV if no backend is
 * available (the text says why for each); -EACCES, -ENOENT ... when the one asked for is not, with
 * what mends it; -ENOMEM. Thread-safety: any thread.
 */
PN_API int pn_domain_create(struct pn_domain **out, const struct pn_domain_opts *opts);

/**
 * Destroy a domain, with its mappings.
 * @return 0; -EBUSY while devices are attached (nothing changes then).
 */
PN_API int pn_domain_destroy(struct pn_domain *domain);

/**
 * Map part of a region.
 *
 * With no device attached the mapping is queued: it costs and pins nothing until the first device
 * is attached, and that attach makes it or fails. An IOVA given out stays valid across detach and
 * attach. Kernel: VFIO_IOMMU_MAP_DMA.
 *
 * @param domain  the domain
 * @param region  the memory; stays in use until it is unmapped
 * @param offset  first byte in the region, a multiple of 4096
 * @param len     bytes, a multiple of 4096, not 0
 * @param prot    PN_PROT_*
 * @param[in,out] iova in: the IOVA wanted, or PN_IOVA_ANY (the virtual address where that is valid
 * and free, else one aligned to the region's page size); out: the IOVA
 * @return 0; -EINVAL (alignment, range, protection, an IOVA outside the valid ranges); -EEXIST (the
 * IOVA range overlaps a mapping); -ENOSPC (no IOVAs left, or the backend's entry budget used up);
 * -ENOMEM (the limit: the text names the counter, what is charged, the limit and the command that
 * raises it); -EFAULT (the kernel cannot pin this memory); -EIO (the domain is damaged). Where the
 * IOMMU's smallest page is above 4096, offset and len must be multiples of that. Nothing changes on
 * failure. Thread-safety: any thread.
 */
PN_API int pn_domain_map(struct pn_domain *domain, struct pn_region *region, uint64_t offset,
	uint64_t len, enum pn_prot prot, uint64_t *iova);

/**
 * Remove mappings. The range must cover whole mappings, at least one, and no part of another.
 *
 * Kernel: VFIO_IOMMU_UNMAP_DMA. The device must not use the range any more.
 * @return 0; -EINVAL if the range cuts a mapping; -ENOENT if it holds none; a negative errno of the
 * kernel. Nothing changes on failure: what was unmapped is mapped again, and if that fails the
 * domain is damaged and the text says so. Thread-safety: any thread.
 */
PN_API int pn_domain_unmap(struct pn_domain *domain, uint64_t iova, uint64_t len);

/**
 * IOVA of a virtual address that is mapped for len bytes without a gap in IOVAs.
 * @return 0 or -ENOENT. Thread-safety: any thread. O(log n).
 */
PN_API int pn_domain_iova(
	struct pn_domain *domain, const void *vaddr, uint64_t len, uint64_t *iova);

/** Virtual address of an IOVA that is mapped for len bytes. @return 0 or -ENOENT. O(log n). */
PN_API int pn_domain_vaddr(struct pn_domain *domain, uint64_t iova, uint64_t len, void **vaddr);

/** A run of IOVAs, both ends included. */
struct pn_iova_range {
	uint64_t first;
	uint64_t last;
};

/** What a domain is. Pointers belong to the domain. */
struct pn_domain_info {
	const char *backend;
	const char *node;   /**< the file that the backend opened */
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
	const struct pn_iova_range
		*ranges;   /**< valid IOVAs, sorted; a conservative guess until limits_known */
	uint64_t mappings; /**< in the index */
	uint64_t bytes;    /**< in the index */
};

/**
 * Fill in what a domain is.
 * The ranges stay valid until the next attach. Thread-safety: any thread.
 */
PN_API void pn_domain_get_info(struct pn_domain *domain, struct pn_domain_info *info);

/**
 * Report the calling process: this domain, whose ledger may be in memory only, and its other
 * domains whose ledgers are in the usual directories. See pn_pins_report_create().
 * @param measure_user also measure user->locked_vm
 * @return 0; -ENOMEM. Thread-safety: any thread.
 */
PN_API int pn_domain_pins(struct pn_domain *domain, bool measure_user, struct pn_pins_report **out);

#ifdef __cplusplus
}
#endif

#endif
