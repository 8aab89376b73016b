/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which backend a domain gets, and why not another; files that are handed in instead of opened;
 * which counter is charged.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_fixture.h"
#include "vfio_model_abi.h"

static struct pn_domain *domain;

static int create(const char *backend)
{
	return new_domain(&domain, backend, NULL);
}

static void destroy(void)
{
	assert_int_equal(pn_domain_destroy(domain), 0);
	assert_int_equal(model_open_fds(), 0);
}

static void assert_created(const char *asked, const char *backend, const char *node)
{
	struct pn_domain_info info;

	assert_int_equal(create(asked), 0);
	info = info_of(domain);
	assert_string_equal(info.backend, backend);
	assert_string_equal(info.node, node);
	assert_int_equal(!info.chosen[0], asked && strcmp(asked, "auto"));
	destroy();
}

static void backends_in_their_order(void **state)
{
	static const struct {
		const char *name;
		bool automatic, available;
	} want[] = {{"iommufd", true, true}, {"iommufd-compat", true, true}, {"type1", true, true},
		{"noiommu", false, false}, {"none", false, true}};
	struct pn_backend_info info;
	unsigned int i;

	(void)state;
	for (i = 0; i < PN_ARRAY_SIZE(want); i++) {
		memset(&info, 0xff, sizeof(info));
		assert_int_equal(pn_backend_get(i, &info), 0);
		assert_string_equal(info.name, want[i].name);
		assert_int_equal(info.automatic, want[i].automatic);
		assert_int_equal(info.available, want[i].available);
		assert_int_equal(!info.reason[0], info.available);
		assert_true(info.summary && info.summary[0]);
	}
	stale_error();
	assert_int_equal(pn_backend_get(i, &info), -ENOENT);
	assert_true(has_reason());
	assert_int_equal(pn_backend_get(UINT32_MAX, &info), -ENOENT);
	assert_int_equal(model_open_fds(), 0);
}

static void automatic_takes_the_first_that_is_there(void **state)
{
	(void)state;
	assert_created(NULL, "iommufd", "/dev/iommu");
	assert_created("auto", "iommufd", "/dev/iommu");
	/* No device has a node of its own: its group has. */
	for (int i = 0; i < 3; i++)
		model_cdev_open_error(i, EACCES);
	assert_created("auto", "iommufd-compat", "/dev/iommu");
	model.iommufd = false;
	assert_created("auto", "type1", "/dev/vfio/vfio");
	assert_int_equal(create("auto"), 0);
	assert_non_null(strstr(info_of(domain).chosen, "iommufd"));
	destroy();
	model.type1 = false;
	stale_error();
	assert_int_equal(create("auto"), -ENODEV);
	assert_non_null(strstr(pn_error(), "iommufd"));
	assert_non_null(strstr(pn_error(), "iommufd-compat"));
	assert_non_null(strstr(pn_error(), "type1"));
	/* What must be named is not taken. */
	model.noiommu = model.cap_sys_rawio = true;
	assert_int_equal(create(NULL), -ENODEV);
	assert_int_equal(model_open_fds(), 0);
}

static void those_that_are_named(void **state)
{
	(void)state;
	assert_created("iommufd", "iommufd", "/dev/iommu");
	assert_created("iommufd-compat", "iommufd-compat", "/dev/iommu");
	assert_created("type1", "type1", "/dev/vfio/vfio");
	assert_created("none", "none", "");
	stale_error();
	assert_int_equal(create("typeone"), -EINVAL);
	assert_non_null(strstr(pn_error(), "type1"));
	assert_non_null(strstr(pn_error(), "iommufd-compat"));
	assert_non_null(strstr(pn_error(), "noiommu"));
	assert_int_equal(create(""), -EINVAL);
	model.iommufd = false;
	assert_int_equal(create("iommufd"), -ENOENT);
	assert_non_null(strstr(pn_error(), "/dev/iommu"));
	assert_int_equal(create("iommufd-compat"), -ENOENT);
	assert_non_null(strstr(pn_error(), "/dev/iommu"));
	model.no_v2 = true;
	stale_error();
	assert_true(create("type1") < 0);
	assert_true(has_reason());
	assert_int_equal(model_open_fds(), 0);
}

/* iommufd as /dev/vfio/vfio: that name is not type1 then. */
static void a_vfio_node_that_is_iommufds(void **state)
{
	(void)state;
	model.iommufd_vfio = true;
	stale_error();
	assert_true(create("type1") < 0);
	assert_non_null(strstr(pn_error(), "iommufd"));
	model.iommufd = false;
	assert_created("iommufd-compat", "iommufd-compat", "/dev/vfio/vfio");
	assert_int_equal(model_open_fds(), 0);
}

static void a_node_of_ones_own(void **state)
{
	struct pn_domain_opts opts = {.node = "/dev/../dev/iommu"};

	(void)state;
	assert_int_equal(new_domain(&domain, "iommufd", &opts), 0);
	assert_string_equal(info_of(domain).node, "/dev/../dev/iommu");
	destroy();
	assert_int_equal(new_domain(&domain, "iommufd-compat", &opts), 0);
	destroy();
	stale_error();
	assert_true(new_domain(&domain, "type1", &opts) < 0);
	assert_true(has_reason());
	opts.node = "/dev/vfio/vfio";
	assert_true(new_domain(&domain, "iommufd", &opts) < 0);
	assert_int_equal(model_open_fds(), 0);
}

/* Files handed in. */

static const struct {
	const char *backend, *node;
} kinds[] = {
	{"type1", "/dev/vfio/vfio"}, {"iommufd-compat", "/dev/iommu"}, {"iommufd", "/dev/iommu"}};

static struct pn_domain_opts handed_in(int fd)
{
	return (struct pn_domain_opts){.use_fd = true, .fd = fd};
}

static void a_file_is_copied_and_used(void **state)
{
	struct pn_region *region;
	uint64_t iova = AT(0x10000);
	int fd, device;

	(void)state;
	assert_int_equal(new_region(&region, 4), 0);
	for (size_t i = 0; i < PN_ARRAY_SIZE(kinds); i++) {
		struct pn_domain_opts opts;

		fd = open(kinds[i].node, O_RDWR);
		assert_true(fd >= 0);
		opts = handed_in(fd);
		assert_int_equal(new_domain(&domain, kinds[i].backend, &opts), 0);
		assert_string_equal(info_of(domain).node, "");
		assert_int_equal(model_open_fds(), 2);
		close(fd);
		assert_int_equal(pn_domain_map(domain, region, 0, PAGE, PN_PROT_RW, &iova), 0);
		device = attach_to(domain, &nic0);
		assert_maps(domain, 1, 1);
		pn_domain_detach(domain, device);
		destroy();
	}
	assert_int_equal(pn_region_destroy(region), 0);
}

static void automatic_finds_out_what_a_file_is(void **state)
{
	struct pn_domain_opts opts;
	int fd;

	(void)state;
	fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	opts = handed_in(fd);
	assert_int_equal(new_domain(&domain, NULL, &opts), 0);
	assert_string_equal(info_of(domain).backend, "type1");
	close(fd);
	destroy();
	fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	opts = handed_in(fd);
	assert_int_equal(new_domain(&domain, "auto", &opts), 0);
	assert_memory_equal(info_of(domain).backend, "iommufd", 7);
	close(fd);
	destroy();
}

static void files_of_other_kinds(void **state)
{
	struct pn_domain_opts opts;
	int files[4], ends[2], result;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	files[0] = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	files[1] = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	files[2] = ends[0];
	files[3] = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (size_t i = 0; i < PN_ARRAY_SIZE(kinds); i++) {
		for (size_t at = 0; at < 4; at++) {
			/* The right one. */
			if (at == (i == 0 ? 0 : 1))
				continue;
			opts = handed_in(files[at]);
			stale_error();
			result = new_domain(&domain, kinds[i].backend, &opts);
			if (result != -EINVAL && result != -EBADF)
				fail_msg("%s with file %zu: %d \"%s\"", kinds[i].backend, at,
					result, pn_error());
			assert_true(has_reason());
			assert_int_equal(model_open_fds(), 2);
		}
		opts = handed_in(-1);
		assert_int_equal(new_domain(&domain, kinds[i].backend, &opts), -EBADF);
		opts = handed_in(1000);
		assert_int_equal(new_domain(&domain, kinds[i].backend, &opts), -EBADF);
	}
	for (size_t at = 0; at < 4; at++)
		close(files[at]);
	close(ends[1]);
	assert_int_equal(model_open_fds(), 0);
}

static void a_file_and_a_node_exclude_each_other(void **state)
{
	struct pn_domain_opts opts;
	int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);

	(void)state;
	opts = handed_in(fd);
	opts.node = "/dev/iommu";
	stale_error();
	assert_int_equal(new_domain(&domain, "iommufd", &opts), -EINVAL);
	assert_true(has_reason());
	close(fd);
}

/* A device's file, too: its own node's, or its group's. */
static void devices_are_handed_in(void **state)
{
	static const char *const nodes[] = {
		"/dev/vfio/5", "/dev/vfio/5", "/dev/vfio/devices/vfio0"};
	struct pn_dma_device device;
	int fd, device_fd;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(kinds); i++) {
		assert_int_equal(create(kinds[i].backend), 0);
		fd = open(nodes[i], O_RDWR | O_CLOEXEC);
		assert_true(fd >= 0);
		device = nic0;
		device.use_fd = true;
		device.fd = fd;
		device_fd = attach_to(domain, &device);
		assert_int_equal(info_of(domain).devices, 1);
		assert_true(fcntl(device_fd, F_GETFD) & FD_CLOEXEC);
		pn_domain_detach(domain, device_fd);
		/* It stays the caller's, who can hand it in again. */
		assert_true(model_is_mine(fd));
		device_fd = attach_to(domain, &device);
		pn_domain_detach(domain, device_fd);
		close(fd);
		device.fd = 1000;
		stale_error();
		assert_true(pn_domain_attach(domain, &device, &device_fd) < 0);
		assert_true(has_reason());
		destroy();
	}
}

/* Accounting. */

static void assert_limited(enum pn_counter counter)
{
	const struct pn_charge_rule charge = info_of(domain).charge;

	assert_int_equal(charge.limited, counter);
	assert_true(charge.counters & PN_COUNTER_BIT(counter));
}

static void by_user_or_by_process(void **state)
{
	const struct pn_domain_opts process = {.accounting = PN_ACCOUNTING_PROCESS},
				    user = {.accounting = PN_ACCOUNTING_USER};
	static const char *const names[] = {"iommufd", "iommufd-compat"};
	struct pn_region *region;
	uint64_t iova = AT(0);
	int fd;

	(void)state;
	assert_int_equal(new_region(&region, 4), 0);
	for (size_t i = 0; i < 2; i++) {
		model.cap_sys_resource = false;
		stale_error();
		assert_int_equal(new_domain(&domain, names[i], &process), -EPERM);
		assert_non_null(strstr(pn_error(), "CAP_SYS_RESOURCE"));
		assert_int_equal(model_open_fds(), 0);
		assert_int_equal(new_domain(&domain, names[i], &user), 0);
		assert_limited(PN_COUNTER_USER_LOCKED);
		destroy();
		model.cap_sys_resource = true;
		assert_int_equal(new_domain(&domain, names[i], &process), 0);
		assert_limited(PN_COUNTER_MM_LOCKED);
		assert_int_equal(pn_domain_map(domain, region, 0, 4 * PAGE, PN_PROT_RW, &iova), 0);
		fd = attach_to(domain, &nic0);
		assert_limited(PN_COUNTER_MM_LOCKED);
		assert_int_equal(model.locked, 4);
		assert_int_equal(model.user, 0);
		pn_domain_detach(domain, fd);
		destroy();
	}
	assert_int_equal(pn_region_destroy(region), 0);
	assert_int_equal(new_domain(&domain, "type1", &process), 0);
	destroy();
	stale_error();
	assert_int_equal(new_domain(&domain, "type1", &user), -EOPNOTSUPP);
	assert_true(has_reason());
	assert_int_equal(new_domain(&domain, "none", &user), -EOPNOTSUPP);
}

/* Who opened the file has set it: no capability is needed; or it is too late. */
static void the_accounting_of_a_file_handed_in(void **state)
{
	struct k_option option = {.size = sizeof(option), .op = K_OPTION_SET, .value = 1};
	struct k_ioas_alloc alloc = {.size = sizeof(alloc)};
	struct pn_domain_opts opts;
	int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);

	(void)state;
	model.cap_sys_resource = true;
	assert_int_equal(ioctl(fd, K_OPTION, &option), 0);
	model.cap_sys_resource = false;
	opts = handed_in(fd);
	opts.accounting = PN_ACCOUNTING_PROCESS;
	assert_int_equal(new_domain(&domain, "iommufd", &opts), 0);
	assert_limited(PN_COUNTER_MM_LOCKED);
	assert_int_equal(pn_domain_destroy(domain), 0);
	opts.accounting = PN_ACCOUNTING_ANY;
	assert_int_equal(new_domain(&domain, "iommufd-compat", &opts), 0);
	assert_limited(PN_COUNTER_MM_LOCKED);
	assert_int_equal(pn_domain_destroy(domain), 0);
	opts.accounting = PN_ACCOUNTING_USER;
	stale_error();
	assert_int_equal(new_domain(&domain, "iommufd", &opts), -EPERM);
	assert_true(has_reason());
	model.cap_sys_resource = true;
	assert_int_equal(ioctl(fd, K_IOAS_ALLOC, &alloc), 0);
	assert_int_equal(new_domain(&domain, "iommufd", &opts), -EBUSY);
	close(fd);
}

static void an_exempt_process(void **state)
{
	static const char *const names[] = {"type1", "iommufd-compat", "iommufd"};
	struct pn_region *region;
	uint64_t iova;
	int fd;

	(void)state;
	if (!model_exempt(true))
		skip();
	model.limit = 1;
	assert_int_equal(new_region(&region, 4), 0);
	for (size_t i = 0; i < 3; i++) {
		iova = AT(0);
		assert_int_equal(create(names[i]), 0);
		fd = attach_to(domain, &nic0);
		assert_true(info_of(domain).exempt);
		assert_int_equal(pn_domain_map(domain, region, 0, 4 * PAGE, PN_PROT_RW, &iova), 0);
		assert_int_equal(model.locked, i ? 0 : 4);
		assert_maps(domain, 1, 4);
		pn_domain_detach(domain, fd);
		destroy();
	}
	assert_int_equal(pn_region_destroy(region), 0);
}

static int setup(void **state)
{
	(void)state;
	fixture_machine();
	return 0;
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, model_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(backends_in_their_order),
		TEST(automatic_takes_the_first_that_is_there),
		TEST(those_that_are_named),
		TEST(a_vfio_node_that_is_iommufds),
		TEST(a_node_of_ones_own),
		TEST(a_file_is_copied_and_used),
		TEST(automatic_finds_out_what_a_file_is),
		TEST(files_of_other_kinds),
		TEST(a_file_and_a_node_exclude_each_other),
		TEST(devices_are_handed_in),
		TEST(by_user_or_by_process),
		TEST(the_accounting_of_a_file_handed_in),
		TEST(an_exempt_process),
	};

	return fixture_run(tests);
}
