/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What hugepages the machine has, what to say when they are not enough, and where a hugetlbfs is
 * mounted. Reads sysfs and /proc/self/mounts.
 */
#include <errno.h>
#include <inttypes.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "base_priv.h"
#include "mem_priv.h"

const char *pn_size_text(uint64_t bytes, char buf[32])
{
	static const struct {
		uint64_t unit;
		const char *name;
	} units[] = {{PN_PAGE_1G, "GiB"}, {UINT64_C(1) << 20, "MiB"}, {1024, "KiB"}};
	size_t i;

	for (i = 0; i < PN_ARRAY_SIZE(units); i++) {
		if (bytes >= units[i].unit && bytes % units[i].unit == 0) {
			snprintf(buf, 32, "%" PRIu64 " %s", bytes / units[i].unit, units[i].name);
			return buf;
		}
	}
	snprintf(buf, 32, "%" PRIu64 " bytes", bytes);
	return buf;
}

static int read_pool_file(const char *dir, const char *file, uint64_t *value)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	return pn_read_u64(path, value);
}

int pn_hugepages_read(struct pn_hugepages *out, uint64_t page_size, int numa_node)
{
	char dir[128], size[32];
	int ret;

	memset(out, 0, sizeof(*out));
	out->page_size = page_size;
	out->numa_node = numa_node;
	if (numa_node == PN_NODE_ANY)
		snprintf(dir, sizeof(dir), "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB",
			page_size >> 10);
	else
		snprintf(dir, sizeof(dir),
			"/sys/devices/system/node/node%d/hugepages/hugepages-%" PRIu64 "kB",
			numa_node, page_size >> 10);
	ret = read_pool_file(dir, "nr_hugepages", &out->total);
	if (!ret)
		ret = read_pool_file(dir, "free_hugepages", &out->free);
	if (!ret)
		ret = read_pool_file(dir, "surplus_hugepages", &out->surplus);
	/* The reserve is kept for the machine, not for a node. */
	if (!ret && numa_node == PN_NODE_ANY)
		ret = read_pool_file(dir, "resv_hugepages", &out->reserved);
	if (!ret && numa_node == PN_NODE_ANY)
		ret = read_pool_file(dir, "nr_overcommit_hugepages", &out->overcommit);
	if (ret == -ENOENT)
		return pn_fail(ENOENT, "the kernel has no pool of %s hugepages%s (%s is not there)",
			pn_size_text(page_size, size),
			numa_node == PN_NODE_ANY ? "" : " on that node", dir);
	if (ret)
		return pn_fail(-ret, "reading %s: %s", dir, strerror(-ret));
	return 0;
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

/* There are enough in the pool: who else has a say? */
static int fail_though_free(
	int err, uint64_t pages, uint64_t page_size, const char *where, uint64_t free)
{
	struct pn_hugepages_limit limit;
	char size[32], file[48];

	if (!pn_hugepages_room(&limit, page_size) && limit.left / page_size < pages) {
		snprintf(file, sizeof(file), "hugetlb.%" PRIu64 "%s%s",
			page_size >= PN_PAGE_1G ? page_size >> 30 : page_size >> 20,
			page_size >= PN_PAGE_1G ? "GB" : "MB", limit.reservation ? ".rsvd" : "");
		return pn_fail(err,
			"%" PRIu64 " pages of %s%s are needed, and %" PRIu64
			" are free, but the control group %s lets it have %" PRIu64
			" bytes: its %s.max is %" PRIu64 " bytes, of which %" PRIu64
			" are in use, short by %" PRIu64
			" (containers: hugepageLimits, Kubernetes: the hugepages resource); raise "
			"it, as root: echo %" PRIu64 " > /sys/fs/cgroup%s/%s.max",
			pages, pn_size_text(page_size, size), where, free, limit.path, limit.left,
			file, limit.max, limit.used, pages * page_size - limit.left,
			limit.used + pages * page_size, limit.path[1] ? limit.path : "", file);
	}
	return pn_fail(err,
		"%" PRIu64 " pages of %s%s could not be taken (%s) though %" PRIu64
		" are free: look at the hugetlb limit of the cgroup "
		"(hugetlb.*.max in /sys/fs/cgroup) and at the memory policy",
		pages, pn_size_text(page_size, size), where, strerror(err), free);
}

/* Say why a region of hugepages cannot be had, with the pool's numbers and the command that
 * enlarges it. */
int pn_fail_no_hugepages(int err, uint64_t bytes, uint64_t page_size, int node)
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
		return fail_though_free(err, pages, page_size, where, pool.free - promised);
	return pn_fail(err,
		"%" PRIu64 " pages of %s%s are needed, %" PRIu64 " are free (%" PRIu64
		" in the pool, %" PRIu64 " in use or promised); reserve more as root: %s",
		pages, pn_size_text(page_size, size), where, pool.free - promised, pool.total,
		pool.total - (pool.free - promised),
		reserve_command(
			page_size, node, pool.total + pages - (pool.free - promised), command));
}

uint64_t pn_hugetlbfs_page_size(const char *path)
{
	struct statfs fs;

	if (statfs(path, &fs) || fs.f_type != HUGETLBFS_MAGIC || fs.f_bsize <= 0)
		return 0;
	return (uint64_t)fs.f_bsize;
}

int pn_hugetlbfs_find(uint64_t page_size, char *path, size_t size)
{
	char line[1024];
	struct mntent entry;
	int ret = -ENOENT;
	FILE *mounts;

	mounts = setmntent("/proc/self/mounts", "re");
	if (!mounts)
		return -ENOENT;
	while (ret && getmntent_r(mounts, &entry, line, sizeof(line))) {
		if (strcmp(entry.mnt_type, "hugetlbfs") || strlen(entry.mnt_dir) >= size)
			continue;
		if (pn_hugetlbfs_page_size(entry.mnt_dir) != page_size)
			continue;
		if (access(entry.mnt_dir, W_OK | X_OK))
			continue;
		strcpy(path, entry.mnt_dir);
		ret = 0;
	}
	endmntent(mounts);
	return ret;
}
