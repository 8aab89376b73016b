/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pinion devices: which PCI devices could be driven from user space now, by this user, and what
 * stands in the way of the others.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands.h"
#include "pn_pci.h"

#define CLASS_NETWORK 0x02
#define CLASS_BRIDGE  0x06

#define REASON_MAX 320

const char devices_help[] =
	"[--all] [--json]\n\n"
	"Show network cards and the devices that are bound to VFIO: can they be used now, and if\n"
	"not, why; then the ways of mapping memory for them.\n\n"
	"      --all    show every PCI device\n"
	"      --json   print a JSON document (schema \"pinion.devices/1\")\n"
	"  -h, --help   print this and exit\n";

static unsigned int base_class(const struct pn_pci_info *dev)
{
	return dev->class_code >> 16;
}

static bool on_vfio(const struct pn_pci_info *dev)
{
	return *dev->group_node != '\0';
}

/* A driver that lets the rest of its group be given to a user: vfio itself, and those that do no
 * DMA. */
static bool harmless_driver(const struct pn_pci_info *dev)
{
	return !*dev->driver || on_vfio(dev) || strcmp(dev->driver, "pci-stub") == 0 ||
	       strcmp(dev->driver, "pcieport") == 0;
}

/* Another function of the same group that the kernel uses, or NULL. */
static const struct pn_pci_info *in_the_way(
	const struct pn_pci_info *list, size_t count, const struct pn_pci_info *dev)
{
	for (size_t i = 0; i < count; i++) {
		if (&list[i] != dev && list[i].iommu_group == dev->iommu_group &&
			!harmless_driver(&list[i]))
			return &list[i];
	}
	return NULL;
}

static bool may_open(const char *node)
{
	return *node && !faccessat(AT_FDCWD, node, R_OK | W_OK, AT_EACCESS);
}

/* Why may_open() said no. Adds to what is there. */
static void add_no_access(const char *node, char reason[REASON_MAX])
{
	size_t used = strlen(reason), left = REASON_MAX - used;
	const char *separator = used ? "; " : "";
	struct stat st;

	if (stat(node, &st))
		snprintf(reason + used, left, "%s%s: %s", separator, node, strerror(errno));
	else
		snprintf(reason + used, left,
			"%s%s may not be opened by this user (owner %u:%u, mode %03o)", separator,
			node, st.st_uid, st.st_gid, st.st_mode & 0777u);
}

/* One of the two is enough: native iommufd takes the device's own node, the rest the group's. */
static void check_nodes(const struct pn_pci_info *dev, char reason[REASON_MAX])
{
	if (may_open(dev->group_node) || may_open(dev->cdev_node))
		return;
	add_no_access(dev->group_node, reason);
	if (*dev->cdev_node)
		add_no_access(dev->cdev_node, reason);
}

/* Why a device cannot be used now; "" if it can. */
static void find_reason(const struct pn_pci_info *list, size_t count, const struct pn_pci_info *dev,
	char reason[REASON_MAX])
{
	const struct pn_pci_info *other;

	*reason = '\0';
	if (base_class(dev) == CLASS_BRIDGE)
		snprintf(reason, REASON_MAX, "a bridge");
	else if (dev->iommu_group < 0)
		snprintf(reason, REASON_MAX,
			"no IOMMU group: there is no IOMMU, or it is off (intel_iommu=on on the "
			"kernel "
			"command line, VT-d or AMD-Vi in the firmware)");
	else if (!on_vfio(dev) && *dev->driver)
		snprintf(reason, REASON_MAX,
			"bound to the kernel driver %s%s%s%s; 'pinion bind %s' binds it to VFIO",
			dev->driver, *dev->interfaces ? " (" : "", dev->interfaces,
			*dev->interfaces ? ")" : "", dev->address);
	else if (!on_vfio(dev))
		snprintf(reason, REASON_MAX,
			"bound to no driver; 'pinion bind %s' binds it to VFIO", dev->address);
	else if ((other = in_the_way(list, count, dev)))
		snprintf(reason, REASON_MAX,
			"%s in the same group %d is bound to %s: all of a group go to VFIO "
			"together",
			other->address, dev->iommu_group, other->driver);
	else
		check_nodes(dev, reason);
}

static bool wanted(const struct pn_pci_info *dev, bool all)
{
	return all || base_class(dev) == CLASS_NETWORK || on_vfio(dev);
}

/* -1 is shown as a dash. */
static const char *number_text(char buf[16], int value)
{
	if (value < 0)
		strcpy(buf, "-");
	else
		snprintf(buf, 16, "%d", value);
	return buf;
}

static void print_device(const struct pn_pci_info *dev, const char *reason)
{
	char group[16], node[16];
	bool group_open, cdev_open;

	printf("%-13s %04x:%04x  %-5s %-4s %-12s %s%s%s\n", dev->address, dev->vendor, dev->device,
		number_text(group, dev->iommu_group), number_text(node, dev->numa_node),
		*dev->driver ? dev->driver : "-", dev->vendor_name, *dev->vendor_name ? " " : "",
		*dev->device_name ? dev->device_name : "(unknown device)");
	if (*reason) {
		printf("              not usable: %s\n", reason);
		return;
	}
	group_open = may_open(dev->group_node);
	cdev_open = may_open(dev->cdev_node);
	printf("              usable through %s%s%s\n", group_open ? dev->group_node : "",
		group_open && cdev_open ? " or " : "", cdev_open ? dev->cdev_node : "");
}

static void print_devices(const struct pn_pci_info *list, size_t count, bool all)
{
	char reason[REASON_MAX];
	size_t shown = 0;

	printf("%-13s %-9s  %-5s %-4s %-12s %s\n", "ADDRESS", "ID", "GROUP", "NODE", "DRIVER",
		"NAME");
	for (size_t i = 0; i < count; i++) {
		if (!wanted(&list[i], all))
			continue;
		find_reason(list, count, &list[i], reason);
		print_device(&list[i], reason);
		shown++;
	}
	if (!shown)
		printf("(none%s)\n", all ? "" : ": no network card, and nothing is bound to VFIO");
	printf("\nBACKENDS\n");
	backends_print();
}

static json_t *device_json(const struct pn_pci_info *dev, const char *reason)
{
	char id[16], subsystem[16], class_code[16];

	snprintf(id, sizeof(id), "%04x:%04x", dev->vendor, dev->device);
	snprintf(subsystem, sizeof(subsystem), "%04x:%04x", dev->subvendor, dev->subdevice);
	snprintf(class_code, sizeof(class_code), "%06x", dev->class_code);
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o}",
		"address", dev->address, "id", id, "subsystem", subsystem, "class", class_code,
		"vendor_name", json_text(dev->vendor_name), "device_name",
		json_text(dev->device_name), "driver", json_text(dev->driver), "interfaces",
		json_text(dev->interfaces), "iommu_group", json_number(dev->iommu_group),
		"numa_node", json_number(dev->numa_node), "group_node", json_text(dev->group_node),
		"device_node", json_text(dev->cdev_node), "usable", *reason == '\0', "reason",
		json_text(reason));
}

static json_t *devices_json(const struct pn_pci_info *list, size_t count, bool all)
{
	json_t *array = json_array();
	char reason[REASON_MAX];

	for (size_t i = 0; i < count; i++) {
		if (!wanted(&list[i], all))
			continue;
		find_reason(list, count, &list[i], reason);
		json_array_append_new(array, device_json(&list[i], reason));
	}
	return json_pack("{s:s, s:o, s:o}", "schema", "pinion.devices/1", "devices", array,
		"backends", backends_json());
}

int devices_run(const struct command *command, int argc, char **argv)
{
	static const struct option options[] = {
		{"all", no_argument, NULL, 'a'},
		{"help", no_argument, NULL, 'h'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	bool all = false, json = false;
	struct pn_pci_info *list;
	int code, status;
	size_t count;

	while ((code = next_option(command, argc, argv, options, &status)) != -1) {
		if (code == 'a')
			all = true;
		else if (code == 'j')
			json = true;
		else
			return status;
	}
	if (pn_pci_scan(&list, &count)) {
		complain("%s: %s", command->name, pn_error());
		return EXIT_FAILURE;
	}
	status = EXIT_SUCCESS;
	if (!json)
		print_devices(list, count, all);
	else if (print_json(devices_json(list, count, all)))
		status = EXIT_FAILURE;
	free(list);
	return status;
}
