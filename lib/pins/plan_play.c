/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The scenario of a plan, operation by operation in the charge model: what each process asks of the
 * kernel when it makes its memory and maps it, in the order in which the library does.
 */
#include <errno.h>

#include "plan_priv.h"

/* What has been locked before belongs to processes of its own: one a user, behind the planned. */
#define OTHERS (UINT64_C(1) << 40)

/* Handles of areas: the program's own memory, then a region a node. */
#define AREA_PROGRAM 0u
#define AREA_REGION  1u

const struct plan_path plan_paths[PN_PLAN_WAYS] = {
	{"type1", "process", PN_PLAN_TYPE1, PN_MODEL_TYPE1, false, true},
	{"iommufd", "user", PN_PLAN_IOMMUFD, PN_MODEL_NATIVE, false, true},
	{"iommufd", "process", PN_PLAN_IOMMUFD, PN_MODEL_NATIVE, true, false},
	{"iommufd-compat", "user", PN_PLAN_IOMMUFD_COMPAT, PN_MODEL_COMPAT, false, true},
	{"iommufd-compat", "process", PN_PLAN_IOMMUFD_COMPAT, PN_MODEL_COMPAT, true, false},
	{"iommufd-as-vfio", "process", PN_PLAN_IOMMUFD_AS_VFIO, PN_MODEL_COMPAT, true, true},
};

struct play {
	const struct pn_plan_input *in;
	const struct plan_path *path;
	struct pn_model *model;
	uint64_t limit;
	uint64_t region; /* pages */
	uint32_t domains;
	uint64_t charged; /* pages that the mappings of one process were charged */
	int err;          /* positive: what the kernel would have answered first */
};

/* 0: go on. Else the scenario ends, by a refusal (err is set) or because the model cannot. */
static int apply(struct play *play, const struct pn_model_op *op)
{
	struct pn_model_result result;
	int ret = pn_model_apply(play->model, op, &result);

	if (ret)
		return ret;
	play->err = result.err;
	return -result.err;
}

static uint32_t users(const struct pn_plan_input *in)
{
	return in->different_users ? in->processes : 1;
}

static uint32_t uid_of(const struct pn_plan_input *in, uint32_t process)
{
	return 1000 + (in->different_users ? process : 0);
}

static int create_model(struct play *play)
{
	const struct pn_plan_input *in = play->in;
	struct pn_model_size size = {
		.processes = in->processes + users(in),
		.areas = in->processes * (in->numa_nodes + 1),
		.contexts = in->processes * play->domains,
		.devices = in->processes * in->devices,
		.mappings = in->processes * play->domains * in->numa_nodes,
		.rings = 1,
		.others = users(in),
	};

	return pn_model_create(&play->model, PN_MODEL_KERNEL(6, 12), &size);
}

/* Someone of this user has locked memory before: as AF_XDP does, it could be anything. */
static int lock_before(struct play *play, uint32_t user)
{
	const struct pn_plan_input *in = play->in;
	struct pn_model_op start = {.what = PN_MODEL_START,
		.process = in->processes + user,
		.uid = uid_of(in, user),
		.soft = OTHERS,
		.hard = OTHERS};
	struct pn_model_op lock = {.what = PN_MODEL_OTHER,
		.process = in->processes + user,
		.other = user,
		.kind = PN_MODEL_XDP,
		.pages = (in->other_locked + 4095) >> 12};
	int ret = apply(play, &start);

	return ret ? ret : apply(play, &lock);
}

/* Everything is locked from now on. The program's own memory is there already. */
static int lock_all(struct play *play, uint32_t process)
{
	uint64_t pages = (play->in->program + 4095) >> 12;
	struct pn_model_op area = {.what = PN_MODEL_AREA,
		.process = process,
		.area = AREA_PROGRAM,
		.memory = PN_MODEL_ANON,
		.pages = pages};
	struct pn_model_op lock = {
		.what = PN_MODEL_MLOCKALL, .process = process, .mode = 3, .total = pages};
	int ret = pages ? apply(play, &area) : 0;

	return ret ? ret : apply(play, &lock);
}

/* pn_region_create(): a shared mapping of a memory file, written to in full */
static int make_region(struct play *play, uint32_t process, uint32_t node)
{
	uint64_t page = play->in->page_size;
	struct pn_model_op area = {.what = PN_MODEL_AREA,
		.process = process,
		.area = AREA_REGION + node,
		.memory = page == PN_PAGE_4K ? PN_MODEL_SHARED : PN_MODEL_HUGETLB,
		.page = (uint32_t)(page >> 12),
		.pages = play->region};
	struct pn_model_op touch = {.what = PN_MODEL_TOUCH,
		.process = process,
		.area = AREA_REGION + node,
		.pages = play->region};
	int ret = apply(play, &area);

	return ret ? ret : apply(play, &touch);
}

static int attach(struct play *play, uint32_t process, uint32_t context, uint32_t device)
{
	struct pn_model_op op = {.process = process, .context = context, .device = device};
	bool native = play->path->path == PN_MODEL_NATIVE;
	int ret = 0;

	if (!native) {
		op.what = PN_MODEL_GROUP;
		ret = apply(play, &op);
	}
	op.what = PN_MODEL_DEVICE;
	ret = ret ? ret : apply(play, &op);
	if (ret || !native)
		return ret;
	op.what = PN_MODEL_ATTACH;
	return apply(play, &op);
}

/* pn_domain_create() */
static int open_domain(struct play *play, uint32_t process, uint32_t context)
{
	struct pn_model_op op = {.what = PN_MODEL_CONTEXT,
		.process = process,
		.context = context,
		.path = play->path->path,
		.flag = play->path->by_process};
	int ret = apply(play, &op);

	if (ret || play->path->path != PN_MODEL_NATIVE)
		return ret;
	op.what = PN_MODEL_SPACE;
	return apply(play, &op);
}

/* The first device of a domain, then what was queued; any other device changes nothing. */
static int fill_domain(struct play *play, uint32_t process, uint32_t domain)
{
	uint32_t each = play->in->devices / play->domains;
	uint32_t context = process * play->domains + domain;
	uint32_t device = process * play->in->devices + domain * each;
	int ret = open_domain(play, process, context);

	if (!ret)
		ret = attach(play, process, context, device);
	for (uint32_t node = 0; !ret && node < play->in->numa_nodes; node++) {
		struct pn_model_op map = {.what = PN_MODEL_MAP,
			.process = process,
			.context = context,
			.area = AREA_REGION + node,
			.iova = node * (play->region << 12),
			.pages = play->region,
			.prot = PN_MODEL_READ | PN_MODEL_WRITE};

		ret = apply(play, &map);
	}
	for (uint32_t i = 1; !ret && i < each; i++)
		ret = attach(play, process, context, device + i);
	return ret;
}

/* In type1's counter are locked pages as well, but none are locked while domains are filled. */
static int fill_domains(struct play *play, uint32_t process)
{
	enum pn_model_counter counter =
		play->path->path == PN_MODEL_TYPE1 ? PN_MODEL_MM_LOCKED : PN_MODEL_MM_PINNED;
	uint64_t before = pn_model_counter(play->model, process, counter);
	int ret = 0;

	for (uint32_t domain = 0; !ret && domain < play->domains; domain++)
		ret = fill_domain(play, process, domain);
	play->charged = pn_model_counter(play->model, process, counter) - before;
	return ret;
}

static int run_process(struct play *play, uint32_t process)
{
	const struct pn_plan_input *in = play->in;
	struct pn_model_op start = {.what = PN_MODEL_START,
		.process = process,
		.uid = uid_of(in, process),
		.soft = play->limit,
		.hard = play->limit,
		.caps = in->cap_ipc_lock ? PN_MODEL_IPC_LOCK : 0};
	int ret = apply(play, &start);

	if (!ret && in->mlockall)
		ret = lock_all(play, process);
	for (uint32_t node = 0; !ret && node < in->numa_nodes; node++)
		ret = make_region(play, process, node);
	return ret ? ret : fill_domains(play, process);
}

/* All of them stay alive: that is when the counters are highest. */
static int run_all(struct play *play)
{
	int ret = 0;

	for (uint32_t user = 0; !ret && play->in->other_locked && user < users(play->in); user++)
		ret = lock_before(play, user);
	for (uint32_t process = 0; !ret && process < play->in->processes; process++)
		ret = run_process(play, process);
	return ret;
}

static void read_outcome(struct plan_outcome *out, const struct play *play)
{
	const struct pn_model *model = play->model;

	for (uint32_t process = 0; process < play->in->processes; process++) {
		uint64_t peak = pn_model_peak(model, process);

		out->need = peak > out->need ? peak : out->need;
	}
	out->mm_locked = pn_model_counter(model, 0, PN_MODEL_MM_LOCKED);
	out->mm_pinned = pn_model_counter(model, 0, PN_MODEL_MM_PINNED);
	out->user_locked = pn_model_counter(model, 0, PN_MODEL_USER_LOCKED);
	out->charged = play->charged;
}

int plan_play(struct plan_outcome *out, const struct pn_plan *plan, const struct plan_path *path,
	uint64_t limit)
{
	struct play play = {.in = &plan->input,
		.path = path,
		.limit = limit,
		.region = plan->region >> 12,
		.domains = plan->input.separate_domains ? plan->input.devices : 1};
	int ret;

	*out = (struct plan_outcome){0};
	ret = create_model(&play);
	if (ret)
		return ret;
	ret = run_all(&play);
	out->err = play.err;
	if (!ret)
		read_outcome(out, &play);
	pn_model_free(play.model);
	return play.err ? 0 : ret;
}
