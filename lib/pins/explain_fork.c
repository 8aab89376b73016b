/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Why a child could not be made: hugepages of its own that fork() would have to copy, the limits on
 * processes, memory, or a filter.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base_priv.h"
#include "mem_priv.h"
#include "pins_priv.h"

/* Private hugepages that a child would get. */
struct private_pages {
	uint64_t count, page_size;
};

static struct private_pages find_private(void)
{
	struct private_pages found = {0, 0};
	const struct pn_vma *vma;
	struct pn_vmas vmas;
	size_t i;

	if (pn_vmas_read(0, UINT64_MAX, &vmas))
		return found;
	for (i = 0, vma = vmas.list; i < vmas.count; i++, vma++) {
		if (!vma->hugetlb || vma->shared || vma->dont_fork)
			continue;
		if (found.page_size && vma->page_size != found.page_size)
			continue;
		found.page_size = vma->page_size;
		found.count += (vma->end - vma->start) / vma->page_size;
	}
	free(vmas.list);
	return found;
}

/* A page that is pinned is copied for the child at once (mm/hugetlb.c:copy_hugetlb_page_range()),
 * and the copy is taken from the pool. */
static bool is_hugepages(char *text, size_t size)
{
	struct private_pages pages = find_private();
	struct pn_hugepages pool;
	uint64_t left;

	if (!pages.count || pn_hugepages_read(&pool, pages.page_size, PN_NODE_ANY))
		return false;
	left = pool.free > pool.reserved ? pool.free - pool.reserved : 0;
	if (left >= pages.count)
		return false;
	snprintf(text, size,
		"this process has %" PRIu64 " private hugepages of %" PRIu64
		" MiB, fork() copies those that are pinned for a device, and the pool has %" PRIu64
		" left; keep them from children (madvise(MADV_DONTFORK)), map them shared, or "
		"enlarge the pool",
		pages.count, pages.page_size >> 20, left);
	return true;
}

/* vm.overcommit_memory=2: what is promised may not exceed what there is. */
static bool is_overcommit(char *text, size_t size)
{
	const char *limit, *used;
	char info[4096];
	uint64_t mode;

	if (pn_read_u64("/proc/sys/vm/overcommit_memory", &mode) || mode != 2 ||
		pn_read_file("/proc/meminfo", info, sizeof(info)) < 0)
		return false;
	limit = strstr(info, "CommitLimit:");
	used = strstr(info, "Committed_AS:");
	if (!limit || !used)
		return false;
	snprintf(text, size,
		"vm.overcommit_memory is 2: %" PRIu64 " of %" PRIu64
		" kB are promised, and a child is promised as much as this process has",
		(uint64_t)strtoull(used + strlen("Committed_AS:"), NULL, 10),
		(uint64_t)strtoull(limit + strlen("CommitLimit:"), NULL, 10));
	return true;
}

/* A control group that has all the processes it may have. */
static bool is_group(char *text, size_t size)
{
	char group[600], path[700];
	uint64_t most, now;

	if (pn_cgroup_own(group, sizeof(group)))
		return false;
	do {
		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/pids.max", group);
		if (pn_read_u64(path, &most))
			continue;
		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/pids.current", group);
		if (pn_read_u64(path, &now) || now < most)
			continue;
		snprintf(text, size,
			"the control group %.150s has %" PRIu64 " processes of %" PRIu64
			" (pids.max); raise it, as root: echo %" PRIu64
			" > /sys/fs/cgroup%.150s/pids.max (systemd: TasksMax=)",
			group, now, most, most + 16, group);
		return true;
	} while (pn_cgroup_up(group));
	return false;
}

static void number_of_processes(char *text, size_t size)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

	getrlimit(RLIMIT_NPROC, &limit);
	if (limit.rlim_cur == RLIM_INFINITY)
		snprintf(text, size,
			"no limit of this user's or of its control group is seen; see sysctl "
			"kernel.threads-max and kernel.pid_max");
	else
		snprintf(text, size,
			"most likely the user has %" PRIu64
			" threads, which is RLIMIT_NPROC (ulimit -u)",
			(uint64_t)limit.rlim_cur);
}

static void no_memory(char *text, size_t size)
{
	const struct pn_refused child = {.what = "", .pages = 256};

	if (is_hugepages(text, size) || is_overcommit(text, size) ||
		pn_explain_room(&child, text, size))
		return;
	pn_explain_left(text, size);
}

int pn_explain_fork(int err, const char *what)
{
	char text[900] = "";

	switch (err) {
	case ENOMEM:
		no_memory(text, sizeof(text));
		break;
	case EAGAIN:
		if (!is_group(text, sizeof(text)))
			number_of_processes(text, sizeof(text));
		break;
	case EPERM:
	case EACCES:
	case ENOSYS:
		snprintf(text, sizeof(text),
			"a filter (seccomp) or a security module forbids this process to make "
			"children");
		break;
	default:
		break;
	}
	return pn_fail(err, "%s: fork: %s%s%s", what, strerror(err), text[0] ? ": " : "", text);
}
