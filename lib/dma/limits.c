/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which IOVAs are valid in a domain: what the kernel says, within the bits that every device of the
 * domain can send.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "domain.h"

/*
 * Before a device is attached the kernel cannot say which IOVAs are valid. Those that Pinion
 * chooses are from 4 GiB to 2^39: above the interrupt window and the reserved ranges of firmware,
 * within the 39 bits that every VT-d unit has. For devices that cannot send that: from 1 MiB to the
 * interrupt window. A caller may demand others. Attach looks again.
 */
#define GUESS_FIRST     (UINT64_C(1) << 32)
#define GUESS_LAST      ((UINT64_C(1) << 39) - 1)
#define GUESS_LOW_FIRST (UINT64_C(1) << 20)
#define GUESS_LOW_LAST  (UINT64_C(0xfee00000) - 1)

uint64_t limits_page(uint64_t page_sizes)
{
	uint64_t page = page_sizes & -page_sizes;

	/* The kernel counts in 4 KiB pages where the IOMMU could do less. */
	return page < PN_PAGE_4K ? PN_PAGE_4K : page;
}

static uint64_t highest(unsigned int bits)
{
	return bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
}

unsigned int limits_bits(const struct pn_domain *domain, const struct attached *but)
{
	const struct attached *device;
	unsigned int bits = domain->iova_bits;

	for (device = domain->devices; device; device = device->next) {
		if (device != but && device->bits < bits)
			bits = device->bits;
	}
	return bits;
}

/* Those of the ranges that lie within the bits, in an array of their own; NULL: no memory. */
static struct pn_iova_range *clip(const struct pn_iova_range *ranges, unsigned int count,
	unsigned int bits, unsigned int *out_count)
{
	/* One more: an array of none is one of its own too. */
	struct pn_iova_range *out = calloc(count + 1u, sizeof(*out));
	unsigned int i;

	*out_count = 0;
	for (i = 0; out && i < count && ranges[i].first <= highest(bits); i++) {
		out[i] = ranges[i];
		if (out[i].last > highest(bits))
			out[i].last = highest(bits);
		(*out_count)++;
	}
	return out;
}

static struct pn_iova_range guess_for(unsigned int bits)
{
	if (bits > 32)
		return (struct pn_iova_range){GUESS_FIRST, GUESS_LAST};
	return (struct pn_iova_range){GUESS_LOW_FIRST, GUESS_LOW_LAST};
}

int limits_guess(struct pn_domain *domain)
{
	struct pn_iova_range guess = guess_for(domain->iova_bits);
	struct pn_iova_range all = {0, highest(domain->iova_bits)};

	domain->ranges = clip(&guess, 1, domain->iova_bits, &domain->range_count);
	if (!domain->ranges || iova_space_init(&domain->space, &all, 1))
		return pn_fail(ENOMEM, "no memory for the ranges of valid IOVAs");
	domain->space.window = domain->ranges[0];
	return 0;
}

bool limits_may_choose(const struct pn_domain *domain, uint64_t iova, uint64_t len)
{
	const struct pn_iova_range *window = &domain->space.window;

	return iova >= window->first && iova <= window->last && len - 1 <= window->last - iova;
}

static bool within(
	const struct pn_iova_range *ranges, unsigned int count, const struct mapping *mapping)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (mapping->iova >= ranges[i].first &&
			mapping->iova + (mapping->len - 1) <= ranges[i].last)
			return true;
	}
	return false;
}

/* The first mapping that does not lie within one of the ranges, or NULL. */
static struct mapping *outside(
	struct pn_domain *domain, const struct pn_iova_range *ranges, unsigned int count)
{
	struct mapping *mapping = map_index_first(&domain->index);

	while (mapping && within(ranges, count, mapping))
		mapping = map_index_next(&domain->index, mapping);
	return mapping;
}

static int check_pages(struct pn_domain *domain, uint64_t page)
{
	struct mapping *mapping;

	for (mapping = map_index_first(&domain->index); mapping && page > PN_PAGE_4K;
		mapping = map_index_next(&domain->index, mapping)) {
		if ((mapping->iova | mapping->vaddr | mapping->len) & (page - 1))
			return pn_fail(EINVAL,
				"the mapping at IOVA %#" PRIx64
				" is not aligned to the IOMMU's smallest page, %" PRIu64 " bytes",
				mapping->iova, page);
	}
	return 0;
}

/* The IOVAs of all mappings taken in a space of their own. 0 or -ENOMEM with nothing left. */
static int build_space(struct pn_domain *domain, const struct pn_iova_range *ranges,
	unsigned int count, struct iova_space *space)
{
	struct mapping *mapping;
	int ret;

	ret = iova_space_init(space, ranges, count);
	for (mapping = map_index_first(&domain->index); mapping && !ret;
		mapping = map_index_next(&domain->index, mapping))
		ret = iova_space_take(space, mapping->iova, mapping->len);
	if (ret)
		iova_space_free(space);
	return ret;
}

/* The ranges of a plan within so many bits. Every mapping is known to lie in them. */
static int plan_ranges(struct pn_domain *domain, const struct pn_iova_range *ranges,
	unsigned int count, struct limits_plan *plan)
{
	int ret = build_space(domain, ranges, count, &plan->space);

	if (ret)
		return pn_fail(-ret, "no memory for %u ranges of valid IOVAs", count);
	plan->ranges = (struct pn_iova_range *)ranges;
	plan->range_count = count;
	return 0;
}

void limits_drop(struct limits_plan *plan)
{
	iova_space_free(&plan->space);
	free(plan->ranges);
	free(plan->kernel.ranges);
}

void limits_commit(struct pn_domain *domain, struct limits_plan *plan)
{
	iova_space_free(&domain->space);
	domain->space = plan->space;
	free(domain->ranges);
	domain->ranges = plan->ranges;
	domain->range_count = plan->range_count;
	if (!plan->kernel.ranges)
		return;
	free(domain->kernel_ranges);
	domain->kernel_ranges = plan->kernel.ranges;
	domain->kernel_range_count = plan->kernel.range_count;
	domain->page_sizes = plan->kernel.page_sizes;
	domain->entries = plan->kernel.entries_left > UINT64_MAX - plan->held
				  ? UINT64_MAX
				  : plan->kernel.entries_left + plan->held;
	domain->limits_known = true;
}

static int fail_outside(const struct mapping *mapping, const struct pn_iova_range *ranges,
	unsigned int count, unsigned int bits)
{
	return pn_fail(EINVAL,
		"the mapping at IOVAs %#" PRIx64 " to %#" PRIx64
		" is outside what the IOMMU and the device take (%u ranges, the last up to "
		"%#" PRIx64 ", devices send %u bits): map it again with the device attached",
		mapping->iova, mapping->iova + (mapping->len - 1), count,
		count ? ranges[count - 1].last : 0, bits);
}

int limits_plan(struct pn_domain *domain, struct pn_backend_limits *limits, unsigned int bits,
	uint64_t held, struct limits_plan *plan)
{
	struct pn_iova_range *ranges;
	struct mapping *mapping;
	unsigned int count;
	int ret;

	memset(plan, 0, sizeof(*plan));
	if (!held && map_index_count(&domain->index) > limits->entries_left)
		return pn_fail(ENOSPC,
			"%zu mappings are queued, the kernel takes %" PRIu64 "; " ENTRY_BUDGET_MEND,
			map_index_count(&domain->index), limits->entries_left);
	ret = check_pages(domain, limits_page(limits->page_sizes));
	if (ret)
		return ret;
	ranges = clip(limits->ranges, limits->range_count, bits, &count);
	if (!ranges)
		return pn_fail(
			ENOMEM, "no memory for %u ranges of valid IOVAs", limits->range_count);
	mapping = outside(domain, ranges, count);
	ret = mapping ? fail_outside(mapping, ranges, count, bits)
		      : plan_ranges(domain, ranges, count, plan);
	if (ret) {
		free(ranges);
		return ret;
	}
	plan->kernel = *limits;
	plan->held = held;
	limits->ranges = NULL;
	return 0;
}

static int fail_narrow(const struct mapping *mapping, unsigned int bits)
{
	return pn_fail(ERANGE,
		"the device sends %u bits of an IOVA, and a mapping stands at %#" PRIx64
		" to %#" PRIx64 ": unmap that first, or create the domain with iova_bits %u",
		bits, mapping->iova, mapping->iova + (mapping->len - 1), bits);
}

/* Nothing is known yet: all that the device can send, and the guess to choose from. */
static int plan_guess(struct pn_domain *domain, unsigned int bits, struct limits_plan *plan)
{
	struct pn_iova_range guess = guess_for(bits), all = {0, highest(bits)};
	struct mapping *mapping = outside(domain, &all, 1);

	if (mapping)
		return fail_narrow(mapping, bits);
	plan->ranges = clip(&guess, 1, bits, &plan->range_count);
	if (!plan->ranges || build_space(domain, &all, 1, &plan->space)) {
		free(plan->ranges);
		return pn_fail(ENOMEM, "no memory for the ranges of valid IOVAs");
	}
	plan->space.window = plan->ranges[0];
	return 0;
}

static int plan_known(struct pn_domain *domain, unsigned int bits, struct limits_plan *plan)
{
	struct pn_iova_range *ranges;
	struct mapping *mapping;
	unsigned int count;
	int ret;

	ranges = clip(domain->kernel_ranges, domain->kernel_range_count, bits, &count);
	if (!ranges)
		return pn_fail(ENOMEM, "no memory for the ranges of valid IOVAs");
	mapping = outside(domain, ranges, count);
	ret = mapping ? fail_narrow(mapping, bits) : plan_ranges(domain, ranges, count, plan);
	if (ret)
		free(ranges);
	return ret;
}

int limits_narrow(struct pn_domain *domain, unsigned int bits)
{
	struct limits_plan plan = {.held = 0};
	int ret;

	ret = domain->limits_known ? plan_known(domain, bits, &plan)
				   : plan_guess(domain, bits, &plan);
	if (!ret)
		limits_commit(domain, &plan);
	return ret;
}
