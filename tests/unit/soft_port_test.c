/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Software ports: each passes the conformance suite; and what is each one's own.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "port_conformance.h"

static struct pn_port *open_spec(struct conformance *driver)
{
	struct pn_port *port = NULL;

	assert_true(pn_port_is_software(driver->name));
	assert_int_equal(pn_port_open(&port, driver->name, NULL), 0);
	return port;
}

static void close_port(struct conformance *driver, struct pn_port *port)
{
	(void)driver;
	pn_port_close(port);
}

static uint32_t feed_nothing(struct conformance *driver, struct pn_port *port, uint32_t n)
{
	(void)driver;
	(void)port;
	return n;
}

static void drain_nothing(struct conformance *driver, struct pn_port *port)
{
	(void)driver;
	(void)port;
}

static void test_null(void **state)
{
	struct conformance driver = {
		.name = "null:size=100",
		.open = open_spec,
		.close = close_port,
		.feed = feed_nothing,
		.drain = drain_nothing,
		.rx_endless = true,
		.rx_from_pool = true,
	};

	(void)state;
	conformance_run(&driver);
	driver.name = "null";
	conformance_run(&driver);
}

/* Packets of 1 byte on. */
static uint32_t make_packets(struct conformance *driver, struct pn_buf **bufs, uint32_t n)
{
	if (pn_pool_get(driver->pool, bufs, n))
		return 0;
	for (uint32_t i = 0; i < n; i++)
		memset(pn_buf_append(bufs[i], (uint16_t)(i + 1)), 7, i + 1);
	return n;
}

static uint32_t feed_self(struct conformance *driver, struct pn_port *port, uint32_t n)
{
	struct pn_buf *bufs[256];
	uint16_t sent;

	n = make_packets(driver, bufs, n);
	sent = pn_port_tx_burst(port, 0, bufs, (uint16_t)n);
	pn_buf_free_bulk(bufs + sent, n - sent);
	return sent;
}

static void drain_self(struct conformance *driver, struct pn_port *port)
{
	struct pn_buf *bufs[32];
	uint16_t n;

	(void)driver;
	while ((n = pn_port_rx_burst(port, 0, bufs, 32)))
		pn_buf_free_bulk(bufs, n);
}

static void test_ring(void **state)
{
	struct conformance driver = {
		.name = "ring:size=64",
		.open = open_spec,
		.close = close_port,
		.feed = feed_self,
		.drain = drain_self,
		.tx_room = 64,
		.loops = true,
	};

	(void)state;
	conformance_run(&driver);
}

struct rings {
	struct pn_ring *in, *out;
};

static struct pn_port *open_rings(struct conformance *driver)
{
	struct rings *rings = driver->own;
	struct pn_port *port = NULL;

	assert_int_equal(pn_ring_create(&rings->in, 64, PN_RING_SP | PN_RING_SC), 0);
	assert_int_equal(pn_ring_create(&rings->out, 64, 0), 0);
	assert_int_equal(pn_port_open_rings(&port, "pair", rings->in, rings->out), 0);
	return port;
}

static void empty(struct pn_ring *ring)
{
	struct pn_buf *bufs[32];
	uint64_t n;

	while ((n = pn_ring_dequeue_burst(ring, bufs, 32)))
		pn_buf_free_bulk(bufs, (uint32_t)n);
}

static void close_rings(struct conformance *driver, struct pn_port *port)
{
	struct rings *rings = driver->own;

	pn_port_close(port);
	empty(rings->in);
	empty(rings->out);
	pn_ring_destroy(rings->in);
	pn_ring_destroy(rings->out);
}

static uint32_t feed_ring(struct conformance *driver, struct pn_port *port, uint32_t n)
{
	struct rings *rings = driver->own;
	struct pn_buf *bufs[256];
	uint64_t put;

	(void)port;
	n = make_packets(driver, bufs, n);
	put = pn_ring_enqueue_burst(rings->in, bufs, n);
	pn_buf_free_bulk(bufs + put, (uint32_t)(n - put));
	return (uint32_t)put;
}

static void drain_ring(struct conformance *driver, struct pn_port *port)
{
	struct rings *rings = driver->own;

	(void)port;
	empty(rings->out);
}

static void test_rings(void **state)
{
	struct rings rings;
	struct conformance driver = {
		.name = "pair",
		.open = open_rings,
		.close = close_rings,
		.feed = feed_ring,
		.drain = drain_ring,
		.own = &rings,
		.tx_room = 64,
	};

	(void)state;
	conformance_run(&driver);
}

static void test_words(void **state)
{
	static const char *const bad[] = {"null:size=0", "null:size=1099511627776",
		"null:size=", "null:size=-1", "null:size=64x", "null:color=3", "null:size",
		"ring:size=0", "ring:size=1099511627776", "ring:size=100", "ring:=5",
		"ring:size=8,size=9"};
	static const char *const good[] = {"null:", "null:size=1", "ring:", "ring:size=1"};
	static const char *const foreign[] = {"nul", "nullx", "rings", "0000:00:02.0", ""};
	struct pn_port *port = NULL;
	char longer[300] = "ring:size=";

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(pn_port_open(&port, bad[i], NULL), -EINVAL);
		assert_non_null(strstr(pn_error(), bad[i]));
		assert_null(port);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(pn_port_open(&port, good[i], NULL), 0);
		pn_port_close(port);
		port = NULL;
	}
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
		assert_false(pn_port_is_software(foreign[i]));
	assert_false(pn_port_is_software(NULL));
	memset(longer + strlen(longer), '0', 250);
	longer[sizeof(longer) - 40] = '8';
	assert_int_equal(pn_port_open(&port, longer, NULL), -EINVAL);
	assert_int_equal(pn_port_open(NULL, "null", NULL), -EINVAL);
	assert_int_equal(pn_port_open_rings(&port, "x", NULL, NULL), -EINVAL);
}

struct maker {
	struct pn_region *region;
	struct pn_heap *heap;
	struct pn_pool *pool;
};

static void make(struct maker *maker, uint16_t data_room)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_pool_opts pool = {.count = 512, .data_room = data_room};

	opts.page_size = PN_PAGE_4K;
	opts.backing = PN_BACKING_MEMFD;
	assert_int_equal(pn_region_create(&maker->region, 2 << 20, &opts), 0);
	assert_int_equal(pn_heap_create(&maker->heap, maker->region, 0x10000000), 0);
	assert_int_equal(pn_pool_create(&maker->pool, maker->heap, &pool), 0);
}

static void unmake(struct maker *maker)
{
	assert_int_equal(pn_pool_available(maker->pool), 512);
	assert_int_equal(pn_pool_destroy(maker->pool), 0);
	assert_int_equal(pn_heap_destroy(maker->heap), 0);
	assert_int_equal(pn_region_destroy(maker->region), 0);
}

static void test_null_size(void **state)
{
	struct pn_port_conf conf = {0};
	struct pn_port *port = NULL;
	struct pn_buf *buf;
	struct maker maker;

	(void)state;
	make(&maker, 128);
	conf.rx_pool = maker.pool;
	assert_int_equal(pn_port_open(&port, "null:size=129", NULL), 0);
	assert_int_equal(pn_port_configure(port, &conf), -EINVAL);
	assert_non_null(strstr(pn_error(), "128"));
	pn_port_close(port);
	assert_int_equal(pn_port_open(&port, "null:size=128", NULL), 0);
	assert_int_equal(pn_port_configure(port, &conf), 0);
	assert_int_equal(pn_port_start(port), 0);
	assert_int_equal(pn_port_rx_burst(port, 0, &buf, 1), 1);
	assert_int_equal(buf->pkt_len, 128);
	assert_int_equal(buf->data_len, 128);
	assert_int_equal(buf->data_off, PN_BUF_HEADROOM);
	assert_int_equal(buf->room, pn_pool_buf_room(maker.pool));
	pn_buf_free(buf);
	pn_port_close(port);
	unmake(&maker);
}

/* Two threads with a port each: what one sends the other receives, all of it, and sends back. */
#define HANDED 20000

static void *echo(void *arg)
{
	struct pn_port *port = arg;

	for (uint32_t done = 0; done < HANDED;) {
		struct pn_buf *bufs[16];
		uint16_t n = pn_port_rx_burst(port, 0, bufs, 16), sent = 0;

		for (uint16_t i = 0; i < n; i++)
			++*pn_buf_data(bufs[i]);
		while (sent < n)
			sent = (uint16_t)(sent + pn_port_tx_burst(port, 0, bufs + sent,
							 (uint16_t)(n - sent)));
		done += n;
		if (!n)
			sched_yield();
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct pn_ring *there, *back;
	struct pn_port *ports[2];
	struct pn_port_conf conf = {0};
	uint32_t sent = 0, got = 0;
	struct maker maker;
	pthread_t thread;

	(void)state;
	make(&maker, 128);
	conf.rx_pool = maker.pool;
	assert_int_equal(pn_ring_create(&there, 128, PN_RING_SP | PN_RING_SC), 0);
	assert_int_equal(pn_ring_create(&back, 128, PN_RING_SP | PN_RING_SC), 0);
	assert_int_equal(pn_port_open_rings(&ports[0], "a", back, there), 0);
	assert_int_equal(pn_port_open_rings(&ports[1], "b", there, back), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pn_port_configure(ports[i], &conf), 0);
		assert_int_equal(pn_port_start(ports[i]), 0);
	}
	assert_int_equal(pthread_create(&thread, NULL, echo, ports[1]), 0);
	while (got < HANDED) {
		struct pn_buf *bufs[16], *packet;
		uint16_t n;

		if (sent < HANDED && pn_pool_get(maker.pool, &packet, 1) == 0) {
			*pn_buf_append(packet, 60) = (unsigned char)sent;
			if (pn_port_tx_burst(ports[0], 0, &packet, 1))
				sent++;
			else
				pn_buf_free(packet);
		}
		n = pn_port_rx_burst(ports[0], 0, bufs, 16);
		for (uint16_t i = 0; i < n; i++)
			assert_int_equal(*pn_buf_data(bufs[i]), (unsigned char)(got + i + 1));
		pn_buf_free_bulk(bufs, n);
		got += n;
		if (!n)
			sched_yield();
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	for (int i = 0; i < 2; i++)
		pn_port_close(ports[i]);
	pn_ring_destroy(there);
	pn_ring_destroy(back);
	unmake(&maker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_null),
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_rings),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_null_size),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests_name("soft_port", tests, NULL, NULL);
}
