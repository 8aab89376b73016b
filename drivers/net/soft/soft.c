/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The parts of a port that need no hardware, and the words of a software port's specification.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "soft.h"

#define DEFAULT_MTU 1500
#define MTU_MIN     68

static int unknown_word(
	const char *spec, const char *word, const struct soft_word *words, size_t count)
{
	char known[256] = "";
	size_t used = 0;

	for (size_t i = 0; i < count; i++) {
		int len = snprintf(
			known + used, sizeof(known) - used, "%s%s=", i ? ", " : "", words[i].key);

		if (len < 0 || (size_t)len >= sizeof(known) - used)
			break;
		used += (size_t)len;
	}
	return pn_fail(EINVAL, "port %s: '%s' is no word of it; there are: %s", spec, word,
		count ? known : "none");
}

static int set_number(const char *spec, const struct soft_word *word, const char *text)
{
	char *end;
	uint64_t value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value < word->min || value > word->max)
		return pn_fail(EINVAL, "port %s: %s '%s': must be %" PRIu64 " to %" PRIu64, spec,
			word->key, text, word->min, word->max);
	*word->number = value;
	return 0;
}

static int set_text(const char *spec, const struct soft_word *word, const char *text)
{
	size_t len = strlen(text);

	if (!len || len >= word->text_size)
		return pn_fail(EINVAL, "port %s: %s takes a text of 1 to %zu bytes", spec,
			word->key, word->text_size - 1);
	memcpy(word->text, text, len + 1);
	return 0;
}

static int set_word(
	const char *spec, const char *given, const struct soft_word *words, size_t count)
{
	const char *equals = strchr(given, '=');
	size_t len = equals ? (size_t)(equals - given) : 0;

	for (size_t i = 0; equals && i < count; i++) {
		if (strlen(words[i].key) != len || strncmp(words[i].key, given, len) != 0)
			continue;
		return words[i].text ? set_text(spec, &words[i], equals + 1)
				     : set_number(spec, &words[i], equals + 1);
	}
	return unknown_word(spec, given, words, count);
}

int soft_parse(const char *spec, const struct soft_word *words, size_t count)
{
	const char *list = strchr(spec, ':');
	char *copy, *word, *rest = NULL;
	int ret = 0;

	if (!list || !list[1])
		return 0;
	copy = strdup(list + 1);
	if (!copy)
		return pn_fail(ENOMEM, "port %s: no memory", spec);
	for (word = strtok_r(copy, ",", &rest); word && !ret; word = strtok_r(NULL, ",", &rest))
		ret = set_word(spec, word, words, count);
	free(copy);
	return ret;
}

int soft_init(struct soft_port *port, const char *spec, const char *driver, const char *device)
{
	uint32_t mix = 2166136261u;

	if (strlen(spec) >= sizeof(port->name))
		return pn_fail(EINVAL, "port %.32s...: longer than %zu bytes", spec,
			sizeof(port->name) - 1);
	strcpy(port->name, spec);
	port->driver = driver;
	port->device = device;
	port->mtu = DEFAULT_MTU;
	/* Locally administered; two ports of one name are told apart by where they lie. */
	for (const char *c = spec; *c; c++)
		mix = (mix ^ (uint8_t)*c) * 16777619u;
	mix ^= (uint32_t)((uintptr_t)port >> 7);
	port->mac[0] = 0x02;
	memcpy(port->mac + 2, &mix, sizeof(mix));
	return 0;
}

void soft_hold(struct soft_port *port, struct pn_pool *pool)
{
	if (pool)
		pn_pool_use(pool);
	if (port->pool)
		pn_pool_unuse(port->pool);
	port->pool = pool;
}

bool soft_valid(const struct pn_buf *packet)
{
	const struct pn_buf *seg = packet;
	uint32_t bytes = 0;

	for (uint8_t i = 0; i < packet->nb_segs; i++, seg = seg->next) {
		if (!seg || !seg->data_len)
			return false;
		bytes += seg->data_len;
	}
	return packet->nb_segs == 1 || (packet->nb_segs && bytes == packet->pkt_len);
}

struct pn_buf *soft_chain(struct pn_pool *pool, const unsigned char *data, uint32_t len)
{
	uint32_t room = pn_pool_buf_room(pool) - PN_BUF_HEADROOM, left = len;
	uint32_t n = len / room + (len % room != 0);
	struct pn_buf *segs[PN_BUF_SEGS_MAX];

	if (!n || n > PN_BUF_SEGS_MAX || pn_pool_get(pool, segs, n))
		return NULL;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t part = left < room ? left : room;

		memcpy(pn_buf_data(segs[i]), data, part);
		segs[i]->data_len = (uint16_t)part;
		segs[i]->next = i + 1 < n ? segs[i + 1] : NULL;
		data += part;
		left -= part;
	}
	segs[0]->nb_segs = (uint8_t)n;
	segs[0]->pkt_len = len;
	return segs[0];
}

void soft_free_odd(struct soft_port *port, struct pn_buf **bufs, uint32_t n)
{
	uint64_t packets = 0, bytes = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (!soft_valid(bufs[i])) {
			soft_count(&port->tx.errors, 1);
			continue;
		}
		packets++;
		bytes += pn_packet_len(bufs[i]);
	}
	pn_buf_free_bulk(bufs, n);
	soft_count(&port->tx.packets, packets);
	soft_count(&port->tx.bytes, bytes);
}

void soft_info(const struct pn_port_dev *dev, struct pn_port_info *info)
{
	const struct soft_port *port = pn_container_of(dev, const struct soft_port, dev);

	info->name = port->name;
	info->driver = port->driver;
	info->device = port->device;
	info->numa_node = PN_NODE_ANY;
	memcpy(info->mac, port->mac, PN_MAC_LEN);
	info->mtu = port->mtu;
	info->mtu_min = MTU_MIN;
	info->mtu_max = UINT16_MAX - PN_BUF_HEADROOM;
	info->rx_queues_max = 1;
	info->tx_queues_max = 1;
	info->rxd_min = info->txd_min = 1;
	info->rxd_max = info->txd_max = 32768;
	info->rxd_align = info->txd_align = 1;
	info->blind = port->blind;
	info->rx_offloads = port->rx_offloads;
}

int soft_configure(struct pn_port_dev *dev, const struct pn_port_conf *conf)
{
	soft_hold(soft_port(dev), conf->rx_pool);
	return 0;
}

static void collect(struct soft_port *port, struct pn_port_stats *stats)
{
	stats->rx_packets = soft_counted(&port->rx.packets);
	stats->rx_bytes = soft_counted(&port->rx.bytes);
	stats->rx_errors = soft_counted(&port->rx.errors);
	stats->rx_missed = soft_counted(&port->rx.missed);
	stats->rx_nombuf = soft_counted(&port->rx.nombuf);
	stats->tx_packets = soft_counted(&port->tx.packets);
	stats->tx_bytes = soft_counted(&port->tx.bytes);
	stats->tx_errors = soft_counted(&port->tx.errors);
	if (port->collect)
		port->collect(port, stats);
}

int soft_stats(struct pn_port_dev *dev, struct pn_port_stats *stats)
{
	struct soft_port *port = soft_port(dev);

	collect(port, stats);
	stats->rx_packets -= port->base.rx_packets;
	stats->rx_bytes -= port->base.rx_bytes;
	stats->rx_errors -= port->base.rx_errors;
	stats->rx_missed -= port->base.rx_missed;
	stats->rx_nombuf -= port->base.rx_nombuf;
	stats->tx_packets -= port->base.tx_packets;
	stats->tx_bytes -= port->base.tx_bytes;
	stats->tx_errors -= port->base.tx_errors;
	return 0;
}

void soft_stats_reset(struct pn_port_dev *dev)
{
	struct soft_port *port = soft_port(dev);

	collect(port, &port->base);
}

int soft_link(struct pn_port_dev *dev, struct pn_port_link *link)
{
	link->up = dev->started;
	link->full_duplex = dev->started;
	link->speed_mbps = dev->started ? 100000 : 0;
	return 0;
}

int soft_irq_enable(struct pn_port_dev *dev, int *fd)
{
	(void)fd;
	return pn_fail(EOPNOTSUPP, "port %s has no interrupt: poll it", soft_port(dev)->name);
}

/* The port layer calls neither of these while no interrupt is enabled. */
int soft_irq_arm(struct pn_port_dev *dev)
{
	(void)dev;
	return 0;
}

int soft_irq_disable(struct pn_port_dev *dev)
{
	(void)dev;
	return 0;
}

/* There is no filter: everything is received, as an imperfect filter may. */
int soft_set_promiscuous(struct pn_port_dev *dev, bool on)
{
	(void)dev;
	(void)on;
	return 0;
}

int soft_set_multicast(
	struct pn_port_dev *dev, const uint8_t (*groups)[PN_MAC_LEN], unsigned int count)
{
	(void)dev;
	(void)groups;
	(void)count;
	return 0;
}

int soft_set_mac(struct pn_port_dev *dev, const uint8_t mac[PN_MAC_LEN])
{
	memcpy(soft_port(dev)->mac, mac, PN_MAC_LEN);
	return 0;
}

int soft_set_mtu(struct pn_port_dev *dev, uint16_t mtu)
{
	soft_port(dev)->mtu = mtu;
	return 0;
}
