/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registers and descriptors of the 82574L and the 82540EM, by the names of their documents:
 * [82574] Intel 82574 GbE Controller Family Datasheet, revision 3.4;
 * [8254x] PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual.
 * Registers are those of [82574] 10.2 and [8254x] chapter 13, at the same offsets in both unless
 * said otherwise.
 */
#ifndef E1000_REGS_H
#define E1000_REGS_H

#include <stdint.h>

/* The size of BAR 0, in both. */
#define E1000_BAR_SIZE 0x20000u

/* What a read of a device that is gone gives: PCI answers with all ones. */
#define E1000_GONE UINT32_MAX

/* Device control: [8254x] 13.4.1, [82574] 10.2.2.1 */
#define E1000_CTRL                    0x00000u
#define E1000_CTRL_FD                 (1u << 0)
#define E1000_CTRL_GIO_MASTER_DISABLE (1u << 2) /* 82574 */
#define E1000_CTRL_LRST               (1u << 3) /* 82540EM: link reset, for TBI only */
#define E1000_CTRL_ASDE               (1u << 5) /* 82540EM: speed from the internal PHY */
#define E1000_CTRL_SLU                (1u << 6)
#define E1000_CTRL_ILOS               (1u << 7)
#define E1000_CTRL_FRCSPD             (1u << 11)
#define E1000_CTRL_FRCDPLX            (1u << 12)
#define E1000_CTRL_RST                (1u << 26)
#define E1000_CTRL_RFCE               (1u << 27)
#define E1000_CTRL_TFCE               (1u << 28)
#define E1000_CTRL_VME                (1u << 30)
#define E1000_CTRL_PHY_RST            (1u << 31)

/* Device status: [8254x] 13.4.2, [82574] 10.2.2.2 */
#define E1000_STATUS                   0x00008u
#define E1000_STATUS_FD                (1u << 0)
#define E1000_STATUS_LU                (1u << 1)
#define E1000_STATUS_SPEED             (3u << 6)
#define E1000_STATUS_SPEED_10          (0u << 6)
#define E1000_STATUS_SPEED_100         (1u << 6)
#define E1000_STATUS_GIO_MASTER_ENABLE (1u << 19) /* 82574 */

/* EEPROM control and read: [8254x] 13.4.3, 13.4.4, [82574] 10.2.2.3, 10.2.2.4 */
#define E1000_EECD         0x00010u
#define E1000_EECD_AUTO_RD (1u << 9) /* 82574: the NVM has been read */
#define E1000_EERD         0x00014u
#define E1000_EERD_START   (1u << 0)
#define E1000_EERD_DATA    16

/* Extended device control: [8254x] 13.4.5, [82574] 10.2.2.5 */
#define E1000_CTRL_EXT          0x00018u
#define E1000_CTRL_EXT_EIAME    (1u << 24) /* 82574: IAM masks when a message is sent */
#define E1000_CTRL_EXT_IAME     (1u << 27) /* 82574: IAM masks when ICR is read */
#define E1000_CTRL_EXT_DRV_LOAD (1u << 28) /* 82574 */
#define E1000_CTRL_EXT_PBA_CLR  (1u << 31) /* 82574 */

/* MDI control, to the PHY: [8254x] 13.4.6, [82574] 10.2.2.7 */
#define E1000_MDIC          0x00020u
#define E1000_MDIC_DATA     0xffffu
#define E1000_MDIC_REGADD   16
#define E1000_MDIC_PHYADD   21
#define E1000_MDIC_OP_WRITE (1u << 26)
#define E1000_MDIC_OP_READ  (2u << 26)
#define E1000_MDIC_R        (1u << 28)
#define E1000_MDIC_E        (1u << 30)

/* The PHY's control register: IEEE 802.3 22.2.4.1 */
#define E1000_PHY_ADDRESS      1u
#define E1000_PCTRL            0u
#define E1000_PCTRL_RESTART_AN (1u << 9)
#define E1000_PCTRL_POWER_DOWN (1u << 11)
#define E1000_PCTRL_AN_ENABLE  (1u << 12)

/* What a VLAN tag begins with: [8254x] 13.4.10, [82574] 10.2.2.11 */
#define E1000_VET      0x00038u
#define E1000_VET_VLAN 0x8100u

/* Flow control: [8254x] 13.4.7 to 13.4.9, 13.4.16; [82574] 10.2.4 */
#define E1000_FCAL  0x00028u
#define E1000_FCAH  0x0002cu
#define E1000_FCT   0x00030u
#define E1000_FCTTV 0x00170u
#define E1000_FCRTL 0x02160u
#define E1000_FCRTH 0x02168u

/* Interrupts: [8254x] 13.4.17 to 13.4.21, [82574] 10.2.4. The bits are those of ICR, ICS, IMS, IMC,
 * and, of the last two, EIAC and IAM. */
#define E1000_ICR        0x000c0u
#define E1000_ITR        0x000c4u
#define E1000_ICS        0x000c8u
#define E1000_IMS        0x000d0u
#define E1000_IMC        0x000d8u
#define E1000_ICR_LSC    (1u << 2)
#define E1000_ICR_RXT0   (1u << 7)
#define E1000_ICR_RXQ0   (1u << 20) /* 82574 */
#define E1000_ICR_OTHER  (1u << 24) /* 82574 */
#define E1000_EIAC       0x000dcu   /* 82574 */
#define E1000_IAM        0x000e0u   /* 82574 */
#define E1000_IVAR       0x000e4u   /* 82574 */
#define E1000_IVAR_VALID (1u << 3)  /* of receive queue 0; the vector is in the bits below */
#define E1000_IVAR_OTHER 16
#define E1000_EITR       0x000e8u /* 82574: one a vector */
#define E1000_EITR_COUNT 5u

/* Receive control: [8254x] 13.4.22, [82574] 10.2.5.1 */
#define E1000_RCTL             0x00100u
#define E1000_RCTL_EN          (1u << 1)
#define E1000_RCTL_UPE         (1u << 3)
#define E1000_RCTL_MPE         (1u << 4)
#define E1000_RCTL_LPE         (1u << 5)
#define E1000_RCTL_BAM         (1u << 15)
#define E1000_RCTL_BSIZE_SHIFT 16
#define E1000_RCTL_BSEX        (1u << 25)
#define E1000_RCTL_SECRC       (1u << 26)

/* Transmit control: [8254x] 13.4.33, [82574] 10.2.6.1 */
#define E1000_TCTL      0x00400u
#define E1000_TCTL_EN   (1u << 1)
#define E1000_TCTL_PSP  (1u << 3)
#define E1000_TCTL_CT   4
#define E1000_TCTL_COLD 12
#define E1000_TCTL_RTLC (1u << 24)

/* Inter-packet gap: [8254x] 13.4.34, [82574] 10.2.6.2 */
#define E1000_TIPG       0x00410u
#define E1000_TIPG_IPGR1 10
#define E1000_TIPG_IPGR2 20

/* NVM and MDIO arbitration: [82574] 10.2.2 */
#define E1000_EXTCNF_CTRL                   0x00f00u
#define E1000_EXTCNF_CTRL_MDIO_SW_OWNERSHIP (1u << 5)

/* Receive queue 0: [8254x] 13.4.25 to 13.4.31, [82574] 10.2.5 */
#define E1000_RDBAL  0x02800u
#define E1000_RDBAH  0x02804u
#define E1000_RDLEN  0x02808u
#define E1000_RDH    0x02810u
#define E1000_RDT    0x02818u
#define E1000_RDTR   0x02820u
#define E1000_RXDCTL 0x02828u
#define E1000_RADV   0x0282cu

/* Transmit queue 0: [8254x] 13.4.36 to 13.4.44, [82574] 10.2.6 */
#define E1000_TDBAL  0x03800u
#define E1000_TDBAH  0x03804u
#define E1000_TDLEN  0x03808u
#define E1000_TDH    0x03810u
#define E1000_TDT    0x03818u
#define E1000_TIDV   0x03820u
#define E1000_TXDCTL 0x03828u
#define E1000_TADV   0x0382cu
#define E1000_TARC0  0x03840u /* 82574 */

/* RXDCTL and TXDCTL: thresholds at which descriptors are fetched and written back. */
#define E1000_DCTL_PTHRESH 0
#define E1000_DCTL_HTHRESH 8
#define E1000_DCTL_WTHRESH 16
#define E1000_TXDCTL_BIT22 (1u << 22) /* 82574: reserved, to be written as 1 */
#define E1000_DCTL_GRAN    (1u << 24)

/* Receive filters: [8254x] 13.5, [82574] 10.2.5 */
#define E1000_RXCSUM         0x05000u
#define E1000_RXCSUM_IPOFL   (1u << 8)
#define E1000_RXCSUM_TUOFL   (1u << 9)
#define E1000_RFCTL          0x05008u /* 82574 */
#define E1000_RFCTL_NFSW_DIS (1u << 6)
#define E1000_RFCTL_NFSR_DIS (1u << 7)
#define E1000_RFCTL_ACK_DIS  (1u << 12)
#define E1000_RFCTL_EXSTEN   (1u << 15)
#define E1000_MTA            0x05200u
#define E1000_MTA_COUNT      128u
#define E1000_RAL0           0x05400u
#define E1000_RAH0           0x05404u
#define E1000_RAH_AV         (1u << 31)
#define E1000_RAR_COUNT      16u
#define E1000_MRQC           0x05818u /* 82574 */
#define E1000_WUC            0x05800u

/* PCIe: [82574] 10.2.2 */
#define E1000_GCR  0x05b00u
#define E1000_GCR2 0x05b64u

/* Statistics, cleared by reading: [8254x] 13.7, [82574] 10.2.7 */
#define E1000_CRCERRS  0x04000u
#define E1000_ALGNERRC 0x04004u
#define E1000_RXERRC   0x0400cu
#define E1000_MPC      0x04010u
#define E1000_ECOL     0x04018u
#define E1000_GPRC     0x04074u
#define E1000_GPTC     0x04080u
#define E1000_GORCL    0x04088u
#define E1000_GORCH    0x0408cu
#define E1000_GOTCL    0x04090u
#define E1000_GOTCH    0x04094u
#define E1000_RUC      0x040a4u
#define E1000_RFC      0x040a8u
#define E1000_ROC      0x040acu

/*
 * Descriptors are 16 bytes, little-endian, as two words. What the device writes back of interest is
 * in the second one of each kind, so that one load sees a consistent whole.
 */
struct e1000_desc {
	uint64_t addr;
	uint64_t meta;
};

#define E1000_DESC_ALIGN 128u /* RDLEN and TDLEN count in 128 bytes, that is 8 descriptors */

/* Legacy receive descriptor, second word: [8254x] 3.2.3, [82574] 7.1.4 */
#define E1000_RXD_LENGTH(meta) ((uint32_t)(meta)&0xffffu)
#define E1000_RXD_DD           (UINT64_C(1) << 32)
#define E1000_RXD_EOP          (UINT64_C(1) << 33)
#define E1000_RXD_ERRORS_CE    (UINT64_C(1) << 40)
#define E1000_RXD_ERRORS_SE    (UINT64_C(1) << 41)
#define E1000_RXD_ERRORS_SEQ   (UINT64_C(1) << 42)
#define E1000_RXD_ERRORS_CXE   (UINT64_C(1) << 44)
#define E1000_RXD_ERRORS_RXE   (UINT64_C(1) << 47)
#define E1000_RXD_ERRORS                                                                           \
	(E1000_RXD_ERRORS_CE | E1000_RXD_ERRORS_SE | E1000_RXD_ERRORS_SEQ | E1000_RXD_ERRORS_CXE | \
		E1000_RXD_ERRORS_RXE)

/* Extended receive descriptor as written back, second word: [82574] 7.1.5 */
#define E1000_RXDEXT_DD         (UINT64_C(1) << 0)
#define E1000_RXDEXT_EOP        (UINT64_C(1) << 1)
#define E1000_RXDEXT_ERRORS_CE  (UINT64_C(1) << 24)
#define E1000_RXDEXT_ERRORS_SE  (UINT64_C(1) << 25)
#define E1000_RXDEXT_ERRORS_SEQ (UINT64_C(1) << 26)
#define E1000_RXDEXT_ERRORS_CXE (UINT64_C(1) << 28)
#define E1000_RXDEXT_ERRORS_RXE (UINT64_C(1) << 31)
#define E1000_RXDEXT_ERRORS                                                          \
	(E1000_RXDEXT_ERRORS_CE | E1000_RXDEXT_ERRORS_SE | E1000_RXDEXT_ERRORS_SEQ | \
		E1000_RXDEXT_ERRORS_CXE | E1000_RXDEXT_ERRORS_RXE)
#define E1000_RXDEXT_LENGTH(meta) ((uint32_t)((meta) >> 32) & 0xffffu)

/*
 * What both kinds say of a packet, in its last descriptor: status bits (from bit 32 of a legacy
 * descriptor, from bit 0 of an extended one), errors (from bit 40, from bit 24), and the tag.
 */
#define E1000_RXD_STA_IXSM   (1u << 2) /* nothing was checked */
#define E1000_RXD_STA_VP     (1u << 3) /* it had a tag, which was taken out */
#define E1000_RXD_STA_UDPCS  (1u << 4) /* 82574 */
#define E1000_RXD_STA_TCPCS  (1u << 5)
#define E1000_RXD_STA_IPCS   (1u << 6)
#define E1000_RXD_ERR_TCPE   (1u << 5)
#define E1000_RXD_ERR_IPE    (1u << 6)
#define E1000_RXD_VLAN(meta) ((uint16_t)((meta) >> 48))

/* Legacy transmit descriptor, second word: [8254x] 3.3.3, [82574] 7.2.10 */
#define E1000_TXD_CMD_EOP  (UINT64_C(1) << 24)
#define E1000_TXD_CMD_IFCS (UINT64_C(1) << 25)
#define E1000_TXD_CMD_RS   (UINT64_C(1) << 27)
#define E1000_TXD_STA_DD   (UINT64_C(1) << 32)

/* Of all kinds: insert the tag in bits 63:48. Only while CTRL.VME is set. */
#define E1000_TXD_CMD_VLE (UINT64_C(1) << 30)
#define E1000_TXD_VLAN    48

/* TCP/IP data descriptor, second word: [8254x] 3.3.7, [82574] 7.2.12 */
#define E1000_TXD_DTYP_DATA (UINT64_C(1) << 20)
#define E1000_TXD_CMD_DEXT  (UINT64_C(1) << 29)
#define E1000_TXD_POPT_IXSM (UINT64_C(1) << 40)
#define E1000_TXD_POPT_TXSM (UINT64_C(1) << 41)

/* TCP/IP context descriptor: [8254x] 3.3.6, [82574] 7.2.11. First word: the checksum of the IP
 * header, then TCP's or UDP's: where it starts, where it goes, its last byte (0: the packet's). */
#define E1000_TXC_IPCSS     0
#define E1000_TXC_IPCSO     8
#define E1000_TXC_IPCSE     16
#define E1000_TXC_TUCSS     32
#define E1000_TXC_TUCSO     40
#define E1000_TXC_TUCSE     48
#define E1000_TXC_TUCMD_TCP (UINT64_C(1) << 24)

#endif
