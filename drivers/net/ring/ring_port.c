/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ring port: what is sent goes into a ring, what comes out of a ring is received. A ring of its
 * own leads back to itself ("ring" or "ring:size=1024"); rings of the application's connect threads
 * (pn_port_open_rings()). Packets are handed on by address and not looked at. Between processes
 * (ring_shared_port.c) they are copied.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "ring_shared_port.h"
#include "soft.h"

#define SIZE_DEFAULT 1024
#define SIZE_MOST    (1u << 20)

struct ring_port {
	struct soft_port soft;
	struct pn_ring *in;  /* received from */
	struct pn_ring *out; /* sent into */
	struct pn_ring *own; /* both, if the port made it */
};

static struct ring_port *ring_port(struct pn_port_dev *dev)
{
	return pn_container_of(soft_port(dev), struct ring_port, soft);
}

SOFT_BURST ring_rx(void *queue, struct pn_buf **bufs, uint16_t count)
{
	struct ring_port *port = queue;

	count = (uint16_t)pn_ring_dequeue_burst(port->in, bufs, count);
	soft_count(&port->soft.rx.packets, count);
	return count;
}

SOFT_BURST ring_tx(void *queue, struct pn_buf **bufs, uint16_t count)
{
	struct ring_port *port = queue;

	count = (uint16_t)pn_ring_enqueue_burst(port->out, bufs, count);
	soft_count(&port->soft.tx.packets, count);
	return count;
}

SOFT_BURST_AVX2(ring_rx)
SOFT_BURST_AVX2(ring_tx)

static int ring_start(struct pn_port_dev *dev)
{
	dev->no_queue[0] = ring_port(dev);
	dev->port.rx_burst = SOFT_BURST_BEST(ring_rx);
	dev->port.tx_burst = SOFT_BURST_BEST(ring_tx);
	return 0;
}

/* What is in a ring of the application's belongs to who uses its other end. */
static void ring_stop(struct pn_port_dev *dev)
{
	struct ring_port *port = ring_port(dev);
	struct pn_buf *bufs[64];
	uint64_t n;

	if (!port->own)
		return;
	while ((n = pn_ring_dequeue_burst(port->own, bufs, PN_ARRAY_SIZE(bufs))))
		pn_buf_free_bulk(bufs, (uint32_t)n);
}

static void ring_close(struct pn_port_dev *dev)
{
	struct ring_port *port = ring_port(dev);

	soft_hold(&port->soft, NULL);
	pn_ring_destroy(port->own);
	free(port);
}

static bool ring_pending(struct pn_port_dev *dev)
{
	return pn_ring_count(ring_port(dev)->in) != 0;
}

static const struct pn_port_ops ring_ops = {
	.close = ring_close,
	.info = soft_info,
	.configure = soft_configure,
	.start = ring_start,
	.stop = ring_stop,
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
	.pending = ring_pending,
};

static struct ring_port *new_port(void)
{
	struct ring_port *port = aligned_alloc(_Alignof(struct ring_port), sizeof(*port));

	if (port) {
		memset(port, 0, sizeof(*port));
		port->soft.dev.ops = &ring_ops;
		port->soft.blind = true;
	}
	return port;
}

static int open_own(struct pn_port_dev **out, const char *spec, uint64_t size)
{
	struct ring_port *port = new_port();
	int ret;

	if (!port)
		return pn_fail(ENOMEM, "port %s: no memory", spec);
	ret = soft_init(&port->soft, spec, "ring", "a ring that leads back to the port");
	if (!ret && pn_ring_create(&port->own, size, PN_RING_SP | PN_RING_SC))
		ret = pn_fail_prefix(-EINVAL, "port %s: ", spec);
	if (ret) {
		free(port);
		return ret;
	}
	port->in = port->own;
	port->out = port->own;
	*out = &port->soft.dev;
	return 0;
}

static int ring_open(struct pn_port_dev **out, const char *spec, const struct pn_port_opts *opts)
{
	char listens[SOFT_NAME_MAX] = "", connects[SOFT_NAME_MAX] = "";
	struct ring_shared_opts shared = {.size = SIZE_DEFAULT, .slot = PN_BUF_DATA_ROOM};
	const struct soft_word words[] = {
		{"size", .number = &shared.size, .min = 1, .max = SIZE_MOST},
		{"listen", .text = listens, .text_size = sizeof(listens)},
		{"connect", .text = connects, .text_size = sizeof(connects)},
		{"slot", .number = &shared.slot, .min = 1, .max = UINT32_MAX},
	};
	int ret = soft_parse(spec, words, PN_ARRAY_SIZE(words));

	(void)opts;
	if (ret)
		return ret;
	if (*listens && *connects)
		return pn_fail(EINVAL, "port %s: it listens or connects, not both", spec);
	if (!*listens && !*connects)
		return open_own(out, spec, shared.size);
	shared.listens = *listens;
	shared.name = *listens ? listens : connects;
	return ring_shared_open(out, spec, &shared);
}

int pn_port_open_rings(
	struct pn_port **out, const char *name, struct pn_ring *rx, struct pn_ring *tx)
{
	struct ring_port *port;
	int ret;

	if (!out || !name || !rx || !tx)
		return pn_fail(EINVAL, "a port of rings needs a name, a ring to receive from, and "
				       "one to send into");
	port = new_port();
	if (!port)
		return pn_fail(ENOMEM, "port %s: no memory", name);
	ret = soft_init(&port->soft, name, "ring", "rings of the application");
	if (ret) {
		free(port);
		return ret;
	}
	port->in = rx;
	port->out = tx;
	*out = pn_port_adopt(&port->soft.dev, NULL);
	return 0;
}

const struct pn_driver ring_driver = {
	.name = "ring",
	.supports = "ring[:size=PACKETS][,listen=NAME|connect=NAME][,slot=BYTES]",
	.software = true,
	.open = ring_open,
};
