/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moving packets through the four rings of an AF_XDP socket, by bursts: frames to receive into are
 * handed over many at a time, and one system call starts a burst that is sent. Every frame that the
 * kernel names is looked up in the list of those it has.
 */
#include <errno.h>
#include <linux/if_ether.h>
#include <string.h>
#include <sys/socket.h>

#include "afxdp.h"

#define BATCH 64u
/* So many frames are handed over together. */
#define REFILL 32u

static inline uint64_t frame_address(const struct afxdp_umem *umem, uint32_t frame)
{
	return umem->first + frame * umem->stride;
}

static inline uint32_t frame_of(const struct afxdp_umem *umem, const struct pn_buf *buf)
{
	return (uint32_t)(((uint64_t)((const unsigned char *)buf - umem->area) + PN_BUF_META -
				  umem->first) /
			  umem->stride);
}

static inline struct pn_buf *buffer_at(const struct afxdp_umem *umem, uint32_t frame)
{
	return (struct pn_buf *)(void *)(umem->area + frame_address(umem, frame) - PN_BUF_META);
}

/* The frame that the kernel gives back, if it is one that it had for this. */
static inline bool take_back(
	struct afxdp_umem *umem, uint64_t address, enum afxdp_owner had, uint32_t *frame)
{
	uint64_t base = umem->direct ? xsk_umem__extract_addr(address) : address;
	uint64_t at = (base - umem->first) / umem->stride;

	if (__builtin_expect(base < umem->first || at >= umem->count || umem->owners[at] != had, 0))
		return false;
	umem->owners[at] = AFXDP_OURS;
	*frame = (uint32_t)at;
	return true;
}

/* Hand over frames that the fill ring lacks, as far as the pool has buffers. */
void afxdp_fill(struct afxdp_queue *queue)
{
	struct afxdp_umem *umem = queue->umem;
	struct pn_buf *bufs[BATCH];

	while (queue->wanting) {
		uint16_t n = (uint16_t)(queue->wanting < BATCH ? queue->wanting : BATCH);
		uint32_t at;

		if (xsk_prod_nb_free(&queue->fill, n) < n)
			return;
		n = netport_get(&queue->rx, bufs, n);
		if (!n || !xsk_ring_prod__reserve(&queue->fill, n, &at))
			return;
		for (uint16_t i = 0; i < n; i++) {
			uint32_t frame = frame_of(umem, bufs[i]);

			umem->owners[frame] = AFXDP_RECEIVES;
			*xsk_ring_prod__fill_addr(&queue->fill, at + i) =
				frame_address(umem, frame);
		}
		xsk_ring_prod__submit(&queue->fill, n);
		queue->wanting -= n;
	}
}

/* Nothing is there: the kernel may wait to be told that there are frames, or to poll the card. */
static void rx_idle(struct afxdp_queue *queue)
{
	if (queue->wanting && queue->umem->direct)
		afxdp_fill(queue);
	if (queue->busy_poll || xsk_ring_prod__needs_wakeup(&queue->fill))
		(void)recvfrom(queue->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

static inline bool set_packet(
	struct afxdp_umem *umem, struct pn_buf *buf, const struct xdp_desc *desc, uint32_t frame)
{
	uint64_t offset = xsk_umem__add_offset_to_addr(desc->addr) - frame_address(umem, frame);

	if (__builtin_expect(!desc->len || offset + desc->len > umem->frame, 0))
		return false;
	buf->data_off = (uint16_t)offset;
	buf->data_len = (uint16_t)desc->len;
	buf->pkt_len = desc->len;
	return true;
}

uint16_t afxdp_rx_burst(void *arg, struct pn_buf **bufs, uint16_t count)
{
	struct afxdp_queue *queue = arg;
	struct afxdp_umem *umem = queue->umem;
	uint64_t bytes = 0;
	uint32_t at, there;
	uint16_t n = 0;

	there = xsk_ring_cons__peek(&queue->received, count, &at);
	if (!there) {
		rx_idle(queue);
		return 0;
	}
	for (uint32_t i = 0; i < there; i++) {
		const struct xdp_desc *desc = xsk_ring_cons__rx_desc(&queue->received, at + i);
		uint32_t frame;

		if (!take_back(umem, desc->addr, AFXDP_RECEIVES, &frame)) {
			soft_count(&queue->rx_senseless, 1);
			continue;
		}
		bufs[n] = buffer_at(umem, frame);
		queue->wanting++;
		if (!set_packet(umem, bufs[n], desc, frame)) {
			soft_count(&queue->rx_senseless, 1);
			pn_buf_free(bufs[n]);
			continue;
		}
		bytes += desc->len;
		n++;
	}
	xsk_ring_cons__release(&queue->received, there);
	if (queue->wanting >= REFILL || queue->wanting >= queue->fill.size / 4)
		afxdp_fill(queue);
	soft_count(&queue->rx.counts->packets, n);
	soft_count(&queue->rx.counts->bytes, bytes);
	return n;
}

/*
 * The same out of frames that are not the pool's: they go back together, so that one that is named
 * twice does not go twice.
 */
uint16_t afxdp_rx_copy_burst(void *arg, struct pn_buf **bufs, uint16_t count)
{
	struct afxdp_queue *queue = arg;
	struct afxdp_umem *umem = queue->umem;
	uint32_t frames[BATCH], at, to, there, given = 0;
	uint64_t bytes = 0;
	uint16_t n = 0;

	there = xsk_ring_cons__peek(&queue->received, count < BATCH ? count : BATCH, &at);
	if (!there || !xsk_ring_prod__reserve(&queue->fill, there, &to)) {
		xsk_ring_cons__cancel(&queue->received, there);
		rx_idle(queue);
		return 0;
	}
	for (uint32_t i = 0; i < there; i++) {
		const struct xdp_desc *desc = xsk_ring_cons__rx_desc(&queue->received, at + i);
		uint64_t start = desc->addr;
		uint32_t frame;

		if (!take_back(umem, start, AFXDP_RECEIVES, &frame)) {
			soft_count(&queue->rx_senseless, 1);
			continue;
		}
		frames[given++] = frame;
		if (start + desc->len > frame_address(umem, frame) + umem->frame) {
			soft_count(&queue->rx_senseless, 1);
		} else {
			bufs[n] = soft_chain(
				queue->rx.port->soft.pool, umem->area + start, desc->len);
			bytes += bufs[n] ? desc->len : 0;
			if (bufs[n])
				n++;
			else
				soft_count(&queue->rx.counts->missed, 1);
		}
	}
	for (uint32_t i = 0; i < given; i++) {
		umem->owners[frames[i]] = AFXDP_RECEIVES;
		*xsk_ring_prod__fill_addr(&queue->fill, to + i) = frame_address(umem, frames[i]);
	}
	xsk_ring_cons__release(&queue->received, there);
	/* For what makes no sense there is no frame to hand over. */
	queue->fill.cached_prod -= there - given;
	xsk_ring_prod__submit(&queue->fill, given);
	soft_count(&queue->rx_copied, n);
	soft_count(&queue->rx.counts->packets, n);
	soft_count(&queue->rx.counts->bytes, bytes);
	return n;
}

/* Frames that were sent. */
static void reap(struct afxdp_queue *queue)
{
	struct afxdp_umem *umem = queue->umem;
	struct pn_buf *bufs[BATCH];
	uint32_t there, at;

	while ((there = xsk_ring_cons__peek(&queue->completed, BATCH, &at))) {
		uint32_t n = 0;

		for (uint32_t i = 0; i < there; i++) {
			uint64_t address = *xsk_ring_cons__comp_addr(&queue->completed, at + i);
			uint32_t frame;

			if (!take_back(umem, address, AFXDP_SENDS, &frame))
				soft_count(&queue->tx_senseless, 1);
			else if (umem->direct)
				bufs[n++] = buffer_at(umem, frame);
			else
				queue->spare[queue->spare_count++] = frame;
		}
		xsk_ring_cons__release(&queue->completed, there);
		queue->in_flight -= there < queue->in_flight ? there : queue->in_flight;
		pn_buf_free_bulk(bufs, n);
	}
}

/* May its own memory be sent as it is? */
static bool is_frame(const struct afxdp_queue *queue, const struct pn_buf *packet)
{
	return queue->umem->direct && packet->pool == queue->tx.port->soft.pool &&
	       __atomic_load_n(&packet->state, __ATOMIC_ACQUIRE) == PN_BUF_PLAIN &&
	       (packet->data_len >= ETH_ZLEN || pn_buf_tailroom(packet) >= ETH_ZLEN);
}

static void copy_out(unsigned char *to, const struct pn_buf *packet, uint32_t len)
{
	const struct pn_buf *seg = packet;

	for (uint8_t i = 0; i < packet->nb_segs; i++, seg = seg->next) {
		memcpy(to, pn_buf_data(seg), seg->data_len);
		to += seg->data_len;
	}
	if (len < ETH_ZLEN)
		memset(to, 0, ETH_ZLEN - len);
}

/*
 * Put a packet's bytes into a frame of its own, which desc is to send then. The packet is freed by
 * the caller when all have been looked at. False: there is no frame.
 */
static bool send_copy(
	struct afxdp_queue *queue, const struct pn_buf *packet, uint32_t *frame, uint16_t *offset)
{
	struct afxdp_umem *umem = queue->umem;
	struct pn_buf *buf;

	if (umem->direct) {
		if (pn_pool_get(queue->tx.port->soft.pool, &buf, 1))
			return false;
		*frame = frame_of(umem, buf);
	} else {
		if (!queue->spare_count)
			return false;
		*frame = queue->spare[--queue->spare_count];
	}
	*offset = 0;
	copy_out(umem->area + frame_address(umem, *frame), packet, pn_packet_len(packet));
	soft_count(&queue->tx_copied, 1);
	return true;
}

/* The kernel sends what is in the ring when it is told to, some packets at a time. */
static int start_sending(struct afxdp_queue *queue)
{
	for (;;) {
		uint32_t before = __atomic_load_n(queue->send.consumer, __ATOMIC_ACQUIRE);

		soft_count(&queue->tx_wakeups, 1);
		if (sendto(queue->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) >= 0)
			return 0;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN && errno != EBUSY && errno != ENOBUFS)
			return -errno;
		if (__atomic_load_n(queue->send.consumer, __ATOMIC_ACQUIRE) == before)
			return 0;
		reap(queue);
	}
}

static bool acceptable(const struct afxdp_queue *queue, const struct pn_buf *packet)
{
	return soft_valid(packet) && pn_packet_len(packet) <= queue->longest;
}

/* One packet into the ring. False: there is no frame for it. *freed: it was copied. */
static bool put(struct afxdp_queue *queue, struct pn_buf *packet, uint32_t at, bool *copied)
{
	struct afxdp_umem *umem = queue->umem;
	uint32_t len = pn_packet_len(packet), frame;
	struct xdp_desc *desc;
	uint16_t offset;

	*copied = !is_frame(queue, packet);
	if (*copied) {
		if (!send_copy(queue, packet, &frame, &offset))
			return false;
	} else {
		frame = frame_of(umem, packet);
		offset = packet->data_off;
		if (len < ETH_ZLEN)
			memset(pn_buf_data(packet) + len, 0, ETH_ZLEN - len);
	}
	umem->owners[frame] = AFXDP_SENDS;
	desc = xsk_ring_prod__tx_desc(&queue->send, at);
	desc->addr = frame_address(umem, frame) | (uint64_t)offset
							  << XSK_UNALIGNED_BUF_OFFSET_SHIFT;
	desc->len = len < ETH_ZLEN ? ETH_ZLEN : len;
	desc->options = 0;
	return true;
}

/* As many of the packets as there is room for. Returns how many are dealt with. */
static uint16_t put_all(struct afxdp_queue *queue, struct pn_buf **bufs, uint16_t count)
{
	uint64_t packets = 0, bytes = 0, errors = 0;
	uint16_t i;

	for (i = 0; i < count; i++) {
		bool copied = true;
		uint32_t at;

		if (__builtin_expect(!acceptable(queue, bufs[i]), 0)) {
			errors++;
			pn_buf_free(bufs[i]);
			continue;
		}
		if (queue->in_flight + packets >= queue->room ||
			!xsk_ring_prod__reserve(&queue->send, 1, &at))
			break;
		if (!put(queue, bufs[i], at, &copied)) {
			queue->send.cached_prod--;
			break;
		}
		packets++;
		bytes += pn_packet_len(bufs[i]);
		if (copied)
			pn_buf_free(bufs[i]);
	}
	xsk_ring_prod__submit(&queue->send, (uint32_t)packets);
	queue->in_flight += (uint32_t)packets;
	soft_count(&queue->tx.counts->packets, packets);
	soft_count(&queue->tx.counts->bytes, bytes);
	if (errors)
		soft_count(&queue->tx.counts->errors, errors);
	return i;
}

uint16_t afxdp_tx_burst(void *arg, struct pn_buf **bufs, uint16_t count)
{
	struct afxdp_queue *queue = pn_container_of(arg, struct afxdp_queue, tx);
	uint16_t n;
	int ret;

	if (queue->in_flight)
		reap(queue);
	n = put_all(queue, bufs, count);
	if (!queue->in_flight)
		return n;
	ret = start_sending(queue);
	if (n < count && !ret) {
		/* What was sent has made room. */
		reap(queue);
		n = (uint16_t)(n + put_all(queue, bufs + n, (uint16_t)(count - n)));
		ret = start_sending(queue);
	}
	if (__builtin_expect(ret && n < count, 0)) {
		/* The interface takes nothing, and the ring is full of what waits for it. */
		netport_drop(&queue->tx, bufs + n, (uint32_t)(count - n), ret);
		return count;
	}
	return n;
}
