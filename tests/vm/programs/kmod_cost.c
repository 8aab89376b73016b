/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the companion module costs: a pin of hugepages beside a bare loop of pin_user_pages_fast(),
 * a look at the counters beside a call that does nothing, kernel memory by pinned hugepage, and how
 * long another thread waits for the memory map's lock meanwhile.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
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

/* Objects of a slab cache in use, in bytes; 0 if there is none of that name. */
static uint64_t slab_bytes(const char *name)
{
	FILE *file = fopen("/proc/slabinfo", "re");
	char line[512], found[64];
	unsigned long active, total, size;
	uint64_t bytes = 0;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%63s %lu %lu %lu", found, &active, &total, &size) == 4 &&
			!strcmp(found, name))
			bytes = active * size;
	}
	if (file)
		fclose(file);
	return bytes;
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
	/* A call costs something however little it pins: some 20 us on the slowest machine. */
	return (double)ours > 1.2 * (double)bare + 150e3;
}

static int cost_of_memory(int node, void *mem, size_t length)
{
	uint64_t before = slab_bytes("radix_tree_node"), after;
	struct pinion_query seen;
	long handle = pin(node, mem, length, PINION_CHARGE_USER, PINION_PIN_WRITE);
	double each, indexes;

	after = slab_bytes("radix_tree_node");
	if (handle < 0 || query(node, handle, &seen) || !before)
		return 2;
	unpin(node, handle);
	/* Not exact: what a processor keeps for itself is counted as in use. */
	indexes = after > before ? (double)(after - before) : 0;
	each = (indexes + (double)seen.kernel_bytes) / (double)(length / HUGE);
	printf("kernel memory: %.1f bytes a pinned 2 MiB page (%llu of the handle, %.0f of "
	       "indexes)\n",
		each, (unsigned long long)seen.kernel_bytes, indexes);
	/* Two indexes of 9 bytes, and at most 8 of the handle; and what is not for each. */
	return (double)seen.kernel_bytes > 8.0 * (double)(length / HUGE) + 512;
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
	void *mem = huge_pages(length);
	int ret;

	if (test < 0)
		return 2;
	/* slabinfo is root's; a user's charge is counted twice, for the user and the memory map. */
	if (setresuid(1000, 0, 0))
		return 2;
	ret = cost_of_pin(node, test, mem, length);
	ret |= cost_of_memory(node, mem, length);
	ret |= cost_of_counters(node, test);
	return ret;
}
