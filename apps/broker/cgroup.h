/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How much memory the kernel lets a control group have, whatever its processes do.
 */
#ifndef BROKER_CGROUP_H
#define BROKER_CGROUP_H

#include <stdint.h>

/*
 * Bytes that all processes of a group of the version 2 hierarchy ("/a/b") can have together, pinned
 * or not: the least memory.max of the group and those above it, and hugepages: the least
 * hugetlb.SIZE.max, or the whole pool if that is less. Only limits that are root's to change count.
 * UINT64_MAX: nothing bounds it.
 */
uint64_t cgroup_bound(const char *path);

#endif
