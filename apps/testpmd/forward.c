/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The data path. What runs per burst makes no system call, takes no lock and allocates nothing; the
 * clock is looked at only once in LOOPS_PER_LOOK times around.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "output.h"
#include "pairing.h"
#include "testpmd.h"
#include "txgen.h"

/* How long a full transmit ring is given at the ends of the run. */
#define DRAIN_MS 200

static uint16_t take_shared(struct budget *budget, uint16_t want)
{
	uint64_t left = __atomic_load_n(&budget->left, __ATOMIC_RELAXED), take;

	do {
		take = left < want ? left : want;
	} while (take && !__atomic_compare_exchange_n(&budget->left, &left, left - take, true,
				 __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return (uint16_t)take;
}

static void settle_shared(struct budget *budget, uint16_t taken, uint16_t used)
{
	if (used < taken)
		__atomic_fetch_add(&budget->left, (uint64_t)(taken - used), __ATOMIC_RELAXED);
	if (used)
		__atomic_fetch_add(&budget->done, used, __ATOMIC_RELAXED);
}

/*
 * Each mode is compiled twice: with a budget of its own, and with one that is shared, which must
 * cost nothing where it is not.
 */
#define MODE static inline __attribute__((always_inline)) void

#define BOTH(mode)                                             \
	static void run_##mode(struct stream *stream)          \
	{                                                      \
		mode(stream, false);                           \
	}                                                      \
	static void run_##mode##_shared(struct stream *stream) \
	{                                                      \
		mode(stream, true);                            \
	}

/* How many packets a burst may have: what is left of the budget, at most a burst. */
static inline uint16_t take(const struct stream *stream, const bool shared)
{
	struct budget *budget = stream->budget;

	if (shared)
		return take_shared(budget, stream->burst);
	return stream->burst < budget->left ? stream->burst : (uint16_t)budget->left;
}

/* How many it had. */
static inline void settle(
	const struct stream *stream, uint16_t taken, uint16_t used, const bool shared)
{
	struct budget *budget = stream->budget;

	if (shared)
		settle_shared(budget, taken, used);
	else
		budget->left -= used;
}

/* Receive into the stream's array as many as are wanted. */
static inline uint16_t receive(struct stream *stream, const bool shared)
{
	uint16_t want = take(stream, shared), count;

	if (!want)
		return 0;
	count = pn_port_rx_burst(stream->rx, stream->queue, stream->bufs, want);
	stream->received += count;
	settle(stream, want, count, shared);
	return count;
}

/* Send, and drop what the ring has no room for. */
static inline void send_or_drop(struct stream *stream, uint16_t count)
{
	uint16_t sent = pn_port_tx_burst(stream->tx, stream->queue, stream->bufs, count);

	stream->sent += sent;
	if (__builtin_expect(sent == count, 1))
		return;
	stream->dropped += (uint16_t)(count - sent);
	pn_buf_free_bulk(&stream->bufs[sent], (uint32_t)(count - sent));
}

/* Send what is held, and go on holding what the ring has no room for. */
static inline void send_held(struct stream *stream)
{
	uint16_t sent = pn_port_tx_burst(
		stream->tx, stream->queue, &stream->bufs[stream->first], stream->held);

	stream->sent += sent;
	stream->first = (uint16_t)(stream->first + sent);
	stream->held = (uint16_t)(stream->held - sent);
}

MODE io(struct stream *stream, const bool shared)
{
	uint16_t count = receive(stream, shared);

	if (count)
		send_or_drop(stream, count);
}

/* Both addresses in two words, which are turned by six bytes. */
static inline void swap_macs_short(unsigned char *frame)
{
	uint64_t first;
	uint32_t last;

	memcpy(&first, frame, sizeof(first));
	memcpy(&last, frame + sizeof(first), sizeof(last));
	first = le64toh(first);
	last = le32toh(last);
	const uint64_t turned = htole64(first >> 48 | (uint64_t)last << 16 | first << 48);
	const uint32_t rest = htole32((uint32_t)(first >> 16));
	memcpy(frame, &turned, sizeof(turned));
	memcpy(frame + sizeof(turned), &rest, sizeof(rest));
}

#if defined(__SSE2__)
/*
 * The first 16 bytes of a longer frame in a register: words 0 1 2 3 4 5 6 7 become 3 4 5 0 1 2 6 7.
 * With one load and one store in place of two, ring ports forward a sixth more.
 */
static inline void swap_macs_long(unsigned char *frame)
{
	__m128i words = _mm_loadu_si128((const __m128i_u *)frame);

	words = _mm_shufflelo_epi16(words, _MM_SHUFFLE(1, 2, 3, 0)); /* 0 3 2 1 4 5 6 7 */
	words = _mm_shuffle_epi32(words, _MM_SHUFFLE(3, 1, 2, 0));   /* 0 3 4 5 2 1 6 7 */
	words = _mm_shufflelo_epi16(words, _MM_SHUFFLE(0, 3, 2, 1)); /* 3 4 5 0 2 1 6 7 */
	words = _mm_shufflehi_epi16(words, _MM_SHUFFLE(3, 2, 0, 1)); /* 3 4 5 0 1 2 6 7 */
	_mm_storeu_si128((__m128i_u *)frame, words);
}
#define LONG_FRAME 16
#else
#define swap_macs_long swap_macs_short
#define LONG_FRAME     (2 * PN_MAC_LEN)
#endif

static inline void swap_macs(struct pn_buf *buf)
{
	/* The device may have handed over anything. */
	if (__builtin_expect(buf->data_len >= LONG_FRAME, 1))
		swap_macs_long(pn_buf_data(buf));
	else if (buf->data_len >= 2 * PN_MAC_LEN)
		swap_macs_short(pn_buf_data(buf));
}

/*
 * Nothing is fetched ahead: the processor looks as far ahead as a burst is long. A loop that asks
 * for the headers first costs a fifth with packets in its caches, and gains nothing with packets in
 * memory.
 */
MODE macswap(struct stream *stream, const bool shared)
{
	uint16_t count = receive(stream, shared);

	if (!count)
		return;
	for (uint16_t i = 0; i < count; i++)
		swap_macs(stream->bufs[i]);
	send_or_drop(stream, count);
}

MODE rxonly(struct stream *stream, const bool shared)
{
	uint16_t count = receive(stream, shared);

	if (!count)
		return;
	stream->consumed += count;
	pn_buf_free_bulk(stream->bufs, count);
}

/* Holding a frame that did not fit is cheaper than dropping it and making the same one again. */
MODE txonly(struct stream *stream, const bool shared)
{
	if (!stream->held) {
		uint16_t want = take(stream, shared);

		if (!want)
			return;
		stream->first = 0;
		stream->held = txgen_burst(stream->generator, stream->bufs, want);
		stream->generated += stream->held;
		settle(stream, want, stream->held, shared);
	}
	if (stream->held)
		send_held(stream);
}

/*
 * A wire loses nothing: while packets wait for room in the transmit ring, nothing more is received
 * in this direction. It does not wait for them: the other direction may need its turn.
 */
MODE bridge(struct stream *stream, const bool shared)
{
	if (!stream->held) {
		stream->first = 0;
		stream->held = receive(stream, shared);
	}
	if (stream->held)
		send_held(stream);
}

BOTH(io)
BOTH(macswap)
BOTH(rxonly)
BOTH(txonly)
BOTH(bridge)

#define RUN(mode) .name = #mode, .run = run_##mode, .run_shared = run_##mode##_shared

static const struct forward_mode modes[] = {
	{RUN(io), .summary = "pass on as received", .sends = true},
	{RUN(macswap), .summary = "swap source and destination MAC", .sends = true},
	{RUN(rxonly), .summary = "receive and drop"},
	{RUN(txonly), .summary = "send generated UDP frames", .sends = true, .generates = true},
	{RUN(bridge), .summary = "a wire between each two links: as received, and no loss",
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

/* Each core has streams that follow each other: those of a pair are on one core if they can be. */
static void share_out(struct testpmd *t)
{
	const unsigned int streams = t->stream_count, cores = t->core_count;
	const bool shared = t->options.cpu_count && t->options.count;

	for (unsigned int n = 0; n < cores; n++) {
		struct core *core = &t->cores[n];

		core->t = t;
		core->first = n * streams / cores;
		core->count = (n + 1) * streams / cores - core->first;
		core->streams = &t->streams[core->first];
		core->budget.left = t->options.count ? t->options.count : UINT64_MAX;
		core->budget.shared = shared;
		for (unsigned int i = 0; i < core->count; i++)
			core->streams[i].budget = shared ? &t->cores[0].budget : &core->budget;
	}
}

/* Zeroed, and on cache lines of its own. */
static void *make_array(unsigned int count, size_t size)
{
	void *array = aligned_alloc(64, count * size);

	if (array)
		memset(array, 0, count * size);
	return array;
}

int forward_prepare(struct testpmd *t)
{
	t->core_count = t->options.cpu_count ? t->options.cpu_count : 1;
	t->cores = make_array(t->core_count, sizeof(*t->cores));
	t->stream_count = t->port_count * options_queues(&t->options);
	t->streams = make_array(t->stream_count, sizeof(*t->streams));
	if (!t->cores || !t->streams)
		return fail(t, -ENOMEM, "out of memory");
	share_out(t);
	for (unsigned int i = 0; i < t->stream_count; i++) {
		struct stream *stream = &t->streams[i];
		unsigned int from = i % t->port_count;
		unsigned int to = t->options.mode->generates ? from : t->ports[from].peer;

		stream->rx = t->ports[from].port;
		stream->queue = (uint16_t)(i / t->port_count);
		stream->tx = t->ports[to].port;
		stream->tx_index = to;
		stream->burst = t->options.burst;
		if (make_generator(t, stream, to))
			return fail(t, -ENOMEM, "out of memory");
	}
	return 0;
}

static bool anything_held(const struct testpmd *t)
{
	for (unsigned int i = 0; i < t->stream_count; i++) {
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
		for (unsigned int i = 0; i < t->stream_count; i++) {
			if (t->streams[i].held)
				send_held(&t->streams[i]);
		}
	}
}

static void settle_held(struct testpmd *t)
{
	drain(t);
	for (unsigned int i = 0; i < t->stream_count; i++) {
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
		for (unsigned int i = 0; i < t->stream_count; i++) {
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
	const unsigned int count = t->stream_count;
	struct waiter waiter;
	unsigned int round = 0;

	waiter_init(&waiter, &t->cores[0]);
	while (!stop_signal) {
		for (unsigned int i = 0; i < count; i++)
			run(&t->streams[i]);
		if (++round % LOOPS_PER_LOOK)
			continue;
		if (clock_due(&t->clock))
			stats_tick(t);
		if (waiter.on)
			waiter_sleep(&waiter, &t->cores[0]);
		if (!t->cores[0].budget.left && !anything_held(t))
			t->stop = STOP_COUNT;
		if (t->stop)
			return;
	}
	t->stop = STOP_SIGNAL;
}

void forward_run(struct testpmd *t)
{
	send_first(t);
	if (t->options.cpu_count) {
		cores_run(t);
	} else {
		stats_start(t);
		t->cores[0].cpu_ns = clock_cpu_ns();
		loop(t);
		t->cores[0].cpu_ns = clock_cpu_ns() - t->cores[0].cpu_ns;
	}
	stats_stop(t);
	for (unsigned int n = 0; n < t->core_count; n++)
		t->stats.cpu_ns += t->cores[n].cpu_ns;
	settle_held(t);
	/* As testpmd does: what had no room is a matter of the port that should have sent it. */
	for (unsigned int i = 0; i < t->stream_count; i++)
		t->ports[t->streams[i].tx_index].tx_dropped += t->streams[i].dropped;
}

void forward_release(struct testpmd *t)
{
	for (unsigned int i = 0; t->streams && i < t->stream_count; i++)
		free(t->streams[i].generator);
	free(t->streams);
	free(t->cores);
	t->streams = NULL;
	t->cores = NULL;
}
