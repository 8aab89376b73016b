/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The two calls of iommufd that the broker makes, for systems whose kernel headers are older: as in
 * Linux's include/uapi/linux/iommufd.h (6.2) and vfio.h (6.6).
 */
#ifndef BROKER_IOMMUFD_H
#define BROKER_IOMMUFD_H

#include <linux/vfio.h>
#include <stdint.h>

#define IOMMUFD_OPTION             _IO(';', 0x87)
#define IOMMUFD_OPTION_RLIMIT_MODE 0u /* 1: charge the process */
#define IOMMUFD_OPTION_OP_SET      0u
#define IOMMUFD_OPTION_OP_GET      1u
struct iommufd_option {
	uint32_t size;
	uint32_t option_id;
	uint16_t op;
	uint16_t reserved;
	uint32_t object_id;
	uint64_t val64;
};

#define IOMMUFD_DEVICE_BIND _IO(VFIO_TYPE, VFIO_BASE + 18)
struct iommufd_device_bind {
	uint32_t argsz;
	uint32_t flags;
	int32_t iommufd;
	uint32_t out_devid;
};

#endif
