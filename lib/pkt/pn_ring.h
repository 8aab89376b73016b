/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rings: bounded queues of 8-byte items (pointers, or numbers) between threads, or between
 * processes that share the memory. Each end is for one thread or for many, as said at creation.
 * There is no pointer inside, so a ring may lie at another address in each process.
 */
#ifndef PN_RING_H
#define PN_RING_H

#include "pn_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Bytes of one item. */
#define PN_RING_ITEM 8u
/** Most items that a ring can be made for. */
#define PN_RING_SIZE_MAX (UINT64_C(1) << 31)

/** Only one thread at a time enqueues. */
#define PN_RING_SP (1u << 0)
/** Only one thread at a time dequeues. */
#define PN_RING_SC (1u << 1)

/**
 * One end of a ring: positions that only grow, so that one is never taken for another. An item of
 * position p is in slot p modulo the size. For the inline functions below only.
 */
struct __attribute__((aligned(128))) pn_ring_end {
	uint64_t head; /* claimed up to here; unused where one thread works */
	uint64_t tail; /* done up to here: what the other end goes by */
	uint64_t seen; /* the other end's tail when it was last looked at, where one thread works */
};

/** A ring. The fields are for the inline functions below only. */
struct __attribute__((aligned(128))) pn_ring {
	uint64_t magic; /* written last */
	uint32_t flags;
	uint64_t size;
	struct pn_ring_end producers;
	struct pn_ring_end consumers;
	/* The slots follow. */
};

/**
 * Bytes that a ring of this size takes.
 * @return bytes, or 0 if size is no power of two or above PN_RING_SIZE_MAX. Thread-safety: any
 * thread.
 */
PN_API uint64_t pn_ring_bytes(uint64_t size);

/**
 * Create a ring in ordinary memory.
 *
 * @param[out] out the ring; the caller owns it and ends it with pn_ring_destroy()
 * @param size     items it holds, a power of two, 1 to PN_RING_SIZE_MAX; all of them can be used
 * @param flags    PN_RING_SP, PN_RING_SC, or 0 for any number of threads at both ends
 * @return 0; -EINVAL (the text says what is wrong); -ENOMEM. Thread-safety: any thread.
 */
PN_API int pn_ring_create(struct pn_ring **out, uint64_t size, unsigned int flags);

/**
 * Free a ring that pn_ring_create() made; what is in it is forgotten. NULL is allowed.
 * Thread-safety: nobody uses the ring any more.
 */
PN_API void pn_ring_destroy(struct pn_ring *ring);

/**
 * Make a ring in memory of the caller's, for instance of a memfd that processes share. There is
 * nothing to destroy: it ends with the memory.
 *
 * @param[out] out the ring, which is at memory
 * @param memory   aligned to 128 bytes
 * @param bytes    at least pn_ring_bytes(size)
 * @return as pn_ring_create(). Thread-safety: nobody uses that memory yet; others find the ring
 * with pn_ring_attach().
 */
PN_API int pn_ring_init(
	struct pn_ring **out, void *memory, uint64_t bytes, uint64_t size, unsigned int flags);

/**
 * Find the ring that another process, or another mapping of the memory, was given by
 * pn_ring_init(). Who shares a ring can harm it, and a process that ends in the middle of a call
 * stops the end it worked at where many may work there: share it only with whom you trust as a
 * thread.
 *
 * @param memory aligned to 128 bytes
 * @param bytes  of the memory: the ring must end within
 * @return 0; -EAGAIN if no ring is there (yet); -EINVAL if what is there does not fit (the text has
 * the numbers). Thread-safety: any thread.
 */
PN_API int pn_ring_attach(struct pn_ring **out, void *memory, uint64_t bytes);

/** For the inline functions: the processor moves 32 bytes at once (AVX2). Not to be written to. */
extern PN_API bool pn_ring_wide;

/** For the inline functions: wait until a tail is at head. Gives up the processor at times. */
PN_API void pn_ring_wait(const uint64_t *tail, uint64_t head);

/** Items that the ring holds at most. Thread-safety: any thread. */
static inline uint64_t pn_ring_size(const struct pn_ring *ring)
{
	return ring->size;
}

/** Items in the ring; beside enqueuing and dequeuing threads a moment's view, 0 to the size.
 * Thread-safety: any thread. */
static inline uint64_t pn_ring_count(const struct pn_ring *ring)
{
	uint64_t to = __atomic_load_n(&ring->consumers.tail, __ATOMIC_ACQUIRE);
	uint64_t from = __atomic_load_n(&ring->producers.tail, __ATOMIC_ACQUIRE);
	uint64_t count = from - to;

	return count < ring->size ? count : ring->size;
}

/* Below: the inside of the functions at the end of this file. */

/*
 * Eight items by two stores of 32 bytes, in code that was compiled for processors without them: by
 * instructions of its own, as the compiler would have to put what uses them into a function apart,
 * and the call costs what they save. A pool's get and put of 32 take 0.42 cycles an object with
 * them, 0.63 without, 0.65 with a call. Not where a sanitizer is to see what is copied.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PN_RING_SEEN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
	__has_feature(memory_sanitizer)
#define PN_RING_SEEN 1
#endif
#endif
#if defined(__x86_64__) && !defined(PN_RING_SEEN)
#define PN_RING_WIDE 1

static inline void pn_ring_copy_eight(unsigned char *to, const unsigned char *from)
{
	__asm__ volatile("vmovdqu (%1), %%ymm0\n\t"
			 "vmovdqu 32(%1), %%ymm1\n\t"
			 "vmovdqu %%ymm0, (%0)\n\t"
			 "vmovdqu %%ymm1, 32(%0)"
			 :
			 : "r"(to), "r"(from)
			 : "memory", "xmm0", "xmm1");
}

/* Without it some processors are slow with what follows. It empties the upper halves of all. */
static inline void pn_ring_copied_wide(void)
{
	__asm__ volatile("vzeroupper"
			 :
			 :
			 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
			 "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}
#endif

/* Never more than a few cache lines: cheaper here than behind a call of memcpy(). */
static inline void pn_ring_copy(void *to, const void *from, uint64_t count)
{
	unsigned char *out = (unsigned char *)to;
	const unsigned char *in = (const unsigned char *)from;
	const unsigned char *const eights = in + count / 8 * 64;

#ifdef PN_RING_WIDE
	if (in != eights && pn_ring_wide) {
		do {
			pn_ring_copy_eight(out, in);
			out += 64;
			in += 64;
		} while (in != eights);
		pn_ring_copied_wide();
	}
#endif
	while (in != eights) {
		__builtin_memcpy(out, in, 32);
		__builtin_memcpy(out + 32, in + 32, 32);
		out += 64;
		in += 64;
		__asm__("" : "+r"(out)); /* or it becomes the call after all */
	}
	if (!(count & 7))
		return;
	if (count & 4) {
		__builtin_memcpy(out, in, 32);
		out += 32;
		in += 32;
	}
	if (count & 2) {
		__builtin_memcpy(out, in, 16);
		out += 16;
		in += 16;
	}
	if (count & 1)
		__builtin_memcpy(out, in, 8);
}

static inline unsigned char *pn_ring_slot(const struct pn_ring *ring, uint64_t position)
{
	return (unsigned char *)(uintptr_t)(ring + 1) +
	       (position & (ring->size - 1)) * PN_RING_ITEM;
}

/* Items from a position to the end of the slots. */
static inline uint64_t pn_ring_to_end(const struct pn_ring *ring, uint64_t position)
{
	return ring->size - (position & (ring->size - 1));
}

static inline void pn_ring_write(
	const struct pn_ring *ring, uint64_t at, const void *items, uint64_t count)
{
	uint64_t first = pn_ring_to_end(ring, at);

	if (__builtin_expect(count <= first, 1)) {
		pn_ring_copy(pn_ring_slot(ring, at), items, count);
		return;
	}
	pn_ring_copy(pn_ring_slot(ring, at), items, first);
	pn_ring_copy(pn_ring_slot(ring, 0), (const unsigned char *)items + first * PN_RING_ITEM,
		count - first);
}

static inline void pn_ring_read(
	const struct pn_ring *ring, uint64_t at, void *items, uint64_t count)
{
	uint64_t first = pn_ring_to_end(ring, at);

	if (__builtin_expect(count <= first, 1)) {
		pn_ring_copy(items, pn_ring_slot(ring, at), count);
		return;
	}
	pn_ring_copy(items, pn_ring_slot(ring, at), first);
	pn_ring_copy((unsigned char *)items + first * PN_RING_ITEM, pn_ring_slot(ring, 0),
		count - first);
}

/*
 * Claim up to count positions at an end where one thread works: *at is the first. lead is how far
 * this end may be ahead of the other: the size for producers, 0 for consumers.
 */
static inline uint64_t pn_ring_claim_single(struct pn_ring_end *end,
	const struct pn_ring_end *other, uint64_t lead, uint64_t count, bool all, uint64_t *at)
{
	uint64_t tail = __atomic_load_n(&end->tail, __ATOMIC_RELAXED);
	uint64_t room = lead + end->seen - tail;

	*at = tail;
	if (__builtin_expect(room >= count, 1))
		return count;
	/* Pairs with the release in pn_ring_publish(): the slots are the other end's no more. */
	end->seen = __atomic_load_n(&other->tail, __ATOMIC_ACQUIRE);
	room = lead + end->seen - tail;
	if (room >= count)
		return count;
	return all ? 0 : room;
}

/*
 * The same where many threads work. The load and the exchange of head are a release and an acquire,
 * so that who comes later sees the other end's tail at least as far as who came before: room is
 * never negative. It is too large when head was read before others moved on, and then the exchange
 * fails.
 */
static inline uint64_t pn_ring_claim_multi(struct pn_ring_end *end, const struct pn_ring_end *other,
	uint64_t lead, uint64_t count, bool all, uint64_t *at)
{
	uint64_t head = __atomic_load_n(&end->head, __ATOMIC_ACQUIRE);
	uint64_t room, take;

	do {
		room = lead + __atomic_load_n(&other->tail, __ATOMIC_ACQUIRE) - head;
		take = count;
		if (room < count)
			take = all ? 0 : room;
		if (!take)
			return 0;
	} while (!__atomic_compare_exchange_n(
		&end->head, &head, head + take, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	*at = head;
	return take;
}

/* Tell the other end that the slots up to position are its own now, after all that came before. */
static inline void pn_ring_publish(
	struct pn_ring_end *end, bool single, uint64_t from, uint64_t position)
{
	/* An acquire, so that what the threads before did is published with this too. */
	if (!single && __atomic_load_n(&end->tail, __ATOMIC_ACQUIRE) != from)
		pn_ring_wait(&end->tail, from);
	__atomic_store_n(&end->tail, position, __ATOMIC_RELEASE);
}

static inline uint64_t pn_ring_put(
	struct pn_ring *ring, const void *items, uint64_t count, bool all)
{
	const bool single = ring->flags & PN_RING_SP;
	uint64_t at = 0;

	if (single)
		count = pn_ring_claim_single(
			&ring->producers, &ring->consumers, ring->size, count, all, &at);
	else
		count = pn_ring_claim_multi(
			&ring->producers, &ring->consumers, ring->size, count, all, &at);
	if (!count)
		return 0;
	pn_ring_write(ring, at, items, count);
	pn_ring_publish(&ring->producers, single, at, at + count);
	return count;
}

static inline uint64_t pn_ring_take(struct pn_ring *ring, void *items, uint64_t count, bool all)
{
	const bool single = ring->flags & PN_RING_SC;
	uint64_t at = 0;

	if (single)
		count = pn_ring_claim_single(
			&ring->consumers, &ring->producers, 0, count, all, &at);
	else
		count = pn_ring_claim_multi(&ring->consumers, &ring->producers, 0, count, all, &at);
	if (!count)
		return 0;
	pn_ring_read(ring, at, items, count);
	pn_ring_publish(&ring->consumers, single, at, at + count);
	return count;
}

/**
 * Enqueue all of the items, or none.
 *
 * @param items count items of 8 bytes: an array of pointers, or of uint64_t
 * @return count, or 0 if there is no room for all.
 * Thread-safety: any thread; with PN_RING_SP one at a time. What a thread wrote before it enqueues
 * is seen by who dequeues. With many producers a thread waits for those that claimed slots before
 * it to have filled them.
 */
static inline uint64_t pn_ring_enqueue_bulk(struct pn_ring *ring, const void *items, uint64_t count)
{
	return pn_ring_put(ring, items, count, true);
}

/** Enqueue as many of the items as there is room for, the first ones. @return how many.
 * Thread-safety: as pn_ring_enqueue_bulk(). */
static inline uint64_t pn_ring_enqueue_burst(
	struct pn_ring *ring, const void *items, uint64_t count)
{
	return pn_ring_put(ring, items, count, false);
}

/** Dequeue count items, oldest first, or none. @return count, or 0 if fewer are there.
 * Thread-safety: any thread; with PN_RING_SC one at a time. */
static inline uint64_t pn_ring_dequeue_bulk(struct pn_ring *ring, void *items, uint64_t count)
{
	return pn_ring_take(ring, items, count, true);
}

/** Dequeue up to count items, oldest first. @return how many. Thread-safety: as
 * pn_ring_dequeue_bulk(). */
static inline uint64_t pn_ring_dequeue_burst(struct pn_ring *ring, void *items, uint64_t count)
{
	return pn_ring_take(ring, items, count, false);
}

#ifdef __cplusplus
}
#endif

#endif
