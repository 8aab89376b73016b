/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The parts of pinion pins: what was asked for, and the files that do it.
 */
#ifndef PINION_PINS_H
#define PINION_PINS_H

#include "commands.h"
#include "pn_pins.h"

enum pins_format {
	PINS_TABLE,
	PINS_SUMMARY,
	PINS_JSON,
	PINS_CSV,
	PINS_PROMETHEUS,
};

/* A command line that makes sense. */
struct pins_request {
	const struct command *command;
	struct pn_pins_query query;
	enum pins_format format;
	enum pn_pins_rows rows; /* of CSV */
	const char *output;     /* file, or NULL for standard output */
	bool watch;
	bool kernel;          /* the companion module's table instead of a report */
	const char *listen;   /* ADDR[:PORT] */
	bool allow_remote;    /* an address that is not loopback may be listened at */
	const char *record;   /* file */
	const char *from;     /* recorded file to plot, if none is recorded now */
	const char *plot;     /* file */
	uint64_t interval_ms; /* of --watch and --record */
	uint64_t count;       /* of --record; 0: until a signal */
};

/* Read the command line. Returns -1 to go on, else the exit status. */
int pins_options(
	const struct command *command, int argc, char **argv, struct pins_request *request);

/* The report as it was asked for; NULL after a complaint. The caller frees it. */
char *pins_text(const struct pins_request *request, const struct pn_pins_report *report);
/* Make one; NULL after a complaint. */
struct pn_pins_report *pins_report(const struct pins_request *request);

/* Each returns the exit status. */
int pins_print(const struct pins_request *request);
int pins_kernel(const struct pins_request *request);
int pins_watch(const struct pins_request *request);
int pins_listen(const struct pins_request *request);
int pins_record(const struct pins_request *request);
int pins_plot(const struct pins_request *request);

#endif
