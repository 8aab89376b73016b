/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which processes have devices open through VFIO: by group, by the device's own node, or by a file
 * that was got through a group.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"
#include "openers.h"

struct nodes {
	struct host_target *targets;
	struct host_opener *names; /* node, group and device of each */
	size_t count;
};

static int add(
	struct nodes *nodes, const struct host_target *target, const struct host_opener *name)
{
	size_t count = nodes->count;
	void *targets, *names;

	targets = host_grow(nodes->targets, &count, sizeof(*target));
	if (!targets)
		return -ENOMEM;
	nodes->targets = targets;
	count = nodes->count;
	names = host_grow(nodes->names, &count, sizeof(*name));
	if (!names)
		return -ENOMEM;
	nodes->names = names;
	nodes->targets[nodes->count] = *target;
	nodes->names[nodes->count] = *name;
	nodes->count = count;
	return 0;
}

/* "12" and "noiommu-3"; -1: not a group's node. */
static int group_of(const char *name)
{
	const char *digits = strncmp(name, "noiommu-", 8) ? name : name + 8;
	char *end;
	long group;

	if (*digits < '0' || *digits > '9')
		return -1;
	group = strtol(digits, &end, 10);
	return *end || group > INT_MAX ? -1 : (int)group;
}

static int add_groups(struct host *host, struct nodes *nodes)
{
	struct host_opener name = {0};
	struct host_target target;
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;
	int err = 0;

	snprintf(path, sizeof(path), "%s/vfio", host->dev);
	dir = opendir(path);
	while (dir && !err && (entry = readdir(dir))) {
		name.group = group_of(entry->d_name);
		if (name.group < 0 || strlen(entry->d_name) > 32 ||
			host_target_of(&target, "%s/%s", path, entry->d_name))
			continue;
		snprintf(name.node, sizeof(name.node), "/dev/vfio/%.32s", entry->d_name);
		err = add(nodes, &target, &name);
	}
	if (dir)
		closedir(dir);
	return err;
}

static int add_devices(struct host *host, struct nodes *nodes)
{
	struct host_opener name = {.group = -1};
	struct host_target target;
	struct host_pci *list;
	size_t count;
	int err;

	err = host_pci_list(host, &list, &count);
	if (err)
		return err;
	for (size_t i = 0; i < count && !err; i++) {
		if (!list[i].cdev[0] ||
			host_target_of(&target, "%s/vfio/devices/%s", host->dev, list[i].cdev))
			continue;
		snprintf(name.node, sizeof(name.node), "/dev/vfio/devices/%s", list[i].cdev);
		strcpy(name.device, list[i].address);
		err = add(nodes, &target, &name);
	}
	free(list);
	return err;
}

static bool has_group(const struct host_holders *holders, const struct nodes *nodes, pid_t pid)
{
	for (size_t i = 0; i < holders->count; i++) {
		if (holders->items[i].pid == pid &&
			nodes->names[holders->items[i].target].group >= 0)
			return true;
	}
	return false;
}

static int collect(
	const struct nodes *nodes, const struct host_holders *holders, struct host_openers *openers)
{
	struct host_opener *grown;

	for (size_t i = 0; i < holders->count; i++) {
		const struct host_holder *holder = &holders->items[i];

		/* Who has the group open as well is told by that. */
		if (!nodes->targets[holder->target].type && has_group(holders, nodes, holder->pid))
			continue;
		grown = host_grow(openers->items, &openers->count, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		openers->items = grown;
		grown += openers->count - 1;
		*grown = nodes->names[holder->target];
		grown->who = *holder;
	}
	return 0;
}

int host_openers_find(struct host *host, struct host_openers *openers)
{
	const struct host_target anonymous = {0};
	const struct host_opener unknown = {.group = -1};
	struct host_holders holders = {0};
	struct nodes nodes = {0};
	int err;

	memset(openers, 0, sizeof(*openers));
	host->error[0] = '\0';
	err = add_groups(host, &nodes);
	if (!err)
		err = add_devices(host, &nodes);
	if (!err)
		err = add(&nodes, &anonymous, &unknown);
	if (!err)
		err = host_holders_find(host, nodes.targets, nodes.count, &holders);
	if (!err)
		err = collect(&nodes, &holders, openers);
	openers->unseen = holders.unseen;
	host_holders_free(&holders);
	free(nodes.targets);
	free(nodes.names);
	if (!err)
		return 0;
	host_openers_free(openers);
	return host->error[0]
		       ? err
		       : host_fail(host, -err, "looking for open VFIO devices: %s", strerror(-err));
}

void host_openers_free(struct host_openers *openers)
{
	free(openers->items);
	memset(openers, 0, sizeof(*openers));
}

bool host_opener_has(const struct host_opener *opener, const struct host_pci *pci)
{
	if (!opener->node[0])
		return true;
	if (opener->device[0])
		return !strcmp(opener->device, pci->address);
	return opener->group >= 0 && opener->group == pci->group;
}

bool host_group_busy(struct host *host, const struct host_pci *pci, char node[HOST_GROUP_NODE_MAX])
{
	char path[PATH_MAX];

	snprintf(node, HOST_GROUP_NODE_MAX, "/dev/vfio/%s%d", pci->noiommu ? "noiommu-" : "",
		pci->group);
	if (pci->group < 0 || snprintf(path, sizeof(path), "%s%s", host->dev,
				      node + strlen("/dev")) >= (int)sizeof(path))
		return false;
	return host->ops->group_busy(host, path);
}
