/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ring port whose other end is in another process.
 */
#ifndef RING_SHARED_PORT_H
#define RING_SHARED_PORT_H

#include "soft.h"

struct ring_shared_opts {
	const char *name;
	bool listens;
	uint64_t size; /* slots */
	uint64_t slot; /* bytes */
};

int ring_shared_open(
	struct pn_port_dev **out, const char *spec, const struct ring_shared_opts *opts);

#endif
