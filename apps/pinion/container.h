/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a container needs to drive devices: their nodes, hugepages, environment, and the limit that
 * the plan names. The commands that describe it to runtimes (cdi, oci) share it.
 */
#ifndef PINION_CONTAINER_H
#define PINION_CONTAINER_H

#include <sys/types.h>

#include "commands.h"
#include "plan_options.h"
#include "pn_pci.h"

#define CONTAINER_DEVICES 64u /* of a container, as many as a plan takes */

/* A device node, as it is on the host. */
struct container_node {
	const char *path;
	unsigned int major, minor;
};

struct container_device {
	struct pn_pci_info info;
	size_t node_count;
	struct container_node nodes[2];
};

struct container {
	/* As asked. */
	struct pn_plan_input input;
	const char *hugetlbfs; /* a directory, or NULL */
	const char *output;    /* a file, or NULL for stdout */
	const char *specs[CONTAINER_DEVICES];
	/* As found: devices in order of address, the nodes that all of them need, the plan's
	 * figures. */
	size_t device_count;
	struct container_device devices[CONTAINER_DEVICES];
	size_t node_count;
	struct container_node nodes[2];
	uint64_t memlock;   /* bytes of RLIMIT_MEMLOCK; 0: --mem was not given */
	uint64_t hugepages; /* bytes in hugepages; 0: none are asked for */
};

/* The options that they share; a command's own have codes from CONTAINER_OWN on. */
#define CONTAINER_LETTERS   ":a:ho:"
#define CONTAINER_OWN       256
#define CONTAINER_HUGETLBFS 768

#define CONTAINER_OPTIONS                                                     \
	{"allow", required_argument, NULL, 'a'},                              \
		{"backend", required_argument, NULL, PLAN_BACKEND},           \
		{"headroom", required_argument, NULL, PLAN_HEADROOM},         \
		{"help", no_argument, NULL, 'h'},                             \
		{"hugetlbfs", required_argument, NULL, CONTAINER_HUGETLBFS},  \
		{"mem", required_argument, NULL, PLAN_MEM},                   \
		{"numa", required_argument, NULL, PLAN_NUMA},                 \
		{"other-locked", required_argument, NULL, PLAN_OTHER_LOCKED}, \
		{"output", required_argument, NULL, 'o'},                     \
		{"page-size", required_argument, NULL, PLAN_PAGE},            \
	{                                                                     \
		"processes", required_argument, NULL, PLAN_PROCESSES          \
	}

#define CONTAINER_HELP                                                                            \
	"Devices:\n"                                                                              \
	"  -a, --allow DEVICE       0000:00:03.0, 00:03.0, or vendor:device such as 8086:10d3;\n" \
	"                           again, or with commas, for more. Bound to vfio-pci already\n" \
	"      --backend LIST       how memory will be mapped, which decides the nodes: type1,\n" \
	"                           iommufd, iommufd-compat, iommufd-as-vfio (iommufd where it\n" \
	"                           provides /dev/vfio/vfio), several with commas, or all\n"      \
	"                           (default: the first that works here)\n"                       \
	"      --hugetlbfs DIR      show the container the hugetlbfs that is mounted there, as\n" \
	"                           /dev/hugepages (Pinion itself needs none)\n\n"                \
	"What runs, for the limit, as in 'pinion plan':\n"                                        \
	"      --mem SIZE           memory for DMA of each container\n"                           \
	"      --page-size SIZE     its pages: 4K, 2M (default) or 1G\n"                          \
	"      --numa N             it lies on N nodes, evenly (default 1)\n"                     \
	"      --processes N        containers of this user at the same time (default 1)\n"       \
	"      --other-locked SIZE  what others of the user have in user->locked_vm already\n"    \
	"      --headroom N%|SIZE   put on top of what is needed (default none)\n\n"              \
	"Output:\n"                                                                               \
	"  -o, --output FILE        write it there, whole or not at all (default: stdout)\n"

/* Take an option that is not the command's own. 0; else what the command returns is in *status. */
int container_option(struct container *container, const struct command *command, int code,
	const struct option *options, int *status);

/* Find out all the rest. An exit status; not EXIT_SUCCESS after a complaint. */
int container_find(struct container *container, const struct command *command);

/* The environment that names a device: "PINION_DEVICE_0000_00_03_0=0000:00:03.0". */
#define CONTAINER_ENV_MAX 64
void container_env(const struct container_device *device, char text[CONTAINER_ENV_MAX]);

/* Would a device by itself bring along another that is named, by the node of their group? */
bool container_shares(const struct container *container, const struct container_device *device);

/* How hugetlbfs is mounted in it: destination, and options as a JSON array. */
#define CONTAINER_HUGEPAGES "/dev/hugepages"
json_t *container_mount_options(void);

/* Write the document where it was asked for, and release it. An exit status. */
int container_write(const struct container *container, json_t *document);

#endif
