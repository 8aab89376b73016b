/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion cdi: devices for containers as a specification of the Container Device Interface, which
 * podman, docker, containerd and CRI-O read. It has no word for limits: those are said beside it,
 * or set by a hook.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "container.h"
#include "oci.h"

/* Names that begin with a digit, such as PCI addresses, came with it, and nothing newer is used. */
#define CDI_VERSION "0.5.0"

const char cdi_help[] =
	"generate -a DEVICE... [OPTION]...\n\n"
	"Write a CDI specification (version " CDI_VERSION
	") with which podman, docker, containerd and\n"
	"CRI-O give containers these devices by name: one a device, named by its address (but for\n"
	"one that shares the node of its IOMMU group with another that is named), and\n"
	"with several devices one more, 'all'. They belong in /etc/cdi or /run/cdi. CDI sets no\n"
	"limits: with --mem it is said what sets them, or --hook has the runtime do "
	"it.\n\n" CONTAINER_HELP "      --kind VENDOR/CLASS  of the devices (default pinion/pci)\n"
	"      --hook               with --mem: have the runtime set RLIMIT_MEMLOCK itself, by\n"
	"                           'pinion oci hook'. Works where the runtime is root\n"
	"  -h, --help               print this and exit\n\n"
	"Example:\n"
	"  pinion cdi generate -a 0000:00:03.0 --mem 64M -o /etc/cdi/pinion.json\n";

enum {
	KIND = CONTAINER_OWN,
	HOOK,
};

static const struct option options[] = {
	CONTAINER_OPTIONS,
	{"hook", no_argument, NULL, HOOK},
	{"kind", required_argument, NULL, KIND},
	{NULL, 0, NULL, 0},
};

/* Letters, digits and some of "_-." between them, the first a letter. */
static bool is_name(const char *text, size_t length, const char *between)
{
	if (!length || !isalpha((unsigned char)text[0]) ||
		!isalnum((unsigned char)text[length - 1]))
		return false;
	for (size_t i = 0; i < length; i++) {
		if (!isalnum((unsigned char)text[i]) && !strchr(between, text[i]))
			return false;
	}
	return true;
}

static bool is_kind(const char *text)
{
	size_t vendor = strcspn(text, "/");

	return text[vendor] && strlen(text) < 128 && is_name(text, vendor, "_-.") &&
	       is_name(text + vendor + 1, strlen(text + vendor + 1), "_-");
}

static void add_nodes(json_t *list, const struct container_node *nodes, size_t count)
{
	/* Numbers and owner are the runtime's to find: they may be others after the next boot. */
	for (size_t i = 0; i < count; i++)
		json_array_append_new(
			list, json_pack("{s:s, s:s}", "path", nodes[i].path, "permissions", "rw"));
}

/* Of one device, or (count more than 1) of all. */
static json_t *device_json(const char *name, const struct container_device *devices, size_t count)
{
	json_t *env = json_array(), *nodes = json_array();
	char text[CONTAINER_ENV_MAX];

	for (size_t i = 0; i < count; i++) {
		container_env(&devices[i], text);
		json_array_append_new(env, json_string(text));
		add_nodes(nodes, devices[i].nodes, devices[i].node_count);
	}
	return json_pack("{s:s, s:{s:o, s:o}}", "name", name, "containerEdits", "env", env,
		"deviceNodes", nodes);
}

static json_t *devices_json(const struct container *container)
{
	json_t *list = json_array();

	/* Who asks for one device gets no other by the way. */
	for (size_t i = 0; i < container->device_count; i++) {
		const struct container_device *device = &container->devices[i];

		if (!container_shares(container, device))
			json_array_append_new(list, device_json(device->info.address, device, 1));
	}
	if (container->device_count > 1)
		json_array_append_new(
			list, device_json("all", container->devices, container->device_count));
	return list;
}

/* What a container gets whichever of the devices it has. */
static json_t *common_json(const struct container *container, bool hook)
{
	json_t *edits = json_object(), *nodes = json_array();

	add_nodes(nodes, container->nodes, container->node_count);
	json_object_set_new(edits, "deviceNodes", nodes);
	if (container->hugetlbfs)
		json_object_set_new(edits, "mounts",
			json_pack("[{s:s, s:s, s:o}]", "hostPath", container->hugetlbfs,
				"containerPath", CONTAINER_HUGEPAGES, "options",
				container_mount_options()));
	if (hook) {
		json_t *entry = oci_hook_json(container->memlock);

		if (entry)
			json_object_set_new(entry, "hookName", json_string("createRuntime"));
		json_object_set_new(edits, "hooks", json_pack("[o]", entry));
	}
	return edits;
}

/* For people: what comes with others only. */
static void say_shared(const struct container *container, FILE *out)
{
	for (size_t i = 0; i < container->device_count; i++) {
		const struct pn_pci_info *info = &container->devices[i].info;

		if (container_shares(container, &container->devices[i]))
			fprintf(out,
				"%s has no name of its own: %s is the way to another of its group "
				"too, and \"all\" has both.\n",
				info->address, info->group_node);
	}
}

/* And what goes with it. */
static void say_limits(const struct container *container, const char *kind, FILE *out)
{
	const char *device =
		container->device_count > 1 ? "all" : container->devices[0].info.address;

	if (!container->memlock) {
		fputs("CDI sets no limits; --mem SIZE says which are needed.\n", out);
		return;
	}
	fprintf(out,
		"CDI sets no limits. A container needs an RLIMIT_MEMLOCK of %" PRIu64 " bytes:\n"
		"  podman run --device %s=%s --ulimit memlock=%" PRIu64 ":%" PRIu64 " ...\n"
		"  docker run --device %s=%s --ulimit memlock=%" PRIu64 ":%" PRIu64 " ...\n"
		"  Kubernetes: --hook here; others are in the output of 'pinion plan'\n",
		container->memlock, kind, device, container->memlock, container->memlock, kind,
		device, container->memlock, container->memlock);
	if (container->hugepages)
		fprintf(out, "and %" PRIu64 " bytes of hugepages, which are the machine's.\n",
			container->hugepages);
}

static int generate(
	const struct command *command, struct container *container, const char *kind, bool hook)
{
	FILE *out = container->output ? stdout : stderr;
	int status = container_find(container, command);

	if (status != EXIT_SUCCESS)
		return status;
	if (hook && !container->memlock) {
		complain("%s: --hook sets the limit that --mem needs: give --mem too",
			command->name);
		return EXIT_USAGE;
	}
	status = container_write(
		container, json_pack("{s:s, s:s, s:o, s:o}", "cdiVersion", CDI_VERSION, "kind",
				   kind, "devices", devices_json(container), "containerEdits",
				   common_json(container, hook)));
	if (status != EXIT_SUCCESS)
		return status;
	say_shared(container, out);
	if (!hook)
		say_limits(container, kind, out);
	return status;
}

int cdi_run(const struct command *command, int argc, char **argv)
{
	struct container container = {0};
	const char *kind = "pinion/pci";
	bool hook = false;
	int code, status;

	if (argc > 1 && strcmp(argv[1], "generate") == 0) {
		argc--;
		argv++;
	} else if (argc < 2 || argv[1][0] != '-') {
		complain("%s: it takes 'generate'; try 'pinion help %s'", command->name,
			command->name);
		return EXIT_USAGE;
	}
	while ((code = next_letter(command, argc, argv, CONTAINER_LETTERS, options, &status)) !=
		-1) {
		if (code == HOOK) {
			hook = true;
		} else if (code == KIND && is_kind(optarg)) {
			kind = optarg;
		} else if (code == KIND) {
			complain("%s: --kind '%s': it takes VENDOR/CLASS of letters, digits, '-' "
				 "and '_', such as example.com/nic",
				command->name, optarg);
			return EXIT_USAGE;
		} else if (container_option(&container, command, code, options, &status)) {
			return status;
		}
	}
	return generate(command, &container, kind, hook);
}
