/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checks of pinion doctor on machines that are made up: what each finds, in which state, with
 * which mend; and what it says where it cannot see. Those of memory are in doctor_memory_test.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include <zlib.h>

#include "doctor_fixture.h"

static void all_is_well(void **state)
{
	(void)state;
	doctor_look();
	for (enum doctor_state s = DOCTOR_UNSEEN; s < DOCTOR_STATES; s++) {
		for (size_t i = 0; i < doctor.finding_count; i++) {
			if (doctor.findings[i].state == s)
				fail_msg("%s: %s", doctor.findings[i].id, doctor.findings[i].text);
		}
	}
	assert_int_equal(doctor_status(&doctor), 0);
	assert_string_equal(doctor.chosen->name, "iommufd");
	assert_int_equal(doctor.page_size, PN_PAGE_2M);
	found("limits.memlock", NULL, DOCTOR_OK, "16 MiB on iommufd takes 16 MiB, counted by user");
}

/*
 * Devices
 */

/* One like the first. */
static void add_device(const char *address)
{
	doctor_devices[1] = doctor_devices[0];
	strcpy(doctor_devices[1].address, address);
	doctor.machine.device_count = 2;
}

/* It is not VFIO's. */
static void give_to(struct pn_pci_info *device, const char *driver)
{
	strcpy(device->driver, driver);
	device->group_node[0] = device->cdev_node[0] = '\0';
}

static void a_device_of_the_kernels_is_bound(void **state)
{
	const struct doctor_finding *finding;

	(void)state;
	give_to(&doctor_devices[0], "e1000e");
	strcpy(doctor_devices[0].interfaces, "eth0");
	doctor_look();
	finding = only("devices.usable", "0000:00:10.0", DOCTOR_BLOCKS, "makes it eth0");
	mended(finding, DOCTOR_AS_ROOT, "pinion bind 0000:00:10.0");
	doctor_devices[0].driver[0] = '\0';
	doctor_look();
	mended(only("devices.usable", "0000:00:10.0", DOCTOR_BLOCKS, "bound to no driver"),
		DOCTOR_AS_ROOT, "pinion bind 0000:00:10.0");
}

static void who_is_in_the_way_of_a_group(void **state)
{
	(void)state;
	add_device("0000:00:10.1");
	give_to(&doctor_devices[1], "e1000e");
	doctor_look();
	mended(only("devices.usable", "0000:00:10.0", DOCTOR_BLOCKS, "0000:00:10.1 is in it"),
		DOCTOR_AS_ROOT, "pinion bind 0000:00:10.1");
	/* One without a driver, or of a driver that does no DMA, is not. */
	strcpy(doctor_devices[1].driver, "pcieport");
	doctor_look();
	found("devices.usable", "0000:00:10.0", DOCTOR_OK, "its group is viable");
	/* The kernel knows better. */
	doctor_answers.not_viable = true;
	doctor.ask.backend = "type1";
	doctor_look();
	only("devices.usable", "0000:00:10.0", DOCTOR_BLOCKS, "who is in the way cannot be seen");
}

static void nodes_are_opened_not_computed(void **state)
{
	(void)state;
	doctor_answers.node = -EACCES;
	doctor_look();
	found("devices.usable", "0000:00:10.0", DOCTOR_BLOCKS, "/dev/vfio/devices/vfio0");
	/* Type1 takes the group's. */
	doctor.ask.backend = "type1";
	doctor_look();
	found("devices.usable", "0000:00:10.0", DOCTOR_OK, "/dev/vfio/7 opens");
	doctor_answers.group = -EBUSY;
	doctor_look();
	only("devices.usable", "0000:00:10.0", DOCTOR_BLOCKS, "in use; by whom cannot be seen");
	doctor_file("/proc/77/comm", "holder\n");
	doctor_link("/proc/77/fd/5", "/dev/vfio/7");
	doctor_look();
	only("devices.usable", "0000:00:10.0", DOCTOR_BLOCKS, "in use by process 77 (holder)");
	doctor_answers.group = -EPERM;
	doctor_look();
	mended(only("devices.usable", "0000:00:10.0", DOCTOR_BLOCKS, "a control group"),
		DOCTOR_SETTING, "of a systemd service: DeviceAllow=/dev/vfio/7 rw");
	/* Open by its own node, a device closes its group's. */
	doctor.ask.backend = "iommufd";
	doctor_answers.node = 0;
	doctor_answers.group = -EBUSY;
	doctor_look();
	only("devices.usable", "0000:00:10.0", DOCTOR_BLOCKS, "/dev/vfio/7 is in use");
}

static void devices_by_name(void **state)
{
	static const char *const good[] = {"0000:00:10.0", "00:10.0", "8086:10d3", "8086:10D3"};
	static const char *const bad[] = {"00:10.1", "0001:00:10.0", "8086:10d4"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		doctor.ask.devices[0] = good[i];
		doctor_look();
		found("devices.usable", "0000:00:10.0", DOCTOR_OK, "opens");
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		doctor.ask.devices[0] = bad[i];
		doctor_look();
		only("devices.usable", bad[i], DOCTOR_BLOCKS, "no such PCI device");
	}
	add_device("0000:00:11.0");
	doctor.ask.devices[0] = "8086:10d3";
	doctor_look();
	only("devices.usable", "8086:10d3", DOCTOR_BLOCKS, "2 devices are that");
}

static void one_that_works_is_enough(void **state)
{
	(void)state;
	doctor.ask.device_count = 0;
	doctor_look();
	found("devices.usable", "0000:00:10.0", DOCTOR_OK, "opens");
	add_device("0000:00:11.0");
	doctor_devices[1].iommu_group = -1;
	doctor_look();
	only("devices.usable", "0000:00:11.0", DOCTOR_HURTS, "no IOMMU group");
	doctor_devices[0].iommu_group = -1;
	doctor_look();
	found("devices.usable", "0000:00:11.0", DOCTOR_BLOCKS, "no IOMMU group");
	found("devices.usable", "0000:00:10.0", DOCTOR_BLOCKS, "no IOMMU group");
	doctor.machine.device_count = 0;
	doctor_look();
	only("devices.usable", NULL, DOCTOR_BLOCKS, "no device is bound to VFIO");
	strcpy(doctor.machine.device_error, "no bus");
	doctor_look();
	only("devices.usable", NULL, DOCTOR_BLOCKS, "no bus");
}

/*
 * The IOMMU, and ways to use it
 */

static void why_there_is_no_iommu(void **state)
{
	(void)state;
	doctor_remove("/sys/kernel/iommu_groups");
	doctor_look();
	only("iommu.present", NULL, DOCTOR_BLOCKS, "there is no IOMMU, or the firmware");
	doctor_file("/sys/firmware/acpi/tables/DMAR", "");
	doctor_look();
	only("iommu.present", NULL, DOCTOR_BLOCKS, "Intel VT-d, table DMAR");
	doctor_file("/proc/cmdline", "quiet intel_iommu=off\n");
	doctor_look();
	mended(only("iommu.present", NULL, DOCTOR_BLOCKS, "command line has intel_iommu=off"),
		DOCTOR_SETTING, "take intel_iommu=off from the kernel's command line, and reboot");
	doctor.ask.backend = "none";
	doctor.ask.device_count = 0;
	doctor_look();
	found("iommu.present", NULL, DOCTOR_OK, "not needed");
	doctor.ask.backend = "auto";
	doctor_remove("/sys/kernel");
	doctor_look();
	found("iommu.present", NULL, DOCTOR_UNSEEN, "/sys is not mounted");
}

static void interrupts_are_remapped_or_not(void **state)
{
	(void)state;
	doctor_file("/sys/kernel/irq/24/chip_name", "PCI-MSI\n");
	doctor_file("/proc/interrupts", "  24:  0  PCI-MSI  0-edge  ahci\n");
	doctor_look();
	only("iommu.interrupts", NULL, DOCTOR_BLOCKS, "not remapped");
	doctor_file("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n");
	doctor_look();
	only("iommu.interrupts", NULL, DOCTOR_HURTS, "can raise any interrupt");
	doctor_file("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N\n");
	doctor_remove("/sys/kernel/irq");
	doctor_remove("/proc/interrupts");
	doctor_look();
	only("iommu.interrupts", NULL, DOCTOR_UNSEEN, "whether interrupts are remapped");
	strcpy(doctor.machine.arch, "aarch64");
	doctor_look();
	assert_null(doctor_find(&doctor, "iommu.interrupts", NULL));
}

static void not_available(unsigned int which, const char *reason)
{
	doctor.machine.backends[which].available = false;
	strcpy(doctor.machine.backends[which].reason, reason);
}

static void backends_in_order(void **state)
{
	const struct pn_pci_info bound = doctor_devices[0];

	(void)state;
	not_available(0, "the node is closed");
	doctor_look();
	assert_string_equal(doctor.chosen->name, "iommufd-compat");
	found("backends.passed_over", "iommufd", DOCTOR_OK, "instead: the node is closed");
	doctor.ask.backend = "iommufd";
	doctor_answers.node = -EACCES;
	doctor_look();
	mended(found("backends.available", "iommufd", DOCTOR_BLOCKS, "the node is closed"),
		DOCTOR_AS_ROOT, "pinion grant 0000:00:10.0 --user 1000");
	/* A grant is of a device that is bound. */
	doctor_devices[0].group_node[0] = doctor_devices[0].cdev_node[0] = '\0';
	doctor_look();
	mended(found("backends.available", "iommufd", DOCTOR_BLOCKS, "the node is closed"),
		DOCTOR_AS_ROOT, "chmod 0666 /dev/iommu");
	doctor_devices[0] = bound;
	doctor_answers.node = -ENOENT;
	doctor_look();
	mended(found("backends.available", "iommufd", DOCTOR_BLOCKS, "the node is closed"),
		DOCTOR_AS_ROOT, "modprobe iommufd");
	doctor_file("/boot/config-6.12.0-test", "CONFIG_VFIO_PCI=m\nCONFIG_HUGETLBFS=y\n");
	doctor_look();
	mended(found("backends.available", "iommufd", DOCTOR_BLOCKS, "the node is closed"),
		DOCTOR_SETTING, "a kernel with CONFIG_IOMMUFD");
	doctor.ask.backend = "type1,iommufd";
	doctor_look();
	assert_string_equal(doctor.chosen->name, "type1");
	doctor.machine.backend_signal = SIGSYS;
	doctor_look();
	found("backends.available", NULL, DOCTOR_BLOCKS, "ended a child with SIGSYS");
	doctor.machine.backend_signal = 0;
	doctor.machine.backend_count = 0;
	doctor_look();
	found("backends.available", NULL, DOCTOR_UNSEEN, "no child could be made");
}

/*
 * The kernel
 */

static void a_driver_that_is_missing(void **state)
{
	(void)state;
	doctor_remove("/sys/bus/pci/drivers/vfio-pci");
	doctor_look();
	mended(only("kernel.vfio_pci", NULL, DOCTOR_BLOCKS, "not loaded"), DOCTOR_AS_ROOT,
		"modprobe vfio-pci");
	doctor_file("/boot/config-6.12.0-test", "CONFIG_HUGETLBFS=y\n");
	doctor_look();
	only("kernel.vfio_pci", NULL, DOCTOR_BLOCKS, "built without CONFIG_VFIO_PCI");
	doctor_file("/boot/config-6.12.0-test", NULL);
	doctor_look();
	found("kernel.config", NULL, DOCTOR_UNSEEN, "/proc/config.gz");
	found("kernel.vfio_pci", NULL, DOCTOR_BLOCKS, "not loaded");
	doctor_remove("/sys/bus/pci/drivers");
	doctor_look();
	found("kernel.vfio_pci", NULL, DOCTOR_UNSEEN, "/sys/bus/pci is not");
}

static void a_configuration_that_is_packed(void **state)
{
	static const char text[] = "CONFIG_HUGETLBFS=y\nCONFIG_VFIO_PCI=y\n";
	unsigned char packed[256];
	z_stream stream = {0};

	(void)state;
	assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	stream.next_in = (unsigned char *)text;
	stream.avail_in = sizeof(text) - 1;
	stream.next_out = packed;
	stream.avail_out = sizeof(packed);
	assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
	doctor_bytes("/proc/config.gz", packed, stream.total_out);
	doctor_look();
	found("kernel.config", NULL, DOCTOR_OK, "built as /proc/config.gz says");
	/* Half of it is none: the other file is taken. */
	doctor_bytes("/proc/config.gz", packed, 8);
	doctor_look();
	found("kernel.config", NULL, DOCTOR_OK, "built as /boot/config-6.12.0-test says");
	deflateEnd(&stream);
}

/*
 * System calls
 */

static void refuse(enum doctor_trial_id id, int err, int signal)
{
	doctor.machine.trials[id].err = err;
	doctor.machine.trials[id].signal = signal;
}

static void calls_that_are_refused(void **state)
{
	(void)state;
	refuse(DOCTOR_TRY_IO_URING, EPERM, 0);
	doctor_look();
	found("syscalls.io_uring", NULL, DOCTOR_OK, "measured by the second meter");
	doctor_file("/proc/sys/kernel/io_uring_disabled", "2\n");
	refuse(DOCTOR_TRY_ZEROCOPY, EPERM, 0);
	doctor_look();
	mended(only("syscalls.io_uring", NULL, DOCTOR_HURTS, "neither io_uring nor"),
		DOCTOR_AS_ROOT, "sysctl -w kernel.io_uring_disabled=0");
	refuse(DOCTOR_TRY_IO_URING, 0, 0);
	refuse(DOCTOR_TRY_MEMFD, EPERM, 0);
	doctor_look();
	only("syscalls.refused", "memfd_create", DOCTOR_BLOCKS, "EPERM");
	/* A mount that can be written to serves as well, but not if the call is deadly. */
	doctor_file("/proc/self/mounts", "none /huge hugetlbfs rw,relatime,pagesize=2M 0 0\n");
	doctor_file("/huge/x", "");
	doctor_look();
	only("syscalls.refused", "memfd_create", DOCTOR_HURTS,
		"the hugetlbfs that is mounted only");
	refuse(DOCTOR_TRY_MEMFD, 0, SIGSYS);
	doctor_look();
	only("syscalls.refused", "memfd_create", DOCTOR_BLOCKS, "SIGSYS");
	refuse(DOCTOR_TRY_MEMFD, 0, 0);
	refuse(DOCTOR_TRY_MEMFD_HUGETLB, EPERM, 0);
	doctor_look();
	only("syscalls.refused", "memfd_create(MFD_HUGETLB)", DOCTOR_HURTS, "EPERM");
}

static void placing_takes_a_call(void **state)
{
	(void)state;
	refuse(DOCTOR_TRY_MBIND, EPERM, 0);
	doctor_look();
	assert_int_equal(doctor_status(&doctor), 0);
	doctor_devices[0].numa_node = 0;
	doctor_file("/sys/devices/system/node/node0/meminfo", "");
	doctor_look();
	only("syscalls.refused", "mbind", DOCTOR_BLOCKS, "cannot be placed");
	/* The library then takes it that there is no NUMA. */
	refuse(DOCTOR_TRY_NUMA, ENOSYS, 0);
	doctor_look();
	assert_int_equal(doctor_status(&doctor), 0);
	refuse(DOCTOR_TRY_POPULATE, EINVAL, 0);
	doctor_look();
	only("syscalls.refused", "MADV_POPULATE_WRITE", DOCTOR_HURTS, "where the kernel has none");
	refuse(DOCTOR_TRY_POPULATE, EPERM, 0);
	doctor_look();
	only("syscalls.refused", "MADV_POPULATE_WRITE", DOCTOR_BLOCKS, "EPERM");
	refuse(DOCTOR_TRY_POPULATE, 0, 0);
	strcpy(doctor.machine.region_error, "getrandom: no");
	doctor_look();
	only("syscalls.refused", "region", DOCTOR_BLOCKS, "getrandom: no");
	doctor.machine.region_signal = SIGSYS;
	doctor_look();
	only("syscalls.refused", "region", DOCTOR_BLOCKS, "SIGSYS");
	doctor.machine.region_signal = 0;
	doctor.machine.region_error[0] = '\0';
	for (size_t i = 0; i < DOCTOR_TRIALS; i++)
		doctor.machine.trials[i].tried = false;
	doctor_look();
	only("syscalls.tried", NULL, DOCTOR_UNSEEN, "no child could be made");
}

/*
 * Containers
 */

static void containers_are_recognised(void **state)
{
	(void)state;
	doctor_file("/.dockerenv", "");
	doctor_look();
	/* Left over in a machine whose files were once a container's. */
	assert_int_equal(doctor.container, DOCTOR_NO_CONTAINER);
	doctor_link("/proc/self/ns/pid", "pid:[4026532001]");
	doctor_look();
	assert_int_equal(doctor.container, DOCTOR_IN_DOCKER);
	doctor_file("/run/.containerenv", "");
	doctor_look();
	assert_int_equal(doctor.container, DOCTOR_IN_PODMAN);
	doctor.machine.kube_env = true;
	doctor_look();
	assert_int_equal(doctor.container, DOCTOR_IN_KUBE);
	doctor.machine.kube_env = false;
	doctor_file("/.dockerenv", NULL);
	doctor_file("/run/.containerenv", NULL);
	doctor_file("/proc/1/comm", "bwrap\n");
	doctor_look();
	assert_int_equal(doctor.container, DOCTOR_IN_BWRAP);
	doctor_file("/proc/1/comm", "sh\n");
	strcpy(doctor.machine.container_env, "systemd-nspawn");
	doctor_look();
	assert_int_equal(doctor.container, DOCTOR_IN_NSPAWN);
	doctor_remove("/proc/self/ns");
	strcpy(doctor.machine.container_env, "");
	doctor_look();
	found("container.namespaces", NULL, DOCTOR_UNSEEN, "user, pid, cgroup, ipc");
}

static void a_container_is_mended_from_outside(void **state)
{
	const struct doctor_finding *finding;

	(void)state;
	doctor.ask.in_container = true;
	doctor.ask.backend = "type1";
	doctor.machine.memlock = (struct rlimit){0, 0};
	doctor_look();
	finding = found("limits.memlock", NULL, DOCTOR_BLOCKS, "soft 0 bytes");
	mended(finding, DOCTOR_PODMAN, "--ulimit memlock=16777216:16777216");
	mended(finding, DOCTOR_DOCKER, "--ulimit memlock=16777216:16777216");
	mended(finding, DOCTOR_OCI,
		"process.rlimits: {\"type\": \"RLIMIT_MEMLOCK\", \"hard\": 16777216, \"soft\": "
		"16777216}");
	doctor_answers.group = -EPERM;
	doctor_look();
	mended(found("devices.usable", "0000:00:10.0", DOCTOR_BLOCKS, "/dev/vfio/7"), DOCTOR_PODMAN,
		"--device /dev/vfio/7");
	doctor_answers.group = -ENOENT;
	doctor_file("/proc/1/comm", "bwrap\n");
	doctor_look();
	finding = found("devices.usable", "0000:00:10.0", DOCTOR_BLOCKS, "/dev/vfio/7");
	assert_int_equal(finding->mend_count, 1);
	mended(finding, DOCTOR_BWRAP, "--dev-bind /dev/vfio/7 /dev/vfio/7");
}

static void security_modules(void **state)
{
	(void)state;
	doctor_file("/sys/module/apparmor/parameters/enabled", "Y\n");
	doctor_file("/proc/self/attr/apparmor/current", "pinion (enforce)\n");
	doctor_file("/sys/fs/selinux/enforce", "1");
	doctor_file("/proc/self/attr/current", "user_u:user_r:user_t");
	doctor_look();
	found("privileges.apparmor", NULL, DOCTOR_OK, "profile pinion (enforce)");
	found("privileges.selinux", NULL, DOCTOR_OK, "enforcing, as user_u:user_r:user_t");
	doctor_remove("/proc/self/attr");
	doctor_file("/sys/fs/selinux/enforce", NULL);
	doctor_file("/sys/kernel/security/lsm", "capability,selinux\n");
	doctor_look();
	found("privileges.apparmor", NULL, DOCTOR_UNSEEN, "which profile");
	found("privileges.selinux", NULL, DOCTOR_UNSEEN, "whether it enforces");
	doctor_file("/proc/self/status", NULL);
	doctor_look();
	found("privileges.ipc_lock", NULL, DOCTOR_UNSEEN, "/proc/self/status");
}

static void making_namespaces(void **state)
{
	(void)state;
	doctor_look();
	found("privileges.namespaces", NULL, DOCTOR_OK, "no sysctl keeps users");
	doctor_file("/proc/sys/kernel/unprivileged_userns_clone", "0\n");
	doctor_look();
	found("privileges.namespaces", NULL, DOCTOR_OK,
		"no rootless container starts (kernel.unprivileged_userns_clone)");
	doctor_remove("/proc/sys/user");
	doctor_look();
	found("privileges.namespaces", NULL, DOCTOR_UNSEEN, "max_user_namespaces");
}

static void reports(void **state)
{
	(void)state;
	doctor.machine.module_err = -EACCES;
	doctor_look();
	only("reports.module", NULL, DOCTOR_HURTS, "/dev/pinion may not be opened");
	doctor.machine.module_err = 0;
	doctor.machine.module_version = 1;
	doctor_look();
	found("reports.module", NULL, DOCTOR_OK, "version 1");
	strcpy(doctor.machine.run_dir, "/no/such");
	doctor_look();
	only("reports.directory", NULL, DOCTOR_HURTS, "/no/such");
}

/*
 * Files that make no sense
 */

static void hostile_file(const char *path)
{
	static char long_line[200000];
	static const char *const texts[] = {"", "\n", "-1\n", "99999999999999999999999\n",
		"\033[31m\001\177", "0::\n:::\n::::::\n", "1 2 3\n", "max\n", long_line,
		"0::/a/../../../..\n", " - cgroup2 \n - cgroup \n", "MemAvailable:\nCapEff:\n"};
	char before[4096];
	ssize_t length = doctor_read(&doctor, before, sizeof(before), "%s", path);

	assert_true(length >= 0);
	memset(long_line, 'a', sizeof(long_line) - 1);
	memcpy(long_line, "0::/a", 5);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		doctor_file(path, texts[i]);
		doctor_look();
		for (size_t f = 0; f < doctor.finding_count; f++) {
			assert_null(strchr(doctor.findings[f].text, '\033'));
			assert_true(*doctor.findings[f].text != '\0');
		}
	}
	doctor_file(path, NULL);
	doctor_look();
	doctor_file(path, before);
}

static void files_that_make_no_sense(void **state)
{
	(void)state;
	doctor_each_file(hostile_file);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, doctor_setup, doctor_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_is_well),
		TEST(a_device_of_the_kernels_is_bound),
		TEST(who_is_in_the_way_of_a_group),
		TEST(nodes_are_opened_not_computed),
		TEST(devices_by_name),
		TEST(one_that_works_is_enough),
		TEST(why_there_is_no_iommu),
		TEST(interrupts_are_remapped_or_not),
		TEST(backends_in_order),
		TEST(a_driver_that_is_missing),
		TEST(a_configuration_that_is_packed),
		TEST(calls_that_are_refused),
		TEST(placing_takes_a_call),
		TEST(containers_are_recognised),
		TEST(a_container_is_mended_from_outside),
		TEST(security_modules),
		TEST(making_namespaces),
		TEST(reports),
		TEST(files_that_make_no_sense),
	};

	return cmocka_run_group_tests_name("doctor", tests, NULL, NULL);
}
