/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The backend of doc/writing-a-backend.md: one 4 GiB address space in ordinary memory, for devices
 * that are threads. It charges nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "toy_backend.h"

struct toy {
	struct pn_backend_map maps[TOY_MAPS];
	size_t count;
};

static int toy_probe(const struct pn_backend_request *request, char *found, size_t found_size)
{
	if (request->use_fd || request->node)
		return pn_fail(EOPNOTSUPP, "toy: there is no file behind it");
	if (found_size)
		found[0] = '\0';
	return 0;
}

static int toy_open(void **ctx, const struct pn_backend_request *request)
{
	(void)request;
	*ctx = calloc(1, sizeof(struct toy));
	return *ctx ? 0 : pn_fail(ENOMEM, "toy: no memory");
}

static int toy_map(void *ctx, struct pn_backend_map *map)
{
	struct toy *toy = ctx;

	if (toy->count == TOY_MAPS)
		return -ENOSPC;
	toy->maps[toy->count++] = *map;
	map->uncharged = true;
	return 0;
}

static int toy_unmap(void *ctx, uint64_t iova, uint64_t len)
{
	struct toy *toy = ctx;

	for (size_t i = 0; i < toy->count; i++) {
		if (toy->maps[i].iova != iova || toy->maps[i].len != len)
			continue;
		toy->maps[i] = toy->maps[--toy->count];
		return 0;
	}
	return -ENOENT;
}

static int toy_limits(void *ctx, struct pn_backend_limits *limits)
{
	struct pn_iova_range *range = calloc(1, sizeof(*range));

	if (!range)
		return pn_fail(ENOMEM, "toy: no memory");
	*range = (struct pn_iova_range){PN_PAGE_4K, UINT32_MAX};
	*limits = (struct pn_backend_limits){
		PN_PAGE_4K, TOY_MAPS - ((struct toy *)ctx)->count, 1, range};
	return 0;
}

const struct pn_backend pn_backend_toy = {.name = "toy",
	.summary = "threads for devices",
	.live = true,
	.probe = toy_probe,
	.open = toy_open,
	.close = free,
	.map = toy_map,
	.unmap = toy_unmap,
	.limits = toy_limits};
