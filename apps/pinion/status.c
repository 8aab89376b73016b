/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion status: what is bound, granted, open and pinned, what was there before, and what a command
 * that died left behind.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"
#include "session.h"
#include "status.h"

const char status_help[] =
	"[--json]\n\n"
	"Show each device that pinion bound or granted, or that is on a VFIO driver: what was "
	"there\n"
	"before, who may open it, to whom pinion-broker handed it, which processes have it open "
	"(in\n"
	"containers too), who pins how much for it, and what a command that was killed half-way\n"
	"left behind, with the command that clears it. Any user may ask; only root sees the files\n"
	"of others' processes.\n\n"
	"      --json   print a JSON document (schema \"pinion.status/1\", see doc/bind.md)\n"
	"  -h, --help   print this and exit\n\n"
	"Example:\n"
	"  pinion status --json | jq '.devices[] | select(.problems != [])'\n";

/* Is an address one of "0000:01:00.0 0000:02:00.0"? */
static bool names_device(const char *names, const char *address)
{
	const char *found = strstr(names, address);
	size_t len = strlen(address);

	return found && (found == names || found[-1] == ' ') &&
	       (found[len] == ' ' || found[len] == '\0');
}

uint64_t status_pinned(const struct pn_pins_process *process, const char *address, size_t *mappings)
{
	uint64_t pages = 0;

	*mappings = 0;
	for (size_t i = 0; i < process->domain_count; i++) {
		const struct pn_pins_domain *domain = &process->domains[i];

		if (!names_device(domain->device_names, address))
			continue;
		*mappings += domain->pin_count;
		for (size_t j = 0; j < domain->pin_count; j++)
			pages += domain->pins[j].pages;
	}
	return pages;
}

static const char *or_none(const char *text)
{
	return *text ? text : "none";
}

static void print_binding(const struct host_device *device)
{
	const struct host_binding *b = device->binding;

	if (!b) {
		if (host_driver_is_vfio(device->pci.driver))
			printf("  state      bound, but not by pinion\n");
		return;
	}
	if (b->vf_of[0]) {
		printf("  state      %s by pinion, a virtual function of %s\n",
			host_binding_stage(b->stage), b->vf_of);
		return;
	}
	printf("  state      %s by pinion%s\n", host_binding_stage(b->stage),
		b->persist ? ", at each start of the machine" : "");
	printf("  before     driver %s, driver_override %s%s%s\n", or_none(b->before_driver),
		or_none(b->before_override), b->interfaces[0] ? ", interface " : "", b->interfaces);
}

static void print_grants(const struct host_report *report, const struct host_device *device)
{
	char size[FORMAT_MAX];

	for (size_t i = 0; i < report->state->grant_count; i++) {
		const struct host_grant *g = &report->state->grants[i];

		if (strcmp(g->device, device->address))
			continue;
		printf("  %-10s %s %s (%u), by %s:", host_grant_stage(g->stage),
			g->is_group ? "group" : "user", g->name, g->id,
			g->owner ? "ownership" : "list");
		for (unsigned int j = 0; j < g->node_count; j++)
			printf(" %s", g->nodes[j]);
		if (g->memlock)
			printf(", memlock %s", format_size(size, g->memlock));
		puts(g->persist ? ", at each start of the machine" : "");
	}
}

static void print_openers(const struct host_report *report, const struct host_device *device)
{
	for (size_t i = 0; i < report->openers.count && device->there; i++) {
		const struct host_opener *opener = &report->openers.items[i];

		if (opener->node[0] && host_opener_has(opener, &device->pci))
			printf("  open       pid %d (%s, uid %u): %s%s\n", (int)opener->who.pid,
				opener->who.comm, opener->who.uid, opener->node,
				opener->who.mapped ? ", mapped only" : "");
	}
}

static void print_pins(const struct pn_pins_report *pins, const char *address)
{
	char size[FORMAT_MAX];
	uint64_t pages;
	size_t mappings;

	for (size_t i = 0; pins && i < pins->process_count; i++) {
		const struct pn_pins_process *process = &pins->processes[i];

		pages = status_pinned(process, address, &mappings);
		if (mappings)
			printf("  pinned     pid %d (%s, uid %u%s%s): %zu mapping%s, %" PRIu64
			       " pages (%s) charged\n",
				(int)process->pid, process->comm, process->uid,
				process->alive ? "" : ", ",
				process->alive ? "" : pn_pins_state(process), mappings,
				mappings == 1 ? "" : "s", pages, format_size(size, pages * 4096));
	}
}

static void print_problems(const struct host_report *report, const char *address)
{
	for (size_t i = 0; i < report->problem_count; i++) {
		if (!strcmp(report->problems[i].device, address))
			printf("  PROBLEM    %s\n", report->problems[i].text);
	}
}

static void print_head(const struct host_device *device)
{
	const struct host_pci *pci = &device->pci;

	if (!device->there) {
		printf("%s  not there any more\n", device->address);
		return;
	}
	printf("%s  %04x:%04x  %s, on %s, ", device->address, pci->vendor & 0xffff,
		pci->device & 0xffff, host_pci_kind(pci), *pci->driver ? pci->driver : "no driver");
	if (pci->group < 0)
		printf("no IOMMU group\n");
	else
		printf("IOMMU group %d\n", pci->group);
}

static void print_device(const struct host_report *report, const struct pn_pins_report *pins,
	const struct ledger *ledger, const struct host_device *device)
{
	print_head(device);
	print_binding(device);
	if (device->vfs)
		printf("  functions  %s: %u virtual functions%s\n",
			host_vfs_stage(device->vfs->stage), device->vfs->count,
			device->vfs->token ? ", behind a VF token" : "");
	print_grants(report, device);
	status_print_leases(ledger, device->address);
	print_openers(report, device);
	print_pins(pins, device->address);
	print_problems(report, device->address);
}

/* What belongs to no one device. */
static void print_rest(const struct host_report *report)
{
	for (size_t i = 0; i < report->openers.count; i++) {
		const struct host_opener *opener = &report->openers.items[i];

		if (!opener->node[0])
			printf("pid %d (%s, uid %u) has a device open through VFIO; nothing tells "
			       "which: its group is closed\n",
				(int)opener->who.pid, opener->who.comm, opener->who.uid);
	}
	for (size_t i = 0; i < report->problem_count; i++) {
		if (!report->problems[i].device[0])
			printf("PROBLEM: %s\n", report->problems[i].text);
	}
	if (report->busy)
		printf("pinion (pid %d) is changing something right now\n", (int)report->busy);
	if (report->openers.unseen)
		printf("the files of %u processes of others could not be looked at: root sees "
		       "them\n",
			report->openers.unseen);
}

static void print_status(const struct host_report *report, const struct pn_pins_report *pins,
	const struct ledger *ledger)
{
	if (!report->device_count)
		printf("nothing is bound or granted, and no device is on a VFIO driver\n");
	for (size_t i = 0; i < report->device_count; i++)
		print_device(report, pins, ledger, &report->devices[i]);
	print_rest(report);
}

static int show(struct session *session, bool json)
{
	const struct pn_pins_query query = {.quick = true};
	struct pn_pins_report *pins = NULL;
	static struct ledger ledger;
	struct host_report report;
	char path[PATH_MAX];
	int status = EXIT_SUCCESS;

	if (host_report_make(&session->host, &session->state, &report))
		return session_complain(session, NULL);
	ledger.path = status_ledger_path(&session->host, path);
	if (status_broker(&session->host, &report, &ledger)) {
		complain("%s: out of memory", session->command->name);
		status = EXIT_FAILURE;
		goto out;
	}
	/* Without ledgers there is less to show, and no reason to fail. */
	if (pn_pins_report_create(&pins, &query))
		complain("%s: who pins what is not known: %s", session->command->name, pn_error());
	if (!json)
		print_status(&report, pins, &ledger);
	else if (print_json(status_json(&report, pins, &ledger)))
		status = EXIT_FAILURE;
	pn_pins_report_free(pins);
out:
	ledger_close(&ledger);
	host_report_free(&report);
	return status;
}

int status_run(const struct command *command, int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	struct session session;
	bool json = false;
	int code, status;

	while ((code = next_option(command, argc, argv, options, &status)) != -1) {
		if (code != 'j')
			return status;
		json = true;
	}
	if (session_begin(&session, command, false))
		return EXIT_FAILURE;
	status = show(&session, json);
	session_end(&session);
	return status;
}
