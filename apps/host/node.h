/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device nodes: owner, mode and access control list, as they are, as the grants want them, and as
 * they were.
 */
#ifndef HOST_NODE_H
#define HOST_NODE_H

#include "state.h"

/* Paths of nodes are written as "/dev/..."; where /dev is, the host knows. */
int host_node_path(struct host *host, const char *node, char path[PATH_MAX]);

/* One that all devices share. */
bool host_node_is_shared(const char *node);

/* Owner, mode and list as they are now, with the inode. -ENOENT etc. with the reason. */
int host_node_look(struct host *host, const char *path, struct host_node *node);

/* Was the node made anew since the record: another inode, or another start of the machine? */
bool host_node_renewed(struct host *host, const struct host_node *node);

/* May this user or group open it for reading and writing, as it was before any grant? */
bool host_node_allows(const struct host_node *before, bool is_group, unsigned int id);

/*
 * Bring the node to what its record and the grants that name it say; without a grant: to what it
 * was. A node that is not there is left alone (0). 0 or a negative errno with the reason.
 */
int host_node_apply(
	struct host *host, const struct host_state *state, const struct host_node *node);

/* Is it as the record and the grants say? */
bool host_node_is_applied(
	struct host *host, const struct host_state *state, const struct host_node *node);

/* Does a grant name this node? One that is being revoked does not count. */
bool host_node_granted(
	struct host *host, const struct host_state *state, const struct host_node *node);

/* The name that a node of this device has now: of its group's, or its own; "": it has none. */
void host_node_name_now(
	struct host *host, const char *device, const char *node, char name[HOST_NODE_MAX]);

#endif
