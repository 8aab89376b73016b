/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Giving packets back. A burst of plain packets of one pool is only looked at; of all others a
 * reference of each segment is dropped, and runs of segments of one pool go back at once.
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
		pn_pool_put_noted(batch->pool, batch->bufs, batch->n);
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

enum drop { DROP_LAST, DROP_SHARED, DROP_REFUSED };

static inline enum drop drop_ref(struct pn_buf *seg)
{
	uint16_t refs = __atomic_load_n(&seg->refcnt, __ATOMIC_ACQUIRE);

	/* Others may have a reference: who drops the last one has acquired what they wrote. */
	while (refs > 1) {
		if (__atomic_compare_exchange_n(&seg->refcnt, &refs, (uint16_t)(refs - 1), true,
			    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return DROP_SHARED;
	}
	return refs ? DROP_LAST : DROP_REFUSED;
}

/*
 * Make a segment what a free one must be; false if it is free already. Between two threads that
 * free the same one the pool's note decides.
 */
static bool make_free(struct pn_buf *seg)
{
	if (seg->pool->inside && !pn_pool_note_free(seg->pool, seg))
		return false;
	if (seg->attached)
		pn_buf_detach(seg);
	seg->refcnt = 1;
	seg->nb_segs = 1;
	seg->next = NULL;
	return true;
}

static void free_packet(struct batch *batch, struct pn_buf *seg)
{
	while (seg) {
		/* Before the reference goes: after it the segment may be someone else's. */
		struct pn_buf *next = seg->next;
		enum drop drop = drop_ref(seg);

		if (drop == DROP_REFUSED)
			pn_pool_refuse(seg->pool, seg, 1);
		if (drop == DROP_LAST && make_free(seg))
			add(batch, seg);
		else if (drop != DROP_SHARED)
			return; /* what follows it is no longer this packet's */
		seg = next;
	}
}

static __attribute__((noinline)) void free_each(struct pn_buf **bufs, uint32_t n)
{
	struct batch batch;

	batch.pool = NULL;
	batch.n = 0;
	for (uint32_t i = 0; i < n; i++)
		free_packet(&batch, bufs[i]);
	flush(&batch);
}

/* Packets from here on, at most PN_POOL_CACHE_MAX, that are there at all. */
static uint32_t run_length(struct pn_buf *const *bufs, uint32_t n)
{
	uint32_t run = 0;

	while (run < n && run < PN_POOL_CACHE_MAX && bufs[run])
		run++;
	return run;
}

void pn_buf_free_bulk(struct pn_buf **bufs, uint32_t n)
{
	while (n) {
		uint32_t run = run_length(bufs, n);
		uint64_t bytes;

		if (!run)
			run = 1; /* NULL */
		else if (pn_bufs_plain(bufs, run, bufs[0]->pool, false, &bytes))
			pn_pool_put_raw(bufs[0]->pool, bufs, run);
		else
			free_each(bufs, run);
		bufs += run;
		n -= run;
	}
}

/* The one segment only: what follows it was never the clone's. */
static void drop_direct(struct pn_buf *direct)
{
	enum drop drop = drop_ref(direct);

	if (drop == DROP_REFUSED)
		pn_pool_refuse(direct->pool, direct, 1);
	else if (drop == DROP_LAST && make_free(direct))
		pn_pool_put_noted(direct->pool, &direct, 1);
}

void pn_buf_detach(struct pn_buf *buf)
{
	struct pn_buf_more *more = pn_buf_get_more(buf);
	uint8_t attached = buf->attached;
	void *vaddr = buf->base;

	buf->base = (unsigned char *)buf + PN_BUF_META;
	buf->iova = more->own_iova;
	buf->room = buf->pool->room;
	buf->attached = PN_BUF_OWN;
	if (attached == PN_BUF_CLONE)
		drop_direct(more->direct);
	else if (more->free)
		more->free(more->arg, vaddr);
}
