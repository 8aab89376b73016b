/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ledgers of real processes.
 */
#include <dirent.h>
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
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "report_fixture.h"

#define BIT(counter) PN_COUNTER_BIT(PN_COUNTER_##counter)

const struct pn_charge_rule rule_type1 = {
	"type1", "process (mm)", BIT(MM_LOCKED), BIT(MM_LOCKED), PN_COUNTER_MM_LOCKED};
const struct pn_charge_rule rule_iommufd = {"iommufd", "user", BIT(USER_LOCKED) | BIT(MM_PINNED),
	BIT(MM_PINNED), PN_COUNTER_USER_LOCKED};
const struct pn_charge_rule rule_noiommu = {"noiommu", "none", 0, 0, PN_COUNTER_MAX};

char ledgers[] = "/tmp/pn-report-XXXXXX";

int ledgers_make(void **state)
{
	(void)state;
	/* Others look into it too. */
	return mkdtemp(ledgers) && !chmod(ledgers, 01777) ? 0 : -1;
}

int ledgers_remove(void **state)
{
	DIR *files = opendir(ledgers);
	struct dirent *entry;

	(void)state;
	while (files && (entry = readdir(files)))
		unlinkat(dirfd(files), entry->d_name, 0);
	if (files)
		closedir(files);
	return rmdir(ledgers);
}

int ledgers_clear(void **state)
{
	return ledgers_remove(state) || mkdir(ledgers, 0700) || chmod(ledgers, 01777);
}

struct pn_ledger *ledger_of(const struct pn_charge_rule *rule, const char *node, bool exempt)
{
	struct pn_ledger_owner owner = {
		.path = rule->path, .node = node, .charge = rule, .exempt = exempt};
	struct pn_ledger *ledger = NULL;

	assert_int_equal(pn_ledger_open(&ledger, ledgers, &owner), 0);
	return ledger;
}

void ledger_map(
	struct pn_ledger *ledger, uint32_t counters, uint64_t vaddr, uint64_t iova, uint64_t len)
{
	struct pn_pin pin = {.vaddr = vaddr,
		.iova = iova,
		.len = len,
		.page_size = 4096,
		.pages = counters ? pn_charge_pages(vaddr, len) : 0,
		.counters = counters,
		.prot = 3,
		.name = "packets"};
	uint32_t slot;

	pn_ledger_add(ledger, &pin, &slot);
}

pid_t child_start(void (*run)(void *arg), void *arg)
{
	int ready[2];
	char byte = 0;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run(arg);
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

void child_end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int child_result(int (*run)(void *arg), void *arg)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		_exit(run(arg));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct pn_pins_report *report_of_ledgers(void)
{
	struct pn_pins_query query = {.directory = ledgers};
	struct pn_pins_report *report = NULL;

	return pn_pins_report_create(&report, &query) ? NULL : report;
}

const struct pn_pins_process *process_in(const struct pn_pins_report *report, pid_t pid)
{
	for (size_t i = 0; i < report->process_count; i++) {
		if (report->processes[i].pid == pid)
			return &report->processes[i];
	}
	return NULL;
}

const struct pn_finding *finding_of(
	const struct pn_pins_report *report, const char *cause, pid_t pid)
{
	for (size_t i = 0; i < report->finding_count; i++) {
		if (!strcmp(report->findings[i].cause, cause) && report->findings[i].pid == pid)
			return &report->findings[i];
	}
	return NULL;
}

bool has_note(const struct pn_pins_report *report, const char *part)
{
	for (size_t i = 0; i < report->note_count; i++) {
		if (strstr(report->notes[i], part))
			return true;
	}
	return false;
}

void hold_for_oneself(void *arg)
{
	(void)arg;
	ledger_map(ledger_of(&rule_type1, "/dev/vfio/vfio", false),
		PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED), 0x10000000, 0x1000, 16 * 4096);
}

int own_mounts(void)
{
	return unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

int become_stranger(void)
{
	return setresgid(STRANGER_UID, STRANGER_UID, STRANGER_UID) ||
	       setresuid(STRANGER_UID, STRANGER_UID, STRANGER_UID);
}
