/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A model of how Linux charges pinned and locked memory: a little machine of processes, users,
 * memory and contexts, to which operations are applied one by one. It says what the kernel would
 * answer and which counters would move, without a system call.
 *
 * What will this scenario need? Start the processes with a limit of PN_PAGES_UNLIMITED, apply the
 * operations, and read pn_model_peak() of the counter that is limited. Or apply them again under
 * other limits, and look for the smallest with which none is refused.
 */
#ifndef PN_MODEL_H
#define PN_MODEL_H

#include "pn_base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct pn_model;

/** A kernel version as a number that can be compared. */
#define PN_MODEL_KERNEL(major, minor) (((unsigned int)(major) << 16) | (unsigned int)(minor))

/** No limit; in an unmap: everything. */
#define PN_MODEL_ALL UINT64_MAX

/** Spaces (IOASes) of one context. type1 and the compatible containers have number 0 only. */
#define PN_MODEL_SPACES 4u

/** Where charges go. The first three have the values of enum pn_counter. */
enum pn_model_counter {
	PN_MODEL_MM_LOCKED,   /**< mm->locked_vm, of a process: VmLck */
	PN_MODEL_USER_LOCKED, /**< user_struct->locked_vm, of a real uid */
	PN_MODEL_MM_PINNED,   /**< mm->pinned_vm, of a process: VmPin */
	PN_MODEL_UCOUNTS,     /**< UCOUNT_RLIMIT_MEMLOCK, of a uid: SHM_LOCK only */
	PN_MODEL_PERF,        /**< user_struct->perf_mlock, of a uid: perf, under its own sysctl */
	PN_MODEL_COUNTERS
};

/** Capabilities that matter, as bits. Not those of a process in its own user namespace: there the
 * kernel's capable() says no. */
#define PN_MODEL_IPC_LOCK     1u /**< CAP_IPC_LOCK: no limit */
#define PN_MODEL_SYS_RESOURCE 2u /**< CAP_SYS_RESOURCE: raise a hard limit, RLIMIT_MODE */

/** Who drives a context. */
enum pn_model_path {
	PN_MODEL_TYPE1,  /**< /dev/vfio/vfio, VFIO_TYPE1v2_IOMMU */
	PN_MODEL_COMPAT, /**< an iommufd file as container, whichever node it is of */
	PN_MODEL_NATIVE, /**< IOMMU_IOAS_*, devices by their own nodes */
};

/** What memory an area is made of. Small pages unless said otherwise. */
enum pn_model_memory {
	PN_MODEL_ANON,         /**< private anonymous, read-write, not written to yet */
	PN_MODEL_ANON_READ,    /**< the same, PROT_READ */
	PN_MODEL_SHARED,       /**< MAP_SHARED of a memfd or of shmem */
	PN_MODEL_PRIVATE_FILE, /**< MAP_PRIVATE of a memfd */
	PN_MODEL_DIRTY_FILE,   /**< MAP_SHARED of a filesystem that tracks dirty pages (ext4) */
	PN_MODEL_HUGETLB,      /**< hugetlb, of op.page pages each */
	PN_MODEL_HUGETLB_CMA,  /**< 1 GiB pages of hugetlb_cma=: cannot be pinned for long; ENOMEM
				  if they are there, EFAULT if not */
	PN_MODEL_THP,          /**< private anonymous, op.page pages each transparent huge page */
	PN_MODEL_NONE,         /**< PROT_NONE */
	PN_MODEL_SECRET,       /**< memfd_secret */
	PN_MODEL_BAR,          /**< MMIO (VM_PFNMAP) */
};

/** Other users of the same counters. */
enum pn_model_other {
	PN_MODEL_SHM_LOCK, /**< shmctl(SHM_LOCK) */
	PN_MODEL_XDP,      /**< AF_XDP umem */
	PN_MODEL_ZEROCOPY, /**< MSG_ZEROCOPY in flight, op.pages as charged: size / 4096 + 2 */
	PN_MODEL_RDMA,     /**< ib_umem */
	PN_MODEL_VDPA,     /**< vhost-vdpa, vduse */
	/** perf's ring buffer: op.pages in all, op.free of them within perf_event_mlock_kb */
	PN_MODEL_PERF_BUFFER,
};

/** What a file is, for PN_MODEL_PASS. */
enum pn_model_file {
	PN_MODEL_FILE_CONTEXT,
	PN_MODEL_FILE_GROUP,
	PN_MODEL_FILE_DEVICE,
	PN_MODEL_FILE_RING,
	PN_MODEL_FILE_OTHER,
	PN_MODEL_FILES
};

/**
 * Operations. Each names the fields of struct pn_model_op that it reads, besides `process`, who
 * does it. Handles (process, child, area, context, device, ring, other) are small numbers of the
 * caller's, below those of struct pn_model_size; one that is made must be free.
 */
enum pn_model_what {
	/* Processes */
	PN_MODEL_START,   /**< a first process: uid, soft, hard, caps, permitted */
	PN_MODEL_FORK,    /**< child: gets copies of areas and files; counters 0 */
	PN_MODEL_EXEC,    /**< flag: keep files (else all are O_CLOEXEC); caps, permitted: then */
	PN_MODEL_EXIT,    /**< ends, by itself or killed */
	PN_MODEL_SETUID,  /**< uid: real. Rights to do so, and caps lost by it, are not modelled */
	PN_MODEL_SETEUID, /**< uid: effective only; moves no charge */
	PN_MODEL_LIMIT,   /**< soft, hard: RLIMIT_MEMLOCK, pages */
	PN_MODEL_CAPS,    /**< caps: effective; flag: give the others up for good */
	PN_MODEL_USERNS,  /**< unshare(CLONE_NEWUSER): all caps inside, none here */
	PN_MODEL_PASS,    /**< child: receives file of kind file, number target (SCM_RIGHTS) */

	/* Memory */
	PN_MODEL_AREA,     /**< mmap: area, memory, pages, page, flag: MAP_LOCKED */
	PN_MODEL_AREA_END, /**< munmap of all of it: area. Nothing comes to its addresses later */
	PN_MODEL_DONTFORK, /**< MADV_DONTFORK: area */
	PN_MODEL_TOUCH,    /**< write (read, if it cannot be written): area, first, pages. EFAULT
			      stands for a signal */
	PN_MODEL_DONTNEED, /**< MADV_DONTNEED: area, first, pages */
	PN_MODEL_PROTECT,  /**< mprotect of all of private anonymous memory: area, memory:
			      PN_MODEL_ANON, PN_MODEL_ANON_READ or PN_MODEL_NONE */
	PN_MODEL_RESIZE,   /**< mremap of all of it: area, pages: then, flag: to another address */
	PN_MODEL_MLOCK,    /**< area, first, pages, flag: mlock2(MLOCK_ONFAULT) */
	PN_MODEL_MUNLOCK,  /**< area, first, pages */
	PN_MODEL_MLOCKALL, /**< mode: 1 MCL_CURRENT, 2 MCL_FUTURE, 4 MCL_ONFAULT; total: VmSize in
			      pages; pages: what can be locked outside the areas */
	PN_MODEL_MUNLOCKALL, /**< */

	/* Contexts and devices */
	PN_MODEL_CONTEXT, /**< open: context, path, flag: of /dev/vfio/vfio that iommufd provides */
	PN_MODEL_CONTEXT_CLOSE, /**< context: one process's descriptor */
	PN_MODEL_RLIMIT_MODE,   /**< IOMMU_OPTION_RLIMIT_MODE: context, mode */
	PN_MODEL_SPACE,         /**< IOAS_ALLOC: context, space */
	PN_MODEL_SPACE_END,     /**< IOMMU_DESTROY: context, space */
	PN_MODEL_GROUP, /**< open a device's group, SET_CONTAINER (type1: SET_IOMMU if it is the
			   first): context, device */
	PN_MODEL_GROUP_CLOSE,  /**< device */
	PN_MODEL_DEVICE,       /**< GET_DEVICE_FD; native: open and bind: context, device */
	PN_MODEL_DEVICE_CLOSE, /**< device */
	PN_MODEL_ATTACH,       /**< ATTACH_IOMMUFD_PT: device, space */
	PN_MODEL_DETACH,       /**< DETACH_IOMMUFD_PT: device */

	/* Mappings */
	PN_MODEL_MAP,      /**< context, space, iova, area, first, pages, prot */
	PN_MODEL_MAP_FILE, /**< IOAS_MAP_FILE of the file behind area, of a BAR its dma-buf: as
			      PN_MODEL_MAP */
	PN_MODEL_UNMAP,    /**< context, space, iova, pages (PN_MODEL_ALL: everything) */
	PN_MODEL_COPY, /**< IOAS_COPY within one mapping: context, from, from_iova, pages; space,
			  iova, prot */
	PN_MODEL_VADDR_DROP,     /**< UNMAP_FLAG_VADDR: context, iova, pages or PN_MODEL_ALL */
	PN_MODEL_VADDR_GIVE,     /**< MAP_FLAG_VADDR: context, iova, area, first, pages */
	PN_MODEL_CHANGE_PROCESS, /**< IOAS_CHANGE_PROCESS: context */

	/* io_uring and the others */
	PN_MODEL_RING,            /**< io_uring_setup: ring */
	PN_MODEL_RING_CLOSE,      /**< ring */
	PN_MODEL_RING_REGISTER,   /**< fixed buffers: ring, area, first, pages; mode: so many of
				     them, one behind the other (0: one) */
	PN_MODEL_RING_UNREGISTER, /**< ring */
	PN_MODEL_OTHER,           /**< other, kind, pages, free */
	PN_MODEL_OTHER_END,       /**< other: close, munmap (perf), SHM_UNLOCK */
	PN_MODEL_WHATS
};

/** DMA protection, as PN_PROT_READ and PN_PROT_WRITE: from the device's side. */
#define PN_MODEL_READ  1u
#define PN_MODEL_WRITE 2u

/** One operation. Zero what it does not read. Limits, lengths and offsets in pages of 4 KiB,
 * IOVAs in bytes. */
struct pn_model_op {
	enum pn_model_what what;
	uint32_t process;
	uint32_t child;
	uint32_t area;
	uint32_t context;
	uint32_t space, from;
	uint32_t device;
	uint32_t ring;
	uint32_t other;
	uint32_t target;
	enum pn_model_file file;
	enum pn_model_path path;
	enum pn_model_memory memory;
	enum pn_model_other kind;
	bool flag;
	uint32_t uid;
	uint32_t caps, permitted;
	uint32_t prot;
	uint32_t mode;
	uint32_t page; /**< of hugetlb and THP: pages in one; 0 is 512 */
	uint64_t soft, hard;
	uint64_t first, pages;
	uint64_t iova, from_iova;
	uint64_t total, free;
};

/** One counter that moved. */
struct pn_model_change {
	enum pn_model_counter counter;
	uint32_t owner; /**< process, for the counters of an mm; uid, for the others */
	int64_t pages;
};

#define PN_MODEL_CHANGES 32u

/** What the kernel would do. */
struct pn_model_result {
	int err; /**< 0 or an errno, positive */
	/** The counter whose limit was exceeded; PN_MODEL_COUNTERS: it was not a limit. */
	enum pn_model_counter over;
	uint32_t over_owner;   /**< whose it is: process or uid, as in a change */
	uint32_t over_process; /**< whose limit */
	uint64_t over_by;      /**< pages that it would have needed more */
	uint64_t bytes;        /**< PN_MODEL_UNMAP: as reported in the size field */
	uint32_t change_count;
	bool more; /**< more counters moved than fit into changes */
	struct pn_model_change changes[PN_MODEL_CHANGES];
};

/** How many of each there can be at the same time. */
struct pn_model_size {
	uint32_t processes; /**< and different uids */
	uint32_t areas;     /**< over all processes: fork copies them */
	uint32_t contexts;
	uint32_t devices;
	uint32_t mappings;
	uint32_t rings;
	uint32_t others;
};

/**
 * Make a model with nothing in it. All memory it will ever need is allocated here.
 *
 * @param[out] out free with pn_model_free()
 * @param kernel   PN_MODEL_KERNEL(6, 12)
 * @return 0, -ENOMEM, -EINVAL (no process at all, or numbers above 2^24).
 * Thread-safety: models share nothing; one model is for one thread at a time.
 */
PN_API int pn_model_create(
	struct pn_model **out, unsigned int kernel, const struct pn_model_size *size);
/** A second model in the same state. 0 or -ENOMEM. */
PN_API int pn_model_copy(struct pn_model **out, const struct pn_model *model);
/** Put `to`, of the same size, into the state of `from`, without allocating. 0 or -EINVAL. */
PN_API int pn_model_assign(struct pn_model *to, const struct pn_model *from);
PN_API void pn_model_free(struct pn_model *model);

/**
 * Apply one operation.
 *
 * @param[out] result what the kernel answers and what moves; all zero if this returns an error
 * @return 0: the model has an answer, which may be a refusal (result->err). -EINVAL: the operation
 * makes no sense, such as a handle that is not in use, or in use already; -EOPNOTSUPP: the model
 * does not cover it; -ENOBUFS: one of the numbers of struct pn_model_size is too small. After these
 * nothing has changed, with one exception: -ENOBUFS because an area has more than 32 separate runs
 * of locked pages (up to Linux 6.1: or of written ones); that model is of no more use. Sets
 * pn_error().
 */
PN_API int pn_model_apply(
	struct pn_model *model, const struct pn_model_op *op, struct pn_model_result *result);

/** A counter of a living process, or of its real uid; 0 if there is no such process. In pages. */
PN_API uint64_t pn_model_counter(
	const struct pn_model *model, uint32_t process, enum pn_model_counter counter);
/** The same of a uid, whether it has processes or not. 0 for the counters of an mm. */
PN_API uint64_t pn_model_user_counter(
	const struct pn_model *model, uint32_t uid, enum pn_model_counter counter);

/**
 * The least soft RLIMIT_MEMLOCK, in pages, with which every operation that this process has had
 * accepted so far would have been, everything else being the same: the highest that a limited
 * counter was when the process asked for more, and it was not exempt.
 * 0: it asked for nothing that is limited.
 */
PN_API uint64_t pn_model_peak(const struct pn_model *model, uint32_t process);

/** Pages that are pinned and in no limited counter: by exempt iommufd maps, BARs (as pages of the
 * mapping), zero pages, and pins whose process is gone. Over all processes. */
PN_API uint64_t pn_model_uncharged(const struct pn_model *model);

/** The kernel that it is a model of, as given to pn_model_create(). */
PN_API unsigned int pn_model_kernel(const struct pn_model *model);

/** Is the process alive? */
PN_API bool pn_model_alive(const struct pn_model *model, uint32_t process);

/** Name of an operation, counter, memory, ... for messages; "?" if there is no such one. */
PN_API const char *pn_model_what_name(enum pn_model_what what);
PN_API const char *pn_model_counter_name(enum pn_model_counter counter);
PN_API const char *pn_model_memory_name(enum pn_model_memory memory);

#ifdef __cplusplus
}
#endif

#endif
