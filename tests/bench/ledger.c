/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the ledger costs a mapping: bench-ledger [ROUNDS [DIRECTORY]]. Mappings are recorded and
 * removed again, one at a time, and many at a time. One line a case: the processor time of a record
 * and its removal together, in nanoseconds, in the first round (the file grows), the median of the
 * rounds, and the least. Not a test: it fails only if something cannot be done. Under valgrind
 * --tool=callgrind it gives the instructions.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base_priv.h"
#include "pins_priv.h"

#define MANY       65000u
#define MAX_ROUNDS 1000u

static struct pn_ledger *ledger;
static uint32_t slots[MANY];

static uint64_t now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
	return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void fill_pin(struct pn_pin *pin, uint32_t number)
{
	pin->vaddr = pin->iova = UINT64_C(0x1000000000) + (uint64_t)number * 8192;
}

/* batch mappings at a time, MANY in all. Nanoseconds a mapping. */
static double run(uint32_t batch)
{
	struct pn_pin pin = {.len = 4096,
		.page_size = 4096,
		.pages = 1,
		.counters = 5,
		.prot = 3,
		.name = "region"};
	uint64_t start = now();
	uint32_t done, i;

	for (done = 0; done + batch <= MANY; done += batch) {
		for (i = done; i < done + batch; i++) {
			fill_pin(&pin, i);
			pn_ledger_add(ledger, &pin, &slots[i]);
		}
		for (i = done; i < done + batch; i++) {
			fill_pin(&pin, i);
			pn_ledger_remove(ledger, slots[i], &pin);
		}
	}
	return (double)(now() - start) / done;
}

static int by_size(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static void measure(const char *name, uint32_t batch, unsigned int rounds)
{
	static double each[MAX_ROUNDS];
	unsigned int i;

	for (i = 0; i < rounds; i++)
		each[i] = run(batch);
	printf("%s first %.1f", name, each[0]);
	qsort(each, rounds, sizeof(*each), by_size);
	printf(" median %.1f least %.1f\n", each[rounds / 2], each[0]);
}

int main(int argc, char **argv)
{
	static const struct pn_charge_rule rule = {
		"type1", "process (mm)", 5, 0, PN_COUNTER_MM_LOCKED};
	static const struct pn_ledger_owner owner = {"type1", "/dev/vfio/vfio", &rule, false};
	unsigned int rounds = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 10) : 21;

	if (!rounds || rounds > MAX_ROUNDS)
		return 2;
	if (pn_ledger_open(&ledger, argc > 2 ? argv[2] : NULL, &owner)) {
		fprintf(stderr, "bench-ledger: %s\n", pn_error());
		return 1;
	}
	printf("%s\n", pn_ledger_path(ledger));
	measure("one-at-a-time", 1, rounds);
	measure("512-at-a-time", 512, rounds);
	measure("65000-at-a-time", MANY, rounds);
	pn_ledger_close(ledger);
	return 0;
}
