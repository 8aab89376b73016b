/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What status.c and status_json.c share: the report, and who pins memory for which device.
 */
#ifndef PINION_STATUS_H
#define PINION_STATUS_H

#include "commands.h"
#include "handed_out.h"
#include "pn_pins.h"
#include "report.h"

/* Pages that a process has charged in domains with this device; 0: none, or it has no such domain.
 */
uint64_t status_pinned(
	const struct pn_pins_process *process, const char *address, size_t *mappings);

/*
 * Read what pinion-broker has handed out, and add its devices to the report, and as problems what a
 * broker left that does not run. The caller ends with ledger_close(). 0 or -ENOMEM.
 */
int status_broker(struct host *host, struct host_report *report, struct ledger *ledger);
/* Where the broker's ledger of that machine is. Returns path. */
const char *status_ledger_path(const struct host *host, char path[PATH_MAX]);
void status_print_leases(const struct ledger *ledger, const char *address);
/* Of a device: an object or null. Of the machine: who wrote the ledger, or null. */
json_t *status_lease_json(const struct ledger *ledger, const char *address);
json_t *status_broker_json(const struct ledger *ledger);

/* The document of 'pinion status --json', schema pinion.status/1; pins may be NULL. */
json_t *status_json(const struct host_report *report, const struct pn_pins_report *pins,
	const struct ledger *ledger);

#endif
