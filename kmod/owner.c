// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who is charged for a pin: see owner.h.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/slab.h>

#include "compat.h"
#include "owner.h"
#include "pinion_uapi.h"
#include "trace.h"

/* Both tables. The notifier's end is told with bottom halves off. */
static DEFINE_SPINLOCK(owners_lock);
static DEFINE_HASHTABLE(mms, 6);
static DEFINE_HASHTABLE(users, 6);

static struct mmu_notifier *owner_mm_alloc(struct mm_struct *mm)
{
	struct pinion_mm *new = kzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);

	if (!new)
		return ERR_PTR(-ENOMEM);
	mutex_init(&new->lock);
	INIT_LIST_HEAD(&new->handles);
	pinion_index_init(&new->locked);
	pinion_index_init(&new->pinned);
	/* Set again when it is registered; found by it before. */
	new->notifier.mm = mm;
	spin_lock_bh(&owners_lock);
	hash_add(mms, &new->hash, (unsigned long)mm);
	spin_unlock_bh(&owners_lock);
	return &new->notifier;
}

static void owner_mm_free(struct mmu_notifier *notifier)
{
	struct pinion_mm *old = container_of(notifier, struct pinion_mm, notifier);

	spin_lock_bh(&owners_lock);
	hash_del(&old->hash);
	spin_unlock_bh(&owners_lock);
	pinion_index_destroy(&old->locked);
	pinion_index_destroy(&old->pinned);
	mutex_destroy(&old->lock);
	kfree(old);
}

static void owner_mm_release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	pinion_mm_gone(container_of(notifier, struct pinion_mm, notifier));
}

static const struct mmu_notifier_ops owner_mm_ops = {
	.alloc_notifier = owner_mm_alloc,
	.free_notifier = owner_mm_free,
	.release = owner_mm_release,
};

static struct pinion_user *lookup_user(struct user_struct *user)
{
	struct pinion_user *found;

	hash_for_each_possible(users, found, hash, (unsigned long)user) {
		if (found->user == user)
			return found;
	}
	return NULL;
}

static struct pinion_user *user_get(struct user_struct *user)
{
	struct pinion_user *new = kzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	struct pinion_user *found;

	if (!new)
		return ERR_PTR(-ENOMEM);
	pinion_index_init(&new->locked);
	new->refs = 1;
	spin_lock_bh(&owners_lock);
	found = lookup_user(user);
	if (found) {
		found->refs++;
	} else {
		new->user = get_uid(user);
		hash_add(users, &new->hash, (unsigned long)user);
	}
	spin_unlock_bh(&owners_lock);
	if (!found)
		return new;
	kfree(new);
	return found;
}

static void user_put(struct pinion_user *user)
{
	bool last;

	spin_lock_bh(&owners_lock);
	last = !--user->refs;
	if (last)
		hash_del(&user->hash);
	spin_unlock_bh(&owners_lock);
	if (!last)
		return;
	pinion_index_destroy(&user->locked);
	free_uid(user->user);
	kfree(user);
}

int pinion_owner_get(struct pinion_owner *owner, u32 charge)
{
	struct mmu_notifier *notifier;

	memset(owner, 0, sizeof(*owner));
	if (charge != PINION_CHARGE_MM && charge != PINION_CHARGE_USER)
		return -EINVAL;
	if (charge == PINION_CHARGE_USER && !PINION_HAVE_USER_LOCKED_VM)
		return -EOPNOTSUPP;
	owner->charge = charge;
	owner->exempt = capable(CAP_IPC_LOCK);
	notifier = mmu_notifier_get(&owner_mm_ops, current->mm);
	if (IS_ERR(notifier))
		return PTR_ERR(notifier);
	owner->mm = container_of(notifier, struct pinion_mm, notifier);
	if (charge == PINION_CHARGE_MM || owner->exempt)
		return 0;
	owner->user = user_get(current_user());
	if (IS_ERR(owner->user)) {
		mmu_notifier_put(notifier);
		return -ENOMEM;
	}
	return 0;
}

void pinion_owner_put(struct pinion_owner *owner)
{
	if (owner->user)
		user_put(owner->user);
	mmu_notifier_put(&owner->mm->notifier);
}

void pinion_owners_stop(void)
{
	/* Notifiers are freed behind our back; the code that frees them is ours. */
	mmu_notifier_synchronize();
}

#if PINION_HAVE_USER_LOCKED_VM
unsigned long pinion_user_locked_vm(struct user_struct *user)
{
	return atomic_long_read(&user->locked_vm);
}

static int user_charge(struct user_struct *user, unsigned long pages)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	long now = atomic_long_read(&user->locked_vm);

	do {
		if (now + pages > limit || now + pages < pages)
			return -ENOMEM;
	} while (!atomic_long_try_cmpxchg(&user->locked_vm, &now, now + pages));
	return 0;
}

static void user_add(struct user_struct *user, long pages)
{
	atomic_long_add(pages, &user->locked_vm);
}
#else
unsigned long pinion_user_locked_vm(struct user_struct *user)
{
	return 0;
}

static int user_charge(struct user_struct *user, unsigned long pages)
{
	return -EOPNOTSUPP;
}

static void user_add(struct user_struct *user, long pages)
{
}
#endif

int pinion_owner_charge(struct pinion_owner *owner, unsigned long pages)
{
	int ret = 0;

	if (owner->charge == PINION_CHARGE_MM)
		ret = account_locked_vm(owner->mm->notifier.mm, pages, true);
	else if (owner->user)
		ret = user_charge(owner->user->user, pages);
	trace_pinion_charge(owner->charge, pages, ret);
	return ret;
}

void pinion_owner_uncharge(struct pinion_owner *owner, unsigned long pages)
{
	struct mm_struct *mm = owner->mm->notifier.mm;

	if (!pages)
		return;
	trace_pinion_charge(owner->charge, -(long)pages, 0);
	if (owner->user)
		user_add(owner->user->user, -(long)pages);
	if (owner->charge != PINION_CHARGE_MM || !mmget_not_zero(mm))
		return;
	account_locked_vm(mm, pages, false);
	/* The last one would tell us that the mm is gone, with our locks held. */
	mmput_async(mm);
}

/* The index of the counter with the limit; NULL if there is none. */
static struct pinion_index *limited(struct pinion_owner *owner)
{
	if (owner->charge == PINION_CHARGE_MM)
		return &owner->mm->locked;
	return owner->user ? &owner->user->locked : NULL;
}

struct missing {
	struct pinion_owner *owner;
	unsigned long reserved;
};

static int charge_missing(void *arg, unsigned long fresh)
{
	const struct missing *missing = arg;

	if (fresh <= missing->reserved)
		return 0;
	return pinion_owner_charge(missing->owner, fresh - missing->reserved);
}

int pinion_owner_add(struct pinion_owner *owner, const struct pinion_runs *runs,
		     unsigned long reserved, unsigned long *fresh)
{
	struct missing missing = {.owner = owner, .reserved = reserved};
	const struct pinion_toll toll = {.call = charge_missing, .arg = &missing};
	struct pinion_index *index = limited(owner);
	unsigned long pinned;
	int ret;

	*fresh = 0;
	if (owner->charge == PINION_CHARGE_USER) {
		ret = pinion_index_add(&owner->mm->pinned, runs, NULL, &pinned);
		if (ret)
			return ret;
		atomic64_add(pinned, &owner->mm->notifier.mm->pinned_vm);
	}
	ret = index ? pinion_index_add(index, runs, &toll, fresh) : 0;
	if (ret && owner->charge == PINION_CHARGE_USER) {
		pinned = pinion_index_del(&owner->mm->pinned, runs);
		atomic64_sub(pinned, &owner->mm->notifier.mm->pinned_vm);
	}
	return ret;
}

unsigned long pinion_owner_del(struct pinion_owner *owner, const struct pinion_runs *runs)
{
	struct pinion_index *index = limited(owner);
	unsigned long pinned;

	if (owner->charge == PINION_CHARGE_USER) {
		pinned = pinion_index_del(&owner->mm->pinned, runs);
		atomic64_sub(pinned, &owner->mm->notifier.mm->pinned_vm);
	}
	return index ? pinion_index_del(index, runs) : 0;
}

bool pinion_owner_has(struct pinion_owner *owner, unsigned long pfn)
{
	struct pinion_index *index = limited(owner);

	return index && pinion_index_has(index, pfn);
}

unsigned long pinion_owner_pages(struct pinion_owner *owner)
{
	struct pinion_index *index = limited(owner);

	return index ? READ_ONCE(index->pages) : 0;
}

unsigned long pinion_mm_pages(struct mm_struct *mm)
{
	struct pinion_mm *found;
	unsigned long pages = 0;

	/* There can be one more that waits to be freed, with none. */
	spin_lock_bh(&owners_lock);
	hash_for_each_possible(mms, found, hash, (unsigned long)mm) {
		if (found->notifier.mm == mm)
			pages += READ_ONCE(found->locked.pages);
	}
	spin_unlock_bh(&owners_lock);
	return pages;
}

unsigned long pinion_user_pages(struct user_struct *user)
{
	struct pinion_user *found;
	unsigned long pages;

	spin_lock_bh(&owners_lock);
	found = lookup_user(user);
	pages = found ? READ_ONCE(found->locked.pages) : 0;
	spin_unlock_bh(&owners_lock);
	return pages;
}
