/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The counters: every movement goes through here and into the result, and every comparison with
 * RLIMIT_MEMLOCK.
 */
#include "model_priv.h"

static bool of_mm(enum pn_model_counter counter)
{
	return counter == PN_MODEL_MM_LOCKED || counter == PN_MODEL_MM_PINNED;
}

static uint64_t *slot(
	struct pn_model *model, enum pn_model_counter counter, uint32_t mm, uint32_t uid)
{
	uint32_t user;

	if (counter == PN_MODEL_MM_LOCKED)
		return &model->mm[mm].locked;
	if (counter == PN_MODEL_MM_PINNED)
		return &model->mm[mm].pinned;
	user = user_find(model, uid);
	return user == NONE ? NULL : &model->user[user].counter[counter];
}

uint64_t counter_of(
	const struct pn_model *model, enum pn_model_counter counter, uint32_t mm, uint32_t uid)
{
	if (counter == PN_MODEL_MM_LOCKED)
		return model->mm[mm].locked;
	if (counter == PN_MODEL_MM_PINNED)
		return model->mm[mm].pinned;
	for (uint32_t i = 0; i < model->users; i++)
		if (model->user[i].used && model->user[i].uid == uid)
			return model->user[i].counter[counter];
	return 0;
}

static void drop_change(struct pn_model_result *result, uint32_t at)
{
	result->change_count--;
	for (uint32_t i = at; i < result->change_count; i++)
		result->changes[i] = result->changes[i + 1];
}

static void record(struct pn_model_result *result, enum pn_model_counter counter, uint32_t owner,
	int64_t pages)
{
	for (uint32_t i = 0; i < result->change_count; i++) {
		struct pn_model_change *change = &result->changes[i];

		if (change->counter != counter || change->owner != owner)
			continue;
		change->pages += pages;
		if (!change->pages)
			drop_change(result, i);
		return;
	}
	if (result->change_count == PN_MODEL_CHANGES) {
		result->more = true;
		return;
	}
	result->changes[result->change_count++] = (struct pn_model_change){counter, owner, pages};
}

void counter_add(struct pn_model *model, enum pn_model_counter counter, uint32_t mm, uint32_t uid,
	int64_t pages)
{
	uint64_t *value = slot(model, counter, mm, uid);

	if (!pages || !value)
		return;
	*value += (uint64_t)pages;
	/* Nobody can see the counters of an address space without a process. */
	if (!of_mm(counter) || mm_alive(model, mm))
		record(model->result, counter, of_mm(counter) ? model->mm[mm].process : uid, pages);
}

bool capable(const struct pn_model *model, uint32_t process, uint32_t cap)
{
	const struct process *at = &model->process[process];

	return (at->caps & cap) && !at->own_userns;
}

bool can_mlock(const struct pn_model *model, uint32_t process)
{
	return model->process[process].soft || capable(model, process, PN_MODEL_IPC_LOCK);
}

void needs(struct pn_model *model, uint32_t index, uint64_t pages)
{
	struct process *process = &model->process[index];

	if (process->operation != model->operation) {
		process->operation = model->operation;
		process->peak_before = process->peak;
	}
	if (pages > process->peak)
		process->peak = pages;
}

void forget_peaks(struct pn_model *model)
{
	for (uint32_t i = 0; i < model->size.processes; i++)
		if (model->process[i].operation == model->operation)
			model->process[i].peak = model->process[i].peak_before;
}

bool within_limit(struct pn_model *model, uint32_t asker, bool exempt,
	enum pn_model_counter counter, uint32_t mm, uint32_t uid, uint64_t pages)
{
	const struct mm *at = &model->mm[asker];
	uint64_t soft = at->process == NONE ? at->last_soft : model->process[at->process].soft;
	uint64_t now = counter_of(model, counter, mm, uid);
	uint64_t wanted = pages > UINT64_MAX - now ? UINT64_MAX : now + pages;
	struct pn_model_result *result = model->result;

	if (exempt)
		return true;
	if (wanted <= soft) {
		if (at->process != NONE)
			needs(model, at->process, wanted);
		return true;
	}
	result->over = counter;
	result->over_owner = of_mm(counter) ? model->mm[mm].process : uid;
	result->over_process = at->process;
	result->over_by = wanted - soft;
	return false;
}

uint64_t pn_model_counter(
	const struct pn_model *model, uint32_t process, enum pn_model_counter counter)
{
	const struct process *at;

	if (!pn_model_alive(model, process) || (unsigned int)counter >= PN_MODEL_COUNTERS)
		return 0;
	at = &model->process[process];
	return counter_of(model, counter, at->mm, at->uid);
}

uint64_t pn_model_user_counter(
	const struct pn_model *model, uint32_t uid, enum pn_model_counter counter)
{
	if (of_mm(counter) || (unsigned int)counter >= PN_MODEL_COUNTERS)
		return 0;
	return counter_of(model, counter, 0, uid);
}

uint64_t pn_model_peak(const struct pn_model *model, uint32_t process)
{
	return pn_model_alive(model, process) ? model->process[process].peak : 0;
}

uint64_t pn_model_uncharged(const struct pn_model *model)
{
	uint64_t pages = 0;

	for (uint32_t i = 0; i < model->size.mappings; i++) {
		const struct rec *rec = &model->rec[i];
		bool lost = rec->account == ACCOUNT_NONE || rec->account == ACCOUNT_DMABUF ||
			    (rec->account != ACCOUNT_USER && !mm_alive(model, rec->mm));

		if (rec->refs)
			pages += lost ? rec->held : rec->held - rec->charged;
	}
	return pages;
}
