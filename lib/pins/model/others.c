/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Others that use the same counters: shared memory that is locked, AF_XDP, zero-copy sockets, RDMA,
 * vDPA, perf. Each keeps what it is charged until its last descriptor goes.
 */
#include "model_priv.h"

struct claim {
	enum pn_model_counter counter; /* compared */
	int err;
	bool exempt_counts; /* charged when it is exempt from the limit, too */
	bool no_exemption;
	bool needs_mlock; /* EPERM at a limit of 0 */
};

static const struct claim claims[] = {
	[PN_MODEL_SHM_LOCK] = {PN_MODEL_UCOUNTS, ENOMEM, true, false, true},
	[PN_MODEL_XDP] = {PN_MODEL_USER_LOCKED, ENOBUFS, false, false, false},
	[PN_MODEL_ZEROCOPY] = {PN_MODEL_USER_LOCKED, ENOBUFS, false, false, false},
	[PN_MODEL_RDMA] = {PN_MODEL_MM_PINNED, ENOMEM, true, false, true},
	[PN_MODEL_VDPA] = {PN_MODEL_MM_PINNED, ENOMEM, true, true, false},
	[PN_MODEL_PERF_BUFFER] = {PN_MODEL_MM_PINNED, EPERM, true, false, false},
};

static void move(
	struct pn_model *model, struct other *other, enum pn_model_counter counter, uint64_t pages)
{
	counter_add(model, counter, other->mm, other->uid, (int64_t)pages);
	other->charged[counter] += pages;
}

void other_release(struct pn_model *model, uint32_t other)
{
	struct other *at = &model->other[other];

	for (enum pn_model_counter counter = 0; counter < PN_MODEL_COUNTERS; counter++)
		counter_add(model, counter, at->mm, at->uid, -(int64_t)at->charged[counter]);
	mm_put(model, at->mm);
	*at = (struct other){0};
}

int op_other(struct pn_model *model, const struct pn_model_op *op)
{
	const struct process *process = &model->process[op->process];
	bool exempt = capable(model, op->process, PN_MODEL_IPC_LOCK);
	uint64_t compared = op->pages;
	const struct claim *claim;
	struct other *other;

	if (op->other >= model->size.others || model->other[op->other].used ||
		(unsigned int)op->kind > PN_MODEL_PERF_BUFFER || op->free > op->pages)
		return pn_fail(EINVAL, "charge %u is there already, or cannot be", op->other);
	claim = &claims[op->kind];
	if (op->kind == PN_MODEL_PERF_BUFFER)
		compared -= op->free;
	/* net/core/skbuff.c: mm_account_pinned_pages() counts nothing without a limit */
	if (op->kind == PN_MODEL_ZEROCOPY && process->soft == PN_MODEL_ALL)
		exempt = true;
	if (claim->needs_mlock && !can_mlock(model, op->process))
		return refuse(model, EPERM);
	if (!within_limit(model, process->mm, exempt && !claim->no_exemption, claim->counter,
		    process->mm, process->uid, compared))
		return refuse(model, claim->err);
	other = &model->other[op->other];
	*other = (struct other){.used = true, .mm = process->mm, .uid = process->uid};
	model->mm[process->mm].refs++;
	file_hold(model, PN_MODEL_FILE_OTHER, op->other, op->process);
	if (!exempt || claim->exempt_counts)
		move(model, other, claim->counter, compared);
	move(model, other, PN_MODEL_PERF, op->pages - compared);
	return 0;
}

int op_other_end(struct pn_model *model, const struct pn_model_op *op)
{
	if (op->other >= model->size.others || !model->other[op->other].used)
		return pn_fail(EINVAL, "there is no charge %u", op->other);
	if (!file_held(model, PN_MODEL_FILE_OTHER, op->other, op->process))
		return refuse(model, EBADF);
	file_close(model, PN_MODEL_FILE_OTHER, op->other, op->process);
	return 0;
}
