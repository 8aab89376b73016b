/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of the afpacket port: one packet socket with a ring of blocks for each receive queue,
 * one socket for each transmit queue.
 */
#ifndef AFPACKET_H
#define AFPACKET_H

#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "netport.h"

/* Packets and pieces of one sendmmsg(). */
#define AFPACKET_MESSAGES 64u
#define AFPACKET_PIECES   256u

#define AFPACKET_VLAN_LEN  4u
#define AFPACKET_ADDRESSES (2u * PN_MAC_LEN)

/* What there is of offloads. The kernel fills in no IP header's checksum for a packet socket. */
#define AFPACKET_RX_OFFLOADS \
	(PN_BUF_RX_VLAN | PN_BUF_RX_HASH | PN_BUF_RX_TIMESTAMP | PN_BUF_RX_L4_GOOD)
#define AFPACKET_TX_OFFLOADS (PN_BUF_TX_VLAN | PN_BUF_TX_TCP | PN_BUF_TX_UDP)

struct afpacket_rx {
	struct netport_queue queue;
	int fd;
	unsigned char *ring;
	uint32_t block_size;
	uint32_t blocks;
	/* The block that is being read. */
	uint32_t block;
	uint32_t left;  /* packets */
	uint32_t frame; /* offset of the next one in it */
	bool timestamps;
	bool hashes;
	bool take_tags; /* out of frames; else they are put back */
	/* What the kernel counted, as of earlier questions: it begins anew with each. */
	uint64_t drops;
	uint64_t freezes;
	/* Frames that were refused. */
	uint64_t cut;   /* did not fit the ring's blocks */
	uint64_t large; /* not yet cut into segments by the sender (GSO) */
} __attribute__((aligned(128)));

/* What a message has beside the packet's bytes, where the packet asks for an offload. */
struct afpacket_extra {
	struct virtio_net_hdr head;
	uint16_t tag[2];
};

struct afpacket_tx {
	struct netport_queue queue;
	int fd;
	uint32_t offloads; /* PN_BUF_TX_... that are looked at */
	bool heads;        /* the socket takes a virtio_net header before each packet */
	uint64_t refused;  /* by the kernel: longer than the MTU, no memory */
	struct mmsghdr messages[AFPACKET_MESSAGES];
	struct iovec pieces[AFPACKET_PIECES];
	struct pn_buf *packets[AFPACKET_MESSAGES];
	struct afpacket_extra extras[AFPACKET_MESSAGES];
} __attribute__((aligned(128)));

struct afpacket_port {
	struct netport net;
	char iface[SOFT_NAME_MAX];
	char fanout[16];
	uint64_t bypass;
	uint64_t block_size; /* 0: for the MTU */
	uint64_t block_time; /* ms until a block that is not full is handed over */
	uint64_t timestamps, hashes;
	struct afpacket_rx *rx[PN_PORT_QUEUES_MAX];
	struct afpacket_tx *tx[PN_PORT_QUEUES_MAX];
};

static inline struct afpacket_port *afpacket_port(struct pn_port_dev *dev)
{
	return pn_container_of(netport(dev), struct afpacket_port, net);
}

uint16_t afpacket_rx_burst(void *queue, struct pn_buf **bufs, uint16_t count);
uint16_t afpacket_tx_burst(void *queue, struct pn_buf **bufs, uint16_t count);
uint16_t afpacket_tx_burst_offloads(void *queue, struct pn_buf **bufs, uint16_t count);

/* Make what a queue needs, and end it. rx: *group is the fanout group, made by the first queue. */
int afpacket_rx_start(struct afpacket_port *port, unsigned int index, int *group);
void afpacket_rx_stop(struct afpacket_port *port, unsigned int index);
int afpacket_tx_start(struct afpacket_port *port, unsigned int index);
void afpacket_tx_stop(struct afpacket_port *port, unsigned int index);
/* Ask the kernel what it dropped. One thread at a time. */
void afpacket_rx_count(struct afpacket_rx *rx);

#endif
