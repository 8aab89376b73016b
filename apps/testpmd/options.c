/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line of pinion-testpmd. Every value is checked here as far as it can be without
 * looking at the machine; a complaint names the option, what was given, and what it takes.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "testpmd.h"
#include "vdev.h"

#define MEM_GRANULE PN_PAGE_4K
#define MEM_MAX     (UINT64_C(1) << 47) /* what the library takes for one region */

enum {
	OPT_BROKER = 256,
	OPT_DMA,
	OPT_FORWARD,
	OPT_BURST,
	OPT_CORES,
	OPT_RXD,
	OPT_RXQ,
	OPT_TXQ,
	OPT_TXD,
	OPT_POOL,
	OPT_PORT,
	OPT_MEM,
	OPT_MODULE_PIN,
	OPT_PAGE_SIZE,
	OPT_HUGETLBFS,
	OPT_STATS_PERIOD,
	OPT_DURATION,
	OPT_WARMUP,
	OPT_COUNT,
	OPT_JSON,
	OPT_PROMISCUOUS,
	OPT_NO_PROMISCUOUS,
	OPT_TX_FIRST,
	OPT_FRAME_SIZE,
	OPT_ETH_PEER,
	OPT_MTU,
	OPT_VDEV,
	OPT_WAIT,
	OPT_VERSION,
};

static const struct option long_options[] = {
	{"allow", required_argument, NULL, 'a'},
	{"broker", optional_argument, NULL, OPT_BROKER},
	{"burst", required_argument, NULL, OPT_BURST},
	{"cores", required_argument, NULL, OPT_CORES},
	{"count", required_argument, NULL, OPT_COUNT},
	{"dma", required_argument, NULL, OPT_DMA},
	{"duration", required_argument, NULL, OPT_DURATION},
	{"eth-peer", required_argument, NULL, OPT_ETH_PEER},
	{"forward", required_argument, NULL, OPT_FORWARD},
	{"frame-size", required_argument, NULL, OPT_FRAME_SIZE},
	{"help", no_argument, NULL, 'h'},
	{"hugetlbfs", required_argument, NULL, OPT_HUGETLBFS},
	{"json", no_argument, NULL, OPT_JSON},
	{"mem", required_argument, NULL, OPT_MEM},
	{"module-pin", required_argument, NULL, OPT_MODULE_PIN},
	{"mtu", required_argument, NULL, OPT_MTU},
	{"no-promiscuous", no_argument, NULL, OPT_NO_PROMISCUOUS},
	{"page-size", required_argument, NULL, OPT_PAGE_SIZE},
	{"pool", required_argument, NULL, OPT_POOL},
	{"port", required_argument, NULL, OPT_PORT},
	{"promiscuous", no_argument, NULL, OPT_PROMISCUOUS},
	{"rxd", required_argument, NULL, OPT_RXD},
	{"rxq", required_argument, NULL, OPT_RXQ},
	{"txq", required_argument, NULL, OPT_TXQ},
	{"stats-period", required_argument, NULL, OPT_STATS_PERIOD},
	{"tx-first", optional_argument, NULL, OPT_TX_FIRST},
	{"txd", required_argument, NULL, OPT_TXD},
	{"vdev", required_argument, NULL, OPT_VDEV},
	{"verbose", no_argument, NULL, 'v'},
	{"version", no_argument, NULL, OPT_VERSION},
	{"wait", no_argument, NULL, OPT_WAIT},
	{"warmup", required_argument, NULL, OPT_WARMUP},
	{NULL, 0, NULL, 0},
};

/* What an option takes, for complaints; NULL if it complains itself or takes nothing. */
static const char *option_takes(int code)
{
	switch (code) {
	case OPT_BURST:
		return "a number from 1 to 512";
	case OPT_COUNT:
		return "a number of packets, 1 or more";
	case OPT_RXD:
	case OPT_TXD:
		return "a number of descriptors from 1 to 4096";
	case OPT_RXQ:
	case OPT_TXQ:
		return "a number of queues from 1 to 16";
	case OPT_POOL:
		return "a number of buffers from 1 to 4294967295";
	case OPT_MEM:
		return "bytes, or a number with K, M or G; a multiple of 4K, such as 6M, up to 128 "
		       "TiB";
	case OPT_MODULE_PIN:
		return "process or user";
	case OPT_PAGE_SIZE:
		return "4K, 2M, 1G or auto";
	case OPT_STATS_PERIOD:
		return "seconds, 0.001 or more, such as 1 or 0.5";
	case OPT_DURATION:
	case OPT_WARMUP:
		return "seconds, such as 10 or 0.5";
	case OPT_TX_FIRST:
		return "a number of bursts from 1 to 1000000";
	case OPT_FRAME_SIZE:
		return "bytes from 60 to 1514";
	case OPT_ETH_PEER:
		return "[PORT,]MAC with a unicast MAC, such as 1,02:00:00:00:00:09";
	case OPT_MTU:
		return "bytes from 68 to 65535";
	case OPT_HUGETLBFS:
		return "a directory";
	default:
		return NULL;
	}
}

static const char *option_name(int code)
{
	for (const struct option *o = long_options; o->name; o++) {
		if (o->val == code)
			return o->name;
	}
	return "";
}

/* Room for one more in an array that is never long. */
static void *grow(void *array, size_t count, size_t size)
{
	return reallocarray(array, count + 1, size);
}

static int add_device(struct testpmd *t, const char *spec, size_t len)
{
	struct options *o = &t->options;
	struct vf_token *tokens;
	char **devices;

	if (!len)
		return usage_error(t, "--allow takes PCI addresses such as 0000:00:03.0 or "
				      "vendor:device such as 8086:10d3, with commas between them");
	devices = grow(o->devices, o->device_count, sizeof(*devices));
	if (!devices)
		return fail(t, -ENOMEM, "out of memory");
	o->devices = devices;
	tokens = grow(o->tokens, o->device_count, sizeof(*tokens));
	if (!tokens)
		return fail(t, -ENOMEM, "out of memory");
	o->tokens = tokens;
	tokens[o->device_count] = (struct vf_token){0};
	devices[o->device_count] = strndup(spec, len);
	if (!devices[o->device_count])
		return fail(t, -ENOMEM, "out of memory");
	o->device_count++;
	return 0;
}

/* "vf-token=UUID", of the device before it in the list. */
static int set_token(struct testpmd *t, const char *text, size_t len, size_t devices_before)
{
	struct options *o = &t->options;
	char uuid[64];
	struct vf_token *token;

	if (o->device_count == devices_before)
		return usage_error(t, "--allow: vf-token= stands behind the device that it is of");
	token = &o->tokens[o->device_count - 1];
	snprintf(uuid, sizeof(uuid), "%.*s", (int)(len < sizeof(uuid) ? len : sizeof(uuid)), text);
	if (token->given || pn_pci_vf_token_parse(uuid, token->bytes))
		return usage_error(t, "--allow %s: vf-token=: %s", o->devices[o->device_count - 1],
			token->given ? "one token a device" : pn_error());
	token->given = true;
	return 0;
}

static int set_devices(struct testpmd *t, const char *list)
{
	static const char word[] = "vf-token=";
	const size_t before = t->options.device_count;

	for (;;) {
		size_t len = strcspn(list, ","), head = sizeof(word) - 1;
		int err = strncmp(list, word, head) ? add_device(t, list, len)
						    : set_token(t, list + head, len - head, before);

		if (err || !list[len])
			return err;
		list += len + 1;
	}
}

static int set_backend(struct testpmd *t, const char *text)
{
	struct options *o = &t->options;
	size_t len = strcspn(text, ":");

	if (!len || (text[len] && !text[len + 1]))
		return usage_error(t, "--dma '%s': it takes BACKEND or BACKEND:NODE", text);
	free(o->backend);
	free(o->node);
	o->node = text[len] ? strdup(text + len + 1) : NULL;
	o->backend = strndup(text, len);
	if (!o->backend || (text[len] && !o->node))
		return fail(t, -ENOMEM, "out of memory");
	if (o->node && strcmp(o->backend, "auto") == 0)
		return usage_error(t, "--dma '%s': a node needs a backend's name before it", text);
	return 0;
}

static int set_mode(struct testpmd *t, const char *name)
{
	const struct forward_mode *mode;
	char names[128] = "";

	t->options.mode = forward_mode_find(name);
	if (t->options.mode)
		return 0;
	for (unsigned int i = 0; (mode = forward_mode_get(i)); i++) {
		size_t used = strlen(names);

		snprintf(names + used, sizeof(names) - used, "%s%s", i ? ", " : "", mode->name);
	}
	return usage_error(t, "--forward '%s': there is no such mode; there are %s", name, names);
}

static int set_peer(struct options *o, const char *text)
{
	const char *comma = strchr(text, ',');
	struct eth_peer peer = {.port = -1};
	struct eth_peer *peers;
	char number[8] = "";
	uint64_t port;

	if (comma) {
		if ((size_t)(comma - text) >= sizeof(number))
			return -EINVAL;
		memcpy(number, text, (size_t)(comma - text));
		if (parse_number(number, 0, UINT16_MAX, &port))
			return -EINVAL;
		peer.port = (int)port;
	}
	if (parse_mac(comma ? comma + 1 : text, peer.mac) || peer.mac[0] & 1)
		return -EINVAL;
	peers = grow(o->peers, o->peer_count, sizeof(*peers));
	if (!peers)
		return -ENOMEM;
	o->peers = peers;
	peers[o->peer_count++] = peer;
	return 0;
}

/* As many as there may be ports; a list that is too long has been refused by then. */
#define CORES_MAX 1024

static int set_cores(struct testpmd *t, const char *list)
{
	struct options *o = &t->options;
	int count;

	free(o->cpus);
	o->cpus = calloc(CORES_MAX, sizeof(*o->cpus));
	if (!o->cpus)
		return fail(t, -ENOMEM, "out of memory");
	count = pn_cpus_parse(list, o->cpus, CORES_MAX);
	if (count < 0)
		return usage_error(t, "--cores: %s", pn_error());
	o->cpu_count = (unsigned int)count;
	return 0;
}

static int set_page_size(uint64_t *page_size, const char *text)
{
	if (strcmp(text, "auto") == 0) {
		*page_size = 0;
		return 0;
	}
	if (parse_size(text, page_size))
		return -EINVAL;
	if (*page_size != PN_PAGE_4K && *page_size != PN_PAGE_2M && *page_size != PN_PAGE_1G)
		return -EINVAL;
	return 0;
}

static int set_mem(uint64_t *mem, const char *text)
{
	int err = parse_size(text, mem);

	if (!err && (!*mem || *mem % MEM_GRANULE || *mem > MEM_MAX))
		return -EINVAL;
	return err;
}

static int set_u16(uint16_t *field, const char *text, uint16_t min, uint16_t max)
{
	uint64_t value;
	int err = parse_number(text, min, max, &value);

	if (!err)
		*field = (uint16_t)value;
	return err;
}

static int set_u32(uint32_t *field, const char *text, uint32_t min, uint32_t max)
{
	uint64_t value;
	int err = parse_number(text, min, max, &value);

	if (!err)
		*field = (uint32_t)value;
	return err;
}

static int set_period(uint64_t *milliseconds, const char *text)
{
	int err = parse_seconds(text, milliseconds);

	return !err && !*milliseconds ? -EINVAL : err;
}

/* An option with a value that option_takes() describes. */
static int set_value(struct options *o, int code, const char *text)
{
	switch (code) {
	case OPT_BURST:
		return set_u16(&o->burst, text, 1, BURST_MAX);
	case OPT_COUNT:
		return parse_number(text, 1, UINT64_MAX, &o->count);
	case OPT_RXD:
		return set_u16(&o->rxd, text, 1, 4096);
	case OPT_RXQ:
		return set_u16(&o->rxq, text, 1, PN_PORT_QUEUES_MAX);
	case OPT_TXQ:
		return set_u16(&o->txq, text, 1, PN_PORT_QUEUES_MAX);
	case OPT_TXD:
		return set_u16(&o->txd, text, 1, 4096);
	case OPT_POOL:
		return set_u32(&o->pool, text, 1, UINT32_MAX);
	case OPT_MEM:
		return set_mem(&o->mem, text);
	case OPT_MODULE_PIN:
		o->module_pin = text;
		return strcmp(text, "process") && strcmp(text, "user") ? -EINVAL : 0;
	case OPT_PAGE_SIZE:
		return set_page_size(&o->page_size, text);
	case OPT_STATS_PERIOD:
		return set_period(&o->period_ms, text);
	case OPT_DURATION:
		return parse_seconds(text, &o->duration_ms);
	case OPT_WARMUP:
		return parse_seconds(text, &o->warmup_ms);
	case OPT_TX_FIRST:
		return set_u32(&o->tx_first, text ? text : "1", 1, 1000000);
	case OPT_FRAME_SIZE:
		return set_u16(&o->frame_size, text, 60, 1514);
	case OPT_ETH_PEER:
		return set_peer(o, text);
	case OPT_MTU:
		return set_u16(&o->mtu, text, 68, UINT16_MAX);
	default:
		o->hugetlbfs = text;
		return *text ? 0 : -EINVAL;
	}
}

/* A software port by the name that dpdk-testpmd has for it. */
static int set_vdev(struct testpmd *t, const char *text)
{
	char spec[256], names[128] = "";
	const char *word = "";
	size_t len = 0;

	switch (vdev_spec(text, spec, sizeof(spec), &word, &len)) {
	case 0:
		if (!pn_port_is_software(spec))
			break;
		return add_device(t, spec, strlen(spec));
	case -ENOENT:
		return usage_error(t,
			"--vdev '%s': '%.*s' means nothing here; --port has all that there is",
			text, (int)len, word);
	case -ENAMETOOLONG:
		return usage_error(t, "--vdev: longer than %zu bytes", sizeof(spec) - 1);
	default:
		break;
	}
	for (unsigned int i = 0; vdev_name(i); i++) {
		size_t used = strlen(names);

		snprintf(names + used, sizeof(names) - used, "%s%s", i ? ", " : "", vdev_name(i));
	}
	return usage_error(t, "--vdev '%s': there is no such device; there are %s", text, names);
}

static int set_option(struct testpmd *t, int code, const char *text)
{
	struct options *o = &t->options;
	int err;

	switch (code) {
	case 'a':
		return set_devices(t, text);
	case OPT_PORT:
		if (!pn_port_is_software(text))
			return usage_error(t,
				"--port '%s': it takes a software port, null, ring, pcap, "
				"afpacket, afxdp or tap, such as null:size=128; a card is given "
				"with --allow",
				text);
		return add_device(t, text, strlen(text));
	case OPT_VDEV:
		return set_vdev(t, text);
	case OPT_WAIT:
		o->wait = true;
		return 0;
	case 'v':
		o->verbose = true;
		return 0;
	case OPT_CORES:
		return set_cores(t, text);
	case OPT_BROKER:
		o->broker = true;
		o->broker_socket = text;
		return 0;
	case OPT_DMA:
		return set_backend(t, text);
	case OPT_FORWARD:
		return set_mode(t, text);
	case OPT_JSON:
		o->json = true;
		return 0;
	case OPT_PROMISCUOUS:
	case OPT_NO_PROMISCUOUS:
		o->promiscuous = code == OPT_PROMISCUOUS;
		return 0;
	default:
		err = set_value(o, code, text);
	}
	if (err == -ENOMEM)
		return fail(t, err, "out of memory");
	if (err)
		return usage_error(t, "--%s '%s': it takes %s", option_name(code), text ? text : "",
			option_takes(code));
	return 0;
}

/* Of a long option that may be cut short, how many options it could mean. */
static unsigned int meanings(const char *word)
{
	size_t len = strcspn(word, "=");
	unsigned int count = 0;

	for (const struct option *o = long_options; o->name; o++)
		count += strncmp(o->name, word, len) == 0;
	return count;
}

/* getopt_long() has met something it does not know. */
static int refuse_option(struct testpmd *t, int result, char **argv)
{
	/* It has gone past a long option, but not always past a cluster of short ones. */
	const char *word = argv[optind - 1];

	if (result == ':' && optopt >= 256)
		return usage_error(t, "--%s needs a value%s%s", option_name(optopt),
			option_takes(optopt) ? ": " : "",
			option_takes(optopt) ? option_takes(optopt) : "");
	if (result == ':')
		return usage_error(t, "--%s needs a value", option_name(optopt));
	if (optopt >= 256 || (optopt && strncmp(word, "--", 2) == 0))
		return usage_error(t, "option '%s' takes no value", word);
	if (optopt)
		return usage_error(t, "unknown option '-%c'", optopt);
	return usage_error(t, "%s option '%s'",
		strncmp(word, "--", 2) == 0 && meanings(word + 2) ? "ambiguous" : "unknown", word);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* In a container: the devices that it was given, which 'pinion cdi' and 'pinion oci' name in
 * PINION_DEVICE_*. In order of address. */
static int take_environment(struct testpmd *t)
{
	static const char prefix[] = "PINION_DEVICE_";
	struct options *o = &t->options;

	for (char **entry = environ; *entry; entry++) {
		const char *value = strchr(*entry, '=');
		int err;

		if (strncmp(*entry, prefix, sizeof(prefix) - 1) != 0 || !value)
			continue;
		err = add_device(t, value + 1, strlen(value + 1));
		if (err)
			return err;
	}
	if (o->device_count)
		qsort(o->devices, o->device_count, sizeof(*o->devices), by_name);
	return 0;
}

unsigned int options_queues(const struct options *o)
{
	return o->mode->generates ? o->txq : o->rxq;
}

static int check_queues(struct testpmd *t)
{
	const struct options *o = &t->options;
	const unsigned int queues = options_queues(o);

	if (o->rxq != o->txq && o->mode->sends && !o->mode->generates)
		return usage_error(t,
			"--rxq %u, --txq %u: --forward %s sends what comes on a queue by the "
			"queue of the same number",
			o->rxq, o->txq, o->mode->name);
	if (o->cpu_count > o->device_count * queues)
		return usage_error(t,
			"--cores: %u processors for %zu port%s of %u queue%s: each has the packets "
			"of at least one queue",
			o->cpu_count, o->device_count, o->device_count == 1 ? "" : "s", queues,
			queues == 1 ? "" : "s");
	/* Whoever waits for a port waits for all of its queues, and may be one thread only. */
	if (o->wait && o->rxq > 1 && o->cpu_count > 1)
		return usage_error(t, "--wait: with several receive queues on one processor only");
	return 0;
}

/* What only makes sense, or does not, together. */
static int check_together(struct testpmd *t)
{
	struct options *o = &t->options;
	int err = o->device_count ? 0 : take_environment(t);

	if (err)
		return err;
	if (!o->device_count)
		return usage_error(t, "no device: name one with --allow ADDRESS ('pinion devices' "
				      "lists them), or a software port with --port");
	err = check_queues(t);
	if (err)
		return err;
	if (o->mode->wire && o->device_count % 2)
		return usage_error(t,
			"--forward %s needs an even number of devices, the two ends of each wire; "
			"%zu given",
			o->mode->name, o->device_count);
	if (o->mode->wire && !o->promiscuous)
		return usage_error(t, "--forward %s passes on everything: it needs --promiscuous",
			o->mode->name);
	if (o->wait && o->device_count > PN_PORT_WAIT_MAX)
		return usage_error(t, "--wait: for up to %u ports", PN_PORT_WAIT_MAX);
	if (o->hugetlbfs && o->page_size == PN_PAGE_4K)
		return usage_error(t, "--hugetlbfs has no pages of 4K: give --page-size 2M or 1G");
	if (o->page_size && o->mem % o->page_size)
		return usage_error(t, "--mem must be a multiple of --page-size");
	if (o->broker && o->node)
		return usage_error(
			t, "--broker: the broker chooses the node, --dma may not name one");
	for (size_t i = 0; o->broker && i < o->device_count; i++) {
		if (o->tokens[i].given)
			return usage_error(t, "--broker: the broker opens the cards, and takes no "
					      "vf-token");
	}
	if (o->mtu && o->frame_size > o->mtu + 14u)
		return usage_error(t,
			"--frame-size %u is too long for --mtu %u (14 bytes of header go on top)",
			o->frame_size, o->mtu);
	for (size_t i = 0; i < o->peer_count; i++) {
		if (o->peers[i].port >= (int)o->device_count)
			return usage_error(t, "--eth-peer: there is no port %d, ports are 0 to %zu",
				o->peers[i].port, o->device_count - 1);
	}
	return 0;
}

/* Software ports have no DMA: where there is nothing else, no IOMMU is looked for. */
static void choose_backend(struct options *o)
{
	for (size_t i = 0; i < o->device_count; i++) {
		if (!pn_port_is_software(o->devices[i]))
			return;
	}
	if (!o->backend)
		o->backend = strdup("none");
}

enum parse_result options_parse(struct testpmd *t, int argc, char **argv)
{
	int code;

	t->options = (struct options){
		.mode = forward_mode_get(0),
		.burst = 32,
		.rxd = 256,
		.rxq = 1,
		.txq = 1,
		.txd = 256,
		.frame_size = 60,
		.promiscuous = true,
	};
	opterr = 0;
	while ((code = getopt_long(argc, argv, ":a:hv", long_options, NULL)) != -1) {
		if (code == 'h') {
			print_help();
			return PARSE_DONE;
		}
		if (code == OPT_VERSION) {
			printf("pinion-testpmd %s\n", pn_version());
			return PARSE_DONE;
		}
		if (code == '?' || code == ':') {
			refuse_option(t, code, argv);
			return PARSE_BAD;
		}
		if (set_option(t, code, optarg))
			return PARSE_BAD;
	}
	if (optind < argc) {
		usage_error(
			t, "'%s' is not an option; devices are given with --allow", argv[optind]);
		return PARSE_BAD;
	}
	if (check_together(t))
		return PARSE_BAD;
	choose_backend(&t->options);
	return PARSE_RUN;
}

void options_free(struct options *options)
{
	for (size_t i = 0; i < options->device_count; i++)
		free(options->devices[i]);
	free(options->devices);
	free(options->tokens);
	free(options->peers);
	free(options->cpus);
	free(options->backend);
	free(options->node);
}
