/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the companion module does, one thing a test: kmod_pins list, kmod_pins NAME. Run as root; a
 * test becomes an ordinary user where it needs one.
 */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kmod.h"

#define MM   PINION_CHARGE_MM
#define USER PINION_CHARGE_USER
#define W    PINION_PIN_WRITE
#define X    PINION_PIN_EXCLUSIVE
#define UID  1000

/* The whole state that a test must leave as it was. */
static void check_none(int node)
{
	EQUAL(status(0, "VmLck"), 0);
	EQUAL(status(0, "VmPin"), 0);
	EQUAL(user_pages(node), 0);
}

static int call(int node, unsigned long request, void *arg)
{
	return ioctl(node, request, arg) < 0 ? -errno : 0;
}

static void test_arguments(void)
{
	unsigned char big[512] = {0};
	struct pinion_info info = {.argsz = sizeof(info)};
	int node = node_open(O_RDWR), reader = node_open(O_RDONLY);
	char *mem = touched(4 * PAGE);
	struct pinion_pin arg;

	EQUAL(call(node, PINION_INFO, &info), 0);
	EQUAL(info.version, PINION_API_VERSION);
	EQUAL(info.page_size, PAGE);
	EQUAL(info.argsz, sizeof(info));
	info.argsz = sizeof(info) - 1;
	EQUAL(call(node, PINION_INFO, &info), -EINVAL);
	info.argsz = 1u << 20;
	EQUAL(call(node, PINION_INFO, &info), -E2BIG);
	/* A newer caller's: what we do not know is zero, then it is not. */
	*(uint32_t *)(void *)big = sizeof(big);
	EQUAL(call(node, PINION_INFO, big), 0);
	memset(big, 0, sizeof(big));
	*(uint32_t *)(void *)big = sizeof(big);
	big[sizeof(big) - 1] = 1;
	EQUAL(call(node, PINION_INFO, big), -E2BIG);
	EQUAL(call(node, PINION_INFO, NULL), -EFAULT);
	EQUAL(call(node, _IO(PINION_TYPE, 0xbf), NULL), -ENOTTY);

	EQUAL(pin(node, mem, PAGE, MM, 1u << 31), -EINVAL);
	EQUAL(pin(node, mem, PAGE, 0, 0), -EINVAL);
	EQUAL(pin(node, mem, PAGE, 3, 0), -EINVAL);
	EQUAL(pin(node, mem, 0, MM, 0), -EINVAL);
	EQUAL(pin(node, mem + 1, PAGE, MM, 0), -EINVAL);
	EQUAL(pin(node, mem, PAGE + 1, MM, 0), -EINVAL);
	EQUAL(pin(node, mem, -PAGE, MM, 0), -EINVAL);
	EQUAL(pin(node, (void *)(1ul << 62), PAGE, MM, 0), -EFAULT);
	EQUAL(pin(node, NULL, PAGE, MM, 0), -EFAULT);
	EQUAL(pin(reader, mem, PAGE, MM, 0), -EACCES);
	EQUAL(unpin(reader, 1), -EACCES);
	memset(&arg, 0, sizeof(arg));
	arg.argsz = sizeof(arg);
	arg.addr = (uintptr_t)mem;
	arg.length = PAGE;
	arg.charge = MM;
	arg.reserved = 1;
	EQUAL(call(node, PINION_PIN, &arg), -EINVAL);
	EQUAL(unpin(node, 1), -ENOENT);
	EQUAL(unpin(node, 0), -ENOENT);
	EQUAL(unpin_part(node, 7, 0, PAGE), -ENOENT);
	check_none(node);
}

/* An argument that can be read and not written: what was pinned is unpinned again. */
static void test_answer_fails(void)
{
	int node = node_open(O_RDWR);
	char *mem = touched(PAGE);
	struct pinion_pin *arg = touched(PAGE);

	memset(arg, 0, sizeof(*arg));
	arg->argsz = sizeof(*arg);
	arg->addr = (uintptr_t)mem;
	arg->length = PAGE;
	arg->charge = MM;
	mprotect(arg, PAGE, PROT_READ);
	EQUAL(call(node, PINION_PIN, arg), -EFAULT);
	check_none(node);
	mprotect(arg, PAGE, PROT_READ | PROT_WRITE);
	EQUAL(call(node, PINION_PIN, arg), 0);
	EQUAL(arg->handle, 1);
	EQUAL(unpin(node, 1), 1);
	check_none(node);
}

static void test_charge_mm(void)
{
	struct pinion_counters now;
	struct pinion_query seen;
	char *mem = touched(8 * PAGE);
	long handle;
	int node = node_open(O_RDWR);

	become(UID, 16 * PAGE);
	handle = pin(node, mem, 8 * PAGE, MM, W);
	CHECK(handle > 0);
	EQUAL(status(0, "VmLck"), 8);
	EQUAL(status(0, "VmPin"), 0);
	EQUAL(user_pages(node), 0);
	EQUAL(counters(node, 0, &now), 0);
	EQUAL(now.module_locked_vm, 8);
	EQUAL(query(node, handle, &seen), 0);
	EQUAL(seen.pages, 8);
	EQUAL(seen.length, 8 * PAGE);
	EQUAL(seen.folios, 8);
	EQUAL(seen.order_pages[0], 8);
	EQUAL(seen.node_pages[0], 8);
	EQUAL(seen.charge, MM);
	EQUAL(seen.flags, PINION_QUERY_WRITE);
	EQUAL(seen.owner_pages, 8);
	EQUAL(unpin(node, handle), 8);
	EQUAL(query(node, handle, &seen), -ENOENT);
	check_none(node);
}

static void test_charge_user(void)
{
	struct pinion_counters now;
	char *mem = touched(8 * PAGE);
	long handle;
	int node = node_open(O_RDWR);

	become(UID, 16 * PAGE);
	handle = pin(node, mem, 8 * PAGE, USER, 0);
	CHECK(handle > 0);
	EQUAL(status(0, "VmLck"), 0);
	EQUAL(status(0, "VmPin"), 8);
	EQUAL(counters(node, 0, &now), 0);
	EQUAL(now.user_locked_vm, 8);
	EQUAL(now.module_user_locked_vm, 8);
	EQUAL(now.module_locked_vm, 0);
	EQUAL(unpin(node, handle), 8);
	check_none(node);
}

static void test_limit(void)
{
	char *mem = touched(20 * PAGE);
	int node = node_open(O_RDWR);
	uint32_t charge;
	long handle;

	become(UID, 16 * PAGE);
	for (charge = MM; charge <= USER; charge++) {
		EQUAL(pin(node, mem, 17 * PAGE, charge, 0), -ENOMEM);
		check_none(node);
		handle = pin(node, mem, 16 * PAGE, charge, 0);
		CHECK(handle > 0);
		EQUAL(pin(node, mem + 16 * PAGE, PAGE, charge, 0), -ENOMEM);
		/* All pages but one are charged already; then all are. */
		EQUAL(pin(node, mem, 17 * PAGE, charge, 0), -ENOMEM);
		EQUAL(unpin(node, pin(node, mem, 16 * PAGE, charge, 0)), 0);
		EQUAL(unpin(node, handle), 16);
		check_none(node);
	}
}

/* type1 charges a process with CAP_IPC_LOCK all the same; iommufd does not. */
static void test_exempt(void)
{
	char *mem = touched(20 * PAGE);
	int node = node_open(O_RDWR);
	struct pinion_counters now;
	struct pinion_query seen;
	long handle;

	EQUAL(counters(node, 0, &now), 0);
	CHECK(now.flags & PINION_COUNTERS_EXEMPT);
	handle = pin(node, mem, 20 * PAGE, MM, 0);
	EQUAL(status(0, "VmLck"), 20);
	EQUAL(query(node, handle, &seen), 0);
	CHECK(seen.flags & PINION_QUERY_EXEMPT);
	EQUAL(unpin(node, handle), 20);
	handle = pin(node, mem, 20 * PAGE, USER, 0);
	EQUAL(status(0, "VmPin"), 20);
	EQUAL(user_pages(node), 0);
	EQUAL(unpin(node, handle), 0);
	check_none(node);
}

static void test_charged_once(void)
{
	char *mem = touched(16 * PAGE);
	int node = node_open(O_RDWR);
	uint32_t charge;
	long a, b, c;

	become(UID, 12 * PAGE);
	for (charge = MM; charge <= USER; charge++) {
		const char *counter = charge == MM ? "VmLck" : "VmPin";

		a = pin(node, mem, 8 * PAGE, charge, 0);
		b = pin(node, mem + 4 * PAGE, 8 * PAGE, charge, W);
		EQUAL(status(0, counter), 12);
		c = pin(node, mem, 12 * PAGE, charge, 0);
		CHECK(a > 0 && b > 0 && c > 0);
		EQUAL(status(0, counter), 12);
		EQUAL(unpin(node, c), 0);
		EQUAL(unpin(node, a), 4);
		EQUAL(status(0, counter), 8);
		EQUAL(unpin(node, b), 8);
		check_none(node);
	}
}

/* One page of a file, pinned by two processes of a user: one charge of the user, two of memory
 * maps. */
static void test_once_across(void)
{
	int fd = memory_file(4 * PAGE, false), node = node_open(O_RDWR), go[2], come[2];
	char *mem = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char byte;
	long handle;

	become(UID, 16 * PAGE);
	memset(mem, 1, 4 * PAGE);
	CHECK(!pipe(go) && !pipe(come));
	if (!fork()) {
		handle = pin(node_open(O_RDWR), mem, 4 * PAGE, USER, 0);
		EQUAL(status(0, "VmPin"), 4);
		CHECK(write(come[1], "a", 1) == 1 && read(go[0], &byte, 1) == 1);
		_exit(failures || handle < 0);
	}
	CHECK(read(come[0], &byte, 1) == 1);
	EQUAL(user_pages(node), 4);
	handle = pin(node, mem, 4 * PAGE, USER, 0);
	EQUAL(user_pages(node), 4);
	EQUAL(status(0, "VmPin"), 4);
	CHECK(write(go[1], "b", 1) == 1);
	wait(NULL);
	EQUAL(user_pages(node), 4);
	EQUAL(unpin(node, handle), 4);
	check_none(node);
}

static void test_parts(void)
{
	char *mem = touched(16 * PAGE);
	int node = node_open(O_RDWR);
	struct pinion_query seen;
	uint32_t charge;
	long handle;

	become(UID, 64 * PAGE);
	for (charge = MM; charge <= USER; charge++) {
		handle = pin(node, mem, 16 * PAGE, charge, W);
		EQUAL(unpin_part(node, handle, 4 * PAGE, 2 * PAGE), 2);
		EQUAL(unpin_part(node, handle, 4 * PAGE, PAGE), -ENOENT);
		EQUAL(unpin_part(node, handle, 3 * PAGE, 2 * PAGE), -ENOENT);
		EQUAL(unpin_part(node, handle, 5 * PAGE, 2 * PAGE), -ENOENT);
		EQUAL(unpin_part(node, handle, 15 * PAGE, 2 * PAGE), -EINVAL);
		EQUAL(unpin_part(node, handle, 16 * PAGE, PAGE), -EINVAL);
		EQUAL(unpin_part(node, handle, 0, 0), -EINVAL);
		EQUAL(unpin_part(node, handle, 1, PAGE), -EINVAL);
		EQUAL(unpin_part(node, handle, -PAGE, 2 * PAGE), -EINVAL);
		EQUAL(query(node, handle, &seen), 0);
		EQUAL(seen.pages, 14);
		EQUAL(seen.length, 16 * PAGE);
		EQUAL(unpin_part(node, handle, 0, 4 * PAGE), 4);
		EQUAL(unpin_part(node, handle, 15 * PAGE, PAGE), 1);
		EQUAL(unpin_part(node, handle, 6 * PAGE, 9 * PAGE), 9);
		/* With its last page it went. */
		EQUAL(unpin(node, handle), -ENOENT);
		check_none(node);
	}
}

static void test_hugepages(void)
{
	char *mem = huge_pages(2 * HUGE);
	int node = node_open(O_RDWR);
	struct pinion_query seen;
	uint32_t charge;
	long a, b;

	become(UID, 4 * HUGE);
	for (charge = MM; charge <= USER; charge++) {
		a = pin(node, mem, 2 * HUGE, charge, W);
		CHECK(a > 0);
		EQUAL(query(node, a, &seen), 0);
		EQUAL(seen.pages, 1024);
		EQUAL(seen.folios, 2);
		EQUAL(seen.order_pages[9], 1024);
		b = pin(node, mem + 4 * PAGE, 4 * PAGE, charge, 0);
		EQUAL(seen.owner_pages, 1024);
		EQUAL(unpin_part(node, a, PAGE, HUGE), 508);
		EQUAL(unpin(node, a), 512);
		EQUAL(unpin(node, b), 4);
		check_none(node);
	}
}

static void test_files(void)
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

static void test_seals(void)
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

static uint64_t phys(int node, const char *addr)
{
	struct pinion_page page;

	EQUAL(inspect(node, addr, PAGE, PINION_INSPECT_PHYS, &page), 0);
	CHECK(page.flags & PINION_PAGE_PRESENT);
	CHECK(!(page.flags & PINION_PAGE_ZERO));
	return page.phys;
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

static void test_zero_page(void)
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

static void test_huge_zero_page(void)
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

static void test_thp(void)
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

static void test_private_file(void)
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

static void test_shared_file(void)
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

static void test_ksm(void)
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
static void test_swapped(void)
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
static void test_movable(void)
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

static void test_secret(void)
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

static void test_bar(void)
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

static void test_exclusive(void)
{
	char *mem = touched(8 * PAGE), *huge = huge_pages(2 * HUGE);
	int node = node_open(O_RDWR), other = node_open(O_RDWR);
	struct pinion_query seen;
	long a, b;

	a = pin(node, mem, 4 * PAGE, MM, 0);
	EQUAL(pin(other, mem + 3 * PAGE, 2 * PAGE, USER, X), -EBUSY);
	b = pin(other, mem + 4 * PAGE, 4 * PAGE, USER, X | W);
	CHECK(b > 0);
	EQUAL(query(other, b, &seen), 0);
	CHECK(seen.flags & PINION_QUERY_EXCLUSIVE);
	EQUAL(pin(node, mem, 5 * PAGE, MM, 0), -EBUSY);
	EQUAL(pin(node, mem + 7 * PAGE, PAGE, MM, X), -EBUSY);
	EQUAL(unpin_part(other, b, PAGE, PAGE), 0);
	EQUAL(unpin(node, pin(node, mem + 5 * PAGE, PAGE, MM, 0)), 1);
	EQUAL(pin(node, mem + 4 * PAGE, PAGE, MM, 0), -EBUSY);
	EQUAL(unpin(other, b), 0);
	EQUAL(unpin(node, a), 4);
	b = pin(other, huge, 2 * HUGE, USER, X);
	CHECK(b > 0);
	EQUAL(pin(node, huge + HUGE + PAGE, PAGE, MM, 0), -EBUSY);
	EQUAL(unpin(other, b), 0);
	a = pin(node, huge + HUGE + PAGE, PAGE, MM, 0);
	EQUAL(pin(other, huge, 2 * HUGE, USER, X), -EBUSY);
	b = pin(other, huge, HUGE, USER, X);
	CHECK(b > 0);
	EQUAL(unpin(other, b), 0);
	EQUAL(unpin(node, a), 1);
	check_none(node);
}

static void test_exclusive_file(void)
{
	int fd = memory_file(8 * PAGE, false), huge = memory_file(HUGE, true);
	int node = node_open(O_RDWR);
	char *mem = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	long a, b;

	memset(mem, 1, 8 * PAGE);
	a = pin_fd(node, fd, 0, 4 * PAGE, MM, X);
	CHECK(a > 0);
	EQUAL(pin(node, mem, PAGE, MM, 0), -EBUSY);
	EQUAL(pin_fd(node, fd, 3 * PAGE, 2 * PAGE, MM, 0), -EBUSY);
	EQUAL(unpin(node, a), 4);
	b = pin(node, mem, PAGE, MM, 0);
	EQUAL(pin_fd(node, fd, 0, 4 * PAGE, MM, X), -EBUSY);
	EQUAL(unpin(node, b), 1);
	a = pin_fd(node, huge, 0, HUGE, MM, X);
	CHECK(a > 0);
	EQUAL(pin_fd(node, huge, 0, PAGE, MM, 0), -EBUSY);
	EQUAL(unpin(node, a), 512);
	check_none(node);
}

/* Someone else who pins: a buffer registered with io_uring. */
static int ring_pin(void *mem, size_t length)
{
	struct io_uring_params params = {0};
	struct iovec range = {mem, length};
	int ring = (int)syscall(SYS_io_uring_setup, 1, &params);

	CHECK(ring >= 0);
	EQUAL(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &range, 1), 0);
	return ring;
}

static void test_exclusive_others(void)
{
	char *mem = touched(4 * PAGE);
	int node = node_open(O_RDWR), ring = ring_pin(mem, 2 * PAGE);
	uint64_t left;

	EQUAL(pin(node, mem, 4 * PAGE, MM, X), -EBUSY);
	EQUAL(drain(node, mem, 4 * PAGE, 0, &left), -ETIMEDOUT);
	EQUAL(left, 2);
	EQUAL(unpin(node, pin(node, mem + 2 * PAGE, 2 * PAGE, MM, X)), 2);
	close(ring);
	/* io_uring lets go some time after its file is closed. */
	EQUAL(drain(node, mem, 4 * PAGE, 20000, &left), 0);
	EQUAL(left, 0);
	EQUAL(unpin(node, pin(node, mem, 4 * PAGE, MM, X)), 4);
	check_none(node);
}

struct late {
	int node;
	long handle;
};

static void *unpin_later(void *arg)
{
	struct late *late = arg;

	usleep(300000);
	EQUAL(unpin(late->node, late->handle), 2);
	return NULL;
}

static void on_alarm(int number)
{
	(void)number;
}

static void test_drain(void)
{
	struct sigaction action = {.sa_handler = on_alarm};
	char *mem = touched(8 * PAGE);
	struct late late;
	struct timespec from, to;
	pthread_t thread;
	uint64_t left = 7;

	late.node = node_open(O_RDWR);
	EQUAL(drain(late.node, mem, 8 * PAGE, 0, &left), 0);
	EQUAL(left, 0);
	late.handle = pin(late.node, mem, 2 * PAGE, MM, 0);
	EQUAL(drain(late.node, mem, 8 * PAGE, 0, &left), -ETIMEDOUT);
	EQUAL(left, 2);
	EQUAL(drain(late.node, mem + 2 * PAGE, 6 * PAGE, 0, &left), 0);
	clock_gettime(CLOCK_MONOTONIC, &from);
	EQUAL(drain(late.node, mem, 8 * PAGE, 200, &left), -ETIMEDOUT);
	clock_gettime(CLOCK_MONOTONIC, &to);
	CHECK((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 >= 199);
	sigaction(SIGALRM, &action, NULL);
	ualarm(200000, 0);
	EQUAL(drain(late.node, mem, 8 * PAGE, 60000, &left), -EINTR);
	EQUAL(left, 2);
	pthread_create(&thread, NULL, unpin_later, &late);
	EQUAL(drain(late.node, mem, 8 * PAGE, 60000, &left), 0);
	EQUAL(left, 0);
	pthread_join(thread, NULL);
	check_none(late.node);
}

static void test_drain_file(void)
{
	int fd = memory_file(8 * PAGE, false), node = node_open(O_RDWR);
	struct pinion_drain arg = {
		.argsz = sizeof(arg), .flags = PINION_DRAIN_FD, .length = 8 * PAGE, .fd = fd};
	long handle = pin_fd(node, fd, PAGE, 3 * PAGE, MM, 0);

	EQUAL(call(node, PINION_DRAIN, &arg), -ETIMEDOUT);
	EQUAL(arg.left, 3);
	EQUAL(unpin(node, handle), 3);
	EQUAL(call(node, PINION_DRAIN, &arg), 0);
	arg.flags = 2;
	EQUAL(call(node, PINION_DRAIN, &arg), -EINVAL);
	check_none(node);
}

static pid_t sleeper(uid_t uid)
{
	int ready[2], hold[2];
	char byte;
	pid_t pid;

	CHECK(!pipe(ready) && !pipe(hold));
	pid = fork();
	if (!pid) {
		if (uid)
			become(uid, 77 * PAGE);
		CHECK(write(ready[1], "a", 1) == 1);
		/* Until the parent is gone, which holds the other end. */
		close(hold[1]);
		_exit(read(hold[0], &byte, 1) != 0);
	}
	CHECK(read(ready[0], &byte, 1) == 1);
	close(ready[0]);
	close(ready[1]);
	close(hold[0]);
	fcntl(hold[1], F_SETFD, FD_CLOEXEC);
	return pid;
}

static void test_counters(void)
{
	int node = node_open(O_RDWR);
	pid_t same = sleeper(UID), other = sleeper(UID + 1), root = sleeper(0), zombie;
	char *locked = touched(3 * PAGE);
	struct pinion_counters now;

	EQUAL(counters(node, other, &now), 0);
	EQUAL(now.uid, UID + 1);
	EQUAL(now.limit, 77 * PAGE);
	EQUAL(now.limit_max, 77 * PAGE);
	EQUAL(now.flags, PINION_COUNTERS_PID);
	become(UID, 77 * PAGE);
	EQUAL(mlock(locked, 3 * PAGE), 0);
	EQUAL(counters(node, 0, &now), 0);
	EQUAL(now.locked_vm, status(0, "VmLck"));
	EQUAL(now.locked_vm, 3);
	EQUAL(now.module_locked_vm, 0);
	EQUAL(now.uid, UID);
	EQUAL(now.limit, 77 * PAGE);
	EQUAL(now.flags, 0);
	EQUAL(counters(node, same, &now), 0);
	EQUAL(now.locked_vm, 0);
	EQUAL(counters(node, other, &now), -EPERM);
	EQUAL(now.locked_vm, 0);
	EQUAL(counters(node, root, &now), -EPERM);
	EQUAL(counters(node, -1, &now), -ESRCH);
	EQUAL(counters(node, 1 << 30, &now), -ESRCH);
	memset(&now, 0, sizeof(now));
	now.argsz = sizeof(now);
	now.flags = PINION_COUNTERS_EXEMPT;
	EQUAL(call(node, PINION_COUNTERS, &now), -EINVAL);
	now.flags = 0;
	now.pid = 1;
	EQUAL(call(node, PINION_COUNTERS, &now), -EINVAL);
	zombie = fork();
	if (!zombie)
		_exit(0);
	waitid(P_PID, (id_t)zombie, &(siginfo_t){0}, WEXITED | WNOWAIT);
	EQUAL(counters(node, zombie, &now), 0);
	CHECK(now.flags & PINION_COUNTERS_NO_MM);
	waitpid(zombie, NULL, 0);
	EQUAL(munlock(locked, 3 * PAGE), 0);
	kill(same, SIGKILL);
	waitpid(same, NULL, 0);
}

/* Others of a pid namespace and of a user namespace, seen from inside. */
static void test_namespaces(void)
{
	int node = node_open(O_RDWR), state;
	struct pinion_counters now;
	char *mem = touched(4 * PAGE);
	pid_t pid;

	become(UID, 16 * PAGE);
	pid = fork();
	if (!pid) {
		long handle;

		if (unshare(CLONE_NEWUSER | CLONE_NEWPID)) {
			printf("skip no user namespaces for users\n");
			_exit(0);
		}
		/* No capability there is one here: the limit holds, and the same uid pays. */
		EQUAL(pin(node, mem, 17 * PAGE, USER, 0), -ENOMEM);
		handle = pin(node, mem, 4 * PAGE, USER, 0);
		EQUAL(counters(node, 0, &now), 0);
		EQUAL(now.user_locked_vm, 4);
		EQUAL(now.flags, 0);
		EQUAL(now.uid, 65534);
		EQUAL(inspect(node, mem, PAGE, PINION_INSPECT_PHYS, &(struct pinion_page){0}),
			-EPERM);
		pid = fork();
		if (!pid) {
			EQUAL(getpid(), 1);
			EQUAL(counters(node, 1, &now), 0);
			EQUAL(now.user_locked_vm, 4);
			EQUAL(counters(node, 2, &now), -ESRCH);
			_exit(!!failures);
		}
		CHECK(pid > 0);
		waitpid(pid, &state, 0);
		EQUAL(state, 0);
		EQUAL(unpin(node, handle), 4);
		_exit(!!failures);
	}
	waitpid(pid, &state, 0);
	EQUAL(state, 0);
	check_none(node);
}

static void test_inspect(void)
{
	int node = node_open(O_RDWR), mine;
	char *mem = memory(4 * PAGE), *huge = huge_pages(HUGE), *shared;
	int fd = memory_file(PAGE, false);
	struct pinion_page page[4];
	long handle;

	memset(mem, 1, 2 * PAGE);
	CHECK(phys(node, mem) && phys(node, mem) % PAGE == 0);
	CHECK(phys(node, huge + 5 * PAGE) == phys(node, huge) + 5 * PAGE);
	EQUAL(munmap(mem + 3 * PAGE, PAGE), 0);
	EQUAL(inspect(node, mem, 4 * PAGE, 0, page), 0);
	EQUAL(page[0].flags,
		PINION_PAGE_PRESENT | PINION_PAGE_ANON | PINION_PAGE_WRITABLE | PINION_PAGE_MAPPED);
	EQUAL(page[0].order, 0);
	EQUAL(page[0].node, 0);
	EQUAL(page[0].phys, 0);
	EQUAL(page[2].flags, PINION_PAGE_MAPPED);
	EQUAL(page[2].node, -1);
	EQUAL(page[3].flags, 0);
	handle = pin(node, mem, PAGE, MM, 0);
	EQUAL(inspect(node, mem, 2 * PAGE, 0, page), 0);
	CHECK(page[0].flags & PINION_PAGE_PINNED);
	CHECK(!(page[1].flags & PINION_PAGE_PINNED));
	EQUAL(unpin(node, handle), 1);
	EQUAL(inspect(node, huge + PAGE, PAGE, 0, page), 0);
	CHECK(page[0].flags & PINION_PAGE_HUGETLB);
	EQUAL(page[0].order, 9);
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	*shared = 1;
	EQUAL(inspect(node, shared, PAGE, 0, page), 0);
	CHECK(page[0].flags & PINION_PAGE_FILE);
	EQUAL(inspect(node, mem, PAGE, 2, page), -EINVAL);
	EQUAL(inspect(node, mem, PAGE, 0, NULL), -EFAULT);
	EQUAL(inspect(node, mem, 0, 0, page), -EINVAL);
	/* After a fork the pages of both are shared until one writes. */
	if (!fork()) {
		EQUAL(inspect(node, mem, PAGE, 0, page), 0);
		CHECK(page[0].flags & PINION_PAGE_UNSHARE);
		_exit(!!failures);
	}
	wait(&mine);
	EQUAL(mine, 0);
	become(UID, 0);
	EQUAL(inspect(node, mem, PAGE, PINION_INSPECT_PHYS, page), -EPERM);
	EQUAL(inspect(node, mem, PAGE, 0, page), 0);
	check_none(node);
}

/* Opened by who may not: then who may is refused too, as it may have been handed the file. */
static void test_inspect_opener(void)
{
	int pair[2], node = -1;
	struct pinion_page page;
	char *mem = touched(PAGE), byte, space[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec text = {&byte, 1};
	struct msghdr message = {.msg_iov = &text,
		.msg_iovlen = 1,
		.msg_control = space,
		.msg_controllen = sizeof(space)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	if (!fork()) {
		become(UID, 0);
		node = node_open(O_RDWR);
		*header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(header), &node, sizeof(node));
		_exit(sendmsg(pair[0], &message, 0) != 1);
	}
	EQUAL(recvmsg(pair[1], &message, 0), 1);
	memcpy(&node, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(node));
	EQUAL(inspect(node, mem, PAGE, PINION_INSPECT_PHYS, &page), -EPERM);
	EQUAL(inspect(node, mem, PAGE, 0, &page), 0);
	/* Who uses it pays and is measured, not who opened it. */
	EQUAL(unpin(node, pin(node, mem, PAGE, MM, 0)), 1);
	wait(NULL);
	check_none(node);
}

static void test_close(void)
{
	char *mem = touched(8 * PAGE);
	int node = node_open(O_RDWR), other = node_open(O_RDWR), copy;

	become(UID, 64 * PAGE);
	CHECK(pin(node, mem, 4 * PAGE, MM, 0) > 0 && pin(node, mem, 8 * PAGE, USER, W) > 0);
	CHECK(pin(other, mem, 2 * PAGE, USER, 0) > 0);
	copy = dup(node);
	close(node);
	EQUAL(status(0, "VmLck"), 4);
	EQUAL(status(0, "VmPin"), 8);
	close(copy);
	EQUAL(status(0, "VmLck"), 0);
	EQUAL(status(0, "VmPin"), 2);
	EQUAL(user_pages(other), 2);
	/* Memory that was unmapped is given back as well. */
	EQUAL(munmap(mem, 8 * PAGE), 0);
	EQUAL(unpin(other, 1), 2);
	check_none(other);
}

/* How a child ends that has pinned through a file that it inherited, and which stays open. */
static void child_pins(int node, int how)
{
	char *mem = touched(8 * PAGE);

	CHECK(pin(node, mem, 4 * PAGE, MM, 0) > 0);
	CHECK(pin(node, mem + 4 * PAGE, 4 * PAGE, USER, 0) > 0);
	EQUAL(status(0, "VmLck"), 4);
	EQUAL(user_pages(node), 4);
	if (how == 1)
		kill(getpid(), SIGKILL);
	if (how == 2)
		execl("/bin/true", "true", NULL);
	_exit(!!failures);
}

static void test_child(void)
{
	int node = node_open(O_RDWR), how, i;
	struct pinion_query seen;
	pid_t pid;

	become(UID, 16 * PAGE);
	for (how = 0; how < 3; how++) {
		pid = fork();
		if (!pid)
			child_pins(node, how);
		waitpid(pid, NULL, 0);
		/* What locked_vm paid for is gone with it; what the user pays for is not. */
		for (i = 0; i < 500; i++) {
			EQUAL(query(node, 1, &seen), 0);
			if (seen.flags & PINION_QUERY_DEAD)
				break;
			usleep(10000);
		}
		CHECK(seen.flags & PINION_QUERY_DEAD);
		EQUAL(seen.pages, 0);
		EQUAL(unpin(node, 1), 0);
		EQUAL(query(node, 2, &seen), 0);
		EQUAL(seen.pages, 4);
		EQUAL(user_pages(node), 4);
		EQUAL(unpin_part(node, 2, 0, PAGE), 1);
		EQUAL(unpin(node, 2), 3);
		check_none(node);
	}
}

/* Children that leave their pins behind in an inherited file cannot have more than the limit. */
static void test_pile_up(void)
{
	int node = node_open(O_RDWR), i, state, refused = 0;

	become(UID, 16 * PAGE);
	for (i = 0; i < 8; i++) {
		if (!fork()) {
			char *mem = touched(4 * PAGE);

			_exit(pin(node, mem, 4 * PAGE, USER, 0) == -ENOMEM);
		}
		wait(&state);
		refused += WEXITSTATUS(state);
	}
	EQUAL(refused, 4);
	EQUAL(user_pages(node), 16);
	close(node);
	node = node_open(O_RDWR);
	check_none(node);
}

static void test_setuid(void)
{
	int node = node_open(O_RDWR), first = node_open(O_RDWR);
	char *mem = touched(8 * PAGE);
	long handle;

	/* Real uid UID; the saved one allows the way back. */
	EQUAL(setresuid(UID, UID, 0), 0);
	handle = pin(node, mem, 4 * PAGE, USER, 0);
	CHECK(handle > 0);
	EQUAL(user_pages(node), 4);
	EQUAL(setresuid(-1u, 0, -1u), 0);
	EQUAL(setresuid(UID + 1, 0, 0), 0);
	EQUAL(user_pages(node), 0);
	EQUAL(setresuid(UID + 1, UID + 1, 0), 0);
	CHECK(pin(first, mem + 4 * PAGE, 2 * PAGE, USER, 0) > 0);
	EQUAL(user_pages(node), 2);
	/* Given back to who paid. */
	EQUAL(unpin(node, handle), 4);
	EQUAL(user_pages(node), 2);
	close(first);
	EQUAL(user_pages(node), 0);
	EQUAL(setresuid(-1u, 0, 0), 0);
	EQUAL(setresuid(UID, UID, UID), 0);
	check_none(node);
}

/* The pins of a parent are not its child's, and its memory goes on being its own. */
static void test_fork(void)
{
	int node = node_open(O_RDWR), state;
	char *mem = touched(4 * PAGE);
	uint64_t before;
	long handle;

	handle = pin(node, mem, 4 * PAGE, MM, W);
	before = phys(node, mem);
	if (!fork()) {
		EQUAL(status(0, "VmLck"), 0);
		/* The file is shared: a child may take back, and it is the parent that is paid. */
		EQUAL(unpin_part(node, handle, 3 * PAGE, PAGE), 1);
		_exit(!!failures);
	}
	wait(&state);
	EQUAL(state, 0);
	memset(mem, 3, 4 * PAGE);
	EQUAL(phys(node, mem), before);
	EQUAL(status(0, "VmLck"), 3);
	EQUAL(unpin(node, handle), 3);
	check_none(node);
}

static void test_handles(void)
{
	int node = node_open(O_RDWR);
	char *mem = touched(PAGE);
	struct pinion_info info = {.argsz = sizeof(info)};
	uint32_t i;

	become(UID, PAGE);
	EQUAL(call(node, PINION_INFO, &info), 0);
	for (i = 0; i < 1000; i++)
		EQUAL(pin(node, mem, PAGE, USER, 0), i + 1);
	EQUAL(unpin(node, 500), 0);
	EQUAL(pin(node, mem, PAGE, USER, 0), 500);
	EQUAL(user_pages(node), 1);
	close(node);
	node = node_open(O_RDWR);
	check_none(node);
}

static void test_table(void)
{
	int node = node_open(O_RDWR);
	char *mem = touched(4 * PAGE), line[256];
	FILE *table;
	int found = 0;
	long handle;

	handle = pin(node, mem, 3 * PAGE, MM, W);
	unpin_part(node, handle, 0, PAGE);
	table = fopen("/sys/kernel/debug/pinion/pins", "re");
	CHECK(table);
	while (table && fgets(line, sizeof(line), table)) {
		int pid, uid, pages, pinned, owner;
		char comm[64], charge[8], flags[8];

		if (sscanf(line, "%d %d %63s %7s %7s %d %d %d", &pid, &uid, comm, charge, flags,
			    &pages, &pinned, &owner) != 8 ||
			pid != getpid())
			continue;
		found++;
		EQUAL(uid, 0);
		EQUAL(pages, 3);
		EQUAL(pinned, 2);
		EQUAL(owner, 2);
		EQUAL(strcmp(charge, "mm"), 0);
		EQUAL(strcmp(flags, "we"), 0);
		EQUAL(strcmp(comm, "kmod_pins"), 0);
	}
	EQUAL(found, 1);
	EQUAL(unpin(node, handle), 2);
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{"arguments", test_arguments},
	{"answer-fails", test_answer_fails},
	{"charge-mm", test_charge_mm},
	{"charge-user", test_charge_user},
	{"limit", test_limit},
	{"exempt", test_exempt},
	{"charged-once", test_charged_once},
	{"charged-once-across-processes", test_once_across},
	{"parts", test_parts},
	{"hugepages", test_hugepages},
	{"files", test_files},
	{"seals", test_seals},
	{"zero-page", test_zero_page},
	{"huge-zero-page", test_huge_zero_page},
	{"thp", test_thp},
	{"private-file", test_private_file},
	{"shared-file", test_shared_file},
	{"ksm", test_ksm},
	{"swapped", test_swapped},
	{"movable", test_movable},
	{"secret", test_secret},
	{"bar", test_bar},
	{"exclusive", test_exclusive},
	{"exclusive-file", test_exclusive_file},
	{"exclusive-against-others", test_exclusive_others},
	{"drain", test_drain},
	{"drain-file", test_drain_file},
	{"counters", test_counters},
	{"namespaces", test_namespaces},
	{"inspect", test_inspect},
	{"inspect-opener", test_inspect_opener},
	{"close", test_close},
	{"child", test_child},
	{"pile-up", test_pile_up},
	{"setuid", test_setuid},
	{"fork", test_fork},
	{"handles", test_handles},
	{"table", test_table},
};

int main(int argc, char **argv)
{
	size_t i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 0; argc == 2 && i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (!strcmp(argv[1], "list"))
			printf("%s\n", tests[i].name);
		if (strcmp(argv[1], tests[i].name))
			continue;
		tests[i].run();
		printf("%s\n", failures ? "failed" : "ok");
		return !!failures;
	}
	return argc == 2 && !strcmp(argv[1], "list") ? 0 : 2;
}
