/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arguments, and what is charged: counters, limits, parts, huge pages. See kmod_pins.c.
 */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod_pins.h"
#include "pinion_test.h"

void test_arguments(void)
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

/* A call as a 32-bit program makes it, which a 64-bit one can make too. */
static int call_32(int node, unsigned long request, void *arg)
{
	long ret = -ENOSYS;

#ifdef __x86_64__
	__asm__ volatile("int $0x80"
			 : "=a"(ret)
			 : "a"(54l), "b"((long)node), "c"(request), "d"(arg)
			 : "memory", "r8", "r9", "r10", "r11");
#else
	(void)node;
	(void)request;
	(void)arg;
#endif
	return (int)ret;
}

static bool has_32_bit(int node)
{
	pid_t pid = fork();
	int state;

	if (!pid)
		_exit(call_32(node, 0, NULL) != -ENOTTY);
	waitpid(pid, &state, 0);
	return !state;
}

/* What all its arguments are in. */
struct low {
	struct pinion_pin pin;
	struct pinion_query query;
	struct pinion_counters counters;
	struct pinion_inspect inspect;
	struct pinion_page pages[4];
	struct pinion_drain drain;
	struct pinion_unpin unpin;
};

void test_32_bit(void)
{
	int node = node_open(O_RDWR);
	struct low *low = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_32BIT, -1, 0);
	char *mem = (char *)low + 4 * PAGE;

	if (!has_32_bit(node)) {
		printf("skip this kernel runs no 32-bit programs\n");
		return;
	}
	low->pin = (struct pinion_pin){.argsz = sizeof(low->pin),
		.addr = (uintptr_t)mem,
		.length = 4 * PAGE,
		.charge = MM};
	EQUAL(call_32(node, PINION_PIN, &low->pin), 0);
	EQUAL(low->pin.charged, 4);
	low->query = (struct pinion_query){.argsz = sizeof(low->query), .handle = low->pin.handle};
	EQUAL(call_32(node, PINION_QUERY, &low->query), 0);
	EQUAL(low->query.node_pages[0], 4);
	low->counters.argsz = sizeof(low->counters);
	EQUAL(call_32(node, PINION_COUNTERS, &low->counters), 0);
	EQUAL(low->counters.module_locked_vm, 4);
	low->inspect = (struct pinion_inspect){.argsz = sizeof(low->inspect),
		.addr = (uintptr_t)mem,
		.length = 4 * PAGE,
		.pages = (uintptr_t)low->pages};
	EQUAL(call_32(node, PINION_INSPECT, &low->inspect), 0);
	CHECK(low->pages[3].flags & PINION_PAGE_PINNED);
	low->drain = (struct pinion_drain){
		.argsz = sizeof(low->drain), .addr = (uintptr_t)mem, .length = 4 * PAGE};
	EQUAL(call_32(node, PINION_DRAIN, &low->drain), -ETIMEDOUT);
	EQUAL(low->drain.left, 4);
	low->pin.addr = (uintptr_t)mem | 1ull << 32;
	low->pin.handle = 0;
	low->pin.charged = 0;
	EQUAL(call_32(node, PINION_PIN, &low->pin), -EFAULT);
	low->unpin = (struct pinion_unpin){.argsz = sizeof(low->unpin),
		.flags = PINION_UNPIN_ALL,
		.handle = low->query.handle};
	EQUAL(call_32(node, PINION_UNPIN, &low->unpin), 0);
	EQUAL(low->unpin.uncharged, 4);
	check_none(node);
}

/* An argument that can be read and not written: what was pinned is unpinned again. */
void test_answer_fails(void)
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

void test_charge_mm(void)
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

void test_charge_user(void)
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

void test_limit(void)
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
void test_exempt(void)
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

void test_charged_once(void)
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
void test_once_across(void)
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

/* Pins of pages that anybody has taken since the start. */
static uint64_t pins_taken(void)
{
	FILE *file = fopen("/proc/vmstat", "re");
	unsigned long long taken = 0, value;
	char name[64];

	while (file && fscanf(file, "%63s %llu", name, &value) == 2) {
		if (!strcmp(name, "nr_foll_pin_acquired"))
			taken = value;
	}
	if (file)
		fclose(file);
	return taken;
}

/* A pin of pages that are paid for, mapped so often that it takes a while. */
#define FEW   (16 * PAGE)
#define TIMES 8000ul

struct lengthy {
	int node;
	char *mem;  /* FEW bytes of the file, TIMES times */
	long first; /* a pin of these pages */
	uint64_t before;
	pthread_t thread;
	long result;
	_Atomic bool ended;
};

static void *pin_lengthy(void *arg)
{
	struct lengthy *lengthy = arg;

	lengthy->result = pin(lengthy->node, lengthy->mem, TIMES * FEW, MM, 0);
	lengthy->ended = true;
	return NULL;
}

/* It goes on when this returns. */
static void start_lengthy(struct lengthy *lengthy)
{
	int fd = memory_file(FEW, false), tries;
	size_t i;

	lengthy->node = node_open(O_RDWR);
	lengthy->ended = false;
	lengthy->mem = mmap(
		NULL, TIMES * FEW, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	for (i = 0; i < TIMES; i++)
		CHECK(mmap(lengthy->mem + i * FEW, FEW, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0) != MAP_FAILED);
	become(UID, FEW);
	lengthy->first = pin(lengthy->node, lengthy->mem, FEW, MM, 0);
	CHECK(lengthy->first > 0);
	lengthy->before = pins_taken();
	CHECK(!pthread_create(&lengthy->thread, NULL, pin_lengthy, lengthy));
	for (tries = 0; tries < 100000 && pins_taken() < lengthy->before + 4096; tries++)
		;
}

/* The pin that pays for another one goes, while that is being made. */
void test_unpinned_meanwhile(void)
{
	char *other = touched(FEW);
	struct lengthy lengthy;

	start_lengthy(&lengthy);
	EQUAL(unpin(lengthy.node, lengthy.first), 0);
	EQUAL(status(0, "VmLck"), FEW / PAGE);
	EQUAL(pin(lengthy.node, other, FEW, MM, 0), -ENOMEM);
	pthread_join(lengthy.thread, NULL);
	CHECK(lengthy.result > 0);
	EQUAL(unpin(lengthy.node, lengthy.result), FEW / PAGE);
	check_none(lengthy.node);
}

/* Other pages take the place of those that are paid for: of these a batch is pinned at most. */
void test_mapped_meanwhile(void)
{
	const size_t fresh = 1000 * FEW, batch = 512 * PAGE;
	struct lengthy lengthy;
	uint64_t taken;

	start_lengthy(&lengthy);
	CHECK(mmap(lengthy.mem + TIMES * FEW - fresh, fresh, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	pthread_join(lengthy.thread, NULL);
	EQUAL(lengthy.result, -ENOMEM);
	taken = pins_taken() - lengthy.before;
	/* Each processor has some that are not in the sum yet. */
	if (taken > (TIMES * FEW - fresh + 4 * batch) / PAGE)
		printf("%llu pages were pinned\n", (unsigned long long)taken);
	CHECK(taken <= (TIMES * FEW - fresh + 4 * batch) / PAGE);
	EQUAL(status(0, "VmLck"), FEW / PAGE);
	EQUAL(unpin(lengthy.node, lengthy.first), FEW / PAGE);
	check_none(lengthy.node);
}

/* Nobody gets pins for nothing of pages whose first pin is just being refused. */
void test_refused_meanwhile(void)
{
	const size_t fresh = 512 * PAGE;
	struct lengthy lengthy;
	long other = -ENOMEM;
	char *tail;

	start_lengthy(&lengthy);
	tail = lengthy.mem + TIMES * FEW - fresh;
	CHECK(mmap(tail, fresh, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		      0) != MAP_FAILED);
	while (!lengthy.ended && other == -ENOMEM)
		other = pin(lengthy.node, tail, fresh, MM, 0);
	pthread_join(lengthy.thread, NULL);
	EQUAL(lengthy.result, -ENOMEM);
	EQUAL(other, -ENOMEM);
	EQUAL(status(0, "VmLck"), FEW / PAGE);
	EQUAL(unpin(lengthy.node, lengthy.first), FEW / PAGE);
	check_none(lengthy.node);
}

void test_parts(void)
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

void test_hugepages(void)
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

/*
 * More pins of a page that is charged cost nothing, and each takes references: they are refused
 * before the kernel's number of them overflows. The test module sees to the most of it.
 */
void test_references(void)
{
	struct pinion_test_references many = {.count = INT_MAX / 2 - 4096};
	int node = node_open(O_RDWR), test = open("/dev/pinion_test", O_RDWR | O_CLOEXEC);
	int fd = memory_file(2 * PAGE, false);
	char *mem = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	long first, second, third;

	CHECK(test >= 0);
	memset(mem, 1, 2 * PAGE);
	many.addr = (uintptr_t)mem;
	EQUAL(call(test, PINION_TEST_REFERENCES, &many), 0);
	become(UID, 2 * PAGE);
	first = pin(node, mem, 2 * PAGE, MM, W);
	second = pin_fd(node, fd, 0, 2 * PAGE, MM, 0);
	third = pin(node, mem, PAGE, USER, 0);
	CHECK(first > 0 && second > 0 && third > 0);
	EQUAL(pin(node, mem, 2 * PAGE, MM, 0), -EOVERFLOW);
	EQUAL(pin(node, mem, PAGE, USER, 0), -EOVERFLOW);
	EQUAL(pin_fd(node, fd, 0, 2 * PAGE, MM, W), -EOVERFLOW);
	/* The page beside it. */
	EQUAL(unpin(node, pin(node, mem + PAGE, PAGE, MM, 0)), 0);
	EQUAL(unpin(node, third), 1);
	EQUAL(unpin(node, second), 0);
	EQUAL(unpin(node, first), 2);
	many.count = -many.count;
	EQUAL(call(test, PINION_TEST_REFERENCES, &many), 0);
	EQUAL(unpin(node, pin(node, mem, 2 * PAGE, MM, X)), 2);
	check_none(node);
}
