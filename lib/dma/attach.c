/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Attaching a device to a domain and detaching it: the kernel is brought to the index, or nothing
 * changes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "domain.h"

/* Does everything in the index fit what the kernel allows with this device? */
static int check_index(const struct pn_domain *domain, const struct pn_backend_limits *limits)
{
	uint64_t page = limits->page_sizes & -limits->page_sizes;
	const struct mapping *mapping;
	size_t i;

	for (i = 0; i < domain->index.count; i++) {
		mapping = domain->index.by_iova[i];
		if (!iova_valid(limits->ranges, limits->range_count, mapping->iova, mapping->len))
			return pn_fail(EINVAL,
				"a queued mapping at IOVAs %#" PRIx64 " to %#" PRIx64
				" is outside what the IOMMU takes for this device (%u ranges, the "
				"last up to %#" PRIx64 "): map it again with the device attached",
				mapping->iova, mapping_iova_last(mapping), limits->range_count,
				limits->range_count ? limits->ranges[limits->range_count - 1].last
						    : 0);
		if (page > 4096 && (mapping->iova | mapping->vaddr | mapping->len) & (page - 1))
			return pn_fail(EINVAL,
				"a queued mapping at IOVA %#" PRIx64
				" is not aligned to the IOMMU's smallest page, %" PRIu64 " bytes",
				mapping->iova, page);
	}
	if (domain->device_count == 0 && domain->index.count > limits->entries_left)
		return pn_fail(ENOSPC,
			"%zu mappings are queued, the kernel takes %" PRIu64 "; " ENTRY_BUDGET_MEND,
			domain->index.count, limits->entries_left);
	return 0;
}

/* Make every queued mapping in the kernel, or none. */
static int replay(struct pn_domain *domain)
{
	struct mapping **list = domain->index.by_iova;
	uint64_t more = 0;
	int ret = 0;
	size_t i;

	for (i = 0; i < domain->index.count; i++)
		more += pn_charge_pages(list[i]->vaddr, list[i]->len);
	for (i = 0; i < domain->index.count; i++) {
		more -= pn_charge_pages(list[i]->vaddr, list[i]->len);
		ret = domain_kernel_map(domain, list[i], more);
		if (ret)
			break;
	}
	if (!ret)
		return 0;
	while (i--) {
		/* What stays goes with the device, which is detached next. */
		if (domain_kernel_unmap(domain, list[i]))
			domain_mark_queued(domain, list[i]);
	}
	return ret;
}

static void tell_ledger(struct pn_domain *domain)
{
	const struct attached *device;
	char names[128] = "";
	size_t used = 0;

	for (device = domain->devices; device && used < sizeof(names); device = device->next)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
			used ? " " : "", device->address);
	pn_ledger_devices(domain->ledger, domain->device_count, names);
	domain->exempt = pn_exempt_now();
	pn_ledger_charge(domain->ledger, &domain->rule, domain->exempt);
}

static void take_limits(struct pn_domain *domain, struct pn_backend_limits *limits)
{
	uint64_t held = domain->device_count ? domain->index.count : 0;

	free(domain->ranges);
	domain->ranges = limits->ranges;
	domain->range_count = limits->range_count;
	domain->page_sizes = limits->page_sizes;
	domain->entries =
		limits->entries_left > UINT64_MAX - held ? UINT64_MAX : limits->entries_left + held;
	domain->limits_known = true;
	limits->ranges = NULL;
}

static bool is_attached(const struct pn_domain *domain, const char *address)
{
	const struct attached *device;

	for (device = domain->devices; device; device = device->next) {
		if (!strcmp(device->address, address))
			return true;
	}
	return false;
}

static int attach_locked(
	struct pn_domain *domain, const struct pn_dma_device *device, int *device_fd)
{
	struct pn_backend_limits limits = {0};
	struct attached *entry, **end;
	int ret;

	if (domain->damaged)
		return pn_fail(EIO, "this domain is damaged by a failed roll-back: destroy it");
	/* VFIO would hand out a second fd, and its user would reset the device under the first. */
	if (is_attached(domain, device->address))
		return pn_fail(EBUSY, "device %s is open in this domain already", device->address);
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return pn_fail(ENOMEM, "no memory for a device");
	ret = domain->backend->attach(domain->ctx, device, &entry->fd);
	if (ret)
		goto free_entry;
	domain->backend->charge(domain->ctx, &domain->rule);
	ret = domain->backend->limits(domain->ctx, &limits);
	if (!ret)
		ret = check_index(domain, &limits);
	if (!ret && domain->device_count == 0)
		ret = replay(domain);
	if (ret)
		goto detach;
	take_limits(domain, &limits);
	snprintf(entry->address, sizeof(entry->address), "%s", device->address);
	for (end = &domain->devices; *end; end = &(*end)->next)
		;
	*end = entry;
	/* take_limits() counted what the kernel held before; from here on it holds the whole index.
	 */
	domain->device_count++;
	tell_ledger(domain);
	*device_fd = entry->fd;
	return 0;

detach:
	if (domain->backend->detach(domain->ctx, entry->fd)) {
		domain->damaged = true;
		pn_fail_append(
			ret, "; and the roll-back failed: the domain is damaged, destroy it");
	}
	free(limits.ranges);
free_entry:
	free(entry);
	return ret;
}

int pn_domain_attach(struct pn_domain *domain, const struct pn_dma_device *device, int *device_fd)
{
	int ret;

	pthread_mutex_lock(&domain->lock);
	ret = attach_locked(domain, device, device_fd);
	pthread_mutex_unlock(&domain->lock);
	return ret;
}

void pn_domain_detach(struct pn_domain *domain, int device_fd)
{
	struct attached **at, *entry;
	size_t i;
	int ret;

	pthread_mutex_lock(&domain->lock);
	for (at = &domain->devices; *at && (*at)->fd != device_fd; at = &(*at)->next)
		;
	entry = *at;
	if (!entry)
		goto out;
	*at = entry->next;
	free(entry);
	ret = domain->backend->detach(domain->ctx, device_fd);
	if (ret)
		pn_log(PN_LOG_ERROR,
			"the kernel did not let go of all mappings with the last device (%s): the "
			"domain is damaged, destroy it",
			strerror(-ret));
	if (--domain->device_count == 0) {
		for (i = 0; i < domain->index.count; i++)
			domain_mark_queued(domain, domain->index.by_iova[i]);
		/* The kernel holds nothing any more, as the index says; or it is not known. */
		domain->damaged = ret != 0;
		/* Another device may bring other limits; the entry budget is whole again. */
		domain->entries = UINT64_MAX;
	}
	tell_ledger(domain);
out:
	pthread_mutex_unlock(&domain->lock);
}
