/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The companion module when the kernel has no memory: each of its calls with one failure after the
 * other in it, refused with nothing changed, or not at all (tests/vm/guest/fault-injection).
 */
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fail_nth.h"
#include "kmod.h"

#define PAGES 24

struct state {
	int node;
	int file;
	char *mem;
	char *huge;
	long handle;
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

static int undo_pin(void *arg)
{
	struct state *state = arg;
	long ret = unpin(state->node, state->handle);

	return ret < 0 ? (int)ret : 0;
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

static int run_looks(void *arg)
{
	struct state *state = arg;
	uint64_t left;
	int ret = inspect(state->node, state->mem, PAGES * PAGE, 0, state->pages);

	return ret ? ret : drain(state->node, state->mem, PAGES * PAGE, 0, &left);
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

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static bool sweep(int nth, struct state *state, struct fail_op op, int least)
{
	int refused = fail_nth_sweep(nth, &op, state);

	if (refused < least)
		printf("%s: %d failures were refused, expected at least %d\n", op.name, refused,
			least);
	return refused >= least;
}

int main(void)
{
	struct state state = {.node = node_open(O_RDWR), .file = memory_file(PAGES * PAGE, false)};
	int nth;
	bool good;

	state.mem = touched(PAGES * PAGE);
	state.huge = huge_pages(HUGE);
	nth = fail_nth_open();
	if (nth < 0)
		return 2;
	become(1000, 16 * HUGE);
	setvbuf(stdout, NULL, _IOLBF, 0);
	good = sweep(nth, &state,
		(struct fail_op){"pin, charged to mm", run_pin_mm, undo_pin, nothing_pinned, false},
		4);
	good &= sweep(nth, &state,
		(struct fail_op){
			"pin, charged to a user", run_pin_user, undo_pin, nothing_pinned, false},
		4);
	good &= sweep(nth, &state,
		(struct fail_op){
			"pin, exclusive", run_pin_exclusive, undo_pin, nothing_pinned, false},
		4);
	good &= sweep(nth, &state,
		(struct fail_op){"pin a huge page", run_pin_huge, undo_pin, nothing_pinned, false},
		4);
	/* The page cache answers with other errors as well. */
	good &= sweep(nth, &state,
		(struct fail_op){"pin a file", run_pin_file, undo_pin, nothing_pinned, true}, 4);
	good &= !run_pin_huge(&state);
	good &= sweep(nth, &state,
		(struct fail_op){
			"unpin a part", run_unpin_part, undo_unpin_part, all_pinned, false},
		2);
	good &= !undo_pin(&state);
	good &= sweep(nth, &state,
		(struct fail_op){"inspect and drain", run_looks, nothing, nothing_pinned, false},
		2);
	good &= sweep(nth, &state,
		(struct fail_op){"open", run_open, undo_open, nothing_pinned, true}, 1);
	printf("%s\n", good ? "ok" : "failed");
	return good ? 0 : 1;
}
