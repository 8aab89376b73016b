/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The parts of a plan: the scenario in the charge model, what collides, what is to be set.
 */
#ifndef PN_PLAN_PRIV_H
#define PN_PLAN_PRIV_H

#include "base_priv.h"
#include "pn_mem.h"
#include "pn_model.h"
#include "pn_plan.h"

/* A way of accounting, as the model knows it. */
struct plan_path {
	const char *backend;
	const char *accounting;
	uint32_t bit; /* PN_PLAN_* */
	enum pn_model_path path;
	/* Charges the mm: iommufd's file is /dev/vfio/vfio, or IOMMU_OPTION_RLIMIT_MODE is 1 */
	bool by_process;
	bool is_default;
};

extern const struct plan_path plan_paths[PN_PLAN_WAYS];

/* What a scenario came to. */
struct plan_outcome {
	int err;       /* errno of the first operation that was refused; 0: none was */
	uint64_t need; /* the least limit, in pages, if none was */
	uint64_t charged, mm_locked, mm_pinned, user_locked;
};

/*
 * Play the whole scenario with this soft and hard RLIMIT_MEMLOCK, in pages, for each process. The
 * plan has input, region and memory. 0, or a negative errno with the reason if the model cannot.
 */
int plan_play(struct plan_outcome *out, const struct pn_plan *plan, const struct plan_path *path,
	uint64_t limit);

/* Fill in the collisions of a way, whose figures are there. */
void plan_collide(const struct pn_plan *plan, struct pn_plan_way *way);

/* Fill in settings and the hugepages' snippets of a plan whose ways are there. */
void plan_settle(struct pn_plan *plan);

/* "4 GiB", "6148 KiB": always exact. */
const char *plan_size(uint64_t bytes, char buf[32]);

#endif
