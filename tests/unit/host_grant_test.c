/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Granting and its undoing on a machine made of files: the access lists of the nodes, whose they
 * are, and what a restart or a node that was made anew leaves of them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/acl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host_run.h"
#include "node.h"

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

/* A node that was made anew. */
static void make_anew(const char *node, mode_t mode)
{
	char path[PATH_MAX];

	fake_write("", "dev/new");
	set_mode("new", mode);
	snprintf(path, sizeof(path), "dev/%s", node);
	fake_move("dev/new", path);
}

static void set_list(const char *node, const char *list)
{
	acl_t acl = acl_from_text(list);
	char path[PATH_MAX];

	assert_non_null(acl);
	snprintf(path, sizeof(path), "%s/dev/%s", fake.root, node);
	assert_int_equal(acl_set_file(path, ACL_TYPE_ACCESS, acl), 0);
	acl_free(acl);
}

static void expect_list(const char *node, const char *list)
{
	struct host_node now;

	assert_int_equal(host_node_look(&fake.host, node, &now), 0);
	assert_string_equal(now.acl, list);
}

static void test_lists(void **arg)
{
	const struct host_grant_options first = run_grant_to(4242, false),
					second = run_grant_to(4343, false);
	struct host_state state;

	(void)arg;
	set_mode("iommu", 0640);
	set_mode("vfio/vfio", 0666);
	assert_int_equal(run_grant(CARD, &first), -ENXIO);
	assert_int_equal(run_bind(CARD, &run_plain), 0);
	set_mode("vfio/7", 0600);
	assert_int_equal(run_grant(CARD, &first), 0);
	expect_list("/dev/vfio/7", "user::rw-,user:4242:rw-,group::---,mask::rw-,other::---");
	expect_list("/dev/iommu", "user::rw-,user:4242:rw-,group::r--,mask::rw-,other::---");
	/* Open to all: nothing to add. */
	expect_list("/dev/vfio/vfio", "");
	assert_int_equal(run_grant(CARD, &second), 0);
	assert_int_equal(run_grant(CARD, &first), 0);
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
	run_clear_all();
}

/* A list that was there before, with a mask narrower than its entries. */
static void test_list_of_before(void **arg)
{
	const struct host_grant_options to = run_grant_to(4242, false);
	const char *before = "user::rw-,user:7:rw-,group::rw-,mask::r--,other::---";

	(void)arg;
	assert_int_equal(run_bind(CARD, &run_plain), 0);
	set_list("vfio/7", before);
	assert_int_equal(run_grant(CARD, &to), 0);
	expect_list("/dev/vfio/7",
		"user::rw-,user:7:rw-,user:4242:rw-,group::rw-,mask::rw-,other::---");
	run_revoke(CARD);
	expect_list("/dev/vfio/7", before);
	run_clear_all();
}

static void test_ownership(void **arg)
{
	struct host_grant_options to = run_grant_to(getuid() ? getuid() : 4242, true);
	struct host_grant_options other = run_grant_to(4343, true);
	struct stat st;
	char path[PATH_MAX];

	(void)arg;
	if (getuid())
		skip();
	assert_int_equal(run_bind(CARD, &run_plain), 0);
	snprintf(path, sizeof(path), "%s/dev/vfio/7", fake.root);
	assert_int_equal(chmod(path, 0400), 0);
	assert_int_equal(run_grant(CARD, &to), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 4242);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(run_grant(CARD, &other), -EBUSY);
	assert_non_null(strstr(fake.host.error, "rule 'owner'"));
	assert_int_equal(fake_problems(), 0);
	run_revoke(CARD);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(st.st_mode & 0777, 0400);
	run_clear_all();
}

/* A node that was made anew is not the one that was changed. */
static void test_node_anew(void **arg)
{
	const struct host_grant_options to = run_grant_to(4242, false);

	(void)arg;
	assert_int_equal(run_bind(CARD, &run_plain), 0);
	assert_int_equal(run_grant(CARD, &to), 0);
	make_anew("vfio/7", 0604);
	assert_int_equal(fake_problems(), 1);
	assert_int_equal(run_grant(CARD, &to), 0);
	assert_int_equal(fake_problems(), 0);
	run_clear_all();
	assert_int_equal(run_bind(CARD, &run_plain), 0);
	assert_int_equal(run_grant(CARD, &to), 0);
	make_anew("vfio/7", 0604);
	run_revoke(CARD);
	assert_int_equal(mode_of("vfio/7"), 0604);
	run_clear_all();
}

/* After a restart the group has another number, and its old one is another device's. */
static void test_renumbered(void **arg)
{
	const char *granted = "user::rw-,user:4242:rw-,group::---,mask::rw-,other::---";
	struct host_grant_options to = run_grant_to(4242, false), other = run_grant_to(4343, false);

	(void)arg;
	if (!host_exists("/usr/bin/setfacl"))
		skip();
	assert_int_equal(run_bind(CARD, &run_plain), 0);
	set_mode("vfio/7", 0600);
	to.persist = true;
	assert_int_equal(run_grant(CARD, &to), 0);
	assert_int_equal(run_grant(CARD, &other), 0);
	fake_restart();
	fake_link("../../../../kernel/iommu_groups/9", "sys/bus/pci/devices/" CARD "/iommu_group");
	make_anew("vfio/7", 0604);
	fake_write("", "dev/vfio/9");
	/* What the rule does. */
	set_list("vfio/9", granted);
	/* The one that does not persist has ended, and gets nothing by the other's. */
	assert_int_equal(run_grant(CARD, &to), 0);
	assert_non_null(strstr(fake.notes, "had ended"));
	expect_list("/dev/vfio/9", granted);
	assert_int_equal(fake_problems(), 1);
	run_revoke(CARD);
	expect_list("/dev/vfio/9", "");
	assert_int_equal(mode_of("vfio/9"), 0600);
	assert_int_equal(mode_of("vfio/7"), 0604);
	run_clear_all();
}

/* After a restart another device has the number, and the one granted has no node at all. */
static void test_number_of_another(void **arg)
{
	struct host_grant_options to = run_grant_to(4242, false), other = run_grant_to(4343, false);

	(void)arg;
	if (!host_exists("/usr/bin/setfacl"))
		skip();
	assert_int_equal(run_bind(CARD, &run_plain), 0);
	set_mode("vfio/7", 0600);
	to.persist = true;
	assert_int_equal(run_grant(CARD, &to), 0);
	fake_restart();
	fake_remove("dev/vfio/7");
	fake_remove("sys/bus/pci/devices/" CARD "/driver");
	fake_link("../../../../kernel/iommu_groups/9", "sys/bus/pci/devices/" CARD "/iommu_group");
	fake_link(
		"../../../../kernel/iommu_groups/7", "sys/bus/pci/devices/" ANOTHER "/iommu_group");
	make_anew("vfio/7", 0600);
	fake_link("../../drivers/vfio-pci", "sys/bus/pci/devices/" ANOTHER "/driver");
	assert_int_equal(run_grant(ANOTHER, &other), 0);
	expect_list("/dev/vfio/7", "user::rw-,user:4343:rw-,group::---,mask::rw-,other::---");
	/* It comes back under another number, and takes no record along that is not its own. */
	fake_link("../../drivers/vfio-pci", "sys/bus/pci/devices/" CARD "/driver");
	fake_write("", "dev/vfio/9");
	set_mode("vfio/9", 0600);
	assert_int_equal(run_grant(CARD, &to), 0);
	expect_list("/dev/vfio/9", "user::rw-,user:4242:rw-,group::---,mask::rw-,other::---");
	expect_list("/dev/vfio/7", "user::rw-,user:4343:rw-,group::---,mask::rw-,other::---");
	run_revoke(ANOTHER);
	expect_list("/dev/vfio/7", "");
	run_revoke(CARD);
	expect_list("/dev/vfio/9", "");
	run_clear_all();
}

/* Two grants; the device of one is unbound behind our back: what all share is not its any more. */
static void test_ended_by_itself(void **arg)
{
	const struct host_grant_options first = run_grant_to(4242, false),
					second = run_grant_to(4343, false);

	(void)arg;
	set_mode("iommu", 0600);
	assert_int_equal(run_bind(CARD, &run_plain), 0);
	assert_int_equal(run_bind(ANOTHER, &run_plain), 0);
	assert_int_equal(run_grant(CARD, &first), 0);
	assert_int_equal(run_grant(ANOTHER, &second), 0);
	fake_remove("dev/vfio/7");
	run_revoke(CARD);
	expect_list("/dev/iommu", "user::rw-,user:4343:rw-,group::---,mask::rw-,other::---");
	run_revoke(ANOTHER);
	expect_list("/dev/iommu", "");
	assert_int_equal(mode_of("iommu"), 0600);
	run_clear_all();
}

static void test_limits(void **arg)
{
	struct host_grant_options to = run_grant_to(4242, false);

	(void)arg;
	assert_int_equal(run_bind(CARD, &run_plain), 0);
	assert_int_equal(run_bind(ANOTHER, &run_plain), 0);
	to.memlock = 1025;
	assert_int_equal(run_grant(CARD, &to), 0);
	assert_non_null(strstr(fake_read("etc/security/limits.d/91-pinion-grants.conf"),
		"\nsomebody - memlock 2"));
	to.memlock = 8192;
	assert_int_equal(run_grant(ANOTHER, &to), 0);
	assert_non_null(strstr(fake_read("etc/security/limits.d/91-pinion-grants.conf"),
		"\nsomebody - memlock 8"));
	run_clear_all();
	assert_string_equal(fake_read("etc/security/limits.d/91-pinion-grants.conf"), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lists, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_list_of_before, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_ownership, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_node_anew, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_renumbered, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_number_of_another, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_ended_by_itself, run_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_limits, run_setup, fake_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
