/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading the long text files of /proc line by line, in little memory, with an end where the reader
 * wants one: the kernel makes the text as it is read.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base_priv.h"
#include "mem_priv.h"

int pn_lines_open(struct pn_lines *lines, const char *path)
{
	lines->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (lines->fd < 0)
		return -errno;
	lines->at = lines->len = 0;
	return 0;
}

void pn_lines_close(struct pn_lines *lines)
{
	close(lines->fd);
}

/* One more byte, from 0; -1 at the end of the file, or less: -1 - errno. */
static int next_byte(struct pn_lines *lines)
{
	ssize_t got;

	if (lines->at == lines->len) {
		do
			got = read(lines->fd, lines->buf, sizeof(lines->buf));
		while (got < 0 && errno == EINTR);
		if (got <= 0)
			return got ? -1 - errno : -1;
		lines->at = 0;
		lines->len = (size_t)got;
	}
	return (unsigned char)lines->buf[lines->at++];
}

int pn_lines_next(struct pn_lines *lines, char *line, size_t size)
{
	size_t used = 0;
	int byte;

	while ((byte = next_byte(lines)) >= 0 && byte != '\n') {
		if (used + 1 < size)
			line[used++] = (char)byte;
	}
	line[used] = '\0';
	if (byte < -1)
		return byte + 1;
	return byte == '\n' || used;
}
