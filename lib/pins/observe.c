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
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "base_priv.h"
#include "pins_priv.h"

/* Rest of a line that begins with this name, or NULL. */
static const char *after(const char *line, const char *name)
{
	size_t len = strlen(name);

	return strncmp(line, name, len) ? NULL : line + len;
}

/* /proc may be that of another PID namespace, where the caller has another number. */
static void proc_path(char path[64], pid_t pid, const char *name)
{
	if (pid == getpid())
		snprintf(path, 64, "/proc/self/%s", name);
	else
		snprintf(path, 64, "/proc/%d/%s", (int)pid, name);
}

int pn_proc_start_time(pid_t pid, uint64_t *start_time)
{
	char path[64], text[1024], *at;
	ssize_t len;
	int skip;

	proc_path(path, pid, "stat");
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

	proc_path(path, pid, "limits");
	if (pn_read_file(path, text, sizeof(text)) < 0)
		return;
	line = strstr(text, "\nMax locked memory");
	if (!line)
		return;
	line += strlen("\nMax locked memory");
	state->limit_soft = limit_pages(line, &line);
	state->limit_hard = limit_pages(line, &line);
	state->limit_known = true;
}

/* A process may call itself anything; a report goes to terminals and into JSON. */
static void take_name(struct pn_proc_state *state, const char *name)
{
	size_t i;

	for (i = 0; i + 1 < sizeof(state->comm) && name[i] && name[i] != '\n'; i++)
		state->comm[i] = (char)(name[i] >= ' ' && name[i] <= 126 ? name[i] : '?');
	state->comm[i] = '\0';
}

/* Line by line: with many groups the file is longer than any buffer one would set aside. */
static int read_status(FILE *file, struct pn_proc_state *state)
{
	bool uid = false, locked = false, pinned = false;
	char *line = NULL;
	const char *rest;
	size_t size = 0;

	while (getline(&line, &size, file) > 0) {
		if ((rest = after(line, "Name:\t")))
			take_name(state, rest);
		else if ((rest = after(line, "Uid:")))
			uid = sscanf(rest, "%u %u %u", &state->uid, &state->euid, &state->suid) ==
			      3;
		else if ((rest = after(line, "VmLck:")))
			locked = sscanf(rest, "%" SCNu64, &state->locked) == 1;
		else if ((rest = after(line, "VmPin:")))
			pinned = sscanf(rest, "%" SCNu64, &state->pinned) == 1;
	}
	free(line);
	state->counters_known = locked && pinned;
	state->locked >>= 2; /* kB to pages of 4 KiB */
	state->pinned >>= 2;
	return uid ? 0 : -EIO;
}

int pn_proc_read(pid_t pid, struct pn_proc_state *state)
{
	char path[64];
	FILE *file;
	int ret;

	memset(state, 0, sizeof(*state));
	ret = pn_proc_start_time(pid, &state->start_time);
	if (ret)
		return ret;
	proc_path(path, pid, "status");
	file = fopen(path, "re");
	if (!file)
		return errno == ENOENT ? -ESRCH : -errno;
	ret = read_status(file, state);
	fclose(file);
	if (!ret)
		read_limit(pid, state);
	return ret;
}

/* Of the calling thread: credentials are a thread's own. */
static bool in_effect(int capability)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data))
		return false;
	return data[CAP_TO_INDEX(capability)].effective & (uint32_t)CAP_TO_MASK(capability);
}

/* include/linux/proc_ns.h: the initial user namespace has this number for good. */
#define USER_NAMESPACE_INITIAL 0xeffffffdu

static bool in_initial_namespace(void)
{
	uint32_t own = pn_user_namespace();

	if (own)
		return own == USER_NAMESPACE_INITIAL;
	/* No user namespaces in this kernel; or no /proc, and the kernel's own answer is as good:
	 * the capability is in effect, and counts or does not. Where that cannot be asked either,
	 * most processes are in the initial one. */
	return !in_effect(CAP_IPC_LOCK) || pn_trial_exempt() != 0;
}

bool pn_capable_now(int capability)
{
	return in_effect(capability) && in_initial_namespace();
}

bool pn_capable_elsewhere(int capability)
{
	return in_effect(capability) && !in_initial_namespace();
}

/*
 * A thread whose permitted set has lost the capability gets it back by execve() only
 * (security/commoncap.c), and one that has left the initial user namespace cannot come back
 * (kernel/user_namespace.c: cap_capable() says no to a namespace above): asked once, such a thread
 * needs no further system call for a map.
 */
static __thread bool never_exempt;

bool pn_exempt_still(bool before)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];
	const struct __user_cap_data_struct *word = &data[CAP_TO_INDEX(CAP_IPC_LOCK)];

	if (never_exempt || syscall(SYS_capget, &header, data))
		return false;
	never_exempt = !(word->permitted & CAP_TO_MASK(CAP_IPC_LOCK));
	if (never_exempt || !(word->effective & CAP_TO_MASK(CAP_IPC_LOCK)))
		return false;
	if (!before)
		never_exempt = !in_initial_namespace();
	return !never_exempt;
}

bool pn_exempt_now(void)
{
	return pn_exempt_still(false);
}
