/* SPDX-License-Identifier: BSD-3-Clause */
/* For programs that check many things and go on: CHECK says what is wrong and counts it. */
#ifndef PROGRAMS_CHECK_H
#define PROGRAMS_CHECK_H

#include <stdio.h>

#include "pn_base.h"

static int failures;

#define CHECK(condition)                                                                        \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			printf("line %d: %s is false; %s\n", __LINE__, #condition, pn_error()); \
			failures++;                                                             \
		}                                                                               \
	} while (0)

/* The same for what the rest stands on. */
#define NEED(condition)           \
	do {                      \
		CHECK(condition); \
		if (failures)     \
			return 1; \
	} while (0)

#endif
