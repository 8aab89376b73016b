/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Values of command-line options, read strictly, and the same kinds of value as text.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "parse.h"

/* strtoull() takes blanks, signs and other bases: none of them is meant here. */
static int parse_digits(const char **text, uint64_t *value)
{
	const char *p = *text;
	uint64_t sum = 0;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(sum, 10, &sum) ||
			__builtin_add_overflow(sum, (uint64_t)(*p - '0'), &sum))
			return -ERANGE;
	}
	*text = p;
	*value = sum;
	return 0;
}

static int suffix_shift(char suffix, unsigned int *shift)
{
	switch (suffix) {
	case 'k':
	case 'K':
		*shift = 10;
		return 0;
	case 'm':
	case 'M':
		*shift = 20;
		return 0;
	case 'g':
	case 'G':
		*shift = 30;
		return 0;
	default:
		return -EINVAL;
	}
}

int parse_size(const char *text, uint64_t *bytes)
{
	unsigned int shift = 0;
	uint64_t value;
	int err;

	err = parse_digits(&text, &value);
	if (err)
		return err;
	if (*text) {
		if (suffix_shift(*text, &shift) || text[1])
			return -EINVAL;
	}
	if (value > UINT64_MAX >> shift)
		return -ERANGE;
	*bytes = value << shift;
	return 0;
}

int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
	uint64_t number;
	int err;

	err = parse_digits(&text, &number);
	if (err)
		return err;
	if (*text)
		return -EINVAL;
	if (number < min || number > max)
		return -ERANGE;
	*value = number;
	return 0;
}

int parse_seconds(const char *text, uint64_t *milliseconds)
{
	uint64_t seconds, fraction = 0;
	unsigned int scale = 100;
	int err;

	err = parse_digits(&text, &seconds);
	if (err)
		return err;
	if (seconds > UINT64_C(1000000000))
		return -ERANGE;
	if (*text == '.') {
		text++;
		if (!*text)
			return -EINVAL;
		for (; *text >= '0' && *text <= '9' && scale; text++, scale /= 10)
			fraction += (uint64_t)(*text - '0') * scale;
	}
	if (*text)
		return -EINVAL;
	*milliseconds = seconds * 1000 + fraction;
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int parse_mac(const char *text, uint8_t mac[MAC_LEN])
{
	uint8_t bytes[MAC_LEN];

	if (strlen(text) != 3 * MAC_LEN - 1)
		return -EINVAL;
	for (int i = 0; i < MAC_LEN; i++, text += 3) {
		int high = hex_digit(text[0]), low = hex_digit(text[1]);

		if (high < 0 || low < 0 || text[2] != (i < MAC_LEN - 1 ? ':' : '\0'))
			return -EINVAL;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(mac, bytes, MAC_LEN);
	return 0;
}

bool names_known(const char *list, bool (*known)(const char *name, size_t len))
{
	size_t len;

	if (!*list)
		return false;
	for (; *list; list += len + (list[len] == ',')) {
		len = strcspn(list, ",");
		if (!known(list, len))
			return false;
	}
	return true;
}

const char *format_size(char buf[FORMAT_MAX], uint64_t bytes)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	unsigned int unit = 0;
	uint64_t scale = 1;

	while (unit < 4 && bytes / scale >= 1024) {
		scale *= 1024;
		unit++;
	}
	if (bytes % scale == 0)
		snprintf(buf, FORMAT_MAX, "%" PRIu64 " %s", bytes / scale, units[unit]);
	else
		snprintf(buf, FORMAT_MAX, "%.3f %s", (double)bytes / (double)scale, units[unit]);
	return buf;
}

const char *format_mac(char buf[FORMAT_MAX], const uint8_t mac[MAC_LEN])
{
	snprintf(buf, FORMAT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
		mac[4], mac[5]);
	return buf;
}
