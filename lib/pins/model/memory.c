/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Areas of memory: mmap, munmap, mremap, mprotect, writing, and what pinning them meets. Locking is
 * in mlock.c.
 */
#include "model_priv.h"

bool area_has(const struct area *area, uint64_t first, uint64_t pages)
{
	return pages && first < area->pages && pages <= area->pages - first;
}

struct area *area_find(struct pn_model *model, uint32_t mm, uint32_t id)
{
	for (uint32_t i = 0; i < model->size.areas; i++)
		if (model->area[i].mm == mm && model->area[i].id == id)
			return &model->area[i];
	return NULL;
}

static struct area *area_new(struct pn_model *model)
{
	return area_find(model, NONE, 0);
}

/* mm/secretmem.c: the charge is of the file, and goes when the file does */
static void secret_put(struct pn_model *model, uint32_t secret)
{
	struct secret *at = &model->secret[secret];

	if (--at->refs)
		return;
	counter_add(model, PN_MODEL_USER_LOCKED, 0, at->uid,
		-(int64_t)runs_within(&at->touched, 0, UINT64_MAX));
	*at = (struct secret){0};
}

static void secret_new(struct pn_model *model, struct area *area, uint32_t uid)
{
	uint32_t i = 0;

	/* There are as many as areas. */
	while (model->secret[i].refs)
		i++;
	model->secret[i] = (struct secret){.refs = 1, .uid = uid};
	area->secret = i;
}

static void area_free(struct pn_model *model, struct area *area)
{
	if (area->memory == PN_MODEL_SECRET)
		secret_put(model, area->secret);
	*area = (struct area){.mm = NONE};
}

void areas_end(struct pn_model *model, uint32_t mm)
{
	for (uint32_t i = 0; i < model->size.areas; i++)
		if (model->area[i].mm == mm)
			area_free(model, &model->area[i]);
}

int areas_copy(struct pn_model *model, uint32_t from, uint32_t to)
{
	struct area *copy;

	for (uint32_t i = 0; i < model->size.areas; i++) {
		const struct area *area = &model->area[i];

		if (area->mm != from || area->dont_fork)
			continue;
		copy = area_new(model);
		if (!copy)
			return pn_fail(ENOBUFS, "the charge model has %u areas", model->size.areas);
		*copy = *area;
		copy->mm = to;
		copy->born = ++model->born;
		copy->locked = copy->onfault = (struct runs){0};
		if (copy->memory == PN_MODEL_SECRET)
			model->secret[copy->secret].refs++;
	}
	return 0;
}

int area_pin_errno(
	const struct pn_model *model, const struct area *area, uint64_t first, bool write)
{
	switch (area->memory) {
	case PN_MODEL_NONE:
	case PN_MODEL_SECRET:
	case PN_MODEL_BAR:
		return EFAULT;
	case PN_MODEL_HUGETLB_CMA:
		/* One that is there cannot be moved out of CMA; one that is not is not taken from
		 * there for a pin (mm/hugetlb.c: dequeue_hugetlb_folio_node_exact()). */
		return runs_within(&area->touched, first, first + 1) ? ENOMEM : EFAULT;
	case PN_MODEL_ANON_READ:
		return write ? EFAULT : 0;
	case PN_MODEL_DIRTY_FILE:
		/* mm/gup.c: writable_file_mapping_allowed() */
		return write && model->kernel >= PN_MODEL_KERNEL(6, 5) ? EFAULT : 0;
	default:
		return 0;
	}
}

uint64_t area_zero_pages(
	const struct pn_model *model, const struct area *area, uint64_t first, uint64_t pages)
{
	/* Since 6.2 mm/internal.h: gup_must_unshare() gives them pages of their own. */
	if (model->kernel >= PN_MODEL_KERNEL(6, 2))
		return 0;
	if (area->memory != PN_MODEL_ANON && area->memory != PN_MODEL_ANON_READ)
		return 0;
	return pages - runs_within(&area->touched, first, first + pages);
}

int area_touch(const struct pn_model *model, struct area *area, uint64_t first, uint64_t pages)
{
	if (area->memory == PN_MODEL_HUGETLB_CMA) {
		pages += first % area->page;
		first -= first % area->page;
		pages += (area->page - pages % area->page) % area->page;
		return runs_add(&area->touched, first, first + pages);
	}
	/* Only where zero pages can be pinned does it matter which pages there are. */
	if (area->memory != PN_MODEL_ANON || model->kernel >= PN_MODEL_KERNEL(6, 2))
		return 0;
	if (runs_add(&area->touched, first, first + pages))
		return pn_fail(ENOBUFS, "more than %u runs of written pages in an area", RUNS_MAX);
	return 0;
}

static bool memory_valid(const struct pn_model_op *op)
{
	return (unsigned int)op->memory <= PN_MODEL_BAR && op->pages &&
	       op->pages <= UINT64_MAX / 4096;
}

/* mm/mmap.c: do_mmap(): can_do_mlock(), mlock_future_ok(). mmap_region() leaves VM_LOCKED on
 * memfd_secret, which mlock() and munlock() do not touch. */
int op_area(struct pn_model *model, const struct pn_model_op *op)
{
	uint32_t mm = model->process[op->process].mm;
	bool locked = op->flag || model->mm[mm].lock_future;
	struct area *area = area_new(model);

	if (!memory_valid(op) || area_find(model, mm, op->area))
		return pn_fail(
			EINVAL, "area %u is there already, or of no valid kind or size", op->area);
	if (!area)
		return pn_fail(ENOBUFS, "the charge model has %u areas", model->size.areas);
	if (op->flag && !can_mlock(model, op->process))
		return refuse(model, EPERM);
	if (locked && !within_limit(model, mm, capable(model, op->process, PN_MODEL_IPC_LOCK),
			      PN_MODEL_MM_LOCKED, mm, 0, op->pages))
		return refuse(model, EAGAIN);
	*area = (struct area){.mm = mm,
		.id = op->area,
		.born = ++model->born,
		.memory = op->memory,
		.page = op->page ? op->page : 512,
		.pages = op->pages};
	if (op->memory == PN_MODEL_SECRET)
		secret_new(model, area, model->process[op->process].uid);
	if (locked && (area_lockable(area) || area->memory == PN_MODEL_SECRET)) {
		area_lock(model, area, 0, area->pages,
			model->mm[mm].future_onfault ? LOCK_ONFAULT : LOCK);
		area_populate(model, area, 0, area->pages);
	}
	if (locked && area->memory == PN_MODEL_HUGETLB_CMA)
		area_touch(model, area, 0, area->pages);
	return 0;
}

struct area *area_named(struct pn_model *model, const struct pn_model_op *op, bool range)
{
	struct area *area = area_find(model, model->process[op->process].mm, op->area);

	if (area && range && !area_has(area, op->first, op->pages))
		area = NULL;
	if (!area)
		pn_fail(EINVAL, "process %u has no such pages in area %u", op->process, op->area);
	return area;
}

int op_area_end(struct pn_model *model, const struct pn_model_op *op)
{
	struct area *area = area_named(model, op, false);

	if (!area)
		return -EINVAL;
	area_lock(model, area, 0, area->pages, UNLOCK);
	area_free(model, area);
	return 0;
}

int op_dontfork(struct pn_model *model, const struct pn_model_op *op)
{
	struct area *area = area_named(model, op, false);

	if (!area)
		return -EINVAL;
	area->dont_fork = true;
	return 0;
}

static bool private_anonymous(enum pn_model_memory memory)
{
	return memory == PN_MODEL_ANON || memory == PN_MODEL_ANON_READ || memory == PN_MODEL_NONE;
}

/* mm/mprotect.c: mprotect_fixup(): what is locked and becomes writable is brought in */
int op_protect(struct pn_model *model, const struct pn_model_op *op)
{
	struct area *area = area_named(model, op, false);
	bool writable;

	if (!area)
		return -EINVAL;
	if (!private_anonymous(area->memory) || !private_anonymous(op->memory))
		return pn_fail(EOPNOTSUPP, "only private anonymous memory is protected otherwise");
	writable = op->memory == PN_MODEL_ANON && area->memory != PN_MODEL_ANON;
	area->memory = op->memory;
	for (uint32_t i = 0; writable && i < area->locked.count; i++) {
		const struct run *run = &area->locked.run[i];

		if (area_populate(model, area, run->first, run->end - run->first))
			model->runs_out = true;
	}
	return 0;
}

/* mm/mremap.c: more than was there is compared with the limit first (vma_to_resize()) */
static int grow(struct pn_model *model, struct area *area, const struct pn_model_op *op)
{
	uint64_t before = area->pages, more = op->pages - before;
	bool locked = area->locked.count;

	if (locked && !within_limit(model, area->mm, capable(model, op->process, PN_MODEL_IPC_LOCK),
			      PN_MODEL_MM_LOCKED, area->mm, 0, more))
		return refuse(model, EAGAIN);
	area->pages = op->pages;
	if (locked) {
		area_lock(model, area, before, area->pages,
			area->onfault.count ? LOCK_ONFAULT : LOCK);
		area_populate(model, area, before, more);
	}
	return 0;
}

static int shrink(struct pn_model *model, struct area *area, uint64_t pages)
{
	uint64_t before = area->pages;

	area->pages = pages;
	if (!runs_remove(&area->touched, pages, before) &&
		!area_lock(model, area, pages, before, UNLOCK))
		return 0;
	area->pages = before;
	return pn_fail(ENOBUFS, "more than %u runs of pages in an area", RUNS_MAX);
}

int op_resize(struct pn_model *model, const struct pn_model_op *op)
{
	struct area *area = area_named(model, op, false);
	int ret = 0;

	if (!area)
		return -EINVAL;
	if (!private_anonymous(area->memory) &&
		(op->pages > area->pages || area->memory != PN_MODEL_SHARED))
		return pn_fail(EOPNOTSUPP, "such an area is not resized");
	if (!op->pages || op->pages > UINT64_MAX / 4096)
		return pn_fail(EINVAL, "an area of no valid size");
	if (area->cut && (op->flag || op->pages > area->pages))
		return pn_fail(EOPNOTSUPP, "parts of it may be VMAs of their own");
	if (op->pages < area->pages)
		ret = shrink(model, area, op->pages);
	else if (op->pages > area->pages)
		ret = grow(model, area, op);
	if (!ret && !model->result->err && op->flag)
		area->born = ++model->born; /* what was named is not there any more */
	return ret;
}

/* secretmem_fault(): page by page, no capability helps, SIGBUS at the first that does not fit */
static int touch_secret(struct pn_model *model, const struct pn_model_op *op, struct area *area)
{
	struct secret *secret = &model->secret[area->secret];
	uint32_t mm = model->process[op->process].mm;

	for (uint64_t page = op->first; page < op->first + op->pages; page++) {
		if (runs_within(&secret->touched, page, page + 1))
			continue;
		if (!within_limit(model, mm, false, PN_MODEL_USER_LOCKED, 0, secret->uid, 1))
			return refuse(model, EFAULT);
		if (runs_add(&secret->touched, page, page + 1))
			return pn_fail(ENOBUFS, "more than %u runs of written pages", RUNS_MAX);
		counter_add(model, PN_MODEL_USER_LOCKED, 0, secret->uid, 1);
	}
	return 0;
}

int op_touch(struct pn_model *model, const struct pn_model_op *op)
{
	struct area *area = area_named(model, op, true);

	if (!area)
		return -EINVAL;
	if (area->memory == PN_MODEL_NONE)
		return refuse(model, EFAULT);
	if (area->memory == PN_MODEL_SECRET)
		return touch_secret(model, op, area);
	return area_touch(model, area, op->first, op->pages);
}

/* mm/madvise.c: locked parts are refused, after those before them have been dropped */
int op_dontneed(struct pn_model *model, const struct pn_model_op *op)
{
	struct area *area = area_named(model, op, true);
	uint64_t end = op->first + op->pages;
	bool locked = false;

	if (!area)
		return -EINVAL;
	if (area->memory == PN_MODEL_BAR)
		return refuse(model, EINVAL);
	/* madvise_dontneed_free_valid_vma() */
	if ((area->memory == PN_MODEL_HUGETLB || area->memory == PN_MODEL_HUGETLB_CMA) &&
		op->first % area->page)
		return refuse(model, EINVAL);
	for (uint32_t i = 0; i < area->locked.count && !locked; i++) {
		const struct run *run = &area->locked.run[i];

		if (run->end <= op->first || run->first >= end)
			continue;
		end = run->first > op->first ? run->first : op->first;
		locked = true;
	}
	/* Those of a file stay in it. */
	if (area->memory != PN_MODEL_HUGETLB_CMA && runs_remove(&area->touched, op->first, end))
		return pn_fail(ENOBUFS, "more than %u runs of written pages in an area", RUNS_MAX);
	return locked ? refuse(model, EINVAL) : 0;
}
