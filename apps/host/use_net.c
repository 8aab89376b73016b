/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is a PCI function in use as a network card, and would the machine have a network without it?
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "holders.h"
#include "use.h"

/* A device mapper on a RAID on a partition ...: nobody stacks so many. */
#define DISKS_DEEP 16u

struct view {
	struct host *host;
	struct host_net net;
	const struct host_pci *list;
	const struct host_children *children;
	size_t count;
	/* Of each link: index of the device that made it, or -1; whether it goes with them; whether
	 * it leads out of the machine without them. */
	int *owner;
	bool *lost, *kept;
	struct host_uses *uses;
};

/*
 * Links
 */

static bool same(const struct host_link *link, unsigned int space, int index)
{
	return link->space == space && link->index == index;
}

static bool is_child(const struct host_children *children, const char *name)
{
	for (size_t i = 0; i < children->count; i++) {
		if (children->items[i].is_net && !strcmp(children->items[i].name, name))
			return true;
	}
	return false;
}

static int find_owner(struct view *view, const struct host_link *link)
{
	for (size_t i = 0; i < view->count; i++) {
		/* sysfs shows the interfaces of its own namespace only. */
		if (!link->space && is_child(&view->children[i], link->name))
			return (int)i;
		if (link->parent_device[0] && host_pci_is_above(view->host, view->list[i].address,
						      link->parent_bus, link->parent_device))
			return (int)i;
	}
	return -1;
}

/* Does a link work through another: as its bridge or bond, or as a VLAN on it? */
static bool stands_on(
	const struct view *view, const struct host_link *link, const struct host_link *below)
{
	(void)view;
	if (link->space != below->space)
		return false;
	return below->master == link->index || (link->lower && link->lower == below->index);
}

/* All that works through it, itself included. The caller frees it; NULL: no memory. */
static bool *carried_by(const struct view *view, size_t link)
{
	bool *carried = calloc(view->net.link_count, sizeof(*carried)), grew = true;

	if (!carried)
		return NULL;
	carried[link] = true;
	while (grew) {
		grew = false;
		for (size_t i = 0; i < view->net.link_count; i++) {
			for (size_t j = 0; j < view->net.link_count && !carried[i]; j++) {
				carried[i] = carried[j] && stands_on(view, &view->net.links[i],
								   &view->net.links[j]);
				grew |= carried[i];
			}
		}
	}
	return carried;
}

static bool stands_on_any(const struct view *view, size_t link, const bool *marked)
{
	for (size_t i = 0; i < view->net.link_count; i++) {
		if (marked[i] && stands_on(view, &view->net.links[link], &view->net.links[i]))
			return true;
	}
	return false;
}

/* Marks all that stand on what is marked. */
static void spread(const struct view *view, bool *marked)
{
	bool grew = true;

	while (grew) {
		grew = false;
		for (size_t i = 0; i < view->net.link_count; i++) {
			if (marked[i] || !stands_on_any(view, i, marked))
				continue;
			marked[i] = true;
			grew = true;
		}
	}
}

/* Links of software have a kind, cards have none; or the kernel says what made them. */
static bool is_card(const struct host_link *link)
{
	if (link->flags & IFF_LOOPBACK || link->lower)
		return false;
	return !link->kind[0] || link->parent_device[0];
}

/* A bridge or bond is kept by one port that leads to a wire; those of virtual machines do not, nor
 * do a bridge of containers and a tunnel. */
static void find_lost(struct view *view)
{
	for (size_t i = 0; i < view->net.link_count; i++) {
		view->lost[i] = view->owner[i] >= 0;
		view->kept[i] = !view->lost[i] && is_card(&view->net.links[i]);
	}
	spread(view, view->lost);
	spread(view, view->kept);
	for (size_t i = 0; i < view->net.link_count; i++)
		view->lost[i] &= !view->kept[i];
}

/* The link that an address, a route or a socket names; SIZE_MAX: it is gone meanwhile. */
static size_t link_of(const struct view *view, unsigned int space, int index)
{
	for (size_t i = 0; i < view->net.link_count; i++) {
		if (same(&view->net.links[i], space, index))
			return i;
	}
	return SIZE_MAX;
}

/* " in the network namespace of pid 7", or "" for our own. */
static const char *where(const struct host_link *link, char text[64])
{
	text[0] = '\0';
	if (link->space)
		snprintf(text, 64, " (in the network namespace of pid %d)", (int)link->pid);
	return text;
}

/*
 * One interface of a device
 */

struct look {
	struct view *view;
	size_t index;
	const struct host_link *link;
	const char *address; /* of the device */
	bool *carried;
};

static bool carries(const struct look *look, unsigned int space, int index, size_t *link)
{
	*link = link_of(look->view, space, index);
	return *link != SIZE_MAX && look->carried[*link];
}

/* ", through its bridge br0" */
static const char *through(const struct look *look, size_t link, char text[64])
{
	text[0] = '\0';
	if (link != look->index)
		snprintf(text, 64, " through %s", look->view->net.links[link].name);
	return text;
}

static int check_addresses(const struct look *look)
{
	const struct host_net *net = &look->view->net;
	char path[64], space[64], word[HOST_WORD_MAX];
	size_t link;

	for (size_t i = 0; i < net->address_count; i++) {
		const struct host_address *address = &net->addresses[i];

		if (!carries(look, address->space, address->link, &link) ||
			!(net->links[link].flags & IFF_UP))
			continue;
		return host_use_add(look->view->uses, look->address, "address", HOST_USE_FORCE,
			"its interface %s is up and carries the address %s%s%s; ip link set %s "
			"down first",
			look->link->name, address->text, through(look, link, path),
			where(look->link, space), host_word(look->link->name, word));
	}
	return 0;
}

static int check_routes(const struct look *look)
{
	const struct host_net *net = &look->view->net;
	char path[64], space[64];
	size_t link;

	for (size_t i = 0; i < net->route_count; i++) {
		const struct host_route *route = &net->routes[i];

		if (!carries(look, route->space, route->link, &link))
			continue;
		return host_use_add(look->view->uses, look->address, "default-route",
			HOST_USE_FORCE, "its interface %s carries the default route%s%s",
			look->link->name, through(look, link, path), where(look->link, space));
	}
	return 0;
}

static int check_master(const struct look *look)
{
	const struct host_link *link = look->link;
	char space[64], word[HOST_WORD_MAX];
	size_t master;

	if (!link->master)
		return 0;
	master = link_of(look->view, link->space, link->master);
	return host_use_add(look->view->uses, look->address, "enslaved", HOST_USE_FORCE,
		"its interface %s is a port of the %s %s%s; ip link set %s nomaster first",
		link->name,
		master != SIZE_MAX && look->view->net.links[master].kind[0]
			? look->view->net.links[master].kind
			: "device",
		master != SIZE_MAX ? look->view->net.links[master].name : "above it",
		where(link, space), host_word(link->name, word));
}

static int who_has(struct host *host, uint64_t socket, char *who, size_t size)
{
	const struct host_target target = {.type = S_IFSOCK, .inode = socket};
	struct host_holders holders;
	int err;

	err = host_holders_find(host, &target, 1, &holders);
	if (err)
		return err;
	host_holders_text(&holders, 0, who, size);
	host_holders_free(&holders);
	return 0;
}

static int check_sockets(const struct look *look)
{
	const struct host_net *net = &look->view->net;
	char who[200], space[64], word[HOST_WORD_MAX];
	int err = 0;

	for (size_t i = 0; i < net->socket_count && !err; i++) {
		const struct host_link_socket *socket = &net->sockets[i];

		if (!same(look->link, socket->space, socket->link))
			continue;
		err = who_has(look->view->host, socket->inode, who, sizeof(who));
		if (!err)
			err = host_use_add(look->view->uses, look->address,
				socket->xdp ? "xdp" : "packet", HOST_USE_FORCE,
				"its interface %s is used by an %s socket%s%s%s", look->link->name,
				socket->xdp ? "AF_XDP" : "AF_PACKET", *who ? " of " : "", who,
				where(look->link, space));
	}
	if (!err && look->link->xdp)
		err = host_use_add(look->view->uses, look->address, "xdp", HOST_USE_FORCE,
			"its interface %s has an XDP program attached%s; ip link set %s xdp off "
			"first",
			look->link->name, where(look->link, space),
			host_word(look->link->name, word));
	return err;
}

static int check_link(struct view *view, size_t index)
{
	struct look look = {
		.view = view,
		.index = index,
		.link = &view->net.links[index],
		.address = view->list[view->owner[index]].address,
	};
	int err;

	look.carried = carried_by(view, index);
	if (!look.carried)
		return -ENOMEM;
	err = check_addresses(&look);
	if (!err)
		err = check_routes(&look);
	if (!err)
		err = check_master(&look);
	if (!err)
		err = check_sockets(&look);
	free(look.carried);
	return err;
}

/*
 * All of them together
 */

/* Is a disk another machine's (iSCSI, NVMe over a network, network block devices), or does it stand
 * on such a one? path: its folder in sysfs. */
static bool disk_is_remote(const char *path, unsigned int depth)
{
	static const char *const signs[] = {
		"/session", "/nvme-fabrics/", "/block/nbd", "/block/rbd"};
	char *real = realpath(path, NULL), below[PATH_MAX];
	struct dirent *entry;
	bool remote = false;
	DIR *dir = NULL;

	for (size_t i = 0; real && i < HOST_COUNT(signs); i++)
		remote |= strstr(real, signs[i]) != NULL;
	if (real && snprintf(below, sizeof(below), "%s/slaves", real) < (int)sizeof(below))
		dir = depth ? opendir(below) : NULL;
	while (dir && !remote && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.' && snprintf(below, sizeof(below), "%s/slaves/%s", real,
						       entry->d_name) < (int)sizeof(below))
			remote = disk_is_remote(below, depth - 1);
	}
	if (dir)
		closedir(dir);
	free(real);
	return remote;
}

/* One that has no number of its own (btrfs) is told by its source. */
static bool mount_is_remote(struct host *host, const struct host_mount *mount)
{
	char path[PATH_MAX];

	if (mount->major)
		snprintf(path, sizeof(path), "%s/dev/block/%u:%u", host->sys, mount->major,
			mount->minor);
	else if (!strncmp(mount->source, "/dev/", 5))
		snprintf(path, sizeof(path), "%s/class/block/%s", host->sys,
			strrchr(mount->source, '/') + 1);
	else
		return false;
	return disk_is_remote(path, DISKS_DEEP);
}

/* Does the machine reach its root file system over the network? */
static bool root_is_remote(struct host *host)
{
	static const char *const types[] = {
		"nfs", "nfs4", "cifs", "smb3", "ceph", "fuse.glusterfs", "ocfs2", "gfs2"};
	struct host_mounts mounts;
	bool remote = false;

	if (host_mounts_read(host, &mounts))
		return false;
	for (size_t i = 0; i < mounts.count; i++) {
		if (!mounts.items[i].first || strcmp(mounts.items[i].point, "/"))
			continue;
		for (size_t j = 0; j < HOST_COUNT(types); j++)
			remote |= !strcmp(mounts.items[i].type, types[j]);
		remote |= mount_is_remote(host, &mounts.items[i]);
	}
	host_mounts_free(&mounts);
	return remote;
}

/* Of the machine's own namespace: how many go, and how many lead out without them. */
static void count(const struct view *view, bool routes, size_t *lost, size_t *kept)
{
	const struct host_net *net = &view->net;
	size_t all = routes ? net->route_count : net->address_count;

	*lost = *kept = 0;
	for (size_t i = 0; i < all; i++) {
		unsigned int space = routes ? net->routes[i].space : net->addresses[i].space;
		int index = routes ? net->routes[i].link : net->addresses[i].link;
		size_t link = link_of(view, space, index);

		if (space || link == SIZE_MAX)
			continue;
		*lost += view->lost[link];
		*kept += view->kept[link];
	}
}

/* The device that the last way out is on, for a sentence. */
static const char *lost_device(const struct view *view)
{
	for (size_t i = 0; i < view->net.link_count; i++) {
		if (view->owner[i] >= 0 && !view->net.links[i].space)
			return view->list[view->owner[i]].address;
	}
	return view->list[0].address;
}

static int check_network(struct view *view)
{
	size_t lost_routes, kept_routes, lost_addresses, kept_addresses;

	count(view, true, &lost_routes, &kept_routes);
	count(view, false, &lost_addresses, &kept_addresses);
	if (lost_addresses && root_is_remote(view->host))
		return host_use_add(view->uses, lost_device(view), "network-root", HOST_USE_NEVER,
			"carries an address of this machine, whose root file system comes over "
			"the network");
	if (lost_routes && !kept_routes)
		return host_use_add(view->uses, lost_device(view), "last-network", HOST_USE_CUT,
			"carries the only default route: the machine would lose its network");
	if (!kept_routes && lost_addresses && !kept_addresses)
		return host_use_add(view->uses, lost_device(view), "last-network", HOST_USE_CUT,
			"carries the only address of the machine: it would lose its network");
	return 0;
}

static int view_read(struct view *view)
{
	int err;

	err = host_net_read(view->host, &view->net);
	if (err)
		return err;
	view->owner = calloc(view->net.link_count + 1, sizeof(*view->owner));
	view->lost = calloc(view->net.link_count + 1, sizeof(*view->lost));
	view->kept = calloc(view->net.link_count + 1, sizeof(*view->kept));
	if (!view->owner || !view->lost || !view->kept)
		return -ENOMEM;
	for (size_t i = 0; i < view->net.link_count; i++)
		view->owner[i] = find_owner(view, &view->net.links[i]);
	find_lost(view);
	return 0;
}

static void view_free(struct view *view)
{
	free(view->owner);
	free(view->lost);
	free(view->kept);
	host_net_free(&view->net);
}

int host_uses_net(struct host *host, const struct host_pci *list, size_t count,
	const struct host_children *children, struct host_uses *uses)
{
	struct view view = {
		.host = host, .list = list, .count = count, .children = children, .uses = uses};
	int err;

	err = count ? view_read(&view) : 0;
	for (size_t i = 0; i < view.net.link_count && !err; i++) {
		if (view.owner[i] >= 0)
			err = check_link(&view, i);
	}
	if (!err && count)
		err = check_network(&view);
	view_free(&view);
	return err;
}

int host_interfaces(struct host *host, const char *address, char *names, size_t size)
{
	struct host_children children;
	struct host_pci pci;
	size_t used = 0;
	struct view view = {.host = host, .list = &pci, .count = 1, .children = &children};
	int err;

	names[0] = '\0';
	if (host_pci_read(host, address, &pci))
		return 0;
	err = host_children_read(host, address, &children);
	if (err)
		return err;
	err = view_read(&view);
	for (size_t i = 0; i < view.net.link_count && !err && used < size; i++) {
		if (view.owner[i] >= 0)
			used += (size_t)snprintf(names + used, size - used, "%s%s", used ? "," : "",
				view.net.links[i].name);
	}
	view_free(&view);
	host_children_free(&children);
	return err;
}
