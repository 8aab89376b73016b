/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * user->locked_vm of a uid, which no file shows. A ring charges who made it, under the soft limit
 * of who registers with it: one page is accepted exactly if the counter plus one is within that.
 * That the counter is P is confirmed with two registrations: P must refuse, P + 1 must not.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/io_uring.h>

#include "charges.h"

struct meter {
	int ring;
	struct iovec buffers[2];
};

static void die(void)
{
	perror("charges: the meter");
	exit(2);
}

/* Made as that user: without capabilities, so that it is charged. */
struct meter *meter_start(uint32_t uid)
{
	struct meter *meter = malloc(sizeof(*meter));
	struct io_uring_params params = {0};

	if (!meter || setresuid(uid, uid, 0))
		die();
	meter->ring = (int)syscall(SYS_io_uring_setup, 1, &params);
	if (meter->ring < 0 || setresuid(0, 0, 0))
		die();
	meter->buffers[0].iov_len = meter->buffers[1].iov_len = 4096;
	meter->buffers[1].iov_base = NULL;
	meter->buffers[0].iov_base = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (meter->buffers[0].iov_base == MAP_FAILED)
		die();
	return meter;
}

static bool fits(const struct meter *meter, uint64_t limit)
{
	struct rlimit now = {limit * 4096, RLIM_INFINITY};

	if (setrlimit(RLIMIT_MEMLOCK, &now))
		die();
	if (!syscall(SYS_io_uring_register, meter->ring, IORING_REGISTER_BUFFERS, meter->buffers,
		    2) ||
		(errno != ENOMEM && errno != EFAULT))
		die();
	return errno == EFAULT;
}

bool meter_confirms(const struct meter *meter, uint64_t pages)
{
	return !fits(meter, pages) && fits(meter, pages + 1);
}

uint64_t meter_search(const struct meter *meter)
{
	uint64_t low = 0, high = UINT64_C(1) << 30, middle;

	while (high - low > 1) {
		middle = low + (high - low) / 2;
		if (fits(meter, middle))
			high = middle;
		else
			low = middle;
	}
	return high - 1;
}
