/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who else has a device's node open: the processes whose files this one may look at in /proc, which
 * for an ordinary user are its own.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base_priv.h"
#include "pins_priv.h"

/* Processes that are named. */
#define NAMED 3u

static bool has_open(int pid, dev_t node)
{
	char path[64], file[384];
	struct dirent *entry;
	bool found = false;
	struct stat st;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir))) {
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		found = !stat(file, &st) && S_ISCHR(st.st_mode) && st.st_rdev == node;
	}
	if (dir)
		closedir(dir);
	return found;
}

/* A process may call itself anything. */
static void name_of(int pid, char name[32])
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	if (pn_read_file(path, name, 32) < 0)
		snprintf(name, 32, "?");
	for (; *name; name++)
		*name = (char)(*name >= ' ' && *name <= 126 ? *name : '?');
}

int pn_explain_openers(int ret, const char *node)
{
	struct dirent *entry;
	unsigned int count = 0;
	char name[32];
	struct stat st;
	DIR *dir;
	int pid;

	if (stat(node, &st) || !S_ISCHR(st.st_mode))
		return ret;
	dir = opendir("/proc");
	while (dir && count < NAMED && (entry = readdir(dir))) {
		pid = atoi(entry->d_name);
		/* This one may have opened it just now, to find that out. */
		if (pid <= 0 || pid == getpid() || !has_open(pid, st.st_rdev))
			continue;
		name_of(pid, name);
		pn_fail_append(
			ret, "%s %d (%s)", count++ ? ", process" : "; open in process", pid, name);
	}
	if (dir)
		closedir(dir);
	return ret;
}
