/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options with a value that say what is going to run. The commands that plan for it share them.
 */
#ifndef PINION_PLAN_OPTIONS_H
#define PINION_PLAN_OPTIONS_H

#include "pn_plan.h"

enum {
	PLAN_MEM = 512,
	PLAN_PAGE,
	PLAN_DEVICES,
	PLAN_PROCESSES,
	PLAN_NUMA,
	PLAN_PROGRAM,
	PLAN_OTHER_LOCKED,
	PLAN_BACKEND,
	PLAN_HEADROOM,
	PLAN_USER,
};

/* Read the value of PLAN_* into the plan's input, which keeps a pointer to that of PLAN_USER. 0 or
 * a negative errno. */
int plan_set(struct pn_plan_input *input, int code, const char *text);

/* What it takes, for complaints. */
const char *plan_takes(int code);

#endif
