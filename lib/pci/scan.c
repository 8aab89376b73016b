/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Enumeration of PCI functions and their names through libpciaccess; what changes while a machine
 * runs (driver, group, interfaces) comes from sysfs.
 */
#include <errno.h>
#include <inttypes.h>
#include <pciaccess.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "pci_priv.h"

/* A function that goes away while libpciaccess reads it fails the whole enumeration: try again. */
#define SCAN_TRIES 3

/*
 * The one lock of a foreign library's state: libpciaccess keeps the enumeration and the names in
 * globals, without a lock. It serialises Pinion's own use; an application that uses libpciaccess as
 * well must not do so while it scans (pn_pci.h says that).
 */
static pthread_mutex_t pciaccess_lock = PTHREAD_MUTEX_INITIALIZER;

struct list {
	struct pn_pci_info *items;
	size_t count, room;
};

static int list_append(struct list *list, const struct pn_pci_info *info)
{
	size_t room = list->room ? 2 * list->room : 32;
	struct pn_pci_info *items;

	if (list->count == list->room) {
		items = reallocarray(list->items, room, sizeof(*items));
		if (!items)
			return pn_fail(ENOMEM, "no memory for a list of %zu PCI functions", room);
		list->items = items;
		list->room = room;
	}
	list->items[list->count++] = *info;
	return 0;
}

/* Cut what does not fit: a name is for reading. */
static void copy_name(char *to, size_t size, const char *name)
{
	to[0] = '\0';
	strncat(to, name ? name : "", size - 1);
}

static void describe(struct pci_device *dev, struct pn_pci_info *info)
{
	memset(info, 0, sizeof(*info));
	snprintf(info->address, sizeof(info->address), "%04" PRIx32 ":%02x:%02x.%x",
		dev->domain & 0xfffff, dev->bus, dev->dev & 0x1fU, dev->func & 7U);
	info->vendor = dev->vendor_id;
	info->device = dev->device_id;
	info->subvendor = dev->subvendor_id;
	info->subdevice = dev->subdevice_id;
	info->class_code = dev->device_class & 0xffffff;
	copy_name(info->vendor_name, sizeof(info->vendor_name), pci_device_get_vendor_name(dev));
	copy_name(info->device_name, sizeof(info->device_name), pci_device_get_device_name(dev));
}

static int collect(struct pci_device_iterator *iter, struct list *list)
{
	struct pn_pci_info info;
	struct pci_device *dev;
	int err = 0;

	while (!err && (dev = pci_device_next(iter))) {
		describe(dev, &info);
		err = list_append(list, &info);
	}
	return err;
}

static int system_init(void)
{
	int err = 0;

	for (int i = 0; i < SCAN_TRIES; i++) {
		err = pci_system_init();
		if (!err)
			return 0;
		/* A failed init leaves the global set, with nothing behind it. */
		pci_system_cleanup();
	}
	return pn_fail(err,
		"libpciaccess cannot enumerate PCI devices: %s; check that /sys is "
		"mounted: ls /sys/bus/pci/devices",
		strerror(err));
}

/*
 * An iterator exists only while libpciaccess is initialised, which tells whether the application
 * did so itself. If it did, its enumeration is used as it is: initialising again would leak it, and
 * pci_system_cleanup() would free devices that the application holds. If not, libpciaccess is left
 * as it was found, which also makes the next scan see what was plugged in between.
 */
static int scan_locked(struct list *list)
{
	struct pci_device_iterator *iter;
	bool ours = false;
	int err;

	iter = pci_slot_match_iterator_create(NULL);
	if (!iter) {
		err = system_init();
		if (err)
			return err;
		ours = true;
		iter = pci_slot_match_iterator_create(NULL);
	}
	err = iter ? collect(iter, list) : pn_fail(ENOMEM, "no memory to enumerate PCI devices");
	pci_iterator_destroy(iter);
	if (ours)
		pci_system_cleanup();
	return err;
}

static int by_address(const void *a, const void *b)
{
	uint64_t left = pn_pci_address_key(((const struct pn_pci_info *)a)->address);
	uint64_t right = pn_pci_address_key(((const struct pn_pci_info *)b)->address);

	return left < right ? -1 : left > right;
}

/* A function that is not in sysfs any more has been unplugged since the enumeration. */
static void fill_and_drop_gone(const char *sysfs, struct list *list)
{
	size_t kept = 0;

	for (size_t i = 0; i < list->count; i++) {
		if (pn_pci_sysfs_fill(sysfs, &list->items[i]) < 0)
			continue;
		if (kept != i)
			list->items[kept] = list->items[i];
		kept++;
	}
	list->count = kept;
}

int pn_pci_scan_at(const char *sysfs, struct pn_pci_info **items, size_t *count)
{
	struct list list = {0};
	int err;

	pthread_mutex_lock(&pciaccess_lock);
	err = scan_locked(&list);
	pthread_mutex_unlock(&pciaccess_lock);
	if (err) {
		free(list.items);
		return err;
	}
	fill_and_drop_gone(sysfs, &list);
	if (list.count)
		qsort(list.items, list.count, sizeof(*list.items), by_address);
	*items = list.items;
	*count = list.count;
	return 0;
}

int pn_pci_scan(struct pn_pci_info **list, size_t *count)
{
	if (!list || !count)
		return pn_fail(EINVAL, "pn_pci_scan: list and count must not be NULL");
	return pn_pci_scan_at(PN_SYSFS_ROOT, list, count);
}
