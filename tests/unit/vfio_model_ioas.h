/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests about the model's IOASes, answered in a file of their own.
 */
#ifndef VFIO_MODEL_IOAS_H
#define VFIO_MODEL_IOAS_H

#include "vfio_model_abi.h"

struct iommufd;

int ioas_do_map(struct iommufd *iommufd, struct k_ioas_map *args);
int ioas_do_map_file(struct iommufd *iommufd, struct k_ioas_map_file *args);
int ioas_do_copy(struct iommufd *iommufd, struct k_ioas_copy *args);
int ioas_do_unmap(struct iommufd *iommufd, struct k_ioas_unmap *args);
int ioas_do_ranges(struct iommufd *iommufd, struct k_ioas_ranges *args);
int ioas_do_change_process(struct iommufd *iommufd);

#endif
