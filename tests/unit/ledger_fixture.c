/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See ledger_fixture.h.
 */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "ledger_fixture.h"

const struct pn_charge_rule ledger_rule = {"type1", "process (mm)",
	PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED) | PN_COUNTER_BIT(PN_COUNTER_MM_PINNED), 0,
	PN_COUNTER_MM_LOCKED};
const struct pn_ledger_owner ledger_owner = {"type1", "/dev/vfio/vfio", &ledger_rule, false};
char ledger_dir[] = "/tmp/pn-ledger-XXXXXX";

int ledger_dir_make(void **state)
{
	(void)state;
	unsetenv("PINION_LEDGER_EVENTS");
	return mkdtemp(ledger_dir) ? 0 : -1;
}

int ledger_dir_clear(void **state)
{
	DIR *files = opendir(ledger_dir);
	struct dirent *entry;

	(void)state;
	while (files && (entry = readdir(files)))
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(files), entry->d_name, 0);
	return files ? closedir(files) : -1;
}

int ledger_dir_remove(void **state)
{
	return ledger_dir_clear(state) || rmdir(ledger_dir);
}

char *ledger_dir_path(char path[300])
{
	DIR *files = opendir(ledger_dir);
	struct dirent *entry;

	path[0] = '\0';
	assert_non_null(files);
	while ((entry = readdir(files)))
		if (entry->d_name[0] != '.')
			snprintf(path, 300, "%s/%s", ledger_dir, entry->d_name);
	closedir(files);
	return path;
}

struct pn_ledger *open_ledger(void)
{
	struct pn_ledger *ledger;

	assert_int_equal(pn_ledger_open(&ledger, ledger_dir, &ledger_owner), 0);
	return ledger;
}

void map_and_unmap(struct pn_ledger *ledger, uint64_t iova)
{
	struct pn_pin pin = {.vaddr = iova + 4096,
		.iova = iova,
		.len = 8192,
		.page_size = 4096,
		.pages = 2,
		.counters = ledger_rule.counters,
		.prot = 3,
		.name = "region"};
	uint32_t slot;

	pn_ledger_add(ledger, &pin, &slot);
	pn_ledger_remove(ledger, slot, &pin);
}

struct pn_pins_report *report_now(bool events)
{
	struct pn_pins_query query = {.directory = ledger_dir, .events = events};
	struct pn_pins_report *report = NULL;

	assert_int_equal(pn_pins_report_create(&report, &query), 0);
	return report;
}

const struct pn_events *only_events(const struct pn_pins_report *report)
{
	for (size_t i = 0; i < report->note_count && report->process_count != 1; i++)
		print_message("# %s\n", report->notes[i]);
	assert_int_equal(report->process_count, 1);
	assert_int_equal(report->processes[0].domain_count, 1);
	assert_non_null(report->processes[0].domains[0].events);
	return report->processes[0].domains[0].events;
}

int64_t clock_now(clockid_t clock)
{
	struct timespec at;

	clock_gettime(clock, &at);
	return at.tv_sec * SECOND + at.tv_nsec;
}

int in_child(int (*run)(void))
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child)
		_exit(run());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

pid_t start_writer(void (*write_for_ever)(int ready))
{
	int ready[2];
	char byte;
	pid_t child;

	assert_int_equal(pipe(ready), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		/* Whatever becomes of the test. */
		if (prctl(PR_SET_PDEATHSIG, SIGKILL))
			_exit(1);
		write_for_ever(ready[1]);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return child;
}

void end_writer(pid_t child)
{
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
}
