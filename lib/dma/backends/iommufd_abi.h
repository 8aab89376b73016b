/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ioctls of /dev/iommu and of VFIO device nodes that Pinion uses, for systems whose kernel
 * headers are older than they are: numbers, names of fields and layouts as in Linux's
 * include/uapi/linux/iommufd.h (6.2 to 6.14) and vfio.h (6.6).
 */
#ifndef PN_IOMMUFD_ABI_H
#define PN_IOMMUFD_ABI_H

#include <assert.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <sys/ioctl.h>

/* All structures begin with their size. */
#define IOMMUFD_IOCTL(number) _IO(';', number)

#define IOMMUFD_DESTROY IOMMUFD_IOCTL(0x80)
struct iommufd_destroy {
	uint32_t size;
	uint32_t id;
};

#define IOMMUFD_IOAS_ALLOC IOMMUFD_IOCTL(0x81)
struct iommufd_ioas_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t out_ioas_id;
};

#define IOMMUFD_IOAS_COPY IOMMUFD_IOCTL(0x83)
struct iommufd_ioas_copy {
	uint32_t size;
	uint32_t flags; /* IOMMUFD_MAP_* */
	uint32_t dst_ioas_id;
	uint32_t src_ioas_id;
	uint64_t length;
	uint64_t dst_iova;
	uint64_t src_iova;
};

#define IOMMUFD_IOAS_IOVA_RANGES IOMMUFD_IOCTL(0x84)
struct iommufd_iova_range {
	uint64_t start;
	uint64_t last;
};
struct iommufd_ioas_iova_ranges {
	uint32_t size;
	uint32_t ioas_id;
	uint32_t num_iovas; /* in: room; out: how many there are. EMSGSIZE: more than room */
	uint32_t reserved;
	uint64_t allowed_iovas; /* address of the array */
	uint64_t out_iova_alignment;
};

#define IOMMUFD_IOAS_MAP       IOMMUFD_IOCTL(0x85)
#define IOMMUFD_MAP_FIXED_IOVA 1u
#define IOMMUFD_MAP_WRITEABLE  2u
#define IOMMUFD_MAP_READABLE   4u
struct iommufd_ioas_map {
	uint32_t size;
	uint32_t flags;
	uint32_t ioas_id;
	uint32_t reserved;
	uint64_t user_va;
	uint64_t length;
	uint64_t iova;
};

#define IOMMUFD_IOAS_UNMAP IOMMUFD_IOCTL(0x86)
struct iommufd_ioas_unmap {
	uint32_t size;
	uint32_t ioas_id;
	uint64_t iova;
	uint64_t length; /* out: bytes removed */
};

#define IOMMUFD_OPTION             IOMMUFD_IOCTL(0x87)
#define IOMMUFD_OPTION_RLIMIT_MODE 0u /* 1: by process. Of the whole file: object_id 0 */
#define IOMMUFD_OPTION_HUGE_PAGES  1u /* of an IOAS */
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

/* Which IOAS the VFIO-compat ioctls work on. */
#define IOMMUFD_VFIO_IOAS       IOMMUFD_IOCTL(0x88)
#define IOMMUFD_VFIO_IOAS_GET   0u
#define IOMMUFD_VFIO_IOAS_SET   1u
#define IOMMUFD_VFIO_IOAS_CLEAR 2u
struct iommufd_vfio_ioas {
	uint32_t size;
	uint32_t ioas_id;
	uint16_t op;
	uint16_t reserved;
};

/* Linux 6.6. */
#define IOMMUFD_HWPT_ALLOC                IOMMUFD_IOCTL(0x89)
#define IOMMUFD_HWPT_ALLOC_DIRTY_TRACKING 2u /* Linux 6.7 */
struct iommufd_hwpt_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t dev_id;
	uint32_t pt_id;
	uint32_t out_hwpt_id;
	uint32_t reserved;
	uint32_t data_type;
	uint32_t data_len;
	uint64_t data_uptr;
};

/* Linux 6.6. */
#define IOMMUFD_GET_HW_INFO IOMMUFD_IOCTL(0x8a)
struct iommufd_hw_info {
	uint32_t size;
	uint32_t flags;
	uint32_t dev_id;
	uint32_t data_len; /* 0: what is the IOMMU driver's own is not wanted */
	uint64_t data_uptr;
	uint32_t out_data_type;
	uint32_t reserved;
};

/* Linux 6.7. */
#define IOMMUFD_HWPT_SET_DIRTY_TRACKING    IOMMUFD_IOCTL(0x8b)
#define IOMMUFD_HWPT_DIRTY_TRACKING_ENABLE 1u
struct iommufd_hwpt_set_dirty_tracking {
	uint32_t size;
	uint32_t flags;
	uint32_t hwpt_id;
	uint32_t reserved;
};

#define IOMMUFD_HWPT_GET_DIRTY_BITMAP IOMMUFD_IOCTL(0x8c)
struct iommufd_hwpt_get_dirty_bitmap {
	uint32_t size;
	uint32_t hwpt_id;
	uint32_t flags;
	uint32_t reserved;
	uint64_t iova;
	uint64_t length;
	uint64_t page_size;
	uint64_t data; /* address of the bitmap */
};

/* Linux 6.13. */
#define IOMMUFD_IOAS_MAP_FILE IOMMUFD_IOCTL(0x8f)
struct iommufd_ioas_map_file {
	uint32_t size;
	uint32_t flags; /* IOMMUFD_MAP_* */
	uint32_t ioas_id;
	int32_t fd;
	uint64_t start;
	uint64_t length;
	uint64_t iova;
};

/* Linux 6.14. */
#define IOMMUFD_IOAS_CHANGE_PROCESS IOMMUFD_IOCTL(0x92)
struct iommufd_ioas_change_process {
	uint32_t size;
	uint32_t reserved;
};

/* Of a device's node, /dev/vfio/devices/vfioN; Linux 6.6. */
#define IOMMUFD_DEVICE_BIND _IO(VFIO_TYPE, VFIO_BASE + 18)
struct iommufd_device_bind {
	uint32_t argsz;
	uint32_t flags;
	int32_t iommufd;
	uint32_t out_devid;
};

/* Linux 6.17 and newer; those before do not ask for a token here. */
#define IOMMUFD_DEVICE_BIND_TOKEN 1u
struct iommufd_device_bind_token {
	struct iommufd_device_bind bind;
	uint64_t token; /* address of 16 bytes */
};

#define IOMMUFD_DEVICE_ATTACH _IO(VFIO_TYPE, VFIO_BASE + 19)
struct iommufd_device_attach {
	uint32_t argsz;
	uint32_t flags;
	uint32_t pt_id; /* an IOAS or a HWPT; out: the HWPT in use */
};

#define IOMMUFD_DEVICE_DETACH _IO(VFIO_TYPE, VFIO_BASE + 20)
struct iommufd_device_detach {
	uint32_t argsz;
	uint32_t flags;
};

static_assert(sizeof(struct iommufd_ioas_copy) == 40, "as the kernel's");
static_assert(sizeof(struct iommufd_ioas_iova_ranges) == 32, "as the kernel's");
static_assert(sizeof(struct iommufd_ioas_map) == 40, "as the kernel's");
static_assert(sizeof(struct iommufd_vfio_ioas) == 12, "as the kernel's");
static_assert(sizeof(struct iommufd_hw_info) == 32, "as the kernel's of 6.6");
static_assert(sizeof(struct iommufd_option) == 24, "as the kernel's");
static_assert(sizeof(struct iommufd_hwpt_alloc) == 40, "as the kernel's of 6.7");
static_assert(sizeof(struct iommufd_hwpt_get_dirty_bitmap) == 48, "as the kernel's");
static_assert(sizeof(struct iommufd_ioas_map_file) == 40, "as the kernel's");

#endif
