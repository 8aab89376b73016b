/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What becomes of pins when files are closed, processes end, fork or change their user. See
 * kmod_pins.c.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmod_pins.h"

void test_close(void)
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

void test_child(void)
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
void test_pile_up(void)
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

void test_setuid(void)
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
void test_fork(void)
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

void test_handles(void)
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

void test_table(void)
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
