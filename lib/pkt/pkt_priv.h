/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of a packet pool: a stack of free buffers behind a spinlock. pool.c makes pools and
 * takes buffers, buf.c gives them back.
 *
 * What a device can reach: a pool's memory is mapped for DMA as a whole, and the metadata of each
 * buffer (struct pn_buf with base, pool and next) lies in it, before the data. A device that may
 * write to its domain can overwrite these pointers, and the process then follows them: the IOMMU
 * keeps a device out of all other memory, not out of this. Only struct pn_pool and the stack of
 * free buffers are out of reach; so are a driver's own lists of what is in its rings.
 */
#ifndef PN_PKT_PRIV_H
#define PN_PKT_PRIV_H

#include <sched.h>

#include "pn_pkt.h"

#define PN_CACHE_LINE 64u

_Static_assert(sizeof(struct pn_buf) == PN_CACHE_LINE, "a buffer's metadata is one cache line");

struct pn_pool {
	/* What a buffer looks like when it is handed out; the constant fields are not used. */
	struct pn_buf fresh;
	struct pn_heap *heap;
	void *memory;
	uint32_t count;
	uint16_t room;
	/* Written by every get and free: on its own line. */
	_Alignas(PN_CACHE_LINE) uint32_t locked;
	uint32_t available;
	/* The free buffers, the last one freed on top: it is the likeliest to be in the cache. Not
	 * in DMA memory: no device can write to this list, though to the buffers it can. */
	struct pn_buf **stack;
	uint32_t users; /* receive queues that take from it, whether they run or not */
	_Alignas(PN_CACHE_LINE) uint64_t refused;
};

/*
 * Test and test-and-set. A holder keeps it for one copy of pointers; when it takes longer than
 * that, the holder has lost its CPU, and so the waiter gives up its own.
 */
static inline void pn_pool_lock(struct pn_pool *pool)
{
	unsigned int spins = 0;

	while (__atomic_exchange_n(&pool->locked, 1, __ATOMIC_ACQUIRE)) {
		while (__atomic_load_n(&pool->locked, __ATOMIC_RELAXED)) {
			if (++spins % 1024 == 0)
				sched_yield();
			else
				pn_cpu_relax();
		}
	}
}

static inline void pn_pool_unlock(struct pn_pool *pool)
{
	__atomic_store_n(&pool->locked, 0, __ATOMIC_RELEASE);
}

/* Push n buffers that have no owner any more. */
void pn_pool_put(struct pn_pool *pool, struct pn_buf *const *bufs, uint32_t n);

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

#endif
