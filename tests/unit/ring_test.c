/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rings: sizes, bulk and burst at every position, threads at both ends of every kind, and two
 * processes that see the ring at different addresses.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pn_ring.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const unsigned int kinds[] = {0, PN_RING_SP, PN_RING_SC, PN_RING_SP | PN_RING_SC};

static void test_sizes(void **state)
{
	static const uint64_t bad[] = {0, 3, 1000, UINT64_C(1) << 32, UINT64_C(1) << 40, UINT64_MAX,
		(UINT64_C(1) << 63) + 1};
	static const uint64_t good[] = {1, 2, 64, 1 << 16};
	struct pn_ring *ring = NULL;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		assert_int_equal(pn_ring_create(&ring, bad[i], 0), -EINVAL);
		assert_non_null(strstr(pn_error(), "power of two"));
		assert_int_equal(pn_ring_bytes(bad[i]), 0);
		assert_null(ring);
	}
	for (size_t i = 0; i < COUNT(good); i++) {
		assert_int_equal(pn_ring_create(&ring, good[i], 0), 0);
		assert_int_equal(pn_ring_size(ring), good[i]);
		assert_int_equal(pn_ring_count(ring), 0);
		assert_true(pn_ring_bytes(good[i]) >= sizeof(*ring) + 8 * good[i]);
		pn_ring_destroy(ring);
		ring = NULL;
	}
	assert_int_equal(pn_ring_create(&ring, 8, 4), -EINVAL);
	assert_int_equal(pn_ring_create(NULL, 8, 0), -EINVAL);
	pn_ring_destroy(NULL);
}

static void test_memory(void **state)
{
	_Alignas(128) static unsigned char memory[4096];
	struct pn_ring *ring = NULL, *other = NULL;

	(void)state;
	assert_int_equal(pn_ring_attach(&other, memory, sizeof(memory)), -EAGAIN);
	assert_int_equal(pn_ring_init(&ring, memory + 64, 2048, 8, 0), -EINVAL);
	assert_int_equal(pn_ring_init(&ring, NULL, 4096, 8, 0), -EINVAL);
	assert_int_equal(pn_ring_init(&ring, memory, pn_ring_bytes(64) - 1, 64, 0), -EINVAL);
	assert_int_equal(pn_ring_init(&ring, memory, sizeof(memory), 0, 0), -EINVAL);
	assert_int_equal(
		pn_ring_init(&ring, memory, sizeof(memory), UINT64_C(1) << 40, 0), -EINVAL);
	assert_int_equal(pn_ring_init(NULL, memory, sizeof(memory), 64, 0), -EINVAL);
	assert_int_equal(pn_ring_init(&ring, memory, sizeof(memory), 64, PN_RING_SC), 0);
	assert_int_equal(pn_ring_attach(&other, memory, 100), -EINVAL);
	assert_int_equal(pn_ring_attach(&other, memory, pn_ring_bytes(64) - 1), -EINVAL);
	assert_int_equal(pn_ring_attach(NULL, memory, sizeof(memory)), -EINVAL);
	assert_int_equal(pn_ring_attach(&other, memory, sizeof(memory)), 0);
	assert_ptr_equal(other, ring);
	ring->size = 1 << 20;
	assert_int_equal(pn_ring_attach(&other, memory, sizeof(memory)), -EINVAL);
	ring->size = 63;
	assert_int_equal(pn_ring_attach(&other, memory, sizeof(memory)), -EINVAL);
	ring->size = 64;
	ring->flags = 8;
	assert_int_equal(pn_ring_attach(&other, memory, sizeof(memory)), -EINVAL);
	ring->flags = 0;
	ring->magic++;
	assert_int_equal(pn_ring_attach(&other, memory, sizeof(memory)), -EINVAL);
	assert_non_null(strstr(pn_error(), "no ring"));
}

/* Everything that fits in, from every position: what comes out is what went in, in order. */
static void check_kind(unsigned int flags, uint64_t size)
{
	uint64_t in[40], out[40], sent = 0, got = 0;
	struct pn_ring *ring;

	assert_int_equal(pn_ring_create(&ring, size, flags), 0);
	for (uint64_t round = 0; round < 2000; round++) {
		uint64_t want = round * 7 % (size + 3) + 1, had = sent - got, room = size - had, n;
		bool bulk = round % 3 == 0;

		for (uint64_t i = 0; i < want; i++)
			in[i] = sent + i;
		n = bulk ? pn_ring_enqueue_bulk(ring, in, want)
			 : pn_ring_enqueue_burst(ring, in, want);
		assert_int_equal(n, want <= room ? want : bulk ? 0 : room);
		sent += n;
		had += n;
		assert_int_equal(pn_ring_count(ring), had);
		want = round * 5 % (size + 3) + 1;
		memset(out, 0xff, sizeof(out));
		bulk = round % 2;
		n = bulk ? pn_ring_dequeue_bulk(ring, out, want)
			 : pn_ring_dequeue_burst(ring, out, want);
		assert_int_equal(n, want <= had ? want : bulk ? 0 : had);
		for (uint64_t i = 0; i < n; i++)
			assert_int_equal(out[i], got + i);
		assert_int_equal(out[n], UINT64_MAX);
		got += n;
	}
	assert_int_equal(pn_ring_enqueue_bulk(ring, in, 0), 0);
	assert_int_equal(pn_ring_dequeue_burst(ring, out, 0), 0);
	assert_int_equal(pn_ring_enqueue_bulk(ring, in, UINT64_C(1) << 40), 0);
	assert_true(got > size);
	pn_ring_destroy(ring);
}

static void test_order(void **state)
{
	static const uint64_t sizes[] = {1, 2, 4, 8, 16, 32};

	(void)state;
	for (size_t kind = 0; kind < COUNT(kinds); kind++) {
		for (size_t i = 0; i < COUNT(sizes); i++)
			check_kind(kinds[kind], sizes[i]);
	}
}

static void check_copies(void)
{
	uint64_t in[80], out[80];

	for (size_t i = 0; i < COUNT(in); i++)
		in[i] = i;
	for (size_t from = 0; from < 5; from++) {
		for (size_t count = 0; count < 70; count++) {
			memset(out, 0xff, sizeof(out));
			pn_ring_copy(&out[3], &in[from], count);
			for (size_t i = 0; i < COUNT(out); i++)
				assert_int_equal(out[i],
					i < 3 || i >= 3 + count ? UINT64_MAX : from + i - 3);
		}
	}
}

/* Every number of items: as this processor copies them, and as one without AVX2 does. */
static void test_copies(void **state)
{
	const bool wide = pn_ring_wide;

	(void)state;
	check_copies();
	pn_ring_wide = false;
	check_copies();
	pn_ring_wide = wide;
}

#define PER_PRODUCER 6000
#define MOST         3
#define BURST        8

/* An item says who sent it, and as which of its items; behind it stands a plain word that only the
 * ring orders. */
struct item {
	uint64_t producer;
	uint64_t number;
};

struct crowd {
	struct pn_ring *ring;
	struct item items[MOST][PER_PRODUCER];
	unsigned int producers;
	uint64_t taken; /* of all consumers */
	uint64_t sum[MOST];
	unsigned int disorder;
};

struct member {
	pthread_t thread;
	struct crowd *crowd;
	unsigned int index;
};

static void *produce(void *arg)
{
	struct member *me = arg;
	struct item *items = me->crowd->items[me->index];
	struct item *burst[BURST];
	uint64_t sent = 0;

	while (sent < PER_PRODUCER) {
		uint64_t n = sent % BURST + 1, done;

		if (n > PER_PRODUCER - sent)
			n = PER_PRODUCER - sent;
		if (n > pn_ring_size(me->crowd->ring))
			n = 1;
		for (uint64_t i = 0; i < n; i++) {
			items[sent + i] = (struct item){me->index, sent + i};
			burst[i] = &items[sent + i];
		}
		done = sent % 2 ? pn_ring_enqueue_bulk(me->crowd->ring, burst, n)
				: pn_ring_enqueue_burst(me->crowd->ring, burst, n);
		sent += done;
		if (!done)
			sched_yield();
	}
	return NULL;
}

static void *consume(void *arg)
{
	struct member *me = arg;
	struct crowd *crowd = me->crowd;
	uint64_t next[MOST] = {0};
	struct item *burst[BURST];

	for (;;) {
		uint64_t all = (uint64_t)crowd->producers * PER_PRODUCER;
		uint64_t n = pn_ring_dequeue_burst(crowd->ring, burst, BURST);

		if (!n && __atomic_load_n(&crowd->taken, __ATOMIC_RELAXED) == all)
			return NULL;
		if (!n)
			sched_yield();
		for (uint64_t i = 0; i < n; i++) {
			struct item item = *burst[i];

			/* A consumer sees each producer's items in order. */
			if (item.number < next[item.producer])
				__atomic_fetch_add(&crowd->disorder, 1, __ATOMIC_RELAXED);
			next[item.producer] = item.number + 1;
			__atomic_fetch_add(
				&crowd->sum[item.producer], item.number, __ATOMIC_RELAXED);
			*burst[i] = (struct item){UINT64_MAX, 0};
		}
		__atomic_fetch_add(&crowd->taken, n, __ATOMIC_RELAXED);
	}
}

static void run_crowd(
	unsigned int flags, uint64_t size, unsigned int producers, unsigned int consumers)
{
	struct crowd *crowd = calloc(1, sizeof(*crowd));
	struct member members[2 * MOST];

	assert_non_null(crowd);
	assert_int_equal(pn_ring_create(&crowd->ring, size, flags), 0);
	crowd->producers = producers;
	for (unsigned int i = 0; i < producers + consumers; i++) {
		members[i].crowd = crowd;
		members[i].index = i;
		assert_int_equal(pthread_create(&members[i].thread, NULL,
					 i < producers ? produce : consume, &members[i]),
			0);
	}
	for (unsigned int i = 0; i < producers + consumers; i++)
		assert_int_equal(pthread_join(members[i].thread, NULL), 0);
	assert_int_equal(crowd->disorder, 0);
	for (unsigned int i = 0; i < producers; i++)
		assert_int_equal(crowd->sum[i], (uint64_t)PER_PRODUCER * (PER_PRODUCER - 1) / 2);
	assert_int_equal(pn_ring_count(crowd->ring), 0);
	pn_ring_destroy(crowd->ring);
	free(crowd);
}

static void test_threads(void **state)
{
	static const uint64_t sizes[] = {1, 4, 64};

	(void)state;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		run_crowd(PN_RING_SP | PN_RING_SC, sizes[i], 1, 1);
		run_crowd(PN_RING_SP, sizes[i], 1, MOST);
		run_crowd(PN_RING_SC, sizes[i], MOST, 1);
		run_crowd(0, sizes[i], MOST, MOST);
	}
}

static void *map_file(int fd, size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_true(memory != MAP_FAILED);
	return memory;
}

#define MESSAGES 4000

static void send_messages(int fd, size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct pn_ring *ring;

	if (memory == MAP_FAILED)
		_exit(1);
	while (pn_ring_attach(&ring, memory, bytes) == -EAGAIN)
		sched_yield();
	for (uint64_t i = 0; i < MESSAGES; i++) {
		while (!pn_ring_enqueue_bulk(ring, &i, 1))
			sched_yield();
	}
	_exit(0);
}

static void run_processes(unsigned int flags)
{
	size_t bytes = pn_ring_bytes(32);
	int fd = memfd_create("ring", MFD_CLOEXEC), status;
	struct pn_ring *ring;
	void *memory;
	uint64_t got = 0;
	pid_t child;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	memory = map_file(fd, bytes);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		send_messages(fd, bytes);
	assert_int_equal(pn_ring_init(&ring, memory, bytes, 32, flags), 0);
	while (got < MESSAGES) {
		uint64_t items[5], n = pn_ring_dequeue_burst(ring, items, 5);

		for (uint64_t i = 0; i < n; i++)
			assert_int_equal(items[i], got + i);
		got += n;
		if (!n)
			sched_yield();
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(munmap(memory, bytes), 0);
	assert_int_equal(close(fd), 0);
}

/* The child maps the file anew: the ring is at two addresses. */
static void test_processes(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(kinds); i++)
		run_processes(kinds[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_processes),
	};

	return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
