/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What all regions have in common, wherever their memory is from: who uses them, what they are, who
 * may write to them, and how they end. create.c, from_range.c, from_fd.c and from_device.c make
 * them.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base_priv.h"
#include "mem_priv.h"

const char *pn_backing_name(enum pn_backing backing)
{
	switch (backing) {
	case PN_BACKING_AUTO:
		return "auto";
	case PN_BACKING_HUGETLB_MEMFD:
		return "hugetlb-memfd";
	case PN_BACKING_HUGETLBFS:
		return "hugetlbfs";
	case PN_BACKING_MEMFD:
		return "memfd";
	case PN_BACKING_RANGE:
		return "range";
	case PN_BACKING_FILE:
		return "file";
	case PN_BACKING_DEVICE:
		return "device";
	}
	return "unknown";
}

/*
 * Making
 */

struct pn_region *pn_region_new(enum pn_backing backing, const struct pn_region_opts *opts)
{
	struct pn_region *region = calloc(1, sizeof(*region));

	if (!region) {
		(void)pn_fail(ENOMEM, "no memory for a region");
		return NULL;
	}
	region->backing = backing;
	region->numa_node = PN_NODE_ANY;
	region->fd = -1;
	region->writable = !opts->read_only;
	snprintf(region->name, sizeof(region->name), "%s", opts->name ? opts->name : "region");
	return region;
}

int pn_region_check_opts(
	const struct pn_region_opts *opts, enum pn_backing backing, uint64_t page_size)
{
	char wanted[32], found[32];

	if (opts->backing != PN_BACKING_AUTO && opts->backing != backing)
		return pn_fail(EINVAL, "the backing %s does not go with a region of kind %s",
			pn_backing_name(opts->backing), pn_backing_name(backing));
	if (opts->hugetlbfs_path)
		return pn_fail(EINVAL,
			"a hugetlbfs path says where new memory is from; this memory is there "
			"already");
	if (opts->page_size && opts->page_size != page_size)
		return pn_fail(EINVAL, "pages of %s are asked for, the memory has pages of %s",
			pn_size_text(opts->page_size, wanted), pn_size_text(page_size, found));
	return 0;
}

int pn_region_keep_from_children(struct pn_region *region, const struct pn_region_opts *opts)
{
	int err;

	if (opts->keep_on_fork)
		return 0;
	if (madvise(region->vaddr, region->size, MADV_DONTFORK)) {
		err = errno;
		return pn_fail(err, "madvise(MADV_DONTFORK): %s", strerror(err));
	}
	region->dont_fork = true;
	return 0;
}

int pn_region_expect_file(struct pn_region *region, int fd, uint64_t offset)
{
	uint64_t start = (uint64_t)(uintptr_t)region->vaddr;
	struct pn_vma *vma;
	struct stat st;
	int err;

	if (fstat(fd, &st)) {
		err = errno;
		return pn_fail(err, "fstat of the region's file: %s", strerror(err));
	}
	vma = calloc(1, sizeof(*vma));
	if (!vma)
		return pn_fail(ENOMEM, "no memory for a region");
	*vma = (struct pn_vma){
		.start = start,
		.end = start + region->size,
		.offset = offset,
		.inode = st.st_ino,
		.device = st.st_dev,
		.page_size = region->page_size,
		.read = true,
		.write = region->writable,
		.shared = true,
		.hugetlb = region->page_size != PN_PAGE_4K,
		.dont_fork = region->dont_fork,
	};
	region->vmas = (struct pn_vmas){vma, 1};
	return 0;
}

/*
 * Using
 */

void pn_region_get(struct pn_region *region)
{
	__atomic_add_fetch(&region->users, 1, __ATOMIC_RELAXED);
}

void pn_region_put(struct pn_region *region)
{
	__atomic_sub_fetch(&region->users, 1, __ATOMIC_RELEASE);
}

int pn_region_check_write(const struct pn_region *region)
{
	int seals;

	if (!region->writable)
		return pn_fail(EACCES,
			"region \"%s\" (%s) is read only: it was made so, or its memory cannot be "
			"written to",
			region->name, pn_backing_name(region->backing));
	if (region->backing != PN_BACKING_FILE)
		return 0;
	seals = fcntl(region->fd, F_GET_SEALS);
	if (seals >= 0 && seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return pn_fail(EPERM,
			"the file of region \"%s\" has been sealed against writing (%s) since the "
			"region was made",
			region->name,
			seals & F_SEAL_WRITE ? "F_SEAL_WRITE" : "F_SEAL_FUTURE_WRITE");
	return 0;
}

void pn_region_get_info(const struct pn_region *region, struct pn_region_info *info)
{
	info->vaddr = region->vaddr;
	info->size = region->size;
	info->page_size = region->page_size;
	info->backing = region->backing;
	info->numa_node = region->numa_node;
	info->name = region->name;
	info->note = region->note;
	info->writable = region->writable;
	info->zero_pages = region->zero_pages;
}

/*
 * Ending
 */

int pn_region_destroy(struct pn_region *region)
{
	unsigned int users;

	if (!region)
		return 0;
	users = __atomic_load_n(&region->users, __ATOMIC_ACQUIRE);
	if (users)
		return pn_fail(EBUSY,
			"region \"%s\" is still in use by %u mappings, heaps or pins; unmap, "
			"unpin and destroy "
			"those first",
			region->name, users);
	if (region->backing == PN_BACKING_RANGE)
		pn_range_release(region);
	else
		pn_unmap_guarded(region->vaddr, region->size, region->guard);
	if (region->fd >= 0)
		close(region->fd);
	/* The device or the last of its regions: the number is for both. */
	if (region->holders && !__atomic_sub_fetch(region->holders, 1, __ATOMIC_ACQ_REL))
		free(region->holders);
	free(region->vmas.list);
	free(region);
	return 0;
}
