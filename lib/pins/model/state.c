/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making, copying and ending a model; its tables of users and address spaces.
 */
#include <stdlib.h>
#include <string.h>

#include "model_priv.h"

#define MOST (1u << 24)

/* An address space can outlive its process, held by mappings and rings. */
static uint32_t mm_count(const struct pn_model_size *size)
{
	return size->processes + size->mappings + size->rings + size->others + size->areas;
}

static uint32_t files_of(const struct pn_model_size *size, enum pn_model_file file)
{
	switch (file) {
	case PN_MODEL_FILE_CONTEXT:
		return size->contexts;
	case PN_MODEL_FILE_GROUP:
	case PN_MODEL_FILE_DEVICE:
		return size->devices;
	case PN_MODEL_FILE_RING:
		return size->rings;
	default:
		return size->others;
	}
}

/* Give a table its place in the block; base NULL: only count. */
static void *place(char *base, size_t *at, size_t count, size_t size)
{
	void *start = base ? base + *at : NULL;

	*at += (count * size + 15) / 16 * 16;
	return start;
}

/* Lay the tables out after the struct. Returns the size of all. */
static size_t lay_out(struct pn_model *model, char *base)
{
	const struct pn_model_size *size = &model->size;
	size_t at = 0;

	place(base, &at, 1, sizeof(*model));
	model->process = place(base, &at, size->processes, sizeof(*model->process));
	model->mm = place(base, &at, model->mms, sizeof(*model->mm));
	model->user = place(base, &at, model->users, sizeof(*model->user));
	model->area = place(base, &at, size->areas, sizeof(*model->area));
	model->secret = place(base, &at, size->areas, sizeof(*model->secret));
	model->context = place(base, &at, size->contexts, sizeof(*model->context));
	model->device = place(base, &at, size->devices, sizeof(*model->device));
	model->rec = place(base, &at, size->mappings, sizeof(*model->rec));
	model->mapping = place(base, &at, size->mappings, sizeof(*model->mapping));
	model->ring = place(base, &at, size->rings, sizeof(*model->ring));
	model->other = place(base, &at, size->others, sizeof(*model->other));
	for (enum pn_model_file file = 0; file < PN_MODEL_FILES; file++)
		model->holders[file] = place(
			base, &at, (size_t)files_of(size, file) * model->words, sizeof(uint64_t));
	return at;
}

static void fill(struct pn_model *model)
{
	for (uint32_t i = 0; i < model->size.areas; i++)
		model->area[i].mm = NONE;
	for (uint32_t i = 0; i < model->size.devices; i++)
		model->device[i] = (struct device){.group = NONE, .context = NONE, .space = NONE};
	for (uint32_t i = 0; i < model->size.mappings; i++)
		model->mapping[i].context = NONE;
}

int pn_model_create(struct pn_model **out, unsigned int kernel, const struct pn_model_size *size)
{
	struct pn_model model = {.kernel = kernel, .size = *size};
	struct pn_model *made;

	if (!size->processes || size->processes > MOST || size->areas > MOST ||
		size->contexts > MOST || size->devices > MOST || size->mappings > MOST ||
		size->rings > MOST || size->others > MOST)
		return pn_fail(EINVAL,
			"a charge model has 1 to %u processes, and at most that many of each else",
			MOST);
	model.words = (size->processes + 63) / 64;
	model.mms = mm_count(size);
	/* Charges outlive processes, and with them the users they are of. */
	model.users = mm_count(size);
	model.bytes = lay_out(&model, NULL);
	made = calloc(1, model.bytes);
	if (!made)
		return pn_fail(ENOMEM, "no memory for a charge model of %zu bytes", model.bytes);
	*made = model;
	lay_out(made, (char *)made);
	fill(made);
	*out = made;
	return 0;
}

int pn_model_copy(struct pn_model **out, const struct pn_model *model)
{
	struct pn_model *made = malloc(model->bytes);

	if (!made)
		return pn_fail(ENOMEM, "no memory for a charge model of %zu bytes", model->bytes);
	memcpy(made, model, model->bytes);
	lay_out(made, (char *)made);
	*out = made;
	return 0;
}

int pn_model_assign(struct pn_model *to, const struct pn_model *from)
{
	if (memcmp(&to->size, &from->size, sizeof(to->size)))
		return pn_fail(EINVAL, "the two charge models differ in size");
	if (to == from)
		return 0;
	memcpy(to, from, from->bytes);
	lay_out(to, (char *)to);
	return 0;
}

void pn_model_free(struct pn_model *model)
{
	free(model);
}

/* One without any charge may be given to another uid, unless a process still has it. */
static bool user_idle(const struct pn_model *model, const struct user *user)
{
	for (unsigned int i = 0; i < PN_MODEL_COUNTERS; i++)
		if (user->counter[i])
			return false;
	for (uint32_t i = 0; i < model->size.processes; i++)
		if (model->process[i].used && model->process[i].uid == user->uid)
			return false;
	return true;
}

uint32_t user_find(struct pn_model *model, uint32_t uid)
{
	uint32_t free_one = NONE;

	for (uint32_t i = 0; i < model->users; i++) {
		if (model->user[i].used && model->user[i].uid == uid)
			return i;
		if (free_one == NONE && !model->user[i].used)
			free_one = i;
	}
	for (uint32_t i = 0; i < model->users && free_one == NONE; i++)
		if (user_idle(model, &model->user[i]))
			free_one = i;
	if (free_one != NONE)
		model->user[free_one] = (struct user){.used = true, .uid = uid};
	return free_one;
}

uint32_t mm_new(struct pn_model *model, uint32_t process)
{
	for (uint32_t i = 0; i < model->mms; i++) {
		if (model->mm[i].refs)
			continue;
		model->mm[i] = (struct mm){.refs = 1, .process = process};
		return i;
	}
	return NONE;
}

void mm_put(struct pn_model *model, uint32_t mm)
{
	model->mm[mm].refs--;
}

bool mm_alive(const struct pn_model *model, uint32_t mm)
{
	return model->mm[mm].process != NONE;
}

void mm_end(struct pn_model *model, uint32_t mm)
{
	struct mm *at = &model->mm[mm];

	areas_end(model, mm);
	others_end(model, mm);
	counter_add(model, PN_MODEL_MM_LOCKED, mm, 0, -(int64_t)at->locked);
	/* Pins go on, and take what they added away from this counter later; nobody sees it. */
	if (at->pinned) {
		uint64_t pinned = at->pinned;

		counter_add(model, PN_MODEL_MM_PINNED, mm, 0, -(int64_t)pinned);
		at->pinned = pinned;
	}
	at->last_soft = model->process[at->process].soft;
	at->process = NONE;
	mm_put(model, mm);
}

bool pn_model_alive(const struct pn_model *model, uint32_t process)
{
	return process < model->size.processes && model->process[process].used;
}

unsigned int pn_model_kernel(const struct pn_model *model)
{
	return model->kernel;
}
