/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pinning a region by the companion module (/dev/pinion), before anything maps it: then its pages
 * are where no mapping will have to move them from, or it fails early. Ask it for one more pin of
 * memory, and know that it is charged in addition to the mappings'.
 */
#ifndef PN_REGION_PIN_H
#define PN_REGION_PIN_H

#include "pn_base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct pn_region;

/** A region's pin. */
struct pn_pinned_region;

/** The counter that it is charged to. */
enum pn_region_pin_charge {
	PN_REGION_PIN_PROCESS, /**< mm->locked_vm, where type1 charges its mappings too */
	PN_REGION_PIN_USER     /**< user->locked_vm and mm->pinned_vm, as iommufd's mappings are */
};

/** Zeroed: charged to the process, beside whatever pins there are. */
struct pn_region_pin_opts {
	enum pn_region_pin_charge charge;
	/** Fail with EBUSY if anything has a pin on any of its pages; further pins through the
	 * module fail while this one lasts. */
	bool exclusive;
	/** Directory for its ledger, or NULL for the usual one. */
	const char *ledger_dir;
};

/**
 * Pin all pages of a region for long, writable unless the region is read only. Pages in movable
 * zones or in CMA areas, which no mapping for DMA may keep there, are moved out first.
 *
 * The module charges each page once an owner, the process or the user, whatever pins of its own it
 * has there. VFIO and iommufd know nothing of that and charge a mapping of the region as ever: in
 * the same counter the pages are in it twice, which reports show as charged twice, by
 * "module-pin". The pin has a ledger, with the path "module", no device and no IOVA.
 *
 * @param[out] out the pin; the caller owns it, pn_region_unpin() ends it
 * @param region   stays in use: pn_region_destroy() gives -EBUSY meanwhile
 * @param opts     NULL is zeroed
 * @return 0; -ENODEV: the module is not loaded; -EACCES: its node, or the region's memory, may not
 * be used so; -EINVAL: a region of a device, or unknown options; -ENOMEM: over RLIMIT_MEMLOCK, no
 * memory, or pages that cannot be moved; -EBUSY: exclusive, and somebody has a pin, or somebody
 * has an exclusive one; -EFAULT: something else is mapped at its addresses by now; -EOPNOTSUPP:
 * a kernel without that counter; another negative errno. Nothing is pinned or charged then.
 * Thread-safety: any thread.
 */
PN_API int pn_region_pin(struct pn_pinned_region **out, struct pn_region *region,
	const struct pn_region_pin_opts *opts);

/**
 * Give a pin and its charge back.
 * @return 0, also for NULL; -EPERM in a child that fork() made: the pin is its parent's.
 * Thread-safety: any thread; no other call may use the pin meanwhile.
 */
PN_API int pn_region_unpin(struct pn_pinned_region *pin);

#ifdef __cplusplus
}
#endif

#endif
