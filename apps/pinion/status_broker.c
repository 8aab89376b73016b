/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What pinion-broker has handed out, for pinion status: from its ledger, which anybody may read.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "parse.h"
#include "status.h"

const char *status_ledger_path(const struct host *host, char path[PATH_MAX])
{
	_Static_assert(sizeof(LEDGER_FILE) + HOST_ROOT_MAX < PATH_MAX, "it fits");
	/* The machine's /run may be another one. */
	snprintf(path, PATH_MAX, "%s%s", host->run, &LEDGER_FILE[strlen("/run")]);
	return path;
}

/* What a broker left that does not run: the next one goes on with it, if ever one is started. */
static int check_lease(
	struct host_report *report, const struct ledger *ledger, const struct lease *lease)
{
	if (ledger->runs || (ledger->elsewhere && !ledger->ended))
		return 0;
	if (ledger->elsewhere)
		return host_report_problem(report, lease->device,
			"the pinion-broker that handed it to process %d of another PID namespace "
			"does not run any more: 'pinion revoke --all' takes it back there, and so "
			"does a broker that is started elsewhere",
			(int)lease->peer.pid);
	if (lease->state == LEASE_HELD)
		return host_report_problem(report, lease->device,
			"the pinion-broker that handed it to process %d does not run any more: "
			"the next one goes on with it, 'pinion revoke --all' takes it back",
			(int)lease->peer.pid);
	return host_report_problem(report, lease->device,
		"the pinion-broker that handed it to process %d, which has ended or given it back, "
		"does not run any more: 'pinion revoke --all' forgets it",
		(int)lease->peer.pid);
}

int status_broker(struct host *host, struct host_report *report, struct ledger *ledger)
{
	int err = 0;

	if (ledger_read(ledger) == -EINVAL)
		err = host_report_problem(report, "",
			"%s makes no sense: what pinion-broker has handed out is not known",
			ledger->path);
	for (unsigned int i = 0; i < LEDGER_LEASES && !err; i++) {
		const struct lease *lease = &ledger->leases[i];

		if (lease->state == LEASE_NONE)
			continue;
		err = host_report_device(host, report, lease->device);
		if (!err)
			err = check_lease(report, ledger, lease);
	}
	return err;
}

static const struct lease *find(const struct ledger *ledger, const char *address)
{
	for (unsigned int i = 0; i < LEDGER_LEASES; i++) {
		if (ledger->leases[i].state != LEASE_NONE &&
			!strcmp(ledger->leases[i].device, address))
			return &ledger->leases[i];
	}
	return NULL;
}

void status_print_leases(const struct ledger *ledger, const char *address)
{
	const struct lease *lease = find(ledger, address);
	char memory[FORMAT_MAX], since[32];

	if (!lease)
		return;
	printf("  handed out pid %d%s (uid %u), by pinion-broker: %s, %s per %s, since %s%s\n",
		(int)lease->peer.pid, ledger->elsewhere ? " of the broker's PID namespace" : "",
		(unsigned int)lease->peer.uid, ledger_backend(lease),
		format_size(memory, lease->memory), charge_name(lease->charge),
		ledger_since(lease, since),
		lease->state == LEASE_HELD
			? ""
			: "; ended, or given back: stays with whoever has it open");
}

json_t *status_lease_json(const struct ledger *ledger, const char *address)
{
	const struct lease *lease = find(ledger, address);

	if (!lease)
		return json_null();
	return json_pack("{s:s, s:i, s:I, s:s, s:s, s:I, s:I}", "state",
		lease->state == LEASE_HELD ? "held" : "lingering", "pid", (int)lease->peer.pid,
		"uid", (json_int_t)lease->peer.uid, "backend", ledger_backend(lease), "charge",
		charge_name(lease->charge), "memory", (json_int_t)lease->memory, "since",
		(json_int_t)lease->since);
}

json_t *status_broker_json(const struct ledger *ledger)
{
	if (!ledger->broker)
		return json_null();
	return json_pack("{s:i, s:o}", "pid", (int)ledger->broker, "runs",
		ledger->elsewhere && !ledger->ended ? json_null() : json_boolean(ledger->runs));
}
