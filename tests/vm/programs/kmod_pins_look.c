/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters of processes, in namespaces too, and what pages are. See kmod_pins.c.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod_pins.h"

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

void test_counters(void)
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
void test_namespaces(void)
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

void test_inspect(void)
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

/* Of memory of each kind that nobody has touched; and what may not be read is there. */
void test_inspect_brings_nothing(void)
{
	int node = node_open(O_RDWR), fd = memory_file(PAGE, false), huge = memory_file(HUGE, true);
	const struct {
		size_t length;
		int flags, fd;
	} kinds[] = {
		{PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1},
		{HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1},
		{HUGE, MAP_PRIVATE, huge},
		{HUGE, MAP_SHARED, huge},
		{PAGE, MAP_SHARED, fd},
		{PAGE, MAP_PRIVATE, fd},
	};
	struct pinion_page page;
	uint64_t left;
	char *mem;
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		mem = mmap(NULL, kinds[i].length, PROT_READ | PROT_WRITE, kinds[i].flags,
			kinds[i].fd, 0);
		CHECK(mem != MAP_FAILED);
		EQUAL(drain(node, mem, PAGE, 0, &left), 0);
		EQUAL(inspect(node, mem, PAGE, 0, &page), 0);
		EQUAL(page.flags, PINION_PAGE_MAPPED);
		munmap(mem, kinds[i].length);
	}
	mem = touched(PAGE);
	EQUAL(mprotect(mem, PAGE, PROT_NONE), 0);
	EQUAL(inspect(node, mem, PAGE, 0, &page), 0);
	EQUAL(page.flags, PINION_PAGE_PRESENT | PINION_PAGE_ANON | PINION_PAGE_MAPPED);
	check_none(node);
}

/* Opened by who may not: then who may is refused too, as it may have been handed the file. */
void test_inspect_opener(void)
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
