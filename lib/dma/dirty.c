/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dirty tracking: which pages of a domain devices wrote to, where the backend can tell.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base_priv.h"
#include "domain.h"

static int start_locked(struct pn_domain *domain)
{
	int ret;

	ret = domain_changeable(domain);
	if (ret)
		return ret;
	if (!domain->backend->dirty_set)
		return pn_fail(EOPNOTSUPP,
			"%s does not tell which pages devices write: type1 does, and iommufd where "
			"the IOMMU can",
			domain->backend->name);
	if (!domain->device_count)
		return pn_fail(ENODEV, "dirty tracking needs a device attached to the domain");
	if (domain->dirty)
		return pn_fail(EALREADY, "dirty tracking is on already");
	ret = domain->backend->dirty_set(domain->ctx, true);
	domain->dirty = !ret;
	return ret ? domain_check_stuck(domain, ret) : 0;
}

int pn_domain_dirty_start(struct pn_domain *domain)
{
	int ret;

	ret = domain_enter(domain);
	if (ret)
		return ret;
	ret = start_locked(domain);
	return domain_end(domain, PN_EVENT_DIRTY, ret, 0, 0);
}

static int stop_locked(struct pn_domain *domain)
{
	int ret = domain->backend->dirty_set(domain->ctx, false);

	if (ret)
		return domain_check_stuck(domain, ret);
	domain->dirty = false;
	return 0;
}

int pn_domain_dirty_stop(struct pn_domain *domain)
{
	int ret;

	ret = domain_enter(domain);
	if (ret)
		return ret;
	if (!domain->dirty)
		ret = pn_fail(EINVAL, "dirty tracking is not on");
	else
		ret = stop_locked(domain);
	return domain_end(domain, PN_EVENT_DIRTY, ret, 0, 0);
}

/* Whole mappings, one behind another, from the first byte to the last. */
static int check_range(struct pn_domain *domain, uint64_t iova, uint64_t len)
{
	const struct mapping *mapping;
	uint64_t at = iova, end = iova + (len - 1);

	if (!len || end < iova)
		return pn_fail(EINVAL, "IOVA %#" PRIx64 " with length %#" PRIx64 " is not a range",
			iova, len);
	for (;;) {
		mapping = map_index_at_or_after(&domain->index, at);
		if (!mapping || mapping->iova != at || mapping_iova_last(mapping) > end)
			return pn_fail(EINVAL,
				"IOVAs %#" PRIx64 " to %#" PRIx64
				" are not whole mappings without a gap (see %#" PRIx64 ")",
				iova, end, at);
		if (mapping_iova_last(mapping) == end)
			return 0;
		at = mapping_iova_last(mapping) + 1;
	}
}

static int read_locked(
	struct pn_domain *domain, uint64_t iova, uint64_t len, uint64_t page_size, uint64_t *bitmap)
{
	int ret;

	if (domain->handed_over)
		return domain_changeable(domain);
	if (!domain->dirty)
		return pn_fail(EINVAL, "dirty tracking is not on");
	if (!pn_is_pow2(page_size) || !(page_size & domain->page_sizes))
		return pn_fail(EINVAL,
			"%" PRIu64 " is no page size of this IOMMU (mask %#" PRIx64 ")", page_size,
			domain->page_sizes);
	ret = check_range(domain, iova, len);
	if (ret)
		return ret;
	if ((iova | len) & (page_size - 1))
		return pn_fail(EINVAL,
			"IOVA %#" PRIx64 " and length %#" PRIx64
			" are not multiples of the page size %" PRIu64,
			iova, len, page_size);
	memset(bitmap, 0, (size_t)((len / page_size + 63) / 64 * sizeof(*bitmap)));
	return domain->backend->dirty_read(domain->ctx, iova, len, page_size, bitmap);
}

int pn_domain_dirty_read(
	struct pn_domain *domain, uint64_t iova, uint64_t len, uint64_t page_size, uint64_t *bitmap)
{
	int ret;

	if (!bitmap)
		return pn_fail(EINVAL, "pn_domain_dirty_read: bitmap must not be NULL");
	ret = domain_enter(domain);
	if (ret)
		return ret;
	ret = read_locked(domain, iova, len, page_size, bitmap);
	return domain_end(domain, PN_EVENT_DIRTY, ret, iova, len);
}
