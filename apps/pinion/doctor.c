/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion doctor: what is in the way of a program that maps memory for devices, as that program will
 * see this machine, and what mends it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "doctor.h"
#include "parse.h"
#include "terminal.h"

#define COLUMNS_MAX 100u

const char doctor_help[] =
	"[OPTION]...\n\n"
	"Look at this machine as a program of this user will see it, from the IOMMU to limits,\n"
	"and say of each thing whether it is ok, will hurt, or blocks, with what mends it. What\n"
	"cannot be seen from here is said to be so. Nothing is changed; no privilege is needed.\n\n"
	"What is going to run:\n"
	"  -a, --allow ADDRESS    a device that it will use: 0000:00:03.0, 00:03.0, or\n"
	"                         vendor:device; again, or with commas, for more (default: what\n"
	"                         is bound to VFIO, of which one that works is enough)\n"
	"      --dma BACKEND      as for pinion-testpmd: auto (default), iommufd, iommufd-compat,\n"
	"                         type1, noiommu, none; several with commas: the first available\n"
	"      --mem SIZE         memory for devices, in bytes or with K, M, G: limits and\n"
	"                         hugepages are compared with it\n"
	"      --page-size SIZE   4K, 2M, 1G, or auto (default): 2M or 1G where they are free\n\n"
	"From where:\n"
	"      --as-user USER     as root: become that user first, with the limits of a session "
	"of\n"
	"                         theirs (/etc/security/limits.d) and no capability\n"
	"      --in-container     this is a container, though nothing shows it: say what it needs\n"
	"                         from outside, for each runtime\n\n"
	"How it is shown:\n"
	"      --problems         leave out what is ok\n"
	"      --json             print a JSON document (schema \"pinion.doctor/1\")\n"
	"  -h, --help             print this and exit\n\n"
	"Exit status: 0 if nothing is in the way, 3 if something will hurt, 4 if something\n"
	"blocks; 2 if the command line makes no sense, 1 if it could not look at all.\n\n"
	"Examples:\n"
	"  Can a program of mine run with 64 MiB and that card?\n"
	"      pinion doctor -a 0000:00:03.0 --mem 64M\n"
	"  The same for the user of a service, before it is started, for a script:\n"
	"      sudo pinion doctor --as-user pinion -a 00:03.0 --mem 1G --json\n"
	"  What does this container lack?\n"
	"      podman run ... IMAGE pinion doctor --in-container --problems\n\n"
	"doc/doctor.md explains every finding.\n";

enum { OPT_DMA = 256, OPT_MEM, OPT_PAGE_SIZE, OPT_AS_USER, OPT_IN_CONTAINER, OPT_PROBLEMS };

static const struct option options[] = {
	{"allow", required_argument, NULL, 'a'},
	{"dma", required_argument, NULL, OPT_DMA},
	{"mem", required_argument, NULL, OPT_MEM},
	{"page-size", required_argument, NULL, OPT_PAGE_SIZE},
	{"as-user", required_argument, NULL, OPT_AS_USER},
	{"in-container", no_argument, NULL, OPT_IN_CONTAINER},
	{"problems", no_argument, NULL, OPT_PROBLEMS},
	{"json", no_argument, NULL, 'j'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

struct asked {
	struct doctor doctor;
	const char *as_user;
	bool json;
};

static int refuse(
	const struct command *command, const char *option, const char *value, const char *takes)
{
	complain("%s: %s '%s': it takes %s; try 'pinion help %s'", command->name, option, value,
		takes, command->name);
	return EXIT_USAGE;
}

/* "00:02.0", "0000:00:02.0", "8086:10d3": digits, colons and a dot, and short. */
static bool is_spec(const char *text)
{
	size_t length = strlen(text);

	return length >= strlen("00:02.0") && length < PN_PCI_ADDRESS_MAX && strchr(text, ':') &&
	       strspn(text, "0123456789abcdefABCDEF:.") == length;
}

/* Several with commas: the value is cut up. */
static int take_devices(const struct command *command, struct doctor_ask *ask, char *text)
{
	char *one;

	while ((one = strsep(&text, ","))) {
		if (!is_spec(one))
			return refuse(command, "--allow", one,
				"an address (0000:00:02.0) or vendor:device (8086:10d3)");
		if (ask->device_count == DOCTOR_DEVICES)
			return refuse(command, "--allow", one, "at most 64 devices");
		ask->devices[ask->device_count++] = one;
	}
	return -1;
}

static bool backend_known(const char *name, size_t len)
{
	static const char *const names[] = {
		"iommufd", "iommufd-compat", "type1", "noiommu", "none"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strlen(names[i]) == len && strncmp(names[i], name, len) == 0)
			return true;
	}
	return false;
}

static int take_backend(const struct command *command, struct doctor_ask *ask)
{
	if (strcmp(optarg, "auto") != 0 && !names_known(optarg, backend_known))
		return refuse(command, "--dma", optarg,
			"auto, or iommufd, iommufd-compat, type1, noiommu, none, with commas");
	ask->backend = optarg;
	return -1;
}

static int take_mem(const struct command *command, struct doctor_ask *ask)
{
	if (!parse_size(optarg, &ask->mem) && ask->mem && ask->mem <= UINT64_C(1) << 47)
		return -1;
	return refuse(command, "--mem", optarg, "bytes, or a number with K, M or G, up to 128 TiB");
}

static int take_page_size(const struct command *command, struct doctor_ask *ask)
{
	ask->page_size = 0;
	if (strcmp(optarg, "auto") == 0)
		return -1;
	if (!parse_size(optarg, &ask->page_size) &&
		(ask->page_size == PN_PAGE_4K || ask->page_size == PN_PAGE_2M ||
			ask->page_size == PN_PAGE_1G))
		return -1;
	return refuse(command, "--page-size", optarg, "4K, 2M, 1G or auto");
}

/* -1 to go on. */
static int take(const struct command *command, struct asked *asked, int code)
{
	struct doctor_ask *ask = &asked->doctor.ask;

	switch (code) {
	case 'a':
		return take_devices(command, ask, optarg);
	case OPT_DMA:
		return take_backend(command, ask);
	case OPT_MEM:
		return take_mem(command, ask);
	case OPT_PAGE_SIZE:
		return take_page_size(command, ask);
	case OPT_AS_USER:
		asked->as_user = optarg;
		return -1;
	case OPT_IN_CONTAINER:
		ask->in_container = true;
		return -1;
	case OPT_PROBLEMS:
		ask->problems = true;
		return -1;
	default:
		asked->json = true;
		return -1;
	}
}

/* Colour for who looks at it, unless they want none (no-color.org). */
static void print(const struct doctor *d)
{
	const char *no_colour = getenv("NO_COLOR");
	bool drawn = terminal_trouble() == NULL;
	unsigned int rows, columns = COLUMNS_MAX;

	if (isatty(STDOUT_FILENO))
		terminal_size(&rows, &columns);
	doctor_print(d, stdout, drawn && !(no_colour && *no_colour),
		columns < COLUMNS_MAX ? columns : COLUMNS_MAX);
}

static int look(const struct command *command, struct asked *asked)
{
	struct doctor *d = &asked->doctor;
	int status;

	/* Who keeps hugepages is looked for with all the rights there are. */
	doctor_holders_gather(d);
	if (asked->as_user && doctor_become(d, asked->as_user))
		return EXIT_FAILURE;
	doctor_gather(d);
	doctor_check(d);
	status = doctor_status(d);
	if (d->out_of_memory) {
		complain("%s: out of memory", command->name);
		status = EXIT_FAILURE;
	} else if (!asked->json) {
		print(d);
	} else if (print_json(doctor_json(d))) {
		status = EXIT_FAILURE;
	}
	return status;
}

int doctor_run(const struct command *command, int argc, char **argv)
{
	struct asked *asked = calloc(1, sizeof(*asked));
	int code, status = -1;

	if (!asked) {
		complain("out of memory");
		return EXIT_FAILURE;
	}
	asked->doctor.ask.backend = "auto";
	asked->doctor.machine.root = "";
	while (status < 0 &&
		(code = next_letter(command, argc, argv, ":ha:", options, &status)) != -1) {
		if (code != 'h' && code != '?')
			status = take(command, asked, code);
	}
	if (status < 0 && asked->as_user && geteuid() != 0) {
		complain("%s: --as-user takes root", command->name);
		status = EXIT_FAILURE;
	}
	if (status < 0)
		status = look(command, asked);
	doctor_free(&asked->doctor);
	free(asked);
	return status;
}
