/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An open iommufd: its accounting, and the file that contexts of the native backend share.
 */
#ifndef PN_IOMMUFD_FILE_H
#define PN_IOMMUFD_FILE_H

#include <pthread.h>
#include <sys/types.h>

#include "dma_priv.h"

/*
 * Find out how a file accounts, and have it account as wanted; mm: by process. 0; -EINVAL if it is
 * not iommufd's, -EPERM, -EBUSY. name: the file in messages.
 */
int iommufd_accounting(int fd, const char *name, enum pn_accounting wanted, bool *mm);

/* pages.c:do_update_pinned. */
void iommufd_charge_rule(bool mm, const char *path, struct pn_charge_rule *rule);

/* A device whose file was handed in stays bound as long as anybody has a copy of that file. */
struct iommufd_bound {
	struct iommufd_bound *next;
	dev_t node;
	uint32_t dev_id;
};

/* The file, in use by one context or more. */
struct iommufd_file {
	int fd;
	bool mm;
	char node[40];        /* "": it was handed in */
	bool maps_files;      /* this kernel has IOMMU_IOAS_MAP_FILE (Linux 6.13) */
	pthread_mutex_t lock; /* for what follows */
	unsigned int users;
	struct iommufd_bound *bound;
};

/* fd becomes the file's. 0 or -ENOMEM. */
int iommufd_file_new(struct iommufd_file **out, int fd, const char *node, bool mm);
struct iommufd_file *iommufd_file_get(struct iommufd_file *file);
/* The last one closes it. */
void iommufd_file_put(struct iommufd_file *file);
/* Free it, of which there is one user, and leave the file open. */
void iommufd_file_abandon(struct iommufd_file *file);

/* The device behind bound->node is bound to the file now; bound, malloc'ed, becomes the file's. */
void iommufd_file_note_bound(struct iommufd_file *file, struct iommufd_bound *bound);
/* Is it still? */
bool iommufd_file_is_bound(struct iommufd_file *file, dev_t node, uint32_t *dev_id);

/*
 * IOMMU page sizes of an IOAS, which the native interface does not tell: it is asked through the
 * VFIO-compat one. least: what is known otherwise, and the answer where that fails.
 */
uint64_t iommufd_file_page_sizes(struct iommufd_file *file, uint32_t ioas, uint64_t least);

#endif
