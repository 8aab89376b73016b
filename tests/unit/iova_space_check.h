/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A naive model of a space of IOVAs: the pieces that are taken, in order, and everything about the
 * space worked out from them.
 */
#ifndef IOVA_SPACE_CHECK_H
#define IOVA_SPACE_CHECK_H

#include "iova_space.h"

#define MODEL_PIECES 6000u
#define MODEL_RANGES 8u

struct piece {
	uint64_t first;
	uint64_t last;
};

struct model {
	struct pn_iova_range ranges[MODEL_RANGES];
	unsigned int range_count;
	struct piece pieces[MODEL_PIECES];
	size_t count;
};

/* What the calls of the same names are to return. Nothing changes. */
int model_take(const struct model *model, uint64_t iova, uint64_t len);
int model_alloc(const struct model *model, uint64_t len, uint64_t align, uint64_t *iova);
int model_set_ranges(
	const struct model *model, const struct pn_iova_range *ranges, unsigned int count);

void model_add(struct model *model, uint64_t iova, uint64_t len);
void model_remove(struct model *model, size_t at);

/* Fails the test unless the free list is what the pieces leave of the ranges. */
void model_check(const struct model *model, struct iova_space *space);

#endif
