/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The data path. What runs per burst makes no system call, takes no lock and allocates nothing; the
 * clock is looked at only once in LOOPS_PER_LOOK times around.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "pairing.h"
#include "testpmd.h"
#include "txgen.h"

#define LOOPS_PER_LOOK 16
/* How long a full transmit ring is given at the ends of the run. */
#define DRAIN_MS 200

/* Receive into the stream's array as many as are wanted, or none while packets are held. */
static inline uint16_t receive(struct stream *stream)
{
	uint16_t want = stream->burst, count;

	if (want > *stream->budget)
		want = (uint16_t)*stream->budget;
	if (!want)
		return 0;
	count = pn_port_rx_burst(stream->rx, 0, stream->bufs, want);
	stream->received += count;
	*stream->budget -= count;
	return count;
}

/* Send, and drop what the ring has no room for. */
static inline void send_or_drop(struct stream *stream, uint16_t count)
{
	uint16_t sent = pn_port_tx_burst(stream->tx, 0, stream->bufs, count);

	stream->sent += sent;
	if (__builtin_expect(sent == count, 1))
		return;
	stream->dropped += (uint16_t)(count - sent);
	pn_buf_free_bulk(&stream->bufs[sent], (uint32_t)(count - sent));
}

/* Send what is held, and go on holding what the ring has no room for. */
static inline void send_held(struct stream *stream)
{
	uint16_t sent = pn_port_tx_burst(stream->tx, 0, &stream->bufs[stream->first], stream->held);

	stream->sent += sent;
	stream->first = (uint16_t)(stream->first + sent);
	stream->held = (uint16_t)(stream->held - sent);
}

static void run_io(struct stream *stream)
{
	uint16_t count = receive(stream);

	if (count)
		send_or_drop(stream, count);
}

static inline void swap_macs(struct pn_buf *buf)
{
	unsigned char *frame = pn_buf_data(buf);
	uint64_t first;
	uint32_t last;

	/* The device may have handed over anything. */
	if (__builtin_expect(buf->data_len < 2 * PN_MAC_LEN, 0))
		return;
	/* Both addresses in two words, which are turned by six bytes. */
	memcpy(&first, frame, sizeof(first));
	memcpy(&last, frame + sizeof(first), sizeof(last));
	first = le64toh(first);
	last = le32toh(last);
	const uint64_t turned = htole64(first >> 48 | (uint64_t)last << 16 | first << 48);
	const uint32_t rest = htole32((uint32_t)(first >> 16));
	memcpy(frame, &turned, sizeof(turned));
	memcpy(frame + sizeof(turned), &rest, sizeof(rest));
}

static void run_macswap(struct stream *stream)
{
	uint16_t count = receive(stream);

	if (!count)
		return;
	for (uint16_t i = 0; i < count; i++)
		__builtin_prefetch(pn_buf_data(stream->bufs[i]), 1);
	for (uint16_t i = 0; i < count; i++)
		swap_macs(stream->bufs[i]);
	send_or_drop(stream, count);
}

static void run_rxonly(struct stream *stream)
{
	uint16_t count = receive(stream);

	if (!count)
		return;
	stream->consumed += count;
	pn_buf_free_bulk(stream->bufs, count);
}

/* Holding a frame that did not fit is cheaper than dropping it and making the same one again. */
static void run_txonly(struct stream *stream)
{
	if (!stream->held) {
		uint16_t want = stream->burst;

		if (want > *stream->budget)
			want = (uint16_t)*stream->budget;
		if (!want)
			return;
		stream->first = 0;
		stream->held = txgen_burst(stream->generator, stream->bufs, want);
		stream->generated += stream->held;
		*stream->budget -= stream->held;
	}
	if (stream->held)
		send_held(stream);
}

/*
 * A wire loses nothing: while packets wait for room in the transmit ring, nothing more is received
 * in this direction. It does not wait for them: the other direction may need its turn.
 */
static void run_bridge(struct stream *stream)
{
	if (!stream->held) {
		stream->first = 0;
		stream->held = receive(stream);
	}
	if (stream->held)
		send_held(stream);
}

static const struct forward_mode modes[] = {
	{"io", "pass on as received", run_io, .sends = true},
	{"macswap", "swap source and destination MAC", run_macswap, .sends = true},
	{"rxonly", "receive and drop", run_rxonly},
	{"txonly", "send generated UDP frames", run_txonly, .sends = true, .generates = true},
	{"bridge", "a wire between each two links: as received, and no loss", run_bridge,
		.sends = true, .wire = true},
};

#define MODE_COUNT (sizeof(modes) / sizeof(modes[0]))

const struct forward_mode *forward_mode_get(unsigned int index)
{
	return index < MODE_COUNT ? &modes[index] : NULL;
}

const struct forward_mode *forward_mode_find(const char *name)
{
	for (unsigned int i = 0; i < MODE_COUNT; i++) {
		if (strcmp(modes[i].name, name) == 0)
			return &modes[i];
	}
	return NULL;
}

static void destination_of(const struct options *o, unsigned int port, uint8_t mac[MAC_LEN])
{
	const uint8_t usual[MAC_LEN] = {0x02, 0, 0, 0, (uint8_t)(port >> 8), (uint8_t)port};

	memcpy(mac, usual, MAC_LEN);
	for (size_t i = 0; i < o->peer_count; i++) {
		if (o->peers[i].port < 0 || o->peers[i].port == (int)port)
			memcpy(mac, o->peers[i].mac, MAC_LEN);
	}
}

static int make_generator(struct testpmd *t, struct stream *stream, unsigned int port)
{
	const struct options *o = &t->options;
	uint8_t destination[MAC_LEN];

	if (!o->mode->generates && !o->tx_first)
		return 0;
	stream->generator = malloc(sizeof(*stream->generator));
	if (!stream->generator)
		return -ENOMEM;
	destination_of(o, port, destination);
	txgen_init(stream->generator, t->pool, t->ports[port].info.mac, destination, o->frame_size);
	return 0;
}

int forward_prepare(struct testpmd *t)
{
	size_t size = t->port_count * sizeof(struct stream);

	t->streams = aligned_alloc(_Alignof(struct stream), size);
	if (!t->streams)
		return fail(t, -ENOMEM, "out of memory");
	memset(t->streams, 0, size);
	t->budget = t->options.count ? t->options.count : UINT64_MAX;
	for (unsigned int i = 0; i < t->port_count; i++) {
		struct stream *stream = &t->streams[i];
		unsigned int to = t->options.mode->generates ? i : t->ports[i].peer;

		stream->rx = t->ports[i].port;
		stream->tx = t->ports[to].port;
		stream->tx_index = to;
		stream->burst = t->options.burst;
		stream->budget = &t->budget;
		if (make_generator(t, stream, to))
			return fail(t, -ENOMEM, "out of memory");
	}
	return 0;
}

static bool anything_held(const struct testpmd *t)
{
	for (unsigned int i = 0; i < t->port_count; i++) {
		if (t->streams[i].held)
			return true;
	}
	return false;
}

/* Give the transmit rings a little time to take what is held. */
static void drain(struct testpmd *t)
{
	uint64_t end = clock_ns() + DRAIN_MS * NS_PER_MS;

	while (anything_held(t) && clock_ns() < end) {
		for (unsigned int i = 0; i < t->port_count; i++) {
			if (t->streams[i].held)
				send_held(&t->streams[i]);
		}
	}
}

static void settle_held(struct testpmd *t)
{
	drain(t);
	for (unsigned int i = 0; i < t->port_count; i++) {
		struct stream *stream = &t->streams[i];

		pn_buf_free_bulk(&stream->bufs[stream->first], stream->held);
		stream->dropped += stream->held;
		stream->held = 0;
	}
}

/* --tx-first: something to go around where ports are connected in a loop. */
static void send_first(struct testpmd *t)
{
	for (uint32_t n = 0; n < t->options.tx_first && !stop_signal; n++) {
		for (unsigned int i = 0; i < t->port_count; i++) {
			struct stream *stream = &t->streams[i];

			stream->first = 0;
			stream->held = txgen_burst(stream->generator, stream->bufs, stream->burst);
			stream->generated += stream->held;
		}
		settle_held(t);
	}
}

static void loop(struct testpmd *t)
{
	void (*run)(struct stream *) = t->options.mode->run;
	const unsigned int count = t->port_count;
	unsigned int round = 0;

	while (!stop_signal) {
		for (unsigned int i = 0; i < count; i++)
			run(&t->streams[i]);
		if (++round % LOOPS_PER_LOOK)
			continue;
		if (clock_due(&t->clock))
			stats_tick(t);
		if (!t->budget && !anything_held(t))
			t->stop = STOP_COUNT;
		if (t->stop)
			return;
	}
	t->stop = STOP_SIGNAL;
}

void forward_run(struct testpmd *t)
{
	send_first(t);
	stats_start(t);
	t->stats.cpu_ns = clock_cpu_ns();
	loop(t);
	t->stats.cpu_ns = clock_cpu_ns() - t->stats.cpu_ns;
	stats_stop(t);
	settle_held(t);
	/* As testpmd does: what had no room is a matter of the port that should have sent it. */
	for (unsigned int i = 0; i < t->port_count; i++)
		t->ports[t->streams[i].tx_index].tx_dropped += t->streams[i].dropped;
}

void forward_release(struct testpmd *t)
{
	if (!t->streams)
		return;
	for (unsigned int i = 0; i < t->port_count; i++)
		free(t->streams[i].generator);
	free(t->streams);
	t->streams = NULL;
}
