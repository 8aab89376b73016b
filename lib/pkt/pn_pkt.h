/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packet buffers and the pools they come from. A buffer is one cache line of metadata followed by
 * headroom and data, in memory that is mapped for DMA; its IOVA is known, never looked up.
 */
#ifndef PN_PKT_H
#define PN_PKT_H

#include "pn_base.h"
#include "pn_mem.h"
#include "pn_ring.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A pool of packet buffers of one size. */
struct pn_pool;

/** Bytes kept free before the data of a fresh buffer. */
#define PN_BUF_HEADROOM 128u
/** Default data room after the headroom, bytes. */
#define PN_BUF_DATA_ROOM 2048u
/** Most buffers in one packet. */
#define PN_BUF_SEGS_MAX 64u

/**
 * What pn_buf.flags say. A driver that receives sets the first ones, an application that transmits
 * asks with the others, for what the port was configured to do (struct pn_port_conf).
 */
#define PN_BUF_RX_VLAN      (1u << 0) /**< vlan_tci is the tag that was taken out of the frame */
#define PN_BUF_RX_HASH      (1u << 1) /**< hash is valid */
#define PN_BUF_RX_TIMESTAMP (1u << 2) /**< pn_buf_timestamp() is valid */
#define PN_BUF_RX_IP_GOOD   (1u << 3) /**< the IP header's checksum was checked, and is right */
#define PN_BUF_RX_IP_BAD    (1u << 4) /**< it was checked, and is wrong */
#define PN_BUF_RX_L4_GOOD   (1u << 5) /**< the same of TCP's or UDP's checksum */
#define PN_BUF_RX_L4_BAD    (1u << 6)
#define PN_BUF_TX_VLAN      (1u << 16) /**< insert vlan_tci behind the addresses */
/**
 * Fill in the IPv4 header's checksum: l2_len, l3_len. Its place holds 0 until then.
 */
#define PN_BUF_TX_IP (1u << 17)
/**
 * Fill in TCP's or UDP's checksum, one of them: l2_len, l3_len. Its place holds the sum of the
 * pseudo header until then; pn_buf_leave_checksums() writes all that.
 */
#define PN_BUF_TX_TCP (1u << 18)
#define PN_BUF_TX_UDP (1u << 19)
#define PN_BUF_TX_TSO (1u << 20) /**< cut into segments of tso_size: all lengths */
/** What belongs together. */
#define PN_BUF_RX_CHECKSUMS \
	(PN_BUF_RX_IP_GOOD | PN_BUF_RX_IP_BAD | PN_BUF_RX_L4_GOOD | PN_BUF_RX_L4_BAD)
#define PN_BUF_TX_CHECKSUMS (PN_BUF_TX_IP | PN_BUF_TX_TCP | PN_BUF_TX_UDP)

/** Where a buffer's memory is. */
enum pn_buf_attached {
	PN_BUF_OWN,      /**< behind its metadata */
	PN_BUF_CLONE,    /**< another buffer's (pn_buf_clone()) */
	PN_BUF_EXTERNAL, /**< the application's (pn_buf_attach()) */
};

/**
 * A packet buffer, or one segment of a packet: one cache line. pkt_len, nb_segs, port, and what
 * stands from flags to l4_len are valid in the first segment only. A free buffer always has one
 * reference, one segment, no next one, and its own memory: who takes it need not write that, and
 * who frees a plain packet only looks.
 */
struct __attribute__((aligned(64))) pn_buf {
	unsigned char *base; /**< start of the buffer's memory (before the headroom) */
	uint64_t iova;       /**< IOVA of base */
	union {
		struct {
			uint16_t refcnt; /**< owners; changed with atomic operations when above 1 */
			uint8_t nb_segs; /**< segments in the packet, 1 or more */
			uint8_t attached; /**< enum pn_buf_attached */
		};
		uint32_t state; /**< the three at once; PN_BUF_PLAIN for most packets */
	};
	uint16_t data_off; /**< offset of the data from base */
	uint16_t data_len; /**< bytes of data in this segment */
	uint16_t port;     /**< port it was received on */
	uint16_t room;     /**< bytes from base to the end of the buffer */
	uint32_t pkt_len;  /**< bytes of data in all segments */
	uint32_t flags;    /**< PN_BUF_RX_..., PN_BUF_TX_... */
	uint32_t hash;     /**< RSS hash */
	uint16_t vlan_tci; /**< VLAN tag */
	uint16_t tso_size; /**< bytes of data in each segment that is cut */
	uint8_t l2_len;    /**< bytes of the Ethernet header with its tags */
	uint8_t l3_len;    /**< bytes of the IP header with options or extensions */
	uint8_t l4_len;    /**< bytes of the TCP or UDP header */
	uint8_t reserved;
	struct pn_pool *pool; /**< where it goes back to */
	struct pn_buf *next;  /**< next segment, or NULL */
};

/** state of a packet with one owner, one segment, and memory of its own. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define PN_BUF_PLAIN UINT32_C(0x00010001)
#else
#define PN_BUF_PLAIN UINT32_C(0x00010100)
#endif

/** What few packets need: the cache line behind struct pn_buf, which nothing else touches. */
struct __attribute__((aligned(64))) pn_buf_more {
	uint64_t timestamp; /* of pn_buf_timestamp() */
	/* What memory it has is attached: to give it back, and to return to its own. */
	void (*free)(void *arg, void *vaddr);
	void *arg;
	struct pn_buf *direct; /* whose memory a clone shares */
	uint64_t own_iova;
};

/** Most buffers that a thread keeps for itself. */
#define PN_POOL_CACHE_MAX 256u
/** No caches: every get and free goes to the list that threads share. */
#define PN_POOL_NO_CACHE UINT16_MAX

/** Whether a pool looks for buffers that are freed twice, or into the wrong pool. */
enum pn_pool_check {
	PN_POOL_CHECK_DEFAULT, /**< as the library was built: yes, unless with NDEBUG */
	PN_POOL_CHECK_ON,
	PN_POOL_CHECK_OFF,
};

/** What is wanted of a pool. */
struct pn_pool_opts {
	uint32_t count;     /**< buffers, not 0 */
	uint16_t data_room; /**< bytes after the headroom; 0: PN_BUF_DATA_ROOM; a multiple of 64 is
			       not required */
	uint16_t cache;     /**< buffers that each thread may keep, up to PN_POOL_CACHE_MAX: out of
			       reach of the others. PN_POOL_NO_CACHE: none; 0: an eighth of the
			       pool, PN_POOL_CACHE_MAX at most, none if that is below 8 */
	enum pn_pool_check check;
};

/**
 * Bytes of heap that a pool takes, for planning; 0 if the options are not valid. Thread-safety: any
 * thread.
 */
PN_API uint64_t pn_pool_bytes(const struct pn_pool_opts *opts);

/**
 * Create a pool; its memory comes from a heap. Neighbouring buffers start in different cache sets.
 *
 * @param heap must outlive the pool
 * @return 0; -EINVAL for a count of 0 or a room too small (64) or too large (65,535 with headroom);
 * -ENOMEM with what is needed and what the heap has left. Thread-safety: any thread.
 */
PN_API int pn_pool_create(
	struct pn_pool **out, struct pn_heap *heap, const struct pn_pool_opts *opts);

/**
 * Destroy a pool. NULL is allowed.
 * @return 0; -EBUSY while a port is configured to receive into it, started or not, or buffers are
 * out (the text says how many): nothing is freed then. Thread-safety: one thread, and no other may
 * use the pool, its buffers, or configure a port with it at the same time.
 */
PN_API int pn_pool_destroy(struct pn_pool *pool);

/** Buffers in the pool, and of how many. Thread-safety: any thread. */
PN_API uint32_t pn_pool_available(const struct pn_pool *pool);
PN_API uint32_t pn_pool_count(const struct pn_pool *pool);
/** Bytes from base to the end of a buffer of this pool (headroom and data room). Thread-safety: any
 * thread. */
PN_API uint32_t pn_pool_buf_room(const struct pn_pool *pool);

/**
 * Buffers that were freed although they were in the pool already, or that are none of this pool's.
 * Such a free is refused: it changes nothing but this counter, and the first one is logged
 * (PN_LOG_ERROR). Only pools that check (opts->check) see it; in others it is a fault that comes to
 * light later, somewhere else. Thread-safety: any thread.
 */
PN_API uint64_t pn_pool_refused(const struct pn_pool *pool);

/**
 * Take n buffers, or none: each with one reference, one segment, no data, no flags, data_off at the
 * headroom.
 * @return 0; -ENOBUFS if fewer than n are within reach, which excludes what other threads keep (no
 * error text: this is the data path).
 * Thread-safety: any thread. What a thread keeps goes back when it ends.
 */
PN_API int pn_pool_get(struct pn_pool *pool, struct pn_buf **bufs, uint32_t n);

/**
 * Give back n packets with all their segments; a segment goes to its pool when its last reference
 * is dropped. NULL entries are skipped. Thread-safety: any thread; a caller gives back what it owns
 * itself, once.
 */
PN_API void pn_buf_free_bulk(struct pn_buf **bufs, uint32_t n);

/** Give back one packet. NULL is allowed. Thread-safety: as pn_buf_free_bulk(). */
static inline void pn_buf_free(struct pn_buf *buf)
{
	if (buf)
		pn_buf_free_bulk(&buf, 1);
}

/**
 * Make a packet that shares the data of another: the same segments, with lengths and offsets of
 * their own, and the same offload fields. Both are freed as usual, in any order; the memory goes
 * back with the last. Nobody may write to shared data.
 *
 * @param pool gives a buffer for each segment
 * @return the packet, or NULL if the pool does not have enough. Thread-safety: any thread that owns
 * the packet.
 */
PN_API struct pn_buf *pn_buf_clone(struct pn_pool *pool, struct pn_buf *packet);

/**
 * Leave the checksums of a packet to the port that will send it: finds the headers (Ethernet with
 * up to two VLAN tags, IPv4 or IPv6 without extensions, TCP or UDP) in the first segment, writes
 * l2_len, l3_len and l4_len, sets those of the flags PN_BUF_TX_IP, PN_BUF_TX_TCP and PN_BUF_TX_UDP
 * that fit the packet and are among the offloads, and puts into the places of the checksums what
 * these flags ask for. Other checksums stay as they are, and so does that of a fragment, which
 * covers more than this packet. Padding behind the IP packet, which would be summed too, is cut
 * off.
 *
 * @param packet   its only owner's
 * @param offloads what the port was configured to do (pn_port_conf.tx_offloads)
 * @return the flags that were set; 0 if there is nothing to leave. Thread-safety: the only owner.
 */
PN_API uint32_t pn_buf_leave_checksums(struct pn_buf *packet, uint32_t offloads);

/** Memory of the application's for a packet. */
struct pn_external {
	void *vaddr;
	uint64_t iova; /**< of vaddr, in the domain of the port that will send or receive into it */
	uint16_t len;  /**< bytes, not 0 */
	void (*free)(void *arg, void *vaddr); /**< called once, when the last reference is dropped,
						 in the thread that drops it; may be NULL */
	void *arg;
};

/**
 * Let a fresh buffer point at the application's memory in place of its own until it is freed.
 * data_off becomes 0, and there is no data in it yet.
 * @return 0; -EINVAL without memory, or for a buffer that has several owners or is attached
 * already. Thread-safety: the only owner.
 */
PN_API int pn_buf_attach(struct pn_buf *buf, const struct pn_external *external);

/** What few packets need. Thread-safety: as pn_buf_data(). */
static inline struct pn_buf_more *pn_buf_get_more(struct pn_buf *buf)
{
	return (struct pn_buf_more *)(void *)(buf + 1);
}

/** When it was received, ns since 1970, if PN_BUF_RX_TIMESTAMP is set. Thread-safety: as
 * pn_buf_data(). */
static inline uint64_t pn_buf_timestamp(struct pn_buf *buf)
{
	return pn_buf_get_more(buf)->timestamp;
}

/**
 * Add an owner to a packet, that is to each of its segments: one more pn_buf_free() is needed until
 * they go back. Owners share the data and must not change it. Thread-safety: any thread that owns
 * the packet.
 */
static inline void pn_buf_ref(struct pn_buf *buf)
{
	for (; buf; buf = buf->next)
		__atomic_fetch_add(&buf->refcnt, 1, __ATOMIC_RELAXED);
}

/** First byte of a segment's data. Thread-safety: any thread, while none changes the segment. */
static inline unsigned char *pn_buf_data(const struct pn_buf *buf)
{
	return buf->base + buf->data_off;
}

/** IOVA of the first byte of a segment's data. Thread-safety: as pn_buf_data(). */
static inline uint64_t pn_buf_data_iova(const struct pn_buf *buf)
{
	return buf->iova + buf->data_off;
}

/** Bytes that can still be appended to this segment. Thread-safety: as pn_buf_data(). */
static inline uint16_t pn_buf_tailroom(const struct pn_buf *buf)
{
	return (uint16_t)(buf->room - buf->data_off - buf->data_len);
}

/**
 * Extend a packet of one segment at its end.
 * @return the first new byte, or NULL if there is no room (nothing changes). Thread-safety: the
 * only owner.
 */
static inline unsigned char *pn_buf_append(struct pn_buf *buf, uint16_t len)
{
	unsigned char *tail = pn_buf_data(buf) + buf->data_len;

	if (len > pn_buf_tailroom(buf))
		return NULL;
	buf->data_len = (uint16_t)(buf->data_len + len);
	buf->pkt_len += len;
	return tail;
}

/** What a thread keeps of a pool: the last one freed on top, the likeliest to be in the CPU's
 * cache. For the inline functions below only. */
struct __attribute__((aligned(64))) pn_pool_cache {
	struct pn_pool *pool; /* NULL in a pool that checks: that is done behind a call */
	uint32_t count;       /* written by its thread only */
	uint32_t limit;
	struct pn_buf *bufs[2 * PN_POOL_CACHE_MAX] __attribute__((aligned(64)));
};

#define PN_POOL_SLOTS 16u

/** The calling thread's caches of the pools that it used last. For the inline functions only. */
extern PN_API __thread struct pn_pool_cache *pn_pool_caches[PN_POOL_SLOTS]
	__attribute__((tls_model("initial-exec")));

/** For the inline functions: the calling thread's cache, or NULL. */
static inline struct pn_pool_cache *pn_pool_own_cache(const struct pn_pool *pool)
{
	uintptr_t at = (uintptr_t)pool;
	struct pn_pool_cache *cache = pn_pool_caches[(at >> 6 ^ at >> 10) % PN_POOL_SLOTS];

	if (!cache || __atomic_load_n(&cache->pool, __ATOMIC_RELAXED) != pool)
		return NULL;
	return cache;
}

/** For the inline functions: what they cannot do alone. */
PN_API int pn_pool_get_more(struct pn_pool *pool, struct pn_buf **bufs, uint32_t n);
PN_API void pn_pool_put_more(struct pn_pool *pool, struct pn_buf *const *bufs, uint32_t n);

/**
 * Take n buffers, or none, without setting them up: data_off, the lengths, port, flags and what
 * they announce are left as they were, for who writes them anyway.
 * @return as pn_pool_get(). Thread-safety: any thread.
 */
static inline int pn_pool_get_raw(struct pn_pool *pool, struct pn_buf **bufs, uint32_t n)
{
	struct pn_pool_cache *cache = pn_pool_own_cache(pool);

	if (__builtin_expect(cache && n <= cache->count, 1)) {
		uint32_t left = cache->count - n;

		pn_ring_copy(bufs, &cache->bufs[left], n);
		__atomic_store_n(&cache->count, left, __ATOMIC_RELAXED);
		return 0;
	}
	return pn_pool_get_more(pool, bufs, n);
}

/**
 * Give back n buffers that have no other owner, no next segment, nb_segs 1 and their own memory
 * (PN_BUF_PLAIN), all of this pool. Thread-safety: any thread.
 */
static inline void pn_pool_put_raw(struct pn_pool *pool, struct pn_buf *const *bufs, uint32_t n)
{
	struct pn_pool_cache *cache = pn_pool_own_cache(pool);

	if (__builtin_expect(cache && n <= cache->limit - cache->count, 1)) {
		pn_ring_copy(&cache->bufs[cache->count], bufs, n);
		__atomic_store_n(&cache->count, cache->count + n, __ATOMIC_RELAXED);
		return;
	}
	pn_pool_put_more(pool, bufs, n);
}

#ifdef __cplusplus
}
#endif

#endif
