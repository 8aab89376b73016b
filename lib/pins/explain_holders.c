/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who has the pages that a counter holds: Pinion's processes by their ledgers, mlock() by the
 * mappings of this process; the rest, if the counter was observed, is somebody without a ledger.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base_priv.h"
#include "mem_priv.h"
#include "pins_priv.h"

/* Processes that are named; the others are added up. */
#define NAMED 3u

struct text {
	char *at;
	size_t size, used;
	unsigned int parts;
};

static void add(struct text *text, const char *fmt, ...) PN_PRINTF(2, 3);
static void add(struct text *text, const char *fmt, ...)
{
	va_list args;
	int len;

	if (text->used >= text->size)
		return;
	len = snprintf(
		text->at + text->used, text->size - text->used, "%s", text->parts++ ? ", " : "");
	text->used += len > 0 ? (size_t)len : 0;
	if (text->used >= text->size)
		return;
	va_start(args, fmt);
	len = vsnprintf(text->at + text->used, text->size - text->used, fmt, args);
	va_end(args);
	text->used += len > 0 ? (size_t)len : 0;
}

static bool is_exact(enum pn_observer observer)
{
	return observer == PN_OBSERVER_METER || observer == PN_OBSERVER_METER_ZEROCOPY ||
	       observer == PN_OBSERVER_MODULE;
}

static int by_pages(const void *a, const void *b)
{
	uint64_t pages_a = ((const struct pn_pins_process *)a)->predicted[PN_COUNTER_USER_LOCKED];
	uint64_t pages_b = ((const struct pn_pins_process *)b)->predicted[PN_COUNTER_USER_LOCKED];

	return pages_a < pages_b ? 1 : pages_a > pages_b ? -1 : 0;
}

/* Of user->locked_vm, which is one for all processes of the user. */
static void name_processes(struct text *text, const struct pn_figure *figure)
{
	struct pn_pins_report *report;
	uint64_t sum = 0, others = 0, pages;
	unsigned int named = 0;
	size_t i;

	if (pn_pins_report_create(&report, NULL))
		return;
	if (report->process_count)
		qsort(report->processes, report->process_count, sizeof(*report->processes),
			by_pages);
	for (i = 0; i < report->process_count; i++) {
		const struct pn_pins_process *process = &report->processes[i];

		pages = process->predicted[PN_COUNTER_USER_LOCKED];
		if (process->charged_uid != getuid() || !pages || !pn_pins_charges_user(process))
			continue;
		sum += pages;
		if (process->pid == getpid() && process->alive)
			add(text, "%" PRIu64 " by this process", pages);
		else if (named++ < NAMED)
			add(text, "%" PRIu64 " by process %d (%s)", pages, (int)process->pid,
				process->alive ? process->comm : pn_pins_state(process));
		else
			others += pages;
	}
	if (others)
		add(text, "%" PRIu64 " by others with a ledger", others);
	if (is_exact(figure->observer) && figure->pages > sum)
		add(text,
			"%" PRIu64 " by somebody without a ledger that can be read (io_uring, "
			"AF_XDP, QEMU, another runtime)",
			figure->pages - sum);
	pn_pins_report_free(report);
}

/* What mlock() and its family hold; hugetlb memory and mappings of devices cost nothing there
 * (mm/internal.h:vma_supports_mlock()). */
static uint64_t mlocked(void)
{
	struct pn_vmas vmas;
	uint64_t pages = 0;
	size_t i;

	if (pn_vmas_read(0, UINT64_MAX, &vmas))
		return 0;
	for (i = 0; i < vmas.count; i++) {
		if (vmas.list[i].locked && !vmas.list[i].hugetlb && !vmas.list[i].io)
			pages += (vmas.list[i].end - vmas.list[i].start) >> 12;
	}
	free(vmas.list);
	return pages;
}

static void name_own(struct text *text, enum pn_counter counter)
{
	uint64_t predicted[PN_COUNTER_MAX], locked;

	pn_pins_own_predicted(predicted);
	if (predicted[counter])
		add(text, "%" PRIu64 " by the mappings in its ledgers", predicted[counter]);
	locked = counter == PN_COUNTER_MM_LOCKED ? mlocked() : 0;
	if (locked)
		add(text,
			"%" PRIu64 " by mlock() or mlockall(); what is mapped for devices needs "
			"no mlock",
			locked);
}

bool pn_explain_holders(
	enum pn_counter counter, const struct pn_figure *figure, char *text, size_t size)
{
	struct text parts = {.at = text, .size = size};

	text[0] = '\0';
	if (!figure->pages)
		return false;
	if (counter == PN_COUNTER_USER_LOCKED)
		name_processes(&parts, figure);
	else
		name_own(&parts, counter);
	return parts.parts;
}
