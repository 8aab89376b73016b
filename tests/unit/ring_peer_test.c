/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ring ports whose ends are in two processes: the conformance suite for each end, and processes
 * that are killed and replaced without losing what was accepted.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "port_conformance.h"
#include "ring_ends.h"

/*
 * Conformance: the other end is a port of the same process.
 */
struct pair {
	const char *other_spec;
	struct pn_port *other;
	struct memory memory;
};

static struct pn_port *pair_open(struct conformance *driver)
{
	struct pair *pair = driver->own;
	struct pn_port *port;

	ends_make(&pair->memory);
	port = ends_open(driver->name);
	pair->other = ends_start(pair->other_spec, &pair->memory);
	return port;
}

static void pair_settle(struct conformance *driver, struct pn_port *port)
{
	ends_wait_link(port, ((struct pair *)driver->own)->other, true);
}

static void pair_drain(struct conformance *driver, struct pn_port *port)
{
	struct pair *pair = driver->own;
	struct pn_buf *bufs[BURST];
	uint16_t n;

	(void)port;
	while ((n = pn_port_rx_burst(pair->other, 0, bufs, BURST)))
		pn_buf_free_bulk(bufs, n);
}

static uint32_t pair_feed(struct conformance *driver, struct pn_port *port, uint32_t n)
{
	struct pair *pair = driver->own;
	uint32_t sent = 0;

	(void)port;
	for (uint32_t i = 0; i < n; i++) {
		struct pn_buf *packet = ends_packet(pair->memory.pool, (uint16_t)(i + 1), i);
		uint16_t put = pn_port_tx_burst(pair->other, 0, &packet, 1);

		if (!put)
			pn_buf_free(packet);
		sent += put;
	}
	return sent;
}

static void pair_close(struct conformance *driver, struct pn_port *port)
{
	struct pair *pair = driver->own;

	pn_port_close(port);
	pn_port_close(pair->other);
	ends_unmake(&pair->memory);
}

static void conform(const char *spec, const char *other)
{
	struct pair pair = {.other_spec = other};
	struct conformance driver = {
		.name = spec,
		.open = pair_open,
		.close = pair_close,
		.feed = pair_feed,
		.drain = pair_drain,
		.settle = pair_settle,
		.own = &pair,
		.tx_room = 64,
		.rx_from_pool = true,
	};

	conformance_run(&driver);
}

static void test_listener(void **state)
{
	(void)state;
	conform("ring:listen=a,size=64", "ring:connect=a");
}

static void test_connector(void **state)
{
	(void)state;
	conform("ring:connect=b", "ring:listen=b,size=64");
}

/* Longer packets take several slots, and arrive whole, wherever the ring ends. */
static void test_slots(void **state)
{
	struct memory memory;
	struct pn_port *a, *b;

	(void)state;
	ends_make(&memory);
	a = ends_start("ring:listen=slots,size=16,slot=128", &memory);
	b = ends_start("ring:connect=slots", &memory);
	ends_wait_link(a, b, true);
	for (uint32_t i = 0; i < 3000; i++) {
		uint16_t len = (uint16_t)(1 + i * 37 % 2000);
		struct pn_buf *packet = ends_packet(memory.pool, len, i);

		assert_int_equal(pn_port_tx_burst(a, 0, &packet, 1), 1);
		assert_int_equal(pn_port_rx_burst(b, 0, &packet, 1), 1);
		ends_check_packet(packet, len, i);
		/* And back, as it came. */
		assert_int_equal(pn_port_tx_burst(b, 0, &packet, 1), 1);
		assert_int_equal(pn_port_rx_burst(a, 0, &packet, 1), 1);
		ends_check_packet(packet, len, i);
		pn_buf_free(packet);
	}
	/* One that the whole ring cannot hold is accepted, counted and freed. */
	{
		struct pn_buf *packet = ends_packet(memory.pool, 2048, 0);
		struct pn_port_stats stats;

		packet->next = ends_packet(memory.pool, 100, 0);
		packet->nb_segs = 2;
		packet->pkt_len = 2148;
		assert_int_equal(pn_port_tx_burst(a, 0, &packet, 1), 1);
		assert_int_equal(pn_port_get_stats(a, &stats), 0);
		assert_int_equal(stats.tx_errors, 1);
		assert_int_equal(stats.tx_packets, 3000);
	}
	pn_port_close(a);
	pn_port_close(b);
	ends_unmake(&memory);
}

/* The other process: sends back what it gets, until it is killed. */
static pid_t start_echo(const char *spec)
{
	pid_t child;

	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (child)
		return child;
	{
		struct memory memory;
		struct pn_port *port;

		ends_make(&memory);
		port = ends_start(spec, &memory);
		for (;;) {
			struct pn_buf *bufs[BURST];
			uint16_t n = pn_port_rx_burst(port, 0, bufs, BURST), sent = 0;

			while (sent < n)
				sent = (uint16_t)(sent + pn_port_tx_burst(port, 0, bufs + sent,
								 (uint16_t)(n - sent)));
			if (!n)
				(void)pn_port_wait(&port, 1, 10);
		}
	}
}

static void kill_child(pid_t child)
{
	int status;

	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
}

/* The one that connected is killed: the link goes down, and what it was sent reaches the next. */
static void test_connector_dies(void **state)
{
	struct memory memory;
	struct pn_port *port;
	pid_t child;

	(void)state;
	ends_make(&memory);
	port = ends_start("ring:listen=dies,size=256", &memory);
	assert_false(ends_up(port));
	assert_int_equal(ends_send(port, memory.pool, 0, 1), 0);
	child = start_echo("ring:connect=dies");
	ends_wait_link(port, NULL, true);
	assert_int_equal(ends_send(port, memory.pool, 0, 200), 200);
	assert_int_equal(ends_receive(port, 0, 200), 200);
	/* It stands still; what is accepted now it does not take. */
	assert_int_equal(kill(child, SIGSTOP), 0);
	usleep(20000);
	assert_int_equal(ends_send(port, memory.pool, 1000, 100), 100);
	kill_child(child);
	ends_wait_link(port, NULL, false);
	assert_int_equal(ends_send(port, memory.pool, 0, 1), 0);
	child = start_echo("ring:connect=dies");
	ends_wait_link(port, NULL, true);
	assert_int_equal(ends_receive(port, 1000, 100), 100);
	kill_child(child);
	pn_port_close(port);
	ends_unmake(&memory);
}

/* The one that listens is killed: what it had sent is received, the link is down; a new one is
 * found when the port is started anew. */
static void test_listener_dies(void **state)
{
	struct memory memory;
	struct pn_port *port;
	pid_t child;

	(void)state;
	ends_make(&memory);
	port = ends_start("ring:connect=ends", &memory);
	assert_false(ends_up(port));
	child = start_echo("ring:listen=ends,size=256");
	ends_wait_link(port, NULL, true);
	assert_int_equal(ends_send(port, memory.pool, 0, 100), 100);
	usleep(200000);
	kill_child(child);
	ends_wait_link(port, NULL, false);
	assert_int_equal(ends_receive(port, 0, 100), 100);
	assert_int_equal(ends_send(port, memory.pool, 0, 1), 0);
	/* The socket that it left behind is in nobody's way. */
	child = start_echo("ring:listen=ends,size=64");
	usleep(100000);
	assert_false(ends_up(port));
	assert_int_equal(pn_port_stop(port), 0);
	assert_int_equal(pn_port_start(port), 0);
	ends_wait_link(port, NULL, true);
	assert_int_equal(ends_send(port, memory.pool, 5, 20), 20);
	assert_int_equal(ends_receive(port, 5, 20), 20);
	kill_child(child);
	pn_port_close(port);
	ends_unmake(&memory);
}

static void *send_back(void *arg)
{
	struct pn_port *port = arg;

	for (uint32_t done = 0; done < 5000;) {
		struct pn_buf *bufs[BURST];
		uint16_t n = pn_port_rx_burst(port, 0, bufs, BURST), sent = 0;

		while (sent < n)
			sent = (uint16_t)(sent + pn_port_tx_burst(port, 0, bufs + sent,
							 (uint16_t)(n - sent)));
		done += n;
		if (!n)
			(void)pn_port_wait(&port, 1, 1);
	}
	return NULL;
}

/* Each end in a thread of its own, and somebody who asks for the link. */
static void test_threads(void **state)
{
	struct memory memory;
	struct pn_port *a, *b;
	pthread_t thread;
	uint32_t sent = 0, got = 0;

	(void)state;
	ends_make(&memory);
	a = ends_start("ring:listen=threads,size=64", &memory);
	b = ends_start("ring:connect=threads", &memory);
	ends_wait_link(a, b, true);
	assert_int_equal(pthread_create(&thread, NULL, send_back, b), 0);
	while (got < 5000) {
		struct pn_buf *packet;

		if (sent < 5000)
			sent += ends_send(a, memory.pool, sent, 1);
		assert_true(ends_up(b));
		if (!pn_port_rx_burst(a, 0, &packet, 1))
			continue;
		ends_check_packet(packet, 60 + got % 100, got);
		pn_buf_free(packet);
		got++;
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	pn_port_close(a);
	pn_port_close(b);
	ends_unmake(&memory);
}

static void test_words(void **state)
{
	static const char *const bad[] = {"ring:listen=a/b", "ring:listen=.a", "ring:connect=a b",
		"ring:listen=a,connect=b", "ring:listen=", "ring:listen=a,size=3",
		"ring:listen=a,size=131072", "ring:listen=a,slot=100", "ring:listen=a,slot=1",
		"ring:listen=a,slot=1099511627776", "ring:listen=a,size=1099511627776"};
	struct pn_port *port = NULL, *other = NULL;
	struct pn_port_conf conf = {0};
	struct memory memory;

	(void)state;
	conformance_refused(bad, sizeof(bad) / sizeof(bad[0]));
	/* A name is one pair's; and slots have to fit the buffers. */
	ends_make(&memory);
	conf.rx_pool = memory.pool;
	port = ends_open("ring:listen=one,slot=4096");
	assert_int_equal(pn_port_open(&other, "ring:listen=one", NULL), -EADDRINUSE);
	assert_non_null(strstr(pn_error(), "one"));
	assert_int_equal(pn_port_configure(port, &conf), -EINVAL);
	assert_non_null(strstr(pn_error(), "4096"));
	pn_port_close(port);
	/* Free again. */
	pn_port_close(ends_open("ring:listen=one"));
	ends_unmake(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listener),
		cmocka_unit_test(test_connector),
		cmocka_unit_test(test_slots),
		cmocka_unit_test(test_connector_dies),
		cmocka_unit_test(test_listener_dies),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests_name("ring_peer", tests, ends_setup, ends_teardown);
}
