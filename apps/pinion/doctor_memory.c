/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory in pages of 4 KiB, which is not reserved: what is not there ends with the kernel killing a
 * process. And whether the device's node has any memory at all.
 */
#include <inttypes.h>

#include "doctor.h"

static void check_available(struct doctor *d)
{
	struct doctor_finding *finding;
	char text[16384], need[32];
	uint64_t kib;
	bool small;

	if (doctor_read(d, text, sizeof(text), "/proc/meminfo") <= 0 ||
		!doctor_field(text, "MemAvailable:", 10, &kib)) {
		doctor_add(d, "memory.available", "", DOCTOR_UNSEEN,
			"how much memory is available (/proc/meminfo)");
		return;
	}
	kib = kib > UINT64_MAX >> 10 ? UINT64_MAX >> 10 : kib;
	small = d->page_size == PN_PAGE_4K && kib << 10 < d->ask.mem;
	finding = doctor_add(d, "memory.available", "", small ? DOCTOR_BLOCKS : DOCTOR_OK,
		"%" PRIu64 " MiB are available for pages of 4 KiB%s%s%s", kib >> 10,
		small ? "; " : "", small ? doctor_size(need, d->ask.mem) : "",
		small ? " is needed" : "");
	doctor_number(finding, "available_bytes", kib << 10);
	doctor_number(finding, "needed_bytes", d->ask.mem);
	if (small)
		doctor_mend(d, finding, DOCTOR_SETTING, "a smaller --mem, or a larger machine");
}

/* vm.overcommit_memory=2 refuses a file of memory that exceeds what is left to commit. */
static void check_commit(struct doctor *d)
{
	uint64_t mode, limit, committed;
	struct doctor_finding *finding;
	char text[16384];

	if (d->page_size > PN_PAGE_4K || !d->ask.mem ||
		doctor_read_number(d, &mode, "/proc/sys/vm/overcommit_memory") || mode != 2)
		return;
	if (doctor_read(d, text, sizeof(text), "/proc/meminfo") <= 0 ||
		!doctor_field(text, "CommitLimit:", 10, &limit) ||
		!doctor_field(text, "Committed_AS:", 10, &committed))
		return;
	if (limit > committed && limit - committed >= d->ask.mem >> 10)
		return;
	finding = doctor_add(d, "memory.commit", "", DOCTOR_BLOCKS,
		"vm.overcommit_memory is 2, and %" PRIu64 " of %" PRIu64
		" KiB are committed: the memory does not fit",
		committed, limit);
	doctor_mend_root(d, finding, "sysctl -w vm.overcommit_memory=0");
}

static void check_node(struct doctor *d)
{
	if (d->node == PN_NODE_ANY)
		return;
	if (doctor_exists(d, "/sys/devices/system/node/node%d", d->node))
		doctor_add(d, "memory.node", "", DOCTOR_OK,
			"the device is on node %d, and so will be its memory", d->node);
	else if (doctor_exists(d, "/sys/devices/system/node/node0"))
		doctor_add(d, "memory.node", "", DOCTOR_BLOCKS,
			"the device is on node %d, which this machine does not have", d->node);
	else
		doctor_add(d, "memory.node", "", DOCTOR_UNSEEN,
			"whether there is memory on the device's node %d", d->node);
}

void doctor_check_memory(struct doctor *d)
{
	check_available(d);
	check_commit(d);
	check_node(d);
}
