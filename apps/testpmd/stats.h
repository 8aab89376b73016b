/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters over time: samples taken every --stats-period, and mean rates over the measured part of
 * the run.
 */
#ifndef TESTPMD_STATS_H
#define TESTPMD_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "pn_port.h"

/* Of one port, over some time. */
struct rates {
	double rx_pps, rx_bps; /* bits without FCS */
	double tx_pps, tx_bps;
};

/* What the counters were at one time. */
struct snapshot {
	uint64_t ns;                 /* clock_ns() */
	struct pn_port_stats *ports; /* one a port */
};

/* The rates since the sample before. */
struct sample {
	double seconds; /* since the start of forwarding */
	struct rates *ports;
};

struct stats {
	uint64_t start_ns, end_ns;   /* of forwarding */
	uint64_t cpu_ns;             /* on a processor meanwhile */
	struct snapshot measured;    /* where the mean rates start: after --warmup */
	struct snapshot last_sample; /* where the next sample starts */
	struct snapshot now;
	struct sample *samples; /* kept for the JSON document only */
	size_t sample_count, sample_room;
	uint64_t samples_lost; /* memory was out */
	struct rates *mean;    /* one a port, at the end */
	double mean_seconds;
	/* Events still to come, times of clock_ns(); UINT64_MAX: none. */
	uint64_t next_sample_ns, warm_ns, stop_ns;
};

/* Of all ports. received + generated is sent + dropped + consumed. */
struct totals {
	uint64_t received, generated;
	uint64_t sent, dropped, consumed;
	struct pn_port_stats ports; /* the sums of the ports' own counters */
};

struct testpmd;

int stats_prepare(struct testpmd *t);
void stats_free(struct testpmd *t);

/* Forwarding starts: set the first deadline. */
void stats_start(struct testpmd *t);
/* A deadline has passed: do what is due, and set the next. */
void stats_tick(struct testpmd *t);
/* Forwarding has ended. */
void stats_stop(struct testpmd *t);
/* Wait, but not long, until the devices have sent what they were given; then read the counters. */
void stats_settle(struct testpmd *t);
void stats_totals(const struct testpmd *t, struct totals *totals);

#endif
