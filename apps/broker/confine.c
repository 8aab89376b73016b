/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Capabilities and system calls. CAP_SYS_RESOURCE is for IOMMU_OPTION_RLIMIT_MODE and for prlimit()
 * of other users' processes. Nodes and files are root's, and the broker is: that takes none.
 */
#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <seccomp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "confine.h"
#include "iommufd.h"
#include "output.h"

static int drop_capabilities(void)
{
	bool bounds;

	if (!capng_have_capability(CAPNG_PERMITTED, CAP_SYS_RESOURCE)) {
		complain("it takes CAP_SYS_RESOURCE: start it as root, or by pinion-broker.socket");
		return -1;
	}
	/* Under systemd the bounding set may be small already. */
	bounds = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	capng_clear(bounds ? CAPNG_SELECT_ALL : CAPNG_SELECT_CAPS);
	if (capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SYS_RESOURCE) ||
		capng_apply(bounds ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS)) {
		complain("capabilities cannot be dropped");
		return -1;
	}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) ||
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) {
		complain("no_new_privs: %s", strerror(errno));
		return -1;
	}
	return 0;
}

/* With any arguments. Those that this architecture does not have are passed over. */
static int allow_calls(scmp_filter_ctx filter)
{
	static const char *const names[] = {"accept4", "access", "brk", "clock_gettime",
		"clock_nanosleep", "close", "exit", "exit_group", "faccessat", "faccessat2",
		"fchmod", "fcntl", "fstat", "futex", "getdents64", "geteuid", "getpid", "getrandom",
		"getsockopt", "getuid", "lseek", "madvise", "mremap", "munmap", "nanosleep",
		"newfstatat", "openat", "pidfd_open", "poll", "ppoll", "pread64", "prlimit64",
		"read", "readlink", "readlinkat", "recvmsg", "rename", "renameat", "renameat2",
		"restart_syscall", "rt_sigprocmask", "rt_sigreturn", "sendmsg", "setsockopt",
		"stat", "lstat", "statfs", "fstatfs", "statx", "umask", "uname", "unlink",
		"unlinkat", "write", "writev"};
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(names) / sizeof(names[0]); i++) {
		int number = seccomp_syscall_resolve_name(names[i]);

		if (number >= 0)
			err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
	}
	return err;
}

static int allow_ioctls(scmp_filter_ctx filter)
{
	static const unsigned long requests[] = {IOMMUFD_OPTION, IOMMUFD_DEVICE_BIND,
		VFIO_DEVICE_GET_INFO, VFIO_DEVICE_RESET, VFIO_GROUP_GET_STATUS,
		VFIO_GROUP_SET_CONTAINER, VFIO_GROUP_UNSET_CONTAINER, VFIO_GROUP_GET_DEVICE_FD,
		VFIO_SET_IOMMU, TCGETS};
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(requests) / sizeof(requests[0]); i++)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
			SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, requests[i]));
	return err;
}

/* No memory that can be executed; no signal but the one that only asks; nothing opened for it. */
static int allow_some(scmp_filter_ctx filter)
{
	int err;

	err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
		SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (!err)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
			SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (!err)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(pidfd_send_signal), 1,
			SCMP_A1(SCMP_CMP_EQ, 0));
	return err;
}

static int filter_calls(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int err = filter ? 0 : -ENOMEM;

	if (!err)
		err = allow_calls(filter);
	if (!err)
		err = allow_ioctls(filter);
	if (!err)
		err = allow_some(filter);
	if (!err)
		err = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	if (err)
		complain("the filter of system calls: %s", strerror(-err));
	return err ? -1 : 0;
}

int confine(void)
{
	return drop_capabilities() || filter_calls() ? -1 : 0;
}
