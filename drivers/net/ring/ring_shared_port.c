/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A ring port with its other end in another process: "ring:listen=NAME" there, "ring:connect=NAME"
 * here, in any order; size= and slot= (bytes of packet in one slot, a longer one takes several) are
 * the listener's. While the other end is away the link is down, and nothing is accepted; what was
 * accepted waits in the listener's memory for who connects next. When the listener itself has
 * ended, the one that connected receives what is left, and must be stopped and started to find a
 * new one.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base_priv.h"
#include "ring_peer.h"
#include "ring_shared_port.h"

/* Bursts that find nothing between two looks at the other end. */
#define LOOK_EVERY 1024u

struct ring_shared_port {
	struct soft_port soft;
	struct ring_peer peer;
	char name[SOFT_NAME_MAX];
	struct shared_ring ring;
	/* What bursts use: &ring once there is memory. */
	struct shared_ring *ready;
	bool up;
	bool other; /* who listens has other memory than this port: started anew */
	bool said_senseless;
	pthread_mutex_t lock; /* of peer, and of looking after it */
	unsigned int rx_idle, tx_idle;
};

static struct ring_shared_port *shared_port(struct pn_port_dev *dev)
{
	return pn_container_of(soft_port(dev), struct ring_shared_port, soft);
}

static bool is_up(struct ring_shared_port *port)
{
	return __atomic_load_n(&port->up, __ATOMIC_RELAXED);
}

static void set_up_flag(struct ring_shared_port *port, bool up)
{
	__atomic_store_n(&port->up, up, __ATOMIC_RELAXED);
}

/* The memory has come. It is the port's until it stops: other memory is not taken. */
static void joined(struct ring_shared_port *port, int fd, uint32_t size, uint32_t slot)
{
	if (port->ready) {
		bool same = shared_ring_same(&port->ring, fd);

		close(fd);
		if (same)
			shared_ring_mend(&port->ring);
		else
			ring_peer_hang_up(&port->peer);
		port->other = !same;
		set_up_flag(port, same);
		return;
	}
	if (slot > pn_pool_buf_room(port->soft.pool) - PN_BUF_HEADROOM) {
		pn_log(PN_LOG_ERROR, "port %s: slots of %u bytes do not fit the pool's buffers: %u",
			port->soft.name, slot, pn_pool_buf_room(port->soft.pool) - PN_BUF_HEADROOM);
		port->other = true;
	} else if (shared_ring_join(&port->ring, port->soft.name, fd, size, slot)) {
		pn_log(PN_LOG_ERROR, "%s", pn_error());
		port->other = true;
	} else {
		__atomic_store_n(&port->ready, &port->ring, __ATOMIC_RELEASE);
		set_up_flag(port, true);
		return;
	}
	close(fd);
	ring_peer_hang_up(&port->peer);
}

/* Look after the other end: has it ended, has it come? Under the lock. */
static void look_after(struct ring_shared_port *port)
{
	uint32_t size, slot;
	int fd;

	if (is_up(port) && ring_peer_alive(&port->peer))
		return;
	set_up_flag(port, false);
	if (port->peer.listens)
		set_up_flag(port, ring_peer_accept(&port->peer, &port->ring));
	else if (!port->other && ring_peer_connect(&port->peer, &fd, &size, &slot))
		joined(port, fd, size, slot);
}

/* From a burst: who looks already is not waited for. */
static __attribute__((noinline)) void glance(struct ring_shared_port *port)
{
	if (pthread_mutex_trylock(&port->lock))
		return;
	look_after(port);
	pthread_mutex_unlock(&port->lock);
}

/* It wrote what makes no sense: it is hung up on, as if it had ended. */
static __attribute__((noinline)) void senseless(struct ring_shared_port *port)
{
	pthread_mutex_lock(&port->lock);
	set_up_flag(port, false);
	ring_peer_hang_up(&port->peer);
	port->other = !port->peer.listens;
	shared_ring_mend(&port->ring);
	if (!port->said_senseless)
		pn_log(PN_LOG_ERROR,
			"port %s: the other end's position in the memory makes no sense: hung up",
			port->soft.name);
	port->said_senseless = true;
	pthread_mutex_unlock(&port->lock);
}

static uint16_t shared_rx(void *queue, struct pn_buf **bufs, uint16_t count)
{
	struct ring_shared_port *port = queue;
	struct shared_ring *ring = __atomic_load_n(&port->ready, __ATOMIC_ACQUIRE);
	struct soft_counts *rx = &port->soft.rx;
	uint64_t bytes = 0, errors = 0;
	bool dry = false;
	int n = 0;

	if (ring)
		n = shared_ring_take(ring, port->soft.pool, bufs, count, &bytes, &errors, &dry);
	if (__builtin_expect(n < 0, 0)) {
		soft_count(&rx->errors, 1);
		senseless(port);
		return 0;
	}
	if (n) {
		soft_count(&rx->packets, (uint64_t)n);
		soft_count(&rx->bytes, bytes);
	} else if (++port->rx_idle % LOOK_EVERY == 0) {
		glance(port);
	}
	if (errors)
		soft_count(&rx->errors, errors);
	if (dry)
		soft_count(&rx->nombuf, 1);
	return (uint16_t)n;
}

static uint16_t shared_tx(void *queue, struct pn_buf **bufs, uint16_t count)
{
	struct ring_shared_port *port = queue;
	struct shared_ring *ring = __atomic_load_n(&port->ready, __ATOMIC_ACQUIRE);
	struct soft_counts *tx = &port->soft.tx;
	uint64_t bytes = 0, errors = 0;
	int n = 0;

	if (ring && is_up(port))
		n = shared_ring_put(ring, bufs, count, &bytes, &errors);
	if (__builtin_expect(n < 0, 0)) {
		senseless(port);
		return 0;
	}
	if (n < count && ++port->tx_idle % LOOK_EVERY == 0)
		glance(port);
	if (!n)
		return 0;
	pn_buf_free_bulk(bufs, (uint32_t)n);
	soft_count(&tx->packets, (uint64_t)n - errors);
	soft_count(&tx->bytes, bytes);
	if (errors)
		soft_count(&tx->errors, errors);
	return (uint16_t)n;
}

static int shared_configure(struct pn_port_dev *dev, const struct pn_port_conf *conf)
{
	struct ring_shared_port *port = shared_port(dev);
	uint32_t room = pn_pool_buf_room(conf->rx_pool) - PN_BUF_HEADROOM;

	if (port->peer.listens && port->ring.slot > room)
		return pn_fail(EINVAL,
			"port %s: slots of %u bytes do not fit the pool's buffers: %u",
			port->soft.name, port->ring.slot, room);
	return soft_configure(dev, conf);
}

static int shared_start(struct pn_port_dev *dev)
{
	struct ring_shared_port *port = shared_port(dev);

	dev->no_queue[0] = port;
	port->other = false;
	port->said_senseless = false;
	glance(port);
	dev->port.rx_burst = shared_rx;
	dev->port.tx_burst = shared_tx;
	return 0;
}

/* What is in the memory stays there, for when the port is started again or the other end reads. */
static void shared_stop(struct pn_port_dev *dev)
{
	struct ring_shared_port *port = shared_port(dev);

	ring_peer_hang_up(&port->peer);
	set_up_flag(port, false);
	if (port->peer.listens)
		return;
	port->ready = NULL;
	shared_ring_end(&port->ring);
}

static void free_port(struct ring_shared_port *port)
{
	ring_peer_close(&port->peer);
	shared_ring_end(&port->ring);
	pthread_mutex_destroy(&port->lock);
	free(port);
}

static void shared_close(struct pn_port_dev *dev)
{
	soft_hold(soft_port(dev), NULL);
	free_port(shared_port(dev));
}

static int shared_link(struct pn_port_dev *dev, struct pn_port_link *link)
{
	struct ring_shared_port *port = shared_port(dev);

	if (dev->started) {
		pthread_mutex_lock(&port->lock);
		look_after(port);
		pthread_mutex_unlock(&port->lock);
	}
	link->up = dev->started && is_up(port);
	link->full_duplex = link->up;
	link->speed_mbps = link->up ? 100000 : 0;
	return 0;
}

static bool shared_pending(struct pn_port_dev *dev)
{
	struct ring_shared_port *port = shared_port(dev);
	bool before = is_up(port);
	struct shared_ring *ring;

	glance(port);
	ring = __atomic_load_n(&port->ready, __ATOMIC_ACQUIRE);
	return before != is_up(port) || (ring && shared_ring_any(ring));
}

static const struct pn_port_ops shared_ops = {
	.close = shared_close,
	.info = soft_info,
	.configure = shared_configure,
	.start = shared_start,
	.stop = shared_stop,
	.stats = soft_stats,
	.stats_reset = soft_stats_reset,
	.link = shared_link,
	.irq_enable = soft_irq_enable,
	.irq_arm = soft_irq_arm,
	.irq_disable = soft_irq_disable,
	.set_promiscuous = soft_set_promiscuous,
	.set_all_multicast = soft_set_promiscuous,
	.set_multicast = soft_set_multicast,
	.set_mac = soft_set_mac,
	.set_mtu = soft_set_mtu,
	.pending = shared_pending,
};

static int set_up(
	struct ring_shared_port *port, const char *spec, const struct ring_shared_opts *opts)
{
	int ret = soft_init(&port->soft, spec, "ring", "rings shared with another process");

	if (!ret)
		ret = ring_peer_check_name(port->soft.name, opts->name);
	if (ret)
		return ret;
	strcpy(port->name, opts->name);
	port->peer.port = port->soft.name;
	port->peer.name = port->name;
	port->peer.listens = opts->listens;
	if (!opts->listens)
		return 0;
	ret = shared_ring_make(
		&port->ring, port->soft.name, (uint32_t)opts->size, (uint32_t)opts->slot);
	if (ret)
		return ret;
	port->ready = &port->ring;
	return ring_peer_listen(&port->peer);
}

int ring_shared_open(
	struct pn_port_dev **out, const char *spec, const struct ring_shared_opts *opts)
{
	struct ring_shared_port *port =
		aligned_alloc(_Alignof(struct ring_shared_port), sizeof(*port));
	int ret;

	if (!port)
		return pn_fail(ENOMEM, "port %s: no memory", spec);
	memset(port, 0, sizeof(*port));
	pthread_mutex_init(&port->lock, NULL);
	port->peer.listener = port->peer.connection = port->ring.fd = -1;
	port->soft.dev.ops = &shared_ops;
	ret = set_up(port, spec, opts);
	if (ret) {
		free_port(port);
		return ret;
	}
	*out = &port->soft.dev;
	return 0;
}
