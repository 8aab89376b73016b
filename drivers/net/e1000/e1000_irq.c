/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts for an application that sleeps while nothing comes: one vector for receive queue 0 and
 * the link, MSI-X, MSI or INTx, whichever is the first that the device has. Bursts know nothing of
 * it; all is done when the application arms it.
 */
#include <errno.h>
#include <sys/eventfd.h>

#include "base_priv.h"
#include "e1000.h"
#include "pn_pci.h"

#define HELD_BACK_US 1000u

/* RXT0 is set for each packet written back, as RDTR is 0: [8254x] 13.4.17, 13.4.30. With MSI-X a
 * queue has a cause of its own, and LSC is signalled by OTHER: [82574] 10.2.4. */
static uint32_t rx_cause(const struct e1000_irq *irq)
{
	return irq->type == PN_IRQ_MSIX ? E1000_ICR_RXQ0 : E1000_ICR_RXT0;
}

static uint32_t link_cause(const struct e1000_irq *irq)
{
	return irq->type == PN_IRQ_MSIX ? E1000_ICR_LSC | E1000_ICR_OTHER : E1000_ICR_LSC;
}

/* The best kind that the device has. 0; -EOPNOTSUPP; a negative errno. */
static int choose(const struct e1000_irq *irq, const struct e1000_hw *hw, enum pn_irq_type *type)
{
	static const enum pn_irq_type kinds[] = {PN_IRQ_MSIX, PN_IRQ_MSI, PN_IRQ_INTX};

	for (unsigned int i = 0; i < PN_ARRAY_SIZE(kinds); i++) {
		int count = pn_pci_irq_count(irq->pci, kinds[i]);

		if (count < 0)
			return pn_fail_prefix(count, "port %s: ", hw->name);
		*type = kinds[i];
		if (count > 0)
			return 0;
	}
	return pn_fail(EOPNOTSUPP,
		"port %s: VFIO offers no interrupt of this device, neither MSI-X nor MSI nor INTx: "
		"poll it",
		hw->name);
}

int e1000_irq_enable(struct e1000_irq *irq, struct e1000_hw *hw)
{
	int ret = e1000_hw_alive(hw);

	if (!ret)
		ret = choose(irq, hw, &irq->type);
	if (ret)
		return ret;
	/* QEMU's 82574 ends with an assertion when a throttling timer of another kind of interrupt
	 * runs out under MSI-X: none may be started from here on. */
	e1000_hw_mask_interrupts(hw);
	e1000_write(hw, E1000_ITR, 0);
	ret = pn_pci_irq_enable(irq->pci, irq->type, 1, &irq->fd);
	if (ret)
		return pn_fail_prefix(ret, "port %s: ", hw->name);
	irq->on = true;
	irq->link_up = e1000_read(hw, E1000_STATUS) & E1000_STATUS_LU;
	return 0;
}

/*
 * MSI-X: queue 0 and "other" on vector 0. EIAC clears a cause in ICR when its message is sent;
 * EIAME with IAM masks it in IMS as well, so that it is sent once until it is armed again. PBA_CLR
 * lets a write to IMS clear the pending bit. [82574] 10.2.2.5, 10.2.4
 */
static void route_msix(struct e1000_hw *hw)
{
	const uint32_t causes = E1000_ICR_RXQ0 | E1000_ICR_OTHER;
	uint32_t ctrl = e1000_read(hw, E1000_CTRL_EXT);

	for (uint32_t i = 0; i < E1000_EITR_COUNT; i++)
		e1000_write(hw, E1000_EITR + 4 * i, 0);
	ctrl &= ~E1000_CTRL_EXT_IAME;
	ctrl |= E1000_CTRL_EXT_PBA_CLR | E1000_CTRL_EXT_EIAME;
	e1000_write(hw, E1000_CTRL_EXT, ctrl);
	e1000_write(hw, E1000_IVAR, E1000_IVAR_VALID | E1000_IVAR_VALID << E1000_IVAR_OTHER);
	e1000_write(hw, E1000_IAM, causes);
	e1000_write(hw, E1000_EIAC, causes);
}

void e1000_irq_route(const struct e1000_irq *irq, struct e1000_hw *hw)
{
	e1000_write(hw, E1000_ITR, 0);
	if (irq->type == PN_IRQ_MSIX)
		route_msix(hw);
}

/*
 * Everything that the device signals up to the read of ICR is forgotten, so what it was about is
 * looked at after that: a descriptor was written before its cause was set, and the completion of a
 * read does not overtake it (PCI Local Bus 3.0, 3.2.5). What comes later finds the cause unmasked,
 * or pending when it is. Without MSI-X a cause stays pending, and so signals once, until ICR is
 * read; it is cleared by reading as IMS is 0 ([82574] 10.2.4.1).
 */
int e1000_irq_arm(struct e1000_irq *irq, struct e1000_hw *hw, const struct e1000_rxq *q)
{
	uint32_t again = 0, status;
	eventfd_t count;
	bool link_up;

	e1000_hw_mask_interrupts(hw);
	(void)eventfd_read(irq->fd, &count);
	e1000_write(hw, E1000_IMS, rx_cause(irq) | link_cause(irq));
	status = e1000_read(hw, E1000_STATUS);
	if (status == E1000_GONE)
		return e1000_hw_alive(hw);
	e1000_rmb();
	if (e1000_rxq_wants_poll(q, hw->model->pcie))
		again |= rx_cause(irq);
	link_up = status & E1000_STATUS_LU;
	if (__atomic_exchange_n(&irq->link_up, link_up, __ATOMIC_RELAXED) != link_up)
		again |= link_cause(irq);
	/* The device signals it as it would have: once, and masked in the same way. */
	if (again)
		e1000_write(hw, E1000_ICS, again);
	/* The kernel has masked INTx when it fired; when the line is still up it fires at once. */
	if (irq->type == PN_IRQ_INTX)
		return pn_pci_irq_unmask(irq->pci);
	return 0;
}

void e1000_irq_saw_link(struct e1000_irq *irq, bool up)
{
	__atomic_store_n(&irq->link_up, up, __ATOMIC_RELAXED);
}

int e1000_irq_disable(struct e1000_irq *irq, struct e1000_hw *hw)
{
	if (!irq->on)
		return 0;
	/* Silent first, and the read behind it pushes a message that is under way: one that comes
	 * while the kernel frees the vector is a DMA fault. */
	e1000_hw_mask_interrupts(hw);
	/* Nor may one come that was held back: QEMU's 82574L holds each for 128 us, whatever EITR
	 * says, and ends if MSI-X is off by then. */
	if (irq->type == PN_IRQ_MSIX)
		e1000_sleep_us(HELD_BACK_US);
	irq->on = false;
	return pn_pci_irq_disable(irq->pci);
}
