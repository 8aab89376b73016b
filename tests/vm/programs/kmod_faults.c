/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The companion module when the kernel has no memory: each of its calls with one failure after the
 * other in it, refused with nothing changed, or not at all. kmod_faults objects | pages, as
 * tests/vm/guest/fault-injection was told before.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fail_nth.h"
#include "kmod.h"

#define PAGES 24

struct state {
	int node;
	int file;
	char *mem;
	char *huge;
	int huge_file;
	long handle;
	long again;
	struct pinion_page pages[PAGES];
};

static int keep(struct state *state, long handle)
{
	state->handle = handle;
	return handle < 0 ? (int)handle : 0;
}

static int run_pin_mm(void *arg)
{
	struct state *state = arg;

	return keep(state,
		pin(state->node, state->mem, PAGES * PAGE, PINION_CHARGE_MM, PINION_PIN_WRITE));
}

static int run_pin_user(void *arg)
{
	struct state *state = arg;

	return keep(state, pin(state->node, state->mem, PAGES * PAGE, PINION_CHARGE_USER, 0));
}

static int run_pin_exclusive(void *arg)
{
	struct state *state = arg;

	return keep(state, pin(state->node, state->mem, PAGES * PAGE, PINION_CHARGE_USER,
				   PINION_PIN_EXCLUSIVE));
}

static int run_pin_huge(void *arg)
{
	struct state *state = arg;

	return keep(state, pin(state->node, state->huge, HUGE, PINION_CHARGE_USER, 0));
}

static int run_pin_file(void *arg)
{
	struct state *state = arg;

	return keep(state, pin_fd(state->node, state->file, 0, PAGES * PAGE, PINION_CHARGE_MM,
				   PINION_PIN_WRITE));
}

static int run_pin_huge_file(void *arg)
{
	struct state *state = arg;

	return keep(state, pin_fd(state->node, state->huge_file, 0, HUGE, PINION_CHARGE_USER, 0));
}

static int undo_pin(void *arg)
{
	struct state *state = arg;
	long ret = unpin(state->node, state->handle);

	return ret < 0 ? (int)ret : 0;
}

/* And nothing is there afterwards. */
static int undo_pin_fresh(void *arg)
{
	struct state *state = arg;
	int ret = undo_pin(state);

	if (madvise(state->mem, PAGES * PAGE, MADV_DONTNEED) || ftruncate(state->file, 0) ||
		ftruncate(state->file, PAGES * PAGE))
		return -errno;
	return ret;
}

static bool nothing_pinned(void *arg)
{
	struct state *state = arg;
	struct pinion_counters now;

	if (counters(state->node, 0, &now))
		return false;
	if (now.locked_vm || now.pinned_vm || now.user_locked_vm)
		printf("locked_vm %llu, pinned_vm %llu, of the user %llu\n",
			(unsigned long long)now.locked_vm, (unsigned long long)now.pinned_vm,
			(unsigned long long)now.user_locked_vm);
	return !now.locked_vm && !now.pinned_vm && !now.user_locked_vm;
}

/* A part of an exclusive pin of a huge page: its table is made when the first page goes. */
static int run_unpin_part(void *arg)
{
	struct state *state = arg;
	long ret = unpin_part(state->node, state->handle, 3 * PAGE, PAGE);

	return ret < 0 ? (int)ret : 0;
}

static int undo_unpin_part(void *arg)
{
	struct state *state = arg;
	int ret = undo_pin(state);

	return ret ? ret : run_pin_huge(state);
}

static bool all_pinned(void *arg)
{
	struct state *state = arg;
	struct pinion_query seen;

	return !query(state->node, state->handle, &seen) && seen.pages == HUGE / PAGE &&
	       user_pages(state->node) == HUGE / PAGE;
}

static int run_inspect(void *arg)
{
	struct state *state = arg;

	return inspect(state->node, state->mem, PAGES * PAGE, 0, state->pages);
}

static int run_drain(void *arg)
{
	struct state *state = arg;
	uint64_t left;

	return drain(state->node, state->mem, PAGES * PAGE, 0, &left);
}

static int run_open(void *arg)
{
	struct state *state = arg;
	int fd = open(NODE, O_RDWR | O_CLOEXEC);

	state->handle = fd;
	return fd < 0 ? -errno : 0;
}

static int undo_open(void *arg)
{
	struct state *state = arg;

	return close((int)state->handle) ? -errno : 0;
}

static int run_info(void *arg)
{
	struct state *state = arg;
	struct pinion_info info = {.argsz = sizeof(info)};

	return ioctl(state->node, PINION_INFO, &info) ? -errno : 0;
}

static int run_query(void *arg)
{
	struct state *state = arg;
	struct pinion_query seen;

	return query(state->node, state->handle, &seen);
}

static int run_counters(void *arg)
{
	struct state *state = arg;
	struct pinion_counters now;
	int ret = counters(state->node, 0, &now);

	return ret ? ret : counters(state->node, getpid(), &now);
}

/* The limit is what is pinned: the second pin looks for what is charged already. */
static int run_pin_again(void *arg)
{
	struct state *state = arg;
	struct rlimit limit = {PAGES * PAGE, 16 * HUGE};
	long again;

	if (setrlimit(RLIMIT_MEMLOCK, &limit))
		return -EINVAL;
	again = pin(state->node, state->mem, PAGES * PAGE, PINION_CHARGE_USER, 0);
	state->again = again;
	return again < 0 ? (int)again : 0;
}

static int undo_pin_again(void *arg)
{
	struct state *state = arg;
	long ret = unpin(state->node, state->again);

	return ret < 0 ? (int)ret : 0;
}

static bool once_pinned(void *arg)
{
	struct state *state = arg;

	return user_pages(state->node) == PAGES && status(0, "VmPin") == PAGES;
}

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

/*
 * An operation, and how many allocations of each kind it cannot do without. Objects of a pin: the
 * handle, the record of the memory map (while it has no other pin), that of the user (if charged to
 * it, even if it has one), the array that pages are looked up in, and the first runs; for pages
 * that do not fill their 2 MiB a table in each index they enter: of the memory map's (mm), of both
 * (user), of what is exclusive too. More runs than four need more room, which depends on where
 * pages lie.
 */
struct sweep {
	struct fail_op op;
	int objects, pages;
};

/* None of these is pinned while it is swept through. */
static const struct sweep of_nothing[] = {
	{{"pin, charged to mm", run_pin_mm, undo_pin, nothing_pinned, false}, 5, 0},
	{{"pin, charged to a user", run_pin_user, undo_pin, nothing_pinned, false}, 7, 0},
	{{"pin, exclusive", run_pin_exclusive, undo_pin, nothing_pinned, false}, 8, 0},
	{{"pin a huge page", run_pin_huge, undo_pin, nothing_pinned, false}, 5, 0},
	/* The page cache and mmap() answer with other errors as well. */
	{{"pin a file", run_pin_file, undo_pin, nothing_pinned, true}, 5, 0},
	{{"pin a file of huge pages", run_pin_huge_file, undo_pin, nothing_pinned, true}, 5, 0},
	{{"pin what is not there yet", run_pin_mm, undo_pin_fresh, nothing_pinned, false}, 5, 1},
	{{"pin what a file has not yet", run_pin_file, undo_pin_fresh, nothing_pinned, true}, 5, 1},
	{{"inspect", run_inspect, nothing, nothing_pinned, false}, 1, 0},
	{{"drain", run_drain, nothing, nothing_pinned, false}, 1, 0},
	{{"open", run_open, undo_open, nothing_pinned, true}, 1, 0},
	{{"info", run_info, nothing, nothing_pinned, false}, 0, 0},
	{{"counters", run_counters, nothing, nothing_pinned, false}, 0, 0},
};

static const struct sweep of_huge[] = {
	{{"unpin a part", run_unpin_part, undo_unpin_part, all_pinned, false}, 6, 0},
	{{"unpin", undo_pin, run_pin_huge, all_pinned, false}, 0, 0},
	{{"query", run_query, nothing, all_pinned, false}, 0, 0},
};

static const struct sweep of_pages[] = {
	{{"pin what is pinned, at the limit", run_pin_again, undo_pin_again, once_pinned, false}, 5,
		0},
};

/*
 * How often an operation is swept through at most. A run has nearly always as many failure points
 * as the one before, but the kernel may do more in one of them, such as reclaim memory: all points
 * behind have another number then, and one is passed over. What is survived each time is found.
 */
#define SWEEPS 3

/* What needs nothing of the kind is never refused. */
static bool sweep(int nth, struct state *state, const struct sweep *one, bool objects)
{
	int least = objects ? one->objects : one->pages;
	int refused, most = 0;

	for (int i = 0; i < SWEEPS && (!i || most < least); i++) {
		if (i)
			printf("%s: %d refused of at least %d: again\n", one->op.name, most, least);
		refused = fail_nth_sweep(nth, &one->op, state);
		if (refused < 0)
			return false;
		most = refused > most ? refused : most;
	}
	if (most < least || (!one->objects && most)) {
		printf("%s: %d failures were refused, expected %s%d\n", one->op.name, most,
			least ? "at least " : "", least);
		return false;
	}
	return true;
}

#define SWEEP_ALL(sweeps)                                                         \
	do {                                                                      \
		for (size_t i = 0; i < sizeof(sweeps) / sizeof((sweeps)[0]); i++) \
			good &= sweep(nth, &state, &(sweeps)[i], objects);        \
	} while (0)

int main(int argc, char **argv)
{
	bool objects = argc == 2 && !strcmp(argv[1], "objects"), good = true;
	struct state state = {.node = node_open(O_RDWR),
		.file = memory_file(PAGES * PAGE, false),
		.huge_file = memory_file(HUGE, true)};
	int nth;

	if (!objects && (argc != 2 || strcmp(argv[1], "pages")))
		return 2;
	state.mem = touched(PAGES * PAGE);
	state.huge = huge_pages(HUGE);
	nth = fail_nth_open();
	if (nth < 0)
		return 2;
	become(1000, 16 * HUGE);
	setvbuf(stdout, NULL, _IOLBF, 0);
	SWEEP_ALL(of_nothing);
	good &= !run_pin_huge(&state);
	SWEEP_ALL(of_huge);
	good &= !undo_pin(&state) && !run_pin_user(&state);
	SWEEP_ALL(of_pages);
	good &= !undo_pin(&state) && nothing_pinned(&state);
	printf("%s\n", good ? "ok" : "failed");
	return good ? 0 : 1;
}
