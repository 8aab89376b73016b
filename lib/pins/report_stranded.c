/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What became of the pins of processes that ended: they go with the last fd of their container or
 * iommufd, and another process may hold one: a child that fork() made, one that was handed it, the
 * program that was executed instead. Its fds are looked at in /proc/PID/fd.
 *
 * Which open file an fd of /dev/iommu or /dev/vfio/vfio is of, /proc does not say. A process is
 * taken for the holder if it has the same node open, and either the ledger (it was forked) or a
 * device of the ledger's, which no other process had since by its ledger.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ledger_format.h"
#include "report_priv.h"

/* A process that ended, with pins that may be held. */
struct lost {
	size_t process;
	size_t domain;
	char group[32];       /* of its first device, e.g. "/dev/vfio/12"; "" not known */
	char device_node[48]; /* e.g. "/dev/vfio/devices/vfio3" */
	pid_t holder;
	bool forked;   /* the holder has the ledger too */
	bool odd_node; /* its node is not one of VFIO's or iommufd's */
};

struct search {
	struct report_build *build;
	struct lost *lost;
	size_t count;
	unsigned int closed; /* processes that could not be looked into */
	bool hidden;         /* there are more, which /proc does not show */
};

/* What one process has open, of what matters. */
struct open_files {
	bool *node, *ledger, *device; /* beside search->lost */
};

static uint64_t charged_pages(const struct pn_pins_domain *domain)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < domain->pin_count; i++)
		sum += domain->pins[i].pages;
	return sum;
}

/* "0000:00:10.0" to the nodes through which VFIO gives the device out. */
static void find_nodes(const char *devices, struct lost *lost)
{
	char address[16], path[96], target[256];
	struct dirent *entry;
	const char *name;
	ssize_t len;
	DIR *dir;

	if (sscanf(devices, "%15[0-9a-f:.]", address) != 1)
		return;
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", address);
	len = readlink(path, target, sizeof(target) - 1);
	if (len > 0) {
		target[len] = '\0';
		name = strrchr(target, '/');
		if (name && strlen(name) < 12)
			snprintf(lost->group, sizeof(lost->group), "/dev/vfio%s", name);
	}
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev", address);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (!strncmp(entry->d_name, "vfio", 4) && strlen(entry->d_name) < 20)
			snprintf(lost->device_node, sizeof(lost->device_node),
				"/dev/vfio/devices/%.20s", entry->d_name);
	}
	if (dir)
		closedir(dir);
}

static int add_lost(struct search *search, size_t process, size_t domain)
{
	struct lost *list = realloc(search->lost, (search->count + 1) * sizeof(*list));
	const struct pn_pins_domain *opened;

	if (!list)
		return -ENOMEM;
	search->lost = list;
	opened = &search->build->report->processes[process].domains[domain];
	list[search->count] = (struct lost){.process = process, .domain = domain};
	list[search->count].odd_node = opened->node[0] && strncmp(opened->node, "/dev/vfio/", 10) &&
				       strcmp(opened->node, "/dev/iommu") != 0;
	find_nodes(opened->device_names, &list[search->count++]);
	return 0;
}

/* What the module charged to the memory of the process it has given back with it. */
static bool can_be_held(const struct pn_pins_domain *domain)
{
	return charged_pages(domain) &&
	       !(report_is_module(domain) && domain->limited == PN_COUNTER_MM_LOCKED);
}

static int find_lost(struct search *search)
{
	struct pn_pins_report *report = search->build->report;
	size_t i, k;
	int ret = 0;

	for (i = 0; i < report->process_count && !ret; i++) {
		const struct report_key *key = &search->build->keys[i];
		struct pn_pins_process *process = &report->processes[i];

		if (process->foreign || !(key->gone || key->ended) || !search->build->pid_namespace)
			continue;
		for (k = 0; k < process->domain_count && !ret; k++) {
			if (can_be_held(&process->domains[k]))
				ret = add_lost(search, i, k);
		}
	}
	return ret;
}

/* Whose ledger is this open file? SIZE_MAX: nobody's here. */
static size_t ledger_of(const struct report_build *build, int dir_fd, const char *name)
{
	struct stat st;
	size_t i;

	if (fstatat(dir_fd, name, &st, 0))
		return SIZE_MAX;
	for (i = 0; i < build->file_count; i++) {
		if (build->files[i].inode == st.st_ino && build->files[i].device == st.st_dev)
			return build->files[i].process;
	}
	return SIZE_MAX;
}

static bool is_node_of(const struct search *search, const struct lost *lost, const char *target)
{
	const char *node =
		search->build->report->processes[lost->process].domains[lost->domain].node;

	/* A file that was handed in has no name in the ledger. */
	return node[0] ? !strcmp(target, node)
		       : !strcmp(target, "/dev/vfio/vfio") || !strcmp(target, "/dev/iommu");
}

static void look_at_ledger(const struct search *search, size_t process, struct open_files *found)
{
	size_t i;

	for (i = 0; i < search->count; i++)
		found->ledger[i] |= search->lost[i].process == process;
}

static void look_at_node(const struct search *search, const char *target, struct open_files *found)
{
	size_t i;

	for (i = 0; i < search->count; i++) {
		const struct lost *lost = &search->lost[i];

		found->node[i] |= is_node_of(search, lost, target);
		found->device[i] |= (lost->group[0] && !strcmp(target, lost->group)) ||
				    (lost->device_node[0] && !strcmp(target, lost->device_node));
	}
}

/* Most open files are of no interest; those of many processes are looked at. */
static bool may_be_node(const struct search *search, const char *target)
{
	size_t i;

	if (!strncmp(target, "/dev/vfio/", 10) || !strcmp(target, "/dev/iommu"))
		return true;
	for (i = 0; i < search->count; i++) {
		if (search->lost[i].odd_node && is_node_of(search, &search->lost[i], target))
			return true;
	}
	return false;
}

static void look_at_file(const struct search *search, int dir_fd, const char *name,
	const char *target, struct open_files *found)
{
	if (strstr(target, LEDGER_SUFFIX))
		look_at_ledger(search, ledger_of(search->build, dir_fd, name), found);
	else if (may_be_node(search, target))
		look_at_node(search, target, found);
}

static bool has_device(const struct pn_pins_process *process, const char *devices)
{
	size_t i, len = strcspn(devices, " ");

	for (i = 0; i < process->domain_count; i++) {
		const char *names = process->domains[i].device_names;

		if (memmem(names, strlen(names), devices, len))
			return true;
	}
	return false;
}

/*
 * A device is one domain's at a time. Where another process that is there has it in its ledger, or
 * one that began later and ended, whoever has the device open has it from that one.
 */
static bool is_passed_on(const struct pn_pins_report *report, const struct lost *lost)
{
	const struct pn_pins_process *owner = &report->processes[lost->process];
	const char *devices = owner->domains[lost->domain].device_names;
	size_t i;

	for (i = 0; i < report->process_count; i++) {
		const struct pn_pins_process *process = &report->processes[i];

		if (i != lost->process && !process->foreign &&
			(process->alive || process->hidden ||
				process->start_time > owner->start_time) &&
			has_device(process, devices))
			return true;
	}
	return false;
}

static void judge(struct search *search, pid_t pid, const struct open_files *found)
{
	const struct pn_pins_report *report = search->build->report;
	size_t i;

	for (i = 0; i < search->count; i++) {
		struct lost *lost = &search->lost[i];
		const struct pn_pins_process *process = &report->processes[lost->process];
		const char *devices = process->domains[lost->domain].device_names;

		if (!found->node[i] || lost->forked ||
			!(found->ledger[i] || (found->device[i] && devices[0])))
			continue;
		if (!found->ledger[i] && is_passed_on(report, lost))
			continue;
		lost->holder = pid;
		lost->forked = found->ledger[i];
	}
}

static void look_at_process(struct search *search, pid_t pid, struct open_files *found)
{
	char path[64], target[256];
	struct dirent *entry;
	ssize_t len;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir) {
		search->closed += errno == EACCES || errno == EPERM;
		return;
	}
	memset(found->node, 0, 3 * search->count * sizeof(bool));
	while ((entry = readdir(dir))) {
		len = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
		if (len <= 0)
			continue;
		target[len] = '\0';
		look_at_file(search, dirfd(dir), entry->d_name, target, found);
	}
	closedir(dir);
	judge(search, pid, found);
}

/* With hidepid=2 those of others are not listed, and pid 1 is somebody else's. */
static bool shows_everybody(void)
{
	return !access("/proc/1", F_OK) || (kill(1, 0) && errno == ESRCH);
}

/* Returns 0 or -ENOMEM; a /proc that cannot be listed leaves every holder unknown. */
static int look_at_all(struct search *search)
{
	struct open_files found = {.node = calloc(3 * search->count, sizeof(bool))};
	struct dirent *entry;
	DIR *proc;

	if (!found.node)
		return -ENOMEM;
	found.ledger = found.node + search->count;
	found.device = found.ledger + search->count;
	proc = opendir("/proc");
	search->hidden = !proc || !shows_everybody();
	while (proc && (entry = readdir(proc))) {
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			look_at_process(search, (pid_t)strtol(entry->d_name, NULL, 10), &found);
	}
	if (proc)
		closedir(proc);
	free(found.node);
	return 0;
}

static int find_one(struct report_build *build, const struct lost *lost)
{
	struct pn_pins_process *process = &build->report->processes[lost->process];
	const struct pn_pins_domain *domain = &process->domains[lost->domain];
	bool user = domain->counters & PN_COUNTER_BIT(PN_COUNTER_USER_LOCKED);
	struct pn_finding finding = {.kind = PN_FINDING_STRANDED,
		.cause = "fd-held",
		.pid = process->pid,
		.holder = lost->holder,
		.uid = process->uid,
		.counter = user ? PN_COUNTER_USER_LOCKED : PN_COUNTER_MAX,
		.figure = {charged_pages(domain), PN_OBSERVER_MODEL}};
	int ret;

	process->stranded = true;
	ret = report_find(build->report, &finding,
		"process %d is gone, but process %d holds %s%s: what it pinned stays pinned%s "
		"until "
		"that one ends or closes it%s",
		(int)process->pid, (int)lost->holder,
		domain->node[0] ? domain->node : "its container or iommufd",
		lost->forked ? " and its ledger" : " and its device, and has no ledger",
		user ? " and charged to the user" : "",
		lost->forked ? ""
			     : " (as far as can be seen: which open file it is, /proc does not "
			       "say)");
	if (ret || user)
		return ret;
	finding.kind = PN_FINDING_NOBODY;
	finding.cause = "mapper-gone";
	return report_find(build->report, &finding,
		"the charge of process %d went with it, its pins did not: process %d holds them",
		(int)process->pid, (int)lost->holder);
}

/* Beyond this many lines they are only counted. */
#define GONE_TOLD 8

/* One line on each process that ended, with what became of its pins. */
static int note_gone(
	struct report_build *build, const struct pn_pins_process *process, const char *what)
{
	return report_note(build->report, "process %d is gone and left its ledger behind%s: %s",
		(int)process->pid, build->query->prune ? ", which is removed now" : "", what);
}

static bool saw_everybody(const struct search *search)
{
	return !search->build->query->quick && search->build->pid_namespace && !search->closed &&
	       !search->hidden;
}

static const char *what_is_held(const struct search *search)
{
	if (search->build->query->quick)
		return "whether another process holds what it pinned was not looked at";
	if (!saw_everybody(search))
		return "none that can be looked into holds what it pinned";
	return "what it held went with its last file descriptor";
}

static int note_ended(const struct search *search, size_t index, unsigned int *told)
{
	struct report_build *build = search->build;
	const struct pn_pins_process *process = &build->report->processes[index];
	const struct report_key *key = &build->keys[index];

	if (process->foreign || !report_is_asked(build, process))
		return 0;
	if (!build->pid_namespace)
		return key->gone ? note_gone(build, process,
					   "whether another process holds what it pinned cannot "
					   "be seen without /proc")
				 : 0;
	if (key->gone && process->stranded)
		return note_gone(build, process, "another process holds what it pinned");
	if (key->gone && (*told)++ < GONE_TOLD)
		return note_gone(build, process, what_is_held(search));
	if (key->ended && !key->gone)
		return report_note(build->report,
			"process %d is gone, but a process that it left behind holds its ledger%s",
			(int)process->pid,
			process->stranded     ? " and what it pinned"
			: build->query->quick ? ": what else it holds was not looked at"
					      : ": none that can be looked into has its devices");
	return 0;
}

/* A child may hold the ledger and no more. Where everybody could be looked into, that is known, and
 * the pins are gone. */
static void forget_released(struct report_build *build, const struct search *search)
{
	size_t i;

	if (!saw_everybody(search))
		return;
	for (i = 0; i < build->report->process_count; i++) {
		if (build->keys[i].ended && !build->report->processes[i].stranded)
			build->report->processes[i].hidden = false;
	}
}

static int conclude(struct search *search)
{
	struct report_build *build = search->build;
	unsigned int told = 0;
	int ret = 0;
	size_t i;

	for (i = 0; i < search->count && !ret; i++) {
		if (search->lost[i].holder)
			ret = find_one(build, &search->lost[i]);
	}
	forget_released(build, search);
	for (i = 0; i < build->report->process_count && !ret; i++)
		ret = note_ended(search, i, &told);
	if (!ret && told > GONE_TOLD)
		ret = report_note(build->report,
			"%u more processes are gone and left their ledgers behind%s",
			told - GONE_TOLD, build->query->prune ? ", which are removed now" : "");
	if (!ret && search->closed && !build->query->quick)
		ret = report_note(build->report,
			"%u processes of other users could not be looked into: whether one holds "
			"pins of a process that is gone is not known",
			search->closed);
	if (!ret && search->hidden && !build->query->quick)
		ret = report_note(build->report,
			"/proc does not show all processes (hidepid): whether one holds pins of a "
			"process that is gone is not known");
	return ret;
}

int report_stranded(struct report_build *build)
{
	struct search search = {.build = build};
	int ret;

	ret = find_lost(&search);
	if (!ret && search.count && build->other_proc)
		search.hidden = true;
	else if (!ret && search.count && !build->query->quick)
		ret = look_at_all(&search);
	if (!ret)
		ret = conclude(&search);
	free(search.lost);
	return ret;
}
