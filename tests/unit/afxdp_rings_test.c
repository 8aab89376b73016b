/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rings of an afxdp port with a kernel that names what it likes: no frame is given out twice,
 * nothing beyond a frame is read, and what was sensible goes on.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "afxdp.h"

#define RING    16u
#define FRAMES  16u
#define FRAME   2048u
#define RECEIVE 8u /* of the frames, those that the kernel has to receive into; the rest sends */

/* Both ends of a ring, in memory that is not the kernel's. */
struct ring {
	uint32_t producer, consumer, flags;
	union {
		uint64_t addresses[RING];
		struct xdp_desc descs[RING];
	};
};

static struct {
	struct ring received, fill, send, completed;
	struct netport port;
	struct afxdp_umem umem;
	struct afxdp_queue *queue;
	struct pn_region *region;
	struct pn_heap *heap;
	struct pn_pool *pool;
	uint64_t random;
} rig;

static uint32_t pick(uint32_t below)
{
	rig.random ^= rig.random >> 12;
	rig.random ^= rig.random << 25;
	rig.random ^= rig.random >> 27;
	return (uint32_t)((rig.random * UINT64_C(2685821657736338717)) >> 32) % below;
}

static struct xsk_ring_cons from_kernel(struct ring *ring)
{
	return (struct xsk_ring_cons){
		.mask = RING - 1,
		.size = RING,
		.producer = &ring->producer,
		.consumer = &ring->consumer,
		.ring = ring->descs,
		.flags = &ring->flags,
	};
}

/* One that this end fills begins with all its room, as libxdp has it. */
static struct xsk_ring_prod to_kernel(struct ring *ring)
{
	return (struct xsk_ring_prod){
		.cached_cons = RING,
		.mask = RING - 1,
		.size = RING,
		.producer = &ring->producer,
		.consumer = &ring->consumer,
		.ring = ring->descs,
		.flags = &ring->flags,
	};
}

static int setup(void **state)
{
	struct pn_region_opts memory = PN_REGION_OPTS_INIT;
	struct pn_pool_opts opts = {.count = 64, .check = PN_POOL_CHECK_ON};
	struct afxdp_queue *queue;

	(void)state;
	memset(&rig, 0, sizeof(rig));
	rig.random = 88172645463325252u;
	memory.page_size = PN_PAGE_4K;
	memory.backing = PN_BACKING_MEMFD;
	if (pn_region_create(&rig.region, 1 << 20, &memory) ||
		pn_heap_create(&rig.heap, rig.region, 0x10000000) ||
		pn_pool_create(&rig.pool, rig.heap, &opts))
		return -1;
	rig.port.soft.pool = rig.pool;
	rig.umem = (struct afxdp_umem){.area = aligned_alloc(4096, FRAMES * FRAME),
		.size = FRAMES * FRAME,
		.stride = FRAME,
		.count = FRAMES,
		.frame = FRAME,
		.owners = calloc(FRAMES, 1),
		.spare = calloc(FRAMES, sizeof(uint32_t))};
	memset(rig.umem.area, 0x5a, FRAMES * FRAME);
	queue = aligned_alloc(_Alignof(struct afxdp_queue), sizeof(*queue));
	memset(queue, 0, sizeof(*queue));
	queue->rx = (struct netport_queue){&rig.port, &rig.port.rx_counts[0]};
	queue->tx = (struct netport_queue){&rig.port, &rig.port.tx_counts[0]};
	queue->umem = &rig.umem;
	queue->fd = open("/dev/null", O_RDWR); /* no socket: waking the kernel up fails */
	queue->longest = 1518;
	queue->room = FRAMES - RECEIVE;
	queue->received = from_kernel(&rig.received);
	queue->completed = from_kernel(&rig.completed);
	queue->fill = to_kernel(&rig.fill);
	queue->send = to_kernel(&rig.send);
	queue->spare = rig.umem.spare;
	for (uint32_t frame = 0; frame < FRAMES; frame++) {
		if (frame < RECEIVE)
			rig.umem.owners[frame] = AFXDP_RECEIVES;
		else
			queue->spare[queue->spare_count++] = frame;
	}
	rig.queue = queue;
	return 0;
}

static int teardown(void **state)
{
	int ret;

	(void)state;
	ret = pn_pool_available(rig.pool) != 64 || pn_pool_destroy(rig.pool) ||
	      pn_heap_destroy(rig.heap) || pn_region_destroy(rig.region);
	close(rig.queue->fd);
	free(rig.queue);
	free(rig.umem.area);
	free(rig.umem.owners);
	free(rig.umem.spare);
	return ret;
}

static void name_received(uint64_t address, uint32_t len)
{
	rig.received.descs[rig.received.producer++ % RING] =
		(struct xdp_desc){.addr = address, .len = len};
}

/* What the kernel is given to receive into, in the fill ring since the last look. */
static uint32_t take_filled(uint64_t *addresses)
{
	uint32_t n = 0;

	while (rig.fill.consumer != rig.fill.producer)
		addresses[n++] = rig.fill.addresses[rig.fill.consumer++ % RING];
	return n;
}

/* Each of these makes no sense: nothing is received, and no frame is handed over that is not its.
 */
static void test_senseless_received(void **state)
{
	const struct {
		uint64_t address;
		uint32_t len;
		uint32_t back; /* frames that come back into the ring */
	} bad[] = {
		{FRAMES * FRAME, 60, 0},
		{UINT64_MAX, 60, 0},
		{UINT64_C(1) << 40, 60, 0},
		{RECEIVE * FRAME, 60, 0}, /* one that is ours */
		{2 * FRAME, FRAME + 1, 1},
		{2 * FRAME + 100, FRAME, 1},
		{2 * FRAME, UINT32_MAX, 1},
	};
	uint64_t addresses[RING];
	struct pn_buf *packet;

	(void)state;
	for (uint32_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		name_received(bad[i].address, bad[i].len);
		assert_int_equal(afxdp_rx_copy_burst(rig.queue, &packet, 1), 0);
		assert_int_equal(rig.queue->rx_senseless, i + 1);
		assert_int_equal(take_filled(addresses), bad[i].back);
	}
	/* The first frame was never named, and so never handed over again. */
	name_received(0, 60);
	assert_int_equal(afxdp_rx_copy_burst(rig.queue, &packet, 1), 1);
	assert_int_equal(packet->pkt_len, 60);
	assert_int_equal(take_filled(addresses), 1);
	assert_int_equal(addresses[0], 0);
	pn_buf_free(packet);
}

/* For a long time, in any order: the kernel has each frame once at most. */
static void test_random(void **state)
{
	bool has[FRAMES] = {false};
	uint64_t addresses[RING];

	(void)state;
	for (uint32_t frame = 0; frame < RECEIVE; frame++)
		has[frame] = true;
	for (int round = 0; round < 20000; round++) {
		struct pn_buf *bufs[4];
		uint32_t n, named = pick(4);
		uint16_t got;

		for (uint32_t i = 0; i < named; i++) {
			uint64_t frame = pick(FRAMES + 2);

			name_received(frame * FRAME + (pick(8) ? 0 : pick(FRAME)),
				pick(8) ? 60 : pick(2 * FRAME));
			if (frame < RECEIVE)
				has[frame] = false;
		}
		got = afxdp_rx_copy_burst(rig.queue, bufs, 4);
		for (uint16_t i = 0; i < got; i++)
			assert_in_range(bufs[i]->pkt_len, 1, FRAME);
		pn_buf_free_bulk(bufs, got);
		n = take_filled(addresses);
		for (uint32_t i = 0; i < n; i++) {
			uint64_t frame = addresses[i] / FRAME;

			assert_int_equal(addresses[i] % FRAME, 0);
			assert_true(frame < RECEIVE && !has[frame]);
			has[frame] = true;
		}
	}
	assert_true(rig.queue->rx_senseless > 0);
	assert_true(rig.port.rx_counts[0].packets > 0);
}

/* Frames that were never sent are not done. */
static void test_senseless_completed(void **state)
{
	static const uint64_t bad[] = {0, FRAMES * FRAME, UINT64_MAX, (RECEIVE + 1) * FRAME};
	struct pn_buf *packet;

	(void)state;
	assert_int_equal(pn_pool_get(rig.pool, &packet, 1), 0);
	memset(pn_buf_append(packet, 60), 1, 60);
	assert_int_equal(afxdp_tx_burst(&rig.queue->tx, &packet, 1), 1);
	assert_int_equal(rig.send.producer, 1);
	for (uint32_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t address =
			bad[i] == (RECEIVE + 1) * FRAME && rig.send.descs[0].addr == bad[i]
				? bad[i] + FRAME
				: bad[i];

		rig.completed.addresses[rig.completed.producer++ % RING] = address;
		assert_int_equal(afxdp_tx_burst(&rig.queue->tx, NULL, 0), 0);
		assert_int_equal(rig.queue->tx_senseless, i + 1);
		assert_int_equal(rig.queue->spare_count, FRAMES - RECEIVE - 1);
		/* A count that ends at 0 all the same: nobody waits for what is not there. */
		rig.queue->in_flight = 1;
	}
	rig.completed.addresses[rig.completed.producer++ % RING] = rig.send.descs[0].addr;
	assert_int_equal(afxdp_tx_burst(&rig.queue->tx, NULL, 0), 0);
	assert_int_equal(rig.queue->spare_count, FRAMES - RECEIVE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_senseless_received, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_senseless_completed, setup, teardown),
	};

	return cmocka_run_group_tests_name("afxdp_rings", tests, NULL, NULL);
}
