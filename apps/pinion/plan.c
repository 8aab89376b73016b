/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion plan: which limit and how many hugepages processes will need, before any of them runs.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "parse.h"
#include "pn_mem.h"
#include "pn_plan.h"

const char plan_help[] =
	"--mem SIZE [OPTION]...\n\n"
	"Say what processes will need that map memory for devices, on each backend: the least\n"
	"RLIMIT_MEMLOCK, hugepages, what else counts in the same counter, and the settings to\n"
	"paste. Nothing of this machine is looked at. Sizes are bytes, or with K, M or G.\n\n"
	"What runs:\n"
	"      --mem SIZE           memory for DMA of each process\n"
	"      --page SIZE          its pages: 4K, 2M (default) or 1G\n"
	"      --devices N          devices of each process (default 1)\n"
	"      --separate-domains   each of them with a domain of its own, with all the memory\n"
	"                           in it (default: one domain for all)\n"
	"      --processes N        how many such processes (default 1)\n"
	"      --same-user          they have the same real uid (default)\n"
	"      --different-users    each has one of its own\n"
	"      --numa N             the memory of each lies on N nodes, evenly (default 1)\n"
	"      --mlockall           each calls mlockall(MCL_CURRENT | MCL_FUTURE) before it makes\n"
	"                           its memory\n"
	"      --program SIZE       with --mlockall: what it locks besides its memory for DMA\n"
	"                           (VmLck once it runs), and the largest BAR that it maps\n"
	"      --cap-ipc-lock       they have CAP_IPC_LOCK in the initial user namespace\n"
	"      --other-locked SIZE  what others of the user have in user->locked_vm already\n\n"
	"What is planned:\n"
	"      --backend LIST       type1, iommufd, iommufd-compat, iommufd-as-vfio (iommufd "
	"where\n"
	"                           it provides /dev/vfio/vfio), several with commas, or all\n"
	"                           (default)\n"
	"      --headroom N%|SIZE   put on top of what is needed (default none)\n"
	"      --user NAME          login name for limits.d (default: USER, to be replaced)\n"
	"      --json               print a JSON document (schema \"pinion.plan/1\")\n"
	"  -h, --help               print this and exit\n";

enum {
	MEM = 256,
	PAGE,
	DEVICES,
	SEPARATE_DOMAINS,
	PROCESSES,
	SAME_USER,
	DIFFERENT_USERS,
	NUMA,
	MLOCKALL,
	PROGRAM,
	CAP_IPC_LOCK,
	OTHER_LOCKED,
	BACKEND,
	HEADROOM,
	USER,
	JSON,
};

static const struct option options[] = {
	{"mem", required_argument, NULL, MEM},
	{"page", required_argument, NULL, PAGE},
	{"devices", required_argument, NULL, DEVICES},
	{"separate-domains", no_argument, NULL, SEPARATE_DOMAINS},
	{"processes", required_argument, NULL, PROCESSES},
	{"same-user", no_argument, NULL, SAME_USER},
	{"different-users", no_argument, NULL, DIFFERENT_USERS},
	{"numa", required_argument, NULL, NUMA},
	{"mlockall", no_argument, NULL, MLOCKALL},
	{"program", required_argument, NULL, PROGRAM},
	{"cap-ipc-lock", no_argument, NULL, CAP_IPC_LOCK},
	{"other-locked", required_argument, NULL, OTHER_LOCKED},
	{"backend", required_argument, NULL, BACKEND},
	{"headroom", required_argument, NULL, HEADROOM},
	{"user", required_argument, NULL, USER},
	{"json", no_argument, NULL, JSON},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

struct asked {
	struct pn_plan_input input;
	bool same_user;
	bool json;
};

static int set_count(uint32_t *field, uint32_t most, const char *text)
{
	uint64_t value;
	int err = parse_number(text, 1, most, &value);

	if (!err)
		*field = (uint32_t)value;
	return err;
}

static int set_page(uint64_t *field, const char *text)
{
	int err = parse_size(text, field);

	if (err)
		return err;
	return *field == PN_PAGE_4K || *field == PN_PAGE_2M || *field == PN_PAGE_1G ? 0 : -EINVAL;
}

static uint32_t backend_bit(const char *name, size_t length)
{
	static const struct {
		const char *name;
		uint32_t bit;
	} backends[] = {
		{"type1", PN_PLAN_TYPE1},
		{"iommufd", PN_PLAN_IOMMUFD},
		{"iommufd-compat", PN_PLAN_IOMMUFD_COMPAT},
		{"iommufd-as-vfio", PN_PLAN_IOMMUFD_AS_VFIO},
		{"all", PN_PLAN_ALL},
	};

	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		if (strlen(backends[i].name) == length &&
			strncmp(backends[i].name, name, length) == 0)
			return backends[i].bit;
	}
	return 0;
}

static bool backend_known(const char *name, size_t length)
{
	return backend_bit(name, length) != 0;
}

static int set_backends(uint32_t *field, const char *text)
{
	size_t length;

	if (!names_known(text, backend_known))
		return -EINVAL;
	for (*field = 0; *text; text += length + (text[length] == ',')) {
		length = strcspn(text, ",");
		*field |= backend_bit(text, length);
	}
	return 0;
}

/* "5%" or a size. */
static int set_headroom(struct pn_plan_input *input, const char *text)
{
	size_t length = strlen(text);
	char number[8];
	uint64_t percent;
	int err;

	if (!length || text[length - 1] != '%')
		return parse_size(text, &input->headroom);
	if (length > sizeof(number))
		return -ERANGE;
	snprintf(number, sizeof(number), "%.*s", (int)length - 1, text);
	err = parse_number(number, 0, 100, &percent);
	if (!err)
		input->headroom_percent = (uint32_t)percent;
	return err;
}

/* Options with a value. 0 or a negative errno. */
static int set_value(struct asked *asked, int code, const char *text)
{
	struct pn_plan_input *input = &asked->input;

	switch (code) {
	case MEM:
		return parse_size(text, &input->mem);
	case PAGE:
		return set_page(&input->page_size, text);
	case DEVICES:
		return set_count(&input->devices, 64, text);
	case PROCESSES:
		return set_count(&input->processes, 1024, text);
	case NUMA:
		return set_count(&input->numa_nodes, PN_PLAN_NODES, text);
	case PROGRAM:
		return parse_size(text, &input->program);
	case OTHER_LOCKED:
		return parse_size(text, &input->other_locked);
	case BACKEND:
		return set_backends(&input->backends, text);
	case HEADROOM:
		return set_headroom(input, text);
	default:
		input->user = text;
		return 0;
	}
}

static const char *values_of(int code)
{
	switch (code) {
	case PAGE:
		return "4K, 2M or 1G";
	case DEVICES:
		return "a number from 1 to 64";
	case PROCESSES:
		return "a number from 1 to 1024";
	case NUMA:
		return "a number from 1 to 16";
	case BACKEND:
		return "type1, iommufd, iommufd-compat, iommufd-as-vfio, with commas between, or "
		       "all";
	case HEADROOM:
		return "0% to 100%, or bytes, with K, M or G";
	default:
		return "bytes, or a number with K, M or G";
	}
}

static const char *name_of(int code)
{
	const struct option *option = options;

	while (option->val != code)
		option++;
	return option->name;
}

/* 0, or EXIT_USAGE after a complaint. */
static int set_option(const struct command *command, struct asked *asked, int code)
{
	switch (code) {
	case SEPARATE_DOMAINS:
		asked->input.separate_domains = true;
		return 0;
	case SAME_USER:
		asked->same_user = true;
		return 0;
	case DIFFERENT_USERS:
		asked->input.different_users = true;
		return 0;
	case MLOCKALL:
		asked->input.mlockall = true;
		return 0;
	case CAP_IPC_LOCK:
		asked->input.cap_ipc_lock = true;
		return 0;
	case JSON:
		asked->json = true;
		return 0;
	default:
		break;
	}
	if (!set_value(asked, code, optarg))
		return 0;
	complain("%s: --%s '%s': it takes %s; try 'pinion help %s'", command->name, name_of(code),
		optarg, values_of(code), command->name);
	return EXIT_USAGE;
}

static int check_asked(const struct command *command, const struct asked *asked)
{
	const char *trouble = NULL;

	if (!asked->input.mem)
		trouble = "--mem SIZE is needed, and more than 0";
	else if (asked->same_user && asked->input.different_users)
		trouble = "--same-user and --different-users are opposites";
	if (!trouble)
		return 0;
	complain("%s: %s; try 'pinion help %s'", command->name, trouble, command->name);
	return EXIT_USAGE;
}

static int print_plan(const struct command *command, const struct asked *asked)
{
	struct pn_plan *plan;
	char *text;
	int err = pn_plan_create(&plan, &asked->input);

	if (err) {
		complain("%s: %s", command->name, pn_error());
		return err == -EINVAL ? EXIT_USAGE : EXIT_FAILURE;
	}
	text = asked->json ? pn_plan_json(plan) : pn_plan_text(plan);
	pn_plan_free(plan);
	if (!text) {
		complain("out of memory");
		return EXIT_FAILURE;
	}
	fputs(text, stdout);
	if (asked->json)
		putchar('\n');
	free(text);
	return EXIT_SUCCESS;
}

int plan_run(const struct command *command, int argc, char **argv)
{
	struct asked asked = {0};
	int code, status;

	while ((code = next_option(command, argc, argv, options, &status)) != -1) {
		if (code < MEM)
			return status;
		status = set_option(command, &asked, code);
		if (status)
			return status;
	}
	status = check_asked(command, &asked);
	return status ? status : print_plan(command, &asked);
}
