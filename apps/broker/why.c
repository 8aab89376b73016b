/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Putting a refusal into words.
 */
#include <stdarg.h>
#include <stdio.h>

#include "text.h"
#include "why.h"

int because(struct why *why, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, args);
	va_end(args);
	/* The name of a control group is its user's choice, and the text goes to the log. */
	clean_text(why->text);
	return -err;
}
