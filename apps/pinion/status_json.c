/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion status --json.
 */
#include <stdio.h>
#include <string.h>

#include "status.h"

static json_t *opener_json(const struct host_opener *opener)
{
	return json_pack("{s:i, s:I, s:o, s:o, s:b}", "pid", (int)opener->who.pid, "uid",
		(json_int_t)opener->who.uid, "command", json_text(opener->who.comm), "node",
		json_text(opener->node), "mapped_only", opener->who.mapped);
}

static json_t *openers_json(const struct host_report *report, const struct host_device *device)
{
	json_t *array = json_array();

	for (size_t i = 0; i < report->openers.count && device->there; i++) {
		const struct host_opener *opener = &report->openers.items[i];

		if (opener->node[0] && host_opener_has(opener, &device->pci))
			json_array_append_new(array, opener_json(opener));
	}
	return array;
}

/* Of which nothing tells the device. */
static json_t *unknown_openers_json(const struct host_report *report)
{
	json_t *array = json_array();

	for (size_t i = 0; i < report->openers.count; i++) {
		if (!report->openers.items[i].node[0])
			json_array_append_new(array, opener_json(&report->openers.items[i]));
	}
	return array;
}

static json_t *pins_json(const struct pn_pins_report *pins, const char *address)
{
	json_t *array = json_array();
	uint64_t pages;
	size_t mappings;

	for (size_t i = 0; pins && i < pins->process_count; i++) {
		const struct pn_pins_process *process = &pins->processes[i];

		pages = status_pinned(process, address, &mappings);
		if (mappings)
			json_array_append_new(
				array, json_pack("{s:i, s:I, s:s, s:I, s:I, s:s}", "pid",
					       (int)process->pid, "uid", (json_int_t)process->uid,
					       "command", process->comm, "mappings",
					       (json_int_t)mappings, "pages", (json_int_t)pages,
					       "state", pn_pins_state(process)));
	}
	return array;
}

/* The records of a device, as they stand in the state file. */
static json_t *records_json(json_t *document, const char *list, const char *address)
{
	json_t *array = json_array(), *record;
	size_t i;

	json_array_foreach(json_object_get(document, list), i, record)
	{
		const char *device = json_string_value(json_object_get(record, "device"));

		if (device && !strcmp(device, address))
			json_array_append(array, record);
	}
	return array;
}

static json_t *first_of(json_t *array)
{
	json_t *first = json_incref(json_array_get(array, 0));

	json_decref(array);
	return first ? first : json_null();
}

static json_t *problems_json(const struct host_report *report, const char *address)
{
	json_t *array = json_array();

	for (size_t i = 0; i < report->problem_count; i++) {
		if (!strcmp(report->problems[i].device, address))
			json_array_append_new(array, json_string(report->problems[i].text));
	}
	return array;
}

static json_t *device_json(const struct host_report *report, const struct pn_pins_report *pins,
	const struct ledger *ledger, json_t *document, const struct host_device *device)
{
	const char *address = device->address;
	char id[16];

	snprintf(id, sizeof(id), "%04x:%04x", device->pci.vendor & 0xffff,
		device->pci.device & 0xffff);
	return json_pack("{s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
		"device", address, "there", device->there, "id",
		json_text(device->there ? id : NULL), "driver", json_text(device->pci.driver),
		"override", json_text(device->pci.override), "group",
		json_number(device->there ? device->pci.group : -1), "binding",
		first_of(records_json(document, "bindings", address)), "grants",
		records_json(document, "grants", address), "vfs",
		first_of(records_json(document, "vfs", address)), "handed_out",
		status_lease_json(ledger, address), "open", openers_json(report, device), "pinned",
		pins_json(pins, address), "problems", problems_json(report, address));
}

json_t *status_json(const struct host_report *report, const struct pn_pins_report *pins,
	const struct ledger *ledger)
{
	json_t *devices = json_array(), *document = host_state_json(report->state), *nodes;

	for (size_t i = 0; i < report->device_count; i++)
		json_array_append_new(
			devices, device_json(report, pins, ledger, document, &report->devices[i]));
	nodes = json_incref(json_object_get(document, "nodes"));
	json_decref(document);
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:i}", "schema", "pinion.status/1",
		"devices", devices, "broker", status_broker_json(ledger), "nodes",
		nodes ? nodes : json_array(), "open_unknown", unknown_openers_json(report),
		"problems", problems_json(report, ""), "busy",
		report->busy ? json_integer(report->busy) : json_null(), "unseen_processes",
		(int)report->openers.unseen);
}
