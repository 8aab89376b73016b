/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Offloads by name, for who asks for one that a port does not offer.
 */
#include <errno.h>
#include <stdio.h>

#include "base_priv.h"
#include "port_priv.h"

static const struct {
	uint32_t flag;
	const char *name;
} names[] = {
	{PN_BUF_RX_VLAN, "RX_VLAN"},
	{PN_BUF_RX_HASH, "RX_HASH"},
	{PN_BUF_RX_TIMESTAMP, "RX_TIMESTAMP"},
	{PN_BUF_RX_IP_GOOD, "RX_IP_GOOD"},
	{PN_BUF_RX_IP_BAD, "RX_IP_BAD"},
	{PN_BUF_RX_L4_GOOD, "RX_L4_GOOD"},
	{PN_BUF_RX_L4_BAD, "RX_L4_BAD"},
	{PN_BUF_TX_VLAN, "TX_VLAN"},
	{PN_BUF_TX_IP, "TX_IP"},
	{PN_BUF_TX_TCP, "TX_TCP"},
	{PN_BUF_TX_UDP, "TX_UDP"},
	{PN_BUF_TX_TSO, "TX_TSO"},
};

/* Room for all of them. */
#define TEXT_MAX 256

static void list(uint32_t flags, char *text, size_t size)
{
	size_t used = 0;

	snprintf(text, size, "%s", flags ? "" : "none");
	for (size_t i = 0; flags && i < PN_ARRAY_SIZE(names); i++) {
		int len;

		if (!(flags & names[i].flag))
			continue;
		flags &= ~names[i].flag;
		len = snprintf(text + used, size - used, "%s%s", used ? " " : "", names[i].name);
		if (len < 0 || (size_t)len >= size - used)
			return;
		used += (size_t)len;
	}
	if (flags)
		snprintf(text + used, size - used, "%s0x%x", used ? " " : "", flags);
}

int pn_check_offloads(const char *port, const char *what, uint32_t wanted, uint32_t offered)
{
	char missing[TEXT_MAX], known[TEXT_MAX];

	if (!(wanted & ~offered))
		return 0;
	list(wanted & ~offered, missing, sizeof(missing));
	list(offered, known, sizeof(known));
	return pn_fail(ENOTSUP, "port %s: it does not offer the %s offloads %s; it offers: %s",
		port, what, missing, known);
}
