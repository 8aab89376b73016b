/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One operation: which function does it, and what its names are.
 */
#include <string.h>

#include "model_priv.h"

static const struct {
	const char *name;
	operation *apply;
} operations[PN_MODEL_WHATS] = {
	[PN_MODEL_START] = {"start", op_start},
	[PN_MODEL_FORK] = {"fork", op_fork},
	[PN_MODEL_EXEC] = {"exec", op_exec},
	[PN_MODEL_EXIT] = {"exit", op_exit},
	[PN_MODEL_SETUID] = {"setuid", op_setuid},
	[PN_MODEL_SETEUID] = {"seteuid", op_seteuid},
	[PN_MODEL_LIMIT] = {"limit", op_limit},
	[PN_MODEL_CAPS] = {"caps", op_caps},
	[PN_MODEL_USERNS] = {"userns", op_userns},
	[PN_MODEL_PASS] = {"pass", op_pass},
	[PN_MODEL_AREA] = {"area", op_area},
	[PN_MODEL_AREA_END] = {"area-end", op_area_end},
	[PN_MODEL_DONTFORK] = {"dontfork", op_dontfork},
	[PN_MODEL_TOUCH] = {"touch", op_touch},
	[PN_MODEL_DONTNEED] = {"dontneed", op_dontneed},
	[PN_MODEL_PROTECT] = {"protect", op_protect},
	[PN_MODEL_RESIZE] = {"resize", op_resize},
	[PN_MODEL_MLOCK] = {"mlock", op_mlock},
	[PN_MODEL_MUNLOCK] = {"munlock", op_munlock},
	[PN_MODEL_MLOCKALL] = {"mlockall", op_mlockall},
	[PN_MODEL_MUNLOCKALL] = {"munlockall", op_munlockall},
	[PN_MODEL_CONTEXT] = {"context", op_context},
	[PN_MODEL_CONTEXT_CLOSE] = {"context-close", op_context_close},
	[PN_MODEL_RLIMIT_MODE] = {"rlimit-mode", op_rlimit_mode},
	[PN_MODEL_SPACE] = {"space", op_space},
	[PN_MODEL_SPACE_END] = {"space-end", op_space_end},
	[PN_MODEL_GROUP] = {"group", op_group},
	[PN_MODEL_GROUP_CLOSE] = {"group-close", op_group_close},
	[PN_MODEL_DEVICE] = {"device", op_device},
	[PN_MODEL_DEVICE_CLOSE] = {"device-close", op_device_close},
	[PN_MODEL_ATTACH] = {"attach", op_attach},
	[PN_MODEL_DETACH] = {"detach", op_detach},
	[PN_MODEL_MAP] = {"map", op_map},
	[PN_MODEL_MAP_FILE] = {"map-file", op_map_file},
	[PN_MODEL_UNMAP] = {"unmap", op_unmap},
	[PN_MODEL_COPY] = {"copy", op_copy},
	[PN_MODEL_VADDR_DROP] = {"vaddr-drop", op_vaddr_drop},
	[PN_MODEL_VADDR_GIVE] = {"vaddr-give", op_vaddr_give},
	[PN_MODEL_CHANGE_PROCESS] = {"change-process", op_change_process},
	[PN_MODEL_RING] = {"ring", op_ring},
	[PN_MODEL_RING_CLOSE] = {"ring-close", op_ring_close},
	[PN_MODEL_RING_REGISTER] = {"ring-register", op_ring_register},
	[PN_MODEL_RING_UNREGISTER] = {"ring-unregister", op_ring_unregister},
	[PN_MODEL_OTHER] = {"other", op_other},
	[PN_MODEL_OTHER_END] = {"other-end", op_other_end},
};

int pn_model_apply(
	struct pn_model *model, const struct pn_model_op *op, struct pn_model_result *result)
{
	int ret;

	*result = (struct pn_model_result){.over = PN_MODEL_COUNTERS};
	if ((unsigned int)op->what >= PN_MODEL_WHATS)
		return pn_fail(
			EINVAL, "the charge model has no operation %u", (unsigned int)op->what);
	if (op->what != PN_MODEL_START && !pn_model_alive(model, op->process))
		return pn_fail(EINVAL, "there is no process %u", op->process);
	model->result = result;
	model->runs_out = false;
	model->operation++;
	ret = operations[op->what].apply(model, op);
	model->result = NULL;
	if (!ret && model->runs_out)
		ret = pn_fail(ENOBUFS, "more than %u runs of written pages in an area", RUNS_MAX);
	if (ret || result->err)
		forget_peaks(model);
	if (ret)
		memset(result, 0, sizeof(*result));
	else if (!result->err)
		result->over = PN_MODEL_COUNTERS;
	return ret;
}

const char *pn_model_what_name(enum pn_model_what what)
{
	return (unsigned int)what < PN_MODEL_WHATS ? operations[what].name : "?";
}

const char *pn_model_counter_name(enum pn_model_counter counter)
{
	static const char *const names[PN_MODEL_COUNTERS] = {"mm->locked_vm", "user->locked_vm",
		"mm->pinned_vm", "UCOUNT_RLIMIT_MEMLOCK", "user->perf_mlock"};

	return (unsigned int)counter < PN_MODEL_COUNTERS ? names[counter] : "?";
}

const char *pn_model_memory_name(enum pn_model_memory memory)
{
	static const char *const names[] = {"anon", "anon-read", "shared", "private-file",
		"dirty-file", "hugetlb", "hugetlb-cma", "thp", "none", "secret", "bar"};

	return (unsigned int)memory < sizeof(names) / sizeof(*names) ? names[memory] : "?";
}
