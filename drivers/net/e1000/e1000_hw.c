/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device as its documents describe it: reset, address, link, filters, and how receiver and
 * transmitter are started and stopped. Every wait is bounded by time.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base_priv.h"
#include "e1000.h"

const struct e1000_model e1000_models[] = {
	{
		.device = 0x10d3,
		.name = "82574L Gigabit Network Connection",
		/* 9018 bytes with header and FCS: [82574] chapter 1, "9 KB jumbo frame support" */
		.mtu_max = 9000,
		.tx_frame_max = 9018, /* with a VLAN tag, without FCS */
		.pcie = true,
		.eerd_done = 1u << 1,
		.eerd_addr_shift = 2,
	},
	{
		.device = 0x100e,
		.name = "82540EM Gigabit Ethernet Controller",
		/* [8254x] 3.3.3: a packet given to the transmitter has 16288 bytes at most, with
		 * header and VLAN tag; the receiver takes 16384 (13.4.22, LPE). 16110 keeps to the
		 * 16128-byte frame of this family's peers. */
		.mtu_max = 16110,
		.tx_frame_max = 16288,
		.pcie = false,
		.eerd_done = 1u << 4,
		.eerd_addr_shift = 8,
	},
};

const unsigned int e1000_model_count = PN_ARRAY_SIZE(e1000_models);

void e1000_sleep_us(unsigned int us)
{
	struct timespec left = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000L};

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Wait until the masked bits of a register have a value. 0, -ETIMEDOUT or -ENODEV; no text. */
static int wait_for(
	const struct e1000_hw *hw, uint32_t reg, uint32_t mask, uint32_t value, unsigned int us)
{
	uint64_t end = now_us() + us;

	for (;;) {
		/* The clock before the register: a long sleep must not hide that it was in time. */
		bool late = now_us() >= end;
		uint32_t read = e1000_read(hw, reg);

		if (read == E1000_GONE)
			return -ENODEV;
		if ((read & mask) == value)
			return 0;
		if (late)
			return -ETIMEDOUT;
		e1000_sleep_us(50);
	}
}

/* Posted writes have reached the device when a read that follows them has come back. */
static void flush(const struct e1000_hw *hw)
{
	(void)e1000_read(hw, E1000_STATUS);
}

int e1000_hw_alive(const struct e1000_hw *hw)
{
	if (e1000_read(hw, E1000_STATUS) != E1000_GONE)
		return 0;
	return pn_fail(EIO,
		"port %s: the device does not answer (STATUS reads 0xffffffff): it was removed, "
		"has lost power, or its memory space is disabled",
		hw->name);
}

void e1000_hw_mask_interrupts(struct e1000_hw *hw)
{
	e1000_write(hw, E1000_IMC, UINT32_MAX);
	(void)e1000_read(hw, E1000_ICR); /* clears what is pending */
}

/* [82574] 3.1: no new requests after the disable; wait until those under way are done. */
static void disable_pcie_master(struct e1000_hw *hw)
{
	e1000_write(hw, E1000_CTRL, e1000_read(hw, E1000_CTRL) | E1000_CTRL_GIO_MASTER_DISABLE);
	if (wait_for(hw, E1000_STATUS, E1000_STATUS_GIO_MASTER_ENABLE, 0, 80000) == -ETIMEDOUT)
		pn_log(PN_LOG_WARNING,
			"port %s: PCIe requests are still pending 80 ms after the master was "
			"disabled",
			hw->name);
}

void e1000_hw_stop(struct e1000_hw *hw)
{
	hw->rctl &= E1000_RCTL_UPE | E1000_RCTL_MPE; /* what was asked for stays */
	if (e1000_read(hw, E1000_STATUS) == E1000_GONE)
		return;
	e1000_hw_mask_interrupts(hw);
	e1000_write(hw, E1000_RCTL, 0);
	e1000_write(hw, E1000_TCTL, E1000_TCTL_PSP);
	flush(hw);
	/* A packet that is being received or sent ends within 10 ms at 10 Mb/s: 9018 bytes take
	 * 7.3 ms, and what is longer than that only a 1 Gb/s link carries. */
	e1000_sleep_us(10000);
	if (hw->model->pcie)
		disable_pcie_master(hw);
}

/*
 * [82574] 4.6.2: the firmware must not be using the PHY while the device is reset. It lets go of it
 * in time or is stuck, and then a reset is what helps.
 */
static void own_mdio(struct e1000_hw *hw)
{
	uint64_t end = now_us() + 100000;

	do {
		uint32_t ctrl = e1000_read(hw, E1000_EXTCNF_CTRL);

		if (ctrl == E1000_GONE)
			return;
		e1000_write(hw, E1000_EXTCNF_CTRL, ctrl | E1000_EXTCNF_CTRL_MDIO_SW_OWNERSHIP);
		if (e1000_read(hw, E1000_EXTCNF_CTRL) & E1000_EXTCNF_CTRL_MDIO_SW_OWNERSHIP)
			return;
		e1000_sleep_us(2000);
	} while (now_us() < end);
	pn_log(PN_LOG_WARNING, "port %s: the firmware does not give up the PHY; going on",
		hw->name);
}

static void release_mdio(struct e1000_hw *hw)
{
	uint32_t ctrl = e1000_read(hw, E1000_EXTCNF_CTRL);

	e1000_write(hw, E1000_EXTCNF_CTRL, ctrl & ~E1000_EXTCNF_CTRL_MDIO_SW_OWNERSHIP);
}

static int await_reset(struct e1000_hw *hw)
{
	int ret;

	/* No access for 1 us after the reset ([8254x] 13.4.1); the EEPROM is read again, which
	 * takes the 82540EM up to 5 ms (14.3) and has no bit that says when it is done. */
	e1000_sleep_us(5000);
	ret = wait_for(hw, E1000_CTRL, E1000_CTRL_RST, 0, 100000);
	if (!ret && hw->model->pcie)
		ret = wait_for(hw, E1000_EECD, E1000_EECD_AUTO_RD, E1000_EECD_AUTO_RD, 100000);
	if (ret == -ENODEV)
		return e1000_hw_alive(hw);
	if (ret)
		return pn_fail(EIO, "port %s: the device has not come out of reset after 100 ms",
			hw->name);
	return 0;
}

/* [82574] 4.6, [8254x] 14.3 */
int e1000_hw_reset(struct e1000_hw *hw)
{
	int ret = e1000_hw_alive(hw);

	if (ret)
		return ret;
	/* The throttling of an earlier user, whose timers the waits below outlive. */
	e1000_write(hw, E1000_ITR, 0);
	e1000_hw_stop(hw);
	if (hw->model->pcie)
		own_mdio(hw);
	e1000_write(hw, E1000_CTRL, e1000_read(hw, E1000_CTRL) | E1000_CTRL_RST);
	ret = await_reset(hw);
	if (hw->model->pcie)
		release_mdio(hw);
	if (ret)
		return ret;
	/* The reset has enabled the causes that the EEPROM asks for. */
	e1000_hw_mask_interrupts(hw);
	return e1000_hw_alive(hw);
}

static int read_eeprom(struct e1000_hw *hw, uint32_t word, uint16_t *value)
{
	int ret;

	e1000_write(hw, E1000_EERD, (word << hw->model->eerd_addr_shift) | E1000_EERD_START);
	/* A read takes less than a millisecond; what answers it in a busy emulator may have to
	 * wait. */
	ret = wait_for(hw, E1000_EERD, hw->model->eerd_done, hw->model->eerd_done, 200000);
	if (ret)
		return ret;
	*value = (uint16_t)(e1000_read(hw, E1000_EERD) >> E1000_EERD_DATA);
	return 0;
}

static bool is_unicast(const uint8_t mac[PN_MAC_LEN])
{
	static const uint8_t zero[PN_MAC_LEN];

	return !(mac[0] & 1) && memcmp(mac, zero, PN_MAC_LEN) != 0;
}

static bool mac_from_eeprom(struct e1000_hw *hw)
{
	uint16_t value;

	for (uint32_t word = 0; word < 3; word++) {
		if (read_eeprom(hw, word, &value))
			return false;
		hw->mac[2 * word] = (uint8_t)value;
		hw->mac[2 * word + 1] = (uint8_t)(value >> 8);
	}
	return is_unicast(hw->mac);
}

static bool mac_from_registers(struct e1000_hw *hw)
{
	uint32_t low = e1000_read(hw, E1000_RAL0);
	uint32_t high = e1000_read(hw, E1000_RAH0);

	for (unsigned int i = 0; i < 4; i++)
		hw->mac[i] = (uint8_t)(low >> (8 * i));
	hw->mac[4] = (uint8_t)high;
	hw->mac[5] = (uint8_t)(high >> 8);
	return (high & E1000_RAH_AV) && is_unicast(hw->mac);
}

/*
 * The card's own address is in the first three words of its EEPROM ([8254x] 5.6.1). A reset loads
 * it into the first receive address register, but what is found there may be an earlier user's,
 * where the reset is not one (QEMU's 82540EM): so that is asked second.
 */
int e1000_hw_read_mac(struct e1000_hw *hw)
{
	if (mac_from_eeprom(hw) || mac_from_registers(hw))
		return 0;
	return pn_fail(EIO,
		"port %s: neither the EEPROM nor RAL/RAH holds a valid Ethernet address", hw->name);
}

/* With RCTL.MO at 0, bits 47:36 of the address: [8254x] 13.5.1 */
unsigned int e1000_mta_hash(const uint8_t mac[PN_MAC_LEN])
{
	return ((unsigned int)mac[4] >> 4 | (unsigned int)mac[5] << 4) & 0xfff;
}

void e1000_hw_write_filters(struct e1000_hw *hw)
{
	const uint8_t *mac = hw->mac;

	e1000_write(hw, E1000_RAL0,
		(uint32_t)mac[0] | (uint32_t)mac[1] << 8 | (uint32_t)mac[2] << 16 |
			(uint32_t)mac[3] << 24);
	e1000_write(hw, E1000_RAH0, (uint32_t)mac[4] | (uint32_t)mac[5] << 8 | E1000_RAH_AV);
	for (uint32_t i = 0; i < E1000_MTA_COUNT; i++)
		e1000_write(hw, E1000_MTA + 4 * i, hw->mta[i]);
	if (hw->rctl & E1000_RCTL_EN)
		e1000_write(hw, E1000_RCTL, hw->rctl);
	flush(hw);
}

/* 0, or the register of the PHY; -EIO when it does not answer in 10 ms. No text. */
static int read_phy(struct e1000_hw *hw, uint32_t reg, uint16_t *value)
{
	uint32_t mdic;

	e1000_write(hw, E1000_MDIC,
		E1000_MDIC_OP_READ | reg << E1000_MDIC_REGADD |
			E1000_PHY_ADDRESS << E1000_MDIC_PHYADD);
	if (wait_for(hw, E1000_MDIC, E1000_MDIC_R, E1000_MDIC_R, 10000))
		return -EIO;
	mdic = e1000_read(hw, E1000_MDIC);
	if (mdic & E1000_MDIC_E)
		return -EIO;
	*value = (uint16_t)(mdic & E1000_MDIC_DATA);
	return 0;
}

static void write_phy(struct e1000_hw *hw, uint32_t reg, uint16_t value)
{
	e1000_write(hw, E1000_MDIC,
		E1000_MDIC_OP_WRITE | reg << E1000_MDIC_REGADD |
			E1000_PHY_ADDRESS << E1000_MDIC_PHYADD | value);
	(void)wait_for(hw, E1000_MDIC, E1000_MDIC_R, E1000_MDIC_R, 10000);
}

/*
 * A kernel driver leaves the PHY powered down when its interface was down, and a reset of the MAC
 * does not wake it. One that is awake is left alone: negotiation would cost seconds of link.
 */
static void wake_phy(struct e1000_hw *hw)
{
	uint16_t control;

	if (hw->model->pcie)
		own_mdio(hw);
	if (read_phy(hw, E1000_PCTRL, &control))
		pn_log(PN_LOG_NOTICE, "port %s: the PHY does not answer", hw->name);
	else if (control & E1000_PCTRL_POWER_DOWN)
		write_phy(hw, E1000_PCTRL,
			(uint16_t)((control & ~E1000_PCTRL_POWER_DOWN) | E1000_PCTRL_AN_ENABLE |
				   E1000_PCTRL_RESTART_AN));
	if (hw->model->pcie)
		release_mdio(hw);
}

/* [8254x] 14.3 and 8.6, [82574] 4.6.3: the PHY negotiates, the MAC follows. Flow control is off. */
static void start_link(struct e1000_hw *hw, bool tags)
{
	uint32_t ctrl = e1000_read(hw, E1000_CTRL);

	ctrl &= ~(E1000_CTRL_GIO_MASTER_DISABLE | E1000_CTRL_LRST | E1000_CTRL_ILOS |
		  E1000_CTRL_FRCSPD | E1000_CTRL_FRCDPLX | E1000_CTRL_RST | E1000_CTRL_RFCE |
		  E1000_CTRL_TFCE | E1000_CTRL_VME | E1000_CTRL_PHY_RST);
	ctrl |= E1000_CTRL_SLU;
	if (!hw->model->pcie)
		ctrl |= E1000_CTRL_ASDE;
	if (tags)
		ctrl |= E1000_CTRL_VME;
	e1000_write(hw, E1000_VET, E1000_VET_VLAN);
	e1000_write(hw, E1000_CTRL, ctrl);
	e1000_write(hw, E1000_FCAL, 0);
	e1000_write(hw, E1000_FCAH, 0);
	e1000_write(hw, E1000_FCT, 0);
	e1000_write(hw, E1000_FCTTV, 0);
	e1000_write(hw, E1000_FCRTL, 0);
	e1000_write(hw, E1000_FCRTH, 0);
	wake_phy(hw);
}

/*
 * Reserved bits and errata of the 82574 that Intel's own drivers take care of: GCR bit 22 and GCR2
 * bit 0 against lost PCIe completions under ASPM, the arbitration bits 30:27 of TARC0 off.
 */
static void apply_errata(struct e1000_hw *hw)
{
	if (!hw->model->pcie)
		return;
	e1000_write(hw, E1000_GCR, e1000_read(hw, E1000_GCR) | 1u << 22);
	e1000_write(hw, E1000_GCR2, e1000_read(hw, E1000_GCR2) | 1u);
	e1000_write(hw, E1000_TARC0, e1000_read(hw, E1000_TARC0) & ~(0xfu << 27));
}

/* [8254x] 14.5, [82574] 4.6.6 */
static void start_transmit(struct e1000_hw *hw, const struct e1000_txq *q)
{
	uint32_t tctl = e1000_read(hw, E1000_TCTL);

	e1000_write(hw, E1000_TDBAL, (uint32_t)q->ring_iova);
	e1000_write(hw, E1000_TDBAH, (uint32_t)(q->ring_iova >> 32));
	e1000_write(hw, E1000_TDLEN, q->size * (uint32_t)sizeof(struct e1000_desc));
	e1000_write(hw, E1000_TDH, 0);
	e1000_write(hw, E1000_TDT, 0);
	e1000_write(hw, E1000_TIDV, 0);
	e1000_write(hw, E1000_TADV, 0);
	/* Fetch when one is there; write back at once what asks for it (WTHRESH 0). The 82540EM's
	 * default is that. */
	if (hw->model->pcie)
		e1000_write(hw, E1000_TXDCTL,
			E1000_DCTL_GRAN | E1000_TXDCTL_BIT22 | 31u << E1000_DCTL_PTHRESH |
				1u << E1000_DCTL_HTHRESH);
	/* 10BASE-T to 1000BASE-T: [8254x] 13.4.34; [82574] 10.2.6.2, where IPGT is 8 */
	e1000_write(hw, E1000_TIPG,
		(hw->model->pcie ? 8u : 10u) | 8u << E1000_TIPG_IPGR1 | 6u << E1000_TIPG_IPGR2);
	tctl &= ~(0xffu << E1000_TCTL_CT | 0x3ffu << E1000_TCTL_COLD);
	tctl |= E1000_TCTL_EN | E1000_TCTL_PSP | E1000_TCTL_RTLC | 0x0fu << E1000_TCTL_CT |
		0x40u << E1000_TCTL_COLD;
	e1000_write(hw, E1000_TCTL, tctl);
}

/* [8254x] 14.4, [82574] 4.6.5 */
static void start_receive(struct e1000_hw *hw, const struct e1000_rxq *q)
{
	if (hw->model->pcie) {
		e1000_write(hw, E1000_MRQC, 0);
		/* No parsing of NFS, no interrupts for TCP acknowledgements (Linux' e1000e turns
		 * them off against spurious ones under MSI-X); extended descriptors before the ring
		 * is enabled. */
		e1000_write(hw, E1000_RFCTL,
			E1000_RFCTL_EXSTEN | E1000_RFCTL_ACK_DIS | E1000_RFCTL_NFSW_DIS |
				E1000_RFCTL_NFSR_DIS);
		/* Written back as soon as one is used. */
		e1000_write(hw, E1000_RXDCTL,
			E1000_DCTL_GRAN | 32u << E1000_DCTL_PTHRESH | 4u << E1000_DCTL_HTHRESH |
				1u << E1000_DCTL_WTHRESH);
	}
	e1000_write(hw, E1000_RXCSUM,
		q->offloads & PN_BUF_RX_CHECKSUMS ? E1000_RXCSUM_IPOFL | E1000_RXCSUM_TUOFL : 0);
	e1000_write(hw, E1000_RDTR, 0);
	e1000_write(hw, E1000_RADV, 0);
	e1000_write(hw, E1000_RDBAL, (uint32_t)q->ring_iova);
	e1000_write(hw, E1000_RDBAH, (uint32_t)(q->ring_iova >> 32));
	e1000_write(hw, E1000_RDLEN, q->size * (uint32_t)sizeof(struct e1000_desc));
	e1000_write(hw, E1000_RDH, 0);
	e1000_write(hw, E1000_RDT, 0);
	hw->rctl &= E1000_RCTL_UPE | E1000_RCTL_MPE;
	hw->rctl |= E1000_RCTL_EN | E1000_RCTL_BAM | E1000_RCTL_SECRC |
		    e1000_rx_bsize_bits(q->buf_size);
	/* Without LPE the device drops frames above 1522 bytes, tag and FCS included. */
	if (hw->mtu > 1500)
		hw->rctl |= E1000_RCTL_LPE;
	e1000_write(hw, E1000_RCTL, hw->rctl);
}

void e1000_hw_start(struct e1000_hw *hw, const struct e1000_rxq *rxq, const struct e1000_txq *txq)
{
	apply_errata(hw);
	start_link(hw, rxq->offloads & PN_BUF_RX_VLAN);
	/* Only the first address is ours; the others are undefined after power-up. */
	for (uint32_t i = 1; i < E1000_RAR_COUNT; i++) {
		e1000_write(hw, E1000_RAL0 + 8 * i, 0);
		e1000_write(hw, E1000_RAH0 + 8 * i, 0);
	}
	e1000_write(hw, E1000_WUC, 0);
	e1000_hw_write_filters(hw);
	start_transmit(hw, txq);
	start_receive(hw, rxq);
	flush(hw);
}

void e1000_hw_driver_loaded(struct e1000_hw *hw, bool loaded)
{
	uint32_t ctrl;

	if (!hw->model->pcie)
		return;
	ctrl = e1000_read(hw, E1000_CTRL_EXT);
	if (ctrl == E1000_GONE)
		return;
	ctrl = loaded ? ctrl | E1000_CTRL_EXT_DRV_LOAD : ctrl & ~E1000_CTRL_EXT_DRV_LOAD;
	e1000_write(hw, E1000_CTRL_EXT, ctrl);
}

void e1000_hw_link(uint32_t status, struct pn_port_link *link)
{
	link->up = status & E1000_STATUS_LU;
	if (!link->up)
		return;
	link->full_duplex = status & E1000_STATUS_FD;
	switch (status & E1000_STATUS_SPEED) {
	case E1000_STATUS_SPEED_10:
		link->speed_mbps = 10;
		break;
	case E1000_STATUS_SPEED_100:
		link->speed_mbps = 100;
		break;
	default:
		link->speed_mbps = 1000;
		break;
	}
}
