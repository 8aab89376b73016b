/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One thread around poll(). Everything has a bound: connections, those of one user, devices handed
 * out, bytes of a message. A client that does not read its replies loses its connection; one that
 * sends without an end gets its turn after all others.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lease.h"
#include "output.h"
#include "request.h"
#include "server.h"

#define CLIENTS          64u
#define CLIENTS_OF_USER  8u
#define WAIT_FOR_ROOM_MS 100
/* Refusals that go to the log in one second. */
#define LOG_LINES 10u

struct client {
	int fd; /* -1: none */
	uint64_t number;
	struct peer peer;
};

struct server {
	const struct server_opts *opts;
	struct policy policy;
	struct ledger ledger;
	struct client clients[CLIENTS];
	uint64_t connections; /* so far */
	bool no_room;         /* for a file more: listen again later */
	time_t log_second;
	unsigned int log_lines;
};

/* Anybody can be refused as often as he likes: the log must not fill up with it. */
static void log_refusal(struct server *server, const struct peer *peer, const char *text)
{
	time_t now = time(NULL);

	if (now != server->log_second) {
		server->log_second = now;
		server->log_lines = 0;
	}
	if (server->log_lines++ < LOG_LINES)
		complain("process %d of uid %u refused: %s", (int)peer->pid,
			(unsigned int)peer->uid, text);
}

/*
 * Replies
 */

/* false: the client does not take it. Never waits. */
static bool send_reply(
	int fd, const struct pn_broker_wire_reply *reply, const int *fds, unsigned int count)
{
	union {
		char bytes[CMSG_SPACE(PN_BROKER_FILES * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec data = {.iov_base = (void *)(uintptr_t)reply, .iov_len = sizeof(*reply)};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
	struct cmsghdr *header;

	if (count) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(header), fds, count * sizeof(int));
	}
	return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(*reply);
}

static bool send_refusal(int fd, uint32_t kind, int err, const struct why *why)
{
	struct pn_broker_wire_reply reply = {.magic = PN_BROKER_MAGIC, .kind = kind, .error = err};

	_Static_assert(sizeof(reply.text) == sizeof(why->text), "one length");
	snprintf(reply.text, sizeof(reply.text), "%s", why->text);
	return send_reply(fd, &reply, NULL, 0);
}

/*
 * Clients
 */

static void drop(struct server *server, struct client *client)
{
	lease_end_connection(&server->ledger, client->number);
	close(client->fd);
	client->fd = -1;
	peer_close(&client->peer);
}

/* The place that a new connection takes, or why none. */
static int find_place(
	struct server *server, const struct peer *peer, struct client **place, struct why *why)
{
	unsigned int same = 0;

	*place = NULL;
	if (!policy_knows(&server->policy, peer->uid, peer->cgroup))
		return because(why, EACCES,
			"the policy has no rule for uid %u nor for control group %s",
			(unsigned int)peer->uid, peer->cgroup[0] ? peer->cgroup : "(none)");
	for (unsigned int i = 0; i < CLIENTS; i++) {
		struct client *client = &server->clients[i];

		if (client->fd < 0)
			*place = client;
		else
			same += client->peer.uid == peer->uid;
	}
	if (same >= CLIENTS_OF_USER)
		return because(why, EBUSY,
			"uid %u has %u connections already, more is not provided for",
			(unsigned int)peer->uid, same);
	if (*place)
		return 0;
	return because(why, EBUSY, "%u connections are open, more is not provided for", CLIENTS);
}

static void take_connection(struct server *server, int fd)
{
	struct client *place;
	struct peer peer;
	struct why why;
	int ret;

	ret = peer_of_socket(&peer, fd);
	if (ret) {
		because(&why, -ret, "the process cannot be told: %s", strerror(-ret));
		(void)send_refusal(fd, PN_BROKER_REFUSED, -ret, &why);
		close(fd);
		return;
	}
	ret = find_place(server, &peer, &place, &why);
	if (ret) {
		log_refusal(server, &peer, why.text);
		(void)send_refusal(fd, PN_BROKER_REFUSED, -ret, &why);
		peer_close(&peer);
		close(fd);
		return;
	}
	*place = (struct client){.fd = fd, .number = ++server->connections, .peer = peer};
}

static void accept_one(struct server *server)
{
	int fd = accept4(server->opts->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0) {
		take_connection(server, fd);
		return;
	}
	if (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS)
		return;
	/* It stays in the queue, and poll() would come back at once. */
	server->no_room = true;
}

/*
 * Requests
 */

/*
 * A message and who sent it. Files that came with it are closed by the kernel: there is no room for
 * them in the control data. Its length, more than the room if it was cut off; -1: none.
 */
static ssize_t receive(int fd, void *buf, size_t size, pid_t *sender)
{
	union {
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} control;
	struct iovec data = {.iov_base = buf, .iov_len = size};
	struct msghdr message = {.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *header;
	struct ucred cred;
	ssize_t got;

	got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
	if (got < 0)
		return got;
	*sender = 0;
	for (header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS ||
			header->cmsg_len < CMSG_LEN(sizeof(cred)))
			continue;
		memcpy(&cred, CMSG_DATA(header), sizeof(cred));
		*sender = cred.pid;
	}
	return got;
}

static bool do_open(
	struct server *server, struct client *client, const struct pn_broker_wire_request *request)
{
	struct pn_broker_wire_reply reply = {.magic = PN_BROKER_MAGIC, .kind = PN_BROKER_OPEN};
	struct handout handout;
	struct why why;
	bool sent;
	int ret;

	ret = lease_grant(&server->ledger, &server->policy, &client->peer, client->number, request,
		&handout, &reply, &why);
	if (ret) {
		log_refusal(server, &client->peer, why.text);
		/* Whose process has ended, it is nobody's any more. */
		return send_refusal(client->fd, PN_BROKER_OPEN, -ret, &why) && ret != -ESRCH;
	}
	sent = send_reply(client->fd, &reply, handout.fds, handout.count + 1);
	if (sent)
		complain("%s%s handed to process %d of uid %u", request->device[0],
			request->count > 1 ? " and more" : "", (int)client->peer.pid,
			(unsigned int)client->peer.uid);
	/* Not sent, the connection is dropped, and its leases end. */
	vfio_close(&handout);
	return sent;
}

static bool do_release(
	struct server *server, struct client *client, const struct pn_broker_wire_request *request)
{
	struct pn_broker_wire_reply reply = {
		.magic = PN_BROKER_MAGIC, .kind = PN_BROKER_RELEASE, .count = request->count};
	struct why why;
	int ret;

	ret = lease_release(&server->ledger, &client->peer, request, &why);
	if (ret)
		return send_refusal(client->fd, PN_BROKER_RELEASE, -ret, &why);
	return send_reply(client->fd, &reply, NULL, 0);
}

/* false: the connection is at its end. */
static bool serve_client(struct server *server, struct client *client)
{
	char message[sizeof(struct pn_broker_wire_request)];
	struct pn_broker_wire_request request;
	struct why why;
	pid_t sender;
	ssize_t got;

	got = receive(client->fd, message, sizeof(message), &sender);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	/* The end, or an empty message, which is no request either. */
	if (got == 0)
		return false;
	if (sender != client->peer.pid) {
		because(&why, EPERM,
			"this connection is of process %d, and process %d sent the request: each "
			"makes its own",
			(int)client->peer.pid, (int)sender);
		log_refusal(server, &client->peer, why.text);
		return send_refusal(client->fd, PN_BROKER_REFUSED, EPERM, &why);
	}
	if (request_parse(&request, message, (size_t)got, &why)) {
		log_refusal(server, &client->peer, why.text);
		(void)send_refusal(client->fd, PN_BROKER_REFUSED, EPROTO, &why);
		return false;
	}
	return request.kind == PN_BROKER_OPEN ? do_open(server, client, &request)
					      : do_release(server, client, &request);
}

/*
 * The loop
 */

static void read_policy(struct server *server)
{
	static struct policy fresh;

	if (policy_load(&fresh, server->opts->policy, true)) {
		complain("the policy of before stays in force");
		return;
	}
	server->policy = fresh;
	complain("%s is in force: %u rules", server->opts->policy, fresh.count);
}

/* true: go on. */
static bool take_signal(struct server *server)
{
	struct signalfd_siginfo info;

	if (read(server->opts->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return true;
	if (info.ssi_signo == SIGUSR1) {
		complain("all that is handed out is taken back");
		(void)lease_end_all(&server->ledger);
		return true;
	}
	if (info.ssi_signo != SIGHUP)
		return false;
	read_policy(server);
	return true;
}

/* What poll() looks at: never more than there are files, which it would refuse. */
struct watch {
	unsigned int count,
		leases; /* entries; the leases come first behind the two of the server */
	struct pollfd entries[2 + LEDGER_LEASES + CLIENTS];
	void *of[2 + LEDGER_LEASES + CLIENTS];
};

static void add(struct watch *watch, int fd, void *of)
{
	watch->of[watch->count] = of;
	watch->entries[watch->count++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static void fill(struct server *server, struct watch *watch)
{
	watch->count = 0;
	add(watch, server->opts->signals, NULL);
	add(watch, server->no_room ? -1 : server->opts->listener, NULL);
	for (unsigned int i = 0; i < LEDGER_LEASES; i++) {
		struct lease *lease = &server->ledger.leases[i];

		if (lease->state == LEASE_HELD)
			add(watch, lease->peer.pidfd, lease);
	}
	watch->leases = watch->count - 2;
	for (unsigned int i = 0; i < CLIENTS; i++) {
		if (server->clients[i].fd >= 0)
			add(watch, server->clients[i].fd, &server->clients[i]);
	}
}

/* What ended goes first, so that it is free for who asks. */
static void work(struct server *server, const struct watch *watch)
{
	for (unsigned int i = 2; i < watch->count; i++) {
		struct client *client = watch->of[i];
		struct lease *lease = watch->of[i];

		if (!watch->entries[i].revents)
			continue;
		if (i >= 2 + watch->leases) {
			if (!serve_client(server, client))
				drop(server, client);
		} else if (lease->state == LEASE_HELD) {
			lease_end(&server->ledger, lease);
		}
	}
	if (watch->entries[1].revents)
		accept_one(server);
}

static int run(struct server *server)
{
	struct watch watch;
	int timeout, ready;

	for (;;) {
		timeout = lease_retry(&server->ledger);
		if (server->no_room && (timeout < 0 || timeout > WAIT_FOR_ROOM_MS))
			timeout = WAIT_FOR_ROOM_MS;
		fill(server, &watch);
		server->no_room = false;
		ready = poll(watch.entries, watch.count, timeout);
		if (ready < 0 && errno != EINTR) {
			complain("poll: %s", strerror(errno));
			return EXIT_FAILURE;
		}
		if (ready <= 0)
			continue;
		if (watch.entries[0].revents && !take_signal(server))
			return EXIT_SUCCESS;
		work(server, &watch);
	}
}

int serve(const struct server_opts *opts, const struct policy *policy)
{
	struct server *server = calloc(1, sizeof(*server));
	int status;

	if (!server) {
		complain("out of memory");
		return EXIT_FAILURE;
	}
	server->opts = opts;
	server->policy = *policy;
	server->ledger.path = opts->ledger;
	for (unsigned int i = 0; i < CLIENTS; i++)
		server->clients[i].fd = -1;
	(void)ledger_read(&server->ledger);
	ledger_leave_elsewhere(&server->ledger);
	/* Nothing is handed out that could not be written down. */
	status = ledger_write(&server->ledger) ? EXIT_FAILURE : run(server);
	/* Clients go on with what they have; the ledger stays. */
	free(server);
	return status;
}
