/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a preflight costs: preflight [ROUNDS]. Without a device, on the kernel it runs on, through
 * the library's inside, for each counter: nothing changed since the last one; one page more or less
 * was charged since, as a mapping of the domain's own, and as somebody else's; next to the file in
 * /proc that shows mm->locked_vm. Nanoseconds a call: least, median of 15 runs, greatest.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base_priv.h"
#include "pins_priv.h"

#define RUNS 15

static const struct pn_charge_rule rules[] = {
	{"mm->locked_vm", "", 1, 1, PN_COUNTER_MM_LOCKED},
	{"user->locked_vm", "", 2, 2, PN_COUNTER_USER_LOCKED},
};

struct setting {
	const char *name;
	int64_t wrong; /* pages that the expectation is off, one way and the other */
};

static const struct setting settings[] = {
	{"as expected", 0}, {"1 page off", 1}, {"512 pages off", 512}};

static double now_ns(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void print(const char *what, const char *how, double *runs)
{
	qsort(runs, RUNS, sizeof(*runs), compare);
	printf("%-16s %-14s %8.0f %8.0f %8.0f\n", what, how, runs[0], runs[RUNS / 2],
		runs[RUNS - 1]);
}

static int measure(const struct pn_charge_rule *rule, const struct setting *setting, long rounds)
{
	struct pn_preflight out = {.charged = 1};
	struct pn_trial trial;
	double runs[RUNS], start;
	int64_t wrong = setting->wrong;

	pn_trial_init(&trial);
	pn_preflight_look(&out, rule, &trial);
	if (out.observer != PN_OBSERVER_TRIAL) {
		printf("%-16s cannot be asked about: run it as a user with a limit\n", rule->path);
		return 1;
	}
	for (int run = 0; run < RUNS; run++) {
		start = now_ns();
		for (long i = 0; i < rounds; i++, wrong = -wrong) {
			trial.left += (uint64_t)wrong;
			pn_preflight_look(&out, rule, &trial);
		}
		runs[run] = (now_ns() - start) / (double)rounds;
	}
	pn_trial_close(&trial);
	print(rule->path, setting->name, runs);
	return 0;
}

static void measure_proc(long rounds)
{
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	double runs[RUNS], start;
	char text[4096];

	for (int run = 0; run < RUNS; run++) {
		start = now_ns();
		for (long i = 0; i < rounds; i++) {
			if (pread(fd, text, sizeof(text), 0) <= 0)
				return;
		}
		runs[run] = (now_ns() - start) / (double)rounds;
	}
	close(fd);
	print("/proc/self/status", "one pread", runs);
}

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 2000;
	struct rlimit limit = {2048 * 4096, 2048 * 4096};
	size_t i, k;

	if (rounds < 1 || setrlimit(RLIMIT_MEMLOCK, &limit) || (!getuid() && setuid(65534)))
		return 2;
	/* The kernel's usual limit; 500 pages are held. */
	if (mlock(mmap(NULL, 500 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		    500 * 4096))
		return 2;
	for (i = 0; i < PN_ARRAY_SIZE(rules); i++) {
		for (k = 0; k < PN_ARRAY_SIZE(settings); k++) {
			if (measure(&rules[i], &settings[k], rounds))
				return 1;
		}
	}
	measure_proc(rounds);
	return 0;
}
