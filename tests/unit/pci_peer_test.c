/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parts of BARs as regions for other devices, and being asked to give the device back, against a
 * small model of VFIO (pci_model.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base_priv.h"
#include "mem_priv.h"
#include "pci_fake.h"
#include "pci_model.h"
#include "pci_priv.h"

static char log_text[512];

static void logged(void *arg, enum pn_log_level level, const char *text)
{
	(void)arg;
	if (level == PN_LOG_WARNING)
		snprintf(log_text, sizeof(log_text), "%s", text);
}

static struct pn_region *take(
	struct pn_pci_device *dev, unsigned int bar, uint64_t offset, uint64_t len)
{
	struct pn_region *region;

	if (pn_pci_bar_region(dev, bar, offset, len, &region))
		fail_msg("%s", pn_error());
	return region;
}

static void refused(struct pn_pci_device *dev, unsigned int bar, uint64_t offset, uint64_t len,
	int err, const char *words)
{
	struct pn_region *region = NULL;

	assert_int_equal(pn_pci_bar_region(dev, bar, offset, len, &region), err);
	assert_null(region);
	assert_error_has(words);
}

/*
 * Regions
 */

static void makes_a_region_of_a_part(void **state)
{
	struct pn_pci_device *dev = must_open();
	struct pn_region_info info;
	struct pn_heap *heap = NULL;
	struct pn_region *region;
	struct pn_bar bar;

	(void)state;
	region = take(dev, 0, 2 * PAGE, 3 * PAGE);
	pn_region_get_info(region, &info);
	assert_int_equal(info.size, 3 * PAGE);
	assert_int_equal(info.page_size, PAGE);
	assert_int_equal(info.backing, PN_BACKING_DEVICE);
	assert_int_equal(info.numa_node, PN_NODE_ANY);
	assert_string_equal(info.name, ADDRESS " BAR 0");
	assert_true(info.writable);
	assert_non_null(strstr(info.note, "without a dma-buf"));
	assert_int_equal(region->fd, -1);
	assert_false(region->dma_buf);
	assert_int_equal(pn_region_check_write(region), 0);
	assert_int_equal(pn_region_check(region), 0);
	/* The same bytes as the device's own mapping. */
	assert_int_equal(pn_pci_bar_map(dev, 0, &bar), 0);
	((volatile unsigned char *)bar.addr)[2 * PAGE + 5] = 0x5a;
	assert_int_equal(((volatile unsigned char *)info.vaddr)[5], 0x5a);
	assert_int_equal(pn_heap_create(&heap, region, 0), -EOPNOTSUPP);
	assert_null(heap);
	assert_ptr_equal(
		mmap(info.vaddr, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
		info.vaddr);
	assert_int_equal(pn_region_check(region), -ESTALE);
	assert_int_equal(pn_region_destroy(region), 0);
	pn_pci_close(dev);
}

static void keeps_a_dma_buf_where_there_are_some(void **state)
{
	struct pn_pci_device *dev = must_open();
	struct pn_region *region;

	(void)state;
	model.dma_buf_errno = 0;
	region = take(dev, 0, PAGE, 2 * PAGE);
	assert_true(region->fd >= 0);
	assert_true(region->dma_buf);
	assert_int_equal(region->offset, 0);
	assert_string_equal(region->note, "");
	assert_int_equal(model.dma_buf.count, 1);
	assert_int_equal(model.dma_buf.bar, 0);
	assert_int_equal(model.dma_buf.open_flags, O_RDWR | O_CLOEXEC);
	assert_int_equal(model.dma_buf.offset, PAGE);
	assert_int_equal(model.dma_buf.length, 2 * PAGE);
	assert_int_equal(pn_region_destroy(region), 0);

	/* Not offered is no failure, anything else is one. */
	model.dma_buf_errno = EOPNOTSUPP;
	assert_int_equal(pn_region_destroy(take(dev, 0, 0, PAGE)), 0);
	model.dma_buf_errno = EINVAL;
	assert_int_equal(pn_region_destroy(take(dev, 0, 0, PAGE)), 0);
	model.dma_buf_errno = EPERM;
	refused(dev, 0, 0, PAGE, -EPERM, "a dma-buf of BAR 0");
	model.dma_buf_errno = EMFILE;
	refused(dev, 0, 0, PAGE, -EMFILE, "a dma-buf of BAR 0");
	pn_pci_close(dev);
}

static void a_read_only_bar_makes_a_read_only_region(void **state)
{
	struct pn_pci_device *dev = must_open();
	struct pn_region *region;

	(void)state;
	model.dma_buf_errno = 0;
	model.regions[1] = (struct model_region){
		PAGE, 0, VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_MMAP, {0}, 0};
	region = take(dev, 1, 0, PAGE);
	assert_false(region->writable);
	assert_int_equal(model.dma_buf.open_flags, O_RDONLY | O_CLOEXEC);
	assert_int_equal(pn_region_check_write(region), -EACCES);
	assert_int_equal(pn_region_destroy(region), 0);
	pn_pci_close(dev);
}

static void refuses_what_leaves_the_bar(void **state)
{
	struct pn_pci_device *dev = must_open();

	(void)state;
	refused(dev, 6, 0, PAGE, -EINVAL, "no BAR 6");
	refused(dev, 1, 0, PAGE, -ENOENT, "no BAR 1");
	refused(dev, 0, 0, 0, -EINVAL, "whole pages");
	refused(dev, 0, 1, PAGE, -EINVAL, "whole pages");
	refused(dev, 0, 0, PAGE - 1, -EINVAL, "whole pages");
	refused(dev, 0, 32 * PAGE, PAGE, -EINVAL, "which has 131072");
	refused(dev, 0, 31 * PAGE, 2 * PAGE, -EINVAL, "leave BAR 0");
	refused(dev, 0, UINT64_MAX - PAGE + 1, PAGE, -EINVAL, "leave BAR 0");
	refused(dev, 0, PAGE, UINT64_MAX - PAGE + 1, -EINVAL, "leave BAR 0");
	assert_int_equal(pn_region_destroy(take(dev, 0, 31 * PAGE, PAGE)), 0);
	assert_int_equal(pn_region_destroy(take(dev, 0, 0, 32 * PAGE)), 0);
	/* A BAR of less than a page has that page to itself, if it may be mapped. */
	model.regions[5] = (struct model_region){256, 0, RWM, {0}, 0};
	assert_int_equal(pn_region_destroy(take(dev, 5, 0, PAGE)), 0);
	refused(dev, 5, PAGE, PAGE, -EINVAL, "leave BAR 5");
	model.regions[4] = (struct model_region){PAGE, 0, RW, {0}, 0};
	refused(dev, 4, 0, PAGE, -EOPNOTSUPP, "BAR 4");
	pn_pci_close(dev);
}

static void leaves_the_msix_table_out(void **state)
{
	struct pn_pci_device *dev = must_open();

	(void)state;
	/* Pages 2 and 3. */
	put_msix(300, 0, 2 * PAGE + 2048);
	model.regions[0] = (struct model_region){8 * PAGE, 0, RWM, {0}, 0};
	refused(dev, 0, 0, 8 * PAGE, -EOPNOTSUPP, "from 0x2000 on");
	refused(dev, 0, 2 * PAGE, PAGE, -EOPNOTSUPP, "MSI-X");
	refused(dev, 0, 3 * PAGE, 2 * PAGE, -EOPNOTSUPP, "from 0x3000 on");
	assert_int_equal(pn_region_destroy(take(dev, 0, 0, 2 * PAGE)), 0);
	assert_int_equal(pn_region_destroy(take(dev, 0, 4 * PAGE, 4 * PAGE)), 0);
	pn_pci_close(dev);
}

static void keeps_to_sparse_areas(void **state)
{
	/* In no order, two that meet, one empty. */
	static const struct vfio_region_sparse_mmap_area areas[] = {
		{5 * PAGE, PAGE}, {3 * PAGE, 2 * PAGE}, {0, PAGE}, {2 * PAGE, 0}};
	struct pn_pci_device *dev = must_open();

	(void)state;
	model.regions[0] = (struct model_region){8 * PAGE, 0, RWM, {0}, 0};
	add_sparse(&model.regions[0], 4, areas, 4);
	assert_int_equal(pn_region_destroy(take(dev, 0, 0, PAGE)), 0);
	assert_int_equal(pn_region_destroy(take(dev, 0, 3 * PAGE, 3 * PAGE)), 0);
	refused(dev, 0, 0, 2 * PAGE, -EOPNOTSUPP, "from 0x1000 on");
	refused(dev, 0, 2 * PAGE, PAGE, -EOPNOTSUPP, "from 0x2000 on");
	refused(dev, 0, 3 * PAGE, 4 * PAGE, -EOPNOTSUPP, "from 0x6000 on");
	/* The kernel says something else the second time. */
	model.regions[0].caps_size = 0;
	add_sparse(&model.regions[0], 1, &(struct vfio_region_sparse_mmap_area){1, PAGE}, 1);
	refused(dev, 0, 0, PAGE, -EIO, "not whole pages of BAR 0");
	pn_pci_close(dev);
}

static void outlives_its_device_and_that_is_said(void **state)
{
	struct pn_pci_device *dev = must_open();
	struct pn_region *first = take(dev, 0, 0, PAGE), *second = take(dev, 0, PAGE, PAGE);

	(void)state;
	log_text[0] = '\0';
	pn_log_set(logged, NULL, PN_LOG_WARNING);
	((volatile unsigned char *)second->vaddr)[1] = 7;
	assert_int_equal(pn_region_destroy(first), 0);
	pn_pci_close(dev);
	assert_non_null(strstr(log_text, "1 regions of its BARs are left"));
	assert_int_equal(((volatile unsigned char *)second->vaddr)[1], 7);
	assert_int_equal(pn_region_check(second), 0);
	assert_int_equal(pn_region_destroy(second), 0);

	/* Destroyed in time: nothing to say. */
	dev = must_open();
	assert_int_equal(pn_region_destroy(take(dev, 0, 0, PAGE)), 0);
	log_text[0] = '\0';
	pn_pci_close(dev);
	assert_string_equal(log_text, "");
	pn_log_set(NULL, NULL, PN_LOG_WARNING);
}

/*
 * Removal
 */

static bool asked(int fd)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};

	return poll(&wait, 1, 0) == 1 && wait.revents & POLLIN;
}

static void tells_that_the_device_is_wanted_back(void **state)
{
	struct pn_pci_device *dev = must_open();
	const uint64_t one = 1;
	int fds[5], fd;

	(void)state;
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_MSIX, 5, fds), 0);
	fd = pn_pci_removal_fd(dev);
	assert_true(fd >= 0);
	assert_int_equal(fd, model.removal_fd);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	assert_int_equal(pn_pci_removal_fd(dev), fd);
	assert_false(asked(fd));
	assert_int_equal(write(model.removal_fd, &one, sizeof(one)), sizeof(one));
	assert_true(asked(fd));
	/* Interrupts come and go beside it. */
	assert_int_equal(model.enabled, 5);
	assert_int_equal(pn_pci_irq_disable(dev), 0);
	assert_int_equal(model.removal_fd, fd);
	assert_int_equal(pn_pci_irq_enable(dev, PN_IRQ_INTX, 1, fds), 0);
	pn_pci_close(dev);
	assert_int_equal(model.removal_fd, -1);
}

static void says_when_the_kernel_does_not_tell(void **state)
{
	struct pn_pci_device *dev;

	(void)state;
	model.num_irqs = VFIO_PCI_REQ_IRQ_INDEX;
	dev = must_open();
	assert_int_equal(pn_pci_removal_fd(dev), -EOPNOTSUPP);
	assert_error_has("wants the device back");
	pn_pci_close(dev);

	model.num_irqs = VFIO_PCI_NUM_IRQS;
	dev = must_open();
	model.irq_flags[VFIO_PCI_REQ_IRQ_INDEX] = 0;
	assert_int_equal(pn_pci_removal_fd(dev), -EOPNOTSUPP);
	model.irq_count[VFIO_PCI_REQ_IRQ_INDEX] = 0;
	assert_int_equal(pn_pci_removal_fd(dev), -EOPNOTSUPP);
	model.irq_count[VFIO_PCI_REQ_IRQ_INDEX] = 1;
	model.irq_flags[VFIO_PCI_REQ_IRQ_INDEX] = VFIO_IRQ_INFO_EVENTFD;
	model.irq_errno = ENODEV;
	assert_int_equal(pn_pci_removal_fd(dev), -ENODEV);
	assert_int_equal(open_fds(), fds_before);
	model.irq_errno = 0;
	assert_true(pn_pci_removal_fd(dev) >= 0);
	/* A device that is gone is closed all the same. */
	model.irq_errno = ENODEV;
	log_text[0] = '\0';
	pn_log_set(logged, NULL, PN_LOG_WARNING);
	pn_pci_close(dev);
	pn_log_set(NULL, NULL, PN_LOG_WARNING);
	assert_non_null(strstr(log_text, "disarming"));
	model.removal_fd = -1;
}

/*
 * Every call fails once
 */

static int drive(struct pn_pci_device *dev)
{
	static struct pn_region untouched;
	struct pn_region *region = &untouched;
	int err;

	err = pn_pci_bar_region(dev, 3, PAGE, PAGE, &region);
	if (err) {
		assert_ptr_equal(region, &untouched);
		return err;
	}
	err = pn_pci_removal_fd(dev);
	assert_int_equal(pn_region_destroy(region), 0);
	return err < 0 ? err : 0;
}

static void leaks_nothing_whatever_fails(void **state)
{
	int at = 0;
	bool clean;

	(void)state;
	put_msix(5, 3, 2 * PAGE);
	model.regions[3] = (struct model_region){4 * PAGE, 0, RWM, {0}, 0};
	for (int offered = 0; offered < 2; offered++) {
		model.dma_buf_errno = offered ? 0 : ENOTTY;
		at = 0;
		do {
			clean = run_with_fault(++at, drive);
			assert_int_equal(model.attached, 0);
			assert_int_equal(model.addresses, 0);
			assert_int_equal(open_fds(), fds_before);
			/* A fault in the disarming itself leaves it to the kernel's close. */
			model.removal_fd = -1;
			model.mastering_reset = false;
		} while (!clean);
		assert_true(at > 40);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MODEL(makes_a_region_of_a_part),
		MODEL(keeps_a_dma_buf_where_there_are_some),
		MODEL(a_read_only_bar_makes_a_read_only_region),
		MODEL(refuses_what_leaves_the_bar),
		MODEL(leaves_the_msix_table_out),
		MODEL(keeps_to_sparse_areas),
		MODEL(outlives_its_device_and_that_is_said),
		MODEL(tells_that_the_device_is_wanted_back),
		MODEL(says_when_the_kernel_does_not_tell),
		MODEL(leaks_nothing_whatever_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
