/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The common conformance suite of ports: see port_conformance.h. Each check opens a port of its
 * own, and ends with the pool as full as it was.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "port_conformance.h"

#define BURST 32

static struct pn_region *region;
static struct pn_heap *heap;

static void make_pool(struct conformance *driver, uint32_t count)
{
	struct pn_pool_opts opts = {.count = count, .check = PN_POOL_CHECK_ON};

	assert_int_equal(pn_pool_create(&driver->pool, heap, &opts), 0);
}

static void end_pool(struct conformance *driver)
{
	assert_int_equal(pn_pool_refused(driver->pool), 0);
	assert_int_equal(pn_pool_available(driver->pool), pn_pool_count(driver->pool));
	assert_int_equal(pn_pool_destroy(driver->pool), 0);
	driver->pool = NULL;
}

static void start(struct conformance *driver, struct pn_port *port)
{
	if (pn_port_start(port))
		fail_msg("%s", pn_error());
	if (driver->settle)
		driver->settle(driver, port);
}

static struct pn_port *open_started(struct conformance *driver, uint32_t count)
{
	struct pn_port_conf conf = {0};
	struct pn_port *port;

	make_pool(driver, count);
	port = driver->open(driver);
	assert_non_null(port);
	conf.rx_pool = driver->pool;
	assert_int_equal(pn_port_configure(port, &conf), 0);
	start(driver, port);
	return port;
}

static void close_all(struct conformance *driver, struct pn_port *port)
{
	driver->close(driver, port);
	end_pool(driver);
}

static struct pn_buf *make_packet(struct conformance *driver, uint16_t len)
{
	struct pn_buf *buf;

	assert_int_equal(pn_pool_get(driver->pool, &buf, 1), 0);
	memset(pn_buf_append(buf, len), 0x5a, len);
	return buf;
}

static struct pn_port_stats stats_of(struct pn_port *port)
{
	struct pn_port_stats stats;

	assert_int_equal(pn_port_get_stats(port, &stats), 0);
	return stats;
}

/* A received packet is whole, and its owner's only. */
static uint32_t check_packet(const struct pn_buf *packet)
{
	const struct pn_buf *seg = packet;
	uint32_t bytes = 0;

	assert_in_range(packet->nb_segs, 1, PN_BUF_SEGS_MAX);
	for (uint8_t i = 0; i < packet->nb_segs; i++, seg = seg->next) {
		assert_non_null(seg);
		assert_int_equal(seg->refcnt, 1);
		assert_true(seg->data_len);
		assert_true(seg->data_off + seg->data_len <= seg->room);
		bytes += seg->data_len;
	}
	assert_null(seg);
	assert_int_equal(bytes, packet->pkt_len);
	return bytes;
}

/* As an application does that sleeps: it looks at the link, whose news would wake it, too. */
static void idle_once(struct pn_port *port)
{
	struct pn_port_link link;

	assert_int_equal(pn_port_get_link(port, &link), 0);
	assert_true(pn_port_wait(&port, 1, 10) >= 0);
}

static uint32_t receive(struct pn_port *port, uint32_t want, uint64_t *bytes)
{
	struct pn_buf *bufs[BURST];
	struct pn_port_info info;
	uint32_t got = 0;

	pn_port_get_info(port, &info);
	/* Some ports need a moment. */
	for (int idle = 0; got < want && idle < 200; idle++) {
		uint16_t ask = (uint16_t)(want - got < BURST ? want - got : BURST);
		uint16_t n = pn_port_rx_burst(port, 0, bufs, ask);

		assert_true(n <= ask);
		for (uint16_t i = 0; i < n; i++) {
			*bytes += check_packet(bufs[i]);
			/* Nothing is said that is not announced. */
			if (!info.blind)
				assert_int_equal(bufs[i]->flags & ~info.rx_offloads, 0);
		}
		pn_buf_free_bulk(bufs, n);
		got += n;
		if (n)
			idle = 0;
		else
			idle_once(port);
	}
	return got;
}

static void check_info(struct conformance *driver)
{
	struct pn_port *port;
	struct pn_port_info info;

	make_pool(driver, CONFORMANCE_BUFFERS);
	port = driver->open(driver);
	pn_port_get_info(port, &info);
	assert_true(*info.name && *info.driver && *info.device);
	assert_false(info.mac[0] & 1);
	assert_true(info.rx_queues_max >= 1 && info.tx_queues_max >= 1);
	assert_in_range(info.mtu, info.mtu_min, info.mtu_max);
	assert_true(info.rxd_min && info.rxd_min <= info.rxd_max && info.rxd_align);
	assert_true(info.txd_min && info.txd_min <= info.txd_max && info.txd_align);
	assert_false(info.started);
	assert_non_null(info.note);
	/* What it says it can do are offloads, each of its own direction. */
	assert_int_equal(info.rx_offloads & ~(PN_BUF_TX_VLAN - 1), 0);
	assert_int_equal(info.tx_offloads & (PN_BUF_TX_VLAN - 1), 0);
	close_all(driver, port);
}

/* Counters by name: those that every port has are the same as in the structure; and where there is
 * room for a few only, these are the first ones. */
static void check_xstats(struct conformance *driver)
{
	struct pn_port *port = open_started(driver, CONFORMANCE_BUFFERS);
	struct pn_port_xstat *all, first[2] = {0};
	uint64_t bytes = 0;
	int count;

	assert_int_equal(pn_port_get_xstats(port, NULL, 1), -EINVAL);
	receive(port, driver->feed(driver, port, 3), &bytes);
	count = pn_port_get_xstats(port, NULL, 0);
	assert_true(count >= 13);
	all = calloc((size_t)count, sizeof(*all));
	assert_non_null(all);
	assert_int_equal(pn_port_get_xstats(port, all, (unsigned int)count), count);
	assert_string_equal(all[0].name, "rx_packets");
	assert_int_equal(all[0].value, stats_of(port).rx_packets);
	for (int i = 0; i < count; i++) {
		assert_true(*all[i].name);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(all[i].name, all[j].name);
	}
	assert_int_equal(pn_port_get_xstats(port, first, 1), count);
	assert_string_equal(first[0].name, "rx_packets");
	assert_string_equal(first[1].name, "");
	free(all);
	driver->drain(driver, port);
	close_all(driver, port);
}

void conformance_sleeps(struct pn_port *port, int ms)
{
	struct pn_port_link link;

	/* News of the link may come late, and more than once. */
	for (int i = 0; i < 100; i++) {
		int ret;

		assert_int_equal(pn_port_get_link(port, &link), 0);
		ret = pn_port_wait(&port, 1, ms);
		assert_true(ret >= 0);
		if (!ret)
			return;
		usleep(10000);
	}
	fail_msg("it never sleeps");
}

void conformance_refused(const char *const *specs, size_t count)
{
	struct pn_port *port = NULL;

	for (size_t i = 0; i < count; i++) {
		assert_int_equal(pn_port_open(&port, specs[i], NULL), -EINVAL);
		assert_null(port);
	}
}

/* Waiting ends when there is something, and when the time is over. */
static void check_wait(struct conformance *driver)
{
	struct pn_port *port = open_started(driver, CONFORMANCE_BUFFERS);
	struct pn_port *none = NULL;
	struct pn_port_link link;
	uint64_t bytes = 0;
	uint32_t fed;

	assert_int_equal(pn_port_wait(NULL, 1, 0), -EINVAL);
	assert_int_equal(pn_port_wait(&none, 1, 0), -EINVAL);
	assert_int_equal(pn_port_wait(&port, 0, 0), -EINVAL);
	assert_int_equal(pn_port_wait(&port, PN_PORT_WAIT_MAX + 1, 0), -EINVAL);
	/* News of the link would wake, too. */
	assert_int_equal(pn_port_get_link(port, &link), 0);
	if (!driver->rx_endless) {
		driver->drain(driver, port);
		conformance_sleeps(port, 0);
		conformance_sleeps(port, 20);
	}
	fed = driver->feed(driver, port, 5);
	assert_int_equal(pn_port_wait(&port, 1, 5000), 1);
	assert_int_equal(receive(port, fed, &bytes), fed);
	driver->drain(driver, port);
	assert_int_equal(pn_port_stop(port), 0);
	assert_int_equal(pn_port_wait(&port, 1, 1), 0);
	close_all(driver, port);
}

/* Any number of queues that it says it has, and no more; all start, and none takes a buffer along.
 */
static void check_queues(struct conformance *driver)
{
	struct pn_port_conf conf = {0};
	struct pn_port_info info;
	struct pn_port *port;
	struct pn_buf *bufs[BURST];

	make_pool(driver, CONFORMANCE_BUFFERS);
	port = driver->open(driver);
	pn_port_get_info(port, &info);
	assert_in_range(info.rx_queues_max, 1, PN_PORT_QUEUES_MAX);
	assert_in_range(info.tx_queues_max, 1, PN_PORT_QUEUES_MAX);
	conf.rx_pool = driver->pool;
	conf.rx_queues = (uint16_t)(info.rx_queues_max + 1);
	assert_int_equal(pn_port_configure(port, &conf), -EINVAL);
	conf.rx_queues = 1;
	conf.tx_queues = (uint16_t)(info.tx_queues_max + 1);
	assert_int_equal(pn_port_configure(port, &conf), -EINVAL);
	conf.rxd = conf.txd = 64;
	conf.rx_queues = info.rx_queues_max;
	conf.tx_queues = info.tx_queues_max;
	while (64u * conf.rx_queues > CONFORMANCE_BUFFERS / 2)
		conf.rx_queues /= 2;
	if (64 < info.rxd_min || 64 > info.rxd_max)
		conf.rxd = conf.txd = 0;
	assert_int_equal(pn_port_configure(port, &conf), 0);
	start(driver, port);
	for (uint16_t q = 0; q < conf.tx_queues; q++) {
		struct pn_buf *packet = make_packet(driver, 60);

		assert_int_equal(pn_port_tx_burst(port, q, &packet, 1), 1);
	}
	driver->drain(driver, port);
	assert_int_equal(pn_port_stop(port), 0);
	for (uint16_t q = 0; q < conf.rx_queues; q++)
		assert_int_equal(pn_port_rx_burst(port, q, bufs, BURST), 0);
	close_all(driver, port);
}

static void check_refusals(struct conformance *driver)
{
	static const uint8_t multicast[PN_MAC_LEN] = {1, 0, 0x5e}, zero[PN_MAC_LEN];
	static const uint8_t mac[PN_MAC_LEN] = {2, 0, 0, 0, 0, 9};
	struct pn_port_conf conf = {0};
	struct pn_port_info info;
	struct pn_port *port;
	int fd = -1;

	make_pool(driver, CONFORMANCE_BUFFERS);
	port = driver->open(driver);
	assert_int_equal(pn_port_start(port), -EINVAL);
	assert_int_equal(pn_port_configure(port, NULL), -EINVAL);
	assert_int_equal(pn_port_configure(port, &conf), -EINVAL);
	conf.rx_pool = driver->pool;
	pn_port_get_info(port, &info);
	if (info.rxd_max < UINT16_MAX) {
		conf.rxd = (uint16_t)(info.rxd_max + 1);
		assert_int_equal(pn_port_configure(port, &conf), -EINVAL);
		conf.rxd = 0;
	}
	if (info.txd_max < UINT16_MAX) {
		conf.txd = (uint16_t)(info.txd_max + 1);
		assert_int_equal(pn_port_configure(port, &conf), -EINVAL);
		conf.txd = 0;
	}
	assert_int_equal(pn_port_set_mac(port, multicast), -EADDRNOTAVAIL);
	assert_int_equal(pn_port_set_mac(port, zero), -EADDRNOTAVAIL);
	assert_int_equal(pn_port_set_mac(port, mac), 0);
	assert_int_equal(pn_port_set_mtu(port, 0), -EINVAL);
	assert_int_equal(pn_port_set_mtu(port, info.mtu_min), 0);
	pn_port_get_info(port, &info);
	assert_memory_equal(info.mac, mac, sizeof(mac));
	assert_int_equal(info.mtu, info.mtu_min);
	assert_int_equal(pn_port_irq_arm(port), -EINVAL);
	assert_int_equal(pn_port_irq_enable(port, NULL), -EINVAL);
	if (pn_port_irq_enable(port, &fd) == 0)
		assert_int_equal(pn_port_irq_disable(port), 0);
	assert_int_equal(pn_port_irq_disable(port), 0);
	assert_int_equal(pn_port_configure(port, &conf), 0);
	assert_int_equal(pn_port_configure(port, &conf), 0);
	assert_int_equal(pn_pool_destroy(driver->pool), -EBUSY);
	start(driver, port);
	assert_int_equal(pn_port_start(port), -EALREADY);
	assert_int_equal(pn_port_configure(port, &conf), -EBUSY);
	assert_int_equal(pn_port_set_mtu(port, 1500), -EBUSY);
	assert_int_equal(pn_port_set_promiscuous(port, true), 0);
	assert_int_equal(pn_port_set_all_multicast(port, true), 0);
	assert_int_equal(pn_port_set_multicast(port, &multicast, 1), 0);
	assert_int_equal(pn_port_set_multicast(port, &mac, 1), -EINVAL);
	assert_int_equal(pn_port_set_multicast(port, NULL, 1), -EINVAL);
	assert_int_equal(pn_port_stop(port), 0);
	assert_int_equal(pn_port_stop(port), 0);
	close_all(driver, port);
}

/* Neither gives nor takes. */
static void check_still(struct conformance *driver, struct pn_port *port)
{
	struct pn_buf *bufs[BURST], *packet = make_packet(driver, 60);

	assert_int_equal(pn_port_rx_burst(port, 0, bufs, BURST), 0);
	assert_int_equal(pn_port_tx_burst(port, 0, &packet, 1), 0);
	pn_buf_free(packet);
}

static void check_stopped(struct conformance *driver)
{
	struct pn_port_conf conf = {0};
	struct pn_port *port;

	make_pool(driver, CONFORMANCE_BUFFERS);
	port = driver->open(driver);
	check_still(driver, port);
	conf.rx_pool = driver->pool;
	assert_int_equal(pn_port_configure(port, &conf), 0);
	check_still(driver, port);
	for (int i = 0; i < 3; i++) {
		start(driver, port);
		assert_int_equal(pn_port_stop(port), 0);
		check_still(driver, port);
	}
	close_all(driver, port);
}

static void check_receive(struct conformance *driver)
{
	struct pn_port *port = open_started(driver, CONFORMANCE_BUFFERS);
	struct pn_port_stats before, after;
	uint64_t bytes = 0, total = 0;
	struct pn_port_info info;
	struct pn_buf *none;

	pn_port_get_info(port, &info);
	assert_true(info.started);
	before = stats_of(port);
	assert_int_equal(pn_port_rx_burst(port, 0, &none, 0), 0);
	for (uint32_t n = 1; n <= 64; n += 7) {
		uint32_t fed = driver->feed(driver, port, n);

		assert_int_equal(receive(port, fed, &bytes), fed);
		total += fed;
		driver->drain(driver, port);
	}
	if (!driver->rx_endless)
		assert_int_equal(pn_port_rx_burst(port, 0, &none, 1), 0);
	assert_true(total);
	after = stats_of(port);
	assert_int_equal(after.rx_packets - before.rx_packets, total);
	assert_int_equal(after.rx_bytes - before.rx_bytes, info.blind ? 0 : bytes);
	assert_int_equal(after.rx_errors + after.rx_bad_desc, 0);
	assert_int_equal(pn_port_stats_reset(port), 0);
	after = stats_of(port);
	assert_int_equal(after.rx_packets + after.rx_bytes + after.tx_packets, 0);
	close_all(driver, port);
}

static void check_transmit(struct conformance *driver)
{
	struct pn_port *port = open_started(driver, CONFORMANCE_BUFFERS);
	uint64_t packets = 0, bytes = 0;
	struct pn_port_stats stats;
	struct pn_port_info info;

	pn_port_get_info(port, &info);
	assert_int_equal(pn_port_stats_reset(port), 0);
	for (uint16_t n = 0; n <= BURST; n++) {
		struct pn_buf *bufs[BURST];

		for (uint16_t i = 0; i < n; i++) {
			bufs[i] = make_packet(driver, (uint16_t)(60 + 13 * i));
			bytes += bufs[i]->pkt_len;
		}
		assert_int_equal(pn_port_tx_burst(port, 0, bufs, n), n);
		packets += n;
		driver->drain(driver, port);
	}
	stats = stats_of(port);
	assert_int_equal(stats.tx_packets, packets);
	assert_int_equal(stats.tx_bytes, info.blind ? 0 : bytes);
	assert_int_equal(stats.tx_errors, 0);
	close_all(driver, port);
}

/* What has other owners, several segments, or borrowed memory goes out like anything else. */
static void check_odd_packets(struct conformance *driver)
{
	struct pn_port *port = open_started(driver, CONFORMANCE_BUFFERS);
	struct pn_buf *shared = make_packet(driver, 100), *chain = make_packet(driver, 70);
	struct pn_buf *clone = pn_buf_clone(driver->pool, shared);
	struct pn_buf *bufs[3] = {shared, chain, clone};

	assert_non_null(clone);
	pn_buf_ref(shared);
	chain->next = make_packet(driver, 50);
	chain->nb_segs = 2;
	chain->pkt_len = 120;
	assert_int_equal(pn_port_stats_reset(port), 0);
	assert_int_equal(pn_port_tx_burst(port, 0, bufs, 3), 3);
	driver->drain(driver, port);
	assert_int_equal(stats_of(port).tx_packets, 3);
	assert_int_equal(stats_of(port).tx_errors, 0);
	assert_int_equal(pn_port_stop(port), 0);
	/* One owner is left. */
	assert_int_equal(pn_pool_available(driver->pool), CONFORMANCE_BUFFERS - 1);
	assert_int_equal(shared->refcnt, 1);
	pn_buf_free(shared);
	close_all(driver, port);
}

static void check_senseless(struct conformance *driver)
{
	struct pn_port *port = open_started(driver, CONFORMANCE_BUFFERS);
	struct pn_buf *bufs[4];
	struct pn_port_info info;

	pn_port_get_info(port, &info);
	if (!info.blind) {
		assert_int_equal(pn_port_stats_reset(port), 0);
		bufs[0] = make_packet(driver, 60);
		bufs[0]->data_len = 0; /* empty */
		bufs[1] = make_packet(driver, 60);
		bufs[1]->nb_segs = 2; /* fewer segments than it says */
		bufs[2] = make_packet(driver, 60);
		bufs[2]->next = make_packet(driver, 60);
		bufs[2]->nb_segs = 2; /* more bytes than it says */
		bufs[3] = make_packet(driver, 60);
		assert_int_equal(pn_port_tx_burst(port, 0, bufs, 4), 4);
		driver->drain(driver, port);
		assert_int_equal(stats_of(port).tx_errors, 3);
		assert_int_equal(stats_of(port).tx_packets, 1);
	}
	close_all(driver, port);
}

/* UDP over IPv4 with wrong checksums, in a frame of so many bytes. */
static struct pn_buf *make_udp(struct conformance *driver, uint16_t len)
{
	static const unsigned char head[] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0,
		0, 0, 1, 0, 0, 64, 17, 0xaa, 0xaa, 198, 51, 100, 1, 198, 51, 100, 2, 0, 7, 0, 9, 0,
		0, 0xbb, 0xbb};
	struct pn_buf *buf = make_packet(driver, len);
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

	make_pool(driver, CONFORMANCE_BUFFERS);
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
	start(driver, port);
	fed = driver->feed(driver, port, 9);
	assert_int_equal(receive(port, fed, &bytes), fed);
	driver->drain(driver, port);
	assert_int_equal(pn_port_stats_reset(port), 0);
	for (uint16_t len = 42; len < 1514; len = (uint16_t)(len + 113)) {
		check_sent(driver, port, info.tx_offloads, len);
		driver->drain(driver, port);
	}
	assert_int_equal(stats_of(port).tx_errors, 0);
	if (info.tx_offloads & PN_BUF_TX_UDP) {
		struct pn_buf *packet = make_packet(driver, 60);

		/* Headers that are said to be longer than the packet. */
		packet->flags = PN_BUF_TX_UDP;
		packet->l2_len = 14;
		packet->l3_len = 40;
		assert_int_equal(pn_port_tx_burst(port, 0, &packet, 1), 1);
		assert_int_equal(stats_of(port).tx_errors, 1);
	}
	driver->drain(driver, port);
	close_all(driver, port);
}

static void check_over_filled(struct conformance *driver)
{
	struct pn_port *port;
	uint32_t sent = 0, tries = 0;

	if (!driver->tx_room)
		return;
	port = open_started(driver, 8 * driver->tx_room);
	for (; tries < 4 * driver->tx_room; tries++) {
		struct pn_buf *packet = make_packet(driver, 60);

		if (pn_port_tx_burst(port, 0, &packet, 1) == 0) {
			pn_buf_free(packet);
			break;
		}
		sent++;
	}
	assert_true(tries < 4 * driver->tx_room);
	assert_true(sent >= driver->tx_room);
	assert_int_equal(stats_of(port).tx_packets, sent);
	/* There is room again once somebody takes it. */
	driver->drain(driver, port);
	{
		struct pn_buf *packet = make_packet(driver, 60);

		assert_int_equal(pn_port_tx_burst(port, 0, &packet, 1), 1);
	}
	driver->drain(driver, port);
	close_all(driver, port);
}

static void check_dry_pool(struct conformance *driver)
{
	struct pn_port *port = open_started(driver, CONFORMANCE_BUFFERS);
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
	assert_true(stats_of(port).rx_nombuf > 0);
	assert_int_equal(stats_of(port).rx_packets, 0);
	/* With a few it goes on. */
	pn_buf_free_bulk(held, 4);
	assert_true(receive(port, 4, &bytes) >= 1);
	pn_buf_free_bulk(held + 4, n - 4);
	assert_true(receive(port, fed - 4, &bytes) >= 1);
out:
	close_all(driver, port);
}

/* What is on its way when the port stops is not lost: it is back in the pool. */
static void check_stop_full(struct conformance *driver)
{
	struct pn_port *port = open_started(driver, CONFORMANCE_BUFFERS);
	struct pn_buf *bufs[BURST];
	uint16_t sent;

	for (int round = 0; round < 3; round++) {
		driver->feed(driver, port, 20);
		for (uint16_t i = 0; i < BURST; i++)
			bufs[i] = make_packet(driver, 60);
		sent = pn_port_tx_burst(port, 0, bufs, BURST);
		pn_buf_free_bulk(bufs + sent, (uint32_t)(BURST - sent));
		assert_int_equal(pn_port_stop(port), 0);
		start(driver, port);
	}
	close_all(driver, port);
}

/* Forwarded to itself: nothing is lost, and no buffer. */
static void check_forward(struct conformance *driver)
{
	struct pn_port *port = open_started(driver, CONFORMANCE_BUFFERS);
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
	assert_int_equal(stats_of(port).rx_packets, received);
	assert_true(stats_of(port).tx_packets >= sent);
	close_all(driver, port);
}

void conformance_run(struct conformance *driver)
{
	static void (*const checks[])(struct conformance *) = {check_info, check_xstats, check_wait,
		check_queues, check_refusals, check_stopped, check_receive, check_transmit,
		check_odd_packets, check_senseless, check_offloads, check_over_filled,
		check_dry_pool, check_stop_full, check_forward};
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;

	opts.page_size = PN_PAGE_4K;
	opts.backing = PN_BACKING_MEMFD;
	assert_int_equal(pn_region_create(&region, 32 << 20, &opts), 0);
	assert_int_equal(pn_heap_create(&heap, region, 0x10000000), 0);
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		checks[i](driver);
	assert_int_equal(pn_heap_destroy(heap), 0);
	assert_int_equal(pn_region_destroy(region), 0);
}
