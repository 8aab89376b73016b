/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of lib/pins: observers, the ledger that a domain writes, and explanations of refused
 * mappings.
 */
#ifndef PN_PINS_PRIV_H
#define PN_PINS_PRIV_H

#include "pn_events.h"
#include "pn_pins.h"

/* What /proc shows of a process. */
struct pn_proc_state {
	uint64_t start_time;   /* clock ticks after boot: with the pid, names a process for good */
	uint64_t locked;       /* VmLck, pages */
	uint64_t pinned;       /* VmPin, pages */
	bool counters_known;   /* a kernel thread or a zombie has none */
	uid_t uid, euid, suid; /* real, effective, saved */
	char comm[16];
	uint64_t limit_soft, limit_hard; /* RLIMIT_MEMLOCK, pages */
	bool limit_known;
};

/* 0; -ESRCH if there is no such process, -EACCES or -EPERM if /proc hides it (with hidepid=2 it
 * says -ESRCH of another user's), another negative errno. No text. */
int pn_proc_read(pid_t pid, struct pn_proc_state *state);

/* Which PID namespace the caller is in (the inode of /proc/self/ns/pid); 0: not known. */
uint64_t pn_pid_namespace(void);
/* Likewise of the calling thread's user namespace, by which the kernel shows it uids. */
uint32_t pn_user_namespace(void);
/* Is /proc that of another PID namespace? Then a pid of this one is another process there. */
bool pn_proc_is_other(void);

/* Start time alone. 0 or a negative errno. No text. */
int pn_proc_start_time(pid_t pid, uint64_t *start_time);

/*
 * Would the kernel's capable() say yes to this thread now? It asks in the initial user namespace:
 * root of a container with its own has no such capability.
 */
bool pn_capable_now(int capability);
/* Does it have it in a user namespace of its own only, where it thinks itself root? */
bool pn_capable_elsewhere(int capability);
/* The same of CAP_IPC_LOCK in the initial one, which exempts from RLIMIT_MEMLOCK. */
bool pn_exempt_now(void);
/*
 * Likewise, quicker: whoever was exempt before and has the capability still is taken to be in the
 * namespace that it was in.
 */
bool pn_exempt_still(bool before);

/* The ledger of one domain. */
struct pn_ledger;

/* What does not change in a ledger. */
struct pn_ledger_owner {
	const char *path; /* backend */
	const char *node;
	const struct pn_charge_rule *charge;
	bool exempt;
};

/*
 * Start a ledger in a directory, or (NULL) in the first of the usual ones that can be used. If none
 * can, it is kept in memory that only this process sees and the log says why. 0, or the negative
 * errno that kept even that from being made
 */
int pn_ledger_open(struct pn_ledger **out, const char *dir, const struct pn_ledger_owner *owner);
/* End it; its file goes. */
void pn_ledger_close(struct pn_ledger *ledger);
/* Path of its file; "": it is in memory only. */
const char *pn_ledger_path(const struct pn_ledger *ledger);
/*
 * Remove the ledger that the program before left, which this process has executed since: a file
 * of this process's, that nobody holds. NULL or anything else: nothing happens.
 */
void pn_ledger_remove_old(const char *path);
/* fd of its file, for a report on it alone. */
int pn_ledger_fd(const struct pn_ledger *ledger);

#define PN_LEDGER_NO_SLOT UINT32_MAX

/*
 * Record a mapping; *slot names it from then on. Never fails: what finds no room is kept in the
 * totals, *slot is PN_LEDGER_NO_SLOT, and readers are told how many. pin->pages and pin->counters
 * are what it is charged.
 */
void pn_ledger_add(struct pn_ledger *ledger, const struct pn_pin *pin, uint32_t *slot);
/* It changed between queued and mapped. old: what was recorded. */
void pn_ledger_change(struct pn_ledger *ledger, uint32_t slot, const struct pn_pin *old,
	const struct pn_pin *pin);
void pn_ledger_remove(struct pn_ledger *ledger, uint32_t slot, const struct pn_pin *pin);
/* The devices that are attached now, separated by spaces. */
void pn_ledger_devices(struct pn_ledger *ledger, unsigned int count, const char *names);
/* Class, exemption: known better once a device is attached. */
void pn_ledger_charge(struct pn_ledger *ledger, const struct pn_charge_rule *charge, bool exempt);

/*
 * Events: what happened, in a ring that readers see. Mappings are in it by pn_ledger_add() and
 * pn_ledger_remove(). None of these fails, sets errno or touches pn_error().
 */
/* text: what it was about, or NULL. */
void pn_ledger_event(struct pn_ledger *ledger, enum pn_event_kind kind, const char *text);
/* A call failed with err, negative. iova, len: what it was asked. */
void pn_ledger_failed(struct pn_ledger *ledger, enum pn_event_kind call, int err, uint64_t iova,
	uint64_t len, const char *reason);
/* Whether the domain is damaged, after each change of it: an event if that is new. */
void pn_ledger_damaged(struct pn_ledger *ledger, bool damaged, const char *reason);

/*
 * A report of the caller's own process, with the ledger behind this fd in it even where no
 * directory shows it.
 */
int pn_pins_report_fd(struct pn_pins_report **out, int fd, bool measure_user);

/* What the kernel refused. */
struct pn_refused {
	const char *what;   /* in words, to begin the reason with */
	uint64_t pages;     /* 4 KiB pages that it would have been charged */
	uint64_t more;      /* pages of mappings that were to be made after it */
	uint64_t page_size; /* bytes, of the memory; 0: of several kinds */
};

/* It was refused with ENOMEM: find out why by looking, set the reason, return -ENOMEM. */
int pn_explain_enomem(const struct pn_charge_rule *rule, const struct pn_refused *refused);

/* A child could not be made: find out why by looking, set the reason, return -err. */
int pn_explain_fork(int err, const char *what);

/* A node is in use: add to the reason which others have it open, as far as this one may see.
 * Returns ret. */
int pn_explain_openers(int ret, const char *node);

/*
 * Parts of it, each a clause for a text, cut to size, or "" and false if there is nothing to say.
 * explain_holders.c: who has the pages of a counter that an observer saw. explain_memory.c: memory
 * that the kernel cannot hold in place. explain_room.c: nothing left in the control group or in the
 * machine; pn_explain_left(): what is left.
 */
bool pn_explain_holders(
	enum pn_counter counter, const struct pn_figure *figure, char *text, size_t size);
bool pn_explain_unpinnable(const struct pn_refused *refused, char *text, size_t size);
bool pn_explain_room(const struct pn_refused *refused, char *text, size_t size);
void pn_explain_left(char *text, size_t size);

/* meter.c: pn_meter_user_locked(), and by which meter. On -ERANGE it is the least that it can be;
 * on other failures nobody's. */
int pn_meter_measure(struct pn_figure *figure);

/*
 * module.c: what the companion module tells, asked through its node, which is open for the question
 * only. -ENODEV: it is not there. -EACCES: it is, and may not be opened. Other negative errnos are
 * answers. No text.
 */
#define PN_MODULE_NODE "/dev/pinion"
/* Open it, close-on-exec, without ever waiting: O_RDONLY or O_RDWR. */
int pn_module_open(int flags);
/* The "backend" in the ledger of a region that it has pinned (region_pin.c). */
#define PN_MODULE_PATH "module"
/* What devices may do to it: PN_PROT_* of pn_dma.h. */
#define PN_PIN_READ  1u
#define PN_PIN_WRITE 2u
/*
 * user->locked_vm of a real uid, in pages, by one of its processes; 0: the calling thread. -EPERM:
 * that is another user's, and takes CAP_SYS_PTRACE; -ESRCH: no such process, or not this user's;
 * -EOPNOTSUPP: the kernel has no such counter.
 */
int pn_module_user_locked(pid_t pid, uid_t uid, uint64_t *pages);
/* Physical address of what is at vaddr. -EPERM without CAP_SYS_RAWIO; -EFAULT: no memory. */
int pn_module_physical(uint64_t vaddr, uint64_t *physical);

/*
 * trial.c: what is left under the soft limit, asked of the kernel in some microseconds.
 */
struct pn_trial {
	int fd; /* opened when it is first needed */
	enum pn_counter counter;
	uint64_t left;  /* pages: where the search begins; may be set to what is expected */
	bool no_module; /* it was not there, and is not asked for again: that takes as long as all
			   else */
};

void pn_trial_init(struct pn_trial *trial);
void pn_trial_close(struct pn_trial *trial);
/*
 * The caller's thread is not exempt; limit: the soft one, in pages. Both results are the same when
 * it is known exactly. 0; -EOPNOTSUPP for a counter that cannot be asked about; another negative
 * errno: the call is not allowed, and the results are 0 and limit. No text.
 */
int pn_trial_left(struct pn_trial *trial, enum pn_counter counter, uint64_t limit,
	uint64_t *at_least, uint64_t *at_most);

/*
 * Does the kernel let this thread lock a page more than its limit, as only CAP_IPC_LOCK does? 1 or
 * 0; a negative errno: that cannot be asked (ERANGE: there is no limit). No text.
 */
int pn_trial_exempt(void);

/*
 * Fill in what a charge of so many pages meets: all but charged and queued, which say what is
 * asked for. It never fails; what cannot be known is PN_FITS_UNKNOWN. No text.
 */
void pn_preflight_look(
	struct pn_preflight *out, const struct pn_charge_rule *rule, struct pn_trial *trial);

/* Is what it charged to its user there still? It lives, seen or not, or its files are held. */
bool pn_pins_charges_user(const struct pn_pins_process *process);

/* What other ledgers of this process predict, in pages; 0 where there are none. */
void pn_pins_own_predicted(uint64_t predicted[PN_COUNTER_MAX]);

#endif
