/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How pinned memory is charged: the counters, the rule of each path, what a mapping will cost, and
 * reports over the ledgers that running processes keep. Ask it who pins what, charged where,
 * against which limit.
 */
#ifndef PN_PINS_H
#define PN_PINS_H

#include <sys/types.h>

#include "pn_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The kernel's counters that DMA pins are added to, in pages of 4 KiB. */
enum pn_counter {
	/** mm->locked_vm of the mapping process: VmLck in /proc/PID/status. */
	PN_COUNTER_MM_LOCKED,
	/** user_struct->locked_vm of the mapper's real uid, summed over its processes: no file
	   shows it. */
	PN_COUNTER_USER_LOCKED,
	/** mm->pinned_vm of the mapping process: VmPin in /proc/PID/status. */
	PN_COUNTER_MM_PINNED,
	PN_COUNTER_MAX /**< how many there are; as a counter: none */
};

/** The kernel's name of a counter, e.g. "mm->locked_vm"; "none" for PN_COUNTER_MAX. */
PN_API const char *pn_counter_name(enum pn_counter counter);

/** Bit of a counter in a mask. */
#define PN_COUNTER_BIT(counter) (1u << (counter))

/** How one path charges a pin. A backend hands it over; Pinion's report and explanations are made
 * from it. */
struct pn_charge_rule {
	const char *path;         /**< e.g. "type1", "iommufd-compat" */
	const char *accounting;   /**< class in words: "process (mm)" or "user" */
	uint32_t counters;        /**< mask of the counters that a pin is added to */
	uint32_t exempt_counters; /**< the same when the mapper has CAP_IPC_LOCK */
	/** The counter that is compared with RLIMIT_MEMLOCK; PN_COUNTER_MAX: none is. */
	enum pn_counter limited;
};

/** Where a figure comes from. */
enum pn_observer {
	PN_OBSERVER_NONE,           /**< it could not be observed */
	PN_OBSERVER_PROC,           /**< /proc/PID/status */
	PN_OBSERVER_METER,          /**< measured with one-page io_uring registrations in a child */
	PN_OBSERVER_MODEL,          /**< not observed: the sum over the ledgers */
	PN_OBSERVER_METER_ZEROCOPY, /**< measured with MSG_ZEROCOPY in a child */
	/** The kernel's own comparison with the limit, asked with a call that it refuses either
	 * way. */
	PN_OBSERVER_TRIAL,
	PN_OBSERVER_MODULE, /**< the companion kernel module */
};

/** "none", "proc", "meter", "model", "meter-zerocopy", "trial", "module". */
PN_API const char *pn_observer_name(enum pn_observer observer);

/** No limit, or no such figure. */
#define PN_PAGES_UNLIMITED UINT64_MAX

/** A figure in pages of 4 KiB, and who says so. */
struct pn_figure {
	uint64_t pages;
	enum pn_observer observer;
};

/** IOVA of what is pinned and not mapped: a region, by the companion module (pn_region_pin.h). */
#define PN_PIN_NO_IOVA UINT64_MAX

/** One mapping in a report. */
struct pn_pin {
	uint64_t vaddr;     /**< address in the owner's address space */
	uint64_t iova;      /**< address that the device uses, or PN_PIN_NO_IOVA */
	uint64_t len;       /**< bytes */
	uint64_t page_size; /**< bytes, of the memory behind it */
	uint64_t pages;     /**< 4 KiB pages that it is charged; 0 while queued */
	uint32_t counters;  /**< mask of the counters it was added to; 0 while queued */
	uint8_t prot;       /**< PN_PROT_READ | PN_PROT_WRITE of pn_dma.h */
	bool queued;   /**< recorded, but no device is attached: the kernel does not hold it yet */
	char name[32]; /**< of the region */
};

struct pn_events;

/** The mappings of one domain in a report. */
struct pn_pins_domain {
	char path[24];       /**< backend */
	char node[40];       /**< the file the backend opened, e.g. /dev/vfio/vfio */
	char accounting[24]; /**< class in words */
	uint32_t counters;   /**< mask of the counters its pins are added to */
	enum pn_counter limited;
	bool exempt;           /**< the owner had CAP_IPC_LOCK: no limit applied */
	uint32_t devices;      /**< attached */
	char device_names[96]; /**< PCI addresses, separated by a space; "..." at the end if cut */
	size_t pin_count;
	struct pn_pin *pins;
	struct pn_events *events; /**< if asked for; else NULL. See pn_events.h */
};

/** One process in a report. */
struct pn_pins_process {
	pid_t pid;
	uid_t uid; /**< real */
	char comm[16];
	/** In another PID namespace: it cannot be observed from here; hidden says if its ledger is
	 * held. */
	bool foreign;
	bool hidden; /**< its ledger is held, but /proc does not show it */
	bool alive;  /**< observed; false and neither of the two above: the ledger is all that is
			left */
	uint64_t limit_soft; /**< RLIMIT_MEMLOCK in pages, or PN_PAGES_UNLIMITED */
	uint64_t limit_hard;
	bool limit_known;
	uint64_t predicted[PN_COUNTER_MAX]; /**< what its mappings must have added, in pages */
	/** What was in the counter when a domain was made, without the pins of the process's other
	 * domains: the least over its domains, in pages; UINT64_MAX: not known, as always for
	 * USER_LOCKED. */
	uint64_t before[PN_COUNTER_MAX];
	struct pn_figure observed[PN_COUNTER_MAX];
	/** What the ledgers of all living processes that are charged as this user add up to in
	 * USER_LOCKED, in pages; those of other PID namespaces too. */
	uint64_t user_predicted;
	size_t domain_count;
	struct pn_pins_domain *domains;
	uint64_t start_time; /**< clock ticks after boot: with the pid, names a process for good */
	/** It has ended or become another program, but another process holds files of its domains:
	 * what it pinned may be pinned still. */
	bool stranded;
	/** Whom its mappings are charged to in USER_LOCKED, as far as its ledger was told: who it
	 * was then. That does not change when a process changes its user. */
	uid_t charged_uid;
};

/** What a report finds in the charges of a process or a user. */
enum pn_finding_kind {
	/** the same page is more than once in one counter */
	PN_FINDING_TWICE,
	/** memory that a device reaches and that no limit sees */
	PN_FINDING_NOBODY,
	/** whoever mapped it is gone, and another process holds the container or iommufd */
	PN_FINDING_STRANDED,
	/** observed, and in no ledger; or predicted, and not observed */
	PN_FINDING_UNEXPLAINED,
	PN_FINDING_MAX
};

/** "charged-twice", "charged-to-nobody", "stranded", "unexplained". */
PN_API const char *pn_finding_kind_name(enum pn_finding_kind kind);

/** One finding, with the figure and who says so. */
struct pn_finding {
	enum pn_finding_kind kind;
	/** A word that programs can go by: "mlock", "two-iovas", "two-domains", "module-pin",
	 * "two-addresses", "two-processes"; "exempt", "bar", "uncharged", "noiommu", "mapper-gone";
	 * "fd-held"; "above", "below". */
	const char *cause;
	pid_t pid;    /**< 0: of a user, not of one process */
	pid_t holder; /**< of what is stranded; 0: none, or not known */
	uid_t uid;
	enum pn_counter counter; /**< PN_COUNTER_MAX: none */
	struct pn_figure figure; /**< pages; the size, where it is below */
	char *text;              /**< for people */
};

/** A report. */
struct pn_pins_report {
	size_t process_count;
	struct pn_pins_process *processes;
	size_t note_count;
	char **notes; /**< what could not be read, and why */
	size_t finding_count;
	struct pn_finding *findings;
};

/** What a report is wanted of. Zeroed: every process whose ledger can be read. */
struct pn_pins_query {
	pid_t pid;             /**< one process, or 0 for all */
	const char *directory; /**< one ledger directory, or NULL for all the usual ones */
	bool prune; /**< remove the ledgers of all processes that are gone, whatever pid says */
	bool measure_user; /**< measure user->locked_vm of the caller's own uid (forks; some 50
			      system calls), unless the companion module tells it */
	bool events;       /**< read the events of each ledger too */
	/** Leave out what takes /proc/PID/maps, smaps and fd: memory that is mlocked too, the same
	 * file under two addresses or in two processes, and who holds files of a process that
	 * ended. A note says so where it matters. */
	bool quick;
};

/**
 * Report the pins of running processes from their ledgers, /proc, the companion module where it
 * answers (/dev/pinion: user->locked_vm of the caller's own user, and with CAP_SYS_PTRACE of
 * others) and, if asked, the meter.
 *
 * @param[out] out the report; free with pn_pins_report_free()
 * @param query    NULL is a zeroed query
 * @return 0, also when there are no ledgers (process_count is 0); -ENOMEM; -ENOENT if query->pid
 * has no ledger. A ledger that is truncated, corrupt or not readable becomes a note, not a failure.
 * Thread-safety: any thread.
 */
PN_API int pn_pins_report_create(struct pn_pins_report **out, const struct pn_pins_query *query);
PN_API void pn_pins_report_free(struct pn_pins_report *report);

/** "alive", "hidden", "foreign", "stranded", "gone": what became of a process, in one word. */
PN_API const char *pn_pins_state(const struct pn_pins_process *process);

/** Is a domain of this process limited by this counter, and not exempt? */
PN_API bool pn_pins_limited(const struct pn_pins_process *process, enum pn_counter counter);

/** Pages that can still be charged under the soft limit, or PN_PAGES_UNLIMITED. False: not limited
 * by this counter, or the limit or the counter is not known. */
PN_API bool pn_pins_left(
	const struct pn_pins_process *process, enum pn_counter counter, uint64_t *pages);

/**
 * Pages observed, without those that were there before and those that are predicted. For
 * USER_LOCKED, which is one counter for all processes of a user, without what all their ledgers
 * predict. False: not known.
 */
PN_API bool pn_pins_unexplained(
	const struct pn_pins_process *process, enum pn_counter counter, int64_t *pages);

/**
 * Render a report: for people as a table of every mapping, or of the counters alone; as JSON
 * (schema "pinion.pins/1"), CSV (RFC 4180) or in Prometheus's text format. doc/pins.md has the
 * fields of each.
 * @return a text that the caller frees with free(), or NULL if memory is out.
 */
PN_API char *pn_pins_table(const struct pn_pins_report *report);
PN_API char *pn_pins_summary(const struct pn_pins_report *report);
PN_API char *pn_pins_json(const struct pn_pins_report *report);
PN_API char *pn_pins_prometheus(const struct pn_pins_report *report);

/** What the lines of a CSV document are. */
enum pn_pins_rows { PN_PINS_ROWS_COUNTERS, PN_PINS_ROWS_MAPPINGS, PN_PINS_ROWS_FINDINGS };
PN_API char *pn_pins_csv(const struct pn_pins_report *report, enum pn_pins_rows rows);

/** Does something fit under the limit? */
enum pn_fits {
	PN_FITS_UNKNOWN, /**< the counter could not be asked about, or not as exactly as this */
	PN_FITS_YES,
	PN_FITS_NO,
};

/** What a mapping would be charged, and whether there is room for it; pages of 4 KiB. See
 * pn_domain_preflight(). */
struct pn_preflight {
	/** Pages added to each of the counters; 0: nothing is charged (a BAR, the backends noiommu
	 * and none, memory that another domain pays for). */
	uint64_t charged;
	/** Pages of mappings that are queued and are charged with it when the first device is
	 * attached; 0 once one is. */
	uint64_t queued;
	uint32_t counters;       /**< mask of them, as the process is exempt or not; 0: none */
	enum pn_counter limited; /**< compared with the limit; PN_COUNTER_MAX: none is */
	bool exempt;             /**< by CAP_IPC_LOCK: no limit applies */
	uint64_t limit; /**< the soft RLIMIT_MEMLOCK, or PN_PAGES_UNLIMITED, as for all three: no
			   limit applies */
	uint64_t left;  /**< what still fits, without what is asked for: at least */
	uint64_t left_at_most;     /**< the same when it is known exactly */
	enum pn_observer observer; /**< of what is left; PN_OBSERVER_NONE: not known, or no limit */
	enum pn_fits fits;         /**< charged and queued together */
};

/** "unknown", "yes", "no". */
PN_API const char *pn_fits_name(enum pn_fits fits);

/** 4 KiB pages that a range is charged: every page it touches, hugepages counted as 4 KiB pages. */
PN_API uint64_t pn_charge_pages(uint64_t vaddr, uint64_t len);

/**
 * Measure user->locked_vm of the caller's real uid, in pages, without privilege: a child lowers its
 * own soft RLIMIT_MEMLOCK and registers one page with io_uring, or, where that is not allowed,
 * sends with MSG_ZEROCOPY on a socket without a connection; the smallest limit that lets it is the
 * counter plus what that costs. The child has none of the caller's files.
 *
 * @param[out] pages the counter
 * Exact on Linux 6.1 and 6.12. Newer kernels charge the child's rings too and free them late: there
 * the rings are measured and taken off, but a second measurement within half a second sees the
 * first one's.
 *
 * @return 0; -ENOSYS, -EPERM or -EACCES when io_uring is not there or not allowed, nor MSG_ZEROCOPY
 * instead; -ERANGE if the counter is at or above the hard limit, or a page below it (pages gets the
 * least that it can be); -EAGAIN, -ENOMEM and others when no child can be made, with the reason;
 * another negative errno. It forks and takes about a millisecond: not for mapping or data paths.
 */
PN_API int pn_meter_user_locked(uint64_t *pages);

#ifdef __cplusplus
}
#endif

#endif
