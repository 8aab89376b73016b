/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small files of the machine: reading them, and writing those of our own so that they are whole
 * whatever happens.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host.h"
#include "text.h"

/* The path that fmt and args make. False if it is too long, with errno. */
static bool make_path(char path[PATH_MAX], const char *fmt, va_list args) HOST_PRINTF(2, 0);

static bool make_path(char path[PATH_MAX], const char *fmt, va_list args)
{
	int len = vsnprintf(path, PATH_MAX, fmt, args);

	if (len >= 0 && len < PATH_MAX)
		return true;
	errno = ENAMETOOLONG;
	return false;
}

static ssize_t read_path(const char *path, char *buf, size_t size)
{
	ssize_t len;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = read_whole(fd, buf, size - 1);
	close(fd);
	if (len < 0)
		return len;
	if (len && buf[len - 1] == '\n')
		len--;
	buf[len] = '\0';
	return len;
}

ssize_t host_read(char *buf, size_t size, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list args;
	bool fits;

	va_start(args, fmt);
	fits = make_path(path, fmt, args);
	va_end(args);
	return fits ? read_path(path, buf, size) : -ENAMETOOLONG;
}

char *host_read_all(const char *fmt, ...)
{
	size_t room = 16384, used = 0;
	char path[PATH_MAX], *text = NULL, *more;
	ssize_t got = 0;
	va_list args;
	bool fits;
	int fd;

	va_start(args, fmt);
	fits = make_path(path, fmt, args);
	va_end(args);
	fd = fits ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return NULL;
	do {
		more = realloc(text, room);
		if (!more) {
			free(text);
			close(fd);
			errno = ENOMEM;
			return NULL;
		}
		text = more;
		got = read_whole(fd, text + used, room - used - 1);
		if (got > 0)
			used += (size_t)got;
		room *= 2;
	} while (got > 0);
	close(fd);
	if (got < 0) {
		free(text);
		errno = (int)-got;
		return NULL;
	}
	text[used] = '\0';
	return text;
}

int host_read_number(int64_t *value, const char *fmt, ...)
{
	char path[PATH_MAX], text[64], *end;
	va_list args;
	ssize_t len;
	bool fits;

	va_start(args, fmt);
	fits = make_path(path, fmt, args);
	va_end(args);
	len = fits ? read_path(path, text, sizeof(text)) : -ENAMETOOLONG;
	if (len < 0)
		return (int)len;
	errno = 0;
	*value = strtoll(text, &end, 0);
	return end == text || *end || errno ? -EIO : 0;
}

int host_read_link(char *buf, size_t size, const char *fmt, ...)
{
	char path[PATH_MAX], target[PATH_MAX];
	const char *name;
	va_list args;
	ssize_t len;
	bool fits;

	va_start(args, fmt);
	fits = make_path(path, fmt, args);
	va_end(args);
	len = fits ? readlink(path, target, sizeof(target) - 1) : -1;
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

bool host_exists(const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list args;
	bool fits;

	va_start(args, fmt);
	fits = make_path(path, fmt, args);
	va_end(args);
	return fits && access(path, F_OK) == 0;
}

/*
 * Writing
 */

int host_make_folders(const char *path)
{
	char part[PATH_MAX];
	struct stat st;

	if (strlen(path) >= sizeof(part))
		return -ENAMETOOLONG;
	strcpy(part, path);
	for (char *p = part + 1;; p++) {
		char c = *p;

		if (c != '/' && c)
			continue;
		*p = '\0';
		if (mkdir(part, 0755) && errno != EEXIST)
			return -errno;
		*p = c;
		if (!c)
			break;
	}
	if (stat(path, &st))
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

/* The name of a file is in its folder, which is to be on the disk too. */
static int sync_folder(const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	int fd, err;

	snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
	fd = open(*folder ? folder : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = fsync(fd) ? -errno : 0;
	close(fd);
	/* Some file systems cannot, and need not. */
	return err == -EINVAL ? 0 : err;
}

static int write_whole(int fd, const char *text)
{
	size_t left = strlen(text);
	ssize_t done;

	while (left) {
		done = write(fd, text, left);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		text += done;
		left -= (size_t)done;
	}
	return fsync(fd) ? -errno : 0;
}

/* The name that it is written under first. */
static int temporary_name(char temporary[PATH_MAX], const char *path)
{
	const char *slash = strrchr(path, '/');
	int len;

	if (!slash)
		return -EINVAL;
	len = snprintf(temporary, PATH_MAX, "%.*s/.%s.new", (int)(slash - path), path, slash + 1);
	return len < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int host_write_file(const char *path, const char *text, mode_t mode)
{
	char temporary[PATH_MAX];
	struct stat st;
	int fd, err;

	if (!lstat(path, &st) && !S_ISREG(st.st_mode))
		return -EEXIST;
	err = temporary_name(temporary, path);
	if (err)
		return err;
	/* One writer at a time, by the lock: what is there was left by one that died. */
	if (unlink(temporary) && errno != ENOENT)
		return -errno;
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	/* Whatever the umask. */
	err = fchmod(fd, mode) ? -errno : write_whole(fd, text);
	if (close(fd) && !err)
		err = -errno;
	if (!err && rename(temporary, path))
		err = -errno;
	if (err) {
		unlink(temporary);
		return err;
	}
	return sync_folder(path);
}

int host_remove_file(const char *path)
{
	char temporary[PATH_MAX];
	int err;

	err = temporary_name(temporary, path);
	if (err)
		return err;
	/* What a writer that died has left goes with it. */
	if (unlink(temporary) && errno != ENOENT && errno != ENOTDIR)
		return -errno;
	if (unlink(path))
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	return sync_folder(path);
}
