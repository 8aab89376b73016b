/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the control groups leave, at each level that can be seen: hugepages (hugetlb) and memory.
 * Both versions of control groups, where they are mounted.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

/* Of one controller: where its groups are mounted, and which is ours below that. */
struct controller {
	bool v2;
	char mount[200]; /* "/sys/fs/cgroup" */
	char group[300]; /* "/user.slice/x", "" at the top */
};

/* A line of /proc/self/cgroup: "0::/a/b", "4:hugetlb:/a/b". */
static bool find_group(const char *text, const char *name, char *group, size_t size)
{
	char list[200], needle[40], around[220];

	snprintf(needle, sizeof(needle), ",%s,", name);
	for (const char *line = text; line; line = strchr(line, '\n')) {
		const char *first, *second;

		line += *line == '\n';
		first = strchr(line, ':');
		second = first ? strchr(first + 1, ':') : NULL;
		if (!second || second - first > (long)sizeof(list))
			continue;
		snprintf(list, sizeof(list), "%.*s", (int)(second - first - 1), first + 1);
		snprintf(around, sizeof(around), ",%s,", list);
		if (*name ? !strstr(around, needle) : *list != '\0')
			continue;
		snprintf(group, size, "%.*s", (int)strcspn(second + 1, "\n"), second + 1);
		return true;
	}
	return false;
}

/* "36 35 0:31 /root /sys/fs/cgroup rw - cgroup2 none rw": root and mount point, if it is the one.
 */
static bool is_mount_of(const char *line, const char *controller, char root[300], char mount[200])
{
	const char *kind = strstr(line, " - "), *options;

	if (!kind || sscanf(line, "%*s %*s %*s %299s %199s", root, mount) != 2)
		return false;
	kind += 3;
	if (!*controller)
		return strncmp(kind, "cgroup2 ", 8) == 0;
	if (strncmp(kind, "cgroup ", 7) != 0)
		return false;
	options = strrchr(kind, ' ');
	for (const char *at = options; at && (at = strstr(at, controller)); at++) {
		char end = at[strlen(controller)];

		if ((at[-1] == ',' || at[-1] == ' ') && (end == ',' || end == '\n' || !end))
			return true;
	}
	return false;
}

static bool find_mount(struct doctor *d, const char *name, struct controller *found)
{
	char path[DOCTOR_PATH], root[300], *line = NULL;
	bool is_it = false;
	size_t size = 0;
	FILE *file;

	file = doctor_path(d, path, "/proc/self/mountinfo") ? NULL : fopen(path, "re");
	while (file && !is_it && getline(&line, &size, file) > 0)
		is_it = is_mount_of(line, name, root, found->mount);
	free(line);
	if (file)
		fclose(file);
	if (!is_it)
		return false;
	/* A part of the tree that is mounted begins at its root. */
	if (strcmp(root, "/") != 0) {
		size_t len = strlen(root);

		if (strncmp(found->group, root, len) == 0)
			memmove(found->group, found->group + len, strlen(found->group + len) + 1);
		else
			found->group[0] = '\0';
	}
	if (strcmp(found->group, "/") == 0 || strstr(found->group, "/.."))
		found->group[0] = '\0';
	return true;
}

/* Version 1 of a controller if it has it, else version 2. */
static bool find_controller(struct doctor *d, const char *name, struct controller *found)
{
	char text[8192];

	memset(found, 0, sizeof(*found));
	if (doctor_read(d, text, sizeof(text), "/proc/self/cgroup") < 0)
		return false;
	if (find_group(text, name, found->group, sizeof(found->group)) &&
		find_mount(d, name, found))
		return true;
	found->v2 = true;
	if (!find_group(text, "", found->group, sizeof(found->group)))
		return false;
	if (d->machine.as_user &&
		doctor_exists(d, "/sys/fs/cgroup/user.slice/user-%u.slice", d->machine.uid))
		snprintf(found->group, sizeof(found->group), "/user.slice/user-%u.slice",
			d->machine.uid);
	return find_mount(d, "", found);
}

/* One step up; false at the top. */
static bool up(char *group)
{
	char *slash = strrchr(group, '/');

	if (!slash)
		return false;
	*slash = '\0';
	return true;
}

struct files {
	const char *max, *used;
};

/* The least that a level leaves, of all from ours to the top; where: that level's file. */
static uint64_t least_left(struct doctor *d, const struct controller *at,
	uint64_t (*reclaimable)(struct doctor *d, const char *dir), const struct files *files,
	size_t file_count, char where[300])
{
	char group[300], dir[520];
	uint64_t least = UINT64_MAX, max, used, left, extra;

	snprintf(group, sizeof(group), "%s", at->group);
	do {
		snprintf(dir, sizeof(dir), "%s%s", at->mount, group);
		for (size_t i = 0; i < file_count; i++) {
			if (doctor_read_number(d, &max, "%s/%s", dir, files[i].max) ||
				doctor_read_number(d, &used, "%s/%s", dir, files[i].used))
				continue;
			/* Version 1 says "no limit" by a number that no machine reaches. */
			if (max >= UINT64_C(1) << 62)
				continue;
			extra = reclaimable ? reclaimable(d, dir) : 0;
			used -= extra < used ? extra : used;
			left = max > used ? max - used : 0;
			if (left >= least)
				continue;
			least = left;
			snprintf(where, 300, "%.240s/%s", dir, files[i].max);
		}
	} while (up(group));
	return least;
}

uint64_t doctor_cgroup_hugetlb_left(struct doctor *d, uint64_t page_size, char where[300])
{
	struct controller at;
	char names[4][48], size[16];
	struct files files[2];

	where[0] = '\0';
	if (!find_controller(d, "hugetlb", &at))
		return UINT64_MAX;
	if (page_size >= PN_PAGE_1G)
		snprintf(size, sizeof(size), "%uGB", (unsigned int)(page_size >> 30) & 0xfff);
	else
		snprintf(size, sizeof(size), "%uMB", (unsigned int)(page_size >> 20) & 0xfff);
	snprintf(names[0], 48, "hugetlb.%s.%s", size, at.v2 ? "max" : "limit_in_bytes");
	snprintf(names[1], 48, "hugetlb.%s.%s", size, at.v2 ? "current" : "usage_in_bytes");
	snprintf(names[2], 48, "hugetlb.%s.rsvd.%s", size, at.v2 ? "max" : "limit_in_bytes");
	snprintf(names[3], 48, "hugetlb.%s.rsvd.%s", size, at.v2 ? "current" : "usage_in_bytes");
	files[0] = (struct files){names[0], names[1]};
	files[1] = (struct files){names[2], names[3]};
	return least_left(d, &at, NULL, files, 2, where);
}

/* The page cache goes before anything is refused. */
static uint64_t page_cache(struct doctor *d, const char *dir)
{
	uint64_t active = 0, inactive = 0;
	char text[8192];

	if (doctor_read(d, text, sizeof(text), "%s/memory.stat", dir) <= 0)
		return 0;
	doctor_field(text, "active_file ", 10, &active);
	doctor_field(text, "inactive_file ", 10, &inactive);
	return active + inactive;
}

uint64_t doctor_cgroup_memory_left(struct doctor *d, char where[300])
{
	static const struct files v1 = {"memory.limit_in_bytes", "memory.usage_in_bytes"};
	static const struct files v2 = {"memory.max", "memory.current"};
	struct controller at;

	where[0] = '\0';
	if (!find_controller(d, "memory", &at))
		return UINT64_MAX;
	return least_left(d, &at, page_cache, at.v2 ? &v2 : &v1, 1, where);
}

static void mend_group(struct doctor *d, struct doctor_finding *finding, const char *file,
	uint64_t bytes, bool hugetlb)
{
	/* The next level up may have a limit too; the next look says so. */
	doctor_mend_root(d, finding, "echo %" PRIu64 " > %s", bytes, file);
	if (d->container == DOCTOR_NO_CONTAINER)
		return;
	if (!hugetlb && (d->container == DOCTOR_IN_PODMAN || d->container == DOCTOR_IN_SOME))
		doctor_mend(d, finding, DOCTOR_PODMAN, "--memory %" PRIu64, bytes);
	if (!hugetlb && (d->container == DOCTOR_IN_DOCKER || d->container == DOCTOR_IN_SOME))
		doctor_mend(d, finding, DOCTOR_DOCKER, "--memory %" PRIu64, bytes);
	if (d->container == DOCTOR_IN_KUBE || d->container == DOCTOR_IN_SOME)
		doctor_mend(d, finding, DOCTOR_KUBE, "resources.limits: %s: \"%" PRIu64 "\"",
			!hugetlb                     ? "memory"
			: d->page_size >= PN_PAGE_1G ? "hugepages-1Gi"
						     : "hugepages-2Mi",
			bytes);
	if (hugetlb)
		doctor_mend(d, finding, DOCTOR_OCI,
			"linux.resources.hugepageLimits: {\"pageSize\": \"%s\", \"limit\": %" PRIu64
			"}",
			d->page_size >= PN_PAGE_1G ? "1GB" : "2MB", bytes);
}

static void check_hugetlb(struct doctor *d, uint64_t need)
{
	uint64_t page = d->page_size, left, limit = 0;
	struct doctor_finding *finding;
	char where[300], text[32], need_text[32];
	enum doctor_state state;

	left = doctor_cgroup_hugetlb_left(d, page, where);
	if (left == UINT64_MAX) {
		doctor_add(d, "memory.cgroup_hugetlb", "", DOCTOR_OK,
			"no control group that can be seen limits hugepages");
		return;
	}
	need = (need + page - 1) / page * page;
	state = left >= need ? DOCTOR_OK : d->ask.page_size ? DOCTOR_BLOCKS : DOCTOR_HURTS;
	finding = doctor_add(d, "memory.cgroup_hugetlb", "", state, "%s leaves %s%s%s%s%s", where,
		doctor_size(text, left), state == DOCTOR_OK ? "" : "; ",
		state == DOCTOR_OK ? "" : doctor_size(need_text, need),
		state == DOCTOR_OK ? "" : " is needed",
		state == DOCTOR_HURTS ? ": memory is mapped in pages of 4 KiB" : "");
	doctor_number(finding, "left_bytes", left);
	doctor_number(finding, "needed_bytes", need);
	if (state == DOCTOR_OK || doctor_read_number(d, &limit, "%s", where))
		return;
	mend_group(d, finding, where, limit + (need - left), true);
}

static void check_memory(struct doctor *d)
{
	char where[300], text[32], need_text[32];
	struct doctor_finding *finding;
	uint64_t left, limit = 0;
	bool small;

	left = doctor_cgroup_memory_left(d, where);
	if (left == UINT64_MAX) {
		doctor_add(d, "memory.cgroup_memory", "", DOCTOR_OK,
			"no control group that can be seen limits memory");
		return;
	}
	/* Hugepages do not count there, unless the host says so (memory_hugetlb_accounting). */
	small = d->page_size == PN_PAGE_4K && left < d->ask.mem;
	finding = doctor_add(d, "memory.cgroup_memory", "", small ? DOCTOR_BLOCKS : DOCTOR_OK,
		"%s leaves %s%s%s%s", where, doctor_size(text, left), small ? "; " : "",
		small ? doctor_size(need_text, d->ask.mem) : "",
		small ? " is needed, on pages of 4 KiB" : "");
	doctor_number(finding, "left_bytes", left);
	doctor_number(finding, "needed_bytes", d->ask.mem);
	if (small && !doctor_read_number(d, &limit, "%s", where))
		mend_group(d, finding, where, limit + (d->ask.mem - left), false);
}

void doctor_check_cgroups(struct doctor *d)
{
	char text[64];

	if (doctor_read(d, text, sizeof(text), "/proc/self/cgroup") < 0) {
		doctor_add(d, "memory.cgroup_memory", "", DOCTOR_UNSEEN,
			"the control group (/proc/self/cgroup)");
		return;
	}
	if (d->page_size > PN_PAGE_4K)
		check_hugetlb(d, d->ask.mem ? d->ask.mem : d->page_size);
	check_memory(d);
	if (d->container && !doctor_exists(d, "/sys/fs/cgroup/cgroup.procs") &&
		!doctor_exists(d, "/sys/fs/cgroup/memory"))
		doctor_add(d, "memory.cgroup_levels", "", DOCTOR_UNSEEN,
			"limits of control groups: none is mounted here");
	else if (d->cgroup_namespace)
		doctor_add(d, "memory.cgroup_levels", "", DOCTOR_UNSEEN,
			"limits of the control groups above: they are outside of this namespace");
}
