#include <glob.h>
/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that hands its domain over to another one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "dma_program.h"

#define REGION_PAGES 16u

static const struct {
	unsigned int region;
	uint64_t page, pages, iova;
	enum pn_prot prot;
} plan[MAPPINGS] = {
	{0, 0, 4, AT(0x10000), PN_PROT_RW},
	{1, 2, 3, AT(0x14000), PN_PROT_READ},
	{0, 8, 8, AT(0x40000), PN_PROT_WRITE},
	{0, 2, 1, AT(0x900000), PN_PROT_RW},
};

unsigned int program_troubles;

/*
 * The model's execve() leaves the ledger of the program before open, and so it stays: what becomes
 * of it after a real one is seen in a VM.
 */
static void remove_ledgers(pid_t child)
{
	char pattern[300];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/%d-*.ledger", ledgers, (int)child);
	if (glob(pattern, 0, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc; i++)
		unlink(found.gl_pathv[i]);
	globfree(&found);
}

void in_child(const char *backend, void (*work)(const char *backend))
{
	pid_t child = fork();
	int status;

	if (!child) {
		program_troubles = 0;
		work(backend);
		_exit(program_troubles > 99 ? 99 : (int)program_troubles);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	remove_ledgers(child);
	if (status)
		fail_msg("the child ended with status %#x", (unsigned int)status);
}

uint64_t program_iova(unsigned int i)
{
	return plan[i].iova;
}

uint64_t program_pages(unsigned int i)
{
	return plan[i].pages;
}

enum pn_prot program_prot(unsigned int i)
{
	return plan[i].prot;
}

static unsigned char pattern(unsigned int region, uint64_t at)
{
	return (unsigned char)(at * 7 + at / 4096 * 13 + region * 101 + 1);
}

void program_begin(struct program *program, const char *backend)
{
	struct pn_region_info info;

	memset(program, 0, sizeof(*program));
	program->backend = backend;
	program->state_fd = -1;
	fixture_machine();
	for (unsigned int i = 0; i < 2; i++) {
		EXPECT(!new_region(&program->regions[i], REGION_PAGES));
		pn_region_get_info(program->regions[i], &info);
		program->base[i] = info.vaddr;
		for (uint64_t at = 0; at < REGION_PAGES * PAGE; at++)
			program->base[i][at] = (char)pattern(i, at);
	}
	EXPECT(!new_domain(&program->domain, backend, NULL));
	for (unsigned int i = 0; i < MAPPINGS; i++) {
		uint64_t iova = plan[i].iova;

		EXPECT(!pn_domain_map(program->domain, program->regions[plan[i].region],
			plan[i].page * PAGE, plan[i].pages * PAGE, plan[i].prot, &iova));
	}
	EXPECT(!pn_domain_attach(program->domain, &nic0, &program->devices[0]));
	EXPECT(!pn_domain_attach(program->domain, &nic2, &program->devices[1]));
}

bool program_execute(struct program *program)
{
	int ret = pn_domain_handover(program->domain, &program->state_fd);

	EXPECT(!ret);
	if (ret)
		return false;
	model_exec();
	for (unsigned int i = 0; i < 2; i++)
		munmap(program->base[i], REGION_PAGES * PAGE);
	EXPECT(!model.locked && !model.pinned);
	return true;
}

static void check_mapping(const struct pn_mapping_info *mapping, unsigned int i)
{
	const char *bytes = mapping->vaddr;
	bool same = true;

	EXPECT(mapping->iova == plan[i].iova);
	EXPECT(mapping->len == plan[i].pages * PAGE);
	EXPECT(mapping->prot == plan[i].prot);
	EXPECT(!mapping->queued);
	EXPECT(mapping->charged == plan[i].pages);
	for (uint64_t at = 0; at < mapping->len; at++)
		same &= (unsigned char)bytes[at] ==
			pattern(plan[i].region, plan[i].page * PAGE + at);
	EXPECT(same);
	EXPECT(model_has(mapping->iova, mapping->vaddr, mapping->len, (uint32_t)mapping->prot));
}

void program_check(struct program *program, struct pn_domain *domain)
{
	bool type1 = !strcmp(program->backend, "type1");
	struct pn_mapping_info mapping, first = {0};
	struct pn_domain_info info;
	uint64_t pages = 0, at = 0;

	for (unsigned int i = 0; i < MAPPINGS; i++) {
		EXPECT(!pn_domain_next(domain, at, &mapping));
		check_mapping(&mapping, i);
		/* One region each, whatever number of mappings. */
		if (!i)
			first = mapping;
		EXPECT((mapping.region == first.region) == (plan[i].region == plan[0].region));
		pages += plan[i].pages;
		at = mapping.iova + mapping.len;
	}
	EXPECT(pn_domain_next(domain, at, &mapping) < 0);
	EXPECT(model_maps() == MAPPINGS);
	EXPECT(model.locked == (type1 ? pages : 0));
	EXPECT(model.user == (type1 ? 0 : pages));
	EXPECT(model.pinned == (type1 ? 0 : pages));
	info = info_of(domain);
	EXPECT(!strcmp(info.backend, program->backend));
	EXPECT(info.devices == 2 && !info.damaged && info.limits_known);
	EXPECT(pn_domain_device_fd(domain, nic1.address) < 0);
}

void program_end(struct program *program, struct pn_domain *domain)
{
	struct pn_region *regions[MAPPINGS];
	struct pn_mapping_info mapping;
	unsigned int count = 0, i;
	uint64_t at = 0;

	while (!pn_domain_next(domain, at, &mapping)) {
		for (i = 0; i < count && regions[i] != mapping.region; i++)
			;
		if (i == count && count < MAPPINGS)
			regions[count++] = mapping.region;
		at = mapping.iova + mapping.len;
	}
	EXPECT(!pn_domain_unmap_all(domain));
	for (i = 0; i < count; i++)
		EXPECT(!pn_region_destroy(regions[i]));
	for (i = 0; i < 2; i++)
		pn_domain_detach(domain, program->devices[i]);
	EXPECT(!pn_domain_destroy(domain));
	EXPECT(!model_teardown(NULL));
}
