/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Helpers of the library's own files: failing with a reason, logging, alignment, small sysfs reads.
 */
#ifndef PN_BASE_PRIV_H
#define PN_BASE_PRIV_H

#include <stdint.h>
#include <sys/types.h>

#include "pn_base.h"

#define PN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

#define pn_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define PN_ARRAY_SIZE(array)               (sizeof(array) / sizeof((array)[0]))

/* Set the thread's error text and return -err, so that "return pn_fail(EINVAL, ...)" does both. err
 * is positive. */
int pn_fail(int err, const char *fmt, ...) PN_PRINTF(2, 3);
/* No failure so far: the text is empty. */
void pn_error_clear(void);

/*
 * Put words before the text that is there already ("opening port 1: ..."), and return err, which is
 * negative, as it is.
 */
int pn_fail_prefix(int err, const char *fmt, ...) PN_PRINTF(2, 3);
/* The same behind the text. */
int pn_fail_append(int err, const char *fmt, ...) PN_PRINTF(2, 3);

void pn_log(enum pn_log_level level, const char *fmt, ...) PN_PRINTF(2, 3);

static inline bool pn_is_pow2(uint64_t value)
{
	return value && !(value & (value - 1));
}

static inline uint64_t pn_align_down(uint64_t value, uint64_t align)
{
	return value & ~(align - 1);
}

/* Wraps to 0 when the result does not fit: the caller checks, or has bounded value. */
static inline uint64_t pn_align_up(uint64_t value, uint64_t align)
{
	return (value + align - 1) & ~(align - 1);
}

/* In a loop that waits for another processor. */
static inline void pn_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/*
 * Read a small text file whole, without its trailing newline. Returns its length, or a negative
 * errno; -E2BIG if it does not fit. No error text is set: the caller knows what the file meant.
 */
ssize_t pn_read_file(const char *path, char *buf, size_t size);

/* Read a number (decimal or 0x...) from a small file. 0, or a negative errno (-EIO: not a number).
 * No error text. */
int pn_read_u64(const char *path, uint64_t *value);

/*
 * May a file of this size be made, or does RLIMIT_FSIZE forbid it? The kernel answers an attempt
 * with a signal that ends the process. 0 or -EFBIG. No error text.
 */
int pn_file_size_allowed(uint64_t size);

/* Last component of what a symbolic link points to. 0 or a negative errno. No error text. */
int pn_link_name(const char *path, char *buf, size_t size);

/*
 * Zeroed memory in pages of its own that a forked child finds zeroed again; NULL: none. A debug
 * build keeps what was freed, filled with PN_POISON.
 */
#define PN_POISON 0x6b
void *pn_private_alloc(size_t size);
void pn_private_free(void *memory, size_t size);

#endif
