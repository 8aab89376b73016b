/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a range is charged, and reports: numbers that come back from the ledger, both renderings,
 * texts that could do harm on a terminal, and a process without a directory for its ledger.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
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

#include "base_priv.h"
#include "ledger_dirs.h"
#include "pins_priv.h"

static const struct pn_charge_rule rule = {"iommufd-compat", "user",
	PN_COUNTER_BIT(PN_COUNTER_USER_LOCKED) | PN_COUNTER_BIT(PN_COUNTER_MM_PINNED),
	PN_COUNTER_BIT(PN_COUNTER_MM_PINNED), PN_COUNTER_USER_LOCKED};
static const struct pn_ledger_owner owner = {"iommufd-compat", "/dev/iommu", &rule, false};
static char dir[] = "/tmp/pn-pins-XXXXXX";
static unsigned int warnings;

static void every_page_touched_is_charged(void **state)
{
	static const struct {
		uint64_t vaddr, len, pages;
	} cases[] = {{0, 0, 0}, {0, 1, 1}, {0, 4095, 1}, {0, 4096, 1}, {0, 4097, 2}, {4095, 1, 1},
		{4095, 2, 2}, {1, 4096, 2}, {1, 4095, 1}, {4096, 8192, 2}, {4097, 8192, 3},
		{0, UINT64_C(1) << 21, 512}, {0, UINT64_C(1) << 30, 262144}, {UINT64_MAX, 1, 1},
		{UINT64_MAX - 4095, 4096, 1}, {UINT64_MAX - 4096, 4097, 2},
		{0, UINT64_MAX, UINT64_C(1) << 52},
		{0, UINT64_MAX - 4095, (UINT64_C(1) << 52) - 1}};

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(cases); i++)
		if (pn_charge_pages(cases[i].vaddr, cases[i].len) != cases[i].pages)
			fail_msg("%#jx + %#jx: %ju, not %ju", (uintmax_t)cases[i].vaddr,
				(uintmax_t)cases[i].len,
				(uintmax_t)pn_charge_pages(cases[i].vaddr, cases[i].len),
				(uintmax_t)cases[i].pages);
}

static void names(void **state)
{
	(void)state;
	assert_string_equal(pn_counter_name(PN_COUNTER_MM_LOCKED), "mm->locked_vm");
	assert_string_equal(pn_counter_name(PN_COUNTER_USER_LOCKED), "user->locked_vm");
	assert_string_equal(pn_counter_name(PN_COUNTER_MM_PINNED), "mm->pinned_vm");
	assert_non_null(pn_counter_name(PN_COUNTER_MAX));
	assert_non_null(pn_counter_name((enum pn_counter) - 1));
	assert_string_equal(pn_observer_name(PN_OBSERVER_NONE), "none");
	assert_string_equal(pn_observer_name(PN_OBSERVER_PROC), "proc");
	assert_string_equal(pn_observer_name(PN_OBSERVER_METER), "meter");
	assert_string_equal(pn_observer_name(PN_OBSERVER_MODEL), "model");
	assert_non_null(pn_observer_name((enum pn_observer)99));
}

static struct pn_pin pin_of(uint64_t number, bool queued, const char *name)
{
	struct pn_pin pin = {.vaddr = number << 20,
		.iova = (number << 20) + (UINT64_C(1) << 40),
		.len = 8192,
		.page_size = 4096,
		.pages = queued ? 0 : 2,
		.counters = queued ? 0 : rule.counters,
		.prot = 3,
		.queued = queued};

	snprintf(pin.name, sizeof(pin.name), "%s", name);
	return pin;
}

static struct pn_pins_report *report_of(const char *where)
{
	struct pn_pins_query query = {0, where, false};
	struct pn_pins_report *report = NULL;

	assert_int_equal(pn_pins_report_create(&report, &query), 0);
	return report;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static json_int_t number_of(const json_t *object, const char *key)
{
	json_t *number = json_object_get(object, key);

	assert_true(json_is_integer(number));
	return json_integer_value(number);
}

static void check_json(const struct pn_pins_report *report)
{
	char *text = pn_pins_json(report);
	json_t *root, *process, *domain, *mapping, *counter;
	json_error_t error;

	assert_non_null(text);
	root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	free(text);
	assert_non_null(root);
	assert_string_equal(text_of(root, "schema"), "pinion.pins/1");
	assert_int_equal(json_array_size(json_object_get(root, "processes")), 1);
	assert_true(json_is_array(json_object_get(root, "notes")));
	process = json_array_get(json_object_get(root, "processes"), 0);
	assert_int_equal(number_of(process, "pid"), getpid());
	assert_int_equal(number_of(process, "uid"), getuid());
	assert_true(json_is_true(json_object_get(process, "alive")));
	counter = json_object_get(json_object_get(process, "counters"), "user->locked_vm");
	assert_int_equal(number_of(counter, "predicted"), 4);
	counter = json_object_get(json_object_get(process, "counters"), "mm->locked_vm");
	assert_int_equal(number_of(counter, "predicted"), 0);
	assert_string_equal(text_of(counter, "observer"), "proc");
	assert_int_equal(json_array_size(json_object_get(process, "domains")), 1);
	domain = json_array_get(json_object_get(process, "domains"), 0);
	assert_string_equal(text_of(domain, "backend"), "iommufd-compat");
	assert_string_equal(text_of(domain, "node"), "/dev/iommu");
	assert_string_equal(text_of(domain, "limited_counter"), "user->locked_vm");
	assert_int_equal(json_array_size(json_object_get(domain, "counters")), 2);
	assert_true(json_is_false(json_object_get(domain, "exempt")));
	assert_string_equal(text_of(domain, "devices"), "0000:00:02.0 0000:00:03.0");
	assert_int_equal(json_array_size(json_object_get(domain, "mappings")), 3);
	mapping = json_array_get(json_object_get(domain, "mappings"), 2);
	assert_int_equal(number_of(mapping, "charged_pages"), 0);
	assert_true(json_is_true(json_object_get(mapping, "queued")));
	mapping = json_array_get(json_object_get(domain, "mappings"), 0);
	assert_string_equal(text_of(mapping, "vaddr"), "0x100000");
	assert_string_equal(text_of(mapping, "iova"), "0x10000100000");
	assert_int_equal(number_of(mapping, "bytes"), 8192);
	assert_int_equal(number_of(mapping, "page_size"), 4096);
	assert_int_equal(number_of(mapping, "charged_pages"), 2);
	assert_string_equal(text_of(mapping, "prot"), "rw");
	json_decref(root);
}

static void no_control_bytes(char *text, const char *allowed)
{
	assert_non_null(text);
	for (const char *at = text; *at; at++)
		if (((unsigned char)*at < 32 && !strchr(allowed, *at)) || *at == 127)
			fail_msg("byte %d in: %s", *at, text);
	free(text);
}

static void reports_say_what_was_recorded(void **state)
{
	struct pn_pin pins[3] = {pin_of(1, false, "evil\033[2J\"\\\r\n\x07\x9b\x7f<"),
		pin_of(2, false, "\xff\xfe not UTF-8 \xc3"), pin_of(3, true, "")};
	struct pn_pins_report *report;
	struct pn_ledger *ledger;
	uint32_t slots[3];
	char *table;

	(void)state;
	assert_int_equal(pn_ledger_open(&ledger, dir, &owner), 0);
	for (int i = 0; i < 3; i++)
		pn_ledger_add(ledger, &pins[i], &slots[i]);
	pn_ledger_devices(ledger, 2, "0000:00:02.0 0000:00:03.0");
	report = report_of(dir);
	assert_int_equal(report->process_count, 1);
	assert_int_equal(report->note_count, 0);
	assert_int_equal(report->processes[0].pid, getpid());
	assert_true(report->processes[0].alive);
	assert_int_equal(report->processes[0].predicted[PN_COUNTER_USER_LOCKED], 4);
	assert_int_equal(report->processes[0].predicted[PN_COUNTER_MM_PINNED], 4);
	assert_int_equal(report->processes[0].predicted[PN_COUNTER_MM_LOCKED], 0);
	assert_int_equal(
		report->processes[0].observed[PN_COUNTER_MM_LOCKED].observer, PN_OBSERVER_PROC);
	check_json(report);
	no_control_bytes(pn_pins_json(report), "\n");
	table = pn_pins_table(report);
	assert_non_null(strstr(table, "iommufd-compat"));
	assert_non_null(strstr(table, "user->locked_vm"));
	assert_non_null(strstr(table, "0000:00:03.0"));
	assert_non_null(strstr(table, "0x10000100000"));
	assert_non_null(strstr(table, "queued"));
	no_control_bytes(table, "\n");
	pn_pins_report_free(report);
	/* The queued one is mapped, one goes. */
	pn_ledger_change(ledger, slots[2], &pins[2],
		&(struct pn_pin){.vaddr = 0x300000,
			.iova = 0x300000,
			.len = 4096,
			.page_size = 4096,
			.pages = 1,
			.counters = rule.counters,
			.prot = 1});
	pn_ledger_remove(ledger, slots[0], &pins[0]);
	report = report_of(dir);
	assert_int_equal(report->processes[0].predicted[PN_COUNTER_USER_LOCKED], 3);
	assert_int_equal(report->processes[0].domains[0].pin_count, 2);
	pn_pins_report_free(report);
	pn_ledger_close(ledger);
	report = report_of(dir);
	assert_int_equal(report->process_count, 0);
	no_control_bytes(pn_pins_table(report), "\n");
	no_control_bytes(pn_pins_json(report), "\n");
	pn_pins_report_free(report);
}

static void a_query_may_ask_for_one_process(void **state)
{
	struct pn_pins_query query = {getpid(), dir, false};
	struct pn_pins_report *report = NULL;
	struct pn_ledger *ledger[2];

	(void)state;
	pn_fail(EPROTO, "stale");
	assert_int_equal(pn_pins_report_create(&report, &query), -ENOENT);
	assert_string_not_equal(pn_error(), "stale");
	for (int i = 0; i < 2; i++)
		assert_int_equal(pn_ledger_open(&ledger[i], dir, &owner), 0);
	assert_int_equal(pn_pins_report_create(&report, &query), 0);
	/* Two domains of one process. */
	assert_int_equal(report->process_count, 1);
	assert_int_equal(report->processes[0].domain_count, 2);
	pn_pins_report_free(report);
	query.pid = 1;
	assert_int_equal(pn_pins_report_create(&report, &query), -ENOENT);
	for (int i = 0; i < 2; i++)
		pn_ledger_close(ledger[i]);
	pn_pins_report_free(NULL);
}

static void logged(void *arg, enum pn_log_level level, const char *text)
{
	(void)arg;
	warnings += level <= PN_LOG_NOTICE && strlen(text) > 10;
}

static void without_a_directory_it_is_kept_in_memory(void **state)
{
	struct pn_pin pin = pin_of(1, false, "x");
	struct pn_pins_report *report;
	struct pn_ledger *ledger;
	uint32_t slot;

	(void)state;
	warnings = 0;
	pn_log_set(logged, NULL, PN_LOG_DEBUG);
	assert_int_equal(pn_ledger_open(&ledger, "/proc/nowhere", &owner), 0);
	pn_log_set(NULL, NULL, PN_LOG_ERROR);
	assert_int_equal(warnings, 1);
	for (int i = 0; i < 1000; i++)
		pn_ledger_add(ledger, &pin, &slot);
	assert_int_equal(pn_pins_report_fd(&report, pn_ledger_fd(ledger), false), 0);
	assert_int_equal(report->process_count, 1);
	assert_int_equal(report->processes[0].domains[0].pin_count, 1000);
	assert_int_equal(report->processes[0].predicted[PN_COUNTER_USER_LOCKED], 2000);
	pn_pins_report_free(report);
	pn_ledger_close(ledger);
	assert_int_equal(setenv("PINION_RUNTIME_DIR", "/proc/nowhere", 1), 0);
	assert_int_equal(pn_ledger_open(&ledger, NULL, &owner), 0);
	pn_ledger_close(ledger);
	unsetenv("PINION_RUNTIME_DIR");
}

static void bad_directories_are_refused(void **state)
{
	char path[64], other[64];

	(void)state;
	snprintf(path, sizeof(path), "%s/d", dir);
	snprintf(other, sizeof(other), "%s/l", dir);
	assert_int_equal(pn_ledger_dir_prepare(path), 0);
	assert_int_equal(pn_ledger_dir_prepare(path), 0);
	assert_int_equal(chmod(path, 0777), 0);
	assert_true(pn_ledger_dir_prepare(path) < 0);
	assert_int_equal(chmod(path, 0770), 0);
	assert_true(pn_ledger_dir_prepare(path) < 0);
	assert_int_equal(chmod(path, 01777), 0);
	assert_int_equal(pn_ledger_dir_prepare(path), 0);
	assert_int_equal(chmod(path, 0700), 0);
	assert_int_equal(symlink(path, other), 0);
	assert_true(pn_ledger_dir_prepare(other) < 0);
	unlink(other);
	assert_int_equal(mknod(other, S_IFREG | 0600, 0), 0);
	assert_true(pn_ledger_dir_prepare(other) < 0);
	unlink(other);
	if (!geteuid()) {
		assert_int_equal(chown(path, 61234, 61234), 0);
		assert_true(pn_ledger_dir_prepare(path) < 0);
	}
	assert_int_equal(rmdir(path), 0);
	assert_true(pn_ledger_dir_prepare("/proc/nowhere") < 0);
}

static void the_usual_directories(void **state)
{
	char path[PN_LEDGER_DIR_MAX], want[PN_LEDGER_DIR_MAX], longer[PN_LEDGER_DIR_MAX + 50];

	(void)state;
	unsetenv("PINION_RUNTIME_DIR");
	setenv("XDG_RUNTIME_DIR", "/run/user/77", 1);
	assert_int_equal(pn_ledger_dir_get(0, path), 0);
	assert_string_equal(path, "/run/pinion");
	assert_int_equal(pn_ledger_dir_get(1, path), 0);
	assert_string_equal(path, "/run/user/77/pinion");
	assert_int_equal(pn_ledger_dir_get(2, path), 0);
	snprintf(want, sizeof(want), "/tmp/pinion-%u", getuid());
	assert_string_equal(path, want);
	assert_int_equal(pn_ledger_dir_get(3, path), -ENOENT);
	setenv("PINION_RUNTIME_DIR", "/elsewhere", 1);
	assert_int_equal(pn_ledger_dir_get(0, path), 0);
	assert_string_equal(path, "/elsewhere");
	assert_int_equal(pn_ledger_dir_get(1, path), -ENOENT);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[0] = '/';
	longer[sizeof(longer) - 1] = '\0';
	setenv("PINION_RUNTIME_DIR", longer, 1);
	for (unsigned int i = 0; i < 3; i++) {
		memset(path, 'y', sizeof(path));
		if (!pn_ledger_dir_get(i, path))
			assert_non_null(memchr(path, 0, sizeof(path)));
	}
	unsetenv("PINION_RUNTIME_DIR");
	unsetenv("XDG_RUNTIME_DIR");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_page_touched_is_charged),
		cmocka_unit_test(names),
		cmocka_unit_test(reports_say_what_was_recorded),
		cmocka_unit_test(a_query_may_ask_for_one_process),
		cmocka_unit_test(without_a_directory_it_is_kept_in_memory),
		cmocka_unit_test(bad_directories_are_refused),
		cmocka_unit_test(the_usual_directories),
	};
	int failed;

	if (!mkdtemp(dir))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	return rmdir(dir) ? 1 : failed;
}
