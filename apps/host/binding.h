/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking PCI functions from their drivers for VFIO, and giving them back. The caller holds the lock
 * and has loaded the state; records are saved here, before anything is changed.
 */
#ifndef HOST_BINDING_H
#define HOST_BINDING_H

#include "state.h"
#include "use.h"

struct host_bind_options {
	const char *driver; /* "vfio-pci", or a variant of it */
	bool group;         /* bind what shares the group too */
	bool force;         /* although in use */
	bool cut_network;   /* although the machine loses its network */
	bool persist;       /* at each start of the machine too */
	bool dry_run;       /* look, and say what would be done */
};

/*
 * Bind devices, all or none, named as for host_pci_find(). What stands in the way is in uses, which
 * the caller frees: each use that host_use_stops() stopped it.
 * 0; -EBUSY: uses says why (and no reason is set); another negative errno with the reason: then
 * everything is as it was, or, if that failed too, the records say what is not.
 */
int host_bind(struct host *host, struct host_state *state, const char *const *specs, size_t count,
	const struct host_bind_options *options, struct host_uses *uses);

/* Does this use stop a bind with these options? */
bool host_use_stops(const struct host_use *use, const struct host_bind_options *options);

/* Give a device back; its record goes, and its grants. 0; -ENOENT: there is no record; -EBUSY: a
 * process has it open; a negative errno, always with the reason; the record stays then. */
int host_unbind(struct host *host, struct host_state *state, const char *device, bool force);

/* The driver of sysfs is there, loaded if need be. 0 or a negative errno with the reason. */
int host_driver_load(struct host *host, const char *driver);

/* One step lower: put a function where a record says it was, and to where it is to be. */
int host_binding_take(struct host *host, const struct host_binding *binding);
int host_binding_give_back(struct host *host, const struct host_binding *binding);
/* What driverctl was told is taken back, unless somebody has told it something else since. */
int host_binding_restore_file(struct host *host, const struct host_binding *binding);

#endif
