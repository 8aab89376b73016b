/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages that are in one counter more than once: at two IOVAs, in two domains, pinned by the
 * companion module as well as mapped, under two addresses, in two processes of a user, and those
 * that are mlocked as well.
 *
 * Each step unites what the step before has left, so that a page is found in one step only.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report_priv.h"
#include "report_spans.h"
#include "report_vmas.h"

#define PAGE_SHIFT 12

/* One process and counter on the way through the steps. */
struct looked {
	struct report_build *build;
	const struct pn_pins_process *process;
	enum pn_counter counter;
	struct spans pages; /* by virtual address */
};

static int found(const struct looked *at, const char *cause, uint64_t pages,
	enum pn_observer observer, const char *text)
{
	struct pn_finding finding = {.kind = PN_FINDING_TWICE,
		.cause = cause,
		.pid = at->process->pid,
		.uid = at->process->uid,
		.counter = at->counter,
		.figure = {pages, observer}};

	return pages ? report_find(at->build->report, &finding, "%s", text) : 0;
}

static int add_pin(struct spans *spans, const struct pn_pin *pin)
{
	struct span span = {.start = pin->vaddr >> PAGE_SHIFT,
		.end = ((pin->vaddr + (pin->len - 1)) >> PAGE_SHIFT) + 1};

	return spans_add(spans, &span);
}

/* Add what the process's domains charge, or the module's pins of regions; *within: more than once
 * in one of them. */
static int add_domains(struct looked *at, bool of_module, uint64_t *within)
{
	const struct pn_pins_process *process = at->process;
	size_t i, k;
	int ret = 0;

	*within = 0;
	for (i = 0; i < process->domain_count && !ret; i++) {
		const struct pn_pins_domain *domain = &process->domains[i];
		struct spans spans = {0};

		if (report_is_module(domain) != of_module)
			continue;
		for (k = 0; k < domain->pin_count && !ret; k++) {
			if (domain->pins[k].pages &&
				domain->pins[k].counters & PN_COUNTER_BIT(at->counter))
				ret = add_pin(&spans, &domain->pins[k]);
		}
		*within += spans_unite(&spans);
		if (!ret)
			ret = spans_add_all(&at->pages, &spans);
		spans_free(&spans);
	}
	return ret;
}

/* What the mappings of each domain, and then of all, charge more than once. */
static int look_at_domains(struct looked *at)
{
	uint64_t iovas, domains;
	int ret = add_domains(at, false, &iovas);

	domains = spans_unite(&at->pages);
	if (!ret)
		ret = found(at, "two-iovas", iovas, PN_OBSERVER_MODEL,
			"mapped at two IOVAs of one domain, each charged; one mapping would do");
	if (!ret)
		ret = found(at, "two-domains", domains, PN_OBSERVER_MODEL,
			"mapped in two domains of the process, each charged; let the devices share "
			"a domain, or make one beside the other");
	return ret;
}

/* The module charges a page once, whatever pins of its own it has; what maps it charges as ever. */
static int look_at_module(struct looked *at)
{
	uint64_t within;
	int ret = add_domains(at, true, &within);
	uint64_t pages = spans_unite(&at->pages);

	return ret ? ret
		   : found(at, "module-pin", pages, PN_OBSERVER_MODEL,
			     "pinned by the companion module as well as mapped, and charged for "
			     "both; a mapping pins by itself, or have the two charged to different "
			     "counters");
}

/* Pages of memory with a file become pages of the file; what has none keeps its address. */
static int by_file(const struct spans *pages, const struct vmas *vmas, struct spans *files)
{
	size_t i, k;
	int ret = 0;

	for (i = 0; i < pages->count; i++) {
		uint64_t start = pages->list[i].start, end = pages->list[i].end;

		for (k = vmas_find(vmas, start << PAGE_SHIFT); k < vmas->count && !ret; k++) {
			const struct vma *vma = &vmas->list[k];
			uint64_t first = vma->start >> PAGE_SHIFT, past = vma->end >> PAGE_SHIFT;
			struct span span = {.device = vma->device, .inode = vma->inode};

			if (first >= end)
				break;
			if (!vma->shared)
				continue;
			span.start = (first > start ? first : start) - first +
				     (vma->offset >> PAGE_SHIFT);
			span.end = (past < end ? past : end) - first + (vma->offset >> PAGE_SHIFT);
			ret = spans_add(files, &span);
		}
		if (ret)
			return ret;
	}
	return 0;
}

/* An mlocked area counts whole, whether its pages are there or not; hugepages are never in it. */
static uint64_t locked_too(const struct spans *pages, const struct vmas *vmas)
{
	uint64_t sum = 0;
	size_t i, k;

	for (i = 0; i < pages->count; i++) {
		uint64_t start = pages->list[i].start, end = pages->list[i].end;

		for (k = vmas_find(vmas, start << PAGE_SHIFT); k < vmas->count; k++) {
			uint64_t first = vmas->list[k].start >> PAGE_SHIFT,
				 past = vmas->list[k].end >> PAGE_SHIFT;

			if (first >= end)
				break;
			if (vmas->list[k].locked)
				sum += (past < end ? past : end) - (first > start ? first : start);
		}
	}
	return sum;
}

/* Something in VmLck that the mappings have not put there: mlock, perhaps of the same memory. */
static bool may_be_locked_too(const struct looked *at)
{
	const struct pn_figure *figure = &at->process->observed[PN_COUNTER_MM_LOCKED];

	return at->counter == PN_COUNTER_MM_LOCKED && figure->observer == PN_OBSERVER_PROC &&
	       figure->pages > at->process->predicted[PN_COUNTER_MM_LOCKED];
}

static int look_at_memory(struct looked *at, struct spans *files)
{
	const struct pn_pins_process *process = at->process;
	bool locked = may_be_locked_too(at);
	uint64_t from, to;
	struct vmas vmas;
	int ret;

	if (!at->pages.count)
		return 0;
	from = at->pages.list[0].start << PAGE_SHIFT;
	to = at->pages.list[at->pages.count - 1].end << PAGE_SHIFT;
	ret = vmas_read(process->pid, from, to, locked, &vmas);
	if (ret == -ENOMEM)
		return ret;
	/* What is in the user's counter is in mm->pinned_vm too, and it is said of that one. */
	if (ret && at->counter == PN_COUNTER_USER_LOCKED && report_is_asked(at->build, process))
		return 0;
	if (ret)
		return report_note(at->build->report,
			"whether memory of process %d is charged twice by its address or by mlock "
			"is not known: /proc/%d/%s cannot be read: %s",
			(int)process->pid, (int)process->pid, locked ? "smaps" : "maps",
			strerror(-ret));
	if (locked)
		ret = found(at, "mlock", locked_too(&at->pages, &vmas), PN_OBSERVER_PROC,
			"mlocked as well as mapped; mapped memory stays where it is without mlock");
	if (!ret)
		ret = by_file(&at->pages, &vmas, files);
	if (!ret)
		ret = found(at, "two-addresses", spans_unite(files), PN_OBSERVER_PROC,
			"the same pages of a file under two addresses of the process, each mapped "
			"and charged; map one of them");
	vmas_free(&vmas);
	return ret;
}

static int look_at(struct report_build *build, const struct pn_pins_process *process,
	enum pn_counter counter, struct spans *files)
{
	struct looked at = {.build = build, .process = process, .counter = counter};
	int ret;

	ret = look_at_domains(&at);
	if (!ret)
		ret = look_at_module(&at);
	if (!ret && process->alive && !build->query->quick)
		ret = look_at_memory(&at, files);
	spans_free(&at.pages);
	return ret;
}

/* The counter of a user has shared memory once for each process that mapped it. */
static int look_at_user(struct report_build *build, uid_t uid)
{
	struct pn_pins_report *report = build->report;
	struct pn_finding finding = {.kind = PN_FINDING_TWICE,
		.cause = "two-processes",
		.uid = uid,
		.counter = PN_COUNTER_USER_LOCKED,
		.figure = {0, PN_OBSERVER_PROC}};
	struct spans files = {0};
	int ret = 0;
	size_t i;

	for (i = 0; i < report->process_count && !ret; i++) {
		const struct pn_pins_process *process = &report->processes[i];
		struct spans own = {0};

		if (process->charged_uid != uid || !process->alive ||
			!process->predicted[PN_COUNTER_USER_LOCKED])
			continue;
		ret = look_at(build, process, PN_COUNTER_USER_LOCKED, &own);
		if (!ret)
			ret = spans_add_all(&files, &own);
		spans_free(&own);
	}
	finding.figure.pages = ret ? 0 : spans_unite(&files);
	if (finding.figure.pages)
		ret = report_find(report, &finding,
			"the same memory, mapped by several processes of the user and charged for "
			"each");
	spans_free(&files);
	return ret;
}

/* Every user once, at the first of its processes. */
static bool is_first_of_user(const struct pn_pins_report *report, size_t index)
{
	size_t i;

	for (i = 0; i < index; i++) {
		if (report->processes[i].uid == report->processes[index].uid)
			return false;
	}
	return true;
}

static bool user_is_asked(const struct report_build *build, uid_t uid)
{
	size_t i;

	for (i = 0; i < build->report->process_count; i++) {
		if (build->report->processes[i].uid == uid &&
			report_is_asked(build, &build->report->processes[i]))
			return true;
	}
	return false;
}

int report_twice(struct report_build *build)
{
	static const enum pn_counter own[] = {PN_COUNTER_MM_LOCKED, PN_COUNTER_MM_PINNED};
	struct pn_pins_report *report = build->report;
	int ret = 0;
	size_t i, k;

	for (i = 0; i < report->process_count && !ret; i++) {
		const struct pn_pins_process *process = &report->processes[i];

		for (k = 0; k < PN_ARRAY_SIZE(own) && !ret; k++) {
			struct spans files = {0};

			if (report_is_asked(build, process) && process->predicted[own[k]] &&
				(process->alive || process->stranded))
				ret = look_at(build, process, own[k], &files);
			spans_free(&files);
		}
		if (!ret && is_first_of_user(report, i) && user_is_asked(build, process->uid))
			ret = look_at_user(build, process->uid);
	}
	return ret;
}
