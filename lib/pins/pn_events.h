/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What happened to a domain: the last events of its ledger, those that failed with their reason.
 * They come with a report, see pn_pins_report_create().
 */
#ifndef PN_EVENTS_H
#define PN_EVENTS_H

#include "pn_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What happened, or (pn_event.call) what was tried. */
enum pn_event_kind {
	PN_EVENT_NONE,
	PN_EVENT_START,  /**< the ledger was begun; the limits are those of then */
	PN_EVENT_MAP,    /**< a mapping was made, or queued */
	PN_EVENT_UNMAP,  /**< a mapping was removed */
	PN_EVENT_ATTACH, /**< a device was attached: text is its address */
	PN_EVENT_DETACH, /**< a device was detached: text is its address */
	PN_EVENT_FAIL,   /**< a call failed: call, err, text */
	PN_EVENT_LIMIT,  /**< RLIMIT_MEMLOCK was found changed */
	PN_EVENT_HANDOVER,
	PN_EVENT_TAKE_BACK, /**< a handover was cancelled */
	PN_EVENT_TAKEOVER,
	PN_EVENT_DAMAGE,      /**< the domain is damaged from here on: text */
	PN_EVENT_MEND,        /**< it is no longer */
	PN_EVENT_DEVICE_BITS, /**< only as a call: bits that a device sends */
	PN_EVENT_DIRTY,       /**< only as a call: dirty tracking */
	PN_EVENT_DESTROY,     /**< only as a call: destroying the domain */
	PN_EVENT_MAX,         /**< how many there are */
};

/** One word for it, e.g. "map", "fail", "take-back". Any value is allowed. */
PN_API const char *pn_event_name(enum pn_event_kind kind);

/** Bytes of a reason that are kept, with the end of the text. */
#define PN_EVENT_TEXT 417

/** One event. Sizes in bytes, pages of 4 KiB; what does not apply is 0. */
struct pn_event {
	uint64_t number; /**< 1 for the first of its ledger; numbers that are missing were
			    overwritten, or could not be read whole */
	/** CLOCK_MONOTONIC and CLOCK_BOOTTIME of the owner, in nanoseconds. */
	uint64_t monotonic_ns, boot_ns;
	/** The same after 1970-01-01 UTC: by the clock as it was when the ledger began. */
	int64_t wall_ns;
	enum pn_event_kind kind;
	enum pn_event_kind call; /**< what failed */
	int err;                 /**< positive errno of what failed */
	uint64_t vaddr, iova, len;
	uint64_t pages;    /**< of a mapping: what it is, or was, charged; of other events: what the
			      domain was charged then */
	uint32_t counters; /**< mask of the counters it was added to */
	uint8_t prot;
	bool queued; /**< the kernel does not hold the mapping */
	/** START, LIMIT: RLIMIT_MEMLOCK in bytes, or PN_PAGES_UNLIMITED; was_: before (LIMIT). */
	uint64_t limit_soft, limit_hard, was_soft, was_hard;
	/** Reason, cut to what fits; name of the region; address of the device. Printable ASCII. */
	char text[PN_EVENT_TEXT];
};

/** The events of one domain in a report. */
struct pn_events {
	size_t count;
	struct pn_event *events; /**< in order */
	uint32_t room;           /**< the ledger keeps so many */
	uint32_t torn;           /**< left out: being written whenever they were read */
	uint32_t senseless;      /**< left out: they make no sense */
};

#ifdef __cplusplus
}
#endif

#endif
