/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The common conformance suite of ports (port_conformance.h): packets in and out, those that make
 * no sense, offloads, a queue over-filled, a pool run dry, and what is on its way at a stop.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "port_conformance_priv.h"

static void check_receive(struct conformance *driver)
{
	struct pn_port *port = conformance_open(driver, CONFORMANCE_BUFFERS);
	struct pn_port_stats before, after;
	uint64_t bytes = 0, total = 0;
	struct pn_port_info info;
	struct pn_buf *none;

	pn_port_get_info(port, &info);
	assert_true(info.started);
	before = conformance_stats(port);
	assert_int_equal(pn_port_rx_burst(port, 0, &none, 0), 0);
	for (uint32_t n = 1; n <= 64; n += 7) {
		uint32_t fed = driver->feed(driver, port, n);

		assert_int_equal(conformance_receive(port, fed, &bytes), fed);
		total += fed;
		driver->drain(driver, port);
	}
	if (!driver->rx_endless)
		assert_int_equal(pn_port_rx_burst(port, 0, &none, 1), 0);
	assert_true(total);
	after = conformance_stats(port);
	assert_int_equal(after.rx_packets - before.rx_packets, total);
	assert_int_equal(after.rx_bytes - before.rx_bytes, info.blind ? 0 : bytes);
	assert_int_equal(after.rx_errors + after.rx_bad_desc, 0);
	assert_int_equal(pn_port_stats_reset(port), 0);
	after = conformance_stats(port);
	assert_int_equal(after.rx_packets + after.rx_bytes + after.tx_packets, 0);
	conformance_close(driver, port);
}

static void check_transmit(struct conformance *driver)
{
	struct pn_port *port = conformance_open(driver, CONFORMANCE_BUFFERS);
	uint64_t packets = 0, bytes = 0;
	struct pn_port_stats stats;
	struct pn_port_info info;

	pn_port_get_info(port, &info);
	assert_int_equal(pn_port_stats_reset(port), 0);
	for (uint16_t n = 0; n <= BURST; n++) {
		struct pn_buf *bufs[BURST];

		for (uint16_t i = 0; i < n; i++) {
			bufs[i] = conformance_packet(driver, (uint16_t)(60 + 13 * i));
			bytes += bufs[i]->pkt_len;
		}
		assert_int_equal(pn_port_tx_burst(port, 0, bufs, n), n);
		packets += n;
		driver->drain(driver, port);
	}
	stats = conformance_stats(port);
	assert_int_equal(stats.tx_packets, packets);
	assert_int_equal(stats.tx_bytes, info.blind ? 0 : bytes);
	assert_int_equal(stats.tx_errors, 0);
	conformance_close(driver, port);
}

/* What has other owners, several segments, or borrowed memory goes out like anything else. */
static void check_odd_packets(struct conformance *driver)
{
	struct pn_port *port = conformance_open(driver, CONFORMANCE_BUFFERS);
	struct pn_buf *shared = conformance_packet(driver, 100),
		      *chain = conformance_packet(driver, 70);
	struct pn_buf *clone = pn_buf_clone(driver->pool, shared);
	struct pn_buf *bufs[3] = {shared, chain, clone};

	assert_non_null(clone);
	pn_buf_ref(shared);
	chain->next = conformance_packet(driver, 50);
	chain->nb_segs = 2;
	chain->pkt_len = 120;
	assert_int_equal(pn_port_stats_reset(port), 0);
	assert_int_equal(pn_port_tx_burst(port, 0, bufs, 3), 3);
	driver->drain(driver, port);
	assert_int_equal(conformance_stats(port).tx_packets, 3);
	assert_int_equal(conformance_stats(port).tx_errors, 0);
	assert_int_equal(pn_port_stop(port), 0);
	/* One owner is left. */
	assert_int_equal(pn_pool_available(driver->pool), CONFORMANCE_BUFFERS - 1);
	assert_int_equal(shared->refcnt, 1);
	pn_buf_free(shared);
	conformance_close(driver, port);
}

static void check_senseless(struct conformance *driver)
{
	struct pn_port *port = conformance_open(driver, CONFORMANCE_BUFFERS);
	struct pn_buf *bufs[4];
	struct pn_port_info info;

	pn_port_get_info(port, &info);
	if (!info.blind) {
		assert_int_equal(pn_port_stats_reset(port), 0);
		bufs[0] = conformance_packet(driver, 60);
		bufs[0]->data_len = 0; /* empty */
		bufs[1] = conformance_packet(driver, 60);
		bufs[1]->nb_segs = 2; /* fewer segments than it says */
		bufs[2] = conformance_packet(driver, 60);
		bufs[2]->next = conformance_packet(driver, 60);
		bufs[2]->nb_segs = 2; /* more bytes than it says */
		bufs[3] = conformance_packet(driver, 60);
		assert_int_equal(pn_port_tx_burst(port, 0, bufs, 4), 4);
		driver->drain(driver, port);
		assert_int_equal(conformance_stats(port).tx_errors, 3);
		assert_int_equal(conformance_stats(port).tx_packets, 1);
	}
	conformance_close(driver, port);
}

/* UDP over IPv4 with wrong checksums, in a frame of so many bytes. */
static struct pn_buf *make_udp(struct conformance *driver, uint16_t len)
{
	static const unsigned char head[] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0,
		0, 0, 1, 0, 0, 64, 17, 0xaa, 0xaa, 198, 51, 100, 1, 198, 51, 100, 2, 0, 7, 0, 9, 0,
		0, 0xbb, 0xbb};
	struct pn_buf *buf = conformance_packet(driver, len);
	unsigned char *data = pn_buf_data(buf);

	memcpy(data, head, sizeof(head));
	data[16] = (unsigned char)((len - 14) >> 8);
	data[17] = (unsigned char)(len - 14);
	data[38] = (unsigned char)((len - 34) >> 8);
	data[39] = (unsigned char)(len - 34);
	return buf;
}

static uint16_t sum_of(const unsigned char *data, uint32_t len, uint32_t sum)
{
	for (uint32_t i = 0; i < len; i++)
		sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* One packet with all that the port offers, as it is on the wire. */
static void check_sent(
	struct conformance *driver, struct pn_port *port, uint32_t offloads, uint16_t len)
{
	struct pn_buf *packet = make_udp(driver, len);
	unsigned char frame[2048], want[2048];
	uint32_t asked = pn_buf_leave_checksums(packet, offloads), got;
	const uint32_t tag = offloads & PN_BUF_TX_VLAN ? 4 : 0;

	memcpy(want, pn_buf_data(packet), len);
	packet->flags |= offloads & PN_BUF_TX_VLAN;
	packet->vlan_tci = 0x6123;
	assert_int_equal(pn_port_tx_burst(port, 0, &packet, 1), 1);
	if (!driver->sent)
		return;
	got = driver->sent(driver, frame, sizeof(frame));
	assert_true(got >= len + tag);
	if (tag)
		assert_memory_equal(frame + 12, "\x81\0\x61\x23", 4);
	memmove(frame + 12, frame + 12 + tag, got - 12 - tag);
	/* But for the checksums it is the packet. */
	if (asked & PN_BUF_TX_IP)
		assert_int_equal(sum_of(frame + 14, 20, 0), 0xffff);
	else
		assert_memory_equal(frame + 24, "\xaa\xaa", 2);
	if (asked & PN_BUF_TX_UDP)
		assert_int_equal(sum_of(frame + 26, len - 26u, 17u + len - 34u), 0xffff);
	else
		assert_memory_equal(frame + 40, "\xbb\xbb", 2);
	memcpy(want + 24, frame + 24, 2);
	memcpy(want + 40, frame + 40, 2);
	assert_memory_equal(frame, want, len);
}

/* What a port offers it does, all at once; the rest it refuses. */
static void check_offloads(struct conformance *driver)
{
	const uint32_t tx_all = PN_BUF_TX_VLAN | PN_BUF_TX_CHECKSUMS | PN_BUF_TX_TSO;
	struct pn_port_conf conf = {0};
	struct pn_port_info info;
	struct pn_port *port;
	uint64_t bytes = 0;
	uint32_t fed;

	conformance_make_pool(driver, CONFORMANCE_BUFFERS);
	port = driver->open(driver);
	pn_port_get_info(port, &info);
	conf.rx_pool = driver->pool;
	for (uint32_t bit = 1; bit; bit <<= 1) {
		conf.rx_offloads = bit;
		if (!(bit & info.rx_offloads))
			assert_int_equal(pn_port_configure(port, &conf), -ENOTSUP);
		conf.rx_offloads = 0;
		conf.tx_offloads = bit;
		if (!(bit & info.tx_offloads))
			assert_int_equal(pn_port_configure(port, &conf), -ENOTSUP);
		conf.tx_offloads = 0;
	}
	assert_int_equal(info.tx_offloads & ~tx_all, 0);
	conf.rx_offloads = info.rx_offloads;
	conf.tx_offloads = info.tx_offloads;
	assert_int_equal(pn_port_configure(port, &conf), 0);
	conformance_start(driver, port);
	fed = driver->feed(driver, port, 9);
	assert_int_equal(conformance_receive(port, fed, &bytes), fed);
	driver->drain(driver, port);
	assert_int_equal(pn_port_stats_reset(port), 0);
	for (uint16_t len = 42; len < 1514; len = (uint16_t)(len + 113)) {
		check_sent(driver, port, info.tx_offloads, len);
		driver->drain(driver, port);
	}
	assert_int_equal(conformance_stats(port).tx_errors, 0);
	if (info.tx_offloads & PN_BUF_TX_UDP) {
		struct pn_buf *packet = conformance_packet(driver, 60);

		/* Headers that are said to be longer than the packet. */
		packet->flags = PN_BUF_TX_UDP;
		packet->l2_len = 14;
		packet->l3_len = 40;
		assert_int_equal(pn_port_tx_burst(port, 0, &packet, 1), 1);
		assert_int_equal(conformance_stats(port).tx_errors, 1);
	}
	driver->drain(driver, port);
	conformance_close(driver, port);
}

static void check_over_filled(struct conformance *driver)
{
	struct pn_port *port;
	uint32_t sent = 0, tries = 0;

	if (!driver->tx_room)
		return;
	port = conformance_open(driver, 8 * driver->tx_room);
	for (; tries < 4 * driver->tx_room; tries++) {
		struct pn_buf *packet = conformance_packet(driver, 60);

		if (pn_port_tx_burst(port, 0, &packet, 1) == 0) {
			pn_buf_free(packet);
			break;
		}
		sent++;
	}
	assert_true(tries < 4 * driver->tx_room);
	assert_true(sent >= driver->tx_room);
	assert_int_equal(conformance_stats(port).tx_packets, sent);
	/* There is room again once somebody takes it. */
	driver->drain(driver, port);
	{
		struct pn_buf *packet = conformance_packet(driver, 60);

		assert_int_equal(pn_port_tx_burst(port, 0, &packet, 1), 1);
	}
	driver->drain(driver, port);
	conformance_close(driver, port);
}

static void check_dry_pool(struct conformance *driver)
{
	struct pn_port *port = conformance_open(driver, CONFORMANCE_BUFFERS);
	struct pn_buf *held[CONFORMANCE_BUFFERS], *bufs[BURST];
	uint64_t bytes = 0;
	uint32_t n = 0, fed;

	if (!driver->rx_from_pool)
		goto out;
	fed = driver->feed(driver, port, 8);
	while (pn_pool_get(driver->pool, &held[n], 1) == 0)
		n++;
	assert_int_equal(pn_port_stats_reset(port), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(pn_port_rx_burst(port, 0, bufs, 8), 0);
	assert_true(conformance_stats(port).rx_nombuf > 0);
	assert_int_equal(conformance_stats(port).rx_packets, 0);
	/* With a few it goes on. */
	pn_buf_free_bulk(held, 4);
	assert_true(conformance_receive(port, 4, &bytes) >= 1);
	pn_buf_free_bulk(held + 4, n - 4);
	assert_true(conformance_receive(port, fed - 4, &bytes) >= 1);
out:
	conformance_close(driver, port);
}

/* What is on its way when the port stops is not lost: it is back in the pool. */
static void check_stop_full(struct conformance *driver)
{
	struct pn_port *port = conformance_open(driver, CONFORMANCE_BUFFERS);
	struct pn_buf *bufs[BURST];
	uint16_t sent;

	for (int round = 0; round < 3; round++) {
		driver->feed(driver, port, 20);
		for (uint16_t i = 0; i < BURST; i++)
			bufs[i] = conformance_packet(driver, 60);
		sent = pn_port_tx_burst(port, 0, bufs, BURST);
		pn_buf_free_bulk(bufs + sent, (uint32_t)(BURST - sent));
		assert_int_equal(pn_port_stop(port), 0);
		conformance_start(driver, port);
	}
	conformance_close(driver, port);
}

/* Forwarded to itself: nothing is lost, and no buffer. */
static void check_forward(struct conformance *driver)
{
	struct pn_port *port = conformance_open(driver, CONFORMANCE_BUFFERS);
	uint64_t received = 0, sent = 0;

	assert_int_equal(pn_port_stats_reset(port), 0);
	if (driver->loops)
		driver->feed(driver, port, 64);
	for (int round = 0; round < 500; round++) {
		struct pn_buf *bufs[BURST];
		uint16_t n, done;

		if (!driver->loops)
			driver->feed(driver, port, 4);
		n = pn_port_rx_burst(port, 0, bufs, BURST);
		done = pn_port_tx_burst(port, 0, bufs, n);
		pn_buf_free_bulk(bufs + done, (uint32_t)(n - done));
		received += n;
		sent += done;
		if (!driver->loops)
			driver->drain(driver, port);
	}
	assert_true(sent > 500);
	assert_int_equal(conformance_stats(port).rx_packets, received);
	assert_true(conformance_stats(port).tx_packets >= sent);
	conformance_close(driver, port);
}

void conformance_packets(struct conformance *driver)
{
	static void (*const checks[])(struct conformance *) = {check_receive, check_transmit,
		check_odd_packets, check_senseless, check_offloads, check_over_filled,
		check_dry_pool, check_stop_full, check_forward};

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		checks[i](driver);
}
