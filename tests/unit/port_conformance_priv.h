/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the conformance suite share: ports with a pool, packets, and what comes in.
 */
#ifndef PORT_CONFORMANCE_PRIV_H
#define PORT_CONFORMANCE_PRIV_H

#include "port_conformance.h"

#define BURST 32

/* The driver's pool; conformance_close() ends it, and the port. */
void conformance_make_pool(struct conformance *driver, uint32_t count);
/* A started port with a pool of so many buffers. */
struct pn_port *conformance_open(struct conformance *driver, uint32_t count);
/* Every buffer must be back. */
void conformance_close(struct conformance *driver, struct pn_port *port);
/* Start it, and wait until its link is up. */
void conformance_start(struct conformance *driver, struct pn_port *port);

struct pn_buf *conformance_packet(struct conformance *driver, uint16_t len);
/* How many of these came, each of them whole; adds their bytes. */
uint32_t conformance_receive(struct pn_port *port, uint32_t want, uint64_t *bytes);
struct pn_port_stats conformance_stats(struct pn_port *port);

/* All checks that are about packets. */
void conformance_packets(struct conformance *driver);

#endif
