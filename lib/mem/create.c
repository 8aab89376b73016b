/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions of new memory, which is there before anything maps it. Chooses the backing, reserves,
 * places and writes every page, and says when it is not what was hoped for.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <numa.h>
#include <numaif.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/memfd.h>

#include "base_priv.h"
#include "mem_priv.h"

static void set_note(struct pn_region *region, const char *text)
{
	snprintf(region->note, sizeof(region->note), "%.255s", text);
}

static bool enough_hugepages(uint64_t bytes, uint64_t page_size, int node)
{
	struct pn_hugepages pool, all;

	if (pn_hugepages_read(&all, page_size, PN_NODE_ANY) || all.reserved > all.free)
		return false;
	if (all.free - all.reserved < bytes / page_size)
		return false;
	if (node == PN_NODE_ANY)
		return true;
	return !pn_hugepages_read(&pool, page_size, node) && pool.free >= bytes / page_size;
}

static unsigned int memfd_huge_flag(uint64_t page_size)
{
	return (unsigned int)__builtin_ctzll(page_size) << MFD_HUGE_SHIFT;
}

static int open_hugetlbfs(struct pn_region *region, const struct pn_region_opts *opts)
{
	char dir[256], file[300], size[32];
	uint64_t found;
	int fd, err;

	if (opts->hugetlbfs_path) {
		found = pn_hugetlbfs_page_size(opts->hugetlbfs_path);
		if (found != region->page_size)
			return pn_fail(EINVAL, "%s is not on a hugetlbfs with pages of %s",
				opts->hugetlbfs_path, pn_size_text(region->page_size, size));
		if (strlen(opts->hugetlbfs_path) >= sizeof(dir))
			return pn_fail(ENAMETOOLONG, "the hugetlbfs path is too long");
		strcpy(dir, opts->hugetlbfs_path);
	} else if (pn_hugetlbfs_find(region->page_size, dir, sizeof(dir))) {
		return pn_fail(ENOENT,
			"no hugetlbfs with pages of %s is mounted that this process may write to; "
			"as root: mount "
			"-t hugetlbfs -o pagesize=%" PRIu64 "M,uid=%u,mode=0700 none DIRECTORY",
			pn_size_text(region->page_size, size), region->page_size >> 20, getuid());
	}
	snprintf(file, sizeof(file), "%s/pinion-XXXXXX", dir);
	fd = mkostemp(file, O_CLOEXEC);
	if (fd < 0)
		return pn_fail(errno, "creating a file in %s: %s", dir, strerror(errno));
	/* Without a name it goes with the last user of it, however that one ends. */
	if (unlink(file)) {
		err = errno;
		close(fd);
		return pn_fail(err, "removing %s: %s", file, strerror(err));
	}
	return fd;
}

static int open_memfd(const struct pn_region *region, unsigned int flags)
{
	int fd = memfd_create(region->name, MFD_CLOEXEC | flags);

	if (fd < 0)
		return pn_fail(errno, "memfd_create(%s): %s",
			flags & MFD_HUGETLB ? "MFD_HUGETLB" : "", strerror(errno));
	return fd;
}

static int open_backing(struct pn_region *region, const struct pn_region_opts *opts)
{
	switch (region->backing) {
	case PN_BACKING_HUGETLB_MEMFD:
		return open_memfd(region, MFD_HUGETLB | memfd_huge_flag(region->page_size));
	case PN_BACKING_HUGETLBFS:
		return open_hugetlbfs(region, opts);
	case PN_BACKING_MEMFD:
		return open_memfd(region, 0);
	default:
		break;
	}
	return pn_fail(EINVAL, "unknown backing %d", (int)region->backing);
}

static int bind_to_node(const struct pn_region *region, int node)
{
	struct bitmask *mask;
	int ret = 0;

	if (node == PN_NODE_ANY)
		return 0;
	if (numa_available() < 0) {
		if (node == 0)
			return 0;
		return pn_fail(EINVAL, "node %d was asked for, but this machine has no NUMA", node);
	}
	if (node < 0 || node > numa_max_node())
		return pn_fail(EINVAL, "node %d was asked for; this machine has nodes 0 to %d",
			node, numa_max_node());
	mask = numa_allocate_nodemask();
	if (!mask)
		return pn_fail(ENOMEM, "no memory for a node mask");
	numa_bitmask_setbit(mask, (unsigned int)node);
	if (mbind(region->vaddr, region->size, MPOL_BIND, mask->maskp, mask->size + 1, 0))
		ret = pn_fail(errno, "binding %" PRIu64 " bytes to node %d: %s", region->size, node,
			strerror(errno));
	numa_free_nodemask(mask);
	return ret;
}

/* mm/mmap.c: do_mmap() has EAGAIN for memory that is to be locked and does not fit
 * (mlock_future_ok()), hugepages included. */
static int fail_map(int err, const struct pn_region *region, int node)
{
	if (err == EAGAIN)
		return pn_fail(EAGAIN,
			"mapping %" PRIu64 " bytes: %s: this process locks all that it maps "
			"(mlockall with MCL_FUTURE), hugepages ask for room too, and "
			"RLIMIT_MEMLOCK is too low for it; what is needed says: pinion plan "
			"--mlockall",
			region->size, strerror(err));
	if (region->page_size != PN_PAGE_4K)
		return pn_fail_no_hugepages(err, region->size, region->page_size, node);
	return pn_fail(err, "mapping %" PRIu64 " bytes: %s", region->size, strerror(err));
}

/* The whole of one attempt, with page size and backing decided. On failure nothing is left. */
static int build(struct pn_region *region, const struct pn_region_opts *opts)
{
	bool huge = region->page_size != PN_PAGE_4K;
	int ret;

	ret = huge ? 0 : pn_memory_check(region->size);
	if (ret)
		return ret;
	if (pn_file_size_allowed(region->size))
		return pn_fail(EFBIG,
			"a region of %" PRIu64 " bytes is a file to the kernel, and RLIMIT_FSIZE "
			"is smaller; before the program starts: "
			"ulimit -f unlimited",
			region->size);
	region->fd = open_backing(region, opts);
	if (region->fd < 0)
		return region->fd;
	if (ftruncate(region->fd, (off_t)region->size)) {
		ret = pn_fail(errno, "sizing the memory file to %" PRIu64 " bytes: %s",
			region->size, strerror(errno));
		goto close_fd;
	}
	region->guard = opts->guard ? PN_GUARD : 0;
	region->vaddr =
		pn_map_guarded(region->size, PROT_READ | PROT_WRITE, region->fd, 0, region->guard);
	if (region->vaddr == MAP_FAILED) {
		ret = fail_map(errno, region, opts->numa_node);
		goto close_fd;
	}
	ret = bind_to_node(region, opts->numa_node);
	if (ret)
		goto unmap;
	ret = pn_region_populate(region, opts);
	if (ret) {
		/* hugetlb answers a missing page with EFAULT (VM_FAULT_SIGBUS); to the caller it is
		 * memory. What is there already would count as somebody else's. */
		if (huge && ftruncate(region->fd, 0))
			pn_log(PN_LOG_INFO, "emptying the file: %s", strerror(errno));
		ret = huge ? pn_fail_no_hugepages(
				     ENOMEM, region->size, region->page_size, opts->numa_node)
			   : pn_fail(-ret, "bringing in %" PRIu64 " bytes of memory: %s",
				     region->size, strerror(-ret));
		goto unmap;
	}
	ret = pn_region_keep_from_children(region, opts);
	if (!ret)
		ret = pn_region_expect_file(region, region->fd, 0);
	if (ret)
		goto unmap;
	region->numa_node = pn_node_of(region->vaddr);
	return 0;

unmap:
	pn_unmap_guarded(region->vaddr, region->size, region->guard);
	region->dont_fork = false;
close_fd:
	close(region->fd);
	region->fd = -1;
	region->vaddr = NULL;
	return ret;
}

static int build_huge(struct pn_region *region, const struct pn_region_opts *opts)
{
	int ret;

	if (opts->backing != PN_BACKING_AUTO || opts->hugetlbfs_path) {
		region->backing = opts->hugetlbfs_path ? PN_BACKING_HUGETLBFS : opts->backing;
		return build(region, opts);
	}
	region->backing = PN_BACKING_HUGETLB_MEMFD;
	ret = build(region, opts);
	/* A seccomp filter may forbid memfd_create(): a mount serves as well. */
	if (ret != -EPERM && ret != -ENOSYS && ret != -EACCES)
		return ret;
	region->backing = PN_BACKING_HUGETLBFS;
	return build(region, opts);
}

/* The library's choice: 1 GiB, 2 MiB, 4 KiB; what had to be passed over is noted. */
static int build_auto(struct pn_region *region, const struct pn_region_opts *opts, uint64_t bytes)
{
	static const uint64_t sizes[] = {PN_PAGE_1G, PN_PAGE_2M};
	char text[PN_ERROR_MAX + 64] = "";
	int ret = -ENOMEM;
	size_t i;

	for (i = 0; i < PN_ARRAY_SIZE(sizes); i++) {
		if (sizes[i] == PN_PAGE_1G && bytes % PN_PAGE_1G)
			continue;
		if (bytes > UINT64_MAX - sizes[i])
			break;
		region->page_size = sizes[i];
		region->size = pn_align_up(bytes, sizes[i]);
		if (!enough_hugepages(region->size, sizes[i], opts->numa_node))
			ret = pn_fail_no_hugepages(ENOMEM, region->size, sizes[i], opts->numa_node);
		else
			ret = build_huge(region, opts);
		if (!ret)
			return 0;
	}
	snprintf(text, sizeof(text), "4 KiB pages: %s", pn_error());
	if (opts->backing != PN_BACKING_AUTO || opts->hugetlbfs_path)
		return ret;
	region->page_size = PN_PAGE_4K;
	region->size = pn_align_up(bytes, PN_PAGE_4K);
	region->backing = PN_BACKING_MEMFD;
	ret = build(region, opts);
	if (!ret) {
		set_note(region, text);
		pn_log(PN_LOG_WARNING, "region \"%s\" is on %s", region->name, region->note);
	}
	return ret;
}

static int check_opts(uint64_t bytes, const struct pn_region_opts *opts)
{
	uint64_t page = opts->page_size;

	if (page && page != PN_PAGE_4K && page != PN_PAGE_2M && page != PN_PAGE_1G)
		return pn_fail(EINVAL,
			"a page size of %" PRIu64
			" bytes is not known: 4096, 2097152, 1073741824 or 0",
			page);
	if (opts->backing < PN_BACKING_AUTO || opts->backing > PN_BACKING_MEMFD)
		return pn_fail(EINVAL, "the backing %s (%d) is not one of new memory",
			pn_backing_name(opts->backing), (int)opts->backing);
	if (opts->read_only)
		return pn_fail(EINVAL, "new memory that cannot be written to serves nothing: "
				       "read_only is for memory that is handed in");
	if (page == PN_PAGE_4K && (opts->hugetlbfs_path || opts->backing == PN_BACKING_HUGETLBFS ||
					  opts->backing == PN_BACKING_HUGETLB_MEMFD))
		return pn_fail(
			EINVAL, "hugetlb memory has no pages of 4 KiB: ask for 2 MiB or 1 GiB");
	if (page > PN_PAGE_4K && opts->backing == PN_BACKING_MEMFD)
		return pn_fail(EINVAL, "a plain memfd has pages of 4 KiB only");
	if (opts->hugetlbfs_path && opts->backing != PN_BACKING_AUTO &&
		opts->backing != PN_BACKING_HUGETLBFS)
		return pn_fail(EINVAL, "a hugetlbfs path goes with the backing hugetlbfs only");
	if (opts->hugetlbfs_path && !pn_hugetlbfs_page_size(opts->hugetlbfs_path))
		return pn_fail(EINVAL,
			"%s is not a directory on a hugetlbfs; as root: mount -t hugetlbfs -o "
			"pagesize=2M,uid=%u,mode=0700 none %s",
			opts->hugetlbfs_path, getuid(), opts->hugetlbfs_path);
	if (!bytes || bytes > (UINT64_C(1) << 47))
		return pn_fail(
			EINVAL, "a region of %" PRIu64 " bytes: the size must be 1 to 2^47", bytes);
	return 0;
}

int pn_region_create(struct pn_region **out, uint64_t bytes, const struct pn_region_opts *opts)
{
	static const struct pn_region_opts defaults = PN_REGION_OPTS_INIT;
	struct pn_region *region;
	int ret;

	if (!opts)
		opts = &defaults;
	ret = check_opts(bytes, opts);
	if (ret)
		return ret;
	region = pn_region_new(PN_BACKING_AUTO, opts);
	if (!region)
		return -ENOMEM;
	region->page_size = opts->page_size;
	if (!region->page_size && opts->hugetlbfs_path)
		region->page_size = pn_hugetlbfs_page_size(opts->hugetlbfs_path);
	if (!region->page_size && opts->backing == PN_BACKING_MEMFD)
		region->page_size = PN_PAGE_4K;

	if (!region->page_size) {
		ret = build_auto(region, opts, bytes);
	} else {
		region->size = pn_align_up(bytes, region->page_size);
		region->backing = PN_BACKING_MEMFD;
		ret = region->page_size == PN_PAGE_4K ? build(region, opts)
						      : build_huge(region, opts);
	}
	if (ret) {
		free(region);
		return ret;
	}
	*out = region;
	return 0;
}
