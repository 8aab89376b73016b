/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every driver, in the order in which they are asked. Adding one: a folder here, its entry point
 * declared and listed below, its sources in meson.build.
 */
#include "port_priv.h"

extern const struct pn_driver afpacket_driver;
extern const struct pn_driver afxdp_driver;
extern const struct pn_driver e1000_driver;
extern const struct pn_driver null_driver;
extern const struct pn_driver pcap_driver;
extern const struct pn_driver ring_driver;
extern const struct pn_driver tap_driver;

const struct pn_driver *const pn_drivers[] = {
	&null_driver,
	&ring_driver,
#ifdef PN_WITH_PCAP
	&pcap_driver,
#endif
	&tap_driver,
	&afpacket_driver,
#ifdef PN_WITH_AFXDP
	&afxdp_driver,
#endif
	&e1000_driver,
	NULL,
};
