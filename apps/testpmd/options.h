/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What pinion-testpmd was asked to do.
 */
#ifndef TESTPMD_OPTIONS_H
#define TESTPMD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "forward.h"
#include "parse.h"

/* Destination of generated frames, of one port or (port < 0) of those not named. */
struct eth_peer {
	int port;
	uint8_t mac[MAC_LEN];
};

struct options {
	char **devices;
	size_t device_count;
	struct eth_peer *peers;
	size_t peer_count;

	char *backend; /* NULL: auto */
	char *node;    /* NULL: the backend's own */
	const char *hugetlbfs;
	uint64_t mem;       /* bytes; 0: what is needed */
	uint64_t page_size; /* bytes; 0: the library's choice */
	uint32_t pool;      /* buffers; 0: what is needed */

	const struct forward_mode *mode;
	uint16_t burst;
	uint16_t rxd, txd;
	uint16_t mtu; /* 0: as it is */
	uint16_t frame_size;
	uint32_t tx_first; /* bursts */
	bool promiscuous;

	uint64_t count; /* packets; 0: no end */
	uint64_t duration_ms;
	uint64_t warmup_ms;
	uint64_t period_ms;

	bool json;
	bool verbose;
};

enum parse_result {
	PARSE_RUN,  /* go on */
	PARSE_DONE, /* --help or --version: it has been printed */
	PARSE_BAD,  /* said on stderr, and kept as the run's error */
};

struct testpmd;

/* Read the command line into t->options. */
enum parse_result options_parse(struct testpmd *t, int argc, char **argv);
void options_free(struct options *options);

/* Print --help. */
void print_help(void);

#endif
