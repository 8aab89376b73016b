/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See ring_ends.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "ring_ends.h"

char ends_folder[] = "/tmp/ring-peer-XXXXXX";

void ends_make(struct memory *memory)
{
	struct pn_pool_opts opts = {.count = 1024, .check = PN_POOL_CHECK_ON};
	struct pn_region_opts region = PN_REGION_OPTS_INIT;

	region.page_size = PN_PAGE_4K;
	region.backing = PN_BACKING_MEMFD;
	assert_int_equal(pn_region_create(&memory->region, 4 << 20, &region), 0);
	assert_int_equal(pn_heap_create(&memory->heap, memory->region, 0x20000000), 0);
	assert_int_equal(pn_pool_create(&memory->pool, memory->heap, &opts), 0);
}

void ends_unmake(struct memory *memory)
{
	assert_int_equal(pn_pool_available(memory->pool), 1024);
	assert_int_equal(pn_pool_refused(memory->pool), 0);
	assert_int_equal(pn_pool_destroy(memory->pool), 0);
	assert_int_equal(pn_heap_destroy(memory->heap), 0);
	assert_int_equal(pn_region_destroy(memory->region), 0);
}

struct pn_port *ends_open(const char *spec)
{
	struct pn_port *port = NULL;

	if (pn_port_open(&port, spec, NULL))
		fail_msg("%s", pn_error());
	return port;
}

struct pn_port *ends_start(const char *spec, struct memory *memory)
{
	struct pn_port_conf conf = {.rx_pool = memory->pool};
	struct pn_port *port = ends_open(spec);

	assert_int_equal(pn_port_configure(port, &conf), 0);
	assert_int_equal(pn_port_start(port), 0);
	return port;
}

bool ends_up(struct pn_port *port)
{
	struct pn_port_link link;

	assert_int_equal(pn_port_get_link(port, &link), 0);
	return link.up;
}

void ends_wait_link(struct pn_port *port, struct pn_port *other, bool up)
{
	for (int i = 0; i < 5000; i++) {
		bool one = ends_up(port), two = !other || ends_up(other) == up;

		if (one == up && two)
			return;
		usleep(1000);
	}
	fail_msg("the link does not come %s", up ? "up" : "down");
}

static void fill(unsigned char *data, uint32_t len, uint32_t number)
{
	for (uint32_t i = 0; i < len; i++)
		data[i] = (unsigned char)(number * 7 + i);
}

struct pn_buf *ends_packet(struct pn_pool *pool, uint16_t len, uint32_t number)
{
	struct pn_buf *packet;

	assert_int_equal(pn_pool_get(pool, &packet, 1), 0);
	fill(pn_buf_append(packet, len), len, number);
	return packet;
}

void ends_check_packet(const struct pn_buf *packet, uint32_t len, uint32_t number)
{
	unsigned char right[8192];
	uint32_t at = 0;

	fill(right, len, number);
	assert_int_equal(packet->pkt_len, len);
	for (const struct pn_buf *seg = packet; seg; seg = seg->next) {
		assert_memory_equal(pn_buf_data(seg), right + at, seg->data_len);
		at += seg->data_len;
	}
	assert_int_equal(at, len);
}

uint32_t ends_receive(struct pn_port *port, uint32_t from, uint32_t want)
{
	uint32_t got = 0;

	for (int idle = 0; got < want && idle < 3000; idle++) {
		struct pn_buf *packet;

		if (!pn_port_rx_burst(port, 0, &packet, 1)) {
			assert_true(pn_port_wait(&port, 1, 1) >= 0);
			continue;
		}
		ends_check_packet(packet, 60 + (from + got) % 100, from + got);
		pn_buf_free(packet);
		got++;
		idle = 0;
	}
	return got;
}

uint32_t ends_send(struct pn_port *port, struct pn_pool *pool, uint32_t from, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct pn_buf *packet =
			ends_packet(pool, (uint16_t)(60 + (from + i) % 100), from + i);

		if (!pn_port_tx_burst(port, 0, &packet, 1)) {
			pn_buf_free(packet);
			return i;
		}
	}
	return n;
}

int ends_setup(void **state)
{
	(void)state;
	return !mkdtemp(ends_folder) || setenv("PINION_RUNTIME_DIR", ends_folder, 1);
}

int ends_teardown(void **state)
{
	char path[96];

	(void)state;
	/* Of a listener that was killed. */
	snprintf(path, sizeof(path), "%s/ends.ring", ends_folder);
	(void)unlink(path);
	return rmdir(ends_folder);
}
