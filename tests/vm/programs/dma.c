/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a device can do through a mapping, and what it cannot, with a real (emulated) one behind a
 * real IOMMU: dma BACKEND DEVICE PAGE CASE, the device an edu, the page size 4K, 2M or 1G.
 *
 * It talks to the suite that runs it. "mapped IOVA LENGTH" says that a mapping stands, "forbidden
 * read|write IOVA" that the device is about to do what the IOMMU must refuse, "doubtful ..." what
 * it may refuse; after each it waits for a line on its standard input, or its end. The last line is
 * "ok" or "failed".
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "edu.h"
#include "pinion.h"

#define WORDS 128u
#define LEN   ((uint32_t)(WORDS * sizeof(uint64_t)))
/* Valid in every domain, and far from where regions are. */
#define NEVER_MAPPED (UINT64_C(0x3f) << 32)
/* Reached with 28 bits of address, and what is left of the other when it is cut to them. */
#define LOW  UINT64_C(0x0b000000)
#define HIGH (UINT64_C(1) << 33 | LOW)

/** The memory under test, a page of it that the device may always use, and the device. */
struct rig {
	struct pn_domain *domain;
	struct pn_region *region, *witness;
	struct pn_region_info memory;
	uint64_t iova, witness_iova;
	uint64_t *seen; /* the witness, for the processor */
	struct edu edu;
	const char *device;
};

static void wait_for_suite(void)
{
	int c;

	fflush(stdout);
	do
		c = getchar();
	while (c != EOF && c != '\n');
}

/* No two seeds have a word in common, and none is 0. */
static uint64_t word(unsigned int seed, unsigned int index)
{
	return ((uint64_t)seed << 32 | index) * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

static void fill(uint64_t *words, unsigned int seed)
{
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		words[i] = word(seed, i);
}

/* How many words are those of a seed. */
static unsigned int count(const uint64_t *words, unsigned int seed)
{
	unsigned int i, n = 0;

	for (i = 0; i < WORDS; i++)
		n += words[i] == word(seed, i);
	return n;
}

static uint64_t *memory_at(const struct rig *rig, uint64_t offset)
{
	return (uint64_t *)((char *)rig->memory.vaddr + offset);
}

/* In the last small page of the region, so that a mapping which is too short shows. */
static uint64_t last(const struct rig *rig)
{
	return rig->memory.size - PN_PAGE_4K + 0x200;
}

static void load_device(struct rig *rig, unsigned int seed)
{
	fill(rig->seen, seed);
	CHECK(!edu_read(&rig->edu, rig->witness_iova, 0, LEN));
}

/* Words of a seed in the device's buffer. */
static unsigned int count_in_device(struct rig *rig, unsigned int seed)
{
	memset(rig->seen, 0, LEN);
	CHECK(!edu_write(&rig->edu, rig->witness_iova, 0, LEN));
	return count(rig->seen, seed);
}

/* The device reads memory that holds a seed: how many words of that it got. */
static unsigned int try_read(struct rig *rig, const char *how, uint64_t iova, unsigned int secret)
{
	load_device(rig, secret + 1);
	printf("%s read %#" PRIx64 "\n", how, iova);
	wait_for_suite();
	CHECK(!edu_read(&rig->edu, iova, 0, LEN));
	return count_in_device(rig, secret);
}

static void forbidden_read(struct rig *rig, uint64_t iova, unsigned int secret)
{
	CHECK(try_read(rig, "forbidden", iova, secret) == 0);
}

/* The device writes; if there is memory, it must stay as it is. */
static void forbidden_write(struct rig *rig, uint64_t iova, uint64_t *words, unsigned int seed)
{
	fill(words, seed);
	load_device(rig, seed + 1);
	printf("forbidden write %#" PRIx64 "\n", iova);
	wait_for_suite();
	CHECK(!edu_write(&rig->edu, iova, 0, LEN));
	CHECK(count(words, seed) == WORDS);
}

static void allowed_read(struct rig *rig, uint64_t iova, uint64_t *words, unsigned int seed)
{
	fill(words, seed);
	load_device(rig, seed + 1);
	CHECK(!edu_read(&rig->edu, iova, 0, LEN));
	CHECK(count_in_device(rig, seed) == WORDS);
}

/* Exactly where it should, not a word more. */
static void allowed_write(struct rig *rig, uint64_t iova, uint64_t *words, unsigned int seed)
{
	memset(words - 1, 0, LEN + 2 * sizeof(*words));
	load_device(rig, seed);
	CHECK(!edu_write(&rig->edu, iova, 0, LEN));
	CHECK(count(words, seed) == WORDS);
	CHECK(words[-1] == 0 && words[WORDS] == 0);
}

static void map(struct rig *rig, enum pn_prot prot)
{
	rig->iova = PN_IOVA_ANY;
	CHECK(!pn_domain_map(rig->domain, rig->region, 0, rig->memory.size, prot, &rig->iova));
	printf("mapped %#" PRIx64 " %#" PRIx64 "\n", rig->iova, rig->memory.size);
	wait_for_suite();
}

static void unmap(struct rig *rig)
{
	CHECK(!pn_domain_unmap(rig->domain, rig->iova, rig->memory.size));
}

/* Without a device there is nothing to try. */
static void open_edu(struct rig *rig)
{
	int ret = edu_open(&rig->edu, rig->device, rig->domain);

	if (!ret)
		return;
	printf("%s cannot be opened: %s; %s\nfailed\n", rig->device, strerror(-ret), pn_error());
	exit(1);
}

static void open_device(struct rig *rig)
{
	open_edu(rig);
	rig->witness_iova = PN_IOVA_ANY;
	CHECK(!pn_domain_map(
		rig->domain, rig->witness, 0, PN_PAGE_4K, PN_PROT_RW, &rig->witness_iova));
}

/* What the processor wrote at the end goes through the device and comes back at the beginning. */
static void there_and_back(struct rig *rig)
{
	uint64_t *from = memory_at(rig, last(rig)), *to = memory_at(rig, 0x100);

	allowed_read(rig, rig->iova + last(rig), from, 10);
	memset(to - 1, 0, LEN + 2 * sizeof(*to));
	CHECK(!edu_write(&rig->edu, rig->iova + 0x100, 0, LEN));
	CHECK(count(to, 10) == WORDS && to[-1] == 0 && to[WORDS] == 0);
	allowed_write(rig, rig->iova + last(rig), from, 20);
}

static void case_pages(struct rig *rig)
{
	open_device(rig);
	map(rig, PN_PROT_RW);
	unmap(rig);
}

static void case_rw(struct rig *rig)
{
	open_device(rig);
	map(rig, PN_PROT_RW);
	there_and_back(rig);
	unmap(rig);
}

/* Mapped while no device was there: the attach makes the mapping. */
static void case_queued(struct rig *rig)
{
	CHECK(!pn_domain_map(
		rig->domain, rig->region, 0, rig->memory.size, PN_PROT_RW, &rig->iova));
	open_device(rig);
	printf("mapped %#" PRIx64 " %#" PRIx64 "\n", rig->iova, rig->memory.size);
	wait_for_suite();
	there_and_back(rig);
	unmap(rig);
}

/*
 * The refusal comes before anything that is allowed: QEMU's IOTLB keeps what it has translated, and
 * refuses by what it keeps without recording a fault.
 */
static void case_ro(struct rig *rig)
{
	uint64_t *words = memory_at(rig, last(rig));

	open_device(rig);
	map(rig, PN_PROT_READ);
	forbidden_write(rig, rig->iova + last(rig), words, 10);
	allowed_read(rig, rig->iova + last(rig), words, 20);
	unmap(rig);
}

/* Not every kernel keeps a device from reading what is mapped for writing: all or nothing, the
 * suite knows which. */
static void case_wo(struct rig *rig)
{
	uint64_t *words = memory_at(rig, last(rig));
	unsigned int got;

	open_device(rig);
	map(rig, PN_PROT_WRITE);
	fill(words, 10);
	got = try_read(rig, "doubtful", rig->iova + last(rig), 10);
	CHECK(got == 0 || got == WORDS);
	puts(got ? "delivered" : "refused");
	allowed_write(rig, rig->iova + last(rig), words, 20);
	unmap(rig);
}

/* It was mapped and has been used, so whatever caches translations has had it. */
static void case_unmapped(struct rig *rig)
{
	uint64_t *words = memory_at(rig, last(rig));

	open_device(rig);
	map(rig, PN_PROT_RW);
	there_and_back(rig);
	unmap(rig);
	fill(words, 30);
	forbidden_read(rig, rig->iova + last(rig), 30);
	forbidden_write(rig, rig->iova + last(rig), words, 40);
}

/* Nothing there, so there is nothing that it could get; what it has is not the witness either. */
static void case_never(struct rig *rig)
{
	open_device(rig);
	forbidden_read(rig, NEVER_MAPPED, 10);
	forbidden_write(rig, NEVER_MAPPED, memory_at(rig, 0x100), 20);
}

/*
 * A device with 28 bits of address cuts off the rest: given an IOVA beyond, it uses another, and
 * the IOMMU cannot know. If something is mapped there, it gets that.
 */
static void case_narrow(struct rig *rig)
{
	uint64_t high = HIGH, low = LOW, witness = LOW + rig->memory.size;
	uint64_t *words = memory_at(rig, 0x100), size = rig->memory.size;
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region_info other_memory;
	struct pn_region *other;
	uint64_t *others;

	open_edu(rig);
	rig->witness_iova = witness;
	CHECK(!pn_domain_map(
		rig->domain, rig->witness, 0, PN_PAGE_4K, PN_PROT_RW, &rig->witness_iova));
	opts.page_size = PN_PAGE_4K;
	CHECK(!pn_region_create(&other, size, &opts));
	pn_region_get_info(other, &other_memory);
	others = (uint64_t *)((char *)other_memory.vaddr + 0x100);

	CHECK(!pn_domain_map(rig->domain, rig->region, 0, size, PN_PROT_RW, &high));
	fill(words, 10);
	load_device(rig, 20);
	printf("forbidden read %#" PRIx64 "\n", LOW + 0x100);
	wait_for_suite();
	CHECK(!edu_read(&rig->edu, high + 0x100, 0, LEN));
	CHECK(count_in_device(rig, 10) == 0);

	CHECK(!pn_domain_map(rig->domain, other, 0, size, PN_PROT_RW, &low));
	fill(others, 30);
	CHECK(!edu_read(&rig->edu, high + 0x100, 0, LEN));
	CHECK(count_in_device(rig, 10) == 0 && count_in_device(rig, 30) == WORDS);
	allowed_write(rig, low + 0x100, others, 40);
	CHECK(count(words, 10) == WORDS);
	CHECK(!pn_domain_unmap(rig->domain, low, size));
	CHECK(!pn_domain_unmap(rig->domain, high, size));
	CHECK(!pn_region_destroy(other));
}

static const struct {
	const char *name;
	void (*run)(struct rig *rig);
} cases[] = {{"pages", case_pages}, {"rw", case_rw}, {"queued", case_queued}, {"ro", case_ro},
	{"wo", case_wo}, {"unmapped", case_unmapped}, {"never", case_never},
	{"narrow", case_narrow}};

static uint64_t page_size_of(const char *text)
{
	if (!strcmp(text, "2M"))
		return PN_PAGE_2M;
	if (!strcmp(text, "1G"))
		return PN_PAGE_1G;
	return strcmp(text, "4K") ? 0 : PN_PAGE_4K;
}

static void set_up(struct rig *rig, const char *backend, uint64_t page_size)
{
	struct pn_domain_opts domain_opts = {.backend = backend};
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region_info witness;

	CHECK(!pn_domain_create(&rig->domain, &domain_opts));
	opts.page_size = page_size;
	CHECK(!pn_region_create(
		&rig->region, page_size == PN_PAGE_4K ? 16 * page_size : page_size, &opts));
	opts.page_size = PN_PAGE_4K;
	CHECK(!pn_region_create(&rig->witness, PN_PAGE_4K, &opts));
	if (failures)
		return;
	pn_region_get_info(rig->region, &rig->memory);
	pn_region_get_info(rig->witness, &witness);
	rig->seen = witness.vaddr;
	rig->iova = PN_IOVA_ANY;
}

static void tear_down(struct rig *rig)
{
	edu_close(&rig->edu);
	CHECK(!pn_domain_destroy(rig->domain));
	CHECK(!pn_region_destroy(rig->region) && !pn_region_destroy(rig->witness));
}

int main(int argc, char **argv)
{
	struct rig rig = {.device = argc > 2 ? argv[2] : NULL};
	size_t i;

	if (argc != 5 || !page_size_of(argv[3]))
		return 2;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]) && strcmp(cases[i].name, argv[4]); i++)
		;
	if (i == sizeof(cases) / sizeof(cases[0]))
		return 2;
	set_up(&rig, argv[1], page_size_of(argv[3]));
	if (!failures) {
		cases[i].run(&rig);
		tear_down(&rig);
	}
	puts(failures ? "failed" : "ok");
	return failures != 0;
}
