/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions of addresses that the application has mapped: looks at what is mapped there, refuses what
 * cannot be pinned, and brings in what is to be.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base_priv.h"
#include "mem_priv.h"

static uint64_t first_of(const struct pn_region *region)
{
	return (uint64_t)(uintptr_t)region->vaddr;
}

static uint64_t end_of(const struct pn_region *region)
{
	return first_of(region) + region->size;
}

/*
 * Refusals
 */

/* Every address is in a mapping, which may be read. */
static int check_covered(const struct pn_region *region)
{
	const struct pn_vma *vma = region->vmas.list;
	uint64_t at = first_of(region);
	size_t i;

	for (i = 0; i < region->vmas.count; i++, vma++) {
		if (vma->start != at)
			break;
		if (!vma->read)
			return pn_fail(EFAULT,
				"addresses %#" PRIx64 " to %#" PRIx64 ": from %#" PRIx64
				" on they may not be read (mprotect)",
				first_of(region), end_of(region) - 1, at);
		at = vma->end;
	}
	if (at == end_of(region))
		return 0;
	return pn_fail(EFAULT,
		"addresses %#" PRIx64 " to %#" PRIx64 ": at %#" PRIx64 " nothing is mapped",
		first_of(region), end_of(region) - 1, at);
}

/* mm/gup.c:check_vma_flags() answers EFAULT to all of these. */
static int check_pinnable(const struct pn_vma *vma, bool read_only)
{
	bool written_back = vma->shared && vma->write && !vma->hugetlb && !read_only;
	char type[32];
	int ret;

	if (vma->io)
		return pn_fail(EOPNOTSUPP,
			"address %#" PRIx64 " is in a mapping of a device, not of memory; "
			"pn_pci_bar_region() makes a region of a BAR",
			vma->start);
	if (!vma->secret && !written_back)
		return 0;
	ret = pn_filesystem_pins(vma->device, type);
	if (ret != -EOPNOTSUPP)
		return ret;
	if (vma->secret && !type[0])
		return pn_fail(EOPNOTSUPP,
			"address %#" PRIx64 " is secret memory (memfd_secret), which the kernel "
			"pins for nobody",
			vma->start);
	if (!written_back)
		return 0;
	return pn_fail(EOPNOTSUPP,
		"address %#" PRIx64 " is in a writable shared mapping of a file %s%s, which Linux "
		"6.5 and newer do not pin for writing; use a memfd, tmpfs or hugetlbfs, a private "
		"mapping, or read_only",
		vma->start, type[0] ? "on " : "that is on no mounted file system", type);
}

/* The size of the pages if the range consists of whole hugetlb pages of one size. */
static uint64_t common_page_size(const struct pn_region *region)
{
	uint64_t size = region->vmas.list[0].page_size;
	size_t i;

	for (i = 0; i < region->vmas.count; i++) {
		if (!region->vmas.list[i].hugetlb || region->vmas.list[i].page_size != size)
			return PN_PAGE_4K;
	}
	return (first_of(region) | region->size) & (size - 1) ? PN_PAGE_4K : size;
}

static int judge(struct pn_region *region, const struct pn_region_opts *opts)
{
	int ret;
	size_t i;

	ret = check_covered(region);
	for (i = 0; i < region->vmas.count && !ret; i++) {
		ret = check_pinnable(&region->vmas.list[i], opts->read_only);
		region->writable &= region->vmas.list[i].write;
	}
	if (ret)
		return ret;
	region->page_size = common_page_size(region);
	return pn_region_check_opts(opts, PN_BACKING_RANGE, region->page_size);
}

/*
 * Bringing in
 */

/* What a pin would otherwise find as it is, and a later write would replace. */
static bool is_written(const struct pn_region *region, const struct pn_vma *vma)
{
	return vma->write && (!vma->shared || region->writable);
}

/* Bytes of new memory that bringing it in takes. */
static int bytes_missing(const struct pn_vma *vma, uint64_t *bytes)
{
	struct pn_page_count pages = {0, 0};
	int ret = 0;

	/* The pool of hugepages is not overcommitted: what is missing there kills nobody. */
	if (vma->hugetlb)
		return 0;
	if (vma->shared || (vma->inode && !vma->write))
		ret = pn_pages_uncached(vma->start, vma->end, &pages);
	else if (vma->write)
		ret = pn_pages_to_copy(vma->start, vma->end, &pages);
	/* A program with file capabilities may not read its own pagemap. */
	if (ret == -EACCES || ret == -EPERM || ret == -ENOENT)
		return 0;
	if (ret)
		return pn_fail(-ret, "looking which pages from %#" PRIx64 " on are there: %s",
			vma->start, strerror(-ret));
	*bytes += pages.count * PN_PAGE_4K;
	return 0;
}

static int fail_populate(int err, const struct pn_vma *vma)
{
	uint64_t len = vma->end - vma->start;

	if (err == EINVAL)
		return pn_fail(EOPNOTSUPP,
			"this kernel has no MADV_POPULATE_WRITE: Linux 5.14 and newer do");
	if (err == EFAULT && vma->hugetlb)
		return pn_fail_no_hugepages(
			ENOMEM, pn_align_up(len, vma->page_size), vma->page_size, PN_NODE_ANY);
	return pn_fail(err, "bringing in the memory at %#" PRIx64 " to %#" PRIx64 ": %s%s",
		vma->start, vma->end - 1, strerror(err),
		err == EFAULT ? " (it lies behind the end of its file, or its file system is full)"
			      : "");
}

static int bring_in(const struct pn_region *region)
{
	const struct pn_vma *list = region->vmas.list, *vma;
	uint64_t missing = 0;
	int ret = 0;

	for (vma = list; vma < list + region->vmas.count && !ret; vma++)
		ret = bytes_missing(vma, &missing);
	if (!ret)
		ret = pn_memory_check(missing);
	if (ret)
		return ret;
	for (vma = list; vma < list + region->vmas.count; vma++) {
		ret = pn_populate((void *)(uintptr_t)vma->start, vma->end - vma->start,
			is_written(region, vma));
		if (ret)
			return fail_populate(-ret, vma);
	}
	return 0;
}

/*
 * What a device may see
 */

static bool is_private_read_only(const struct pn_vma *vma)
{
	return !vma->shared && !vma->write && !vma->hugetlb;
}

static void note_file(struct pn_region *region, const struct pn_vma *vma)
{
	snprintf(region->note, sizeof(region->note),
		"%#" PRIx64 " is in a private mapping that cannot be written to: before Linux 6.2 "
		"the file's own page is pinned, afterwards a copy: should the file or the "
		"protection change, devices and the process may see different data",
		vma->start);
}

static void note_zero(struct pn_region *region, const struct pn_page_count *zero, bool exact)
{
	snprintf(region->note, sizeof(region->note),
		"%s%" PRIu64 " pages, the first at %#" PRIx64 ", are the shared zero page, in a "
		"private mapping that cannot be written to: before Linux 6.2 it is pinned, "
		"uncharged, and a device goes on reading zeros should they be written to",
		exact ? "" : "up to ", zero->count, zero->first);
}

/* Memory that was brought in as it is, for it could not be written to. */
static void note_private(struct pn_region *region)
{
	struct pn_page_count zero, sum = {0, 0};
	const struct pn_vma *vma = region->vmas.list;
	bool exact = true, here;

	for (size_t i = 0; i < region->vmas.count; i++, vma++) {
		if (!is_private_read_only(vma))
			continue;
		if (vma->inode) {
			if (!region->note[0])
				note_file(region, vma);
			continue;
		}
		if (pn_pages_zero(vma->start, vma->end, &zero, &here)) {
			region->zero_pages = UINT64_MAX;
			snprintf(region->note, sizeof(region->note),
				"%#" PRIx64
				" is in a private mapping that cannot be written to: which of its "
				"pages are the shared zero page cannot be seen "
				"(/proc/self/pagemap); before Linux 6.2 a device would go on "
				"reading zeros should they be written to",
				vma->start);
			return;
		}
		sum.first = sum.count ? sum.first : zero.first;
		sum.count += zero.count;
		exact = exact && here;
	}
	region->zero_pages = sum.count;
	/* The worse of the two. */
	if (sum.count)
		note_zero(region, &sum, exact);
}

/*
 * fork()
 */

/* The kernel splits a hugetlb mapping at whole pages only (hugetlb_vm_op_split()). */
static int advise(const struct pn_vma *vma, int advice)
{
	uint64_t page = vma->hugetlb ? vma->page_size : PN_PAGE_4K;
	uint64_t start = pn_align_down(vma->start, page);

	return madvise((void *)(uintptr_t)start, pn_align_up(vma->end, page) - start, advice)
		       ? -errno
		       : 0;
}

/* What was not for children before us stays so. */
static void undo_keep(const struct pn_vma *list, const struct pn_vma *end)
{
	int ret;

	for (const struct pn_vma *vma = list; vma < end; vma++) {
		ret = vma->dont_fork ? 0 : advise(vma, MADV_DOFORK);
		if (ret)
			pn_log(PN_LOG_WARNING,
				"children of fork() still do not get the memory at %#" PRIx64
				": madvise(MADV_DOFORK): %s",
				vma->start, strerror(-ret));
	}
}

static int keep_from_children(struct pn_region *region)
{
	const struct pn_vma *list = region->vmas.list, *vma;
	int ret;

	for (vma = list; vma < list + region->vmas.count; vma++) {
		ret = vma->dont_fork ? 0 : advise(vma, MADV_DONTFORK);
		if (ret) {
			undo_keep(list, vma);
			return pn_fail(-ret,
				"madvise(MADV_DONTFORK) of the memory at %#" PRIx64 ": %s",
				vma->start, strerror(-ret));
		}
	}
	region->dont_fork = true;
	return 0;
}

void pn_range_release(const struct pn_region *region)
{
	struct pn_vma *vma = region->vmas.list, *end = vma + region->vmas.count;
	const char *what;
	struct pn_vmas now;

	if (!region->dont_fork)
		return;
	/* Whatever was mapped there since has nothing to do with this region. */
	if (pn_vmas_read(first_of(region), end_of(region), &now)) {
		pn_log(PN_LOG_WARNING, "region \"%s\": %s", region->name, pn_error());
		return;
	}
	for (; vma < end; vma++) {
		if (pn_vma_differs(vma, &now, true, &what) == vma->end)
			undo_keep(vma, vma + 1);
	}
	free(now.list);
}

/*
 * Together
 */

static int check_range(const void *vaddr, uint64_t len)
{
	uint64_t start = (uint64_t)(uintptr_t)vaddr;

	if (!len || (start | len) & (PN_PAGE_4K - 1))
		return pn_fail(EINVAL,
			"%" PRIu64 " bytes at %#" PRIx64 " are not whole pages: both must be "
			"multiples of 4096",
			len, start);
	if (start > UINT64_MAX - len)
		return pn_fail(EINVAL,
			"%" PRIu64 " bytes at %#" PRIx64 " go beyond the last address", len, start);
	return 0;
}

int pn_region_from_range(
	struct pn_region **out, void *vaddr, uint64_t len, const struct pn_region_opts *opts)
{
	static const struct pn_region_opts defaults = PN_REGION_OPTS_INIT;
	struct pn_region *region;
	int ret;

	opts = opts ? opts : &defaults;
	ret = check_range(vaddr, len);
	if (ret)
		return ret;
	region = pn_region_new(PN_BACKING_RANGE, opts);
	if (!region)
		return -ENOMEM;
	region->vaddr = vaddr;
	region->size = len;
	ret = pn_vmas_read(first_of(region), end_of(region), &region->vmas);
	if (!ret)
		ret = judge(region, opts);
	if (!ret)
		ret = bring_in(region);
	if (!ret)
		note_private(region);
	if (!ret && !opts->keep_on_fork)
		ret = keep_from_children(region);
	if (ret) {
		free(region->vmas.list);
		free(region);
		return ret;
	}
	region->numa_node = pn_node_of(vaddr);
	*out = region;
	return 0;
}
