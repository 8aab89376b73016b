/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a worker does to its memory, and io_uring's fixed buffers.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/io_uring.h>
#include <linux/vfio.h>

#include "charges.h"

#define PAGE    4096u
#define BUFFERS 8u

static int result(long ret)
{
	return ret < 0 ? errno : 0;
}

static void *at(const struct table *table, const struct pn_model_op *op)
{
	return table->area[op->area] + op->first * PAGE;
}

/* A file of so many pages behind an area. */
static int file_of(enum pn_model_memory memory, uint64_t pages)
{
	int fd;

	if (memory == PN_MODEL_SECRET)
		fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
	else if (memory == PN_MODEL_DIRTY_FILE)
		fd = open(DIRTY_DIR, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	else
		fd = memfd_create("charges", MFD_CLOEXEC);
	if (fd >= 0 && ftruncate(fd, (off_t)(pages * PAGE))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int map_bar(struct table *table, const struct pn_model_op *op)
{
	struct vfio_region_info region = {.argsz = sizeof(region)};
	int fd = table->device[op->device];
	char *area;

	if (ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &region))
		return errno;
	area = mmap(NULL, op->pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		(off_t)region.offset);
	if (area == MAP_FAILED)
		return errno;
	table->area[op->area] = area;
	return 0;
}

static int map_area(struct shared *shared, struct table *table, const struct pn_model_op *op)
{
	const uint64_t huge = UINT64_C(2) << 20;
	void *address = (void *)(uintptr_t)shared->next_address;
	int flags = op->flag ? MAP_LOCKED : 0, prot = PROT_READ | PROT_WRITE, fd = -1, err;
	char *area;

	table->memory[op->area] = op->memory;
	table->area_pages[op->area] = op->pages;
	table->dont_fork[op->area] = false;
	switch (op->memory) {
	case PN_MODEL_BAR:
		return map_bar(table, op);
	case PN_MODEL_ANON_READ:
		prot = PROT_READ;
		break;
	case PN_MODEL_NONE:
		prot = PROT_NONE;
		break;
	case PN_MODEL_HUGETLB_CMA:
		flags |= 30 << MAP_HUGE_SHIFT;
		address = (void *)(uintptr_t)(UINT64_C(1) << 43);
		/* fall through */
	case PN_MODEL_HUGETLB:
		flags |= MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB;
		break;
	case PN_MODEL_DIRTY_FILE:
	case PN_MODEL_SHARED:
	case PN_MODEL_SECRET:
	case PN_MODEL_PRIVATE_FILE:
		fd = file_of(op->memory, op->pages);
		if (fd < 0)
			return errno;
		flags |= op->memory == PN_MODEL_PRIVATE_FILE ? MAP_PRIVATE : MAP_SHARED;
		break;
	default:
		break;
	}
	if (!(flags & (MAP_SHARED | MAP_PRIVATE)))
		flags |= MAP_PRIVATE | MAP_ANONYMOUS;
	area = mmap(address, op->pages * PAGE, prot, flags | MAP_FIXED_NOREPLACE, fd, 0);
	shared->next_address += (op->pages * PAGE / huge + 2) * huge;
	err = area == MAP_FAILED ? errno : 0;
	if (fd >= 0)
		close(fd);
	if (err)
		return err;
	/* Huge pages that come by themselves are charged otherwise by io_uring. */
	madvise(area, op->pages * PAGE,
		op->memory == PN_MODEL_THP ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	table->area[op->area] = area;
	return 0;
}

static int protect_area(struct table *table, const struct pn_model_op *op)
{
	int prot = op->memory == PN_MODEL_ANON        ? PROT_READ | PROT_WRITE
		   : op->memory == PN_MODEL_ANON_READ ? PROT_READ
						      : PROT_NONE;

	table->memory[op->area] = op->memory;
	return result(mprotect(table->area[op->area], table->area_pages[op->area] * PAGE, prot));
}

/* Where nothing was before, or in its place: behind every area there is room. */
static int resize_area(struct shared *shared, struct table *table, const struct pn_model_op *op)
{
	const uint64_t huge = UINT64_C(2) << 20;
	void *to = (void *)(uintptr_t)shared->next_address;
	char *area = mremap(table->area[op->area], table->area_pages[op->area] * PAGE,
		op->pages * PAGE, op->flag ? MREMAP_MAYMOVE | MREMAP_FIXED : 0, to);

	shared->next_address += op->flag ? (op->pages * PAGE / huge + 2) * huge : 0;
	if (area == MAP_FAILED)
		return errno;
	table->area[op->area] = area;
	table->area_pages[op->area] = op->pages;
	return 0;
}

static int end_area(struct table *table, uint32_t area)
{
	int err = result(munmap(table->area[area], table->area_pages[area] * PAGE));

	table->area[area] = NULL;
	return err;
}

static sigjmp_buf after_fault;

static void on_fault(int number)
{
	(void)number;
	siglongjmp(after_fault, 1);
}

static int touch(struct table *table, const struct pn_model_op *op)
{
	volatile char *byte = at(table, op);

	signal(SIGSEGV, on_fault);
	signal(SIGBUS, on_fault);
	if (sigsetjmp(after_fault, 1))
		return EFAULT;
	for (uint64_t i = 0; i < op->pages; i++) {
		if (table->memory[op->area] == PN_MODEL_ANON_READ)
			(void)byte[i * PAGE];
		else
			byte[i * PAGE] = 1;
	}
	return 0;
}

static int call_ring(struct table *table, const struct pn_model_op *op)
{
	struct io_uring_params params = {0};
	int *ring = &table->ring[op->ring], ret;
	uint32_t count = op->mode ? op->mode : 1;
	struct iovec buffers[BUFFERS];

	switch (op->what) {
	case PN_MODEL_RING:
		ret = (int)syscall(SYS_io_uring_setup, 1, &params);
		if (ret >= 0)
			*ring = ret;
		return result(ret);
	case PN_MODEL_RING_CLOSE:
		ret = close(*ring);
		*ring = -1;
		return result(ret);
	case PN_MODEL_RING_UNREGISTER:
		return result(
			syscall(SYS_io_uring_register, *ring, IORING_UNREGISTER_BUFFERS, NULL, 0));
	case PN_MODEL_RING_REGISTER:
		for (uint32_t i = 0; i < count && i < BUFFERS; i++)
			buffers[i] = (struct iovec){
				(char *)at(table, op) + i * op->pages * PAGE, op->pages * PAGE};
		return result(syscall(
			SYS_io_uring_register, *ring, IORING_REGISTER_BUFFERS, buffers, count));
	default:
		return -1;
	}
}

int call_memory(struct shared *shared, uint32_t process, const struct pn_model_op *op)
{
	struct table *table = &shared->of[process];
	size_t len = op->pages * PAGE;

	switch (op->what) {
	case PN_MODEL_AREA:
		return map_area(shared, table, op);
	case PN_MODEL_AREA_END:
		return end_area(table, op->area);
	case PN_MODEL_DONTFORK:
		table->dont_fork[op->area] = true;
		return result(madvise(
			table->area[op->area], table->area_pages[op->area] * PAGE, MADV_DONTFORK));
	case PN_MODEL_TOUCH:
		return touch(table, op);
	case PN_MODEL_DONTNEED:
		return result(madvise(at(table, op), len, MADV_DONTNEED));
	case PN_MODEL_PROTECT:
		return protect_area(table, op);
	case PN_MODEL_RESIZE:
		return resize_area(shared, table, op);
	case PN_MODEL_MLOCK:
		return result(op->flag ? mlock2(at(table, op), len, MLOCK_ONFAULT)
				       : mlock(at(table, op), len));
	case PN_MODEL_MUNLOCK:
		return result(munlock(at(table, op), len));
	case PN_MODEL_MLOCKALL:
		return result(mlockall((int)op->mode));
	case PN_MODEL_MUNLOCKALL:
		return result(munlockall());
	default:
		return call_ring(table, op);
	}
}
