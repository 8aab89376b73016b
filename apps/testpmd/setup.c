/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a command line to ports that run, one step after the other, and back. The order is: find the
 * devices, create the domain, map the memory (which stays queued), open the ports (the first to be
 * attached makes the mapping), make the pool, configure, start.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "pairing.h"
#include "parse.h"
#include "testpmd.h"

/* How long the links get to come up before forwarding starts without them. */
#define LINK_WAIT_MS 3000
#define LINK_STEP_MS 20

/* Ethernet header, a VLAN tag and the FCS, beside the MTU. */
#define FRAME_OVERHEAD 22u

static int find_devices(struct testpmd *t)
{
	const struct options *o = &t->options;

	t->ports = calloc(o->device_count, sizeof(*t->ports));
	if (!t->ports)
		return fail(t, -ENOMEM, "out of memory");
	t->port_count = (unsigned int)o->device_count;
	for (unsigned int i = 0; i < t->port_count; i++) {
		struct port *port = &t->ports[i];
		int err;

		port->peer = pairing_peer(i, t->port_count);
		if (pn_port_is_software(o->devices[i])) {
			port->pci = (struct pn_pci_info){.iommu_group = -1, .numa_node = -1};
			continue;
		}
		err = pn_pci_find(o->devices[i], &port->pci);
		if (err == -EINVAL)
			return usage_error(t, "--allow: %s", pn_error());
		if (err)
			return fail(t, err, "--allow %s: %s", o->devices[i], pn_error());
		for (unsigned int j = 0; j < i; j++) {
			if (strcmp(t->ports[j].pci.address, port->pci.address) == 0)
				return usage_error(
					t, "--allow: %s is given twice", port->pci.address);
		}
	}
	return 0;
}

static bool backend_exists(const char *name, size_t len)
{
	struct pn_backend_info info;

	for (unsigned int i = 0; pn_backend_get(i, &info) == 0; i++) {
		if (strlen(info.name) == len && strncmp(info.name, name, len) == 0)
			return true;
	}
	return false;
}

/* The cards by their whole addresses, all at once. */
static int create_brokered_domain(struct testpmd *t)
{
	const struct options *o = &t->options;
	struct pn_broker_request request = {.backend = o->backend};
	const char **addresses = calloc(t->port_count, sizeof(*addresses));
	int err;

	if (!addresses)
		return fail(t, -ENOMEM, "out of memory");
	for (unsigned int i = 0; i < t->port_count; i++) {
		if (*t->ports[i].pci.address)
			addresses[request.device_count++] = t->ports[i].pci.address;
	}
	request.devices = addresses;
	err = pn_broker_connect(&t->broker, o->broker_socket);
	if (err)
		t->broker = NULL;
	else
		err = pn_broker_domain(t->broker, &request, NULL, &t->domain);
	free(addresses);
	if (!err)
		return 0;
	t->domain = NULL;
	return fail(t, err, "--broker: %s", pn_error());
}

static int create_domain(struct testpmd *t)
{
	const struct options *o = &t->options;
	struct pn_domain_opts opts = {.backend = o->backend, .node = o->node};
	bool known = !o->backend || strcmp(o->backend, "auto") == 0 ||
		     names_known(o->backend, backend_exists);
	int err = pn_domain_create(&t->domain, &opts);

	if (!err)
		return 0;
	t->domain = NULL;
	if (!known)
		return usage_error(t, "--dma: %s", pn_error());
	return fail(t, err, "%s%s: %s", o->backend ? "--dma " : "DMA", o->backend ? o->backend : "",
		pn_error());
}

/* Data room of the buffers: a power of two, as receive units want it, that holds a whole frame. */
static uint16_t data_room(const struct options *o)
{
	uint32_t room = PN_BUF_DATA_ROOM;

	while (room < o->mtu + FRAME_OVERHEAD && room < 32768)
		room *= 2;
	return (uint16_t)room;
}

static struct pn_pool_opts pool_opts(const struct testpmd *t)
{
	const struct options *o = &t->options;
	struct pn_pool_opts opts = {.count = o->pool, .data_room = data_room(o)};

	/* Full rings, a burst on its way and one held back per queue, and some for the caches. */
	if (!opts.count)
		opts.count = t->port_count * ((uint32_t)o->rxq * o->rxd + o->txq * o->txd +
						     2 * options_queues(o) * o->burst) +
			     512 * (o->cpu_count + 1);
	return opts;
}

/* Generous, as the drivers' descriptors differ: the heap hands out what is really needed. */
static uint64_t ring_bytes(const struct testpmd *t)
{
	const struct options *o = &t->options;
	const uint64_t descriptor = 32, extra = 2 * PN_PAGE_4K;

	return t->port_count *
	       (((uint64_t)o->rxq * o->rxd + (uint64_t)o->txq * o->txd) * descriptor + extra);
}

static uint64_t memory_needed(const struct testpmd *t)
{
	struct pn_pool_opts pool = pool_opts(t);

	return ring_bytes(t) + pn_pool_bytes(&pool) + PN_PAGE_4K;
}

static int create_region(struct testpmd *t)
{
	const struct options *o = &t->options;
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region_info info;
	int err;

	opts.page_size = o->page_size;
	opts.hugetlbfs_path = o->hugetlbfs;
	opts.numa_node = t->ports[0].pci.numa_node;
	opts.name = "testpmd";
	if (o->hugetlbfs)
		opts.backing = PN_BACKING_HUGETLBFS;
	else if (!o->page_size && o->mem % PN_PAGE_2M)
		/* Hugepages would round it up, and exactly this was asked for. */
		opts.page_size = PN_PAGE_4K;
	/* A fallback is in the region's note, which is printed: not in the log as well. */
	if (!o->verbose)
		log_to_stderr(PN_LOG_ERROR);
	err = pn_region_create(&t->region, o->mem ? o->mem : memory_needed(t), &opts);
	set_log_level(t);
	if (err) {
		t->region = NULL;
		return fail(t, err, "memory: %s", pn_error());
	}
	pn_region_get_info(t->region, &info);
	if (o->mem && info.size != o->mem)
		return usage_error(t,
			"--mem must be a multiple of the page size, which is %" PRIu64
			" bytes here",
			info.page_size);
	return 0;
}

static int pin_region(struct testpmd *t)
{
	struct pn_region_pin_opts opts = {0};
	int err;

	if (!t->options.module_pin)
		return 0;
	if (!strcmp(t->options.module_pin, "user"))
		opts.charge = PN_REGION_PIN_USER;
	err = pn_region_pin(&t->region_pin, t->region, &opts);
	if (!err)
		return 0;
	t->region_pin = NULL;
	return fail(t, err, "memory: %s", pn_error());
}

static int create_memory(struct testpmd *t)
{
	struct pn_region_info info;
	int err = create_region(t);

	if (!err)
		err = pin_region(t);
	if (err)
		return err;
	pn_region_get_info(t->region, &info);
	t->iova = PN_IOVA_ANY;
	err = pn_domain_map(t->domain, t->region, 0, info.size, PN_PROT_RW, &t->iova);
	if (err)
		return fail(t, err, "mapping %" PRIu64 " bytes: %s", info.size, pn_error());
	t->mapped = true;
	err = pn_heap_create(&t->heap, t->region, t->iova);
	if (err) {
		t->heap = NULL;
		return fail(t, err, "memory: %s", pn_error());
	}
	return 0;
}

/* Which port it was, and why; the address only if the reason does not tell it. */
static int fail_port(struct testpmd *t, unsigned int i, int err)
{
	const char *address = t->options.devices[i];

	if (strstr(pn_error(), address))
		return fail(t, err, "port %u: %s", i, pn_error());
	return fail(t, err, "port %u (%s): %s", i, address, pn_error());
}

static int open_ports(struct testpmd *t)
{
	struct pn_port_opts opts = {.domain = t->domain, .heap = t->heap};

	for (unsigned int i = 0; i < t->port_count; i++) {
		struct port *port = &t->ports[i];
		const char *spec = *port->pci.address ? port->pci.address : t->options.devices[i];
		int err;

		opts.vf_token = t->options.tokens[i].given ? t->options.tokens[i].bytes : NULL;
		err = pn_port_open(&port->port, spec, &opts);
		if (err) {
			port->port = NULL;
			return fail_port(t, i, err);
		}
		pn_port_get_info(port->port, &port->info);
		report_port(t, i);
	}
	return 0;
}

static int create_pool(struct testpmd *t)
{
	struct pn_pool_opts opts = pool_opts(t);
	int err = pn_pool_create(&t->pool, t->heap, &opts);

	if (!err)
		return 0;
	t->pool = NULL;
	return fail(t, err, "%s%s", pn_error(),
		err == -ENOMEM && t->options.mem ? " (--mem), or the pool smaller (--pool)" : "");
}

static int configure_port(struct testpmd *t, unsigned int i)
{
	const struct options *o = &t->options;
	struct pn_port_conf conf = {
		.rxd = o->rxd,
		.txd = o->txd,
		.rx_pool = t->pool,
		.rx_queues = o->rxq,
		.tx_queues = o->txq,
	};
	struct pn_port *port = t->ports[i].port;
	int err;

	if (o->mtu) {
		err = pn_port_set_mtu(port, o->mtu);
		if (err == -EINVAL)
			return usage_error(t, "--mtu %u: port %u: %s", o->mtu, i, pn_error());
		if (err)
			return fail_port(t, i, err);
	}
	err = pn_port_configure(port, &conf);
	if (err == -EINVAL)
		return usage_error(t, "port %u: %s", i, pn_error());
	if (err)
		return fail_port(t, i, err);
	err = pn_port_set_promiscuous(port, o->promiscuous);
	if (!err && o->mode->wire)
		err = pn_port_set_all_multicast(port, true);
	return err ? fail_port(t, i, err) : 0;
}

static int start_ports(struct testpmd *t)
{
	int fd;

	for (unsigned int i = 0; i < t->port_count; i++) {
		int err = configure_port(t, i);

		if (err)
			return err;
		err = pn_port_start(t->ports[i].port);
		if (err)
			return fail_port(t, i, err);
		t->ports[i].started = true;
		/* A port without an interrupt is waited for in another way. */
		if (t->options.wait && pn_port_irq_enable(t->ports[i].port, &fd) &&
			t->options.verbose)
			complain("%s", pn_error());
		pn_port_get_info(t->ports[i].port, &t->ports[i].info);
	}
	return 0;
}

static unsigned int links_up(struct testpmd *t)
{
	unsigned int up = 0;

	for (unsigned int i = 0; i < t->port_count; i++) {
		struct port *port = &t->ports[i];

		if (pn_port_get_link(port->port, &port->link))
			port->link = (struct pn_port_link){0};
		up += port->link.up;
	}
	return up;
}

static void wait_for_links(struct testpmd *t)
{
	unsigned int up = links_up(t);

	if (up == t->port_count)
		return;
	report_link_wait(t, up, LINK_WAIT_MS / 1000);
	for (unsigned int ms = 0; ms < LINK_WAIT_MS && !stop_signal; ms += LINK_STEP_MS) {
		clock_sleep_ms(LINK_STEP_MS);
		if (links_up(t) == t->port_count)
			return;
	}
}

int setup(struct testpmd *t)
{
	int err;

	err = find_devices(t);
	if (err)
		return err;
	report_title(t);
	err = t->options.broker ? create_brokered_domain(t) : create_domain(t);
	if (err)
		return err;
	report_domain(t);
	err = create_memory(t);
	if (err)
		return err;
	report_memory(t);
	err = open_ports(t);
	if (err)
		return err;
	err = create_pool(t);
	if (err)
		return err;
	report_pool(t);
	report_limits(t);
	err = start_ports(t);
	if (err)
		return err;
	wait_for_links(t);
	report_links(t);
	err = stats_prepare(t);
	if (err)
		return err;
	return forward_prepare(t);
}

/* Nothing here may stop the rest from being given back: what fails is said, and the rest goes on.
 */
static void check(struct testpmd *t, int err, const char *what)
{
	if (err)
		fail(t, err, "%s: %s", what, pn_error());
}

void teardown(struct testpmd *t)
{
	struct pn_region_info info;

	forward_release(t);
	stats_free(t);
	for (unsigned int i = t->port_count; i-- > 0;) {
		if (t->ports[i].started)
			check(t, pn_port_stop(t->ports[i].port), "stopping a port");
		pn_port_close(t->ports[i].port);
	}
	if (t->pool)
		check(t, pn_pool_destroy(t->pool), "releasing the pool");
	if (t->heap)
		check(t, pn_heap_destroy(t->heap), "releasing the heap");
	if (t->mapped) {
		pn_region_get_info(t->region, &info);
		check(t, pn_domain_unmap(t->domain, t->iova, info.size), "unmapping the memory");
	}
	check(t, pn_region_unpin(t->region_pin), "giving the memory's pin back");
	if (t->region)
		check(t, pn_region_destroy(t->region), "releasing the memory");
	if (t->domain)
		check(t, pn_domain_destroy(t->domain), "releasing the domain");
	pn_broker_close(t->broker);
	pn_pins_report_free(t->pins);
	free(t->ports);
}
