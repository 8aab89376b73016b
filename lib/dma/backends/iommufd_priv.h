/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the native iommufd backend share.
 */
#ifndef PN_IOMMUFD_PRIV_H
#define PN_IOMMUFD_PRIV_H

#include "iommufd_file.h"

/* A page table that tracks dirty pages, of a kind that its devices' IOMMU has. */
struct iommufd_hwpt {
	struct iommufd_hwpt *next;
	uint32_t id;
	unsigned int devices;
};

struct iommufd_device {
	struct iommufd_device *next;
	int fd;
	uint32_t dev_id;
	struct iommufd_hwpt *hwpt; /* NULL: one that the kernel chose */
	char address[16];
};

/* One address space in an iommufd. */
struct iommufd {
	struct iommufd_file *file;
	uint32_t ioas;
	bool track; /* devices get page tables that can track dirty pages */
	bool dirty; /* tracking is on */
	bool stuck; /* a page table could not be destroyed */
	/* A map, or a change of tracking, could not be taken back; until the last device goes. */
	bool unsettled;
	struct iommufd_hwpt *hwpts;
	struct iommufd_device *devices;
};

int iommufd_attach(struct iommufd *ctx, const struct pn_dma_device *device, int *device_fd);
int iommufd_detach(struct iommufd *ctx, int device_fd);

/* IOMMU_IOAS_UNMAP. 0, and how much was removed, or a negative errno. No text. */
int iommufd_unmap(struct iommufd *ctx, uint64_t iova, uint64_t *len);

/* IOMMU_DESTROY. 0 or a negative errno. No text. */
int iommufd_destroy_object(struct iommufd_file *file, uint32_t id);

int iommufd_dirty_set(struct iommufd *ctx, bool on);
int iommufd_dirty_read(
	struct iommufd *ctx, uint64_t iova, uint64_t len, uint64_t page_size, uint64_t *bitmap);
/* Tracking of one page table. 0 or a negative errno. No text. */
int iommufd_hwpt_track(struct iommufd_file *file, uint32_t hwpt, bool on);

int iommufd_suspend(struct iommufd *ctx);
int iommufd_resume(struct iommufd *ctx);
int iommufd_save(struct iommufd *ctx, json_t *state);
int iommufd_restore(struct iommufd *ctx, const json_t *state);
/* Free what is known of devices and page tables, and close nothing. */
void iommufd_forget(struct iommufd *ctx);

#endif
