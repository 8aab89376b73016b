/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Virtual functions on a machine made of files, of a device that a driver of the kernel's has: made
 * and removed, whatever fails, and wherever the process ends.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "host_run.h"
#include "vf.h"

#define FUNCTION "0000:07:10.0"
#define DEVICES  "sys/bus/pci/devices/"

static int setup(void **arg)
{
	if (fake_setup(arg))
		return -1;
	fake_device(CARD, "0x020000", "igb", 7);
	fake_write("4\n", DEVICES CARD "/sriov_totalvfs");
	fake_write("0\n", DEVICES CARD "/sriov_numvfs");
	fake_write("1\n", DEVICES CARD "/sriov_drivers_autoprobe");
	return 0;
}

static int create(unsigned int count, const char *token)
{
	struct host_state state;
	int err;

	assert_int_equal(host_state_load(&fake.host, &state), 0);
	err = host_vf_create(&fake.host, &state, CARD, count, token);
	host_state_free(&state);
	return err;
}

static int remove_all(void)
{
	struct host_state state;
	int err;

	assert_int_equal(host_state_load(&fake.host, &state), 0);
	err = host_vf_remove(&fake.host, &state, CARD, false);
	host_state_free(&state);
	return err;
}

/* The number of functions is changed by hand. */
static void by_hand(const char *count)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/" DEVICES CARD "/sriov_numvfs", fake.root);
	assert_int_equal(fake.host.ops->write_attr(&fake.host, path, count), 0);
}

static void expect_none(void)
{
	assert_string_equal(fake_read(DEVICES CARD "/sriov_numvfs"), "0");
	assert_string_equal(fake_read(DEVICES CARD "/sriov_drivers_autoprobe"), "1");
	assert_string_equal(fake_read(DEVICES FUNCTION "/class"), "");
	assert_string_equal(fake_driver(CARD), "igb");
	assert_false(fake_has_state());
}

static void test_there_and_back(void **arg)
{
	(void)arg;
	assert_int_equal(create(2, NULL), 0);
	assert_string_equal(fake_driver(FUNCTION), "vfio-pci");
	assert_string_equal(fake_driver("0000:07:10.1"), "vfio-pci");
	assert_string_equal(fake_read(DEVICES CARD "/sriov_drivers_autoprobe"), "1");
	assert_int_equal(fake_problems(), 0);
	assert_int_equal(create(1, NULL), -EBUSY);
	assert_int_equal(remove_all(), 0);
	expect_none();
	assert_int_equal(remove_all(), -ENOENT);
}

static void test_refusals(void **arg)
{
	(void)arg;
	assert_int_equal(create(5, NULL), -ERANGE);
	assert_non_null(strstr(fake.host.error, "rule 'sr-iov'"));
	assert_int_equal(create(0, NULL), -ERANGE);
	assert_int_equal(create(1, "2ab74924-c335-45f4-9b16-8569e5b08258"), -EINVAL);
	assert_non_null(strstr(fake.host.error, "rule 'token'"));
	fake_write("1\n", DEVICES CARD "/sriov_numvfs");
	assert_int_equal(create(1, NULL), -EBUSY);
	fake_write("0\n", DEVICES CARD "/sriov_numvfs");
	fake_remove(DEVICES CARD "/driver");
	assert_int_equal(create(1, NULL), -ENXIO);
	fake_link("../../../../bus/pci/drivers/vfio-pci", DEVICES CARD "/driver");
	assert_int_equal(create(1, NULL), -EPERM);
	assert_non_null(strstr(fake.host.error, "enable_sriov"));
	fake_remove(DEVICES CARD "/sriov_totalvfs");
	assert_int_equal(create(1, NULL), -EOPNOTSUPP);
	assert_false(fake_has_state());
}

static void test_open(void **arg)
{
	(void)arg;
	assert_int_equal(create(2, NULL), 0);
	fake_process(77, "testpmd\n", "mnt:[2]", "");
	fake_open(77, 3, "dev/vfio/71");
	assert_int_equal(remove_all(), -EBUSY);
	assert_non_null(strstr(fake.host.error, "pid 77"));
	fake_remove("proc/77/fd/3");
	assert_int_equal(remove_all(), 0);
	expect_none();
}

static void test_each_write_fails(void **arg)
{
	int err = -EIO, at;

	(void)arg;
	for (at = 1; err; at++) {
		assert_true(at < 20);
		fake.fail_at = at;
		fake.writes = 0;
		err = create(2, NULL);
		fake.fail_at = 0;
		if (!err)
			break;
		assert_int_equal(err, -EIO);
		assert_non_null(strstr(fake.host.error, "everything is as it was"));
		expect_none();
	}
	/* autoprobe, count, autoprobe, and two writes for each function. */
	assert_int_equal(at, 8);
	assert_int_equal(remove_all(), 0);
	expect_none();
}

static int act(void)
{
	return create(2, NULL) || remove_all();
}

static void test_dies_at_each_step(void **arg)
{
	bool survived = false;
	int step, shown = 0;

	(void)arg;
	for (step = 1; !survived; step++) {
		assert_true(step < 200);
		survived = run_survives(step, act);
		shown += fake_problems() > 0;
		if (fake_has_state())
			assert_int_equal(remove_all(), 0);
		expect_none();
		assert_int_equal(fake_problems(), 0);
	}
	assert_true(step > 15);
	assert_true(shown > 8);
}

static void test_restart(void **arg)
{
	(void)arg;
	assert_int_equal(create(1, NULL), 0);
	fake_restart();
	assert_true(fake_problems() > 0);
	/* Whoever made those that are there now: not ours to remove. */
	assert_int_equal(remove_all(), 0);
	assert_string_equal(fake_read(DEVICES CARD "/sriov_numvfs"), "1");
	assert_false(fake_has_state());
}

static size_t records(void)
{
	struct host_state state;
	size_t count;

	assert_int_equal(host_state_load(&fake.host, &state), 0);
	count = state.binding_count;
	host_state_free(&state);
	return count;
}

/* One that was made by hand, and bound, has gone since: its address is that of another now. */
static void test_address_of_before(void **arg)
{
	(void)arg;
	for (int persist = 0; persist < 2; persist++) {
		const struct host_bind_options options = {.driver = "vfio-pci", .persist = persist};

		by_hand("1");
		assert_int_equal(run_bind(FUNCTION, &options), 0);
		by_hand("0");
		assert_int_equal(create(1, NULL), 0);
		assert_int_equal(records(), 1);
		assert_int_equal(fake_problems(), 0);
		assert_int_equal(remove_all(), 0);
		assert_int_equal(records(), (size_t)persist);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_there_and_back, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_open, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_each_write_fails, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_dies_at_each_step, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_restart, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_address_of_before, setup, fake_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
