/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Offloads of the e1000 driver: what descriptors say of received packets, what is written for those
 * that are sent, the registers that turn it on, and what is refused. And leaving checksums to a
 * port (pn_buf_leave_checksums()), which any other uses too.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "e1000.h"
#include "e1000_fake.h"

#define DEVICES 2

static const uint16_t devices[DEVICES] = {0x100e, 0x10d3};

/* A port on a card of plain memory. */
struct rig {
	struct fake_memory memory;
	struct fake_device device;
	struct pn_pool *pool;
	struct pn_port *port;
	bool extended;
	uint32_t next; /* receive slot that the device writes next */
};

static void rig_init(struct rig *r, uint16_t device)
{
	struct pn_pool_opts opts = {.count = 256};
	/* Nothing looks into the domain: the functions that would are replaced. */
	struct pn_port_opts port = {.domain = (struct pn_domain *)(void *)r};

	memset(r, 0, sizeof(*r));
	fake_memory_init(&r->memory, 4 << 20);
	fake_device_init(&r->device, 0x8086, device);
	fake_device_run(&r->device);
	r->extended = device == 0x10d3;
	port.heap = r->memory.heap;
	assert_int_equal(pn_pool_create(&r->pool, r->memory.heap, &opts), 0);
	if (pn_port_open(&r->port, "0000:00:10.0", &port))
		fail_msg("%s", pn_error());
}

static void rig_fini(struct rig *r)
{
	pn_port_close(r->port);
	assert_int_equal(pn_pool_available(r->pool), pn_pool_count(r->pool));
	assert_int_equal(pn_pool_destroy(r->pool), 0);
	fake_device_halt(&r->device);
	fake_device_fini(&r->device);
	fake_memory_fini(&r->memory);
}

static int configure(struct rig *r, uint32_t rx, uint32_t tx)
{
	struct pn_port_conf conf = {
		.rx_pool = r->pool,
		.rxd = 64,
		.txd = 64,
		.rx_offloads = rx,
		.tx_offloads = tx,
	};

	return pn_port_configure(r->port, &conf);
}

static void start(struct rig *r, uint32_t rx, uint32_t tx)
{
	assert_int_equal(configure(r, rx, tx), 0);
	assert_int_equal(pn_port_start(r->port), 0);
	r->next = 0;
}

static struct e1000_desc *ring(struct rig *r, uint32_t base)
{
	uint64_t iova = (uint64_t)fake_reg(&r->device, base + 4) << 32 | fake_reg(&r->device, base);

	return fake_memory_at(&r->memory, iova, 64 * sizeof(struct e1000_desc));
}

/* A frame of 60 bytes with these status bits, errors and tag; as it is received. */
static struct pn_buf *receive(struct rig *r, uint32_t status, uint32_t errors, uint16_t tag)
{
	struct e1000_desc *desc = &ring(r, E1000_RDBAL)[r->next++];
	uint64_t meta = (uint64_t)tag << 48;
	struct pn_buf *packet;

	if (r->extended)
		meta |= UINT64_C(60) << 32 | (uint64_t)errors << 24 | status | E1000_RXDEXT_DD |
			E1000_RXDEXT_EOP;
	else
		meta |= UINT64_C(60) | (uint64_t)errors << 40 | (uint64_t)status << 32 |
			E1000_RXD_DD | E1000_RXD_EOP;
	desc->meta = meta;
	assert_int_equal(pn_port_rx_burst(r->port, 0, &packet, 1), 1);
	return packet;
}

static uint32_t flags_of(struct rig *r, uint32_t status, uint32_t errors)
{
	struct pn_buf *packet = receive(r, status, errors, 0x6123);
	uint32_t flags = packet->flags;

	if (flags & PN_BUF_RX_VLAN)
		assert_int_equal(packet->vlan_tci, 0x6123);
	pn_buf_free(packet);
	return flags;
}

static void test_received(void **state)
{
	const uint32_t ip = E1000_RXD_STA_IPCS, tcp = E1000_RXD_STA_TCPCS;

	(void)state;
	for (size_t i = 0; i < DEVICES; i++) {
		struct rig r;

		rig_init(&r, devices[i]);
		start(&r, E1000_RX_OFFLOADS, 0);
		assert_int_equal(flags_of(&r, 0, 0), 0);
		assert_int_equal(flags_of(&r, ip, 0), PN_BUF_RX_IP_GOOD);
		assert_int_equal(flags_of(&r, ip, E1000_RXD_ERR_IPE), PN_BUF_RX_IP_BAD);
		assert_int_equal(flags_of(&r, ip | tcp, 0), PN_BUF_RX_IP_GOOD | PN_BUF_RX_L4_GOOD);
		assert_int_equal(flags_of(&r, ip | tcp, E1000_RXD_ERR_TCPE),
			PN_BUF_RX_IP_GOOD | PN_BUF_RX_L4_BAD);
		/* Only the 82574 has a bit of its own for UDP. */
		assert_int_equal(
			flags_of(&r, E1000_RXD_STA_UDPCS, 0), r.extended ? PN_BUF_RX_L4_GOOD : 0);
		/* An error of what was not checked, and checks that are to be ignored. */
		assert_int_equal(flags_of(&r, 0, E1000_RXD_ERR_TCPE | E1000_RXD_ERR_IPE), 0);
		assert_int_equal(flags_of(&r, ip | tcp | E1000_RXD_STA_IXSM, 0), 0);
		assert_int_equal(
			flags_of(&r, E1000_RXD_STA_VP | E1000_RXD_STA_IXSM, 0), PN_BUF_RX_VLAN);
		rig_fini(&r);
	}
}

/* Only what was asked for is told, and turned on. */
static void test_asked(void **state)
{
	const uint32_t all = E1000_RXD_STA_VP | E1000_RXD_STA_IPCS | E1000_RXD_STA_TCPCS;

	(void)state;
	for (size_t i = 0; i < DEVICES; i++) {
		struct rig r;

		rig_init(&r, devices[i]);
		start(&r, 0, 0);
		assert_int_equal(flags_of(&r, all, 0), 0);
		assert_int_equal(fake_reg(&r.device, E1000_RXCSUM), 0);
		assert_false(fake_reg(&r.device, E1000_CTRL) & E1000_CTRL_VME);
		assert_int_equal(pn_port_stop(r.port), 0);
		start(&r, PN_BUF_RX_VLAN, 0);
		assert_int_equal(flags_of(&r, all, 0), PN_BUF_RX_VLAN);
		assert_int_equal(fake_reg(&r.device, E1000_RXCSUM), 0);
		assert_true(fake_reg(&r.device, E1000_CTRL) & E1000_CTRL_VME);
		assert_int_equal(fake_reg(&r.device, E1000_VET), 0x8100);
		assert_int_equal(pn_port_stop(r.port), 0);
		start(&r, PN_BUF_RX_L4_GOOD, 0);
		assert_int_equal(flags_of(&r, all, 0), PN_BUF_RX_L4_GOOD);
		assert_int_equal(fake_reg(&r.device, E1000_RXCSUM), 0x300);
		assert_false(fake_reg(&r.device, E1000_CTRL) & E1000_CTRL_VME);
		rig_fini(&r);
	}
}

static void test_refused(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, 0x10d3);
	assert_int_equal(configure(&r, PN_BUF_RX_HASH, 0), -ENOTSUP);
	assert_non_null(strstr(pn_error(), "the receive offloads RX_HASH; it offers: RX_VLAN"));
	assert_int_equal(configure(&r, 0, PN_BUF_TX_TSO | PN_BUF_TX_IP), -ENOTSUP);
	assert_non_null(strstr(pn_error(), "the transmit offloads TX_TSO; it offers: TX_VLAN"));
	/* What belongs to the other direction, and what there is not. */
	assert_int_equal(configure(&r, PN_BUF_TX_IP, 0), -ENOTSUP);
	assert_int_equal(configure(&r, 0, UINT32_C(1) << 31), -ENOTSUP);
	assert_non_null(strstr(pn_error(), "0x80000000"));
	assert_int_equal(configure(&r, 0, PN_BUF_TX_VLAN), -EINVAL);
	assert_non_null(strstr(pn_error(), "RX_VLAN"));
	assert_int_equal(pn_port_start(r.port), -EINVAL);
	assert_int_equal(configure(&r, PN_BUF_RX_VLAN, PN_BUF_TX_VLAN), 0);
	rig_fini(&r);
}

static struct pn_buf *packet_for(struct rig *r, uint32_t flags, uint16_t len)
{
	struct pn_buf *packet;

	assert_int_equal(pn_pool_get(r->pool, &packet, 1), 0);
	memset(pn_buf_append(packet, len), 0x11, len);
	packet->flags = flags;
	packet->l2_len = 14;
	packet->l3_len = 20;
	packet->vlan_tci = 0x2007;
	return packet;
}

static void send(struct rig *r, struct pn_buf *packet)
{
	assert_int_equal(pn_port_tx_burst(r->port, 0, &packet, 1), 1);
}

static void expect_data(const struct e1000_desc *desc, uint64_t len, uint64_t bits)
{
	assert_int_equal(desc->meta & ~E1000_TXD_CMD_RS,
		len | bits | E1000_TXD_CMD_EOP | E1000_TXD_CMD_IFCS);
}

static void test_sent(void **state)
{
	const uint64_t dext = E1000_TXD_CMD_DEXT, data = dext | E1000_TXD_DTYP_DATA;
	const uint64_t tag = E1000_TXD_CMD_VLE | UINT64_C(0x2007) << 48;
	const uint64_t ip = UINT64_C(33) << 16 | 24 << 8 | 14;
	const struct e1000_desc *tx;
	struct rig r;

	(void)state;
	rig_init(&r, 0x10d3);
	start(&r, PN_BUF_RX_VLAN, E1000_TX_OFFLOADS);
	tx = ring(&r, E1000_TDBAL);
	/* Slots: 0 nothing asked; 1, 2 a tag; 3 with its context in 2. */
	send(&r, packet_for(&r, 0, 60));
	expect_data(&tx[0], 60, 0);
	send(&r, packet_for(&r, PN_BUF_TX_VLAN, 60));
	expect_data(&tx[1], 60, tag);
	send(&r, packet_for(&r, PN_BUF_TX_IP | PN_BUF_TX_UDP, 100));
	assert_int_equal(tx[2].addr, ip | UINT64_C(34) << 32 | UINT64_C(40) << 40);
	assert_int_equal(tx[2].meta, dext);
	expect_data(&tx[3], 100, data | E1000_TXD_POPT_IXSM | E1000_TXD_POPT_TXSM);
	/* The same context, and one checksum of the two. */
	send(&r, packet_for(&r, PN_BUF_TX_UDP | PN_BUF_TX_VLAN, 80));
	expect_data(&tx[4], 80, data | E1000_TXD_POPT_TXSM | tag);
	send(&r, packet_for(&r, PN_BUF_TX_IP, 60));
	expect_data(&tx[5], 60, data | E1000_TXD_POPT_IXSM);
	send(&r, packet_for(&r, PN_BUF_TX_TCP, 80));
	assert_int_equal(tx[6].addr, ip | UINT64_C(34) << 32 | UINT64_C(50) << 40);
	assert_int_equal(tx[6].meta, dext | E1000_TXC_TUCMD_TCP);
	expect_data(&tx[7], 80, data | E1000_TXD_POPT_TXSM);
	assert_int_equal(fake_reg(&r.device, E1000_TDT), 8);
	/* The device forgets it when it is reset. */
	assert_int_equal(pn_port_stop(r.port), 0);
	assert_int_equal(pn_port_start(r.port), 0);
	send(&r, packet_for(&r, PN_BUF_TX_TCP, 80));
	assert_int_equal(fake_reg(&r.device, E1000_TDT), 2);
	rig_fini(&r);
}

/* Headers that are not there, or would not be within the packet. */
static void test_bad_headers(void **state)
{
	static const struct {
		uint32_t flags;
		uint16_t len;
		uint8_t l2_len, l3_len;
	} bad[] = {
		{PN_BUF_TX_IP, 60, 0, 20},
		{PN_BUF_TX_IP, 60, 13, 20},
		{PN_BUF_TX_IP, 60, 14, 0},
		{PN_BUF_TX_IP, 60, 14, 19},
		{PN_BUF_TX_IP, 60, 14, 60},
		{PN_BUF_TX_IP, 60, 255, 255},
		{PN_BUF_TX_UDP, 60, 14, 40},
		{PN_BUF_TX_TCP, 60, 14, 28},
		{PN_BUF_TX_TCP, 600, 240, 20},
		{PN_BUF_TX_TCP | PN_BUF_TX_UDP, 60, 14, 20},
	};
	struct pn_port_stats stats;
	struct rig r;

	(void)state;
	rig_init(&r, 0x100e);
	start(&r, 0, PN_BUF_TX_CHECKSUMS);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct pn_buf *packet = packet_for(&r, bad[i].flags, bad[i].len);

		packet->l2_len = bad[i].l2_len;
		packet->l3_len = bad[i].l3_len;
		send(&r, packet);
		assert_int_equal(pn_port_get_stats(r.port, &stats), 0);
		assert_int_equal(stats.tx_errors, i + 1);
	}
	assert_int_equal(fake_reg(&r.device, E1000_TDT), 0);
	/* With a tag that nobody looks at, it is none of the driver's business. */
	send(&r, packet_for(&r, PN_BUF_TX_VLAN, 60));
	expect_data(&ring(&r, E1000_TDBAL)[0], 60, 0);
	rig_fini(&r);
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

/* Ethernet with this type or tags, and what follows. */
static struct pn_buf *build(struct rig *r, const char *types, size_t types_len,
	const unsigned char *rest, uint16_t rest_len)
{
	struct pn_buf *packet;
	unsigned char *data;

	assert_int_equal(pn_pool_get(r->pool, &packet, 1), 0);
	data = pn_buf_append(packet, (uint16_t)(12 + types_len + rest_len));
	if (!data) {
		fail_msg("no room for %zu bytes", 12 + types_len + rest_len);
		return packet;
	}
	memset(data, 2, 12);
	memcpy(data + 12, types, types_len);
	memcpy(data + 12 + types_len, rest, rest_len);
	return packet;
}

/* IPv4 with UDP of 3 bytes, 10.0.0.1 to 10.0.0.2; the checksums hold what they should not. */
static const unsigned char udp4[] = {0x45, 0, 0, 31, 0, 1, 0, 0, 64, 17, 0xaa, 0xaa, 10, 0, 0, 1,
	10, 0, 0, 2, 0x12, 0x34, 0, 7, 0, 11, 0xbb, 0xbb, 'a', 'b', 'c'};

/* What has to be padded is filled in before the device sees it; memory of others is not touched. */
static void test_short(void **state)
{
	static const uint8_t right_ip[] = {0x66, 0xcb}, right_udp[] = {0x15, 0x38};
	unsigned char before[14 + sizeof(udp4)];
	struct pn_buf *packet, *clone, *rest[256];
	struct pn_port_stats stats;
	struct rig r;
	uint32_t n = 0;

	(void)state;
	rig_init(&r, 0x10d3);
	start(&r, 0, PN_BUF_TX_CHECKSUMS);
	packet = build(&r, "\x08\0", 2, udp4, sizeof(udp4));
	assert_int_equal(
		pn_buf_leave_checksums(packet, PN_BUF_TX_CHECKSUMS), PN_BUF_TX_IP | PN_BUF_TX_UDP);
	memcpy(before, pn_buf_data(packet), sizeof(before));
	clone = pn_buf_clone(r.pool, packet);
	assert_non_null(clone);
	for (uint32_t slot = 0; slot < 2; slot++) {
		const struct e1000_desc *desc = &ring(&r, E1000_TDBAL)[slot];
		const unsigned char *sent;

		/* The clone first: its memory is the other's, too. */
		send(&r, slot ? packet : clone);
		expect_data(desc, 60, 0);
		sent = fake_memory_at(&r.memory, desc->addr, 60);
		assert_memory_equal(sent + 24, right_ip, 2);
		assert_memory_equal(sent + 40, right_udp, 2);
		if (!slot)
			assert_memory_equal(pn_buf_data(packet), before, sizeof(before));
	}
	/* There is no buffer for a copy: an error, and nothing is lost. */
	packet = build(&r, "\x08\0", 2, udp4, sizeof(udp4));
	pn_buf_leave_checksums(packet, PN_BUF_TX_CHECKSUMS);
	pn_buf_ref(packet);
	while (!pn_pool_get(r.pool, &rest[n], 1))
		n++;
	send(&r, packet);
	assert_int_equal(pn_port_get_stats(r.port, &stats), 0);
	assert_int_equal(stats.tx_errors, 1);
	assert_int_equal(stats.tx_packets, 2);
	pn_buf_free_bulk(rest, n);
	pn_buf_free(packet);
	rig_fini(&r);
}

#define VLAN_IP4 "\x81\0\x20\7\x08\0"

static void test_leave(void **state)
{
	const uint32_t offers = PN_BUF_TX_CHECKSUMS;
	unsigned char copy[sizeof(udp4) + 20], *data;
	struct pn_buf *packet;
	struct rig r;

	(void)state;
	rig_init(&r, 0x100e);
	/* Behind a tag, and with padding that is not zero. */
	memset(copy, 0xee, sizeof(copy));
	memcpy(copy, udp4, sizeof(udp4));
	packet = build(&r, VLAN_IP4, 6, copy, sizeof(copy));
	assert_int_equal(pn_buf_leave_checksums(packet, offers), PN_BUF_TX_IP | PN_BUF_TX_UDP);
	assert_int_equal(packet->flags, PN_BUF_TX_IP | PN_BUF_TX_UDP);
	assert_int_equal(packet->l2_len, 18);
	assert_int_equal(packet->l3_len, 20);
	assert_int_equal(packet->l4_len, 8);
	assert_int_equal(packet->pkt_len, 18 + sizeof(udp4));
	data = pn_buf_data(packet) + 18;
	assert_int_equal(data[10] | data[11], 0);
	/* 10.0.0.1 + 10.0.0.2 + 17 + 11: what a card finds and adds the rest to. */
	assert_int_equal(data[26] << 8 | data[27], 0x0a00 + 1 + 0x0a00 + 2 + 17 + 11);
	/* Asked again for less: flags of before do not stay. */
	assert_int_equal(pn_buf_leave_checksums(packet, 0), 0);
	assert_int_equal(packet->flags, 0);
	pn_buf_free(packet);

	/* A fragment has the sum of others in it, too. */
	memcpy(copy, udp4, sizeof(udp4));
	copy[6] = 0x20;
	packet = build(&r, "\x08\0", 2, copy, sizeof(udp4));
	assert_int_equal(pn_buf_leave_checksums(packet, offers), PN_BUF_TX_IP);
	assert_memory_equal(pn_buf_data(packet) + 14 + 26, "\xbb\xbb", 2);
	pn_buf_free(packet);

	/* Every end that is missing: nothing beyond it is looked at or written, nothing claimed. */
	for (uint16_t len = 0; len < 14 + sizeof(udp4); len++) {
		uint32_t left;

		packet = build(&r, "\x08\0", 2, udp4, sizeof(udp4));
		packet->data_len = len;
		packet->pkt_len = len;
		left = pn_buf_leave_checksums(packet, offers);
		assert_int_equal(left, len >= 34 ? PN_BUF_TX_IP : 0);
		assert_memory_equal(pn_buf_data(packet) + 14 + 26, "\xbb\xbb", 2);
		pn_buf_free(packet);
	}
	rig_fini(&r);
}

static void test_leave_others(void **state)
{
	static const unsigned char tcp6[] = {0x60, 0, 0, 0, 0, 20, 6, 64, 0xfe, 0x80, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 1, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
		/* TCP */ 0, 80, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0xcc, 0xcc, 0,
		0};
	unsigned char pseudo[40] = {0}, copy[sizeof(tcp6)], *data;
	struct pn_buf *packet;
	struct rig r;

	(void)state;
	rig_init(&r, 0x100e);
	packet = build(&r, "\x86\xdd", 2, tcp6, sizeof(tcp6));
	assert_int_equal(pn_buf_leave_checksums(packet, PN_BUF_TX_CHECKSUMS), PN_BUF_TX_TCP);
	assert_int_equal(packet->l3_len, 40);
	assert_int_equal(packet->l4_len, 20);
	memcpy(pseudo, tcp6 + 8, 32);
	pseudo[35] = 20;
	pseudo[39] = 6;
	data = pn_buf_data(packet) + 14 + 40;
	assert_int_equal(data[16] << 8 | data[17], sum_of(pseudo, sizeof(pseudo)));
	/* Not offered: as it was. */
	memcpy(pn_buf_data(packet) + 14, tcp6, sizeof(tcp6));
	assert_int_equal(pn_buf_leave_checksums(packet, PN_BUF_TX_IP | PN_BUF_TX_UDP), 0);
	assert_memory_equal(pn_buf_data(packet) + 14, tcp6, sizeof(tcp6));
	pn_buf_free(packet);
	/* A TCP header longer than the packet, or shorter than any. */
	for (int words = 0; words < 16; words++) {
		memcpy(copy, tcp6, sizeof(tcp6));
		copy[52] = (unsigned char)(words << 4);
		packet = build(&r, "\x86\xdd", 2, copy, sizeof(copy));
		assert_int_equal(pn_buf_leave_checksums(packet, PN_BUF_TX_CHECKSUMS),
			words == 5 ? PN_BUF_TX_TCP : 0);
		pn_buf_free(packet);
	}
	/* Neither IP nor what it says it is. */
	packet = build(&r, "\x08\x06", 2, udp4, sizeof(udp4));
	assert_int_equal(pn_buf_leave_checksums(packet, PN_BUF_TX_CHECKSUMS), 0);
	pn_buf_free(packet);
	packet = build(&r, "\x08\0", 2, tcp6, sizeof(tcp6));
	assert_int_equal(pn_buf_leave_checksums(packet, PN_BUF_TX_CHECKSUMS), 0);
	pn_buf_free(packet);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_received),
		cmocka_unit_test(test_asked),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_sent),
		cmocka_unit_test(test_bad_headers),
		cmocka_unit_test(test_short),
		cmocka_unit_test(test_leave),
		cmocka_unit_test(test_leave_others),
	};

	return cmocka_run_group_tests_name("e1000_offload", tests, NULL, NULL);
}
