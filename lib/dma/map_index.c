/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mapping index: two sorted lists of the same records, changed under a sequence count. Records,
 * buckets and outgrown arrays stay readable until the index is freed, so a reader that meets a
 * change halfway sees a mixture, finds that the count has moved and starts again.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "map_index.h"

#define SLAB_RECORDS 64u
/* Then the writer has probably lost its processor. */
#define SPINS 1024u

struct mapping_slab {
	struct mapping_slab *next;
	struct mapping records[SLAB_RECORDS];
};

static uint64_t pointer_word(const struct mapping *mapping)
{
	return (uint64_t)(uintptr_t)mapping;
}

static struct mapping *record(uint64_t word)
{
	return (struct mapping *)(uintptr_t)word;
}

static uint64_t weigh_vaddr(uint64_t key, uint64_t value)
{
	return key + (record(value)->len - 1);
}

void map_index_init(struct map_index *index)
{
	memset(index, 0, sizeof(*index));
	index->by_vaddr.weigh = weigh_vaddr;
	index->by_vaddr.reach = true;
}

void map_index_free(struct map_index *index)
{
	struct mapping_slab *slab;

	sorted_free(&index->by_iova);
	sorted_free(&index->by_vaddr);
	while ((slab = index->slabs)) {
		index->slabs = slab->next;
		free(slab);
	}
	index->unused = NULL;
	index->unused_count = 0;
}

static int add_slab(struct map_index *index)
{
	struct mapping_slab *slab = calloc(1, sizeof(*slab));
	unsigned int i;

	if (!slab)
		return -ENOMEM;
	slab->next = index->slabs;
	index->slabs = slab;
	for (i = SLAB_RECORDS; i-- > 0;)
		map_index_drop(index, &slab->records[i]);
	return 0;
}

struct mapping *map_index_new(struct map_index *index)
{
	struct mapping *mapping;

	if (!index->unused && add_slab(index))
		return NULL;
	mapping = index->unused;
	index->unused = mapping->link;
	index->unused_count--;
	mapping->region = NULL;
	mapping->link = NULL;
	mapping->slot = 0;
	mapping->prot = mapping->counters = mapping->flags = 0;
	mapping->in_kernel = false;
	return mapping;
}

void map_index_drop(struct map_index *index, struct mapping *mapping)
{
	mapping->link = index->unused;
	index->unused = mapping;
	index->unused_count++;
}

static int reserve_lists(struct map_index *index, size_t n)
{
	size_t count = map_index_count(index);

	if (n > SIZE_MAX / sizeof(struct mapping) - count ||
		sorted_reserve(&index->by_iova, count + n) ||
		sorted_reserve(&index->by_vaddr, count + n))
		return -ENOMEM;
	return 0;
}

int map_index_reserve(struct map_index *index, size_t n)
{
	if (reserve_lists(index, n))
		return -ENOMEM;
	while (index->unused_count < n) {
		if (add_slab(index))
			return -ENOMEM;
	}
	return 0;
}

/* Release order: who sees a word that was stored after this one sees the odd count, too. */
static void begin_change(struct map_index *index)
{
	__atomic_store_n(&index->changes, index->changes + 1, __ATOMIC_RELAXED);
}

static void end_change(struct map_index *index)
{
	sorted_store(&index->changes, index->changes + 1);
}

int map_index_add(struct map_index *index, struct mapping *mapping)
{
	uint64_t word = pointer_word(mapping);
	struct sorted_at by_iova, by_vaddr;

	if (reserve_lists(index, 1))
		return -ENOMEM;
	by_iova = sorted_place(&index->by_iova, mapping->iova, word);
	by_vaddr = sorted_place(&index->by_vaddr, mapping->vaddr, word);
	begin_change(index);
	sorted_add(&index->by_iova, by_iova, mapping->iova, word);
	sorted_add(&index->by_vaddr, by_vaddr, mapping->vaddr, word);
	end_change(index);
	index->bytes += mapping->len;
	return 0;
}

static struct sorted_at iova_place(struct map_index *index, const struct mapping *mapping)
{
	if (sorted_is_near(&index->by_iova, pointer_word(mapping)))
		return index->by_iova.near;
	return sorted_find(&index->by_iova, mapping->iova, pointer_word(mapping));
}

void map_index_remove(struct map_index *index, struct mapping *mapping)
{
	struct sorted_at by_iova = iova_place(index, mapping), by_vaddr;

	by_vaddr = sorted_find(&index->by_vaddr, mapping->vaddr, pointer_word(mapping));
	begin_change(index);
	sorted_remove(&index->by_iova, by_iova);
	sorted_remove(&index->by_vaddr, by_vaddr);
	end_change(index);
	index->bytes -= mapping->len;
}

static struct mapping *record_at(const struct map_index *index, struct sorted_at at)
{
	return sorted_is(&index->by_iova, at) ? record(sorted_value(&index->by_iova, at)) : NULL;
}

struct mapping *map_index_at_or_after(struct map_index *index, uint64_t iova)
{
	struct sorted_at at = sorted_find(&index->by_iova, iova, UINT64_MAX), prev;
	struct mapping *before;

	prev = sorted_prev(&index->by_iova, at);
	before = record_at(index, prev);
	if (!before || mapping_iova_last(before) < iova)
		return record_at(index, at);
	index->by_iova.near = prev;
	return before;
}

struct mapping *map_index_first(const struct map_index *index)
{
	return record_at(index, sorted_first(&index->by_iova));
}

struct mapping *map_index_last(const struct map_index *index)
{
	return record_at(index, sorted_last(&index->by_iova));
}

struct mapping *map_index_next(struct map_index *index, const struct mapping *mapping)
{
	return record_at(index, sorted_next(&index->by_iova, iova_place(index, mapping)));
}

struct mapping *map_index_prev(struct map_index *index, const struct mapping *mapping)
{
	return record_at(index, sorted_prev(&index->by_iova, iova_place(index, mapping)));
}

/*
 * Readers from here on. Every loop ends, whatever the words are: it goes over the slots of a bucket
 * or the buckets of a top, one way. Those that may be long look at the count of changes, too.
 */

/* What a reader sees of a mapping. */
struct seen {
	uint64_t iova;
	uint64_t vaddr;
	uint64_t len;
};

static inline struct seen see(uint64_t word)
{
	const struct mapping *mapping = record(word);

	return (struct seen){sorted_load(&mapping->iova), sorted_load(&mapping->vaddr),
		sorted_load(&mapping->len)};
}

/* In a slot; one that never had a value is seen as a mapping of no bytes. */
static inline struct seen see_slot(const struct sorted_bucket *bucket, size_t slot)
{
	uint64_t word = sorted_load(&bucket->value[slot]);

	return word ? see(word) : (struct seen){0, 0, 0};
}

static inline bool changed(const struct map_index *index, uint64_t changes)
{
	return sorted_load(&index->changes) != changes;
}

static uint64_t wait_for_writer(const struct map_index *index)
{
	unsigned int i = 0;
	uint64_t changes;

	while ((changes = sorted_load(&index->changes)) & 1) {
		if (++i % SPINS == 0)
			sched_yield();
		else
			pn_cpu_relax();
	}
	return changes;
}

/* Where a reader looks on after the pair that it was at. */
struct cursor {
	const struct sorted_top *top;
	const struct sorted_bucket *bucket;
	size_t at;
	size_t slot; /* behind the last pair that is not above the key */
};

/* False: no pair is at or before the key. */
static bool find_cursor(const struct sorted *list, uint64_t key, struct cursor *cursor)
{
	const struct sorted_top *top = sorted_load(&list->top);
	size_t end, at;

	if (!top)
		return false;
	end = sorted_load(&top->end);
	at = sorted_search_top(top, key);
	cursor->top = top;
	/* There is a slot before the first bucket. */
	cursor->at = at < end ? at : end - 1;
	cursor->bucket = sorted_load(&top->bucket[cursor->at]);
	cursor->slot = sorted_behind(cursor->bucket, key);
	return cursor->slot > sorted_load(&cursor->bucket->start);
}

/* Are both addresses mapped to each other, and so on for len bytes? */
static bool goes_on(const struct map_index *index, uint64_t changes, uint64_t iova, uint64_t vaddr,
	uint64_t len)
{
	struct cursor cursor;
	struct seen seen;

	if (!find_cursor(&index->by_iova, iova, &cursor))
		return false;
	cursor.slot--;
	/* 0 is behind the last address. */
	while (iova && vaddr && !changed(index, changes)) {
		if (cursor.slot >= sorted_load(&cursor.bucket->end)) {
			if (++cursor.at >= sorted_load(&cursor.top->end))
				return false;
			cursor.bucket = sorted_load(&cursor.top->bucket[cursor.at]);
			cursor.slot = sorted_load(&cursor.bucket->start);
			continue;
		}
		seen = see_slot(cursor.bucket, cursor.slot++);
		if (seen.iova != iova || seen.vaddr != vaddr)
			return false;
		if (seen.len >= len)
			return true;
		len -= seen.len;
		iova += seen.len;
		vaddr += seen.len;
	}
	return false;
}

/* Is this mapping long enough to hold an offset, and is it mapped on for len bytes from there? */
static bool run_from(const struct map_index *index, uint64_t changes, const struct seen *seen,
	uint64_t offset, uint64_t len)
{
	uint64_t left = seen->len - offset;

	if (offset >= seen->len)
		return false;
	return left >= len ||
	       goes_on(index, changes, seen->iova + seen->len, seen->vaddr + seen->len, len - left);
}

/* All that hold vaddr, until one goes on. */
static int find_iova(const struct map_index *index, uint64_t changes, uint64_t vaddr, uint64_t len,
	uint64_t *iova)
{
	struct cursor cursor;
	struct seen seen;

	if (!find_cursor(&index->by_vaddr, vaddr, &cursor))
		return -ENOENT;
	if (sorted_load(&cursor.top->weight[cursor.at]) < vaddr)
		cursor.slot = 0;
	while (!changed(index, changes)) {
		if (cursor.slot <= sorted_load(&cursor.bucket->start)) {
			cursor.at = sorted_heavy_before(cursor.top, cursor.at, vaddr);
			if (cursor.at == SORTED_NONE)
				break;
			cursor.bucket = sorted_load(&cursor.top->bucket[cursor.at]);
			cursor.slot = sorted_load(&cursor.bucket->end);
			continue;
		}
		seen = see_slot(cursor.bucket, --cursor.slot);
		if (run_from(index, changes, &seen, vaddr - seen.vaddr, len)) {
			*iova = seen.iova + (vaddr - seen.vaddr);
			return 0;
		}
	}
	return -ENOENT;
}

static int find_vaddr(const struct map_index *index, uint64_t changes, uint64_t iova, uint64_t len,
	uint64_t *vaddr)
{
	struct cursor cursor;
	struct seen seen;

	if (!find_cursor(&index->by_iova, iova, &cursor))
		return -ENOENT;
	seen = see_slot(cursor.bucket, cursor.slot - 1);
	if (!run_from(index, changes, &seen, iova - seen.iova, len))
		return -ENOENT;
	*vaddr = seen.vaddr + (iova - seen.iova);
	return 0;
}

/* What does not end within one mapping, or met a change. */
static __attribute__((noinline)) int look_on(const struct map_index *index,
	int (*find)(const struct map_index *, uint64_t, uint64_t, uint64_t, uint64_t *),
	uint64_t address, uint64_t len, uint64_t *out)
{
	uint64_t changes, found;
	int ret;

	if (!len)
		return -ENOENT;
	do {
		changes = wait_for_writer(index);
		ret = find(index, changes, address, len, &found);
	} while (changed(index, changes));
	if (!ret)
		*out = found;
	return ret;
}

static inline bool holds(const struct seen *seen, uint64_t offset, uint64_t len)
{
	return offset < seen->len && len - 1 < seen->len - offset;
}

int map_index_iova(const struct map_index *index, uint64_t vaddr, uint64_t len, uint64_t *iova)
{
	uint64_t changes = sorted_load(&index->changes) & ~UINT64_C(1), word, offset;
	struct seen seen;

	word = sorted_floor(&index->by_vaddr, vaddr);
	if (word) {
		seen = see(word);
		offset = vaddr - seen.vaddr;
		if (holds(&seen, offset, len) && !changed(index, changes)) {
			*iova = seen.iova + offset;
			return 0;
		}
	}
	return look_on(index, find_iova, vaddr, len, iova);
}

int map_index_vaddr(const struct map_index *index, uint64_t iova, uint64_t len, uint64_t *vaddr)
{
	uint64_t changes = sorted_load(&index->changes) & ~UINT64_C(1), word, offset;
	struct seen seen;

	word = sorted_floor(&index->by_iova, iova);
	if (word) {
		seen = see(word);
		offset = iova - seen.iova;
		if (holds(&seen, offset, len) && !changed(index, changes)) {
			*vaddr = seen.vaddr + offset;
			return 0;
		}
	}
	return look_on(index, find_vaddr, iova, len, vaddr);
}
