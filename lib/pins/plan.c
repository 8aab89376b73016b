/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plan is made: the input is checked and completed, each way is played through the charge model,
 * and what follows from the figures is put beside them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan_priv.h"

/* Bounds that keep every sum far from the end of 64 bits. */
#define MEM_MAX       (UINT64_C(1) << 48)
#define PROCESSES_MAX 1024u
#define DEVICES_MAX   64u

const char *plan_size(uint64_t bytes, char buf[32])
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	unsigned int unit = 0;

	while (bytes && bytes % 1024 == 0 && unit < 4) {
		bytes /= 1024;
		unit++;
	}
	snprintf(buf, 32, "%" PRIu64 " %s", bytes, units[unit]);
	return buf;
}

static uint64_t or_default(uint64_t value, uint64_t otherwise)
{
	return value ? value : otherwise;
}

static void complete(struct pn_plan_input *in)
{
	in->page_size = or_default(in->page_size, PN_PAGE_2M);
	in->devices = (uint32_t)or_default(in->devices, 1);
	in->processes = (uint32_t)or_default(in->processes, 1);
	in->numa_nodes = (uint32_t)or_default(in->numa_nodes, 1);
	in->backends = (uint32_t)or_default(in->backends, PN_PLAN_ALL);
}

static int check_number(const char *what, uint64_t value, uint64_t most)
{
	if (value <= most)
		return 0;
	return pn_fail(
		EINVAL, "%" PRIu64 " %s: a plan takes %" PRIu64 " at the most", value, what, most);
}

static int check_size(const char *what, uint64_t bytes)
{
	if (bytes <= MEM_MAX)
		return 0;
	return pn_fail(
		EINVAL, "%" PRIu64 " bytes %s: a plan takes 256 TiB at the most", bytes, what);
}

/* It goes into files of others. */
static bool login_name(const char *name)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				   "_.-";
	size_t length = strlen(name);

	return length && length <= 32 && name[0] != '-' && strspn(name, good) == length;
}

static int check_sizes(const struct pn_plan_input *in)
{
	int ret = check_size("of memory", in->mem);

	if (!in->mem)
		return pn_fail(EINVAL, "no memory to plan for");
	if (in->page_size != PN_PAGE_4K && in->page_size != PN_PAGE_2M &&
		in->page_size != PN_PAGE_1G)
		return pn_fail(EINVAL,
			"pages of %" PRIu64 " bytes: there are 4 KiB, 2 MiB and 1 GiB",
			in->page_size);
	ret = ret ? ret : check_size("of the program's own memory", in->program);
	ret = ret ? ret : check_size("locked by others", in->other_locked);
	ret = ret ? ret : check_size("of headroom", in->headroom);
	return ret ? ret : check_number("percent of headroom", in->headroom_percent, 100);
}

static int check(const struct pn_plan_input *in)
{
	uint64_t mappings = (uint64_t)in->processes * in->numa_nodes;
	int ret = check_sizes(in);

	ret = ret ? ret : check_number("processes", in->processes, PROCESSES_MAX);
	ret = ret ? ret : check_number("devices a process", in->devices, DEVICES_MAX);
	ret = ret ? ret : check_number("NUMA nodes", in->numa_nodes, PN_PLAN_NODES);
	if (ret)
		return ret;
	if (in->backends & ~PN_PLAN_ALL)
		return pn_fail(EINVAL, "there is no backend 0x%x", in->backends & ~PN_PLAN_ALL);
	if (in->program && !in->mlockall)
		return pn_fail(EINVAL,
			"the program's own memory counts with mlockall only, which was not asked "
			"for");
	if (in->user && !login_name(in->user))
		return pn_fail(EINVAL, "'%.40s' is no login name", in->user);
	if (in->separate_domains)
		mappings *= in->devices;
	return check_number("mappings of all processes", mappings, PN_PLAN_MAPPINGS);
}

static void note(struct pn_plan *plan, const char *text)
{
	if (plan->note_count < PN_ARRAY_SIZE(plan->notes))
		snprintf(plan->notes[plan->note_count++], sizeof(plan->notes[0]), "%s", text);
}

static void note_sizes(struct pn_plan *plan)
{
	const struct pn_plan_input *in = &plan->input;
	char text[320], asked[32], page[32], region[32], all[32];

	if (plan->memory != in->mem) {
		snprintf(text, sizeof(text),
			"%s over %u node%s is no whole number of pages of %s: rounded up to %s on "
			"each, %s in all",
			plan_size(in->mem, asked), in->numa_nodes, in->numa_nodes == 1 ? "" : "s",
			plan_size(in->page_size, page), plan_size(plan->region, region),
			plan_size(plan->memory, all));
		note(plan, text);
	}
	if (in->program % PN_PAGE_4K || in->other_locked % PN_PAGE_4K)
		note(plan, "what the program or others lock is no whole number of pages of 4 KiB: "
			   "rounded up");
}

/* One region a node, as evenly as pages allow. */
static void lay_out(struct pn_plan *plan)
{
	const struct pn_plan_input *in = &plan->input;
	uint64_t each = (in->mem + in->numa_nodes - 1) / in->numa_nodes;

	plan->region = pn_align_up(each, in->page_size);
	plan->memory = plan->region * in->numa_nodes;
	if (in->page_size != PN_PAGE_4K)
		plan->hugepages = plan->region / in->page_size * in->processes;
	note_sizes(plan);
	if (in->mlockall && !in->program && !in->cap_ipc_lock)
		note(plan, "the program's own memory is not in these figures: mlockall locks it "
			   "too. Say how much with --program: VmLck once it runs, without its "
			   "memory for DMA, and the largest BAR that it maps");
}

static uint64_t with_headroom(const struct pn_plan_input *in, uint64_t need)
{
	uint64_t percent = (need * in->headroom_percent + 99) / 100;

	return need ? need + percent + ((in->headroom + PN_PAGE_4K - 1) >> 12) : 0;
}

static uint32_t counters_of(const struct plan_path *path, bool exempt)
{
	uint32_t locked = path->by_process ? PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED)
					   : PN_COUNTER_BIT(PN_COUNTER_USER_LOCKED);

	if (path->path == PN_MODEL_TYPE1)
		return PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED);
	return PN_COUNTER_BIT(PN_COUNTER_MM_PINNED) | (exempt ? 0 : locked);
}

static enum pn_counter limited_of(const struct plan_path *path, bool exempt)
{
	if (exempt)
		return PN_COUNTER_MAX;
	if (path->path == PN_MODEL_TYPE1 || path->by_process)
		return PN_COUNTER_MM_LOCKED;
	return PN_COUNTER_USER_LOCKED;
}

/* Without a limit nothing is refused: what it takes is in the model's memory then. */
static int plan_way(struct pn_plan *plan, const struct plan_path *path)
{
	struct pn_plan_way *way = &plan->ways[plan->way_count];
	bool exempt = plan->input.cap_ipc_lock;
	struct plan_outcome outcome;
	int ret = plan_play(&outcome, plan, path, PN_PAGES_UNLIMITED);

	if (ret)
		return ret;
	if (outcome.err)
		return pn_fail(
			EINVAL, "the charge model refuses the scenario: %s", strerror(outcome.err));
	*way = (struct pn_plan_way){
		.backend = path->backend,
		.accounting = path->accounting,
		.is_default = path->is_default,
		.exempt = exempt,
		.counters = counters_of(path, exempt),
		.limited = limited_of(path, exempt),
		.charged = outcome.charged,
		.mm_locked = outcome.mm_locked,
		.mm_pinned = outcome.mm_pinned,
		.user_locked = outcome.user_locked,
		.need = outcome.need,
		.set = with_headroom(&plan->input, outcome.need),
	};
	plan->way_count++;
	plan_collide(plan, way);
	return 0;
}

int pn_plan_create(struct pn_plan **out, const struct pn_plan_input *input)
{
	struct pn_plan *plan;
	int ret = 0;

	if (!out || !input)
		return pn_fail(EINVAL, "no place for a plan, or no input");
	*out = NULL;
	plan = calloc(1, sizeof(*plan));
	if (!plan)
		return pn_fail(ENOMEM, "no memory for a plan");
	plan->input = *input;
	complete(&plan->input);
	ret = check(&plan->input);
	if (ret)
		goto fail;
	lay_out(plan);
	for (uint32_t i = 0; !ret && i < PN_PLAN_WAYS; i++) {
		if (plan->input.backends & plan_paths[i].bit)
			ret = plan_way(plan, &plan_paths[i]);
	}
	if (ret)
		goto fail;
	plan_settle(plan);
	*out = plan;
	return 0;
fail:
	free(plan);
	return ret;
}

void pn_plan_free(struct pn_plan *plan)
{
	free(plan);
}
