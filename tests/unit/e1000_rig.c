/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See e1000_rig.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "e1000_rig.h"

uint32_t rig_pick(struct rig *r, uint32_t below)
{
	/* xorshift64*: the same everywhere for the same seed. */
	r->random ^= r->random >> 12;
	r->random ^= r->random << 25;
	r->random ^= r->random >> 27;
	return (uint32_t)((r->random * UINT64_C(2685821657736338717)) >> 32) % below;
}

bool rig_chance(struct rig *r, uint32_t in)
{
	return rig_pick(r, in) == 0;
}

void fifo_put(struct fifo *fifo, uint32_t len, uint8_t fill)
{
	fifo->items[fifo->tail] = (struct expected){.len = len, .fill = fill};
	fifo->tail = (fifo->tail + 1) % EXPECT_MAX;
	assert_int_not_equal(fifo->tail, fifo->head);
}

struct expected fifo_get(struct fifo *fifo)
{
	struct expected item = fifo->items[fifo->head];

	assert_int_not_equal(fifo->tail, fifo->head);
	fifo->head = (fifo->head + 1) % EXPECT_MAX;
	return item;
}

void rig_init_offloads(
	struct rig *r, uint16_t model, uint16_t rxd, uint16_t txd, uint32_t count, bool offloads)
{
	struct pn_pool_opts opts = {.count = count, .data_room = BUF_SIZE + 33};

	memset(r, 0, sizeof(*r));
	fake_memory_init(&r->memory, 4 << 20);
	fake_device_init(&r->device, 0x8086, model);
	r->hw.regs = r->device.regs;
	r->hw.name = "test";
	for (unsigned int i = 0; i < e1000_model_count; i++) {
		if (e1000_models[i].device == model)
			r->hw.model = &e1000_models[i];
	}
	assert_non_null(r->hw.model);
	r->extended = r->hw.model->pcie;
	assert_int_equal(pn_pool_create(&r->pool, r->memory.heap, &opts), 0);
	assert_int_equal(e1000_rxq_init(&r->rxq, &r->hw, r->memory.heap, r->pool, rxd,
				 offloads ? E1000_RX_OFFLOADS : 0),
		0);
	assert_int_equal(r->rxq.buf_size, BUF_SIZE);
	assert_int_equal(e1000_txq_init(&r->txq, &r->hw, r->memory.heap, txd,
				 offloads ? E1000_TX_OFFLOADS : 0),
		0);
	r->rx_burst = e1000_rx_burst(&r->rxq, r->extended);
	r->tx_burst = e1000_tx_burst(&r->txq);
	assert_int_equal(e1000_rxq_fill(&r->rxq), 0);
	e1000_rxq_kick(&r->rxq);
	r->random = 88172645463325252u;
}

void rig_init_pool(struct rig *r, uint16_t model, uint16_t rxd, uint16_t txd, uint32_t count)
{
	rig_init_offloads(r, model, rxd, txd, count, false);
}

void rig_init(struct rig *r, uint16_t model, uint16_t rxd, uint16_t txd)
{
	rig_init_pool(r, model, rxd, txd, POOL_COUNT);
}

void rig_fini(struct rig *r)
{
	pn_buf_free_bulk(r->held, r->held_count);
	e1000_rxq_fini(&r->rxq);
	e1000_txq_fini(&r->txq);
	assert_int_equal(pn_pool_refused(r->pool), 0);
	assert_int_equal(pn_pool_available(r->pool), pn_pool_count(r->pool));
	assert_int_equal(pn_pool_destroy(r->pool), 0);
	fake_device_fini(&r->device);
	fake_memory_fini(&r->memory);
}

/* The device's side of the receive ring. */

uint32_t rig_rx_available(struct rig *r)
{
	uint32_t rdt = fake_reg(&r->device, E1000_RDT);

	return (rdt + r->rxq.size - r->rdh) % r->rxq.size;
}

uint64_t rig_rx_meta(struct rig *r, uint32_t len, bool eop, bool error)
{
	static const uint64_t legacy_errors[] = {E1000_RXD_ERRORS_CE, E1000_RXD_ERRORS_SE,
		E1000_RXD_ERRORS_SEQ, E1000_RXD_ERRORS_CXE, E1000_RXD_ERRORS_RXE};
	static const uint64_t extended_errors[] = {E1000_RXDEXT_ERRORS_CE, E1000_RXDEXT_ERRORS_SE,
		E1000_RXDEXT_ERRORS_SEQ, E1000_RXDEXT_ERRORS_CXE, E1000_RXDEXT_ERRORS_RXE};
	uint32_t which = rig_pick(r, 5);

	if (r->extended)
		return E1000_RXDEXT_DD | (eop ? E1000_RXDEXT_EOP : 0) | (uint64_t)len << 32 |
		       (error ? extended_errors[which] : 0) | (uint64_t)rig_pick(r, 65536) << 48;
	return E1000_RXD_DD | (eop ? E1000_RXD_EOP : 0) | len | (error ? legacy_errors[which] : 0) |
	       (uint64_t)rig_pick(r, 65536) << 16;
}

/* Fill the next armed descriptor's buffer and write the descriptor back. */
void rig_rx_write(struct rig *r, uint32_t len, uint8_t fill, bool eop, bool error)
{
	struct e1000_desc *ring =
		fake_memory_at(&r->memory, r->rxq.ring_iova, r->rxq.size * sizeof(*ring));
	struct e1000_desc *desc = &ring[r->rdh];
	void *data = fake_memory_at(&r->memory, desc->addr, BUF_SIZE);

	assert_true(rig_rx_available(r) > 0);
	assert_int_equal(desc->meta, 0);
	memset(data, fill, len < BUF_SIZE ? len : BUF_SIZE);
	/* The extended format puts other things where the address was. */
	if (r->extended)
		desc->addr = (uint64_t)rig_pick(r, UINT32_MAX) << 32 | rig_pick(r, UINT32_MAX);
	desc->meta = rig_rx_meta(r, len, eop, error);
	r->rdh = (r->rdh + 1) % r->rxq.size;
}

/* A good frame of so many bytes in as many buffers as it takes. False: not enough descriptors. */
bool rig_rx_frame(struct rig *r, uint32_t len, bool error)
{
	uint32_t need = (len + BUF_SIZE - 1) / BUF_SIZE;
	uint8_t fill = ++r->fill;

	if (need > rig_rx_available(r))
		return false;
	for (uint32_t left = len; left;) {
		uint32_t part = left < BUF_SIZE ? left : BUF_SIZE;

		left -= part;
		rig_rx_write(r, part, fill, left == 0, error && left == 0);
	}
	if (need > PN_BUF_SEGS_MAX)
		r->rx_bad++;
	else if (error)
		r->rx_errors++;
	else
		fifo_put(&r->received, len, fill);
	return true;
}

uint16_t rig_rx_burst(struct rig *r, struct pn_buf **bufs, uint16_t count)
{
	return r->rx_burst(&r->rxq, bufs, count);
}

/* Every byte of a packet, and that its numbers agree. */
void rig_check_packet(const struct pn_buf *packet, struct expected expected)
{
	uint32_t bytes = 0;
	uint16_t segs = 0;

	for (const struct pn_buf *seg = packet; seg; seg = seg->next) {
		const unsigned char *data = pn_buf_data(seg);

		assert_int_equal(seg->refcnt, 1);
		assert_in_range(seg->data_len, 1, BUF_SIZE);
		assert_int_equal(data[0], expected.fill);
		assert_int_equal(data[seg->data_len - 1], expected.fill);
		assert_memory_equal(data, data + 1, seg->data_len - 1u);
		bytes += seg->data_len;
		segs++;
	}
	assert_int_equal(bytes, expected.len);
	assert_int_equal(packet->pkt_len, expected.len);
	assert_int_equal(packet->nb_segs, segs);
}

/* The device's side of the transmit ring. */

static void tx_check_part(struct rig *r, const struct e1000_desc *desc)
{
	uint32_t len = (uint32_t)desc->meta & 0xffff;
	const unsigned char *data = fake_memory_at(&r->memory, desc->addr, len);

	assert_true(desc->meta & E1000_TXD_CMD_IFCS);
	assert_false(desc->meta & E1000_TXD_STA_DD);
	assert_int_not_equal(len, 0);
	if (r->frame_len == 0)
		r->frame_fill = data[0];
	for (uint32_t i = 0; i < len; i++) {
		/* Up to the minimum zeros may follow. */
		if (data[i] != r->frame_fill)
			assert_true(data[i] == 0 && r->frame_len + len == E1000_FRAME_MIN);
	}
	r->frame_len += len;
	if (desc->meta & E1000_TXD_CMD_EOP) {
		struct expected expected = fifo_get(&r->sent);

		if (expected.len < E1000_FRAME_MIN)
			expected.len = E1000_FRAME_MIN;
		assert_int_equal(r->frame_len, expected.len);
		assert_int_equal(r->frame_fill, expected.fill);
		r->frame_len = 0;
	}
}

/* It belongs to the packet behind it. */
static bool is_context(const struct e1000_desc *desc)
{
	return desc->meta & E1000_TXD_CMD_DEXT && !(desc->meta & E1000_TXD_DTYP_DATA);
}

/* Send up to n descriptors. Returns how many reports the driver asked for. */
uint32_t rig_tx_process(struct rig *r, uint32_t n)
{
	struct e1000_desc *ring =
		fake_memory_at(&r->memory, r->txq.ring_iova, r->txq.size * sizeof(*ring));
	uint32_t tdt = fake_reg(&r->device, E1000_TDT);
	uint32_t reports = 0;

	assert_true(tdt < r->txq.size);
	for (; n && r->tdh != tdt; n--) {
		struct e1000_desc *desc = &ring[r->tdh];

		if (is_context(desc))
			assert_false(r->frame_len || desc->meta & E1000_TXD_CMD_RS);
		else
			tx_check_part(r, desc);
		if (desc->meta & E1000_TXD_CMD_RS) {
			desc->meta |= E1000_TXD_STA_DD;
			reports++;
		}
		r->tdh = (r->tdh + 1) % r->txq.size;
	}
	return reports;
}

/* A packet of segs segments of len bytes each. NULL when the pool has not that many. */
struct pn_buf *rig_packet(struct rig *r, uint16_t segs, uint16_t len, uint8_t fill)
{
	struct pn_buf *bufs[POOL_COUNT];

	if (pn_pool_get(r->pool, bufs, segs))
		return NULL;
	for (uint16_t i = 0; i < segs; i++) {
		memset(pn_buf_data(bufs[i]), 0xa5, BUF_SIZE);
		memset(pn_buf_data(bufs[i]), fill, len);
		bufs[i]->data_len = len;
		bufs[i]->next = i + 1 < segs ? bufs[i + 1] : NULL;
	}
	bufs[0]->nb_segs = (uint8_t)segs;
	bufs[0]->pkt_len = (uint32_t)segs * len;
	return bufs[0];
}

/* Where every buffer is. */

static void claim(struct rig *r, uint8_t *owners, const struct pn_buf *buf)
{
	for (; buf; buf = buf->next) {
		uint64_t at = (uint64_t)((const unsigned char *)buf - r->memory.vaddr) / 64;

		assert_ptr_equal(buf->pool, r->pool);
		assert_int_equal(owners[at], 0);
		owners[at] = 1;
	}
}

static uint32_t count_owned(const uint8_t *owners, size_t size)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum += owners[i];
	return sum;
}

void rig_check_ownership(struct rig *r)
{
	static uint8_t owners[(4 << 20) / 64];
	const struct e1000_rxq *rxq = &r->rxq;
	const struct e1000_txq *txq = &r->txq;
	uint32_t slot;

	memset(owners, 0, sizeof(owners));
	assert_true(rxq->armed < rxq->size);
	assert_int_equal((rxq->next + rxq->armed) % rxq->size, rxq->fill);
	for (uint32_t i = 0; i < rxq->armed; i++)
		claim(r, owners, rxq->bufs[(rxq->next + i) % rxq->size]);
	claim(r, owners, rxq->first);
	assert_int_equal((txq->clean + (txq->size - 1u - txq->free)) % txq->size, txq->tail);
	for (slot = txq->clean; slot != txq->tail; slot = (slot + 1) % txq->size)
		claim(r, owners, txq->bufs[slot]);
	for (uint32_t i = 0; i < r->held_count; i++)
		claim(r, owners, r->held[i]);
	assert_int_equal(count_owned(owners, sizeof(owners)) + pn_pool_available(r->pool),
		pn_pool_count(r->pool));
}
