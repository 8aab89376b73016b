/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Before anything runs: which RLIMIT_MEMLOCK will processes need for the memory that they are going
 * to map, how many hugepages, what else counts in the same counters, and how is it set.
 */
#ifndef PN_PLAN_H
#define PN_PLAN_H

#include "pn_pins.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Ways to reach the IOMMU, as bits of pn_plan_input.backends. */
#define PN_PLAN_TYPE1           1u /**< "type1" */
#define PN_PLAN_IOMMUFD         2u /**< "iommufd", on /dev/iommu */
#define PN_PLAN_IOMMUFD_COMPAT  4u /**< "iommufd-compat", on /dev/iommu */
#define PN_PLAN_IOMMUFD_AS_VFIO 8u /**< "iommufd-as-vfio": /dev/vfio/vfio, where iommufd is it */
#define PN_PLAN_ALL             15u

#define PN_PLAN_NODES    16u   /**< NUMA nodes, at most */
#define PN_PLAN_MAPPINGS 8192u /**< processes x nodes x domains, at most */

/** What is going to run. Zeroed, but for mem, it is one process with one device. */
struct pn_plan_input {
	uint64_t mem;          /**< bytes of memory for DMA, of each process; not 0 */
	uint64_t page_size;    /**< PN_PAGE_4K, PN_PAGE_2M (0: that) or PN_PAGE_1G */
	uint32_t devices;      /**< of each process, 1 to 64; 0: 1 */
	uint32_t processes;    /**< 1 to 1024; 0: 1 */
	uint32_t numa_nodes;   /**< each process's memory lies on so many, evenly; 0: 1 */
	uint32_t backends;     /**< PN_PLAN_*; 0: all */
	bool different_users;  /**< each process has a real uid of its own */
	bool separate_domains; /**< each device has a domain of its own, and all memory in it */
	bool mlockall;         /**< mlockall(MCL_CURRENT | MCL_FUTURE) before the memory is made */
	bool cap_ipc_lock;     /**< they have CAP_IPC_LOCK in the initial user namespace */
	uint64_t program;      /**< with mlockall: bytes that each locks besides mem, at the most */
	/** Bytes in user->locked_vm already, of each user. */
	uint64_t other_locked;
	uint32_t headroom_percent; /**< put on top of what is needed, 0 to 100 */
	uint64_t headroom;         /**< the same in bytes; both are added */
	const char *user;          /**< login name for the settings; NULL: "USER" */
};

/** What is in the way, or counted in the same place. */
struct pn_plan_collision {
	const char *kind; /**< a stable name, see doc/plan.md */
	char text[448];
};

#define PN_PLAN_COLLISIONS 8u

/** What one way of accounting needs. Pages are of 4 KiB. */
struct pn_plan_way {
	const char *backend;
	const char *accounting;  /**< "process" or "user" */
	bool is_default;         /**< what a domain gets unless asked otherwise */
	bool exempt;             /**< no limit applies */
	uint32_t counters;       /**< mask of enum pn_counter that pins are added to */
	enum pn_counter limited; /**< compared with the limit; PN_COUNTER_MAX: none */
	uint64_t charged;        /**< pages that the mappings of one process are charged */
	uint64_t mm_locked;      /**< mm->locked_vm of each process, when all is mapped */
	uint64_t mm_pinned;      /**< mm->pinned_vm of each process */
	uint64_t user_locked;    /**< user->locked_vm of each user */
	/** The least soft RLIMIT_MEMLOCK with which all processes get all they ask for, whichever
	 * comes last; one page less, and one of them is refused something. 0: no limit applies. */
	uint64_t need;
	uint64_t set; /**< the same with the headroom */
	size_t collision_count;
	struct pn_plan_collision collisions[PN_PLAN_COLLISIONS];
};

#define PN_PLAN_WAYS 6u

/** One setting, ready to paste. */
struct pn_plan_snippet {
	const char *kind;  /**< a stable name, see doc/plan.md */
	const char *where; /**< the file or place that it belongs in, or how it is run */
	const char *why;   /**< what it does, and what to know about it */
	char text[2048];
};

#define PN_PLAN_SNIPPETS 10u

/** The settings for all ways that need the same limit. */
struct pn_plan_settings {
	uint64_t limit; /**< RLIMIT_MEMLOCK in pages; 0: CAP_IPC_LOCK instead */
	uint32_t ways;  /**< mask of indexes of ways that they are for */
	size_t snippet_count;
	struct pn_plan_snippet snippets[PN_PLAN_SNIPPETS];
};

/** A plan. */
struct pn_plan {
	struct pn_plan_input input; /**< with what was left 0 filled in; user is NULL or as given */
	uint64_t region;            /**< bytes of each region: one a process and node */
	uint64_t memory;            /**< bytes of all regions of one process */
	uint64_t hugepages;         /**< of page_size, to reserve on each node; 0 for 4 KiB pages */
	size_t hugepage_snippet_count;
	struct pn_plan_snippet hugepage_snippets[2];
	size_t way_count;
	struct pn_plan_way ways[PN_PLAN_WAYS];
	size_t settings_count;
	struct pn_plan_settings settings[PN_PLAN_WAYS];
	size_t note_count;
	char notes[4][320]; /**< what was rounded, and what is not in the figures */
};

/**
 * Plan: play the processes through the charge model (pn_model.h), as this library makes regions,
 * domains and mappings. No system call is made, nothing about this machine is looked at.
 *
 * @param[out] out free with pn_plan_free()
 * @param input    copied, but for user, which must live as long as the plan
 * @return 0; -EINVAL with the reason, for what makes no sense or is beyond the bounds; -ENOMEM.
 * Thread-safety: any thread.
 */
PN_API int pn_plan_create(struct pn_plan **out, const struct pn_plan_input *input);
PN_API void pn_plan_free(struct pn_plan *plan);

/**
 * Render a plan as text for people, or as JSON (schema "pinion.plan/1", see doc/plan.md).
 * @return a text that the caller frees with free(), or NULL if memory is out.
 */
PN_API char *pn_plan_text(const struct pn_plan *plan);
PN_API char *pn_plan_json(const struct pn_plan *plan);

#ifdef __cplusplus
}
#endif

#endif
