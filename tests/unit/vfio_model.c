/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The model's files, groups and mappings: the order rules, who is charged when, what is released at
 * which close, as the kernel's type1 driver and iommufd's VFIO compatibility have them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vfio_model.h"
#include "vfio_model_priv.h"

#define FILES  1024
#define GROUPS 8

struct group {
	int id;
	bool viable;
	int open_err;
	char devices[8][16];
	unsigned int device_count;
	bool opened;
	unsigned int refs; /* its file and the devices' files */
	struct container *container;
};

enum kind { KIND_NONE, KIND_CONTAINER, KIND_GROUP, KIND_DEVICE };

struct file {
	enum kind kind;
	struct container *container;
	struct group *group;
};

struct vfio_model model;
static struct file files[FILES];
static struct group groups[GROUPS];
static size_t group_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int __real_open(const char *path, int flags, ...);
int __real_ioctl(int fd, unsigned long request, void *arg);
int __real_close(int fd);
int __wrap_open(const char *path, int flags, ...);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_close(int fd);

static void group_leave(struct group *group)
{
	struct container *container = group->container;

	if (!container)
		return;
	group->container = NULL;
	container->groups--;
	if (!container->iommufd && !container->groups) {
		model_drop_maps(container);
		container->ready = false;
	}
	model_container_put(container);
}

static void group_put(struct group *group)
{
	if (--group->refs)
		return;
	group->opened = false;
	group_leave(group);
}

/* Files. */

static int new_file(enum kind kind, struct container *container, struct group *group)
{
	int fd = __real_open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0 || fd >= FILES)
		abort();
	files[fd] = (struct file){kind, container, group};
	return fd;
}

static int open_container(bool iommufd, bool mm)
{
	struct container *container = model_container_new(iommufd, mm);

	if (!container)
		return -ENFILE;
	return new_file(KIND_CONTAINER, container, NULL);
}

static int open_group(struct group *group)
{
	if (group->open_err)
		return -group->open_err;
	if (group->opened)
		return -EBUSY;
	group->opened = true;
	group->refs = 1;
	return new_file(KIND_GROUP, NULL, group);
}

static int group_set_container(struct group *group, int fd)
{
	struct container *container;

	if (group->container)
		return -EINVAL;
	if (fd < 0 || fd >= FILES)
		return -EBADF;
	if (files[fd].kind != KIND_CONTAINER)
		return -EBADFD;
	container = files[fd].container;
	if (!container->iommufd && !group->viable)
		return -EBUSY;
	container->groups++;
	if (container->iommufd)
		container->ready = true;
	group->container = container;
	return 0;
}

static int group_get_device(struct group *group, const char *name)
{
	struct container *container = group->container;
	unsigned int i;

	if (!container || !container->ready)
		return -EINVAL;
	for (i = 0; i < group->device_count; i++)
		if (!strcmp(group->devices[i], name))
			break;
	if (i == group->device_count)
		return -ENODEV;
	if (!group->viable)
		return -EBUSY;
	if (container->iommufd && !container->devices &&
		model_charge(container, model_container_pages(container)))
		return -ENOMEM;
	container->devices++;
	group->refs++;
	return new_file(KIND_DEVICE, container, group);
}

static int group_ioctl(struct group *group, unsigned long request, void *arg)
{
	struct vfio_group_status *status = arg;
	int fd;

	switch (request) {
	case VFIO_GROUP_GET_STATUS:
		if (status->argsz < sizeof(*status))
			return -EINVAL;
		status->flags = (group->viable ? VFIO_GROUP_FLAGS_VIABLE : 0u) |
				(group->container ? VFIO_GROUP_FLAGS_CONTAINER_SET : 0u);
		return 0;
	case VFIO_GROUP_SET_CONTAINER:
		memcpy(&fd, arg, sizeof(fd));
		return group_set_container(group, fd);
	case VFIO_GROUP_UNSET_CONTAINER:
		if (!group->container)
			return -EINVAL;
		if (group->refs > 1)
			return -EBUSY;
		group_leave(group);
		return 0;
	case VFIO_GROUP_GET_DEVICE_FD:
		return group_get_device(group, arg);
	default:
		model.unknown++;
		return -ENOTTY;
	}
}

/* Calls. */

static int inject(unsigned long request)
{
	int err = 0;

	model.calls++;
	if (model.fail_call && model.calls == model.fail_call)
		err = model.fail_err;
	for (size_t i = 0; i < 2; i++) {
		struct model_rule *rule = &model.rules[i];

		if (!rule->request || rule->request != request)
			continue;
		rule->seen++;
		if (rule->seen >= rule->nth && rule->seen - rule->nth < rule->times)
			err = rule->err;
	}
	model.failed += err != 0;
	return err;
}

static int answer(int result)
{
	if (result >= 0)
		return result;
	errno = -result;
	return -1;
}

/* The model's answer for a path; -ENXIO with *mine false if it is not one of its files. */
static int model_open(const char *path, bool *mine)
{
	size_t size = strlen(path);
	char *end;
	long id;
	int err;

	*mine = !strcmp(path, "/dev/iommu") || !strncmp(path, "/dev/vfio/", 10);
	if (!*mine)
		return -ENXIO;
	err = inject(0);
	if (err)
		return -err;
	if (!strcmp(path, "/dev/iommu"))
		return model.iommufd ? open_container(true, false) : -ENOENT;
	/* Also by a detour. */
	if (size > 10 && !strcmp(path + size - 10, "/vfio/vfio"))
		return model.iommufd_vfio ? open_container(true, true)
		       : model.type1      ? open_container(false, true)
					  : -ENOENT;
	id = strtol(path + 10, &end, 10);
	for (size_t i = 0; !*end && i < group_count; i++)
		if (groups[i].id == id)
			return open_group(&groups[i]);
	return -ENOENT;
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
	pthread_mutex_lock(&lock);
	result = model_open(path, &mine);
	pthread_mutex_unlock(&lock);
	return mine ? answer(result) : __real_open(path, flags, mode);
}

/* What open() is called where off_t has 64 bits by a macro. */
int __wrap_open64(const char *path, int flags, ...) __attribute__((alias("__wrap_open")));

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	struct file *file = fd >= 0 && fd < FILES ? &files[fd] : NULL;
	int result;

	if (!file || file->kind == KIND_NONE)
		return __real_ioctl(fd, request, arg);
	pthread_mutex_lock(&lock);
	result = -inject(request);
	if (!result && file->kind == KIND_CONTAINER)
		result = model_container_ioctl(file->container, request, arg);
	else if (!result && file->kind == KIND_GROUP)
		result = group_ioctl(file->group, request, arg);
	else if (!result)
		result = -ENOTTY;
	pthread_mutex_unlock(&lock);
	return answer(result);
}

int __wrap_close(int fd)
{
	struct file file = {KIND_NONE, NULL, NULL};

	pthread_mutex_lock(&lock);
	if (fd >= 0 && fd < FILES) {
		file = files[fd];
		files[fd].kind = KIND_NONE;
	}
	if (file.kind == KIND_CONTAINER) {
		file.container->files--;
		model_container_put(file.container);
	} else if (file.kind == KIND_GROUP) {
		group_put(file.group);
	} else if (file.kind == KIND_DEVICE) {
		if (file.container->iommufd && file.container->devices == 1)
			model_uncharge(file.container, model_container_pages(file.container));
		file.container->devices--;
		group_put(file.group);
	}
	pthread_mutex_unlock(&lock);
	return __real_close(fd);
}

/* For the tests. */

int model_setup(void **state)
{
	(void)state;
	memset(&model, 0, sizeof(model));
	memset(files, 0, sizeof(files));
	model_containers_forget();
	memset(groups, 0, sizeof(groups));
	group_count = 0;
	model.type1 = model.iommufd = true;
	model.limit = UINT64_MAX / 2;
	model.entries = 65535;
	model.page_sizes = 0x40201000;
	model.ranges[0] = (struct vfio_iova_range){0, 0xfedfffff};
	model.ranges[1] = (struct vfio_iova_range){0xfef00000, (UINT64_C(1) << 48) - 1};
	model.range_count = 2;
	return 0;
}

int model_teardown(void **state)
{
	(void)state;
	if (!model_open_fds() && !model_maps() && !model.locked && !model.user && !model.pinned)
		return 0;
	fprintf(stderr, "left behind: %u fds, %zu maps\n", model_open_fds(), model_maps());
	return -1;
}

static struct group *find_group(int id)
{
	for (size_t i = 0; i < group_count; i++)
		if (groups[i].id == id)
			return &groups[i];
	if (group_count == GROUPS)
		abort();
	groups[group_count].id = id;
	groups[group_count].viable = true;
	return &groups[group_count++];
}

void model_device(const char *address, int group)
{
	struct group *to = find_group(group);

	snprintf(to->devices[to->device_count++], sizeof(to->devices[0]), "%s", address);
}

void model_group_viable(int group, bool viable)
{
	find_group(group)->viable = viable;
}

void model_group_open_error(int group, int err)
{
	find_group(group)->open_err = err;
}

static unsigned int count_files(enum kind kind)
{
	unsigned int count = 0;

	for (size_t i = 0; i < FILES; i++)
		count += files[i].kind != KIND_NONE && (kind == KIND_NONE || files[i].kind == kind);
	return count;
}

unsigned int model_open_fds(void)
{
	return count_files(KIND_NONE);
}

unsigned int model_open_devices(void)
{
	return count_files(KIND_DEVICE);
}

static unsigned int process_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int count = 0;

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

struct model_state model_state(void)
{
	struct model_state state = {0, 0, model.locked, model.user, model.pinned, model_open_fds(),
		model_open_devices(), process_fds()};

	model_containers_sum(&state.maps, &state.sum);
	return state;
}

bool model_state_equal(const struct model_state *a, const struct model_state *b)
{
	return a->maps == b->maps && a->sum == b->sum && a->locked == b->locked &&
	       a->user == b->user && a->pinned == b->pinned && a->fds == b->fds &&
	       a->devices == b->devices && a->process_fds == b->process_fds;
}

static char directory[40];

const char *model_directory(void)
{
	snprintf(directory, sizeof(directory), "%s/pn-ledgers-XXXXXX",
		access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	if (!mkdtemp(directory))
		abort();
	return directory;
}

int model_directory_end(void)
{
	if (!rmdir(directory))
		return 0;
	perror("ledgers are left behind");
	return 1;
}

void model_calm(void)
{
	model.fail_call = 0;
	memset(model.rules, 0, sizeof(model.rules));
}
