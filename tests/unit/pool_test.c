/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What threads keep of a pool: counted, bounded, given back when they end, whoever ends first; and
 * buffers that share memory or borrow it. With and without checking.
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

#include <cmocka.h>

#include "pn_mem.h"
#include "pn_pkt.h"

#define IOVA_BASE UINT64_C(0x40000000)
#define COUNT     2048

struct fixture {
	struct pn_region *region;
	struct pn_heap *heap;
};

static int setup(void **state)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	opts.page_size = PN_PAGE_4K;
	opts.backing = PN_BACKING_MEMFD;
	assert_int_equal(pn_region_create(&fixture->region, 4 << 20, &opts), 0);
	assert_int_equal(pn_heap_create(&fixture->heap, fixture->region, IOVA_BASE), 0);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(pn_heap_destroy(fixture->heap), 0);
	assert_int_equal(pn_region_destroy(fixture->region), 0);
	free(fixture);
	return 0;
}

static struct pn_pool *make_pool(
	struct fixture *fixture, uint32_t count, uint16_t cache, enum pn_pool_check check)
{
	struct pn_pool_opts opts = {
		.count = count, .data_room = 256, .cache = cache, .check = check};
	struct pn_pool *pool = NULL;

	assert_int_equal(pn_pool_create(&pool, fixture->heap, &opts), 0);
	return pool;
}

static const enum pn_pool_check checks[] = {PN_POOL_CHECK_OFF, PN_POOL_CHECK_ON};

static void test_options(void **state)
{
	struct fixture *fixture = *state;
	struct pn_pool_opts opts = {.count = 16, .cache = PN_POOL_CACHE_MAX + 1};
	struct pn_pool *pool = NULL;

	assert_int_equal(pn_pool_create(&pool, fixture->heap, &opts), -EINVAL);
	assert_non_null(strstr(pn_error(), "257"));
	opts.cache = 0;
	opts.check = (enum pn_pool_check)3;
	assert_int_equal(pn_pool_create(&pool, fixture->heap, &opts), -EINVAL);
	assert_null(pool);
}

/* Every buffer comes once, whatever the sizes of gets and frees, and is as fresh as the first. */
static void hammer_alone(struct pn_pool *pool)
{
	static struct pn_buf *held[COUNT];
	uint32_t n = 0, round;

	for (round = 0; round < 4000; round++) {
		uint32_t want = round * 37 % 300 + 1;

		if (round / 8 % 2 == 0) {
			int ret = pn_pool_get(pool, held + n, want);

			assert_int_equal(ret, n + want <= COUNT ? 0 : -ENOBUFS);
			for (uint32_t i = n; !ret && i < n + want; i++) {
				assert_int_equal(held[i]->state, PN_BUF_PLAIN);
				assert_null(held[i]->next);
				assert_int_equal(held[i]->port, 0);
				held[i]->port = 1;
			}
			n += ret ? 0 : want;
		} else {
			if (want > n)
				want = n;
			pn_buf_free_bulk(held + n - want, want);
			n -= want;
		}
		assert_int_equal(pn_pool_available(pool), COUNT - n);
	}
	pn_buf_free_bulk(held, n);
	assert_int_equal(pn_pool_get(pool, held, COUNT), 0);
	assert_int_equal(pn_pool_get(pool, held, 1), -ENOBUFS);
	for (uint32_t i = 0; i < COUNT; i++) {
		assert_int_equal(held[i]->hash, 0);
		held[i]->hash = 1;
	}
	for (uint32_t i = 0; i < COUNT; i++)
		held[i]->hash = 0;
	pn_buf_free_bulk(held, COUNT);
}

static void test_sizes(void **state)
{
	static const uint16_t caches[] = {0, 1, 8, 100, PN_POOL_CACHE_MAX, PN_POOL_NO_CACHE};

	for (size_t i = 0; i < sizeof(caches) / sizeof(caches[0]); i++) {
		for (int c = 0; c < 2; c++) {
			struct pn_pool *pool = make_pool(*state, COUNT, caches[i], checks[c]);

			hammer_alone(pool);
			assert_int_equal(pn_pool_available(pool), COUNT);
			assert_int_equal(pn_pool_refused(pool), 0);
			assert_int_equal(pn_pool_destroy(pool), 0);
		}
	}
}

/* More pools than a thread has slots for. */
static void test_many_pools(void **state)
{
	struct pn_pool *pools[40];
	struct pn_buf *bufs[40][4];

	for (int i = 0; i < 40; i++)
		pools[i] = make_pool(*state, 64, 16, checks[i % 2]);
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < 40; i++)
			assert_int_equal(pn_pool_get(pools[i], bufs[i], 4), 0);
		for (int i = 0; i < 40; i++) {
			assert_ptr_equal(bufs[i][3]->pool, pools[i]);
			pn_buf_free_bulk(bufs[i], 4);
			assert_int_equal(pn_pool_available(pools[i]), 64);
		}
	}
	for (int i = 0; i < 40; i++)
		assert_int_equal(pn_pool_destroy(pools[i]), 0);
}

/* A burst of several pools, with gaps. */
static void test_mixed(void **state)
{
	struct pn_pool *a = make_pool(*state, 64, 16, PN_POOL_CHECK_OFF);
	struct pn_pool *b = make_pool(*state, 64, 16, PN_POOL_CHECK_ON);
	struct pn_buf *bufs[40] = {NULL};

	for (int i = 0; i < 40; i++) {
		if (i % 5)
			assert_int_equal(pn_pool_get(i % 2 ? a : b, &bufs[i], 1), 0);
	}
	pn_buf_free_bulk(bufs, 40);
	assert_int_equal(pn_pool_available(a), 64);
	assert_int_equal(pn_pool_available(b), 64);
	assert_int_equal(pn_pool_destroy(a), 0);
	assert_int_equal(pn_pool_destroy(b), 0);
}

struct worker {
	pthread_t thread;
	struct pn_pool *pool;
	pthread_barrier_t *barrier;
	struct pn_buf *bufs[64];
	int result;
};

static void *take_and_give(void *arg)
{
	struct worker *worker = arg;

	worker->result = pn_pool_get(worker->pool, worker->bufs, 64);
	pn_buf_free_bulk(worker->bufs, worker->result ? 0 : 64);
	if (worker->barrier) {
		pthread_barrier_wait(worker->barrier);
		pthread_barrier_wait(worker->barrier);
	}
	return NULL;
}

static void test_thread_ends(void **state)
{
	for (int c = 0; c < 2; c++) {
		struct pn_pool *pool = make_pool(*state, 512, 128, checks[c]);
		struct worker worker = {.pool = pool};
		static struct pn_buf *all[512];

		/* Many in turn: the next one takes over what the last one left. */
		for (int i = 0; i < 50; i++) {
			assert_int_equal(
				pthread_create(&worker.thread, NULL, take_and_give, &worker), 0);
			assert_int_equal(pthread_join(worker.thread, NULL), 0);
			assert_int_equal(worker.result, 0);
		}
		assert_int_equal(pn_pool_available(pool), 512);
		assert_int_equal(pn_pool_get(pool, all, 512), 0);
		pn_buf_free_bulk(all, 512);
		assert_int_equal(pn_pool_destroy(pool), 0);
	}
}

/* What a living thread keeps is counted as available, but out of reach; the pool may end first. */
static void test_pool_ends(void **state)
{
	for (int c = 0; c < 2; c++) {
		struct pn_pool *pool = make_pool(*state, 512, 128, checks[c]), *next;
		pthread_barrier_t barrier;
		struct worker worker = {.pool = pool, .barrier = &barrier};
		static struct pn_buf *all[512];

		assert_int_equal(pthread_barrier_init(&barrier, NULL, 2), 0);
		assert_int_equal(pthread_create(&worker.thread, NULL, take_and_give, &worker), 0);
		pthread_barrier_wait(&barrier);
		assert_int_equal(pn_pool_available(pool), 512);
		assert_int_equal(pn_pool_get(pool, all, 512), -ENOBUFS);
		assert_int_equal(pn_pool_get(pool, all, 512 - 128), 0);
		pn_buf_free_bulk(all, 512 - 128);
		assert_int_equal(pn_pool_destroy(pool), 0);
		/* Likely at the same address: the old cache must not be taken for its own. */
		next = make_pool(*state, 512, 128, checks[c]);
		assert_int_equal(pn_pool_get(next, all, 512), 0);
		pn_buf_free_bulk(all, 512);
		pthread_barrier_wait(&barrier);
		assert_int_equal(pthread_join(worker.thread, NULL), 0);
		assert_int_equal(pn_pool_available(next), 512);
		assert_int_equal(pn_pool_destroy(next), 0);
		assert_int_equal(pthread_barrier_destroy(&barrier), 0);
	}
}

/* One thread only takes, the other only gives: the buffers go round through the ring. */
#define HANDED 50000

struct pair {
	struct pn_pool *pool;
	struct pn_ring *ring;
	uint64_t given;
};

static void *give_all(void *arg)
{
	struct pair *pair = arg;

	while (pair->given < HANDED) {
		struct pn_buf *bufs[32];
		uint64_t n = pn_ring_dequeue_burst(pair->ring, bufs, 32);

		for (uint64_t i = 0; i < n; i++)
			memset(pn_buf_data(bufs[i]), 0, 8);
		pn_buf_free_bulk(bufs, (uint32_t)n);
		pair->given += n;
		if (!n)
			sched_yield();
	}
	return NULL;
}

static void test_one_way(void **state)
{
	for (int c = 0; c < 2; c++) {
		struct pair pair = {.pool = make_pool(*state, 512, 64, checks[c])};
		uint64_t sent = 0;
		pthread_t thread;

		assert_int_equal(pn_ring_create(&pair.ring, 256, PN_RING_SP | PN_RING_SC), 0);
		assert_int_equal(pthread_create(&thread, NULL, give_all, &pair), 0);
		while (sent < HANDED) {
			uint64_t want = HANDED - sent < 20 ? HANDED - sent : 20;
			struct pn_buf *bufs[20];

			if (pn_pool_get(pair.pool, bufs, (uint32_t)want)) {
				sched_yield();
				continue;
			}
			for (uint64_t i = 0; i < want; i++)
				memset(pn_buf_data(bufs[i]), 1, 8);
			for (uint64_t n = 0; n < want;)
				n += pn_ring_enqueue_burst(pair.ring, bufs + n, want - n);
			sent += want;
		}
		assert_int_equal(pthread_join(thread, NULL), 0);
		pn_ring_destroy(pair.ring);
		assert_int_equal(pn_pool_available(pair.pool), 512);
		assert_int_equal(pn_pool_destroy(pair.pool), 0);
	}
}

static void test_refused(void **state)
{
	struct pn_pool *pool = make_pool(*state, 64, 16, PN_POOL_CHECK_ON);
	struct pn_pool *other = make_pool(*state, 64, 16, PN_POOL_CHECK_ON);
	struct pn_buf *buf, *twice[2];

	assert_int_equal(pn_pool_get(pool, &buf, 1), 0);
	/* Into a pool that it is none of. */
	buf->pool = other;
	pn_buf_free(buf);
	assert_int_equal(pn_pool_refused(other), 1);
	buf->pool = pool;
	pn_buf_free(buf);
	twice[0] = twice[1] = buf;
	pn_buf_free_bulk(twice, 2);
	pn_pool_put_raw(pool, &buf, 1);
	assert_int_equal(pn_pool_refused(pool), 3);
	assert_int_equal(pn_pool_available(pool), 64);
	assert_int_equal(pn_pool_destroy(pool), 0);
	assert_int_equal(pn_pool_destroy(other), 0);
}

static struct pn_buf *make_chain(struct pn_pool *pool)
{
	struct pn_buf *segs[3];

	assert_int_equal(pn_pool_get(pool, segs, 3), 0);
	for (int i = 0; i < 3; i++) {
		memset(pn_buf_data(segs[i]), 'a' + i, 10);
		segs[i]->data_len = 10;
		segs[i]->next = i < 2 ? segs[i + 1] : NULL;
	}
	segs[0]->nb_segs = 3;
	segs[0]->pkt_len = 30;
	segs[0]->flags = PN_BUF_RX_TIMESTAMP | PN_BUF_RX_VLAN;
	segs[0]->vlan_tci = 7;
	pn_buf_get_more(segs[0])->timestamp = 1234;
	return segs[0];
}

static void check_clone(struct pn_buf *clone, struct pn_buf *packet)
{
	assert_int_equal(clone->nb_segs, 3);
	assert_int_equal(clone->pkt_len, 30);
	assert_int_equal(clone->vlan_tci, 7);
	assert_int_equal(pn_buf_timestamp(clone), 1234);
	for (; clone; clone = clone->next, packet = packet->next) {
		assert_ptr_not_equal(clone, packet);
		assert_ptr_equal(pn_buf_data(clone), pn_buf_data(packet));
		assert_int_equal(pn_buf_data_iova(clone), pn_buf_data_iova(packet));
		assert_int_equal(clone->data_len, 10);
	}
	assert_null(packet);
}

/* Buffers that were clones are their own again. */
static void check_own_memory(struct pn_pool *heads)
{
	struct pn_buf *all[6];

	assert_int_equal(pn_pool_get(heads, all, 6), 0);
	for (int i = 0; i < 6; i++) {
		assert_ptr_equal(all[i]->base, (unsigned char *)all[i] + 128);
		assert_int_equal(all[i]->state, PN_BUF_PLAIN);
		assert_int_equal(all[i]->room, pn_pool_buf_room(heads));
		assert_null(all[i]->next);
	}
	pn_buf_free_bulk(all, 6);
}

/* All orders in which a packet, its clone and the clone's clone can be freed. */
static void test_clone(void **state)
{
	static const int orders[6][3] = {
		{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

	for (int c = 0; c < 2; c++) {
		struct pn_pool *pool = make_pool(*state, 64, 16, checks[c]);
		struct pn_pool *heads = make_pool(*state, 6, PN_POOL_NO_CACHE, checks[c]);

		for (int i = 0; i < 6; i++) {
			struct pn_buf *packets[3];

			packets[0] = make_chain(pool);
			packets[1] = pn_buf_clone(heads, packets[0]);
			assert_non_null(packets[1]);
			packets[2] = pn_buf_clone(heads, packets[1]);
			assert_non_null(packets[2]);
			assert_null(pn_buf_clone(heads, packets[0]));
			check_clone(packets[1], packets[0]);
			check_clone(packets[2], packets[0]);
			assert_int_equal(pn_pool_available(heads), 0);
			pn_buf_free(packets[orders[i][0]]);
			pn_buf_free(packets[orders[i][1]]);
			assert_int_equal(pn_pool_available(pool), 61);
			assert_memory_equal(pn_buf_data(packets[orders[i][2]]), "aaaaaaaaaa", 10);
			pn_buf_free(packets[orders[i][2]]);
			assert_int_equal(pn_pool_available(pool), 64);
			assert_int_equal(pn_pool_available(heads), 6);
		}
		check_own_memory(heads);
		assert_int_equal(pn_pool_refused(pool) + pn_pool_refused(heads), 0);
		assert_int_equal(pn_pool_destroy(heads), 0);
		assert_int_equal(pn_pool_destroy(pool), 0);
	}
}

static void count_free(void *arg, void *vaddr)
{
	assert_non_null(vaddr);
	++*(int *)arg;
}

static void test_external(void **state)
{
	for (int c = 0; c < 2; c++) {
		struct pn_pool *pool = make_pool(*state, 4, 0, checks[c]);
		static unsigned char memory[1000];
		int freed = 0;
		struct pn_external external = {memory, 0x1000, 1000, count_free, &freed};
		struct pn_external none = {memory, 0x1000, 0, NULL, NULL};
		struct pn_buf *buf, *clone, *all[4];

		assert_int_equal(pn_pool_get(pool, &buf, 1), 0);
		assert_int_equal(pn_buf_attach(buf, &none), -EINVAL);
		assert_int_equal(pn_buf_attach(buf, NULL), -EINVAL);
		assert_int_equal(pn_buf_attach(NULL, &external), -EINVAL);
		assert_int_equal(pn_buf_attach(buf, &external), 0);
		assert_int_equal(pn_buf_attach(buf, &external), -EINVAL);
		assert_ptr_equal(pn_buf_append(buf, 1000), memory);
		assert_null(pn_buf_append(buf, 1));
		assert_int_equal(pn_buf_data_iova(buf), 0x1000);
		clone = pn_buf_clone(pool, buf);
		assert_ptr_equal(pn_buf_data(clone), memory);
		pn_buf_free(buf);
		assert_int_equal(freed, 0);
		pn_buf_free(clone);
		assert_int_equal(freed, 1);
		assert_int_equal(pn_pool_get(pool, all, 4), 0);
		for (int i = 0; i < 4; i++) {
			assert_ptr_equal(all[i]->base, (unsigned char *)all[i] + 128);
			assert_in_range(all[i]->iova, IOVA_BASE, IOVA_BASE + (4 << 20));
		}
		pn_buf_free_bulk(all, 4);
		assert_int_equal(pn_pool_destroy(pool), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_options, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_pools, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mixed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_thread_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pool_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_way, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_clone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_external, setup, teardown),
	};

	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
