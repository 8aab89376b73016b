/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread's caches of free buffers: found or made at first use, filled from the pool's ring and
 * emptied into it half a cache at a time, and given back when the thread ends.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "pkt_priv.h"

__thread struct pn_pool_cache *pn_pool_caches[PN_POOL_SLOTS];

/* All caches of this thread. */
static __thread struct pn_cache *thread_caches;

/* glibc's way, and that of C++ and Rust, to run something when a thread ends, without a key that
 * the process would share. */
extern int __cxa_thread_atexit_impl(void (*end)(void *arg), void *arg, void *object);
extern void *__dso_handle;

static struct pn_pool_cache **slot_of(const struct pn_pool *pool)
{
	uintptr_t at = (uintptr_t)pool;

	return &pn_pool_caches[(at >> 6 ^ at >> 10) % PN_POOL_SLOTS];
}

static void put_shared(struct pn_pool *pool, struct pn_buf *const *bufs, uint32_t n)
{
	/* Cannot be, unless a buffer was freed twice: there is room for all. */
	if (n && !pn_ring_enqueue_bulk(pool->ring, bufs, n))
		pn_pool_refuse(pool, bufs[0], n);
}

static void set_count(struct pn_cache *cache, uint32_t count)
{
	__atomic_store_n(&cache->head.count, count, __ATOMIC_RELAXED);
}

/* The thread lets go of a cache; returns whether that was the last who knew it. */
static bool leave(struct pn_cache *cache)
{
	bool last;

	pthread_mutex_lock(&cache->lock);
	if (cache->pool) {
		put_shared(cache->pool, cache->head.bufs, cache->head.count);
		set_count(cache, 0);
	}
	last = !cache->pool;
	cache->thread = false;
	pthread_mutex_unlock(&cache->lock);
	return last;
}

static void free_cache(struct pn_cache *cache)
{
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

static void thread_ends(void *arg)
{
	(void)arg;
	memset(pn_pool_caches, 0, sizeof(pn_pool_caches));
	while (thread_caches) {
		struct pn_cache *cache = thread_caches;

		thread_caches = cache->next_of_thread;
		if (leave(cache))
			free_cache(cache);
	}
}

/* Is there still a pool to it? */
static struct pn_pool *pool_of(struct pn_cache *cache)
{
	struct pn_pool *pool;

	pthread_mutex_lock(&cache->lock);
	pool = cache->pool;
	pthread_mutex_unlock(&cache->lock);
	return pool;
}

/* Look through the thread's caches, and let go of those whose pool is gone. */
static struct pn_cache *find_own(const struct pn_pool *pool)
{
	struct pn_cache **link = &thread_caches;

	while (*link) {
		struct pn_cache *cache = *link;
		const struct pn_pool *its = pool_of(cache);

		if (its == pool)
			return cache;
		if (its) {
			link = &cache->next_of_thread;
			continue;
		}
		*link = cache->next_of_thread;
		for (unsigned int i = 0; i < PN_POOL_SLOTS; i++) {
			if (pn_pool_caches[i] == &cache->head)
				pn_pool_caches[i] = NULL;
		}
		free_cache(cache);
	}
	return NULL;
}

/* A cache that a thread has left. Under the pool's lock. */
static struct pn_cache *find_left(const struct pn_pool *pool)
{
	for (struct pn_cache *cache = pool->caches; cache; cache = cache->next_of_pool) {
		bool taken;

		pthread_mutex_lock(&cache->lock);
		taken = cache->thread;
		cache->thread = true;
		pthread_mutex_unlock(&cache->lock);
		if (!taken)
			return cache;
	}
	return NULL;
}

static struct pn_cache *new_cache(struct pn_pool *pool)
{
	struct pn_cache *cache = aligned_alloc(_Alignof(struct pn_cache), sizeof(*cache));

	if (!cache)
		return NULL;
	memset(cache, 0, sizeof(*cache));
	pthread_mutex_init(&cache->lock, NULL);
	cache->pool = pool;
	cache->thread = true;
	cache->head.limit = pool->cache_limit;
	cache->head.pool = pool->inside ? NULL : pool;
	cache->next_of_pool = pool->caches;
	__atomic_store_n(&pool->caches, cache, __ATOMIC_RELEASE);
	return cache;
}

static struct pn_cache *make_own(struct pn_pool *pool)
{
	struct pn_cache *cache;

	/* Once a thread that has caches; without it a cache would be lost with the thread. */
	if (!thread_caches && __cxa_thread_atexit_impl(thread_ends, NULL, &__dso_handle))
		return NULL;
	pthread_mutex_lock(&pool->lock);
	cache = find_left(pool);
	if (!cache)
		cache = new_cache(pool);
	pthread_mutex_unlock(&pool->lock);
	if (cache) {
		cache->next_of_thread = thread_caches;
		thread_caches = cache;
	}
	return cache;
}

/* The calling thread's cache, at hand for the next time; NULL: the pool has none, or no memory. */
static struct pn_cache *own_cache(struct pn_pool *pool)
{
	struct pn_pool_cache **slot = slot_of(pool);
	struct pn_cache *cache;

	if (!pool->cache_limit)
		return NULL;
	if (*slot && pool->inside) {
		cache = pn_container_of(*slot, struct pn_cache, head);
		if (__atomic_load_n(&cache->pool, __ATOMIC_RELAXED) == pool)
			return cache;
	} else if (*slot && __atomic_load_n(&(*slot)->pool, __ATOMIC_RELAXED) == pool) {
		return pn_container_of(*slot, struct pn_cache, head);
	}
	cache = find_own(pool);
	if (!cache)
		cache = make_own(pool);
	if (cache)
		*slot = &cache->head;
	return cache;
}

/* Without filling the cache: what it has, and the rest from the ring. */
static int get_around(
	struct pn_pool *pool, struct pn_cache *cache, struct pn_buf **bufs, uint32_t n)
{
	uint32_t had = cache ? cache->head.count : 0;

	if (had > n)
		had = n;
	if (n > had && !pn_ring_dequeue_bulk(pool->ring, bufs + had, n - had))
		return -ENOBUFS;
	if (had) {
		pn_ring_copy(bufs, &cache->head.bufs[cache->head.count - had], had);
		set_count(cache, cache->head.count - had);
	}
	return 0;
}

static int get(struct pn_pool *pool, struct pn_cache *cache, struct pn_buf **bufs, uint32_t n)
{
	struct pn_pool_cache *head = cache ? &cache->head : NULL;

	if (!head || n > head->limit)
		return get_around(pool, cache, bufs, n);
	if (head->count < n) {
		/* What is asked for, and half a cache besides: there is room for that. */
		uint32_t want = n - head->count + head->limit / 2;
		uint64_t got = pn_ring_dequeue_bulk(pool->ring, &head->bufs[head->count], want);

		if (!got)
			return get_around(pool, cache, bufs, n);
		set_count(cache, head->count + want);
	}
	set_count(cache, head->count - n);
	pn_ring_copy(bufs, &head->bufs[head->count], n);
	return 0;
}

/* The oldest ones go to the ring, those freed last stay. */
static void make_room(struct pn_pool *pool, struct pn_cache *cache, uint32_t n)
{
	struct pn_pool_cache *head = &cache->head;
	uint32_t keep = head->limit / 2, out;

	if (keep > head->limit - n)
		keep = head->limit - n;
	out = head->count > keep ? head->count - keep : 0;
	put_shared(pool, head->bufs, out);
	memmove(head->bufs, head->bufs + out, (head->count - out) * sizeof(*head->bufs));
	set_count(cache, head->count - out);
}

static void put(
	struct pn_pool *pool, struct pn_cache *cache, struct pn_buf *const *bufs, uint32_t n)
{
	struct pn_pool_cache *head = cache ? &cache->head : NULL;

	if (!head || n > head->limit) {
		put_shared(pool, bufs, n);
		return;
	}
	if (n > head->limit - head->count)
		make_room(pool, cache, n);
	pn_ring_copy(&head->bufs[head->count], bufs, n);
	set_count(cache, head->count + n);
}

static uint64_t index_of(const struct pn_pool *pool, const struct pn_buf *buf)
{
	uint64_t offset = (uint64_t)(uintptr_t)buf - (uint64_t)(uintptr_t)pool->memory;
	uint64_t index = offset / pool->stride;

	return offset % pool->stride || index >= pool->count ? UINT64_MAX : index;
}

bool pn_pool_note_free(struct pn_pool *pool, const struct pn_buf *buf)
{
	uint64_t index = index_of(pool, buf);
	uint64_t bit = UINT64_C(1) << index % 64;

	if (index != UINT64_MAX &&
		!(__atomic_fetch_or(&pool->inside[index / 64], bit, __ATOMIC_RELAXED) & bit))
		return true;
	pn_pool_refuse(pool, buf, 1);
	return false;
}

static void note_get(struct pn_pool *pool, struct pn_buf *const *bufs, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint64_t index = index_of(pool, bufs[i]);

		__atomic_fetch_and(
			&pool->inside[index / 64], ~(UINT64_C(1) << index % 64), __ATOMIC_RELAXED);
	}
}

int pn_pool_get_more(struct pn_pool *pool, struct pn_buf **bufs, uint32_t n)
{
	int ret;

	if (!n)
		return 0;
	ret = get(pool, own_cache(pool), bufs, n);
	if (!ret && pool->inside)
		note_get(pool, bufs, n);
	return ret;
}

void pn_pool_put_noted(struct pn_pool *pool, struct pn_buf *const *bufs, uint32_t n)
{
	put(pool, own_cache(pool), bufs, n);
}

void pn_pool_put_more(struct pn_pool *pool, struct pn_buf *const *bufs, uint32_t n)
{
	struct pn_cache *cache = own_cache(pool);

	if (!pool->inside) {
		put(pool, cache, bufs, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		if (pn_pool_note_free(pool, bufs[i]))
			put(pool, cache, &bufs[i], 1);
	}
}

uint32_t pn_pool_cached(const struct pn_pool *pool)
{
	const struct pn_cache *cache = __atomic_load_n(&pool->caches, __ATOMIC_ACQUIRE);
	uint32_t sum = 0;

	for (; cache; cache = cache->next_of_pool)
		sum += __atomic_load_n(&cache->head.count, __ATOMIC_RELAXED);
	return sum;
}

void pn_pool_end_caches(struct pn_pool *pool)
{
	struct pn_cache *cache = pool->caches;

	while (cache) {
		struct pn_cache *next = cache->next_of_pool;
		bool last;

		pthread_mutex_lock(&cache->lock);
		__atomic_store_n(&cache->pool, NULL, __ATOMIC_RELAXED);
		__atomic_store_n(&cache->head.pool, NULL, __ATOMIC_RELAXED);
		last = !cache->thread;
		pthread_mutex_unlock(&cache->lock);
		if (last)
			free_cache(cache);
		cache = next;
	}
	pool->caches = NULL;
}
