/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ring of events in a ledger: what was recorded comes back whole and in order, while it is
 * written, after the writer was killed, when it has gone round; limits, clocks, texts.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "ledger_format.h"
#include "ledger_read.h"
#include "pins_priv.h"

#define SECOND INT64_C(1000000000)

static const struct pn_charge_rule rule = {"type1", "process (mm)",
	PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED) | PN_COUNTER_BIT(PN_COUNTER_MM_PINNED), 0,
	PN_COUNTER_MM_LOCKED};
static const struct pn_ledger_owner owner = {"type1", "/dev/vfio/vfio", &rule, false};
static char dir[] = "/tmp/pn-events-XXXXXX";

static int64_t clock_now(clockid_t clock)
{
	struct timespec at;

	clock_gettime(clock, &at);
	return at.tv_sec * SECOND + at.tv_nsec;
}

static struct pn_ledger *open_ledger(void)
{
	struct pn_ledger *ledger;

	assert_int_equal(pn_ledger_open(&ledger, dir, &owner), 0);
	return ledger;
}

static struct pn_pins_report *report_now(void)
{
	struct pn_pins_query query = {.directory = dir, .events = true};
	struct pn_pins_report *report = NULL;

	assert_int_equal(pn_pins_report_create(&report, &query), 0);
	return report;
}

/* The events of the only ledger there is. */
static const struct pn_events *only_events(const struct pn_pins_report *report)
{
	for (size_t i = 0; i < report->note_count && report->process_count != 1; i++)
		print_message("# %s\n", report->notes[i]);
	assert_int_equal(report->process_count, 1);
	assert_int_equal(report->processes[0].domain_count, 1);
	assert_non_null(report->processes[0].domains[0].events);
	return report->processes[0].domains[0].events;
}

static void map_and_unmap(struct pn_ledger *ledger, uint64_t iova)
{
	struct pn_pin pin = {.vaddr = iova + 4096,
		.iova = iova,
		.len = 8192,
		.page_size = 4096,
		.pages = 2,
		.counters = rule.counters,
		.prot = 3,
		.name = "region"};
	uint32_t slot;

	pn_ledger_add(ledger, &pin, &slot);
	pn_ledger_remove(ledger, slot, &pin);
}

static void what_happened_comes_back(void **state)
{
	static const enum pn_event_kind kinds[] = {PN_EVENT_START, PN_EVENT_MAP, PN_EVENT_UNMAP,
		PN_EVENT_ATTACH, PN_EVENT_FAIL, PN_EVENT_DAMAGE, PN_EVENT_MEND, PN_EVENT_DETACH};
	struct pn_pin held = {.vaddr = 0x7000,
		.iova = 0x5000,
		.len = 4096 * 7,
		.page_size = 4096,
		.pages = 7,
		.counters = rule.counters,
		.prot = 1,
		.queued = true};
	int64_t begin[3], end[3];
	const struct pn_events *events;
	struct pn_pins_report *report;
	struct pn_ledger *ledger;
	struct rlimit limit;
	uint32_t slot;

	(void)state;
	begin[0] = clock_now(CLOCK_MONOTONIC);
	begin[1] = clock_now(CLOCK_BOOTTIME);
	begin[2] = clock_now(CLOCK_REALTIME);
	ledger = open_ledger();
	map_and_unmap(ledger, 0x10000);
	pn_ledger_event(ledger, PN_EVENT_ATTACH, "0000:00:02.0");
	pn_ledger_failed(ledger, PN_EVENT_MAP, -ENOMEM, 0x2000, 4096, "too\tmuch\033[2J");
	pn_ledger_damaged(ledger, false, "not said");
	pn_ledger_damaged(ledger, true, "stuck");
	pn_ledger_damaged(ledger, true, "not said again");
	pn_ledger_damaged(ledger, false, NULL);
	pn_ledger_event(ledger, PN_EVENT_DETACH, "0000:00:02.0");
	end[0] = clock_now(CLOCK_MONOTONIC);
	end[1] = clock_now(CLOCK_BOOTTIME);
	end[2] = clock_now(CLOCK_REALTIME);
	report = report_now();
	events = only_events(report);
	assert_int_equal(events->room, LEDGER_EVENTS_DEFAULT);
	assert_int_equal(events->torn + events->senseless, 0);
	assert_int_equal(events->count, PN_ARRAY_SIZE(kinds));
	for (size_t i = 0; i < events->count; i++) {
		const struct pn_event *event = &events->events[i];

		assert_int_equal(event->kind, kinds[i]);
		assert_int_equal(event->number, i + 1);
		/* What is between the two clocks is measured: to a millisecond. */
		assert_in_range(
			event->monotonic_ns, begin[0] - SECOND / 1000, end[0] + SECOND / 1000);
		assert_in_range(event->boot_ns, begin[1], end[1]);
		assert_true(event->wall_ns >= begin[2] - SECOND / 100 &&
			    event->wall_ns <= end[2] + SECOND / 100);
		assert_true(!i || event->boot_ns >= event[-1].boot_ns);
	}
	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
	assert_true(events->events[0].limit_soft == limit.rlim_cur);
	assert_true(events->events[0].limit_hard == limit.rlim_max);
	for (size_t i = 1; i < 3; i++) {
		assert_int_equal(events->events[i].iova, 0x10000);
		assert_int_equal(events->events[i].vaddr, 0x11000);
		assert_int_equal(events->events[i].len, 8192);
		assert_int_equal(events->events[i].pages, 2);
		assert_int_equal(events->events[i].counters, rule.counters);
		assert_int_equal(events->events[i].prot, 3);
		assert_false(events->events[i].queued);
		assert_string_equal(events->events[i].text, "region");
	}
	assert_string_equal(events->events[3].text, "0000:00:02.0");
	assert_int_equal(events->events[4].call, PN_EVENT_MAP);
	assert_int_equal(events->events[4].err, ENOMEM);
	assert_int_equal(events->events[4].iova, 0x2000);
	assert_int_equal(events->events[4].len, 4096);
	assert_string_equal(events->events[4].text, "too?much?[2J");
	assert_string_equal(events->events[5].text, "stuck");
	assert_string_equal(events->events[6].text, "");
	pn_pins_report_free(report);
	/* Of a domain that holds something, what it is charged then. */
	pn_ledger_add(ledger, &held, &slot);
	pn_ledger_event(ledger, PN_EVENT_HANDOVER, NULL);
	report = report_now();
	events = only_events(report);
	assert_true(events->events[8].queued);
	assert_int_equal(events->events[8].prot, 1);
	assert_int_equal(events->events[9].pages, 7);
	pn_pins_report_free(report);
	/* Nobody reads them who did not ask. */
	assert_int_equal(
		pn_pins_report_create(&report, &(struct pn_pins_query){.directory = dir}), 0);
	assert_null(report->processes[0].domains[0].events);
	pn_pins_report_free(report);
	pn_ledger_close(ledger);
}

static void the_oldest_go_first(void **state)
{
	struct pn_ledger *ledger = open_ledger();
	const struct pn_events *events;
	struct pn_pins_report *report;

	(void)state;
	for (uint64_t i = 0; i < 5000; i++)
		pn_ledger_failed(ledger, PN_EVENT_UNMAP, -ENOENT, i, 1, "nothing there");
	report = report_now();
	events = only_events(report);
	assert_int_equal(events->count, LEDGER_EVENTS_DEFAULT);
	for (size_t i = 0; i < events->count; i++) {
		assert_int_equal(events->events[i].number, 5001 - events->count + i + 1);
		assert_int_equal(events->events[i].iova, 5000 - events->count + i);
	}
	pn_pins_report_free(report);
	pn_ledger_close(ledger);
}

static void a_reason_is_cut_to_what_fits(void **state)
{
	struct pn_ledger *ledger = open_ledger();
	const struct pn_event *event;
	struct pn_pins_report *report;
	char reason[PN_ERROR_MAX];

	(void)state;
	for (size_t len = PN_EVENT_TEXT - 3; len < PN_EVENT_TEXT + 3; len++) {
		memset(reason, 'x', len);
		reason[len] = '\0';
		pn_ledger_failed(ledger, PN_EVENT_MAP, -EINVAL, UINT64_MAX, UINT64_MAX, reason);
		report = report_now();
		event = &only_events(report)->events[only_events(report)->count - 1];
		assert_int_equal(
			strlen(event->text), len < PN_EVENT_TEXT ? len : PN_EVENT_TEXT - 1);
		pn_pins_report_free(report);
	}
	pn_ledger_close(ledger);
}

/* In a child, for its limit: returns which step failed. */
static int change_limits(void)
{
	struct rlimit limit = {1 << 20, 2 << 20};
	const struct pn_event *event;
	const struct pn_events *events;
	struct pn_pins_report *report;
	struct pn_ledger *ledger;

	if (setrlimit(RLIMIT_MEMLOCK, &limit))
		return 77; /* it is lower, and may not be raised */
	ledger = open_ledger();
	limit.rlim_cur = 1 << 19;
	setrlimit(RLIMIT_MEMLOCK, &limit);
	/* Mappings notice after a while. */
	usleep(20000);
	map_and_unmap(ledger, 0x4000);
	limit.rlim_max = limit.rlim_cur;
	setrlimit(RLIMIT_MEMLOCK, &limit);
	/* All else at once. */
	pn_ledger_failed(ledger, PN_EVENT_MAP, -ENOMEM, 0, 4096, "over the limit");
	report = report_now();
	events = only_events(report);
	if (events->count != 6 || events->events[1].kind != PN_EVENT_LIMIT ||
		events->events[2].kind != PN_EVENT_MAP ||
		events->events[4].kind != PN_EVENT_LIMIT || events->events[5].kind != PN_EVENT_FAIL)
		return 1;
	event = &events->events[1];
	if (event->was_soft != 1 << 20 || event->was_hard != 2 << 20 ||
		event->limit_soft != 1 << 19 || event->limit_hard != 2 << 20)
		return 2;
	event = &events->events[4];
	if (event->was_hard != 2 << 20 || event->limit_hard != 1 << 19)
		return 3;
	pn_pins_report_free(report);
	pn_ledger_close(ledger);
	return 0;
}

static int in_child(int (*run)(void))
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

static void a_limit_that_changes(void **state)
{
	int status = in_child(change_limits);

	(void)state;
	if (status == 77)
		skip();
	assert_int_equal(status, 0);
}

static int with_room(const char *text, uint32_t want)
{
	struct pn_pins_report *report;
	const struct pn_events *events;
	struct pn_ledger *ledger;
	int trouble;

	if (text)
		setenv("PINION_LEDGER_EVENTS", text, 1);
	else
		unsetenv("PINION_LEDGER_EVENTS");
	ledger = open_ledger();
	for (uint64_t i = 0; i < 600; i++)
		map_and_unmap(ledger, i << 16);
	pn_ledger_event(ledger, PN_EVENT_ATTACH, "device");
	pn_ledger_failed(ledger, PN_EVENT_MAP, -EIO, 0, 1, "why");
	pn_ledger_damaged(ledger, true, "why");
	report = report_now();
	events = only_events(report);
	trouble = events->room != want || events->count != (want < 1204 ? want : 1204) ||
		  report->processes[0].domains[0].pin_count;
	pn_pins_report_free(report);
	pn_ledger_close(ledger);
	return trouble;
}

static int rooms(void)
{
	return with_room("0", 0) || with_room("1", 8) || with_room("8", 8) || with_room("9", 16) ||
	       with_room("1025", 2048) || with_room("9999999", 65536) || with_room("", 256) ||
	       with_room("-1", 256) || with_room("12x", 256) ||
	       with_room("99999999999999999999", 256) || with_room(NULL, 256);
}

static void as_many_as_were_asked_for(void **state)
{
	(void)state;
	assert_int_equal(in_child(rooms), 0);
}

static struct pn_ledger *parents;

static int write_as_child(void)
{
	map_and_unmap(parents, 0x100000);
	pn_ledger_failed(parents, PN_EVENT_MAP, -EPERM, 0, 0, "not mine");
	pn_ledger_event(parents, PN_EVENT_ATTACH, "not mine");
	pn_ledger_damaged(parents, true, "not mine");
	return 0;
}

static void a_child_writes_nothing(void **state)
{
	struct pn_pins_report *report;

	(void)state;
	parents = open_ledger();
	assert_int_equal(in_child(write_as_child), 0);
	report = report_now();
	assert_int_equal(only_events(report)->count, 1);
	pn_pins_report_free(report);
	pn_ledger_close(parents);
}

/*
 * A writer that does nothing else, and its readers
 */

/* Each event follows from its IOVA. */
static void record(struct pn_ledger *ledger, uint64_t number)
{
	char reason[600];

	if (number % 4) {
		map_and_unmap(ledger, number << 16);
		return;
	}
	/* Of many lengths, some too long. */
	memset(reason, 'a' + (int)(number % 26), sizeof(reason));
	reason[number % sizeof(reason)] = '\0';
	pn_ledger_failed(
		ledger, PN_EVENT_MAP, -(int)(1 + number % 100), number << 16, number, reason);
}

static void check_event(const struct pn_event *event)
{
	uint64_t number = event->iova >> 16;
	size_t len = number % 600;

	assert_int_equal(event->iova & 0xffff, 0);
	if (event->kind == PN_EVENT_FAIL) {
		assert_int_equal(event->call, PN_EVENT_MAP);
		assert_int_equal(event->err, 1 + number % 100);
		assert_int_equal(event->len, number);
		assert_int_equal(event->vaddr, 0);
		assert_int_equal(
			strlen(event->text), len < PN_EVENT_TEXT ? len : PN_EVENT_TEXT - 1);
		for (const char *at = event->text; *at; at++)
			assert_int_equal(*at, 'a' + (int)(number % 26));
	} else if (event->kind != PN_EVENT_START && event->kind != PN_EVENT_LIMIT) {
		assert_true(event->kind == PN_EVENT_MAP || event->kind == PN_EVENT_UNMAP);
		assert_int_equal(event->vaddr, event->iova + 4096);
		assert_int_equal(event->len, 8192);
		assert_int_equal(event->pages, 2);
		assert_string_equal(event->text, "region");
	}
}

static void check_events(const struct pn_events *events)
{
	for (size_t i = 0; i < events->count; i++) {
		check_event(&events->events[i]);
		assert_true(!i || events->events[i].number > events->events[i - 1].number);
		assert_true(!i || events->events[i].boot_ns >= events->events[i - 1].boot_ns);
	}
	assert_int_equal(events->senseless, 0);
}

static pid_t start_writer(void)
{
	int ready[2];
	char byte;
	pid_t child;

	assert_int_equal(pipe(ready), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		struct pn_ledger *ledger;

		/* Whatever becomes of the test. */
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) || pn_ledger_open(&ledger, dir, &owner) ||
			write(ready[1], "", 1) != 1)
			_exit(1);
		for (uint64_t number = 0;; number++)
			record(ledger, number);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return child;
}

static void end_writer(pid_t child)
{
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static int remove_ledgers(void **state)
{
	DIR *files = opendir(dir);
	struct dirent *entry;

	(void)state;
	while (files && (entry = readdir(files)))
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(files), entry->d_name, 0);
	return closedir(files);
}

static void a_reader_beside_a_writer(void **state)
{
	const char *scale = getenv("PN_TEST_SCALE");
	int64_t end =
		clock_now(CLOCK_PROCESS_CPUTIME_ID) + (int64_t)(2e9 * (scale ? atof(scale) : 1));
	uint64_t reports = 0, seen = 0, torn = 0;
	pid_t child = start_writer();

	(void)state;
	do {
		struct pn_pins_report *report = report_now();
		const struct pn_events *events = only_events(report);

		check_events(events);
		/* Its one mapping may have changed too fast. */
		assert_in_range(report->note_count, 0, 1);
		assert_true(report->processes[0].alive);
		seen += events->count;
		torn += events->torn;
		reports++;
		pn_pins_report_free(report);
	} while (clock_now(CLOCK_PROCESS_CPUTIME_ID) < end);
	end_writer(child);
	print_message(
		"%" PRIu64 " reports, %" PRIu64 " events, %" PRIu64 " torn\n", reports, seen, torn);
	assert_true(seen / reports > 16);
}

/* Whenever it was: all is whole, and one record is missing at most, which is counted. */
static void a_writer_killed_at_any_time(void **state)
{
	unsigned int torn = 0;

	(void)state;
	for (unsigned int round = 0; round < 200; round++) {
		pid_t child = start_writer();
		const struct pn_events *events;
		struct pn_pins_report *report;
		uint64_t numbers;

		usleep(200 + round * 37 % 50 * 20);
		end_writer(child);
		report = report_now();
		events = only_events(report);
		check_events(events);
		assert_false(report->processes[0].alive);
		assert_true(report->processes[0].domains[0].pin_count <= 1);
		/* Its sums are of one moment: none or one of two pages. */
		assert_int_equal(report->processes[0].predicted[PN_COUNTER_MM_LOCKED] & ~2ull, 0);
		assert_true(events->count > 0);
		numbers = events->events[events->count - 1].number - events->events[0].number + 1;
		assert_int_equal(events->count, numbers);
		assert_true(events->torn <= 1);
		/* The one that was being written has taken the place of the oldest. */
		assert_true(events->count + events->torn ==
			    (numbers < events->room && events->events[0].number == 1
					    ? numbers + events->torn
					    : events->room));
		torn += events->torn;
		pn_pins_report_free(report);
		remove_ledgers(NULL);
	}
	print_message("# %u of 200 were torn\n", torn);
}

/* A pid that was given to another process since is not the owner, whatever the events say. */
static void a_pid_used_again(void **state)
{
	pid_t child = start_writer();
	struct pn_pins_report *report;
	int32_t pid = getpid();
	char path[300] = "";
	struct dirent *entry;
	DIR *files;
	int fd;

	(void)state;
	usleep(1000);
	end_writer(child);
	files = opendir(dir);
	assert_non_null(files);
	while ((entry = readdir(files)))
		if (entry->d_name[0] != '.')
			snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
	closedir(files);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(
		pwrite(fd, &pid, sizeof(pid), offsetof(struct ledger_header, pid)), sizeof(pid));
	report = report_now();
	check_events(only_events(report));
	assert_false(report->processes[0].alive);
	assert_int_equal(report->processes[0].pid, pid);
	pn_pins_report_free(report);
	close(fd);
}

/* Those who clear /tmp of what looks old pass over files with that bit. */
static void a_ledger_is_not_cleared_away(void **state)
{
	mode_t before = umask(0777);
	struct pn_ledger *ledger = open_ledger();
	struct stat st;

	(void)state;
	umask(before);
	assert_int_equal(stat(pn_ledger_path(ledger), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | S_ISVTX | 0600);
	pn_ledger_close(ledger);
}

/* A file that was removed and its name given to another is no business of its first owner. */
static void a_name_that_went_to_another(void **state)
{
	struct pn_ledger *first = open_ledger(), *second;
	struct pn_pins_report *report;

	(void)state;
	assert_int_equal(unlink(pn_ledger_path(first)), 0);
	second = open_ledger();
	assert_string_equal(pn_ledger_path(first), pn_ledger_path(second));
	pn_ledger_close(first);
	report = report_now();
	assert_int_equal(only_events(report)->count, 1);
	assert_true(report->processes[0].alive);
	pn_pins_report_free(report);
	pn_ledger_close(second);
}

static uint64_t locked_now(void)
{
	struct pn_proc_state self;

	return pn_proc_read(getpid(), &self) ? UINT64_MAX : self.locked;
}

/* In a child, as it stays so: the ledger is not charged to what it tells of. */
static int lock_all(void)
{
	static uint32_t slots[3 * LEDGER_SEGMENT];
	struct pn_pin pin = {.len = 4096, .page_size = 4096};
	struct pn_ledger *ledger;
	uint64_t before;

	if (mlockall(MCL_FUTURE))
		return 77;
	/* What the heap and a debug build keep is locked by then. */
	pn_ledger_close(open_ledger());
	before = locked_now();
	ledger = open_ledger();
	/* The header, the ring and three segments are 81 pages; the heap may grow by some. */
	for (size_t i = 0; i < PN_ARRAY_SIZE(slots); i++)
		pn_ledger_add(ledger, &pin, &slots[i]);
	if (locked_now() >= before + 40)
		return 1;
	pn_ledger_close(ledger);
	return 0;
}

static void a_ledger_is_not_locked(void **state)
{
	int status = in_child(lock_all);

	(void)state;
	if (status == 77)
		skip();
	assert_int_equal(status, 0);
}

static void every_kind_has_a_name(void **state)
{
	(void)state;
	for (unsigned int kind = 0; kind < PN_EVENT_MAX; kind++) {
		const char *name = pn_event_name((enum pn_event_kind)kind);

		assert_true(islower(name[0]));
		for (unsigned int other = 0; other < kind; other++)
			assert_string_not_equal(name, pn_event_name((enum pn_event_kind)other));
	}
	assert_string_equal(pn_event_name(PN_EVENT_MAX), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(what_happened_comes_back, remove_ledgers),
		cmocka_unit_test_teardown(the_oldest_go_first, remove_ledgers),
		cmocka_unit_test_teardown(a_reason_is_cut_to_what_fits, remove_ledgers),
		cmocka_unit_test_teardown(a_limit_that_changes, remove_ledgers),
		cmocka_unit_test_teardown(as_many_as_were_asked_for, remove_ledgers),
		cmocka_unit_test_teardown(a_child_writes_nothing, remove_ledgers),
		cmocka_unit_test_teardown(a_reader_beside_a_writer, remove_ledgers),
		cmocka_unit_test_teardown(a_writer_killed_at_any_time, remove_ledgers),
		cmocka_unit_test_teardown(a_pid_used_again, remove_ledgers),
		cmocka_unit_test_teardown(a_ledger_is_not_cleared_away, remove_ledgers),
		cmocka_unit_test_teardown(a_name_that_went_to_another, remove_ledgers),
		cmocka_unit_test_teardown(a_ledger_is_not_locked, remove_ledgers),
		cmocka_unit_test(every_kind_has_a_name),
	};
	int failed;

	if (!mkdtemp(dir))
		return 1;
	unsetenv("PINION_LEDGER_EVENTS");
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return failed;
}
