/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The records as the JSON document that doc/bind.md describes. Reading it trusts nothing: the tool
 * that acts on it runs as root.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state.h"

#define FILE_MODE 0644

void host_state_path(const struct host *host, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/lib/pinion/host.json", host->var);
}

/*
 * Writing
 */

static json_t *text_or_null(const char *text)
{
	return *text ? json_string(text) : json_null();
}

/* "eth0,eth1" */
static json_t *names_json(const char *names)
{
	json_t *array = json_array();

	for (size_t len; *names; names += len + (names[len] == ',')) {
		len = strcspn(names, ",");
		if (len)
			json_array_append_new(array, json_stringn(names, len));
	}
	return array;
}

static json_t *binding_json(const struct host_binding *b)
{
	return json_pack("{s:s, s:s, s:s, s:I, s:i, s:s, s:i, s:s, s:{s:o, s:o, s:o}, s:o, s:o}",
		"device", b->device, "stage", host_binding_stage(b->stage), "boot", b->origin.boot,
		"time", (json_int_t)b->origin.time, "pid", (int)b->origin.pid, "id", b->id, "group",
		b->group, "driver", b->driver, "before", "driver", text_or_null(b->before_driver),
		"override", text_or_null(b->before_override), "interfaces",
		names_json(b->interfaces), "persist",
		b->persist ? json_pack("{s:o}", "override_file",
				     b->file_was ? json_string(b->file_before) : json_null())
			   : json_null(),
		"vf_of", text_or_null(b->vf_of));
}

static json_t *texts_json(const char *texts, size_t size, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(array, json_string(texts + i * size));
	return array;
}

static json_t *grant_json(const struct host_grant *g)
{
	return json_pack("{s:s, s:s, s:s, s:I, s:i, s:s, s:I, s:s, s:s, s:b, s:o, s:o}", "device",
		g->device, "stage", host_grant_stage(g->stage), "boot", g->origin.boot, "time",
		(json_int_t)g->origin.time, "pid", (int)g->origin.pid, "kind",
		g->is_group ? "group" : "user", "id", (json_int_t)g->id, "name", g->name, "mode",
		g->owner ? "owner" : "acl", "persist", g->persist, "memlock",
		g->memlock ? json_integer((json_int_t)g->memlock) : json_null(), "nodes",
		texts_json(g->nodes[0], sizeof(g->nodes[0]), g->node_count));
}

static json_t *node_json(const struct host_node *n)
{
	return json_pack("{s:s, s:o, s:s, s:I, s:{s:I, s:I, s:i, s:o}}", "path", n->path, "device",
		text_or_null(n->device), "boot", n->boot, "inode", (json_int_t)n->inode, "before",
		"uid", (json_int_t)n->uid, "gid", (json_int_t)n->gid, "mode", (int)n->mode, "acl",
		text_or_null(n->acl));
}

static json_t *vfs_json(const struct host_vfs *v)
{
	return json_pack("{s:s, s:s, s:s, s:I, s:i, s:i, s:o, s:{s:i, s:b}, s:b}", "device",
		v->device, "stage", host_vfs_stage(v->stage), "boot", v->origin.boot, "time",
		(json_int_t)v->origin.time, "pid", (int)v->origin.pid, "count", (int)v->count,
		"functions",
		texts_json((const char *)v->functions, sizeof(*v->functions), v->function_count),
		"before", "count", (int)v->before_count, "autoprobe", v->before_autoprobe, "token",
		v->token);
}

json_t *host_state_json(const struct host_state *state)
{
	json_t *bindings = json_array(), *grants = json_array(), *nodes = json_array();
	json_t *vfs = json_array();

	for (size_t i = 0; i < state->binding_count; i++)
		json_array_append_new(bindings, binding_json(&state->bindings[i]));
	for (size_t i = 0; i < state->grant_count; i++)
		json_array_append_new(grants, grant_json(&state->grants[i]));
	for (size_t i = 0; i < state->node_count; i++)
		json_array_append_new(nodes, node_json(&state->nodes[i]));
	for (size_t i = 0; i < state->vfs_count; i++)
		json_array_append_new(vfs, vfs_json(&state->vfs[i]));
	return json_pack("{s:s, s:o, s:o, s:o, s:o}", "schema", HOST_SCHEMA, "bindings", bindings,
		"grants", grants, "nodes", nodes, "vfs", vfs);
}

/* json_pack() and json_array_append_new() can run out of memory in the middle: a record missing
 * must not be saved. */
static bool is_whole(json_t *document, const struct host_state *state)
{
	return document &&
	       json_array_size(json_object_get(document, "bindings")) == state->binding_count &&
	       json_array_size(json_object_get(document, "grants")) == state->grant_count &&
	       json_array_size(json_object_get(document, "nodes")) == state->node_count &&
	       json_array_size(json_object_get(document, "vfs")) == state->vfs_count;
}

/*
 * Reading
 */

struct reader {
	struct host *host;
	const char *path;
	const char *what; /* "bindings[2]" for a reason */
	size_t index;
};

static int wrong(struct reader *reader, const char *fmt, ...) HOST_PRINTF(2, 3);

static int wrong(struct reader *reader, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return host_fail(reader->host, EBADMSG,
		"%s: %s[%zu]: %s; it says what was there before pinion changed this machine: mend "
		"it, or, if nothing is bound or granted, remove it",
		reader->path, reader->what, reader->index, text);
}

/* A text of the file into a field. Nothing in it may surprise a terminal or a path. */
static int take_text(
	struct reader *reader, const char *name, const char *text, char *to, size_t size)
{
	if (!text)
		text = "";
	if (strlen(text) >= size)
		return wrong(reader, "%s is too long", name);
	for (const char *p = text; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return wrong(reader, "%s has a control character", name);
	}
	strcpy(to, text);
	return 0;
}

/* Part of a path of sysfs or /etc: a driver's name. */
static int take_name(
	struct reader *reader, const char *name, const char *text, char *to, size_t size)
{
	if (text && (strchr(text, '/') || !strcmp(text, ".") || !strcmp(text, "..")))
		return wrong(reader, "%s is '%.40s', which is no name", name, text);
	return take_text(reader, name, text, to, size);
}

static int take_address(struct reader *reader, const char *name, const char *text, char *to)
{
	if (!text || !host_pci_is_address(text))
		return wrong(reader, "%s is not the address of a PCI function", name);
	return take_text(reader, name, text, to, PN_PCI_ADDRESS_MAX);
}

static int take_stage(struct reader *reader, const char *text, const char *(*name)(enum host_stage),
	enum host_stage *stage)
{
	for (enum host_stage s = HOST_BEGUN; s <= HOST_UNDOING; s++) {
		if (!strcmp(text, name(s))) {
			*stage = s;
			return 0;
		}
	}
	return wrong(reader, "stage '%.20s' is none", text);
}

static int take_range(
	struct reader *reader, const char *name, json_int_t value, json_int_t min, json_int_t max)
{
	if (value >= min && value <= max)
		return 0;
	return wrong(reader, "%s is %lld, not %lld to %lld", name, (long long)value, (long long)min,
		(long long)max);
}

static int unpack(struct reader *reader, json_t *record, const char *fmt, ...)
{
	json_error_t error;
	va_list args;
	int ret;

	va_start(args, fmt);
	ret = json_vunpack_ex(record, &error, JSON_STRICT, fmt, args);
	va_end(args);
	return ret ? wrong(reader, "%s", error.text) : 0;
}

/* A text or null. */
static int optional(struct reader *reader, const char *name, json_t *value, const char **text)
{
	if (!json_is_null(value) && !json_is_string(value))
		return wrong(reader, "%s is neither a text nor null", name);
	*text = json_string_value(value);
	return 0;
}

static int take_origin(struct reader *reader, struct host_origin *origin, const char *boot,
	json_int_t time, json_int_t pid)
{
	int err;

	err = take_text(reader, "boot", boot, origin->boot, sizeof(origin->boot));
	if (!err)
		err = take_range(reader, "pid", pid, 0, INT_MAX);
	origin->time = time;
	origin->pid = (pid_t)pid;
	return err;
}

/* An array of names as "a,b". */
static int take_names(struct reader *reader, json_t *array, char *to, size_t size)
{
	char name[HOST_NAMES_MAX];
	size_t used = 0, i;
	json_t *item;

	to[0] = '\0';
	json_array_foreach(array, i, item)
	{
		if (!json_is_string(item) || take_name(reader, "interfaces",
						     json_string_value(item), name, sizeof(name)))
			return wrong(reader, "interfaces has something that is no name");
		used += (size_t)snprintf(to + used, size - used, "%s%s", i ? "," : "", name);
		if (used >= size)
			return wrong(reader, "interfaces has too many names");
	}
	return 0;
}

static int take_persist(struct reader *reader, json_t *persist, struct host_binding *b)
{
	const char *file = NULL;
	json_t *value;
	int err;

	if (json_is_null(persist))
		return 0;
	err = unpack(reader, persist, "{s:o}", "override_file", &value);
	if (!err)
		err = optional(reader, "override_file", value, &file);
	if (err)
		return err;
	b->persist = true;
	b->file_was = file != NULL;
	return take_text(reader, "override_file", file, b->file_before, sizeof(b->file_before));
}

static int take_binding(struct reader *reader, struct host_state *state, json_t *record)
{
	const char *device, *stage, *boot, *id, *driver, *was_driver = NULL, *was = NULL;
	const char *vf_of = NULL;
	json_t *was_driver_value, *was_value, *interfaces, *persist, *vf_of_value;
	struct host_binding *b = host_binding_add(state);
	json_int_t time, pid, group;
	int err;

	if (!b)
		return host_fail(reader->host, ENOMEM, "no memory for %s", reader->path);
	err = unpack(reader, record,
		"{s:s, s:s, s:s, s:I, s:I, s:s, s:I, s:s, s:{s:o, s:o, s:o}, s:o, s:o}", "device",
		&device, "stage", &stage, "boot", &boot, "time", &time, "pid", &pid, "id", &id,
		"group", &group, "driver", &driver, "before", "driver", &was_driver_value,
		"override", &was_value, "interfaces", &interfaces, "persist", &persist, "vf_of",
		&vf_of_value);
	if (!err)
		err = optional(reader, "before.driver", was_driver_value, &was_driver);
	if (!err)
		err = optional(reader, "before.override", was_value, &was);
	if (!err)
		err = optional(reader, "vf_of", vf_of_value, &vf_of);
	if (!err)
		err = take_address(reader, "device", device, b->device);
	if (!err)
		err = take_stage(reader, stage, host_binding_stage, &b->stage);
	if (!err)
		err = take_origin(reader, &b->origin, boot, time, pid);
	if (!err)
		err = take_text(reader, "id", id, b->id, sizeof(b->id));
	if (!err)
		err = take_range(reader, "group", group, -1, INT_MAX);
	if (!err)
		err = take_name(reader, "driver", driver, b->driver, sizeof(b->driver));
	if (!err)
		err = take_name(reader, "before.driver", was_driver, b->before_driver,
			sizeof(b->before_driver));
	if (!err)
		err = take_name(reader, "before.override", was, b->before_override,
			sizeof(b->before_override));
	if (!err)
		err = take_names(reader, interfaces, b->interfaces, sizeof(b->interfaces));
	if (!err)
		err = take_persist(reader, persist, b);
	if (!err && vf_of)
		err = take_address(reader, "vf_of", vf_of, b->vf_of);
	if (!err)
		b->group = (int)group;
	return err;
}

/* A node is one of VFIO's, wherever /dev is. */
static int take_node_path(struct reader *reader, const char *name, const char *text, char *to)
{
	if (!text || strncmp(text, "/dev/", 5) || strstr(text, "..") || strstr(text, "//"))
		return wrong(reader, "%s is not a path below /dev", name);
	return take_text(reader, name, text, to, HOST_NODE_MAX);
}

static int take_grant(struct reader *reader, struct host_state *state, json_t *record)
{
	const char *device, *stage, *boot, *kind, *name, *mode;
	struct host_grant *g = host_grant_add(state);
	json_int_t time, pid, id;
	json_t *memlock, *nodes, *item;
	int err, persist;
	size_t i;

	if (!g)
		return host_fail(reader->host, ENOMEM, "no memory for %s", reader->path);
	err = unpack(reader, record, "{s:s, s:s, s:s, s:I, s:I, s:s, s:I, s:s, s:s, s:b, s:o, s:o}",
		"device", &device, "stage", &stage, "boot", &boot, "time", &time, "pid", &pid,
		"kind", &kind, "id", &id, "name", &name, "mode", &mode, "persist", &persist,
		"memlock", &memlock, "nodes", &nodes);
	if (!err)
		err = take_address(reader, "device", device, g->device);
	if (!err)
		err = take_stage(reader, stage, host_grant_stage, &g->stage);
	if (!err)
		err = take_origin(reader, &g->origin, boot, time, pid);
	if (!err && strcmp(kind, "user") && strcmp(kind, "group"))
		err = wrong(reader, "kind is '%.20s', not user or group", kind);
	if (!err && strcmp(mode, "acl") && strcmp(mode, "owner"))
		err = wrong(reader, "mode is '%.20s', not acl or owner", mode);
	if (!err)
		err = take_range(reader, "id", id, 0, UINT32_MAX - 1);
	if (!err)
		err = take_name(reader, "name", name, g->name, sizeof(g->name));
	if (!err && !json_is_null(memlock) &&
		(!json_is_integer(memlock) || json_integer_value(memlock) <= 0))
		err = wrong(reader, "memlock is no number of bytes");
	if (!err && (!json_is_array(nodes) || json_array_size(nodes) > HOST_NODES_MAX))
		err = wrong(reader, "nodes is no array of up to %d", HOST_NODES_MAX);
	if (err)
		return err;
	g->is_group = !strcmp(kind, "group");
	g->id = (unsigned int)id;
	g->owner = !strcmp(mode, "owner");
	g->persist = persist;
	g->memlock = (uint64_t)json_integer_value(memlock);
	json_array_foreach(nodes, i, item)
	{
		err = take_node_path(reader, "nodes", json_string_value(item), g->nodes[i]);
		if (err)
			return err;
		g->node_count++;
	}
	return 0;
}

static int take_node(struct reader *reader, struct host_state *state, json_t *record)
{
	struct host_node *n = host_node_add(state);
	const char *path, *device = NULL, *boot, *acl = NULL;
	json_int_t inode, uid, gid, mode;
	json_t *device_value, *acl_value;
	int err;

	if (!n)
		return host_fail(reader->host, ENOMEM, "no memory for %s", reader->path);
	err = unpack(reader, record, "{s:s, s:o, s:s, s:I, s:{s:I, s:I, s:I, s:o}}", "path", &path,
		"device", &device_value, "boot", &boot, "inode", &inode, "before", "uid", &uid,
		"gid", &gid, "mode", &mode, "acl", &acl_value);
	if (!err)
		err = optional(reader, "device", device_value, &device);
	if (!err)
		err = optional(reader, "before.acl", acl_value, &acl);
	if (!err)
		err = take_node_path(reader, "path", path, n->path);
	if (!err && device)
		err = take_address(reader, "device", device, n->device);
	if (!err)
		err = take_text(reader, "boot", boot, n->boot, sizeof(n->boot));
	if (!err)
		err = take_range(reader, "before.uid", uid, 0, UINT32_MAX - 1);
	if (!err)
		err = take_range(reader, "before.gid", gid, 0, UINT32_MAX - 1);
	if (!err)
		err = take_range(reader, "before.mode", mode, 0, 0777);
	if (!err)
		err = take_text(reader, "before.acl", acl, n->acl, sizeof(n->acl));
	if (err)
		return err;
	n->inode = (uint64_t)inode;
	n->uid = (unsigned int)uid;
	n->gid = (unsigned int)gid;
	n->mode = (unsigned int)mode;
	return 0;
}

static int take_vfs(struct reader *reader, struct host_state *state, json_t *record)
{
	struct host_vfs *v = host_vfs_add(state);
	json_int_t time, pid, count, before;
	const char *device, *stage, *boot;
	int err, autoprobe, token;
	json_t *functions, *item;
	size_t i;

	if (!v)
		return host_fail(reader->host, ENOMEM, "no memory for %s", reader->path);
	err = unpack(reader, record, "{s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:{s:I, s:b}, s:b}",
		"device", &device, "stage", &stage, "boot", &boot, "time", &time, "pid", &pid,
		"count", &count, "functions", &functions, "before", "count", &before, "autoprobe",
		&autoprobe, "token", &token);
	if (!err)
		err = take_address(reader, "device", device, v->device);
	if (!err)
		err = take_stage(reader, stage, host_vfs_stage, &v->stage);
	if (!err)
		err = take_origin(reader, &v->origin, boot, time, pid);
	if (!err)
		err = take_range(reader, "count", count, 1, 65535);
	if (!err)
		err = take_range(reader, "before.count", before, 0, 65535);
	if (!err && (!json_is_array(functions) || json_array_size(functions) > 65535))
		err = wrong(reader, "functions is no array of addresses");
	if (err)
		return err;
	v->count = (unsigned int)count;
	v->before_count = (unsigned int)before;
	v->before_autoprobe = autoprobe;
	v->token = token;
	v->functions = calloc(json_array_size(functions) + 1, sizeof(*v->functions));
	if (!v->functions)
		return host_fail(reader->host, ENOMEM, "no memory for %s", reader->path);
	json_array_foreach(functions, i, item)
	{
		err = take_address(reader, "functions", json_string_value(item), v->functions[i]);
		if (err)
			return err;
		v->function_count++;
	}
	return 0;
}

static int take_array(struct reader *reader, struct host_state *state, json_t *document,
	const char *name, int (*take)(struct reader *, struct host_state *, json_t *))
{
	json_t *array = json_object_get(document, name), *record;
	int err = 0;
	size_t i;

	reader->what = name;
	reader->index = 0;
	if (!json_is_array(array))
		return wrong(reader, "there is no such array");
	json_array_foreach(array, i, record)
	{
		reader->index = i;
		err = take(reader, state, record);
		if (err)
			return err;
	}
	return 0;
}

static int take_document(struct reader *reader, struct host_state *state, json_t *document)
{
	const char *schema = json_string_value(json_object_get(document, "schema"));
	int err;

	if (!schema || strcmp(schema, HOST_SCHEMA))
		return host_fail(reader->host, EBADMSG,
			"%s is of the schema '%.40s', and this pinion knows %s: use the pinion "
			"that wrote it",
			reader->path, schema ? schema : "", HOST_SCHEMA);
	if (json_object_size(document) != 5)
		return host_fail(reader->host, EBADMSG,
			"%s has members besides schema, bindings, grants, nodes, vfs",
			reader->path);
	err = take_array(reader, state, document, "bindings", take_binding);
	if (!err)
		err = take_array(reader, state, document, "grants", take_grant);
	if (!err)
		err = take_array(reader, state, document, "nodes", take_node);
	if (!err)
		err = take_array(reader, state, document, "vfs", take_vfs);
	return err;
}

int host_state_load(struct host *host, struct host_state *state)
{
	char path[PATH_MAX], *text;
	struct reader reader = {.host = host, .path = path};
	json_error_t error;
	json_t *document;
	int err;

	memset(state, 0, sizeof(*state));
	host_state_path(host, path);
	text = host_read_all("%s", path);
	if (!text && errno == ENOENT)
		return 0;
	if (!text)
		return host_fail(host, errno, "reading %s: %s", path, strerror(errno));
	document = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	free(text);
	if (!document)
		return host_fail(host, EBADMSG,
			"%s, line %d, column %d: %s; it says what was there before pinion changed "
			"this machine: mend it, or, if nothing is bound or granted, remove it",
			path, error.line, error.column, error.text);
	err = take_document(&reader, state, document);
	json_decref(document);
	if (err)
		host_state_free(state);
	return err;
}

/*
 * Saving
 */

/* What could not be read again must not be written: a name from sysfs could be such. */
static int check_readable(struct host *host, const char *path, json_t *document)
{
	struct reader reader = {.host = host, .path = path};
	struct host_state again = {0};
	int err;

	err = take_document(&reader, &again, document);
	host_state_free(&again);
	return err ? host_fail_prefix(host, err, "this cannot be recorded, and is not done: ") : 0;
}

int host_state_save(struct host *host, const struct host_state *state)
{
	char path[PATH_MAX], folder[PATH_MAX], *text;
	json_t *document;
	int err;

	host_state_path(host, path);
	if (!state->binding_count && !state->grant_count && !state->node_count &&
		!state->vfs_count) {
		err = host_remove_file(path);
		return err ? host_fail(host, -err, "removing %s: %s", path, strerror(-err)) : 0;
	}
	document = host_state_json(state);
	err = is_whole(document, state) ? check_readable(host, path, document) : 0;
	text = is_whole(document, state) ? json_dumps(document, JSON_INDENT(2)) : NULL;
	json_decref(document);
	if (err) {
		free(text);
		return err;
	}
	if (!text)
		return host_fail(host, ENOMEM, "no memory to write %s", path);
	snprintf(folder, sizeof(folder), "%s/lib/pinion", host->var);
	err = host_make_folders(folder);
	if (!err)
		err = host_write_file(path, text, FILE_MODE);
	free(text);
	if (err)
		return host_fail(host, -err, "writing %s, where what was there before is kept: %s",
			path, strerror(-err));
	return 0;
}
