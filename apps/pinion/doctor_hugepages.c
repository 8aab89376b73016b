/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hugepages: how many of each size there are and are free, on the machine and on the device's node,
 * and whether that is enough.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "doctor.h"

#define NODES_MAX 64
#define SIZES_MAX 8u

struct pool {
	uint64_t page_size;
	uint64_t total, free, reserved, surplus, overcommit; /* pages, of the machine */
	bool has_node;                                       /* the device's node has numbers */
	uint64_t node_total, node_free;
	char nodes[160]; /* "node 0: 12 of 16 free, node 1: ..." */
};

bool doctor_hugetlbfs(const struct doctor *d, uint64_t page_size)
{
	char path[DOCTOR_PATH], dir[DOCTOR_PATH], line[4096], option[32];
	struct mntent entry;
	bool found = false;
	FILE *mounts;

	snprintf(option, sizeof(option), "pagesize=%" PRIu64 "%c",
		page_size >= PN_PAGE_1G ? page_size >> 30 : page_size >> 20,
		page_size >= PN_PAGE_1G ? 'G' : 'M');
	mounts = doctor_path(d, path, "/proc/self/mounts") ? NULL : setmntent(path, "re");
	while (mounts && !found && getmntent_r(mounts, &entry, line, sizeof(line))) {
		if (strcmp(entry.mnt_type, "hugetlbfs") || !hasmntopt(&entry, "pagesize") ||
			!strstr(entry.mnt_opts, option))
			continue;
		found = !doctor_path(d, dir, "%s", entry.mnt_dir) && !access(dir, W_OK | X_OK);
	}
	if (mounts)
		endmntent(mounts);
	return found;
}

/* The files of the device's node, with names that are as those of the machine. */
static void read_nodes(struct doctor *d, struct pool *pool)
{
	const uint64_t kib = pool->page_size >> 10;
	uint64_t total, free;
	size_t used = 0;

	for (int node = 0; node < NODES_MAX; node++) {
		if (doctor_read_number(d, &total,
			    "/sys/devices/system/node/node%d/hugepages/hugepages-%" PRIu64
			    "kB/nr_hugepages",
			    node, kib) ||
			doctor_read_number(d, &free,
				"/sys/devices/system/node/node%d/hugepages/hugepages-%" PRIu64
				"kB/free_hugepages",
				node, kib))
			continue;
		if (used < sizeof(pool->nodes))
			used += (size_t)snprintf(pool->nodes + used, sizeof(pool->nodes) - used,
				"%snode %d: %" PRIu64 " of %" PRIu64, used ? ", " : "", node, free,
				total);
		if (node != d->node)
			continue;
		pool->has_node = true;
		pool->node_total = total;
		pool->node_free = free;
	}
	/* A single node is the machine. */
	if (!strchr(pool->nodes, ','))
		pool->nodes[0] = '\0';
}

static int read_pool(struct doctor *d, uint64_t kib, struct pool *pool)
{
	const struct {
		const char *file;
		uint64_t *value;
	} files[] = {{"nr_hugepages", &pool->total}, {"free_hugepages", &pool->free},
		{"resv_hugepages", &pool->reserved}, {"surplus_hugepages", &pool->surplus},
		{"nr_overcommit_hugepages", &pool->overcommit}};

	memset(pool, 0, sizeof(*pool));
	pool->page_size = kib << 10;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		int ret = doctor_read_number(d, files[i].value,
			"/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s", kib, files[i].file);

		if (ret)
			return ret;
	}
	read_nodes(d, pool);
	return 0;
}

static uint64_t left(const struct pool *pool)
{
	uint64_t machine = pool->free > pool->reserved ? pool->free - pool->reserved : 0;

	return pool->has_node && pool->node_free < machine ? pool->node_free : machine;
}

static uint64_t needed(const struct doctor *d, uint64_t page_size)
{
	return d->ask.mem ? d->ask.mem / page_size + (d->ask.mem % page_size != 0) : 1;
}

/* More of them: into the node's file where the memory must come from one. */
static void mend_pool(
	struct doctor *d, struct doctor_finding *finding, const struct pool *pool, uint64_t missing)
{
	const uint64_t kib = pool->page_size >> 10;

	if (pool->has_node)
		doctor_mend_root(d, finding,
			"echo %" PRIu64
			" > /sys/devices/system/node/node%d/hugepages/hugepages-%" PRIu64
			"kB/nr_hugepages",
			pool->node_total + missing, d->node, kib);
	else
		doctor_mend_root(d, finding,
			"echo %" PRIu64 " > /sys/kernel/mm/hugepages/hugepages-%" PRIu64
			"kB/nr_hugepages",
			pool->total + missing, kib);
	if (pool->page_size >= PN_PAGE_1G)
		doctor_mend(d, finding, DOCTOR_SETTING,
			"if there is no run of memory that long any more: on the kernel's command "
			"line hugepagesz=1G hugepages=%" PRIu64,
			pool->total + missing);
	if (d->container == DOCTOR_IN_KUBE)
		doctor_mend(d, finding, DOCTOR_KUBE, "resources.limits and requests: hugepages-%s",
			pool->page_size >= PN_PAGE_1G ? "1Gi" : "2Mi");
}

static void say_pool(
	struct doctor *d, const struct pool *pool, enum doctor_state state, uint64_t missing)
{
	const uint64_t used = pool->total > pool->free ? pool->total - pool->free : 0;
	char size[32], short_of[160] = "", node[24] = "";
	struct doctor_finding *finding;

	if (pool->has_node)
		snprintf(node, sizeof(node), " on node %d", d->node);
	if (state != DOCTOR_OK)
		snprintf(short_of, sizeof(short_of),
			"; %" PRIu64 " %s needed%s, short by %" PRIu64 "%s",
			needed(d, pool->page_size), needed(d, pool->page_size) == 1 ? "is" : "are",
			node, missing,
			state == DOCTOR_BLOCKS ? "" : ": memory is mapped in pages of 4 KiB");
	finding = doctor_add(d, "memory.hugepages", doctor_size(size, pool->page_size), state,
		"%" PRIu64 " of %" PRIu64 " free, %" PRIu64 " in use, %" PRIu64 " promised%s%s%s%s",
		pool->free, pool->total, used, pool->reserved, *pool->nodes ? " (free: " : "",
		pool->nodes, *pool->nodes ? ")" : "", short_of);
	doctor_number(finding, "page_bytes", pool->page_size);
	doctor_number(finding, "total", pool->total);
	doctor_number(finding, "free", pool->free);
	doctor_number(finding, "reserved", pool->reserved);
	doctor_number(finding, "left", left(pool));
	doctor_number(finding, "needed", needed(d, pool->page_size));
	if (state != DOCTOR_OK)
		mend_pool(d, finding, pool, missing);
}

/* Would the library take pages of this size, asked for or not? */
static bool relevant(const struct doctor *d, const struct pool *pool)
{
	if (d->ask.page_size)
		return pool->page_size == d->ask.page_size;
	if (d->ask.mem % PN_PAGE_2M)
		return false;
	if (pool->page_size == PN_PAGE_1G)
		return d->ask.mem && d->ask.mem % PN_PAGE_1G == 0;
	return pool->page_size == PN_PAGE_2M;
}

static void check_pool(struct doctor *d, const struct pool *pool, bool larger_fits)
{
	uint64_t need = needed(d, pool->page_size), has = left(pool), missing;
	enum doctor_state state = DOCTOR_OK;

	missing = need > has ? need - has : 0;
	if (missing && relevant(d, pool)) {
		/* Pages of 1 GiB nobody asked for are a bonus. */
		if (d->ask.page_size)
			state = DOCTOR_BLOCKS;
		else if (pool->page_size == PN_PAGE_2M && !larger_fits)
			state = DOCTOR_HURTS;
	}
	if (state == DOCTOR_BLOCKS && pool->overcommit >= pool->surplus + missing) {
		struct doctor_finding *finding;
		char size[32];

		finding = doctor_add(d, "memory.hugepages", doctor_size(size, pool->page_size),
			DOCTOR_HURTS,
			"%" PRIu64 " of %" PRIu64 " free, %" PRIu64
			" are needed: the rest would be made on the fly (nr_overcommit_hugepages), "
			"which fails where memory is in pieces",
			pool->free, pool->total, need);
		mend_pool(d, finding, pool, missing);
		return;
	}
	say_pool(d, pool, state, missing);
}

static int by_size_down(const void *a, const void *b)
{
	uint64_t left_size = ((const struct pool *)a)->page_size;
	uint64_t right_size = ((const struct pool *)b)->page_size;

	return left_size > right_size ? -1 : left_size < right_size;
}

static unsigned int read_pools(struct doctor *d, struct pool pools[SIZES_MAX])
{
	char path[DOCTOR_PATH];
	unsigned int count = 0;
	struct dirent *entry;
	uint64_t kib;
	DIR *dir;

	dir = doctor_path(d, path, "/sys/kernel/mm/hugepages") ? NULL : opendir(path);
	while (dir && count < SIZES_MAX && (entry = readdir(dir))) {
		if (sscanf(entry->d_name, "hugepages-%" SCNu64 "kB", &kib) != 1 || !kib ||
			kib > UINT64_C(1) << 40)
			continue;
		if (read_pool(d, kib, &pools[count]))
			doctor_add(d, "memory.hugepages", entry->d_name, DOCTOR_UNSEEN,
				"how many there are: the files of the pool cannot be read");
		else
			count++;
	}
	if (dir)
		closedir(dir);
	return count;
}

/* What the library's choice falls on, for the checks that follow. */
static uint64_t page_size_taken(
	const struct doctor *d, const struct pool *pools, unsigned int count)
{
	if (d->ask.page_size)
		return d->ask.page_size;
	for (unsigned int i = 0; i < count; i++) {
		if (relevant(d, &pools[i]) && left(&pools[i]) >= needed(d, pools[i].page_size))
			return pools[i].page_size;
	}
	return PN_PAGE_4K;
}

void doctor_check_hugepages(struct doctor *d)
{
	struct pool pools[SIZES_MAX];
	unsigned int count = read_pools(d, pools);
	bool asked_seen = d->ask.page_size <= PN_PAGE_4K;

	qsort(pools, count, sizeof(pools[0]), by_size_down);
	d->page_size = page_size_taken(d, pools, count);
	for (unsigned int i = 0; i < count; i++) {
		check_pool(d, &pools[i], d->page_size > pools[i].page_size);
		asked_seen |= pools[i].page_size == d->ask.page_size;
	}
	if (count && !asked_seen) {
		char size[32];

		doctor_add(d, "memory.hugepages", doctor_size(size, d->ask.page_size),
			DOCTOR_BLOCKS, "this machine has no pages of that size");
	}
}
