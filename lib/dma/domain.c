/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A domain: creation with a choice of backend, mapping and unmapping, lookups. Attaching is in
 * attach.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "domain.h"
#include "mem_priv.h"

/*
 * Before a device is attached the kernel cannot say which IOVAs are valid. 4 GiB to 2^39: above the
 * interrupt window and the reserved ranges of firmware, within the 39 bits that every VT-d unit
 * has. Attach looks again.
 */
static const struct pn_iova_range guess = {UINT64_C(1) << 32, (UINT64_C(1) << 39) - 1};

const struct pn_iova_range *domain_ranges(const struct pn_domain *domain, unsigned int *count)
{
	*count = domain->ranges ? domain->range_count : 1;
	return domain->ranges ? domain->ranges : &guess;
}

int pn_backend_get(unsigned int index, struct pn_backend_info *info)
{
	const struct pn_backend *backend;
	unsigned int i;

	for (i = 0; pn_backends[i] && i < index; i++)
		;
	backend = pn_backends[i];
	if (!backend)
		return pn_fail(ENOENT, "there is no backend number %u", index);
	memset(info, 0, sizeof(*info));
	info->name = backend->name;
	info->summary = backend->summary;
	info->available = !backend->probe(NULL, info->node, sizeof(info->node));
	if (!info->available)
		snprintf(info->reason, sizeof(info->reason), "%s", pn_error());
	return 0;
}

static int fail_unknown_backend(const char *name)
{
	unsigned int i;
	int ret;

	ret = pn_fail(EINVAL, "unknown backend \"%s\"; there are: auto", name);
	for (i = 0; pn_backends[i]; i++)
		pn_fail_append(ret, ", %s", pn_backends[i]->name);
	return ret;
}

static int choose_named(struct pn_domain *domain, const char *name, const char *node)
{
	unsigned int i;

	for (i = 0; pn_backends[i] && strcmp(pn_backends[i]->name, name); i++)
		;
	if (!pn_backends[i])
		return fail_unknown_backend(name);
	domain->backend = pn_backends[i];
	return domain->backend->probe(node, domain->node, sizeof(domain->node));
}

/* The first that is available; what was passed over, and why, is kept for the user. */
static int choose_auto(struct pn_domain *domain, const char *node)
{
	size_t size = sizeof(domain->chosen), used = 0;
	unsigned int i;

	for (i = 0; pn_backends[i]; i++) {
		if (!pn_backends[i]->probe(node, domain->node, sizeof(domain->node)))
			break;
		if (used < size)
			used += (size_t)snprintf(domain->chosen + used, size - used, "%s%s: %s",
				used ? "; " : "", pn_backends[i]->name, pn_error());
	}
	if (!pn_backends[i])
		return pn_fail(ENODEV, "no DMA backend is available: %s", domain->chosen);
	domain->backend = pn_backends[i];
	if (!used)
		snprintf(domain->chosen, size, "the first in order that is available");
	return 0;
}

int pn_domain_create(struct pn_domain **out, const struct pn_domain_opts *opts)
{
	static const struct pn_domain_opts defaults;
	struct pn_ledger_owner owner;
	struct pn_domain *domain;
	int ret;

	if (!opts)
		opts = &defaults;
	if (opts->node && strlen(opts->node) >= sizeof(domain->node))
		return pn_fail(ENAMETOOLONG,
			"the path of a backend's node may have %zu bytes, this one has %zu: %s",
			sizeof(domain->node) - 1, strlen(opts->node), opts->node);
	domain = calloc(1, sizeof(*domain));
	if (!domain)
		return pn_fail(ENOMEM, "no memory for a domain");
	if (opts->backend && strcmp(opts->backend, "auto"))
		ret = choose_named(domain, opts->backend, opts->node);
	else
		ret = choose_auto(domain, opts->node);
	if (ret)
		goto free_domain;
	ret = domain->backend->open(&domain->ctx, domain->node);
	if (ret)
		goto free_domain;
	domain->backend->charge(domain->ctx, &domain->rule);
	domain->entries = UINT64_MAX;
	domain->page_sizes = PN_PAGE_4K;
	domain->exempt = pn_exempt_now();
	owner = (struct pn_ledger_owner){
		domain->backend->name, domain->node, &domain->rule, pn_exempt_now()};
	ret = pn_ledger_open(&domain->ledger, opts->ledger_dir, &owner);
	if (ret)
		goto close_backend;
	pthread_mutex_init(&domain->lock, NULL);
	*out = domain;
	return 0;

close_backend:
	domain->backend->close(domain->ctx);
free_domain:
	free(domain);
	return ret;
}

void domain_pin(const struct mapping *mapping, struct pn_pin *pin)
{
	struct pn_region_info info;

	pn_region_get_info(mapping->region, &info);
	memset(pin, 0, sizeof(*pin));
	pin->vaddr = mapping->vaddr;
	pin->iova = mapping->iova;
	pin->len = mapping->len;
	pin->page_size = info.page_size;
	pin->queued = !mapping->in_kernel;
	pin->counters = mapping->counters;
	pin->pages = mapping->in_kernel ? pn_charge_pages(mapping->vaddr, mapping->len) : 0;
	pin->prot = mapping->prot;
	snprintf(pin->name, sizeof(pin->name), "%s", info.name);
}

static uint64_t mapped_count(const struct pn_domain *domain)
{
	return domain->device_count ? domain->index.count : 0;
}

static const char *mapping_text(
	const struct pn_domain *domain, const struct mapping *mapping, char buf[160])
{
	snprintf(buf, 160, "mapping %" PRIu64 " bytes at %#" PRIx64 " to IOVA %#" PRIx64 " on %s",
		mapping->len, mapping->vaddr, mapping->iova, domain->backend->name);
	return buf;
}

/* The kernel refused a map: the reason in words. */
static int fail_map(struct pn_domain *domain, const struct mapping *mapping, uint64_t more, int err)
{
	char what[160];

	mapping_text(domain, mapping, what);
	switch (err) {
	case -ENOMEM:
		return pn_explain_enomem(
			&domain->rule, pn_charge_pages(mapping->vaddr, mapping->len), more, what);
	case -EFAULT:
		return pn_fail(EFAULT,
			"%s: EFAULT: the memory is not there, may not be written by this process, "
			"or is of a kind "
			"that cannot be pinned",
			what);
	case -EEXIST:
		return pn_fail(EEXIST,
			"%s: the kernel holds a mapping there that the index does not", what);
	case -ENOSPC:
		return pn_fail(ENOSPC,
			"%s: the entry budget is used up (%" PRIu64
			" mappings are made); " ENTRY_BUDGET_MEND,
			what, mapped_count(domain));
	case -EINVAL:
		return pn_fail(
			EINVAL, "%s: the kernel refuses this IOVA, size or protection", what);
	default:
		return pn_fail(-err, "%s: %s", what, strerror(-err));
	}
}

/* Capabilities may have been dropped, or the user changed, since the ledger was told. */
static void tell_charge(struct pn_domain *domain, bool exempt)
{
	if (exempt != domain->exempt)
		pn_ledger_charge(domain->ledger, &domain->rule, exempt);
	domain->exempt = exempt;
}

int domain_kernel_map(struct pn_domain *domain, struct mapping *mapping, uint64_t more)
{
	bool exempt = pn_exempt_now();
	struct pn_pin old, pin;
	int ret;

	tell_charge(domain, exempt);
	ret = domain->backend->map(
		domain->ctx, mapping->iova, mapping->vaddr, mapping->len, mapping->prot);
	if (ret)
		return fail_map(domain, mapping, more, ret);
	domain_pin(mapping, &old);
	mapping->in_kernel = true;
	mapping->counters = exempt ? domain->rule.exempt_counters : domain->rule.counters;
	domain_pin(mapping, &pin);
	pn_ledger_change(domain->ledger, mapping->slot, &old, &pin);
	return 0;
}

void domain_mark_queued(struct pn_domain *domain, struct mapping *mapping)
{
	struct pn_pin old, pin;

	domain_pin(mapping, &old);
	mapping->in_kernel = false;
	mapping->counters = 0;
	domain_pin(mapping, &pin);
	pn_ledger_change(domain->ledger, mapping->slot, &old, &pin);
}

int domain_kernel_unmap(struct pn_domain *domain, struct mapping *mapping)
{
	int ret;

	ret = domain->backend->unmap(domain->ctx, mapping->iova, mapping->len);
	if (ret)
		return ret;
	domain_mark_queued(domain, mapping);
	return 0;
}

static int check_map(struct pn_domain *domain, const struct pn_region_info *info, uint64_t offset,
	uint64_t len, enum pn_prot prot)
{
	/* The smallest IOMMU page; the kernel counts in 4 KiB pages where the IOMMU could do less.
	 */
	uint64_t page = domain->page_sizes & -domain->page_sizes;

	if (page < PN_PAGE_4K)
		page = PN_PAGE_4K;
	if (!len || (offset | len) & (page - 1))
		return pn_fail(EINVAL,
			"offset %#" PRIx64 " and length %#" PRIx64
			" of a mapping must be multiples of %" PRIu64 ", the length not 0",
			offset, len, page);
	if (offset > info->size || len > info->size - offset)
		return pn_fail(EINVAL,
			"offset %#" PRIx64 " with length %#" PRIx64
			" is not within region \"%s\" of %#" PRIx64 " bytes",
			offset, len, info->name, info->size);
	if (!prot || prot & ~(unsigned int)PN_PROT_RW)
		return pn_fail(EINVAL, "protection %#x is not PN_PROT_READ, PN_PROT_WRITE or both",
			(unsigned int)prot);
	if (domain->damaged)
		return pn_fail(EIO, "this domain is damaged: an earlier roll-back failed, so what "
				    "the kernel holds is not "
				    "known; destroy it");
	if (mapped_count(domain) >= domain->entries)
		return pn_fail(ENOSPC,
			"the entry budget of %" PRIu64 " mappings is used up; " ENTRY_BUDGET_MEND,
			domain->entries);
	return 0;
}

static bool iova_free(const struct pn_domain *domain, uint64_t iova, uint64_t len)
{
	size_t at = index_at_or_after(&domain->index, iova);

	return at == domain->index.count || domain->index.by_iova[at]->iova > iova + (len - 1);
}

/* Take the caller's IOVA, or find one. */
static int place(struct pn_domain *domain, const struct pn_region_info *info, uint64_t vaddr,
	uint64_t len, uint64_t *iova)
{
	const struct pn_iova_range *ranges;
	unsigned int count;

	ranges = domain_ranges(domain, &count);
	if (*iova == PN_IOVA_ANY) {
		if (iova_valid(ranges, count, vaddr, len) && iova_free(domain, vaddr, len)) {
			*iova = vaddr;
			return 0;
		}
		if (!iova_find(&domain->index, ranges, count, len, info->page_size, iova))
			return 0;
		return pn_fail(ENOSPC,
			"no run of %" PRIu64 " free IOVAs aligned to %" PRIu64
			" is left in %u valid ranges",
			len, info->page_size, count);
	}
	if (*iova & (PN_PAGE_4K - 1))
		return pn_fail(EINVAL, "IOVA %#" PRIx64 " is not a multiple of 4096", *iova);
	if (!iova_valid(ranges, count, *iova, len))
		return pn_fail(EINVAL,
			"IOVAs %#" PRIx64 " to %#" PRIx64
			" are not within one of the %u valid ranges (%s%#" PRIx64 " to %#" PRIx64
			"%s)",
			*iova, *iova + (len - 1), count, count > 1 ? "the first is " : "",
			ranges[0].first, ranges[0].last,
			domain->limits_known ? "" : "; assumed, no device is attached yet");
	if (!iova_free(domain, *iova, len))
		return pn_fail(EEXIST, "IOVAs %#" PRIx64 " to %#" PRIx64 " overlap a mapping",
			*iova, *iova + (len - 1));
	return 0;
}

static int map_locked(struct pn_domain *domain, struct pn_region *region, uint64_t offset,
	uint64_t len, enum pn_prot prot, uint64_t *iova)
{
	struct pn_region_info info;
	struct mapping *mapping;
	struct pn_pin pin;
	int ret;

	pn_region_get_info(region, &info);
	ret = check_map(domain, &info, offset, len, prot);
	if (ret)
		return ret;
	mapping = calloc(1, sizeof(*mapping));
	if (!mapping)
		return pn_fail(ENOMEM, "no memory for a mapping");
	mapping->vaddr = (uint64_t)(uintptr_t)info.vaddr + offset;
	mapping->len = len;
	mapping->prot = (uint8_t)prot;
	mapping->region = region;
	mapping->iova = *iova;
	ret = place(domain, &info, mapping->vaddr, len, &mapping->iova);
	if (ret)
		goto free_mapping;
	ret = index_add(&domain->index, mapping);
	if (ret) {
		pn_fail(ENOMEM, "no memory for the mapping index");
		goto free_mapping;
	}
	domain_pin(mapping, &pin);
	pn_ledger_add(domain->ledger, &pin, &mapping->slot);
	if (domain->device_count) {
		ret = domain_kernel_map(domain, mapping, 0);
		if (ret)
			goto forget;
	}
	pn_region_get(region);
	*iova = mapping->iova;
	return 0;

forget:
	pn_ledger_remove(domain->ledger, mapping->slot, &pin);
	index_remove(&domain->index, mapping);
free_mapping:
	free(mapping);
	return ret;
}

int pn_domain_map(struct pn_domain *domain, struct pn_region *region, uint64_t offset, uint64_t len,
	enum pn_prot prot, uint64_t *iova)
{
	int ret;

	pthread_mutex_lock(&domain->lock);
	ret = map_locked(domain, region, offset, len, prot, iova);
	pthread_mutex_unlock(&domain->lock);
	return ret;
}

static void forget(struct pn_domain *domain, struct mapping *mapping)
{
	struct pn_pin pin;

	domain_pin(mapping, &pin);
	pn_ledger_remove(domain->ledger, mapping->slot, &pin);
	index_remove(&domain->index, mapping);
	pn_region_put(mapping->region);
	free(mapping);
}

/* Unmap mappings first..last of the index; those already unmapped are made again when one fails. */
static int unmap_run(struct pn_domain *domain, size_t first, size_t last)
{
	struct mapping **list = domain->index.by_iova;
	int ret = 0, err;
	size_t i;

	for (i = first; i <= last && domain->device_count; i++) {
		ret = domain_kernel_unmap(domain, list[i]);
		if (ret)
			break;
	}
	if (ret) {
		err = pn_fail(-ret, "unmapping IOVA %#" PRIx64 ", %" PRIu64 " bytes: %s",
			list[i]->iova, list[i]->len, strerror(-ret));
		while (i-- > first) {
			if (domain_kernel_map(domain, list[i], 0)) {
				domain->damaged = true;
				return pn_fail_append(err, "; and the roll-back failed: the domain "
							   "is damaged, destroy it");
			}
		}
		return err;
	}
	for (i = last + 1; i-- > first;)
		forget(domain, list[i]);
	return 0;
}

static int unmap_locked(struct pn_domain *domain, uint64_t iova, uint64_t len)
{
	struct index *index = &domain->index;
	size_t first, last;
	uint64_t end;

	if (!len || iova > UINT64_MAX - (len - 1))
		return pn_fail(EINVAL, "IOVA %#" PRIx64 " with length %#" PRIx64 " is not a range",
			iova, len);
	end = iova + (len - 1);
	first = index_at_or_after(index, iova);
	if (first == index->count || index->by_iova[first]->iova > end)
		return pn_fail(
			ENOENT, "nothing is mapped at IOVAs %#" PRIx64 " to %#" PRIx64, iova, end);
	for (last = first; last + 1 < index->count && index->by_iova[last + 1]->iova <= end; last++)
		;
	if (index->by_iova[first]->iova < iova || mapping_iova_last(index->by_iova[last]) > end)
		return pn_fail(EINVAL,
			"IOVAs %#" PRIx64 " to %#" PRIx64 " cut a mapping (%#" PRIx64
			" to %#" PRIx64 "): unmap it whole",
			iova, end,
			index->by_iova[index->by_iova[first]->iova < iova ? first : last]->iova,
			mapping_iova_last(
				index->by_iova[index->by_iova[first]->iova < iova ? first : last]));
	return unmap_run(domain, first, last);
}

int pn_domain_unmap(struct pn_domain *domain, uint64_t iova, uint64_t len)
{
	int ret;

	pthread_mutex_lock(&domain->lock);
	ret = unmap_locked(domain, iova, len);
	pthread_mutex_unlock(&domain->lock);
	return ret;
}

int pn_domain_destroy(struct pn_domain *domain)
{
	if (!domain)
		return 0;
	if (domain->device_count)
		return pn_fail(EBUSY,
			"%u devices are still attached to the domain: close them first",
			domain->device_count);
	while (domain->index.count)
		forget(domain, domain->index.by_iova[domain->index.count - 1]);
	index_free(&domain->index);
	domain->backend->close(domain->ctx);
	pn_ledger_close(domain->ledger);
	pthread_mutex_destroy(&domain->lock);
	free(domain->ranges);
	free(domain);
	return 0;
}

/* IOVA of [at, at + len) when it starts in this mapping and goes on without a gap; false if there
 * is one. */
static bool run_from(struct pn_domain *domain, const struct mapping *mapping, uint64_t at,
	uint64_t len, uint64_t *iova)
{
	uint64_t done = mapping->len - (at - mapping->vaddr), next;

	*iova = mapping->iova + (at - mapping->vaddr);
	/* Neighbours count as one run when both addresses go on. */
	while (done < len) {
		next = mapping_iova_last(mapping) + 1;
		mapping = next ? index_by_iova(&domain->index, next) : NULL;
		if (!mapping || mapping->iova != next || mapping->vaddr != at + done)
			return false;
		done += mapping->len;
	}
	return true;
}

int pn_domain_iova(struct pn_domain *domain, const void *vaddr, uint64_t len, uint64_t *iova)
{
	uint64_t address = (uint64_t)(uintptr_t)vaddr, found;
	const struct mapping *mapping;
	bool whole = false;
	size_t at = 0;

	pthread_mutex_lock(&domain->lock);
	while (len && !whole) {
		mapping = index_next_by_vaddr(&domain->index, address, &at);
		if (!mapping)
			break;
		whole = run_from(domain, mapping, address, len, &found);
	}
	pthread_mutex_unlock(&domain->lock);
	if (!whole)
		return pn_fail(ENOENT, "%p is not mapped for %" PRIu64 " bytes", vaddr, len);
	*iova = found;
	return 0;
}

int pn_domain_vaddr(struct pn_domain *domain, uint64_t iova, uint64_t len, void **vaddr)
{
	const struct mapping *mapping;
	uint64_t start = 0, done = 0;
	int ret = -ENOENT;

	pthread_mutex_lock(&domain->lock);
	mapping = len ? index_by_iova(&domain->index, iova) : NULL;
	if (mapping) {
		start = mapping->vaddr + (iova - mapping->iova);
		done = mapping->len - (iova - mapping->iova);
	}
	while (mapping && done < len) {
		mapping = iova + done ? index_by_iova(&domain->index, iova + done) : NULL;
		if (!mapping || mapping->vaddr != start + done)
			goto out;
		done += mapping->len;
	}
	if (mapping) {
		*vaddr = (void *)(uintptr_t)start;
		ret = 0;
	}
out:
	pthread_mutex_unlock(&domain->lock);
	return ret ? pn_fail(ENOENT, "IOVA %#" PRIx64 " is not mapped for %" PRIu64 " bytes", iova,
			     len)
		   : 0;
}

void pn_domain_get_info(struct pn_domain *domain, struct pn_domain_info *info)
{
	pthread_mutex_lock(&domain->lock);
	memset(info, 0, sizeof(*info));
	info->backend = domain->backend->name;
	info->node = domain->node;
	info->chosen = domain->chosen;
	info->charge = domain->rule;
	info->exempt = pn_exempt_now();
	info->devices = domain->device_count;
	info->damaged = domain->damaged;
	info->limits_known = domain->limits_known;
	info->page_sizes = domain->page_sizes;
	info->entries_left =
		domain->entries == UINT64_MAX ? UINT64_MAX : domain->entries - mapped_count(domain);
	info->ranges = domain_ranges(domain, &info->range_count);
	info->mappings = domain->index.count;
	info->bytes = domain->index.bytes;
	pthread_mutex_unlock(&domain->lock);
}

int pn_domain_pins(struct pn_domain *domain, bool measure_user, struct pn_pins_report **out)
{
	return pn_pins_report_fd(out, pn_ledger_fd(domain->ledger), measure_user);
}
