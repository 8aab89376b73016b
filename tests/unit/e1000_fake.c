/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See e1000_fake.h. The pn_pci_* functions are replaced by the linker: --wrap=pn_pci_find and so
 * on.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base_priv.h"
#include "e1000.h"
#include "e1000_fake.h"

static struct fake_device *the_device;

void fake_memory_init(struct fake_memory *memory, uint64_t size)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region_info info;

	opts.page_size = PN_PAGE_4K;
	opts.backing = PN_BACKING_MEMFD;
	assert_int_equal(pn_region_create(&memory->region, size, &opts), 0);
	assert_int_equal(pn_heap_create(&memory->heap, memory->region, FAKE_IOVA), 0);
	pn_region_get_info(memory->region, &info);
	memory->vaddr = info.vaddr;
	memory->size = info.size;
}

void fake_memory_fini(struct fake_memory *memory)
{
	assert_int_equal(pn_heap_destroy(memory->heap), 0);
	assert_int_equal(pn_region_destroy(memory->region), 0);
}

void *fake_memory_at(const struct fake_memory *memory, uint64_t iova, uint64_t len)
{
	assert_true(iova >= FAKE_IOVA && iova - FAKE_IOVA < memory->size);
	assert_true(len <= memory->size - (iova - FAKE_IOVA));
	return memory->vaddr + (iova - FAKE_IOVA);
}

uint32_t fake_reg(const struct fake_device *device, uint32_t reg)
{
	return *(volatile uint32_t *)(volatile void *)(device->regs + reg);
}

void fake_set_reg(struct fake_device *device, uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(volatile void *)(device->regs + reg) = value;
}

/* The statistics registers: [8254x] 13.7, [82574] 10.2.7. */
static void clear_counters(struct fake_device *device)
{
	memset(device->regs + 0x4000, 0, 0x130);
}

static void act_reset(struct fake_device *device)
{
	uint32_t ctrl = fake_reg(device, E1000_CTRL);

	if (!(ctrl & E1000_CTRL_RST) || device->stuck_reset)
		return;
	device->resets++;
	if (!device->keeps_counters)
		clear_counters(device);
	fake_set_reg(device, E1000_RCTL, 0);
	fake_set_reg(device, E1000_TCTL, 0);
	fake_set_reg(device, E1000_RAL0, 0x12005452);
	fake_set_reg(device, E1000_RAH0, E1000_RAH_AV | 0x5634);
	fake_set_reg(device, E1000_EECD, E1000_EECD_AUTO_RD);
	fake_set_reg(device, E1000_CTRL, ctrl & ~E1000_CTRL_RST & ~E1000_CTRL_GIO_MASTER_DISABLE);
}

static void act_status(struct fake_device *device)
{
	uint32_t status = E1000_STATUS_FD | 2u << 6;

	if (!device->link_down)
		status |= E1000_STATUS_LU;
	if (!(fake_reg(device, E1000_CTRL) & E1000_CTRL_GIO_MASTER_DISABLE))
		status |= E1000_STATUS_GIO_MASTER_ENABLE;
	fake_set_reg(device, E1000_STATUS, status);
}

static void act_mdic(struct fake_device *device)
{
	uint32_t mdic = fake_reg(device, E1000_MDIC);

	if (mdic && !(mdic & E1000_MDIC_R))
		fake_set_reg(device, E1000_MDIC, mdic | E1000_MDIC_R | 0x1140);
}

static void *act(void *arg)
{
	const struct timespec pause = {.tv_nsec = 20000};
	struct fake_device *device = arg;

	while (!__atomic_load_n(&device->stop, __ATOMIC_ACQUIRE)) {
		act_reset(device);
		act_status(device);
		act_mdic(device);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

void fake_device_init(struct fake_device *device, uint16_t vendor, uint16_t id)
{
	memset(device, 0, sizeof(*device));
	strcpy(device->info.address, "0000:00:05.0");
	strcpy(device->info.device_name, "Test Connection");
	device->info.vendor = vendor;
	device->info.device = id;
	device->info.numa_node = PN_NODE_ANY;
	device->bar_size = E1000_BAR_SIZE;
	device->irq_fd = -1;
	device->regs = aligned_alloc(4096, E1000_BAR_SIZE);
	assert_non_null(device->regs);
	memset(device->regs, 0, E1000_BAR_SIZE);
	the_device = device;
}

void fake_device_run(struct fake_device *device)
{
	device->stop = false;
	device->running = true;
	assert_int_equal(pthread_create(&device->thread, NULL, act, device), 0);
}

void fake_device_halt(struct fake_device *device)
{
	if (!device->running)
		return;
	__atomic_store_n(&device->stop, true, __ATOMIC_RELEASE);
	pthread_join(device->thread, NULL);
	device->running = false;
}

void fake_device_fini(struct fake_device *device)
{
	fake_device_halt(device);
	free(device->regs);
	the_device = NULL;
}

int __real_e1000_hw_stats_update(struct e1000_hw *hw);
int __wrap_e1000_hw_stats_update(struct e1000_hw *hw);
int __wrap_pn_pci_find(const char *spec, struct pn_pci_info *info);
int __wrap_pn_pci_open(struct pn_pci_device **out, const char *spec, struct pn_domain *domain);
void __wrap_pn_pci_close(struct pn_pci_device *dev);
int __wrap_pn_pci_bar_map(struct pn_pci_device *dev, unsigned int bar, struct pn_bar *out);
int __wrap_pn_pci_bus_master(struct pn_pci_device *dev, bool on);
int __wrap_pn_pci_irq_count(struct pn_pci_device *dev, enum pn_irq_type type);
int __wrap_pn_pci_irq_enable(
	struct pn_pci_device *dev, enum pn_irq_type type, unsigned int count, int *eventfds);
int __wrap_pn_pci_irq_disable(struct pn_pci_device *dev);
int __wrap_pn_pci_irq_unmask(struct pn_pci_device *dev);

/* Reading the counters clears them, which plain memory does not do. */
int __wrap_e1000_hw_stats_update(struct e1000_hw *hw)
{
	int ret = __real_e1000_hw_stats_update(hw);

	if (!ret)
		clear_counters(the_device);
	return ret;
}

int __wrap_pn_pci_find(const char *spec, struct pn_pci_info *info)
{
	*info = the_device->info;
	if (the_device->find_ret)
		return pn_fail(-the_device->find_ret, "finding %s", spec);
	return 0;
}

int __wrap_pn_pci_open(struct pn_pci_device **out, const char *spec, struct pn_domain *domain)
{
	assert_non_null(domain);
	assert_string_equal(spec, the_device->info.address);
	assert_false(the_device->open);
	if (the_device->open_ret)
		return pn_fail(-the_device->open_ret, "opening %s", spec);
	the_device->open = true;
	*out = (struct pn_pci_device *)(void *)the_device;
	return 0;
}

void __wrap_pn_pci_close(struct pn_pci_device *dev)
{
	assert_ptr_equal(dev, the_device);
	assert_true(the_device->open);
	/* The device must be silent before its interrupt goes, so the driver sees to it itself. */
	assert_int_equal(the_device->irq_fd, -1);
	the_device->open = false;
	the_device->master = false;
}

int __wrap_pn_pci_bar_map(struct pn_pci_device *dev, unsigned int bar, struct pn_bar *out)
{
	assert_ptr_equal(dev, the_device);
	assert_int_equal(bar, 0);
	if (the_device->bar_ret)
		return pn_fail(-the_device->bar_ret, "mapping BAR %u", bar);
	out->addr = the_device->regs;
	out->size = the_device->bar_size;
	return 0;
}

int __wrap_pn_pci_bus_master(struct pn_pci_device *dev, bool on)
{
	assert_ptr_equal(dev, the_device);
	if (the_device->master_ret && on)
		return pn_fail(-the_device->master_ret, "bus master");
	the_device->master = on;
	the_device->master_changes++;
	return 0;
}

int __wrap_pn_pci_irq_count(struct pn_pci_device *dev, enum pn_irq_type type)
{
	int count = the_device->irq_count[type];

	assert_ptr_equal(dev, the_device);
	return count < 0 ? pn_fail(-count, "asking for interrupts") : count;
}

int __wrap_pn_pci_irq_enable(
	struct pn_pci_device *dev, enum pn_irq_type type, unsigned int count, int *eventfds)
{
	assert_ptr_equal(dev, the_device);
	assert_int_equal(count, 1);
	assert_int_equal(the_device->irq_fd, -1);
	if (the_device->irq_ret)
		return pn_fail(-the_device->irq_ret, "enabling interrupts");
	the_device->irq_fd = eventfd(0, EFD_NONBLOCK);
	assert_true(the_device->irq_fd >= 0);
	the_device->irq_type = type;
	*eventfds = the_device->irq_fd;
	return 0;
}

int __wrap_pn_pci_irq_disable(struct pn_pci_device *dev)
{
	assert_ptr_equal(dev, the_device);
	assert_true(the_device->irq_fd >= 0);
	/* Nothing may fire meanwhile: the last word is that all are masked. Tests clear IMC. */
	assert_int_equal(fake_reg(the_device, E1000_IMC), UINT32_MAX);
	close(the_device->irq_fd);
	the_device->irq_fd = -1;
	return 0;
}

int __wrap_pn_pci_irq_unmask(struct pn_pci_device *dev)
{
	assert_ptr_equal(dev, the_device);
	assert_true(the_device->irq_fd >= 0);
	assert_int_equal(the_device->irq_type, PN_IRQ_INTX);
	the_device->unmasks++;
	return the_device->unmask_ret ? pn_fail(-the_device->unmask_ret, "unmasking") : 0;
}
