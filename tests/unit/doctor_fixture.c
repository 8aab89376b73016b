/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See doctor_fixture.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor_fixture.h"

const char *const program_name = "doctor-test";

struct doctor doctor;
struct pn_pci_info doctor_devices[4];
char doctor_root_dir[64];
struct doctor_answers doctor_answers;

static const struct {
	const char *path, *text;
} files[] = {
	{"/proc/self/status", "Name:\ttest\nCapInh:\t0000000000000000\nCapEff:\t0000000000000000\n"
			      "CapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t0\n"
			      "Seccomp_filters:\t0\n"},
	{"/proc/self/uid_map", "         0          0 4294967295\n"},
	{"/proc/self/cgroup", "0::/user/command\n"},
	{"/proc/self/mountinfo",
		"25 1 0:22 / / rw - ext4 /dev/vda1 rw\n"
		"30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"},
	{"/proc/self/mounts", "/dev/vda1 / ext4 rw 0 0\n"},
	{"/proc/self/attr/current", "unconfined\n"},
	{"/proc/1/status", "Name:\tinit\n"},
	{"/proc/1/comm", "init\n"},
	{"/proc/cmdline", "root=/dev/vda1 quiet\n"},
	{"/proc/meminfo",
		"MemTotal:       16000000 kB\nMemFree: 1 kB\n"
		"MemAvailable:    8000000 kB\nCommitLimit: 1000 kB\nCommitted_AS: 999 kB\n"},
	{"/proc/interrupts", "  24:  0  IR-PCI-MSI-0000:00:1f.2  0-edge  ahci\n"},
	{"/proc/sys/kernel/io_uring_disabled", "0\n"},
	{"/proc/sys/vm/overcommit_memory", "0\n"},
	{"/proc/sys/user/max_user_namespaces", "31000\n"},
	{"/boot/config-6.12.0-test",
		"# a configuration\nCONFIG_VFIO_PCI=m\nCONFIG_IOMMUFD=y\nCONFIG_HUGETLBFS=y\n"},
	{"/sys/bus/pci/drivers/vfio-pci/bind", ""},
	{"/sys/bus/pci/devices/x", ""},
	{"/sys/class/misc/iommu/dev", "10:1\n"},
	{"/sys/class/iommu/dmar0/type", ""},
	{"/sys/kernel/iommu_groups/7/type", "DMA\n"},
	{"/sys/kernel/irq/24/chip_name", "IR-PCI-MSI-0000:00:1f.2\n"},
	{"/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "64\n"},
	{"/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "64\n"},
	{"/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "0\n"},
	{"/sys/kernel/mm/hugepages/hugepages-2048kB/surplus_hugepages", "0\n"},
	{"/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages", "0\n"},
	{"/sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "65535\n"},
	{"/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N\n"},
	{"/sys/fs/cgroup/cgroup.procs", ""},
	{"/sys/fs/cgroup/user/memory.max", "max\n"},
	{"/sys/fs/cgroup/user/command/hugetlb.2MB.max", "max\n"},
	{"/run/pinion/x", ""},
};

static void full_path(char full[512], const char *path)
{
	assert_true(snprintf(full, 512, "%s%s", doctor_root_dir, path) < 512);
}

static void make_parents(char *full)
{
	for (char *slash = strchr(full + strlen(doctor_root_dir) + 1, '/'); slash;
		slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		assert_true(mkdir(full, 0755) == 0 || errno == EEXIST);
		*slash = '/';
	}
}

void doctor_bytes(const char *path, const void *data, size_t size)
{
	char full[512];
	int fd;

	full_path(full, path);
	make_parents(full);
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, size), (ssize_t)size);
	close(fd);
}

void doctor_file(const char *path, const char *text)
{
	if (text)
		doctor_bytes(path, text, strlen(text));
	else
		doctor_remove(path);
}

void doctor_link(const char *path, const char *target)
{
	char full[512];

	full_path(full, path);
	make_parents(full);
	unlink(full);
	assert_int_equal(symlink(target, full), 0);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void doctor_remove(const char *path)
{
	char full[512];

	full_path(full, path);
	assert_int_equal(nftw(full, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

void doctor_each_file(void (*fn)(const char *path))
{
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		fn(files[i].path);
}

static int open_node(const char *path)
{
	assert_true(strncmp(path, "/dev/", 5) == 0);
	return doctor_answers.node;
}

static int open_group(const char *path, bool *viable)
{
	assert_true(strncmp(path, "/dev/vfio/", 10) == 0);
	*viable = !doctor_answers.not_viable;
	return doctor_answers.group;
}

static void make_machine(struct doctor_machine *machine)
{
	static const struct pn_backend_info backends[] = {
		{"iommufd", "native", true, true, "", "/dev/iommu"},
		{"iommufd-compat", "compat", true, true, "", "/dev/iommu"},
		{"type1", "container", true, true, "", "/dev/vfio/vfio"},
		{"none", "none", true, false, "", ""}};
	static const struct pn_pci_info card = {.address = "0000:00:10.0",
		.vendor = 0x8086,
		.device = 0x10d3,
		.class_code = 0x020000,
		.driver = "vfio-pci",
		.iommu_group = 7,
		.numa_node = PN_NODE_ANY,
		.group_node = "/dev/vfio/7",
		.cdev_node = "/dev/vfio/devices/vfio0"};

	machine->root = doctor_root_dir;
	machine->uid = 1000;
	strcpy(machine->user, "ann");
	strcpy(machine->release, "6.12.0-test");
	strcpy(machine->arch, "x86_64");
	machine->memlock = (struct rlimit){64 << 20, 64 << 20};
	machine->fsize = machine->as = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
	memcpy(machine->backends, backends, sizeof(backends));
	machine->backend_count = 4;
	for (size_t i = 0; i < DOCTOR_TRIALS; i++)
		machine->trials[i].tried = true;
	machine->module_err = -ENODEV;
	machine->open_node = open_node;
	machine->open_group = open_group;
	memset(doctor_devices, 0, sizeof(doctor_devices));
	doctor_devices[0] = card;
	machine->device_count = 1;
}

int doctor_setup(void **state)
{
	(void)state;
	memset(&doctor, 0, sizeof(doctor));
	memset(&doctor_answers, 0, sizeof(doctor_answers));
	strcpy(doctor_root_dir, "/tmp/pinion-doctor-test-XXXXXX");
	if (!mkdtemp(doctor_root_dir))
		return -1;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		doctor_file(files[i].path, files[i].text);
	doctor_link("/proc/self/ns/user", "user:[4026531837]");
	doctor_link("/proc/self/ns/pid", "pid:[4026531836]");
	doctor_link("/proc/self/ns/cgroup", "cgroup:[4026531835]");
	doctor_link("/proc/self/ns/ipc", "ipc:[4026531839]");
	doctor.ask = (struct doctor_ask){
		.devices = {"00:10.0"}, .device_count = 1, .backend = "auto", .mem = 16 << 20};
	make_machine(&doctor.machine);
	return 0;
}

int doctor_teardown(void **state)
{
	(void)state;
	doctor.machine.devices = NULL;
	doctor_free(&doctor);
	doctor_remove("");
	return 0;
}

void doctor_look(void)
{
	struct doctor again = {.ask = doctor.ask, .machine = doctor.machine};

	doctor.machine.devices = NULL;
	doctor_free(&doctor);
	doctor = again;
	doctor.machine.devices = doctor_devices;
	doctor_check(&doctor);
	assert_false(doctor.out_of_memory);
}

const struct doctor_finding *found(
	const char *id, const char *object, enum doctor_state state, const char *text)
{
	const struct doctor_finding *finding = doctor_find(&doctor, id, object);

	if (!finding)
		fail_msg("no finding %s %s", id, object ? object : "");
	if (finding->state != state || !strstr(finding->text, text))
		fail_msg("%s is '%s: %s', not '%s: %s'", id, doctor_state_name(finding->state),
			finding->text, doctor_state_name(state), text);
	return finding;
}

const struct doctor_finding *only(
	const char *id, const char *object, enum doctor_state state, const char *text)
{
	const struct doctor_finding *finding = found(id, object, state, text);

	for (size_t i = 0; i < doctor.finding_count; i++) {
		const struct doctor_finding *other = &doctor.findings[i];

		if (other != finding && other->state != DOCTOR_OK)
			fail_msg("beside %s there is '%s %s: %s'", id,
				doctor_state_name(other->state), other->id, other->text);
	}
	return finding;
}

void mended(const struct doctor_finding *finding, enum doctor_where where, const char *text)
{
	for (unsigned int i = 0; i < finding->mend_count; i++) {
		if (finding->mends[i].where == where && strcmp(finding->mends[i].text, text) == 0)
			return;
	}
	fail_msg("%s is not mended by '%s', %s; but by '%s'", finding->id, text,
		doctor_where_name(where), finding->mend_count ? finding->mends[0].text : "nothing");
}

uint64_t number(const struct doctor_finding *finding, const char *name)
{
	for (unsigned int i = 0; i < finding->number_count; i++) {
		if (strcmp(finding->numbers[i].name, name) == 0)
			return finding->numbers[i].value;
	}
	fail_msg("%s has no number %s", finding->id, name);
	return 0;
}
