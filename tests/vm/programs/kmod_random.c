/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random operations on the companion module by several processes of two users, and a model that
 * says what each must return and what every counter is after it: kmod_random OPERATIONS SEED.
 * kmod_random user-pages prints user->locked_vm of who runs it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod.h"

#define WORKERS     4
#define USERS       2
#define HANDLES     48
#define SMALL       64
#define LARGE       1024
#define FOLIO       512
#define GENERATIONS 4096
#define SLOTS       (SMALL + LARGE)

/* What a range is of. */
enum where { OWN, SHARED, HUGE_SHARED, FILE_SMALL, FILE_HUGE, WHERES };

enum what { PIN, UNPIN, UNPIN_PART, LIMIT };

struct op {
	enum what what;
	enum where where;
	uint32_t charge;
	uint32_t flags;
	uint32_t handle;
	size_t first; /* pages */
	size_t n;
};

struct worker {
	pid_t pid;
	int to;
	int from;
	unsigned int uid;        /* 0 or 1 */
	unsigned int generation; /* which memory map */
	size_t limit;            /* pages */
};

/* Counts of pins; own pages of a generation first, then those of the files. */
struct counts {
	uint16_t own[SMALL];
	uint16_t file[SLOTS];
	size_t pages; /* with a count */
};

struct held {
	bool used;
	bool dead;
	uint32_t id;
	uint32_t charge;
	uint32_t flags;
	unsigned int generation;
	unsigned int uid;
	enum where where;
	size_t first;
	size_t n;
	bool hole[LARGE];
};

static struct worker workers[WORKERS];
static struct held held[HANDLES];
/* By generation: locked_vm and pinned_vm. By user: user->locked_vm, own pages by generation. */
static struct counts *locked[GENERATIONS], *pinned[GENERATIONS], *paid[USERS][GENERATIONS];
static struct counts paid_files[USERS];
static size_t paid_pages[USERS];
static unsigned int generations;
static int node, small_file, huge_file;
static uint64_t state;
static unsigned long step;

static uint32_t random_below(uint32_t n)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(state >> 33) % n;
}

static size_t region_pages(enum where where)
{
	return where == HUGE_SHARED || where == FILE_HUGE ? LARGE : SMALL;
}

/* In a worker. */

static long perform(const struct op *op, char *const base[WHERES])
{
	char *addr = base[op->where] + op->first * PAGE;
	struct rlimit limit = {op->n * PAGE, RLIM_INFINITY};

	switch (op->what) {
	case PIN:
		if (op->where == FILE_SMALL)
			return pin_fd(node, small_file, op->first * PAGE, op->n * PAGE, op->charge,
				op->flags);
		if (op->where == FILE_HUGE)
			return pin_fd(node, huge_file, op->first * PAGE, op->n * PAGE, op->charge,
				op->flags);
		return pin(node, addr, op->n * PAGE, op->charge, op->flags);
	case UNPIN:
		return unpin(node, op->handle);
	case UNPIN_PART:
		return unpin_part(node, op->handle, op->first * PAGE, op->n * PAGE);
	case LIMIT:
		return setrlimit(RLIMIT_MEMLOCK, &limit) ? -errno : 0;
	}
	return -EINVAL;
}

static void work(unsigned int uid, int from, int to)
{
	char *base[WHERES] = {0};
	struct op op;
	long result;

	become(1000 + uid, RLIM_INFINITY);
	base[OWN] = touched(SMALL * PAGE);
	base[SHARED] = mmap(NULL, SMALL * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		small_file, 0);
	base[HUGE_SHARED] = mmap(NULL, LARGE * PAGE, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_POPULATE, huge_file, 0);
	while (read(from, &op, sizeof(op)) == sizeof(op)) {
		result = perform(&op, base);
		if (write(to, &result, sizeof(result)) != sizeof(result))
			break;
	}
	_exit(0);
}

/* Of the model. */

static struct counts *get(struct counts **at)
{
	if (!*at)
		*at = calloc(1, sizeof(**at));
	if (!*at)
		exit(2);
	return *at;
}

static size_t slot(enum where where, size_t page)
{
	return where == HUGE_SHARED || where == FILE_HUGE ? SMALL + page : page;
}

static uint16_t *count_in(struct counts *counts, enum where where, size_t page)
{
	return where == OWN ? &counts->own[page] : &counts->file[slot(where, page)];
}

/* The counter of one page with its limited owner. */
static uint16_t *owner_count(
	uint32_t charge, unsigned int generation, unsigned int uid, enum where where, size_t page)
{
	if (charge == PINION_CHARGE_MM)
		return count_in(get(&locked[generation]), where, page);
	if (where == OWN)
		return count_in(get(&paid[uid][generation]), where, page);
	return count_in(&paid_files[uid], where, page);
}

static size_t *owner_pages(uint32_t charge, unsigned int generation, unsigned int uid)
{
	return charge == PINION_CHARGE_MM ? &get(&locked[generation])->pages : &paid_pages[uid];
}

static void add_page(const struct held *one, size_t page)
{
	struct counts *beside = get(&pinned[one->generation]);

	if (!(*owner_count(one->charge, one->generation, one->uid, one->where, page))++)
		++*owner_pages(one->charge, one->generation, one->uid);
	if (one->charge == PINION_CHARGE_USER && !(*count_in(beside, one->where, page))++)
		beside->pages++;
}

static long del_page(const struct held *one, size_t page)
{
	struct counts *beside = get(&pinned[one->generation]);
	long gone = !--*owner_count(one->charge, one->generation, one->uid, one->where, page);

	*owner_pages(one->charge, one->generation, one->uid) -= (size_t)gone;
	if (one->charge == PINION_CHARGE_USER && !--*count_in(beside, one->where, page))
		beside->pages--;
	return gone;
}

static bool same_memory(const struct held *one, enum where where, unsigned int generation)
{
	if (where == OWN || one->where == OWN)
		return one->where == where && one->generation == generation;
	return region_pages(where) == region_pages(one->where);
}

static bool holds(const struct held *one, size_t page)
{
	return page >= one->first && page - one->first < one->n && !one->hole[page - one->first];
}

/* Has a handle a page of [first, end) of this memory? */
static bool any_held(const struct held *one, size_t first, size_t end)
{
	size_t page;

	for (page = first; page < end; page++) {
		if (holds(one, page))
			return true;
	}
	return false;
}

static bool conflicts(const struct held *one, const struct op *op, unsigned int generation)
{
	size_t first = op->first, end = op->first + op->n;

	if (!one->used || one->dead || !same_memory(one, op->where, generation))
		return false;
	if ((one->flags & PINION_PIN_EXCLUSIVE) && any_held(one, first, end))
		return true;
	if (!(op->flags & PINION_PIN_EXCLUSIVE))
		return false;
	/* Pins are counted by folio. */
	if (region_pages(op->where) == LARGE) {
		first = first / FOLIO * FOLIO;
		end = (end + FOLIO - 1) / FOLIO * FOLIO;
	}
	return any_held(one, first, end);
}

static long expect_pin(const struct worker *worker, const struct op *op)
{
	size_t page, fresh = 0, now;
	int i;

	now = *owner_pages(op->charge, worker->generation, worker->uid);
	for (page = op->first; page < op->first + op->n; page++)
		fresh +=
			!*owner_count(op->charge, worker->generation, worker->uid, op->where, page);
	if (fresh && now + fresh > worker->limit)
		return -ENOMEM;
	for (i = 0; i < HANDLES; i++) {
		if (conflicts(&held[i], op, worker->generation))
			return -EBUSY;
	}
	return 0;
}

static struct held *free_place(void)
{
	int i;

	for (i = 0; i < HANDLES; i++) {
		if (!held[i].used)
			return &held[i];
	}
	return NULL;
}

static void model_pin(struct held *place, const struct worker *worker, const struct op *op, long id)
{
	size_t page;

	memset(place, 0, sizeof(*place));
	place->used = true;
	place->id = (uint32_t)id;
	place->charge = op->charge;
	place->flags = op->flags;
	place->generation = worker->generation;
	place->uid = worker->uid;
	place->where = op->where;
	place->first = op->first;
	place->n = op->n;
	for (page = op->first; page < op->first + op->n; page++)
		add_page(place, page);
}

static long model_drop(struct held *one, size_t from, size_t n)
{
	long gone = 0;
	size_t i;

	for (i = from; i < from + n; i++) {
		if (one->hole[i])
			continue;
		gone += del_page(one, one->first + i);
		one->hole[i] = true;
	}
	return gone;
}

static bool is_empty(const struct held *one)
{
	size_t i;

	for (i = 0; i < one->n; i++) {
		if (!one->hole[i])
			return false;
	}
	return true;
}

static long expect_part(const struct held *one, const struct op *op)
{
	size_t end = op->first + op->n, i;

	if (end > one->n)
		return -EINVAL;
	if (one->dead || one->hole[op->first])
		return -ENOENT;
	for (i = op->first; i < end; i++) {
		if (one->hole[i])
			return -ENOENT;
	}
	return 0;
}

/* Of the run. */

static void wrong(const char *what, long got, long want)
{
	printf("operation %lu: %s is %ld, expected %ld\n", step, what, got, want);
	failures++;
}

static void same(const char *what, size_t got, size_t want)
{
	if (got != want)
		wrong(what, (long)got, (long)want);
}

static long ask(struct worker *worker, const struct op *op)
{
	long result;

	if (write(worker->to, op, sizeof(*op)) != sizeof(*op) ||
		read(worker->from, &result, sizeof(result)) != sizeof(result)) {
		perror("worker");
		exit(2);
	}
	return result;
}

static void start(struct worker *worker, unsigned int uid)
{
	int down[2], up[2], i;

	if (pipe(down) || pipe(up) || generations == GENERATIONS)
		exit(2);
	worker->pid = fork();
	if (!worker->pid) {
		/* Its end is to be seen, so nobody else has it. */
		for (i = 0; i < WORKERS; i++) {
			if (workers[i].to)
				close(workers[i].to);
		}
		close(down[1]);
		work(uid, down[0], up[1]);
	}
	close(down[0]);
	close(up[1]);
	worker->to = down[1];
	worker->from = up[0];
	worker->uid = uid;
	worker->generation = generations++;
	worker->limit = RLIM_INFINITY / PAGE;
}

static void do_pin(struct worker *worker, struct op *op)
{
	struct held *place = free_place();
	long want, got;

	if (!place)
		return;
	want = expect_pin(worker, op);
	got = ask(worker, op);
	if (got > 0 && !want)
		model_pin(place, worker, op, got);
	else if (got != want)
		wrong("PIN", got, want);
}

static void do_unpin(struct worker *worker, struct op *op, struct held *one)
{
	long want, got;

	op->handle = one->id;
	got = ask(worker, op);
	want = one->dead ? 0 : model_drop(one, 0, one->n);
	if (got != want)
		wrong("UNPIN", got, want);
	one->used = false;
}

static void do_unpin_part(struct worker *worker, struct op *op, struct held *one)
{
	long want, got;

	op->handle = one->id;
	op->first = random_below((uint32_t)one->n);
	op->n = 1 + random_below((uint32_t)(one->n - op->first + 1));
	if (one->where == FILE_HUGE && random_below(2)) {
		op->first = 0;
		op->n = one->n < FOLIO ? one->n : FOLIO - one->first % FOLIO;
	}
	want = expect_part(one, op);
	got = ask(worker, op);
	if (!want) {
		want = model_drop(one, op->first, op->n);
		one->used = !is_empty(one);
	}
	if (got != want)
		wrong("UNPIN of a part", got, want);
}

static void do_limit(struct worker *worker, struct op *op)
{
	op->n = random_below(3) ? random_below(256) : random_below(4096);
	worker->limit = op->n;
	if (ask(worker, op))
		exit(2);
}

/* A process ends: what its locked_vm paid for is gone, what its user pays for is not. */
static void do_end(struct worker *worker)
{
	int i;

	if (random_below(2))
		kill(worker->pid, SIGKILL);
	close(worker->to);
	close(worker->from);
	worker->to = 0;
	waitpid(worker->pid, NULL, 0);
	for (i = 0; i < HANDLES; i++) {
		struct held *one = &held[i];

		if (!one->used || one->charge != PINION_CHARGE_MM ||
			one->generation != worker->generation)
			continue;
		if (!one->dead)
			model_drop(one, 0, one->n);
		one->dead = true;
	}
	start(worker, worker->uid);
}

static void compare(void)
{
	struct pinion_counters now;
	int i;

	for (i = 0; i < WORKERS; i++) {
		const struct worker *worker = &workers[i];

		if (counters(node, worker->pid, &now)) {
			wrong("COUNTERS", -errno, 0);
			continue;
		}
		same("locked_vm", now.locked_vm, get(&locked[worker->generation])->pages);
		same("pinned_vm", now.pinned_vm, get(&pinned[worker->generation])->pages);
		same("module's locked_vm", now.module_locked_vm, now.locked_vm);
		/* A worker that has just been forked is root's still. */
		if (now.uid == 1000 + worker->uid)
			same("user->locked_vm", now.user_locked_vm, paid_pages[worker->uid]);
	}
}

static void choose(struct op *op)
{
	size_t pages;

	memset(op, 0, sizeof(*op));
	op->where = random_below(WHERES);
	op->charge = 1 + random_below(2);
	op->flags = random_below(2) ? PINION_PIN_WRITE : 0;
	if (!random_below(8))
		op->flags |= PINION_PIN_EXCLUSIVE;
	pages = region_pages(op->where);
	op->first = random_below((uint32_t)pages);
	op->n = 1 + random_below((uint32_t)(pages - op->first));
	if (pages == LARGE && random_below(2)) {
		op->first = random_below(2) * FOLIO;
		op->n = FOLIO;
	}
}

static void one_operation(void)
{
	struct worker *worker = &workers[random_below(WORKERS)];
	struct held *one = &held[random_below(HANDLES)];
	uint32_t dice = random_below(100);
	struct op op;

	choose(&op);
	if (dice == 0) {
		do_end(worker);
	} else if (dice < 5) {
		op.what = LIMIT;
		do_limit(worker, &op);
	} else if (dice < 50 || !one->used) {
		op.what = PIN;
		do_pin(worker, &op);
	} else if (dice < 75) {
		op.what = UNPIN_PART;
		do_unpin_part(worker, &op, one);
	} else {
		op.what = UNPIN;
		do_unpin(worker, &op, one);
	}
}

static void finish(void)
{
	int i;

	for (i = 0; i < HANDLES; i++) {
		struct op op = {.what = UNPIN};

		if (held[i].used)
			do_unpin(&workers[0], &op, &held[i]);
	}
	compare();
	for (i = 0; i < USERS; i++)
		same("what a user pays at the end", paid_pages[i], 0);
	for (i = 0; i < WORKERS; i++)
		close(workers[i].to);
	while (wait(NULL) > 0)
		;
}

int main(int argc, char **argv)
{
	unsigned long operations;
	unsigned int i;

	node = node_open(O_RDWR);
	if (argc == 2 && !strcmp(argv[1], "user-pages")) {
		printf("%llu\n", (unsigned long long)user_pages(node));
		return 0;
	}
	if (argc != 3)
		return 2;
	operations = strtoul(argv[1], NULL, 0);
	state = strtoul(argv[2], NULL, 0);
	small_file = memory_file(SMALL * PAGE, false);
	huge_file = memory_file(LARGE * PAGE, true);
	for (i = 0; i < WORKERS; i++)
		start(&workers[i], i % USERS);
	for (step = 1; step <= operations && failures < 10; step++) {
		one_operation();
		compare();
	}
	finish();
	printf("%lu operations, %u processes, seed %s: %d wrong\n", operations, generations,
		argv[2], failures);
	return !!failures;
}
