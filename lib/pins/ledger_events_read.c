/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading the events of a ledger that someone else wrote, may be writing, or forged: each record
 * twice, taken when both readings are the same and whole. One that never is, is counted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "ledger_format.h"
#include "ledger_read.h"

/* Read at once: so few that most are still the same in the second reading. */
#define CHUNK LEDGER_EVENTS_MIN

const char *pn_event_name(enum pn_event_kind kind)
{
	static const char *const names[PN_EVENT_MAX] = {"none", "start", "map", "unmap", "attach",
		"detach", "fail", "limit", "handover", "take-back", "takeover", "damage", "mend",
		"device-bits", "dirty", "destroy"};

	return (unsigned int)kind < PN_EVENT_MAX ? names[kind] : "?";
}

static bool makes_sense(const struct ledger_event *event, uint32_t at, uint32_t room)
{
	uint64_t number = event->seq / 2;

	return ((number - 1) & (room - 1)) == at && event->kind > PN_EVENT_NONE &&
	       event->kind < PN_EVENT_DEVICE_BITS && event->call < PN_EVENT_MAX &&
	       (event->kind == PN_EVENT_FAIL) == (event->call != PN_EVENT_NONE) &&
	       !(event->flags & ~(3u | LEDGER_EVENT_QUEUED)) &&
	       event->counters < PN_COUNTER_BIT(PN_COUNTER_MAX) && event->err < 4096 &&
	       event->pages <= INT64_MAX && event->text_len <= sizeof(event->text);
}

static uint64_t limit_of(uint64_t limit)
{
	return limit == UINT64_MAX ? PN_PAGES_UNLIMITED : limit;
}

static void take(
	struct pn_event *to, const struct ledger_event *from, const struct ledger_content *content)
{
	memset(to, 0, sizeof(*to));
	to->number = from->seq / 2;
	to->monotonic_ns = from->monotonic;
	to->boot_ns = from->boot;
	/* Whatever the numbers are: wrapped, they make a wrong time and nothing worse. */
	to->wall_ns = (int64_t)((uint64_t)content->began_wall + (from->boot - content->began_boot));
	to->kind = (enum pn_event_kind)from->kind;
	to->call = (enum pn_event_kind)from->call;
	to->err = from->err;
	to->vaddr = from->vaddr;
	to->iova = from->iova;
	to->len = from->len;
	to->pages = from->pages;
	to->counters = from->counters;
	to->prot = from->flags & 3;
	to->queued = from->flags & LEDGER_EVENT_QUEUED;
	if (from->kind == PN_EVENT_START || from->kind == PN_EVENT_LIMIT) {
		to->limit_soft = limit_of(from->limit_soft);
		to->limit_hard = limit_of(from->limit_hard);
	}
	if (from->kind == PN_EVENT_LIMIT) {
		to->was_soft = limit_of(from->was_soft);
		to->was_hard = limit_of(from->was_hard);
	}
	pn_ledger_clean_text(to->text, from->text, (size_t)from->text_len + 1);
}

/* One record of two readings: as it is, or read again until it is whole. */
static int read_event(int fd, struct ledger_event *event, struct ledger_event *again, uint32_t at,
	struct ledger_content *content, struct pn_events *events)
{
	const struct ledger_place place = {
		fd, LEDGER_HEADER_SIZE + (off_t)at * LEDGER_EVENT_SIZE, sizeof(*event)};
	int ret = 0;

	if (event->seq & 1 || memcmp(event, again, sizeof(*event)))
		ret = pn_ledger_read_steady(&place, event, again, &content->patience);
	if (ret == -EAGAIN) {
		events->torn++;
		return 0;
	}
	if (ret || !event->seq)
		return ret;
	if (makes_sense(event, at, events->room))
		take(&events->events[events->count++], event, content);
	else
		events->senseless++;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t left = ((const struct pn_event *)a)->number;
	uint64_t right = ((const struct pn_event *)b)->number;

	return (left > right) - (left < right);
}

void pn_events_free(struct pn_events *events)
{
	if (events)
		free(events->events);
	free(events);
}

int pn_ledger_read_events(int fd, struct ledger_content *content, struct pn_events **out)
{
	struct ledger_event chunk[CHUNK], again[CHUNK];
	struct pn_events *events = calloc(1, sizeof(*events));
	uint32_t at, i;
	int ret = 0;

	if (!events)
		return -ENOMEM;
	events->room = content->events;
	/* Room for what the file was seen to have. */
	events->events = calloc(events->room + 1, sizeof(*events->events));
	if (!events->events)
		ret = -ENOMEM;
	for (at = 0; at < events->room && !ret; at += CHUNK) {
		off_t from = LEDGER_HEADER_SIZE + (off_t)at * LEDGER_EVENT_SIZE;

		ret = pn_ledger_read_at(fd, chunk, sizeof(chunk), from);
		if (!ret)
			ret = pn_ledger_read_at(fd, again, sizeof(again), from);
		for (i = 0; i < CHUNK && !ret; i++)
			ret = read_event(fd, &chunk[i], &again[i], at + i, content, events);
	}
	if (ret == -ENOMEM) {
		pn_events_free(events);
		return ret;
	}
	/* Cut off meanwhile: what was read is as good as it was. */
	events->torn += ret ? 1 : 0;
	qsort(events->events, events->count, sizeof(*events->events), by_number);
	*out = events;
	return 0;
}
