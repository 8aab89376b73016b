/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The model against what the kernel was measured to do: who is charged when, on each way of filling
 * an address space; what each refuses, and with which errno. Where this fails, tests that rest on
 * the model say nothing.
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

static void a_map_is_charged_and_an_unmap_gives_it_back(void **state)
{
	struct way way;

	(void)state;
	for (enum path path = T; path < PATHS; path++) {
		begin_attached(&way, path);
		assert_int_equal(map(&way, MiB, 16), 0);
		assert_charged(path, 16);
		/* The same memory again is charged again. */
		assert_int_equal(map(&way, 2 * MiB, 8), 0);
		assert_charged(path, 24);
		assert_int_equal(unmap(&way, MiB, 16), 16 * PAGE);
		assert_charged(path, 8);
		end(&way);
		assert_charged(path, 0);
	}
}

static void closing_ends_charges_where_the_kernel_says(void **state)
{
	struct way way;

	(void)state;
	for (enum path path = T; path < PATHS; path++) {
		begin_attached(&way, path);
		assert_int_equal(map(&way, MiB, 16), 0);
		close(way.device);
		way.device = -1;
		assert_charged(path, path == T ? 16 : 0);
		assert_int_equal(model_maps(), 1);
		if (way.group >= 0)
			close(way.group);
		way.group = -1;
		assert_charged(path, 0);
		assert_int_equal(model_maps(), path == T ? 0 : 1);
		end(&way);
	}
}

static void the_limit_is_allowed_and_no_page_more(void **state)
{
	struct way way;

	(void)state;
	for (enum path path = T; path < PATHS; path++) {
		begin_attached(&way, path);
		model.limit = 16;
		assert_int_equal(map(&way, MiB, 17), -ENOMEM);
		assert_charged(path, 0);
		assert_int_equal(map(&way, MiB, 16), 0);
		assert_int_equal(map(&way, 2 * MiB, 1), -ENOMEM);
		assert_charged(path, 16);
		model.limit = 0;
		assert_int_equal(unmap(&way, MiB, 16), 16 * PAGE);
		assert_int_equal(map(&way, MiB, 1), -ENOMEM);
		model.limit = 64;
		end(&way);
	}
}

static void an_exempt_process_has_no_limit(void **state)
{
	struct way way;

	(void)state;
	for (enum path path = T; path < PATHS; path++) {
		model.limit = 4;
		model.cap_ipc_lock = true;
		begin_attached(&way, path);
		assert_int_equal(map(&way, MiB, 16), 0);
		assert_int_equal(model.locked, path == T ? 16 : 0);
		assert_int_equal(model.user, 0);
		assert_int_equal(model.pinned, path == T ? 0 : 16);
		model.cap_ipc_lock = false;
		/* What type1 has charged counts all the same. */
		assert_int_equal(map(&way, 2 * MiB, 1), path == T ? -ENOMEM : 0);
		end(&way);
		assert_charged(path, 0);
	}
}

static void pins_begin_with_the_first_device(void **state)
{
	struct way way;

	(void)state;
	for (enum path path = T; path < PATHS; path++) {
		model.limit = 8;
		begin(&way, path);
		assert_int_equal(map(&way, MiB, 8), 0);
		assert_charged(path, path == T ? 8 : 0);
		model.limit = 4;
		assert_int_equal(attach(&way), path == T ? 0 : -ENOMEM);
		if (path != T) {
			assert_charged(path, 0);
			model.limit = 8;
			assert_int_equal(attach(&way), 0);
		}
		assert_charged(path, 8);
		end(&way);
		model.limit = 64;
	}
}

static void a_process_that_is_gone_pays_as_measured(void **state)
{
	struct way way;

	(void)state;
	for (enum path path = T; path < PATHS; path++) {
		begin(&way, path);
		assert_int_equal(map(&way, MiB, 8), 0);
		model.mm++;
		model.locked = model.pinned = 0;
		/* Pins that another process queued cannot be made any more. */
		assert_int_equal(attach(&way), path == T ? 0 : -EFAULT);
		end(&way);
		assert_int_equal(model.locked + model.user + model.pinned, 0);

		begin_attached(&way, path);
		assert_int_equal(map(&way, MiB, 8), 0);
		model.mm++;
		model.locked = model.pinned = 0;
		assert_int_equal(model.user, path == CU || path == NU ? 8 : 0);
		assert_int_equal(map(&way, 2 * MiB, 1), 0);
		assert_int_equal(unmap(&way, MiB, 8), 8 * PAGE);
		assert_charged(path, 1);
		end(&way);
	}
}

static void bars_are_memory_for_type1_only(void **state)
{
	struct way way;

	(void)state;
	model_bar(memory, 4 * PAGE);
	model.limit = 0;
	for (enum path path = T; path < PATHS; path++) {
		begin_attached(&way, path);
		assert_int_equal(map(&way, MiB, 4), path == T ? 0 : -EFAULT);
		assert_charged(path, 0);
		end(&way);
	}
}

static void unmaps_that_cut_a_mapping(void **state)
{
	struct way way;

	(void)state;
	for (enum path path = T; path < PATHS; path++) {
		begin_attached(&way, path);
		assert_int_equal(map(&way, MiB, 4), 0);
		assert_int_equal(map(&way, 2 * MiB, 4), 0);
		assert_int_equal(unmap(&way, MiB + PAGE, 1), path == T ? -EINVAL : -ENOENT);
		assert_int_equal(unmap(&way, MiB + 16 * PAGE, 4),
			path == T || path == CU || path == CM ? 0 : -ENOENT);
		assert_charged(path, 8);
		/* iommufd has removed what came before the one that is cut. */
		assert_int_equal(unmap(&way, MiB, (MiB / PAGE) + 2), path == T ? -EINVAL : -ENOENT);
		assert_charged(path, path == T ? 8 : 4);
		assert_int_equal(unmap(&way, 0, 4 * MiB / PAGE), path == T ? 8 * PAGE : 4 * PAGE);
		end(&way);
	}
}

static void bad_maps_have_the_kernels_errnos(void **state)
{
	struct way way;
	int fd;

	(void)state;
	for (enum path path = T; path < PATHS; path++) {
		begin_attached(&way, path);
		assert_int_equal(map(&way, MiB, 2), 0);
		assert_int_equal(map(&way, MiB + PAGE, 2), -EEXIST);
		assert_int_equal(map(&way, 2 * MiB, 0), -EINVAL);
		assert_int_equal(map(&way, 2 * MiB + 512, 1), -EINVAL);
		assert_int_equal(map(&way, 0xfee00000, 1), -EINVAL);
		assert_int_equal(
			map(&way, UINT64_MAX - PAGE + 1, 2), path == T ? -EINVAL : -EOVERFLOW);
		assert_int_equal(
			map_at(&way, 2 * MiB, (void *)16, 1), path == T ? -EINVAL : -EFAULT);
		assert_int_equal(map_at(&way, 2 * MiB, (void *)PAGE, 1), -EFAULT);
		assert_charged(path, 2);
		end(&way);
	}
	model.entries = 1;
	for (enum path path = T; path < PATHS; path++) {
		begin_attached(&way, path);
		assert_int_equal(map(&way, MiB, 1), 0);
		assert_int_equal(map(&way, 2 * MiB, 1), path == T ? -ENOSPC : 0);
		end(&way);
	}
	fd = open_node("/dev/vfio/6");
	assert_int_equal(request(fd, VFIO_GROUP_SET_CONTAINER, &fd), -EBADFD);
	close(fd);
}

static void extensions_before_and_after_an_attach(void **state)
{
	static const struct {
		unsigned long extension;
		int type1[2], compat[2];
	} rows[] = {
		{VFIO_TYPE1_IOMMU, {1, 1}, {1, 1}},
		{VFIO_TYPE1v2_IOMMU, {1, 1}, {1, 1}},
		{VFIO_DMA_CC_IOMMU, {0, 0}, {-ENODEV, 0}},
		{VFIO_NOIOMMU_IOMMU, {0, 0}, {1, 1}},
		{VFIO_UNMAP_ALL, {1, 1}, {1, 1}},
		{VFIO_UPDATE_VADDR, {0, 1}, {0, 0}},
	};
	struct way way;
	int fd;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (int type1 = 0; type1 < 2; type1++) {
			const int *want = type1 ? rows[i].type1 : rows[i].compat;

			fd = open_node(type1 ? "/dev/vfio/vfio" : "/dev/iommu");
			assert_int_equal(
				request(fd, VFIO_CHECK_EXTENSION, (void *)rows[i].extension),
				want[0]);
			close(fd);
			begin_attached(&way, type1 ? T : CU);
			assert_int_equal(
				request(way.fd, VFIO_CHECK_EXTENSION, (void *)rows[i].extension),
				want[1]);
			end(&way);
		}
}

static void the_rlimit_mode_is_guarded(void **state)
{
	struct k_option option = {.size = sizeof(option), .op = K_OPTION_GET, .value = 7};
	struct k_ioas_alloc alloc = {.size = sizeof(alloc)};
	int fd = open_node("/dev/iommu");

	(void)state;
	assert_int_equal(request(fd, K_OPTION, &option), 0);
	assert_int_equal(option.value, 0);
	assert_int_equal(set_mode(fd, 1), -EPERM);
	model.cap_sys_resource = true;
	assert_int_equal(set_mode(fd, 2), -EINVAL);
	assert_int_equal(set_mode(fd, 1), 0);
	assert_int_equal(request(fd, K_OPTION, &option), 0);
	assert_int_equal(option.value, 1);
	assert_int_equal(request(fd, K_IOAS_ALLOC, &alloc), 0);
	assert_int_equal(set_mode(fd, 0), -EBUSY);
	close(fd);
	/* iommufd as /dev/vfio/vfio begins by process; VFIO's own does not know the request. */
	model.iommufd_vfio = true;
	fd = open_node("/dev/vfio/vfio");
	assert_int_equal(request(fd, K_OPTION, &option), 0);
	assert_int_equal(option.value, 1);
	close(fd);
	model.iommufd_vfio = false;
	fd = open_node("/dev/vfio/vfio");
	assert_int_equal(request(fd, K_OPTION, &option), -EINVAL);
	close(fd);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, way_setup, way_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_map_is_charged_and_an_unmap_gives_it_back),
		TEST(closing_ends_charges_where_the_kernel_says),
		TEST(the_limit_is_allowed_and_no_page_more),
		TEST(an_exempt_process_has_no_limit),
		TEST(pins_begin_with_the_first_device),
		TEST(a_process_that_is_gone_pays_as_measured),
		TEST(bars_are_memory_for_type1_only),
		TEST(unmaps_that_cut_a_mapping),
		TEST(bad_maps_have_the_kernels_errnos),
		TEST(extensions_before_and_after_an_attach),
		TEST(the_rlimit_mode_is_guarded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
