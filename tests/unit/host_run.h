/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands as a program runs them on the machine made of files (host_fake.h): each reads the
 * records, does its part, and forgets what it has read. Functions assert that they can be read.
 */
#ifndef HOST_RUN_H
#define HOST_RUN_H

#include "binding.h"
#include "grant.h"
#include "host_fake.h"

#define CARD    "0000:01:00.0"
#define ANOTHER "0000:02:00.0"

/* For cmocka: a machine with these two network cards, of e1000e and igb. */
int run_setup(void **arg);

extern const struct host_bind_options run_plain; /* to vfio-pci, and nothing else */

/* The rules that it meets are in uses; or nobody wants to know. */
int run_bind_uses(
	const char *device, const struct host_bind_options *options, struct host_uses *uses);
int run_bind(const char *device, const struct host_bind_options *options);
int run_unbind(const char *device);
struct host_grant_options run_grant_to(unsigned int id, bool owner);
int run_grant(const char *device, const struct host_grant_options *options);
void run_revoke(const char *device);
/* What --all does. */
void run_clear_all(void);

/* In a child that dies as it enters this step: whether it has come to its end before, with 0. */
bool run_survives(int step, int (*act)(void));

#endif
