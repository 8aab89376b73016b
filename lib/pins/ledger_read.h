/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading a ledger that someone else wrote, may be writing, or forged.
 */
#ifndef PN_LEDGER_READ_H
#define PN_LEDGER_READ_H

#include "pn_events.h"
#include "pn_pins.h"

/* What one ledger says. Every number is checked, every text ends. */
struct ledger_content {
	pid_t pid;
	uid_t uid;      /* real uid; only root's files may tell another than their owner's here */
	uid_t file_uid; /* who can have written it */
	uint64_t start_time;
	uint64_t pid_namespace;
	uint64_t before[PN_COUNTER_MAX];
	uint64_t predicted[PN_COUNTER_MAX];
	uint64_t unrecorded;
	uint64_t unsteady;     /* slots that kept changing while they were read */
	unsigned int patience; /* readings again that are left */
	uint32_t events;       /* room for so many in its ring */
	uint64_t began_boot;   /* CLOCK_BOOTTIME and CLOCK_REALTIME at one moment, ns */
	int64_t began_wall;
	struct pn_pins_domain domain;
};

/*
 * Read it. 0 (the caller frees content->domain.pins); -EAGAIN if it is not complete yet; another
 * negative errno with why[] in words.
 */
int pn_ledger_read(int fd, struct ledger_content *content, char *why, size_t why_size);

/* The events of a ledger that was read. 0 (the caller frees them) or -ENOMEM. */
int pn_ledger_read_events(int fd, struct ledger_content *content, struct pn_events **out);
void pn_events_free(struct pn_events *events);

/* Of the file: 0, a negative errno, -ENODATA where it ends too early. */
int pn_ledger_read_at(int fd, void *data, size_t size, off_t at);

/* Where a record is, which begins with its sequence number. */
struct ledger_place {
	int fd;
	off_t at;
	size_t size;
};

/* Read it twice, until both readings agree under an even sequence number. -EAGAIN: never, or
 * patience, of which each reading takes one, is at an end. */
int pn_ledger_read_steady(
	const struct ledger_place *place, void *record, void *again, unsigned int *patience);
/* What may go to a terminal of a text that ends, or has size - 1 bytes. */
void pn_ledger_clean_text(char *to, const char *from, size_t size);

#endif
