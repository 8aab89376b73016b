/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A Linux network interface, as the ports on one need it. Everything is asked by name and index
 * together: another interface may get the name.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base_priv.h"
#include "netif.h"

int netif_no_capability(const char *port, const char *what, const char *capability)
{
	return pn_fail(EPERM,
		"port %s: %s needs %s in the network's user namespace: run it as root, give the "
		"program the capability (setcap), or run it in a namespace of its own (unshare "
		"-Urn)",
		port, what, capability);
}

int netif_check_name(const char *port, const char *name)
{
	size_t len = strlen(name);
	bool good = len && len < IFNAMSIZ && strcmp(name, ".") && strcmp(name, "..");

	for (size_t i = 0; i < len; i++)
		good = good && name[i] != '/' && name[i] != ':' && name[i] != '%' &&
		       !isspace((unsigned char)name[i]);
	if (good)
		return 0;
	return pn_fail(EINVAL,
		"port %s: '%s' is no name of an interface: 1 to %d bytes without spaces, '/', ':' "
		"and '%%' are needed",
		port, name, IFNAMSIZ - 1);
}

/* A request about the interface, if it is still the same one. 0 or a negative errno; no text. */
static int ask(struct netif *netif, unsigned long request, struct ifreq *ifr)
{
	struct ifreq now = {0};

	memcpy(now.ifr_name, netif->name, sizeof(now.ifr_name));
	if (ioctl(netif->control, SIOCGIFINDEX, &now) || now.ifr_ifindex != netif->index)
		return -ENODEV;
	memcpy(ifr->ifr_name, netif->name, sizeof(ifr->ifr_name));
	return ioctl(netif->control, request, ifr) ? -errno : 0;
}

static int find(struct netif *netif)
{
	struct ifreq ifr = {0};
	int ret;

	netif->index = (int)if_nametoindex(netif->name);
	if (!netif->index)
		return pn_fail(ENODEV,
			"port %s: there is no interface '%s' in this network namespace ('ip link' "
			"lists them)",
			netif->port, netif->name);
	ret = ask(netif, SIOCGIFHWADDR, &ifr);
	if (ret)
		return pn_fail(-ret, "port %s: interface %s: %s", netif->port, netif->name,
			strerror(-ret));
	if (ifr.ifr_hwaddr.sa_family != ARPHRD_ETHER && ifr.ifr_hwaddr.sa_family != ARPHRD_LOOPBACK)
		return pn_fail(EINVAL, "port %s: interface %s has no Ethernet frames (type %u)",
			netif->port, netif->name, ifr.ifr_hwaddr.sa_family);
	return 0;
}

static int open_news(struct netif *netif)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};

	netif->news = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (netif->news < 0 ||
		bind(netif->news, (const struct sockaddr *)&address, sizeof(address)))
		return pn_fail(errno, "port %s: listening for changes of links: %s", netif->port,
			strerror(errno));
	return 0;
}

void netif_init(struct netif *netif)
{
	*netif = (struct netif){.control = -1, .filter = -1, .news = -1};
}

int netif_open(struct netif *netif, const char *port, const char *name, bool filters)
{
	int ret = netif_check_name(port, name);

	netif_init(netif);
	netif->port = port;
	if (ret)
		return ret;
	snprintf(netif->name, sizeof(netif->name), "%s", name);
	netif->control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (netif->control < 0)
		return pn_fail(errno, "port %s: a socket: %s", port, strerror(errno));
	ret = find(netif);
	if (ret)
		return ret;
	if (filters) {
		netif->filter = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
		if (netif->filter < 0 && errno == EPERM)
			return netif_no_capability(port, "a packet socket", "CAP_NET_RAW");
		if (netif->filter < 0)
			return pn_fail(
				errno, "port %s: a packet socket: %s", port, strerror(errno));
	}
	return open_news(netif);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void netif_close(struct netif *netif)
{
	if (netif->mac_changed && netif_set_mac(netif, netif->mac_before))
		pn_log(PN_LOG_WARNING, "%s: its MAC address stays changed", pn_error());
	if (netif->mtu_changed && netif_set_mtu(netif, netif->mtu_before))
		pn_log(PN_LOG_WARNING, "%s: its MTU stays changed", pn_error());
	close_fd(&netif->control);
	close_fd(&netif->filter);
	close_fd(&netif->news);
	free(netif->groups);
	netif->groups = NULL;
	netif->mac_changed = netif->mtu_changed = false;
}

bool netif_read(struct netif *netif, uint8_t mac[PN_MAC_LEN], uint16_t *mtu)
{
	struct ifreq ifr = {0};

	if (ask(netif, SIOCGIFHWADDR, &ifr))
		return false;
	memcpy(mac, ifr.ifr_hwaddr.sa_data, PN_MAC_LEN);
	if (ask(netif, SIOCGIFMTU, &ifr))
		return false;
	*mtu = ifr.ifr_mtu > 0 && ifr.ifr_mtu < UINT16_MAX ? (uint16_t)ifr.ifr_mtu : UINT16_MAX;
	return true;
}

static uint32_t speed_of(struct netif *netif)
{
	struct ethtool_cmd command = {.cmd = ETHTOOL_GSET};
	struct ifreq ifr = {0};
	uint32_t speed;

	ifr.ifr_data = (void *)&command;
	if (ask(netif, SIOCETHTOOL, &ifr))
		return 0;
	speed = ethtool_cmd_speed(&command);
	return speed == (uint32_t)SPEED_UNKNOWN || speed == UINT16_MAX ? 0 : speed;
}

int netif_link(struct netif *netif, struct pn_port_link *link)
{
	struct ifreq ifr = {0};
	int ret = ask(netif, SIOCGIFFLAGS, &ifr);

	/* One that is gone is down. */
	link->up = !ret && (ifr.ifr_flags & IFF_UP) && (ifr.ifr_flags & IFF_RUNNING);
	link->full_duplex = link->up;
	link->speed_mbps = link->up ? speed_of(netif) : 0;
	__atomic_store_n(&netif->told_up, link->up, __ATOMIC_RELAXED);
	return 0;
}

bool netif_news(struct netif *netif)
{
	struct ifreq ifr = {0};
	bool up = !ask(netif, SIOCGIFFLAGS, &ifr) && (ifr.ifr_flags & IFF_UP) &&
		  (ifr.ifr_flags & IFF_RUNNING);

	return up != __atomic_load_n(&netif->told_up, __ATOMIC_RELAXED);
}

static int change(struct netif *netif, unsigned long request, struct ifreq *ifr, const char *what)
{
	int ret = ask(netif, request, ifr);

	if (ret == -EPERM)
		return netif_no_capability(netif->port, what, "CAP_NET_ADMIN");
	if (ret == -ENODEV)
		return pn_fail(ENODEV, "port %s: interface %s is gone", netif->port, netif->name);
	if (ret)
		return pn_fail(-ret, "port %s: %s of %s: %s", netif->port, what, netif->name,
			strerror(-ret));
	return 0;
}

int netif_up(struct netif *netif)
{
	struct ifreq ifr = {0};
	int ret = change(netif, SIOCGIFFLAGS, &ifr, "reading the flags");

	if (ret || (ifr.ifr_flags & IFF_UP))
		return ret;
	ifr.ifr_flags |= IFF_UP;
	return change(netif, SIOCSIFFLAGS, &ifr, "bringing up the link");
}

int netif_set_mac(struct netif *netif, const uint8_t mac[PN_MAC_LEN])
{
	uint8_t before[PN_MAC_LEN];
	struct ifreq ifr = {0};
	uint16_t mtu;
	int ret;

	if (netif_read(netif, before, &mtu) && !memcmp(before, mac, PN_MAC_LEN))
		return 0;
	ifr.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(ifr.ifr_hwaddr.sa_data, mac, PN_MAC_LEN);
	ret = change(netif, SIOCSIFHWADDR, &ifr, "setting the MAC address");
	if (!ret && !netif->mac_changed) {
		memcpy(netif->mac_before, before, PN_MAC_LEN);
		netif->mac_changed = true;
	}
	return ret;
}

int netif_set_mtu(struct netif *netif, uint16_t mtu)
{
	uint8_t mac[PN_MAC_LEN];
	struct ifreq ifr = {0};
	uint16_t before = 0;
	int ret;

	if (netif_read(netif, mac, &before) && before == mtu)
		return 0;
	ifr.ifr_mtu = mtu;
	ret = change(netif, SIOCSIFMTU, &ifr, "setting the MTU");
	if (!ret && !netif->mtu_changed) {
		netif->mtu_before = before;
		netif->mtu_changed = true;
	}
	return ret;
}

/* Membership belongs to the socket: the interface is as before when it is closed. */
static int member(struct netif *netif, bool on, int type, const uint8_t *group, const char *what)
{
	struct packet_mreq request = {.mr_ifindex = netif->index, .mr_type = (unsigned short)type};
	int option = on ? PACKET_ADD_MEMBERSHIP : PACKET_DROP_MEMBERSHIP;

	if (group) {
		request.mr_alen = PN_MAC_LEN;
		memcpy(request.mr_address, group, PN_MAC_LEN);
	}
	if (!setsockopt(netif->filter, SOL_PACKET, option, &request, sizeof(request)))
		return 0;
	return pn_fail(
		errno, "port %s: %s on %s: %s", netif->port, what, netif->name, strerror(errno));
}

int netif_set_promiscuous(struct netif *netif, bool on)
{
	int ret = 0;

	if (on != netif->promiscuous)
		ret = member(netif, on, PACKET_MR_PROMISC, NULL, "promiscuous mode");
	if (!ret)
		netif->promiscuous = on;
	return ret;
}

int netif_set_all_multicast(struct netif *netif, bool on)
{
	int ret = 0;

	if (on != netif->all_multicast)
		ret = member(netif, on, PACKET_MR_ALLMULTI, NULL, "receiving all multicast");
	if (!ret)
		netif->all_multicast = on;
	return ret;
}

int netif_set_multicast(
	struct netif *netif, const uint8_t (*groups)[PN_MAC_LEN], unsigned int count)
{
	uint8_t(*joined)[PN_MAC_LEN] = calloc(count ? count : 1, sizeof(*joined));
	unsigned int n;
	int ret = 0;

	if (!joined)
		return pn_fail(
			ENOMEM, "port %s: no memory for %u multicast groups", netif->port, count);
	for (n = 0; n < count && !ret; n++) {
		memcpy(joined[n], groups[n], PN_MAC_LEN);
		ret = member(netif, true, PACKET_MR_MULTICAST, groups[n], "joining a group");
	}
	if (ret) {
		/* The last one was refused; those before it are left again. */
		while (n-- > 1)
			member(netif, false, PACKET_MR_MULTICAST, joined[n - 1], "leaving a group");
		free(joined);
		return ret;
	}
	for (n = 0; n < netif->group_count; n++)
		member(netif, false, PACKET_MR_MULTICAST, netif->groups[n], "leaving a group");
	free(netif->groups);
	netif->groups = joined;
	netif->group_count = count;
	return 0;
}

unsigned int netif_queues(struct netif *netif)
{
	struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
	struct ifreq ifr = {0};
	unsigned int count;

	ifr.ifr_data = (void *)&channels;
	if (ask(netif, SIOCETHTOOL, &ifr))
		return 1;
	count = channels.combined_count + channels.rx_count;
	return !count ? 1 : count < PN_PORT_QUEUES_MAX ? count : PN_PORT_QUEUES_MAX;
}

void netif_hear_news(struct netif *netif)
{
	char text[4096];

	/* What it says is not looked at: who is woken asks for the link. An overrun is news, too.
	 */
	while (recv(netif->news, text, sizeof(text), 0) > 0 || errno == ENOBUFS)
		;
}
