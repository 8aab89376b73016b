// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waiting until nothing has a pin on a range any more.
 */
#include <linux/jiffies.h>
#include <linux/math64.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "look.h"
#include "pin.h"

/* Our own unpins wake us; those of others are looked for, less and less often. */
#define POLL_FIRST (HZ / 250 ? HZ / 250 : 1)
#define POLL_LAST  (HZ / 20)

static unsigned long pinned_of(struct page **pages, unsigned long n)
{
	unsigned long i, left = 0;

	for (i = 0; i < n; i++) {
		if (pages[i] && !is_zero_pfn(page_to_pfn(pages[i])))
			left += pinion_folio_pins(page_folio(pages[i])) > 0;
	}
	return left;
}

/* How many pages from here on are in no mapping. */
static unsigned long gap_at(const struct pinion_range *range, unsigned long done)
{
	unsigned long addr = range->start + (done << PAGE_SHIFT), gap = range->pages - done;
	struct vm_area_struct *vma;

	if (range->file)
		return 0;
	mmap_read_lock(current->mm);
	vma = find_vma(current->mm, addr);
	if (vma)
		gap = vma->vm_start > addr ? min(gap, (vma->vm_start - addr) >> PAGE_SHIFT) : 0;
	mmap_read_unlock(current->mm);
	return gap;
}

static int count_left(const struct pinion_range *range, struct page **pages, u64 *left)
{
	unsigned long done, n;
	u64 found = 0;

	for (done = 0; done < range->pages; done += n) {
		/* The first batch in any case: a small range always has an answer. */
		if (done && signal_pending(current))
			return -ERESTARTSYS;
		n = gap_at(range, done);
		if (n)
			continue;
		n = min(range->pages - done, (unsigned long)PINION_BATCH);
		pinion_range_peek(range, done, n, pages);
		found += pinned_of(pages, n);
		pinion_put_pages(pages, n);
		cond_resched();
	}
	*left = found;
	return 0;
}

static int wait_until_none(const struct pinion_range *range, struct page **pages, u64 *left,
			   unsigned long end)
{
	long poll = POLL_FIRST;
	int ret;

	for (;;) {
		int seen = atomic_read(&pinion_unpins);
		unsigned long now;

		ret = count_left(range, pages, left);
		if (ret || !*left)
			return ret;
		/* Read once: it goes on between two looks, and what is left is no less than 1. */
		now = jiffies;
		if (time_after_eq(now, end))
			return -ETIMEDOUT;
		ret = wait_event_interruptible_timeout(pinion_unpinned,
						       atomic_read(&pinion_unpins) != seen,
						       min_t(long, poll, end - now));
		if (ret < 0)
			return ret;
		poll = min(poll * 2, (long)POLL_LAST);
	}
}

/*
 * No more than before, however often signals come: without the tick that is added again, and not
 * rounded up.
 */
static u32 time_left(u32 timeout_ms, unsigned long end)
{
	unsigned long next = jiffies + 1;

	if (!time_before(next, end))
		return 0;
	return min_t(u64, timeout_ms, div_u64((u64)(end - next) * MSEC_PER_SEC, HZ));
}

int pinion_drain(struct pinion_drain *arg)
{
	struct pinion_range range;
	struct page **pages;
	unsigned long end;
	int ret;

	if (arg->flags & ~PINION_DRAIN_FD)
		return -EINVAL;
	ret = pinion_range_get(&range, arg->addr, arg->length, arg->flags & PINION_DRAIN_FD,
			       arg->fd, false);
	if (ret)
		return ret;
	pages = kvmalloc_array(PINION_BATCH, sizeof(*pages), GFP_KERNEL);
	/* Some 24 days: no more can be said in milliseconds again by every kernel. */
	arg->timeout_ms = min_t(u32, arg->timeout_ms, INT_MAX);
	end = jiffies + msecs_to_jiffies(arg->timeout_ms);
	/* No earlier than asked: the tick that goes on now may be all but over. */
	if (arg->timeout_ms)
		end++;
	ret = pages ? wait_until_none(&range, pages, &arg->left, end) : -ENOMEM;
	/* When the kernel makes the call again, it goes on with the time that is left. */
	if (ret == -ERESTARTSYS)
		arg->timeout_ms = time_left(arg->timeout_ms, end);
	kvfree(pages);
	pinion_range_put(&range);
	return ret;
}
