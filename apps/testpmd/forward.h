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

/* One port's packets on their way to another port. Used by the forwarding thread only. */
struct stream {
	struct pn_port *rx;
	struct pn_port *tx;
	struct txgen *generator; /* for modes that make packets, and --tx-first */
	uint64_t *budget;        /* packets still wanted, of all streams */
	unsigned int tx_index;   /* port that sends them */
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

/* A way of forwarding: a new one is a function and a line in the table of forward.c. */
struct forward_mode {
	const char *name;
	const char *summary;
	void (*run)(struct stream *stream); /* once around */
	bool sends;
	bool generates; /* makes its own packets: sends from each port to the wire */
	bool wire;      /* two ports are the two ends: passes on everything, loses nothing */
};

/* The mode of that name, or NULL. */
const struct forward_mode *forward_mode_find(const char *name);
/* Modes in the order of the help, NULL past the last. */
const struct forward_mode *forward_mode_get(unsigned int index);

struct testpmd;

/* Make the streams. 0 or a negative errno. */
int forward_prepare(struct testpmd *t);
/* Send --tx-first bursts, then forward until something ends it. What is held then goes back to the
 * pool, counted as dropped, unless the rings take it soon. */
void forward_run(struct testpmd *t);
void forward_release(struct testpmd *t);

#endif
