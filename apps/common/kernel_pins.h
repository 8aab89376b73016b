/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The companion module's table of all pins of a host, as the kernel writes it
 * (kmod/table.c): a line a handle.
 */
#ifndef APPS_KERNEL_PINS_H
#define APPS_KERNEL_PINS_H

#include <stdbool.h>
#include <stdint.h>

/* The first line, without its end: another one is of another version. */
#define KERNEL_PINS_HEADER "pid uid program charge flags pages pinned owner_charged"

struct kernel_pin {
	uint32_t pid;     /* of who pinned it; it may have ended */
	uint32_t uid;     /* real, in the initial user namespace */
	char program[80]; /* what is not printable is escaped by the kernel, else '?' */
	bool user;        /* charged to the user, else to the memory map */
	bool write, exclusive, file, exempt;
	uint64_t pages;         /* as it was pinned */
	uint64_t pinned;        /* that still are */
	uint64_t owner_charged; /* for all pins of the map or the user */
};

/* Read a line, which is cut up. 0 or -EINVAL. */
int kernel_pin_parse(char *line, struct kernel_pin *pin);

#endif
