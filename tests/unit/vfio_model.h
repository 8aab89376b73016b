/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A model of the kernel's VFIO and iommufd: containers of type1, of iommufd's compatibility layer
 * and without an IOMMU; iommufd's own objects; groups, devices and their nodes; mappings, and who
 * is charged what. The linker puts it before open(), ioctl(), close() and others; every other file
 * is the real one. Tests make its calls fail and its answers bad.
 */
#ifndef VFIO_MODEL_H
#define VFIO_MODEL_H

#include <linux/vfio.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Wraps that a program with the model needs: vfio_wraps in meson.build. */

#define MODEL_MAPS   4096u
#define MODEL_RANGES 8u

/* Calls other than ioctl(), where a request is asked for. */
#define MODEL_OPEN  1ul
#define MODEL_FCNTL 2ul /* fcntl() and dup() */

struct model_rule {
	unsigned long request; /* call that fails, 0: none */
	unsigned int nth;      /* the first call of it that fails, from 1 */
	unsigned int times;    /* how many in a row */
	int err;
	unsigned int seen;
};

struct vfio_model {
	/* The machine. */
	bool type1;        /* /dev/vfio/vfio is VFIO's */
	bool iommufd;      /* /dev/iommu is there */
	bool iommufd_vfio; /* /dev/vfio/vfio is iommufd's */
	bool no_v2;        /* VFIO_TYPE1v2_IOMMU is not offered */
	bool noiommu;      /* VFIO's enable_unsafe_noiommu_mode */
	bool no_update_vaddr;
	bool map_file;        /* IOMMU_IOAS_MAP_FILE is there (Linux 6.13) */
	bool change_process;  /* IOMMU_IOAS_CHANGE_PROCESS is there (6.14) */
	bool map_dmabuf;      /* MAP_FILE takes dma-bufs (6.19) */
	bool dirty;           /* the IOMMU can track writes */
	bool bind_token;      /* the devices' own nodes ask for VF tokens (6.17) */
	const char *vf_token; /* what every device asks for, as a UUID; NULL: none does */
	uint64_t limit;       /* RLIMIT_MEMLOCK in pages */
	uint32_t entries;     /* dma_entry_limit of a type1 container */
	uint64_t page_sizes;
	struct vfio_iova_range ranges[MODEL_RANGES]; /* of devices without their own */
	unsigned int range_count;
	/* The calling process. */
	bool cap_ipc_lock, cap_sys_resource, cap_sys_rawio;
	unsigned int mm; /* its address space; another number is another process */

	/* Answers that are not the truth. */
	const void *caps; /* GET_INFO's capabilities */
	size_t caps_size;
	uint32_t cap_offset; /* 0: right behind the structure */
	/* Ranges of IOMMU_IOAS_IOVA_RANGES, and how many it says there are. */
	const struct vfio_iova_range *native_ranges;
	uint32_t native_count, native_said;
	uint64_t native_alignment;
	bool unmap_nothing; /* an unmap says 0 and removes nothing */

	/* What fails. */
	unsigned int fail_call; /* the call of the model that fails, from 1; 0: none */
	int fail_err;
	unsigned int fail_again; /* a later one */
	int fail_again_err;
	/* The call that fails does its work all the same, if it is one that changes mappings: only
	 * its answer is lost. */
	bool fail_after;
	bool fail_on; /* from the first failure on every call fails, with EIO */
	struct model_rule rules[4];

	/* A call that is held up, outside the model's lock: it says that it is there, and waits. */
	unsigned long hold; /* 0: none */
	sem_t held, go_on;

	/* What happened. */
	unsigned int calls; /* calls that came to the model */
	unsigned int failed;
	unsigned long failed_request; /* the first one that did */
	unsigned int unknown;         /* ioctls that the model does not know */
	unsigned int last_set_iommu;
	uint64_t locked, user, pinned; /* counters of the caller, in pages */
};

extern struct vfio_model model;

/* A machine with both nodes, the ranges of a VT-d IOMMU, the newest kernel, no limit, and a process
 * without capabilities (the calling thread gives up CAP_IPC_LOCK). For cmocka's setup; and its
 * teardown, which fails when files, mappings or objects of the model are left. */
int model_setup(void **state);
int model_teardown(void **state);
/* CAP_IPC_LOCK for the model and for the calling thread. False: this process may not have it. */
bool model_exempt(bool on);

/* Returns N of the device's /dev/vfio/devices/vfioN. */
int model_device(const char *address, int group);
/* A device without an IOMMU: its group's node is /dev/vfio/noiommu-N. */
void model_noiommu_device(const char *address, int group);
void model_device_ranges(
	const char *address, const struct vfio_iova_range *ranges, unsigned int count);
void model_group_viable(int group, bool viable);
/* Does the node exist and may it be opened? err 0: yes. */
void model_group_open_error(int group, int err);
void model_cdev_open_error(int cdev, int err);
/* Memory of a device: type1 maps it uncharged, iommufd does not map it. */
void model_bar(const void *vaddr, uint64_t len);
/* A file that stands for a dma-buf of a BAR. */
int model_dmabuf(void);
/* The device writes there. */
void model_write(uint64_t iova, uint64_t len);
/* What /proc/self/pagemap shows: the page frames of a run of memory, one behind another from pfn.
 * Without any, the real file is read. */
void model_frames(const void *vaddr, uint64_t len, uint64_t pfn);
/*
 * The process executes another program: files with FD_CLOEXEC are closed, of the model or not, the
 * address space is new. For a child that fork() made.
 */
void model_exec(void);

/* Open files of the model. */
unsigned int model_open_fds(void);
unsigned int model_open_devices(void);
bool model_is_mine(int fd);
/* How often a request came since the last model_forget_calls(). */
unsigned int model_calls_of(unsigned long request);
void model_forget_calls(void);

/* All mappings that the model holds. */
size_t model_maps(void);
uint64_t model_bytes(void);
/* Is exactly this mapped somewhere? */
bool model_has(uint64_t iova, const void *vaddr, uint64_t len, uint32_t flags);

struct model_mapping {
	unsigned int space; /* which address space, a number of the model's */
	uint64_t iova, vaddr, len;
	uint32_t flags; /* VFIO_DMA_MAP_FLAG_READ, _WRITE */
	bool file;      /* by MAP_FILE */
	bool filled;    /* a device can reach it */
	bool invalid;   /* without a virtual address: VFIO_DMA_UNMAP_FLAG_VADDR */
};

/* All of them, sorted within an address space; how many there are. */
size_t model_list(struct model_mapping *list, size_t room);

/* A number that differs when the kernel's side differs: maps, charges, open files. */
struct model_state {
	size_t maps;
	uint64_t sum;
	uint64_t locked, user, pinned;
	unsigned int fds, devices, objects;
	unsigned int process_fds;
};
struct model_state model_state(void);
bool model_state_equal(const struct model_state *a, const struct model_state *b);

/* A directory for ledgers, in memory if there is such a file system; and away with it: fails when
 * something is left in it. */
const char *model_directory(void);
int model_directory_end(void);

/* From now on nothing fails. */
void model_calm(void);

#endif
