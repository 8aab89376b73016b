/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * io_uring_register(IORING_REGISTER_BUFFERS) of one page adds one to user->locked_vm if counter + 1
 * <= soft RLIMIT_MEMLOCK of the caller (io_uring/rsrc.c:__io_account_mem).
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/io_uring.h>

#include "meter_priv.h"

static int register_page(const struct pn_meter_trial *trial)
{
	struct iovec page = {(void *)(uintptr_t)trial->page, 4096};

	if (syscall(SYS_io_uring_register, trial->fd, IORING_REGISTER_BUFFERS, &page, 1))
		return errno == ENOMEM ? 0 : -errno;
	if (syscall(SYS_io_uring_register, trial->fd, IORING_UNREGISTER_BUFFERS, NULL, 0))
		return -errno;
	return 1;
}

static int new_ring(void)
{
	struct io_uring_params params = {0};
	int ring = (int)syscall(SYS_io_uring_setup, 1, &params);

	return ring < 0 ? -errno : ring;
}

/*
 * Pages that a ring is charged: none up to Linux 6.12, its own memory on newer kernels
 * (io_uring/memmap.c). A second ring like the first shows it. Rings are freed late: a measurement
 * within half a second of another sees the rings of that one on such kernels.
 */
static int ring_charge(const struct pn_meter_trial *trial, uint64_t with_one)
{
	uint64_t pages = 0;
	int ret;

	if (setrlimit(RLIMIT_MEMLOCK, &trial->limit))
		return -errno;
	ret = new_ring();
	if (ret < 0)
		return ret == -ENOMEM ? -ERANGE : ret;
	ret = pn_meter_fits(trial, with_one + 1);
	if (ret)
		return ret < 0 ? ret : 0;
	ret = pn_meter_search(trial, &pages);
	if (ret)
		return ret;
	return pages > with_one && pages - with_one <= with_one ? (int)(pages - with_one) : 0;
}

int pn_meter_io_uring(const struct rlimit *limit, uint64_t *pages)
{
	struct pn_meter_trial trial = {.limit = *limit, .cost = 1, .once = register_page};
	int ret;

	*pages = limit->rlim_max >> 12;
	trial.page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (trial.page == MAP_FAILED)
		return -errno;
	trial.fd = new_ring();
	if (trial.fd < 0)
		return trial.fd;
	ret = pn_meter_search(&trial, pages);
	if (ret)
		return ret;
	ret = ring_charge(&trial, *pages);
	if (ret < 0) {
		*pages = limit->rlim_max >> 12;
		return ret;
	}
	*pages -= (uint64_t)ret;
	return 0;
}
