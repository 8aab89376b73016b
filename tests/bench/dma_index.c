/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Time and memory of the mapping index and of the free list of IOVAs: one run with so many mappings
 * of 4 KiB. "bench-dma-index MAPPINGS sequential|random" prints a line for each figure: its name,
 * its value. Times are those of the thread's own processor time. tests/bench/dma-index runs it.
 */
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "iova_space.h"
#include "map_index.h"

#define PAGE    UINT64_C(4096)
#define IOVA    (UINT64_C(1) << 32)
#define VADDR   (UINT64_C(0x7f) << 40)
#define QUERIES (1u << 20)

static struct map_index map_index;
static struct iova_space space;
static struct mapping **mappings;
static uint32_t *order, *other_order, *queries;
static size_t count;
static bool stop;

static uint64_t processor_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static size_t heap_bytes(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static uint64_t random_word(void)
{
	static uint64_t state = 88172645463325252;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state >> 8;
}

static void die(const char *what)
{
	fprintf(stderr, "bench-dma-index: %s\n", what);
	exit(1);
}

static void *get_memory(size_t n, size_t size)
{
	void *memory = calloc(n, size);

	if (!memory)
		die("no memory");
	return memory;
}

static uint32_t *numbers(bool shuffled)
{
	uint32_t *list = get_memory(count, sizeof(*list)), other;
	size_t i, at;

	for (i = 0; i < count; i++)
		list[i] = (uint32_t)i;
	for (i = count; shuffled && i > 1; i--) {
		at = random_word() % i;
		other = list[i - 1];
		list[i - 1] = list[at];
		list[at] = other;
	}
	return list;
}

/* Every second page, so that no two mappings make one run. */
static uint64_t iova_of(size_t at)
{
	return IOVA + at * 2 * PAGE;
}

static uint64_t vaddr_of(size_t at)
{
	return VADDR + at * 2 * PAGE;
}

static void report(const char *name, double value)
{
	printf("%s %.2f\n", name, value);
}

/* One mapping each for an IOVA and a virtual address, in the orders of the two lists. */
static void build(void)
{
	size_t before = heap_bytes(), i;
	uint64_t start = processor_ns();

	for (i = 0; i < count; i++) {
		struct mapping *mapping = map_index_new(&map_index);

		if (!mapping)
			die("no memory");
		mapping_place(mapping, iova_of(order[i]), vaddr_of(other_order[i]), PAGE);
		if (map_index_add(&map_index, mapping))
			die("no memory");
		mappings[i] = mapping;
	}
	report("first_add_ns", (double)(processor_ns() - start) / (double)count);
	report("index_bytes", (double)(heap_bytes() - before) / (double)count);
}

static void look_up(const char *by_iova, const char *by_vaddr)
{
	uint64_t start, found, sum = 0;
	size_t i;

	start = processor_ns();
	for (i = 0; i < QUERIES; i++) {
		if (map_index_vaddr(&map_index, iova_of(queries[i]) + 64, 64, &found))
			die("a mapping is not found by IOVA");
		sum += found;
	}
	report(by_iova, QUERIES * 1e3 / (double)(processor_ns() - start));
	start = processor_ns();
	for (i = 0; i < QUERIES; i++) {
		if (map_index_iova(&map_index, vaddr_of(queries[i]) + 64, 64, &found))
			die("a mapping is not found by virtual address");
		sum += found;
	}
	report(by_vaddr, QUERIES * 1e3 / (double)(processor_ns() - start));
	if (!sum)
		die("all addresses are 0");
}

static void miss(void)
{
	uint64_t start = processor_ns(), found;
	size_t i;

	for (i = 0; i < QUERIES; i++) {
		if (!map_index_iova(&map_index, vaddr_of(queries[i]) + PAGE, 64, &found))
			die("what is not mapped is found");
	}
	report("vaddr_miss_M", QUERIES * 1e3 / (double)(processor_ns() - start));
}

/* A tenth of the mappings goes and comes again. */
static void change(void)
{
	uint64_t start = processor_ns();
	size_t part = count / 10 + 1, i;

	for (i = 0; i < part; i++)
		map_index_remove(&map_index, mappings[i]);
	report("remove_ns", (double)(processor_ns() - start) / (double)part);
	start = processor_ns();
	for (i = 0; i < part; i++) {
		if (map_index_add(&map_index, mappings[i]))
			die("no memory");
	}
	report("add_ns", (double)(processor_ns() - start) / (double)part);
}

/* One mapping more, and away again, each 10 us: as often as a busy program maps. */
static void *changer(void *arg)
{
	const struct timespec pause = {0, 10000};
	struct mapping *mapping = map_index_new(&map_index);

	(void)arg;
	if (!mapping)
		die("no memory");
	mapping_place(mapping, iova_of(count), vaddr_of(count), PAGE);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		if (map_index_add(&map_index, mapping))
			die("no memory");
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		map_index_remove(&map_index, mapping);
	}
	map_index_drop(&map_index, mapping);
	return NULL;
}

static void look_up_beside_changes(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, changer, NULL))
		die("no thread");
	look_up("iova_beside_changes_M", "vaddr_beside_changes_M");
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
}

/* The IOVAs of the mappings are taken: between two of them is always a free page. */
static void iovas(void)
{
	const struct pn_iova_range range = {IOVA, (UINT64_C(1) << 48) - 1};
	size_t before = heap_bytes(), i;
	uint64_t start, iova;

	if (iova_space_init(&space, &range, 1))
		die("no memory");
	start = processor_ns();
	for (i = 0; i < count; i++) {
		if (iova_space_take(&space, iova_of(order[i]), PAGE))
			die("an IOVA cannot be taken");
	}
	report("take_ns", (double)(processor_ns() - start) / (double)count);
	report("space_bytes", (double)(heap_bytes() - before) / (double)count);
	start = processor_ns();
	for (i = 0; i < count / 2; i++) {
		if (iova_space_alloc(&space, PAGE, PAGE, &iova))
			die("no IOVA is free");
		queries[i] = (uint32_t)((iova - IOVA) / PAGE);
	}
	report("alloc_4k_ns", (double)(processor_ns() - start) / (double)(count / 2));
	start = processor_ns();
	for (i = 0; i < count / 2; i++)
		iova_space_give_back(&space, IOVA + queries[i] * PAGE, PAGE);
	report("give_back_ns", (double)(processor_ns() - start) / (double)(count / 2));
	/* Behind all the fragments, at the first run that is long enough. */
	start = processor_ns();
	for (i = 0; i < 1000; i++) {
		if (iova_space_alloc(&space, 2 << 20, 2 << 20, &iova))
			die("no IOVA is free");
	}
	report("alloc_2m_ns", (double)(processor_ns() - start) / 1000);
	iova_space_free(&space);
}

int main(int argc, char **argv)
{
	bool shuffled = argc == 3 && !strcmp(argv[2], "random");
	size_t i;

	if (argc == 2 && !strcmp(argv[1], "compiler"))
		return puts(__VERSION__) < 0;
	count = argc == 3 ? strtoul(argv[1], NULL, 0) : 0;
	if (!count || count > UINT32_MAX / 4 || (!shuffled && strcmp(argv[2], "sequential")))
		die("usage: bench-dma-index MAPPINGS sequential|random");
	order = numbers(shuffled);
	other_order = shuffled ? numbers(true) : order;
	mappings = get_memory(count, sizeof(struct mapping *));
	queries = get_memory(QUERIES > count ? QUERIES : count, sizeof(*queries));
	for (i = 0; i < QUERIES; i++)
		queries[i] = (uint32_t)(random_word() % count);
	map_index_init(&map_index);
	build();
	look_up("iova_M", "vaddr_M");
	look_up("iova_again_M", "vaddr_again_M");
	miss();
	change();
	look_up_beside_changes();
	iovas();
	map_index_free(&map_index);
	return 0;
}
