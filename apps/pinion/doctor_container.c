/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is this a container, of whose making, and what of the host does it not show? Decides which mends
 * are named: inside, most things are mended from outside.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "doctor.h"

/* include/linux/proc_ns.h: PROC_USER_INIT_INO and so on. */
static const struct {
	const char *name;
	uint64_t inode;
} initial[] = {
	{"user", 0xEFFFFFFD}, {"pid", 0xEFFFFFFC}, {"cgroup", 0xEFFFFFFB}, {"ipc", 0xEFFFFFFF}};

/* 1: it is another one than that which the machine started with, 0: not, -1: cannot be seen. */
static int is_other_namespace(const struct doctor *d, size_t which)
{
	char path[DOCTOR_PATH], target[64];
	uint64_t inode;
	ssize_t len;

	if (doctor_path(d, path, "/proc/self/ns/%s", initial[which].name))
		return -1;
	len = readlink(path, target, sizeof(target) - 1);
	if (len < 0)
		return -1;
	target[len] = '\0';
	if (sscanf(target, "%*[a-z]:[%" SCNu64 "]", &inode) != 1)
		return -1;
	return inode != initial[which].inode;
}

static bool is_bwrap(const struct doctor *d)
{
	char text[16384], *line, *next;

	if (doctor_read(d, text, sizeof(text), "/proc/1/comm") > 0 && strcmp(text, "bwrap") == 0)
		return true;
	/* Its root is the folder newroot of a tmpfs that has no other name. */
	if (doctor_read(d, text, sizeof(text), "/proc/self/mountinfo") < 0)
		return false;
	for (line = text; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (strstr(line, " /newroot / ") && strstr(line, " - tmpfs "))
			return true;
	}
	return false;
}

static enum doctor_container by_name(const char *name)
{
	if (strcmp(name, "podman") == 0)
		return DOCTOR_IN_PODMAN;
	if (strcmp(name, "docker") == 0)
		return DOCTOR_IN_DOCKER;
	if (strcmp(name, "systemd-nspawn") == 0)
		return DOCTOR_IN_NSPAWN;
	return *name ? DOCTOR_IN_SOME : DOCTOR_NO_CONTAINER;
}

static enum doctor_container recognise(const struct doctor *d, const char **by)
{
	/* A machine whose files were once those of a container has marks, and no such namespace. */
	bool has_marks = d->pid_namespace || d->cgroup_namespace;
	char name[64];

	*by = "KUBERNETES_SERVICE_HOST";
	if (d->machine.kube_env)
		return DOCTOR_IN_KUBE;
	*by = "/var/run/secrets/kubernetes.io";
	if (doctor_exists(d, "%s", *by))
		return DOCTOR_IN_KUBE;
	*by = "/run/.containerenv";
	if (has_marks && doctor_exists(d, "%s", *by))
		return DOCTOR_IN_PODMAN;
	*by = "/.dockerenv";
	if (has_marks && doctor_exists(d, "%s", *by))
		return DOCTOR_IN_DOCKER;
	*by = "process 1 or the root mount";
	if (is_bwrap(d))
		return DOCTOR_IN_BWRAP;
	*by = "/run/systemd/container";
	if (has_marks && doctor_read(d, name, sizeof(name), "/run/systemd/container") > 0)
		return by_name(name);
	*by = "$container";
	return by_name(d->machine.container_env);
}

static const char *runtime_name(enum doctor_container container)
{
	static const char *const names[] = {[DOCTOR_IN_PODMAN] = "podman",
		[DOCTOR_IN_DOCKER] = "docker",
		[DOCTOR_IN_KUBE] = "a Kubernetes pod",
		[DOCTOR_IN_BWRAP] = "bubblewrap",
		[DOCTOR_IN_NSPAWN] = "systemd-nspawn",
		[DOCTOR_IN_SOME] = "a container of unknown making"};

	return names[container];
}

/* Which namespaces are not the machine's first. */
static void check_namespaces(struct doctor *d)
{
	char others[64] = "", unseen[64] = "", *list;
	int other;

	for (size_t i = 0; i < sizeof(initial) / sizeof(initial[0]); i++) {
		other = is_other_namespace(d, i);
		list = other < 0 ? unseen : others;
		if (other)
			snprintf(list + strlen(list), 64 - strlen(list), "%s%s", *list ? ", " : "",
				initial[i].name);
		if (strcmp(initial[i].name, "user") == 0)
			d->user_namespace = other > 0;
		else if (strcmp(initial[i].name, "pid") == 0)
			d->pid_namespace = other > 0;
		else if (strcmp(initial[i].name, "cgroup") == 0)
			d->cgroup_namespace = other > 0;
	}
	if (*unseen)
		doctor_add(d, "container.namespaces", "", DOCTOR_UNSEEN,
			"whether these namespaces are the machine's own: %s (/proc/self/ns)",
			unseen);
	else if (*others)
		doctor_add(d, "container.namespaces", "", DOCTOR_OK,
			"namespaces other than the machine's: %s", others);
	else
		doctor_add(d, "container.namespaces", "", DOCTOR_OK,
			"user, pid, cgroup and ipc namespaces are the machine's own");
}

void doctor_check_container(struct doctor *d)
{
	const char *by;

	check_namespaces(d);
	d->container = recognise(d, &by);
	if (d->container) {
		doctor_add(d, "container.runtime", "", DOCTOR_OK, "%s, recognised by %s",
			runtime_name(d->container), by);
		return;
	}
	if (!d->ask.in_container) {
		doctor_add(d, "container.runtime", "", DOCTOR_OK, "no container is recognised");
		return;
	}
	d->container = DOCTOR_IN_SOME;
	doctor_add(d, "container.runtime", "", DOCTOR_OK,
		"nothing here tells the container's making: what is to be given from outside is "
		"named for each");
}
