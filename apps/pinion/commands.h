/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The commands of pinion. A new one is a file, a line here, and a line in the table of main.c.
 */
#ifndef PINION_COMMANDS_H
#define PINION_COMMANDS_H

#include <getopt.h>

#include "output.h"

struct command {
	const char *name;
	const char *summary; /* for the list of commands */
	const char *help;    /* after "Usage: pinion NAME " */
	/* argv[0] is the command's name. Returns the exit status. */
	int (*run)(const struct command *command, int argc, char **argv);
};

int devices_run(const struct command *command, int argc, char **argv);
int backends_run(const struct command *command, int argc, char **argv);
int pins_run(const struct command *command, int argc, char **argv);
int hugepages_run(const struct command *command, int argc, char **argv);
int plan_run(const struct command *command, int argc, char **argv);
int doctor_run(const struct command *command, int argc, char **argv);
int bind_run(const struct command *command, int argc, char **argv);
int unbind_run(const struct command *command, int argc, char **argv);
int grant_run(const struct command *command, int argc, char **argv);
int revoke_run(const struct command *command, int argc, char **argv);
int vf_run(const struct command *command, int argc, char **argv);
int status_run(const struct command *command, int argc, char **argv);
int inspect_run(const struct command *command, int argc, char **argv);
int cdi_run(const struct command *command, int argc, char **argv);
int oci_run(const struct command *command, int argc, char **argv);

extern const char devices_help[];
extern const char backends_help[];
extern const char pins_help[];
extern const char plan_help[];
extern const char hugepages_help[];
extern const char doctor_help[];
extern const char bind_help[];
extern const char unbind_help[];
extern const char grant_help[];
extern const char revoke_help[];
extern const char vf_help[];
extern const char status_help[];
extern const char inspect_help[];
extern const char cdi_help[];
extern const char oci_help[];

/* The next option of a command, as getopt_long() gives it; 'h' and what it does not know are dealt
 * with here: then *status is set and the command returns it. -1: no more. */
int next_option(const struct command *command, int argc, char **argv, const struct option *options,
	int *status);
/* The same for a command that takes operands: they stand at argv[optind] when it returns -1. */
int next_option_before(const struct command *command, int argc, char **argv,
	const struct option *options, int *status);

/* The same with letters of the command's own: as getopt_long() takes them, ":h" among them. */
int next_letter(const struct command *command, int argc, char **argv, const char *letters,
	const struct option *options, int *status);

/* The events in a report that was asked for them. 0 or a negative errno after a complaint. */
struct pn_pins_report;
int events_print(const struct pn_pins_report *report, bool json);

/* Shared by devices and backends. */
void backends_print(void);
json_t *backends_json(void);

#endif
