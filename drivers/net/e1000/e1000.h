/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of the e1000 driver: what the models differ in, the register block, and the two
 * queues. The queues know nothing of a port or of PCI: they run on any register block and any heap.
 */
#ifndef E1000_H
#define E1000_H

#include <endian.h>
#include <stdbool.h>

#include "e1000_regs.h"
#include "pn_mem.h"
#include "pn_pci.h"
#include "pn_pkt.h"
#include "pn_port.h"
#include "port_priv.h"

/* A descriptor's second word is read with one load; see struct e1000_desc. */
_Static_assert(sizeof(void *) == 8, "a 64-bit machine is needed");
_Static_assert(sizeof(struct e1000_desc) == 16, "descriptor layout");

#define E1000_LIKELY(cond)   __builtin_expect(!!(cond), 1)
#define E1000_UNLIKELY(cond) __builtin_expect(!!(cond), 0)

/* Bytes of Ethernet header, VLAN tag, FCS, and of the shortest frame without FCS. */
#define E1000_ETH_HEADER 14u
#define E1000_VLAN_TAG   4u
#define E1000_FCS        4u
#define E1000_FRAME_MIN  60u

/* What the device does for packets that are received, and that are sent. Tags it takes out and
 * inserts, or neither. */
#define E1000_RX_OFFLOADS (PN_BUF_RX_VLAN | PN_BUF_RX_CHECKSUMS)
#define E1000_TX_OFFLOADS (PN_BUF_TX_VLAN | PN_BUF_TX_CHECKSUMS)

/* A ring must hold a largest frame in smallest buffers, and leave one descriptor unused. */
#define E1000_RING_MIN   64u
#define E1000_RING_MAX   4096u
#define E1000_RING_ALIGN 8u

/*
 * Receive descriptors are given to the device in multiples of E1000_RX_BATCH, when a quarter of the
 * ring is empty, at most E1000_RX_REFILL_MAX: each time costs a doorbell, which on an emulated card
 * is as much as forwarding several packets. Transmit descriptors between two that ask for a report:
 * each costs a write of the device to memory.
 */
#define E1000_RX_BATCH      32u
#define E1000_RX_REFILL_MAX 128u
#define E1000_TX_BATCH      32u

/* What the supported devices differ in. */
struct e1000_model {
	uint16_t device;
	const char *name;
	uint16_t mtu_max;
	uint16_t tx_frame_max; /* bytes without FCS */
	bool pcie; /* 82574: PCIe master disable, NVM arbitration, extended descriptors */
	uint32_t eerd_done;
	unsigned int eerd_addr_shift;
};

/* Counts of the device since open; its own are cleared by reading. */
struct e1000_hw_stats {
	uint64_t rx_packets, rx_bytes;
	uint64_t tx_packets, tx_bytes;
	uint64_t missed;
	uint64_t rx_errors;
	uint64_t tx_errors;
};

/* The device, as far as its registers go. */
struct e1000_hw {
	volatile unsigned char *regs;
	const struct e1000_model *model;
	const char *name; /* of the port, for texts */
	uint8_t mac[PN_MAC_LEN];
	uint16_t mtu;
	uint32_t rctl; /* what RCTL holds while it runs */
	uint32_t mta[E1000_MTA_COUNT];
	struct e1000_hw_stats stats;
};

static inline uint32_t e1000_read(const struct e1000_hw *hw, uint32_t reg)
{
	return le32toh(*(const volatile uint32_t *)(hw->regs + reg));
}

static inline void e1000_write(struct e1000_hw *hw, uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(hw->regs + reg) = htole32(value);
}

/*
 * Memory that was written before is seen by the device that is told about it with the MMIO write
 * that follows. x86 keeps the order of stores; the compiler must too.
 */
static inline void e1000_wmb(void)
{
#if defined(__x86_64__)
	__asm__ volatile("" ::: "memory");
#elif defined(__aarch64__)
	__asm__ volatile("dmb oshst" ::: "memory");
#else
	__sync_synchronize();
#endif
}

/* What is read after this is as new as the descriptors that were read before. */
static inline void e1000_rmb(void)
{
#if defined(__x86_64__)
	__asm__ volatile("" ::: "memory");
#elif defined(__aarch64__)
	__asm__ volatile("dmb oshld" ::: "memory");
#else
	__sync_synchronize();
#endif
}

static inline uint64_t e1000_desc_meta(const volatile struct e1000_desc *desc)
{
	return le64toh(desc->meta);
}

/* Counters are written by the thread that runs the queue and read by others. */
static inline void e1000_count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline uint64_t e1000_counter(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/*
 * The receive queue. Of the ring's slots, `armed` from `next` on belong to the device and have a
 * buffer; the others are empty. One is always empty: with RDT equal to RDH the device would see
 * none (8254x 3.2.6). Which slots are armed is known here and never read from descriptors.
 */
struct e1000_rxq {
	volatile struct e1000_desc *ring;
	struct pn_buf **bufs; /* by slot; not in DMA memory */
	struct pn_pool *pool;
	volatile uint32_t *tail; /* RDT */
	uint16_t size;
	uint16_t next;
	uint16_t fill; /* the first empty slot: next + armed */
	uint16_t armed;
	uint16_t refill_at;  /* empty slots that are worth a doorbell */
	uint16_t buf_size;   /* what the device may write to a buffer: RCTL.BSIZE */
	uint32_t offloads;   /* PN_BUF_RX_... that the packets shall have */
	uint32_t l4_checked; /* the bits of the status that say so */
	bool dropping; /* the rest of a packet that is being dropped, up to its last descriptor */
	/* The packet whose last descriptor has not come yet. */
	struct pn_buf *first;
	struct pn_buf *last;
	uint64_t packets, bytes, errors, bad_desc, nombuf;
	struct pn_heap *heap;
	uint64_t ring_iova;
};

/*
 * The transmit queue. Slots from `clean` up to `tail` belong to the device. The last slot of a
 * packet holds the packet, its other slots NULL. The device reports completion (RS) for some
 * packets only; marks is a queue of their last slots.
 */
struct e1000_txq {
	volatile struct e1000_desc *ring;
	struct pn_buf **bufs;        /* by slot; not in DMA memory */
	volatile uint32_t *tail_reg; /* TDT */
	uint16_t size;
	uint16_t tail;
	uint16_t clean;
	uint16_t free;        /* descriptors that can be written: size - 1 when idle */
	uint16_t pending;     /* descriptors behind the last mark */
	uint16_t pending_max; /* at the end of a burst: more could keep a packet out for good */
	uint16_t segs_max;
	uint16_t frame_max;
	uint32_t offloads;         /* PN_BUF_TX_... that are looked at */
	struct e1000_desc context; /* the last one written; its type stays 0 until then */
	uint16_t mark_head, mark_tail;
	uint16_t *marks;
	uint64_t packets, bytes, errors;
	struct pn_heap *heap;
	uint64_t ring_iova;
};

/* The interrupt, when the application wants one. */
struct e1000_irq {
	struct pn_pci_device *pci;
	enum pn_irq_type type; /* valid while it is on */
	int fd;
	bool on;
	bool link_up; /* as the application has last seen or been told */
};

/* e1000_hw.c */
extern const struct e1000_model e1000_models[];
extern const unsigned int e1000_model_count;

/* -EIO with a reason when the device does not answer any more. */
int e1000_hw_alive(const struct e1000_hw *hw);
/* Stop whatever runs and reset all but the configuration space. Bounded: about half a second. */
int e1000_hw_reset(struct e1000_hw *hw);
/* The address that the device was made with. */
int e1000_hw_read_mac(struct e1000_hw *hw);
/* Write address, multicast table and, while running, the promiscuous bits. */
void e1000_hw_write_filters(struct e1000_hw *hw);
/* Program link, rings and filters after a reset, and let it run. The caller then arms the rings. */
void e1000_hw_start(struct e1000_hw *hw, const struct e1000_rxq *rxq, const struct e1000_txq *txq);
/* Mask all causes and clear those that are pending. */
void e1000_hw_mask_interrupts(struct e1000_hw *hw);
void e1000_sleep_us(unsigned int us);
/* End all DMA. Bounded: about a tenth of a second. */
void e1000_hw_stop(struct e1000_hw *hw);
/* Tell the firmware whether a driver has the device. */
void e1000_hw_driver_loaded(struct e1000_hw *hw, bool loaded);
void e1000_hw_link(uint32_t status, struct pn_port_link *link);
/* Slot of a group in the multicast table: register and bit. */
unsigned int e1000_mta_hash(const uint8_t mac[PN_MAC_LEN]);

/* e1000_stats.c */
/* Add what the device has counted to hw->stats. -EIO when it is gone. */
int e1000_hw_stats_update(struct e1000_hw *hw);

/* e1000_rx.c */
/* The largest receive buffer size that the device has and that fits; 0: none. */
uint16_t e1000_rx_buf_size(uint32_t data_room);
/* The RCTL bits of such a size. */
uint32_t e1000_rx_bsize_bits(uint16_t buf_size);
/* Make a queue of `size` descriptors. q's counters are kept, all else is set. */
int e1000_rxq_init(struct e1000_rxq *q, struct e1000_hw *hw, struct pn_heap *heap,
	struct pn_pool *pool, uint16_t size, uint32_t offloads);
void e1000_rxq_fini(struct e1000_rxq *q);
/* Give all slots but one a buffer, without telling the device. -ENOBUFS. */
int e1000_rxq_fill(struct e1000_rxq *q);
/* Tell the device about them. */
void e1000_rxq_kick(struct e1000_rxq *q);
/* Give all buffers back and empty the ring; the device must not use it any more. */
void e1000_rxq_drain(struct e1000_rxq *q);
/* Would a burst find something, or does the ring need its buffers from one? */
bool e1000_rxq_wants_poll(const struct e1000_rxq *q, bool extended);
/* The burst function of a queue: by the format of its descriptors, and whether it has offloads. */
pn_burst_fn e1000_rx_burst(const struct e1000_rxq *q, bool extended);

/* e1000_tx.c */
int e1000_txq_init(struct e1000_txq *q, struct e1000_hw *hw, struct pn_heap *heap, uint16_t size,
	uint32_t offloads);
void e1000_txq_fini(struct e1000_txq *q);
void e1000_txq_drain(struct e1000_txq *q);
pn_burst_fn e1000_tx_burst(const struct e1000_txq *q);

/* e1000_irq.c */
/* Choose a kind of interrupt and enable it, all causes masked. */
int e1000_irq_enable(struct e1000_irq *irq, struct e1000_hw *hw);
/* Program the registers that a reset clears. */
void e1000_irq_route(const struct e1000_irq *irq, struct e1000_hw *hw);
/* Let it fire, once; at once if there is a reason. -EIO when the device is gone. */
int e1000_irq_arm(struct e1000_irq *irq, struct e1000_hw *hw, const struct e1000_rxq *q);
/* The application knows of this state of the link. */
void e1000_irq_saw_link(struct e1000_irq *irq, bool up);
/* Silence the device, then disable what is enabled. */
int e1000_irq_disable(struct e1000_irq *irq, struct e1000_hw *hw);

extern const struct pn_driver e1000_driver;

#endif
