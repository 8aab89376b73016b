/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The common conformance suite of ports: see port_conformance.h. Each check opens a port of its
 * own, and ends with the pool as full as it was. Here: what a port says of itself, its states,
 * queues, waiting, and what it refuses.
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

#include "port_conformance_priv.h"

static struct pn_region *region;
static struct pn_heap *heap;

void conformance_make_pool(struct conformance *driver, uint32_t count)
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

void conformance_start(struct conformance *driver, struct pn_port *port)
{
	if (pn_port_start(port))
		fail_msg("%s", pn_error());
	if (driver->settle)
		driver->settle(driver, port);
}

struct pn_port *conformance_open(struct conformance *driver, uint32_t count)
{
	struct pn_port_conf conf = {0};
	struct pn_port *port;

	conformance_make_pool(driver, count);
	port = driver->open(driver);
	assert_non_null(port);
	conf.rx_pool = driver->pool;
	assert_int_equal(pn_port_configure(port, &conf), 0);
	conformance_start(driver, port);
	return port;
}

void conformance_close(struct conformance *driver, struct pn_port *port)
{
	driver->close(driver, port);
	end_pool(driver);
}

struct pn_buf *conformance_packet(struct conformance *driver, uint16_t len)
{
	struct pn_buf *buf;

	assert_int_equal(pn_pool_get(driver->pool, &buf, 1), 0);
	memset(pn_buf_append(buf, len), 0x5a, len);
	return buf;
}

struct pn_port_stats conformance_stats(struct pn_port *port)
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

uint32_t conformance_receive(struct pn_port *port, uint32_t want, uint64_t *bytes)
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

	conformance_make_pool(driver, CONFORMANCE_BUFFERS);
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
	conformance_close(driver, port);
}

/* Counters by name: those that every port has are the same as in the structure; and where there is
 * room for a few only, these are the first ones. */
static void check_xstats(struct conformance *driver)
{
	struct pn_port *port = conformance_open(driver, CONFORMANCE_BUFFERS);
	struct pn_port_xstat *all, first[2] = {0};
	uint64_t bytes = 0;
	int count;

	assert_int_equal(pn_port_get_xstats(port, NULL, 1), -EINVAL);
	conformance_receive(port, driver->feed(driver, port, 3), &bytes);
	count = pn_port_get_xstats(port, NULL, 0);
	assert_true(count >= 13);
	all = calloc((size_t)count, sizeof(*all));
	assert_non_null(all);
	assert_int_equal(pn_port_get_xstats(port, all, (unsigned int)count), count);
	assert_string_equal(all[0].name, "rx_packets");
	assert_int_equal(all[0].value, conformance_stats(port).rx_packets);
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
	conformance_close(driver, port);
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
	struct pn_port *port = conformance_open(driver, CONFORMANCE_BUFFERS);
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
	assert_int_equal(conformance_receive(port, fed, &bytes), fed);
	driver->drain(driver, port);
	assert_int_equal(pn_port_stop(port), 0);
	assert_int_equal(pn_port_wait(&port, 1, 1), 0);
	conformance_close(driver, port);
}

/* Any number of queues that it says it has, and no more; all start, and none takes a buffer along.
 */
static void check_queues(struct conformance *driver)
{
	struct pn_port_conf conf = {0};
	struct pn_port_info info;
	struct pn_port *port;
	struct pn_buf *bufs[BURST];

	conformance_make_pool(driver, CONFORMANCE_BUFFERS);
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
	conformance_start(driver, port);
	for (uint16_t q = 0; q < conf.tx_queues; q++) {
		struct pn_buf *packet = conformance_packet(driver, 60);

		assert_int_equal(pn_port_tx_burst(port, q, &packet, 1), 1);
	}
	driver->drain(driver, port);
	assert_int_equal(pn_port_stop(port), 0);
	for (uint16_t q = 0; q < conf.rx_queues; q++)
		assert_int_equal(pn_port_rx_burst(port, q, bufs, BURST), 0);
	conformance_close(driver, port);
}

static void check_refusals(struct conformance *driver)
{
	static const uint8_t multicast[PN_MAC_LEN] = {1, 0, 0x5e}, zero[PN_MAC_LEN];
	static const uint8_t mac[PN_MAC_LEN] = {2, 0, 0, 0, 0, 9};
	struct pn_port_conf conf = {0};
	struct pn_port_info info;
	struct pn_port *port;
	int fd = -1;

	conformance_make_pool(driver, CONFORMANCE_BUFFERS);
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
	conformance_start(driver, port);
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
	conformance_close(driver, port);
}

/* Neither gives nor takes. */
static void check_still(struct conformance *driver, struct pn_port *port)
{
	struct pn_buf *bufs[BURST], *packet = conformance_packet(driver, 60);

	assert_int_equal(pn_port_rx_burst(port, 0, bufs, BURST), 0);
	assert_int_equal(pn_port_tx_burst(port, 0, &packet, 1), 0);
	pn_buf_free(packet);
}

static void check_stopped(struct conformance *driver)
{
	struct pn_port_conf conf = {0};
	struct pn_port *port;

	conformance_make_pool(driver, CONFORMANCE_BUFFERS);
	port = driver->open(driver);
	check_still(driver, port);
	conf.rx_pool = driver->pool;
	assert_int_equal(pn_port_configure(port, &conf), 0);
	check_still(driver, port);
	for (int i = 0; i < 3; i++) {
		conformance_start(driver, port);
		assert_int_equal(pn_port_stop(port), 0);
		check_still(driver, port);
	}
	conformance_close(driver, port);
}

void conformance_run(struct conformance *driver)
{
	static void (*const checks[])(struct conformance *) = {check_info, check_xstats, check_wait,
		check_queues, check_refusals, check_stopped, conformance_packets};
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
