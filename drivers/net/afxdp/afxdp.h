/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of the afxdp port. afxdp.c is the port, defer.c how packets come in batches, kernel.c
 * the libraries, the program that hands packets over, and sockets; umem.c the memory that the
 * kernel receives into and sends from, and its entry in the ledger; burst.c moves packets.
 *
 * The memory is the pool's own where its buffers can be frames (2,048 to 4,096 bytes, on a kernel
 * that takes frames of any size): then a packet is never copied by the port. Else it is memory of
 * the port's, and packets are copied.
 */
#ifndef AFXDP_H
#define AFXDP_H

#include <xdp/xsk.h>

#include "netport.h"

/* What the kernel keeps free before a received frame. */
#define AFXDP_HEADROOM 256u

struct pn_ledger;
struct afxdp_library;

/* Whose a frame is. */
enum afxdp_owner {
	AFXDP_OURS, /* nobody's, or a packet's of the application */
	AFXDP_RECEIVES,
	AFXDP_SENDS,
};

struct afxdp_umem {
	struct xsk_umem *xsk;
	unsigned char *area; /* page-aligned */
	uint64_t size;
	bool direct;     /* frames are the pool's buffers */
	uint64_t first;  /* offset of the first frame */
	uint64_t stride; /* from one frame to the next */
	uint32_t count;  /* frames */
	uint32_t frame;  /* bytes of one */
	uint8_t *owners; /* of each frame: what the kernel names is looked up here */
	uint32_t *spare; /* without direct: frames to send from, a run of txd for each queue */
	struct pn_region *own; /* memory that is not the pool's */
	struct pn_ledger *ledger;
};

struct afxdp_queue {
	struct netport_queue rx; /* first: what the port layer hands over */
	struct netport_queue tx;
	struct afxdp_umem *umem;
	struct xsk_socket *socket;
	int fd;
	bool busy_poll;
	uint16_t longest; /* bytes of a frame that may be sent */
	struct xsk_ring_cons received;
	struct xsk_ring_prod fill;
	uint32_t wanting;      /* frames that the fill ring lacks, as the pool was empty */
	uint64_t rx_senseless; /* descriptors */
	uint64_t rx_copied;
	/* Another thread may send. */
	struct xsk_ring_prod send __attribute__((aligned(128)));
	struct xsk_ring_cons completed;
	uint32_t in_flight, room;
	uint32_t *spare;
	uint32_t spare_count;
	uint64_t tx_senseless;
	uint64_t tx_copied;
	uint64_t tx_wakeups;
} __attribute__((aligned(128)));

enum afxdp_mode { AFXDP_AUTO, AFXDP_ZEROCOPY, AFXDP_NATIVE, AFXDP_GENERIC };

struct afxdp_port {
	struct netport net;
	char iface[SOFT_NAME_MAX];
	char mode_word[16];
	enum afxdp_mode mode;
	uint64_t first_queue;
	uint64_t busy_budget; /* packets of one busy poll; 0: none */
	uint64_t defer_us;    /* see defer.c; 0: the interface's own */
	bool deferred;
	const struct afxdp_library *lib;
	int map, program, link; /* of BPF; -1: none */
	const char *way;        /* in which it was attached */
	struct afxdp_umem umem;
	struct afxdp_queue *queues[PN_PORT_QUEUES_MAX];
	unsigned int queue_count;      /* started */
	struct xdp_statistics counted; /* of sockets that are closed */
};

static inline struct afxdp_port *afxdp_port(struct pn_port_dev *dev)
{
	return pn_container_of(netport(dev), struct afxdp_port, net);
}

/* kernel.c. Load libxdp and libbpf; once a process. */
int afxdp_load(const char *port, const struct afxdp_library **lib);
/* Attach the program in the best way the interface has, and open the sockets of all queues. */
int afxdp_attach(struct afxdp_port *port);
/* Say how it works now. */
void afxdp_note(struct afxdp_port *port);
void afxdp_detach(struct afxdp_port *port);
/* Add up what the kernel counted. */
void afxdp_statistics(struct afxdp_port *port, struct xdp_statistics *sum);

/* defer.c. Let the interface defer interrupts, and put back what there was. */
void afxdp_defer(struct afxdp_port *port);
void afxdp_defer_no_more(struct afxdp_port *port);

/* umem.c. Find or make the memory; release() undoes it. */
int afxdp_umem_prepare(struct afxdp_port *port, bool zero_copy);
/* The kernel has taken it, or not: what it says of a refusal. */
int afxdp_umem_refused(struct afxdp_port *port, int err);
void afxdp_umem_record(struct afxdp_port *port);
/* After the sockets are closed: buffers go back to the pool, memory to the kernel. */
void afxdp_umem_release(struct afxdp_port *port);

/* burst.c */
void afxdp_fill(struct afxdp_queue *queue);
uint16_t afxdp_rx_burst(void *queue, struct pn_buf **bufs, uint16_t count);
uint16_t afxdp_rx_copy_burst(void *queue, struct pn_buf **bufs, uint16_t count);
uint16_t afxdp_tx_burst(void *tx, struct pn_buf **bufs, uint16_t count);

#endif
