/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What programs that test the companion module share.
 */
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "kmod.h"

int failures;

static void die(const char *what)
{
	perror(what);
	exit(2);
}

int node_open(int flags)
{
	int fd = open(NODE, flags | O_CLOEXEC);

	if (fd < 0)
		die(NODE);
	return fd;
}

static int call(int node, unsigned long request, void *arg)
{
	return ioctl(node, request, arg) < 0 ? -errno : 0;
}

static long pin_range(
	int node, uint64_t addr, size_t length, int fd, uint32_t charge, uint32_t flags)
{
	struct pinion_pin arg = {
		.argsz = sizeof(arg),
		.flags = flags,
		.addr = addr,
		.length = length,
		.fd = fd,
		.charge = charge,
	};
	int ret = call(node, PINION_PIN, &arg);

	return ret ? ret : (long)arg.handle;
}

long pin(int node, const void *addr, size_t length, uint32_t charge, uint32_t flags)
{
	return pin_range(node, (uintptr_t)addr, length, 0, charge, flags);
}

long pin_fd(int node, int fd, uint64_t offset, size_t length, uint32_t charge, uint32_t flags)
{
	return pin_range(node, offset, length, fd, charge, flags | PINION_PIN_FD);
}

static long unpin_arg(int node, struct pinion_unpin *arg)
{
	int ret = call(node, PINION_UNPIN, arg);

	return ret ? ret : (long)arg->uncharged;
}

long unpin(int node, long handle)
{
	struct pinion_unpin arg = {
		.argsz = sizeof(arg), .flags = PINION_UNPIN_ALL, .handle = (uint32_t)handle};

	return unpin_arg(node, &arg);
}

long unpin_part(int node, long handle, uint64_t offset, uint64_t length)
{
	struct pinion_unpin arg = {.argsz = sizeof(arg),
		.handle = (uint32_t)handle,
		.offset = offset,
		.length = length};

	return unpin_arg(node, &arg);
}

int query(int node, long handle, struct pinion_query *arg)
{
	memset(arg, 0, sizeof(*arg));
	arg->argsz = sizeof(*arg);
	arg->handle = (uint32_t)handle;
	return call(node, PINION_QUERY, arg);
}

int counters(int node, pid_t pid, struct pinion_counters *arg)
{
	memset(arg, 0, sizeof(*arg));
	arg->argsz = sizeof(*arg);
	arg->flags = pid ? PINION_COUNTERS_PID : 0;
	arg->pid = pid;
	return call(node, PINION_COUNTERS, arg);
}

int inspect(int node, const void *addr, size_t length, uint32_t flags, struct pinion_page *pages)
{
	struct pinion_inspect arg = {
		.argsz = sizeof(arg),
		.flags = flags,
		.addr = (uintptr_t)addr,
		.length = length,
		.pages = (uintptr_t)pages,
	};

	return call(node, PINION_INSPECT, &arg);
}

int drain(int node, const void *addr, size_t length, uint32_t timeout_ms, uint64_t *left)
{
	struct pinion_drain arg = {
		.argsz = sizeof(arg),
		.addr = (uintptr_t)addr,
		.length = length,
		.timeout_ms = timeout_ms,
	};
	int ret = call(node, PINION_DRAIN, &arg);

	*left = arg.left;
	return ret;
}

uint64_t user_pages(int node)
{
	struct pinion_counters now;

	if (counters(node, 0, &now))
		die("PINION_COUNTERS");
	return now.user_locked_vm;
}

uint64_t status(pid_t pid, const char *name)
{
	char path[64] = "/proc/self/status", line[256];
	uint64_t kib = 0;
	FILE *file;

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	if (!file)
		die(path);
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, name, strlen(name)))
			sscanf(line + strlen(name), ": %" SCNu64, &kib);
	}
	fclose(file);
	return kib / (PAGE / 1024);
}

static void *map(size_t length, int flags)
{
	void *addr = mmap(
		NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (addr == MAP_FAILED)
		die("mmap");
	return addr;
}

void *memory(size_t length)
{
	void *addr = map(length, 0);

	/* Of 4 KiB pages, whatever the machine's setting. */
	madvise(addr, length, MADV_NOHUGEPAGE);
	return addr;
}

void *touched(size_t length)
{
	void *addr = memory(length);

	memset(addr, 1, length);
	return addr;
}

void *huge_pages(size_t length)
{
	void *addr = map(length, MAP_HUGETLB);

	memset(addr, 1, length);
	return addr;
}

int memory_file(size_t length, bool huge)
{
	int fd = memfd_create(
		"kmod", MFD_CLOEXEC | (huge ? MFD_HUGETLB | MFD_HUGE_2MB : MFD_ALLOW_SEALING));

	if (fd < 0 || ftruncate(fd, (off_t)length))
		die("memfd");
	return fd;
}

void become(uid_t uid, size_t memlock)
{
	struct rlimit limit = {memlock, memlock};

	if (setrlimit(RLIMIT_MEMLOCK, &limit) || setgroups(0, NULL) || setresgid(uid, uid, uid) ||
		setresuid(uid, uid, uid) || prctl(PR_SET_DUMPABLE, 1))
		die("become");
}
