/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A report as JSON, schema "pinion.pins/1" (doc/pins.md). It is written as it goes: a tree of
 * objects for a hundred thousand mappings takes seconds to build.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "pins_priv.h"
#include "render_text.h"

/* Any bytes; what is not printable ASCII is written by its number. */
static void string(struct text *text, const char *value)
{
	const char *at, *start = value;

	text_add(text, "\"");
	for (at = value; *at; at++) {
		if (*at >= ' ' && *at <= 126 && *at != '"' && *at != '\\')
			continue;
		text_bytes(text, start, (size_t)(at - start));
		start = at + 1;
		if (*at == '"' || *at == '\\')
			text_format(text, "\\%c", *at);
		else
			text_format(text, "\\u%04x", (unsigned char)*at);
	}
	text_bytes(text, start, (size_t)(at - start));
	text_add(text, "\"");
}

static void key_string(struct text *text, const char *key, const char *value)
{
	text_add(text, key);
	string(text, value);
}

static void key_number(struct text *text, const char *key, uint64_t value)
{
	text_add(text, key);
	/* Readers keep integers in 64 bits with a sign at most. Only a forged ledger comes here. */
	text_u64(text, value > INT64_MAX ? INT64_MAX : value);
}

static void key_bool(struct text *text, const char *key, bool value)
{
	text_add(text, key);
	text_add(text, value ? "true" : "false");
}

/* Addresses as texts: a JSON number loses bits above 2^53. */
static void key_address(struct text *text, const char *key, uint64_t address)
{
	text_add(text, key);
	text_add(text, "\"");
	text_hex(text, address);
	text_add(text, "\"");
}

static void key_pages(struct text *text, const char *key, uint64_t value, bool known)
{
	if (known && value != PN_PAGES_UNLIMITED) {
		key_number(text, key, value);
		return;
	}
	text_add(text, key);
	text_add(text, known ? "\"unlimited\"" : "null");
}

static void key_counters(struct text *text, const char *key, uint32_t counters)
{
	const char *between = "";
	unsigned int counter;

	text_add(text, key);
	text_add(text, "[");
	for (counter = 0; counter < PN_COUNTER_MAX; counter++) {
		if (!(counters & PN_COUNTER_BIT(counter)))
			continue;
		text_add(text, between);
		key_string(text, "", pn_counter_name(counter));
		between = ", ";
	}
	text_add(text, "]");
}

static void mapping(struct text *text, const struct pn_pin *pin)
{
	key_address(text, "{\"vaddr\": ", pin->vaddr);
	if (pin->iova == PN_PIN_NO_IOVA)
		text_add(text, ", \"iova\": null");
	else
		key_address(text, ", \"iova\": ", pin->iova);
	key_number(text, ", \"bytes\": ", pin->len);
	key_number(text, ", \"page_size\": ", pin->page_size);
	key_string(text, ", \"prot\": ", text_prot(pin->prot));
	key_bool(text, ", \"queued\": ", pin->queued);
	key_number(text, ", \"charged_pages\": ", pin->pages);
	key_counters(text, ", \"counters\": ", pin->counters);
	key_string(text, ", \"region\": ", pin->name);
	text_add(text, "}");
}

static void domain_sums(struct text *text, const struct pn_pins_domain *domain)
{
	uint64_t charged = 0, bytes = 0, queued = 0;
	size_t i;

	for (i = 0; i < domain->pin_count; i++) {
		charged += domain->pins[i].pages;
		if (domain->pins[i].queued)
			queued += domain->pins[i].len;
		else
			bytes += domain->pins[i].len;
	}
	key_number(text, ", \"mapped_bytes\": ", bytes);
	key_number(text, ", \"queued_bytes\": ", queued);
	key_number(text, ", \"charged_pages\": ", charged);
}

static void domain(struct text *text, const struct pn_pins_domain *d)
{
	const char *between = "\n          ";
	size_t i;

	key_string(text, "{\"backend\": ", d->path);
	key_string(text, ", \"node\": ", d->node);
	key_string(text, ", \"accounting\": ", d->accounting);
	key_counters(text, ", \"counters\": ", d->counters);
	key_string(text, ", \"limited_counter\": ", pn_counter_name(d->limited));
	key_bool(text, ", \"exempt\": ", d->exempt);
	key_number(text, ", \"device_count\": ", d->devices);
	key_string(text, ", \"devices\": ", d->device_names);
	domain_sums(text, d);
	text_add(text, ", \"mappings\": [");
	for (i = 0; i < d->pin_count; i++) {
		text_add(text, between);
		mapping(text, &d->pins[i]);
		between = ",\n          ";
	}
	text_add(text, "]}");
}

static void counter(
	struct text *text, const struct pn_pins_process *process, enum pn_counter counter)
{
	const struct pn_figure *figure = &process->observed[counter];
	uint64_t left = 0;
	int64_t rest = 0;
	bool has_left = pn_pins_left(process, counter, &left);

	key_number(text, "{\"predicted\": ", process->predicted[counter]);
	key_pages(text, ", \"before\": ", process->before[counter],
		process->before[counter] != UINT64_MAX);
	key_pages(text, ", \"observed\": ", figure->pages, figure->observer != PN_OBSERVER_NONE);
	key_string(text, ", \"observer\": ", pn_observer_name(figure->observer));
	text_add(text, ", \"unexplained\": ");
	if (pn_pins_unexplained(process, counter, &rest))
		text_i64(text, rest);
	else
		text_add(text, "null");
	key_bool(text, ", \"limited\": ", pn_pins_limited(process, counter));
	key_pages(text, ", \"left\": ", left, has_left);
	text_add(text, "}");
}

static void process(struct text *text, const struct pn_pins_process *p)
{
	const char *between = "\n        ";
	unsigned int i;
	size_t k;

	text_format(text, "{\"pid\": %d", (int)p->pid);
	key_string(text, ", \"comm\": ", p->comm);
	key_number(text, ", \"uid\": ", p->uid);
	key_string(text, ", \"state\": ", pn_pins_state(p));
	key_bool(text, ", \"alive\": ", p->alive);
	key_bool(text, ", \"foreign\": ", p->foreign);
	key_bool(text, ", \"hidden\": ", p->hidden);
	key_bool(text, ", \"stranded\": ", p->stranded);
	key_number(text, ", \"start_time\": ", p->start_time);
	key_pages(text, ",\n      \"limit_soft_pages\": ", p->limit_soft, p->limit_known);
	key_pages(text, ", \"limit_hard_pages\": ", p->limit_hard, p->limit_known);
	key_string(text, ", \"limit_observer\": ",
		pn_observer_name(p->limit_known ? PN_OBSERVER_PROC : PN_OBSERVER_NONE));
	key_number(text, ", \"user_predicted\": ", p->user_predicted);
	text_add(text, ",\n      \"counters\": {");
	for (i = 0; i < PN_COUNTER_MAX; i++) {
		text_add(text, between);
		key_string(text, "", pn_counter_name(i));
		text_add(text, ": ");
		counter(text, p, i);
		between = ",\n        ";
	}
	text_add(text, "},\n      \"domains\": [");
	between = "\n        ";
	for (k = 0; k < p->domain_count; k++) {
		text_add(text, between);
		domain(text, &p->domains[k]);
		between = ",\n        ";
	}
	text_add(text, "]}");
}

static void finding(struct text *text, const struct pn_finding *f)
{
	bool below = !strcmp(f->cause, "below");

	key_string(text, "{\"kind\": ", pn_finding_kind_name(f->kind));
	key_string(text, ", \"cause\": ", f->cause);
	text_format(text, f->pid ? ", \"pid\": %d" : ", \"pid\": null", (int)f->pid);
	text_format(text, f->holder ? ", \"holder_pid\": %d" : ", \"holder_pid\": null",
		(int)f->holder);
	key_number(text, ", \"uid\": ", f->uid);
	key_string(text, ", \"counter\": ", pn_counter_name(f->counter));
	key_number(text, below ? ", \"pages\": -" : ", \"pages\": ", f->figure.pages);
	key_string(text, ", \"observer\": ", pn_observer_name(f->figure.observer));
	key_string(text, ", \"text\": ", f->text);
	text_add(text, "}");
}

char *pn_pins_json(const struct pn_pins_report *report)
{
	static const char first[] = "\n    ", next[] = ",\n    ";
	struct text text = {0};
	size_t i;

	text_add(&text, "{\n  \"schema\": \"pinion.pins/1\",\n  \"processes\": [");
	for (i = 0; i < report->process_count; i++) {
		text_add(&text, i ? next : first);
		process(&text, &report->processes[i]);
	}
	text_add(&text, "],\n  \"findings\": [");
	for (i = 0; i < report->finding_count; i++) {
		text_add(&text, i ? next : first);
		finding(&text, &report->findings[i]);
	}
	text_add(&text, "],\n  \"notes\": [");
	for (i = 0; i < report->note_count; i++)
		key_string(&text, i ? next : first, report->notes[i]);
	text_add(&text, "]\n}\n");
	return text_end(&text);
}
