/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * What the test module takes.
 */
#ifndef PINION_TEST_H
#define PINION_TEST_H

#include <linux/ioctl.h>
#include <linux/types.h>

struct pinion_test_floor {
	__u64 addr; /* bytes; whole pages */
	__u64 length; /* bytes; whole pages */
	__u64 ns; /* out */
};

#define PINION_TEST_FLOOR _IO('P', 0xf0)
/* References to a page of the caller's that come, or with less than 0 go. */
struct pinion_test_references {
	__u64 addr;
	__s32 count;
	__u32 reserved;
};

#define PINION_TEST_REFERENCES _IO('P', 0xf2)
#define PINION_TEST_NOTHING    _IO('P', 0xf1)

#endif
