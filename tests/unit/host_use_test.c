/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which rules speak against taking a device away, each on a machine made of files that has just
 * that.
 */
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host_fake.h"
#include "use.h"

#define CARD   "0000:01:00.0"
#define SECOND "0000:02:00.0"
#define DISK   "0000:03:00.0"

static int setup(void **arg)
{
	if (fake_setup(arg))
		return -1;
	fake_device(CARD, "0x020000", "e1000e", 1);
	fake_device(SECOND, "0x020000", "e1000e", 2);
	fake_device(DISK, "0x010802", "nvme", 3);
	return 0;
}

/* The rules that these devices meet, as "rule rule ..."; with "!" for what --force leaves, and "!!"
 * for what nothing sets aside. */
static const char *rules_of(const char *const *devices, size_t count)
{
	static const char *const marks[] = {
		[HOST_USE_FORCE] = "", [HOST_USE_CUT] = "!", [HOST_USE_NEVER] = "!!"};
	static char text[512];
	struct host_pci list[4];
	struct host_uses uses;
	size_t used = 0;

	for (size_t i = 0; i < count; i++)
		assert_int_equal(host_pci_read(&fake.host, devices[i], &list[i]), 0);
	assert_int_equal(host_uses_find(&fake.host, list, count, &uses), 0);
	text[0] = '\0';
	for (size_t i = 0; i < uses.count; i++) {
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s%s", i ? " " : "",
			uses.items[i].rule, marks[uses.items[i].weight]);
		assert_true(uses.items[i].text[0] != '\0');
	}
	host_uses_free(&uses);
	return text;
}

static void expect(const char *device, const char *rules)
{
	assert_string_equal(rules_of(&device, 1), rules);
}

static void add_address(int link, unsigned int space)
{
	struct host_address *address = host_net_add_address(&fake.net);

	address->link = link;
	address->space = space;
	strcpy(address->text, "192.0.2.1/24");
}

static void add_route(int link)
{
	struct host_route *route = host_net_add_route(&fake.net);

	route->link = link;
}

static struct host_link *link_at(int index)
{
	return &fake.net.links[index - 1];
}

static void test_nothing(void **arg)
{
	(void)arg;
	fake_interface("eth0", CARD);
	expect(CARD, "");
	expect(DISK, "");
}

static void test_kinds(void **arg)
{
	(void)arg;
	fake_device("0000:00:01.0", "0x060400", "pcieport", 4);
	fake_device("0000:00:1f.0", "0x060100", "lpc_ich", 5);
	fake_device("0000:04:00.0", "0x030000", "", 6);
	fake_write("1\n", "sys/bus/pci/devices/0000:04:00.0/boot_vga");
	fake_device("0000:05:00.0", "0x020000", "", -1);
	expect("0000:00:01.0", "bridge!!");
	expect("0000:00:1f.0", "");
	expect("0000:04:00.0", "boot-vga");
	expect("0000:05:00.0", "no-iommu!!");
	fake_write("N\n", "sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
	expect("0000:05:00.0", "no-iommu!!");
	fake_write("Y\n", "sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
	expect("0000:05:00.0", "");
	fake_write("2\n", "sys/bus/pci/devices/" CARD "/sriov_numvfs");
	expect(CARD, "virtual-functions");
}

static void test_address(void **arg)
{
	int eth = fake_interface("eth0", CARD), other = fake_interface("eth1", SECOND);

	(void)arg;
	add_address(eth, 0);
	add_address(other, 0);
	/* Down, an address is of no use; but the machine's last one is not to go unseen. */
	expect(CARD, "");
	link_at(eth)->flags = link_at(other)->flags = IFF_UP;
	expect(CARD, "address");
	assert_string_equal(
		rules_of((const char *const[]){CARD, SECOND}, 2), "address address last-network!");
}

static void test_default_route(void **arg)
{
	int eth = fake_interface("eth0", CARD), other = fake_interface("eth1", SECOND);

	(void)arg;
	add_route(eth);
	expect(CARD, "default-route last-network!");
	expect(SECOND, "");
	add_route(other);
	expect(CARD, "default-route");
	assert_string_equal(rules_of((const char *const[]){CARD, SECOND}, 2),
		"default-route default-route last-network!");
}

/* eth0 and eth1 in a bond, a VLAN on it, the address and the route on that. */
static void test_stack(void **arg)
{
	int eth = fake_interface("eth0", CARD), other = fake_interface("eth1", SECOND);
	int bond = fake_interface("bond0", NULL), vlan = fake_interface("bond0.7", NULL);

	(void)arg;
	link_at(eth)->master = link_at(other)->master = bond;
	strcpy(link_at(bond)->kind, "bond");
	link_at(vlan)->lower = bond;
	link_at(vlan)->flags = IFF_UP;
	add_address(vlan, 0);
	add_route(vlan);
	/* The other port keeps it on the wire. */
	expect(CARD, "address default-route enslaved");
	assert_string_equal(rules_of((const char *const[]){CARD, SECOND}, 2),
		"address default-route enslaved address default-route enslaved last-network!");
	link_at(other)->master = 0;
	expect(CARD, "address default-route enslaved last-network!");
	expect(SECOND, "");
}

/* What is left has an address or a route, and no wire. */
static void test_no_wire_left(void **arg)
{
	int eth = fake_interface("eth0", CARD), bridge = fake_interface("br0", NULL);
	int guest = fake_interface("vnet0", NULL), tunnel = fake_interface("wg0", NULL);

	(void)arg;
	strcpy(link_at(bridge)->kind, "bridge");
	strcpy(link_at(guest)->kind, "tun");
	strcpy(link_at(tunnel)->kind, "wireguard");
	link_at(eth)->flags = link_at(bridge)->flags = link_at(tunnel)->flags = IFF_UP;
	/* Containers' bridge, of which nothing leads out. */
	add_address(eth, 0);
	add_address(bridge, 0);
	expect(CARD, "address last-network!");
	expect(SECOND, "");
	/* A tunnel goes through what is taken. */
	add_route(tunnel);
	expect(CARD, "address last-network!");
	expect(SECOND, "");
	add_route(eth);
	expect(CARD, "address default-route last-network!");
	/* The other port is a virtual machine's. */
	link_at(eth)->master = link_at(guest)->master = bridge;
	expect(CARD, "address default-route enslaved last-network!");
	/* A second card keeps it on the wire. */
	link_at(fake_interface("eth1", SECOND))->master = bridge;
	add_route(bridge);
	expect(CARD, "address default-route enslaved");
}

/* Two links that stand on each other, which the kernel does not allow, end all the same. */
static void test_circle(void **arg)
{
	int eth = fake_interface("eth0", CARD), one = fake_interface("one", NULL);
	int two = fake_interface("two", NULL);

	(void)arg;
	link_at(eth)->master = one;
	link_at(one)->lower = two;
	link_at(two)->lower = one;
	expect(CARD, "enslaved");
}

static void test_sockets(void **arg)
{
	int eth = fake_interface("eth0", CARD);
	struct host_link_socket *socket;

	(void)arg;
	socket = host_net_add_socket(&fake.net);
	socket->link = eth;
	expect(CARD, "packet");
	socket->xdp = true;
	expect(CARD, "xdp");
	link_at(eth)->xdp = true;
	expect(CARD, "xdp xdp");
	socket->link = 99;
	expect(CARD, "xdp");
}

static void test_other_space(void **arg)
{
	int eth = fake_interface("eth0", CARD);

	(void)arg;
	/* In a container's namespace: sysfs does not show it, the kernel tells whose it is. */
	fake_remove("sys/bus/pci/devices/" CARD "/net/eth0/subsystem");
	link_at(eth)->space = 1;
	link_at(eth)->flags = IFF_UP;
	link_at(eth)->pid = 7;
	add_address(eth, 0);
	expect(CARD, "");
	add_address(eth, 1);
	expect(CARD, "address");
}

static void test_remote_root(void **arg)
{
	int eth = fake_interface("eth0", CARD);

	(void)arg;
	fake_write("20 1 0:20 / / rw - nfs4 server:/root rw\n", "proc/1/mountinfo");
	link_at(eth)->flags = IFF_UP;
	add_address(eth, 0);
	expect(CARD, "address network-root!!");
	/* By iSCSI, encrypted. */
	fake_interface("eth1", SECOND);
	link_at(eth + 1)->flags = IFF_UP;
	add_address(eth + 1, 0);
	fake_write("20 1 253:0 / / rw - ext4 /dev/mapper/root rw\n", "proc/1/mountinfo");
	fake_link("../../devices/virtual/block/dm-0", "sys/dev/block/253:0");
	fake_write("", "sys/devices/pci/host2/target2:0:0/2:0:0:0/block/sda/sda1/dev");
	fake_link("../../../../pci/host2/target2:0:0/2:0:0:0/block/sda/sda1",
		"sys/devices/virtual/block/dm-0/slaves/sda1");
	expect(CARD, "address");
	fake_write("", "sys/devices/platform/host3/session1/block/sdb/dev");
	fake_link("../../../../platform/host3/session1/block/sdb",
		"sys/devices/virtual/block/dm-0/slaves/sdb");
	expect(CARD, "address network-root!!");
	fake_write("20 1 0:33 / / rw - btrfs /dev/nbd0 rw\n", "proc/1/mountinfo");
	fake_write("", "sys/devices/virtual/block/nbd0/dev");
	fake_link("../../devices/virtual/block/nbd0", "sys/class/block/nbd0");
	expect(CARD, "address network-root!!");
}

/*
 * Disks
 */

static void test_mounts(void **arg)
{
	(void)arg;
	fake_disk(DISK, "nvme0n1", 259, 0);
	expect(DISK, "");
	fake_write("20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
		   "21 20 259:0 / /srv\\040data rw shared:1 - ext4 /dev/nvme0n1 rw\n",
		"proc/1/mountinfo");
	expect(DISK, "mounted");
	fake_write("20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 259:0 / /boot rw - ext4 x rw\n",
		"proc/1/mountinfo");
	expect(DISK, "system-disk!!");
	fake_write("20 1 259:0 / / rw - ext4 /dev/nvme0n1 rw\n", "proc/1/mountinfo");
	expect(DISK, "system-disk!!");
	/* The number is btrfs's own; the source tells. */
	fake_write("20 1 0:33 / / rw - btrfs /dev/nvme0n1 rw\n", "proc/1/mountinfo");
	expect(DISK, "system-disk!!");
	/* In a container only; its root is not the machine's. */
	fake_write("20 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "proc/1/mountinfo");
	fake_process(50, "box\n", "mnt:[50]", "9 1 259:0 / / rw - ext4 /dev/nvme0n1 rw\n");
	expect(DISK, "mounted");
}

static void test_bad_mounts(void **arg)
{
	(void)arg;
	fake_disk(DISK, "nvme0n1", 259, 0);
	fake_write("\n\n20\n20 1 259\n20 1 259:0\n21 20 259:0 / /x rw shared:1\n - \n20 1 - ",
		"proc/1/mountinfo");
	expect(DISK, "");
}

/* What a container names may not reach a terminal as it is. */
static void test_hostile_names(void **arg)
{
	struct host_mounts mounts;

	(void)arg;
	fake_write("20 1 8:1 / /\033[2Jx\\033y\001 rw - e\177t /dev/\007 rw\n"
		   "20 1 8:1 / /b\303\274ro\302\2332J\\302\\233 rw - x y\\1",
		"proc/1/mountinfo");
	assert_int_equal(host_mounts_read(&fake.host, &mounts), 0);
	assert_int_equal(mounts.count, 2);
	assert_string_equal(mounts.items[1].point, "/b\303\274ro??2J??");
	assert_string_equal(mounts.items[1].source, "y\\1");
	assert_string_equal(mounts.items[0].point, "/?[2Jx?y?");
	assert_string_equal(mounts.items[0].type, "e?t");
	assert_string_equal(mounts.items[0].source, "/dev/?");
	host_mounts_free(&mounts);
}

static void expect_text(const char *device, const char *part)
{
	struct host_uses uses;
	struct host_pci pci;

	assert_int_equal(host_pci_read(&fake.host, device, &pci), 0);
	assert_int_equal(host_uses_find(&fake.host, &pci, 1, &uses), 0);
	assert_true(uses.count > 0);
	assert_non_null(strstr(uses.items[0].text, part));
	host_uses_free(&uses);
}

/* Nor run anything, in a command that is there to be pasted. */
static void test_hostile_commands(void **arg)
{
	int eth = fake_interface("a;reboot", CARD);

	(void)arg;
	link_at(eth)->flags = IFF_UP;
	add_address(eth, 0);
	expect_text(CARD, "; ip link set 'a;reboot' down first");
	fake_disk(DISK, "nvme0n1", 259, 0);
	fake_write("21 20 259:0 / /media/$(id)'x rw - ext4 /dev/nvme0n1 rw\n", "proc/1/mountinfo");
	expect_text(DISK, "; umount '/media/$(id)'\\''x' first");
	fake_write(
		"21 20 259:0 / /media/disk-1_a.b rw - ext4 /dev/nvme0n1 rw\n", "proc/1/mountinfo");
	expect_text(DISK, "; umount /media/disk-1_a.b first");
}

static void test_swap(void **arg)
{
	(void)arg;
	fake_disk(DISK, "nvme0n1", 259, 0);
	fake_write("Filename\tType\tSize\tUsed\tPriority\n/swap.img file 1 0 -2\n", "proc/swaps");
	expect(DISK, "");
	fake_write("Filename\tType\n/dev/nvme0n1 partition 1 0 -2\n", "proc/swaps");
	expect(DISK, "swap");
}

static void test_holders(void **arg)
{
	(void)arg;
	fake_disk(DISK, "nvme0n1", 259, 0);
	fake_write("253:0\n", "sys/class/block/dm-0/dev");
	fake_write("253:1\n", "sys/class/block/dm-1/dev");
	fake_write("", "sys/bus/pci/devices/" DISK "/nvme/nvme0/nvme0n1/holders/dm-0/x");
	expect(DISK, "holders");
	/* Each other's holder, which cannot be: it ends. */
	fake_write("", "sys/class/block/dm-0/holders/dm-1/x");
	fake_write("", "sys/class/block/dm-1/holders/dm-0/x");
	expect(DISK, "holders holders");
	fake_write("20 1 253:1 / / rw - xfs /dev/mapper/root rw\n", "proc/1/mountinfo");
	expect(DISK, "holders system-disk!!");
}

/* btrfs has a number of its own, and on a device mapper its source is a name of that. */
static void test_btrfs(void **arg)
{
	(void)arg;
	fake_disk(DISK, "nvme0n1", 259, 0);
	fake_write("253:0\n", "sys/class/block/dm-0/dev");
	fake_write("cryptroot\n", "sys/class/block/dm-0/dm/name");
	fake_write("", "sys/bus/pci/devices/" DISK "/nvme/nvme0/nvme0n1/holders/dm-0/x");
	fake_write("20 1 0:33 / / rw - btrfs /dev/mapper/cryptroot rw\n", "proc/1/mountinfo");
	expect(DISK, "system-disk!!");
	fake_write("20 1 0:33 / / rw - btrfs /dev/vg/root rw\n", "proc/1/mountinfo");
	expect(DISK, "holders");
	fake_link("../dm-0", "dev/vg/root");
	expect(DISK, "system-disk!!");
	/* Of several disks it shows one. */
	fake_write("20 1 0:33 / / rw - btrfs /dev/sda2 rw\n", "proc/1/mountinfo");
	expect(DISK, "holders");
	fake_write("", "sys/fs/btrfs/features/x");
	fake_write("", "sys/fs/btrfs/1-2/devices/sda2/x");
	fake_write("", "sys/fs/btrfs/3-4/devices/dm-0/x");
	expect(DISK, "holders");
	fake_write("", "sys/fs/btrfs/1-2/devices/dm-0/x");
	expect(DISK, "system-disk!!");
}

static void test_claims(void **arg)
{
	(void)arg;
	fake_disk(DISK, "nvme0n1", 259, 0);
	fake.claimed = "nvme0n1";
	expect(DISK, "claimed");
	/* ZFS claims its disks, and names none of them. */
	fake_write("20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 0:33 / /srv rw - zfs tank rw\n",
		"proc/1/mountinfo");
	expect(DISK, "claimed");
	fake_write("20 1 0:33 / / rw - zfs rpool/ROOT/debian rw\n", "proc/1/mountinfo");
	expect(DISK, "system-disk!!");
	fake.claimed = NULL;
	expect(DISK, "");
}

/* It names all its disks. */
static void test_bcachefs(void **arg)
{
	static const char *const sources[] = {"/dev/nvme0n1", "/dev/nvme0n1:/dev/sda2",
		"/dev/sda2:/dev/nvme0n1", "/dev/sda2:/dev/nvme0n1:/dev/sdb2"};
	char line[128];

	(void)arg;
	fake_disk(DISK, "nvme0n1", 259, 0);
	for (size_t i = 0; i < HOST_COUNT(sources); i++) {
		snprintf(line, sizeof(line), "20 1 0:33 / / rw - bcachefs %s rw\n", sources[i]);
		fake_write(line, "proc/1/mountinfo");
		expect(DISK, "system-disk!!");
	}
	fake_write(
		"20 1 0:33 / / rw - bcachefs /dev/sda2:/dev/nvme0n1p2: rw\n", "proc/1/mountinfo");
	expect(DISK, "");
}

static void test_shared_folder(void **arg)
{
	(void)arg;
	fake_link("../../../../bus/virtio/drivers/9pnet_virtio",
		"sys/bus/pci/devices/" CARD "/virtio0/driver");
	fake_write("rootfs\n", "sys/bus/pci/devices/" CARD "/virtio0/mount_tag");
	expect(CARD, "shared-folder");
	fake_write("20 1 0:20 / /mnt rw - 9p rootfs rw\n", "proc/1/mountinfo");
	expect(CARD, "mounted");
	fake_write("20 1 0:20 / / rw - 9p rootfs rw\n", "proc/1/mountinfo");
	expect(CARD, "system-disk!!");
}

static void test_console(void **arg)
{
	(void)arg;
	fake_write("4:64\n", "sys/bus/pci/devices/" CARD "/tty/ttyS4/dev");
	fake_link(
		"../../../../../../class/tty", "sys/bus/pci/devices/" CARD "/tty/ttyS4/subsystem");
	fake_write("tty0 ttyS0\n", "sys/class/tty/console/active");
	expect(CARD, "");
	fake_write("tty0 ttyS4\n", "sys/class/tty/console/active");
	expect(CARD, "console");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_kinds, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_address, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_default_route, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_stack, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_no_wire_left, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_circle, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_sockets, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_other_space, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_remote_root, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_mounts, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_bad_mounts, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_hostile_names, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_hostile_commands, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_swap, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_holders, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_btrfs, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_claims, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_bcachefs, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_shared_folder, setup, fake_teardown),
		cmocka_unit_test_setup_teardown(test_console, setup, fake_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
