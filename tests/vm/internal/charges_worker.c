/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A worker: waits for operations and does them. It can become two, execute itself again with all
 * that it holds, and end.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/securebits.h>

#include "charges.h"

/* Hold no capability but those that operations are about, CAP_SETUID to change users and
 * CAP_NET_RAW for AF_XDP; keep them over changes of user, and hand them to what is executed. */
void worker_become(struct shared *shared, const struct pn_model_op *op)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {0};
	uint32_t permitted = op->caps | op->permitted;
	struct rlimit limit = {
		op->soft == PN_MODEL_ALL ? RLIM_INFINITY : op->soft * 4096,
		op->hard == PN_MODEL_ALL ? RLIM_INFINITY : op->hard * 4096,
	};

	data[0].permitted = CAP_TO_MASK(CAP_SETUID) | CAP_TO_MASK(CAP_NET_RAW);
	if (permitted & PN_MODEL_IPC_LOCK)
		data[0].permitted |= CAP_TO_MASK(CAP_IPC_LOCK);
	if (permitted & PN_MODEL_SYS_RESOURCE)
		data[0].permitted |= CAP_TO_MASK(CAP_SYS_RESOURCE);
	data[0].effective = data[0].inheritable = data[0].permitted;
	if (setrlimit(RLIMIT_MEMLOCK, &limit) ||
		prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS | SECBIT_NOROOT,
			0, 0, 0) ||
		setgroups(0, NULL) || syscall(SYS_setresgid, op->uid, op->uid, op->uid) ||
		syscall(SYS_setresuid, op->uid, op->uid, op->uid) ||
		syscall(SYS_capset, &header, data))
		_exit(8);
	set_effective(op->caps);
	shared->of[op->process].caps = op->caps;
}

static void keep_over_exec(int fd, bool keep)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC);
}

static void forget(int *fd, bool keep)
{
	keep_over_exec(*fd, keep);
	if (!keep)
		*fd = -1;
}

static int execute(struct shared *shared, uint32_t process, const struct pn_model_op *op)
{
	struct table *table = &shared->of[process];
	char number[16];

	table->caps = op->caps;
	/* With another effective user, ambient capabilities would not be handed on. */
	syscall(SYS_setresuid, -1, getuid(), -1);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SETUID, 0, 0);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0);
	if ((op->caps | op->permitted) & PN_MODEL_IPC_LOCK)
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_IPC_LOCK, 0, 0);
	if ((op->caps | op->permitted) & PN_MODEL_SYS_RESOURCE)
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_RESOURCE, 0, 0);
	for (uint32_t i = 0; i < CONTEXTS; i++)
		forget(&table->context[i], op->flag);
	for (uint32_t i = 0; i < DEVICES; i++) {
		forget(&table->group[i], op->flag);
		forget(&table->device[i], op->flag);
	}
	for (uint32_t i = 0; i < RINGS; i++)
		forget(&table->ring[i], op->flag);
	for (uint32_t i = 0; i < OTHERS; i++)
		forget(&table->other[i], op->flag);
	memset(table->area, 0, sizeof(table->area));
	memset(table->perf, 0, sizeof(table->perf));
	snprintf(number, sizeof(number), "%u", process);
	execl("/proc/self/exe", "charges", "again", number, NULL);
	return errno;
}

/* A brother: the controller is the parent of all workers. */
static int become_two(struct shared *shared, uint32_t process, const struct pn_model_op *op)
{
	long pid;

	shared->of[op->child] = shared->of[process];
	for (uint32_t i = 0; i < AREAS; i++)
		if (shared->of[process].dont_fork[i])
			shared->of[op->child].area[i] = NULL;
	/* VM_DONTCOPY */
	memset(shared->of[op->child].perf, 0, sizeof(shared->of[op->child].perf));
	pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid < 0)
		return errno;
	if (!pid)
		worker_main(shared, op->child);
	shared->forked = (pid_t)pid;
	return 0;
}

/* A descriptor that came along (SCM_RIGHTS). */
static int take(struct shared *shared, uint32_t process, const struct pn_model_op *op, int fd)
{
	struct table *table = &shared->of[process];
	int *to = op->file == PN_MODEL_FILE_CONTEXT  ? &table->context[op->target]
		  : op->file == PN_MODEL_FILE_GROUP  ? &table->group[op->target]
		  : op->file == PN_MODEL_FILE_DEVICE ? &table->device[op->target]
		  : op->file == PN_MODEL_FILE_OTHER  ? &table->other[op->target]
						     : &table->ring[op->target];

	if (*to >= 0)
		close(fd);
	else
		*to = fd;
	return 0;
}

static bool receive(int from, struct pn_model_op *op, int *fd)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec part = {op, sizeof(*op)};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};
	struct cmsghdr *header;

	*fd = -1;
	if (recvmsg(from, &message, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(*op))
		return false;
	header = CMSG_FIRSTHDR(&message);
	if (header)
		memcpy(fd, CMSG_DATA(header), sizeof(*fd));
	return true;
}

static void reply(int to, int err, uint64_t bytes)
{
	struct answer answer = {.err = err, .bytes = bytes};

	if (send(to, &answer, sizeof(answer), 0) != (ssize_t)sizeof(answer))
		_exit(7);
}

void worker_main(struct shared *shared, uint32_t process)
{
	int from = FD_WORKER + (int)process, fd;
	struct pn_model_op op;
	uint64_t bytes = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (receive(from, &op, &fd)) {
		bytes = 0;
		if (op.what == PN_MODEL_EXIT)
			_exit(0);
		if (op.what == PN_MODEL_EXEC)
			reply(from, execute(shared, process, &op), 0);
		else if (op.what == PN_MODEL_FORK)
			reply(from, become_two(shared, process, &op), 0);
		else if (op.what == PN_MODEL_PASS)
			reply(from, take(shared, process, &op, fd), 0);
		else {
			int err = call_kernel(shared, process, &op, &bytes);

			reply(from, err, bytes);
		}
	}
	_exit(6);
}

void worker_again(uint32_t process)
{
	struct shared *shared =
		mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, FD_SHARED, 0);

	if (shared == MAP_FAILED || process >= PROCESSES)
		_exit(5);
	set_effective(shared->of[process].caps);
	reply(FD_WORKER + (int)process, 0, 0);
	worker_main(shared, process);
}
