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
 * What one control group (v2) leaves: its memory.max without what is in use, less the page cache,
 * which the kernel gives up first. UINT64_MAX: no limit there.
 */
static uint64_t group_room(const char *group)
{
	char path[700], text[8192];
	uint64_t most, used, cache = 0, part;
	size_t i;
	static const char *const names[] = {"\ninactive_file ", "\nactive_file "};

	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.max", group);
	if (pn_read_u64(path, &most)) /* "max" is not a number */
		return UINT64_MAX;
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.current", group);
	if (pn_read_u64(path, &used))
		return UINT64_MAX;
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.stat", group);
	if (pn_read_file(path, text, sizeof(text)) < 0)
		text[0] = '\0';
	for (i = 0; i < PN_ARRAY_SIZE(names); i++) {
		part = number_after(text, names[i]);
		cache += part == UINT64_MAX ? 0 : part;
	}
	used -= cache < used ? cache : used;
	return most > used ? most - used : 0;
}

/* The least that the process's own control group and those above it leave. */
static uint64_t cgroup_room(void)
{
	char text[600], *group, *end;
	uint64_t room = UINT64_MAX, here;

	if (pn_read_file("/proc/self/cgroup", text, sizeof(text)) < 0)
		return UINT64_MAX;
	group = !strncmp(text, "0::", 3) ? text : strstr(text, "\n0::");
	group = group ? strchr(group, '/') : NULL;
	if (!group)
		return UINT64_MAX;
	end = strchr(group, '\n');
	if (end)
		*end = '\0';
	for (;;) {
		here = group_room(group);
		room = here < room ? here : room;
		if (!group[1])
			break;
		end = strrchr(group, '/');
		/* Of "/name" remains "/": inside a control group namespace that has limits too. */
		*(end == group ? end + 1 : end) = '\0';
	}
	return room;
}

/* Small pages are not reserved: what is not there ends with the kernel killing a process, so look
 * first. */
int pn_memory_check(uint64_t bytes)
{
	char text[4096];
	uint64_t room;

	if (pn_read_file("/proc/meminfo", text, sizeof(text)) < 0)
		return 0;
	room = number_after(text, "MemAvailable:");
	if (room != UINT64_MAX && bytes >> 10 > room)
		return pn_fail(ENOMEM,
			"%" PRIu64 " bytes on 4 KiB pages are needed, %" PRIu64
			" are available in this machine (MemAvailable)",
			bytes, room << 10);
	room = cgroup_room();
	if (bytes > room)
		return pn_fail(ENOMEM,
			"%" PRIu64 " bytes on 4 KiB pages are needed, memory.max of the control "
			"group, or of one above it, leaves %" PRIu64,
			bytes, room);
	return 0;
}
