/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The parts of a report while it is made: ledgers are gathered (report_gather.c), processes
 * observed (report_observe.c), and then the charges looked through for what is not as it should be
 * (report_twice.c, report_nobody.c, report_stranded.c).
 */
#ifndef PN_REPORT_PRIV_H
#define PN_REPORT_PRIV_H

#include "base_priv.h"
#include "pins_priv.h"

/* What ledgers of one process have in common, and what /proc said as the last of them was read. */
struct report_key {
	uint64_t start_time;
	uint64_t pid_namespace;
	uid_t file_uid;
	bool gone;  /* its process has ended, or has become another program by exec() */
	bool ended; /* the process has ended for sure, though its ledger is held */
	bool seen;  /* state is of this process */
	struct pn_proc_state state;
};

/* Which file a ledger is, to find who else holds it. */
struct report_file {
	dev_t device;
	ino_t inode;
	size_t process;
};

struct report_build {
	struct pn_pins_report *report;
	const struct pn_pins_query *query;
	struct report_key *keys; /* beside report->processes */
	struct report_file *files;
	size_t file_count;
	uint64_t pid_namespace; /* of the caller; 0: not known, as without /proc */
	bool other_proc;        /* /proc is that of another PID namespace */
	char prefix[16];        /* only files whose name begins so */
	bool reading_own; /* the ledger at hand is the caller's, by the fd that holds its lock */
	dev_t own_device;
	ino_t own_inode; /* of a ledger that was given by its fd; 0: none */
	bool prunable;   /* the last ledger that was read is of a process that is gone */
};

/* 0 or -ENOMEM. */
int report_note(struct pn_pins_report *report, const char *fmt, ...) PN_PRINTF(2, 3);
/* Add a finding with its words; what fmt says must be printable. Memory that is out loses it, and
 * marks the build. 0 or -ENOMEM. */
int report_find(struct pn_pins_report *report, const struct pn_finding *finding, const char *fmt,
	...) PN_PRINTF(3, 4);
void report_free_process(struct pn_pins_process *process);

/* A callback of pn_ledger_dir_each(): build is a struct report_build. */
int report_gather_dir(void *build, const char *dir);
/* One ledger. */
int report_gather_one(struct report_build *build, int fd, const char *name);

/* What /proc and the meter say. 0 or -ENOMEM. */
int report_observe(struct report_build *build);

/* Findings. 0 or -ENOMEM. Stranded goes first: it settles who is. */
int report_stranded(struct report_build *build);
int report_users(struct report_build *build);
int report_twice(struct report_build *build);
int report_nobody(struct report_build *build);
int report_unexplained(struct report_build *build);

/* Is it asked for? In the sums of a user everybody counts, but one process alone may be reported.
 */
static inline bool report_is_asked(
	const struct report_build *build, const struct pn_pins_process *process)
{
	return !build->query->pid || build->query->pid == process->pid;
}

/* The companion module's pin of a region, not a backend's mappings. */
static inline bool report_is_module(const struct pn_pins_domain *domain)
{
	return !strcmp(domain->path, PN_MODULE_PATH);
}

#endif
