// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waiting until nothing has a pin on a range any more.
 */
#include <linux/jiffies.h>
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

	*left = 0;
	for (done = 0; done < range->pages; done += n) {
		n = gap_at(range, done);
		if (n)
			continue;
		n = min(range->pages - done, (unsigned long)PINION_BATCH);
		pinion_range_peek(range, done, n, pages);
		*left += pinned_of(pages, n);
		pinion_put_pages(pages, n);
		if (signal_pending(current))
			return -ERESTARTSYS;
		cond_resched();
	}
	return 0;
}

static int wait_until_none(const struct pinion_range *range, struct page **pages, u64 *left,
			   unsigned long end)
{
	long poll = POLL_FIRST;
	int ret;

	for (;;) {
		int seen = atomic_read(&pinion_unpins);

		ret = count_left(range, pages, left);
		if (ret || !*left)
			return ret;
		if (time_after_eq(jiffies, end))
			return -ETIMEDOUT;
		ret = wait_event_interruptible_timeout(pinion_unpinned,
						       atomic_read(&pinion_unpins) != seen,
						       min_t(long, poll, end - jiffies));
		if (ret < 0)
			return ret;
		poll = min(poll * 2, (long)POLL_LAST);
	}
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
	end = jiffies + msecs_to_jiffies(arg->timeout_ms);
	/* No earlier than asked: the tick that goes on now may be all but over. */
	if (arg->timeout_ms)
		end++;
	ret = pages ? wait_until_none(&range, pages, &arg->left, end) : -ENOMEM;
	/* When the kernel makes the call again, it goes on with the time that is left. */
	if (ret == -ERESTARTSYS)
		arg->timeout_ms = time_before(jiffies, end) ? jiffies_to_msecs(end - jiffies) : 0;
	kvfree(pages);
	pinion_range_put(&range);
	return ret;
}
