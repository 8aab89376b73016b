/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a mapping would be charged, before it is made.
 */
#include <errno.h>

#include "base_priv.h"
#include "domain.h"
#include "mem_priv.h"

static uint64_t queued_pages(const struct pn_domain *domain)
{
	return domain_in_force(domain) ? 0
				       : (domain->index.bytes - domain->device_bytes) / PN_PAGE_4K;
}

static int look(struct pn_domain *domain, const struct pn_segment *segment, enum pn_prot prot,
	struct pn_preflight *out)
{
	struct mapping mapping = {.region = segment->region, .prot = (uint8_t)prot};
	uint64_t held = domain->index.bytes / PN_PAGE_4K;
	int ret;

	ret = domain_check_prot(prot);
	if (!ret)
		ret = domain_check_segment(segment, prot, limits_page(domain->page_sizes), false);
	if (ret)
		return ret;
	mapping.vaddr = (uintptr_t)segment->region->vaddr + segment->offset;
	mapping.len = segment->len;
	*out = (struct pn_preflight){0};
	if (domain->rule.counters && segment->region->backing != PN_BACKING_DEVICE &&
		!kernel_shares(domain, &mapping))
		out->charged = pn_charge_pages(mapping.vaddr, mapping.len);
	out->queued = domain->rule.counters ? queued_pages(domain) : 0;
	/* What was mapped or unmapped since is, most likely, all that has changed. */
	domain->trial.left += domain->trial_held - held;
	domain->trial_held = held;
	pn_preflight_look(out, &domain->rule, &domain->trial);
	if (!out->charged)
		out->counters = 0;
	return 0;
}

int pn_domain_preflight(struct pn_domain *domain, struct pn_region *region, uint64_t offset,
	uint64_t len, enum pn_prot prot, struct pn_preflight *out)
{
	const struct pn_segment segment = {region, offset, len};
	int ret;

	ret = domain_enter(domain);
	if (ret)
		return ret;
	if (!out)
		ret = pn_fail(EINVAL, "pn_domain_preflight: out must not be NULL");
	else
		ret = domain_changeable(domain);
	if (!ret)
		ret = look(domain, &segment, prot, out);
	domain_leave(domain);
	return ret;
}
