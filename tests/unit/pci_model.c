/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See pci_model.h.
 */
#include <endian.h>
#include <errno.h>
#include <dirent.h>
#include <linux/pci_regs.h>
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
#include <sys/stat.h>
#include <unistd.h>

#include "base_priv.h"
#include "pci_fake.h"
#include "pci_model.h"

struct model model;

struct pn_domain *const domain = (struct pn_domain *)&model;

/*
 * Faults
 */

int fault_at, fault_count;

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
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t offset);
void *__real_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *addr, size_t len);
int __wrap_munmap(void *addr, size_t len);
int __real_madvise(void *addr, size_t len, int advice);
int __wrap_madvise(void *addr, size_t len, int advice);
int __real_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st);
int __real_eventfd(unsigned int value, int flags);
int __wrap_eventfd(unsigned int value, int flags);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
int __wrap_pn_domain_attach(
	struct pn_domain *to, const struct pn_dma_device *device, int *device_fd);
void __wrap_pn_domain_detach(struct pn_domain *from, int device_fd);

uint16_t command(void)
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
	/* As vfio_pci_ioctl_get_irq_info() does for what the device does not have. */
	if (info->index > VFIO_PCI_MSIX_IRQ_INDEX && !model.irq_count[info->index]) {
		errno = EINVAL;
		return -1;
	}
	info->count = model.irq_count[info->index];
	info->flags = model.irq_flags[info->index];
	return 0;
}

void forget_irqs(void)
{
	free(model.fds);
	model.fds = NULL;
	model.enabled = 0;
}

/* As vfio_pci_set_ctx_trigger_single() does it. */
static int trigger_removal(const struct vfio_irq_set *set)
{
	if (set->flags & VFIO_IRQ_SET_DATA_NONE) {
		assert_int_equal(set->count, 0);
		assert_true(model.removal_fd >= 0);
		model.removal_fd = -1;
		return 0;
	}
	assert_true(set->flags & VFIO_IRQ_SET_DATA_EVENTFD);
	assert_int_equal(set->argsz, sizeof(*set) + sizeof(int));
	assert_int_equal(set->count, 1);
	assert_int_equal(model.removal_fd, -1);
	memcpy(&model.removal_fd, set->data, sizeof(int));
	assert_true(model.removal_fd >= 0);
	return 0;
}

static int trigger(const struct vfio_irq_set *set)
{
	if (set->index == VFIO_PCI_REQ_IRQ_INDEX)
		return trigger_removal(set);
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

/* Feature 11 with one range: what stands behind struct vfio_device_feature. */
struct dma_buf_range {
	uint32_t bar, open_flags, flags, count;
	uint64_t offset, length;
};

static int take_token(const struct vfio_device_feature *asked)
{
	assert_int_equal(asked->argsz, sizeof(*asked) + sizeof(model.token));
	if (model.token_errno) {
		errno = model.token_errno;
		return -1;
	}
	memcpy(model.token, asked->data, sizeof(model.token));
	return 0;
}

static int feature(const struct vfio_device_feature *asked)
{
	struct dma_buf_range range;

	if (asked->flags == (VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_PCI_VF_TOKEN))
		return take_token(asked);
	assert_int_equal(asked->flags, VFIO_DEVICE_FEATURE_GET | 11);
	assert_int_equal(asked->argsz, sizeof(*asked) + sizeof(range));
	memcpy(&range, asked->data, sizeof(range));
	assert_int_equal(range.flags, 0);
	assert_int_equal(range.count, 1);
	model.dma_buf.count++;
	model.dma_buf.bar = range.bar;
	model.dma_buf.open_flags = range.open_flags;
	model.dma_buf.offset = range.offset;
	model.dma_buf.length = range.length;
	if (model.dma_buf_errno) {
		errno = model.dma_buf_errno;
		return -1;
	}
	return __real_eventfd(0, EFD_CLOEXEC);
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
	case VFIO_DEVICE_FEATURE:
		return feature(arg);
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

int __wrap_madvise(void *addr, size_t len, int advice)
{
	if (fault()) {
		errno = ENOMEM;
		return -1;
	}
	return __real_madvise(addr, len, advice);
}

int __wrap_fstat64(int fd, struct stat *st)
{
	if (fault()) {
		errno = EIO;
		return -1;
	}
	return __real_fstat64(fd, st);
}

int __wrap_fstat(int fd, struct stat *st) __attribute__((alias("__wrap_fstat64")));

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

void poke(uint32_t offset, const void *data, size_t len)
{
	assert_int_equal(__real_pwrite64(model.fd, data, len, CONFIG_AT + offset), (ssize_t)len);
}

void poke16(uint32_t offset, uint16_t value)
{
	uint16_t raw = htole16(value);

	poke(offset, &raw, sizeof(raw));
}

void poke32(uint32_t offset, uint32_t value)
{
	uint32_t raw = htole32(value);

	poke(offset, &raw, sizeof(raw));
}

void put_msix(uint16_t vectors, uint32_t bar, uint32_t table)
{
	const unsigned char head[2] = {PCI_CAP_ID_MSIX, 0};

	poke16(PCI_STATUS, PCI_STATUS_CAP_LIST);
	poke(PCI_CAPABILITY_LIST, &(unsigned char){0x40}, 1);
	poke(0x40, head, sizeof(head));
	poke16(0x40 + PCI_MSIX_FLAGS, (uint16_t)(vectors - 1));
	poke32(0x40 + PCI_MSIX_TABLE, table | bar);
}

unsigned int open_fds(void)
{
	unsigned int count = 0;
	DIR *dir = opendir("/proc/self/fd");

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

unsigned int fds_before;

int model_setup(void **state)
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
	model.irq_count[VFIO_PCI_REQ_IRQ_INDEX] = 1;
	model.irq_flags[VFIO_PCI_REQ_IRQ_INDEX] = VFIO_IRQ_INFO_EVENTFD;
	model.removal_fd = -1;
	/* As in kernels that do not know it. */
	model.dma_buf_errno = ENOTTY;
	/* As a kernel driver may have left it. */
	poke16(PCI_COMMAND, PCI_COMMAND_MASTER);
	fds_before = open_fds();
	return 0;
}

int model_teardown(void **state)
{
	assert_int_equal(model.attached, 0);
	assert_int_equal(model.addresses, 0);
	assert_int_equal(model.enabled, 0);
	assert_int_equal(model.removal_fd, -1);
	assert_int_equal(open_fds(), fds_before);
	assert_false(model.mastering_reset);
	close(model.fd);
	return fake_teardown(state);
}

int open_device(struct pn_pci_device **dev)
{
	return pn_pci_open_at(fake.sysfs, dev, ADDRESS, domain, -1, NULL);
}

struct pn_pci_device *must_open(void)
{
	struct pn_pci_device *dev;

	if (open_device(&dev))
		fail_msg("%s", pn_error());
	return dev;
}

void assert_error_has(const char *words)
{
	if (!strstr(pn_error(), words))
		fail_msg("'%s' is not in: %s", words, pn_error());
}

void add_cap(struct model_region *region, uint16_t id, uint32_t next, const void *body, size_t len)
{
	struct vfio_info_cap_header header = {id, 1, next};

	memcpy(region->caps + region->caps_size, &header, sizeof(header));
	if (len)
		memcpy(region->caps + region->caps_size + sizeof(header), body, len);
	region->caps_size += (uint32_t)(sizeof(header) + len);
}

void add_sparse(struct model_region *region, uint32_t nr_areas,
	const struct vfio_region_sparse_mmap_area *areas, size_t count)
{
	unsigned char body[128] = {0};

	memcpy(body, &nr_areas, sizeof(nr_areas));
	if (count)
		memcpy(body + 8, areas, count * sizeof(*areas));
	add_cap(region, VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0, body, 8 + count * sizeof(*areas));
}

bool readable(const volatile void *addr)
{
	int pipe_fds[2];
	bool ok;

	assert_int_equal(pipe(pipe_fds), 0);
	ok = write(pipe_fds[1], (const void *)addr, 1) == 1;
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return ok;
}

bool run_with_fault(int at, int (*drive)(struct pn_pci_device *dev))
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
