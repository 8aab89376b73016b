/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the programs say: complaints on stderr, JSON on stdout, and whether what went to stdout got
 * there.
 */
#ifndef APPS_OUTPUT_H
#define APPS_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "pn_base.h"

/* Exit status: of what went wrong while working, and of a command line that makes no sense. */
#define EXIT_USAGE 2

/* Each program says who it is, for its complaints. */
extern const char *const program_name;

/*
 * Call it first. A program started with a standard file closed would get that number for the next
 * file it opens, and print into a device: a closed one is filled, stdout such that writing fails.
 */
void guard_standard_files(void);

/* "program: text" on stderr. */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Send the library's log lines from this level up to stderr. */
void log_to_stderr(enum pn_log_level level);

/*
 * Give what is left in stdout to the kernel. -EIO after a complaint if any of it could not be
 * written: a full disk or a closed pipe must not look like success.
 */
int finish_stdout(void);

/* Print a document on stdout, and release it. NULL stands for "memory was out when it was made". */
int print_json(json_t *document);

/* Addresses are hexadecimal text: many readers of JSON keep numbers in 53 bits. */
json_t *json_address(uint64_t value);
/* A number; null for UINT64_MAX, which stands for "no limit" or "unknown" throughout. */
json_t *json_count(uint64_t value);
/* The same for small numbers, of which -1 says "none". */
json_t *json_number(int value);
/* A text; null for NULL or "". */
json_t *json_text(const char *text);

#endif
