/* SPDX-License-Identifier: BSD-3-Clause */
/* first COUNT DEVICE: send COUNT packets back to where they came from, then show what is pinned. */
#include <stdio.h>
#include <stdlib.h>
#include "pinion.h"

static struct pn_domain *domain;
static struct pn_region *region;
static struct pn_heap *heap;
static struct pn_pool *pool;
static struct pn_port *port;

static int set_up(const char *device)
{
	struct pn_pool_opts buffers = {.count = 700}; /* two rings of 256, bursts, some to spare */
	uint64_t iova = PN_IOVA_ANY;

	if (pn_domain_create(&domain, NULL) || pn_region_create(&region, PN_PAGE_2M, NULL) ||
		pn_domain_map(domain, region, 0, PN_PAGE_2M, PN_PROT_RW, &iova) || /* queued */
		pn_heap_create(&heap, region, iova) || pn_pool_create(&pool, heap, &buffers))
		return -1;
	return pn_port_open(&port, device, &(struct pn_port_opts){domain, heap}) || /* pinned */
	       pn_port_configure(port, &(struct pn_port_conf){.rx_pool = pool}) ||
	       pn_port_set_promiscuous(port, true) || pn_port_start(port);
}

static int send_back(unsigned long count)
{
	struct pn_pins_report *report;
	struct pn_buf *bufs[32];
	char *table;

	for (uint16_t n, sent; count; count -= sent) {
		n = pn_port_rx_burst(port, 0, bufs, count < 32 ? (uint16_t)count : 32);
		sent = pn_port_tx_burst(port, 0, bufs, n);
		pn_buf_free_bulk(bufs + sent, (uint32_t)(n - sent)); /* the ring was full */
	}
	if (pn_domain_pins(domain, true, &report))
		return -1;
	table = pn_pins_table(report);
	fputs(table ? table : "no memory for the table\n", stdout);
	pn_pins_report_free(report);
	free(table);
	return !table;
}

int main(int argc, char **argv)
{
	unsigned long count = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
	int failed = !count || set_up(argv[2]) || send_back(count);

	if (failed)
		fprintf(stderr, "first: %s\n", count ? pn_error() : "usage: first COUNT DEVICE");
	pn_port_close(port);
	if (!pn_pool_destroy(pool) && !pn_heap_destroy(heap) && !pn_domain_destroy(domain) &&
		!pn_region_destroy(region))
		return failed;
	fprintf(stderr, "first: %s\n", pn_error());
	return 1;
}
