/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tests of kmod_pins by what they are about, and what they share.
 */
#ifndef PROGRAMS_KMOD_PINS_H
#define PROGRAMS_KMOD_PINS_H

#include "kmod.h"

#define MM   PINION_CHARGE_MM
#define USER PINION_CHARGE_USER
#define W    PINION_PIN_WRITE
#define X    PINION_PIN_EXCLUSIVE
#define UID  1000

/** The whole state that a test must leave as it was. */
void check_none(int node);
/** @return 0 or a negative errno. */
int call(int node, unsigned long request, void *arg);
/** Physical address of a page that is there and not the zero page. */
uint64_t phys(int node, const char *addr);

/* kmod_pins_charge.c */
void test_arguments(void);
void test_32_bit(void);
void test_answer_fails(void);
void test_charge_mm(void);
void test_charge_user(void);
void test_limit(void);
void test_exempt(void);
void test_charged_once(void);
void test_once_across(void);
void test_unpinned_meanwhile(void);
void test_mapped_meanwhile(void);
void test_refused_meanwhile(void);
void test_parts(void);
void test_hugepages(void);
void test_references(void);

/* kmod_pins_memory.c */
void test_files(void);
void test_file_ends(void);
void test_file_full(void);
void test_locks_all(void);
void test_seals(void);
void test_zero_page(void);
void test_huge_zero_page(void);
void test_thp(void);
void test_private_file(void);
void test_shared_file(void);
void test_ksm(void);
void test_swapped(void);
void test_movable(void);
void test_secret(void);
void test_bar(void);

/* kmod_pins_alone.c */
void test_exclusive(void);
void test_exclusive_file(void);
void test_exclusive_others(void);
void test_drain(void);
void test_drain_unreadable(void);
void test_drain_signals(void);
void test_drain_time(void);
void test_drain_file(void);

/* kmod_pins_look.c */
void test_counters(void);
void test_namespaces(void);
void test_inspect(void);
void test_inspect_brings_nothing(void);
void test_inspect_opener(void);

/* kmod_pins_life.c */
void test_close(void);
void test_child(void);
void test_pile_up(void);
void test_setuid(void);
void test_fork(void);
void test_handles(void);
void test_table(void);

#endif
