/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading /proc/PID/maps and smaps (fs/proc/task_mmu.c: show_map_vma, show_smap_vma_flags).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "report_vmas.h"

/* vm.max_map_count is 65,530 unless someone raised it; beyond this nothing is believed. */
#define VMAS_MAX (1u << 20)

static int add(struct vmas *vmas, const struct vma *vma)
{
	struct vma *list = vmas->list;

	if (vmas->count == VMAS_MAX)
		return -E2BIG;
	if ((vmas->count & (vmas->count - 1)) == 0) {
		list = realloc(list, (vmas->count ? 2 * vmas->count : 1) * sizeof(*list));
		if (!list)
			return -ENOMEM;
		vmas->list = list;
	}
	list[vmas->count++] = *vma;
	return 0;
}

/* A number in hexadecimal that ends in this character, and step over both. */
static bool take_hex(const char **at, char end, uint64_t *value)
{
	char *stop;

	errno = 0;
	*value = strtoull(*at, &stop, 16);
	if (errno || stop == *at || *stop != end)
		return false;
	*at = stop + 1;
	return true;
}

/* "start-end rwxp offset major:minor inode   name". False: it is no such line. */
static bool parse(const char *line, struct vma *vma)
{
	uint64_t major, minor;
	char *stop;

	memset(vma, 0, sizeof(*vma));
	if (!take_hex(&line, '-', &vma->start) || !take_hex(&line, ' ', &vma->end) ||
		strnlen(line, 5) < 5)
		return false;
	vma->shared = line[3] == 's';
	line += 5;
	if (!take_hex(&line, ' ', &vma->offset) || !take_hex(&line, ':', &major) ||
		!take_hex(&line, ' ', &minor))
		return false;
	vma->device = major << 32 | minor;
	vma->inode = strtoull(line, &stop, 10);
	stop += strspn(stop, " ");
	vma->bar = !strncmp(stop, "anon_inode:[vfio", 16) || !strncmp(stop, "/dev/vfio/", 10);
	/* The pages of a device node are the device's, whatever the inode. */
	vma->shared = vma->shared && vma->inode && !vma->bar;
	return vma->start < vma->end;
}

static bool has_flag(const char *flags, const char *flag)
{
	const char *at = strstr(flags, flag);

	return at && at[-1] == ' ' && (at[2] == ' ' || at[2] == '\n' || !at[2]);
}

static int read_lines(FILE *file, uint64_t start, uint64_t end, bool locked, struct vmas *out)
{
	bool wanted = false;
	char *line = NULL;
	size_t size = 0;
	struct vma vma;
	int ret = 0;

	while (!ret && getline(&line, &size, file) > 0) {
		/* In smaps, what begins with a capital letter belongs to the line of an area before
		 * it. */
		if (*line >= 'A' && *line <= 'Z') {
			if (locked && wanted && !strncmp(line, "VmFlags:", 8))
				out->list[out->count - 1].locked = has_flag(line, "lo");
			continue;
		}
		wanted = false;
		if (!parse(line, &vma)) {
			ret = -EIO;
		} else if (vma.end > start && vma.start < end) {
			ret = add(out, &vma);
			wanted = !ret;
		}
	}
	free(line);
	return ret ? ret : ferror(file) ? -EIO : 0;
}

int vmas_read(pid_t pid, uint64_t start, uint64_t end, bool locked, struct vmas *out)
{
	char path[64];
	FILE *file;
	int ret;

	memset(out, 0, sizeof(*out));
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, locked ? "smaps" : "maps");
	file = fopen(path, "re");
	if (!file)
		return -errno;
	ret = read_lines(file, start, end, locked, out);
	fclose(file);
	if (ret)
		vmas_free(out);
	return ret;
}

void vmas_free(struct vmas *vmas)
{
	free(vmas->list);
	memset(vmas, 0, sizeof(*vmas));
}

size_t vmas_find(const struct vmas *vmas, uint64_t address)
{
	size_t low = 0, high = vmas->count, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (vmas->list[middle].end > address)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}
