/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An open device, against a small model of VFIO (pci_model.h): opening and closing, configuration
 * space, interrupts, VF tokens, and each call failing once. Its BARs are in pci_bar_test.c.
 */
#include <endian.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "base_priv.h"
#include "dma_priv.h"
#include "pci_fake.h"
#include "pci_model.h"
#include "pci_priv.h"

static void refused(int err, const char *words)
{
	struct pn_pci_device *dev;

	assert_int_equal(open_device(&dev), err);
	assert_error_has(words);
	assert_int_equal(model.attached, 0);
}

/*
 * Open and close
 */

static void opens_in_a_harmless_state(void **state)
{
	struct pn_pci_device *dev = must_open();

	(void)state;
	assert_int_equal(model.attached, 1);
	assert_string_equal(model.attached_as.address, ADDRESS);
	assert_int_equal(model.attached_as.group, 7);
	assert_string_equal(pn_pci_device_info(dev)->group_node, "/dev/vfio/7");
	assert_int_equal(model.resets, 1);
	assert_int_equal(command(), PCI_COMMAND_MEMORY);

	assert_int_equal(pn_pci_bus_master(dev, true), 0);
	assert_int_equal(command(), PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	pn_fail(EINVAL, "what the caller failed at");
	pn_pci_close(dev);
	assert_string_equal(pn_error(), "what the caller failed at");
	assert_int_equal(model.resets, 2);
	assert_false(model.master_at_detach);
	pn_pci_close(NULL);
}

static void opens_a_device_without_reset(void **state)
{
	struct pn_pci_device *dev;

	(void)state;
	model.device_flags = VFIO_DEVICE_FLAGS_PCI;
	dev = must_open();
	assert_int_equal(pn_pci_reset(dev), -EOPNOTSUPP);
	assert_error_has("reset_method");
	pn_pci_close(dev);
	assert_int_equal(model.resets, 0);
	assert_false(model.master_at_detach);
}

static void waits_for_a_busy_reset(void **state)
{
	(void)state;
	model.reset_busy = 3;
	pn_pci_close(must_open());
	assert_int_equal(model.resets, 2);
	model.reset_busy = 1000;
	refused(-EAGAIN, "VFIO_DEVICE_RESET");
	model.reset_busy = 0;
}

static void refuses_to_open(void **state)
{
	struct pn_pci_device *dev;

	(void)state;
	assert_int_equal(pn_pci_open(NULL, ADDRESS, domain), -EINVAL);
	assert_int_equal(pn_pci_open(&dev, NULL, domain), -EINVAL);
	assert_int_equal(pn_pci_open(&dev, ADDRESS, NULL), -EINVAL);
	assert_int_equal(pn_pci_open_at(fake.sysfs, &dev, "00:03.0", domain, -1, NULL), -ENODEV);

	model.device_flags = VFIO_DEVICE_FLAGS_PLATFORM;
	refused(-ENXIO, "no PCI device");
	model.device_flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;

	model.num_regions = VFIO_PCI_CONFIG_REGION_INDEX;
	refused(-EIO, "7 regions");
	model.num_regions = VFIO_PCI_NUM_REGIONS;

	model.regions[VFIO_PCI_CONFIG_REGION_INDEX].size = 63;
	refused(-EIO, "63 bytes");
	model.regions[VFIO_PCI_CONFIG_REGION_INDEX].size = 256;

	model.regions[VFIO_PCI_CONFIG_REGION_INDEX].skew = UINT64_MAX >> 1;
	refused(-EIO, "beyond what a file offset reaches");
	model.regions[VFIO_PCI_CONFIG_REGION_INDEX].skew = 0;

	/* The reason survives what detaching has to say. */
	model.reset_errno = ENOTTY;
	refused(-ENOTTY, "VFIO_DEVICE_RESET");
	model.reset_errno = 0;

	poke16(PCI_COMMAND, PCI_COMMAND_MASTER);
	model.command_is_stuck = true;
	refused(-EIO, "after 0x0002 was written");
	model.command_is_stuck = false;

	poke16(PCI_COMMAND, 0xffff);
	refused(-ENODEV, "does not answer");
}

static void refuses_before_it_attaches(void **state)
{
	struct pn_pci_device *dev;

	(void)state;
	fake_function("0000:00:03.0", 0x8086, 0x100e, "e1000", 8);
	assert_int_equal(pn_pci_open_at(fake.sysfs, &dev, "00:03.0", domain, -1, NULL), -ENXIO);
	assert_error_has("pinion bind 0000:00:03.0");
	assert_string_equal(model.attached_as.address, "");
}

/* A device that was pulled out while it was open. */
static void closes_a_device_that_is_gone(void **state)
{
	struct pn_pci_device *dev = must_open();
	struct pn_bar bar;
	int fds[5];

	(void)state;
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), 0);
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSIX, 5, fds), 0);
	poke16(PCI_COMMAND, 0xffff);
	model.reset_errno = ENODEV;
	model.irq_errno = ENODEV;
	assert_int_equal(pn_pci_bus_master(dev, true), -ENODEV);
	pn_pci_close(dev);
	forget_irqs();
}

/*
 * Configuration space
 */

static void transfers_config_space(void **state)
{
	struct pn_pci_device *dev = must_open();
	unsigned char data[300] = {0};
	uint32_t value;

	(void)state;
	poke32(PCI_VENDOR_ID, 0x10d38086);
	assert_int_equal(pn_pci_config_read(dev, PCI_VENDOR_ID, &value, 4), 0);
	assert_int_equal(le32toh(value), 0x10d38086);
	assert_int_equal(pn_pci_config_write(dev, 0x3c, "\x0b", 1), 0);
	assert_int_equal(pn_pci_config_read(dev, 0x3c, data, 1), 0);
	assert_int_equal(data[0], 0x0b);

	assert_int_equal(pn_pci_config_read(dev, 0, data, 256), 0);
	assert_int_equal(pn_pci_config_read(dev, 256, data, 0), 0);
	assert_int_equal(pn_pci_config_read(dev, 0, data, 257), -EINVAL);
	assert_error_has("which has 256");
	assert_int_equal(pn_pci_config_read(dev, 255, data, 2), -EINVAL);
	assert_int_equal(pn_pci_config_read(dev, 257, data, 0), -EINVAL);
	assert_int_equal(pn_pci_config_write(dev, UINT32_MAX, data, 2), -EINVAL);
	assert_int_equal(pn_pci_config_write(dev, 2, data, UINT32_MAX), -EINVAL);
	assert_int_equal(pn_pci_config_read(dev, 0, NULL, 1), -EINVAL);

	model.transfer_at_most = 3;
	assert_int_equal(pn_pci_config_read(dev, 0, data, 4), -EIO);
	assert_error_has("only 3");
	assert_int_equal(pn_pci_config_write(dev, 0x40, data, 4), -EIO);
	model.transfer_at_most = 0;
	pn_pci_close(dev);
}

static void bounds_the_capability_list(void **state)
{
	struct pn_pci_device *dev = must_open();
	const unsigned char ring[2] = {PCI_CAP_ID_PM, 0x40};
	uint8_t offset;

	(void)state;
	assert_int_equal(pn_pci_capability(dev, PCI_CAP_ID_MSIX, &offset), -ENOENT);
	put_msix(5, 3, 0);
	assert_int_equal(pn_pci_capability(dev, PCI_CAP_ID_MSIX, &offset), 0);
	assert_int_equal(offset, 0x40);
	/* A list that ends in the header, one that bites its tail, one at the end of the space. */
	poke(PCI_CAPABILITY_LIST, &(unsigned char){0x3c}, 1);
	assert_int_equal(pn_pci_capability(dev, PCI_CAP_ID_MSIX, &offset), -ENOENT);
	poke(PCI_CAPABILITY_LIST, &(unsigned char){0x40}, 1);
	poke(0x40, ring, sizeof(ring));
	assert_int_equal(pn_pci_capability(dev, PCI_CAP_ID_MSIX, &offset), -ENOENT);
	poke(PCI_CAPABILITY_LIST, &(unsigned char){0xff}, 1);
	assert_int_equal(pn_pci_capability(dev, PCI_CAP_ID_MSIX, &offset), -ENOENT);
	pn_pci_close(dev);
}

/*
 * Interrupts
 */

static uint64_t read_event(int fd)
{
	uint64_t value;

	return read(fd, &value, sizeof(value)) == sizeof(value) ? value : 0;
}

static void fire(unsigned int vector)
{
	const uint64_t one = 1;

	assert_true(vector < model.enabled);
	assert_int_equal(write(model.fds[vector], &one, sizeof(one)), sizeof(one));
	model.masked = model.enabled_index == VFIO_PCI_INTX_IRQ_INDEX;
}

static void counts_vectors(void **state)
{
	struct pn_pci_device *dev = must_open();

	(void)state;
	assert_int_equal(pn_pci_irq_count(dev, PN_IRQ_INTX), 1);
	assert_int_equal(pn_pci_irq_count(dev, PN_IRQ_MSI), 1);
	assert_int_equal(pn_pci_irq_count(dev, PN_IRQ_MSIX), 5);
	assert_int_equal(pn_pci_irq_count(dev, (enum pn_irq_type)3), -EINVAL);
	assert_int_equal(pn_pci_irq_count(dev, (enum pn_irq_type) - 1), -EINVAL);
	model.irq_count[VFIO_PCI_INTX_IRQ_INDEX] = 0;
	assert_int_equal(pn_pci_irq_count(dev, PN_IRQ_INTX), 0);
	model.irq_count[VFIO_PCI_MSIX_IRQ_INDEX] = UINT32_MAX;
	assert_int_equal(pn_pci_irq_count(dev, PN_IRQ_MSIX), 2048);
	pn_pci_close(dev);

	model.num_irqs = 1;
	dev = must_open();
	assert_int_equal(pn_pci_irq_count(dev, PN_IRQ_MSIX), 0);
	pn_pci_close(dev);
}

static void signals_each_vector(void **state)
{
	struct pn_pci_device *dev = must_open();
	int fds[5];

	(void)state;
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSIX, 5, fds), 0);
	assert_int_equal(model.enabled_index, VFIO_PCI_MSIX_IRQ_INDEX);
	fire(3);
	fire(3);
	assert_int_equal(read_event(fds[0]), 0);
	assert_int_equal(read_event(fds[3]), 2);
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSI, 1, fds), -EBUSY);
	assert_error_has("5 MSI-X");
	assert_int_equal(pn_pci_irq_unmask(dev), -EINVAL);
	assert_int_equal(pn_pci_irq_disable(dev), 0);
	assert_int_equal(model.enabled, 0);
	assert_int_equal(open_fds(), fds_before);
	assert_int_equal(pn_pci_irq_disable(dev), 0);

	/* Closing leaves no moment in which an MSI could be written to a zeroed address. */
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSI, 1, fds), 0);
	assert_int_equal(pn_pci_bus_master(dev, true), 0);
	model.master_at_disable = true;
	pn_pci_close(dev);
	assert_false(model.master_at_disable);
}

static void unmasks_intx(void **state)
{
	struct pn_pci_device *dev = must_open();
	int fd;

	(void)state;
	assert_int_equal(pn_pci_irq_unmask(dev), -EINVAL);
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_INTX, 1, &fd), 0);
	fire(0);
	assert_int_equal(read_event(fd), 1);
	assert_true(model.masked);
	assert_int_equal(pn_pci_irq_unmask(dev), 0);
	assert_false(model.masked);
	pn_pci_close(dev);
}

static void refuses_interrupts(void **state)
{
	struct pn_pci_device *dev = must_open();
	int fds[8] = {-7};

	(void)state;
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSIX, 0, fds), -EINVAL);
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSIX, 6, fds), -EINVAL);
	assert_error_has("the device has 5");
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSIX, UINT32_MAX, fds), -EINVAL);
	assert_int_equal(pn_pci_irq_enable(dev, (enum pn_irq_type)9, 1, fds), -EINVAL);

	model.irq_flags[VFIO_PCI_MSI_IRQ_INDEX] = 0;
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSI, 1, fds), -EOPNOTSUPP);

	/* pci_alloc_irq_vectors() got 2: the kernel returns that, and enables nothing. */
	model.irq_left = 2;
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSIX, 5, fds), -ENOSPC);
	assert_error_has("only 2 of the 5");
	model.irq_left = 0;
	model.irq_errno = EINVAL;
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSIX, 5, fds), -EINVAL);
	model.irq_errno = 0;
	assert_int_equal(fds[0], -7);
	assert_int_equal(open_fds(), fds_before);

	/* Closing the eventfds does not wait for a kernel that says no. */
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSIX, 5, fds), 0);
	model.irq_errno = ENODEV;
	assert_int_equal(pn_pci_irq_disable(dev), -ENODEV);
	assert_int_equal(open_fds(), fds_before);
	forget_irqs();
	model.irq_errno = 0;
	pn_pci_close(dev);
}

/*
 * Every call fails once
 */

/* What a driver does; stops at the first failure. */
static int drive(struct pn_pci_device *dev)
{
	struct pn_bar bar;
	int fds[5], err;

	err = pn_pci_bar_map(dev, 0, &bar);
	if (!err)
		err = pn_pci_bar_map(dev, 3, &bar);
	if (!err)
		err = pn_pci_irq_enable(dev, PN_IRQ_MSIX, 5, fds);
	if (!err)
		err = pn_pci_bus_master(dev, true);
	if (!err)
		err = pn_pci_reset(dev);
	if (!err)
		err = pn_pci_irq_disable(dev);
	if (!err)
		err = pn_pci_irq_enable(dev, PN_IRQ_INTX, 1, fds);
	if (!err)
		err = pn_pci_irq_unmask(dev);
	return err;
}

static void leaks_nothing_whatever_fails(void **state)
{
	static const struct vfio_region_sparse_mmap_area areas[] = {{0, PAGE}, {2 * PAGE, PAGE}};
	int at = 0;
	bool clean;

	(void)state;
	put_msix(5, 0, 2 * PAGE);
	add_sparse(&model.regions[3], 2, areas, 2);
	model.regions[3].size = 4 * PAGE;
	model.regions[3].flags = RWM;
	do {
		clean = run_with_fault(++at, drive);
		assert_int_equal(model.attached, 0);
		assert_int_equal(model.addresses, 0);
		assert_int_equal(open_fds(), fds_before);
		/* A fault in the disabling itself leaves it to the kernel's close. */
		forget_irqs();
		/* Resets with bus mastering on are the driver's here. */
		model.mastering_reset = false;
	} while (!clean);
	/* It has come by every call. */
	assert_true(at > 50);
}

/*
 * VF tokens
 */

#define TOKEN "2ab74924-c335-45f4-9b16-8569e5b08258"

static const uint8_t token_bytes[PN_PCI_VF_TOKEN_LEN] = {0x2a, 0xb7, 0x49, 0x24, 0xc3, 0x35, 0x45,
	0xf4, 0x9b, 0x16, 0x85, 0x69, 0xe5, 0xb0, 0x82, 0x58};

static void vf_tokens_are_read(void **state)
{
	static const char *const bad[] = {"", "2ab74924", (TOKEN "0"), (" " TOKEN),
		"2ab74924c335-45f4-9b16-8569e5b082580", "2ab74924-c335-45f4-9b16-8569e5b0825g",
		"2ab74924-c335-45f4-9b16-8569e5b0825", "2ab74924_c335_45f4_9b16_8569e5b08258"};
	uint8_t token[PN_PCI_VF_TOKEN_LEN], before[PN_PCI_VF_TOKEN_LEN];

	(void)state;
	assert_int_equal(pn_pci_vf_token_parse(TOKEN, token), 0);
	assert_memory_equal(token, token_bytes, sizeof(token));
	memset(token, 0, sizeof(token));
	assert_int_equal(pn_pci_vf_token_parse("2AB74924-C335-45F4-9B16-8569E5B08258", token), 0);
	assert_memory_equal(token, token_bytes, sizeof(token));
	memcpy(before, token, sizeof(token));
	for (size_t i = 0; i < PN_ARRAY_SIZE(bad); i++) {
		assert_int_equal(pn_pci_vf_token_parse(bad[i], token), -EINVAL);
		assert_error_has("not a VF token");
		assert_memory_equal(token, before, sizeof(token));
	}
	assert_int_equal(pn_pci_vf_token_parse(NULL, token), -EINVAL);
	assert_int_equal(pn_pci_vf_token_parse(TOKEN, NULL), -EINVAL);
}

static void a_vf_token_opens(void **state)
{
	struct pn_pci_device *dev;

	(void)state;
	assert_int_equal(pn_pci_open_vf_token(&dev, ADDRESS, domain, NULL), -EINVAL);
	assert_int_equal(pn_pci_open_vf_token(NULL, ADDRESS, domain, token_bytes), -EINVAL);
	dev = must_open();
	assert_false(model.attached_as.use_vf_token);
	pn_pci_close(dev);
	assert_int_equal(pn_pci_open_at(fake.sysfs, &dev, ADDRESS, domain, -1, token_bytes), 0);
	assert_true(model.attached_as.use_vf_token);
	assert_memory_equal(model.attached_as.vf_token, token_bytes, sizeof(token_bytes));
	pn_pci_close(dev);
}

static void a_vf_token_is_set(void **state)
{
	struct pn_pci_device *dev = must_open();

	(void)state;
	assert_int_equal(pn_pci_set_vf_token(NULL, token_bytes), -EINVAL);
	assert_int_equal(pn_pci_set_vf_token(dev, NULL), -EINVAL);
	assert_int_equal(pn_pci_set_vf_token(dev, token_bytes), 0);
	assert_memory_equal(model.token, token_bytes, sizeof(token_bytes));
	model.token_errno = ENOTTY;
	assert_int_equal(pn_pci_set_vf_token(dev, token_bytes), -EOPNOTSUPP);
	assert_error_has("no virtual functions");
	model.token_errno = EBUSY;
	assert_int_equal(pn_pci_set_vf_token(dev, token_bytes), -EBUSY);
	model.token_errno = EIO;
	assert_int_equal(pn_pci_set_vf_token(dev, token_bytes), -EIO);
	model.token_errno = 0;
	pn_pci_close(dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MODEL(opens_in_a_harmless_state),
		MODEL(opens_a_device_without_reset),
		MODEL(waits_for_a_busy_reset),
		MODEL(refuses_to_open),
		MODEL(refuses_before_it_attaches),
		MODEL(closes_a_device_that_is_gone),
		MODEL(vf_tokens_are_read),
		MODEL(a_vf_token_opens),
		MODEL(a_vf_token_is_set),
		MODEL(transfers_config_space),
		MODEL(bounds_the_capability_list),
		MODEL(counts_vectors),
		MODEL(signals_each_vector),
		MODEL(unmasks_intx),
		MODEL(refuses_interrupts),
		MODEL(leaks_nothing_whatever_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
