/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the memory of a region is: its addresses, its node, and that its pages are there.
 */
#include <errno.h>
#include <numaif.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "base_priv.h"
#include "mem_priv.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/*
 * Regions are put between 64 GiB and 448 GiB where they can be: such an address is a valid IOVA for
 * an IOMMU with 39 address bits as well, so that IOVA = VA. One slot is 1 GiB, so a region of 1 GiB
 * pages is aligned.
 */
#define SLOT_SIZE  PN_PAGE_1G
#define SLOT_FIRST 64u
#define SLOT_COUNT 384u

/* Put a guard where nothing is. */
static bool guard_at(char *at, uint64_t guard)
{
	void *got = mmap(at, guard, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	if (got == at)
		return true;
	if (got != MAP_FAILED)
		munmap(got, guard);
	return false;
}

/* Both guards, or none. */
static bool guard_around(char *vaddr, uint64_t size, uint64_t guard)
{
	if (!guard)
		return true;
	if (!guard_at(vaddr - guard, guard))
		return false;
	if (guard_at(vaddr + size, guard))
		return true;
	munmap(vaddr - guard, guard);
	return false;
}

/* Map at this address if it and what the guards need is free; MAP_FAILED, with EEXIST if not. */
static void *map_at(char *want, uint64_t size, int prot, int fd, uint64_t offset, uint64_t guard)
{
	char *got = mmap(want, size, prot, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, (off_t)offset);

	if (got == MAP_FAILED)
		return got;
	if (got == want && guard_around(want, size, guard))
		return got;
	munmap(got, size);
	errno = EEXIST;
	return MAP_FAILED;
}

/* Wherever there is room, with the guards: in the middle of what is reserved for all. */
static void *map_anywhere(uint64_t size, int prot, int fd, uint64_t offset, uint64_t guard)
{
	const uint64_t room = size + 2 * SLOT_SIZE;
	char *start, *at;

	if (!guard)
		return mmap(NULL, size, prot, MAP_SHARED, fd, (off_t)offset);
	start = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (start == MAP_FAILED)
		return start;
	at = (char *)(uintptr_t)pn_align_up((uint64_t)(uintptr_t)start + guard, SLOT_SIZE);
	munmap(start, room);
	/* Another thread may have been faster: then it fails, as it does without memory. */
	return map_at(at, size, prot, fd, offset, guard);
}

void *pn_map_guarded(uint64_t size, int prot, int fd, uint64_t offset, uint64_t guard)
{
	uint64_t skew = offset & (SLOT_SIZE - 1), slot;
	unsigned int start = 0, i;
	void *got;

	/* Where it starts is random, so that addresses of DMA memory cannot be guessed from one run
	 * to the next. */
	if (getrandom(&start, sizeof(start), GRND_NONBLOCK) < 0)
		start = (unsigned int)getpid();
	for (i = 0; i < SLOT_COUNT && size <= SLOT_COUNT * SLOT_SIZE / 2; i++) {
		slot = SLOT_FIRST + (start + i) % SLOT_COUNT;
		if (slot + (skew + size + SLOT_SIZE - 1) / SLOT_SIZE > SLOT_FIRST + SLOT_COUNT)
			continue;
		got = map_at((char *)(uintptr_t)(slot * SLOT_SIZE + skew), size, prot, fd, offset,
			guard);
		if (got != MAP_FAILED || errno != EEXIST)
			return got;
	}
	return map_anywhere(size, prot, fd, offset, guard);
}

void *pn_map_somewhere(uint64_t size, int prot, int fd, uint64_t offset)
{
	return pn_map_guarded(size, prot, fd, offset, 0);
}

void pn_unmap_guarded(void *vaddr, uint64_t size, uint64_t guard)
{
	munmap((char *)vaddr - guard, size + 2 * guard);
}

int pn_node_of(void *vaddr)
{
	int node = PN_NODE_ANY;

	if (get_mempolicy(&node, NULL, 0, vaddr, MPOL_F_NODE | MPOL_F_ADDR))
		return PN_NODE_ANY;
	return node;
}

int pn_populate(void *vaddr, uint64_t len, bool write)
{
	return madvise(vaddr, len, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) ? -errno : 0;
}
