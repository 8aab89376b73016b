/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finding PCI functions, and what sysfs says of one.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net.h"
#include "pci.h"

#define DEVICE "%s/bus/pci/devices/%s/"

static bool take_hex(const char **text, int digits)
{
	int i;

	for (i = 0; i < digits && isxdigit((unsigned char)**text); i++)
		(*text)++;
	return i == digits;
}

/* "0000:00:02.0", as sysfs writes it: the domain has four digits, or five. */
bool host_pci_is_address(const char *text)
{
	size_t domain = strcspn(text, ":");

	if (domain < 4 || domain > 5 || strlen(text) != domain + strlen(":00:02.0"))
		return false;
	if (!take_hex(&text, (int)domain) || *text++ != ':' || !take_hex(&text, 2))
		return false;
	if (*text++ != ':' || !take_hex(&text, 2) || *text++ != '.')
		return false;
	return *text >= '0' && *text <= '7' && !text[1];
}

static unsigned int read_hex(struct host *host, const char *address, const char *name)
{
	int64_t value;

	if (host_read_number(&value, DEVICE "%s", host->sys, address, name))
		return 0;
	return (unsigned int)value;
}

static int read_count(struct host *host, const char *address, const char *name)
{
	int64_t value;

	if (host_read_number(&value, DEVICE "%s", host->sys, address, name) || value < 0 ||
		value > 65535)
		return -1;
	return (int)value;
}

static void read_group(struct host *host, struct host_pci *pci)
{
	char name[24], kind[32];
	char *end;
	long group;

	pci->group = -1;
	if (host_read_link(name, sizeof(name), DEVICE "iommu_group", host->sys, pci->address))
		return;
	group = strtol(name, &end, 10);
	if (end == name || *end || group < 0 || group > INT_MAX)
		return;
	pci->group = (int)group;
	/* drivers/vfio/group.c, vfio_noiommu_group_alloc() */
	pci->noiommu = host_read(kind, sizeof(kind), "%s/kernel/iommu_groups/%d/name", host->sys,
			       pci->group) > 0 &&
		       !strcmp(kind, "vfio-noiommu");
}

/* The device's own node has the attribute dev, where the kernel has such nodes. */
static void read_cdev(struct host *host, struct host_pci *pci)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), DEVICE "vfio-dev", host->sys, pci->address);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "vfio", 4) || strlen(entry->d_name) >= sizeof(pci->cdev))
			continue;
		if (host_exists("%s/%s/dev", path, entry->d_name))
			snprintf(pci->cdev, sizeof(pci->cdev), "%s", entry->d_name);
	}
	if (dir)
		closedir(dir);
}

int host_pci_read(struct host *host, const char *address, struct host_pci *pci)
{
	char text[HOST_OVERRIDE_MAX];
	int64_t number;

	memset(pci, 0, sizeof(*pci));
	if (strlen(address) >= sizeof(pci->address) || !host_exists(DEVICE, host->sys, address))
		return -ENODEV;
	strcpy(pci->address, address);
	pci->vendor = read_hex(host, address, "vendor") & 0xffff;
	pci->device = read_hex(host, address, "device") & 0xffff;
	pci->class_code = read_hex(host, address, "class") & 0xffffff;
	(void)host_read_link(pci->driver, sizeof(pci->driver), DEVICE "driver", host->sys, address);
	if (host_read(text, sizeof(text), DEVICE "driver_override", host->sys, address) > 0 &&
		strcmp(text, "(null)"))
		strcpy(pci->override, text);
	read_group(host, pci);
	pci->boot_vga = !host_read_number(&number, DEVICE "boot_vga", host->sys, address) && number;
	pci->vf_count = read_count(host, address, "sriov_numvfs");
	pci->vf_total = read_count(host, address, "sriov_totalvfs");
	(void)host_read_link(
		pci->physical, sizeof(pci->physical), DEVICE "physfn", host->sys, address);
	read_cdev(host, pci);
	return 0;
}

static int by_address(const void *a, const void *b)
{
	const struct host_pci *left = a, *right = b;
	size_t left_len = strlen(left->address), right_len = strlen(right->address);

	/* Longer domains are larger ones. */
	if (left_len != right_len)
		return left_len < right_len ? -1 : 1;
	return strcmp(left->address, right->address);
}

/* The functions that a folder of sysfs names. */
static int list_folder(struct host *host, const char *path, struct host_pci **list, size_t *count)
{
	struct host_pci *grown, one;
	struct dirent *entry;
	DIR *dir;

	*list = NULL;
	*count = 0;
	dir = opendir(path);
	if (!dir)
		return host_fail(host, errno, "%s: %s", path, strerror(errno));
	while ((entry = readdir(dir))) {
		if (!host_pci_is_address(entry->d_name) || host_pci_read(host, entry->d_name, &one))
			continue;
		grown = host_grow(*list, count, sizeof(one));
		if (!grown) {
			closedir(dir);
			free(*list);
			return host_fail(host, ENOMEM, "no memory for a list of PCI functions");
		}
		grown[*count - 1] = one;
		*list = grown;
	}
	closedir(dir);
	if (*count)
		qsort(*list, *count, sizeof(**list), by_address);
	return 0;
}

int host_pci_list(struct host *host, struct host_pci **list, size_t *count)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/bus/pci/devices", host->sys);
	return list_folder(host, path, list, count);
}

int host_pci_group(struct host *host, int group, struct host_pci **list, size_t *count)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/kernel/iommu_groups/%d/devices", host->sys, group);
	return list_folder(host, path, list, count);
}

/*
 * By what a user writes
 */

static bool has_interface(struct host *host, const char *address, const char *name)
{
	struct host_children children;
	bool found = false;

	if (host_children_read(host, address, &children))
		return false;
	for (size_t i = 0; i < children.count && !found; i++)
		found = children.items[i].is_net && !strcmp(children.items[i].name, name);
	host_children_free(&children);
	return found;
}

/* Four digits, a colon, four digits: vendor and device. */
static bool is_id(const char *spec, unsigned int *vendor, unsigned int *device)
{
	const char *p = spec;

	if (!take_hex(&p, 4) || *p++ != ':' || !take_hex(&p, 4) || *p)
		return false;
	return sscanf(spec, "%4x:%4x", vendor, device) == 2;
}

static int find_in_list(struct host *host, const char *spec, struct host_pci *pci)
{
	unsigned int vendor, device;
	bool id = is_id(spec, &vendor, &device);
	struct host_pci *list;
	size_t count, found = 0;
	int err;

	err = host_pci_list(host, &list, &count);
	if (err)
		return err;
	for (size_t i = 0; i < count; i++) {
		if (id ? list[i].vendor != vendor || list[i].device != device
		       : !has_interface(host, list[i].address, spec))
			continue;
		*pci = list[i];
		found++;
	}
	free(list);
	if (found == 1)
		return 0;
	if (found)
		return host_fail(host, ENOTUNIQ,
			"%zu PCI functions are %s; name one by its address ('pinion devices --all' "
			"lists them)",
			found, spec);
	return host_fail(host, ENODEV,
		"there is no %s '%.40s' ('pinion devices --all' lists the PCI functions)",
		id ? "PCI function" : "PCI function with the network interface", spec);
}

int host_pci_find(struct host *host, const char *spec, struct host_pci *pci)
{
	char address[PN_PCI_ADDRESS_MAX + 8];
	size_t len = strlen(spec);

	if (!len || len >= PN_PCI_ADDRESS_MAX || strchr(spec, '/'))
		return host_fail(host, EINVAL,
			"'%.40s' is not a PCI device: write an address (0000:00:02.0 or 00:02.0), "
			"vendor:device (8086:10d3) or the name of a network interface",
			spec);
	snprintf(address, sizeof(address), "%s%s", len == strlen("00:02.0") ? "0000:" : "", spec);
	if (!host_pci_is_address(address)) {
		if (strchr(spec, '.') && strchr(spec, ':'))
			return host_fail(host, EINVAL,
				"'%s' is not the address of a PCI function: write it like "
				"0000:00:02.0 or 00:02.0, in hexadecimal",
				spec);
		return find_in_list(host, spec, pci);
	}
	for (char *p = address; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	if (host_pci_read(host, address, pci))
		return host_fail(host, ENODEV,
			"there is no PCI function %s ('pinion devices --all' lists them)", address);
	return 0;
}

/*
 * Kinds
 */

bool host_pci_is_bridge(const struct host_pci *pci)
{
	unsigned int class_code = pci->class_code >> 8;

	return class_code == 0x0600 || class_code == 0x0604 || class_code == 0x0607;
}

bool host_driver_is_vfio(const char *driver)
{
	return strstr(driver, "vfio-pci") || strstr(driver, "vfio_pci");
}

bool host_driver_is_harmless(const char *driver)
{
	static const char *const names[] = {"", "pci-stub", "pcieport", "shpchp"};

	if (host_driver_is_vfio(driver))
		return true;
	for (size_t i = 0; i < HOST_COUNT(names); i++) {
		if (!strcmp(driver, names[i]))
			return true;
	}
	return false;
}

const char *host_pci_kind(const struct host_pci *pci)
{
	static const struct {
		unsigned int class_code;
		const char *name;
	} kinds[] = {
		{0x0108, "NVMe controller"},
		{0x0106, "SATA controller"},
		{0x0200, "network card"},
		{0x0300, "graphics card"},
		{0x0c03, "USB controller"},
		{0x0604, "PCI bridge"},
		{0x0600, "host bridge"},
	};

	for (size_t i = 0; i < HOST_COUNT(kinds); i++) {
		if (pci->class_code >> 8 == kinds[i].class_code)
			return kinds[i].name;
	}
	switch (pci->class_code >> 16) {
	case 0x01:
		return "storage controller";
	case 0x02:
		return "network card";
	case 0x03:
		return "graphics card";
	case 0x06:
		return "bridge";
	default:
		return "device";
	}
}
