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
#include "pn_pci.h"

/* Destination of generated frames, of one port or (port < 0) of those not named. */
struct eth_peer {
	int port;
	uint8_t mac[MAC_LEN];
};

/* Of a device that asks for one. */
struct vf_token {
	bool given;
	uint8_t bytes[PN_PCI_VF_TOKEN_LEN];
};

struct options {
	char **devices;
	struct vf_token *tokens; /* of each */
	size_t device_count;
	struct eth_peer *peers;
	size_t peer_count;

	char *backend;             /* NULL: auto */
	char *node;                /* NULL: the backend's own */
	bool broker;               /* cards come from pinion-broker */
	const char *broker_socket; /* NULL: the usual one */
	const char *hugetlbfs;
	uint64_t mem;       /* bytes; 0: what is needed */
	uint64_t page_size; /* bytes; 0: the library's choice */
	uint32_t pool;      /* buffers; 0: what is needed */
	/* What the companion module pins the memory for first, "process" or "user"; NULL: not. */
	const char *module_pin;

	unsigned int *cpus; /* one loop on each; none: one loop where the program runs */
	unsigned int cpu_count;

	const struct forward_mode *mode;
	uint16_t burst;
	uint16_t rxd, txd;
	uint16_t rxq, txq; /* queues of each port */
	uint16_t mtu;      /* 0: as it is */
	uint16_t frame_size;
	uint32_t tx_first; /* bursts */
	bool promiscuous;
	bool wait; /* sleep while nothing comes */

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

/* Queues of each port that the mode uses: a stream has one of them at each end. */
unsigned int options_queues(const struct options *options);

/* Print --help. */
void print_help(void);

#endif
