/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gnuplot script of a recorded database.
 */
#ifndef PINION_PLOT_SCRIPT_H
#define PINION_PLOT_SCRIPT_H

#include <stdio.h>
#include <sys/types.h>

#include <sqlite3.h>

#define PLOT_NOTHING 1

/* pid: of one process, or 0. 0; PLOT_NOTHING if there is nothing to draw; -1: SQLite says why. */
int plot_script(FILE *out, sqlite3 *db, pid_t pid);

#endif
