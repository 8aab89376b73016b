/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fuzzer of the companion module's calls: kmod_fuzz SECONDS [SEED]. Threads of several processes
 * of two users share files of the node; each makes calls whose arguments are nearly right, while
 * memory is unmapped and mapped again, files are closed, children are forked, executed and killed.
 * Nothing may happen to the kernel (its log is looked at), and nothing may be left.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kmod.h"

#define PROCESSES 3
#define THREADS   3
#define REGIONS   4
#define SPAN      (16 * PAGE)

struct fuzz {
	int nodes[3]; /* shared with all processes; its own; read-only */
	int files[4]; /* a memfd, one of huge pages, a sealed one, a pipe */
	char *regions[REGIONS];
	uint64_t end_ns;
	unsigned long calls;
	unsigned long taken;
};

struct thread {
	struct fuzz *fuzz;
	uint64_t state;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint32_t dice(struct thread *thread, uint32_t n)
{
	thread->state = thread->state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(thread->state >> 33) % n;
}

/* A number as callers get them wrong. */
static uint64_t odd_number(struct thread *thread)
{
	static const uint64_t odd[] = {0, 1, 7, 4095, 4096, 4097, 1ul << 31, (1ul << 31) - 1,
		1ul << 32, 1ul << 47, (1ul << 47) - 4096, 1ul << 63, -1ul, -4096ul, -8192ul,
		1ul << 52};

	return odd[dice(thread, sizeof(odd) / sizeof(odd[0]))];
}

static uint64_t address(struct thread *thread)
{
	if (!dice(thread, 20))
		return odd_number(thread);
	return (uintptr_t)thread->fuzz->regions[dice(thread, REGIONS)] + dice(thread, 20) * PAGE;
}

static uint64_t length(struct thread *thread)
{
	return dice(thread, 20) ? (1 + dice(thread, 16)) * PAGE : odd_number(thread);
}

static int some_file(struct thread *thread)
{
	return dice(thread, 30) ? thread->fuzz->files[dice(thread, 4)] : (int)odd_number(thread);
}

static uint32_t flags(struct thread *thread, uint32_t known)
{
	return dice(thread, 40) ? dice(thread, known + 1) : (uint32_t)odd_number(thread);
}

static int some_node(struct thread *thread)
{
	return thread->fuzz->nodes[dice(thread, 20) ? dice(thread, 2) : 2];
}

/* Now and then a bit of the argument flips, or it is longer, or shorter, or lies in no memory. */
static void call(struct thread *thread, unsigned long request, void *arg, size_t size)
{
	_Alignas(8) unsigned char space[1024] = {0};
	void *from = space;
	uint32_t at;

	memcpy(space, arg, size);
	switch (dice(thread, 40)) {
	case 0:
		at = dice(thread, (uint32_t)size * 8);
		space[at / 8] = (unsigned char)(space[at / 8] ^ 1u << at % 8);
		break;
	case 1:
		*(uint32_t *)(void *)space = dice(thread, 1024);
		break;
	case 2:
		from = (void *)(uintptr_t)address(thread);
		break;
	case 3:
		request = _IO(PINION_TYPE, 0xb0 + dice(thread, 9));
		break;
	default:
		break;
	}
	/* Nobody may come and unpin what a DRAIN waits for. */
	if (request == PINION_DRAIN) {
		from = space;
		((struct pinion_drain *)from)->timeout_ms &= 15;
	}
	thread->fuzz->taken += ioctl(some_node(thread), request, from) == 0;
	thread->fuzz->calls++;
}

static void call_pin(struct thread *thread)
{
	struct pinion_pin arg = {
		.argsz = sizeof(arg),
		.flags = flags(thread, 7),
		.addr = address(thread),
		.length = length(thread),
		.charge = dice(thread, 30) ? 1 + dice(thread, 2) : dice(thread, 5),
	};

	if (!dice(thread, 4))
		arg.flags &= ~(uint32_t)PINION_PIN_EXCLUSIVE;
	if (arg.flags & PINION_PIN_FD) {
		arg.fd = some_file(thread);
		arg.addr = dice(thread, 20) * PAGE;
	}
	call(thread, PINION_PIN, &arg, sizeof(arg));
}

static void call_unpin(struct thread *thread)
{
	struct pinion_unpin arg = {.argsz = sizeof(arg), .handle = 1 + dice(thread, 40)};

	if (dice(thread, 2)) {
		arg.flags = flags(thread, 1);
	} else {
		arg.offset = dice(thread, 16) * PAGE;
		arg.length = length(thread);
	}
	call(thread, PINION_UNPIN, &arg, sizeof(arg));
}

static void call_looks(struct thread *thread)
{
	struct pinion_query query = {.argsz = sizeof(query), .handle = 1 + dice(thread, 40)};
	struct pinion_counters counters = {.argsz = sizeof(counters), .flags = flags(thread, 1)};
	struct pinion_drain drain = {.argsz = sizeof(drain),
		.flags = flags(thread, 1),
		.addr = address(thread),
		.length = length(thread),
		.timeout_ms = dice(thread, 8)};
	struct pinion_inspect inspect = {.argsz = sizeof(inspect),
		.flags = flags(thread, 1),
		.addr = address(thread),
		.length = length(thread),
		.pages = address(thread)};

	switch (dice(thread, 4)) {
	case 0:
		call(thread, PINION_QUERY, &query, sizeof(query));
		break;
	case 1:
		if (counters.flags)
			counters.pid = (int)dice(thread, 300);
		call(thread, PINION_COUNTERS, &counters, sizeof(counters));
		break;
	case 2:
		if (drain.flags) {
			drain.fd = some_file(thread);
			drain.addr = dice(thread, 20) * PAGE;
		}
		call(thread, PINION_DRAIN, &drain, sizeof(drain));
		break;
	default:
		/* Not onto the stack of a thread. */
		inspect.length %= SPAN * 4;
		call(thread, PINION_INSPECT, &inspect, sizeof(inspect));
		break;
	}
}

/* The ground moves. */
static void disturb(struct thread *thread)
{
	struct fuzz *fuzz = thread->fuzz;
	char *region = fuzz->regions[dice(thread, REGIONS)];
	int kind = MAP_PRIVATE | MAP_ANONYMOUS, fd = -1;

	switch (dice(thread, 6)) {
	case 0:
		munmap(region + dice(thread, 16) * PAGE, PAGE);
		break;
	case 1:
		madvise(region, SPAN, MADV_DONTNEED);
		break;
	case 2:
		mprotect(region, SPAN, (int)dice(thread, 4));
		break;
	case 3:
		/* What is cut off is pinned perhaps. */
		if (!ftruncate(fuzz->files[0], dice(thread, 8) * (off_t)PAGE))
			(void)!ftruncate(fuzz->files[0], SPAN);
		break;
	default:
		if (dice(thread, 2)) {
			kind = MAP_SHARED;
			fd = fuzz->files[0];
		}
		mmap(region, SPAN, PROT_READ | PROT_WRITE, kind | MAP_FIXED, fd, 0);
		break;
	}
}

/* A child with every file of its parent, which ends in one way or another. */
static void spawn(struct thread *thread)
{
	uint32_t how = dice(thread, 3), i;
	pid_t pid = fork();

	if (pid < 0)
		return;
	if (!pid) {
		for (i = 0; i < 4; i++)
			call_pin(thread);
		if (how == 1)
			execl("/bin/true", "true", NULL);
		if (how == 2)
			raise(SIGKILL);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

static void reopen(struct thread *thread)
{
	int fresh = open(NODE, O_RDWR | O_CLOEXEC);

	/* In the same place, so that others lose it in the middle of what they do. */
	if (fresh < 0)
		return;
	dup3(fresh, thread->fuzz->nodes[1], O_CLOEXEC);
	close(fresh);
}

static void *fuzz_thread(void *arg)
{
	struct thread *thread = arg;
	uint32_t i;

	while (now_ns() < thread->fuzz->end_ns) {
		for (i = 0; i < 64; i++) {
			switch (dice(thread, 16)) {
			case 0:
				disturb(thread);
				break;
			case 1 ... 6:
				call_pin(thread);
				break;
			case 7 ... 11:
				call_unpin(thread);
				break;
			default:
				call_looks(thread);
				break;
			}
		}
		if (!dice(thread, 4))
			reopen(thread);
		if (!dice(thread, 4))
			spawn(thread);
	}
	return NULL;
}

static void fuzz_process(struct fuzz *fuzz, uid_t uid, uint64_t seed)
{
	struct thread threads[THREADS];
	pthread_t ids[THREADS];
	int i;

	become(uid, 128 * PAGE);
	fuzz->nodes[1] = node_open(O_RDWR);
	fuzz->nodes[2] = node_open(O_RDONLY);
	/* What is written beyond a region by mistake is nobody's. */
	for (i = 0; i < REGIONS; i++) {
		fuzz->regions[i] = touched(4 * SPAN);
		mprotect(fuzz->regions[i] + SPAN, 3 * SPAN, PROT_NONE);
	}
	for (i = 0; i < THREADS; i++) {
		threads[i] = (struct thread){fuzz, seed * 1000 + (uint64_t)i};
		if (pthread_create(&ids[i], NULL, fuzz_thread, &threads[i]))
			exit(2);
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(ids[i], NULL);
	printf("uid %u: %lu calls, %lu taken\n", uid, fuzz->calls, fuzz->taken);
	_exit(fuzz->taken ? 0 : 1);
}

int main(int argc, char **argv)
{
	uint64_t seconds = argc > 1 ? strtoul(argv[1], NULL, 0) : 0;
	uint64_t seed = argc > 2 ? strtoul(argv[2], NULL, 0) : now_ns();
	struct fuzz fuzz = {0};
	int pair[2], i, state, bad = 0;

	if (!seconds)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("seed %llu\n", (unsigned long long)seed);
	fuzz.end_ns = now_ns() + seconds * 1000000000u;
	fuzz.nodes[0] = node_open(O_RDWR);
	fuzz.files[0] = memory_file(SPAN, false);
	fuzz.files[1] = memory_file(HUGE, true);
	fuzz.files[2] = memory_file(SPAN, false);
	if (pipe(pair) || fcntl(fuzz.files[2], F_ADD_SEALS, F_SEAL_WRITE))
		return 2;
	fuzz.files[3] = pair[0];
	for (i = 0; i < PROCESSES; i++) {
		if (!fork())
			fuzz_process(&fuzz, 1000 + (uid_t)i % 2, seed + (uint64_t)i);
	}
	while (wait(&state) > 0)
		bad |= state;
	printf("%s\n", bad ? "a process did not end as it should" : "ok");
	return bad ? 1 : 0;
}
