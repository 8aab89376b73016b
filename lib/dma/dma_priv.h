/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of the DMA layer: what a backend is, and how lib/pci attaches a device to a domain.
 * Adding a backend: one file under backends/, named in backends/table.c and in meson.build;
 * doc/writing-a-backend.md.
 */
#ifndef PN_DMA_PRIV_H
#define PN_DMA_PRIV_H

#include <jansson.h>

#include "pn_dma.h"

/* A device as the DMA layer needs it. */
struct pn_dma_device {
	char address[16]; /* "0000:00:02.0" */
	int group;        /* IOMMU group, -1: none */
	char cdev[40];    /* "/dev/vfio/devices/vfio3", "": none */
	bool noiommu;     /* in VFIO's no-IOMMU mode */
	/* A file handed in: the device's cdev (iommufd) or its group's node (the others), instead
	 * of opening one. It stays the caller's. */
	bool use_fd;
	int fd;
	/* A UUID that VFIO asks for: of a VF whose PF is on vfio-pci, or of such a PF. */
	bool use_vf_token;
	uint8_t vf_token[16];
	/* The cdev handed in is bound to the domain's iommufd, which is handed in too; its id
	 * there. */
	bool bound;
	uint32_t bound_id;
};

/*
 * The domain has a file for a device (address, fd, bound, bound_id) before it is attached:
 * attaching it without a file takes that one. 0 (the file is the domain's then, and closed with
 * it); -EEXIST, -ENOMEM.
 */
int pn_domain_give(struct pn_domain *domain, const struct pn_dma_device *device);

/*
 * Attach a device: it is opened, and queued mappings are made. On failure nothing has changed and
 * the reason is set; should the roll-back itself fail, the domain is damaged and the reason says
 * so. The fd belongs to the domain until pn_domain_detach().
 */
int pn_domain_attach(struct pn_domain *domain, const struct pn_dma_device *device, int *device_fd);

/*
 * Detach a device that was attached; closes its fd. When it is the last one the kernel's mappings
 * go, the index keeps them queued.
 */
void pn_domain_detach(struct pn_domain *domain, int device_fd);

/*
 * The attached device sends so many bits of an IOVA only, 12 to 64; the domain's valid ranges
 * follow. 0; -ERANGE if something is mapped above, -EINVAL. Nothing changes on failure.
 */
int pn_domain_device_bits(struct pn_domain *domain, int device_fd, unsigned int bits);

/* Does the domain belong to this process, or to the one that forked it? */
bool pn_domain_is_mine(const struct pn_domain *domain);

/* Does the domain's backend drive devices of VFIO's no-IOMMU mode (and no others)? */
bool pn_domain_noiommu(const struct pn_domain *domain);

/* The fd of a device that came with pn_domain_takeover(), once; -ENOENT, -EBUSY. */
int pn_domain_device_fd(struct pn_domain *domain, const char *address);

/* What the kernel says once a device is attached. */
struct pn_backend_limits {
	uint64_t page_sizes;
	uint64_t entries_left; /* UINT64_MAX: no limit */
	unsigned int range_count;
	struct pn_iova_range *ranges; /* malloc'ed, sorted, disjoint; the caller frees */
};

/* What is wanted when a backend is opened; see struct pn_domain_opts. */
struct pn_backend_request {
	const char *node; /* NULL: the usual one */
	bool use_fd;
	int fd;
	enum pn_accounting accounting;
	bool dirty_tracking;
	void *beside; /* context of an open domain with the same backend, or NULL */
};

/* A mapping to be made. */
struct pn_backend_map {
	uint64_t iova, vaddr, len;
	unsigned int prot;  /* PN_PROT_* */
	uint64_t page_size; /* of the memory, bytes */
	bool device;        /* a BAR, not memory */
	/* The file behind the memory and where in it vaddr is; -1: none. dmabuf: the file is a
	 * dma-buf of a BAR. */
	int fd;
	uint64_t fd_offset;
	bool dmabuf;
	/* Set by the backend: the kernel charges nothing for it. Cleared by the caller. */
	bool uncharged;
	/* May be set by the backend: what it called, if not map_call. */
	const char *call;
};

/*
 * One way to fill a domain. Functions return 0 or a negative errno with the reason set by
 * pn_fail(), unless they say otherwise, and are called with the domain's lock held. ctx is what
 * open() made. Those marked optional may be NULL.
 */
struct pn_backend {
	const char *name;
	const char *summary;
	/* What map() and unmap() call, for the words of a failure. */
	const char *map_call, *unmap_call;
	/* "auto" must not choose it. */
	bool named_only;
	/* For devices in VFIO's no-IOMMU mode; all others are for those with an IOMMU. */
	bool noiommu;
	/* Mappings are made at once, whether a device is attached or not; limits() works from
	 * open() on. For backends without a kernel's IOMMU behind them. */
	bool live;
	/*
	 * Could a domain be made here, now, by this process? Opens and closes what it must.
	 * found[]: the file that would be opened, "" if one was handed in.
	 */
	int (*probe)(const struct pn_backend_request *request, char *found, size_t found_size);
	/* request->node is what probe() found. */
	int (*open)(void **ctx, const struct pn_backend_request *request);
	void (*close)(void *ctx);
	/*
	 * Open the device and let it see the domain. On failure nothing has changed. Optional with
	 * live: then no PCI device can be attached.
	 */
	int (*attach)(void *ctx, const struct pn_dma_device *device, int *device_fd);
	/* Optional: has an attach or a map failed, or a change of tracking, that could not be
	 * undone? */
	bool (*stuck)(void *ctx);
	/*
	 * Close the device, always; when this was the last one, the kernel holds no mapping
	 * afterwards. A negative errno: it may hold some.
	 */
	int (*detach)(void *ctx, int device_fd);
	/*
	 * Only while a device is attached (or live). A failed map leaves nothing behind, or
	 * stuck() says so. map, copy and unmap return the kernel's errno only; the domain knows
	 * what was asked and finds the words, unless the backend set some and returns -EOPNOTSUPP.
	 */
	int (*map)(void *ctx, struct pn_backend_map *map);
	/* Exactly one earlier map. -EFAULT: it cannot be known whether it is gone. */
	int (*unmap)(void *ctx, uint64_t iova, uint64_t len);
	/*
	 * Optional: map what another context of the same kernel file (request->beside) has at
	 * from_iova, pinned and charged once for both.
	 */
	int (*copy)(void *ctx, void *from, uint64_t from_iova, struct pn_backend_map *map);
	/*
	 * Optional, for a backend whose IOVAs are given: the IOVA that this memory has. Called
	 * before map().
	 */
	int (*place)(void *ctx, const struct pn_backend_map *map, uint64_t *iova);
	int (*limits)(void *ctx, struct pn_backend_limits *limits);
	/* Optional: how a map made now is charged. Never fails. NULL: nothing is. */
	void (*charge)(void *ctx, struct pn_charge_rule *rule);
	/* Optional, both or none: record writes of devices. With words. */
	int (*dirty_set)(void *ctx, bool on);
	/* The range is whole mappings; the bitmap is zeroed. */
	int (*dirty_read)(
		void *ctx, uint64_t iova, uint64_t len, uint64_t page_size, uint64_t *bitmap);
	/*
	 * Optional, all or (but for suspend_map) none: hand the context over to the program that
	 * this process executes next. suspend(): virtual addresses end, or it cannot be done, in
	 * words (nothing has changed then, but with suspend_map an -EFAULT leaves it open). save()
	 * puts into a JSON object what restore() makes a context of, numbers of files and ids, and
	 * clears FD_CLOEXEC of all files. resume_map(): this is the virtual address of a mapping
	 * now, and its charge is the caller's; it may be said again. suspend_map(): that is taken
	 * back; NULL: resume_map() changed nothing. resume(): after all of them; FD_CLOEXEC is set
	 * again. restore() trusts nothing and, on failure, closes nothing, as abandon() does, which
	 * undoes it.
	 */
	int (*suspend)(void *ctx);
	int (*save)(void *ctx, json_t *state);
	int (*restore)(void **ctx, const json_t *state);
	void (*abandon)(void *ctx);
	int (*resume_map)(void *ctx, const struct pn_backend_map *map);
	int (*suspend_map)(void *ctx, const struct pn_backend_map *map);
	int (*resume)(void *ctx);
};

/* backends/table.c: in the order in which "auto" tries them; ends with NULL. */
extern const struct pn_backend *const pn_backends[];

#endif
