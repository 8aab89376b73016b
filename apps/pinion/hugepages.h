/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files of hugepage pools: those of the kernel, and those that set them at boot.
 */
#ifndef PINION_HUGEPAGES_H
#define PINION_HUGEPAGES_H

#include <stdint.h>

#define HUGEPAGES_PATH 160

/* The kernel's file with the size of a pool. node: PN_NODE_ANY for the machine's. */
void hugepages_path(char path[HUGEPAGES_PATH], uint64_t page_size, int node);

/* Have the pool at each boot: a line for it in a file of ours, in place of an earlier one. 0, or a
 * negative errno after a complaint. */
int hugepages_persist(uint64_t page_size, int node, uint64_t pages);

#endif
