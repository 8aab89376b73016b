/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening a PCI function through VFIO, in a state that does no harm: reset, no DMA, no interrupt,
 * registers readable. Closing it the same way.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "base_priv.h"
#include "dma_priv.h"
#include "pci_priv.h"

/*
 * VFIO_DEVICE_RESET gives EAGAIN while anyone holds the device's lock (pci_try_reset_function()),
 * which a read of its sysfs attributes does for moments.
 */
#define RESET_TRIES    20
#define RESET_PAUSE_NS 10000000L

/*
 * Reset
 */

static int try_reset(struct pn_pci_device *dev)
{
	const struct timespec pause = {0, RESET_PAUSE_NS};

	for (int i = 0; i < RESET_TRIES; i++) {
		if (!ioctl(dev->fd, VFIO_DEVICE_RESET))
			return 0;
		if (errno != EAGAIN)
			return errno;
		nanosleep(&pause, NULL);
	}
	return EAGAIN;
}

int pn_pci_reset(struct pn_pci_device *dev)
{
	int err;

	if (!dev->can_reset)
		return pn_fail(EOPNOTSUPP,
			"%s has no reset of its own (cat "
			"/sys/bus/pci/devices/%s/reset_method)",
			dev->info.address, dev->info.address);
	err = try_reset(dev);
	if (err)
		return pn_fail(err, "%s: VFIO_DEVICE_RESET: %s", dev->info.address, strerror(err));
	/* Mapped registers raise SIGBUS while memory decoding is off: vfio_pci_mmap_fault(). */
	return pn_pci_command(dev, PCI_COMMAND_MEMORY, 0);
}

/*
 * Open
 */

static int read_info(struct pn_pci_device *dev)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	int err;

	if (ioctl(dev->fd, VFIO_DEVICE_GET_INFO, &info) < 0) {
		err = errno;
		return pn_fail(
			err, "%s: VFIO_DEVICE_GET_INFO: %s", dev->info.address, strerror(err));
	}
	if (!(info.flags & VFIO_DEVICE_FLAGS_PCI))
		return pn_fail(ENXIO, "%s: VFIO says that it is no PCI device (flags 0x%x)",
			dev->info.address, info.flags);
	if (info.num_regions <= VFIO_PCI_CONFIG_REGION_INDEX)
		return pn_fail(EIO, "%s: VFIO shows %u regions; a PCI device has at least %d",
			dev->info.address, info.num_regions, VFIO_PCI_CONFIG_REGION_INDEX + 1);
	dev->can_reset = info.flags & VFIO_DEVICE_FLAGS_RESET;
	dev->region_count = info.num_regions;
	dev->irq_index_count = info.num_irqs;
	return 0;
}

static int set_up(struct pn_pci_device *dev)
{
	int err;

	err = read_info(dev);
	if (err)
		return err;
	err = pn_pci_config_init(dev);
	if (err)
		return err;
	/* The device stands still before the reset too: not every one has a reset. */
	err = pn_pci_command(dev, PCI_COMMAND_MEMORY, PCI_COMMAND_MASTER);
	if (err)
		return err;
	if (dev->can_reset)
		return pn_pci_reset(dev);
	pn_log(PN_LOG_NOTICE, "%s has no reset: its registers are as its last user left them",
		dev->info.address);
	return 0;
}

/* Closing is no failure of its own: keep the words on why it is done. */
static void detach(struct pn_domain *domain, int fd)
{
	char reason[PN_ERROR_MAX];

	snprintf(reason, sizeof(reason), "%s", pn_error());
	pn_domain_detach(domain, fd);
	(void)pn_fail(0, "%s", reason);
}

static int attach(const char *sysfs, struct pn_pci_device *dev, int fd, const uint8_t *vf_token)
{
	struct pn_dma_device device = {
		.group = dev->info.iommu_group,
		.noiommu = pn_pci_group_is_noiommu(sysfs, dev->info.iommu_group),
		.use_fd = fd >= 0,
		.fd = fd,
	};
	int err;

	_Static_assert(sizeof(device.address) == sizeof(dev->info.address), "one kind of address");
	_Static_assert(sizeof(device.cdev) == sizeof(dev->info.cdev_node), "one kind of node");
	memcpy(device.address, dev->info.address, sizeof(device.address));
	memcpy(device.cdev, dev->info.cdev_node, sizeof(device.cdev));
	device.use_vf_token = vf_token != NULL;
	if (vf_token)
		memcpy(device.vf_token, vf_token, sizeof(device.vf_token));
	err = pn_domain_attach(dev->domain, &device, &dev->fd);
	if (err)
		return err;
	err = set_up(dev);
	if (err)
		detach(dev->domain, dev->fd);
	return err;
}

/* A device that may be opened into the domain, as sysfs shows it. */
static int find_device(
	const char *sysfs, const char *spec, struct pn_domain *domain, struct pn_pci_device **out)
{
	struct pn_pci_device *dev;
	struct pn_pci_info info;
	int err;

	err = pn_pci_find_at(sysfs, spec, &info);
	if (!err)
		err = pn_pci_check(sysfs, &info, pn_domain_noiommu(domain));
	if (err)
		return err;
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return pn_fail(ENOMEM, "no memory to open %s", info.address);
	dev->info = info;
	dev->domain = domain;
	dev->removal_fd = -1;
	*out = dev;
	return 0;
}

int pn_pci_open_at(const char *sysfs, struct pn_pci_device **out, const char *spec,
	struct pn_domain *domain, int fd, const uint8_t *vf_token)
{
	struct pn_pci_device *dev;
	int err;

	err = find_device(sysfs, spec, domain, &dev);
	if (err)
		return err;
	err = attach(sysfs, dev, fd, vf_token);
	if (err) {
		free(dev);
		return err;
	}
	*out = dev;
	return 0;
}

int pn_pci_open(struct pn_pci_device **out, const char *spec, struct pn_domain *domain)
{
	if (!out || !spec || !domain)
		return pn_fail(EINVAL, "pn_pci_open: out, spec and domain must not be NULL");
	return pn_pci_open_at(PN_SYSFS_ROOT, out, spec, domain, -1, NULL);
}

int pn_pci_open_fd(
	struct pn_pci_device **out, const char *spec, struct pn_domain *domain, int device_fd)
{
	if (!out || !spec || !domain)
		return pn_fail(EINVAL, "pn_pci_open_fd: out, spec and domain must not be NULL");
	if (device_fd < 0)
		return pn_fail(EBADF, "pn_pci_open_fd: device_fd is %d", device_fd);
	return pn_pci_open_at(PN_SYSFS_ROOT, out, spec, domain, device_fd, NULL);
}

int pn_pci_set_dma_bits(struct pn_pci_device *dev, unsigned int bits)
{
	int err;

	if (!dev)
		return pn_fail(EINVAL, "pn_pci_set_dma_bits: dev must not be NULL");
	err = pn_domain_device_bits(dev->domain, dev->fd, bits);
	return err ? pn_fail_prefix(err, "%s: ", dev->info.address) : 0;
}

/*
 * Take over
 */

int pn_pci_takeover_at(const char *sysfs, struct pn_pci_device **out, const char *address,
	struct pn_domain *domain)
{
	struct pn_pci_device *dev;
	int err;

	err = find_device(sysfs, address, domain, &dev);
	if (err)
		return err;
	err = pn_domain_device_fd(domain, dev->info.address);
	if (err < 0)
		goto free_dev;
	dev->fd = err;
	err = read_info(dev);
	if (!err)
		err = pn_pci_config_init(dev);
	if (!err)
		err = pn_pci_irq_forget(dev);
	if (err)
		goto free_dev;
	*out = dev;
	return 0;

free_dev:
	free(dev);
	return err;
}

int pn_pci_takeover(struct pn_pci_device **out, const char *address, struct pn_domain *domain)
{
	if (!out || !address || !domain)
		return pn_fail(EINVAL, "pn_pci_takeover: out, address and domain must not be NULL");
	return pn_pci_takeover_at(PN_SYSFS_ROOT, out, address, domain);
}

/*
 * Close
 */

/* Nobody is left to hand an error to: it goes to the log, and closing goes on. */
static void stop_step(int err)
{
	if (err)
		pn_log(PN_LOG_WARNING, "closing: %s", pn_error());
}

void pn_pci_close(struct pn_pci_device *dev)
{
	char reason[PN_ERROR_MAX];

	if (!dev)
		return;
	/* In a forked child the device is its parent's, and goes on. */
	if (!pn_domain_is_mine(dev->domain)) {
		free(dev);
		return;
	}
	snprintf(reason, sizeof(reason), "%s", pn_error());
	/*
	 * Bus mastering first: an MSI is a write too, and the kernel zeroes its address while it
	 * frees the vector (msi_domain_deactivate()), so that a device without mask bits which
	 * still interrupts would write to address 0 and be reported for it.
	 */
	stop_step(pn_pci_bus_master(dev, false));
	stop_step(pn_pci_irq_disable(dev));
	stop_step(pn_pci_removal_disarm(dev));
	if (dev->can_reset)
		stop_step(pn_pci_reset(dev));
	pn_pci_bars_unmap(dev);
	pn_pci_bar_regions_leave(dev);
	pn_domain_detach(dev->domain, dev->fd);
	free(dev);
	/* A caller that closes because something failed still wants to know what. */
	(void)pn_fail(0, "%s", reason);
}

const struct pn_pci_info *pn_pci_device_info(const struct pn_pci_device *dev)
{
	return &dev->info;
}
