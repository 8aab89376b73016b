/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the companion module costs that can be counted. kmod_cost memory: kernel memory by pinned
 * hugepage. kmod_cost untouched: only pins 8 MiB of small pages that are not there yet, for who
 * counts what is done under the memory map's lock. What it takes of time: tests/bench/kmod.c.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kmod.h"

#define LENGTH    (128ul << 20)
#define UNTOUCHED (8ul << 20)

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

static int pin_untouched(void)
{
	int node = node_open(O_RDWR);
	char *mem = memory(UNTOUCHED);

	if (madvise(mem, UNTOUCHED, MADV_NOHUGEPAGE))
		return 2;
	return pin(node, mem, UNTOUCHED, PINION_CHARGE_MM, PINION_PIN_WRITE) < 0;
}

int main(int argc, char **argv)
{
	int node;

	if (argc == 2 && !strcmp(argv[1], "untouched"))
		return pin_untouched();
	if (argc != 2 || strcmp(argv[1], "memory"))
		return 2;
	node = node_open(O_RDWR);
	/* slabinfo is root's; a user's charge is counted twice, for the user and the memory map. */
	if (setresuid(1000, 0, 0))
		return 2;
	return cost_of_memory(node, huge_pages(LENGTH), LENGTH);
}
