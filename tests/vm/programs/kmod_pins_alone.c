/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Exclusive pins, and waiting for the last pin. See kmod_pins.c.
 */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "kmod_pins.h"

void test_exclusive(void)
{
	char *mem = touched(8 * PAGE), *huge = huge_pages(2 * HUGE);
	int node = node_open(O_RDWR), other = node_open(O_RDWR);
	struct pinion_query seen;
	long a, b;

	a = pin(node, mem, 4 * PAGE, MM, 0);
	EQUAL(pin(other, mem + 3 * PAGE, 2 * PAGE, USER, X), -EBUSY);
	b = pin(other, mem + 4 * PAGE, 4 * PAGE, USER, X | W);
	CHECK(b > 0);
	EQUAL(query(other, b, &seen), 0);
	CHECK(seen.flags & PINION_QUERY_EXCLUSIVE);
	EQUAL(pin(node, mem, 5 * PAGE, MM, 0), -EBUSY);
	EQUAL(pin(node, mem + 7 * PAGE, PAGE, MM, X), -EBUSY);
	EQUAL(unpin_part(other, b, PAGE, PAGE), 0);
	EQUAL(unpin(node, pin(node, mem + 5 * PAGE, PAGE, MM, 0)), 1);
	EQUAL(pin(node, mem + 4 * PAGE, PAGE, MM, 0), -EBUSY);
	EQUAL(unpin(other, b), 0);
	EQUAL(unpin(node, a), 4);
	b = pin(other, huge, 2 * HUGE, USER, X);
	CHECK(b > 0);
	EQUAL(pin(node, huge + HUGE + PAGE, PAGE, MM, 0), -EBUSY);
	EQUAL(unpin(other, b), 0);
	a = pin(node, huge + HUGE + PAGE, PAGE, MM, 0);
	EQUAL(pin(other, huge, 2 * HUGE, USER, X), -EBUSY);
	b = pin(other, huge, HUGE, USER, X);
	CHECK(b > 0);
	EQUAL(unpin(other, b), 0);
	EQUAL(unpin(node, a), 1);
	check_none(node);
}

void test_exclusive_file(void)
{
	int fd = memory_file(8 * PAGE, false), huge = memory_file(HUGE, true);
	int node = node_open(O_RDWR);
	char *mem = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	long a, b;

	memset(mem, 1, 8 * PAGE);
	a = pin_fd(node, fd, 0, 4 * PAGE, MM, X);
	CHECK(a > 0);
	EQUAL(pin(node, mem, PAGE, MM, 0), -EBUSY);
	EQUAL(pin_fd(node, fd, 3 * PAGE, 2 * PAGE, MM, 0), -EBUSY);
	EQUAL(unpin(node, a), 4);
	b = pin(node, mem, PAGE, MM, 0);
	EQUAL(pin_fd(node, fd, 0, 4 * PAGE, MM, X), -EBUSY);
	EQUAL(unpin(node, b), 1);
	a = pin_fd(node, huge, 0, HUGE, MM, X);
	CHECK(a > 0);
	EQUAL(pin_fd(node, huge, 0, PAGE, MM, 0), -EBUSY);
	EQUAL(unpin(node, a), 512);
	check_none(node);
}

/* Someone else who pins: a buffer registered with io_uring. */
static int ring_pin(void *mem, size_t length)
{
	struct io_uring_params params = {0};
	struct iovec range = {mem, length};
	int ring = (int)syscall(SYS_io_uring_setup, 1, &params);

	CHECK(ring >= 0);
	EQUAL(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &range, 1), 0);
	return ring;
}

void test_exclusive_others(void)
{
	char *mem = touched(4 * PAGE);
	int node = node_open(O_RDWR), ring = ring_pin(mem, 2 * PAGE);
	uint64_t left;

	EQUAL(pin(node, mem, 4 * PAGE, MM, X), -EBUSY);
	EQUAL(drain(node, mem, 4 * PAGE, 0, &left), -ETIMEDOUT);
	EQUAL(left, 2);
	EQUAL(unpin(node, pin(node, mem + 2 * PAGE, 2 * PAGE, MM, X)), 2);
	close(ring);
	/* io_uring lets go some time after its file is closed. */
	EQUAL(drain(node, mem, 4 * PAGE, 20000, &left), 0);
	EQUAL(left, 0);
	EQUAL(unpin(node, pin(node, mem, 4 * PAGE, MM, X)), 4);
	check_none(node);
}

struct late {
	int node;
	long handle;
};

static void *unpin_later(void *arg)
{
	struct late *late = arg;

	usleep(300000);
	EQUAL(unpin(late->node, late->handle), 2);
	return NULL;
}

static void on_alarm(int number)
{
	(void)number;
}

void test_drain(void)
{
	struct sigaction action = {.sa_handler = on_alarm};
	char *mem = touched(8 * PAGE);
	struct late late;
	struct timespec from, to;
	pthread_t thread;
	uint64_t left = 7;

	late.node = node_open(O_RDWR);
	EQUAL(drain(late.node, mem, 8 * PAGE, 0, &left), 0);
	EQUAL(left, 0);
	late.handle = pin(late.node, mem, 2 * PAGE, MM, 0);
	EQUAL(drain(late.node, mem, 8 * PAGE, 0, &left), -ETIMEDOUT);
	EQUAL(left, 2);
	EQUAL(drain(late.node, mem + 2 * PAGE, 6 * PAGE, 0, &left), 0);
	clock_gettime(CLOCK_MONOTONIC, &from);
	EQUAL(drain(late.node, mem, 8 * PAGE, 200, &left), -ETIMEDOUT);
	clock_gettime(CLOCK_MONOTONIC, &to);
	CHECK((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 >= 199);
	sigaction(SIGALRM, &action, NULL);
	ualarm(200000, 0);
	EQUAL(drain(late.node, mem, 8 * PAGE, 60000, &left), -EINTR);
	EQUAL(left, 2);
	pthread_create(&thread, NULL, unpin_later, &late);
	EQUAL(drain(late.node, mem, 8 * PAGE, 60000, &left), 0);
	EQUAL(left, 0);
	pthread_join(thread, NULL);
	check_none(late.node);
}

/* Pages are pinned though nobody may read them just then. */
static void drain_unreadable(int node, char *mem)
{
	long handle = pin(node, mem, 2 * PAGE, MM, 0);
	uint64_t left = 0;

	EQUAL(mprotect(mem, 4 * PAGE, PROT_NONE), 0);
	EQUAL(drain(node, mem, 4 * PAGE, 0, &left), -ETIMEDOUT);
	EQUAL(left, 2);
	EQUAL(unpin(node, handle), 2);
	EQUAL(drain(node, mem, 4 * PAGE, 0, &left), 0);
	EQUAL(mprotect(mem, 4 * PAGE, PROT_READ | PROT_WRITE), 0);
}

void test_drain_unreadable(void)
{
	int fd = memory_file(4 * PAGE, false), node = node_open(O_RDWR);
	char *shared =
		mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);

	drain_unreadable(node, touched(4 * PAGE));
	drain_unreadable(node, shared);
	check_none(node);
}

/* One look is not interrupted, so it always has an answer. */
void test_drain_signals(void)
{
	struct sigaction action = {.sa_handler = on_alarm};
	struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
	char *mem = touched(256 * PAGE);
	int node = node_open(O_RDWR), i, other = 0;
	uint64_t left;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (i = 0; i < 5000; i++)
		other += drain(node, mem, 256 * PAGE, 0, &left) != 0;
	setitimer(ITIMER_REAL, &never, NULL);
	EQUAL(other, 0);
}

/* What is left of the time grows less with each signal, and comes to an end. */
void test_drain_time(void)
{
	struct sigaction action = {.sa_handler = on_alarm};
	struct itimerval often = {{0, 700}, {0, 700}}, never = {{0, 0}, {0, 0}};
	char *mem = touched(2 * PAGE);
	int node = node_open(O_RDWR), tries = 0, more = 0, ret;
	long handle = pin(node, mem, 2 * PAGE, MM, 0);
	struct pinion_drain arg = {.argsz = sizeof(arg),
		.addr = (uintptr_t)mem,
		.length = 2 * PAGE,
		.timeout_ms = 201};
	uint32_t before;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	do {
		before = arg.timeout_ms;
		ret = call(node, PINION_DRAIN, &arg);
		more += arg.timeout_ms > before;
	} while (ret == -EINTR && !more && ++tries < 100000);
	setitimer(ITIMER_REAL, &never, NULL);
	EQUAL(more, 0);
	EQUAL(ret, -ETIMEDOUT);
	EQUAL(arg.left, 2);
	EQUAL(unpin(node, handle), 2);
	check_none(node);
}

void test_drain_file(void)
{
	int fd = memory_file(8 * PAGE, false), node = node_open(O_RDWR);
	struct pinion_drain arg = {
		.argsz = sizeof(arg), .flags = PINION_DRAIN_FD, .length = 8 * PAGE, .fd = fd};
	long handle = pin_fd(node, fd, PAGE, 3 * PAGE, MM, 0);

	EQUAL(call(node, PINION_DRAIN, &arg), -ETIMEDOUT);
	EQUAL(arg.left, 3);
	EQUAL(unpin(node, handle), 3);
	EQUAL(call(node, PINION_DRAIN, &arg), 0);
	arg.flags = 2;
	EQUAL(call(node, PINION_DRAIN, &arg), -EINVAL);
	check_none(node);
}
