/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mapping BARs. A BAR takes one reserved range of addresses of its size; what VFIO offers for mmap
 * is mapped into it, so that register offsets stay right and holes cannot be touched.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base_priv.h"
#include "pci_priv.h"

/* A run of bytes of a BAR. */
struct span {
	uint64_t offset, size;
};

/* What may be mapped of a BAR without a list from the kernel: before and behind the MSI-X table. */
struct plan {
	struct span spans[2];
	uint32_t count;
};

static uint64_t page_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

/*
 * Refusals
 */

static bool is_io_bar(struct pn_pci_device *dev, unsigned int bar)
{
	uint32_t raw;

	if (pn_pci_config_read(dev, PCI_BASE_ADDRESS_0 + 4 * bar, &raw, sizeof(raw)) < 0)
		return false;
	return le32toh(raw) & PCI_BASE_ADDRESS_SPACE_IO;
}

static int fail_not_mappable(
	struct pn_pci_device *dev, unsigned int bar, const struct pn_pci_region *region)
{
	if (is_io_bar(dev, bar))
		return pn_fail(EOPNOTSUPP,
			"%s: BAR %u (%" PRIu64 " bytes) is a range of I/O "
			"ports, which cannot be mapped",
			dev->info.address, bar, region->size);
	/* resource_alignment takes the logarithm of the size. */
	if (region->size < page_size())
		return pn_fail(EOPNOTSUPP,
			"%s: VFIO does not let BAR %u be mapped: its %" PRIu64 " bytes share a "
			"page of %" PRIu64 " with something else; the kernel parameter "
			"pci=resource_alignment=%d@%s gives it a page of its own",
			dev->info.address, bar, region->size, page_size(),
			__builtin_ctzll(page_size()), dev->info.address);
	return pn_fail(EOPNOTSUPP, "%s: VFIO does not let BAR %u (%" PRIu64 " bytes) be mapped",
		dev->info.address, bar, region->size);
}

/* Sizes and offsets come from the kernel, and end up in addresses: check what mmap() assumes. */
static int check_region(
	struct pn_pci_device *dev, unsigned int bar, const struct pn_pci_region *region)
{
	uint64_t page = page_size();

	if (!region->size)
		return pn_fail(ENOENT, "%s has no BAR %u (or it is the upper half of a 64-bit BAR)",
			dev->info.address, bar);
	if (!(region->flags & VFIO_REGION_INFO_FLAG_MMAP))
		return fail_not_mappable(dev, bar, region);
	if (region->size > PTRDIFF_MAX - page || region->offset & (page - 1) ||
		region->offset > INT64_MAX - pn_align_up(region->size, page))
		return pn_fail(EIO,
			"%s: VFIO puts BAR %u of %" PRIu64 " bytes at 0x%" PRIx64
			" of its file, which cannot be mapped",
			dev->info.address, bar, region->size, region->offset);
	return 0;
}

/*
 * Which parts
 */

/* The pages that hold the MSI-X table, if it is in this BAR; else size 0. */
static int msix_table(
	struct pn_pci_device *dev, unsigned int bar, uint64_t bar_size, struct span *hole)
{
	uint64_t page = page_size(), first, bytes;
	uint16_t control;
	uint32_t table;
	uint8_t cap;
	int err;

	hole->offset = hole->size = 0;
	err = pn_pci_capability(dev, PCI_CAP_ID_MSIX, &cap);
	if (err)
		return err == -ENOENT ? 0 : err;
	err = pn_pci_config_read(dev, cap + PCI_MSIX_FLAGS, &control, sizeof(control));
	if (!err)
		err = pn_pci_config_read(dev, cap + PCI_MSIX_TABLE, &table, sizeof(table));
	if (err)
		return err;
	if ((le32toh(table) & PCI_MSIX_TABLE_BIR) != bar)
		return 0;
	first = le32toh(table) & PCI_MSIX_TABLE_OFFSET;
	bytes = ((uint64_t)(le16toh(control) & PCI_MSIX_FLAGS_QSIZE) + 1) * PCI_MSIX_ENTRY_SIZE;
	if (first > bar_size || bytes > bar_size - first)
		return pn_fail(EIO,
			"%s: its MSI-X table (%" PRIu64 " bytes at 0x%" PRIx64
			") leaves BAR %u of %" PRIu64 " bytes",
			dev->info.address, bytes, first, bar, bar_size);
	hole->offset = pn_align_down(first, page);
	hole->size = pn_align_up(first + bytes, page) - hole->offset;
	return 0;
}

static void plan_add(struct plan *plan, uint64_t offset, uint64_t end)
{
	if (end > offset)
		plan->spans[plan->count++] = (struct span){offset, end - offset};
}

/*
 * Without a list of areas the whole BAR may be mapped, except the MSI-X table on kernels that do
 * not say VFIO_REGION_INFO_CAP_MSIX_MAPPABLE (before 4.16), where mmap() of it fails.
 */
static int plan_whole(struct pn_pci_device *dev, unsigned int bar,
	const struct pn_pci_region *region, uint64_t len, struct plan *plan)
{
	struct span hole = {0, 0};
	int err;

	plan->count = 0;
	if (!region->msix_mappable) {
		err = msix_table(dev, bar, region->size, &hole);
		if (err)
			return err;
	}
	plan_add(plan, 0, hole.size ? hole.offset : len);
	if (hole.size)
		plan_add(plan, hole.offset + hole.size, len);
	return 0;
}

static int check_area(struct pn_pci_device *dev, unsigned int bar, uint64_t len,
	const struct vfio_region_sparse_mmap_area *area)
{
	uint64_t offset = area->offset, size = area->size;

	if ((offset | size) & (page_size() - 1) || offset > len || size > len - offset)
		return pn_fail(EIO,
			"%s: mappable area of %" PRIu64 " bytes at 0x%" PRIx64
			" is not whole pages of BAR %u (%" PRIu64 " bytes)",
			dev->info.address, size, offset, bar, len);
	return 0;
}

static bool span_has(uint64_t offset, uint64_t size, uint64_t at)
{
	return at >= offset && at - offset < size;
}

static int reach_areas(struct pn_pci_device *dev, unsigned int bar,
	const struct pn_pci_region *region, uint64_t len, uint64_t *at)
{
	const struct vfio_region_sparse_mmap_area *area = region->areas;
	uint64_t before;
	int err;

	/* The areas are in no promised order: go round until none goes on. */
	do {
		before = *at;
		for (uint32_t i = 0; i < region->area_count; i++) {
			err = check_area(dev, bar, len, &area[i]);
			if (err)
				return err;
			if (span_has(area[i].offset, area[i].size, *at))
				*at = area[i].offset + area[i].size;
		}
	} while (*at != before);
	return 0;
}

int pn_pci_bar_reach(struct pn_pci_device *dev, unsigned int bar,
	const struct pn_pci_region *region, uint64_t at, uint64_t *reach)
{
	uint64_t len = pn_align_up(region->size, page_size());
	struct plan plan;
	int err;

	*reach = at;
	if (region->sparse)
		return reach_areas(dev, bar, region, len, reach);
	err = plan_whole(dev, bar, region, len, &plan);
	for (uint32_t i = 0; !err && i < plan.count; i++) {
		if (span_has(plan.spans[i].offset, plan.spans[i].size, at))
			*reach = plan.spans[i].offset + plan.spans[i].size;
	}
	return err;
}

/*
 * Mapping
 */

/* The BAR that is being mapped. */
struct target {
	struct pn_pci_device *dev;
	unsigned int bar;
	const struct pn_pci_region *region;
	unsigned char *base; /* of the reserved range */
	uint64_t len;        /* of the reserved range */
	uint64_t mapped;     /* bytes */
};

static int map_span(struct target *target, uint64_t offset, uint64_t size)
{
	const struct pn_pci_region *region = target->region;
	int prot = 0, err;
	void *addr;

	if (!size)
		return 0;
	if (region->flags & VFIO_REGION_INFO_FLAG_READ)
		prot |= PROT_READ;
	if (region->flags & VFIO_REGION_INFO_FLAG_WRITE)
		prot |= PROT_WRITE;
	addr = mmap(target->base + offset, size, prot, MAP_SHARED | MAP_FIXED, target->dev->fd,
		(off_t)(region->offset + offset));
	if (addr == MAP_FAILED) {
		err = errno;
		return pn_fail(err, "%s: mapping %" PRIu64 " bytes at 0x%" PRIx64 " of BAR %u: %s",
			target->dev->info.address, size, offset, target->bar, strerror(err));
	}
	target->mapped += size;
	return 0;
}

static int map_areas(struct target *target)
{
	const struct vfio_region_sparse_mmap_area *area = target->region->areas;
	int err;

	for (uint32_t i = 0; i < target->region->area_count; i++, area++) {
		err = check_area(target->dev, target->bar, target->len, area);
		if (!err)
			err = map_span(target, area->offset, area->size);
		if (err)
			return err;
	}
	return 0;
}

static int map_whole(struct target *target)
{
	struct plan plan;
	int err;

	err = plan_whole(target->dev, target->bar, target->region, target->len, &plan);
	for (uint32_t i = 0; !err && i < plan.count; i++)
		err = map_span(target, plan.spans[i].offset, plan.spans[i].size);
	return err;
}

static int map_parts(struct target *target)
{
	int err;

	err = target->region->sparse ? map_areas(target) : map_whole(target);
	if (err)
		return err;
	if (!target->mapped)
		return pn_fail(EOPNOTSUPP,
			"%s: VFIO lets no page of BAR %u (%" PRIu64 " bytes) be mapped",
			target->dev->info.address, target->bar, target->region->size);
	return 0;
}

static int map_region(
	struct pn_pci_device *dev, unsigned int bar, const struct pn_pci_region *region)
{
	struct target target = {.dev = dev, .bar = bar, .region = region};
	void *base;
	int err;

	err = check_region(dev, bar, region);
	if (err)
		return err;
	/* vfio_pci_core_mmap() takes a BAR up to the end of its last page. */
	target.len = pn_align_up(region->size, page_size());
	base = mmap(
		NULL, target.len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED) {
		err = errno;
		return pn_fail(err, "%s: no %" PRIu64 " bytes of addresses for BAR %u: %s",
			dev->info.address, target.len, bar, strerror(err));
	}
	target.base = base;
	err = map_parts(&target);
	if (err) {
		munmap(base, target.len);
		return err;
	}
	/* A child has no business with the device; failing, it merely has the mapping too. */
	(void)madvise(base, target.len, MADV_DONTFORK);
	dev->bars[bar] = (struct pn_pci_bar_mapping){base, target.len, region->size};
	return 0;
}

int pn_pci_bar_map(struct pn_pci_device *dev, unsigned int bar, struct pn_bar *out)
{
	struct pn_pci_region region;
	int err;

	*out = (struct pn_bar){NULL, 0};
	if (bar >= PN_PCI_BARS)
		return pn_fail(EINVAL, "%s: there is no BAR %u; a function has BARs 0 to %d",
			dev->info.address, bar, PN_PCI_BARS - 1);
	if (!dev->bars[bar].addr) {
		err = pn_pci_region_get(dev, bar, &region);
		if (err)
			return err;
		out->size = region.size;
		err = map_region(dev, bar, &region);
		pn_pci_region_free(&region);
		if (err)
			return err;
	}
	out->addr = dev->bars[bar].addr;
	out->size = dev->bars[bar].size;
	return 0;
}

void pn_pci_bars_unmap(struct pn_pci_device *dev)
{
	struct pn_pci_bar_mapping *mapping;

	for (unsigned int i = 0; i < PN_PCI_BARS; i++) {
		mapping = &dev->bars[i];
		if (mapping->addr)
			munmap(mapping->addr, mapping->len);
		mapping->addr = NULL;
	}
}
