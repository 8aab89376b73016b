/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion pins --events: what happened last to the domains of each process, and why what failed did.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "commands.h"
#include "pinion.h"

#define SECOND INT64_C(1000000000)

/* To the microsecond: local time for people; UTC, as ISO 8601 has it, for programs. */
static const char *time_text(int64_t wall_ns, bool utc, char buf[64])
{
	time_t seconds = (time_t)(wall_ns / SECOND);
	int64_t rest = wall_ns % SECOND;
	struct tm at;
	size_t len;

	if (rest < 0) {
		rest += SECOND;
		seconds--;
	}
	if (!(utc ? gmtime_r(&seconds, &at) : localtime_r(&seconds, &at)))
		return "(no time)";
	len = strftime(buf, 40, utc ? "%Y-%m-%dT%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &at);
	snprintf(buf + len, 64 - len, ".%06d%s", (int)(rest / 1000), utc ? "Z" : "");
	return buf;
}

static const char *prot_text(unsigned int prot)
{
	static const char *const texts[] = {"--", "r-", "-w", "rw"};

	return texts[prot & 3];
}

static void print_limit(const char *before, uint64_t limit)
{
	if (limit == PN_PAGES_UNLIMITED)
		printf("%sunlimited", before);
	else
		printf("%s%" PRIu64 " bytes", before, limit);
}

static void print_range(const struct pn_event *event)
{
	if (event->len == UINT64_MAX)
		printf("all IOVAs");
	else if (event->iova == PN_IOVA_ANY)
		printf("%" PRIu64 " bytes at any IOVA", event->len);
	else
		printf("%" PRIu64 " bytes at IOVA %#" PRIx64, event->len, event->iova);
}

static void print_what(const struct pn_event *event)
{
	switch (event->kind) {
	case PN_EVENT_MAP:
	case PN_EVENT_UNMAP:
		print_range(event);
		printf(", vaddr %#" PRIx64 ", %s, ", event->vaddr, prot_text(event->prot));
		if (event->queued)
			printf("queued");
		else
			printf("%" PRIu64 " pages", event->pages);
		printf(", %s\n", event->text);
		break;
	case PN_EVENT_FAIL:
		printf("%s", pn_event_name(event->call));
		if (event->len) {
			printf(" of ");
			print_range(event);
		}
		printf(": %s: %s\n", strerror(event->err), event->text);
		break;
	case PN_EVENT_START:
	case PN_EVENT_LIMIT:
		print_limit("RLIMIT_MEMLOCK ", event->limit_soft);
		print_limit(", hard ", event->limit_hard);
		if (event->kind == PN_EVENT_LIMIT) {
			print_limit("; before ", event->was_soft);
			print_limit(", hard ", event->was_hard);
		}
		printf("\n");
		break;
	default:
		printf("%s%s%" PRIu64 " pages charged\n", event->text, event->text[0] ? ", " : "",
			event->pages);
		break;
	}
}

static void print_domain(const struct pn_pins_domain *domain)
{
	const struct pn_events *events = domain->events;
	uint64_t last = events->count ? events->events[events->count - 1].number : 0;
	char when[64];
	size_t i;

	printf("  domain: %s%s%s; the last %zu of %" PRIu64 " events\n", domain->path,
		domain->node[0] ? " on " : "", domain->node, events->count, last);
	for (i = 0; i < events->count; i++) {
		printf("    %s %-9s ", time_text(events->events[i].wall_ns, false, when),
			pn_event_name(events->events[i].kind));
		print_what(&events->events[i]);
	}
	if (events->torn)
		printf("    left out: %u that were being written\n", events->torn);
	if (events->senseless)
		printf("    left out: %u that make no sense\n", events->senseless);
}

static void print_table(const struct pn_pins_report *report)
{
	const struct pn_pins_process *process;
	size_t i, k;

	if (!report->process_count)
		printf("no process has a ledger here\n");
	for (i = 0; i < report->process_count; i++) {
		process = &report->processes[i];
		printf("process %d %s, uid %u\n", (int)process->pid,
			process->foreign  ? "(of another PID namespace)"
			: process->alive  ? process->comm
			: process->hidden ? "(hidden)"
					  : "(gone)",
			(unsigned int)process->uid);
		for (k = 0; k < process->domain_count; k++)
			print_domain(&process->domains[k]);
	}
	for (i = 0; i < report->note_count; i++)
		printf("note: %s\n", report->notes[i]);
}

/* JSON's integers have a sign: null for what is above, as a call may have asked for. */
static json_t *json_size(uint64_t bytes)
{
	return bytes > INT64_MAX ? json_null() : json_integer((json_int_t)bytes);
}

static json_t *json_limit(uint64_t bytes)
{
	return bytes == PN_PAGES_UNLIMITED ? json_string("unlimited") : json_size(bytes);
}

/* Nanoseconds as text: they have more than the 53 bits that many readers keep. */
static json_t *json_ns(uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	return json_string(text);
}

static json_t *json_event(const struct pn_event *event)
{
	bool limits = event->kind == PN_EVENT_START || event->kind == PN_EVENT_LIMIT;
	bool was = event->kind == PN_EVENT_LIMIT;
	char when[64];

	return json_pack("{s:I, s:s, s:s, s:o, s:o, s:s?, s:o, s:o, s:o, s:o, s:I, s:s?, s:b, s:o, "
			 "s:o, s:o, "
			 "s:o, s:s}",
		"number", (json_int_t)event->number, "kind", pn_event_name(event->kind), "time",
		time_text(event->wall_ns, true, when), "monotonic_ns", json_ns(event->monotonic_ns),
		"boottime_ns", json_ns(event->boot_ns), "call",
		event->call ? pn_event_name(event->call) : NULL, "errno",
		event->err ? json_integer(event->err) : json_null(), "vaddr",
		json_address(event->vaddr), "iova", json_address(event->iova), "bytes",
		json_size(event->len), "pages", (json_int_t)event->pages, "prot",
		event->prot ? prot_text(event->prot) : NULL, "queued", event->queued, "limit_soft",
		limits ? json_limit(event->limit_soft) : json_null(), "limit_hard",
		limits ? json_limit(event->limit_hard) : json_null(), "was_soft",
		was ? json_limit(event->was_soft) : json_null(), "was_hard",
		was ? json_limit(event->was_hard) : json_null(), "text", event->text);
}

static json_t *json_domain(const struct pn_pins_domain *domain)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < domain->events->count; i++)
		json_array_append_new(list, json_event(&domain->events->events[i]));
	return json_pack("{s:s, s:s, s:i, s:i, s:i, s:o}", "backend", domain->path, "node",
		domain->node, "room", (int)domain->events->room, "torn", (int)domain->events->torn,
		"senseless", (int)domain->events->senseless, "events", list);
}

static json_t *json_process(const struct pn_pins_process *process)
{
	json_t *domains = json_array();
	size_t i;

	for (i = 0; i < process->domain_count; i++)
		json_array_append_new(domains, json_domain(&process->domains[i]));
	return json_pack("{s:i, s:I, s:s, s:b, s:b, s:b, s:o}", "pid", (int)process->pid, "uid",
		(json_int_t)process->uid, "comm", process->comm, "alive", process->alive, "hidden",
		process->hidden, "foreign", process->foreign, "domains", domains);
}

static json_t *json_report(const struct pn_pins_report *report)
{
	json_t *processes = json_array(), *notes = json_array();
	size_t i;

	for (i = 0; i < report->process_count; i++)
		json_array_append_new(processes, json_process(&report->processes[i]));
	for (i = 0; i < report->note_count; i++)
		json_array_append_new(notes, json_string(report->notes[i]));
	return json_pack("{s:s, s:o, s:o}", "schema", "pinion.events/1", "processes", processes,
		"notes", notes);
}

int events_print(const struct pn_pins_report *report, bool json)
{
	if (json)
		return print_json(json_report(report));
	print_table(report);
	return 0;
}
