/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finding PCI functions: spelling, choice, enumeration beside an application that uses libpciaccess
 * itself, sysfs, and the words for a function that cannot be opened.
 */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base_priv.h"
#include "pci_fake.h"
#include "pci_priv.h"

static void assert_error_has(const char *words)
{
	if (!strstr(pn_error(), words))
		fail_msg("'%s' is not in: %s", words, pn_error());
}

static void assert_error_lacks(const char *words)
{
	if (strstr(pn_error(), words))
		fail_msg("'%s' is in: %s", words, pn_error());
}

/*
 * Spelling
 */

static void parses_addresses(void **state)
{
	static const struct {
		const char *text;
		uint64_t key;
	} good[] = {
		{"0000:00:02.0", 0x10},
		{"00:02.0", 0x10},
		{"0:2.0", 0x10},
		{"0000:ff:1f.7", 0xffff},
		{"0000:FF:1F.7", 0xffff},
		{"0001:00:00.0", 0x10000},
		{"10000:e1:00.1", 0x10000e101},
		{"fffff:ff:1f.7", 0xfffffffff},
	};
	struct pn_pci_spec spec;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(good); i++) {
		assert_int_equal(pn_pci_spec_parse(good[i].text, &spec), 0);
		assert_false(spec.by_id);
		assert_true(spec.key == good[i].key);
	}
}

static void parses_ids(void **state)
{
	struct pn_pci_spec spec;

	(void)state;
	assert_int_equal(pn_pci_spec_parse("8086:10D3", &spec), 0);
	assert_true(spec.by_id);
	assert_int_equal(spec.vendor, 0x8086);
	assert_int_equal(spec.device, 0x10d3);
}

static void refuses_what_is_neither(void **state)
{
	static const char *const bad[] = {"", ".", ":", "::", "eth0", "8086", "8086:", "00:02",
		"8086:10d", "8086:10d33", "+086:10d3", "0x86:10d3", "8086 10d3", "00:20.0",
		"00:02.8", "00:02.", "00:02.00", "00:02.0 ", " 00:02.0", "00:-2.0", "100:02.0",
		"0000:100:02.0", "100000:00:02.0", ":00:02.0", "0000::02.0", "0:0:0:0.0", "00.02:0",
		"0000:00:02,0", "g0:02.0"};
	struct pn_pci_spec spec;

	(void)state;
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		if (pn_pci_spec_parse(bad[i], &spec) != -EINVAL)
			fail_msg("'%s' was taken", bad[i]);
		assert_error_has("pinion devices");
	}
}

/* Whatever is accepted means one function or one kind; nothing reads beyond the text. */
static void survives_random_text(void **state)
{
	static const char letters[] = "0123456789abcdefF:. gx-";
	struct pn_pci_spec spec;
	unsigned int seed = 1;
	char *text;
	size_t len;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		len = (size_t)rand_r(&seed) % 15;
		text = malloc(len + 1);
		assert_non_null(text);
		for (size_t j = 0; j < len; j++)
			text[j] = letters[(size_t)rand_r(&seed) % (sizeof(letters) - 1)];
		text[len] = '\0';
		if (!pn_pci_spec_parse(text, &spec))
			assert_true(spec.by_id || spec.key < UINT64_C(1) << 36);
		free(text);
	}
}

/*
 * Choice
 */

static void put(struct pn_pci_info *info, const char *address, uint16_t vendor, uint16_t device)
{
	memset(info, 0, sizeof(*info));
	snprintf(info->address, sizeof(info->address), "%s", address);
	info->vendor = vendor;
	info->device = device;
}

static int choose(const char *text, const struct pn_pci_info *list, size_t count, char *address)
{
	struct pn_pci_info info;
	struct pn_pci_spec spec;
	int err;

	assert_int_equal(pn_pci_spec_parse(text, &spec), 0);
	err = pn_pci_spec_match(&spec, list, count, &info);
	if (!err)
		strcpy(address, info.address);
	return err;
}

static void chooses(void **state)
{
	char address[PN_PCI_ADDRESS_MAX];
	struct pn_pci_info list[8];

	(void)state;
	put(&list[0], "0000:00:00.0", 0x8086, 0x29c0);
	put(&list[1], "0000:00:02.0", 0x8086, 0x10d3);
	put(&list[2], "0000:00:03.0", 0x8086, 0x10d3);
	put(&list[3], "0000:00:04.0", 0x8086, 0x100e);
	put(&list[4], "0000:00:05.0", 0x1af4, 0x1041);
	put(&list[5], "0000:00:06.0", 0x1af4, 0x1042);
	put(&list[6], "0000:01:00.0", 0x1af4, 0x1043);
	put(&list[7], "10000:00:02.0", 0x10de, 0x0001);

	assert_int_equal(choose("00:02.0", list, 8, address), 0);
	assert_string_equal(address, "0000:00:02.0");
	assert_int_equal(choose("10000:00:02.0", list, 8, address), 0);
	assert_string_equal(address, "10000:00:02.0");
	assert_int_equal(choose("8086:100e", list, 8, address), 0);
	assert_string_equal(address, "0000:00:04.0");

	assert_int_equal(choose("8086:10d3", list, 8, address), -ENOTUNIQ);
	assert_error_has("2 PCI functions");
	assert_error_has("0000:00:02.0, 0000:00:03.0");

	/* The four nearest on the bus, nearest first. */
	assert_int_equal(choose("00:06.1", list, 8, address), -ENODEV);
	assert_error_has("on bus 0000:00: 0000:00:06.0 (1af4:1042), 0000:00:05.0 (1af4:1041), "
			 "0000:00:04.0 (8086:100e), 0000:00:03.0 (8086:10d3);");
	assert_error_lacks("0000:00:02.0");
	assert_int_equal(choose("1af4:1050", list, 8, address), -ENODEV);
	assert_error_has("of vendor 1af4: 0000:01:00.0 (1af4:1043), 0000:00:06.0");
	assert_int_equal(choose("02:00.0", list, 8, address), -ENODEV);
	assert_error_has("nothing else on bus 0000:02");
	assert_error_has("8 functions");
	assert_int_equal(choose("02:00.0", list, 0, address), -ENODEV);
	assert_error_has("no PCI device at all");
}

static void lists_so_many_of_many(void **state)
{
	struct pn_pci_info list[40];
	char address[PN_PCI_ADDRESS_MAX];

	(void)state;
	for (unsigned int i = 0; i < PN_ARRAY_SIZE(list); i++) {
		snprintf(address, sizeof(address), "%05x:00:%02x.0", 0x10000 + i, i & 0x1f);
		put(&list[i], address, 0x8086, 0x10d3);
	}
	assert_int_equal(choose("8086:10d3", list, PN_ARRAY_SIZE(list), address), -ENOTUNIQ);
	assert_error_has("40 PCI functions");
	assert_error_has("1000b:00:0b.0, ...");
}

/*
 * Enumeration
 */

static void scans_in_order_and_drops_what_is_gone(void **state)
{
	struct pn_pci_info *list;
	size_t count;

	(void)state;
	fake.vendor_name = "Intel Corporation";
	fake.device_name = "A name of far more than ninety-five characters, which is what the "
			   "structure has room for, so that it is cut";
	fake_function("10000:00:02.0", 0x8086, 0x10d3, NULL, -1);
	fake_function("0000:00:1f.0", 0x8086, 0x100e, NULL, -1);
	fake_enumerate("0000:00:03.0", 0x8086, 0x10d3);
	fake_function("0000:00:02.0", 0x8086, 0x10d3, NULL, -1);

	assert_int_equal(pn_pci_scan_at(fake.sysfs, &list, &count), 0);
	assert_int_equal(count, 3);
	assert_string_equal(list[0].address, "0000:00:02.0");
	assert_string_equal(list[1].address, "0000:00:1f.0");
	assert_string_equal(list[2].address, "10000:00:02.0");
	assert_int_equal(list[0].class_code, 0x020000);
	assert_string_equal(list[0].vendor_name, "Intel Corporation");
	assert_int_equal(strlen(list[0].device_name), sizeof(list[0].device_name) - 1);
	free(list);
}

static void leaves_libpciaccess_as_found(void **state)
{
	struct pn_pci_info *list;
	size_t count;

	(void)state;
	fake_function("0000:00:02.0", 0x8086, 0x10d3, NULL, -1);
	assert_int_equal(pn_pci_scan_at(fake.sysfs, &list, &count), 0);
	free(list);
	assert_false(fake.initialised);
	assert_int_equal(fake.cleanups, 1);

	/* An application that has initialised it keeps what it has. */
	fake.initialised = true;
	assert_int_equal(pn_pci_scan_at(fake.sysfs, &list, &count), 0);
	free(list);
	assert_int_equal(count, 1);
	assert_true(fake.initialised);
	assert_int_equal(fake.inits, 1);
	assert_int_equal(fake.cleanups, 1);
	assert_int_equal(fake.open_iterators, 0);
}

static void scans_again_when_a_function_goes_away_meanwhile(void **state)
{
	struct pn_pci_info *list;
	size_t count;

	(void)state;
	fake.failing_inits = 2;
	assert_int_equal(pn_pci_scan_at(fake.sysfs, &list, &count), 0);
	assert_int_equal(count, 0);
	free(list);
	fake.failing_inits = 100;
	assert_int_equal(pn_pci_scan_at(fake.sysfs, &list, &count), -ENOENT);
	assert_error_has("/sys");
	assert_false(fake.initialised);
	assert_int_equal(fake.open_iterators, 0);
}

static void reads_sysfs(void **state)
{
	struct pn_pci_info info;

	(void)state;
	fake_function("0000:00:02.0", 0x8086, 0x10d3, "vfio-pci", 7);
	fake_file("bus/pci/devices/0000:00:02.0/numa_node", "1\n");
	assert_int_equal(pn_pci_find_at(fake.sysfs, "00:02.0", &info), 0);
	assert_string_equal(info.driver, "vfio-pci");
	assert_int_equal(info.iommu_group, 7);
	assert_int_equal(info.numa_node, 1);
	assert_string_equal(info.group_node, "/dev/vfio/7");
	assert_string_equal(info.cdev_node, "");
	assert_string_equal(info.interfaces, "");

	fake_function("0000:00:03.0", 0x8086, 0x100e, "e1000", 8);
	fake_interface("0000:00:03.0", "", "eth0", true);
	assert_int_equal(pn_pci_find_at(fake.sysfs, "00:03.0", &info), 0);
	assert_string_equal(info.driver, "e1000");
	assert_int_equal(info.numa_node, PN_NODE_ANY);
	assert_string_equal(info.group_node, "");
	assert_string_equal(info.interfaces, "eth0");

	fake_function("0000:00:04.0", 0x1af4, 0x1041, "virtio-pci", -1);
	fake_interface("0000:00:04.0", "virtio2/", "ens4", false);
	assert_int_equal(pn_pci_find_at(fake.sysfs, "1af4:1041", &info), 0);
	assert_int_equal(info.iommu_group, -1);
	assert_string_equal(info.interfaces, "ens4");

	/* In no-IOMMU mode VFIO makes a group of its own. */
	fake_function("0000:00:05.0", 0x8086, 0x100f, "vfio-pci", 9);
	fake_file("kernel/iommu_groups/9/name", "vfio-noiommu\n");
	assert_int_equal(pn_pci_find_at(fake.sysfs, "00:05.0", &info), 0);
	assert_string_equal(info.group_node, "/dev/vfio/noiommu-9");
}

/* The folder alone means a VFIO device without a node of its own. */
static void finds_the_devices_own_node(void **state)
{
	struct pn_pci_info info;

	(void)state;
	fake_function("0000:00:02.0", 0x8086, 0x10d3, "vfio-pci", 7);
	fake_file("bus/pci/devices/0000:00:02.0/vfio-dev/vfio12/uevent", "");
	assert_int_equal(pn_pci_find_at(fake.sysfs, "00:02.0", &info), 0);
	assert_string_equal(info.cdev_node, "");
	fake_file("bus/pci/devices/0000:00:02.0/vfio-dev/vfio12/dev", "511:12\n");
	assert_int_equal(pn_pci_find_at(fake.sysfs, "00:02.0", &info), 0);
	assert_string_equal(info.cdev_node, "/dev/vfio/devices/vfio12");
	assert_string_equal(info.group_node, "/dev/vfio/7");

	fake_function("0000:00:03.0", 0x8086, 0x10d3, "vfio-pci", 8);
	fake_file("bus/pci/devices/0000:00:03.0/vfio-dev/vfio/dev", "511:0\n");
	fake_file("bus/pci/devices/0000:00:03.0/vfio-dev/vfio1x/dev", "511:0\n");
	fake_file("bus/pci/devices/0000:00:03.0/vfio-dev/xvfio1/dev", "511:0\n");
	fake_file("bus/pci/devices/0000:00:03.0/vfio-dev/vfio-1/dev", "511:0\n");
	fake_file("bus/pci/devices/0000:00:03.0/vfio-dev/vfio1234567890123456/dev", "511:0\n");
	assert_int_equal(pn_pci_find_at(fake.sysfs, "00:03.0", &info), 0);
	assert_string_equal(info.cdev_node, "");
}

static void reads_many_interfaces_as_far_as_they_fit(void **state)
{
	struct pn_pci_info info;
	char name[32];

	(void)state;
	fake_function("0000:00:02.0", 0x8086, 0x10d3, "ice", 7);
	for (int i = 0; i < 12; i++) {
		snprintf(name, sizeof(name), "enp0s2f0np%03d", i);
		fake_interface("0000:00:02.0", "", name, i == 3);
	}
	assert_int_equal(pn_pci_find_at(fake.sysfs, "00:02.0", &info), 0);
	/* Three names of 13 characters with two commas are 41. */
	assert_int_equal(strlen(info.interfaces), 41);
	pn_pci_interfaces_up(fake.sysfs, info.address, name, sizeof(name));
	assert_string_equal(name, "enp0s2f0np003");
}

static void distrusts_sysfs(void **state)
{
	struct pn_pci_info info;

	(void)state;
	fake_function("0000:00:02.0", 0x8086, 0x10d3, NULL, -1);
	fake_link("bus/pci/devices/0000:00:02.0/iommu_group", "x/99999999999999");
	fake_file("bus/pci/devices/0000:00:02.0/numa_node", "1x\n");
	fake_link("bus/pci/devices/0000:00:02.0/driver",
		"x/a-driver-with-a-name-that-is-too-long-to-be-one");
	assert_int_equal(pn_pci_find_at(fake.sysfs, "00:02.0", &info), 0);
	assert_int_equal(info.iommu_group, -1);
	assert_int_equal(info.numa_node, PN_NODE_ANY);
	assert_string_equal(info.driver, "");
}

static void refuses_null(void **state)
{
	struct pn_pci_info info;

	(void)state;
	assert_int_equal(pn_pci_find(NULL, &info), -EINVAL);
	assert_int_equal(pn_pci_find("00:02.0", NULL), -EINVAL);
	assert_int_equal(pn_pci_scan(NULL, NULL), -EINVAL);
	assert_int_equal(pn_pci_find("nonsense", &info), -EINVAL);
}

/*
 * Refusals
 */

static int check(const char *spec)
{
	struct pn_pci_info info;

	assert_int_equal(pn_pci_find_at(fake.sysfs, spec, &info), 0);
	return pn_pci_check(fake.sysfs, &info, false);
}

static void accepts_vfio_drivers(void **state)
{
	(void)state;
	fake_function("0000:00:02.0", 0x8086, 0x10d3, "vfio-pci", 7);
	fake_function("0000:00:03.0", 0x15b3, 0x101e, "mlx5_vfio_pci", 8);
	fake_function("0000:00:04.0", 0x19e5, 0xa250, "hisi-acc-vfio-pci", 9);
	assert_int_equal(check("00:02.0"), 0);
	assert_int_equal(check("00:03.0"), 0);
	assert_int_equal(check("00:04.0"), 0);
}

static void says_how_to_bind(void **state)
{
	(void)state;
	fake_function("0000:00:02.0", 0x8086, 0x10d3, NULL, 7);
	assert_int_equal(check("00:02.0"), -ENXIO);
	assert_error_has("0000:00:02.0 (8086:10d3) is bound to no driver");
	assert_error_has("not to vfio-pci; as root: pinion bind 0000:00:02.0");
	assert_error_lacks("/sys");

	fake_function("0000:00:03.0", 0x8086, 0x10d3, "e1000e", 8);
	assert_int_equal(check("00:03.0"), -ENXIO);
	assert_error_has("bound to the driver e1000e");
	assert_error_has("not to vfio-pci; as root: pinion bind 0000:00:03.0");
	assert_error_lacks("/sys");
	assert_error_lacks("WARNING");

	fake_interface("0000:00:03.0", "", "eth0", false);
	assert_int_equal(check("00:03.0"), -ENXIO);
	assert_error_has("interface eth0 (down) goes away");
	assert_error_lacks("WARNING");

	fake_interface("0000:00:03.0", "", "eth0", true);
	assert_int_equal(check("00:03.0"), -ENXIO);
	assert_error_has("WARNING: its interface eth0 is up");
	assert_true(strlen(pn_error()) < PN_ERROR_MAX - 1);
}

static void says_what_is_wrong_with_the_iommu(void **state)
{
	(void)state;
	fake_function("0000:00:02.0", 0x8086, 0x10d3, "vfio-pci", -1);
	assert_int_equal(check("00:02.0"), -ENXIO);
	assert_error_has("intel_iommu=on");
	assert_error_has("ls /sys/kernel/iommu_groups");

	fake_file("class/iommu/dmar0/uevent", "");
	assert_int_equal(check("00:02.0"), -ENXIO);
	assert_error_has("not behind it");
	assert_error_lacks("intel_iommu=on");

	fake_function("0000:00:05.0", 0x8086, 0x100f, "vfio-pci", 9);
	fake_file("kernel/iommu_groups/9/name", "vfio-noiommu\n");
	assert_int_equal(check("00:05.0"), -ENXIO);
	assert_error_has("no-IOMMU mode");
}

static void refuses_bridges(void **state)
{
	(void)state;
	fake_function("0000:00:1c.0", 0x8086, 0x3420, "pcieport", 3)->device_class = 0x060400;
	assert_int_equal(check("00:1c.0"), -ENXIO);
	assert_error_has("is a bridge");
}

#define FAKE(test) cmocka_unit_test_setup_teardown(test, fake_setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_addresses),
		cmocka_unit_test(parses_ids),
		cmocka_unit_test(refuses_what_is_neither),
		cmocka_unit_test(survives_random_text),
		cmocka_unit_test(chooses),
		cmocka_unit_test(lists_so_many_of_many),
		FAKE(scans_in_order_and_drops_what_is_gone),
		FAKE(leaves_libpciaccess_as_found),
		FAKE(scans_again_when_a_function_goes_away_meanwhile),
		FAKE(reads_sysfs),
		FAKE(finds_the_devices_own_node),
		FAKE(reads_many_interfaces_as_far_as_they_fit),
		FAKE(distrusts_sysfs),
		FAKE(refuses_null),
		FAKE(accepts_vfio_drivers),
		FAKE(says_how_to_bind),
		FAKE(says_what_is_wrong_with_the_iommu),
		FAKE(refuses_bridges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
