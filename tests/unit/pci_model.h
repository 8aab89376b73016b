/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small model of a VFIO device for the tests of lib/pci: the device's file is a memfd laid out as
 * vfio-pci lays it out, so that config space and BARs are read, written and mapped for real; ioctls
 * are answered in pci_model.c. Every system call and allocation can be made to fail in turn.
 */
#ifndef PCI_MODEL_H
#define PCI_MODEL_H

#include <linux/vfio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dma_priv.h"
#include "pci_priv.h"

#define ADDRESS "0000:00:02.0"
#define PAGE    4096U
/* drivers/vfio/pci/vfio_pci_core.h: VFIO_PCI_OFFSET_SHIFT */
#define OFFSET_SHIFT 40
#define CONFIG_AT    ((off_t)VFIO_PCI_CONFIG_REGION_INDEX << OFFSET_SHIFT)
#define RW           (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE)
#define RWM          (RW | VFIO_REGION_INFO_FLAG_MMAP)

struct model_region {
	uint64_t size;
	uint64_t skew; /* added to the usual offset */
	uint32_t flags;
	unsigned char caps[256]; /* behind vfio_region_info */
	uint32_t caps_size;
};

struct model {
	int fd;
	uint32_t device_flags, num_regions, num_irqs;
	struct model_region regions[VFIO_PCI_NUM_REGIONS];
	uint32_t absurd_argsz;   /* wanted for every region, if not 0 */
	bool growing_argsz;      /* each call wants more than it gets */
	bool command_is_stuck;   /* writes to config space have no effect */
	size_t transfer_at_most; /* of config space, if not 0 */
	int resets, reset_errno, reset_busy;
	uint32_t irq_count[VFIO_PCI_NUM_IRQS], irq_flags[VFIO_PCI_NUM_IRQS];
	int irq_left; /* what SET_IRQS returns, if positive */
	int irq_errno;
	uint32_t enabled, enabled_index; /* vectors */
	int *fds;
	bool masked;
	int removal_fd;  /* armed with; -1: none */
	int token_errno; /* of VFIO_DEVICE_FEATURE_PCI_VF_TOKEN */
	unsigned char token[16];
	int dma_buf_errno; /* of VFIO_DEVICE_FEATURE_DMA_BUF; 0: a dma-buf is made */
	struct {
		unsigned int count;
		uint32_t bar, open_flags;
		uint64_t offset, length;
	} dma_buf;
	/* What must be given back. */
	int attached;
	uint64_t addresses; /* bytes reserved */
	struct pn_dma_device attached_as;
	bool master_at_detach;
	bool master_at_disable; /* of interrupts */
	bool mastering_reset;   /* reset with bus mastering on */
};

extern struct model model;

/* A domain that nobody looks into. */
extern struct pn_domain *const domain;

/* Faults: which call fails, from 1 (0: none), and the calls so far. */
extern int fault_at, fault_count;

/* Files that were open when the test began. */
extern unsigned int fds_before;
unsigned int open_fds(void);

/* A device at ADDRESS with 128 KiB at BAR 0, and that all was given back. For cmocka. */
int model_setup(void **state);
int model_teardown(void **state);
#define MODEL(test) cmocka_unit_test_setup_teardown(test, model_setup, model_teardown)

int open_device(struct pn_pci_device **dev);
struct pn_pci_device *must_open(void);
void assert_error_has(const char *words);

/* Configuration space, behind VFIO's back. */
uint16_t command(void);
void poke(uint32_t offset, const void *data, size_t len);
void poke16(uint32_t offset, uint16_t value);
void poke32(uint32_t offset, uint32_t value);
/* An MSI-X capability at 0x40, as the 82574L has it in spirit: table in a BAR of the caller's. */
void put_msix(uint16_t vectors, uint32_t bar, uint32_t table);

/* Capabilities behind a region's information; the list says it has nr_areas, and has count. */
void add_cap(struct model_region *region, uint16_t id, uint32_t next, const void *body, size_t len);
void add_sparse(struct model_region *region, uint32_t nr_areas,
	const struct vfio_region_sparse_mmap_area *areas, size_t count);

/* Open, drive() and close, while the call of this number fails. True: all went without a fault. */
bool run_with_fault(int at, int (*drive)(struct pn_pci_device *dev));

/* The kernel's side of interrupts is lost. */
void forget_irqs(void);

/* Can the process read there? The kernel tries, so that no signal is raised. */
bool readable(const volatile void *addr);

ssize_t __real_pwrite64(int fd, const void *buf, size_t len, off_t offset);
void *__real_malloc(size_t size);

#endif
