/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Renderers, on reports made by hand: names that would break a format, numbers at their ends, and
 * each format's text of one process.
 */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "pins_priv.h"
#include "render_text.h"

static struct pn_pin pin = {.vaddr = 0x7f0000000000,
	.iova = 0x1000,
	.len = 8192,
	.page_size = 4096,
	.pages = 2,
	.counters = 1,
	.prot = 1,
	.name = "one"};
static struct pn_pins_domain domain = {.path = "type1",
	.node = "/dev/vfio/vfio",
	.accounting = "process (mm)",
	.counters = 1,
	.limited = PN_COUNTER_MM_LOCKED,
	.devices = 1,
	.device_names = "0000:00:02.0",
	.pin_count = 1,
	.pins = &pin};
static struct pn_pins_process process = {.pid = 42,
	.uid = 1000,
	.comm = "prog",
	.alive = true,
	.limit_soft = 10,
	.limit_hard = PN_PAGES_UNLIMITED,
	.limit_known = true,
	.predicted = {2, 0, 0},
	.before = {1, UINT64_MAX, 0},
	.observed = {{4, PN_OBSERVER_PROC}, {0, PN_OBSERVER_MODEL}, {0, PN_OBSERVER_NONE}},
	.domain_count = 1,
	.domains = &domain,
	.start_time = 777};
static char finding_text[] = "why, \"so\"";
static struct pn_finding finding = {.kind = PN_FINDING_TWICE,
	.cause = "mlock",
	.pid = 42,
	.uid = 1000,
	.counter = PN_COUNTER_MM_LOCKED,
	.figure = {1, PN_OBSERVER_PROC},
	.text = finding_text};
static char *notes[] = {(char[]){"a note"}};
static struct pn_pins_report report = {.process_count = 1,
	.processes = &process,
	.note_count = 1,
	.notes = notes,
	.finding_count = 1,
	.findings = &finding};

static void expect(char *text, const char *wanted)
{
	assert_non_null(text);
	assert_string_equal(text, wanted);
	free(text);
}

static void expect_part(char *text, const char *part)
{
	if (!text || !strstr(text, part))
		fail_msg("no %s in:\n%s", part, text);
	free(text);
}

static void csv(void **state)
{
	(void)state;
	expect(pn_pins_csv(&report, PN_PINS_ROWS_COUNTERS),
		"pid,start_time,comm,uid,state,counter,predicted_pages,before_pages,"
		"observed_pages,observer,unexplained_pages,limited,limit_soft_pages,"
		"limit_hard_pages,left_pages\r\n"
		"42,777,prog,1000,alive,mm->locked_vm,2,1,4,proc,1,true,10,unlimited,6\r\n"
		"42,777,prog,1000,alive,user->locked_vm,0,,0,model,,false,10,unlimited,\r\n"
		"42,777,prog,1000,alive,mm->pinned_vm,0,0,,none,,false,10,unlimited,\r\n");
	expect(pn_pins_csv(&report, PN_PINS_ROWS_MAPPINGS),
		"pid,start_time,comm,uid,state,backend,node,accounting,devices,vaddr,iova,bytes,"
		"page_size,prot,queued,charged_pages,counters,region\r\n"
		"42,777,prog,1000,alive,type1,/dev/vfio/vfio,process (mm),0000:00:02.0,"
		"0x7f0000000000,0x1000,8192,4096,r-,false,2,mm->locked_vm,one\r\n");
	expect(pn_pins_csv(&report, PN_PINS_ROWS_FINDINGS),
		"kind,cause,pid,holder_pid,uid,counter,pages,observer,text\r\n"
		"charged-twice,mlock,42,,1000,mm->locked_vm,1,proc,\"why, \"\"so\"\"\"\r\n");
}

static void prometheus(void **state)
{
	(void)state;
	expect_part(pn_pins_prometheus(&report),
		"\npinion_pins_observed_bytes{pid=\"42\",start_time=\"777\",uid=\"1000\",comm="
		"\"prog\",state=\"alive\",counter=\"mm->locked_vm\",observer=\"proc\"} 16384\n");
	expect_part(pn_pins_prometheus(&report),
		"\npinion_pins_headroom_bytes{pid=\"42\",start_time=\"777\",uid=\"1000\",comm="
		"\"prog\",state=\"alive\",counter=\"mm->locked_vm\",observer=\"proc\"} 24576\n");
	expect_part(pn_pins_prometheus(&report),
		"\npinion_pins_charged_twice_bytes{pid=\"42\",holder_pid=\"0\",uid=\"1000\",cause="
		"\"mlock\",counter=\"mm->locked_vm\",observer=\"proc\"} 4096\n");
	process.limit_soft = PN_PAGES_UNLIMITED;
	expect_part(pn_pins_prometheus(&report), "observer=\"proc\"} +Inf\n");
	process.limit_soft = 10;
}

/* Two lines with the same labels make the whole page invalid. */
static void prometheus_has_no_line_twice(void **state)
{
	struct pn_finding findings[2] = {finding, finding};
	struct pn_pins_process processes[2] = {process, process};
	struct pn_pins_report twice = report;
	char *text, *first;

	(void)state;
	twice.processes = processes;
	twice.process_count = 2;
	twice.findings = findings;
	twice.finding_count = 2;
	text = pn_pins_prometheus(&twice);
	first = strstr(text, "\npinion_pins_observed_bytes{");
	assert_non_null(first);
	assert_null(strstr(first + 1, "\npinion_pins_observed_bytes{"));
	first = strstr(text, "\npinion_pins_charged_twice_bytes{");
	assert_non_null(strstr(first, "} 8192\n"));
	assert_null(strstr(first + 1, "\npinion_pins_charged_twice_bytes{"));
	free(text);
}

/* What a finding says of its counter: the pages are in it, or should be and are not. */
static void findings_in_words(void **state)
{
	struct pn_finding nobody = finding;
	struct pn_pins_report other = report;

	(void)state;
	expect_part(pn_pins_table(&report),
		"charged-twice: process 42: 1 pages in mm->locked_vm (proc): why");
	nobody.kind = PN_FINDING_NOBODY;
	nobody.cause = "exempt";
	nobody.counter = PN_COUNTER_USER_LOCKED;
	nobody.figure.observer = PN_OBSERVER_MODEL;
	other.findings = &nobody;
	expect_part(pn_pins_summary(&other),
		"charged-to-nobody: process 42: 1 pages not in user->locked_vm (model): why");
	nobody.counter = PN_COUNTER_MAX;
	expect_part(pn_pins_table(&other), "charged-to-nobody: process 42: 1 pages (model): why");
}

static void json(void **state)
{
	json_t *root, *one;
	char *text = pn_pins_json(&report);
	const char *kind, *words;
	json_int_t pages;

	(void)state;
	root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(root);
	free(text);
	one = json_array_get(json_object_get(root, "findings"), 0);
	assert_int_equal(json_unpack(one, "{s:s, s:I, s:s, s:n}", "kind", &kind, "pages", &pages,
				 "text", &words, "holder_pid"),
		0);
	assert_string_equal(kind, "charged-twice");
	assert_string_equal(words, finding_text);
	assert_int_equal(pages, 1);
	json_decref(root);
}

/* Whatever a library's user puts into a report by hand, a document stays one. */
static void names_that_would_break_a_format(void **state)
{
	static const char evil[] = "a\"\\\n,{}\x01\x7f\xff";
	struct pn_pins_process saved = process;
	char *text;
	json_t *root;

	(void)state;
	memcpy(process.comm, evil, sizeof(evil));
	text = pn_pins_json(&report);
	root = json_loads(text, 0, NULL);
	assert_non_null(root);
	json_decref(root);
	free(text);
	expect_part(pn_pins_csv(&report, PN_PINS_ROWS_COUNTERS), "\"a\"\"\\\n,{}\x01\x7f\xff\"");
	expect_part(pn_pins_prometheus(&report), "comm=\"a\\\"\\\\?,{}???\"");
	process = saved;
}

static void numbers_at_their_ends(void **state)
{
	struct pn_pins_process saved = process;
	char *text;
	json_t *root;

	(void)state;
	for (int i = 0; i < PN_COUNTER_MAX; i++) {
		process.predicted[i] = UINT64_MAX;
		process.before[i] = UINT64_MAX - 1;
		process.observed[i] = (struct pn_figure){UINT64_MAX - 1, PN_OBSERVER_PROC};
	}
	text = pn_pins_json(&report);
	root = json_loads(text, 0, NULL);
	assert_non_null(root);
	json_decref(root);
	free(text);
	free(pn_pins_table(&report));
	expect_part(pn_pins_prometheus(&report), "e+22\n");
	process = saved;
}

static void texts_grow_and_align(void **state)
{
	struct text text = {0};

	(void)state;
	text_u64(&text, UINT64_MAX);
	text_add(&text, " ");
	text_i64(&text, INT64_MIN);
	text_add(&text, " ");
	text_hex(&text, UINT64_MAX);
	text_add(&text, " ");
	text_hex(&text, 0);
	text_right(&text, text.len - 3, 6);
	text_left(&text, text.len, 3);
	text_format(&text, "%s|", "end");
	text_size(&text, 0);
	text_size(&text, UINT64_C(3) << 40);
	text_size(&text, 1025);
	expect(text_end(&text),
		"18446744073709551615 -9223372036854775808 0xffffffffffffffff    0x0   end|0 B3 "
		"TiB1025 B");
	text = (struct text){0};
	for (int i = 0; i < 10000; i++)
		text_bytes(&text, "0123456789", 10);
	assert_int_equal(text.len, 100000);
	assert_int_equal(strlen(text.data), 100000);
	free(text_end(&text));
	text = (struct text){0};
	expect(text_end(&text), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(csv),
		cmocka_unit_test(prometheus),
		cmocka_unit_test(prometheus_has_no_line_twice),
		cmocka_unit_test(findings_in_words),
		cmocka_unit_test(json),
		cmocka_unit_test(names_that_would_break_a_format),
		cmocka_unit_test(numbers_at_their_ends),
		cmocka_unit_test(texts_grow_and_align),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
