/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A network of a test's own: a namespace with the two ends of a wire, and a plain packet socket at
 * one end to send and receive by, while a port is at the other.
 */
#ifndef NETNS_H
#define NETNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port_conformance.h"

#define NETNS_PORT "pnA"
#define NETNS_PEER "pnB"

/*
 * Go into a network namespace of its own, by a user namespace where that takes one, and stay there.
 * NULL, or why it cannot be had.
 */
const char *netns_enter(void);
/* Run "ip ARGUMENTS"; the result of it. */
int netns_ip(const char *arguments);
/* The wire, of so many queues: both ends up. Asserts. */
void netns_wire(unsigned int queues);
void netns_cut(void);
/* Wait until an interface has or has not a carrier. */
void netns_settle(const char *iface, bool up);

/* A socket at an interface: sends what it is given, receives what the other end sends. */
int netns_socket(const char *iface);
/* The same with a virtio_net header before each frame. */
int netns_socket_vnet(const char *iface);
void netns_send(int fd, const void *frame, size_t len);
/* A frame within two seconds; asserts that there is one. */
size_t netns_receive(int fd, void *frame, size_t size);
void netns_empty(int fd);
/* An Ethernet frame with its number in it, of so many bytes. */
void netns_frame(unsigned char *frame, size_t len, uint32_t number);

/* Wait a moment for a packet; news of the link, which would wake, are heard first. */
void netns_idle(struct pn_port *port, int ms);

/* Parts of struct conformance for a port at the wire; own points to a netns_socket(). */
uint32_t netns_feed(struct conformance *driver, struct pn_port *port, uint32_t n);
void netns_drain(struct conformance *driver, struct pn_port *port);

/* Let the kernel fill in the checksums of what leaves by an interface of a wire, as a card does. */
void netns_fill_checksums(const char *iface);
/* The same: what the port has sent, with its VLAN tag where the wire has it. */
uint32_t netns_sent(struct conformance *driver, unsigned char *frame, uint32_t size);

/* Run in a child, which may change what a process cannot change back. What it returns; a crash or
 * a failed assertion is 99. */
int netns_in_child(int (*run)(void *arg), void *arg);
/* Skip the test; in a child: return 77. */
void netns_skip(void);

#endif
