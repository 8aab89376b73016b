/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looking through the files and mappings of every process.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "holders.h"
#include "net.h"
#include "text.h"

#define VFIO_DEVICE "anon_inode:[vfio-device]"

struct search {
	struct host *host;
	const struct host_target *targets;
	size_t count;
	struct host_holders *holders;
	pid_t pid;
};

int host_target_of(struct host_target *target, const char *fmt, ...)
{
	char path[PATH_MAX];
	struct stat st;
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(path, sizeof(path), fmt, args);
	va_end(args);
	if (len < 0 || len >= (int)sizeof(path))
		return -ENAMETOOLONG;
	if (stat(path, &st))
		return -errno;
	memset(target, 0, sizeof(*target));
	target->type = st.st_mode & S_IFMT;
	target->rdev = st.st_rdev;
	target->dev = st.st_dev;
	target->inode = st.st_ino;
	return 0;
}

static bool is_target(const struct host_target *target, const struct stat *st, const char *link)
{
	mode_t type = st->st_mode & S_IFMT;

	if (!target->type)
		return !strcmp(link, VFIO_DEVICE);
	if (target->type != type)
		return false;
	if (S_ISCHR(type) || S_ISBLK(type))
		return st->st_rdev == target->rdev;
	if (S_ISSOCK(type))
		return st->st_ino == target->inode;
	return st->st_dev == target->dev && st->st_ino == target->inode;
}

static void read_who(struct search *search, struct host_holder *holder)
{
	char path[PATH_MAX];
	struct stat st;

	holder->pid = search->pid;
	(void)host_read(holder->comm, sizeof(holder->comm), "%s/%d/comm", search->host->proc,
		(int)search->pid);
	clean_text(holder->comm);
	snprintf(path, sizeof(path), "%s/%d", search->host->proc, (int)search->pid);
	holder->uid = stat(path, &st) ? (uid_t)-1 : st.st_uid;
}

static int note(struct search *search, size_t target, bool mapped)
{
	struct host_holders *holders = search->holders;
	struct host_holder *grown;

	for (size_t i = 0; i < holders->count; i++) {
		if (holders->items[i].pid == search->pid && holders->items[i].target == target)
			return 0;
	}
	grown = host_grow(holders->items, &holders->count, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	holders->items = grown;
	grown += holders->count - 1;
	grown->target = target;
	grown->mapped = mapped;
	read_who(search, grown);
	return 0;
}

/* path: a link of /proc that leads to a file, even to one that has no name here. */
static int look_at(struct search *search, const char *path, bool mapped)
{
	char link[64];
	struct stat st;
	ssize_t len;
	int err = 0;

	if (stat(path, &st))
		return 0;
	len = readlink(path, link, sizeof(link) - 1);
	link[len > 0 ? len : 0] = '\0';
	for (size_t i = 0; i < search->count && !err; i++) {
		if (is_target(&search->targets[i], &st, link))
			err = note(search, i, mapped);
	}
	return err;
}

static int look_at_files(struct search *search)
{
	char path[PATH_MAX], file[PATH_MAX];
	struct dirent *entry;
	DIR *dir;
	int err = 0;

	snprintf(path, sizeof(path), "%s/%d/fd", search->host->proc, (int)search->pid);
	dir = opendir(path);
	if (!dir) {
		search->holders->unseen += errno == EACCES;
		return 0;
	}
	while (!err && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		if (snprintf(file, sizeof(file), "%s/%s", path, entry->d_name) < (int)sizeof(file))
			err = look_at(search, file, false);
	}
	closedir(dir);
	return err;
}

/* A BAR stays mapped, and its device open, when the file is closed. */
static int look_at_mappings(struct search *search)
{
	char *text, *line, *next, range[64], path[PATH_MAX];
	int err = 0;

	text = host_read_all("%s/%d/maps", search->host->proc, (int)search->pid);
	for (line = text; line && !err; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (!strstr(line, "vfio") || sscanf(line, "%63s", range) != 1)
			continue;
		snprintf(path, sizeof(path), "%s/%d/map_files/%s", search->host->proc,
			(int)search->pid, range);
		err = look_at(search, path, true);
	}
	free(text);
	return err;
}

int host_holders_find(struct host *host, const struct host_target *targets, size_t count,
	struct host_holders *holders)
{
	struct search search = {host, targets, count, holders, 0};
	struct dirent *entry;
	DIR *dir;
	int err = 0;

	memset(holders, 0, sizeof(*holders));
	dir = opendir(host->proc);
	if (!dir)
		return host_fail(host, errno, "%s: %s", host->proc, strerror(errno));
	while (!err && (entry = readdir(dir))) {
		search.pid = atoi(entry->d_name);
		if (search.pid <= 0 || search.pid == getpid())
			continue;
		err = look_at_files(&search);
		if (!err)
			err = look_at_mappings(&search);
	}
	closedir(dir);
	if (!err)
		return 0;
	host_holders_free(holders);
	return host_fail(host, ENOMEM, "no memory for a list of processes");
}

void host_holders_free(struct host_holders *holders)
{
	free(holders->items);
	memset(holders, 0, sizeof(*holders));
}

void host_holders_text(const struct host_holders *holders, size_t target, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < holders->count && used + 1 < size; i++) {
		const struct host_holder *holder = &holders->items[i];

		if (holder->target != target)
			continue;
		used += (size_t)snprintf(text + used, size - used, "%spid %d (%s, uid %u%s)",
			used ? ", " : "", (int)holder->pid, holder->comm, holder->uid,
			holder->mapped ? ", mapped" : "");
	}
}
