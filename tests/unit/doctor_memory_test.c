/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What pinion doctor says of memory on machines that are made up: limits of the process, hugepages
 * and who has them, control groups, and small pages.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "doctor_fixture.h"

#define POOL  "/sys/kernel/mm/hugepages/hugepages-2048kB/"
#define NODE1 "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/"

/*
 * Limits
 */

static void a_limit_is_compared_to_the_page(void **state)
{
	const struct doctor_finding *finding;

	(void)state;
	doctor.machine.memlock = (struct rlimit){16 << 20, 64 << 20};
	doctor_look();
	found("limits.memlock", NULL, DOCTOR_OK, "soft 16 MiB, hard 64 MiB");
	doctor.machine.memlock.rlim_cur -= 1;
	doctor_look();
	finding = only("limits.memlock", NULL, DOCTOR_BLOCKS, "takes 16 MiB");
	assert_int_equal(doctor_status(&doctor), DOCTOR_EXIT_BLOCKS);
	assert_int_equal(number(finding, "needed_bytes"), 16 << 20);
	mended(finding, DOCTOR_AS_USER, "ulimit -S -l 16384");
	doctor.machine.memlock = (struct rlimit){4096, (16 << 20) - 1};
	doctor_look();
	finding = only("limits.memlock", NULL, DOCTOR_BLOCKS, "hard 16777215 bytes");
	mended(finding, DOCTOR_AS_ROOT, "prlimit --pid $$ --memlock=16777216:16777216");
}

static void what_others_have_counts_by_user(void **state)
{
	(void)state;
	doctor.machine.memlock = (struct rlimit){16 << 20, 64 << 20};
	doctor.machine.user_locked = 1;
	doctor_look();
	only("limits.memlock", NULL, DOCTOR_BLOCKS, "1 pages of it for what the user has locked");
	doctor.ask.backend = "type1";
	doctor_look();
	found("limits.memlock", NULL, DOCTOR_OK, "counted by process");
	doctor.ask.backend = "auto";
	doctor.machine.user_locked = 0;
	doctor.machine.user_locked_err = -EPERM;
	doctor_look();
	only("limits.user_locked", NULL, DOCTOR_UNSEEN, "cannot be measured");
	assert_int_equal(doctor_status(&doctor), 0);
}

static void without_a_size_nothing_is_compared(void **state)
{
	(void)state;
	doctor.ask.mem = 0;
	doctor_look();
	found("limits.memlock", NULL, DOCTOR_OK, "--mem SIZE says");
	doctor.machine.memlock.rlim_cur = PN_PAGE_2M - 1;
	doctor_look();
	only("limits.memlock", NULL, DOCTOR_HURTS, "not even one hugepage of 2 MiB");
	doctor.machine.memlock.rlim_cur = 0;
	doctor_look();
	only("limits.memlock", NULL, DOCTOR_BLOCKS, "nothing can be mapped");
}

static void a_capability_counts_where_the_kernel_counts_it(void **state)
{
	(void)state;
	doctor.machine.memlock = (struct rlimit){0, 0};
	doctor_file("/proc/self/status", "CapEff:\t0000000000004000\nCapBnd:\t0000000000004000\n");
	doctor_look();
	found("limits.memlock", NULL, DOCTOR_OK, "no limit applies");
	/* The bounding set is no capability. */
	doctor_file("/proc/self/status", "CapEff:\t0000000000000000\nCapBnd:\t0000000000004000\n");
	doctor_look();
	found("privileges.ipc_lock", NULL, DOCTOR_OK, "bounding set, which gives nothing");
	found("limits.memlock", NULL, DOCTOR_BLOCKS, "soft 0 bytes");
	/* Nor is one in a user namespace. */
	doctor_file("/proc/self/status", "CapEff:\t0000000000004000\nCapBnd:\t0000000000004000\n");
	doctor_link("/proc/self/ns/user", "user:[4026532000]");
	doctor_file("/proc/self/uid_map", "0 1000 1\n");
	doctor_look();
	found("privileges.ipc_lock", NULL, DOCTOR_OK, "does not count");
	found("privileges.user_namespace", NULL, DOCTOR_OK, "uid 0 here is uid 1000 outside");
	found("limits.memlock", NULL, DOCTOR_BLOCKS, "soft 0 bytes");
}

static void sizes_of_files_and_entries(void **state)
{
	(void)state;
	doctor.machine.fsize.rlim_cur = (16 << 20) - 1;
	doctor_look();
	mended(only("limits.fsize", NULL, DOCTOR_BLOCKS, "RLIMIT_FSIZE"), DOCTOR_AS_USER,
		"ulimit -S -f unlimited");
	doctor.machine.fsize.rlim_cur = 16 << 20;
	/* The address space holds the program as well. */
	doctor_file("/proc/self/status", "VmSize:\t  4 kB\nCapEff:\t0\nCapBnd:\t0\n");
	doctor.machine.as.rlim_cur = (16 << 20) + 4095;
	doctor_look();
	mended(only("limits.as", NULL, DOCTOR_BLOCKS, "RLIMIT_AS"), DOCTOR_AS_USER,
		"ulimit -S -v unlimited");
	doctor.machine.as.rlim_cur++;
	doctor.ask.backend = "type1";
	doctor_file("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "0\n");
	doctor_look();
	only("limits.dma_entries", NULL, DOCTOR_BLOCKS, "0 mappings");
	doctor_file("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "63\n");
	doctor_look();
	only("limits.dma_entries", NULL, DOCTOR_HURTS, "63 mappings");
	assert_int_equal(doctor_status(&doctor), DOCTOR_EXIT_HURTS);
	doctor_remove("/sys/module/vfio_iommu_type1");
	doctor_look();
	only("limits.dma_entries", NULL, DOCTOR_UNSEEN, "dma_entry_limit");
}

/*
 * Memory
 */

static void hugepages_are_counted(void **state)
{
	const struct doctor_finding *finding;

	(void)state;
	doctor_file(POOL "free_hugepages", "9\n");
	doctor_file(POOL "resv_hugepages", "1\n");
	doctor.machine.holders.list[0] = (struct doctor_holder){
		.pid = 12, .name = "one", .page_size = PN_PAGE_2M, .pages = 55};
	doctor.machine.holders.count = 1;
	doctor_look();
	found("memory.hugepages", "2 MiB", DOCTOR_OK, "9 of 64 free");
	found("memory.holders", "2 MiB", DOCTOR_OK, "55 in use: process 12 (one) 55");
	/* Another that is promised to somebody. */
	doctor_file(POOL "resv_hugepages", "2\n");
	doctor_look();
	finding = only("memory.hugepages", "2 MiB", DOCTOR_HURTS, "8 are needed, short by 1");
	mended(finding, DOCTOR_AS_ROOT,
		"echo 65 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
	assert_int_equal(doctor.page_size, PN_PAGE_4K);
	doctor.ask.page_size = PN_PAGE_2M;
	doctor_look();
	only("memory.hugepages", "2 MiB", DOCTOR_BLOCKS, "short by 1");
	doctor_file(POOL "nr_overcommit_hugepages", "1\n");
	doctor_look();
	only("memory.hugepages", "2 MiB", DOCTOR_HURTS, "made on the fly");
	doctor.ask.page_size = PN_PAGE_1G;
	doctor_look();
	found("memory.hugepages", "1 GiB", DOCTOR_BLOCKS, "no pages of that size");
	doctor.ask.page_size = PN_PAGE_4K;
	doctor_look();
	assert_int_equal(doctor_status(&doctor), 0);
}

static void hugepages_of_the_devices_node(void **state)
{
	(void)state;
	doctor_devices[0].numa_node = 1;
	doctor_file(
		"/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "60\n");
	doctor_file(
		"/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "60\n");
	doctor_file(NODE1 "nr_hugepages", "4\n");
	doctor_file(NODE1 "free_hugepages", "4\n");
	doctor_look();
	mended(only("memory.hugepages", "2 MiB", DOCTOR_HURTS,
		       "(free: node 0: 60 of 60, node 1: 4 of 4); 8 are needed on node 1, short by "
		       "4"),
		DOCTOR_AS_ROOT,
		"echo 8 > /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages");
	doctor_devices[0].numa_node = 0;
	doctor_look();
	found("memory.node", NULL, DOCTOR_OK, "on node 0");
	doctor_devices[0].numa_node = 3;
	doctor_look();
	found("memory.node", NULL, DOCTOR_BLOCKS, "node 3");
}

static void who_keeps_hugepages(void **state)
{
	struct doctor_holders *holders = &doctor.machine.holders;

	(void)state;
	doctor_file(POOL "free_hugepages", "4\n");
	holders->list[0] = (struct doctor_holder){.pid = 55,
		.name = "pause",
		.page_size = PN_PAGE_2M,
		.pages = 40,
		.mount = true,
		.path = "/dev/hugepages"};
	holders->list[1] = (struct doctor_holder){
		.page_size = PN_PAGE_2M, .pages = 10, .mount = true, .path = "/mnt/huge"};
	holders->count = 2;
	holders->unseen = 3;
	doctor_look();
	mended(found("memory.mount", "/dev/hugepages", DOCTOR_HURTS,
		       "40 pages of 2 MiB are kept by files there, in the mount namespace of "
		       "process 55 (pause)"),
		DOCTOR_AS_ROOT,
		"nsenter -t 55 -m umount /dev/hugepages # when nobody needs its files");
	found("memory.holders", "2 MiB", DOCTOR_OK, "60 in use: files on /mnt/huge 10");
	holders->count = 1;
	holders->list[0].pages = 59;
	doctor_look();
	mended(found("memory.holders", "2 MiB", DOCTOR_UNSEEN, "who keeps 1 of the 60 pages"),
		DOCTOR_AS_ROOT, "pinion doctor --as-user ann");
	doctor_link("/proc/self/ns/pid", "pid:[4026532001]");
	doctor_look();
	found("memory.holders", "2 MiB", DOCTOR_UNSEEN, "outside of this pid namespace");
	doctor_link("/proc/self/ns/pid", "pid:[4026531836]");
	holders->count = 2;
	holders->list[1].pages = 10;
	holders->list[0].pages = 50;
	doctor_look();
	/* Who may mount chooses where, and root may copy the command. */
	strcpy(holders->list[0].path, "/tmp/a'; reboot \033[2J");
	doctor_look();
	mended(found("memory.mount", "/tmp/a'; reboot ?[2J", DOCTOR_HURTS, "50 pages"),
		DOCTOR_AS_ROOT,
		"nsenter -t 55 -m umount '/tmp/a'\\''; reboot ?[2J' # when nobody needs its files");
	strcpy(holders->list[0].path, "/dev/hugepages");
	doctor_look();
	/* All is explained. */
	found("memory.hugepages", "2 MiB", DOCTOR_HURTS, "short by 4");
	found("memory.mount", "/dev/hugepages", DOCTOR_HURTS, "50 pages");
	assert_int_equal(doctor_count(&doctor, DOCTOR_UNSEEN), 0);
}

static void limits_of_control_groups(void **state)
{
	(void)state;
	doctor_file("/sys/fs/cgroup/user/command/hugetlb.2MB.max", "8388608\n");
	doctor_file("/sys/fs/cgroup/user/command/hugetlb.2MB.current", "0\n");
	doctor_look();
	mended(only("memory.cgroup_hugetlb", NULL, DOCTOR_HURTS, "leaves 8 MiB; 16 MiB is needed"),
		DOCTOR_AS_ROOT, "echo 16777216 > /sys/fs/cgroup/user/command/hugetlb.2MB.max");
	doctor.ask.page_size = PN_PAGE_2M;
	/* The level above leaves less. */
	doctor_file("/sys/fs/cgroup/user/hugetlb.2MB.rsvd.max", "8388608\n");
	doctor_file("/sys/fs/cgroup/user/hugetlb.2MB.rsvd.current", "4194304\n");
	doctor_look();
	only("memory.cgroup_hugetlb", NULL, DOCTOR_BLOCKS,
		"/sys/fs/cgroup/user/hugetlb.2MB.rsvd.max leaves 4 MiB");
	doctor.ask.page_size = PN_PAGE_4K;
	doctor_file("/sys/fs/cgroup/user/memory.max", "33554432\n");
	doctor_file("/sys/fs/cgroup/user/memory.current", "20971520\n");
	doctor_file("/sys/fs/cgroup/user/memory.stat", "anon 1\nactive_file 2097152\n"
						       "inactive_file 2097152\n");
	doctor_look();
	found("memory.cgroup_memory", NULL, DOCTOR_OK, "memory.max leaves 16 MiB");
	doctor_file("/sys/fs/cgroup/user/memory.current", "20971521\n");
	doctor_look();
	mended(only("memory.cgroup_memory", NULL, DOCTOR_BLOCKS, "16 MiB is needed"),
		DOCTOR_AS_ROOT, "echo 33554433 > /sys/fs/cgroup/user/memory.max");
	doctor_file("/proc/self/cgroup", NULL);
	doctor_look();
	only("memory.cgroup_memory", NULL, DOCTOR_UNSEEN, "/proc/self/cgroup");
}

static void control_groups_of_version_1(void **state)
{
	(void)state;
	doctor.ask.page_size = PN_PAGE_2M;
	doctor_file("/proc/self/cgroup", "5:cpu,hugetlb:/box/one\n4:memory:/box\n0::/x\n");
	doctor_file("/proc/self/mountinfo",
		"30 25 0:26 /box /cg/huge rw - cgroup cgroup rw,cpu,hugetlb\n"
		"31 25 0:27 / /cg/mem rw - cgroup cgroup rw,memory\n"
		"32 25 0:28 / /cg/two rw - cgroup2 cgroup2 rw\n");
	doctor_file("/cg/huge/one/hugetlb.2MB.limit_in_bytes", "4194304\n");
	doctor_file("/cg/huge/one/hugetlb.2MB.usage_in_bytes", "2097152\n");
	doctor_file("/cg/mem/box/memory.limit_in_bytes", "9223372036854771712\n");
	doctor_file("/cg/mem/box/memory.usage_in_bytes", "1\n");
	doctor_look();
	only("memory.cgroup_hugetlb", NULL, DOCTOR_BLOCKS,
		"/cg/huge/one/hugetlb.2MB.limit_in_bytes leaves 2 MiB");
	found("memory.cgroup_memory", NULL, DOCTOR_OK, "no control group");
}

static void small_pages(void **state)
{
	(void)state;
	doctor.ask.page_size = PN_PAGE_4K;
	doctor_file("/proc/meminfo", "MemAvailable:   16383 kB\n");
	doctor_look();
	only("memory.available", NULL, DOCTOR_BLOCKS, "16 MiB is needed");
	doctor_file("/proc/meminfo", "MemAvailable:   16384 kB\nCommitLimit: 20000 kB\n"
				     "Committed_AS: 3617 kB\n");
	doctor_file("/proc/sys/vm/overcommit_memory", "2\n");
	doctor_look();
	only("memory.commit", NULL, DOCTOR_BLOCKS, "vm.overcommit_memory is 2");
	doctor_file("/proc/meminfo", "MemAvailable:   16384 kB\nCommitLimit: 20000 kB\n"
				     "Committed_AS: 3616 kB\n");
	doctor_look();
	assert_int_equal(doctor_status(&doctor), 0);
	doctor_file("/proc/meminfo", NULL);
	doctor_look();
	only("memory.available", NULL, DOCTOR_UNSEEN, "/proc/meminfo");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, doctor_setup, doctor_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_limit_is_compared_to_the_page),
		TEST(what_others_have_counts_by_user),
		TEST(without_a_size_nothing_is_compared),
		TEST(a_capability_counts_where_the_kernel_counts_it),
		TEST(sizes_of_files_and_entries),
		TEST(hugepages_are_counted),
		TEST(hugepages_of_the_devices_node),
		TEST(who_keeps_hugepages),
		TEST(limits_of_control_groups),
		TEST(control_groups_of_version_1),
		TEST(small_pages),
	};

	return cmocka_run_group_tests_name("doctor_memory", tests, NULL, NULL);
}
