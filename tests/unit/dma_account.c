/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A naive account of mappings.
 */
#include "dma_account.h"

uint64_t account_pages(const struct account *account)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < account->count; i++)
		pages += account->list[i].len / ACCOUNT_PAGE;
	return pages;
}

const struct entry *account_at(const struct account *account, uint64_t iova)
{
	for (size_t i = 0; i < account->count; i++)
		if (iova >= account->list[i].iova &&
			iova - account->list[i].iova < account->list[i].len)
			return &account->list[i];
	return NULL;
}

bool account_overlaps(const struct account *account, uint64_t iova, uint64_t len)
{
	for (size_t i = 0; i < account->count; i++)
		if (iova < account->list[i].iova + account->list[i].len &&
			account->list[i].iova < iova + len)
			return true;
	return false;
}

void account_add(struct account *account, const struct entry *entry)
{
	size_t at = account->count++;

	for (; at && account->list[at - 1].iova > entry->iova; at--)
		account->list[at] = account->list[at - 1];
	account->list[at] = *entry;
}

void account_remove(struct account *account, uint64_t iova, uint64_t len)
{
	size_t kept = 0;

	for (size_t i = 0; i < account->count; i++)
		if (account->list[i].iova < iova || account->list[i].iova - iova >= len)
			account->list[kept++] = account->list[i];
	account->count = kept;
}

bool account_runs(const struct account *account, uint64_t iova, const char *vaddr, uint64_t len)
{
	for (uint64_t done = 0; done < len; done++) {
		const struct entry *entry = account_at(account, iova + done);

		if (!entry || entry->vaddr + (iova + done - entry->iova) != vaddr + done)
			return false;
		/* To its end. */
		done = entry->iova + entry->len - 1 - iova;
	}
	return true;
}
