// SPDX-License-Identifier: GPL-2.0-only
/*
 * How often each page is pinned by one owner: see index.h.
 *
 * An entry of the xarray is a value, the count of all pages of the chunk, or a pointer to a table.
 * A chunk has a table for as long as some run covers it in part, so a run that covers it in part
 * finds the table that it made, and taking it away needs no memory.
 */
#include <linux/bits.h>
#include <linux/slab.h>

#include "index.h"

#define CHUNK_SHIFT 9
#define CHUNK_PAGES BIT(CHUNK_SHIFT)
#define MOST	    U16_MAX
#define LOOK_BATCH  512 /* runs */

struct counts {
	unsigned int parts; /* runs that cover the chunk in part */
	u16 count[CHUNK_PAGES];
};

/* The part of a run that lies in one chunk. */
struct piece {
	unsigned long chunk;
	unsigned int first;
	unsigned int n;
};

static struct kmem_cache *counts_cache;

int pinion_index_start(void)
{
	counts_cache = KMEM_CACHE(counts, SLAB_ACCOUNT);
	return counts_cache ? 0 : -ENOMEM;
}

void pinion_index_stop(void)
{
	kmem_cache_destroy(counts_cache);
}

void pinion_index_init(struct pinion_index *index)
{
	mutex_init(&index->lock);
	xa_init_flags(&index->chunks, XA_FLAGS_ACCOUNT);
	index->pages = 0;
}

void pinion_index_destroy(struct pinion_index *index)
{
	WARN_ON_ONCE(!xa_empty(&index->chunks));
	xa_destroy(&index->chunks);
	mutex_destroy(&index->lock);
}

static struct piece piece_at(unsigned long pfn, unsigned long n)
{
	unsigned int first = pfn & (CHUNK_PAGES - 1);

	return (struct piece){
		.chunk = pfn >> CHUNK_SHIFT,
		.first = first,
		.n = min_t(unsigned long, n, CHUNK_PAGES - first),
	};
}

/* The table of a chunk that some run covers in part; made of its value if there is none. */
static struct counts *make_table(struct pinion_index *index, unsigned long chunk)
{
	void *entry = xa_load(&index->chunks, chunk);
	struct counts *table;
	unsigned int i, value;
	int ret;

	if (entry && !xa_is_value(entry))
		return entry;
	table = kmem_cache_alloc(counts_cache, GFP_KERNEL_ACCOUNT);
	if (!table)
		return ERR_PTR(-ENOMEM);
	value = entry ? xa_to_value(entry) : 0;
	table->parts = 0;
	for (i = 0; i < CHUNK_PAGES; i++)
		table->count[i] = value;
	ret = xa_err(xa_store(&index->chunks, chunk, table, GFP_KERNEL_ACCOUNT));
	if (ret) {
		kmem_cache_free(counts_cache, table);
		return ERR_PTR(ret);
	}
	return table;
}

/* Without runs that cover the chunk in part all its counts are the same. */
static void drop_table(struct pinion_index *index, unsigned long chunk, struct counts *table)
{
	void *value = table->count[0] ? xa_mk_value(table->count[0]) : NULL;

	/* The slot is there: nothing is allocated. */
	if (value)
		xa_store(&index->chunks, chunk, value, GFP_KERNEL_ACCOUNT);
	else
		xa_erase(&index->chunks, chunk);
	kmem_cache_free(counts_cache, table);
}

static int add_whole(struct pinion_index *index, unsigned long chunk, void *entry)
{
	unsigned long value = entry ? xa_to_value(entry) : 0;

	if (value == MOST)
		return -EOVERFLOW;
	return xa_err(xa_store(&index->chunks, chunk, xa_mk_value(value + 1), GFP_KERNEL_ACCOUNT));
}

static int add_to_table(struct counts *table, const struct piece *piece, unsigned long *fresh)
{
	u16 *count = table->count + piece->first;
	unsigned int i, found = 0;

	for (i = 0; i < piece->n; i++) {
		if (count[i] == MOST)
			return -EOVERFLOW;
	}
	for (i = 0; i < piece->n; i++)
		found += count[i]++ == 0;
	if (piece->n < CHUNK_PAGES)
		table->parts++;
	*fresh += found;
	return 0;
}

static int add_piece(struct pinion_index *index, const struct piece *piece, unsigned long *fresh)
{
	void *entry = xa_load(&index->chunks, piece->chunk);
	struct counts *table = entry;
	int ret;

	if (piece->n == CHUNK_PAGES && (!entry || xa_is_value(entry))) {
		ret = add_whole(index, piece->chunk, entry);
		if (!ret && !entry)
			*fresh += CHUNK_PAGES;
		return ret;
	}
	table = make_table(index, piece->chunk);
	if (IS_ERR(table))
		return PTR_ERR(table);
	ret = add_to_table(table, piece, fresh);
	if (ret && !table->parts)
		drop_table(index, piece->chunk, table);
	return ret;
}

static unsigned int del_whole(struct pinion_index *index, unsigned long chunk, void *entry)
{
	unsigned long value = xa_to_value(entry);

	if (value == 1) {
		xa_erase(&index->chunks, chunk);
		return CHUNK_PAGES;
	}
	/* The slot is there: nothing is allocated. */
	xa_store(&index->chunks, chunk, xa_mk_value(value - 1), GFP_KERNEL_ACCOUNT);
	return 0;
}

static unsigned int del_piece(struct pinion_index *index, const struct piece *piece)
{
	void *entry = xa_load(&index->chunks, piece->chunk);
	struct counts *table = entry;
	unsigned int i, gone = 0;

	if (WARN_ON_ONCE(!entry))
		return 0;
	if (xa_is_value(entry)) {
		if (WARN_ON_ONCE(piece->n != CHUNK_PAGES))
			return 0;
		return del_whole(index, piece->chunk, entry);
	}
	for (i = piece->first; i < piece->first + piece->n; i++)
		gone += --table->count[i] == 0;
	if (piece->n < CHUNK_PAGES && !--table->parts)
		drop_table(index, piece->chunk, table);
	return gone;
}

/* Adds to chunks that a run covers whole, up to the first that has a table; how many these were. */
static unsigned long add_wholes(struct pinion_index *index, unsigned long chunk, unsigned long n,
				unsigned long *fresh)
{
	XA_STATE(xas, &index->chunks, chunk);
	unsigned long done = 0;
	void *entry;

	xas_lock(&xas);
	for (entry = xas_load(&xas); done < n; entry = xas_next(&xas)) {
		unsigned long value = entry ? xa_to_value(entry) : 0;

		if (entry && (!xa_is_value(entry) || value == MOST))
			break;
		xas_store(&xas, xa_mk_value(value + 1));
		/* No room in the tree, without allocating under its lock. */
		if (xas_error(&xas))
			break;
		if (!value)
			*fresh += CHUNK_PAGES;
		done++;
	}
	xas_unlock(&xas);
	return done;
}

/* The same for taking away. */
static unsigned long del_wholes(struct pinion_index *index, unsigned long chunk, unsigned long n,
				unsigned long *gone)
{
	XA_STATE(xas, &index->chunks, chunk);
	unsigned long done = 0;
	void *entry;

	xas_lock(&xas);
	for (entry = xas_load(&xas); done < n; entry = xas_next(&xas)) {
		if (!xa_is_value(entry))
			break;
		if (xa_to_value(entry) == 1)
			*gone += CHUNK_PAGES;
		xas_store(&xas,
			  xa_to_value(entry) == 1 ? NULL : xa_mk_value(xa_to_value(entry) - 1));
		done++;
	}
	xas_unlock(&xas);
	return done;
}

static unsigned long del_run(struct pinion_index *index, unsigned long pfn, unsigned long n)
{
	unsigned long gone = 0, chunks;
	struct piece piece;

	while (n) {
		if (pfn % CHUNK_PAGES == 0 && n >= CHUNK_PAGES) {
			chunks = del_wholes(index, pfn >> CHUNK_SHIFT, n >> CHUNK_SHIFT, &gone);
			pfn += chunks << CHUNK_SHIFT;
			n -= chunks << CHUNK_SHIFT;
			if (chunks)
				continue;
		}
		piece = piece_at(pfn, n);
		gone += del_piece(index, &piece);
		pfn += piece.n;
		n -= piece.n;
	}
	return gone;
}

static int add_run(struct pinion_index *index, unsigned long first, unsigned long total,
		   unsigned long *fresh)
{
	unsigned long done = 0, chunks;
	struct piece piece;
	int ret;

	while (done < total) {
		if ((first + done) % CHUNK_PAGES == 0 && total - done >= CHUNK_PAGES) {
			chunks = add_wholes(index, (first + done) >> CHUNK_SHIFT,
					    (total - done) >> CHUNK_SHIFT, fresh);
			done += chunks << CHUNK_SHIFT;
			if (chunks)
				continue;
		}
		piece = piece_at(first + done, total - done);
		ret = add_piece(index, &piece, fresh);
		if (ret) {
			*fresh -= del_run(index, first, done);
			return ret;
		}
		done += piece.n;
	}
	return 0;
}

int pinion_index_add(struct pinion_index *index, const struct pinion_runs *runs,
		     const struct pinion_toll *toll, unsigned long *fresh)
{
	unsigned long found = 0;
	unsigned int i;
	int ret = 0;

	mutex_lock(&index->lock);
	for (i = 0; i < runs->nr && !ret; i++) {
		if (run_is_hole(runs->run[i]))
			continue;
		ret = add_run(index, run_pfn(runs->run[i]), run_pages(runs->run[i]), &found);
		if (ret)
			break;
		cond_resched();
	}
	if (!ret && toll)
		ret = toll->call(toll->arg, found);
	if (ret) {
		while (i--) {
			if (!run_is_hole(runs->run[i]))
				del_run(index, run_pfn(runs->run[i]), run_pages(runs->run[i]));
			cond_resched();
		}
	} else {
		index->pages += found;
		*fresh = found;
	}
	mutex_unlock(&index->lock);
	return ret;
}

unsigned long pinion_index_del(struct pinion_index *index, const struct pinion_runs *runs)
{
	unsigned long gone = 0;
	unsigned int i;

	mutex_lock(&index->lock);
	for (i = 0; i < runs->nr; i++) {
		if (!run_is_hole(runs->run[i]))
			gone += del_run(index, run_pfn(runs->run[i]), run_pages(runs->run[i]));
		cond_resched();
	}
	index->pages -= gone;
	mutex_unlock(&index->lock);
	return gone;
}

static bool piece_has(struct pinion_index *index, const struct piece *piece)
{
	void *entry = xa_load(&index->chunks, piece->chunk);
	struct counts *table = entry;
	unsigned int i;

	if (!entry || xa_is_value(entry))
		return entry;
	for (i = piece->first; i < piece->first + piece->n; i++) {
		if (table->count[i])
			return true;
	}
	return false;
}

static bool run_has(struct pinion_index *index, unsigned long pfn, unsigned long n)
{
	while (n) {
		struct piece piece = piece_at(pfn, n);

		if (piece_has(index, &piece))
			return true;
		pfn += piece.n;
		n -= piece.n;
	}
	return false;
}

bool pinion_index_has(struct pinion_index *index, unsigned long pfn)
{
	bool has;

	mutex_lock(&index->lock);
	has = run_has(index, pfn, 1);
	mutex_unlock(&index->lock);
	return has;
}

/*
 * All users of the module have one index of exclusive pins: nobody holds its lock for long. What
 * must not come between is a look at one page only.
 */
bool pinion_index_overlaps(struct pinion_index *index, const struct pinion_runs *runs)
{
	bool has = false;
	unsigned int i = 0, end;

	while (i < runs->nr && !has) {
		end = min(runs->nr, i + LOOK_BATCH);
		mutex_lock(&index->lock);
		if (!index->pages) {
			end = runs->nr;
			i = end;
		}
		for (; i < end && !has; i++)
			has = !run_is_hole(runs->run[i]) &&
			      run_has(index, run_pfn(runs->run[i]), run_pages(runs->run[i]));
		mutex_unlock(&index->lock);
		cond_resched();
	}
	return has;
}
