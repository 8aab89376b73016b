/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a report cannot know, and limits at their ends: a limit of 0 and none, processes of another
 * user, behind hidepid, without /proc, of another version. It says so, and gives no number.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
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
#define STRANGER  61234u
#define SKIPPED   77

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
	assert_int_equal(ledgers_remove(NULL), 0);
	assert_int_equal(mkdir(ledgers, 0700) || chmod(ledgers, 01777), 0);
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
	struct pn_ledger *ledger = ledger_of(&rule_type1, "/dev/vfio/vfio", false);

	(void)arg;
	ledger_map(ledger, MM_LOCKED, 0x10000000, 0x1000, 16 * 4096);
	if (fchmod(pn_ledger_fd(ledger), 0644))
		_exit(1);
}

static void look_at_one(struct look look)
{
	int result;

	if (geteuid()) {
		print_message("skipped: only root can hide /proc\n");
		skip();
	}
	look.pid = child_start(hold_for_all_to_read, NULL);
	result = child_result(look_from_elsewhere, &look);
	child_end(look.pid);
	if (result == SKIPPED) {
		print_message("skipped: this place does not allow mounting\n");
		skip();
	}
	assert_int_equal(result, 0);
}

static int remove_ledgers(void **state)
{
	return ledgers_remove(state) || mkdir(ledgers, 0700) || chmod(ledgers, 01777);
}

static int own_mounts(void)
{
	return unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static int hide_processes(void)
{
	return own_mounts() || mount("proc", "/proc", "proc", 0, "hidepid=2") ||
	       setresgid(STRANGER, STRANGER, STRANGER) || setresuid(STRANGER, STRANGER, STRANGER);
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

	if (setresgid(STRANGER, STRANGER, STRANGER) || setresuid(STRANGER, STRANGER, STRANGER))
		return SKIPPED;
	report = report_of_ledgers();
	CHECK(report && process_in(report, pid));
	CHECK(has_note(report, "charged twice by its address or by mlock is not known"));
	CHECK(process_in(report, pid)->alive);
	CHECK(process_in(report, pid)->observed[PN_COUNTER_MM_LOCKED].observer == PN_OBSERVER_PROC);
	pn_pins_report_free(report);
	return 0;
}

static void a_process_that_may_not_be_looked_into(void **state)
{
	pid_t child;
	int result;

	(void)state;
	if (geteuid()) {
		print_message("skipped: only root can be someone else\n");
		skip();
	}
	child = child_start(hold_for_all_to_read, NULL);
	result = child_result(look_as_stranger, &child);
	child_end(child);
	assert_int_equal(result, 0);
}

static void hold_for_oneself(void *arg)
{
	(void)arg;
	ledger_map(ledger_of(&rule_type1, "/dev/vfio/vfio", false), MM_LOCKED, 0x10000000, 0x1000,
		16 * 4096);
}

static int read_what_is_not_mine(void *arg)
{
	struct pn_pins_report *report;

	(void)arg;
	if (setresgid(STRANGER, STRANGER, STRANGER) || setresuid(STRANGER, STRANGER, STRANGER))
		return SKIPPED;
	report = report_of_ledgers();
	CHECK(report && !report->process_count);
	CHECK(has_note(report, "cannot be read: Permission denied"));
	pn_pins_report_free(report);
	return 0;
}

static void a_ledger_of_another_user(void **state)
{
	pid_t child;
	int result;

	(void)state;
	if (geteuid()) {
		print_message("skipped: only root can be someone else\n");
		skip();
	}
	child = child_start(hold_for_oneself, NULL);
	result = child_result(read_what_is_not_mine, NULL);
	child_end(child);
	assert_int_equal(result, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limits_at_their_ends),
		cmocka_unit_test(without_a_limit),
		cmocka_unit_test_teardown(behind_hidepid, remove_ledgers),
		cmocka_unit_test_teardown(without_proc, remove_ledgers),
		cmocka_unit_test_teardown(a_process_that_may_not_be_looked_into, remove_ledgers),
		cmocka_unit_test_teardown(a_ledger_of_another_user, remove_ledgers),
	};

	return cmocka_run_group_tests(tests, ledgers_make, ledgers_remove);
}
