/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the companion module tells, where it is loaded and its node may be opened: user->locked_vm,
 * which no file shows, and physical addresses. kmod/README.md has the calls.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base_priv.h"
#include "pinion_uapi.h"
#include "pins_priv.h"

int pn_module_open(int flags)
{
	int fd = open(PN_MODULE_NODE, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd >= 0)
		return fd;
	switch (errno) {
	case ENOENT:
	case ENOTDIR:
	case ENXIO:
	case ENODEV:
		return -ENODEV;
	case EPERM: /* the devices that a control group allows */
	case EACCES:
		return -EACCES;
	default:
		return -errno;
	}
}

/* For one question: it costs a microsecond, and no process keeps the module from being unloaded. */
static int ask(unsigned long call, void *arg)
{
	int fd = pn_module_open(O_RDONLY), ret;

	if (fd < 0)
		return fd;
	ret = ioctl(fd, call, arg) ? -errno : 0;
	close(fd);
	/* Something else has the name. */
	return ret == -ENOTTY ? -ENODEV : ret;
}

int pn_module_user_locked(pid_t pid, uid_t uid, uint64_t *pages)
{
	struct pinion_counters counters = {
		.argsz = sizeof(counters), .flags = pid ? PINION_COUNTERS_PID : 0, .pid = pid};
	int ret = ask(PINION_COUNTERS, &counters);

	if (ret)
		return ret;
	if (counters.flags & PINION_COUNTERS_NO_USER)
		return -EOPNOTSUPP;
	if (counters.uid != uid)
		return -ESRCH;
	*pages = counters.user_locked_vm * ((uint64_t)sysconf(_SC_PAGESIZE) >> 12);
	return 0;
}

int pn_module_physical(uint64_t vaddr, uint64_t *physical)
{
	const uint32_t odd = PINION_PAGE_ZERO | PINION_PAGE_IO;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct pinion_page found = {0};
	struct pinion_inspect inspect = {.argsz = sizeof(inspect),
		.flags = PINION_INSPECT_PHYS,
		.addr = pn_align_down(vaddr, page),
		.length = page,
		.pages = (uintptr_t)&found};
	int ret = ask(PINION_INSPECT, &inspect);

	if (ret)
		return ret;
	if (!(found.flags & PINION_PAGE_PRESENT) || found.flags & odd)
		return -EFAULT;
	*physical = found.phys + (vaddr & (page - 1));
	return 0;
}
