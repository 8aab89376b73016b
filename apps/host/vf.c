/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Virtual functions, through sriov_numvfs. Those of a device that the kernel drives are kept from
 * the kernel's drivers; those of one on vfio-pci the kernel gives to vfio-pci itself, behind a
 * token.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "binding.h"
#include "derived.h"
#include "grant.h"
#include "openers.h"
#include "vf.h"

#define DEVICE "%s/bus/pci/devices/%s/"

/*
 * UUIDs
 */

int host_uuid_make(struct host *host, char text[HOST_UUID_MAX])
{
	unsigned char b[16];

	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		return host_fail(host, EIO, "the kernel gives no random numbers");
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	snprintf(text, HOST_UUID_MAX,
		"%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
		b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
		b[15]);
	return 0;
}

/*
 * Creating
 */

static int set_count(struct host *host, const char *device, unsigned int count)
{
	char text[16];
	int err;

	snprintf(text, sizeof(text), "%u", count);
	err = host_set_attr(host, text, DEVICE "sriov_numvfs", host->sys, device);
	return err ? host_fail_prefix(host, err, "%s: ", "making virtual functions") : 0;
}

static int set_autoprobe(struct host *host, const char *device, bool on)
{
	return host_set_attr(
		host, on ? "1" : "0", DEVICE "sriov_drivers_autoprobe", host->sys, device);
}

static bool vfio_makes_vfs(struct host *host)
{
	char text[4] = "";

	host_read(text, sizeof(text), "%s/module/vfio_pci/parameters/enable_sriov", host->sys);
	return *text == 'Y' || *text == '1';
}

static int check(struct host *host, const struct host_state *state, const struct host_pci *pci,
	unsigned int count, const char *token)
{
	if (pci->vf_total <= 0)
		return host_fail(host, EOPNOTSUPP,
			"refused by the rule 'sr-iov': the device has no virtual functions");
	if (!count || count > (unsigned int)pci->vf_total)
		return host_fail(host, ERANGE,
			"refused by the rule 'sr-iov': it can have 1 to %d virtual functions, not "
			"%u",
			pci->vf_total, count);
	if (pci->vf_count || host_vfs_find(state, pci->address))
		return host_fail(host, EBUSY,
			"refused by the rule 'sr-iov': it has %d virtual functions already, and "
			"their number cannot be changed: remove them first ('pinion vf remove %s')",
			pci->vf_count, pci->address);
	if (!pci->driver[0])
		return host_fail(host, ENXIO,
			"refused by the rule 'sr-iov': it is on no driver, which would have to "
			"make them");
	if (!host_driver_is_vfio(pci->driver) && token)
		return host_fail(host, EINVAL,
			"refused by the rule 'token': a VF token is for devices on vfio-pci; this "
			"one is on %s, and its virtual functions need none",
			pci->driver);
	if (host_driver_is_vfio(pci->driver) && !vfio_makes_vfs(host))
		return host_fail(host, EPERM,
			"refused by the rule 'sr-iov': vfio-pci makes no virtual functions unless "
			"told to: echo 1 > /sys/module/vfio_pci/parameters/enable_sriov (at each "
			"start: vfio_pci.enable_sriov=1 on the kernel's command line)");
	return 0;
}

static int record(
	struct host *host, struct host_state *state, const struct host_pci *pci, unsigned int count)
{
	struct host_vfs *vfs = host_vfs_add(state);
	int64_t autoprobe = 1;

	if (!vfs)
		return host_fail(host, ENOMEM, "no memory for a record");
	strcpy(vfs->device, pci->address);
	vfs->stage = HOST_BEGUN;
	host_origin_now(host, &vfs->origin);
	vfs->count = count;
	vfs->token = host_driver_is_vfio(pci->driver);
	(void)host_read_number(
		&autoprobe, DEVICE "sriov_drivers_autoprobe", host->sys, pci->address);
	vfs->before_autoprobe = autoprobe != 0;
	return host_state_save(host, state);
}

/* The kernel's drivers must not take what is about to appear. */
static int make(struct host *host, const struct host_vfs *vfs)
{
	bool hold = !vfs->token && vfs->before_autoprobe;
	char reason[HOST_ERROR_MAX];
	int err;

	err = hold ? set_autoprobe(host, vfs->device, false) : 0;
	if (err)
		return err;
	err = set_count(host, vfs->device, vfs->count);
	memcpy(reason, host->error, sizeof(reason));
	if (hold && set_autoprobe(host, vfs->device, true) && !err)
		return -EIO;
	memcpy(host->error, reason, sizeof(reason));
	return err;
}

static int list_functions(struct host *host, struct host_vfs *vfs)
{
	vfs->functions = calloc(vfs->count, sizeof(*vfs->functions));
	if (!vfs->functions)
		return host_fail(host, ENOMEM, "no memory for a list of virtual functions");
	for (unsigned int i = 0; i < vfs->count; i++) {
		char *address = vfs->functions[i];

		if (host_read_link(address, sizeof(*vfs->functions), DEVICE "virtfn%u", host->sys,
			    vfs->device, i) ||
			!host_pci_is_address(address))
			return host_fail(host, EIO,
				"the kernel made virtual functions, but does not say which "
				"(virtfn%u)",
				i);
		vfs->function_count++;
	}
	return 0;
}

/* The record of an earlier function with that address is over, unless it says what is bound at each
 * start: then it is this one's too. */
static bool is_known(struct host_state *state, const char *function)
{
	struct host_binding *b = host_binding_find(state, function);

	if (!b || b->persist)
		return b != NULL;
	host_binding_drop(state, b);
	return false;
}

static int record_functions(struct host *host, struct host_state *state, const char *device)
{
	struct host_vfs *vfs = host_vfs_find(state, device);
	int err;

	err = list_functions(host, vfs);
	for (size_t i = 0; i < vfs->function_count && !err; i++) {
		struct host_binding *b;
		struct host_pci pci;

		if (host_pci_read(host, vfs->functions[i], &pci))
			return host_fail(
				host, EIO, "virtual function %s is not there", vfs->functions[i]);
		if (is_known(state, pci.address))
			continue;
		b = host_binding_add(state);
		if (!b)
			return host_fail(host, ENOMEM, "no memory for a record");
		strcpy(b->device, pci.address);
		strcpy(b->vf_of, device);
		strcpy(b->driver, "vfio-pci");
		strcpy(b->before_override, vfs->token ? "" : pci.override);
		snprintf(b->id, sizeof(b->id), "%04x:%04x", pci.vendor & 0xffff,
			pci.device & 0xffff);
		b->group = pci.group;
		host_origin_now(host, &b->origin);
	}
	return err ? err : host_state_save(host, state);
}

static int bind_functions(struct host *host, struct host_state *state, const char *device)
{
	const struct host_vfs *vfs = host_vfs_find(state, device);
	int err;

	err = host_driver_load(host, "vfio-pci");
	for (size_t i = 0; i < vfs->function_count && !err; i++)
		err = host_binding_take(host, host_binding_find(state, vfs->functions[i]));
	return err;
}

static int make_all(
	struct host *host, struct host_state *state, const struct host_pci *pci, const char *token)
{
	int err = 0;

	if (token)
		err = host_vf_set_token(host, pci, token);
	if (!err)
		err = make(host, host_vfs_find(state, pci->address));
	if (!err)
		err = record_functions(host, state, pci->address);
	if (!err)
		err = bind_functions(host, state, pci->address);
	return err;
}

static void tell(struct host *host, const struct host_state *state, const struct host_vfs *vfs,
	const char *token)
{
	for (size_t i = 0; i < vfs->function_count; i++) {
		const struct host_binding *b = host_binding_find(state, vfs->functions[i]);

		host_note(host, "%s: virtual function %zu of %s, bound to vfio-pci, IOMMU group %d",
			b->device, i, vfs->device, b->group);
	}
	if (token)
		host_note(host,
			"%s: VF token %s; whoever opens one of them, or the device itself, gives "
			"it; it is shown only now, and kept nowhere",
			vfs->device, token);
}

int host_vf_create(struct host *host, struct host_state *state, const char *device,
	unsigned int count, const char *token)
{
	char reason[HOST_ERROR_MAX], made[HOST_UUID_MAX];
	struct host_vfs *vfs;
	struct host_pci pci;
	int err;

	if (host_pci_read(host, device, &pci))
		return host_fail(host, ENODEV, "there is no such PCI function");
	err = check(host, state, &pci, count, token);
	if (!err && host_driver_is_vfio(pci.driver) && !token) {
		err = host_uuid_make(host, made);
		token = made;
	}
	if (!err)
		err = record(host, state, &pci, count);
	if (err)
		return err;
	err = make_all(host, state, &pci, token);
	if (err) {
		memcpy(reason, host->error, sizeof(reason));
		if (host_vf_remove(host, state, device, false))
			return host_fail(host, -err, "%.500s; and it could not be undone: %.400s",
				reason, host->error);
		return host_fail(host, -err, "%s; everything is as it was", reason);
	}
	vfs = host_vfs_find(state, device);
	vfs->stage = HOST_DONE;
	for (size_t i = 0; i < vfs->function_count; i++)
		host_binding_find(state, vfs->functions[i])->stage = HOST_DONE;
	err = host_state_save(host, state);
	if (err)
		return err;
	host->ops->settle(host);
	tell(host, state, vfs, token);
	return 0;
}

/*
 * Removing
 */

static int check_closed(struct host *host, const struct host_vfs *vfs)
{
	char node[HOST_GROUP_NODE_MAX];
	struct host_openers openers;
	struct host_pci pci;
	int err;

	err = host_openers_find(host, &openers);
	if (err)
		return err;
	for (size_t i = 0; i < vfs->function_count && !err; i++) {
		if (host_pci_read(host, vfs->functions[i], &pci))
			continue;
		for (size_t j = 0; j < openers.count && !err; j++) {
			const struct host_opener *opener = &openers.items[j];

			if (host_opener_has(opener, &pci))
				err = host_fail(host, EBUSY,
					"refused by the rule 'open': pid %d (%s, uid %u) has its "
					"virtual function %s open; end it, or use --force, which "
					"waits until it has given it back",
					(int)opener->who.pid, opener->who.comm, opener->who.uid,
					pci.address);
		}
		if (!err && host_group_busy(host, &pci, node))
			err = host_fail(host, EBUSY,
				"refused by the rule 'open': somebody has %s open, the node of its "
				"virtual function %s, though no process shows it (the file may be "
				"on its way between two); --force waits until it is given back",
				node, pci.address);
	}
	host_openers_free(&openers);
	return err;
}

/* A command that died before it listed them has left functions without a record. */
static int remove_all(struct host *host, struct host_state *state, struct host_vfs *vfs)
{
	struct host_pci pci;
	int64_t autoprobe;
	int err = 0;

	for (size_t i = 0; i < vfs->function_count && !err; i++)
		err = host_revoke_device(host, state, vfs->functions[i]);
	if (err || host_origin_old(host, vfs->origin.boot) ||
		host_pci_read(host, vfs->device, &pci))
		return err;
	if (pci.vf_count > 0 && (unsigned int)pci.vf_count != vfs->before_count)
		err = set_count(host, vfs->device, vfs->before_count);
	if (!err &&
		!host_read_number(
			&autoprobe, DEVICE "sriov_drivers_autoprobe", host->sys, vfs->device) &&
		(autoprobe != 0) != vfs->before_autoprobe)
		err = set_autoprobe(host, vfs->device, vfs->before_autoprobe);
	return err;
}

static void drop_functions(struct host_state *state, const char *device)
{
	for (size_t i = state->binding_count; i > 0; i--) {
		if (!strcmp(state->bindings[i - 1].vf_of, device))
			host_binding_drop(state, &state->bindings[i - 1]);
	}
}

int host_vf_remove(struct host *host, struct host_state *state, const char *device, bool force)
{
	struct host_vfs *vfs = host_vfs_find(state, device);
	int err;

	if (!vfs)
		return host_fail(host, ENOENT,
			"has no virtual functions that pinion made ('pinion status' shows what "
			"is)");
	err = force || host_origin_old(host, vfs->origin.boot) ? 0 : check_closed(host, vfs);
	if (err)
		return err;
	vfs->stage = HOST_UNDOING;
	err = host_state_save(host, state);
	if (!err)
		err = remove_all(host, state, vfs);
	if (err)
		return err;
	drop_functions(state, device);
	host_vfs_drop(state, vfs);
	err = host_derived_write(host, state);
	if (!err)
		err = host_state_save(host, state);
	if (!err)
		host_note(host, "%s: its virtual functions are removed", device);
	return err;
}
