/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Can the devices be opened by this user: bound to VFIO, in a group that is viable, with nodes that
 * open? They are tried by opening them. Without -a, one that can is enough.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor.h"

#define CLASS_NETWORK 0x02
#define CLASS_BRIDGE  0x06

#define ADDRESS_FORM "0000:00:00.0"

static bool on_vfio(const struct pn_pci_info *dev)
{
	return *dev->group_node != '\0' || *dev->cdev_node != '\0';
}

/* Drivers that do no DMA leave a group viable (drivers/vfio/vfio_main.c, driver_managed_dma). */
static bool harmless(const struct pn_pci_info *dev)
{
	return !*dev->driver || on_vfio(dev) || strcmp(dev->driver, "pci-stub") == 0 ||
	       strcmp(dev->driver, "pcieport") == 0 || strcmp(dev->driver, "shpchp") == 0;
}

/* "00:02.0", "0000:00:02.0", or "8086:10d3", as pn_pci_find() takes them. */
static bool matches(const struct pn_pci_info *dev, const char *spec)
{
	char text[32];

	if (!strchr(spec, '.')) {
		snprintf(text, sizeof(text), "%04x:%04x", dev->vendor, dev->device);
		return strcasecmp(text, spec) == 0;
	}
	if (strchr(spec, ':') == strrchr(spec, ':'))
		snprintf(text, sizeof(text), "0000:%.24s", spec);
	else
		snprintf(text, sizeof(text), "%.31s", spec);
	return strcasecmp(text, dev->address) == 0;
}

static void add_wanted(struct doctor *d, const struct pn_pci_info *dev)
{
	for (unsigned int i = 0; i < d->wanted_count; i++) {
		if (d->wanted[i] == dev)
			return;
	}
	if (d->wanted_count < DOCTOR_DEVICES)
		d->wanted[d->wanted_count++] = dev;
}

static void find_asked(struct doctor *d, const char *spec)
{
	const struct pn_pci_info *found = NULL;
	unsigned int count = 0;

	for (size_t i = 0; i < d->machine.device_count; i++) {
		if (!matches(&d->machine.devices[i], spec))
			continue;
		found = &d->machine.devices[i];
		count++;
	}
	if (count == 1)
		add_wanted(d, found);
	else if (count)
		doctor_add(d, "devices.usable", spec, DOCTOR_BLOCKS,
			"%u devices are that: name one by its address ('pinion devices' lists "
			"them)",
			count);
	else
		doctor_add(d, "devices.usable", spec, DOCTOR_BLOCKS,
			"there is no such PCI device ('pinion devices' lists what there is)");
}

/*
 * The words for a device that cannot be used
 */

static const struct pn_pci_info *in_the_way(const struct doctor *d, const struct pn_pci_info *dev)
{
	for (size_t i = 0; dev->iommu_group >= 0 && i < d->machine.device_count; i++) {
		const struct pn_pci_info *other = &d->machine.devices[i];

		if (other != dev && other->iommu_group == dev->iommu_group && !harmless(other))
			return other;
	}
	return NULL;
}

/* All of a group go together. What is in use 'pinion bind' refuses to take, and says why. */
static void mend_bind(
	struct doctor *d, struct doctor_finding *finding, const struct pn_pci_info *dev)
{
	bool others = !d->no_iommu_wanted && in_the_way(d, dev);

	doctor_mend_root(d, finding, "pinion bind %s%s", dev->address, others ? " --group" : "");
}

static void say_not_bound(struct doctor *d, enum doctor_state state, const struct pn_pci_info *dev)
{
	const struct pn_pci_info *other = d->no_iommu_wanted ? NULL : in_the_way(d, dev);
	char group[80] = "";
	struct doctor_finding *finding;

	if (other)
		snprintf(group, sizeof(group), "; %s is in its group and goes with it",
			other->address);
	if (*dev->driver)
		finding = doctor_add(d, "devices.usable", dev->address, state,
			"bound to the kernel's driver %s%s%s, not to VFIO%s%s", dev->driver,
			*dev->interfaces ? ", which makes it " : "", dev->interfaces,
			*dev->interfaces ? "; that interface goes when it is bound" : "", group);
	else
		finding = doctor_add(d, "devices.usable", dev->address, state,
			"bound to no driver: VFIO must have it%s", group);
	mend_bind(d, finding, dev);
}

static void say_not_viable(struct doctor *d, enum doctor_state state, const struct pn_pci_info *dev,
	const struct pn_pci_info *other)
{
	struct doctor_finding *finding;

	finding = doctor_add(d, "devices.usable", dev->address, state,
		"its group %d is not viable: %s is in it, and the kernel's driver %s%s%s%s has "
		"that; all of a group go to VFIO together",
		dev->iommu_group, other->address, other->driver, *other->interfaces ? " (" : "",
		other->interfaces, *other->interfaces ? ")" : "");
	doctor_number(finding, "group", (uint64_t)dev->iommu_group);
	mend_bind(d, finding, other);
}

/* The user as the host knows it, who must be let open the node. */
static unsigned int outside_uid(const struct doctor *d)
{
	unsigned int inside, outside, count;
	char text[1024], *line, *next;

	if (!d->user_namespace || doctor_read(d, text, sizeof(text), "/proc/self/uid_map") < 0)
		return d->machine.uid;
	for (line = text; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (sscanf(line, "%u %u %u", &inside, &outside, &count) == 3 &&
			d->machine.uid >= inside && d->machine.uid - inside < count)
			return outside + (d->machine.uid - inside);
	}
	return d->machine.uid;
}

/* Who has it open, as far as can be seen: "12 (name)"; "": nobody. */
static void find_user(const struct doctor *d, const char *node, char text[64])
{
	char path[DOCTOR_PATH], link[DOCTOR_PATH + 300], target[64], name[20];
	struct dirent *process, *file;
	DIR *all, *files;
	ssize_t len;

	text[0] = '\0';
	all = doctor_path(d, path, "/proc") ? NULL : opendir(path);
	while (all && !*text && (process = readdir(all))) {
		if (!isdigit((unsigned char)process->d_name[0]) ||
			doctor_path(d, path, "/proc/%.20s/fd", process->d_name))
			continue;
		files = opendir(path);
		while (files && !*text && (file = readdir(files))) {
			snprintf(link, sizeof(link), "%s/%s", path, file->d_name);
			len = readlink(link, target, sizeof(target) - 1);
			if (len < 0)
				continue;
			target[len] = '\0';
			if (strcmp(target, node) != 0)
				continue;
			doctor_read(d, name, sizeof(name), "/proc/%.20s/comm", process->d_name);
			snprintf(text, 64, "%.20s (%.16s)", process->d_name, name);
		}
		if (files)
			closedir(files);
	}
	if (all)
		closedir(all);
}

static void say_busy(
	struct doctor *d, enum doctor_state state, const struct pn_pci_info *dev, const char *node)
{
	char who[64];

	find_user(d, node, who);
	if (!*who && *dev->cdev_node)
		find_user(d, dev->cdev_node, who);
	doctor_add(d, "devices.usable", dev->address, state, "%s is in use%s%s", node,
		*who ? " by process " : "; by whom cannot be seen", who);
}

static void say_closed(struct doctor *d, enum doctor_state state, const struct pn_pci_info *dev,
	const char *node, int err)
{
	struct doctor_finding *finding;
	struct stat st;

	if (err == EBUSY) {
		say_busy(d, state, dev, node);
		return;
	}
	if (err == EACCES && stat(node, &st) == 0) {
		finding = doctor_add(d, "devices.usable", dev->address, state,
			"%s may not be opened by user %s: it belongs to %u:%u, mode %04o", node,
			d->machine.user, st.st_uid, st.st_gid, st.st_mode & 07777u);
		doctor_number(finding, "owner", st.st_uid);
		doctor_number(finding, "mode", st.st_mode & 07777u);
	} else {
		finding = doctor_add(d, "devices.usable", dev->address, state,
			err == EPERM ? "%s may not be opened (%s): a control group or a filter "
				       "forbids the device"
				     : "%s cannot be opened: %s",
			node, strerror(err));
	}
	if (err == EACCES)
		doctor_mend_root(
			d, finding, "pinion grant %s --user %u", dev->address, outside_uid(d));
	else if (err == EPERM || err == ENOENT)
		doctor_mend_node(d, finding, node);
	if (err == EPERM && !d->container)
		doctor_mend(d, finding, DOCTOR_SETTING, "of a systemd service: DeviceAllow=%s rw",
			node);
}

/* The first that is bound, of those that were asked for. */
static const struct pn_pci_info *first_bound(const struct doctor *d)
{
	for (size_t i = 0; i < d->machine.device_count; i++) {
		const struct pn_pci_info *dev = &d->machine.devices[i];
		bool asked = !d->ask.device_count;

		for (unsigned int j = 0; j < d->ask.device_count; j++)
			asked |= matches(dev, d->ask.devices[j]);
		if (asked && on_vfio(dev))
			return dev;
	}
	return NULL;
}

void doctor_mend_shared(struct doctor *d, struct doctor_finding *finding, const char *node)
{
	const struct pn_pci_info *dev = first_bound(d);

	if (dev)
		doctor_mend_root(
			d, finding, "pinion grant %s --user %u", dev->address, outside_uid(d));
	else
		doctor_mend_root(d, finding, "chmod 0666 %s", node);
}

/*
 * The checks
 */

/* Native iommufd takes the device's own node, the others the group's. */
static const char *node_of(const struct doctor *d, const struct pn_pci_info *dev)
{
	if (d->chosen)
		return strcmp(d->chosen->name, "iommufd") == 0 ? dev->cdev_node : dev->group_node;
	return *dev->group_node ? dev->group_node : dev->cdev_node;
}

static bool try_nodes(struct doctor *d, enum doctor_state state, const struct pn_pci_info *dev)
{
	const char *node = node_of(d, dev);
	bool viable = true, is_group;
	int ret;

	if (!*node) {
		doctor_add(d, "devices.usable", dev->address, state, "it has no node for %s",
			d->chosen ? d->chosen->name : "VFIO");
		return false;
	}
	is_group = strcmp(node, dev->group_node) == 0;
	ret = is_group ? d->machine.open_group(node, &viable) : d->machine.open_node(node);
	if (ret) {
		say_closed(d, state, dev, node, -ret);
		return false;
	}
	if (!viable && !d->no_iommu_wanted) {
		doctor_add(d, "devices.usable", dev->address, state,
			"the kernel says that its group %d is not viable; who is in the way cannot "
			"be seen",
			dev->iommu_group);
		return false;
	}
	/* A device that is open by its own node closes its group's; one can be asked, and by that
	 * no other is kept from it. */
	if (!is_group && *dev->group_node &&
		d->machine.open_group(dev->group_node, &viable) == -EBUSY) {
		say_busy(d, state, dev, dev->group_node);
		return false;
	}
	return true;
}

static bool check_one(struct doctor *d, enum doctor_state state, const struct pn_pci_info *dev)
{
	const struct pn_pci_info *other;
	struct doctor_finding *finding;

	if (dev->class_code >> 16 == CLASS_BRIDGE) {
		doctor_add(
			d, "devices.usable", dev->address, state, "a bridge: the kernel keeps it");
		return false;
	}
	if (!on_vfio(dev)) {
		say_not_bound(d, state, dev);
		return false;
	}
	if (dev->iommu_group < 0 && !d->no_iommu_wanted) {
		doctor_add(d, "devices.usable", dev->address, state,
			"it has no IOMMU group: without an IOMMU it can be used by noiommu only");
		return false;
	}
	other = d->no_iommu_wanted ? NULL : in_the_way(d, dev);
	if (other) {
		say_not_viable(d, state, dev, other);
		return false;
	}
	if (!try_nodes(d, state, dev))
		return false;
	finding = doctor_add(d, "devices.usable", dev->address, DOCTOR_OK, "%s%s%s opens%s",
		dev->device_name, *dev->device_name ? "; " : "", node_of(d, dev),
		d->no_iommu_wanted ? "" : ", its group is viable");
	doctor_number(finding, "group", (uint64_t)(int64_t)dev->iommu_group);
	return true;
}

static void say_none_bound(struct doctor *d)
{
	const struct pn_pci_info *candidate = NULL;
	struct doctor_finding *finding;
	unsigned int cards = 0;

	for (size_t i = 0; i < d->machine.device_count; i++) {
		if (d->machine.devices[i].class_code >> 16 != CLASS_NETWORK)
			continue;
		cards++;
		candidate = &d->machine.devices[i];
	}
	finding = doctor_add(d, "devices.usable", "", DOCTOR_BLOCKS,
		"no device is bound to VFIO; there %s %u network card%s in the kernel's hands",
		cards == 1 ? "is" : "are", cards, cards == 1 ? "" : "s");
	/* Which of several is to be given away only their owner knows. */
	if (cards == 1 && !*candidate->interfaces)
		mend_bind(d, finding, candidate);
	else if (cards)
		doctor_mend(d, finding, DOCTOR_SETTING,
			"choose one ('pinion devices'); 'pinion doctor -a ADDRESS' says how it is "
			"bound");
}

static void say_no_bus(struct doctor *d)
{
	struct doctor_finding *finding;

	finding = doctor_add(d, "devices.usable", "", DOCTOR_BLOCKS, "%s", d->machine.device_error);
	if (doctor_exists(d, "/sys/bus/pci/devices"))
		return;
	if (d->container == DOCTOR_IN_BWRAP)
		doctor_mend(d, finding, DOCTOR_BWRAP, "--ro-bind /sys /sys");
	else if (d->container)
		doctor_mend(d, finding, DOCTOR_OCI,
			"mounts: {\"destination\": \"/sys\", \"type\": \"sysfs\", \"source\": "
			"\"sysfs\", \"options\": [\"ro\"]}");
	else
		doctor_mend_root(d, finding, "mount -t sysfs sysfs /sys");
}

static void check_wanted(struct doctor *d)
{
	bool named = d->ask.device_count != 0;
	enum doctor_state state = named ? DOCTOR_BLOCKS : DOCTOR_HURTS;
	unsigned int usable = 0;

	for (unsigned int i = 0; i < d->wanted_count; i++)
		usable += check_one(d, state, d->wanted[i]);
	/* What none of them can do is in the way after all. */
	for (size_t i = 0; !usable && !named && i < d->finding_count; i++) {
		if (strcmp(d->findings[i].id, "devices.usable") == 0)
			d->findings[i].state = DOCTOR_BLOCKS;
	}
}

void doctor_check_devices(struct doctor *d)
{
	const bool none = d->chosen && strcmp(d->chosen->name, "none") == 0;

	d->node = PN_NODE_ANY;
	if (*d->machine.device_error) {
		say_no_bus(d);
		return;
	}
	for (unsigned int i = 0; i < d->ask.device_count; i++)
		find_asked(d, d->ask.devices[i]);
	for (size_t i = 0; !d->ask.device_count && i < d->machine.device_count; i++) {
		if (on_vfio(&d->machine.devices[i]))
			add_wanted(d, &d->machine.devices[i]);
	}
	if (d->wanted_count)
		d->node = d->wanted[0]->numa_node;
	if (none)
		doctor_add(d, "devices.usable", "", DOCTOR_OK,
			"none is needed by what was asked for (--dma %s)", d->ask.backend);
	else if (!d->wanted_count && !d->ask.device_count)
		say_none_bound(d);
	else
		check_wanted(d);
}
