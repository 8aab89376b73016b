/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What was changed on this machine, and what was there before: the records of doc/bind.md. They are
 * saved before anything is changed.
 */
#ifndef HOST_STATE_H
#define HOST_STATE_H

#include "pci.h"

#define HOST_NODE_MAX  64
#define HOST_NODES_MAX 4
#define HOST_NAMES_MAX 64
#define HOST_ACL_MAX   1024
#define HOST_SCHEMA    "pinion.host/1"

enum host_stage { HOST_BEGUN, HOST_DONE, HOST_UNDOING };

/* When and by whom a record was changed last. */
struct host_origin {
	char boot[HOST_BOOT_MAX];
	int64_t time; /* seconds since 1970 */
	pid_t pid;
};

struct host_binding {
	char device[PN_PCI_ADDRESS_MAX];
	enum host_stage stage;
	struct host_origin origin;
	char id[10]; /* "8086:10d3" */
	int group;
	char driver[HOST_DRIVER_MAX];            /* bound to */
	char before_driver[HOST_DRIVER_MAX];     /* "": none */
	char before_override[HOST_OVERRIDE_MAX]; /* "": none */
	char interfaces[HOST_NAMES_MAX];         /* "eth0,eth1" */
	bool persist;
	bool file_was;                       /* /etc/driverctl.d had one ... */
	char file_before[HOST_OVERRIDE_MAX]; /* ... that held this */
	char vf_of[PN_PCI_ADDRESS_MAX];      /* "": no virtual function of ours */
	bool fresh;                          /* made by this command; not saved */
};

struct host_grant {
	char device[PN_PCI_ADDRESS_MAX];
	enum host_stage stage;
	struct host_origin origin;
	bool is_group;
	unsigned int id;
	char name[HOST_NAMES_MAX];
	bool owner; /* by ownership; else by ACL */
	bool persist;
	uint64_t memlock; /* bytes; 0: none */
	char nodes[HOST_NODES_MAX][HOST_NODE_MAX];
	unsigned int node_count;
};

struct host_node {
	char path[HOST_NODE_MAX];
	char device[PN_PCI_ADDRESS_MAX]; /* "": shared by all */
	char boot[HOST_BOOT_MAX];
	uint64_t inode;
	unsigned int uid, gid;
	unsigned int mode;      /* nine bits */
	char acl[HOST_ACL_MAX]; /* "": none besides the mode */
};

struct host_vfs {
	char device[PN_PCI_ADDRESS_MAX];
	enum host_stage stage;
	struct host_origin origin;
	unsigned int count;
	char (*functions)[PN_PCI_ADDRESS_MAX];
	size_t function_count;
	unsigned int before_count;
	bool before_autoprobe;
	bool token; /* opening one takes a VF token */
};

struct host_state {
	struct host_binding *bindings;
	struct host_grant *grants;
	struct host_node *nodes;
	struct host_vfs *vfs;
	size_t binding_count, grant_count, node_count, vfs_count;
};

/* What the file holds; nothing if there is none. 0; a negative errno with the reason: the file
 * makes no sense or cannot be read. The caller frees with host_state_free(). */
int host_state_load(struct host *host, struct host_state *state);
/* Write it, so that it is there after a crash. With nothing in it the file goes. */
int host_state_save(struct host *host, const struct host_state *state);
void host_state_free(struct host_state *state);
/* Path of the file. */
void host_state_path(const struct host *host, char path[PATH_MAX]);
/* The document that is saved; NULL: no memory. A json_t, for who prints it. */
struct json_t *host_state_json(const struct host_state *state);

/* The record of a device; NULL: none. */
struct host_binding *host_binding_find(const struct host_state *state, const char *device);
struct host_vfs *host_vfs_find(const struct host_state *state, const char *device);
struct host_node *host_node_find(const struct host_state *state, const char *path);
struct host_grant *host_grant_find(
	const struct host_state *state, const char *device, bool is_group, unsigned int id);

/* A new record, zeroed; NULL: no memory. Pointers to others of its kind end. */
struct host_binding *host_binding_add(struct host_state *state);
struct host_grant *host_grant_add(struct host_state *state);
struct host_node *host_node_add(struct host_state *state);
struct host_vfs *host_vfs_add(struct host_state *state);
/* Take one out. Pointers to those behind it end. */
void host_binding_drop(struct host_state *state, struct host_binding *binding);
void host_grant_drop(struct host_state *state, struct host_grant *grant);
void host_node_drop(struct host_state *state, struct host_node *node);
void host_vfs_drop(struct host_state *state, struct host_vfs *vfs);

/* Now, by this process. */
void host_origin_now(struct host *host, struct host_origin *origin);
/* Is the record of an earlier start of the machine? */
bool host_origin_old(struct host *host, const char *boot);

const char *host_binding_stage(enum host_stage stage);
const char *host_grant_stage(enum host_stage stage);
const char *host_vfs_stage(enum host_stage stage);

#endif
