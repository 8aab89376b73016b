/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a container needs, from the options and from the machine. Nothing is changed; a device whose
 * node would give the container another device as well is refused.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <linux/magic.h>

#include "atomic_file.h"
#include "container.h"
#include "parse.h"
#include "pn_mem.h"

#define GROUP_WAYS (PN_PLAN_TYPE1 | PN_PLAN_IOMMUFD_COMPAT | PN_PLAN_IOMMUFD_AS_VFIO)
#define VFIO_WAYS  (PN_PLAN_TYPE1 | PN_PLAN_IOMMUFD_AS_VFIO)
#define IOMMU_WAYS (PN_PLAN_IOMMUFD | PN_PLAN_IOMMUFD_COMPAT)

static const char *name_of(const struct option *options, int code)
{
	while (options->name && options->val != code)
		options++;
	return options->name ? options->name : "?";
}

/* "A" or "A,B": the texts stay in argv, whose commas become ends. */
static int add_devices(struct container *container, const struct command *command, char *list)
{
	char *state = NULL;

	if (!*list || *list == ',' || strstr(list, ",,") || list[strlen(list) - 1] == ',') {
		complain("%s: --allow '%s': it takes devices, with commas between", command->name,
			list);
		return EXIT_USAGE;
	}
	for (char *one = strtok_r(list, ",", &state); one; one = strtok_r(NULL, ",", &state)) {
		if (container->device_count == CONTAINER_DEVICES) {
			complain("%s: more than %u devices", command->name, CONTAINER_DEVICES);
			return EXIT_USAGE;
		}
		container->specs[container->device_count++] = one;
	}
	return 0;
}

int container_option(struct container *container, const struct command *command, int code,
	const struct option *options, int *status)
{
	switch (code) {
	case 'a':
		*status = add_devices(container, command, optarg);
		return *status;
	case CONTAINER_HUGETLBFS:
		container->hugetlbfs = optarg;
		return 0;
	case 'o':
		container->output = optarg;
		return 0;
	default:
		break;
	}
	/* 'h' or '?': dealt with. */
	if (code < CONTAINER_OWN)
		return -1;
	if (!plan_set(&container->input, code, optarg))
		return 0;
	complain("%s: --%s '%s': it takes %s; try 'pinion help %s'", command->name,
		name_of(options, code), optarg, plan_takes(code), command->name);
	*status = EXIT_USAGE;
	return -1;
}

static int by_address(const void *a, const void *b)
{
	const struct container_device *first = a, *second = b;

	return strcmp(first->info.address, second->info.address);
}

static int find_devices(struct container *container, const struct command *command)
{
	struct container_device *devices = container->devices;

	for (size_t i = 0; i < container->device_count; i++) {
		int err = pn_pci_find(container->specs[i], &devices[i].info);

		if (err) {
			complain("%s: %s", command->name, pn_error());
			return err == -EINVAL ? EXIT_USAGE : EXIT_FAILURE;
		}
		if (!*devices[i].info.group_node) {
			complain("%s: %s is bound to %s: a container gets devices that vfio-pci "
				 "has; as root: pinion bind %s",
				command->name, devices[i].info.address,
				*devices[i].info.driver ? devices[i].info.driver : "no driver",
				devices[i].info.address);
			return EXIT_FAILURE;
		}
	}
	qsort(devices, container->device_count, sizeof(devices[0]), by_address);
	for (size_t i = 1; i < container->device_count; i++) {
		if (by_address(&devices[i - 1], &devices[i]) == 0) {
			complain("%s: %s is named twice", command->name, devices[i].info.address);
			return EXIT_USAGE;
		}
	}
	return EXIT_SUCCESS;
}

static bool is_named(const struct container *container, const char *address)
{
	for (size_t i = 0; i < container->device_count; i++) {
		if (strcmp(container->devices[i].info.address, address) == 0)
			return true;
	}
	return false;
}

/* A group's node is the way to all its devices: none may come along unsaid. */
static int check_group(const struct container *container, const struct command *command,
	const struct container_device *device, const struct pn_pci_info *all, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct pn_pci_info *other = &all[i];

		if (strcmp(other->group_node, device->info.group_node) != 0 ||
			is_named(container, other->address))
			continue;
		complain("%s: %s is the way to %s too, which is in the same IOMMU group and bound "
			 "to %s: name both devices, or take the backend iommufd alone",
			command->name, device->info.group_node, other->address, other->driver);
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}

static int check_groups(const struct container *container, const struct command *command)
{
	struct pn_pci_info *all;
	int status = EXIT_SUCCESS;
	size_t count;

	if (!(container->input.backends & GROUP_WAYS))
		return EXIT_SUCCESS;
	if (pn_pci_scan(&all, &count)) {
		complain("%s: %s", command->name, pn_error());
		return EXIT_FAILURE;
	}
	for (size_t i = 0; i < container->device_count && status == EXIT_SUCCESS; i++)
		status = check_group(container, command, &container->devices[i], all, count);
	free(all);
	return status;
}

static int add_node(struct container_node *nodes, size_t *count, const char *path,
	const struct command *command)
{
	struct stat st;

	if (stat(path, &st)) {
		complain("%s: %s: %s", command->name, path, strerror(errno));
		return EXIT_FAILURE;
	}
	if (!S_ISCHR(st.st_mode)) {
		complain("%s: %s is no character device", command->name, path);
		return EXIT_FAILURE;
	}
	nodes[(*count)++] = (struct container_node){
		.path = path, .major = major(st.st_rdev), .minor = minor(st.st_rdev)};
	return EXIT_SUCCESS;
}

static bool same_group(const struct container_device *a, const struct container_device *b)
{
	return strcmp(a->info.group_node, b->info.group_node) == 0;
}

bool container_shares(const struct container *container, const struct container_device *device)
{
	if (!(container->input.backends & GROUP_WAYS))
		return false;
	for (size_t i = 0; i < container->device_count; i++) {
		if (&container->devices[i] != device && same_group(&container->devices[i], device))
			return true;
	}
	return false;
}

/* The node of a group is listed once, with the first of its devices. */
static int find_nodes_of(
	struct container *container, struct container_device *device, const struct command *command)
{
	uint32_t backends = container->input.backends;
	const struct container_device *first = container->devices;
	int status = EXIT_SUCCESS;

	while (!same_group(first, device))
		first++;
	if (backends & GROUP_WAYS && first == device)
		status = add_node(
			device->nodes, &device->node_count, device->info.group_node, command);
	if (status != EXIT_SUCCESS || !(backends & PN_PLAN_IOMMUFD))
		return status;
	if (!*device->info.cdev_node) {
		complain("%s: %s has no node of its own under /dev/vfio/devices, which the backend "
			 "iommufd needs (CONFIG_VFIO_DEVICE_CDEV): take another with --backend",
			command->name, device->info.address);
		return EXIT_FAILURE;
	}
	return add_node(device->nodes, &device->node_count, device->info.cdev_node, command);
}

static int find_nodes(struct container *container, const struct command *command)
{
	uint32_t backends = container->input.backends;
	int status = EXIT_SUCCESS;

	if (backends & VFIO_WAYS)
		status = add_node(
			container->nodes, &container->node_count, "/dev/vfio/vfio", command);
	if (status == EXIT_SUCCESS && backends & IOMMU_WAYS)
		status = add_node(container->nodes, &container->node_count, "/dev/iommu", command);
	for (size_t i = 0; i < container->device_count && status == EXIT_SUCCESS; i++)
		status = find_nodes_of(container, &container->devices[i], command);
	return status;
}

/* What "auto" would take here. */
static int default_backend(struct container *container, const struct command *command)
{
	struct pn_backend_info info;
	int code = -ENODEV;

	for (unsigned int i = 0; code && pn_backend_get(i, &info) == 0; i++) {
		if (!info.available || !info.automatic)
			continue;
		code = plan_set(&container->input, PLAN_BACKEND,
			strcmp(info.name, "iommufd-compat") == 0 &&
					strcmp(info.node, "/dev/vfio/vfio") == 0
				? "iommufd-as-vfio"
				: info.name);
	}
	if (!code)
		return EXIT_SUCCESS;
	complain("%s: no backend works here, 'pinion backends' says why; --backend names one",
		command->name);
	return EXIT_FAILURE;
}

static int check_hugetlbfs(const struct container *container, const struct command *command)
{
	uint64_t wanted = container->input.page_size ? container->input.page_size : PN_PAGE_2M;
	char has[FORMAT_MAX], needs[FORMAT_MAX];
	struct statfs st;

	if (!container->hugetlbfs)
		return EXIT_SUCCESS;
	if (*container->hugetlbfs != '/') {
		complain("%s: --hugetlbfs '%s': it takes an absolute path", command->name,
			container->hugetlbfs);
		return EXIT_USAGE;
	}
	if (statfs(container->hugetlbfs, &st)) {
		complain("%s: %s: %s", command->name, container->hugetlbfs, strerror(errno));
		return EXIT_FAILURE;
	}
	if (st.f_type != HUGETLBFS_MAGIC) {
		complain("%s: no hugetlbfs is mounted on %s", command->name, container->hugetlbfs);
		return EXIT_FAILURE;
	}
	if ((uint64_t)st.f_bsize == wanted)
		return EXIT_SUCCESS;
	complain("%s: the hugetlbfs on %s has pages of %s, not of %s (--page-size)", command->name,
		container->hugetlbfs, format_size(has, (uint64_t)st.f_bsize),
		format_size(needs, wanted));
	return EXIT_FAILURE;
}

/* The limit for whichever backend is taken: the highest of them. */
static int find_limit(struct container *container, const struct command *command)
{
	struct pn_plan *plan;
	int err;

	if (!container->input.mem)
		return EXIT_SUCCESS;
	container->input.devices = (uint32_t)container->device_count;
	err = pn_plan_create(&plan, &container->input);
	if (err) {
		complain("%s: %s", command->name, pn_error());
		return err == -EINVAL ? EXIT_USAGE : EXIT_FAILURE;
	}
	for (size_t i = 0; i < plan->way_count; i++) {
		const struct pn_plan_way *way = &plan->ways[i];

		if (way->is_default && way->set << 12 > container->memlock)
			container->memlock = way->set << 12;
	}
	if (plan->input.page_size != PN_PAGE_4K)
		container->hugepages = plan->memory;
	container->input.page_size = plan->input.page_size;
	pn_plan_free(plan);
	return EXIT_SUCCESS;
}

int container_find(struct container *container, const struct command *command)
{
	int status;

	if (!container->device_count) {
		complain("%s: no device: name them with -a; try 'pinion help %s'", command->name,
			command->name);
		return EXIT_USAGE;
	}
	status = find_limit(container, command);
	if (status == EXIT_SUCCESS)
		status = find_devices(container, command);
	if (status == EXIT_SUCCESS && !container->input.backends) {
		status = default_backend(container, command);
		/* Now that it is known which way: the limit of that one. */
		container->memlock = 0;
		if (status == EXIT_SUCCESS)
			status = find_limit(container, command);
	}
	if (status == EXIT_SUCCESS)
		status = check_groups(container, command);
	if (status == EXIT_SUCCESS)
		status = find_nodes(container, command);
	return status == EXIT_SUCCESS ? check_hugetlbfs(container, command) : status;
}

void container_env(const struct container_device *device, char text[CONTAINER_ENV_MAX])
{
	int used = snprintf(text, CONTAINER_ENV_MAX, "PINION_DEVICE_%s", device->info.address);

	for (char *at = text; *at; at++) {
		if (*at == ':' || *at == '.')
			*at = '_';
	}
	snprintf(text + used, CONTAINER_ENV_MAX - (size_t)used, "=%s", device->info.address);
}

json_t *container_mount_options(void)
{
	return json_pack("[s, s, s, s]", "bind", "rw", "nosuid", "nodev");
}

int container_write(const struct container *container, json_t *document)
{
	struct atomic_file file;
	char *text;
	int err;

	if (!container->output)
		return print_json(document) ? EXIT_FAILURE : EXIT_SUCCESS;
	text = document ? json_dumps(document, JSON_INDENT(2)) : NULL;
	json_decref(document);
	if (!text) {
		complain("out of memory");
		return EXIT_FAILURE;
	}
	err = atomic_open(&file, container->output);
	if (!err)
		err = atomic_write(&file, text, strlen(text));
	if (!err)
		err = atomic_write(&file, "\n", 1);
	if (!err)
		err = atomic_commit(&file);
	free(text);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
