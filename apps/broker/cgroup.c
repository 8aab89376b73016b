/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The limits of a control group, read where systemd and everybody else mounts the hierarchy.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"
#include "parse.h"
#include "peer.h"

#define CGROUPS   "/sys/fs/cgroup"
#define HUGEPAGES "/sys/kernel/mm/hugepages"

/* A number in a file that is root's and that nobody else may write; UINT64_MAX if there is none. */
static uint64_t read_limit(const char *path)
{
	uint64_t value = UINT64_MAX;
	char text[32] = "";
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return value;
	if (!fstat(fd, &st) && !st.st_uid && !(st.st_mode & 022) &&
		read(fd, text, sizeof(text) - 1) > 0) {
		text[strcspn(text, "\n")] = '\0';
		/* "max" is no number. */
		if (parse_number(text, 0, UINT64_MAX, &value))
			value = UINT64_MAX;
	}
	close(fd);
	return value;
}

/* The least of a limit in a group and all above it. */
static uint64_t least(const char *group, const char *limit)
{
	char level[PEER_CGROUP], path[PEER_CGROUP + 80];
	uint64_t value, found = UINT64_MAX;

	snprintf(level, sizeof(level), "%s", group);
	while (strlen(level) > 1) {
		snprintf(path, sizeof(path), CGROUPS "%s/%s", level, limit);
		value = read_limit(path);
		if (value < found)
			found = value;
		*strrchr(level, '/') = '\0';
	}
	return found;
}

/* Of hugepages of one size, "hugepages-2048kB". */
static uint64_t hugepage_bound(const char *group, const char *name)
{
	char limit[48], path[sizeof(HUGEPAGES) + 64];
	uint64_t kilobytes, pool, more, found;

	if (sscanf(name, "hugepages-%lukB", &kilobytes) != 1)
		return 0;
	snprintf(path, sizeof(path), HUGEPAGES "/%.24s/nr_hugepages", name);
	pool = read_limit(path);
	snprintf(path, sizeof(path), HUGEPAGES "/%.24s/nr_overcommit_hugepages", name);
	more = read_limit(path);
	/* mm/hugetlb_cgroup.c:mem_fmt(). */
	snprintf(limit, sizeof(limit), "hugetlb.%lu%s.max",
		kilobytes >> (kilobytes >= 1 << 20       ? 20
				     : kilobytes >= 1024 ? 10
							 : 0),
		kilobytes >= 1 << 20 ? "GB"
		: kilobytes >= 1024  ? "MB"
				     : "KB");
	found = least(group, limit);
	/* Reading it fails at most where the next line says "no bound". */
	if (pool > UINT32_MAX || more > UINT32_MAX)
		return found;
	pool = (pool + more) * kilobytes * 1024;
	return pool < found ? pool : found;
}

uint64_t cgroup_bound(const char *path)
{
	uint64_t total = path[0] == '/' ? least(path, "memory.max") : UINT64_MAX, more;
	struct dirent *entry;
	DIR *dir;

	if (total == UINT64_MAX)
		return total;
	dir = opendir(HUGEPAGES);
	while (dir && total != UINT64_MAX && (entry = readdir(dir))) {
		more = hugepage_bound(path, entry->d_name);
		total = more > UINT64_MAX - total ? UINT64_MAX : total + more;
	}
	if (dir)
		closedir(dir);
	return total;
}
