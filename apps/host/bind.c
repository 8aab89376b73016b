/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Binding several functions, all or none: what the group wants, what stands in the way, the
 * records, and the way back when one of them fails.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "binding.h"
#include "derived.h"
#include "net.h"

struct selection {
	struct host_pci *items;    /* to be taken, in the order named; as these were before */
	struct host_binding *kept; /* of each the record of before, if there was one */
	size_t count;
	struct host_pci *bound; /* on the driver already */
	size_t bound_count;
};

static bool contains(const struct host_pci *list, size_t count, const char *address)
{
	for (size_t i = 0; i < count; i++) {
		if (!strcmp(list[i].address, address))
			return true;
	}
	return false;
}

static int append(
	struct host *host, struct host_pci **list, size_t *count, const struct host_pci *pci)
{
	struct host_pci *grown;

	if (contains(*list, *count, pci->address))
		return 0;
	grown = host_grow(*list, count, sizeof(*pci));
	if (!grown)
		return host_fail(host, ENOMEM, "no memory for a list of devices");
	*list = grown;
	grown[*count - 1] = *pci;
	return 0;
}

/* In whose hands a driver is that is a VFIO driver already matters not: a variant may be wanted. */
static int choose(struct host *host, struct selection *selection, const struct host_pci *pci,
	const struct host_bind_options *options)
{
	if (!strcmp(pci->driver, options->driver))
		return append(host, &selection->bound, &selection->bound_count, pci);
	return append(host, &selection->items, &selection->count, pci);
}

/*
 * Groups
 */

static int add_obstacle(struct host *host, const struct host_pci *pci, const struct host_pci *other,
	struct host_uses *uses)
{
	char names[HOST_NAMES_MAX];
	int err;

	err = host_interfaces(host, other->address, names, sizeof(names));
	if (err)
		return err;
	return host_use_add(uses, pci->address, "group", HOST_USE_FORCE,
		"shares the IOMMU group %d with %s (%s), which is on the driver %s%s%s%s; all of a "
		"group go together: name it too, or use --group",
		pci->group, other->address, host_pci_kind(other), other->driver, *names ? " (" : "",
		names, *names ? ")" : "");
}

static int choose_member(struct host *host, struct selection *selection, const struct host_pci *pci,
	const struct host_pci *member, const struct host_bind_options *options,
	struct host_uses *uses)
{
	if (contains(selection->items, selection->count, member->address) ||
		contains(selection->bound, selection->bound_count, member->address))
		return 0;
	if (host_pci_is_bridge(member) && host_driver_is_harmless(member->driver))
		return 0;
	if (options->group && !host_pci_is_bridge(member))
		return choose(host, selection, member, options);
	if (host_driver_is_harmless(member->driver))
		return 0;
	return add_obstacle(host, pci, member, uses);
}

static int choose_group(struct host *host, struct selection *selection, const struct host_pci *pci,
	const struct host_bind_options *options, struct host_uses *uses)
{
	struct host_pci *members;
	size_t count;
	int err;

	if (pci->group < 0)
		return 0;
	err = host_pci_group(host, pci->group, &members, &count);
	if (err)
		return err;
	for (size_t i = 0; i < count && !err; i++)
		err = choose_member(host, selection, pci, &members[i], options, uses);
	free(members);
	return err;
}

/* Of those that are on the driver already too: without the rest they are of no use. */
static int choose_groups(struct host *host, struct selection *selection,
	const struct host_bind_options *options, struct host_uses *uses)
{
	size_t named = selection->count, bound = selection->bound_count;
	struct host_pci pci;
	int err = 0;

	/* Through a copy: the lists grow. */
	for (size_t i = 0; i < named && !err; i++) {
		pci = selection->items[i];
		err = choose_group(host, selection, &pci, options, uses);
	}
	for (size_t i = 0; i < bound && !err; i++) {
		pci = selection->bound[i];
		err = choose_group(host, selection, &pci, options, uses);
	}
	return err;
}

/*
 * What stands in the way
 */

bool host_use_stops(const struct host_use *use, const struct host_bind_options *options)
{
	/* Without the rest of its group a device is of no use: nothing to force. */
	if (!strcmp(use->rule, "group"))
		return true;
	if (use->weight == HOST_USE_NEVER)
		return true;
	if (use->weight == HOST_USE_CUT)
		return !options->force || !options->cut_network;
	return !options->force;
}

static bool any_stops(const struct host_uses *uses, const struct host_bind_options *options)
{
	for (size_t i = 0; i < uses->count; i++) {
		if (host_use_stops(&uses->items[i], options))
			return true;
	}
	return false;
}

/* driverctl, or who uses it, has decided about this device. */
static int check_driverctl(struct host *host, const struct host_state *state,
	const struct host_pci *pci, const struct host_bind_options *options, struct host_uses *uses)
{
	const struct host_binding *b = host_binding_find(state, pci->address);
	char text[HOST_OVERRIDE_MAX];

	if ((b && b->persist) || host_driverctl_read(host, pci->address, text, sizeof(text)))
		return 0;
	if (!strcmp(text, options->driver)) {
		host_note(host,
			"%s: driverctl owns its override (%s in %s/driverctl.d): it stays bound at "
			"the next start; 'driverctl unset-override %s' ends that",
			pci->address, text, host->etc, pci->address);
		return 0;
	}
	if (options->persist)
		return host_use_add(uses, pci->address, "driverctl", HOST_USE_FORCE,
			"has the override '%s' of driverctl; 'driverctl unset-override %s' first, "
			"or --force, which puts it back at unbind",
			text, pci->address);
	host_note(host,
		"%s: driverctl owns its override (%s in %s/driverctl.d), which comes back at the "
		"next start; 'pinion unbind' puts it back before",
		pci->address, text, host->etc);
	return 0;
}

static int look(struct host *host, const struct host_state *state, struct selection *selection,
	const struct host_bind_options *options, struct host_uses *uses)
{
	struct host_uses found;
	int err;

	err = choose_groups(host, selection, options, uses);
	if (err)
		return err;
	err = host_uses_find(host, selection->items, selection->count, &found);
	for (size_t i = 0; i < found.count && !err; i++) {
		const struct host_use *use = &found.items[i];

		err = host_use_add(uses, use->address, use->rule, use->weight, "%s", use->text);
	}
	host_uses_free(&found);
	for (size_t i = 0; i < selection->count && !err; i++)
		err = check_driverctl(host, state, &selection->items[i], options, uses);
	if (err == -ENOMEM)
		return host_fail(host, ENOMEM, "no memory for a list of uses");
	if (err)
		return err;
	return any_stops(uses, options) ? -EBUSY : 0;
}

/*
 * Records
 */

static int fill_file(struct host *host, struct host_binding *b)
{
	int err;

	err = host_driverctl_read(host, b->device, b->file_before, sizeof(b->file_before));
	b->file_was = !err;
	b->persist = true;
	return err == -ENOENT || !err ? 0
				      : host_fail(host, -err, "reading %s/driverctl.d/pci-%s: %s",
						host->etc, b->device, strerror(-err));
}

/* What is there now is what will be put back, unless an earlier command began this. */
static int record(struct host *host, struct host_state *state, const struct host_pci *pci,
	const struct host_bind_options *options, struct host_binding *kept)
{
	struct host_binding *b = host_binding_find(state, pci->address);
	int err = 0;

	if (b && !b->persist && host_origin_old(host, b->origin.boot)) {
		host_binding_drop(state, b);
		b = NULL;
	}
	if (!b) {
		b = host_binding_add(state);
		if (!b)
			return host_fail(host, ENOMEM, "no memory for a record");
		strcpy(b->device, pci->address);
		snprintf(b->id, sizeof(b->id), "%04x:%04x", pci->vendor & 0xffff,
			pci->device & 0xffff);
		strcpy(b->before_driver, pci->driver);
		strcpy(b->before_override, pci->override);
		b->fresh = true;
		err = host_interfaces(host, pci->address, b->interfaces, sizeof(b->interfaces));
	} else {
		*kept = *b;
	}
	b->group = pci->group;
	b->stage = HOST_BEGUN;
	snprintf(b->driver, sizeof(b->driver), "%s", options->driver);
	host_origin_now(host, &b->origin);
	if (!err && options->persist && !b->persist)
		err = fill_file(host, b);
	return err;
}

/* One that has a record of an earlier command: back to where this one found it. */
static int put_back_known(struct host *host, struct host_binding *b, const struct host_pci *was,
	const struct host_binding *kept)
{
	struct host_binding there = *b;
	int err;

	strcpy(there.before_driver, was->driver);
	strcpy(there.before_override, was->override);
	err = host_binding_give_back(host, &there);
	if (!err && !kept->persist)
		err = host_binding_restore_file(host, b);
	else if (!err && strcmp(kept->driver, b->driver))
		err = host_driverctl_write(host, b->device, kept->driver);
	if (!err)
		*b = *kept;
	return err;
}

/* One that was recorded by this command: back, and the record goes. */
static int put_back_fresh(struct host *host, struct host_state *state, struct host_binding *b)
{
	b->stage = HOST_UNDOING;
	if (host_binding_give_back(host, b) || host_binding_restore_file(host, b))
		return -EIO;
	host_binding_drop(state, b);
	return 0;
}

/* After a failure: everything that was begun goes back, as well as it can. */
static int roll_back(
	struct host *host, struct host_state *state, const struct selection *selection, int err)
{
	char reason[HOST_ERROR_MAX];
	bool whole = true;

	memcpy(reason, host->error, sizeof(reason));
	for (size_t i = 0; i < selection->count; i++) {
		struct host_binding *b = host_binding_find(state, selection->items[i].address);

		if (!b)
			continue;
		if (b->fresh ? put_back_fresh(host, state, b)
			     : put_back_known(host, b, &selection->items[i], &selection->kept[i])) {
			host_note(host, "%s: could not be put back: %s",
				selection->items[i].address, host->error);
			whole = false;
		}
	}
	if (host_state_save(host, state) || host_derived_write(host, state))
		whole = false;
	return host_fail(host, -err, "%s%s", reason,
		whole ? "; everything is as it was"
		      : "; not all could be put back: see 'pinion status', then 'pinion unbind "
			"--all'");
}

static int take_all(
	struct host *host, const struct host_state *state, const struct selection *selection)
{
	int err = 0;

	for (size_t i = 0; i < selection->count && !err; i++)
		err = host_binding_take(
			host, host_binding_find(state, selection->items[i].address));
	return err;
}

static int write_overrides(
	struct host *host, const struct host_state *state, const struct selection *selection)
{
	int err = 0;

	for (size_t i = 0; i < selection->count && !err; i++) {
		const struct host_binding *b =
			host_binding_find(state, selection->items[i].address);

		if (b->persist)
			err = host_driverctl_write(host, b->device, b->driver);
	}
	return err ? err : host_derived_write(host, state);
}

static void tell(
	struct host *host, const struct host_state *state, const struct selection *selection)
{
	for (size_t i = 0; i < selection->count; i++) {
		const struct host_binding *b =
			host_binding_find(state, selection->items[i].address);

		host_note(host, "%s: bound to %s (was on %s%s%s), IOMMU group %d%s", b->device,
			b->driver, b->before_driver[0] ? b->before_driver : "no driver",
			b->interfaces[0] ? ", interface " : "", b->interfaces, b->group,
			b->persist ? ", at each start" : "");
	}
}

static int act(struct host *host, struct host_state *state, struct selection *selection,
	const struct host_bind_options *options)
{
	int err;

	selection->kept = calloc(selection->count, sizeof(*selection->kept));
	if (!selection->kept)
		return host_fail(host, ENOMEM, "no memory for a list of records");
	err = host_driver_load(host, options->driver);
	for (size_t i = 0; i < selection->count && !err; i++)
		err = record(host, state, &selection->items[i], options, &selection->kept[i]);
	if (err)
		return err;
	err = host_state_save(host, state);
	if (!err)
		err = take_all(host, state, selection);
	if (!err)
		err = write_overrides(host, state, selection);
	if (err)
		return roll_back(host, state, selection, err);
	for (size_t i = 0; i < selection->count; i++)
		host_binding_find(state, selection->items[i].address)->stage = HOST_DONE;
	err = host_state_save(host, state);
	if (err)
		return err;
	host->ops->settle(host);
	tell(host, state, selection);
	return 0;
}

/* Devices that are on the driver already: one of ours may be unfinished, or is to persist now. */
static int finish_bound(struct host *host, const struct host_state *state,
	struct selection *selection, const struct host_bind_options *options)
{
	for (size_t i = 0; i < selection->bound_count; i++) {
		const struct host_pci *pci = &selection->bound[i];
		const struct host_binding *b = host_binding_find(state, pci->address);
		int err;

		/* Whoever bound it since the machine was started, it was not pinion. */
		if (b && !b->persist && host_origin_old(host, b->origin.boot))
			b = NULL;
		if (b && (b->stage != HOST_DONE || (options->persist && !b->persist))) {
			err = append(host, &selection->items, &selection->count, pci);
			if (err)
				return err;
		} else if (b) {
			host_note(host, "%s: is bound to %s already", pci->address, pci->driver);
		} else if (options->persist) {
			return host_fail(host, EEXIST,
				"%s: refused by the rule 'not-ours': it is on %s, but not by "
				"pinion, "
				"which therefore knows nothing to "
				"put back: 'driverctl set-override %s %s' makes it persist",
				pci->address, pci->driver, pci->address, pci->driver);
		} else {
			host_note(host,
				"%s: is on %s already, but not by pinion: 'pinion unbind' will "
				"leave it there",
				pci->address, pci->driver);
		}
	}
	return 0;
}

int host_bind(struct host *host, struct host_state *state, const char *const *specs, size_t count,
	const struct host_bind_options *options, struct host_uses *uses)
{
	struct selection selection = {0};
	struct host_pci pci;
	int err = 0;

	memset(uses, 0, sizeof(*uses));
	for (size_t i = 0; i < count && !err; i++) {
		err = host_pci_find(host, specs[i], &pci);
		if (!err)
			err = choose(host, &selection, &pci, options);
	}
	if (!err)
		err = look(host, state, &selection, options, uses);
	if (!err)
		err = finish_bound(host, state, &selection, options);
	for (size_t i = 0; i < selection.count && !err && options->dry_run; i++)
		host_note(host, "%s: would be bound to %s (is on %s), IOMMU group %d",
			selection.items[i].address, options->driver,
			selection.items[i].driver[0] ? selection.items[i].driver : "no driver",
			selection.items[i].group);
	if (!err && selection.count && !options->dry_run)
		err = act(host, state, &selection, options);
	free(selection.items);
	free(selection.kept);
	free(selection.bound);
	return err;
}
