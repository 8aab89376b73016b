/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See pci_fake.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pci_fake.h"

struct fake_machine fake;

/*
 * libpciaccess
 */

int __wrap_pci_system_init(void);
void __wrap_pci_system_cleanup(void);
struct pci_device_iterator *__wrap_pci_slot_match_iterator_create(
	const struct pci_slot_match *match);
struct pci_device *__wrap_pci_device_next(struct pci_device_iterator *iter);
void __wrap_pci_iterator_destroy(struct pci_device_iterator *iter);
const char *__wrap_pci_device_get_vendor_name(const struct pci_device *dev);
const char *__wrap_pci_device_get_device_name(const struct pci_device *dev);

struct pci_device_iterator {
	size_t next;
};

static struct pci_device_iterator iterator;

int __wrap_pci_system_init(void)
{
	fake.inits++;
	fake.initialised = true;
	if (fake.failing_inits > 0) {
		fake.failing_inits--;
		return ENOENT;
	}
	return 0;
}

void __wrap_pci_system_cleanup(void)
{
	fake.cleanups += fake.initialised;
	fake.initialised = false;
}

struct pci_device_iterator *__wrap_pci_slot_match_iterator_create(
	const struct pci_slot_match *match)
{
	assert_null(match);
	if (!fake.initialised)
		return NULL;
	iterator.next = 0;
	fake.open_iterators++;
	return &iterator;
}

struct pci_device *__wrap_pci_device_next(struct pci_device_iterator *iter)
{
	assert_true(fake.initialised);
	return iter->next < fake.count ? &fake.functions[iter->next++] : NULL;
}

void __wrap_pci_iterator_destroy(struct pci_device_iterator *iter)
{
	fake.open_iterators -= iter != NULL;
}

const char *__wrap_pci_device_get_vendor_name(const struct pci_device *dev)
{
	(void)dev;
	return fake.vendor_name;
}

const char *__wrap_pci_device_get_device_name(const struct pci_device *dev)
{
	(void)dev;
	return fake.device_name;
}

/*
 * The tree
 */

static void full_path(char full[PATH_MAX], const char *path)
{
	int len = snprintf(full, PATH_MAX, "%s/%s", fake.sysfs, path);

	assert_in_range(len, 1, PATH_MAX - 1);
}

static void make_parents(const char *full)
{
	char part[PATH_MAX];

	snprintf(part, sizeof(part), "%s", full);
	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		assert_true(!mkdir(part, 0755) || errno == EEXIST);
		*slash = '/';
	}
}

void fake_file(const char *path, const char *text)
{
	char full[PATH_MAX];
	int fd;

	full_path(full, path);
	make_parents(full);
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (int)strlen(text));
	close(fd);
}

void fake_link(const char *path, const char *target)
{
	char full[PATH_MAX];

	full_path(full, path);
	make_parents(full);
	assert_int_equal(symlink(target, full), 0);
}

struct pci_device *fake_enumerate(const char *address, unsigned int vendor, unsigned int device)
{
	struct pci_device *function = &fake.functions[fake.count++];
	unsigned int domain, bus, slot, number;

	assert_in_range(fake.count, 1, 16);
	assert_int_equal(sscanf(address, "%x:%x:%x.%x", &domain, &bus, &slot, &number), 4);
	memset(function, 0, sizeof(*function));
	function->domain = domain;
	function->bus = (uint8_t)bus;
	function->dev = (uint8_t)slot;
	function->func = (uint8_t)number;
	function->vendor_id = (uint16_t)vendor;
	function->device_id = (uint16_t)device;
	function->device_class = 0x020000;
	return function;
}

struct pci_device *fake_function(const char *address, unsigned int vendor, unsigned int device,
	const char *driver, int group)
{
	char path[128], target[128];

	snprintf(path, sizeof(path), "bus/pci/devices/%s/numa_node", address);
	fake_file(path, "-1\n");
	if (driver) {
		snprintf(path, sizeof(path), "bus/pci/devices/%s/driver", address);
		snprintf(target, sizeof(target), "../../drivers/%s", driver);
		fake_link(path, target);
	}
	if (group >= 0) {
		snprintf(path, sizeof(path), "bus/pci/devices/%s/iommu_group", address);
		snprintf(target, sizeof(target), "../../../kernel/iommu_groups/%d", group);
		fake_link(path, target);
	}
	return fake_enumerate(address, vendor, device);
}

void fake_interface(const char *address, const char *below, const char *name, bool up)
{
	char path[160];

	snprintf(path, sizeof(path), "bus/pci/devices/%s/%snet/%s/flags", address, below, name);
	fake_file(path, up ? "0x1003\n" : "0x1002\n");
}

int fake_setup(void **state)
{
	(void)state;
	memset(&fake, 0, sizeof(fake));
	snprintf(fake.sysfs, sizeof(fake.sysfs), "%s", "/tmp/pinion-pci-test-XXXXXX");
	return mkdtemp(fake.sysfs) ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

int fake_teardown(void **state)
{
	(void)state;
	return nftw(fake.sysfs, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
