/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From a range of addresses or of a file to its pages: pinned, or only looked at.
 */
#ifndef PINION_PAGES_H
#define PINION_PAGES_H

#include <linux/fs.h>

#include "runs.h"

/* Pages that are handled before a lock is let go. */
#define PINION_BATCH 512

struct pinion_range {
	struct file *file; /* NULL for addresses of the caller */
	u64 start; /* address or offset, in bytes */
	unsigned long pages;
};

/* Checks what the caller asks for; takes a reference to the file. */
int pinion_range_get(struct pinion_range *range, u64 start, u64 length, bool of_file, int fd,
		     bool write);
void pinion_range_put(struct pinion_range *range);

/* What is called when a batch has been pinned and is in the runs; an error is the end of it. */
struct pinion_taken {
	int (*call)(void *arg);
	void *arg;
};

/*
 * Pins the whole range for long, in batches. After an error runs has what is pinned nevertheless.
 * *by_folio: each folio has one pin, however many of its pages are in the range. taken or NULL.
 */
int pinion_range_pin(const struct pinion_range *range, bool write, struct pinion_runs *runs,
		     bool *by_folio, const struct pinion_taken *taken);

/*
 * The pages that are there, without bringing any in: at most PINION_BATCH from page first on, with
 * a reference each; NULL where there is none. pinion_put_pages() gives the references back.
 */
void pinion_range_peek(const struct pinion_range *range, unsigned long first, unsigned long n,
		       struct page **pages);
/* The same for addresses, but only pages that can be written without a page fault. */
void pinion_range_peek_writable(const struct pinion_range *range, unsigned long first,
				unsigned long n, struct page **pages);
void pinion_put_pages(struct page **pages, unsigned long n);

/* How many pins a folio has; a small one with very many other references more than it has. */
unsigned int pinion_folio_pins(struct folio *folio);

#endif
