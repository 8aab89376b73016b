/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * --as-user: become that user, with the groups and limits of a session of theirs and no capability,
 * so that all that follows is seen by them, and not computed from mode bits.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "doctor.h"
#include "output.h"
#include "parse.h"

#define GROUPS_MAX 512

struct identity {
	char name[64];
	uid_t uid;
	gid_t gid;
	gid_t groups[GROUPS_MAX];
	char *group_names[GROUPS_MAX]; /* NULL: it has none */
	int group_count;
};

static int find_user(const char *text, struct identity *who)
{
	struct passwd *entry = getpwnam(text);
	uint64_t uid;

	if (!entry) {
		if (parse_number(text, 0, UINT32_MAX - 1, &uid))
			return -ENOENT;
		entry = getpwuid((uid_t)uid);
		who->uid = who->gid = (uid_t)uid;
		snprintf(who->name, sizeof(who->name), "%.63s", text);
	}
	if (!entry) {
		who->groups[0] = who->gid;
		who->group_count = 1;
		return 0;
	}
	who->uid = entry->pw_uid;
	who->gid = entry->pw_gid;
	snprintf(who->name, sizeof(who->name), "%.63s", entry->pw_name);
	who->group_count = GROUPS_MAX;
	return getgrouplist(entry->pw_name, entry->pw_gid, who->groups, &who->group_count) < 0
		       ? -E2BIG
		       : 0;
}

static void name_groups(struct identity *who)
{
	for (int i = 0; i < who->group_count; i++) {
		const struct group *entry = getgrgid(who->groups[i]);

		who->group_names[i] = entry ? strdup(entry->gr_name) : NULL;
	}
}

static void take_limits(struct doctor *d, const struct identity *who)
{
	struct doctor_machine *machine = &d->machine;

	getrlimit(RLIMIT_MEMLOCK, &machine->memlock);
	if (doctor_pam_memlock(d, who->name, who->uid, who->groups,
		    (const char *const *)who->group_names, (unsigned int)who->group_count,
		    &machine->memlock, machine->limits_from))
		/* To raise it takes CAP_SYS_RESOURCE; what is compared is the figure. */
		(void)setrlimit(RLIMIT_MEMLOCK, &machine->memlock);
	else
		snprintf(machine->limits_from, sizeof(machine->limits_from),
			"of this process: nothing in /etc/security/limits.d is for %s", who->name);
}

static int drop(const struct identity *who)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {0};

	if (setgroups((size_t)who->group_count, who->groups) ||
		setresgid(who->gid, who->gid, who->gid) ||
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) ||
		setresuid(who->uid, who->uid, who->uid))
		return -errno;
	/* Root keeps what root has. */
	if (who->uid && syscall(SYS_capset, &header, none))
		return -errno;
	/* Else /proc/self belongs to root. */
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) ? -errno : 0;
}

int doctor_become(struct doctor *d, const char *user)
{
	struct identity *who = calloc(1, sizeof(*who));
	int ret;

	if (!who) {
		complain("out of memory");
		return -ENOMEM;
	}
	ret = find_user(user, who);
	if (ret) {
		complain(ret == -ENOENT ? "doctor: there is no user '%s'"
					: "doctor: user '%s' is in too many groups",
			user);
		goto out;
	}
	name_groups(who);
	d->machine.as_user = true;
	take_limits(d, who);
	ret = drop(who);
	if (ret)
		complain(
			"doctor: becoming user %s: %s; --as-user takes root", user, strerror(-ret));
	for (int i = 0; i < who->group_count; i++)
		free(who->group_names[i]);
out:
	free(who);
	return ret;
}
