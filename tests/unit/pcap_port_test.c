/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pcap port: the conformance suite; a capture that is sent comes back the same; files that are
 * no captures, of another link type, cut off or not there; and a file that takes no more.
 */
#include <errno.h>
#include <pcap/pcap.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "port_conformance.h"

static char folder[] = "/tmp/pcap-port-XXXXXX";
static struct pn_region *region;
static struct pn_heap *heap;

static const char *path(const char *name)
{
	static char paths[4][96];
	static unsigned int next;
	char *text = paths[next++ % 4];

	snprintf(text, sizeof(paths[0]), "%s/%s", folder, name);
	return text;
}

static const char *spec(const char *format, const char *a, const char *b)
{
	static char text[256];

	snprintf(text, sizeof(text), format, a, b);
	return text;
}

/* A capture of n packets, 60 bytes and longer, each with its number in it. */
static void make_capture(const char *name, int type, unsigned int n, unsigned int step)
{
	pcap_t *dead = pcap_open_dead(type, 65535);
	pcap_dumper_t *dump = pcap_dump_open(dead, name);
	static unsigned char data[20000];

	assert_non_null(dump);
	for (unsigned int i = 0; i < n; i++) {
		struct pcap_pkthdr header = {{1700000000 + i, i}, 60 + step * i, 60 + step * i};

		memset(data, (int)i, header.len);
		pcap_dump((unsigned char *)dump, &header, data);
	}
	pcap_dump_close(dump);
	pcap_close(dead);
}

static int setup(void **state)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;

	(void)state;
	opts.page_size = PN_PAGE_4K;
	opts.backing = PN_BACKING_MEMFD;
	return !mkdtemp(folder) || pn_region_create(&region, 2 << 20, &opts) ||
	       pn_heap_create(&heap, region, 0x10000000);
}

static int teardown(void **state)
{
	static const char *const names[] = {
		"in", "out", "back", "raw", "cut", "text", "empty", "large"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(path(names[i]));
	return pn_heap_destroy(heap) || pn_region_destroy(region) || rmdir(folder);
}

static struct pn_port *open_started(struct pn_pool **pool, const char *text)
{
	struct pn_pool_opts opts = {.count = 128, .check = PN_POOL_CHECK_ON};
	struct pn_port_conf conf = {0};
	struct pn_port *port = NULL;

	assert_int_equal(pn_pool_create(pool, heap, &opts), 0);
	if (pn_port_open(&port, text, NULL))
		fail_msg("%s", pn_error());
	conf.rx_pool = *pool;
	assert_int_equal(pn_port_configure(port, &conf), 0);
	assert_int_equal(pn_port_start(port), 0);
	return port;
}

static void end(struct pn_port *port, struct pn_pool *pool)
{
	pn_port_close(port);
	assert_int_equal(pn_pool_available(pool), 128);
	assert_int_equal(pn_pool_destroy(pool), 0);
}

static struct pn_port *conformance_open(struct conformance *driver)
{
	struct pn_port *port = NULL;

	if (pn_port_open(&port, driver->name, NULL))
		fail_msg("%s", pn_error());
	return port;
}

static void conformance_close(struct conformance *driver, struct pn_port *port)
{
	(void)driver;
	pn_port_close(port);
}

static uint32_t feed(struct conformance *driver, struct pn_port *port, uint32_t n)
{
	(void)driver;
	(void)port;
	return n;
}

static void drain(struct conformance *driver, struct pn_port *port)
{
	(void)driver;
	(void)port;
}

static void test_conformance(void **state)
{
	struct conformance driver = {
		.open = conformance_open,
		.close = conformance_close,
		.feed = feed,
		.drain = drain,
		.rx_endless = true,
		.rx_from_pool = true,
	};

	(void)state;
	make_capture(path("in"), DLT_EN10MB, 50, 13);
	driver.name = spec("pcap:rx=%s,tx=%s,loop=1", path("in"), path("out"));
	conformance_run(&driver);
}

/* From file to file, jumbo frames in several buffers among them; then the copy is read. */
static void copy_capture(const char *from, const char *to)
{
	struct pn_pool *pool;
	struct pn_port *port = open_started(&pool, spec("pcap:rx=%s,tx=%s", from, to));
	unsigned int got = 0;

	for (;;) {
		struct pn_buf *bufs[4];
		uint16_t n = pn_port_rx_burst(port, 0, bufs, 4);

		if (!n)
			break;
		for (uint16_t i = 0; i < n; i++, got++) {
			uint32_t len = 60 + 300 * got;

			assert_int_equal(bufs[i]->pkt_len, len);
			assert_int_equal(bufs[i]->nb_segs, (len + 2047) / 2048);
			assert_int_equal(*pn_buf_data(bufs[i]), got);
			assert_true(bufs[i]->flags & PN_BUF_RX_TIMESTAMP);
			assert_true(pn_buf_timestamp(bufs[i]) >= UINT64_C(1700000000000000000));
		}
		assert_int_equal(pn_port_tx_burst(port, 0, bufs, n), n);
	}
	assert_int_equal(got, 40);
	end(port, pool);
}

static void test_copy(void **state)
{
	(void)state;
	make_capture(path("in"), DLT_EN10MB, 40, 300);
	copy_capture(path("in"), path("out"));
	copy_capture(path("out"), path("back"));
}

static void refuse(const char *text, int err, const char *reason)
{
	struct pn_port *port = NULL;

	assert_int_equal(pn_port_open(&port, text, NULL), err);
	assert_non_null(strstr(pn_error(), reason));
	assert_null(port);
}

static void test_bad_files(void **state)
{
	FILE *file = fopen(path("text"), "w");
	struct stat st;

	(void)state;
	fputs("This is no capture, but it is long enough to have a header in it.\n", file);
	fclose(file);
	fclose(fopen(path("empty"), "w"));
	make_capture(path("raw"), DLT_RAW, 3, 0);
	refuse(spec("pcap:rx=%s", path("text"), ""), -EINVAL, "capture");
	refuse(spec("pcap:rx=%s", path("empty"), ""), -EINVAL, "capture");
	refuse(spec("pcap:rx=%s", path("nowhere"), ""), -EINVAL, "nowhere");
	refuse(spec("pcap:rx=%s", path("raw"), ""), -EINVAL, "link type");
	refuse(spec("pcap:tx=%s/no/such", folder, ""), -EIO, "written");
	/* Writing would empty what is read, by whatever name. */
	make_capture(path("in"), DLT_EN10MB, 3, 0);
	unlink(path("back"));
	assert_int_equal(symlink(path("in"), path("back")), 0);
	refuse(spec("pcap:rx=%s,tx=%s", path("in"), path("in")), -EINVAL, "the same file");
	refuse(spec("pcap:rx=%s,tx=%s", path("in"), path("back")), -EINVAL, "the same file");
	assert_int_equal(stat(path("in"), &st), 0);
	assert_int_equal(st.st_size, 24 + 3 * (16 + 60));
	unlink(path("back"));
	refuse("pcap", -EINVAL, "rx=FILE");
	refuse("pcap:rx=", -EINVAL, "text of 1");
	refuse("pcap:loop=2", -EINVAL, "loop");
}

/* Whole packets before the cut are received, and the cut is counted once. */
static void test_cut_off(void **state)
{
	struct pn_port_stats stats;
	struct pn_buf *bufs[32];
	struct pn_pool *pool;
	struct pn_port *port;

	(void)state;
	make_capture(path("cut"), DLT_EN10MB, 10, 0);
	assert_int_equal(truncate(path("cut"), 24 + 10 * (16 + 60) - 7), 0);
	port = open_started(&pool, spec("pcap:rx=%s,loop=1", path("cut"), ""));
	assert_int_equal(pn_port_rx_burst(port, 0, bufs, 32), 9);
	pn_buf_free_bulk(bufs, 9);
	assert_int_equal(pn_port_rx_burst(port, 0, bufs, 32), 0);
	assert_int_equal(pn_port_get_stats(port, &stats), 0);
	assert_int_equal(stats.rx_errors, 1);
	end(port, pool);
}

/* A capture of nothing is not read for ever. */
static void test_no_packets(void **state)
{
	struct pn_pool *pool;
	struct pn_port *port;
	struct pn_buf *buf;

	(void)state;
	make_capture(path("in"), DLT_EN10MB, 0, 0);
	port = open_started(&pool, spec("pcap:rx=%s,loop=1", path("in"), ""));
	assert_int_equal(pn_port_rx_burst(port, 0, &buf, 1), 0);
	end(port, pool);
}

/* A full disk: what could not be written is an error, and all buffers come back. */
static void test_full(void **state)
{
	struct pn_port_stats stats;
	struct pn_pool *pool;
	struct pn_port *port;

	(void)state;
	if (access("/dev/full", W_OK))
		skip();
	port = open_started(&pool, "pcap:tx=/dev/full");
	for (int i = 0; i < 200; i++) {
		struct pn_buf *buf;

		assert_int_equal(pn_pool_get(pool, &buf, 1), 0);
		memset(pn_buf_append(buf, 1000), 1, 1000);
		assert_int_equal(pn_port_tx_burst(port, 0, &buf, 1), 1);
	}
	assert_int_equal(pn_port_get_stats(port, &stats), 0);
	assert_true(stats.tx_errors > 100);
	assert_int_equal(stats.tx_packets + stats.tx_errors, 200);
	end(port, pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conformance),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_no_packets),
		cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests_name("pcap_port", tests, setup, teardown);
}
