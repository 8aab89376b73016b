/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where ledgers are: the directories a process may write its own to, and those a report looks into.
 */
#ifndef PN_LEDGER_DIRS_H
#define PN_LEDGER_DIRS_H

#include <stddef.h>

#define PN_LEDGER_DIR_MAX 200u

/*
 * The directory tried as number index for the caller's own ledgers: $PINION_RUNTIME_DIR alone if it
 * is set; otherwise /run/pinion, $XDG_RUNTIME_DIR/pinion, /tmp/pinion-UID. 0, or -ENOENT past the
 * last.
 */
int pn_ledger_dir_get(unsigned int index, char dir[PN_LEDGER_DIR_MAX]);

/*
 * Make it if it is not there (mode 0700) and see whether ledgers may be put into it: a directory,
 * not a link, owned by the caller or by root, and not open to writing by others unless it is
 * sticky. 0 or a negative errno.
 */
int pn_ledger_dir_prepare(const char *dir);

/*
 * Call fn for each directory that may hold ledgers of any user. Those that are not there are passed
 * over. Ends with the first call that does not return 0 and returns what it returned.
 */
int pn_ledger_dir_each(int (*fn)(void *arg, const char *dir), void *arg);

#endif
