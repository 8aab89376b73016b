/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes frames to send: Ethernet, IPv4 and UDP with correct lengths and checksums, all alike.
 */
#ifndef TESTPMD_TXGEN_H
#define TESTPMD_TXGEN_H

#include <stdint.h>

#include "pn_pkt.h"

#define FRAME_MIN 60
#define FRAME_MAX 1514

struct txgen {
	struct pn_pool *pool;
	uint16_t len;
	uint8_t frame[FRAME_MAX];
};

/* Prepare the frame: len bytes without FCS, from FRAME_MIN to FRAME_MAX. */
void txgen_init(struct txgen *gen, struct pn_pool *pool, const uint8_t source[6],
	const uint8_t destination[6], uint16_t len);

/* Make count frames, or none if the pool has not that many buffers. Returns how many. */
uint16_t txgen_burst(struct txgen *gen, struct pn_buf **bufs, uint16_t count);

#endif
