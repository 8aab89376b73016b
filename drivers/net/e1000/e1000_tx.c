/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The transmit queue: legacy descriptors on both models, one doorbell a burst. The device reports
 * completion for one packet in a batch; buffers are given back in runs between two reports. A
 * packet whose checksums are left to the device has data descriptors of the other kind, behind a
 * context descriptor that says where they are, unless the device has that context still.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "checksum.h"
#include "e1000.h"

static uint16_t wrap(const struct e1000_txq *q, uint32_t slot)
{
	return (uint16_t)(slot >= q->size ? slot - q->size : slot);
}

static void reset_indexes(struct e1000_txq *q)
{
	q->tail = 0;
	q->clean = 0;
	q->free = (uint16_t)(q->size - 1);
	q->pending = 0;
	q->mark_head = 0;
	q->mark_tail = 0;
	q->context = (struct e1000_desc){0};
}

int e1000_txq_init(struct e1000_txq *q, struct e1000_hw *hw, struct pn_heap *heap, uint16_t size,
	uint32_t offloads)
{
	uint16_t segs_max = (uint16_t)(size - 2);
	void *ring = pn_heap_alloc(
		heap, size * sizeof(struct e1000_desc), E1000_DESC_ALIGN, &q->ring_iova);

	if (!ring)
		return pn_fail_prefix(
			-ENOMEM, "port %s: a ring of %u transmit descriptors: ", hw->name, size);
	q->bufs = calloc(size, sizeof(struct pn_buf *));
	q->marks = calloc(size, sizeof(*q->marks));
	if (!q->bufs || !q->marks) {
		pn_heap_free(heap, ring);
		free(q->bufs);
		free(q->marks);
		return pn_fail(ENOMEM, "port %s: no memory for a transmit queue", hw->name);
	}
	q->ring = ring;
	q->heap = heap;
	q->tail_reg = (volatile uint32_t *)(volatile void *)(hw->regs + E1000_TDT);
	q->size = size;
	q->segs_max = segs_max < PN_BUF_SEGS_MAX ? segs_max : PN_BUF_SEGS_MAX;
	q->offloads = offloads;
	/*
	 * Descriptors behind the last mark are never reported by themselves. As long as the rest of
	 * the ring takes the largest packet they may wait for the next burst; otherwise the burst
	 * ends with a mark, or a packet could be waited for that never fits.
	 */
	q->pending_max = (uint16_t)(size - 1 - q->segs_max - (offloads ? 1 : 0));
	q->frame_max = hw->model->tx_frame_max;
	reset_indexes(q);
	return 0;
}

void e1000_txq_fini(struct e1000_txq *q)
{
	if (!q->ring)
		return;
	e1000_txq_drain(q);
	pn_heap_free(q->heap, (void *)q->ring);
	free(q->bufs);
	free(q->marks);
	q->ring = NULL;
	q->bufs = NULL;
	q->marks = NULL;
}

/* Give back the packets of the slots from q->clean up to `end`, which is not included. */
static void release(struct e1000_txq *q, uint16_t end)
{
	uint16_t first = q->clean;
	uint16_t n = (uint16_t)(end > first ? end - first : q->size - first);

	pn_buf_free_bulk(q->bufs + first, n);
	if (end < first) {
		pn_buf_free_bulk(q->bufs, end);
		n = (uint16_t)(n + end);
	}
	q->clean = end;
	q->free = (uint16_t)(q->free + n);
}

void e1000_txq_drain(struct e1000_txq *q)
{
	if (q->clean != q->tail)
		release(q, q->tail);
	for (uint16_t i = 0; i < q->size; i++) {
		q->ring[i].addr = 0;
		q->ring[i].meta = 0;
	}
	reset_indexes(q);
}

/* Only slots that were marked are looked at, each until it is done: a device that writes DD
 * elsewhere changes nothing. */
static inline void clean(struct e1000_txq *q)
{
	while (q->mark_head != q->mark_tail) {
		uint16_t slot = q->marks[q->mark_head];

		if (!(e1000_desc_meta(&q->ring[slot]) & E1000_TXD_STA_DD))
			break;
		e1000_rmb();
		q->mark_head = wrap(q, q->mark_head + 1u);
		release(q, wrap(q, slot + 1u));
	}
}

static inline void put_mark(struct e1000_txq *q, uint16_t slot)
{
	q->marks[q->mark_tail] = slot;
	q->mark_tail = wrap(q, q->mark_tail + 1u);
}

/*
 * Do a packet's numbers agree with its segments, and can the device send it, with so much more on
 * the wire? Gives the last one.
 */
static struct pn_buf *check_chain(const struct e1000_txq *q, struct pn_buf *buf, uint32_t more)
{
	struct pn_buf *seg = buf;
	uint32_t bytes = 0;

	if (buf->nb_segs == 0 || buf->nb_segs > q->segs_max)
		return NULL;
	for (uint16_t i = 1;; i++) {
		if (seg->data_len == 0)
			return NULL;
		bytes += seg->data_len;
		if (i == buf->nb_segs)
			break;
		seg = seg->next;
		if (!seg)
			return NULL;
	}
	if (bytes + more > q->frame_max || (buf->nb_segs > 1 && bytes != buf->pkt_len))
		return NULL;
	return seg;
}

/*
 * Bytes to send behind a short frame: zeros, which the device's own padding (TCTL.PSP) is not ("the
 * padding content is data", [8254x] 13.4.33), and which the 82540EM asks for below 48 bytes
 * (3.3.3).
 */
static bool pad(struct pn_buf *last, uint32_t bytes)
{
	if (bytes > pn_buf_tailroom(last))
		return false;
	memset(pn_buf_data(last) + last->data_len, 0, bytes);
	return true;
}

/* The bits that ask for it, in every descriptor of a packet. */
static uint64_t offload_bits(const struct pn_buf *buf, uint32_t asked)
{
	uint64_t meta = 0;

	if (asked & PN_BUF_TX_VLAN)
		meta |= E1000_TXD_CMD_VLE | (uint64_t)buf->vlan_tci << E1000_TXD_VLAN;
	if (asked & PN_BUF_TX_CHECKSUMS)
		meta |= E1000_TXD_CMD_DEXT | E1000_TXD_DTYP_DATA;
	if (asked & PN_BUF_TX_IP)
		meta |= E1000_TXD_POPT_IXSM;
	if (asked & (PN_BUF_TX_TCP | PN_BUF_TX_UDP))
		meta |= E1000_TXD_POPT_TXSM;
	return meta;
}

/* A packet of one segment with the same bytes, in place of one whose memory others may share. */
static bool make_own(struct pn_buf **packet)
{
	struct pn_buf *buf = *packet, *copy;

	if (buf->state == PN_BUF_PLAIN)
		return true;
	if (pn_pool_get(buf->pool, &copy, 1))
		return false;
	for (const struct pn_buf *seg = buf; seg; seg = seg->next) {
		unsigned char *tail = pn_buf_append(copy, seg->data_len);

		if (!tail) {
			pn_buf_free(copy);
			return false;
		}
		memcpy(tail, pn_buf_data(seg), seg->data_len);
	}
	copy->vlan_tci = buf->vlan_tci;
	pn_buf_free(buf);
	*packet = copy;
	return true;
}

/*
 * The checksums of a frame that has to be padded, by the processor: QEMU's 82574L takes the padding
 * for a part of the IP packet, and writes its length anew.
 */
static bool fill_short(struct pn_buf **packet, uint32_t asked)
{
	const uint32_t l2 = (*packet)->l2_len, l3 = l2 + (*packet)->l3_len;

	if (!make_own(packet))
		return false;
	if (asked & PN_BUF_TX_IP)
		checksum_fill(*packet, l2, l3, 10);
	if (asked & (PN_BUF_TX_TCP | PN_BUF_TX_UDP))
		checksum_fill(*packet, l3, CHECKSUM_ALL, asked & PN_BUF_TX_TCP ? 16 : 6);
	return true;
}

/*
 * Where the checksums are; false if the packet has not the headers that it should. All fields are
 * written, also those of a checksum that nobody asked for: one context then does for more packets.
 */
static bool make_context(const struct pn_buf *buf, uint32_t asked, struct e1000_desc *context)
{
	const uint64_t ip = buf->l2_len;
	struct pn_checksum l4;

	/* The device's offsets have a byte each. */
	if (!pn_checksum_of(buf, asked, &l4) || l4.start + l4.offset > UINT8_MAX)
		return false;
	context->addr = ip << E1000_TXC_IPCSS | (ip + 10) << E1000_TXC_IPCSO |
			(uint64_t)(l4.start - 1) << E1000_TXC_IPCSE |
			(uint64_t)l4.start << E1000_TXC_TUCSS |
			(uint64_t)(l4.start + l4.offset) << E1000_TXC_TUCSO;
	context->meta = E1000_TXD_CMD_DEXT | (asked & PN_BUF_TX_TCP ? E1000_TXC_TUCMD_TCP : 0);
	return true;
}

static void write_context(struct e1000_txq *q, const struct e1000_desc *context)
{
	q->bufs[q->tail] = NULL;
	q->ring[q->tail].addr = htole64(context->addr);
	q->ring[q->tail].meta = htole64(context->meta);
	q->context = *context;
	q->tail = wrap(q, q->tail + 1u);
	q->free--;
	q->pending++;
}

static void write_segments(
	struct e1000_txq *q, struct pn_buf *buf, uint32_t padding, uint64_t offloads)
{
	struct pn_buf *seg = buf;
	uint16_t slot = q->tail;

	for (uint16_t left = buf->nb_segs; left; left--) {
		uint64_t meta = seg->data_len | E1000_TXD_CMD_IFCS | offloads;

		if (left == 1)
			meta = (meta + padding) | E1000_TXD_CMD_EOP;
		q->bufs[slot] = left == 1 ? buf : NULL;
		q->ring[slot].addr = htole64(pn_buf_data_iova(seg));
		q->ring[slot].meta = htole64(meta);
		slot = wrap(q, slot + 1u);
		seg = seg->next;
	}
	q->tail = slot;
	q->free = (uint16_t)(q->free - buf->nb_segs);
	q->pending = (uint16_t)(q->pending + buf->nb_segs);
}

static bool refuse(struct e1000_txq *q, struct pn_buf *buf)
{
	e1000_count(&q->errors, 1);
	pn_buf_free(buf);
	return true;
}

static bool has_room(struct e1000_txq *q, unsigned int descriptors)
{
	if (descriptors > q->free)
		clean(q);
	return descriptors <= q->free;
}

/*
 * A packet of several segments, a short one, one with offloads, or one that cannot be sent. True
 * when it was taken, which includes one that is dropped; false when the ring has no room for it
 * now.
 */
static __attribute__((noinline)) bool send_special(struct e1000_txq *q, struct pn_buf *buf)
{
	uint32_t asked = buf->flags & q->offloads;
	struct pn_buf *last = check_chain(q, buf, asked & PN_BUF_TX_VLAN ? E1000_VLAN_TAG : 0);
	uint32_t len = pn_packet_len(buf);
	uint32_t padding = len < E1000_FRAME_MIN ? E1000_FRAME_MIN - len : 0;
	struct e1000_desc context = q->context;
	bool news;

	if (!last || (asked & PN_BUF_TX_CHECKSUMS && !make_context(buf, asked, &context)))
		return refuse(q, buf);
	news = !padding && (context.addr != q->context.addr || context.meta != q->context.meta);
	if (!has_room(q, buf->nb_segs + (news ? 1u : 0u)))
		return false;
	if (padding && asked & PN_BUF_TX_CHECKSUMS) {
		if (!fill_short(&buf, asked))
			return refuse(q, buf);
		asked &= ~PN_BUF_TX_CHECKSUMS;
		last = check_chain(q, buf, 0);
	}
	if (!last || !pad(last, padding))
		return refuse(q, buf);
	if (news)
		write_context(q, &context);
	write_segments(q, buf, padding, offload_bits(buf, asked));
	e1000_count(&q->packets, 1);
	e1000_count(&q->bytes, len + padding);
	return true;
}

/* Ask for a report of the descriptor before the tail, which the device has not been told about. */
static inline void mark_last(struct e1000_txq *q)
{
	uint16_t slot = wrap(q, (uint32_t)q->tail + q->size - 1u);

	q->ring[slot].meta |= htole64(E1000_TXD_CMD_RS);
	put_mark(q, slot);
	q->pending = 0;
}

static inline void send_one(struct e1000_txq *q, struct pn_buf *buf)
{
	uint16_t slot = q->tail;

	q->bufs[slot] = buf;
	q->ring[slot].addr = htole64(pn_buf_data_iova(buf));
	q->ring[slot].meta = htole64(buf->data_len | E1000_TXD_CMD_EOP | E1000_TXD_CMD_IFCS);
	q->tail = wrap(q, slot + 1u);
	q->free--;
	q->pending++;
}

static inline __attribute__((always_inline)) uint16_t tx_burst(
	struct e1000_txq *q, struct pn_buf **bufs, uint16_t count, bool offloads)
{
	const uint32_t len_span = q->frame_max - E1000_FRAME_MIN;
	const uint16_t old_tail = q->tail;
	uint64_t packets = 0;
	uint64_t bytes = 0;
	uint16_t n;

	/* As soon as there is a batch: its buffers are still in the cache. */
	if (q->size - 1u - q->free >= E1000_TX_BATCH || q->free < count)
		clean(q);
	for (n = 0; n < count; n++) {
		struct pn_buf *buf = bufs[n];

		if (n + 4 < count)
			__builtin_prefetch(bufs[n + 4]);
		if (E1000_LIKELY(buf->nb_segs == 1 && buf->data_len - E1000_FRAME_MIN <= len_span &&
				 !(offloads && buf->flags & q->offloads))) {
			if (!q->free)
				break;
			packets++;
			bytes += buf->data_len;
			send_one(q, buf);
		} else if (!send_special(q, buf)) {
			break;
		}
		if (q->pending >= E1000_TX_BATCH)
			mark_last(q);
	}
	if (q->tail == old_tail)
		return n;
	if (q->pending > q->pending_max)
		mark_last(q);
	e1000_count(&q->packets, packets);
	e1000_count(&q->bytes, bytes);
	e1000_wmb();
	*q->tail_reg = htole32(q->tail);
	return n;
}

static uint16_t burst(void *queue, struct pn_buf **bufs, uint16_t count)
{
	return tx_burst(queue, bufs, count, false);
}

static uint16_t burst_offloads(void *queue, struct pn_buf **bufs, uint16_t count)
{
	return tx_burst(queue, bufs, count, true);
}

pn_burst_fn e1000_tx_burst(const struct e1000_txq *q)
{
	return q->offloads ? burst_offloads : burst;
}
