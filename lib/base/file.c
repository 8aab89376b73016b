/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading the small text files and links of sysfs and procfs.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base_priv.h"

ssize_t pn_read_file(const char *path, char *buf, size_t size)
{
	size_t used = 0;
	ssize_t got = 0;
	int fd, err = 0;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (used < size) {
		got = read(fd, buf + used, size - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		used += (size_t)got;
	}
	if (got < 0)
		err = -errno;
	close(fd);
	if (err)
		return err;
	if (used == size)
		return -E2BIG;
	if (used && buf[used - 1] == '\n')
		used--;
	buf[used] = '\0';
	return (ssize_t)used;
}

int pn_read_u64(const char *path, uint64_t *value)
{
	char text[64], *end;
	ssize_t len;

	len = pn_read_file(path, text, sizeof(text));
	if (len < 0)
		return (int)len;
	errno = 0;
	*value = strtoull(text, &end, 0);
	if (end == text || *end != '\0' || errno || text[0] == '-')
		return -EIO;
	return 0;
}

int pn_link_name(const char *path, char *buf, size_t size)
{
	char target[PATH_MAX];
	const char *name;
	ssize_t len;

	len = readlink(path, target, sizeof(target) - 1);
	if (len < 0)
		return -errno;
	target[len] = '\0';
	name = strrchr(target, '/');
	name = name ? name + 1 : target;
	if (strlen(name) >= size)
		return -E2BIG;
	strcpy(buf, name);
	return 0;
}

int pn_file_size_allowed(uint64_t size)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) || limit.rlim_cur == RLIM_INFINITY)
		return 0;
	return size > limit.rlim_cur ? -EFBIG : 0;
}
