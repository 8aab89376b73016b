/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ring of events in a ledger whose writer does nothing else: what is read beside it, after it
 * was killed at any time, and when its pid is another's, is whole and in order.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "ledger_fixture.h"
#include "ledger_format.h"

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

static void write_events(int ready)
{
	struct pn_ledger *ledger;

	if (pn_ledger_open(&ledger, ledger_dir, &ledger_owner) || write(ready, "", 1) != 1)
		_exit(1);
	for (uint64_t number = 0;; number++)
		record(ledger, number);
}

static void a_reader_beside_a_writer(void **state)
{
	const char *scale = getenv("PN_TEST_SCALE");
	int64_t end =
		clock_now(CLOCK_PROCESS_CPUTIME_ID) + (int64_t)(2e9 * (scale ? atof(scale) : 1));
	uint64_t reports = 0, seen = 0, torn = 0;
	pid_t child = start_writer(write_events);

	(void)state;
	do {
		struct pn_pins_report *report = report_now(true);
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
		pid_t child = start_writer(write_events);
		const struct pn_events *events;
		struct pn_pins_report *report;
		uint64_t numbers;

		usleep(200 + round * 37 % 50 * 20);
		end_writer(child);
		report = report_now(true);
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
		ledger_dir_clear(NULL);
	}
	print_message("# %u of 200 were torn\n", torn);
}

/* A pid that was given to another process since is not the owner, whatever the events say. */
static void a_pid_used_again(void **state)
{
	pid_t child = start_writer(write_events);
	struct pn_pins_report *report;
	int32_t pid = getpid();
	char path[300];
	int fd;

	(void)state;
	usleep(1000);
	end_writer(child);
	fd = open(ledger_dir_path(path), O_RDWR | O_CLOEXEC);
	assert_int_equal(
		pwrite(fd, &pid, sizeof(pid), offsetof(struct ledger_header, pid)), sizeof(pid));
	report = report_now(true);
	check_events(only_events(report));
	assert_false(report->processes[0].alive);
	assert_int_equal(report->processes[0].pid, pid);
	pn_pins_report_free(report);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_reader_beside_a_writer, ledger_dir_clear),
		cmocka_unit_test_teardown(a_writer_killed_at_any_time, ledger_dir_clear),
		cmocka_unit_test_teardown(a_pid_used_again, ledger_dir_clear),
	};

	return cmocka_run_group_tests(tests, ledger_dir_make, ledger_dir_remove);
}
