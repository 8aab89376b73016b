/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes frames to send. The addresses are those that RFC 2544 sets apart for benchmarks, the port
 * is that of the discard service: nobody takes them for something else.
 */
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <string.h>

#include "txgen.h"

#define SOURCE_IP      UINT32_C(0xc6120001) /* 198.18.0.1 */
#define DESTINATION_IP UINT32_C(0xc6120002) /* 198.18.0.2 */
#define DISCARD_PORT   9

struct headers {
	struct ether_header ether;
	struct iphdr ip;
	struct udphdr udp;
} __attribute__((packed));

/* RFC 1071; len is even. */
static uint16_t internet_checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

void txgen_init(struct txgen *gen, struct pn_pool *pool, const uint8_t source[6],
	const uint8_t destination[6], uint16_t len)
{
	uint16_t ip_len = (uint16_t)(len - sizeof(struct ether_header));
	struct headers headers = {
		.ether = {.ether_type = htons(ETHERTYPE_IP)},
		.ip =
			{
				.version = 4,
				.ihl = sizeof(struct iphdr) / 4,
				.tot_len = htons(ip_len),
				.frag_off = htons(IP_DF),
				.ttl = 64,
				.protocol = IPPROTO_UDP,
				.saddr = htonl(SOURCE_IP),
				.daddr = htonl(DESTINATION_IP),
			},
		.udp =
			{
				.source = htons(DISCARD_PORT),
				.dest = htons(DISCARD_PORT),
				.len = htons((uint16_t)(ip_len - sizeof(struct iphdr))),
				.check = 0, /* none, which IPv4 allows */
			},
	};
	uint8_t ip[sizeof(struct iphdr)];

	memcpy(headers.ether.ether_shost, source, 6);
	memcpy(headers.ether.ether_dhost, destination, 6);
	memcpy(ip, &headers.ip, sizeof(ip));
	headers.ip.check = htons(internet_checksum(ip, sizeof(ip)));
	gen->pool = pool;
	gen->len = len;
	memset(gen->frame, 0, sizeof(gen->frame));
	memcpy(gen->frame, &headers, sizeof(headers));
}

uint16_t txgen_burst(struct txgen *gen, struct pn_buf **bufs, uint16_t count)
{
	if (pn_pool_get(gen->pool, bufs, count))
		return 0;
	/* The whole frame each time: a buffer may still hold a packet that was received. */
	for (uint16_t i = 0; i < count; i++) {
		memcpy(pn_buf_data(bufs[i]), gen->frame, gen->len);
		bufs[i]->data_len = gen->len;
		bufs[i]->pkt_len = gen->len;
	}
	return count;
}
