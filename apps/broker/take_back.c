/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lock of the ledger tells whether a broker runs. The one that does is told by SIGUSR1, which
 * only root can send it, and says in the ledger when it is done.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lease.h"
#include "take_back.h"

/* A broker may be resetting devices, a tenth of a second and more for each. */
#define ANSWER_TRIES    200
#define START_TRIES     20
#define ANSWER_PAUSE_NS 50000000L

static int read_again(struct ledger *ledger, struct why *why)
{
	int err;

	ledger_close(ledger);
	err = ledger_read(ledger);
	return err ? because(why, -err, "%s: %s", ledger->path,
			     err == -ENOENT
				     ? strerror(ENOENT)
				     : "it makes no sense; if nobody has a device of the broker's "
				       "(pinion status), remove it")
		   : 0;
}

/* It has the lock, and is to be the process that wrote the file. */
static int find_broker(struct ledger *ledger, struct peer *broker, struct why *why)
{
	int err = read_again(ledger, why);

	if (err)
		return err;
	if (ledger->elsewhere)
		return because(why, EBUSY,
			"somebody has %s.lock, and the ledger is that of process %d of another PID "
			"namespace: if that pinion-broker runs, do this in its namespace; else try "
			"again",
			ledger->path, (int)ledger->broker);
	if (!ledger->runs || peer_of_pid(broker, ledger->broker, ledger->broker_start))
		return because(why, EBUSY,
			"another process has %s.lock, and is not the broker that wrote the ledger: "
			"it is starting, or ending; try again",
			ledger->path);
	return 0;
}

static int wait_for(
	struct ledger *ledger, const struct peer *broker, uint64_t before, struct why *why)
{
	const struct timespec pause = {0, ANSWER_PAUSE_NS};
	int err = 0;

	for (int i = 0; i < ANSWER_TRIES && !err; i++) {
		err = read_again(ledger, why);
		if (!err && ledger->taken_back > before)
			return 0;
		if (!err && peer_ended(broker))
			return because(why, ESRCH, "pinion-broker (pid %d) has ended meanwhile",
				(int)broker->pid);
		nanosleep(&pause, NULL);
	}
	return err ? err
		   : because(why, ETIMEDOUT,
			     "pinion-broker (pid %d) was told to take all back, and does not "
			     "answer; as root: kill it, and try again",
			     (int)broker->pid);
}

static int tell(struct ledger *ledger, struct why *why)
{
	const struct timespec pause = {0, ANSWER_PAUSE_NS};
	struct peer broker;
	uint64_t before;
	int err;

	/* One that has just started has the lock before it has written the ledger. */
	err = find_broker(ledger, &broker, why);
	for (int i = 0; i < START_TRIES && err == -EBUSY; i++) {
		nanosleep(&pause, NULL);
		err = find_broker(ledger, &broker, why);
	}
	if (err)
		return err;
	before = ledger->taken_back;
	if (syscall(SYS_pidfd_send_signal, broker.pidfd, SIGUSR1, NULL, 0))
		err = because(why, errno, "pinion-broker (pid %d) cannot be told: %s",
			(int)broker.pid, strerror(errno));
	else
		err = wait_for(ledger, &broker, before, why);
	peer_close(&broker);
	return err;
}

static bool is_any_held(const struct ledger *ledger)
{
	for (unsigned int i = 0; i < LEDGER_LEASES; i++) {
		if (ledger->leases[i].state == LEASE_HELD)
			return true;
	}
	return false;
}

int take_back(struct ledger *ledger, struct why *why)
{
	const struct timespec pause = {0, ANSWER_PAUSE_NS};
	int lock, err;

	/* Without a ledger there is nothing, and no lock is to be made. */
	if (access(ledger->path, F_OK))
		return 0;
	lock = ledger_lock(ledger->path, false);
	/* Somebody may have looked at that moment whether it is free. */
	if (lock == -EBUSY && !nanosleep(&pause, NULL))
		lock = ledger_lock(ledger->path, false);
	if (lock == -EBUSY)
		return tell(ledger, why);
	if (lock < 0)
		return because(why, -lock, "%s.lock: %s", ledger->path, strerror(-lock));
	err = read_again(ledger, why);
	/* Limits could not be put back: its own namespace does that. */
	if (!err && ledger->elsewhere && is_any_held(ledger))
		err = because(why, EXDEV,
			"it is in the ledger of a pinion-broker of another PID namespace, which "
			"does not run any more: do this in that namespace, or start the broker "
			"again; if neither is there any more, and 'pinion status' shows nobody "
			"with a device open, remove %s",
			ledger->path);
	if (!err && lease_end_all(ledger))
		err = because(why, EIO, "%s cannot be written", ledger->path);
	close(lock);
	return err;
}
