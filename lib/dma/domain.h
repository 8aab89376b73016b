/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the domain share.
 */
#ifndef PN_DMA_DOMAIN_H
#define PN_DMA_DOMAIN_H

#include <pthread.h>

#include "dma_priv.h"
#include "index.h"
#include "pins_priv.h"

/* vfio_iommu_type1's module parameter; a container takes it over when it is opened. */
#define ENTRY_BUDGET_MEND                                             \
	"raise it as root, before the program starts: echo 131072 > " \
	"/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"

struct attached {
	struct attached *next;
	int fd;
	char address[16];
};

struct pn_domain {
	pthread_mutex_t lock;
	const struct pn_backend *backend;
	void *ctx;
	struct pn_charge_rule rule;
	struct index index;
	struct attached *devices;
	unsigned int device_count;
	struct pn_ledger *ledger;
	struct pn_iova_range *ranges; /* the kernel's, or NULL: the guess in use */
	unsigned int range_count;
	uint64_t page_sizes;
	uint64_t entries; /* mappings that the kernel takes in all; UINT64_MAX: no limit */
	bool limits_known;
	bool exempt; /* as the ledger has it */
	bool damaged;
	char node[40];
	char chosen[512];
};

/* The ranges in force: the kernel's, or what nearly every IOMMU can do. */
const struct pn_iova_range *domain_ranges(const struct pn_domain *domain, unsigned int *count);

/*
 * Make an index entry in the kernel, or take it out of it, and write the ledger. With the lock
 * held, a device attached. more: pages that are to be mapped after it, for the words of a refusal.
 */
int domain_kernel_map(struct pn_domain *domain, struct mapping *mapping, uint64_t more);
int domain_kernel_unmap(struct pn_domain *domain, struct mapping *mapping);
/* The kernel let go of it by itself. */
void domain_mark_queued(struct pn_domain *domain, struct mapping *mapping);

/* What the ledger says of a mapping. */
void domain_pin(const struct mapping *mapping, struct pn_pin *pin);

#endif
