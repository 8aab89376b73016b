/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A deadline that the forwarding loop can look at for the price of one instruction. On x86 it is
 * kept in ticks of the time-stamp counter, whose rate is measured against the monotonic clock, and
 * measured better the longer the program runs; elsewhere the ticks are nanoseconds.
 */
#ifndef TESTPMD_CLOCK_H
#define TESTPMD_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_MS  UINT64_C(1000000)
#define NS_PER_SEC UINT64_C(1000000000)

struct clock {
	uint64_t base_ns;
	uint64_t base_ticks;
	double ticks_per_ns;
	uint64_t deadline; /* ticks */
};

static inline uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

/* Time that this thread has been on a processor. */
static inline uint64_t clock_cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

static inline uint64_t clock_ticks(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_ia32_rdtsc();
#else
	return clock_ns();
#endif
}

/* Take the first pair of readings. Call it early: the rate is measured from here. */
void clock_init(struct clock *clock);

/*
 * Set the deadline to a time of clock_ns(), and return that clock's present reading. Makes sure
 * first that the rate is known.
 */
uint64_t clock_arm(struct clock *clock, uint64_t when_ns);

static inline bool clock_due(const struct clock *clock)
{
	return clock_ticks() >= clock->deadline;
}

/* Sleep, or until a signal comes. */
void clock_sleep_ms(unsigned int ms);

#endif
