/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Leaving a packet's checksums to the port that sends it: finding the headers, and the sum of the
 * pseudo header.
 */
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>

#include "pkt_priv.h"

#define TAG_LEN  4u
#define TAGS_MAX 2u
/* Where TCP and UDP have their checksum, and the shortest header of each. */
#define TCP_CHECKSUM 16u
#define UDP_CHECKSUM 6u
#define TCP_HEADER   20u
#define UDP_HEADER   8u
#define TCP_WORDS    12u /* the byte whose upper half is the header's length in words */

static uint16_t word_at(const unsigned char *data)
{
	return (uint16_t)(data[0] << 8 | data[1]);
}

static void put_word(unsigned char *data, uint16_t value)
{
	data[0] = (unsigned char)(value >> 8);
	data[1] = (unsigned char)value;
}

static uint32_t sum_of(const unsigned char *data, uint32_t len)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i + 1 < len; i += 2)
		sum += word_at(data + i);
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* Headers of a packet, in its first segment; lengths of 0 for what is not there. */
struct headers {
	unsigned char *ip, *l4;
	uint32_t l2_len, l3_len, l4_len;
	uint32_t total; /* from the IP header on, as it says */
	uint8_t protocol;
	bool v4;
	uint32_t pseudo; /* the sum of the pseudo header */
};

static bool find_ip(unsigned char *data, uint32_t len, struct headers *h, uint16_t *type)
{
	uint32_t at = ETHER_HDR_LEN;

	if (len < at)
		return false;
	*type = word_at(data + at - 2);
	for (uint32_t i = 0; i < TAGS_MAX && (*type == ETHERTYPE_VLAN || *type == 0x88a8); i++) {
		at += TAG_LEN;
		if (len < at)
			return false;
		*type = word_at(data + at - 2);
	}
	h->l2_len = at;
	h->ip = data + at;
	return true;
}

/* True: what follows is the beginning of h->protocol's. */
static bool read_v4(struct headers *h, uint32_t len)
{
	uint32_t header;

	if (len < sizeof(struct ip) || h->ip[0] >> 4 != 4)
		return false;
	header = (h->ip[0] & 0xfu) * 4;
	h->total = word_at(h->ip + 2);
	if (header < sizeof(struct ip) || header > len || h->total < header)
		return false;
	h->v4 = true;
	h->l3_len = header;
	h->protocol = h->ip[9];
	h->pseudo = sum_of(h->ip + 12, 8) + h->protocol + (h->total - header);
	return !(word_at(h->ip + 6) & (IP_MF | IP_OFFMASK));
}

static bool read_v6(struct headers *h, uint32_t len)
{
	if (len < sizeof(struct ip6_hdr) || h->ip[0] >> 4 != 6)
		return false;
	h->l3_len = sizeof(struct ip6_hdr);
	h->total = h->l3_len + word_at(h->ip + 4);
	h->protocol = h->ip[6];
	h->pseudo = sum_of(h->ip + 8, 32) + h->protocol + word_at(h->ip + 4);
	return true;
}

/* True: there is a checksum to be filled in. */
static bool read_l4(struct headers *h, uint32_t len)
{
	h->l4 = h->ip + h->l3_len;
	if (h->protocol == IPPROTO_UDP && len >= UDP_HEADER) {
		h->l4_len = UDP_HEADER;
		return true;
	}
	if (h->protocol != IPPROTO_TCP || len < TCP_HEADER)
		return false;
	h->l4_len = (h->l4[TCP_WORDS] >> 4) * 4u;
	return h->l4_len >= TCP_HEADER && h->l4_len <= len;
}

/*
 * Whoever fills the checksum in sums to the end of the packet: a frame's padding, which need not be
 * zeros, is cut off. False: it cannot be, or the end is missing.
 */
static bool end_with_ip(struct pn_buf *packet, const struct headers *h)
{
	uint32_t whole = packet->nb_segs == 1 ? packet->data_len : packet->pkt_len;
	uint32_t want = h->l2_len + h->total;

	if (whole == want)
		return true;
	if (whole < want || packet->nb_segs != 1)
		return false;
	packet->data_len = (uint16_t)want;
	packet->pkt_len = want;
	return true;
}

uint32_t pn_buf_leave_checksums(struct pn_buf *packet, uint32_t offloads)
{
	struct headers h = {0};
	uint32_t len = packet->data_len, set = 0, l4;
	bool whole = false;
	uint16_t type;

	packet->flags &= ~PN_BUF_TX_CHECKSUMS;
	if (!find_ip(pn_buf_data(packet), len, &h, &type))
		return 0;
	len -= h.l2_len;
	if (type == ETHERTYPE_IP)
		whole = read_v4(&h, len);
	else if (type == ETHERTYPE_IPV6)
		whole = read_v6(&h, len);
	if (!h.l3_len)
		return 0;
	whole = whole && read_l4(&h, len - h.l3_len);
	l4 = h.protocol == IPPROTO_TCP ? PN_BUF_TX_TCP : PN_BUF_TX_UDP;
	packet->l2_len = (uint8_t)h.l2_len;
	packet->l3_len = (uint8_t)h.l3_len;
	packet->l4_len = (uint8_t)h.l4_len;
	if (h.v4 && offloads & PN_BUF_TX_IP) {
		put_word(h.ip + 10, 0);
		set |= PN_BUF_TX_IP;
	}
	if (whole && offloads & l4 && end_with_ip(packet, &h)) {
		put_word(
			h.l4 + (l4 == PN_BUF_TX_TCP ? TCP_CHECKSUM : UDP_CHECKSUM), fold(h.pseudo));
		set |= l4;
	}
	packet->flags |= set;
	return set;
}
