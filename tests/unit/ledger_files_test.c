/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A directory of ledgers in which others have a hand: links, fifos, folders, files of another user
 * or that nobody holds, names that are taken, texts that would drive a terminal. What is not sound
 * is left out, and what is shown is harmless.
 */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "ledger_forge.h"
#include "pins_priv.h"

static char dir[] = "/tmp/pn-hostile-XXXXXX";

static int setup(void **state)
{
	(void)state;
	return forge_good() || !mkdtemp(dir) ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	return rmdir(dir);
}

/* What a failed test has left. */
static int clean(void **state)
{
	DIR *files = opendir(dir);
	struct dirent *entry;

	(void)state;
	while (files && (entry = readdir(files)))
		if (entry->d_name[0] != '.' && unlinkat(dirfd(files), entry->d_name, 0))
			unlinkat(dirfd(files), entry->d_name, AT_REMOVEDIR);
	return files ? closedir(files) : -1;
}

static void a_file_in_a_directory(const char *name, const unsigned char *bytes)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, SIZE), SIZE);
	close(fd);
}

/* One report of the directory, rendered; how many processes and notes it has. */
static void look(size_t processes, size_t at_least_notes)
{
	struct pn_pins_query query = {0, dir, false};
	struct pn_pins_report *report;
	char *text[2];

	assert_int_equal(pn_pins_report_create(&report, &query), 0);
	assert_int_equal(report->process_count, processes);
	assert_true(report->note_count >= at_least_notes);
	text[0] = pn_pins_table(report);
	text[1] = pn_pins_json(report);
	for (int i = 0; i < 2; i++) {
		assert_non_null(text[i]);
		for (const char *at = text[i]; *at; at++)
			if (*at != '\n' && ((unsigned char)*at < 32 || *at == 127))
				fail_msg("byte %d in what is shown, at \"%.40s\"", *at, at + 1);
		free(text[i]);
	}
	pn_pins_report_free(report);
}

static void what_is_no_file(void **state)
{
	char path[4][80], real[80];

	(void)state;
	for (int i = 0; i < 4; i++)
		snprintf(path[i], sizeof(path[i]), "%s/%d-0.ledger", dir, 100 + i);
	snprintf(real, sizeof(real), "%s/real", dir);
	a_file_in_a_directory("real", good.bytes);
	look(0, 0);
	assert_int_equal(symlink(real, path[0]), 0);
	assert_int_equal(mkfifo(path[1], 0600), 0);
	assert_int_equal(mkdir(path[2], 0700), 0);
	assert_int_equal(symlink("/nonexistent", path[3]), 0);
	look(0, 1);
	unlink(real);
	unlink(path[0]);
	unlink(path[1]);
	rmdir(path[2]);
	unlink(path[3]);
}

/* Whatever another user has put under the names that a ledger would get: it is left alone. */
static void names_that_are_taken(void **state)
{
	static const struct pn_charge_rule rule = {"type1", "process (mm)", 1, 0, 0};
	static const struct pn_ledger_owner owner = {"type1", "", &rule, false};
	struct pn_ledger *ledger;
	char path[5][80], victim[80];
	struct stat st;

	(void)state;
	for (int i = 0; i < 5; i++)
		snprintf(path[i], sizeof(path[i]), "%s/%d-%d.ledger", dir, (int)getpid(), i);
	snprintf(victim, sizeof(victim), "%s/victim", dir);
	a_file_in_a_directory("victim", good.bytes);
	assert_int_equal(symlink(victim, path[0]), 0);
	assert_int_equal(symlink("made-by-nobody", path[1]), 0);
	assert_int_equal(mkfifo(path[2], 0666), 0);
	assert_int_equal(link(victim, path[3]), 0);
	assert_int_equal(pn_ledger_open(&ledger, dir, &owner), 0);
	assert_string_equal(pn_ledger_path(ledger), path[4]);
	pn_ledger_close(ledger);
	assert_int_equal(stat(victim, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	assert_int_equal(stat(path[1], &st), -1);
	assert_int_equal(lstat(path[2], &st), 0);
	assert_int_equal(lstat(path[4], &st), -1);
}

static void a_file_of_another_user(void **state)
{
	char path[80];

	(void)state;
	if (geteuid()) {
		print_message("skipped: only root can give files away\n");
		skip();
	}
	a_file_in_a_directory("1-0.ledger", good.bytes);
	look(1, 0);
	snprintf(path, sizeof(path), "%s/1-0.ledger", dir);
	assert_int_equal(chown(path, 61234, 61234), 0);
	/* It says that it is ours. */
	look(0, 1);
	unlink(path);
}

/* A living process is believed to hold what its own user has written, and nobody else. */
static void a_file_that_names_another_users_process(void **state)
{
	static union ledger_file forged;
	struct pn_proc_state init;
	char path[80];

	(void)state;
	if (geteuid() || pn_proc_read(1, &init)) {
		print_message("skipped: only root can give files away\n");
		skip();
	}
	forged = good;
	forged.header.abouts[0].uid = 61234;
	a_file_in_a_directory("1-0.ledger", forged.bytes);
	snprintf(path, sizeof(path), "%s/1-0.ledger", dir);
	assert_int_equal(chown(path, 61234, 61234), 0);
	look(0, 1);
	/* The same of a process that is gone is a ledger left behind. */
	forged.header.start_time--;
	a_file_in_a_directory("1-1.ledger", forged.bytes);
	snprintf(path, sizeof(path), "%s/1-1.ledger", dir);
	assert_int_equal(chown(path, 61234, 61234), 0);
	look(1, 2);
}

/* exec() keeps the pid and its start time, but the pins go: the lock says who still holds a ledger.
 */
static void a_ledger_that_nobody_holds(void **state)
{
	struct pn_pins_query query = {.directory = dir};
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct pn_pins_report *report;
	char path[80];
	int fd;

	(void)state;
	a_file_in_a_directory("1-0.ledger", good.bytes);
	snprintf(path, sizeof(path), "%s/1-0.ledger", dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &whole), 0);
	assert_int_equal(pn_pins_report_create(&report, &query), 0);
	assert_true(report->process_count == 1 && report->processes[0].alive);
	pn_pins_report_free(report);
	close(fd);
	query.prune = true;
	assert_int_equal(pn_pins_report_create(&report, &query), 0);
	assert_true(report->process_count == 1 && !report->processes[0].alive);
	pn_pins_report_free(report);
	assert_int_equal(access(path, F_OK), -1);
}

static void texts_that_would_drive_a_terminal(void **state)
{
	static union ledger_file forged;
	char path[80];

	(void)state;
	forged = good;
	strcpy(forged.header.path, "\033[2J\a");
	strcpy(forged.header.node, "\033]0;x\a\x9b");
	strcpy(forged.header.abouts[0].accounting, "\r\n\t\033c");
	strcpy(forged.header.abouts[0].device_names, "\x7f\b\b\x80");
	strcpy(forge_slot(forged.bytes, 0)->name, "\033[31m\"\\");
	a_file_in_a_directory("1-0.ledger\033[2J.ledger", forged.bytes);
	look(1, 0);
	memset(forged.bytes, 0, 8);
	a_file_in_a_directory("bad\033[2J.ledger", forged.bytes);
	look(1, 1);
	snprintf(path, sizeof(path), "%s/1-0.ledger\033[2J.ledger", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/bad\033[2J.ledger", dir);
	unlink(path);
}

/* Totals that only overflow when they are added up. */
static void sums_that_overflow(void **state)
{
	static union ledger_file forged;
	char path[80];

	(void)state;
	forged = good;
	for (int i = 0; i < PN_COUNTER_MAX; i++)
		forged.header.totals[3].predicted[i] = forged.header.before[i] = UINT64_MAX - 1;
	forged.header.totals[3].unrecorded = UINT64_MAX;
	forged.header.abouts[0].devices = UINT32_MAX;
	a_file_in_a_directory("1-0.ledger", forged.bytes);
	a_file_in_a_directory("1-1.ledger", forged.bytes);
	look(1, 0);
	snprintf(path, sizeof(path), "%s/1-0.ledger", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/1-1.ledger", dir);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(what_is_no_file, clean),
		cmocka_unit_test_teardown(names_that_are_taken, clean),
		cmocka_unit_test_teardown(a_file_of_another_user, clean),
		cmocka_unit_test_teardown(a_file_that_names_another_users_process, clean),
		cmocka_unit_test_teardown(a_ledger_that_nobody_holds, clean),
		cmocka_unit_test_teardown(texts_that_would_drive_a_terminal, clean),
		cmocka_unit_test_teardown(sums_that_overflow, clean),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
