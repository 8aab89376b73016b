/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tap port in a network namespace, with a packet socket at the interface for the kernel's side:
 * the conformance suite, as root and as an ordinary user; every byte; several queues; a link that
 * goes down, an interface that goes away or stays; and what is refused.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "netport_fixture.h"

#define SPEC "tap:iface=" NETNS_PORT

static struct pn_port *conformance_open(struct conformance *driver)
{
	struct pn_port *port = netport_open(driver->name);

	assert_int_equal(netns_ip("link set " NETNS_PORT " up"), 0);
	*(int *)driver->own = netns_socket(NETNS_PORT);
	return port;
}

static void conform(void)
{
	int fd;
	struct conformance driver = netport_driver(SPEC, &fd);

	driver.open = conformance_open;
	driver.rx_from_pool = true;
	conformance_run(&driver);
}

static void test_conformance(void **state)
{
	(void)state;
	netport_need();
	conform();
}

static const char *no_tap(void)
{
	return access("/dev/net/tun", R_OK | W_OK) ? "/dev/net/tun is not there for this user"
						   : NULL;
}

static void test_ordinary_user(void **state)
{
	(void)state;
	netport_as_user(conform, no_tap);
}

/* Both ways, from the shortest to what takes several buffers. */
static void test_bytes(void **state)
{
	static const uint16_t lengths[] = {60, 61, 1514, 2048, 2049, 8000, 9014};
	struct pn_port *port;

	(void)state;
	port = netport_start_at(SPEC, NETNS_PORT, 1, 0);
	netport_change_mtu(port, 9000);
	netport_echo_each(port, lengths, sizeof(lengths) / sizeof(lengths[0]));
	netport_end(port);
}

/* The kernel spreads flows over the queues: all that it sends comes, on one of them. */
static void test_queues(void **state)
{
	enum { QUEUES = 4, PACKETS = 200 };
	uint32_t got[QUEUES] = {0};
	struct pn_port *port;

	(void)state;
	port = netport_start_at(SPEC, NETNS_PORT, QUEUES, 0);
	netport_feed(PACKETS, 60);
	assert_int_equal(netport_gather(port, QUEUES, PACKETS, got), PACKETS);
	netport_send_each(port, QUEUES);
	netport_end(port);
}

static void test_link(void **state)
{
	struct pn_port *port;

	(void)state;
	port = netport_start_at(SPEC, NETNS_PORT, 1, 0);
	assert_true(netport_link_now(port).up);
	netport_down(port);
	assert_int_equal(netport_send(port, 32), 32);
	assert_int_equal(netport_stats(port).tx_errors, 32);
	conformance_sleeps(port, 20);
	netport_up();
	assert_true(netport_link_now(port).up);
	netns_empty(netport_peer);
	assert_int_equal(netport_send(port, 3), 3);
	netport_arrive(3);
	netport_end(port);
}

/* Deleted while it is in use: nothing is received, what is sent is dropped and counted. */
static void test_gone(void **state)
{
	struct pn_port *port;
	struct pn_buf *packet;
	uint64_t before;

	(void)state;
	port = netport_start_at(SPEC, NETNS_PORT, 1, 0);
	netns_cut();
	assert_false(netport_link_now(port).up);
	assert_int_equal(netport_send(port, 8), 8);
	assert_int_equal(netport_stats(port).tx_errors, 8);
	assert_int_equal(pn_port_rx_burst(port, 0, &packet, 1), 0);
	assert_true(netport_xstat(port, "rx_read_errors") > 0);
	/* Its file has an error now, for ever: waiting for it does not burn the core. */
	before = netport_cpu_ns();
	for (int i = 0; i < 200; i++)
		assert_true(pn_port_wait(&port, 1, 10) >= 0);
	assert_true(netport_cpu_ns() - before < 100000000);
	netport_end_gone(port);
}

/* It goes with the port, unless it is to stay; and then it can be opened again. */
static void test_persistent(void **state)
{
	struct pn_port_info info;
	struct pn_port *port;

	(void)state;
	netport_need();
	pn_port_close(netport_open(SPEC));
	assert_int_not_equal(netns_ip("link show " NETNS_PORT), 0);
	for (int i = 0; i < 2; i++) {
		pn_port_close(netport_open(SPEC ",persist=1"));
		assert_int_equal(netns_ip("link show " NETNS_PORT), 0);
	}
	netns_cut();
	/* The kernel finds names. */
	port = netport_open("tap");
	pn_port_get_info(port, &info);
	assert_non_null(strstr(info.note, "pntap0"));
	assert_int_equal(netns_ip("link show pntap0"), 0);
	pn_port_close(port);
}

static void test_threads(void **state)
{
	struct pn_port *port;

	(void)state;
	port = netport_start_at(SPEC, NETNS_PORT, 1, 0);
	netport_threads(port);
	netport_end(port);
}

static void test_words(void **state)
{
	static const char *const bad[] = {"tap:iface=a/b", "tap:iface=..", "tap:iface=a b",
		"tap:iface=0123456789abcdef", "tap:iface=x%d", "tap:persist=2",
		"tap:iface=", "tap:color=1"};
	struct pn_port *port = NULL;

	(void)state;
	conformance_refused(bad, sizeof(bad) / sizeof(bad[0]));
	netport_need();
	/* There already, and no tap. */
	assert_true(pn_port_open(&port, "tap:iface=lo", NULL) < 0);
	assert_non_null(strstr(pn_error(), "lo"));
	assert_null(port);
}

static void test_no_capability(void **state)
{
	(void)state;
	netport_need();
	netport_refused_without("tap", "CAP_NET_ADMIN");
}

static int setup(void **state)
{
	(void)state;
	netport_enter(no_tap);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* First: the namespace of the others is not entered yet. */
		cmocka_unit_test(test_ordinary_user),
		cmocka_unit_test_setup(test_conformance, setup),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_queues),
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_persistent),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_no_capability),
	};

	return cmocka_run_group_tests_name("tap_port", tests, NULL, NULL);
}
