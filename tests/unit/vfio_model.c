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
#include <sys/mman.h>
#include <unistd.h>

#include "vfio_model.h"

#define FILES      1024
#define GROUPS     8
#define CONTAINERS 64

/* IOMMU_OPTION of iommufd: its header is newer than the oldest distribution supported. */
#define MODEL_IOMMU_OPTION _IO(';', 0x87)
struct model_iommu_option {
	uint32_t size;
	uint32_t option_id;
	uint16_t op;
	uint16_t reserved;
	uint32_t object_id;
	uint64_t val64;
};

struct map {
	uint64_t iova, vaddr, len;
	uint32_t flags;
};

struct container {
	bool live, iommufd, mm;
	bool ready; /* type1: SET_IOMMU done; iommufd: a group has joined, so there is an IOAS */
	unsigned int files, groups, devices;
	bool pinned;
	size_t count;
	struct map maps[MODEL_MAPS];
};

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
/* None of the model's memory is from malloc(), which tests make fail. */
static struct container containers[CONTAINERS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int __real_open(const char *path, int flags, ...);
int __real_ioctl(int fd, unsigned long request, void *arg);
int __real_close(int fd);
int __wrap_open(const char *path, int flags, ...);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_close(int fd);

/* Charges. */

static uint64_t map_pages(const struct map *map)
{
	return map->len / 4096;
}

static int charge(struct container *container, uint64_t pages)
{
	uint64_t *limited = container->iommufd && !container->mm ? &model.user : &model.locked;

	if (*limited + pages > model.limit)
		return ENOMEM;
	*limited += pages;
	if (container->iommufd)
		model.pinned += pages;
	return 0;
}

static void uncharge(struct container *container, uint64_t pages)
{
	*(container->iommufd && !container->mm ? &model.user : &model.locked) -= pages;
	if (container->iommufd)
		model.pinned -= pages;
}

static uint64_t container_pages(const struct container *container)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < container->count; i++)
		pages += map_pages(&container->maps[i]);
	return pages;
}

/* Does the kernel hold pages for its mappings now? */
static bool pins_now(const struct container *container)
{
	return container->iommufd ? container->devices > 0 : true;
}

static void drop_maps(struct container *container)
{
	if (pins_now(container))
		uncharge(container, container_pages(container));
	container->count = 0;
}

static void container_put(struct container *container)
{
	if (container->files || container->groups)
		return;
	drop_maps(container);
	container->live = false;
}

static void group_leave(struct group *group)
{
	struct container *container = group->container;

	if (!container)
		return;
	group->container = NULL;
	container->groups--;
	if (!container->iommufd && !container->groups) {
		drop_maps(container);
		container->ready = false;
	}
	container_put(container);
}

static void group_put(struct group *group)
{
	if (--group->refs)
		return;
	group->opened = false;
	group_leave(group);
}

/* Mappings. */

static bool in_ranges(uint64_t first, uint64_t last)
{
	for (unsigned int i = 0; i < model.range_count; i++)
		if (first >= model.ranges[i].start && last <= model.ranges[i].end)
			return true;
	return false;
}

static int do_map(struct container *container, const struct vfio_iommu_type1_dma_map *args)
{
	struct map map = {args->iova, args->vaddr, args->size, args->flags};
	static unsigned char pages[1 << 16];
	int err = 0;

	if (!container->ready)
		return container->iommufd ? ENODEV : EINVAL;
	if (args->argsz < sizeof(*args) ||
		(args->flags & ~(uint32_t)(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)))
		return EINVAL;
	if (!args->size || ((args->iova | args->vaddr | args->size) & 4095) || !args->flags)
		return EINVAL;
	if (args->iova + args->size - 1 < args->iova || args->vaddr + args->size - 1 < args->vaddr)
		return container->iommufd ? EOVERFLOW : EINVAL;
	for (size_t i = 0; i < container->count; i++) {
		const struct map *old = &container->maps[i];

		if (map.iova <= old->iova + (old->len - 1) && old->iova <= map.iova + (map.len - 1))
			return EEXIST;
	}
	if (!container->iommufd && container->count >= model.entries)
		return ENOSPC;
	if (container->count >= MODEL_MAPS)
		return ENOMEM;
	if (!in_ranges(map.iova, map.iova + (map.len - 1)))
		return EINVAL;
	if (map_pages(&map) > sizeof(pages) ||
		mincore((void *)(uintptr_t)map.vaddr, map.len, pages))
		err = EFAULT;
	if (!err && pins_now(container))
		err = charge(container, map_pages(&map));
	if (!err)
		container->maps[container->count++] = map;
	return err;
}

static int do_unmap(struct container *container, struct vfio_iommu_type1_dma_unmap *args)
{
	bool all = args->flags & VFIO_DMA_UNMAP_FLAG_ALL;
	uint64_t first = args->iova, last = args->iova + (args->size - 1), bytes = 0;

	if (!container->ready)
		return container->iommufd ? ENODEV : EINVAL;
	if (args->argsz < offsetof(struct vfio_iommu_type1_dma_unmap, data) ||
		(args->flags & ~(uint32_t)VFIO_DMA_UNMAP_FLAG_ALL))
		return EINVAL;
	if (all ? args->iova || args->size : !args->size || ((args->iova | args->size) & 4095))
		return EINVAL;
	if (all) {
		first = 0;
		last = UINT64_MAX;
	}
	if (last < first)
		return container->iommufd ? EOVERFLOW : EINVAL;
	for (size_t i = 0; i < container->count; i++) {
		const struct map *map = &container->maps[i];
		uint64_t map_last = map->iova + (map->len - 1);

		if (map->iova > last || map_last < first)
			continue;
		if (map->iova < first || map_last > last) {
			if (container->iommufd)
				args->size = 0;
			return container->iommufd ? ENOENT : EINVAL;
		}
	}
	for (size_t i = 0; !model.unmap_nothing && i < container->count;) {
		struct map *map = &container->maps[i];

		if (map->iova < first || map->iova > last) {
			i++;
			continue;
		}
		bytes += map->len;
		if (pins_now(container))
			uncharge(container, map_pages(map));
		*map = container->maps[--container->count];
	}
	args->size = bytes;
	return 0;
}

static size_t true_caps(const struct container *container, unsigned char *buf)
{
	struct {
		struct vfio_info_cap_header header;
		uint32_t nr_iovas, reserved;
		struct vfio_iova_range ranges[MODEL_RANGES];
	} iovas = {{VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1, 0}, model.range_count, 0, {{0}}};
	struct vfio_iommu_type1_info_dma_avail avail = {
		{VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, 0}, UINT32_MAX};
	size_t size = 16 + model.range_count * sizeof(model.ranges[0]);
	uint32_t at = sizeof(struct vfio_iommu_type1_info);

	if (!container->iommufd)
		avail.avail = model.entries - (uint32_t)container->count;
	memcpy(iovas.ranges, model.ranges, sizeof(model.ranges));
	iovas.header.next = at + (uint32_t)size;
	memcpy(buf, &iovas, size);
	memcpy(buf + size, &avail, sizeof(avail));
	return size + ((sizeof(avail) + 7) & ~(size_t)7);
}

static int do_info(const struct container *container, struct vfio_iommu_type1_info *info)
{
	unsigned char truth[512];
	const void *caps = truth;
	size_t size, room = info->argsz;

	if (!container->ready)
		return container->iommufd ? ENODEV : EINVAL;
	if (room < 16)
		return EINVAL;
	memset(truth, 0, sizeof(truth));
	size = true_caps(container, truth);
	if (model.caps) {
		caps = model.caps;
		size = model.caps_size;
	}
	info->flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
	info->iova_pgsizes = model.page_sizes;
	if (room >= sizeof(*info))
		info->cap_offset = 0;
	if (room >= sizeof(*info) + size) {
		memcpy((unsigned char *)info + sizeof(*info), caps, size);
		info->cap_offset = model.cap_offset ? model.cap_offset : (uint32_t)sizeof(*info);
	}
	if (container->iommufd || room < sizeof(*info) + size)
		info->argsz = (uint32_t)(sizeof(*info) + size);
	return 0;
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
	struct container *container = containers;

	while (container->live)
		if (++container == containers + CONTAINERS)
			return -ENFILE;
	memset(container, 0, sizeof(*container));
	container->live = true;
	container->iommufd = iommufd;
	container->mm = mm;
	container->files = 1;
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
		charge(container, container_pages(container)))
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

static int check_extension(const struct container *container, unsigned long extension)
{
	switch (extension) {
	case VFIO_TYPE1_IOMMU:
	case VFIO_UNMAP_ALL:
		return 1;
	case VFIO_TYPE1v2_IOMMU:
		return !model.no_v2;
	case VFIO_TYPE1_NESTING_IOMMU:
		return !container->iommufd;
	case VFIO_DMA_CC_IOMMU:
		return container->iommufd && !container->ready ? -ENODEV : 0;
	default:
		return 0;
	}
}

static int container_ioctl(struct container *container, unsigned long request, void *arg)
{
	struct model_iommu_option *option = arg;
	unsigned long value = (unsigned long)(uintptr_t)arg;

	switch (request) {
	case VFIO_GET_API_VERSION:
		return 0;
	case VFIO_CHECK_EXTENSION:
		return check_extension(container, value);
	case VFIO_SET_IOMMU:
		model.last_set_iommu = (unsigned int)value;
		if (container->iommufd)
			return !container->ready ? -ENODEV : value == 1 || value == 3 ? 0 : -EINVAL;
		if (!container->groups || container->ready ||
			check_extension(container, value) != 1)
			return -EINVAL;
		container->ready = true;
		return 0;
	case VFIO_IOMMU_GET_INFO:
		return -do_info(container, arg);
	case VFIO_IOMMU_MAP_DMA:
		return -do_map(container, arg);
	case VFIO_IOMMU_UNMAP_DMA:
		return -do_unmap(container, arg);
	case MODEL_IOMMU_OPTION:
		if (!container->iommufd)
			return -EINVAL;
		if (option->size < sizeof(*option) || option->option_id || option->op != 1)
			return -EOPNOTSUPP;
		option->val64 = container->mm;
		return 0;
	default:
		model.unknown++;
		return container->iommufd ? -ENOTTY : -EINVAL;
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
	if (!strcmp(path, "/dev/vfio/vfio"))
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

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	struct file *file = fd >= 0 && fd < FILES ? &files[fd] : NULL;
	int result;

	if (!file || file->kind == KIND_NONE)
		return __real_ioctl(fd, request, arg);
	pthread_mutex_lock(&lock);
	result = -inject(request);
	if (!result && file->kind == KIND_CONTAINER)
		result = container_ioctl(file->container, request, arg);
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
		container_put(file.container);
	} else if (file.kind == KIND_GROUP) {
		group_put(file.group);
	} else if (file.kind == KIND_DEVICE) {
		if (file.container->iommufd && file.container->devices == 1)
			uncharge(file.container, container_pages(file.container));
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
	memset(containers, 0, sizeof(containers));
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

size_t model_maps(void)
{
	return model_state().maps;
}

uint64_t model_bytes(void)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < CONTAINERS; i++)
		if (containers[i].live)
			bytes += container_pages(&containers[i]) * 4096;
	return bytes;
}

bool model_has(uint64_t iova, const void *vaddr, uint64_t len, uint32_t flags)
{
	for (size_t i = 0; i < CONTAINERS; i++)
		for (size_t at = 0; containers[i].live && at < containers[i].count; at++) {
			const struct map *map = &containers[i].maps[at];

			if (map->iova == iova && map->vaddr == (uint64_t)(uintptr_t)vaddr &&
				map->len == len && map->flags == flags)
				return true;
		}
	return false;
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

	for (size_t i = 0; i < CONTAINERS; i++)
		for (size_t at = 0; containers[i].live && at < containers[i].count; at++) {
			const struct map *map = &containers[i].maps[at];

			state.maps++;
			state.sum += (map->iova * 31 + map->vaddr) * 31 + map->len * 7 + map->flags;
		}
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
