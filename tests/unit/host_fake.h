/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A machine made of files: sysfs, /dev, /proc, /etc and the rest below a temporary directory, with
 * what the kernel does when attributes of PCI devices are written to. A test adds devices and what
 * is in use, and may have any step fail, or the process die at it.
 */
#ifndef HOST_FAKE_H
#define HOST_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net.h"
#include "pci.h"
#include "state.h"

#define FAKE_NETS_MAX 8

struct fake {
	struct host host;
	char root[64];
	struct host_net net; /* what read_net tells */
	int fail_at;         /* the Nth write to sysfs fails with EIO; 0: none */
	int writes;
	int die_at; /* the process ends as it enters the Nth step that changes something; 0: never
		     */
	int steps;
	bool hold_probe;     /* drivers_probe binds nothing */
	const char *claimed; /* a disk that is claimed */
	const char *busy;    /* the node of a group that somebody has open, "/dev/vfio/7" */
	char notes[4096];    /* what was said, one a line */
};

extern struct fake fake;

/* A machine without devices, and its end. */
int fake_setup(void **arg);
int fake_teardown(void **arg);

/* Files below the root, with the folders above them. */
void fake_write(const char *text, const char *fmt, ...) HOST_PRINTF(2, 3);
void fake_link(const char *target, const char *fmt, ...) HOST_PRINTF(2, 3);
void fake_remove(const char *fmt, ...) HOST_PRINTF(1, 2);
void fake_move(const char *from, const char *to);
/* The text of a file, "" if there is none; in a buffer of its own until the next call. */
const char *fake_read(const char *fmt, ...) HOST_PRINTF(1, 2);

/* A function with class ("0x020000"), on a driver ("": none), in a group (-1: none). The driver is
 * also the one that drivers_probe gives it. */
void fake_device(const char *address, const char *class_code, const char *driver, int group);
const char *fake_driver(const char *address);
const char *fake_override(const char *address);

/* A disk below a function, with its number; a partition of it. */
void fake_disk(const char *address, const char *name, unsigned int major, unsigned int minor);

/* A link made by a function of the PCI bus; NULL: by none. Its index. */
int fake_interface(const char *name, const char *address);

/* The machine has been restarted: it has another boot ID. */
void fake_restart(void);

/* How many problems a report finds; and is there a state file? */
size_t fake_problems(void);
bool fake_has_state(void);

/* A process with a mount namespace, and the mounts that it sees. */
void fake_process(int pid, const char *command, const char *mount_space, const char *mountinfo);
/* It has a file open. */
void fake_open(int pid, int fd, const char *fmt, ...) HOST_PRINTF(3, 4);

#endif
