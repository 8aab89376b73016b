/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues of the e1000 driver on plain memory, and a device in software that reads and writes their
 * real rings: it fills buffers, sends what is queued, and remembers what must come of both.
 */
#ifndef E1000_RIG_H
#define E1000_RIG_H

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

/* Queues of so many descriptors on a device of this model, and a pool of so many buffers. */
void rig_init(struct rig *r, uint16_t model, uint16_t rxd, uint16_t txd);
void rig_init_pool(struct rig *r, uint16_t model, uint16_t rxd, uint16_t txd, uint32_t count);
void rig_init_offloads(
	struct rig *r, uint16_t model, uint16_t rxd, uint16_t txd, uint32_t count, bool offloads);
/* Every buffer must be back. */
void rig_fini(struct rig *r);

/* A number below this; true one time in so many. The same everywhere for the same seed. */
uint32_t rig_pick(struct rig *r, uint32_t below);
bool rig_chance(struct rig *r, uint32_t in);

void fifo_put(struct fifo *fifo, uint32_t len, uint8_t fill);
/* Asserts that there is one. */
struct expected fifo_get(struct fifo *fifo);

/* The device's side of the receive ring: descriptors that it may fill. */
uint32_t rig_rx_available(struct rig *r);
/* What it writes back. */
uint64_t rig_rx_meta(struct rig *r, uint32_t len, bool eop, bool error);
/* Fill the next armed descriptor's buffer and write the descriptor back. */
void rig_rx_write(struct rig *r, uint32_t len, uint8_t fill, bool eop, bool error);
/* A good frame of so many bytes in as many buffers as it takes. False: not enough descriptors. */
bool rig_rx_frame(struct rig *r, uint32_t len, bool error);
/* Its side of the transmit ring: send up to n descriptors. How many reports were asked for. */
uint32_t rig_tx_process(struct rig *r, uint32_t n);

/* The application's side. */
uint16_t rig_rx_burst(struct rig *r, struct pn_buf **bufs, uint16_t count);
/* A packet of segs segments of len bytes each. NULL when the pool has not that many. */
struct pn_buf *rig_packet(struct rig *r, uint16_t segs, uint16_t len, uint8_t fill);
/* Every byte of a packet, and that its numbers agree. */
void rig_check_packet(const struct pn_buf *packet, struct expected expected);
/* Every buffer is in one place. */
void rig_check_ownership(struct rig *r);

#endif
