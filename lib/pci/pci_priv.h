/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of the PCI layer: what an open device holds, and what its files share. Functions that
 * read sysfs take its root, so that tests can show them a machine of their own.
 */
#ifndef PN_PCI_PRIV_H
#define PN_PCI_PRIV_H

#include <linux/vfio.h>

#include "pn_pci.h"

#define PN_SYSFS_ROOT "/sys"

#define PN_PCI_BARS 6
/* PCI Local Bus 3.0, 6.8.2.3: the table size field of MSI-X has 11 bits. */
#define PN_PCI_VECTORS_MAX 2048

/* A BAR that has been mapped; addr is NULL until then. */
struct pn_pci_bar_mapping {
	void *addr;
	uint64_t len;  /* of the mapping: size rounded up to pages */
	uint64_t size; /* of the BAR */
};

struct pn_pci_device {
	struct pn_pci_info info;
	struct pn_domain *domain;
	int fd; /* VFIO device; belongs to the domain */
	bool can_reset;
	uint32_t region_count;
	uint32_t irq_index_count;
	uint64_t config_offset; /* of configuration space in fd */
	uint32_t config_size;
	struct pn_pci_bar_mapping bars[PN_PCI_BARS];
	enum pn_irq_type irq_type;  /* of the eventfds */
	unsigned int eventfd_count; /* 0: no interrupt is enabled */
	int *eventfds;
	int removal_fd; /* eventfd; -1: not armed */
	/* 1 for the device, and 1 for each region of its BARs; malloc'ed with the first region,
	 * changed atomically, freed by the last holder. */
	unsigned int *bar_holders;
};

/* scan.c, find.c, device.c: the public functions with a sysfs of the caller's choice. */
int pn_pci_scan_at(const char *sysfs, struct pn_pci_info **list, size_t *count);
int pn_pci_find_at(const char *sysfs, const char *spec, struct pn_pci_info *info);
int pn_pci_open_at(const char *sysfs, struct pn_pci_device **out, const char *spec,
	struct pn_domain *domain, int fd, const uint8_t *vf_token);
int pn_pci_takeover_at(const char *sysfs, struct pn_pci_device **out, const char *address,
	struct pn_domain *domain);

/*
 * sysfs.c
 */

/*
 * Fill in what sysfs says of info->address: driver, IOMMU group, NUMA node, VFIO's nodes,
 * interfaces.
 * 0; -ENODEV if the function is gone (no error text).
 */
int pn_pci_sysfs_fill(const char *sysfs, struct pn_pci_info *info);

/* Is this the name of a driver that hands functions out through VFIO? */
bool pn_pci_driver_is_vfio(const char *driver);

/* Did VFIO make this group for a device without IOMMU (no-IOMMU mode)? */
bool pn_pci_group_is_noiommu(const char *sysfs, int group);

/*
 * The interfaces of a function that are up (IFF_UP), as "eth0,eth1"; "" if none. A name that does
 * not fit is left out.
 */
void pn_pci_interfaces_up(const char *sysfs, const char *address, char *names, size_t size);

/* A number that orders addresses as the buses do; 0 to 2^36. UINT64_MAX if it is no address. */
uint64_t pn_pci_address_key(const char *address);

/*
 * find.c
 */

/* What a spec asks for. */
struct pn_pci_spec {
	bool by_id; /* vendor and device; else key */
	uint16_t vendor, device;
	uint64_t key; /* see pn_pci_address_key() */
};

int pn_pci_spec_parse(const char *text, struct pn_pci_spec *spec);
/* Choose from a list in order of address. Errors as pn_pci_find(). */
int pn_pci_spec_match(const struct pn_pci_spec *spec, const struct pn_pci_info *list, size_t count,
	struct pn_pci_info *info);

/* check.c: 0 if the function can be opened through VFIO as it stands, with (or without) an IOMMU;
 * else the reason and what mends it. */
int pn_pci_check(const char *sysfs, const struct pn_pci_info *info, bool noiommu);

/*
 * region.c
 */

/* One region of a VFIO device, as VFIO_DEVICE_GET_REGION_INFO tells it. */
struct pn_pci_region {
	uint32_t flags; /* VFIO_REGION_INFO_FLAG_* */
	uint64_t size;  /* 0: there is none */
	uint64_t offset;
	bool msix_mappable;
	bool sparse; /* only the areas may be mapped */
	uint32_t area_count;
	struct vfio_region_sparse_mmap_area *areas;
};

/* A region beyond the device's last has size 0. The caller frees with pn_pci_region_free(). */
int pn_pci_region_get(struct pn_pci_device *dev, uint32_t index, struct pn_pci_region *region);
void pn_pci_region_free(struct pn_pci_region *region);

/*
 * Read the size bytes of a vfio_region_info and the capabilities behind it. Needs no device:
 * nothing in the buffer is trusted.
 */
int pn_pci_region_parse(const void *buf, size_t size, struct pn_pci_region *region);

/*
 * config.c
 */

/* Learn where configuration space is. */
int pn_pci_config_init(struct pn_pci_device *dev);
/* Set and clear bits of the command register, and see that they stick. */
int pn_pci_command(struct pn_pci_device *dev, uint16_t set, uint16_t clear);
/* Offset of a capability (PCI_CAP_ID_*). 0; -ENOENT if the device has none (no error text). */
int pn_pci_capability(struct pn_pci_device *dev, uint8_t id, uint8_t *offset);

/*
 * bar.c, bar_region.c, removal.c
 */

void pn_pci_bars_unmap(struct pn_pci_device *dev);

/*
 * How far a BAR may be mapped without a gap from at on: the first offset that may not, at itself if
 * it is one. 0 or a negative errno.
 */
int pn_pci_bar_reach(struct pn_pci_device *dev, unsigned int bar,
	const struct pn_pci_region *region, uint64_t at, uint64_t *reach);

/* The device is to be closed: its BARs' regions are on their own. */
void pn_pci_bar_regions_leave(struct pn_pci_device *dev);

/* Nobody waits for a request to give the device back any more. 0 or a negative errno. */
int pn_pci_removal_disarm(struct pn_pci_device *dev);

/* irq.c: an earlier program may have left interrupts enabled: turn them off. */
int pn_pci_irq_forget(struct pn_pci_device *dev);

#endif
