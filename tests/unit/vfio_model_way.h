/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An address space of the model, filled without the library in any of the ways that the kernel has:
 * for the tests of the model itself.
 */
#ifndef VFIO_MODEL_WAY_H
#define VFIO_MODEL_WAY_H

#include "vfio_model.h"
#include "vfio_model_abi.h"

#define PAGE UINT64_C(4096)
#define MiB  (UINT64_C(1) << 20)

/* type1; compat on /dev/iommu, accounting by user and by process; native, the same. */
enum path { T, CU, CM, NU, NM, PATHS };

struct way {
	enum path path;
	int fd, group, device;
	uint32_t ioas;
};

/* 1 MiB of it. */
extern unsigned char *memory;

/* What the call returns, or a negative errno. */
int request(int fd, unsigned long number, void *arg);
int open_node(const char *node);
int set_mode(int fd, uint64_t mode);

/* With or without the device 0000:00:02.0 of group 5; there is 0000:00:03.0 of group 6 too. */
void begin(struct way *way, enum path path);
int attach(struct way *way);
void begin_attached(struct way *way, enum path path);
void end(struct way *way);

int map_at(struct way *way, uint64_t iova, const void *vaddr, uint64_t pages);
int map(struct way *way, uint64_t iova, uint64_t pages);
/* Bytes removed, or a negative errno. */
int64_t unmap(struct way *way, uint64_t iova, uint64_t pages);

/* The three counters as this path moves them by so many pages. */
void assert_charged(enum path path, uint64_t pages);

int way_setup(void **state);
int way_teardown(void **state);

#endif
