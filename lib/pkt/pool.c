/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packet pools: buffers laid out in one block of DMA memory, handed out in bulk from a stack.
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
	return 0;
}

/*
 * Bytes from one buffer to the next: an odd number of cache lines. Then the metadata of neighbours
 * falls into different cache sets, whatever the (even) number of sets is; with a stride of a power
 * of two a whole ring's metadata would fight for a few of them.
 */
static uint64_t stride(uint32_t room)
{
	uint64_t bytes = sizeof(struct pn_buf) + room;
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
	uint64_t step = stride(pool->room);

	for (uint32_t i = 0; i < pool->count; i++) {
		unsigned char *start = (unsigned char *)pool->memory + i * step;
		struct pn_buf *buf = (struct pn_buf *)(void *)start;

		*buf = pool->fresh;
		buf->refcnt = 0;
		buf->base = start + sizeof(*buf);
		buf->iova = iova + i * step + sizeof(*buf);
		/* The first buffer on top, so that a fresh pool is handed out in address order. */
		pool->stack[pool->count - 1 - i] = buf;
	}
	pool->available = pool->count;
}

static struct pn_pool *new_pool(struct pn_heap *heap, const struct pn_pool_opts *opts)
{
	struct pn_pool *pool = aligned_alloc(PN_CACHE_LINE, sizeof(*pool));

	if (!pool)
		return NULL;
	memset(pool, 0, sizeof(*pool));
	pool->heap = heap;
	pool->count = opts->count;
	pool->room = (uint16_t)(PN_BUF_HEADROOM + data_room(opts));
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
	pool->stack = calloc(pool->count, sizeof(*pool->stack));
	if (!pool->stack) {
		ret = pn_fail(
			ENOMEM, "no memory for the list of %" PRIu32 " free buffers", pool->count);
		goto free_memory;
	}
	lay_out(pool, iova);
	*out = pool;
	return 0;

free_memory:
	pn_heap_free(heap, pool->memory);
free_pool:
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
	ret = pn_heap_free(pool->heap, pool->memory);
	free(pool->stack);
	free(pool);
	return ret;
}

uint32_t pn_pool_available(const struct pn_pool *pool)
{
	return __atomic_load_n(&pool->available, __ATOMIC_RELAXED);
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
	/* data_off to flags are neighbours: three words, copied at once. */
	const size_t first = offsetof(struct pn_buf, data_off);
	const size_t len = offsetof(struct pn_buf, vlan_tci) - first;
	uint32_t left;

	if (n == 0)
		return 0;
	pn_pool_lock(pool);
	if (n > pool->available) {
		pn_pool_unlock(pool);
		return -ENOBUFS;
	}
	left = pool->available - n;
	memcpy(bufs, pool->stack + left, n * sizeof(*bufs));
	__atomic_store_n(&pool->available, left, __ATOMIC_RELAXED);
	pn_pool_unlock(pool);

	for (uint32_t i = 0; i < n; i++) {
		if (i + 4 < n)
			__builtin_prefetch(bufs[i + 4], 1);
		memcpy((char *)bufs[i] + first, (const char *)&pool->fresh + first, len);
		bufs[i]->next = NULL;
	}
	return 0;
}

void pn_pool_put(struct pn_pool *pool, struct pn_buf *const *bufs, uint32_t n)
{
	uint32_t had;

	pn_pool_lock(pool);
	had = pool->available;
	/* Cannot be, unless threads raced to free the same buffer; the list must not overflow. */
	if (n > pool->count - had) {
		pn_pool_unlock(pool);
		pn_pool_refuse(pool, bufs[0], n);
		return;
	}
	memcpy(pool->stack + had, bufs, n * sizeof(*bufs));
	__atomic_store_n(&pool->available, had + n, __ATOMIC_RELAXED);
	pn_pool_unlock(pool);
}

void pn_pool_refuse(struct pn_pool *pool, const void *buf, uint32_t n)
{
	if (__atomic_fetch_add(&pool->refused, n, __ATOMIC_RELAXED) == 0)
		pn_log(PN_LOG_ERROR,
			"packet buffer %p was freed although it is in its pool already: refused, "
			"further ones are only counted (pn_pool_refused)",
			buf);
}
