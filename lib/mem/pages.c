/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which pages of a range are there: /proc/self/pagemap for private memory and hugepages
 * (Documentation/admin-guide/mm/pagemap.rst), mincore() for what is in the page cache.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base_priv.h"
#include "mem_priv.h"

#define PRESENT   (UINT64_C(1) << 63)
#define SWAPPED   (UINT64_C(1) << 62)
#define FILE_PAGE (UINT64_C(1) << 61) /* or one of shared memory */
#define EXCLUSIVE (UINT64_C(1) << 56) /* mapped here only; never so for the zero page */

/* Pages a call: 16 KiB of pagemap. */
#define CHUNK 2048u

static bool is_absent(uint64_t entry)
{
	return !(entry & (PRESENT | SWAPPED));
}

/* Of anonymous memory: shared with others by fork() or KSM, or the zero page; a large zero page
 * shows as one of a file. */
static bool is_not_own(uint64_t entry)
{
	return (entry & (PRESENT | EXCLUSIVE)) == PRESENT;
}

static bool is_to_copy(uint64_t entry)
{
	return (entry & (PRESENT | EXCLUSIVE | FILE_PAGE)) != (PRESENT | EXCLUSIVE);
}

static void count_page(struct pn_page_count *pages, uint64_t at)
{
	if (!pages->count++)
		pages->first = at;
}

/* Entries of pages that follow each other. 0 or a negative errno. */
static int read_entries(int fd, uint64_t at, uint64_t *entries, size_t count)
{
	ssize_t want = (ssize_t)(count * sizeof(*entries)), got;

	do
		got = pread(fd, entries, (size_t)want, (off_t)(at / PN_PAGE_4K * sizeof(*entries)));
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	return got == want ? 0 : -EIO;
}

/* Of pages larger than 4 KiB the first entry is read only: they are there whole or not at all. */
static int walk(uint64_t start, uint64_t end, uint64_t step, bool (*wanted)(uint64_t entry),
	struct pn_page_count *pages)
{
	uint64_t entries[CHUNK], at, left;
	size_t count, i;
	int fd, ret = 0;

	*pages = (struct pn_page_count){0, 0};
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* Of a hugepage that the range begins in, too. */
	for (at = pn_align_down(start, step); at < end && !ret; at += count * step) {
		left = (end - at) / PN_PAGE_4K;
		count = step > PN_PAGE_4K ? 1 : left < CHUNK ? left : CHUNK;
		ret = read_entries(fd, at, entries, count);
		for (i = 0; i < count && !ret; i++) {
			if (wanted(entries[i]))
				count_page(pages, at + i * step < start ? start : at + i * step);
		}
	}
	close(fd);
	return ret;
}

int pn_pages_absent(uint64_t start, uint64_t end, uint64_t step, struct pn_page_count *absent)
{
	return walk(start, end, step, is_absent, absent);
}

int pn_pages_to_copy(uint64_t start, uint64_t end, struct pn_page_count *pages)
{
	return walk(start, end, PN_PAGE_4K, is_to_copy, pages);
}

int pn_pages_not_own(uint64_t start, uint64_t end, struct pn_page_count *pages)
{
	return walk(start, end, PN_PAGE_4K, is_not_own, pages);
}

int pn_pages_uncached(uint64_t start, uint64_t end, struct pn_page_count *pages)
{
	unsigned char there[CHUNK];
	uint64_t at, count;
	size_t i;

	*pages = (struct pn_page_count){0, 0};
	for (at = start; at < end; at += count * PN_PAGE_4K) {
		count = (end - at) / PN_PAGE_4K < CHUNK ? (end - at) / PN_PAGE_4K : CHUNK;
		if (mincore((void *)(uintptr_t)at, count * PN_PAGE_4K, there))
			return -errno;
		for (i = 0; i < count; i++) {
			if (!(there[i] & 1))
				count_page(pages, at + i * PN_PAGE_4K);
		}
	}
	return 0;
}
