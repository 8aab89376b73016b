/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What tests of ring ports share: ports that are named in a folder of the test's own, with a pool,
 * and packets that follow from their number. Functions assert.
 */
#ifndef RING_ENDS_H
#define RING_ENDS_H

#include "pn_pkt.h"
#include "pn_port.h"

#define BURST 32

/* Of the sockets; for cmocka: it is made, and must be empty in the end. */
extern char ends_folder[];
int ends_setup(void **state);
int ends_teardown(void **state);

/* A pool and what it takes. */
struct memory {
	struct pn_region *region;
	struct pn_heap *heap;
	struct pn_pool *pool;
};

void ends_make(struct memory *memory);
/* Every buffer must be back. */
void ends_unmake(struct memory *memory);

struct pn_port *ends_open(const char *spec);
struct pn_port *ends_start(const char *spec, struct memory *memory);
bool ends_up(struct pn_port *port);
/* Wait until it is up or down; other may be NULL. */
void ends_wait_link(struct pn_port *port, struct pn_port *other, bool up);

/* A packet of so many bytes, all of which follow from its number. */
struct pn_buf *ends_packet(struct pn_pool *pool, uint16_t len, uint32_t number);
void ends_check_packet(const struct pn_buf *packet, uint32_t len, uint32_t number);
/* Packets of these numbers; how many were accepted. */
uint32_t ends_send(struct pn_port *port, struct pn_pool *pool, uint32_t from, uint32_t n);
/* How many of these come back, each with the next number. */
uint32_t ends_receive(struct pn_port *port, uint32_t from, uint32_t want);

#endif
