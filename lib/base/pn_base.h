/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What every part of Pinion shares with its callers: how errors are told, how the library talks,
 * and which version this is. Ask it for the reason of the last failure of the calling thread.
 */
#ifndef PN_BASE_H
#define PN_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Marks a function as part of the ABI; everything else in the shared library is hidden. */
#define PN_API __attribute__((visibility("default")))

/** Longest text that pn_error() returns, in bytes, with its terminator. */
#define PN_ERROR_MAX 1024

/**
 * The reason of the last failure of a Pinion function in the calling thread.
 *
 * Functions of the library return 0 (or a count) on success and a negative errno on failure; this
 * text says in words what was asked, what stood in the way with its numbers, and what mends it.
 *
 * @return a text of one or a few lines without a trailing newline; "" if nothing has failed in this
 * thread. It belongs to the thread and is valid until the next failure in it. Thread-safety: any
 * thread; each has its own text.
 */
PN_API const char *pn_error(void);

/** Severity of a log line, most urgent first. */
enum pn_log_level {
	PN_LOG_ERROR,
	PN_LOG_WARNING,
	PN_LOG_NOTICE,
	PN_LOG_INFO,
	PN_LOG_DEBUG,
};

/**
 * A function that receives the library's log lines.
 *
 * @param arg   what was given to pn_log_set()
 * @param level severity
 * @param text  one line, without newline; valid during the call only
 * It may be called from any thread that calls into the library, with locks of the library held: it
 * must not call back into the library.
 */
typedef void (*pn_log_fn)(void *arg, enum pn_log_level level, const char *text);

/**
 * Set the log callback. Without one (the default) the library is silent: it never prints.
 *
 * @param fn    receiver, or NULL for none
 * @param arg   handed to fn
 * @param level the least urgent level that fn wants
 * Thread-safety: call it before other threads use the library.
 */
PN_API void pn_log_set(pn_log_fn fn, void *arg, enum pn_log_level level);

/**
 * Version of the library in use.
 * @return "MAJOR.MINOR.PATCH"; a constant.
 */
PN_API const char *pn_version(void);

#ifdef __cplusplus
}
#endif

#endif
