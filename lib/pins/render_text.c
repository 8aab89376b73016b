/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A text that grows.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "render_text.h"

/* Room for so many more bytes and the end. */
static bool make_room(struct text *text, size_t more)
{
	size_t room = text->room ? text->room : 4096;
	char *data;

	if (text->failed)
		return false;
	if (more < text->room - text->len)
		return true;
	while (room - text->len <= more)
		room *= 2;
	data = realloc(text->data, room);
	text->failed = !data;
	if (!data)
		return false;
	text->data = data;
	text->room = room;
	return true;
}

void text_bytes(struct text *text, const char *more, size_t len)
{
	if (!make_room(text, len))
		return;
	memcpy(text->data + text->len, more, len);
	text->len += len;
	text->data[text->len] = '\0';
}

void text_add(struct text *text, const char *more)
{
	text_bytes(text, more, strlen(more));
}

void text_u64(struct text *text, uint64_t value)
{
	char digits[20], *at = digits + sizeof(digits);

	do {
		*--at = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	text_bytes(text, at, (size_t)(digits + sizeof(digits) - at));
}

void text_i64(struct text *text, int64_t value)
{
	if (value < 0)
		text_bytes(text, "-", 1);
	text_u64(text, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

void text_hex(struct text *text, uint64_t value)
{
	char digits[18], *at = digits + sizeof(digits);

	do {
		*--at = "0123456789abcdef"[value & 15];
		value >>= 4;
	} while (value);
	*--at = 'x';
	*--at = '0';
	text_bytes(text, at, (size_t)(digits + sizeof(digits) - at));
}

void text_format(struct text *text, const char *fmt, ...)
{
	va_list args, again;
	int len;

	va_start(args, fmt);
	va_copy(again, args);
	len = vsnprintf(NULL, 0, fmt, args);
	if (len < 0)
		text->failed = true;
	else if (make_room(text, (size_t)len + 1)) {
		vsnprintf(text->data + text->len, (size_t)len + 1, fmt, again);
		text->len += (size_t)len;
	}
	va_end(again);
	va_end(args);
}

static size_t missing(const struct text *text, size_t start, size_t width)
{
	return text->failed || text->len - start >= width ? 0 : width - (text->len - start);
}

void text_left(struct text *text, size_t start, size_t width)
{
	size_t more = missing(text, start, width);

	if (!more || !make_room(text, more))
		return;
	memset(text->data + text->len, ' ', more);
	text->len += more;
	text->data[text->len] = '\0';
}

void text_right(struct text *text, size_t start, size_t width)
{
	size_t more = missing(text, start, width);

	if (!more || !make_room(text, more))
		return;
	memmove(text->data + start + more, text->data + start, text->len - start + 1);
	memset(text->data + start, ' ', more);
	text->len += more;
}

char *text_end(struct text *text)
{
	if (!text->data)
		text_bytes(text, "", 0);
	if (!text->failed)
		return text->data;
	free(text->data);
	return NULL;
}

void text_size(struct text *text, uint64_t bytes)
{
	static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"};
	unsigned int unit = 0;

	while (bytes >= 1024 && bytes % 1024 == 0 && unit + 1 < PN_ARRAY_SIZE(units)) {
		bytes /= 1024;
		unit++;
	}
	text_u64(text, bytes);
	text_add(text, units[unit]);
}

const char *text_prot(unsigned int prot)
{
	static const char *const texts[] = {"--", "r-", "-w", "rw"};

	return texts[prot & 3];
}
