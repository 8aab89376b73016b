/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * QEMU's edu device (1234:11e8, docs/specs/edu.rst), as far as tests need it: a DMA engine with a
 * buffer of its own. The processor cannot look into that buffer; what is in it is seen by having
 * the device write it to memory.
 */
#ifndef PROGRAMS_EDU_H
#define PROGRAMS_EDU_H

#include "pinion.h"

/** Bytes of the device's buffer. */
#define EDU_BUFFER 4096u

/** An open edu device. */
struct edu {
	struct pn_pci_device *device;
	volatile char *regs;
};

/**
 * Open a device into a domain, find out that it is an edu that is alive, and let it master the bus.
 * @return 0; the errors of pn_pci_open() and pn_pci_bar_map(); -ENODEV if it is something else.
 */
int edu_open(struct edu *edu, const char *spec, struct pn_domain *domain);

/** The same through a file, see pn_pci_open_fd(). */
int edu_open_fd(struct edu *edu, const char *spec, struct pn_domain *domain, int fd);

/** Close it; what was never opened may be zeroed. */
void edu_close(struct edu *edu);

/**
 * The device reads memory at an IOVA into its buffer, or writes its buffer to memory. That the
 * transfer is over says nothing about whether the IOMMU let it through.
 *
 * @param offset first byte in the buffer
 * @param len    bytes; offset + len stays below EDU_BUFFER
 * @return 0; -EINVAL; -ENODEV when the device is gone; -ETIMEDOUT when it does not end in 5 s.
 */
int edu_read(const struct edu *edu, uint64_t iova, uint32_t offset, uint32_t len);
int edu_write(const struct edu *edu, uint64_t iova, uint32_t offset, uint32_t len);

#endif
