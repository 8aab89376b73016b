/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ledger to be forged: a file of a living process in which all is as it should be.
 */
#ifndef LEDGER_FORGE_H
#define LEDGER_FORGE_H

#include "ledger_format.h"

#define SLOTS    LEDGER_SEGMENT
#define EVENTS   16u
#define SLOTS_AT (LEDGER_HEADER_SIZE + EVENTS * LEDGER_EVENT_SIZE)
#define SIZE     (SLOTS_AT + SLOTS * LEDGER_SLOT_SIZE)

union ledger_file {
	struct ledger_header header;
	unsigned char bytes[SIZE];
};

/* Of this process: three mappings in the slots 0, 3 and 6, and numbers 9 to 24 of its events. */
extern union ledger_file good;
/* Make it; 0, or less if what it tells is not known. */
int forge_good(void);

struct ledger_slot *forge_slot(unsigned char *bytes, size_t number);
struct ledger_event *forge_event(unsigned char *bytes, size_t place);

#endif
