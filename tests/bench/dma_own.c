/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a mapping costs besides the kernel's call: so many mappings of 4 KiB on the backend "none",
 * which makes no call, mapped and unmapped. "bench-dma-own MAPPINGS ascending|random" prints a line
 * for each figure: its name, nanoseconds of the thread's own processor time. tests/bench/dma-own
 * runs it.
 */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pinion.h"

#define PAGE   UINT64_C(4096)
#define ROUNDS 3u

static struct pn_domain *domain;
static struct pn_region *region;
static uint64_t *offsets, *iovas;
static size_t count;

static void give_up(const char *what)
{
	fprintf(stderr, "bench-dma-own: %s: %s\n", what, pn_error());
	exit(1);
}

static uint64_t processor_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Every second page, so that no two make one run. */
static void choose_offsets(bool shuffled)
{
	uint64_t state = 88172645463325252, other;
	size_t i, at;

	for (i = 0; i < count; i++)
		offsets[i] = i * 2 * PAGE;
	for (i = count; shuffled && i > 1; i--) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		at = (state >> 8) % i;
		other = offsets[i - 1];
		offsets[i - 1] = offsets[at];
		offsets[at] = other;
	}
}

static void report(const char *name, unsigned int round, uint64_t ns)
{
	/* The first round fetches memory from the system, too. */
	printf("%s%s %.1f\n", round ? "" : "first_", name, (double)ns / (double)count);
}

static void run(unsigned int round)
{
	size_t before = mallinfo2().uordblks + mallinfo2().hblkhd, i;
	uint64_t start = processor_ns();

	for (i = 0; i < count; i++) {
		iovas[i] = PN_IOVA_ANY;
		if (pn_domain_map(domain, region, offsets[i], PAGE, PN_PROT_RW, &iovas[i]))
			give_up("pn_domain_map");
	}
	report("map_ns", round, processor_ns() - start);
	if (!round)
		printf("heap_bytes %.1f\n",
			(double)(mallinfo2().uordblks + mallinfo2().hblkhd - before) /
				(double)count);
	start = processor_ns();
	for (i = 0; i < count; i++) {
		if (pn_domain_unmap(domain, iovas[i], PAGE))
			give_up("pn_domain_unmap");
	}
	report("unmap_ns", round, processor_ns() - start);
}

int main(int argc, char **argv)
{
	const struct pn_domain_opts opts = {.backend = "none"};
	struct pn_region_opts region_opts = PN_REGION_OPTS_INIT;
	unsigned int round;

	count = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
	if (!count || count > 1u << 24) {
		fprintf(stderr, "usage: bench-dma-own MAPPINGS ascending|random\n");
		return 2;
	}
	offsets = calloc(count, sizeof(*offsets));
	iovas = calloc(count, sizeof(*iovas));
	if (!offsets || !iovas)
		give_up("memory");
	choose_offsets(!strcmp(argv[2], "random"));
	region_opts.page_size = PN_PAGE_4K;
	if (pn_region_create(&region, count * 2 * PAGE, &region_opts))
		give_up("pn_region_create");
	if (pn_domain_create(&domain, &opts))
		give_up("pn_domain_create");
	for (round = 0; round <= ROUNDS; round++)
		run(round);
	if (pn_domain_destroy(domain) || pn_region_destroy(region))
		give_up("ending");
	free(offsets);
	free(iovas);
	return 0;
}
