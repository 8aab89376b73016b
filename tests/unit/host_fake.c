/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine made of files.
 */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/acl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host_fake.h"
#include "report.h"

#define DEVICES "sys/bus/pci/devices"
#define BOOT    "11111111-2222-3333-4444-555555555555\n"

struct fake fake;

static void path_of(char path[PATH_MAX], const char *fmt, va_list args) HOST_PRINTF(2, 0);

static void path_of(char path[PATH_MAX], const char *fmt, va_list args)
{
	int used = snprintf(path, PATH_MAX, "%s/", fake.root);

	vsnprintf(path + used, (size_t)(PATH_MAX - used), fmt, args);
}

static void make_folder_of(const char *path)
{
	char folder[PATH_MAX];

	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
	assert_int_equal(host_make_folders(folder), 0);
}

static void write_path(const char *path, const char *text)
{
	FILE *file;

	make_folder_of(path);
	file = fopen(path, "we");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

void fake_write(const char *text, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list args;

	va_start(args, fmt);
	path_of(path, fmt, args);
	va_end(args);
	write_path(path, text);
}

void fake_link(const char *target, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list args;

	va_start(args, fmt);
	path_of(path, fmt, args);
	va_end(args);
	make_folder_of(path);
	remove(path);
	assert_int_equal(symlink(target, path), 0);
}

void fake_remove(const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list args;

	va_start(args, fmt);
	path_of(path, fmt, args);
	va_end(args);
	remove(path);
}

void fake_move(const char *from, const char *to)
{
	char here[PATH_MAX], there[PATH_MAX];

	snprintf(here, sizeof(here), "%s/%s", fake.root, from);
	snprintf(there, sizeof(there), "%s/%s", fake.root, to);
	assert_int_equal(rename(here, there), 0);
}

const char *fake_read(const char *fmt, ...)
{
	static char text[4096];
	char path[PATH_MAX];
	va_list args;

	va_start(args, fmt);
	path_of(path, fmt, args);
	va_end(args);
	if (host_read(text, sizeof(text), "%s", path) < 0)
		text[0] = '\0';
	return text;
}

/*
 * Steps that change something: a test has the process die at one of them.
 */

static void step(void)
{
	if (fake.die_at && ++fake.steps == fake.die_at)
		_exit(99);
}

#define WRAP(type, name, parameters, arguments) \
	type __real_##name parameters;          \
	type __wrap_##name parameters;          \
	type __wrap_##name parameters           \
	{                                       \
		step();                         \
		return __real_##name arguments; \
	}

WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(int, unlink, (const char *path), (path))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, lchown, (const char *path, uid_t uid, gid_t gid), (path, uid, gid))
WRAP(int, acl_set_file, (const char *path, acl_type_t type, acl_t acl), (path, type, acl))

/*
 * The kernel
 */

/* Whose attribute this is: ".../devices/ADDRESS/..."; false: none's. */
static bool address_in(const char *path, char address[PN_PCI_ADDRESS_MAX])
{
	const char *at = strstr(path, "/devices/");

	if (!at)
		return false;
	snprintf(address, PN_PCI_ADDRESS_MAX, "%.12s", at + strlen("/devices/"));
	return true;
}

static int group_number(const char *address)
{
	char name[16];

	if (host_read_link(name, sizeof(name), "%s/" DEVICES "/%s/iommu_group", fake.root, address))
		return -1;
	return atoi(name);
}

static void leave(const char *address)
{
	if (host_driver_is_vfio(fake_driver(address)))
		fake_remove("dev/vfio/%d", group_number(address));
	fake_remove(DEVICES "/%s/driver", address);
}

static void join(const char *address, const char *driver)
{
	char target[128];

	snprintf(target, sizeof(target), "../../../../bus/pci/drivers/%s", driver);
	fake_link(target, DEVICES "/%s/driver", address);
	if (!host_driver_is_vfio(driver))
		return;
	fake_write("", "dev/vfio/%d", group_number(address));
}

static int probe(const char *address)
{
	const char *driver = fake_override(address);

	if (fake.hold_probe || *fake_driver(address))
		return 0;
	if (!*driver)
		driver = fake_read(DEVICES "/%s/native_driver", address);
	if (*driver)
		join(address, driver);
	return 0;
}

/* Virtual functions of a device: 0000:07:10.0 and on, in groups from 70 on; a driver of the
 * kernel's takes them unless it may not. */
static void make_function(const char *of, int index)
{
	char address[PN_PCI_ADDRESS_MAX], link[64];

	snprintf(address, sizeof(address), "0000:07:10.%d", index & 7);
	fake_device(address, "0x020000", "", 70 + index);
	snprintf(link, sizeof(link), "../%s", of);
	fake_link(link, DEVICES "/%s/physfn", address);
	snprintf(link, sizeof(link), "../%s", address);
	fake_link(link, DEVICES "/%s/virtfn%d", of, index);
	if (!strcmp(fake_read(DEVICES "/%s/sriov_drivers_autoprobe", of), "1"))
		join(address, "igbvf");
}

static void remove_function(const char *of, int index)
{
	static const char *const files[] = {"vendor", "device", "driver_override", "class",
		"native_driver", "iommu_group", "physfn", "driver"};
	char address[PN_PCI_ADDRESS_MAX];

	snprintf(address, sizeof(address), "0000:07:10.%d", index & 7);
	leave(address);
	fake_remove("sys/kernel/iommu_groups/%d/devices/%s", 70 + index, address);
	fake_remove(DEVICES "/%s/virtfn%d", of, index);
	for (size_t i = 0; i < HOST_COUNT(files); i++)
		fake_remove(DEVICES "/%s/%s", address, files[i]);
	fake_remove(DEVICES "/%s", address);
}

static int set_functions(const char *of, const char *text)
{
	int now = atoi(fake_read(DEVICES "/%s/sriov_numvfs", of)), count = atoi(text);

	if (now && count)
		return -EBUSY;
	for (int i = 0; i < count; i++)
		make_function(of, i);
	for (int i = 0; i < now; i++)
		remove_function(of, i);
	fake_write(text, DEVICES "/%s/sriov_numvfs", of);
	return 0;
}

static int write_attr(struct host *host, const char *path, const char *text)
{
	const char *name = strrchr(path, '/') + 1;
	char address[PN_PCI_ADDRESS_MAX], driver[32];

	(void)host;
	step();
	if (fake.fail_at && ++fake.writes == fake.fail_at)
		return -EIO;
	if (!strcmp(name, "driver_override") && address_in(path, address)) {
		fake_write(
			*text == '\n' ? "(null)\n" : text, DEVICES "/%s/driver_override", address);
		return 0;
	}
	if (!strcmp(name, "unbind") && address_in(path, address)) {
		if (!*fake_driver(address))
			return -ENOENT;
		leave(address);
		return 0;
	}
	if (!strcmp(name, "sriov_numvfs") && address_in(path, address))
		return set_functions(address, text);
	if (!strcmp(name, "sriov_drivers_autoprobe") && address_in(path, address)) {
		fake_write(text, DEVICES "/%s/sriov_drivers_autoprobe", address);
		return 0;
	}
	if (!strcmp(name, "drivers_probe"))
		return probe(text);
	if (!strcmp(name, "bind") &&
		sscanf(strstr(path, "/drivers/"), "/drivers/%31[^/]", driver) == 1) {
		join(text, driver);
		return 0;
	}
	return -ENOENT;
}

static int load_module(struct host *host, const char *name)
{
	(void)host;
	if (!strcmp(name, "no_vfio_pci"))
		return -ENOENT;
	fake_write("", "sys/bus/pci/drivers/%s/bind", name);
	return 0;
}

static void settle(struct host *host)
{
	(void)host;
}

static bool disk_claimed(struct host *host, const char *name)
{
	(void)host;
	return fake.claimed && !strcmp(fake.claimed, name);
}

static bool group_busy(struct host *host, const char *path)
{
	size_t len = strlen(fake.root);

	(void)host;
	assert_int_equal(strncmp(path, fake.root, len), 0);
	return fake.busy && !strcmp(fake.busy, path + len);
}

#define COPY(array, counter)                                                                      \
	do {                                                                                      \
		to->array = calloc(fake.net.counter + 1, sizeof(*to->array));                     \
		to->counter = fake.net.counter;                                                   \
		if (fake.net.counter)                                                             \
			memcpy(to->array, fake.net.array, fake.net.counter * sizeof(*to->array)); \
	} while (0)

static int read_net(struct host *host, struct host_net *to)
{
	(void)host;
	COPY(links, link_count);
	COPY(addresses, address_count);
	COPY(routes, route_count);
	COPY(sockets, socket_count);
	return 0;
}

static const struct host_ops ops = {
	.write_attr = write_attr,
	.load_module = load_module,
	.settle = settle,
	.read_net = read_net,
	.disk_claimed = disk_claimed,
	.group_busy = group_busy,
};

static void take_note(struct host *host, const char *text)
{
	size_t used = strlen(fake.notes);

	(void)host;
	snprintf(fake.notes + used, sizeof(fake.notes) - used, "%s\n", text);
}

/*
 * The tree
 */

void fake_device(const char *address, const char *class_code, const char *driver, int group)
{
	char target[128];

	fake_write("0x8086\n", DEVICES "/%s/vendor", address);
	fake_write("0x10d3\n", DEVICES "/%s/device", address);
	fake_write("(null)\n", DEVICES "/%s/driver_override", address);
	fake_write(class_code, DEVICES "/%s/class", address);
	fake_write(driver, DEVICES "/%s/native_driver", address);
	if (group >= 0) {
		snprintf(target, sizeof(target), "../../../../kernel/iommu_groups/%d", group);
		fake_link(target, DEVICES "/%s/iommu_group", address);
		snprintf(target, sizeof(target), "../../../../bus/pci/devices/%s", address);
		fake_link(target, "sys/kernel/iommu_groups/%d/devices/%s", group, address);
	}
	if (!*driver)
		return;
	fake_write("", "sys/bus/pci/drivers/%s/bind", driver);
	join(address, driver);
}

const char *fake_driver(const char *address)
{
	static char name[32];

	if (host_read_link(name, sizeof(name), "%s/" DEVICES "/%s/driver", fake.root, address))
		name[0] = '\0';
	return name;
}

const char *fake_override(const char *address)
{
	const char *text = fake_read(DEVICES "/%s/driver_override", address);

	return strcmp(text, "(null)") ? text : "";
}

void fake_disk(const char *address, const char *name, unsigned int major, unsigned int minor)
{
	char number[32], target[PATH_MAX];

	snprintf(number, sizeof(number), "%u:%u\n", major, minor);
	fake_write(number, DEVICES "/%s/nvme/nvme0/%s/dev", address, name);
	fake_link("../../../../../../../class/block", DEVICES "/%s/nvme/nvme0/%s/subsystem",
		address, name);
	snprintf(target, sizeof(target), "%s/" DEVICES "/%s/nvme/nvme0/%s", fake.root, address,
		name);
	fake_link(target, "sys/class/block/%s", name);
}

int fake_interface(const char *name, const char *address)
{
	struct host_link *link = host_net_add_link(&fake.net);

	assert_non_null(link);
	link->index = (int)fake.net.link_count;
	snprintf(link->name, sizeof(link->name), "%s", name);
	if (address) {
		strcpy(link->parent_bus, "pci");
		snprintf(link->parent_device, sizeof(link->parent_device), "%s", address);
		fake_link("../../../../../../class/net", DEVICES "/%s/net/%s/subsystem", address,
			name);
	}
	return link->index;
}

void fake_process(int pid, const char *command, const char *mount_space, const char *mountinfo)
{
	fake_write(command, "proc/%d/comm", pid);
	fake_link(mount_space, "proc/%d/ns/mnt", pid);
	fake_write(mountinfo, "proc/%d/mountinfo", pid);
	fake_write("", "proc/%d/maps", pid);
}

void fake_open(int pid, int fd, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list args;

	va_start(args, fmt);
	path_of(path, fmt, args);
	va_end(args);
	fake_link(path, "proc/%d/fd/%d", pid, fd);
}

size_t fake_problems(void)
{
	struct host_report report;
	struct host_state state;
	size_t count;

	assert_int_equal(host_state_load(&fake.host, &state), 0);
	assert_int_equal(host_report_make(&fake.host, &state, &report), 0);
	count = report.problem_count;
	host_report_free(&report);
	host_state_free(&state);
	return count;
}

bool fake_has_state(void)
{
	char path[PATH_MAX];

	host_state_path(&fake.host, path);
	return host_exists("%s", path);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void fake_restart(void)
{
	fake_write("66666666-2222-3333-4444-555555555555\n", "proc/sys/kernel/random/boot_id");
}

int fake_setup(void **arg)
{
	(void)arg;
	memset(&fake, 0, sizeof(fake));
	strcpy(fake.root, "/tmp/pinion-host-XXXXXX");
	if (!mkdtemp(fake.root) || host_init(&fake.host, fake.root))
		return -1;
	fake.host.ops = &ops;
	fake.host.note = take_note;
	fake_write(BOOT, "proc/sys/kernel/random/boot_id");
	fake_write("", "sys/bus/pci/drivers/vfio-pci/bind");
	fake_write("", "dev/vfio/vfio");
	fake_write("", "dev/iommu");
	fake_process(1, "init\n", "mnt:[1]", "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
	return 0;
}

int fake_teardown(void **arg)
{
	(void)arg;
	fake.die_at = 0;
	host_net_free(&fake.net);
	host_unlock(&fake.host);
	return nftw(fake.root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
