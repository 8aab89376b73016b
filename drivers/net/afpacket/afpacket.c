/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The afpacket port: packets of a Linux network interface through packet sockets, beside the
 * kernel, which goes on using the interface. "afpacket:iface=eth0", with timestamp=1 and hash=1 for
 * what the kernel knows of a packet, fanout=hash|lb|cpu for how several queues share, block=BYTES
 * and wait=MS of the receive ring, bypass=0 to send through the queueing discipline.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "afpacket.h"
#include "base_priv.h"

#define BLOCK_MOST (UINT64_C(1) << 20)
#define MTU_MOST   65000

static void stop_queues(struct afpacket_port *port)
{
	netport_drop_fds(&port->net);
	for (unsigned int i = 0; i < PN_PORT_QUEUES_MAX; i++) {
		afpacket_rx_stop(port, i);
		afpacket_tx_stop(port, i);
	}
}

static int afpacket_start(struct pn_port_dev *dev)
{
	struct afpacket_port *port = afpacket_port(dev);
	struct pn_port_info info;
	int group = -1, ret = 0;

	netport_info(dev, &info);
	port->net.soft.mtu = info.mtu;
	for (unsigned int i = 0; i < port->net.tx_queues && !ret; i++)
		ret = afpacket_tx_start(port, i);
	for (unsigned int i = 0; i < port->net.rx_queues && !ret; i++)
		ret = afpacket_rx_start(port, i, &group);
	if (ret) {
		stop_queues(port);
		return ret;
	}
	netport_run(&port->net, afpacket_rx_burst,
		port->net.tx_asked ? afpacket_tx_burst_offloads : afpacket_tx_burst);
	return 0;
}

static void afpacket_stop(struct pn_port_dev *dev)
{
	stop_queues(afpacket_port(dev));
}

static void free_port(struct afpacket_port *port)
{
	for (unsigned int i = 0; i < PN_PORT_QUEUES_MAX; i++) {
		free(port->rx[i]);
		free(port->tx[i]);
	}
	free(port);
}

static void afpacket_close(struct pn_port_dev *dev)
{
	struct afpacket_port *port = afpacket_port(dev);

	netport_release(&port->net);
	free_port(port);
}

/* What the kernel had no room for in the rings is missed. */
static void ask_kernel(struct afpacket_port *port)
{
	for (unsigned int i = 0; i < PN_PORT_QUEUES_MAX; i++) {
		if (port->rx[i])
			afpacket_rx_count(port->rx[i]);
	}
}

static uint64_t sum_rx(const struct afpacket_port *port, size_t counter)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < PN_PORT_QUEUES_MAX; i++) {
		if (port->rx[i])
			sum += soft_counted(
				(const uint64_t *)(const void *)((const char *)port->rx[i] +
								 counter));
	}
	return sum;
}

static uint64_t sum_refused(const struct afpacket_port *port)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < PN_PORT_QUEUES_MAX; i++) {
		if (port->tx[i])
			sum += soft_counted(&port->tx[i]->refused);
	}
	return sum;
}

static void afpacket_collect(struct soft_port *soft, struct pn_port_stats *stats)
{
	struct afpacket_port *port = pn_container_of(
		pn_container_of(soft, struct netport, soft), struct afpacket_port, net);

	netport_collect(soft, stats);
	ask_kernel(port);
	stats->rx_missed += sum_rx(port, offsetof(struct afpacket_rx, drops));
}

static int afpacket_xstats(struct pn_port_dev *dev, struct pn_port_xstat *out, unsigned int count)
{
	struct afpacket_port *port = afpacket_port(dev);

	ask_kernel(port);
	{
		const struct netport_counter own[] = {
			{"rx_kernel_drops", sum_rx(port, offsetof(struct afpacket_rx, drops))},
			{"rx_kernel_freezes", sum_rx(port, offsetof(struct afpacket_rx, freezes))},
			{"rx_cut", sum_rx(port, offsetof(struct afpacket_rx, cut))},
			{"rx_unsegmented", sum_rx(port, offsetof(struct afpacket_rx, large))},
			{"tx_kernel_refused", sum_refused(port)},
		};

		return netport_xstats(&port->net, own, PN_ARRAY_SIZE(own), out, count);
	}
}

static const struct pn_port_ops afpacket_ops = {
	NETPORT_OPS,
	.close = afpacket_close,
	.start = afpacket_start,
	.stop = afpacket_stop,
	.set_promiscuous = netport_set_promiscuous,
	.set_all_multicast = netport_set_all_multicast,
	.set_multicast = netport_set_multicast,
	.xstats = afpacket_xstats,
};

static int parse(struct afpacket_port *port, const char *spec)
{
	const struct soft_word words[] = {
		{"iface", .text = port->iface, .text_size = sizeof(port->iface)},
		{"fanout", .text = port->fanout, .text_size = sizeof(port->fanout)},
		{"bypass", .number = &port->bypass, .max = 1},
		{"block", .number = &port->block_size, .max = BLOCK_MOST},
		{"wait", .number = &port->block_time, .min = 1, .max = 1000},
		{"timestamp", .number = &port->timestamps, .max = 1},
		{"hash", .number = &port->hashes, .max = 1},
	};
	int ret = soft_parse(spec, words, PN_ARRAY_SIZE(words));

	if (ret)
		return ret;
	if (!*port->iface)
		return pn_fail(EINVAL, "port %s: the interface is missing: iface=NAME", spec);
	if (*port->fanout && strcmp(port->fanout, "hash") && strcmp(port->fanout, "lb") &&
		strcmp(port->fanout, "cpu"))
		return pn_fail(EINVAL, "port %s: fanout '%s': there are hash, lb and cpu", spec,
			port->fanout);
	return 0;
}

static int afpacket_open(
	struct pn_port_dev **out, const char *spec, const struct pn_port_opts *opts)
{
	struct afpacket_port *port = aligned_alloc(_Alignof(struct afpacket_port), sizeof(*port));
	int ret;

	(void)opts;
	if (!port)
		return pn_fail(ENOMEM, "port %s: no memory", spec);
	memset(port, 0, sizeof(*port));
	port->net.epoll = -1;
	port->bypass = 1;
	port->block_time = 1;
	ret = parse(port, spec);
	if (ret) {
		free(port);
		return ret;
	}
	ret = netif_open(&port->net.netif, spec, port->iface, true);
	if (!ret)
		ret = netport_init(&port->net, spec, "afpacket", "packet sockets on an interface");
	if (ret) {
		netport_release(&port->net);
		free(port);
		return ret;
	}
	port->net.soft.collect = afpacket_collect;
	port->net.queues_max = PN_PORT_QUEUES_MAX;
	port->net.rx_offloads = AFPACKET_RX_OFFLOADS;
	port->net.tx_offloads = AFPACKET_TX_OFFLOADS;
	snprintf(port->net.note, sizeof(port->net.note), "TPACKET_V3, %s",
		port->bypass ? "past the queueing discipline" : "through the queueing discipline");
	port->net.mtu_max = MTU_MOST;
	port->net.soft.dev.ops = &afpacket_ops;
	*out = &port->net.soft.dev;
	return 0;
}

const struct pn_driver afpacket_driver = {
	.name = "afpacket",
	.supports = "afpacket:iface=NAME[,timestamp=1][,hash=1][,fanout=hash|lb|cpu][,...]",
	.software = true,
	.open = afpacket_open,
};
