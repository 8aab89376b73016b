/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receiving from a packet socket: the kernel fills blocks of a ring that is mapped here
 * (TPACKET_V3), and hands over one at a time; no system call is made for a packet or a block. Each
 * frame is copied into a buffer of the pool. Checksums that a local sender left to its card are
 * filled in, and VLAN tags that the kernel took out are put back, unless they are to be told.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "afpacket.h"
#include "base_priv.h"
#include "checksum.h"

#define VLAN_LEN  AFPACKET_VLAN_LEN
#define ADDRESSES AFPACKET_ADDRESSES
/* Before a frame in a block: its own header, an address, a virtio_net header, alignment. */
#define FRAME_HEAD 192u

static struct tpacket_block_desc *block_at(const struct afpacket_rx *rx, uint32_t block)
{
	return (struct tpacket_block_desc *)(void *)(rx->ring + (size_t)block * rx->block_size);
}

/* Begin with the block that the kernel handed over; false: it has not yet. */
static bool open_block(struct afpacket_rx *rx)
{
	struct tpacket_block_desc *block = block_at(rx, rx->block);

	if (!(__atomic_load_n(&block->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
		return false;
	rx->left = block->hdr.bh1.num_pkts;
	rx->frame = block->hdr.bh1.offset_to_first_pkt;
	return true;
}

static void close_block(struct afpacket_rx *rx)
{
	struct tpacket_block_desc *block = block_at(rx, rx->block);

	__atomic_store_n(&block->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
	rx->block = rx->block + 1 == rx->blocks ? 0 : rx->block + 1;
	rx->left = 0;
}

/* A frame in its block: where the bytes are, and what was said about them. */
struct frame {
	const struct tpacket3_hdr *header;
	const unsigned char *data;
	uint32_t len;
	const struct virtio_net_hdr *about;
};

/* The next frame, if all of it is within the block; what follows it is the next one then. */
static bool next_frame(struct afpacket_rx *rx, struct frame *frame)
{
	const unsigned char *block = rx->ring + (size_t)rx->block * rx->block_size;
	const struct tpacket3_hdr *header;
	uint64_t data, end;

	if (rx->frame > rx->block_size - sizeof(*header) || rx->frame % 8)
		return false;
	header = (const struct tpacket3_hdr *)(const void *)(block + rx->frame);
	data = (uint64_t)rx->frame + header->tp_mac;
	end = data + header->tp_snaplen;
	if (header->tp_mac < sizeof(*header) + sizeof(struct virtio_net_hdr) ||
		end > rx->block_size)
		return false;
	frame->header = header;
	frame->data = block + data;
	frame->len = header->tp_snaplen;
	frame->about = (const struct virtio_net_hdr *)(const void *)(frame->data -
								     sizeof(struct virtio_net_hdr));
	rx->frame += header->tp_next_offset;
	return true;
}

/* Can it be handed on: whole, and no longer than a wire would carry? */
static bool acceptable(struct afpacket_rx *rx, const struct frame *frame)
{
	if (__builtin_expect(frame->len < ETH_HLEN || frame->len != frame->header->tp_len, 0)) {
		soft_count(&rx->cut, 1);
		return false;
	}
	if (__builtin_expect(frame->about->gso_type != VIRTIO_NET_HDR_GSO_NONE, 0)) {
		soft_count(&rx->large, 1);
		return false;
	}
	return true;
}

/* The bytes, with the tag that was taken out behind the addresses again. NULL: no buffers. */
static struct pn_buf *copy_long(struct pn_pool *pool, const struct frame *frame, bool tag)
{
	unsigned char *whole;
	struct pn_buf *packet;

	if (!tag)
		return soft_chain(pool, frame->data, frame->len);
	whole = malloc(frame->len + VLAN_LEN);
	if (!whole)
		return NULL;
	memcpy(whole, frame->data, ADDRESSES);
	memcpy(whole + ADDRESSES + VLAN_LEN, frame->data + ADDRESSES, frame->len - ADDRESSES);
	packet = soft_chain(pool, whole, frame->len + VLAN_LEN);
	free(whole);
	return packet;
}

static uint16_t tag_type(const struct tpacket3_hdr *header)
{
	return header->tp_status & TP_STATUS_VLAN_TPID_VALID ? (uint16_t)header->hv1.tp_vlan_tpid
							     : ETH_P_8021Q;
}

static void put_tag(struct pn_buf *packet, const struct tpacket3_hdr *header)
{
	uint16_t tag[2] = {htons(tag_type(header)), htons((uint16_t)header->hv1.tp_vlan_tci)};

	memcpy(pn_buf_data(packet) + ADDRESSES, tag, sizeof(tag));
}

static void describe(
	const struct afpacket_rx *rx, struct pn_buf *packet, const struct tpacket3_hdr *header)
{
	if (header->tp_status & TP_STATUS_CSUM_VALID)
		packet->flags |= PN_BUF_RX_L4_GOOD;
	if (rx->hashes) {
		packet->hash = header->hv1.tp_rxhash;
		packet->flags |= PN_BUF_RX_HASH;
	}
	if (rx->timestamps) {
		pn_buf_get_more(packet)->timestamp =
			(uint64_t)header->tp_sec * 1000000000u + header->tp_nsec;
		packet->flags |= PN_BUF_RX_TIMESTAMP;
	}
}

/* Fill the packet from the frame; a longer one takes more buffers in place of this one. */
static bool fill(struct afpacket_rx *rx, struct pn_buf **packet, const struct frame *frame)
{
	const uint32_t room = (*packet)->room - (*packet)->data_off;
	const bool tagged = frame->header->tp_status & TP_STATUS_VLAN_VALID;
	/* Of another kind of tag a packet could not say so. */
	const bool tell = tagged && rx->take_tags && tag_type(frame->header) == ETH_P_8021Q;
	const bool tag = tagged && !tell;
	const uint32_t len = frame->len + (tag ? VLAN_LEN : 0);
	unsigned char *data = pn_buf_data(*packet);

	if (__builtin_expect(len > room, 0)) {
		struct pn_buf *chain = copy_long(rx->queue.port->soft.pool, frame, tag);

		if (!chain) {
			soft_count(&rx->queue.counts->missed, 1);
			return false;
		}
		pn_buf_free(*packet);
		*packet = chain;
	} else if (__builtin_expect(tag, 0)) {
		memcpy(data, frame->data, ADDRESSES);
		memcpy(data + ADDRESSES + VLAN_LEN, frame->data + ADDRESSES,
			frame->len - ADDRESSES);
		(*packet)->data_len = (uint16_t)len;
	} else {
		memcpy(data, frame->data, frame->len);
		(*packet)->data_len = (uint16_t)len;
	}
	(*packet)->pkt_len = len;
	if (tag)
		put_tag(*packet, frame->header);
	if (frame->about->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		checksum_fill(*packet, frame->about->csum_start + (tag ? VLAN_LEN : 0),
			CHECKSUM_ALL, frame->about->csum_offset);
	if (__builtin_expect(tell, 0)) {
		(*packet)->vlan_tci = (uint16_t)frame->header->hv1.tp_vlan_tci;
		(*packet)->flags |= PN_BUF_RX_VLAN;
	}
	describe(rx, *packet, frame->header);
	return true;
}

/* Up to count packets of the open block. */
static uint16_t take(struct afpacket_rx *rx, struct pn_buf **bufs, uint16_t count, uint64_t *bytes)
{
	uint16_t n = 0;

	while (n < count && rx->left) {
		struct frame frame;

		rx->left--;
		if (__builtin_expect(!next_frame(rx, &frame), 0)) {
			/* The rest of the block cannot be told from it either. */
			soft_count(&rx->queue.counts->errors, 1 + (uint64_t)rx->left);
			rx->left = 0;
			break;
		}
		__builtin_prefetch(rx->ring + (size_t)rx->block * rx->block_size +
				   (rx->frame < rx->block_size ? rx->frame : 0));
		if (__builtin_expect(!acceptable(rx, &frame), 0)) {
			soft_count(&rx->queue.counts->errors, 1);
			continue;
		}
		if (!fill(rx, &bufs[n], &frame))
			continue;
		*bytes += bufs[n]->pkt_len;
		n++;
	}
	return n;
}

uint16_t afpacket_rx_burst(void *queue, struct pn_buf **bufs, uint16_t count)
{
	struct afpacket_rx *rx = queue;
	uint64_t bytes = 0;
	uint16_t n = 0;

	while (n < count) {
		uint16_t want = (uint16_t)(count - n), got, filled;

		if (!rx->left && !open_block(rx))
			break;
		if (want > rx->left)
			want = (uint16_t)rx->left;
		got = want ? netport_get(&rx->queue, bufs + n, want) : 0;
		if (want && !got)
			break;
		filled = take(rx, bufs + n, got, &bytes);
		pn_buf_free_bulk(bufs + n + filled, (uint32_t)(got - filled));
		n = (uint16_t)(n + filled);
		if (!rx->left)
			close_block(rx);
	}
	if (n) {
		soft_count(&rx->queue.counts->packets, n);
		soft_count(&rx->queue.counts->bytes, bytes);
	}
	return n;
}

static int sys_fail(struct afpacket_port *port, const char *what)
{
	int err = errno;

	if (err == EPERM)
		return netif_no_capability(port->net.soft.name, what, "CAP_NET_RAW");
	return pn_fail(err, "port %s: %s: %s", port->net.soft.name, what, strerror(err));
}

/* Bytes of a block: one page, or what the longest frame takes. */
static uint32_t block_bytes(const struct afpacket_port *port)
{
	uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);
	uint32_t need = port->net.soft.mtu + ETH_HLEN + VLAN_LEN + FRAME_HEAD, size = page;

	while (size < need || size < port->block_size)
		size *= 2;
	return size;
}

static int make_ring(struct afpacket_port *port, struct afpacket_rx *rx)
{
	uint32_t per_block, frame = 2048;
	struct tpacket_req3 request = {
		.tp_retire_blk_tov = (unsigned int)port->block_time,
		.tp_feature_req_word = rx->hashes ? TP_FT_REQ_FILL_RXHASH : 0,
	};

	rx->block_size = block_bytes(port);
	per_block = rx->block_size / frame;
	/* Room for so many of the longest frames, and many more of the short ones. */
	rx->blocks = (port->net.rxd + per_block - 1) / per_block;
	if (rx->blocks < 8)
		rx->blocks = 8;
	request.tp_block_size = rx->block_size;
	request.tp_block_nr = rx->blocks;
	request.tp_frame_size = frame;
	request.tp_frame_nr = rx->blocks * per_block;
	if (setsockopt(rx->fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof(request)))
		return pn_fail(errno, "port %s: a receive ring of %u blocks of %u bytes: %s",
			port->net.soft.name, rx->blocks, rx->block_size, strerror(errno));
	rx->ring = mmap(NULL, (size_t)rx->block_size * rx->blocks, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_POPULATE, rx->fd, 0);
	if (rx->ring == MAP_FAILED) {
		rx->ring = NULL;
		return sys_fail(port, "mapping the receive ring");
	}
	return 0;
}

static int fanout_mode(const struct afpacket_port *port)
{
	if (strcmp(port->fanout, "lb") == 0)
		return PACKET_FANOUT_LB;
	return strcmp(port->fanout, "cpu") ? PACKET_FANOUT_HASH : PACKET_FANOUT_CPU;
}

/* Several queues share what arrives. The first makes a group of a number that nobody has. */
static int join(struct afpacket_port *port, struct afpacket_rx *rx, int *group)
{
	int mode = fanout_mode(port);
	socklen_t size = sizeof(*group);
	int value;

	if (port->net.rx_queues < 2)
		return 0;
	value = *group < 0 ? (mode | PACKET_FANOUT_FLAG_UNIQUEID) << 16 : *group | mode << 16;
	if (setsockopt(rx->fd, SOL_PACKET, PACKET_FANOUT, &value, sizeof(value)))
		return sys_fail(port, "spreading packets over queues (PACKET_FANOUT)");
	if (*group < 0 && getsockopt(rx->fd, SOL_PACKET, PACKET_FANOUT, &value, &size))
		return sys_fail(port, "asking for the fanout group");
	*group = value & 0xffff;
	return 0;
}

static int set_up(struct afpacket_port *port, struct afpacket_rx *rx, int *group)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = port->net.netif.index,
	};
	int version = TPACKET_V3, on = 1, ret;

	rx->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (rx->fd < 0)
		return sys_fail(port, "a packet socket");
	if (setsockopt(rx->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) ||
		setsockopt(rx->fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)))
		return sys_fail(port, "a packet socket with TPACKET_V3 and a virtio_net header");
	/* What the host itself sends there is not received; Linux before 4.20 cannot. */
	(void)setsockopt(rx->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on));
	ret = make_ring(port, rx);
	if (ret)
		return ret;
	if (bind(rx->fd, (const struct sockaddr *)&address, sizeof(address)))
		return sys_fail(port, "binding to the interface");
	ret = join(port, rx, group);
	return ret ? ret : netport_add_fd(&port->net, rx->fd);
}

int afpacket_rx_start(struct afpacket_port *port, unsigned int index, int *group)
{
	struct afpacket_rx *rx = port->rx[index];
	int ret;

	/* The counters go on. */
	if (!rx) {
		rx = aligned_alloc(_Alignof(struct afpacket_rx), sizeof(*rx));
		if (!rx)
			return pn_fail(ENOMEM, "port %s: no memory", port->net.soft.name);
		memset(rx, 0, sizeof(*rx));
		port->rx[index] = rx;
	}
	rx->queue = (struct netport_queue){&port->net, &port->net.rx_counts[index]};
	rx->fd = -1;
	rx->ring = NULL;
	rx->block = rx->left = 0;
	rx->timestamps = port->timestamps || port->net.rx_asked & PN_BUF_RX_TIMESTAMP;
	rx->hashes = port->hashes || port->net.rx_asked & PN_BUF_RX_HASH;
	rx->take_tags = port->net.rx_asked & PN_BUF_RX_VLAN;
	port->net.rxq[index] = rx;
	ret = set_up(port, rx, group);
	if (ret)
		afpacket_rx_stop(port, index);
	return ret;
}

void afpacket_rx_stop(struct afpacket_port *port, unsigned int index)
{
	struct afpacket_rx *rx = port->rx[index];

	if (!rx || rx->fd < 0)
		return;
	afpacket_rx_count(rx);
	if (rx->ring)
		munmap(rx->ring, (size_t)rx->block_size * rx->blocks);
	close(rx->fd);
	rx->ring = NULL;
	rx->fd = -1;
}

void afpacket_rx_count(struct afpacket_rx *rx)
{
	struct tpacket_stats_v3 now;
	socklen_t size = sizeof(now);

	if (rx->fd < 0 || getsockopt(rx->fd, SOL_PACKET, PACKET_STATISTICS, &now, &size))
		return;
	rx->drops += now.tp_drops;
	rx->freezes += now.tp_freeze_q_cnt;
}
