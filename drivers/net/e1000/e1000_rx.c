/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The receive queue: descriptors that the device has written back become packets, or are counted
 * and dropped when they make no sense; empty slots get new buffers in batches, with one doorbell
 * each.
 */
#include <errno.h>
#include <stdlib.h>

#include "base_priv.h"
#include "e1000.h"
#include "pkt_priv.h"

/* RCTL.BSEX and BSIZE: [8254x] 13.4.22, [82574] 10.2.5.1 */
static const struct {
	uint16_t size;
	uint32_t bits;
} buf_sizes[] = {
	{16384, E1000_RCTL_BSEX | 1u << E1000_RCTL_BSIZE_SHIFT},
	{8192, E1000_RCTL_BSEX | 2u << E1000_RCTL_BSIZE_SHIFT},
	{4096, E1000_RCTL_BSEX | 3u << E1000_RCTL_BSIZE_SHIFT},
	{2048, 0},
	{1024, 1u << E1000_RCTL_BSIZE_SHIFT},
	{512, 2u << E1000_RCTL_BSIZE_SHIFT},
	{256, 3u << E1000_RCTL_BSIZE_SHIFT},
};

uint16_t e1000_rx_buf_size(uint32_t data_room)
{
	for (unsigned int i = 0; i < PN_ARRAY_SIZE(buf_sizes); i++) {
		if (buf_sizes[i].size <= data_room)
			return buf_sizes[i].size;
	}
	return 0;
}

uint32_t e1000_rx_bsize_bits(uint16_t buf_size)
{
	for (unsigned int i = 0; i < PN_ARRAY_SIZE(buf_sizes); i++) {
		if (buf_sizes[i].size == buf_size)
			return buf_sizes[i].bits;
	}
	return 0;
}

static uint16_t wrap(const struct e1000_rxq *q, uint32_t slot)
{
	return (uint16_t)(slot >= q->size ? slot - q->size : slot);
}

static uint16_t refill_at(uint16_t size)
{
	uint16_t quarter = (uint16_t)(size / 4);

	if (quarter < E1000_RX_BATCH)
		return E1000_RX_BATCH;
	return quarter < E1000_RX_REFILL_MAX ? quarter : E1000_RX_REFILL_MAX;
}

int e1000_rxq_init(struct e1000_rxq *q, struct e1000_hw *hw, struct pn_heap *heap,
	struct pn_pool *pool, uint16_t size, uint32_t offloads)
{
	uint32_t room = pn_pool_buf_room(pool) - PN_BUF_HEADROOM;
	uint16_t buf_size = e1000_rx_buf_size(room);
	void *ring;

	if (!buf_size)
		return pn_fail(EINVAL,
			"port %s: the pool's buffers have %u bytes of data room; the device needs "
			"at least 256",
			hw->name, room);
	ring = pn_heap_alloc(
		heap, size * sizeof(struct e1000_desc), E1000_DESC_ALIGN, &q->ring_iova);
	if (!ring)
		return pn_fail_prefix(
			-ENOMEM, "port %s: a ring of %u receive descriptors: ", hw->name, size);
	q->bufs = calloc(size, sizeof(struct pn_buf *));
	if (!q->bufs) {
		pn_heap_free(heap, ring);
		return pn_fail(ENOMEM, "port %s: no memory for a receive queue", hw->name);
	}
	q->ring = ring;
	q->heap = heap;
	q->pool = pool;
	q->tail = (volatile uint32_t *)(volatile void *)(hw->regs + E1000_RDT);
	q->size = size;
	q->next = 0;
	q->fill = 0;
	q->armed = 0;
	q->refill_at = refill_at(size);
	q->buf_size = buf_size;
	q->offloads = offloads;
	q->l4_checked = E1000_RXD_STA_TCPCS | (hw->model->pcie ? E1000_RXD_STA_UDPCS : 0);
	q->dropping = false;
	q->first = NULL;
	q->last = NULL;
	pn_pool_use(pool);
	return 0;
}

void e1000_rxq_fini(struct e1000_rxq *q)
{
	if (!q->ring)
		return;
	e1000_rxq_drain(q);
	pn_pool_unuse(q->pool);
	pn_heap_free(q->heap, (void *)q->ring);
	free(q->bufs);
	q->ring = NULL;
	q->bufs = NULL;
}

/* Give n slots from q->fill on, which do not wrap, a buffer each. */
static bool arm(struct e1000_rxq *q, uint16_t n)
{
	struct pn_buf **bufs = q->bufs + q->fill;
	volatile struct e1000_desc *desc = q->ring + q->fill;

	if (pn_pool_get(q->pool, bufs, n))
		return false;
	for (uint16_t i = 0; i < n; i++) {
		/* The second word too: it still says that the slot is done. */
		desc[i].addr = htole64(bufs[i]->iova + PN_BUF_HEADROOM);
		desc[i].meta = 0;
	}
	q->fill = wrap(q, (uint32_t)q->fill + n);
	q->armed = (uint16_t)(q->armed + n);
	return true;
}

void e1000_rxq_kick(struct e1000_rxq *q)
{
	e1000_wmb();
	*q->tail = htole32(q->fill);
}

int e1000_rxq_fill(struct e1000_rxq *q)
{
	/* The ring is empty and starts at slot 0: this does not wrap. */
	return arm(q, (uint16_t)(q->size - 1)) ? 0 : -ENOBUFS;
}

void e1000_rxq_drain(struct e1000_rxq *q)
{
	pn_buf_free(q->first);
	q->first = NULL;
	q->last = NULL;
	for (; q->armed; q->armed--) {
		pn_buf_free(q->bufs[q->next]);
		q->next = wrap(q, (uint32_t)q->next + 1);
	}
	for (uint16_t i = 0; i < q->size; i++) {
		q->ring[i].addr = 0;
		q->ring[i].meta = 0;
	}
	q->next = 0;
	q->fill = 0;
	q->dropping = false;
}

/*
 * Refill the empty slots. When the pool cannot give that many the ring lives on what it has; below
 * a batch it takes any number, so that it does not run dry while there are buffers.
 */
static inline void refill(struct e1000_rxq *q)
{
	uint16_t empty = (uint16_t)(q->size - 1 - q->armed);
	uint16_t todo = (uint16_t)(empty - empty % E1000_RX_BATCH);
	uint16_t old_fill = q->fill;
	bool short_of = false;

	while (todo) {
		uint16_t to_end = (uint16_t)(q->size - q->fill);
		uint16_t n = todo < to_end ? todo : to_end;

		if (E1000_LIKELY(arm(q, n))) {
			todo = (uint16_t)(todo - n);
			continue;
		}
		short_of = true;
		todo = (uint16_t)(n / 2);
		if (todo < E1000_RX_BATCH && q->armed >= E1000_RX_BATCH)
			break;
	}
	if (E1000_UNLIKELY(short_of))
		e1000_count(&q->nombuf, 1);
	if (q->fill != old_fill)
		e1000_rxq_kick(q);
}

/* Drop the packet that is being put together, and its rest up to the last descriptor. */
static void drop(struct e1000_rxq *q, struct pn_buf *buf, bool eop)
{
	pn_buf_free(buf);
	pn_buf_free(q->first);
	q->first = NULL;
	q->last = NULL;
	q->dropping = !eop;
}

static void append(struct e1000_rxq *q, struct pn_buf *buf, uint16_t len)
{
	buf->data_len = len;
	if (!q->first) {
		buf->pkt_len = len;
		q->first = buf;
	} else {
		q->first->pkt_len += len;
		q->first->nb_segs++;
		q->last->next = buf;
	}
	q->last = buf;
}

/*
 * A descriptor that is not a whole good packet by itself: part of a chain, or bad. Returns the
 * packet that it completes, or NULL. len is whatever the device wrote.
 */
static __attribute__((noinline)) struct pn_buf *take_part(
	struct e1000_rxq *q, struct pn_buf *buf, uint16_t len, bool eop, bool bad_frame)
{
	struct pn_buf *packet;

	if (q->dropping) {
		drop(q, buf, eop);
		return NULL;
	}
	if (len == 0 || len > q->buf_size || (q->first && q->first->nb_segs == PN_BUF_SEGS_MAX)) {
		e1000_count(&q->bad_desc, 1);
		drop(q, buf, eop);
		return NULL;
	}
	/* Errors are those of the whole packet: valid with EOP only ([8254x] 3.2.3.2). */
	if (eop && bad_frame) {
		e1000_count(&q->errors, 1);
		drop(q, buf, eop);
		return NULL;
	}
	append(q, buf, len);
	if (!eop)
		return NULL;
	packet = q->first;
	q->first = NULL;
	q->last = NULL;
	return packet;
}

/* What the last descriptor of a packet says of it. */
static inline void describe(
	const struct e1000_rxq *q, struct pn_buf *packet, uint64_t meta, bool extended)
{
	const uint32_t status = (uint32_t)(extended ? meta : meta >> 32);
	const uint32_t errors = (uint32_t)(extended ? meta >> 24 : meta >> 40);
	uint32_t flags = 0;

	if (!(status & E1000_RXD_STA_IXSM)) {
		if (status & E1000_RXD_STA_IPCS)
			flags |= errors & E1000_RXD_ERR_IPE ? PN_BUF_RX_IP_BAD : PN_BUF_RX_IP_GOOD;
		if (status & q->l4_checked)
			flags |= errors & E1000_RXD_ERR_TCPE ? PN_BUF_RX_L4_BAD : PN_BUF_RX_L4_GOOD;
	}
	if (status & E1000_RXD_STA_VP) {
		flags |= PN_BUF_RX_VLAN;
		packet->vlan_tci = E1000_RXD_VLAN(meta);
	}
	packet->flags = flags & q->offloads;
}

static inline __attribute__((always_inline)) uint16_t rx_burst(
	struct e1000_rxq *q, struct pn_buf **bufs, uint16_t count, bool extended, bool offloads)
{
	const uint64_t done = extended ? E1000_RXDEXT_DD : E1000_RXD_DD;
	const uint64_t last = extended ? E1000_RXDEXT_EOP : E1000_RXD_EOP;
	const uint64_t errors = extended ? E1000_RXDEXT_ERRORS : E1000_RXD_ERRORS;
	const uint32_t len_max = q->buf_size;
	uint16_t next = q->next;
	uint16_t left = q->armed;
	uint64_t bytes = 0;
	uint16_t n = 0;

	while (n < count && left) {
		uint64_t meta = e1000_desc_meta(&q->ring[next]);
		struct pn_buf *buf = q->bufs[next];
		uint32_t len;

		if (!(meta & done))
			break;
		next = wrap(q, next + 1u);
		left--;
		__builtin_prefetch(q->bufs[next], 1);
		len = extended ? E1000_RXDEXT_LENGTH(meta) : E1000_RXD_LENGTH(meta);
		if (E1000_LIKELY((meta & (last | errors)) == last && len - 1 < len_max &&
				 !q->first && !q->dropping)) {
			buf->data_len = (uint16_t)len;
			buf->pkt_len = len;
		} else {
			buf = take_part(q, buf, (uint16_t)len, meta & last, meta & errors);
			if (!buf)
				continue;
		}
		if (offloads)
			describe(q, buf, meta, extended);
		bytes += buf->pkt_len;
		bufs[n++] = buf;
	}
	q->next = next;
	q->armed = left;
	e1000_rmb();
	e1000_count(&q->packets, n);
	e1000_count(&q->bytes, bytes);
	if (q->size - 1u - left >= q->refill_at)
		refill(q);
	return n;
}

/*
 * The ring needs a burst when the pool could not fill it and so little is left that packets stop
 * coming, and with them interrupts: nobody else refills it.
 */
bool e1000_rxq_wants_poll(const struct e1000_rxq *q, bool extended)
{
	const uint64_t done = extended ? E1000_RXDEXT_DD : E1000_RXD_DD;

	return q->armed < E1000_RX_BATCH || (e1000_desc_meta(&q->ring[q->next]) & done);
}

static uint16_t burst_legacy(void *queue, struct pn_buf **bufs, uint16_t count)
{
	return rx_burst(queue, bufs, count, false, false);
}

static uint16_t burst_legacy_offloads(void *queue, struct pn_buf **bufs, uint16_t count)
{
	return rx_burst(queue, bufs, count, false, true);
}

static uint16_t burst_extended(void *queue, struct pn_buf **bufs, uint16_t count)
{
	return rx_burst(queue, bufs, count, true, false);
}

static uint16_t burst_extended_offloads(void *queue, struct pn_buf **bufs, uint16_t count)
{
	return rx_burst(queue, bufs, count, true, true);
}

pn_burst_fn e1000_rx_burst(const struct e1000_rxq *q, bool extended)
{
	if (extended)
		return q->offloads ? burst_extended_offloads : burst_extended;
	return q->offloads ? burst_legacy_offloads : burst_legacy;
}
