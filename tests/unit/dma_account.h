/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an address space holds, kept in the simplest way: for tests that compare the library with
 * it.
 */
#ifndef DMA_ACCOUNT_H
#define DMA_ACCOUNT_H

#include "pn_dma.h"

#define ACCOUNT_PAGE UINT64_C(4096)
#define ACCOUNT_MOST 64u

struct entry {
	uint64_t iova, len;
	char *vaddr;
	enum pn_prot prot;
};

struct account {
	struct entry list[ACCOUNT_MOST]; /* sorted */
	size_t count;
};

uint64_t account_pages(const struct account *account);
/* The entry that holds an IOVA, or NULL. */
const struct entry *account_at(const struct account *account, uint64_t iova);
bool account_overlaps(const struct account *account, uint64_t iova, uint64_t len);
/* Is vaddr mapped there for so long, without a gap on either side? */
bool account_runs(const struct account *account, uint64_t iova, const char *vaddr, uint64_t len);
void account_add(struct account *account, const struct entry *entry);
/* Entries that begin in the range. */
void account_remove(struct account *account, uint64_t iova, uint64_t len);

#endif
