/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Others that use the same counters: shared memory that is locked, AF_XDP, zero-copy sockets, RDMA,
 * vDPA, perf. Each keeps what it is charged until its last descriptor goes; perf's is of the
 * mapping, which a child does not get, and that of SHM_LOCK of the segment, which no process's end
 * takes away.
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

static bool is_of_file(enum pn_model_other kind)
{
	return kind != PN_MODEL_SHM_LOCK && kind != PN_MODEL_PERF_BUFFER;
}

void other_release(struct pn_model *model, uint32_t other)
{
	struct other *at = &model->other[other];

	for (enum pn_model_counter counter = 0; counter < PN_MODEL_COUNTERS; counter++)
		counter_add(model, counter, at->mm, at->uid, -(int64_t)at->charged[counter]);
	mm_put(model, at->mm);
	*at = (struct other){0};
}

/* kernel/events/core.c: perf_mmap_close() */
void others_end(struct pn_model *model, uint32_t mm)
{
	for (uint32_t i = 0; i < model->size.others; i++) {
		const struct other *other = &model->other[i];

		if (other->used && other->mm == mm && other->kind == PN_MODEL_PERF_BUFFER)
			other_release(model, i);
	}
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
	/* net/core/skbuff.c: mm_account_pinned_pages() counts nothing without a limit, since 6.3 */
	if (op->kind == PN_MODEL_ZEROCOPY && process->soft == PN_MODEL_ALL &&
		model->kernel >= PN_MODEL_KERNEL(6, 3))
		exempt = true;
	if (claim->needs_mlock && !can_mlock(model, op->process))
		return refuse(model, EPERM);
	/* mmap() comes before perf, which has VM_LOCKED taken off again */
	if (op->kind == PN_MODEL_PERF_BUFFER && model->mm[process->mm].lock_future &&
		!within_limit(
			model, process->mm, exempt, PN_MODEL_MM_LOCKED, process->mm, 0, op->pages))
		return refuse(model, EAGAIN);
	if (!within_limit(model, process->mm, exempt && !claim->no_exemption, claim->counter,
		    process->mm, process->uid, compared))
		return refuse(model, claim->err);
	other = &model->other[op->other];
	*other = (struct other){
		.used = true, .kind = op->kind, .mm = process->mm, .uid = process->uid};
	model->mm[process->mm].refs++;
	if (is_of_file(op->kind))
		file_hold(model, PN_MODEL_FILE_OTHER, op->other, op->process);
	if (!exempt || claim->exempt_counts)
		move(model, other, claim->counter, compared);
	move(model, other, PN_MODEL_PERF, op->pages - compared);
	return 0;
}

/* Of what is not of a file: 0, or the errno that another process is given. */
static int end_errno(
	const struct pn_model *model, const struct pn_model_op *op, const struct other *other)
{
	const struct process *process = &model->process[op->process];

	if (other->kind == PN_MODEL_PERF_BUFFER)
		return process->mm == other->mm ? 0 : EBADF;
	/* ipc/shm.c: shmctl_do_lock() */
	return process->uid == other->uid || capable(model, op->process, PN_MODEL_IPC_LOCK) ? 0
											    : EPERM;
}

int op_other_end(struct pn_model *model, const struct pn_model_op *op)
{
	int err;

	if (op->other >= model->size.others || !model->other[op->other].used)
		return pn_fail(EINVAL, "there is no charge %u", op->other);
	if (!is_of_file(model->other[op->other].kind)) {
		err = end_errno(model, op, &model->other[op->other]);
		if (!err)
			other_release(model, op->other);
		return refuse(model, err);
	}
	if (!file_held(model, PN_MODEL_FILE_OTHER, op->other, op->process))
		return refuse(model, EBADF);
	file_close(model, PN_MODEL_FILE_OTHER, op->other, op->process);
	return 0;
}
