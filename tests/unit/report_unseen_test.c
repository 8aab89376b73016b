/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a report cannot know, and limits at their ends: a limit of 0 and none, processes of another
 * user, behind hidepid, without /proc, of another version. It says so, and gives no number. Those
 * of other namespaces are in report_namespace_test.c.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "report_fixture.h"

#define MM_LOCKED PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED)
#define USER_AND_PINNED \
	(PN_COUNTER_BIT(PN_COUNTER_USER_LOCKED) | PN_COUNTER_BIT(PN_COUNTER_MM_PINNED))
#define SKIPPED 77

static void hold_with_limit(void *arg)
{
	const struct rlimit *limit = arg;

	if (setrlimit(RLIMIT_MEMLOCK, limit))
		_exit(1);
	ledger_map(ledger_of(&rule_type1, "/dev/vfio/vfio", false), MM_LOCKED, 0x10000000, 0x1000,
		16 * 4096);
}

static uint64_t left_with(rlim_t soft, rlim_t hard)
{
	struct rlimit limit = {soft, hard};
	pid_t child = child_start(hold_with_limit, &limit);
	struct pn_pins_report *report = report_of_ledgers();
	const struct pn_pins_process *process = process_in(report, child);
	uint64_t left = 77;
	char *json;

	assert_true(process->limit_known);
	assert_int_equal(
		process->limit_soft, soft == RLIM_INFINITY ? PN_PAGES_UNLIMITED : soft >> 12);
	assert_true(pn_pins_limited(process, PN_COUNTER_MM_LOCKED));
	assert_true(pn_pins_left(process, PN_COUNTER_MM_LOCKED, &left));
	assert_false(pn_pins_left(process, PN_COUNTER_MM_PINNED, &(uint64_t){0}));
	json = pn_pins_json(report);
	assert_true(!strstr(json, "\"left\": \"unlimited\"") == (soft != RLIM_INFINITY));
	free(json);
	pn_pins_report_free(report);
	child_end(child);
	assert_int_equal(ledgers_clear(NULL), 0);
	return left;
}

static int try_unlimited(void *arg)
{
	struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};

	(void)arg;
	return setrlimit(RLIMIT_MEMLOCK, &none) != 0;
}

static void limits_at_their_ends(void **state)
{
	struct rlimit now;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &now), 0);
	assert_int_equal(left_with(0, now.rlim_max), 0);
	assert_int_equal(left_with(4095, now.rlim_max), 0);
	assert_int_equal(left_with(8192, now.rlim_max), 2);
}

static void without_a_limit(void **state)
{
	(void)state;
	if (child_result(try_unlimited, NULL)) {
		print_message("skipped: no CAP_SYS_RESOURCE to be without a limit\n");
		skip();
	}
	assert_true(left_with(RLIM_INFINITY, RLIM_INFINITY) == PN_PAGES_UNLIMITED);
}

static void need_root(const char *to_do)
{
	if (geteuid()) {
		print_message("skipped: only root can %s\n", to_do);
		skip();
	}
}

/* What is seen of a process of root's by someone else. */
struct look {
	pid_t pid;
	int (*prepare)(void);
	const char *note;
	const char *state;
};

#define CHECK(what)                                                            \
	do {                                                                   \
		if (!(what)) {                                                 \
			fprintf(stderr, "line %d: not %s\n", __LINE__, #what); \
			return 1;                                              \
		}                                                              \
	} while (0)

static int look_from_elsewhere(void *arg)
{
	const struct look *look = arg;
	const struct pn_pins_process *process;
	struct pn_pins_report *report;
	uint64_t left;
	int64_t pages;
	char *table;

	if (look->prepare && look->prepare())
		return SKIPPED;
	report = report_of_ledgers();
	CHECK(report);
	CHECK(report->process_count == 1);
	process = process_in(report, look->pid);
	CHECK(process);
	CHECK(!strcmp(pn_pins_state(process), look->state));
	CHECK(has_note(report, look->note));
	/* What the ledger says is known, and nothing else. */
	CHECK(process->predicted[PN_COUNTER_MM_LOCKED] == 16);
	CHECK(process->observed[PN_COUNTER_MM_LOCKED].observer == PN_OBSERVER_NONE);
	CHECK(!process->limit_known);
	CHECK(!pn_pins_left(process, PN_COUNTER_MM_LOCKED, &left));
	CHECK(!pn_pins_unexplained(process, PN_COUNTER_MM_LOCKED, &pages));
	CHECK(!report->finding_count);
	table = pn_pins_table(report);
	CHECK(table && strstr(table, "?"));
	free(table);
	pn_pins_report_free(report);
	return 0;
}

static void hold_for_all_to_read(void *arg)
{
	const struct pn_charge_rule *rule = arg ? arg : &rule_type1;
	struct pn_ledger *ledger = ledger_of(rule, "/dev/vfio/vfio", false);

	ledger_map(ledger, rule->counters, 0x10000000, 0x1000, 16 * 4096);
	if (fchmod(pn_ledger_fd(ledger), 0644))
		_exit(1);
}

static void look_at_one(struct look look)
{
	int result;

	need_root("hide /proc");
	look.pid = child_start(hold_for_all_to_read, NULL);
	result = child_result(look_from_elsewhere, &look);
	child_end(look.pid);
	if (result == SKIPPED) {
		print_message("skipped: this place does not allow mounting\n");
		skip();
	}
	assert_int_equal(result, 0);
}

static int hide_processes(void)
{
	return own_mounts() || mount("proc", "/proc", "proc", 0, "hidepid=2") || become_stranger();
}

static int take_proc_away(void)
{
	return own_mounts() || mount("none", "/proc", "tmpfs", 0, NULL);
}

static void behind_hidepid(void **state)
{
	(void)state;
	look_at_one((struct look){
		.prepare = hide_processes, .note = "/proc hides it (hidepid)", .state = "hidden"});
}

static void without_proc(void **state)
{
	(void)state;
	look_at_one((struct look){
		.prepare = take_proc_away, .note = "/proc is not there", .state = "hidden"});
}

/* Another user sees the process, its counters and its limit, but not into it. */
static int look_as_stranger(void *arg)
{
	pid_t pid = *(pid_t *)arg;
	struct pn_pins_report *report;
	unsigned int notes = 0;

	if (become_stranger())
		return SKIPPED;
	report = report_of_ledgers();
	CHECK(report && process_in(report, pid));
	for (size_t i = 0; i < report->note_count; i++)
		notes += !!strstr(
			report->notes[i], "charged twice by its address or by mlock is not known");
	CHECK(notes == 1);
	CHECK(process_in(report, pid)->alive);
	CHECK(process_in(report, pid)->observed[PN_COUNTER_MM_LOCKED].observer == PN_OBSERVER_PROC);
	pn_pins_report_free(report);
	return 0;
}

/* One process holds a ledger while another, which is given its pid, looks. */
static void look_while_held(int (*look)(void *pid), void (*hold)(void *arg), void *arg)
{
	pid_t child = child_start(hold, arg);
	int result = child_result(look, &child);

	child_end(child);
	assert_int_equal(result, 0);
}

static void a_process_that_may_not_be_looked_into(void **state)
{
	(void)state;
	need_root("be someone else");
	look_while_held(look_as_stranger, hold_for_all_to_read, NULL);
	/* It is said once, in however many counters it may be. */
	assert_int_equal(ledgers_clear(NULL), 0);
	look_while_held(look_as_stranger, hold_for_all_to_read, (void *)(uintptr_t)&rule_iommufd);
}

static int read_what_is_not_mine(void *arg)
{
	struct pn_pins_report *report;

	(void)arg;
	if (become_stranger())
		return SKIPPED;
	report = report_of_ledgers();
	CHECK(report && !report->process_count);
	CHECK(has_note(report, "cannot be read: Permission denied"));
	pn_pins_report_free(report);
	return 0;
}

static void a_ledger_of_another_user(void **state)
{
	(void)state;
	need_root("be someone else");
	look_while_held(read_what_is_not_mine, hold_for_oneself, NULL);
}

static int look_after_its_end(void *arg)
{
	const struct look *look = arg;
	struct pn_pins_report *report;

	if (look->prepare())
		return SKIPPED;
	report = report_of_ledgers();
	CHECK(report);
	CHECK(process_in(report, look->pid));
	/* Any of root's may hold the container: that it is released cannot be known. */
	CHECK(has_note(report, look->note));
	CHECK(has_note(report, "none that can be looked into holds what it pinned"));
	CHECK(!has_note(report, "went with its last file descriptor"));
	pn_pins_report_free(report);
	return 0;
}

static void who_holds_it_cannot_be_seen(void **state)
{
	struct look looks[] = {{.prepare = become_stranger, .note = "could not be looked into"},
		{.prepare = hide_processes, .note = "/proc does not show all processes"}};
	int result;

	(void)state;
	need_root("be someone else");
	for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
		looks[i].pid = child_start(hold_for_all_to_read, NULL);
		child_end(looks[i].pid);
		result = child_result(look_after_its_end, &looks[i]);
		if (result == SKIPPED)
			print_message("skipped: /proc cannot be mounted here\n");
		else
			assert_int_equal(result, 0);
	}
}

/* As a daemon does that begins as root, without CAP_IPC_LOCK, and goes on as somebody else. */
static void hold_and_change_user(void *arg)
{
	struct pn_ledger *ledger = ledger_of(&rule_iommufd, "/dev/iommu", false);

	(void)arg;
	ledger_map(ledger, USER_AND_PINNED, 0x10000000, 0x1000, 16 * 4096);
	if (become_stranger())
		_exit(1);
}

static void a_process_that_has_changed_its_user(void **state)
{
	const struct pn_pins_process *process;
	struct pn_pins_report *report;
	pid_t child;

	(void)state;
	need_root("be someone else");
	child = child_start(hold_and_change_user, NULL);
	report = report_of_ledgers();
	process = process_in(report, child);
	assert_non_null(process);
	assert_true(process->alive);
	assert_int_equal(process->uid, STRANGER_UID);
	/* The kernel charges who mapped it, and goes on doing so. */
	assert_int_equal(process->charged_uid, 0);
	assert_int_equal(process->predicted[PN_COUNTER_USER_LOCKED], 16);
	assert_int_equal(process->user_predicted, 0);
	assert_int_equal(process->observed[PN_COUNTER_USER_LOCKED].pages, 0);
	assert_true(has_note(report, "mapped as user 0"));
	pn_pins_report_free(report);
	child_end(child);
}

static int take_proc_away_from_root(void)
{
	return unshare(CLONE_NEWUSER) || take_proc_away();
}

/* Where no file tells whose namespace it is, the kernel's own comparison does. */
static int ask_for_too_much(void *arg)
{
	const struct look *look = arg;
	struct pn_preflight out = {.charged = 17};
	struct rlimit limit;
	struct pn_trial trial;

	CHECK(!getrlimit(RLIMIT_MEMLOCK, &limit));
	limit.rlim_cur = 16 * 4096;
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	if (look->prepare())
		return SKIPPED;
	pn_trial_init(&trial);
	pn_preflight_look(&out, &rule_type1, &trial);
	pn_trial_close(&trial);
	CHECK(out.exempt == !look->note);
	CHECK(out.fits == (out.exempt ? PN_FITS_YES : PN_FITS_NO));
	CHECK(out.exempt || out.limit == 16);
	return 0;
}

static void exempt_or_not_without_proc(void **state)
{
	struct look look = {.prepare = take_proc_away};
	int of_machine, of_namespace;

	(void)state;
	if (geteuid() || !pn_exempt_now()) {
		print_message("skipped: only for root of the machine\n");
		skip();
	}
	of_machine = child_result(ask_for_too_much, &look);
	look = (struct look){.prepare = take_proc_away_from_root, .note = "not exempt"};
	of_namespace = child_result(ask_for_too_much, &look);
	if (of_machine == SKIPPED || of_namespace == SKIPPED) {
		print_message("skipped: this place does not allow mounting\n");
		skip();
	}
	assert_int_equal(of_machine, 0);
	assert_int_equal(of_namespace, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limits_at_their_ends),
		cmocka_unit_test(without_a_limit),
		cmocka_unit_test_teardown(behind_hidepid, ledgers_clear),
		cmocka_unit_test_teardown(without_proc, ledgers_clear),
		cmocka_unit_test_teardown(a_process_that_may_not_be_looked_into, ledgers_clear),
		cmocka_unit_test_teardown(a_ledger_of_another_user, ledgers_clear),
		cmocka_unit_test_teardown(who_holds_it_cannot_be_seen, ledgers_clear),
		cmocka_unit_test(exempt_or_not_without_proc),
		cmocka_unit_test_teardown(a_process_that_has_changed_its_user, ledgers_clear),
	};

	return cmocka_run_group_tests(tests, ledgers_make, ledgers_remove);
}
