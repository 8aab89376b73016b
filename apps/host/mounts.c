/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is mounted, in every mount namespace that a process is in.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "use.h"
#include "text.h"

struct namespaces {
	char (*names)[32]; /* "mnt:[4026531841]" */
	size_t count;
};

/* A field of mountinfo in which \040 stands for a blank; returns what is behind it. */
static const char *take_field(const char *line, char *to, size_t size)
{
	size_t len = 0;

	while (*line == ' ')
		line++;
	for (; *line && *line != ' '; line++) {
		unsigned int code;
		char c = *line;

		if (c == '\\' && strspn(line + 1, "01234567") >= 3 &&
			sscanf(line + 1, "%3o", &code) == 1) {
			c = (char)code;
			line += 3;
		}
		/* Not an end: that is behind it. */
		c = c ? c : '?';
		if (len + 1 < size)
			to[len++] = c;
	}
	to[len] = '\0';
	clean_text(to);
	return line;
}

/* 36 35 98:0 /root /mnt rw,noatime master:1 - ext4 /dev/root rw */
static int take_line(struct host_mounts *mounts, const char *line, pid_t pid)
{
	struct host_mount *mount;
	const char *rest, *tail;
	unsigned int major, minor;
	char skipped[4];
	int at = 0;

	if (sscanf(line, "%*d %*d %u:%u %n", &major, &minor, &at) < 2 || !at)
		return 0;
	tail = strstr(line, " - ");
	if (!tail)
		return 0;
	mount = host_grow(mounts->items, &mounts->count, sizeof(*mount));
	if (!mount)
		return -ENOMEM;
	mounts->items = mount;
	mount += mounts->count - 1;
	mount->major = major;
	mount->minor = minor;
	mount->pid = pid;
	mount->first = pid == 1;
	rest = take_field(line + at, skipped, sizeof(skipped));
	take_field(rest, mount->point, sizeof(mount->point));
	rest = take_field(tail + 3, mount->type, sizeof(mount->type));
	take_field(rest, mount->source, sizeof(mount->source));
	return 0;
}

static int read_namespace(struct host *host, struct host_mounts *mounts, pid_t pid)
{
	char *text, *line, *next;
	int err = 0;

	text = host_read_all("%s/%d/mountinfo", host->proc, (int)pid);
	for (line = text; line && !err; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		err = take_line(mounts, line, pid);
	}
	free(text);
	return err;
}

/* 1: it was not met yet; 0: it was; -ENOMEM. */
static int is_new(struct namespaces *seen, const char *name)
{
	char(*grown)[32];

	for (size_t i = 0; i < seen->count; i++) {
		if (!strcmp(seen->names[i], name))
			return 0;
	}
	grown = host_grow(seen->names, &seen->count, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	seen->names = grown;
	snprintf(grown[seen->count - 1], sizeof(*grown), "%s", name);
	return 1;
}

static int visit(struct host *host, struct host_mounts *mounts, struct namespaces *seen, pid_t pid)
{
	char name[32];
	int ret;

	if (host_read_link(name, sizeof(name), "%s/%d/ns/mnt", host->proc, (int)pid))
		return 0;
	ret = is_new(seen, name);
	return ret == 1 ? read_namespace(host, mounts, pid) : ret;
}

int host_mounts_read(struct host *host, struct host_mounts *mounts)
{
	struct namespaces seen = {0};
	struct dirent *entry;
	DIR *dir;
	int err;

	memset(mounts, 0, sizeof(*mounts));
	/* Process 1 first: its root is the machine's. */
	err = visit(host, mounts, &seen, 1);
	dir = opendir(host->proc);
	while (dir && !err && (entry = readdir(dir))) {
		pid_t pid = atoi(entry->d_name);

		if (pid > 1)
			err = visit(host, mounts, &seen, pid);
	}
	if (dir)
		closedir(dir);
	free(seen.names);
	if (!err)
		return 0;
	host_mounts_free(mounts);
	return host_fail(host, ENOMEM, "no memory for a list of mounts");
}

void host_mounts_free(struct host_mounts *mounts)
{
	free(mounts->items);
	memset(mounts, 0, sizeof(*mounts));
}
