/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The queues of the e1000 driver against a device in software (e1000_rig.h): chains without an end,
 * rings that are full or all done, doorbells and reports, and lengths at their ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "e1000_rig.h"

/* A chain of more segments than a packet may have is dropped whole, once, whatever its length. */
static void test_endless_chain(void **state)
{
	struct pn_buf *bufs[8];
	struct rig r;

	(void)state;
	rig_init(&r, 0x10d3, 128, 64);
	for (int i = 0; i < 1000; i++) {
		rig_rx_write(&r, BUF_SIZE, 1, false, false);
		assert_int_equal(rig_rx_burst(&r, bufs, 8), 0);
		assert_true(!r.rxq.first || r.rxq.first->nb_segs <= PN_BUF_SEGS_MAX);
	}
	assert_int_equal(r.rxq.bad_desc, 1);
	rig_check_ownership(&r);
	rig_rx_write(&r, BUF_SIZE, 1, true, false);
	rig_rx_frame(&r, 100, false);
	assert_int_equal(rig_rx_burst(&r, bufs, 8), 1);
	rig_check_packet(bufs[0], fifo_get(&r.received));
	pn_buf_free(bufs[0]);
	/* And the longest that is allowed. */
	assert_true(rig_rx_frame(&r, PN_BUF_SEGS_MAX * BUF_SIZE, false));
	assert_int_equal(rig_rx_burst(&r, bufs, 8), 1);
	assert_int_equal(bufs[0]->nb_segs, PN_BUF_SEGS_MAX);
	rig_check_packet(bufs[0], fifo_get(&r.received));
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
		ring[i].meta = rig_rx_meta(&r, 64, true, false);
	n = rig_rx_burst(&r, bufs, 256);
	assert_int_equal(n, 127);
	assert_int_equal(r.rxq.nombuf, 1);
	assert_int_equal(rig_rx_burst(&r, bufs + n, 100), 0);
	/* Fewer than a batch are enough to go on. */
	pn_buf_free_bulk(bufs, 3);
	assert_int_equal(rig_rx_burst(&r, bufs, 1), 0);
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
		rig_rx_frame(&r, 60, false);
		assert_int_equal(rig_rx_burst(&r, bufs, 32), 1);
		assert_int_equal(r.tx_burst(&r.txq, bufs, 1), 1);
		fifo_put(&r.sent, 60, fifo_get(&r.received).fill);
		reports += rig_tx_process(&r, UINT32_MAX);
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
			uint16_t segs =
				(uint16_t)(rig_chance(&r, 2) ? r.txq.segs_max
							     : 1 + rig_pick(&r, r.txq.segs_max));
			struct pn_buf *packet = rig_packet(&r, segs, 100, 7);

			assert_non_null(packet);
			/* Each with a context of its own. */
			packet->flags = round % 2 ? PN_BUF_TX_UDP : PN_BUF_TX_TCP;
			packet->l2_len = 14;
			packet->l3_len = 20;
			assert_int_equal(r.tx_burst(&r.txq, &packet, 1), 1);
			fifo_put(&r.sent, segs * 100u, 7);
			rig_tx_process(&r, UINT32_MAX);
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
		bufs[i] = rig_packet(&r, 1, 60, 9);
		if (i < 127)
			fifo_put(&r.sent, 60, 9);
	}
	assert_int_equal(r.tx_burst(&r.txq, bufs, 128), 127);
	assert_int_equal(r.txq.free, 0);
	assert_int_equal(r.tx_burst(&r.txq, bufs + 127, 1), 0);
	rig_tx_process(&r, 31);
	assert_int_equal(r.tx_burst(&r.txq, bufs + 127, 1), 0);
	rig_tx_process(&r, 1);
	assert_int_equal(r.tx_burst(&r.txq, bufs + 127, 1), 1);
	fifo_put(&r.sent, 60, 9);
	rig_tx_process(&r, UINT32_MAX);
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
		rig_tx_process(&r, 1);
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
