/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An open device, against a small model of VFIO: the device's file is a memfd laid out as vfio-pci
 * lays it out, so that config space and BARs are read, written and mapped for real; ioctls are
 * answered here. Every system call and allocation can be made to fail in turn.
 */
#include <endian.h>
#include <errno.h>
#include <dirent.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base_priv.h"
#include "dma_priv.h"
#include "pci_fake.h"
#include "pci_priv.h"

#define ADDRESS "0000:00:02.0"
#define PAGE    4096U
/* drivers/vfio/pci/vfio_pci_core.h: VFIO_PCI_OFFSET_SHIFT */
#define OFFSET_SHIFT 40
#define CONFIG_AT    ((off_t)VFIO_PCI_CONFIG_REGION_INDEX << OFFSET_SHIFT)
#define RW           (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE)
#define RWM          (RW | VFIO_REGION_INFO_FLAG_MMAP)

struct model_region {
	uint64_t size;
	uint64_t skew; /* added to the usual offset */
	uint32_t flags;
	unsigned char caps[256]; /* behind vfio_region_info */
	uint32_t caps_size;
};

static struct model {
	int fd;
	uint32_t device_flags, num_regions, num_irqs;
	struct model_region regions[VFIO_PCI_NUM_REGIONS];
	uint32_t absurd_argsz;   /* wanted for every region, if not 0 */
	bool growing_argsz;      /* each call wants more than it gets */
	bool command_is_stuck;   /* writes to config space have no effect */
	size_t transfer_at_most; /* of config space, if not 0 */
	int resets, reset_errno, reset_busy;
	uint32_t irq_count[VFIO_PCI_NUM_IRQS], irq_flags[VFIO_PCI_NUM_IRQS];
	int irq_left; /* what SET_IRQS returns, if positive */
	int irq_errno;
	uint32_t enabled, enabled_index; /* vectors */
	int *fds;
	bool masked;
	/* What must be given back. */
	int attached;
	uint64_t addresses; /* bytes reserved */
	struct pn_dma_device attached_as;
	bool master_at_detach;
	bool master_at_disable; /* of interrupts */
	bool mastering_reset;   /* reset with bus mastering on */
} model;

/* A domain that nobody looks into. */
static struct pn_domain *const domain = (struct pn_domain *)&model;

/*
 * Faults
 */

static int fault_at;    /* which call fails, from 1; 0: none */
static int fault_count; /* calls so far */

static bool fault(void)
{
	return ++fault_count == fault_at;
}

/*
 * What the linker puts in place of libc
 */

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
ssize_t __real_pread64(int fd, void *buf, size_t len, off_t offset);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset);
ssize_t __real_pwrite64(int fd, const void *buf, size_t len, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t offset);
void *__real_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *addr, size_t len);
int __wrap_munmap(void *addr, size_t len);
int __real_eventfd(unsigned int value, int flags);
int __wrap_eventfd(unsigned int value, int flags);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
int __wrap_pn_domain_attach(
	struct pn_domain *to, const struct pn_dma_device *device, int *device_fd);
void __wrap_pn_domain_detach(struct pn_domain *from, int device_fd);

static uint16_t command(void)
{
	uint16_t raw;

	assert_int_equal(
		__real_pread64(model.fd, &raw, sizeof(raw), CONFIG_AT + PCI_COMMAND), sizeof(raw));
	return le16toh(raw);
}

static int get_info(struct vfio_device_info *info)
{
	assert_true(info->argsz >= offsetof(struct vfio_device_info, cap_offset));
	info->flags = model.device_flags;
	info->num_regions = model.num_regions;
	info->num_irqs = model.num_irqs;
	return 0;
}

/* As vfio_pci_ioctl_get_region_info() does it: too small a buffer gets the size, not the list. */
static int get_region_info(struct vfio_region_info *info)
{
	const struct model_region *region;
	uint32_t wanted;

	assert_true(info->argsz >= sizeof(*info));
	if (info->index >= VFIO_PCI_NUM_REGIONS) {
		errno = EINVAL;
		return -1;
	}
	region = &model.regions[info->index];
	info->size = region->size;
	info->flags = region->flags;
	info->offset = ((uint64_t)info->index << OFFSET_SHIFT) + region->skew;
	wanted = (uint32_t)sizeof(*info) + region->caps_size;
	if (model.absurd_argsz)
		wanted = model.absurd_argsz;
	if (model.growing_argsz)
		wanted = info->argsz + 8;
	if (wanted == sizeof(*info))
		return 0;
	info->flags |= VFIO_REGION_INFO_FLAG_CAPS;
	if (info->argsz < wanted) {
		info->argsz = wanted;
		info->cap_offset = 0;
		return 0;
	}
	memcpy((unsigned char *)info + sizeof(*info), region->caps, region->caps_size);
	info->cap_offset = sizeof(*info);
	return 0;
}

static int get_irq_info(struct vfio_irq_info *info)
{
	assert_int_equal(info->argsz, sizeof(*info));
	assert_true(info->index < model.num_irqs);
	info->count = model.irq_count[info->index];
	info->flags = model.irq_flags[info->index];
	return 0;
}

static void forget_irqs(void)
{
	free(model.fds);
	model.fds = NULL;
	model.enabled = 0;
}

static int trigger(const struct vfio_irq_set *set)
{
	if (set->flags & VFIO_IRQ_SET_DATA_NONE) {
		assert_int_equal(set->count, 0);
		assert_true(model.enabled > 0);
		assert_int_equal(set->index, model.enabled_index);
		model.master_at_disable = command() & PCI_COMMAND_MASTER;
		forget_irqs();
		return 0;
	}
	assert_true(set->flags & VFIO_IRQ_SET_DATA_EVENTFD);
	assert_int_equal(set->argsz, sizeof(*set) + set->count * sizeof(int));
	assert_int_equal(model.enabled, 0);
	if (model.irq_left)
		return model.irq_left;
	model.fds = __real_calloc(set->count, sizeof(int));
	assert_non_null(model.fds);
	memcpy(model.fds, set->data, set->count * sizeof(int));
	model.enabled = set->count;
	model.enabled_index = set->index;
	model.masked = false;
	return 0;
}

static int set_irqs(const struct vfio_irq_set *set)
{
	assert_int_equal(set->start, 0);
	if (model.irq_errno) {
		errno = model.irq_errno;
		return -1;
	}
	if (set->flags & VFIO_IRQ_SET_ACTION_TRIGGER)
		return trigger(set);
	assert_int_equal(set->flags, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK);
	assert_int_equal(set->index, VFIO_PCI_INTX_IRQ_INDEX);
	assert_int_equal(set->count, 1);
	model.masked = false;
	return 0;
}

static int reset(void)
{
	if (model.reset_busy > 0) {
		model.reset_busy--;
		errno = EAGAIN;
		return -1;
	}
	if (model.reset_errno) {
		errno = model.reset_errno;
		return -1;
	}
	model.resets++;
	model.mastering_reset |= (command() & PCI_COMMAND_MASTER) != 0;
	return 0;
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	assert_int_equal(fd, model.fd);
	if (fault()) {
		errno = EIO;
		return -1;
	}
	switch (request) {
	case VFIO_DEVICE_GET_INFO:
		return get_info(arg);
	case VFIO_DEVICE_GET_REGION_INFO:
		return get_region_info(arg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return get_irq_info(arg);
	case VFIO_DEVICE_SET_IRQS:
		return set_irqs(arg);
	case VFIO_DEVICE_RESET:
		return reset();
	default:
		fail_msg("ioctl 0x%lx", request);
		return -1;
	}
}

static size_t cut(size_t len)
{
	return model.transfer_at_most && len > model.transfer_at_most ? model.transfer_at_most
								      : len;
}

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset)
{
	if (fault()) {
		errno = EIO;
		return -1;
	}
	return __real_pread64(fd, buf, cut(len), offset);
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t offset)
{
	if (fault()) {
		errno = EIO;
		return -1;
	}
	if (model.command_is_stuck)
		return (ssize_t)len;
	return __real_pwrite64(fd, buf, cut(len), offset);
}

void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	void *at;

	if (fault()) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	at = __real_mmap64(addr, len, prot, flags, fd, offset);
	if (at != MAP_FAILED && !(flags & MAP_FIXED))
		model.addresses += len;
	return at;
}

/* The names without _FILE_OFFSET_BITS=64, which meson sets. */
ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t offset)
	__attribute__((alias("__wrap_pread64")));
ssize_t __wrap_pwrite(int fd, const void *buf, size_t len, off_t offset)
	__attribute__((alias("__wrap_pwrite64")));
void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
	__attribute__((alias("__wrap_mmap64")));

int __wrap_munmap(void *addr, size_t len)
{
	model.addresses -= len;
	return __real_munmap(addr, len);
}

int __wrap_eventfd(unsigned int value, int flags)
{
	assert_int_equal(flags, EFD_NONBLOCK | EFD_CLOEXEC);
	if (fault()) {
		errno = EMFILE;
		return -1;
	}
	return __real_eventfd(value, flags);
}

void *__wrap_malloc(size_t size)
{
	return fault() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fault() ? NULL : __real_calloc(count, size);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
	return fault() ? NULL : __real_reallocarray(old, count, size);
}

int __wrap_pn_domain_attach(
	struct pn_domain *to, const struct pn_dma_device *device, int *device_fd)
{
	assert_ptr_equal(to, domain);
	if (fault())
		return pn_fail(EPERM, "the group is not viable");
	model.attached++;
	model.attached_as = *device;
	*device_fd = model.fd;
	return 0;
}

void __wrap_pn_domain_detach(struct pn_domain *from, int device_fd)
{
	assert_ptr_equal(from, domain);
	assert_int_equal(device_fd, model.fd);
	model.attached--;
	model.master_at_detach = command() != 0xffff && command() & PCI_COMMAND_MASTER;
	pn_fail(EIO, "noise of detaching");
}

/*
 * Setting up
 */

static void poke(uint32_t offset, const void *data, size_t len)
{
	assert_int_equal(__real_pwrite64(model.fd, data, len, CONFIG_AT + offset), (ssize_t)len);
}

static void poke16(uint32_t offset, uint16_t value)
{
	uint16_t raw = htole16(value);

	poke(offset, &raw, sizeof(raw));
}

static void poke32(uint32_t offset, uint32_t value)
{
	uint32_t raw = htole32(value);

	poke(offset, &raw, sizeof(raw));
}

/* An MSI-X capability at 0x40, as the 82574L has it in spirit: table in a BAR of the caller's. */
static void put_msix(uint16_t vectors, uint32_t bar, uint32_t table)
{
	const unsigned char head[2] = {PCI_CAP_ID_MSIX, 0};

	poke16(PCI_STATUS, PCI_STATUS_CAP_LIST);
	poke(PCI_CAPABILITY_LIST, &(unsigned char){0x40}, 1);
	poke(0x40, head, sizeof(head));
	poke16(0x40 + PCI_MSIX_FLAGS, (uint16_t)(vectors - 1));
	poke32(0x40 + PCI_MSIX_TABLE, table | bar);
}

static unsigned int open_fds(void)
{
	unsigned int count = 0;
	DIR *dir = opendir("/proc/self/fd");

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static unsigned int fds_before;

static int setup(void **state)
{
	assert_int_equal(fake_setup(state), 0);
	fake_function(ADDRESS, 0x8086, 0x10d3, "vfio-pci", 7);

	fault_at = 0;
	memset(&model, 0, sizeof(model));
	model.fd = memfd_create("vfio", MFD_CLOEXEC);
	assert_true(model.fd >= 0);
	assert_int_equal(ftruncate(model.fd, CONFIG_AT + PAGE), 0);
	model.device_flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
	model.num_regions = VFIO_PCI_NUM_REGIONS;
	model.num_irqs = VFIO_PCI_NUM_IRQS;
	model.regions[VFIO_PCI_CONFIG_REGION_INDEX] = (struct model_region){256, 0, RW, {0}, 0};
	model.regions[0] = (struct model_region){128 * 1024, 0, RWM, {0}, 0};
	for (int i = 0; i <= VFIO_PCI_MSIX_IRQ_INDEX; i++) {
		model.irq_count[i] = i == VFIO_PCI_MSIX_IRQ_INDEX ? 5 : 1;
		model.irq_flags[i] = VFIO_IRQ_INFO_EVENTFD;
	}
	/* As a kernel driver may have left it. */
	poke16(PCI_COMMAND, PCI_COMMAND_MASTER);
	fds_before = open_fds();
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(model.attached, 0);
	assert_int_equal(model.addresses, 0);
	assert_int_equal(model.enabled, 0);
	assert_int_equal(open_fds(), fds_before);
	assert_false(model.mastering_reset);
	close(model.fd);
	return fake_teardown(state);
}

static int open_device(struct pn_pci_device **dev)
{
	return pn_pci_open_at(fake.sysfs, dev, ADDRESS, domain);
}

static struct pn_pci_device *must_open(void)
{
	struct pn_pci_device *dev;

	if (open_device(&dev))
		fail_msg("%s", pn_error());
	return dev;
}

static void assert_error_has(const char *words)
{
	if (!strstr(pn_error(), words))
		fail_msg("'%s' is not in: %s", words, pn_error());
}

static void refused(int err, const char *words)
{
	struct pn_pci_device *dev;

	assert_int_equal(open_device(&dev), err);
	assert_error_has(words);
	assert_int_equal(model.attached, 0);
}

/*
 * Open and close
 */

static void opens_in_a_harmless_state(void **state)
{
	struct pn_pci_device *dev = must_open();

	(void)state;
	assert_int_equal(model.attached, 1);
	assert_string_equal(model.attached_as.address, ADDRESS);
	assert_int_equal(model.attached_as.group, 7);
	assert_string_equal(pn_pci_device_info(dev)->group_node, "/dev/vfio/7");
	assert_int_equal(model.resets, 1);
	assert_int_equal(command(), PCI_COMMAND_MEMORY);

	assert_int_equal(pn_pci_bus_master(dev, true), 0);
	assert_int_equal(command(), PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	pn_fail(EINVAL, "what the caller failed at");
	pn_pci_close(dev);
	assert_string_equal(pn_error(), "what the caller failed at");
	assert_int_equal(model.resets, 2);
	assert_false(model.master_at_detach);
	pn_pci_close(NULL);
}

static void opens_a_device_without_reset(void **state)
{
	struct pn_pci_device *dev;

	(void)state;
	model.device_flags = VFIO_DEVICE_FLAGS_PCI;
	dev = must_open();
	assert_int_equal(pn_pci_reset(dev), -EOPNOTSUPP);
	assert_error_has("reset_method");
	pn_pci_close(dev);
	assert_int_equal(model.resets, 0);
	assert_false(model.master_at_detach);
}

static void waits_for_a_busy_reset(void **state)
{
	(void)state;
	model.reset_busy = 3;
	pn_pci_close(must_open());
	assert_int_equal(model.resets, 2);
	model.reset_busy = 1000;
	refused(-EAGAIN, "VFIO_DEVICE_RESET");
	model.reset_busy = 0;
}

static void refuses_to_open(void **state)
{
	struct pn_pci_device *dev;

	(void)state;
	assert_int_equal(pn_pci_open(NULL, ADDRESS, domain), -EINVAL);
	assert_int_equal(pn_pci_open(&dev, NULL, domain), -EINVAL);
	assert_int_equal(pn_pci_open(&dev, ADDRESS, NULL), -EINVAL);
	assert_int_equal(pn_pci_open_at(fake.sysfs, &dev, "00:03.0", domain), -ENODEV);

	model.device_flags = VFIO_DEVICE_FLAGS_PLATFORM;
	refused(-ENXIO, "no PCI device");
	model.device_flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;

	model.num_regions = VFIO_PCI_CONFIG_REGION_INDEX;
	refused(-EIO, "7 regions");
	model.num_regions = VFIO_PCI_NUM_REGIONS;

	model.regions[VFIO_PCI_CONFIG_REGION_INDEX].size = 63;
	refused(-EIO, "63 bytes");
	model.regions[VFIO_PCI_CONFIG_REGION_INDEX].size = 256;

	model.regions[VFIO_PCI_CONFIG_REGION_INDEX].skew = UINT64_MAX >> 1;
	refused(-EIO, "beyond what a file offset reaches");
	model.regions[VFIO_PCI_CONFIG_REGION_INDEX].skew = 0;

	/* The reason survives what detaching has to say. */
	model.reset_errno = ENOTTY;
	refused(-ENOTTY, "VFIO_DEVICE_RESET");
	model.reset_errno = 0;

	poke16(PCI_COMMAND, PCI_COMMAND_MASTER);
	model.command_is_stuck = true;
	refused(-EIO, "after 0x0002 was written");
	model.command_is_stuck = false;

	poke16(PCI_COMMAND, 0xffff);
	refused(-ENODEV, "does not answer");
}

static void refuses_before_it_attaches(void **state)
{
	struct pn_pci_device *dev;

	(void)state;
	fake_function("0000:00:03.0", 0x8086, 0x100e, "e1000", 8);
	assert_int_equal(pn_pci_open_at(fake.sysfs, &dev, "00:03.0", domain), -ENXIO);
	assert_error_has("driver_override");
	assert_string_equal(model.attached_as.address, "");
}

/* A device that was pulled out while it was open. */
static void closes_a_device_that_is_gone(void **state)
{
	struct pn_pci_device *dev = must_open();
	struct pn_bar bar;
	int fds[5];

	(void)state;
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), 0);
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSIX, 5, fds), 0);
	poke16(PCI_COMMAND, 0xffff);
	model.reset_errno = ENODEV;
	model.irq_errno = ENODEV;
	assert_int_equal(pn_pci_bus_master(dev, true), -ENODEV);
	pn_pci_close(dev);
	forget_irqs();
}

/*
 * Configuration space
 */

static void transfers_config_space(void **state)
{
	struct pn_pci_device *dev = must_open();
	unsigned char data[300] = {0};
	uint32_t value;

	(void)state;
	poke32(PCI_VENDOR_ID, 0x10d38086);
	assert_int_equal(pn_pci_config_read(dev, PCI_VENDOR_ID, &value, 4), 0);
	assert_int_equal(le32toh(value), 0x10d38086);
	assert_int_equal(pn_pci_config_write(dev, 0x3c, "\x0b", 1), 0);
	assert_int_equal(pn_pci_config_read(dev, 0x3c, data, 1), 0);
	assert_int_equal(data[0], 0x0b);

	assert_int_equal(pn_pci_config_read(dev, 0, data, 256), 0);
	assert_int_equal(pn_pci_config_read(dev, 256, data, 0), 0);
	assert_int_equal(pn_pci_config_read(dev, 0, data, 257), -EINVAL);
	assert_error_has("which has 256");
	assert_int_equal(pn_pci_config_read(dev, 255, data, 2), -EINVAL);
	assert_int_equal(pn_pci_config_read(dev, 257, data, 0), -EINVAL);
	assert_int_equal(pn_pci_config_write(dev, UINT32_MAX, data, 2), -EINVAL);
	assert_int_equal(pn_pci_config_write(dev, 2, data, UINT32_MAX), -EINVAL);
	assert_int_equal(pn_pci_config_read(dev, 0, NULL, 1), -EINVAL);

	model.transfer_at_most = 3;
	assert_int_equal(pn_pci_config_read(dev, 0, data, 4), -EIO);
	assert_error_has("only 3");
	assert_int_equal(pn_pci_config_write(dev, 0x40, data, 4), -EIO);
	model.transfer_at_most = 0;
	pn_pci_close(dev);
}

static void bounds_the_capability_list(void **state)
{
	struct pn_pci_device *dev = must_open();
	const unsigned char ring[2] = {PCI_CAP_ID_PM, 0x40};
	uint8_t offset;

	(void)state;
	assert_int_equal(pn_pci_capability(dev, PCI_CAP_ID_MSIX, &offset), -ENOENT);
	put_msix(5, 3, 0);
	assert_int_equal(pn_pci_capability(dev, PCI_CAP_ID_MSIX, &offset), 0);
	assert_int_equal(offset, 0x40);
	/* A list that ends in the header, one that bites its tail, one at the end of the space. */
	poke(PCI_CAPABILITY_LIST, &(unsigned char){0x3c}, 1);
	assert_int_equal(pn_pci_capability(dev, PCI_CAP_ID_MSIX, &offset), -ENOENT);
	poke(PCI_CAPABILITY_LIST, &(unsigned char){0x40}, 1);
	poke(0x40, ring, sizeof(ring));
	assert_int_equal(pn_pci_capability(dev, PCI_CAP_ID_MSIX, &offset), -ENOENT);
	poke(PCI_CAPABILITY_LIST, &(unsigned char){0xff}, 1);
	assert_int_equal(pn_pci_capability(dev, PCI_CAP_ID_MSIX, &offset), -ENOENT);
	pn_pci_close(dev);
}

/*
 * BARs
 */

/* Can the process read there? The kernel tries, so that no signal is raised. */
static bool readable(const volatile void *addr)
{
	int pipe_fds[2];
	bool ok;

	assert_int_equal(pipe(pipe_fds), 0);
	ok = write(pipe_fds[1], (const void *)addr, 1) == 1;
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return ok;
}

static void maps_a_bar_once(void **state)
{
	struct pn_pci_device *dev = must_open();
	struct pn_bar bar, again;

	(void)state;
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), 0);
	assert_int_equal(bar.size, 128 * 1024);
	((volatile uint32_t *)bar.addr)[0x5400 / 4] = 0x12345678;
	assert_int_equal(pn_pci_bar_map(dev, 0, &again), 0);
	assert_ptr_equal(bar.addr, again.addr);
	assert_int_equal(model.addresses, 128 * 1024);
	pn_pci_close(dev);

	dev = must_open();
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), 0);
	assert_int_equal(((volatile uint32_t *)bar.addr)[0x5400 / 4], 0x12345678);
	pn_pci_close(dev);
}

static void rounds_a_small_bar_to_its_page(void **state)
{
	struct pn_pci_device *dev = must_open();
	struct pn_bar bar;

	(void)state;
	model.regions[5] = (struct model_region){256, 0, RWM, {0}, 0};
	assert_int_equal(pn_pci_bar_map(dev, 5, &bar), 0);
	assert_int_equal(bar.size, 256);
	assert_int_equal(model.addresses, PAGE);
	pn_pci_close(dev);
}

static void maps_a_read_only_bar_read_only(void **state)
{
	struct pn_pci_device *dev = must_open();
	struct pn_bar bar;
	int pipe_fds[2];

	(void)state;
	model.regions[1] = (struct model_region){
		PAGE, 0, VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_MMAP, {0}, 0};
	assert_int_equal(pn_pci_bar_map(dev, 1, &bar), 0);
	assert_true(readable(bar.addr));
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(write(pipe_fds[1], "x", 1), 1);
	assert_int_equal(read(pipe_fds[0], (void *)(uintptr_t)bar.addr, 1), -1);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	pn_pci_close(dev);
}

static void refuses_bars_that_cannot_be_mapped(void **state)
{
	struct pn_pci_device *dev = must_open();
	struct pn_bar bar;

	(void)state;
	assert_int_equal(pn_pci_bar_map(dev, 6, &bar), -EINVAL);
	assert_int_equal(pn_pci_bar_map(dev, UINT32_MAX, &bar), -EINVAL);
	assert_int_equal(pn_pci_bar_map(dev, 1, &bar), -ENOENT);

	model.regions[2] = (struct model_region){32, 0, RW, {0}, 0};
	poke32(PCI_BASE_ADDRESS_2, 0xc000 | PCI_BASE_ADDRESS_SPACE_IO);
	assert_int_equal(pn_pci_bar_map(dev, 2, &bar), -EOPNOTSUPP);
	assert_error_has("I/O ports");
	assert_null(bar.addr);
	assert_int_equal(bar.size, 32);

	model.regions[3] = (struct model_region){256, 0, RW, {0}, 0};
	assert_int_equal(pn_pci_bar_map(dev, 3, &bar), -EOPNOTSUPP);
	assert_error_has("pci=resource_alignment=12@" ADDRESS);

	model.regions[4] = (struct model_region){PAGE, 0, RW, {0}, 0};
	assert_int_equal(pn_pci_bar_map(dev, 4, &bar), -EOPNOTSUPP);
	pn_pci_close(dev);
}

static void distrusts_sizes_and_offsets(void **state)
{
	static const struct {
		uint64_t size, skew;
	} bad[] = {
		{UINT64_MAX, 0},
		{PTRDIFF_MAX, 0},
		{PAGE, 1},
		{PAGE, PAGE - 1},
		{PAGE, (UINT64_C(1) << 63) - PAGE},
		{PAGE, UINT64_C(1) << 63},
	};
	struct pn_pci_device *dev = must_open();
	struct pn_bar bar;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		model.regions[0] = (struct model_region){bad[i].size, bad[i].skew, RWM, {0}, 0};
		assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
		assert_null(bar.addr);
		assert_int_equal(model.addresses, 0);
	}
	pn_pci_close(dev);
}

/* A device with fewer regions than BARs could be has no such BAR; nothing is asked. */
static void asks_for_no_region_beyond_the_last(void **state)
{
	struct pn_pci_region region;
	struct pn_pci_device *dev = must_open();

	(void)state;
	assert_int_equal(pn_pci_region_get(dev, VFIO_PCI_NUM_REGIONS, &region), 0);
	assert_int_equal(region.size, 0);
	pn_pci_close(dev);
}

/*
 * Sparse areas and the MSI-X table
 */

static void add_cap(
	struct model_region *region, uint16_t id, uint32_t next, const void *body, size_t len)
{
	struct vfio_info_cap_header header = {id, 1, next};

	memcpy(region->caps + region->caps_size, &header, sizeof(header));
	if (len)
		memcpy(region->caps + region->caps_size + sizeof(header), body, len);
	region->caps_size += (uint32_t)(sizeof(header) + len);
}

/* A list that says it has nr_areas, and has count. */
static void add_sparse(struct model_region *region, uint32_t nr_areas,
	const struct vfio_region_sparse_mmap_area *areas, size_t count)
{
	unsigned char body[128] = {0};

	memcpy(body, &nr_areas, sizeof(nr_areas));
	if (count)
		memcpy(body + 8, areas, count * sizeof(*areas));
	add_cap(region, VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0, body, 8 + count * sizeof(*areas));
}

static void maps_sparse_areas_in_place(void **state)
{
	static const struct vfio_region_sparse_mmap_area areas[] = {
		{0, PAGE}, {2 * PAGE, 0}, {3 * PAGE, 2 * PAGE}};
	struct pn_pci_device *dev = must_open();
	volatile unsigned char *base;
	struct pn_bar bar;

	(void)state;
	model.regions[0] = (struct model_region){8 * PAGE, 0, RWM, {0}, 0};
	add_sparse(&model.regions[0], 3, areas, 3);
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), 0);
	base = bar.addr;
	for (unsigned int page = 0; page < 8; page++)
		assert_int_equal(readable(base + page * PAGE), page == 0 || page == 3 || page == 4);
	assert_int_equal(__real_pwrite64(model.fd, "\x5a", 1, 4 * PAGE + 7), 1);
	assert_int_equal(base[4 * PAGE + 7], 0x5a);
	pn_pci_close(dev);
}

static void distrusts_sparse_areas(void **state)
{
	static const struct vfio_region_sparse_mmap_area bad[] = {
		{1, PAGE},
		{0, PAGE - 1},
		{8 * PAGE, PAGE},
		{7 * PAGE, 2 * PAGE},
		{UINT64_MAX - PAGE + 1, PAGE},
		{PAGE, UINT64_MAX - PAGE + 1},
	};
	struct vfio_region_sparse_mmap_area areas[2] = {{0, PAGE}};
	struct pn_pci_device *dev = must_open();
	struct pn_bar bar;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		model.regions[0] = (struct model_region){8 * PAGE, 0, RWM, {0}, 0};
		areas[1] = bad[i];
		add_sparse(&model.regions[0], 2, areas, 2);
		assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
		assert_error_has("not whole pages of BAR 0");
		assert_int_equal(model.addresses, 0);
	}
	/* An empty list: nothing may be mapped. */
	model.regions[0] = (struct model_region){8 * PAGE, 0, RWM, {0}, 0};
	add_sparse(&model.regions[0], 0, NULL, 0);
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EOPNOTSUPP);
	assert_int_equal(bar.size, 8 * PAGE);
	assert_int_equal(model.addresses, 0);
	/* Lists that are cut. */
	model.regions[0] = (struct model_region){8 * PAGE, 0, RWM, {0}, 0};
	add_sparse(&model.regions[0], 3, areas, 2);
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
	assert_error_has("3 areas");
	model.regions[0].caps_size = 0;
	add_sparse(&model.regions[0], UINT32_MAX, areas, 2);
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
	model.regions[0].caps_size = 0;
	add_cap(&model.regions[0], VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0, NULL, 0);
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
	assert_error_has("is cut");
	pn_pci_close(dev);
}

static void leaves_the_msix_table_out(void **state)
{
	struct pn_pci_device *dev = must_open();
	volatile unsigned char *base;
	struct pn_bar bar;

	(void)state;
	/* 300 vectors from the middle of page 2 take 4800 bytes: pages 2 and 3. */
	put_msix(300, 0, 2 * PAGE + 2048);
	model.regions[0] = (struct model_region){8 * PAGE, 0, RWM, {0}, 0};
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), 0);
	base = bar.addr;
	for (unsigned int page = 0; page < 8; page++)
		assert_int_equal(readable(base + page * PAGE), page != 2 && page != 3);
	pn_pci_close(dev);

	/* The kernel says that it does not mind. */
	dev = must_open();
	add_cap(&model.regions[0], VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 0, NULL, 0);
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), 0);
	base = bar.addr;
	for (unsigned int page = 0; page < 8; page++)
		assert_true(readable(base + page * PAGE));
	pn_pci_close(dev);
}

static void places_the_msix_hole(void **state)
{
	struct pn_pci_device *dev = must_open();
	volatile unsigned char *base;
	struct pn_bar bar;

	(void)state;
	put_msix(5, 3, 0);
	model.regions[3] = (struct model_region){4 * PAGE, 0, RWM, {0}, 0};
	assert_int_equal(pn_pci_bar_map(dev, 3, &bar), 0);
	base = bar.addr;
	assert_false(readable(base));
	assert_true(readable(base + PAGE));
	/* A table in another BAR is no matter. */
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), 0);
	assert_true(readable(bar.addr));

	/* The BAR holds nothing else. */
	put_msix(5, 4, 0);
	model.regions[4] = (struct model_region){PAGE, 0, RWM, {0}, 0};
	assert_int_equal(pn_pci_bar_map(dev, 4, &bar), -EOPNOTSUPP);
	assert_error_has("no page of BAR 4");
	/* A device that lies. */
	put_msix(257, 4, 0);
	assert_int_equal(pn_pci_bar_map(dev, 4, &bar), -EIO);
	assert_error_has("leaves BAR 4");
	put_msix(1, 4, 0xfffffff8);
	assert_int_equal(pn_pci_bar_map(dev, 4, &bar), -EIO);
	pn_pci_close(dev);
}

/*
 * The capability chain
 */

static void walks_only_forward(void **state)
{
	const uint32_t info = sizeof(struct vfio_region_info);
	const uint32_t header = sizeof(struct vfio_info_cap_header);
	struct pn_pci_device *dev = must_open();
	struct model_region *region = &model.regions[0];
	struct pn_bar bar;

	(void)state;
	/* Unknown ones are passed over. */
	add_cap(region, 99, info + header, NULL, 0);
	add_cap(region, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 0, NULL, 0);
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), 0);
	pn_pci_close(dev);

	dev = must_open();
	const uint32_t bad[] = {1, info - 1, info, info + 1, info + header - 1, info + header + 1,
		info + 2 * header, UINT32_MAX, UINT32_MAX - header};

	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		region->caps_size = 0;
		add_cap(region, 99, bad[i], NULL, 0);
		add_cap(region, 99, 0, NULL, 0);
		assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
		assert_error_has("makes no sense");
	}
	region->caps_size = 0;
	add_cap(region, 99, info + header, NULL, 0);
	add_cap(region, 99, info, NULL, 0);
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
	pn_pci_close(dev);
}

static void bounds_what_the_kernel_asks_for(void **state)
{
	struct pn_pci_device *dev = must_open();
	struct pn_bar bar;

	(void)state;
	model.absurd_argsz = UINT32_MAX;
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
	model.absurd_argsz = 0;
	model.growing_argsz = true;
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), -EIO);
	assert_error_has("does not settle");
	model.growing_argsz = false;
	pn_pci_close(dev);
}

/* Whatever stands in the buffer, the parser stays in it: run with a sanitizer. */
static void survives_random_answers(void **state)
{
	struct pn_pci_region region;
	unsigned int seed = 7;
	unsigned char *buf;
	uint32_t words[4];
	size_t size;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		size = (size_t)rand_r(&seed) % 160;
		buf = __real_malloc(size ? size : 1);
		assert_non_null(buf);
		for (size_t j = 0; j < size; j++)
			buf[j] = (unsigned char)(rand_r(&seed) % 4);
		/* Mostly a chain that leads somewhere. */
		words[1] = VFIO_REGION_INFO_FLAG_CAPS;
		words[3] = sizeof(struct vfio_region_info) + (uint32_t)(rand_r(&seed) % 32);
		if (size >= sizeof(struct vfio_region_info)) {
			memcpy(buf + 4, &words[1], 4);
			memcpy(buf + 12, &words[3], 4);
		}
		for (size_t j = words[3] + 4; j + 4 <= size; j += 16) {
			words[0] = (uint32_t)(j + 12);
			memcpy(buf + j, &words[0], 4);
		}
		if (!pn_pci_region_parse(buf, size, &region)) {
			assert_true(region.area_count <= size / sizeof(region.areas[0]));
			pn_pci_region_free(&region);
		}
		free(buf);
	}
}

/*
 * Interrupts
 */

static uint64_t read_event(int fd)
{
	uint64_t value;

	return read(fd, &value, sizeof(value)) == sizeof(value) ? value : 0;
}

static void fire(unsigned int vector)
{
	const uint64_t one = 1;

	assert_true(vector < model.enabled);
	assert_int_equal(write(model.fds[vector], &one, sizeof(one)), sizeof(one));
	model.masked = model.enabled_index == VFIO_PCI_INTX_IRQ_INDEX;
}

static void counts_vectors(void **state)
{
	struct pn_pci_device *dev = must_open();

	(void)state;
	assert_int_equal(pn_pci_irq_count(dev, PN_IRQ_INTX), 1);
	assert_int_equal(pn_pci_irq_count(dev, PN_IRQ_MSI), 1);
	assert_int_equal(pn_pci_irq_count(dev, PN_IRQ_MSIX), 5);
	assert_int_equal(pn_pci_irq_count(dev, (enum pn_irq_type)3), -EINVAL);
	assert_int_equal(pn_pci_irq_count(dev, (enum pn_irq_type) - 1), -EINVAL);
	model.irq_count[VFIO_PCI_INTX_IRQ_INDEX] = 0;
	assert_int_equal(pn_pci_irq_count(dev, PN_IRQ_INTX), 0);
	model.irq_count[VFIO_PCI_MSIX_IRQ_INDEX] = UINT32_MAX;
	assert_int_equal(pn_pci_irq_count(dev, PN_IRQ_MSIX), 2048);
	pn_pci_close(dev);

	model.num_irqs = 1;
	dev = must_open();
	assert_int_equal(pn_pci_irq_count(dev, PN_IRQ_MSIX), 0);
	pn_pci_close(dev);
}

static void signals_each_vector(void **state)
{
	struct pn_pci_device *dev = must_open();
	int fds[5];

	(void)state;
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSIX, 5, fds), 0);
	assert_int_equal(model.enabled_index, VFIO_PCI_MSIX_IRQ_INDEX);
	fire(3);
	fire(3);
	assert_int_equal(read_event(fds[0]), 0);
	assert_int_equal(read_event(fds[3]), 2);
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSI, 1, fds), -EBUSY);
	assert_error_has("5 MSI-X");
	assert_int_equal(pn_pci_irq_unmask(dev), -EINVAL);
	assert_int_equal(pn_pci_irq_disable(dev), 0);
	assert_int_equal(model.enabled, 0);
	assert_int_equal(open_fds(), fds_before);
	assert_int_equal(pn_pci_irq_disable(dev), 0);

	/* Closing leaves no moment in which an MSI could be written to a zeroed address. */
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSI, 1, fds), 0);
	assert_int_equal(pn_pci_bus_master(dev, true), 0);
	model.master_at_disable = true;
	pn_pci_close(dev);
	assert_false(model.master_at_disable);
}

static void unmasks_intx(void **state)
{
	struct pn_pci_device *dev = must_open();
	int fd;

	(void)state;
	assert_int_equal(pn_pci_irq_unmask(dev), -EINVAL);
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_INTX, 1, &fd), 0);
	fire(0);
	assert_int_equal(read_event(fd), 1);
	assert_true(model.masked);
	assert_int_equal(pn_pci_irq_unmask(dev), 0);
	assert_false(model.masked);
	pn_pci_close(dev);
}

static void refuses_interrupts(void **state)
{
	struct pn_pci_device *dev = must_open();
	int fds[8] = {-7};

	(void)state;
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSIX, 0, fds), -EINVAL);
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSIX, 6, fds), -EINVAL);
	assert_error_has("the device has 5");
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSIX, UINT32_MAX, fds), -EINVAL);
	assert_int_equal(pn_pci_irq_enable(dev, (enum pn_irq_type)9, 1, fds), -EINVAL);

	model.irq_flags[VFIO_PCI_MSI_IRQ_INDEX] = 0;
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSI, 1, fds), -EOPNOTSUPP);

	/* pci_alloc_irq_vectors() got 2: the kernel returns that, and enables nothing. */
	model.irq_left = 2;
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSIX, 5, fds), -ENOSPC);
	assert_error_has("only 2 of the 5");
	model.irq_left = 0;
	model.irq_errno = EINVAL;
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSIX, 5, fds), -EINVAL);
	model.irq_errno = 0;
	assert_int_equal(fds[0], -7);
	assert_int_equal(open_fds(), fds_before);

	/* Closing the eventfds does not wait for a kernel that says no. */
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSIX, 5, fds), 0);
	model.irq_errno = ENODEV;
	assert_int_equal(pn_pci_irq_disable(dev), -ENODEV);
	assert_int_equal(open_fds(), fds_before);
	forget_irqs();
	model.irq_errno = 0;
	pn_pci_close(dev);
}

/*
 * Every call fails once
 */

/* What a driver does; stops at the first failure. */
static int drive(struct pn_pci_device *dev)
{
	struct pn_bar bar;
	int fds[5], err;

	err = pn_pci_bar_map(dev, 0, &bar);
	if (!err)
		err = pn_pci_bar_map(dev, 3, &bar);
	if (!err)
		err = pn_pci_irq_enable(dev, PN_IRQ_MSIX, 5, fds);
	if (!err)
		err = pn_pci_bus_master(dev, true);
	if (!err)
		err = pn_pci_reset(dev);
	if (!err)
		err = pn_pci_irq_disable(dev);
	if (!err)
		err = pn_pci_irq_enable(dev, PN_IRQ_INTX, 1, fds);
	if (!err)
		err = pn_pci_irq_unmask(dev);
	return err;
}

/* True if the whole ran without a fault. */
static bool run_with_fault(int at)
{
	struct pn_pci_device *dev = NULL;
	int err;

	poke16(PCI_COMMAND, PCI_COMMAND_MASTER);
	pn_fail(EINVAL, "nothing has failed");
	fault_at = at;
	fault_count = 0;
	err = open_device(&dev);
	if (!err) {
		err = drive(dev);
		pn_pci_close(dev);
	}
	fault_at = 0;
	if (err) {
		assert_true(fault_count >= at);
		assert_string_not_equal(pn_error(), "nothing has failed");
		assert_string_not_equal(pn_error(), "noise of detaching");
		assert_string_not_equal(pn_error(), "");
	}
	return fault_count < at;
}

static void leaks_nothing_whatever_fails(void **state)
{
	static const struct vfio_region_sparse_mmap_area areas[] = {{0, PAGE}, {2 * PAGE, PAGE}};
	int at = 0;
	bool clean;

	(void)state;
	put_msix(5, 0, 2 * PAGE);
	add_sparse(&model.regions[3], 2, areas, 2);
	model.regions[3].size = 4 * PAGE;
	model.regions[3].flags = RWM;
	do {
		clean = run_with_fault(++at);
		assert_int_equal(model.attached, 0);
		assert_int_equal(model.addresses, 0);
		assert_int_equal(open_fds(), fds_before);
		/* A fault in the disabling itself leaves it to the kernel's close. */
		forget_irqs();
		/* Resets with bus mastering on are the driver's here. */
		model.mastering_reset = false;
	} while (!clean);
	/* It has come by every call. */
	assert_true(at > 50);
}

#define MODEL(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		MODEL(opens_in_a_harmless_state),
		MODEL(opens_a_device_without_reset),
		MODEL(waits_for_a_busy_reset),
		MODEL(refuses_to_open),
		MODEL(refuses_before_it_attaches),
		MODEL(closes_a_device_that_is_gone),
		MODEL(transfers_config_space),
		MODEL(bounds_the_capability_list),
		MODEL(maps_a_bar_once),
		MODEL(rounds_a_small_bar_to_its_page),
		MODEL(maps_a_read_only_bar_read_only),
		MODEL(refuses_bars_that_cannot_be_mapped),
		MODEL(distrusts_sizes_and_offsets),
		MODEL(asks_for_no_region_beyond_the_last),
		MODEL(maps_sparse_areas_in_place),
		MODEL(distrusts_sparse_areas),
		MODEL(leaves_the_msix_table_out),
		MODEL(places_the_msix_hole),
		MODEL(walks_only_forward),
		MODEL(bounds_what_the_kernel_asks_for),
		MODEL(survives_random_answers),
		MODEL(counts_vectors),
		MODEL(signals_each_vector),
		MODEL(unmasks_intx),
		MODEL(refuses_interrupts),
		MODEL(leaks_nothing_whatever_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
