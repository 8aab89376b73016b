/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking one function from its driver, and giving it back: the writes to sysfs, each of which may
 * be the last one that this process makes. Both start from what is there, not from what should be.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "binding.h"
#include "derived.h"
#include "grant.h"
#include "openers.h"

#define DEVICE  "%s/bus/pci/devices/%s/"
#define DRIVERS "%s/bus/pci/drivers/%s"

int host_driver_load(struct host *host, const char *driver)
{
	int err;

	if (host_exists(DRIVERS, host->sys, driver))
		return 0;
	err = host->ops->load_module(host, driver);
	if (host_exists(DRIVERS, host->sys, driver))
		return 0;
	return host_fail(host, ENOENT,
		"this kernel has no driver %s for PCI devices, nor a module of that name "
		"('modprobe "
		"%s': %s)",
		driver, driver, err ? strerror(-err) : "loaded, and no driver came");
}

static int set_override(struct host *host, const char *address, const char *driver)
{
	char line[HOST_OVERRIDE_MAX + 1];

	/* A line without a name takes it away: drivers/pci/pci-sysfs.c, driver_override_store(). */
	snprintf(line, sizeof(line), "%s\n", driver ? driver : "");
	return host_set_attr(host, line, DEVICE "driver_override", host->sys, address);
}

static int leave_driver(struct host *host, const char *address)
{
	return host_set_attr(host, address, DEVICE "driver/unbind", host->sys, address);
}

/* The kernel's log has the reason, where there is one. */
static int check_driver(struct host *host, const char *address, const char *driver)
{
	struct host_pci now;

	if (host_pci_read(host, address, &now))
		return host_fail(host, ENODEV, "%s is gone", address);
	if (!strcmp(now.driver, driver))
		return 0;
	return host_fail(host, EIO,
		"%s is on %s now, not on %s: the driver does not take it ('dmesg' may say why)",
		address, now.driver[0] ? now.driver : "no driver", *driver ? driver : "none");
}

int host_binding_take(struct host *host, const struct host_binding *binding)
{
	const char *address = binding->device;
	struct host_pci now;
	int err;

	if (host_pci_read(host, address, &now))
		return host_fail(host, ENODEV, "%s is gone", address);
	err = strcmp(now.override, binding->driver) ? set_override(host, address, binding->driver)
						    : 0;
	if (err || !strcmp(now.driver, binding->driver))
		return err;
	if (now.driver[0])
		err = leave_driver(host, address);
	if (!err)
		err = host_set_attr(host, address, "%s/bus/pci/drivers_probe", host->sys);
	return err ? err : check_driver(host, address, binding->driver);
}

int host_binding_give_back(struct host *host, const struct host_binding *binding)
{
	const char *address = binding->device, *driver = binding->before_driver;
	struct host_pci now;
	int err = 0;

	/* It was pulled out, or its physical function has let it go: nothing is left of it. */
	if (host_pci_read(host, address, &now))
		return 0;
	if (strcmp(now.override, binding->before_override))
		err = set_override(host, address, binding->before_override);
	if (err || !strcmp(now.driver, driver))
		return err;
	if (*driver)
		err = host_driver_load(host, driver);
	/* A module that was just loaded may have taken it. */
	if (!err && host_pci_read(host, address, &now))
		return 0;
	if (!err && now.driver[0] && strcmp(now.driver, driver))
		err = leave_driver(host, address);
	if (!err && *driver && strcmp(now.driver, driver))
		err = host_set_attr(host, address, DRIVERS "/bind", host->sys, driver);
	return err ? err : check_driver(host, address, driver);
}

/*
 * Giving back
 */

/* Who has it open; "" for nobody. */
static int who_has_it(struct host *host, const struct host_pci *pci, char *who, size_t size)
{
	char node[HOST_GROUP_NODE_MAX];
	struct host_openers openers;
	size_t used = 0;
	int err;

	who[0] = '\0';
	err = host_openers_find(host, &openers);
	if (err)
		return err;
	for (size_t i = 0; i < openers.count && used < size; i++) {
		const struct host_opener *opener = &openers.items[i];

		if (host_opener_has(opener, pci))
			used += (size_t)snprintf(who + used, size - used,
				"%spid %d (%s, uid %u) has %s open", used ? ", " : "",
				(int)opener->who.pid, opener->who.comm, opener->who.uid,
				opener->node[0] ? opener->node
						: "a VFIO device, perhaps this one,");
	}
	host_openers_free(&openers);
	if (!used && host_group_busy(host, pci, node))
		snprintf(who, size,
			"somebody has %s open, or a device of it, though no process shows it (the "
			"file may be on its way between two)",
			node);
	return 0;
}

static int check_closed(struct host *host, const char *device, bool force)
{
	struct host_pci pci;
	char who[600];
	int err;

	if (host_pci_read(host, device, &pci) || !host_driver_is_vfio(pci.driver))
		return 0;
	err = who_has_it(host, &pci, who, sizeof(who));
	if (err || !*who)
		return err;
	if (!force)
		return host_fail(host, EBUSY,
			"refused by the rule 'open': %s; end it, or use --force, which asks it to "
			"give the device back and waits until it has",
			who);
	host_note(host, "%s: %s: the kernel asks for it back, and waits", device, who);
	return 0;
}

int host_binding_restore_file(struct host *host, const struct host_binding *b)
{
	char now[HOST_OVERRIDE_MAX];
	int err;

	if (!b->persist)
		return 0;
	err = host_driverctl_read(host, b->device, now, sizeof(now));
	if (b->file_was && (err || strcmp(now, b->file_before)))
		return host_driverctl_write(host, b->device, b->file_before);
	if (!b->file_was && (err || !strcmp(now, b->driver)))
		return host_driverctl_write(host, b->device, NULL);
	return 0;
}

/* A record of an earlier start of the machine, which has begun anew, unless it was to persist. */
static bool is_over(struct host *host, const struct host_binding *b)
{
	return !b->persist && host_origin_old(host, b->origin.boot);
}

static const char *or_none(const char *driver)
{
	return *driver ? driver : "no driver";
}

int host_unbind(struct host *host, struct host_state *state, const char *device, bool force)
{
	struct host_binding *b = host_binding_find(state, device), gone;
	int err;

	if (!b)
		return host_fail(host, ENOENT,
			"was not bound by pinion ('pinion status' shows "
			"what was)");
	if (host_vfs_find(state, device))
		return host_fail(host, EBUSY,
			"refused by the rule 'virtual-functions': 'pinion vf remove %s' first, "
			"or 'pinion unbind --all'",
			device);
	err = is_over(host, b) ? 0 : check_closed(host, device, force);
	if (err)
		return err;
	err = host_revoke_device(host, state, device);
	if (err)
		return err;
	b->stage = HOST_UNDOING;
	host_origin_now(host, &gone.origin);
	if (!is_over(host, b)) {
		b->origin = gone.origin;
		err = host_state_save(host, state);
		if (!err)
			err = host_binding_give_back(host, b);
	}
	if (!err)
		err = host_binding_restore_file(host, b);
	if (err)
		return err;
	gone = *b;
	host_binding_drop(state, b);
	err = host_derived_write(host, state);
	if (!err)
		err = host_state_save(host, state);
	if (err)
		return err;
	host_note(host, "%s: back to %s%s%s%s", device, or_none(gone.before_driver),
		gone.before_override[0] ? ", driver_override " : "", gone.before_override,
		host_exists(DEVICE, host->sys, device) ? "" : " (it is not there any more)");
	return 0;
}
