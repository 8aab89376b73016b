/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ledgers of other processes: many mappings, a reader while the writer changes them, a writer that
 * is killed in the middle of a change. A reader never sees half a mapping.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "ledger_fixture.h"
#include "ledger_format.h"
#include "ledger_read.h"
#include "pins_priv.h"

/* Every field of a mapping follows from one number, so that half of one and half of another shows.
 */
static struct pn_pin pin_of(uint32_t number)
{
	struct pn_pin pin = {.vaddr = (uint64_t)number << 24,
		.iova = ((uint64_t)number << 24) ^ (UINT64_C(0x5a5a5) << 12),
		.len = ((uint64_t)(number & 0xff) + 1) << 12,
		.page_size = 4096,
		.pages = (number & 0xff) + 1,
		.counters = ledger_rule.counters,
		.prot = (uint8_t)(1 + number % 3)};

	snprintf(pin.name, sizeof(pin.name), "%08x%08x", number, ~number);
	return pin;
}

static void check_pin(const struct pn_pin *pin)
{
	struct pn_pin want = pin_of((uint32_t)(pin->vaddr >> 24));

	assert_true(pin->vaddr == want.vaddr);
	assert_true(pin->iova == want.iova);
	assert_true(pin->len == want.len);
	assert_true(pin->pages == want.pages);
	assert_int_equal(pin->counters, want.counters);
	assert_int_equal(pin->prot, want.prot);
	assert_false(pin->queued);
	assert_string_equal(pin->name, want.name);
}

static void many_mappings_come_back(void **state)
{
	enum { COUNT = 10000 };
	static uint32_t slots[COUNT];
	static bool seen[COUNT];
	const struct pn_pins_domain *domain;
	struct pn_pins_report *report;
	struct pn_ledger *ledger;
	uint64_t pages = 0;

	(void)state;
	ledger = open_ledger();
	for (uint32_t i = 0; i < COUNT; i++) {
		struct pn_pin pin = pin_of(i);

		pn_ledger_add(ledger, &pin, &slots[i]);
		assert_true(slots[i] != PN_LEDGER_NO_SLOT);
		pages += pin.pages;
	}
	report = report_now(false);
	assert_int_equal(report->process_count, 1);
	domain = &report->processes[0].domains[0];
	assert_int_equal(domain->pin_count, COUNT);
	assert_int_equal(report->processes[0].predicted[PN_COUNTER_MM_LOCKED], pages);
	assert_int_equal(report->processes[0].predicted[PN_COUNTER_MM_PINNED], pages);
	for (size_t i = 0; i < COUNT; i++) {
		check_pin(&domain->pins[i]);
		assert_false(seen[domain->pins[i].vaddr >> 24]);
		seen[domain->pins[i].vaddr >> 24] = true;
	}
	pn_pins_report_free(report);
	/* Every second one goes; their slots are used again. */
	for (uint32_t i = 0; i < COUNT; i += 2) {
		struct pn_pin pin = pin_of(i);

		pn_ledger_remove(ledger, slots[i], &pin);
	}
	for (uint32_t i = 0; i < COUNT; i += 2) {
		struct pn_pin pin = pin_of(i + COUNT);

		pn_ledger_add(ledger, &pin, &slots[i]);
		assert_true(slots[i] < COUNT + LEDGER_SEGMENT);
	}
	report = report_now(false);
	domain = &report->processes[0].domains[0];
	assert_int_equal(domain->pin_count, COUNT);
	for (size_t i = 0; i < COUNT; i++)
		check_pin(&domain->pins[i]);
	pn_pins_report_free(report);
	for (uint32_t i = 0; i < COUNT; i++) {
		struct pn_pin pin = pin_of(i % 2 ? i : i + COUNT);

		pn_ledger_remove(ledger, slots[i], &pin);
	}
	report = report_now(false);
	assert_int_equal(report->processes[0].domains[0].pin_count, 0);
	assert_int_equal(report->processes[0].predicted[PN_COUNTER_MM_LOCKED], 0);
	pn_pins_report_free(report);
	pn_ledger_close(ledger);
	report = report_now(false);
	assert_int_equal(report->process_count, 0);
	pn_pins_report_free(report);
}

/* Change mappings until killed. A byte through the pipe when the ledger is there. */
static void write_for_ever(int ready)
{
	struct pn_ledger *ledger;
	uint32_t slots[64], numbers[64], next = 1000;

	if (pn_ledger_open(&ledger, ledger_dir, &ledger_owner))
		_exit(1);
	for (uint32_t i = 0; i < 64; i++) {
		struct pn_pin pin = pin_of(i);

		numbers[i] = i;
		pn_ledger_add(ledger, &pin, &slots[i]);
	}
	if (write(ready, "", 1) != 1)
		_exit(1);
	for (;; next++) {
		uint32_t at = next * 7 % 64;
		struct pn_pin old = pin_of(numbers[at]), pin = pin_of(next & 0xffffff);

		if (next % 3) {
			pn_ledger_change(ledger, slots[at], &old, &pin);
		} else {
			pn_ledger_remove(ledger, slots[at], &old);
			pn_ledger_add(ledger, &pin, &slots[at]);
		}
		numbers[at] = next & 0xffffff;
		if (next % 5 == 0)
			pn_ledger_devices(ledger, next % 64,
				next % 2
					? "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
					: "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb");
	}
}

/* All that a reader may hold true of a report, whatever the writer does. Its pins. */
static size_t check_report(const struct pn_pins_report *report, pid_t child)
{
	const struct pn_pins_process *process = report->processes;
	const struct pn_pins_domain *domain;

	for (size_t i = 0; i < report->note_count && report->process_count != 1; i++)
		print_message("# %s\n", report->notes[i]);
	assert_int_equal(report->process_count, 1);
	assert_int_equal(process->pid, child);
	assert_int_equal(process->domain_count, 1);
	domain = process->domains;
	assert_int_equal(
		process->predicted[PN_COUNTER_MM_LOCKED], process->predicted[PN_COUNTER_MM_PINNED]);
	assert_string_equal(domain->path, "type1");
	for (size_t i = 1; domain->device_names[i]; i++)
		assert_int_equal(domain->device_names[i], domain->device_names[0]);
	assert_true(domain->pin_count <= 64);
	for (size_t i = 0; i < domain->pin_count; i++)
		check_pin(&domain->pins[i]);
	return domain->pin_count;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void a_reader_never_sees_half_a_mapping(void **state)
{
	const char *scale = getenv("PN_TEST_SCALE");
	double end = seconds() + 3 * (scale ? atof(scale) : 1);
	pid_t child = start_writer(write_for_ever);
	unsigned int reports = 0;
	size_t pins = 0;

	(void)state;
	do {
		struct pn_pins_report *report = report_now(false);

		pins += check_report(report, child);
		assert_true(report->processes[0].alive);
		reports++;
		pn_pins_report_free(report);
	} while (seconds() < end);
	end_writer(child);
	print_message("# %u reports, %zu mappings\n", reports, pins);
	assert_true(pins / reports >= 32);
}

static void a_killed_writer_leaves_its_ledger(void **state)
{
	(void)state;
	ledger_dir_clear(NULL);
	for (unsigned int round = 0; round < 60; round++) {
		pid_t child = start_writer(write_for_ever);
		struct pn_pins_report *report;
		size_t pins;

		usleep(500 + round * 37 % 50 * 50);
		end_writer(child);
		report = report_now(false);
		pins = check_report(report, child);
		/* At most the one that it was changing is missing. */
		assert_true(pins >= 63);
		assert_false(report->processes[0].alive);
		pn_pins_report_free(report);
		/* It is there still for the next one who asks. */
		report = report_now(false);
		assert_int_equal(report->process_count, 1);
		pn_pins_report_free(report);
		ledger_dir_clear(NULL);
	}
}

/* Killed within a change of a slot: never whole again, never waited for. */
static void a_change_that_never_ends(void **state)
{
	struct pn_pins_report *report;
	uint64_t seq = 0x1001;
	pid_t child;
	double start;
	char path[300];
	int fd;

	(void)state;
	ledger_dir_clear(NULL);
	child = start_writer(write_for_ever);
	end_writer(child);
	fd = open(ledger_dir_path(path), O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &seq, 8,
				 (off_t)ledger_slots_at(LEDGER_EVENTS_DEFAULT) +
					 5 * (off_t)LEDGER_SLOT_SIZE),
		8);
	close(fd);
	start = seconds();
	report = report_now(false);
	assert_true(seconds() - start < 2);
	assert_int_equal(report->process_count, 1);
	assert_true(report->note_count > 1);
	/* Another one may have been out of its slot just then. */
	assert_in_range(report->processes[0].domains[0].pin_count, 62, 63);
	pn_pins_report_free(report);
	ledger_dir_clear(NULL);
}

/* Killed within a change of the header: in a copy that does not count yet, whatever is in it. */
static void half_a_change_does_not_count(void **state)
{
	struct pn_pins_report *report[2];
	struct ledger_header header;
	uint64_t at;
	char path[300];
	pid_t child;
	int fd;

	(void)state;
	ledger_dir_clear(NULL);
	child = start_writer(write_for_ever);
	usleep(2000);
	end_writer(child);
	report[0] = report_now(false);
	fd = open(ledger_dir_path(path), O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, &header, sizeof(header), 0), sizeof(header));
	at = (header.total_number + 1) % LEDGER_TOTALS;
	memset(&header.totals[at], 0xa5, sizeof(header.totals[at]));
	at = (header.about_number + 1) % LEDGER_ABOUTS;
	memset(&header.abouts[at], 0xa5, sizeof(header.abouts[at]));
	assert_int_equal(pwrite(fd, &header, sizeof(header), 0), sizeof(header));
	close(fd);
	report[1] = report_now(false);
	for (int i = 0; i < 2; i++) {
		assert_true(check_report(report[i], child) >= 63);
		assert_true(report[i]->processes[0].predicted[0] ==
			    report[0]->processes[0].predicted[0]);
	}
	assert_string_equal(report[0]->processes[0].domains[0].device_names,
		report[1]->processes[0].domains[0].device_names);
	pn_pins_report_free(report[0]);
	pn_pins_report_free(report[1]);
	ledger_dir_clear(NULL);
}

/* A pid that was given to another process since is not the owner. */
static void a_pid_used_again_is_not_the_owner(void **state)
{
	struct pn_pins_report *report;
	int32_t pid = getpid();
	char path[300];
	pid_t child;
	int fd;

	(void)state;
	ledger_dir_clear(NULL);
	child = start_writer(write_for_ever);
	end_writer(child);
	fd = open(ledger_dir_path(path), O_RDWR | O_CLOEXEC);
	assert_int_equal(
		pwrite(fd, &pid, sizeof(pid), offsetof(struct ledger_header, pid)), sizeof(pid));
	close(fd);
	report = report_now(false);
	for (size_t i = 0; i < report->process_count; i++)
		assert_false(report->processes[i].alive);
	pn_pins_report_free(report);
	ledger_dir_clear(NULL);
}

/* The usual directories are looked into as well, and may hold what gives notes of its own. */
static bool has_note(const struct pn_pins_report *report, const char *text)
{
	bool found = false;

	for (size_t i = 0; i < report->note_count; i++)
		found = found || strstr(report->notes[i], text);
	return found;
}

/* No room for the file to grow: totals stay right, readers are told. In a child, for its limit. */
static void grow_too_far(void)
{
	struct rlimit limit = {
		ledger_slots_at(LEDGER_EVENTS_DEFAULT) + LEDGER_SEGMENT_BYTES + 100, RLIM_INFINITY};
	static uint32_t slots[2 * LEDGER_SEGMENT];
	struct pn_pins_report *report;
	struct pn_ledger *ledger;
	uint64_t pages = 0;
	struct pn_pin pin;

	signal(SIGXFSZ, SIG_IGN);
	if (pn_ledger_open(&ledger, ledger_dir, &ledger_owner) || setrlimit(RLIMIT_FSIZE, &limit))
		_exit(1);
	for (uint32_t i = 0; i < 2 * LEDGER_SEGMENT; i++) {
		pin = pin_of(i);
		pn_ledger_add(ledger, &pin, &slots[i]);
		pages += pin.pages;
		if ((slots[i] == PN_LEDGER_NO_SLOT) != (i >= LEDGER_SEGMENT))
			_exit(2);
	}
	if (pn_pins_report_fd(&report, pn_ledger_fd(ledger), false))
		_exit(3);
	if (report->processes[0].predicted[PN_COUNTER_MM_LOCKED] != pages ||
		report->processes[0].domains[0].pin_count != LEDGER_SEGMENT ||
		!has_note(report, "512 mappings that found no room"))
		_exit(4);
	pn_pins_report_free(report);
	for (uint32_t i = 0; i < 2 * LEDGER_SEGMENT; i++) {
		pin = pin_of(i);
		pn_ledger_remove(ledger, slots[i], &pin);
	}
	if (pn_pins_report_fd(&report, pn_ledger_fd(ledger), false))
		_exit(5);
	if (report->processes[0].predicted[PN_COUNTER_MM_LOCKED] ||
		report->processes[0].domains[0].pin_count || has_note(report, "no room"))
		_exit(6);
	pn_pins_report_free(report);
	pn_ledger_close(ledger);
	_exit(0);
}

static void a_ledger_that_cannot_grow(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	if (!child)
		grow_too_far();
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_mappings_come_back),
		cmocka_unit_test(a_reader_never_sees_half_a_mapping),
		cmocka_unit_test(a_killed_writer_leaves_its_ledger),
		cmocka_unit_test(a_change_that_never_ends),
		cmocka_unit_test(half_a_change_does_not_count),
		cmocka_unit_test(a_ledger_that_cannot_grow),
		cmocka_unit_test(a_pid_used_again_is_not_the_owner),
	};

	return cmocka_run_group_tests(tests, ledger_dir_make, ledger_dir_remove);
}
