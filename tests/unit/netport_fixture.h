/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A started port at one end of a wire (netns.h), with a pool, and what tests ask of it. Functions
 * assert.
 */
#ifndef NETPORT_FIXTURE_H
#define NETPORT_FIXTURE_H

#include "netns.h"

/* Of the started port, and the socket at the other end. */
extern struct pn_pool *netport_pool;
extern int netport_peer;

/* Buffers of the pool, for ports that are started from now on. */
extern uint32_t netport_buffers;

/* Parts of struct conformance. */
struct pn_port *netport_conformance_open(struct conformance *driver);
void netport_conformance_close(struct conformance *driver, struct pn_port *port);

struct pn_port *netport_open(const char *spec);
/* A wire and a started port at it, with buffers of this data room (0: the usual one). */
struct pn_port *netport_start(const char *spec, uint16_t queues, uint16_t data_room);
/* Without a wire: the socket is at this interface, which is there when the port runs. */
struct pn_port *netport_start_at(
	const char *spec, const char *peer, uint16_t queues, uint16_t data_room);
/* Close it: every buffer must be back. */
void netport_end(struct pn_port *port);
/* The next packet, which comes within two seconds. */
struct pn_buf *netport_receive(struct pn_port *port, uint16_t queue);
/* Send up to 32 frames of 60 bytes; how many were accepted. */
uint16_t netport_send(struct pn_port *port, uint16_t n);
/* A frame from the other end, and the same back: every byte is as it was. */
void netport_echo(struct pn_port *port, uint16_t len, uint32_t number);
/* A short frame is padded, one that is longer than the MTU is refused, and the next one goes. */
void netport_lengths_sent(struct pn_port *port);
/* In a child, as another user with a namespace of its own; NULL or what else is missing. 0; 77: it
 * cannot be had. */
int netport_as_user(void (*run)(void), const char *(*missing)(void));
/* 0, or 1 if it cannot be given up. */
int netport_drop_capability(unsigned int capability);
/* netns_enter() where there is AF_XDP; NULL or why not, which is printed. */
const char *netport_enter_xdp(void);
/* Without capabilities the port is refused in one line that names the one that is missing. Asserts.
 */
void netport_refused_without(const char *spec, const char *capability);
/* One thread receives, one sends, and this one asks, all at once: nothing is lost or miscounted. */
void netport_threads(struct pn_port *port);
/* What this thread has had of a processor. */
uint64_t netport_cpu_ns(void);
uint64_t netport_xstat(struct pn_port *port, const char *name);
struct pn_port_stats netport_stats(struct pn_port *port);

#endif
