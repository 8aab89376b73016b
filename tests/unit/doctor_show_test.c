/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How pinion doctor shows what it found, and the limits that it takes a session to have.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "doctor_fixture.h"

static char *text_of(bool colour, unsigned int columns)
{
	size_t size;
	char *text;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	doctor_print(&doctor, out, colour, columns);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void trouble(void)
{
	doctor.machine.memlock = (struct rlimit){0, 0};
	doctor_remove("/sys/kernel/iommu_groups");
	doctor_look();
}

/* Only a command may be longer than the page. */
static void lines_fit(void **state)
{
	char *text, *line, *rest;

	(void)state;
	trouble();
	for (unsigned int columns = 80; columns <= 120; columns += 20) {
		text = rest = text_of(false, columns);
		while ((line = strsep(&rest, "\n"))) {
			if (strlen(line) > columns)
				assert_non_null(strstr(line, "as root"));
		}
		free(text);
	}
}

static void colours_and_summary(void **state)
{
	char *text;

	(void)state;
	trouble();
	text = text_of(false, 100);
	assert_null(strchr(text, '\033'));
	assert_non_null(strstr(text, "\n  BLOCKS    memlock          soft 0 bytes"));
	assert_non_null(strstr(text, "\nIt will not run as asked: 2 block, 0 hurt, 0 not seen, "));
	free(text);
	text = text_of(true, 100);
	assert_non_null(strstr(text, "\033[1;31mBLOCKS"));
	free(text);
	doctor.ask.problems = true;
	doctor_look();
	text = text_of(false, 100);
	assert_null(strstr(text, "\n  ok "));
	assert_non_null(strstr(text, "BLOCKS"));
	free(text);
}

static void a_document(void **state)
{
	json_t *document, *finding;
	const char *verdict, *backend;
	json_int_t blocks, mem;
	size_t i, seen = 0;

	(void)state;
	trouble();
	document = doctor_json(&doctor);
	assert_non_null(document);
	assert_int_equal(
		json_unpack(document, "{s:s, s:{s:I}, s:{s:s, s:I}}", "verdict", &verdict, "counts",
			"blocks", &blocks, "looked_at", "backend", &backend, "mem_bytes", &mem),
		0);
	assert_string_equal(verdict, "blocks");
	assert_string_equal(backend, "iommufd");
	assert_int_equal(blocks, 2);
	assert_int_equal(mem, 16 << 20);
	json_array_foreach(json_object_get(document, "findings"), i, finding)
	{
		const char *id, *where, *text;
		json_int_t needed;

		assert_int_equal(json_unpack(finding, "{s:s}", "id", &id), 0);
		if (strcmp(id, "limits.memlock") != 0)
			continue;
		assert_int_equal(
			json_unpack(finding, "{s:{s:I}, s:[{s:s, s:s}]}", "numbers", "needed_bytes",
				&needed, "mends", "where", &where, "text", &text),
			0);
		assert_int_equal(needed, 16 << 20);
		assert_string_equal(where, "root");
		seen++;
	}
	assert_int_equal(seen, 1);
	json_decref(document);
}

/*
 * pam_limits
 */

static struct rlimit session(const char *limits, const char *name, uid_t uid, bool *any)
{
	static const gid_t groups[] = {1000, 50};
	static const char *const names[] = {"ann", NULL};
	struct rlimit limit = {8192, 16384};
	char from[192];

	doctor_file("/etc/security/limits.d/50-x.conf", limits);
	*any = doctor_pam_memlock(&doctor, name, uid, groups, names, 2, &limit, from);
	return limit;
}

static void limits_of_a_session(void **state)
{
	static const struct {
		const char *text;
		rlim_t soft, hard;
		bool any;
	} rows[] = {
		{"", 8192, 16384, false},
		{"ann - memlock 4\n", 4096, 4096, true},
		{"ann soft memlock 12\n", 12288, 16384, true},
		{"ann soft memlock 20\n", 16384, 16384, true}, /* not above the hard one */
		{"ann hard memlock 4\n", 4096, 4096, true},
		{"ann - memlock unlimited\n", RLIM_INFINITY, RLIM_INFINITY, true},
		{"ann - memlock -1\n", RLIM_INFINITY, RLIM_INFINITY, true},
		{"ann - memlock -7\n", 8192, 16384, false},
		{"ann - memlock 4x\n", 8192, 16384, false},
		{"ann - nofile 4\n", 8192, 16384, false},
		{"bob - memlock 4\n", 8192, 16384, false},
		{"# ann - memlock 4\n", 8192, 16384, false},
		{"ann - memlock 4 # a word\n", 4096, 4096, true},
		{"* - memlock 8\n@ann - memlock 4\n", 4096, 4096, true},
		{"@ann - memlock 4\n* - memlock 8\n", 4096, 4096, true},
		{"ann - memlock 4\n@ann - memlock 8\n", 4096, 4096, true},
		{"ann - memlock 4\nann - memlock 8\n", 8192, 8192, true},
		{"1000: - memlock 4\n", 4096, 4096, true},
		{":1000 - memlock 4\n", 4096, 4096, true},
		{"999:1001 - memlock 4\n", 4096, 4096, true},
		{"1001:2000 - memlock 4\n", 8192, 16384, false},
		{"@50: - memlock 4\n", 4096, 4096, true},
		{": - memlock 4\n", 8192, 16384, false},
		{"ann -\n* - memlock 4\n", 8192, 16384, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bool any;
		struct rlimit limit = session(rows[i].text, "ann", 1000, &any);

		if (limit.rlim_cur != rows[i].soft || limit.rlim_max != rows[i].hard ||
			any != rows[i].any)
			fail_msg("%s: %lu %lu", rows[i].text, (unsigned long)limit.rlim_cur,
				(unsigned long)limit.rlim_max);
	}
}

static void files_in_order(void **state)
{
	struct rlimit limit;
	bool any;

	(void)state;
	doctor_file("/etc/security/limits.conf", "ann - memlock 1\n");
	doctor_file("/etc/security/limits.d/60-y.conf", "ann - memlock 3\n");
	doctor_file("/etc/security/limits.d/70-z.txt", "ann - memlock 9\n");
	limit = session("ann - memlock 2\n", "ann", 1000, &any);
	assert_int_equal(limit.rlim_cur, 3072);
	/* Root is in no group of lines. */
	limit = session("* - memlock 2\n@ann - memlock 2\n", "root", 0, &any);
	assert_int_equal(limit.rlim_cur, 8192);
	assert_false(any);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, doctor_setup, doctor_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(lines_fit),
		TEST(colours_and_summary),
		TEST(a_document),
		TEST(limits_of_a_session),
		TEST(files_in_order),
	};

	return cmocka_run_group_tests_name("doctor_show", tests, NULL, NULL);
}
