/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Grants and nodes after the machine was started anew, or a device came back: what has ended is
 * forgotten, and what a udev rule has granted anew is found under the names it has now.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "grant.h"
#include "node.h"

static bool is_there(struct host *host, const char *node)
{
	return host_exists("%s/%s", host->dev, node + strlen("/dev/"));
}

/* Every grant of the device that names the node by its old name has it by the new one. */
static void rename_in_grants(
	struct host_state *state, const char *device, const char *from, const char *to)
{
	for (size_t i = 0; i < state->grant_count; i++) {
		struct host_grant *g = &state->grants[i];

		for (unsigned int j = 0; j < g->node_count && !strcmp(g->device, device); j++) {
			if (!strcmp(g->nodes[j], from))
				snprintf(g->nodes[j], sizeof(g->nodes[j]), "%s", to);
		}
	}
}

/* The record of a node that was made anew: what it was before any grant is what it was then. */
static int renew(struct host *host, struct host_state *state, struct host_node *node)
{
	struct host_node now;
	int err;

	if (!is_there(host, node->path) || !host_node_renewed(host, node))
		return 0;
	err = host_node_look(host, node->path, &now);
	if (err)
		return err;
	node->inode = now.inode;
	memcpy(node->boot, now.boot, sizeof(node->boot));
	(void)state;
	return 0;
}

/* The record of a node under its new name. One that is another device's by now stays where it is,
 * and is what such a node was before any grant. */
static int rename_record(
	struct host_state *state, const char *device, const char *from, const char *to)
{
	struct host_node *node = host_node_find(state, from), *other = host_node_find(state, to);
	struct host_node renamed;

	if (!node)
		return 0;
	renamed = *node;
	snprintf(renamed.path, sizeof(renamed.path), "%s", to);
	if (!strcmp(node->device, device)) {
		*node = renamed;
		/* The number is another device's now, whose record it may be by then. */
		if (other)
			host_node_drop(state, other);
		return 0;
	}
	if (other)
		return 0;
	other = host_node_add(state);
	if (!other)
		return -ENOMEM;
	*other = renamed;
	snprintf(other->device, sizeof(other->device), "%s", device);
	/* Made anew since that record. */
	other->inode = 0;
	return 0;
}

/* One node of a grant that persists. */
static int follow(struct host *host, struct host_state *state, const char *device, const char *old)
{
	char from[HOST_NODE_MAX], to[HOST_NODE_MAX];
	struct host_node *node;

	snprintf(from, sizeof(from), "%s", old);
	snprintf(to, sizeof(to), "%s", old);
	if (!host_node_is_shared(from)) {
		host_node_name_now(host, device, from, to);
		if (!*to)
			return 0;
	}
	if (strcmp(from, to)) {
		if (rename_record(state, device, from, to))
			return host_fail(host, ENOMEM, "no memory for a record");
		if (!host_node_find(state, to))
			return 0;
		rename_in_grants(state, device, from, to);
	}
	node = host_node_find(state, to);
	return node ? renew(host, state, node) : 0;
}

int host_grants_settle(struct host *host, struct host_state *state)
{
	int err = 0;

	for (size_t i = state->grant_count; i > 0; i--) {
		struct host_grant *g = &state->grants[i - 1];

		if (!host_grant_is_void(host, state, g))
			continue;
		host_note(host,
			"%s: the grant to %s had ended, as its nodes were made anew: it is "
			"forgotten",
			g->device, g->name);
		host_grant_drop(state, g);
	}
	for (size_t i = 0; i < state->grant_count && !err; i++) {
		struct host_grant *g = &state->grants[i];

		for (unsigned int j = 0; j < g->node_count && g->persist && !err; j++)
			err = follow(host, state, g->device, g->nodes[j]);
	}
	return err;
}
