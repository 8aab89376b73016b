/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a test does with the model: a machine with devices, a process with capabilities, and a look
 * at what is left.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "vfio_model_priv.h"

#define RUNS 64

struct device model_devices[DEVICES];
unsigned int model_device_count;
struct group model_groups[GROUPS];
unsigned int model_group_count;

/* Where files are mapped in this process. */
static struct {
	dev_t device;
	ino_t inode;
	uint64_t vaddr, len, offset;
} runs[RUNS];
static unsigned int run_count;

/* A capability of the calling thread, as far as it may have it. */
static bool capability(int number, bool on)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];
	uint32_t bit = 1u << (number % 32), *effective;

	if (syscall(SYS_capget, &header, data))
		return false;
	effective = &data[number / 32].effective;
	*effective = on ? *effective | bit : *effective & ~bit;
	return !syscall(SYS_capset, &header, data);
}

bool model_exempt(bool on)
{
	if (!capability(CAP_IPC_LOCK, on))
		return false;
	model.cap_ipc_lock = on;
	return true;
}

int model_setup(void **state)
{
	(void)state;
	memset(&model, 0, sizeof(model));
	model_fds_forget();
	model_files_forget();
	containers_forget();
	iommufds_forget();
	spaces_forget();
	memset(model_devices, 0, sizeof(model_devices));
	memset(model_groups, 0, sizeof(model_groups));
	model_device_count = model_group_count = run_count = 0;
	model.type1 = model.iommufd = true;
	model.map_file = model.change_process = model.map_dmabuf = model.dirty = true;
	model.limit = UINT64_MAX / 2;
	model.entries = 65535;
	model.page_sizes = 0x40201000;
	model.ranges[0] = (struct vfio_iova_range){0, 0xfedfffff};
	model.ranges[1] = (struct vfio_iova_range){0xfef00000, (UINT64_C(1) << 48) - 1};
	model.range_count = 2;
	sem_init(&model.held, 0, 0);
	sem_init(&model.go_on, 0, 0);
	return model_exempt(false) ? 0 : -1;
}

int model_teardown(void **state)
{
	(void)state;
	if (!model_open_fds() && !model_maps() && !iommufds_objects() && !model.locked &&
		!model.user && !model.pinned)
		return 0;
	fprintf(stderr, "left behind: %u fds, %zu maps, %u objects, %ju, %ju and %ju pages\n",
		model_open_fds(), model_maps(), iommufds_objects(), (uintmax_t)model.locked,
		(uintmax_t)model.user, (uintmax_t)model.pinned);
	return -1;
}

/* Devices. */

static struct group *find_group(int id)
{
	for (size_t i = 0; i < model_group_count; i++)
		if (model_groups[i].id == id)
			return &model_groups[i];
	if (model_group_count == GROUPS)
		abort();
	model_groups[model_group_count].id = id;
	model_groups[model_group_count].viable = true;
	return &model_groups[model_group_count++];
}

int model_device(const char *address, int group)
{
	struct device *device = &model_devices[model_device_count];

	if (model_device_count == DEVICES)
		abort();
	snprintf(device->address, sizeof(device->address), "%s", address);
	device->group = find_group(group);
	device->cdev = (int)model_device_count++;
	return device->cdev;
}

void model_noiommu_device(const char *address, int group)
{
	struct device *device = &model_devices[model_device(address, group)];

	device->cdev = -1;
	device->group->noiommu = true;
}

void model_device_ranges(
	const char *address, const struct vfio_iova_range *ranges, unsigned int count)
{
	for (size_t i = 0; i < model_device_count; i++) {
		if (strcmp(model_devices[i].address, address))
			continue;
		memcpy(model_devices[i].ranges, ranges, count * sizeof(*ranges));
		model_devices[i].range_count = count;
	}
}

void model_group_viable(int group, bool viable)
{
	find_group(group)->viable = viable;
}

void model_group_open_error(int group, int err)
{
	find_group(group)->open_err = err;
}

void model_cdev_open_error(int cdev, int err)
{
	for (size_t i = 0; i < model_device_count; i++)
		if (model_devices[i].cdev == cdev)
			model_devices[i].open_err = err;
}

/* Memory behind files. */

static void take_line(const char *line)
{
	unsigned long first, end, offset, inode;
	unsigned int major_number, minor_number;

	if (sscanf(line, "%lx-%lx %*s %lx %x:%x %lu", &first, &end, &offset, &major_number,
		    &minor_number, &inode) != 6 ||
		!inode || run_count == RUNS)
		return;
	runs[run_count].device = makedev(major_number, minor_number);
	runs[run_count].inode = inode;
	runs[run_count].vaddr = first;
	runs[run_count].len = end - first;
	runs[run_count++].offset = offset;
}

/* Mappings that are shared and writable, from /proc/self/maps; without malloc(). */
static void read_runs(void)
{
	static char text[1 << 18];
	int fd = model_real_open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t got;
	char *line, *end;

	run_count = 0;
	while ((got = read(fd, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)got;
	model_real_close(fd);
	text[used] = '\0';
	for (line = text; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		if (strstr(line, " rw-s ") || strstr(line, " r--s "))
			take_line(line);
	}
}

static uint64_t find_run(const struct map *map)
{
	for (unsigned int i = 0; i < run_count; i++)
		if (runs[i].inode == map->inode && runs[i].device == map->device &&
			map->offset >= runs[i].offset && map->offset - runs[i].offset < runs[i].len)
			return runs[i].vaddr + (map->offset - runs[i].offset);
	return 0;
}

void memory_of_file(struct map *map, int fd, uint64_t offset)
{
	struct stat stat;

	if (model_real_fstat(fd, &stat))
		return;
	map->device = stat.st_dev;
	map->inode = stat.st_ino;
	map->offset = offset;
	map->vaddr = find_run(map);
	if (map->vaddr)
		return;
	read_runs();
	map->vaddr = find_run(map);
}

bool memory_is_at(const struct map *map, uint64_t vaddr)
{
	if (!map->pages->file || map->vaddr == vaddr)
		return map->vaddr == vaddr;
	read_runs();
	return find_run(map) == vaddr;
}

/* What there is. */

unsigned int model_open_fds(void)
{
	return model_count_files(KIND_NONE);
}

unsigned int model_open_devices(void)
{
	return model_count_files(KIND_DEVICE) + model_count_files(KIND_CDEV);
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
		model_open_devices(), iommufds_objects(), process_fds()};
	static struct model_mapping list[MODEL_MAPS];

	state.maps = model_list(list, MODEL_MAPS);
	for (size_t i = 0; i < state.maps && i < MODEL_MAPS; i++)
		state.sum += ((list[i].iova * 31 + list[i].vaddr) * 31 + list[i].len * 7 +
				     list[i].flags + list[i].filled * 11u + list[i].invalid * 13u) *
			     (list[i].space + 17u);
	return state;
}

bool model_state_equal(const struct model_state *a, const struct model_state *b)
{
	return a->maps == b->maps && a->sum == b->sum && a->locked == b->locked &&
	       a->user == b->user && a->pinned == b->pinned && a->fds == b->fds &&
	       a->devices == b->devices && a->objects == b->objects &&
	       a->process_fds == b->process_fds;
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
