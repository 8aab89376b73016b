/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The directories of ledgers.
 */
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base_priv.h"
#include "ledger_dirs.h"

int pn_ledger_dir_get(unsigned int index, char dir[PN_LEDGER_DIR_MAX])
{
	const char *own = secure_getenv("PINION_RUNTIME_DIR");
	const char *xdg = secure_getenv("XDG_RUNTIME_DIR");
	int len = -1;

	if (own && *own) {
		if (index)
			return -ENOENT;
		len = snprintf(dir, PN_LEDGER_DIR_MAX, "%s", own);
	} else if (index == 0) {
		len = snprintf(dir, PN_LEDGER_DIR_MAX, "/run/pinion");
	} else if (index == 1) {
		/* Without it the last one twice: harmless, and the numbers stay the same. */
		if (xdg && *xdg)
			len = snprintf(dir, PN_LEDGER_DIR_MAX, "%s/pinion", xdg);
		else
			len = snprintf(dir, PN_LEDGER_DIR_MAX, "/tmp/pinion-%u", getuid());
	} else if (index == 2) {
		len = snprintf(dir, PN_LEDGER_DIR_MAX, "/tmp/pinion-%u", getuid());
	}
	return len < 0 || (size_t)len >= PN_LEDGER_DIR_MAX ? -ENOENT : 0;
}

int pn_ledger_dir_prepare(const char *dir)
{
	struct stat st;

	if (mkdir(dir, 0700) && errno != EEXIST)
		return -errno;
	if (lstat(dir, &st))
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return -EPERM;
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) && !(st.st_mode & S_ISVTX))
		return -EPERM;
	return 0;
}

int pn_ledger_dir_each(int (*fn)(void *arg, const char *dir), void *arg)
{
	static const char *const patterns[] = {
		"/run/pinion", "/run/user/*/pinion", "/tmp/pinion-*"};
	const char *own = secure_getenv("PINION_RUNTIME_DIR");
	char mine[PN_LEDGER_DIR_MAX];
	glob_t found = {0};
	int ret = 0;
	size_t i;

	for (i = 0; i < PN_ARRAY_SIZE(patterns); i++)
		glob(patterns[i], i ? GLOB_APPEND : 0, NULL, &found);
	for (i = 0; i < found.gl_pathc && !ret; i++)
		ret = fn(arg, found.gl_pathv[i]);
	/* The caller's own, where the patterns do not find it. */
	for (i = 0; !ret && !pn_ledger_dir_get((unsigned int)i, mine); i++) {
		size_t seen;

		for (seen = 0; seen < found.gl_pathc && strcmp(found.gl_pathv[seen], mine); seen++)
			;
		if (seen < found.gl_pathc || (!(own && *own) && i != 1))
			continue;
		if (!access(mine, F_OK))
			ret = fn(arg, mine);
	}
	globfree(&found);
	return ret;
}
