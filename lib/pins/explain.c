/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Why a mapping was refused with ENOMEM, which says nothing: the limit first, by looking at the
 * counter that is compared with it; then the memory, the control group and the machine. A cause is
 * named when something was seen that shows it; otherwise what was seen is.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <linux/capability.h>

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
		if (report->processes[i].charged_uid == uid && report->processes[i].alive)
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
		if (!pn_module_user_locked(0, getuid(), &figure.pages)) {
			figure.observer = PN_OBSERVER_MODULE;
			return figure;
		}
		ret = pn_meter_measure(&figure);
		if (ret && ret != -ERANGE)
			return (struct pn_figure){user_sum(getuid()), PN_OBSERVER_MODEL};
		*at_least = ret == -ERANGE;
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

/*
 * The limit
 */

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

/* What the text about the limit is made of. */
struct view {
	enum pn_counter counter;
	struct pn_figure figure;
	bool at_least;
	struct rlimit limit;
	uint64_t allowed, need; /* pages; need: with what was asked for */
};

/* root of a user namespace is not exempt, and wonders. */
static const char *namespace_note(void)
{
	return pn_capable_elsewhere(CAP_IPC_LOCK)
		       ? "; CAP_IPC_LOCK in a user namespace exempts nobody"
		       : "";
}

static int fail_limit(const struct view *view, const struct pn_refused *refused)
{
	char how[256], queued[64] = "", holders[400];
	const char *least = view->at_least ? "at least " : "";

	pn_explain_holders(view->counter, &view->figure, holders, sizeof(holders));
	if (refused->more)
		snprintf(queued, sizeof(queued), " (and %" PRIu64 " more pages are queued)",
			refused->more);
	mend(how, sizeof(how), view->need + refused->more, &view->limit);
	return pn_fail(ENOMEM,
		"%s: RLIMIT_MEMLOCK is too low: %" PRIu64 " pages (%" PRIu64
		" bytes) would be charged to %s (%s), which holds %s%" PRIu64
		" pages already (%s)%s%s; the limit is %" PRIu64 " pages (%" PRIu64
		" bytes), short by %s%" PRIu64 "%s; %s%s",
		refused->what, refused->pages, refused->pages << 12, pn_counter_name(view->counter),
		scope(view->counter), least, view->figure.pages,
		pn_observer_name(view->figure.observer), holders[0] ? ": " : "", holders,
		view->allowed, (uint64_t)view->limit.rlim_cur, least,
		view->need > view->allowed ? view->need - view->allowed : 0, queued, how,
		namespace_note());
}

/* Room by the ledgers, which do not know of everybody. */
static int fail_not_measured(const struct view *view, const struct pn_refused *refused)
{
	return pn_fail(ENOMEM,
		"%s: ENOMEM: %" PRIu64
		" pages would be charged to %s (%s); it could not be measured, "
		"the ledgers of this user account for %" PRIu64
		" pages of it, and the limit is %" PRIu64
		" pages; either something without a ledger holds the rest (io_uring, "
		"AF_XDP, another "
		"runtime), or memory is out: look at memory.events",
		refused->what, refused->pages, pn_counter_name(view->counter), scope(view->counter),
		view->figure.pages, view->allowed);
}

/* So near to the hard limit that the meter sees no more of it. */
static int fail_near(const struct view *view, const struct pn_refused *refused)
{
	char how[256];

	mend(how, sizeof(how), view->need + 1 + refused->more, &view->limit);
	return pn_fail(ENOMEM,
		"%s: ENOMEM: %" PRIu64
		" pages would be charged to %s (%s), which holds at least %" PRIu64
		" pages (%s) and cannot be measured more exactly below the hard limit; the limit "
		"is %" PRIu64 " pages: it is most likely the cause; %s",
		refused->what, refused->pages, pn_counter_name(view->counter), scope(view->counter),
		view->figure.pages, pn_observer_name(view->figure.observer), view->allowed, how);
}

static int fail_not_observed(const struct view *view, const struct pn_refused *refused)
{
	return pn_fail(ENOMEM,
		"%s: ENOMEM: %" PRIu64
		" pages would be charged to %s (%s), which cannot be observed "
		"(/proc is not there or hidden); the limit, RLIMIT_MEMLOCK, is %" PRIu64 " pages",
		refused->what, refused->pages, pn_counter_name(view->counter), scope(view->counter),
		view->allowed);
}

/*
 * What else
 */

/* Other causes, behind words on why it is not the limit. */
static int fail_other(const struct pn_refused *refused, const char *no_limit)
{
	char cause[600];

	if (pn_explain_unpinnable(refused, cause, sizeof(cause)) ||
		pn_explain_room(refused, cause, sizeof(cause)))
		return pn_fail(ENOMEM, "%s: %s; %s", refused->what, cause, no_limit);
	pn_explain_left(cause, sizeof(cause));
	return pn_fail(ENOMEM,
		"%s: %s; what remains is an allocation that failed in the kernel, or pages that "
		"cannot be pinned for long, and neither was seen: %s; look at dmesg and "
		"memory.events",
		refused->what, no_limit, cause);
}

static int fail_in_limit(const struct view *view, const struct pn_refused *refused)
{
	char words[300];

	snprintf(words, sizeof(words),
		"ENOMEM, though the limit is not the cause: %s is %" PRIu64
		" pages (%s), with the %" PRIu64 " asked for that is %" PRIu64 " of the %" PRIu64
		" that RLIMIT_MEMLOCK allows",
		pn_counter_name(view->counter), view->figure.pages,
		pn_observer_name(view->figure.observer), refused->pages, view->need, view->allowed);
	return fail_other(refused, words);
}

int pn_explain_enomem(const struct pn_charge_rule *rule, const struct pn_refused *refused)
{
	struct view view = {.counter = rule->limited, .limit = {RLIM_INFINITY, RLIM_INFINITY}};

	if (rule->limited == PN_COUNTER_MAX)
		return pn_fail(ENOMEM, "%s: ENOMEM: the backend has no memory left", refused->what);
	getrlimit(RLIMIT_MEMLOCK, &view.limit);
	if (view.limit.rlim_cur == RLIM_INFINITY)
		return fail_other(
			refused, "ENOMEM, but no limit applies (RLIMIT_MEMLOCK is unlimited)");
	if (pn_exempt_now())
		return fail_other(
			refused, "ENOMEM, but no limit applies (the process has CAP_IPC_LOCK)");
	view.allowed = view.limit.rlim_cur >> 12;
	view.figure = look(rule->limited, &view.at_least);
	view.need = view.figure.pages + refused->pages;
	if (view.figure.observer == PN_OBSERVER_NONE && refused->pages <= view.allowed)
		return fail_not_observed(&view, refused);
	/* More than the limit by itself: whatever is there already. */
	view.at_least |= view.figure.observer == PN_OBSERVER_NONE;
	if (view.need > view.allowed)
		return fail_limit(&view, refused);
	if (view.at_least)
		return fail_near(&view, refused);
	if (view.figure.observer == PN_OBSERVER_MODEL)
		return fail_not_measured(&view, refused);
	return fail_in_limit(&view, refused);
}
