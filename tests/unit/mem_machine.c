/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See mem_machine.h.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "mem_machine.h"
#include "mem_priv.h"

#define RESERVED 6u

const char *hugetlbfs_dir, *tmpfs_dir;

/* What the pool was, and how many of our pages are free in it; 0: no pages for this run. */
static uint64_t pool_before, usable;
static int pool_lock = -1;

uint64_t free_2m(void)
{
	struct pn_hugepages pool;

	return pn_hugepages_read(&pool, PN_PAGE_2M, PN_NODE_ANY) ? 0 : pool.free - pool.reserved;
}

static void write_number(const char *path, uint64_t number)
{
	FILE *file = fopen(path, "we");

	if (!file)
		return;
	fprintf(file, "%ju\n", (uintmax_t)number);
	fclose(file);
}

static const char *mounted(char *dir, const char *type, const char *options)
{
	if (!mkdtemp(dir))
		return NULL;
	if (!mount("none", dir, type, 0, options))
		return dir;
	rmdir(dir);
	return NULL;
}

void machine_begin(void)
{
	static char huge[] = "/tmp/pn-huge-XXXXXX", small[] = "/tmp/pn-tmpfs-XXXXXX";

	if (!geteuid() && !unshare(CLONE_NEWNS) &&
		!mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		hugetlbfs_dir = mounted(huge, "hugetlbfs", "pagesize=2M");
		tmpfs_dir = mounted(small, "tmpfs", "size=1M");
	}
	pool_lock = open(NR_2M, O_RDONLY | O_CLOEXEC);
	if (pool_lock < 0 || flock(pool_lock, LOCK_EX) || pn_read_u64(NR_2M, &pool_before))
		return;
	write_number(NR_2M, pool_before + RESERVED);
	usable = free_2m() >= RESERVED ? RESERVED : 0;
}

static void unmount(const char *dir)
{
	if (!dir)
		return;
	umount(dir);
	rmdir(dir);
}

void machine_end(void)
{
	uint64_t now;

	if (pool_lock >= 0) {
		if (!pn_read_u64(NR_2M, &now) && now != pool_before)
			write_number(NR_2M, pool_before);
		close(pool_lock);
	}
	unmount(hugetlbfs_dir);
	unmount(tmpfs_dir);
}

void need_hugepages(void)
{
	if (usable && free_2m() >= usable)
		return;
	print_message("skipped: 2 MiB pages cannot be reserved here\n");
	skip();
}

void need_hugetlbfs(void)
{
	if (hugetlbfs_dir)
		return;
	print_message("skipped: no hugetlbfs can be mounted here\n");
	skip();
}

void need_tmpfs(void)
{
	if (tmpfs_dir)
		return;
	print_message("skipped: no tmpfs can be mounted here\n");
	skip();
}

unsigned int open_fds(void)
{
	unsigned int count = 0;
	DIR *dir = opendir("/proc/self/fd");

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

bool mapping_has_flag(const void *at, const char *flag)
{
	uint64_t start, end, address = (uint64_t)(uintptr_t)at;
	FILE *file = fopen("/proc/self/smaps", "re");
	bool here = false, found = false;
	char line[8192], wanted[16];

	assert_non_null(file);
	snprintf(wanted, sizeof(wanted), " %s ", flag);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2)
			here = address >= start && address < end;
		else if (here && !strncmp(line, "VmFlags:", 8)) {
			found = strstr(line, wanted);
			break;
		}
	}
	fclose(file);
	return found;
}

void mappings(char *text, size_t size, const void *from, uint64_t len)
{
	uint64_t first = (uint64_t)(uintptr_t)from, start, end;
	FILE *file = fopen("/proc/self/maps", "re");
	char line[8192];
	size_t used = 0;

	assert_non_null(file);
	text[0] = '\0';
	while (fgets(line, sizeof(line), file)) {
		assert_int_equal(sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end), 2);
		if (!strstr(line, "/memfd:") && (end <= first || start >= first + len))
			continue;
		assert_true(used + 80 < size);
		used += (size_t)snprintf(text + used, size - used, "%.60s\n", line);
	}
	fclose(file);
}

bool slots_are_free(void)
{
	void *want = (void *)(uintptr_t)(PN_PAGE_1G * 200), *got;

	got = mmap(want, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (got != MAP_FAILED)
		munmap(got, 4096);
	return got == want;
}
