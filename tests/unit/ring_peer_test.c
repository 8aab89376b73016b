/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ring ports whose ends are in two processes: the conformance suite for each end; processes that
 * are killed and replaced without losing what was accepted; and an other end that writes nonsense
 * into all that is shared.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "port_conformance.h"
#include "ring_peer.h"

#define BURST 32

static char folder[] = "/tmp/ring-peer-XXXXXX";

/* A pool and what it takes. */
struct memory {
	struct pn_region *region;
	struct pn_heap *heap;
	struct pn_pool *pool;
};

static void make(struct memory *memory)
{
	struct pn_pool_opts opts = {.count = 1024, .check = PN_POOL_CHECK_ON};
	struct pn_region_opts region = PN_REGION_OPTS_INIT;

	region.page_size = PN_PAGE_4K;
	region.backing = PN_BACKING_MEMFD;
	assert_int_equal(pn_region_create(&memory->region, 4 << 20, &region), 0);
	assert_int_equal(pn_heap_create(&memory->heap, memory->region, 0x20000000), 0);
	assert_int_equal(pn_pool_create(&memory->pool, memory->heap, &opts), 0);
}

static void unmake(struct memory *memory)
{
	assert_int_equal(pn_pool_available(memory->pool), 1024);
	assert_int_equal(pn_pool_refused(memory->pool), 0);
	assert_int_equal(pn_pool_destroy(memory->pool), 0);
	assert_int_equal(pn_heap_destroy(memory->heap), 0);
	assert_int_equal(pn_region_destroy(memory->region), 0);
}

static struct pn_port *open_port(const char *spec)
{
	struct pn_port *port = NULL;

	if (pn_port_open(&port, spec, NULL))
		fail_msg("%s", pn_error());
	return port;
}

static struct pn_port *open_started(const char *spec, struct memory *memory)
{
	struct pn_port_conf conf = {.rx_pool = memory->pool};
	struct pn_port *port = open_port(spec);

	assert_int_equal(pn_port_configure(port, &conf), 0);
	assert_int_equal(pn_port_start(port), 0);
	return port;
}

static bool is_up(struct pn_port *port)
{
	struct pn_port_link link;

	assert_int_equal(pn_port_get_link(port, &link), 0);
	return link.up;
}

static void wait_link(struct pn_port *port, struct pn_port *other, bool up)
{
	for (int i = 0; i < 5000; i++) {
		bool one = is_up(port), two = !other || is_up(other) == up;

		if (one == up && two)
			return;
		usleep(1000);
	}
	fail_msg("the link does not come %s", up ? "up" : "down");
}

/* A packet of so many bytes, all of which follow from its number. */
static void fill(unsigned char *data, uint32_t len, uint32_t number)
{
	for (uint32_t i = 0; i < len; i++)
		data[i] = (unsigned char)(number * 7 + i);
}

static struct pn_buf *make_packet(struct pn_pool *pool, uint16_t len, uint32_t number)
{
	struct pn_buf *packet;

	assert_int_equal(pn_pool_get(pool, &packet, 1), 0);
	fill(pn_buf_append(packet, len), len, number);
	return packet;
}

static void check_packet(const struct pn_buf *packet, uint32_t len, uint32_t number)
{
	unsigned char right[8192];
	uint32_t at = 0;

	fill(right, len, number);
	assert_int_equal(packet->pkt_len, len);
	for (const struct pn_buf *seg = packet; seg; seg = seg->next) {
		assert_memory_equal(pn_buf_data(seg), right + at, seg->data_len);
		at += seg->data_len;
	}
	assert_int_equal(at, len);
}

/*
 * Conformance: the other end is a port of the same process.
 */
struct pair {
	const char *other_spec;
	struct pn_port *other;
	struct memory memory;
};

static struct pn_port *pair_open(struct conformance *driver)
{
	struct pair *pair = driver->own;
	struct pn_port *port;

	make(&pair->memory);
	port = open_port(driver->name);
	pair->other = open_started(pair->other_spec, &pair->memory);
	return port;
}

static void pair_settle(struct conformance *driver, struct pn_port *port)
{
	wait_link(port, ((struct pair *)driver->own)->other, true);
}

static void pair_drain(struct conformance *driver, struct pn_port *port)
{
	struct pair *pair = driver->own;
	struct pn_buf *bufs[BURST];
	uint16_t n;

	(void)port;
	while ((n = pn_port_rx_burst(pair->other, 0, bufs, BURST)))
		pn_buf_free_bulk(bufs, n);
}

static uint32_t pair_feed(struct conformance *driver, struct pn_port *port, uint32_t n)
{
	struct pair *pair = driver->own;
	uint32_t sent = 0;

	(void)port;
	for (uint32_t i = 0; i < n; i++) {
		struct pn_buf *packet = make_packet(pair->memory.pool, (uint16_t)(i + 1), i);
		uint16_t put = pn_port_tx_burst(pair->other, 0, &packet, 1);

		if (!put)
			pn_buf_free(packet);
		sent += put;
	}
	return sent;
}

static void pair_close(struct conformance *driver, struct pn_port *port)
{
	struct pair *pair = driver->own;

	pn_port_close(port);
	pn_port_close(pair->other);
	unmake(&pair->memory);
}

static void conform(const char *spec, const char *other)
{
	struct pair pair = {.other_spec = other};
	struct conformance driver = {
		.name = spec,
		.open = pair_open,
		.close = pair_close,
		.feed = pair_feed,
		.drain = pair_drain,
		.settle = pair_settle,
		.own = &pair,
		.tx_room = 64,
		.rx_from_pool = true,
	};

	conformance_run(&driver);
}

static void test_listener(void **state)
{
	(void)state;
	conform("ring:listen=a,size=64", "ring:connect=a");
}

static void test_connector(void **state)
{
	(void)state;
	conform("ring:connect=b", "ring:listen=b,size=64");
}

/* Longer packets take several slots, and arrive whole, wherever the ring ends. */
static void test_slots(void **state)
{
	struct memory memory;
	struct pn_port *a, *b;

	(void)state;
	make(&memory);
	a = open_started("ring:listen=slots,size=16,slot=128", &memory);
	b = open_started("ring:connect=slots", &memory);
	wait_link(a, b, true);
	for (uint32_t i = 0; i < 3000; i++) {
		uint16_t len = (uint16_t)(1 + i * 37 % 2000);
		struct pn_buf *packet = make_packet(memory.pool, len, i);

		assert_int_equal(pn_port_tx_burst(a, 0, &packet, 1), 1);
		assert_int_equal(pn_port_rx_burst(b, 0, &packet, 1), 1);
		check_packet(packet, len, i);
		/* And back, as it came. */
		assert_int_equal(pn_port_tx_burst(b, 0, &packet, 1), 1);
		assert_int_equal(pn_port_rx_burst(a, 0, &packet, 1), 1);
		check_packet(packet, len, i);
		pn_buf_free(packet);
	}
	/* One that the whole ring cannot hold is accepted, counted and freed. */
	{
		struct pn_buf *packet = make_packet(memory.pool, 2048, 0);
		struct pn_port_stats stats;

		packet->next = make_packet(memory.pool, 100, 0);
		packet->nb_segs = 2;
		packet->pkt_len = 2148;
		assert_int_equal(pn_port_tx_burst(a, 0, &packet, 1), 1);
		assert_int_equal(pn_port_get_stats(a, &stats), 0);
		assert_int_equal(stats.tx_errors, 1);
		assert_int_equal(stats.tx_packets, 3000);
	}
	pn_port_close(a);
	pn_port_close(b);
	unmake(&memory);
}

/* The other process: sends back what it gets, until it is killed. */
static pid_t start_echo(const char *spec)
{
	pid_t child;

	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (child)
		return child;
	{
		struct memory memory;
		struct pn_port *port;

		make(&memory);
		port = open_started(spec, &memory);
		for (;;) {
			struct pn_buf *bufs[BURST];
			uint16_t n = pn_port_rx_burst(port, 0, bufs, BURST), sent = 0;

			while (sent < n)
				sent = (uint16_t)(sent + pn_port_tx_burst(port, 0, bufs + sent,
								 (uint16_t)(n - sent)));
			if (!n)
				(void)pn_port_wait(&port, 1, 10);
		}
	}
}

static void kill_child(pid_t child)
{
	int status;

	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
}

/* How many of these come back, each with the next number. */
static uint32_t receive(struct pn_port *port, uint32_t from, uint32_t want)
{
	uint32_t got = 0;

	for (int idle = 0; got < want && idle < 3000; idle++) {
		struct pn_buf *packet;

		if (!pn_port_rx_burst(port, 0, &packet, 1)) {
			assert_true(pn_port_wait(&port, 1, 1) >= 0);
			continue;
		}
		check_packet(packet, 60 + (from + got) % 100, from + got);
		pn_buf_free(packet);
		got++;
		idle = 0;
	}
	return got;
}

static uint32_t send_numbered(struct pn_port *port, struct pn_pool *pool, uint32_t from, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct pn_buf *packet =
			make_packet(pool, (uint16_t)(60 + (from + i) % 100), from + i);

		if (!pn_port_tx_burst(port, 0, &packet, 1)) {
			pn_buf_free(packet);
			return i;
		}
	}
	return n;
}

/* The one that connected is killed: the link goes down, and what it was sent reaches the next. */
static void test_connector_dies(void **state)
{
	struct memory memory;
	struct pn_port *port;
	pid_t child;

	(void)state;
	make(&memory);
	port = open_started("ring:listen=dies,size=256", &memory);
	assert_false(is_up(port));
	assert_int_equal(send_numbered(port, memory.pool, 0, 1), 0);
	child = start_echo("ring:connect=dies");
	wait_link(port, NULL, true);
	assert_int_equal(send_numbered(port, memory.pool, 0, 200), 200);
	assert_int_equal(receive(port, 0, 200), 200);
	/* It stands still; what is accepted now it does not take. */
	assert_int_equal(kill(child, SIGSTOP), 0);
	usleep(20000);
	assert_int_equal(send_numbered(port, memory.pool, 1000, 100), 100);
	kill_child(child);
	wait_link(port, NULL, false);
	assert_int_equal(send_numbered(port, memory.pool, 0, 1), 0);
	child = start_echo("ring:connect=dies");
	wait_link(port, NULL, true);
	assert_int_equal(receive(port, 1000, 100), 100);
	kill_child(child);
	pn_port_close(port);
	unmake(&memory);
}

/* The one that listens is killed: what it had sent is received, the link is down; a new one is
 * found when the port is started anew. */
static void test_listener_dies(void **state)
{
	struct memory memory;
	struct pn_port *port;
	pid_t child;

	(void)state;
	make(&memory);
	port = open_started("ring:connect=ends", &memory);
	assert_false(is_up(port));
	child = start_echo("ring:listen=ends,size=256");
	wait_link(port, NULL, true);
	assert_int_equal(send_numbered(port, memory.pool, 0, 100), 100);
	usleep(200000);
	kill_child(child);
	wait_link(port, NULL, false);
	assert_int_equal(receive(port, 0, 100), 100);
	assert_int_equal(send_numbered(port, memory.pool, 0, 1), 0);
	/* The socket that it left behind is in nobody's way. */
	child = start_echo("ring:listen=ends,size=64");
	usleep(100000);
	assert_false(is_up(port));
	assert_int_equal(pn_port_stop(port), 0);
	assert_int_equal(pn_port_start(port), 0);
	wait_link(port, NULL, true);
	assert_int_equal(send_numbered(port, memory.pool, 5, 20), 20);
	assert_int_equal(receive(port, 5, 20), 20);
	kill_child(child);
	pn_port_close(port);
	unmake(&memory);
}

/* The memory as who connects sees it. */
struct foreign {
	int connection;
	uint64_t *words;
	uint64_t bytes;
};

static void dial(struct foreign *foreign, struct pn_port *port, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct {
		uint64_t magic;
		uint32_t size, slot;
	} hello;
	struct iovec piece = {&hello, sizeof(hello)};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr message = {.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	struct stat st;
	int fd;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s.ring", folder, name);
	foreign->connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(
		connect(foreign->connection, (struct sockaddr *)&address, sizeof(address)), 0);
	wait_link(port, NULL, true);
	assert_int_equal(recvmsg(foreign->connection, &message, 0), sizeof(hello));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	assert_int_equal(fstat(fd, &st), 0);
	foreign->bytes = (uint64_t)st.st_size;
	foreign->words = mmap(NULL, foreign->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(foreign->words, MAP_FAILED);
	/* It cannot be taken away from under the other. */
	assert_true(ftruncate(fd, 0) < 0);
	close(fd);
}

static void hang_up(struct foreign *foreign)
{
	munmap(foreign->words, foreign->bytes);
	close(foreign->connection);
}

/* Every word of the memory, set to what does most harm, while the port receives and sends. */
static void test_hostile(void **state)
{
	static const uint64_t values[] = {0, 1, 63, 64, 65, UINT32_MAX, UINT64_MAX,
		UINT64_C(0x8000000080000000), UINT64_C(0x8000080080000800)};
	struct foreign foreign;
	struct memory memory;
	struct pn_port *port;
	unsigned int seed = 4711;

	(void)state;
	make(&memory);
	port = open_started("ring:listen=hostile,size=64,slot=128", &memory);
	dial(&foreign, port, "hostile");
	for (uint32_t round = 0; round < 20000; round++) {
		/* Positions and lengths are in the first page of each way. */
		uint64_t way = (uint64_t)rand_r(&seed) % 2 * (foreign.bytes / 2 / 8);
		uint64_t at = way + (uint64_t)rand_r(&seed) % (rand_r(&seed) % 2 ? 20 : 80);
		uint64_t value = values[(unsigned int)rand_r(&seed) % 9];
		struct pn_buf *bufs[BURST];
		uint16_t n;

		if (rand_r(&seed) % 4 == 0)
			value = foreign.words[at] + (uint64_t)rand_r(&seed) % 70;
		__atomic_store_n(&foreign.words[at], value, __ATOMIC_RELEASE);
		n = pn_port_rx_burst(port, 0, bufs, BURST);
		assert_true(n <= BURST);
		for (uint16_t i = 0; i < n; i++) {
			uint32_t sum = 0;

			for (struct pn_buf *seg = bufs[i]; seg; seg = seg->next) {
				assert_in_range(seg->data_len, 1, 128);
				sum += seg->data_len;
			}
			assert_int_equal(sum, bufs[i]->pkt_len);
		}
		pn_buf_free_bulk(bufs, n);
		(void)send_numbered(port, memory.pool, round, 1);
		if (!is_up(port)) {
			hang_up(&foreign);
			dial(&foreign, port, "hostile");
		}
	}
	hang_up(&foreign);
	wait_link(port, NULL, false);
	/* And for someone honest all is well again. */
	{
		struct pn_buf *bufs[BURST];
		struct pn_port *good;
		uint16_t n;

		while ((n = pn_port_rx_burst(port, 0, bufs, BURST)))
			pn_buf_free_bulk(bufs, n);
		good = open_started("ring:connect=hostile", &memory);
		wait_link(port, good, true);
		while ((n = pn_port_rx_burst(good, 0, bufs, BURST)))
			pn_buf_free_bulk(bufs, n);
		assert_int_equal(send_numbered(port, memory.pool, 9, 20), 20);
		assert_int_equal(receive(good, 9, 20), 20);
		assert_int_equal(send_numbered(good, memory.pool, 3, 20), 20);
		assert_int_equal(receive(port, 3, 20), 20);
		pn_port_close(good);
	}
	pn_port_close(port);
	unmake(&memory);
}

/* Memory that could be taken away, of another size, or none at all, is not taken. */
static void test_hostile_listener(void **state)
{
	struct shared_ring ring, made;
	int fd, copy;

	(void)state;
	assert_int_equal(shared_ring_make(&made, "x", 64, 128), 0);
	copy = dup(made.fd);
	assert_int_equal(shared_ring_join(&ring, "x", copy, 64, 128), 0);
	shared_ring_end(&ring);
	copy = dup(made.fd);
	assert_int_equal(shared_ring_join(&ring, "x", copy, 128, 128), -EINVAL);
	assert_int_equal(shared_ring_join(&ring, "x", copy, 63, 128), -EINVAL);
	assert_int_equal(shared_ring_join(&ring, "x", copy, 0, 128), -EINVAL);
	assert_int_equal(shared_ring_join(&ring, "x", copy, 64, UINT32_MAX), -EINVAL);
	assert_int_equal(shared_ring_join(&ring, "x", copy, UINT32_MAX, 128), -EINVAL);
	__atomic_store_n(made.in.produced, 1000, __ATOMIC_RELEASE);
	assert_int_equal(shared_ring_join(&ring, "x", copy, 64, 128), -EPROTO);
	close(copy);
	/* Not sealed. */
	fd = memfd_create("loose", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, (off_t)made.bytes), 0);
	assert_int_equal(shared_ring_join(&ring, "x", fd, 64, 128), -EINVAL);
	close(fd);
	fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	assert_int_equal(shared_ring_join(&ring, "x", fd, 64, 128), -EINVAL);
	close(fd);
	shared_ring_end(&made);
}

static unsigned int count_files(void)
{
	unsigned int count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static int listen_as(const char *name, struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s.ring", folder, name);
	assert_int_equal(bind(fd, (struct sockaddr *)address, sizeof(*address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

/* A hello as it should be, but for the files that come with it. */
static void say_hello_with_two(int to)
{
	struct {
		uint64_t magic;
		uint32_t size, slot;
	} hello = {UINT64_C(0x706e207065657231), 64, 128};
	struct iovec piece = {&hello, sizeof(hello)};
	const int files[2] = {0, 1};
	union {
		char bytes[CMSG_SPACE(sizeof(files))];
		struct cmsghdr align;
	} control = {0};
	struct msghdr message = {.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(files));
	memcpy(CMSG_DATA(head), files, sizeof(files));
	assert_int_equal(sendmsg(to, &message, 0), sizeof(hello));
}

/* Files that nobody asked for do not pile up. */
static void test_files_in_excess(void **state)
{
	struct ring_peer peer = {.port = "x", .name = "two", .listener = -1, .connection = -1};
	struct sockaddr_un address;
	uint32_t size, slot;
	int listener, to, fd;
	unsigned int before;

	(void)state;
	listener = listen_as("two", &address);
	before = count_files();
	for (unsigned int i = 0; i < 10; i++) {
		assert_false(ring_peer_connect(&peer, &fd, &size, &slot));
		to = accept(listener, NULL, NULL);
		assert_true(to >= 0);
		say_hello_with_two(to);
		assert_false(ring_peer_connect(&peer, &fd, &size, &slot));
		assert_int_equal(peer.connection, -1);
		close(to);
		assert_int_equal(count_files(), before);
	}
	close(listener);
	unlink(address.sun_path);
}

/* Who cannot look whether somebody listens does not take the name away. */
static void test_no_file_left(void **state)
{
	struct ring_peer peer = {
		.port = "x", .name = "few", .listens = true, .listener = -1, .connection = -1};
	struct sockaddr_un address;
	struct rlimit before, few;
	int listener, ret;

	(void)state;
	listener = listen_as("few", &address);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	/* One more. */
	few.rlim_cur = (rlim_t)dup(listener);
	close((int)few.rlim_cur++);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	ret = ring_peer_listen(&peer);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(ret, -EADDRINUSE);
	ring_peer_close(&peer);
	assert_int_equal(access(address.sun_path, F_OK), 0);
	close(listener);
	unlink(address.sun_path);
}

static void *send_back(void *arg)
{
	struct pn_port *port = arg;

	for (uint32_t done = 0; done < 5000;) {
		struct pn_buf *bufs[BURST];
		uint16_t n = pn_port_rx_burst(port, 0, bufs, BURST), sent = 0;

		while (sent < n)
			sent = (uint16_t)(sent + pn_port_tx_burst(port, 0, bufs + sent,
							 (uint16_t)(n - sent)));
		done += n;
		if (!n)
			(void)pn_port_wait(&port, 1, 1);
	}
	return NULL;
}

/* Each end in a thread of its own, and somebody who asks for the link. */
static void test_threads(void **state)
{
	struct memory memory;
	struct pn_port *a, *b;
	pthread_t thread;
	uint32_t sent = 0, got = 0;

	(void)state;
	make(&memory);
	a = open_started("ring:listen=threads,size=64", &memory);
	b = open_started("ring:connect=threads", &memory);
	wait_link(a, b, true);
	assert_int_equal(pthread_create(&thread, NULL, send_back, b), 0);
	while (got < 5000) {
		struct pn_buf *packet;

		if (sent < 5000)
			sent += send_numbered(a, memory.pool, sent, 1);
		assert_true(is_up(b));
		if (!pn_port_rx_burst(a, 0, &packet, 1))
			continue;
		check_packet(packet, 60 + got % 100, got);
		pn_buf_free(packet);
		got++;
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	pn_port_close(a);
	pn_port_close(b);
	unmake(&memory);
}

static void test_words(void **state)
{
	static const char *const bad[] = {"ring:listen=a/b", "ring:listen=.a", "ring:connect=a b",
		"ring:listen=a,connect=b", "ring:listen=", "ring:listen=a,size=3",
		"ring:listen=a,size=131072", "ring:listen=a,slot=100", "ring:listen=a,slot=1",
		"ring:listen=a,slot=1099511627776", "ring:listen=a,size=1099511627776"};
	struct pn_port *port = NULL, *other = NULL;
	struct pn_port_conf conf = {0};
	struct memory memory;

	(void)state;
	conformance_refused(bad, sizeof(bad) / sizeof(bad[0]));
	/* A name is one pair's; and slots have to fit the buffers. */
	make(&memory);
	conf.rx_pool = memory.pool;
	port = open_port("ring:listen=one,slot=4096");
	assert_int_equal(pn_port_open(&other, "ring:listen=one", NULL), -EADDRINUSE);
	assert_non_null(strstr(pn_error(), "one"));
	assert_int_equal(pn_port_configure(port, &conf), -EINVAL);
	assert_non_null(strstr(pn_error(), "4096"));
	pn_port_close(port);
	/* Free again. */
	pn_port_close(open_port("ring:listen=one"));
	unmake(&memory);
}

static int setup(void **state)
{
	(void)state;
	return !mkdtemp(folder) || setenv("PINION_RUNTIME_DIR", folder, 1);
}

static int teardown(void **state)
{
	char path[96];

	(void)state;
	/* Of a listener that was killed. */
	snprintf(path, sizeof(path), "%s/ends.ring", folder);
	(void)unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listener),
		cmocka_unit_test(test_connector),
		cmocka_unit_test(test_slots),
		cmocka_unit_test(test_connector_dies),
		cmocka_unit_test(test_listener_dies),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_hostile_listener),
		cmocka_unit_test(test_files_in_excess),
		cmocka_unit_test(test_no_file_left),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests_name("ring_peer", tests, setup, teardown);
}
