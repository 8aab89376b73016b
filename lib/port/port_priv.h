/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a driver gives to the port layer. Adding a driver: one folder under drivers/, one line in
 * drivers/drivers.c.
 */
#ifndef PN_PORT_PRIV_H
#define PN_PORT_PRIV_H

#include "pn_port.h"

struct pn_port_dev;

/*
 * Functions of one driver; all are required. The port layer checks state (started, configured) and
 * arguments first, stops a started port before close(), and keeps the burst functions of a stopped
 * port at ones that do nothing: start() sets rx_burst, tx_burst, rxq and txq of dev->port as its
 * last act, stop() finds them put away. A failed configure() leaves the port without queues.
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
};

/* A driver's port: the public head first, then what the port layer keeps. Drivers embed it. */
struct pn_port_dev {
	struct pn_port port;
	const struct pn_port_ops *ops;
	struct pn_port_opts opts;
	void *no_queue; /* what rxq and txq of a stopped port point to */
	bool configured;
	bool started;
	bool irq_enabled;
};

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

/* drivers/drivers.c; ends with NULL. */
extern const struct pn_driver *const pn_drivers[];

#endif
