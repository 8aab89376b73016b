/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hugepages at each boot: vm.nr_hugepages in /etc/sysctl.d for the machine's pages of the default
 * size, and lines of /etc/tmpfiles.d, which write to sysfs, for all others.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomic_file.h"
#include "hugepages.h"
#include "output.h"
#include "pn_mem.h"

#define SYSCTL_FILE   "/etc/sysctl.d/60-pinion-hugepages.conf"
#define TMPFILES_FILE "/etc/tmpfiles.d/60-pinion-hugepages.conf"

void hugepages_path(char path[HUGEPAGES_PATH], uint64_t page_size, int node)
{
	char where[64] = "/sys/kernel/mm";

	if (node != PN_NODE_ANY)
		snprintf(where, sizeof(where), "/sys/devices/system/node/node%d", node);
	snprintf(path, HUGEPAGES_PATH, "%s/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages", where,
		page_size >> 10);
}

/* Hugepagesize of /proc/meminfo, which is what vm.nr_hugepages counts; 0: not known. */
static uint64_t default_page_size(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	uint64_t kib, found = 0;
	char line[128];

	while (file && !found && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Hugepagesize: %" SCNu64 " kB", &kib) == 1)
			found = kib << 10;
	}
	if (file)
		fclose(file);
	return found;
}

/* One line of any length, which gets the end that the last of a file may lack. */
static int copy_line(struct atomic_file *file, const char *line, size_t len)
{
	int ret = atomic_write(file, line, len);

	return ret || (len && line[len - 1] == '\n') ? ret : atomic_write(file, "\n", 1);
}

/* Does it begin so, and not with a longer name that does? */
static bool is_line(const char *line, const char *begin)
{
	size_t len = strlen(begin);

	return !strncmp(line, begin, len) && (begin[len - 1] == ' ' || strchr(" \t=\n", line[len]));
}

/* Copy what is in a file but for the line that begins so; then the new line. */
static int replace_line(const char *path, const char *head, const char *begin, const char *line)
{
	FILE *before = fopen(path, "re");
	struct atomic_file file;
	char *old = NULL;
	size_t room = 0;
	ssize_t len;
	int ret;

	if (!before && errno != ENOENT) {
		complain("%s: %s", path, strerror(errno));
		return -EIO;
	}
	ret = atomic_open(&file, path);
	if (!before && !ret)
		ret = atomic_write(&file, head, strlen(head));
	while (before && !ret && (len = getline(&old, &room, before)) > 0) {
		if (!is_line(old, begin))
			ret = copy_line(&file, old, (size_t)len);
	}
	free(old);
	if (before && !ret && !feof(before)) {
		complain("%s: cannot be read to its end: %s", path, strerror(errno));
		atomic_abandon(&file);
		ret = -1;
	}
	if (before)
		fclose(before);
	if (!ret)
		ret = copy_line(&file, line, strlen(line));
	if (!ret)
		ret = atomic_commit(&file);
	return ret ? -EIO : 0;
}

int hugepages_persist(uint64_t page_size, int node, uint64_t pages)
{
	char path[HUGEPAGES_PATH], begin[HUGEPAGES_PATH + 8], line[HUGEPAGES_PATH + 48];

	if (node == PN_NODE_ANY && page_size == default_page_size()) {
		snprintf(line, sizeof(line), "vm.nr_hugepages = %" PRIu64 "\n", pages);
		return replace_line(SYSCTL_FILE, "# Written by pinion hugepages --persist.\n",
			"vm.nr_hugepages", line);
	}
	hugepages_path(path, page_size, node);
	snprintf(begin, sizeof(begin), "w %s ", path);
	snprintf(line, sizeof(line), "%s- - - - %" PRIu64 "\n", begin, pages);
	return replace_line(
		TMPFILES_FILE, "# Written by pinion hugepages --persist.\n", begin, line);
}
