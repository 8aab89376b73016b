/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state of one run of pinion-testpmd, and what its files do with it. Set-up is in setup.c, the
 * data path in forward.c, counters and rates in stats.c, what people read in report.c, and what
 * programs read in document.c.
 */
#ifndef TESTPMD_H
#define TESTPMD_H

#include <jansson.h>
#include <signal.h>
#include <stdio.h>

#include "clock.h"
#include "forward.h"
#include "options.h"
#include "pinion.h"
#include "stats.h"

struct port {
	struct pn_port *port;
	struct pn_pci_info pci;
	struct pn_port_info info;
	struct pn_port_link link;
	struct pn_port_stats stats; /* at the end of the run */
	uint64_t tx_dropped;        /* had no room in its transmit ring */
	unsigned int peer;          /* port that sends what this one receives */
	bool started;
};

/* What ended the run. */
enum stop_reason {
	STOP_NONE,
	STOP_SIGNAL,
	STOP_DURATION,
	STOP_COUNT,
	STOP_OUTPUT, /* standard output cannot be written */
	STOP_ERROR,
};

struct testpmd {
	struct options options;
	FILE *out; /* for people: stdout, unless that carries the JSON document */

	struct pn_broker *broker;
	struct pn_domain *domain;
	struct pn_region *region;
	struct pn_pinned_region *region_pin; /* by the companion module, if asked for */
	struct pn_heap *heap;
	struct pn_pool *pool;
	uint64_t iova; /* of the region */
	bool mapped;

	struct port *ports;
	unsigned int port_count;
	struct stream *streams; /* of queue 0 one for each port, then of queue 1, ... */
	unsigned int stream_count;
	struct core *cores; /* loops over them */
	unsigned int core_count;

	struct clock clock;
	struct stats stats;
	enum stop_reason stop;
	struct pn_pins_report *pins;

	char error[2 * PN_ERROR_MAX]; /* the first that was said */
	int status;                   /* exit status so far */
};

/* The signal that asked for the end, or 0. Set by the handler in main.c. */
extern volatile sig_atomic_t stop_signal;

/* Say what went wrong, keep it as the run's error, and make the exit status 1. Returns err. */
int fail(struct testpmd *t, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same for a command line that makes no sense: exit status 2. Returns -EINVAL. */
int usage_error(struct testpmd *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The library's log as the options want it. */
void set_log_level(const struct testpmd *t);

/* setup.c: find, make, open and start everything in order; say what there is. 0 or an errno. */
int setup(struct testpmd *t);
/* Undo what setup() did as far as it got, in the opposite order. */
void teardown(struct testpmd *t);

/* report.c: for people. */
void report_title(struct testpmd *t);
void report_domain(struct testpmd *t);
void report_memory(struct testpmd *t);
void report_pool(struct testpmd *t);
void report_port(struct testpmd *t, unsigned int index);
void report_limits(struct testpmd *t);
void report_link_wait(struct testpmd *t, unsigned int up, unsigned int seconds);
void report_links(struct testpmd *t);
void report_forwarding(struct testpmd *t);
void report_sample(struct testpmd *t, const struct sample *sample);
void report_totals(struct testpmd *t);
void report_pins(struct testpmd *t);

/* Why the run ended, in words. */
const char *stop_text(const struct testpmd *t);

/* document.c, for programs: what there is to tell, while it is there. NULL if memory is out. */
json_t *document_make(struct testpmd *t);
/* Add how it ended. document may be NULL: then there was no run, and the error is all there is. */
json_t *document_finish(const struct testpmd *t, json_t *document);

#endif
