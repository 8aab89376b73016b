/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Texts that come from outside.
 */
#include <errno.h>
#include <unistd.h>

#include "text.h"

ssize_t read_whole(int fd, void *buf, size_t size)
{
	char *to = buf;
	size_t used = 0;
	ssize_t got;

	while (used < size) {
		got = read(fd, to + used, size - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		used += (size_t)got;
	}
	return (ssize_t)used;
}

void clean_text(char *text)
{
	for (char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p, next = (unsigned char)p[1];

		/* U+0080 to U+009F are control characters of eight bits. */
		if (c == 0xc2 && next >= 0x80 && next <= 0x9f)
			p[1] = *p = '?';
		else if (c < ' ' || c == 0x7f)
			*p = '?';
	}
}
