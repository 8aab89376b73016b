/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A model of the kernel's VFIO: containers of type1 and of iommufd, groups, devices, mappings, and
 * who is charged what. The linker puts it before open(), ioctl() and close(); every other file is
 * the real one. Tests make its calls fail and its answers bad.
 */
#ifndef VFIO_MODEL_H
#define VFIO_MODEL_H

#include <linux/vfio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Wraps that a program with vfio_model.c needs: open, ioctl, close. */

#define MODEL_MAPS   4096u
#define MODEL_RANGES 8u

struct model_rule {
	unsigned long request; /* ioctl that fails, 0: none */
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
	uint64_t limit;    /* RLIMIT_MEMLOCK in pages */
	uint32_t entries;  /* dma_entry_limit of a type1 container */
	uint64_t page_sizes;
	struct vfio_iova_range ranges[MODEL_RANGES];
	unsigned int range_count;
	/* What GET_INFO's capabilities are instead of the truth. */
	const void *caps;
	size_t caps_size;
	uint32_t cap_offset; /* 0: right behind the structure */
	bool unmap_nothing;  /* UNMAP_DMA says 0 and removes nothing */

	/* What fails. */
	unsigned int fail_call; /* the call of the model that fails, from 1; 0: none */
	int fail_err;
	struct model_rule rules[2];

	/* What happened. */
	unsigned int calls; /* opens and ioctls that came to the model */
	unsigned int failed;
	unsigned int unknown; /* ioctls that the model does not know */
	unsigned int last_set_iommu;
	uint64_t locked, user, pinned; /* counters of the caller, in pages */
};

extern struct vfio_model model;

/* A machine with both nodes, the ranges of a VT-d IOMMU, no limit. For cmocka's setup; and its
 * teardown, which fails when files of the model are still open. */
int model_setup(void **state);
int model_teardown(void **state);

void model_device(const char *address, int group);
void model_group_viable(int group, bool viable);
/* Does the group's node exist and may it be opened? err 0: yes. */
void model_group_open_error(int group, int err);

/* Open files of the model. */
unsigned int model_open_fds(void);
unsigned int model_open_devices(void);

/* All mappings that some container holds. */
size_t model_maps(void);
uint64_t model_bytes(void);
/* Is exactly this mapped somewhere? */
bool model_has(uint64_t iova, const void *vaddr, uint64_t len, uint32_t flags);

/* A number that differs when the kernel's side differs: maps, charges, open files. */
struct model_state {
	size_t maps;
	uint64_t sum;
	uint64_t locked, user, pinned;
	unsigned int fds, devices;
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
