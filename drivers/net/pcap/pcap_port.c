/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pcap port: receives the packets of a capture file, and writes those it sends to another, both
 * through libpcap: "pcap:rx=IN.pcap,tx=OUT.pcap", one of them or both, with loop=1 to begin anew at
 * the end of the capture. File names have no commas. Without tx, what is sent goes nowhere.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base_priv.h"
#include "soft.h"

/* Longest frame that is written; libpcap's own limit for what it reads. */
#define FRAME_MAX 262144

/*
 * libpcap, loaded when the first port needs it: it brings a dozen libraries with it (D-Bus among
 * them), which others should not pay for.
 */
#define LIBRARY "libpcap.so.0.8"
/* clang-format off */
#define FUNCTIONS(use) \
	use(open_offline_with_tstamp_precision) \
	use(open_dead_with_tstamp_precision) \
	use(datalink) \
	use(datalink_val_to_name) \
	use(geterr) \
	use(next_ex) \
	use(close) \
	use(dump_open) \
	use(dump) \
	use(dump_file) \
	use(dump_flush) \
	use(dump_close)
/* clang-format on */

struct library {
	void *handle;
#define DECLARE(name) __typeof__(pcap_##name) *name;
	FUNCTIONS(DECLARE)
};

struct pcap_port {
	struct soft_port soft;
	struct library lib;
	char rx_name[SOFT_NAME_MAX];
	char tx_name[SOFT_NAME_MAX];
	uint64_t loop;
	pcap_t *in; /* NULL: none, or at its end */
	bool any;   /* a packet since the capture began */
	pcap_t *out_type;
	pcap_dumper_t *out;
	bool out_failed;
	unsigned char *frame; /* where segments are put together */
};

static struct pcap_port *pcap_port(struct pn_port_dev *dev)
{
	return pn_container_of(soft_port(dev), struct pcap_port, soft);
}

static void *symbol(struct library *lib, const char *name, int *missing)
{
	void *found = dlsym(lib->handle, name);

	*missing += !found;
	return found;
}

static int load_library(struct pcap_port *port)
{
	struct library *lib = &port->lib;
	int missing = 0;

	lib->handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!lib->handle)
		return pn_fail(ENOTSUP, "port %s needs libpcap: %s", port->soft.name, dlerror());
#define LOAD(name) lib->name = (__typeof__(lib->name))symbol(lib, "pcap_" #name, &missing);
	FUNCTIONS(LOAD)
	if (missing)
		return pn_fail(ENOTSUP, "port %s: %s lacks %d functions: 1.9 or newer is needed",
			port->soft.name, LIBRARY, missing);
	return 0;
}

static int open_capture(struct pcap_port *port)
{
	char reason[PCAP_ERRBUF_SIZE] = "";
	int type;

	port->in = port->lib.open_offline_with_tstamp_precision(
		port->rx_name, PCAP_TSTAMP_PRECISION_NANO, reason);
	if (!port->in)
		return pn_fail(EINVAL, "port %s: %s cannot be read as a capture: %s",
			port->soft.name, port->rx_name, reason);
	type = port->lib.datalink(port->in);
	if (type != DLT_EN10MB) {
		const char *name = port->lib.datalink_val_to_name(type);

		port->lib.close(port->in);
		port->in = NULL;
		return pn_fail(EINVAL,
			"port %s: %s holds packets of link type %d (%s), not of Ethernet",
			port->soft.name, port->rx_name, type, name ? name : "unknown");
	}
	port->any = false;
	return 0;
}

static void close_capture(struct pcap_port *port)
{
	if (port->in)
		port->lib.close(port->in);
	port->in = NULL;
}

static int open_output(struct pcap_port *port)
{
	port->out_type = port->lib.open_dead_with_tstamp_precision(
		DLT_EN10MB, FRAME_MAX, PCAP_TSTAMP_PRECISION_NANO);
	port->frame = malloc(FRAME_MAX);
	if (!port->out_type || !port->frame)
		return pn_fail(ENOMEM, "port %s: no memory", port->soft.name);
	port->out = port->lib.dump_open(port->out_type, port->tx_name);
	if (!port->out)
		return pn_fail(EIO, "port %s: %s cannot be written: %s", port->soft.name,
			port->tx_name, port->lib.geterr(port->out_type));
	return 0;
}

/* The next packet of the capture, from its beginning again if that is wanted. */
static bool next_packet(
	struct pcap_port *port, struct pcap_pkthdr **header, const unsigned char **data)
{
	while (port->in) {
		int ret = port->lib.next_ex(port->in, header, data);

		if (ret == 1) {
			port->any = true;
			return true;
		}
		if (ret != PCAP_ERROR_BREAK) {
			pn_log(PN_LOG_WARNING, "port %s: %s ends in the middle of a packet: %s",
				port->soft.name, port->rx_name, port->lib.geterr(port->in));
			soft_count(&port->soft.rx.errors, 1);
		}
		/* One without packets would be read for ever. */
		ret = port->loop && port->any && ret == PCAP_ERROR_BREAK;
		close_capture(port);
		if (ret && open_capture(port))
			pn_log(PN_LOG_WARNING, "%s", pn_error());
	}
	return false;
}

/* tv_usec counts nanoseconds, as asked for. */
static void stamp(struct pn_buf *packet, const struct pcap_pkthdr *header)
{
	pn_buf_get_more(packet)->timestamp =
		(uint64_t)header->ts.tv_sec * 1000000000u + (uint64_t)header->ts.tv_usec;
	packet->flags |= PN_BUF_RX_TIMESTAMP;
}

/* A packet that the pool has no buffers for is dropped, as a card would. */
static uint16_t pcap_rx(void *queue, struct pn_buf **bufs, uint16_t count)
{
	struct pcap_port *port = queue;
	struct soft_counts *rx = &port->soft.rx;
	const unsigned char *data;
	struct pcap_pkthdr *header;
	uint64_t bytes = 0;
	uint16_t n = 0;

	while (n < count) {
		struct pn_buf *spare;

		/* Look before a packet is taken out of the capture. */
		if (pn_pool_get(port->soft.pool, &spare, 1)) {
			soft_count(&rx->nombuf, 1);
			break;
		}
		pn_buf_free(spare);
		if (!next_packet(port, &header, &data))
			break;
		bufs[n] = soft_chain(port->soft.pool, data, header->caplen);
		if (!bufs[n]) {
			soft_count(header->caplen ? &rx->missed : &rx->errors, 1);
			continue;
		}
		stamp(bufs[n], header);
		bytes += header->caplen;
		n++;
	}
	soft_count(&rx->packets, n);
	soft_count(&rx->bytes, bytes);
	return n;
}

static void write_packet(struct pcap_port *port, struct pn_buf *packet)
{
	uint32_t len = pn_packet_len(packet), done = 0;
	struct pcap_pkthdr header = {.caplen = len, .len = len};
	const unsigned char *data = pn_buf_data(packet);
	struct timespec now;

	if (packet->nb_segs > 1) {
		for (struct pn_buf *seg = packet; seg; seg = seg->next) {
			memcpy(port->frame + done, pn_buf_data(seg), seg->data_len);
			done += seg->data_len;
		}
		data = port->frame;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	header.ts.tv_sec = now.tv_sec;
	header.ts.tv_usec = now.tv_nsec;
	port->lib.dump((unsigned char *)port->out, &header, data);
}

/* Whether the file took all that was written up to now; if not, that is said once. */
static bool output_good(struct pcap_port *port)
{
	if (!port->out_failed && ferror(port->lib.dump_file(port->out))) {
		port->out_failed = true;
		pn_log(PN_LOG_ERROR, "port %s: writing %s failed: packets are dropped from now on",
			port->soft.name, port->tx_name);
	}
	return !port->out_failed;
}

static bool can_write(struct pcap_port *port, const struct pn_buf *packet)
{
	return soft_valid(packet) && pn_packet_len(packet) <= FRAME_MAX && output_good(port);
}

static uint16_t pcap_tx(void *queue, struct pn_buf **bufs, uint16_t count)
{
	struct pcap_port *port = queue;
	uint64_t packets = 0, bytes = 0;

	if (!port->out) {
		soft_free_odd(&port->soft, bufs, count);
		return count;
	}
	for (uint16_t i = 0; i < count; i++) {
		if (!can_write(port, bufs[i])) {
			soft_count(&port->soft.tx.errors, 1);
			continue;
		}
		write_packet(port, bufs[i]);
		packets++;
		bytes += pn_packet_len(bufs[i]);
	}
	pn_buf_free_bulk(bufs, count);
	soft_count(&port->soft.tx.packets, packets);
	soft_count(&port->soft.tx.bytes, bytes);
	return count;
}

static int pcap_start(struct pn_port_dev *dev)
{
	dev->no_queue[0] = pcap_port(dev);
	dev->port.rx_burst = pcap_rx;
	dev->port.tx_burst = pcap_tx;
	return 0;
}

static void pcap_stop(struct pn_port_dev *dev)
{
	struct pcap_port *port = pcap_port(dev);

	if (port->out && port->lib.dump_flush(port->out))
		output_good(port);
}

static void free_port(struct pcap_port *port)
{
	close_capture(port);
	if (port->out)
		port->lib.dump_close(port->out);
	if (port->out_type)
		port->lib.close(port->out_type);
	if (port->lib.handle)
		dlclose(port->lib.handle);
	free(port->frame);
	free(port);
}

static void pcap_close_port(struct pn_port_dev *dev)
{
	soft_hold(soft_port(dev), NULL);
	free_port(pcap_port(dev));
}

static bool pcap_pending(struct pn_port_dev *dev)
{
	return pcap_port(dev)->in;
}

static const struct pn_port_ops pcap_ops = {
	.close = pcap_close_port,
	.info = soft_info,
	.configure = soft_configure,
	.start = pcap_start,
	.stop = pcap_stop,
	.stats = soft_stats,
	.stats_reset = soft_stats_reset,
	.link = soft_link,
	.irq_enable = soft_irq_enable,
	.irq_arm = soft_irq_arm,
	.irq_disable = soft_irq_disable,
	.set_promiscuous = soft_set_promiscuous,
	.set_all_multicast = soft_set_promiscuous,
	.set_multicast = soft_set_multicast,
	.set_mac = soft_set_mac,
	.set_mtu = soft_set_mtu,
	.pending = pcap_pending,
};

/* Opening it to write would empty what is to be read. */
static bool same_file(const struct pcap_port *port)
{
	struct stat in, out;

	return !stat(port->rx_name, &in) && !stat(port->tx_name, &out) && S_ISREG(in.st_mode) &&
	       in.st_dev == out.st_dev && in.st_ino == out.st_ino;
}

static int open_files(struct pcap_port *port, const char *spec)
{
	int ret;

	if (!*port->rx_name && !*port->tx_name)
		return pn_fail(EINVAL,
			"port %s: a file to receive from (rx=FILE), one to send into (tx=FILE), or "
			"both are needed",
			spec);
	if (same_file(port))
		return pn_fail(
			EINVAL, "port %s: it would send into the same file that it reads", spec);
	ret = load_library(port);
	if (!ret && *port->rx_name)
		ret = open_capture(port);
	if (!ret && *port->tx_name)
		ret = open_output(port);
	return ret;
}

static int pcap_open_port(
	struct pn_port_dev **out, const char *spec, const struct pn_port_opts *opts)
{
	struct pcap_port *port = aligned_alloc(_Alignof(struct pcap_port), sizeof(*port));
	int ret;

	(void)opts;
	if (!port)
		return pn_fail(ENOMEM, "port %s: no memory", spec);
	memset(port, 0, sizeof(*port));
	{
		const struct soft_word words[] = {
			{"rx", .text = port->rx_name, .text_size = sizeof(port->rx_name)},
			{"tx", .text = port->tx_name, .text_size = sizeof(port->tx_name)},
			{"loop", .number = &port->loop, .max = 1},
		};

		ret = soft_parse(spec, words, PN_ARRAY_SIZE(words));
	}
	if (!ret)
		ret = soft_init(&port->soft, spec, "pcap", "capture files");
	if (!ret)
		ret = open_files(port, spec);
	if (ret) {
		free_port(port);
		return ret;
	}
	port->soft.rx_offloads = PN_BUF_RX_TIMESTAMP;
	port->soft.dev.ops = &pcap_ops;
	*out = &port->soft.dev;
	return 0;
}

const struct pn_driver pcap_driver = {
	.name = "pcap",
	.supports = "pcap:rx=FILE,tx=FILE[,loop=1]",
	.software = true,
	.open = pcap_open_port,
};
