/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What ports without a device share: the words of their specification ("ring:size=512"), the pool
 * they hold, counters, and the parts of a port that need no hardware.
 */
#ifndef SOFT_H
#define SOFT_H

#include "pkt_priv.h"
#include "port_priv.h"

#define SOFT_NAME_MAX 128

/* Counters of one queue, written by its thread only, read by any. */
struct soft_counts {
	uint64_t packets;
	uint64_t bytes;
	uint64_t errors;
	uint64_t missed;
	uint64_t nombuf;
};

struct soft_port {
	struct pn_port_dev dev;
	const char *driver;
	const char *device; /* what it is, in words */
	char name[SOFT_NAME_MAX];
	uint8_t mac[PN_MAC_LEN];
	uint16_t mtu;
	bool blind;
	uint32_t rx_offloads; /* that it has, always */
	struct pn_pool *pool; /* configured with */
	/* The two queues may have a thread each. */
	struct soft_counts rx __attribute__((aligned(128)));
	struct soft_counts tx __attribute__((aligned(128)));
	struct pn_port_stats base; /* what the counters were at the last reset */
	/* Add what is counted elsewhere, since the port was opened; NULL: nothing. */
	void (*collect)(struct soft_port *port, struct pn_port_stats *stats);
};

static inline struct soft_port *soft_port(struct pn_port_dev *dev)
{
	return (struct soft_port *)(void *)((char *)dev - offsetof(struct soft_port, dev));
}

static inline void soft_count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline uint64_t soft_counted(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/*
 * Burst functions exist twice: as compiled, and for processors with AVX2, which without its forms
 * of instructions forward 15 % less between null ports at bursts of 32. Both are this one, inlined.
 */
#if defined(__x86_64__)
#define SOFT_BURST_AVX2(name)                                                   \
	static __attribute__((target("avx2")))                                  \
	uint16_t name##_avx2(void *queue, struct pn_buf **bufs, uint16_t count) \
	{                                                                       \
		return name(queue, bufs, count);                                \
	}
#define SOFT_BURST_BEST(name) (__builtin_cpu_supports("avx2") ? name##_avx2 : name)
#else
#define SOFT_BURST_AVX2(name)
#define SOFT_BURST_BEST(name) (name)
#endif
#define SOFT_BURST static inline __attribute__((always_inline)) uint16_t

/* A word of a specification: a number in a range, or a text if there is room for one. */
struct soft_word {
	const char *key;
	uint64_t *number;
	uint64_t min, max;
	char *text;
	size_t text_size;
};

/* Read what follows the driver's name in a specification. 0 or -EINVAL with the words that exist.
 */
int soft_parse(const char *spec, const struct soft_word *words, size_t count);

/* Set up the head of a port: its name is the specification. 0, or -EINVAL for one too long. */
int soft_init(struct soft_port *port, const char *spec, const char *driver, const char *device);

/* Hold the pool of a configuration, in place of the one before; NULL: none. */
void soft_hold(struct soft_port *port, struct pn_pool *pool);

/*
 * Free packets that a port has taken: counts those that could have been sent, and as errors those
 * that make no sense (see pn_port_tx_burst()).
 */
void soft_free_odd(struct soft_port *port, struct pn_buf **bufs, uint32_t n);

/* Can it be sent: no empty segment, as many as it says, and together as long as it says? */
bool soft_valid(const struct pn_buf *packet);

/*
 * A packet with these bytes, in several segments if they need it. NULL: there are none, the pool
 * has not enough buffers, or they would be too many.
 */
struct pn_buf *soft_chain(struct pn_pool *pool, const unsigned char *data, uint32_t len);

/* Parts of struct pn_port_ops. */
void soft_info(const struct pn_port_dev *dev, struct pn_port_info *info);
int soft_configure(struct pn_port_dev *dev, const struct pn_port_conf *conf);
int soft_stats(struct pn_port_dev *dev, struct pn_port_stats *stats);
void soft_stats_reset(struct pn_port_dev *dev);
int soft_link(struct pn_port_dev *dev, struct pn_port_link *link);
int soft_irq_enable(struct pn_port_dev *dev, int *fd);
int soft_irq_arm(struct pn_port_dev *dev);
int soft_irq_disable(struct pn_port_dev *dev);
int soft_set_promiscuous(struct pn_port_dev *dev, bool on);
int soft_set_multicast(
	struct pn_port_dev *dev, const uint8_t (*groups)[PN_MAC_LEN], unsigned int count);
int soft_set_mac(struct pn_port_dev *dev, const uint8_t mac[PN_MAC_LEN]);
int soft_set_mtu(struct pn_port_dev *dev, uint16_t mtu);

#endif
