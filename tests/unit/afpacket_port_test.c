/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The afpacket port at one end of a wire in a network namespace: the conformance suite, as root and
 * as an ordinary user; VLAN tags, checksums and frames that no wire carries; several queues; a link
 * that goes down, an interface that goes away, a ring that overflows; and what is refused.
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "netport_fixture.h"

#define SPEC "afpacket:iface=" NETNS_PORT

static void conform(void)
{
	int fd;
	struct conformance driver = netport_driver(SPEC, &fd);

	driver.sent = netns_sent;
	driver.rx_from_pool = true;
	netns_wire(1);
	netns_fill_checksums(NETNS_PORT);
	conformance_run(&driver);
	driver.name = SPEC ",bypass=0,timestamp=1,hash=1,block=65536";
	conformance_run(&driver);
	netns_cut();
}

static void test_conformance(void **state)
{
	(void)state;
	netport_need();
	conform();
}

static void test_ordinary_user(void **state)
{
	(void)state;
	netport_as_user(conform, NULL);
}

/* All bytes as they were sent, from the shortest to what takes several buffers. */
static void test_bytes(void **state)
{
	static const uint16_t lengths[] = {60, 61, 1514, 2047, 2048, 2049, 8000, 9014};
	struct pn_port *port;

	(void)state;
	port = netport_start(SPEC, 1, 0);
	assert_int_equal(netns_ip("link set " NETNS_PEER " mtu 9000"), 0);
	netport_change_mtu(port, 9000);
	netport_echo_each(port, lengths, sizeof(lengths) / sizeof(lengths[0]));
	netport_end(port);
}

static void test_lengths_sent(void **state)
{
	struct pn_port *port;

	(void)state;
	port = netport_start(SPEC, 1, 0);
	netport_lengths_sent(port);
	assert_int_equal(netport_xstat(port, "tx_kernel_refused"), 1);
	netport_end(port);
}

/* The next packet is this frame. */
static struct pn_buf *receive_same(struct pn_port *port, const unsigned char *frame, size_t len)
{
	struct pn_buf *packet = netport_receive(port, 0);

	assert_int_equal(packet->pkt_len, len);
	assert_memory_equal(pn_buf_data(packet), frame, len);
	return packet;
}

/* The kernel takes a tag out of the frame; here it is in its place again. */
static void test_vlan(void **state)
{
	static const uint16_t types[] = {0x8100, 0x88a8};
	unsigned char frame[1518];
	struct pn_port *port;

	(void)state;
	port = netport_start(SPEC, 1, 0);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		/* The kernel lets a tag of the second kind go beyond the MTU for nobody. */
		for (size_t len = 64; len <= (i ? 64 : sizeof(frame)); len += 1454) {
			netns_frame(frame, len, 7);
			frame[12] = (unsigned char)(types[i] >> 8);
			frame[13] = (unsigned char)types[i];
			frame[14] = 0x61;
			frame[15] = 0x23;
			frame[16] = 0x88;
			frame[17] = 0xb5;
			netns_send(netport_peer, frame, len);
			pn_buf_free(receive_same(port, frame, len));
		}
	}
	netport_end(port);
}

/* Asked for, the first kind of tag is told and stays out; another is in its place as before. */
static void test_vlan_told(void **state)
{
	struct pn_port_conf conf = {.rx_offloads = PN_BUF_RX_VLAN | PN_BUF_RX_HASH};
	unsigned char frame[64], out[64];
	struct pn_port *port;
	struct pn_buf *packet;

	(void)state;
	port = netport_start(SPEC, 1, 0);
	assert_int_equal(pn_port_stop(port), 0);
	conf.rx_pool = netport_pool;
	assert_int_equal(pn_port_configure(port, &conf), 0);
	assert_int_equal(pn_port_start(port), 0);
	netns_frame(frame, sizeof(frame), 7);
	memcpy(frame + 12, "\x81\0\x61\x23\x88\xb5", 6);
	netns_send(netport_peer, frame, sizeof(frame));
	memcpy(out, frame, 12);
	memcpy(out + 12, frame + 16, 48);
	packet = receive_same(port, out, 60);
	assert_int_equal(packet->flags & conf.rx_offloads, conf.rx_offloads);
	assert_int_equal(packet->vlan_tci, 0x6123);
	pn_buf_free(packet);
	memcpy(frame + 12, "\x88\xa8", 2);
	netns_send(netport_peer, frame, sizeof(frame));
	packet = receive_same(port, frame, 64);
	assert_int_equal(packet->flags & PN_BUF_RX_VLAN, 0);
	pn_buf_free(packet);
	netport_end(port);
}

/* A port whose other end sends a virtio_net header before each frame. */
static struct pn_port *start_vnet(void)
{
	struct pn_port *port = netport_start(SPEC, 1, 0);

	close(netport_peer);
	netport_peer = netns_socket_vnet(NETNS_PEER);
	return port;
}

static uint16_t sum_of(const unsigned char *data, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)data[i] << 8 | (i + 1 < len ? data[i + 1] : 0);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* A local sender leaves checksums to its card: there is none here, so the port fills them in. */
static void test_checksum(void **state)
{
	static const size_t lengths[] = {60, 61, 200, 1514};
	struct pn_port *port;

	(void)state;
	port = start_vnet();
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct {
			struct virtio_net_hdr head;
			unsigned char frame[1514];
		} __attribute__((packed)) sent = {0};
		struct pn_buf *packet;

		netns_frame(sent.frame, lengths[i], (uint32_t)i);
		sent.head.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		sent.head.csum_start = 34;
		sent.head.csum_offset = 6;
		sent.frame[40] = 0x12; /* of the pseudo header */
		sent.frame[41] = 0x34;
		netns_send(netport_peer, &sent, sizeof(sent.head) + lengths[i]);
		packet = netport_receive(port, 0);
		assert_int_equal(packet->pkt_len, lengths[i]);
		/* Right when all together, without the pseudo header's part, is its complement. */
		assert_int_equal(sum_of(pn_buf_data(packet) + 34, lengths[i] - 34),
			(uint16_t) ~(uint16_t)0x1234);
		pn_buf_free(packet);
	}
	netport_end(port);
}

/* What a sender left to its card to cut into frames is no frame, and is not handed on. */
static void test_unsegmented(void **state)
{
	struct {
		struct virtio_net_hdr head;
		unsigned char frame[6000];
	} __attribute__((packed)) sent = {0};
	struct pn_port *port;
	struct pn_buf *packet;

	(void)state;
	port = start_vnet();
	netns_frame(sent.frame, sizeof(sent.frame), 1);
	sent.frame[12] = 8;
	sent.frame[13] = 0;
	memcpy(sent.frame + 14, "\x45\0\x17\x62\0\0\0\0\x40\x06", 10);
	sent.frame[46] = 0x50;
	sent.head = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = 54,
		.gso_size = 1400,
		.csum_start = 34,
		.csum_offset = 16,
	};
	netns_send(netport_peer, &sent, sizeof(sent));
	sent.head = (struct virtio_net_hdr){0};
	netns_send(netport_peer, &sent, sizeof(sent.head) + 100);
	packet = netport_receive(port, 0);
	assert_int_equal(packet->pkt_len, 100);
	pn_buf_free(packet);
	assert_int_equal(netport_stats(port).rx_errors, 1);
	assert_int_equal(netport_xstat(port, "rx_unsegmented") + netport_xstat(port, "rx_cut"), 1);
	netport_end(port);
}

/* A flow stays on its queue; together the queues have everything. */
static void test_queues(void **state)
{
	enum { QUEUES = 4, PACKETS = 400 };
	uint32_t got[QUEUES] = {0};
	struct pn_port *port;

	(void)state;
	port = netport_start(SPEC ",fanout=lb", QUEUES, 0);
	netport_feed(PACKETS, 60);
	assert_int_equal(netport_gather(port, QUEUES, PACKETS, got), PACKETS);
	for (uint16_t q = 0; q < QUEUES; q++) {
		char name[32];

		snprintf(name, sizeof(name), "rx_q%u_packets", q);
		assert_int_equal(got[q], PACKETS / QUEUES);
		assert_int_equal(netport_xstat(port, name), got[q]);
	}
	netport_send_each(port, QUEUES);
	netport_end(port);
}

/* Down: the link says so, what is sent is dropped and counted, waiting sleeps; up: all is well. */
static void test_link(void **state)
{
	struct pn_port_link link;
	struct pn_port *port;
	uint64_t before;

	(void)state;
	port = netport_start(SPEC, 1, 0);
	link = netport_link_now(port);
	assert_true(link.up && link.full_duplex && link.speed_mbps);
	conformance_sleeps(port, 0);
	netport_down(port);
	assert_int_equal(netport_send(port, 32), 32);
	assert_int_equal(netport_send(port, 5), 5);
	assert_int_equal(netport_stats(port).tx_errors, 37);
	assert_int_equal(netport_stats(port).tx_packets, 0);
	before = netport_cpu_ns();
	conformance_sleeps(port, 300);
	assert_true(netport_cpu_ns() - before < 100000000);
	netport_up();
	assert_int_equal(pn_port_wait(&port, 1, 5000), 1);
	assert_true(netport_link_now(port).up);
	assert_int_equal(netport_send(port, 3), 3);
	netport_arrive(3);
	netport_feed(1, 60);
	pn_buf_free(netport_receive(port, 0));
	netport_end(port);
}

/* The peer's end unplugged is no carrier; the interface itself gone is a link that stays down. */
static void test_gone(void **state)
{
	struct pn_port_info info;
	struct pn_port *port;
	const uint8_t mac[PN_MAC_LEN] = {2, 0, 0, 0, 0, 7};

	(void)state;
	port = netport_start(SPEC, 1, 0);
	assert_int_equal(netns_ip("link set " NETNS_PEER " down"), 0);
	netns_settle(NETNS_PORT, false);
	assert_false(netport_link_now(port).up);
	netns_cut();
	/* Another one of its name is not the same. */
	netns_wire(1);
	assert_false(netport_link_now(port).up);
	assert_int_equal(netport_send(port, 8), 8);
	assert_int_equal(netport_stats(port).tx_errors, 8);
	pn_port_get_info(port, &info);
	assert_int_equal(pn_port_set_mac(port, mac), -ENODEV);
	assert_non_null(strstr(pn_error(), "gone"));
	netport_end_gone(port);
}

/* A ring that nobody empties: what had no room is counted as missed. */
static void test_overflow(void **state)
{
	enum { PACKETS = 20000 };
	struct pn_port *port;
	uint64_t got = 0;

	(void)state;
	port = netport_start(SPEC, 1, 0);
	netport_feed(PACKETS, 1000);
	for (int idle = 0; idle < 20; idle++) {
		struct pn_buf *bufs[32];
		uint16_t n = pn_port_rx_burst(port, 0, bufs, 32);

		pn_buf_free_bulk(bufs, n);
		got += n;
		if (n)
			idle = 0;
		else
			usleep(1000);
	}
	assert_true(got > 100 && got < PACKETS);
	assert_int_equal(netport_stats(port).rx_packets, got);
	assert_int_equal(netport_stats(port).rx_missed, PACKETS - got);
	assert_int_equal(netport_xstat(port, "rx_kernel_drops"), PACKETS - got);
	assert_int_equal(pn_port_stats_reset(port), 0);
	assert_int_equal(netport_stats(port).rx_missed, 0);
	netport_end(port);
}

static void test_flags(void **state)
{
	struct pn_port_info info;
	struct pn_port *port;
	struct pn_buf *packet;
	struct timespec now;

	(void)state;
	port = netport_start(SPEC ",timestamp=1,hash=1", 1, 0);
	pn_port_get_info(port, &info);
	assert_true(info.rx_offloads & PN_BUF_RX_TIMESTAMP && info.rx_offloads & PN_BUF_RX_HASH);
	assert_non_null(strstr(info.note, "TPACKET_V3"));
	netport_feed(1, 60);
	packet = netport_receive(port, 0);
	clock_gettime(CLOCK_REALTIME, &now);
	assert_true(packet->flags & PN_BUF_RX_TIMESTAMP && packet->flags & PN_BUF_RX_HASH);
	assert_in_range(pn_buf_timestamp(packet) / 1000000000u, (uint64_t)now.tv_sec - 60,
		(uint64_t)now.tv_sec);
	pn_buf_free(packet);
	netport_end(port);
}

/* MAC and MTU are the interface's, and as before when the port is closed. */
static void test_put_back(void **state)
{
	static const uint8_t mac[PN_MAC_LEN] = {2, 1, 2, 3, 4, 5};
	struct pn_port_info before, after;
	struct pn_port *port;

	(void)state;
	netport_need();
	netns_wire(1);
	port = netport_open(SPEC);
	pn_port_get_info(port, &before);
	assert_int_equal(pn_port_set_mac(port, mac), 0);
	assert_int_equal(pn_port_set_mtu(port, 1400), 0);
	pn_port_close(port);
	port = netport_open(SPEC);
	pn_port_get_info(port, &after);
	assert_memory_equal(after.mac, before.mac, PN_MAC_LEN);
	assert_int_equal(after.mtu, before.mtu);
	pn_port_close(port);
	netns_cut();
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
	static const char *const bad[] = {"afpacket",
		"afpacket:", "afpacket:iface=", "afpacket:iface=a/b", "afpacket:iface=..",
		"afpacket:iface=0123456789abcdef", "afpacket:iface=a b",
		"afpacket:iface=lo,fanout=round", "afpacket:iface=lo,block=x",
		"afpacket:iface=lo,block=1099511627776", "afpacket:iface=lo,wait=0",
		"afpacket:iface=lo,color=1"};
	struct pn_port *port = NULL;

	(void)state;
	conformance_refused(bad, sizeof(bad) / sizeof(bad[0]));
	netport_need();
	assert_int_equal(pn_port_open(&port, "afpacket:iface=nowhere", NULL), -ENODEV);
	assert_non_null(strstr(pn_error(), "nowhere"));
}

/* Without the capability: one line with the mend. */
static void test_no_capability(void **state)
{
	(void)state;
	netport_refused_without("afpacket:iface=lo", "CAP_NET_RAW");
}

static int setup(void **state)
{
	(void)state;
	netport_enter(NULL);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* First: the namespace of the others is not entered yet. */
		cmocka_unit_test(test_ordinary_user),
		cmocka_unit_test_setup(test_conformance, setup),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_lengths_sent),
		cmocka_unit_test(test_vlan),
		cmocka_unit_test(test_vlan_told),
		cmocka_unit_test(test_checksum),
		cmocka_unit_test(test_unsegmented),
		cmocka_unit_test(test_queues),
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_put_back),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_no_capability),
	};

	return cmocka_run_group_tests_name("afpacket_port", tests, NULL, NULL);
}
