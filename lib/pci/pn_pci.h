/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PCI devices: finding them, opening one through VFIO into a domain, its BARs, configuration space,
 * reset, bus mastering, interrupts, and being asked to give it back.
 */
#ifndef PN_PCI_H
#define PN_PCI_H

#include "pn_base.h"
#include "pn_dma.h"

#ifdef __cplusplus
extern "C" {
#endif

/** An open PCI device. */
struct pn_pci_device;

/** Length of "0000:00:00.0" with its terminator, and room for a five-digit domain. */
#define PN_PCI_ADDRESS_MAX 16

/** A PCI function as sysfs shows it. */
struct pn_pci_info {
	char address[PN_PCI_ADDRESS_MAX]; /**< "0000:00:02.0" */
	uint16_t vendor, device;
	uint16_t subvendor, subdevice;
	uint32_t class_code;  /**< 24 bits: class, subclass, programming interface */
	char driver[32];      /**< kernel driver that it is bound to, or "" */
	int iommu_group;      /**< -1: none (no IOMMU, or it is off) */
	int numa_node;        /**< PN_NODE_ANY if the machine does not say */
	char vendor_name[64]; /**< from pci.ids through libpciaccess; "" if unknown */
	char device_name[96];
	char group_node[40]; /**< "/dev/vfio/7", or "" if it is not bound to a VFIO driver */
	char interfaces[48]; /**< network interfaces that the kernel driver made, e.g. "eth0"; "" if
				none */
	/** "/dev/vfio/devices/vfio0", the device's own node, or "" if there is none: not bound to a
	 * VFIO driver, or a kernel without CONFIG_VFIO_DEVICE_CDEV */
	char cdev_node[40];
};

/**
 * Enumerate PCI functions, in order of address.
 *
 * This and what stands on it (pn_pci_find(), pn_pci_open()) use libpciaccess, which keeps global
 * state without a lock: an application that uses libpciaccess itself must not do so during the
 * call, and gets the functions that its own pci_system_init() found, less those unplugged since.
 * @param[out] list  array; free with free()
 * @param[out] count elements
 * @return 0 or a negative errno (no PCI bus in /sys, no memory).
 * Thread-safety: any thread.
 */
PN_API int pn_pci_scan(struct pn_pci_info **list, size_t *count);

/**
 * Find one function.
 * @param spec "0000:00:02.0", "00:02.0" (domain 0), or "8086:10d3" (vendor:device, four digits
 * each; must match exactly one function)
 * @param[out] info what it is
 * @return 0; -EINVAL if spec is neither form; -ENODEV if there is none (the text names the
 * nearest); -ENOTUNIQ if several match (the text lists their addresses); the errors of
 * pn_pci_scan(). Thread-safety: any thread.
 */
PN_API int pn_pci_find(const char *spec, struct pn_pci_info *info);

/**
 * Open a device through VFIO and attach it to a domain: with the backend iommufd by the device's
 * own node, with the others by its IOMMU group. Queued mappings of the domain are made.
 *
 * The function is reset if it can be, bus mastering is off, no interrupt is enabled.
 * Kernel: /dev/vfio/GROUP, VFIO_GROUP_GET_STATUS, VFIO_GROUP_SET_CONTAINER,
 * VFIO_GROUP_GET_DEVICE_FD, VFIO_DEVICE_GET_INFO, VFIO_DEVICE_RESET.
 *
 * @param[out] out the device; the caller owns it
 * @param spec     as for pn_pci_find()
 * @param domain   must outlive the device
 * @return 0; the errors of pn_pci_find(); -ENXIO when it is not bound to vfio-pci or a variant of
 * it (the text says to what, how to bind it, and which interface that takes down), when there is no
 * IOMMU, or when it is a bridge; -EPERM when its group is not viable (the text
 * names the device in the way); -EACCES when the group node may not be opened (owner, mode and a
 * udev rule in the text); -EBUSY when someone else has the group open; the errors of
 * pn_domain_map() when the domain's mappings cannot be made; -EIO or -ENODEV when the device does
 * not answer, a negative errno of VFIO_DEVICE_RESET when its reset fails. Nothing is left open,
 * attached or pinned. Thread-safety: any thread; one device is used by one thread at a time unless
 * said otherwise.
 */
PN_API int pn_pci_open(struct pn_pci_device **out, const char *spec, struct pn_domain *domain);

/** Bytes of a VF token, which is a UUID. */
#define PN_PCI_VF_TOKEN_LEN 16

/**
 * Read a VF token: "2ab74924-c335-45f4-9b16-8569e5b08258", hexadecimal in either case.
 * @param[out] token its bytes, in the order written
 * @return 0 or -EINVAL. Thread-safety: any thread.
 */
PN_API int pn_pci_vf_token_parse(const char *text, uint8_t token[PN_PCI_VF_TOKEN_LEN]);

/**
 * Open a device that asks for a VF token: a virtual function (VF) whose physical function (PF) is
 * on vfio-pci, or such a PF while one of its VFs is open. A PF with no VF open takes the token
 * given here as its new one.
 *
 * Kernel: VFIO_GROUP_GET_DEVICE_FD with "vf_token="; native iommufd VFIO_DEVICE_BIND_IOMMUFD with a
 * token, from Linux 6.17 on; kernels before do not ask for it there.
 *
 * @param vf_token PN_PCI_VF_TOKEN_LEN bytes
 * @return as pn_pci_open(); -EACCES if it is not the one; -EINVAL if the device takes none
 * (native iommufd opens it then).
 */
PN_API int pn_pci_open_vf_token(struct pn_pci_device **out, const char *spec,
	struct pn_domain *domain, const uint8_t *vf_token);

/**
 * Set the VF token that whoever opens a VF of this device has to give from now on. It stays until
 * the device leaves vfio-pci.
 *
 * Kernel: VFIO_DEVICE_FEATURE_PCI_VF_TOKEN.
 *
 * @param vf_token PN_PCI_VF_TOKEN_LEN bytes
 * @return 0; -EOPNOTSUPP if the device has no VFs; -EBUSY while a VF is open; a negative errno of
 * VFIO_DEVICE_FEATURE.
 */
PN_API int pn_pci_set_vf_token(struct pn_pci_device *dev, const uint8_t *vf_token);

/**
 * Open a device through a file that another process opened and sent (SCM_RIGHTS): with the backend
 * iommufd the device's node (/dev/vfio/devices/vfioN), with the others its group's
 * (/dev/vfio/GROUP). So this process needs no right to open either.
 *
 * @param device_fd stays the caller's, who may close it afterwards
 * @return as pn_pci_open(); -EINVAL if the file is not that of this device or group.
 */
PN_API int pn_pci_open_fd(
	struct pn_pci_device **out, const char *spec, struct pn_domain *domain, int device_fd);

/**
 * Have a device that was open when its domain was handed over (pn_domain_handover()), as it runs:
 * no reset, nothing in it changes but that interrupts are off; pn_pci_irq_enable() turns them on.
 *
 * @param address of the device, "0000:00:02.0"
 * @param domain  what pn_domain_takeover() gave
 * @return 0; -ENOENT if the domain came without it; -EBUSY if it was opened or taken over already;
 * the errors of pn_pci_find().
 */
PN_API int pn_pci_takeover(
	struct pn_pci_device **out, const char *address, struct pn_domain *domain);

/**
 * Say how many bits of an IOVA the device can send, as its driver knows (the kernel's
 * dma_set_mask()). The valid IOVAs of the domain follow, for all its devices.
 *
 * @param bits 12 to 64; 64 when the device is opened
 * @return 0; -EINVAL; -ERANGE if a mapping stands above (the text says which): nothing changes
 * then.
 */
PN_API int pn_pci_set_dma_bits(struct pn_pci_device *dev, unsigned int bits);

/**
 * Stop the device (bus mastering and interrupts off, reset), detach it from its domain and close
 * it. NULL is allowed. In a forked child nothing happens to the device, which is the parent's. The
 * calling thread's pn_error() stays what it was; a step that fails is logged (PN_LOG_WARNING), and
 * the rest is done.
 */
PN_API void pn_pci_close(struct pn_pci_device *dev);

/** What sysfs says of an open device. Belongs to the device. */
PN_API const struct pn_pci_info *pn_pci_device_info(const struct pn_pci_device *dev);

/** A mapped BAR. */
struct pn_bar {
	volatile void *addr; /**< NULL: it cannot be mapped */
	uint64_t size;       /**< bytes of the whole BAR */
};

/**
 * Map a BAR, once; later calls give the same mapping. Only what VFIO offers for mmap is mapped:
 * where the BAR has holes (the MSI-X table on kernels without VFIO_REGION_INFO_CAP_MSIX_MAPPABLE)
 * they are reserved, not accessible.
 *
 * @param bar 0 to 5
 * @param[out] out the mapping, which belongs to the device; on -EOPNOTSUPP addr is NULL and size
 * that of the BAR
 * @return 0; -EINVAL (no such BAR); -ENOENT (size 0); -EOPNOTSUPP (an I/O BAR or one that VFIO does
 * not let map); -EIO (the kernel or the device gives sizes that make no sense); a negative errno of
 * mmap.
 */
PN_API int pn_pci_bar_map(struct pn_pci_device *dev, unsigned int bar, struct pn_bar *out);

/**
 * Make a region of a part of a BAR, to be mapped into a domain, so that other devices of it read
 * and write this one's memory (peer-to-peer DMA). Not for a heap, and not for the process to work
 * with: for that there is pn_pci_bar_map(), which this stands on.
 *
 * The region is writable if VFIO lets the BAR be written to; its pages are 4096 bytes. Nothing of
 * it is pinned, and type1 charges nothing for it. It has a mapping of its own, at an address that
 * is valid as an IOVA. Where the kernel offers a dma-buf of the range (VFIO_DEVICE_FEATURE_DMA_BUF,
 * Linux 6.19), the region keeps one, which native iommufd maps; where not, its note says why, and
 * only type1 maps it.
 *
 * Destroy it before pn_pci_close(). Until then its mapping keeps the device's file open: after
 * pn_pci_close(), which stops and resets the device all the same and logs a warning
 * (PN_LOG_WARNING), the kernel goes on holding the device for this process. Nobody else gets it, so
 * what other devices still write there reaches no stranger; but opening it again is refused (-EBUSY
 * or -EPERM), a type1 domain takes no further device once its last one is closed (-EINVAL), and
 * unbinding it waits.
 *
 * While memory decoding is off (during a reset, or when something turned it off through
 * configuration space) a touch of the region's addresses raises SIGBUS, and peers' transfers end in
 * errors that only they see. On type1 what they send afterwards arrives again. Native iommufd takes
 * the mapping of a dma-buf out of the IOMMU at that moment, for good (iopt_revoke_notify()): after
 * a reset, unmap the region from the domain and map it again.
 *
 * Kernel: mmap() of the device's file, VFIO_DEVICE_FEATURE.
 *
 * @param bar      0 to 5
 * @param offset   in the BAR, a multiple of 4096
 * @param len      bytes, a multiple of 4096; at most to the end of the BAR's last page
 * @param[out] out the region; the caller owns it, see pn_region_destroy()
 * @return 0; the errors of pn_pci_bar_map(); -EINVAL for an offset or length that is no multiple,
 * is empty or leaves the BAR (the text has the numbers); -EOPNOTSUPP when the range holds something
 * that VFIO does not let map (the text says from where: often the MSI-X table); -ENOMEM; a negative
 * errno of mmap, madvise or VFIO_DEVICE_FEATURE.
 */
PN_API int pn_pci_bar_region(struct pn_pci_device *dev, unsigned int bar, uint64_t offset,
	uint64_t len, struct pn_region **out);

/**
 * Read or write configuration space through VFIO.
 * @return 0; -EINVAL if the range leaves configuration space; -EIO on a short transfer; a negative
 * errno.
 */
PN_API int pn_pci_config_read(struct pn_pci_device *dev, uint32_t offset, void *data, uint32_t len);
PN_API int pn_pci_config_write(
	struct pn_pci_device *dev, uint32_t offset, const void *data, uint32_t len);

/** Let the device master the bus (do DMA), or stop it. @return 0 or a negative errno. */
PN_API int pn_pci_bus_master(struct pn_pci_device *dev, bool on);

/**
 * Reset the function. The kernel puts configuration space back as it was (bus mastering and enabled
 * interrupts too). What becomes of the device's own registers depends on the method (reset_method
 * in sysfs): a function-level reset clears them, a power-management reset need not. A driver resets
 * the device through its registers too before it turns bus mastering on. Kernel: VFIO_DEVICE_RESET.
 * @return 0; -EOPNOTSUPP if it has no reset; a negative errno.
 */
PN_API int pn_pci_reset(struct pn_pci_device *dev);

/** Kinds of interrupt. */
enum pn_irq_type { PN_IRQ_INTX, PN_IRQ_MSI, PN_IRQ_MSIX };

/** Vectors that the device has of a kind (0: none), or a negative errno. */
PN_API int pn_pci_irq_count(struct pn_pci_device *dev, enum pn_irq_type type);

/**
 * Enable interrupts of one kind, each signalled on an eventfd that the library makes (EFD_NONBLOCK
 * | EFD_CLOEXEC).
 *
 * One kind at a time. INTx is masked by the kernel when it fires; pn_pci_irq_unmask() re-arms it.
 * @param count vectors, from 1 to pn_pci_irq_count()
 * @param[out] eventfds count file descriptors that belong to the device until pn_pci_irq_disable()
 * or close
 * @return 0; -EINVAL (count; the text says how many there are); -EBUSY if a kind is enabled
 * already; -EOPNOTSUPP if VFIO has no eventfds for it; -ENOSPC if the machine has fewer vectors
 * left (the text says how many); -EMFILE; a negative errno of VFIO_DEVICE_SET_IRQS. Nothing is
 * enabled then, and eventfds is not written.
 */
PN_API int pn_pci_irq_enable(
	struct pn_pci_device *dev, enum pn_irq_type type, unsigned int count, int *eventfds);

/**
 * Disable what is enabled (nothing: 0), and close the eventfds, whatever the kernel says.
 *
 * The device must not raise interrupts any more: the kernel zeroes the address of an MSI while it
 * frees it, and one that fires meanwhile is a DMA fault in the kernel's log.
 * @return 0 or a negative errno.
 */
PN_API int pn_pci_irq_disable(struct pn_pci_device *dev);

/**
 * Be told when the host wants the device back: it is unbound from its driver, unplugged, or removed
 * through sysfs. Who asked waits until the device is closed; the kernel asks again every few
 * seconds. As it holds the device meanwhile, the reset of pn_pci_close() is refused, which is
 * logged; bus mastering is off by then. Independent of interrupts.
 *
 * Kernel: VFIO_DEVICE_GET_IRQ_INFO and VFIO_DEVICE_SET_IRQS of VFIO_PCI_REQ_IRQ_INDEX.
 *
 * @return an eventfd (EFD_NONBLOCK | EFD_CLOEXEC) that becomes readable then; it belongs to the
 * device until pn_pci_close(), and is the same at every call. -EOPNOTSUPP if the kernel does not
 * offer it; -EMFILE; a negative errno of the ioctls (nothing is armed then).
 */
PN_API int pn_pci_removal_fd(struct pn_pci_device *dev);

/** Unmask INTx after it fired. @return 0; -EINVAL if INTx is not enabled; a negative errno. */
PN_API int pn_pci_irq_unmask(struct pn_pci_device *dev);

#ifdef __cplusplus
}
#endif

#endif
