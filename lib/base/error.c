/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reason of the last failure, one text a thread, and the log callback.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base_priv.h"

static __thread char error_text[PN_ERROR_MAX];

/* The log callback: the one thing in the library that is global and can change. */
static struct {
	pn_log_fn fn;
	void *arg;
	enum pn_log_level level;
} logger;

const char *pn_error(void)
{
	return error_text;
}

const char *pn_version(void)
{
	return PN_VERSION;
}

int pn_fail(int err, const char *fmt, ...)
{
	char text[PN_ERROR_MAX];
	va_list args;

	/* Through a copy: an argument may be pn_error() itself. */
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	memcpy(error_text, text, strlen(text) + 1);
	return -err;
}

void pn_error_clear(void)
{
	error_text[0] = '\0';
}

int pn_fail_prefix(int err, const char *fmt, ...)
{
	char text[2 * PN_ERROR_MAX];
	va_list args;
	size_t used;

	va_start(args, fmt);
	vsnprintf(text, PN_ERROR_MAX, fmt, args);
	va_end(args);
	used = strlen(text);
	memcpy(text + used, error_text, strlen(error_text) + 1);
	text[PN_ERROR_MAX - 1] = '\0';
	memcpy(error_text, text, PN_ERROR_MAX);
	return err;
}

int pn_fail_append(int err, const char *fmt, ...)
{
	char text[PN_ERROR_MAX];
	va_list args;
	size_t used = strlen(error_text);

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	snprintf(error_text + used, sizeof(error_text) - used, "%s", text);
	return err;
}

void pn_log_set(pn_log_fn fn, void *arg, enum pn_log_level level)
{
	logger.fn = fn;
	logger.arg = arg;
	logger.level = level;
}

void pn_log(enum pn_log_level level, const char *fmt, ...)
{
	char text[PN_ERROR_MAX];
	va_list args;

	if (!logger.fn || level > logger.level)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	logger.fn(logger.arg, level, text);
}
