/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of lib/mem need of the machine: a few 2 MiB pages for their own run, if they may
 * be reserved, and file systems mounted in a mount namespace of their own. One program at a time
 * has the pages.
 */
#ifndef MEM_MACHINE_H
#define MEM_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NR_2M "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

/* A hugetlbfs, and a tmpfs with room for 256 pages; NULL if they could not be mounted. */
extern const char *hugetlbfs_dir, *tmpfs_dir;

/* Before and after all tests of a program. */
void machine_begin(void);
void machine_end(void);

/* Skip the test that calls, with a reason, where the machine does not have it. */
void need_hugepages(void);
void need_hugetlbfs(void);
void need_tmpfs(void);

/* Pages that are free and promised to nobody. */
uint64_t free_2m(void);

/* Files this process has open. */
unsigned int open_fds(void);

/* Is there a mapping at this address, and does it have this flag ("dc") in /proc/self/smaps? */
bool mapping_has_flag(const void *at, const char *flag);

/* What /proc/self/maps says of memfds, wherever they are mapped, and of a range of addresses. */
void mappings(char *text, size_t size, const void *from, uint64_t len);

/* Are there free addresses where regions are put? Not so with a sanitizer's shadow memory there. */
bool slots_are_free(void);

#endif
