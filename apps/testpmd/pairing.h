/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which port sends what another one receives: 0 and 1, 2 and 3, ...; a last one without a partner
 * sends back what it receives.
 */
#ifndef TESTPMD_PAIRING_H
#define TESTPMD_PAIRING_H

static inline unsigned int pairing_peer(unsigned int port, unsigned int count)
{
	unsigned int peer = port ^ 1u;

	return peer < count ? peer : port;
}

#endif
