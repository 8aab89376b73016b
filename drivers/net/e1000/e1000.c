/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The e1000 driver: 82574L and 82540EM. This file ties the device's registers (e1000_hw.c) and its
 * queues (e1000_rx.c, e1000_tx.c) to a port.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "e1000.h"
#include "pn_pci.h"

#define VENDOR_INTEL 0x8086
#define MTU_DEFAULT  1500
#define MTU_MIN      68 /* IPv4: RFC 791 */

struct e1000_dev {
	struct pn_port_dev dev;
	struct e1000_hw hw;
	struct pn_pci_device *pci;
	struct pn_pci_info info;
	struct e1000_rxq rxq;
	struct e1000_txq txq;
	struct e1000_irq irq;
	void *rxqs[1];
	void *txqs[1];
	/* Subtracted from what is counted: the values at the last reset of the counters. */
	struct pn_port_stats base;
};

static struct e1000_dev *e1000_dev(struct pn_port_dev *dev)
{
	return pn_container_of(dev, struct e1000_dev, dev);
}

static void free_queues(struct e1000_dev *e)
{
	e1000_rxq_fini(&e->rxq);
	e1000_txq_fini(&e->txq);
}

static void e1000_close(struct pn_port_dev *dev)
{
	struct e1000_dev *e = e1000_dev(dev);

	free_queues(e);
	if (e1000_irq_disable(&e->irq, &e->hw))
		pn_log(PN_LOG_WARNING, "port %s: closing: %s", e->hw.name, pn_error());
	e1000_hw_driver_loaded(&e->hw, false);
	pn_pci_close(e->pci);
	free(e);
}

static void e1000_info(const struct pn_port_dev *dev, struct pn_port_info *info)
{
	const struct e1000_dev *e = pn_container_of(dev, const struct e1000_dev, dev);

	info->name = e->hw.name;
	info->driver = e1000_driver.name;
	info->device = e->info.device_name[0] ? e->info.device_name : e->hw.model->name;
	info->numa_node = e->info.numa_node;
	memcpy(info->mac, e->hw.mac, PN_MAC_LEN);
	info->mtu = e->hw.mtu;
	info->mtu_min = MTU_MIN;
	info->mtu_max = e->hw.model->mtu_max;
	info->rx_queues_max = 1;
	info->tx_queues_max = 1;
	info->rxd_min = E1000_RING_MIN;
	info->rxd_max = E1000_RING_MAX;
	info->rxd_align = E1000_RING_ALIGN;
	info->txd_min = E1000_RING_MIN;
	info->txd_max = E1000_RING_MAX;
	info->txd_align = E1000_RING_ALIGN;
	info->rx_offloads = E1000_RX_OFFLOADS;
	info->tx_offloads = E1000_TX_OFFLOADS;
}

static int e1000_configure(struct pn_port_dev *dev, const struct pn_port_conf *conf)
{
	struct e1000_dev *e = e1000_dev(dev);
	int ret;

	free_queues(e);
	/* CTRL.VME is for both directions. */
	if (conf->tx_offloads & PN_BUF_TX_VLAN && !(conf->rx_offloads & PN_BUF_RX_VLAN))
		return pn_fail(EINVAL,
			"port %s: the device inserts VLAN tags only while it takes out those that "
			"come: ask for the receive offload RX_VLAN as well",
			e->hw.name);
	ret = e1000_rxq_init(
		&e->rxq, &e->hw, dev->opts.heap, conf->rx_pool, conf->rxd, conf->rx_offloads);
	if (ret)
		return ret;
	ret = e1000_txq_init(&e->txq, &e->hw, dev->opts.heap, conf->txd, conf->tx_offloads);
	if (ret)
		e1000_rxq_fini(&e->rxq);
	return ret;
}

static int fill_ring(struct e1000_dev *e)
{
	const struct e1000_rxq *q = &e->rxq;

	if (!e1000_rxq_fill(&e->rxq))
		return 0;
	return pn_fail(ENOBUFS,
		"port %s: a ring of %u receive descriptors needs %u buffers; the pool has %" PRIu32
		" of its %" PRIu32 " free: make the pool larger or the ring smaller",
		e->hw.name, q->size, q->size - 1u, pn_pool_available(q->pool),
		pn_pool_count(q->pool));
}

/* Set the interrupt up on a device that runs; the reset of a start has forgotten it. */
static int run_irq(struct e1000_dev *e)
{
	if (!e->irq.on)
		return 0;
	e1000_irq_route(&e->irq, &e->hw);
	return e1000_irq_arm(&e->irq, &e->hw, &e->rxq);
}

static int e1000_start(struct pn_port_dev *dev)
{
	struct e1000_dev *e = e1000_dev(dev);
	int ret;

	/* Forgets the rings of an earlier start, while the bus master is still off. */
	ret = e1000_hw_reset(&e->hw);
	if (ret)
		return ret;
	ret = fill_ring(e);
	if (ret)
		return ret;
	ret = pn_pci_bus_master(e->pci, true);
	if (ret)
		goto drain;
	e1000_hw_driver_loaded(&e->hw, true);
	e1000_hw_start(&e->hw, &e->rxq, &e->txq);
	e1000_rxq_kick(&e->rxq);
	ret = e1000_hw_alive(&e->hw);
	if (!ret)
		ret = run_irq(e);
	if (ret)
		goto stop;
	dev->port.rxq = e->rxqs;
	dev->port.txq = e->txqs;
	dev->port.tx_burst = e1000_tx_burst(&e->txq);
	dev->port.rx_burst = e1000_rx_burst(&e->rxq, e->hw.model->pcie);
	return 0;

stop:
	e1000_hw_stop(&e->hw);
	pn_pci_bus_master(e->pci, false);
drain:
	e1000_rxq_drain(&e->rxq);
	return ret;
}

static void e1000_stop(struct pn_port_dev *dev)
{
	struct e1000_dev *e = e1000_dev(dev);

	e1000_hw_stop(&e->hw);
	/* The reset of the next start clears the device's counters. When it is gone there is
	 * nothing to add, and the caller's error text stays. */
	if (e1000_read(&e->hw, E1000_STATUS) != E1000_GONE)
		(void)e1000_hw_stats_update(&e->hw);
	/* Whatever the device thinks of it, from here on it cannot write to memory. */
	if (pn_pci_bus_master(e->pci, false))
		pn_log(PN_LOG_WARNING, "port %s: stopping its bus master: %s", e->hw.name,
			pn_error());
	e1000_rxq_drain(&e->rxq);
	e1000_txq_drain(&e->txq);
}

static void collect(const struct e1000_dev *e, struct pn_port_stats *stats)
{
	const struct e1000_hw_stats *hw = &e->hw.stats;

	stats->rx_packets = e1000_counter(&e->rxq.packets);
	stats->rx_bytes = e1000_counter(&e->rxq.bytes);
	stats->tx_packets = e1000_counter(&e->txq.packets);
	stats->tx_bytes = e1000_counter(&e->txq.bytes);
	stats->rx_missed = hw->missed;
	stats->rx_errors = e1000_counter(&e->rxq.errors) + hw->rx_errors;
	stats->rx_nombuf = e1000_counter(&e->rxq.nombuf);
	stats->rx_bad_desc = e1000_counter(&e->rxq.bad_desc);
	stats->tx_errors = e1000_counter(&e->txq.errors) + hw->tx_errors;
	stats->hw_rx_packets = hw->rx_packets;
	stats->hw_rx_bytes = hw->rx_bytes;
	stats->hw_tx_packets = hw->tx_packets;
	stats->hw_tx_bytes = hw->tx_bytes;
}

/* When the device is gone the counters are what they were when it was last asked. */
static int e1000_stats(struct pn_port_dev *dev, struct pn_port_stats *stats)
{
	struct e1000_dev *e = e1000_dev(dev);
	const struct pn_port_stats *base = &e->base;
	int ret = e1000_hw_stats_update(&e->hw);

	collect(e, stats);
	stats->rx_packets -= base->rx_packets;
	stats->rx_bytes -= base->rx_bytes;
	stats->tx_packets -= base->tx_packets;
	stats->tx_bytes -= base->tx_bytes;
	stats->rx_missed -= base->rx_missed;
	stats->rx_errors -= base->rx_errors;
	stats->rx_nombuf -= base->rx_nombuf;
	stats->rx_bad_desc -= base->rx_bad_desc;
	stats->tx_errors -= base->tx_errors;
	stats->hw_rx_packets -= base->hw_rx_packets;
	stats->hw_rx_bytes -= base->hw_rx_bytes;
	stats->hw_tx_packets -= base->hw_tx_packets;
	stats->hw_tx_bytes -= base->hw_tx_bytes;
	return ret;
}

static void e1000_stats_reset(struct pn_port_dev *dev)
{
	struct e1000_dev *e = e1000_dev(dev);

	(void)e1000_hw_stats_update(&e->hw);
	collect(e, &e->base);
}

static int e1000_link(struct pn_port_dev *dev, struct pn_port_link *link)
{
	struct e1000_dev *e = e1000_dev(dev);
	uint32_t status = e1000_read(&e->hw, E1000_STATUS);

	if (status == E1000_GONE)
		return e1000_hw_alive(&e->hw);
	e1000_hw_link(status, link);
	e1000_irq_saw_link(&e->irq, link->up);
	return 0;
}

static int irq_enable(struct pn_port_dev *dev, int *fd)
{
	struct e1000_dev *e = e1000_dev(dev);
	int ret = e1000_irq_enable(&e->irq, &e->hw);

	if (ret)
		return ret;
	if (dev->started)
		ret = run_irq(e);
	if (ret) {
		e1000_irq_disable(&e->irq, &e->hw);
		return ret;
	}
	*fd = e->irq.fd;
	return 0;
}

/* A stopped port has nothing to wait for: start() arms. */
static int irq_arm(struct pn_port_dev *dev)
{
	struct e1000_dev *e = e1000_dev(dev);

	return dev->started ? e1000_irq_arm(&e->irq, &e->hw, &e->rxq) : 0;
}

static int irq_disable(struct pn_port_dev *dev)
{
	struct e1000_dev *e = e1000_dev(dev);

	return e1000_irq_disable(&e->irq, &e->hw);
}

/* While the port is stopped filters are only remembered: start() writes them after its reset. */
static int write_filters(struct e1000_dev *e)
{
	int ret;

	if (!e->dev.started)
		return 0;
	ret = e1000_hw_alive(&e->hw);
	if (!ret)
		e1000_hw_write_filters(&e->hw);
	return ret;
}

static int set_rctl(struct e1000_dev *e, uint32_t bit, bool on)
{
	e->hw.rctl = on ? e->hw.rctl | bit : e->hw.rctl & ~bit;
	return write_filters(e);
}

static int e1000_set_promiscuous(struct pn_port_dev *dev, bool on)
{
	return set_rctl(e1000_dev(dev), E1000_RCTL_UPE, on);
}

static int e1000_set_all_multicast(struct pn_port_dev *dev, bool on)
{
	return set_rctl(e1000_dev(dev), E1000_RCTL_MPE, on);
}

static int e1000_set_multicast(
	struct pn_port_dev *dev, const uint8_t (*groups)[PN_MAC_LEN], unsigned int count)
{
	struct e1000_dev *e = e1000_dev(dev);

	memset(e->hw.mta, 0, sizeof(e->hw.mta));
	for (unsigned int i = 0; i < count; i++) {
		unsigned int hash = e1000_mta_hash(groups[i]);

		e->hw.mta[hash >> 5] |= 1u << (hash & 31);
	}
	return write_filters(e);
}

static int e1000_set_mac(struct pn_port_dev *dev, const uint8_t mac[PN_MAC_LEN])
{
	struct e1000_dev *e = e1000_dev(dev);

	memcpy(e->hw.mac, mac, PN_MAC_LEN);
	return write_filters(e);
}

static int e1000_set_mtu(struct pn_port_dev *dev, uint16_t mtu)
{
	e1000_dev(dev)->hw.mtu = mtu;
	return 0;
}

static const struct pn_port_ops e1000_ops = {
	.close = e1000_close,
	.info = e1000_info,
	.configure = e1000_configure,
	.start = e1000_start,
	.stop = e1000_stop,
	.stats = e1000_stats,
	.stats_reset = e1000_stats_reset,
	.link = e1000_link,
	.irq_enable = irq_enable,
	.irq_arm = irq_arm,
	.irq_disable = irq_disable,
	.set_promiscuous = e1000_set_promiscuous,
	.set_all_multicast = e1000_set_all_multicast,
	.set_multicast = e1000_set_multicast,
	.set_mac = e1000_set_mac,
	.set_mtu = e1000_set_mtu,
};

static const struct e1000_model *find_model(const struct pn_pci_info *info)
{
	if (info->vendor != VENDOR_INTEL)
		return NULL;
	for (unsigned int i = 0; i < e1000_model_count; i++) {
		if (e1000_models[i].device == info->device)
			return &e1000_models[i];
	}
	return NULL;
}

static int map_registers(struct e1000_dev *e)
{
	struct pn_bar bar;
	int ret = pn_pci_bar_map(e->pci, 0, &bar);

	if (ret)
		return pn_fail_prefix(ret, "port %s: ", e->info.address);
	if (!bar.addr || bar.size < E1000_BAR_SIZE)
		return pn_fail(ENODEV,
			"port %s: BAR 0 has %" PRIu64 " bytes; the registers of an %s take %u",
			e->info.address, bar.size, e->hw.model->name, E1000_BAR_SIZE);
	e->hw.regs = bar.addr;
	return 0;
}

static int bring_up(struct e1000_dev *e)
{
	int ret = map_registers(e);

	if (!ret)
		ret = e1000_hw_reset(&e->hw);
	if (!ret)
		ret = e1000_hw_read_mac(&e->hw);
	if (ret)
		return ret;
	/* Counters start at 0 now. Reading clears the device's ([8254x] 13.7): its reset does too,
	 * but not everywhere (QEMU). */
	(void)e1000_hw_stats_update(&e->hw);
	memset(&e->hw.stats, 0, sizeof(e->hw.stats));
	return 0;
}

static int e1000_open(struct pn_port_dev **out, const char *spec, const struct pn_port_opts *opts)
{
	const struct e1000_model *model;
	struct pn_pci_info info;
	struct e1000_dev *e;
	int ret = pn_pci_find(spec, &info);

	if (ret)
		return ret;
	model = find_model(&info);
	if (!model) {
		(void)pn_fail(ENOTSUP, "%s is %04x:%04x %s", info.address, info.vendor, info.device,
			info.device_name);
		return PN_DRIVER_NOT_MINE;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return pn_fail(ENOMEM, "port %s: no memory", info.address);
	e->dev.ops = &e1000_ops;
	e->info = info;
	e->rxqs[0] = &e->rxq;
	e->txqs[0] = &e->txq;
	e->hw.model = model;
	e->hw.name = e->info.address;
	e->hw.mtu = MTU_DEFAULT;
	ret = opts->vf_token
		      ? pn_pci_open_vf_token(&e->pci, info.address, opts->domain, opts->vf_token)
		      : pn_pci_open(&e->pci, info.address, opts->domain);
	if (ret)
		goto free_dev;
	e->irq.pci = e->pci;
	ret = bring_up(e);
	if (ret)
		goto close_pci;
	*out = &e->dev;
	return 0;

close_pci:
	pn_pci_close(e->pci);
free_dev:
	free(e);
	return ret;
}

const struct pn_driver e1000_driver = {
	.name = "e1000",
	.supports = "8086:10d3 (82574L), 8086:100e (82540EM)",
	.open = e1000_open,
};
