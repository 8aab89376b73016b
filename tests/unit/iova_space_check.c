/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The naive model of a space of IOVAs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "iova_space_check.h"
#include "sorted_check.h"

static bool in_one_range(const struct model *model, uint64_t iova, uint64_t len)
{
	for (unsigned int i = 0; i < model->range_count; i++)
		if (iova >= model->ranges[i].first && iova <= model->ranges[i].last &&
			len - 1 <= model->ranges[i].last - iova)
			return true;
	return false;
}

int model_take(const struct model *model, uint64_t iova, uint64_t len)
{
	if (!len || !in_one_range(model, iova, len))
		return -EINVAL;
	for (size_t i = 0; i < model->count; i++)
		if (iova <= model->pieces[i].last && model->pieces[i].first <= iova + (len - 1))
			return -EEXIST;
	return 0;
}

/* The lowest multiple of align in [first, last] with room for len. Careful in another way: page
 * numbers of the alignment, and no sum that could be too large. */
static bool gap_fits(uint64_t first, uint64_t last, uint64_t len, uint64_t align, uint64_t *iova)
{
	uint64_t number;

	first = first < 4096 ? 4096 : first;
	if (first > last)
		return false;
	number = first / align + (first % align != 0);
	if (number > last / align || last - number * align < len - 1)
		return false;
	*iova = number * align;
	return true;
}

int model_alloc(const struct model *model, uint64_t len, uint64_t align, uint64_t *iova)
{
	for (unsigned int r = 0; r < model->range_count; r++) {
		uint64_t first = model->ranges[r].first, last = model->ranges[r].last;
		bool full = false;

		for (size_t i = 0; i < model->count && !full; i++) {
			const struct piece *piece = &model->pieces[i];

			if (piece->last < first)
				continue;
			if (piece->first > last)
				break;
			if (piece->first > first &&
				gap_fits(first, piece->first - 1, len, align, iova))
				return 0;
			full = piece->last >= last;
			first = full ? last : piece->last + 1;
		}
		if (!full && gap_fits(first, last, len, align, iova))
			return 0;
	}
	return -ENOSPC;
}

/* Is every address of the piece in one of them? */
static bool covered(
	const struct piece *piece, const struct pn_iova_range *ranges, unsigned int count)
{
	uint64_t at = piece->first;

	for (unsigned int i = 0; i < count; i++) {
		if (at < ranges[i].first || at > ranges[i].last)
			continue;
		if (piece->last <= ranges[i].last)
			return true;
		at = ranges[i].last + 1;
	}
	return false;
}

int model_set_ranges(
	const struct model *model, const struct pn_iova_range *ranges, unsigned int count)
{
	for (size_t i = 0; i < model->count; i++)
		if (!covered(&model->pieces[i], ranges, count))
			return -EINVAL;
	return 0;
}

void model_add(struct model *model, uint64_t iova, uint64_t len)
{
	size_t at = model->count;

	while (at && model->pieces[at - 1].first > iova)
		at--;
	memmove(&model->pieces[at + 1], &model->pieces[at],
		(model->count - at) * sizeof(model->pieces[0]));
	model->pieces[at] = (struct piece){iova, iova + (len - 1)};
	model->count++;
}

void model_remove(struct model *model, size_t at)
{
	model->count--;
	memmove(&model->pieces[at], &model->pieces[at + 1],
		(model->count - at) * sizeof(model->pieces[0]));
}

/* What is added up while a space is compared. */
struct sums {
	struct sorted_at at;
	uint64_t bytes;
	uint64_t longest; /* less 1 */
	size_t runs;
};

static void expect_run(
	const struct iova_space *space, uint64_t first, uint64_t last, struct sums *sums)
{
	test_check(sorted_is(&space->runs, sums->at));
	test_check(sorted_key(&space->runs, sums->at) == first);
	test_check(sorted_value(&space->runs, sums->at) == last);
	sums->at = sorted_next(&space->runs, sums->at);
	sums->bytes += last - first + 1;
	sums->longest = last - first > sums->longest ? last - first : sums->longest;
	sums->runs++;
}

static void expect_range(const struct model *model, const struct iova_space *space,
	const struct pn_iova_range *range, struct sums *sums)
{
	uint64_t first = range->first;

	for (size_t i = 0; i < model->count; i++) {
		const struct piece *piece = &model->pieces[i];

		if (piece->last < first || piece->first > range->last)
			continue;
		if (piece->first > first)
			expect_run(space, first, piece->first - 1, sums);
		if (piece->last >= range->last)
			return;
		first = piece->last + 1;
	}
	expect_run(space, first, range->last, sums);
}

void model_check(const struct model *model, struct iova_space *space)
{
	struct sums sums = {.at = sorted_first(&space->runs)};

	sorted_check(&space->runs);
	for (unsigned int i = 0; i < model->range_count; i++)
		expect_range(model, space, &model->ranges[i], &sums);
	test_check(sums.runs == space->runs.count);
	test_check(space->pieces == model->count);
	test_check(iova_space_free_bytes(space) ==
		   (sums.runs && !sums.bytes ? UINT64_MAX : sums.bytes));
	test_check(
		iova_space_largest(space) == (!sums.runs                         ? 0
						     : sums.longest < UINT64_MAX ? sums.longest + 1
										 : UINT64_MAX));
}
