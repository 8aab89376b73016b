/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Nothing left: the kernel's own tables for a mapping count as memory of the process's control
 * group (GFP_KERNEL_ACCOUNT: iommufd, and IOMMU page tables since Linux 6.3), and are memory of the
 * machine.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base_priv.h"
#include "mem_priv.h"
#include "pins_priv.h"

/*
 * Bytes that the kernel's tables for so many pages take at least once: an entry of eight bytes a
 * page, the list of pages while it pins them, and what each processor sets aside of a control
 * group's room (mm/memcontrol.c: MEMCG_CHARGE_BATCH).
 */
static uint64_t tables(uint64_t pages)
{
	const uint64_t slack = 512 << 10;

	return pages > (UINT64_MAX - slack) / 16 ? UINT64_MAX : pages * 16 + slack;
}

/*
 * No memory to look with. A file of /proc/PID that no inode can be had for is not there
 * (fs/proc/base.c:proc_pident_instantiate says ENOENT); one of all processes says ENOMEM.
 */
static bool cannot_look(int ret)
{
	char text[4096];

	return ret == -ENOMEM ||
	       (ret && pn_read_file("/proc/meminfo", text, sizeof(text)) == -ENOMEM);
}

/*
 * What a refused mapping had so far is freed a little later; until then not even a file of /proc
 * can be opened in a control group that is full.
 */
static int room_of_group(struct pn_cgroup_room *group)
{
	const struct timespec pause = {0, 2000000};
	int ret, i;

	ret = pn_cgroup_room(group);
	for (i = 0; i < 10 && cannot_look(ret); i++) {
		nanosleep(&pause, NULL);
		ret = pn_cgroup_room(group);
	}
	return cannot_look(ret) ? -ENOMEM : ret;
}

/* Whether it was out of room when the mapping was refused is not seen; that it ran out of it, and
 * that there is no more than a mapping takes, is. */
static bool in_group(const struct pn_refused *refused, char *text, size_t size)
{
	struct pn_cgroup_room group;
	int ret = room_of_group(&group);

	if (ret == -ENOMEM) {
		snprintf(text, size,
			"ENOMEM: this process's control group is at its memory.max, or the machine "
			"is out of memory: not even its figures can be read (ENOMEM); the kernel's "
			"tables for a mapping count there too: raise memory.max (systemd: "
			"MemoryMax=)");
		return true;
	}
	if (ret || !group.oom || group.left >= tables(refused->pages))
		return false;
	snprintf(text, size,
		"ENOMEM: the control group %.150s is at its memory.max, which counts the kernel's "
		"tables for a mapping too: %" PRIu64 " of %" PRIu64
		" bytes are in use, and %" PRIu64
		" times there was nothing left (oom in its memory.events); raise it, as root: echo "
		"%" PRIu64 " > /sys/fs/cgroup%.150s/memory.max (systemd: MemoryMax=)",
		group.path, group.used, group.max, group.oom,
		group.max + pn_align_up(tables(refused->pages), PN_PAGE_4K), group.path);
	return true;
}

static bool in_machine(const struct pn_refused *refused, char *text, size_t size)
{
	uint64_t available = pn_memory_available();

	if (available >= tables(refused->pages))
		return false;
	snprintf(text, size,
		"ENOMEM: the machine is out of memory: %" PRIu64
		" bytes are available (MemAvailable), and the kernel's tables for the mapping may "
		"take %" PRIu64 "; end what uses it, or reserve fewer hugepages",
		available, tables(refused->pages));
	return true;
}

bool pn_explain_room(const struct pn_refused *refused, char *text, size_t size)
{
	text[0] = '\0';
	return in_group(refused, text, size) || in_machine(refused, text, size);
}

void pn_explain_left(char *text, size_t size)
{
	uint64_t available = pn_memory_available();
	struct pn_cgroup_room group;
	int used;

	if (available == UINT64_MAX)
		used = snprintf(text, size, "the memory of the machine cannot be seen");
	else
		used = snprintf(
			text, size, "the machine has %" PRIu64 " bytes available", available);
	if (used < 0 || (size_t)used >= size)
		return;
	if (pn_cgroup_room(&group))
		snprintf(text + used, size - (size_t)used,
			", no control group with a memory.max is seen");
	else
		snprintf(text + used, size - (size_t)used,
			", the control group %.150s leaves %" PRIu64 " of its memory.max",
			group.path, group.left);
}
