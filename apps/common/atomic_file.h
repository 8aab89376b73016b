/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file that others read at any time: it is written under another name beside it, and takes its
 * place when it is whole.
 */
#ifndef APPS_ATOMIC_FILE_H
#define APPS_ATOMIC_FILE_H

#include <stddef.h>

struct atomic_file {
	const char *path;
	char *temporary;
	int fd;
};

/* All return 0, or -1 after a complaint, with nothing left behind. */
int atomic_open(struct atomic_file *file, const char *path);
int atomic_write(struct atomic_file *file, const void *data, size_t size);
/* Put it in its place, and end. */
int atomic_commit(struct atomic_file *file);
/* Leave what was there before, and end. */
void atomic_abandon(struct atomic_file *file);

#endif
