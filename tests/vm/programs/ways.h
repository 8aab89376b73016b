/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For programs that map memory for an edu and have it read and written: NAME BACKEND DEVICE CASE,
 * run as an ordinary user with a RLIMIT_MEMLOCK of exactly what the case maps at most. They print
 * "ok" or what is wrong, and use the public interface only.
 */
#ifndef PROGRAMS_WAYS_H
#define PROGRAMS_WAYS_H

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "check.h"
#include "edu.h"
#include "pinion.h"

#define PAGE 4096u
/* Of one transfer, at most: the device's buffer takes a little less than a page. */
#define LEN 2048u

/** A domain, a page in it through which the device's buffer is filled and seen, the device. */
struct rig {
	const char *backend, *device;
	struct pn_domain *domain;
	struct pn_region *witness;
	uint64_t witness_iova;
	unsigned char *seen; /* the witness, for the processor */
	struct edu edu;
};

/*
 * Memory, counters
 */

/* No two fills have a word in common. */
static inline void fill(void *memory, uint64_t len)
{
	static uint32_t seed;
	uint64_t i, word;

	seed++;
	for (i = 0; i < len / sizeof(word); i++) {
		word = ((uint64_t)seed << 32 | i) * UINT64_C(0x9e3779b97f4a7c15);
		memcpy((char *)memory + i * sizeof(word), &word, sizeof(word));
	}
}

/* What /proc says is charged. VmLck and VmPin: each backend moves one of them or both alike. */
static inline uint64_t charged(void)
{
	uint64_t pages, most = 0;
	char line[256];
	FILE *file = fopen("/proc/self/status", "re");

	if (!file)
		return UINT64_MAX;
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, "VmLck:", 6) && strncmp(line, "VmPin:", 6))
			continue;
		pages = strtoull(line + 6, NULL, 10) / 4;
		most = pages > most ? pages : most;
	}
	fclose(file);
	return most;
}

/* What the mappings say. */
static inline uint64_t charged_by_mappings(const struct rig *rig)
{
	struct pn_mapping_info map;
	uint64_t at, sum = 0;

	for (at = 0; !pn_domain_next(rig->domain, at, &map); at = map.iova + map.len)
		sum += map.charged;
	return sum;
}

static inline uint64_t mappings(const struct rig *rig)
{
	struct pn_domain_info info;

	pn_domain_get_info(rig->domain, &info);
	return info.mappings;
}

/* Exactly the limit is charged, by all accounts; a page more is refused, and nothing changes. */
static inline void check_full_at(const struct rig *rig, uint64_t more)
{
	uint64_t iova = more, count = mappings(rig);
	struct rlimit limit;

	CHECK(!getrlimit(RLIMIT_MEMLOCK, &limit));
	CHECK(charged() == limit.rlim_cur / PAGE && charged_by_mappings(rig) == charged());
	CHECK(pn_domain_map(rig->domain, rig->witness, 0, PAGE, PN_PROT_RW, &iova) == -ENOMEM);
	CHECK(iova == more && mappings(rig) == count);
	CHECK(charged() == limit.rlim_cur / PAGE && charged_by_mappings(rig) == charged());
}

static inline void check_full(const struct rig *rig)
{
	check_full_at(rig, PN_IOVA_ANY);
}

/*
 * The device
 */

/* What the device reads at an IOVA is what is in memory. */
static inline bool device_reads(
	const struct rig *rig, uint64_t iova, const void *memory, uint32_t len)
{
	memset(rig->seen, 0, PAGE);
	return !edu_read(&rig->edu, iova, 0, len) &&
	       !edu_write(&rig->edu, rig->witness_iova, 0, len) && !memcmp(rig->seen, memory, len);
}

/* What it writes arrives in memory. */
static inline bool device_writes(
	const struct rig *rig, uint64_t iova, const void *memory, uint32_t len)
{
	fill(rig->seen, PAGE);
	return !edu_read(&rig->edu, rig->witness_iova, 0, len) &&
	       !edu_write(&rig->edu, iova, 0, len) && !memcmp(memory, rig->seen, len);
}

/* Both, at the end of a mapping, so that one which is too short shows. */
static inline void check_reached(const struct rig *rig, uint64_t iova, void *memory, uint64_t size)
{
	char *end = (char *)memory + (size - LEN);

	fill(end, LEN);
	CHECK(device_reads(rig, iova + (size - LEN), end, LEN));
	CHECK(device_writes(rig, iova + (size - LEN), end, LEN));
}

static inline int create_domain(struct rig *rig, struct pn_domain_opts opts)
{
	opts.backend = rig->backend;
	return pn_domain_create(&rig->domain, &opts);
}

static inline void map_witness(struct rig *rig)
{
	rig->witness_iova = PN_IOVA_ANY;
	CHECK(!pn_domain_map(rig->domain, rig->witness, 0, PAGE, PN_PROT_RW, &rig->witness_iova));
}

static inline void open_device(struct rig *rig)
{
	CHECK(!edu_open(&rig->edu, rig->device, rig->domain));
	map_witness(rig);
}

/* Nothing is charged, whatever is still mapped. */
static inline void close_domain(struct rig *rig)
{
	edu_close(&rig->edu);
	CHECK(charged() == 0 && charged_by_mappings(rig) == 0);
	CHECK(!pn_domain_destroy(rig->domain));
	CHECK(charged() == 0);
}

static inline uint64_t map_whole(const struct rig *rig, struct pn_region *region, enum pn_prot prot)
{
	struct pn_region_info info;
	uint64_t iova = PN_IOVA_ANY;

	pn_region_get_info(region, &info);
	CHECK(!pn_domain_map(rig->domain, region, 0, info.size, prot, &iova));
	return iova;
}

/* A part of what a program tests. It begins with a domain that has no device, and destroys it. */
struct way {
	const char *name;
	void (*run)(struct rig *rig);
};

static inline int run_way(int argc, char **argv, const struct way *ways, size_t count)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region_info info;
	struct rig rig = {0};
	size_t i;

	for (i = 0; argc == 4 && i < count && strcmp(ways[i].name, argv[3]); i++)
		;
	if (argc != 4 || i == count)
		return 2;
	/* What was wrong is said even if a crash follows from it. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	rig.backend = argv[1];
	rig.device = argv[2];
	opts.page_size = PN_PAGE_4K;
	NEED(!pn_region_create(&rig.witness, PAGE, &opts));
	pn_region_get_info(rig.witness, &info);
	rig.seen = info.vaddr;
	NEED(!create_domain(&rig, (struct pn_domain_opts){0}));
	ways[i].run(&rig);
	CHECK(failures || !pn_region_destroy(rig.witness));
	puts(failures ? "failed" : "ok");
	return failures != 0;
}

#endif
