/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading a ledger that someone else wrote, may be writing, or forged.
 */
#ifndef PN_LEDGER_READ_H
#define PN_LEDGER_READ_H

#include "pn_pins.h"

/* What one ledger says. Every number is checked, every text ends. */
struct ledger_content {
	pid_t pid;
	uid_t uid;      /* real uid; only root's files may tell another than their owner's */
	uid_t file_uid; /* who can have written it */
	uint64_t start_time;
	uint64_t pid_namespace;
	uint64_t before[PN_COUNTER_MAX];
	uint64_t predicted[PN_COUNTER_MAX];
	uint64_t unrecorded;
	bool left_in_change; /* its writer ended while it changed the header: sums are of the slots
			      */
	uint64_t unsteady;   /* slots that kept changing while they were read */
	struct pn_pins_domain domain;
};

/*
 * Read it. 0 (the caller frees content->domain.pins); -EAGAIN if it is not complete yet; another
 * negative errno with why[] in words.
 */
int pn_ledger_read(int fd, struct ledger_content *content, char *why, size_t why_size);

#endif
