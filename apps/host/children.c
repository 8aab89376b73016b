/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel made below a PCI function: the folders of sysfs below it that have a device
 * number, or are network interfaces.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "net.h"
#include "pci.h"

/* sysfs is not so deep: a disk behind a USB hub has some 20. */
#define DEPTH_MAX 40

static int add(struct host_children *children, const char *name, const char *subsystem)
{
	struct host_child *grown;

	grown = host_grow(children->items, &children->count, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	children->items = grown;
	grown += children->count - 1;
	/* Names of disks and interfaces are short (DISK_NAME_LEN, IFNAMSIZ). */
	snprintf(grown->name, sizeof(grown->name), "%.*s", (int)sizeof(grown->name) - 1, name);
	snprintf(grown->subsystem, sizeof(grown->subsystem), "%s", subsystem);
	grown->block = !strcmp(subsystem, "block");
	grown->is_net = !strcmp(subsystem, "net");
	return 0;
}

/* The folder itself: is it a device with a node, or an interface? */
static int take(struct host_children *children, const char *path, const char *name)
{
	unsigned int major, minor;
	char subsystem[24], text[32];

	if (host_read_link(subsystem, sizeof(subsystem), "%s/subsystem", path))
		return 0;
	if (!strcmp(subsystem, "net"))
		return add(children, name, subsystem);
	if (host_read(text, sizeof(text), "%s/dev", path) < 0 ||
		sscanf(text, "%u:%u", &major, &minor) != 2)
		return 0;
	if (add(children, name, subsystem))
		return -ENOMEM;
	children->items[children->count - 1].major = major;
	children->items[children->count - 1].minor = minor;
	return 0;
}

static int walk(struct host_children *children, const char *path, unsigned int depth)
{
	char below[PATH_MAX];
	struct dirent *entry;
	struct stat st;
	DIR *dir;
	int err = 0;

	dir = depth < DEPTH_MAX ? opendir(path) : NULL;
	if (!dir)
		return 0;
	while (!err && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || host_pci_is_address(entry->d_name))
			continue;
		if (snprintf(below, sizeof(below), "%s/%s", path, entry->d_name) >=
			(int)sizeof(below))
			continue;
		/* No links: they lead out of the device. */
		if (lstat(below, &st) || !S_ISDIR(st.st_mode))
			continue;
		err = take(children, below, entry->d_name);
		if (!err)
			err = walk(children, below, depth + 1);
	}
	closedir(dir);
	return err;
}

/*
 * With native multipath a namespace of NVMe is not below its controller but below the subsystem,
 * which links to its controllers.
 */
static int add_nvme_heads(struct host *host, struct host_children *children, const char *controller)
{
	char path[PATH_MAX], subsystem[PATH_MAX];
	struct dirent *entry;
	DIR *dir;
	int err = 0;

	snprintf(path, sizeof(path), "%s/class/nvme-subsystem", host->sys);
	dir = opendir(path);
	while (dir && !err && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		if (!host_exists("%s/%s/%s", path, entry->d_name, controller))
			continue;
		if (snprintf(subsystem, sizeof(subsystem), "%s/%s", path, entry->d_name) <
			(int)sizeof(subsystem))
			err = walk(children, subsystem, 0);
	}
	if (dir)
		closedir(dir);
	return err;
}

int host_children_read(struct host *host, const char *address, struct host_children *children)
{
	char path[PATH_MAX], name[64];
	size_t own;
	int err;

	memset(children, 0, sizeof(*children));
	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s", host->sys, address);
	err = walk(children, path, 0);
	own = children->count;
	for (size_t i = 0; i < own && !err; i++) {
		if (strcmp(children->items[i].subsystem, "nvme"))
			continue;
		/* Through a copy: the list moves as it grows. */
		memcpy(name, children->items[i].name, sizeof(name));
		err = add_nvme_heads(host, children, name);
	}
	if (err) {
		host_children_free(children);
		return host_fail(host, ENOMEM, "no memory to list what is below %s", address);
	}
	return 0;
}

void host_children_free(struct host_children *children)
{
	free(children->items);
	memset(children, 0, sizeof(*children));
}

bool host_pci_is_above(struct host *host, const char *address, const char *bus, const char *device)
{
	char path[PATH_MAX], link[PATH_MAX], *above, *below;
	size_t len;
	bool is;

	if (!strcmp(bus, "pci"))
		return !strcmp(device, address);
	if (snprintf(path, sizeof(path), "%s/bus/pci/devices/%s", host->sys, address) >=
			(int)sizeof(path) ||
		snprintf(link, sizeof(link), "%s/bus/%s/devices/%s", host->sys, bus, device) >=
			(int)sizeof(link))
		return false;
	above = realpath(path, NULL);
	below = realpath(link, NULL);
	len = above ? strlen(above) : 0;
	is = above && below && !strncmp(below, above, len) && below[len] == '/';
	/* Not that of another function behind this one. */
	for (char *part = is ? below + len : NULL; part && is; part = strchr(part + 1, '/')) {
		size_t size = strcspn(part + 1, "/");
		char name[PN_PCI_ADDRESS_MAX] = "";

		if (size < sizeof(name))
			memcpy(name, part + 1, size);
		is = !host_pci_is_address(name);
	}
	free(above);
	free(below);
	return is;
}
