/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The JSON document of a run, schema "pinion.testpmd/1". Fields may be added to it; what is there
 * keeps its name and meaning. What jansson cannot allocate becomes NULL, which json_pack() hands
 * on: there is one check at the end.
 */
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "output.h"
#include "testpmd.h"

#define SCHEMA "pinion.testpmd/1"

static double seconds(uint64_t ms)
{
	return (double)ms / 1000.0;
}

static json_t *make_config(const struct options *o)
{
	json_t *devices = json_array();

	for (size_t i = 0; i < o->device_count; i++)
		json_array_append_new(devices, json_text(o->devices[i]));
	return json_pack("{s:o, s:s, s:o, s:s, s:i, s:i, s:i, s:i, s:i, s:o, s:o, s:o, s:o, s:o, "
			 "s:o, s:b, s:i, "
			 "s:i, s:o, s:f, s:f, s:f}",
		"allow", devices, "dma", o->backend ? o->backend : "auto", "node",
		json_text(o->node), "forward", o->mode->name, "burst", (int)o->burst, "rxd",
		(int)o->rxd, "txd", (int)o->txd, "rxq", (int)o->rxq, "txq", (int)o->txq, "pool",
		json_count(o->pool ? o->pool : UINT64_MAX), "mem_bytes",
		json_count(o->mem ? o->mem : UINT64_MAX), "page_size",
		json_count(o->page_size ? o->page_size : UINT64_MAX), "hugetlbfs",
		json_text(o->hugetlbfs), "module_pin", json_text(o->module_pin), "mtu",
		json_count(o->mtu ? o->mtu : UINT64_MAX), "promiscuous", (int)o->promiscuous,
		"frame_size", (int)o->frame_size, "tx_first", (int)o->tx_first, "count",
		json_count(o->count ? o->count : UINT64_MAX), "duration_s", seconds(o->duration_ms),
		"warmup_s", seconds(o->warmup_ms), "stats_period_s", seconds(o->period_ms));
}

static json_t *make_environment(void)
{
	struct utsname name = {.release = "", .machine = ""};
	struct rlimit limit = {.rlim_cur = RLIM_INFINITY};

	uname(&name);
	getrlimit(RLIMIT_MEMLOCK, &limit);
	return json_pack("{s:s, s:s, s:I, s:o}", "kernel", name.release, "machine", name.machine,
		"uid", (json_int_t)getuid(), "rlimit_memlock_bytes",
		json_count(limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur));
}

static json_t *make_ranges(const struct pn_domain_info *info)
{
	json_t *ranges = json_array();

	for (unsigned int i = 0; i < info->range_count; i++)
		json_array_append_new(ranges,
			json_pack("{s:o, s:o}", "first", json_address(info->ranges[i].first),
				"last", json_address(info->ranges[i].last)));
	return ranges;
}

static json_t *make_domain(struct testpmd *t)
{
	struct pn_domain_info info;

	pn_domain_get_info(t->domain, &info);
	return json_pack("{s:s, s:s, s:o, s:s, s:s, s:b, s:I, s:o, s:o, s:o, s:I, s:I}", "backend",
		info.backend, "node", info.node, "chosen", json_text(info.chosen), "accounting",
		info.charge.accounting, "limited_counter", pn_counter_name(info.charge.limited),
		"exempt", (int)info.exempt, "devices", (json_int_t)info.devices, "iommu_page_sizes",
		json_address(info.page_sizes), "entries_left", json_count(info.entries_left),
		"iova_ranges", make_ranges(&info), "mappings", (json_int_t)info.mappings, "bytes",
		(json_int_t)info.bytes);
}

static json_t *make_memory(struct testpmd *t)
{
	struct pn_region_info info;

	pn_region_get_info(t->region, &info);
	return json_pack("{s:I, s:I, s:s, s:o, s:o, s:o, s:o, s:s, s:I, s:I, s:I}", "bytes",
		(json_int_t)info.size, "page_size", (json_int_t)info.page_size, "backing",
		pn_backing_name(info.backing), "numa_node", json_number(info.numa_node), "note",
		json_text(info.note), "vaddr", json_address((uint64_t)(uintptr_t)info.vaddr),
		"iova", json_address(t->iova), "prot", "rw", "pool_buffers",
		(json_int_t)pn_pool_count(t->pool), "buffer_bytes",
		(json_int_t)pn_pool_buf_room(t->pool), "heap_free_bytes",
		(json_int_t)pn_heap_available(t->heap, NULL));
}

static json_t *make_rates(const struct rates *rates)
{
	return json_pack("{s:f, s:f, s:f, s:f}", "rx_pps", rates->rx_pps, "rx_bps", rates->rx_bps,
		"tx_pps", rates->tx_pps, "tx_bps", rates->tx_bps);
}

static json_t *make_counts(const struct pn_port_stats *s, uint64_t tx_dropped)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
		"rx_packets", (json_int_t)s->rx_packets, "rx_bytes", (json_int_t)s->rx_bytes,
		"rx_dropped", (json_int_t)s->rx_missed, "rx_errors", (json_int_t)s->rx_errors,
		"rx_nombuf", (json_int_t)s->rx_nombuf, "rx_bad_desc", (json_int_t)s->rx_bad_desc,
		"tx_packets", (json_int_t)s->tx_packets, "tx_bytes", (json_int_t)s->tx_bytes,
		"tx_dropped", (json_int_t)tx_dropped, "tx_errors", (json_int_t)s->tx_errors,
		"hw_rx_packets", (json_int_t)s->hw_rx_packets, "hw_rx_bytes",
		(json_int_t)s->hw_rx_bytes, "hw_tx_packets", (json_int_t)s->hw_tx_packets,
		"hw_tx_bytes", (json_int_t)s->hw_tx_bytes);
}

static json_t *make_link(const struct pn_port_link *link)
{
	return json_pack("{s:b, s:b, s:I}", "up", (int)link->up, "full_duplex",
		(int)link->full_duplex, "speed_mbps", (json_int_t)link->speed_mbps);
}

/* All counters of a port by name. */
static json_t *make_xstats(const struct port *port)
{
	int count = pn_port_get_xstats(port->port, NULL, 0);
	struct pn_port_xstat *all = count > 0 ? calloc((size_t)count, sizeof(*all)) : NULL;
	json_t *object = json_object();

	if (all && pn_port_get_xstats(port->port, all, (unsigned int)count) == count) {
		for (int i = 0; i < count; i++)
			json_object_set_new(
				object, all[i].name, json_integer((json_int_t)all[i].value));
	}
	free(all);
	return object;
}

static json_t *make_port(struct testpmd *t, unsigned int i)
{
	const struct port *port = &t->ports[i];
	char mac[FORMAT_MAX], id[16] = "";

	/* A software port has none. */
	if (port->pci.vendor)
		snprintf(id, sizeof(id), "%04x:%04x", port->pci.vendor, port->pci.device);
	return json_pack(
		"{s:i, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:s, s:i, s:i, s:o, s:o, s:o, s:o}",
		"port", (int)i, "address", port->info.name, "id", id, "device", port->info.device,
		"driver", port->info.driver, "note", json_text(port->info.note), "iommu_group",
		json_number(port->pci.iommu_group), "numa_node", json_number(port->info.numa_node),
		"mac", format_mac(mac, port->info.mac), "mtu", (int)port->info.mtu, "peer",
		(int)port->peer, "link", make_link(&port->link), "counters",
		make_counts(&port->stats, port->tx_dropped), "mean", make_rates(&t->stats.mean[i]),
		"xstats", make_xstats(port));
}

static json_t *make_ports(struct testpmd *t)
{
	json_t *ports = json_array();

	for (unsigned int i = 0; i < t->port_count; i++)
		json_array_append_new(ports, make_port(t, i));
	return ports;
}

static json_t *make_totals(struct testpmd *t)
{
	struct totals totals;
	json_t *flow;

	stats_totals(t, &totals);
	flow = json_pack("{s:I, s:I, s:I, s:I, s:I}", "received", (json_int_t)totals.received,
		"generated", (json_int_t)totals.generated, "sent", (json_int_t)totals.sent,
		"dropped", (json_int_t)totals.dropped, "consumed", (json_int_t)totals.consumed);
	return json_pack(
		"{s:o, s:o}", "flow", flow, "counters", make_counts(&totals.ports, totals.dropped));
}

/* null for the program's own thread, which runs where it likes. */
static json_t *make_cores(struct testpmd *t)
{
	json_t *cores = json_array();

	for (unsigned int n = 0; n < t->core_count; n++) {
		const struct core *core = &t->cores[n];
		const bool own = t->options.cpu_count;

		json_array_append_new(cores,
			json_pack("{s:o, s:i, s:i, s:i, s:i, s:f}", "cpu",
				json_count(own ? t->options.cpus[n] : UINT64_MAX), "first_port",
				(int)(core->first % t->port_count), "ports",
				(int)(core->count < t->port_count ? core->count : t->port_count),
				"first_queue", (int)(core->first / t->port_count), "queues",
				(int)core->count, "cpu_s",
				(double)core->cpu_ns / (double)NS_PER_SEC));
	}
	return cores;
}

static json_t *make_samples(struct testpmd *t)
{
	json_t *samples = json_array();

	for (size_t n = 0; n < t->stats.sample_count; n++) {
		const struct sample *sample = &t->stats.samples[n];
		json_t *ports = json_array();

		for (unsigned int i = 0; i < t->port_count; i++)
			json_array_append_new(ports, make_rates(&sample->ports[i]));
		json_array_append_new(
			samples, json_pack("{s:f, s:o}", "at_s", sample->seconds, "ports", ports));
	}
	return samples;
}

/* The library's own document, as it is. */
static json_t *make_pins(struct testpmd *t)
{
	json_t *pins = NULL;
	char *text;

	if (!t->pins)
		return json_null();
	text = pn_pins_json(t->pins);
	if (text)
		pins = json_loads(text, 0, NULL);
	free(text);
	return pins;
}

json_t *document_make(struct testpmd *t)
{
	const struct stats *s = &t->stats;

	return json_pack(
		"{s:s, s:b, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:f, s:f, s:f, s:s, s:o, s:I, "
		"s:o}",
		"schema", SCHEMA, "ok", 1, "version", pn_version(), "config",
		make_config(&t->options), "environment", make_environment(), "domain",
		make_domain(t), "memory", make_memory(t), "ports", make_ports(t), "totals",
		make_totals(t), "cores", make_cores(t), "duration_s",
		(double)(s->end_ns - s->start_ns) / (double)NS_PER_SEC, "cpu_s",
		(double)s->cpu_ns / (double)NS_PER_SEC, "measured_s", s->mean_seconds, "ended_by",
		stop_text(t), "samples", make_samples(t), "samples_lost",
		(json_int_t)s->samples_lost, "pins", make_pins(t));
}

json_t *document_finish(const struct testpmd *t, json_t *document)
{
	if (!document)
		document = json_pack("{s:s}", "schema", SCHEMA);
	json_object_set_new(document, "ok", json_boolean(t->status == 0));
	if (t->error[0])
		json_object_set_new(document, "error", json_text(t->error));
	return document;
}
