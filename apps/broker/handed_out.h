/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is handed out: one lease a device, in a file that anybody may read at any time. It is
 * written before anything leaves the broker, so that a broker that is killed has forgotten nothing.
 */
#ifndef BROKER_HANDED_OUT_H
#define BROKER_HANDED_OUT_H

#include <stdbool.h>
#include <sys/resource.h>
#include <time.h>

#include "peer.h"
#include "policy.h"

#define LEDGER_LEASES 128u
#define LEDGER_FILE   "/run/pinion-broker/ledger.json"

enum lease_state {
	LEASE_NONE,
	LEASE_HELD,
	/* Its process has ended or given it back, and somebody has it open still. */
	LEASE_LINGERING,
};

struct lease {
	enum lease_state state;
	enum pn_broker_backend backend;
	enum charge charge;
	char device[PN_BROKER_ADDRESS];
	struct peer peer;     /* pidfd: -1 when lingering */
	uint64_t connection;  /* number of it; 0: one of a broker before this */
	uint64_t memory;      /* bytes granted */
	struct rlimit before; /* RLIMIT_MEMLOCK of the process, to be put back */
	time_t since;
	uint64_t retry_at, retry_ms; /* lingering: when to look again, and how long after that */
};

struct ledger {
	const char *path;
	uint64_t taken_back; /* how often all of it was: lease_end_all() */
	struct lease leases[LEDGER_LEASES];
	/* As read: the broker that wrote it last, and whether it is at work still. */
	pid_t broker;
	uint64_t broker_start;
	bool runs;
	/* The caller is in another PID namespace, where the numbers of processes mean others or
	 * nobody, or /proc is: a HELD lease may have ended, and so may the broker, unless nobody
	 * has the lock. */
	bool elsewhere, ended;
};

/* A lease that is LEASE_NONE, or NULL. */
struct lease *ledger_room(struct ledger *ledger);
/* The lease of a device, or NULL. */
struct lease *ledger_find(struct ledger *ledger, const char *device);
/* The next HELD lease of a process from this one on (NULL: the first), or NULL. */
struct lease *ledger_of_peer(
	struct ledger *ledger, const struct peer *peer, const struct lease *after);

/* Write the file. 0, or -EIO after a complaint. */
int ledger_write(const struct ledger *ledger);
/*
 * Read what a broker left: leases of processes that live are HELD, the others are LINGERING. In
 * another PID namespace than that broker's all are what they were (ledger->elsewhere).
 * Complains of what makes no sense, and leaves it out. 0, -ENOENT if there is no file, or -EINVAL
 * after a complaint: leases is as if there were none.
 */
int ledger_read(struct ledger *ledger);
/* The PID namespace whose numbers of processes the caller knows; 0: /proc is another's, or missing.
 */
uint64_t ledger_pid_namespace(void);
/* A broker begins with what no process that it could look for can have: HELD leases of elsewhere
 * linger. */
void ledger_leave_elsewhere(struct ledger *ledger);
/* Close what ledger_read() opened. */
void ledger_close(struct ledger *ledger);

/*
 * Who changes a ledger holds this lock, a broker as long as it runs; waits some seconds if told to.
 * A file, whose close() is the end of it; -EBUSY: another has it; -ENOENT: the folder is not there;
 * another negative errno.
 */
int ledger_lock(const char *path, bool wait);

/* "iommufd", "type1". */
const char *ledger_backend(const struct lease *lease);
/* "2026-01-31 23:59:59", local time. Returns text. */
const char *ledger_since(const struct lease *lease, char text[32]);

/* Print the file for people. 0, or an exit status after a complaint. */
int ledger_print(const char *path);

#endif
