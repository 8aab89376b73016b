/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What only looks: counters of a process, pages of a range, waiting until they have no pins.
 */
#ifndef PINION_LOOK_H
#define PINION_LOOK_H

#include <linux/fs.h>

#include "pinion_uapi.h"

int pinion_counters(struct pinion_counters *arg);
int pinion_inspect(struct file *node, const struct pinion_inspect *arg);
/* arg->left is set with 0, ETIMEDOUT and EINTR. */
int pinion_drain(struct pinion_drain *arg);

void pinion_table_start(void);
void pinion_table_stop(void);

#endif
