/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The records in memory: finding, adding, dropping them.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net.h"
#include "state.h"

void host_state_free(struct host_state *state)
{
	for (size_t i = 0; i < state->vfs_count; i++)
		free(state->vfs[i].functions);
	free(state->bindings);
	free(state->grants);
	free(state->nodes);
	free(state->vfs);
	memset(state, 0, sizeof(*state));
}

struct host_binding *host_binding_find(const struct host_state *state, const char *device)
{
	for (size_t i = 0; i < state->binding_count; i++) {
		if (!strcmp(state->bindings[i].device, device))
			return &state->bindings[i];
	}
	return NULL;
}

struct host_vfs *host_vfs_find(const struct host_state *state, const char *device)
{
	for (size_t i = 0; i < state->vfs_count; i++) {
		if (!strcmp(state->vfs[i].device, device))
			return &state->vfs[i];
	}
	return NULL;
}

struct host_node *host_node_find(const struct host_state *state, const char *path)
{
	for (size_t i = 0; i < state->node_count; i++) {
		if (!strcmp(state->nodes[i].path, path))
			return &state->nodes[i];
	}
	return NULL;
}

struct host_grant *host_grant_find(
	const struct host_state *state, const char *device, bool is_group, unsigned int id)
{
	for (size_t i = 0; i < state->grant_count; i++) {
		struct host_grant *grant = &state->grants[i];

		if (!strcmp(grant->device, device) && grant->is_group == is_group &&
			grant->id == id)
			return grant;
	}
	return NULL;
}

#define ADD(array, counter)                                                   \
	do {                                                                  \
		void *grown = host_grow(array, &(counter), sizeof(*(array))); \
                                                                              \
		if (!grown)                                                   \
			return NULL;                                          \
		(array) = grown;                                              \
		return &(array)[(counter)-1];                                 \
	} while (0)

#define DROP(array, counter, record)                                                   \
	do {                                                                           \
		size_t at = (size_t)((record) - (array));                              \
                                                                                       \
		memmove(record, (record) + 1, ((counter)-at - 1) * sizeof(*(record))); \
		(counter)--;                                                           \
	} while (0)

struct host_binding *host_binding_add(struct host_state *state)
{
	ADD(state->bindings, state->binding_count);
}

struct host_grant *host_grant_add(struct host_state *state)
{
	ADD(state->grants, state->grant_count);
}

struct host_node *host_node_add(struct host_state *state)
{
	ADD(state->nodes, state->node_count);
}

struct host_vfs *host_vfs_add(struct host_state *state)
{
	ADD(state->vfs, state->vfs_count);
}

void host_binding_drop(struct host_state *state, struct host_binding *binding)
{
	DROP(state->bindings, state->binding_count, binding);
}

void host_grant_drop(struct host_state *state, struct host_grant *grant)
{
	DROP(state->grants, state->grant_count, grant);
}

void host_node_drop(struct host_state *state, struct host_node *node)
{
	DROP(state->nodes, state->node_count, node);
}

void host_vfs_drop(struct host_state *state, struct host_vfs *vfs)
{
	free(vfs->functions);
	DROP(state->vfs, state->vfs_count, vfs);
}

void host_origin_now(struct host *host, struct host_origin *origin)
{
	host_boot_id(host, origin->boot);
	origin->time = time(NULL);
	origin->pid = getpid();
}

bool host_origin_old(struct host *host, const char *boot)
{
	char now[HOST_BOOT_MAX];

	host_boot_id(host, now);
	return strcmp(boot, now) != 0;
}

const char *host_binding_stage(enum host_stage stage)
{
	static const char *const names[] = {"binding", "bound", "unbinding"};

	return names[stage];
}

const char *host_grant_stage(enum host_stage stage)
{
	static const char *const names[] = {"granting", "granted", "revoking"};

	return names[stage];
}

const char *host_vfs_stage(enum host_stage stage)
{
	static const char *const names[] = {"creating", "created", "removing"};

	return names[stage];
}
