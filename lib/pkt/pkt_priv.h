/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of a packet pool: a ring of free buffers, and a cache of them for each thread. pool.c
 * makes pools, cache.c moves buffers between threads and the ring, buf.c gives packets back,
 * attach.c lets buffers share memory.
 *
 * What a device can reach: a pool's memory is mapped for DMA as a whole, and the metadata of each
 * buffer (struct pn_buf with base, pool and next) lies in it, before the data. A device that may
 * write to its domain can overwrite these pointers, and the process then follows them: the IOMMU
 * keeps a device out of all other memory, not out of this. Only struct pn_pool and the lists of
 * free buffers are out of reach; so are a driver's own lists of what is in its rings.
 */
#ifndef PN_PKT_PRIV_H
#define PN_PKT_PRIV_H

#include <pthread.h>
#include <string.h>

#include "pn_pkt.h"
#include "pn_ring.h"

#define PN_CACHE_LINE 64u

_Static_assert(sizeof(struct pn_buf) == PN_CACHE_LINE, "a buffer's metadata is one cache line");
_Static_assert(sizeof(void *) == 8 && offsetof(struct pn_buf, next) ==
					      offsetof(struct pn_buf, pool) + sizeof(void *),
	"pool and next are looked at together");
_Static_assert(offsetof(struct pn_buf, state) % sizeof(uint64_t) == 0 &&
		       offsetof(struct pn_buf, data_len) == offsetof(struct pn_buf, state) + 6,
	"state and data_len are looked at together");
_Static_assert(sizeof(struct pn_buf_more) == PN_CACHE_LINE, "what few need is one more");

/* From the start of a buffer's metadata to its memory. */
#define PN_BUF_META (sizeof(struct pn_buf) + sizeof(struct pn_buf_more))

/*
 * A thread's cache and who knows it: its pool and its thread. Who goes last frees it, so that
 * either may end first.
 */
struct pn_cache {
	struct pn_pool_cache head;
	pthread_mutex_t lock;          /* of pool and thread */
	struct pn_pool *pool;          /* NULL: the pool is gone */
	bool thread;                   /* in use by a thread */
	struct pn_cache *next_of_pool; /* does not change: read without a lock */
	struct pn_cache *next_of_thread;
};

struct pn_pool {
	/* What a buffer looks like when it is handed out; base and iova are not used. */
	struct pn_buf fresh;
	struct pn_heap *heap;
	void *memory;
	uint64_t stride;
	uint32_t count;
	uint32_t cache_limit; /* 0: no caches */
	uint16_t room;
	/* A bit for each buffer: it is in the pool. NULL in a pool that does not check. Not in DMA
	 * memory, as are the lists of free buffers: no device can write to them. */
	uint64_t *inside;
	struct pn_ring *ring; /* free buffers that no thread keeps */
	pthread_mutex_t lock; /* of adding to caches */
	struct pn_cache *caches;
	uint32_t users; /* receive queues that take from it, whether they run or not */
	uint64_t refused;
};

/* cache.c. Buffers that threads keep, and the end of all caches with their pool. */
uint32_t pn_pool_cached(const struct pn_pool *pool);
void pn_pool_end_caches(struct pn_pool *pool);

/*
 * In a pool that checks: note that a buffer comes back, once. False if it is not out, or none of
 * the pool's: then it has been counted as refused.
 */
bool pn_pool_note_free(struct pn_pool *pool, const struct pn_buf *buf);

/* Give back what is free, and noted as such in a pool that checks. */
void pn_pool_put_noted(struct pn_pool *pool, struct pn_buf *const *bufs, uint32_t n);

/* A receive queue takes from the pool from now on: it cannot be destroyed. Any thread. */
static inline void pn_pool_use(struct pn_pool *pool)
{
	__atomic_fetch_add(&pool->users, 1, __ATOMIC_RELAXED);
}

static inline void pn_pool_unuse(struct pn_pool *pool)
{
	__atomic_fetch_sub(&pool->users, 1, __ATOMIC_RELEASE);
}

/* Count frees that could not be honoured. */
void pn_pool_refuse(struct pn_pool *pool, const void *buf, uint32_t n);

/* End what a buffer shares with others or was lent: it has its own memory again. */
void pn_buf_detach(struct pn_buf *buf);

/* What of a buffer is looked at before it is freed. */
union pn_buf_look {
	struct {
		uint32_t state;
		uint16_t data_off;
		uint16_t data_len;
	};
	uint64_t all;
};

/*
 * Whether all of a burst are plain packets of one pool, none of them NULL; with data: none empty.
 * Adds up their bytes. The only owner of a packet acquires what those before wrote.
 *
 * State and length come by one load, and four packets in a round: what has just been written is
 * waited for, and each such load tells. With two loads, one packet in a round, null ports forward
 * 8 % less at bursts of 8 and 32.
 */
static inline __attribute__((always_inline)) bool pn_bufs_plain(struct pn_buf *const *bufs,
	uint32_t n, const struct pn_pool *pool, bool data, uint64_t *bytes)
{
	typedef uint64_t pair __attribute__((vector_size(16)));
	typedef uint64_t whole __attribute__((may_alias));
	const union pn_buf_look plain = {.state = PN_BUF_PLAIN};
	const pair ends = {(uintptr_t)pool, 0};
	pair strange = {0, 0};
	union pn_buf_look seen = {.all = 0};
	uint64_t lengths = 0, sum = 0;

#pragma GCC unroll 4
	for (uint32_t i = 0; i < n; i++) {
		const struct pn_buf *buf = bufs[i];
		union pn_buf_look look;
		pair end; /* pool and next */

		look.all =
			__atomic_load_n((const whole *)&buf->state, __ATOMIC_ACQUIRE) ^ plain.all;
		memcpy(&end, &buf->pool, sizeof(end));
		strange |= end ^ ends;
		seen.all |= look.all;
		lengths |= look.data_len - UINT64_C(1); /* beyond 16 bits for an empty one */
		sum += look.data_len;
	}
	*bytes = sum;
	if (data && lengths >> 16)
		return false;
	return !(seen.state | strange[0] | strange[1]);
}

#endif
