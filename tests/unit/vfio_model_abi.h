/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What iommufd and VFIO's device nodes are asked, written down a second time: the model must not
 * share a mistake with the library's own header. Numbers and layouts are those of Linux's
 * include/uapi/linux/iommufd.h and vfio.h; the names are the model's.
 */
#ifndef VFIO_MODEL_ABI_H
#define VFIO_MODEL_ABI_H

#include <stdint.h>
#include <sys/ioctl.h>

#define K_DESTROY             _IO(';', 0x80)
#define K_IOAS_ALLOC          _IO(';', 0x81)
#define K_IOAS_COPY           _IO(';', 0x83)
#define K_IOAS_RANGES         _IO(';', 0x84)
#define K_IOAS_MAP            _IO(';', 0x85)
#define K_IOAS_UNMAP          _IO(';', 0x86)
#define K_OPTION              _IO(';', 0x87)
#define K_VFIO_IOAS           _IO(';', 0x88)
#define K_HWPT_ALLOC          _IO(';', 0x89)
#define K_GET_HW_INFO         _IO(';', 0x8a)
#define K_HWPT_SET_DIRTY      _IO(';', 0x8b)
#define K_HWPT_GET_DIRTY      _IO(';', 0x8c)
#define K_IOAS_MAP_FILE       _IO(';', 0x8f)
#define K_IOAS_CHANGE_PROCESS _IO(';', 0x92)

#define K_DEVICE_BIND   _IO(';', 118)
#define K_DEVICE_ATTACH _IO(';', 119)
#define K_DEVICE_DETACH _IO(';', 120)

#define K_MAP_FIXED 1u
#define K_MAP_WRITE 2u
#define K_MAP_READ  4u

#define K_OPTION_RLIMIT_MODE 0u
#define K_OPTION_HUGE_PAGES  1u
#define K_OPTION_SET         0u
#define K_OPTION_GET         1u

#define K_VFIO_IOAS_GET   0u
#define K_VFIO_IOAS_SET   1u
#define K_VFIO_IOAS_CLEAR 2u

#define K_HWPT_DIRTY_TRACKING 2u
#define K_DIRTY_ENABLE        1u
#define K_DIRTY_NO_CLEAR      1u

struct k_destroy {
	uint32_t size, id;
};

struct k_ioas_alloc {
	uint32_t size, flags, out_id;
};

struct k_ioas_copy {
	uint32_t size, flags, to, from;
	uint64_t length, to_iova, from_iova;
};

struct k_range {
	uint64_t first, last;
};

struct k_ioas_ranges {
	uint32_t size, id, count, reserved;
	uint64_t ranges, alignment;
};

struct k_ioas_map {
	uint32_t size, flags, id, reserved;
	uint64_t vaddr, length, iova;
};

struct k_ioas_map_file {
	uint32_t size, flags, id;
	int32_t fd;
	uint64_t start, length, iova;
};

struct k_ioas_unmap {
	uint32_t size, id;
	uint64_t iova, length;
};

struct k_option {
	uint32_t size, option;
	uint16_t op, reserved;
	uint32_t id;
	uint64_t value;
};

struct k_vfio_ioas {
	uint32_t size, id;
	uint16_t op, reserved;
};

struct k_hwpt_alloc {
	uint32_t size, flags, device, pt, out_id, reserved, data_type, data_len;
	uint64_t data;
	uint32_t fault, reserved2;
};

struct k_hw_info {
	uint32_t size, flags, device, data_len;
	uint64_t data;
	uint32_t out_type, reserved;
	uint64_t out_capabilities;
};

struct k_hwpt_set_dirty {
	uint32_t size, flags, id, reserved;
};

struct k_hwpt_get_dirty {
	uint32_t size, id, flags, reserved;
	uint64_t iova, length, page_size, data;
};

struct k_change_process {
	uint32_t size, reserved;
};

struct k_device_bind {
	uint32_t argsz, flags;
	int32_t iommufd;
	uint32_t out_id;
};

#define K_BIND_TOKEN 1u
struct k_device_bind_token {
	struct k_device_bind bind;
	uint64_t token;
};

struct k_device_attach {
	uint32_t argsz, flags, pt;
};

struct k_device_detach {
	uint32_t argsz, flags;
};

#endif
