/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See ring_peer.h. Sockets are in the runtime directory, where ledgers are, for this user only.
 * Nothing here waits.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base_priv.h"
#include "ledger_dirs.h"
#include "ring_peer.h"

/* "pn peer1": what the listener says first, with the memory's file. */
#define HELLO UINT64_C(0x706e207065657231)

struct hello {
	uint64_t magic;
	uint32_t size;
	uint32_t slot;
};

int ring_peer_check_name(const char *port, const char *name)
{
	size_t len = strlen(name);
	bool good = len && len <= RING_PEER_NAME_MOST && *name != '.';

	for (size_t i = 0; i < len; i++)
		good = good && (isalnum((unsigned char)name[i]) || strchr("._-", name[i]));
	if (good)
		return 0;
	return pn_fail(EINVAL,
		"port %s: '%s' is no name for a connection: 1 to %u letters, digits, '-', '_' and "
		"'.', which does not begin it",
		port, name, RING_PEER_NAME_MOST);
}

/* The socket's address in the directory of this number. */
static int address_of(const struct ring_peer *peer, unsigned int index, struct sockaddr_un *address,
	char dir[PN_LEDGER_DIR_MAX])
{
	int ret = pn_ledger_dir_get(index, dir);

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (ret)
		return ret;
	if ((size_t)snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s.ring", dir,
		    peer->name) >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	return 0;
}

static int new_socket(void)
{
	return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/*
 * Does anyone listen there? A socket that nobody has is left over, and may go; one that cannot be
 * asked may not.
 */
static bool is_taken(const struct sockaddr_un *address)
{
	int fd = new_socket();
	bool left = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) &&
		    errno == ECONNREFUSED;

	close_fd(&fd);
	return !left;
}

static int bind_at(struct ring_peer *peer, const struct sockaddr_un *address)
{
	const struct sockaddr *at = (const struct sockaddr *)address;
	int ret;

	peer->listener = new_socket();
	if (peer->listener < 0)
		return -errno;
	/* What bind() makes the file with: for this user only. */
	(void)fchmod(peer->listener, 0600);
	ret = bind(peer->listener, at, sizeof(*address)) ? -errno : 0;
	if (ret == -EADDRINUSE && !is_taken(address) && !unlink(address->sun_path))
		ret = bind(peer->listener, at, sizeof(*address)) ? -errno : 0;
	if (!ret && listen(peer->listener, 1))
		ret = -errno;
	if (ret)
		close_fd(&peer->listener);
	return ret;
}

int ring_peer_listen(struct ring_peer *peer)
{
	struct sockaddr_un address;
	char dir[PN_LEDGER_DIR_MAX];
	int ret = -ENOENT;

	for (unsigned int i = 0;; i++) {
		int err = address_of(peer, i, &address, dir);

		if (err == -ENOENT)
			break;
		ret = err ? err : pn_ledger_dir_prepare(dir);
		if (!ret)
			ret = bind_at(peer, &address);
		if (!ret || ret == -EADDRINUSE)
			break;
	}
	if (ret == -EADDRINUSE)
		return pn_fail(EADDRINUSE,
			"port %s: another program listens as '%s' (%s): give each pair a name of "
			"its own",
			peer->port, peer->name, address.sun_path);
	if (ret)
		return pn_fail(-ret,
			"port %s: no socket can be made for it (%s); set PINION_RUNTIME_DIR to a "
			"directory that this user owns",
			peer->port, strerror(-ret));
	snprintf(peer->path, sizeof(peer->path), "%s", address.sun_path);
	return 0;
}

void ring_peer_hang_up(struct ring_peer *peer)
{
	close_fd(&peer->connection);
}

void ring_peer_close(struct ring_peer *peer)
{
	ring_peer_hang_up(peer);
	if (*peer->path)
		unlink(peer->path);
	peer->path[0] = '\0';
	close_fd(&peer->listener);
}

bool ring_peer_alive(struct ring_peer *peer)
{
	char byte;

	if (peer->connection < 0)
		return false;
	/* After its hello nobody says anything: what comes is the end, or nonsense. */
	if (recv(peer->connection, &byte, sizeof(byte), MSG_DONTWAIT) < 0 &&
		(errno == EAGAIN || errno == EINTR))
		return true;
	ring_peer_hang_up(peer);
	return false;
}

/* The directory keeps others out; where it does not, this does. */
static bool is_welcome(int fd)
{
	struct ucred who;
	socklen_t size = sizeof(who);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) &&
	       (who.uid == geteuid() || !who.uid);
}

union control {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static bool say_hello(int to, const struct shared_ring *ring)
{
	struct hello hello = {HELLO, ring->size, ring->slot};
	struct iovec piece = {&hello, sizeof(hello)};
	union control control = {0};
	struct msghdr message = {.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &ring->fd, sizeof(int));
	return sendmsg(to, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(hello);
}

bool ring_peer_accept(struct ring_peer *peer, struct shared_ring *ring)
{
	int fd = accept4(peer->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return false;
	shared_ring_mend(ring);
	if (!is_welcome(fd) || !say_hello(fd, ring)) {
		close(fd);
		return false;
	}
	peer->connection = fd;
	return true;
}

/* The file that came with a message, or -1. The padding of room for one is room for two. */
static int file_in(struct msghdr *message)
{
	const struct cmsghdr *head = CMSG_FIRSTHDR(message);
	int fds[(CMSG_SPACE(sizeof(int)) - CMSG_LEN(0)) / sizeof(int)];
	size_t count;

	if (!head || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
		return -1;
	count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(head), count * sizeof(int));
	for (size_t i = 0; count > 1 && i < count; i++)
		close(fds[i]);
	return count == 1 ? fds[0] : -1;
}

static bool hear_hello(struct ring_peer *peer, int *fd, uint32_t *size, uint32_t *slot)
{
	struct hello hello;
	struct iovec piece = {&hello, sizeof(hello)};
	union control control = {0};
	struct msghdr message = {.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	ssize_t len = recvmsg(peer->connection, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	*fd = len >= 0 ? file_in(&message) : -1;
	if (len == (ssize_t)sizeof(hello) && hello.magic == HELLO && *fd >= 0) {
		*size = hello.size;
		*slot = hello.slot;
		return true;
	}
	if (*fd >= 0)
		close(*fd);
	ring_peer_hang_up(peer);
	return false;
}

static int dial(struct ring_peer *peer)
{
	struct sockaddr_un address;
	char dir[PN_LEDGER_DIR_MAX];

	for (unsigned int i = 0;; i++) {
		int err = address_of(peer, i, &address, dir), fd;

		if (err == -ENOENT)
			return -ENOENT;
		if (err)
			continue;
		fd = new_socket();
		if (fd >= 0 && !connect(fd, (const struct sockaddr *)&address, sizeof(address)) &&
			is_welcome(fd))
			return fd;
		close_fd(&fd);
	}
}

bool ring_peer_connect(struct ring_peer *peer, int *fd, uint32_t *size, uint32_t *slot)
{
	if (peer->connection < 0)
		peer->connection = dial(peer);
	return peer->connection >= 0 && hear_hello(peer, fd, size, slot);
}
