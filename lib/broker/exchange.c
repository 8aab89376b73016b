/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client's end of the socket: one request, one reply, and the files that come with it. The
 * broker is trusted with devices, not with this process's memory: what it says is checked.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base_priv.h"
#include "exchange.h"

/* That of PN_BROKER_SOCKET. */
#define FOLDER "/run/pinion-broker"

/* Resetting a device can take a second and more, and requests of others go first. */
#define REPLY_TIMEOUT_MS 30000

int pn_broker_dial(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, err;

	if (strlen(path) >= sizeof(address.sun_path))
		return pn_fail(ENAMETOOLONG,
			"the path of a socket may have %zu bytes, this one has %zu: %s",
			sizeof(address.sun_path) - 1, strlen(path), path);
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return pn_fail(errno, "no socket to ask pinion-broker: %s", strerror(errno));
	if (!connect(fd, (const struct sockaddr *)&address, sizeof(address)))
		return fd;
	err = errno;
	close(fd);
	if (err == ENOENT || err == ECONNREFUSED)
		return pn_fail(err,
			"pinion-broker does not listen at %s (%s); as root: systemctl enable --now "
			"pinion-broker.socket -- or, in a container, give it the folder of the "
			"socket (--volume " FOLDER ":" FOLDER ":ro), not the socket, as a new one "
			"would not be seen",
			path, strerror(err));
	return pn_fail(err, "connecting to pinion-broker at %s: %s", path, strerror(err));
}

void pn_broker_answer_close(struct pn_broker_answer *answer)
{
	while (answer->fd_count) {
		int fd = answer->fds[--answer->fd_count];

		if (fd >= 0)
			close(fd);
	}
}

static int send_request(int fd, const struct pn_broker_wire_request *request)
{
	ssize_t sent;

	do
		sent = send(fd, request, sizeof(*request), MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent == (ssize_t)sizeof(*request))
		return 0;
	/* Refused as a connection: that reply is there, and says why. */
	if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
		return 0;
	return pn_fail(sent < 0 ? errno : EPROTO, "asking pinion-broker: %s",
		sent < 0 ? strerror(errno) : "the request was cut off");
}

static int wait_readable(int fd)
{
	struct pollfd entry = {.fd = fd, .events = POLLIN};
	int ready;

	do
		ready = poll(&entry, 1, REPLY_TIMEOUT_MS);
	while (ready < 0 && errno == EINTR);
	if (ready > 0)
		return 0;
	if (ready == 0)
		return pn_fail(ETIMEDOUT, "pinion-broker did not answer within %d seconds",
			REPLY_TIMEOUT_MS / 1000);
	return pn_fail(errno, "waiting for pinion-broker: %s", strerror(errno));
}

static void take_files(struct msghdr *message, struct pn_broker_answer *answer)
{
	struct cmsghdr *header;
	size_t count;
	int file;

	for (header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			memcpy(&file, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
			/* The room is rounded up: one more than there can be may fit. */
			if (answer->fd_count < PN_BROKER_FILES)
				answer->fds[answer->fd_count] = file;
			else
				close(file);
			answer->fd_count += answer->fd_count < PN_BROKER_FILES;
		}
	}
}

static int receive(int fd, struct pn_broker_answer *answer)
{
	union {
		char bytes[CMSG_SPACE(PN_BROKER_FILES * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec data = {.iov_base = &answer->reply, .iov_len = sizeof(answer->reply)};
	struct msghdr message = {.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	bool again = false;
	ssize_t got;

	/* One who closes with our request unread is told as ECONNRESET, once, before what he said.
	 */
	for (;; again = true) {
		got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
		if (got >= 0 || (errno != EINTR && (errno != ECONNRESET || again)))
			break;
	}
	if (got < 0)
		return pn_fail(errno, "the answer of pinion-broker: %s", strerror(errno));
	if (got == 0)
		return pn_fail(EPIPE, "pinion-broker has closed the connection");
	take_files(&message, answer);
	/* This process has no room for more open files. */
	if (message.msg_flags & MSG_CTRUNC)
		return pn_fail(EMFILE,
			"%u of the files that pinion-broker sent arrived: raise RLIMIT_NOFILE "
			"(ulimit -n)",
			answer->fd_count);
	if (message.msg_flags & MSG_TRUNC || got != (ssize_t)sizeof(answer->reply))
		return pn_fail(EPROTO, "the answer of pinion-broker has %zd bytes, not %zu", got,
			sizeof(answer->reply));
	return 0;
}

static int check_reply(
	const struct pn_broker_wire_request *request, struct pn_broker_answer *answer)
{
	struct pn_broker_wire_reply *reply = &answer->reply;

	reply->text[sizeof(reply->text) - 1] = '\0';
	if (reply->magic != PN_BROKER_MAGIC || reply->error < 0 || reply->error > 4095)
		return pn_fail(EPROTO, "what answers is not pinion-broker, or of another version");
	if (reply->error)
		return pn_fail(reply->error, "pinion-broker: %s", reply->text);
	if (reply->kind != request->kind || reply->count != request->count ||
		answer->fd_count != (request->kind == PN_BROKER_OPEN ? request->count + 1 : 0))
		return pn_fail(EPROTO,
			"pinion-broker answered with kind %u, %u devices and %u files to a "
			"request of kind %u for %u devices",
			reply->kind, reply->count, answer->fd_count, request->kind, request->count);
	if (request->kind == PN_BROKER_OPEN && reply->backend != PN_BROKER_IOMMUFD &&
		reply->backend != PN_BROKER_TYPE1)
		return pn_fail(EPROTO, "pinion-broker answered with backend %u", reply->backend);
	return 0;
}

int pn_broker_ask(
	int fd, const struct pn_broker_wire_request *request, struct pn_broker_answer *answer)
{
	int ret;

	answer->fd_count = 0;
	ret = send_request(fd, request);
	if (!ret)
		ret = wait_readable(fd);
	if (!ret)
		ret = receive(fd, answer);
	if (!ret)
		ret = check_reply(request, answer);
	if (ret)
		pn_broker_answer_close(answer);
	return ret;
}
