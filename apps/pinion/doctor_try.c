/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What has to be tried, as nothing tells it beforehand: system calls that a filter may refuse, ways
 * of mapping, nodes. Each in a child of its own, as a filter may end the process that makes the
 * call. Nothing is left behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <numa.h>
#include <numaif.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/io_uring.h>
#include <linux/memfd.h>
#include <linux/sched.h>
#include <linux/vfio.h>

#include "doctor.h"
#include "pinion_uapi.h"
#include "pn_pins.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/*
 * The calls: 0 or a positive errno
 */

static int try_memfd(void)
{
	return memfd_create("pinion-doctor", MFD_CLOEXEC) < 0 ? errno : 0;
}

static int try_memfd_hugetlb(void)
{
	return memfd_create("pinion-doctor", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB) < 0 ? errno
											   : 0;
}

static void *one_page(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static int try_mbind(void)
{
	void *page = one_page();

	if (page == MAP_FAILED)
		return errno;
	return mbind(page, 4096, MPOL_DEFAULT, NULL, 0, 0) ? errno : 0;
}

static int try_numa(void)
{
	errno = 0;
	if (numa_available() >= 0)
		return 0;
	return errno ? errno : ENOSYS;
}

static int advise(int advice)
{
	void *page = one_page();

	if (page == MAP_FAILED)
		return errno;
	return madvise(page, 4096, advice) ? errno : 0;
}

static int try_populate(void)
{
	return advise(MADV_POPULATE_WRITE);
}

static int try_dontfork(void)
{
	return advise(MADV_DONTFORK);
}

static int try_eventfd(void)
{
	return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) < 0 ? errno : 0;
}

static int try_io_uring(void)
{
	struct io_uring_params params = {0};

	return syscall(SYS_io_uring_setup, 1, &params) < 0 ? errno : 0;
}

/* As lib/pins/meter_zerocopy.c: EPIPE is what it looks for, ENOBUFS a limit that is reached. */
static int try_zerocopy(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	struct iovec byte = {"", 1};
	struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1};

	if (fd < 0)
		fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)))
		return errno;
	if (sendmsg(fd, &message, MSG_ZEROCOPY | MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return 0;
	return errno == EPIPE || errno == ENOBUFS ? 0 : errno;
}

/* As lib/pins/meter.c makes its child. */
static int try_clone_files(void)
{
	long pid = syscall(SYS_clone, (unsigned long)CLONE_FILES, NULL, NULL, NULL, NULL);
	int status;

	if (!pid)
		_exit(syscall(SYS_close_range, 0u, ~0u, 1u << 1 /* CLOSE_RANGE_UNSHARE */) ? errno
											   : 0);
	if (pid < 0)
		return errno;
	if (waitpid((pid_t)pid, &status, (int)__WCLONE) < 0)
		return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
}

static int (*const trials[DOCTOR_TRIALS])(void) = {[DOCTOR_TRY_MEMFD] = try_memfd,
	[DOCTOR_TRY_MEMFD_HUGETLB] = try_memfd_hugetlb,
	[DOCTOR_TRY_MBIND] = try_mbind,
	[DOCTOR_TRY_NUMA] = try_numa,
	[DOCTOR_TRY_POPULATE] = try_populate,
	[DOCTOR_TRY_DONTFORK] = try_dontfork,
	[DOCTOR_TRY_EVENTFD] = try_eventfd,
	[DOCTOR_TRY_IO_URING] = try_io_uring,
	[DOCTOR_TRY_ZEROCOPY] = try_zerocopy,
	[DOCTOR_TRY_CLONE_FILES] = try_clone_files};

/*
 * Children
 */

/* In a child: a filter that kills leaves no core, and the signal does what it does by default. */
static void begin_child(void)
{
	const struct rlimit none = {0, 0};

	setrlimit(RLIMIT_CORE, &none);
	signal(SIGSYS, SIG_DFL);
}

/* Its status; -1: none can be had. */
static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -1;
	}
	return status;
}

static void try_call(struct doctor_trial *trial, int (*call)(void))
{
	int status;
	pid_t pid;

	pid = fork();
	if (pid < 0)
		return;
	if (!pid) {
		begin_child();
		_exit(call());
	}
	status = wait_for(pid);
	if (status < 0)
		return;
	trial->tried = true;
	trial->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	trial->err = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

/* Through the library, so that whatever it calls is tried: a domain without a device, whose ledger
 * is nowhere, and memory in it. */
static int make_region(void)
{
	struct pn_domain_opts domain_opts = {.backend = "none", .ledger_dir = "/dev/null/none"};
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	uint64_t iova = PN_IOVA_ANY;
	struct pn_domain *domain;
	struct pn_region *region;
	int ret;

	ret = pn_domain_create(&domain, &domain_opts);
	if (ret)
		return ret;
	opts.page_size = PN_PAGE_4K;
	opts.backing = PN_BACKING_MEMFD;
	ret = pn_region_create(&region, PN_PAGE_4K, &opts);
	return ret ? ret : pn_domain_map(domain, region, 0, PN_PAGE_4K, PN_PROT_RW, &iova);
}

/* All of it goes with the child. */
static void send_region(int fd)
{
	pn_log_set(NULL, NULL, PN_LOG_ERROR);
	if (make_region())
		(void)!write(fd, pn_error(), strlen(pn_error()));
}

static void gather_region(struct doctor_machine *machine)
{
	int ends[2], status;
	ssize_t got = 0;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return;
	pid = fork();
	if (!pid) {
		begin_child();
		send_region(ends[1]);
		_exit(0);
	}
	close(ends[1]);
	if (pid > 0)
		got = read(ends[0], machine->region_error, sizeof(machine->region_error) - 1);
	close(ends[0]);
	machine->region_error[got > 0 ? got : 0] = '\0';
	status = pid > 0 ? wait_for(pid) : 0;
	if (status > 0 && WIFSIGNALED(status))
		machine->region_signal = WTERMSIG(status);
}

static void send_backends(int fd)
{
	struct pn_backend_info info;

	for (unsigned int i = 0; i < DOCTOR_BACKENDS && pn_backend_get(i, &info) == 0; i++) {
		if (write(fd, &info, sizeof(info)) != sizeof(info))
			return;
	}
}

/* The names in them are constants, at the same address in the child. */
static void gather_backends(struct doctor_machine *machine)
{
	struct pn_backend_info info;
	int ends[2], status;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return;
	pid = fork();
	if (!pid) {
		begin_child();
		send_backends(ends[1]);
		_exit(0);
	}
	close(ends[1]);
	while (pid > 0 && machine->backend_count < DOCTOR_BACKENDS &&
		read(ends[0], &info, sizeof(info)) == sizeof(info))
		machine->backends[machine->backend_count++] = info;
	close(ends[0]);
	status = pid > 0 ? wait_for(pid) : 0;
	if (status > 0 && WIFSIGNALED(status))
		machine->backend_signal = WTERMSIG(status);
}

/*
 * Nodes
 */

static int open_node(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

#define VIABLE 0x80 /* beside an errno, of which none that opening gives is as great */

static int look_at_group(const char *path)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return errno & ~VIABLE;
	if (ioctl(fd, VFIO_GROUP_GET_STATUS, &status))
		return VIABLE;
	return status.flags & VFIO_GROUP_FLAGS_VIABLE ? VIABLE : 0;
}

/* One process at a time can have a group open: for as long as this takes it is a child of ours. */
static int open_group(const char *path, bool *viable)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (!pid) {
		begin_child();
		_exit(look_at_group(path));
	}
	status = wait_for(pid);
	if (status < 0 || !WIFEXITED(status))
		return -EPERM;
	*viable = WEXITSTATUS(status) & VIABLE;
	return -(WEXITSTATUS(status) & ~VIABLE);
}

static void gather_module(struct doctor_machine *machine)
{
	struct pinion_info info = {.argsz = sizeof(info)};
	int fd = open("/dev/pinion", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0) {
		machine->module_err = errno == EPERM || errno == EACCES ? -EACCES : -ENODEV;
		return;
	}
	/* Where a filter kills for ioctl() it has shown by now. */
	machine->module_err =
		machine->backend_signal || ioctl(fd, PINION_INFO, &info) ? -ENODEV : 0;
	machine->module_version = info.version;
	close(fd);
}

static void copy_env(char *to, size_t size, const char *name)
{
	const char *value = getenv(name);

	to[0] = '\0';
	if (value && strlen(value) < size)
		strcpy(to, value);
}

static void gather_identity(struct doctor_machine *machine)
{
	struct utsname name;
	struct passwd *entry;

	machine->uid = geteuid();
	entry = getpwuid(machine->uid);
	if (entry && strlen(entry->pw_name) < sizeof(machine->user))
		strcpy(machine->user, entry->pw_name);
	else
		snprintf(machine->user, sizeof(machine->user), "%u", machine->uid);
	if (!uname(&name)) {
		snprintf(machine->release, sizeof(machine->release), "%.64s", name.release);
		snprintf(machine->arch, sizeof(machine->arch), "%.64s", name.machine);
	}
	copy_env(machine->run_dir, sizeof(machine->run_dir), "PINION_RUNTIME_DIR");
	copy_env(machine->container_env, sizeof(machine->container_env), "container");
	machine->kube_env = getenv("KUBERNETES_SERVICE_HOST") != NULL;
	if (!machine->as_user)
		copy_env(machine->xdg_dir, sizeof(machine->xdg_dir), "XDG_RUNTIME_DIR");
	else
		snprintf(machine->xdg_dir, sizeof(machine->xdg_dir), "/run/user/%u", machine->uid);
}

void doctor_gather(struct doctor *d)
{
	struct doctor_machine *machine = &d->machine;

	machine->open_node = open_node;
	machine->open_group = open_group;
	gather_identity(machine);
	if (!machine->as_user)
		getrlimit(RLIMIT_MEMLOCK, &machine->memlock);
	getrlimit(RLIMIT_FSIZE, &machine->fsize);
	getrlimit(RLIMIT_AS, &machine->as);
	/* Nothing that is still to be printed may be printed by a child. */
	fflush(NULL);
	for (size_t i = 0; i < DOCTOR_TRIALS; i++)
		try_call(&machine->trials[i], trials[i]);
	gather_region(machine);
	gather_backends(machine);
	if (pn_pci_scan(&machine->devices, &machine->device_count))
		snprintf(
			machine->device_error, sizeof(machine->device_error), "%.255s", pn_error());
	machine->user_locked_err = pn_meter_user_locked(&machine->user_locked);
	if (machine->user_locked_err && machine->user_locked_err != -ERANGE)
		machine->user_locked = 0;
	gather_module(machine);
}
