/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What people read while it runs: what was found, what was mapped where, how fast it goes, and what
 * came out in the end. Statistics use the words of dpdk-testpmd, which people search for.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "testpmd.h"

/* Long notes are indented like the values they explain. */
#define LABEL "  %-11s "

void report_title(struct testpmd *t)
{
	fprintf(t->out, "pinion-testpmd %s: %u port%s\n", pn_version(), t->port_count,
		t->port_count == 1 ? "" : "s");
}

static const char *counter_of(enum pn_counter counter)
{
	switch (counter) {
	case PN_COUNTER_MM_LOCKED:
		return "this process (VmLck)";
	case PN_COUNTER_USER_LOCKED:
		return "all processes of this user together";
	default:
		return "this process (VmPin)";
	}
}

static void report_charge(struct testpmd *t, const struct pn_domain_info *info)
{
	char size[FORMAT_MAX] = "unlimited";
	struct rlimit limit;

	if (!info->charge.counters && info->charge.limited == PN_COUNTER_MAX) {
		fprintf(t->out, LABEL "nobody: %s charges nothing\n", "charged to", info->backend);
		return;
	}
	if (getrlimit(RLIMIT_MEMLOCK, &limit))
		return;
	if (limit.rlim_cur != RLIM_INFINITY)
		format_size(size, limit.rlim_cur);
	fprintf(t->out, LABEL "%s of %s, limited by RLIMIT_MEMLOCK (%s)%s\n", "charged to",
		pn_counter_name(info->charge.limited), counter_of(info->charge.limited), size,
		info->exempt ? ", from which CAP_IPC_LOCK exempts" : "");
}

void report_domain(struct testpmd *t)
{
	struct pn_domain_info info;

	pn_domain_get_info(t->domain, &info);
	fprintf(t->out, "\nDMA\n");
	fprintf(t->out, LABEL "%s%s%s\n", "backend", info.backend, *info.node ? " on " : "",
		info.node);
	if (info.chosen && *info.chosen)
		fprintf(t->out, LABEL "%s\n", "chosen", info.chosen);
	report_charge(t, &info);
}

static const char *prot_text(enum pn_prot prot)
{
	static const char *const texts[] = {"none", "read", "write", "read-write"};

	return texts[prot & PN_PROT_RW];
}

void report_memory(struct testpmd *t)
{
	char size[FORMAT_MAX], page[FORMAT_MAX];
	struct pn_region_info info;

	pn_region_get_info(t->region, &info);
	fprintf(t->out, "\nMemory\n");
	fprintf(t->out, LABEL "%s (%" PRIu64 " bytes), %" PRIu64 " page%s of %s, %s", "region",
		format_size(size, info.size), info.size, info.size / info.page_size,
		info.size == info.page_size ? "" : "s", format_size(page, info.page_size),
		pn_backing_name(info.backing));
	if (info.numa_node >= 0)
		fprintf(t->out, ", NUMA node %d", info.numa_node);
	fputc('\n', t->out);
	if (info.note && *info.note)
		fprintf(t->out, LABEL "%s\n", "note", info.note);
	else if (!t->options.page_size && t->options.mem % PN_PAGE_2M)
		fprintf(t->out, LABEL "no hugepages, as --mem is not a multiple of 2M\n", "note");
	fprintf(t->out, LABEL "%p -> IOVA 0x%" PRIx64 ", %s, %s\n", "mapping", info.vaddr, t->iova,
		format_size(size, info.size), prot_text(PN_PROT_RW));
}

void report_pool(struct testpmd *t)
{
	char room[FORMAT_MAX], left[FORMAT_MAX];

	fprintf(t->out, "\nBuffers\n");
	fprintf(t->out, LABEL "%" PRIu32 " of %s; %s of the region left for rings\n", "pool",
		pn_pool_count(t->pool), format_size(room, pn_pool_buf_room(t->pool)),
		format_size(left, pn_heap_available(t->heap, NULL)));
}

void report_port(struct testpmd *t, unsigned int index)
{
	const struct port *port = &t->ports[index];
	char mac[FORMAT_MAX];

	fprintf(t->out, "\nPort %u\n", index);
	fprintf(t->out, LABEL "%s, %s", "device", port->info.name, port->info.device);
	if (port->pci.iommu_group >= 0)
		fprintf(t->out, ", IOMMU group %d", port->pci.iommu_group);
	if (port->info.numa_node >= 0)
		fprintf(t->out, ", NUMA node %d", port->info.numa_node);
	fprintf(t->out, "\n" LABEL "%s\n", "driver", port->info.driver);
	fprintf(t->out, LABEL "%s\n", "MAC", format_mac(mac, port->info.mac));
}

static void report_page_sizes(struct testpmd *t, uint64_t mask)
{
	char size[FORMAT_MAX];
	const char *separator = "";

	fprintf(t->out, LABEL, "IOMMU pages");
	for (unsigned int bit = 0; bit < 64; bit++) {
		if (!(mask >> bit & 1))
			continue;
		fprintf(t->out, "%s%s", separator, format_size(size, UINT64_C(1) << bit));
		separator = ", ";
	}
	fputc('\n', t->out);
}

void report_limits(struct testpmd *t)
{
	struct pn_domain_info info;

	pn_domain_get_info(t->domain, &info);
	fprintf(t->out, "\nLimits\n");
	if (info.entries_left == UINT64_MAX)
		fprintf(t->out, LABEL "as many as memory allows\n", "mappings");
	else
		fprintf(t->out, LABEL "%" PRIu64 " made, %" PRIu64 " more possible\n", "mappings",
			info.mappings, info.entries_left);
	for (unsigned int i = 0; i < info.range_count; i++)
		fprintf(t->out, LABEL "0x%" PRIx64 " to 0x%" PRIx64 "\n", i ? "" : "IOVAs",
			info.ranges[i].first, info.ranges[i].last);
	if (info.page_sizes)
		report_page_sizes(t, info.page_sizes);
}

void report_link_wait(struct testpmd *t, unsigned int up, unsigned int seconds)
{
	fprintf(t->out, "\nLinks: %u of %u up, waiting up to %u s\n", up, t->port_count, seconds);
	fflush(t->out);
}

/* How ports do it that have a choice: known once they are started. */
static void report_notes(struct testpmd *t)
{
	for (unsigned int i = 0; i < t->port_count; i++) {
		if (*t->ports[i].info.note)
			fprintf(t->out, "Port %u: %s\n", i, t->ports[i].info.note);
	}
}

void report_links(struct testpmd *t)
{
	report_notes(t);
	fprintf(t->out, "\nLinks\n");
	for (unsigned int i = 0; i < t->port_count; i++) {
		const struct port *port = &t->ports[i];

		if (port->link.up)
			fprintf(t->out, "  port %-6u up, %" PRIu32 " Mb/s, %s duplex", i,
				port->link.speed_mbps, port->link.full_duplex ? "full" : "half");
		else
			fprintf(t->out, "  port %-6u down: forwarding starts without it", i);
		fprintf(t->out, "; MTU %u%s\n", port->info.mtu,
			t->options.promiscuous ? ", promiscuous" : "");
	}
}

static void report_way(struct testpmd *t, unsigned int i)
{
	const struct forward_mode *mode = t->options.mode;
	unsigned int peer = t->ports[i].peer;

	if (mode->generates)
		fprintf(t->out, "  port %-6u sends to its link\n", i);
	else if (!mode->sends)
		fprintf(t->out, "  port %-6u receives\n", i);
	else if (peer == i)
		fprintf(t->out, "  port %-6u -> port %u: it has no partner and sends back\n", i, i);
	else
		fprintf(t->out, "  port %-6u -> port %u\n", i, peer);
}

static void report_core(struct testpmd *t, unsigned int n)
{
	const struct core *core = &t->cores[n];
	unsigned int last = core->first + core->count - 1;

	fprintf(t->out, "  core %-6u ", t->options.cpus[n]);
	if (t->stream_count == t->port_count) {
		fprintf(t->out, core->count > 1 ? "ports %u to %u\n" : "port %u\n", core->first,
			last);
		return;
	}
	for (unsigned int i = core->first; i <= last; i++)
		fprintf(t->out, "%sport %u queue %u", i > core->first ? ", " : "",
			i % t->port_count, i / t->port_count);
	fputc('\n', t->out);
}

void report_forwarding(struct testpmd *t)
{
	const struct options *o = &t->options;
	const char *end = "until SIGINT or SIGTERM";
	char text[96] = "";

	if (o->duration_ms)
		snprintf(text, sizeof(text), "for %g s", (double)o->duration_ms / 1000.0);
	if (o->count)
		snprintf(text + strlen(text), sizeof(text) - strlen(text),
			"%suntil %" PRIu64 " packets", *text ? " or " : "", o->count);
	fprintf(t->out, "\nForwarding: %s (%s), bursts of %u, %s\n", o->mode->name,
		o->mode->summary, o->burst, *text ? text : end);
	for (unsigned int i = 0; i < t->port_count; i++)
		report_way(t, i);
	for (unsigned int n = 0; n < o->cpu_count; n++) {
		report_core(t, n);
	}
	if (o->tx_first)
		fprintf(t->out, "  first, %" PRIu32 " burst%s of generated frames from each port\n",
			o->tx_first, o->tx_first == 1 ? "" : "s");
	fputc('\n', t->out);
	/* The loop makes no system call: what is said so far has to be out before it. */
	fflush(t->out);
}

/* One line a port, with the time in each: they are picked out by tools. */
static void report_rates(
	struct testpmd *t, const char *when, unsigned int port, const struct rates *rates)
{
	fprintf(t->out,
		"%10s  port %-2u Rx-pps: %10.0f  Rx-bps: %12.0f  Tx-pps: %10.0f  Tx-bps: %12.0f\n",
		when, port, rates->rx_pps, rates->rx_bps, rates->tx_pps, rates->tx_bps);
}

void report_sample(struct testpmd *t, const struct sample *sample)
{
	char when[32];

	snprintf(when, sizeof(when), "%.2f s", sample->seconds);
	for (unsigned int i = 0; i < t->port_count; i++)
		report_rates(t, when, i, &sample->ports[i]);
	fflush(t->out);
}

const char *stop_text(const struct testpmd *t)
{
	switch (t->stop) {
	case STOP_SIGNAL:
		return stop_signal == SIGTERM  ? "SIGTERM"
		       : stop_signal == SIGHUP ? "SIGHUP"
					       : "SIGINT";
	case STOP_DURATION:
		return "duration";
	case STOP_COUNT:
		return "count";
	case STOP_OUTPUT:
		return "output";
	case STOP_ERROR:
		return "error";
	case STOP_NONE:
		break;
	}
	return "none";
}

static void report_counts(FILE *out, const struct pn_port_stats *stats, uint64_t tx_dropped)
{
	fprintf(out,
		"  RX-packets: %-14" PRIu64 " RX-dropped: %-13" PRIu64 " RX-total: %" PRIu64 "\n",
		stats->rx_packets, stats->rx_missed, stats->rx_packets + stats->rx_missed);
	if (stats->rx_errors + stats->rx_bad_desc + stats->rx_nombuf)
		fprintf(out,
			"  RX-errors: %-15" PRIu64 " RX-bad-desc: %-12" PRIu64
			" RX-nombufs: %" PRIu64 "\n",
			stats->rx_errors, stats->rx_bad_desc, stats->rx_nombuf);
	fprintf(out,
		"  TX-packets: %-14" PRIu64 " TX-dropped: %-13" PRIu64 " TX-total: %" PRIu64 "\n",
		stats->tx_packets, tx_dropped, stats->tx_packets + stats->tx_errors + tx_dropped);
	if (stats->tx_errors)
		fprintf(out, "  TX-errors: %" PRIu64 "\n", stats->tx_errors);
}

void report_totals(struct testpmd *t)
{
	static const char dashes[] = "----------------------";
	static const char pluses[] = "+++++++++++++++";
	struct totals totals;

	stats_totals(t, &totals);
	fprintf(t->out, "%sForwarded for %.3f s, ended by %s\n", t->options.period_ms ? "\n" : "",
		(double)(t->stats.end_ns - t->stats.start_ns) / (double)NS_PER_SEC, stop_text(t));
	for (unsigned int i = 0; i < t->port_count; i++) {
		fprintf(t->out, "\n  %s Forward statistics for port %-2u %s\n", dashes, i, dashes);
		report_counts(t->out, &t->ports[i].stats, t->ports[i].tx_dropped);
		fprintf(t->out, "  %s%s%s----------\n", dashes, dashes, dashes);
	}
	fprintf(t->out, "\n  %s Accumulated forward statistics for all ports%s\n", pluses, pluses);
	report_counts(t->out, &totals.ports, totals.dropped);
	fprintf(t->out, "  %s%s%s%s%s+\n", pluses, pluses, pluses, pluses, pluses);
	fprintf(t->out,
		"\n  in:  %" PRIu64 " received, %" PRIu64 " generated\n"
		"  out: %" PRIu64 " sent, %" PRIu64 " dropped, %" PRIu64 " received to drop\n",
		totals.received, totals.generated, totals.sent, totals.dropped, totals.consumed);
	fprintf(t->out, "\nMean rates over %.3f s\n", t->stats.mean_seconds);
	for (unsigned int i = 0; i < t->port_count; i++)
		report_rates(t, "mean", i, &t->stats.mean[i]);
}

void report_pins(struct testpmd *t)
{
	char *table;

	if (!t->pins)
		return;
	table = pn_pins_table(t->pins);
	if (table)
		fprintf(t->out, "\nPins\n%s", table);
	else
		fail(t, -ENOMEM, "out of memory");
	free(table);
	fflush(t->out);
}
