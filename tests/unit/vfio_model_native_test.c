/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The model against the kernel, in what one kind of address space alone can do: copies, files,
 * ranges, devices by their own nodes, dirty tracking, new virtual addresses, no IOMMU; and files
 * that several fds stand for.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "vfio_model_way.h"

static int copy(int fd, uint32_t from, uint32_t to, uint64_t from_iova, uint64_t iova,
	uint64_t pages, uint32_t flags)
{
	struct k_ioas_copy args = {
		sizeof(args), K_MAP_FIXED | flags, to, from, pages * PAGE, iova, from_iova};

	return request(fd, K_IOAS_COPY, &args);
}

static void copies_share_their_charge(void **state)
{
	struct way way;

	(void)state;
	begin_attached(&way, NU);
	assert_int_equal(map(&way, MiB, 8), 0);
	assert_int_equal(copy(way.fd, way.ioas, way.ioas, MiB, 2 * MiB, 8, 6), 0);
	assert_charged(NU, 8);
	assert_int_equal(copy(way.fd, way.ioas, way.ioas, MiB + 2 * PAGE, 3 * MiB, 2, 6), 0);
	assert_int_equal(unmap(&way, MiB, 8), 8 * PAGE);
	assert_charged(NU, 8);
	assert_int_equal(unmap(&way, 2 * MiB, 8), 8 * PAGE);
	assert_charged(NU, 2);
	assert_int_equal(copy(way.fd, way.ioas, way.ioas, MiB, 2 * MiB, 8, 6), -ENOENT);
	assert_int_equal(copy(way.fd, way.ioas, 77, 3 * MiB, 2 * MiB, 2, 6), -ENOENT);
	assert_int_equal(copy(way.fd, way.ioas, way.ioas, 3 * MiB, 3 * MiB, 2, 6), -EEXIST);
	assert_int_equal(copy(way.fd, way.ioas, way.ioas, 3 * MiB, 4 * MiB, 2, 0), -EINVAL);
	assert_int_equal(unmap(&way, 3 * MiB, 2), 2 * PAGE);
	assert_charged(NU, 0);
	end(&way);
}

static int file_of(uint64_t pages, unsigned char **vaddr)
{
	int fd = memfd_create("model", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, (off_t)(pages * PAGE)), 0);
	*vaddr = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(*vaddr != MAP_FAILED);
	return fd;
}

static int map_file(struct way *way, int fd, uint64_t start, uint64_t iova, uint64_t pages)
{
	struct k_ioas_map_file args = {.size = sizeof(args),
		.flags = 7,
		.id = way->ioas,
		.fd = fd,
		.start = start,
		.length = pages * PAGE,
		.iova = iova};

	return request(way->fd, K_IOAS_MAP_FILE, &args);
}

static void files_are_mapped_and_charged_each_time(void **state)
{
	unsigned char *vaddr;
	struct way way;
	int fd = file_of(16, &vaddr);

	(void)state;
	begin_attached(&way, NU);
	assert_int_equal(map_file(&way, fd, PAGE, MiB, 8), 0);
	assert_true(model_has(MiB, vaddr + PAGE, 8 * PAGE, 3));
	assert_int_equal(map_file(&way, fd, 0, 2 * MiB, 8), 0);
	assert_charged(NU, 16);
	assert_int_equal(map_at(&way, 3 * MiB, vaddr, 8), 0);
	assert_charged(NU, 24);
	/* Beyond its end. */
	assert_int_equal(map_file(&way, fd, 9 * PAGE, 4 * MiB, 8), -EINVAL);
	munmap(vaddr, 16 * PAGE);
	close(fd);
	assert_charged(NU, 24);
	end(&way);
}

static void a_new_process_can_pay(void **state)
{
	struct k_change_process change = {.size = sizeof(change)};
	static const enum path native[] = {NU, NM};
	unsigned char *vaddr;
	struct way way;
	int fd = file_of(16, &vaddr);

	(void)state;
	for (int i = 0; i < 2; i++) {
		begin_attached(&way, native[i]);
		assert_int_equal(map_file(&way, fd, 0, MiB, 16), 0);
		model.mm++;
		model.locked = model.pinned = 0;
		model.limit = 20;
		assert_int_equal(request(way.fd, K_IOAS_CHANGE_PROCESS, &change),
			native[i] == NU ? -ENOMEM : 0);
		model.limit = 32;
		assert_int_equal(request(way.fd, K_IOAS_CHANGE_PROCESS, &change), 0);
		assert_charged(native[i], 16);
		assert_int_equal(map(&way, 2 * MiB, 1), 0);
		assert_int_equal(request(way.fd, K_IOAS_CHANGE_PROCESS, &change), -EINVAL);
		end(&way);
		assert_charged(native[i], 0);
	}
	begin(&way, NU);
	model.map_file = model.change_process = false;
	assert_int_equal(map_file(&way, fd, 0, MiB, 1), -ENOTTY);
	assert_int_equal(request(way.fd, K_IOAS_CHANGE_PROCESS, &change), -ENOTTY);
	end(&way);
	munmap(vaddr, 16 * PAGE);
	close(fd);
}

static void the_dma_of_bars_goes_by_dmabuf(void **state)
{
	struct way way;
	int fd = model_dmabuf();

	(void)state;
	begin_attached(&way, NU);
	model.limit = 0;
	assert_int_equal(map_file(&way, fd, 0, MiB, 4), 0);
	assert_charged(NU, 0);
	model.map_dmabuf = false;
	assert_int_equal(map_file(&way, fd, 0, 2 * MiB, 4), -EINVAL);
	end(&way);
	close(fd);
}

static void ranges_are_told_with_their_number(void **state)
{
	static const struct vfio_iova_range other[] = {
		{0x10000, 0xff000fff}, {1ull << 32, (1ull << 33) - 1}};
	struct k_range list[4];
	struct k_ioas_ranges args = {.size = sizeof(args), .count = 4, .ranges = (uintptr_t)list};
	struct k_device_bind bind = {.argsz = sizeof(bind)};
	struct k_device_attach at = {.argsz = sizeof(at)};
	struct way way;
	int second;

	(void)state;
	begin(&way, NU);
	args.id = way.ioas;
	assert_int_equal(request(way.fd, K_IOAS_RANGES, &args), 0);
	assert_int_equal(args.count, 1);
	assert_true(!list[0].first && list[0].last == UINT64_MAX);
	assert_int_equal(attach(&way), 0);
	args.count = 1;
	assert_int_equal(request(way.fd, K_IOAS_RANGES, &args), -EMSGSIZE);
	assert_int_equal(args.count, 2);
	assert_true(list[0].last == 0xfedfffff);
	/* A second device narrows them. */
	model_device_ranges("0000:00:03.0", other, 2);
	second = open_node("/dev/vfio/devices/vfio1");
	bind.iommufd = way.fd;
	at.pt = way.ioas;
	assert_int_equal(map(&way, PAGE, 1), 0);
	assert_int_equal(request(second, K_DEVICE_BIND, &bind), 0);
	assert_int_equal(request(second, K_DEVICE_ATTACH, &at), -EADDRINUSE);
	assert_int_equal(unmap(&way, PAGE, 1), PAGE);
	assert_int_equal(request(second, K_DEVICE_ATTACH, &at), 0);
	args.count = 4;
	assert_int_equal(request(way.fd, K_IOAS_RANGES, &args), 0);
	assert_int_equal(args.count, 3);
	assert_true(list[0].first == 0x10000 && list[0].last == 0xfedfffff);
	assert_true(list[1].first == 0xfef00000 && list[1].last == 0xff000fff);
	assert_true(list[2].first == 1ull << 32 && list[2].last == (1ull << 33) - 1);
	close(second);
	end(&way);
}

static void devices_are_bound_once_and_groups_are_whole(void **state)
{
	struct k_device_bind bind = {.argsz = sizeof(bind)};
	struct k_device_attach at = {.argsz = sizeof(at)};
	struct k_destroy destroy = {.size = sizeof(destroy)};
	struct way way;
	int fd, other;

	(void)state;
	begin_attached(&way, NU);
	bind.iommufd = way.fd;
	at.pt = way.ioas;
	destroy.id = way.ioas;
	assert_int_equal(request(way.fd, K_DESTROY, &destroy), -EBUSY);
	assert_int_equal(request(way.device, K_DEVICE_BIND, &bind), -EINVAL);
	fd = open_node("/dev/vfio/devices/vfio0");
	assert_int_equal(request(fd, K_DEVICE_ATTACH, &at), -EINVAL);
	assert_int_equal(request(fd, K_DEVICE_BIND, &bind), -EINVAL);
	close(fd);
	assert_true(open_node("/dev/vfio/5") < 0 && errno == EBUSY);
	other = open_node("/dev/vfio/6");
	fd = open_node("/dev/vfio/devices/vfio1");
	assert_int_equal(request(fd, K_DEVICE_BIND, &bind), -EBUSY);
	close(other);
	model_group_viable(6, false);
	assert_int_equal(request(fd, K_DEVICE_BIND, &bind), -EBUSY);
	model_group_viable(6, true);
	bind.iommufd = fd;
	assert_int_equal(request(fd, K_DEVICE_BIND, &bind), -EBADFD);
	close(fd);
	/* Its file is held by the device: the objects live on. */
	close(way.fd);
	assert_int_equal(model_state().objects, 3);
	close(way.device);
	assert_int_equal(model_state().objects, 0);
}

static void writes_are_seen_by_those_who_look(void **state)
{
	uint64_t bits[2] = {0};
	struct k_hwpt_alloc alloc = {.size = sizeof(alloc), .flags = K_HWPT_DIRTY_TRACKING};
	struct k_device_bind bind = {.argsz = sizeof(bind)};
	struct k_device_attach at = {.argsz = sizeof(at)};
	struct k_hwpt_set_dirty set = {.size = sizeof(set), .flags = K_DIRTY_ENABLE};
	struct k_hwpt_get_dirty get = {.size = sizeof(get),
		.iova = MiB,
		.length = 8 * PAGE,
		.page_size = PAGE,
		.data = (uintptr_t)bits};
	struct way way;

	(void)state;
	begin(&way, NU);
	assert_int_equal(map(&way, MiB, 8), 0);
	way.device = open_node("/dev/vfio/devices/vfio0");
	bind.iommufd = way.fd;
	assert_int_equal(request(way.device, K_DEVICE_BIND, &bind), 0);
	alloc.device = bind.out_id;
	alloc.pt = way.ioas;
	model.dirty = false;
	assert_int_equal(request(way.fd, K_HWPT_ALLOC, &alloc), -EOPNOTSUPP);
	model.dirty = true;
	assert_int_equal(request(way.fd, K_HWPT_ALLOC, &alloc), 0);
	assert_charged(NU, 8);
	at.pt = alloc.out_id;
	assert_int_equal(request(way.device, K_DEVICE_ATTACH, &at), 0);
	set.id = get.id = alloc.out_id;
	model_write(MiB, 1);
	assert_int_equal(request(way.fd, K_HWPT_SET_DIRTY, &set), 0);
	model_write(MiB + 2 * PAGE, PAGE + 1);
	assert_int_equal(request(way.fd, K_HWPT_GET_DIRTY, &get), 0);
	assert_int_equal(bits[0], 0xc);
	bits[0] = 0;
	assert_int_equal(request(way.fd, K_HWPT_GET_DIRTY, &get), 0);
	assert_int_equal(bits[0], 0);
	get.page_size = 16 * PAGE;
	assert_int_equal(request(way.fd, K_HWPT_GET_DIRTY, &get), -EINVAL);
	close(way.device);
	way.device = -1;
	/* A page table that was asked for by name stays until it is destroyed. */
	assert_charged(NU, 8);
	end(&way);
}

static int dirty_type1(int fd, uint32_t flags)
{
	struct vfio_iommu_type1_dirty_bitmap args = {sizeof(args), flags};

	return request(fd, VFIO_IOMMU_DIRTY_PAGES, &args);
}

static int dirty_bitmap(int fd, uint64_t iova, uint64_t pages, uint64_t *bits)
{
	struct vfio_iommu_type1_dirty_bitmap_get get = {.iova = iova, .size = pages * PAGE};
	unsigned char bytes[sizeof(struct vfio_iommu_type1_dirty_bitmap) + sizeof(get)];
	struct vfio_iommu_type1_dirty_bitmap head = {
		sizeof(bytes), VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP};

	get.bitmap.pgsize = PAGE;
	get.bitmap.size = sizeof(*bits);
	get.bitmap.data = (__u64 *)bits;
	memcpy(bytes, &head, sizeof(head));
	memcpy(bytes + sizeof(head), &get, sizeof(get));
	return request(fd, VFIO_IOMMU_DIRTY_PAGES, bytes);
}

static void type1_counts_all_that_is_pinned_as_written(void **state)
{
	uint64_t bits = 0;
	struct way way;

	(void)state;
	begin_attached(&way, T);
	assert_int_equal(map(&way, MiB, 4), 0);
	assert_int_equal(dirty_bitmap(way.fd, MiB, 8, &bits), -EINVAL);
	assert_int_equal(dirty_type1(way.fd, VFIO_IOMMU_DIRTY_PAGES_FLAG_START), 0);
	assert_int_equal(dirty_bitmap(way.fd, MiB, 8, &bits), 0);
	assert_int_equal(bits, 0xf);
	assert_int_equal(dirty_bitmap(way.fd, MiB, 2, &bits), -EINVAL);
	assert_int_equal(dirty_type1(way.fd, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP), 0);
	end(&way);
	begin_attached(&way, CU);
	assert_int_equal(dirty_type1(way.fd, VFIO_IOMMU_DIRTY_PAGES_FLAG_START), -ENOTTY);
	end(&way);
}

static void virtual_addresses_can_be_changed_on_type1(void **state)
{
	struct vfio_iommu_type1_dma_unmap drop = {.argsz = sizeof(drop),
		.flags = VFIO_DMA_UNMAP_FLAG_VADDR | VFIO_DMA_UNMAP_FLAG_ALL};
	struct vfio_iommu_type1_dma_map set = {.argsz = sizeof(set),
		.flags = VFIO_DMA_MAP_FLAG_VADDR,
		.vaddr = (uintptr_t)memory + 8 * PAGE,
		.iova = MiB,
		.size = 4 * PAGE};
	struct way way;
	int other;

	(void)state;
	begin_attached(&way, T);
	assert_int_equal(map(&way, MiB, 4), 0);
	assert_int_equal(request(way.fd, VFIO_IOMMU_MAP_DMA, &set), -EINVAL);
	assert_int_equal(request(way.fd, VFIO_IOMMU_UNMAP_DMA, &drop), 0);
	assert_int_equal(drop.size, 4 * PAGE);
	drop.size = 0;
	assert_int_equal(request(way.fd, VFIO_IOMMU_UNMAP_DMA, &drop), -EINVAL);
	assert_charged(T, 4);
	/* No group joins meanwhile. */
	other = open_node("/dev/vfio/6");
	assert_int_equal(request(other, VFIO_GROUP_SET_CONTAINER, &way.fd), -EBUSY);
	close(other);
	model.mm++;
	model.locked = 0;
	model.limit = 3;
	assert_int_equal(request(way.fd, VFIO_IOMMU_MAP_DMA, &set), -ENOMEM);
	model.limit = 4;
	set.size = 2 * PAGE;
	assert_int_equal(request(way.fd, VFIO_IOMMU_MAP_DMA, &set), -EINVAL);
	set.size = 4 * PAGE;
	assert_int_equal(request(way.fd, VFIO_IOMMU_MAP_DMA, &set), 0);
	assert_charged(T, 4);
	assert_true(model_has(MiB, memory + 8 * PAGE, 4 * PAGE, 3));
	end(&way);
	assert_charged(T, 0);
}

static void noiommu_needs_rights_and_maps_nothing(void **state)
{
	char name[] = "0000:00:09.0";
	int fd, group, device;

	(void)state;
	model_noiommu_device(name, 0);
	model.noiommu = true;
	assert_true(open_node("/dev/vfio/noiommu-0") < 0 && errno == EPERM);
	assert_true(open_node("/dev/vfio/0") < 0 && errno == ENOENT);
	model.cap_sys_rawio = true;
	group = open_node("/dev/vfio/noiommu-0");
	fd = open_node("/dev/vfio/vfio");
	assert_int_equal(
		request(fd, VFIO_CHECK_EXTENSION, (void *)(uintptr_t)VFIO_NOIOMMU_IOMMU), 1);
	assert_int_equal(request(group, VFIO_GROUP_SET_CONTAINER, &fd), 0);
	assert_int_equal(
		request(fd, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU), -ENODEV);
	assert_int_equal(request(fd, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_NOIOMMU_IOMMU), 0);
	device = request(group, VFIO_GROUP_GET_DEVICE_FD, name);
	assert_true(device >= 0);
	assert_int_equal(request(fd, VFIO_IOMMU_MAP_DMA, NULL), -ENOTTY);
	close(device);
	close(group);
	close(fd);
}

static void copies_of_fds_keep_a_file_open(void **state)
{
	struct way way;
	int fd;

	(void)state;
	begin_attached(&way, NU);
	assert_int_equal(map(&way, MiB, 1), 0);
	fd = fcntl(way.fd, F_DUPFD_CLOEXEC, 0);
	assert_true(model_is_mine(fd));
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(way.fd);
	close(way.device);
	assert_int_equal(model_maps(), 1);
	way.fd = dup(fd);
	assert_int_equal(fcntl(way.fd, F_GETFD), 0);
	close(fd);
	assert_int_equal(unmap(&way, MiB, 1), PAGE);
	close(way.fd);
	assert_int_equal(model_state().objects, 0);
}

static void an_executed_program_has_what_was_left_open(void **state)
{
	struct way way;
	int status;
	pid_t child;

	(void)state;
	begin_attached(&way, NU);
	assert_int_equal(map(&way, MiB, 1), 0);
	fcntl(way.fd, F_SETFD, 0);
	child = fork();
	if (!child) {
		model_exec();
		_exit(model_open_fds() == 1 && model_is_mine(way.fd) && model_maps() == 1 &&
					model.user == 0 && fcntl(way.device, F_GETFD) < 0
				? 0
				: 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_charged(NU, 1);
	end(&way);
}

static void sizes_of_requests_are_checked(void **state)
{
	struct {
		struct k_ioas_alloc alloc;
		uint32_t more;
	} args = {{.size = sizeof(args)}, 1};
	int fd = open_node("/dev/iommu");

	(void)state;
	assert_int_equal(request(fd, K_IOAS_ALLOC, &args), -E2BIG);
	args.more = 0;
	assert_int_equal(request(fd, K_IOAS_ALLOC, &args), 0);
	args.alloc.size = 8;
	assert_int_equal(request(fd, K_IOAS_ALLOC, &args), -EINVAL);
	args.alloc.size = 12;
	args.alloc.flags = 1;
	assert_int_equal(request(fd, K_IOAS_ALLOC, &args), -EOPNOTSUPP);
	assert_int_equal(model.unknown, 0);
	assert_int_equal(request(fd, _IO(';', 0xff), &args), -ENOTTY);
	assert_int_equal(model.unknown, 1);
	close(fd);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, way_setup, way_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(copies_share_their_charge),
		TEST(files_are_mapped_and_charged_each_time),
		TEST(a_new_process_can_pay),
		TEST(the_dma_of_bars_goes_by_dmabuf),
		TEST(ranges_are_told_with_their_number),
		TEST(devices_are_bound_once_and_groups_are_whole),
		TEST(writes_are_seen_by_those_who_look),
		TEST(type1_counts_all_that_is_pinned_as_written),
		TEST(virtual_addresses_can_be_changed_on_type1),
		TEST(noiommu_needs_rights_and_maps_nothing),
		TEST(copies_of_fds_keep_a_file_open),
		TEST(an_executed_program_has_what_was_left_open),
		TEST(sizes_of_requests_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
