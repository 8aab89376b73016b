/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Binding, granting and their undoing on a machine made of files: what is written, what a failure
 * and a death at every step leave, and what the records say of it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/acl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "binding.h"
#include "derived.h"
#include "grant.h"
#include "host_fake.h"
#include "node.h"

#define CARD    "0000:01:00.0"
#define SECOND  "0000:01:00.1"
#define ANOTHER "0000:02:00.0"

static const struct host_bind_options plain = {.driver = "vfio-pci"};

static int bind_one(
	const char *device, const struct host_bind_options *options, struct host_uses *uses)
{
	struct host_state state;
	int err;

	assert_int_equal(host_state_load(&fake.host, &state), 0);
	err = host_bind(&fake.host, &state, &device, 1, options, uses);
	host_state_free(&state);
	return err;
}

static int bind_plain(const char *device)
{
	struct host_uses uses;
	int err = bind_one(device, &plain, &uses);

	host_uses_free(&uses);
	return err;
}

static int unbind(const char *device)
{
	struct host_state state;
	int err;

	assert_int_equal(host_state_load(&fake.host, &state), 0);
	err = host_unbind(&fake.host, &state, device, false);
	host_state_free(&state);
	return err;
}

static struct host_grant_options grant_to(unsigned int id, bool owner)
{
	return (struct host_grant_options){.id = id, .name = "somebody", .owner = owner};
}

static int grant(const char *device, const struct host_grant_options *options)
{
	struct host_state state;
	int err;

	assert_int_equal(host_state_load(&fake.host, &state), 0);
	err = host_grant(&fake.host, &state, device, options);
	host_state_free(&state);
	return err;
}

static void revoke_device(const char *device)
{
	struct host_state state;

	assert_int_equal(host_state_load(&fake.host, &state), 0);
	assert_int_equal(host_revoke_device(&fake.host, &state, device), 0);
	host_state_free(&state);
}

static void move(const char *from, const char *to)
{
	char here[PATH_MAX], there[PATH_MAX];

	snprintf(here, sizeof(here), "%s/%s", fake.root, from);
	snprintf(there, sizeof(there), "%s/%s", fake.root, to);
	assert_int_equal(rename(here, there), 0);
}

/* What --all does. */
static void clear_all(void)
{
	struct host_state state;

	assert_int_equal(host_state_load(&fake.host, &state), 0);
	while (state.binding_count)
		assert_int_equal(
			host_unbind(&fake.host, &state, state.bindings[0].device, false), 0);
	while (state.grant_count)
		assert_int_equal(host_revoke_device(&fake.host, &state, state.grants[0].device), 0);
	assert_int_equal(host_revoke_nodes(&fake.host, &state), 0);
	assert_int_equal(host_derived_write(&fake.host, &state), 0);
	assert_int_equal(host_state_save(&fake.host, &state), 0);
	host_state_free(&state);
}

static int setup(void **arg)
{
	if (fake_setup(arg))
		return -1;
	fake_device(CARD, "0x020000", "e1000e", 7);
	fake_device(ANOTHER, "0x020000", "igb", 8);
	return 0;
}

/*
 * Bind
 */

static void test_there_and_back(void **arg)
{
	(void)arg;
	fake_interface("eth7", CARD);
	assert_int_equal(bind_plain(CARD), 0);
	assert_string_equal(fake_driver(CARD), "vfio-pci");
	assert_string_equal(fake_override(CARD), "vfio-pci");
	assert_non_null(strstr(fake.notes, "was on e1000e, interface eth7"));
	assert_int_equal(fake_problems(), 0);
	/* Twice is once. */
	assert_int_equal(bind_plain("01:00.0"), 0);
	assert_non_null(strstr(fake.notes, "already"));
	assert_int_equal(unbind(CARD), 0);
	assert_string_equal(fake_driver(CARD), "e1000e");
	assert_string_equal(fake_override(CARD), "");
	assert_false(fake_has_state());
	assert_int_equal(unbind(CARD), -ENOENT);
}

static void test_override_of_before(void **arg)
{
	(void)arg;
	fake_write("pci-stub\n", "sys/bus/pci/devices/" CARD "/driver_override");
	assert_int_equal(bind_plain(CARD), 0);
	assert_int_equal(unbind(CARD), 0);
	assert_string_equal(fake_override(CARD), "pci-stub");
	assert_string_equal(fake_driver(CARD), "e1000e");
}

static void test_no_driver_of_before(void **arg)
{
	(void)arg;
	fake_device(SECOND, "0x020000", "", 9);
	assert_int_equal(bind_plain(SECOND), 0);
	assert_int_equal(unbind(SECOND), 0);
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
	assert_int_equal(bind_one(CARD, &plain, &uses), -EBUSY);
	assert_int_equal(uses.count, 1);
	assert_string_equal(uses.items[0].rule, "group");
	assert_non_null(strstr(uses.items[0].text, SECOND));
	host_uses_free(&uses);
	assert_string_equal(fake_driver(CARD), "e1000e");
	assert_int_equal(bind_one(CARD, &whole, &uses), 0);
	host_uses_free(&uses);
	assert_string_equal(fake_driver(CARD), "vfio-pci");
	assert_string_equal(fake_driver(SECOND), "vfio-pci");
	assert_string_equal(fake_driver("0000:00:1d.0"), "vfio-pci");
	assert_string_equal(fake_driver("0000:00:1c.0"), "pcieport");
	clear_all();
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
	assert_int_equal(bind_one(CARD, &plain, &uses), -EBUSY);
	assert_int_equal(uses.count, 1);
	assert_string_equal(uses.items[0].rule, "group");
	assert_non_null(strstr(uses.items[0].text, SECOND));
	host_uses_free(&uses);
	assert_int_equal(bind_one(CARD, &whole, &uses), 0);
	host_uses_free(&uses);
	assert_string_equal(fake_driver(SECOND), "vfio-pci");
	clear_all();
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
		err = host_bind(&fake.host, &state, both, 2, &plain, &uses);
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
		err = unbind(CARD);
		fake.fail_at = 0;
		if (!err)
			break;
		assert_true(fake_has_state());
		assert_int_equal(fake_problems(), 1);
	}
	/* What the first attempts wrote needs no second time. */
	assert_int_equal(at, 3);
	assert_string_equal(fake_driver(CARD), "e1000e");
	clear_all();
}

static void test_not_taken(void **arg)
{
	(void)arg;
	fake.hold_probe = true;
	assert_int_equal(bind_plain(CARD), -EIO);
	assert_non_null(strstr(fake.host.error, "is on no driver now, not on vfio-pci"));
	assert_string_equal(fake_driver(CARD), "e1000e");
	assert_false(fake_has_state());
}

/* A record that could not be read again is not written, and nothing is done. */
static void test_cannot_be_recorded(void **arg)
{
	(void)arg;
	fake_write("a/b\n", "sys/bus/pci/devices/" CARD "/driver_override");
	assert_int_equal(bind_plain(CARD), -EBADMSG);
	assert_non_null(strstr(fake.host.error, "cannot be recorded"));
	assert_string_equal(fake_driver(CARD), "e1000e");
	assert_string_equal(fake_override(CARD), "a/b");
	assert_false(fake_has_state());
}

static void test_no_module(void **arg)
{
	struct host_bind_options options = {.driver = "no_vfio_pci"};
	struct host_uses uses;

	(void)arg;
	assert_int_equal(bind_one(CARD, &options, &uses), -ENOENT);
	host_uses_free(&uses);
	assert_string_equal(fake_driver(CARD), "e1000e");
	assert_false(fake_has_state());
}

/* Each of these is a moment of "bind --persist" and "grant" at which the process ends. */
static void act(void)
{
	struct host_bind_options options = {.driver = "vfio-pci", .persist = true};
	struct host_grant_options to = grant_to(4242, false);
	struct host_uses uses;

	to.memlock = 1 << 20;
	if (bind_one(CARD, &options, &uses) || grant(CARD, &to) || unbind(CARD))
		_exit(1);
	_exit(0);
}

static void test_dies_at_each_step(void **arg)
{
	int step, status = -1, shown = 0;
	pid_t pid;

	(void)arg;
	for (step = 1; status; step++) {
		assert_true(step < 400);
		pid = fork();
		assert_true(pid >= 0);
		if (!pid) {
			fake.die_at = step;
			act();
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_true(WEXITSTATUS(status) == 99 || !WEXITSTATUS(status));
		/* What is not as it was is in the records. */
		if (strcmp(fake_driver(CARD), "e1000e") || *fake_override(CARD))
			assert_true(fake_has_state());
		shown += fake_problems() > 0;
		clear_all();
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
	assert_int_equal(bind_plain(CARD), 0);
	fake_write("66666666-2222-3333-4444-555555555555\n", "proc/sys/kernel/random/boot_id");
	assert_int_equal(fake_problems(), 1);
	/* Whoever bound it since: not ours to undo. */
	assert_int_equal(unbind(CARD), 0);
	assert_string_equal(fake_driver(CARD), "vfio-pci");
	assert_false(fake_has_state());
}

static void test_gone(void **arg)
{
	(void)arg;
	assert_int_equal(bind_plain(CARD), 0);
	move("sys/bus/pci/devices/" CARD, "unplugged");
	fake_remove("sys/kernel/iommu_groups/7/devices/" CARD);
	assert_int_equal(fake_problems(), 1);
	assert_int_equal(unbind(CARD), 0);
	assert_false(fake_has_state());
}

static void test_open(void **arg)
{
	(void)arg;
	assert_int_equal(bind_plain(CARD), 0);
	fake_process(77, "testpmd\n", "mnt:[2]", "");
	fake_open(77, 3, "dev/vfio/7");
	assert_int_equal(unbind(CARD), -EBUSY);
	assert_non_null(strstr(fake.host.error, "rule 'open'"));
	assert_non_null(strstr(fake.host.error, "pid 77 (testpmd"));
	assert_string_equal(fake_driver(CARD), "vfio-pci");
	/* Another group is not this one. */
	assert_int_equal(bind_plain(ANOTHER), 0);
	assert_int_equal(unbind(ANOTHER), 0);
	fake_remove("proc/77/fd/3");
	assert_int_equal(unbind(CARD), 0);
}

/* Nor by a process that hides it. */
static void test_open_unseen(void **arg)
{
	(void)arg;
	assert_int_equal(bind_plain(CARD), 0);
	fake.busy = "/dev/vfio/8";
	assert_int_equal(bind_plain(ANOTHER), 0);
	assert_int_equal(unbind(CARD), 0);
	assert_int_equal(unbind(ANOTHER), -EBUSY);
	assert_non_null(strstr(fake.host.error, "rule 'open': somebody has /dev/vfio/8 open"));
	assert_string_equal(fake_driver(ANOTHER), "vfio-pci");
	fake.busy = NULL;
	assert_int_equal(unbind(ANOTHER), 0);
}

static void test_driverctl(void **arg)
{
	struct host_bind_options options = {.driver = "vfio-pci", .persist = true};
	struct host_uses uses;

	(void)arg;
	assert_int_equal(bind_one(CARD, &options, &uses), 0);
	host_uses_free(&uses);
	assert_string_equal(fake_read("etc/driverctl.d/pci-" CARD), "vfio-pci");
	assert_non_null(strstr(fake_read("etc/udev/rules.d/60-pinion.rules"),
		"ATTR{driver_override}=\"vfio-pci\""));
	assert_int_equal(unbind(CARD), 0);
	assert_string_equal(fake_read("etc/udev/rules.d/60-pinion.rules"), "");
	/* Where driverctl is installed its own rules do it. */
	fake_write("", "lib/udev/rules.d/05-driverctl.rules");
	fake_write("igb\n", "etc/driverctl.d/pci-" CARD);
	assert_int_equal(bind_one(CARD, &options, &uses), -EBUSY);
	assert_string_equal(uses.items[0].rule, "driverctl");
	host_uses_free(&uses);
	options.force = true;
	assert_int_equal(bind_one(CARD, &options, &uses), 0);
	host_uses_free(&uses);
	assert_string_equal(fake_read("etc/udev/rules.d/60-pinion.rules"), "");
	assert_int_equal(unbind(CARD), 0);
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
	struct host_uses uses;

	(void)arg;
	assert_int_equal(bind_plain(CARD), 0);
	fake_write("a file", "etc/driverctl.d");
	assert_int_equal(bind_one(CARD, &options, &uses), -ENOTDIR);
	host_uses_free(&uses);
	assert_string_equal(fake_driver(CARD), "vfio-pci");
	expect_record(false);
	assert_int_equal(unbind(CARD), 0);
	assert_string_equal(fake_driver(CARD), "e1000e");
}

/* Somebody has given a device that was bound to its driver since: binding it again fails. */
static void fail_again(bool persist)
{
	struct host_bind_options options = {.driver = "vfio-pci", .persist = persist};
	struct host_uses uses;
	int at, err = -EIO;

	assert_int_equal(bind_one(CARD, &options, &uses), 0);
	host_uses_free(&uses);
	fake_remove("sys/bus/pci/devices/" CARD "/driver");
	fake_link("../../../../bus/pci/drivers/e1000e", "sys/bus/pci/devices/" CARD "/driver");
	fake_write("\n", "sys/bus/pci/devices/" CARD "/driver_override");
	for (at = 1; err; at++) {
		assert_true(at < 20);
		fake.fail_at = at;
		fake.writes = 0;
		err = bind_plain(CARD);
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
	clear_all();
	assert_string_equal(fake_driver(CARD), "e1000e");
}

static void test_again_fails(void **arg)
{
	(void)arg;
	fail_again(false);
	fail_again(true);
}

/*
 * Grant
 */

static unsigned int mode_of(const char *node)
{
	struct stat st;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/dev/%s", fake.root, node);
	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 0777;
}

static void set_mode(const char *node, mode_t mode)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/dev/%s", fake.root, node);
	assert_int_equal(chmod(path, mode), 0);
}

static void expect_list(const char *node, const char *list)
{
	struct host_node now;

	assert_int_equal(host_node_look(&fake.host, node, &now), 0);
	assert_string_equal(now.acl, list);
}

static void test_lists(void **arg)
{
	const struct host_grant_options first = grant_to(4242, false),
					second = grant_to(4343, false);
	struct host_state state;

	(void)arg;
	set_mode("iommu", 0640);
	set_mode("vfio/vfio", 0666);
	assert_int_equal(grant(CARD, &first), -ENXIO);
	assert_int_equal(bind_plain(CARD), 0);
	set_mode("vfio/7", 0600);
	assert_int_equal(grant(CARD, &first), 0);
	expect_list("/dev/vfio/7", "user::rw-,user:4242:rw-,group::---,mask::rw-,other::---");
	expect_list("/dev/iommu", "user::rw-,user:4242:rw-,group::r--,mask::rw-,other::---");
	/* Open to all: nothing to add. */
	expect_list("/dev/vfio/vfio", "");
	assert_int_equal(grant(CARD, &second), 0);
	assert_int_equal(grant(CARD, &first), 0);
	assert_int_equal(fake_problems(), 0);
	assert_int_equal(host_state_load(&fake.host, &state), 0);
	assert_int_equal(state.grant_count, 2);
	assert_int_equal(host_revoke_one(&fake.host, &state, CARD, false, 4242), 0);
	expect_list("/dev/vfio/7", "user::rw-,user:4343:rw-,group::---,mask::rw-,other::---");
	assert_int_equal(host_revoke_device(&fake.host, &state, CARD), 0);
	assert_int_equal(state.node_count, 0);
	host_state_free(&state);
	expect_list("/dev/vfio/7", "");
	expect_list("/dev/iommu", "");
	assert_int_equal(mode_of("vfio/7"), 0600);
	assert_int_equal(mode_of("iommu"), 0640);
	clear_all();
}

/* A list that was there before, with a mask narrower than its entries. */
static void test_list_of_before(void **arg)
{
	const struct host_grant_options to = grant_to(4242, false);
	const char *before = "user::rw-,user:7:rw-,group::rw-,mask::r--,other::---";
	char path[PATH_MAX];
	acl_t acl;

	(void)arg;
	assert_int_equal(bind_plain(CARD), 0);
	snprintf(path, sizeof(path), "%s/dev/vfio/7", fake.root);
	acl = acl_from_text(before);
	assert_non_null(acl);
	assert_int_equal(acl_set_file(path, ACL_TYPE_ACCESS, acl), 0);
	acl_free(acl);
	assert_int_equal(grant(CARD, &to), 0);
	expect_list("/dev/vfio/7",
		"user::rw-,user:7:rw-,user:4242:rw-,group::rw-,mask::rw-,other::---");
	revoke_device(CARD);
	expect_list("/dev/vfio/7", before);
	clear_all();
}

static void test_ownership(void **arg)
{
	struct host_grant_options to = grant_to(getuid() ? getuid() : 4242, true);
	struct host_grant_options other = grant_to(4343, true);
	struct stat st;
	char path[PATH_MAX];

	(void)arg;
	if (getuid())
		skip();
	assert_int_equal(bind_plain(CARD), 0);
	snprintf(path, sizeof(path), "%s/dev/vfio/7", fake.root);
	assert_int_equal(chmod(path, 0400), 0);
	assert_int_equal(grant(CARD, &to), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 4242);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(grant(CARD, &other), -EBUSY);
	assert_non_null(strstr(fake.host.error, "rule 'owner'"));
	assert_int_equal(fake_problems(), 0);
	revoke_device(CARD);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(st.st_mode & 0777, 0400);
	clear_all();
}

/* A node that was made anew is not the one that was changed. */
static void test_node_anew(void **arg)
{
	const struct host_grant_options to = grant_to(4242, false);

	(void)arg;
	assert_int_equal(bind_plain(CARD), 0);
	assert_int_equal(grant(CARD, &to), 0);
	fake_write("", "dev/vfio/new");
	set_mode("vfio/new", 0604);
	move("dev/vfio/new", "dev/vfio/7");
	assert_int_equal(fake_problems(), 1);
	assert_int_equal(grant(CARD, &to), 0);
	assert_int_equal(fake_problems(), 0);
	clear_all();
	assert_int_equal(bind_plain(CARD), 0);
	assert_int_equal(grant(CARD, &to), 0);
	fake_write("", "dev/vfio/new");
	set_mode("vfio/new", 0604);
	move("dev/vfio/new", "dev/vfio/7");
	revoke_device(CARD);
	assert_int_equal(mode_of("vfio/7"), 0604);
	clear_all();
}

/* After a restart the group has another number, and its old one is another device's. */
static void test_renumbered(void **arg)
{
	const char *granted = "user::rw-,user:4242:rw-,group::---,mask::rw-,other::---";
	struct host_grant_options to = grant_to(4242, false), other = grant_to(4343, false);
	char path[PATH_MAX];
	acl_t acl;

	(void)arg;
	if (!host_exists("/usr/bin/setfacl"))
		skip();
	assert_int_equal(bind_plain(CARD), 0);
	set_mode("vfio/7", 0600);
	to.persist = true;
	assert_int_equal(grant(CARD, &to), 0);
	assert_int_equal(grant(CARD, &other), 0);
	fake_write("66666666-2222-3333-4444-555555555555\n", "proc/sys/kernel/random/boot_id");
	fake_link("../../../../kernel/iommu_groups/9", "sys/bus/pci/devices/" CARD "/iommu_group");
	fake_write("", "dev/vfio/new");
	set_mode("vfio/new", 0604);
	move("dev/vfio/new", "dev/vfio/7");
	fake_write("", "dev/vfio/9");
	/* What the rule does. */
	snprintf(path, sizeof(path), "%s/dev/vfio/9", fake.root);
	acl = acl_from_text(granted);
	assert_non_null(acl);
	assert_int_equal(acl_set_file(path, ACL_TYPE_ACCESS, acl), 0);
	acl_free(acl);
	/* The one that does not persist has ended, and gets nothing by the other's. */
	assert_int_equal(grant(CARD, &to), 0);
	assert_non_null(strstr(fake.notes, "had ended"));
	expect_list("/dev/vfio/9", granted);
	assert_int_equal(fake_problems(), 1);
	revoke_device(CARD);
	expect_list("/dev/vfio/9", "");
	assert_int_equal(mode_of("vfio/9"), 0600);
	assert_int_equal(mode_of("vfio/7"), 0604);
	clear_all();
}

/* After a restart another device has the number, and the one granted has no node at all. */
static void test_number_of_another(void **arg)
{
	struct host_grant_options to = grant_to(4242, false), other = grant_to(4343, false);

	(void)arg;
	if (!host_exists("/usr/bin/setfacl"))
		skip();
	assert_int_equal(bind_plain(CARD), 0);
	set_mode("vfio/7", 0600);
	to.persist = true;
	assert_int_equal(grant(CARD, &to), 0);
	fake_write("66666666-2222-3333-4444-555555555555\n", "proc/sys/kernel/random/boot_id");
	fake_remove("dev/vfio/7");
	fake_remove("sys/bus/pci/devices/" CARD "/driver");
	fake_link("../../../../kernel/iommu_groups/9", "sys/bus/pci/devices/" CARD "/iommu_group");
	fake_link(
		"../../../../kernel/iommu_groups/7", "sys/bus/pci/devices/" ANOTHER "/iommu_group");
	fake_write("", "dev/vfio/new");
	set_mode("vfio/new", 0600);
	move("dev/vfio/new", "dev/vfio/7");
	fake_link("../../drivers/vfio-pci", "sys/bus/pci/devices/" ANOTHER "/driver");
	assert_int_equal(grant(ANOTHER, &other), 0);
	expect_list("/dev/vfio/7", "user::rw-,user:4343:rw-,group::---,mask::rw-,other::---");
	/* It comes back under another number, and takes no record along that is not its own. */
	fake_link("../../drivers/vfio-pci", "sys/bus/pci/devices/" CARD "/driver");
	fake_write("", "dev/vfio/9");
	set_mode("vfio/9", 0600);
	assert_int_equal(grant(CARD, &to), 0);
	expect_list("/dev/vfio/9", "user::rw-,user:4242:rw-,group::---,mask::rw-,other::---");
	expect_list("/dev/vfio/7", "user::rw-,user:4343:rw-,group::---,mask::rw-,other::---");
	revoke_device(ANOTHER);
	expect_list("/dev/vfio/7", "");
	revoke_device(CARD);
	expect_list("/dev/vfio/9", "");
	clear_all();
}

/* Two grants; the device of one is unbound behind our back: what all share is not its any more. */
static void test_ended_by_itself(void **arg)
{
	const struct host_grant_options first = grant_to(4242, false),
					second = grant_to(4343, false);

	(void)arg;
	set_mode("iommu", 0600);
	assert_int_equal(bind_plain(CARD), 0);
	assert_int_equal(bind_plain(ANOTHER), 0);
	assert_int_equal(grant(CARD, &first), 0);
	assert_int_equal(grant(ANOTHER, &second), 0);
	fake_remove("dev/vfio/7");
	revoke_device(CARD);
	expect_list("/dev/iommu", "user::rw-,user:4343:rw-,group::---,mask::rw-,other::---");
	revoke_device(ANOTHER);
	expect_list("/dev/iommu", "");
	assert_int_equal(mode_of("iommu"), 0600);
	clear_all();
}

static void test_limits(void **arg)
{
	struct host_grant_options to = grant_to(4242, false);

	(void)arg;
	assert_int_equal(bind_plain(CARD), 0);
	assert_int_equal(bind_plain(ANOTHER), 0);
	to.memlock = 1025;
	assert_int_equal(grant(CARD, &to), 0);
	assert_non_null(strstr(fake_read("etc/security/limits.d/91-pinion-grants.conf"),
		"\nsomebody - memlock 2"));
	to.memlock = 8192;
	assert_int_equal(grant(ANOTHER, &to), 0);
	assert_non_null(strstr(fake_read("etc/security/limits.d/91-pinion-grants.conf"),
		"\nsomebody - memlock 8"));
	clear_all();
	assert_string_equal(fake_read("etc/security/limits.d/91-pinion-grants.conf"), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_there_and_back, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_override_of_before, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_no_driver_of_before, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_names, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_group, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(
			test_group_of_one_that_is_bound, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_each_write_fails, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_not_taken, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_cannot_be_recorded, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_no_module, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_dies_at_each_step, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_restart, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_gone, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_open, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_open_unseen, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_driverctl, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_persist_fails, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_again_fails, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_lists, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_list_of_before, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_ownership, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_node_anew, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_renumbered, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_number_of_another, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_ended_by_itself, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, fake_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
