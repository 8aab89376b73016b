/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sending by a packet socket: one system call (sendmmsg) for a burst, straight out of the packets'
 * buffers, past the queueing discipline (PACKET_QDISC_BYPASS). The kernel has copied a packet, or
 * refused it, when the call returns. A ring that is mapped (PACKET_TX_RING) was measured to cost a
 * fifth more for small packets: its frames become fragments of pages, each with its reference.
 *
 * With offloads a message has more than the packet's bytes: a virtio_net header, by which the
 * kernel fills in TCP's or UDP's checksum or lets the card do it, and the VLAN tag between two
 * pieces.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "afpacket.h"
#include "base_priv.h"
#include "port_priv.h"

/* What a short frame is padded with. */
static unsigned char padding[ETH_ZLEN];

/* The pieces of a packet as one message; 0 if there is no room for them. */
static unsigned int add_pieces(struct iovec *pieces, unsigned int room, struct pn_buf *packet)
{
	const uint32_t len = pn_packet_len(packet);
	const bool is_short = len < ETH_ZLEN;
	unsigned int n = 0;

	if (packet->nb_segs + (is_short ? 1u : 0u) > room)
		return 0;
	for (struct pn_buf *seg = packet; n < packet->nb_segs; seg = seg->next, n++)
		pieces[n] = (struct iovec){pn_buf_data(seg), seg->data_len};
	if (__builtin_expect(is_short, 0))
		pieces[n++] = (struct iovec){padding, ETH_ZLEN - len};
	return n;
}

/* What the packet asks for; false: it has not the headers for that. */
static bool describe(
	const struct afpacket_tx *tx, const struct pn_buf *packet, struct afpacket_extra *extra)
{
	const uint32_t asked = packet->flags & tx->offloads;
	struct pn_checksum sum;

	extra->head = (struct virtio_net_hdr){0};
	extra->tag[0] = htons(ETH_P_8021Q);
	extra->tag[1] = htons(packet->vlan_tci);
	if (asked & PN_BUF_TX_VLAN && packet->data_len < AFPACKET_ADDRESSES)
		return false;
	if (!(asked & PN_BUF_TX_CHECKSUMS))
		return true;
	if (!pn_checksum_of(packet, asked, &sum))
		return false;
	extra->head.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	extra->head.csum_start =
		(uint16_t)(sum.start + (asked & PN_BUF_TX_VLAN ? AFPACKET_VLAN_LEN : 0));
	extra->head.csum_offset = (uint16_t)sum.offset;
	return true;
}

/* add_pieces() with what describe() has found. */
static unsigned int add_described(const struct afpacket_tx *tx, struct afpacket_extra *extra,
	struct iovec *pieces, unsigned int room, struct pn_buf *packet)
{
	const bool tag = packet->flags & tx->offloads & PN_BUF_TX_VLAN;
	const unsigned int before = (tx->heads ? 1u : 0u) + (tag ? 2u : 0u);
	unsigned int n = room > before ? add_pieces(pieces + before, room - before, packet) : 0;
	struct iovec *first = pieces + before;

	if (!n)
		return 0;
	if (tx->heads)
		pieces[0] = (struct iovec){&extra->head, sizeof(extra->head)};
	if (tag) {
		first[-2] = (struct iovec){first->iov_base, AFPACKET_ADDRESSES};
		first[-1] = (struct iovec){extra->tag, sizeof(extra->tag)};
		first->iov_base = (unsigned char *)first->iov_base + AFPACKET_ADDRESSES;
		first->iov_len -= AFPACKET_ADDRESSES;
	}
	return before + n;
}

/*
 * Messages of the first packets; senseless ones are freed and counted. Returns how many messages
 * there are, *used: how many packets they and the senseless ones were.
 */
static inline __attribute__((always_inline)) unsigned int gather(
	struct afpacket_tx *tx, struct pn_buf **bufs, uint16_t count, uint16_t *used, bool offloads)
{
	unsigned int messages = 0, pieces = 0;
	uint16_t i;

	for (i = 0; i < count && messages < AFPACKET_MESSAGES; i++) {
		struct msghdr *header = &tx->messages[messages].msg_hdr;
		struct afpacket_extra *extra = &tx->extras[messages];
		unsigned int n;

		if (__builtin_expect(!soft_valid(bufs[i]), 0) ||
			(offloads && !describe(tx, bufs[i], extra))) {
			soft_count(&tx->queue.counts->errors, 1);
			pn_buf_free(bufs[i]);
			continue;
		}
		n = offloads ? add_described(tx, extra, &tx->pieces[pieces],
				       AFPACKET_PIECES - pieces, bufs[i])
			     : add_pieces(&tx->pieces[pieces], AFPACKET_PIECES - pieces, bufs[i]);
		if (!n)
			break;
		header->msg_iov = &tx->pieces[pieces];
		header->msg_iovlen = n;
		tx->packets[messages++] = bufs[i];
		pieces += n;
	}
	*used = i;
	return messages;
}

/* Packets that went out. */
static void sent(struct afpacket_tx *tx, unsigned int from, unsigned int n)
{
	uint64_t bytes = 0;

	for (unsigned int i = from; i < from + n; i++)
		bytes += pn_packet_len(tx->packets[i]);
	pn_buf_free_bulk(&tx->packets[from], n);
	soft_count(&tx->queue.counts->packets, n);
	soft_count(&tx->queue.counts->bytes, bytes);
}

/* The interface is down, or gone: not a matter of one packet. */
static bool is_down(int err)
{
	return err == ENETDOWN || err == ENODEV || err == ENXIO;
}

/*
 * Send the messages; returns how many were dealt with: the kernel has the first ones, or refused
 * them. What is left had no room in the socket's buffer.
 */
static unsigned int send_all(struct afpacket_tx *tx, unsigned int count)
{
	bool down = false;
	unsigned int done = 0;

	while (done < count) {
		int n = sendmmsg(tx->fd, &tx->messages[done], count - done, MSG_DONTWAIT);

		if (n > 0) {
			sent(tx, done, (unsigned int)n);
			done += (unsigned int)n;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0 || errno == EAGAIN)
			break;
		if (is_down(errno)) {
			/* The first answer may be old news: of a time when it was down. */
			if (!down) {
				down = true;
				continue;
			}
			netport_drop(&tx->queue, &tx->packets[done], count - done, -errno);
			return count;
		}
		/* It refuses this one: too long (EMSGSIZE), or it had no memory (ENOBUFS). */
		soft_count(&tx->refused, 1);
		soft_count(&tx->queue.counts->errors, 1);
		pn_buf_free(tx->packets[done++]);
	}
	return done;
}

static inline __attribute__((always_inline)) uint16_t tx_burst(
	struct afpacket_tx *tx, struct pn_buf **bufs, uint16_t count, bool offloads)
{
	uint16_t taken = 0;

	while (taken < count) {
		uint16_t used;
		unsigned int messages =
			gather(tx, bufs + taken, (uint16_t)(count - taken), &used, offloads);
		unsigned int done = send_all(tx, messages);

		if (done == messages) {
			taken = (uint16_t)(taken + used);
			continue;
		}
		/* Accepted are always the first ones: those between that make no sense are gone, so
		 * what is left moves behind them. */
		for (unsigned int i = done; i < messages; i++)
			bufs[taken + used - messages + i] = tx->packets[i];
		return (uint16_t)(taken + used - messages + done);
	}
	return taken;
}

uint16_t afpacket_tx_burst(void *queue, struct pn_buf **bufs, uint16_t count)
{
	return tx_burst(queue, bufs, count, false);
}

uint16_t afpacket_tx_burst_offloads(void *queue, struct pn_buf **bufs, uint16_t count)
{
	return tx_burst(queue, bufs, count, true);
}

int afpacket_tx_start(struct afpacket_port *port, unsigned int index)
{
	struct afpacket_tx *tx = port->tx[index];
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_ifindex = port->net.netif.index,
	};
	int on = (int)port->bypass, room = port->net.txd * 1024, head;

	if (!tx) {
		tx = aligned_alloc(_Alignof(struct afpacket_tx), sizeof(*tx));
		if (!tx)
			return pn_fail(ENOMEM, "port %s: no memory", port->net.soft.name);
		memset(tx, 0, sizeof(*tx));
		port->tx[index] = tx;
	}
	tx->queue = (struct netport_queue){&port->net, &port->net.tx_counts[index]};
	port->net.txq[index] = tx;
	tx->offloads = port->net.tx_asked;
	tx->heads = tx->offloads & PN_BUF_TX_CHECKSUMS;
	head = tx->heads;
	/* With protocol 0 it receives nothing. */
	tx->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (tx->fd < 0 || bind(tx->fd, (const struct sockaddr *)&address, sizeof(address)) ||
		setsockopt(tx->fd, SOL_PACKET, PACKET_VNET_HDR, &head, sizeof(head))) {
		int err = errno;

		afpacket_tx_stop(port, index);
		return pn_fail(err, "port %s: a socket to send by: %s", port->net.soft.name,
			strerror(err));
	}
	/* Wishes: the kernel bounds the one, and the other is older than any it runs on. */
	(void)setsockopt(tx->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	(void)setsockopt(tx->fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on));
	return 0;
}

void afpacket_tx_stop(struct afpacket_port *port, unsigned int index)
{
	struct afpacket_tx *tx = port->tx[index];

	if (tx && tx->fd >= 0)
		close(tx->fd);
	if (tx)
		tx->fd = -1;
}
