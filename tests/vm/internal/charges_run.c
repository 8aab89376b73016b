/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The controller: starts workers, has one do an operation, and compares errno and every counter
 * with the model's. What differs is tried in ever shorter sequences.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "charges.h"

/* Counters of what ended may go down late: io_uring frees rings in a kernel thread. */
#define PATIENCE_MS 3000

const struct pn_model_size model_size = {
	.processes = PROCESSES,
	.areas = PROCESSES * AREAS,
	.contexts = CONTEXTS,
	.devices = DEVICES,
	.mappings = 256,
	.rings = RINGS,
	.others = OTHERS,
};

static void die(const char *what)
{
	fprintf(stderr, "charges: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* The nodes of a PCI device. */
static void find_device(struct shared *shared, uint32_t index, const char *address)
{
	char path[256], target[256];
	glob_t found;
	ssize_t len;

	snprintf(shared->address[index], sizeof(shared->address[index]), "%.15s", address);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.15s/iommu_group", address);
	len = readlink(path, target, sizeof(target) - 1);
	if (len < 0)
		die(path);
	target[len] = '\0';
	snprintf(shared->group[index], sizeof(shared->group[index]), "/dev/vfio/%.20s",
		strrchr(target, '/') + 1);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.15s/vfio-dev/vfio*", address);
	if (!glob(path, 0, NULL, &found))
		snprintf(shared->node[index], sizeof(shared->node[index]),
			"/dev/vfio/devices/%.20s", strrchr(found.gl_pathv[0], '/') + 1);
	globfree(&found);
}

static struct shared *make_shared(void)
{
	int fd = memfd_create("charges-shared", MFD_CLOEXEC);
	struct shared *shared;

	if (fd < 0 || ftruncate(fd, sizeof(*shared)) || dup2(fd, FD_SHARED) < 0)
		die("shared memory");
	close(fd);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, FD_SHARED, 0);
	if (shared == MAP_FAILED)
		die("shared memory");
	return shared;
}

int run_open(struct run *run, unsigned int kernel, char **devices)
{
	int ends[2];

	memset(run, 0, sizeof(*run));
	run->kernel = kernel;
	/* Before there are descriptors that they must not have. */
	for (uint32_t i = 0; i < 2; i++)
		run->meter[i] = meter_start(FIRST_UID + i);
	run->shared = make_shared();
	for (uint32_t i = 0; i < DEVICES; i++)
		find_device(run->shared, i, devices[i]);
	for (uint32_t i = 0; i < PROCESSES; i++) {
		run->status[i] = -1;
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) ||
			dup2(ends[1], FD_WORKER + (int)i) < 0)
			die("socketpair");
		close(ends[1]);
		run->socket[i] = ends[0];
	}
	return pn_model_create(&run->model, kernel, &model_size);
}

void run_begin(struct run *run)
{
	pn_model_free(run->model);
	if (pn_model_create(&run->model, run->kernel, &model_size))
		exit(2);
	run->trouble[0] = '\0';
	run->shared->next_address = UINT64_C(1) << 44;
	memset(run->shared->segment, 0, sizeof(run->shared->segment));
}

static void watch(struct run *run, uint32_t process, pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	run->pid[process] = pid;
	run->status[process] = open(path, O_RDONLY | O_CLOEXEC);
	if (run->status[process] < 0)
		die(path);
}

static void gone(struct run *run, uint32_t process)
{
	close(run->status[process]);
	run->status[process] = -1;
	waitpid(run->pid[process], NULL, 0);
	run->pid[process] = 0;
}

static void start(struct run *run, const struct pn_model_op *op)
{
	struct table *table = &run->shared->of[op->process];
	pid_t pid;

	memset(table, 0, sizeof(*table));
	memset(table->context, 0xff, sizeof(table->context));
	memset(table->group, 0xff, sizeof(table->group));
	memset(table->device, 0xff, sizeof(table->device));
	memset(table->ring, 0xff, sizeof(table->ring));
	memset(table->other, 0xff, sizeof(table->other));
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		for (uint32_t i = 0; i < PROCESSES; i++)
			close(run->socket[i]);
		worker_become(run->shared, op);
		worker_main(run->shared, op->process);
	}
	watch(run, op->process, pid);
}

/* --- one operation */

static int send_op(struct run *run, uint32_t process, const struct pn_model_op *op, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct pn_model_op copy = *op;
	struct iovec part = {&copy, sizeof(copy)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	struct cmsghdr *header;

	if (fd >= 0) {
		message.msg_control = control;
		message.msg_controllen = sizeof(control);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	}
	return sendmsg(run->socket[process], &message, 0) < 0 ? -1 : 0;
}

/* A worker that does not answer is waited for in vain; one that has died by itself was wrong. */
static struct answer ask(struct run *run, uint32_t process, const struct pn_model_op *op, int fd)
{
	struct pollfd wait = {.fd = run->socket[process], .events = POLLIN};
	struct answer answer;

	/* A page of 1 GiB is a while in the clearing on an emulated processor. */
	if (send_op(run, process, op, fd) || poll(&wait, 1, 240000) != 1 ||
		recv(run->socket[process], &answer, sizeof(answer), 0) != (ssize_t)sizeof(answer)) {
		char line[CHARGES_LINE];

		charges_print(line, op);
		fprintf(stderr, "charges: no answer to: %s\n", line);
		exit(2);
	}
	return answer;
}

static struct answer pass(struct run *run, const struct pn_model_op *op)
{
	const struct table *table = &run->shared->of[op->process];
	const int *from = op->file == PN_MODEL_FILE_CONTEXT  ? table->context
			  : op->file == PN_MODEL_FILE_GROUP  ? table->group
			  : op->file == PN_MODEL_FILE_DEVICE ? table->device
			  : op->file == PN_MODEL_FILE_OTHER  ? table->other
							     : table->ring;
	struct answer answer = {.err = EBADF};
	int pidfd, fd;

	if (from[op->target] < 0)
		return answer;
	pidfd = (int)syscall(SYS_pidfd_open, run->pid[op->process], 0);
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, from[op->target], 0);
	if (fd < 0)
		die("pidfd_getfd");
	answer = ask(run, op->child, op, fd);
	close(fd);
	close(pidfd);
	return answer;
}

static struct answer perform(struct run *run, const struct pn_model_op *op)
{
	struct shared *shared = run->shared;
	struct answer answer = {0};

	switch (op->what) {
	case PN_MODEL_START:
		start(run, op);
		return answer;
	case PN_MODEL_EXIT:
		send_op(run, op->process, op, -1);
		gone(run, op->process);
		return answer;
	case PN_MODEL_PASS:
		return pass(run, op);
	case PN_MODEL_CONTEXT:
		memset(shared->ioas[op->context], 0xff, sizeof(shared->ioas[op->context]));
		break;
	default:
		break;
	}
	answer = ask(run, op->process, op, -1);
	if (op->what == PN_MODEL_FORK && !answer.err)
		watch(run, op->child, shared->forked);
	if (op->what == PN_MODEL_DEVICE && !answer.err)
		shared->bound_to[op->device] = op->context;
	if (op->what == PN_MODEL_OTHER && !answer.err)
		shared->other_kind[op->other] = op->kind;
	return answer;
}

/* --- what the kernel shows */

static bool read_status(int fd, uint64_t *locked, uint64_t *pinned)
{
	char text[4096], *at;
	ssize_t len = pread(fd, text, sizeof(text) - 1, 0);

	*locked = *pinned = 0;
	if (len <= 0)
		return false;
	text[len] = '\0';
	at = strstr(text, "\nVmLck:");
	if (at)
		*locked = strtoull(at + 7, NULL, 10) / 4;
	at = strstr(text, "\nVmPin:");
	if (at)
		*pinned = strtoull(at + 7, NULL, 10) / 4;
	return true;
}

/* One that differs, in words; 0: none does. */
static int differs(struct run *run, bool search, char *text, size_t room)
{
	uint64_t locked, pinned, want_locked, want_pinned, want, got;

	for (uint32_t i = 0; i < PROCESSES; i++) {
		if (run->status[i] < 0)
			continue;
		want_locked = pn_model_counter(run->model, i, PN_MODEL_MM_LOCKED);
		want_pinned = pn_model_counter(run->model, i, PN_MODEL_MM_PINNED);
		if (read_status(run->status[i], &locked, &pinned) && locked == want_locked &&
			pinned == want_pinned)
			continue;
		snprintf(text, room,
			"process %u: VmLck %llu, VmPin %llu pages; the model says %llu, %llu", i,
			(unsigned long long)locked, (unsigned long long)pinned,
			(unsigned long long)want_locked, (unsigned long long)want_pinned);
		return -1;
	}
	for (uint32_t i = 0; i < 2; i++) {
		want = pn_model_user_counter(run->model, FIRST_UID + i, PN_MODEL_USER_LOCKED);
		if (meter_confirms(run->meter[i], want))
			continue;
		got = search ? meter_search(run->meter[i]) : 0;
		snprintf(text, room, "uid %u: user->locked_vm %llu pages; the model says %llu",
			FIRST_UID + i, (unsigned long long)got, (unsigned long long)want);
		return -1;
	}
	return 0;
}

static int compare(struct run *run)
{
	for (int waited = 0; waited < PATIENCE_MS; waited += waited < 20 ? 1 : 20) {
		if (!differs(run, false, run->trouble, sizeof(run->trouble)))
			return 0;
		usleep(waited < 20 ? 1000 : 20000);
	}
	return differs(run, true, run->trouble, sizeof(run->trouble));
}

static uint64_t in_areas(const struct table *table, uint64_t start, uint64_t end)
{
	uint64_t pages = 0;

	for (uint32_t i = 0; i < AREAS; i++) {
		uint64_t from = (uint64_t)(uintptr_t)table->area[i];
		uint64_t to = from + table->area_pages[i] * 4096;

		from = from > start ? from : start;
		to = to < end ? to : end;
		if (table->area[i] && from < to)
			pages += (to - from) / 4096;
	}
	return pages;
}

/* VMAs that mlock() passes over (VM_SPECIAL, hugetlb). */
static bool not_locked(const char *flags)
{
	static const char *const special[] = {" io", " pf", " de", " mm", " ht"};

	for (size_t i = 0; i < sizeof(special) / sizeof(*special); i++)
		if (strstr(flags, special[i]))
			return true;
	return false;
}

/* What mlockall() compares, and what it locks apart from the areas: of this process, as it is. */
static void fill_total(struct run *run, struct pn_model_op *op)
{
	const struct table *table = &run->shared->of[op->process];
	unsigned long start, end, size = 0, others = 0;
	char path[64], line[512];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)run->pid[op->process]);
	file = fopen(path, "re");
	if (!file)
		die(path);
	op->total = op->pages = 0;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
			/* Shown, but not of the process. */
			size = strstr(line, "[vsyscall]") ? 0 : (end - start) / 4096;
			others = size - (size ? in_areas(table, start, end) : 0);
			op->total += size;
		}
		if (!strncmp(line, "VmFlags:", 8) && !not_locked(line))
			op->pages += others;
	}
	fclose(file);
}

static void say_step(const struct run *run, const struct pn_model_op *op, int err)
{
	char line[CHARGES_LINE];

	charges_print(line, op);
	printf("#   %s%s%s\n", line, err ? " : " : "", err ? strerrorname_np(err) : "");
	(void)run;
}

int run_step(struct run *run, const struct pn_model_op *given)
{
	struct pn_model_op op = *given;
	struct pn_model_result result;
	struct answer answer;

	if (op.what == PN_MODEL_MLOCKALL && pn_model_alive(run->model, op.process))
		fill_total(run, &op);
	if (op.what == PN_MODEL_OTHER && op.kind == PN_MODEL_PERF_BUFFER &&
		!perf_free(pn_model_counter(run->model, op.process, PN_MODEL_PERF) + op.free))
		return 1;
	if (pn_model_apply(run->model, &op, &result))
		return 1;
	answer = perform(run, &op);
	run->operations++;
	run->refused += result.err != 0;
	if (run->loud)
		say_step(run, &op, answer.err);
	if (answer.err != result.err) {
		snprintf(run->trouble, sizeof(run->trouble),
			"errno %d (%s); the model says %d (%s)", answer.err, strerror(answer.err),
			result.err, strerror(result.err));
		return -1;
	}
	if (op.what == PN_MODEL_UNMAP && !answer.err && answer.bytes != result.bytes) {
		snprintf(run->trouble, sizeof(run->trouble),
			"%llu bytes unmapped; the model says %llu",
			(unsigned long long)answer.bytes, (unsigned long long)result.bytes);
		return -1;
	}
	return compare(run);
}

int run_end(struct run *run)
{
	struct pn_model_op op = {.what = PN_MODEL_EXIT};
	struct pn_model_result result;

	for (op.process = 0; op.process < PROCESSES; op.process++) {
		if (!run->pid[op.process])
			continue;
		kill(run->pid[op.process], SIGKILL);
		gone(run, op.process);
		pn_model_apply(run->model, &op, &result);
	}
	for (uint32_t i = 0; i < OTHERS; i++)
		if (run->shared->segment[i])
			shmctl(run->shared->segment[i] - 1, IPC_RMID, NULL);
	return compare(run);
}

int run_list(struct run *run, const struct pn_model_op *ops, size_t count, size_t *at)
{
	char trouble[sizeof(run->trouble)];
	int ret = 0;

	run_begin(run);
	for (*at = 0; *at < count && ret >= 0; (*at)++)
		ret = run_step(run, &ops[*at]);
	if (ret >= 0)
		return run_end(run);
	memcpy(trouble, run->trouble, sizeof(trouble));
	run_end(run);
	memcpy(run->trouble, trouble, sizeof(trouble));
	return -1;
}

void run_shrink(struct run *run, struct pn_model_op *ops, size_t count)
{
	struct pn_model_op *shorter = malloc(count * sizeof(*ops));
	size_t chunk = count / 2, at, kept;
	char trouble[sizeof(run->trouble)];

	memcpy(trouble, run->trouble, sizeof(trouble));
	while (chunk && shorter) {
		bool found = false;

		for (size_t from = 0; from < count;) {
			size_t to = from + chunk < count ? from + chunk : count;

			kept = count - (to - from);
			memcpy(shorter, ops, from * sizeof(*ops));
			memcpy(shorter + from, ops + to, (count - to) * sizeof(*ops));
			if (run_list(run, shorter, kept, &at)) {
				memcpy(ops, shorter, kept * sizeof(*ops));
				memcpy(trouble, run->trouble, sizeof(trouble));
				count = at < kept ? at : kept;
				found = true;
			} else {
				from = to;
			}
		}
		if (!found || chunk > 1)
			chunk /= 2;
	}
	free(shorter);
	printf("# the shortest sequence that differs, for `charges replay`:\n");
	run->loud = true;
	run_list(run, ops, count, &at);
	run->loud = false;
	printf("# %s\n", run->trouble[0] ? run->trouble : trouble);
}
