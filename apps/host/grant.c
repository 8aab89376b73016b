/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Grants: which nodes a device has, the records, and bringing each node to what they say.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "derived.h"
#include "grant.h"
#include "node.h"

#define SETFACL "/usr/bin/setfacl"

static bool is_there(struct host *host, const char *node)
{
	return host_exists("%s/%s", host->dev, node + 5);
}

/*
 * Which nodes
 */

static void add_node(struct host_grant *grant, const char *node)
{
	snprintf(grant->nodes[grant->node_count++], HOST_NODE_MAX, "%s", node);
}

/* What all devices share is touched only where it is not open to the user anyway. */
static int add_shared(struct host *host, const struct host_state *state, struct host_grant *grant,
	const char *node)
{
	const struct host_node *known = host_node_find(state, node);
	struct host_node now;
	int err;

	if (!is_there(host, node))
		return 0;
	if (!known || host_node_renewed(host, known)) {
		err = host_node_look(host, node, &now);
		if (err)
			return err;
		known = &now;
	}
	if (!host_node_allows(known, grant->is_group, grant->id))
		add_node(grant, node);
	return 0;
}

static int fill_nodes(struct host *host, const struct host_state *state, struct host_grant *grant,
	const struct host_pci *pci)
{
	char node[HOST_NODE_MAX];
	int err;

	grant->node_count = 0;
	snprintf(node, sizeof(node), "/dev/vfio/%s%d", pci->noiommu ? "noiommu-" : "", pci->group);
	if (is_there(host, node))
		add_node(grant, node);
	if (pci->cdev[0]) {
		snprintf(node, sizeof(node), "/dev/vfio/devices/%s", pci->cdev);
		if (is_there(host, node))
			add_node(grant, node);
	}
	if (!grant->node_count)
		return host_fail(host, ENOENT,
			"it is bound to %s, but has neither /dev/vfio/%d nor a node in "
			"/dev/vfio/devices: is %s a devtmpfs?",
			pci->driver, pci->group, host->dev);
	err = add_shared(host, state, grant, "/dev/iommu");
	return err ? err : add_shared(host, state, grant, "/dev/vfio/vfio");
}

static bool names_node(const struct host_grant *grant, const char *node)
{
	for (unsigned int i = 0; i < grant->node_count; i++) {
		if (!strcmp(grant->nodes[i], node))
			return true;
	}
	return false;
}

/* Its record, made now if there is none, or none of this very node. */
static int remember(
	struct host *host, struct host_state *state, const char *node, const char *device)
{
	struct host_node *known = host_node_find(state, node), now;
	int err;

	if (known && !host_node_renewed(host, known))
		return 0;
	err = host_node_look(host, node, &now);
	if (err)
		return err;
	if (!host_node_is_shared(node))
		snprintf(now.device, sizeof(now.device), "%s", device);
	if (!known) {
		known = host_node_add(state);
		if (!known)
			return host_fail(host, ENOMEM, "no memory for a record");
	}
	*known = now;
	return 0;
}

static int remember_nodes(
	struct host *host, struct host_state *state, const struct host_grant *grant)
{
	int err = 0;

	for (unsigned int i = 0; i < grant->node_count && !err; i++)
		err = remember(host, state, grant->nodes[i], grant->device);
	return err;
}

static int apply_nodes(
	struct host *host, const struct host_state *state, const struct host_grant *grant)
{
	int err = 0;

	for (unsigned int i = 0; i < grant->node_count && !err; i++) {
		const struct host_node *node = host_node_find(state, grant->nodes[i]);

		/* Another node under the same name is none of ours. */
		if (node && !host_node_renewed(host, node))
			err = host_node_apply(host, state, node);
	}
	return err;
}

bool host_grant_is_void(
	struct host *host, const struct host_state *state, const struct host_grant *grant)
{
	if (grant->persist)
		return false;
	if (host_origin_old(host, grant->origin.boot))
		return true;
	for (unsigned int i = 0; i < grant->node_count; i++) {
		const struct host_node *node = host_node_find(state, grant->nodes[i]);

		if (node && (!is_there(host, node->path) || host_node_renewed(host, node)))
			return true;
	}
	return false;
}

/*
 * Granting
 */

/* Two cannot own one node. */
static int check_owner(
	struct host *host, const struct host_state *state, const struct host_grant *wanted)
{
	for (size_t i = 0; wanted->owner && i < state->grant_count; i++) {
		const struct host_grant *other = &state->grants[i];

		if (!other->owner || other->is_group != wanted->is_group ||
			other->id == wanted->id || other->stage == HOST_UNDOING ||
			host_grant_is_void(host, state, other))
			continue;
		for (unsigned int j = 0; j < wanted->node_count; j++) {
			if (!host_node_is_shared(wanted->nodes[j]) &&
				names_node(other, wanted->nodes[j]))
				return host_fail(host, EBUSY,
					"refused by the rule 'owner': %s belongs to the %s %s by "
					"an earlier grant of %s; use --mode acl, or revoke that",
					wanted->nodes[j], other->is_group ? "group" : "user",
					other->name, other->device);
		}
	}
	return 0;
}

static int check_device(struct host *host, const char *device, struct host_pci *pci)
{
	if (host_pci_read(host, device, pci))
		return host_fail(host, ENODEV, "there is no such PCI function");
	if (!host_driver_is_vfio(pci->driver))
		return host_fail(host, ENXIO,
			"refused by the rule 'bound': it is on %s, not on vfio-pci, and has no "
			"nodes to grant: 'pinion bind %s' first",
			pci->driver[0] ? pci->driver : "no driver", device);
	return 0;
}

static int check_options(struct host *host, const struct host_grant_options *options)
{
	if (options->persist && !options->owner && !host_exists(SETFACL))
		return host_fail(host, ENOENT,
			"refused by the rule 'setfacl': the udev rule of --persist runs %s, which "
			"is not there: install the package acl, or use --mode owner",
			SETFACL);
	return 0;
}

/* Everyone who may open the group's node reaches every device of the group. */
static void tell_group(struct host *host, const struct host_pci *pci)
{
	struct host_pci *list;
	char names[256] = "";
	size_t count, used = 0;

	if (pci->group < 0 || host_pci_group(host, pci->group, &list, &count))
		return;
	for (size_t i = 0; i < count && used < sizeof(names); i++) {
		if (strcmp(list[i].address, pci->address) && host_driver_is_vfio(list[i].driver))
			used += (size_t)snprintf(
				names + used, sizeof(names) - used, " %s", list[i].address);
	}
	free(list);
	if (*names)
		host_note(host, "%s: with the node of its IOMMU group %d goes%s", pci->address,
			pci->group, names);
}

static void tell_granted(struct host *host, const struct host_grant *grant)
{
	char nodes[HOST_NODES_MAX * (HOST_NODE_MAX + 2)] = "";
	size_t used = 0;

	for (unsigned int i = 0; i < grant->node_count; i++)
		used += (size_t)snprintf(nodes + used, sizeof(nodes) - used, "%s%s",
			used ? ", " : "", grant->nodes[i]);
	host_note(host, "%s: the %s %s may open %s%s", grant->device,
		grant->is_group ? "group" : "user", grant->name, nodes,
		grant->persist ? ", after each start too" : "");
	if (!grant->memlock)
		return;
	host_note(host,
		"%s: RLIMIT_MEMLOCK of the %s %s will be %llu bytes from the next login on; for a "
		"process that runs: prlimit --pid PID --memlock=%llu:%llu",
		grant->device, grant->is_group ? "group" : "user", grant->name,
		(unsigned long long)grant->memlock, (unsigned long long)grant->memlock,
		(unsigned long long)grant->memlock);
}

static int undo_failed(struct host *host, struct host_state *state, const char *device,
	const struct host_grant_options *options, int err)
{
	char reason[HOST_ERROR_MAX];

	memcpy(reason, host->error, sizeof(reason));
	if (host_revoke_one(host, state, device, options->is_group, options->id))
		return host_fail(host, -err,
			"%.500s; and it could not be undone: %.300s; see 'pinion status'", reason,
			host->error);
	return host_fail(host, -err, "%s; nothing is granted", reason);
}

/* The record as it shall be; what was there under the same names is its former self. */
static int prepare(struct host *host, struct host_state *state, const struct host_pci *pci,
	const struct host_grant_options *options, struct host_grant *wanted)
{
	int err;

	memset(wanted, 0, sizeof(*wanted));
	strcpy(wanted->device, pci->address);
	wanted->is_group = options->is_group;
	wanted->id = options->id;
	snprintf(wanted->name, sizeof(wanted->name), "%s", options->name);
	wanted->owner = options->owner;
	wanted->persist = options->persist;
	wanted->memlock = options->memlock;
	wanted->stage = HOST_BEGUN;
	host_origin_now(host, &wanted->origin);
	err = fill_nodes(host, state, wanted, pci);
	return err ? err : check_owner(host, state, wanted);
}

int host_grant(struct host *host, struct host_state *state, const char *device,
	const struct host_grant_options *options)
{
	struct host_grant wanted, *grant;
	struct host_pci pci;
	int err;

	err = check_options(host, options);
	if (!err)
		err = check_device(host, device, &pci);
	/* What has ended is no part of what this grant adds to. */
	if (!err)
		err = host_grants_settle(host, state);
	if (err)
		return err;
	grant = host_grant_find(state, device, options->is_group, options->id);
	err = prepare(host, state, &pci, options, &wanted);
	if (!err)
		err = remember_nodes(host, state, &wanted);
	if (err)
		return err;
	if (!grant)
		grant = host_grant_add(state);
	if (!grant)
		return host_fail(host, ENOMEM, "no memory for a record");
	*grant = wanted;
	err = host_state_save(host, state);
	if (err)
		return err;
	err = apply_nodes(host, state, grant);
	if (!err)
		err = host_derived_write(host, state);
	if (err)
		return undo_failed(host, state, device, options, err);
	grant->stage = HOST_DONE;
	/* Saves too. A node that an earlier grant of the same named may be named no more. */
	err = host_revoke_nodes(host, state);
	if (err)
		return err;
	tell_granted(host, grant);
	tell_group(host, &pci);
	return 0;
}

/*
 * Revoking
 */

/* A node that no grant names: back to what it was, if it is that node. What devices share is also
 * brought to what those that are left say, as one of them may have ended by itself. */
int host_revoke_nodes(struct host *host, struct host_state *state)
{
	int err = 0;

	for (size_t i = state->node_count; i > 0 && !err; i--) {
		struct host_node *node = &state->nodes[i - 1];
		bool granted = host_node_granted(host, state, node);

		if (granted && !host_node_is_shared(node->path))
			continue;
		if (is_there(host, node->path) && !host_node_renewed(host, node))
			err = host_node_apply(host, state, node);
		if (!err && !granted)
			host_node_drop(state, node);
	}
	return err ? err : host_state_save(host, state);
}

static int revoke(struct host *host, struct host_state *state, struct host_grant *grant)
{
	struct host_grant gone;
	int err;

	grant->stage = HOST_UNDOING;
	gone = *grant;
	host_origin_now(host, &grant->origin);
	err = host_state_save(host, state);
	/* The rules first: else udev could apply them once more behind us. */
	if (!err)
		err = host_derived_write(host, state);
	if (!err)
		err = apply_nodes(host, state, grant);
	if (err)
		return host_fail_prefix(host, err, "grant of %s to %s: ", gone.device, gone.name);
	host_grant_drop(state, grant);
	err = host_revoke_nodes(host, state);
	if (err)
		return err;
	host_note(host, "%s: the %s %s may not open it any more", gone.device,
		gone.is_group ? "group" : "user", gone.name);
	return 0;
}

/* All of a device, or one of it. */
static int revoke_some(struct host *host, struct host_state *state, const char *device,
	const struct host_grant *only)
{
	size_t before = state->grant_count;
	int err;

	err = host_grants_settle(host, state);
	for (size_t i = state->grant_count; i > 0 && !err; i--) {
		struct host_grant *g = &state->grants[i - 1];

		if (!strcmp(g->device, device) &&
			(!only || (g->is_group == only->is_group && g->id == only->id)))
			err = revoke(host, state, g);
	}
	/* What had ended goes, whosever it was. */
	if (!err && state->grant_count != before)
		err = host_revoke_nodes(host, state);
	return err ? err : host_derived_write(host, state);
}

int host_revoke_one(struct host *host, struct host_state *state, const char *device, bool is_group,
	unsigned int id)
{
	const struct host_grant only = {.is_group = is_group, .id = id};

	return revoke_some(host, state, device, &only);
}

int host_revoke_device(struct host *host, struct host_state *state, const char *device)
{
	return revoke_some(host, state, device, NULL);
}
