/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ending what is handed out, from outside of the broker: for 'pinion revoke --all'.
 */
#ifndef BROKER_TAKE_BACK_H
#define BROKER_TAKE_BACK_H

#include "handed_out.h"

/*
 * A broker that runs is told to take all back; what one has left that does not run is ended in its
 * place. Then ledger is what the file holds: its leases that are LEASE_LINGERING stay with whoever
 * has the device open; one that is LEASE_HELD was handed out meanwhile. For root. 0, also if there
 * never was a broker; a negative errno with words. The caller ends with ledger_close().
 */
int take_back(struct ledger *ledger, struct why *why);

#endif
