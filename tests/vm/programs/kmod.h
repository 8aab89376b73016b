/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For programs that test the companion module: its calls, the counters of /proc, memory of any
 * kind.
 */
#ifndef PROGRAMS_KMOD_H
#define PROGRAMS_KMOD_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "pinion_uapi.h"

#define PAGE 4096ul
#define HUGE (2ul << 20)
#define NODE "/dev/pinion"

extern int failures;

#define CHECK(condition)                                                                          \
	do {                                                                                      \
		if (!(condition)) {                                                               \
			printf("%s:%d: %s is false (errno %d)\n", __FILE__, __LINE__, #condition, \
				errno);                                                           \
			failures++;                                                               \
		}                                                                                 \
	} while (0)

#define EQUAL(got, want)                                                                      \
	do {                                                                                  \
		long long got_ = (long long)(got), want_ = (long long)(want);                 \
		if (got_ != want_) {                                                          \
			printf("%s:%d: %s is %lld, expected %s = %lld\n", __FILE__, __LINE__, \
				#got, got_, #want, want_);                                    \
			failures++;                                                           \
		}                                                                             \
	} while (0)

/** Opens the node. Ends the program if it cannot. */
int node_open(int flags);

/** @return the handle, or a negative errno. */
long pin(int node, const void *addr, size_t length, uint32_t charge, uint32_t flags);
long pin_fd(int node, int fd, uint64_t offset, size_t length, uint32_t charge, uint32_t flags);
/** @return pages that were taken from the counter, or a negative errno. */
long unpin(int node, long handle);
long unpin_part(int node, long handle, uint64_t offset, uint64_t length);
int query(int node, long handle, struct pinion_query *query);
/** Of a process, or with pid 0 of the caller. */
int counters(int node, pid_t pid, struct pinion_counters *counters);
int inspect(int node, const void *addr, size_t length, uint32_t flags, struct pinion_page *pages);
/** @return 0 or a negative errno; *left is set as the kernel did. */
int drain(int node, const void *addr, size_t length, uint32_t timeout_ms, uint64_t *left);

/** user->locked_vm of the caller, in pages. */
uint64_t user_pages(int node);
/** VmLck or VmPin of a process ("self" if 0), in pages. */
uint64_t status(pid_t pid, const char *name);

/** Memory, writable, private unless said; ends the program if there is none. */
void *memory(size_t length);
void *touched(size_t length);
void *huge_pages(size_t length);
int memory_file(size_t length, bool huge);

/** An ordinary user with this soft and hard limit, and no capability. */
void become(uid_t uid, size_t memlock);

#endif
