/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The data path: streams that move packets from one port's receive queue to another's transmit
 * queue, and the ways in which they do it.
 */
#ifndef TESTPMD_FORWARD_H
#define TESTPMD_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "pn_pkt.h"
#include "pn_port.h"

/* Most packets in a burst. */
#define BURST_MAX 512

struct txgen;

/*
 * Packets still wanted: of one loop alone, or shared by several, which then take and give back by
 * atomic operations.
 */
struct budget {
	uint64_t left; /* UINT64_MAX: no end */
	uint64_t done; /* of a shared one: received or generated so far */
	bool shared;
} __attribute__((aligned(64)));

/* Packets of one queue of a port on their way to another port. Used by one forwarding thread only.
 */
struct stream {
	struct pn_port *rx;
	struct pn_port *tx;
	struct txgen *generator; /* for modes that make packets, and --tx-first */
	struct budget *budget;
	unsigned int tx_index; /* port that sends them */
	uint16_t queue;        /* at both ends */
	uint16_t burst;
	/* Packets that wait for room in the transmit ring: held of them, from bufs[first]. */
	uint16_t first;
	uint16_t held;

	/* received + generated is always sent + dropped + consumed + held */
	uint64_t received;
	uint64_t generated;
	uint64_t sent;
	uint64_t dropped;  /* no room in the transmit ring */
	uint64_t consumed; /* by a mode that sends nothing */

	/* Copied in and out by cache lines. */
	struct pn_buf *bufs[BURST_MAX] __attribute__((aligned(64)));
} __attribute__((aligned(64)));

/* A way of forwarding: a new one is a function, named with BOTH(), and a line in the table of
 * forward.c. */
struct forward_mode {
	const char *name;
	const char *summary;
	void (*run)(struct stream *stream);        /* once around */
	void (*run_shared)(struct stream *stream); /* with a shared budget */
	bool sends;
	bool generates; /* makes its own packets: sends from each port to the wire */
	bool wire;      /* two ports are the two ends: passes on everything, loses nothing */
};

/* The mode of that name, or NULL. */
const struct forward_mode *forward_mode_find(const char *name);
/* Modes in the order of the help, NULL past the last. */
const struct forward_mode *forward_mode_get(unsigned int index);

/*
 * A loop over some of the streams: the program's own thread runs the only one, or each runs on a
 * processor of its own (--cores).
 */
struct core {
	struct testpmd *t;
	struct pn_worker *worker; /* NULL: the program's own thread */
	struct stream *streams;
	unsigned int first, count; /* of all streams */
	struct budget budget;
	uint64_t cpu_ns; /* on a processor while it forwarded */
} __attribute__((aligned(64)));

struct testpmd;

/* Make the streams. 0 or a negative errno. */
int forward_prepare(struct testpmd *t);
/* Send --tx-first bursts, then forward until something ends it. What is held then goes back to the
 * pool, counted as dropped, unless the rings take it soon. */
void forward_run(struct testpmd *t);
void forward_release(struct testpmd *t);

/* Rounds of a loop between two looks at the clock, and at whether there is nothing to do. */
#define LOOPS_PER_LOOK 16

/* wait.c: sleep while nothing comes, if that is wanted. Used by the thread of its core. */
struct waiter {
	bool on;
	uint64_t received; /* at the last look */
	unsigned int count;
	struct pn_port *ports[PN_PORT_WAIT_MAX];
};

void waiter_init(struct waiter *waiter, const struct core *core);
void waiter_sleep(struct waiter *waiter, const struct core *core);

/* cores.c: forward on --cores, while this thread keeps the time. */
void cores_run(struct testpmd *t);

#endif
