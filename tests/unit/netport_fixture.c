/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See netport_fixture.h.
 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "netport_fixture.h"

struct pn_pool *netport_pool;
int netport_peer = -1;
uint32_t netport_buffers = 2048;

static struct pn_region *region;
static struct pn_heap *heap;
static const char *lacking; /* what tests need and is not there */

void netport_enter(const char *(*missing)(void))
{
	lacking = netns_enter();
	if (!lacking && missing)
		lacking = missing();
	if (lacking)
		printf("# %s\n", lacking);
}

static const char *no_xdp(void)
{
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return "the kernel has no AF_XDP";
	close(fd);
	return NULL;
}

void netport_enter_xdp(void)
{
	/* A kernel without AF_XDP, or a container that forbids BPF: said, and not tested. */
	if (!geteuid()) {
		netport_enter(no_xdp);
		return;
	}
	lacking = "AF_XDP takes root";
	printf("# %s\n", lacking);
}

void netport_need(void)
{
	if (lacking)
		netns_skip();
}

struct pn_port *netport_open(const char *spec)
{
	struct pn_port *port = NULL;

	if (pn_port_open(&port, spec, NULL))
		fail_msg("%s", pn_error());
	return port;
}

struct pn_port *netport_open_beside(const char *spec)
{
	struct pn_port_conf conf = {.rx_pool = netport_pool};
	struct pn_port *port = netport_open(spec);

	assert_int_equal(pn_port_configure(port, &conf), 0);
	return port;
}

static struct pn_port *driver_open(struct conformance *driver)
{
	*(int *)driver->own = netns_socket(NETNS_PEER);
	return netport_open(driver->name);
}

static void driver_close(struct conformance *driver, struct pn_port *port)
{
	pn_port_close(port);
	close(*(int *)driver->own);
}

struct conformance netport_driver(const char *spec, int *fd)
{
	return (struct conformance){
		.name = spec,
		.open = driver_open,
		.close = driver_close,
		.feed = netns_feed,
		.drain = netns_drain,
		.own = fd,
	};
}

struct pn_port *netport_start_at(
	const char *spec, const char *peer, uint16_t queues, uint16_t data_room)
{
	struct pn_pool_opts opts = {
		.count = netport_buffers, .data_room = data_room, .check = PN_POOL_CHECK_ON};
	struct pn_port_conf conf = {.rx_queues = queues, .tx_queues = queues};
	struct pn_region_opts memory = PN_REGION_OPTS_INIT;
	struct pn_port *port;

	netport_need();
	memory.page_size = PN_PAGE_4K;
	memory.backing = PN_BACKING_MEMFD;
	assert_int_equal(pn_region_create(&region, 16 << 20, &memory), 0);
	assert_int_equal(pn_heap_create(&heap, region, 0x10000000), 0);
	assert_int_equal(pn_pool_create(&netport_pool, heap, &opts), 0);
	port = netport_open(spec);
	conf.rx_pool = netport_pool;
	assert_int_equal(pn_port_configure(port, &conf), 0);
	if (pn_port_start(port))
		fail_msg("%s", pn_error());
	netport_peer = netns_socket(peer);
	return port;
}

struct pn_port *netport_start(const char *spec, uint16_t queues, uint16_t data_room)
{
	netport_need();
	netns_wire(queues);
	return netport_start_at(spec, NETNS_PEER, queues, data_room);
}

void netport_change_mtu(struct pn_port *port, uint16_t mtu)
{
	assert_int_equal(pn_port_stop(port), 0);
	assert_int_equal(pn_port_set_mtu(port, mtu), 0);
	assert_int_equal(pn_port_start(port), 0);
}

void netport_end(struct pn_port *port)
{
	pn_port_close(port);
	close(netport_peer);
	assert_int_equal(pn_pool_available(netport_pool), pn_pool_count(netport_pool));
	assert_int_equal(pn_pool_refused(netport_pool), 0);
	assert_int_equal(pn_pool_destroy(netport_pool), 0);
	assert_int_equal(pn_heap_destroy(heap), 0);
	assert_int_equal(pn_region_destroy(region), 0);
	netns_cut();
}

void netport_end_gone(struct pn_port *port)
{
	struct pn_buf *packet;

	assert_false(netport_link_now(port).up);
	assert_int_equal(pn_port_rx_burst(port, 0, &packet, 1), 0);
	assert_true(pn_port_wait(&port, 1, 10) >= 0);
	assert_int_equal(pn_port_stop(port), 0);
	assert_true(pn_port_start(port) < 0);
	netport_end(port);
}

void netport_down(struct pn_port *port)
{
	struct pn_port_link link;

	assert_int_equal(netns_ip("link set " NETNS_PORT " down"), 0);
	assert_int_equal(pn_port_wait(&port, 1, 5000), 1);
	link = netport_link_now(port);
	assert_false(link.up || link.speed_mbps);
}

void netport_up(void)
{
	assert_int_equal(netns_ip("link set " NETNS_PORT " up"), 0);
	netns_settle(NETNS_PORT, true);
}

void netport_feed(uint32_t n, size_t len)
{
	unsigned char frame[1514];

	assert_true(len <= sizeof(frame));
	for (uint32_t i = 0; i < n; i++) {
		netns_frame(frame, len, i);
		netns_send(netport_peer, frame, len);
	}
}

uint32_t netport_gather(struct pn_port *port, uint16_t queues, uint32_t packets, uint32_t *got)
{
	uint32_t all = 0;

	for (int idle = 0; all < packets && idle < 200; idle++) {
		for (uint16_t q = 0; q < queues; q++) {
			struct pn_buf *bufs[32];
			uint16_t n = pn_port_rx_burst(port, q, bufs, 32);

			pn_buf_free_bulk(bufs, n);
			got[q] += n;
			all += n;
		}
		if (all < packets)
			netns_idle(port, 10);
	}
	return all;
}

void netport_arrive(uint32_t n)
{
	unsigned char frame[60];

	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(netns_receive(netport_peer, frame, sizeof(frame)), 60);
}

void netport_send_each(struct pn_port *port, uint16_t queues)
{
	for (uint16_t q = 0; q < queues; q++) {
		struct pn_buf *packet;

		assert_int_equal(pn_pool_get(netport_pool, &packet, 1), 0);
		netns_frame(pn_buf_append(packet, 60), 60, q);
		assert_int_equal(pn_port_tx_burst(port, q, &packet, 1), 1);
		netport_arrive(1);
	}
}

struct pn_buf *netport_receive(struct pn_port *port, uint16_t queue)
{
	struct pn_buf *packet;

	for (int i = 0; i < 200; i++) {
		if (pn_port_rx_burst(port, queue, &packet, 1))
			return packet;
		netns_idle(port, 10);
	}
	fail_msg("no packet came");
	return NULL;
}

uint64_t netport_xstat(struct pn_port *port, const char *name)
{
	struct pn_port_xstat all[256];
	int count = pn_port_get_xstats(port, all, 256);

	assert_in_range(count, 1, 256);
	for (int i = 0; i < count; i++) {
		if (strcmp(all[i].name, name) == 0)
			return all[i].value;
	}
	fail_msg("no counter %s", name);
	return 0;
}

struct pn_port_stats netport_stats(struct pn_port *port)
{
	struct pn_port_stats stats;

	assert_int_equal(pn_port_get_stats(port, &stats), 0);
	return stats;
}

struct pn_port_link netport_link_now(struct pn_port *port)
{
	struct pn_port_link link;

	assert_int_equal(pn_port_get_link(port, &link), 0);
	return link;
}

uint16_t netport_send(struct pn_port *port, uint16_t n)
{
	struct pn_buf *bufs[32];
	uint16_t sent;

	assert_int_equal(pn_pool_get(netport_pool, bufs, n), 0);
	for (uint16_t i = 0; i < n; i++)
		netns_frame(pn_buf_append(bufs[i], 60), 60, i);
	sent = pn_port_tx_burst(port, 0, bufs, n);
	pn_buf_free_bulk(bufs + sent, (uint32_t)(n - sent));
	return sent;
}

uint64_t netport_cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void netport_echo(struct pn_port *port, uint16_t len, uint32_t number)
{
	static unsigned char frame[9100], back[9100];
	struct pn_buf *packet;
	size_t at = 0;

	netns_frame(frame, len, number);
	netns_send(netport_peer, frame, len);
	packet = netport_receive(port, 0);
	assert_int_equal(packet->pkt_len, len);
	for (struct pn_buf *seg = packet; seg; seg = seg->next) {
		assert_memory_equal(pn_buf_data(seg), frame + at, seg->data_len);
		at += seg->data_len;
	}
	assert_int_equal(at, len);
	/* Out again by as many pieces. */
	assert_int_equal(pn_port_tx_burst(port, 0, &packet, 1), 1);
	assert_int_equal(netns_receive(netport_peer, back, sizeof(back)), len);
	assert_memory_equal(back, frame, len);
}

void netport_echo_each(struct pn_port *port, const uint16_t *lengths, size_t count)
{
	for (size_t i = 0; i < count; i++)
		netport_echo(port, lengths[i], (uint32_t)i);
	assert_int_equal(netport_stats(port).rx_errors + netport_stats(port).tx_errors, 0);
}

void netport_lengths_sent(struct pn_port *port)
{
	unsigned char frame[2100];
	struct pn_buf *bufs[3];

	assert_int_equal(pn_pool_get(netport_pool, bufs, 3), 0);
	netns_frame(pn_buf_append(bufs[0], 20), 20, 1);
	netns_frame(pn_buf_append(bufs[1], 1600), 1600, 2);
	netns_frame(pn_buf_append(bufs[2], 100), 100, 3);
	/* Of a packet of one segment that segment's length counts. */
	bufs[0]->pkt_len = 1600;
	bufs[2]->pkt_len = 20;
	assert_int_equal(pn_port_tx_burst(port, 0, bufs, 3), 3);
	assert_int_equal(netns_receive(netport_peer, frame, sizeof(frame)), 60);
	for (size_t i = 20; i < 60; i++)
		assert_int_equal(frame[i], 0);
	assert_int_equal(netns_receive(netport_peer, frame, sizeof(frame)), 100);
	assert_int_equal(netport_stats(port).tx_packets, 2);
	assert_int_equal(netport_stats(port).tx_bytes, 120);
	assert_int_equal(netport_stats(port).tx_errors, 1);
}

static void check_child(int ret)
{
	if (ret == 77)
		skip();
	assert_int_equal(ret, 0);
}

void netport_in_child(int (*run)(void *arg))
{
	int ret;

	netport_need();
	ret = netns_in_child(run, NULL);
	netns_cut();
	check_child(ret);
}

struct user {
	void (*run)(void);
	const char *(*missing)(void);
};

static int run_as_user(void *arg)
{
	const struct user *user = arg;

	if (!getuid() && (setgroups(0, NULL) || setgid(1000) || setuid(1000)))
		return 1;
	prctl(PR_SET_DUMPABLE, 1); /* /proc/self is its own again */
	netport_enter(user->missing);
	if (lacking)
		return 77;
	user->run();
	return 0;
}

void netport_as_user(void (*run)(void), const char *(*missing)(void))
{
	struct user user = {run, missing};

	check_child(netns_in_child(run_as_user, &user));
}

int netport_drop_capability(unsigned int capability)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data))
		return 1;
	data[capability / 32].effective &= ~(1u << capability % 32);
	data[capability / 32].permitted &= ~(1u << capability % 32);
	return syscall(SYS_capset, &head, data) != 0;
}

struct without {
	const char *spec, *capability;
};

static int open_without(void *arg)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {0};
	const struct without *without = arg;
	struct pn_port *port;

	if (syscall(SYS_capset, &head, none))
		return 1;
	if (pn_port_open(&port, without->spec, NULL) != -EPERM)
		return 2;
	return !strstr(pn_error(), without->capability) || strchr(pn_error(), '\n') ? 3 : 0;
}

void netport_refused_without(const char *spec, const char *capability)
{
	struct without without = {spec, capability};

	assert_int_equal(netns_in_child(open_without, &without), 0);
}

/* What a thread of the port does until it is told to end. */
struct worker {
	struct pn_port *port;
	bool end;
	uint64_t packets;
};

static bool goes_on(struct worker *worker)
{
	return !__atomic_load_n(&worker->end, __ATOMIC_RELAXED);
}

static void *receive_all(void *arg)
{
	struct worker *worker = arg;
	struct pn_buf *bufs[32];

	while (goes_on(worker)) {
		uint16_t n = pn_port_rx_burst(worker->port, 0, bufs, 32);

		pn_buf_free_bulk(bufs, n);
		worker->packets += n;
		if (!n)
			(void)pn_port_wait(&worker->port, 1, 1);
	}
	return NULL;
}

static void *send_all(void *arg)
{
	struct worker *worker = arg;

	while (goes_on(worker)) {
		struct pn_buf *packet;

		if (pn_pool_get(netport_pool, &packet, 1))
			continue;
		netns_frame(pn_buf_append(packet, 60), 60, 1);
		if (pn_port_tx_burst(worker->port, 0, &packet, 1))
			worker->packets++;
		else
			pn_buf_free(packet);
	}
	return NULL;
}

static void wait_received(struct pn_port *port, uint64_t packets)
{
	for (int i = 0; i < 10000 && netport_stats(port).rx_packets < packets; i++)
		usleep(1000);
}

void netport_threads(struct pn_port *port)
{
	struct worker receives = {.port = port}, sends = {.port = port};
	pthread_t receiver, sender;
	struct pn_port_xstat xstats[64];
	struct pn_port_info info;
	struct pn_port_link link;
	unsigned char frame[100];
	uint32_t fed = 0;

	assert_int_equal(pthread_create(&receiver, NULL, receive_all, &receives), 0);
	assert_int_equal(pthread_create(&sender, NULL, send_all, &sends), 0);
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 20; i++, fed++) {
			netns_frame(frame, sizeof(frame), fed);
			netns_send(netport_peer, frame, sizeof(frame));
		}
		netns_empty(netport_peer);
		(void)netport_stats(port);
		assert_true(pn_port_get_xstats(port, xstats, 64) > 0);
		assert_int_equal(pn_port_get_link(port, &link), 0);
		pn_port_get_info(port, &info);
		assert_int_equal(pn_port_set_promiscuous(port, round % 2), 0);
		/* No more on their way than any queue holds: none may be missed. */
		wait_received(port, fed > 100 ? fed - 100 : 0);
	}
	wait_received(port, fed);
	/* A busy machine may not have let it run yet. */
	for (int i = 0; i < 10000 && !netport_stats(port).tx_packets; i++)
		usleep(1000);
	__atomic_store_n(&receives.end, true, __ATOMIC_RELAXED);
	__atomic_store_n(&sends.end, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(receiver, NULL), 0);
	assert_int_equal(pthread_join(sender, NULL), 0);
	assert_int_equal(receives.packets, fed);
	assert_true(sends.packets > 0);
	assert_int_equal(netport_stats(port).rx_packets, receives.packets);
	assert_int_equal(netport_stats(port).tx_packets, sends.packets);
}
