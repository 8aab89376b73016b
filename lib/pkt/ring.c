/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making rings, finding those that others made, and waiting for a slower thread at the same end.
 * Items go in and out in pn_ring.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "pn_ring.h"

/* "pn ring1": the layout of struct pn_ring, which processes share. */
#define MAGIC UINT64_C(0x706e2072696e6731)

bool pn_ring_wide;

/* Before anyone has a ring or a pool. */
static __attribute__((constructor)) void look_at_processor(void)
{
#if defined(__x86_64__)
	__builtin_cpu_init();
	pn_ring_wide = __builtin_cpu_supports("avx2");
#endif
}

static int check_size(uint64_t size)
{
	if (!pn_is_pow2(size) || size > PN_RING_SIZE_MAX)
		return pn_fail(EINVAL,
			"a ring of %" PRIu64 " items: must be a power of two, 1 to %" PRIu64, size,
			PN_RING_SIZE_MAX);
	return 0;
}

static int check_flags(unsigned int flags)
{
	if (flags & ~(PN_RING_SP | PN_RING_SC))
		return pn_fail(
			EINVAL, "a ring with flags 0x%x: PN_RING_SP and PN_RING_SC exist", flags);
	return 0;
}

static int check_memory(const void *memory, uint64_t bytes, uint64_t needed)
{
	if (!memory || (uintptr_t)memory % _Alignof(struct pn_ring))
		return pn_fail(EINVAL, "a ring at %p: must be aligned to %zu bytes", memory,
			_Alignof(struct pn_ring));
	if (bytes < needed)
		return pn_fail(EINVAL, "a ring of %" PRIu64 " bytes in %" PRIu64 " bytes of memory",
			needed, bytes);
	return 0;
}

uint64_t pn_ring_bytes(uint64_t size)
{
	if (!pn_is_pow2(size) || size > PN_RING_SIZE_MAX)
		return 0;
	return pn_align_up(sizeof(struct pn_ring) + size * PN_RING_ITEM, _Alignof(struct pn_ring));
}

int pn_ring_init(
	struct pn_ring **out, void *memory, uint64_t bytes, uint64_t size, unsigned int flags)
{
	struct pn_ring *ring = memory;
	int ret = check_size(size);

	if (!ret)
		ret = check_flags(flags);
	if (!ret)
		ret = check_memory(memory, bytes, pn_ring_bytes(size));
	if (ret)
		return ret;
	if (!out)
		return pn_fail(EINVAL, "nowhere to put the ring");
	__atomic_store_n(&ring->magic, 0, __ATOMIC_RELAXED);
	ring->flags = flags;
	ring->size = size;
	memset(&ring->producers, 0, sizeof(ring->producers));
	memset(&ring->consumers, 0, sizeof(ring->consumers));
	__atomic_store_n(&ring->magic, MAGIC, __ATOMIC_RELEASE);
	*out = ring;
	return 0;
}

int pn_ring_attach(struct pn_ring **out, void *memory, uint64_t bytes)
{
	struct pn_ring *ring = memory;
	uint64_t magic;
	int ret = check_memory(memory, bytes, sizeof(*ring));

	if (ret)
		return ret;
	if (!out)
		return pn_fail(EINVAL, "nowhere to put the ring");
	magic = __atomic_load_n(&ring->magic, __ATOMIC_ACQUIRE);
	if (!magic)
		return pn_fail(EAGAIN, "no ring at %p yet", memory);
	if (magic != MAGIC)
		return pn_fail(EINVAL, "what is at %p is no ring of this version", memory);
	ret = check_size(ring->size);
	if (!ret)
		ret = check_flags(ring->flags);
	if (!ret)
		ret = check_memory(memory, bytes, pn_ring_bytes(ring->size));
	if (!ret)
		*out = ring;
	return ret;
}

int pn_ring_create(struct pn_ring **out, uint64_t size, unsigned int flags)
{
	void *memory;
	int ret = check_size(size);

	if (ret)
		return ret;
	memory = aligned_alloc(_Alignof(struct pn_ring), pn_ring_bytes(size));
	if (!memory)
		return pn_fail(ENOMEM, "no memory for a ring of %" PRIu64 " items", size);
	ret = pn_ring_init(out, memory, pn_ring_bytes(size), size, flags);
	if (ret)
		free(memory);
	return ret;
}

void pn_ring_destroy(struct pn_ring *ring)
{
	free(ring);
}

/*
 * Who is waited for copies a few items; when it takes longer than that it has lost its processor,
 * and may be waiting for this one.
 */
void pn_ring_wait(const uint64_t *tail, uint64_t head)
{
	unsigned int spins = 0;

	while (__atomic_load_n(tail, __ATOMIC_ACQUIRE) != head) {
		if (++spins % 256 == 0)
			sched_yield();
		else
			pn_cpu_relax();
	}
}
