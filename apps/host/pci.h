/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PCI functions as sysfs shows them: which there are, their drivers, their IOMMU groups, and what
 * the kernel made below them.
 */
#ifndef HOST_PCI_H
#define HOST_PCI_H

#include "host.h"
#include "pn_pci.h"

#define HOST_DRIVER_MAX   32
#define HOST_OVERRIDE_MAX 64

struct host_pci {
	char address[PN_PCI_ADDRESS_MAX];
	unsigned int vendor, device;
	unsigned int class_code;           /* 24 bits */
	char driver[HOST_DRIVER_MAX];      /* "": none */
	char override[HOST_OVERRIDE_MAX];  /* "": none */
	int group;                         /* -1: none */
	bool noiommu;                      /* a group that VFIO made, without an IOMMU */
	bool boot_vga;                     /* the screen that the machine started on */
	int vf_count, vf_total;            /* -1: has no virtual functions */
	char physical[PN_PCI_ADDRESS_MAX]; /* of a virtual function: whose; else "" */
	char cdev[24];                     /* "vfio0"; "" */
};

/* All of them, in order of address; the caller frees the list. */
int host_pci_list(struct host *host, struct host_pci **list, size_t *count);
/* One, by its whole address. -ENODEV without a reason if there is none. */
int host_pci_read(struct host *host, const char *address, struct host_pci *pci);
/*
 * What a user writes: "0000:00:02.0", "00:02.0", "8086:10d3" (of which there must be one), "eth0".
 * 0; -EINVAL, -ENODEV, -ENOTUNIQ with the reason.
 */
int host_pci_find(struct host *host, const char *spec, struct host_pci *pci);
/* Those of an IOMMU group, in order of address; the caller frees the list. */
int host_pci_group(struct host *host, int group, struct host_pci **list, size_t *count);

bool host_pci_is_address(const char *text);
/* A bridge that VFIO does not hand out (PCI, host, CardBus); other bridges (ISA) are devices. */
bool host_pci_is_bridge(const struct host_pci *pci);
bool host_driver_is_vfio(const char *driver);
/* A driver that lets the rest of its group be given away: vfio's, and those that do no DMA. */
bool host_driver_is_harmless(const char *driver);
/* "Ethernet controller", by class; "device" where nothing is known. */
const char *host_pci_kind(const struct host_pci *pci);

/* What the kernel made below a function: disks, interfaces, terminals, other device nodes. */
struct host_child {
	char name[64];
	char subsystem[24];
	bool block;
	bool is_net;
	unsigned int major, minor; /* of its node; 0, 0: an interface */
};

struct host_children {
	struct host_child *items;
	size_t count;
};

/* Everything below it except what belongs to another PCI function. The caller frees with
 * host_children_free(). 0 or -ENOMEM. */
int host_children_read(struct host *host, const char *address, struct host_children *children);
void host_children_free(struct host_children *children);
/* Is a device of another bus (virtio3, a USB port) below this function? */
bool host_pci_is_above(struct host *host, const char *address, const char *bus, const char *device);

#endif
