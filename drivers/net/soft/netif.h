/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What ports on a Linux network interface share: finding it, its link, MAC and MTU, filters, a file
 * to sleep on, and what is put back when the port closes. Ask it about the interface, not about
 * packets.
 */
#ifndef NETIF_H
#define NETIF_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "soft.h"

struct netif {
	const char *port; /* whose, for messages */
	char name[IFNAMSIZ];
	int index;
	int control; /* socket for questions */
	int filter;  /* packet socket that holds filters, or -1: they end with it */
	int news;    /* netlink: changes of links */
	bool mac_changed, mtu_changed;
	uint8_t mac_before[PN_MAC_LEN];
	uint16_t mtu_before;
	bool told_up; /* as netif_link() told last */
	bool promiscuous, all_multicast;
	uint8_t (*groups)[PN_MAC_LEN]; /* joined */
	unsigned int group_count;
};

/* Is it a name that an interface can have? 0 or -EINVAL. */
int netif_check_name(const char *port, const char *name);

/* Nothing is open: it can be closed. */
void netif_init(struct netif *netif);

/*
 * Find an Ethernet interface of this network namespace. With filters: for packets, which takes
 * CAP_NET_RAW. 0; -EINVAL, -ENODEV, -EPERM with what mends it. *netif is such that it can be
 * closed, whatever is returned.
 */
int netif_open(struct netif *netif, const char *port, const char *name, bool filters);
/* Put back what was changed, as far as the interface is still there. */
void netif_close(struct netif *netif);

/* MAC and MTU as they are now; false if the interface is gone. */
bool netif_read(struct netif *netif, uint8_t mac[PN_MAC_LEN], uint16_t *mtu);
int netif_link(struct netif *netif, struct pn_port_link *link);
/* Is the link not as netif_link() told last? */
bool netif_news(struct netif *netif);
/* Bring it up, administratively. */
int netif_up(struct netif *netif);
int netif_set_mac(struct netif *netif, const uint8_t mac[PN_MAC_LEN]);
int netif_set_mtu(struct netif *netif, uint16_t mtu);
int netif_set_promiscuous(struct netif *netif, bool on);
int netif_set_all_multicast(struct netif *netif, bool on);
int netif_set_multicast(
	struct netif *netif, const uint8_t (*groups)[PN_MAC_LEN], unsigned int count);

/* Receive queues that the kernel has there, 1 to PN_PORT_QUEUES_MAX. */
unsigned int netif_queues(struct netif *netif);

/* Before sleeping: forget news of links, which would wake at once. */
void netif_hear_news(struct netif *netif);

/* Which capability is missing, and how to get it. Returns -EPERM. */
int netif_no_capability(const char *port, const char *what, const char *capability);

#endif
