/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Comparing the records with the machine.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "derived.h"
#include "grant.h"
#include "net.h"
#include "node.h"
#include "report.h"

int host_report_problem(struct host_report *report, const char *device, const char *fmt, ...)
{
	struct host_problem *grown;
	va_list args;

	grown = host_grow(report->problems, &report->problem_count, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	report->problems = grown;
	grown += report->problem_count - 1;
	snprintf(grown->device, sizeof(grown->device), "%s", device);
	va_start(args, fmt);
	vsnprintf(grown->text, sizeof(grown->text), fmt, args);
	va_end(args);
	return 0;
}

/*
 * Devices
 */

static int add_device(struct host *host, struct host_report *report, const char *address)
{
	struct host_device *grown;

	for (size_t i = 0; i < report->device_count; i++) {
		if (!strcmp(report->devices[i].address, address))
			return 0;
	}
	grown = host_grow(report->devices, &report->device_count, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	report->devices = grown;
	grown += report->device_count - 1;
	snprintf(grown->address, sizeof(grown->address), "%s", address);
	grown->there = !host_pci_read(host, address, &grown->pci);
	grown->binding = host_binding_find(report->state, address);
	grown->vfs = host_vfs_find(report->state, address);
	return 0;
}

static int add_devices(struct host *host, struct host_report *report)
{
	const struct host_state *state = report->state;
	struct host_pci *list;
	size_t count;
	int err;

	err = host_pci_list(host, &list, &count);
	if (err)
		return err;
	for (size_t i = 0; i < count && !err; i++) {
		if (host_driver_is_vfio(list[i].driver))
			err = add_device(host, report, list[i].address);
	}
	free(list);
	for (size_t i = 0; i < state->binding_count && !err; i++)
		err = add_device(host, report, state->bindings[i].device);
	for (size_t i = 0; i < state->grant_count && !err; i++)
		err = add_device(host, report, state->grants[i].device);
	for (size_t i = 0; i < state->vfs_count && !err; i++)
		err = add_device(host, report, state->vfs[i].device);
	return err;
}

static int by_address(const void *a, const void *b)
{
	return strcmp(
		((const struct host_device *)a)->address, ((const struct host_device *)b)->address);
}

static void sort(struct host_report *report)
{
	if (report->device_count)
		qsort(report->devices, report->device_count, sizeof(*report->devices), by_address);
}

/*
 * What is not as it should be
 */

/* Is the command that wrote this still at work? */
static bool at_work(const struct host_report *report, const struct host_origin *origin)
{
	return report->busy && report->busy == origin->pid;
}

static const char *or_none(const char *text)
{
	return *text ? text : "none";
}

static int check_binding(
	struct host *host, struct host_report *report, const struct host_binding *b)
{
	struct host_pci pci;

	if (b->stage != HOST_DONE && at_work(report, &b->origin))
		return 0;
	if (!b->persist && host_origin_old(host, b->origin.boot))
		return host_report_problem(report, b->device,
			"was bound before the machine was started anew, which undid it: 'pinion "
			"unbind %s' forgets it",
			b->device);
	if (host_pci_read(host, b->device, &pci))
		return host_report_problem(report, b->device,
			"is not there any more: 'pinion unbind %s' forgets it", b->device);
	if (b->stage != HOST_DONE)
		return host_report_problem(report, b->device,
			"a pinion (pid %d) that was %s it died half-way: its driver is %s, "
			"driver_override %s; 'pinion unbind %s' puts back what was there",
			(int)b->origin.pid, host_binding_stage(b->stage), or_none(pci.driver),
			or_none(pci.override), b->device);
	if (strcmp(pci.driver, b->driver))
		return host_report_problem(report, b->device,
			"was bound to %s, and is on %s now, not by pinion: 'pinion unbind %s' puts "
			"back what was there, 'pinion bind %s' binds it again",
			b->driver, or_none(pci.driver), b->device, b->device);
	return 0;
}

static int check_grant(struct host *host, struct host_report *report, const struct host_grant *g)
{
	if (g->stage != HOST_DONE && at_work(report, &g->origin))
		return 0;
	if (host_grant_is_void(host, report->state, g))
		return host_report_problem(report, g->device,
			"the grant to %s has ended: its nodes were made anew since (the device was "
			"bound again, or the machine started); 'pinion grant' gives it again, "
			"'pinion revoke %s' forgets it",
			g->name, g->device);
	if (g->stage != HOST_DONE)
		return host_report_problem(report, g->device,
			"a pinion (pid %d) that was %s it to %s died half-way: 'pinion revoke %s' "
			"puts back what was there",
			(int)g->origin.pid, host_grant_stage(g->stage), g->name, g->device);
	return 0;
}

static int check_node(struct host *host, struct host_report *report, const struct host_node *n)
{
	struct host_node now;

	if (report->busy || host_node_look(host, n->path, &now))
		return 0;
	if (!host_node_granted(host, report->state, n)) {
		if (host_node_renewed(host, n) || host_node_is_applied(host, report->state, n))
			return 0;
		return host_report_problem(report, n->device,
			"%s is as a grant left it that is no more: 'pinion revoke --all' puts back "
			"what was there",
			n->path);
	}
	if (host_node_renewed(host, n) || host_node_is_applied(host, report->state, n))
		return 0;
	return host_report_problem(report, n->device,
		"%s is not as granted (owner %u:%u, mode %04o, list %s): somebody has changed it "
		"since; 'pinion grant' grants it again, 'pinion revoke' puts back what was there",
		n->path, now.uid, now.gid, now.mode, or_none(now.acl));
}

static int check_vfs(struct host *host, struct host_report *report, const struct host_vfs *v)
{
	struct host_pci pci;

	if (v->stage != HOST_DONE && at_work(report, &v->origin))
		return 0;
	if (host_origin_old(host, v->origin.boot))
		return host_report_problem(report, v->device,
			"its virtual functions went when the machine was started anew: 'pinion vf "
			"remove %s' forgets them",
			v->device);
	if (host_pci_read(host, v->device, &pci))
		return host_report_problem(report, v->device,
			"is not there any more: 'pinion vf remove %s' forgets it", v->device);
	if (v->stage != HOST_DONE)
		return host_report_problem(report, v->device,
			"a pinion (pid %d) that was %s its virtual functions died half-way: there "
			"are %d; 'pinion vf remove %s' puts back what was there",
			(int)v->origin.pid, host_vfs_stage(v->stage),
			pci.vf_count > 0 ? pci.vf_count : 0, v->device);
	if (pci.vf_count != (int)v->count)
		return host_report_problem(report, v->device,
			"has %d virtual functions, and not the %u that were made: 'pinion vf "
			"remove "
			"%s' forgets them",
			pci.vf_count, v->count, v->device);
	return 0;
}

/* The files of /etc that are not as the records say. */
static int check_files(struct host *host, struct host_report *report)
{
	char stale[2048], *saved, *path;
	int err = 0;

	if (report->busy)
		return 0;
	host_derived_stale(host, report->state, stale, sizeof(stale));
	for (path = strtok_r(stale, "\n", &saved); path && !err;
		path = strtok_r(NULL, "\n", &saved))
		err = host_report_problem(report, "",
			"%s is not as the records say: the next 'pinion unbind --all' or 'pinion "
			"revoke --all', or any grant, writes it anew",
			path);
	return err;
}

static int check_overrides(
	struct host *host, struct host_report *report, const struct host_binding *b)
{
	char text[HOST_OVERRIDE_MAX] = "";

	if (!b->persist || b->stage != HOST_DONE)
		return 0;
	if (!host_driverctl_read(host, b->device, text, sizeof(text)) && !strcmp(text, b->driver))
		return 0;
	return host_report_problem(report, b->device,
		"is to be bound at each start, but %s/driverctl.d/pci-%s says %s: driverctl, or "
		"who "
		"uses it, has changed that; 'pinion unbind %s' leaves it so",
		host->etc, b->device, or_none(text), b->device);
}

static int check_all(struct host *host, struct host_report *report)
{
	const struct host_state *state = report->state;
	int err = 0;

	for (size_t i = 0; i < state->binding_count && !err; i++) {
		err = check_binding(host, report, &state->bindings[i]);
		if (!err)
			err = check_overrides(host, report, &state->bindings[i]);
	}
	for (size_t i = 0; i < state->grant_count && !err; i++)
		err = check_grant(host, report, &state->grants[i]);
	for (size_t i = 0; i < state->node_count && !err; i++)
		err = check_node(host, report, &state->nodes[i]);
	for (size_t i = 0; i < state->vfs_count && !err; i++)
		err = check_vfs(host, report, &state->vfs[i]);
	return err ? err : check_files(host, report);
}

int host_report_make(struct host *host, const struct host_state *state, struct host_report *report)
{
	int err;

	memset(report, 0, sizeof(*report));
	report->state = state;
	report->busy = host_lock_holder(host);
	host->error[0] = '\0';
	err = host_openers_find(host, &report->openers);
	if (!err)
		err = add_devices(host, report);
	if (!err)
		err = check_all(host, report);
	if (err) {
		host_report_free(report);
		return host->error[0] ? err : host_fail(host, -err, "%s", strerror(-err));
	}
	sort(report);
	return 0;
}

int host_report_device(struct host *host, struct host_report *report, const char *address)
{
	int err = add_device(host, report, address);

	sort(report);
	return err;
}

void host_report_free(struct host_report *report)
{
	free(report->devices);
	free(report->problems);
	host_openers_free(&report->openers);
	memset(report, 0, sizeof(*report));
}
