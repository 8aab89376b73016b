/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of every kind: files, zero pages, huge, merged, swapped, movable, of devices. See
 * kmod_pins.c.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kmod_pins.h"

void test_files(void)
{
	int fd = memory_file(16 * PAGE, false), huge = memory_file(2 * HUGE, true);
	int node = node_open(O_RDWR), reader, program, pair[2];
	char path[64];
	struct pinion_query seen;
	uint32_t charge;
	long handle;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	reader = open(path, O_RDONLY | O_CLOEXEC);
	program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	CHECK(!pipe(pair));
	become(UID, 4 * HUGE);
	for (charge = MM; charge <= USER; charge++) {
		/* Pages that nobody has touched yet. */
		handle = pin_fd(node, fd, 4 * PAGE, 8 * PAGE, charge, W);
		CHECK(handle > 0);
		EQUAL(query(node, handle, &seen), 0);
		EQUAL(seen.pages, 8);
		EQUAL(seen.flags, PINION_QUERY_WRITE | PINION_QUERY_FD);
		EQUAL(unpin_part(node, handle, 0, 2 * PAGE), 2);
		EQUAL(unpin(node, handle), 6);
		handle = pin_fd(node, huge, PAGE, 2 * HUGE - 2 * PAGE, charge, W);
		CHECK(handle > 0);
		EQUAL(query(node, handle, &seen), 0);
		EQUAL(seen.pages, 1022);
		EQUAL(seen.folios, 2);
		EQUAL(unpin(node, handle), 1022);
		handle = pin_fd(node, reader, 0, PAGE, charge, 0);
		EQUAL(unpin(node, handle), 1);
		EQUAL(pin_fd(node, reader, 0, PAGE, charge, W), -EACCES);
		EQUAL(pin_fd(node, fd, 0, 17 * PAGE, charge, 0), -EINVAL);
		EQUAL(pin_fd(node, fd, 1ul << 62, PAGE, charge, 0), -EINVAL);
		EQUAL(pin_fd(node, -1, 0, PAGE, charge, 0), -EBADF);
		EQUAL(pin_fd(node, pair[0], 0, PAGE, charge, 0), -EOPNOTSUPP);
		EQUAL(pin_fd(node, program, 0, PAGE, charge, 0), -EOPNOTSUPP);
		EQUAL(pin_fd(node, node, 0, PAGE, charge, 0), -EOPNOTSUPP);
		check_none(node);
	}
}

/* The last page of a file that ends in its middle, and what is beyond. */
void test_file_ends(void)
{
	int fd = memory_file(2 * PAGE + 100, false), node = node_open(O_RDWR);

	EQUAL(unpin(node, pin_fd(node, fd, 0, 3 * PAGE, MM, W)), 3);
	EQUAL(unpin(node, pin_fd(node, fd, 2 * PAGE, PAGE, MM, 0)), 1);
	EQUAL(pin_fd(node, fd, 0, 4 * PAGE, MM, 0), -EINVAL);
	EQUAL(pin_fd(node, fd, 3 * PAGE, PAGE, MM, 0), -EINVAL);
	check_none(node);
}

/* A file system without room for the pages: ENOSPC, or a fault where the file is mapped for it. */
void test_file_full(void)
{
	int node = node_open(O_RDWR), fd;
	long ret;

	CHECK(!mkdir("/tmp/full", 0700) && !mount("none", "/tmp/full", "tmpfs", 0, "size=16k"));
	fd = open("/tmp/full/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && !ftruncate(fd, 16 * PAGE));
	ret = pin_fd(node, fd, 0, 16 * PAGE, MM, W);
	CHECK(ret == -ENOSPC || ret == -EFAULT);
	check_none(node);
	EQUAL(unpin(node, pin_fd(node, fd, 0, 4 * PAGE, MM, W)), 4);
	close(fd);
	CHECK(!umount("/tmp/full"));
}

/* Who locks all that it maps has no room for the mapping that a pin of a file can take. */
void test_locks_all(void)
{
	int fd = memory_file(HUGE, true), node = node_open(O_RDWR);

	become(UID, HUGE);
	EQUAL(mlockall(MCL_FUTURE | MCL_ONFAULT), 0);
	EQUAL(pin_fd(node, fd, 0, HUGE, MM, 0), -ENOMEM);
	EQUAL(munlockall(), 0);
	EQUAL(unpin(node, pin_fd(node, fd, 0, HUGE, MM, 0)), 512);
	check_none(node);
}

void test_seals(void)
{
	int fd = memory_file(4 * PAGE, false), future = memory_file(4 * PAGE, false);
	int node = node_open(O_RDWR);
	long handle;

	handle = pin_fd(node, fd, 0, PAGE, MM, W);
	CHECK(handle > 0);
	EQUAL(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) ? -errno : 0, -EBUSY);
	EQUAL(unpin(node, handle), 1);
	EQUAL(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	EQUAL(pin_fd(node, fd, 0, PAGE, MM, W), -EPERM);
	handle = pin_fd(node, fd, 0, PAGE, MM, 0);
	EQUAL(unpin(node, handle), 1);
	EQUAL(fcntl(future, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	EQUAL(pin_fd(node, future, 0, PAGE, MM, W), -EPERM);
	check_none(node);
}

/* A read-only pin; then the processor writes, and its page is still the pinned one. */
static void coherent(int node, char *mem, size_t length)
{
	uint64_t before;
	long handle;

	handle = pin(node, mem, length, MM, 0);
	CHECK(handle > 0);
	if (handle < 0) {
		printf("the pin: %ld\n", handle);
		return;
	}
	before = phys(node, mem);
	EQUAL(mprotect(mem, length, PROT_READ | PROT_WRITE), 0);
	memset(mem, 0x77, length);
	EQUAL(phys(node, mem), before);
	EQUAL(unpin(node, handle), length / PAGE);
}

void test_zero_page(void)
{
	char *untouched = memory(4 * PAGE), *read = memory(4 * PAGE), *fixed = memory(4 * PAGE);
	int node = node_open(O_RDWR);
	struct pinion_page page;
	long handle;

	coherent(node, untouched, 4 * PAGE);
	EQUAL(*(volatile char *)read, 0);
	EQUAL(inspect(node, read, PAGE, 0, &page), 0);
	CHECK(page.flags & PINION_PAGE_ZERO);
	CHECK(page.flags & PINION_PAGE_UNSHARE);
	coherent(node, read, 4 * PAGE);
	EQUAL(mprotect(fixed, 4 * PAGE, PROT_READ), 0);
	EQUAL(*(volatile char *)fixed, 0);
	coherent(node, fixed, 4 * PAGE);
	/* Never to be read, so never to be pinned. */
	EQUAL(mprotect(fixed, 4 * PAGE, PROT_NONE), 0);
	EQUAL(pin(node, fixed, PAGE, MM, 0), -EFAULT);
	handle = pin(
		node, mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), PAGE, MM, W);
	EQUAL(handle, -EFAULT);
	check_none(node);
}

static char *thp_place(void)
{
	char *area =
		mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *mem = (char *)(((uintptr_t)area + HUGE - 1) & ~(HUGE - 1));

	EQUAL(madvise(mem, HUGE, MADV_HUGEPAGE), 0);
	return mem;
}

void test_huge_zero_page(void)
{
	char *mem = thp_place();
	int node = node_open(O_RDWR);
	struct pinion_page page;

	EQUAL(*(volatile char *)mem, 0);
	EQUAL(inspect(node, mem + PAGE, PAGE, 0, &page), 0);
	CHECK(page.flags & PINION_PAGE_ZERO);
	EQUAL(page.order, 9);
	coherent(node, mem, HUGE);
	check_none(node);
}

void test_thp(void)
{
	char *mem = thp_place();
	int node = node_open(O_RDWR);
	struct pinion_query seen;
	long handle;

	memset(mem, 1, HUGE);
	handle = pin(node, mem, HUGE, MM, W);
	EQUAL(query(node, handle, &seen), 0);
	EQUAL(seen.order_pages[9], 512);
	EQUAL(seen.folios, 1);
	EQUAL(unpin(node, handle), 512);
	check_none(node);
}

void test_private_file(void)
{
	int fd = memory_file(4 * PAGE, false), huge = memory_file(HUGE, true);
	int node = node_open(O_RDWR);

	EQUAL(pwrite(fd, "x", 1, 0), 1);
	coherent(node, mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), 4 * PAGE);
	coherent(node, mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0), 4 * PAGE);
	coherent(node, mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, huge, 0), HUGE);
	/* A file system that keeps track of what is dirty; to read only. */
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	coherent(node, mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0), PAGE);
	check_none(node);
}

void test_shared_file(void)
{
	int fd = memory_file(4 * PAGE, false), node = node_open(O_RDWR);
	char *mem = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	coherent(node, mem, 4 * PAGE);
	/* Beyond the end of the file there is nothing. */
	EQUAL(ftruncate(fd, 2 * PAGE), 0);
	EQUAL(pin(node, mem, 4 * PAGE, MM, 0), -EFAULT);
	check_none(node);
}

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

void test_ksm(void)
{
	char *mem = touched(16 * PAGE);
	int node = node_open(O_RDWR), tries;
	struct pinion_page page;

	EQUAL(madvise(mem, 16 * PAGE, MADV_MERGEABLE), 0);
	write_to("/sys/kernel/mm/ksm/pages_to_scan", "1000");
	write_to("/sys/kernel/mm/ksm/sleep_millisecs", "0");
	write_to("/sys/kernel/mm/ksm/run", "1");
	for (tries = 0; tries < 300; tries++) {
		EQUAL(inspect(node, mem, PAGE, 0, &page), 0);
		if (page.flags & PINION_PAGE_KSM)
			break;
		usleep(20000);
	}
	CHECK(page.flags & PINION_PAGE_KSM);
	coherent(node, mem, 16 * PAGE);
	write_to("/sys/kernel/mm/ksm/run", "2");
	check_none(node);
}

/* The suite has made swap space. */
void test_swapped(void)
{
	char *mem = touched(16 * PAGE);
	int node = node_open(O_RDWR), tries;
	struct pinion_page page;
	long handle;

	for (tries = 0; tries < 100; tries++) {
		EQUAL(madvise(mem, 16 * PAGE, MADV_PAGEOUT), 0);
		EQUAL(inspect(node, mem, PAGE, 0, &page), 0);
		if (!(page.flags & PINION_PAGE_PRESENT))
			break;
		usleep(10000);
	}
	EQUAL(page.flags, PINION_PAGE_MAPPED);
	handle = pin(node, mem, 16 * PAGE, MM, 0);
	CHECK(handle > 0);
	EQUAL(mem[5 * PAGE], 1);
	EQUAL(unpin(node, handle), 16);
	check_none(node);
}

/* A part of memory is movable (the suite's machine has movablecore=): nothing stays there. */
void test_movable(void)
{
	const char *from = getenv("KMOD_MOVABLE");
	uint64_t start = from ? strtoull(from, NULL, 10) * PAGE : 0;
	int node = node_open(O_RDWR);
	size_t length = 16ul << 20, at, before = 0, after = 0;
	char *mem = touched(length);
	long handle;

	CHECK(start);
	for (at = 0; at < length; at += PAGE)
		before += phys(node, mem + at) >= start;
	handle = pin(node, mem, length, MM, W);
	CHECK(handle > 0);
	for (at = 0; at < length; at += PAGE)
		after += phys(node, mem + at) >= start;
	CHECK(before > 0);
	EQUAL(after, 0);
	EQUAL(unpin(node, handle), length / PAGE);
	check_none(node);
}

void test_secret(void)
{
#ifdef SYS_memfd_secret
	int fd = (int)syscall(SYS_memfd_secret, 0), node = node_open(O_RDWR);
	char *mem;

	if (fd < 0) {
		printf("skip this kernel has no memfd_secret\n");
		return;
	}
	EQUAL(ftruncate(fd, PAGE), 0);
	mem = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	*mem = 1;
	EQUAL(pin(node, mem, PAGE, MM, 0), -EFAULT);
	EQUAL(pin_fd(node, fd, 0, PAGE, MM, 0), -EOPNOTSUPP);
	EQUAL(munmap(mem, PAGE), 0);
	close(fd);
#else
	printf("skip these headers have no memfd_secret\n");
#endif
}

void test_bar(void)
{
	const char *path = getenv("KMOD_BAR");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1, node = node_open(O_RDWR);
	struct pinion_page page;
	char *mem;

	CHECK(fd >= 0);
	mem = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(mem != MAP_FAILED);
	EQUAL(pin(node, mem, PAGE, MM, 0), -EFAULT);
	EQUAL(pin_fd(node, fd, 0, PAGE, MM, 0), -EOPNOTSUPP);
	EQUAL(inspect(node, mem, PAGE, 0, &page), 0);
	EQUAL(page.flags, PINION_PAGE_MAPPED | PINION_PAGE_IO);
	check_none(node);
}
