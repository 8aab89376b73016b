/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine that devices are taken from and given back to: where its files are, how to read and
 * change them, why the last thing failed. Everything else in this folder works on one of these, so
 * that tests can show it a machine made of files.
 */
#ifndef HOST_HOST_H
#define HOST_HOST_H

#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HOST_ERROR_MAX 1024
/* A root of the tree, short enough that what is put behind it fits PATH_MAX. */
#define HOST_ROOT_MAX 1024
/* Text of /proc/sys/kernel/random/boot_id. */
#define HOST_BOOT_MAX 40

#define HOST_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define HOST_SCANF(fmt, args)  __attribute__((format(scanf, fmt, args)))
#define HOST_COUNT(array)      (sizeof(array) / sizeof((array)[0]))

struct host;
struct host_net;

/* What is no file: the kernel's answers, and what changing a file of sysfs does. A test has its
 * own. */
struct host_ops {
	/* Write a text into an attribute of sysfs. 0 or a negative errno. */
	int (*write_attr)(struct host *host, const char *path, const char *text);
	/* As modprobe does. 0 or a negative errno. */
	int (*load_module)(struct host *host, const char *name);
	/* Wait until udev, where it runs, has dealt with the nodes that have appeared. */
	void (*settle)(struct host *host);
	/* Links, addresses, routes of every network namespace that can be seen; see net.h. */
	int (*read_net)(struct host *host, struct host_net *net);
	/* Is this block device claimed: mounted somewhere, in use by another? Opens it O_EXCL. */
	bool (*disk_claimed)(struct host *host, const char *name);
	/* Has anybody this group's node open, or a device of it? Opens it, which only one can. */
	bool (*group_busy)(struct host *host, const char *path);
};

extern const struct host_ops host_kernel_ops;

struct host {
	char sys[HOST_ROOT_MAX];
	char dev[HOST_ROOT_MAX];
	char proc[HOST_ROOT_MAX];
	char etc[HOST_ROOT_MAX];
	char run[HOST_ROOT_MAX];
	char var[HOST_ROOT_MAX];
	char lib[HOST_ROOT_MAX]; /* of udev's own rules: /lib */
	const struct host_ops *ops;
	/* One line that a user should read, though nothing failed; NULL: nobody wants them. */
	void (*note)(struct host *host, const char *text);
	void *arg; /* of who made the tables above */
	char error[HOST_ERROR_MAX];
	int lock; /* fd; -1: not held */
};

/* The machine below this directory, "" for the one that runs. 0 or -ENAMETOOLONG. */
int host_init(struct host *host, const char *root);

/* Set the reason and return -err, so that "return host_fail(host, EINVAL, ...)" does both. */
int host_fail(struct host *host, int err, const char *fmt, ...) HOST_PRINTF(3, 4);
/* Put words before the reason that is there already, and return err, which is negative. */
int host_fail_prefix(struct host *host, int err, const char *fmt, ...) HOST_PRINTF(3, 4);
void host_note(struct host *host, const char *fmt, ...) HOST_PRINTF(2, 3);

/*
 * Files. None of these sets a reason: the caller knows what the file meant.
 */

/* A small text file without its trailing newline, cut if it does not fit. Its length or a negative
 * errno. */
ssize_t host_read(char *buf, size_t size, const char *fmt, ...) HOST_PRINTF(3, 4);
/* The same of any size; the caller frees it. NULL: errno says why. */
char *host_read_all(const char *fmt, ...) HOST_PRINTF(1, 2);
/* A decimal or 0x number. -EIO: it is none. */
int host_read_number(int64_t *value, const char *fmt, ...) HOST_PRINTF(2, 3);
/* Last component of what a link points to. */
int host_read_link(char *buf, size_t size, const char *fmt, ...) HOST_PRINTF(3, 4);
bool host_exists(const char *fmt, ...) HOST_PRINTF(1, 2);
/*
 * Write a file whole: under another name beside it, synchronised, renamed, its folder synchronised.
 * What is there but is not a regular file is left alone (-EEXIST).
 */
int host_write_file(const char *path, const char *text, mode_t mode);
/* Remove it, and see that it is gone after a crash too. 0 if there was none. */
int host_remove_file(const char *path);
/* Make a folder and those above it. */
int host_make_folders(const char *path);

/* Write an attribute below sys/bus/pci through the ops, with the reason when that fails. */
int host_set_attr(struct host *host, const char *text, const char *fmt, ...) HOST_PRINTF(3, 4);

/* Of this start of the machine; "" if /proc does not say. */
void host_boot_id(struct host *host, char boot[HOST_BOOT_MAX]);

/*
 * The lock that everyone holds who changes the state: waits up to ten seconds. 0; -EBUSY with who
 * has it; another negative errno.
 */
int host_lock(struct host *host);
void host_unlock(struct host *host);
/* Who holds it now: a pid, 0: nobody. */
pid_t host_lock_holder(struct host *host);

#endif
