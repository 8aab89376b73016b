/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The model's place before the C library: which calls are its own, the open files behind their
 * fds, and calls that are made to fail or to wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vfio_model_abi.h"
#include "vfio_model_priv.h"

#define FILES 256
#define FDS   1024
#define KINDS 64

struct vfio_model model;
static struct file files[FILES];
static struct file *fds[FDS];
static struct {
	unsigned long request;
	unsigned int count;
} counts[KINDS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int __real_open(const char *path, int flags, ...);
int __real_ioctl(int fd, unsigned long request, void *arg);
int __real_close(int fd);
int __real_fcntl(int fd, int cmd, ...);
int __real_dup(int fd);
int __wrap_open(const char *path, int flags, ...);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_close(int fd);
int __wrap_fcntl(int fd, int cmd, ...);
int __wrap_dup(int fd);

void model_lock(void)
{
	pthread_mutex_lock(&lock);
}

void model_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

/* Files. */

int model_real_open(const char *path, int flags)
{
	return __real_open(path, flags, 0);
}

int model_real_close(int fd)
{
	return __real_close(fd);
}

struct file *model_file(int fd)
{
	return fd >= 0 && fd < FDS ? fds[fd] : NULL;
}

int model_new_fd(const struct file *file)
{
	int fd = __real_open("/dev/null", O_RDWR | O_CLOEXEC);
	struct file *slot = files;

	while (slot->kind != KIND_NONE)
		if (++slot == files + FILES)
			abort();
	if (fd < 0 || fd >= FDS)
		abort();
	*slot = *file;
	slot->refs = 1;
	fds[fd] = slot;
	return fd;
}

void model_release(struct file *file)
{
	struct file last = *file;

	if (--file->refs)
		return;
	file->kind = KIND_NONE;
	switch (last.kind) {
	case KIND_CONTAINER:
		container_put(last.container);
		break;
	case KIND_IOMMUFD:
		iommufd_put(last.iommufd);
		break;
	case KIND_GROUP:
		group_put(last.group);
		break;
	case KIND_DEVICE:
		group_close_device(last.device);
		break;
	case KIND_CDEV:
		cdev_close(&last);
		break;
	default:
		break;
	}
}

void model_fds_forget(void)
{
	memset(files, 0, sizeof(files));
	memset(fds, 0, sizeof(fds));
	memset(counts, 0, sizeof(counts));
}

unsigned int model_count_files(enum kind kind)
{
	unsigned int count = 0;

	for (size_t i = 0; i < FDS; i++)
		count += fds[i] && (kind == KIND_NONE || fds[i]->kind == kind);
	return count;
}

bool model_is_mine(int fd)
{
	return model_file(fd);
}

/* Failing and waiting. */

static void count(unsigned long request)
{
	for (size_t i = 0; i < KINDS; i++) {
		if (counts[i].count && counts[i].request != request)
			continue;
		counts[i].request = request;
		counts[i].count++;
		return;
	}
	abort();
}

unsigned int model_calls_of(unsigned long request)
{
	for (size_t i = 0; i < KINDS; i++)
		if (counts[i].request == request)
			return counts[i].count;
	return 0;
}

void model_forget_calls(void)
{
	memset(counts, 0, sizeof(counts));
}

int model_inject(unsigned long request)
{
	int err = 0;

	count(request);
	model.calls++;
	if (model.fail_call && model.calls == model.fail_call)
		err = model.fail_err;
	if (model.fail_again && model.calls == model.fail_again)
		err = model.fail_again_err;
	for (size_t i = 0; i < sizeof(model.rules) / sizeof(model.rules[0]); i++) {
		struct model_rule *rule = &model.rules[i];

		if (!rule->request || rule->request != request)
			continue;
		rule->seen++;
		if (rule->seen >= rule->nth && rule->seen - rule->nth < rule->times)
			err = rule->err;
	}
	if (model.fail_on && model.failed)
		err = EIO;
	if (err && !model.failed++)
		model.failed_request = request;
	return -err;
}

void model_calm(void)
{
	model.fail_call = model.fail_again = 0;
	model.fail_on = model.fail_after = false;
	memset(model.rules, 0, sizeof(model.rules));
}

static int answer(int result)
{
	if (result >= 0)
		return result;
	errno = -result;
	return -1;
}

/* Opening. */

static int open_iommufd(bool vfio_node)
{
	struct file file = {.kind = KIND_IOMMUFD, .iommufd = iommufd_new(vfio_node)};

	return model_new_fd(&file);
}

static int open_vfio(void)
{
	struct file file = {.kind = KIND_CONTAINER};

	if (model.iommufd_vfio)
		return open_iommufd(true);
	if (!model.type1 && !model.noiommu)
		return -ENOENT;
	file.container = container_new();
	return model_new_fd(&file);
}

static int open_group(const char *name)
{
	bool noiommu = !strncmp(name, "noiommu-", 8);
	char *end;
	long id = strtol(name + (noiommu ? 8 : 0), &end, 10);

	for (size_t i = 0; !*end && i < model_group_count; i++)
		if (model_groups[i].id == id && model_groups[i].noiommu == noiommu)
			return group_open(&model_groups[i]);
	return -ENOENT;
}

static int open_cdev(const char *name)
{
	struct file file = {.kind = KIND_CDEV};
	char *end;
	long number = strtol(name, &end, 10);

	for (size_t i = 0; !*end && i < model_device_count; i++) {
		file.device = &model_devices[i];
		if (file.device->cdev != number)
			continue;
		if (file.device->open_err)
			return -file.device->open_err;
		return model_new_fd(&file);
	}
	return -ENOENT;
}

static bool ends_in(const char *path, const char *end)
{
	size_t size = strlen(path), part = strlen(end);

	return size >= part && !strcmp(path + size - part, end);
}

/* The model's answer for a path; *mine false if it is not one of its files. Nodes may be reached
 * by a detour ("/dev/../dev/iommu"). */
static int model_open(const char *path, bool *mine)
{
	bool iommufd = !strncmp(path, "/dev/", 5) && ends_in(path, "/iommu");
	int ret;

	*mine = iommufd || !strncmp(path, "/dev/vfio/", 10);
	if (!*mine)
		return -ENXIO;
	ret = model_inject(MODEL_OPEN);
	if (ret)
		return ret;
	if (iommufd)
		return model.iommufd ? open_iommufd(false) : -ENOENT;
	if (ends_in(path, "/vfio/vfio"))
		return open_vfio();
	if (!strncmp(path, "/dev/vfio/devices/vfio", 22))
		return open_cdev(path + 22);
	return open_group(path + 10);
}

int __wrap_open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;
	bool mine;
	int result;

	va_start(args, flags);
	mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;
	va_end(args);
	result = model_open_small(path);
	if (result != -ENXIO)
		return answer(result);
	model_lock();
	result = model_open(path, &mine);
	if (mine && result >= 0 && !(flags & O_CLOEXEC))
		__real_fcntl(result, F_SETFD, 0);
	model_unlock();
	return mine ? answer(result) : __real_open(path, flags, mode);
}

/* What open() is called where off_t has 64 bits by a macro. */
int __wrap_open64(const char *path, int flags, ...) __attribute__((alias("__wrap_open")));

/* The other calls. */

static int file_ioctl(struct file *file, unsigned long request, void *arg)
{
	switch (file->kind) {
	case KIND_CONTAINER:
		return container_ioctl(file->container, request, arg);
	case KIND_IOMMUFD:
		return iommufd_ioctl(file->iommufd, request, arg);
	case KIND_GROUP:
		return group_ioctl(file->group, request, arg);
	case KIND_DEVICE:
		return device_ioctl(request, arg);
	case KIND_CDEV:
		return cdev_ioctl(file, request, arg);
	default:
		model.unknown++;
		return -ENOTTY;
	}
}

static void wait_if_held(unsigned long request)
{
	if (__atomic_load_n(&model.hold, __ATOMIC_ACQUIRE) != request)
		return;
	sem_post(&model.held);
	while (sem_wait(&model.go_on))
		;
}

/* Its answer cannot be written: copy_to_user() fails at the end. */
static void lose_answer(struct file *file, unsigned long request, const void *arg)
{
	unsigned char copy[128] = {0};
	uint32_t size;

	if (request != VFIO_IOMMU_UNMAP_DMA && request != K_IOAS_UNMAP && request != K_IOAS_MAP &&
		request != K_IOAS_MAP_FILE && request != K_IOAS_COPY)
		return;
	/* All of these begin with their size. */
	memcpy(&size, arg, sizeof(size));
	if (size > sizeof(copy))
		abort();
	memcpy(copy, arg, size);
	(void)file_ioctl(file, request, copy);
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	struct file *file;
	int result;

	model_lock();
	file = model_file(fd);
	if (file) {
		/* The kernel holds on to a file while a call is in it. */
		file->refs++;
		model_unlock();
		wait_if_held(request);
		model_lock();
		result = model_inject(request);
		if (!result)
			result = file_ioctl(file, request, arg);
		else if (result == -EFAULT && model.fail_after)
			lose_answer(file, request, arg);
		model_release(file);
	}
	model_unlock();
	return file ? answer(result) : __real_ioctl(fd, request, arg);
}

static int duplicate(struct file *file, int fd, int cmd, long arg)
{
	int copy = __real_fcntl(fd, cmd, arg);

	if (copy < 0)
		return -errno;
	if (copy >= FDS)
		abort();
	fds[copy] = file;
	file->refs++;
	return copy;
}

static int model_fcntl(int fd, int cmd, long arg, bool *mine)
{
	struct file *file = model_file(fd);
	int result;

	*mine = file;
	if (!file)
		return 0;
	result = model_inject(MODEL_FCNTL);
	if (result)
		return result;
	if (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC)
		return duplicate(file, fd, cmd, arg);
	result = __real_fcntl(fd, cmd, arg);
	return result < 0 ? -errno : result;
}

int __wrap_fcntl(int fd, int cmd, ...)
{
	va_list args;
	int result;
	bool mine;
	long arg;

	va_start(args, cmd);
	arg = va_arg(args, long);
	va_end(args);
	model_lock();
	result = model_fcntl(fd, cmd, arg, &mine);
	model_unlock();
	return mine ? answer(result) : __real_fcntl(fd, cmd, arg);
}

int __wrap_fcntl64(int fd, int cmd, ...) __attribute__((alias("__wrap_fcntl")));

int __wrap_dup(int fd)
{
	int result;
	bool mine;

	model_lock();
	result = model_fcntl(fd, F_DUPFD, 0, &mine);
	model_unlock();
	return mine ? answer(result) : __real_dup(fd);
}

int __wrap_close(int fd)
{
	struct file *file;

	model_lock();
	file = model_file(fd);
	if (file) {
		fds[fd] = NULL;
		model_release(file);
	}
	model_unlock();
	return __real_close(fd);
}

int model_dmabuf(void)
{
	struct file file = {.kind = KIND_DMABUF};

	return model_new_fd(&file);
}

void model_exec(void)
{
	int flags;

	for (int fd = 3; fd < FDS; fd++) {
		flags = __real_fcntl(fd, F_GETFD);
		if (flags >= 0 && flags & FD_CLOEXEC)
			__wrap_close(fd);
	}
	model.mm++;
	model.locked = model.pinned = 0;
	model_forget_calls();
}
