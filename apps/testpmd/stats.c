/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters over time. The events of a run (a sample, the end of the warm-up, the end) are times;
 * the forwarding loop is told the next one and calls back when it has passed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "testpmd.h"

/* Samples that are kept for the document; at one a second, more than a day. */
#define SAMPLES_MAX 100000

/* The devices may need this long to send what they were given, and no longer. */
#define SETTLE_MS      200
#define SETTLE_STEP_MS 2
#define SETTLE_STEPS   5 /* without progress: it will not come */

static int snapshot_prepare(struct snapshot *snapshot, unsigned int ports)
{
	snapshot->ports = calloc(ports, sizeof(*snapshot->ports));
	return snapshot->ports ? 0 : -ENOMEM;
}

int stats_prepare(struct testpmd *t)
{
	struct stats *s = &t->stats;

	s->mean = calloc(t->port_count, sizeof(*s->mean));
	if (!s->mean || snapshot_prepare(&s->measured, t->port_count) ||
		snapshot_prepare(&s->last_sample, t->port_count) ||
		snapshot_prepare(&s->now, t->port_count))
		return fail(t, -ENOMEM, "out of memory");
	return 0;
}

void stats_free(struct testpmd *t)
{
	struct stats *s = &t->stats;

	for (size_t i = 0; i < s->sample_count; i++)
		free(s->samples[i].ports);
	free(s->samples);
	free(s->mean);
	free(s->measured.ports);
	free(s->last_sample.ports);
	free(s->now.ports);
	*s = (struct stats){0};
}

static void take(struct testpmd *t, struct snapshot *snapshot)
{
	for (unsigned int i = 0; i < t->port_count; i++) {
		int err = pn_port_get_stats(t->ports[i].port, &snapshot->ports[i]);

		if (err) {
			fail(t, err, "port %u: reading its counters: %s", i, pn_error());
			t->stop = STOP_ERROR;
		}
	}
	snapshot->ns = clock_ns();
}

static void copy(struct testpmd *t, struct snapshot *to, const struct snapshot *from)
{
	to->ns = from->ns;
	memcpy(to->ports, from->ports, t->port_count * sizeof(*to->ports));
}

static double seconds_between(uint64_t from_ns, uint64_t to_ns)
{
	return to_ns > from_ns ? (double)(to_ns - from_ns) / (double)NS_PER_SEC : 0.0;
}

static double per_second(uint64_t from, uint64_t to, double seconds)
{
	return seconds > 0 && to > from ? (double)(to - from) / seconds : 0.0;
}

static void rates_between(struct testpmd *t, const struct snapshot *from, const struct snapshot *to,
	struct rates *rates)
{
	double seconds = seconds_between(from->ns, to->ns);

	for (unsigned int i = 0; i < t->port_count; i++) {
		const struct pn_port_stats *a = &from->ports[i], *b = &to->ports[i];

		rates[i].rx_pps = per_second(a->rx_packets, b->rx_packets, seconds);
		rates[i].tx_pps = per_second(a->tx_packets, b->tx_packets, seconds);
		rates[i].rx_bps = 8 * per_second(a->rx_bytes, b->rx_bytes, seconds);
		rates[i].tx_bps = 8 * per_second(a->tx_bytes, b->tx_bytes, seconds);
	}
}

/* Keep a sample for the document: its rates become the store's. */
static void keep(struct stats *s, const struct sample *sample)
{
	if (s->sample_count == s->sample_room) {
		size_t room = s->sample_room ? 2 * s->sample_room : 64;
		struct sample *samples = NULL;

		if (s->sample_count < SAMPLES_MAX)
			samples = reallocarray(s->samples, room, sizeof(*samples));
		if (!samples) {
			s->samples_lost++;
			free(sample->ports);
			return;
		}
		s->samples = samples;
		s->sample_room = room;
	}
	s->samples[s->sample_count++] = *sample;
}

static void take_sample(struct testpmd *t)
{
	struct stats *s = &t->stats;
	struct sample sample = {.ports = calloc(t->port_count, sizeof(*sample.ports))};

	if (!sample.ports) {
		s->samples_lost++;
		return;
	}
	take(t, &s->now);
	sample.seconds = seconds_between(s->start_ns, s->now.ns);
	rates_between(t, &s->last_sample, &s->now, sample.ports);
	copy(t, &s->last_sample, &s->now);
	report_sample(t, &sample);
	if (t->options.json)
		keep(s, &sample);
	else
		free(sample.ports);
}

static uint64_t next_event(const struct stats *s)
{
	uint64_t next = s->stop_ns;

	if (s->next_sample_ns < next)
		next = s->next_sample_ns;
	if (s->warm_ns < next)
		next = s->warm_ns;
	return next;
}

static uint64_t after(uint64_t start_ns, uint64_t ms)
{
	return ms ? start_ns + ms * NS_PER_MS : UINT64_MAX;
}

void stats_start(struct testpmd *t)
{
	const struct options *o = &t->options;
	struct stats *s = &t->stats;

	/* Once before, so that a first measurement of the clock's rate does not count. */
	clock_arm(&t->clock, 0);
	take(t, &s->last_sample);
	copy(t, &s->measured, &s->last_sample);
	s->start_ns = s->last_sample.ns;
	s->next_sample_ns = after(s->start_ns, o->period_ms);
	s->warm_ns = after(s->start_ns, o->warmup_ms);
	s->stop_ns = after(s->start_ns, o->duration_ms);
	clock_arm(&t->clock, next_event(s));
}

void stats_tick(struct testpmd *t)
{
	struct stats *s = &t->stats;
	uint64_t now = clock_ns();

	if (now >= s->warm_ns) {
		take(t, &s->measured);
		s->warm_ns = UINT64_MAX;
	}
	if (now >= s->next_sample_ns) {
		take_sample(t);
		/* What was missed, while the process was stopped, say, is not made up for. */
		while (s->next_sample_ns <= now)
			s->next_sample_ns += t->options.period_ms * NS_PER_MS;
		if (!t->stop && ferror(t->out))
			t->stop = STOP_OUTPUT;
	}
	if (now >= s->stop_ns && !t->stop)
		t->stop = STOP_DURATION;
	clock_arm(&t->clock, next_event(s));
}

void stats_stop(struct testpmd *t)
{
	struct stats *s = &t->stats;

	take(t, &s->now);
	s->end_ns = s->now.ns;
	/* Ended before it was warm: then all of it counts. */
	s->mean_seconds = seconds_between(s->measured.ns, s->end_ns);
	rates_between(t, &s->measured, &s->now, s->mean);
}

/* Frames that the devices were given and have not sent. */
static uint64_t in_flight(struct testpmd *t)
{
	uint64_t given = 0, sent = 0;

	for (unsigned int i = 0; i < t->port_count; i++) {
		struct pn_port_stats *stats = &t->ports[i].stats;

		if (pn_port_get_stats(t->ports[i].port, stats))
			continue;
		given += stats->tx_packets;
		sent += stats->hw_tx_packets;
	}
	return given > sent ? given - sent : 0;
}

void stats_settle(struct testpmd *t)
{
	uint64_t before, left = in_flight(t);
	unsigned int idle = 0;

	for (unsigned int ms = 0; left && ms < SETTLE_MS && idle < SETTLE_STEPS;
		ms += SETTLE_STEP_MS) {
		clock_sleep_ms(SETTLE_STEP_MS);
		before = left;
		left = in_flight(t);
		idle = left < before ? 0 : idle + 1;
	}
}

static void add_port(struct pn_port_stats *sum, const struct pn_port_stats *port)
{
	sum->rx_packets += port->rx_packets;
	sum->rx_bytes += port->rx_bytes;
	sum->tx_packets += port->tx_packets;
	sum->tx_bytes += port->tx_bytes;
	sum->rx_missed += port->rx_missed;
	sum->rx_errors += port->rx_errors;
	sum->rx_nombuf += port->rx_nombuf;
	sum->rx_bad_desc += port->rx_bad_desc;
	sum->tx_errors += port->tx_errors;
	sum->hw_rx_packets += port->hw_rx_packets;
	sum->hw_rx_bytes += port->hw_rx_bytes;
	sum->hw_tx_packets += port->hw_tx_packets;
	sum->hw_tx_bytes += port->hw_tx_bytes;
}

void stats_totals(const struct testpmd *t, struct totals *totals)
{
	*totals = (struct totals){0};
	for (unsigned int i = 0; i < t->port_count; i++)
		add_port(&totals->ports, &t->ports[i].stats);
	for (unsigned int i = 0; i < t->stream_count; i++) {
		const struct stream *stream = &t->streams[i];

		totals->received += stream->received;
		totals->generated += stream->generated;
		totals->sent += stream->sent;
		totals->dropped += stream->dropped;
		totals->consumed += stream->consumed;
	}
}
