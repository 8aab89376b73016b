/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tap port: the other end of a network interface that the kernel uses as its own. What the
 * kernel sends there is received, what is sent the kernel receives. "tap" or "tap:iface=NAME", with
 * persist=1 to leave the interface behind. It takes CAP_NET_ADMIN, which a user namespace with a
 * network namespace gives. The kernel fills in checksums and cuts frames before they come here.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "netport.h"

#define NODE     "/dev/net/tun"
#define MTU_MOST 65000
#define VLAN_LEN 4u

struct tap_queue {
	struct netport_queue rx; /* first: what the port layer hands over */
	struct netport_queue tx;
	int fd;
	uint32_t longest;    /* bytes of a received frame */
	uint64_t rx_refused; /* by read(), for another reason than that there is nothing */
	uint64_t tx_refused __attribute__((aligned(128)));
} __attribute__((aligned(128)));

struct tap_port {
	struct netport net;
	char iface[SOFT_NAME_MAX];
	uint64_t persist;
	struct tap_queue *queues[PN_PORT_QUEUES_MAX]; /* the first is open as long as the port */
};

static struct tap_port *tap_port(struct pn_port_dev *dev)
{
	return pn_container_of(netport(dev), struct tap_port, net);
}

/* Buffers for the longest frame; the first pieces are theirs. NULL: the pool has not enough. */
static struct pn_buf *make_room(struct tap_queue *queue, struct iovec *pieces, unsigned int *count)
{
	struct pn_pool *pool = queue->rx.port->soft.pool;
	uint32_t room = pn_pool_buf_room(pool) - PN_BUF_HEADROOM;
	uint32_t n = (queue->longest + room - 1) / room;
	struct pn_buf *segs[PN_BUF_SEGS_MAX];

	if (n > PN_BUF_SEGS_MAX || pn_pool_get(pool, segs, n)) {
		soft_count(&queue->rx.counts->nombuf, 1);
		return NULL;
	}
	for (uint32_t i = 0; i < n; i++) {
		segs[i]->next = i + 1 < n ? segs[i + 1] : NULL;
		pieces[i] = (struct iovec){pn_buf_data(segs[i]), room};
	}
	*count = n;
	return segs[0];
}

/* What was read is so long: buffers that it did not reach go back. */
static void cut_to(struct pn_buf *packet, uint32_t len)
{
	struct pn_buf *seg = packet, *rest;

	packet->pkt_len = len;
	packet->nb_segs = 1;
	for (;;) {
		uint32_t room = seg->room - seg->data_off;

		seg->data_len = (uint16_t)(len < room ? len : room);
		len -= seg->data_len;
		if (!len)
			break;
		seg = seg->next;
		packet->nb_segs++;
	}
	rest = seg->next;
	seg->next = NULL;
	while (rest) {
		struct pn_buf *next = rest->next;

		rest->next = NULL;
		pn_buf_free(rest);
		rest = next;
	}
}

static void free_room(struct pn_buf *packet)
{
	cut_to(packet, 1);
	pn_buf_free(packet);
}

/* One frame straight into buffers. NULL: there is none now. */
static struct pn_buf *read_one(struct tap_queue *queue)
{
	struct iovec pieces[PN_BUF_SEGS_MAX];
	struct pn_buf *packet;
	unsigned int n;
	ssize_t len;

	for (;;) {
		packet = make_room(queue, pieces, &n);
		if (!packet)
			return NULL;
		len = readv(queue->fd, pieces, (int)n);
		if (len < 0) {
			if (errno != EAGAIN && errno != EINTR)
				soft_count(&queue->rx_refused, 1);
			free_room(packet);
			return NULL;
		}
		if (len >= ETH_HLEN && len <= (ssize_t)queue->longest) {
			cut_to(packet, (uint32_t)len);
			return packet;
		}
		free_room(packet);
		soft_count(&queue->rx.counts->errors, 1);
	}
}

static uint16_t tap_rx_burst(void *arg, struct pn_buf **bufs, uint16_t count)
{
	struct tap_queue *queue = arg;
	uint64_t bytes = 0;
	uint16_t n = 0;

	while (n < count) {
		bufs[n] = read_one(queue);
		if (!bufs[n])
			break;
		bytes += bufs[n++]->pkt_len;
	}
	if (n) {
		soft_count(&queue->rx.counts->packets, n);
		soft_count(&queue->rx.counts->bytes, bytes);
	}
	return n;
}

static ssize_t write_one(struct tap_queue *queue, const struct pn_buf *packet)
{
	static unsigned char padding[ETH_ZLEN];
	uint32_t len = pn_packet_len(packet);
	const struct pn_buf *seg = packet;
	struct iovec pieces[PN_BUF_SEGS_MAX + 1];
	unsigned int n = 0;

	for (uint8_t i = 0; i < packet->nb_segs; i++, seg = seg->next)
		pieces[n++] = (struct iovec){pn_buf_data(seg), seg->data_len};
	if (len < ETH_ZLEN)
		pieces[n++] = (struct iovec){padding, ETH_ZLEN - len};
	return writev(queue->fd, pieces, (int)n);
}

/* How it went with one packet. */
enum outcome { SENT, REFUSED, FULL, DOWN };

static enum outcome send_one(struct tap_queue *queue, struct pn_buf *packet)
{
	if (!soft_valid(packet) || packet->nb_segs > PN_BUF_SEGS_MAX)
		return REFUSED;
	while (write_one(queue, packet) < 0) {
		if (errno == EINTR)
			continue;
		if (errno == EAGAIN)
			return FULL;
		/* EIO: the interface is down. EBADFD: it is gone. */
		if (errno == EIO || errno == EBADFD || errno == ENODEV)
			return DOWN;
		soft_count(&queue->tx_refused, 1);
		return REFUSED;
	}
	return SENT;
}

static uint16_t tap_tx_burst(void *arg, struct pn_buf **bufs, uint16_t count)
{
	struct tap_queue *queue = pn_container_of(arg, struct tap_queue, tx);
	uint64_t bytes = 0, packets = 0, errors = 0;
	enum outcome outcome = SENT;
	uint16_t n;

	for (n = 0; n < count; n++) {
		outcome = send_one(queue, bufs[n]);
		if (outcome == FULL || outcome == DOWN)
			break;
		if (outcome == REFUSED) {
			errors++;
			continue;
		}
		packets++;
		bytes += pn_packet_len(bufs[n]);
	}
	pn_buf_free_bulk(bufs, n);
	soft_count(&queue->tx.counts->packets, packets);
	soft_count(&queue->tx.counts->bytes, bytes);
	if (errors)
		soft_count(&queue->tx.counts->errors, errors);
	if (outcome != DOWN)
		return n;
	netport_drop(&queue->tx, bufs + n, (uint32_t)(count - n), -ENETDOWN);
	return count;
}

static int node_fail(const char *port, const char *what, const char *iface)
{
	int err = errno;

	if (err == EPERM)
		return netif_no_capability(port, what, "CAP_NET_ADMIN");
	if (err == EBUSY)
		return pn_fail(
			EBUSY, "port %s: interface %s is in use by another program", port, iface);
	if (err == ENOENT || err == ENXIO)
		return pn_fail(err, "port %s: %s is not there: modprobe tun", port, NODE);
	return pn_fail(
		err, "port %s: %s%s%s: %s", port, what, *iface ? " of " : "", iface, strerror(err));
}

/* One more queue of the interface, which the first one makes. A file, or a negative errno. */
static int open_queue(struct tap_port *port, const char *spec)
{
	struct ifreq ifr = {0};
	int fd, ret;

	ifr.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%.*s", IFNAMSIZ - 1, port->iface);
	fd = open(NODE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return node_fail(spec, "opening " NODE, "");
	if (ioctl(fd, TUNSETIFF, &ifr)) {
		ret = node_fail(spec, "making the interface", port->iface);
		goto close_fd;
	}
	if (ioctl(fd, TUNSETOFFLOAD, 0) || (port->persist && ioctl(fd, TUNSETPERSIST, 1))) {
		ret = node_fail(spec, "setting up the interface", port->iface);
		goto close_fd;
	}
	/* The kernel has chosen one where none was asked for. */
	snprintf(port->iface, sizeof(port->iface), "%s", ifr.ifr_name);
	return fd;

close_fd:
	close(fd);
	return ret;
}

static struct tap_queue *new_queue(struct tap_port *port, unsigned int index)
{
	struct tap_queue *queue = aligned_alloc(_Alignof(struct tap_queue), sizeof(*queue));

	if (!queue)
		return NULL;
	memset(queue, 0, sizeof(*queue));
	queue->rx = (struct netport_queue){&port->net, &port->net.rx_counts[index]};
	queue->tx = (struct netport_queue){&port->net, &port->net.tx_counts[index]};
	queue->fd = -1;
	port->queues[index] = queue;
	port->net.rxq[index] = queue;
	port->net.txq[index] = &queue->tx;
	return queue;
}

/* The kernel spreads what it sends over all queues that are open: those that nobody polls are not.
 */
static void close_queues(struct tap_port *port, unsigned int from)
{
	for (unsigned int i = from; i < PN_PORT_QUEUES_MAX; i++) {
		if (!port->queues[i] || port->queues[i]->fd < 0)
			continue;
		close(port->queues[i]->fd);
		port->queues[i]->fd = -1;
	}
}

static int add_queue(struct tap_port *port, unsigned int index, const char *spec)
{
	struct tap_queue *queue = port->queues[index];
	int fd;

	if (!queue)
		queue = new_queue(port, index);
	if (!queue)
		return pn_fail(ENOMEM, "port %s: no memory", spec);
	if (queue->fd >= 0)
		return 0;
	fd = open_queue(port, spec);
	if (fd < 0)
		return fd;
	queue->fd = fd;
	return 0;
}

/* What came while the port was stopped is of another time. */
static void forget_old(struct tap_queue *queue)
{
	unsigned char byte;

	while (read(queue->fd, &byte, sizeof(byte)) >= 0)
		;
}

static int tap_start(struct pn_port_dev *dev)
{
	struct tap_port *port = tap_port(dev);
	unsigned int count = port->net.rx_queues > port->net.tx_queues ? port->net.rx_queues
								       : port->net.tx_queues;
	struct pn_port_info info;
	int ret = 0;

	netport_info(dev, &info);
	for (unsigned int i = 0; i < count && !ret; i++) {
		ret = add_queue(port, i, port->net.soft.name);
		if (ret)
			break;
		port->queues[i]->longest = info.mtu + ETH_HLEN + VLAN_LEN;
		forget_old(port->queues[i]);
		if (i < port->net.rx_queues)
			ret = netport_add_fd(&port->net, port->queues[i]->fd);
	}
	if (!ret)
		ret = netif_up(&port->net.netif);
	if (ret) {
		netport_drop_fds(&port->net);
		close_queues(port, 1);
		return ret;
	}
	netport_run(&port->net, tap_rx_burst, tap_tx_burst);
	return 0;
}

static void tap_stop(struct pn_port_dev *dev)
{
	struct tap_port *port = tap_port(dev);

	netport_drop_fds(&port->net);
	close_queues(port, 1);
}

static void free_port(struct tap_port *port)
{
	close_queues(port, 0);
	for (unsigned int i = 0; i < PN_PORT_QUEUES_MAX; i++)
		free(port->queues[i]);
	free(port);
}

static void tap_close(struct pn_port_dev *dev)
{
	struct tap_port *port = tap_port(dev);

	/* It goes with its last file: there is nothing to put back. */
	if (!port->persist)
		port->net.netif.mac_changed = port->net.netif.mtu_changed = false;
	netport_release(&port->net);
	free_port(port);
}

static int tap_xstats(struct pn_port_dev *dev, struct pn_port_xstat *out, unsigned int count)
{
	struct tap_port *port = tap_port(dev);
	struct netport_counter own[] = {{"rx_read_errors", 0}, {"tx_kernel_refused", 0}};

	for (unsigned int i = 0; i < PN_PORT_QUEUES_MAX; i++) {
		const struct tap_queue *queue = port->queues[i];

		if (!queue)
			continue;
		own[0].value += soft_counted(&queue->rx_refused);
		own[1].value += soft_counted(&queue->tx_refused);
	}
	return netport_xstats(&port->net, own, PN_ARRAY_SIZE(own), out, count);
}

static const struct pn_port_ops tap_ops = {
	NETPORT_OPS,
	.close = tap_close,
	.start = tap_start,
	.stop = tap_stop,
	/* All that the kernel sends there comes: there is no filter. */
	.set_promiscuous = soft_set_promiscuous,
	.set_all_multicast = soft_set_promiscuous,
	.set_multicast = soft_set_multicast,
	.xstats = tap_xstats,
};

static int parse(struct tap_port *port, const char *spec)
{
	const struct soft_word words[] = {
		{"iface", .text = port->iface, .text_size = sizeof(port->iface)},
		{"persist", .number = &port->persist, .max = 1},
	};
	int ret = soft_parse(spec, words, PN_ARRAY_SIZE(words));

	if (ret)
		return ret;
	if (!*port->iface)
		strcpy(port->iface, "pntap%d");
	else
		ret = netif_check_name(spec, port->iface);
	return ret;
}

static int set_up(struct tap_port *port, const char *spec)
{
	int ret = add_queue(port, 0, spec);

	if (!ret)
		ret = netif_open(&port->net.netif, spec, port->iface, false);
	if (!ret)
		ret = netport_init(&port->net, spec, "tap", "an interface of the kernel's");
	return ret;
}

static int tap_open(struct pn_port_dev **out, const char *spec, const struct pn_port_opts *opts)
{
	struct tap_port *port = aligned_alloc(_Alignof(struct tap_port), sizeof(*port));
	int ret;

	(void)opts;
	if (!port)
		return pn_fail(ENOMEM, "port %s: no memory", spec);
	memset(port, 0, sizeof(*port));
	port->net.epoll = -1;
	netif_init(&port->net.netif);
	ret = parse(port, spec);
	if (!ret)
		ret = set_up(port, spec);
	if (ret) {
		netport_release(&port->net);
		free_port(port);
		return ret;
	}
	port->net.queues_max = PN_PORT_QUEUES_MAX;
	snprintf(port->net.note, sizeof(port->net.note), "interface %s%s", port->iface,
		port->persist ? ", persistent" : "");
	port->net.mtu_max = MTU_MOST;
	port->net.soft.dev.ops = &tap_ops;
	*out = &port->net.soft.dev;
	return 0;
}

const struct pn_driver tap_driver = {
	.name = "tap",
	.supports = "tap[:iface=NAME][,persist=1]",
	.software = true,
	.open = tap_open,
};
