/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of the DMA layer: what a backend is, and how lib/pci attaches a device to a domain.
 * Adding a backend: one file under backends/, named in backends/table.c and in meson.build.
 */
#ifndef PN_DMA_PRIV_H
#define PN_DMA_PRIV_H

#include "pn_dma.h"

/* A device as the DMA layer needs it. */
struct pn_dma_device {
	char address[16]; /* "0000:00:02.0" */
	int group;        /* IOMMU group */
};

/*
 * Attach a device: its group joins the backend's container, it is opened, and queued mappings are
 * made. On failure nothing has changed and the reason is set; should the roll-back itself fail, the
 * domain is damaged and the reason says so. The fd belongs to the domain until pn_domain_detach().
 */
int pn_domain_attach(struct pn_domain *domain, const struct pn_dma_device *device, int *device_fd);

/*
 * Detach a device that was attached; closes its fd. When it is the last one the kernel's mappings
 * go, the index keeps them queued.
 */
void pn_domain_detach(struct pn_domain *domain, int device_fd);

/* What the kernel says once a device is attached. */
struct pn_backend_limits {
	uint64_t page_sizes;
	uint64_t entries_left; /* UINT64_MAX: no limit */
	unsigned int range_count;
	struct pn_iova_range *ranges; /* malloc'ed, sorted, disjoint; the caller frees */
};

/*
 * One way to fill a domain. All functions are required, return 0 or a negative errno with the
 * reason set by pn_fail(), and are called with the domain's lock held. ctx is what open() made.
 */
struct pn_backend {
	const char *name;
	const char *summary;
	/*
	 * Could a domain be made here, now, by this process? Opens and closes what it must. node:
	 * the file asked for, or NULL; found[]: the file that would be opened.
	 */
	int (*probe)(const char *node, char *found, size_t found_size);
	int (*open)(void **ctx, const char *node);
	void (*close)(void *ctx);
	/* Take the device's group in and open the device. */
	int (*attach)(void *ctx, const struct pn_dma_device *device, int *device_fd);
	/*
	 * Close the device, always; when this was the last one, the kernel holds no mapping
	 * afterwards. A negative errno: it may hold some.
	 */
	int (*detach)(void *ctx, int device_fd);
	/*
	 * Only while a device is attached. A failed map leaves nothing behind. These two return the
	 * kernel's errno only; the domain knows what was asked and finds the words.
	 */
	int (*map)(void *ctx, uint64_t iova, uint64_t vaddr, uint64_t len, unsigned int prot);
	/* Exactly one earlier map. */
	int (*unmap)(void *ctx, uint64_t iova, uint64_t len);
	int (*limits)(void *ctx, struct pn_backend_limits *limits);
	/* How a map made now is charged. */
	void (*charge)(void *ctx, struct pn_charge_rule *rule);
};

/* backends/table.c: in the order in which "auto" tries them; ends with NULL. */
extern const struct pn_backend *const pn_backends[];

#endif
