/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The network as the kernel tells it: every link of every network namespace that a process is in,
 * with addresses, default routes, and sockets that work on a link directly.
 */
#ifndef HOST_NET_H
#define HOST_NET_H

#include <net/if.h>

#include "host.h"

struct host_link {
	unsigned int space; /* 0: the namespace that was looked from; then 1, 2 ... */
	pid_t pid;          /* a process in it */
	int index;
	int master; /* index of its bridge, bond ...; 0: none */
	int lower;  /* of a VLAN, macvlan ...: the link below, in the same namespace; 0: none */
	unsigned int flags; /* IFF_* */
	bool xdp;           /* a program is attached */
	char name[IFNAMSIZ];
	char kind[16];          /* "bridge", "bond", "vlan"; "": a device */
	char parent_bus[16];    /* "pci", "virtio", "usb" ...; "": the kernel does not say */
	char parent_device[64]; /* "0000:00:02.0", "virtio3" */
};

struct host_address {
	unsigned int space;
	int link;
	char text[64]; /* "192.0.2.1/24" */
};

/* A default route's way out; one of several ways is a record of its own. */
struct host_route {
	unsigned int space;
	int link;
	int family;
};

/* A socket bound to one link. */
struct host_link_socket {
	unsigned int space;
	int link;
	bool xdp; /* AF_XDP, else AF_PACKET */
	uint64_t inode;
};

struct host_net {
	struct host_link *links;
	struct host_address *addresses;
	struct host_route *routes;
	struct host_link_socket *sockets;
	size_t link_count, address_count, route_count, socket_count;
	unsigned int unseen; /* namespaces that could not be looked into */
};

/* 0; the caller frees with host_net_free(). A negative errno with the reason. */
int host_net_read(struct host *host, struct host_net *net);
void host_net_free(struct host_net *net);

int host_net_read_kernel(struct host *host, struct host_net *net);

/* One more element, zeroed; NULL: no memory. */
struct host_link *host_net_add_link(struct host_net *net);
struct host_address *host_net_add_address(struct host_net *net);
struct host_route *host_net_add_route(struct host_net *net);
struct host_link_socket *host_net_add_socket(struct host_net *net);

/* Array of size bytes an element, of which count are in use: room for one more, zeroed, or NULL. */
void *host_grow(void *array, size_t *count, size_t size);

#endif
