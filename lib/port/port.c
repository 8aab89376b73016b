/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The port layer: finds the driver of a device, and checks arguments and state before a driver sees
 * them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base_priv.h"
#include "port_priv.h"

#define DEFAULT_DESCRIPTORS 256

static const struct pn_port_dev *port_dev_const(const struct pn_port *port)
{
	return pn_container_of(port, const struct pn_port_dev, port);
}

static uint16_t no_burst(void *queue, struct pn_buf **bufs, uint16_t count)
{
	(void)queue;
	(void)bufs;
	(void)count;
	return 0;
}

/* A burst on a stopped port is harmless: it finds a queue that takes and gives nothing. */
static void put_away(struct pn_port_dev *dev)
{
	dev->port.rx_burst = no_burst;
	dev->port.tx_burst = no_burst;
	dev->port.rxq = dev->no_queue;
	dev->port.txq = dev->no_queue;
}

static int no_driver(const char *spec)
{
	char known[512] = "";
	size_t used = 0;

	for (size_t i = 0; pn_drivers[i]; i++) {
		int len = snprintf(known + used, sizeof(known) - used, "%s%s: %s", i ? "; " : "",
			pn_drivers[i]->name, pn_drivers[i]->supports);

		if (len < 0 || (size_t)len >= sizeof(known) - used)
			break;
		used += (size_t)len;
	}
	return pn_fail(
		ENOTSUP, "no driver for %s (%s); supported are: %s", spec, pn_error(), known);
}

struct pn_port *pn_port_adopt(struct pn_port_dev *dev, const struct pn_port_opts *opts)
{
	dev->opts = opts ? *opts : (struct pn_port_opts){0};
	/* The caller's only until the port is open. */
	dev->opts.vf_token = NULL;
	dev->configured = false;
	dev->started = false;
	dev->irq_enabled = false;
	put_away(dev);
	return &dev->port;
}

/* "null" and "null:size=64" are the null driver's. */
static bool is_named(const struct pn_driver *driver, const char *spec)
{
	size_t len = strlen(driver->name);

	return strncmp(spec, driver->name, len) == 0 && (!spec[len] || spec[len] == ':');
}

bool pn_port_is_software(const char *spec)
{
	for (size_t i = 0; spec && pn_drivers[i]; i++) {
		if (pn_drivers[i]->software && is_named(pn_drivers[i], spec))
			return true;
	}
	return false;
}

int pn_port_open(struct pn_port **out, const char *spec, const struct pn_port_opts *opts)
{
	bool software = pn_port_is_software(spec);
	struct pn_port_dev *dev;

	if (!out || !spec)
		return pn_fail(EINVAL,
			"a port needs a device: an address such as 0000:00:02.0, "
			"vendor:device such as 8086:10d3, or a software port such as null");
	if (!software && (!opts || !opts->domain || !opts->heap))
		return pn_fail(
			EINVAL, "opening port %s: a domain and a heap in it are needed", spec);
	for (size_t i = 0; pn_drivers[i]; i++) {
		int ret;

		if (pn_drivers[i]->software != software ||
			(software && !is_named(pn_drivers[i], spec)))
			continue;
		ret = pn_drivers[i]->open(&dev, spec, opts);
		if (ret == PN_DRIVER_NOT_MINE)
			continue;
		if (ret)
			return ret;
		*out = pn_port_adopt(dev, opts);
		return 0;
	}
	return no_driver(spec);
}

void pn_port_close(struct pn_port *port)
{
	struct pn_port_dev *dev;

	if (!port)
		return;
	dev = pn_port_dev(port);
	pn_port_stop(port);
	dev->ops->close(dev);
}

void pn_port_get_info(const struct pn_port *port, struct pn_port_info *info)
{
	const struct pn_port_dev *dev = port_dev_const(port);

	memset(info, 0, sizeof(*info));
	info->note = "";
	dev->ops->info(dev, info);
	info->started = dev->started;
}

static int check_ring(const char *port, const char *what, uint16_t count, uint16_t min,
	uint16_t max, uint16_t align)
{
	if (count >= min && count <= max && count % align == 0)
		return 0;
	return pn_fail(EINVAL, "port %s: %u %s descriptors: must be %u to %u and a multiple of %u",
		port, count, what, min, max, align);
}

static int check_queues(const char *port, const char *what, uint16_t count, uint16_t max)
{
	if (count <= max)
		return 0;
	return pn_fail(EINVAL, "port %s: %u %s queues: must be 1 to %u", port, count, what, max);
}

static int check_conf(const struct pn_port_conf *conf, const struct pn_port_info *info)
{
	int ret = check_ring(
		info->name, "receive", conf->rxd, info->rxd_min, info->rxd_max, info->rxd_align);

	if (!ret)
		ret = check_ring(info->name, "transmit", conf->txd, info->txd_min, info->txd_max,
			info->txd_align);
	if (!ret)
		ret = check_queues(info->name, "receive", conf->rx_queues, info->rx_queues_max);
	if (!ret)
		ret = check_queues(info->name, "transmit", conf->tx_queues, info->tx_queues_max);
	if (!ret)
		ret = pn_check_offloads(
			info->name, "receive", conf->rx_offloads, info->rx_offloads);
	if (!ret)
		ret = pn_check_offloads(
			info->name, "transmit", conf->tx_offloads, info->tx_offloads);
	return ret;
}

int pn_port_configure(struct pn_port *port, const struct pn_port_conf *conf)
{
	struct pn_port_dev *dev = pn_port_dev(port);
	struct pn_port_conf full;
	struct pn_port_info info;
	int ret;

	pn_port_get_info(port, &info);
	if (dev->started)
		return pn_fail(
			EBUSY, "port %s is started: stop it before configuring it", info.name);
	if (!conf || !conf->rx_pool)
		return pn_fail(EINVAL, "port %s: a pool to receive into is needed", info.name);
	full = *conf;
	if (!full.rxd)
		full.rxd = DEFAULT_DESCRIPTORS;
	if (!full.txd)
		full.txd = DEFAULT_DESCRIPTORS;
	if (!full.rx_queues)
		full.rx_queues = 1;
	if (!full.tx_queues)
		full.tx_queues = 1;
	ret = check_conf(&full, &info);
	if (ret)
		return ret;
	ret = dev->ops->configure(dev, &full);
	dev->configured = ret == 0;
	return ret;
}

int pn_port_start(struct pn_port *port)
{
	struct pn_port_dev *dev = pn_port_dev(port);
	struct pn_port_info info;
	int ret;

	pn_port_get_info(port, &info);
	if (dev->started)
		return pn_fail(EALREADY, "port %s is started already", info.name);
	if (!dev->configured)
		return pn_fail(EINVAL, "port %s has no queues: configure it before starting it",
			info.name);
	ret = dev->ops->start(dev);
	if (ret) {
		put_away(dev);
		return ret;
	}
	dev->started = true;
	return 0;
}

int pn_port_stop(struct pn_port *port)
{
	struct pn_port_dev *dev = pn_port_dev(port);

	if (!dev->started)
		return 0;
	put_away(dev);
	dev->started = false;
	dev->ops->stop(dev);
	return 0;
}

int pn_port_get_stats(struct pn_port *port, struct pn_port_stats *stats)
{
	struct pn_port_dev *dev = pn_port_dev(port);

	memset(stats, 0, sizeof(*stats));
	return dev->ops->stats(dev, stats);
}

/* The counters of struct pn_port_stats, by name. */
static const struct {
	const char *name;
	size_t offset;
} named[] = {
	{"rx_packets", offsetof(struct pn_port_stats, rx_packets)},
	{"rx_bytes", offsetof(struct pn_port_stats, rx_bytes)},
	{"tx_packets", offsetof(struct pn_port_stats, tx_packets)},
	{"tx_bytes", offsetof(struct pn_port_stats, tx_bytes)},
	{"rx_missed", offsetof(struct pn_port_stats, rx_missed)},
	{"rx_errors", offsetof(struct pn_port_stats, rx_errors)},
	{"rx_nombuf", offsetof(struct pn_port_stats, rx_nombuf)},
	{"rx_bad_desc", offsetof(struct pn_port_stats, rx_bad_desc)},
	{"tx_errors", offsetof(struct pn_port_stats, tx_errors)},
	{"hw_rx_packets", offsetof(struct pn_port_stats, hw_rx_packets)},
	{"hw_rx_bytes", offsetof(struct pn_port_stats, hw_rx_bytes)},
	{"hw_tx_packets", offsetof(struct pn_port_stats, hw_tx_packets)},
	{"hw_tx_bytes", offsetof(struct pn_port_stats, hw_tx_bytes)},
};

int pn_port_get_xstats(struct pn_port *port, struct pn_port_xstat *out, unsigned int count)
{
	const unsigned int common = PN_ARRAY_SIZE(named);
	struct pn_port_dev *dev = pn_port_dev(port);
	struct pn_port_stats stats;
	int ret;

	if (count && !out)
		return pn_fail(EINVAL, "%u counters, but nowhere to put them", count);
	ret = pn_port_get_stats(port, &stats);
	if (ret)
		return ret;
	for (unsigned int i = 0; i < common && i < count; i++) {
		snprintf(out[i].name, sizeof(out[i].name), "%s", named[i].name);
		memcpy(&out[i].value, (const char *)&stats + named[i].offset, sizeof(uint64_t));
	}
	if (!dev->ops->xstats)
		return (int)common;
	ret = dev->ops->xstats(
		dev, count > common ? out + common : NULL, count > common ? count - common : 0);
	return ret < 0 ? ret : (int)common + ret;
}

int pn_port_stats_reset(struct pn_port *port)
{
	struct pn_port_dev *dev = pn_port_dev(port);

	dev->ops->stats_reset(dev);
	return 0;
}

int pn_port_get_link(struct pn_port *port, struct pn_port_link *link)
{
	struct pn_port_dev *dev = pn_port_dev(port);

	memset(link, 0, sizeof(*link));
	return dev->ops->link(dev, link);
}

int pn_port_irq_enable(struct pn_port *port, int *fd)
{
	struct pn_port_dev *dev = pn_port_dev(port);
	struct pn_port_info info;
	int ret;

	pn_port_get_info(port, &info);
	if (!fd)
		return pn_fail(EINVAL, "port %s: nowhere to put the eventfd", info.name);
	if (dev->irq_enabled)
		return pn_fail(EALREADY, "port %s: its interrupt is enabled already", info.name);
	ret = dev->ops->irq_enable(dev, fd);
	dev->irq_enabled = ret == 0;
	dev->irq_fd = ret ? -1 : *fd;
	return ret;
}

int pn_port_irq_arm(struct pn_port *port)
{
	struct pn_port_dev *dev = pn_port_dev(port);
	struct pn_port_info info;

	if (dev->irq_enabled)
		return dev->ops->irq_arm(dev);
	pn_port_get_info(port, &info);
	return pn_fail(EINVAL, "port %s: its interrupt is not enabled: pn_port_irq_enable() first",
		info.name);
}

int pn_port_irq_disable(struct pn_port *port)
{
	struct pn_port_dev *dev = pn_port_dev(port);

	if (!dev->irq_enabled)
		return 0;
	dev->irq_enabled = false;
	return dev->ops->irq_disable(dev);
}

int pn_port_set_promiscuous(struct pn_port *port, bool on)
{
	struct pn_port_dev *dev = pn_port_dev(port);

	return dev->ops->set_promiscuous(dev, on);
}

int pn_port_set_all_multicast(struct pn_port *port, bool on)
{
	struct pn_port_dev *dev = pn_port_dev(port);

	return dev->ops->set_all_multicast(dev, on);
}

#define MAC_FMT         "%02x:%02x:%02x:%02x:%02x:%02x"
#define MAC_ARGS(bytes) (bytes)[0], (bytes)[1], (bytes)[2], (bytes)[3], (bytes)[4], (bytes)[5]

int pn_port_set_multicast(
	struct pn_port *port, const uint8_t (*groups)[PN_MAC_LEN], unsigned int count)
{
	struct pn_port_dev *dev = pn_port_dev(port);

	if (count && !groups)
		return pn_fail(EINVAL, "%u multicast groups, but no list of them", count);
	for (unsigned int i = 0; i < count; i++) {
		if (!(groups[i][0] & 1))
			return pn_fail(
				EINVAL, MAC_FMT " is not a multicast address", MAC_ARGS(groups[i]));
	}
	return dev->ops->set_multicast(dev, groups, count);
}

int pn_port_set_mac(struct pn_port *port, const uint8_t mac[PN_MAC_LEN])
{
	static const uint8_t zero[PN_MAC_LEN];
	struct pn_port_dev *dev = pn_port_dev(port);

	if ((mac[0] & 1) || !memcmp(mac, zero, PN_MAC_LEN))
		return pn_fail(EADDRNOTAVAIL, MAC_FMT " is not a unicast address", MAC_ARGS(mac));
	return dev->ops->set_mac(dev, mac);
}

int pn_port_set_mtu(struct pn_port *port, uint16_t mtu)
{
	struct pn_port_dev *dev = pn_port_dev(port);
	struct pn_port_info info;

	pn_port_get_info(port, &info);
	if (dev->started)
		return pn_fail(
			EBUSY, "port %s is started: stop it before setting its MTU", info.name);
	if (mtu < info.mtu_min || mtu > info.mtu_max)
		return pn_fail(EINVAL, "port %s: an MTU of %u bytes: must be %u to %u", info.name,
			mtu, info.mtu_min, info.mtu_max);
	return dev->ops->set_mtu(dev, mtu);
}
