/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets in batches: while its interface defers interrupts (napi_defer_hard_irqs and
 * gro_flush_timeout), the kernel looks for packets when the port polls, or when that time is over,
 * and not for each one as it comes. Both are files in /sys, which is of the network namespace that
 * mounted it: they are written only if the interface there is the port's, by name, index and
 * address. What was there is put back, and what an administrator has set is left alone. A process
 * that was killed puts nothing back: the time it leaves is known by its nanoseconds, and the next
 * port there, which alone can have a program on the interface, does it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "afxdp.h"

#define TIMES 2u
/* Of the nanoseconds of a time that a port has set. */
#define MARK 89u

static void path_of(const struct afxdp_port *port, const char *file, char path[128])
{
	snprintf(path, 128, "/sys/class/net/%s/%s", port->net.netif.name, file);
}

static bool read_number(const struct afxdp_port *port, const char *file, uint64_t *value)
{
	char path[128];

	path_of(port, file, path);
	return !pn_read_u64(path, value);
}

static bool write_number(const struct afxdp_port *port, const char *file, uint64_t value)
{
	char path[128], text[32];
	int fd, len = snprintf(text, sizeof(text), "%" PRIu64, value);
	bool good;

	path_of(port, file, path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	good = fd >= 0 && write(fd, text, (size_t)len) == len;
	if (fd >= 0)
		close(fd);
	return good;
}

/* Is the interface of this name in /sys the port's own? */
static bool is_same(struct afxdp_port *port)
{
	char path[128], there[32], here[32];
	uint8_t mac[PN_MAC_LEN];
	uint64_t index;
	uint16_t mtu;

	if (!read_number(port, "ifindex", &index) || index != (uint64_t)port->net.netif.index ||
		!netif_read(&port->net.netif, mac, &mtu))
		return false;
	path_of(port, "address", path);
	snprintf(here, sizeof(here), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		mac[3], mac[4], mac[5]);
	return pn_read_file(path, there, sizeof(there)) > 0 && strcmp(there, here) == 0;
}

static uint64_t marked_ns(const struct afxdp_port *port)
{
	return port->defer_us * 1000 + MARK;
}

/* What a port has left, of which there is no more than one at a time. */
static bool is_left(uint64_t times, uint64_t timeout)
{
	return (!times || times == TIMES) && timeout % 1000 == MARK;
}

static void put_back(const struct afxdp_port *port)
{
	(void)write_number(port, "napi_defer_hard_irqs", 0);
	(void)write_number(port, "gro_flush_timeout", 0);
}

void afxdp_defer(struct afxdp_port *port)
{
	uint64_t times, timeout;

	if (!is_same(port) || !read_number(port, "napi_defer_hard_irqs", &times) ||
		!read_number(port, "gro_flush_timeout", &timeout))
		return;
	if (is_left(times, timeout)) {
		put_back(port);
		times = timeout = 0;
	}
	if (!port->defer_us || !port->busy_budget || times || timeout)
		return;
	if (!write_number(port, "gro_flush_timeout", marked_ns(port)))
		return;
	port->deferred = write_number(port, "napi_defer_hard_irqs", TIMES);
	if (!port->deferred)
		(void)write_number(port, "gro_flush_timeout", 0);
}

void afxdp_defer_no_more(struct afxdp_port *port)
{
	uint64_t times, timeout;

	if (!port->deferred)
		return;
	port->deferred = false;
	if (!is_same(port) || !read_number(port, "napi_defer_hard_irqs", &times) ||
		!read_number(port, "gro_flush_timeout", &timeout) || times != TIMES ||
		timeout != marked_ns(port))
		return;
	put_back(port);
}
