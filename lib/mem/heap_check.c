/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A heap that checks: red zones before and behind each block, and a pattern in what is free. What
 * was written over is found when a block is given back, when free memory is handed out again, and
 * by pn_heap_check(), with where it was.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "heap_priv.h"

#define RED_ZONE 0xb7

uint64_t pn_heap_check_room(uint64_t bytes, uint64_t align, uint64_t *front)
{
	*front = align > HEAP_ALIGN ? align : HEAP_ALIGN;
	return *front + pn_align_up(bytes, HEAP_ALIGN) + HEAP_ALIGN;
}

void pn_heap_check_fill(struct heap_part *part, uint64_t offset, uint64_t len)
{
	memset(part->vaddr + offset, PN_POISON, len);
}

static unsigned char *front_of(const struct extent *extent)
{
	return (unsigned char *)extent->part->vaddr + extent->offset;
}

/* The red zone behind begins at the first byte that was not asked for. */
static uint64_t behind(const struct extent *extent)
{
	return extent->len - extent->front - extent->asked;
}

void pn_heap_check_arm(const struct extent *extent)
{
	unsigned char *front = front_of(extent);

	memset(front, RED_ZONE, extent->front);
	memset(front + extent->front + extent->asked, RED_ZONE, behind(extent));
}

/* The first byte that is not what it should be, or NULL. */
static const unsigned char *find_other(const unsigned char *at, uint64_t len, unsigned char byte)
{
	/* Each byte is the one before it. */
	if (!len || (at[0] == byte && !memcmp(at, at + 1, len - 1)))
		return NULL;
	while (*at == byte)
		at++;
	return at;
}

int pn_heap_check_block(const struct extent *extent)
{
	const unsigned char *front = front_of(extent), *block = front + extent->front, *found;

	found = find_other(front, extent->front, RED_ZONE);
	if (found)
		return pn_fail(EUCLEAN,
			"somebody wrote %td bytes before the block at %p (%" PRIu64
			" bytes) of the heap on region \"%s\": 0x%02x",
			block - found, (const void *)block, extent->asked,
			extent->part->region->name, *found);
	found = find_other(block + extent->asked, behind(extent), RED_ZONE);
	if (found)
		return pn_fail(EUCLEAN,
			"somebody wrote %td bytes behind the end of the block at %p (%" PRIu64
			" bytes) of the heap on region \"%s\": 0x%02x",
			found - block - (ptrdiff_t)extent->asked, (const void *)block,
			extent->asked, extent->part->region->name, *found);
	return 0;
}

int pn_heap_check_free(const struct extent *extent)
{
	const unsigned char *found = find_other(front_of(extent), extent->len, PN_POISON);

	if (!found)
		return 0;
	return pn_fail(EUCLEAN,
		"somebody wrote to %p of the heap on region \"%s\", where no block is: 0x%02x",
		(const void *)found, extent->part->region->name, *found);
}
