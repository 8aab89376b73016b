/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The parts of a port on a Linux network interface that do not depend on how packets are moved.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base_priv.h"
#include "netport.h"

void netport_collect(struct soft_port *soft, struct pn_port_stats *stats)
{
	struct netport *port = pn_container_of(soft, struct netport, soft);

	for (unsigned int i = 0; i < PN_PORT_QUEUES_MAX; i++) {
		stats->rx_packets += soft_counted(&port->rx_counts[i].packets);
		stats->rx_bytes += soft_counted(&port->rx_counts[i].bytes);
		stats->rx_errors += soft_counted(&port->rx_counts[i].errors);
		stats->rx_missed += soft_counted(&port->rx_counts[i].missed);
		stats->rx_nombuf += soft_counted(&port->rx_counts[i].nombuf);
		stats->tx_packets += soft_counted(&port->tx_counts[i].packets);
		stats->tx_bytes += soft_counted(&port->tx_counts[i].bytes);
		stats->tx_errors += soft_counted(&port->tx_counts[i].errors);
	}
}

int netport_init(struct netport *port, const char *spec, const char *driver, const char *device)
{
	int ret = soft_init(&port->soft, spec, driver, device);
	uint16_t mtu;

	if (ret)
		return ret;
	port->soft.collect = netport_collect;
	port->netif.port = port->soft.name;
	port->queues_max = 1;
	if (netif_read(&port->netif, port->soft.mac, &mtu))
		port->soft.mtu = mtu;
	return 0;
}

void netport_release(struct netport *port)
{
	(void)netport_irq_disable(&port->soft.dev);
	netif_close(&port->netif);
	soft_hold(&port->soft, NULL);
}

static int watch(struct netport *port, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (port->epoll < 0 || !epoll_ctl(port->epoll, EPOLL_CTL_ADD, fd, &event))
		return 0;
	return pn_fail(errno, "port %s: EPOLL_CTL_ADD: %s", port->soft.name, strerror(errno));
}

int netport_add_fd(struct netport *port, int fd)
{
	int ret = watch(port, fd);

	if (!ret)
		port->fds[port->fd_count++] = fd;
	return ret;
}

void netport_drop_fds(struct netport *port)
{
	for (unsigned int i = 0; port->epoll >= 0 && i < port->fd_count; i++)
		(void)epoll_ctl(port->epoll, EPOLL_CTL_DEL, port->fds[i], NULL);
	port->fd_count = 0;
}

void netport_run(struct netport *port, pn_burst_fn rx, pn_burst_fn tx)
{
	struct pn_port *head = &port->soft.dev.port;

	__atomic_store_n(&port->said_down, false, __ATOMIC_RELAXED);
	head->rxq = port->rxq;
	head->txq = port->txq;
	head->rx_burst = rx;
	head->tx_burst = tx;
}

void netport_drop(struct netport_queue *queue, struct pn_buf **bufs, uint32_t n, int err)
{
	struct netport *port = queue->port;

	soft_count(&queue->counts->errors, n);
	pn_buf_free_bulk(bufs, n);
	if (!__atomic_exchange_n(&port->said_down, true, __ATOMIC_RELAXED))
		pn_log(PN_LOG_WARNING,
			"port %s: interface %s takes no packets (%s): they are dropped, and "
			"counted "
			"as tx_errors",
			port->soft.name, port->netif.name, strerror(-err));
}

uint16_t netport_get(struct netport_queue *queue, struct pn_buf **bufs, uint16_t count)
{
	struct pn_pool *pool = queue->port->soft.pool;

	if (__builtin_expect(!pn_pool_get(pool, bufs, count), 1))
		return count;
	soft_count(&queue->counts->nombuf, 1);
	do {
		count /= 2;
	} while (count && pn_pool_get(pool, bufs, count));
	return count;
}

void netport_info(const struct pn_port_dev *dev, struct pn_port_info *info)
{
	/* The interface is asked anew: others may have changed it. */
	struct netport *port = netport((struct pn_port_dev *)(uintptr_t)dev);

	soft_info(dev, info);
	(void)netif_read(&port->netif, info->mac, &info->mtu);
	info->rx_queues_max = info->tx_queues_max = port->queues_max;
	info->rx_offloads = port->rx_offloads;
	info->tx_offloads = port->tx_offloads;
	info->note = port->note;
	if (port->mtu_max)
		info->mtu_max = port->mtu_max;
	if (info->mtu > info->mtu_max)
		info->mtu = info->mtu_max;
}

int netport_configure(struct pn_port_dev *dev, const struct pn_port_conf *conf)
{
	struct netport *port = netport(dev);

	port->rx_queues = conf->rx_queues;
	port->tx_queues = conf->tx_queues;
	port->rxd = conf->rxd;
	port->txd = conf->txd;
	port->rx_asked = conf->rx_offloads;
	port->tx_asked = conf->tx_offloads;
	return soft_configure(dev, conf);
}

int netport_link(struct pn_port_dev *dev, struct pn_port_link *link)
{
	return netif_link(&netport(dev)->netif, link);
}

int netport_irq_enable(struct pn_port_dev *dev, int *fd)
{
	struct netport *port = netport(dev);
	int ret;

	port->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (port->epoll < 0)
		return pn_fail(
			errno, "port %s: epoll_create1: %s", port->soft.name, strerror(errno));
	ret = watch(port, port->netif.news);
	for (unsigned int i = 0; i < port->fd_count && !ret; i++)
		ret = watch(port, port->fds[i]);
	if (ret)
		netport_irq_disable(dev);
	*fd = port->epoll;
	return ret;
}

int netport_irq_arm(struct pn_port_dev *dev)
{
	int fds[PN_PORT_FDS_MAX];

	return netport_wait_fds(dev, fds) < 0 ? -EIO : 0;
}

int netport_irq_disable(struct pn_port_dev *dev)
{
	struct netport *port = netport(dev);

	if (port->epoll >= 0)
		close(port->epoll);
	port->epoll = -1;
	return 0;
}

int netport_set_promiscuous(struct pn_port_dev *dev, bool on)
{
	return netif_set_promiscuous(&netport(dev)->netif, on);
}

int netport_set_all_multicast(struct pn_port_dev *dev, bool on)
{
	return netif_set_all_multicast(&netport(dev)->netif, on);
}

int netport_set_multicast(
	struct pn_port_dev *dev, const uint8_t (*groups)[PN_MAC_LEN], unsigned int count)
{
	return netif_set_multicast(&netport(dev)->netif, groups, count);
}

int netport_set_mac(struct pn_port_dev *dev, const uint8_t mac[PN_MAC_LEN])
{
	return netif_set_mac(&netport(dev)->netif, mac);
}

int netport_set_mtu(struct pn_port_dev *dev, uint16_t mtu)
{
	int ret = netif_set_mtu(&netport(dev)->netif, mtu);

	if (!ret)
		soft_port(dev)->mtu = mtu;
	return ret;
}

int netport_wait_fds(struct pn_port_dev *dev, int *fds)
{
	struct netport *port = netport(dev);

	netif_hear_news(&port->netif);
	for (unsigned int i = 0; i < port->fd_count; i++) {
		int error;
		socklen_t size = sizeof(error);

		/* A socket is readable while it has an error to tell, as after the link was down.
		 */
		(void)getsockopt(port->fds[i], SOL_SOCKET, SO_ERROR, &error, &size);
		fds[i] = port->fds[i];
	}
	fds[port->fd_count] = port->netif.news;
	return (int)port->fd_count + 1;
}

bool netport_pending(struct pn_port_dev *dev)
{
	return netif_news(&netport(dev)->netif);
}

static void put(struct pn_port_xstat *out, unsigned int count, unsigned int *at, const char *name,
	uint64_t value)
{
	if (*at < count) {
		snprintf(out[*at].name, sizeof(out[*at].name), "%s", name);
		out[*at].value = value;
	}
	++*at;
}

static void put_queues(const struct soft_counts *counts, unsigned int queues, const char *direction,
	struct pn_port_xstat *out, unsigned int count, unsigned int *at)
{
	for (unsigned int i = 0; i < queues; i++) {
		char name[48];

		snprintf(name, sizeof(name), "%s_q%u_packets", direction, i);
		put(out, count, at, name, soft_counted(&counts[i].packets));
		snprintf(name, sizeof(name), "%s_q%u_bytes", direction, i);
		put(out, count, at, name, soft_counted(&counts[i].bytes));
		snprintf(name, sizeof(name), "%s_q%u_errors", direction, i);
		put(out, count, at, name, soft_counted(&counts[i].errors));
	}
}

int netport_xstats(struct netport *port, const struct netport_counter *own, unsigned int own_count,
	struct pn_port_xstat *out, unsigned int count)
{
	unsigned int at = 0;

	put_queues(port->rx_counts, port->rx_queues, "rx", out, count, &at);
	put_queues(port->tx_counts, port->tx_queues, "tx", out, count, &at);
	for (unsigned int i = 0; i < own_count; i++)
		put(out, count, &at, own[i].name, own[i].value);
	return (int)at;
}
