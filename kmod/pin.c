// SPDX-License-Identifier: GPL-2.0-only
/*
 * Handles: see pin.h.
 *
 * Locks, from the outside: pinion_mm.lock, pinion_handle.lock, that of an index, then the memory
 * map's (charging locked_vm).
 * A memory map is never put for the last time with one of them held.
 */
#include <linux/cred.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "pin.h"
#include "trace.h"

LIST_HEAD(pinion_handles);
DEFINE_MUTEX(pinion_handles_lock); /* pinion_handles */
DECLARE_WAIT_QUEUE_HEAD(pinion_unpinned);
atomic_t pinion_unpins = ATOMIC_INIT(0);

/* Pages that must have no pin but the one of their handle. */
static struct pinion_index exclusive;

int pinion_pins_start(void)
{
	pinion_index_init(&exclusive);
	return pinion_index_start();
}

void pinion_pins_stop(void)
{
	pinion_owners_stop();
	pinion_index_destroy(&exclusive);
	pinion_index_stop();
}

/*
 * How many pages of a range its owner does not pay for yet. What is not there will be new. Ends
 * when that is more than any limit allows.
 */
static unsigned long count_fresh(struct pinion_owner *owner, const struct pinion_range *range)
{
	struct page **pages = kvmalloc_array(PINION_BATCH, sizeof(*pages), GFP_KERNEL);
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	unsigned long done, n, i, fresh = 0;

	if (!pages)
		return range->pages;
	for (done = 0; done < range->pages && fresh <= limit; done += n) {
		n = min(range->pages - done, (unsigned long)PINION_BATCH);
		pinion_range_peek(range, done, n, pages);
		for (i = 0; i < n; i++)
			fresh += !pages[i] || !pinion_owner_has(owner, page_to_pfn(pages[i]));
		pinion_put_pages(pages, n);
		cond_resched();
		if (fatal_signal_pending(current))
			break;
	}
	kvfree(pages);
	return done < range->pages ? range->pages : fresh;
}

/*
 * Charges before anything is pinned: for every page, as not all may be pinned yet; if that is too
 * much, for those that are not.
 */
static int reserve(struct pinion_owner *owner, const struct pinion_range *range,
		   unsigned long *reserved)
{
	int ret;

	*reserved = range->pages;
	ret = pinion_owner_charge(owner, *reserved);
	if (ret != -ENOMEM)
		return ret;
	*reserved = count_fresh(owner, range);
	if (*reserved == range->pages)
		return ret;
	return *reserved ? pinion_owner_charge(owner, *reserved) : 0;
}

static int only_ours(struct folio *folio, unsigned long pages, void *arg)
{
	const bool *by_folio = arg;

	return pinion_folio_pins(folio) == (*by_folio ? 1 : pages) ? 0 : -EBUSY;
}

/*
 * The pages are pinned. Of two that pin the same page at a time, one exclusively, the later one
 * sees the other: either the pages are entered before the other looks here, or the other's pin is
 * there when the pins are counted. The index's lock orders this.
 */
static int make_exclusive(struct pinion_handle *handle)
{
	unsigned long fresh;
	int ret;

	ret = pinion_index_add(&exclusive, &handle->runs, NULL, &fresh);
	if (ret)
		return ret;
	if (fresh == handle->runs.pages)
		ret = pinion_runs_each_folio(&handle->runs, only_ours, &handle->by_folio);
	else
		ret = -EBUSY;
	if (ret)
		pinion_index_del(&exclusive, &handle->runs);
	return ret;
}

static int check_exclusive(struct pinion_handle *handle)
{
	if (handle->flags & PINION_QUERY_EXCLUSIVE)
		return make_exclusive(handle);
	return pinion_index_overlaps(&exclusive, &handle->runs) ? -EBUSY : 0;
}

static void unpin(struct pinion_handle *handle, const struct pinion_runs *runs)
{
	pinion_runs_unpin(runs, handle->flags & PINION_QUERY_WRITE, handle->by_folio);
	atomic_inc(&pinion_unpins);
	wake_up_all(&pinion_unpinned);
}

/* What a pin that goes on has been charged. */
struct payment {
	struct pinion_handle *handle;
	unsigned long reserved; /* so many pages are in the counter for it */
	unsigned long fresh; /* so many of its pages had no pin when they were entered */
};

/*
 * Enters what was pinned since the last time in the owner's index, whose pages are those that are
 * charged, and charges what was not reserved.
 */
static int pay(void *arg)
{
	struct payment *payment = arg;
	struct pinion_owner *owner = &payment->handle->owner;
	struct pinion_runs *runs = &payment->handle->runs;
	const struct pinion_runs part = {.run = runs->run + runs->closed,
					 .nr = runs->nr - runs->closed};
	unsigned long fresh;
	int ret;

	ret = pinion_owner_add(owner, &part, payment->reserved - payment->fresh, &fresh);
	if (ret)
		return ret;
	runs->closed = runs->nr;
	payment->fresh += fresh;
	payment->reserved = max(payment->reserved, payment->fresh);
	return 0;
}

static void give_back(struct payment *payment)
{
	struct pinion_handle *handle = payment->handle;
	const struct pinion_runs entered = {.run = handle->runs.run, .nr = handle->runs.closed};
	unsigned long gone;

	unpin(handle, &handle->runs);
	/* Others can count on our charge by now, or we have the last pin of theirs. */
	gone = pinion_owner_del(&handle->owner, &entered);
	pinion_owner_uncharge(&handle->owner, payment->reserved - payment->fresh + gone);
	pinion_runs_free(&handle->runs);
}

/*
 * What is reserved for all pages is paid for. If it is for some, as the others have a pin, that pin
 * can go and others can be mapped there meanwhile: then each batch is paid for before the next.
 */
static int pin(struct pinion_handle *handle, const struct pinion_range *range, u64 *charged)
{
	struct payment payment = {.handle = handle};
	const struct pinion_taken each = {.call = pay, .arg = &payment};
	bool some;
	int ret;

	ret = reserve(&handle->owner, range, &payment.reserved);
	if (ret)
		return ret;
	some = payment.reserved < range->pages;
	/* What was left out has a pin; what is seen of it later fills everybody's index first. */
	if (handle->flags & PINION_QUERY_EXCLUSIVE && some) {
		pinion_owner_uncharge(&handle->owner, payment.reserved);
		return -EBUSY;
	}
	ret = pinion_range_pin(range, handle->flags & PINION_QUERY_WRITE, &handle->runs,
			       &handle->by_folio, some ? &each : NULL);
	if (!ret)
		ret = check_exclusive(handle);
	if (ret)
		goto give_back;
	ret = pay(&payment);
	if (ret)
		goto not_exclusive;
	pinion_owner_uncharge(&handle->owner, payment.reserved - payment.fresh);
	*charged = payment.fresh;
	return 0;

not_exclusive:
	if (handle->flags & PINION_QUERY_EXCLUSIVE)
		pinion_index_del(&exclusive, &handle->runs);
give_back:
	give_back(&payment);
	return ret;
}

static struct pinion_handle *handle_new(const struct pinion_pin *arg)
{
	struct pinion_handle *handle = kzalloc(sizeof(*handle), GFP_KERNEL_ACCOUNT);
	int ret;

	if (!handle)
		return ERR_PTR(-ENOMEM);
	ret = pinion_owner_get(&handle->owner, arg->charge);
	if (ret) {
		kfree(handle);
		return ERR_PTR(ret);
	}
	kref_init(&handle->ref);
	mutex_init(&handle->lock);
	INIT_LIST_HEAD(&handle->by_mm);
	INIT_LIST_HEAD(&handle->in_table);
	if (arg->flags & PINION_PIN_WRITE)
		handle->flags |= PINION_QUERY_WRITE;
	if (arg->flags & PINION_PIN_EXCLUSIVE)
		handle->flags |= PINION_QUERY_EXCLUSIVE;
	if (arg->flags & PINION_PIN_FD)
		handle->flags |= PINION_QUERY_FD;
	if (handle->owner.exempt)
		handle->flags |= PINION_QUERY_EXEMPT;
	handle->pid = task_tgid_nr(current);
	handle->uid = current_uid();
	get_task_comm(handle->comm, current);
	return handle;
}

/* From now on others see it. */
static void publish(struct pinion_handle *handle)
{
	struct pinion_mm *mm = handle->owner.mm;

	if (handle->owner.charge == PINION_CHARGE_MM) {
		mutex_lock(&mm->lock);
		list_add_tail(&handle->by_mm, &mm->handles);
		mutex_unlock(&mm->lock);
	}
	mutex_lock(&pinion_handles_lock);
	list_add_tail(&handle->in_table, &pinion_handles);
	mutex_unlock(&pinion_handles_lock);
}

struct pinion_handle *pinion_handle_pin(const struct pinion_pin *arg, u64 *charged)
{
	struct pinion_range range;
	struct pinion_handle *handle;
	int ret;

	ret = pinion_range_get(&range, arg->addr, arg->length, arg->flags & PINION_PIN_FD, arg->fd,
			       arg->flags & PINION_PIN_WRITE);
	if (ret)
		goto refuse;
	handle = handle_new(arg);
	if (IS_ERR(handle)) {
		ret = PTR_ERR(handle);
		goto put_range;
	}
	handle->pages = range.pages;
	ret = pin(handle, &range, charged);
	if (ret) {
		pinion_owner_put(&handle->owner);
		mutex_destroy(&handle->lock);
		kfree(handle);
		goto put_range;
	}
	publish(handle);
	pinion_range_put(&range);
	return handle;

put_range:
	pinion_range_put(&range);
refuse:
	trace_pinion_refuse(arg->flags, arg->addr, arg->length, ret);
	return ERR_PTR(ret);
}

/* Unpins first: nothing is pinned that is not paid for. */
static void drop_locked(struct pinion_handle *handle, u64 *unpinned, u64 *uncharged)
{
	unsigned long gone;

	*unpinned = handle->runs.pages;
	*uncharged = 0;
	if (!handle->runs.pages)
		return;
	unpin(handle, &handle->runs);
	if (handle->flags & PINION_QUERY_EXCLUSIVE)
		pinion_index_del(&exclusive, &handle->runs);
	gone = pinion_owner_del(&handle->owner, &handle->runs);
	pinion_owner_uncharge(&handle->owner, gone);
	*uncharged = gone;
	trace_pinion_unpin(handle->id, *unpinned, gone);
	pinion_runs_free(&handle->runs);
}

void pinion_handle_drop(struct pinion_handle *handle, u64 *unpinned, u64 *uncharged)
{
	mutex_lock(&handle->lock);
	drop_locked(handle, unpinned, uncharged);
	mutex_unlock(&handle->lock);
}

/* Called with nothing held, when the last user of the memory map is gone. */
void pinion_mm_gone(struct pinion_mm *mm)
{
	struct pinion_handle *handle;
	u64 unpinned, uncharged;

	mutex_lock(&mm->lock);
	list_for_each_entry(handle, &mm->handles, by_mm) {
		mutex_lock(&handle->lock);
		handle->flags |= PINION_QUERY_DEAD;
		drop_locked(handle, &unpinned, &uncharged);
		mutex_unlock(&handle->lock);
	}
	mutex_unlock(&mm->lock);
}

static void handle_free(struct kref *ref)
{
	struct pinion_handle *handle = container_of(ref, struct pinion_handle, ref);
	u64 unpinned, uncharged;

	mutex_lock(&pinion_handles_lock);
	list_del(&handle->in_table);
	mutex_unlock(&pinion_handles_lock);
	mutex_lock(&handle->owner.mm->lock);
	list_del(&handle->by_mm);
	mutex_unlock(&handle->owner.mm->lock);
	pinion_handle_drop(handle, &unpinned, &uncharged);
	pinion_owner_put(&handle->owner);
	mutex_destroy(&handle->lock);
	kfree(handle);
}

void pinion_handle_put(struct pinion_handle *handle)
{
	kref_put(&handle->ref, handle_free);
}

/* What stays of the runs that are touched is counted anew, before these are taken away. */
static int cut(struct pinion_handle *handle, struct pinion_cut *cut, u64 *uncharged)
{
	bool alone = handle->flags & PINION_QUERY_EXCLUSIVE;
	unsigned long fresh, gone;
	int ret;

	ret = pinion_owner_add(&handle->owner, &cut->kept, 0, &fresh);
	if (ret)
		return ret;
	if (alone) {
		ret = pinion_index_add(&exclusive, &cut->kept, NULL, &fresh);
		if (ret) {
			pinion_owner_del(&handle->owner, &cut->kept);
			return ret;
		}
	}
	unpin(handle, &cut->gone);
	if (alone)
		pinion_index_del(&exclusive, &cut->touched);
	gone = pinion_owner_del(&handle->owner, &cut->touched);
	pinion_owner_uncharge(&handle->owner, gone);
	swap(handle->runs, cut->rest);
	*uncharged = gone;
	return 0;
}

static int unpin_part(struct pinion_handle *handle, unsigned long first, unsigned long n,
		      u64 *unpinned, u64 *uncharged)
{
	struct pinion_cut parts;
	int ret;

	if (!handle->runs.pages)
		return -ENOENT;
	ret = pinion_runs_cut(&handle->runs, first, n, handle->by_folio, &parts);
	if (ret)
		return ret;
	ret = cut(handle, &parts, uncharged);
	if (!ret) {
		*unpinned = n;
		trace_pinion_unpin(handle->id, n, *uncharged);
	}
	pinion_cut_free(&parts);
	return ret;
}

int pinion_handle_unpin(struct pinion_handle *handle, u64 offset, u64 length, u64 *unpinned,
			u64 *uncharged, bool *empty)
{
	unsigned long first = offset >> PAGE_SHIFT, n = length >> PAGE_SHIFT;
	int ret;

	if (!length || !PAGE_ALIGNED(offset | length))
		return -EINVAL;
	if (first > handle->pages || n > handle->pages - first)
		return -EINVAL;
	mutex_lock(&handle->lock);
	ret = unpin_part(handle, first, n, unpinned, uncharged);
	*empty = !handle->runs.pages;
	mutex_unlock(&handle->lock);
	return ret;
}

/* Folios come one after the other, those of different runs too. */
struct look {
	struct pinion_query *query;
	struct folio *last;
};

static int look_at_folio(struct folio *folio, unsigned long pages, void *arg)
{
	struct look *look = arg;
	unsigned int order = min_t(unsigned int, folio_order(folio), PINION_ORDERS - 1);
	unsigned int node = min_t(unsigned int, folio_nid(folio), PINION_NODES - 1);

	look->query->order_pages[order] += pages;
	look->query->node_pages[node] += pages;
	look->query->folios += folio != look->last;
	look->last = folio;
	return 0;
}

void pinion_handle_query(struct pinion_handle *handle, struct pinion_query *query)
{
	struct look look = {.query = query};

	mutex_lock(&handle->lock);
	query->flags = handle->flags;
	query->charge = handle->owner.charge;
	query->length = (u64)handle->pages << PAGE_SHIFT;
	query->pages = handle->runs.pages;
	query->owner_pages = pinion_owner_pages(&handle->owner);
	query->kernel_bytes = sizeof(*handle) + (u64)handle->runs.room * sizeof(*handle->runs.run);
	pinion_runs_each_folio(&handle->runs, look_at_folio, &look);
	mutex_unlock(&handle->lock);
}
