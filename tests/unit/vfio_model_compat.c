/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The model's iommufd spoken to as a VFIO container (iommufd/vfio_compat.c of Linux 6.12).
 */
#include <errno.h>
#include <stddef.h>

#include "vfio_model_priv.h"

int compat_add_group(struct iommufd *iommufd, struct group *group)
{
	if (group->noiommu) {
		if (iommufd->vfio_ioas)
			return -EINVAL;
		iommufd->no_iommu_mode = true;
	} else {
		if (iommufd->no_iommu_mode)
			return -EINVAL;
		if (!iommufd->vfio_ioas) {
			iommufd->vfio_ioas = ioas_new(iommufd);
			iommufd->vfio_ioas->automatic = true;
		}
	}
	group->iommufd = iommufd;
	iommufd->refs++;
	return 0;
}

static int check_extension(const struct iommufd *iommufd, unsigned long extension)
{
	switch (extension) {
	case VFIO_TYPE1_IOMMU:
	case VFIO_UNMAP_ALL:
		return !iommufd->no_iommu_mode;
	case VFIO_TYPE1v2_IOMMU:
		return !iommufd->no_iommu_mode && !model.no_v2;
	case VFIO_NOIOMMU_IOMMU:
		return 1;
	case VFIO_DMA_CC_IOMMU:
		return iommufd->vfio_ioas ? 0 : -ENODEV;
	default:
		return 0;
	}
}

static int set_iommu(struct iommufd *iommufd, unsigned long type)
{
	model.last_set_iommu = (unsigned int)type;
	if (type == VFIO_NOIOMMU_IOMMU && iommufd->no_iommu_mode)
		return model.cap_sys_rawio ? 0 : -EPERM;
	if ((type != VFIO_TYPE1_IOMMU && type != VFIO_TYPE1v2_IOMMU) || iommufd->no_iommu_mode)
		return -EINVAL;
	return iommufd->vfio_ioas ? 0 : -ENODEV;
}

static int map_dma(struct iommufd *iommufd, const struct vfio_iommu_type1_dma_map *args)
{
	struct map map = {
		.iova = args->iova, .vaddr = args->vaddr, .len = args->size, .flags = args->flags};

	if (args->argsz < sizeof(*args) ||
		args->flags & ~(uint32_t)(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE))
		return -EINVAL;
	if (!iommufd->vfio_ioas)
		return -ENODEV;
	return ioas_map(iommufd, iommufd->vfio_ioas->space, &map, -1);
}

static int unmap_dma(struct iommufd *iommufd, struct vfio_iommu_type1_dma_unmap *args)
{
	uint64_t first = args->iova, last = args->iova + (args->size - 1), bytes = 0;
	int ret = 0;

	if (args->argsz < offsetof(struct vfio_iommu_type1_dma_unmap, data) ||
		args->flags & ~(uint32_t)VFIO_DMA_UNMAP_FLAG_ALL)
		return -EINVAL;
	if (!iommufd->vfio_ioas)
		return -ENODEV;
	if (args->flags & VFIO_DMA_UNMAP_FLAG_ALL) {
		if (args->iova || args->size)
			return -EINVAL;
		first = 0;
		last = UINT64_MAX;
	} else if (!args->size) {
		ret = -EINVAL;
	} else if (last < first) {
		ret = -EOVERFLOW;
	}
	if (!ret && !model.unmap_nothing)
		ret = space_unmap_iommufd(iommufd->vfio_ioas->space, first, last, &bytes);
	/* Told on failure too. */
	args->size = bytes;
	return ret;
}

int compat_ioctl(struct iommufd *iommufd, unsigned long request, void *arg)
{
	unsigned long value = (unsigned long)(uintptr_t)arg;

	switch (request) {
	case VFIO_GET_API_VERSION:
		return VFIO_API_VERSION;
	case VFIO_CHECK_EXTENSION:
		return check_extension(iommufd, value);
	case VFIO_SET_IOMMU:
		return set_iommu(iommufd, value);
	case VFIO_IOMMU_GET_INFO:
		if (((struct vfio_iommu_type1_info *)arg)->argsz < 16)
			return -EINVAL;
		if (!iommufd->vfio_ioas)
			return -ENODEV;
		return model_get_info(iommufd->vfio_ioas->space, arg);
	case VFIO_IOMMU_MAP_DMA:
		return map_dma(iommufd, arg);
	case VFIO_IOMMU_UNMAP_DMA:
		return unmap_dma(iommufd, arg);
	case VFIO_IOMMU_DIRTY_PAGES:
		return -ENOTTY;
	default:
		model.unknown++;
		return -ENOTTY;
	}
}
