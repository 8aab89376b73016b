/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mapping index with one thread that changes it and two that look up meanwhile, for
 * ThreadSanitizer, and checked: what stays is always found, what comes and goes is absent or right,
 * and what is never there at once never makes a run.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "map_index.h"
#include "sorted_check.h"

#define PAGE UINT64_C(4096)
/* Triples of addresses: the first two pages of each are one run that stays, made of two mappings;
 * the third comes and goes. */
#define TRIPLES 4000u
#define READERS 2u

/* Bases of addresses. A page that comes and goes has one of two IOVAs. */
#define VADDR     (UINT64_C(0x7f) << 40)
#define IOVA_STAY (UINT64_C(1) << 32)
#define IOVA_A    (UINT64_C(2) << 32)
#define IOVA_B    (UINT64_C(1) << 31)
/* Under all of it lies one mapping of the whole range of virtual addresses. */
#define IOVA_ALL (UINT64_C(1) << 46)
#define LEN_ALL  ((TRIPLES * 3 + 100) * PAGE)
/* And two pages that follow each other, of which only one at a time is there. */
#define HALVES      (TRIPLES * 3 * PAGE)
#define IOVA_HALVES (UINT64_C(3) << 32)

static struct map_index map_index;
static bool done;
static unsigned int errors;

static void wrong(void)
{
	__atomic_add_fetch(&errors, 1, __ATOMIC_RELAXED);
}

static struct mapping *put(uint64_t iova, uint64_t vaddr, uint64_t len)
{
	struct mapping *mapping = map_index_new(&map_index);

	if (!mapping)
		return NULL;
	mapping_place(mapping, iova, vaddr, len);
	if (!map_index_add(&map_index, mapping))
		return mapping;
	map_index_drop(&map_index, mapping);
	return NULL;
}

static void take(struct mapping *mapping)
{
	map_index_remove(&map_index, mapping);
	map_index_drop(&map_index, mapping);
}

static uint64_t changing_vaddr(uint64_t at)
{
	return VADDR + (3 * at + 2) * PAGE;
}

static void put_stable(uint64_t at)
{
	if (!put(IOVA_STAY + 2 * at * PAGE, VADDR + 3 * at * PAGE, PAGE) ||
		!put(IOVA_STAY + (2 * at + 1) * PAGE, VADDR + (3 * at + 1) * PAGE, PAGE))
		wrong();
}

/* Halves of a run, one after the other. */
static void alternate(void)
{
	for (uint64_t half = 0; half < 2; half++) {
		struct mapping *mapping =
			put(IOVA_HALVES + half * PAGE, VADDR + HALVES + half * PAGE, PAGE);

		if (mapping)
			take(mapping);
		else
			wrong();
	}
}

/* Waves of coming and going, so that buckets fill, split, join and become empty. */
static void *writer(void *arg)
{
	static struct mapping *changing[TRIPLES];
	unsigned int operations = *(unsigned int *)arg;
	bool grow = true;
	size_t count = 0;

	for (; operations; operations--) {
		uint64_t at = test_below(TRIPLES);

		if (count < TRIPLES / 16 || count > TRIPLES * 7 / 8)
			grow = count < TRIPLES / 16;
		if (changing[at] && (!grow || test_below(4) == 0)) {
			take(changing[at]);
			changing[at] = NULL;
			count--;
		} else if (!changing[at] && (grow || test_below(4) == 0)) {
			changing[at] = put((test_below(2) ? IOVA_A : IOVA_B) + at * PAGE,
				changing_vaddr(at), PAGE);
			if (!changing[at])
				wrong();
			count++;
		}
		if (operations % 16 == 0)
			alternate();
	}
	__atomic_store_n(&done, true, __ATOMIC_RELEASE);
	return NULL;
}

static void look_at_stable(uint64_t at)
{
	uint64_t iova = IOVA_STAY + 2 * at * PAGE, vaddr = VADDR + 3 * at * PAGE, found;

	if (map_index_iova(&map_index, vaddr + 8, 8, &found) || found != iova + 8)
		wrong();
	if (map_index_vaddr(&map_index, iova + PAGE + 8, 8, &found) || found != vaddr + PAGE + 8)
		wrong();
	if (map_index_iova(&map_index, vaddr, 2 * PAGE, &found) || found != iova)
		wrong();
	if (map_index_vaddr(&map_index, iova + 1, 2 * PAGE - 1, &found) || found != vaddr + 1)
		wrong();
	/* More than the run: only the large one holds it. */
	if (map_index_iova(&map_index, vaddr, 4 * PAGE, &found) ||
		found != IOVA_ALL + 3 * at * PAGE)
		wrong();
	if (map_index_vaddr(&map_index, IOVA_ALL + 3 * at * PAGE, 2 * PAGE, &found) ||
		found != vaddr)
		wrong();
}

static void look_at_changing(uint64_t at)
{
	uint64_t a = IOVA_A + at * PAGE, b = IOVA_B + at * PAGE, vaddr = changing_vaddr(at), found;
	int ret;

	if (map_index_iova(&map_index, vaddr + 5, 9, &found) ||
		(found != a + 5 && found != b + 5 && found != IOVA_ALL + (3 * at + 2) * PAGE + 5))
		wrong();
	ret = map_index_vaddr(&map_index, a + 5, PAGE - 5, &found);
	if (ret ? ret != -ENOENT : found != vaddr + 5)
		wrong();
	ret = map_index_vaddr(&map_index, b, PAGE, &found);
	if (ret ? ret != -ENOENT : found != vaddr)
		wrong();
}

static void look_at_halves(void)
{
	uint64_t found;

	if (map_index_vaddr(&map_index, IOVA_HALVES + 1, PAGE, &found) != -ENOENT)
		wrong();
	if (map_index_iova(&map_index, VADDR + HALVES + 1, PAGE, &found) ||
		found != IOVA_ALL + HALVES + 1)
		wrong();
	if (map_index_iova(&map_index, VADDR - 1, 1, &found) != -ENOENT)
		wrong();
	if (map_index_vaddr(&map_index, UINT64_MAX, 1, &found) != -ENOENT)
		wrong();
}

static void *reader(void *arg)
{
	uint64_t at = *(unsigned int *)arg;

	while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
		at = (at * 1664525 + 1013904223) % (UINT64_C(1) << 32);
		look_at_stable((at >> 8) % TRIPLES);
		look_at_changing((at >> 4) % TRIPLES);
		look_at_halves();
	}
	return NULL;
}

static void readers_are_right_at_all_times(void **state)
{
	unsigned int operations = test_scale(300000), numbers[READERS];
	pthread_t threads[READERS + 1];

	(void)state;
	test_seed();
	map_index_init(&map_index);
	assert_non_null(put(IOVA_ALL, VADDR, LEN_ALL));
	for (uint64_t at = 0; at < TRIPLES; at++)
		put_stable(at);
	for (unsigned int i = 0; i < READERS; i++) {
		numbers[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, reader, &numbers[i]), 0);
	}
	assert_int_equal(pthread_create(&threads[READERS], NULL, writer, &operations), 0);
	for (unsigned int i = 0; i <= READERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(errors, 0);
	sorted_check(&map_index.by_iova);
	sorted_check(&map_index.by_vaddr);
	map_index_free(&map_index);
}

/* From the first mapping on: readers meet every array that is outgrown. */
static void *grower(void *arg)
{
	unsigned int count = *(unsigned int *)arg;

	for (uint64_t i = 0; i < count; i++) {
		uint64_t at = i * 7919 % count;

		if (!put(IOVA_A + 2 * at * PAGE, VADDR + at * PAGE, PAGE))
			wrong();
	}
	__atomic_store_n(&done, true, __ATOMIC_RELEASE);
	return NULL;
}

struct looker {
	unsigned int count;
	uint64_t first;
};

/* What was found once is found ever after. */
static void *grow_reader(void *arg)
{
	const struct looker *looker = arg;
	bool *seen = calloc(looker->count, sizeof(*seen));
	uint64_t at = looker->first, found;

	while (seen && !__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
		int ret = map_index_iova(&map_index, VADDR + at * PAGE, PAGE, &found);

		if (ret ? seen[at] : found != IOVA_A + 2 * at * PAGE)
			wrong();
		seen[at] |= !ret;
		ret = map_index_vaddr(&map_index, IOVA_A + 2 * at * PAGE, PAGE, &found);
		if (ret ? seen[at] : found != VADDR + at * PAGE)
			wrong();
		seen[at] |= !ret;
		at = (at + 997) % looker->count;
	}
	free(seen);
	return NULL;
}

static void an_index_grows_under_readers(void **state)
{
	unsigned int count = 30000;
	struct looker lookers[READERS];
	pthread_t threads[READERS + 1];

	(void)state;
	for (unsigned int round = 0; round < 4; round++) {
		done = false;
		map_index_init(&map_index);
		for (unsigned int i = 0; i < READERS; i++) {
			lookers[i] = (struct looker){count, i * 100};
			assert_int_equal(
				pthread_create(&threads[i], NULL, grow_reader, &lookers[i]), 0);
		}
		assert_int_equal(pthread_create(&threads[READERS], NULL, grower, &count), 0);
		for (unsigned int i = 0; i <= READERS; i++)
			pthread_join(threads[i], NULL);
		assert_int_equal(errors, 0);
		assert_int_equal(map_index_count(&map_index), count);
		map_index_free(&map_index);
	}
}

/* One record that says something else each time, and is out of the index in between: 1 to 4 pages,
 * whose addresses tell which of the four it is. */
#define VARIANTS        4u
#define iova_of(which)  (IOVA_A + (which)*PAGE)
#define vaddr_of(which) (VADDR + (which)*100 * PAGE)

static void *replacer(void *arg)
{
	unsigned int operations = *(unsigned int *)arg;

	for (uint64_t i = 0; i < operations; i++) {
		uint64_t which = i % VARIANTS;
		struct mapping *mapping = put(iova_of(which), vaddr_of(which), (1 + which) * PAGE);

		if (mapping)
			take(mapping);
		else
			wrong();
	}
	__atomic_store_n(&done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Did one of the four ever answer so? */
static bool vaddr_was_right(uint64_t iova, uint64_t vaddr)
{
	for (uint64_t which = 0; which < VARIANTS; which++)
		if (iova - iova_of(which) < (1 + which) * PAGE &&
			vaddr - vaddr_of(which) == iova - iova_of(which))
			return true;
	return false;
}

static void *replaced_reader(void *arg)
{
	uint64_t found;
	int ret;

	(void)arg;
	while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
		for (uint64_t iova = IOVA_A; iova < iova_of(2 * VARIANTS); iova += PAGE) {
			ret = map_index_vaddr(&map_index, iova, PAGE, &found);
			if (ret ? ret != -ENOENT : !vaddr_was_right(iova, found))
				wrong();
		}
		for (uint64_t which = 0; which < VARIANTS; which++) {
			ret = map_index_iova(
				&map_index, vaddr_of(which), (1 + which) * PAGE, &found);
			if (ret ? ret != -ENOENT : found != iova_of(which))
				wrong();
		}
	}
	return NULL;
}

static void a_record_is_never_half_new(void **state)
{
	unsigned int operations = test_scale(1000000);
	pthread_t threads[READERS + 1];

	(void)state;
	done = false;
	map_index_init(&map_index);
	for (unsigned int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, replaced_reader, NULL), 0);
	assert_int_equal(pthread_create(&threads[READERS], NULL, replacer, &operations), 0);
	for (unsigned int i = 0; i <= READERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(errors, 0);
	map_index_free(&map_index);
}

struct look {
	bool by_vaddr;
	bool returned;
	int ret;
	uint64_t found;
};

static void *look_once(void *arg)
{
	struct look *look = arg;

	look->ret = look->by_vaddr ? map_index_iova(&map_index, VADDR, PAGE, &look->found)
				   : map_index_vaddr(&map_index, IOVA_A, PAGE, &look->found);
	__atomic_store_n(&look->returned, true, __ATOMIC_RELEASE);
	return NULL;
}

/* While a change is halfway, here on purpose, nobody gets an answer. */
static void a_change_is_waited_for(void **state)
{
	const struct timespec pause = {0, 50000000};
	struct mapping *mapping;

	(void)state;
	map_index_init(&map_index);
	mapping = put(IOVA_A, VADDR, PAGE);
	assert_non_null(mapping);
	for (unsigned int i = 0; i < 2; i++) {
		struct look look = {.by_vaddr = i};
		pthread_t thread;

		sorted_store(&map_index.changes, map_index.changes + 1);
		mapping_place(mapping, i ? IOVA_B : IOVA_A, i ? VADDR : 0, PAGE);
		assert_int_equal(pthread_create(&thread, NULL, look_once, &look), 0);
		nanosleep(&pause, NULL);
		assert_false(__atomic_load_n(&look.returned, __ATOMIC_ACQUIRE));
		mapping_place(mapping, IOVA_A, VADDR, PAGE);
		sorted_store(&map_index.changes, map_index.changes + 1);
		pthread_join(thread, NULL);
		assert_int_equal(look.ret, 0);
		assert_true(look.found == (i ? IOVA_A : VADDR));
	}
	map_index_free(&map_index);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(readers_are_right_at_all_times),
		cmocka_unit_test(an_index_grows_under_readers),
		cmocka_unit_test(a_record_is_never_half_new),
		cmocka_unit_test(a_change_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
