/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the program may do by what it is: capabilities that count, user namespaces, seccomp,
 * AppArmor and SELinux.
 */
#include <inttypes.h>
#include <string.h>

#include <linux/capability.h>

#include "doctor.h"

static bool has(uint64_t caps, unsigned int cap)
{
	return caps >> cap & 1;
}

static void check_ipc_lock(struct doctor *d, uint64_t bounding)
{
	bool effective = has(d->caps, CAP_IPC_LOCK);
	struct doctor_finding *finding;

	d->exempt = effective && !d->user_namespace;
	if (d->exempt)
		finding = doctor_add(d, "privileges.ipc_lock", "", DOCTOR_OK,
			"CAP_IPC_LOCK is effective: no limit applies to what is pinned");
	else if (effective)
		finding = doctor_add(d, "privileges.ipc_lock", "", DOCTOR_OK,
			"CAP_IPC_LOCK is effective, but in a user namespace: it does not count "
			"for pins, RLIMIT_MEMLOCK applies");
	else if (has(bounding, CAP_IPC_LOCK))
		finding = doctor_add(d, "privileges.ipc_lock", "", DOCTOR_OK,
			"CAP_IPC_LOCK is not effective (it is in the bounding set, which gives "
			"nothing): RLIMIT_MEMLOCK applies");
	else
		finding = doctor_add(d, "privileges.ipc_lock", "", DOCTOR_OK,
			"CAP_IPC_LOCK is not effective: RLIMIT_MEMLOCK applies");
	doctor_number(finding, "cap_eff", d->caps);
	doctor_number(finding, "cap_bnd", bounding);
}

static void check_user_namespace(struct doctor *d)
{
	struct doctor_finding *finding;
	unsigned int inside, outside, count;
	char text[256];

	if (!d->user_namespace)
		return;
	if (doctor_read(d, text, sizeof(text), "/proc/self/uid_map") < 0 ||
		sscanf(text, "%u %u %u", &inside, &outside, &count) != 3) {
		doctor_add(d, "privileges.user_namespace", "", DOCTOR_UNSEEN,
			"which users the user namespace maps (/proc/self/uid_map)");
		return;
	}
	finding = doctor_add(d, "privileges.user_namespace", "", DOCTOR_OK,
		"in a user namespace: uid %u here is uid %u outside (%u mapped); nodes must belong "
		"to that one, and no capability counts for pins",
		inside, outside, count);
	doctor_number(finding, "uid_inside", inside);
	doctor_number(finding, "uid_outside", outside);
}

/* The program needs none; a rootless container is made of one. */
static void check_making_namespaces(struct doctor *d)
{
	uint64_t most, allowed = 1;
	struct doctor_finding *finding;

	if (doctor_read_number(d, &most, "/proc/sys/user/max_user_namespaces")) {
		doctor_add(d, "privileges.namespaces", "", DOCTOR_UNSEEN,
			"whether users may make user namespaces, as a rootless container does "
			"(/proc/sys/user/max_user_namespaces)");
		return;
	}
	(void)doctor_read_number(d, &allowed, "/proc/sys/kernel/unprivileged_userns_clone");
	if (most && allowed)
		finding = doctor_add(d, "privileges.namespaces", "", DOCTOR_OK,
			"no sysctl keeps users from making user namespaces, as a rootless "
			"container does");
	else
		finding = doctor_add(d, "privileges.namespaces", "", DOCTOR_OK,
			"users may make no user namespaces: no rootless container starts (%s)",
			most ? "kernel.unprivileged_userns_clone" : "user.max_user_namespaces");
	doctor_number(finding, "max_user_namespaces", most);
}

static void check_seccomp(struct doctor *d, const char *status)
{
	struct doctor_finding *finding;
	uint64_t mode, filters = 0, no_new_privs = 0;

	if (!doctor_field(status, "Seccomp:", 10, &mode)) {
		doctor_add(d, "privileges.seccomp", "", DOCTOR_OK,
			"the kernel has no seccomp (no Seccomp in /proc/self/status)");
		return;
	}
	doctor_field(status, "Seccomp_filters:", 10, &filters);
	doctor_field(status, "NoNewPrivs:", 10, &no_new_privs);
	if (mode)
		finding = doctor_add(d, "privileges.seccomp", "", DOCTOR_OK,
			"a seccomp filter is in force (mode %" PRIu64 ", %" PRIu64
			" of them): what it lets through was tried, see system calls",
			mode, filters);
	else
		finding = doctor_add(
			d, "privileges.seccomp", "", DOCTOR_OK, "no seccomp filter is in force");
	doctor_number(finding, "mode", mode);
	doctor_number(finding, "filters", filters);
	doctor_number(finding, "no_new_privs", no_new_privs);
}

static void check_apparmor(struct doctor *d)
{
	char text[256];

	if (doctor_read(d, text, sizeof(text), "/sys/module/apparmor/parameters/enabled") <= 0 ||
		*text != 'Y') {
		doctor_add(d, "privileges.apparmor", "", DOCTOR_OK, "AppArmor is not on");
		return;
	}
	if (doctor_read(d, text, sizeof(text), "/proc/self/attr/apparmor/current") <= 0 &&
		doctor_read(d, text, sizeof(text), "/proc/self/attr/current") <= 0)
		doctor_add(d, "privileges.apparmor", "", DOCTOR_UNSEEN,
			"AppArmor is on; which profile confines us (/proc/self/attr)");
	else if (strcmp(text, "unconfined") == 0)
		doctor_add(d, "privileges.apparmor", "", DOCTOR_OK, "AppArmor: unconfined");
	else
		doctor_add(d, "privileges.apparmor", "", DOCTOR_OK,
			"AppArmor: profile %s; whether it lets nodes be opened was tried", text);
}

static void check_selinux(struct doctor *d)
{
	uint64_t enforce;
	char text[256];

	if (doctor_read_number(d, &enforce, "/sys/fs/selinux/enforce")) {
		if (doctor_read(d, text, sizeof(text), "/sys/kernel/security/lsm") > 0 &&
			strstr(text, "selinux"))
			doctor_add(d, "privileges.selinux", "", DOCTOR_UNSEEN,
				"SELinux is in the kernel; whether it enforces "
				"(/sys/fs/selinux/enforce)");
		else
			doctor_add(d, "privileges.selinux", "", DOCTOR_OK, "SELinux is not on");
		return;
	}
	if (doctor_read(d, text, sizeof(text), "/proc/self/attr/current") <= 0)
		strcpy(text, "an unknown context");
	doctor_add(d, "privileges.selinux", "", DOCTOR_OK,
		"SELinux: %s, as %s; whether it lets nodes be opened was tried",
		enforce ? "enforcing" : "permissive", text);
}

void doctor_check_privileges(struct doctor *d)
{
	char status[16384];
	uint64_t bounding = 0;

	if (doctor_read(d, status, sizeof(status), "/proc/self/status") <= 0 ||
		!doctor_field(status, "CapEff:", 16, &d->caps)) {
		doctor_add(d, "privileges.ipc_lock", "", DOCTOR_UNSEEN,
			"capabilities and seccomp: /proc/self/status cannot be read");
	} else {
		doctor_field(status, "CapBnd:", 16, &bounding);
		check_ipc_lock(d, bounding);
		check_seccomp(d, status);
	}
	check_user_namespace(d);
	check_making_namespaces(d);
	check_apparmor(d);
	check_selinux(d);
}
