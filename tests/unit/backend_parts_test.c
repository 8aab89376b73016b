/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parts of backends that need no kernel behind them: states that are handed over, files that are
 * handed in, capabilities of VFIO_IOMMU_GET_INFO, requests that a backend refuses, and "none".
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base_priv.h"
#include "inherited.h"
#include "vfio_info.h"
#include "vfio_node.h"

static const struct pn_backend *find(const char *name)
{
	for (unsigned int i = 0; pn_backends[i]; i++)
		if (!strcmp(pn_backends[i]->name, name))
			return pn_backends[i];
	fail_msg("no backend %s", name);
	return NULL;
}

static void numbers_of_a_state_are_checked(void **state)
{
	static const char *const bad[] = {"{}", "{\"n\": -1}", "{\"n\": 4294967296}",
		"{\"n\": \"1\"}", "{\"n\": 1.5}", "{\"n\": null}", "{\"n\": true}", "{\"n\": [1]}",
		"[1]"};
	json_t *object;
	uint32_t value;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		object = json_loads(bad[i], 0, NULL);
		assert_int_equal(handover_get_u32(object, "n", &value), -EINVAL);
		assert_non_null(strstr(pn_error(), "\"n\""));
		json_decref(object);
	}
	object = json_loads("{\"n\": 4294967295, \"zero\": 0}", 0, NULL);
	assert_int_equal(handover_get_u32(object, "n", &value), 0);
	assert_int_equal(value, UINT32_MAX);
	assert_int_equal(handover_get_u32(object, "zero", &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(handover_get_u32(NULL, "n", &value), -EINVAL);
	json_decref(object);
}

static void other_members_of_a_state_are_checked(void **state)
{
	json_t *object =
		json_loads("{\"yes\": true, \"no\": false, \"one\": 1, \"list\": [], \"address\": "
			   "\"0000:00:02.0\"}",
			0, NULL);
	char address[16];
	bool value;

	(void)state;
	assert_int_equal(handover_get_bool(object, "yes", &value), 0);
	assert_true(value);
	assert_int_equal(handover_get_bool(object, "no", &value), 0);
	assert_false(value);
	assert_int_equal(handover_get_bool(object, "one", &value), -EINVAL);
	assert_int_equal(handover_get_bool(object, "none", &value), -EINVAL);
	assert_non_null(handover_get_array(object, "list"));
	assert_null(handover_get_array(object, "one"));
	assert_null(handover_get_array(object, "none"));
	assert_int_equal(handover_get_address(object, address), 0);
	assert_string_equal(address, "0000:00:02.0");
	json_object_set_new(object, "address", json_string("0000:00:02.0/../.."));
	assert_int_equal(handover_get_address(object, address), -EINVAL);
	json_object_set_new(object, "address", json_string(""));
	assert_int_equal(handover_get_address(object, address), -EINVAL);
	json_object_set_new(object, "address", json_integer(7));
	assert_int_equal(handover_get_address(object, address), -EINVAL);
	json_decref(object);
}

static void files_of_a_state_are_open_ones(void **state)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC), got = -1;
	json_t *object = json_object();

	(void)state;
	assert_true(fd >= 0);
	json_object_set_new(object, "fd", json_integer(fd));
	assert_int_equal(handover_get_fd(object, "fd", &got), 0);
	assert_int_equal(got, fd);
	assert_int_equal(handover_inherit(fd, true), 0);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
	assert_int_equal(handover_inherit(fd, false), 0);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	/* Open, and no device of VFIO's. */
	assert_int_equal(handover_check_device(fd, "0000:00:02.0"), -EINVAL);
	close(fd);
	got = -1;
	assert_int_equal(handover_get_fd(object, "fd", &got), -EINVAL);
	assert_int_equal(got, -1);
	assert_int_equal(handover_inherit(fd, true), -EBADF);
	json_object_set_new(object, "fd", json_integer(INT64_C(1) << 32));
	assert_int_equal(handover_get_fd(object, "fd", &got), -EINVAL);
	json_decref(object);
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void a_device_file_is_known_by_its_number(void **state)
{
	char path[] = "/tmp/pn-dev-XXXXXX";
	int fd = mkstemp(path), null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0 && null >= 0);
	write_file(path, "1:3\n");
	assert_int_equal(vfio_node_check(null, path), 0);
	/* A file, and not a device. */
	assert_int_equal(vfio_node_check(fd, path), -EINVAL);
	write_file(path, "1:5\n");
	assert_int_equal(vfio_node_check(null, path), -EINVAL);
	/* sysfs does not show it. */
	write_file(path, "nonsense\n");
	assert_int_equal(vfio_node_check(null, path), 0);
	unlink(path);
	assert_int_equal(vfio_node_check(null, path), 0);
	close(null);
	close(fd);
}

static void a_file_handed_in_is_copied(void **state)
{
	struct pn_backend_request request = {.use_fd = true};
	char name[VFIO_NODE_NAME];
	int fd = open("/dev/null", O_RDWR), copy;
	bool mm;

	(void)state;
	request.fd = fd;
	copy = vfio_node_get(&request, IOMMUFD_NODE, "");
	assert_true(copy >= 0 && copy != fd);
	assert_int_equal(fcntl(copy, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_false(vfio_node_is_iommufd(copy, &mm));
	close(copy);
	close(fd);
	assert_int_equal(vfio_node_get(&request, IOMMUFD_NODE, ""), -EBADF);
	assert_non_null(strstr(pn_error(), "handed in"));
	request.fd = -1;
	assert_int_equal(vfio_node_get(&request, IOMMUFD_NODE, ""), -EBADF);
	assert_non_null(strstr(vfio_node_name(&request, IOMMUFD_NODE, name), "handed in"));
	request.use_fd = false;
	assert_string_equal(vfio_node_name(&request, IOMMUFD_NODE, name), IOMMUFD_NODE);
	request.node = "/no/such/node";
	assert_string_equal(vfio_node_name(&request, IOMMUFD_NODE, name), "/no/such/node");
	assert_int_equal(vfio_node_get(&request, IOMMUFD_NODE, "mend it"), -ENOENT);
	assert_non_null(strstr(pn_error(), "mend it"));
}

/* Whatever the kernel says, a capability lies within what it wrote. */
static void capabilities_stay_within_the_answer(void **state)
{
	enum { SIZE = 256 };
	struct vfio_iommu_type1_info *info = malloc(SIZE);
	const char *cap;
	unsigned int found = 0;

	(void)state;
	srandom(1);
	for (unsigned int round = 0; round < 200000; round++) {
		uint32_t have = sizeof(*info) + (uint32_t)random() % (SIZE - sizeof(*info) + 1);
		uint16_t id = (uint16_t)(random() % 4);
		size_t size = sizeof(struct vfio_info_cap_header) + (size_t)(random() % 40);

		for (uint32_t i = 0; i < SIZE; i++)
			((uint8_t *)info)[i] = (uint8_t)(random() % 8 ? 0 : random());
		info->flags = (uint32_t)random() % 4;
		info->cap_offset = (uint32_t)random() % (SIZE + 64) & ~3u;
		cap = vfio_info_cap(info, have, id, size);
		if (!cap)
			continue;
		found++;
		assert_true(cap >= (const char *)(info + 1));
		assert_true((size_t)(cap - (const char *)info) + size <= have);
	}
	assert_true(found > 100);
	free(info);
}

static int probe(const char *name, struct pn_backend_request request)
{
	char found[40] = "?";
	int ret = find(name)->probe(&request, found, sizeof(found));

	if (ret)
		assert_string_not_equal(pn_error(), "");
	return ret;
}

/* What no kernel could do is refused before a file is opened. */
static void requests_that_a_backend_cannot_serve(void **state)
{
	int dummy;

	(void)state;
	assert_int_equal(
		probe("type1", (struct pn_backend_request){.beside = &dummy}), -EOPNOTSUPP);
	assert_int_equal(
		probe("type1", (struct pn_backend_request){.accounting = PN_ACCOUNTING_USER}),
		-EOPNOTSUPP);
	assert_int_equal(probe("none", (struct pn_backend_request){.beside = &dummy}), -EOPNOTSUPP);
	assert_int_equal(
		probe("none", (struct pn_backend_request){.accounting = PN_ACCOUNTING_PROCESS}),
		-EOPNOTSUPP);
	assert_int_equal(
		probe("none", (struct pn_backend_request){.dirty_tracking = true}), -EOPNOTSUPP);
	assert_int_equal(probe("none", (struct pn_backend_request){.use_fd = true}), -EINVAL);
	assert_int_equal(probe("none", (struct pn_backend_request){.node = "/dev/null"}), -EINVAL);
	assert_int_equal(probe("none", (struct pn_backend_request){.node = ""}), 0);
	if (geteuid())
		assert_int_equal(probe("noiommu", (struct pn_backend_request){0}), -EPERM);
}

static void none_holds_mappings_and_nothing_else(void **state)
{
	const struct pn_backend *none = find("none");
	struct pn_backend_request request = {.node = ""};
	struct pn_backend_limits limits = {0};
	struct pn_backend_map map = {.iova = 4096, .len = 4096, .prot = PN_PROT_RW, .fd = -1};
	void *ctx;

	(void)state;
	assert_true(none->named_only && none->live);
	assert_int_equal(none->open(&ctx, &request), 0);
	assert_int_equal(none->limits(ctx, &limits), 0);
	assert_int_equal(limits.range_count, 1);
	assert_int_equal(limits.ranges[0].first, 0);
	assert_true(limits.ranges[0].last == UINT64_MAX && limits.entries_left == UINT64_MAX);
	free(limits.ranges);
	/* It charges nothing, and takes no device. */
	assert_null(none->charge);
	assert_null(none->attach);
	assert_int_equal(none->map(ctx, &map), 0);
	assert_true(map.uncharged);
	assert_int_equal(none->unmap(ctx, 4096, 4096), 0);
	none->close(ctx);
}

static void the_order_of_auto(void **state)
{
	static const char *const names[] = {
		"iommufd", "iommufd-compat", "type1", "noiommu", "none"};

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(names); i++) {
		assert_string_equal(pn_backends[i]->name, names[i]);
		assert_int_equal(pn_backends[i]->named_only, i > 2);
		/* All or none of what is optional. */
		assert_true(!pn_backends[i]->dirty_set == !pn_backends[i]->dirty_read);
		assert_true(!pn_backends[i]->suspend == !pn_backends[i]->restore);
		assert_true(!pn_backends[i]->suspend == !pn_backends[i]->resume_map);
		assert_true(!pn_backends[i]->suspend == !pn_backends[i]->resume);
		assert_true(!pn_backends[i]->suspend == !pn_backends[i]->save);
		assert_true(!pn_backends[i]->suspend == !pn_backends[i]->abandon);
	}
	assert_null(pn_backends[PN_ARRAY_SIZE(names)]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_of_a_state_are_checked),
		cmocka_unit_test(other_members_of_a_state_are_checked),
		cmocka_unit_test(files_of_a_state_are_open_ones),
		cmocka_unit_test(a_device_file_is_known_by_its_number),
		cmocka_unit_test(a_file_handed_in_is_copied),
		cmocka_unit_test(capabilities_stay_within_the_answer),
		cmocka_unit_test(requests_that_a_backend_cannot_serve),
		cmocka_unit_test(none_holds_mappings_and_nothing_else),
		cmocka_unit_test(the_order_of_auto),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
