/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients as processes. What is read from /proc by number is believed only if the pidfd says
 * afterwards that the number still is this process's.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "output.h"
#include "peer.h"

/* Linux 6.5. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* A file of /proc/PID as text. Its length or a negative errno; -ESRCH: the process has ended. */
static ssize_t read_proc(pid_t pid, const char *name, char *buf, size_t size)
{
	char path[64];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	len = read(fd, buf, size - 1);
	if (len < 0)
		len = -errno;
	close(fd);
	buf[len > 0 ? len : 0] = '\0';
	return len;
}

/* When a process was started, which is never 0. Ours may be the fault: no descriptors left. */
static int read_start(pid_t pid, uint64_t *start)
{
	unsigned long long ticks;
	char text[1024];
	const char *at;
	ssize_t len;

	len = read_proc(pid, "stat", text, sizeof(text));
	if (len < 0)
		return (int)len;
	/* The name may hold blanks and parentheses; the start is the 20th word behind it. */
	at = strrchr(text, ')');
	for (int i = 0; at && i < 20; i++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, " %llu", &ticks) != 1 || !ticks)
		return -ESRCH;
	*start = ticks;
	return 0;
}

uint64_t peer_start_of(pid_t pid)
{
	uint64_t start;

	return read_start(pid, &start) ? 0 : start;
}

static void read_cgroup(struct peer *peer)
{
	char text[2048], *line, *end;
	ssize_t len;

	peer->cgroup[0] = '\0';
	len = read_proc(peer->pid, "cgroup", text, sizeof(text));
	/* One that fills the room may have been cut off. */
	if (len <= 0 || len == (ssize_t)sizeof(text) - 1)
		return;
	line = strncmp(text, "0::/", 4) ? strstr(text, "\n0::/") : text;
	if (!line)
		return;
	line = strchr(line, '/');
	end = strchr(line, '\n');
	if (!end || end - line >= (ptrdiff_t)sizeof(peer->cgroup))
		return;
	memcpy(peer->cgroup, line, (size_t)(end - line));
	peer->cgroup[end - line] = '\0';
}

/* Has the number been given up? A process that has ended keeps it until it is waited for. */
static bool number_is_free(const struct peer *peer)
{
	return syscall(SYS_pidfd_send_signal, peer->pidfd, 0, NULL, 0) && errno == ESRCH;
}

bool peer_ended(const struct peer *peer)
{
	struct pollfd entry = {.fd = peer->pidfd, .events = POLLIN};

	return poll(&entry, 1, 0) > 0;
}

int peer_look_again(struct peer *peer)
{
	read_cgroup(peer);
	return peer_ended(peer) ? -ESRCH : 0;
}

void peer_close(struct peer *peer)
{
	close(peer->pidfd);
	peer->pidfd = -1;
}

/* With pid, uid and pidfd set. */
static int complete(struct peer *peer)
{
	int err = read_start(peer->pid, &peer->start);

	if (!err)
		err = peer_look_again(peer);
	if (err)
		peer_close(peer);
	return err;
}

/*
 * Before SO_PEERPIDFD there is only the number, which another process may have by now. One of the
 * same user in every respect does no harm: it could have connected itself.
 */
static int is_of_user(const struct peer *peer)
{
	unsigned int real, effective, saved;
	const char *line;
	char text[4096];
	ssize_t len;

	len = read_proc(peer->pid, "status", text, sizeof(text));
	if (len < 0)
		return (int)len;
	line = strstr(text, "\nUid:");
	if (!line || sscanf(line, "\nUid: %u %u %u", &real, &effective, &saved) != 3)
		return -EPROTO;
	return real == peer->uid && effective == peer->uid && saved == peer->uid ? 0 : -ESRCH;
}

int peer_of_socket(struct peer *peer, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int ret;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return -errno;
	/* 0: it is in a process namespace that this one does not see. */
	if (cred.pid <= 0)
		return -ESRCH;
	*peer = (struct peer){.pid = cred.pid, .uid = cred.uid, .pidfd = -1};
	len = sizeof(peer->pidfd);
	if (!getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &peer->pidfd, &len))
		return complete(peer);
	if (errno != ENOPROTOOPT)
		return errno == ENODATA || errno == EINVAL ? -ESRCH : -errno;
	peer->pidfd = (int)syscall(SYS_pidfd_open, peer->pid, 0);
	if (peer->pidfd < 0)
		return -errno;
	ret = is_of_user(peer);
	if (!ret)
		return complete(peer);
	peer_close(peer);
	return ret;
}

int peer_of_pid(struct peer *peer, pid_t pid, uint64_t start)
{
	*peer = (struct peer){.pid = pid, .uid = (uid_t)-1, .pidfd = -1};
	peer->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (peer->pidfd < 0)
		return -errno;
	if (complete(peer))
		return -ESRCH;
	if (peer->start == start)
		return 0;
	peer_close(peer);
	return -ESRCH;
}

/*
 * prlimit() takes a number, not a pidfd. While the process is there, or has not been waited for,
 * the number is its own: if it is so afterwards, it was so during the call. If not, the call met
 * nobody, or, should the number have been given out again within it, a stranger, who gets back what
 * the same call said he had.
 */
int peer_set_memlock(
	const struct peer *peer, const struct rlimit *limit, struct rlimit *before, struct why *why)
{
	int err;

	if (peer_ended(peer))
		return because(why, ESRCH, "the process has ended");
	if (prlimit(peer->pid, RLIMIT_MEMLOCK, limit, before)) {
		err = errno;
		return because(why, err, "setting RLIMIT_MEMLOCK of process %d: %s", (int)peer->pid,
			strerror(err));
	}
	if (!number_is_free(peer))
		return 0;
	(void)prlimit(peer->pid, RLIMIT_MEMLOCK, before, NULL);
	return because(why, ESRCH, "the process has ended");
}
