/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The hugepages of the machine: pools of every size on every node, and what control groups leave of
 * them. Reads sysfs.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "mem_priv.h"

#define SIZES_MAX 16u
#define NODES_MAX 1024

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The page sizes that the kernel has pools of, smallest first. */
static unsigned int read_sizes(uint64_t sizes[SIZES_MAX])
{
	DIR *dir = opendir("/sys/kernel/mm/hugepages");
	struct dirent *entry;
	unsigned int count = 0;
	uint64_t kib;

	while (dir && count < SIZES_MAX && (entry = readdir(dir))) {
		if (sscanf(entry->d_name, "hugepages-%" SCNu64 "kB", &kib) == 1 && kib &&
			kib < UINT64_C(1) << 40)
			sizes[count++] = kib << 10;
	}
	if (dir)
		closedir(dir);
	qsort(sizes, count, sizeof(sizes[0]), by_value);
	return count;
}

static unsigned int read_nodes(int nodes[NODES_MAX])
{
	DIR *dir = opendir("/sys/devices/system/node");
	struct dirent *entry;
	unsigned int count = 0;
	bool there[NODES_MAX] = {false};
	int node;

	while (dir && (entry = readdir(dir))) {
		if (sscanf(entry->d_name, "node%d", &node) == 1 && node >= 0 && node < NODES_MAX)
			there[node] = true;
	}
	if (dir)
		closedir(dir);
	for (node = 0; node < NODES_MAX; node++) {
		if (there[node])
			nodes[count++] = node;
	}
	return count;
}

int pn_hugepages_list(struct pn_hugepages *out, unsigned int room)
{
	uint64_t sizes[SIZES_MAX];
	int nodes[NODES_MAX];
	unsigned int size_count = read_sizes(sizes), node_count = read_nodes(nodes), count = 0;

	for (unsigned int i = 0; i < size_count; i++) {
		for (unsigned int n = 0; n <= node_count; n++) {
			struct pn_hugepages pool;
			int ret =
				pn_hugepages_read(&pool, sizes[i], n ? nodes[n - 1] : PN_NODE_ANY);

			/* A node without memory has no pools; one may go while we look. */
			if (ret == -ENOENT)
				continue;
			if (ret)
				return ret;
			if (count < room)
				out[count] = pool;
			count++;
		}
	}
	return (int)count;
}

/* One limit of one group, if it leaves less than what was found before. */
static void look_at(const char *group, const char *size, bool reservation,
	struct pn_hugepages_limit *tightest, bool *found)
{
	const char *which = reservation ? ".rsvd" : "";
	uint64_t max, used, left;
	char path[700];

	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/hugetlb.%s%s.max", group, size, which);
	/* "max" is not a number. */
	if (pn_read_u64(path, &max))
		return;
	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/hugetlb.%s%s.current", group, size, which);
	if (pn_read_u64(path, &used))
		return;
	left = max > used ? max - used : 0;
	if (*found && left >= tightest->left)
		return;
	*found = true;
	*tightest = (struct pn_hugepages_limit){
		.reservation = reservation, .max = max, .used = used, .left = left};
	snprintf(tightest->path, sizeof(tightest->path), "%s", group);
}

int pn_hugepages_room(struct pn_hugepages_limit *out, uint64_t page_size)
{
	bool found = false;
	char group[600], size[32];

	/* mm/hugetlb_cgroup.c:mem_fmt() */
	if (page_size >= PN_PAGE_1G)
		snprintf(size, sizeof(size), "%" PRIu64 "GB", page_size >> 30);
	else if (page_size >= UINT64_C(1) << 20)
		snprintf(size, sizeof(size), "%" PRIu64 "MB", page_size >> 20);
	else
		snprintf(size, sizeof(size), "%" PRIu64 "KB", page_size >> 10);
	if (pn_cgroup_own(group, sizeof(group)))
		return -ENOENT;
	do {
		look_at(group, size, false, out, &found);
		look_at(group, size, true, out, &found);
	} while (pn_cgroup_up(group));
	return found ? 0 : -ENOENT;
}
