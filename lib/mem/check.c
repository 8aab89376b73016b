/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is the memory behind a region still what it was? Devices keep what was pinned; the process may
 * have other pages there by now.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base_priv.h"
#include "mem_priv.h"

static int fail_stale(const struct pn_region *region, uint64_t at, const char *what)
{
	return pn_fail(ESTALE,
		"region \"%s\" is not what it was: at %#" PRIx64 " (%" PRIu64
		" bytes from its start) %s; unmap it from its domains, which still pin the old "
		"pages",
		region->name, at, at - (uint64_t)(uintptr_t)region->vaddr, what);
}

static int check_mappings(const struct pn_region *region)
{
	uint64_t start = (uint64_t)(uintptr_t)region->vaddr, at;
	const struct pn_vma *vma = region->vmas.list;
	const char *what;
	struct pn_vmas now;
	int ret;

	ret = pn_vmas_read(start, start + region->size, &now);
	for (size_t i = 0; i < region->vmas.count && !ret; i++, vma++) {
		at = pn_vma_differs(vma, &now, region->dont_fork, &what);
		if (at < vma->end)
			ret = fail_stale(region, at, what);
	}
	free(now.list);
	return ret;
}

/*
 * Pages of private memory and hugepages do not leave a page table by themselves, but for swap. Not
 * so those of a private file mapping that was not written to, which are the page cache's.
 */
static bool stays_present(const struct pn_vma *vma)
{
	return vma->hugetlb || (!vma->shared && (vma->write || !vma->inode));
}

static int check_presence(const struct pn_region *region, const struct pn_vma *vma)
{
	struct pn_page_count absent;
	int ret;

	ret = pn_pages_absent(
		vma->start, vma->end, vma->hugetlb ? vma->page_size : PN_PAGE_4K, &absent);
	/* A program with file capabilities may not read its own pagemap. */
	if (ret == -EACCES || ret == -EPERM || ret == -ENOENT)
		return 0;
	if (ret)
		return pn_fail(-ret, "reading /proc/self/pagemap: %s", strerror(-ret));
	if (absent.count)
		return fail_stale(region, absent.first, "the page has been discarded");
	return 0;
}

/*
 * A page that is in swap is no hole to the file, one that was punched is. Asked through a
 * description of its own, as the file's position is shared with whoever has it open. Where that
 * cannot be opened nothing is known.
 */
static int check_hole(const struct pn_region *region)
{
	uint64_t start = (uint64_t)(uintptr_t)region->vaddr;
	char path[40];
	off_t hole;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", region->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	hole = lseek(fd, (off_t)region->offset, SEEK_HOLE);
	close(fd);
	if (hole < 0 || (uint64_t)hole - region->offset >= region->size)
		return 0;
	return fail_stale(region, start + ((uint64_t)hole - region->offset),
		"the file has a hole, where there was a page");
}

static int check_file(const struct pn_region *region)
{
	uint64_t start = (uint64_t)(uintptr_t)region->vaddr, size, left;
	struct pn_page_count uncached;
	struct stat st;
	int err;

	if (fstat(region->fd, &st)) {
		err = errno;
		return pn_fail(
			err, "fstat of the file of region \"%s\": %s", region->name, strerror(err));
	}
	size = st.st_size > 0 ? (uint64_t)st.st_size : 0;
	left = size > region->offset ? size - region->offset : 0;
	if (left < region->size)
		return fail_stale(region, start + pn_align_down(left, PN_PAGE_4K),
			"the file has been made shorter");
	/* Most often all of it is in the page cache, which is seen at once. */
	if (region->page_size == PN_PAGE_4K &&
		!pn_pages_uncached(start, start + region->size, &uncached) && uncached.count)
		return check_hole(region);
	return 0;
}

int pn_region_check(const struct pn_region *region)
{
	const struct pn_vma *vma = region->vmas.list;
	int ret;

	ret = check_mappings(region);
	if (ret || region->backing == PN_BACKING_DEVICE)
		return ret;
	if (region->fd >= 0)
		ret = check_file(region);
	for (size_t i = 0; i < region->vmas.count && !ret; i++, vma++) {
		if (stays_present(vma))
			ret = check_presence(region, vma);
	}
	return ret;
}
