/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion pins: what running processes have pinned, from their ledgers and from /proc.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "parse.h"
#include "pn_pins.h"

const char pins_help[] =
	"[--pid N] [--events] [--measure-user] [--prune] [--json]\n\n"
	"Show the memory that Pinion's processes have pinned for devices: every mapping, which of\n"
	"the kernel's counters it is charged to, what those counters say, and the limit.\n\n"
	"      --pid N          only this process\n"
	"      --events         instead, what happened last to each domain, and why what failed "
	"did\n"
	"                       (with --json: schema \"pinion.events/1\")\n"
	"      --measure-user   also measure what all processes of this user have locked "
	"together,\n"
	"                       which no file shows (forks a child, takes about a millisecond)\n"
	"      --prune          then remove the ledgers of processes that are gone\n"
	"      --json           print a JSON document (schema \"pinion.pins/1\")\n"
	"  -h, --help           print this and exit\n";

static int print_report(const struct pn_pins_report *report, bool json)
{
	char *text = json ? pn_pins_json(report) : pn_pins_table(report);

	if (!text) {
		complain("out of memory");
		return EXIT_FAILURE;
	}
	fputs(text, stdout);
	if (*text && text[strlen(text) - 1] != '\n')
		putchar('\n');
	free(text);
	return EXIT_SUCCESS;
}

static int parse_pid(const struct command *command, const char *text, pid_t *pid)
{
	uint64_t value;

	if (parse_number(text, 1, INT_MAX, &value)) {
		complain("%s: --pid '%s': it takes the number of a process; try 'pinion help %s'",
			command->name, text, command->name);
		return -1;
	}
	*pid = (pid_t)value;
	return 0;
}

int pins_run(const struct command *command, int argc, char **argv)
{
	static const struct option options[] = {
		{"events", no_argument, NULL, 'e'},
		{"help", no_argument, NULL, 'h'},
		{"json", no_argument, NULL, 'j'},
		{"measure-user", no_argument, NULL, 'm'},
		{"pid", required_argument, NULL, 'p'},
		{"prune", no_argument, NULL, 'P'},
		{NULL, 0, NULL, 0},
	};
	struct pn_pins_query query = {0};
	struct pn_pins_report *report;
	bool json = false;
	int code, status;

	while ((code = next_option(command, argc, argv, options, &status)) != -1) {
		if (code == 'j')
			json = true;
		else if (code == 'e')
			query.events = true;
		else if (code == 'm')
			query.measure_user = true;
		else if (code == 'P')
			query.prune = true;
		else if (code != 'p')
			return status;
		else if (parse_pid(command, optarg, &query.pid))
			return EXIT_USAGE;
	}
	if (pn_pins_report_create(&report, &query)) {
		complain("%s: %s", command->name, pn_error());
		return EXIT_FAILURE;
	}
	if (query.events)
		status = events_print(report, json) ? EXIT_FAILURE : EXIT_SUCCESS;
	else
		status = print_report(report, json);
	pn_pins_report_free(report);
	return status;
}
