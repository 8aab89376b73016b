/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Handing out, and taking back: from a request that makes sense to files, a limit and leases in the
 * ledger, or to nothing; and from a lease that ends to a device that is free again.
 */
#ifndef BROKER_LEASE_H
#define BROKER_LEASE_H

#include "handed_out.h"
#include "policy.h"
#include "vfio.h"

/*
 * Grant an open request: files are opened, the limit of the process is set, the ledger is written.
 * 0: handout is to be sent and closed; reply has backend, count, memory and dev_id. A negative
 * errno with words: nothing has changed.
 */
int lease_grant(struct ledger *ledger, const struct policy *policy, struct peer *peer,
	uint64_t connection, const struct pn_broker_wire_request *request, struct handout *handout,
	struct pn_broker_wire_reply *reply, struct why *why);

/*
 * The leases of a request end: the devices it names, or all of the process. 0, or -ENOENT with
 * words if it does not have a device that is named: nothing has changed then.
 */
int lease_release(struct ledger *ledger, const struct peer *peer,
	const struct pn_broker_wire_request *request, struct why *why);

/* All leases of a connection end. */
void lease_end_connection(struct ledger *ledger, uint64_t connection);
/* This one ends: its process has. */
void lease_end(struct ledger *ledger, struct lease *lease);

/* All leases end; those are left whose device somebody has open. 0, or -EIO after a complaint. */
int lease_end_all(struct ledger *ledger);

/* Look after those that linger. Milliseconds until there is something to do again, -1: nothing. */
int lease_retry(struct ledger *ledger);

#endif
