/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A message of a client: is it a request, and what is wrong with it if not?
 */
#ifndef BROKER_REQUEST_H
#define BROKER_REQUEST_H

#include <stddef.h>

#include "why.h"

/*
 * Take a message of len bytes for a request. 0: every field of it makes sense, and addresses are
 * whole, different and terminated. -EPROTO: why, in words; request is not to be used then.
 */
int request_parse(
	struct pn_broker_wire_request *request, const void *message, size_t len, struct why *why);

#endif
