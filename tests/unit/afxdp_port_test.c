/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The afxdp port at one end of a wire in a network namespace: the conformance suite in each mode
 * that a veth interface has, with frames that are the pool's buffers and with the port's own;
 * links, pools run dry, several queues, interrupts that are deferred, and what is refused.
 */
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

#include "failing_alloc.h"
#include "netport_fixture.h"

#define SPEC "afxdp:iface=" NETNS_PORT

static void conform(const char *spec)
{
	int fd;
	struct conformance driver = netport_driver(spec, &fd);

	netport_need();
	netns_wire(1);
	conformance_run(&driver);
	netns_cut();
}

static void test_conformance(void **state)
{
	(void)state;
	conform(SPEC);
}

static void test_generic(void **state)
{
	(void)state;
	conform(SPEC ",mode=generic,busy=64");
}

static void check_bytes(uint16_t data_room, const char *note)
{
	static const uint16_t lengths[] = {60, 61, 200, 1514};
	struct pn_port_info info;
	struct pn_port *port = netport_start(SPEC, 1, data_room);

	pn_port_get_info(port, &info);
	assert_non_null(strstr(info.note, note));
	for (uint32_t round = 0; round < 3000; round++)
		netport_echo(port, lengths[round % 4], round);
	assert_int_equal(netport_stats(port).rx_packets, 3000);
	assert_int_equal(netport_stats(port).tx_packets, 3000);
	assert_int_equal(netport_stats(port).rx_missed + netport_stats(port).rx_errors, 0);
	assert_int_equal(netport_xstat(port, "rx_copied") != 0, data_room != 0);
	netport_end(port);
}

/* The rings go round many times, and every byte is as it was. */
static void test_bytes(void **state)
{
	(void)state;
	check_bytes(0, "pool's buffers");
	/* Too small and too large for a frame. */
	check_bytes(512, "copied");
	check_bytes(6000, "copied");
}

static void test_lengths_sent(void **state)
{
	struct pn_port *port;

	(void)state;
	port = netport_start(SPEC, 1, 0);
	netport_lengths_sent(port);
	netport_end(port);
}

/* The pool run dry: what comes is missed, and counted; with buffers it goes on. */
static void test_dry(void **state)
{
	enum { PACKETS = 1000 };
	static struct pn_buf *held[2048];
	struct pn_port *port;
	uint32_t n = 0, got = 0;

	(void)state;
	port = netport_start(SPEC, 1, 0);
	while (pn_pool_get(netport_pool, &held[n], 1) == 0)
		n++;
	netport_feed(PACKETS, 60);
	for (int idle = 0; idle < 20; idle++) {
		uint16_t more = pn_port_rx_burst(port, 0, &held[n], 8);

		n += more;
		got += more;
		if (more)
			idle = 0;
		else
			usleep(1000);
	}
	/* As many as the ring had frames. */
	assert_int_equal(got, 256);
	assert_true(netport_stats(port).rx_nombuf > 0);
	assert_int_equal(netport_stats(port).rx_missed, PACKETS - got);
	pn_buf_free_bulk(held, n);
	assert_int_equal(pn_port_rx_burst(port, 0, held, 1), 0);
	netport_feed(1, 60);
	pn_buf_free(netport_receive(port, 0));
	netport_end(port);
}

static void test_link(void **state)
{
	struct pn_port *port;
	uint32_t errors;

	(void)state;
	port = netport_start(SPEC, 1, 0);
	assert_true(netport_link_now(port).up);
	netport_down(port);
	/* The ring takes what fits; the rest is dropped, as nobody takes it away. */
	for (int i = 0; i < 20; i++)
		assert_int_equal(netport_send(port, 32), 32);
	errors = (uint32_t)netport_stats(port).tx_errors;
	assert_int_equal(netport_stats(port).tx_packets + errors, 640);
	assert_true(errors >= 640 - 256);
	netport_up();
	netns_empty(netport_peer);
	assert_true(netport_link_now(port).up);
	/* What was accepted goes out now, and what comes is received. */
	assert_int_equal(netport_send(port, 1), 1);
	netport_arrive(640 - errors);
	netport_feed(1, 60);
	pn_buf_free(netport_receive(port, 0));
	netport_end(port);
}

static void test_gone(void **state)
{
	struct pn_port *port;

	(void)state;
	port = netport_start(SPEC, 1, 0);
	assert_int_equal(netport_send(port, 8), 8);
	netns_cut();
	assert_false(netport_link_now(port).up);
	for (int i = 0; i < 20; i++)
		assert_int_equal(netport_send(port, 32), 32);
	assert_true(netport_stats(port).tx_errors >= 640 - 256);
	netport_end_gone(port);
}

/* Every queue of the interface has its socket. */
static void test_queues(void **state)
{
	enum { QUEUES = 2 };
	uint32_t got[QUEUES] = {0};
	struct pn_port_info info;
	struct pn_port *port;

	(void)state;
	port = netport_start(SPEC, QUEUES, 0);
	pn_port_get_info(port, &info);
	assert_int_equal(info.rx_queues_max, QUEUES);
	netport_send_each(port, QUEUES);
	for (int i = 0; i < 100; i++) {
		netport_feed(1, 60);
		assert_int_equal(netport_gather(port, QUEUES, 1, got), 1);
	}
	netport_end(port);
}

/* Whichever allocation fails, all is undone, and the next start works. */
static void test_no_memory(void **state)
{
	struct pn_port *first, *port;
	bool reached = true;

	(void)state;
	first = netport_start(SPEC, 1, 0);
	assert_int_equal(pn_port_stop(first), 0);
	for (unsigned int n = 1; reached; n++) {
		int ret;

		assert_true(n < 100);
		port = netport_open_beside(SPEC);
		allocations = 0;
		failing_allocation = n;
		ret = pn_port_start(port);
		failing_allocation = 0;
		reached = allocations >= n;
		/* The ledger it can do without. */
		if (ret)
			assert_int_equal(ret, -ENOMEM);
		pn_port_close(port);
	}
	netport_end(first);
}

/* Two programs at one interface: the second is told who is in the way. */
static void test_occupied(void **state)
{
	struct pn_port *port, *other;

	(void)state;
	port = netport_start(SPEC, 1, 0);
	other = netport_open_beside(SPEC);
	assert_int_equal(pn_port_start(other), -EBUSY);
	assert_non_null(strstr(pn_error(), "XDP program"));
	pn_port_close(other);
	netport_end(port);
}

static uint64_t setting(const char *file)
{
	char path[128], text[32] = "";
	FILE *stream;

	snprintf(path, sizeof(path), "/sys/class/net/" NETNS_PORT "/%s", file);
	stream = fopen(path, "r");
	assert_non_null(stream);
	assert_non_null(fgets(text, sizeof(text), stream));
	fclose(stream);
	return strtoull(text, NULL, 10);
}

static void expect_settings(uint64_t times, uint64_t timeout)
{
	assert_int_equal(setting("napi_defer_hard_irqs"), times);
	assert_int_equal(setting("gro_flush_timeout"), timeout);
}

static bool is_deferred(struct pn_port *port)
{
	struct pn_port_info info;

	pn_port_get_info(port, &info);
	return strstr(info.note, "deferred");
}

/* A process that ends without a word while its port runs. */
static int die_deferred(void *arg)
{
	struct pn_port *port;

	(void)arg;
	/* It would leave its ledger, too. */
	setenv("PINION_RUNTIME_DIR", "/dev/null", 1);
	port = netport_start_at(SPEC ",defer=300", NETNS_PEER, 1, 0);
	return !is_deferred(port);
}

/* What it left is put back by the next port, whatever that one asks for itself. */
static void check_left(const char *spec, uint64_t times, uint64_t timeout)
{
	struct pn_port *port;

	netns_wire(1);
	assert_int_equal(netns_in_child(die_deferred, NULL), 0);
	assert_int_equal(setting("napi_defer_hard_irqs"), 2);
	port = netport_start_at(spec, NETNS_PEER, 1, 0);
	expect_settings(times, timeout);
	assert_int_equal(pn_port_stop(port), 0);
	expect_settings(0, 0);
	netport_end(port);
}

static int deferred(void *arg)
{
	struct pn_port *port;

	(void)arg;
	/* Nobody but this process sees it, and what it shows is this network. */
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mount("sysfs", "/sys", "sysfs", 0, NULL))
		return 77;
	port = netport_start(SPEC ",defer=300", 1, 0);
	assert_true(is_deferred(port));
	expect_settings(2, 300089);
	assert_int_equal(pn_port_stop(port), 0);
	expect_settings(0, 0);
	netport_end(port);
	port = netport_start(SPEC ",defer=0", 1, 0);
	assert_false(is_deferred(port));
	assert_int_equal(setting("napi_defer_hard_irqs"), 0);
	netport_end(port);
	/* What an administrator has set stays, before and after. */
	port = netport_start(SPEC, 1, 0);
	assert_int_equal(pn_port_stop(port), 0);
	assert_int_equal(system("echo 1000 > /sys/class/net/" NETNS_PORT "/gro_flush_timeout"), 0);
	assert_int_equal(pn_port_start(port), 0);
	assert_false(is_deferred(port));
	expect_settings(0, 1000);
	assert_int_equal(pn_port_stop(port), 0);
	assert_int_equal(setting("gro_flush_timeout"), 1000);
	netport_end(port);
	check_left(SPEC ",defer=100", 2, 100089);
	check_left(SPEC ",defer=0", 0, 0);
	check_left(SPEC ",busy=0", 0, 0);
	return 0;
}

/* The interface's own settings are changed only while it runs, and only where they are its own. */
static void test_defer(void **state)
{
	struct pn_port *port;

	(void)state;
	/* /sys is that of the first network here. */
	port = netport_start(SPEC, 1, 0);
	assert_false(is_deferred(port));
	netport_end(port);
	netport_in_child(deferred);
}

static void test_threads(void **state)
{
	struct pn_port *port;

	(void)state;
	port = netport_start(SPEC, 1, 0);
	netport_threads(port);
	netport_end(port);
}

static void test_words(void **state)
{
	static const char *const bad[] = {"afxdp", "afxdp:iface=", "afxdp:iface=a/b",
		"afxdp:iface=lo,mode=fast", "afxdp:iface=lo,queue=1099511627776",
		"afxdp:iface=lo,busy=x", "afxdp:iface=lo,color=1"};
	struct pn_port *good, *port = NULL;

	(void)state;
	conformance_refused(bad, sizeof(bad) / sizeof(bad[0]));
	netport_need();
	assert_int_equal(pn_port_open(&port, "afxdp:iface=nowhere", NULL), -ENODEV);
	/* A veth has no zero copy: what was asked for is never replaced by another. */
	good = netport_start(SPEC, 1, 0);
	assert_int_equal(pn_port_stop(good), 0);
	port = netport_open_beside(SPEC ",mode=zerocopy");
	assert_int_equal(pn_port_start(port), -EOPNOTSUPP);
	assert_non_null(strstr(pn_error(), "zero copy"));
	pn_port_close(port);
	netport_end(good);
}

static int without_bpf(void *arg)
{
	struct pn_port *port;

	(void)arg;
	port = netport_start(SPEC, 1, 0);
	assert_int_equal(pn_port_stop(port), 0);
	if (netport_drop_capability(CAP_SYS_ADMIN) || netport_drop_capability(CAP_BPF))
		return 77;
	assert_int_equal(pn_port_start(port), -EPERM);
	assert_non_null(strstr(pn_error(), "CAP_BPF"));
	assert_null(strchr(pn_error(), '\n'));
	netport_end(port);
	return 0;
}

static void test_no_capability(void **state)
{
	(void)state;
	netport_need();
	assert_int_equal(netns_in_child(without_bpf, NULL), 0);
}

static char folder[] = "/tmp/afxdp-port-XXXXXX"; /* of ledgers */

static int teardown(void **state)
{
	(void)state;
	return rmdir(folder);
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(folder) || setenv("PINION_RUNTIME_DIR", folder, 1))
		return 1;
	netport_enter_xdp();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conformance),
		cmocka_unit_test(test_generic),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_lengths_sent),
		cmocka_unit_test(test_dry),
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_queues),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_occupied),
		cmocka_unit_test(test_defer),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_no_capability),
	};

	return cmocka_run_group_tests_name("afxdp_port", tests, setup, teardown);
}
