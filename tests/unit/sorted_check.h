/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the sorted list and of its users share: the check of its order, memory that
 * runs out, and random numbers whose seed a failure names.
 */
#ifndef SORTED_CHECK_H
#define SORTED_CHECK_H

#include "sorted.h"

/* Fails the test unless everything about the list is in order. */
void sorted_check(const struct sorted *list);

/*
 * malloc, calloc and aligned_alloc, which the programs wrap: the allocation of this number from now
 * on fails, the first is 1; 0: none; ALL_FAIL: each one.
 */
#define ALL_FAIL UINT_MAX
void allocations_fail(unsigned int number);
/* Since then. */
unsigned int allocations_made(void);

/* PINION_TEST_SEED, or the same numbers each time. Sets the state of test_random(). */
uint64_t test_seed(void);
uint64_t test_random(void);
/* Below a limit. */
uint64_t test_below(uint64_t limit);
/* Operations of a random test: PN_TEST_SCALE times as many. */
unsigned int test_scale(unsigned int full);

/* Fail with the seed, the operation and the condition. */
#define test_check(condition)                                        \
	do {                                                         \
		if (!(condition))                                    \
			test_failed(__FILE__, __LINE__, #condition); \
	} while (0)
void test_failed(const char *file, int line, const char *condition);
/* The operation that a failure names. */
extern uint64_t test_operation;

#endif
