/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mappings: made, copied, removed, and handed to another process.
 */
#include "model_priv.h"

/* The context an operation names, held by its process. NULL: *ret is the answer. */
static struct context *context_named(struct pn_model *model, const struct pn_model_op *op, int *ret)
{
	if (op->context >= model->size.contexts || !model->context[op->context].used) {
		*ret = pn_fail(EINVAL, "there is no context %u", op->context);
		return NULL;
	}
	if (op->space >= PN_MODEL_SPACES || op->from >= PN_MODEL_SPACES) {
		*ret = pn_fail(EINVAL, "a context has %u spaces", PN_MODEL_SPACES);
		return NULL;
	}
	if (!file_held(model, PN_MODEL_FILE_CONTEXT, op->context, op->process)) {
		*ret = refuse(model, EBADF);
		return NULL;
	}
	return &model->context[op->context];
}

/* Nobody has given it a group, or made the space. */
static int no_space(const struct context *context)
{
	switch (context->path) {
	case PN_MODEL_TYPE1:
		return EINVAL;
	case PN_MODEL_COMPAT:
		return ENODEV;
	case PN_MODEL_NATIVE:
		break;
	}
	return ENOENT;
}

/* Of a range as such; 0 or an errno. */
static int wraps(
	const struct pn_model *model, const struct context *context, uint64_t iova, uint64_t pages)
{
	if (pages <= UINT64_MAX / 4096 && pages * 4096 - 1 <= UINT64_MAX - iova)
		return 0;
	/* The same since 6.18: check_add_overflow() in vfio_dma_do_map(). */
	return context->path == PN_MODEL_TYPE1 && model->kernel < PN_MODEL_KERNEL(6, 18)
		       ? EINVAL
		       : EOVERFLOW;
}

/*
 * IOVA and length of a map; 0 or an errno. iommufd demands whole pages as long as a device is
 * attached (iopt->iova_alignment), type1 always.
 */
static int range_errno(const struct pn_model *model, const struct context *context, uint32_t space,
	uint64_t iova, uint64_t pages)
{
	if (!pages)
		return EINVAL;
	if (iova & 4095 && (context->path == PN_MODEL_TYPE1 || context->attached[space]))
		return EINVAL;
	return wraps(model, context, iova, pages);
}

static uint32_t rec_free(const struct pn_model *model)
{
	for (uint32_t i = 0; i < model->size.mappings; i++)
		if (!model->rec[i].refs)
			return i;
	return NONE;
}

static enum account account_of(
	const struct pn_model *model, const struct context *context, uint32_t process)
{
	if (context->path == PN_MODEL_TYPE1)
		return ACCOUNT_TYPE1;
	if (capable(model, process, PN_MODEL_IPC_LOCK))
		return ACCOUNT_NONE;
	return context->mm_mode ? ACCOUNT_MM : ACCOUNT_USER;
}

/* Put a mapping of [first, first + pages) of a rec into a space, and pin it if that has a device.
 * The rec goes with it if this fails. */
static int insert(
	struct pn_model *model, const struct pn_model_op *op, uint32_t rec, uint64_t first)
{
	struct context *context = &model->context[op->context];
	uint32_t index = mapping_new(model);
	struct mapping *mapping = &model->mapping[index];
	int err = 0;

	*mapping = (struct mapping){.context = op->context,
		.space = op->space,
		.rec = rec,
		.next = model->rec[rec].mappings,
		.prot = op->prot,
		.iova = op->iova,
		.first = first,
		.pages = op->pages};
	model->rec[rec].mappings = index;
	model->rec[rec].refs++;
	if (context->path == PN_MODEL_TYPE1)
		context->entries--;
	if (!context->attached[op->space])
		return 0;
	mapping->pinned = true;
	err = op->prot ? rec_recharge(model, &model->rec[rec])
		       : rec_unusable_errno(model, &model->rec[rec]);
	if (err) {
		mapping->pinned = false;
		mapping_end(model, mapping);
	}
	return err;
}

static int map_errno(struct pn_model *model, const struct pn_model_op *op)
{
	const struct context *context = &model->context[op->context];
	int err;

	/* iommufd_ioas_map() and vfio_dma_do_map() look at the protection; compat does not. */
	if (!op->prot && context->path == PN_MODEL_NATIVE)
		return EINVAL;
	if (!context->exists[op->space])
		return no_space(context);
	if (!op->prot && context->path == PN_MODEL_TYPE1)
		return EINVAL;
	err = range_errno(model, context, op->space, op->iova, op->pages);
	if (err)
		return err;
	if (mapping_first(
		    model, op->context, op->space, op->iova, op->iova + (op->pages * 4096 - 1)))
		return EEXIST;
	return context->path == PN_MODEL_TYPE1 && !context->entries ? ENOSPC : 0;
}

static int map(
	struct pn_model *model, const struct pn_model_op *op, const struct area *area, bool file)
{
	const struct process *process = &model->process[op->process];
	uint32_t index = rec_free(model);
	struct rec *rec;

	if (index == NONE || mapping_new(model) == NONE)
		return pn_fail(ENOBUFS, "the charge model has %u mappings", model->size.mappings);
	rec = &model->rec[index];
	*rec = (struct rec){.mappings = NONE,
		.mm = process->mm,
		.uid = process->uid,
		.area = op->area,
		.born = area->born,
		.account = file && area->memory == PN_MODEL_BAR
				   ? ACCOUNT_DMABUF
				   : account_of(model, &model->context[op->context], op->process),
		.exempt = capable(model, op->process, PN_MODEL_IPC_LOCK),
		.writable = op->prot & PN_MODEL_WRITE,
		.file = file,
		.first = op->first,
		.pages = op->pages};
	model->mm[process->mm].refs++;
	return refuse(model, insert(model, op, index, 0));
}

static int map_area(struct pn_model *model, const struct pn_model_op *op, bool file)
{
	const struct area *area = area_find(model, model->process[op->process].mm, op->area);
	int ret = 0;

	if (!area || (op->pages && !area_has(area, op->first, op->pages)))
		return pn_fail(
			EINVAL, "process %u has no such pages in area %u", op->process, op->area);
	if (file && area->memory != PN_MODEL_SHARED && area->memory != PN_MODEL_HUGETLB &&
		area->memory != PN_MODEL_BAR)
		return pn_fail(
			EOPNOTSUPP, "only shared files, hugetlb and BARs are mapped by file");
	if (!context_named(model, op, &ret))
		return ret;
	if (file && (model->context[op->context].path != PN_MODEL_NATIVE ||
			    model->kernel < PN_MODEL_KERNEL(6, 13)))
		return refuse(model, ENOTTY);
	ret = map_errno(model, op);
	/* Before there were dma-bufs of BARs: mm/gup.c: memfd_pin_folios() */
	if (!ret && file && area->memory == PN_MODEL_BAR && model->kernel < PN_MODEL_KERNEL(6, 19))
		ret = EINVAL;
	return ret ? refuse(model, ret) : map(model, op, area, file);
}

int op_map(struct pn_model *model, const struct pn_model_op *op)
{
	return map_area(model, op, false);
}

int op_map_file(struct pn_model *model, const struct pn_model_op *op)
{
	return map_area(model, op, true);
}

static uint64_t last_of(const struct mapping *mapping)
{
	return mapping->iova + (mapping->pages * 4096 - 1);
}

/* vfio_dma_do_unmap(), v2: nothing is done if a mapping is cut */
static bool cuts(struct pn_model *model, const struct pn_model_op *op, uint64_t last)
{
	const struct mapping *mapping =
		mapping_first(model, op->context, op->space, op->iova, op->iova);

	if (mapping && mapping->iova != op->iova)
		return true;
	mapping = mapping_first(model, op->context, op->space, last, last);
	return mapping && last_of(mapping) != last;
}

/* iopt_unmap_iova_range(): what comes before a mapping that is cut has gone by then */
static int remove_range(
	struct pn_model *model, const struct pn_model_op *op, uint64_t start, uint64_t last)
{
	struct mapping *mapping;

	while ((mapping = mapping_first(model, op->context, op->space, start, last))) {
		if (mapping->iova < start || last_of(mapping) > last)
			return ENOENT;
		model->result->bytes += mapping->pages * 4096;
		mapping_end(model, mapping);
	}
	return 0;
}

int op_unmap(struct pn_model *model, const struct pn_model_op *op)
{
	int ret = 0;
	const struct context *context = context_named(model, op, &ret);
	bool all = op->pages == PN_MODEL_ALL;
	uint64_t last;

	if (!context)
		return ret;
	if (!context->exists[op->space])
		return refuse(model, no_space(context));
	if (all) {
		ret = remove_range(model, op, 0, UINT64_MAX);
		return refuse(model, ret);
	}
	/* iommufd has no word for what is not aligned: it cuts whatever is there. */
	ret = !op->pages ? EINVAL : wraps(model, context, op->iova, op->pages);
	if (!ret && op->iova & 4095 && context->path == PN_MODEL_TYPE1)
		ret = EINVAL;
	if (ret)
		return refuse(model, ret);
	last = op->iova + (op->pages * 4096 - 1);
	if (context->path == PN_MODEL_TYPE1 && cuts(model, op, last))
		return refuse(model, EINVAL);
	ret = remove_range(model, op, op->iova, last);
	if (!ret && !model->result->bytes && context->path == PN_MODEL_NATIVE)
		ret = ENOENT;
	return refuse(model, ret);
}

/* iommufd_ioas_copy(): the pages are shared, and charged once */
int op_copy(struct pn_model *model, const struct pn_model_op *op)
{
	int ret = 0;
	const struct context *context = context_named(model, op, &ret);
	const struct mapping *from;
	struct rec *rec;

	if (!context)
		return ret;
	if (context->path != PN_MODEL_NATIVE)
		return pn_fail(EOPNOTSUPP, "only native contexts copy mappings");
	if (!op->prot)
		return refuse(model, EINVAL);
	if (!context->exists[op->from])
		return refuse(model, ENOENT);
	ret = !op->pages ? EINVAL : wraps(model, context, op->from_iova, op->pages);
	if (ret)
		return refuse(model, ret);
	from = mapping_first(model, op->context, op->from, op->from_iova, op->from_iova);
	if (!from)
		return refuse(model, ENOENT);
	if (last_of(from) < op->from_iova + (op->pages * 4096 - 1))
		return pn_fail(EOPNOTSUPP, "a copy of more than one mapping");
	if ((op->from_iova - from->iova) & 4095)
		return pn_fail(EOPNOTSUPP, "a copy of parts of pages");
	if (!context->exists[op->space])
		return refuse(model, ENOENT);
	ret = range_errno(model, context, op->space, op->iova, op->pages);
	if (!ret && mapping_first(model, op->context, op->space, op->iova,
			    op->iova + (op->pages * 4096 - 1)))
		ret = EEXIST;
	rec = &model->rec[from->rec];
	if (!ret && (op->prot & PN_MODEL_WRITE) && !rec->writable)
		ret = EPERM;
	if (ret)
		return refuse(model, ret);
	if (mapping_new(model) == NONE)
		return pn_fail(ENOBUFS, "the charge model has %u mappings", model->size.mappings);
	return refuse(model,
		insert(model, op, from->rec, from->first + (op->from_iova - from->iova) / 4096));
}

/* Take VFIO_DMA_UNMAP_FLAG_VADDR off the mappings before this one again, or put it on. */
static void set_gone(struct pn_model *model, const struct pn_model_op *op, uint64_t start,
	uint64_t last, bool gone)
{
	struct context *context = &model->context[op->context];

	for (uint32_t i = 0; i < model->size.mappings; i++) {
		struct mapping *mapping = &model->mapping[i];

		if (mapping->context != op->context || mapping->iova > last ||
			last_of(mapping) < start || mapping->vaddr_gone == gone)
			continue;
		mapping->vaddr_gone = gone;
		context->vaddrs_gone += gone ? 1 : UINT32_MAX;
	}
}

/* vfio_dma_do_unmap(): one whose address has gone already takes back what was done before it */
static int drop_vaddrs(
	struct pn_model *model, const struct pn_model_op *op, uint64_t start, uint64_t last)
{
	uint64_t gone_at = UINT64_MAX;
	bool found = false;

	for (uint32_t i = 0; i < model->size.mappings; i++) {
		const struct mapping *mapping = &model->mapping[i];

		if (mapping->context != op->context || mapping->iova > last ||
			last_of(mapping) < start || !mapping->vaddr_gone)
			continue;
		found = true;
		if (mapping->iova < gone_at)
			gone_at = mapping->iova;
	}
	if (found) {
		/* Those before it have just got the flag, and lose it again. */
		if (gone_at && start < gone_at)
			set_gone(model, op, start, gone_at - 1, false);
		return EINVAL;
	}
	set_gone(model, op, start, last, true);
	return 0;
}

int op_vaddr_drop(struct pn_model *model, const struct pn_model_op *op)
{
	int ret = 0;
	const struct context *context = context_named(model, op, &ret);
	uint64_t last;

	if (!context)
		return ret;
	if (context->path == PN_MODEL_NATIVE)
		return pn_fail(EOPNOTSUPP, "native contexts have no such flag");
	if (context->path == PN_MODEL_COMPAT || !context->exists[0])
		return refuse(model, EINVAL);
	if (op->pages == PN_MODEL_ALL)
		return refuse(model, drop_vaddrs(model, op, 0, UINT64_MAX));
	ret = range_errno(model, context, op->space, op->iova, op->pages);
	if (ret)
		return refuse(model, ret);
	last = op->iova + (op->pages * 4096 - 1);
	if (cuts(model, op, last))
		return refuse(model, EINVAL);
	return refuse(model, drop_vaddrs(model, op, op->iova, last));
}

/* vfio_change_dma_owner(): the new one is charged before the old one is not */
static int change_owner(struct pn_model *model, struct rec *rec, uint32_t process)
{
	uint32_t mm = model->process[process].mm;
	bool exempt = capable(model, process, PN_MODEL_IPC_LOCK);

	if (mm == rec->mm)
		return 0;
	if (rec->charged &&
		!within_limit(model, mm, exempt, PN_MODEL_MM_LOCKED, mm, 0, rec->charged))
		return ENOMEM;
	counter_add(model, PN_MODEL_MM_LOCKED, mm, 0, (int64_t)rec->charged);
	if (mm_alive(model, rec->mm))
		counter_add(model, PN_MODEL_MM_LOCKED, rec->mm, 0, -(int64_t)rec->charged);
	mm_put(model, rec->mm);
	model->mm[mm].refs++;
	rec->mm = mm;
	rec->exempt = exempt;
	return 0;
}

int op_vaddr_give(struct pn_model *model, const struct pn_model_op *op)
{
	const struct area *area = area_find(model, model->process[op->process].mm, op->area);
	int ret = 0;
	const struct context *context = context_named(model, op, &ret);
	struct mapping *mapping;

	if (!context)
		return ret;
	if (!area || !area_has(area, op->first, op->pages))
		return pn_fail(
			EINVAL, "process %u has no such pages in area %u", op->process, op->area);
	if (context->path == PN_MODEL_NATIVE)
		return pn_fail(EOPNOTSUPP, "native contexts have no such flag");
	if (context->path == PN_MODEL_COMPAT || !context->exists[0])
		return refuse(model, EINVAL);
	ret = range_errno(model, context, op->space, op->iova, op->pages);
	if (ret)
		return refuse(model, ret);
	mapping = mapping_first(model, op->context, 0, op->iova, op->iova + (op->pages * 4096 - 1));
	if (!mapping)
		return refuse(model, ENOENT);
	if (!mapping->vaddr_gone || mapping->iova != op->iova || mapping->pages != op->pages)
		return refuse(model, EINVAL);
	ret = change_owner(model, &model->rec[mapping->rec], op->process);
	if (!ret)
		set_gone(model, op, op->iova, op->iova, false);
	return refuse(model, ret);
}

/* iommufd/ioas.c: need_charge_update() */
static bool owner_changes(const struct pn_model *model, const struct rec *rec, uint32_t process)
{
	if (rec->account == ACCOUNT_NONE || rec->account == ACCOUNT_DMABUF)
		return false;
	return rec->mm != model->process[process].mm ||
	       (rec->account == ACCOUNT_USER && rec->uid != model->process[process].uid);
}

static bool in_context(const struct pn_model *model, const struct rec *rec, uint32_t context)
{
	return rec->refs && model->mapping[rec->mappings].context == context;
}

static void give_rec(struct pn_model *model, struct rec *rec, uint32_t process)
{
	const struct process *to = &model->process[process];

	if (rec->mm == to->mm && rec->uid == to->uid)
		return;
	model->mm[to->mm].refs++;
	mm_put(model, rec->mm);
	rec->mm = to->mm;
	rec->uid = to->uid;
}

/* iommufd_ioas_change_process(): the new owner is charged while the old one still is */
int op_change_process(struct pn_model *model, const struct pn_model_op *op)
{
	int ret = 0;
	const struct context *context = context_named(model, op, &ret);
	const struct process *to = &model->process[op->process];
	uint64_t user = 0, locked = 0;

	if (!context)
		return ret;
	if (context->path == PN_MODEL_TYPE1 || model->kernel < PN_MODEL_KERNEL(6, 14))
		return refuse(model, ENOTTY);
	for (uint32_t i = 0; i < model->size.mappings; i++) {
		const struct rec *rec = &model->rec[i];

		if (!in_context(model, rec, op->context))
			continue;
		if (!rec->file || rec->account == ACCOUNT_DMABUF)
			return refuse(model, EINVAL);
		if (!owner_changes(model, rec, op->process))
			continue;
		if (rec->account == ACCOUNT_USER)
			user += rec->charged;
		else
			locked += rec->charged;
	}
	/* iopt_pages_update_pinned() asks for no capability. */
	if (user && !within_limit(model, to->mm, false, PN_MODEL_USER_LOCKED, 0, to->uid, user))
		return refuse(model, ENOMEM);
	if (locked && !within_limit(model, to->mm, false, PN_MODEL_MM_LOCKED, to->mm, 0, locked))
		return refuse(model, ENOMEM);
	for (uint32_t i = 0; i < model->size.mappings; i++) {
		struct rec *rec = &model->rec[i];
		bool moves;

		if (!in_context(model, rec, op->context))
			continue;
		moves = owner_changes(model, rec, op->process);
		if (moves)
			rec_uncharge(model, rec);
		give_rec(model, rec, op->process);
		if (moves)
			rec_charge(model, rec);
	}
	return 0;
}
