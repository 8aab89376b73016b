/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ring of events in a ledger, as its owner writes it: what was mapped, what failed and why, and
 * what changed. A mapping costs one reading of a clock, which is no system call, and one record.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base_priv.h"
#include "ledger.h"

#define SECOND UINT64_C(1000000000)

/*
 * The limit is read by a system call, which costs as much as a small mapping: with mappings, only
 * when the last look was so long ago; with all else, each time.
 */
#define LOOK_EVERY (10 * UINT64_C(1000000))

static uint64_t read_clock(clockid_t clock)
{
	struct timespec at = {0, 0};

	clock_gettime(clock, &at);
	return (uint64_t)at.tv_sec * SECOND + (uint64_t)at.tv_nsec;
}

uint32_t ledger_events_wanted(void)
{
	const char *text = secure_getenv("PINION_LEDGER_EVENTS");
	uint32_t events = LEDGER_EVENTS_MIN;
	unsigned long wanted;
	char *end;

	if (!text || *text < '0' || *text > '9')
		return LEDGER_EVENTS_DEFAULT;
	errno = 0;
	wanted = strtoul(text, &end, 10);
	if (*end || errno)
		return LEDGER_EVENTS_DEFAULT;
	if (!wanted)
		return 0;
	while (events < wanted && events < LEDGER_EVENTS_MAX)
		events *= 2;
	return events;
}

static struct ledger_event *begin(struct pn_ledger *ledger, enum pn_event_kind kind, uint64_t boot)
{
	uint64_t number = ++ledger->event_number;
	struct ledger_event *event = &ledger->events[(number - 1) & (ledger->event_count - 1)];

	ledger_seq_begin(&event->seq, 2 * number - 1);
	event->boot = boot;
	event->monotonic = boot - ledger->asleep;
	event->kind = (uint8_t)kind;
	return event;
}

static void end(struct pn_ledger *ledger, struct ledger_event *event)
{
	ledger_seq_end(&event->seq, 2 * ledger->event_number);
}

static void set_text(struct ledger_event *event, const char *text)
{
	size_t len = strnlen(text, sizeof(event->text));

	memcpy(event->text, text, len);
	event->text_len = (uint16_t)len;
}

/* The most that the domain is charged to one counter. */
static uint64_t charged(const struct ledger_header *header)
{
	const struct ledger_totals *last = &header->totals[header->total_number % LEDGER_TOTALS];
	uint64_t most = 0;
	unsigned int counter;

	for (counter = 0; counter < PN_COUNTER_MAX; counter++) {
		if (last->predicted[counter] > most)
			most = last->predicted[counter];
	}
	return most;
}

/* A record with nothing but what every one has, to be filled in and ended. */
static struct ledger_event *begin_plain(
	struct pn_ledger *ledger, enum pn_event_kind kind, uint64_t boot)
{
	struct ledger_event *event = begin(ledger, kind, boot);

	event->vaddr = event->iova = event->len = 0;
	event->pages = charged(ledger->header);
	event->call = event->flags = event->counters = 0;
	event->err = event->text_len = 0;
	return event;
}

/*
 * Looking
 */

/* How much CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC: by the time that the machine slept. */
static uint64_t measure_asleep(uint64_t *boot, uint64_t *slack)
{
	uint64_t before = read_clock(CLOCK_MONOTONIC), after;

	*boot = read_clock(CLOCK_BOOTTIME);
	after = read_clock(CLOCK_MONOTONIC);
	*slack = after - before;
	/* Between the two readings: it has not slept. */
	return *boot >= before && *boot <= after ? 0 : *boot - after;
}

static void look_at_clocks(struct pn_ledger *ledger)
{
	uint64_t boot, slack, asleep = measure_asleep(&boot, &slack), change;

	change = asleep > ledger->asleep ? asleep - ledger->asleep : ledger->asleep - asleep;
	/* It keeps still, but for a sleep; what is less is this thread that had to wait. */
	if (change > 1000000 && change > slack)
		ledger->asleep = asleep;
	ledger->looked = boot;
}

static void record_limit(struct pn_ledger *ledger, enum pn_event_kind kind, uint64_t boot,
	const struct rlimit *limit)
{
	struct ledger_event *event = begin_plain(ledger, kind, boot);

	event->was_soft = ledger->limit_soft;
	event->was_hard = ledger->limit_hard;
	event->limit_soft = ledger->limit_soft = limit->rlim_cur;
	event->limit_hard = ledger->limit_hard = limit->rlim_max;
	end(ledger, event);
}

static void look(struct pn_ledger *ledger)
{
	struct rlimit limit;

	look_at_clocks(ledger);
	if (!getrlimit(RLIMIT_MEMLOCK, &limit) &&
		(limit.rlim_cur != ledger->limit_soft || limit.rlim_max != ledger->limit_hard))
		record_limit(ledger, PN_EVENT_LIMIT, ledger->looked, &limit);
}

/*
 * Recording
 */

void ledger_events_begin(struct pn_ledger *ledger)
{
	struct ledger_header *header = ledger->header;
	struct rlimit limit = {0, 0};
	uint64_t boot, slack;
	int tries;

	header->events = ledger->event_count;
	if (!ledger->events)
		return;
	for (tries = 0, slack = UINT64_MAX; tries < 10 && slack > 1000; tries++)
		ledger->asleep = measure_asleep(&boot, &slack);
	header->began_boot = ledger->looked = read_clock(CLOCK_BOOTTIME);
	header->began_wall = (int64_t)read_clock(CLOCK_REALTIME);
	(void)getrlimit(RLIMIT_MEMLOCK, &limit);
	record_limit(ledger, PN_EVENT_START, header->began_boot, &limit);
}

void ledger_events_pin(struct pn_ledger *ledger, enum pn_event_kind kind, const struct pn_pin *pin)
{
	struct ledger_event *event;
	uint64_t boot;

	if (!ledger->events)
		return;
	boot = read_clock(CLOCK_BOOTTIME);
	if (boot - ledger->looked >= LOOK_EVERY) {
		look(ledger);
		boot = ledger->looked;
	}
	event = begin(ledger, kind, boot);
	event->vaddr = pin->vaddr;
	event->iova = pin->iova;
	event->len = pin->len;
	event->pages = pin->pages;
	event->call = 0;
	event->flags = (uint8_t)(pin->prot | (pin->queued ? LEDGER_EVENT_QUEUED : 0));
	event->counters = (uint8_t)pin->counters;
	event->err = 0;
	/* Whole, and read as far as its end. */
	memcpy(event->text, pin->name, sizeof(pin->name));
	event->text_len = sizeof(pin->name);
	end(ledger, event);
}

static bool records(const struct pn_ledger *ledger)
{
	return ledger_is_mine(ledger) && ledger->events;
}

void pn_ledger_event(struct pn_ledger *ledger, enum pn_event_kind kind, const char *text)
{
	struct ledger_event *event;

	if (!records(ledger))
		return;
	look(ledger);
	event = begin_plain(ledger, kind, ledger->looked);
	if (text)
		set_text(event, text);
	end(ledger, event);
}

void pn_ledger_failed(struct pn_ledger *ledger, enum pn_event_kind call, int err, uint64_t iova,
	uint64_t len, const char *reason)
{
	struct ledger_event *event;

	if (!records(ledger))
		return;
	look(ledger);
	event = begin_plain(ledger, PN_EVENT_FAIL, ledger->looked);
	event->call = (uint8_t)call;
	event->err = (uint16_t)-err;
	event->iova = iova;
	event->len = len;
	set_text(event, reason);
	end(ledger, event);
}

void pn_ledger_damaged(struct pn_ledger *ledger, bool damaged, const char *reason)
{
	if (damaged == ledger->damaged)
		return;
	pn_ledger_event(ledger, damaged ? PN_EVENT_DAMAGE : PN_EVENT_MEND, reason);
	ledger->damaged = damaged;
}
