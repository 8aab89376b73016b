/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Choosing IOVAs: the lowest free run, within what the kernel says is valid.
 */
#include <errno.h>

#include "base_priv.h"
#include "index.h"

bool iova_valid(const struct pn_iova_range *ranges, unsigned int count, uint64_t iova, uint64_t len)
{
	unsigned int i;

	if (!len || iova > UINT64_MAX - (len - 1))
		return false;
	for (i = 0; i < count; i++) {
		if (iova >= ranges[i].first && iova + (len - 1) <= ranges[i].last)
			return true;
	}
	return false;
}

/* The lowest aligned address in [first, last] that has room for len; false if there is none. */
static bool fit(uint64_t first, uint64_t last, uint64_t len, uint64_t align, uint64_t *iova)
{
	uint64_t start;

	if (first > UINT64_MAX - (align - 1))
		return false;
	start = pn_align_up(first, align);
	if (start > last || last - start < len - 1)
		return false;
	*iova = start;
	return true;
}

static bool find_in_range(const struct index *index, const struct pn_iova_range *range,
	uint64_t len, uint64_t align, uint64_t *iova)
{
	uint64_t first = range->first;
	size_t at;

	for (at = index_at_or_after(index, first); at < index->count; at++) {
		const struct mapping *mapping = index->by_iova[at];

		if (mapping->iova > range->last)
			break;
		if (mapping->iova > first && fit(first, mapping->iova - 1, len, align, iova))
			return true;
		if (mapping_iova_last(mapping) >= range->last)
			return false;
		first = mapping_iova_last(mapping) + 1;
	}
	return fit(first, range->last, len, align, iova);
}

int iova_find(const struct index *index, const struct pn_iova_range *ranges, unsigned int count,
	uint64_t len, uint64_t align, uint64_t *iova)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (find_in_range(index, &ranges[i], len, align, iova))
			return 0;
	}
	return -ENOSPC;
}
