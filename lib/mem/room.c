/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How much memory there is for small pages: what the machine has available, and what the control
 * groups leave. What is not there ends with the kernel killing a process.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "mem_priv.h"

/* A number behind a name in a text like /proc/meminfo; UINT64_MAX if it is not there. */
static uint64_t number_after(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtoull(at + strlen(name), NULL, 10) : UINT64_MAX;
}

/*
 * A number in a file of a control group, behind a name, or ("") alone. -ENOENT: there is none;
 * -ENOMEM: the file could not be opened for want of memory.
 */
static int group_number(const char *group, const char *file, const char *name, uint64_t *value)
{
	char path[700], text[8192] = "\n";
	ssize_t len;

	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/%s", group, file);
	len = name[0] ? pn_read_file(path, text + 1, sizeof(text) - 1) : pn_read_u64(path, value);
	if (len < 0)
		return len == -ENOMEM ? -ENOMEM : -ENOENT;
	if (!name[0])
		return 0;
	*value = number_after(text, name);
	return *value == UINT64_MAX ? -ENOENT : 0;
}

/*
 * What one control group (v2) leaves: its memory.max without what is in use, less the page cache,
 * which the kernel gives up first. 0; -ENOENT: no limit there; -ENOMEM as above.
 */
static int group_room(const char *group, struct pn_cgroup_room *room)
{
	static const char *const kinds[] = {"\ninactive_file ", "\nactive_file "};
	uint64_t used, part;
	int ret;

	ret = group_number(group, "memory.max", "", &room->max); /* "max" is not a number */
	if (!ret)
		ret = group_number(group, "memory.current", "", &room->used);
	used = room->used;
	for (size_t i = 0; i < PN_ARRAY_SIZE(kinds) && !ret; i++) {
		ret = group_number(group, "memory.stat", kinds[i], &part);
		if (!ret)
			used -= part < used ? part : used;
		ret = ret == -ENOENT ? 0 : ret;
	}
	if (ret)
		return ret;
	room->left = room->max > used ? room->max - used : 0;
	snprintf(room->path, sizeof(room->path), "%s", group);
	ret = group_number(group, "memory.events", "\noom ", &room->oom);
	if (ret == -ENOENT)
		room->oom = 0;
	return ret == -ENOENT ? 0 : ret;
}

int pn_cgroup_own(char *group, size_t size)
{
	char text[600], *at;
	ssize_t len = pn_read_file("/proc/self/cgroup", text, sizeof(text));

	if (len < 0)
		return len == -ENOMEM ? -ENOMEM : -ENOENT;
	at = !strncmp(text, "0::", 3) ? text : strstr(text, "\n0::");
	at = at ? strchr(at, '/') : NULL;
	if (!at)
		return -ENOENT;
	at[strcspn(at, "\n")] = '\0';
	return snprintf(group, size, "%s", at) < (int)size ? 0 : -ENOENT;
}

bool pn_cgroup_up(char *group)
{
	char *end = strrchr(group, '/');

	if (!end || !group[1])
		return false;
	/* Of "/name" remains "/": inside a control group namespace that has limits too. */
	*(end == group ? end + 1 : end) = '\0';
	return true;
}

int pn_cgroup_room(struct pn_cgroup_room *tightest)
{
	struct pn_cgroup_room here = {0};
	bool found = false;
	char group[600];
	int ret;

	ret = pn_cgroup_own(group, sizeof(group));
	if (ret)
		return ret;
	do {
		ret = group_room(group, &here);
		if (ret == -ENOMEM)
			return ret;
		if (!ret && (!found || here.left < tightest->left)) {
			*tightest = here;
			found = true;
		}
	} while (pn_cgroup_up(group));
	return found ? 0 : -ENOENT;
}

uint64_t pn_memory_available(void)
{
	char text[4096];
	uint64_t kilobytes;

	if (pn_read_file("/proc/meminfo", text, sizeof(text)) < 0)
		return UINT64_MAX;
	kilobytes = number_after(text, "MemAvailable:");
	return kilobytes > UINT64_MAX >> 10 ? UINT64_MAX : kilobytes << 10;
}

/* Small pages are not reserved: what is not there ends with the kernel killing a process, so look
 * first. */
int pn_memory_check(uint64_t bytes)
{
	uint64_t available = pn_memory_available();
	struct pn_cgroup_room group;

	if (available == UINT64_MAX)
		return 0;
	if (bytes > available)
		return pn_fail(ENOMEM,
			"%" PRIu64 " bytes on 4 KiB pages are needed, %" PRIu64
			" are available in this machine (MemAvailable)",
			bytes, available);
	if (!pn_cgroup_room(&group) && bytes > group.left)
		return pn_fail(ENOMEM,
			"%" PRIu64 " bytes on 4 KiB pages are needed, memory.max of the control "
			"group, or of one above it, leaves %" PRIu64,
			bytes, group.left);
	return 0;
}
