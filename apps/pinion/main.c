/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion: the command-line tool. It finds the command in a table and runs it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

const char *const program_name = "pinion";

static int help_run(const struct command *command, int argc, char **argv);

static const char help_help[] = "[COMMAND]\n\nShow what a command does and takes, or list them.\n";

static const struct command commands[] = {
	{"devices", "PCI devices: can Pinion use them now, and if not, why", devices_help,
		devices_run},
	{"backends", "ways to map memory for devices: which work here", backends_help,
		backends_run},
	{"pins", "who pins which memory, and which counter is charged for it", pins_help, pins_run},
	{"plan", "which RLIMIT_MEMLOCK and hugepages will be needed, and how to set them",
		plan_help, plan_run},
	{"hugepages", "how many there are and are free; as root: reserve more", hugepages_help,
		hugepages_run},
	{"doctor", "what is in the way of a program of yours, and what mends it", doctor_help,
		doctor_run},
	{"bind", "take devices from the kernel's drivers, for VFIO", bind_help, bind_run},
	{"unbind", "give them back to the drivers they came from", unbind_help, unbind_run},
	{"grant", "let a user or a group open devices that are bound", grant_help, grant_run},
	{"revoke", "take that back", revoke_help, revoke_run},
	{"vf", "make virtual functions of a device, and remove them", vf_help, vf_run},
	{"status", "what is bound, granted, open and pinned, and what a crash left", status_help,
		status_run},
	{"inspect", "what the pages of a process are", inspect_help, inspect_run},
	{"cdi", "devices for containers by name, for podman, docker, containerd, CRI-O", cdi_help,
		cdi_run},
	{"oci", "what a container with devices needs, as part of an OCI configuration", oci_help,
		oci_run},
	{"help", "what a command does and takes", help_help, help_run},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

static void list_commands(FILE *out)
{
	fputs("Usage: pinion COMMAND [OPTION]...\n\nCommands:\n", out);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
	fputs("\n'pinion help COMMAND' shows the options of one; 'pinion --version' the version.\n"
	      "Exit status: 0 if all went well, 2 if the command line makes no sense, else 1;\n"
	      "doctor has more.\n",
		out);
}

static int unknown_command(const char *name)
{
	complain("unknown command '%s'", name);
	list_commands(stderr);
	return EXIT_USAGE;
}

static int print_command_help(const struct command *command)
{
	printf("Usage: pinion %s %s", command->name, command->help);
	return EXIT_SUCCESS;
}

static int help_run(const struct command *command, int argc, char **argv)
{
	const struct command *which;

	if (argc == 1) {
		list_commands(stdout);
		return EXIT_SUCCESS;
	}
	if (argc > 2) {
		complain("%s: one command at a time", command->name);
		return EXIT_USAGE;
	}
	which = strcmp(argv[1], "--help") && strcmp(argv[1], "-h") ? find(argv[1]) : command;
	return which ? print_command_help(which) : unknown_command(argv[1]);
}

/* An option, wherever operands stand. */
static int next_any(const struct command *command, int argc, char **argv, const char *letters,
	const struct option *options, int *status)
{
	int code;

	opterr = 0;
	code = getopt_long(argc, argv, letters, options, NULL);
	if (code == 'h') {
		*status = print_command_help(command);
		return 'h';
	}
	if (code != '?' && code != ':')
		return code;
	complain("%s: %s '%s'; try 'pinion help %s'", command->name,
		code == ':' ? "no value for" : "unknown option", argv[optind - 1], command->name);
	*status = EXIT_USAGE;
	return '?';
}

int next_option_before(const struct command *command, int argc, char **argv,
	const struct option *options, int *status)
{
	return next_any(command, argc, argv, ":h", options, status);
}

int next_letter(const struct command *command, int argc, char **argv, const char *letters,
	const struct option *options, int *status)
{
	int code = next_any(command, argc, argv, letters, options, status);

	if (code != -1 || optind >= argc)
		return code;
	complain("%s: unexpected '%s'; try 'pinion help %s'", command->name, argv[optind],
		command->name);
	*status = EXIT_USAGE;
	return '?';
}

int next_option(const struct command *command, int argc, char **argv, const struct option *options,
	int *status)
{
	return next_letter(command, argc, argv, ":h", options, status);
}

static int run(int argc, char **argv)
{
	const struct command *command;

	if (argc < 2) {
		complain("no command");
		list_commands(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("pinion %s\n", pn_version());
		return EXIT_SUCCESS;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		list_commands(stdout);
		return EXIT_SUCCESS;
	}
	command = find(argv[1]);
	return command ? command->run(command, argc - 1, argv + 1) : unknown_command(argv[1]);
}

int main(int argc, char **argv)
{
	int status;

	guard_standard_files();
	log_to_stderr(PN_LOG_WARNING);
	status = run(argc, argv);
	if (finish_stdout() && !status)
		status = EXIT_FAILURE;
	return status;
}
