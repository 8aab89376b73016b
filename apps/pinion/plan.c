/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion plan: which limit and how many hugepages processes will need, before any of them runs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "plan_options.h"

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
	SEPARATE_DOMAINS = 256,
	SAME_USER,
	DIFFERENT_USERS,
	MLOCKALL,
	CAP_IPC_LOCK,
	JSON,
};

static const struct option options[] = {
	{"mem", required_argument, NULL, PLAN_MEM},
	{"page", required_argument, NULL, PLAN_PAGE},
	{"devices", required_argument, NULL, PLAN_DEVICES},
	{"separate-domains", no_argument, NULL, SEPARATE_DOMAINS},
	{"processes", required_argument, NULL, PLAN_PROCESSES},
	{"same-user", no_argument, NULL, SAME_USER},
	{"different-users", no_argument, NULL, DIFFERENT_USERS},
	{"numa", required_argument, NULL, PLAN_NUMA},
	{"mlockall", no_argument, NULL, MLOCKALL},
	{"program", required_argument, NULL, PLAN_PROGRAM},
	{"cap-ipc-lock", no_argument, NULL, CAP_IPC_LOCK},
	{"other-locked", required_argument, NULL, PLAN_OTHER_LOCKED},
	{"backend", required_argument, NULL, PLAN_BACKEND},
	{"headroom", required_argument, NULL, PLAN_HEADROOM},
	{"user", required_argument, NULL, PLAN_USER},
	{"json", no_argument, NULL, JSON},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

struct asked {
	struct pn_plan_input input;
	bool same_user;
	bool json;
};

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
	if (!plan_set(&asked->input, code, optarg))
		return 0;
	complain("%s: --%s '%s': it takes %s; try 'pinion help %s'", command->name, name_of(code),
		optarg, plan_takes(code), command->name);
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
		if (code < SEPARATE_DOMAINS)
			return status;
		status = set_option(command, &asked, code);
		if (status)
			return status;
	}
	status = check_asked(command, &asked);
	return status ? status : print_plan(command, &asked);
}
