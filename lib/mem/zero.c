/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages of private memory that are still the zero page, which all memory that was only read shares:
 * before Linux 6.2 a device that may only read gets it as it is. By PAGEMAP_SCAN (Linux 6.7);
 * before that, the pages that are not the mapping's alone are all that can be told from
 * /proc/self/pagemap, where frame numbers are root's.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base_priv.h"
#include "mem_priv.h"

/* include/uapi/linux/fs.h of Linux 6.7. */
struct page_region {
	uint64_t start, end, categories;
};

struct pm_scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define PAGEMAP_SCAN    _IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_PFNZERO (UINT64_C(1) << 5)

static void add(struct pn_page_count *pages, const struct page_region *run)
{
	if (!pages->count)
		pages->first = run->start;
	pages->count += (run->end - run->start) / PN_PAGE_4K;
}

static int scan(int fd, uint64_t start, uint64_t end, struct pn_page_count *pages)
{
	struct page_region runs[64];
	struct pm_scan_arg arg = {.size = sizeof(arg),
		.start = start,
		.end = end,
		.vec = (uintptr_t)runs,
		.vec_len = PN_ARRAY_SIZE(runs),
		.category_mask = PAGE_IS_PFNZERO,
		.return_mask = PAGE_IS_PFNZERO};
	int count;

	*pages = (struct pn_page_count){0, 0};
	while (arg.start < end) {
		count = ioctl(fd, PAGEMAP_SCAN, &arg);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		if (count > (int)PN_ARRAY_SIZE(runs) || arg.walk_end <= arg.start)
			return -EIO;
		for (int i = 0; i < count; i++)
			add(pages, &runs[i]);
		arg.start = arg.walk_end;
	}
	return 0;
}

int pn_pages_zero(uint64_t start, uint64_t end, struct pn_page_count *pages, bool *exact)
{
	int fd, ret;

	*exact = true;
	*pages = (struct pn_page_count){0, 0};
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = scan(fd, start, end, pages);
	close(fd);
	if (ret != -ENOTTY && ret != -EINVAL)
		return ret;
	ret = pn_pages_not_own(start, end, pages);
	*exact = !pages->count;
	return ret;
}
