/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes many processes with a ledger each, for tests/bench/pins-report: PROCESSES MAPPINGS in
 * $PINION_RUNTIME_DIR. Prints "ready" when all have written theirs, and ends when its stdin does.
 * With a third argument "dead" they end without closing their ledgers.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pins_priv.h"

static const struct pn_charge_rule rule = {"type1", "process (mm)",
	PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED), PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED),
	PN_COUNTER_MM_LOCKED};

static int write_ledger(unsigned long mappings)
{
	struct pn_ledger_owner owner = {
		.path = "type1", .node = "/dev/vfio/vfio", .charge = &rule, .exempt = false};
	struct pn_ledger *ledger;
	unsigned long i;
	uint32_t slot;
	int ret;

	ret = pn_ledger_open(&ledger, NULL, &owner);
	if (ret)
		return ret;
	if (!*pn_ledger_path(ledger))
		return -ENOENT;
	pn_ledger_devices(ledger, 1, "0000:00:02.0");
	for (i = 0; i < mappings; i++) {
		struct pn_pin pin = {.vaddr = UINT64_C(0x1000000000) + (i << 21),
			.iova = UINT64_C(0x1000000000) + (i << 21),
			.len = 1u << 21,
			.page_size = 1u << 21,
			.pages = 512,
			.counters = rule.counters,
			.prot = 3,
			.name = "packets"};

		pn_ledger_add(ledger, &pin, &slot);
	}
	return 0;
}

/* Said when the ledger stands: one byte, 0 for success. */
static void be_one(int report, unsigned long mappings, bool dead)
{
	char failed = write_ledger(mappings) != 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (write(report, &failed, 1) != 1 || dead)
		_exit(0);
	for (;;)
		pause();
}

static int collect(int from, unsigned long processes)
{
	unsigned long i;
	char failed;

	for (i = 0; i < processes; i++) {
		if (read(from, &failed, 1) != 1 || failed) {
			fprintf(stderr, "a ledger could not be made\n");
			return -1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long processes, mappings, i;
	bool dead = argc == 4 && !strcmp(argv[3], "dead");
	int pipes[2], ret;
	char byte;

	if (argc < 3 || pipe(pipes))
		return 2;
	processes = strtoul(argv[1], NULL, 10);
	mappings = strtoul(argv[2], NULL, 10);
	for (i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid < 0) {
			perror("fork");
			return 1;
		}
		if (!pid)
			be_one(pipes[1], mappings, dead);
	}
	ret = collect(pipes[0], processes);
	if (ret)
		return 1;
	for (i = 0; dead && i < processes; i++)
		wait(NULL);
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
