/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a get and a put of a pool's buffers cost, and an enqueue and a dequeue of a ring: cycles of
 * the time stamp counter for each object. Compiled twice, against Pinion and (WITH_DPDK) against
 * libdpdk; tests/bench/vs-dpdk runs the two in turn. Every object that goes through is looked at:
 * one that was skipped or came twice ends the program with a complaint.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

int main(int argc, char **argv)
{
	set_up(argc, argv);
	time_pool(32);
	time_pool(8);
	make_ring(1);
	time_ring("ring-single", 32);
	make_ring(0);
	time_ring("ring-multi", 32);
	return 0;
}
