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

void *pn_map_somewhere(uint64_t size, int prot, int fd, uint64_t offset)
{
	uint64_t skew = offset & (SLOT_SIZE - 1), slot;
	unsigned int start = 0, i;
	void *want, *got;

	/* Where it starts is random, so that addresses of DMA memory cannot be guessed from one run
	 * to the next. */
	if (getrandom(&start, sizeof(start), GRND_NONBLOCK) < 0)
		start = (unsigned int)getpid();
	for (i = 0; i < SLOT_COUNT && size <= SLOT_COUNT * SLOT_SIZE / 2; i++) {
		slot = SLOT_FIRST + (start + i) % SLOT_COUNT;
		if (slot + (skew + size + SLOT_SIZE - 1) / SLOT_SIZE > SLOT_FIRST + SLOT_COUNT)
			continue;
		want = (void *)(uintptr_t)(slot * SLOT_SIZE + skew);
		got = mmap(want, size, prot, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, (off_t)offset);
		if (got == want)
			return got;
		if (got != MAP_FAILED)
			munmap(got, size);
		else if (errno != EEXIST)
			return got;
	}
	return mmap(NULL, size, prot, MAP_SHARED, fd, (off_t)offset);
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
