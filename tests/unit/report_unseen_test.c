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
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "report_fixture.h"

#define MM_LOCKED PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED)
#define STRANGER  61234u
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
	const struct pn_charge_rule *rule = arg ? arg : &rule_type1;
	struct pn_ledger *ledger = ledger_of(rule, "/dev/vfio/vfio", false);

	ledger_map(ledger, rule->counters, 0x10000000, 0x1000, 16 * 4096);
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
	unsigned int notes = 0;

	if (setresgid(STRANGER, STRANGER, STRANGER) || setresuid(STRANGER, STRANGER, STRANGER))
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
	/* It is said once, in however many counters it may be. */
	assert_int_equal(remove_ledgers(NULL), 0);
	child = child_start(hold_for_all_to_read, (void *)(uintptr_t)&rule_iommufd);
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

static int become_stranger(void)
{
	return setresgid(STRANGER, STRANGER, STRANGER) || setresuid(STRANGER, STRANGER, STRANGER);
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
	if (geteuid()) {
		print_message("skipped: only root can be someone else\n");
		skip();
	}
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

/* Root there, and nobody else: what podman without root, or unshare -r, makes. */
static int enter_user_namespace(void *arg)
{
	uid_t uid = geteuid() ? geteuid() : STRANGER;
	char map[32];
	int fd, ret;

	(void)arg;
	if (!geteuid() && (setresgid(STRANGER, STRANGER, STRANGER) ||
				  setresuid(STRANGER, STRANGER, STRANGER)))
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
	uid_t uid = geteuid() ? geteuid() : STRANGER;
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
	if (child_result(try_pid_namespace, NULL)) {
		print_message("skipped: no PID namespace can be made\n");
		skip();
	}
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
	if (child_result(try_pid_namespace, NULL)) {
		print_message("skipped: no PID namespace can be made\n");
		skip();
	}
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
	if (child_result(try_pid_namespace, NULL)) {
		print_message("skipped: no PID namespace can be made\n");
		skip();
	}
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
	if (child_result(try_pid_namespace, NULL) || pn_proc_read(1, &init)) {
		print_message("skipped: no PID namespace can be made\n");
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

/* As a daemon does that begins as root, without CAP_IPC_LOCK, and goes on as somebody else. */
static void hold_and_change_user(void *arg)
{
	struct pn_ledger *ledger = ledger_of(&rule_iommufd, "/dev/iommu", false);

	(void)arg;
	ledger_map(ledger, USER_AND_PINNED, 0x10000000, 0x1000, 16 * 4096);
	if (setresgid(STRANGER, STRANGER, STRANGER) || setresuid(STRANGER, STRANGER, STRANGER))
		_exit(1);
}

static void a_process_that_has_changed_its_user(void **state)
{
	const struct pn_pins_process *process;
	struct pn_pins_report *report;
	pid_t child;

	(void)state;
	if (geteuid()) {
		print_message("skipped: only root can be someone else\n");
		skip();
	}
	child = child_start(hold_and_change_user, NULL);
	report = report_of_ledgers();
	process = process_in(report, child);
	assert_non_null(process);
	assert_true(process->alive);
	assert_int_equal(process->uid, STRANGER);
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
		cmocka_unit_test_teardown(behind_hidepid, remove_ledgers),
		cmocka_unit_test_teardown(without_proc, remove_ledgers),
		cmocka_unit_test_teardown(a_process_that_may_not_be_looked_into, remove_ledgers),
		cmocka_unit_test_teardown(a_ledger_of_another_user, remove_ledgers),
		cmocka_unit_test_teardown(who_holds_it_cannot_be_seen, remove_ledgers),
		cmocka_unit_test_teardown(in_a_user_namespace, remove_ledgers),
		cmocka_unit_test_teardown(in_a_pid_namespace, remove_ledgers),
		cmocka_unit_test_teardown(charged_from_a_pid_namespace, remove_ledgers),
		cmocka_unit_test_teardown(two_of_the_same_pid, remove_ledgers),
		cmocka_unit_test_teardown(a_proc_of_another_namespace, remove_ledgers),
		cmocka_unit_test_teardown(looked_at_through_another_proc, remove_ledgers),
		cmocka_unit_test(exempt_or_not_without_proc),
		cmocka_unit_test_teardown(a_process_that_has_changed_its_user, remove_ledgers),
	};

	return cmocka_run_group_tests(tests, ledgers_make, ledgers_remove);
}
