/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What gets in the way of a plan: who else counts in the counter that is compared with the limit,
 * what is counted twice, and what is not limited but counted.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "plan_priv.h"

static void PN_PRINTF(3, 4) add(struct pn_plan_way *way, const char *kind, const char *fmt, ...)
{
	struct pn_plan_collision *collision = &way->collisions[way->collision_count];
	va_list args;

	if (way->collision_count == PN_PLAN_COLLISIONS)
		return;
	way->collision_count++;
	collision->kind = kind;
	va_start(args, fmt);
	vsnprintf(collision->text, sizeof(collision->text), fmt, args);
	va_end(args);
}

static void collide_users(const struct pn_plan_input *in, struct pn_plan_way *way)
{
	uint64_t others = (in->other_locked + 4095) >> 12;
	char each[32], sum[32];

	if (in->processes > 1 && !in->different_users)
		add(way, "same-user",
			"the %u processes share user->locked_vm: %s each, %s together, and each "
			"one's limit is compared with the sum, also in containers with the same "
			"uid. With a uid each, or accounting by process, each is compared with "
			"its own %s",
			in->processes, plan_size(way->charged << 12, each),
			plan_size(way->charged * in->processes << 12, sum), each);
	if (others)
		add(way, "other-locked",
			"the %" PRIu64 " pages that others of the user have locked are in the "
			"same counter, and in the figure",
			others);
	add(way, "same-counter",
		"whatever else the user runs counts in user->locked_vm: io_uring (its buffers, on "
		"newer kernels its rings), AF_XDP, MSG_ZEROCOPY, memfd_secret, other programs on "
		"/dev/iommu such as QEMU. It is not in the figure unless --other-locked says it");
}

static void collide_process(const struct pn_plan_input *in, struct pn_plan_way *way)
{
	if (in->processes > 1)
		add(way, "separate",
			"none between the processes: each counts in its own mm->locked_vm, "
			"whoever's it is");
	if (!in->mlockall)
		add(way, "mlock",
			"mlock(), MAP_LOCKED and mlockall() of the same process count in "
			"mm->locked_vm as well, memory for DMA a second time; that is not in the "
			"figure without --mlockall");
}

static void collide_mlockall(const struct pn_plan *plan, struct pn_plan_way *way)
{
	bool small = plan->input.page_size == PN_PAGE_4K;
	char memory[32];

	/* One region after the other asks, and only small pages stay in the counter. */
	plan_size(small ? plan->memory : plan->region, memory);
	if (small && way->limited == PN_COUNTER_MM_LOCKED)
		add(way, "locked-twice",
			"memory for DMA is counted twice in mm->locked_vm: %s as mlockall locks "
			"it, and again as it is mapped for devices. In hugepages it is not: "
			"they are not locked",
			memory);
	else if (small)
		add(way, "mlockall",
			"mlockall counts %s and the program's own memory in mm->locked_vm, mapping "
			"counts in user->locked_vm: the limit must hold the greater of the two",
			memory);
	else
		add(way, "mlockall-asks",
			"hugepages are not locked, but mmap() after mlockall(MCL_FUTURE) asks for "
			"room for a region as if they were: %s and the program's own memory must "
			"fit "
			"under the limit",
			memory);
}

static void collide_pinned(struct pn_plan_way *way)
{
	if (way->exempt)
		add(way, "pinned",
			"no limit applies, but mm->pinned_vm grows, which RDMA, vhost-vdpa, vduse "
			"and perf of the same process compare with RLIMIT_MEMLOCK");
	else
		add(way, "pinned",
			"mm->pinned_vm grows too, which RDMA, vhost-vdpa, vduse and perf of the "
			"same process compare with the same limit");
}

void plan_collide(const struct pn_plan *plan, struct pn_plan_way *way)
{
	const struct pn_plan_input *in = &plan->input;
	char memory[32];

	if (way->limited == PN_COUNTER_USER_LOCKED)
		collide_users(in, way);
	if (way->limited == PN_COUNTER_MM_LOCKED)
		collide_process(in, way);
	if (in->mlockall && !way->exempt)
		collide_mlockall(plan, way);
	if (in->separate_domains && in->devices > 1)
		add(way, "domains",
			"%s of each process are charged %u times, once for each device's domain; "
			"in one domain they would be charged once",
			plan_size(plan->memory, memory), in->devices);
	if (way->counters & PN_COUNTER_BIT(PN_COUNTER_MM_PINNED))
		collide_pinned(way);
}
