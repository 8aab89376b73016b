/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What /proc, the companion module and the meter say of the counters that ledgers make predictions
 * about, and what follows: how much is left under the limit, and how much nobody explains.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "report_priv.h"

static int note_unseen(struct report_build *build, const struct pn_pins_process *process)
{
	if (!build->pid_namespace)
		return report_note(build->report,
			"process %d cannot be observed: /proc is not there; what its ledger says "
			"is all that is known, not even whether the pid is one of this PID "
			"namespace",
			(int)process->pid);
	if (build->other_proc)
		return report_note(build->report,
			"process %d cannot be observed: /proc is that of another PID namespace, "
			"where its number is another's",
			(int)process->pid);
	return report_note(build->report,
		"process %d cannot be observed though its ledger is held: /proc hides it "
		"(hidepid), or it ended and a child of it holds its devices",
		(int)process->pid);
}

/* The kernel goes on charging who it was (iommufd/pages.c: source_user). */
static int note_changed_user(struct report_build *build, const struct pn_pins_process *process)
{
	if (process->uid == process->charged_uid || !process->predicted[PN_COUNTER_USER_LOCKED])
		return 0;
	return report_note(build->report,
		"process %d mapped as user %u and is user %u now: its %" PRIu64
		" pages of user->locked_vm are in the sum over user %u; what it has mapped since "
		"is charged to user %u",
		(int)process->pid, (unsigned int)process->charged_uid, (unsigned int)process->uid,
		process->predicted[PN_COUNTER_USER_LOCKED], (unsigned int)process->charged_uid,
		(unsigned int)process->uid);
}

/* A pid says nothing of it here, but the lock on its ledger does. */
static int note_foreign(struct report_build *build, const struct pn_pins_process *process)
{
	if (process->hidden)
		return report_note(build->report,
			"process %d is in another PID namespace and cannot be observed from here",
			(int)process->pid);
	return report_note(build->report,
		"process %d, of another PID namespace, is gone and left its ledger behind: whether "
		"another process holds what it pinned cannot be seen from here",
		(int)process->pid);
}

static int observe(struct report_build *build, size_t index)
{
	struct pn_pins_process *process = &build->report->processes[index];
	const struct report_key *key = &build->keys[index];
	bool told = report_is_asked(build, process);

	if (process->foreign) {
		process->hidden = !key->gone;
		return told ? note_foreign(build, process) : 0;
	}
	if (key->gone)
		return 0; /* report_stranded.c says what became of what it held */
	process->hidden = !key->seen;
	if (process->hidden)
		return told && !(key->ended && build->pid_namespace) ? note_unseen(build, process)
								     : 0;
	process->alive = true;
	process->uid = key->state.uid;
	snprintf(process->comm, sizeof(process->comm), "%s", key->state.comm);
	process->limit_known = key->state.limit_known;
	process->limit_soft = key->state.limit_soft;
	process->limit_hard = key->state.limit_hard;
	if (told && note_changed_user(build, process))
		return -ENOMEM;
	if (!process->limit_known && told &&
		report_note(build->report,
			"the limit of process %d is not known: /proc/%d/limits cannot be read",
			(int)process->pid, (int)process->pid))
		return -ENOMEM;
	if (!key->state.counters_known)
		return 0;
	process->observed[PN_COUNTER_MM_LOCKED] =
		(struct pn_figure){key->state.locked, PN_OBSERVER_PROC};
	process->observed[PN_COUNTER_MM_PINNED] =
		(struct pn_figure){key->state.pinned, PN_OBSERVER_PROC};
	return 0;
}

int report_observe(struct report_build *build)
{
	size_t i;
	int ret = 0;

	for (i = 0; i < build->report->process_count && !ret; i++)
		ret = observe(build, i);
	return ret;
}

bool pn_pins_charges_user(const struct pn_pins_process *process)
{
	return process->alive || process->hidden || process->stranded;
}

/* The caller's own user->locked_vm, from the best that answers. *module: what the module said. */
static int observe_own(struct report_build *build, struct pn_figure *own, int *module)
{
	*own = (struct pn_figure){0, PN_OBSERVER_NONE};
	*module = pn_module_user_locked(0, getuid(), &own->pages);
	if (!*module) {
		own->observer = PN_OBSERVER_MODULE;
		return 0;
	}
	if (*module == -EACCES && build->report->process_count &&
		report_note(build->report,
			"user->locked_vm is not read: the companion module's node " PN_MODULE_NODE
			" is there, but may not be opened (EACCES); root may, and who is in its "
			"group (pinion)"))
		return -ENOMEM;
	if (!build->query->measure_user || !pn_meter_measure(own))
		return 0;
	own->observer = PN_OBSERVER_NONE;
	return report_note(build->report, "%s", pn_error());
}

/* Before this one, of the same user; NULL: it is the first. */
static const struct pn_pins_process *same_user(const struct pn_pins_report *report, size_t index)
{
	size_t i;

	for (i = 0; i < index; i++) {
		if (report->processes[i].uid == report->processes[index].uid)
			return &report->processes[i];
	}
	return NULL;
}

static uint64_t predicted_of_user(const struct pn_pins_report *report, uid_t uid)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < report->process_count; i++) {
		if (report->processes[i].charged_uid == uid &&
			pn_pins_charges_user(&report->processes[i]))
			sum += report->processes[i].predicted[PN_COUNTER_USER_LOCKED];
	}
	return sum;
}

/* Another user's, by any of its processes that is there. */
static bool ask_module(
	const struct pn_pins_report *report, const struct pn_pins_process *user, uint64_t *pages)
{
	const struct pn_pins_process *process;
	size_t i;

	for (i = 0; i < report->process_count; i++) {
		process = &report->processes[i];
		if (process->uid != user->uid || !process->alive)
			continue;
		switch (pn_module_user_locked(process->pid, process->uid, pages)) {
		case 0:
			return true;
		case -ESRCH: /* it has ended since */
			break;
		default:
			return false;
		}
	}
	return false;
}

/* user->locked_vm is one number a user: observed where that can be, else the sum of what the
 * ledgers predict. */
int report_users(struct report_build *build)
{
	struct pn_pins_report *report = build->report;
	struct pn_pins_process *process;
	const struct pn_pins_process *same;
	struct pn_figure own, *figure;
	int module, ret;
	size_t i;

	ret = observe_own(build, &own, &module);
	for (i = 0; i < report->process_count && !ret; i++) {
		process = &report->processes[i];
		figure = &process->observed[PN_COUNTER_USER_LOCKED];
		same = same_user(report, i);
		if (same) {
			process->user_predicted = same->user_predicted;
			*figure = same->observed[PN_COUNTER_USER_LOCKED];
			continue;
		}
		process->user_predicted = predicted_of_user(report, process->uid);
		*figure = (struct pn_figure){process->user_predicted, PN_OBSERVER_MODEL};
		if (process->uid == getuid() && own.observer != PN_OBSERVER_NONE)
			*figure = own;
		else if (process->uid != getuid() && !module &&
			 ask_module(report, process, &figure->pages))
			figure->observer = PN_OBSERVER_MODULE;
	}
	return ret;
}

const char *pn_pins_state(const struct pn_pins_process *process)
{
	return process->alive                        ? "alive"
	       : process->foreign && process->hidden ? "foreign"
	       : process->stranded                   ? "stranded"
	       : process->hidden                     ? "hidden"
						     : "gone";
}

bool pn_pins_limited(const struct pn_pins_process *process, enum pn_counter counter)
{
	size_t i;

	for (i = 0; i < process->domain_count; i++) {
		if (process->domains[i].limited == counter && !process->domains[i].exempt)
			return true;
	}
	return false;
}

bool pn_pins_left(const struct pn_pins_process *process, enum pn_counter counter, uint64_t *pages)
{
	uint64_t used = process->observed[counter].pages;

	if (!pn_pins_limited(process, counter) || !process->limit_known ||
		process->observed[counter].observer == PN_OBSERVER_NONE)
		return false;
	*pages = process->limit_soft == PN_PAGES_UNLIMITED ? PN_PAGES_UNLIMITED
		 : process->limit_soft > used              ? process->limit_soft - used
							   : 0;
	return true;
}

bool pn_pins_unexplained(
	const struct pn_pins_process *process, enum pn_counter counter, int64_t *pages)
{
	if (counter == PN_COUNTER_USER_LOCKED) {
		*pages = (int64_t)(process->observed[counter].pages - process->user_predicted);
		/* Compared with itself, the model says nothing. */
		return process->observed[counter].observer != PN_OBSERVER_MODEL &&
		       process->observed[counter].observer != PN_OBSERVER_NONE;
	}
	if (process->observed[counter].observer != PN_OBSERVER_PROC ||
		process->before[counter] == UINT64_MAX)
		return false;
	*pages = (int64_t)(process->observed[counter].pages - process->before[counter] -
			   process->predicted[counter]);
	return true;
}

static int find_unexplained(struct pn_pins_report *report, const struct pn_pins_process *process,
	enum pn_counter counter, int64_t pages)
{
	bool user = counter == PN_COUNTER_USER_LOCKED, above = pages > 0;
	struct pn_finding finding = {.kind = PN_FINDING_UNEXPLAINED,
		.cause = above ? "above" : "below",
		.pid = user ? 0 : process->pid,
		.uid = process->uid,
		.counter = counter,
		.figure = {above ? (uint64_t)pages : (uint64_t)-pages,
			process->observed[counter].observer}};

	if (user)
		return report_find(report, &finding,
			above ? "in no ledger that could be read: io_uring, AF_XDP, another "
				"runtime, a virtual machine"
			      : "predicted by the ledgers of this user's processes, but not there");
	return report_find(report, &finding,
		above ? "in no ledger: mlock, io_uring, RDMA or another user of VFIO in the process"
		      : "less than was there before and is predicted: something was unlocked, or "
			"another process undid a mapping");
}

int report_unexplained(struct report_build *build)
{
	struct pn_pins_report *report = build->report;
	unsigned int counter;
	int64_t pages;
	size_t i;

	for (i = 0; i < report->process_count; i++) {
		for (counter = 0; counter < PN_COUNTER_MAX; counter++) {
			if (!pn_pins_unexplained(&report->processes[i], counter, &pages) || !pages)
				continue;
			/* One counter a user. */
			if (counter == PN_COUNTER_USER_LOCKED && same_user(report, i))
				continue;
			if (find_unexplained(report, &report->processes[i], counter, pages))
				return -ENOMEM;
		}
	}
	return 0;
}
