/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets in memory that two processes share: two rings of slots, one each way. Packets are copied
 * into slots and out of them. Buffers cannot be shared as they are: their metadata holds pointers,
 * and who could write to those of another process could make it do anything.
 *
 * What the other process is trusted with: the contents of packets, and whether they come at all.
 * Nothing it writes makes this one read or write outside the memory, wait, or end: positions and
 * lengths are read once and checked, each end's own position is kept outside the memory, and the
 * file can neither shrink nor have too few pages.
 */
#ifndef SHARED_RING_H
#define SHARED_RING_H

#include "soft.h"

#define SHARED_RING_SIZE_MOST 65536u
#define SHARED_RING_SLOT_MOST 16384u

/* One way, as one end sees it. */
struct shared_way {
	uint64_t *produced; /* in the memory: how many slots were filled, */
	uint64_t *consumed; /* and emptied, since it was made */
	uint32_t *lengths;
	unsigned char *slots;
	uint64_t position; /* of this end; what it wrote there last */
} __attribute__((aligned(128)));

struct shared_ring {
	int fd;
	unsigned char *memory;
	uint64_t bytes;
	uint32_t size; /* slots each way, a power of two */
	uint32_t slot; /* bytes of one */
	struct shared_way in, out;
};

/* Make the memory; the maker's out is way 0. 0 or a negative errno with its text. */
int shared_ring_make(struct shared_ring *ring, const char *port, uint32_t size, uint32_t slot);
/* Take part in one that another process made: fd, which stays the ring's if it is taken. */
int shared_ring_join(
	struct shared_ring *ring, const char *port, int fd, uint32_t size, uint32_t slot);
void shared_ring_end(struct shared_ring *ring);
/* Is this file that of the ring? */
bool shared_ring_same(const struct shared_ring *ring, int fd);
/* A new process is to be at the other end: whatever the one before left there, it can go on. */
void shared_ring_mend(struct shared_ring *ring);

/*
 * Copy packets in, as long as there is room. Returns how many were dealt with; senseless ones are
 * counted in *errors. -EPROTO: what the other end wrote makes no sense. Nothing is freed.
 */
int shared_ring_put(struct shared_ring *ring, struct pn_buf **bufs, uint16_t count, uint64_t *bytes,
	uint64_t *errors);
/*
 * Copy packets out into buffers of a pool. *dry: it had too few. *errors: packets that made no
 * sense were passed over.
 */
int shared_ring_take(struct shared_ring *ring, struct pn_pool *pool, struct pn_buf **bufs,
	uint16_t count, uint64_t *bytes, uint64_t *errors, bool *dry);
/* Is there anything to take? */
bool shared_ring_any(const struct shared_ring *ring);

#endif
