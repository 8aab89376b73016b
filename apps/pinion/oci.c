/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion oci: the part of an OCI runtime configuration (config.json) that a container with devices
 * needs: limits, mounts, devices, and what its control group allows.
 */
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "oci.h"
#include "pn_mem.h"

const char oci_help[] =
	"-a DEVICE... --mem SIZE [OPTION]...\n"
	"  or:  pinion oci hook --memlock BYTES\n\n"
	"Print the part of an OCI config.json that a container with these devices needs: rlimits,\n"
	"environment, mounts, devices, and the device and hugepage rules of its control group. It\n"
	"is merged into what the runtime has: objects by name, arrays appended.\n\n" CONTAINER_HELP
	"  -h, --help               print this and exit\n\n"
	"With 'hook' it is such a runtime's hook (createRuntime): it reads the container's state\n"
	"from stdin and sets the RLIMIT_MEMLOCK of its process, soft and hard. Above its hard "
	"limit\n"
	"that takes CAP_SYS_RESOURCE.\n"
	"      --memlock BYTES      the limit; or a number with K, M or G\n\n"
	"Example:\n"
	"  pinion oci -a 0000:00:03.0 --mem 64M\n";

#define MEMLOCK 256

static const struct option options[] = {
	CONTAINER_OPTIONS,
	{NULL, 0, NULL, 0},
};

static const struct option hook_options[] = {
	{"help", no_argument, NULL, 'h'},
	{"memlock", required_argument, NULL, MEMLOCK},
	{NULL, 0, NULL, 0},
};

static json_t *process_json(const struct container *container)
{
	json_t *env = json_array();
	char text[CONTAINER_ENV_MAX];

	for (size_t i = 0; i < container->device_count; i++) {
		container_env(&container->devices[i], text);
		json_array_append_new(env, json_string(text));
	}
	return json_pack("{s:o, s:[{s:s, s:I, s:I}]}", "env", env, "rlimits", "type",
		"RLIMIT_MEMLOCK", "soft", (json_int_t)container->memlock, "hard",
		(json_int_t)container->memlock);
}

/*
 * Owner and mode are left to the runtime, which makes a node that all users of the container may
 * open, as it does for CDI: an access control list, which 'pinion grant' gives, has no words here.
 */
static void add_nodes(
	json_t *devices, json_t *rules, const struct container_node *nodes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct container_node *node = &nodes[i];

		json_array_append_new(
			devices, json_pack("{s:s, s:s, s:i, s:i}", "path", node->path, "type", "c",
					 "major", (int)node->major, "minor", (int)node->minor));
		json_array_append_new(rules,
			json_pack("{s:b, s:s, s:i, s:i, s:s}", "allow", 1, "type", "c", "major",
				(int)node->major, "minor", (int)node->minor, "access", "rw"));
	}
}

static json_t *linux_json(const struct container *container)
{
	json_t *devices = json_array(), *rules = json_array(), *resources;

	add_nodes(devices, rules, container->nodes, container->node_count);
	for (size_t i = 0; i < container->device_count; i++)
		add_nodes(devices, rules, container->devices[i].nodes,
			container->devices[i].node_count);
	resources = json_pack("{s:o}", "devices", rules);
	if (container->hugepages)
		json_object_set_new(resources, "hugepageLimits",
			json_pack("[{s:s, s:I}]", "pageSize",
				container->input.page_size == PN_PAGE_1G ? "1GB" : "2MB", "limit",
				(json_int_t)container->hugepages));
	return json_pack("{s:o, s:o}", "devices", devices, "resources", resources);
}

static json_t *config_json(const struct container *container)
{
	json_t *config = json_pack(
		"{s:o, s:o}", "process", process_json(container), "linux", linux_json(container));

	if (config && container->hugetlbfs)
		json_object_set_new(config, "mounts",
			json_pack("[{s:s, s:s, s:s, s:o}]", "destination", CONTAINER_HUGEPAGES,
				"type", "none", "source", container->hugetlbfs, "options",
				container_mount_options()));
	return config;
}

static int print_config(const struct command *command, struct container *container)
{
	int status;

	if (!container->input.mem) {
		complain("%s: --mem SIZE is needed for the limits, and more than 0", command->name);
		return EXIT_USAGE;
	}
	status = container_find(container, command);
	return status == EXIT_SUCCESS ? container_write(container, config_json(container)) : status;
}

static int hook(const struct command *command, int argc, char **argv)
{
	const char *memlock = NULL;
	int code, status;

	while ((code = next_option(command, argc, argv, hook_options, &status)) != -1) {
		if (code != MEMLOCK)
			return status;
		memlock = optarg;
	}
	return oci_hook_run(command, memlock);
}

int oci_run(const struct command *command, int argc, char **argv)
{
	struct container container = {0};
	int code, status;

	if (argc > 1 && strcmp(argv[1], "hook") == 0)
		return hook(command, argc - 1, argv + 1);
	while ((code = next_letter(command, argc, argv, CONTAINER_LETTERS, options, &status)) !=
		-1) {
		if (container_option(&container, command, code, options, &status))
			return status;
	}
	return print_config(command, &container);
}
