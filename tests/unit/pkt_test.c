/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packet pools and buffers: layout, exhaustion, chains, references, frees that must be refused, and
 * threads that take and give back at the same time.
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

/* Not the virtual address, so that mixing the two up is noticed. */
#define IOVA_BASE UINT64_C(0x40000000)

struct fixture {
	struct pn_region *region;
	struct pn_heap *heap;
	unsigned char *vaddr;
};

static int setup(void **state)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct pn_region_info info;

	opts.page_size = PN_PAGE_4K;
	opts.backing = PN_BACKING_MEMFD;
	assert_int_equal(pn_region_create(&fixture->region, 8 << 20, &opts), 0);
	assert_int_equal(pn_heap_create(&fixture->heap, fixture->region, IOVA_BASE), 0);
	pn_region_get_info(fixture->region, &info);
	fixture->vaddr = info.vaddr;
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

static struct pn_pool *make_pool(struct fixture *fixture, uint32_t count, uint16_t data_room)
{
	struct pn_pool_opts opts = {.count = count, .data_room = data_room};
	struct pn_pool *pool = NULL;

	assert_int_equal(pn_pool_create(&pool, fixture->heap, &opts), 0);
	return pool;
}

static void test_options(void **state)
{
	struct fixture *fixture = *state;
	struct pn_pool_opts opts = {.count = 0};
	struct pn_pool *pool = NULL;

	assert_int_equal(pn_pool_create(&pool, fixture->heap, NULL), -EINVAL);
	assert_int_equal(pn_pool_create(&pool, fixture->heap, &opts), -EINVAL);
	assert_int_equal(pn_pool_bytes(&opts), 0);
	opts.count = 1;
	assert_int_equal(pn_pool_create(&pool, NULL, &opts), -EINVAL);
	assert_int_equal(pn_pool_create(NULL, fixture->heap, &opts), -EINVAL);
	opts.data_room = 63;
	assert_int_equal(pn_pool_create(&pool, fixture->heap, &opts), -EINVAL);
	assert_non_null(strstr(pn_error(), "63"));
	opts.data_room = UINT16_MAX;
	assert_int_equal(pn_pool_create(&pool, fixture->heap, &opts), -EINVAL);
	assert_int_equal(pn_pool_bytes(&opts), 0);
	opts.data_room = UINT16_MAX - PN_BUF_HEADROOM;
	assert_int_equal(pn_pool_create(&pool, fixture->heap, &opts), 0);
	assert_int_equal(pn_pool_buf_room(pool), UINT16_MAX);
	assert_int_equal(pn_pool_destroy(pool), 0);
}

static void test_too_large(void **state)
{
	struct fixture *fixture = *state;
	struct pn_pool_opts opts = {.count = UINT32_MAX};
	uint64_t before = pn_heap_available(fixture->heap, NULL);
	struct pn_pool *pool = NULL;

	assert_true(pn_pool_bytes(&opts) > UINT64_C(2048) * UINT32_MAX);
	assert_int_equal(pn_pool_create(&pool, fixture->heap, &opts), -ENOMEM);
	assert_non_null(strstr(pn_error(), "4294967295"));
	assert_int_equal(pn_heap_available(fixture->heap, NULL), before);
}

static void test_layout(void **state)
{
	struct fixture *fixture = *state;
	static const uint16_t rooms[] = {64, 100, 256, 1500, 2048, 4096, 16384};

	for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++) {
		struct pn_pool *pool = make_pool(fixture, 17, rooms[i]);
		struct pn_buf *bufs[17];
		ptrdiff_t step;

		assert_int_equal(pn_pool_get(pool, bufs, 17), 0);
		step = (char *)bufs[16] - (char *)bufs[15];
		step = step < 0 ? -step : step;
		assert_int_equal(step % 64, 0);
		assert_int_equal(step / 64 % 2, 1);
		assert_true(step >= (ptrdiff_t)(128 + PN_BUF_HEADROOM + rooms[i]));
		for (size_t j = 0; j < 17; j++) {
			assert_int_equal((uintptr_t)bufs[j] % 64, 0);
			assert_ptr_equal(bufs[j]->base, (unsigned char *)bufs[j] + 128);
			assert_int_equal(bufs[j]->iova,
				IOVA_BASE + (uint64_t)(bufs[j]->base - fixture->vaddr));
			assert_int_equal(bufs[j]->room, PN_BUF_HEADROOM + rooms[i]);
			memset(bufs[j]->base, 0xee, bufs[j]->room);
		}
		pn_buf_free_bulk(bufs, 17);
		assert_int_equal(pn_pool_destroy(pool), 0);
	}
}

static void test_fresh(void **state)
{
	struct pn_pool *pool = make_pool(*state, 1, 0);
	struct pn_buf *buf;

	assert_int_equal(pn_pool_get(pool, &buf, 1), 0);
	buf->data_off = 7;
	buf->data_len = 1;
	buf->pkt_len = 2;
	buf->port = 3;
	buf->flags = 4;
	pn_buf_free(buf);
	assert_int_equal(pn_pool_get(pool, &buf, 1), 0);
	assert_int_equal(buf->refcnt, 1);
	assert_int_equal(buf->nb_segs, 1);
	assert_int_equal(buf->data_off, PN_BUF_HEADROOM);
	assert_int_equal(buf->data_len, 0);
	assert_int_equal(buf->pkt_len, 0);
	assert_int_equal(buf->port, 0);
	assert_int_equal(buf->flags, 0);
	assert_null(buf->next);
	assert_ptr_equal(buf->pool, pool);
	assert_int_equal(pn_buf_tailroom(buf), PN_BUF_DATA_ROOM);
	assert_ptr_equal(pn_buf_append(buf, PN_BUF_DATA_ROOM), buf->base + PN_BUF_HEADROOM);
	assert_null(pn_buf_append(buf, 1));
	assert_int_equal(buf->pkt_len, PN_BUF_DATA_ROOM);
	pn_buf_free(buf);
	assert_int_equal(pn_pool_destroy(pool), 0);
}

static void test_exhaustion(void **state)
{
	struct pn_pool *pool = make_pool(*state, 10, 64);
	struct pn_buf *bufs[11] = {NULL};

	assert_int_equal(pn_pool_get(pool, bufs, 11), -ENOBUFS);
	assert_null(bufs[0]);
	assert_int_equal(pn_pool_available(pool), 10);
	assert_int_equal(pn_pool_get(pool, bufs, 7), 0);
	assert_int_equal(pn_pool_get(pool, bufs + 7, 4), -ENOBUFS);
	assert_int_equal(pn_pool_get(pool, bufs + 7, 3), 0);
	assert_int_equal(pn_pool_available(pool), 0);
	assert_int_equal(pn_pool_get(pool, bufs + 10, 1), -ENOBUFS);
	assert_int_equal(pn_pool_get(pool, NULL, 0), 0);
	assert_int_equal(pn_pool_destroy(pool), -EBUSY);
	assert_non_null(strstr(pn_error(), "10"));
	for (int i = 0; i < 10; i++) {
		for (int j = 0; j < i; j++)
			assert_ptr_not_equal(bufs[i], bufs[j]);
	}
	/* NULL is skipped. */
	pn_buf_free_bulk(bufs, 11);
	pn_buf_free(NULL);
	pn_buf_free_bulk(NULL, 0);
	assert_int_equal(pn_pool_available(pool), pn_pool_count(pool));
	assert_int_equal(pn_pool_destroy(pool), 0);
}

static void test_chain_of_pools(void **state)
{
	struct pn_pool *a = make_pool(*state, 100, 64);
	struct pn_pool *b = make_pool(*state, 100, 512);
	struct pn_buf *bufs[200];

	assert_int_equal(pn_pool_get(a, bufs, 100), 0);
	assert_int_equal(pn_pool_get(b, bufs + 100, 100), 0);
	/* One chain that alternates, longer than one batch of a free. */
	for (int i = 0; i < 100; i++) {
		bufs[i]->next = bufs[100 + i];
		bufs[100 + i]->next = i < 99 ? bufs[i + 1] : NULL;
	}
	bufs[0]->nb_segs = 200;
	pn_buf_free(bufs[0]);
	assert_int_equal(pn_pool_available(a), 100);
	assert_int_equal(pn_pool_available(b), 100);
	assert_int_equal(pn_pool_refused(a) + pn_pool_refused(b), 0);
	assert_int_equal(pn_pool_destroy(a), 0);
	assert_int_equal(pn_pool_destroy(b), 0);
}

static void test_references(void **state)
{
	struct pn_pool *pool = make_pool(*state, 3, 64);
	struct pn_buf *bufs[3];

	assert_int_equal(pn_pool_get(pool, bufs, 3), 0);
	bufs[0]->next = bufs[1];
	bufs[1]->next = bufs[2];
	bufs[0]->nb_segs = 3;
	pn_buf_ref(bufs[0]);
	pn_buf_ref(bufs[0]);
	assert_int_equal(bufs[2]->refcnt, 3);
	pn_buf_free(bufs[0]);
	pn_buf_free(bufs[0]);
	assert_int_equal(pn_pool_available(pool), 0);
	/* One more owner of the middle segment only. */
	bufs[1]->refcnt++;
	pn_buf_free(bufs[0]);
	assert_int_equal(pn_pool_available(pool), 2);
	bufs[1]->next = NULL;
	pn_buf_free(bufs[1]);
	assert_int_equal(pn_pool_available(pool), 3);
	assert_int_equal(pn_pool_refused(pool), 0);
	assert_int_equal(pn_pool_destroy(pool), 0);
}

static void count_log(void *arg, enum pn_log_level level, const char *text)
{
	assert_int_equal(level, PN_LOG_ERROR);
	assert_non_null(strstr(text, "freed"));
	++*(int *)arg;
}

static void test_double_free(void **state)
{
	struct pn_pool *pool = make_pool(*state, 4, 64);
	struct pn_buf *bufs[4], *again[4];
	int logged = 0;

	pn_log_set(count_log, &logged, PN_LOG_ERROR);
	assert_int_equal(pn_pool_get(pool, bufs, 4), 0);
	pn_buf_free(bufs[0]);
	pn_buf_free(bufs[0]);
	assert_int_equal(pn_pool_available(pool), 1);
	assert_int_equal(pn_pool_refused(pool), 1);
	/* Twice in one call, and a chain that bites its own tail. */
	again[0] = bufs[1];
	again[1] = bufs[1];
	pn_buf_free_bulk(again, 2);
	bufs[2]->next = bufs[3];
	bufs[3]->next = bufs[2];
	pn_buf_free(bufs[2]);
	assert_int_equal(pn_pool_available(pool), 4);
	assert_int_equal(pn_pool_refused(pool), 3);
	assert_int_equal(logged, 1);
	assert_int_equal(pn_pool_get(pool, again, 4), 0);
	for (int i = 0; i < 4; i++) {
		for (int j = 0; j < i; j++)
			assert_ptr_not_equal(again[i], again[j]);
	}
	pn_buf_free_bulk(again, 4);
	pn_log_set(NULL, NULL, PN_LOG_ERROR);
	assert_int_equal(pn_pool_destroy(pool), 0);
}

#define THREADS 4
#define ROUNDS  20000
#define HELD    64

struct worker {
	pthread_t thread;
	struct pn_pool *pool;
	unsigned int seed;
	unsigned int clashes;
	unsigned int taken;
};

/* Writes its own number into what it takes, and looks whether it is still there when it gives back.
 */
static void *hammer(void *arg)
{
	struct worker *w = arg;
	struct pn_buf *held[HELD];

	/* Others may have it all while this one runs: it gets its turn. */
	for (int round = 0; round < ROUNDS || !w->taken; round++) {
		uint32_t n = (uint32_t)rand_r(&w->seed) % HELD + 1;

		if (pn_pool_get(w->pool, held, n)) {
			sched_yield();
			continue;
		}
		w->taken += n;
		for (uint32_t i = 0; i < n; i++)
			memcpy(pn_buf_data(held[i]), &w, sizeof(w));
		for (uint32_t i = 0; i < n; i++) {
			if (memcmp(pn_buf_data(held[i]), &w, sizeof(w)) != 0)
				w->clashes++;
		}
		pn_buf_free_bulk(held, n);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct pn_pool *pool = make_pool(*state, THREADS * HELD / 2, 64);
	struct worker workers[THREADS] = {0};

	for (unsigned int i = 0; i < THREADS; i++) {
		workers[i].pool = pool;
		workers[i].seed = i + 1;
		assert_int_equal(pthread_create(&workers[i].thread, NULL, hammer, &workers[i]), 0);
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
		assert_int_equal(workers[i].clashes, 0);
		assert_true(workers[i].taken > 0);
	}
	assert_int_equal(pn_pool_available(pool), pn_pool_count(pool));
	assert_int_equal(pn_pool_refused(pool), 0);
	assert_int_equal(pn_pool_destroy(pool), 0);
}

/* Buffers that are owned by all threads: exactly one of them is the last. */
#define SHARED 512

static void *drop_shared(void *arg)
{
	struct pn_buf **bufs = arg;

	for (int i = 0; i < SHARED; i++)
		pn_buf_free(bufs[i]);
	return NULL;
}

static void test_shared(void **state)
{
	struct pn_pool *pool = make_pool(*state, SHARED, 64);
	struct pn_buf *bufs[SHARED];
	pthread_t threads[THREADS];

	for (int round = 0; round < 20; round++) {
		assert_int_equal(pn_pool_get(pool, bufs, SHARED), 0);
		for (int i = 0; i < SHARED; i++) {
			for (int j = 1; j < THREADS; j++)
				pn_buf_ref(bufs[i]);
		}
		for (int i = 0; i < THREADS; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, drop_shared, bufs), 0);
		for (int i = 0; i < THREADS; i++)
			assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(pn_pool_available(pool), SHARED);
	}
	assert_int_equal(pn_pool_refused(pool), 0);
	assert_int_equal(pn_pool_destroy(pool), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_options, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_large, setup, teardown),
		cmocka_unit_test_setup_teardown(test_layout, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fresh, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exhaustion, setup, teardown),
		cmocka_unit_test_setup_teardown(test_chain_of_pools, setup, teardown),
		cmocka_unit_test_setup_teardown(test_references, setup, teardown),
		cmocka_unit_test_setup_teardown(test_double_free, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shared, setup, teardown),
	};

	return cmocka_run_group_tests_name("pkt", tests, NULL, NULL);
}
