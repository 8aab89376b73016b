/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What tests of ledgers share: a directory for them, what is in it, and a child that writes until
 * it is killed. Functions assert.
 */
#ifndef LEDGER_FIXTURE_H
#define LEDGER_FIXTURE_H

#include <time.h>

#include "pins_priv.h"

#define SECOND INT64_C(1000000000)

/* Of a domain on type1, whose rule charges two counters. */
extern const struct pn_charge_rule ledger_rule;
extern const struct pn_ledger_owner ledger_owner;

/* For cmocka: the directory is made, is empty again, and goes. */
extern char ledger_dir[];
int ledger_dir_make(void **state);
int ledger_dir_clear(void **state);
int ledger_dir_remove(void **state);
/* The path of a ledger in it. */
char *ledger_dir_path(char path[300]);

struct pn_ledger *open_ledger(void);
/* A mapping, and away with it. */
void map_and_unmap(struct pn_ledger *ledger, uint64_t iova);

struct pn_pins_report *report_now(bool events);
/* The events of the only ledger there is. */
const struct pn_events *only_events(const struct pn_pins_report *report);

/* Nanoseconds. */
int64_t clock_now(clockid_t clock);

/* What it returns in a child. */
int in_child(int (*run)(void));
/* A child that writes until it is killed, and a byte to ready when it has begun. */
pid_t start_writer(void (*write_for_ever)(int ready));
void end_writer(pid_t child);

#endif
