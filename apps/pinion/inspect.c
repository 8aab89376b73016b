/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion inspect PID RANGE: what the pages of another process's range are, as /proc and
 * move_pages() tell whoever may trace it. The companion module looks at the caller's own pages
 * only, so whether these are pinned nobody tells. As a table or as JSON (doc/reports.md).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <numaif.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "parse.h"

#define PAGE  4096u
#define BATCH 512u

/* Documentation/admin-guide/mm/pagemap.rst */
#define PM_FRAME     ((UINT64_C(1) << 55) - 1)
#define PM_EXCLUSIVE (UINT64_C(1) << 56)
#define PM_FILE      (UINT64_C(1) << 61)
#define PM_SWAPPED   (UINT64_C(1) << 62)
#define PM_PRESENT   (UINT64_C(1) << 63)
#define KPF_HUGE     (UINT64_C(1) << 17)
#define KPF_THP      (UINT64_C(1) << 22)
#define KPF_ZERO     (UINT64_C(1) << 24)
/* Of a page's flags those that are told. Not KSM's, which 6.12 sets for every anonymous page. */
#define KPF_TOLD (KPF_HUGE | KPF_THP | KPF_ZERO)
#define PM_TOLD  (PM_EXCLUSIVE | PM_FILE | PM_SWAPPED | PM_PRESENT)

const char inspect_help[] =
	"[--json] PID START-END\n\n"
	"Show what the pages of a process are: there or swapped out, anonymous or of a file, of\n"
	"this process alone, and on which NUMA node. The range is as in /proc/PID/maps. It takes\n"
	"the right to trace the process; to root it also tells zero pages and huge pages.\n"
	"Whether a page is pinned it cannot tell: that is in no file, and the companion module\n"
	"looks at the caller's own memory only (kmod/README.md has why). Pins that are held\n"
	"through the module are in 'pinion pins --kernel'.\n\n"
	"      --json   print a JSON document (schema \"pinion.inspect/1\", doc/reports.md)\n"
	"  -h, --help   print this and exit\n\n"
	"Example:\n"
	"      pinion inspect 4711 7f0000000000-7f0000200000\n";

struct page {
	uint64_t map;  /* PM_TOLD */
	uint64_t kind; /* KPF_TOLD */
	bool known;    /* kind was read */
	int node;      /* or a negative errno */
};

struct inspection {
	const char *name;
	int status; /* of the command, when its words are not as they should be */
	pid_t pid;
	uint64_t start, end;
	int pagemap;
	int kpageflags; /* -1: not for this user */
	struct page page;
	uint64_t since; /* where pages began to be like this one */
	json_t *runs;   /* NULL: a table is printed */
};

/* Names that scripts know: they stay. */
static const char *state_of(const struct page *page)
{
	if (page->map & PM_SWAPPED)
		return "swapped";
	if (!(page->map & PM_PRESENT))
		return "absent";
	if (page->kind & KPF_ZERO)
		return "zero";
	return page->map & PM_FILE ? "file" : "anonymous";
}

static json_t *huge_of(const struct page *page)
{
	if (!page->known)
		return json_null();
	if (page->kind & KPF_HUGE)
		return json_string("hugetlb");
	return json_string(page->kind & KPF_THP ? "transparent" : "none");
}

static int add_run(struct inspection *look, uint64_t end)
{
	const struct page *page = &look->page;
	bool present = page->map & PM_PRESENT;
	json_t *run =
		json_pack("{s:o, s:o, s:I, s:o, s:s, s:o, s:o}", "start", json_address(look->since),
			"end", json_address(end), "pages", (json_int_t)((end - look->since) / PAGE),
			"node", page->node >= 0 ? json_integer(page->node) : json_null(), "state",
			state_of(page), "huge", huge_of(page), "shared",
			present ? json_boolean(!(page->map & PM_EXCLUSIVE)) : json_null());

	if (!json_array_append_new(look->runs, run))
		return 0;
	complain("%s: no memory for the document", look->name);
	return -ENOMEM;
}

static void print_run(const struct inspection *look, uint64_t end)
{
	const struct page *page = &look->page;

	printf("%#-18" PRIx64 " %#-18" PRIx64 " %10" PRIu64 " ", look->since, end,
		(end - look->since) / PAGE);
	if (page->node >= 0)
		printf("%4d  ", page->node);
	else
		printf("%4s  ", "-");
	if (page->map & PM_SWAPPED)
		printf("swapped out");
	else if (!(page->map & PM_PRESENT))
		printf("not there");
	else if (page->kind & KPF_ZERO)
		printf("zero page");
	else
		printf("%s%s%s%s", page->map & PM_FILE ? "file" : "anonymous",
			page->kind & KPF_HUGE ? ", hugetlb" : "",
			page->kind & KPF_THP ? ", transparent huge page" : "",
			page->map & PM_EXCLUSIVE ? "" : ", shared");
	printf("\n");
}

static int end_run(struct inspection *look, uint64_t end)
{
	if (look->runs)
		return add_run(look, end);
	print_run(look, end);
	return 0;
}

static bool read_kind(const struct inspection *look, uint64_t map, uint64_t *kind)
{
	uint64_t flags = 0, frame = map & PM_FRAME;

	/* Without CAP_SYS_ADMIN there is no frame. */
	if (look->kpageflags < 0 || !(map & PM_PRESENT) || !frame)
		return false;
	if (pread(look->kpageflags, &flags, sizeof(flags), (off_t)(frame * 8)) != sizeof(flags))
		return false;
	*kind = flags & KPF_TOLD;
	return true;
}

static bool same(const struct page *a, const struct page *b)
{
	return a->map == b->map && a->kind == b->kind && a->known == b->known && a->node == b->node;
}

static int look_at_batch(struct inspection *look, uint64_t at, size_t n)
{
	void *addresses[BATCH];
	uint64_t maps[BATCH];
	int nodes[BATCH];
	size_t i;
	int ret;

	if (pread(look->pagemap, maps, n * 8, (off_t)(at / PAGE * 8)) != (ssize_t)(n * 8)) {
		complain("%s: process %d has no addresses up to %#" PRIx64 ", or has ended",
			look->name, (int)look->pid, at + n * PAGE);
		return -EINVAL;
	}
	for (i = 0; i < n; i++) {
		addresses[i] = (void *)(uintptr_t)(at + i * PAGE);
		nodes[i] = -ENOENT;
	}
	/* A kernel without NUMA has no such call, and one node. */
	if (move_pages(look->pid, n, addresses, NULL, nodes, 0) && errno == ENOSYS)
		memset(nodes, 0, sizeof(nodes));
	for (i = 0; i < n; i++) {
		struct page page = {.map = maps[i] & PM_TOLD,
			.node = maps[i] & PM_PRESENT ? nodes[i] : -ENOENT};

		page.known = read_kind(look, maps[i], &page.kind);
		if (at + i * PAGE > look->since && !same(&page, &look->page)) {
			ret = end_run(look, at + i * PAGE);
			if (ret)
				return ret;
			look->since = at + i * PAGE;
		}
		look->page = page;
	}
	return 0;
}

static int look_at_all(struct inspection *look)
{
	uint64_t at, n;
	int ret;

	if (!look->runs)
		printf("%-18s %-18s %10s %4s  %s\n", "START", "END", "PAGES", "NODE", "WHAT");
	look->since = look->start;
	for (at = look->start; at < look->end; at += n * PAGE) {
		n = (look->end - at) / PAGE;
		n = n < BATCH ? n : BATCH;
		ret = look_at_batch(look, at, n);
		if (ret)
			return ret;
	}
	return end_run(look, look->end);
}

static int look_as_json(struct inspection *look)
{
	int ret;

	look->runs = json_array();
	if (!look->runs) {
		complain("%s: no memory for the document", look->name);
		return -ENOMEM;
	}
	ret = look_at_all(look);
	if (ret) {
		json_decref(look->runs);
		return ret;
	}
	return print_json(json_pack("{s:s, s:I, s:o, s:o, s:o}", "schema", "pinion.inspect/1",
		"pid", (json_int_t)look->pid, "start", json_address(look->start), "end",
		json_address(look->end), "runs", look->runs));
}

static int open_pagemap(struct inspection *look)
{
	char path[64];
	int err;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)look->pid);
	look->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (look->pagemap >= 0)
		return 0;
	err = errno;
	if (err == EACCES || err == EPERM)
		complain("%s: %s: %s; it takes the right to trace process %d: as its user, or as "
			 "root",
			look->name, path, strerror(err), (int)look->pid);
	else if (err == ENOENT)
		complain("%s: there is no process %d", look->name, (int)look->pid);
	else
		complain("%s: %s: %s", look->name, path, strerror(err));
	return -err;
}

/* "START-END", hexadecimal, with or without 0x. */
static bool parse_range(const char *text, uint64_t *start, uint64_t *end)
{
	char *next;

	errno = 0;
	*start = strtoull(text, &next, 16);
	if (next == text || *next != '-' || *text == '-')
		return false;
	text = next + 1;
	*end = strtoull(text, &next, 16);
	return !errno && next != text && !*next && *text != '-' && *start < *end &&
	       *end <= UINT64_C(1) << 56 && *start % PAGE == 0 && *end % PAGE == 0;
}

static int bad(const struct command *command, const char *what)
{
	complain("%s: %s; try 'pinion help %s'", command->name, what, command->name);
	return EXIT_USAGE;
}

/* The process and the range that it is asked for, and as what. 0 or the exit status. */
static int parse(
	const struct command *command, int argc, char **argv, struct inspection *look, bool *json)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{"json", no_argument, NULL, 'j'},
		{0},
	};
	uint64_t pid;
	int code;

	while ((code = next_option_before(command, argc, argv, options, &look->status)) != -1) {
		if (code != 'j')
			return -1;
		*json = true;
	}
	look->status = EXIT_USAGE;
	if (argc - optind < 2)
		return bad(command, "which process, and which range?");
	if (argc - optind > 2)
		return bad(command, "one process and one range");
	if (parse_number(argv[optind], 1, INT32_MAX, &pid))
		return bad(command, "that is no process ID");
	if (!parse_range(argv[optind + 1], &look->start, &look->end))
		return bad(command,
			"a range is START-END, hexadecimal, of whole pages, as in /proc/PID/maps");
	look->pid = (pid_t)pid;
	return 0;
}

int inspect_run(const struct command *command, int argc, char **argv)
{
	struct inspection look = {.name = command->name};
	bool json = false;
	int ret;

	if (parse(command, argc, argv, &look, &json))
		return look.status;
	ret = open_pagemap(&look);
	if (ret)
		return EXIT_FAILURE;
	look.kpageflags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	ret = json ? look_as_json(&look) : look_at_all(&look);
	if (look.kpageflags >= 0)
		close(look.kpageflags);
	close(look.pagemap);
	return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}
