/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Buffers that point at memory which is not their own: that of another buffer, or of the
 * application. They return to their own when they are freed (buf.c).
 */
#include <errno.h>

#include "base_priv.h"
#include "pkt_priv.h"

int pn_buf_attach(struct pn_buf *buf, const struct pn_external *external)
{
	struct pn_buf_more *more;

	if (!buf || !external || !external->vaddr || !external->len)
		return pn_fail(EINVAL, "a buffer is attached to memory: an address and a length "
				       "above 0 are needed");
	if (buf->state != PN_BUF_PLAIN || buf->next)
		return pn_fail(EINVAL, "only a buffer with one owner, one segment and its own "
				       "memory can be attached to other memory");
	more = pn_buf_get_more(buf);
	more->free = external->free;
	more->arg = external->arg;
	more->own_iova = buf->iova;
	buf->base = external->vaddr;
	buf->iova = external->iova;
	buf->room = external->len;
	buf->data_off = 0;
	buf->data_len = 0;
	buf->pkt_len = 0;
	buf->attached = PN_BUF_EXTERNAL;
	return 0;
}

static void share(struct pn_buf *clone, struct pn_buf *seg)
{
	struct pn_buf *direct = seg->attached == PN_BUF_CLONE ? pn_buf_get_more(seg)->direct : seg;
	struct pn_buf_more *more = pn_buf_get_more(clone);

	__atomic_fetch_add(&direct->refcnt, 1, __ATOMIC_RELAXED);
	more->direct = direct;
	more->own_iova = clone->iova;
	clone->base = seg->base;
	clone->iova = seg->iova;
	clone->room = seg->room;
	clone->data_off = seg->data_off;
	clone->data_len = seg->data_len;
	clone->attached = PN_BUF_CLONE;
}

static void copy_head(struct pn_buf *clone, struct pn_buf *packet)
{
	clone->nb_segs = packet->nb_segs;
	clone->port = packet->port;
	clone->pkt_len = packet->pkt_len;
	clone->flags = packet->flags;
	clone->hash = packet->hash;
	clone->vlan_tci = packet->vlan_tci;
	clone->tso_size = packet->tso_size;
	clone->l2_len = packet->l2_len;
	clone->l3_len = packet->l3_len;
	clone->l4_len = packet->l4_len;
	if (packet->flags & PN_BUF_RX_TIMESTAMP)
		pn_buf_get_more(clone)->timestamp = pn_buf_get_more(packet)->timestamp;
}

struct pn_buf *pn_buf_clone(struct pn_pool *pool, struct pn_buf *packet)
{
	struct pn_buf *segs[PN_BUF_SEGS_MAX], *seg;
	uint32_t n = 0;

	for (seg = packet; seg; seg = seg->next) {
		if (++n > PN_BUF_SEGS_MAX)
			return NULL;
	}
	if (!n || pn_pool_get(pool, segs, n))
		return NULL;
	seg = packet;
	for (uint32_t i = 0; i < n; i++, seg = seg->next) {
		share(segs[i], seg);
		segs[i]->next = i + 1 < n ? segs[i + 1] : NULL;
	}
	copy_head(segs[0], packet);
	return segs[0];
}
