/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What every port does, as checks that any driver's test can run: states and refusals, bursts,
 * counters, packets that make no sense, a pool run dry, a queue over-filled, and that every buffer
 * comes back.
 */
#ifndef PORT_CONFORMANCE_H
#define PORT_CONFORMANCE_H

#include "pn_pkt.h"
#include "pn_port.h"

#define CONFORMANCE_BUFFERS 512

/* How a driver is brought up, and what its port is connected to. */
struct conformance {
	const char *name;
	/* A stopped port without queues, whatever it needs around it made too. */
	struct pn_port *(*open)(struct conformance *driver);
	/* Closes it, and ends what is around it. */
	void (*close)(struct conformance *driver, struct pn_port *port);
	/*
	 * Let n packets, of any content from 1 byte on, come in at the port, which is started.
	 * Returns how many will be received, which is below n where its queue is full.
	 */
	uint32_t (*feed)(struct conformance *driver, struct pn_port *port, uint32_t n);
	/* Take away what the port has sent, so that there is room again. */
	void (*drain)(struct conformance *driver, struct pn_port *port);
	/* If not NULL: the next frame that the port has sent, as a wire has it; its length. */
	uint32_t (*sent)(struct conformance *driver, unsigned char *frame, uint32_t size);
	/* If not NULL: called whenever the port was started, until its link is up. */
	void (*settle)(struct conformance *driver, struct pn_port *port);
	struct pn_pool *pool; /* made by the checks; feed() may take from it */
	void *own;
	uint32_t tx_room;  /* packets that it takes before drain(), at least; 0: without end */
	bool rx_endless;   /* packets come without being fed */
	bool rx_from_pool; /* it receives into buffers of the pool when it is polled */
	bool loops;        /* what it sends it receives */
};

/* With nothing to receive, waiting for so long ends when the time is over; asserts. */
void conformance_sleeps(struct pn_port *port, int ms);

/* None of these opens a port; asserts. */
void conformance_refused(const char *const *specs, size_t count);

/* Run all checks; they assert. */
void conformance_run(struct conformance *driver);

#endif
