/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The queues of the e1000 driver against a device in software that reads and writes the real rings:
 * an honest one, whose every frame must arrive as it was, and one that writes whatever it likes,
 * from which no buffer may be lost, given out twice or read past its end.
 *
 * The random tests take a seed from PINION_TEST_SEED and steps from PINION_TEST_STEPS.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "e1000.h"
#include "e1000_fake.h"

#define POOL_COUNT 512u
#define BUF_SIZE   512u
#define FRAME_MAX  (100u * BUF_SIZE)
#define EXPECT_MAX 4096u

/* What the application must see, or the wire: a frame's length and the byte that it is made of. */
struct expected {
	uint32_t len;
	uint8_t fill;
};

struct fifo {
	struct expected items[EXPECT_MAX];
	uint32_t head, tail;
};

struct rig {
	struct fake_memory memory;
	struct fake_device device;
	struct e1000_hw hw;
	struct e1000_rxq rxq;
	struct e1000_txq txq;
	struct pn_pool *pool;
	bool extended;
	pn_burst_fn rx_burst, tx_burst;
	/* The device: where it is in its rings, and what it should have made happen. */
	uint32_t rdh, tdh;
	struct fifo received, sent;
	uint64_t rx_bad, rx_errors, tx_errors;
	uint8_t fill;
	uint32_t frame_len; /* of the frame that is being sent */
	uint8_t frame_fill;
	/* The application: packets that it holds. */
	struct pn_buf *held[POOL_COUNT];
	uint32_t held_count;
	uint64_t random;
};

static uint32_t pick(struct rig *r, uint32_t below)
{
	/* xorshift64*: the same everywhere for the same seed. */
	r->random ^= r->random >> 12;
	r->random ^= r->random << 25;
	r->random ^= r->random >> 27;
	return (uint32_t)((r->random * UINT64_C(2685821657736338717)) >> 32) % below;
}

static bool chance(struct rig *r, uint32_t in)
{
	return pick(r, in) == 0;
}

static void fifo_put(struct fifo *fifo, uint32_t len, uint8_t fill)
{
	fifo->items[fifo->tail] = (struct expected){.len = len, .fill = fill};
	fifo->tail = (fifo->tail + 1) % EXPECT_MAX;
	assert_int_not_equal(fifo->tail, fifo->head);
}

static struct expected fifo_get(struct fifo *fifo)
{
	struct expected item = fifo->items[fifo->head];

	assert_int_not_equal(fifo->tail, fifo->head);
	fifo->head = (fifo->head + 1) % EXPECT_MAX;
	return item;
}

static void rig_init_offloads(
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

static void rig_init_pool(struct rig *r, uint16_t model, uint16_t rxd, uint16_t txd, uint32_t count)
{
	rig_init_offloads(r, model, rxd, txd, count, false);
}

static void rig_init(struct rig *r, uint16_t model, uint16_t rxd, uint16_t txd)
{
	rig_init_pool(r, model, rxd, txd, POOL_COUNT);
}

static void rig_fini(struct rig *r)
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

static uint32_t rx_available(struct rig *r)
{
	uint32_t rdt = fake_reg(&r->device, E1000_RDT);

	return (rdt + r->rxq.size - r->rdh) % r->rxq.size;
}

static uint64_t rx_meta(struct rig *r, uint32_t len, bool eop, bool error)
{
	static const uint64_t legacy_errors[] = {E1000_RXD_ERRORS_CE, E1000_RXD_ERRORS_SE,
		E1000_RXD_ERRORS_SEQ, E1000_RXD_ERRORS_CXE, E1000_RXD_ERRORS_RXE};
	static const uint64_t extended_errors[] = {E1000_RXDEXT_ERRORS_CE, E1000_RXDEXT_ERRORS_SE,
		E1000_RXDEXT_ERRORS_SEQ, E1000_RXDEXT_ERRORS_CXE, E1000_RXDEXT_ERRORS_RXE};
	uint32_t which = pick(r, 5);

	if (r->extended)
		return E1000_RXDEXT_DD | (eop ? E1000_RXDEXT_EOP : 0) | (uint64_t)len << 32 |
		       (error ? extended_errors[which] : 0) | (uint64_t)pick(r, 65536) << 48;
	return E1000_RXD_DD | (eop ? E1000_RXD_EOP : 0) | len | (error ? legacy_errors[which] : 0) |
	       (uint64_t)pick(r, 65536) << 16;
}

/* Fill the next armed descriptor's buffer and write the descriptor back. */
static void rx_write(struct rig *r, uint32_t len, uint8_t fill, bool eop, bool error)
{
	struct e1000_desc *ring =
		fake_memory_at(&r->memory, r->rxq.ring_iova, r->rxq.size * sizeof(*ring));
	struct e1000_desc *desc = &ring[r->rdh];
	void *data = fake_memory_at(&r->memory, desc->addr, BUF_SIZE);

	assert_true(rx_available(r) > 0);
	assert_int_equal(desc->meta, 0);
	memset(data, fill, len < BUF_SIZE ? len : BUF_SIZE);
	/* The extended format puts other things where the address was. */
	if (r->extended)
		desc->addr = (uint64_t)pick(r, UINT32_MAX) << 32 | pick(r, UINT32_MAX);
	desc->meta = rx_meta(r, len, eop, error);
	r->rdh = (r->rdh + 1) % r->rxq.size;
}

/* A good frame of so many bytes in as many buffers as it takes. False: not enough descriptors. */
static bool rx_frame(struct rig *r, uint32_t len, bool error)
{
	uint32_t need = (len + BUF_SIZE - 1) / BUF_SIZE;
	uint8_t fill = ++r->fill;

	if (need > rx_available(r))
		return false;
	for (uint32_t left = len; left;) {
		uint32_t part = left < BUF_SIZE ? left : BUF_SIZE;

		left -= part;
		rx_write(r, part, fill, left == 0, error && left == 0);
	}
	if (need > PN_BUF_SEGS_MAX)
		r->rx_bad++;
	else if (error)
		r->rx_errors++;
	else
		fifo_put(&r->received, len, fill);
	return true;
}

/* A frame with a descriptor in it that makes no sense. */
static void rx_bad_frame(struct rig *r)
{
	static const uint32_t lens[] = {0, BUF_SIZE + 1, BUF_SIZE + 33, 0x8000, 0xffff};
	uint32_t parts = 1 + pick(r, 4);
	uint32_t bad = pick(r, parts);

	if (parts > rx_available(r))
		return;
	for (uint32_t i = 0; i < parts; i++)
		rx_write(r, i == bad ? lens[pick(r, 5)] : 1 + pick(r, BUF_SIZE), 0, i == parts - 1,
			false);
	r->rx_bad++;
}

static uint16_t rx_burst(struct rig *r, struct pn_buf **bufs, uint16_t count)
{
	return r->rx_burst(&r->rxq, bufs, count);
}

/* Every byte of a packet, and that its numbers agree. */
static void check_packet(const struct pn_buf *packet, struct expected expected)
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

/* The application's side: take a burst, check it, keep or free it. */
static void app_receive(struct rig *r, uint16_t count, bool honest)
{
	struct pn_buf *bufs[64];
	uint16_t n = rx_burst(r, bufs, count);

	assert_in_range(n, 0, count);
	for (uint16_t i = 0; i < n; i++) {
		if (honest)
			check_packet(bufs[i], fifo_get(&r->received));
		if (r->held_count < POOL_COUNT && chance(r, 3))
			r->held[r->held_count++] = bufs[i];
		else
			pn_buf_free(bufs[i]);
	}
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
static uint32_t tx_process(struct rig *r, uint32_t n)
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
static struct pn_buf *make_packet(struct rig *r, uint16_t segs, uint16_t len, uint8_t fill)
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

/* Spoil a packet in one of the ways that the driver must refuse. */
static void spoil(struct rig *r, struct pn_buf *packet)
{
	struct pn_buf *seg = packet;

	switch (pick(r, 5)) {
	case 0:
		packet->nb_segs = 0;
		break;
	case 1:
		packet->nb_segs++;
		break;
	case 2:
		for (uint32_t skip = pick(r, packet->nb_segs); skip; skip--)
			seg = seg->next;
		seg->data_len = 0;
		break;
	case 3:
		packet->data_len = UINT16_MAX;
		break;
	default:
		if (packet->nb_segs > 1)
			packet->pkt_len++;
		else
			packet->data_len = 0;
		break;
	}
}

/* What it asks for; false: it has not the headers for that. */
static bool ask(struct rig *r, struct pn_buf *packet)
{
	static const uint32_t l4[] = {0, PN_BUF_TX_TCP, PN_BUF_TX_UDP};
	uint32_t asked = l4[pick(r, 3)];

	packet->flags = asked | (chance(r, 2) ? PN_BUF_TX_IP : 0) |
			(chance(r, 4) ? PN_BUF_TX_VLAN : 0) | PN_BUF_RX_IP_GOOD;
	packet->l2_len = chance(r, 20) ? 13 : 14;
	packet->l3_len = (uint8_t)(20 + 4 * pick(r, 2));
	/* Those of short frames are filled in, which would look like other bytes. */
	if (packet->pkt_len < E1000_FRAME_MIN)
		packet->flags &= ~PN_BUF_TX_CHECKSUMS;
	if (!r->txq.offloads || !(packet->flags & PN_BUF_TX_CHECKSUMS))
		return true;
	return packet->l2_len == 14 && packet->pkt_len >= 14u + packet->l3_len +
								  (asked == PN_BUF_TX_TCP ? 20u
									  : asked         ? 8u
											  : 0);
}

static void app_send(struct rig *r)
{
	struct pn_buf *bufs[32];
	struct expected expected[32];
	uint16_t made = 0;
	uint16_t count = (uint16_t)(1 + pick(r, 32));
	uint16_t n;

	for (; made < count; made++) {
		uint16_t segs = (uint16_t)(chance(r, 4) ? 1 + pick(r, 9) : 1);
		uint16_t len = (uint16_t)(1 + pick(r, BUF_SIZE));
		uint8_t fill = (uint8_t)(1 + pick(r, 255));

		bufs[made] = make_packet(r, segs, len, fill);
		if (!bufs[made])
			break;
		expected[made] = (struct expected){.len = (uint32_t)segs * len, .fill = fill};
		if (!ask(r, bufs[made]))
			expected[made].len = 0;
		if (chance(r, 20)) {
			spoil(r, bufs[made]);
			expected[made].len = 0;
		}
	}
	n = r->tx_burst(&r->txq, bufs, made);
	assert_in_range(n, 0, made);
	for (uint16_t i = 0; i < n; i++) {
		if (expected[i].len)
			fifo_put(&r->sent, expected[i].len, expected[i].fill);
		else
			r->tx_errors++;
	}
	pn_buf_free_bulk(bufs + n, (uint32_t)(made - n));
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

static void check_ownership(struct rig *r)
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

static void let_go(struct rig *r)
{
	while (r->held_count && !chance(r, 8))
		pn_buf_free(r->held[--r->held_count]);
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void honest_step(struct rig *r)
{
	switch (pick(r, 8)) {
	case 0:
	case 1:
		for (uint32_t n = pick(r, 40); n; n--)
			rx_frame(r, 1 + pick(r, chance(r, 5) ? 10 * BUF_SIZE : BUF_SIZE),
				chance(r, 20));
		break;
	case 2:
		if (chance(r, 4))
			rx_bad_frame(r);
		if (chance(r, 50))
			rx_frame(r, PN_BUF_SEGS_MAX * BUF_SIZE + pick(r, 3 * BUF_SIZE), false);
		break;
	case 3:
	case 4:
		app_receive(r, (uint16_t)(1 + pick(r, 64)), true);
		break;
	case 5:
		app_send(r);
		break;
	case 6:
		tx_process(r, pick(r, 100));
		break;
	default:
		let_go(r);
		break;
	}
}

static void finish_honest(struct rig *r)
{
	uint32_t idle = 0;

	let_go(r);
	while (idle++ < 100)
		app_receive(r, 64, true);
	assert_int_equal(r->received.head, r->received.tail);
	tx_process(r, UINT32_MAX);
	assert_int_equal(r->sent.head, r->sent.tail);
	assert_int_equal(r->rxq.bad_desc, r->rx_bad);
	assert_int_equal(r->rxq.errors, r->rx_errors);
	assert_int_equal(r->txq.errors, r->tx_errors);
}

static void run_honest(uint16_t model, uint16_t rxd, uint16_t txd, bool offloads)
{
	uint64_t steps = env_number("PINION_TEST_STEPS", 30000);
	struct rig r;

	rig_init_offloads(&r, model, rxd, txd, POOL_COUNT, offloads);
	r.random ^= env_number("PINION_TEST_SEED", 1) << 20;
	for (uint64_t i = 0; i < steps; i++) {
		honest_step(&r);
		if (i % 8 == 0)
			check_ownership(&r);
	}
	finish_honest(&r);
	check_ownership(&r);
	assert_true(r.rxq.packets > steps / 10);
	assert_true(r.txq.packets > steps / 10);
	rig_fini(&r);
}

static void test_honest_legacy(void **state)
{
	(void)state;
	run_honest(0x100e, 128, 64, false);
	run_honest(0x100e, 128, 64, true);
	run_honest(0x100e, 64, 256, false);
	run_honest(0x100e, 64, 256, true);
}

static void test_honest_extended(void **state)
{
	(void)state;
	run_honest(0x10d3, 128, 72, false);
	run_honest(0x10d3, 128, 72, true);
	run_honest(0x10d3, 256, 128, false);
	run_honest(0x10d3, 256, 128, true);
}

/* A device that writes anything anywhere in its rings, at any time. */
static void hostile_write(struct rig *r, uint64_t iova, uint32_t size)
{
	struct e1000_desc *ring = fake_memory_at(&r->memory, iova, size * sizeof(*ring));
	uint32_t slot = pick(r, size);

	for (uint32_t n = 1 + pick(r, size); n; n--) {
		struct e1000_desc *desc = &ring[slot];

		switch (pick(r, 4)) {
		case 0:
			desc->meta = (uint64_t)pick(r, UINT32_MAX) << 32 | pick(r, UINT32_MAX);
			break;
		case 1:
			desc->meta = rx_meta(r, pick(r, BUF_SIZE + 2), chance(r, 2), chance(r, 9));
			break;
		case 2:
			/* Chains without an end. */
			desc->meta = rx_meta(r, 1 + pick(r, BUF_SIZE), false, false);
			break;
		default:
			desc->meta |= E1000_TXD_STA_DD | E1000_RXDEXT_DD;
			break;
		}
		if (chance(r, 8))
			desc->addr = pick(r, UINT32_MAX);
		slot = (slot + 1) % size;
	}
}

static void hostile_step(struct rig *r)
{
	switch (pick(r, 6)) {
	case 0:
	case 1:
		hostile_write(r, r->rxq.ring_iova, r->rxq.size);
		break;
	case 2:
		hostile_write(r, r->txq.ring_iova, r->txq.size);
		break;
	case 3:
		app_receive(r, (uint16_t)(1 + pick(r, 64)), false);
		break;
	case 4:
		app_send(r);
		r->sent.head = r->sent.tail;
		break;
	default:
		let_go(r);
		break;
	}
}

static void run_hostile(uint16_t model, uint16_t rxd, uint16_t txd, uint32_t count, bool offloads)
{
	uint64_t steps = env_number("PINION_TEST_STEPS", 60000);
	struct rig r;

	rig_init_offloads(&r, model, rxd, txd, count, offloads);
	r.random ^= env_number("PINION_TEST_SEED", 1) << 20;
	for (uint64_t i = 0; i < steps; i++) {
		hostile_step(&r);
		if (i % 8 == 0)
			check_ownership(&r);
	}
	check_ownership(&r);
	assert_true(r.rxq.bad_desc > 0);
	assert_true(r.rxq.errors > 0);
	assert_true(r.rxq.packets > 0);
	rig_fini(&r);
}

static void test_hostile_legacy(void **state)
{
	(void)state;
	run_hostile(0x100e, 128, 64, POOL_COUNT, false);
	/* A pool that is always short. */
	run_hostile(0x100e, 128, 128, 140, true);
}

static void test_hostile_extended(void **state)
{
	(void)state;
	run_hostile(0x10d3, 256, 96, POOL_COUNT, true);
	run_hostile(0x10d3, 64, 256, 64, false);
}

/* A chain of more segments than a packet may have is dropped whole, once, whatever its length. */
static void test_endless_chain(void **state)
{
	struct pn_buf *bufs[8];
	struct rig r;

	(void)state;
	rig_init(&r, 0x10d3, 128, 64);
	for (int i = 0; i < 1000; i++) {
		rx_write(&r, BUF_SIZE, 1, false, false);
		assert_int_equal(rx_burst(&r, bufs, 8), 0);
		assert_true(!r.rxq.first || r.rxq.first->nb_segs <= PN_BUF_SEGS_MAX);
	}
	assert_int_equal(r.rxq.bad_desc, 1);
	check_ownership(&r);
	rx_write(&r, BUF_SIZE, 1, true, false);
	rx_frame(&r, 100, false);
	assert_int_equal(rx_burst(&r, bufs, 8), 1);
	check_packet(bufs[0], fifo_get(&r.received));
	pn_buf_free(bufs[0]);
	/* And the longest that is allowed. */
	assert_true(rx_frame(&r, PN_BUF_SEGS_MAX * BUF_SIZE, false));
	assert_int_equal(rx_burst(&r, bufs, 8), 1);
	assert_int_equal(bufs[0]->nb_segs, PN_BUF_SEGS_MAX);
	check_packet(bufs[0], fifo_get(&r.received));
	pn_buf_free(bufs[0]);
	rig_fini(&r);
}

/* With the whole ring marked done by the device, not more is taken than was armed. */
static void test_done_everywhere(void **state)
{
	struct e1000_desc *ring;
	struct pn_buf *bufs[256];
	struct rig r;
	uint16_t n;

	(void)state;
	rig_init_pool(&r, 0x10d3, 128, 64, 127);
	ring = fake_memory_at(&r.memory, r.rxq.ring_iova, 128 * sizeof(*ring));
	for (int i = 0; i < 128; i++)
		ring[i].meta = rx_meta(&r, 64, true, false);
	n = rx_burst(&r, bufs, 256);
	assert_int_equal(n, 127);
	assert_int_equal(r.rxq.nombuf, 1);
	assert_int_equal(rx_burst(&r, bufs + n, 100), 0);
	/* Fewer than a batch are enough to go on. */
	pn_buf_free_bulk(bufs, 3);
	assert_int_equal(rx_burst(&r, bufs, 1), 0);
	assert_int_equal(r.rxq.armed, 3);
	pn_buf_free_bulk(bufs + 3, 124);
	rig_fini(&r);
}

/* RDT moves by a quarter of the ring, reports are asked for once a batch. */
static void test_doorbells(void **state)
{
	struct pn_buf *bufs[32];
	struct rig r;
	uint32_t rdt, moves = 0, reports = 0;

	(void)state;
	rig_init(&r, 0x10d3, 256, 256);
	rdt = fake_reg(&r.device, E1000_RDT);
	assert_int_equal(rdt, 255);
	for (int i = 0; i < 3200; i++) {
		rx_frame(&r, 60, false);
		assert_int_equal(rx_burst(&r, bufs, 32), 1);
		assert_int_equal(r.tx_burst(&r.txq, bufs, 1), 1);
		fifo_put(&r.sent, 60, fifo_get(&r.received).fill);
		reports += tx_process(&r, UINT32_MAX);
		if (fake_reg(&r.device, E1000_RDT) == rdt)
			continue;
		assert_int_equal((fake_reg(&r.device, E1000_RDT) + 256 - rdt) % 256, 64);
		rdt = fake_reg(&r.device, E1000_RDT);
		moves++;
	}
	assert_int_equal(moves, 50);
	assert_int_equal(reports, 100);
	rig_fini(&r);
}

/* Whatever went before, once the device has sent all there is room for the largest packet. */
static void test_room_for_the_largest(void **state)
{
	static const uint16_t sizes[] = {64, 72, 80, 96, 104, 128, 256};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct rig r;

		rig_init_offloads(&r, 0x100e, 64, sizes[i], POOL_COUNT, i % 2);
		for (int round = 0; round < 2000; round++) {
			uint16_t segs = (uint16_t)(chance(&r, 2) ? r.txq.segs_max
								 : 1 + pick(&r, r.txq.segs_max));
			struct pn_buf *packet = make_packet(&r, segs, 100, 7);

			assert_non_null(packet);
			/* Each with a context of its own. */
			packet->flags = round % 2 ? PN_BUF_TX_UDP : PN_BUF_TX_TCP;
			packet->l2_len = 14;
			packet->l3_len = 20;
			assert_int_equal(r.tx_burst(&r.txq, &packet, 1), 1);
			fifo_put(&r.sent, segs * 100u, 7);
			tx_process(&r, UINT32_MAX);
		}
		assert_int_equal(r.txq.errors, 0);
		rig_fini(&r);
	}
}

/* Nothing is taken that does not fit, and what waits fits once a report is there. */
static void test_full_ring(void **state)
{
	struct pn_buf *bufs[128];
	struct rig r;

	(void)state;
	rig_init(&r, 0x100e, 64, 128);
	for (int i = 0; i < 128; i++) {
		bufs[i] = make_packet(&r, 1, 60, 9);
		if (i < 127)
			fifo_put(&r.sent, 60, 9);
	}
	assert_int_equal(r.tx_burst(&r.txq, bufs, 128), 127);
	assert_int_equal(r.txq.free, 0);
	assert_int_equal(r.tx_burst(&r.txq, bufs + 127, 1), 0);
	tx_process(&r, 31);
	assert_int_equal(r.tx_burst(&r.txq, bufs + 127, 1), 0);
	tx_process(&r, 1);
	assert_int_equal(r.tx_burst(&r.txq, bufs + 127, 1), 1);
	fifo_put(&r.sent, 60, 9);
	tx_process(&r, UINT32_MAX);
	assert_int_equal(r.tx_burst(&r.txq, NULL, 0), 0);
	/* 127 were sent, and 32 of the last batch are not reported. */
	assert_true(r.txq.free >= 127 - 31);
	rig_fini(&r);
}

static void test_lengths(void **state)
{
	struct pn_pool_opts opts = {.count = 2, .data_room = 40000};
	struct pn_buf *buf, *bufs[2];
	struct pn_pool *large;
	struct rig r;

	(void)state;
	rig_init(&r, 0x100e, 64, 64);
	assert_int_equal(pn_pool_create(&large, r.memory.heap, &opts), 0);
	/* The longest, and one byte more. */
	for (uint16_t len = 16288; len <= 16289; len++) {
		assert_int_equal(pn_pool_get(large, &buf, 1), 0);
		memset(pn_buf_append(buf, len), 5, len);
		assert_int_equal(r.tx_burst(&r.txq, &buf, 1), 1);
		if (len == 16288)
			fifo_put(&r.sent, len, 5);
		tx_process(&r, 1);
	}
	assert_int_equal(r.txq.errors, 1);
	/* The same, in two segments. */
	assert_int_equal(pn_pool_available(large), 1);
	e1000_txq_drain(&r.txq);
	r.tdh = 0;
	fake_set_reg(&r.device, E1000_TDT, 0);
	assert_int_equal(pn_pool_get(large, bufs, 2), 0);
	memset(pn_buf_append(bufs[0], 10000), 5, 10000);
	memset(pn_buf_append(bufs[1], 6289), 5, 6289);
	bufs[0]->next = bufs[1];
	bufs[0]->nb_segs = 2;
	bufs[0]->pkt_len = 16289;
	assert_int_equal(r.tx_burst(&r.txq, bufs, 1), 1);
	assert_int_equal(r.txq.errors, 2);
	assert_int_equal(pn_pool_available(large), 2);
	/* A short frame without tail room cannot be padded. */
	assert_int_equal(pn_pool_get(r.pool, &buf, 1), 0);
	buf->data_off = (uint16_t)(buf->room - 20);
	pn_buf_append(buf, 20);
	assert_int_equal(r.tx_burst(&r.txq, &buf, 1), 1);
	assert_int_equal(r.txq.errors, 3);
	assert_int_equal(fake_reg(&r.device, E1000_TDT), 0);
	assert_int_equal(pn_pool_destroy(large), 0);
	rig_fini(&r);
}

static void test_mta_hash(void **state)
{
	static const uint8_t mac[PN_MAC_LEN] = {0x01, 0x00, 0x5e, 0x12, 0x34, 0x56};

	(void)state;
	assert_int_equal(e1000_mta_hash(mac), 0x563);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_honest_legacy),
		cmocka_unit_test(test_honest_extended),
		cmocka_unit_test(test_hostile_legacy),
		cmocka_unit_test(test_hostile_extended),
		cmocka_unit_test(test_endless_chain),
		cmocka_unit_test(test_done_everywhere),
		cmocka_unit_test(test_doorbells),
		cmocka_unit_test(test_room_for_the_largest),
		cmocka_unit_test(test_full_ring),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_mta_hash),
	};

	return cmocka_run_group_tests_name("e1000", tests, NULL, NULL);
}
