/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts of a real (emulated) card through eventfds, and what else lib/pci offers: irq DEVICE.
 * Raises interrupts by writing the Interrupt Cause Set register of an 8254x or 82574L. Prints the
 * kinds that were seen, or what is wrong.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "pinion.h"

/* 82574 datasheet 10.2.4: interrupt registers. */
#define ICR  0x00c0
#define ITR  0x00c4
#define ICS  0x00c8
#define IMS  0x00d0
#define IMC  0x00d8
#define IVAR 0x00e4

#define CAUSE_LSC  (1u << 2)
#define CAUSE_RXQ0 (1u << 20)
/* Vector 0 for receive queue 0, valid. */
#define IVAR_RXQ0 (1u << 3)

static volatile uint32_t *reg(const struct pn_bar *bar, unsigned int offset)
{
	return (volatile uint32_t *)((volatile char *)bar->addr + offset);
}

static bool fired(int fd, int timeout_ms)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	uint64_t count;

	if (poll(&wait, 1, timeout_ms) != 1)
		return false;
	return read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count) && count > 0;
}

static void raise_cause(const struct pn_bar *bar, uint32_t cause)
{
	*reg(bar, IMS) = cause;
	*reg(bar, ICS) = cause;
}

static void check_kind(struct pn_pci_device *device, const struct pn_bar *bar,
	enum pn_irq_type type, const char *name)
{
	uint32_t cause = type == PN_IRQ_MSIX ? CAUSE_RXQ0 : CAUSE_LSC;
	int count = pn_pci_irq_count(device, type), fds[32];

	CHECK(count >= 0);
	if (count <= 0)
		return;
	CHECK(pn_pci_irq_enable(device, type, (unsigned int)count + 1, fds) == -EINVAL);
	CHECK(pn_pci_irq_enable(device, type, 0, fds) == -EINVAL);
	CHECK(count <= 32 && !pn_pci_irq_enable(device, type, (unsigned int)count, fds));
	CHECK(pn_pci_irq_enable(device, type, 1, fds) == -EBUSY);
	CHECK(!fired(fds[0], 50));
	if (type == PN_IRQ_MSIX)
		*reg(bar, IVAR) = IVAR_RXQ0;
	raise_cause(bar, cause);
	CHECK(fired(fds[0], 2000));
	*reg(bar, IMC) = UINT32_MAX;
	(void)*reg(bar, ICR);
	/* INTx stays masked by the kernel until it is told that the cause is dealt with. */
	if (type == PN_IRQ_INTX)
		CHECK(!pn_pci_irq_unmask(device));
	else
		CHECK(pn_pci_irq_unmask(device) == -EINVAL);
	raise_cause(bar, cause);
	CHECK(fired(fds[0], 2000));
	*reg(bar, IMC) = UINT32_MAX;
	(void)*reg(bar, ICR);
	CHECK(!pn_pci_irq_disable(device));
	printf("%s %d\n", name, count);
}

int main(int argc, char **argv)
{
	struct pn_pci_device *device;
	const struct pn_pci_info *info;
	struct pn_domain *domain;
	struct pn_bar bar;
	uint16_t id[2];
	uint8_t byte;

	if (argc != 2)
		return 2;
	CHECK(!pn_domain_create(&domain, NULL));
	CHECK(!pn_pci_open(&device, argv[1], domain));
	if (failures)
		return 1;
	info = pn_pci_device_info(device);
	CHECK(!pn_pci_config_read(device, 0, id, sizeof(id)));
	CHECK(id[0] == info->vendor && id[1] == info->device);
	CHECK(pn_pci_config_read(device, 0xffffffff, &byte, 1) == -EINVAL);
	CHECK(pn_pci_bar_map(device, 6, &bar) == -EINVAL);
	CHECK(!pn_pci_bar_map(device, 0, &bar) && bar.addr && bar.size >= 0x20000);
	CHECK(!pn_pci_bus_master(device, true));
	*reg(&bar, IMC) = UINT32_MAX;
	/* QEMU stops with an assertion when MSI-X comes while a throttling timer of INTx or MSI
	 * runs. */
	*reg(&bar, ITR) = 0;
	(void)*reg(&bar, ICR);
	check_kind(device, &bar, PN_IRQ_MSIX, "msix");
	check_kind(device, &bar, PN_IRQ_MSI, "msi");
	check_kind(device, &bar, PN_IRQ_INTX, "intx");
	CHECK(!pn_pci_bus_master(device, false));
	pn_pci_close(device);
	CHECK(!pn_domain_destroy(domain));
	puts(failures ? "failed" : "ok");
	return failures != 0;
}
