/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Letting a user or a group open the nodes of a device that is bound, and taking that back. The
 * caller holds the lock and has loaded the state.
 */
#ifndef HOST_GRANT_H
#define HOST_GRANT_H

#include "state.h"

struct host_grant_options {
	bool is_group;
	unsigned int id;
	const char *name;
	bool owner;       /* by ownership; else by ACL */
	bool persist;     /* by udev rules too */
	uint64_t memlock; /* bytes; 0: none */
};

/* One device. Granted twice is granted once, with the later options. 0 or a negative errno with the
 * reason; what could not be undone then is in the records. */
int host_grant(struct host *host, struct host_state *state, const char *device,
	const struct host_grant_options *options);

/*
 * Every grant of a device, or only the one of a user or group. 0, also when there is none; a
 * negative errno with the reason: the records that are left say what is not undone.
 */
int host_revoke_device(struct host *host, struct host_state *state, const char *device);
int host_revoke_one(struct host *host, struct host_state *state, const char *device, bool is_group,
	unsigned int id);

/* Nodes that no grant needs any more, which a command that died left. */
int host_revoke_nodes(struct host *host, struct host_state *state);

/*
 * Forget grants that have ended (host_grant_is_void()), and find the nodes of those that udev rules
 * gave anew. Both commands above begin so. 0 or a negative errno with the reason.
 */
int host_grants_settle(struct host *host, struct host_state *state);

/* Has a grant lost its effect: the machine was started anew, or a node was made anew, since? */
bool host_grant_is_void(
	struct host *host, const struct host_state *state, const struct host_grant *grant);

#endif
