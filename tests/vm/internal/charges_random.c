/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random sequences of operations: each makes sense to the model, most succeed, and the numbers are
 * so small that limits, overlaps and full tables are met all the time.
 */
#include <errno.h>
#include <stdlib.h>

#include "charges.h"

struct source {
	uint64_t seed;
	const struct way *way;
	unsigned int kernel;
	struct {
		uint32_t caps, permitted;
		bool userns;
	} of[PROCESSES];
};

/* splitmix64 */
static uint64_t next(struct source *source, uint64_t below)
{
	uint64_t z = source->seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % below;
}

#define ON_TYPE1  1u
#define ON_COMPAT 2u
#define ON_NATIVE 4u
#define ON_ALL    7u
#define ON_GROUPS (ON_TYPE1 | ON_COMPAT)

static const struct {
	enum pn_model_what what;
	unsigned int weight, on;
} weights[] = {
	{PN_MODEL_MAP, 60, ON_ALL},
	{PN_MODEL_UNMAP, 30, ON_ALL},
	{PN_MODEL_COPY, 16, ON_NATIVE},
	{PN_MODEL_VADDR_DROP, 6, ON_GROUPS},
	{PN_MODEL_VADDR_GIVE, 14, ON_GROUPS},
	{PN_MODEL_MAP_FILE, 1, ON_NATIVE},
	{PN_MODEL_CHANGE_PROCESS, 1, ON_NATIVE},
	{PN_MODEL_CONTEXT, 3, ON_ALL},
	{PN_MODEL_CONTEXT_CLOSE, 2, ON_ALL},
	{PN_MODEL_RLIMIT_MODE, 4, ON_NATIVE | ON_COMPAT},
	{PN_MODEL_SPACE, 4, ON_NATIVE},
	{PN_MODEL_SPACE_END, 2, ON_NATIVE},
	{PN_MODEL_GROUP, 7, ON_GROUPS},
	{PN_MODEL_GROUP_CLOSE, 2, ON_GROUPS},
	{PN_MODEL_DEVICE, 8, ON_ALL},
	{PN_MODEL_DEVICE_CLOSE, 3, ON_ALL},
	{PN_MODEL_ATTACH, 14, ON_NATIVE},
	{PN_MODEL_DETACH, 5, ON_NATIVE},
	{PN_MODEL_START, 6, ON_ALL},
	{PN_MODEL_FORK, 5, ON_ALL},
	{PN_MODEL_EXEC, 2, ON_ALL},
	{PN_MODEL_EXIT, 2, ON_ALL},
	{PN_MODEL_SETUID, 4, ON_ALL},
	{PN_MODEL_SETEUID, 2, ON_ALL},
	{PN_MODEL_LIMIT, 14, ON_ALL},
	{PN_MODEL_CAPS, 8, ON_ALL},
	{PN_MODEL_USERNS, 1, ON_ALL},
	{PN_MODEL_PASS, 9, ON_ALL},
	{PN_MODEL_AREA, 12, ON_ALL},
	{PN_MODEL_AREA_END, 5, ON_ALL},
	{PN_MODEL_DONTFORK, 1, ON_ALL},
	{PN_MODEL_TOUCH, 8, ON_ALL},
	{PN_MODEL_DONTNEED, 4, ON_ALL},
	{PN_MODEL_PROTECT, 4, ON_ALL},
	{PN_MODEL_RESIZE, 6, ON_ALL},
	{PN_MODEL_MLOCK, 14, ON_ALL},
	{PN_MODEL_MUNLOCK, 8, ON_ALL},
	{PN_MODEL_MLOCKALL, 4, ON_ALL},
	{PN_MODEL_MUNLOCKALL, 2, ON_ALL},
	{PN_MODEL_RING, 3, ON_ALL},
	{PN_MODEL_RING_CLOSE, 1, ON_ALL},
	{PN_MODEL_RING_REGISTER, 8, ON_ALL},
	{PN_MODEL_RING_UNREGISTER, 4, ON_ALL},
	{PN_MODEL_OTHER, 8, ON_ALL},
	{PN_MODEL_OTHER_END, 3, ON_ALL},
};

static enum pn_model_what choose(struct source *source)
{
	unsigned int on = 1u << source->way->path, sum = 0, at;
	size_t count = sizeof(weights) / sizeof(*weights), i;

	for (i = 0; i < count; i++)
		sum += weights[i].on & on ? weights[i].weight : 0;
	at = (unsigned int)next(source, sum);
	for (i = 0; i < count; i++) {
		unsigned int weight = weights[i].on & on ? weights[i].weight : 0;

		if (at < weight)
			break;
		at -= weight;
	}
	return weights[i].what;
}

static enum pn_model_memory choose_memory(struct source *source)
{
	static const enum pn_model_memory memories[] = {PN_MODEL_ANON, PN_MODEL_ANON, PN_MODEL_ANON,
		PN_MODEL_ANON, PN_MODEL_SHARED, PN_MODEL_SHARED, PN_MODEL_PRIVATE_FILE,
		PN_MODEL_ANON_READ, PN_MODEL_HUGETLB, PN_MODEL_NONE, PN_MODEL_SECRET};
	/* Not before 6.5, unless the command line says so. */
	size_t count = sizeof(memories) / sizeof(*memories) -
		       (source->kernel < PN_MODEL_KERNEL(6, 5) ? 1 : 0);

	return memories[next(source, count)];
}

static uint64_t choose_iova(struct source *source)
{
	uint64_t iova = 0x100000 + 0x8000 * next(source, 16);

	if (!next(source, 8))
		iova += 0x1000 * next(source, 8);
	if (!next(source, 100))
		iova += 0x800;
	if (!next(source, 200))
		iova = UINT64_C(0xfffffffffffff000);
	return iova;
}

static uint32_t choose_caps(struct source *source)
{
	return next(source, 4) ? 0 : 1 + (uint32_t)next(source, 3);
}

/* Lengths: mostly those of a small area, sometimes of hugetlb. */
static void choose_pages(struct source *source, struct pn_model_op *op)
{
	op->first = next(source, 3) ? next(source, 16) : 0;
	op->pages = 1 + next(source, next(source, 4) ? 12 : 32);
	if (!next(source, 20)) {
		op->first = 0;
		op->pages = next(source, 2) ? 512 : 32;
	}
	/* Whether an address is one that the IOMMU has is not the model's. */
	if (op->iova > UINT64_C(1) << 63 && op->pages < 2)
		op->pages = 2;
	if (op->what == PN_MODEL_AREA)
		op->pages = op->memory == PN_MODEL_HUGETLB ? 512 : 32;
	if (op->what == PN_MODEL_RESIZE)
		op->pages = 1 + next(source, 48);
	/* perf's is a power of two and a page. */
	if (op->what == PN_MODEL_OTHER)
		op->pages = op->kind == PN_MODEL_PERF_BUFFER ? 1 + (UINT64_C(1) << next(source, 6))
							     : 1 + next(source, 48);
	if (op->what == PN_MODEL_UNMAP || op->what == PN_MODEL_VADDR_DROP) {
		if (!next(source, 6))
			op->pages = PN_MODEL_ALL;
		else if (next(source, 3))
			op->pages = 8 * (1 + next(source, 4));
	}
	if ((op->what == PN_MODEL_MAP || op->what == PN_MODEL_VADDR_GIVE) && next(source, 2)) {
		op->first = 0;
		op->pages = 8;
	}
}

static struct pn_model_op random_op(struct source *source)
{
	struct pn_model_op op = {
		.what = choose(source),
		.process = (uint32_t)next(source, PROCESSES),
		.child = (uint32_t)next(source, PROCESSES),
		.area = (uint32_t)next(source, AREAS),
		.context = next(source, 4) ? 0 : 1,
		.device = (uint32_t)next(source, DEVICES),
		.ring = (uint32_t)next(source, RINGS),
		.file = next(source, 6) ? (enum pn_model_file)next(source, PN_MODEL_FILE_RING)
					: PN_MODEL_FILE_OTHER,
		.other = (uint32_t)next(source, OTHERS),
		.kind = next(source, 2) ? PN_MODEL_XDP : PN_MODEL_PERF_BUFFER,
		.path = source->way->path,
		.uid = FIRST_UID + (uint32_t)next(source, 2),
		.prot = next(source, 3) ? 3 : (uint32_t)next(source, 4),
		.mode = next(source, 2) ? 1 : (uint32_t)next(source, 3),
		.soft = next(source, 6) ? 8 + next(source, 64) : next(source, 8) * 200,
		.iova = choose_iova(source),
		.from_iova = choose_iova(source),
	};

	op.memory = choose_memory(source);
	op.target = (uint32_t)next(source, 2);
	op.hard = op.soft + (next(source, 4) ? 1024 : next(source, 8));
	op.flag = op.what == PN_MODEL_EXEC ? next(source, 4) : !next(source, 5);
	if (op.what == PN_MODEL_CONTEXT)
		op.flag = source->way->misc;
	if (op.what == PN_MODEL_MLOCKALL && next(source, 20))
		op.mode = 1 + (uint32_t)next(source, 7);
	if (op.what == PN_MODEL_RING_REGISTER)
		op.mode = next(source, 2) ? 0 : 1 + (uint32_t)next(source, 4);
	if (source->way->path == PN_MODEL_NATIVE) {
		op.space = (uint32_t)next(source, 2);
		op.from = (uint32_t)next(source, 2);
	}
	op.caps = choose_caps(source);
	op.permitted = op.what == PN_MODEL_START ? choose_caps(source) : 0;
	if (op.what == PN_MODEL_EXEC) {
		op.caps = source->of[op.process].caps;
		op.permitted = source->of[op.process].permitted;
	}
	choose_pages(source, &op);
	charges_trim(&op);
	return op;
}

/* What the model does not look at, but the kernel would refuse. */
static bool possible(const struct source *source, const struct pn_model_op *op)
{
	bool userns = source->of[op->process].userns;

	switch (op->what) {
	case PN_MODEL_SETUID:
	case PN_MODEL_SETEUID:
	case PN_MODEL_USERNS:
		return !userns;
	case PN_MODEL_EXEC:
		return !userns;
	case PN_MODEL_OTHER: /* AF_XDP needs CAP_NET_RAW */
		return !userns || op->kind != PN_MODEL_XDP;
	default:
		return true;
	}
}

static void remember(struct source *source, const struct pn_model_op *op)
{
	switch (op->what) {
	case PN_MODEL_START:
		source->of[op->process].caps = op->caps;
		source->of[op->process].permitted = op->caps | op->permitted;
		source->of[op->process].userns = false;
		break;
	case PN_MODEL_FORK:
		source->of[op->child] = source->of[op->process];
		break;
	case PN_MODEL_CAPS:
		source->of[op->process].caps = op->caps;
		if (op->flag)
			source->of[op->process].permitted = op->caps;
		break;
	case PN_MODEL_USERNS:
		source->of[op->process].userns = true;
		break;
	default:
		break;
	}
}

/* What every sequence begins with: something to work on. */
static const char *const begin[] = {
	"start p=0 uid=1000 soft=40 hard=2048",
	"start p=1 uid=1000 soft=40 hard=2048 perm=3",
	"area p=0 area=0 pages=32",
	"area p=1 area=0 pages=32 mem=shared",
	NULL,
};
static const char *const attached[] = {"group", "device", NULL};
static const char *const bound[] = {"space", "device", "attach", NULL};
static const char *const rest[] = {"pass child=1 file=context", NULL};

static size_t add(struct source *source, struct pn_model *model, const char *const *lines,
	struct pn_model_op *ops, size_t at)
{
	struct pn_model_result result;

	for (; *lines; lines++) {
		charges_parse(*lines, &ops[at]);
		if (pn_model_apply(model, &ops[at], &result))
			exit(2);
		remember(source, &ops[at++]);
	}
	return at;
}

size_t random_list(struct pn_model *model, struct pn_model *spare, const struct way *way,
	uint64_t seed, struct pn_model_op *ops, size_t count)
{
	struct source source = {.seed = seed, .way = way, .kernel = pn_model_kernel(model)};
	struct pn_model_result result;
	struct pn_model_op op = {.what = PN_MODEL_CONTEXT, .path = way->path, .flag = way->misc};
	size_t at = add(&source, model, begin, ops, 0);

	ops[at++] = op;
	pn_model_apply(model, &op, &result);
	at = add(&source, model, way->path == PN_MODEL_NATIVE ? bound : attached, ops, at);
	at = add(&source, model, rest, ops, at);
	while (at < count) {
		op = random_op(&source);
		pn_model_assign(spare, model);
		if (!possible(&source, &op) || pn_model_apply(model, &op, &result)) {
			pn_model_assign(model, spare);
			continue;
		}
		/* Most operations are refused if left to chance; most of those are left out. */
		if (result.err && result.err != ENOMEM && next(&source, 6)) {
			pn_model_assign(model, spare);
			continue;
		}
		if (!result.err)
			remember(&source, &op);
		ops[at++] = op;
	}
	return at;
}
