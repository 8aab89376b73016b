/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions: memory that is there before anything maps it. Chooses the backing, reserves, places and
 * writes every page, and says when it is not what was hoped for.
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
#include <sys/random.h>
#include <unistd.h>

#include <linux/memfd.h>

#include "base_priv.h"
#include "mem_priv.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/*
 * Regions are put between 64 GiB and 448 GiB where they can be: such an address is a valid IOVA for
 * an IOMMU with 39 address bits as well, so that IOVA = VA. One slot is 1 GiB, so a region of 1 GiB
 * pages is aligned.
 */
#define SLOT_SIZE  PN_PAGE_1G
#define SLOT_FIRST 64u
#define SLOT_COUNT 384u

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
	}
	return "unknown";
}

void pn_region_get(struct pn_region *region)
{
	__atomic_add_fetch(&region->users, 1, __ATOMIC_RELAXED);
}

void pn_region_put(struct pn_region *region)
{
	__atomic_sub_fetch(&region->users, 1, __ATOMIC_RELEASE);
}

static void set_note(struct pn_region *region, const char *text)
{
	snprintf(region->note, sizeof(region->note), "%.255s", text);
}

static const char *reserve_command(uint64_t page_size, int node, uint64_t pages, char buf[160])
{
	if (node == PN_NODE_ANY)
		snprintf(buf, 160,
			"echo %" PRIu64 " > /sys/kernel/mm/hugepages/hugepages-%" PRIu64
			"kB/nr_hugepages",
			pages, page_size >> 10);
	else
		snprintf(buf, 160,
			"echo %" PRIu64
			" > /sys/devices/system/node/node%d/hugepages/hugepages-%" PRIu64
			"kB/nr_hugepages",
			pages, node, page_size >> 10);
	return buf;
}

/* Say why a region of hugepages cannot be had, with the pool's numbers and the command that
 * enlarges it. */
static int fail_no_hugepages(int err, uint64_t bytes, uint64_t page_size, int node)
{
	uint64_t pages = bytes / page_size, promised;
	struct pn_hugepages pool;
	char size[32], where[32] = "", command[160];

	if (node != PN_NODE_ANY)
		snprintf(where, sizeof(where), " on node %d", node);
	if (pn_hugepages_read(&pool, page_size, node))
		return -err; /* the reason is set: no such pool */
	promised = pool.reserved < pool.free ? pool.reserved : pool.free;
	if (pool.free - promised >= pages)
		return pn_fail(err,
			"%" PRIu64 " pages of %s%s could not be taken (%s) though %" PRIu64
			" are free: look at the hugetlb limit of the cgroup "
			"(hugetlb.*.max in /sys/fs/cgroup) and at the memory policy",
			pages, pn_size_text(page_size, size), where, strerror(err),
			pool.free - promised);
	return pn_fail(err,
		"%" PRIu64 " pages of %s%s are needed, %" PRIu64 " are free (%" PRIu64
		" in the pool, %" PRIu64 " in use or promised); reserve more as root: %s",
		pages, pn_size_text(page_size, size), where, pool.free - promised, pool.total,
		pool.total - (pool.free - promised),
		reserve_command(
			page_size, node, pool.total + pages - (pool.free - promised), command));
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

/* A number behind a name in a text like /proc/meminfo; UINT64_MAX if it is not there. */
static uint64_t number_after(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtoull(at + strlen(name), NULL, 10) : UINT64_MAX;
}

/*
 * What one control group (v2) leaves: its memory.max without what is in use, less the page cache,
 * which the kernel gives up first. UINT64_MAX: no limit there.
 */
static uint64_t group_room(const char *group)
{
	char path[700], text[8192];
	uint64_t most, used, cache = 0, part;
	size_t i;
	static const char *const names[] = {"\ninactive_file ", "\nactive_file "};

	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.max", group);
	if (pn_read_u64(path, &most)) /* "max" is not a number */
		return UINT64_MAX;
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.current", group);
	if (pn_read_u64(path, &used))
		return UINT64_MAX;
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.stat", group);
	if (pn_read_file(path, text, sizeof(text)) < 0)
		text[0] = '\0';
	for (i = 0; i < PN_ARRAY_SIZE(names); i++) {
		part = number_after(text, names[i]);
		cache += part == UINT64_MAX ? 0 : part;
	}
	used -= cache < used ? cache : used;
	return most > used ? most - used : 0;
}

/* The least that the process's own control group and those above it leave. */
static uint64_t cgroup_room(void)
{
	char text[600], *group, *end;
	uint64_t room = UINT64_MAX, here;

	if (pn_read_file("/proc/self/cgroup", text, sizeof(text)) < 0)
		return UINT64_MAX;
	group = !strncmp(text, "0::", 3) ? text : strstr(text, "\n0::");
	group = group ? strchr(group, '/') : NULL;
	if (!group)
		return UINT64_MAX;
	end = strchr(group, '\n');
	if (end)
		*end = '\0';
	for (;;) {
		here = group_room(group);
		room = here < room ? here : room;
		if (!group[1])
			break;
		end = strrchr(group, '/');
		/* Of "/name" remains "/": inside a control group namespace that has limits too. */
		*(end == group ? end + 1 : end) = '\0';
	}
	return room;
}

/* Small pages are not reserved: what is not there ends with the kernel killing a process, so look
 * first. */
static int check_memory(uint64_t bytes)
{
	char text[4096];
	uint64_t room;

	if (pn_read_file("/proc/meminfo", text, sizeof(text)) < 0)
		return 0;
	room = number_after(text, "MemAvailable:");
	if (room != UINT64_MAX && bytes >> 10 > room)
		return pn_fail(ENOMEM,
			"%" PRIu64 " bytes on 4 KiB pages are needed, %" PRIu64
			" are available in this machine (MemAvailable)",
			bytes, room << 10);
	room = cgroup_room();
	if (bytes > room)
		return pn_fail(ENOMEM,
			"%" PRIu64 " bytes on 4 KiB pages are needed, memory.max of the control "
			"group, or of one above it, leaves %" PRIu64,
			bytes, room);
	return 0;
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
	case PN_BACKING_AUTO:
		break;
	}
	return pn_fail(EINVAL, "unknown backing %d", (int)region->backing);
}

/* Map the fd at an address that also serves as IOVA; failing that, anywhere. MAP_FAILED with errno
 * on failure. */
static void *map_somewhere(uint64_t size, int fd)
{
	unsigned int start = 0, i;
	void *want, *got;

	/* Where it starts is random, so that addresses of DMA memory cannot be guessed from one run
	 * to the next. */
	if (getrandom(&start, sizeof(start), GRND_NONBLOCK) < 0)
		start = (unsigned int)getpid();
	for (i = 0; i < SLOT_COUNT && size <= SLOT_COUNT * SLOT_SIZE / 2; i++) {
		uint64_t slot = SLOT_FIRST + (start + i) % SLOT_COUNT;

		if (slot + (size + SLOT_SIZE - 1) / SLOT_SIZE > SLOT_FIRST + SLOT_COUNT)
			continue;
		want = (void *)(uintptr_t)(slot * SLOT_SIZE);
		got = mmap(want, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd,
			0);
		if (got == want)
			return got;
		if (got != MAP_FAILED)
			munmap(got, size);
		else if (errno != EEXIST)
			return got;
	}
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
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

/*
 * Bring every page in by writing. MADV_POPULATE_WRITE (Linux 5.14) reports what a touch would
 * answer with SIGBUS; before it, fallocate() allocates the pages of both kinds of file or fails,
 * and touching is safe after that.
 */
static int populate(const struct pn_region *region)
{
	uint64_t offset;

	if (!madvise(region->vaddr, region->size, MADV_POPULATE_WRITE))
		return 0;
	if (errno != EINVAL)
		return -errno;
	if (fallocate(region->fd, 0, 0, (off_t)region->size))
		return -errno;
	for (offset = 0; offset < region->size; offset += region->page_size)
		*((volatile char *)region->vaddr + offset) = 0;
	return 0;
}

static int node_of(void *vaddr)
{
	int node = PN_NODE_ANY;

	if (get_mempolicy(&node, NULL, 0, vaddr, MPOL_F_NODE | MPOL_F_ADDR))
		return PN_NODE_ANY;
	return node;
}

/* The whole of one attempt, with page size and backing decided. On failure nothing is left. */
static int build(struct pn_region *region, const struct pn_region_opts *opts)
{
	bool huge = region->page_size != PN_PAGE_4K;
	int ret;

	ret = huge ? 0 : check_memory(region->size);
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
	region->vaddr = map_somewhere(region->size, region->fd);
	if (region->vaddr == MAP_FAILED) {
		ret = huge ? fail_no_hugepages(
				     errno, region->size, region->page_size, opts->numa_node)
			   : pn_fail(errno, "mapping %" PRIu64 " bytes: %s", region->size,
				     strerror(errno));
		goto close_fd;
	}
	ret = bind_to_node(region, opts->numa_node);
	if (ret)
		goto unmap;
	ret = populate(region);
	if (ret) {
		/* hugetlb answers a missing page with EFAULT (VM_FAULT_SIGBUS); to the caller it is
		 * memory. */
		ret = huge ? fail_no_hugepages(
				     ENOMEM, region->size, region->page_size, opts->numa_node)
			   : pn_fail(-ret, "bringing in %" PRIu64 " bytes of memory: %s",
				     region->size, strerror(-ret));
		goto unmap;
	}
	/* A child must neither share DMA memory by surprise nor make fork() copy pinned pages. */
	if (madvise(region->vaddr, region->size, MADV_DONTFORK)) {
		ret = pn_fail(errno, "madvise(MADV_DONTFORK): %s", strerror(errno));
		goto unmap;
	}
	region->numa_node = node_of(region->vaddr);
	return 0;

unmap:
	munmap(region->vaddr, region->size);
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
			ret = fail_no_hugepages(ENOMEM, region->size, sizes[i], opts->numa_node);
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
		return pn_fail(EINVAL, "unknown backing %d", (int)opts->backing);
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
	region = calloc(1, sizeof(*region));
	if (!region)
		return pn_fail(ENOMEM, "no memory for a region");
	region->fd = -1;
	snprintf(region->name, sizeof(region->name), "%s", opts->name ? opts->name : "region");
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

int pn_region_destroy(struct pn_region *region)
{
	unsigned int users;

	if (!region)
		return 0;
	users = __atomic_load_n(&region->users, __ATOMIC_ACQUIRE);
	if (users)
		return pn_fail(EBUSY,
			"region \"%s\" is still in use by %u mappings or heaps; unmap and destroy "
			"those first",
			region->name, users);
	munmap(region->vaddr, region->size);
	close(region->fd);
	free(region);
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
}
