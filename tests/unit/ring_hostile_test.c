/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ring ports whose other end writes nonsense into all that is shared, offers memory that could be
 * taken away, or sends files that nobody asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
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
#include <unistd.h>

#include <cmocka.h>

#include "ring_ends.h"
#include "ring_peer.h"

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

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s.ring", ends_folder, name);
	foreign->connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(
		connect(foreign->connection, (struct sockaddr *)&address, sizeof(address)), 0);
	ends_wait_link(port, NULL, true);
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
	ends_make(&memory);
	port = ends_start("ring:listen=hostile,size=64,slot=128", &memory);
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
		(void)ends_send(port, memory.pool, round, 1);
		if (!ends_up(port)) {
			hang_up(&foreign);
			dial(&foreign, port, "hostile");
		}
	}
	hang_up(&foreign);
	ends_wait_link(port, NULL, false);
	/* And for someone honest all is well again. */
	{
		struct pn_buf *bufs[BURST];
		struct pn_port *good;
		uint16_t n;

		while ((n = pn_port_rx_burst(port, 0, bufs, BURST)))
			pn_buf_free_bulk(bufs, n);
		good = ends_start("ring:connect=hostile", &memory);
		ends_wait_link(port, good, true);
		while ((n = pn_port_rx_burst(good, 0, bufs, BURST)))
			pn_buf_free_bulk(bufs, n);
		assert_int_equal(ends_send(port, memory.pool, 9, 20), 20);
		assert_int_equal(ends_receive(good, 9, 20), 20);
		assert_int_equal(ends_send(good, memory.pool, 3, 20), 20);
		assert_int_equal(ends_receive(port, 3, 20), 20);
		pn_port_close(good);
	}
	pn_port_close(port);
	ends_unmake(&memory);
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
	snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s.ring", ends_folder, name);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_hostile_listener),
		cmocka_unit_test(test_files_in_excess),
		cmocka_unit_test(test_no_file_left),
	};

	return cmocka_run_group_tests_name("ring_hostile", tests, ends_setup, ends_teardown);
}
