/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packet pools: buffers laid out in one block of DMA memory, their free ones listed in a ring.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "pkt_priv.h"

#define MIN_DATA_ROOM 64u
#define MAX_ROOM      UINT16_MAX

static uint32_t data_room(const struct pn_pool_opts *opts)
{
	return opts->data_room ? opts->data_room : PN_BUF_DATA_ROOM;
}

static int check_opts(const struct pn_pool_opts *opts)
{
	if (!opts)
		return pn_fail(EINVAL, "a pool needs options: at least the number of buffers");
	if (opts->count == 0)
		return pn_fail(EINVAL, "a pool of 0 buffers: ask for at least 1");
	if (data_room(opts) < MIN_DATA_ROOM)
		return pn_fail(EINVAL, "a data room of %u bytes is too small: at least %u",
			data_room(opts), MIN_DATA_ROOM);
	if (data_room(opts) > MAX_ROOM - PN_BUF_HEADROOM)
		return pn_fail(EINVAL,
			"a data room of %u bytes is too large: at most %u (%u with the headroom)",
			data_room(opts), MAX_ROOM - PN_BUF_HEADROOM, MAX_ROOM);
	if (opts->cache > PN_POOL_CACHE_MAX && opts->cache != PN_POOL_NO_CACHE)
		return pn_fail(EINVAL, "%u buffers for each thread to keep: at most %u",
			opts->cache, PN_POOL_CACHE_MAX);
	if (opts->check > PN_POOL_CHECK_OFF)
		return pn_fail(EINVAL, "a pool's check is %u: an enum pn_pool_check is needed",
			opts->check);
	return 0;
}

static uint32_t cache_limit(const struct pn_pool_opts *opts)
{
	uint32_t limit = opts->count / 8;

	if (opts->cache)
		return opts->cache == PN_POOL_NO_CACHE ? 0 : opts->cache;
	if (limit > PN_POOL_CACHE_MAX)
		return PN_POOL_CACHE_MAX;
	return limit < 8 ? 0 : limit;
}

static bool checks(const struct pn_pool_opts *opts)
{
#ifdef NDEBUG
	return opts->check == PN_POOL_CHECK_ON;
#else
	return opts->check != PN_POOL_CHECK_OFF;
#endif
}

/*
 * Bytes from one buffer to the next: an odd number of cache lines. Then the metadata of neighbours
 * falls into different cache sets, whatever the (even) number of sets is; with a stride of a power
 * of two a whole ring's metadata would fight for a few of them.
 */
static uint64_t stride(uint32_t room)
{
	uint64_t bytes = PN_BUF_META + room;
	uint64_t lines = (bytes + PN_CACHE_LINE - 1) / PN_CACHE_LINE;

	return (lines | 1) * PN_CACHE_LINE;
}

uint64_t pn_pool_bytes(const struct pn_pool_opts *opts)
{
	if (check_opts(opts))
		return 0;
	return opts->count * stride(PN_BUF_HEADROOM + data_room(opts));
}

static void lay_out(struct pn_pool *pool, uint64_t iova)
{
	for (uint32_t i = 0; i < pool->count; i++) {
		uint64_t offset = i * pool->stride;
		unsigned char *start = (unsigned char *)pool->memory + offset;
		struct pn_buf *buf = (struct pn_buf *)(void *)start;

		*buf = pool->fresh;
		buf->base = start + PN_BUF_META;
		buf->iova = iova + offset + PN_BUF_META;
		pn_ring_enqueue_bulk(pool->ring, &buf, 1);
		if (pool->inside)
			pool->inside[i / 64] |= UINT64_C(1) << i % 64;
	}
}

static uint64_t ring_size(uint32_t count)
{
	uint64_t size = 1;

	while (size < count)
		size *= 2;
	return size;
}

/* The lists, outside of the memory that devices see. */
static int make_lists(struct pn_pool *pool, const struct pn_pool_opts *opts)
{
	uint64_t size = ring_size(opts->count);

	if (size > PN_RING_SIZE_MAX || pn_ring_create(&pool->ring, size, 0))
		goto no_memory;
	if (checks(opts)) {
		pool->inside = calloc((opts->count + UINT64_C(63)) / 64, sizeof(*pool->inside));
		if (!pool->inside)
			goto no_memory;
	}
	return 0;

no_memory:
	pn_ring_destroy(pool->ring);
	pool->ring = NULL;
	return pn_fail(ENOMEM, "no memory for the list of %" PRIu32 " free buffers", opts->count);
}

static struct pn_pool *new_pool(struct pn_heap *heap, const struct pn_pool_opts *opts)
{
	struct pn_pool *pool = aligned_alloc(PN_CACHE_LINE, sizeof(*pool));

	if (!pool)
		return NULL;
	memset(pool, 0, sizeof(*pool));
	pthread_mutex_init(&pool->lock, NULL);
	pool->heap = heap;
	pool->cache_limit = cache_limit(opts);
	pool->count = opts->count;
	pool->room = (uint16_t)(PN_BUF_HEADROOM + data_room(opts));
	pool->stride = stride(pool->room);
	pool->fresh = (struct pn_buf){
		.data_off = PN_BUF_HEADROOM,
		.refcnt = 1,
		.room = pool->room,
		.nb_segs = 1,
		.pool = pool,
	};
	return pool;
}

int pn_pool_create(struct pn_pool **out, struct pn_heap *heap, const struct pn_pool_opts *opts)
{
	struct pn_pool *pool;
	uint64_t bytes, iova;
	int ret = check_opts(opts);

	if (ret)
		return ret;
	if (!out || !heap)
		return pn_fail(EINVAL, "a pool needs a heap to take its memory from");
	bytes = pn_pool_bytes(opts);
	pool = new_pool(heap, opts);
	if (!pool)
		return pn_fail(ENOMEM, "no memory for a pool's bookkeeping");
	pool->memory = pn_heap_alloc(heap, bytes, PN_CACHE_LINE, &iova);
	if (!pool->memory) {
		ret = pn_fail_prefix(-ENOMEM,
			"a pool of %" PRIu32 " buffers with %" PRIu32
			" bytes of data room needs %" PRIu64 " bytes: ",
			opts->count, data_room(opts), bytes);
		goto free_pool;
	}
	ret = make_lists(pool, opts);
	if (ret)
		goto free_memory;
	lay_out(pool, iova);
	*out = pool;
	return 0;

free_memory:
	pn_heap_free(heap, pool->memory);
free_pool:
	pthread_mutex_destroy(&pool->lock);
	free(pool);
	return ret;
}

int pn_pool_destroy(struct pn_pool *pool)
{
	uint32_t users, out;
	int ret;

	if (!pool)
		return 0;
	users = __atomic_load_n(&pool->users, __ATOMIC_ACQUIRE);
	if (users)
		return pn_fail(EBUSY,
			"%" PRIu32 " port%s configured to receive into the pool: close the ports, "
			"or configure them with another pool, first",
			users, users == 1 ? " is" : "s are");
	out = pool->count - pn_pool_available(pool);
	if (out)
		return pn_fail(EBUSY,
			"%" PRIu32 " of the pool's %" PRIu32
			" buffers are still out: stop the ports and free the packets first",
			out, pool->count);
	pn_pool_end_caches(pool);
	ret = pn_heap_free(pool->heap, pool->memory);
	pn_ring_destroy(pool->ring);
	free(pool->inside);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
	return ret;
}

uint32_t pn_pool_available(const struct pn_pool *pool)
{
	uint64_t sum = pn_ring_count(pool->ring) + pn_pool_cached(pool);

	/* Beside threads that move buffers some may be seen twice. */
	return sum < pool->count ? (uint32_t)sum : pool->count;
}

uint32_t pn_pool_count(const struct pn_pool *pool)
{
	return pool->count;
}

uint32_t pn_pool_buf_room(const struct pn_pool *pool)
{
	return pool->room;
}

uint64_t pn_pool_refused(const struct pn_pool *pool)
{
	return __atomic_load_n(&pool->refused, __ATOMIC_RELAXED);
}

int pn_pool_get(struct pn_pool *pool, struct pn_buf **bufs, uint32_t n)
{
	/* state to flags are neighbours, copied at once. */
	const size_t first = offsetof(struct pn_buf, state);
	const size_t len = offsetof(struct pn_buf, hash) - first;

	if (pn_pool_get_raw(pool, bufs, n))
		return -ENOBUFS;
	for (uint32_t i = 0; i < n; i++) {
		if (i + 4 < n)
			__builtin_prefetch(bufs[i + 4], 1);
		memcpy((char *)bufs[i] + first, (const char *)&pool->fresh + first, len);
	}
	return 0;
}

void pn_pool_refuse(struct pn_pool *pool, const void *buf, uint32_t n)
{
	if (__atomic_fetch_add(&pool->refused, n, __ATOMIC_RELAXED) == 0)
		pn_log(PN_LOG_ERROR,
			"packet buffer %p was freed although it is in its pool already, or is none "
			"of "
			"the pool's: refused, "
			"further ones are only counted (pn_pool_refused)",
			buf);
}
