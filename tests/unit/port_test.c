/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The port layer and the control path of the e1000 driver, on a register block in memory: what is
 * refused and why, what is programmed, and what a device gets that hangs or disappears.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "e1000.h"
#include "e1000_fake.h"
#include "pn_port.h"

struct fixture {
	struct fake_memory memory;
	struct fake_device device;
	struct pn_pool *pool;
	struct pn_port_opts opts;
	struct pn_port *port;
};

static void init(struct fixture *f, uint16_t device)
{
	struct pn_pool_opts pool = {.count = 512};

	fake_memory_init(&f->memory, 8 << 20);
	assert_int_equal(pn_pool_create(&f->pool, f->memory.heap, &pool), 0);
	fake_device_init(&f->device, 0x8086, device);
	fake_device_run(&f->device);
	f->opts.heap = f->memory.heap;
	/* Only handed on to pn_pci_open(), which is replaced. */
	f->opts.domain = (struct pn_domain *)(void *)f;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	init(f, 0x10d3);
	*state = f;
	return 0;
}

static int setup_legacy(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	init(f, 0x100e);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	pn_port_close(f->port);
	assert_false(f->device.open);
	assert_false(f->device.master);
	fake_device_fini(&f->device);
	assert_int_equal(pn_pool_destroy(f->pool), 0);
	fake_memory_fini(&f->memory);
	free(f);
	return 0;
}

static void open_port(struct fixture *f)
{
	assert_int_equal(pn_port_open(&f->port, "00:05.0", &f->opts), 0);
}

static void start_port(struct fixture *f)
{
	struct pn_port_conf conf = {.rx_pool = f->pool};

	open_port(f);
	assert_int_equal(pn_port_configure(f->port, &conf), 0);
	assert_int_equal(pn_port_start(f->port), 0);
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void test_open_errors(void **state)
{
	struct fixture *f = *state;
	struct pn_port_opts bad = f->opts;

	assert_int_equal(pn_port_open(NULL, "x", &f->opts), -EINVAL);
	assert_int_equal(pn_port_open(&f->port, NULL, &f->opts), -EINVAL);
	assert_int_equal(pn_port_open(&f->port, "x", NULL), -EINVAL);
	bad.heap = NULL;
	assert_int_equal(pn_port_open(&f->port, "x", &bad), -EINVAL);

	f->device.info.device = 0x1533;
	assert_int_equal(pn_port_open(&f->port, "00:05.0", &f->opts), -ENOTSUP);
	assert_non_null(strstr(pn_error(), "8086:1533"));
	assert_non_null(strstr(pn_error(), "8086:10d3"));
	f->device.info.device = 0x10d3;
	f->device.info.vendor = 0x1af4;
	assert_int_equal(pn_port_open(&f->port, "00:05.0", &f->opts), -ENOTSUP);
	f->device.info.vendor = 0x8086;

	f->device.find_ret = -ENODEV;
	assert_int_equal(pn_port_open(&f->port, "00:05.0", &f->opts), -ENODEV);
	f->device.find_ret = 0;
	f->device.open_ret = -EACCES;
	assert_int_equal(pn_port_open(&f->port, "00:05.0", &f->opts), -EACCES);
	f->device.open_ret = 0;
	f->device.bar_ret = -EOPNOTSUPP;
	assert_int_equal(pn_port_open(&f->port, "00:05.0", &f->opts), -EOPNOTSUPP);
	assert_non_null(strstr(pn_error(), "mapping BAR"));
	f->device.bar_ret = 0;
	f->device.bar_size = 0x1000;
	assert_int_equal(pn_port_open(&f->port, "00:05.0", &f->opts), -ENODEV);
	assert_non_null(strstr(pn_error(), "4096"));
	assert_null(f->port);
	assert_false(f->device.open);
}

static void test_info(void **state)
{
	static const uint8_t mac[] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
	struct fixture *f = *state;
	struct pn_port_info info;
	struct pn_port_link link;

	open_port(f);
	pn_port_get_info(f->port, &info);
	assert_string_equal(info.name, "0000:00:05.0");
	assert_string_equal(info.driver, "e1000");
	assert_string_equal(info.device, "Test Connection");
	assert_memory_equal(info.mac, mac, sizeof(mac));
	assert_int_equal(info.mtu, 1500);
	assert_int_equal(info.mtu_max, 9000);
	assert_false(info.started);
	assert_int_equal(pn_port_get_link(f->port, &link), 0);
	assert_true(link.up && link.full_duplex);
	assert_int_equal(link.speed_mbps, 1000);
	assert_int_equal(f->device.resets, 1);
	assert_false(f->device.master);
}

static void test_states(void **state)
{
	struct fixture *f = *state;
	struct pn_port_conf conf = {.rx_pool = f->pool};
	struct pn_buf *buf = NULL;

	open_port(f);
	assert_int_equal(pn_port_rx_burst(f->port, 0, &buf, 1), 0);
	assert_int_equal(pn_port_tx_burst(f->port, 0, &buf, 1), 0);
	assert_int_equal(pn_port_start(f->port), -EINVAL);
	assert_int_equal(pn_port_stop(f->port), 0);
	assert_int_equal(pn_port_configure(f->port, NULL), -EINVAL);
	conf.rx_pool = NULL;
	assert_int_equal(pn_port_configure(f->port, &conf), -EINVAL);
	conf.rx_pool = f->pool;
	conf.rxd = 65;
	assert_int_equal(pn_port_configure(f->port, &conf), -EINVAL);
	assert_non_null(strstr(pn_error(), "64 to 4096"));
	conf.rxd = 56;
	assert_int_equal(pn_port_configure(f->port, &conf), -EINVAL);
	conf.rxd = 4104;
	assert_int_equal(pn_port_configure(f->port, &conf), -EINVAL);
	conf.rxd = 64;
	conf.txd = 63;
	assert_int_equal(pn_port_configure(f->port, &conf), -EINVAL);
	assert_int_equal(pn_port_start(f->port), -EINVAL);
	conf.txd = 4096;
	assert_int_equal(pn_port_configure(f->port, &conf), 0);
	conf.txd = 64;
	assert_int_equal(pn_port_configure(f->port, &conf), 0);
	assert_int_equal(pn_port_start(f->port), 0);
	assert_true(f->device.master);
	assert_int_equal(pn_pool_available(f->pool), 512 - 63);
	assert_int_equal(pn_port_start(f->port), -EALREADY);
	assert_int_equal(pn_port_configure(f->port, &conf), -EBUSY);
	assert_int_equal(pn_port_set_mtu(f->port, 1400), -EBUSY);
	assert_int_equal(pn_port_rx_burst(f->port, 0, &buf, 1), 0);
	assert_int_equal(pn_port_stop(f->port), 0);
	assert_int_equal(pn_port_stop(f->port), 0);
	assert_int_equal(pn_port_rx_burst(f->port, 0, &buf, 1), 0);
	assert_int_equal(pn_pool_available(f->pool), 512);
	assert_false(f->device.master);
	/* And again, and closed while it runs. */
	assert_int_equal(pn_port_start(f->port), 0);
}

static void test_small_pools(void **state)
{
	struct fixture *f = *state;
	struct pn_pool_opts opts = {.count = 100, .data_room = 255};
	struct pn_port_conf conf = {0};
	struct pn_pool *tiny, *few;
	struct pn_port_conf good = {.rx_pool = f->pool};

	open_port(f);
	assert_int_equal(pn_pool_create(&tiny, f->memory.heap, &opts), 0);
	conf.rx_pool = tiny;
	assert_int_equal(pn_port_configure(f->port, &good), 0);
	assert_int_equal(pn_port_configure(f->port, &conf), -EINVAL);
	assert_non_null(strstr(pn_error(), "255 bytes"));
	/* The earlier configuration is undone. */
	assert_int_equal(pn_port_start(f->port), -EINVAL);
	opts.data_room = 256;
	assert_int_equal(pn_pool_create(&few, f->memory.heap, &opts), 0);
	conf.rx_pool = few;
	assert_int_equal(pn_port_configure(f->port, &conf), 0);
	assert_int_equal(pn_port_start(f->port), -ENOBUFS);
	assert_non_null(strstr(pn_error(), "255 buffers"));
	assert_non_null(strstr(pn_error(), "100"));
	assert_false(f->device.master);
	assert_int_equal(pn_pool_available(few), 100);
	pn_port_close(f->port);
	f->port = NULL;
	assert_int_equal(pn_pool_destroy(few), 0);
	assert_int_equal(pn_pool_destroy(tiny), 0);
}

static void test_no_memory(void **state)
{
	struct fixture *f = *state;
	struct pn_port_conf conf = {.rx_pool = f->pool, .rxd = 4096, .txd = 4096};
	uint64_t before, largest;
	void *block;

	open_port(f);
	before = pn_heap_available(f->memory.heap, &largest);
	/* Room for one ring, not for two. */
	block = pn_heap_alloc(f->memory.heap, largest - (100 << 10), 64, NULL);
	assert_non_null(block);
	assert_int_equal(pn_port_configure(f->port, &conf), -ENOMEM);
	assert_non_null(strstr(pn_error(), "4096 transmit descriptors"));
	pn_heap_free(f->memory.heap, block);
	assert_int_equal(pn_heap_available(f->memory.heap, NULL), before);
}

static void test_programs_82574(void **state)
{
	struct fixture *f = *state;
	struct fake_device *d = &f->device;
	uint64_t ring;

	start_port(f);
	assert_int_equal(
		fake_reg(d, E1000_RCTL), E1000_RCTL_EN | E1000_RCTL_BAM | E1000_RCTL_SECRC);
	assert_int_equal(fake_reg(d, E1000_RFCTL) & E1000_RFCTL_EXSTEN, E1000_RFCTL_EXSTEN);
	assert_int_equal(fake_reg(d, E1000_RDLEN), 256 * 16);
	assert_int_equal(fake_reg(d, E1000_RDT), 255);
	assert_int_equal(fake_reg(d, E1000_TDLEN), 256 * 16);
	assert_int_equal(fake_reg(d, E1000_TDT), 0);
	ring = (uint64_t)fake_reg(d, E1000_RDBAH) << 32 | fake_reg(d, E1000_RDBAL);
	assert_int_equal(ring % 128, 0);
	assert_non_null(fake_memory_at(&f->memory, ring, 256 * 16));
	assert_int_equal(fake_reg(d, E1000_TCTL) & (E1000_TCTL_EN | E1000_TCTL_PSP),
		E1000_TCTL_EN | E1000_TCTL_PSP);
	assert_true(fake_reg(d, E1000_TXDCTL) & (1u << 22));
	assert_true(fake_reg(d, E1000_CTRL) & E1000_CTRL_SLU);
	assert_false(fake_reg(d, E1000_CTRL) & E1000_CTRL_GIO_MASTER_DISABLE);
	assert_true(fake_reg(d, E1000_CTRL_EXT) & E1000_CTRL_EXT_DRV_LOAD);
	assert_int_equal(pn_port_stop(f->port), 0);
	assert_int_equal(fake_reg(d, E1000_RCTL), 0);
	assert_false(fake_reg(d, E1000_TCTL) & E1000_TCTL_EN);
	assert_true(fake_reg(d, E1000_CTRL) & E1000_CTRL_GIO_MASTER_DISABLE);
}

static void test_programs_82540(void **state)
{
	struct fixture *f = *state;
	struct fake_device *d = &f->device;
	struct pn_port_info info;

	start_port(f);
	pn_port_get_info(f->port, &info);
	assert_int_equal(info.mtu_max, 16110);
	assert_int_equal(fake_reg(d, E1000_RFCTL), 0);
	assert_int_equal(fake_reg(d, E1000_RXDCTL), 0);
	assert_int_equal(fake_reg(d, E1000_TIPG) & 0x3ff, 10);
	assert_int_equal(fake_reg(d, E1000_RDT), 255);
	assert_ptr_equal(f->port->rx_burst, e1000_rx_burst(&(struct e1000_rxq){0}, false));
}

static void test_mtu_and_buffers(void **state)
{
	static const struct {
		uint16_t room, size;
		uint32_t bits;
	} sizes[] = {
		{256, 256, 3u << 16},
		{511, 256, 3u << 16},
		{1023, 512, 2u << 16},
		{2047, 1024, 1u << 16},
		{4095, 2048, 0},
		{8191, 4096, 3u << 16 | E1000_RCTL_BSEX},
		{16383, 8192, 2u << 16 | E1000_RCTL_BSEX},
		{40000, 16384, 1u << 16 | E1000_RCTL_BSEX},
	};
	struct fixture *f = *state;
	struct pn_port_conf other = {.rx_pool = f->pool};

	open_port(f);
	assert_int_equal(pn_port_set_mtu(f->port, 67), -EINVAL);
	assert_int_equal(pn_port_set_mtu(f->port, 9001), -EINVAL);
	assert_non_null(strstr(pn_error(), "9000"));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct pn_pool_opts opts = {.count = 64, .data_room = sizes[i].room};
		struct pn_port_conf conf = {.rxd = 64};
		uint32_t rctl;

		assert_int_equal(e1000_rx_buf_size(sizes[i].room), sizes[i].size);
		assert_int_equal(pn_pool_create(&conf.rx_pool, f->memory.heap, &opts), 0);
		assert_int_equal(pn_port_set_mtu(f->port, i % 2 ? 1501 : 1500), 0);
		assert_int_equal(pn_port_configure(f->port, &conf), 0);
		assert_int_equal(pn_port_start(f->port), 0);
		rctl = fake_reg(&f->device, E1000_RCTL);
		assert_int_equal(rctl & (3u << 16 | E1000_RCTL_BSEX), sizes[i].bits);
		assert_int_equal(rctl & E1000_RCTL_LPE, i % 2 ? E1000_RCTL_LPE : 0);
		assert_int_equal(pn_port_stop(f->port), 0);
		assert_int_equal(pn_port_configure(f->port, &other), 0);
		assert_int_equal(pn_pool_destroy(conf.rx_pool), 0);
	}
}

static void test_filters(void **state)
{
	static const uint8_t groups[][PN_MAC_LEN] = {
		{0x01, 0x00, 0x5e, 0x00, 0x00, 0x01},
		{0x33, 0x33, 0x00, 0x00, 0x12, 0x34},
	};
	static const uint8_t unicast[1][PN_MAC_LEN] = {{0x02, 0, 0, 0, 0, 1}};
	static const uint8_t zero[PN_MAC_LEN] = {0};
	struct fixture *f = *state;
	struct fake_device *d = &f->device;

	start_port(f);
	assert_int_equal(pn_port_set_promiscuous(f->port, true), 0);
	assert_true(fake_reg(d, E1000_RCTL) & E1000_RCTL_UPE);
	assert_int_equal(pn_port_set_all_multicast(f->port, true), 0);
	assert_int_equal(pn_port_set_promiscuous(f->port, false), 0);
	assert_false(fake_reg(d, E1000_RCTL) & E1000_RCTL_UPE);
	assert_true(fake_reg(d, E1000_RCTL) & E1000_RCTL_MPE);
	assert_int_equal(pn_port_set_multicast(f->port, groups, 2), 0);
	/* Bits 47:36 of 01:00:5e:00:00:01 are 0x010, of 33:33:00:00:12:34 0x341. */
	assert_int_equal(fake_reg(d, E1000_MTA + 4 * (0x010 >> 5)), 1u << (0x010 & 31));
	assert_int_equal(fake_reg(d, E1000_MTA + 4 * (0x341 >> 5)), 1u << (0x341 & 31));
	assert_int_equal(pn_port_set_multicast(f->port, unicast, 1), -EINVAL);
	assert_int_equal(pn_port_set_multicast(f->port, NULL, 1), -EINVAL);
	assert_int_equal(pn_port_set_mac(f->port, groups[0]), -EADDRNOTAVAIL);
	assert_int_equal(pn_port_set_mac(f->port, zero), -EADDRNOTAVAIL);
	assert_int_equal(pn_port_set_mac(f->port, unicast[0]), 0);
	assert_int_equal(fake_reg(d, E1000_RAL0), 0x00000002);
	assert_int_equal(fake_reg(d, E1000_RAH0), E1000_RAH_AV | 0x0100);
	/* All of it outlives a stop, whose reset has put the old address back. */
	assert_int_equal(pn_port_stop(f->port), 0);
	assert_int_equal(pn_port_set_promiscuous(f->port, true), 0);
	assert_int_equal(fake_reg(d, E1000_RCTL), 0);
	assert_int_equal(pn_port_start(f->port), 0);
	assert_int_equal(fake_reg(d, E1000_RAL0), 0x00000002);
	assert_int_equal(fake_reg(d, E1000_RCTL) & (E1000_RCTL_UPE | E1000_RCTL_MPE),
		E1000_RCTL_UPE | E1000_RCTL_MPE);
	assert_int_equal(pn_port_set_multicast(f->port, NULL, 0), 0);
	assert_int_equal(fake_reg(d, E1000_MTA), 0);
}

static void test_stats(void **state)
{
	struct fixture *f = *state;
	struct fake_device *d = &f->device;
	struct pn_port_stats stats;

	open_port(f);
	fake_set_reg(d, E1000_GPRC, 5);
	fake_set_reg(d, E1000_GORCL, 0xfffffff0);
	fake_set_reg(d, E1000_GORCH, 2);
	fake_set_reg(d, E1000_MPC, 7);
	fake_set_reg(d, E1000_CRCERRS, 1);
	fake_set_reg(d, E1000_ROC, 2);
	assert_int_equal(pn_port_get_stats(f->port, &stats), 0);
	assert_int_equal(stats.hw_rx_packets, 5);
	assert_int_equal(stats.hw_rx_bytes, UINT64_C(0x2fffffff0));
	assert_int_equal(stats.rx_missed, 7);
	assert_int_equal(stats.rx_errors, 3);
	fake_set_reg(d, E1000_GPRC, 5);
	assert_int_equal(pn_port_get_stats(f->port, &stats), 0);
	assert_int_equal(stats.hw_rx_packets, 10);
	assert_int_equal(pn_port_stats_reset(f->port), 0);
	fake_set_reg(d, E1000_GPRC, 1);
	assert_int_equal(pn_port_get_stats(f->port, &stats), 0);
	assert_int_equal(stats.hw_rx_packets, 1);
}

/* What the device counted for its last user is not this one's, whether a reset clears it or not. */
static void test_stats_of_others(void **state)
{
	struct fixture *f = *state;
	struct pn_port_stats stats;

	f->device.keeps_counters = true;
	fake_set_reg(&f->device, E1000_GPTC, 100);
	fake_set_reg(&f->device, E1000_MPC, 3);
	open_port(f);
	assert_int_equal(pn_port_get_stats(f->port, &stats), 0);
	assert_int_equal(stats.hw_tx_packets, 0);
	assert_int_equal(stats.rx_missed, 0);
	fake_set_reg(&f->device, E1000_GPTC, 1);
	assert_int_equal(pn_port_get_stats(f->port, &stats), 0);
	assert_int_equal(stats.hw_tx_packets, 1);
}

/* A start resets the device, and with it the counters: they go on all the same. */
static void test_stats_across_starts(void **state)
{
	struct fixture *f = *state;
	struct pn_port_stats stats;

	start_port(f);
	fake_set_reg(&f->device, E1000_GPRC, 10);
	assert_int_equal(pn_port_stop(f->port), 0);
	assert_int_equal(pn_port_start(f->port), 0);
	fake_set_reg(&f->device, E1000_GPRC, 1);
	assert_int_equal(pn_port_get_stats(f->port, &stats), 0);
	assert_int_equal(stats.hw_rx_packets, 11);
}

/* A pool cannot go while a port is configured with it, started or not. */
static void test_pool_in_use(void **state)
{
	struct fixture *f = *state;
	struct pn_pool_opts opts = {.count = 300};
	struct pn_port_conf conf = {0}, other = {.rx_pool = f->pool};
	struct pn_pool *pool;

	assert_int_equal(pn_pool_create(&pool, f->memory.heap, &opts), 0);
	conf.rx_pool = pool;
	open_port(f);
	assert_int_equal(pn_port_configure(f->port, &conf), 0);
	assert_int_equal(pn_pool_destroy(pool), -EBUSY);
	assert_non_null(strstr(pn_error(), "1 port"));
	assert_int_equal(pn_port_start(f->port), 0);
	assert_int_equal(pn_pool_destroy(pool), -EBUSY);
	assert_int_equal(pn_port_stop(f->port), 0);
	assert_int_equal(pn_pool_destroy(pool), -EBUSY);
	/* Configured anew it is still one user; with another pool, none. */
	assert_int_equal(pn_port_configure(f->port, &conf), 0);
	assert_int_equal(pn_port_configure(f->port, &other), 0);
	assert_int_equal(pn_pool_destroy(pool), 0);
}

static void test_gone(void **state)
{
	struct fixture *f = *state;
	struct pn_port_stats stats;
	struct pn_port_link link;
	struct pn_buf *bufs[4];
	double begin;

	start_port(f);
	assert_int_equal(pn_pool_get(f->pool, bufs, 1), 0);
	pn_buf_append(bufs[0], 60);
	assert_int_equal(pn_port_tx_burst(f->port, 0, bufs, 1), 1);
	fake_set_reg(&f->device, E1000_GPRC, 3);
	assert_int_equal(pn_port_get_stats(f->port, &stats), 0);
	fake_device_halt(&f->device);
	memset(f->device.regs, 0xff, E1000_BAR_SIZE);
	begin = seconds();
	assert_int_equal(pn_port_rx_burst(f->port, 0, bufs, 4), 0);
	assert_int_equal(pn_port_get_link(f->port, &link), -EIO);
	assert_false(link.up);
	assert_non_null(strstr(pn_error(), "0xffffffff"));
	assert_int_equal(pn_port_get_stats(f->port, &stats), -EIO);
	assert_int_equal(stats.hw_rx_packets, 3);
	assert_int_equal(stats.tx_packets, 1);
	assert_int_equal(pn_port_set_promiscuous(f->port, true), -EIO);
	assert_int_equal(pn_port_stop(f->port), 0);
	assert_int_equal(pn_pool_available(f->pool), 512);
	assert_false(f->device.master);
	assert_int_equal(pn_port_start(f->port), -EIO);
	assert_int_equal(pn_pool_available(f->pool), 512);
	pn_port_close(f->port);
	f->port = NULL;
	assert_int_equal(pn_port_open(&f->port, "00:05.0", &f->opts), -EIO);
	assert_true(seconds() - begin < 2);
}

static void test_stuck(void **state)
{
	struct fixture *f = *state;
	double begin = seconds();

	f->device.stuck_reset = true;
	assert_int_equal(pn_port_open(&f->port, "00:05.0", &f->opts), -EIO);
	assert_non_null(strstr(pn_error(), "reset"));
	assert_true(seconds() - begin < 2);
	/* Nothing acts at all: no PHY, no master disable, no NVM. */
	fake_device_halt(&f->device);
	memset(f->device.regs, 0, E1000_BAR_SIZE);
	fake_set_reg(&f->device, E1000_STATUS, E1000_STATUS_GIO_MASTER_ENABLE);
	assert_int_equal(pn_port_open(&f->port, "00:05.0", &f->opts), -EIO);
	assert_true(seconds() - begin < 4);
	assert_null(f->port);
}

static void test_no_master(void **state)
{
	struct fixture *f = *state;
	struct pn_port_conf conf = {.rx_pool = f->pool};

	open_port(f);
	assert_int_equal(pn_port_configure(f->port, &conf), 0);
	f->device.master_ret = -EIO;
	assert_int_equal(pn_port_start(f->port), -EIO);
	assert_int_equal(pn_pool_available(f->pool), 512);
	f->device.master_ret = 0;
	assert_int_equal(pn_port_start(f->port), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_open_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_info, setup, teardown),
		cmocka_unit_test_setup_teardown(test_states, setup, teardown),
		cmocka_unit_test_setup_teardown(test_states, setup_legacy, teardown),
		cmocka_unit_test_setup_teardown(test_small_pools, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_programs_82574, setup, teardown),
		cmocka_unit_test_setup_teardown(test_programs_82540, setup_legacy, teardown),
		cmocka_unit_test_setup_teardown(test_mtu_and_buffers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_filters, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stats, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stats_of_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stats_of_others, setup_legacy, teardown),
		cmocka_unit_test_setup_teardown(test_stats_across_starts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pool_in_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stuck, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_master, setup, teardown),
	};

	return cmocka_run_group_tests_name("port", tests, NULL, NULL);
}
