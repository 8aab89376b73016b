/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of the charge model: its tables, and what its files offer each other. All tables are
 * parts of one block, allocated once; an index of NONE is no entry.
 */
#ifndef PN_MODEL_PRIV_H
#define PN_MODEL_PRIV_H

#include <errno.h>

#include "base_priv.h"
#include "pn_model.h"

#define NONE UINT32_MAX

#define RUNS_MAX 32u

/* Disjoint runs of pages, in ascending order, none touching the next. */
struct runs {
	uint32_t count;
	struct run {
		uint64_t first, end;
	} run[RUNS_MAX];
};

uint64_t runs_within(const struct runs *runs, uint64_t first, uint64_t end);
/* 0, or -ENOBUFS with nothing changed. */
int runs_add(struct runs *runs, uint64_t first, uint64_t end);
int runs_remove(struct runs *runs, uint64_t first, uint64_t end);

/* An address space. It outlives its process (users 0) while mappings or rings refer to it. */
struct mm {
	uint32_t refs;
	uint32_t process; /* NONE: dead */
	uint64_t locked, pinned;
	uint64_t others_locked; /* by mlockall, outside the areas */
	uint64_t last_soft;     /* its process's limit at its end */
	bool lock_future, future_onfault;
};

struct user {
	bool used;
	uint32_t uid;
	uint64_t counter[PN_MODEL_COUNTERS]; /* those of a user only */
};

struct process {
	bool used;
	bool own_userns;
	uint32_t uid;
	uint32_t mm;
	uint32_t caps, permitted;
	uint64_t soft, hard;
	uint64_t peak;
	uint64_t peak_before; /* the operation `operation` */
	uint64_t operation;
};

struct area {
	uint32_t mm; /* NONE: free */
	uint32_t id;
	uint32_t born; /* tells this area from an earlier one with the same id */
	enum pn_model_memory memory;
	uint32_t page;
	uint32_t secret; /* PN_MODEL_SECRET only */
	bool dont_fork;
	uint64_t pages;
	struct runs touched, locked;
	struct runs onfault; /* of what is locked */
	bool cut;            /* parts have been locked otherwise: maybe more than one VMA */
};

/* Pages that one map call named (iommufd: struct iopt_pages; type1: struct vfio_dma). */
enum account { ACCOUNT_TYPE1, ACCOUNT_USER, ACCOUNT_MM, ACCOUNT_NONE, ACCOUNT_DMABUF };

struct rec {
	uint32_t refs;     /* mappings; 0: free */
	uint32_t mappings; /* first of them */
	uint32_t mm;
	uint32_t uid;
	uint32_t area, born;
	enum account account;
	bool writable, file, exempt;
	uint64_t first, pages;
	uint64_t held;    /* pinned now */
	uint64_t charged; /* of these, in counters */
};

struct mapping {
	uint32_t context; /* NONE: free */
	uint32_t space;
	uint32_t rec, next; /* in rec */
	uint32_t prot;
	bool pinned, vaddr_gone;
	uint64_t iova;
	uint64_t first, pages; /* within rec */
};

struct context {
	bool used, mm_mode, exists[PN_MODEL_SPACES];
	enum pn_model_path path;
	uint32_t users; /* groups and devices: they hold its file */
	uint32_t bound; /* iommufd: open devices */
	uint32_t attached[PN_MODEL_SPACES];
	uint32_t entries;     /* type1: mappings left */
	uint32_t vaddrs_gone; /* type1: mappings whose address was given up */
};

struct device {
	uint32_t group;   /* context that its group is in; NONE: its group is closed */
	uint32_t context; /* that it is open in; NONE: it is not */
	uint32_t space;   /* of that, NONE: not attached */
	bool native;
};

struct ring {
	bool used, exempt, registered;
	uint32_t mm, uid;
	uint64_t charged;
};

/* The file behind areas of PN_MODEL_SECRET: what is charged for its pages goes with it. */
struct secret {
	uint32_t refs, uid;
	struct runs touched;
};

/* A charge of others. */
struct other {
	bool used;
	enum pn_model_other kind;
	uint32_t mm, uid;
	uint64_t charged[PN_MODEL_COUNTERS];
};

struct pn_model {
	unsigned int kernel;
	struct pn_model_size size;
	size_t bytes;
	uint32_t words; /* of holders */
	uint32_t born;
	uint64_t operation;
	uint32_t mms;
	uint32_t users;
	struct pn_model_result *result; /* of the operation in progress */
	bool runs_out;                  /* it met an area with too many runs of written pages */

	struct process *process;
	struct mm *mm;
	struct user *user;
	struct area *area;
	struct secret *secret;
	struct context *context;
	struct device *device;
	struct rec *rec;
	struct mapping *mapping;
	struct ring *ring;
	struct other *other;
	uint64_t *holders[PN_MODEL_FILES]; /* bit per process, words a file */
};

/* --- state.c */
uint32_t user_find(struct pn_model *model, uint32_t uid); /* made if not there; NONE: full */
uint32_t mm_new(struct pn_model *model, uint32_t process);
void mm_put(struct pn_model *model, uint32_t mm);
/* The process of it has gone: its counters and areas with it. */
void mm_end(struct pn_model *model, uint32_t mm);
bool mm_alive(const struct pn_model *model, uint32_t mm);

/* --- counters.c: every movement of a counter, recorded in the result */
uint64_t counter_of(
	const struct pn_model *model, enum pn_model_counter counter, uint32_t mm, uint32_t uid);
void counter_add(struct pn_model *model, enum pn_model_counter counter, uint32_t mm, uint32_t uid,
	int64_t pages);
/*
 * Would `pages` more be within the limit of the process of the address space `asker` (its last, if
 * it has gone)? If not, the result says by how much. exempt: it is not asked.
 */
bool within_limit(struct pn_model *model, uint32_t asker, bool exempt,
	enum pn_model_counter counter, uint32_t mm, uint32_t uid, uint64_t pages);
bool capable(const struct pn_model *model, uint32_t process, uint32_t cap);
/* Soft limit 0 and not exempt: mlock and others answer EPERM. */
bool can_mlock(const struct pn_model *model, uint32_t process);
/* A process was granted what needs a limit of so many pages. */
void needs(struct pn_model *model, uint32_t process, uint64_t pages);
/* A refused operation has needed nothing. */
void forget_peaks(struct pn_model *model);

/* --- files.c */
bool file_held(
	const struct pn_model *model, enum pn_model_file file, uint32_t index, uint32_t process);
bool file_any(const struct pn_model *model, enum pn_model_file file, uint32_t index);
void file_hold(struct pn_model *model, enum pn_model_file file, uint32_t index, uint32_t process);
/* Its descriptor goes; with the last one the file is released. */
void file_close(struct pn_model *model, enum pn_model_file file, uint32_t index, uint32_t process);
void files_copy(struct pn_model *model, uint32_t from, uint32_t to);
void files_close_all(struct pn_model *model, uint32_t process);

/* --- memory.c */
struct area *area_find(struct pn_model *model, uint32_t mm, uint32_t id);
void areas_end(struct pn_model *model, uint32_t mm);
/* For fork: 0 or -ENOBUFS. */
int areas_copy(struct pn_model *model, uint32_t from, uint32_t to);
/* What pinning it from this page on, for DMA or io_uring, answers: 0 or an errno, positive. */
int area_pin_errno(
	const struct pn_model *model, const struct area *area, uint64_t first, bool write);
/* Pages of it that are neither counted nor really pinned: shared zero pages, up to Linux 6.1. */
uint64_t area_zero_pages(
	const struct pn_model *model, const struct area *area, uint64_t first, uint64_t pages);
/* Write to it, as far as it can be written to: 0 or -ENOBUFS. */
int area_touch(const struct pn_model *model, struct area *area, uint64_t first, uint64_t pages);
bool area_has(const struct area *area, uint64_t first, uint64_t pages);

/* The area that an operation names, and its pages; NULL: -EINVAL. */
struct area *area_named(struct pn_model *model, const struct pn_model_op *op, bool range);

/* --- mlock.c */
bool area_lockable(const struct area *area);
/* Set or clear VM_LOCKED, and charge it. 0 or -ENOBUFS with nothing changed. */
enum lock { UNLOCK, LOCK, LOCK_ONFAULT };
int area_lock(
	struct pn_model *model, struct area *area, uint64_t first, uint64_t end, enum lock how);
/* What is locked is brought in, unless that is to happen when it is used. 0 or -ENOBUFS. */
int area_populate(const struct pn_model *model, struct area *area, uint64_t first, uint64_t pages);

/* --- charge.c: pins of mappings into counters and out of them */
/* Bring the charge of a rec in line with its pinned mappings. 0 or an errno, positive, with nothing
 * changed. */
int rec_recharge(struct pn_model *model, struct rec *rec);
int rec_unusable_errno(struct pn_model *model, const struct rec *rec);
void rec_uncharge(struct pn_model *model, const struct rec *rec);
void rec_charge(struct pn_model *model, const struct rec *rec);
uint32_t mapping_new(struct pn_model *model);
void mapping_end(struct pn_model *model, struct mapping *mapping);
/* Pin all of a space, as the first device comes; all or nothing. An errno, positive. */
int space_pin(struct pn_model *model, uint32_t context, uint32_t space);
void space_unpin(struct pn_model *model, uint32_t context, uint32_t space);
void space_drop(struct pn_model *model, uint32_t context, uint32_t space);
/* The mapping with the lowest IOVA that touches [start, last], or NULL. */
struct mapping *mapping_first(
	struct pn_model *model, uint32_t context, uint32_t space, uint64_t start, uint64_t last);

/* --- devices.c: releases, called by files.c */
void context_release(struct pn_model *model, uint32_t context);
void group_release(struct pn_model *model, uint32_t device);
void device_release(struct pn_model *model, uint32_t device);
/* --- uring.c, others.c */
void ring_release(struct pn_model *model, uint32_t ring);
void other_release(struct pn_model *model, uint32_t other);
/* Those that are of an address space and not of a file go with it. */
void others_end(struct pn_model *model, uint32_t mm);

/* Operations. Each returns what pn_model_apply() does; refusals go to model->result->err. */
typedef int operation(struct pn_model *model, const struct pn_model_op *op);
operation op_start, op_fork, op_exec, op_exit, op_setuid, op_seteuid, op_limit, op_caps, op_userns,
	op_pass;
operation op_area, op_area_end, op_dontfork, op_touch, op_dontneed, op_protect, op_resize, op_mlock,
	op_munlock, op_mlockall, op_munlockall;
operation op_context, op_context_close, op_rlimit_mode, op_space, op_space_end, op_group,
	op_group_close, op_device, op_device_close, op_attach, op_detach;
operation op_map, op_map_file, op_unmap, op_copy, op_vaddr_drop, op_vaddr_give, op_change_process;
operation op_ring, op_ring_close, op_ring_register, op_ring_unregister, op_other, op_other_end;

/* A refusal by the kernel. */
static inline int refuse(struct pn_model *model, int err)
{
	model->result->err = err;
	return 0;
}

#endif
