/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What /proc shows of a process: its counters, its limit, its start time, its capabilities.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/capability.h>

#include "base_priv.h"
#include "pins_priv.h"

/* Value of a "Name:\tvalue" line, or NULL. */
static const char *field(const char *text, const char *name)
{
	size_t len = strlen(name);

	while (text) {
		if (!strncmp(text, name, len))
			return text + len;
		text = strchr(text, '\n');
		if (text)
			text++;
	}
	return NULL;
}

static bool field_u64(const char *text, const char *name, int base, uint64_t *value)
{
	const char *start = field(text, name);
	char *end;

	if (!start)
		return false;
	errno = 0;
	*value = strtoull(start, &end, base);
	return end != start && !errno;
}

uint64_t pn_pid_namespace(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) ? 0 : (uint64_t)st.st_ino;
}

int pn_proc_start_time(pid_t pid, uint64_t *start_time)
{
	char path[64], text[1024], *at;
	ssize_t len;
	int skip;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	len = pn_read_file(path, text, sizeof(text));
	if (len < 0)
		return len == -ENOENT ? -ESRCH : (int)len;
	/* proc(5): field 22; the name in field 2 may hold anything, so count from the last
	 * parenthesis. */
	at = strrchr(text, ')');
	for (skip = 2; at && skip < 22; skip++)
		at = strchr(at + 1, ' ');
	if (!at)
		return -EIO;
	errno = 0;
	*start_time = strtoull(at + 1, NULL, 10);
	return errno ? -EIO : 0;
}

static uint64_t limit_pages(const char *text, const char **end)
{
	uint64_t bytes;
	char *stop;

	while (*text == ' ')
		text++;
	if (!strncmp(text, "unlimited", 9)) {
		*end = text + 9;
		return PN_PAGES_UNLIMITED;
	}
	bytes = strtoull(text, &stop, 10);
	*end = stop;
	return bytes >> 12;
}

static void read_limit(pid_t pid, struct pn_proc_state *state)
{
	char path[64], text[4096];
	const char *line;

	snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
	if (pn_read_file(path, text, sizeof(text)) < 0)
		return;
	line = field(text, "Max locked memory");
	if (!line)
		return;
	state->limit_soft = limit_pages(line, &line);
	state->limit_hard = limit_pages(line, &line);
	state->limit_known = true;
}

int pn_proc_read(pid_t pid, struct pn_proc_state *state)
{
	char path[64], text[8192], *name;
	uint64_t value;
	ssize_t len;
	int ret;

	memset(state, 0, sizeof(*state));
	ret = pn_proc_start_time(pid, &state->start_time);
	if (ret)
		return ret;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	len = pn_read_file(path, text, sizeof(text));
	if (len < 0)
		return len == -ENOENT ? -ESRCH : (int)len;
	sscanf(text, "Name:\t%15[^\n]", state->comm);
	/* A process may call itself anything; a report goes to terminals and into JSON. */
	for (name = state->comm; *name; name++) {
		if (*name < ' ' || *name > 126)
			*name = '?';
	}
	if (!field_u64(text, "Uid:", 10, &value))
		return -EIO;
	state->uid = (uid_t)value;
	if (field_u64(text, "CapEff:", 16, &value))
		state->ipc_lock = value >> CAP_IPC_LOCK & 1;
	state->counters_known = field_u64(text, "VmLck:", 10, &state->locked) &&
				field_u64(text, "VmPin:", 10, &state->pinned);
	state->locked >>= 2; /* kB to pages of 4 KiB */
	state->pinned >>= 2;
	read_limit(pid, state);
	return 0;
}

bool pn_exempt_now(void)
{
	unsigned int inside, outside, count;
	char text[8192];
	uint64_t caps;

	/* Credentials are a thread's own. */
	if (pn_read_file("/proc/thread-self/status", text, sizeof(text)) < 0)
		return false;
	if (!field_u64(text, "CapEff:", 16, &caps) || !(caps >> CAP_IPC_LOCK & 1))
		return false;
	/* The initial user namespace maps everything onto itself; no other one can. */
	if (pn_read_file("/proc/self/uid_map", text, sizeof(text)) < 0)
		return true; /* no user namespaces in this kernel */
	return sscanf(text, "%u %u %u", &inside, &outside, &count) == 3 && inside == 0 &&
	       outside == 0 && count == UINT32_MAX;
}
