/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line of pinion pins: its options, and which of them go together.
 */
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"
#include "pins.h"

const char pins_help[] =
	"[OPTION]...\n\n"
	"Show the memory that Pinion's processes have pinned for devices: every mapping, which of\n"
	"the kernel's counters it is charged to, what those counters say, the limit, and what is\n"
	"charged twice, to nobody, or held by another process than the one that pinned it.\n\n"
	"What is looked at:\n"
	"      --pid N            only this process\n"
	"      --measure-user     also measure what all processes of this user have locked\n"
	"                         together, which no file shows (forks a child, takes about a\n"
	"                         millisecond; not where the companion module tells it)\n"
	"      --quick            do not look into /proc/PID/maps, smaps and fd of processes\n"
	"      --prune            then remove the ledgers of processes that are gone\n\n"
	"How it is shown (one of them; without: a table of every mapping):\n"
	"      --summary          a line for each process and counter\n"
	"      --json             a JSON document (schema \"pinion.pins/1\")\n"
	"      --csv[=WHAT]       comma-separated values: counters (default), mappings, findings\n"
	"      --prometheus       Prometheus's text format\n"
	"      --events           instead, what happened last to each domain, and why what failed\n"
	"                         did (with --json: schema \"pinion.events/1\")\n"
	"      --kernel           instead, every pin of this host that is held through the\n"
	"                         companion module, by whomever (root; with --json: schema\n"
	"                         \"pinion.kernel-pins/1\")\n"
	"      --output FILE      to this file, which is replaced at once when it is whole\n\n"
	"More than once (one of them):\n"
	"      --watch [SECONDS]  a live view on a terminal; q ends it, arrows scroll\n"
	"      --listen ADDR[:PORT]\n"
	"                         serve http://ADDR:PORT/metrics in Prometheus's format until a\n"
	"                         signal; port 9101 unless given, 0: any that is free\n"
	"      --allow-remote     let --listen take an address that other machines reach\n"
	"      --record FILE.db   a row for each process and counter into a SQLite database, now\n"
	"                         and at each interval until a signal\n"
	"      --interval SECONDS of --record (default 10)\n"
	"      --count N          end after so many samples\n\n"
	"      --plot FILE.svg    draw counters and limits over time (needs gnuplot), from what\n"
	"                         --record has just recorded, or:\n"
	"      --from FILE.db     from a database that was recorded before\n\n"
	"  -h, --help             print this and exit\n\n"
	"doc/pins.md explains every field.\n";

enum {
	OPT_SUMMARY = 256,
	OPT_CSV,
	OPT_PROMETHEUS,
	OPT_OUTPUT,
	OPT_QUICK,
	OPT_KERNEL,
	OPT_WATCH,
	OPT_LISTEN,
	OPT_REMOTE,
	OPT_RECORD,
	OPT_INTERVAL,
	OPT_COUNT,
	OPT_PLOT,
	OPT_FROM
};

static const struct option options[] = {
	{"events", no_argument, NULL, 'e'},
	{"help", no_argument, NULL, 'h'},
	{"json", no_argument, NULL, 'j'},
	{"measure-user", no_argument, NULL, 'm'},
	{"pid", required_argument, NULL, 'p'},
	{"prune", no_argument, NULL, 'P'},
	{"summary", no_argument, NULL, OPT_SUMMARY},
	{"csv", optional_argument, NULL, OPT_CSV},
	{"prometheus", no_argument, NULL, OPT_PROMETHEUS},
	{"output", required_argument, NULL, OPT_OUTPUT},
	{"kernel", no_argument, NULL, OPT_KERNEL},
	{"quick", no_argument, NULL, OPT_QUICK},
	{"watch", optional_argument, NULL, OPT_WATCH},
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"allow-remote", no_argument, NULL, OPT_REMOTE},
	{"record", required_argument, NULL, OPT_RECORD},
	{"interval", required_argument, NULL, OPT_INTERVAL},
	{"count", required_argument, NULL, OPT_COUNT},
	{"plot", required_argument, NULL, OPT_PLOT},
	{"from", required_argument, NULL, OPT_FROM},
	{NULL, 0, NULL, 0},
};

/* What was given, beside what it led to: defaults look the same. */
struct given {
	const char *format;
	bool interval, count;
	bool other; /* than --kernel and --json */
};

static int refuse(const struct pins_request *request, const char *text)
{
	complain("%s: %s; try 'pinion help %s'", request->command->name, text,
		request->command->name);
	return EXIT_USAGE;
}

static int take_pid(struct pins_request *request)
{
	uint64_t value;

	if (parse_number(optarg, 1, INT_MAX, &value)) {
		complain("%s: --pid '%s': it takes the number of a process; try 'pinion help %s'",
			request->command->name, optarg, request->command->name);
		return EXIT_USAGE;
	}
	request->query.pid = (pid_t)value;
	return -1;
}

static int take_format(struct pins_request *request, struct given *given, enum pins_format format,
	const char *name)
{
	if (given->format && strcmp(given->format, name) != 0) {
		complain("%s: %s and %s: one format at a time; try 'pinion help %s'",
			request->command->name, given->format, name, request->command->name);
		return EXIT_USAGE;
	}
	given->format = name;
	request->format = format;
	return -1;
}

static int take_csv(struct pins_request *request, struct given *given)
{
	static const char *const rows[] = {"counters", "mappings", "findings"};
	size_t i;

	for (i = 0; optarg && i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(optarg, rows[i]) == 0)
			break;
	}
	if (i == sizeof(rows) / sizeof(rows[0]))
		return refuse(request, "--csv=WHAT: it is counters, mappings or findings");
	request->rows = (enum pn_pins_rows)i;
	return take_format(request, given, PINS_CSV, "--csv");
}

static int take_interval(struct pins_request *request, const char *option, const char *text)
{
	/* A report may take a tenth of a second; a day is more than anybody waits. */
	if (!parse_seconds(text, &request->interval_ms) && request->interval_ms >= 100 &&
		request->interval_ms <= 86400000)
		return -1;
	complain("%s: %s '%s': it takes seconds, from 0.1 to 86400; try 'pinion help %s'",
		request->command->name, option, text, request->command->name);
	return EXIT_USAGE;
}

/* Its value may stand behind a space, as that of every other option does. */
static int take_watch(struct pins_request *request, int argc, char **argv)
{
	const char *text = optarg;

	request->watch = true;
	if (!text && optind < argc && isdigit((unsigned char)argv[optind][0]))
		text = argv[optind++];
	return text ? take_interval(request, "--watch", text) : -1;
}

static int take_count(struct pins_request *request, struct given *given)
{
	given->count = true;
	if (parse_number(optarg, 1, UINT32_MAX, &request->count))
		return refuse(request, "--count takes a number from 1");
	return -1;
}

static int take_path(const struct pins_request *request, const char **to)
{
	if (!*optarg)
		return refuse(request, "the name of a file is empty");
	*to = optarg;
	return -1;
}

/* One option. Returns -1 to go on. */
static int take(struct pins_request *request, struct given *given, int code, int argc, char **argv)
{
	switch (code) {
	case 'j':
		return take_format(request, given, PINS_JSON, "--json");
	case 'e':
		request->query.events = true;
		return -1;
	case 'm':
		request->query.measure_user = true;
		return -1;
	case 'P':
		request->query.prune = true;
		return -1;
	case 'p':
		return take_pid(request);
	case OPT_KERNEL:
		request->kernel = true;
		return -1;
	case OPT_QUICK:
		request->query.quick = true;
		return -1;
	case OPT_SUMMARY:
		return take_format(request, given, PINS_SUMMARY, "--summary");
	case OPT_CSV:
		return take_csv(request, given);
	case OPT_PROMETHEUS:
		return take_format(request, given, PINS_PROMETHEUS, "--prometheus");
	case OPT_OUTPUT:
		return take_path(request, &request->output);
	case OPT_WATCH:
		return take_watch(request, argc, argv);
	case OPT_LISTEN:
		return take_path(request, &request->listen);
	case OPT_REMOTE:
		request->allow_remote = true;
		return -1;
	case OPT_RECORD:
		return take_path(request, &request->record);
	case OPT_INTERVAL:
		given->interval = true;
		return take_interval(request, "--interval", optarg);
	case OPT_COUNT:
		return take_count(request, given);
	case OPT_PLOT:
		return take_path(request, &request->plot);
	default:
		return take_path(request, &request->from);
	}
}

static int check(const struct pins_request *request, const struct given *given)
{
	bool once = !request->watch && !request->listen && !request->record && !request->plot;

	if (request->kernel && given->other)
		return refuse(request,
			"--kernel shows what the companion module holds, as a table or with "
			"--json: nothing else goes with it");
	if (request->watch + !!request->listen + !!request->record > 1)
		return refuse(request, "--watch, --listen and --record: one of them at a time");
	if (request->plot && (request->watch || request->listen))
		return refuse(request, "--plot draws what was recorded: it goes with --record or "
				       "--from only");
	if (request->plot && !request->record && !request->from)
		return refuse(request,
			"--plot needs something recorded: --from FILE.db, or --record FILE.db");
	if (request->from && !request->plot)
		return refuse(request, "--from goes with --plot only");
	if (request->from && request->record)
		return refuse(request,
			"--from plots a database recorded before, --record makes one: not both");
	if (given->format && !once)
		return refuse(request, "--watch, --listen, --record and --plot have a form of "
				       "their own: no --summary, --json, --csv or --prometheus");
	if (request->query.events && !once)
		return refuse(request, "--events goes with a single report only");
	if (request->query.events &&
		(request->output || (given->format && request->format != PINS_JSON)))
		return refuse(request, "--events is a table or, with --json, a document on "
				       "standard output: no other format, no --output");
	if (request->output && !once)
		return refuse(request, "--output goes with a single report only");
	if ((given->interval || given->count) && !request->record)
		return refuse(request, "--interval and --count go with --record only");
	if (request->allow_remote && !request->listen)
		return refuse(request, "--allow-remote goes with --listen only");
	if (request->query.prune && !once)
		return refuse(request, "--prune goes with a single report only");
	if (request->from && (request->query.measure_user || request->query.quick))
		return refuse(request, "--from reads what was recorded: nothing is measured");
	return -1;
}

int pins_options(const struct command *command, int argc, char **argv, struct pins_request *request)
{
	struct given given = {0};
	int code, status;

	memset(request, 0, sizeof(*request));
	request->command = command;
	while ((code = next_option(command, argc, argv, options, &status)) != -1) {
		if (code == 'h' || code == '?')
			return status;
		given.other |= code != OPT_KERNEL && code != 'j';
		status = take(request, &given, code, argc, argv);
		if (status >= 0)
			return status;
	}
	if (!request->interval_ms)
		request->interval_ms = request->watch ? 1000 : 10000;
	return check(request, &given);
}
