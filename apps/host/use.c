/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What speaks against taking a PCI function from its driver: the rules that are neither about disks
 * nor about the network, and the list that all of them write.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "holders.h"
#include "use.h"

int host_use_add(struct host_uses *uses, const char *address, const char *rule,
	enum host_weight weight, const char *fmt, ...)
{
	struct host_use *use;
	va_list args;

	use = host_grow(uses->items, &uses->count, sizeof(*use));
	if (!use)
		return -ENOMEM;
	uses->items = use;
	use += uses->count - 1;
	snprintf(use->address, sizeof(use->address), "%s", address);
	use->rule = rule;
	use->weight = weight;
	va_start(args, fmt);
	vsnprintf(use->text, sizeof(use->text), fmt, args);
	va_end(args);
	return 0;
}

const char *host_word(const char *name, char word[HOST_WORD_MAX])
{
	static const char plain[] = "0123456789abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ_-./:@%+,=";
	size_t used = 0;

	if (*name && !name[strspn(name, plain)]) {
		snprintf(word, HOST_WORD_MAX, "%s", name);
		return word;
	}
	word[used++] = '\'';
	/* Room for a quote of four bytes, and for the end. */
	for (; *name && used < HOST_WORD_MAX - 6; name++) {
		if (*name == '\'') {
			memcpy(word + used, "'\\''", 4);
			used += 4;
		} else {
			word[used++] = *name;
		}
	}
	word[used++] = '\'';
	word[used] = '\0';
	return word;
}

void host_uses_free(struct host_uses *uses)
{
	free(uses->items);
	memset(uses, 0, sizeof(*uses));
}

static int add_kind(struct host *host, const struct host_pci *pci, struct host_uses *uses)
{
	int err = 0;

	if (host_pci_is_bridge(pci))
		return host_use_add(uses, pci->address, "bridge", HOST_USE_NEVER,
			"is a %s, which VFIO does not hand out; name a device behind it",
			host_pci_kind(pci));
	if (pci->group < 0 &&
		!host_exists("%s/module/vfio/parameters/enable_unsafe_noiommu_mode", host->sys))
		return host_use_add(uses, pci->address, "no-iommu", HOST_USE_NEVER,
			"has no IOMMU group: there is no IOMMU, or it is off (VT-d or AMD-Vi in "
			"the firmware, intel_iommu=on on the kernel's command line)");
	if (pci->group < 0) {
		char mode[4] = "";

		host_read(mode, sizeof(mode),
			"%s/module/vfio/parameters/enable_unsafe_noiommu_mode", host->sys);
		if (mode[0] != 'Y' && mode[0] != '1')
			return host_use_add(uses, pci->address, "no-iommu", HOST_USE_NEVER,
				"has no IOMMU group: there is no IOMMU, or it is off (VT-d or "
				"AMD-Vi in the firmware, intel_iommu=on on the kernel's command "
				"line)");
	}
	if (pci->boot_vga)
		err = host_use_add(uses, pci->address, "boot-vga", HOST_USE_FORCE,
			"is the graphics card that the machine started on: its console goes");
	if (!err && pci->vf_count > 0)
		err = host_use_add(uses, pci->address, "virtual-functions", HOST_USE_FORCE,
			"has %d virtual functions, which go with its driver ('pinion vf remove "
			"%s' removes those that pinion made)",
			pci->vf_count, pci->address);
	return err;
}

/* Is this terminal the console that the kernel writes to? */
static bool is_console(struct host *host, const char *name)
{
	char active[256], *saved, *word;

	if (host_read(active, sizeof(active), "%s/class/tty/console/active", host->sys) < 0)
		return false;
	for (word = strtok_r(active, " ", &saved); word; word = strtok_r(NULL, " ", &saved)) {
		if (!strcmp(word, name))
			return true;
	}
	return false;
}

static int add_consoles(struct host *host, const struct host_pci *pci,
	const struct host_children *children, struct host_uses *uses)
{
	int err = 0;

	for (size_t i = 0; i < children->count && !err; i++) {
		if (!strcmp(children->items[i].subsystem, "tty") &&
			is_console(host, children->items[i].name))
			err = host_use_add(uses, pci->address, "console", HOST_USE_FORCE,
				"has the kernel's console %s", children->items[i].name);
	}
	return err;
}

/* A device node of it, of any kind, that a process has open. */
static int add_open(struct host *host, const struct host_pci *pci,
	const struct host_children *children, struct host_uses *uses)
{
	struct host_holders holders;
	struct host_target *targets;
	char who[300];
	int err;

	targets = calloc(children->count + 1, sizeof(*targets));
	if (!targets)
		return host_fail(host, ENOMEM, "no memory to look for open devices");
	for (size_t i = 0; i < children->count; i++) {
		const struct host_child *child = &children->items[i];

		targets[i].type = child->is_net ? S_IFSOCK : child->block ? S_IFBLK : S_IFCHR;
		targets[i].rdev = makedev(child->major, child->minor);
	}
	err = host_holders_find(host, targets, children->count, &holders);
	free(targets);
	if (err)
		return err;
	for (size_t i = 0; i < children->count && !err; i++) {
		host_holders_text(&holders, i, who, sizeof(who));
		if (*who && !children->items[i].is_net)
			err = host_use_add(uses, pci->address, "open", HOST_USE_FORCE,
				"has the %s device %s, open in %s", children->items[i].subsystem,
				children->items[i].name, who);
	}
	host_holders_free(&holders);
	return err;
}

static int add_device(struct host *host, const struct host_pci *pci,
	const struct host_children *children, struct host_uses *uses)
{
	int err;

	err = add_kind(host, pci, uses);
	if (!err)
		err = host_uses_disk(host, pci, children, uses);
	if (!err)
		err = add_consoles(host, pci, children, uses);
	if (!err && children->count)
		err = add_open(host, pci, children, uses);
	return err;
}

int host_uses_find(
	struct host *host, const struct host_pci *list, size_t count, struct host_uses *uses)
{
	struct host_children *children;
	int err = 0;

	memset(uses, 0, sizeof(*uses));
	host->error[0] = '\0';
	children = calloc(count + 1, sizeof(*children));
	if (!children)
		return host_fail(host, ENOMEM, "no memory to look at %zu devices", count);
	for (size_t i = 0; i < count && !err; i++) {
		err = host_children_read(host, list[i].address, &children[i]);
		if (!err)
			err = add_device(host, &list[i], &children[i], uses);
	}
	if (!err)
		err = host_uses_net(host, list, count, children, uses);
	for (size_t i = 0; i < count; i++)
		host_children_free(&children[i]);
	free(children);
	if (!err)
		return 0;
	host_uses_free(uses);
	return host->error[0] ? err : host_fail(host, -err, "%s", strerror(-err));
}
