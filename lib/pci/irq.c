/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts: VFIO signals each vector on an eventfd (VFIO_DEVICE_SET_IRQS). One kind at a time, as
 * in the kernel (vfio_pci_set_msi_trigger(), irq_is()).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base_priv.h"
#include "pci_priv.h"

static const struct {
	uint32_t index;
	const char *name;
} kinds[] = {
	[PN_IRQ_INTX] = {VFIO_PCI_INTX_IRQ_INDEX, "INTx"},
	[PN_IRQ_MSI] = {VFIO_PCI_MSI_IRQ_INDEX, "MSI"},
	[PN_IRQ_MSIX] = {VFIO_PCI_MSIX_IRQ_INDEX, "MSI-X"},
};

static int check_type(const struct pn_pci_device *dev, enum pn_irq_type type)
{
	if ((unsigned int)type >= PN_ARRAY_SIZE(kinds))
		return pn_fail(EINVAL, "%s: there is no kind %d of interrupt", dev->info.address,
			(int)type);
	return 0;
}

/* Vectors and VFIO_IRQ_INFO_* of a kind. */
static int read_info(
	struct pn_pci_device *dev, enum pn_irq_type type, unsigned int *count, uint32_t *flags)
{
	struct vfio_irq_info info = {.argsz = sizeof(info)};
	int err;

	*count = 0;
	*flags = 0;
	err = check_type(dev, type);
	if (err)
		return err;
	info.index = kinds[type].index;
	if (info.index >= dev->irq_index_count)
		return 0;
	if (ioctl(dev->fd, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0) {
		err = errno;
		return pn_fail(err, "%s: VFIO_DEVICE_GET_IRQ_INFO of %s: %s", dev->info.address,
			kinds[type].name, strerror(err));
	}
	*count = info.count > PN_PCI_VECTORS_MAX ? PN_PCI_VECTORS_MAX : info.count;
	*flags = info.flags;
	return 0;
}

int pn_pci_irq_count(struct pn_pci_device *dev, enum pn_irq_type type)
{
	unsigned int count;
	uint32_t flags;
	int err;

	err = read_info(dev, type, &count, &flags);
	return err ? err : (int)count;
}

/*
 * Enabling
 */

static void close_all(const int *fds, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		close(fds[i]);
}

static int make_eventfds(struct pn_pci_device *dev, int *fds, unsigned int count)
{
	int err;

	for (unsigned int i = 0; i < count; i++) {
		fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (fds[i] >= 0)
			continue;
		err = errno;
		close_all(fds, i);
		return pn_fail(err, "%s: eventfd %u of %u for interrupts: %s%s", dev->info.address,
			i + 1, count, strerror(err),
			err == EMFILE ? "; raise the limit of open files: ulimit -n" : "");
	}
	return 0;
}

static int set_eventfds(
	struct pn_pci_device *dev, enum pn_irq_type type, const int *fds, unsigned int count)
{
	size_t bytes = sizeof(struct vfio_irq_set) + count * sizeof(*fds);
	struct vfio_irq_set *set;
	int left, err;

	set = calloc(1, bytes);
	if (!set)
		return pn_fail(ENOMEM, "no memory for %u interrupts", count);
	set->argsz = (uint32_t)bytes;
	set->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	set->index = kinds[type].index;
	set->count = count;
	memcpy(set->data, fds, count * sizeof(*fds));
	left = ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, set);
	err = errno;
	free(set);
	if (left < 0)
		return pn_fail(err, "%s: enabling %u %s interrupts: %s", dev->info.address, count,
			kinds[type].name, strerror(err));
	/* vfio_msi_enable() returns what pci_alloc_irq_vectors() could get, and enables none. */
	if (left > 0)
		return pn_fail(ENOSPC,
			"%s: the machine has only %d of the %u %s vectors wanted; "
			"ask for fewer",
			dev->info.address, left, count, kinds[type].name);
	return 0;
}

static int check_enable(struct pn_pci_device *dev, enum pn_irq_type type, unsigned int count)
{
	unsigned int available;
	uint32_t flags;
	int err;

	err = read_info(dev, type, &available, &flags);
	if (err)
		return err;
	if (dev->eventfd_count)
		return pn_fail(EBUSY,
			"%s: %u %s interrupts are enabled already; disable them "
			"first",
			dev->info.address, dev->eventfd_count, kinds[dev->irq_type].name);
	if (!count || count > available)
		return pn_fail(EINVAL, "%s: %u %s interrupts wanted, the device has %u",
			dev->info.address, count, kinds[type].name, available);
	if (!(flags & VFIO_IRQ_INFO_EVENTFD))
		return pn_fail(EOPNOTSUPP, "%s: VFIO does not signal %s on eventfds",
			dev->info.address, kinds[type].name);
	return 0;
}

int pn_pci_irq_enable(
	struct pn_pci_device *dev, enum pn_irq_type type, unsigned int count, int *eventfds)
{
	int *fds;
	int err;

	err = check_enable(dev, type, count);
	if (err)
		return err;
	fds = calloc(count, sizeof(*fds));
	if (!fds)
		return pn_fail(ENOMEM, "no memory for %u interrupts", count);
	err = make_eventfds(dev, fds, count);
	if (err)
		goto free_fds;
	err = set_eventfds(dev, type, fds, count);
	if (err)
		goto close_fds;
	memcpy(eventfds, fds, count * sizeof(*fds));
	dev->irq_type = type;
	dev->eventfds = fds;
	dev->eventfd_count = count;
	return 0;

close_fds:
	close_all(fds, count);
free_fds:
	free(fds);
	return err;
}

/*
 * Acting on what is enabled
 */

static int act(struct pn_pci_device *dev, uint32_t action, uint32_t count, const char *verb)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_NONE | action,
		.index = kinds[dev->irq_type].index,
		.count = count,
	};
	int err;

	if (!ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, &set))
		return 0;
	err = errno;
	return pn_fail(err, "%s: %s %s: %s", dev->info.address, verb, kinds[dev->irq_type].name,
		strerror(err));
}

int pn_pci_irq_disable(struct pn_pci_device *dev)
{
	int err;

	if (!dev->eventfd_count)
		return 0;
	/* A count of 0 disables the whole index. */
	err = act(dev, VFIO_IRQ_SET_ACTION_TRIGGER, 0, "disabling");
	/* The kernel holds references of its own: closing is safe whether or not it obeyed. */
	close_all(dev->eventfds, dev->eventfd_count);
	free(dev->eventfds);
	dev->eventfds = NULL;
	dev->eventfd_count = 0;
	return err;
}

int pn_pci_irq_unmask(struct pn_pci_device *dev)
{
	if (!dev->eventfd_count || dev->irq_type != PN_IRQ_INTX)
		return pn_fail(EINVAL, "%s: INTx is not enabled", dev->info.address);
	return act(dev, VFIO_IRQ_SET_ACTION_UNMASK, 1, "unmasking");
}

int pn_pci_irq_forget(struct pn_pci_device *dev)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
	};
	unsigned int type;
	int err;

	for (type = 0; type < PN_ARRAY_SIZE(kinds); type++) {
		if (pn_pci_irq_count(dev, (enum pn_irq_type)type) <= 0)
			continue;
		set.index = kinds[type].index;
		/* EINVAL: this kind is not the one enabled (vfio_pci_set_intx_trigger()). */
		if (!ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, &set) || errno == EINVAL)
			continue;
		err = errno;
		return pn_fail(err, "%s: disabling %s: %s", dev->info.address, kinds[type].name,
			strerror(err));
	}
	return 0;
}
