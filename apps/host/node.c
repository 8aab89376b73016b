/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Owner, mode and list of device nodes.
 */
#include <acl/libacl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/acl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node.h"

#define MODE_MASK 0777u
#define OWN_NODE  "/dev/vfio/devices/"

int host_node_path(struct host *host, const char *node, char path[PATH_MAX])
{
	int len;

	if (strncmp(node, "/dev/", 5))
		return host_fail(host, EINVAL, "%s is not below /dev", node);
	len = snprintf(path, PATH_MAX, "%s/%s", host->dev, node + 5);
	return len < PATH_MAX ? 0 : host_fail(host, ENAMETOOLONG, "%s: too long a path", node);
}

bool host_node_is_shared(const char *node)
{
	return !strcmp(node, "/dev/iommu") || !strcmp(node, "/dev/vfio/vfio");
}

/* A list as text with numbers; "" for one that says no more than the mode. */
static int acl_text(acl_t acl, char *text, size_t size)
{
	char *words;
	size_t len;

	text[0] = '\0';
	if (!acl_equiv_mode(acl, NULL))
		return 0;
	words = acl_to_any_text(acl, NULL, ',', TEXT_NUMERIC_IDS);
	if (!words)
		return -errno;
	len = strlen(words);
	if (len < size)
		memcpy(text, words, len + 1);
	acl_free(words);
	return len < size ? 0 : -E2BIG;
}

static int look(struct host_node *node, const char *path)
{
	struct stat st;
	acl_t acl;
	int err;

	if (lstat(path, &st))
		return -errno;
	/* Regular files are those of tests; a link could lead anywhere. */
	if (!S_ISCHR(st.st_mode) && !S_ISREG(st.st_mode))
		return -ENOTSUP;
	node->inode = st.st_ino;
	node->uid = st.st_uid;
	node->gid = st.st_gid;
	node->mode = st.st_mode & MODE_MASK;
	node->acl[0] = '\0';
	acl = acl_get_file(path, ACL_TYPE_ACCESS);
	if (!acl)
		return errno == ENOTSUP || errno == ENOSYS ? 0 : -errno;
	err = acl_text(acl, node->acl, sizeof(node->acl));
	acl_free(acl);
	return err;
}

int host_node_look(struct host *host, const char *name, struct host_node *node)
{
	char path[PATH_MAX];
	int err;

	err = host_node_path(host, name, path);
	if (err)
		return err;
	memset(node, 0, sizeof(*node));
	snprintf(node->path, sizeof(node->path), "%s", name);
	host_boot_id(host, node->boot);
	err = look(node, path);
	if (err == -ENOTSUP)
		return host_fail(host, ENOTSUP, "%s is not a device node", path);
	return err ? host_fail(host, -err, "%s: %s", path, strerror(-err)) : 0;
}

bool host_node_renewed(struct host *host, const struct host_node *node)
{
	struct host_node now;

	if (host_origin_old(host, node->boot))
		return true;
	return !host_node_look(host, node->path, &now) && now.inode != node->inode;
}

/*
 * Lists
 */

/* The list of a record; NULL: no memory, or its text makes no sense (errno). */
static acl_t acl_of(const struct host_node *node)
{
	acl_t acl;

	if (!node->acl[0])
		return acl_from_mode(node->mode);
	acl = acl_from_text(node->acl);
	if (acl && acl_valid(acl)) {
		acl_free(acl);
		errno = EINVAL;
		return NULL;
	}
	return acl;
}

static bool entry_is(acl_entry_t entry, acl_tag_t tag, unsigned int id)
{
	acl_tag_t is;
	bool same;
	id_t *qualifier;

	if (acl_get_tag_type(entry, &is) || is != tag)
		return false;
	if (tag != ACL_USER && tag != ACL_GROUP)
		return true;
	qualifier = acl_get_qualifier(entry);
	same = qualifier && *qualifier == id;
	acl_free(qualifier);
	return same;
}

static bool find_entry(acl_t acl, acl_tag_t tag, unsigned int id, acl_entry_t *entry)
{
	int which = ACL_FIRST_ENTRY;

	while (acl_get_entry(acl, which, entry) == 1) {
		if (entry_is(*entry, tag, id))
			return true;
		which = ACL_NEXT_ENTRY;
	}
	return false;
}

static bool may(acl_t acl, acl_tag_t tag, unsigned int id)
{
	acl_permset_t permissions;
	acl_entry_t entry;

	return find_entry(acl, tag, id, &entry) && !acl_get_permset(entry, &permissions) &&
	       acl_get_perm(permissions, ACL_READ) == 1 &&
	       acl_get_perm(permissions, ACL_WRITE) == 1;
}

bool host_node_allows(const struct host_node *before, bool is_group, unsigned int id)
{
	acl_t acl = acl_of(before);
	bool masked, allows;
	acl_entry_t entry;

	if (!acl)
		return false;
	masked = find_entry(acl, ACL_MASK, 0, &entry) && !may(acl, ACL_MASK, 0);
	if (is_group) {
		allows = !masked &&
			 (before->gid == id ? may(acl, ACL_GROUP_OBJ, 0) : may(acl, ACL_GROUP, id));
	} else if (before->uid == id) {
		/* Who owns it gets the owner's rights, and no other's. */
		acl_free(acl);
		return (before->mode & 0600) == 0600;
	} else {
		allows = !masked && may(acl, ACL_USER, id);
	}
	/* Those of others count for whom no entry names; only a group could stand in between. */
	allows |= may(acl, ACL_OTHER, 0) &&
		  !find_entry(acl, is_group ? ACL_GROUP : ACL_USER, id, &entry) &&
		  (before->mode & 0060) == 0060;
	acl_free(acl);
	return allows;
}

static int let_in(acl_t *acl, acl_tag_t tag, unsigned int id)
{
	acl_permset_t permissions;
	acl_entry_t entry;

	if (!find_entry(*acl, tag, id, &entry)) {
		if (acl_create_entry(acl, &entry) || acl_set_tag_type(entry, tag))
			return -errno;
		if ((tag == ACL_USER || tag == ACL_GROUP) && acl_set_qualifier(entry, &id))
			return -errno;
	}
	if (acl_get_permset(entry, &permissions) || acl_add_perm(permissions, ACL_READ) ||
		acl_add_perm(permissions, ACL_WRITE))
		return -errno;
	return 0;
}

/*
 * What a node is to be
 */

static bool names(const struct host_grant *grant, const char *path)
{
	for (unsigned int i = 0; i < grant->node_count; i++) {
		if (!strcmp(grant->nodes[i], path))
			return true;
	}
	return false;
}

void host_node_name_now(
	struct host *host, const char *device, const char *node, char name[HOST_NODE_MAX])
{
	struct host_pci pci;

	name[0] = '\0';
	if (host_pci_read(host, device, &pci) || !host_driver_is_vfio(pci.driver))
		return;
	if (strncmp(node, OWN_NODE, strlen(OWN_NODE)))
		snprintf(name, HOST_NODE_MAX, "/dev/vfio/%s%d", pci.noiommu ? "noiommu-" : "",
			pci.group);
	else if (pci.cdev[0])
		snprintf(name, HOST_NODE_MAX, OWN_NODE "%s", pci.cdev);
}

/* A number can be another device's by now: who was granted the one is not granted the other. */
static bool is_node_of(
	struct host *host, const struct host_grant *grant, const struct host_node *node)
{
	char now[HOST_NODE_MAX];

	if (!node->device[0] || !strcmp(node->device, grant->device))
		return true;
	/* Devices of one group share its node. */
	host_node_name_now(host, grant->device, node->path, now);
	return !strcmp(now, node->path);
}

static bool counts(struct host *host, const struct host_grant *grant, const struct host_node *node)
{
	return grant->stage != HOST_UNDOING && names(grant, node->path) &&
	       is_node_of(host, grant, node);
}

bool host_node_granted(
	struct host *host, const struct host_state *state, const struct host_node *node)
{
	for (size_t i = 0; i < state->grant_count; i++) {
		if (counts(host, &state->grants[i], node))
			return true;
	}
	return false;
}

struct wanted {
	uid_t uid;
	gid_t gid;
	acl_t acl;
};

static int want_grant(
	struct wanted *wanted, const struct host_grant *grant, const struct host_node *node)
{
	/* Ownership of what all devices share would take it from everyone else. */
	bool owner = grant->owner && node->device[0];
	acl_tag_t tag;

	if (owner && grant->is_group)
		wanted->gid = grant->id;
	else if (owner)
		wanted->uid = grant->id;
	if (grant->is_group)
		tag = wanted->gid == grant->id ? ACL_GROUP_OBJ : ACL_GROUP;
	else
		tag = wanted->uid == grant->id ? ACL_USER_OBJ : ACL_USER;
	return let_in(&wanted->acl, tag, grant->id);
}

/* The caller frees wanted->acl. */
static int want(struct host *host, const struct host_state *state, const struct host_node *node,
	struct wanted *wanted)
{
	int err = 0;

	wanted->uid = node->uid;
	wanted->gid = node->gid;
	wanted->acl = acl_of(node);
	if (!wanted->acl)
		return -errno;
	for (size_t i = 0; i < state->grant_count && !err; i++) {
		if (counts(host, &state->grants[i], node))
			err = want_grant(wanted, &state->grants[i], node);
	}
	/* What was there keeps its mask when no grant is left. */
	if (!err && host_node_granted(host, state, node) &&
		acl_equiv_mode(wanted->acl, NULL) == 1 && acl_calc_mask(&wanted->acl))
		err = -errno;
	if (err)
		acl_free(wanted->acl);
	return err;
}

static bool equal(const struct wanted *wanted, const struct host_node *now)
{
	char text[HOST_ACL_MAX];
	mode_t mode;

	if (wanted->uid != now->uid || wanted->gid != now->gid ||
		acl_text(wanted->acl, text, sizeof(text)) || strcmp(text, now->acl))
		return false;
	/* With more than a mode in it, the text has said all. */
	return acl_equiv_mode(wanted->acl, &mode) || (mode & MODE_MASK) == now->mode;
}

bool host_node_is_applied(
	struct host *host, const struct host_state *state, const struct host_node *node)
{
	struct wanted wanted;
	struct host_node now;
	bool same;

	if (host_node_look(host, node->path, &now) || want(host, state, node, &wanted))
		return false;
	same = equal(&wanted, &now);
	acl_free(wanted.acl);
	return same;
}

/* A file system without lists takes a mode. */
static int set_acl(const char *path, acl_t acl)
{
	mode_t mode;

	if (!acl_set_file(path, ACL_TYPE_ACCESS, acl))
		return 0;
	if (errno != ENOTSUP || acl_equiv_mode(acl, &mode))
		return -errno;
	return chmod(path, mode & MODE_MASK) ? -errno : 0;
}

int host_node_apply(struct host *host, const struct host_state *state, const struct host_node *node)
{
	struct wanted wanted;
	struct host_node now;
	char path[PATH_MAX];
	int err;

	err = host_node_path(host, node->path, path);
	if (err)
		return err;
	err = look(&now, path);
	if (err)
		return err == -ENOENT ? 0 : host_fail(host, -err, "%s: %s", path, strerror(-err));
	err = want(host, state, node, &wanted);
	if (err)
		return host_fail(host, -err, "access to %s: %s", path, strerror(-err));
	if (!equal(&wanted, &now)) {
		if ((wanted.uid != now.uid || wanted.gid != now.gid) &&
			lchown(path, wanted.uid, wanted.gid))
			err = -errno;
		if (!err)
			err = set_acl(path, wanted.acl);
	}
	acl_free(wanted.acl);
	if (err == -ENOTSUP)
		return host_fail(host, ENOTSUP,
			"%s: this file system has no access control lists; use --mode owner (and "
			"for /dev/iommu chmod)",
			path);
	return err ? host_fail(host, -err, "changing access to %s: %s", path, strerror(-err)) : 0;
}
