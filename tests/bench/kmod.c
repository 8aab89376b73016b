/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long the companion module takes: a pin of hugepages beside a bare loop of
 * pin_user_pages_fast() in the test module, and a look at the counters beside a call that does
 * nothing. bench-kmod [MIB], as root, with both modules loaded; doc/performance.md has it with a
 * clock that counts instructions.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "kmod.h"
#include "pinion_test.h"

#define ROUNDS 9
#define LOOKS  20000

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int cost_of_pin(int node, int test, void *mem, size_t length)
{
	struct pinion_test_floor floor = {.addr = (uintptr_t)mem, .length = length};
	uint64_t bare = -1ull, ours = -1ull, start;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		long handle;

		if (ioctl(test, PINION_TEST_FLOOR, &floor))
			return 2;
		bare = least(bare, floor.ns);
		start = now_ns();
		handle = pin(node, mem, length, PINION_CHARGE_USER, PINION_PIN_WRITE);
		ours = least(ours, now_ns() - start);
		if (handle < 0 || unpin(node, handle) < 0)
			return 2;
	}
	printf("pin of %zu MiB: %llu us, bare loop %llu us, ratio %.2f\n", length >> 20,
		(unsigned long long)ours / 1000, (unsigned long long)bare / 1000,
		(double)ours / (double)bare);
	return 0;
}

static int cost_of_counters(int node, int test)
{
	struct pinion_counters now;
	uint64_t nothing = -1ull, ours = -1ull, start;
	int i, round;

	for (round = 0; round < ROUNDS; round++) {
		start = now_ns();
		for (i = 0; i < LOOKS; i++)
			ioctl(test, PINION_TEST_NOTHING, 0);
		nothing = least(nothing, now_ns() - start);
		start = now_ns();
		for (i = 0; i < LOOKS; i++)
			counters(node, 0, &now);
		ours = least(ours, now_ns() - start);
	}
	printf("COUNTERS: %llu ns, of which a call that does nothing takes %llu ns\n",
		(unsigned long long)ours / LOOKS, (unsigned long long)nothing / LOOKS);
	return 0;
}

int main(int argc, char **argv)
{
	size_t length = argc > 1 ? strtoul(argv[1], NULL, 0) << 20 : 128ul << 20;
	int node = node_open(O_RDWR), test = open("/dev/pinion_test", O_RDWR | O_CLOEXEC);
	void *mem;

	if (test < 0 || !length)
		return 2;
	mem = huge_pages(length);
	/* The test module is root's; a user's charge is counted twice, for the user and the map. */
	if (setresuid(1000, 0, 0))
		return 2;
	return cost_of_pin(node, test, mem, length) | cost_of_counters(node, test);
}
