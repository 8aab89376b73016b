/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Giving packets back: drops a reference of each segment, and returns runs of segments of one pool
 * with one lock operation.
 */
#include "base_priv.h"
#include "pkt_priv.h"

/* Segments on their way back, all of one pool. */
struct batch {
	struct pn_pool *pool;
	uint32_t n;
	struct pn_buf *bufs[PN_BUF_SEGS_MAX];
};

static void flush(struct batch *batch)
{
	if (batch->n)
		pn_pool_put(batch->pool, batch->bufs, batch->n);
	batch->n = 0;
}

static inline void add(struct batch *batch, struct pn_buf *seg)
{
	if (seg->pool != batch->pool || batch->n == PN_ARRAY_SIZE(batch->bufs)) {
		flush(batch);
		batch->pool = seg->pool;
	}
	batch->bufs[batch->n++] = seg;
}

/*
 * The only owner marks the segment as being in the pool. In debug builds with a compare-and-swap,
 * so that of two threads that free it at once one is found out; otherwise with a plain store.
 */
static inline bool take_last(struct pn_buf *seg)
{
#ifdef NDEBUG
	seg->refcnt = 0;
	return true;
#else
	uint16_t one = 1;

	return __atomic_compare_exchange_n(
		&seg->refcnt, &one, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
#endif
}

enum drop { DROP_LAST, DROP_SHARED, DROP_REFUSED };

static inline enum drop drop_ref(struct pn_buf *seg)
{
	uint16_t refs = __atomic_load_n(&seg->refcnt, __ATOMIC_ACQUIRE);

	if (__builtin_expect(refs == 1, 1))
		return take_last(seg) ? DROP_LAST : DROP_REFUSED;
	do {
		if (refs == 0)
			return DROP_REFUSED;
	} while (!__atomic_compare_exchange_n(&seg->refcnt, &refs, (uint16_t)(refs - 1), true,
		__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	return refs == 1 ? DROP_LAST : DROP_SHARED;
}

static inline void free_packet(struct batch *batch, struct pn_buf *seg)
{
	while (seg) {
		/* Before the reference goes: after it the segment may be someone else's. */
		struct pn_buf *next = seg->next;
		enum drop drop = drop_ref(seg);

		if (drop == DROP_LAST) {
			add(batch, seg);
		} else if (drop == DROP_REFUSED) {
			/* What follows it is no longer this packet's. */
			pn_pool_refuse(seg->pool, seg, 1);
			return;
		}
		seg = next;
	}
}

void pn_buf_free_bulk(struct pn_buf **bufs, uint32_t n)
{
	struct batch batch;

	batch.pool = NULL;
	batch.n = 0;
	for (uint32_t i = 0; i < n; i++)
		free_packet(&batch, bufs[i]);
	flush(&batch);
}
