/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which processes have a device node or a socket open, or mapped: found over /proc, by what the
 * file is and not by its name, so that processes in other mount namespaces (containers) count too.
 */
#ifndef HOST_HOLDERS_H
#define HOST_HOLDERS_H

#include <sys/stat.h>

#include "host.h"

/* What to look for. */
struct host_target {
	mode_t type; /* S_IFCHR, S_IFBLK: by rdev; S_IFREG: by dev and inode; S_IFSOCK: by inode; 0:
			any VFIO device that was opened through its group */
	dev_t rdev, dev;
	uint64_t inode;
};

struct host_holder {
	size_t target; /* index */
	pid_t pid;
	uid_t uid;
	char comm[16];
	bool mapped; /* a mapping only: its file is closed */
};

struct host_holders {
	struct host_holder *items;
	size_t count;
	unsigned int unseen; /* processes whose files may not be looked at */
};

/* The target that a path is. -errno: there is none. No reason is set. */
int host_target_of(struct host_target *target, const char *fmt, ...) HOST_PRINTF(2, 3);

/* Every other process, each once a target. 0 or a negative errno with the reason; the caller frees
 * with host_holders_free(). */
int host_holders_find(struct host *host, const struct host_target *targets, size_t count,
	struct host_holders *holders);
void host_holders_free(struct host_holders *holders);

/* "pid 712 (qemu-system-x86, uid 1000)", for each holder of a target; at most size bytes. */
void host_holders_text(const struct host_holders *holders, size_t target, char *text, size_t size);

#endif
