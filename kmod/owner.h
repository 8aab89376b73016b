/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is charged for a pin: a memory map (locked_vm, as type1 does) or a user (user->locked_vm, as
 * iommufd does, with the memory map's pinned_vm beside it). Each page once, whatever pins it has.
 */
#ifndef PINION_OWNER_H
#define PINION_OWNER_H

#include <linux/hashtable.h>
#include <linux/mmu_notifier.h>

#include "index.h"

/*
 * What is known of a memory map that pins are charged to. The mmu notifier keeps mm from being
 * freed, and tells when its last user is gone: then locked_vm goes with it, and so must what it
 * pays for.
 */
struct pinion_mm {
	struct mmu_notifier notifier;
	struct hlist_node hash;
	struct mutex lock; /* handles */
	struct list_head handles; /* charged to locked_vm */
	struct pinion_index locked;
	struct pinion_index pinned;
};

struct pinion_user {
	struct hlist_node hash;
	struct user_struct *user;
	unsigned int refs;
	struct pinion_index locked;
};

struct pinion_owner {
	u32 charge; /* PINION_CHARGE_... */
	bool exempt; /* CAP_IPC_LOCK */
	struct pinion_mm *mm;
	struct pinion_user *user; /* NULL if not charged to one */
};

/* Of the caller. A caller with CAP_IPC_LOCK does not charge a user, as with iommufd. */
int pinion_owner_get(struct pinion_owner *owner, u32 charge);
void pinion_owner_put(struct pinion_owner *owner);
void pinion_owners_stop(void);

/* The counter with the limit. Only the owner itself can charge, anyone can give back. */
int pinion_owner_charge(struct pinion_owner *owner, unsigned long pages);
void pinion_owner_uncharge(struct pinion_owner *owner, unsigned long pages);

/*
 * Counts pinned pages and moves pinned_vm. What had no pin, *fresh, is charged to the counter with
 * the limit before anybody can count on it, but for as many pages as are reserved.
 */
int pinion_owner_add(struct pinion_owner *owner, const struct pinion_runs *runs,
		     unsigned long reserved, unsigned long *fresh);
/* What is returned is to be given back to the counter with the limit. */
unsigned long pinion_owner_del(struct pinion_owner *owner, const struct pinion_runs *runs);
/* Is a page pinned by this owner, so that one more pin costs nothing? */
bool pinion_owner_has(struct pinion_owner *owner, unsigned long pfn);
/* Pages that this owner is charged for. */
unsigned long pinion_owner_pages(struct pinion_owner *owner);

/* Does anybody pay for pages of a memory map or a user through this module, and for how many? */
unsigned long pinion_mm_pages(struct mm_struct *mm);
unsigned long pinion_user_pages(struct user_struct *user);
/* user->locked_vm, 0 in a kernel without. */
unsigned long pinion_user_locked_vm(struct user_struct *user);

/* pin.c: the memory map is gone. */
void pinion_mm_gone(struct pinion_mm *mm);

#endif
