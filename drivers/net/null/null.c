/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The null port: receives packets that nobody sent, as fast as they are taken, and sends to nobody.
 * Each packet is a buffer from the pool with its metadata written, and goes back there when it is
 * sent: what remains is what the runtime itself costs. "null" or "null:size=64".
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "soft.h"

#define SIZE_DEFAULT 64
#define SIZE_MOST    9216

struct null_port {
	struct soft_port soft;
	struct pn_buf packet; /* what a received one looks like, from state to l4_len */
	uint64_t size;        /* bytes of a packet */
};

static struct null_port *null_port(struct pn_port_dev *dev)
{
	return pn_container_of(soft_port(dev), struct null_port, soft);
}

/* The pool has less than was asked for: take what there is, by halves. */
static __attribute__((noinline)) uint16_t get_some(
	struct null_port *port, struct pn_buf **bufs, uint16_t count)
{
	soft_count(&port->soft.rx.nombuf, 1);
	do {
		count /= 2;
	} while (count && pn_pool_get_raw(port->soft.pool, bufs, count));
	return count;
}

SOFT_BURST null_rx(void *queue, struct pn_buf **bufs, uint16_t count)
{
	typedef uint64_t fields __attribute__((vector_size(32)));
	const size_t first = offsetof(struct pn_buf, state);
	struct null_port *port = queue;
	fields packet;

	_Static_assert(
		offsetof(struct pn_buf, pool) - offsetof(struct pn_buf, state) == sizeof(packet),
		"from state to l4_len");
	if (__builtin_expect(pn_pool_get_raw(port->soft.pool, bufs, count), 0))
		count = get_some(port, bufs, count);
	/* From state to l4_len in one store; four in a round: 3 instructions less a packet. */
	memcpy(&packet, (const char *)&port->packet + first, sizeof(packet));
#pragma GCC unroll 4
	for (uint32_t i = 0; i < count; i++)
		memcpy((char *)bufs[i] + first, &packet, sizeof(packet));
	soft_count(&port->soft.rx.packets, count);
	return count;
}

SOFT_BURST null_tx(void *queue, struct pn_buf **bufs, uint16_t count)
{
	struct null_port *port = queue;
	struct pn_pool *pool;
	uint64_t bytes;

	if (!count)
		return 0;
	pool = bufs[0]->pool;
	if (__builtin_expect(!pn_bufs_plain(bufs, count, pool, true, &bytes), 0)) {
		soft_free_odd(&port->soft, bufs, count);
		return count;
	}
	pn_pool_put_raw(pool, bufs, count);
	soft_count(&port->soft.tx.packets, count);
	soft_count(&port->soft.tx.bytes, bytes);
	return count;
}

SOFT_BURST_AVX2(null_rx)
SOFT_BURST_AVX2(null_tx)

static int null_configure(struct pn_port_dev *dev, const struct pn_port_conf *conf)
{
	struct null_port *port = null_port(dev);
	uint32_t room = pn_pool_buf_room(conf->rx_pool);

	if (port->size > room - PN_BUF_HEADROOM)
		return pn_fail(EINVAL,
			"port %s: packets of %u bytes do not fit the pool's buffers: %u",
			port->soft.name, (unsigned int)port->size, room - PN_BUF_HEADROOM);
	port->packet = (struct pn_buf){
		.state = PN_BUF_PLAIN,
		.data_off = PN_BUF_HEADROOM,
		.data_len = (uint16_t)port->size,
		.pkt_len = (uint32_t)port->size,
		.room = (uint16_t)room,
	};
	return soft_configure(dev, conf);
}

static int null_start(struct pn_port_dev *dev)
{
	struct null_port *port = null_port(dev);

	/* The queues are the port: its counters are all they have. */
	dev->no_queue[0] = port;
	dev->port.rx_burst = SOFT_BURST_BEST(null_rx);
	dev->port.tx_burst = SOFT_BURST_BEST(null_tx);
	return 0;
}

static void null_stop(struct pn_port_dev *dev)
{
	(void)dev;
}

/* All received packets are of one size. */
static void null_collect(struct soft_port *soft, struct pn_port_stats *stats)
{
	struct null_port *port = pn_container_of(soft, struct null_port, soft);

	stats->rx_bytes += stats->rx_packets * port->size;
}

static void null_close(struct pn_port_dev *dev)
{
	struct null_port *port = null_port(dev);

	soft_hold(&port->soft, NULL);
	free(port);
}

static bool null_pending(struct pn_port_dev *dev)
{
	(void)dev;
	return true;
}

static const struct pn_port_ops null_ops = {
	.close = null_close,
	.info = soft_info,
	.configure = null_configure,
	.start = null_start,
	.stop = null_stop,
	.stats = soft_stats,
	.stats_reset = soft_stats_reset,
	.link = soft_link,
	.irq_enable = soft_irq_enable,
	.irq_arm = soft_irq_arm,
	.irq_disable = soft_irq_disable,
	.set_promiscuous = soft_set_promiscuous,
	.set_all_multicast = soft_set_promiscuous,
	.set_multicast = soft_set_multicast,
	.set_mac = soft_set_mac,
	.set_mtu = soft_set_mtu,
	.pending = null_pending,
};

static int null_open(struct pn_port_dev **out, const char *spec, const struct pn_port_opts *opts)
{
	struct null_port *port = aligned_alloc(_Alignof(struct null_port), sizeof(*port));
	const struct soft_word words[] = {
		{"size", .number = port ? &port->size : NULL, .min = 1, .max = SIZE_MOST},
	};
	int ret;

	(void)opts;
	if (!port)
		return pn_fail(ENOMEM, "port %s: no memory", spec);
	memset(port, 0, sizeof(*port));
	port->size = SIZE_DEFAULT;
	ret = soft_parse(spec, words, PN_ARRAY_SIZE(words));
	if (!ret)
		ret = soft_init(&port->soft, spec, "null", "packets from nowhere to nowhere");
	if (ret) {
		free(port);
		return ret;
	}
	port->soft.dev.ops = &null_ops;
	port->soft.collect = null_collect;
	*out = &port->soft.dev;
	return 0;
}

const struct pn_driver null_driver = {
	.name = "null",
	.supports = "null[:size=BYTES]",
	.software = true,
	.open = null_open,
};
