/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A report as CSV (RFC 4180): a header line, lines that end in CR LF, fields in quotes where they
 * need them. An empty field is what is not known.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "pins_priv.h"
#include "render_text.h"

static void end_line(struct text *text)
{
	text_bytes(text, "\r\n", 2);
}

static void comma(struct text *text)
{
	text_bytes(text, ",", 1);
}

static void field(struct text *text, const char *value)
{
	const char *at;

	if (!strpbrk(value, ",\"\r\n")) {
		text_add(text, value);
		return;
	}
	text_add(text, "\"");
	for (at = value; *at; at++)
		text_bytes(text, *at == '"' ? "\"\"" : at, *at == '"' ? 2 : 1);
	text_add(text, "\"");
}

static void next_field(struct text *text, const char *value)
{
	comma(text);
	field(text, value);
}

static void next_number(struct text *text, uint64_t value)
{
	comma(text);
	text_u64(text, value);
}

static void next_pages(struct text *text, uint64_t value, bool known)
{
	comma(text);
	if (known && value == PN_PAGES_UNLIMITED)
		text_add(text, "unlimited");
	else if (known)
		text_u64(text, value);
}

static void next_bool(struct text *text, bool value)
{
	text_add(text, value ? ",true" : ",false");
}

#define PROCESS_COLUMNS "pid,start_time,comm,uid,state"

static void process_fields(struct text *text, const struct pn_pins_process *process)
{
	text_i64(text, process->pid);
	next_number(text, process->start_time);
	next_field(text, process->comm);
	next_number(text, process->uid);
	next_field(text, pn_pins_state(process));
}

static void counter_row(
	struct text *text, const struct pn_pins_process *process, enum pn_counter counter)
{
	const struct pn_figure *figure = &process->observed[counter];
	bool limited = pn_pins_limited(process, counter);
	uint64_t left = 0;
	int64_t rest;
	bool has_left = pn_pins_left(process, counter, &left);

	process_fields(text, process);
	next_field(text, pn_counter_name(counter));
	next_number(text, process->predicted[counter]);
	next_pages(text, process->before[counter], process->before[counter] != UINT64_MAX);
	next_pages(text, figure->pages, figure->observer != PN_OBSERVER_NONE);
	next_field(text, pn_observer_name(figure->observer));
	comma(text);
	if (pn_pins_unexplained(process, counter, &rest))
		text_i64(text, rest);
	next_bool(text, limited);
	next_pages(text, process->limit_soft, process->limit_known);
	next_pages(text, process->limit_hard, process->limit_known);
	next_pages(text, left, has_left);
	end_line(text);
}

static void counter_rows(struct text *text, const struct pn_pins_report *report)
{
	unsigned int counter;
	size_t i;

	text_add(text, PROCESS_COLUMNS
		",counter,predicted_pages,before_pages,observed_pages,observer,unexplained_pages,"
		"limited,limit_soft_pages,limit_hard_pages,left_pages");
	end_line(text);
	for (i = 0; i < report->process_count; i++) {
		for (counter = 0; counter < PN_COUNTER_MAX; counter++)
			counter_row(text, &report->processes[i], counter);
	}
}

static void next_address(struct text *text, uint64_t address)
{
	comma(text);
	text_hex(text, address);
}

/* Names, separated by spaces. */
static void next_counters(struct text *text, uint32_t counters)
{
	const char *between = "";
	unsigned int counter;

	comma(text);
	for (counter = 0; counter < PN_COUNTER_MAX; counter++) {
		if (!(counters & PN_COUNTER_BIT(counter)))
			continue;
		text_add(text, between);
		text_add(text, pn_counter_name(counter));
		between = " ";
	}
}

static void mapping_row(struct text *text, const struct pn_pins_process *process,
	const struct pn_pins_domain *domain, const struct pn_pin *pin)
{
	process_fields(text, process);
	next_field(text, domain->path);
	next_field(text, domain->node);
	next_field(text, domain->accounting);
	next_field(text, domain->device_names);
	next_address(text, pin->vaddr);
	if (pin->iova == PN_PIN_NO_IOVA)
		comma(text);
	else
		next_address(text, pin->iova);
	next_number(text, pin->len);
	next_number(text, pin->page_size);
	next_field(text, text_prot(pin->prot));
	next_bool(text, pin->queued);
	next_number(text, pin->pages);
	next_counters(text, pin->counters);
	next_field(text, pin->name);
	end_line(text);
}

static void mapping_rows(struct text *text, const struct pn_pins_report *report)
{
	size_t i, k, m;

	text_add(text, PROCESS_COLUMNS
		",backend,node,accounting,devices,vaddr,iova,bytes,page_size,prot,queued,"
		"charged_pages,counters,region");
	end_line(text);
	for (i = 0; i < report->process_count; i++) {
		const struct pn_pins_process *process = &report->processes[i];

		for (k = 0; k < process->domain_count; k++) {
			for (m = 0; m < process->domains[k].pin_count; m++)
				mapping_row(text, process, &process->domains[k],
					&process->domains[k].pins[m]);
		}
	}
}

static void finding_rows(struct text *text, const struct pn_pins_report *report)
{
	size_t i;

	text_add(text, "kind,cause,pid,holder_pid,uid,counter,pages,observer,text");
	end_line(text);
	for (i = 0; i < report->finding_count; i++) {
		const struct pn_finding *finding = &report->findings[i];

		field(text, pn_finding_kind_name(finding->kind));
		next_field(text, finding->cause);
		comma(text);
		if (finding->pid)
			text_i64(text, finding->pid);
		comma(text);
		if (finding->holder)
			text_i64(text, finding->holder);
		next_number(text, finding->uid);
		next_field(text, pn_counter_name(finding->counter));
		text_add(text, strcmp(finding->cause, "below") ? "," : ",-");
		text_u64(text, finding->figure.pages);
		next_field(text, pn_observer_name(finding->figure.observer));
		next_field(text, finding->text);
		end_line(text);
	}
}

char *pn_pins_csv(const struct pn_pins_report *report, enum pn_pins_rows rows)
{
	struct text text = {0};

	if (rows == PN_PINS_ROWS_MAPPINGS)
		mapping_rows(&text, report);
	else if (rows == PN_PINS_ROWS_FINDINGS)
		finding_rows(&text, report);
	else
		counter_rows(&text, report);
	return text_end(&text);
}
