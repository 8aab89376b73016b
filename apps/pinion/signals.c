/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Signals through a signalfd.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "output.h"
#include "signals.h"

int signals_open(const int *more)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	for (; more && *more; more++)
		sigaddset(&set, *more);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0 || sigprocmask(SIG_BLOCK, &set, NULL)) {
		complain("cannot wait for signals: %s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

int signals_next(int fd)
{
	struct signalfd_siginfo info;

	return read(fd, &info, sizeof(info)) == sizeof(info) ? (int)info.ssi_signo : 0;
}

int signals_is_end(int signal_number)
{
	return signal_number == SIGINT || signal_number == SIGTERM || signal_number == SIGHUP;
}

int64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int signals_wait(int fd, int64_t until_ms)
{
	struct pollfd wanted = {.fd = fd, .events = POLLIN};
	int64_t left;

	while ((left = until_ms - clock_ms()) > 0) {
		if (poll(&wanted, 1, left < INT_MAX ? (int)left : INT_MAX) > 0)
			return signals_next(fd);
	}
	/* A report may have taken the whole interval: a signal is heard all the same. */
	return signals_next(fd);
}
