/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is left under the limit, asked of the kernel against known charges: exact in both counters,
 * whatever is expected beforehand; and what is said where the kernel may not be asked.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <cmocka.h>

#include "counters.h"

static const struct pn_charge_rule free_of_charge = {"none", "none", 0, 0, PN_COUNTER_MAX};

/* The answer for so many pages; the trial's beginning is what another asked. */
static struct pn_preflight ask_with(
	struct pn_trial *trial, const struct pn_charge_rule *rule, uint64_t pages)
{
	struct pn_preflight out = {.charged = pages};

	pn_preflight_look(&out, rule, trial);
	return out;
}

static struct pn_preflight ask(const struct pn_charge_rule *rule, uint64_t pages)
{
	struct pn_preflight out;
	struct pn_trial trial;

	pn_trial_init(&trial);
	out = ask_with(&trial, rule, pages);
	pn_trial_close(&trial);
	return out;
}

static bool is_left(const struct pn_charge_rule *rule, uint64_t least, uint64_t most)
{
	struct pn_preflight out = ask(rule, 1);

	if (out.left != least || out.left_at_most != most)
		fprintf(stderr, "%ju to %ju left\n", (uintmax_t)out.left,
			(uintmax_t)out.left_at_most);
	return out.left == least && out.left_at_most == most && out.observer == PN_OBSERVER_TRIAL;
}

static void the_process(void)
{
	struct pn_preflight out;

	become_nobody();
	limit_to(64);
	CHECK(is_left(&by_process, 64, 64));
	lock_pages(50);
	CHECK(is_left(&by_process, 14, 14));
	out = ask(&by_process, 14);
	CHECK(out.fits == PN_FITS_YES && out.limit == 64 && out.limited == PN_COUNTER_MM_LOCKED);
	CHECK(!out.exempt && out.counters == by_process.counters);
	CHECK(ask(&by_process, 15).fits == PN_FITS_NO);
	CHECK(ask(&by_process, 0).fits == PN_FITS_YES);
	CHECK(ask(&by_process, UINT64_MAX).fits == PN_FITS_NO);
	lock_pages(14);
	CHECK(is_left(&by_process, 0, 0) && ask(&by_process, 1).fits == PN_FITS_NO);
	/* Below what is charged, and nothing at all. */
	limit_to(3);
	CHECK(is_left(&by_process, 0, 0));
	limit_to(0);
	CHECK(is_left(&by_process, 0, 0) && ask(&by_process, 1).fits == PN_FITS_NO);
}

static void the_user(void)
{
	become_nobody();
	limit_to(64);
	CHECK(is_left(&by_user, 64, 64));
	lock_pages(5);
	CHECK(is_left(&by_user, 64, 64));
	register_pages(40 - ring_pages());
	settle();
	CHECK(is_left(&by_user, 24, 24));
	CHECK(ask(&by_user, 24).fits == PN_FITS_YES && ask(&by_user, 25).fits == PN_FITS_NO);
	/* Of less than two pages it cannot be asked. */
	limit_to(42);
	CHECK(is_left(&by_user, 2, 2) && ask(&by_user, 2).fits == PN_FITS_YES);
	limit_to(41);
	CHECK(is_left(&by_user, 0, 1) && ask(&by_user, 1).fits == PN_FITS_UNKNOWN);
	CHECK(ask(&by_user, 2).fits == PN_FITS_NO);
	limit_to(40);
	CHECK(is_left(&by_user, 0, 1));
	limit_to(1);
	CHECK(is_left(&by_user, 0, 1));
	limit_to(0);
	CHECK(is_left(&by_user, 0, 0) && ask(&by_user, 1).fits == PN_FITS_NO);
}

/* From whatever was left before. */
static void any_beginning(void)
{
	static const uint64_t hints[] = {0, 1, 2, 3, 13, 14, 15, 16, 63, 64, 65, 1000, UINT64_MAX};
	struct pn_trial trial;

	become_nobody();
	limit_to(64);
	lock_pages(50);
	pn_trial_init(&trial);
	for (size_t i = 0; i < PN_ARRAY_SIZE(hints); i++) {
		CHECK(ask_with(&trial, &by_process, 1).left == 14);
		CHECK(trial.left == 14);
		trial.left = hints[i];
	}
	for (size_t i = 0; i < PN_ARRAY_SIZE(hints); i++) {
		struct pn_preflight out = ask_with(&trial, &by_user, 1);

		CHECK(out.left == 64 && out.left_at_most == 64);
		trial.left = hints[i];
	}
	pn_trial_close(&trial);
}

static void what_is_left_is_exact(void **state)
{
	(void)state;
	run_child(the_process);
	run_child_with_io_uring(the_user);
	run_child(any_beginning);
}

static void unlimited_ones(void)
{
	struct pn_preflight out = ask(&by_user, 100);

	/* root is exempt. */
	CHECK(out.exempt && out.fits == PN_FITS_YES && out.limited == PN_COUNTER_MAX);
	CHECK(out.counters == by_user.exempt_counters && out.left == PN_PAGES_UNLIMITED);
	become_nobody();
	limit_to(0);
	out = ask(&free_of_charge, 0);
	CHECK(out.fits == PN_FITS_YES && out.limit == PN_PAGES_UNLIMITED && !out.counters);
}

static void no_limit_applies(void **state)
{
	(void)state;
	run_child(unlimited_ones);
}

/* mmap() itself is needed by everyone: eventfd() is what a filter may take. */
static void process_by_proc(void)
{
	struct pn_preflight out;

	become_nobody();
	limit_to(64);
	lock_pages(50);
	forbid(SYS_eventfd2, EPERM);
	out = ask(&by_process, 15);
	CHECK(out.left == 14 && out.left_at_most == 14 && out.observer == PN_OBSERVER_PROC);
	CHECK(out.fits == PN_FITS_NO && ask(&by_process, 14).fits == PN_FITS_YES);
	/* Nobody is left to ask. */
	forbid(SYS_openat, ENOENT);
	out = ask(&by_process, 15);
	CHECK(out.left == 0 && out.left_at_most == 64 && out.observer == PN_OBSERVER_NONE);
	CHECK(out.fits == PN_FITS_UNKNOWN && ask(&by_process, 65).fits == PN_FITS_NO);
}

static void user_not_known(void)
{
	struct pn_preflight out;

	become_nobody();
	limit_to(64);
	forbid(SYS_sendmsg, EACCES);
	out = ask(&by_user, 64);
	CHECK(out.left == 0 && out.left_at_most == 64 && out.observer == PN_OBSERVER_NONE);
	CHECK(out.fits == PN_FITS_UNKNOWN && ask(&by_user, 65).fits == PN_FITS_NO);
	forbid(SYS_socket, EACCES);
	CHECK(ask(&by_user, 64).fits == PN_FITS_UNKNOWN);
}

static void what_is_not_known_is_said(void **state)
{
	(void)state;
	run_child(process_by_proc);
	run_child(user_not_known);
	assert_string_equal(pn_fits_name(PN_FITS_UNKNOWN), "unknown");
	assert_string_equal(pn_fits_name(PN_FITS_YES), "yes");
	assert_string_equal(pn_fits_name(PN_FITS_NO), "no");
	assert_string_equal(pn_observer_name(PN_OBSERVER_TRIAL), "trial");
}

/* Larger than one call can ask about: a bound is said, not a number. */
static void more_than_it_sees(void)
{
	struct rlimit limit;
	struct pn_preflight out;

	CHECK(!getrlimit(RLIMIT_MEMLOCK, &limit));
	limit.rlim_cur = limit.rlim_max;
	if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max >> 12 < 1 << 20)
		return;
	limit.rlim_cur = UINT64_C(4096) << 20;
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	become_nobody();
	out = ask(&by_user, 1 << 19);
	CHECK(out.left == 1 << 19 && out.left_at_most == 1 << 20);
	CHECK(out.fits == PN_FITS_YES);
	CHECK(ask(&by_user, (1 << 19) + 1).fits == PN_FITS_UNKNOWN);
	CHECK(ask(&by_user, (1 << 20) + 1).fits == PN_FITS_NO);
	out = ask(&by_process, 1 << 20);
	CHECK(out.left == 1 << 20 && out.left_at_most == 1 << 20 && out.fits == PN_FITS_YES);
}

static void a_bound_is_said(void **state)
{
	(void)state;
	run_child(more_than_it_sees);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_left_is_exact),
		cmocka_unit_test(no_limit_applies),
		cmocka_unit_test(what_is_not_known_is_said),
		cmocka_unit_test(a_bound_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
