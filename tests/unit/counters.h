/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For tests that fill the kernel's counters: a child that is a user without other processes, and
 * what charges it a known number of pages. The child ends at the first thing that is not as it
 * should be, as cmocka's assertions would run on in two processes.
 */
#ifndef COUNTERS_H
#define COUNTERS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

#include "base_priv.h"
#include "pins_priv.h"

#define CHECK(condition)                                                                    \
	do {                                                                                \
		if (!(condition)) {                                                         \
			fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, \
				pn_error());                                                \
			_exit(1);                                                           \
		}                                                                           \
	} while (0)

/* The rules of a path that charges the process, and of one that charges the user. */
extern const struct pn_charge_rule by_process, by_user;

/* Run it in a child; skipped unless root, who alone can become a user without other processes. */
void run_child(void (*body)(void));
/* The same, skipped where io_uring is not allowed. */
void run_child_with_io_uring(void (*body)(void));

/* Become a user nobody else is; another one for each child, as io_uring lets go of charges after
 * the end of a process. All capabilities go. */
void become_nobody(void);
/* Both limits, in pages. */
void limit_to(uint64_t pages);

/* mm->locked_vm and user->locked_vm of this process, until it ends. */
void lock_pages(size_t pages);
void register_pages(size_t pages);
/* What a ring of one entry is charged itself: nothing, but two pages on Linux 6.14 to 6.18. */
size_t ring_pages(void);
/* The meter's own ring, where rings are charged, is let go of a little after its end. */
void settle(void);

/* From now on a call of this process ends in this error, or (0) ends the process: seccomp. */
void forbid(long number, int err);

/* Is a number in the error text by itself, not within another? And a text? */
bool says(uint64_t number);
bool tells(const char *text);

#endif
