/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The Internet checksum (RFC 1071) over packets in segments.
 */
#include <arpa/inet.h>
#include <string.h>

#include "checksum.h"

/* Add bytes to a sum of big-endian words; odd: the first is the lower half of its word. */
static uint64_t add(uint64_t sum, const unsigned char *data, uint32_t len, bool odd)
{
	if (odd && len) {
		sum += *data++;
		len--;
	}
	for (; len >= 2; len -= 2, data += 2)
		sum += (uint32_t)data[0] << 8 | data[1];
	if (len)
		sum += (uint32_t)data[0] << 8;
	return sum;
}

/* Where a byte of the packet is; NULL: it ends before. */
static unsigned char *byte_at(struct pn_buf *packet, uint32_t at)
{
	for (struct pn_buf *seg = packet; seg; seg = seg->next) {
		if (at < seg->data_len)
			return pn_buf_data(seg) + at;
		at -= seg->data_len;
	}
	return NULL;
}

void checksum_fill(struct pn_buf *packet, uint32_t start, uint32_t end, uint32_t offset)
{
	unsigned char *high = byte_at(packet, start + offset);
	unsigned char *low = byte_at(packet, start + offset + 1);
	uint32_t before = 0;
	bool odd = false;
	uint64_t sum = 0;

	if (!high || !low || start + offset < start)
		return;
	for (struct pn_buf *seg = packet; seg; seg = seg->next) {
		uint32_t skip = start > before ? start - before : 0;
		uint32_t len = end - before < seg->data_len ? end - before : seg->data_len;

		before += seg->data_len;
		if (skip < len) {
			sum = add(sum, pn_buf_data(seg) + skip, len - skip, odd);
			odd ^= (len - skip) & 1;
		}
		if (before >= end)
			break;
	}
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	sum = ~sum & 0xffff;
	/* 0 would say that there is none (UDP); both mean the same. */
	if (!sum)
		sum = 0xffff;
	*high = (unsigned char)(sum >> 8);
	*low = (unsigned char)sum;
}
