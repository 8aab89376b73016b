/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * No IOMMU and no kernel: an address space for ports in software, which reach memory by its
 * address. Mappings are in the domain's index only; nothing is pinned and nothing is charged.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "base_priv.h"
#include "dma_priv.h"

static int none_probe(const struct pn_backend_request *request, char *found, size_t found_size)
{
	if (found_size)
		found[0] = '\0';
	if (request->use_fd || (request->node && request->node[0]))
		return pn_fail(
			EINVAL, "the backend \"none\" uses no file: hand none in, name none");
	if (request->beside)
		return pn_fail(EOPNOTSUPP,
			"the backend \"none\" has nothing to share: a domain beside another takes "
			"native iommufd");
	if (request->accounting != PN_ACCOUNTING_ANY)
		return pn_fail(EOPNOTSUPP, "the backend \"none\" charges nobody");
	if (request->dirty_tracking)
		return pn_fail(EOPNOTSUPP, "the backend \"none\" does not track dirty pages");
	return 0;
}

static int none_open(void **ctx, const struct pn_backend_request *request)
{
	(void)request;
	*ctx = NULL;
	return 0;
}

static void none_close(void *ctx)
{
	(void)ctx;
}

static int none_map(void *ctx, struct pn_backend_map *map)
{
	(void)ctx;
	map->uncharged = true;
	return 0;
}

static int none_unmap(void *ctx, uint64_t iova, uint64_t len)
{
	(void)ctx;
	(void)iova;
	(void)len;
	return 0;
}

static int none_limits(void *ctx, struct pn_backend_limits *limits)
{
	(void)ctx;
	limits->ranges = calloc(1, sizeof(*limits->ranges));
	if (!limits->ranges)
		return pn_fail(ENOMEM, "no memory for a range");
	limits->ranges[0].last = UINT64_MAX;
	limits->range_count = 1;
	limits->page_sizes = 4096;
	limits->entries_left = UINT64_MAX;
	return 0;
}

extern const struct pn_backend pn_backend_none;
const struct pn_backend pn_backend_none = {
	.name = "none",
	.summary = "no IOMMU, for ports in software; charges nobody",
	.map_call = "no call",
	.unmap_call = "no call",
	.named_only = true,
	.live = true,
	.probe = none_probe,
	.open = none_open,
	.close = none_close,
	.map = none_map,
	.unmap = none_unmap,
	.limits = none_limits,
};
