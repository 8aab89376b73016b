/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A report as a table for people and as JSON for programs.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "pins_priv.h"

static const char *size_text(uint64_t bytes, char buf[32])
{
	static const char units[] = "BKMGTPE";
	unsigned int unit = 0;

	while (bytes >= 1024 && bytes % 1024 == 0 && unit + 1 < sizeof(units) - 1) {
		bytes /= 1024;
		unit++;
	}
	snprintf(buf, 32, unit ? "%" PRIu64 " %ciB" : "%" PRIu64 " %c", bytes, units[unit]);
	return buf;
}

static const char *prot_text(unsigned int prot)
{
	static const char *const texts[] = {"--", "r-", "-w", "rw"};

	return texts[prot & 3];
}

static const char *counters_text(uint32_t counters, char buf[96])
{
	unsigned int counter;

	buf[0] = '\0';
	for (counter = 0; counter < PN_COUNTER_MAX; counter++) {
		if (!(counters & PN_COUNTER_BIT(counter)))
			continue;
		if (buf[0])
			strcat(buf, " + ");
		strcat(buf, pn_counter_name(counter));
	}
	if (!buf[0])
		strcpy(buf, "nothing");
	return buf;
}

static void table_domain(FILE *out, const struct pn_pins_domain *domain)
{
	char size[32], page[32], counters[96];
	const struct pn_pin *pin;
	size_t i;

	fprintf(out, "  domain: %s%s%s; devices: %s\n", domain->path, domain->node[0] ? " on " : "",
		domain->node, domain->devices ? domain->device_names : "none attached");
	if (domain->counters)
		fprintf(out, "  charged to: %s (accounting by %s)%s\n",
			counters_text(domain->counters, counters), domain->accounting,
			domain->exempt ? "; CAP_IPC_LOCK: no limit applies" : "");
	else
		fprintf(out, "  charged to: nobody\n");
	if (!domain->pin_count) {
		fprintf(out, "    no mappings\n");
		return;
	}
	fprintf(out, "    %-18s %-18s %10s %8s %4s %10s  %s\n", "VADDR", "IOVA", "LENGTH",
		"PAGES OF", "PROT", "CHARGED", "REGION");
	for (i = 0; i < domain->pin_count; i++) {
		pin = &domain->pins[i];
		fprintf(out, "    0x%-16" PRIx64 " 0x%-16" PRIx64 " %10s %8s %4s ", pin->vaddr,
			pin->iova, size_text(pin->len, size), size_text(pin->page_size, page),
			prot_text(pin->prot));
		if (pin->queued)
			fprintf(out, "%10s  %s\n", "queued", pin->name);
		else
			fprintf(out, "%10" PRIu64 "  %s\n", pin->pages, pin->name);
	}
}

static void pages_text(char *buf, size_t size, uint64_t pages, bool known)
{
	if (!known)
		snprintf(buf, size, "?");
	else if (pages == PN_PAGES_UNLIMITED)
		snprintf(buf, size, "unlimited");
	else
		snprintf(buf, size, "%" PRIu64, pages);
}

static bool is_limited(const struct pn_pins_process *process, enum pn_counter counter)
{
	size_t i;

	for (i = 0; i < process->domain_count; i++) {
		if (process->domains[i].limited == counter && !process->domains[i].exempt)
			return true;
	}
	return false;
}

/*
 * What was observed, without what was there before and what is predicted. False where one of them
 * is not known. The user's counter is compared with the ledgers of all the user's processes; what
 * it held before is not known, and shows as unexplained.
 */
static bool unexplained(
	const struct pn_pins_process *process, enum pn_counter counter, int64_t *pages)
{
	if (counter == PN_COUNTER_USER_LOCKED) {
		*pages = (int64_t)(process->observed[counter].pages - process->user_predicted);
		return process->observed[counter].observer == PN_OBSERVER_METER ||
		       process->observed[counter].observer == PN_OBSERVER_METER_ZEROCOPY;
	}
	if (process->observed[counter].observer != PN_OBSERVER_PROC ||
		process->before[counter] == UINT64_MAX)
		return false;
	*pages = (int64_t)(process->observed[counter].pages - process->before[counter] -
			   process->predicted[counter]);
	return true;
}

static bool headroom(
	const struct pn_pins_process *process, enum pn_counter counter, uint64_t *pages)
{
	uint64_t used = process->observed[counter].pages;

	if (!is_limited(process, counter) || !process->limit_known ||
		process->observed[counter].observer == PN_OBSERVER_NONE)
		return false;
	*pages = process->limit_soft == PN_PAGES_UNLIMITED ? PN_PAGES_UNLIMITED
		 : process->limit_soft > used              ? process->limit_soft - used
							   : 0;
	return true;
}

static void table_counter(FILE *out, const struct pn_pins_process *process, enum pn_counter counter)
{
	char predicted[32], before[32], observed[32], rest[32] = "?", limit[32] = "-",
						      room[32] = "-";
	const struct pn_figure *figure = &process->observed[counter];
	bool known = figure->observer != PN_OBSERVER_NONE;
	uint64_t left;
	int64_t pages;

	pages_text(predicted, sizeof(predicted), process->predicted[counter], true);
	pages_text(before, sizeof(before), process->before[counter],
		process->before[counter] != UINT64_MAX);
	pages_text(observed, sizeof(observed), figure->pages, known);
	if (unexplained(process, counter, &pages))
		snprintf(rest, sizeof(rest), "%" PRId64, pages);
	if (is_limited(process, counter))
		pages_text(limit, sizeof(limit), process->limit_soft, process->limit_known);
	if (headroom(process, counter, &left))
		pages_text(room, sizeof(room), left, true);
	fprintf(out, "    %-18s %10s %10s %10s %-8s %12s %12s %12s\n", pn_counter_name(counter),
		predicted, before, observed, known ? pn_observer_name(figure->observer) : "", rest,
		limit, room);
}

static void table_process(FILE *out, const struct pn_pins_process *process)
{
	unsigned int counter;
	size_t i;

	const char *name = process->alive     ? process->comm
			   : process->foreign ? "(of another PID namespace)"
			   : process->hidden  ? "(not seen in /proc)"
					      : "(gone)";

	fprintf(out, "process %d %s, uid %u%s\n", (int)process->pid, name,
		(unsigned int)process->uid,
		process->alive || process->foreign || process->hidden
			? ""
			: ": its ledger is all that is left");
	for (i = 0; i < process->domain_count; i++)
		table_domain(out, &process->domains[i]);
	fprintf(out, "    %-18s %10s %10s %10s %-8s %12s %12s %12s\n", "COUNTER (PAGES)",
		"PREDICTED", "BEFORE", "OBSERVED", "BY", "UNEXPLAINED", "LIMIT", "LEFT");
	for (counter = 0; counter < PN_COUNTER_MAX; counter++)
		table_counter(out, process, counter);
}

char *pn_pins_table(const struct pn_pins_report *report)
{
	char *text = NULL;
	size_t size, i;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	if (!report->process_count)
		fprintf(out, "no process with a ledger that this user may read\n");
	for (i = 0; i < report->process_count; i++) {
		if (i)
			fputc('\n', out);
		table_process(out, &report->processes[i]);
	}
	for (i = 0; i < report->note_count; i++)
		fprintf(out, "note: %s\n", report->notes[i]);
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

static json_t *json_pages(uint64_t pages, bool known)
{
	if (!known)
		return json_null();
	if (pages == PN_PAGES_UNLIMITED)
		return json_string("unlimited");
	return json_integer((json_int_t)pages);
}

/* Addresses as texts: a JSON number loses bits above 2^53. */
static json_t *json_address(uint64_t address)
{
	return json_sprintf("0x%" PRIx64, address);
}

static json_t *json_counters(uint32_t counters)
{
	json_t *list = json_array();
	unsigned int counter;

	for (counter = 0; counter < PN_COUNTER_MAX; counter++) {
		if (counters & PN_COUNTER_BIT(counter))
			json_array_append_new(list, json_string(pn_counter_name(counter)));
	}
	return list;
}

static json_t *json_pin(const struct pn_pin *pin)
{
	return json_pack("{s:o, s:o, s:I, s:I, s:s, s:b, s:I, s:o, s:s}", "vaddr",
		json_address(pin->vaddr), "iova", json_address(pin->iova), "bytes",
		(json_int_t)pin->len, "page_size", (json_int_t)pin->page_size, "prot",
		prot_text(pin->prot), "queued", pin->queued, "charged_pages",
		(json_int_t)pin->pages, "counters", json_counters(pin->counters), "region",
		pin->name);
}

static json_t *json_domain(const struct pn_pins_domain *domain)
{
	json_t *pins = json_array();
	size_t i;

	for (i = 0; i < domain->pin_count; i++)
		json_array_append_new(pins, json_pin(&domain->pins[i]));
	return json_pack("{s:s, s:s, s:s, s:o, s:s, s:b, s:i, s:s, s:o}", "backend", domain->path,
		"node", domain->node, "accounting", domain->accounting, "counters",
		json_counters(domain->counters), "limited_counter",
		pn_counter_name(domain->limited), "exempt", domain->exempt, "device_count",
		(int)domain->devices, "devices", domain->device_names, "mappings", pins);
}

static json_t *json_counter(const struct pn_pins_process *process, enum pn_counter counter)
{
	const struct pn_figure *figure = &process->observed[counter];
	uint64_t left = 0;
	int64_t pages;
	json_t *rest = unexplained(process, counter, &pages) ? json_integer(pages) : json_null();
	bool limited = is_limited(process, counter);
	bool has_room = headroom(process, counter, &left);

	return json_pack("{s:I, s:o, s:o, s:s, s:o, s:b, s:o}", "predicted",
		(json_int_t)process->predicted[counter], "before",
		json_pages(process->before[counter], process->before[counter] != UINT64_MAX),
		"observed", json_pages(figure->pages, figure->observer != PN_OBSERVER_NONE),
		"observer", pn_observer_name(figure->observer), "unexplained", rest, "limited",
		limited, "left", json_pages(left, has_room));
}

static json_t *json_process(const struct pn_pins_process *process)
{
	json_t *domains = json_array(), *counters = json_object();
	unsigned int counter;
	size_t i;

	for (i = 0; i < process->domain_count; i++)
		json_array_append_new(domains, json_domain(&process->domains[i]));
	for (counter = 0; counter < PN_COUNTER_MAX; counter++)
		json_object_set_new(
			counters, pn_counter_name(counter), json_counter(process, counter));
	return json_pack("{s:i, s:s, s:I, s:b, s:b, s:b, s:o, s:o, s:o, s:o}", "pid",
		(int)process->pid, "comm", process->comm, "uid", (json_int_t)process->uid, "alive",
		process->alive, "foreign", process->foreign, "hidden", process->hidden,
		"limit_soft_pages", json_pages(process->limit_soft, process->limit_known),
		"limit_hard_pages", json_pages(process->limit_hard, process->limit_known),
		"counters", counters, "domains", domains);
}

char *pn_pins_json(const struct pn_pins_report *report)
{
	json_t *processes = json_array(), *notes = json_array(), *root;
	char *text;
	size_t i;

	for (i = 0; i < report->process_count; i++)
		json_array_append_new(processes, json_process(&report->processes[i]));
	for (i = 0; i < report->note_count; i++)
		json_array_append_new(notes, json_string(report->notes[i]));
	root = json_pack("{s:s, s:o, s:o}", "schema", "pinion.pins/1", "processes", processes,
		"notes", notes);
	if (!root)
		return NULL;
	text = json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	json_decref(root);
	return text;
}
