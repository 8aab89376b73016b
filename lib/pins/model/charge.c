/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pins of mappings into counters and out of them, and the lists of mappings.
 */
#include "model_priv.h"

/* Pages of a rec that its pinned mappings cover: copies of the same page are pinned once. */
static uint64_t covered(const struct pn_model *model, const struct rec *rec)
{
	uint64_t pages = 0, at = 0, from, end;
	bool found;

	do {
		found = false;
		from = UINT64_MAX;
		end = 0;
		/* The run that begins first, at or after `at`. */
		for (uint32_t i = rec->mappings; i != NONE; i = model->mapping[i].next) {
			const struct mapping *mapping = &model->mapping[i];
			uint64_t first = mapping->first > at ? mapping->first : at;
			uint64_t last = mapping->first + mapping->pages;

			if (!mapping->pinned || last <= at || first > from)
				continue;
			end = first < from || last > end ? last : end;
			from = first;
			found = true;
		}
		if (found) {
			pages += end - from;
			at = end;
		}
	} while (found);
	return pages;
}

static void move(struct pn_model *model, const struct rec *rec, int64_t pages)
{
	bool alive = mm_alive(model, rec->mm);

	if (rec->account == ACCOUNT_USER)
		counter_add(model, PN_MODEL_USER_LOCKED, 0, rec->uid, pages);
	/* locked_vm of a dead address space is not touched any more; pinned_vm is. */
	if ((rec->account == ACCOUNT_TYPE1 || rec->account == ACCOUNT_MM) && alive)
		counter_add(model, PN_MODEL_MM_LOCKED, rec->mm, 0, pages);
	if (rec->account != ACCOUNT_TYPE1 && rec->account != ACCOUNT_DMABUF)
		counter_add(model, PN_MODEL_MM_PINNED, rec->mm, 0, pages);
}

void rec_charge(struct pn_model *model, const struct rec *rec)
{
	move(model, rec, (int64_t)rec->charged);
}

void rec_uncharge(struct pn_model *model, const struct rec *rec)
{
	move(model, rec, -(int64_t)rec->charged);
}

static bool fits(struct pn_model *model, const struct rec *rec, uint64_t pages)
{
	if (!pages)
		return true;
	switch (rec->account) {
	case ACCOUNT_TYPE1:
		return within_limit(
			model, rec->mm, rec->exempt, PN_MODEL_MM_LOCKED, rec->mm, 0, pages);
	case ACCOUNT_MM:
		return within_limit(model, rec->mm, false, PN_MODEL_MM_LOCKED, rec->mm, 0, pages);
	case ACCOUNT_USER:
		return within_limit(
			model, rec->mm, false, PN_MODEL_USER_LOCKED, 0, rec->uid, pages);
	case ACCOUNT_NONE:
	case ACCOUNT_DMABUF:
		break;
	}
	return true;
}

/* The memory behind a rec, if it is still the one that was named; NULL: it is not. */
static struct area *area_of(struct pn_model *model, const struct rec *rec)
{
	struct area *area = mm_alive(model, rec->mm) ? area_find(model, rec->mm, rec->area) : NULL;

	return area && area->born == rec->born && area_has(area, rec->first, rec->pages) ? area
											 : NULL;
}

/* What pinning would meet besides the limit; 0 or an errno. *uncounted: pages that it does not
 * count. */
static int pinnable(
	struct pn_model *model, const struct rec *rec, const struct area *area, uint64_t *uncounted)
{
	*uncounted = 0;
	if (rec->file) /* pages.c: update_mm_locked_vm() */
		return rec->account == ACCOUNT_MM && !mm_alive(model, rec->mm) ? EINVAL : 0;
	if (!area)
		return EFAULT;
	if (rec->account != ACCOUNT_TYPE1)
		return area_pin_errno(model, area, rec->first, rec->writable);
	if (area->memory == PN_MODEL_BAR) { /* is_invalid_reserved_pfn() */
		*uncounted = rec->pages;
		return 0;
	}
	if (!rec->writable)
		*uncounted = area_zero_pages(model, area, rec->first, rec->pages);
	return area_pin_errno(model, area, rec->first, rec->writable);
}

/* Neither read nor written: iommu_map() refuses it, after the pages have been pinned. An errno. */
int rec_unusable_errno(struct pn_model *model, const struct rec *rec)
{
	uint64_t uncounted;
	int err = pinnable(model, rec, area_of(model, rec), &uncounted);

	return err ? err : EINVAL;
}

/* What type1 brings in before it meets the limit: batches of 512 pages (VFIO_BATCH_MAX_CAPACITY).
 */
static uint64_t brought_in(const struct pn_model *model, const struct rec *rec)
{
	const struct mm *mm = &model->mm[rec->mm];
	uint64_t soft = model->process[mm->process].soft;
	uint64_t left = soft > mm->locked ? soft - mm->locked : 0;
	uint64_t pages = (left / 512 + 1) * 512;

	return pages < rec->pages ? pages : rec->pages;
}

static int grow(struct pn_model *model, struct rec *rec, uint64_t held)
{
	struct area *area = area_of(model, rec);
	uint64_t uncounted, more;
	int err = pinnable(model, rec, area, &uncounted);
	bool fit;

	if (err)
		return err;
	more = held - rec->held - uncounted;
	fit = fits(model, rec, more);
	if (area && rec->writable && !rec->file &&
		area_touch(model, area, rec->first, fit ? rec->pages : brought_in(model, rec))) {
		model->runs_out = true;
		return ENOMEM;
	}
	if (!fit)
		return ENOMEM;
	move(model, rec, (int64_t)more);
	rec->charged += more;
	rec->held = held;
	return 0;
}

int rec_recharge(struct pn_model *model, struct rec *rec)
{
	uint64_t held = covered(model, rec), less;

	if (held > rec->held)
		return grow(model, rec, held);
	less = held ? rec->held - held : rec->charged;
	move(model, rec, -(int64_t)less);
	rec->charged -= less;
	rec->held = held;
	return 0;
}

uint32_t mapping_new(struct pn_model *model)
{
	for (uint32_t i = 0; i < model->size.mappings; i++)
		if (model->mapping[i].context == NONE)
			return i;
	return NONE;
}

static void unlink_mapping(struct pn_model *model, struct rec *rec, uint32_t index)
{
	uint32_t *at = &rec->mappings;

	while (*at != index)
		at = &model->mapping[*at].next;
	*at = model->mapping[index].next;
}

void mapping_end(struct pn_model *model, struct mapping *mapping)
{
	struct rec *rec = &model->rec[mapping->rec];

	mapping->pinned = false;
	rec_recharge(model, rec);
	if (mapping->vaddr_gone)
		model->context[mapping->context].vaddrs_gone--;
	unlink_mapping(model, rec, (uint32_t)(mapping - model->mapping));
	if (!--rec->refs)
		mm_put(model, rec->mm);
	if (model->context[mapping->context].path == PN_MODEL_TYPE1)
		model->context[mapping->context].entries++;
	*mapping = (struct mapping){.context = NONE};
}

struct mapping *mapping_first(
	struct pn_model *model, uint32_t context, uint32_t space, uint64_t start, uint64_t last)
{
	struct mapping *first = NULL;

	for (uint32_t i = 0; i < model->size.mappings; i++) {
		struct mapping *mapping = &model->mapping[i];

		if (mapping->context != context || mapping->space != space)
			continue;
		if (mapping->iova > last || mapping->iova + (mapping->pages * 4096 - 1) < start)
			continue;
		if (!first || mapping->iova < first->iova)
			first = mapping;
	}
	return first;
}

/* iopt_check_iova_alignment(): what was mapped before may be of any address */
static bool aligned(const struct pn_model *model, uint32_t context, uint32_t space)
{
	for (uint32_t i = 0; i < model->size.mappings; i++) {
		const struct mapping *mapping = &model->mapping[i];

		if (mapping->context == context && mapping->space == space && mapping->iova & 4095)
			return false;
	}
	return true;
}

int space_pin(struct pn_model *model, uint32_t context, uint32_t space)
{
	struct mapping *mapping = mapping_first(model, context, space, 0, UINT64_MAX);
	uint64_t last;
	int err = 0;

	if (!aligned(model, context, space))
		return EADDRINUSE;

	while (mapping && !err) {
		mapping->pinned = true;
		err = mapping->prot ? rec_recharge(model, &model->rec[mapping->rec])
				    : rec_unusable_errno(model, &model->rec[mapping->rec]);
		if (err)
			mapping->pinned = false;
		last = mapping->iova + (mapping->pages * 4096 - 1);
		mapping = last == UINT64_MAX
				  ? NULL
				  : mapping_first(model, context, space, last + 1, UINT64_MAX);
	}
	if (err)
		space_unpin(model, context, space);
	return err;
}

void space_unpin(struct pn_model *model, uint32_t context, uint32_t space)
{
	for (uint32_t i = 0; i < model->size.mappings; i++) {
		struct mapping *mapping = &model->mapping[i];

		if (mapping->context != context || mapping->space != space || !mapping->pinned)
			continue;
		mapping->pinned = false;
		rec_recharge(model, &model->rec[mapping->rec]);
	}
}

void space_drop(struct pn_model *model, uint32_t context, uint32_t space)
{
	for (uint32_t i = 0; i < model->size.mappings; i++)
		if (model->mapping[i].context == context && model->mapping[i].space == space)
			mapping_end(model, &model->mapping[i]);
}
