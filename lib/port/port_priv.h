/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a driver gives to the port layer. Adding a driver: one folder under drivers/, one line in
 * drivers/drivers.c.
 */
#ifndef PN_PORT_PRIV_H
#define PN_PORT_PRIV_H

#include "pn_port.h"

struct pn_port_dev;

/* Most files that a port sleeps on. */
#define PN_PORT_FDS_MAX (PN_PORT_QUEUES_MAX + 1)

/*
 * Functions of one driver; all are required but those at the end. The port layer checks state
 * (started, configured) and arguments first, stops a started port before close(), and keeps the
 * burst functions of a stopped port at ones that do nothing: start() sets rx_burst, tx_burst, rxq
 * and txq of dev->port as its last act, stop() finds them put away. A failed configure() leaves the
 * port without queues.
 */
struct pn_port_ops {
	void (*close)(struct pn_port_dev *dev);
	void (*info)(const struct pn_port_dev *dev, struct pn_port_info *info);
	int (*configure)(struct pn_port_dev *dev, const struct pn_port_conf *conf);
	int (*start)(struct pn_port_dev *dev);
	void (*stop)(struct pn_port_dev *dev);
	int (*stats)(struct pn_port_dev *dev, struct pn_port_stats *stats);
	void (*stats_reset)(struct pn_port_dev *dev);
	int (*link)(struct pn_port_dev *dev, struct pn_port_link *link);
	/* enable() leaves the interrupt armed if the port is started, and start() arms one that is
	 * enabled. The port layer calls arm() and disable() only while it is enabled, and close()
	 * disables it. */
	int (*irq_enable)(struct pn_port_dev *dev, int *fd);
	int (*irq_arm)(struct pn_port_dev *dev);
	int (*irq_disable)(struct pn_port_dev *dev);
	int (*set_promiscuous)(struct pn_port_dev *dev, bool on);
	int (*set_all_multicast)(struct pn_port_dev *dev, bool on);
	int (*set_multicast)(
		struct pn_port_dev *dev, const uint8_t (*groups)[PN_MAC_LEN], unsigned int count);
	int (*set_mac)(struct pn_port_dev *dev, const uint8_t mac[PN_MAC_LEN]);
	int (*set_mtu)(struct pn_port_dev *dev, uint16_t mtu);

	/* Not required. The driver's own counters: fills in the first count, returns how many there
	 * are, or a negative errno. */
	int (*xstats)(struct pn_port_dev *dev, struct pn_port_xstat *out, unsigned int count);
	/* Files that are readable while a started port has packets: fills in up to
	 * PN_PORT_FDS_MAX, returns how many there are, or a negative errno. It may forget here what
	 * else made them readable: pending() is asked after it. */
	int (*wait_fds)(struct pn_port_dev *dev, int *fds);
	/* Would a burst of a started port receive something, or is its link not as it was told?
	 * Where there is neither this nor a file, nobody knows without trying. */
	bool (*pending)(struct pn_port_dev *dev);
};

/* A driver's port: the public head first, then what the port layer keeps. Drivers embed it. */
struct pn_port_dev {
	struct pn_port port;
	const struct pn_port_ops *ops;
	struct pn_port_opts opts;
	/* What rxq and txq of a stopped port point to; a driver whose queues are the port may say
	 * so in the first. */
	void *no_queue[PN_PORT_QUEUES_MAX];
	int irq_fd; /* while irq_enabled */
	bool configured;
	bool started;
	bool irq_enabled;
};

/* offload.c. 0, or -ENOTSUP with what the port offers, for offloads that it does not. */
int pn_check_offloads(const char *port, const char *what, uint32_t wanted, uint32_t offered);

/* Bytes of a packet, as ports count them: of one segment what that says. */
static inline uint32_t pn_packet_len(const struct pn_buf *packet)
{
	return packet->nb_segs == 1 ? packet->data_len : packet->pkt_len;
}

/*
 * Has a packet the headers for the checksums that it asks for, which are some of
 * PN_BUF_TX_CHECKSUMS? start and offset are those of TCP's or UDP's, as a card wants them: the
 * first byte that is summed, and from there to where the sum goes.
 */
struct pn_checksum {
	uint32_t start, offset;
};
static inline bool pn_checksum_of(
	const struct pn_buf *packet, uint32_t asked, struct pn_checksum *out)
{
	const bool tcp = asked & PN_BUF_TX_TCP, udp = asked & PN_BUF_TX_UDP;
	const uint32_t header = tcp ? 20 : udp ? 8 : 0;

	out->start = (uint32_t)packet->l2_len + packet->l3_len;
	out->offset = tcp ? 16 : 6;
	return packet->l2_len >= 14 && packet->l3_len >= 20 && !(tcp && udp) &&
	       out->start + header <= pn_packet_len(packet);
}

/* What open() returns for a device that another driver may know. */
#define PN_DRIVER_NOT_MINE 1

/*
 * A driver. open() returns 0 and a port; PN_DRIVER_NOT_MINE if the device is not one of its own,
 * with a text that says what it is; or the negative errno of what failed, with its reason.
 */
struct pn_driver {
	const char *name;
	const char *supports; /* for "no driver" messages, e.g. "8086:10d3 (82574L), 8086:100e
				 (82540EM)" */
	/* Asked only for "NAME" or "NAME:...", and the port needs neither domain nor heap: opts
	 * may be NULL. A device's driver is asked for anything else. */
	bool software;
	int (*open)(struct pn_port_dev **out, const char *spec, const struct pn_port_opts *opts);
};

/* Make a port of what a driver has set up: stopped, without queues. opts may be NULL. */
struct pn_port *pn_port_adopt(struct pn_port_dev *dev, const struct pn_port_opts *opts);

/* What the public handle is the head of. */
static inline struct pn_port_dev *pn_port_dev(struct pn_port *port)
{
	return (struct pn_port_dev *)(void *)((char *)port - offsetof(struct pn_port_dev, port));
}

/* drivers/drivers.c; ends with NULL. */
extern const struct pn_driver *const pn_drivers[];

#endif
