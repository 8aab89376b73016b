/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See ledger_forge.h.
 */
#include <errno.h>
#include <unistd.h>

#include "ledger_forge.h"
#include "pins_priv.h"

union ledger_file good;

struct ledger_slot *forge_slot(unsigned char *bytes, size_t number)
{
	return (struct ledger_slot *)(void *)(bytes + SLOTS_AT + number * LEDGER_SLOT_SIZE);
}

struct ledger_event *forge_event(unsigned char *bytes, size_t place)
{
	return (struct ledger_event *)(void *)(bytes + LEDGER_HEADER_SIZE +
					       place * LEDGER_EVENT_SIZE);
}

int forge_good(void)
{
	struct pn_proc_state self;

	if (pn_proc_read(getpid(), &self))
		return -1;
	good.header = (struct ledger_header){.magic = LEDGER_MAGIC,
		.version = LEDGER_VERSION,
		.header_size = LEDGER_HEADER_SIZE,
		.slot_size = LEDGER_SLOT_SIZE,
		.event_size = LEDGER_EVENT_SIZE,
		.events = EVENTS,
		.slots = SLOTS,
		.pid = getpid(),
		.began_boot = 1000,
		.began_wall = 1000000,
		.start_time = self.start_time,
		.path = "type1",
		.node = "/dev/vfio/vfio",
		.total_number = LEDGER_TOTALS + 3,
		.totals[3] = {.predicted = {6, 0, 0}},
		.about_number = 3 * LEDGER_ABOUTS,
		.abouts[0] = {.uid = getuid(),
			.counters = 1,
			.devices = 1,
			.accounting = "process (mm)",
			.device_names = "0000:00:02.0"}};
	/* Numbers 9 to 24, so that the ring has gone round. */
	for (uint64_t number = 9; number < 9 + EVENTS; number++)
		*forge_event(good.bytes, (number - 1) % EVENTS) =
			(struct ledger_event){.seq = 2 * number,
				.boot = 1000 + number,
				.monotonic = 500 + number,
				.kind = number % 2 ? PN_EVENT_MAP : PN_EVENT_FAIL,
				.call = number % 2 ? PN_EVENT_NONE : PN_EVENT_ATTACH,
				.err = number % 2 ? 0 : ENOMEM,
				.iova = number << 12,
				.len = 4096,
				.text_len = 6,
				.text = "reason"};
	for (size_t i = 0; i < 3; i++)
		*forge_slot(good.bytes, i * 3) = (struct ledger_slot){.seq = 4,
			.vaddr = 0x100000 * (i + 1),
			.iova = 0x200000 * (i + 1),
			.len = 8192,
			.page_size = 4096,
			.pages = 2,
			.counters = 1,
			.used = 1,
			.prot = 3,
			.name = "region"};
	return 0;
}
