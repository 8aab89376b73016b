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
#include "handover.h"
#include "mem_priv.h"

/* Make every queued mapping in the kernel, or none. */
static int replay(struct pn_domain *domain)
{
	struct map_index *index = &domain->index;
	struct mapping *mapping, *failed = NULL;
	uint64_t more = 0;
	int ret = 0;

	for (mapping = map_index_first(index); mapping; mapping = map_index_next(index, mapping))
		more += pn_charge_pages(mapping->vaddr, mapping->len);
	for (mapping = map_index_first(index); mapping; mapping = map_index_next(index, mapping)) {
		more -= pn_charge_pages(mapping->vaddr, mapping->len);
		/* The file may have been sealed while the mapping was queued. */
		if (mapping->prot & PN_PROT_WRITE)
			ret = pn_region_check_write(mapping->region);
		if (!ret)
			ret = kernel_map_recorded(domain, mapping, more);
		if (!ret)
			continue;
		failed = mapping;
		break;
	}
	/* What cannot be unmapped goes with the device, which is detached next. */
	for (mapping = failed; mapping && (mapping = map_index_prev(index, mapping));)
		if (kernel_unmap_recorded(domain, mapping))
			kernel_let_go(domain, mapping);
	return ret;
}

void domain_tell_devices(struct pn_domain *domain)
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

static struct attached *find_address(struct pn_domain *domain, const char *address)
{
	struct attached *device;

	for (device = domain->devices; device; device = device->next) {
		if (!strcmp(device->address, address))
			break;
	}
	return device;
}

/* What the kernel says now, for the devices that are in. */
static int ask_limits(struct pn_domain *domain, struct limits_plan *plan)
{
	struct pn_backend_limits limits = {0};
	int ret;

	ret = domain->backend->limits(domain->ctx, &limits);
	if (!ret)
		ret = limits_plan(domain, &limits, limits_bits(domain, NULL),
			domain->device_count ? map_index_count(&domain->index) : 0, plan);
	free(limits.ranges);
	return ret;
}

static int attach_locked(
	struct pn_domain *domain, const struct pn_dma_device *device, int *device_fd)
{
	struct attached *entry, **end;
	struct pn_dma_device with_file = *device;
	char reason[PN_ERROR_MAX];
	struct limits_plan plan;
	int ret;

	ret = domain_changeable(domain);
	if (ret)
		return ret;
	if (!domain->backend->attach)
		return pn_fail(EOPNOTSUPP,
			"device %s cannot be attached: the backend %s is for software ports",
			device->address, domain->backend->name);
	/* VFIO would hand out a second fd, and its user would reset the device under the first. */
	if (find_address(domain, device->address))
		return pn_fail(EBUSY, "device %s is open in this domain already", device->address);
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return pn_fail(ENOMEM, "no memory for a device");
	entry->bits = 64;
	snprintf(entry->address, sizeof(entry->address), "%s", device->address);
	domain_use_given(domain, &with_file);
	ret = domain->backend->attach(domain->ctx, &with_file, &entry->fd);
	if (ret) {
		ret = domain_check_stuck(domain, ret);
		goto free_entry;
	}
	domain_learn_charge(domain);
	ret = ask_limits(domain, &plan);
	if (ret)
		goto detach;
	if (!domain_in_force(domain))
		ret = replay(domain);
	if (ret)
		goto drop_plan;
	limits_commit(domain, &plan);
	for (end = &domain->devices; *end; end = &(*end)->next)
		;
	*end = entry;
	domain->device_count++;
	domain_tell_devices(domain);
	pn_ledger_event(domain->ledger, PN_EVENT_ATTACH, entry->address);
	*device_fd = entry->fd;
	return 0;

drop_plan:
	limits_drop(&plan);
detach:
	snprintf(reason, sizeof(reason), "%s", pn_error());
	if (domain->backend->detach(domain->ctx, entry->fd))
		domain->damaged = true;
	pn_fail(-ret, "%s%s", reason,
		domain->damaged ? "; and the roll-back failed: the domain is damaged, destroy it"
				: "");
	/* What a map of the replay may have left has gone with the device, or not. */
	if (!domain->damaged)
		ret = domain_check_stuck(domain, ret);
free_entry:
	free(entry);
	return ret;
}

int pn_domain_attach(struct pn_domain *domain, const struct pn_dma_device *device, int *device_fd)
{
	int ret;

	ret = domain_enter(domain);
	if (ret)
		return ret;
	ret = attach_locked(domain, device, device_fd);
	return domain_end(domain, PN_EVENT_ATTACH, ret, 0, 0);
}

/* A device has gone: what it could not reach may be valid now. */
static void renew_limits(struct pn_domain *domain)
{
	struct limits_plan plan;
	int ret;

	if (domain->device_count) {
		ret = ask_limits(domain, &plan);
		if (!ret)
			limits_commit(domain, &plan);
	} else {
		ret = limits_narrow(domain, limits_bits(domain, NULL));
	}
	if (ret)
		pn_log(PN_LOG_WARNING,
			"the valid IOVAs are those with the device that has gone: %s", pn_error());
}

/* The last device has gone; ret: what the backend said. */
static void last_gone(struct pn_domain *domain, int ret)
{
	struct mapping *mapping;

	for (mapping = map_index_first(&domain->index); mapping && !domain->backend->live;
		mapping = map_index_next(&domain->index, mapping))
		kernel_let_go(domain, mapping);
	/* The kernel holds nothing any more, as the index says; or it is not known. */
	domain->damaged = ret || (domain->backend->stuck && domain->backend->stuck(domain->ctx));
	domain->dirty = false;
	if (domain->handed_over)
		handover_end(domain);
	/* Another device may bring other limits; the entry budget is whole again. */
	domain->entries = UINT64_MAX;
	renew_limits(domain);
}

static void detach_locked(struct pn_domain *domain, int device_fd)
{
	struct attached **at, *entry;
	int ret;

	for (at = &domain->devices; *at && (*at)->fd != device_fd; at = &(*at)->next)
		;
	entry = *at;
	if (!entry)
		return;
	if (domain->dirty && domain->device_count == 1)
		(void)domain->backend->dirty_set(domain->ctx, false);
	*at = entry->next;
	domain->device_count--;
	ret = domain->backend->detach(domain->ctx, device_fd);
	if (ret) {
		domain->damaged = true;
		pn_log(PN_LOG_ERROR,
			"the kernel did not let go of all that belonged to a device (%s): the "
			"domain is damaged, destroy it",
			strerror(-ret));
	}
	if (domain->device_count == 0)
		last_gone(domain, ret);
	else
		renew_limits(domain);
	domain_tell_devices(domain);
	pn_ledger_event(domain->ledger, PN_EVENT_DETACH, entry->address);
	free(entry);
}

void pn_domain_detach(struct pn_domain *domain, int device_fd)
{
	if (domain_enter(domain))
		return;
	detach_locked(domain, device_fd);
	domain_end(domain, PN_EVENT_DETACH, 0, 0, 0);
}

static struct attached *find_fd(struct pn_domain *domain, int device_fd)
{
	struct attached *device;

	for (device = domain->devices; device && device->fd != device_fd; device = device->next)
		;
	return device;
}

int pn_domain_device_bits(struct pn_domain *domain, int device_fd, unsigned int bits)
{
	struct attached *device;
	unsigned int others;
	int ret;

	if (bits < 12 || bits > 64)
		return pn_fail(EINVAL, "a device sends 12 to 64 bits of an IOVA, not %u", bits);
	ret = domain_enter(domain);
	if (ret)
		return ret;
	ret = domain_changeable(domain);
	if (ret)
		goto leave;
	device = find_fd(domain, device_fd);
	if (!device) {
		ret = pn_fail(EINVAL, "no device with fd %d is attached to this domain", device_fd);
		goto leave;
	}
	others = limits_bits(domain, device);
	ret = limits_narrow(domain, bits < others ? bits : others);
	if (!ret)
		device->bits = bits;
leave:
	return domain_end(domain, PN_EVENT_DEVICE_BITS, ret, 0, 0);
}

int pn_domain_device_fd(struct pn_domain *domain, const char *address)
{
	struct attached *device;
	int ret;

	ret = domain_enter(domain);
	if (ret)
		return ret;
	device = find_address(domain, address);
	if (!device)
		ret = pn_fail(ENOENT, "device %s did not come with this domain", address);
	else if (!device->to_take)
		ret = pn_fail(EBUSY, "device %s has been opened or taken over already", address);
	else
		ret = device->fd;
	if (ret >= 0)
		device->to_take = false;
	domain_leave(domain);
	return ret;
}
