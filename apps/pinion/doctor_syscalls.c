/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which of the system calls that the library makes are refused here, by a seccomp filter, a sysctl
 * or the kernel, and what is lost by it. Each has been tried in a child (doctor_try.c).
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "doctor.h"

struct call {
	enum doctor_trial_id id;
	const char *name; /* of the system call, as a filter names it */
	const char *object;
	enum doctor_state state, unknown; /* refused; not known to the kernel (EINVAL, ENOSYS) */
	const char *loss;
};

static const struct call calls[] = {
	{DOCTOR_TRY_POPULATE, "madvise", "MADV_POPULATE_WRITE", DOCTOR_BLOCKS, DOCTOR_HURTS,
		"pages are brought in by it; where the kernel has none, memory of the program's "
		"own cannot be handed in"},
	{DOCTOR_TRY_DONTFORK, "madvise", "MADV_DONTFORK", DOCTOR_BLOCKS, DOCTOR_BLOCKS,
		"no region can be made"},
	{DOCTOR_TRY_EVENTFD, "eventfd2", "eventfd2", DOCTOR_HURTS, DOCTOR_HURTS,
		"no interrupts, and no word when the host wants a device back"},
};

static const char *how(const struct doctor_trial *trial, char text[64])
{
	if (trial->signal)
		snprintf(text, 64, "ends the process with SIG%s", sigabbrev_np(trial->signal));
	else
		snprintf(text, 64, "%s (%s)", strerrorname_np(trial->err), strerror(trial->err));
	return text;
}

static void mend_filter(struct doctor *d, struct doctor_finding *finding, const char *name)
{
	enum doctor_container where = d->container;

	if (where == DOCTOR_IN_PODMAN || where == DOCTOR_IN_SOME)
		doctor_mend(d, finding, DOCTOR_PODMAN,
			"--security-opt seccomp=PROFILE, one that allows %s", name);
	if (where == DOCTOR_IN_DOCKER || where == DOCTOR_IN_SOME)
		doctor_mend(d, finding, DOCTOR_DOCKER,
			"--security-opt seccomp=PROFILE, one that allows %s", name);
	if (where == DOCTOR_IN_KUBE)
		doctor_mend(d, finding, DOCTOR_KUBE,
			"securityContext.seccompProfile of type Localhost: a profile that allows "
			"%s",
			name);
	if (where == DOCTOR_IN_NSPAWN)
		doctor_mend(d, finding, DOCTOR_NSPAWN, "--system-call-filter=%s", name);
	if (where == DOCTOR_IN_BWRAP)
		doctor_mend(
			d, finding, DOCTOR_BWRAP, "--seccomp FD, a filter that allows %s", name);
	if (where == DOCTOR_IN_SOME)
		doctor_mend(d, finding, DOCTOR_OCI,
			"linux.seccomp.syscalls: {\"names\": [\"%s\"], \"action\": "
			"\"SCMP_ACT_ALLOW\"}",
			name);
	if (where == DOCTOR_NO_CONTAINER)
		doctor_mend(d, finding, DOCTOR_SETTING,
			"of a systemd service: SystemCallFilter=%s beside what it has", name);
}

static bool works(const struct doctor *d, enum doctor_trial_id id)
{
	const struct doctor_trial *trial = &d->machine.trials[id];

	return !trial->tried || (!trial->err && !trial->signal);
}

static struct doctor_finding *refused(struct doctor *d, enum doctor_trial_id id, const char *name,
	enum doctor_state state, const char *loss)
{
	const struct doctor_trial *trial = &d->machine.trials[id];
	struct doctor_finding *finding;
	char text[64];

	/* What kills the doctor's child kills the program. */
	finding = doctor_add(d, "syscalls.refused", name,
		trial->signal && state == DOCTOR_OK ? DOCTOR_HURTS : state, "%s: %s",
		how(trial, text), loss);
	doctor_number(finding, "errno", (uint64_t)trial->err);
	doctor_number(finding, "signal", (uint64_t)trial->signal);
	return finding;
}

/* New regions are files of memory; a hugetlbfs that is mounted serves as well. */
static void check_memfd(struct doctor *d, unsigned int *bad)
{
	const struct doctor_trial *huge = &d->machine.trials[DOCTOR_TRY_MEMFD_HUGETLB];
	bool mounted = doctor_hugetlbfs(d, PN_PAGE_2M) && d->ask.page_size != PN_PAGE_4K;
	struct doctor_finding *finding;

	if (!works(d, DOCTOR_TRY_MEMFD)) {
		/* Before the library goes on to a mount it makes the call. */
		bool fatal = !mounted || d->machine.trials[DOCTOR_TRY_MEMFD].signal;

		finding = refused(d, DOCTOR_TRY_MEMFD, "memfd_create",
			fatal ? DOCTOR_BLOCKS : DOCTOR_HURTS,
			mounted ? "memory can come from the hugetlbfs that is mounted only"
				: "no memory can be made, as no hugetlbfs is mounted either");
		mend_filter(d, finding, "memfd_create");
		(*bad)++;
	} else if (huge->signal || huge->err == EPERM || huge->err == EACCES) {
		finding = refused(d, DOCTOR_TRY_MEMFD_HUGETLB, "memfd_create(MFD_HUGETLB)",
			huge->signal ? DOCTOR_BLOCKS : DOCTOR_HURTS,
			mounted ? "hugepages come from the hugetlbfs that is mounted"
				: "no hugepages, as no hugetlbfs is mounted either");
		mend_filter(d, finding, "memfd_create");
		(*bad)++;
	}
}

/* Pages are put on the device's node. Without NUMA in libnuma's eyes node 0 needs no call. */
static void check_mbind(struct doctor *d, unsigned int *bad)
{
	struct doctor_finding *finding;

	if (d->node == PN_NODE_ANY)
		return;
	if (!works(d, DOCTOR_TRY_NUMA)) {
		if (d->node == 0)
			return;
		finding = refused(d, DOCTOR_TRY_NUMA, "get_mempolicy", DOCTOR_BLOCKS,
			"memory cannot be placed on the device's node");
		mend_filter(d, finding, "get_mempolicy");
	} else if (!works(d, DOCTOR_TRY_MBIND)) {
		finding = refused(d, DOCTOR_TRY_MBIND, "mbind", DOCTOR_BLOCKS,
			"memory cannot be placed on the device's node");
		mend_filter(d, finding, "mbind");
	} else {
		return;
	}
	(*bad)++;
}

static void mend_io_uring(struct doctor *d, struct doctor_finding *finding)
{
	uint64_t disabled = 0;

	if (doctor_read_number(d, &disabled, "/proc/sys/kernel/io_uring_disabled") || !disabled) {
		if (d->machine.trials[DOCTOR_TRY_IO_URING].err != ENOSYS)
			mend_filter(d, finding, "io_uring_setup");
		return;
	}
	doctor_number(finding, "io_uring_disabled", disabled);
	doctor_mend_root(d, finding, "sysctl -w kernel.io_uring_disabled=0");
}

/* Both are for the meter of user->locked_vm only. */
static void check_meters(struct doctor *d, unsigned int *bad)
{
	struct doctor_finding *finding;

	if (!works(d, DOCTOR_TRY_CLONE_FILES)) {
		finding = refused(d, DOCTOR_TRY_CLONE_FILES, "clone", DOCTOR_HURTS,
			"no child can be made that measures user->locked_vm: reports show a model");
		mend_filter(d, finding, "clone");
		(*bad)++;
		return;
	}
	if (works(d, DOCTOR_TRY_IO_URING)) {
		doctor_add(d, "syscalls.io_uring", "", DOCTOR_OK,
			"io_uring is allowed: user->locked_vm can be measured");
		return;
	}
	if (works(d, DOCTOR_TRY_ZEROCOPY)) {
		finding = doctor_add(d, "syscalls.io_uring", "", DOCTOR_OK,
			"io_uring is not allowed (%s): user->locked_vm is measured by the second "
			"meter, MSG_ZEROCOPY",
			d->machine.trials[DOCTOR_TRY_IO_URING].signal
				? "ends the process"
				: strerrorname_np(d->machine.trials[DOCTOR_TRY_IO_URING].err));
	} else {
		finding = doctor_add(d, "syscalls.io_uring", "", DOCTOR_HURTS,
			"neither io_uring nor MSG_ZEROCOPY is allowed: user->locked_vm cannot be "
			"measured, reports show a model");
		(*bad)++;
	}
	mend_io_uring(d, finding);
}

static enum doctor_state state_of(const struct doctor *d, const struct call *call)
{
	const struct doctor_trial *trial = &d->machine.trials[call->id];

	if (trial->signal)
		return DOCTOR_BLOCKS;
	return trial->err == EINVAL || trial->err == ENOSYS ? call->unknown : call->state;
}

static void check_region(struct doctor *d, unsigned int *bad)
{
	const struct doctor_machine *machine = &d->machine;

	if (machine->region_signal)
		doctor_add(d, "syscalls.refused", "region", DOCTOR_BLOCKS,
			"making a region of one page ends the process with SIG%s",
			sigabbrev_np(machine->region_signal));
	else if (*machine->region_error)
		doctor_add(d, "syscalls.refused", "region", DOCTOR_BLOCKS,
			"a region of one page cannot be made and mapped: %s",
			machine->region_error);
	else
		return;
	(*bad)++;
}

void doctor_check_syscalls(struct doctor *d)
{
	struct doctor_finding *finding;
	unsigned int bad = 0, tried = 0;

	for (size_t i = 0; i < DOCTOR_TRIALS; i++)
		tried += d->machine.trials[i].tried;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (works(d, calls[i].id))
			continue;
		finding = refused(
			d, calls[i].id, calls[i].object, state_of(d, &calls[i]), calls[i].loss);
		mend_filter(d, finding, calls[i].name);
		bad++;
	}
	check_memfd(d, &bad);
	check_mbind(d, &bad);
	check_meters(d, &bad);
	/* What is not told by one of the above. */
	if (!bad)
		check_region(d, &bad);
	if (!tried)
		doctor_add(d, "syscalls.tried", "", DOCTOR_UNSEEN,
			"which system calls are refused: no child could be made to try them");
	else if (!bad)
		doctor_add(d, "syscalls.tried", "", DOCTOR_OK,
			"%u calls that the library makes were tried: none that it needs is refused",
			tried);
}
