/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Address spaces of the model, by plain ioctls.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "vfio_model_way.h"

unsigned char *memory;

int request(int fd, unsigned long number, void *arg)
{
	int ret = ioctl(fd, number, arg);

	return ret < 0 ? -errno : ret;
}

static bool is_native(const struct way *way)
{
	return way->path == NU || way->path == NM;
}

int open_node(const char *node)
{
	return open(node, O_RDWR | O_CLOEXEC);
}

int set_mode(int fd, uint64_t mode)
{
	struct k_option option = {.size = sizeof(option), .op = K_OPTION_SET, .value = mode};

	return request(fd, K_OPTION, &option);
}

void begin(struct way *way, enum path path)
{
	struct k_ioas_alloc alloc = {.size = sizeof(alloc)};

	memset(way, 0xff, sizeof(*way));
	way->path = path;
	way->fd = open_node(path == T ? "/dev/vfio/vfio" : "/dev/iommu");
	assert_true(way->fd >= 0);
	if (path == CM || path == NM) {
		model.cap_sys_resource = true;
		assert_int_equal(set_mode(way->fd, 1), 0);
		model.cap_sys_resource = false;
	}
	if (is_native(way)) {
		assert_int_equal(request(way->fd, K_IOAS_ALLOC, &alloc), 0);
		way->ioas = alloc.out_id;
		return;
	}
	way->group = open_node("/dev/vfio/5");
	assert_true(way->group >= 0);
	assert_int_equal(request(way->group, VFIO_GROUP_SET_CONTAINER, &way->fd), 0);
	assert_int_equal(ioctl(way->fd, VFIO_SET_IOMMU, (unsigned long)VFIO_TYPE1v2_IOMMU), 0);
}

int attach(struct way *way)
{
	struct k_device_bind bind = {.argsz = sizeof(bind), .iommufd = way->fd};
	struct k_device_attach at = {.argsz = sizeof(at), .pt = way->ioas};
	int ret;

	if (!is_native(way)) {
		char name[] = "0000:00:02.0";

		way->device = request(way->group, VFIO_GROUP_GET_DEVICE_FD, name);
		return way->device < 0 ? way->device : 0;
	}
	way->device = open_node("/dev/vfio/devices/vfio0");
	assert_int_equal(request(way->device, K_DEVICE_BIND, &bind), 0);
	ret = request(way->device, K_DEVICE_ATTACH, &at);
	if (ret)
		close(way->device);
	return ret;
}

void begin_attached(struct way *way, enum path path)
{
	begin(way, path);
	assert_int_equal(attach(way), 0);
}

void end(struct way *way)
{
	if (way->device >= 0)
		close(way->device);
	if (way->group >= 0)
		close(way->group);
	close(way->fd);
	assert_int_equal(model_maps(), 0);
}

int map_at(struct way *way, uint64_t iova, const void *vaddr, uint64_t pages)
{
	struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map),
		.flags = 3,
		.vaddr = (uintptr_t)vaddr,
		.iova = iova,
		.size = pages * PAGE};
	struct k_ioas_map native = {.size = sizeof(native),
		.flags = K_MAP_FIXED | K_MAP_READ | K_MAP_WRITE,
		.id = way->ioas,
		.vaddr = (uintptr_t)vaddr,
		.length = pages * PAGE,
		.iova = iova};

	return is_native(way) ? request(way->fd, K_IOAS_MAP, &native)
			      : request(way->fd, VFIO_IOMMU_MAP_DMA, &map);
}

int map(struct way *way, uint64_t iova, uint64_t pages)
{
	return map_at(way, iova, memory, pages);
}

int64_t unmap(struct way *way, uint64_t iova, uint64_t pages)
{
	struct vfio_iommu_type1_dma_unmap args = {
		.argsz = sizeof(args), .iova = iova, .size = pages * PAGE};
	struct k_ioas_unmap native = {
		.size = sizeof(native), .id = way->ioas, .iova = iova, .length = pages * PAGE};
	int ret = is_native(way) ? request(way->fd, K_IOAS_UNMAP, &native)
				 : request(way->fd, VFIO_IOMMU_UNMAP_DMA, &args);

	return ret ? ret : (int64_t)(is_native(way) ? native.length : args.size);
}

void assert_charged(enum path path, uint64_t pages)
{
	bool locked = path == T || path == CM || path == NM;

	assert_int_equal(model.locked, locked ? pages : 0);
	assert_int_equal(model.user, locked ? 0 : pages);
	assert_int_equal(model.pinned, path == T ? 0 : pages);
}

int way_setup(void **state)
{
	int ret = model_setup(state);

	model_device("0000:00:02.0", 5);
	model_device("0000:00:03.0", 6);
	memory = mmap(NULL, MiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return ret || memory == MAP_FAILED ? -1 : 0;
}

int way_teardown(void **state)
{
	munmap(memory, MiB);
	return model_teardown(state);
}
