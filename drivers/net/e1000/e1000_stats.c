/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device's own counters. They are cleared by reading and stop at their maximum ([8254x] 13.7),
 * so they are read in one place and added up here; at 1 Gb/s the 32-bit ones last 48 minutes.
 */
#include <errno.h>

#include "base_priv.h"
#include "e1000.h"

/* The low half first: reading the high half clears both. */
static uint64_t read_octets(const struct e1000_hw *hw, uint32_t low_reg, uint32_t high_reg)
{
	uint64_t low = e1000_read(hw, low_reg);

	return low | (uint64_t)e1000_read(hw, high_reg) << 32;
}

/*
 * Frames that came in damaged. RLEC and RJC are left out: what they count is in RUC, ROC and
 * CRCERRS as well.
 */
static uint64_t read_rx_errors(const struct e1000_hw *hw)
{
	static const uint32_t regs[] = {
		E1000_CRCERRS, E1000_ALGNERRC, E1000_RXERRC, E1000_RUC, E1000_RFC, E1000_ROC};
	uint64_t sum = 0;

	for (unsigned int i = 0; i < PN_ARRAY_SIZE(regs); i++)
		sum += e1000_read(hw, regs[i]);
	return sum;
}

int e1000_hw_stats_update(struct e1000_hw *hw)
{
	struct e1000_hw_stats now;
	int ret = e1000_hw_alive(hw);

	if (ret)
		return ret;
	now.rx_packets = e1000_read(hw, E1000_GPRC);
	now.rx_bytes = read_octets(hw, E1000_GORCL, E1000_GORCH);
	now.tx_packets = e1000_read(hw, E1000_GPTC);
	now.tx_bytes = read_octets(hw, E1000_GOTCL, E1000_GOTCH);
	now.missed = e1000_read(hw, E1000_MPC);
	now.rx_errors = read_rx_errors(hw);
	now.tx_errors = e1000_read(hw, E1000_ECOL);
	/* If it went away meanwhile these are all ones, not counts. */
	ret = e1000_hw_alive(hw);
	if (ret)
		return ret;
	hw->stats.rx_packets += now.rx_packets;
	hw->stats.rx_bytes += now.rx_bytes;
	hw->stats.tx_packets += now.tx_packets;
	hw->stats.tx_bytes += now.tx_bytes;
	hw->stats.missed += now.missed;
	hw->stats.rx_errors += now.rx_errors;
	hw->stats.tx_errors += now.tx_errors;
	return 0;
}
