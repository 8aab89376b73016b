/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What makes reports better but is not needed: the companion module, and a directory that ledgers
 * can be put into.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor.h"

static void check_module(struct doctor *d)
{
	struct doctor_finding *finding;

	if (!d->machine.module_err) {
		finding = doctor_add(d, "reports.module", "", DOCTOR_OK,
			"the companion module answers, version %u of its interface",
			d->machine.module_version);
		doctor_number(finding, "version", d->machine.module_version);
		return;
	}
	if (d->machine.module_err != -EACCES) {
		doctor_add(d, "reports.module", "", DOCTOR_OK,
			doctor_exists(d, "/sys/module/pinion") && d->container
				? "the companion module is loaded, its node is not in this "
				  "container; it is optional"
				: "the companion module is not loaded; it is optional");
		return;
	}
	finding = doctor_add(d, "reports.module", "", DOCTOR_HURTS,
		"the companion module is loaded, but /dev/pinion may not be opened: counters are "
		"measured instead");
	if (d->container)
		doctor_mend_node(d, finding, "/dev/pinion");
	else
		doctor_mend(d, finding, DOCTOR_AS_ROOT,
			"usermod -aG pinion %s # from the next login on; kmod/60-pinion.rules "
			"gives the node to that group",
			d->machine.user);
}

/* Could a ledger be put there? As the library looks (lib/pins/ledger_dirs.c), but nothing is made.
 */
static bool usable(const struct doctor *d, const char *dir)
{
	char path[DOCTOR_PATH], *slash;
	struct stat st;

	if (!*dir || doctor_path(d, path, "%s", dir))
		return false;
	if (lstat(path, &st) == 0)
		return S_ISDIR(st.st_mode) && (st.st_uid == d->machine.uid || st.st_uid == 0) &&
		       (!(st.st_mode & (S_IWGRP | S_IWOTH)) || st.st_mode & S_ISVTX) &&
		       access(path, W_OK | X_OK) == 0;
	slash = strrchr(path, '/');
	if (!slash || slash == path)
		return false;
	*slash = '\0';
	return access(path, W_OK | X_OK) == 0;
}

static void check_runtime_dir(struct doctor *d)
{
	char dirs[3][DOCTOR_PATH] = {"/run/pinion"};
	struct doctor_finding *finding;

	if (*d->machine.run_dir) {
		snprintf(dirs[0], DOCTOR_PATH, "%s", d->machine.run_dir);
	} else {
		if (*d->machine.xdg_dir)
			snprintf(dirs[1], DOCTOR_PATH, "%s/pinion", d->machine.xdg_dir);
		snprintf(dirs[2], DOCTOR_PATH, "/tmp/pinion-%u", d->machine.uid);
	}
	for (size_t i = 0; i < 3; i++) {
		if (!usable(d, dirs[i]))
			continue;
		doctor_add(d, "reports.directory", "", DOCTOR_OK, "ledgers go to %s", dirs[i]);
		return;
	}
	finding = doctor_add(d, "reports.directory", "", DOCTOR_HURTS,
		"no directory for ledgers can be written to (%s%s%s): 'pinion pins' in another "
		"process will not see this program",
		dirs[0], *dirs[2] ? ", " : "", dirs[2]);
	if (!*d->machine.run_dir)
		doctor_mend(d, finding, DOCTOR_AS_ROOT, "install -d -m 1777 /run/pinion");
	else
		doctor_mend(d, finding, DOCTOR_AS_ROOT, "install -d -o %u -m 0700 %s",
			d->machine.uid, d->machine.run_dir);
}

void doctor_check_companion(struct doctor *d)
{
	check_module(d);
	check_runtime_dir(d);
}
