/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Texts that come from outside: files read as they are, names made fit to be shown.
 */
#ifndef APPS_TEXT_H
#define APPS_TEXT_H

#include <stddef.h>
#include <sys/types.h>

/* Up to size bytes, less only at the end of the file. How many there were, or a negative errno. */
ssize_t read_whole(int fd, void *buf, size_t size);

/* A name that is anybody's choice, of a process, an interface, a mount, a control group, made fit
 * for a terminal and a log: "?" for each control character. */
void clean_text(char *text);

#endif
