/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who holds descriptors of which file. A process counts once: what it dup()s is not modelled.
 */
#include "model_priv.h"

static uint64_t *holders(const struct pn_model *model, enum pn_model_file file, uint32_t index)
{
	return model->holders[file] + (size_t)index * model->words;
}

bool file_held(
	const struct pn_model *model, enum pn_model_file file, uint32_t index, uint32_t process)
{
	return holders(model, file, index)[process / 64] >> (process % 64) & 1;
}

bool file_any(const struct pn_model *model, enum pn_model_file file, uint32_t index)
{
	for (uint32_t i = 0; i < model->words; i++)
		if (holders(model, file, index)[i])
			return true;
	return false;
}

void file_hold(struct pn_model *model, enum pn_model_file file, uint32_t index, uint32_t process)
{
	holders(model, file, index)[process / 64] |= UINT64_C(1) << (process % 64);
}

static void release(struct pn_model *model, enum pn_model_file file, uint32_t index)
{
	switch (file) {
	case PN_MODEL_FILE_CONTEXT:
		context_release(model, index);
		return;
	case PN_MODEL_FILE_GROUP:
		group_release(model, index);
		return;
	case PN_MODEL_FILE_DEVICE:
		device_release(model, index);
		return;
	case PN_MODEL_FILE_RING:
		ring_release(model, index);
		return;
	case PN_MODEL_FILE_OTHER:
		other_release(model, index);
		return;
	case PN_MODEL_FILES:
		return;
	}
}

void file_close(struct pn_model *model, enum pn_model_file file, uint32_t index, uint32_t process)
{
	holders(model, file, index)[process / 64] &= ~(UINT64_C(1) << (process % 64));
	if (!file_any(model, file, index))
		release(model, file, index);
}

static uint32_t count_of(const struct pn_model *model, enum pn_model_file file)
{
	const struct pn_model_size *size = &model->size;
	const uint32_t counts[PN_MODEL_FILES] = {
		size->contexts, size->devices, size->devices, size->rings, size->others};

	return counts[file];
}

void files_copy(struct pn_model *model, uint32_t from, uint32_t to)
{
	for (enum pn_model_file file = 0; file < PN_MODEL_FILES; file++)
		for (uint32_t i = 0; i < count_of(model, file); i++)
			if (file_held(model, file, i, from))
				file_hold(model, file, i, to);
}

void files_close_all(struct pn_model *model, uint32_t process)
{
	for (enum pn_model_file file = 0; file < PN_MODEL_FILES; file++)
		for (uint32_t i = 0; i < count_of(model, file); i++)
			if (file_held(model, file, i, process))
				file_close(model, file, i, process);
}

int op_pass(struct pn_model *model, const struct pn_model_op *op)
{
	if ((unsigned int)op->file >= PN_MODEL_FILES || op->target >= count_of(model, op->file) ||
		!pn_model_alive(model, op->child))
		return pn_fail(EINVAL, "there is no file %u, or no process %u to hand it to",
			op->target, op->child);
	/* Kernels differ: since 6.8 it is refused, and in stable releases of older ones. */
	if (op->file == PN_MODEL_FILE_RING)
		return pn_fail(EOPNOTSUPP, "rings are not handed on");
	if (!file_held(model, op->file, op->target, op->process))
		return refuse(model, EBADF);
	file_hold(model, op->file, op->target, op->child);
	return 0;
}
