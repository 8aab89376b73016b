/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lists that the network is told in.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

void *host_grow(void *array, size_t *count, size_t size)
{
	char *grown = reallocarray(array, *count + 1, size);

	if (!grown)
		return NULL;
	memset(grown + *count * size, 0, size);
	(*count)++;
	return grown;
}

/* Lists here are short and made once: one element at a time will do. */
#define ADD(net, array, counter)                                                               \
	do {                                                                                   \
		void *grown = host_grow((net)->array, &(net)->counter, sizeof(*(net)->array)); \
                                                                                               \
		if (!grown)                                                                    \
			return NULL;                                                           \
		(net)->array = grown;                                                          \
		return &(net)->array[(net)->counter - 1];                                      \
	} while (0)

struct host_link *host_net_add_link(struct host_net *net)
{
	ADD(net, links, link_count);
}

struct host_address *host_net_add_address(struct host_net *net)
{
	ADD(net, addresses, address_count);
}

struct host_route *host_net_add_route(struct host_net *net)
{
	ADD(net, routes, route_count);
}

struct host_link_socket *host_net_add_socket(struct host_net *net)
{
	ADD(net, sockets, socket_count);
}

void host_net_free(struct host_net *net)
{
	free(net->links);
	free(net->addresses);
	free(net->routes);
	free(net->sockets);
	memset(net, 0, sizeof(*net));
}

int host_net_read(struct host *host, struct host_net *net)
{
	int err;

	memset(net, 0, sizeof(*net));
	err = host->ops->read_net(host, net);
	if (err)
		host_net_free(net);
	return err;
}
