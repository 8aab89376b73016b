/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The charge model: the rows of charges_rows.h, what always holds on random sequences, and
 * what it answers to nonsense. That the kernel does the same is tested in virtual machines.
 */
#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "charges_rows.h"
#include "charges_text.h"

enum way { TYPE1, BY_USER, BY_PROCESS, WAYS };

static const struct pn_model_size size = {
	.processes = 4,
	.areas = 24,
	.contexts = 3,
	.devices = 3,
	.mappings = 24,
	.rings = 3,
	.others = 4,
};

static struct pn_model *new_model(unsigned int kernel)
{
	struct pn_model *model;

	assert_int_equal(pn_model_create(&model, kernel, &size), 0);
	return model;
}

static int apply(struct pn_model *model, const char *line, struct pn_model_result *result)
{
	struct pn_model_op op;

	if (charges_parse(line, &op))
		fail_msg("cannot be read: %s", line);
	return pn_model_apply(model, &op, result);
}

static void must(struct pn_model *model, const char *line)
{
	struct pn_model_result result;

	if (apply(model, line, &result) || result.err)
		fail_msg("%s: %s, errno %d", line, pn_error(), result.err);
}

static void set_up(struct pn_model *model, enum way way)
{
	must(model, "start uid=1000 soft=64 hard=1024");
	must(model, "area pages=64");
	must(model, "touch pages=64");
	must(model, way == TYPE1     ? "context path=type1"
		    : way == BY_USER ? "context path=native"
				     : "context path=native flag=1");
	must(model, way == TYPE1 ? "group" : "space");
	must(model, "device");
	if (way != TYPE1)
		must(model, "attach");
}

/* The answer for this way, behind the ':'. */
static void expected(const char *step, enum way way, char *text, size_t room)
{
	const char *from = strchr(step, ':') + 1;
	const char *bar = strchr(from, '|');

	if (bar)
		for (enum way i = 0; i < way; i++)
			from = strchr(from, '|') + 1;
	snprintf(text, room, "%.*s", (int)strcspn(from, "|"), from);
}

static void say(char *text, size_t room, const struct pn_model *model, uint32_t process, int err)
{
	static const char letters[] = "LuPcf";
	static const unsigned int order[] = {0, 2, 1, 3, 4};
	int at = snprintf(text, room, "%s", err ? strerrorname_np(err) : "");

	for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++) {
		uint64_t pages = pn_model_counter(model, process, order[i]);

		if (pages)
			at += snprintf(text + at, room - (size_t)at, "%s%c%llu", at ? " " : "",
				letters[order[i]], (unsigned long long)pages);
	}
}

static int compare_words(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The same words, in any order? */
static bool same(const char *a, const char *b)
{
	char copy[2][128], *word[2][16], *rest;
	size_t count[2];

	for (int i = 0; i < 2; i++) {
		snprintf(copy[i], sizeof(copy[i]), "%s", i ? b : a);
		count[i] = 0;
		rest = copy[i];
		while ((word[i][count[i]] = strtok_r(rest, " ", &rest)))
			count[i]++;
		qsort(word[i], count[i], sizeof(char *), compare_words);
	}
	if (count[0] != count[1])
		return false;
	for (size_t i = 0; i < count[0]; i++)
		if (strcmp(word[0][i], word[1][i]))
			return false;
	return true;
}

static void run_row(const struct row *row, enum way way)
{
	struct pn_model *model = new_model(row->kernel ? row->kernel : PN_MODEL_KERNEL(6, 12));
	struct pn_model_result result;
	char want[128], got[128];
	struct pn_model_op op;

	if (!row->bare)
		set_up(model, way);
	for (size_t i = 0; i < STEPS && row->step[i]; i++) {
		expected(row->step[i], way, want, sizeof(want));
		if (same(want, "-"))
			continue;
		if (apply(model, row->step[i], &result))
			fail_msg("%s: %s: %s", row->name, row->step[i], pn_error());
		charges_parse(row->step[i], &op);
		say(got, sizeof(got), model, op.process, result.err);
		if (!same(want, got))
			fail_msg("%s, way %d: %s: want \"%s\", got \"%s\"", row->name, (int)way,
				row->step[i], want, got);
	}
	pn_model_free(model);
}

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		for (enum way way = 0; way < WAYS; way++)
			run_row(&rows[i], way);
}

static void test_text_and_back(void **state)
{
	struct pn_model_op op, again;
	char line[CHARGES_LINE];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		for (size_t j = 0; j < STEPS && rows[i].step[j]; j++) {
			assert_int_equal(charges_parse(rows[i].step[j], &op), 0);
			charges_print(line, &op);
			assert_int_equal(charges_parse(line, &again), 0);
			assert_memory_equal(&op, &again, sizeof(op));
		}
	assert_int_equal(charges_parse("", &op), -EINVAL);
	assert_int_equal(charges_parse("mapp", &op), -EINVAL);
	assert_int_equal(charges_parse("map pages", &op), -EINVAL);
	assert_int_equal(charges_parse("map pages=x", &op), -EINVAL);
	assert_int_equal(charges_parse("map page_s=1", &op), -EINVAL);
}

/* --- random sequences */

static uint64_t next(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return *seed >> 33;
}

static struct pn_model_op random_op(uint64_t *seed)
{
	struct pn_model_op op = {
		.what = (enum pn_model_what)(next(seed) % PN_MODEL_WHATS),
		.process = (uint32_t)next(seed) % size.processes,
		.child = (uint32_t)next(seed) % size.processes,
		.area = (uint32_t)next(seed) % 4,
		.context = (uint32_t)next(seed) % size.contexts,
		.space = (uint32_t)next(seed) % 2,
		.from = (uint32_t)next(seed) % 2,
		.device = (uint32_t)next(seed) % size.devices,
		.ring = (uint32_t)next(seed) % size.rings,
		.other = (uint32_t)next(seed) % size.others,
		.target = (uint32_t)next(seed) % 3,
		.file = (enum pn_model_file)(next(seed) % PN_MODEL_FILES),
		.path = (enum pn_model_path)(next(seed) % 3),
		.memory = (enum pn_model_memory)(next(seed) % 4 ? 0 : next(seed) % 11),
		.kind = (enum pn_model_other)(next(seed) % 6),
		.flag = next(seed) % 2,
		.uid = 1000 + (uint32_t)next(seed) % 2,
		.caps = next(seed) % 4 ? 0 : (uint32_t)next(seed) % 4,
		.prot = (uint32_t)next(seed) % 4,
		.mode = (uint32_t)next(seed) % 8,
		.soft = next(seed) % 64,
		.hard = 64 + next(seed) % 2,
		.first = next(seed) % 8,
		.pages = 1 + next(seed) % 8,
		.iova = (next(seed) % 16) << 12,
		.from_iova = (next(seed) % 16) << 12,
		.total = next(seed) % 64,
	};

	if (op.what == PN_MODEL_AREA)
		op.pages = 16;
	if (op.what == PN_MODEL_UNMAP && next(seed) % 4 == 0)
		op.pages = PN_MODEL_ALL;
	/* Ends of processes are rarer, or nothing ever comes together. */
	if ((op.what == PN_MODEL_EXIT || op.what == PN_MODEL_EXEC) && next(seed) % 4)
		op.what = PN_MODEL_MAP;
	return op;
}

/* Nothing is negative, and a result's changes are what changed. */
static void check_step(const struct pn_model *before, const struct pn_model *after,
	const struct pn_model_op *op, const struct pn_model_result *result)
{
	int64_t moved = 0, told = 0;

	for (uint32_t i = 0; i < size.processes; i++)
		for (enum pn_model_counter counter = 0; counter < PN_MODEL_COUNTERS; counter++) {
			assert_true(pn_model_counter(after, i, counter) < UINT64_C(1) << 32);
			if (counter != PN_MODEL_MM_LOCKED && counter != PN_MODEL_MM_PINNED)
				continue;
			moved += (int64_t)(pn_model_counter(after, i, counter) -
					   pn_model_counter(before, i, counter));
		}
	for (uint32_t uid = 1000; uid < 1002; uid++)
		for (enum pn_model_counter counter = 0; counter < PN_MODEL_COUNTERS; counter++)
			moved += (int64_t)(pn_model_user_counter(after, uid, counter) -
					   pn_model_user_counter(before, uid, counter));
	for (uint32_t i = 0; i < result->change_count; i++)
		told += result->changes[i].pages;
	assert_false(result->more);
	assert_int_equal(moved, told);
	/* Refusals that leave something: see op_mlock(), touch_secret(), remove_range(). */
	if (result->err && op->what != PN_MODEL_MLOCK && op->what != PN_MODEL_TOUCH &&
		op->what != PN_MODEL_UNMAP)
		assert_int_equal(result->change_count, 0);
	assert_true(!result->err || result->err > 0);
}

/* Segments that are locked outlive everybody. */
static void unlock_segments(struct pn_model *model)
{
	struct pn_model_op op = {.what = PN_MODEL_OTHER_END};
	struct pn_model_result result;

	must(model, "start uid=1000 soft=1 hard=1 caps=1");
	for (op.other = 0; op.other < size.others; op.other++)
		if (!pn_model_apply(model, &op, &result))
			assert_int_equal(result.err, 0);
	must(model, "exit");
}

static void end_all(struct pn_model *model)
{
	struct pn_model_op op = {.what = PN_MODEL_EXIT};
	struct pn_model_result result;

	for (op.process = 0; op.process < size.processes; op.process++)
		if (pn_model_alive(model, op.process))
			assert_int_equal(pn_model_apply(model, &op, &result), 0);
	unlock_segments(model);
	for (uint32_t uid = 1000; uid < 1002; uid++)
		for (enum pn_model_counter counter = 0; counter < PN_MODEL_COUNTERS; counter++)
			assert_int_equal(pn_model_user_counter(model, uid, counter), 0);
	assert_int_equal(pn_model_uncharged(model), 0);
	must(model, "start uid=1000 soft=1 hard=1");
	for (enum pn_model_counter counter = 0; counter < PN_MODEL_COUNTERS; counter++)
		assert_int_equal(pn_model_counter(model, 0, counter), 0);
}

static unsigned int run_random(uint64_t seed, unsigned int kernel)
{
	struct pn_model *model = new_model(kernel), *before = new_model(kernel);
	struct pn_model_result result;
	struct pn_model_op op;
	unsigned int applied = 0;

	for (int i = 0; i < 600; i++) {
		assert_int_equal(pn_model_assign(before, model), 0);
		op = random_op(&seed);
		if (pn_model_apply(model, &op, &result)) {
			pn_model_assign(model, before);
			continue;
		}
		applied++;
		check_step(before, model, &op, &result);
	}
	end_all(model);
	pn_model_free(model);
	pn_model_free(before);
	return applied;
}

static void test_random(void **state)
{
	static const unsigned int kernels[] = {
		PN_MODEL_KERNEL(6, 1), PN_MODEL_KERNEL(6, 12), PN_MODEL_KERNEL(7, 2)};
	unsigned int applied = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 150; seed++)
		applied += run_random(seed, kernels[seed % 3]);
	assert_true(applied > 20000);
}

/* --- the limit that a sequence needs */

static void test_peak(void **state)
{
	struct pn_model *model = new_model(PN_MODEL_KERNEL(6, 12));
	struct pn_model_result result;

	(void)state;
	must(model, "start uid=1000 soft=all hard=all");
	must(model, "start p=1 uid=1000 soft=all hard=all");
	must(model, "area pages=512 mem=hugetlb");
	must(model, "area p=1 pages=512 mem=hugetlb");
	must(model, "context path=native");
	must(model, "space");
	must(model, "device");
	must(model, "attach");
	must(model, "pass child=1 file=context");
	must(model, "map pages=512 prot=3");
	assert_int_equal(pn_model_peak(model, 0), 512);
	must(model, "map p=1 pages=512 prot=3 iova=0x1000000");
	assert_int_equal(pn_model_peak(model, 0), 512);
	assert_int_equal(pn_model_peak(model, 1), 1024);
	must(model, "unmap pages=all");
	must(model, "limit p=1 soft=511 hard=all");
	assert_int_equal(apply(model, "map p=1 pages=512 prot=3", &result), 0);
	assert_int_equal(result.err, ENOMEM);
	assert_int_equal(result.over, PN_MODEL_USER_LOCKED);
	assert_int_equal(result.over_owner, 1000);
	assert_int_equal(result.over_process, 1);
	assert_int_equal(result.over_by, 1);
	assert_int_equal(pn_model_peak(model, 1), 1024);
	pn_model_free(model);
}

static void test_uncharged(void **state)
{
	struct pn_model *model = new_model(PN_MODEL_KERNEL(6, 12));

	(void)state;
	set_up(model, TYPE1);
	must(model, "map pages=8 prot=3");
	must(model, "area area=1 mem=bar pages=4");
	must(model, "map area=1 pages=4 prot=3 iova=0x100000");
	assert_int_equal(pn_model_uncharged(model), 4);
	must(model, "fork child=1");
	must(model, "exit");
	assert_int_equal(pn_model_uncharged(model), 12);
	must(model, "exit p=1");
	assert_int_equal(pn_model_uncharged(model), 0);
	pn_model_free(model);
}

static void test_nonsense(void **state)
{
	static const char *const lines[] = {"fork child=0", "fork child=9", "map area=7 pages=1",
		"map pages=65", "map first=all pages=2", "map ctx=2 pages=1", "device dev=9",
		"ring-close", "other-end", "area pages=1", "area area=1", "touch first=64 pages=1",
		"exit p=3", "attach dev=2", "group dev=0", "start p=9", "start p=1 soft=2 hard=1",
		"copy space=9 pages=1 prot=1", "space space=0", "other kind=99"};
	struct pn_model *model = new_model(PN_MODEL_KERNEL(6, 12));
	struct pn_model_size none = {0}, many = {.processes = UINT32_MAX};
	struct pn_model_op op = {.what = PN_MODEL_WHATS};
	struct pn_model_result result;
	struct pn_model *copy;

	(void)state;
	set_up(model, BY_USER);
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		int ret = apply(model, lines[i], &result);

		if (ret != -EINVAL && ret != -ENOBUFS)
			fail_msg("%s: %d, errno %d", lines[i], ret, result.err);
	}
	assert_int_equal(pn_model_apply(model, &op, &result), -EINVAL);
	assert_int_equal(pn_model_create(&copy, 0, &none), -EINVAL);
	assert_int_equal(pn_model_create(&copy, 0, &many), -EINVAL);
	assert_int_equal(pn_model_copy(&copy, model), 0);
	must(copy, "map pages=4 prot=3");
	assert_int_equal(pn_model_counter(copy, 0, PN_MODEL_USER_LOCKED), 4);
	assert_int_equal(pn_model_counter(model, 0, PN_MODEL_USER_LOCKED), 0);
	assert_int_equal(pn_model_counter(model, 9, PN_MODEL_USER_LOCKED), 0);
	pn_model_free(copy);
	pn_model_free(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_text_and_back),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_peak),
		cmocka_unit_test(test_uncharged),
		cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
