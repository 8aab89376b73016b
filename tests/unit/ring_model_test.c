/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A model checker for rings. The code of pn_ring.h itself runs here, with its atomic operations
 * replaced by ones on a model of memory in which a load may return any value that release and
 * acquire leave possible, however old, and an access to a slot that nothing orders is an error.
 * Every choice - which thread goes on, which value it sees - is tried, up to a number of times that
 * a thread is interrupted. Weaker orders than the ring's own must be found out: that shows that
 * the checker sees something.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <cmocka.h>

#include "pn_base.h"

#define THREADS_MAX 4
#define SLOTS_MAX   4
#define MESSAGES    32
#define CHOICES     256
#define STACK       (64 << 10)

/* Places: the four positions; the slots; and for each slot and thread, its reads of it. */
#define PLACE_SLOT  4
#define PLACE_READS (PLACE_SLOT + SLOTS_MAX)
#define PLACES      (PLACE_READS + SLOTS_MAX * THREADS_MAX)

/* For each place, how many of its values are known to have been overwritten. */
struct view {
	uint8_t at[PLACES];
};

struct message {
	uint64_t value;
	struct view view; /* what who reads it with acquire knows then */
};

struct history {
	unsigned int last;
	struct message messages[MESSAGES];
};

enum weaken { WEAKEN_NOTHING, WEAKEN_LOADS, WEAKEN_STORES, WEAKEN_EXCHANGES };

static uint64_t model_load(const uint64_t *place, int order);
static void model_store(uint64_t *place, uint64_t value, int order);
static bool model_exchange(uint64_t *place, uint64_t *expected, uint64_t value, int order);
static void model_copy(void *to, const void *from, size_t bytes);
static void model_wait(const uint64_t *place, uint64_t value);

/* The header is compiled with these in place of the compiler's own. */
#define __atomic_load_n(place, order)         model_load(place, order)
#define __atomic_store_n(place, value, order) model_store(place, value, order)
#define __atomic_compare_exchange_n(place, expected, value, weak, order, fail) \
	model_exchange(place, expected, value, order)
#define __builtin_memcpy model_copy
#define pn_ring_wait     pn_ring_wait_model
#include "pn_ring.h"
#undef __atomic_load_n
#undef __atomic_store_n
#undef __atomic_compare_exchange_n
#undef __builtin_memcpy
#undef pn_ring_wait

struct thread {
	ucontext_t context;
	char *stack;
	struct view view;
	void (*run)(unsigned int id);
	bool done;
	const uint64_t *waits_for; /* a place, to have the value waited for */
	uint64_t wanted;
};

struct choice {
	uint8_t taken;
	uint8_t options;
};

static struct {
	_Alignas(128) struct pn_ring ring;
	uint64_t slots[SLOTS_MAX];
} memory;

static struct history histories[PLACES];
static struct thread threads[THREADS_MAX];
static unsigned int thread_count, current, interruptions, interruptions_max;
static ucontext_t scheduler;
static struct choice choices[CHOICES];
static unsigned int choice_count, choice_next;
static enum weaken weaken;
static const char *fault; /* the first of this execution */

static void found(const char *text)
{
	if (!fault)
		fault = text;
}

/* The next choice of this execution: as in the one before, or the first of new ones. */
static unsigned int choose(unsigned int options)
{
	if (options <= 1)
		return 0;
	if (choice_next == CHOICES) {
		found("too many choices");
		return 0;
	}
	if (choice_next == choice_count)
		choices[choice_count++] = (struct choice){0, (uint8_t)options};
	return choices[choice_next++].taken;
}

/* The last choice that can still be made otherwise. False when all were. */
static bool next_execution(void)
{
	while (choice_count) {
		struct choice *last = &choices[choice_count - 1];

		if (++last->taken < last->options)
			return true;
		choice_count--;
	}
	return false;
}

static unsigned int place_of(const uint64_t *place)
{
	const struct pn_ring *ring = &memory.ring;

	if (place == &ring->producers.head)
		return 0;
	if (place == &ring->producers.tail)
		return 1;
	return place == &ring->consumers.head ? 2 : 3;
}

static void join(struct view *view, const struct view *other)
{
	for (unsigned int i = 0; i < PLACES; i++) {
		if (other->at[i] > view->at[i])
			view->at[i] = other->at[i];
	}
}

/* Others may go on before the next access. */
static void step(void)
{
	swapcontext(&threads[current].context, &scheduler);
}

static void see(unsigned int place, unsigned int index, bool acquire)
{
	struct view *view = &threads[current].view;

	view->at[place] = (uint8_t)index;
	if (acquire)
		join(view, &histories[place].messages[index].view);
}

static uint64_t model_load(const uint64_t *where, int order)
{
	unsigned int place = place_of(where), oldest, index;
	bool acquire = order == __ATOMIC_ACQUIRE && weaken != WEAKEN_LOADS;

	step();
	oldest = threads[current].view.at[place];
	/* The newest first. */
	index = histories[place].last - choose(histories[place].last - oldest + 1);
	see(place, index, acquire);
	return histories[place].messages[index].value;
}

static void append(unsigned int place, uint64_t value, bool release, const struct view *before)
{
	struct history *history = &histories[place];
	struct view *view = &threads[current].view;
	struct message *message;

	if (history->last + 1 == MESSAGES) {
		found("too many values");
		return;
	}
	message = &history->messages[++history->last];
	view->at[place] = (uint8_t)history->last;
	message->value = value;
	memset(&message->view, 0, sizeof(message->view));
	if (release)
		message->view = *view;
	if (before)
		join(&message->view, before);
}

static void model_store(uint64_t *where, uint64_t value, int order)
{
	step();
	append(place_of(where), value, order == __ATOMIC_RELEASE && weaken != WEAKEN_STORES, NULL);
}

/* It succeeds on the newest value only, and fails on any that it may see and that is another. */
static bool model_exchange(uint64_t *where, uint64_t *expected, uint64_t value, int order)
{
	unsigned int place = place_of(where), others[MESSAGES], count = 0, picked;
	struct history *history = &histories[place];
	bool strong = order == __ATOMIC_ACQ_REL && weaken != WEAKEN_EXCHANGES, can_succeed;

	step();
	can_succeed = history->messages[history->last].value == *expected;
	for (unsigned int i = threads[current].view.at[place]; i <= history->last; i++) {
		if (history->messages[i].value != *expected)
			others[count++] = i;
	}
	picked = choose(count + can_succeed);
	if (can_succeed && picked == 0) {
		struct view before = history->messages[history->last].view;

		see(place, history->last, strong);
		append(place, value, strong, &before);
		return true;
	}
	picked = others[picked - can_succeed];
	see(place, picked, strong);
	*expected = history->messages[picked].value;
	return false;
}

static void write_slot(unsigned int slot, uint64_t value)
{
	const struct view *view = &threads[current].view;

	if (view->at[PLACE_SLOT + slot] != histories[PLACE_SLOT + slot].last)
		found("a slot is written beside another write");
	for (unsigned int i = 0; i < thread_count; i++) {
		unsigned int reads = PLACE_READS + slot * THREADS_MAX + i;

		if (view->at[reads] != histories[reads].last)
			found("a slot is written beside a read");
	}
	append(PLACE_SLOT + slot, value, false, NULL);
}

static uint64_t read_slot(unsigned int slot)
{
	struct history *history = &histories[PLACE_SLOT + slot];

	if (threads[current].view.at[PLACE_SLOT + slot] != history->last)
		found("a slot is read beside a write");
	append(PLACE_READS + slot * THREADS_MAX + current, 0, false, NULL);
	return history->messages[history->last].value;
}

/* Between a thread's own array and slots. */
static void model_copy(void *to, const void *from, size_t bytes)
{
	const uint64_t *in = from;
	uint64_t *out = to;

	for (size_t i = 0; i < bytes / sizeof(*in); i++) {
		if (&out[i] >= memory.slots && &out[i] < memory.slots + SLOTS_MAX)
			write_slot((unsigned int)(&out[i] - memory.slots), in[i]);
		else
			out[i] = read_slot((unsigned int)(&in[i] - memory.slots));
	}
}

/* pn_ring_wait(): goes on when a value is there that it may see. */
void pn_ring_wait_model(const uint64_t *tail, uint64_t head)
{
	model_wait(tail, head);
}

static int seen_at(const struct thread *thread, unsigned int place, uint64_t value)
{
	for (unsigned int i = thread->view.at[place]; i <= histories[place].last; i++) {
		if (histories[place].messages[i].value == value)
			return (int)i;
	}
	return -1;
}

static void model_wait(const uint64_t *where, uint64_t value)
{
	struct thread *thread = &threads[current];

	thread->waits_for = where;
	thread->wanted = value;
	step();
	thread->waits_for = NULL;
	see(place_of(where), (unsigned int)seen_at(thread, place_of(where), value),
		weaken != WEAKEN_LOADS);
}

static void run_thread(void)
{
	threads[current].run(current);
	threads[current].done = true;
	swapcontext(&threads[current].context, &scheduler);
}

static bool can_run(const struct thread *thread)
{
	if (thread->done)
		return false;
	return !thread->waits_for ||
	       seen_at(thread, place_of(thread->waits_for), thread->wanted) >= 0;
}

/* Whose turn it is; -1: nobody's. */
static int pick_thread(void)
{
	unsigned int able[THREADS_MAX], count = 0, picked;
	bool goes_on = can_run(&threads[current]);

	if (goes_on)
		able[count++] = current;
	for (unsigned int i = 0; i < thread_count; i++) {
		if (i != current && can_run(&threads[i]))
			able[count++] = i;
	}
	if (!count)
		return -1;
	if (goes_on && interruptions == interruptions_max)
		return (int)current;
	picked = choose(count);
	interruptions += goes_on && picked;
	return (int)able[picked];
}

static __attribute__((noinline)) void rewind_thread(struct thread *thread)
{
	memset(&thread->view, 0, sizeof(thread->view));
	thread->done = false;
	thread->waits_for = NULL;
	getcontext(&thread->context);
	thread->context.uc_stack.ss_sp = thread->stack;
	thread->context.uc_stack.ss_size = STACK;
	thread->context.uc_link = NULL;
	makecontext(&thread->context, run_thread, 0);
}

static void begin(unsigned int flags, unsigned int size)
{
	memset(histories, 0, sizeof(histories));
	memset(&memory, 0, sizeof(memory));
	memory.ring.flags = flags;
	memory.ring.size = size;
	interruptions = 0;
	choice_next = 0;
	fault = NULL;
	for (unsigned int i = 0; i < thread_count; i++)
		rewind_thread(&threads[i]);
	current = 0;
}

static void execute(void)
{
	int next;

	while ((next = pick_thread()) >= 0 && !fault) {
		current = (unsigned int)next;
		swapcontext(&scheduler, &threads[current].context);
	}
	for (unsigned int i = 0; i < thread_count && !fault; i++) {
		if (!threads[i].done)
			found("a thread waits for ever");
	}
}

/* What the threads put in and took out: an item is 100 times its thread's number, plus which. */
#define TAKEN_MAX 16

static uint64_t taken[THREADS_MAX][TAKEN_MAX];
static unsigned int taken_count[THREADS_MAX], put_count[THREADS_MAX];
static unsigned int per_call, calls;

static void put_items(unsigned int id)
{
	uint64_t items[SLOTS_MAX];

	for (unsigned int call = 0; call < calls; call++) {
		for (unsigned int i = 0; i < per_call; i++)
			items[i] = 100 * (id + 1) + put_count[id] + i;
		put_count[id] += (unsigned int)(call % 2 ? pn_ring_enqueue_bulk(
								   &memory.ring, items, per_call)
							 : pn_ring_enqueue_burst(
								   &memory.ring, items, per_call));
	}
}

static void take_items(unsigned int id)
{
	for (unsigned int call = 0; call < calls; call++) {
		uint64_t *to = &taken[id][taken_count[id]];

		taken_count[id] +=
			(unsigned int)(call % 2
					       ? pn_ring_dequeue_bulk(&memory.ring, to, per_call)
					       : pn_ring_dequeue_burst(&memory.ring, to, per_call));
	}
}

/* Each item came out once at most, those of one producer in order, and none that was not put in. */
static void check_items(void)
{
	unsigned int seen[THREADS_MAX][TAKEN_MAX] = {{0}};

	for (unsigned int id = 0; id < thread_count; id++) {
		unsigned int next[THREADS_MAX] = {0};

		for (unsigned int i = 0; i < taken_count[id]; i++) {
			uint64_t from = taken[id][i] / 100 - 1, which = taken[id][i] % 100;

			if (taken[id][i] < 100 || from >= THREADS_MAX || which >= put_count[from]) {
				found("an item that nobody put in");
				return;
			}
			if (seen[from][which]++)
				found("an item came out twice");
			if (which < next[from])
				found("items came out of order");
			next[from] = (unsigned int)which + 1;
		}
	}
}

struct scene {
	unsigned int flags, size, producers, consumers, per_call, calls, interruptions;
};

/* All executions of a scene, or up to the first fault, which is returned. */
static const char *explore(const struct scene *scene, unsigned long *executions)
{
	thread_count = scene->producers + scene->consumers;
	per_call = scene->per_call;
	calls = scene->calls;
	interruptions_max = scene->interruptions;
	choice_count = 0;
	*executions = 0;
	for (unsigned int i = 0; i < thread_count; i++)
		threads[i].run = i < scene->producers ? put_items : take_items;
	do {
		memset(taken_count, 0, sizeof(taken_count));
		memset(put_count, 0, sizeof(put_count));
		begin(scene->flags, scene->size);
		execute();
		if (!fault)
			check_items();
		++*executions;
	} while (!fault && next_execution());
	return fault;
}

static const struct scene scenes[] = {
	{PN_RING_SP | PN_RING_SC, 1, 1, 1, 1, 3, 99},
	{PN_RING_SP | PN_RING_SC, 2, 1, 1, 2, 2, 99},
	{PN_RING_SP | PN_RING_SC, 4, 1, 1, 3, 3, 3},
	{PN_RING_SC, 2, 2, 1, 1, 2, 2},
	{PN_RING_SP, 2, 1, 2, 1, 2, 2},
	{0, 1, 2, 1, 1, 1, 3},
	{0, 2, 2, 2, 1, 1, 2},
	{0, 2, 2, 2, 2, 2, 1},
	{0, 1, 1, 1, 1, 2, 4},
};

#define SCENES (sizeof(scenes) / sizeof(scenes[0]))

static void test_as_it_is(void **state)
{
	(void)state;
	weaken = WEAKEN_NOTHING;
	for (size_t i = 0; i < SCENES; i++) {
		unsigned long executions;
		const char *text = explore(&scenes[i], &executions);

		if (text)
			fail_msg("scene %zu, execution %lu: %s", i, executions, text);
		assert_true(executions > 10);
		print_message("# scene %zu: %lu executions\n", i, executions);
	}
}

static void test_weakened(void **state)
{
	static const enum weaken kinds[] = {WEAKEN_LOADS, WEAKEN_STORES};

	(void)state;
	for (size_t kind = 0; kind < 2; kind++) {
		weaken = kinds[kind];
		for (size_t i = 0; i < SCENES; i++) {
			unsigned long executions;

			if (!explore(&scenes[i], &executions))
				fail_msg("scene %zu: weaker orders were not found out", i);
		}
	}
}

/* Of the exchange of head: a thread then may see the other end older than who came before it. */
static void test_weak_exchange(void **state)
{
	static const struct scene scene = {0, 2, 2, 2, 1, 2, 3};
	unsigned long executions;

	(void)state;
	weaken = WEAKEN_EXCHANGES;
	assert_non_null(explore(&scene, &executions));
}

static int setup(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < THREADS_MAX; i++)
		threads[i].stack = calloc(1, STACK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < THREADS_MAX; i++)
		free(threads[i].stack);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_it_is),
		cmocka_unit_test(test_weakened),
		cmocka_unit_test(test_weak_exchange),
	};

	return cmocka_run_group_tests_name("ring_model", tests, setup, teardown);
}
