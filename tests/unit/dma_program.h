/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that hands its domain over and executes another one, in a child process: the child
 * makes a machine, fills a domain and hands it over; model_exec() and the end of its memory stand
 * for execve(); what is done then is the new program. cmocka's assertions do not work in a child:
 * EXPECT() counts.
 */
#ifndef DMA_PROGRAM_H
#define DMA_PROGRAM_H

#include "dma_fixture.h"

#define MAPPINGS 4u

/* What the old program leaves to the new one. */
struct program {
	const char *backend;
	struct pn_domain *domain;
	struct pn_region *regions[2];
	char *base[2];
	int devices[2]; /* fds */
	int state_fd;
};

extern unsigned int program_troubles;

#define EXPECT(condition)                                                                   \
	do {                                                                                \
		if (condition)                                                              \
			break;                                                              \
		print_error("%s:%d: not so: %s (\"%s\")\n", __FILE__, __LINE__, #condition, \
			pn_error());                                                        \
		program_troubles++;                                                         \
	} while (0)

/* Run in a child; fails the test unless nothing was counted there. */
void in_child(const char *backend, void (*work)(const char *backend));

/* A domain with MAPPINGS mappings of two regions and two devices; the memory has a pattern. */
void program_begin(struct program *program, const char *backend);
/* Hand over and execute: true unless that failed. */
bool program_execute(struct program *program);
/* Mapping number i, as it was made. */
uint64_t program_iova(unsigned int i);
uint64_t program_pages(unsigned int i);
enum pn_prot program_prot(unsigned int i);
/* Everything is as it was in the domain that was taken over: mappings, memory, kernel, charges. */
void program_check(struct program *program, struct pn_domain *domain);
/* Let go of it, and of its regions; nothing may be left. */
void program_end(struct program *program, struct pn_domain *domain);

#endif
