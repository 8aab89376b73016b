/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the model's machine shows of itself in files: nodes in /dev/vfio/devices, their numbers in
 * sysfs and in fstat(), the physical memory in /proc/self/pagemap.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "vfio_model_priv.h"

#define RUNS 16

/* Numbers of nodes: a misc device's major number and minor ones, and one for devices. */
#define MISC        10u
#define MISC_IOMMU  127u
#define MISC_VFIO   196u
#define VFIO_DEVICE 511u
#define VFIO_GROUP  510u

static struct {
	uint64_t vaddr, len, pfn;
} frames[RUNS];
static unsigned int frame_count;

/* A directory that is being read: names from here on. */
static struct listing {
	bool open;
	struct dirent entries[DEVICES];
	size_t count, at;
} listings[4];

DIR *__real_opendir(const char *path);
struct dirent *__real_readdir(DIR *dir);
int __real_closedir(DIR *dir);
int __real_faccessat(int at, const char *path, int mode, int flags);
int __real_fstat(int fd, struct stat *stat);
DIR *__wrap_opendir(const char *path);
struct dirent *__wrap_readdir(DIR *dir);
int __wrap_closedir(DIR *dir);
int __wrap_faccessat(int at, const char *path, int mode, int flags);
int __wrap_fstat(int fd, struct stat *stat);

void model_files_forget(void)
{
	memset(listings, 0, sizeof(listings));
	frame_count = 0;
}

/* Directories. */

static void add_name(struct listing *listing, int cdev)
{
	struct dirent *entry = &listing->entries[listing->count++];

	memset(entry, 0, sizeof(*entry));
	snprintf(entry->d_name, sizeof(entry->d_name), "vfio%d", cdev);
}

/* The devices whose nodes a directory shows; false if it is none of the model's. */
static bool list_devices(struct listing *listing, const char *path)
{
	bool all = !strcmp(path, "/dev/vfio/devices"), mine = all;
	char folder[80];

	for (size_t i = 0; i < model_device_count; i++) {
		snprintf(folder, sizeof(folder), "/sys/bus/pci/devices/%.15s/vfio-dev",
			model_devices[i].address);
		if (!all && strcmp(path, folder))
			continue;
		mine = true;
		if (model_devices[i].cdev >= 0)
			add_name(listing, model_devices[i].cdev);
	}
	return mine;
}

DIR *__wrap_opendir(const char *path)
{
	struct listing *listing = listings;

	while (listing->open)
		if (++listing == listings + sizeof(listings) / sizeof(listings[0]))
			abort();
	listing->count = listing->at = 0;
	if (!list_devices(listing, path))
		return __real_opendir(path);
	if (!listing->count) {
		errno = ENOENT;
		return NULL;
	}
	listing->open = true;
	return (DIR *)listing;
}

static struct listing *listing_of(DIR *dir)
{
	struct listing *listing = (struct listing *)dir;

	return listing >= listings && listing < listings + sizeof(listings) / sizeof(listings[0])
		       ? listing
		       : NULL;
}

struct dirent *__wrap_readdir(DIR *dir)
{
	struct listing *listing = listing_of(dir);

	if (!listing)
		return __real_readdir(dir);
	return listing->at < listing->count ? &listing->entries[listing->at++] : NULL;
}

/* Their names where off_t and ino_t have 64 bits by a macro. */
struct dirent *__wrap_readdir64(DIR *dir) __attribute__((alias("__wrap_readdir")));

int __wrap_closedir(DIR *dir)
{
	struct listing *listing = listing_of(dir);

	if (!listing)
		return __real_closedir(dir);
	listing->open = false;
	return 0;
}

static struct device *device_of(const char *path)
{
	char node[40];

	for (size_t i = 0; i < model_device_count; i++) {
		snprintf(node, sizeof(node), "/dev/vfio/devices/vfio%d", model_devices[i].cdev);
		if (!strcmp(path, node))
			return &model_devices[i];
	}
	return NULL;
}

int __wrap_faccessat(int at, const char *path, int mode, int flags)
{
	const struct device *device;

	if (strncmp(path, "/dev/vfio/devices/", 18) != 0)
		return __real_faccessat(at, path, mode, flags);
	device = device_of(path);
	errno = device ? device->open_err : ENOENT;
	return errno ? -1 : 0;
}

/* Numbers. */

static dev_t number_of(const struct file *file)
{
	switch (file->kind) {
	case KIND_IOMMUFD:
		return makedev(MISC, file->iommufd->vfio_node ? MISC_VFIO : MISC_IOMMU);
	case KIND_CONTAINER:
		return makedev(MISC, MISC_VFIO);
	case KIND_GROUP:
		return makedev(VFIO_GROUP, (unsigned int)file->group->id);
	case KIND_CDEV:
		return makedev(VFIO_DEVICE, (unsigned int)file->device->cdev);
	default:
		return 0;
	}
}

int model_real_fstat(int fd, struct stat *stat)
{
	return __real_fstat(fd, stat);
}

int __wrap_fstat(int fd, struct stat *stat)
{
	const struct file *file;
	int ret = __real_fstat(fd, stat);

	model_lock();
	file = model_file(fd);
	if (file)
		stat->st_rdev = number_of(file);
	model_unlock();
	return ret;
}

int __wrap_fstat64(int fd, struct stat *stat) __attribute__((alias("__wrap_fstat")));

/* Small files. */

static int file_with(const char *text)
{
	int fd = (int)syscall(SYS_memfd_create, "model", 1u);
	size_t size = strlen(text);

	if (fd < 0 || pwrite(fd, text, size, 0) != (ssize_t)size)
		abort();
	return fd;
}

void model_frames(const void *vaddr, uint64_t len, uint64_t pfn)
{
	if (frame_count == RUNS)
		abort();
	frames[frame_count].vaddr = (uint64_t)(uintptr_t)vaddr;
	frames[frame_count].len = len;
	frames[frame_count++].pfn = pfn;
}

/* A sparse file with entries for the runs that the test told of. */
static int open_pagemap(void)
{
	int fd = file_with("");
	uint64_t entry, page;

	for (size_t i = 0; i < frame_count; i++)
		for (page = 0; page < frames[i].len / 4096; page++) {
			entry = UINT64_C(1) << 63 | (frames[i].pfn + page);
			if (pwrite(fd, &entry, sizeof(entry),
				    (off_t)((frames[i].vaddr / 4096 + page) * sizeof(entry))) !=
				sizeof(entry))
				abort();
		}
	return fd;
}

static int open_number(unsigned int major_number, unsigned int minor_number)
{
	char text[32];

	snprintf(text, sizeof(text), "%u:%u\n", major_number, minor_number);
	return file_with(text);
}

static bool is_noiommu(int id)
{
	for (size_t i = 0; i < model_group_count; i++)
		if (model_groups[i].id == id)
			return model_groups[i].noiommu;
	return false;
}

int model_open_small(const char *path)
{
	char address[16];
	int number;

	if (frame_count && !strcmp(path, "/proc/self/pagemap"))
		return open_pagemap();
	if (!strcmp(path, "/sys/class/misc/iommu/dev"))
		return model.iommufd ? open_number(MISC, MISC_IOMMU) : -ENOENT;
	if (!strcmp(path, "/sys/class/misc/vfio/dev"))
		return open_number(MISC, MISC_VFIO);
	if (sscanf(path, "/sys/bus/pci/devices/%12s/vfio-dev/vfio%d/dev", address, &number) == 2)
		return open_number(VFIO_DEVICE, (unsigned int)number);
	if (sscanf(path, "/sys/class/vfio/%d/dev", &number) == 1 ||
		sscanf(path, "/sys/class/vfio/noiommu-%d/dev", &number) == 1)
		return open_number(VFIO_GROUP, (unsigned int)number);
	if (sscanf(path, "/sys/kernel/iommu_groups/%d/name", &number) == 1)
		return is_noiommu(number) ? file_with("vfio-noiommu\n") : -ENOENT;
	return -ENXIO;
}
