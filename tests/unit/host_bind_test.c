/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Binding and its undoing on a machine made of files: what is written, what a failure and a death
 * at every step leave, and what the records say of it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host_run.h"

#define SECOND "0000:01:00.1"

static void test_there_and_back(void **arg)
{
	(void)arg;
	fake_interface("eth7", CARD);
	assert_int_equal(run_bind(CARD, &run_plain), 0);
	assert_string_equal(fake_driver(CARD), "vfio-pci");
	assert_string_equal(fake_override(CARD), "vfio-pci");
	assert_non_null(strstr(fake.notes, "was on e1000e, interface eth7"));
	assert_int_equal(fake_problems(), 0);
	/* Twice is once. */
	assert_int_equal(run_bind("01:00.0", &run_plain), 0);
	assert_non_null(strstr(fake.notes, "already"));
	assert_int_equal(run_unbind(CARD), 0);
	assert_string_equal(fake_driver(CARD), "e1000e");
	assert_string_equal(fake_override(CARD), "");
	assert_false(fake_has_state());
	assert_int_equal(run_unbind(CARD), -ENOENT);
}

static void test_override_of_before(void **arg)
{
	(void)arg;
	fake_write("pci-stub\n", "sys/bus/pci/devices/" CARD "/driver_override");
	assert_int_equal(run_bind(CARD, &run_plain), 0);
	assert_int_equal(run_unbind(CARD), 0);
	assert_string_equal(fake_override(CARD), "pci-stub");
	assert_string_equal(fake_driver(CARD), "e1000e");
}

static void test_no_driver_of_before(void **arg)
{
	(void)arg;
	fake_device(SECOND, "0x020000", "", 9);
	assert_int_equal(run_bind(SECOND, &run_plain), 0);
	assert_int_equal(run_unbind(SECOND), 0);
	assert_string_equal(fake_driver(SECOND), "");
	assert_string_equal(fake_override(SECOND), "");
}

static void test_names(void **arg)
{
	static const char *const bad[] = {"", "x", "0000:01:00.8", "0000:01:00", "1:00.0",
		"01:00.0 ", "../../etc", "0000:01:00.0/..", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"8086:10d3"};
	struct host_pci pci;

	(void)arg;
	for (size_t i = 0; i < HOST_COUNT(bad); i++) {
		fake.host.error[0] = '\0';
		assert_true(host_pci_find(&fake.host, bad[i], &pci) < 0);
		assert_true(fake.host.error[0] != '\0');
	}
	assert_int_equal(host_pci_find(&fake.host, "8086:10d3", &pci), -ENOTUNIQ);
	fake_interface("eth7", CARD);
	assert_int_equal(host_pci_find(&fake.host, "eth7", &pci), 0);
	assert_string_equal(pci.address, CARD);
	assert_int_equal(host_pci_find(&fake.host, "0000:01:00.0", &pci), 0);
	assert_int_equal(host_pci_find(&fake.host, "02:00.0", &pci), 0);
	assert_string_equal(pci.address, ANOTHER);
}

static void test_group(void **arg)
{
	struct host_bind_options whole = {.driver = "vfio-pci", .group = true};
	struct host_uses uses;

	(void)arg;
	fake_device(SECOND, "0x020000", "e1000e", 7);
	fake_device("0000:00:1c.0", "0x060400", "pcieport", 7);
	fake_device("0000:00:1d.0", "0x010601", "", 7);
	assert_int_equal(run_bind_uses(CARD, &run_plain, &uses), -EBUSY);
	assert_int_equal(uses.count, 1);
	assert_string_equal(uses.items[0].rule, "group");
	assert_non_null(strstr(uses.items[0].text, SECOND));
	host_uses_free(&uses);
	assert_string_equal(fake_driver(CARD), "e1000e");
	assert_int_equal(run_bind(CARD, &whole), 0);
	assert_string_equal(fake_driver(CARD), "vfio-pci");
	assert_string_equal(fake_driver(SECOND), "vfio-pci");
	assert_string_equal(fake_driver("0000:00:1d.0"), "vfio-pci");
	assert_string_equal(fake_driver("0000:00:1c.0"), "pcieport");
	run_clear_all();
	assert_string_equal(fake_driver(SECOND), "e1000e");
	assert_string_equal(fake_driver("0000:00:1d.0"), "");
}

/* A device on vfio-pci is of no use either while the rest of its group is not. */
static void test_group_of_one_that_is_bound(void **arg)
{
	struct host_bind_options whole = {.driver = "vfio-pci", .group = true};
	struct host_uses uses;

	(void)arg;
	fake_device(CARD, "0x020000", "vfio-pci", 7);
	fake_device(SECOND, "0x020000", "e1000e", 7);
	assert_int_equal(run_bind_uses(CARD, &run_plain, &uses), -EBUSY);
	assert_int_equal(uses.count, 1);
	assert_string_equal(uses.items[0].rule, "group");
	assert_non_null(strstr(uses.items[0].text, SECOND));
	host_uses_free(&uses);
	assert_int_equal(run_bind(CARD, &whole), 0);
	assert_string_equal(fake_driver(SECOND), "vfio-pci");
	run_clear_all();
	assert_string_equal(fake_driver(SECOND), "e1000e");
	assert_string_equal(fake_driver(CARD), "vfio-pci");
}

/* Whichever write fails, both cards are as they were, and no record is left. */
static void test_each_write_fails(void **arg)
{
	const char *const both[] = {CARD, ANOTHER};
	struct host_uses uses;
	struct host_state state;
	int err = -EIO, at;

	(void)arg;
	for (at = 1; err; at++) {
		assert_true(at < 20);
		assert_int_equal(host_state_load(&fake.host, &state), 0);
		fake.fail_at = at;
		fake.writes = 0;
		err = host_bind(&fake.host, &state, both, 2, &run_plain, &uses);
		fake.fail_at = 0;
		host_uses_free(&uses);
		host_state_free(&state);
		if (!err)
			break;
		assert_int_equal(err, -EIO);
		assert_non_null(strstr(fake.host.error, "everything is as it was"));
		assert_string_equal(fake_driver(CARD), "e1000e");
		assert_string_equal(fake_driver(ANOTHER), "igb");
		assert_string_equal(fake_override(CARD), "");
		assert_false(fake_has_state());
	}
	assert_int_equal(at, 7);
	/* And on the way back the record stays, so that it can be tried again. */
	for (at = 1, err = -EIO; err; at++) {
		fake.fail_at = at;
		fake.writes = 0;
		err = run_unbind(CARD);
		fake.fail_at = 0;
		if (!err)
			break;
		assert_true(fake_has_state());
		assert_int_equal(fake_problems(), 1);
	}
	/* What the first attempts wrote needs no second time. */
	assert_int_equal(at, 3);
	assert_string_equal(fake_driver(CARD), "e1000e");
	run_clear_all();
}

static void test_not_taken(void **arg)
{
	(void)arg;
	fake.hold_probe = true;
	assert_int_equal(run_bind(CARD, &run_plain), -EIO);
	assert_non_null(strstr(fake.host.error, "is on no driver now, not on vfio-pci"));
	assert_string_equal(fake_driver(CARD), "e1000e");
	assert_false(fake_has_state());
}

/* A record that could not be read again is not written, and nothing is done. */
static void test_cannot_be_recorded(void **arg)
{
	(void)arg;
	fake_write("a/b\n", "sys/bus/pci/devices/" CARD "/driver_override");
	assert_int_equal(run_bind(CARD, &run_plain), -EBADMSG);
	assert_non_null(strstr(fake.host.error, "cannot be recorded"));
	assert_string_equal(fake_driver(CARD), "e1000e");
	assert_string_equal(fake_override(CARD), "a/b");
	assert_false(fake_has_state());
}

static void test_no_module(void **arg)
{
	struct host_bind_options options = {.driver = "no_vfio_pci"};

	(void)arg;
	assert_int_equal(run_bind(CARD, &options), -ENOENT);
	assert_string_equal(fake_driver(CARD), "e1000e");
	assert_false(fake_has_state());
}

/* Each of these is a moment of "bind --persist" and "grant" at which the process ends. */
static int act(void)
{
	struct host_bind_options options = {.driver = "vfio-pci", .persist = true};
	struct host_grant_options to = run_grant_to(4242, false);

	to.memlock = 1 << 20;
	return run_bind(CARD, &options) || run_grant(CARD, &to) || run_unbind(CARD);
}

static void test_dies_at_each_step(void **arg)
{
	bool survived = false;
	int step, shown = 0;

	(void)arg;
	for (step = 1; !survived; step++) {
		assert_true(step < 400);
		survived = run_survives(step, act);
		/* What is not as it was is in the records. */
		if (strcmp(fake_driver(CARD), "e1000e") || *fake_override(CARD))
			assert_true(fake_has_state());
		shown += fake_problems() > 0;
		run_clear_all();
		assert_string_equal(fake_driver(CARD), "e1000e");
		assert_string_equal(fake_override(CARD), "");
		assert_false(fake_has_state());
		assert_string_equal(fake_read("etc/driverctl.d/pci-" CARD), "");
		assert_string_equal(fake_read("etc/udev/rules.d/60-pinion.rules"), "");
		assert_string_equal(fake_read("etc/security/limits.d/91-pinion-grants.conf"), "");
		assert_false(host_exists("%s/var/lib/pinion/.host.json.new", fake.root));
		assert_false(host_exists("%s/etc/driverctl.d/.pci-" CARD ".new", fake.root));
		assert_false(host_exists("%s/etc/udev/rules.d/.60-pinion.rules.new", fake.root));
		assert_int_equal(fake_problems(), 0);
	}
	assert_true(step > 20);
	assert_true(shown > 10);
}

static void test_restart(void **arg)
{
	(void)arg;
	assert_int_equal(run_bind(CARD, &run_plain), 0);
	fake_restart();
	assert_int_equal(fake_problems(), 1);
	/* Whoever bound it since: not ours to undo. */
	assert_int_equal(run_unbind(CARD), 0);
	assert_string_equal(fake_driver(CARD), "vfio-pci");
	assert_false(fake_has_state());
}

static void test_gone(void **arg)
{
	(void)arg;
	assert_int_equal(run_bind(CARD, &run_plain), 0);
	fake_move("sys/bus/pci/devices/" CARD, "unplugged");
	fake_remove("sys/kernel/iommu_groups/7/devices/" CARD);
	assert_int_equal(fake_problems(), 1);
	assert_int_equal(run_unbind(CARD), 0);
	assert_false(fake_has_state());
}

static void test_open(void **arg)
{
	(void)arg;
	assert_int_equal(run_bind(CARD, &run_plain), 0);
	fake_process(77, "testpmd\n", "mnt:[2]", "");
	fake_open(77, 3, "dev/vfio/7");
	assert_int_equal(run_unbind(CARD), -EBUSY);
	assert_non_null(strstr(fake.host.error, "rule 'open'"));
	assert_non_null(strstr(fake.host.error, "pid 77 (testpmd"));
	assert_string_equal(fake_driver(CARD), "vfio-pci");
	/* Another group is not this one. */
	assert_int_equal(run_bind(ANOTHER, &run_plain), 0);
	assert_int_equal(run_unbind(ANOTHER), 0);
	fake_remove("proc/77/fd/3");
	assert_int_equal(run_unbind(CARD), 0);
}

/* Nor by a process that hides it. */
static void test_open_unseen(void **arg)
{
	(void)arg;
	assert_int_equal(run_bind(CARD, &run_plain), 0);
	fake.busy = "/dev/vfio/8";
	assert_int_equal(run_bind(ANOTHER, &run_plain), 0);
	assert_int_equal(run_unbind(CARD), 0);
	assert_int_equal(run_unbind(ANOTHER), -EBUSY);
	assert_non_null(strstr(fake.host.error, "rule 'open': somebody has /dev/vfio/8 open"));
	assert_string_equal(fake_driver(ANOTHER), "vfio-pci");
	fake.busy = NULL;
	assert_int_equal(run_unbind(ANOTHER), 0);
}

static void test_driverctl(void **arg)
{
	struct host_bind_options options = {.driver = "vfio-pci", .persist = true};
	struct host_uses uses;

	(void)arg;
	assert_int_equal(run_bind(CARD, &options), 0);
	assert_string_equal(fake_read("etc/driverctl.d/pci-" CARD), "vfio-pci");
	assert_non_null(strstr(fake_read("etc/udev/rules.d/60-pinion.rules"),
		"ATTR{driver_override}=\"vfio-pci\""));
	assert_int_equal(run_unbind(CARD), 0);
	assert_string_equal(fake_read("etc/udev/rules.d/60-pinion.rules"), "");
	/* Where driverctl is installed its own rules do it. */
	fake_write("", "lib/udev/rules.d/05-driverctl.rules");
	fake_write("igb\n", "etc/driverctl.d/pci-" CARD);
	assert_int_equal(run_bind_uses(CARD, &options, &uses), -EBUSY);
	assert_string_equal(uses.items[0].rule, "driverctl");
	host_uses_free(&uses);
	options.force = true;
	assert_int_equal(run_bind(CARD, &options), 0);
	assert_string_equal(fake_read("etc/udev/rules.d/60-pinion.rules"), "");
	assert_int_equal(run_unbind(CARD), 0);
	assert_string_equal(fake_read("etc/driverctl.d/pci-" CARD), "igb");
}

/* The one there is: of no command that died half-way. */
static void expect_record(bool persist)
{
	struct host_state state;

	assert_int_equal(host_state_load(&fake.host, &state), 0);
	assert_int_equal(state.binding_count, 1);
	assert_int_equal(state.bindings[0].stage, HOST_DONE);
	assert_string_equal(state.bindings[0].before_driver, "e1000e");
	assert_int_equal(state.bindings[0].persist, persist);
	host_state_free(&state);
}

/* A device that is bound already is to persist, and that fails: it stays bound. */
static void test_persist_fails(void **arg)
{
	struct host_bind_options options = {.driver = "vfio-pci", .persist = true};

	(void)arg;
	assert_int_equal(run_bind(CARD, &run_plain), 0);
	fake_write("a file", "etc/driverctl.d");
	assert_int_equal(run_bind(CARD, &options), -ENOTDIR);
	assert_string_equal(fake_driver(CARD), "vfio-pci");
	expect_record(false);
	assert_int_equal(run_unbind(CARD), 0);
	assert_string_equal(fake_driver(CARD), "e1000e");
}

/* Somebody has given a device that was bound to its driver since: binding it again fails. */
static void fail_again(bool persist)
{
	struct host_bind_options options = {.driver = "vfio-pci", .persist = persist};
	int at, err = -EIO;

	assert_int_equal(run_bind(CARD, &options), 0);
	fake_remove("sys/bus/pci/devices/" CARD "/driver");
	fake_link("../../../../bus/pci/drivers/e1000e", "sys/bus/pci/devices/" CARD "/driver");
	fake_write("\n", "sys/bus/pci/devices/" CARD "/driver_override");
	for (at = 1; err; at++) {
		assert_true(at < 20);
		fake.fail_at = at;
		fake.writes = 0;
		err = run_bind(CARD, &run_plain);
		fake.fail_at = 0;
		if (!err)
			break;
		assert_non_null(strstr(fake.host.error, "everything is as it was"));
		assert_string_equal(fake_driver(CARD), "e1000e");
		assert_string_equal(fake_override(CARD), "");
		assert_string_equal(
			fake_read("etc/driverctl.d/pci-" CARD), persist ? "vfio-pci" : "");
		expect_record(persist);
	}
	assert_int_equal(at, 4);
	assert_int_equal(fake_problems(), 0);
	run_clear_all();
	assert_string_equal(fake_driver(CARD), "e1000e");
}

static void test_again_fails(void **arg)
{
	(void)arg;
	fail_again(false);
	fail_again(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_there_and_back, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_override_of_before, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_no_driver_of_before, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_names, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_group, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(
			test_group_of_one_that_is_bound, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_each_write_fails, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_not_taken, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_cannot_be_recorded, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_no_module, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_dies_at_each_step, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_restart, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_gone, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_open, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_open_unseen, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_driverctl, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_persist_fails, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_again_fails, run_setup, fake_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
