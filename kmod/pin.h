/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A handle: what one PIN has pinned, until it is unpinned, its file is closed, or the memory map
 * that was charged is gone.
 */
#ifndef PINION_PIN_H
#define PINION_PIN_H

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/uidgid.h>
#include <linux/wait.h>

#include "owner.h"
#include "pages.h"
#include "pinion_uapi.h"

struct pinion_handle {
	struct kref ref;
	struct mutex lock; /* runs, flags; inside that of pinion_mm */
	struct pinion_runs runs;
	u32 flags; /* PINION_QUERY_... */
	bool by_folio; /* each folio has one pin */
	u32 id;
	unsigned long pages; /* of the range */
	struct pinion_owner owner;
	struct list_head by_mm; /* charged to locked_vm */
	struct list_head in_table;
	/* Who made it, for the table. */
	pid_t pid;
	kuid_t uid;
	char comm[TASK_COMM_LEN];
};

/* Every handle there is. */
extern struct list_head pinion_handles;
extern struct mutex pinion_handles_lock;

/* Something was unpinned: for who waits for the last pin. The count tells what happened before. */
extern wait_queue_head_t pinion_unpinned;
extern atomic_t pinion_unpins;

int pinion_pins_start(void);
void pinion_pins_stop(void);

/* What the ioctl asks for; *charged is how many pages it added to the counter. */
struct pinion_handle *pinion_handle_pin(const struct pinion_pin *arg, u64 *charged);
void pinion_handle_put(struct pinion_handle *handle);

/* Unpins what is still pinned, and says how much that was. */
void pinion_handle_drop(struct pinion_handle *handle, u64 *unpinned, u64 *uncharged);
/* A part. All or nothing. *empty if nothing is pinned any more. */
int pinion_handle_unpin(struct pinion_handle *handle, u64 offset, u64 length, u64 *unpinned,
			u64 *uncharged, bool *empty);
void pinion_handle_query(struct pinion_handle *handle, struct pinion_query *query);

#endif
