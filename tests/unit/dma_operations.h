/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operations of a domain, each with what is there before it, for tests that make every step of
 * them fail. One domain at a time, a second beside it for some.
 */
#ifndef DMA_OPERATIONS_H
#define DMA_OPERATIONS_H

#include "dma_fixture.h"
#include "failing_alloc.h"

#define ON_TYPE1   1u
#define ON_COMPAT  2u
#define ON_IOMMUFD 4u
#define ON_NONE    8u
#define ON_ALL     15u

struct operation {
	const char *name;
	unsigned int backends; /* where it must work */
	void (*prepare)(void);
	int (*run)(void);
	/* Errors that the kernel gives are not handed on as they are: it was finding something out.
	 */
	bool judges;
	/* Where the kernel fails, nothing can be taken back: the domain is damaged. */
	bool damages;
};

extern const struct operation operations[];
extern const size_t operation_count;

/* The backend under test, and its bit. */
extern const char *backend;
unsigned int backend_bit(void);

/* The domains that an operation worked on; NULL: there is none. */
extern struct pn_domain *domain, *second;

/* Prepare and run; -EOPNOTSUPP where it must not work. */
void operation_prepare(const struct operation *operation);
/* A domain with five mappings and two devices, to be let go of by the test. */
void operation_two_devices(int fd[2]);
/* Let go of everything; nothing may be left. damaged: what is left in the kernel goes with the
 * domain only. */
void operation_end(bool damaged);
/* The same where something is wrong already: what can be is let go of, the machine is new. */
void operation_abandon(void);
/* Domains, kernel and counters agree. */
void operation_check(void);
struct snapshot operation_snapshot(void);

int operations_setup(void **state);
int operations_teardown(void **state);

#endif
