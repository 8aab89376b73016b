/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configuration space through VFIO, which emulates or filters what a user must not touch; the
 * command register; the capability list.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <string.h>
#include <unistd.h>

#include "base_priv.h"
#include "pci_priv.h"

/* PCI Express Base 5.0, 7.2: 4096 bytes a function. */
#define CONFIG_MAX 4096U
/* The list lies in the first 256 bytes, an entry takes at least 4 of those behind the header. */
#define CAPABILITIES_MAX ((256 - PCI_STD_HEADER_SIZEOF) / 4)

int pn_pci_config_init(struct pn_pci_device *dev)
{
	struct pn_pci_region region;
	int err;

	err = pn_pci_region_get(dev, VFIO_PCI_CONFIG_REGION_INDEX, &region);
	if (err)
		return err;
	dev->config_size = region.size > CONFIG_MAX ? CONFIG_MAX : (uint32_t)region.size;
	dev->config_offset = region.offset;
	pn_pci_region_free(&region);
	if (dev->config_size < PCI_STD_HEADER_SIZEOF)
		return pn_fail(EIO,
			"%s: VFIO shows %u bytes of configuration space; the header "
			"alone has %u",
			dev->info.address, dev->config_size, PCI_STD_HEADER_SIZEOF);
	if (dev->config_offset > INT64_MAX - CONFIG_MAX)
		return pn_fail(EIO,
			"%s: VFIO puts configuration space at %" PRIu64
			", beyond what a file offset reaches",
			dev->info.address, dev->config_offset);
	return 0;
}

static int check_range(
	const struct pn_pci_device *dev, const void *data, uint32_t offset, uint32_t len)
{
	if (!data && len)
		return pn_fail(
			EINVAL, "%s: configuration data must not be NULL", dev->info.address);
	if (offset > dev->config_size || len > dev->config_size - offset)
		return pn_fail(EINVAL,
			"%s: bytes %u to %" PRIu64 " leave configuration space, "
			"which has %u",
			dev->info.address, offset, (uint64_t)offset + len, dev->config_size);
	return 0;
}

/* done: what pread() or pwrite() returned. */
static int check_transfer(const struct pn_pci_device *dev, const char *verb, uint32_t offset,
	uint32_t len, ssize_t done)
{
	int err = errno;

	if (done < 0)
		return pn_fail(err, "%s: %s %u bytes of configuration space at 0x%x: %s",
			dev->info.address, verb, len, offset, strerror(err));
	if ((size_t)done != len)
		return pn_fail(EIO,
			"%s: %s %u bytes of configuration space at 0x%x: only %zd "
			"went through",
			dev->info.address, verb, len, offset, done);
	return 0;
}

int pn_pci_config_read(struct pn_pci_device *dev, uint32_t offset, void *data, uint32_t len)
{
	ssize_t done;
	int err;

	err = check_range(dev, data, offset, len);
	if (err || !len)
		return err;
	do
		done = pread(dev->fd, data, len, (off_t)(dev->config_offset + offset));
	while (done < 0 && errno == EINTR);
	return check_transfer(dev, "reading", offset, len, done);
}

int pn_pci_config_write(struct pn_pci_device *dev, uint32_t offset, const void *data, uint32_t len)
{
	ssize_t done;
	int err;

	err = check_range(dev, data, offset, len);
	if (err || !len)
		return err;
	do
		done = pwrite(dev->fd, data, len, (off_t)(dev->config_offset + offset));
	while (done < 0 && errno == EINTR);
	return check_transfer(dev, "writing", offset, len, done);
}

/*
 * The command register
 */

static int read_command(struct pn_pci_device *dev, uint16_t *command)
{
	uint16_t raw;
	int err;

	err = pn_pci_config_read(dev, PCI_COMMAND, &raw, sizeof(raw));
	if (err)
		return err;
	*command = le16toh(raw);
	/* Reserved bits read as 0, so all ones are a bus where nobody answers. */
	if (*command == 0xffff)
		return pn_fail(ENODEV,
			"%s does not answer (its command register reads 0xffff): "
			"it was unplugged or has failed",
			dev->info.address);
	return 0;
}

int pn_pci_command(struct pn_pci_device *dev, uint16_t set, uint16_t clear)
{
	uint16_t command, wanted, raw;
	int err;

	err = read_command(dev, &command);
	if (err)
		return err;
	wanted = (uint16_t)((command & ~clear) | set);
	if (wanted == command)
		return 0;
	raw = htole16(wanted);
	err = pn_pci_config_write(dev, PCI_COMMAND, &raw, sizeof(raw));
	if (err)
		return err;
	err = read_command(dev, &command);
	if (err)
		return err;
	if ((command & (set | clear)) != set)
		return pn_fail(EIO, "%s: command register reads 0x%04x after 0x%04x was written",
			dev->info.address, command, wanted);
	return 0;
}

int pn_pci_bus_master(struct pn_pci_device *dev, bool on)
{
	return on ? pn_pci_command(dev, PCI_COMMAND_MASTER, 0)
		  : pn_pci_command(dev, 0, PCI_COMMAND_MASTER);
}

/*
 * Capabilities: PCI Local Bus 3.0, 6.7
 */

int pn_pci_capability(struct pn_pci_device *dev, uint8_t id, uint8_t *offset)
{
	uint8_t entry[2], next;
	uint16_t status;
	int err;

	err = pn_pci_config_read(dev, PCI_STATUS, &status, sizeof(status));
	if (err)
		return err;
	if (!(le16toh(status) & PCI_STATUS_CAP_LIST))
		return -ENOENT;
	err = pn_pci_config_read(dev, PCI_CAPABILITY_LIST, &next, sizeof(next));
	/* The count bounds a list that a broken device has closed to a ring. */
	for (int i = 0; !err && i < CAPABILITIES_MAX; i++) {
		next &= 0xfc;
		if (next < PCI_STD_HEADER_SIZEOF)
			return -ENOENT;
		err = pn_pci_config_read(dev, next, entry, sizeof(entry));
		if (!err && entry[0] == id) {
			*offset = next;
			return 0;
		}
		next = entry[1];
	}
	return err ? err : -ENOENT;
}
