/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reason of a refusal, as the client will read it.
 */
#ifndef BROKER_WHY_H
#define BROKER_WHY_H

#include "pn_broker_protocol.h"

struct why {
	char text[PN_BROKER_TEXT];
};

/* Put it into words, cut to the room there is, and return -err. */
int because(struct why *why, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
