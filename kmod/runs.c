// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which pages a handle has pinned: see runs.h.
 */
#include <linux/hugetlb.h>
#include <linux/overflow.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "runs.h"

void pinion_runs_free(struct pinion_runs *runs)
{
	kvfree(runs->run);
	memset(runs, 0, sizeof(*runs));
}

static int set_room(struct pinion_runs *runs, unsigned int room)
{
	u64 *run = NULL;

	/* kvmalloc() warns of more, and pages can be in a range as often as they are mapped. */
	if (room && room <= INT_MAX / sizeof(*run))
		run = kvmalloc_array(room, sizeof(*run), GFP_KERNEL_ACCOUNT);
	if (!run)
		return -ENOMEM;
	if (runs->nr)
		memcpy(run, runs->run, array_size(runs->nr, sizeof(*run)));
	kvfree(runs->run);
	runs->run = run;
	runs->room = room;
	return 0;
}

void pinion_runs_trim(struct pinion_runs *runs)
{
	if (runs->nr && runs->nr < runs->room)
		set_room(runs, runs->nr);
}

static int push(struct pinion_runs *runs, u64 pfn, unsigned long n)
{
	int ret;

	if (runs->nr == runs->room) {
		ret = set_room(runs, runs->room ? runs->room * 2 : 4);
		if (ret)
			return ret;
	}
	runs->run[runs->nr++] = pfn << RUN_BITS | n;
	if (pfn != RUN_HOLE)
		runs->pages += n;
	return 0;
}

static bool follows(u64 run, u64 pfn, unsigned long n)
{
	return run_pfn(run) + run_pages(run) == pfn && run_pages(run) + n <= RUN_MOST;
}

/*
 * Pins of a page that is charged cost nothing, and each takes a reference, of a huge page as many
 * as it has pages. Far from where their number turns negative, and the kernel warns, is the end.
 */
static bool is_crowded(u64 pfn)
{
	int references = folio_ref_count(page_folio(pfn_to_page(pfn)));

	return references < 0 || references > INT_MAX / 2;
}

int pinion_runs_append(struct pinion_runs *runs, u64 pfn, unsigned long n)
{
	if (is_crowded(pfn))
		return -EOVERFLOW;
	if (runs->nr == runs->closed || !follows(runs->run[runs->nr - 1], pfn, n))
		return push(runs, pfn, n);
	runs->run[runs->nr - 1] += n;
	runs->pages += n;
	return 0;
}

/* How many of the pages follow the first one in memory. */
static unsigned long stretch(struct page **pages, unsigned long n)
{
	struct folio *folio = page_folio(pages[0]);
	unsigned long pfn = page_to_pfn(pages[0]), i = 1;

	/* One entry maps the whole of it and is read at once: no need to look at each. */
	if (folio_test_hugetlb(folio)) {
		i = folio_nr_pages(folio) - (unsigned long)folio_page_idx(folio, pages[0]);
		i = min(i, n);
		if (WARN_ON_ONCE(page_to_pfn(pages[i - 1]) != pfn + i - 1))
			i = 1;
	}
	while (i < n && page_to_pfn(pages[i]) == pfn + i)
		i++;
	return i;
}

int pinion_runs_append_pages(struct pinion_runs *runs, struct page **pages, unsigned long n)
{
	unsigned long zero = page_to_pfn(ZERO_PAGE(0));
	unsigned long done, part, pfn;
	int ret;

	for (done = 0; done < n; done += part) {
		pfn = page_to_pfn(pages[done]);
		part = stretch(pages + done, n - done);
		/* Only a shared mapping of it could bring one, and nothing has that. */
		if (zero >= pfn && zero - pfn < part)
			return -EFAULT;
		ret = pinion_runs_append(runs, pfn, part);
		if (ret)
			return ret;
	}
	return 0;
}

static int push_hole(struct pinion_runs *runs, unsigned long n)
{
	u64 *last = runs->nr ? &runs->run[runs->nr - 1] : NULL;

	if (last && run_is_hole(*last) && run_pages(*last) + n <= RUN_MOST) {
		*last += n;
		return 0;
	}
	return push(runs, RUN_HOLE, n);
}

static int push_rest(struct pinion_runs *rest, u64 run)
{
	if (run_is_hole(run))
		return push_hole(rest, run_pages(run));
	return push(rest, run_pfn(run), run_pages(run));
}

static int push_kept(struct pinion_cut *cut, u64 pfn, unsigned long n)
{
	int ret;

	if (!n)
		return 0;
	ret = push(&cut->rest, pfn, n);
	return ret ? ret : push(&cut->kept, pfn, n);
}

static bool inside_folio(u64 pfn)
{
	struct page *page = pfn_to_page(pfn);

	return folio_page_idx(page_folio(page), page) != 0;
}

/* A run from which n pages go, from first on. */
static int cut_run(struct pinion_cut *cut, u64 run, unsigned long first, unsigned long n,
		   bool by_folio)
{
	unsigned long pages = run_pages(run);
	u64 pfn = run_pfn(run);
	int ret;

	if (run_is_hole(run))
		return -ENOENT;
	if (by_folio && first && inside_folio(pfn + first))
		return -EINVAL;
	if (by_folio && first + n < pages && inside_folio(pfn + first + n))
		return -EINVAL;
	ret = push(&cut->touched, pfn, pages);
	if (!ret)
		ret = push_kept(cut, pfn, first);
	if (!ret)
		ret = push_hole(&cut->rest, n);
	if (!ret)
		ret = push(&cut->gone, pfn + first, n);
	if (!ret)
		ret = push_kept(cut, pfn + first + n, pages - first - n);
	return ret;
}

int pinion_runs_cut(const struct pinion_runs *runs, unsigned long first, unsigned long n,
		    bool by_folio, struct pinion_cut *cut)
{
	unsigned long at = 0, end = first + n;
	unsigned int i;
	int ret = 0;

	memset(cut, 0, sizeof(*cut));
	for (i = 0; i < runs->nr && !ret; i++) {
		unsigned long next = at + run_pages(runs->run[i]);
		unsigned long from = max(at, first);

		if (next <= first || at >= end)
			ret = push_rest(&cut->rest, runs->run[i]);
		else
			ret = cut_run(cut, runs->run[i], from - at, min(next, end) - from,
				      by_folio);
		at = next;
	}
	if (ret)
		pinion_cut_free(cut);
	return ret;
}

void pinion_cut_free(struct pinion_cut *cut)
{
	pinion_runs_free(&cut->rest);
	pinion_runs_free(&cut->touched);
	pinion_runs_free(&cut->kept);
	pinion_runs_free(&cut->gone);
}

static int unpin_folio_once(struct folio *folio, unsigned long pages, void *arg)
{
	const bool *dirty = arg;

	unpin_user_page_range_dirty_lock(&folio->page, 1, *dirty);
	return 0;
}

void pinion_runs_unpin(const struct pinion_runs *runs, bool dirty, bool by_folio)
{
	unsigned long pfn, n, part;
	unsigned int i;

	if (by_folio) {
		pinion_runs_each_folio(runs, unpin_folio_once, &dirty);
		return;
	}
	for (i = 0; i < runs->nr; i++) {
		if (run_is_hole(runs->run[i]))
			continue;
		pfn = run_pfn(runs->run[i]);
		for (n = run_pages(runs->run[i]); n; n -= part, pfn += part) {
			part = min(n, 1UL << 15);
			unpin_user_page_range_dirty_lock(pfn_to_page(pfn), part, dirty);
			cond_resched();
		}
	}
}

int pinion_runs_each_folio(const struct pinion_runs *runs,
			   int (*call)(struct folio *folio, unsigned long pages, void *arg),
			   void *arg)
{
	unsigned long pfn, n, part;
	unsigned int i;
	int ret;

	for (i = 0; i < runs->nr; i++) {
		if (run_is_hole(runs->run[i]))
			continue;
		pfn = run_pfn(runs->run[i]);
		for (n = run_pages(runs->run[i]); n; n -= part, pfn += part) {
			struct page *page = pfn_to_page(pfn);
			struct folio *folio = page_folio(page);

			part = folio_nr_pages(folio) - (unsigned long)folio_page_idx(folio, page);
			part = min(n, part);
			ret = call(folio, part, arg);
			if (ret)
				return ret;
			cond_resched();
		}
	}
	return 0;
}
