/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ledgers of real processes, for tests of reports: rules as the backends have them, pins, children
 * that hold ledgers, and what a report finds.
 */
#ifndef REPORT_FIXTURE_H
#define REPORT_FIXTURE_H

#include "pins_priv.h"

extern const struct pn_charge_rule rule_type1, rule_iommufd, rule_noiommu;

/* A directory for the ledgers of a test program. */
extern char ledgers[];
int ledgers_make(void **state);
int ledgers_remove(void **state);
/* For a teardown: it is empty again. */
int ledgers_clear(void **state);

/* A ledger in it, of this process. */
struct pn_ledger *ledger_of(const struct pn_charge_rule *rule, const char *node, bool exempt);
/* Record len bytes as mapped, charged as the ledger's rule says. */
void ledger_map(
	struct pn_ledger *ledger, uint32_t counters, uint64_t vaddr, uint64_t iova, uint64_t len);

/* Run it in a child, which then waits to be killed; returns when it has run. */
pid_t child_start(void (*run)(void *arg), void *arg);
void child_end(pid_t pid);
/* Run it in a child that ends; its result. Checks of cmocka do not work in it. */
int child_result(int (*run)(void *arg), void *arg);

/* For child_start(): 64 KiB on type1, in a ledger that nobody else may read. */
void hold_for_oneself(void *arg);

/* For good, so in a child. 0, or something else if it cannot be done. */
#define STRANGER_UID 61234u
int become_stranger(void);
int own_mounts(void);

struct pn_pins_report *report_of_ledgers(void);
const struct pn_pins_process *process_in(const struct pn_pins_report *report, pid_t pid);
/* The one with this cause and pid (0: of a user); NULL: none. */
const struct pn_finding *finding_of(
	const struct pn_pins_report *report, const char *cause, pid_t pid);
bool has_note(const struct pn_pins_report *report, const char *part);

#endif
