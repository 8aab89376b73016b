/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Signals as something to wait for: what runs until one comes ends in its own time, with everything
 * put away.
 */
#ifndef PINION_SIGNALS_H
#define PINION_SIGNALS_H

#include <signal.h>
#include <stdint.h>

/* From here on SIGINT, SIGTERM, SIGHUP and those given as well (up to a 0; NULL: none) end nothing
 * and can be read from the fd that is returned. -1 after a complaint. */
int signals_open(const int *more);

/* The next signal that came; 0: none. */
int signals_next(int fd);

/* SIGINT, SIGTERM or SIGHUP. */
int signals_is_end(int signal_number);

/* Milliseconds of the clock that nobody sets. */
int64_t clock_ms(void);

/* Wait for a signal until then; returns it, or 0 when it is time. */
int signals_wait(int fd, int64_t until_ms);

#endif
