/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What handing over and taking over share.
 */
#ifndef PN_DMA_HANDOVER_H
#define PN_DMA_HANDOVER_H

#include "domain.h"

/* Of the file in between: JSON, one object. */
#define HANDOVER_VERSION 1

/* The regions of a domain's mappings, each once. */
struct regions {
	struct pn_region **list;
	size_t count;
};

/* Give all mappings their virtual addresses, and the backend its files, again. 0 or a negative
 * errno with words. */
int handover_resume(struct pn_domain *domain);
/* It will not come to it: nothing is inherited any more. After the last detach. */
void handover_end(struct pn_domain *domain);

#endif
