/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host asks for the device back: vfio_pci_core_request() signals an eventfd, in a loop, until
 * the device is closed.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base_priv.h"
#include "pci_priv.h"

static int check_offered(struct pn_pci_device *dev)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = VFIO_PCI_REQ_IRQ_INDEX};
	int err = EINVAL;

	if (info.index < dev->irq_index_count) {
		err = ioctl(dev->fd, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0 ? errno : 0;
		if (!err && info.count && info.flags & VFIO_IRQ_INFO_EVENTFD)
			return 0;
	}
	if (!err || err == EINVAL)
		return pn_fail(EOPNOTSUPP,
			"%s: the kernel does not tell when it wants the device back",
			dev->info.address);
	return pn_fail(err, "%s: VFIO_DEVICE_GET_IRQ_INFO of requests to give it back: %s",
		dev->info.address, strerror(err));
}

/* A struct vfio_irq_set with one eventfd for its data. */
struct arm_request {
	uint32_t argsz, flags, index, start, count;
	int32_t fd;
};

_Static_assert(offsetof(struct arm_request, fd) == offsetof(struct vfio_irq_set, data), "the same");

static int arm(struct pn_pci_device *dev, int fd)
{
	struct arm_request request = {
		.argsz = sizeof(request),
		.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_PCI_REQ_IRQ_INDEX,
		.count = 1,
		.fd = fd,
	};
	int err;

	if (!ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, &request))
		return 0;
	err = errno;
	return pn_fail(
		err, "%s: arming requests to give it back: %s", dev->info.address, strerror(err));
}

int pn_pci_removal_fd(struct pn_pci_device *dev)
{
	int fd, err;

	if (dev->removal_fd >= 0)
		return dev->removal_fd;
	err = check_offered(dev);
	if (err)
		return err;
	fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (fd < 0) {
		err = errno;
		return pn_fail(err, "%s: eventfd for requests to give it back: %s%s",
			dev->info.address, strerror(err),
			err == EMFILE ? "; raise the limit of open files: ulimit -n" : "");
	}
	err = arm(dev, fd);
	if (err) {
		close(fd);
		return err;
	}
	dev->removal_fd = fd;
	return fd;
}

int pn_pci_removal_disarm(struct pn_pci_device *dev)
{
	/* A count of 0 takes the eventfd back: vfio_pci_set_ctx_trigger_single(). */
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_PCI_REQ_IRQ_INDEX,
	};
	int err;

	if (dev->removal_fd < 0)
		return 0;
	err = ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, &set) ? errno : 0;
	/* The kernel holds a reference of its own: closing is safe whether or not it obeyed. */
	close(dev->removal_fd);
	dev->removal_fd = -1;
	if (!err)
		return 0;
	return pn_fail(err, "%s: disarming requests to give it back: %s", dev->info.address,
		strerror(err));
}
