/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which file system a mapped file is on, known by its device number only: the file itself may have
 * no name any more. By /proc/self/mountinfo, and what the kernel mounts for itself.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base_priv.h"
#include "mem_priv.h"

#define MOUNTINFO "/proc/self/mountinfo"

/* "36 35 98:0 /root /mnt rw,noatime master:1 - ext4 /dev/sda1 rw": device and type. */
static bool parse_mount(const char *line, dev_t *device, char type[32])
{
	unsigned int major, minor;
	const char *at;

	if (sscanf(line, "%*u %*u %9u:%9u ", &major, &minor) != 2)
		return false;
	*device = makedev(major, minor);
	at = strstr(line, " - ");
	return at && sscanf(at + 3, "%31s", type) == 1;
}

/* 0, or a negative errno; type is "" if it is not mounted in this namespace. */
static int find_mounted(dev_t device, char type[32])
{
	struct pn_lines lines;
	/* Two paths stand before the type. One that is cut is one that is not found. */
	char line[4096];
	dev_t found;
	int ret;

	type[0] = '\0';
	ret = pn_lines_open(&lines, MOUNTINFO);
	if (ret)
		return pn_fail(-ret, "opening " MOUNTINFO ": %s", strerror(-ret));
	while ((ret = pn_lines_next(&lines, line, sizeof(line))) > 0) {
		if (parse_mount(line, &found, type) && found == device)
			break;
		type[0] = '\0';
	}
	pn_lines_close(&lines);
	return ret < 0 ? pn_fail(-ret, "reading " MOUNTINFO ": %s", strerror(-ret)) : 0;
}

/* The tmpfs that the kernel mounts for itself (mm/shmem.c:shm_mnt), of memfds, shared anonymous
 * memory and System V segments. */
static int is_kernel_tmpfs(dev_t device)
{
	struct stat st;
	int fd, err, ret;

	fd = memfd_create("pinion", MFD_CLOEXEC);
	if (fd < 0) {
		err = errno;
		return pn_fail(err, "memfd_create: %s", strerror(err));
	}
	ret = fstat(fd, &st) ? -errno : st.st_dev == device;
	close(fd);
	return ret < 0 ? pn_fail(-ret, "fstat of a memfd: %s", strerror(-ret)) : ret;
}

int pn_filesystem_pins(dev_t device, char type[32])
{
	/* These write nothing back, so nobody needs to be told of a write. */
	static const char *const good[] = {"tmpfs", "devtmpfs", "ramfs", "hugetlbfs"};
	int ret;

	ret = find_mounted(device, type);
	if (ret)
		return ret;
	for (size_t i = 0; i < PN_ARRAY_SIZE(good); i++) {
		if (!strcmp(type, good[i]))
			return 0;
	}
	if (type[0])
		return -EOPNOTSUPP;
	ret = is_kernel_tmpfs(device);
	return ret < 0 ? ret : ret ? 0 : -EOPNOTSUPP;
}
