/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Values of command-line options: sizes, counts, seconds and MAC addresses, read strictly. What
 * does not parse to the last character, or does not fit, is refused; nothing is guessed.
 */
#ifndef APPS_PARSE_H
#define APPS_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAC_LEN 6

/* Bytes, with an optional K, M or G (powers of 1024, either case). 0 or -EINVAL, -ERANGE. */
int parse_size(const char *text, uint64_t *bytes);

/* A decimal number from min to max. 0 or -EINVAL, -ERANGE. */
int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value);

/* Seconds with up to three decimals, at most a thousand million, into milliseconds. 0 or -EINVAL,
 * -ERANGE. */
int parse_seconds(const char *text, uint64_t *milliseconds);

/* "02:00:00:00:00:01", two digits a byte. 0 or -EINVAL. */
int parse_mac(const char *text, uint8_t mac[MAC_LEN]);

/* Are all names of a list known? They are separated by commas, and there is at least one. */
bool names_known(const char *list, bool (*known)(const char *name, size_t len));

/* Room for any text that format_size() and format_mac() write. */
#define FORMAT_MAX 32

/* "4 KiB", "6.004 MiB": exact where there are no decimals. Returns buf. */
const char *format_size(char buf[FORMAT_MAX], uint64_t bytes);
const char *format_mac(char buf[FORMAT_MAX], const uint8_t mac[MAC_LEN]);

#endif
