/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sets of pages as a few runs: which pages of an area are written to, or locked.
 */
#include "model_priv.h"

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

uint64_t runs_within(const struct runs *runs, uint64_t first, uint64_t end)
{
	uint64_t pages = 0, from, to;

	for (uint32_t i = 0; i < runs->count; i++) {
		from = most(first, runs->run[i].first);
		to = least(end, runs->run[i].end);
		if (from < to)
			pages += to - from;
	}
	return pages;
}

static int append(struct runs *runs, uint64_t first, uint64_t end)
{
	if (first >= end)
		return 0;
	if (runs->count == RUNS_MAX)
		return -ENOBUFS;
	runs->run[runs->count++] = (struct run){first, end};
	return 0;
}

int runs_add(struct runs *runs, uint64_t first, uint64_t end)
{
	struct runs after = {0};
	bool placed = first >= end;
	int ret = 0;

	for (uint32_t i = 0; i < runs->count && !ret; i++) {
		const struct run *run = &runs->run[i];

		if (!placed && first <= run->end && run->first <= end) {
			first = least(first, run->first);
			end = most(end, run->end);
			continue;
		}
		if (!placed && end < run->first) {
			ret = append(&after, first, end);
			placed = true;
		}
		if (!ret)
			ret = append(&after, run->first, run->end);
	}
	if (!ret && !placed)
		ret = append(&after, first, end);
	if (!ret)
		*runs = after;
	return ret;
}

int runs_remove(struct runs *runs, uint64_t first, uint64_t end)
{
	struct runs after = {0};

	if (first >= end)
		return 0;
	for (uint32_t i = 0; i < runs->count; i++) {
		const struct run *run = &runs->run[i];

		if (append(&after, run->first, least(run->end, first)) ||
			append(&after, most(run->first, end), run->end))
			return -ENOBUFS;
	}
	*runs = after;
	return 0;
}
