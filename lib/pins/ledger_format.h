/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ledger file. A header page, then slots, one a mapping. The owner writes it through a shared
 * mapping; readers use pread() and trust nothing in it. All numbers are in the byte order of the
 * machine.
 */
#ifndef PN_LEDGER_FORMAT_H
#define PN_LEDGER_FORMAT_H

#include <assert.h>
#include <stdint.h>

#include "pn_pins.h"

#define LEDGER_MAGIC       UINT64_C(0x314745444c4e4950) /* "PINLDEG1" */
#define LEDGER_VERSION     1u
#define LEDGER_HEADER_SIZE 4096u
#define LEDGER_SLOT_SIZE   128u
/* The file grows by segments, each mapped on its own: a slot never moves while it is written. */
#define LEDGER_SEGMENT       512u
#define LEDGER_SEGMENT_BYTES (LEDGER_SEGMENT * LEDGER_SLOT_SIZE)
#define LEDGER_SUFFIX        ".ledger"

/*
 * seq: odd while the part behind it is being written, one higher after each change. A reader takes
 * what it read twice with the same even number.
 */
struct ledger_header {
	uint64_t magic;
	uint32_t version;
	uint32_t header_size;
	uint32_t slot_size;
	uint32_t slots; /* in the file; grows */
	int32_t pid;
	uint32_t uid;
	uint64_t start_time;
	uint64_t pid_namespace; /* pid means something to readers in the same one only; 0: not known
				 */
	uint64_t before[PN_COUNTER_MAX]; /* counters when the ledger began; UINT64_MAX: not known */
	char path[24];
	char node[40];

	uint64_t seq;
	uint64_t predicted[PN_COUNTER_MAX]; /* sum over all mappings, those without a slot too */
	uint64_t unrecorded;                /* mappings without a slot */
	uint32_t counters;
	uint32_t limited;
	uint32_t exempt;
	uint32_t devices;
	char accounting[24];
	char device_names[96];
};

static_assert(sizeof(struct ledger_header) <= LEDGER_HEADER_SIZE, "header fits its page");

struct ledger_slot {
	uint64_t seq;
	uint64_t vaddr;
	uint64_t iova;
	uint64_t len;
	uint64_t page_size;
	uint64_t pages;
	uint32_t counters;
	uint8_t used;
	uint8_t queued;
	uint8_t prot;
	uint8_t pad;
	char name[32];
	uint8_t reserved[LEDGER_SLOT_SIZE - 88];
};

static_assert(sizeof(struct ledger_slot) == LEDGER_SLOT_SIZE, "slot size is part of the format");

#endif
