/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the e1000 driver stand on: DMA memory with IOVAs that are not addresses, and a
 * register block in plain memory behind replaced pn_pci_* functions.
 */
#ifndef E1000_FAKE_H
#define E1000_FAKE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "pn_mem.h"
#include "pn_pci.h"

#define FAKE_IOVA UINT64_C(0x7000000000)

/* DMA memory. */
struct fake_memory {
	struct pn_region *region;
	struct pn_heap *heap;
	unsigned char *vaddr;
	uint64_t size;
};

void fake_memory_init(struct fake_memory *memory, uint64_t size);
void fake_memory_fini(struct fake_memory *memory);
/* What the device finds at an IOVA; fails the test when it is outside of the memory. */
void *fake_memory_at(const struct fake_memory *memory, uint64_t iova, uint64_t len);

/* A device for pn_pci_find() and the rest: what they answer, and what was asked of them. */
struct fake_device {
	struct pn_pci_info info;
	int find_ret, open_ret, bar_ret, master_ret;
	uint64_t bar_size;
	unsigned char *regs;
	bool open;
	bool master;
	unsigned int master_changes;
	int irq_count[3]; /* by enum pn_irq_type */
	int irq_ret, unmask_ret;
	int irq_fd; /* -1: none is enabled */
	enum pn_irq_type irq_type;
	unsigned int unmasks;
	/* Plays the parts of the registers that act by themselves, while it runs. */
	pthread_t thread;
	bool running;
	bool stop;
	bool stuck_reset;
	bool link_down;
	bool keeps_counters; /* a reset does not clear them, as in QEMU */
	unsigned int resets;
};

/* One at a time: the replaced functions have no other way to it. */
void fake_device_init(struct fake_device *device, uint16_t vendor, uint16_t id);
void fake_device_run(struct fake_device *device);
void fake_device_halt(struct fake_device *device);
void fake_device_fini(struct fake_device *device);

uint32_t fake_reg(const struct fake_device *device, uint32_t reg);
void fake_set_reg(struct fake_device *device, uint32_t reg, uint32_t value);

#endif
