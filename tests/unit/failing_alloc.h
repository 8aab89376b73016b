/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Allocations that fail when they are told to. Wraps: allocation_wraps in meson.build.
 */
#ifndef FAILING_ALLOC_H
#define FAILING_ALLOC_H

/* Allocations since the counter was zeroed; the one that fails, from 1; 0: none. */
extern unsigned int allocations, failing_allocation;

#endif
