/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Leases. The order keeps what a killed broker leaves behind in the ledger: files are opened and
 * the limit is set, the ledger says so, then the files are sent. The kernel, not the ledger, is
 * what keeps a device with one client; a lease whose device is still open somewhere stays in the
 * ledger until it is not.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "cgroup.h"
#include "lease.h"
#include "output.h"

/* Between two looks at a device that somebody keeps open. */
#define RETRY_FIRST_MS 50u
#define RETRY_LAST_MS  10000u

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/*
 * Memory
 */

/* What all that a process holds allows it, bytes. */
static uint64_t granted_to(struct ledger *ledger, const struct peer *peer)
{
	const struct lease *lease = NULL;
	uint64_t most = 0;

	while ((lease = ledger_of_peer(ledger, peer, lease))) {
		if (lease->memory > most)
			most = lease->memory;
	}
	return most;
}

/* Nobody is left who could be told: a process that has ended needs nothing. */
static void put_limit(const struct peer *peer, const struct rlimit *limit)
{
	struct rlimit before;
	struct why why;

	if (peer_set_memlock(peer, limit, &before, &why) && !peer_ended(peer))
		complain("%s", why.text);
}

/* A lease less: its limit follows, and is as it was when that was the last. */
static void lower_limit(struct ledger *ledger, const struct lease *ended)
{
	uint64_t left = granted_to(ledger, &ended->peer);
	struct rlimit limit = ended->before;

	if (left >= ended->memory)
		return;
	if (left) {
		limit.rlim_max = left;
		limit.rlim_cur = left;
	}
	put_limit(&ended->peer, &limit);
}

/*
 * Give back
 */

/* Is the device free? Then the lease is gone. */
static void try_reclaim(struct lease *lease)
{
	struct why why;
	int ret;

	ret = vfio_reclaim(lease->backend, lease->device, &why);
	if (ret == -EBUSY) {
		lease->retry_ms = lease->retry_ms ? lease->retry_ms * 2 : RETRY_FIRST_MS;
		if (lease->retry_ms > RETRY_LAST_MS)
			lease->retry_ms = RETRY_LAST_MS;
		lease->retry_at = now_ms() + lease->retry_ms;
		return;
	}
	if (ret)
		complain("%s, given back, cannot be looked at: %s", lease->device, why.text);
	else
		complain("%s is free", lease->device);
	lease->state = LEASE_NONE;
}

static void end_one(struct ledger *ledger, struct lease *lease)
{
	lease->state = LEASE_LINGERING;
	lease->retry_ms = 0;
	lower_limit(ledger, lease);
	peer_close(&lease->peer);
	try_reclaim(lease);
}

void lease_end(struct ledger *ledger, struct lease *lease)
{
	end_one(ledger, lease);
	(void)ledger_write(ledger);
}

void lease_end_connection(struct ledger *ledger, uint64_t connection)
{
	bool changed = false;

	for (unsigned int i = 0; i < LEDGER_LEASES; i++) {
		struct lease *lease = &ledger->leases[i];

		if (lease->state != LEASE_HELD || lease->connection != connection)
			continue;
		end_one(ledger, lease);
		changed = true;
	}
	if (changed)
		(void)ledger_write(ledger);
}

int lease_end_all(struct ledger *ledger)
{
	for (unsigned int i = 0; i < LEDGER_LEASES; i++) {
		struct lease *lease = &ledger->leases[i];

		if (lease->state == LEASE_HELD)
			end_one(ledger, lease);
		else if (lease->state == LEASE_LINGERING)
			try_reclaim(lease);
	}
	ledger->taken_back++;
	return ledger_write(ledger);
}

static bool is_of(const struct lease *lease, const struct peer *peer)
{
	return lease && lease->state == LEASE_HELD && lease->peer.pid == peer->pid &&
	       lease->peer.start == peer->start;
}

int lease_release(struct ledger *ledger, const struct peer *peer,
	const struct pn_broker_wire_request *request, struct why *why)
{
	struct lease *lease = NULL;

	for (unsigned int i = 0; i < request->count; i++) {
		if (!is_of(ledger_find(ledger, request->device[i]), peer))
			return because(why, ENOENT, "%s was not handed to this process",
				request->device[i]);
	}
	for (unsigned int i = 0; i < request->count; i++)
		end_one(ledger, ledger_find(ledger, request->device[i]));
	while (!request->count && (lease = ledger_of_peer(ledger, peer, lease)))
		end_one(ledger, lease);
	(void)ledger_write(ledger);
	return 0;
}

int lease_retry(struct ledger *ledger)
{
	uint64_t now = now_ms(), next = UINT64_MAX;
	bool changed = false;

	for (unsigned int i = 0; i < LEDGER_LEASES; i++) {
		struct lease *lease = &ledger->leases[i];

		if (lease->state != LEASE_LINGERING)
			continue;
		if (lease->retry_at <= now)
			try_reclaim(lease);
		if (lease->state == LEASE_NONE)
			changed = true;
		else if (lease->retry_at < next)
			next = lease->retry_at;
	}
	if (changed)
		(void)ledger_write(ledger);
	if (next == UINT64_MAX)
		return -1;
	now = now_ms();
	return next > now ? (int)(next - now) : 0;
}

/*
 * Grant
 */

/* What the policy says of all devices of a request together. */
struct grant {
	const struct policy *policy;
	const struct peer *peer;
	const struct rule *rules[PN_BROKER_DEVICES];
	uint64_t memory; /* the most of all rules */
	bool per_user;   /* any rule says so */
};

static bool is_granted(const void *arg, const char *device)
{
	const struct grant *grant = arg;

	return policy_find(grant->policy, grant->peer->uid, grant->peer->cgroup, device);
}

/* Does the kernel keep the client's group within what the rule grants? */
static int check_group(const struct rule *rule, const struct peer *peer, struct why *why)
{
	uint64_t bound;

	if (rule->charge != PER_GROUP)
		return 0;
	bound = cgroup_bound(peer->cgroup);
	if (bound <= rule->memory)
		return 0;
	if (bound == UINT64_MAX)
		return because(why, EPERM,
			"line %u of the policy grants %" PRIu64 " bytes per group, and nothing "
			"that only root may change bounds the memory of control group %s: set "
			"memory.max and hugetlb.*.max",
			rule->line, rule->memory, peer->cgroup[0] ? peer->cgroup : "(none)");
	return because(why, EPERM,
		"line %u of the policy grants %" PRIu64 " bytes per group, and control group %s "
		"may have %" PRIu64 " (memory.max and hugepages together)",
		rule->line, rule->memory, peer->cgroup, bound);
}

static int check_policy(
	struct grant *grant, const struct pn_broker_wire_request *request, struct why *why)
{
	const struct peer *peer = grant->peer;
	int ret;

	for (unsigned int i = 0; i < request->count; i++) {
		const char *device = request->device[i];
		const struct rule *rule =
			policy_find(grant->policy, peer->uid, peer->cgroup, device);

		if (!rule)
			return because(why, EACCES,
				"the policy grants %s neither to uid %u nor to control group %s",
				device, (unsigned int)peer->uid,
				peer->cgroup[0] ? peer->cgroup : "(none)");
		grant->rules[i] = rule;
		grant->per_user |= rule->charge == PER_USER;
		ret = check_group(rule, peer, why);
		if (ret)
			return ret;
		if (rule->memory > grant->memory)
			grant->memory = rule->memory;
	}
	if (request->memory > grant->memory)
		return because(why, EDQUOT,
			"%" PRIu64 " bytes of memory are asked for, and line %u of the policy "
			"grants %" PRIu64,
			request->memory, grant->rules[0]->line, grant->memory);
	return 0;
}

static int check_free(
	struct ledger *ledger, const struct pn_broker_wire_request *request, struct why *why)
{
	unsigned int room = 0;

	for (unsigned int i = 0; i < request->count; i++) {
		struct lease *lease = ledger_find(ledger, request->device[i]);

		if (lease && lease->state == LEASE_LINGERING) {
			try_reclaim(lease);
			(void)ledger_write(ledger);
		}
		if (!lease || lease->state == LEASE_NONE)
			continue;
		if (lease->state == LEASE_HELD)
			return because(why, EBUSY, "%s is in use by process %d of uid %u",
				lease->device, (int)lease->peer.pid, (unsigned int)lease->peer.uid);
		return because(why, EBUSY,
			"%s was given back by process %d of uid %u, but somebody has a copy of "
			"its file open still (as root: fuser -v /dev/vfio/devices/* /dev/vfio/*)",
			lease->device, (int)lease->peer.pid, (unsigned int)lease->peer.uid);
	}
	for (unsigned int i = 0; i < LEDGER_LEASES; i++)
		room += ledger->leases[i].state == LEASE_NONE;
	if (room < request->count)
		return because(why, EBUSY, "%u devices are handed out, more is not provided for",
			LEDGER_LEASES - room);
	return 0;
}

/* Hard: what is granted. Soft: what is wanted, and not less than another request got. */
static int set_limit(struct ledger *ledger, const struct grant *grant, uint64_t wanted,
	struct rlimit *before, uint64_t *soft, struct why *why)
{
	const struct lease *first = ledger_of_peer(ledger, grant->peer, NULL);
	uint64_t most = granted_to(ledger, grant->peer);
	struct rlimit limit, old;
	int ret;

	limit.rlim_max = grant->memory > most ? grant->memory : most;
	limit.rlim_cur = wanted ? wanted : grant->memory;
	if (limit.rlim_cur < most)
		limit.rlim_cur = most;
	ret = peer_set_memlock(grant->peer, &limit, &old, why);
	if (ret)
		return ret;
	*before = first ? first->before : old;
	*soft = limit.rlim_cur;
	return 0;
}

static int add_lease(struct ledger *ledger, const struct grant *grant, unsigned int index,
	const struct lease *like, struct why *why)
{
	struct lease *lease = ledger_room(ledger);
	struct lease made = *like;

	made.peer = *grant->peer;
	made.memory = grant->rules[index]->memory;
	made.charge = grant->rules[index]->charge;
	memcpy(made.device, grant->rules[index]->device, sizeof(made.device));
	made.peer.pidfd = fcntl(grant->peer->pidfd, F_DUPFD_CLOEXEC, 0);
	if (made.peer.pidfd < 0)
		return because(why, errno, "copying a file: %s", strerror(errno));
	*lease = made;
	return 0;
}

/* Take back what add_lease() and set_limit() did: nothing was sent. */
static void undo(struct ledger *ledger, const struct grant *grant,
	const struct pn_broker_wire_request *request, const struct rlimit *before)
{
	uint64_t left;
	struct rlimit limit = *before;

	for (unsigned int i = 0; i < request->count; i++) {
		struct lease *lease = ledger_find(ledger, request->device[i]);

		if (!is_of(lease, grant->peer))
			continue;
		peer_close(&lease->peer);
		lease->state = LEASE_NONE;
	}
	left = granted_to(ledger, grant->peer);
	if (left)
		limit = (struct rlimit){.rlim_cur = left, .rlim_max = left};
	put_limit(grant->peer, &limit);
}

static int record(struct ledger *ledger, const struct grant *grant, uint64_t connection,
	const struct pn_broker_wire_request *request, const struct handout *handout,
	const struct rlimit *before, struct why *why)
{
	struct lease like = {.state = LEASE_HELD,
		.backend = handout->backend,
		.connection = connection,
		.before = *before,
		.since = time(NULL)};
	int ret = 0;

	for (unsigned int i = 0; !ret && i < request->count; i++)
		ret = add_lease(ledger, grant, i, &like, why);
	if (!ret && ledger_write(ledger))
		ret = because(why, EIO, "the ledger %s cannot be written", ledger->path);
	return ret;
}

int lease_grant(struct ledger *ledger, const struct policy *policy, struct peer *peer,
	uint64_t connection, const struct pn_broker_wire_request *request, struct handout *handout,
	struct pn_broker_wire_reply *reply, struct why *why)
{
	struct grant grant = {.policy = policy, .peer = peer};
	struct vfio_wish wish = {.backend = (enum pn_broker_backend)request->backend,
		.count = request->count,
		.devices = request->device,
		.granted = is_granted,
		.arg = &grant};
	struct rlimit before;
	int ret;

	if (peer_look_again(peer))
		return because(why, ESRCH, "the process has ended");
	ret = check_policy(&grant, request, why);
	if (!ret)
		ret = check_free(ledger, request, why);
	if (ret)
		return ret;
	wish.per_user = grant.per_user;
	for (unsigned int i = 0; i < request->count; i++)
		wish.without_reset[i] = grant.rules[i]->without_reset;
	ret = vfio_open(handout, &wish, why);
	if (ret)
		return ret;
	ret = set_limit(ledger, &grant, request->memory, &before, &reply->memory, why);
	if (ret)
		goto close_files;
	ret = record(ledger, &grant, connection, request, handout, &before, why);
	if (ret)
		goto undo_limit;
	reply->backend = handout->backend;
	reply->count = request->count;
	memcpy(reply->dev_id, handout->dev_id, sizeof(reply->dev_id));
	return 0;

undo_limit:
	undo(ledger, &grant, request, &before);
close_files:
	vfio_close(handout);
	return ret;
}
