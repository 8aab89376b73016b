/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reports on processes of other namespaces, and from there: a user who is root in one, pids that
 * are other processes here, and a /proc of another PID namespace.
 */
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
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "report_fixture.h"

#define MM_LOCKED PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED)
#define SKIPPED   77

/* Root there, and nobody else: what podman without root, or unshare -r, makes. */
static int enter_user_namespace(void *arg)
{
	uid_t uid = geteuid() ? geteuid() : STRANGER_UID;
	char map[32];
	int fd, ret;

	(void)arg;
	if (!geteuid() && become_stranger())
		return -1;
	prctl(PR_SET_DUMPABLE, 1);
	if (unshare(CLONE_NEWUSER))
		return -1;
	fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
	snprintf(map, sizeof(map), "0 %u 1", (unsigned int)uid);
	ret = fd >= 0 && write(fd, map, strlen(map)) == (ssize_t)strlen(map) ? 0 : -1;
	if (fd >= 0)
		close(fd);
	return ret || getuid() ? -1 : 0;
}

static void hold_in_user_namespace(void *arg)
{
	if (enter_user_namespace(NULL))
		_exit(1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	hold_for_oneself(arg);
}

/* It calls itself 0 in its ledger, and is who owns the file. */
static void expect_owner(pid_t pid, const char *state, uid_t uid)
{
	struct pn_pins_report *report = report_of_ledgers();
	const struct pn_pins_process *process = process_in(report, pid);

	assert_false(has_note(report, "left out"));
	assert_non_null(process);
	assert_string_equal(pn_pins_state(process), state);
	assert_int_equal(process->uid, uid);
	assert_int_equal(process->predicted[PN_COUNTER_MM_LOCKED], 16);
	pn_pins_report_free(report);
}

static void in_a_user_namespace(void **state)
{
	uid_t uid = geteuid() ? geteuid() : STRANGER_UID;
	pid_t child;

	(void)state;
	if (child_result(enter_user_namespace, NULL)) {
		print_message("skipped: no user namespace can be made\n");
		skip();
	}
	/* In there, root's directory is one of nobody's. */
	assert_int_equal(chown(ledgers, uid, (gid_t)-1), 0);
	child = child_start(hold_in_user_namespace, NULL);
	expect_owner(child, "alive", uid);
	child_end(child);
	expect_owner(child, "gone", uid);
	assert_int_equal(chown(ledgers, geteuid(), (gid_t)-1), 0);
}

/* With CAP_IPC_LOCK, where its pid is 1, and gone without a word. */
static int map_and_end_in_pid_namespace(void *arg)
{
	int status;
	pid_t pid;

	(void)arg;
	if (unshare(CLONE_NEWPID))
		return SKIPPED;
	pid = fork();
	if (!pid) {
		ledger_map(ledger_of(&rule_iommufd, "/dev/iommu", true),
			PN_COUNTER_BIT(PN_COUNTER_MM_PINNED), 0x10000000, 0x1000, 16 * 4096);
		_exit(0);
	}
	return waitpid(pid, &status, 0) != pid || status;
}

static void map_for_the_user(void)
{
	ledger_map(ledger_of(&rule_iommufd, "/dev/iommu", false), rule_iommufd.counters, 0x10000000,
		0x1000, 16 * 4096);
}

static bool other_proc; /* that of the namespace outside stays */

/* As pid 1 of a namespace of its own, with a /proc to match; the one outside waits for it. */
static void run_in_pid_namespace(void *arg)
{
	void (*const *run)(void) = arg;
	int ready[2];
	char byte = 0;

	if (own_mounts() || unshare(CLONE_NEWPID) || pipe(ready))
		_exit(1);
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!other_proc && mount("proc", "/proc", "proc", 0, NULL))
			_exit(1);
		(*run)();
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		_exit(1);
}

static int try_pid_namespace(void *arg)
{
	int status;
	pid_t pid;

	(void)arg;
	if (own_mounts() || unshare(CLONE_NEWPID))
		return 1;
	pid = fork();
	if (!pid)
		_exit(mount("proc", "/proc", "proc", 0, NULL) != 0);
	return waitpid(pid, &status, 0) != pid || status;
}

static void need_pid_namespace(void)
{
	if (child_result(try_pid_namespace, NULL)) {
		print_message("skipped: no PID namespace can be made\n");
		skip();
	}
}

static uint64_t of_the_user(const char *state)
{
	struct pn_pins_report *report = report_of_ledgers();
	uint64_t pages;

	assert_non_null(report);
	assert_int_equal(report->process_count, 1);
	assert_true(report->processes[0].foreign);
	pages = report->processes[0].user_predicted;
	if (strcmp(pn_pins_state(&report->processes[0]), state) != 0)
		pages = UINT64_MAX;
	pn_pins_report_free(report);
	return pages;
}

/* One counter has the pages of all the user's processes, whatever their pids mean here. */
static void charged_from_a_pid_namespace(void **state)
{
	void (*run)(void) = map_for_the_user;
	pid_t child;

	(void)state;
	need_pid_namespace();
	child = child_start(run_in_pid_namespace, &run);
	assert_int_equal(of_the_user("foreign"), 16);
	child_end(child);
	for (int tries = 0; tries < 1000 && of_the_user("gone") == UINT64_MAX; tries++)
		usleep(10000);
	assert_int_equal(of_the_user("gone"), 0);
}

static void map_a_lot(void)
{
	ledger_map(ledger_of(&rule_type1, "/dev/vfio/vfio", false), MM_LOCKED, 0x10000000, 0x1000,
		512 * 4096);
}

static void lock_and_begin(void)
{
	void *memory = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	/* Sanitizers turn mlock() into nothing. */
	if (memory == MAP_FAILED || syscall(SYS_mlock, memory, 4 * 4096))
		_exit(1);
	ledger_of(&rule_type1, "/dev/vfio/vfio", false);
}

/* Programs of containers are pid 1 each: what the one has is not taken off what the other finds. */
static void two_of_the_same_pid(void **state)
{
	void (*first)(void) = map_a_lot, (*second)(void) = lock_and_begin;
	struct pn_pins_report *report;
	pid_t children[2];

	(void)state;
	need_pid_namespace();
	assert_int_equal(setenv("PINION_RUNTIME_DIR", ledgers, 1), 0);
	children[0] = child_start(run_in_pid_namespace, &first);
	children[1] = child_start(run_in_pid_namespace, &second);
	unsetenv("PINION_RUNTIME_DIR");
	report = report_of_ledgers();
	assert_non_null(report);
	assert_int_equal(report->process_count, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct pn_pins_process *process = &report->processes[i];

		assert_int_equal(process->pid, 1);
		assert_int_equal(process->before[PN_COUNTER_MM_LOCKED],
			process->predicted[PN_COUNTER_MM_LOCKED] ? 0 : 4);
	}
	pn_pins_report_free(report);
	child_end(children[0]);
	child_end(children[1]);
}

/* Pid 1 makes the report on pid 2. */
static void look_through_another_proc(void)
{
	struct pn_pins_report *report;
	int ready[2];
	char byte = 0;

	if (pipe(ready))
		_exit(1);
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		map_for_the_user();
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	if (read(ready[0], &byte, 1) != 1)
		_exit(1);
	report = report_of_ledgers();
	if (!report || report->process_count != 1 || report->processes[0].pid != 2 ||
		strcmp(pn_pins_state(&report->processes[0]), "hidden") != 0 ||
		report->processes[0].user_predicted != 16 ||
		!has_note(report, "/proc is that of another PID namespace") ||
		has_note(report, "is gone"))
		_exit(1);
	pn_pins_report_free(report);
}

/* What is at a process's number there is another process: it is not known, and not gone. */
static void looked_at_through_another_proc(void **state)
{
	void (*run)(void) = look_through_another_proc;
	pid_t child;

	(void)state;
	need_pid_namespace();
	other_proc = true;
	child = child_start(run_in_pid_namespace, &run);
	other_proc = false;
	child_end(child);
}

/* There /proc/1 is another process, and its counters and its start are not this one's. */
static void a_proc_of_another_namespace(void **state)
{
	void (*run)(void) = lock_and_begin;
	struct pn_pins_report *report;
	struct pn_proc_state init;
	pid_t child;

	(void)state;
	need_pid_namespace();
	if (pn_proc_read(1, &init)) {
		print_message("skipped: /proc/1 cannot be read\n");
		skip();
	}
	other_proc = true;
	child = child_start(run_in_pid_namespace, &run);
	other_proc = false;
	report = report_of_ledgers();
	assert_non_null(report);
	assert_int_equal(report->process_count, 1);
	assert_int_equal(report->processes[0].before[PN_COUNTER_MM_LOCKED], 4);
	assert_true(report->processes[0].start_time > init.start_time);
	pn_pins_report_free(report);
	child_end(child);
}

/* Whether it lives cannot be seen, so nothing is said to be pinned, and nothing of another's pid.
 */
static void in_a_pid_namespace(void **state)
{
	int result = child_result(map_and_end_in_pid_namespace, NULL);
	struct pn_pins_report *report;
	char *text;

	(void)state;
	if (result == SKIPPED) {
		print_message("skipped: no PID namespace can be made\n");
		skip();
	}
	assert_int_equal(result, 0);
	report = report_of_ledgers();
	assert_non_null(report);
	assert_int_equal(report->process_count, 1);
	assert_true(report->processes[0].foreign);
	assert_string_equal(pn_pins_state(&report->processes[0]), "gone");
	assert_int_equal(report->finding_count, 0);
	text = pn_pins_prometheus(report);
	assert_null(strstr(text, "pid=\"1\""));
	free(text);
	pn_pins_report_free(report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(in_a_user_namespace, ledgers_clear),
		cmocka_unit_test_teardown(in_a_pid_namespace, ledgers_clear),
		cmocka_unit_test_teardown(charged_from_a_pid_namespace, ledgers_clear),
		cmocka_unit_test_teardown(two_of_the_same_pid, ledgers_clear),
		cmocka_unit_test_teardown(a_proc_of_another_namespace, ledgers_clear),
		cmocka_unit_test_teardown(looked_at_through_another_proc, ledgers_clear),
	};

	return cmocka_run_group_tests(tests, ledgers_make, ledgers_remove);
}
