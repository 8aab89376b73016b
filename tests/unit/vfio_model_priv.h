/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the model share: its containers.
 */
#ifndef VFIO_MODEL_PRIV_H
#define VFIO_MODEL_PRIV_H

#include "vfio_model.h"

struct map {
	uint64_t iova, vaddr, len;
	uint32_t flags;
};

struct container {
	bool live, iommufd, mm;
	bool ready; /* type1: SET_IOMMU done; iommufd: a group has joined, so there is an IOAS */
	unsigned int files, groups, devices;
	bool pinned;
	size_t count;
	struct map maps[MODEL_MAPS];
};

/* NULL: too many are open. */
struct container *model_container_new(bool iommufd, bool mm);
/* It has lost a file or a group. */
void model_container_put(struct container *container);
/* The answer to an ioctl, or a negative errno. */
int model_container_ioctl(struct container *container, unsigned long request, void *arg);

void model_drop_maps(struct container *container);
uint64_t model_container_pages(const struct container *container);
/* 0 or ENOMEM. */
int model_charge(struct container *container, uint64_t pages);
void model_uncharge(struct container *container, uint64_t pages);

void model_containers_sum(size_t *maps, uint64_t *sum);
void model_containers_forget(void);

#endif
