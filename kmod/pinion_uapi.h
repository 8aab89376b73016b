/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * What /dev/pinion takes: pins of memory that are charged right, and the counters behind them.
 *
 * Every structure begins with argsz, the size that the caller knows, and flags. A longer structure
 * than the kernel's is taken if what the kernel does not know is zero (E2BIG otherwise), a shorter
 * one down to what the first version had (EINVAL otherwise). Flags that the kernel does not know
 * are EINVAL, and so is anything but zero in what is reserved. README.md has every call and errno.
 */
#ifndef PINION_UAPI_H
#define PINION_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define PINION_API_VERSION 1
#define PINION_TYPE	   'P'

/* What this kernel has, besides what every kernel has. */
#define PINION_FEATURE_USER_CHARGE  0x1ULL /* PINION_CHARGE_USER */
#define PINION_FEATURE_MEMFD_FOLIOS 0x2ULL /* tmpfs files are pinned by folios */

struct pinion_info {
	__u32 argsz;
	__u32 flags; /* none */
	__u32 version; /* PINION_API_VERSION */
	__u32 batch; /* pages that are pinned before the memory map's lock is let go */
	__u64 features;
	__u32 page_size;
	__u32 max_handles; /* of one open file */
};

#define PINION_INFO _IO(PINION_TYPE, 0xb0)

/* The counter that a pin is charged to. */
#define PINION_CHARGE_MM   1 /* mm->locked_vm of the caller, as VFIO's type1 does */
#define PINION_CHARGE_USER 2 /* user->locked_vm and mm->pinned_vm of the caller, as iommufd does */

#define PINION_PIN_WRITE     0x1 /* a device writes to it */
#define PINION_PIN_EXCLUSIVE 0x2 /* EBUSY if anything has a pin on any page of it */
#define PINION_PIN_FD	     0x4 /* addr is an offset into the file fd */

struct pinion_pin {
	__u32 argsz;
	__u32 flags;
	__u64 addr; /* bytes; whole pages */
	__u64 length; /* bytes; whole pages */
	__s32 fd; /* with PINION_PIN_FD, else 0 */
	__u32 charge; /* PINION_CHARGE_... */
	__u32 handle; /* out */
	__u32 reserved; /* 0 */
	__u64 charged; /* out: pages that this pin added to the counter */
};

#define PINION_PIN _IO(PINION_TYPE, 0xb1)

#define PINION_UNPIN_ALL 0x1 /* the whole handle; offset and length are 0 */

struct pinion_unpin {
	__u32 argsz;
	__u32 flags;
	__u32 handle;
	__u32 reserved; /* 0 */
	__u64 offset; /* bytes from where the pin began; whole pages */
	__u64 length; /* bytes; whole pages */
	__u64 unpinned; /* out: pages */
	__u64 uncharged; /* out: pages taken from the counter */
};

#define PINION_UNPIN _IO(PINION_TYPE, 0xb2)

#define PINION_QUERY_WRITE     0x1
#define PINION_QUERY_EXCLUSIVE 0x2
#define PINION_QUERY_FD	       0x4
#define PINION_QUERY_DEAD      0x8 /* was charged to a process that is gone: nothing is pinned */
#define PINION_QUERY_EXEMPT    0x10 /* no limit was looked at when it was pinned */

#define PINION_ORDERS 24
#define PINION_NODES  16

struct pinion_query {
	__u32 argsz;
	__u32 flags; /* in: 0; out: PINION_QUERY_... */
	__u32 handle;
	__u32 charge;
	__u64 length; /* bytes, as it was pinned */
	__u64 pages; /* that are pinned */
	__u64 folios; /* that they are in */
	__u64 owner_pages; /* charged by this module to the counter's owner, for all its pins */
	__u64 kernel_bytes; /* of kernel memory that the handle itself takes */
	__u64 order_pages[PINION_ORDERS]; /* pages in folios of 2^n pages */
	__u64 node_pages[PINION_NODES]; /* pages on NUMA node n; the last counts all beyond */
};

#define PINION_QUERY _IO(PINION_TYPE, 0xb3)

#define PINION_COUNTERS_PID	0x1 /* in: of another process */
#define PINION_COUNTERS_EXEMPT	0x2 /* out: CAP_IPC_LOCK, so limits do not hold */
#define PINION_COUNTERS_NO_MM	0x4 /* out: it has no memory any more */
#define PINION_COUNTERS_NO_USER 0x8 /* out: the kernel has no user->locked_vm */

struct pinion_counters {
	__u32 argsz;
	__u32 flags;
	__s32 pid; /* with PINION_COUNTERS_PID, else 0; in the caller's pid namespace */
	__u32 uid; /* out: real uid, in the caller's user namespace */
	__u64 locked_vm; /* out, pages: of the memory map */
	__u64 pinned_vm; /* out, pages: of the memory map */
	__u64 user_locked_vm; /* out, pages: of the real uid */
	__u64 ucounts_memlock; /* out, bytes: of the uid in its user namespace (SHM_LOCK) */
	__u64 limit; /* out, bytes: soft RLIMIT_MEMLOCK, ~0 for none */
	__u64 limit_max; /* out, bytes: hard RLIMIT_MEMLOCK, ~0 for none */
	__u64 module_locked_vm; /* out, pages: the part of locked_vm that is this module's */
	__u64 module_user_locked_vm; /* out, pages: the part of user_locked_vm that is */
};

#define PINION_COUNTERS _IO(PINION_TYPE, 0xb4)

/* What a page is. */
#define PINION_PAGE_PRESENT  0x1 /* in the page tables; without it only MAPPED and IO */
#define PINION_PAGE_ZERO     0x2 /* the shared zero page, small or huge */
#define PINION_PAGE_ANON     0x4
#define PINION_PAGE_FILE     0x8
#define PINION_PAGE_HUGETLB  0x10
#define PINION_PAGE_WRITABLE 0x20 /* can be written without a page fault */
#define PINION_PAGE_UNSHARE  0x40 /* a pin gets another page, this process's alone */
#define PINION_PAGE_PINNED   0x80 /* maybe: exact for large folios */
#define PINION_PAGE_KSM	     0x100
#define PINION_PAGE_MAPPED   0x200 /* some mapping is there */
#define PINION_PAGE_IO	     0x400 /* of a device, or without a struct page */

struct pinion_page {
	__u32 flags; /* PINION_PAGE_... */
	__s16 node; /* -1 if not present */
	__u8 order; /* its folio is 2^order pages */
	__u8 reserved;
	__u64 phys; /* address in bytes with PINION_INSPECT_PHYS, else 0 */
};

#define PINION_INSPECT_PHYS 0x1 /* needs CAP_SYS_RAWIO, of who opened the node as well */

struct pinion_inspect {
	__u32 argsz;
	__u32 flags;
	__u64 addr; /* of the caller, bytes; whole pages */
	__u64 length; /* bytes; whole pages */
	__u64 pages; /* to an array of struct pinion_page, one a page */
};

#define PINION_INSPECT _IO(PINION_TYPE, 0xb5)

#define PINION_DRAIN_FD 0x1 /* addr is an offset into the file fd */

struct pinion_drain {
	__u32 argsz;
	__u32 flags;
	__u64 addr; /* bytes; whole pages */
	__u64 length; /* bytes; whole pages */
	__s32 fd; /* with PINION_DRAIN_FD, else 0 */
	__u32 timeout_ms; /* 0: look once; out, with EINTR: what is left of it */
	/* Pages whose folio has pins; with ETIMEDOUT too, with EINTR as of the last whole look. */
	__u64 left; /* out */
};

#define PINION_DRAIN _IO(PINION_TYPE, 0xb6)

#endif
