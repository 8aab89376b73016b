/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ledger file. A header page, a ring of events, then slots, one a mapping. The owner writes it
 * through a shared mapping; readers use pread() and trust nothing in it. All numbers are in the
 * byte order of the machine.
 */
#ifndef PN_LEDGER_FORMAT_H
#define PN_LEDGER_FORMAT_H

#include <assert.h>
#include <stdint.h>

#include "pn_events.h"
#include "pn_pins.h"

#define LEDGER_MAGIC       UINT64_C(0x314745444c4e4950) /* "PINLDEG1" */
#define LEDGER_VERSION     2u
#define LEDGER_HEADER_SIZE 4096u
#define LEDGER_SLOT_SIZE   128u
/* The file grows by segments, each mapped on its own: a slot never moves while it is written. */
#define LEDGER_SEGMENT       512u
#define LEDGER_SEGMENT_BYTES (LEDGER_SEGMENT * LEDGER_SLOT_SIZE)
#define LEDGER_SUFFIX        ".ledger"
#define LEDGER_EVENT_SIZE    512u
/* Records of the ring: none, or a power of two, so that the ring is whole pages. */
#define LEDGER_EVENTS_MIN     8u
#define LEDGER_EVENTS_DEFAULT 256u
#define LEDGER_EVENTS_MAX     65536u

/* Sum over all mappings of the domain, those without a slot too. */
struct ledger_totals {
	uint64_t predicted[PN_COUNTER_MAX]; /* pages */
	uint64_t unrecorded;                /* mappings without a slot */
};

/* What changes with devices, capabilities and users. */
struct ledger_about {
	uint32_t uid;
	uint32_t counters;
	uint32_t limited;
	uint32_t exempt;
	uint32_t devices;
	uint32_t user_namespace; /* uid means something to readers in the same one only; 0: not
				    known */
	char accounting[24];
	char device_names[96];
};

/*
 * What changes is kept in several copies, and its number says which is the last one: number %
 * copies. The next one is written beside it, then the number goes up by one. So the last one is
 * whole at any time, also when its writer is killed; a reader that finds the number to have gone up
 * by no more than copies - 2 while it read has read what was not touched meanwhile.
 */
#define LEDGER_TOTALS 16u
#define LEDGER_ABOUTS 8u

struct ledger_header {
	uint64_t magic;
	uint32_t version;
	uint32_t header_size;
	uint32_t slot_size;
	uint32_t event_size;
	uint32_t events; /* room for so many: as from the start */
	uint32_t slots;  /* in the file; grows */
	uint64_t start_time;
	uint64_t pid_namespace; /* pid means something to readers in the same one only; 0: not known
				 */
	int32_t pid;
	uint32_t pad;
	uint64_t began_boot;             /* CLOCK_BOOTTIME, ns, */
	int64_t began_wall;              /* and CLOCK_REALTIME at the same moment */
	uint64_t before[PN_COUNTER_MAX]; /* counters when the ledger began; UINT64_MAX: not known */
	char path[24];
	char node[40];

	uint64_t total_number;
	uint64_t about_number;
	struct ledger_about abouts[LEDGER_ABOUTS];
	struct ledger_totals totals[LEDGER_TOTALS];
};

static_assert(sizeof(struct ledger_header) <= LEDGER_HEADER_SIZE, "header fits its page");

struct ledger_slot {
	/* Odd while the slot is being written, one higher after each change: a reader takes what it
	 * read twice with the same even number. */
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

/* A map or an unmap writes the first 128 bytes at most. */
struct ledger_event {
	/* 2 n - 1 while record number n is written, 2 n when it is whole; n begins with 1, and is
	 * in place (n - 1) % events of the ring. 0: never used. */
	uint64_t seq;
	uint64_t monotonic; /* ns */
	uint64_t boot;      /* ns */
	uint64_t vaddr;
	uint64_t iova;
	uint64_t len;
	uint64_t pages;
	uint8_t kind;
	uint8_t call;
	uint8_t flags; /* PN_PROT_*, LEDGER_EVENT_QUEUED */
	uint8_t counters;
	uint16_t err;
	uint16_t text_len;

	uint64_t limit_soft; /* bytes */
	uint64_t limit_hard;
	uint64_t was_soft;
	uint64_t was_hard;
	char text[LEDGER_EVENT_SIZE - 96]; /* text_len bytes of it, without an end */
};

#define LEDGER_EVENT_QUEUED 0x80u

static_assert(
	sizeof(struct ledger_event) == LEDGER_EVENT_SIZE, "record size is part of the format");
static_assert(PN_EVENT_TEXT == sizeof(((struct ledger_event *)0)->text) + 1, "the text fits");

static inline uint64_t ledger_slots_at(uint32_t events)
{
	return LEDGER_HEADER_SIZE + (uint64_t)events * LEDGER_EVENT_SIZE;
}

/* Room that a ring may have. */
static inline bool ledger_events_valid(uint32_t events)
{
	return !events || (events >= LEDGER_EVENTS_MIN && events <= LEDGER_EVENTS_MAX &&
				  !(events & (events - 1)));
}

#endif
