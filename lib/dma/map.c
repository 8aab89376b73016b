/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mapping and unmapping: what was asked is checked, IOVAs are chosen, segments become mappings, and
 * kernel, index and ledger change together or not at all.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "domain.h"
#include "mem_priv.h"

/* Most maps are of few segments: no allocation for their list. */
#define FEW 8u

/* What one call maps: one mapping for each run of segments that follow each other in memory. */
struct request {
	struct mapping *few[FEW];
	struct mapping **runs;
	size_t count;
	uint64_t len; /* of all */
};

/*
 * What is asked
 */

int domain_check_prot(enum pn_prot prot)
{
	if (prot && !(prot & ~(unsigned int)PN_PROT_RW))
		return 0;
	return pn_fail(EINVAL, "protection %#x is not PN_PROT_READ, PN_PROT_WRITE or both",
		(unsigned int)prot);
}

int domain_check_segment(
	const struct pn_segment *segment, enum pn_prot prot, uint64_t page, bool checked_before)
{
	struct pn_region *region = segment->region;
	uint64_t offset = segment->offset, len = segment->len;

	if (!region)
		return pn_fail(EINVAL, "a mapping needs a region, this one is NULL");
	if (!len || (offset | len) & (page - 1))
		return pn_fail(EINVAL,
			"offset %#" PRIx64 " and length %#" PRIx64
			" of a mapping must be multiples of %" PRIu64 ", the length not 0",
			offset, len, page);
	if (((uintptr_t)region->vaddr + offset) & (page - 1))
		return pn_fail(EINVAL,
			"region \"%s\" begins at %p, which is no multiple of the IOMMU's smallest "
			"page, %" PRIu64 " bytes",
			region->name, region->vaddr, page);
	if (offset > region->size || len > region->size - offset)
		return pn_fail(EINVAL,
			"offset %#" PRIx64 " with length %#" PRIx64
			" is not within region \"%s\" of %#" PRIx64 " bytes",
			offset, len, region->name, region->size);
	if (prot & PN_PROT_WRITE && !checked_before)
		return pn_region_check_write(region);
	return 0;
}

static bool follows(const struct mapping *run, const struct pn_segment *segment)
{
	return run->region == segment->region &&
	       run->vaddr + run->len == (uintptr_t)segment->region->vaddr + segment->offset;
}

static void drop_runs(struct pn_domain *domain, struct request *request)
{
	while (request->count)
		map_index_drop(&domain->index, request->runs[--request->count]);
	if (request->runs != request->few)
		free(request->runs);
}

/* Append a segment to the last run, or begin another. */
static int add_segment(struct pn_domain *domain, struct request *request,
	const struct pn_segment *segment, enum pn_prot prot)
{
	struct mapping *last = request->count ? request->runs[request->count - 1] : NULL, *run;

	if (request->len > UINT64_MAX - segment->len)
		return pn_fail(EINVAL, "the segments have more than 2^64 bytes in all");
	request->len += segment->len;
	if (last && follows(last, segment)) {
		mapping_place(last, 0, last->vaddr, last->len + segment->len);
		return 0;
	}
	run = map_index_new(&domain->index);
	if (!run)
		return pn_fail(ENOMEM, "no memory for a mapping");
	run->region = segment->region;
	mapping_place(run, 0, (uintptr_t)segment->region->vaddr + segment->offset, segment->len);
	run->prot = (uint8_t)prot;
	request->runs[request->count++] = run;
	return 0;
}

/* Check the segments and make runs of them. On failure nothing is left. */
static int make_runs(struct pn_domain *domain, const struct pn_segment *segments, size_t count,
	enum pn_prot prot, struct request *request)
{
	uint64_t page = limits_page(domain->page_sizes);
	size_t i;
	int ret = 0;

	if (!count || !segments)
		return pn_fail(EINVAL, "there are no segments to map");
	if (domain_check_prot(prot))
		return -EINVAL;
	request->runs = request->few;
	request->count = 0;
	request->len = 0;
	if (count > FEW)
		request->runs = reallocarray(NULL, count, sizeof(*request->runs));
	if (!request->runs)
		return pn_fail(ENOMEM, "no memory for %zu segments", count);
	for (i = 0; !ret && i < count; i++) {
		ret = domain_check_segment(&segments[i], prot, page,
			i && segments[i].region == segments[i - 1].region);
		if (!ret)
			ret = add_segment(domain, request, &segments[i], prot);
	}
	if (ret)
		drop_runs(domain, request);
	return ret;
}

static int check_budget(const struct pn_domain *domain, size_t count)
{
	uint64_t held = domain_in_force(domain) ? map_index_count(&domain->index) : 0;

	if (domain->entries == UINT64_MAX || count <= domain->entries - held)
		return 0;
	return pn_fail(ENOSPC,
		"the entry budget of %" PRIu64 " mappings is used up (%" PRIu64
		" are made, %zu wanted); " ENTRY_BUDGET_MEND,
		domain->entries, held, count);
}

/*
 * Where
 */

/* Do the runs follow each other in virtual addresses? */
static bool in_line(const struct request *request)
{
	size_t i;

	for (i = 1; i < request->count; i++) {
		if (request->runs[i]->vaddr !=
			request->runs[i - 1]->vaddr + request->runs[i - 1]->len)
			return false;
	}
	return true;
}

/* The IOVAs of the runs, from here on. */
static void set_iovas(struct request *request, uint64_t iova)
{
	struct mapping *run;
	size_t i;

	for (i = 0; i < request->count; i++) {
		run = request->runs[i];
		mapping_place(run, iova, run->vaddr, run->len);
		iova += run->len;
	}
}

/* Those of the first count runs are free again. */
static void give_back(struct pn_domain *domain, const struct request *request, size_t count)
{
	while (count--)
		iova_space_give_back(
			&domain->space, request->runs[count]->iova, request->runs[count]->len);
}

/* Take these IOVAs, for each run its own, as they are given back. No text. */
static int take_at(struct pn_domain *domain, struct request *request, uint64_t iova)
{
	size_t i;
	int ret;

	if (request->count > 1 && !iova_space_valid(&domain->space, iova, request->len))
		return -EINVAL;
	if (request->count > 1 && !iova_space_is_free(&domain->space, iova, request->len))
		return -EEXIST;
	set_iovas(request, iova);
	for (i = 0; i < request->count; i++) {
		ret = iova_space_take(
			&domain->space, request->runs[i]->iova, request->runs[i]->len);
		if (!ret)
			continue;
		give_back(domain, request, i);
		return ret;
	}
	return 0;
}

/*
 * The largest page of the memory that fits into what is mapped, as no larger one of the IOMMU's
 * could be used; memory in small pages may lie together nevertheless (transparent hugepages).
 */
static uint64_t alignment(const struct pn_domain *domain, const struct request *request)
{
	uint64_t align = request->runs[0]->region->page_size;

	if (align < PN_PAGE_2M)
		align = PN_PAGE_2M;
	if (align > request->len && align > PN_PAGE_2M)
		align = PN_PAGE_2M;
	if (align > request->len)
		align = PN_PAGE_4K;
	return align < limits_page(domain->page_sizes) ? limits_page(domain->page_sizes) : align;
}

/* Memory starts at the same place in an aligned run as it does in its own pages. */
static int find_aligned(
	struct pn_domain *domain, const struct request *request, uint64_t align, uint64_t *iova)
{
	uint64_t phase = request->runs[0]->vaddr & (align - 1), base;
	int ret;

	if (request->len > UINT64_MAX - phase)
		return -ENOSPC;
	ret = iova_space_find(&domain->space, request->len + phase, align, &base);
	if (!ret)
		*iova = base + phase;
	return ret;
}

/*
 * A free run of IOVAs, for the IOMMU's large pages if memory is in such, or enough of it that it
 * may be; where none is left, for smaller ones: few bits of an IOVA are no reason to map nothing.
 */
static int allocate(struct pn_domain *domain, struct request *request, uint64_t *iova)
{
	uint64_t align = alignment(domain, request), least = limits_page(domain->page_sizes);
	int ret;

	ret = find_aligned(domain, request, align, iova);
	while (ret == -ENOSPC && align > least) {
		align = align > PN_PAGE_2M && least < PN_PAGE_2M ? PN_PAGE_2M : least;
		ret = find_aligned(domain, request, align, iova);
	}
	if (!ret)
		ret = take_at(domain, request, *iova);
	if (ret == -ENOMEM)
		return pn_fail(ENOMEM, "no memory for the free IOVAs");
	if (ret)
		return pn_fail(ENOSPC,
			"no run of %" PRIu64 " free IOVAs aligned to %" PRIu64
			" is left in %u valid ranges",
			request->len, align, domain->range_count);
	return 0;
}

static int fail_take(const struct pn_domain *domain, uint64_t iova, uint64_t len, int err)
{
	const struct pn_iova_range *ranges = domain->ranges;
	unsigned int count = domain->range_count;

	if (err == -EEXIST)
		return pn_fail(EEXIST, "IOVAs %#" PRIx64 " to %#" PRIx64 " overlap a mapping", iova,
			iova + (len - 1));
	if (err == -ENOMEM)
		return pn_fail(ENOMEM, "no memory for the free IOVAs");
	if (iova > UINT64_MAX - (len - 1))
		return pn_fail(
			EINVAL, "IOVA %#" PRIx64 " with length %#" PRIx64 " wraps", iova, len);
	if (!domain->limits_known && !domain->backend->live)
		return pn_fail(EINVAL,
			"IOVAs %#" PRIx64 " to %#" PRIx64 " have more than the domain's %u bits",
			iova, iova + (len - 1), limits_bits(domain, NULL));
	return pn_fail(EINVAL,
		"IOVAs %#" PRIx64 " to %#" PRIx64
		" are not within one of the %u valid ranges (%s%#" PRIx64 " to %#" PRIx64 ")",
		iova, iova + (len - 1), count, count > 1 ? "the first is " : "",
		count ? ranges[0].first : 0, count ? ranges[0].last : 0);
}

/* The IOVAs that the backend says the memory has. */
static int place_given(struct pn_domain *domain, struct request *request, uint64_t *iova)
{
	uint64_t at, want = *iova;
	struct pn_backend_map view;
	size_t i;
	int ret;

	for (i = 0; i < request->count; i++) {
		view = kernel_view(request->runs[i]);
		ret = domain->backend->place(domain->ctx, &view, &at);
		if (ret)
			return ret;
		/* The first is not where the caller wants it; or the next does not follow. */
		if (want != PN_IOVA_ANY && at != want)
			return pn_fail(i ? EOPNOTSUPP : EINVAL,
				"on %s the IOVA is the physical address, %#" PRIx64 " for %#" PRIx64
				", where %#" PRIx64 " was to be",
				domain->backend->name, at, request->runs[i]->vaddr, want);
		if (!i)
			*iova = at;
		want = at + request->runs[i]->len;
	}
	return 0;
}

/* Who takes no others has to see at attach whether they are valid. */
static bool may_be_identical(const struct pn_domain *domain, uint64_t vaddr, uint64_t len)
{
	return domain->iova_mode == PN_IOVA_VA_ONLY || limits_may_choose(domain, vaddr, len);
}

/* Take IOVAs: the caller's, the virtual addresses, or free ones. */
static int place(struct pn_domain *domain, struct request *request, uint64_t *iova)
{
	uint64_t vaddr = request->runs[0]->vaddr;
	int ret;

	if (domain->backend->place) {
		ret = place_given(domain, request, iova);
		if (ret)
			return ret;
	} else if (*iova == PN_IOVA_ANY && domain->iova_mode != PN_IOVA_ALLOCATE &&
		   in_line(request) && may_be_identical(domain, vaddr, request->len)) {
		ret = take_at(domain, request, vaddr);
		if (!ret)
			*iova = vaddr;
		if (!ret || ret == -ENOMEM)
			return ret ? fail_take(domain, vaddr, request->len, ret) : 0;
	}
	if (*iova == PN_IOVA_ANY && domain->iova_mode == PN_IOVA_VA_ONLY)
		return pn_fail(ENOSPC,
			"virtual address %#" PRIx64 " with length %#" PRIx64
			" is no free, valid run of IOVAs, and the domain takes no other",
			vaddr, request->len);
	if (*iova == PN_IOVA_ANY)
		return allocate(domain, request, iova);
	if (*iova & (limits_page(domain->page_sizes) - 1))
		return pn_fail(EINVAL, "IOVA %#" PRIx64 " is not a multiple of %" PRIu64, *iova,
			limits_page(domain->page_sizes));
	ret = take_at(domain, request, *iova);
	return ret ? fail_take(domain, *iova, request->len, ret) : 0;
}

/*
 * Map
 */

static uint64_t device_bytes(const struct mapping *mapping)
{
	return mapping->region->backing == PN_BACKING_DEVICE ? mapping->len : 0;
}

void domain_record(struct pn_domain *domain, struct mapping *mapping)
{
	struct pn_pin pin;

	kernel_pin(mapping, &pin);
	pn_ledger_add(domain->ledger, &pin, &mapping->slot);
	/* Reserved before the kernel was told. */
	(void)map_index_add(&domain->index, mapping);
	domain->device_bytes += device_bytes(mapping);
	pn_region_get(mapping->region);
}

/* Take the first count runs out of the kernel again. What does not go stays on record. */
static int roll_back(struct pn_domain *domain, struct request *request, size_t count, int err)
{
	struct mapping *run;
	bool stuck = false;

	while (count--) {
		run = request->runs[count];
		if (!kernel_unmap(domain, run))
			continue;
		stuck = true;
		domain_record(domain, run);
		request->runs[count] = request->runs[--request->count];
	}
	if (!stuck)
		return err;
	domain->damaged = true;
	return pn_fail_append(err, "; and the roll-back failed: the domain is damaged, destroy it");
}

static int kernel_map_runs(struct pn_domain *domain, struct request *request)
{
	uint64_t more = 0;
	size_t i;
	int ret;

	for (i = 1; i < request->count; i++)
		more += pn_charge_pages(request->runs[i]->vaddr, request->runs[i]->len);
	for (i = 0; i < request->count; i++) {
		if (i)
			more -= pn_charge_pages(request->runs[i]->vaddr, request->runs[i]->len);
		ret = kernel_map(domain, request->runs[i], more);
		if (ret)
			return roll_back(domain, request, i, domain_check_stuck(domain, ret));
	}
	return 0;
}

static int map_locked(struct pn_domain *domain, const struct pn_segment *segments, size_t count,
	enum pn_prot prot, uint64_t *iova)
{
	struct request request;
	uint64_t at = *iova;
	size_t i;
	int ret;

	ret = domain_changeable(domain);
	if (!ret)
		ret = make_runs(domain, segments, count, prot, &request);
	if (ret)
		return ret;
	if (map_index_reserve(&domain->index, request.count))
		ret = pn_fail(ENOMEM, "no memory for the mapping index");
	if (!ret)
		ret = place(domain, &request, &at);
	if (ret)
		goto drop;
	ret = check_budget(domain, request.count);
	if (!ret && domain_in_force(domain))
		ret = kernel_map_runs(domain, &request);
	if (ret) {
		give_back(domain, &request, request.count);
		goto drop;
	}
	for (i = 0; i < request.count; i++)
		domain_record(domain, request.runs[i]);
	*iova = at;
	request.count = 0;
drop:
	drop_runs(domain, &request);
	return ret;
}

/* Bytes that a refused call asked for; 0: its count may be what is wrong with it. */
static uint64_t asked(const struct pn_segment *segments, size_t count)
{
	uint64_t len = 0;

	while (segments && count <= 4096 && count--)
		len += segments[count].len;
	return len;
}

int pn_domain_map_segments(struct pn_domain *domain, const struct pn_segment *segments,
	size_t count, enum pn_prot prot, uint64_t *iova)
{
	int ret;

	if (!iova)
		return pn_fail(EINVAL, "iova must not be NULL");
	ret = domain_enter(domain);
	if (ret)
		return ret;
	ret = map_locked(domain, segments, count, prot, iova);
	return domain_end(domain, PN_EVENT_MAP, ret, *iova, ret ? asked(segments, count) : 0);
}

int pn_domain_map(struct pn_domain *domain, struct pn_region *region, uint64_t offset, uint64_t len,
	enum pn_prot prot, uint64_t *iova)
{
	const struct pn_segment segment = {region, offset, len};

	return pn_domain_map_segments(domain, &segment, 1, prot, iova);
}

/*
 * Unmap
 */

/* pin: what the ledger says of it. */
static void forget(struct pn_domain *domain, struct mapping *mapping, const struct pn_pin *pin)
{
	pn_ledger_remove(domain->ledger, mapping->slot, pin);
	map_index_remove(&domain->index, mapping);
	domain->device_bytes -= device_bytes(mapping);
	iova_space_give_back(&domain->space, mapping->iova, mapping->len);
	pn_region_put(mapping->region);
	map_index_drop(&domain->index, mapping);
}

void domain_forget(struct pn_domain *domain, struct mapping *mapping)
{
	struct pn_pin pin;

	kernel_pin(mapping, &pin);
	forget(domain, mapping, &pin);
}

static int fail_unmap(struct pn_domain *domain, const struct mapping *mapping, int err)
{
	pn_fail(-err, "unmapping IOVA %#" PRIx64 ", %" PRIu64 " bytes (%s): %s", mapping->iova,
		mapping->len, domain->backend->unmap_call, strerror(-err));
	if (err != -EFAULT)
		return err;
	domain->damaged = true;
	return pn_fail_append(err, "; whether it is still mapped cannot be known: the domain is "
				   "damaged, destroy it");
}

/* One alone: the ledger learns only that it is gone. */
static int unmap_one(struct pn_domain *domain, struct mapping *mapping)
{
	struct pn_pin pin;
	int ret;

	kernel_pin(mapping, &pin);
	ret = mapping->in_kernel ? kernel_unmap(domain, mapping) : 0;
	if (ret)
		return fail_unmap(domain, mapping, ret);
	forget(domain, mapping, &pin);
	return 0;
}

/* Make those before the one that could not be unmapped again. */
static int unmap_back(
	struct pn_domain *domain, const struct mapping *first, struct mapping *failed, int err)
{
	struct mapping *mapping = failed;
	bool stuck = false;

	while (mapping != first) {
		mapping = map_index_prev(&domain->index, mapping);
		if (!mapping->in_kernel && kernel_map_recorded(domain, mapping, 0))
			stuck = true;
	}
	/* Said now: the reason that counts is the first one. */
	err = fail_unmap(domain, failed, err);
	if (!stuck)
		return err;
	domain->damaged = true;
	return pn_fail_append(err, "; and the roll-back failed: the domain is damaged, destroy it");
}

/* Unmap from first to last; those already unmapped are made again when one fails. */
static int unmap_run(struct pn_domain *domain, struct mapping *first, struct mapping *last)
{
	struct mapping *mapping, *next;
	int ret;

	if (first == last)
		return unmap_one(domain, first);
	for (mapping = first;; mapping = map_index_next(&domain->index, mapping)) {
		ret = mapping->in_kernel ? kernel_unmap_recorded(domain, mapping) : 0;
		if (ret)
			return unmap_back(domain, first, mapping, ret);
		if (mapping == last)
			break;
	}
	for (mapping = first;; mapping = next) {
		next = mapping == last ? NULL : map_index_next(&domain->index, mapping);
		domain_forget(domain, mapping);
		if (!next)
			return 0;
	}
}

static int fail_cut(uint64_t iova, uint64_t end, const struct mapping *cut)
{
	return pn_fail(EINVAL,
		"IOVAs %#" PRIx64 " to %#" PRIx64 " cut a mapping (%#" PRIx64 " to %#" PRIx64
		"): unmap it whole",
		iova, end, cut->iova, mapping_iova_last(cut));
}

/* The mappings in a range that cuts none. */
static int find_whole(struct pn_domain *domain, uint64_t iova, uint64_t len,
	struct mapping **first_out, struct mapping **last_out)
{
	struct mapping *first, *last, *next;
	uint64_t end;

	if (!len || iova > UINT64_MAX - (len - 1))
		return pn_fail(EINVAL, "IOVA %#" PRIx64 " with length %#" PRIx64 " is not a range",
			iova, len);
	end = iova + (len - 1);
	first = map_index_at_or_after(&domain->index, iova);
	if (!first || first->iova > end)
		return pn_fail(
			ENOENT, "nothing is mapped at IOVAs %#" PRIx64 " to %#" PRIx64, iova, end);
	*first_out = *last_out = first;
	if (first->iova == iova && first->len == len)
		return 0;
	/* The one that holds the end, or the one before what is behind it. */
	next = map_index_at_or_after(&domain->index, end);
	last = next && next->iova <= end ? next
					 : (next ? map_index_prev(&domain->index, next)
						 : map_index_last(&domain->index));
	if (first->iova < iova)
		return fail_cut(iova, end, first);
	if (mapping_iova_last(last) > end)
		return fail_cut(iova, end, last);
	*last_out = last;
	return 0;
}

static int unmap_locked(struct pn_domain *domain, uint64_t iova, uint64_t len)
{
	struct mapping *first = NULL, *last = NULL;
	int ret;

	if (domain->handed_over)
		return domain_changeable(domain);
	ret = find_whole(domain, iova, len, &first, &last);
	return ret ? ret : unmap_run(domain, first, last);
}

int pn_domain_unmap(struct pn_domain *domain, uint64_t iova, uint64_t len)
{
	int ret;

	ret = domain_enter(domain);
	if (ret)
		return ret;
	ret = unmap_locked(domain, iova, len);
	return domain_end(domain, PN_EVENT_UNMAP, ret, iova, len);
}

int pn_domain_unmap_all(struct pn_domain *domain)
{
	struct mapping *first;
	int ret;

	ret = domain_enter(domain);
	if (ret)
		return ret;
	first = map_index_first(&domain->index);
	if (domain->handed_over)
		ret = domain_changeable(domain);
	else if (first)
		ret = unmap_run(domain, first, map_index_last(&domain->index));
	return domain_end(domain, PN_EVENT_UNMAP, ret, 0, ret ? UINT64_MAX : 0);
}
