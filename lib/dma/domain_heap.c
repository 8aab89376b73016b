/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Heaps that grow: the source of one makes regions and maps them in each of its domains, at the
 * same IOVAs, and unmaps and frees them when the heap has no use for them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "pn_dma.h"

/* What regions grow by if nothing is said: a hugepage. */
#define STEP_USUAL PN_PAGE_2M

struct source {
	struct pn_domain_heap_opts opts;
	char *name, *hugetlbfs_path;
	uint64_t bytes; /* of all regions that are there */
	size_t count;
	struct pn_domain *domains[];
};

/* From the last back to the first: mapped in the first `count`. Returns the first error. */
static int unmap(struct source *source, size_t count, uint64_t iova, uint64_t size)
{
	int ret = 0;

	while (count-- > 0) {
		int err = pn_domain_unmap(source->domains[count], iova, size);

		if (err && !ret)
			ret = err;
	}
	return ret;
}

static int map(struct source *source, struct pn_region *region, uint64_t size, uint64_t *iova)
{
	*iova = PN_IOVA_ANY;
	for (size_t i = 0; i < source->count; i++) {
		int ret = pn_domain_map(source->domains[i], region, 0, size, PN_PROT_RW, iova);

		if (!ret)
			continue;
		if (unmap(source, i, *iova, size))
			return pn_fail_append(
				ret, "; it stays mapped in a domain that cannot unmap it");
		return ret;
	}
	return 0;
}

static int grow(void *arg, uint64_t bytes, struct pn_region **region, uint64_t *iova)
{
	struct source *source = arg;
	const struct pn_domain_heap_opts *o = &source->opts;
	struct pn_region_info info;
	int ret;

	bytes = pn_align_up(bytes, o->step);
	if (o->max && (source->bytes >= o->max || o->max - source->bytes < bytes))
		return pn_fail(ENOMEM,
			"%" PRIu64 " bytes more, of which %" PRIu64
			" are there, would be above the %" PRIu64 " that it may have",
			bytes, source->bytes, o->max);
	ret = pn_region_create(region, bytes, &o->region);
	if (ret)
		return ret;
	pn_region_get_info(*region, &info);
	ret = map(source, *region, info.size, iova);
	if (ret) {
		pn_region_destroy(*region);
		return ret;
	}
	source->bytes += info.size;
	return 0;
}

/*
 * The heap keeps a region that it cannot give back: map it where it was, in the domains from this
 * one on. One that cannot be mapped again is not the heap's any more, as no device reaches it.
 */
static int keep(struct source *source, struct pn_region *region, uint64_t size, uint64_t iova,
	size_t from, int err)
{
	char why[PN_ERROR_MAX];

	snprintf(why, sizeof(why), "%s", pn_error());
	for (size_t i = from; i < source->count; i++) {
		int ret = pn_domain_map(source->domains[i], region, 0, size, PN_PROT_RW, &iova);

		if (!ret)
			continue;
		pn_log(PN_LOG_ERROR,
			"a heap gives up a region that it could neither free nor map again: %s",
			pn_error());
		unmap(source, i, iova, size);
		return 0;
	}
	return pn_fail(-err, "%s", why);
}

static int shrink(void *arg, struct pn_region *region, uint64_t iova)
{
	struct source *source = arg;
	size_t left = source->count;
	struct pn_region_info info;
	int ret = 0;

	pn_region_get_info(region, &info);
	while (left && !ret) {
		ret = pn_domain_unmap(source->domains[left - 1], iova, info.size);
		left -= !ret;
	}
	if (!ret)
		ret = pn_region_destroy(region);
	if (ret)
		return keep(source, region, info.size, iova, left, ret);
	source->bytes -= info.size;
	return 0;
}

static void close_source(void *arg)
{
	struct source *source = arg;

	free(source->name);
	free(source->hugetlbfs_path);
	free(source);
}

static int copy_text(char **copy, const char **text)
{
	if (!*text)
		return 0;
	*text = *copy = strdup(*text);
	return *copy ? 0 : -ENOMEM;
}

static int source_new(struct source **out, struct pn_domain *const *domains, size_t count,
	const struct pn_domain_heap_opts *opts)
{
	struct source *source = calloc(1, sizeof(*source) + count * sizeof(struct pn_domain *));

	if (!source)
		return pn_fail(ENOMEM, "out of memory");
	source->opts = *opts;
	source->count = count;
	memcpy(source->domains, domains, count * sizeof(struct pn_domain *));
	if (!source->opts.step)
		source->opts.step =
			opts->region.page_size > STEP_USUAL ? opts->region.page_size : STEP_USUAL;
	if (copy_text(&source->name, &source->opts.region.name) ||
		copy_text(&source->hugetlbfs_path, &source->opts.region.hugetlbfs_path)) {
		close_source(source);
		return pn_fail(ENOMEM, "out of memory");
	}
	*out = source;
	return 0;
}

int pn_domain_heap(struct pn_heap **out, struct pn_domain *const *domains, size_t count,
	const struct pn_domain_heap_opts *opts)
{
	struct pn_heap_source functions = {.grow = grow, .shrink = shrink, .close = close_source};
	struct pn_heap_opts heap_opts = {.check = opts->check, .source = &functions};
	struct source *source = NULL;
	int ret;

	if (!count || count > SIZE_MAX / 16)
		return pn_fail(EINVAL, "a heap that grows needs a domain to map its memory in");
	if (opts->step && (!pn_is_pow2(opts->step) || opts->step < PN_PAGE_4K))
		return pn_fail(EINVAL,
			"a heap grows by a power of two of at least 4096 bytes, not by %" PRIu64,
			opts->step);
	ret = source_new(&source, domains, count, opts);
	if (ret)
		return ret;
	functions.arg = source;
	ret = pn_heap_create_with(out, NULL, 0, &heap_opts);
	if (ret)
		close_source(source);
	return ret;
}
