/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files that appear whole, by rename().
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomic_file.h"
#include "output.h"

static int fail(struct atomic_file *file, const char *what)
{
	complain("%s: cannot %s: %s", file->path, what, strerror(errno));
	atomic_abandon(file);
	return -1;
}

/* Beside it, so that rename() works, and hidden: a collector of *.prom files must not take it. */
static char *temporary_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	int folder = slash ? (int)(slash - path) + 1 : 0;
	char *name;

	return asprintf(&name, "%.*s.%s.XXXXXX", folder, path, path + folder) < 0 ? NULL : name;
}

int atomic_open(struct atomic_file *file, const char *path)
{
	mode_t mask = umask(0);
	struct stat st;

	umask(mask);
	*file = (struct atomic_file){.path = path, .fd = -1};
	/* What is no file, such as /dev/stdout, cannot be replaced by one. */
	if (!stat(path, &st) && !S_ISREG(st.st_mode)) {
		complain("%s is there, and is not a regular file", path);
		return -1;
	}
	file->temporary = temporary_name(path);
	if (!file->temporary) {
		complain("out of memory");
		return -1;
	}
	file->fd = mkostemp(file->temporary, O_CLOEXEC);
	if (file->fd < 0) {
		free(file->temporary);
		file->temporary = NULL;
		return fail(file, "write a file beside it");
	}
	/* mkstemp() makes it for its owner alone; readers of it may be others. */
	if (fchmod(file->fd, 0666 & ~mask))
		return fail(file, "set its mode");
	return 0;
}

int atomic_write(struct atomic_file *file, const void *data, size_t size)
{
	const char *from = data;
	ssize_t done;

	while (size) {
		done = write(file->fd, from, size);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return fail(file, "write it");
		from += done;
		size -= (size_t)done;
	}
	return 0;
}

int atomic_commit(struct atomic_file *file)
{
	int fd = file->fd;

	file->fd = -1;
	if (close(fd))
		return fail(file, "write it");
	if (rename(file->temporary, file->path))
		return fail(file, "put it in its place");
	free(file->temporary);
	file->temporary = NULL;
	return 0;
}

void atomic_abandon(struct atomic_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
	if (file->temporary)
		unlink(file->temporary);
	free(file->temporary);
	file->temporary = NULL;
}
