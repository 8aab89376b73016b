/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What sysfs says of a PCI function: its driver, IOMMU group, NUMA node, the nodes that VFIO made
 * for it, and the network interfaces that its driver made.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base_priv.h"
#include "pci_priv.h"

/* Path of an attribute of a function. False if it does not fit. */
static bool attribute_path(
	char path[PATH_MAX], const char *sysfs, const char *address, const char *name)
{
	int len = snprintf(path, PATH_MAX, "%s/bus/pci/devices/%s/%s", sysfs, address, name);

	return len > 0 && len < PATH_MAX;
}

/* A decimal number, perhaps negative, that is all of the text and fits an int. */
static bool parse_int(const char *text, int *value)
{
	char *end;
	long number;

	errno = 0;
	number = strtol(text, &end, 10);
	if (end == text || *end != '\0' || errno || number < INT_MIN || number > INT_MAX)
		return false;
	*value = (int)number;
	return true;
}

static void read_driver(const char *sysfs, struct pn_pci_info *info)
{
	char path[PATH_MAX];

	info->driver[0] = '\0';
	if (attribute_path(path, sysfs, info->address, "driver"))
		(void)pn_link_name(path, info->driver, sizeof(info->driver));
}

static void read_group(const char *sysfs, struct pn_pci_info *info)
{
	char path[PATH_MAX], name[24];
	int group;

	info->iommu_group = -1;
	if (!attribute_path(path, sysfs, info->address, "iommu_group"))
		return;
	if (pn_link_name(path, name, sizeof(name)) < 0)
		return;
	if (parse_int(name, &group) && group >= 0)
		info->iommu_group = group;
}

static void read_numa_node(const char *sysfs, struct pn_pci_info *info)
{
	char path[PATH_MAX], text[24];
	int node;

	info->numa_node = PN_NODE_ANY;
	if (!attribute_path(path, sysfs, info->address, "numa_node"))
		return;
	if (pn_read_file(path, text, sizeof(text)) < 0)
		return;
	if (parse_int(text, &node) && node >= 0)
		info->numa_node = node;
}

/* The node's name is the group's, with a prefix in no-IOMMU mode: drivers/vfio/group.c,
 * vfio_create_group(). */
static void derive_group_node(const char *sysfs, struct pn_pci_info *info)
{
	const char *prefix;

	info->group_node[0] = '\0';
	if (info->iommu_group < 0 || !pn_pci_driver_is_vfio(info->driver))
		return;
	prefix = pn_pci_group_is_noiommu(sysfs, info->iommu_group) ? "noiommu-" : "";
	snprintf(info->group_node, sizeof(info->group_node), "/dev/vfio/%s%d", prefix,
		info->iommu_group);
}

/*
 * The folder is made for every VFIO device since Linux 6.1, its attribute "dev" only where there is
 * a node, with CONFIG_VFIO_DEVICE_CDEV and an IOMMU (drivers/vfio/vfio.h, vfio_device_add()).
 */
static bool has_cdev(const char *dir, const char *name)
{
	char path[PATH_MAX];
	int len;

	if (strncmp(name, "vfio", 4) || !name[4] || name[4 + strspn(name + 4, "0123456789")])
		return false;
	len = snprintf(path, sizeof(path), "%s/%s/dev", dir, name);
	return len > 0 && len < (int)sizeof(path) && access(path, F_OK) == 0;
}

static void find_cdev_node(const char *sysfs, struct pn_pci_info *info)
{
	char dir[PATH_MAX];
	struct dirent *entry;
	DIR *stream;

	info->cdev_node[0] = '\0';
	if (!attribute_path(dir, sysfs, info->address, "vfio-dev"))
		return;
	stream = opendir(dir);
	if (!stream)
		return;
	while (!info->cdev_node[0] && (entry = readdir(stream))) {
		if (strlen(entry->d_name) < 20 && has_cdev(dir, entry->d_name))
			snprintf(info->cdev_node, sizeof(info->cdev_node),
				"/dev/vfio/devices/%.19s", entry->d_name);
	}
	closedir(stream);
}

bool pn_pci_driver_is_vfio(const char *driver)
{
	/* vfio-pci, and the variant drivers: mlx5_vfio_pci, hisi-acc-vfio-pci ... */
	return strstr(driver, "vfio-pci") || strstr(driver, "vfio_pci");
}

bool pn_pci_group_is_noiommu(const char *sysfs, int group)
{
	char path[PATH_MAX], name[32];
	int len;

	len = snprintf(path, sizeof(path), "%s/kernel/iommu_groups/%d/name", sysfs, group);
	if (len < 0 || len >= (int)sizeof(path) || pn_read_file(path, name, sizeof(name)) < 0)
		return false;
	/* drivers/vfio/group.c, vfio_noiommu_group_alloc() */
	return !strcmp(name, "vfio-noiommu") || !strcmp(name, "vfio-mdev-noiommu");
}

/*
 * Network interfaces
 */

struct names {
	char *text;
	size_t size;
	bool only_up;
};

static bool interface_is_up(const char *dir, const char *name)
{
	char path[PATH_MAX];
	uint64_t flags;
	int len;

	len = snprintf(path, sizeof(path), "%s/%s/flags", dir, name);
	if (len < 0 || len >= (int)sizeof(path) || pn_read_u64(path, &flags) < 0)
		return false;
	return flags & IFF_UP;
}

static void append_name(struct names *names, const char *name)
{
	size_t used = strlen(names->text);

	if (used + (used != 0) + strlen(name) + 1 > names->size)
		return;
	snprintf(names->text + used, names->size - used, "%s%s", used ? "," : "", name);
}

/* Add the entries of a "net" folder, in sysfs's order. */
static void add_interfaces(const char *dir, struct names *names)
{
	struct dirent *entry;
	DIR *stream;

	stream = opendir(dir);
	if (!stream)
		return;
	while ((entry = readdir(stream))) {
		if (entry->d_name[0] == '.')
			continue;
		if (!names->only_up || interface_is_up(dir, entry->d_name))
			append_name(names, entry->d_name);
	}
	closedir(stream);
}

/* virtio drivers bind to a device on the virtio bus, one folder below the PCI function. */
static void add_virtio_interfaces(const char *dir, struct names *names)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *stream;
	int len;

	stream = opendir(dir);
	if (!stream)
		return;
	while ((entry = readdir(stream))) {
		if (strncmp(entry->d_name, "virtio", strlen("virtio")))
			continue;
		len = snprintf(path, sizeof(path), "%s/%s/net", dir, entry->d_name);
		if (len > 0 && len < (int)sizeof(path))
			add_interfaces(path, names);
	}
	closedir(stream);
}

static void list_interfaces(
	const char *sysfs, const char *address, char *text, size_t size, bool only_up)
{
	struct names names = {text, size, only_up};
	char path[PATH_MAX];

	text[0] = '\0';
	if (attribute_path(path, sysfs, address, "net"))
		add_interfaces(path, &names);
	if (attribute_path(path, sysfs, address, ""))
		add_virtio_interfaces(path, &names);
}

void pn_pci_interfaces_up(const char *sysfs, const char *address, char *names, size_t size)
{
	list_interfaces(sysfs, address, names, size, true);
}

int pn_pci_sysfs_fill(const char *sysfs, struct pn_pci_info *info)
{
	char path[PATH_MAX];

	if (!attribute_path(path, sysfs, info->address, "") || access(path, F_OK) < 0)
		return -ENODEV;
	read_driver(sysfs, info);
	read_group(sysfs, info);
	read_numa_node(sysfs, info);
	derive_group_node(sysfs, info);
	find_cdev_node(sysfs, info);
	list_interfaces(sysfs, info->address, info->interfaces, sizeof(info->interfaces), false);
	return 0;
}
