/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine as the programs beside this file see it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base_priv.h"
#include "machine.h"

#define USER 1000

static void die(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	exit(1);
}

struct pn_dma_device machine_device(const char *address)
{
	struct pn_dma_device device = {.group = -1, .fd = -1};
	char path[80], name[32];
	struct dirent *entry;
	DIR *dir;

	snprintf(device.address, sizeof(device.address), "%s", address);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", address);
	if (!pn_link_name(path, name, sizeof(name)))
		device.group = atoi(name);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev", address);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.')
			snprintf(device.cdev, sizeof(device.cdev), "/dev/vfio/devices/%.16s",
				entry->d_name);
	}
	if (dir)
		closedir(dir);
	/* Kernels without CONFIG_VFIO_DEVICE_CDEV have the folder (Linux 6.1), but no node. */
	if (device.cdev[0] && access(device.cdev, F_OK))
		device.cdev[0] = '\0';
	return device;
}

void machine_group_node(const struct pn_dma_device *device, char node[40])
{
	snprintf(node, 40, "/dev/vfio/%d", device->group);
}

struct counters counters_now(void)
{
	struct counters counters = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "VmLck:", 6))
			counters.locked = strtoull(line + 6, NULL, 10) / 4;
		if (!strncmp(line, "VmPin:", 6))
			counters.pinned = strtoull(line + 6, NULL, 10) / 4;
	}
	if (file)
		fclose(file);
	if (pn_meter_user_locked(&counters.user))
		counters.user = UINT64_MAX;
	return counters;
}

static bool grew(const char *name, uint64_t before, uint64_t now, uint64_t want)
{
	if (before == UINT64_MAX || now == UINT64_MAX || now - before == want)
		return true;
	printf("%s grew by %lld pages, expected %llu\n", name, (long long)(now - before),
		(unsigned long long)want);
	return false;
}

bool counters_grew(const struct counters *before, const struct pn_charge_rule *rule, bool exempt,
	uint64_t pages)
{
	uint32_t mask = exempt ? rule->exempt_counters : rule->counters;
	struct counters now = counters_now();
	bool ok;

	ok = grew("VmLck", before->locked, now.locked,
		mask & PN_COUNTER_BIT(PN_COUNTER_MM_LOCKED) ? pages : 0);
	ok &= grew("VmPin", before->pinned, now.pinned,
		mask & PN_COUNTER_BIT(PN_COUNTER_MM_PINNED) ? pages : 0);
	ok &= grew("user->locked_vm", before->user, now.user,
		mask & PN_COUNTER_BIT(PN_COUNTER_USER_LOCKED) ? pages : 0);
	return ok;
}

/*
 * edu: docs/specs/edu.txt of QEMU
 */

#define EDU_DMA_SOURCE      0x80
#define EDU_DMA_DESTINATION 0x88
#define EDU_DMA_COUNT       0x90
#define EDU_DMA_COMMAND     0x98
#define EDU_BUFFER          0x40000
#define EDU_BUFFER_SIZE     4096

static volatile uint64_t *edu_register(struct edu *edu, unsigned int offset)
{
	return (volatile uint64_t *)(edu->registers + offset);
}

/* Set and clear bits of the command register. */
static bool change_command(int fd, uint16_t set, uint16_t clear)
{
	struct vfio_region_info config = {
		.argsz = sizeof(config), .index = VFIO_PCI_CONFIG_REGION_INDEX};
	uint16_t command;

	if (ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &config) ||
		pread(fd, &command, 2, (off_t)config.offset + PCI_COMMAND) != 2)
		return false;
	command = (uint16_t)((command | set) & ~clear);
	return pwrite(fd, &command, 2, (off_t)config.offset + PCI_COMMAND) == 2;
}

bool edu_memory(struct edu *edu, bool on)
{
	return change_command(edu->fd, on ? PCI_COMMAND_MEMORY : 0, on ? 0 : PCI_COMMAND_MEMORY);
}

int edu_start(struct edu *edu, int device_fd)
{
	struct vfio_region_info bar = {.argsz = sizeof(bar), .index = VFIO_PCI_BAR0_REGION_INDEX};

	edu->fd = device_fd;
	if (!change_command(device_fd, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY, 0))
		return -EIO;
	if (ioctl(device_fd, VFIO_DEVICE_GET_REGION_INFO, &bar))
		return -errno;
	edu->registers = mmap(
		NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, device_fd, (off_t)bar.offset);
	return edu->registers == MAP_FAILED ? -errno : 0;
}

void edu_stop(struct edu *edu)
{
	munmap((void *)edu->registers, 1 << 20);
}

bool edu_dma(struct edu *edu, uint64_t iova, uint64_t len, bool to_memory)
{
	const struct timespec pause = {0, 5000000};

	*edu_register(edu, EDU_DMA_SOURCE) = to_memory ? EDU_BUFFER : iova;
	*edu_register(edu, EDU_DMA_DESTINATION) = to_memory ? iova : EDU_BUFFER;
	*edu_register(edu, EDU_DMA_COUNT) = len;
	*edu_register(edu, EDU_DMA_COMMAND) = to_memory ? 3 : 1;
	for (int i = 0; i < 1000; i++) {
		if (!(*edu_register(edu, EDU_DMA_COMMAND) & 1))
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

bool edu_copy(struct edu *edu, uint64_t from, uint64_t to, uint64_t len)
{
	return edu_dma(edu, from, len, false) && edu_dma(edu, to, len, true);
}

/*
 * Privilege
 */

void become_user(void)
{
	if (setgroups(0, NULL) || setresgid(USER, USER, USER) || setresuid(USER, USER, USER) ||
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		die("becoming an ordinary user");
}

void drop_capability(int capability)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];
	uint32_t mask = ~(uint32_t)CAP_TO_MASK(capability);

	if (syscall(SYS_capget, &header, data))
		die("capget");
	data[CAP_TO_INDEX(capability)].effective &= mask;
	data[CAP_TO_INDEX(capability)].permitted &= mask;
	data[CAP_TO_INDEX(capability)].inheritable &= mask;
	if (syscall(SYS_capset, &header, data))
		die("capset");
}

/*
 * Files
 */

#define FILES 8

void send_files(int socket, const int *fds, unsigned int count)
{
	union {
		char room[CMSG_SPACE(FILES * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	char byte = 0;
	struct iovec data = {&byte, 1};
	struct msghdr message = {.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = CMSG_SPACE(count * sizeof(int))};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(header), fds, count * sizeof(int));
	if (sendmsg(socket, &message, 0) != 1)
		die("sending files");
}

void receive_files(int socket, int *fds, unsigned int count)
{
	union {
		char room[CMSG_SPACE(FILES * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	char byte;
	struct iovec data = {&byte, 1};
	struct msghdr message = {.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room)};
	struct cmsghdr *header;

	if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1)
		die("receiving files");
	header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_len != CMSG_LEN(count * sizeof(int)))
		die("files are missing");
	memcpy(fds, CMSG_DATA(header), count * sizeof(int));
}
