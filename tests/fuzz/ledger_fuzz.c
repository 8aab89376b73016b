/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer's entry to the reader of ledgers: any bytes as the file. The magic number and the owner
 * are put in when the first byte of the input asks for it, so that what is behind them is reached.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ledger_format.h"
#include "ledger_read.h"

#define EVENTS LEDGER_EVENTS_MIN

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void repair(struct ledger_header *header)
{
	header->magic = LEDGER_MAGIC;
	header->version = LEDGER_VERSION;
	header->header_size = LEDGER_HEADER_SIZE;
	header->slot_size = LEDGER_SLOT_SIZE;
	header->event_size = LEDGER_EVENT_SIZE;
	header->events = EVENTS;
	header->slots = LEDGER_SEGMENT;
	header->abouts[header->about_number % LEDGER_ABOUTS].uid = getuid();
}

/* Whole records with numbers that fit their places. */
static void repair_events(struct ledger_event *events)
{
	for (uint32_t i = 0; i < EVENTS; i++) {
		events[i].seq &= ~UINT64_C(1);
		events[i].seq = 2 * ((events[i].seq / 2 & ~(uint64_t)(EVENTS - 1)) + i + 1);
	}
}

static void check_events(int fd, struct ledger_content *content)
{
	struct pn_events *events;

	if (pn_ledger_read_events(fd, content, &events))
		return;
	if (events->count + events->torn + events->senseless > (uint64_t)events->room + 1)
		abort();
	for (size_t i = 0; i < events->count; i++) {
		const struct pn_event *event = &events->events[i];

		if (strnlen(event->text, sizeof(event->text)) == sizeof(event->text) ||
			(unsigned int)event->kind >= PN_EVENT_MAX ||
			(unsigned int)event->call >= PN_EVENT_MAX || event->err > 4095 ||
			event->prot > 3 || (i && event->number <= events->events[i - 1].number))
			abort();
		for (const char *at = event->text; *at; at++)
			if (*at < ' ' || *at > 126)
				abort();
	}
	pn_events_free(events);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static union {
		struct ledger_header header;
		uint8_t bytes[LEDGER_HEADER_SIZE + EVENTS * LEDGER_EVENT_SIZE +
			      LEDGER_SEGMENT_BYTES];
	} file;
	struct ledger_content content;
	static int fd = -1;
	char why[128];

	if (fd < 0)
		fd = memfd_create("ledger", MFD_CLOEXEC);
	if (fd < 0)
		abort();
	if (!size)
		return 0;
	memset(&content, 0, sizeof(content));
	memset(&file, 0, sizeof(file));
	if (data[0] & 1) {
		size_t head = size - 1 < sizeof(file.header) ? size - 1 : sizeof(file.header);
		size_t rest = size - 1 - head;

		/* The rest becomes the first records, and slots. */
		if (rest > sizeof(file) - LEDGER_HEADER_SIZE)
			rest = sizeof(file) - LEDGER_HEADER_SIZE;
		memcpy(&file.header, data + 1, head);
		memcpy(file.bytes + LEDGER_HEADER_SIZE, data + 1 + head, rest);
		if (data[0] & 2)
			repair(&file.header);
		if (data[0] & 4)
			repair_events(
				(struct ledger_event *)(void *)(file.bytes + LEDGER_HEADER_SIZE));
		size = sizeof(file);
	} else {
		size = size - 1 < sizeof(file) ? size - 1 : sizeof(file);
		memcpy(&file, data + 1, size);
	}
	if (ftruncate(fd, 0) || pwrite(fd, &file, size, 0) != (ssize_t)size)
		abort();
	if (!pn_ledger_read(fd, &content, why, sizeof(why))) {
		for (size_t i = 0; i < content.domain.pin_count; i++)
			if (strnlen(content.domain.pins[i].name,
				    sizeof(content.domain.pins[i].name)) ==
					sizeof(content.domain.pins[i].name) ||
				!content.domain.pins[i].len || content.domain.pins[i].prot > 3)
				abort();
		if (content.domain.limited > PN_COUNTER_MAX || content.pid <= 0)
			abort();
		check_events(fd, &content);
		free(content.domain.pins);
	}
	return 0;
}
