/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Others that use the same counters, as a worker makes them: an AF_XDP umem, perf's ring buffer,
 * shared memory that is locked, a zero-copy send whose receiver does not read, and memory of an
 * RDMA device made of software (rxe).
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/if_xdp.h>
#include <linux/perf_event.h>
#include <rdma/ib_user_verbs.h>

#include "charges.h"

#define PAGE 4096u

/* What is handed to the kernel: it is there before and after every exec(), and no VMA comes or goes
 * with it. */
static char memory[256 * PAGE] __attribute__((aligned(PAGE)));

static int result(long ret)
{
	return ret < 0 ? errno : 0;
}

/* A descriptor, or an errno, negative. */
static int with(int fd, int err)
{
	if (err)
		close(fd);
	return err ? -err : fd;
}

static int open_xdp(uint64_t pages)
{
	struct xdp_umem_reg umem = {
		.addr = (uintptr_t)memory, .len = pages * PAGE, .chunk_size = PAGE};
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	return with(fd, result(setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &umem, sizeof(umem))));
}

/* A connection to itself whose other end has no room left. */
static int connect_full(int ends[2])
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 1, large = 1 << 20,
	    err;
	socklen_t size = sizeof(to);
	ssize_t sent;

	ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ends[1] = -1;
	err = result(setsockopt(server, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small))) ||
	      setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)) ||
	      setsockopt(ends[0], SOL_SOCKET, SO_ZEROCOPY, &(int){1}, sizeof(int)) ||
	      bind(server, (struct sockaddr *)&to, size) || listen(server, 1) ||
	      getsockname(server, (struct sockaddr *)&to, &size) ||
	      connect(ends[0], (struct sockaddr *)&to, size);
	if (!err)
		ends[1] = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	close(server);
	if (err || ends[1] < 0)
		return errno;
	sent = send(ends[0], memory, 16 * PAGE, MSG_DONTWAIT);
	return sent == 16 * PAGE ? 0 : EIO;
}

/*
 * All of it is charged, however much of it is taken. That lasts until the other end is closed: what
 * was not read makes that a reset. So the descriptor that is kept is the other end's.
 */
static int open_zerocopy(uint64_t pages)
{
	int ends[2], err = connect_full(ends);

	if (!err)
		err = result(
			send(ends[0], memory, (pages - 2) * PAGE, MSG_ZEROCOPY | MSG_DONTWAIT));
	close(ends[0]);
	return ends[1] < 0 ? -err : with(ends[1], err);
}

/* Of a processor: one of a task has the kernel rewrite its scheduler, which an emulated machine
 * with several processors does not always survive. */
/* To a command of uverbs, as it was before there were ioctls; what it answers with is put into the
 * first field of every command. */
static int uverbs(int fd, uint32_t command, void *cmd, size_t size, size_t answer_size)
{
	struct {
		struct ib_uverbs_cmd_hdr header;
		char cmd[64];
	} text = {.header = {.command = command,
			  .in_words = (uint16_t)((sizeof(text.header) + size) / 4),
			  .out_words = (uint16_t)(answer_size / 4)}};
	ssize_t length = (ssize_t)(sizeof(text.header) + size);

	memcpy(text.cmd, cmd, size);
	return write(fd, &text, (size_t)length) == length ? 0 : errno;
}

/* A memory region of a device made of software. */
static int open_rdma(uint64_t pages)
{
	struct ib_uverbs_get_context_resp context = {0};
	struct ib_uverbs_alloc_pd_resp pd = {0};
	struct ib_uverbs_reg_mr_resp region = {0};
	struct ib_uverbs_get_context get = {.response = (uintptr_t)&context};
	struct ib_uverbs_alloc_pd alloc = {.response = (uintptr_t)&pd};
	struct ib_uverbs_reg_mr reg = {.response = (uintptr_t)&region,
		.start = (uintptr_t)memory,
		.length = pages * PAGE,
		.hca_va = (uintptr_t)memory,
		.access_flags = 1}; /* IB_ACCESS_LOCAL_WRITE */
	int fd = open(RDMA_NODE, O_RDWR | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = uverbs(fd, IB_USER_VERBS_CMD_GET_CONTEXT, &get, sizeof(get), sizeof(context));
	if (!err)
		close((int)context.async_fd);
	if (!err)
		err = uverbs(fd, IB_USER_VERBS_CMD_ALLOC_PD, &alloc, sizeof(alloc), sizeof(pd));
	reg.pd_handle = pd.pd_handle;
	if (!err)
		err = uverbs(fd, IB_USER_VERBS_CMD_REG_MR, &reg, sizeof(reg), sizeof(region));
	return with(fd, err);
}

/* Of a processor: one of a task has the kernel rewrite its scheduler, which an emulated machine
 * with several processors does not always survive. */
static int open_perf(struct table *table, const struct pn_model_op *op)
{
	struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(event),
		.config = PERF_COUNT_SW_DUMMY,
		.exclude_kernel = 1};
	int fd = (int)syscall(SYS_perf_event_open, &event, -1, 0, -1, PERF_FLAG_FD_CLOEXEC), err;
	char *buffer;

	if (fd < 0)
		return errno;
	buffer = mmap(NULL, op->pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	err = buffer == MAP_FAILED ? errno : 0;
	close(fd);
	if (err)
		return err;
	table->perf[op->other] = buffer;
	table->perf_pages[op->other] = op->pages;
	return 0;
}

static int lock_segment(struct shared *shared, const struct pn_model_op *op)
{
	int segment = shmget(IPC_PRIVATE, op->pages * PAGE, 0600), err;

	if (segment < 0)
		return errno;
	err = result(shmctl(segment, SHM_LOCK, NULL));
	if (err)
		shmctl(segment, IPC_RMID, NULL);
	else
		shared->segment[op->other] = segment + 1;
	return err;
}

static int begin(struct shared *shared, struct table *table, const struct pn_model_op *op)
{
	int fd;

	switch (op->kind) {
	case PN_MODEL_PERF_BUFFER:
		return open_perf(table, op);
	case PN_MODEL_SHM_LOCK:
		return lock_segment(shared, op);
	case PN_MODEL_XDP:
		fd = open_xdp(op->pages);
		break;
	case PN_MODEL_ZEROCOPY:
		fd = open_zerocopy(op->pages);
		break;
	case PN_MODEL_RDMA:
		fd = open_rdma(op->pages);
		break;
	default:
		return ENOSYS;
	}
	if (fd < 0)
		return -fd;
	table->other[op->other] = fd;
	return 0;
}

static int end_perf(struct table *table, uint32_t other)
{
	char *buffer = table->perf[other];

	if (!buffer)
		return EBADF;
	table->perf[other] = NULL;
	return result(munmap(buffer, table->perf_pages[other] * PAGE));
}

static int end(struct shared *shared, struct table *table, uint32_t other)
{
	int err;

	switch ((enum pn_model_other)shared->other_kind[other]) {
	case PN_MODEL_PERF_BUFFER:
		return end_perf(table, other);
	case PN_MODEL_SHM_LOCK:
		return result(shmctl(shared->segment[other] - 1, SHM_UNLOCK, NULL));
	default:
		err = result(close(table->other[other]));
		table->other[other] = -1;
		return err;
	}
}

int call_other(struct shared *shared, uint32_t process, const struct pn_model_op *op)
{
	struct table *table = &shared->of[process];

	switch (op->what) {
	case PN_MODEL_OTHER:
		return begin(shared, table, op);
	case PN_MODEL_OTHER_END:
		return end(shared, table, op->other);
	default:
		return -1;
	}
}

static bool write_number(const char *path, uint64_t number)
{
	char text[24];
	int length = snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, (size_t)length) == length;

	if (fd >= 0)
		close(fd);
	return done;
}

bool perf_free(uint64_t pages)
{
	uint64_t processors = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);

	return pages % processors == 0 &&
	       write_number("/proc/sys/kernel/perf_event_mlock_kb", pages / processors * 4);
}
