/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of counters and observers, and how many pages a range is charged.
 */
#include "pins_priv.h"

const char *pn_counter_name(enum pn_counter counter)
{
	switch (counter) {
	case PN_COUNTER_MM_LOCKED:
		return "mm->locked_vm";
	case PN_COUNTER_USER_LOCKED:
		return "user->locked_vm";
	case PN_COUNTER_MM_PINNED:
		return "mm->pinned_vm";
	case PN_COUNTER_MAX:
		return "none";
	}
	return "unknown";
}

const char *pn_observer_name(enum pn_observer observer)
{
	switch (observer) {
	case PN_OBSERVER_NONE:
		return "none";
	case PN_OBSERVER_PROC:
		return "proc";
	case PN_OBSERVER_METER:
		return "meter";
	case PN_OBSERVER_MODEL:
		return "model";
	case PN_OBSERVER_METER_ZEROCOPY:
		return "meter-zerocopy";
	case PN_OBSERVER_MODULE:
		return "module";
	case PN_OBSERVER_TRIAL:
		return "trial";
	}
	return "unknown";
}

uint64_t pn_charge_pages(uint64_t vaddr, uint64_t len)
{
	if (!len)
		return 0;
	if (len - 1 > UINT64_MAX - vaddr)
		len = UINT64_MAX - vaddr + 1;
	return ((vaddr + (len - 1)) >> 12) - (vaddr >> 12) + 1;
}
