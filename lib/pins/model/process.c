/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Processes: how they begin, multiply, change and end.
 */
#include "model_priv.h"

static int begin(struct pn_model *model, uint32_t process, const struct process *as)
{
	uint32_t mm;

	if (process >= model->size.processes)
		return pn_fail(ENOBUFS, "the charge model has %u processes", model->size.processes);
	if (model->process[process].used)
		return pn_fail(EINVAL, "process %u is there already", process);
	if (user_find(model, as->uid) == NONE)
		return pn_fail(ENOBUFS, "no room for another user in the charge model");
	mm = mm_new(model, process);
	if (mm == NONE)
		return pn_fail(ENOBUFS, "no room for another address space in the charge model");
	model->process[process] = *as;
	model->process[process].used = true;
	model->process[process].mm = mm;
	model->process[process].peak = 0;
	return 0;
}

int op_start(struct pn_model *model, const struct pn_model_op *op)
{
	struct process as = {.uid = op->uid,
		.soft = op->soft,
		.hard = op->hard,
		.caps = op->caps,
		.permitted = op->permitted | op->caps};

	if (op->soft > op->hard)
		return pn_fail(EINVAL, "a soft limit above the hard one");
	return begin(model, op->process, &as);
}

/* kernel/fork.c: mm_init() zeroes locked_vm and pinned_vm of the child; VM_LOCKED is not inherited
 */
int op_fork(struct pn_model *model, const struct pn_model_op *op)
{
	int ret = begin(model, op->child, &model->process[op->process]);

	if (ret)
		return ret;
	ret = areas_copy(model, model->process[op->process].mm, model->process[op->child].mm);
	if (ret) {
		mm_end(model, model->process[op->child].mm);
		model->process[op->child] = (struct process){0};
		return ret;
	}
	files_copy(model, op->process, op->child);
	return 0;
}

/* fs/exec.c: begin_new_exec(): the new address space first, then close-on-exec */
int op_exec(struct pn_model *model, const struct pn_model_op *op)
{
	struct process *process = &model->process[op->process];
	uint32_t mm = mm_new(model, op->process);

	if (mm == NONE)
		return pn_fail(ENOBUFS, "no room for another address space in the charge model");
	mm_end(model, process->mm);
	process->mm = mm;
	process->caps = op->caps;
	process->permitted = op->permitted | op->caps;
	if (!op->flag)
		files_close_all(model, op->process);
	return 0;
}

/* kernel/exit.c: do_exit(): exit_mm() before exit_files() */
int op_exit(struct pn_model *model, const struct pn_model_op *op)
{
	mm_end(model, model->process[op->process].mm);
	files_close_all(model, op->process);
	model->process[op->process] = (struct process){0};
	return 0;
}

/* kernel/sys.c: set_user(): cred->user follows the real uid */
int op_setuid(struct pn_model *model, const struct pn_model_op *op)
{
	if (user_find(model, op->uid) == NONE)
		return pn_fail(ENOBUFS, "no room for another user in the charge model");
	model->process[op->process].uid = op->uid;
	return 0;
}

int op_seteuid(struct pn_model *model, const struct pn_model_op *op)
{
	(void)model;
	(void)op;
	return 0;
}

/* kernel/sys.c: do_prlimit() */
int op_limit(struct pn_model *model, const struct pn_model_op *op)
{
	struct process *process = &model->process[op->process];

	if (op->soft > op->hard)
		return refuse(model, EINVAL);
	if (op->hard > process->hard && !capable(model, op->process, PN_MODEL_SYS_RESOURCE))
		return refuse(model, EPERM);
	process->soft = op->soft;
	process->hard = op->hard;
	return 0;
}

int op_caps(struct pn_model *model, const struct pn_model_op *op)
{
	struct process *process = &model->process[op->process];

	if (op->caps & ~process->permitted)
		return refuse(model, EPERM);
	process->caps = op->caps;
	if (op->flag)
		process->permitted = op->caps;
	return 0;
}

int op_userns(struct pn_model *model, const struct pn_model_op *op)
{
	struct process *process = &model->process[op->process];

	process->own_userns = true;
	process->caps = process->permitted = UINT32_MAX;
	return 0;
}
