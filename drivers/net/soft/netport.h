/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A port on a Linux network interface, of which the drivers are made that have one: queues with
 * their counters and files, and the functions that all of them have in common.
 */
#ifndef NETPORT_H
#define NETPORT_H

#include "base_priv.h"
#include "netif.h"
#include "soft.h"

struct netport {
	struct soft_port soft;
	struct netif netif;
	uint16_t queues_max;
	uint16_t mtu_max;
	/* Configured. */
	uint16_t rx_queues, tx_queues;
	uint16_t rxd, txd;
	uint32_t rx_asked, tx_asked;       /* offloads */
	uint32_t rx_offloads, tx_offloads; /* that it offers */
	char note[160];
	/* Of the started port; a queue's first member is a struct netport_queue. */
	void *rxq[PN_PORT_QUEUES_MAX];
	void *txq[PN_PORT_QUEUES_MAX];
	int fds[PN_PORT_QUEUES_MAX]; /* that receive */
	unsigned int fd_count;
	int epoll; /* of these and of news of the link, while the interrupt is enabled: every packet
		      would pay for it */
	bool said_down; /* that packets are dropped: once until the next start */
	struct soft_counts rx_counts[PN_PORT_QUEUES_MAX];
	struct soft_counts tx_counts[PN_PORT_QUEUES_MAX];
};

struct netport_queue {
	struct netport *port;
	struct soft_counts *counts;
};

static inline struct netport *netport(struct pn_port_dev *dev)
{
	return pn_container_of(soft_port(dev), struct netport, soft);
}

/* What the queues counted: collect() of struct soft_port, or a part of it. */
void netport_collect(struct soft_port *soft, struct pn_port_stats *stats);

/* Set up the head of a port on an interface that netif_open() has found. */
int netport_init(struct netport *port, const char *spec, const char *driver, const char *device);
/* Let go of interface and pool. */
void netport_release(struct netport *port);

/* A queue's file is polled by who waits for the port. 0 or a negative errno with its text. */
int netport_add_fd(struct netport *port, int fd);
/* Before the files are closed. */
void netport_drop_fds(struct netport *port);
/* Set the burst functions: the last act of a start(). */
void netport_run(struct netport *port, pn_burst_fn rx, pn_burst_fn tx);

/* Packets of a burst that the interface does not take now: freed, counted, said once. */
void netport_drop(struct netport_queue *queue, struct pn_buf **bufs, uint32_t n, int err);

/* Buffers for up to count packets: what the pool has, by halves; 0 is counted. */
uint16_t netport_get(struct netport_queue *queue, struct pn_buf **bufs, uint16_t count);

/* What all drivers have in struct pn_port_ops. */
#define NETPORT_OPS                                                                           \
	.configure = netport_configure, .stats = soft_stats, .stats_reset = soft_stats_reset, \
	.info = netport_info, .link = netport_link, .irq_enable = netport_irq_enable,         \
	.irq_arm = netport_irq_arm, .irq_disable = netport_irq_disable,                       \
	.set_mac = netport_set_mac, .set_mtu = netport_set_mtu, .wait_fds = netport_wait_fds, \
	.pending = netport_pending

/* Parts of struct pn_port_ops. */
void netport_info(const struct pn_port_dev *dev, struct pn_port_info *info);
int netport_configure(struct pn_port_dev *dev, const struct pn_port_conf *conf);
int netport_link(struct pn_port_dev *dev, struct pn_port_link *link);
int netport_irq_enable(struct pn_port_dev *dev, int *fd);
int netport_irq_arm(struct pn_port_dev *dev);
int netport_irq_disable(struct pn_port_dev *dev);
int netport_set_promiscuous(struct pn_port_dev *dev, bool on);
int netport_set_all_multicast(struct pn_port_dev *dev, bool on);
int netport_set_multicast(
	struct pn_port_dev *dev, const uint8_t (*groups)[PN_MAC_LEN], unsigned int count);
int netport_set_mac(struct pn_port_dev *dev, const uint8_t mac[PN_MAC_LEN]);
int netport_set_mtu(struct pn_port_dev *dev, uint16_t mtu);
int netport_wait_fds(struct pn_port_dev *dev, int *fds);
bool netport_pending(struct pn_port_dev *dev);
/* Those of the queues, then the driver's own. */
struct netport_counter {
	const char *name;
	uint64_t value;
};
int netport_xstats(struct netport *port, const struct netport_counter *own, unsigned int own_count,
	struct pn_port_xstat *out, unsigned int count);

#endif
