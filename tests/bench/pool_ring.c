/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a get and a put of a pool's buffers cost, and an enqueue and a dequeue of a ring: cycles of
 * the time stamp counter for each object. Compiled twice, against Pinion and (WITH_DPDK) against
 * libdpdk; tests/bench/vs-dpdk runs the two in turn. Every object that goes through is looked at:
 * one that was skipped or came twice ends the program with a complaint. With "-- A B" at the end of
 * its arguments: rings from processor A to processor B instead, and what a cache line takes there
 * and back, which is what bounds them.
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

#define OBJECTS   4096u
#define RING_SIZE 1024u
#define MOST      64u
/* A block is short enough that most are not interrupted: the median is one of those. */
#define ROUNDS 400u
#define BLOCKS 2000u

#ifdef WITH_DPDK
#include <rte_eal.h>
#include <rte_mempool.h>
#include <rte_ring.h>

static struct rte_mempool *pool;
static struct rte_ring *ring;

static void set_up(int argc, char **argv)
{
	if (rte_eal_init(argc, argv) < 0)
		exit(2);
	pool = rte_mempool_create(
		"bench", OBJECTS, 2304, 256, 0, NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
	if (!pool)
		exit(2);
}

static void make_ring(int single)
{
	ring = rte_ring_create(single ? "single" : "multi", RING_SIZE, SOCKET_ID_ANY,
		RING_F_EXACT_SZ | (single ? RING_F_SP_ENQ | RING_F_SC_DEQ : 0));
	if (!ring)
		exit(2);
}

static inline int pool_get(void **objects, unsigned int n)
{
	return rte_mempool_get_bulk(pool, objects, n);
}

static inline void pool_put(void **objects, unsigned int n)
{
	rte_mempool_put_bulk(pool, objects, n);
}

static inline unsigned int enqueue(void **objects, unsigned int n)
{
	return rte_ring_enqueue_bulk(ring, objects, n, NULL);
}

static inline unsigned int dequeue(void **objects, unsigned int n)
{
	return rte_ring_dequeue_bulk(ring, objects, n, NULL);
}
#else
#include "pinion.h"

static struct pn_pool *pool;
static struct pn_ring *ring;

static void set_up(int argc, char **argv)
{
	struct pn_region_opts region_opts = PN_REGION_OPTS_INIT;
	struct pn_pool_opts opts = {.count = OBJECTS, .cache = 256, .check = PN_POOL_CHECK_OFF};
	struct pn_region *region;
	struct pn_heap *heap;

	(void)argc;
	(void)argv;
	region_opts.page_size = PN_PAGE_4K;
	if (pn_region_create(&region, pn_pool_bytes(&opts) + PN_PAGE_4K, &region_opts) ||
		pn_heap_create(&heap, region, 0) || pn_pool_create(&pool, heap, &opts)) {
		fprintf(stderr, "%s\n", pn_error());
		exit(2);
	}
}

static void make_ring(int single)
{
	if (pn_ring_create(&ring, RING_SIZE, single ? PN_RING_SP | PN_RING_SC : 0))
		exit(2);
}

static inline int pool_get(void **objects, unsigned int n)
{
	return pn_pool_get_raw(pool, (struct pn_buf **)objects, n);
}

static inline void pool_put(void **objects, unsigned int n)
{
	pn_pool_put_raw(pool, (struct pn_buf **)objects, n);
}

static inline unsigned int enqueue(void **objects, unsigned int n)
{
	return (unsigned int)pn_ring_enqueue_bulk(ring, objects, n);
}

static inline unsigned int dequeue(void **objects, unsigned int n)
{
	return (unsigned int)pn_ring_dequeue_bulk(ring, objects, n);
}
#endif

static void skipped(const char *what)
{
	fprintf(stderr, "%s: objects were skipped, or came twice\n", what);
	exit(1);
}

static int compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print_median(const char *name, unsigned int n, double *cycles)
{
	qsort(cycles, BLOCKS, sizeof(*cycles), compare);
	printf("%s-%u %.4f\n", name, n, cycles[BLOCKS / 2]);
}

/* Of a get, all objects differ: each is marked, and the marks are counted. */
static void check_distinct(void **objects, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		for (unsigned int j = 0; j < i; j++) {
			if (!objects[i] || objects[i] == objects[j])
				skipped("pool");
		}
	}
}

static double cycles[BLOCKS];

static inline __attribute__((always_inline)) void time_pool(unsigned int n)
{
	void *objects[MOST] __attribute__((aligned(64)));

	for (unsigned int block = 0; block < BLOCKS; block++) {
		uint64_t start = __rdtsc();

		for (unsigned int i = 0; i < ROUNDS; i++) {
			if (pool_get(objects, n))
				skipped("pool");
			/* The objects are there, and may have been changed. */
			__asm__ volatile("" : : "r"(objects) : "memory");
			pool_put(objects, n);
		}
		cycles[block] = (double)(__rdtsc() - start) / ROUNDS / n;
		if (pool_get(objects, n))
			skipped("pool");
		check_distinct(objects, n);
		pool_put(objects, n);
	}
	print_median("pool", n, cycles);
}

static inline __attribute__((always_inline)) void time_ring(const char *name, unsigned int n)
{
	void *in[MOST] __attribute__((aligned(64))), *out[MOST] __attribute__((aligned(64)));
	uintptr_t next = 1;

	for (unsigned int block = 0; block < BLOCKS; block++) {
		uint64_t start;

		/* What goes in comes out, in order. */
		for (unsigned int i = 0; i < n; i++)
			in[i] = (void *)next++;
		start = __rdtsc();
		for (unsigned int i = 0; i < ROUNDS; i++) {
			if (enqueue(in, n) != n)
				skipped(name);
			__asm__ volatile("" : : "r"(in) : "memory");
			if (dequeue(out, n) != n)
				skipped(name);
			__asm__ volatile("" : : "r"(out) : "memory");
		}
		cycles[block] = (double)(__rdtsc() - start) / ROUNDS / n;
		if (memcmp(in, out, n * sizeof(*in)) != 0)
			skipped(name);
	}
	print_median(name, n, cycles);
}

/* Between two processors: the other thread's, and what the two share. */
#define BULK 32u

static int other_cpu;
static struct {
	_Alignas(128) uint64_t there;
	_Alignas(128) uint64_t back;
} line;

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set)) {
		fprintf(stderr, "no processor %d\n", cpu);
		exit(2);
	}
}

static void *answer(void *arg)
{
	pin(other_cpu);
	for (uint64_t i = 1; i <= (uint64_t)BLOCKS * ROUNDS; i++) {
		while (__atomic_load_n(&line.there, __ATOMIC_ACQUIRE) != i)
			_mm_pause();
		__atomic_store_n(&line.back, i, __ATOMIC_RELEASE);
	}
	return arg;
}

static void *produce(void *arg)
{
	void *items[BULK] __attribute__((aligned(64)));
	uintptr_t next = 1;

	pin(other_cpu);
	for (unsigned int round = 0; round < BLOCKS * ROUNDS; round++) {
		for (unsigned int i = 0; i < BULK; i++)
			items[i] = (void *)next++;
		while (!enqueue(items, BULK))
			_mm_pause();
	}
	return arg;
}

static pthread_t start(void *(*run)(void *))
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, NULL)) {
		fprintf(stderr, "no thread\n");
		exit(2);
	}
	return thread;
}

static void time_line(double ticks_per_ns)
{
	pthread_t thread = start(answer);
	uint64_t next = 1;

	for (unsigned int block = 0; block < BLOCKS; block++) {
		uint64_t begun = __rdtsc();

		for (unsigned int i = 0; i < ROUNDS; i++, next++) {
			__atomic_store_n(&line.there, next, __ATOMIC_RELEASE);
			while (__atomic_load_n(&line.back, __ATOMIC_ACQUIRE) != next)
				_mm_pause();
		}
		cycles[block] = (double)(__rdtsc() - begun) / ROUNDS / ticks_per_ns;
	}
	pthread_join(thread, NULL);
	print_median("line-ns", 1, cycles);
}

static void time_two_ring(const char *name)
{
	pthread_t thread = start(produce);
	void *items[BULK] __attribute__((aligned(64)));
	uintptr_t next = 1;

	for (unsigned int block = 0; block < BLOCKS; block++) {
		uint64_t begun = __rdtsc();

		for (unsigned int round = 0; round < ROUNDS; round++) {
			while (!dequeue(items, BULK))
				_mm_pause();
			for (unsigned int i = 0; i < BULK; i++) {
				if (items[i] != (void *)next++)
					skipped(name);
			}
		}
		cycles[block] = (double)(__rdtsc() - begun) / ROUNDS / BULK;
	}
	pthread_join(thread, NULL);
	print_median(name, BULK, cycles);
}

static double measure_ticks_per_ns(void)
{
	const struct timespec pause = {.tv_nsec = 50000000};
	struct timespec from, to;
	uint64_t ticks = __rdtsc();

	clock_gettime(CLOCK_MONOTONIC, &from);
	nanosleep(&pause, NULL);
	clock_gettime(CLOCK_MONOTONIC, &to);
	ticks = __rdtsc() - ticks;
	return (double)ticks /
	       ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec));
}

static void time_two(const char *here, const char *there)
{
	pin(atoi(here));
	other_cpu = atoi(there);
	time_line(measure_ticks_per_ns());
	make_ring(1);
	time_two_ring("two-single");
	make_ring(0);
	time_two_ring("two-multi");
}

int main(int argc, char **argv)
{
	/* Before DPDK has changed them. */
	const bool two = argc > 3 && strcmp(argv[argc - 3], "--") == 0;

	set_up(argc, argv);
	if (two) {
		time_two(argv[argc - 2], argv[argc - 1]);
		return 0;
	}
	printf("ticks-per-ns %.4f\n", measure_ticks_per_ns());
	time_pool(32);
	time_pool(8);
	make_ring(1);
	time_ring("ring-single", 32);
	make_ring(0);
	time_ring("ring-multi", 32);
	return 0;
}
