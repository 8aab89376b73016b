/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The queues of the e1000 driver against a device in software that does what chance says
 * (e1000_rig.h): an honest one, whose every frame must arrive as it was, and one that writes
 * whatever it likes, from which no buffer may be lost, given out twice or read past its end.
 *
 * They take a seed from PINION_TEST_SEED and steps from PINION_TEST_STEPS.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "e1000_rig.h"

/* A frame with a descriptor in it that makes no sense. */
static void rx_bad_frame(struct rig *r)
{
	static const uint32_t lens[] = {0, BUF_SIZE + 1, BUF_SIZE + 33, 0x8000, 0xffff};
	uint32_t parts = 1 + rig_pick(r, 4);
	uint32_t bad = rig_pick(r, parts);

	if (parts > rig_rx_available(r))
		return;
	for (uint32_t i = 0; i < parts; i++)
		rig_rx_write(r, i == bad ? lens[rig_pick(r, 5)] : 1 + rig_pick(r, BUF_SIZE), 0,
			i == parts - 1, false);
	r->rx_bad++;
}

/* The application's side: take a burst, check it, keep or free it. */
static void app_receive(struct rig *r, uint16_t count, bool honest)
{
	struct pn_buf *bufs[64];
	uint16_t n = rig_rx_burst(r, bufs, count);

	assert_in_range(n, 0, count);
	for (uint16_t i = 0; i < n; i++) {
		if (honest)
			rig_check_packet(bufs[i], fifo_get(&r->received));
		if (r->held_count < POOL_COUNT && rig_chance(r, 3))
			r->held[r->held_count++] = bufs[i];
		else
			pn_buf_free(bufs[i]);
	}
}

/* Spoil a packet in one of the ways that the driver must refuse. */
static void spoil(struct rig *r, struct pn_buf *packet)
{
	struct pn_buf *seg = packet;

	switch (rig_pick(r, 5)) {
	case 0:
		packet->nb_segs = 0;
		break;
	case 1:
		packet->nb_segs++;
		break;
	case 2:
		for (uint32_t skip = rig_pick(r, packet->nb_segs); skip; skip--)
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
	uint32_t asked = l4[rig_pick(r, 3)];

	packet->flags = asked | (rig_chance(r, 2) ? PN_BUF_TX_IP : 0) |
			(rig_chance(r, 4) ? PN_BUF_TX_VLAN : 0) | PN_BUF_RX_IP_GOOD;
	packet->l2_len = rig_chance(r, 20) ? 13 : 14;
	packet->l3_len = (uint8_t)(20 + 4 * rig_pick(r, 2));
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
	uint16_t count = (uint16_t)(1 + rig_pick(r, 32));
	uint16_t n;

	for (; made < count; made++) {
		uint16_t segs = (uint16_t)(rig_chance(r, 4) ? 1 + rig_pick(r, 9) : 1);
		uint16_t len = (uint16_t)(1 + rig_pick(r, BUF_SIZE));
		uint8_t fill = (uint8_t)(1 + rig_pick(r, 255));

		bufs[made] = rig_packet(r, segs, len, fill);
		if (!bufs[made])
			break;
		expected[made] = (struct expected){.len = (uint32_t)segs * len, .fill = fill};
		if (!ask(r, bufs[made]))
			expected[made].len = 0;
		if (rig_chance(r, 20)) {
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

static void let_go(struct rig *r)
{
	while (r->held_count && !rig_chance(r, 8))
		pn_buf_free(r->held[--r->held_count]);
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void honest_step(struct rig *r)
{
	switch (rig_pick(r, 8)) {
	case 0:
	case 1:
		for (uint32_t n = rig_pick(r, 40); n; n--)
			rig_rx_frame(r,
				1 + rig_pick(r, rig_chance(r, 5) ? 10 * BUF_SIZE : BUF_SIZE),
				rig_chance(r, 20));
		break;
	case 2:
		if (rig_chance(r, 4))
			rx_bad_frame(r);
		if (rig_chance(r, 50))
			rig_rx_frame(
				r, PN_BUF_SEGS_MAX * BUF_SIZE + rig_pick(r, 3 * BUF_SIZE), false);
		break;
	case 3:
	case 4:
		app_receive(r, (uint16_t)(1 + rig_pick(r, 64)), true);
		break;
	case 5:
		app_send(r);
		break;
	case 6:
		rig_tx_process(r, rig_pick(r, 100));
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
	rig_tx_process(r, UINT32_MAX);
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
			rig_check_ownership(&r);
	}
	finish_honest(&r);
	rig_check_ownership(&r);
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
	uint32_t slot = rig_pick(r, size);

	for (uint32_t n = 1 + rig_pick(r, size); n; n--) {
		struct e1000_desc *desc = &ring[slot];

		switch (rig_pick(r, 4)) {
		case 0:
			desc->meta =
				(uint64_t)rig_pick(r, UINT32_MAX) << 32 | rig_pick(r, UINT32_MAX);
			break;
		case 1:
			desc->meta = rig_rx_meta(
				r, rig_pick(r, BUF_SIZE + 2), rig_chance(r, 2), rig_chance(r, 9));
			break;
		case 2:
			/* Chains without an end. */
			desc->meta = rig_rx_meta(r, 1 + rig_pick(r, BUF_SIZE), false, false);
			break;
		default:
			desc->meta |= E1000_TXD_STA_DD | E1000_RXDEXT_DD;
			break;
		}
		if (rig_chance(r, 8))
			desc->addr = rig_pick(r, UINT32_MAX);
		slot = (slot + 1) % size;
	}
}

static void hostile_step(struct rig *r)
{
	switch (rig_pick(r, 6)) {
	case 0:
	case 1:
		hostile_write(r, r->rxq.ring_iova, r->rxq.size);
		break;
	case 2:
		hostile_write(r, r->txq.ring_iova, r->txq.size);
		break;
	case 3:
		app_receive(r, (uint16_t)(1 + rig_pick(r, 64)), false);
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
			rig_check_ownership(&r);
	}
	rig_check_ownership(&r);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_honest_legacy),
		cmocka_unit_test(test_honest_extended),
		cmocka_unit_test(test_hostile_legacy),
		cmocka_unit_test(test_hostile_extended),
	};

	return cmocka_run_group_tests_name("e1000_random", tests, NULL, NULL);
}
