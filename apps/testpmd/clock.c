/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The forwarding loop's deadline in ticks of the time-stamp counter.
 */
#include "clock.h"

/* Below this the error of the two readings is too large a part of the measured time. */
#define CALIBRATION_MS 10

/* A deadline is never further away than this, so that a bad rate is found out and mended soon. */
#define HORIZON_NS NS_PER_SEC

void clock_init(struct clock *clock)
{
	clock->base_ns = clock_ns();
	clock->base_ticks = clock_ticks();
	clock->ticks_per_ns = 1.0;
	clock->deadline = 0;
}

uint64_t clock_arm(struct clock *clock, uint64_t when_ns)
{
	uint64_t now_ns = clock_ns(), ticks, ahead;

	while (now_ns - clock->base_ns < CALIBRATION_MS * NS_PER_MS) {
		clock_sleep_ms(CALIBRATION_MS);
		now_ns = clock_ns();
	}
	ticks = clock_ticks();
	clock->ticks_per_ns =
		(double)(ticks - clock->base_ticks) / (double)(now_ns - clock->base_ns);
	ahead = when_ns > now_ns ? when_ns - now_ns : 0;
	if (ahead > HORIZON_NS)
		ahead = HORIZON_NS;
	clock->deadline = ticks + (uint64_t)((double)ahead * clock->ticks_per_ns);
	return now_ns;
}

void clock_sleep_ms(unsigned int ms)
{
	struct timespec time = {
		.tv_sec = (time_t)(ms / 1000),
		.tv_nsec = (long)(ms % 1000) * (long)NS_PER_MS,
	};

	nanosleep(&time, NULL);
}
