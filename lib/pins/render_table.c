/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A report for people: a table of every mapping, or a line for each process and counter.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "pins_priv.h"
#include "render_text.h"

static void counters(struct text *text, uint32_t mask)
{
	unsigned int counter;
	bool any = false;

	for (counter = 0; counter < PN_COUNTER_MAX; counter++) {
		if (!(mask & PN_COUNTER_BIT(counter)))
			continue;
		if (any)
			text_add(text, " + ");
		text_add(text, pn_counter_name(counter));
		any = true;
	}
}

static void table_pin(struct text *text, const struct pn_pin *pin)
{
	size_t start;

	text_add(text, "    ");
	start = text->len;
	text_hex(text, pin->vaddr);
	text_left(text, start, 19);
	start = text->len;
	if (pin->iova == PN_PIN_NO_IOVA)
		text_add(text, "-");
	else
		text_hex(text, pin->iova);
	text_left(text, start, 19);
	start = text->len;
	text_size(text, pin->len);
	text_right(text, start, 10);
	start = text->len;
	text_size(text, pin->page_size);
	text_right(text, start, 9);
	text_add(text, "   ");
	text_add(text, text_prot(pin->prot));
	start = text->len;
	if (pin->queued)
		text_add(text, "queued");
	else
		text_u64(text, pin->pages);
	text_right(text, start, 11);
	text_add(text, "  ");
	text_add(text, pin->name);
	text_add(text, "\n");
}

static void table_domain(struct text *text, const struct pn_pins_domain *domain)
{
	size_t i;

	text_format(text, "  domain: %s%s%s; devices: %s\n", domain->path,
		domain->node[0] ? " on " : "", domain->node,
		domain->devices ? domain->device_names : "none attached");
	text_add(text, "  charged to: ");
	counters(text, domain->counters);
	if (domain->counters)
		text_format(text, " (accounting by %s)%s\n", domain->accounting,
			domain->exempt ? "; CAP_IPC_LOCK: no limit applies" : "");
	else
		text_add(text, "nobody\n");
	if (!domain->pin_count) {
		text_add(text, "    no mappings\n");
		return;
	}
	text_format(text, "    %-18s %-18s %10s %8s %4s %10s  %s\n", "VADDR", "IOVA", "LENGTH",
		"PAGES OF", "PROT", "CHARGED", "REGION");
	for (i = 0; i < domain->pin_count; i++)
		table_pin(text, &domain->pins[i]);
}

static void pages(struct text *text, uint64_t value, bool known, const char *otherwise)
{
	size_t start = text->len;

	if (!known)
		text_add(text, otherwise);
	else if (value == PN_PAGES_UNLIMITED)
		text_add(text, "unlimited");
	else
		text_u64(text, value);
	text_right(text, start, 11);
}

/* From PREDICTED to LEFT. */
static void table_figures(
	struct text *text, const struct pn_pins_process *process, enum pn_counter counter)
{
	const struct pn_figure *figure = &process->observed[counter];
	bool known = figure->observer != PN_OBSERVER_NONE;
	bool limited = pn_pins_limited(process, counter);
	uint64_t left = 0;
	int64_t rest;
	bool has_left;
	size_t start;

	pages(text, process->predicted[counter], true, "");
	pages(text, process->before[counter], process->before[counter] != UINT64_MAX, "?");
	pages(text, figure->pages, known, "?");
	text_add(text, " ");
	start = text->len;
	text_add(text, known ? pn_observer_name(figure->observer) : "");
	text_left(text, start, 8);
	start = text->len;
	if (pn_pins_unexplained(process, counter, &rest))
		text_i64(text, rest);
	else
		text_add(text, "?");
	text_right(text, start, 13);
	text_add(text, "  ");
	pages(text, process->limit_soft, limited && process->limit_known, limited ? "?" : "-");
	text_add(text, "  ");
	has_left = pn_pins_left(process, counter, &left);
	pages(text, left, has_left, limited ? "?" : "-");
	text_add(text, "\n");
}

static const char *name_of(const struct pn_pins_process *process)
{
	return process->alive      ? process->comm
	       : process->foreign  ? "(of another PID namespace)"
	       : process->stranded ? "(gone, but its pins are held)"
	       : process->hidden   ? "(not seen in /proc)"
				   : "(gone)";
}

static void table_process(struct text *text, const struct pn_pins_process *process)
{
	unsigned int counter;
	size_t i, start;

	text_format(text, "process %d %s, uid %u%s\n", (int)process->pid, name_of(process),
		(unsigned int)process->uid,
		!strcmp(pn_pins_state(process), "gone") ? ": its ledger is all that is left" : "");
	for (i = 0; i < process->domain_count; i++)
		table_domain(text, &process->domains[i]);
	text_format(text, "    %-18s %10s %10s %10s %-8s %12s %12s %12s\n", "COUNTER (PAGES)",
		"PREDICTED", "BEFORE", "OBSERVED", "BY", "UNEXPLAINED", "LIMIT", "LEFT");
	for (counter = 0; counter < PN_COUNTER_MAX; counter++) {
		text_add(text, "    ");
		start = text->len;
		text_add(text, pn_counter_name(counter));
		text_left(text, start, 18);
		table_figures(text, process, counter);
	}
}

static void table_finding(struct text *text, const struct pn_finding *finding, bool with_owner)
{
	text_add(text, pn_finding_kind_name(finding->kind));
	if (with_owner && finding->pid)
		text_format(text, ": process %d", (int)finding->pid);
	else if (!finding->pid)
		text_format(text, ": user %u", (unsigned int)finding->uid);
	text_format(text, ": %s%" PRIu64 " pages", !strcmp(finding->cause, "below") ? "-" : "",
		finding->figure.pages);
	if (finding->counter < PN_COUNTER_MAX)
		text_format(text, finding->kind == PN_FINDING_NOBODY ? " not in %s" : " in %s",
			pn_counter_name(finding->counter));
	text_format(text, " (%s): %s\n", pn_observer_name(finding->figure.observer), finding->text);
}

static void findings_and_notes(struct text *text, const struct pn_pins_report *report)
{
	size_t i;

	if (report->finding_count)
		text_add(text, "\n");
	for (i = 0; i < report->finding_count; i++)
		table_finding(text, &report->findings[i], true);
	if (report->note_count && report->process_count)
		text_add(text, "\n");
	for (i = 0; i < report->note_count; i++)
		text_format(text, "note: %s\n", report->notes[i]);
}

static const char nobody[] = "no process with a ledger that this user may read\n";

char *pn_pins_table(const struct pn_pins_report *report)
{
	struct text text = {0};
	size_t i;

	if (!report->process_count)
		text_add(&text, nobody);
	for (i = 0; i < report->process_count; i++) {
		if (i)
			text_add(&text, "\n");
		table_process(&text, &report->processes[i]);
	}
	findings_and_notes(&text, report);
	return text_end(&text);
}

/* Is there anything to say about this counter? */
static bool is_used(const struct pn_pins_process *process, enum pn_counter counter)
{
	return process->predicted[counter] || pn_pins_limited(process, counter) ||
	       (counter != PN_COUNTER_USER_LOCKED && process->observed[counter].pages);
}

static void summary_process(struct text *text, const struct pn_pins_process *process)
{
	unsigned int counter;
	bool any = false;
	size_t start;

	for (counter = 0; counter < PN_COUNTER_MAX; counter++) {
		if (!is_used(process, counter) && (any || counter + 1 < PN_COUNTER_MAX))
			continue;
		if (any)
			text_format(text, "%8s %-15s %6s ", "", "", "");
		else
			text_format(text, "%8d %-15s %6u ", (int)process->pid,
				process->alive ? process->comm : pn_pins_state(process),
				(unsigned int)process->uid);
		any = true;
		start = text->len;
		text_add(text, pn_counter_name(counter));
		text_left(text, start, 15);
		table_figures(text, process, counter);
	}
}

/* Who is gone has nothing in any counter: the notes tell. */
char *pn_pins_summary(const struct pn_pins_report *report)
{
	struct text text = {0};
	size_t i;

	if (report->process_count)
		text_format(&text, "%8s %-15s %6s %-15s %10s %10s %10s %-8s %12s %12s %12s\n",
			"PID", "NAME", "UID", "COUNTER (PAGES)", "PREDICTED", "BEFORE", "OBSERVED",
			"BY", "UNEXPLAINED", "LIMIT", "LEFT");
	else
		text_add(&text, nobody);
	for (i = 0; i < report->process_count; i++) {
		if (strcmp(pn_pins_state(&report->processes[i]), "gone") != 0)
			summary_process(&text, &report->processes[i]);
	}
	findings_and_notes(&text, report);
	return text_end(&text);
}
