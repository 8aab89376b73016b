/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unions of page ranges.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "report_spans.h"

int spans_add(struct spans *spans, const struct span *span)
{
	size_t room = spans->room ? 2 * spans->room : 16;
	struct span *list;

	if (spans->count == spans->room) {
		list = realloc(spans->list, room * sizeof(*list));
		if (!list)
			return -ENOMEM;
		spans->list = list;
		spans->room = room;
	}
	spans->list[spans->count++] = *span;
	return 0;
}

int spans_add_all(struct spans *spans, const struct spans *more)
{
	size_t i;
	int ret = 0;

	for (i = 0; i < more->count && !ret; i++)
		ret = spans_add(spans, &more->list[i]);
	return ret;
}

void spans_free(struct spans *spans)
{
	free(spans->list);
	memset(spans, 0, sizeof(*spans));
}

static int compare(const void *left, const void *right)
{
	const struct span *a = left, *b = right;

	if (a->device != b->device)
		return a->device < b->device ? -1 : 1;
	if (a->inode != b->inode)
		return a->inode < b->inode ? -1 : 1;
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return 0;
}

/* Ledgers mostly are, as regions are mapped in ascending order. */
static bool is_sorted(const struct spans *spans)
{
	size_t i;

	for (i = 1; i < spans->count; i++) {
		if (compare(&spans->list[i - 1], &spans->list[i]) > 0)
			return false;
	}
	return true;
}

uint64_t spans_unite(struct spans *spans)
{
	struct span *last, *next;
	uint64_t extra = 0;
	size_t i, n = 0;

	if (!is_sorted(spans))
		qsort(spans->list, spans->count, sizeof(*spans->list), compare);
	for (i = 0; i < spans->count; i++) {
		next = &spans->list[i];
		last = n ? &spans->list[n - 1] : NULL;
		if (!last || last->device != next->device || last->inode != next->inode ||
			last->end < next->start) {
			spans->list[n++] = *next;
			continue;
		}
		extra += (last->end < next->end ? last->end : next->end) - next->start;
		if (last->end < next->end)
			last->end = next->end;
	}
	spans->count = n;
	return extra;
}
