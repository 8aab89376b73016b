/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A text that grows, for renderers: a report can have a hundred thousand lines, so numbers and
 * columns are written without printf().
 */
#ifndef PN_RENDER_TEXT_H
#define PN_RENDER_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base_priv.h"

struct text {
	char *data;
	size_t len, room;
	bool failed; /* memory was out; the rest is dropped */
};

void text_add(struct text *text, const char *more);
void text_bytes(struct text *text, const char *more, size_t len);
void text_u64(struct text *text, uint64_t value);
void text_i64(struct text *text, int64_t value);
/* "0x1f" */
void text_hex(struct text *text, uint64_t value);
void text_format(struct text *text, const char *fmt, ...) PN_PRINTF(2, 3);

/* Make what was added since len was start this wide: spaces behind it, or before it. */
void text_left(struct text *text, size_t start, size_t width);
void text_right(struct text *text, size_t start, size_t width);

/* The text, for free(); NULL if memory was out. */
char *text_end(struct text *text);

/*
 * What the renderers have in common
 */

/* "4 MiB" where that is exact. */
void text_size(struct text *text, uint64_t bytes);
/* "rw" */
const char *text_prot(unsigned int prot);

#endif
