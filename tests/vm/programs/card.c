/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A port by itself: card DEVICE [mac M] [multicast M]... [all-multicast] [promiscuous] [mtu N]
 * [offload] [link | irq]. Says "ready", sends every frame back with its addresses swapped, and at
 * the end of its standard input prints how many frames came for each destination, the longest one,
 * the most segments, and the statistics. With "link" it prints the state of the link at every
 * change instead. With "offload" the card does all that it offers: what it says of unicast frames
 * is counted and printed, tags go back as they came, and checksums are left to it. With "irq" it
 * sleeps until the port's interrupt wakes it, takes what is there, sends nothing back, and prints
 * for each line of its standard input how often it woke, how many frames it has received, and the
 * state of the link.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pinion.h"

#define GROUPS 16
#define SEEN   64

static struct pn_domain *domain;
static struct pn_region *region;
static struct pn_heap *heap;
static struct pn_pool *pool;
static struct pn_port *port;

static struct {
	uint8_t mac[PN_MAC_LEN];
	unsigned long count;
} seen[SEEN];
static unsigned int seen_count;
static uint32_t longest;
static unsigned int most_segs;
static struct pn_port_info info; /* its offloads are used, if there are any */

/* What was said of unicast frames. */
static const struct {
	uint32_t flag;
	const char *name;
} flags[] = {{PN_BUF_RX_VLAN, "vlan"}, {PN_BUF_RX_IP_GOOD, "ip-good"}, {PN_BUF_RX_IP_BAD, "ip-bad"},
	{PN_BUF_RX_L4_GOOD, "l4-good"}, {PN_BUF_RX_L4_BAD, "l4-bad"}};
static unsigned long said[sizeof(flags) / sizeof(flags[0])];

static int parse_mac(const char *text, uint8_t mac[PN_MAC_LEN])
{
	return sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
		       &mac[4], &mac[5]) == PN_MAC_LEN
		       ? 0
		       : -1;
}

static void count(const struct pn_buf *packet)
{
	const unsigned char *to = pn_buf_data(packet);
	unsigned int i;

	for (i = 0; i < seen_count && memcmp(seen[i].mac, to, PN_MAC_LEN); i++)
		;
	if (i == SEEN)
		return;
	if (i == seen_count)
		memcpy(seen[seen_count++].mac, to, PN_MAC_LEN);
	seen[i].count++;
	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		said[i] += !(to[0] & 1) && packet->flags & flags[i].flag;
	if (packet->pkt_len > longest)
		longest = packet->pkt_len;
	if (packet->nb_segs > most_segs)
		most_segs = packet->nb_segs;
}

static void send_back(struct pn_buf *packet)
{
	unsigned char *data = pn_buf_data(packet), mac[PN_MAC_LEN];

	memcpy(mac, data, PN_MAC_LEN);
	memmove(data, data + PN_MAC_LEN, PN_MAC_LEN);
	memcpy(data + PN_MAC_LEN, mac, PN_MAC_LEN);
	pn_buf_leave_checksums(packet, info.tx_offloads);
	if (packet->flags & PN_BUF_RX_VLAN)
		packet->flags |= PN_BUF_TX_VLAN;
	if (!pn_port_tx_burst(port, 0, &packet, 1))
		pn_buf_free(packet);
}

static void serve(void)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	struct pn_buf *bufs[32];
	unsigned int round;
	uint16_t n, i;
	char byte;

	for (round = 0;; round++) {
		n = pn_port_rx_burst(port, 0, bufs, 32);
		for (i = 0; i < n; i++) {
			count(bufs[i]);
			send_back(bufs[i]);
		}
		if (round % 256 == 0 && poll(&input, 1, 0) == 1 &&
			read(STDIN_FILENO, &byte, 1) <= 0)
			return;
	}
}

static void watch_link(void)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	struct pn_port_link link;
	int state = -1;
	char byte;

	for (;;) {
		if (pn_port_get_link(port, &link))
			return;
		if (link.up != state)
			printf("link %s %u\n", link.up ? "up" : "down", link.speed_mbps);
		state = link.up;
		fflush(stdout);
		if (poll(&input, 1, 20) == 1 && read(STDIN_FILENO, &byte, 1) <= 0)
			return;
	}
}

static void drain(unsigned long *received)
{
	struct pn_buf *bufs[32];
	uint16_t n, i;

	do {
		n = pn_port_rx_burst(port, 0, bufs, 32);
		for (i = 0; i < n; i++)
			count(bufs[i]);
		pn_buf_free_bulk(bufs, n);
		*received += n;
	} while (n);
}

/* Only what the interrupt is for: nothing is polled unless it has fired. */
static int sleep_and_wake(int irq)
{
	struct pollfd wait[] = {
		{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = irq, .events = POLLIN}};
	struct pn_port_link link = {.up = false};
	unsigned long woke = 0, received = 0;
	char byte;

	if (pn_port_get_link(port, &link))
		return -1;
	for (;;) {
		if (poll(wait, 2, -1) < 0)
			return -1;
		if (wait[1].revents) {
			woke++;
			drain(&received);
			/* Time for more to come that was not asked to be signalled, and no poll
			 * after arming: that must see by itself that there is something. */
			usleep(5000);
			if (pn_port_get_link(port, &link) || pn_port_irq_arm(port))
				return -1;
		}
		if (!wait[0].revents)
			continue;
		if (read(STDIN_FILENO, &byte, 1) <= 0)
			return 0;
		printf("woke %lu received %lu link %s\n", woke, received, link.up ? "up" : "down");
		fflush(stdout);
	}
}

/* Once more started, as what was enabled must outlive that. */
static int restart(void)
{
	return pn_port_start(port) || pn_port_stop(port) || pn_port_start(port);
}

static void report(void)
{
	struct pn_port_stats stats;
	unsigned int i;

	for (i = 0; i < seen_count; i++)
		printf("to %02x:%02x:%02x:%02x:%02x:%02x %lu\n", seen[i].mac[0], seen[i].mac[1],
			seen[i].mac[2], seen[i].mac[3], seen[i].mac[4], seen[i].mac[5],
			seen[i].count);
	printf("longest %u segments %u\n", longest, most_segs);
	for (i = 0; info.rx_offloads && i < sizeof(flags) / sizeof(flags[0]); i++)
		printf("said %s %lu\n", flags[i].name, said[i]);
	if (pn_port_get_stats(port, &stats))
		return;
	printf("rx %lu tx %lu bad %lu errors %lu\n", (unsigned long)stats.rx_packets,
		(unsigned long)stats.tx_packets, (unsigned long)stats.rx_bad_desc,
		(unsigned long)(stats.rx_errors + stats.tx_errors));
	printf("device rx %lu tx %lu\n", (unsigned long)stats.hw_rx_packets,
		(unsigned long)stats.hw_tx_packets);
}

static int set_up(const char *device)
{
	struct pn_pool_opts buffers = {.count = 700};
	uint64_t iova = PN_IOVA_ANY;

	if (pn_domain_create(&domain, NULL) || pn_region_create(&region, PN_PAGE_2M, NULL) ||
		pn_domain_map(domain, region, 0, PN_PAGE_2M, PN_PROT_RW, &iova) ||
		pn_heap_create(&heap, region, iova) || pn_pool_create(&pool, heap, &buffers))
		return -1;
	return pn_port_open(&port, device, &(struct pn_port_opts){domain, heap});
}

static int configure(int argc, char **argv, bool *link, int *irq)
{
	uint8_t groups[GROUPS][PN_MAC_LEN], mac[PN_MAC_LEN];
	unsigned int group_count = 0;
	int i;

	for (i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "link"))
			*link = true;
		else if (!strcmp(argv[i], "offload"))
			pn_port_get_info(port, &info);
		else if (!strcmp(argv[i], "irq") && !pn_port_irq_enable(port, irq))
			continue;
		else if (!strcmp(argv[i], "all-multicast") &&
			 !pn_port_set_all_multicast(port, true))
			continue;
		else if (!strcmp(argv[i], "promiscuous") && !pn_port_set_promiscuous(port, true))
			continue;
		else if (!strcmp(argv[i], "mtu") && ++i < argc &&
			 !pn_port_set_mtu(port, (uint16_t)atoi(argv[i])))
			continue;
		else if (!strcmp(argv[i], "mac") && ++i < argc && !parse_mac(argv[i], mac) &&
			 !pn_port_set_mac(port, mac))
			continue;
		else if (!strcmp(argv[i], "multicast") && ++i < argc && group_count < GROUPS &&
			 !parse_mac(argv[i], groups[group_count]))
			group_count++;
		else
			return -1;
	}
	if (group_count && pn_port_set_multicast(port, groups, group_count))
		return -1;
	return pn_port_configure(port, &(struct pn_port_conf){.rx_pool = pool,
					       .rx_offloads = info.rx_offloads,
					       .tx_offloads = info.tx_offloads});
}

int main(int argc, char **argv)
{
	bool link = false;
	int irq = -1;
	int failed;

	if (argc < 2)
		return 2;
	failed = set_up(argv[1]) || configure(argc, argv, &link, &irq) ||
		 (irq < 0 ? pn_port_start(port) : restart());
	if (failed) {
		fprintf(stderr, "card: %s\n", pn_error());
	} else {
		puts("ready");
		fflush(stdout);
		if (link)
			watch_link();
		else if (irq >= 0)
			failed = sleep_and_wake(irq);
		else
			serve();
		report();
	}
	pn_port_close(port);
	failed |= pn_pool_destroy(pool) || pn_heap_destroy(heap) || pn_domain_destroy(domain) ||
		  pn_region_destroy(region);
	return failed != 0;
}
