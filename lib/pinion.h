/* SPDX-License-Identifier: BSD-3-Clause */
/* Everything that Pinion offers to applications. */
#ifndef PINION_H
#define PINION_H

#include "pn_base.h"
#include "pn_broker.h"
#include "pn_dma.h"
#include "pn_events.h"
#include "pn_mem.h"
#include "pn_model.h"
#include "pn_pci.h"
#include "pn_pins.h"
#include "pn_pkt.h"
#include "pn_plan.h"
#include "pn_port.h"
#include "pn_region_pin.h"
#include "pn_ring.h"
#include "pn_worker.h"

#endif
