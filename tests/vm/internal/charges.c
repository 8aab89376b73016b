/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * charges KERNEL WAY DEVICE DEVICE cases|random OPERATIONS SEED|replay FILE: the charge model
 * beside this kernel, on one way of mapping: type1, compat, compat-vfio (/dev/vfio/vfio that
 * iommufd provides), native. As root in a virtual machine. Prints TAP, without a plan.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "charges.h"
#include "charges_rows.h"

/* Of one sequence: short ones begin anew often, and shrink fast. */
#define SEQUENCE 125

static int count, failed;

static void tell(bool good, const char *name)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++count, name);
	fflush(stdout);
	failed += !good;
}

/* 1 GiB pages are made by the suite, where hugetlb_cma= has them come from there. */
static bool has_cma_pages(void)
{
	FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "re");
	int pages = 0;

	if (!file)
		return false;
	if (fscanf(file, "%d", &pages) != 1)
		pages = 0;
	fclose(file);
	return pages > 0;
}

/* What workers can do on this machine. */
static bool can_run(const struct run *run, const struct pn_model_op *op)
{
	switch (op->what) {
	case PN_MODEL_OTHER:
		return op->kind == PN_MODEL_RDMA ? !access(RDMA_NODE, R_OK)
						 : op->kind != PN_MODEL_VDPA;
	case PN_MODEL_AREA:
		if (op->memory == PN_MODEL_SECRET)
			return run->kernel >= PN_MODEL_KERNEL(6, 5);
		if (op->memory == PN_MODEL_HUGETLB_CMA)
			return has_cma_pages();
		return op->memory != PN_MODEL_DIRTY_FILE || !access(DIRTY_DIR, W_OK);
	default:
		return true;
	}
}

/* Before the steps of a row that is not bare; see charges_rows.h. */
static size_t set_up(const struct way *way, bool by_process, struct pn_model_op *ops)
{
	static const char *const lines[] = {
		"start uid=1000 soft=64 hard=1024", "area pages=64", "touch pages=64"};
	const bool native = way->path == PN_MODEL_NATIVE;
	size_t at = 0;

	for (; at < 3; at++)
		charges_parse(lines[at], &ops[at]);
	ops[at++] = (struct pn_model_op){
		.what = PN_MODEL_CONTEXT, .path = way->path, .flag = way->misc};
	if (by_process) {
		charges_parse("start p=3 soft=1 hard=1 caps=2", &ops[at++]);
		charges_parse("pass child=3 file=context", &ops[at++]);
		charges_parse("rlimit-mode p=3 mode=1", &ops[at++]);
		charges_parse("exit p=3", &ops[at++]);
	}
	charges_parse(native ? "space" : "group", &ops[at++]);
	charges_parse("device", &ops[at++]);
	if (native)
		charges_parse("attach", &ops[at++]);
	return at;
}

/* The part behind ':' for this way is "-": it does not do the step. */
static bool left_out(const char *step, unsigned int column)
{
	const char *from = strchr(step, ':') + 1;

	if (!strchr(from, '|'))
		return false;
	for (; column; column--)
		from = strchr(from, '|') + 1;
	return from[strspn(from, " ")] == '-';
}

/* The operations of a row on a way; 0: it cannot be run here. */
static size_t row_ops(const struct run *run, const struct row *row, const struct way *way,
	unsigned int column, struct pn_model_op *ops)
{
	size_t at = row->bare ? 0 : set_up(way, column == 2, ops);

	for (size_t i = 0; i < STEPS && row->step[i]; i++) {
		if (left_out(row->step[i], way->path == PN_MODEL_NATIVE ? column : 0))
			continue;
		if (charges_parse(row->step[i], &ops[at]))
			exit(2);
		if (!can_run(run, &ops[at]))
			return 0;
		/* Another context of a row that begins with one is of the same kind. */
		if (!row->bare && ops[at].what == PN_MODEL_CONTEXT) {
			ops[at].path = way->path;
			ops[at].flag = way->misc;
		}
		/* Rows that say which path they are of are run with that. */
		if (row->bare && ops[at].what == PN_MODEL_CONTEXT && ops[at].path != way->path)
			return 0;
		at++;
	}
	return at;
}

static void run_case(
	struct run *run, const struct row *row, const struct way *way, unsigned int column)
{
	struct pn_model_op ops[STEPS + 16];
	size_t length = row_ops(run, row, way, column, ops), at;
	char name[160];

	if (!length)
		return;
	snprintf(name, sizeof(name), "%s%s", row->name, column == 2 ? ", by process" : "");
	if (!run_list(run, ops, length, &at)) {
		tell(true, name);
		return;
	}
	printf("# operation %zu: %s\n", at, run->trouble);
	run->loud = true;
	run_list(run, ops, length, &at);
	run->loud = false;
	tell(false, name);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void run_cases(struct run *run, const struct way *way)
{
	bool native = way->path == PN_MODEL_NATIVE;
	uint64_t start = now_ms();

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		run_case(run, &rows[i], way, native ? 1 : 0);
		if (native && !rows[i].bare)
			run_case(run, &rows[i], way, 2);
	}
	printf("# %lu operations of cases, %llu ms\n", run->operations,
		(unsigned long long)(now_ms() - start));
}

static void run_random(struct run *run, const struct way *way, unsigned long wanted, uint64_t seed)
{
	struct pn_model_op ops[SEQUENCE];
	struct pn_model *model, *spare;
	uint64_t start = now_ms();
	size_t length, at;
	char name[160];
	int ret = 0;

	run->operations = run->refused = 0;
	for (uint64_t i = 0; run->operations < wanted && !ret; i++) {
		if (pn_model_create(&model, run->kernel, &model_size) ||
			pn_model_create(&spare, run->kernel, &model_size))
			exit(2);
		length = random_list(model, spare, way, seed + i, ops, SEQUENCE);
		pn_model_free(model);
		pn_model_free(spare);
		ret = run_list(run, ops, length, &at);
		if (ret) {
			printf("# sequence of seed %llu, operation %zu: %s\n",
				(unsigned long long)(seed + i), at, run->trouble);
			run_shrink(run, ops, at);
		}
	}
	printf("# %lu operations, %lu of them refused, %llu ms, seed %llu\n", run->operations,
		run->refused, (unsigned long long)(now_ms() - start), (unsigned long long)seed);
	snprintf(name, sizeof(name), "%lu random operations and more, seed %llu", wanted,
		(unsigned long long)seed);
	tell(!ret, name);
}

static void replay(struct run *run, const char *path)
{
	struct pn_model_op ops[SEQUENCE];
	FILE *file = fopen(path, "re");
	char line[CHARGES_LINE];
	size_t length = 0, at;

	if (!file)
		exit(2);
	while (length < SEQUENCE && fgets(line, sizeof(line), file)) {
		char *from = line + strspn(line, "# ");

		if (*from != '\n' && charges_parse(from, &ops[length++])) {
			fprintf(stderr, "charges: not an operation: %s", line);
			exit(2);
		}
	}
	fclose(file);
	run->loud = true;
	if (run_list(run, ops, length, &at)) {
		printf("# %s\n", run->trouble);
		tell(false, path);
	} else {
		tell(true, path);
	}
}

static bool parse_way(const char *name, struct way *way)
{
	static const struct {
		const char *name;
		struct way way;
	} ways[] = {{"type1", {PN_MODEL_TYPE1, false}}, {"compat", {PN_MODEL_COMPAT, false}},
		{"compat-vfio", {PN_MODEL_COMPAT, true}}, {"native", {PN_MODEL_NATIVE, false}}};

	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		if (strcmp(ways[i].name, name))
			continue;
		*way = ways[i].way;
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	cpu_set_t one;
	unsigned int major, minor;
	struct way way;
	struct run run;

	if (argc == 3 && !strcmp(argv[1], "again"))
		worker_again((uint32_t)atoi(argv[2]));
	if (argc < 6 || sscanf(argv[1], "%u.%u", &major, &minor) != 2 || !parse_way(argv[2], &way))
		return 2;
	/* One works at a time: on one processor, nobody has to be woken on another. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	if (setrlimit(RLIMIT_MEMLOCK, &all) ||
		run_open(&run, PN_MODEL_KERNEL(major, minor), argv + 3))
		return 2;
	if (!strcmp(argv[5], "cases"))
		run_cases(&run, &way);
	else if (argc == 8 && !strcmp(argv[5], "random"))
		run_random(&run, &way, strtoul(argv[6], NULL, 10), strtoull(argv[7], NULL, 10));
	else if (argc == 7 && !strcmp(argv[5], "replay"))
		replay(&run, argv[6]);
	else
		return 2;
	return failed ? 1 : 0;
}
