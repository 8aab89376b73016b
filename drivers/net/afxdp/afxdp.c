/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The afxdp port: packets of a Linux network interface through AF_XDP sockets. While it runs the
 * kernel does not see what arrives on its queues. "afxdp:iface=eth0", with mode=zerocopy, native or
 * generic in place of the best that works, queue=N for the first queue, busy=N for the packets of
 * one busy poll (0: none), defer=USEC for how long the kernel may wait for more (0: as it is set).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "afxdp.h"

#define MTU_MOST 3500

static void end(struct afxdp_port *port)
{
	afxdp_defer_no_more(port);
	afxdp_detach(port);
	afxdp_umem_release(port);
}

static int make_queues(struct afxdp_port *port)
{
	const unsigned int count = port->net.rx_queues > port->net.tx_queues ? port->net.rx_queues
									     : port->net.tx_queues;

	port->queue_count = 0;
	for (unsigned int i = 0; i < count; i++) {
		struct afxdp_queue *queue = port->queues[i];

		if (!queue)
			queue = aligned_alloc(_Alignof(struct afxdp_queue), sizeof(*queue));
		if (!queue)
			return pn_fail(ENOMEM, "port %s: no memory", port->net.soft.name);
		if (!port->queues[i])
			memset(queue, 0, sizeof(*queue));
		port->queues[i] = queue;
		queue->rx = (struct netport_queue){&port->net, &port->net.rx_counts[i]};
		queue->tx = (struct netport_queue){&port->net, &port->net.tx_counts[i]};
		queue->umem = &port->umem;
		queue->socket = NULL;
		queue->fd = -1;
		queue->busy_poll = false;
		queue->in_flight = queue->spare_count = 0;
		queue->room = port->net.txd;
		/* Header and a tag. */
		queue->longest = (uint16_t)(port->net.soft.mtu + 18);
		port->net.rxq[i] = queue;
		port->net.txq[i] = &queue->tx;
		port->queue_count++;
	}
	return 0;
}

static int afxdp_start(struct pn_port_dev *dev)
{
	struct afxdp_port *port = afxdp_port(dev);
	uint8_t mac[PN_MAC_LEN];
	uint16_t mtu;
	int ret;

	if (netif_read(&port->net.netif, mac, &mtu))
		port->net.soft.mtu = mtu;
	if (port->net.soft.mtu > MTU_MOST)
		return pn_fail(EINVAL,
			"port %s: interface %s has an MTU of %u: a frame must fit into 4096 bytes, "
			"at most %u",
			port->net.soft.name, port->net.netif.name, port->net.soft.mtu, MTU_MOST);
	ret = make_queues(port);
	if (!ret)
		ret = afxdp_attach(port);
	if (ret) {
		end(port);
		return ret;
	}
	afxdp_umem_record(port);
	afxdp_defer(port);
	afxdp_note(port);
	netport_run(&port->net, port->umem.direct ? afxdp_rx_burst : afxdp_rx_copy_burst,
		afxdp_tx_burst);
	return 0;
}

static void afxdp_stop(struct pn_port_dev *dev)
{
	end(afxdp_port(dev));
}

static void free_port(struct afxdp_port *port)
{
	for (unsigned int i = 0; i < PN_PORT_QUEUES_MAX; i++)
		free(port->queues[i]);
	free(port);
}

static void afxdp_close(struct pn_port_dev *dev)
{
	struct afxdp_port *port = afxdp_port(dev);

	netport_release(&port->net);
	free_port(port);
}

struct senseless {
	uint64_t rx, tx, rx_copied, tx_copied, wakeups;
};

static struct senseless sum_queues(const struct afxdp_port *port)
{
	struct senseless sum = {0};

	for (unsigned int i = 0; i < PN_PORT_QUEUES_MAX; i++) {
		const struct afxdp_queue *queue = port->queues[i];

		if (!queue)
			continue;
		sum.rx += soft_counted(&queue->rx_senseless);
		sum.tx += soft_counted(&queue->tx_senseless);
		sum.rx_copied += soft_counted(&queue->rx_copied);
		sum.tx_copied += soft_counted(&queue->tx_copied);
		sum.wakeups += soft_counted(&queue->tx_wakeups);
	}
	return sum;
}

/* What came when there was no frame, or no room in the ring, is missed. */
static void afxdp_collect(struct soft_port *soft, struct pn_port_stats *stats)
{
	struct afxdp_port *port = pn_container_of(
		pn_container_of(soft, struct netport, soft), struct afxdp_port, net);
	struct senseless sum = sum_queues(port);
	struct xdp_statistics kernel;

	netport_collect(soft, stats);
	afxdp_statistics(port, &kernel);
	stats->rx_missed += kernel.rx_dropped + kernel.rx_ring_full;
	stats->rx_errors += sum.rx + kernel.rx_invalid_descs;
	stats->tx_errors += sum.tx + kernel.tx_invalid_descs;
}

static int afxdp_xstats(struct pn_port_dev *dev, struct pn_port_xstat *out, unsigned int count)
{
	struct afxdp_port *port = afxdp_port(dev);
	struct senseless sum = sum_queues(port);
	struct xdp_statistics kernel;

	afxdp_statistics(port, &kernel);
	{
		const struct netport_counter own[] = {
			{"rx_kernel_dropped", kernel.rx_dropped},
			{"rx_ring_full", kernel.rx_ring_full},
			{"rx_fill_ring_empty", kernel.rx_fill_ring_empty_descs},
			{"rx_invalid_descs", kernel.rx_invalid_descs},
			{"tx_invalid_descs", kernel.tx_invalid_descs},
			{"tx_ring_empty", kernel.tx_ring_empty_descs},
			{"rx_senseless", sum.rx},
			{"tx_senseless", sum.tx},
			{"rx_copied", sum.rx_copied},
			{"tx_copied", sum.tx_copied},
			{"tx_wakeups", sum.wakeups},
		};

		return netport_xstats(&port->net, own, PN_ARRAY_SIZE(own), out, count);
	}
}

static const struct pn_port_ops afxdp_ops = {
	NETPORT_OPS,
	.close = afxdp_close,
	.start = afxdp_start,
	.stop = afxdp_stop,
	.set_promiscuous = netport_set_promiscuous,
	.set_all_multicast = netport_set_all_multicast,
	.set_multicast = netport_set_multicast,
	.xstats = afxdp_xstats,
};

static int set_mode(struct afxdp_port *port, const char *spec)
{
	static const char *const names[] = {"auto", "zerocopy", "native", "generic"};

	if (!*port->mode_word)
		return 0;
	for (unsigned int i = 0; i < PN_ARRAY_SIZE(names); i++) {
		if (strcmp(port->mode_word, names[i]))
			continue;
		port->mode = (enum afxdp_mode)i;
		return 0;
	}
	return pn_fail(EINVAL, "port %s: mode '%s': there are auto, zerocopy, native and generic",
		spec, port->mode_word);
}

static int parse(struct afxdp_port *port, const char *spec)
{
	const struct soft_word words[] = {
		{"iface", .text = port->iface, .text_size = sizeof(port->iface)},
		{"mode", .text = port->mode_word, .text_size = sizeof(port->mode_word)},
		{"queue", .number = &port->first_queue, .max = 255 - PN_PORT_QUEUES_MAX},
		{"busy", .number = &port->busy_budget, .max = 1024},
		{"defer", .number = &port->defer_us, .max = 100000},
	};
	int ret = soft_parse(spec, words, PN_ARRAY_SIZE(words));

	if (!ret && !*port->iface)
		ret = pn_fail(EINVAL, "port %s: the interface is missing: iface=NAME", spec);
	return ret ? ret : set_mode(port, spec);
}

static int afxdp_open(struct pn_port_dev **out, const char *spec, const struct pn_port_opts *opts)
{
	struct afxdp_port *port = aligned_alloc(_Alignof(struct afxdp_port), sizeof(*port));
	int ret;

	(void)opts;
	if (!port)
		return pn_fail(ENOMEM, "port %s: no memory", spec);
	memset(port, 0, sizeof(*port));
	port->net.epoll = -1;
	port->map = port->program = port->link = -1;
	port->busy_budget = 64;
	port->defer_us = 200;
	ret = parse(port, spec);
	if (ret) {
		free(port);
		return ret;
	}
	ret = netif_open(&port->net.netif, spec, port->iface, true);
	if (!ret)
		ret = netport_init(&port->net, spec, "afxdp", "AF_XDP sockets on an interface");
	if (!ret)
		ret = afxdp_load(port->net.soft.name, &port->lib);
	if (ret) {
		netport_release(&port->net);
		free(port);
		return ret;
	}
	port->net.soft.collect = afxdp_collect;
	port->net.queues_max = (uint16_t)netif_queues(&port->net.netif);
	port->net.mtu_max = MTU_MOST;
	port->net.soft.dev.ops = &afxdp_ops;
	*out = &port->net.soft.dev;
	return 0;
}

const struct pn_driver afxdp_driver = {
	.name = "afxdp",
	.supports =
		"afxdp:iface=NAME[,mode=zerocopy|native|generic][,queue=N][,busy=N][,defer=USEC]",
	.software = true,
	.open = afxdp_open,
};
