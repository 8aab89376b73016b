/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A report in Prometheus's text format, version 0.0.4: gauges in bytes, one line a process and
 * counter. Mappings are not in it, nor processes that are gone without a trace in any counter: each
 * would be a time series of its own.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pins_priv.h"
#include "render_text.h"

static void family(struct text *text, const char *name, const char *help)
{
	text_format(text, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
}

/* Any text as the value of a label. */
static void label(struct text *text, const char *name, const char *value)
{
	const char *at;

	text_add(text, name);
	text_add(text, "=\"");
	for (at = value; *at; at++) {
		if (*at == '\\' || *at == '"')
			text_bytes(text, "\\", 1);
		text_bytes(text, *at < ' ' || *at > 126 ? "?" : at, 1);
	}
	text_add(text, "\"");
}

static void bytes(struct text *text, uint64_t pages)
{
	/* A sample is a double: beyond 2^53 it is rounded, and so is this. */
	if (pages == PN_PAGES_UNLIMITED)
		text_add(text, "+Inf");
	else if (pages > UINT64_MAX / 4096)
		text_format(text, "%.17g", (double)pages * 4096);
	else
		text_u64(text, pages * 4096);
	text_add(text, "\n");
}

/*
 * It is there now, and so are its pins, and no other has its labels: two equal lines make the whole
 * page invalid. Pids of other namespaces could well be equal.
 */
static bool is_shown(const struct pn_pins_report *report, size_t index)
{
	const struct pn_pins_process *process = &report->processes[index], *other;
	size_t i;

	if (process->foreign || !strcmp(pn_pins_state(process), "gone"))
		return false;
	for (i = 0; i < index; i++) {
		other = &report->processes[i];
		if (other->pid == process->pid && other->start_time == process->start_time &&
			!other->foreign && strcmp(pn_pins_state(other), "gone") != 0)
			return false;
	}
	return true;
}

static void process_labels(
	struct text *text, const char *name, const struct pn_pins_process *process)
{
	text_add(text, name);
	text_format(text, "{pid=\"%d\",start_time=\"%" PRIu64 "\",uid=\"%u\",", (int)process->pid,
		process->start_time, (unsigned int)process->uid);
	label(text, "comm", process->comm);
	label(text, ",state", pn_pins_state(process));
}

struct gauge {
	const char *name;
	const char *help;
	/* The value in pages and who says so (NULL: the kernel's own limit). False: not known. */
	bool (*get)(const struct pn_pins_process *process, enum pn_counter counter,
		struct pn_figure *figure);
};

static bool get_predicted(
	const struct pn_pins_process *process, enum pn_counter counter, struct pn_figure *figure)
{
	*figure = (struct pn_figure){process->predicted[counter], PN_OBSERVER_MODEL};
	return true;
}

static bool get_before(
	const struct pn_pins_process *process, enum pn_counter counter, struct pn_figure *figure)
{
	*figure = (struct pn_figure){process->before[counter], PN_OBSERVER_PROC};
	return process->before[counter] != UINT64_MAX;
}

/* The user's counter is not a process's, and stands in a family of its own. */
static bool get_observed(
	const struct pn_pins_process *process, enum pn_counter counter, struct pn_figure *figure)
{
	*figure = process->observed[counter];
	return figure->observer != PN_OBSERVER_NONE && counter != PN_COUNTER_USER_LOCKED;
}

static bool get_limit(
	const struct pn_pins_process *process, enum pn_counter counter, struct pn_figure *figure)
{
	*figure = (struct pn_figure){process->limit_soft, PN_OBSERVER_PROC};
	return process->limit_known && pn_pins_limited(process, counter);
}

static bool get_left(
	const struct pn_pins_process *process, enum pn_counter counter, struct pn_figure *figure)
{
	figure->observer = process->observed[counter].observer;
	return pn_pins_left(process, counter, &figure->pages);
}

static const struct gauge gauges[] = {
	{"pinion_pins_predicted_bytes",
		"What the mappings of a process must have added to a counter, by its ledgers.",
		get_predicted},
	{"pinion_pins_before_bytes", "The counter when the first domain of the process was made.",
		get_before},
	{"pinion_pins_observed_bytes", "The counter of the process now.", get_observed},
	{"pinion_pins_limit_bytes",
		"Soft RLIMIT_MEMLOCK of the process, at the counter it is compared with.",
		get_limit},
	{"pinion_pins_headroom_bytes", "What can still be charged under the soft limit.", get_left},
};

static void gauge(struct text *text, const struct gauge *gauge, const struct pn_pins_report *report,
	const bool *shown)
{
	struct pn_figure figure;
	unsigned int counter;
	size_t i;

	family(text, gauge->name, gauge->help);
	for (i = 0; i < report->process_count; i++) {
		const struct pn_pins_process *process = &report->processes[i];

		for (counter = 0; counter < PN_COUNTER_MAX; counter++) {
			if (!shown[i] || !gauge->get(process, counter, &figure))
				continue;
			process_labels(text, gauge->name, process);
			label(text, ",counter", pn_counter_name(counter));
			label(text, ",observer", pn_observer_name(figure.observer));
			text_add(text, "} ");
			bytes(text, figure.pages);
		}
	}
}

/* This may be negative. */
static void unexplained(struct text *text, const struct pn_pins_report *report, const bool *shown)
{
	static const char name[] = "pinion_pins_unexplained_bytes";
	unsigned int counter;
	int64_t pages;
	size_t i;

	family(text, name, "Observed in a counter of a process, without before and predicted.");
	for (i = 0; i < report->process_count; i++) {
		const struct pn_pins_process *process = &report->processes[i];

		for (counter = 0; counter < PN_COUNTER_MAX; counter++) {
			if (counter == PN_COUNTER_USER_LOCKED || !shown[i] ||
				!pn_pins_unexplained(process, counter, &pages))
				continue;
			process_labels(text, name, process);
			label(text, ",counter", pn_counter_name(counter));
			label(text, ",observer",
				pn_observer_name(process->observed[counter].observer));
			text_add(text, "} ");
			if (pages < 0)
				text_add(text, "-");
			bytes(text, pages < 0 ? -(uint64_t)pages : (uint64_t)pages);
		}
	}
}

static bool is_first_of_user(const struct pn_pins_report *report, size_t index)
{
	size_t i;

	for (i = 0; i < index; i++) {
		if (report->processes[i].uid == report->processes[index].uid)
			return false;
	}
	return true;
}

/* user->locked_vm: predicted, and measured where it was. */
static void users(struct text *text, const struct pn_pins_report *report, bool measured)
{
	static const char *const names[] = {
		"pinion_pins_user_predicted_bytes", "pinion_pins_user_observed_bytes"};
	size_t i;

	family(text, names[measured],
		measured ? "user->locked_vm, measured."
			 : "What the ledgers of a user's processes add up to in user->locked_vm.");
	for (i = 0; i < report->process_count; i++) {
		const struct pn_pins_process *process = &report->processes[i];
		const struct pn_figure *figure = &process->observed[PN_COUNTER_USER_LOCKED];

		if (!is_first_of_user(report, i) ||
			(measured && (figure->observer == PN_OBSERVER_MODEL ||
					     figure->observer == PN_OBSERVER_NONE)))
			continue;
		text_format(text, "%s{uid=\"%u\",observer=\"%s\"} ", names[measured],
			(unsigned int)process->uid,
			pn_observer_name(measured ? figure->observer : PN_OBSERVER_MODEL));
		bytes(text, measured ? figure->pages : process->user_predicted);
	}
}

static bool same_labels(const struct pn_finding *a, const struct pn_finding *b)
{
	return a->kind == b->kind && !strcmp(a->cause, b->cause) && a->pid == b->pid &&
	       a->holder == b->holder && a->uid == b->uid && a->counter == b->counter &&
	       a->figure.observer == b->figure.observer;
}

/* What those with the same labels have together, at the first of them; false at the others. */
static bool sum_equal(const struct pn_pins_report *report, size_t index, uint64_t *pages)
{
	const struct pn_finding *finding = &report->findings[index];
	size_t i;

	for (i = 0; i < index; i++) {
		if (same_labels(&report->findings[i], finding))
			return false;
	}
	for (*pages = 0; i < report->finding_count; i++) {
		if (same_labels(&report->findings[i], finding))
			*pages += report->findings[i].figure.pages;
	}
	return true;
}

static void findings(struct text *text, const struct pn_pins_report *report)
{
	static const struct {
		enum pn_finding_kind kind;
		const char *name;
		const char *help;
	} families[] = {
		{PN_FINDING_TWICE, "pinion_pins_charged_twice_bytes",
			"Memory that is in one counter more than once: what is too much."},
		{PN_FINDING_NOBODY, "pinion_pins_charged_to_nobody_bytes",
			"Memory that a device reaches and that no limit sees."},
		{PN_FINDING_STRANDED, "pinion_pins_stranded_bytes",
			"Memory that stays pinned though its process is gone."},
	};
	uint64_t pages;
	size_t i, k;

	for (k = 0; k < PN_ARRAY_SIZE(families); k++) {
		family(text, families[k].name, families[k].help);
		for (i = 0; i < report->finding_count; i++) {
			const struct pn_finding *finding = &report->findings[i];

			if (finding->kind != families[k].kind || !sum_equal(report, i, &pages))
				continue;
			text_format(text, "%s{pid=\"%d\",holder_pid=\"%d\",uid=\"%u\",",
				families[k].name, (int)finding->pid, (int)finding->holder,
				(unsigned int)finding->uid);
			label(text, "cause", finding->cause);
			label(text, ",counter", pn_counter_name(finding->counter));
			label(text, ",observer", pn_observer_name(finding->figure.observer));
			text_add(text, "} ");
			bytes(text, pages);
		}
	}
}

static void counts(struct text *text, const struct pn_pins_report *report)
{
	static const char *const states[] = {"alive", "hidden", "foreign", "stranded", "gone"};
	size_t sums[PN_ARRAY_SIZE(states)] = {0}, i, k;

	for (i = 0; i < report->process_count; i++) {
		for (k = 0; k < PN_ARRAY_SIZE(states); k++)
			sums[k] += !strcmp(pn_pins_state(&report->processes[i]), states[k]);
	}
	family(text, "pinion_pins_processes", "Processes with a ledger, by what became of them.");
	for (k = 0; k < PN_ARRAY_SIZE(states); k++)
		text_format(text, "pinion_pins_processes{state=\"%s\"} %zu\n", states[k], sums[k]);
	family(text, "pinion_pins_notes",
		"What the report could not read or measure; 'pinion pins' says what and why.");
	text_format(text, "pinion_pins_notes %zu\n", report->note_count);
}

char *pn_pins_prometheus(const struct pn_pins_report *report)
{
	bool *shown = calloc(report->process_count + 1, sizeof(*shown));
	struct text text = {0};
	size_t i;

	if (!shown)
		return NULL;
	for (i = 0; i < report->process_count; i++)
		shown[i] = is_shown(report, i);
	counts(&text, report);
	for (i = 0; i < PN_ARRAY_SIZE(gauges); i++)
		gauge(&text, &gauges[i], report, shown);
	unexplained(&text, report, shown);
	free(shown);
	users(&text, report, false);
	users(&text, report, true);
	findings(&text, report);
	return text_end(&text);
}
