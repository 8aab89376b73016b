/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checksums that were left to a card which is none: the Internet checksum over the rest of a
 * packet.
 */
#ifndef CHECKSUM_H
#define CHECKSUM_H

#include "pn_pkt.h"

/* As the end: the packet's. */
#define CHECKSUM_ALL UINT32_MAX

/*
 * Fill in a checksum as a card does: the sum from the byte at start up to the one at end, which
 * covers what the sender has put in its place (the sum of the pseudo header), goes to start +
 * offset. A packet that does not reach as far stays as it is.
 */
void checksum_fill(struct pn_buf *packet, uint32_t start, uint32_t end, uint32_t offset);

#endif
