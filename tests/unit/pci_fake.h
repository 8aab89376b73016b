/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A machine for the tests of lib/pci: functions that libpciaccess enumerates (its functions are
 * wrapped by the linker), and a sysfs tree in a temporary folder.
 */
#ifndef PCI_FAKE_H
#define PCI_FAKE_H

#include <pciaccess.h>
#include <stdbool.h>
#include <stddef.h>

/* Wraps that a program with pci_fake.c needs: pci_system_init, pci_system_cleanup,
 * pci_slot_match_iterator_create, pci_device_next, pci_iterator_destroy,
 * pci_device_get_vendor_name, pci_device_get_device_name. */
struct fake_machine {
	char sysfs[64];
	struct pci_device functions[16];
	size_t count;
	const char *vendor_name, *device_name;
	bool initialised;   /* libpciaccess, by whomever */
	int inits;          /* calls of pci_system_init() */
	int failing_inits;  /* how many of the next calls fail */
	int cleanups;       /* calls of pci_system_cleanup() while initialised */
	int open_iterators; /* not destroyed */
};

extern struct fake_machine fake;

/* An empty machine; and away with it. For cmocka's setup and teardown. */
int fake_setup(void **state);
int fake_teardown(void **state);

/* Add a function, "0000:00:02.0", to libpciaccess's enumeration only. */
struct pci_device *fake_enumerate(const char *address, unsigned int vendor, unsigned int device);

/* Add a function to both. driver NULL: unbound. group -1: none. */
struct pci_device *fake_function(const char *address, unsigned int vendor, unsigned int device,
	const char *driver, int group);

/* A file, with its folders, below the tree's root. */
void fake_file(const char *path, const char *text);
void fake_link(const char *path, const char *target);

/* A network interface that the driver of a function made; below: "" or "virtio0/". */
void fake_interface(const char *address, const char *below, const char *name, bool up);

#endif
