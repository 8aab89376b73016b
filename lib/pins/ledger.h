/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of a ledger that is being written: shared by the files that write its mappings and its
 * events.
 */
#ifndef PN_LEDGER_H
#define PN_LEDGER_H

#include "ledger_format.h"
#include "pins_priv.h"

/* In pages that a forked child finds zeroed. */
struct pn_ledger {
	bool mine;
	int fd;
	char path[256]; /* "" when it is in memory only */
	struct ledger_header *header;
	struct ledger_slot **segments;
	uint32_t segment_count;
	uint32_t *free_slots; /* stack, with room for every slot */
	uint32_t free_count;

	struct ledger_event *events; /* header->events of them; NULL: none are kept */
	uint32_t event_count;
	uint64_t event_number; /* of the last one */
	uint64_t looked;       /* CLOCK_BOOTTIME of the last look at clocks and limits */
	uint64_t asleep;       /* CLOCK_BOOTTIME - CLOCK_MONOTONIC */
	uint64_t limit_soft, limit_hard;
	bool damaged; /* as the last event has it */
};

/* No store behind it comes before one in front of it. There is one writer: it needs no more. */
static inline void ledger_store_barrier(void)
{
#if defined(__x86_64__) || defined(__i386__)
	/* The processor keeps stores in order. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
#else
	__atomic_thread_fence(__ATOMIC_RELEASE);
#endif
}

/* Writing a record under its sequence number; see ledger_format.h. */
static inline void ledger_seq_begin(uint64_t *seq, uint64_t odd)
{
	__atomic_store_n(seq, odd, __ATOMIC_RELAXED);
	ledger_store_barrier();
}

static inline void ledger_seq_end(uint64_t *seq, uint64_t even)
{
	__atomic_store_n(seq, even, __ATOMIC_RELEASE);
}

/* A child that fork() made has the ledger mapped, but it is its parent's. */
static inline bool ledger_is_mine(const struct pn_ledger *ledger)
{
	return ledger->mine;
}

/* Records that a ring begun now is to have: the usual number, or $PINION_LEDGER_EVENTS. */
uint32_t ledger_events_wanted(void);
/* Bytes of such a ring. */
size_t ledger_events_size(uint32_t events);
/* Begin the ring, which is zeroed: clocks, limits, the first event. */
void ledger_events_begin(struct pn_ledger *ledger);
/* Record that a mapping was made or removed. With the charge of the domain up to date. */
void ledger_events_pin(struct pn_ledger *ledger, enum pn_event_kind kind, const struct pn_pin *pin);

#endif
