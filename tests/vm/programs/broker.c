/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client of pinion-broker that does what it should not, below the library: broker SOCKET ACTION
 * [ARGUMENT]... Each action prints what came of it, for the suite to judge; exit status 0 if it
 * could be tried. Those that hold something wait for the end of standard input.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pn_broker_protocol.h"

#define PAGE 4096u

/* include/uapi/linux/iommufd.h. */
struct ioas_alloc {
	uint32_t size, flags, id;
};
struct ioas_map {
	uint32_t size, flags, id, reserved;
	uint64_t user_va, length, iova;
};
struct attach {
	uint32_t argsz, flags, pt_id;
};
#define IOAS_ALLOC    _IO(';', 0x81)
#define IOAS_MAP      _IO(';', 0x85)
#define DEVICE_ATTACH _IO(VFIO_TYPE, VFIO_BASE + 19)

static const char *socket_path;

static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Receive a reply and the files with it; errno of the reply, -1: the connection is closed. */
static int answer(int fd, struct pn_broker_wire_reply *reply, int *fds, unsigned int *count)
{
	union {
		char bytes[CMSG_SPACE(PN_BROKER_FILES * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec data = {.iov_base = reply, .iov_len = sizeof(*reply)};
	struct msghdr message = {.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *header;

	ssize_t got = recvmsg(fd, &message, 0);

	*count = 0;
	/* Told once, before what was said. */
	if (got < 0 && errno == ECONNRESET)
		got = recvmsg(fd, &message, 0);
	if (got != (ssize_t)sizeof(*reply))
		return -1;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS) {
		*count = (unsigned int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(header), *count * sizeof(int));
	}
	return reply->error;
}

static struct pn_broker_wire_request make_request(char **devices, int count, uint32_t backend)
{
	struct pn_broker_wire_request request = {.magic = PN_BROKER_MAGIC,
		.kind = PN_BROKER_OPEN,
		.backend = backend,
		.count = (uint32_t)count};

	for (int i = 0; i < count && i < PN_BROKER_DEVICES; i++)
		strncpy(request.device[i], devices[i], PN_BROKER_ADDRESS);
	return request;
}

static int ask(int fd, const struct pn_broker_wire_request *request,
	struct pn_broker_wire_reply *reply, int *fds, unsigned int *count)
{
	*count = 0;
	/* Refused as a connection: that is there to be read. */
	if (send(fd, request, sizeof(*request), MSG_NOSIGNAL) < 0 && errno != EPIPE)
		return -1;
	return answer(fd, reply, fds, count);
}

static void tell(const char *what, int error, const struct pn_broker_wire_reply *reply)
{
	printf("%s: %d %s\n", what, error, error > 0 ? reply->text : "");
	fflush(stdout);
}

static void wait_for_end(void)
{
	char byte;

	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
}

static void print_limit(unsigned int files)
{
	struct rlimit limit;

	getrlimit(RLIMIT_MEMLOCK, &limit);
	printf("files %u limit %llu %llu\n", files, (unsigned long long)limit.rlim_cur,
		(unsigned long long)limit.rlim_max);
	fflush(stdout);
}

/* open BACKEND[:MEMORY] DEVICE...: ask, and hold what comes. */
static int do_open(int argc, char **argv)
{
	struct pn_broker_wire_request request =
		make_request(argv + 1, argc - 1, (uint32_t)atoi(argv[0]));
	const char *memory = strchr(argv[0], ':');
	struct pn_broker_wire_reply reply = {0};
	int fds[PN_BROKER_FILES], fd = dial();
	unsigned int count;

	if (memory)
		request.memory = strtoull(memory + 1, NULL, 0);
	tell("open", ask(fd, &request, &reply, fds, &count), &reply);
	print_limit(count);
	wait_for_end();
	close(fd);
	return 0;
}

/* release DEVICE OTHER: have both, give one back, one that is not ours, and the rest. */
static int do_release(int argc, char **argv)
{
	struct pn_broker_wire_request request = make_request(argv, 1, 0), release;
	struct pn_broker_wire_reply reply = {0};
	int fds[PN_BROKER_FILES], fd = dial();
	unsigned int count;

	(void)argc;
	for (int i = 0; i < 2; i++) {
		request = make_request(argv + i, 1, 0);
		tell("open", ask(fd, &request, &reply, fds, &count), &reply);
		print_limit(count);
		for (unsigned int j = 0; j < count; j++)
			close(fds[j]);
	}
	release = request;
	release.kind = PN_BROKER_RELEASE;
	tell("release", ask(fd, &release, &reply, fds, &count), &reply);
	print_limit(count);
	tell("release", ask(fd, &release, &reply, fds, &count), &reply);
	memset(release.device, 0, sizeof(release.device));
	release.count = 0;
	tell("release", ask(fd, &release, &reply, fds, &count), &reply);
	print_limit(count);
	return 0;
}

/* What a message brings: an errno, 0, or "closed" after it. */
static void try_message(const char *what, const void *message, size_t len, int with_fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec data = {.iov_base = (void *)(uintptr_t)message, .iov_len = len};
	struct msghdr header = {.msg_iov = &data, .msg_iovlen = 1};
	struct pn_broker_wire_reply reply = {0};
	int fds[PN_BROKER_FILES], fd = dial(), error;
	unsigned int count;

	if (with_fd >= 0) {
		header.msg_control = control.bytes;
		header.msg_controllen = sizeof(control.bytes);
		CMSG_FIRSTHDR(&header)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&header)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&header)->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&header)), &with_fd, sizeof(int));
	}
	if (sendmsg(fd, &header, MSG_NOSIGNAL) < 0) {
		printf("%s: not sent\n", what);
		close(fd);
		return;
	}
	error = answer(fd, &reply, fds, &count);
	printf("%s: %d files %u\n", what, error, count);
	close(fd);
}

/* garbage DEVICE: messages that are no requests. */
static int do_garbage(int argc, char **argv)
{
	struct pn_broker_wire_request good = make_request(argv, argc, 0), bad;
	char bytes[4 * sizeof(good)], what[64];
	size_t len;

	srandom(1);
	for (len = 0; len <= sizeof(bytes); len += len < 200 ? 7 : 61) {
		for (size_t i = 0; i < len; i++)
			bytes[i] = (char)random();
		snprintf(what, sizeof(what), "random");
		try_message(what, bytes, len, -1);
	}
	for (len = 1; len < sizeof(good); len += 13)
		try_message("half", &good, len, -1);
	memset(bytes, 0, sizeof(bytes));
	memcpy(bytes, &good, sizeof(good));
	try_message("long", bytes, sizeof(good) + 1, -1);
#define BAD(field, value)  \
	bad = good;        \
	bad.field = value; \
	try_message("bad " #field, &bad, sizeof(bad), -1)
	BAD(magic, 0x31424e51);
	BAD(kind, 0);
	BAD(kind, 3);
	BAD(backend, 3);
	BAD(count, 0);
	BAD(count, 9);
	BAD(count, UINT32_MAX);
	BAD(count, 2);
	BAD(memory, 1);
	BAD(memory, UINT64_MAX);
	BAD(device[7][15], 1);
	BAD(device[0][12], 'x');
	BAD(device[0][0], 'A');
	bad = good;
	bad.count = 2;
	memcpy(bad.device[1], bad.device[0], PN_BROKER_ADDRESS);
	try_message("twice", &bad, sizeof(bad), -1);
	bad = good;
	memset(bad.device[0], 0, PN_BROKER_ADDRESS);
	memcpy(bad.device[0], "/dev/mem", 8);
	try_message("path", &bad, sizeof(bad), -1);
	memcpy(bad.device[0], "../../../etc/pas", PN_BROKER_ADDRESS);
	try_message("path", &bad, sizeof(bad), -1);
	try_message("garbage with a file", bytes, 5, STDIN_FILENO);
	return 0;
}

/* files DEVICE: a request that is good, with files that nobody wants. */
static int do_files(int argc, char **argv)
{
	struct pn_broker_wire_request request = make_request(argv, argc, 0);

	for (int i = 0; i < 20; i++)
		try_message("with a file", &request, sizeof(request), STDIN_FILENO);
	return 0;
}

/* flood COUNT: so many connections at once, and what becomes of them. */
static int do_flood(int argc, char **argv)
{
	unsigned int wanted = (unsigned int)atoi(argv[0]), open_now = 0, refused = 0, i;
	struct pn_broker_wire_reply reply = {0};
	int *fds = calloc(wanted, sizeof(*fds)), none[PN_BROKER_FILES];
	unsigned int count;

	(void)argc;
	for (i = 0; i < wanted; i++)
		fds[i] = dial();
	for (i = 0; i < wanted; i++) {
		struct pollfd entry = {.fd = fds[i], .events = POLLIN};

		if (fds[i] < 0)
			continue;
		/* The last ones may still be in the queue. */
		if (poll(&entry, 1, i + 100 < wanted ? 20 : 500) > 0 &&
			answer(fds[i], &reply, none, &count) > 0)
			refused++;
		else
			open_now++;
	}
	printf("open %u refused %u\n", open_now, refused);
	free(fds);
	return 0;
}

/* connects COUNT: one after the other, half of them with half a message. */
static int do_connects(int argc, char **argv)
{
	int made = 0;

	(void)argc;
	for (int i = 0; i < atoi(argv[0]); i++) {
		int fd = dial();

		if (fd < 0)
			continue;
		made++;
		if (i % 2)
			(void)send(fd, "PNB1", 4, MSG_NOSIGNAL);
		close(fd);
	}
	printf("connects %d\n", made);
	return 0;
}

/* forked DEVICE: a child uses the connection of its parent. */
static int do_forked(int argc, char **argv)
{
	struct pn_broker_wire_request request = make_request(argv, argc, 0);
	struct pn_broker_wire_reply reply = {0};
	int fds[PN_BROKER_FILES], fd = dial();
	unsigned int count;

	if (!fork()) {
		tell("child", ask(fd, &request, &reply, fds, &count), &reply);
		_exit(0);
	}
	wait(NULL);
	tell("parent", ask(fd, &request, &reply, fds, &count), &reply);
	return 0;
}

/* keep DEVICE: a child keeps the files, the process that got them ends. */
static int do_keep(int argc, char **argv)
{
	struct pn_broker_wire_request request = make_request(argv, argc, 0);
	struct pn_broker_wire_reply reply = {0};
	int fds[PN_BROKER_FILES], fd = dial();
	unsigned int count;

	tell("open", ask(fd, &request, &reply, fds, &count), &reply);
	if (fork())
		_exit(0);
	close(fd);
	wait_for_end();
	return 0;
}

/* die DEVICE: gone between request and reply. */
static int do_die(int argc, char **argv)
{
	struct pn_broker_wire_request request = make_request(argv, argc, 0);

	for (int i = 0; i < 5; i++) {
		if (!fork()) {
			int fd = dial();

			(void)send(fd, &request, sizeof(request), MSG_NOSIGNAL);
			kill(getpid(), SIGKILL);
		}
		wait(NULL);
	}
	puts("died");
	return 0;
}

/* deaf DEVICE: requests without reading a reply. */
static int do_deaf(int argc, char **argv)
{
	struct pn_broker_wire_request request = make_request(argv, argc, 0);
	int fd = dial(), sent = 0;

	while (sent < 100000 && send(fd, &request, sizeof(request), MSG_NOSIGNAL) > 0)
		sent++;
	printf("deaf: %s\n", sent < 100000 ? "cut off" : "still there");
	return 0;
}

/* reuse DEVICE: another process gets the number of the one that connected, and its connection. */
static int do_reuse(int argc, char **argv)
{
	struct pn_broker_wire_request request = make_request(argv, argc, 0);
	struct pn_broker_wire_reply reply = {0};
	int fds[PN_BROKER_FILES], fd, pair[2];
	unsigned int count;
	pid_t first, next;
	char byte = 0;

	/* The child connects and ends; its parent has the connection, made by the child. */
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return 1;
	first = fork();
	if (!first) {
		union {
			char bytes[CMSG_SPACE(sizeof(int))];
			struct cmsghdr align;
		} control = {0};
		struct iovec data = {.iov_base = &byte, .iov_len = 1};
		struct msghdr header = {.msg_iov = &data,
			.msg_iovlen = 1,
			.msg_control = control.bytes,
			.msg_controllen = sizeof(control.bytes)};

		fd = dial();
		CMSG_FIRSTHDR(&header)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&header)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&header)->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&header)), &fd, sizeof(int));
		sendmsg(pair[1], &header, 0);
		/* The broker takes the connection while its maker lives. */
		usleep(300000);
		_exit(0);
	}
	{
		union {
			char bytes[CMSG_SPACE(sizeof(int))];
			struct cmsghdr align;
		} control;
		struct iovec data = {.iov_base = &byte, .iov_len = 1};
		struct msghdr header = {.msg_iov = &data,
			.msg_iovlen = 1,
			.msg_control = control.bytes,
			.msg_controllen = sizeof(control.bytes)};

		if (recvmsg(pair[0], &header, 0) != 1)
			return 1;
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof(int));
	}
	waitpid(first, NULL, 0);
	for (int i = 0; i < 100000; i++) {
		next = fork();
		if (next < 0)
			return 1;
		if (!next && getpid() == first) {
			tell("reused", ask(fd, &request, &reply, fds, &count), &reply);
			_exit(1);
		}
		if (!next)
			_exit(0);
		waitpid(next, NULL, 0);
		if (next == first)
			return 0;
	}
	puts("the number did not come again");
	return 1;
}

/* Map so many bytes of own memory into an address space of the iommufd: 0 or an errno. */
static int map(int iommufd, uint32_t ioas, uint64_t bytes, uint64_t iova)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct ioas_map request = {.size = sizeof(request),
		.flags = 7,
		.id = ioas,
		.user_va = (uint64_t)(uintptr_t)memory,
		.length = bytes,
		.iova = iova};

	return ioctl(iommufd, IOAS_MAP, &request) ? errno : 0;
}

/* children DEVICE COUNT: each child maps all that the limit allows, through the same iommufd. */
static int do_children(int argc, char **argv)
{
	struct pn_broker_wire_request request = make_request(argv, 1, PN_BROKER_IOMMUFD);
	struct ioas_alloc alloc = {.size = sizeof(alloc)};
	struct attach attach = {.argsz = sizeof(attach)};
	struct pn_broker_wire_reply reply = {0};
	int fds[PN_BROKER_FILES], fd = dial(), status, mapped = 0, over;
	unsigned int count;

	(void)argc;
	tell("open", ask(fd, &request, &reply, fds, &count), &reply);
	if (count != 2 || ioctl(fds[0], IOAS_ALLOC, &alloc))
		return 1;
	attach.pt_id = alloc.id;
	if (ioctl(fds[1], DEVICE_ATTACH, &attach))
		return 1;
	over = map(fds[0], alloc.id, reply.memory + PAGE, UINT64_C(1) << 36);
	for (int i = 0; i < atoi(argv[1]); i++) {
		if (!fork())
			_exit(map(fds[0], alloc.id, reply.memory, (uint64_t)i << 30));
		wait(&status);
		mapped += WIFEXITED(status) && !WEXITSTATUS(status);
	}
	printf("a page too many: %d; children that mapped all: %d\n", over, mapped);
	return 0;
}

/*
 * mapped DEVICE PAGES: map so many pages at 8 GiB for the device; after a line of input a child
 * keeps the iommufd alone, and the process that got the device ends.
 */
static int do_mapped(int argc, char **argv)
{
	struct pn_broker_wire_request request = make_request(argv, 1, PN_BROKER_IOMMUFD);
	uint64_t bytes = (uint64_t)atoi(argv[1]) * PAGE;
	struct ioas_alloc alloc = {.size = sizeof(alloc)};
	struct attach attach = {.argsz = sizeof(attach)};
	struct pn_broker_wire_reply reply = {0};
	int fds[PN_BROKER_FILES], fd = dial();
	unsigned int count;
	char byte;

	(void)argc;
	ask(fd, &request, &reply, fds, &count);
	if (count != 2 || ioctl(fds[0], IOAS_ALLOC, &alloc))
		return 1;
	attach.pt_id = alloc.id;
	if (ioctl(fds[1], DEVICE_ATTACH, &attach) ||
		(bytes && map(fds[0], alloc.id, bytes, UINT64_C(1) << 33)))
		return 1;
	puts("mapped");
	if (read(STDIN_FILENO, &byte, 1) != 1 || fork())
		_exit(0);
	close(fds[1]);
	close(fd);
	wait_for_end();
	return 0;
}

/*
 * scribble DEVICE VALUE: write to a register of a card and turn bus mastering on, after saying what
 * is there. Offset 0x5400 of an e1000e's BAR 0 is the card's address (RAL0).
 */
static int do_scribble(int argc, char **argv)
{
	struct pn_broker_wire_request request = make_request(argv, 1, PN_BROKER_IOMMUFD);
	struct vfio_region_info bar = {.argsz = sizeof(bar), .index = VFIO_PCI_BAR0_REGION_INDEX};
	struct vfio_region_info config = {
		.argsz = sizeof(config), .index = VFIO_PCI_CONFIG_REGION_INDEX};
	uint32_t value = (uint32_t)strtoul(argv[1], NULL, 0);
	struct pn_broker_wire_reply reply = {0};
	int fds[PN_BROKER_FILES], fd = dial();
	volatile uint32_t *registers;
	uint16_t before, command;
	unsigned int count;

	(void)argc;
	tell("open", ask(fd, &request, &reply, fds, &count), &reply);
	if (count != 2 || ioctl(fds[1], VFIO_DEVICE_GET_REGION_INFO, &bar) ||
		ioctl(fds[1], VFIO_DEVICE_GET_REGION_INFO, &config) ||
		pread(fds[1], &before, 2, (off_t)config.offset + 4) != 2)
		return 1;
	command = before | 6;
	if (pwrite(fds[1], &command, 2, (off_t)config.offset + 4) != 2)
		return 1;
	registers =
		mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], (off_t)bar.offset);
	if (registers == MAP_FAILED)
		return 1;
	printf("master %d register 0x%08x\n", !!(before & 4), registers[0x5400 / 4]);
	registers[0x5400 / 4] = value;
	printf("now 0x%08x master %d\n", registers[0x5400 / 4],
		pread(fds[1], &command, 2, (off_t)config.offset + 4) == 2 && command & 4);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*act)(int argc, char **argv);
		int least;
	} actions[] = {{"open", do_open, 2}, {"release", do_release, 2}, {"garbage", do_garbage, 1},
		{"files", do_files, 1}, {"flood", do_flood, 1}, {"connects", do_connects, 1},
		{"forked", do_forked, 1}, {"keep", do_keep, 1}, {"die", do_die, 1},
		{"deaf", do_deaf, 1}, {"reuse", do_reuse, 1}, {"children", do_children, 2},
		{"mapped", do_mapped, 2}, {"scribble", do_scribble, 2}};

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; argc > 2 && i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (strcmp(argv[2], actions[i].name) != 0 || argc - 3 < actions[i].least)
			continue;
		socket_path = argv[1];
		return actions[i].act(argc - 3, argv + 3);
	}
	fprintf(stderr, "usage: broker SOCKET ACTION ARGUMENT...\n");
	return 2;
}
