/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Poll-mode ports: the one interface to every network driver. Open, configure queues, start, then
 * receive and transmit bursts; statistics, link and filters beside it.
 *
 * Thread-safety: a port has no lock. One thread may receive, another transmit, and a third call
 * what is marked "control" below, all at once; two that do the same need a lock of the caller's.
 * Configuring, starting, stopping and closing take the port away from all others: no burst and no
 * other call on that port may run at the same time, so end the threads that poll it first.
 * Different ports are independent.
 */
#ifndef PN_PORT_H
#define PN_PORT_H

#include "pn_base.h"
#include "pn_dma.h"
#include "pn_mem.h"
#include "pn_pkt.h"
#include "pn_ring.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Receives or transmits a burst on one queue; see pn_port_rx_burst() and pn_port_tx_burst(). */
typedef uint16_t (*pn_burst_fn)(void *queue, struct pn_buf **bufs, uint16_t count);

/** A port. The fields are for the inline functions below only. */
struct pn_port {
	pn_burst_fn rx_burst;
	pn_burst_fn tx_burst;
	void **rxq;
	void **txq;
};

#define PN_MAC_LEN 6
/** Most queues of a port, each way. */
#define PN_PORT_QUEUES_MAX 16u

/** What a port needs from its application. */
struct pn_port_opts {
	struct pn_domain *domain; /**< where the device is attached; must outlive the port */
	struct pn_heap *heap; /**< memory for descriptor rings, mapped in that domain; must outlive
				 the port */
	/** VF token of the device, PN_PCI_VF_TOKEN_LEN bytes, read while it is opened; see
	 * pn_pci_open_vf_token(). NULL: none. */
	const uint8_t *vf_token;
};

/**
 * Open a port: find the driver for a device and take it over. It is stopped and has no queues.
 *
 * @param[out] out the port; the caller owns it
 * @param spec     a PCI device as for pn_pci_find(), or a software port: "null", "ring", "pcap",
 *                 "afpacket", "afxdp", "tap", with words behind it as in "null:size=128" or
 *                 "afpacket:iface=eth0"
 * @param opts     needed for a device; may be NULL for a software port
 * @return 0; -ENOTSUP if no driver knows the device (the text lists what is supported); -EINVAL for
 * words that make no sense; of a port on a network interface: -ENODEV if there is none of that
 * name, -EPERM with the capability that is missing; else as pn_pci_open(). Thread-safety: any
 * thread.
 */
PN_API int pn_port_open(struct pn_port **out, const char *spec, const struct pn_port_opts *opts);

/** Whether a specification names a software port, which needs neither domain nor heap.
 * Thread-safety: any thread. */
PN_API bool pn_port_is_software(const char *spec);

/**
 * Make a port of two rings of packets (struct pn_buf *), for instance to connect two threads: what
 * one port sends into a ring another receives from it. Packets are handed on by address, and are
 * not looked at.
 *
 * @param[out] out the port; the caller owns it
 * @param name     for messages and pn_port_info
 * @param rx       to receive from; must outlive the port, as must tx
 * @param tx       to send into; may be the same
 * @return 0; -EINVAL; -ENOMEM. What is in the rings when the port stops stays there.
 * Thread-safety: any thread.
 */
PN_API int pn_port_open_rings(
	struct pn_port **out, const char *name, struct pn_ring *rx, struct pn_ring *tx);

/**
 * Stop the port, give back its buffers and memory, close the device. NULL is allowed.
 * Thread-safety: one thread; it must not run beside a burst or any other call on the port.
 */
PN_API void pn_port_close(struct pn_port *port);

/** What a port is and can do. Texts belong to the port. */
struct pn_port_info {
	const char *name;   /**< PCI address, or the software port's specification */
	const char *driver; /**< "e1000" */
	const char *device; /**< device name, e.g. "82574L Gigabit Network Connection" */
	int numa_node;
	uint8_t mac[PN_MAC_LEN];
	uint16_t mtu; /**< bytes, without Ethernet header and FCS */
	uint16_t mtu_min, mtu_max;
	uint16_t rx_queues_max, tx_queues_max;
	uint16_t rxd_min, rxd_max, rxd_align; /**< descriptors of a receive queue */
	uint16_t txd_min, txd_max, txd_align;
	bool started;
	bool blind; /**< packets are handed on unseen: no bytes are counted, and none is refused or
		       padded */
	uint32_t rx_offloads; /**< PN_BUF_RX_... flags that received packets can have */
	uint32_t tx_offloads; /**< PN_BUF_TX_... flags that can be honoured */
	const char *note;     /**< how it does its work where there is a choice, e.g. "native XDP,
				 copied"; else "" */
};

/** What the port is now. Thread-safety: control; not beside a change of what it tells (MAC, MTU).
 */
PN_API void pn_port_get_info(const struct pn_port *port, struct pn_port_info *info);

/** Queues of a port. */
struct pn_port_conf {
	uint16_t rxd;            /**< receive descriptors; 0: 256 */
	uint16_t txd;            /**< transmit descriptors; 0: 256 */
	struct pn_pool *rx_pool; /**< buffers to receive into; held, so that it cannot be destroyed,
				    until the port is closed or configured with another */
	uint16_t rx_queues;      /**< receive queues, up to rx_queues_max; 0: 1 */
	uint16_t tx_queues;      /**< transmit queues, up to tx_queues_max; 0: 1 */
	uint32_t rx_offloads;    /**< PN_BUF_RX_... flags that packets shall have, of those that the
				    port offers. What it knows anyway it tells unasked, except
				    PN_BUF_RX_VLAN: without it tags stay in their frames */
	uint32_t tx_offloads;    /**< PN_BUF_TX_... flags to be honoured, of those that the port
				    offers; others are not looked at */
};

/**
 * Set the queues up, numbered from 0. What is received is spread over the receive queues by flow.
 * The port must be stopped; an earlier configuration is undone.
 * @return 0; -EINVAL (queues, descriptors: the text gives the range; buffers too small; offloads
 * that the device has only together); -ENOTSUP for offloads that it does not offer (the text lists
 * what it does); -EBUSY if started; -ENOMEM. Thread-safety: one thread, beside no burst and no
 * other call on the port.
 */
PN_API int pn_port_configure(struct pn_port *port, const struct pn_port_conf *conf);

/**
 * Start: fill the receive ring, enable receiver, transmitter and link.
 * @return 0; -EINVAL if not configured; -EALREADY; -ENOBUFS if the pool is too small for the ring
 * (the text says how many buffers are needed); -EIO if the device does not answer. The port stays
 * stopped on failure. Thread-safety: one thread, beside no burst and no other call on the port.
 */
PN_API int pn_port_start(struct pn_port *port);

/**
 * Stop receiving and transmitting, and give every buffer in the rings back to its pool.
 * @return 0. Thread-safety: one thread; it must not run beside a burst or any other call on the
 * port: a burst would go on with rings that are being emptied.
 */
PN_API int pn_port_stop(struct pn_port *port);

/**
 * Receive a burst.
 * @param queue below the receive queues configured
 * @param bufs  room for count packets; the caller owns what it gets
 * @return packets received, 0 to count.
 * While the port is stopped it returns 0. Thread-safety: one thread at a time per queue, and not
 * beside pn_port_stop() or pn_port_close().
 */
static inline uint16_t pn_port_rx_burst(
	struct pn_port *port, uint16_t queue, struct pn_buf **bufs, uint16_t count)
{
	return port->rx_burst(port->rxq[queue], bufs, count);
}

/**
 * Transmit a burst. Packets accepted belong to the port, which frees them when they are sent; the
 * others stay the caller's. A frame shorter than Ethernet's minimum is padded with zeros in the
 * tail room of its last segment; pkt_len stays. A packet that cannot be sent is accepted, counted
 * as an error (tx_errors) and freed: one with an empty segment, one longer than the device takes,
 * one with more segments than the ring holds or than it says it has, one of several segments whose
 * pkt_len is not their sum, one that asks for an offload and has not the headers for it, and a
 * short frame without tail room to pad. Sent buffers are given back in later calls: a pool must
 * hold enough for the receive ring, the transmit ring and the bursts in flight.
 * @return packets accepted, 0 to count, always the first ones.
 * While the port is stopped it returns 0. Thread-safety: one thread at a time per queue, which may
 * be another than the one that receives, and not beside pn_port_stop() or pn_port_close().
 */
static inline uint16_t pn_port_tx_burst(
	struct pn_port *port, uint16_t queue, struct pn_buf **bufs, uint16_t count)
{
	return port->tx_burst(port->txq[queue], bufs, count);
}

/** Counters since pn_port_open() or pn_port_stats_reset(). Bytes are without FCS. */
struct pn_port_stats {
	uint64_t rx_packets, rx_bytes; /**< handed to the application */
	uint64_t tx_packets, tx_bytes; /**< given to the device */
	uint64_t rx_missed;            /**< dropped by the device: no descriptor or FIFO full */
	uint64_t rx_errors;            /**< dropped by the device or the driver: bad frame */
	uint64_t rx_nombuf;            /**< receptions put off because the pool was empty */
	uint64_t rx_bad_desc; /**< descriptors whose length or state made no sense: dropped by the
				 driver */
	uint64_t tx_errors;
	uint64_t hw_rx_packets,
		hw_rx_bytes; /**< the device's own count of good packets, bytes with FCS */
	uint64_t hw_tx_packets, hw_tx_bytes;
};

/**
 * Read the counters.
 * @return 0; -EIO if the device does not answer: stats holds what was known last.
 * Thread-safety: control; one thread at a time, as the device's counters are cleared by reading.
 * Beside a burst it sees the burst's counts a little later.
 */
PN_API int pn_port_get_stats(struct pn_port *port, struct pn_port_stats *stats);
/** Count from 0 again. @return 0. Thread-safety: as pn_port_get_stats(). */
PN_API int pn_port_stats_reset(struct pn_port *port);

/** A counter with a name. */
struct pn_port_xstat {
	char name[48]; /**< e.g. "rx_packets", "rx_q1_packets", "rx_kernel_drops" */
	uint64_t value;
};

/**
 * Read all counters by name: those of struct pn_port_stats, then the driver's own. Names and their
 * order stay the same from pn_port_configure() to the next.
 *
 * @param[out] out room for count of them; may be NULL if count is 0
 * @return how many there are, which may be more than count: the first ones are filled in then;
 * -EINVAL; -EIO if the device does not answer. Thread-safety: as pn_port_get_stats().
 */
PN_API int pn_port_get_xstats(struct pn_port *port, struct pn_port_xstat *out, unsigned int count);

/** State of the link. */
struct pn_port_link {
	bool up;
	bool full_duplex;
	uint32_t speed_mbps; /**< 0 while down, or not known */
};

/** Read the state of the link. @return 0; -EIO if the device does not answer. Thread-safety:
 * control. */
PN_API int pn_port_get_link(struct pn_port *port, struct pn_port_link *link);

/**
 * Enable interrupts, for an application that sleeps while nothing comes: MSI-X where the device has
 * it, else MSI, else INTx. A port on a network interface has a file of the kernel's that is
 * readable as long as packets are there, in place of an eventfd: the same loop serves. None is
 * enabled by default, and bursts cost the same with and without.
 *
 * The eventfd becomes readable when packets have arrived on receive queue 0, or the link went up or
 * down, while the port is started. It is one shot: each of the two reasons is signalled at most
 * once until pn_port_irq_arm(). This function arms it if the port is started, and so does every
 * pn_port_start(): interrupts stay enabled over pn_port_stop().
 *
 * A loop that sleeps:
 *
 *     poll fd
 *     receive bursts until one is empty; pn_port_get_link()
 *     pn_port_irq_arm()
 *     receive once more, and begin anew
 *
 * @param[out] fd nonblocking; belongs to the port until pn_port_irq_disable() or pn_port_close()
 * @return 0; -EALREADY; -EOPNOTSUPP if the device has no interrupt at all
 * (pn_port_wait() can wait for it nevertheless); the errors of
 * pn_pci_irq_enable(); -EIO if the device does not answer. Nothing is enabled then.
 * Thread-safety: the thread that receives from queue 0, or one while nobody does.
 */
PN_API int pn_port_irq_enable(struct pn_port *port, int *fd);

/**
 * Arm the interrupt again after it fired: call this, then receive once more before sleeping. It
 * clears the eventfd; there is no need to read it.
 *
 * No wake-up is lost. If packets are there already when it is armed, or the link is not as it was
 * when the application last looked (pn_port_get_link()) or was told, it fires at once; also while
 * the receive ring is nearly empty because its pool is, as only bursts refill it. It may fire for
 * packets that the poll after arming has taken. On a stopped port it does nothing.
 * @return 0; -EINVAL if interrupts are not enabled; -EIO if the device does not answer: do not
 * sleep then. Thread-safety: the thread that receives from queue 0.
 */
PN_API int pn_port_irq_arm(struct pn_port *port);

/**
 * Disable interrupts (nothing enabled: 0) and close the eventfd, whatever is returned.
 * @return 0 or a negative errno. Thread-safety: one thread; not while another waits on the eventfd
 * or arms.
 */
PN_API int pn_port_irq_disable(struct pn_port *port);

/** Most ports that can be waited for at once. */
#define PN_PORT_WAIT_MAX 64u

/**
 * Sleep until one of these ports may have packets, on any of its receive queues, or its link may
 * have changed: for an application that has found them all empty. Ports on a network interface
 * sleep in the kernel until it has something, and so do devices whose interrupt is enabled (which
 * this function arms); for others the thread naps, from 50 microseconds on and no longer than 1 ms
 * at a time, and looks.
 *
 * @param ports      started ones; a stopped one never has anything
 * @param count      1 to PN_PORT_WAIT_MAX
 * @param timeout_ms as of poll(): -1 waits without end
 * @return 1: receive; there need not be anything. 0: the time is over. -EINTR: a signal arrived;
 * -EINVAL; another negative errno of the system call that failed.
 * Thread-safety: the thread that receives from these ports; others may send.
 */
PN_API int pn_port_wait(struct pn_port *const *ports, unsigned int count, int timeout_ms);

/** Receive every unicast packet, or only those for this port. @return 0; -EIO if the device does
 * not answer. Thread-safety: control; one thread at a time sets filters (this to
 * pn_port_set_mac()). */
PN_API int pn_port_set_promiscuous(struct pn_port *port, bool on);
/** Receive every multicast packet, or only those of the list. @return and thread-safety: as
 * pn_port_set_promiscuous(). */
PN_API int pn_port_set_all_multicast(struct pn_port *port, bool on);
/**
 * Receive these multicast groups. The device filters by hash: others may pass.
 * @return 0; -EINVAL if one is not a multicast address; -EIO. Thread-safety: as
 * pn_port_set_promiscuous().
 */
PN_API int pn_port_set_multicast(
	struct pn_port *port, const uint8_t (*groups)[PN_MAC_LEN], unsigned int count);
/** Set the unicast address until close. @return 0; -EADDRNOTAVAIL if it is zero or multicast; -EIO.
 * Thread-safety: as pn_port_set_promiscuous(). */
PN_API int pn_port_set_mac(struct pn_port *port, const uint8_t mac[PN_MAC_LEN]);
/** Set the MTU, bytes; the port must be stopped. @return 0; -EINVAL outside mtu_min..mtu_max;
 * -EBUSY if started. Thread-safety: one thread, beside no other call on the port. */
PN_API int pn_port_set_mtu(struct pn_port *port, uint16_t mtu);

#ifdef __cplusplus
}
#endif

#endif
