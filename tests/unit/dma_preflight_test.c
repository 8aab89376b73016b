/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a domain says a mapping would be charged, next to what it then is charged: with and without
 * a device, memory that another domain pays for, memory of a device; and what it refuses to answer.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <cmocka.h>

#include "base_priv.h"
#include "dma_fixture.h"
#include "mem_priv.h"
#include "pins_priv.h"

#define A AT(0x10000)
#define B AT(0x900000)

/* What the kernel's comparison says. */
static uint64_t left_least, left_most, expected;
static int trial_error;
static bool exempt;

bool __wrap_pn_exempt_now(void);
int __wrap_pn_trial_left(struct pn_trial *trial, enum pn_counter counter, uint64_t limit,
	uint64_t *at_least, uint64_t *at_most);

bool __wrap_pn_exempt_now(void)
{
	return exempt;
}

int __wrap_pn_trial_left(struct pn_trial *trial, enum pn_counter counter, uint64_t limit,
	uint64_t *at_least, uint64_t *at_most)
{
	assert_int_not_equal(counter, PN_COUNTER_MAX);
	expected = trial->left;
	trial->left = left_least;
	*at_least = trial_error ? 0 : left_least;
	*at_most = trial_error ? limit : left_most;
	return trial_error;
}

static void left(uint64_t least, uint64_t most)
{
	left_least = least;
	left_most = most;
}

static struct pn_preflight ask(struct fixture *fixture, uint64_t page, uint64_t pages)
{
	struct pn_preflight out;

	assert_int_equal(pn_domain_preflight(fixture->domain, fixture->region, page * PAGE,
				 pages * PAGE, PN_PROT_RW, &out),
		0);
	return out;
}

static uint64_t charged_at(struct pn_domain *domain, uint64_t iova)
{
	struct pn_mapping_info mapping;

	assert_int_equal(pn_domain_next(domain, iova, &mapping), 0);
	return mapping.charged;
}

static void it_is_what_is_charged(void **state)
{
	struct fixture *fixture = *state;
	struct pn_charge_rule rule = info_of(fixture->domain).charge;
	struct pn_preflight out;
	int fd;

	left(20, 20);
	/* Queued, it costs with the others when a device comes. */
	out = ask(fixture, 0, 8);
	assert_int_equal(out.charged, 8);
	assert_int_equal(out.queued, 0);
	assert_int_equal(out.fits, PN_FITS_YES);
	map_at(fixture, 0, 8, A);
	out = ask(fixture, 8, 12);
	assert_int_equal(out.queued, 8);
	assert_int_equal(out.fits, PN_FITS_YES);
	assert_int_equal(ask(fixture, 8, 13).fits, PN_FITS_NO);
	fd = attach_to(fixture->domain, &nic0);
	left(12, 12);
	out = ask(fixture, 8, 12);
	assert_int_equal(out.queued, 0);
	assert_int_equal(out.charged, 12);
	assert_int_equal(out.limited, rule.limited);
	assert_int_equal(out.counters, rule.counters);
	assert_int_equal(out.left, 12);
	assert_int_equal(out.left_at_most, 12);
	assert_int_equal(out.observer, PN_OBSERVER_TRIAL);
	assert_int_equal(out.fits, PN_FITS_YES);
	assert_int_equal(ask(fixture, 8, 13).fits, PN_FITS_NO);
	map_at(fixture, 8, 12, B);
	assert_int_equal(charged_at(fixture->domain, B), 12);
	/* The next question begins where this mapping leaves it. */
	left(0, 0);
	assert_int_equal(ask(fixture, 20, 1).fits, PN_FITS_NO);
	assert_int_equal(expected, 0);
	assert_int_equal(pn_domain_unmap(fixture->domain, B, 12 * PAGE), 0);
	ask(fixture, 20, 1);
	assert_int_equal(expected, 12);
	pn_domain_detach(fixture->domain, fd);
}

static void bounds_are_bounds(void **state)
{
	struct fixture *fixture = *state;
	struct pn_preflight out;

	left(4, 9);
	assert_int_equal(ask(fixture, 0, 4).fits, PN_FITS_YES);
	assert_int_equal(ask(fixture, 0, 5).fits, PN_FITS_UNKNOWN);
	assert_int_equal(ask(fixture, 0, 9).fits, PN_FITS_UNKNOWN);
	assert_int_equal(ask(fixture, 0, 10).fits, PN_FITS_NO);
	trial_error = -EPERM;
	out = ask(fixture, 0, 1);
	/* The process's own counter is in /proc too. */
	if (info_of(fixture->domain).charge.limited == PN_COUNTER_MM_LOCKED) {
		assert_int_equal(out.observer, PN_OBSERVER_PROC);
	} else {
		assert_int_equal(out.observer, PN_OBSERVER_NONE);
		assert_int_equal(out.fits, PN_FITS_UNKNOWN);
		assert_int_equal(out.left, 0);
		assert_int_equal(out.left_at_most, out.limit);
	}
	trial_error = 0;
	exempt = true;
	left(0, 0);
	out = ask(fixture, 0, 64);
	assert_int_equal(out.fits, PN_FITS_YES);
	assert_true(out.exempt && out.left == PN_PAGES_UNLIMITED);
	assert_int_equal(out.counters, info_of(fixture->domain).charge.exempt_counters);
	exempt = false;
}

/* Memory that an address space beside this one has in the kernel is paid for. */
static void what_is_shared_costs_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct pn_domain_opts opts = {.beside = fixture->domain};
	struct pn_domain *other, *one = fixture->domain;
	uint64_t iova = B;
	int fd[2];

	assert_int_equal(new_domain(&other, fixture->backend, &opts), 0);
	fd[0] = attach_to(one, &nic0);
	fd[1] = attach_to(other, &nic2);
	left(20, 20);
	map_at(fixture, 0, 8, A);
	fixture->domain = other;
	assert_int_equal(ask(fixture, 0, 8).charged, 0);
	assert_int_equal(ask(fixture, 0, 8).counters, 0);
	assert_int_equal(ask(fixture, 0, 7).charged, 7);
	assert_int_equal(ask(fixture, 8, 8).charged, 8);
	assert_int_equal(pn_domain_map(other, fixture->region, 0, 8 * PAGE, PN_PROT_RW, &iova), 0);
	assert_int_equal(charged_at(other, B), 0);
	fixture->domain = one;
	pn_domain_detach(one, fd[0]);
	pn_domain_detach(other, fd[1]);
	assert_int_equal(pn_domain_destroy(other), 0);
}

/* A region as of a BAR; what backs it is never looked at. */
static struct pn_region *device_region(void)
{
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	struct pn_region *region = pn_region_new(PN_BACKING_DEVICE, &opts);

	assert_non_null(region);
	region->size = 4 * PAGE;
	region->page_size = PAGE;
	region->vaddr = mmap(NULL, 4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(region->vaddr != MAP_FAILED);
	return region;
}

static void memory_of_a_device_costs_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct pn_region *memory = fixture->region, *bar = device_region();
	uint64_t iova = A;

	left(20, 20);
	fixture->region = bar;
	assert_int_equal(ask(fixture, 0, 4).charged, 0);
	assert_int_equal(pn_domain_map(fixture->domain, bar, 0, 4 * PAGE, PN_PROT_RW, &iova), 0);
	fixture->region = memory;
	assert_int_equal(ask(fixture, 0, 8).queued, 0);
	map_at(fixture, 0, 8, B);
	assert_int_equal(ask(fixture, 8, 8).queued, 8);
	assert_int_equal(pn_domain_unmap_all(fixture->domain), 0);
	assert_int_equal(ask(fixture, 8, 8).queued, 0);
	assert_int_equal(pn_region_destroy(bar), 0);
}

static void what_cannot_be_mapped_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct pn_domain *domain = fixture->domain;
	struct pn_region *region = fixture->region;
	struct pn_preflight out;

	REFUSED(domain, EINVAL, pn_domain_preflight(domain, NULL, 0, PAGE, PN_PROT_RW, &out));
	REFUSED(domain, EINVAL, pn_domain_preflight(domain, region, 0, PAGE, PN_PROT_RW, NULL));
	REFUSED(domain, EINVAL, pn_domain_preflight(domain, region, 0, 0, PN_PROT_RW, &out));
	REFUSED(domain, EINVAL, pn_domain_preflight(domain, region, 1, PAGE, PN_PROT_RW, &out));
	REFUSED(domain, EINVAL,
		pn_domain_preflight(domain, region, PAGE, PAGES * PAGE, PN_PROT_RW, &out));
	REFUSED(domain, EINVAL,
		pn_domain_preflight(domain, region, UINT64_MAX - 4095, PAGE, PN_PROT_RW, &out));
	REFUSED(domain, EINVAL, pn_domain_preflight(domain, region, 0, PAGE, 0, &out));
	REFUSED(domain, EINVAL, pn_domain_preflight(domain, region, 0, PAGE, 4, &out));
	assert_int_equal(pn_domain_preflight(NULL, region, 0, PAGE, PN_PROT_RW, &out), -EINVAL);
	region->writable = false;
	REFUSED(domain, EACCES, pn_domain_preflight(domain, region, 0, PAGE, PN_PROT_RW, &out));
	left(1, 1);
	assert_int_equal(pn_domain_preflight(domain, region, 0, PAGE, PN_PROT_READ, &out), 0);
	region->writable = true;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_EACH(it_is_what_is_charged),
		ON_EACH(bounds_are_bounds),
		ON("iommufd", what_is_shared_costs_nothing, fixture_iommufd),
		ON("type1", memory_of_a_device_costs_nothing, fixture_type1),
		ON_EACH(what_cannot_be_mapped_is_refused),
	};
	struct rlimit limit;

	/* A limit there is, whoever runs this. */
	if (!getrlimit(RLIMIT_MEMLOCK, &limit) && limit.rlim_cur == RLIM_INFINITY) {
		limit.rlim_cur = UINT64_C(8) << 20;
		setrlimit(RLIMIT_MEMLOCK, &limit);
	}
	return fixture_run(tests);
}
