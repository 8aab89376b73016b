/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See vdev.h: names and words of DPDK 22.11's drivers, and what they are called here.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vdev.h"

#define WORDS 6

struct vdev {
	const char *name; /* without its number */
	const char *driver;
	struct {
		const char *there, *here;
	} words[WORDS];
};

static const struct vdev vdevs[] = {
	{"net_null", "null", {{"size", "size"}}},
	{"net_ring", "ring", {{"size", "size"}}},
	{"net_pcap", "pcap", {{"rx_pcap", "rx"}, {"tx_pcap", "tx"}, {"infinite_rx", "loop"}}},
	{"net_af_packet", "afpacket",
		{{"iface", "iface"}, {"blocksz", "block"}, {"qdisc_bypass", "bypass"}}},
	{"net_af_xdp", "afxdp",
		{{"iface", "iface"}, {"start_queue", "queue"}, {"busy_budget", "busy"}}},
	{"net_tap", "tap", {{"iface", "iface"}, {"persist", "persist"}}},
};

#define VDEV_COUNT (sizeof(vdevs) / sizeof(vdevs[0]))

const char *vdev_name(unsigned int index)
{
	return index < VDEV_COUNT ? vdevs[index].name : NULL;
}

/* The one of this name, which a number or a word may follow directly: net_null0, net_null_left. */
static const struct vdev *find(const char *name, size_t len)
{
	for (unsigned int i = 0; i < VDEV_COUNT; i++) {
		size_t own = strlen(vdevs[i].name);

		if (len >= own && strncmp(name, vdevs[i].name, own) == 0)
			return &vdevs[i];
	}
	return NULL;
}

static const char *find_word(const struct vdev *vdev, const char *word, size_t len)
{
	for (unsigned int i = 0; i < WORDS && vdev->words[i].there; i++) {
		if (strlen(vdev->words[i].there) == len &&
			strncmp(vdev->words[i].there, word, len) == 0)
			return vdev->words[i].here;
	}
	return NULL;
}

int vdev_spec(const char *vdev, char *spec, size_t size, const char **word, size_t *word_len)
{
	size_t len = strcspn(vdev, ","), used;
	const struct vdev *found = find(vdev, len);
	char separator = ':';

	if (!found)
		return -EINVAL;
	used = (size_t)snprintf(spec, size, "%s", found->driver);
	while (vdev[len]) {
		const char *here;
		size_t value;

		*word = vdev + len + 1;
		*word_len = strcspn(*word, "=,");
		value = strcspn(*word, ",");
		here = find_word(found, *word, *word_len);
		if (!here)
			return -ENOENT;
		if (used >= size)
			return -ENAMETOOLONG;
		used += (size_t)snprintf(spec + used, size - used, "%c%s%.*s", separator, here,
			(int)(value - *word_len), *word + *word_len);
		separator = ',';
		len += 1 + value;
	}
	return used < size ? 0 : -ENAMETOOLONG;
}
