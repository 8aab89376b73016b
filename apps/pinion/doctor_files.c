/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading the files of /proc, /sys and /etc for pinion doctor: below a root that may be a test's,
 * cut to the room there is, with nothing in them that a terminal would obey.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "doctor.h"

static int path_of(const struct doctor *d, char path[DOCTOR_PATH], const char *fmt, va_list args)
{
	int len = snprintf(path, DOCTOR_PATH, "%s", d->machine.root);

	if (len >= 0 && len < (int)DOCTOR_PATH)
		len += vsnprintf(path + len, DOCTOR_PATH - (size_t)len, fmt, args);
	if (len >= 0 && len < (int)DOCTOR_PATH)
		return 0;
	path[0] = '\0';
	return -ENAMETOOLONG;
}

int doctor_path(const struct doctor *d, char path[DOCTOR_PATH], const char *fmt, ...)
{
	va_list args;
	int ret;

	va_start(args, fmt);
	ret = path_of(d, path, fmt, args);
	va_end(args);
	return ret;
}

static ssize_t read_whole(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	size_t used = 0;
	ssize_t got;

	if (fd < 0)
		return -errno;
	do {
		got = read(fd, text + used, size - 1 - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got > 0)
			used += (size_t)got;
	} while (got > 0 && used < size - 1);
	got = got < 0 ? -errno : 0;
	close(fd);
	if (got)
		return got;
	text[used] = '\0';
	return (ssize_t)used;
}

static ssize_t clean(char *text, ssize_t len)
{
	for (ssize_t i = 0; i < len; i++) {
		if ((text[i] < ' ' && text[i] != '\n' && text[i] != '\t') || text[i] == 127)
			text[i] = '?';
	}
	while (len > 0 && text[len - 1] == '\n')
		text[--len] = '\0';
	return len;
}

static ssize_t read_args(
	const struct doctor *d, char *text, size_t size, const char *fmt, va_list args)
{
	char path[DOCTOR_PATH];
	ssize_t ret = path_of(d, path, fmt, args);

	text[0] = '\0';
	if (!ret)
		ret = read_whole(path, text, size);
	if (ret < 0) {
		text[0] = '\0';
		return ret;
	}
	return clean(text, ret);
}

ssize_t doctor_read(const struct doctor *d, char *text, size_t size, const char *fmt, ...)
{
	va_list args;
	ssize_t ret;

	va_start(args, fmt);
	ret = read_args(d, text, size, fmt, args);
	va_end(args);
	return ret;
}

int doctor_read_number(const struct doctor *d, uint64_t *value, const char *fmt, ...)
{
	char text[64], *end;
	va_list args;
	ssize_t len;

	va_start(args, fmt);
	len = read_args(d, text, sizeof(text), fmt, args);
	va_end(args);
	if (len < 0)
		return (int)len;
	if (strcmp(text, "max") == 0) {
		*value = UINT64_MAX;
		return 0;
	}
	errno = 0;
	*value = strtoull(text, &end, 10);
	return end == text || *end || errno || *text == '-' ? -EIO : 0;
}

bool doctor_exists(const struct doctor *d, const char *fmt, ...)
{
	char path[DOCTOR_PATH];
	va_list args;
	int ret;

	va_start(args, fmt);
	ret = path_of(d, path, fmt, args);
	va_end(args);
	return !ret && access(path, F_OK) == 0;
}

int doctor_entries(const struct doctor *d, const char *prefix, const char *fmt, ...)
{
	char path[DOCTOR_PATH];
	struct dirent *entry;
	va_list args;
	int count = 0;
	DIR *dir;

	va_start(args, fmt);
	count = path_of(d, path, fmt, args);
	va_end(args);
	dir = count ? NULL : opendir(path);
	if (!dir)
		return -1;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] != '.' && strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
			count++;
	}
	closedir(dir);
	return count;
}

bool doctor_field(const char *text, const char *name, int base, uint64_t *value)
{
	size_t len = strlen(name);
	char *end;

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, len))
			continue;
		errno = 0;
		*value = strtoull(line + len, &end, base);
		return end != line + len && !errno;
	}
	return false;
}

const char *doctor_size(char text[32], uint64_t bytes)
{
	static const struct {
		unsigned int shift;
		const char *name;
	} units[] = {{30, "GiB"}, {20, "MiB"}, {10, "KiB"}};

	if (bytes == UINT64_MAX) {
		strcpy(text, "unlimited");
		return text;
	}
	for (size_t i = 0; bytes && i < sizeof(units) / sizeof(units[0]); i++) {
		if (bytes & ((UINT64_C(1) << units[i].shift) - 1))
			continue;
		snprintf(text, 32, "%" PRIu64 " %s", bytes >> units[i].shift, units[i].name);
		return text;
	}
	snprintf(text, 32, "%" PRIu64 " bytes", bytes);
	return text;
}
