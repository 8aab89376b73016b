/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One mapping into the kernel and out of it: the backend's call, what it is charged, who pays when
 * domains share pins, and words for what the kernel refused.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "domain.h"
#include "mem_priv.h"

struct pn_backend_map kernel_view(const struct mapping *mapping)
{
	const struct pn_region *region = mapping->region;
	struct pn_backend_map view = {
		.iova = mapping->iova,
		.vaddr = mapping->vaddr,
		.len = mapping->len,
		.prot = mapping->prot,
		.page_size = region->page_size,
		.device = region->backing == PN_BACKING_DEVICE,
		.fd = region->fd,
		.dmabuf = region->dma_buf,
	};

	if (region->fd >= 0)
		view.fd_offset = region->offset + (mapping->vaddr - (uintptr_t)region->vaddr);
	return view;
}

uint64_t kernel_charged(const struct mapping *mapping)
{
	return mapping->counters ? pn_charge_pages(mapping->vaddr, mapping->len) : 0;
}

void kernel_pin(const struct mapping *mapping, struct pn_pin *pin)
{
	const struct pn_region *region = mapping->region;

	pin->vaddr = mapping->vaddr;
	pin->iova = mapping->iova;
	pin->len = mapping->len;
	pin->page_size = region->page_size;
	pin->queued = !mapping->in_kernel;
	pin->counters = mapping->counters;
	pin->pages = kernel_charged(mapping);
	pin->prot = mapping->prot;
	_Static_assert(sizeof(pin->name) == sizeof(region->name), "one kind of name");
	memcpy(pin->name, region->name, sizeof(pin->name));
}

/*
 * Words
 */

/* Gone or changed since it was made a region, most often; what could not be pinned in the first
 * place was refused then. */
static int fail_fault(const struct mapping *mapping, const char *what)
{
	if (pn_region_check(mapping->region) == -ESTALE)
		return pn_fail_prefix(-EFAULT, "%s: EFAULT: ", what);
	return pn_fail(EFAULT,
		"%s: EFAULT: the memory is not there, may not be written by this process, or is of "
		"a kind that cannot be pinned",
		what);
}

static int fail_map(struct pn_domain *domain, const struct mapping *mapping, const char *call,
	uint64_t more, int err)
{
	bool charged = mapping->region->backing != PN_BACKING_DEVICE;
	char what[200];

	snprintf(what, sizeof(what),
		"mapping %" PRIu64 " bytes at %#" PRIx64 " to IOVA %#" PRIx64 " on %s (%s)",
		mapping->len, mapping->vaddr, mapping->iova, domain->backend->name, call);
	/* The backend may have said why. */
	if (err == -EOPNOTSUPP && pn_error()[0])
		return pn_fail_prefix(err, "%s: ", what);
	if (err == -ENOMEM && charged)
		return pn_explain_enomem(&domain->rule,
			&(struct pn_refused){.what = what,
				.pages = pn_charge_pages(mapping->vaddr, mapping->len),
				.more = more,
				.page_size = mapping->region->page_size});
	if (err == -EFAULT)
		return fail_fault(mapping, what);
	if (err == -EEXIST)
		return pn_fail(EEXIST,
			"%s: the kernel holds a mapping there that the index does not", what);
	if (err == -ENOSPC && domain->entries != UINT64_MAX)
		return pn_fail(ENOSPC,
			"%s: the entry budget is used up (%zu mappings are "
			"made); " ENTRY_BUDGET_MEND,
			what, map_index_count(&domain->index));
	if (err == -EINVAL)
		return pn_fail(
			EINVAL, "%s: the kernel refuses this IOVA, size or protection", what);
	return pn_fail(-err, "%s: %s", what, strerror(-err));
}

/* Capabilities may have been dropped, or the user changed, since the ledger was told. */
static void tell_charge(struct pn_domain *domain, bool exempt)
{
	if (exempt != domain->exempt)
		pn_ledger_charge(domain->ledger, &domain->rule, exempt);
	domain->exempt = exempt;
}

/* Where the exempt are charged alike, it is only what reports show as the limit. */
static bool exempt_for(const struct pn_domain *domain)
{
	const struct pn_charge_rule *rule = &domain->rule;

	return pn_exempt_still(rule->counters == rule->exempt_counters && domain->exempt);
}

/*
 * Sharing
 */

static struct share *share_of(const struct mapping *mapping)
{
	return mapping->link;
}

/* A mapping of the same memory in another domain of the family, in the kernel and not narrower. */
static struct mapping *find_equal(
	const struct pn_domain *domain, const struct mapping *mapping, struct pn_domain **owner)
{
	struct mapping *other;
	struct pn_domain *at;
	uint64_t iova;

	if (!domain->backend->copy || !domain->family->domains->next)
		return NULL;
	for (at = domain->family->domains; at; at = at->next) {
		if (at == domain || map_index_iova(&at->index, mapping->vaddr, mapping->len, &iova))
			continue;
		other = map_index_at_or_after(&at->index, iova);
		if (other && other->vaddr == mapping->vaddr && other->len == mapping->len &&
			other->region == mapping->region && other->in_kernel &&
			!(mapping->prot & ~other->prot)) {
			*owner = at;
			return other;
		}
	}
	return NULL;
}

bool kernel_shares(struct pn_domain *domain, const struct mapping *mapping)
{
	struct pn_domain *owner;

	return find_equal(domain, mapping, &owner);
}

static struct share *share_new(struct pn_domain *domain, struct mapping *mapping)
{
	struct share *share = calloc(1, sizeof(*share));

	if (!share)
		return NULL;
	share->next = share;
	share->domain = domain;
	share->mapping = mapping;
	share->counters = mapping->counters;
	return share;
}

/* Leave the ring; when this one paid, the next pays. */
static void share_leave(struct mapping *mapping)
{
	struct share *share = share_of(mapping), *before, *next;
	struct pn_pin old, pin;

	if (!share)
		return;
	mapping->link = NULL;
	for (before = share; before->next != share; before = before->next)
		;
	next = share->next;
	before->next = next;
	if (next != share && mapping->counters) {
		kernel_pin(next->mapping, &old);
		next->mapping->counters = (uint8_t)share->counters;
		kernel_pin(next->mapping, &pin);
		pn_ledger_change(next->domain->ledger, next->mapping->slot, &old, &pin);
	}
	/* One alone shares nothing. */
	if (next != share && next->next == next) {
		next->mapping->link = NULL;
		free(next);
	}
	free(share);
}

/* Map by copying an equal mapping. 0; -ENOENT: there is none; another errno of the kernel. */
static int copy_equal(
	struct pn_domain *domain, struct mapping *mapping, struct pn_backend_map *view)
{
	struct share *own, *theirs;
	struct pn_domain *owner;
	struct mapping *equal;
	int ret = -ENOMEM;

	equal = find_equal(domain, mapping, &owner);
	if (!equal)
		return -ENOENT;
	mapping->counters = 0;
	own = share_new(domain, mapping);
	theirs = equal->link ? share_of(equal) : share_new(owner, equal);
	if (own && theirs)
		ret = domain->backend->copy(domain->ctx, owner->ctx, equal->iova, view);
	if (ret)
		goto undo;
	own->counters = theirs->counters;
	own->next = theirs->next;
	theirs->next = own;
	mapping->link = own;
	equal->link = theirs;
	return 0;

undo:
	free(own);
	if (theirs != share_of(equal))
		free(theirs);
	return ret == -ENOENT ? -EIO : ret;
}

/*
 * In and out
 */

int kernel_map(struct pn_domain *domain, struct mapping *mapping, uint64_t more)
{
	struct pn_backend_map view = kernel_view(mapping);
	bool exempt = exempt_for(domain);
	int ret;

	tell_charge(domain, exempt);
	view.call = domain->backend->map_call;
	pn_error_clear();
	ret = copy_equal(domain, mapping, &view);
	if (ret == -ENOENT) {
		ret = domain->backend->map(domain->ctx, &view);
		if (!ret && !view.uncharged)
			mapping->counters = (uint8_t)(exempt ? domain->rule.exempt_counters
							     : domain->rule.counters);
	}
	if (ret)
		return fail_map(domain, mapping, view.call, more, ret);
	mapping->in_kernel = true;
	return 0;
}

/*
 * What a mapping that was taken over is charged to. type1 charges it anew
 * (vfio_iommu_type1.c:vfio_change_dma_owner); iommufd moves what was charged, and leaves alone what
 * was exempt (ioas.c:need_charge_update of Linux 6.14): that stays with the program before.
 */
static uint8_t taken_counters(const struct pn_domain *domain, uint8_t before)
{
	const struct pn_charge_rule *rule = &domain->rule;

	if (domain->backend->suspend_map)
		return (uint8_t)(pn_exempt_now() ? rule->exempt_counters : rule->counters);
	return before == rule->exempt_counters && before != rule->counters ? 0 : before;
}

void kernel_made(struct pn_domain *domain, struct mapping *mapping)
{
	struct pn_pin old, pin;

	kernel_pin(mapping, &old);
	mapping->in_kernel = true;
	mapping->counters = taken_counters(domain, mapping->flags);
	mapping->flags = 0;
	kernel_pin(mapping, &pin);
	pn_ledger_change(domain->ledger, mapping->slot, &old, &pin);
}

int kernel_unmap(struct pn_domain *domain, struct mapping *mapping)
{
	int ret = domain->backend->unmap(domain->ctx, mapping->iova, mapping->len);

	if (ret)
		return ret;
	share_leave(mapping);
	mapping->in_kernel = false;
	mapping->counters = 0;
	return 0;
}

int kernel_map_recorded(struct pn_domain *domain, struct mapping *mapping, uint64_t more)
{
	struct pn_pin old, pin;
	int ret;

	kernel_pin(mapping, &old);
	ret = kernel_map(domain, mapping, more);
	if (ret)
		return ret;
	kernel_pin(mapping, &pin);
	pn_ledger_change(domain->ledger, mapping->slot, &old, &pin);
	return 0;
}

void kernel_let_go(struct pn_domain *domain, struct mapping *mapping)
{
	struct pn_pin old, pin;

	kernel_pin(mapping, &old);
	share_leave(mapping);
	mapping->in_kernel = false;
	mapping->counters = 0;
	kernel_pin(mapping, &pin);
	pn_ledger_change(domain->ledger, mapping->slot, &old, &pin);
}

int kernel_unmap_recorded(struct pn_domain *domain, struct mapping *mapping)
{
	int ret = domain->backend->unmap(domain->ctx, mapping->iova, mapping->len);

	if (!ret)
		kernel_let_go(domain, mapping);
	return ret;
}
