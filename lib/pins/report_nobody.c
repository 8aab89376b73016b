/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that a device reaches and no limit sees: of processes that are exempt, BARs, memory behind
 * no IOMMU.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report_priv.h"
#include "report_spans.h"
#include "report_vmas.h"

struct sums {
	uint64_t exempt, noiommu, bar, uncharged; /* pages */
	enum pn_counter exempt_from;
};

static int found(struct report_build *build, const struct pn_pins_process *process,
	const char *cause, enum pn_counter counter, const struct pn_figure *figure,
	const char *text)
{
	struct pn_finding finding = {.kind = PN_FINDING_NOBODY,
		.cause = cause,
		.pid = process->pid,
		.uid = process->uid,
		.counter = counter,
		.figure = *figure};

	return figure->pages ? report_find(build->report, &finding, "%s", text) : 0;
}

static struct span pages_of(const struct pn_pin *pin)
{
	return (struct span){
		.start = pin->vaddr >> 12, .end = ((pin->vaddr + (pin->len - 1)) >> 12) + 1};
}

/* What the process is charged for, by virtual address. */
static int paid_pages(const struct pn_pins_process *process, struct spans *paid)
{
	struct span span;
	size_t i, k;
	int ret = 0;

	for (i = 0; i < process->domain_count && !ret; i++) {
		for (k = 0; k < process->domains[i].pin_count && !ret; k++) {
			span = pages_of(&process->domains[i].pins[k]);
			if (process->domains[i].pins[k].pages)
				ret = spans_add(paid, &span);
		}
	}
	spans_unite(paid);
	return ret;
}

/* Does another domain of the process pay for this memory, as with domains beside each other? */
static bool is_paid(const struct spans *paid, const struct pn_pin *pin)
{
	struct span span = pages_of(pin);
	size_t low = 0, high = paid->count, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (paid->list[middle].end > span.start)
			high = middle;
		else
			low = middle + 1;
	}
	return low < paid->count && paid->list[low].start <= span.start &&
	       paid->list[low].end >= span.end;
}

static bool is_bar(const struct vmas *vmas, const struct pn_pin *pin)
{
	size_t at = vmas_find(vmas, pin->vaddr);

	return at < vmas->count && vmas->list[at].start <= pin->vaddr && vmas->list[at].bar;
}

static bool is_uncharged(const struct pn_pin *pin)
{
	return !pin->queued && !pin->pages;
}

static bool has_uncharged(const struct pn_pins_domain *domain, uint64_t *start, uint64_t *end)
{
	size_t k;

	*start = UINT64_MAX;
	*end = 0;
	for (k = 0; k < domain->pin_count; k++) {
		const struct pn_pin *pin = &domain->pins[k];

		if (!is_uncharged(pin))
			continue;
		*start = pin->vaddr < *start ? pin->vaddr : *start;
		*end = pin->vaddr + pin->len > *end ? pin->vaddr + pin->len : *end;
	}
	return *end != 0;
}

static int look_at_uncharged(struct report_build *build, const struct pn_pins_process *process,
	const struct pn_pins_domain *domain, struct sums *sums)
{
	struct spans paid = {0};
	struct vmas vmas = {0};
	uint64_t start, end;
	int ret;
	size_t k;

	if (!has_uncharged(domain, &start, &end))
		return 0;
	ret = paid_pages(process, &paid);
	/* Unreadable, it is not known to be a BAR, which is what is said then. */
	if (!ret && process->alive && !build->query->quick &&
		vmas_read(process->pid, start, end, false, &vmas) == -ENOMEM)
		ret = -ENOMEM;
	for (k = 0; k < domain->pin_count && !ret; k++) {
		const struct pn_pin *pin = &domain->pins[k];
		uint64_t pages = pn_charge_pages(pin->vaddr, pin->len);

		if (!is_uncharged(pin) || is_paid(&paid, pin))
			continue;
		if (is_bar(&vmas, pin))
			sums->bar += pages;
		else
			sums->uncharged += pages;
	}
	vmas_free(&vmas);
	spans_free(&paid);
	return ret;
}

static void sum_domain(const struct pn_pins_domain *domain, struct sums *sums)
{
	bool noiommu = !strcmp(domain->path, "noiommu");
	size_t k;

	for (k = 0; k < domain->pin_count; k++) {
		const struct pn_pin *pin = &domain->pins[k];

		if (pin->queued)
			continue;
		if (noiommu)
			sums->noiommu += pn_charge_pages(pin->vaddr, pin->len);
		else if (pin->pages && domain->limited < PN_COUNTER_MAX &&
			 !(pin->counters & PN_COUNTER_BIT(domain->limited))) {
			sums->exempt += pin->pages;
			sums->exempt_from = domain->limited;
		}
	}
}

static int look_at(struct report_build *build, const struct pn_pins_process *process)
{
	const struct pn_figure none = {0, PN_OBSERVER_MODEL};
	struct pn_figure figure = none;
	struct sums sums = {0};
	int ret = 0;
	size_t i;

	for (i = 0; i < process->domain_count && !ret; i++) {
		/* No device reaches what only the module has pinned. */
		if (report_is_module(&process->domains[i]))
			continue;
		sum_domain(&process->domains[i], &sums);
		if (process->domains[i].counters)
			ret = look_at_uncharged(build, process, &process->domains[i], &sums);
	}
	figure.pages = sums.exempt;
	if (!ret)
		ret = found(build, process, "exempt", sums.exempt_from, &figure,
			"mapped with CAP_IPC_LOCK: pinned, and not in the counter that the limit "
			"is compared with");
	figure.pages = sums.noiommu;
	if (!ret)
		ret = found(build, process, "noiommu", PN_COUNTER_MAX, &figure,
			"used without an IOMMU: neither pinned nor counted, and the device "
			"reaches all other memory too");
	figure = (struct pn_figure){sums.bar, PN_OBSERVER_PROC};
	if (!ret)
		ret = found(build, process, "bar", PN_COUNTER_MAX, &figure,
			"device memory (BAR) that another device reaches: nothing is pinned or "
			"charged");
	figure = (struct pn_figure){sums.uncharged, PN_OBSERVER_MODEL};
	if (!ret)
		ret = found(build, process, "uncharged", PN_COUNTER_MAX, &figure,
			"not charged by its ledger, and no other mapping of it is found that is: "
			"device memory (BAR), or paid for by a ledger that could not be read");
	return ret;
}

int report_nobody(struct report_build *build)
{
	struct pn_pins_report *report = build->report;
	int ret = 0;
	size_t i;

	for (i = 0; i < report->process_count && !ret; i++) {
		/* Whether one of another PID namespace is there still is not known, and its pid may
		 * be another's here. */
		if (report_is_asked(build, &report->processes[i]) && !build->keys[i].gone &&
			!report->processes[i].foreign)
			ret = look_at(build, &report->processes[i]);
	}
	return ret;
}
