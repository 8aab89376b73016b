/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The process at the other end of a connection: who it is, whether it is there still, and its
 * RLIMIT_MEMLOCK. A number of a process can come to mean another one: a pidfd and the time of its
 * start tell.
 */
#ifndef BROKER_PEER_H
#define BROKER_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "why.h"

#define PEER_CGROUP 512u

struct peer {
	pid_t pid;
	uid_t uid;
	uint64_t start; /* clock ticks since boot */
	int pidfd;
	char cgroup[PEER_CGROUP]; /* of the version 2 hierarchy; "": none, or too long */
};

/* Who made the connection. 0: close with peer_close(); -ESRCH: it has gone; another errno. */
int peer_of_socket(struct peer *peer, int fd);
/* The process with this number, if it was started at that time. 0 or -ESRCH, or another errno. */
int peer_of_pid(struct peer *peer, pid_t pid, uint64_t start);
void peer_close(struct peer *peer);

/* Has it ended? */
bool peer_ended(const struct peer *peer);
/* Read its control group anew, as it may have been moved. 0 or -ESRCH. */
int peer_look_again(struct peer *peer);

/* Set its RLIMIT_MEMLOCK, and what it was. 0; -ESRCH: it has gone; another errno with words. */
int peer_set_memlock(const struct peer *peer, const struct rlimit *limit, struct rlimit *before,
	struct why *why);

/* When the process with this number was started; 0: there is none. */
uint64_t peer_start_of(pid_t pid);

#endif
