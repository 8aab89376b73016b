/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints of the module: events/pinion in tracefs.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM pinion

#if !defined(PINION_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define PINION_TRACE_H

#include <linux/tracepoint.h>

/* clang-format off */
TRACE_EVENT(pinion_pin,
	    TP_PROTO(u32 handle, u32 flags, u64 start, u64 pages, u64 charged),
	    TP_ARGS(handle, flags, start, pages, charged),
	    TP_STRUCT__entry(__field(u32, handle)
			     __field(u32, flags)
			     __field(u64, start)
			     __field(u64, pages)
			     __field(u64, charged)),
	    TP_fast_assign(__entry->handle = handle;
			   __entry->flags = flags;
			   __entry->start = start;
			   __entry->pages = pages;
			   __entry->charged = charged;),
	    TP_printk("handle=%u flags=0x%x start=0x%llx pages=%llu charged=%llu",
		      __entry->handle,
		      __entry->flags,
		      __entry->start,
		      __entry->pages,
		      __entry->charged)
);

TRACE_EVENT(pinion_unpin,
	    TP_PROTO(u32 handle, u64 pages, u64 uncharged),
	    TP_ARGS(handle, pages, uncharged),
	    TP_STRUCT__entry(__field(u32, handle)
			     __field(u64, pages)
			     __field(u64, uncharged)),
	    TP_fast_assign(__entry->handle = handle;
			   __entry->pages = pages;
			   __entry->uncharged = uncharged;),
	    TP_printk("handle=%u pages=%llu uncharged=%llu",
		      __entry->handle,
		      __entry->pages,
		      __entry->uncharged)
);

TRACE_EVENT(pinion_charge,
	    TP_PROTO(u32 charge, long pages, int ret),
	    TP_ARGS(charge, pages, ret),
	    TP_STRUCT__entry(__field(u32, charge)
			     __field(long, pages)
			     __field(int, ret)),
	    TP_fast_assign(__entry->charge = charge;
			   __entry->pages = pages;
			   __entry->ret = ret;),
	    TP_printk("charge=%s pages=%ld ret=%d",
		      __entry->charge == 1 ? "mm" : "user",
		      __entry->pages,
		      __entry->ret)
);

TRACE_EVENT(pinion_refuse,
	    TP_PROTO(u32 flags, u64 start, u64 length, int ret),
	    TP_ARGS(flags, start, length, ret),
	    TP_STRUCT__entry(__field(u32, flags)
			     __field(u64, start)
			     __field(u64, length)
			     __field(int, ret)),
	    TP_fast_assign(__entry->flags = flags;
			   __entry->start = start;
			   __entry->length = length;
			   __entry->ret = ret;),
	    TP_printk("flags=0x%x start=0x%llx length=0x%llx ret=%d",
		      __entry->flags,
		      __entry->start,
		      __entry->length,
		      __entry->ret)
);
/* clang-format on */

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
