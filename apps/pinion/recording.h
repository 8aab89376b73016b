/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A SQLite database of reports over time, as pinion pins --record writes it. doc/pins.md has the
 * tables.
 */
#ifndef PINION_RECORDING_H
#define PINION_RECORDING_H

#include <stdbool.h>

#include <sqlite3.h>

/*
 * Open one; for writing it is made if it is not there. What is no recording, or of another version,
 * is refused untouched. NULL after a complaint.
 */
sqlite3 *recording_open(const char *path, bool writing);

/* "path: text: what SQLite says". */
void recording_complain(sqlite3 *db, const char *path, const char *text);

#endif
