/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Locking areas: mlock(), mlockall() and what is like them.
 */
#include "model_priv.h"

/* Does VM_LOCKED stay on such memory? (mm/mlock.c: mlock_fixup(), mm/mmap.c) */
bool area_lockable(const struct area *area)
{
	return area->memory != PN_MODEL_HUGETLB && area->memory != PN_MODEL_HUGETLB_CMA &&
	       area->memory != PN_MODEL_BAR && area->memory != PN_MODEL_SECRET;
}

/* All of it or nothing. */
static bool is_whole(const struct runs *runs, uint64_t pages)
{
	uint64_t within = runs_within(runs, 0, UINT64_MAX);

	return !within || within == pages;
}

int area_lock(
	struct pn_model *model, struct area *area, uint64_t first, uint64_t end, enum lock how)
{
	uint64_t before = runs_within(&area->locked, 0, UINT64_MAX);
	struct runs locked = area->locked, onfault = area->onfault;
	int ret;

	ret = how == UNLOCK ? runs_remove(&locked, first, end) : runs_add(&locked, first, end);
	if (!ret)
		ret = how == LOCK_ONFAULT ? runs_add(&onfault, first, end)
					  : runs_remove(&onfault, first, end);
	if (ret)
		return pn_fail(ENOBUFS, "more than %u runs of locked pages in an area", RUNS_MAX);
	area->locked = locked;
	area->onfault = onfault;
	area->cut |= !is_whole(&locked, area->pages) || !is_whole(&onfault, area->pages);
	counter_add(model, PN_MODEL_MM_LOCKED, area->mm, 0,
		(int64_t)(runs_within(&locked, 0, UINT64_MAX) - before));
	return 0;
}

/* The part that is not locked on fault: mm/gup.c: populate_vma_page_range() leaves that alone. */
static int populated(
	const struct area *area, uint64_t first, uint64_t pages, struct runs *populated)
{
	int ret;

	*populated = (struct runs){0};
	ret = runs_add(populated, first, first + pages);
	for (uint32_t i = 0; i < area->onfault.count && !ret; i++)
		ret = runs_remove(populated, area->onfault.run[i].first, area->onfault.run[i].end);
	return ret;
}

int area_populate(const struct pn_model *model, struct area *area, uint64_t first, uint64_t pages)
{
	struct runs parts;
	int ret = populated(area, first, pages, &parts);

	for (uint32_t i = 0; i < parts.count && !ret; i++)
		ret = area_touch(
			model, area, parts.run[i].first, parts.run[i].end - parts.run[i].first);
	return ret;
}

/* mlock() and munlock(), and what is like them, pass over what cannot be locked. */
static int lock_pages(
	struct pn_model *model, struct area *area, uint64_t first, uint64_t end, enum lock how)
{
	return area_lockable(area) ? area_lock(model, area, first, end, how) : 0;
}

/* mm/mlock.c: do_mlock() */
int op_mlock(struct pn_model *model, const struct pn_model_op *op)
{
	struct area *area = area_named(model, op, true);
	uint32_t mm = model->process[op->process].mm;
	bool exempt = capable(model, op->process, PN_MODEL_IPC_LOCK);
	uint64_t end = op->first + op->pages, more = op->pages;
	struct runs parts;
	int ret;

	if (!area)
		return -EINVAL;
	if (!can_mlock(model, op->process))
		return refuse(model, EPERM);
	/* What is locked already is taken off only if it would not fit otherwise: the same answer.
	 */
	more -= runs_within(&area->locked, op->first, end);
	if (!within_limit(model, mm, exempt, PN_MODEL_MM_LOCKED, mm, 0, more))
		return refuse(model, ENOMEM);
	ret = lock_pages(model, area, op->first, end, op->flag ? LOCK_ONFAULT : LOCK);
	if (ret)
		return ret;
	ret = populated(area, op->first, op->pages, &parts);
	if (ret)
		return pn_fail(ENOBUFS, "more than %u runs of locked pages in an area", RUNS_MAX);
	/* They are locked, and charged, before __mm_populate() meets what cannot be brought in. */
	if (parts.count && (area->memory == PN_MODEL_NONE || area->memory == PN_MODEL_SECRET))
		return refuse(model, ENOMEM);
	return area_populate(model, area, op->first, op->pages);
}

int op_munlock(struct pn_model *model, const struct pn_model_op *op)
{
	struct area *area = area_named(model, op, true);

	if (!area)
		return -EINVAL;
	return lock_pages(model, area, op->first, op->first + op->pages, UNLOCK);
}

/* apply_mlockall_flags() */
static void lock_all(struct pn_model *model, uint32_t mm, enum lock how, uint64_t others)
{
	for (uint32_t i = 0; i < model->size.areas; i++) {
		struct area *area = &model->area[i];

		if (area->mm != mm)
			continue;
		lock_pages(model, area, 0, area->pages, how);
		if (how == LOCK && (area_lockable(area) || area->memory == PN_MODEL_HUGETLB_CMA))
			area_touch(model, area, 0, area->pages);
	}
	counter_add(
		model, PN_MODEL_MM_LOCKED, mm, 0, (int64_t)(others - model->mm[mm].others_locked));
	model->mm[mm].others_locked = others;
}

/* total_vm is compared with the limit, not locked_vm: what is charged for pins does not count. */
int op_mlockall(struct pn_model *model, const struct pn_model_op *op)
{
	uint32_t mm = model->process[op->process].mm;
	bool exempt = capable(model, op->process, PN_MODEL_IPC_LOCK);

	if (!op->mode || op->mode > 7 || op->mode == 4)
		return refuse(model, EINVAL);
	if (!can_mlock(model, op->process))
		return refuse(model, EPERM);
	if ((op->mode & 1) && !exempt && op->total > model->process[op->process].soft) {
		model->result->over_by = op->total - model->process[op->process].soft;
		model->result->over_process = op->process;
		return refuse(model, ENOMEM);
	}
	if ((op->mode & 1) && !exempt)
		needs(model, op->process, op->total);
	model->mm[mm].lock_future = op->mode & 2;
	model->mm[mm].future_onfault = (op->mode & 2) && (op->mode & 4);
	if (op->mode & 1)
		lock_all(model, mm, op->mode & 4 ? LOCK_ONFAULT : LOCK, op->pages);
	return 0;
}

int op_munlockall(struct pn_model *model, const struct pn_model_op *op)
{
	uint32_t mm = model->process[op->process].mm;

	model->mm[mm].lock_future = model->mm[mm].future_onfault = false;
	lock_all(model, mm, UNLOCK, 0);
	return 0;
}
