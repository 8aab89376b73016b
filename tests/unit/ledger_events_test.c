/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ring of events in a ledger: what was recorded comes back whole and in order, when it has gone
 * round, too; limits, clocks, texts. Beside a writer it is read in ledger_writer_test.c.
 */
#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "ledger_fixture.h"
#include "ledger_format.h"

static void what_happened_comes_back(void **state)
{
	static const enum pn_event_kind kinds[] = {PN_EVENT_START, PN_EVENT_MAP, PN_EVENT_UNMAP,
		PN_EVENT_ATTACH, PN_EVENT_FAIL, PN_EVENT_DAMAGE, PN_EVENT_MEND, PN_EVENT_DETACH};
	struct pn_pin held = {.vaddr = 0x7000,
		.iova = 0x5000,
		.len = 4096 * 7,
		.page_size = 4096,
		.pages = 7,
		.counters = ledger_rule.counters,
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
	report = report_now(true);
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
		assert_int_equal(events->events[i].counters, ledger_rule.counters);
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
	report = report_now(true);
	events = only_events(report);
	assert_true(events->events[8].queued);
	assert_int_equal(events->events[8].prot, 1);
	assert_int_equal(events->events[9].pages, 7);
	pn_pins_report_free(report);
	/* Nobody reads them who did not ask. */
	assert_int_equal(
		pn_pins_report_create(&report, &(struct pn_pins_query){.directory = ledger_dir}),
		0);
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
	report = report_now(true);
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
		report = report_now(true);
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
	report = report_now(true);
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
	report = report_now(true);
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
	report = report_now(true);
	assert_int_equal(only_events(report)->count, 1);
	pn_pins_report_free(report);
	pn_ledger_close(parents);
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
	report = report_now(true);
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
		cmocka_unit_test_teardown(what_happened_comes_back, ledger_dir_clear),
		cmocka_unit_test_teardown(the_oldest_go_first, ledger_dir_clear),
		cmocka_unit_test_teardown(a_reason_is_cut_to_what_fits, ledger_dir_clear),
		cmocka_unit_test_teardown(a_limit_that_changes, ledger_dir_clear),
		cmocka_unit_test_teardown(as_many_as_were_asked_for, ledger_dir_clear),
		cmocka_unit_test_teardown(a_child_writes_nothing, ledger_dir_clear),
		cmocka_unit_test_teardown(a_ledger_is_not_cleared_away, ledger_dir_clear),
		cmocka_unit_test_teardown(a_name_that_went_to_another, ledger_dir_clear),
		cmocka_unit_test_teardown(a_ledger_is_not_locked, ledger_dir_clear),
		cmocka_unit_test(every_kind_has_a_name),
	};

	return cmocka_run_group_tests(tests, ledger_dir_make, ledger_dir_remove);
}
