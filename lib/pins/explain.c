/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Why a mapping was refused with ENOMEM: the limit first, by looking at the counter that is
 * compared with it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base_priv.h"
#include "pins_priv.h"

/* What the ledgers of a user's living processes add up to. */
static uint64_t user_sum(uid_t uid)
{
	struct pn_pins_report *report;
	uint64_t sum = 0;
	size_t i;

	if (pn_pins_report_create(&report, NULL))
		return 0;
	for (i = 0; i < report->process_count; i++) {
		if (report->processes[i].uid == uid && report->processes[i].alive)
			sum += report->processes[i].predicted[PN_COUNTER_USER_LOCKED];
	}
	pn_pins_report_free(report);
	return sum;
}

/* The counter now, and how it is known; *at_least: it is that or more. */
static struct pn_figure look(enum pn_counter counter, bool *at_least)
{
	struct pn_figure figure = {0, PN_OBSERVER_NONE};
	struct pn_proc_state state;

	int ret;

	*at_least = false;
	if (counter == PN_COUNTER_USER_LOCKED) {
		ret = pn_meter_user_locked(&figure.pages);
		if (ret && ret != -ERANGE)
			return (struct pn_figure){user_sum(getuid()), PN_OBSERVER_MODEL};
		*at_least = ret == -ERANGE;
		figure.observer = PN_OBSERVER_METER;
		return figure;
	}
	if (!pn_proc_read(getpid(), &state) && state.counters_known) {
		figure.observer = PN_OBSERVER_PROC;
		figure.pages = counter == PN_COUNTER_MM_LOCKED ? state.locked : state.pinned;
	}
	return figure;
}

static const char *scope(enum pn_counter counter)
{
	return counter == PN_COUNTER_USER_LOCKED ? "all processes of this user together"
						 : "this process";
}

/* The command that raises the limit: the soft one alone where the hard one allows it. */
static void mend(char *buf, size_t size, uint64_t need, const struct rlimit *limit)
{
	uint64_t bytes = need << 12;

	if (limit->rlim_max == RLIM_INFINITY || bytes <= limit->rlim_max)
		snprintf(buf, size,
			"raise the soft limit before starting the program: ulimit -S -l %" PRIu64,
			need << 2);
	else
		snprintf(buf, size,
			"raise it as root, in the shell that starts the program: prlimit --pid $$ "
			"--memlock=%" PRIu64 ":%" PRIu64 " (systemd: LimitMEMLOCK=%" PRIu64 ")",
			bytes, bytes, bytes);
}

int pn_explain_enomem(
	const struct pn_charge_rule *rule, uint64_t pages, uint64_t more, const char *what)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
	const char *name = pn_counter_name(rule->limited);
	struct pn_figure figure;
	bool at_least;
	char how[256], queued[64] = "";
	uint64_t allowed, need;

	if (rule->limited == PN_COUNTER_MAX)
		return pn_fail(ENOMEM, "%s: ENOMEM: the backend has no memory left", what);
	getrlimit(RLIMIT_MEMLOCK, &limit);
	allowed = limit.rlim_cur >> 12;
	if (limit.rlim_cur == RLIM_INFINITY || pn_exempt_now())
		return pn_fail(ENOMEM,
			"%s: ENOMEM, but no limit applies (%s): the kernel is out of memory, the "
			"cgroup's "
			"memory.max is reached, or these pages cannot be pinned for long "
			"(CMA-backed hugepages); "
			"look at dmesg and memory.events",
			what,
			limit.rlim_cur == RLIM_INFINITY ? "RLIMIT_MEMLOCK is unlimited"
							: "the process has CAP_IPC_LOCK");
	figure = look(rule->limited, &at_least);
	need = figure.pages + pages;
	if (figure.observer == PN_OBSERVER_MODEL && need <= allowed)
		return pn_fail(ENOMEM,
			"%s: ENOMEM: %" PRIu64
			" pages would be charged to %s (%s); it could not be measured, "
			"the ledgers of this user account for %" PRIu64
			" pages of it, and the limit is %" PRIu64
			" pages; either something without a ledger holds the rest (io_uring, "
			"AF_XDP, another "
			"runtime), or memory is out: look at memory.events",
			what, pages, name, scope(rule->limited), figure.pages, allowed);
	if (figure.observer != PN_OBSERVER_NONE && need <= allowed && !at_least)
		return pn_fail(ENOMEM,
			"%s: ENOMEM, though the limit is not the cause: %s is %" PRIu64
			" pages (%s), with the "
			"%" PRIu64 " asked for that is %" PRIu64 " of the %" PRIu64
			" that RLIMIT_MEMLOCK allows; the kernel is out of memory, the cgroup's "
			"memory.max is "
			"reached, or these pages cannot be pinned for long; look at dmesg and "
			"memory.events",
			what, name, figure.pages, pn_observer_name(figure.observer), pages, need,
			allowed);
	if (figure.observer == PN_OBSERVER_NONE)
		return pn_fail(ENOMEM,
			"%s: ENOMEM: %" PRIu64
			" pages would be charged to %s (%s), which cannot be observed "
			"(/proc is not there or hidden); the limit, RLIMIT_MEMLOCK, is %" PRIu64
			" pages",
			what, pages, name, scope(rule->limited), allowed);
	if (more)
		snprintf(queued, sizeof(queued), " (and %" PRIu64 " more pages are queued)", more);
	mend(how, sizeof(how), need + more, &limit);
	return pn_fail(ENOMEM,
		"%s: RLIMIT_MEMLOCK is too low: %" PRIu64 " pages (%" PRIu64
		" bytes) would be charged to %s (%s), which holds %s%" PRIu64
		" pages already (%s); the limit is %" PRIu64 " pages (%" PRIu64
		" bytes), short by %s%" PRIu64 "%s; %s",
		what, pages, pages << 12, name, scope(rule->limited), at_least ? "at least " : "",
		figure.pages, pn_observer_name(figure.observer), allowed, (uint64_t)limit.rlim_cur,
		at_least ? "at least " : "", need > allowed ? need - allowed : 0, queued, how);
}
