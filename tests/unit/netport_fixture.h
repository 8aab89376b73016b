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

/* netns_enter(). missing, if not NULL, tells what else is not there, or NULL. What is missing is
 * printed. */
void netport_enter(const char *(*missing)(void));
/* The same, where there is AF_XDP. */
void netport_enter_xdp(void);
/* Skips the test if something is missing; so does starting a port. */
void netport_need(void);

/* A driver to run the conformance suite on; fd: a place for its socket at the other end. */
struct conformance netport_driver(const char *spec, int *fd);

struct pn_port *netport_open(const char *spec);
/* Another port with the pool of the started one, configured. */
struct pn_port *netport_open_beside(const char *spec);
/* A wire and a started port at it, with buffers of this data room (0: the usual one). */
struct pn_port *netport_start(const char *spec, uint16_t queues, uint16_t data_room);
/* Without a wire: the socket is at this interface, which is there when the port runs. */
struct pn_port *netport_start_at(
	const char *spec, const char *peer, uint16_t queues, uint16_t data_room);
/* Start it again with this MTU. */
void netport_change_mtu(struct pn_port *port, uint16_t mtu);
/* Close it: every buffer must be back. */
void netport_end(struct pn_port *port);
/* The same of a port whose interface is gone: it does nothing, and never starts again. */
void netport_end_gone(struct pn_port *port);
/* Take the port's interface down, which wakes who waits, until the link is asked for. */
void netport_down(struct pn_port *port);
/* Up, with a carrier. */
void netport_up(void);
/* So many numbered frames from the other end. */
void netport_feed(uint32_t n, size_t len);
/* What all queues receive, until there are so many packets or none comes any more; got: how many
 * of each queue. */
uint32_t netport_gather(struct pn_port *port, uint16_t queues, uint32_t packets, uint32_t *got);
/* Frames of 60 bytes come out at the other end. */
void netport_arrive(uint32_t n);
/* Each queue sends. */
void netport_send_each(struct pn_port *port, uint16_t queues);
/* The next packet, which comes within two seconds. */
struct pn_buf *netport_receive(struct pn_port *port, uint16_t queue);
/* Send up to 32 frames of 60 bytes; how many were accepted. */
uint16_t netport_send(struct pn_port *port, uint16_t n);
/* A frame from the other end, and the same back: every byte is as it was. */
void netport_echo(struct pn_port *port, uint16_t len, uint32_t number);
/* One of each length, without errors. */
void netport_echo_each(struct pn_port *port, const uint16_t *lengths, size_t count);
/* A short frame is padded, one that is longer than the MTU is refused, and the next one goes. */
void netport_lengths_sent(struct pn_port *port);
/* In a child, which returns 0, or 77 to skip the test; the wire is cut after it. */
void netport_in_child(int (*run)(void *arg));
/* In a child, as another user with a namespace of its own; missing: as for netport_enter(), or
 * NULL. Skips the test if that cannot be had. */
void netport_as_user(void (*run)(void), const char *(*missing)(void));
/* 0, or 1 if it cannot be given up. */
int netport_drop_capability(unsigned int capability);
/* Without capabilities the port is refused in one line that names the one that is missing. Asserts.
 */
void netport_refused_without(const char *spec, const char *capability);
/* One thread receives, one sends, and this one asks, all at once: nothing is lost or miscounted. */
void netport_threads(struct pn_port *port);
/* What this thread has had of a processor. */
uint64_t netport_cpu_ns(void);
uint64_t netport_xstat(struct pn_port *port, const char *name);
struct pn_port_stats netport_stats(struct pn_port *port);
struct pn_port_link netport_link_now(struct pn_port *port);

#endif
