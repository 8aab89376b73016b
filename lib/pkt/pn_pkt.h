/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packet buffers and the pools they come from. A buffer is one cache line of metadata followed by
 * headroom and data, in memory that is mapped for DMA; its IOVA is known, never looked up.
 */
#ifndef PN_PKT_H
#define PN_PKT_H

#include "pn_base.h"
#include "pn_mem.h"

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

/** A packet buffer, or one segment of a packet: one cache line. pkt_len to vlan_tci are valid in
 * the first segment only. */
struct __attribute__((aligned(64))) pn_buf {
	unsigned char *base; /**< start of the buffer's memory (before the headroom) */
	uint64_t iova;       /**< IOVA of base */
	uint16_t data_off;   /**< offset of the data from base */
	uint16_t refcnt; /**< owners; changed with atomic operations when above 1; 0: in the pool */
	uint16_t room;   /**< bytes from base to the end of the buffer */
	uint16_t data_len; /**< bytes of data in this segment */
	uint32_t pkt_len;  /**< bytes of data in all segments */
	uint16_t nb_segs;  /**< segments in the packet, 1 or more */
	uint16_t port;     /**< port it was received on */
	uint32_t flags;    /**< offload flags; none defined yet, 0 */
	uint32_t hash;     /**< RSS hash, when a driver says so in flags */
	uint16_t vlan_tci; /**< VLAN tag, when a driver says so in flags */
	uint16_t reserved[3];
	struct pn_pool *pool; /**< where it goes back to */
	struct pn_buf *next;  /**< next segment, or NULL */
};

/** What is wanted of a pool. */
struct pn_pool_opts {
	uint32_t count;     /**< buffers, not 0 */
	uint16_t data_room; /**< bytes after the headroom; 0: PN_BUF_DATA_ROOM; a multiple of 64 is
			       not required */
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
 * Buffers that were freed although they were in the pool already. Such a free is refused: it
 * changes nothing but this counter, and the first one is logged (PN_LOG_ERROR). Thread-safety: any
 * thread.
 */
PN_API uint64_t pn_pool_refused(const struct pn_pool *pool);

/**
 * Take n buffers, or none: each with one reference, one segment, no data, data_off at the headroom.
 * @return 0; -ENOBUFS if fewer than n are there (no error text: this is the data path).
 * Thread-safety: any thread.
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

#ifdef __cplusplus
}
#endif

#endif
