/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Can a PCI function be opened through VFIO as it stands? If not: what is wrong, and the commands
 * that mend it.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base_priv.h"
#include "pci_priv.h"

/* PCI class codes (class and subclass): PCI Code and ID Assignment, 1.7. */
#define CLASS_HOST_BRIDGE    0x0600
#define CLASS_PCI_BRIDGE     0x0604
#define CLASS_CARDBUS_BRIDGE 0x0607

#define DEVICES "/sys/bus/pci/devices"

/* Is there an entry besides "." and ".." in a folder? */
static bool has_entries(const char *sysfs, const char *folder)
{
	char path[PATH_MAX];
	struct dirent *entry;
	bool found = false;
	DIR *stream;
	int len;

	len = snprintf(path, sizeof(path), "%s/%s", sysfs, folder);
	if (len < 0 || len >= (int)sizeof(path))
		return false;
	stream = opendir(path);
	if (!stream)
		return false;
	while (!found && (entry = readdir(stream)))
		found = entry->d_name[0] != '.';
	closedir(stream);
	return found;
}

/*
 * An IOMMU that the kernel drives shows in /sys/class/iommu (iommu_device_sysfs_add()); each device
 * behind one has a group (iommu_probe_device()).
 */
static int fail_no_group(const char *sysfs, const char *address)
{
	if (has_entries(sysfs, "class/iommu"))
		return pn_fail(ENXIO,
			"%s has no IOMMU group, though this machine's IOMMU is on: the device is "
			"not behind it (in a virtual machine: give the device to the vIOMMU); see "
			"which are: ls -d " DEVICES "/*/iommu_group",
			address);
	return pn_fail(ENXIO,
		"%s has no IOMMU group: this machine has no IOMMU or it is off; turn on VT-d or "
		"AMD-Vi in the firmware, put intel_iommu=on (Intel; AMD's is on by itself unless "
		"amd_iommu=off is there) on the kernel's command line, and reboot; it is on when "
		"`ls /sys/kernel/iommu_groups` lists groups",
		address);
}

static bool is_bridge(const struct pn_pci_info *info)
{
	uint32_t class = info->class_code >> 8;

	return class == CLASS_HOST_BRIDGE || class == CLASS_PCI_BRIDGE ||
	       class == CLASS_CARDBUS_BRIDGE;
}

/* Words on what binding takes away from the kernel. */
static void warn_interfaces(
	const char *sysfs, const struct pn_pci_info *info, char *text, size_t size)
{
	char up[sizeof(info->interfaces)];

	text[0] = '\0';
	if (!info->interfaces[0])
		return;
	pn_pci_interfaces_up(sysfs, info->address, up, sizeof(up));
	if (up[0])
		snprintf(text, size,
			". WARNING: its interface %s is up: binding cuts what runs over it", up);
	else
		snprintf(text, size, ". Its interface %s (down) goes away", info->interfaces);
}

static int fail_unbound(const struct pn_pci_info *info)
{
	const char *address = info->address;

	return pn_fail(ENXIO,
		"%s (%04x:%04x) is bound to no driver, and not to vfio-pci; as root: pinion bind "
		"%s",
		address, info->vendor, info->device, address);
}

static int fail_other_driver(const char *sysfs, const struct pn_pci_info *info)
{
	const char *address = info->address;
	char warning[160];

	warn_interfaces(sysfs, info, warning, sizeof(warning));
	return pn_fail(ENXIO,
		"%s (%04x:%04x) is bound to the driver %s, and not to vfio-pci; as root: pinion "
		"bind %s%s",
		address, info->vendor, info->device, info->driver, address, warning);
}

static int check_noiommu(const struct pn_pci_info *info, bool wanted, bool found)
{
	if (found == wanted)
		return 0;
	if (wanted)
		return pn_fail(ENXIO,
			"%s is behind an IOMMU (group %d): use another backend than noiommu",
			info->address, info->iommu_group);
	return pn_fail(ENXIO,
		"%s is in VFIO's no-IOMMU mode (group %d), where nothing keeps its DMA within the "
		"mapped memory: turn the IOMMU on (intel_iommu=on on the kernel's command line; "
		"VT-d or AMD-Vi in the firmware) and reboot, or, as root, name the backend noiommu",
		info->address, info->iommu_group);
}

/* The group first: without an IOMMU, binding to vfio-pci fails, and would mend nothing. */
int pn_pci_check(const char *sysfs, const struct pn_pci_info *info, bool noiommu)
{
	int err;

	/* vfio_pci_core_register_device() takes header type 0 only. */
	if (is_bridge(info))
		return pn_fail(ENXIO,
			"%s (%04x:%04x, driver %s) is a bridge, which VFIO does not "
			"hand out; name a function behind it",
			info->address, info->vendor, info->device,
			info->driver[0] ? info->driver : "none");
	if (info->iommu_group < 0)
		return fail_no_group(sysfs, info->address);
	err = check_noiommu(info, noiommu, pn_pci_group_is_noiommu(sysfs, info->iommu_group));
	if (err)
		return err;
	if (!info->driver[0])
		return fail_unbound(info);
	if (!pn_pci_driver_is_vfio(info->driver))
		return fail_other_driver(sysfs, info);
	return 0;
}
